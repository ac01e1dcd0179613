/** The sleep proxy service: what it takes, what it refuses, how it makes itself known. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  concatBytes,
  copyBytes,
  formatHex,
  numberBytes,
  parseHex,
  readUint16,
} from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { Link } from '../../agent/port/platform.js';
import { longestLeaseS } from '../../agent/power-proxy/host-table.js';
import {
  answerLength,
  type Registrar,
  type Registration,
  SleepProxy,
} from '../../agent/power-proxy/sleep-proxy.js';
import { type DnsDataRecord, type DnsQuery, dnsLength, emitDns } from '../../agent/wire/dns.js';
import { Headers } from '../../agent/wire/headers.js';
import { linkType } from '../../host-sim/capture/dissect.js';
import { pcapHeader, pcapRecord } from '../../host-sim/capture/pcap.js';
import { needs } from '../support/needs.js';
import { askerAddress, askerMac, hex, hostAddress, hostMac, ip, layersOf, mac } from './respond-asking.js';
import { asks, dnsQuery } from './respond-subjects.js';
import {
  frameFrom,
  leaseOption,
  type Mac,
  officeMac,
  ownerOption,
  proxyAddress,
  record,
  registration,
  registrationMessage,
  servingLink,
  type Travel,
  type UpdateParts,
  zone,
} from './sleep-registration.js';

const seed = 20_261_121;

/** The proxy with a registrar that remembers, and what both said. */
class Desk implements Registrar {
  readonly registered: { [mac: string]: Registration } = {};
  readonly withdrawn: string[] = [];
  readonly owners: { [address: string]: Uint8Array } = {};
  readonly sent: { link: string; frame: Uint8Array }[] = [];
  hasRoom = true;
  readonly proxy: SleepProxy;

  constructor(change: { limit?: number; links?: readonly Link[]; name?: string } = {}) {
    const { limit = 4, links = [servingLink], name = 'Kith gw-1' } = change;
    this.proxy = new SleepProxy({ name, random: new Random(seed, 'sleep-proxy'), limit, links }, this);
  }

  register(_now: number, each: Registration): boolean {
    if (this.hasRoom) this.registered[hex(each.mac)] = each;
    return this.hasRoom;
  }

  withdraw(_now: number, mac: Uint8Array, why: string): void {
    delete this.registered[hex(mac)];
    this.withdrawn.push(`${hex(mac)} ${why}`);
  }

  owner(address: Uint8Array): Uint8Array | undefined {
    return this.owners[hex(address)];
  }

  /** Runs all that is due until `until`. */
  run(until: number): void {
    for (let at = this.proxy.pollAt(); at <= until; at = this.proxy.pollAt())
      this.proxy.poll(at, (link, frame) => this.sent.push({ link, frame }));
  }

  /** One frame: what the proxy says of it, and the DNS messages it answers with. */
  // biome-ignore lint/suspicious/noExplicitAny: dissected layers are records of anything
  hear(now: number, frame: Uint8Array, link = servingLink.name): { outcome: string; answers: any[] } {
    const headers = new Headers();
    // The frame's memory is the platform's again after the call.
    const lent = copyBytes(frame, 0, frame.length);
    if (headers.scan(lent, 0, lent.length) !== 'ok') return { outcome: 'unscanned', answers: [] };
    const answers: Uint8Array[] = [];
    const outcome = this.proxy.receive(now, link, lent, headers, (_, answer) => answers.push(answer));
    lent.fill(0xa5);
    return { outcome, answers: answers.map(answer => ({ ...layersOf(answer), frame: answer })) };
  }
}

// biome-ignore lint/suspicious/noExplicitAny: a dissected message
const mdnsOf = (frame: Uint8Array): any => layersOf(frame).mdns;

/** At 3 s the names are the proxy's and announced. */
const claimedAt = 3000;

function servingDesk(change: ConstructorParameters<typeof Desk>[0] = {}): Desk {
  const desk = new Desk(change);
  desk.proxy.start(0);
  desk.run(claimedAt);
  return desk;
}

/** The lease an answer grants; −1 if it is none. */
// biome-ignore lint/suspicious/noExplicitAny: a dissected answer
function granted({ answers }: { answers: any[] }): number {
  return answers[0]?.mdns?.additionals?.[0]?.options?.[0]?.leaseSeconds ?? -1;
}

