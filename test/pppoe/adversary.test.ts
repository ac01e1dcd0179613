/** What an attacker on the access network sends: floods at the default limits, and bytes that are wrong in every way. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { DiscoveryClient } from '../../agent/pppoe/discovery-client.js';
import { defaultDiscoveryLimits } from '../../agent/pppoe/discovery-server.js';
import { Encapsulation } from '../../agent/pppoe/encapsulation.js';
import { clampMss } from '../../agent/pppoe/mss.js';
import { SessionTable } from '../../agent/pppoe/session-table.js';
import { Headers } from '../../agent/wire/headers.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { type PppoeTag, pppoeCode } from '../../agent/wire/pppoe.js';
import {
  acMac,
  broadcast,
  clientConfig,
  clientParts,
  frameOf,
  hostMac,
  packetOf,
  serverParts,
  tagOf,
} from './discovery-parts.js';
import { End, clientConfig as pppClient, serverConfig as pppServer } from './ppp-ends.js';

const any: PppoeTag = { kind: 'service-name', text: '' };
const padi = frameOf({ code: pppoeCode.padi, dst: broadcast, tags: [any] });

/**
 * Ten clients dial in from 2 s on, while `attack` is called `perMs` times each millisecond, the clients' moment among them at
 * random; how long each took, ms.
 */
function dialDuring(
  options: { readonly seed: number; readonly link: number; readonly endAt: number; readonly perMs: number },
  attack: (receive: (frame: Uint8Array) => Uint8Array[]) => void,
) {
  const { seed, link, endAt, perMs } = options;
  const moments = new Random(seed, 'moments');
  const table = new SessionTable({ sessions: 65_534 });
  const parts = serverParts({ limits: defaultDiscoveryLimits }, table);
  const headers = new Headers();
  const took: number[] = [];
  const clients: { readonly client: DiscoveryClient; readonly sent: Uint8Array[] }[] = [];
  const dial = (now: number) => {
    if (now >= 2_000 && now % 300 === 0 && clients.length < 10) {
      const mac = new Uint8Array([2, 0x10, 0, 0, 1, clients.length]);
      const sent: Uint8Array[] = [];
      const client = new DiscoveryClient(
        { ...clientConfig, mac },
        {
          random: new Random(seed, `client ${clients.length}`),
          send: frame => sent.push(frame),
          opened: at => took.push(at - now),
          closed: () => took.push(Number.NaN),
          refused: () => {},
        },
      );
      clients.push({ client, sent });
      client.start(now);
    }
    for (const { client, sent } of clients) {
      if (client.pollAt() <= now) client.poll(now);
      while (sent.length > 0)
        for (const answer of parts.receive(now, sent.shift()!, link)) {
          headers.scan(answer, 0, answer.length);
          client.receive(now, answer, headers);
        }
    }
    for (const { id } of parts.opened.splice(0))
      if (table.macHigh[table.rowOf[id]] === 0x210) parts.server.settle(id);
  };
  for (let now = 0; now < endAt; now++) {
    const moment = moments.below(perMs + 1);
    for (let i = 0; i < perMs; i++) {
      if (i === moment) dial(now);
      attack(frame => parts.receive(now, frame, 0));
    }
    if (moment === perMs) dial(now);
    parts.server.poll(now);
    parts.sent.length = 0;
  }
  return { ...parts, took };
}

const falseMac = (random: Random) => {
  const mac = new Uint8Array([2, 0x66, 0, 0, 0, 0]);
  for (let i = 2; i < 6; i++) mac[i] = random.below(256);
  return mac;
};

test('with the default limits, 10,000 PADI a second from false MACs on the same line keep no client waiting, and cost no memory', () => {
  const seed = 51;
  console.log(`flood of PADI: seed ${seed}`);
  const random = new Random(seed, 'flood');
  const memoryBefore = new SessionTable({ sessions: 65_534 }).memoryBytes;
  const { took, table } = dialDuring({ seed, link: 0, endAt: 6_000, perMs: 10 }, receive => {
    padi.set(falseMac(random), 6);
    receive(padi);
  });
  assert.equal(took, Array(10).fill(0));
  assert.equal([table.count, table.memoryBytes], [10, memoryBefore]);
});

test('with twice as many, half of the PADI are answered, who has a cookie is not held up, and all are in within 15 s', () => {
  const seed = 52;
  const random = new Random(seed, 'flood');
  const { took, server } = dialDuring({ seed, link: 0, endAt: 20_000, perMs: 20 }, receive => {
    padi.set(falseMac(random), 6);
    receive(padi);
  });
  assert.is(took.length, 10, `seed ${seed}`);
  assert.ok(Math.max(...took) < 15_000, `seed ${seed}: ${took}`);
  assert.ok(server.counters.get('discovery.drop.line-rate') > 100_000);
});

