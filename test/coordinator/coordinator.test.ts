import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { type CborValue, encodeCbor } from '../../agent/message/cbor.js';
import { Coordinator, ruleStanding } from '../../host-sim/coordinator/coordinator.js';
import { openStore, type Store } from '../../host-sim/coordinator/store.js';

const boot = '0badcafe';
const topicOf = (leaf: string) => `kith/1/home/gw-1/${leaf}`;
const json = (value: unknown) => encodeUtf8(JSON.stringify(value));

interface Bench {
  readonly coordinator: Coordinator;
  readonly store: Store;
  readonly mirror: Map<string, unknown>;
  now: number;
  say(leaf: string, payload: CborValue | Uint8Array | string): Promise<void>;
}

let directory = '';
test.before.each(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kith-coordinator-'));
});
test.after.each(() => rm(directory, { recursive: true }));

/** Opens what the directory holds, works with it, and closes it again. */
async function within(work: (bench: Bench) => Promise<void>): Promise<void> {
  const store = await openStore(directory);
  const mirror = new Map<string, unknown>();
  const bench: Bench = {
    store,
    mirror,
    now: 1_000_000,
    coordinator: await Coordinator.open({
      store,
      clock: () => bench.now,
      publish: (topic, payload) => mirror.set(topic, payload === '' ? undefined : JSON.parse(payload)),
    }),
    say: (leaf, body) => {
      const payload =
        body instanceof Uint8Array ? body : typeof body === 'string' ? encodeUtf8(body) : encodeCbor(body);
      return bench.coordinator.ingest({ topic: topicOf(leaf), payload });
    },
  };
  await work(bench).finally(() => store.close());
}

const info = {
  version: 1,
  firmware: 'f',
  platform: 'sim',
  boot,
  jobs: ['power-proxy'],
  missing: { kibbutz: 'not in this firmware' },
  limits: { rules: 64 },
  rules: { count: 0, digest: '811c9dc5' },
};

test('a node is known from state and birth, mirrored as JSON, and known again after a restart', async () => {
  await within(async ({ coordinator, mirror, say }) => {
    await say('state', 'init');
    await say('info', info);
    await say('state', 'ready');
    assert.equal(mirror.get('kith/json/home/gw-1/state'), { state: 'ready', at: '1970-01-01T00:16:40.000Z' });
    assert.equal((mirror.get('kith/json/home/gw-1/info') as typeof info).missing, info.missing);
    assert.is(coordinator.nodeList().length, 1);
  });
  await within(async ({ coordinator, mirror, say }) => {
    const [node] = coordinator.nodeList();
    assert.equal([node.state, node.info?.jobs], ['ready', ['power-proxy']]);
    await say('state', 'lost');
    assert.is(coordinator.nodeList()[0].state, 'lost');
    await say('state', '');
    assert.equal([coordinator.nodeList(), mirror.get('kith/json/home/gw-1/state')], [[], undefined]);
  });
  await within(async ({ coordinator }) => assert.equal(coordinator.nodeList(), []));
});

test('a rule is pending until the node has judged this very payload, and rejected or accepted from then on', async () => {
  const status = { boot, uptime: 50_000, revision: 1 };
  await within(async ({ coordinator, mirror, say }) => {
    const standing = () => ruleStanding(coordinator.ruleList()[0]);
    await say('rule/ssh', json({ trigger: { tcp: {} }, action: 'drop' }));
    assert.is(standing(), 'pending');
    const first = coordinator.ruleList()[0].desired!.digest;
    await say('rule/ssh/status', { ...status, status: 'accepted', digest: first, hits: 3, lastHit: 49_000 });
    assert.is(standing(), 'accepted');
    assert.is(
      (mirror.get('kith/json/home/gw-1/rule/ssh/status') as { lastHitAt: string }).lastHitAt,
      '1970-01-01T00:16:39.000Z',
    );
    await say('rule/ssh', json({ trigger: {}, action: 'drop' }));
    assert.is(standing(), 'pending');
    const second = coordinator.ruleList()[0].desired!.digest;
    await say('rule/ssh/status', {
      ...status,
      status: 'rejected',
      digest: second,
      field: 'trigger',
      inForce: first,
    });
    assert.equal([standing(), coordinator.ruleList()[0].reported?.field], ['rejected', 'trigger']);
  });
  await within(async ({ coordinator, mirror, say }) => {
    assert.is(ruleStanding(coordinator.ruleList()[0]), 'rejected');
    await say('rule/ssh', '');
    assert.is(ruleStanding(coordinator.ruleList()[0]), 'orphan', 'the node has not let go yet');
    await say('rule/ssh/status', '');
    assert.equal([coordinator.ruleList(), mirror.get('kith/json/home/gw-1/rule/ssh')], [[], undefined]);
  });
});