test('the builder makes the bytes mDNSResponder would', () => {
  const plain: Mac = {
    mac: hostMac,
    sequence: 7,
    hostName: 'mac',
    addresses: [ip('192.0.2.10')],
    services: [{ instance: 'Mac', type: '_ssh._tcp', port: 22 }],
  };
  const expected = `
    4d41 2800 0000 0000 0006 0001
    03 6d6163 05 6c6f63616c 00 0001 8001 00001194 0004 c000020a
    02 3130 01 32 01 30 03 313932 07 696e2d61646472 04 61727061 00 000c 8001 00001194 0002 c00c
    03 4d6163 04 5f737368 04 5f746370 c010 0021 8001 00001194 0011 0000 0000 0016 03 6d6163 05 6c6f63616c 00
    c04a 0010 8001 00001194 0001 00
    c04e 000c 0001 00001194 0002 c04a
    09 5f7365727669636573 07 5f646e732d7364 04 5f756470 c06e 000c 0001 00001194 0002 c04e
    00 0029 05a0 00001194 0014 0002 0004 00001c20 0004 0008 00 07 3c22fb010203`;
  assert.is(formatHex(registrationMessage(plain)), formatHex(parseHex(expected.replace(/\s+/g, ''))!));
});

test('a Mac is registered with all it said, and told for how long', () => {
  const desk = servingDesk();
  const password = new Uint8Array([1, 2, 3, 4, 5, 6]);
  const wakeMac = mac('3c:22:fb:01:02:04');
  const mine = { ...officeMac, wakeMac, password, services: [...officeMac.services, dnsService, noService] };
  const heard = desk.hear(5000, registration(mine));
  assert.is(heard.outcome, 'registered');
  assert.is(granted(heard), 7200);
  const { udp, ipv4, mdns, ethernet } = heard.answers[0];
  assert.equal([udp.srcPort, udp.dstPort, ipv4.timeToLive], [5353, 54_321, 255]);
  assert.equal([hex(ipv4.srcAddress), hex(ipv4.dstAddress)], [hex(proxyAddress), hex(hostAddress)]);
  assert.equal([hex(ethernet.dstMac), hex(ethernet.srcMac)], [hex(wakeMac), hex(servingLink.mac)]);
  assert.equal([mdns.identification, mdns.isResponse, mdns.responseCode], [0x4d41, true, 0]);
  const got = desk.registered[hex(wakeMac)];
  assert.equal(
    [got.mac, got.primaryMac, got.wakeMac, got.password].map(hex),
    [wakeMac, hostMac, wakeMac, password].map(hex),
  );
  assert.equal([got.sequence, got.link, got.vlanId, got.untilAt], [7, 'lan', -1, 5000 + 7_200_000]);
  assert.equal([...got.ipv4, ...got.ipv6].map(hex), officeMac.addresses.map(hex));
  assert.equal(got.names, ['Office-Mac']);
  assert.equal(got.ports, [
    { protocol: 6, port: 22 },
    { protocol: 6, port: 445 },
    { protocol: 17, port: 53 },
  ]);
  assert.is(got.records.length, 20);
  const srv = got.records.find(each => each.kind === 'srv')!;
  assert.equal([srv.name, srv.cacheFlush, srv.timeToLive], ['Office\\032Mac._ssh._tcp.local', true, 4500]);
});

const noService = { instance: 'Office Mac', type: '_ftp._tcp', port: 0 };
const dnsService = { instance: 'Office Mac', type: '_dns._udp', port: 53 };

test('what does not fit one message follows in another of the same sequence; a repetition changes nothing', () => {
  const desk = servingDesk();
  const first = registration({ ...officeMac, services: officeMac.services.slice(0, 1) });
  const second = registration(
    { ...officeMac, addresses: [], services: officeMac.services.slice(1) },
    {},
    {
      srcAddress: hostAddress,
    },
  );
  assert.is(desk.hear(5000, first).outcome, 'registered');
  assert.is(desk.hear(5001, second).outcome, 'renewed');
  const both = desk.registered[hex(hostMac)];
  assert.equal([both.records.length, both.ports.length, desk.proxy.count], [12, 2, 1]);
  for (const frame of [first, second, second, first]) assert.is(desk.hear(5001, frame).outcome, 'renewed');
  const again = desk.registered[hex(hostMac)];
  assert.equal(sorted(again), sorted(both));
});

const sorted = (each: Registration) => each.records.map(record => JSON.stringify(record)).sort();

