/** MqttSession: acknowledgements that wait, and what happens when they must not be given. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { describeBrokerError, MqttSession, redact } from '../../host-sim/mqtt/session.js';
import { eventually } from '../support/process.js';

test('messages are acknowledged in order after their promise, and a refused one comes again over a new connection', async () => {
  const broker = await openBroker({ port: 0 });
  const heard: string[] = [];
  const lines: string[] = [];
  let refusals = 3;
  const session = new MqttSession({
    url: broker.url,
    clientId: 'listener',
    filters: ['t/#'],
    message: (_topic, payload) => {
      const text = Buffer.from(payload).toString();
      heard.push(text);
      // The later ones are refused while the first still waits: nobody listens to their promises yet.
      if (text === '0') return new Promise(resolve => setTimeout(resolve, 50));
      return refusals-- > 0 ? Promise.reject(new Error('disk full')) : Promise.resolve();
    },
    log: text => lines.push(text),
  });
  await session.open();
  for (let i = 0; i < 5; i++) await broker.publish('t/a', String(i), { qos: 1 });
  await eventually('every message taken in the end', () =>
    ['1', '2', '3', '4'].every(text => heard.lastIndexOf(text) > 4),
  );
  assert.ok(
    lines.some(line => line.includes('disk full')),
    lines.join('\n'),
  );
  await session.close();
  await broker.close();
});

test('more messages than may wait are taken one after the other, none lost', async () => {
  const broker = await openBroker({ port: 0 });
  const most = 3_000;
  let heard = 0;
  let waiting = 0;
  let mostWaiting = 0;
  const session = new MqttSession({
    url: broker.url,
    clientId: 'listener',
    filters: ['t'],
    message: async () => {
      heard++;
      waiting++;
      mostWaiting = Math.max(mostWaiting, waiting);
      await new Promise(resolve => setTimeout(resolve, 5));
      waiting--;
    },
    log: () => {},
  });
  await session.open();
  for (let i = 0; i < most; i++) broker.publish('t', String(i), { qos: 1 });
  await eventually('all of them', () => heard === most);
  assert.ok(mostWaiting > 1 && mostWaiting <= 1_001, String(mostWaiting));
  await session.close();
  await broker.close();
});

test('broker errors say what to do, and never show a password', () => {
  const url = 'mqtts://user:secret@broker.example:8883';
  assert.is(redact(url), 'mqtts://user@broker.example:8883');
  for (const [error, expected] of [
    [{ code: 'ECONNREFUSED', message: '' }, /kith up/],
    [{ code: 'ENOTFOUND', message: '' }, /check the name/],
    [{ code: 5, message: 'Connection refused: Not authorized' }, /user and password/],
    [{ code: 'ECONNRESET', message: '' }, /ECONNRESET/],
  ] as const) {
    const text = describeBrokerError(url, error);
    assert.match(text, expected);
    assert.not.match(text, 'secret');
  }
});

test.run();
