/** The outbox of a gateway: what waits, what takes its place, and what a crash and a full disk leave of it. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeCbor } from '../../agent/message/cbor.js';
import { type Outbox, openOutbox } from '../../edge/linux/outbox.js';
import { openStore } from '../../edge/linux/store.js';
import { SmallDisk } from '../support/small-disk.js';

const base = 'kith/1/home/gw-1';
const onDisk = SmallDisk.available() ? test : test.skip;
let directory = '';
let outboxes: Outbox[] = [];
let faults: string[] = [];
test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'kith-outbox-'));
  faults = [];
});
test.after.each(async () => {
  for (const outbox of outboxes) await outbox.close();
  outboxes = [];
  SmallDisk.removeAll();
  rmSync(directory, { recursive: true, force: true });
});

function open(maxBytes?: number): Outbox {
  const outbox = openOutbox(directory, {
    onFault: fault => faults.push(fault.message),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  });
  outboxes.push(outbox);
  return outbox;
}

async function close(outbox: Outbox): Promise<void> {
  outboxes = outboxes.filter(other => other !== outbox);
  await outbox.close();
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const event = (name: string, text = name) => ({
  topic: `${base}/event/${name}`,
  payload: bytes(text),
  retain: false,
});
const retained = (leaf: string, text: string) => ({
  topic: `${base}/${leaf}`,
  payload: bytes(text),
  retain: true,
});
const telemetry = (text: string) => ({
  topic: `${base}/telemetry/pppoe`,
  payload: bytes(text),
  retain: false,
});

/** All that waits, oldest first, left as it was. */
function waiting(outbox: Outbox): string[] {
  const texts: string[] = [];
  for (let one = outbox.next(); one; one = outbox.next()) texts.push(Buffer.from(one.payload).toString());
  outbox.returnAll();
  return texts;
}

test('publications leave in their order, and stay until they are acknowledged', () => {
  const outbox = open();
  for (const name of ['a', 'b', 'c']) outbox.add(event(name));
  const first = outbox.next();
  const second = outbox.next();
  if (!first || !second) throw new Error('expected two');
  assert.is(first.topic, `${base}/event/a`);
  outbox.settle(second, 'acknowledged');
  outbox.settle(second, 'acknowledged');
  outbox.returnAll();
  assert.equal(waiting(outbox), ['a', 'c']);
  assert.is(outbox.counters.get('acknowledged'), 1);
});

test('a retained leaf and telemetry take the place of their older selves, events do not', () => {
  const outbox = open();
  outbox.add(retained('state', 'init'));
  outbox.add(event('wake', 'first'));
  outbox.add(telemetry('1'));
  outbox.add(retained('state', 'ready'));
  outbox.add(event('wake', 'second'));
  outbox.add(telemetry('2'));
  assert.equal(waiting(outbox), ['first', 'ready', 'second', '2']);
  assert.is(outbox.counters.get('superseded'), 2);
});

test('what is under way is not replaced: the newer value follows it', () => {
  const outbox = open();
  outbox.add(retained('state', 'init'));
  outbox.next();
  outbox.add(retained('state', 'ready'));
  outbox.returnAll();
  assert.equal(waiting(outbox), ['init', 'ready']);
});

test('full, the oldest event makes room and is counted; retained leaves stay', () => {
  const outbox = open(1500);
  outbox.add(retained('info', 'birth'));
  for (let i = 0; i < 100; i++) outbox.add(event(`e${i}`));
  const left = waiting(outbox);
  assert.is(left[0], 'birth');
  assert.is(left.at(-1), 'e99');
  assert.ok(left.length > 5 && left.length < 20, `${left.length}`);
  assert.is(outbox.counters.get('dropped'), 101 - left.length);
});