test('the next sleep replaces what was registered for the last, also past 255', () => {
  const desk = servingDesk();
  desk.hear(5000, registration({ ...officeMac, sequence: 250 }));
  const next = { ...officeMac, sequence: 3, services: [] };
  assert.is(desk.hear(6000, registration(next)).outcome, 'renewed');
  assert.equal(desk.registered[hex(hostMac)].ports, []);
});

test('a lease ends when it is over, and is renewed before', () => {
  const desk = servingDesk();
  assert.is(granted(desk.hear(5000, registration(officeMac, { leaseSeconds: 60 }))), 60);
  assert.is(desk.proxy.pollAt(), 65_000);
  desk.hear(64_000, registration(officeMac, { leaseSeconds: 60 }));
  desk.run(65_000);
  assert.is(desk.proxy.count, 1);
  desk.run(123_999);
  assert.is(desk.proxy.count, 1);
  desk.run(124_000);
  assert.equal([desk.proxy.count, desk.withdrawn], [0, [`${hex(hostMac)} expired`]]);
  assert.is(desk.proxy.counters.get('expired'), 1);
  assert.is(desk.proxy.pollAt(), Infinity);
});

test('no lease is longer than two hours, whatever is asked for', () => {
  const desk = servingDesk();
  for (const leaseSeconds of [7201, 86_400, 0xffffffff])
    assert.is(granted(desk.hear(5000, registration(officeMac, { leaseSeconds }))), longestLeaseS);
});

test('a lease of 0 withdraws, from the host only, and does so twice alike', () => {
  const desk = servingDesk();
  desk.hear(5000, registration(officeMac));
  const parts = { leaseSeconds: 0, bare: true };
  assert.is(desk.hear(5001, registration(officeMac, parts, { srcMac: askerMac })).outcome, 'spoofed');
  assert.is(desk.proxy.count, 1);
  const heard = desk.hear(5002, registration(officeMac, parts));
  assert.equal([heard.outcome, granted(heard), desk.proxy.count], ['withdrawn', 0, 0]);
  assert.equal(desk.withdrawn, [`${hex(hostMac)} withdrawn`]);
  assert.is(desk.hear(5003, registration(officeMac, parts)).outcome, 'withdrawn');
  assert.is(desk.withdrawn.length, 1);
});

test('the host that is back says so in its owner option: another sequence, or long after', () => {
  const cases: [number, number, Travel, string][] = [
    [7, 10_000, {}, 'not-ours'],
    [8, 10_000, {}, 'withdrawn'],
    [7, 65_001, {}, 'withdrawn'],
    [8, 10_000, { srcMac: askerMac, srcAddress: askerAddress }, 'not-ours'],
  ];
  for (const [sequence, now, travel, outcome] of cases) {
    const desk = servingDesk();
    desk.hear(5000, registration(officeMac));
    const query = queryMessage('_other._tcp.local', 12);
    const withOwner = concatBytes([
      query.subarray(0, 10),
      numberBytes(1, 2),
      query.subarray(12),
      optOf(sequence),
    ]);
    const frame = frameFrom(officeMac, withOwner, { srcPort: 5353, ...toGroup, ...travel });
    assert.is(desk.hear(now, frame).outcome, outcome, `${sequence} at ${now}`);
    assert.is(desk.proxy.count, outcome === 'withdrawn' ? 0 : 1);
    assert.is(desk.withdrawn.length, 1 - desk.proxy.count);
  }
});

const toGroup = { dstMac: mac('01:00:5e:00:00:fb'), dstAddress: ip('224.0.0.251') };

function optOf(sequence: number): Uint8Array {
  const option = ownerOption({ ...officeMac, sequence });
  return concatBytes([parseHex('00002905a000001194')!, numberBytes(option.length, 2), option]);
}

function queryMessage(name: string, type: number, change: Partial<DnsQuery> = {}): Uint8Array {
  const query = dnsQuery([asks(name, type)], change);
  const message = new Uint8Array(dnsLength(query));
  emitDns(query, message, 0);
  return message;
}

test('who forgets a host makes room for another', () => {
  const desk = servingDesk({ limit: 1 });
  desk.hear(5000, registration(officeMac));
  assert.is(desk.hear(5001, registration(otherMac)).outcome, 'no-room');
  assert.is(desk.hear(5001, registration(officeMac)).outcome, 'renewed');
  desk.proxy.forget(hostMac);
  assert.equal(desk.withdrawn, []);
  assert.is(desk.hear(5002, registration(otherMac)).outcome, 'registered');
});