test('desired rules the broker has no trace of were removed meanwhile', async () => {
  await within(async ({ coordinator, say }) => {
    await say('rule/a', json({}));
    await say('rule/b', json({}));
    await coordinator.forgetRulesExcept(new Set([topicOf('rule/b')]), rule => topicOf(`rule/${rule.rule}`));
    assert.equal(
      coordinator.ruleList().map(rule => rule.rule),
      ['b'],
    );
  });
});

test('telemetry is counted once however often it comes, also after a restart', async () => {
  const telemetry = (seq: number) => ({ boot, seq, uptime: seq, counters: { 'frames.dropped': 10 * seq } });
  await within(async ({ coordinator, store, say }) => {
    await Promise.all([1, 2, 2, 3, 1].map(seq => say('telemetry/power-proxy', telemetry(seq))));
    assert.equal(
      [coordinator.counters.get('telemetry.stored'), coordinator.counters.get('telemetry.duplicate')],
      [3, 2],
    );
    assert.equal(await store.totals('home', 'gw-1'), { 'power-proxy': { 'frames.dropped': 30 } });
  });
  await within(async ({ coordinator, store, say }) => {
    await say('telemetry/power-proxy', telemetry(3));
    await say('telemetry/power-proxy', { ...telemetry(1), boot: '00000002' });
    assert.is(coordinator.counters.get('telemetry.duplicate'), 1);
    assert.equal(await store.totals('home', 'gw-1'), { 'power-proxy': { 'frames.dropped': 40 } });
  });
});

test('each kind of bad publication is counted by its reason, shown with what was expected, and changes nothing', async () => {
  const bad: [string, Uint8Array | string, string, RegExp][] = [
    ['state', 'happy', 'bad-state', /init, ready/],
    ['info', json({ ...info, jobs: ['cook'] }), 'bad-info', /CBOR/],
    ['info', encodeCbor({ ...info, jobs: ['cook'] }), 'bad-info', /jobs\[0\]: expected "kibbutz"/],
    ['telemetry/x', encodeCbor({ boot, seq: -1, uptime: 0, counters: {} }), 'bad-telemetry', /seq/],
    ['telemetry/x', new Uint8Array([0xa1]), 'bad-telemetry', /truncated/],
    ['event/wake', encodeCbor({ boot: 7 }), 'bad-event', /boot/],
    [
      'ledger',
      encodeCbor({ boot, uptime: 0, neighbours: { a: { given: 'x' } } }),
      'bad-ledger',
      /neighbours\.a\.given/,
    ],
    ['rule/x/status', encodeCbor({ status: 'maybe' }), 'bad-rule-status', /status/],
    ['rule/X', '{}', 'bad-id', /a-z/],
    ['mood', '{}', 'unknown-leaf', /telemetry/],
  ];
  await within(async ({ coordinator, say }) => {
    for (const [leaf, payload, reason, expected] of bad) {
      const before = coordinator.counters.snapshot()[reason] ?? 0;
      await say(leaf, payload);
      assert.is(coordinator.counters.snapshot()[reason], before + 1, leaf);
      assert.match(coordinator.lastProblem!.problem, expected);
    }
    assert.equal([coordinator.nodeList(), coordinator.ruleList()], [[], []]);
    await coordinator.ingest({ topic: 'zigbee2mqtt/lamp', payload: json({ on: true }) });
    assert.is(coordinator.counters.get('foreign-topic'), 1);
    assert.match(coordinator.lastProblem!.topic, 'mood', "other people's topics are no problem");
    assert.match(coordinator.status({}), '"unknown-leaf":1');
  });
});

test('no publication of any topic or payload takes the coordinator down or grows it without bound', async () => {
  const seed = Date.now() % 1_000_000;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'publications');
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)];
  const leaves = [
    'state',
    'info',
    'ledger',
    'rule/a',
    'rule/a/status',
    'telemetry/t',
    'event/e',
    'request/r',
    'x',
    '',
  ];
  const good = [info, { boot, seq: 1, uptime: 1, counters: { a: 1 } }, { boot, uptime: 1, neighbours: {} }];
  await within(async ({ coordinator, say }) => {
    const endAt = Date.now() + 3_000;
    let said = 0;
    while (Date.now() < endAt && said < 20_000) {
      const batch = Array.from({ length: 50 }, () => {
        const payload = encodeCbor(pick(good));
        for (let flips = random.below(4); flips > 0; flips--)
          payload[random.below(payload.length)] = random.below(256);
        const cut = random.chance(0.2) ? payload.subarray(0, random.below(payload.length)) : payload;
        const noise = new Uint8Array(random.below(64)).map(() => random.below(256));
        const body = random.chance(0.7)
          ? cut
          : random.chance(0.5)
            ? noise
            : json(pick([...good, {}, [], '__proto__']));
        const leaf = random.chance(0.9) ? pick(leaves) : String.fromCharCode(...Array.from(noise));
        return say(leaf, body);
      });
      await Promise.all(batch);
      said += batch.length;
    }
    assert.is(coordinator.counters.get('publications'), said);
    assert.is(coordinator.nodeList().length <= 1, true);
    await say('state', 'ready');
    assert.is(coordinator.nodeList()[0].state, 'ready', 'and it goes on working');
  });
});

