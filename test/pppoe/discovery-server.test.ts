import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import {
  cookieLifeMs,
  type DiscoveryLimits,
  defaultDiscoveryLimits,
  keyLifeMs,
} from '../../agent/pppoe/discovery-server.js';
import { SessionTable } from '../../agent/pppoe/session-table.js';
import { type PppoeTag, pppoeCode } from '../../agent/wire/pppoe.js';
import {
  acMac,
  broadcast,
  frameOf,
  hostMac,
  type Packet,
  packetOf,
  type ServerParts,
  serverParts,
  tagOf,
} from './discovery-parts.js';

const any: PppoeTag = { kind: 'service-name', text: '' };
const hostUniq: PppoeTag = { kind: 'host-uniq', data: new Uint8Array([1, 2, 3]) };
const relayId: PppoeTag = { kind: 'relay-session-id', data: new Uint8Array([9, 9]) };

function padi(packet: Partial<Packet> = {}): Uint8Array {
  return frameOf({ code: pppoeCode.padi, dst: broadcast, tags: [any], ...packet });
}

function padr(cookie: PppoeTag, packet: Partial<Packet> = {}): Uint8Array {
  return frameOf({ code: pppoeCode.padr, ...packet, tags: [...(packet.tags ?? [any]), cookie] });
}

function cookieFor(parts: ServerParts, now: number, packet: Partial<Packet> = {}, link = 0): PppoeTag {
  const offers = parts.receive(now, padi(packet), link);
  assert.is(offers.length, 1, 'one PADO');
  return tagOf(offers[0], 'ac-cookie')!;
}

/** The session id of the PADS. */
function open(parts: ServerParts, now: number, packet: Partial<Packet> = {}): number {
  const answers = parts.receive(now, padr(cookieFor(parts, now, packet), packet));
  const pads = packetOf(answers[answers.length - 1]);
  assert.is(pads.code, pppoeCode.pads);
  return pads.sessionId;
}

function macOf(index: number): Uint8Array {
  return new Uint8Array([2, 0x20, index >>> 24, index >>> 16, index >>> 8, index]);
}

test('PADI is answered with name, the service asked for, the others, a cookie, and what must be echoed', () => {
  const parts = serverParts();
  const [frame] = parts.receive(0, padi({ tags: [relayId, any, hostUniq] }));
  const pado = packetOf(frame);
  assert.is(pado.code, pppoeCode.pado);
  assert.is(pado.sessionId, 0);
  assert.equal([pado.dst, pado.src], [hostMac, acMac]);
  const cookie = tagOf(frame, 'ac-cookie')!;
  assert.equal(pado.tags, [
    { kind: 'ac-name', text: 'ac1' },
    any,
    { kind: 'service-name', text: 'internet' },
    { kind: 'service-name', text: 'iptv' },
    cookie,
    hostUniq,
    relayId,
  ]);
  assert.is(parts.table.count, 0, 'nothing is kept');
});

test('PADR with the cookie opens a session; the same PADR again gets the same session, and opens no other', () => {
  const parts = serverParts();
  const tags: PppoeTag[] = [{ kind: 'service-name', text: 'iptv' }, hostUniq, relayId];
  const request = padr(cookieFor(parts, 0, { tags }), { tags });
  const [first] = parts.receive(10, request);
  const pads = packetOf(first);
  assert.is(pads.code, pppoeCode.pads);
  assert.ok(pads.sessionId >= 1 && pads.sessionId <= 65_534);
  assert.equal(pads.tags, [tags[0], hostUniq, relayId]);
  assert.equal(parts.receive(5_000, request), [first]);
  parts.server.settle(pads.sessionId);
  assert.equal(
    parts.receive(cookieLifeMs + 10_000, request),
    [first],
    'even when the cookie is too old for a new one',
  );
  assert.is(parts.opened.length, 1);
  assert.is(parts.opened[0].request.service, 'iptv');
  assert.is(parts.table.count, 1);
  assert.is(parts.server.counters.get('discovery.pads-again'), 2);
});