const otherMac: Mac = {
  ...officeMac,
  mac: mac('3c:22:fb:0a:0b:0c'),
  hostName: 'Other-Mac',
  addresses: [ip('192.0.2.11')],
  services: [{ instance: 'Other Mac', type: '_ssh._tcp', port: 22 }],
};

interface RefusedUpdate {
  readonly reason: string;
  /** Response code; −1: no answer at all. */
  readonly code: number;
  readonly mac?: Partial<Mac>;
  readonly parts?: UpdateParts;
  readonly travel?: Travel;
  readonly before?: (desk: Desk) => void;
  /** Damages the message. */
  readonly change?: (message: Uint8Array) => Uint8Array;
}

const desktop = ['desk', 'local'];
const group = mac('01:00:5e:00:00:01');

const refusedUpdates: { readonly [what: string]: RefusedUpdate } = {
  'cut short': { reason: 'malformed', code: 1, change: message => message.subarray(0, message.length - 1) },
  'without a whole header': { reason: 'malformed', code: -1, change: message => message.subarray(0, 11) },
  'bytes behind it': { reason: 'malformed', code: 1, change: message => concatBytes([message, group]) },
  'the rest missing': { reason: 'truncated', code: 1, parts: { flags: 0x2a00 } },
  'an answer': { reason: 'not-a-question', code: -1, parts: { flags: 0xa800 } },
  'no owner': { reason: 'no-owner', code: 1, parts: { options: [leaseOption(60)] } },
  'no lease': { reason: 'no-lease', code: 1, parts: { options: [ownerOption(officeMac)] } },
  'no options': { reason: 'no-lease', code: 1, parts: { options: [] } },
  'another version of the owner option': {
    reason: 'owner-version',
    code: 1,
    parts: { options: [leaseOption(60), ownerOption(officeMac, 1)] },
  },
  'another version of EDNS': { reason: 'edns-version', code: 16, parts: { optTimeToLive: 0x00010000 } },
  'an owner option of no known length': {
    reason: 'malformed',
    code: 1,
    parts: { options: [leaseOption(60), parseHex('0004000700073c22fb0102')!] },
  },
  'no records': { reason: 'no-records', code: 1, parts: { bare: true } },
  'too many records for a message': {
    reason: 'too-many-records',
    code: 5,
    parts: {
      more: Array.from({ length: 128 }, (_, i) => record(desktop, 1, numberBytes(0xc0000300 + i, 4))),
    },
  },
  'too many records in all': {
    reason: 'too-many-records',
    code: 5,
    mac: { addresses: [hostAddress], services: [] },
    parts: { more: [200, 201].map(i => record(desktop, 16, new Uint8Array([1, i]))) },
    before: desk => {
      const more = Array.from({ length: 125 }, (_, i) => record(['x', 'local'], 16, new Uint8Array([1, i])));
      desk.hear(4000, registration({ ...officeMac, addresses: [hostAddress], services: [] }, { more }));
    },
  },
  'a prerequisite': {
    reason: 'unsupported',
    code: 4,
    parts: { prerequisites: [record(desktop, 1, hostAddress, { timeToLive: 0 })] },
  },
  'a record taken away': {
    reason: 'unsupported',
    code: 4,
    parts: { more: [record(desktop, 1, hostAddress, { topAndClass: 254, timeToLive: 0 })] },
  },
  'a time to live of 0': {
    reason: 'unsupported',
    code: 4,
    parts: { more: [record(desktop, 1, hostAddress, { timeToLive: 0 })] },
  },
  'another zone': { reason: 'wrong-zone', code: 9, parts: { zones: [zone(['example', 'com'])] } },
  'a zone that is none': { reason: 'wrong-zone', code: 9, parts: { zones: [zone(['local'], 1)] } },
  'two zones': { reason: 'wrong-zone', code: 9, parts: { zones: [zone(['local']), zone(['local'])] } },
  'a name outside the link': {
    reason: 'bad-record',
    code: 10,
    parts: { more: [record(['desk', 'example', 'com'], 1, hostAddress)] },
  },
  'a type that is none': { reason: 'bad-record', code: 10, parts: { more: [record(desktop, 255, group)] } },
  'a group as primary MAC': { reason: 'bad-owner', code: 1, mac: { mac: group, wakeMac: hostMac } },
  'a group as wakeup MAC': {
    reason: 'bad-owner',
    code: 1,
    mac: { wakeMac: group },
    travel: { srcMac: hostMac },
  },
  'nobody as owner': { reason: 'bad-owner', code: 1, mac: { mac: new Uint8Array(6), wakeMac: hostMac } },
  'the MAC of another host': { reason: 'spoofed', code: 5, travel: { srcMac: askerMac } },
  'the address of another host': { reason: 'wrong-source', code: 5, travel: { srcAddress: askerAddress } },
  'an address that nobody may have': {
    reason: 'bad-address',
    code: 5,
    mac: { addresses: [hostAddress, ip('224.0.0.1')] },
  },
  'its loopback': { reason: 'bad-address', code: 5, mac: { addresses: [hostAddress, ip('::1')] } },
  'an address that another host was seen to have': {
    reason: 'address-taken',
    code: 5,
    before: desk => {
      desk.owners[hex(hostAddress)] = askerMac;
    },
  },
  'an address that another host registered': {
    reason: 'address-taken',
    code: 5,
    mac: { addresses: [hostAddress, otherMac.addresses[0]] },
    before: desk => {
      desk.hear(4000, registration(otherMac));
    },
  },
  "the proxy's address": {
    reason: 'address-taken',
    code: 5,
    mac: { addresses: [hostAddress, proxyAddress] },
  },
  'a name that another host registered': {
    reason: 'name-taken',
    code: 7,
    mac: { hostName: 'OTHER-mac' },
    before: desk => {
      desk.hear(4000, registration(otherMac));
    },
  },
  "the proxy's name": { reason: 'name-taken', code: 7, mac: { hostName: 'Kith-gw-1-sleep-proxy' } },
  'an older sequence': {
    reason: 'old-sequence',
    code: 5,
    before: desk => {
      desk.hear(4000, registration({ ...officeMac, sequence: 8 }));
    },
  },
  'a withdrawal of an older sequence': {
    reason: 'old-sequence',
    code: 5,
    parts: { leaseSeconds: 0 },
    before: desk => {
      desk.hear(4000, registration({ ...officeMac, sequence: 8 }));
    },
  },
  'a full registrar': {
    reason: 'no-room',
    code: 5,
    before: desk => {
      desk.hasRoom = false;
    },
  },
  'sent to the group': { reason: 'not-ours', code: -1, travel: toGroup },
  'sent to all at our address': {
    reason: 'not-ours',
    code: -1,
    travel: { dstMac: mac('ff:ff:ff:ff:ff:ff') },
  },
  'sent to another host': { reason: 'not-ours', code: -1, travel: { dstMac: askerMac } },
  'from a system port': { reason: 'bad-source', code: -1, travel: { srcPort: 53 } },
};

