/** What a rule would have done: from what the coordinator keeps of a node, and from frames. */

import { Buffer } from 'node:buffer';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { digest, encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import type { Rule, RuleStatus } from '../../agent/message/messages.js';
import { linkType } from '../../host-sim/capture/dissect.js';
import type { CapturedFrame } from '../../host-sim/capture/pcap.js';
import type { RuleRecord } from '../../host-sim/coordinator/coordinator.js';
import {
  declaredRules,
  judgeRule,
  matchEvent,
  previewFromCapture,
  previewFromRecord,
  type RecordedEvent,
  withHostsOfRules,
} from '../../host-sim/coordinator/preview.js';
import { arpQuestion, segment } from '../power-proxy/respond-subjects.js';

const boot = '0badcafe';
const host = '3c:22:fb:01:02:03';
const json = (value: unknown) => encodeUtf8(JSON.stringify(value));

function record(rule: string, desired: Rule, reported: Partial<RuleStatus> = {}): RuleRecord {
  const payload = json(desired);
  const status: RuleStatus = {
    status: 'accepted',
    digest: digest(payload),
    boot,
    uptime: 3_600_000,
    ...reported,
  };
  return {
    site: 'home',
    node: 'gw-1',
    rule,
    desired: { payload: Buffer.from(payload).toString('base64'), digest: digest(payload) },
    reported: status,
  };
}

const dropAll = record('rest', { trigger: { any: true }, action: 'drop', priority: 0 }, { hits: 500 });
const dropTcp = record('tcp', { trigger: { tcp: {} }, action: 'drop' }, { hits: 40 });
const ssh: Rule = { host, trigger: { tcp: { dstPort: 22, flags: 'syn' } }, action: 'wake' };

test('the record tells where a rule would stand, what leaves it nothing, and what it takes from others', () => {
  const rules = [dropAll, dropTcp];
  const late = previewFromRecord({
    id: 'web',
    payload: json({ ...ssh, priority: 50 }),
    rules,
    telemetry: [],
    events: [],
  });
  assert.equal([late.place, late.of, late.replaces], [2, 3, false]);
  assert.equal(late.leavesTo, [{ rule: 'tcp', part: 'all' }]);
  assert.equal(
    late.warnings.map(({ kind, rule }) => `${kind} ${rule}`),
    ['shadowed tcp'],
  );
  assert.equal(late.takesFrom, [{ rule: 'rest', part: 'some', hits: 500, withinMs: 3_600_000 }]);

  const early = previewFromRecord({
    id: 'all-tcp',
    payload: json({ trigger: { tcp: {} }, action: 'drop', priority: 200 }),
    rules,
    telemetry: [],
    events: [],
  });
  assert.is(early.place, 1);
  assert.equal(
    early.takesFrom.map(({ rule, part, hits }) => [rule, part, hits]),
    [
      ['tcp', 'all', 40],
      ['rest', 'some', 500],
    ],
  );
  assert.equal(
    early.others.map(({ rule, warning }) => `${rule}: ${warning.kind}`),
    ['tcp: shadowed'],
    'what it does to others is told, what they were already is not',
  );
});

test('a rule of the same id is replaced, and rejected and expired ones do not count', () => {
  const rejected = record(
    'bad',
    { trigger: { any: true }, action: 'drop', priority: 300 },
    { status: 'rejected' },
  );
  const expired = record(
    'old',
    { trigger: { any: true }, action: 'drop', priority: 300 },
    { status: 'expired' },
  );
  const preview = previewFromRecord({
    id: 'tcp',
    payload: json(ssh),
    rules: [dropAll, dropTcp, rejected, expired],
    telemetry: [],
    events: [],
  });
  assert.equal([preview.place, preview.of, preview.replaces], [1, 2, true]);
  assert.equal(preview.leavesTo, []);
  assert.equal(
    declaredRules([dropAll, rejected, expired]).map(({ id }) => id),
    ['rest'],
  );
});

test('telemetry is counted from the first to the last message of each boot, and of the power proxy alone', () => {
  const message = (at: string, uptime: number, frames: number, unmatched: number, job = 'power-proxy') => ({
    boot: at,
    job,
    uptime,
    counters: { 'agent.frames': frames, 'frames.unmatched': unmatched },
  });
  const ask = (telemetry: ReturnType<typeof message>[]) => {
    const { spanMs, frames, unmatched } = previewFromRecord({
      id: 'ssh',
      payload: json(ssh),
      rules: [],
      telemetry,
      events: [],
    });
    return [spanMs, frames, unmatched];
  };
  assert.equal(
    ask([
      message('00000001', 10_000, 100, 10),
      message('00000001', 70_000, 700, 40),
      message('00000001', 80_000, 9999, 9999, 'kibbutz'),
      message('00000002', 0, 0, 0),
      message('00000002', 5_000, 50, 5),
    ]),
    [65_000, 650, 35],
  );
  assert.equal(ask([message('00000001', 10_000, 100, 10)]), [0, undefined, undefined]);
});

test('of the last packet in words it is told whether the rule takes it, and no more than the words say', () => {
  const event: RecordedEvent = {
    at: 0,
    name: 'wake',
    rule: 'ssh',
    host,
    packet: 'tcp 192.0.2.20:50000 > 192.0.2.10:22 syn',
  };
  const six: RecordedEvent = { ...event, packet: 'udp fe80::20:5353 > ff02::fb:5353' };
  for (const [rule, told, of] of [
    [ssh, 'yes', event],
    [{ ...ssh, host: '3c:22:fb:01:02:04' }, 'no', event],
    [{ ...ssh, trigger: { tcp: { dstPort: [80, 443] } } }, 'no', event],
    [{ ...ssh, trigger: { tcp: { flags: 'syn,ack' } } }, 'no', event],
    [{ ...ssh, trigger: { ipv4: { srcAddress: '192.0.2.0/24' } } }, 'yes', event],
    [{ ...ssh, trigger: { ipv4: { srcAddress: '198.51.100.0/24' } } }, 'no', event],
    [{ ...ssh, trigger: { ipv4: { timeToLive: 64 } } }, 'cannot tell', event],
    [{ ...ssh, trigger: { tcp: { dstPort: 22 }, payload: { bytes: '00' } } }, 'cannot tell', event],
    [{ ...ssh, trigger: { tcp: { dstPort: 23 }, payload: { bytes: '00' } } }, 'no', event],
    [{ ...ssh, trigger: { arp: {} } }, 'no', event],
    [{ ...ssh, trigger: { timer: { every: '1h' } } }, 'no', event],
    [{ trigger: { any: true }, action: 'drop' }, 'yes', event],
    [{ trigger: { ipv6: { dstAddress: 'ff02::/16' } }, action: 'drop' }, 'yes', six],
    [{ trigger: { ipv6: { dstAddress: 'ff05::/16' } }, action: 'drop' }, 'no', six],
    [{ trigger: { mdns: { type: 'ptr' } }, action: 'drop' }, 'cannot tell', six],
    [ssh, 'cannot tell', { ...event, packet: 'ethertype 0x806' }],
  ] as const) {
    const judged = judgeRule('rule', json(rule));
    assert.ok(judged.ok, JSON.stringify(judged));
    assert.is(matchEvent(judged.value, of), told, JSON.stringify(rule));
  }
});

test('of the events recorded those with a packet are told, each with whether the rule would have taken it', () => {
  const wake = { name: 'wake', rule: 'all', host, packet: 'tcp 192.0.2.20:50000 > 192.0.2.10:22 syn' };
  const { packets } = previewFromRecord({
    id: 'ssh',
    payload: json(ssh),
    rules: [],
    telemetry: [],
    events: [
      { at: 1, ...wake },
      { at: 2, name: 'awake', host },
      { at: 3, ...wake, packet: 'tcp 192.0.2.20:50000 > 192.0.2.10:80 syn' },
      { at: 4, ...wake, packet: 'ethertype 0x806' },
    ],
  });
  assert.equal(
    packets.map(({ at, match }) => [at, match]),
    [
      [1, 'yes'],
      [3, 'no'],
      [4, 'cannot tell'],
    ],
  );
});

test('of a redirected frame it is known exactly whether the rule takes it', () => {
  const syn = segment({ flags: 2, options: [] });
  const event = { at: 0, name: 'redirect', rule: 'x', host, packet: 'tcp …', frame: formatHex(syn) };
  for (const [trigger, told] of [
    [{ tcp: { dstPort: 22, flags: 'syn' } }, 'yes'],
    [{ ipv4: { timeToLive: 64 } }, 'yes'],
    [{ ipv4: { timeToLive: 1 } }, 'no'],
  ] as const) {
    const judged = judgeRule('rule', json({ host, trigger, action: 'wake' }));
    assert.ok(judged.ok);
    assert.is(matchEvent(judged.value, event), told, JSON.stringify(trigger));
  }
});

test('a rule that the node would refuse is refused with the field at fault', () => {
  const ask = (rule: unknown) =>
    previewFromRecord({ id: 'x', payload: json(rule), rules: [], telemetry: [], events: [] });
  assert.throws(
    () => ask({ trigger: { tcp: { dstPort: 'ssh' } }, action: 'wake' }),
    /^trigger\.tcp\.dstPort: expected /,
  );
  assert.throws(() => ask({ trigger: {}, action: 'drop' }), /^trigger: expected at least one protocol/);
});

async function* framesAt(frames: readonly (readonly [number, Uint8Array])[]): AsyncGenerator<CapturedFrame> {
  for (const [i, [seconds, bytes]] of frames.entries())
    yield {
      number: i + 1,
      time: { seconds, nanoseconds: 0 },
      linkType: linkType.ethernet,
      bytes,
      originalLength: bytes.length,
    };
}

test('a capture tells which frames a rule decides, whose they were, and what changes in sum', async () => {
  const syn = segment({ flags: 2, acknowledgmentNumber: 0, options: [] });
  const rules = declaredRules([dropAll, dropTcp]);
  const rule = { id: 'ssh', entry: 'rule ssh', payload: json({ ...ssh, priority: 200 }) };
  const declared = { mac: host, ipv4: ['192.0.2.10'], state: 'asleep' } as const;
  const hosts = [{ id: 'desktop', entry: 'host desktop', host: declared, payload: json(declared) }];
  const preview = await previewFromCapture(
    framesAt([
      [0, arpQuestion({})],
      [1, syn],
      [2, syn],
      [3, segment()],
    ]),
    { rule, rules, hosts },
  );
  assert.equal(preview.outcomes, { waking: 2 });
  assert.equal(preview.takenFrom, { tcp: 2 });
  assert.equal([preview.without.wakes.started, preview.with.wakes.started], [0, 1]);
  assert.equal([preview.without.drops, preview.with.drops], [4, 2]);
  assert.is(preview.with.rules['ssh'].hits, 2);
  assert.equal(preview.others, []);
});

test('hosts that only rules name are there too, once', () => {
  const rules = declaredRules([record('a', ssh), record('b', { ...ssh, host: host.toUpperCase() }), dropAll]);
  assert.equal(
    withHostsOfRules([], rules).map(known => known.host),
    [{ mac: host }],
  );
});

test.run();