test('Service-Name stands exactly once: PADI is dropped, PADR refused with the error tag and session 0', () => {
  const parts = serverParts();
  for (const tags of [[], [any, any], [any, { kind: 'service-name', text: 'iptv' } as PppoeTag]]) {
    assert.equal(parts.receive(0, padi({ tags })), []);
    const [frame] = parts.receive(0, padr(cookieFor(parts, 0), { tags }));
    assert.is(packetOf(frame).sessionId, 0);
    assert.ok(tagOf(frame, 'service-name-error'));
  }
  assert.is(parts.server.counters.get('discovery.drop.service-count'), 3);
  assert.is(parts.server.counters.get('discovery.refused.service'), 3);
});

test('a service we have not: no offer, and PADS with Service-Name-Error', () => {
  const parts = serverParts();
  const other: PppoeTag = { kind: 'service-name', text: 'other' };
  assert.equal(parts.receive(0, padi({ tags: [other] })), []);
  const [frame] = parts.receive(0, padr(cookieFor(parts, 0), { tags: [other, hostUniq] }));
  assert.is(packetOf(frame).sessionId, 0);
  assert.ok(tagOf(frame, 'service-name-error'));
  assert.equal(tagOf(frame, 'host-uniq'), hostUniq);
  const raw: PppoeTag = { kind: 'raw', type: 0x0101, data: new Uint8Array([0xff]) };
  assert.equal(parts.receive(0, padi({ tags: [raw] })), [], 'nor one that is not UTF-8');
  assert.is(parts.table.count, 0);
});

test('a cookie is good for the host, line and time it was made for, and for nothing else', () => {
  const vlan = { tpid: 0x8100, priority: 0, dropEligible: false, vlanId: 7 };
  const parts = serverParts();
  const cookie = cookieFor(parts, 1_000);
  const forged = { ...cookie, data: Uint8Array.from((cookie as { data: Uint8Array }).data) };
  forged.data[8] ^= 1;
  const older = { ...cookie, data: Uint8Array.from((cookie as { data: Uint8Array }).data) };
  older.data[3] ^= 1;
  for (const [what, frame, link] of [
    ['another MAC', padr(cookie, { src: macOf(1) }), 0],
    ['another VLAN', padr(cookie, { vlanTags: [vlan] }), 0],
    ['another inner VLAN', padr(cookie, { vlanTags: [vlan, vlan] }), 0],
    ['another link', padr(cookie), 1],
    ['a bit changed', padr(forged), 0],
    ['another time', padr(older), 0],
    ['cut short', padr({ kind: 'ac-cookie', data: forged.data.subarray(0, 23) }), 0],
  ] as const)
    assert.equal(parts.receive(1_000, frame, link), [], what);
  assert.is(parts.server.counters.get('discovery.drop.forged-cookie'), 7);
  assert.equal(parts.receive(1_000, frameOf({ code: pppoeCode.padr, tags: [any] })), []);
  assert.is(parts.server.counters.get('discovery.drop.no-cookie'), 1);
  const [late] = parts.receive(1_000 + cookieLifeMs + 1_000, padr(cookie));
  assert.is(packetOf(late).sessionId, 0);
  assert.ok(
    tagOf(late, 'ac-system-error'),
    'a genuine one that is too old is refused, so that the host asks again at once',
  );
  assert.is(parts.table.count, 0);
});

test('a cookie outlives one change of the key, and no cookie outlives two', () => {
  const parts = serverParts();
  const cookie = cookieFor(parts, keyLifeMs - 1_000);
  assert.is.not(packetOf(parts.receive(keyLifeMs + 1_000, padr(cookie))[0]).sessionId, 0);
  const second = cookieFor(parts, keyLifeMs + 2_000, { src: macOf(2) });
  cookieFor(parts, 2 * keyLifeMs + 2_000, { src: macOf(3) });
  cookieFor(parts, 3 * keyLifeMs + 2_000, { src: macOf(3) });
  assert.equal(parts.receive(3 * keyLifeMs + 2_000, padr(second, { src: macOf(2) })), []);
  assert.is(parts.server.counters.get('discovery.drop.forged-cookie'), 1);
});

