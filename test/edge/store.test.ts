/** The store on disk: what it keeps over restarts, power cuts at every byte, damage, and a full disk. */

import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { openStore, type Store, type StoreOptions } from '../../edge/linux/store.js';
import { eventually } from '../support/process.js';
import { SmallDisk } from '../support/small-disk.js';

const onDisk = SmallDisk.available() ? test : test.skip;
let directory = '';
let faults: string[] = [];
const stores: Store[] = [];

test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'kith-store-'));
  faults = [];
});
test.after.each(async () => {
  for (const store of stores.splice(0)) await store.close();
  SmallDisk.removeAll();
  rmSync(directory, { recursive: true, force: true });
});

function open(options: Partial<StoreOptions> = {}): Store {
  const store = openStore(directory, { onFault: fault => faults.push(fault.message), ...options });
  stores.push(store);
  return store;
}

async function shut(store: Store): Promise<void> {
  stores.splice(stores.indexOf(store), 1);
  await store.close();
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const log = () => join(directory, 'state');
const plain = (store: Store) =>
  Object.fromEntries(
    Object.entries(store.saved()).map(([key, value]) => [key, Buffer.from(value).toString()]),
  );

test('what was saved is there after a restart, the newest value of a key, and nothing that was forgotten', async () => {
  const store = open();
  store.save('rule/a', bytes('one'));
  store.save('rule/b', bytes(''));
  store.save('rule/a', bytes('two'));
  store.save('ledger', bytes('gone'));
  store.save('ledger', undefined);
  await shut(store);
  assert.equal(plain(open()), { 'rule/a': 'two', 'rule/b': '' });
  assert.equal(faults, []);
});

test('a saved value is in the file before save returns, for a process that is killed', () => {
  const store = open();
  store.save('key', bytes('value'));
  assert.ok(readFileSync(log()).includes('value'));
});

test('after a power cut at any byte of the last record, all before it is there, and the newest value or the one before', async () => {
  const store = open();
  store.save('rule/a', bytes('first'));
  store.save('rule/b', bytes('kept'));
  const before = readFileSync(log()).length;
  store.save('rule/a', bytes('second'));
  await shut(store);
  const whole = readFileSync(log());
  for (let length = before; length <= whole.length; length++) {
    writeFileSync(log(), whole.subarray(0, length));
    faults = [];
    const cut = open();
    assert.equal(plain(cut), { 'rule/a': length === whole.length ? 'second' : 'first', 'rule/b': 'kept' });
    assert.is(faults.length, length === before || length === whole.length ? 0 : 1, `cut at ${length}`);
    await shut(cut);
  }
});

test('damage anywhere costs the record it hits, is reported once, and the damaged file is set aside', async () => {
  const random = new Random(11, 'damage');
  const store = open();
  for (let i = 0; i < 8; i++) store.save(`key-${i}`, bytes(`value-${i}`));
  await shut(store);
  const whole = readFileSync(log());
  for (let round = 0; round < 100; round++) {
    const damaged = Buffer.from(whole);
    damaged[8 + random.below(whole.length - 8)] ^= 1 << random.below(8);
    writeFileSync(log(), damaged);
    faults = [];
    const mended = open();
    const values = plain(mended);
    assert.is(Object.keys(values).length, 7, `round ${round}`);
    for (const [key, value] of Object.entries(values)) assert.is(value, key.replace('key', 'value'));
    assert.is(faults.length, 1);
    assert.match(
      faults[0],
      /are damaged; the last good values are used, the file is kept as .*state\.damaged/,
    );
    assert.equal(readFileSync(`${log()}.damaged`), damaged);
    await shut(mended);
    faults = [];
    const again = open();
    assert.equal(plain(again), values);
    assert.equal(faults, []);
    await shut(again);
  }
});

test('a file that is no log at all is set aside, and the store starts empty', () => {
  writeFileSync(log(), Buffer.alloc(10_000, 0xa5));
  assert.equal(plain(open()), {});
  assert.is(faults.length, 1);
  assert.is(readFileSync(`${log()}.damaged`).length, 10_000);
});

test('the log of a later version is left alone, with an error that names the directory', () => {
  writeFileSync(log(), 'kithlog2');
  assert.throws(() => open(), new RegExp(`store ${directory}: expected format kithlog1, got kithlog2`));
  assert.is(readFileSync(log(), 'utf8'), 'kithlog2');
});

test('what is beyond the limit is refused and reported, and the value before stays', () => {
  const store = open({ maxBytes: 200 });
  store.save('a', new Uint8Array(100));
  store.save('a', new Uint8Array(300));
  store.save('b', new Uint8Array(100));
  assert.is(store.saved()['a'].length, 100);
  assert.is(store.saved()['b'], undefined);
  assert.is(store.counters.get('refused'), 2);
  assert.match(faults[0], /a: no room for 300 bytes, the limit is 200/);
});

test('the file stays within twice what it holds and 64 KiB, however often a value changes', async () => {
  const store = open();
  const value = new Uint8Array(1000);
  for (let i = 0; i < 2000; i++) {
    value[0] = i;
    store.save('ledger', value);
    if (i % 100 === 0) assert.ok(readFileSync(log()).length <= 64 * 1024 + 2 * 1100);
  }
  await store.synced();
  assert.ok(store.counters.get('rewritten') > 20);
  await shut(store);
  assert.is(open().saved()['ledger'][0], 1999 & 255);
});

test('one sync serves all that was saved while another was under way', async () => {
  const store = open();
  for (let i = 0; i < 50; i++) store.save(`key-${i}`, bytes('x'));
  await store.synced();
  assert.ok(store.counters.get('syncs') <= 2, `${store.counters.get('syncs')}`);
});

test('a second process does not get the store', () => {
  open();
  assert.throws(() => open(), /another process has it open/);
});

test('a leftover of a cut-off rewrite changes nothing', async () => {
  const store = open();
  store.save('key', bytes('value'));
  await shut(store);
  appendFileSync(`${log()}.new`, 'half a file');
  assert.equal(plain(open()), { key: 'value' });
  assert.ok(readdirSync(directory).includes('state'));
});

onDisk(
  'a full disk: values are in force, told once and by key, and on disk when there is room, by themselves',
  async () => {
    const disk = SmallDisk.make(128);
    directory = disk.path;
    let mended = 0;
    const store = open({ retryMs: 20, onMended: () => mended++ });
    store.save('rule/a', bytes('old'));
    store.save('rule/kept', bytes('kept'));
    await store.synced();
    const giveBack = disk.fill();
    store.save('rule/a', new Uint8Array(6000).fill(1));
    for (let i = 0; i < 50; i++) store.save('rule/b', new Uint8Array(6000 + i).fill(2));
    assert.is(faults.length, 1);
    assert.match(
      faults[0],
      /store .*: cannot be written: ENOSPC.*; what changes is in force but lost at a restart/,
    );
    assert.equal(
      [store.keeps('rule/a'), store.keeps('rule/b'), store.keeps('rule/kept')],
      [false, false, true],
    );
    assert.is(store.unkeptCount, 2);
    assert.is(store.saved()['rule/b'].length, 6049);
    assert.not(readdirSync(directory).includes('state.new'), 'half a file takes no room');
    // A crash now: the values before count.
    const crashed = readFileSync(log());
    giveBack();
    await eventually('all on disk', () => mended === 1);
    assert.ok(store.keeps('rule/a') && store.unkeptCount === 0);
    await shut(store);
    const again = open();
    assert.equal([again.saved()['rule/a'].length, again.saved()['rule/b'].length], [6000, 6049]);
    await shut(again);
    writeFileSync(log(), crashed);
    assert.equal(plain(open()), { 'rule/a': 'old', 'rule/kept': 'kept' });
    assert.is(faults.length, 1);
  },
);

onDisk(
  'a full disk at the start, and the log damaged: what can be read is used, the damaged file is kept',
  async () => {
    const disk = SmallDisk.make(64);
    directory = disk.path;
    const store = open();
    store.save('rule/a', bytes('value'));
    store.save('rule/b', new Uint8Array(5000));
    await shut(store);
    appendFileSync(log(), 'damage');
    const damaged = readFileSync(log());
    const giveBack = disk.fill();
    const full = open({ retryMs: 20 });
    assert.is(Buffer.from(full.saved()['rule/a']).toString(), 'value');
    assert.match(faults[0], /are damaged; the last good values are used, the file is kept as/);
    assert.match(faults[1], /cannot be written: ENOSPC/);
    assert.equal(readFileSync(`${log()}.damaged`), damaged);
    giveBack();
    await eventually('a new log', () => readFileSync(log()).length < damaged.length);
    await shut(full);
    assert.is(open().saved()['rule/b'].length, 5000);
    assert.is(faults.length, 2);
  },
);

onDisk('no room to write the log anew: it grows as long as there is room for a record', async () => {
  const disk = SmallDisk.make(256);
  directory = disk.path;
  const store = open();
  // 24 KB in force, 130 KB of log: a second file has room only for a while.
  for (let i = 0; i < 40; i++) {
    store.save(`key-${i % 8}`, new Uint8Array(3000).fill(i));
    if (i === 30) writeFileSync(join(directory, 'other'), Buffer.alloc(128_000));
  }
  assert.ok(store.counters.get('failed') > 0);
  await shut(store);
  assert.equal(faults, []);
  const again = open();
  for (let i = 32; i < 40; i++) assert.is(again.saved()[`key-${i % 8}`][0], i);
});

onDisk('a read-only file system: opened, read, told; written when it can be', async () => {
  const disk = SmallDisk.make(64);
  directory = disk.path;
  const first = open();
  first.save('rule/a', bytes('value'));
  await shut(first);
  disk.remount('ro');
  let mended = 0;
  const store = open({ retryMs: 20, onMended: () => mended++ });
  assert.equal(plain(store), { 'rule/a': 'value' });
  store.save('rule/b', bytes('later'));
  assert.is(faults.length, 1);
  assert.match(faults[0], /cannot be written: EROFS/);
  assert.ok(store.keeps('rule/a') && !store.keeps('rule/b'));
  disk.remount('rw');
  await eventually('all on disk', () => mended === 1);
  await shut(store);
  assert.equal(plain(open()), { 'rule/a': 'value', 'rule/b': 'later' });
});

test('a power cut before a rewritten log took the place of the former one: the former counts, whatever stands beside', async () => {
  const store = open();
  store.save('key', bytes('old'));
  await shut(store);
  const former = readFileSync(log());
  const newer = open();
  newer.save('key', bytes('newer'));
  await shut(newer);
  const written = readFileSync(log());
  for (let length = 0; length <= written.length; length++) {
    writeFileSync(log(), former);
    writeFileSync(`${log()}.new`, written.subarray(0, length));
    const cut = open();
    assert.equal(plain(cut), { key: 'old' });
    cut.save('key', bytes('newest'));
    await shut(cut);
    const after = open();
    assert.equal(plain(after), { key: 'newest' });
    await shut(after);
  }
  assert.equal(faults, []);
});

test('a directory that cannot be made is an error that names it', () => {
  writeFileSync(join(directory, 'file'), '');
  assert.throws(
    () => openStore(join(directory, 'file', 'store'), { onFault: () => {} }),
    /store .*file.store: ENOTDIR/,
  );
});

test.run();
