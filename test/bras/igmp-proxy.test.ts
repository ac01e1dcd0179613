import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readUint32 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { type GroupRecord, type Igmp, parseIgmp } from '../../agent/wire/igmp.js';
import { parseIpv4 } from '../../agent/wire/ipv4.js';
import { parseIpv4 as address, formatIpv4, ipv4Bytes } from '../../host-sim/bras/address-pool.js';
import { groupLimit, IgmpProxy, igmpPacket, sourceLimit } from '../../host-sim/bras/igmp-proxy.js';

const news = address('239.1.1.1', '');
const sport = address('239.1.1.2', '');
const [studio, pirate] = [address('192.0.2.1', ''), address('192.0.2.66', '')];
const names = ['', 'is-in', 'is-ex', 'to-in', 'to-ex', 'allow', 'block'];

function read(packet: Uint8Array): { to: string; message: Igmp } {
  const ip = parseIpv4(packet, 0, packet.length);
  if (!ip.ok) throw new Error(ip.reason);
  const igmp = parseIgmp(ip.value.payload, 0, ip.value.payload.length);
  if (!igmp.ok) throw new Error(igmp.reason);
  return { to: formatIpv4(readUint32(ip.value.dstAddress, 0)), message: igmp.value };
}

function describe(packet: Uint8Array): string {
  const { to, message } = read(packet);
  if (message.kind !== 'report-v3') return `${message.kind} to ${to}`;
  const records = message.records.map(
    ({ type, groupAddress, sourceAddresses }) =>
      `${names[type]} ${formatIpv4(readUint32(groupAddress, 0))}(${sourceAddresses.map(one => formatIpv4(readUint32(one, 0)))})`,
  );
  return records.join(' ');
}

function proxy(memberships = 1000) {
  const upstream: string[] = [];
  const asked: number[] = [];
  const igmp = new IgmpProxy({
    memberships,
    upstreamAddress: address('203.0.113.2', ''),
    sessionAddress: address('10.0.0.1', ''),
    random: new Random(1, 'igmp'),
    toSession: (_now, row, packet) => {
      assert.is(read(packet).message.kind, 'query');
      asked.push(row);
    },
    toUpstream: (_now, packet) => upstream.push(describe(packet)),
  });
  const say = (now: number, row: number, message: Igmp) => {
    const packet = igmpPacket(address('10.9.0.1', ''), news, message);
    igmp.fromSession(now, row, packet, 0, packet.length);
  };
  const change = (now: number, row: number, type: string, group: number, sources: number[] = []) => {
    const record: GroupRecord = {
      type: names.indexOf(type),
      groupAddress: ipv4Bytes(group),
      sourceAddresses: sources.map(ipv4Bytes),
    };
    say(now, row, { kind: 'report-v3', records: [record] });
  };
  const run = (untilAt: number) => {
    for (let at = igmp.pollAt(); at <= untilAt; at = igmp.pollAt()) igmp.poll(at);
  };
  const wants = (group: number, source: number) => {
    const rows: number[] = [];
    igmp.replicate(group, source, row => rows.push(row));
    return rows.sort();
  };
  /** What was said upstream since last asked. */
  const heard = () => upstream.splice(0);
  return { igmp, asked, say, change, run, wants, heard };
}

const join = (group: number): Igmp => ({ kind: 'report-v2', groupAddress: ipv4Bytes(group) });
const leave = (group: number): Igmp => ({ kind: 'leave', groupAddress: ipv4Bytes(group) });

test('many subscribers are one host upstream: one join with the first, one leave with the last', () => {
  const { igmp, say, run, heard, wants } = proxy();
  for (let row = 1; row <= 3; row++) say(0, row, join(news));
  assert.equal(heard(), ['to-ex 239.1.1.1()']);
  run(2_000);
  assert.equal(heard(), ['to-ex 239.1.1.1()'], 'said once more');
  assert.equal(wants(news, studio), [1, 2, 3]);
  assert.equal(wants(sport, studio), []);
  say(3_000, 2, leave(news));
  igmp.close(3_000, 1);
  assert.equal([wants(news, studio), heard()], [[3], []]);
  say(3_000, 3, leave(news));
  assert.equal([wants(news, studio), heard()], [[], ['to-in 239.1.1.1()']]);
  run(5_000);
  assert.equal(heard(), ['to-in 239.1.1.1()']);
  assert.is(igmp.memberships, 0);
});

test('source filters merge as RFC 3376 §3.2 says, and each gets only what he asked for', () => {
  const { change, heard, wants } = proxy();
  change(0, 1, 'allow', news, [studio]);
  assert.equal(heard(), ['allow 239.1.1.1(192.0.2.1)']);
  change(0, 2, 'to-ex', news, [studio, pirate]);
  // Excluded by 2, but 1 wants the studio.
  assert.equal(heard(), ['to-ex 239.1.1.1(192.0.2.66)']);
  assert.equal([wants(news, studio), wants(news, pirate), wants(news, 7)], [[1], [], [2]]);
  change(0, 2, 'allow', news, [pirate]);
  assert.equal([heard(), wants(news, pirate)], [['allow 239.1.1.1(192.0.2.66)'], [2]]);
  change(0, 2, 'to-in', news);
  assert.equal(heard(), ['to-in 239.1.1.1(192.0.2.1)']);
  change(0, 1, 'block', news, [studio]);
  assert.equal(heard(), ['block 239.1.1.1(192.0.2.1)']);
});