for (const [what, { reason, code, mac: changed, parts, travel, before, change }] of Object.entries(
  refusedUpdates,
))
  test(`refused as ${reason}: ${what}`, () => {
    const desk = servingDesk();
    before?.(desk);
    const table = JSON.stringify([desk.registered, desk.proxy.count]);
    const sender = { ...officeMac, ...changed };
    const message = registrationMessage(sender, parts);
    const frame = frameFrom(sender, change ? change(message) : message, travel);
    const counted = desk.proxy.counters.get(reason as 'malformed');
    const { outcome, answers } = desk.hear(5000, frame);
    assert.is(outcome, reason);
    assert.is(desk.proxy.counters.get(reason as 'malformed'), counted + 1);
    assert.is(JSON.stringify([desk.registered, desk.proxy.count]), table);
    assert.is(answers.length, code < 0 ? 0 : 1);
    if (code < 0) return;
    const { mdns, frame: answer } = answers[0];
    const extended = mdns.additionals[0]?.extendedResponseCode ?? 0;
    assert.is(16 * extended + mdns.responseCode, code);
    assert.ok(answer.length <= frame.length);
  });

test('an old sequence is news once a late packet cannot be the reason: the host booted', () => {
  const desk = servingDesk();
  desk.hear(5000, registration({ ...officeMac, sequence: 8 }));
  const booted = registration({ ...officeMac, sequence: 0 });
  assert.is(desk.hear(64_999, booted).outcome, 'old-sequence');
  assert.is(desk.hear(65_000, booted).outcome, 'renewed');
});