test('PADT is believed from the MAC, link and VLAN of the session, and for its id', () => {
  const vlanTags = [
    { tpid: 0x88a8, priority: 3, dropEligible: false, vlanId: 100 },
    { tpid: 0x8100, priority: 5, dropEligible: true, vlanId: 7 },
  ];
  const parts = serverParts();
  const id = open(parts, 0, { vlanTags });
  const padt = (packet: Partial<Packet>) =>
    frameOf({ code: pppoeCode.padt, sessionId: id, vlanTags, ...packet });
  parts.receive(1, padt({ src: macOf(1) }));
  parts.receive(1, padt({ sessionId: id + 1 }));
  parts.receive(1, padt({ sessionId: 0 }));
  parts.receive(1, padt({ vlanTags: [] }));
  parts.receive(1, padt({ vlanTags: [vlanTags[0]] }));
  parts.receive(1, padt({}), 1);
  assert.is(parts.server.counters.get('discovery.drop.padt-stranger'), 6);
  parts.receive(1, padt({ dst: macOf(9) }));
  assert.is(parts.server.counters.get('discovery.drop.destination'), 1);
  assert.is(parts.table.count, 1);
  // Priorities may differ from packet to packet.
  parts.receive(1, padt({ vlanTags: vlanTags.map(tag => ({ ...tag, priority: 0 })) }));
  assert.equal(parts.closed, [{ id, reason: 'padt' }]);
  assert.is(parts.table.count, 0);
});

test('answers and PADT leave over the VLANs the host is on', () => {
  const vlanTags = [
    { tpid: 0x88a8, priority: 3, dropEligible: false, vlanId: 100 },
    { tpid: 0x8100, priority: 5, dropEligible: true, vlanId: 7 },
  ];
  const parts = serverParts();
  assert.equal(packetOf(parts.receive(0, padi({ vlanTags }))[0]).vlanTags, vlanTags);
  const id = open(parts, 0, { vlanTags });
  parts.server.close(id, 'maintenance');
  const padt = packetOf(parts.sent.splice(0)[0].frame);
  assert.equal([padt.code, padt.sessionId, padt.dst], [pppoeCode.padt, id, hostMac]);
  assert.equal(
    padt.vlanTags.map(tag => [tag.tpid, tag.vlanId]),
    [
      [0x88a8, 100],
      [0x8100, 7],
    ],
  );
  assert.equal(padt.tags, [{ kind: 'generic-error', text: 'maintenance' }]);
  assert.equal(parts.closed, [], 'who closes is not told');
  const three = [...vlanTags, vlanTags[1]];
  assert.equal(parts.receive(0, padi({ vlanTags: three })), []);
  assert.is(parts.server.counters.get('discovery.drop.vlan-tags'), 1);
});

test('more than 1492 bytes only if both can (RFC 4638): the smaller of the two goes back', () => {
  const asked = (value: number): PppoeTag[] => [any, { kind: 'ppp-max-payload', value }];
  const cases = [
    [1500, 1500, 1500],
    [1500, 9000, 1500],
    [1508, 1500, 1500],
    [1492, 1500, 0],
    [1500, 1492, 0],
    [1500, 100, 0],
  ];
  for (const [index, [ours, theirs, agreed]] of cases.entries()) {
    const parts = serverParts({ maxPayload: ours });
    const packet = { tags: asked(theirs), src: macOf(index) };
    const cookie = cookieFor(parts, 0, packet);
    const [pads] = parts.receive(0, padr(cookie, packet));
    const tag = tagOf(pads, 'ppp-max-payload');
    assert.equal(tag, agreed === 0 ? undefined : { kind: 'ppp-max-payload', value: agreed });
    assert.is(parts.opened[0].request.maxPayload, agreed || 1492);
  }
});

