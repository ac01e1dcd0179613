/** MqttSession: acknowledgements that wait, and what happens when they must not be given. */

import { createServer } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { checkBrokerUrl, describeBrokerError, MqttSession, redact } from '../../host-sim/mqtt/session.js';
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

test('what was published and not acknowledged when the connection broke is sent again over the next one', async () => {
  const stored: string[] = [];
  let refusals = 2;
  const broker = await openBroker({
    port: 0,
    ingest: async ({ payload }) => {
      if (refusals-- > 0) throw new Error('disk full'); // the broker drops the connection without acknowledging
      stored.push(payload.toString());
    },
  });
  let ups = 0;
  const options = { url: broker.url, clientId: 'speaker', message: async () => {}, log: () => {} };
  const session = new MqttSession({ ...options, up: () => ups++ });
  await session.open();
  for (let i = 0; i < 5; i++)
    assert.ok(session.publish({ topic: 't', payload: String(i), qos: 1, retain: false }));
  await eventually('all five stored', () => new Set(stored).size === 5);
  assert.ok(ups > 1, 'over another connection');
  await session.close();
  assert.not(session.publish({ topic: 't', payload: 'late', qos: 1, retain: false }));
  await broker.close();
});

test('a broker that accepts and then says nothing is an error, not a hang', async () => {
  const silent = createServer(socket => {
    socket.on('error', () => {});
    // CONNACK, and nothing else ever.
    socket.once('data', () => socket.write(new Uint8Array([0x20, 2, 0, 0])));
  });
  await new Promise<void>(done => silent.listen(0, '127.0.0.1', done));
  const url = `mqtt://127.0.0.1:${(silent.address() as { port: number }).port}`;
  const options = { url, clientId: 'x', message: async () => {}, log: () => {} };
  const session = new MqttSession({ ...options, filters: ['t'] });
  assert.match(await session.open().then(() => 'opened', String), /no answer to a subscription/);
  const open = new MqttSession(options);
  await open.open();
  open.publish({ topic: 't', payload: '', qos: 1, retain: false });
  await open.close();
  silent.close();
  assert.throws(() => checkBrokerUrl('localhost:1883'), /expected mqtt:\/\/host:port/);
});

test('broker errors say what to do, and never show a password', () => {
  const url = 'mqtts://user:se@cret:x@broker.example:8883';
  assert.is(redact(url), 'mqtts://user@broker.example:8883');
  for (const [error, expected] of [
    [{ code: 'ECONNREFUSED', message: '' }, /kith up/],
    [{ code: 'ENOTFOUND', message: '' }, /check the name/],
    [{ code: 5, message: 'Connection refused: Not authorized' }, /user and password/],
    [{ code: 'ECONNRESET', message: '' }, /ECONNRESET/],
    [{ message: 'connack timeout' }, /is it an MQTT broker/],
  ] as const) {
    const text = describeBrokerError(url, error);
    assert.match(text, expected);
    assert.not.match(text, 'cret');
  }
});

test.run();
