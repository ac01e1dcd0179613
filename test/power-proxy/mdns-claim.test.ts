/** Names of the agent's own in multicast DNS: probing, ties, conflicts, announcements, goodbye (RFC 6762 §8, §9, §10.1). */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { Claim, type Place } from '../../agent/power-proxy/mdns-claim.js';
import { type DnsDataRecord, type DnsQuery, type DnsQuestion, mdnsGroups } from '../../agent/wire/dns.js';
import { hex, ip, layersOf, proxyLink } from './respond-asking.js';
import { dnsQuery } from './respond-subjects.js';

const seed = 20_261_121;
const ours = ip('192.0.2.1');
const greater = ip('192.0.2.2');
const lesser = ip('192.0.2.0');

function addressRecord(
  name: string,
  address: Uint8Array,
  change: Partial<DnsDataRecord> = {},
): DnsDataRecord {
  const head = { name, class: 1, cacheFlush: true, timeToLive: 120 };
  return { ...head, kind: 'a', address, ...change } as DnsDataRecord;
}

function placesFor(attempt: number): Place[] {
  const name = attempt === 1 ? 'gw.local' : `gw-${attempt}.local`;
  const records: DnsDataRecord[] = [
    addressRecord(name, ours),
    {
      name: '_x._udp.local',
      class: 1,
      cacheFlush: false,
      timeToLive: 4500,
      kind: 'ptr',
      target: `gw.${name}`,
    },
  ];
  return [
    {
      link: proxyLink,
      served: { mac: proxyLink.mac, ipv4: [ours], ipv6: [ip('fe80::1')], names: [], records },
    },
  ];
}

/** A claim, and when it sent what. */
class Claiming {
  readonly claim = new Claim(new Random(seed, 'claim'), placesFor);
  // biome-ignore lint/suspicious/noExplicitAny: dissected layers are records of anything
  readonly sent: { at: number; mdns: any; ip: any }[] = [];

  constructor() {
    this.claim.start(0);
  }

  run(until: number): void {
    for (let at = this.claim.pollAt(); at <= until; at = this.claim.pollAt())
      this.claim.poll(at, (_, frame) => this.note(at, frame));
  }

  stop(at: number): void {
    this.claim.stop((_, frame) => this.note(at, frame));
  }

  hear(now: number, change: Partial<DnsQuery>): boolean {
    return this.claim.hear(now, this.claim.places[0], dnsQuery([], change));
  }

  /** The host name that is asked for or announced. */
  get name(): string {
    return this.claim.places[0].served.records![0].name;
  }

  private note(at: number, frame: Uint8Array): void {
    const { mdns, ipv4, ipv6 } = layersOf(frame);
    this.sent.push({ at, mdns, ip: ipv4 ?? ipv6 });
  }
}

const anyOf = (name: string): DnsQuestion => ({ name, type: 255, class: 1, unicastResponse: true });
const response = (...answers: DnsDataRecord[]) => ({ isResponse: true, answers });
const probe = (...authorities: DnsDataRecord[]) => ({ questions: [anyOf('gw.local')], authorities });

test('three probes 250 ms apart, then two announcements 1 s apart, over IPv4 and IPv6', () => {
  const claiming = new Claiming();
  const first = claiming.claim.pollAt();
  assert.ok(first >= 0 && first < 250);
  claiming.run(60_000);
  const times = [0, 250, 500, 750, 1750].map(offset => first + offset);
  assert.equal(
    claiming.sent.map(({ at }) => at),
    times.flatMap(at => [at, at]),
  );
  for (let i = 0; i < claiming.sent.length; i++) {
    const { mdns, ip: packet } = claiming.sent[i];
    assert.is(hex(packet.dstAddress), hex(ip(mdnsGroups[i % 2])));
    assert.is(packet.timeToLive ?? packet.hopLimit, 255);
    if (i < 6) {
      assert.equal(mdns.questions, [anyOf('gw.local')]);
      assert.equal(mdns.authorities, [addressRecord('gw.local', ours, { cacheFlush: false })]);
    } else assert.equal([mdns.isResponse, mdns.authoritative, mdns.answers.length], [true, true, 2]);
  }
  assert.is(claiming.claim.pollAt(), Infinity);
});

test('a name may be answered for from its first announcement until the goodbye', () => {
  const claiming = new Claiming();
  const announcedAt = claiming.claim.pollAt() + 750;
  claiming.run(announcedAt - 1);
  assert.not.ok(claiming.claim.isHeld);
  claiming.run(announcedAt);
  assert.ok(claiming.claim.isHeld);
  claiming.stop(10_000);
  assert.not.ok(claiming.claim.isHeld);
  const goodbyes = claiming.sent.filter(({ at }) => at === 10_000);
  assert.is(goodbyes.length, 2);
  for (const { mdns } of goodbyes)
    assert.equal(
      mdns.answers.map((each: DnsDataRecord) => each.timeToLive),
      [0, 0],
    );
});