test('a zone of RFC 2136, source port 5353, IPv6 and a priority tag are as good', () => {
  const cases: [UpdateParts, Travel][] = [
    [{ zones: [zone(['local'])] }, {}],
    [{ zones: [zone([])] }, {}],
    [{}, { srcPort: 5353 }],
    [{}, { srcAddress: officeMac.addresses[1] }],
    [{}, { tags: [{ tpid: 0x8100, priority: 3, dropEligible: false, vlanId: 0 }] }],
  ];
  for (const [parts, travel] of cases) {
    const desk = servingDesk();
    const heard = desk.hear(5000, registration(officeMac, parts, travel));
    assert.equal([heard.outcome, granted(heard)], ['registered', 7200]);
    assert.is(heard.answers[0].udp.dstPort, travel.srcPort ?? 54_321);
    assert.is(readUint16(heard.answers[0].frame, 12) === 0x8100, travel.tags !== undefined);
  }
  const tags = [{ tpid: 0x8100, priority: 0, dropEligible: false, vlanId: 7 }];
  assert.is(servingDesk().hear(5000, registration(officeMac, {}, { tags })).outcome, 'not-ours');
});

test('one Mac with two interfaces on the link is two registrations with the same names', () => {
  const desk = servingDesk();
  desk.hear(5000, registration(officeMac));
  const air = { ...officeMac, wakeMac: mac('3c:22:fb:01:02:04'), addresses: [ip('192.0.2.12')] };
  assert.is(desk.hear(5001, registration(air)).outcome, 'registered');
  assert.is(desk.proxy.count, 2);
});

test('what a Mac says of its TCP connections is not for everybody to read', () => {
  const desk = servingDesk();
  const name = ['7', '_keepalive', '_dns-sd', '_udp', 'local'];
  const keepalive = record(name, 10, new TextEncoder().encode('t=1800 s=1 a=2'));
  assert.is(desk.hear(5000, registration(officeMac, { more: [keepalive] })).outcome, 'registered');
  assert.is(desk.registered[hex(hostMac)].records.length, 12);
});

test('damaged registrations never throw, change nothing that is refused, and earn no longer answer', () => {
  const random = new Random(seed, 'damage');
  const counts: { [outcome: string]: number } = {};
  const whole = registrationMessage({ ...officeMac, sequence: 9 });
  const desk = servingDesk();
  for (let i = 0; i < 6000; i++) {
    desk.proxy.forget(hostMac);
    delete desk.registered[hex(hostMac)];
    const hadLease = random.chance(0.5);
    if (hadLease) desk.hear(5000, registration(officeMac));
    const before = desk.registered[hex(hostMac)];
    const frame = frameFrom(officeMac, damaged(whole, random));
    const where = `seed ${seed}, case ${i}: ${formatHex(frame)}`;
    try {
      const { outcome, answers } = desk.hear(5000, frame);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      const after = desk.registered[hex(hostMac)];
      if (outcome === 'registered') assert.not.ok(hadLease, where);
      else if (outcome === 'renewed') assert.ok(hadLease && after !== before, where);
      else if (outcome === 'withdrawn') assert.is(after, undefined, where);
      else assert.is(after, before, where);
      assert.is(desk.proxy.count, after ? 1 : 0, where);
      for (const answer of answers) {
        assert.ok(answer.frame.length <= frame.length, where);
        assert.ok(answer.frame.length <= headersLength + answerLength, where);
      }
    } catch (error) {
      throw new Error(`${where}\n${error}`);
    }
  }
  console.log(`sleep-proxy: damage, seed ${seed}: ${JSON.stringify(counts)}`);
  for (const outcome of ['registered', 'renewed', 'malformed', 'bad-record', 'unsupported'])
    assert.ok(counts[outcome] > 40, JSON.stringify(counts));
});

/** Of Ethernet, IPv4 and UDP. */
const headersLength = 14 + 20 + 8;

/** One to three bytes changed, or the end cut off. */
function damaged(message: Uint8Array, random: Random): Uint8Array {
  const bytes = copyBytes(message, 0, message.length);
  let end = bytes.length;
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    if (random.chance(0.2)) end = random.below(end + 1);
    else bytes[random.below(bytes.length)] = random.chance(0.5) ? random.below(256) : 0;
  }
  return bytes.subarray(0, end);
}

test('damaged probes, answers and questions never throw, whatever the state of the names', () => {
  const random = new Random(seed, 'damaged mdns');
  const spoken = servingDesk().sent.map(({ frame }) => {
    const payload = mdnsOf(frame);
    return queryMessage('', 1, payload);
  });
  const counts: { [outcome: string]: number } = {};
  let desk = servingDesk();
  for (let i = 0; i < 6000; i++) {
    if (i % 50 === 0) desk = i % 100 === 0 ? servingDesk() : new Desk();
    if (i % 100 === 50) desk.proxy.start(0);
    const message = damaged(spoken[random.below(spoken.length)], random);
    const frame = askerQuery(message, { srcPort: 5353 });
    try {
      const { outcome } = desk.hear(claimedAt + i, frame);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      desk.run(claimedAt + i);
    } catch (error) {
      throw new Error(`seed ${seed}, case ${i}: ${formatHex(frame)}\n${error}`);
    }
  }
  console.log(`sleep-proxy: damaged mDNS, seed ${seed}: ${JSON.stringify(counts)}`);
  assert.ok(counts['conflict'] > 20 && counts['malformed'] > 400, JSON.stringify(counts));
});

