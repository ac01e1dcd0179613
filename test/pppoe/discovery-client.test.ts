import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { never } from '../../agent/core/time.js';
import type { Offer } from '../../agent/pppoe/discovery-client.js';
import { offerLimit } from '../../agent/pppoe/discovery-client.js';
import { type PppoeTag, pppoeCode } from '../../agent/wire/pppoe.js';
import {
  acMac,
  broadcast,
  type ClientParts,
  clientParts,
  frameOf,
  hostMac,
  type Packet,
  packetOf,
  serverParts,
  tagOf,
} from './discovery-parts.js';

const otherAc = new Uint8Array([2, 0xac, 0, 0, 0, 2]);
const cookie: PppoeTag = { kind: 'ac-cookie', data: new Uint8Array([7, 7]) };
const relayId: PppoeTag = { kind: 'relay-session-id', data: new Uint8Array([8]) };

/** The PADI last sent. */
function started(parts: ClientParts, now = 0): Uint8Array {
  parts.client.start(now);
  return parts.sent.splice(0)[0];
}

function pado(question: Uint8Array, packet: Partial<Packet> = {}, acName = 'ac1'): Uint8Array {
  const own: PppoeTag[] = [{ kind: 'ac-name', text: acName }, { kind: 'service-name', text: '' }, cookie];
  return frameOf({
    code: pppoeCode.pado,
    src: acMac,
    dst: hostMac,
    ...packet,
    tags: [...(packet.tags ?? own), tagOf(question, 'host-uniq')!],
  });
}

function pads(question: Uint8Array, sessionId: number, packet: Partial<Packet> = {}): Uint8Array {
  return frameOf({
    code: pppoeCode.pads,
    src: acMac,
    dst: hostMac,
    sessionId,
    ...packet,
    tags: [
      ...(packet.tags ?? [{ kind: 'service-name', text: '' } as PppoeTag]),
      tagOf(question, 'host-uniq')!,
    ],
  });
}

/** Polls whenever it is due, up to `until`; the codes sent, with their times. */
function run(parts: ClientParts, until: number): [number, number][] {
  const log: [number, number][] = [];
  for (let at = parts.client.pollAt(); at <= until; at = parts.client.pollAt()) {
    parts.client.poll(at);
    for (const frame of parts.sent.splice(0)) log.push([at, packetOf(frame).code]);
  }
  return log;
}

test('PADI is broadcast with one Service-Name and a Host-Uniq; PADR returns cookie and relay id', () => {
  const parts = clientParts({ service: 'iptv' });
  const question = started(parts);
  const padi = packetOf(question);
  assert.equal([padi.code, padi.dst, padi.src], [pppoeCode.padi, broadcast, hostMac]);
  assert.equal(padi.tags, [{ kind: 'service-name', text: 'iptv' }, tagOf(question, 'host-uniq')]);
  const own: PppoeTag[] = [
    { kind: 'ac-name', text: 'ac1' },
    { kind: 'service-name', text: 'iptv' },
    { kind: 'service-name', text: 'internet' },
    relayId,
    cookie,
  ];
  const [request] = parts.receive(10, pado(question, { tags: own }));
  const padr = packetOf(request);
  assert.equal([padr.code, padr.dst, padr.sessionId], [pppoeCode.padr, acMac, 0]);
  assert.equal(padr.tags, [...padi.tags, cookie, relayId]);
  parts.receive(20, pads(request, 77));
  assert.equal(parts.opened, [{ sessionId: 77, acMac, acName: 'ac1', maxPayload: 1492 }]);
  assert.is(parts.client.pollAt(), never);
});

test('PADI is repeated, each wait twice the last and up to a quarter more, 64 s at most', () => {
  const parts = clientParts();
  started(parts);
  let last = 0;
  let waitMs = 1_000;
  for (const [at, code] of run(parts, 600_000)) {
    assert.is(code, pppoeCode.padi);
    assert.ok(at - last >= waitMs && at - last < waitMs * 1.25, `${at - last} ms`);
    waitMs = Math.min(2 * waitMs, 64_000);
    last = at;
  }
  assert.is(waitMs, 64_000);
});

test('an AC that falls silent gets four PADR, then all are asked again, and another is taken before it', () => {
  const parts = clientParts();
  const question = started(parts);
  assert.is(parts.receive(0, pado(question)).length, 1);
  const log = run(parts, 25_000);
  assert.equal(
    log.slice(0, 4).map(([, code]) => code),
    [pppoeCode.padr, pppoeCode.padr, pppoeCode.padr, pppoeCode.padi],
  );
  assert.is(parts.client.counters.get('client.ac-silent'), 1);
  assert.is(parts.client.kind, 'discovering');
  const now = 25_000;
  // The present Host-Uniq, from a PADI sent anew.
  parts.client.poll(parts.client.pollAt());
  const again = parts.sent.splice(0)[0];
  assert.is.not(
    JSON.stringify(tagOf(again, 'host-uniq')),
    JSON.stringify(tagOf(question, 'host-uniq')),
    'answers to the search before no longer count',
  );
  assert.equal(parts.receive(now, pado(again)), [], 'the silent one must wait whether another answers');
  const [request] = parts.receive(now + 10, pado(again, { src: otherAc }, 'ac2'));
  assert.equal(packetOf(request).dst, otherAc);
});