test('nothing was announced, so there is no goodbye', () => {
  const claiming = new Claiming();
  claiming.run(300);
  const { length } = claiming.sent;
  claiming.stop(400);
  claiming.run(60_000);
  assert.is(claiming.sent.length, length);
});

test('a name that another host has is left to it, and the next is tried', () => {
  const claiming = new Claiming();
  claiming.run(300);
  assert.ok(claiming.hear(310, response(addressRecord('GW.local', greater))));
  assert.is(claiming.name, 'gw-2.local');
  assert.not.ok(claiming.hear(320, response(addressRecord('gw.local', greater))));
  claiming.run(60_000);
  const asked = claiming.sent
    .filter(({ mdns }) => !mdns.isResponse)
    .map(({ mdns }) => mdns.questions[0].name);
  assert.is(asked.filter(name => name === 'gw-2.local').length, 6);
  assert.is(claiming.sent[claiming.sent.length - 1].mdns.answers[0].name, 'gw-2.local');
});

test('while probing any record of the name is a conflict, but not our own words', () => {
  const txt: DnsDataRecord = { ...head('gw.local'), kind: 'txt', strings: [new Uint8Array(0)] };
  assert.ok(new Claiming().hear(10, response(txt)));
  for (const record of [
    addressRecord('gw.local', ours),
    addressRecord('gw.local', greater, { timeToLive: 0 }),
    addressRecord('other.local', greater),
  ])
    assert.not.ok(new Claiming().hear(10, response(record)));
});

const head = (name: string) => ({ name, class: 1, cacheFlush: true, timeToLive: 120 });

test('of two who ask at once the one with the greater record goes on, the other waits 1 s', () => {
  const cases: [DnsDataRecord[], boolean][] = [
    [[addressRecord('gw.local', greater)], true],
    [[addressRecord('gw.local', lesser)], false],
    [[addressRecord('gw.local', ours)], false],
    [[addressRecord('other.local', greater)], false],
    // What is left over when all before is the same is greater.
    [[addressRecord('gw.local', ours), addressRecord('gw.local', greater)], true],
    // In order, the first is the smaller.
    [[addressRecord('gw.local', greater), addressRecord('gw.local', lesser)], false],
    // Type before data: TXT is after A.
    [[{ ...head('gw.local'), kind: 'txt', strings: [new Uint8Array(0)] }], true],
  ];
  for (const [authorities, loses] of cases) {
    const claiming = new Claiming();
    claiming.run(300);
    const dueAt = claiming.claim.pollAt();
    const bare = authorities.map(record => ({ ...record, cacheFlush: false }));
    assert.is(claiming.hear(310, probe(...bare)), loses, JSON.stringify(authorities));
    assert.is(claiming.claim.pollAt(), loses ? 1310 : dueAt);
    const { length } = claiming.sent;
    claiming.run(60_000);
    assert.is(
      claiming.sent.slice(length).filter(({ mdns }) => !mdns.isResponse).length,
      loses ? 6 : dueAt > 500 ? 2 : 4,
    );
    assert.is(claiming.name, 'gw.local');
  }
});

test('a conflict with a name held starts it over: kept if nobody says so again, given up otherwise', () => {
  for (const insists of [false, true]) {
    const claiming = new Claiming();
    claiming.run(5000);
    const conflict = response(addressRecord('gw.local', greater));
    assert.not.ok(claiming.hear(5000, response(addressRecord('gw.local', greater, { cacheFlush: false }))));
    assert.not.ok(claiming.hear(5000, probe(addressRecord('gw.local', greater))));
    const otherType: DnsDataRecord = { ...head('gw.local'), kind: 'txt', strings: [new Uint8Array(0)] };
    assert.not.ok(claiming.hear(5000, response(otherType)));
    assert.ok(claiming.hear(5000, conflict));
    assert.not.ok(claiming.claim.isHeld);
    if (insists) claiming.hear(5100, conflict);
    claiming.run(60_000);
    assert.ok(claiming.claim.isHeld);
    assert.is(claiming.name, insists ? 'gw-2.local' : 'gw.local');
  }
});

test('who always says the name is taken makes the agent ask once in 5 s, not more', () => {
  const claiming = new Claiming();
  const hourMs = 3_600_000;
  for (let now = claiming.claim.pollAt(); now < hourMs; now = claiming.claim.pollAt()) {
    claiming.run(now);
    claiming.hear(now, response(addressRecord(claiming.name, greater)));
  }
  const { length } = claiming.sent;
  // Two frames an attempt, and those before the fifteenth conflict.
  assert.ok(length <= 2 * (hourMs / 5000 + 15), String(length));
  assert.ok(length >= 2 * (hourMs / 5000 - 15), String(length));
});

test('after the last name the first has its turn again', () => {
  const claiming = new Claiming();
  for (let i = 1; i < 999; i++) claiming.hear(0, response(addressRecord(claiming.name, greater)));
  assert.is(claiming.name, 'gw-999.local');
  claiming.hear(0, response(addressRecord(claiming.name, greater)));
  assert.is(claiming.name, 'gw.local');
});

test.run();