test('the service is announced by the name Macs sort by, and found by asking for it', () => {
  const desk = servingDesk();
  const announced = desk.sent.map(({ frame }) => mdnsOf(frame)).filter(({ isResponse }) => isResponse);
  assert.is(announced.length, 4);
  const instance = '30-43-10-69\\.0\\032Kith\\032gw-1._sleep-proxy._udp.local';
  const host = 'Kith-gw-1-sleep-proxy.local';
  for (const { answers } of announced) {
    assert.equal(
      answers.map(({ name, kind, cacheFlush }: DnsDataRecord) => [name, kind, cacheFlush]),
      [
        ['_services._dns-sd._udp.local', 'ptr', false],
        ['_sleep-proxy._udp.local', 'ptr', false],
        [instance, 'srv', true],
        [instance, 'txt', true],
        [host, 'a', true],
        [host, 'aaaa', true],
      ],
    );
    const [services, pointer, srv, txt] = answers;
    assert.equal([services.target, pointer.target], ['_sleep-proxy._udp.local', instance]);
    assert.equal([srv.port, srv.target, txt.strings.length], [5353, host, 1]);
  }
  const browse = askerQuery(queryMessage('_sleep-proxy._udp.local', 12), { srcPort: 5353 });
  assert.is(desk.hear(10_000, browse).outcome, 'scheduled');
  desk.sent.length = 0;
  desk.run(10_120);
  assert.is(desk.sent.length, 1);
  const mdns = mdnsOf(desk.sent[0].frame);
  assert.equal([mdns.answers.length, mdns.additionals.length], [1, 4]);
  const resolve = askerQuery(queryMessage(instance, 33), { srcPort: 5353 });
  const { outcome, answers } = desk.hear(20_000, resolve);
  assert.equal([outcome, answers[0].mdns.answers[0].target], ['answered', host]);
  const legacy = askerQuery(queryMessage(host, 1), { srcPort: 40_000 });
  assert.is(hex(desk.hear(30_000, legacy).answers[0].mdns.answers[0].address), hex(proxyAddress));
});

const askerQuery = (message: Uint8Array, travel: Travel) =>
  frameFrom(asker, message, { ...toGroup, ...travel });
const asker: Mac = { ...officeMac, mac: askerMac, addresses: [askerAddress] };

test('each link tells its own addresses, and a link without any tells nothing', () => {
  const wifi: Link = { name: 'wifi', mac: mac('02:00:5e:10:00:02'), addresses: [ip('198.51.100.1')] };
  const line: Link = { name: 'line', mac: mac('02:00:5e:10:00:03') };
  const desk = servingDesk({ links: [servingLink, wifi, line] });
  const addresses: { [link: string]: string[] } = {};
  for (const { link, frame } of desk.sent)
    for (const record of mdnsOf(frame).answers as DnsDataRecord[])
      if (record.kind === 'a' || record.kind === 'aaaa')
        addresses[link] = [...(addresses[link] ?? []), hex(record.address)];
  for (const link of Object.keys(addresses)) addresses[link] = [...new Set(addresses[link])];
  assert.equal(addresses, { lan: servingLink.addresses!.map(hex), wifi: wifi.addresses!.map(hex) });
  const frame = registration(officeMac, {}, { link: line });
  assert.is(desk.hear(5000, frame, 'line').outcome, 'not-ours');
  // The two links may be one segment: what one said is no conflict to the other.
  const heard = desk.sent
    .filter(({ link }) => link === 'wifi')
    .map(each => desk.hear(6000, each.frame).outcome);
  assert.equal([...new Set(heard)], ['own-frame']);
});