test('an AC that refuses is told of, asked again only after a pause, and taken if there is no other', () => {
  const parts = clientParts();
  const question = started(parts);
  const [request] = parts.receive(0, pado(question));
  const error: PppoeTag[] = [{ kind: 'ac-system-error', text: 'no session left' }];
  assert.equal(parts.receive(10, pads(request, 0, { tags: error })), []);
  assert.equal(parts.refused, ['ac1: no session left']);
  assert.is(parts.client.kind, 'waiting');
  assert.ok(parts.client.pollAt() >= 1_010);
  parts.client.poll(parts.client.pollAt());
  const again = parts.sent.splice(0)[0];
  const now = 2_000;
  assert.equal(parts.receive(now, pado(again)), []);
  assert.ok(parts.client.pollAt() <= now + 1_000);
  parts.client.poll(now + 1_000);
  assert.equal(packetOf(parts.sent[0]).dst, acMac);
});

test('of several offers gathered, the caller chooses, or the first is taken', () => {
  const seen: (readonly Offer[])[] = [];
  const choosing = clientParts(
    { gatherMs: 500 },
    {
      choose: offers => {
        seen.push(offers);
        return 1;
      },
    },
  );
  for (const parts of [choosing, clientParts({ gatherMs: 500 })]) {
    const question = started(parts);
    assert.equal(parts.receive(10, pado(question)), []);
    assert.equal(parts.receive(20, pado(question, { src: otherAc }, 'ac2')), []);
    assert.equal(parts.receive(30, pado(question, { src: otherAc }, 'ac2')), [], 'twice is once');
    assert.is(parts.client.pollAt(), 510);
    parts.client.poll(510);
    assert.equal(packetOf(parts.sent[0]).dst, parts === choosing ? otherAc : acMac);
  }
  assert.equal(
    seen[0].map(offer => offer.acName),
    ['ac1', 'ac2'],
  );
});

test('offers beyond the limit are dropped', () => {
  const parts = clientParts({ gatherMs: 500 });
  const question = started(parts);
  for (let i = 0; i <= offerLimit; i++)
    parts.receive(1, pado(question, { src: new Uint8Array([2, 0, 0, 0, 1, i]) }));
  assert.is(parts.client.counters.get('client.drop.offers-full'), 1);
});

test('more than 1492 bytes only if the AC said so in PADS', () => {
  const cases = [
    [1500, 1500, 1500],
    [1500, 0, 1492],
    [1500, 9000, 1500],
    [1508, 1500, 1500],
    [1492, 1500, 1492],
    [1400, 0, 1400],
  ];
  for (const [ours, said, agreed] of cases) {
    const parts = clientParts({ maxPayload: ours });
    const question = started(parts);
    const asked = tagOf(question, 'ppp-max-payload');
    assert.equal(asked, ours > 1492 ? { kind: 'ppp-max-payload', value: ours } : undefined);
    const [request] = parts.receive(0, pado(question));
    const tags: PppoeTag[] = [{ kind: 'service-name', text: '' }];
    if (said > 0) tags.push({ kind: 'ppp-max-payload', value: said });
    parts.receive(0, pads(request, 5, { tags }));
    assert.is(parts.opened[0].maxPayload, agreed);
  }
});

test('PADT ends the session only from its AC and with its id; then a new one is sought', () => {
  const parts = clientParts();
  const question = started(parts);
  const [request] = parts.receive(0, pado(question));
  parts.receive(0, pads(request, 5));
  const padt = (packet: Partial<Packet>) =>
    frameOf({ code: pppoeCode.padt, src: acMac, dst: hostMac, sessionId: 5, ...packet });
  const vlan = { tpid: 0x8100, priority: 0, dropEligible: false, vlanId: 7 };
  parts.receive(1, padt({ src: otherAc }));
  parts.receive(1, padt({ sessionId: 6 }));
  parts.receive(1, padt({ dst: otherAc }));
  parts.receive(1, padt({ vlanTags: [vlan] }));
  assert.is(parts.client.kind, 'open');
  assert.is(parts.client.counters.get('client.drop.padt-stranger'), 2);
  parts.receive(2, padt({}));
  assert.equal(parts.closed, ['padt']);
  assert.is(parts.client.kind, 'waiting');
  parts.client.poll(parts.client.pollAt());
  assert.is(packetOf(parts.sent[0]).code, pppoeCode.padi);
});

