import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ClassicLevel } from 'classic-level';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { openStore, type Store, type Telemetry } from '../../host-sim/coordinator/store.js';

const storeModule = new URL('../../host-sim/coordinator/store.ts', import.meta.url).href;

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kith-store-'));
  try {
    await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function message(seq: number, more: Partial<Telemetry> = {}): Telemetry {
  return {
    site: 'home',
    node: 'gw-1',
    boot: 'b0000001',
    seq,
    job: 'power-proxy',
    receivedAtMs: 1_000_000 + seq,
    uptime: seq * 1000,
    counters: { frames: seq * 10 },
    ...more,
  };
}

async function historySeqs(store: Store, node = 'gw-1'): Promise<number[]> {
  return (await store.history('home', node, { limit: 100_000 })).map(({ seq }) => seq);
}

/** Runs `code` in a process of its own, with `openStore` at hand. */
function child(code: string, args: string[], prefix: string[] = []): ChildProcess {
  const script = `import { openStore } from ${JSON.stringify(storeModule)};\n${code}`;
  const [command, ...rest] = [
    ...prefix,
    process.execPath,
    '--import',
    'tsx',
    '--input-type=module',
    '-e',
    script,
    ...args,
  ];
  return spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function rejection(work: Promise<unknown>): Promise<Error> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a rejection');
}

/** A LevelDB whose next writes fail as a full disk makes them fail. */
class FailingLevel extends ClassicLevel<string, string> {
  failWrites = 0;
  failOpens = 0;

  override batch(...args: unknown[]): never {
    if (this.failWrites > 0) {
      this.failWrites--;
      return Promise.reject(new Error('IO error: 000003.log: No space left on device')) as never;
    }
    return (super.batch as (...args: unknown[]) => unknown).apply(this, args) as never;
  }

  override async open(): Promise<void> {
    if (this.failOpens > 0) {
      this.failOpens--;
      throw new Error('IO error: MANIFEST: No space left on device');
    }
    await super.open();
  }
}

test('a message and its replay, in one batch, a later batch or after a restart, are stored and counted once', () =>
  inDirectory(async directory => {
    let store = await openStore(directory);
    const outcomes = [message(1), message(2), message(1), message(2)].map(m => store.telemetry(m));
    assert.equal(await Promise.all(outcomes), ['stored', 'stored', 'duplicate', 'duplicate']);
    assert.is(await store.telemetry(message(1, { receivedAtMs: 9_000_000 })), 'duplicate');
    await store.close();
    store = await openStore(directory);
    assert.is(await store.telemetry(message(2)), 'duplicate');
    assert.is(await store.telemetry(message(3)), 'stored');
    assert.equal(await historySeqs(store), [1, 2, 3]);
    assert.equal(await store.totals('home', 'gw-1'), { 'power-proxy': { frames: 30 } });
    assert.equal(store.counters.snapshot(), { stored: 1, duplicates: 1 });
    await store.close();
  }));

test('totals add the highest seq of each job and boot, whatever the order of arrival, and no other node', () =>
  inDirectory(async directory => {
    const store = await openStore(directory);
    await Promise.all([
      store.telemetry(message(5, { counters: { frames: 50, wakes: 2 } })),
      store.telemetry(message(4, { counters: { frames: 40, wakes: 1 } })),
      store.telemetry(message(6, { job: 'kibbutz', counters: { frames: 7 } })),
      store.telemetry(message(1, { boot: 'b0000002', counters: { frames: 1, constructor: 3 } })),
      store.telemetry(message(1, { job: 'constructor', boot: 'b0000003', counters: { frames: 9 } })),
      store.telemetry(message(8, { node: 'gw-10', counters: { frames: 1000 } })),
      store.telemetry(message(8, { node: 'gw', counters: { frames: 1000 } })),
    ]);
    // As JSON: uvu's comparison looks at `constructor` itself.
    assert.is(
      JSON.stringify(await store.totals('home', 'gw-1')),
      '{"power-proxy":{"frames":51,"wakes":2,"constructor":3},"kibbutz":{"frames":7},"constructor":{"frames":9}}',
    );
    assert.equal(await store.totals('home', 'nobody'), {});
    await store.close();
  }));

test('any order of any replays over any restarts gives the model’s totals and history', () =>
  inDirectory(async directory => {
    const seed = 20_251_121;
    const random = new Random(seed, 'store');
    let store = await openStore(directory, { limits: { cached: 2 } });
    const model = new Map<string, Telemetry>();
    for (let round = 0; round < 40; round++) {
      const batch: Promise<string>[] = [];
      const expected: string[] = [];
      const base = random.below(20);
      for (let i = random.below(30); i >= 0; i--) {
        const node = `gw-${random.below(3)}`;
        const boot = `b${random.below(3)}`;
        const seq = base + random.below(20);
        const key = `${node} ${boot} ${seq}`;
        const job = random.chance(0.5) ? 'kibbutz' : 'pppoe';
        const m = message(seq, { node, boot, job, receivedAtMs: round * 100 + i });
        expected.push(model.has(key) ? 'duplicate' : 'stored');
        if (!model.has(key)) model.set(key, m);
        batch.push(store.telemetry(m));
      }
      assert.equal(await Promise.all(batch), expected, `seed ${seed}, round ${round}`);
      if (random.chance(0.2)) {
        await store.close();
        store = await openStore(directory, { limits: { cached: 2 } });
      }
    }
    for (const node of ['gw-0', 'gw-1', 'gw-2']) {
      const mine = [...model.values()].filter(m => m.node === node);
      const latest = new Map<string, Telemetry>();
      for (const m of mine) {
        const key = `${m.boot} ${m.job}`;
        if ((latest.get(key)?.seq ?? -1) < m.seq) latest.set(key, m);
      }
      const totals: { [job: string]: { frames: number } } = {};
      for (const { job, counters } of latest.values())
        totals[job] = { frames: (totals[job]?.frames ?? 0) + counters['frames'] };
      assert.equal(await store.totals('home', node), totals, `seed ${seed}, ${node}`);
      const history = await store.history('home', node, { limit: 10_000 });
      const byTime = (a: Telemetry, b: Telemetry) =>
        a.receivedAtMs - b.receivedAtMs || (`${a.boot}!${a.seq}` < `${b.boot}!${b.seq}` ? -1 : 1);
      assert.equal(history, mine.sort(byTime), `seed ${seed}, ${node}`);
    }
    await store.close();
  }));

test('history gives the messages of a span, oldest first, and of too many the newest', () =>
  inDirectory(async directory => {
    const store = await openStore(directory);
    await Promise.all([1, 2, 3, 4, 5].map(seq => store.telemetry(message(seq, { gauges: { load: 0.5 } }))));
    const seqs = async (span: object) => (await store.history('home', 'gw-1', span)).map(({ seq }) => seq);
    assert.equal(await seqs({ fromMs: 1_000_002, toMs: 1_000_004 }), [2, 3]);
    assert.equal(await seqs({ limit: 2 }), [4, 5]);
    assert.equal(await store.history('home', 'gw-1', { limit: 1 }), [message(5, { gauges: { load: 0.5 } })]);
    assert.equal(await store.history('home', 'gw'), []);
    await store.close();
  }));

test('more gaps than the limit close the lowest one, so that a boot’s state cannot grow', () =>
  inDirectory(async directory => {
    const store = await openStore(directory);
    const odd = Array.from({ length: 40 }, (_, i) => store.telemetry(message(2 * i + 1)));
    assert.ok((await Promise.all(odd)).every(outcome => outcome === 'stored'));
    assert.is(store.counters.get('gaps-closed'), 8);
    assert.is(await store.telemetry(message(2)), 'duplicate');
    assert.is(await store.telemetry(message(78)), 'stored');
    await store.close();
  }));

test('retention deletes by age and by number, a bounded amount a call, and a deleted message stays a duplicate', () =>
  inDirectory(async directory => {
    const limits = { maxAgeMs: 1000, maxRecordsPerNode: 3, maxBootsPerNode: 2 };
    let store = await openStore(directory, { limits });
    const all: Promise<unknown>[] = [];
    for (let seq = 1; seq <= 7000; seq++) all.push(store.telemetry(message(seq, { receivedAtMs: 500 })));
    for (let seq = 1; seq <= 5; seq++)
      all.push(store.telemetry(message(seq, { node: 'gw-2', receivedAtMs: 5000 + seq })));
    await Promise.all(all);
    const before = await store.totals('home', 'gw-1');
    assert.is(await store.retain(5000), false);
    assert.is(store.counters.get('deleted'), 5000);
    await store.close();
    store = await openStore(directory, { limits });
    while (!(await store.retain(5000)));
    assert.is(store.counters.get('deleted'), 2002);
    assert.equal(await historySeqs(store), []);
    assert.equal(await historySeqs(store, 'gw-2'), [3, 4, 5]);
    assert.is(await store.telemetry(message(1)), 'duplicate');
    assert.is(await store.telemetry(message(1, { node: 'gw-2' })), 'duplicate');
    assert.equal(await store.totals('home', 'gw-1'), before);
    while (!(await store.retain(5000)));
    assert.is(store.counters.get('deleted'), 2002);
    await store.close();
  }));

test('boots over the limit are folded, the one heard longest ago first, and the totals do not change', () =>
  inDirectory(async directory => {
    const store = await openStore(directory, { limits: { maxBootsPerNode: 2 } });
    for (const [boot, receivedAtMs] of [
      ['b4', 100],
      ['b1', 200],
      ['b3', 300],
      ['b2', 400],
    ] as const)
      await store.telemetry(message(1, { boot, receivedAtMs, counters: { frames: receivedAtMs } }));
    await store.retain(1000);
    assert.is(store.counters.get('boots-folded'), 2);
    assert.equal(await store.totals('home', 'gw-1'), { 'power-proxy': { frames: 1000 } });
    await store.telemetry(message(2, { boot: 'b3', receivedAtMs: 500, counters: { frames: 301 } }));
    assert.equal(await store.totals('home', 'gw-1'), { 'power-proxy': { frames: 1001 } });
    await store.close();
  }));

test('documents keep their latest value through a restart, and kinds do not mix', () =>
  inDirectory(async directory => {
    let store = await openStore(directory);
    await Promise.all([
      store.put('rule', 'b/2', { n: 1 }),
      store.put('rule', 'b/2', { n: 2 }),
      store.put('rule', 'a!', [1, 'é']),
      store.put('rule', 'gone', 1),
      store.remove('rule', 'gone'),
      store.put('rules', 'other', true),
      store.put('rul', 'other', true),
    ]);
    await store.close();
    store = await openStore(directory);
    assert.equal(await store.all('rule'), [
      { key: 'a!', value: [1, 'é'] },
      { key: 'b/2', value: { n: 2 } },
    ]);
    assert.is(await store.get('rule', 'gone'), undefined);
    assert.equal(await store.get('rule', 'b/2'), { n: 2 });
    await store.close();
  }));

test('an id that could reach another node’s keys is a programmer’s error', () =>
  inDirectory(async directory => {
    const store = await openStore(directory);
    assert.throws(() => store.telemetry(message(1, { node: 'gw!1' })), /node: expected an id, got gw!1/);
    assert.throws(() => store.telemetry(message(-1)), /seq: expected an integer from 0, got -1/);
    assert.throws(() => store.put('a!b', 'key', 1), /kind: expected no !, got a!b/);
    await store.close();
  }));

test('a directory in use, damaged or not a directory is named, with what to do', () =>
  inDirectory(async directory => {
    const store = await openStore(directory);
    await store.put('rule', 'a', 1);
    const inUse = await rejection(openStore(directory));
    assert.ok(inUse.message.includes(`${directory} is in use by another process: stop it`), inUse.message);
    await store.close();
    for (const name of readdirSync(directory).filter(name => name.startsWith('MANIFEST')))
      truncateSync(join(directory, name), 10);
    const damaged = await rejection(openStore(directory));
    assert.match(damaged.message, /holds a damaged store .*move the directory away to start empty/);
    assert.ok(damaged.message.includes(directory));
    writeFileSync(join(directory, 'file'), '');
    const noDirectory = await rejection(openStore(join(directory, 'file')));
    assert.match(noDirectory.message, /cannot open .*file .*check that it is a directory you may write to/);
  }));

test('a failed write rejects, is retried with a doubling delay on a reopened database, and loses nothing', () =>
  inDirectory(async directory => {
    const level = new FailingLevel(directory);
    let now = 0;
    // By way of its base class: the two types hold each other in a circle, and tsc is not always sure that they agree.
    const store = await openStore(directory, {
      level: level as unknown as ClassicLevel<string, string>,
      now: () => now,
    });
    await store.telemetry(message(1));
    level.failWrites = 1;
    const [first, second] = await Promise.all([
      rejection(store.telemetry(message(2))),
      rejection(store.telemetry(message(2))),
    ]);
    assert.ok(first.message.startsWith(`cannot write to ${directory}: IO error`), first.message);
    assert.match(first.message, /No space left on device; free some room/);
    assert.is(second, first);
    // The first attempt after a failure is made at once, and nothing of the failed group was remembered.
    assert.is(await store.telemetry(message(2)), 'stored');
    assert.equal(store.databaseCounters.snapshot(), { batches: 2, operations: 6, failures: 1, reopened: 1 });

    level.failWrites = 2;
    await rejection(store.put('rule', 'a', 1));
    await rejection(store.put('rule', 'a', 1));
    assert.is(level.failWrites, 0);
    now += 99;
    await rejection(store.put('rule', 'a', 1));
    assert.is(store.databaseCounters.get('failures'), 3);
    now += 1;
    level.failOpens = 1;
    assert.match((await rejection(store.put('rule', 'a', 1))).message, /MANIFEST: No space left/);
    now += 199;
    await rejection(store.put('rule', 'a', 1));
    assert.is(store.databaseCounters.get('failures'), 4);
    now += 1;
    await store.put('rule', 'a', 2);
    assert.is(await store.get('rule', 'a'), 2);
    assert.is(await store.telemetry(message(2)), 'duplicate');
    assert.equal(await historySeqs(store), [1, 2]);
    await store.close();
  }));

test('kill -9 at any point loses nothing acknowledged and counts nothing twice', () =>
  inDirectory(async directory => {
    const seed = 7;
    const random = new Random(seed, 'kill');
    // The child sends 1, 2, 3 … from the first not yet acknowledged, 50 at a time, and prints what is acknowledged.
    const code = `
      const [directory, first] = process.argv.slice(1);
      const store = await openStore(directory);
      for (let seq = Number(first); ; seq += 50) {
        await Promise.all(Array.from({ length: 50 }, (_, i) => store.telemetry({
          site: 'home', node: 'gw-' + (i % 3), boot: 'b1', seq: seq + i, job: 'pppoe', receivedAtMs: seq + i,
          uptime: 1, counters: { frames: seq + i } })));
        console.log(seq + 50);
      }`;
    let acknowledgedTo = 0;
    for (let round = 0; round < 4; round++) {
      const writer = child(code, [directory, String(acknowledgedTo)]);
      const exited = once(writer, 'exit');
      const killAfter = 1 + random.below(60);
      let lines = 0;
      for await (const line of createInterface({ input: writer.stdout! })) {
        acknowledgedTo = Number(line);
        if (++lines === killAfter) writer.kill('SIGKILL');
      }
      assert.equal(await exited, [null, 'SIGKILL'], 'the writer ended by itself');
      const store = await openStore(directory);
      const seqs: number[] = [];
      for (const node of ['gw-0', 'gw-1', 'gw-2']) {
        const mine = await historySeqs(store, node);
        seqs.push(...mine);
        assert.equal(
          await store.totals('home', node),
          { pppoe: { frames: Math.max(...mine) } },
          `seed ${seed}, round ${round}`,
        );
      }
      seqs.sort((a, b) => a - b);
      assert.is(new Set(seqs).size, seqs.length, 'stored twice');
      assert.equal(
        seqs.filter(seq => seq < acknowledgedTo),
        Array.from({ length: acknowledgedTo }, (_, i) => i),
        `seed ${seed}, round ${round}: an acknowledged message is missing`,
      );
      await store.close();
    }
  }));

test('a full disk rejects writes by name, and what is acknowledged once there is room survives kill -9', () =>
  inDirectory(async directory => {
    const probe = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]);
    if (probe.status !== 0) {
      console.log(`SKIP: cannot mount a small tmpfs in a mount namespace: ${probe.stderr ?? probe.error}`);
      return;
    }
    // Values of several pages, so that the last append before the disk is full is torn in the middle.
    const code = `
      import { cpSync, rmSync, writeFileSync } from 'node:fs';
      const [full, copy] = process.argv.slice(1);
      const store = await openStore(full + '/store');
      const acknowledged = [];
      const put = key => store.put('blob', key, key.repeat(20_000)).then(() => acknowledged.push(key));
      await put('a');
      try { writeFileSync(full + '/ballast', Buffer.alloc(4 << 20)); } catch {}
      const error = await put('b').then(() => undefined, cause => cause);
      rmSync(full + '/ballast');
      for (const key of ['c', 'd', 'e', 'f']) await put(key);
      cpSync(full + '/store', copy, { recursive: true });
      console.log(JSON.stringify({ message: error.message, acknowledged }));
      process.exit(0);`;
    const copy = `${directory}-copy`;
    const mount = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"';
    try {
      const writer = child(code, [directory, copy], ['unshare', '-m', 'sh', '-c', mount, directory]);
      let output = '';
      writer.stdout!.on('data', chunk => {
        output += chunk;
      });
      const [status] = await once(writer, 'close');
      assert.is(status, 0);
      const { message, acknowledged } = JSON.parse(output);
      assert.ok(message.startsWith(`cannot write to ${directory}/store: IO error`), message);
      assert.match(message, /No space left on device/);
      const recovered = await openStore(copy);
      const keys = (await recovered.all('blob')).map(({ key }) => key);
      assert.equal(keys, acknowledged);
      await recovered.close();
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  }));

test.run();