test('random reports agree upstream with the wishes merged from scratch', () => {
  const seed = 11;
  const random = new Random(seed, 'reports');
  const { igmp, change, heard } = proxy();
  let upstream = { mode: 'include', sources: [] as number[] };
  for (let step = 0; step < 3_000; step++) {
    const row = 1 + random.below(4);
    if (random.chance(0.05)) igmp.close(step, row);
    else {
      const type = names[1 + random.below(6)];
      change(
        step,
        row,
        type,
        news,
        [1, 2, 3].filter(() => random.chance(0.5)),
      );
    }
    for (const line of heard())
      for (const [, type, list] of line.matchAll(/(\S+) \S+?\(([^)]*)\)/g)) {
        const sources = list === '' ? [] : list.split(',').map(text => address(text, ''));
        const without = upstream.sources.filter(one => !sources.includes(one));
        if (type === 'to-in' || type === 'to-ex')
          upstream = { mode: type === 'to-in' ? 'include' : 'exclude', sources };
        else if ((type === 'allow') === (upstream.mode === 'include'))
          upstream = { ...upstream, sources: [...without, ...sources] };
        else upstream = { ...upstream, sources: without };
      }
    const wishes = [1, 2, 3, 4].flatMap(one => igmp.membershipsOf(one));
    for (const source of [1, 2, 3, 4]) {
      const wanted = wishes.some(wish => wish.sources.includes(source) === (wish.mode === 'include'));
      const got = upstream.sources.includes(source) === (upstream.mode === 'include');
      assert.is(got, wanted, `seed ${seed}, step ${step}, source ${source}`);
    }
  }
});

test('a member that answers no query is dropped after 260 s and no more than a query later; one that answers stays', () => {
  const { igmp, asked, say, run, heard } = proxy();
  say(0, 1, join(news));
  say(0, 2, join(sport));
  for (let now = 0; now <= 400_000; now += 20_000) {
    run(now);
    if (asked.splice(0).includes(2)) say(now, 2, join(sport));
  }
  assert.equal([igmp.memberships, igmp.counters.get('expired')], [1, 1]);
  assert.ok(heard().includes('to-in 239.1.1.1()'));
  igmp.close(400_000, 2);
  run(1e9);
  assert.is(igmp.pollAt(), never);
});

test('the querier upstream is answered within its time: all groups, or the one it names; in version 2 if it speaks that', () => {
  const { igmp, say, run, heard } = proxy();
  say(0, 1, join(news));
  say(0, 1, join(sport));
  run(2_000);
  heard();
  const ask = (now: number, version: 2 | 3, group: number) => {
    const packet = igmpPacket(address('203.0.113.1', ''), news, {
      kind: 'query',
      version,
      maxResponseTimeMs: 1_000,
      groupAddress: ipv4Bytes(group),
      suppressRouterProcessing: false,
      robustness: 2,
      queryIntervalS: 125,
      sourceAddresses: [],
    });
    igmp.fromUpstream(now, packet, 0, packet.length);
  };
  ask(10_000, 3, 0);
  run(11_000);
  assert.equal(heard(), ['is-ex 239.1.1.1() is-ex 239.1.1.2()']);
  ask(20_000, 3, address('239.9.9.9', ''));
  ask(20_000, 2, sport);
  run(21_000);
  assert.equal(heard(), ['report-v2 to 239.1.1.2']);
  say(22_000, 1, leave(sport));
  run(24_000);
  assert.equal(heard(), ['leave to 224.0.0.2', 'leave to 224.0.0.2']);
});

test('groups of the link, queries from subscribers, too much and nonsense change nothing and are counted', () => {
  const { igmp, say, change, wants } = proxy(40);
  say(0, 1, join(address('224.0.0.251', '')));
  say(0, 1, {
    kind: 'query',
    version: 2,
    maxResponseTimeMs: 100,
    groupAddress: ipv4Bytes(0),
    suppressRouterProcessing: false,
    robustness: 0,
    queryIntervalS: 0,
    sourceAddresses: [],
  });
  assert.is(igmp.counters.get('not-proxied'), 2);
  for (let i = 0; i < 50; i++) say(0, 1, join(news + i));
  for (let i = 0; i < 50; i++) say(0, 2, join(news + i));
  assert.equal([igmp.membershipsOf(1).length, igmp.memberships], [groupLimit, 40]);
  change(
    0,
    1,
    'is-ex',
    news,
    Array.from({ length: sourceLimit + 1 }, (_, i) => i + 1),
  );
  assert.is(igmp.counters.get('too-many'), 18 + 42 + 1);
  assert.equal(wants(news, 1), [1, 2]);
  const packet = igmpPacket(1, news, join(news));
  for (let at = 0; at < packet.length; at++) {
    const bad = packet.slice();
    bad[at] ^= 0x10;
    igmp.fromSession(0, 9, bad, 0, bad.length);
    igmp.fromSession(0, 9, packet, 0, at);
  }
  assert.equal(igmp.membershipsOf(9), []);
});

test.run();