test('sessions that fail at once are sought ever more slowly; one that lasted, at once again', () => {
  const parts = clientParts();
  let now = 0;
  const waits: number[] = [];
  let question = started(parts);
  for (const lastMs of [10, 10, 10, 60_000, 10]) {
    const [request] = parts.receive(now, pado(question));
    if (request) parts.receive(now, pads(request, 5));
    else assert.unreachable('expected a PADR');
    now += lastMs;
    parts.client.lost(now);
    assert.is(packetOf(parts.sent.splice(0)[0]).code, pppoeCode.padt);
    waits.push(parts.client.pollAt() - now);
    now = parts.client.pollAt();
    parts.client.poll(now);
    question = parts.sent.splice(0)[0];
  }
  const expected = [1_000, 2_000, 4_000, 1_000, 2_000];
  for (let i = 0; i < waits.length; i++)
    assert.ok(waits[i] >= expected[i] && waits[i] < expected[i] * 1.25, `${waits}`);
});

test('stop sends PADT and stays idle; during a search it sends nothing', () => {
  const parts = clientParts();
  const question = started(parts);
  const [request] = parts.receive(0, pado(question));
  parts.receive(0, pads(request, 5));
  parts.client.stop(10);
  const padt = packetOf(parts.sent.splice(0)[0]);
  assert.equal([padt.code, padt.sessionId, padt.dst], [pppoeCode.padt, 5, acMac]);
  assert.equal(parts.closed, ['stopped']);
  assert.is(parts.client.pollAt(), never);
  const second = started(parts, 20);
  parts.client.stop(30);
  assert.is(parts.sent.length, 0);
  assert.equal(parts.receive(40, pado(second)), []);
  assert.is(parts.client.kind, 'idle');
});

test('what is not an answer to our question, or is none, is dropped and counted by reason', () => {
  const name: PppoeTag = { kind: 'ac-name', text: 'ac1' };
  const service: PppoeTag = { kind: 'service-name', text: '' };
  const parts = clientParts({ service: 'iptv', acName: 'ac1' });
  const question = started(parts);
  const stranger: PppoeTag = { kind: 'host-uniq', data: new Uint8Array(8) };
  const iptv: PppoeTag = { kind: 'service-name', text: 'iptv' };
  const to = { src: acMac, dst: hostMac };
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['host-uniq', frameOf({ code: pppoeCode.pado, ...to, tags: [name, iptv, stranger] })],
    ['host-uniq', frameOf({ code: pppoeCode.pado, ...to, tags: [name, iptv] })],
    ['duplicate-tag', pado(question, { tags: [name, iptv, cookie, cookie] })],
    ['service', pado(question, { tags: [name, service] })],
    ['service', pado(question, { tags: [name] })],
    ['ac-name', pado(question, { tags: [iptv] })],
    ['ac-name', pado(question, { tags: [name, name, iptv] })],
    ['ac-name', pado(question, { tags: [{ kind: 'ac-name', text: 'ac2' }, iptv] })],
    ['session-id', pado(question, { sessionId: 4, tags: [name, iptv] })],
    ['error', pado(question, { tags: [name, { kind: 'generic-error', text: 'no' }] })],
    ['unasked', pads(question, 5)],
    ['destination', pado(question, { dst: otherAc })],
    ['source', pado(question, { src: broadcast })],
    ['code', frameOf({ code: pppoeCode.padi, ...to })],
    ['malformed', pado(question).subarray(0, 30)],
  ];
  for (const [reason, frame] of cases) {
    const counter = `client.drop.${reason}` as Parameters<typeof parts.client.counters.get>[0];
    const before = parts.client.counters.get(counter);
    assert.equal(parts.receive(0, frame), [], reason);
    assert.is(parts.client.counters.get(counter), before + 1, reason);
  }
  const [request] = parts.receive(0, pado(question, { tags: [name, iptv] }));
  for (const [reason, frame] of [
    ['source', pads(request, 5, { src: otherAc })],
    ['session-id', pads(request, 0xffff)],
    ['session-id', pads(request, 5, { tags: [{ kind: 'generic-error', text: 'no' }] })],
    ['unasked', pado(question, { tags: [name, iptv] })],
  ] as const) {
    const before = parts.client.counters.get(`client.drop.${reason}`);
    parts.receive(0, frame);
    assert.is(parts.client.counters.get(`client.drop.${reason}`), before + 1, reason);
  }
  assert.is(parts.client.kind, 'requesting');
});

test('our client and our AC, over two VLAN tags and with RFC 4638, open and close a session', () => {
  const vlanTags = [
    { tpid: 0x88a8, priority: 0, dropEligible: false, vlanId: 100 },
    { tpid: 0x8100, priority: 0, dropEligible: false, vlanId: 7 },
  ];
  const ac = serverParts({ maxPayload: 1500 });
  const host = clientParts({ vlanTags, maxPayload: 1500, service: 'iptv' });
  const offers = ac.receive(0, started(host));
  const [request] = host.receive(0, offers[0]);
  const answers = ac.receive(0, request);
  host.receive(0, answers[0]);
  assert.is(host.opened[0].sessionId, ac.opened[0].id);
  assert.is(host.opened[0].maxPayload, 1500);
  assert.is(ac.opened[0].request.maxPayload, 1500);
  host.client.stop(1);
  ac.receive(1, host.sent[0]);
  assert.equal(ac.closed, [{ id: host.opened[0].sessionId, reason: 'padt' }]);
});

test.run();