test('before it starts and after it stops the proxy takes nothing; on stopping it says goodbye', () => {
  const desk = new Desk();
  assert.is(desk.hear(0, registration(officeMac)).outcome, 'not-ours');
  desk.proxy.start(0);
  desk.run(claimedAt);
  desk.hear(5000, registration(officeMac));
  desk.sent.length = 0;
  desk.proxy.stop((link, frame) => desk.sent.push({ link, frame }));
  assert.is(desk.sent.length, 2);
  // That there is a service of this type is not ours to take back.
  for (const { frame } of desk.sent)
    assert.equal(
      mdnsOf(frame).answers.map((each: DnsDataRecord) => [each.kind, each.timeToLive]),
      ['ptr', 'srv', 'txt', 'a', 'aaaa'].map(kind => [kind, 0]),
    );
  assert.is(desk.hear(6000, registration(officeMac)).outcome, 'not-ours');
  assert.equal([desk.proxy.count, desk.withdrawn], [1, []]);
});

test('another proxy of the same name gets to keep it', () => {
  const desk = servingDesk();
  const theirs = desk.sent.map(({ frame }) => frame).filter(frame => mdnsOf(frame).isResponse)[0];
  const { answers } = mdnsOf(theirs);
  const other = answers.map((each: DnsDataRecord) =>
    each.kind === 'a' ? { ...each, address: askerAddress } : each,
  );
  const answer = queryMessage('', 1, { isResponse: true, questions: [], answers: other });
  assert.is(desk.hear(6000, askerQuery(answer, { srcPort: 40_000 })).outcome, 'bad-source');
  assert.is(desk.hear(6000, askerQuery(answer, { srcPort: 5353 })).outcome, 'conflict');
  assert.is(desk.hear(6001, askerQuery(answer, { srcPort: 5353 })).outcome, 'conflict');
  desk.sent.length = 0;
  desk.run(9000);
  const last = mdnsOf(desk.sent[desk.sent.length - 1].frame);
  assert.is(last.answers[1].target, '30-43-10-69\\.0\\032Kith\\032gw-1\\032(2)._sleep-proxy._udp.local');
  assert.is(last.answers[4].name, 'Kith-gw-1-sleep-proxy-2.local');
});

test('a name too long for a label is the caller’s mistake', () => {
  assert.throws(() => new Desk({ name: '' }), 'name: expected 1..40 bytes, got 0');
  assert.throws(() => new Desk({ name: 'ä'.repeat(21) }), 'name: expected 1..40 bytes, got 42');
  const { proxy } = servingDesk({ name: 'ä'.repeat(20) });
  assert.is(proxy.count, 0);
});

const compare = needs('tshark', 'tshark') ? test : test.skip;

compare(
  'tshark finds nothing malformed in what is sent and in what the helper sends, and reads the leases',
  () => {
    const desk = servingDesk();
    const questions = [
      registration(officeMac),
      registration({ ...officeMac, wakeMac: mac('3c:22:fb:01:02:04'), addresses: [ip('192.0.2.12')] }),
      registration(officeMac, { optTimeToLive: 0x00010000 }),
      registration(officeMac, { leaseSeconds: 0 }, { srcAddress: officeMac.addresses[1] }),
      askerQuery(queryMessage('_sleep-proxy._udp.local', 255), { srcPort: 40_000 }),
    ];
    const answers = questions.flatMap(frame => desk.hear(5000, frame).answers.map(({ frame }) => frame));
    desk.proxy.stop((link, frame) => desk.sent.push({ link, frame }));
    const frames = [...desk.sent.map(({ frame }) => frame), ...questions, ...answers];
    const folder = mkdtempSync(join(tmpdir(), 'kith-sleep-proxy-'));
    try {
      const path = join(folder, 'sent.pcap');
      const parts = [pcapHeader(linkType.ethernet), ...frames.map((frame, i) => pcapRecord(10 * i, frame))];
      writeFileSync(path, concatBytes(parts));
      const fields = ['_ws.malformed', '_ws.expert.message', 'udp.checksum.status', 'dns.flags.opcode'];
      const options = [
        '-n',
        '-r',
        path,
        '-o',
        'udp.check_checksum:TRUE',
        '-T',
        'fields',
        '-E',
        'separator=|',
      ];
      const text = execFileSync('tshark', [...options, ...fields.flatMap(field => ['-e', field])], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const lines = text.split('\n').slice(0, frames.length);
      assert.is(lines.length, frames.length);
      for (let i = 0; i < lines.length; i++) {
        const [malformed, message, checksum] = lines[i].split('|');
        assert.equal([malformed, checksum], ['', '1'], `${message}: ${formatHex(frames[i])}`);
      }
      assert.is(lines.filter(line => line.endsWith('|5')).length, 8);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test.run();