test('the line is known by what its access node says (TR-101), even from a tag with faults in it', () => {
  const parts = serverParts();
  const subOptions = [
    { kind: 'agent-circuit-id' as const, text: 'node1 eth 1/1:100' },
    { kind: 'agent-remote-id' as const, text: 'customer 7' },
  ];
  const tags: PppoeTag[] = [any, { kind: 'dsl-forum', subOptions, rest: new Uint8Array([0x81, 200, 1]) }];
  const id = open(parts, 0, { tags });
  assert.is(parts.opened[0].request.circuitId, 'node1 eth 1/1:100');
  const row = parts.table.rowOf[id];
  assert.is(new TextDecoder().decode(parts.table.circuitId(row)), 'node1 eth 1/1:100');
  assert.is(new TextDecoder().decode(parts.table.remoteId(row)), 'customer 7');
  const long: PppoeTag[] = [
    any,
    { kind: 'dsl-forum', subOptions: [{ kind: 'agent-circuit-id', text: 'x'.repeat(64) }] },
  ];
  const second = open(parts, 0, { tags: long, src: macOf(1) });
  assert.is(parts.table.circuitId(parts.table.rowOf[second]).length, 0);
  assert.is(parts.server.counters.get('discovery.line-id-too-long'), 1);
});

test('an offer is held back by load, then sent in order; or not made', () => {
  const table = new SessionTable({ sessions: 10 });
  const padoDelays = [
    { sessions: 1, delayMs: 200 },
    { sessions: 2, delayMs: -1 },
  ];
  const parts = serverParts({ padoDelays, limits: { ...defaultDiscoveryLimits, waitingOffers: 1 } }, table);
  const id = open(parts, 0);
  assert.equal(parts.receive(100, padi({ src: macOf(1) })), []);
  assert.is(parts.server.pollAt(), 300);
  assert.equal(parts.receive(110, padi({ src: macOf(2) })), []);
  assert.equal(parts.receive(120, padi({ src: macOf(3) })), [], 'one waits at the head and one in the queue');
  assert.is(parts.server.counters.get('discovery.drop.waiting-full'), 1);
  parts.server.poll(299);
  assert.is(parts.sent.length, 0);
  parts.server.poll(310);
  assert.equal(
    parts.sent.splice(0).map(each => packetOf(each.frame).dst),
    [macOf(1), macOf(2)],
  );
  parts.server.settle(id);
  assert.is(parts.server.pollAt(), never);
  table.open(0, { macHigh: 2, macLow: 2, link: 0, outerTag: 0, innerTag: 0 });
  assert.equal(parts.receive(400, padi({ src: macOf(4) })), []);
  assert.is(parts.server.counters.get('discovery.drop.load'), 1);
});

test('draining: no offers, PADR refused in words, open sessions stay', () => {
  const parts = serverParts();
  const id = open(parts, 0);
  const cookie = cookieFor(parts, 0, { src: macOf(1) });
  parts.server.isDraining = true;
  assert.equal(parts.receive(0, padi({ src: macOf(2) })), []);
  const [refusal] = parts.receive(0, padr(cookie, { src: macOf(1) }));
  assert.is(packetOf(refusal).sessionId, 0);
  assert.ok(tagOf(refusal, 'ac-system-error'));
  assert.is.not(parts.table.rowOf[id], 0);
});

test('a session nobody settles is closed, with a PADT; a settled one is not', () => {
  const parts = serverParts();
  const id = open(parts, 0);
  const settled = open(parts, 10, { src: macOf(1) });
  parts.server.settle(settled);
  assert.is(parts.server.pollAt(), 60_000);
  parts.server.poll(59_999);
  assert.equal(parts.closed, []);
  parts.server.poll(60_000);
  assert.equal(parts.closed, [{ id, reason: 'timeout' }]);
  assert.is(packetOf(parts.sent[0].frame).code, pppoeCode.padt);
  assert.is(parts.server.pollAt(), never);
  assert.is(parts.table.count, 1);
});