test('on another line nobody notices any of it: neither PADI, nor cookies that are forged, nor sessions left half-open', () => {
  const seed = 53;
  const random = new Random(seed, 'flood');
  let forged = 0;
  const { took, table, server, closed } = dialDuring({ seed, link: 1, endAt: 8_000, perMs: 1 }, receive => {
    padi.set(falseMac(random), 6);
    const [offer] = receive(padi);
    if (offer) {
      const cookie = tagOf(offer, 'ac-cookie')!;
      receive(frameOf({ code: pppoeCode.padr, src: padi.slice(6, 12), tags: [any, cookie] }));
    }
    const data = new Uint8Array(24).map(() => random.below(256));
    for (let i = 0; i < 4; i++, forged++)
      receive(
        frameOf({ code: pppoeCode.padr, src: falseMac(random), tags: [any, { kind: 'ac-cookie', data }] }),
      );
  });
  assert.equal(took, Array(10).fill(0), `seed ${seed}`);
  assert.is(server.counters.get('discovery.drop.forged-cookie'), forged);
  // Of half-open ones a line gets its rate, and nobody's is taken before its time.
  const { linePerSecond, lineBurst } = defaultDiscoveryLimits;
  assert.ok(table.count - 10 <= lineBurst + 8 * linePerSecond, `${table.count}`);
  assert.ok(server.counters.get('discovery.drop.line-setup-rate') > 0);
  assert.is(closed.length, 0);
});

test('5,000 hosts a second set up their sessions on one line within the default limits, as long as each comes to something', () => {
  const table = new SessionTable({ sessions: 65_534 });
  const parts = serverParts({ limits: defaultDiscoveryLimits }, table);
  const underWay: number[] = [];
  for (let i = 0; i < 20_000; i++) {
    const now = Math.floor(i / 5);
    const src = new Uint8Array([2, 0, 0, 0, i >> 8, i & 255]);
    padi.set(src, 6);
    const cookie = tagOf(parts.receive(now, padi)[0], 'ac-cookie')!;
    const [pads] = parts.receive(now, frameOf({ code: pppoeCode.padr, src, tags: [any, cookie] }));
    underWay.push(packetOf(pads).sessionId);
    // A login takes a tenth of a second.
    if (underWay.length > 500) parts.server.settle(underWay.shift()!);
  }
  assert.equal([table.count, parts.closed.length], [20_000, 0]);
});

test('frames of discovery cut, lengthened and changed at random: neither side throws, and each is counted', () => {
  const seed = 54;
  console.log(`discovery frames changed: seed ${seed}`);
  const random = new Random(seed, 'discovery');
  const parts = serverParts({ limits: { ...defaultDiscoveryLimits, hostPerSecond: 1e6, hostBurst: 1e6 } });
  const client = clientParts();
  client.client.start(0);
  const tags: PppoeTag[] = [
    any,
    { kind: 'host-uniq', data: new Uint8Array(8) },
    { kind: 'relay-session-id', data: new Uint8Array(12) },
    { kind: 'ac-cookie', data: new Uint8Array(24) },
    { kind: 'ac-name', text: 'ac' },
    { kind: 'ppp-max-payload', value: 1500 },
    { kind: 'dsl-forum', subOptions: [{ kind: 'agent-circuit-id', text: 'line 1' }] },
    { kind: 'generic-error', text: 'no' },
  ];
  const codes = [pppoeCode.padi, pppoeCode.pado, pppoeCode.padr, pppoeCode.pads, pppoeCode.padt];
  const headers = new Headers();
  const total = () => Object.values(parts.server.counters.snapshot()).reduce((sum, count) => sum + count, 0);
  for (let i = 0; i < 15_000; i++) {
    const some = tags.filter(() => random.chance(0.5));
    const dst = [acMac, hostMac, broadcast][random.below(3)];
    const frame = frameOf({ code: codes[random.below(5)], dst, tags: some, sessionId: random.below(3) });
    for (let changes = random.below(4); changes > 0; changes--)
      frame[14 + random.below(frame.length - 14)] = [0, 1, 0xff, random.below(256)][random.below(4)];
    const length = random.chance(0.5) ? frame.length : 14 + random.below(frame.length - 13);
    const cut = frame.slice(0, length);
    if (headers.scan(cut, 0, cut.length) !== 'ok') continue;
    const before = total();
    parts.server.receive(i, 0, cut, headers);
    if (headers.etherType === 0x8863) assert.ok(total() > before, `seed ${seed}, frame ${i} is counted`);
    client.client.receive(i, cut, headers);
    parts.sent.length = 0;
    client.sent.length = 0;
  }
  assert.is(parts.table.count, 0);
  assert.is(client.opened.length, 0);
});