test('after a restart events, responses and cleared leaves are there; what the agent says again is not', async () => {
  const before = open();
  before.add(event('wake'));
  before.add(retained('info', 'birth'));
  before.add(telemetry('1'));
  before.add(retained('rule/x/status', ''));
  const sent = before.next();
  await close(before);
  assert.is(sent?.topic, `${base}/event/wake`);

  const after = open();
  after.add(event('later'));
  assert.equal(waiting(after), ['wake', '', 'later']);
  assert.is(after.counters.get('restored'), 2);
  // A rule put again in between: nothing is left to clear.
  after.add(retained('rule/x/status', 'accepted'));
  await close(after);
  assert.equal(waiting(open()), ['wake', 'later']);
});

test('kill -9 right after an event was added loses nothing of it', () => {
  const script = `
    import { openOutbox } from ${JSON.stringify(new URL('../../edge/linux/outbox.ts', import.meta.url).href)};
    const outbox = openOutbox(${JSON.stringify(directory)}, { onFault() {} });
    for (let i = 0; i < 50; i++)
      outbox.add({ topic: '${base}/event/e' + i, payload: new Uint8Array([i]), retain: false });
    const first = outbox.next();
    outbox.settle(first, 'acknowledged');
    process.kill(process.pid, 'SIGKILL');`;
  const run = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.is(run.signal, 'SIGKILL', run.stderr);
  const outbox = open();
  assert.is(outbox.length, 49);
  assert.is(outbox.next()?.payload[0], 1);
  assert.equal(faults, []);
});

test('a power cut at any byte of two records: events before them are there, and each of the two once or not at all', async () => {
  const before = open();
  for (const name of ['a', 'b']) before.add(event(name));
  const log = join(directory, 'state');
  const { length: from } = readFileSync(log);
  // `a` is acknowledged, and `c` happens.
  const sent = before.next();
  if (!sent) throw new Error('expected one');
  before.settle(sent, 'acknowledged');
  const { length: between } = readFileSync(log);
  before.add(event('c'));
  await close(before);
  const whole = readFileSync(log);
  for (let length = from; length <= whole.length; length++) {
    writeFileSync(log, whole.subarray(0, length));
    const cut = open();
    const expected = length < between ? ['a', 'b'] : length < whole.length ? ['b'] : ['b', 'c'];
    assert.equal(waiting(cut), expected, `cut at ${length}`);
    // What happens now does not take the place of what was there.
    cut.add(event('d'));
    await close(cut);
    const again = open();
    assert.equal(waiting(again), [...expected, 'd']);
    await close(again);
  }
});

onDisk('on a full disk it goes on in memory, and what waits is on disk when there is room', async () => {
  const disk = SmallDisk.make(64);
  directory = disk.path;
  const outbox = open();
  outbox.add(event('kept'));
  const giveBack = disk.fill();
  for (let i = 0; i < 100; i++) outbox.add(event(`e${i}`, 'x'.repeat(100)));
  assert.is(faults.length, 1);
  assert.match(faults[0], /ENOSPC/);
  assert.ok(outbox.unkeptCount > 50);
  const sent = outbox.next();
  if (!sent) throw new Error('expected one');
  outbox.settle(sent, 'acknowledged');
  giveBack();
  outbox.add(event('last'));
  assert.is(outbox.unkeptCount, 0);
  await close(outbox);
  const left = waiting(open());
  assert.is(left.length, 101);
  assert.is(left.at(-1), 'last');
});

test('what another version kept is left aside, told, and there for that version', async () => {
  const store = openStore(directory, { onFault: fault => faults.push(fault.message) });
  store.save('0000000000000005', encodeCbor({ version: 2, topics: ['x'] }));
  store.save('later/format', new Uint8Array([1, 2, 3]));
  await store.close();
  const outbox = open();
  assert.is(outbox.length, 0);
  assert.is(faults.length, 2);
  assert.match(faults[0], /outbox: 0000000000000005 is left aside: not as this version keeps publications/);
  outbox.add(event('new'));
  await close(outbox);
  const kept = openStore(directory, { onFault: fault => faults.push(fault.message) });
  assert.equal(Object.keys(kept.saved()).sort(), ['0000000000000005', '0000000000000006', 'later/format']);
  await kept.close();
});

test.run();