test('a host that begins anew takes the place of its old session; a late PADR of the old one does not', () => {
  const parts = serverParts();
  const oldCookie = cookieFor(parts, 0);
  const [first] = parts.receive(0, padr(oldCookie));
  parts.server.settle(packetOf(first).sessionId);
  const newCookie = cookieFor(parts, 2_000);
  const answers = parts.receive(2_000, padr(newCookie)).map(packetOf);
  assert.equal(
    answers.map(answer => answer.code),
    [pppoeCode.padt, pppoeCode.pads],
  );
  assert.is(answers[0].sessionId, packetOf(first).sessionId);
  assert.equal(parts.closed, [{ id: packetOf(first).sessionId, reason: 'replaced' }]);
  assert.equal(parts.receive(2_100, padr(oldCookie)), []);
  assert.is(parts.server.counters.get('discovery.drop.stale-cookie'), 1);
  assert.is(parts.table.count, 1);
});

test('where a host may have several sessions, the oldest gives way to one too many', () => {
  const parts = serverParts({ limits: { ...defaultDiscoveryLimits, sessionsPerHost: 2 } });
  const ids = [0, 1, 2].map(second => open(parts, second * 2_000));
  assert.is(new Set(ids).size, 3);
  assert.equal(parts.closed, [{ id: ids[0], reason: 'replaced' }]);
  assert.is(parts.table.count, 2);
});

test('a full table refuses in words while all its sessions are in use, and takes the place of a half-open one', () => {
  const parts = serverParts({}, new SessionTable({ sessions: 2 }));
  const first = open(parts, 0, { src: macOf(1) });
  const second = open(parts, 0, { src: macOf(2) });
  parts.server.settle(first);
  const third = open(parts, 0, { src: macOf(3) });
  assert.equal(parts.closed, [{ id: second, reason: 'crowded-out' }]);
  parts.server.settle(third);
  const cookie = cookieFor(parts, 0, { src: macOf(4) });
  const [refusal] = parts.receive(0, padr(cookie, { src: macOf(4) }));
  assert.is(packetOf(refusal).sessionId, 0);
  assert.ok(tagOf(refusal, 'ac-system-error'));
});

test('one host that asks without end is answered at its rate, and others as before', () => {
  const parts = serverParts();
  let answers = 0;
  for (let now = 0; now < 10_000; now += 10) answers += parts.receive(now, padi()).length;
  assert.is(answers, defaultDiscoveryLimits.hostBurst + 9);
  assert.is(parts.receive(10_000, padi({ src: macOf(1) })).length, 1);
  assert.is(parts.server.counters.get('discovery.drop.host-rate'), 1_000 - answers);
});

test('a flood of false MACs on one line leaves the other lines their answers, and keeps nothing', () => {
  const limits = { ...defaultDiscoveryLimits, offersPerSecond: 3_000, lineOffersPerSecond: 500 };
  const parts = serverParts({ limits });
  const memory = parts.table.memoryBytes;
  let flooded = 0;
  let honest = 0;
  for (let i = 0; i < 50_000; i++) {
    const now = Math.floor(i / 10);
    flooded += parts.receive(now, padi({ src: macOf(i) }), 0).length;
    if (i % 1_000 === 0) honest += parts.receive(now, padi({ src: macOf(0x1000000 + i) }), 1).length;
  }
  assert.is(honest, 50);
  const { lineOffersPerSecond } = limits;
  assert.ok(flooded <= 6 * lineOffersPerSecond && flooded > 4 * lineOffersPerSecond, `${flooded}`);
  assert.is(parts.table.memoryBytes, memory);
  assert.is(parts.table.count, 0);
});