test('tags without end, of no length, and longer than the packet: each is refused by name', () => {
  const parts = serverParts();
  const raw = (payload: readonly number[], length = payload.length) => {
    const head = frameOf({ code: pppoeCode.padi, dst: broadcast });
    head[18] = length >> 8;
    head[19] = length & 255;
    return new Uint8Array([...head, ...payload]);
  };
  const many = Array.from({ length: 300 }, () => [1, 1, 0, 0]).flat();
  for (const frame of [
    raw(many),
    raw([1, 1, 0xff, 0xff]),
    raw([1, 1, 0, 5, 1]),
    raw([1, 1]),
    raw([1, 1, 0, 0], 5),
    raw([1, 1, 0, 0], 1400),
  ])
    assert.equal(parts.receive(0, frame), []);
  assert.is(parts.server.counters.get('discovery.drop.malformed'), 6);
  // An End-Of-List ends it, whatever follows (RFC 2516 appendix A).
  assert.is(parts.receive(0, raw([1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0xff, 0xff])).length, 1);
});

test('control packets cut, lengthened and changed at random: PPP never throws, and says at most three packets to one', () => {
  const seed = 55;
  console.log(`PPP packets changed: seed ${seed}`);
  const random = new Random(seed, 'ppp');
  const { lcp, ipcp, ipv6cp, pap, chap } = pppProtocol;
  const protocols = [lcp, ipcp, ipv6cp, pap, chap, 0x80fd, pppProtocol.ipv4, random.below(0x10000)];
  for (let run = 0; run < 80; run++) {
    const server = new End({ ...pppServer, authentication: [run % 2 ? 'chap-md5' : 'pap'] }, random);
    const client = new End(pppClient, random);
    server.session.open(0);
    client.session.open(0);
    const seen = [...server.sent, ...client.sent];
    for (let i = 0; i < 150; i++) {
      const now = i * 50;
      // A true packet of the other's, so that the two come far, then changed ones.
      const [to, from] = random.chance(0.5) ? [server, client] : [client, server];
      const isTrue = random.chance(0.6) && from.sent.length > 0;
      const packet = isTrue ? from.sent.shift()! : seen[random.below(seen.length)];
      let bytes = packet.bytes.slice();
      let { protocol } = packet;
      if (!isTrue) {
        for (let changes = 1 + random.below(3); changes > 0 && bytes.length > 0; changes--)
          bytes[random.below(bytes.length)] = [0, 1, 0xff, random.below(256)][random.below(4)];
        if (random.chance(0.3)) bytes = bytes.slice(0, random.below(bytes.length + 1));
        if (random.chance(0.2)) protocol = protocols[random.below(protocols.length)];
      }
      const before = to.sent.length;
      to.receive(now, { protocol, bytes });
      const said = to.sent.slice(before);
      assert.ok(said.length <= 3, `seed ${seed}, run ${run}, packet ${i}: ${said.length} answers`);
      for (const one of said) assert.ok(one.bytes.length <= 1500);
      if (seen.length < 200) seen.push(...said);
      for (const end of [server, client]) {
        if (end.session.pollAt() <= now) end.session.poll(now);
        if (end.sent.length > 50) end.sent.length = 0;
      }
    }
  }
});

test('session frames cut and changed at random never yield a packet beyond their end, nor one of another’s session', () => {
  const seed = 56;
  console.log(`session frames changed: seed ${seed}`);
  const random = new Random(seed, 'session');
  const table = new SessionTable({ sessions: 100 });
  const host = { macHigh: 0x210, macLow: 1, link: 0, outerTag: 0, innerTag: 0 };
  const id = table.open(0, host);
  table.settle(id);
  const stranger = table.open(0, { ...host, macLow: 9 });
  table.settle(stranger);
  const encapsulation = new Encapsulation(table, acMac);
  const packet = new Uint8Array(60);
  packet.set([0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6]);
  packet.set([0xa0, 2], 32);
  packet.set([2, 4, 5, 0xb4], 40);
  const template = new Uint8Array([
    ...acMac,
    2,
    0x10,
    0,
    0,
    0,
    1,
    0x88,
    0x64,
    0x11,
    0,
    id >> 8,
    id & 255,
    0,
    62,
    0,
    0x21,
    ...packet,
  ]);
  let passed = 0;
  for (let i = 0; i < 30_000; i++) {
    const frame = template.slice(0, random.chance(0.3) ? random.below(template.length + 1) : template.length);
    for (let changes = random.below(3); changes > 0 && frame.length > 0; changes--)
      frame[random.below(Math.min(frame.length, 40))] = [0, 1, 0xff, random.below(256)][random.below(4)];
    const at = encapsulation.decapsulate(0, frame, 0, frame.length);
    if (at < 0) continue;
    passed++;
    assert.ok(at <= encapsulation.end && encapsulation.end <= frame.length, `seed ${seed}, frame ${i}`);
    assert.is(table.id[encapsulation.row], id, `seed ${seed}, frame ${i}`);
    clampMss(frame, at, encapsulation.end, 1492);
  }
  assert.ok(passed > 5_000);
});

test.run();