test('rules of a node are bounded, and the bound is counted', async () => {
  await within(async ({ coordinator, say }) => {
    await Promise.all(Array.from({ length: 600 }, (_, i) => say(`rule/r${i}`, '{}')));
    assert.equal([coordinator.ruleList().length, coordinator.counters.get('too-many-rules')], [512, 88]);
  });
});

test('what a node says of its time may be absurd, and costs nothing but the date', async () => {
  await within(async ({ coordinator, mirror, say }) => {
    const status = { status: 'accepted', digest: '00000000', boot, uptime: 2 ** 53 - 1, lastHit: 0 };
    await say('rule/x/status', status);
    assert.is(coordinator.ruleList()[0].reported?.uptime, 2 ** 53 - 1);
    assert.not('lastHitAt' in (mirror.get('kith/json/home/gw-1/rule/x/status') as object));
    await say('rule/x/status', { ...status, uptime: 1, lastHit: 2 });
    assert.is(coordinator.counters.get('faults'), 0);
  });
});

test('a store that refuses is passed on, so that nobody is told it is safe; a fault of ours is counted instead', async () => {
  await within(async ({ coordinator, store, say }) => {
    const { put } = store;
    store.put = () => Promise.reject(new Error('no space left'));
    const refused = await say('state', 'ready').then(() => 'acknowledged', String);
    assert.match(refused, 'no space left');
    store.put = put;
    await say('state', 'ready');
    assert.is(coordinator.nodeList()[0].state, 'ready');
    store.put = () => {
      throw new TypeError('a bug');
    };
    await say('state', 'init');
    assert.is(coordinator.counters.get('faults'), 1);
    store.put = put;
  });
});

test('payloads and the registry are bounded, each bound is counted, and room comes back', async () => {
  await within(async ({ coordinator, say }) => {
    await say('rule/long', new Uint8Array(8193));
    await say('info', encodeCbor({ ...info, missing: { pppoe: 'x'.repeat(5000) } }));
    await say('telemetry/t', encodeCbor({ boot, seq: 1, uptime: 1, counters: {}, text: 'x'.repeat(5000) }));
    const { counters } = coordinator;
    assert.equal(
      [counters.get('bad-rule'), counters.get('bad-info'), counters.get('bad-telemetry')],
      [1, 1, 1],
    );
    assert.match(coordinator.lastProblem!.problem, 'at most 4096 bytes');
    for (let job = 0; job < 10; job++)
      await say(`telemetry/job-${job}`, { boot, seq: 10 + job, uptime: 1, counters: {} });
    assert.equal([counters.get('telemetry.stored'), counters.get('too-many-jobs')], [8, 2]);
    const rule = new Uint8Array(8192);
    const fill = (node: number) =>
      Promise.all(
        Array.from({ length: 500 }, (_, i) =>
          coordinator.ingest({ topic: `kith/1/flood/gw-${node}/rule/r${i}`, payload: rule }),
        ),
      );
    for (let node = 0; node < 18; node++) await fill(node);
    const full = counters.get('registry-full');
    assert.ok(full > 0 && coordinator.ruleList().length < 9000, String(full));
    await coordinator.ingest({ topic: 'kith/1/flood/gw-0/rule/r0', payload: new Uint8Array(0) });
    await say('rule/small', new Uint8Array(4096));
    assert.is(counters.get('registry-full'), full, 'room came back');
  });
});

test('the latest events of a node are kept over a restart, each once, and go with the node', async () => {
  const event = (seq: number) => ({ boot, seq, uptime: seq, rule: 'ssh', packet: `packet ${seq}` });
  await within(async ({ say, store }) => {
    for (let seq = 0; seq < 300; seq++) await say('event/wake', event(seq));
    await say('event/wake', event(299));
    assert.is((await store.all('event/home/gw-1')).length, 256);
  });
  await within(async ({ say, store, coordinator, mirror }) => {
    await say('event/wake', event(300));
    const payload = json({ transaction: 't', site: 'home', node: 'gw-1', limit: 3 });
    await coordinator.ingest({ topic: 'kith/json/coordinator/request/node', payload });
    const answer = mirror.get('kith/json/coordinator/response/node') as { events: { packet: string }[] };
    assert.equal(
      answer.events.map(({ packet }) => packet),
      ['packet 298', 'packet 299', 'packet 300'],
    );
    await say('state', '');
    assert.equal(await store.all('event/home/gw-1'), []);
  });
});

test.run();