test('a flood of half-open sessions from many lines: memory is bounded, an honest host gets in and has time to log in', () => {
  const seed = 11;
  const random = new Random(seed, 'flood');
  const table = new SessionTable({ sessions: 2_000 });
  // 16 lines of 25 setups each a second offer twice what is taken in all.
  const limits = {
    ...defaultDiscoveryLimits,
    linePerSecond: 25,
    lineBurst: 50,
    setupsPerSecond: 200,
    halfOpen: 1_200,
  };
  const parts = serverParts({ limits }, table);
  const honestMac = macOf(0x2000000);
  const setUp = (now: number, src: Uint8Array, link: number) => {
    const offers = parts.receive(now, padi({ src }), link);
    if (offers.length === 0) return 0;
    const answers = parts.receive(now, padr(tagOf(offers[0], 'ac-cookie')!, { src }), link).map(packetOf);
    return answers.find(answer => answer.code === pppoeCode.pads)?.sessionId ?? 0;
  };
  let honestId = 0;
  let tries = 0;
  let settleAt = never;
  let retryAt = 30_000;
  for (let now = 0; now < 60_000; now++) {
    if (now % 2 === 0) setUp(now, macOf(now), 1 + random.below(16));
    if (now === retryAt && honestId === 0) {
      tries++;
      honestId = setUp(now, honestMac, 0);
      retryAt = now + 900 + random.below(200);
      // Two restart timers of LCP, just about.
      if (honestId !== 0) settleAt = now + 5_900;
    }
    if (now === settleAt) parts.server.settle(honestId);
    parts.server.poll(now);
    parts.sent.length = 0;
    assert.ok(table.halfOpenCount <= limits.halfOpen);
  }
  assert.is(tries, 1, `seed ${seed}: its line has been quiet, so the first try succeeds`);
  assert.is(table.state[table.rowOf[honestId]], 2, `seed ${seed}: it is open at the end`);
  assert.is(table.macLow[table.rowOf[honestId]], 0x2000000);
  assert.ok(parts.server.counters.get('discovery.drop.setup-rate') > 0);
  assert.ok(parts.server.counters.get('discovery.closed.crowded-out') > 0);
  assert.is(table.count, table.halfOpenCount + 1);
});

test('what is malformed, contradictory or not for us is dropped and counted by reason', () => {
  const parts = serverParts();
  const cut = padi({ tags: [any, hostUniq] }).subarray(0, 24);
  const overlong = padi({ tags: [any] });
  overlong[14 + 6 + 3] = 9;
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['malformed', cut],
    ['malformed', overlong],
    ['duplicate-tag', padi({ tags: [any, hostUniq, hostUniq], src: macOf(1) })],
    ['duplicate-tag', padi({ tags: [any, relayId, relayId], src: macOf(2) })],
    ['source', padi({ src: broadcast })],
    ['source', padi({ src: new Uint8Array(6) })],
    ['destination', padi({ dst: macOf(1) })],
    ['destination', frameOf({ code: pppoeCode.padr, dst: broadcast, tags: [any] })],
    ['code', frameOf({ code: pppoeCode.pado })],
    ['code', frameOf({ code: pppoeCode.pads })],
    ['code', frameOf({ code: 0x42 })],
    ['session-id', padi({ sessionId: 5 })],
    ['answer-too-long', padi({ tags: [any, { kind: 'host-uniq', data: new Uint8Array(1_480) }] })],
  ];
  for (const [reason, frame] of cases) {
    const name = `discovery.drop.${reason}` as Parameters<typeof parts.server.counters.get>[0];
    const before = parts.server.counters.get(name);
    assert.equal(parts.receive(0, frame), [], reason);
    assert.is(parts.server.counters.get(name), before + 1, reason);
  }
});

test('limits that cannot hold what they promise are refused', () => {
  const table = new SessionTable({ sessions: 2_000 });
  const make = (limits: Partial<DiscoveryLimits>) => () =>
    serverParts({ limits: { ...defaultDiscoveryLimits, ...limits } }, table);
  assert.throws(
    make({ halfOpen: 1_999 }),
    /limits.halfOpen: expected 6000 ms of setupsPerSecond, got 999.5 ms/,
  );
  assert.throws(make({ linePerSecond: 501 }), /limits.linePerSecond: expected at most 500, got 501/);
  assert.throws(
    make({ lineOffersPerSecond: 10_001 }),
    /limits.lineOffersPerSecond: expected at most 10000, got 10001/,
  );
  assert.throws(make({ hostBurst: 0 }), /rate: expected/);
});

test.run();
