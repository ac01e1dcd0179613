import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import {
  Kibbutz,
  type KibbutzCounter,
  type KibbutzOptions,
  type KibbutzPort,
  longestLifetimeMs,
  type Policy,
  wait,
} from '../../agent/kibbutz/kibbutz.js';
import type { Account, Neighbour } from '../../agent/kibbutz/neighbour.js';
import { OwnerLimits, type OwnerOptions } from '../../agent/kibbutz/owner-limits.js';
import { own } from '../../agent/kibbutz/path-selection.js';
import {
  emitSignal,
  parseSignal,
  type Recipient,
  type Signal,
  type SignalKind,
} from '../../agent/kibbutz/signal.js';
import type { Aead } from '../../agent/port/aead.js';
import { aes128Gcm } from '../../edge/linux/aead.js';
import { unkeyed } from '../../host-sim/sim/kibbutz.js';

const tailMs = 10_000;
const promotionMs = 1_800;
const exchangeMs = 200;
const policies: readonly Policy[] = ['paper', 'kith'];
const hourMs = 3_600_000;

/** The key of two members, from either end. */
function recipient(member: number, other: number, aead = aes128Gcm): Recipient {
  const key = new Uint8Array(16).fill(0xa5);
  key.set([Math.min(member, other), Math.max(member, other)]);
  return { member, key, aead };
}

interface Spoken {
  /** 0: to all. */
  readonly to: number;
  readonly bytes: Uint8Array;
}

/** A member on a perfect local link, with a radio of the paper's: up for a tail time after each packet. */
class Phone implements KibbutzPort {
  readonly member: number;
  readonly aead: Aead;
  readonly options: KibbutzOptions;
  kibbutz: Kibbutz;
  spoken: Spoken[] = [];
  sequence = 0;
  exhausted = false;
  promoted = 0;
  released = 0;
  /** What the radio does, told apart from what the engine believes. */
  radioUntil = -1;
  radioSince = 0;
  upMs = 0;
  wakes = 0;
  /** Requests kept, by when they were made. */
  waiting: number[] = [];

  constructor(member: number, options: Partial<KibbutzOptions> = {}, now = 0, aead = aes128Gcm) {
    this.member = member;
    this.aead = aead;
    this.options = {
      member,
      boot: member * 7_919,
      policy: 'paper',
      tailMs,
      promotionMs,
      exchangeMs,
      initialCredit: 5,
      neighbours: 8,
      ...options,
    };
    this.kibbutz = new Kibbutz(now, this.options, this);
  }

  broadcast(bytes: Uint8Array): void {
    this.spoken.push({ to: 0, bytes });
  }

  send(member: number, bytes: Uint8Array): void {
    this.spoken.push({ to: member, bytes });
  }

  promote(now: number): void {
    this.promoted++;
    this.radio(now);
  }

  dormant(now: number): void {
    this.radioUntil = Math.min(this.radioUntil, now);
    this.settle(now);
  }

  release(): void {
    this.released++;
  }

  nextSequence(): number | undefined {
    return this.exhausted ? undefined : ++this.sequence;
  }

  /** A packet passes the radio. */
  radio(now: number): void {
    this.settle(now);
    if (now >= this.radioUntil) this.wakes++;
    this.radioUntil = now + tailMs;
  }

  settle(now: number): void {
    this.upMs += Math.max(0, Math.min(now, this.radioUntil) - this.radioSince);
    this.radioSince = now;
  }

  of(other: Phone): Neighbour {
    return this.kibbutz.neighbours[this.kibbutz.find(other.member)];
  }

  count(name: KibbutzCounter): number {
    return this.kibbutz.counters.get(name);
  }

  /** The last signal it spoke, taken off the link. */
  take(): Uint8Array {
    const last = this.spoken.pop();
    if (!last) throw new Error('expected a signal, got none');
    return last.bytes;
  }

  /** A signal as this member would make it, with anything in it changed. */
  make(to: Phone, kind: SignalKind, changes: Partial<Signal> = {}): Uint8Array {
    const { member: sender, boot } = this.options;
    const plain = { kind, sender, boot, sequence: ++this.sequence, uptimeMs: 0, lifetimeMs: 0, readyMs: 0 };
    return emitSignal({ ...plain, ...changes }, [recipient(to.member, this.member, this.aead)]);
  }
}

function acquaint(now: number, ...phones: readonly Phone[]): void {
  for (const phone of phones)
    for (const other of phones)
      if (phone !== other) phone.kibbutz.introduce(now, recipient(other.member, phone.member, phone.aead));
}

/** Carries what was said, and what is said in answer, to those it is for. `lose` decides for each hearer. */
function carry(
  now: number,
  phones: readonly Phone[],
  lose: (bytes: Uint8Array) => boolean = () => false,
): void {
  for (let more = true; more; ) {
    more = false;
    for (const phone of phones) {
      for (const { to, bytes } of phone.spoken.splice(0)) {
        more = true;
        for (const hearer of phones)
          if (hearer !== phone && (to === 0 || to === hearer.member) && !lose(bytes))
            hearer.kibbutz.receive(now, bytes);
      }
    }
  }
}

function pair(policy: Policy, aead = aes128Gcm): [Phone, Phone] {
  const phones: [Phone, Phone] = [new Phone(1, { policy }, 0, aead), new Phone(2, { policy }, 0, aead)];
  acquaint(0, ...phones);
  return phones;
}

function parsed(bytes: Uint8Array): Signal {
  const result = parseSignal(bytes);
  if (!result.ok) throw new Error(`expected a signal, got ${result.reason}`);
  return result.value;
}

/** Every number and flag the engine keeps, but counters and since when a sender has been late. */
function stateOf({ kibbutz }: Phone): string {
  const plain = (value: object) =>
    Object.entries(value).filter(
      ([name, field]) => typeof field !== 'object' && name !== 'lateMs' && name !== 'lateSince',
    );
  return JSON.stringify([plain(kibbutz), kibbutz.neighbours.map(plain), kibbutz.pollAt()]);
}

type Way = 'own' | 'via' | 'wait';

/** One request of a phone, the way its engine sends it, with everything delivered at once. */
function request(
  now: number,
  phone: Phone,
  phones: readonly Phone[],
  { mayWait = false, madeAt = now, deferMs = 30_000 } = {},
): Way {
  const { kibbutz } = phone;
  for (let tries = 0; tries < 10; tries++) {
    const place = kibbutz.route(now, mayWait ? madeAt + deferMs : 0);
    if (place === wait) {
      carry(now, phones);
      phone.waiting.push(madeAt);
      return 'wait';
    }
    if (place === own) {
      kibbutz.sentOwn(now, 100, mayWait);
      phone.radio(now);
      carry(now, phones);
      return 'own';
    }
    const { member } = kibbutz.neighbours[place];
    const forwarder = phones.find(other => other.member === member) as Phone;
    kibbutz.sentVia(now, place, 100, false);
    const taken = forwarder.kibbutz.forward(now, forwarder.kibbutz.find(phone.member), 100, mayWait);
    if (taken) forwarder.radio(now);
    carry(now, phones);
    if (!taken) continue;
    kibbutz.answered(place);
    return 'via';
  }
  throw new Error('expected a way within ten tries');
}

/** Polls whoever wants to be, and sees that it does not want to be again at once. */
function poll(now: number, phones: readonly Phone[]): void {
  for (const phone of phones) {
    if (phone.kibbutz.pollAt() > now) continue;
    phone.kibbutz.poll(now);
    assert.ok(phone.kibbutz.pollAt() > now, 'polled, and nothing left to do now');
    carry(now, phones);
    const { released } = phone;
    if (released === 0) continue;
    phone.released = 0;
    for (const madeAt of phone.waiting.splice(0)) request(now, phone, phones, { mayWait: true, madeAt });
  }
}

function closeTo(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual - expected) < 1e-9, `${what}: expected ${expected}, got ${actual}`);
}

// ---- Advertisements ----

test('an idle radio is not advertised; the first packet advertises it for one tail, and no other does in that time', () => {
  const [a, b] = pair('paper');
  a.kibbutz.poll(0);
  assert.is(a.spoken.length, 0);
  a.kibbutz.sentOwn(500, 100, false);
  const { kind, sender, uptimeMs, lifetimeMs, readyMs } = parsed(a.take());
  assert.equal(
    { kind, sender, uptimeMs, lifetimeMs, readyMs },
    { kind: 'advertisement', sender: 1, uptimeMs: 500, lifetimeMs: tailMs, readyMs: promotionMs },
  );
  for (const now of [501, 5_000, 10_499]) a.kibbutz.sentOwn(now, 100, false);
  assert.is(a.spoken.length, 0, 'shared already');
  a.kibbutz.sentOwn(10_500, 100, false);
  assert.is(parsed(a.take()).readyMs, 0, 'the radio has been up all the time');
  assert.is(b.count('signals'), 0);
});

test('policy kith renews from half of the time on, for as long as the radio is needed', () => {
  const [a] = pair('kith');
  a.kibbutz.sentOwn(0, 100, false);
  a.take();
  a.kibbutz.sentOwn(5_000, 100, false);
  assert.is(a.spoken.length, 0);
  a.kibbutz.sentOwn(5_001, 100, false);
  assert.is(parsed(a.take()).lifetimeMs, tailMs);
  const [c] = pair('kith');
  c.kibbutz.sentOwn(0, 100, true);
  assert.is(
    parsed(c.take()).lifetimeMs,
    promotionMs + exchangeMs,
    'a packet that may wait needs one exchange',
  );
  assert.is(c.kibbutz.pollAt(), promotionMs + exchangeMs);
});

test('a valid advertisement is used until its end and not at it; a forwarded packet renews one that has ended', () => {
  const [a, b] = pair('paper');
  assert.is(request(0, a, [a, b]), 'own');
  assert.is(b.kibbutz.route(9_999, 0), 0);
  assert.is(request(9_999, b, [a, b]), 'via');
  assert.is(a.count('advertisements.sent'), 1);
  assert.is(request(10_000, b, [a, b]), 'via', 'ended, but the radio is up from the last packet');
  assert.is(a.count('advertisements.sent'), 2);
  assert.is(request(19_999, b, [a, b]), 'via', 'in the renewed period');
  assert.is(a.count('advertisements.sent'), 2);
  // Up to 29,999 by the last packet. Who has not used the last one does not try its luck for ever.
  assert.is(b.kibbutz.route(30_001, 0), own);
  assert.not(a.kibbutz.forward(30_000, 0, 100, false), 'the radio is idle');
  assert.is(a.count('refused.idle'), 1);
  assert.is(parsed(a.take()).kind, 'refusal');
});

test('clocks that differ by years and drift by 100 ppm against each other change nothing', () => {
  const waysWith = (clocks: readonly ((now: number) => number)[], policy: Policy) => {
    const phones = [1, 2, 3].map((member, i) => new Phone(member, { policy }, clocks[i](0)));
    for (const [i, phone] of phones.entries())
      for (const other of phones)
        if (phone !== other) phone.kibbutz.introduce(clocks[i](0), recipient(other.member, phone.member));
    const at = (phone: Phone, now: number) => clocks[phones.indexOf(phone)](now);
    const deliver = (now: number) => {
      for (let more = true; more; ) {
        more = false;
        for (const phone of phones)
          for (const { to, bytes } of phone.spoken.splice(0)) {
            more = true;
            for (const hearer of phones)
              if (hearer !== phone && (to === 0 || to === hearer.member))
                hearer.kibbutz.receive(at(hearer, now), bytes);
          }
      }
    };
    const ways: string[] = [];
    // Gaps whose multiples stay clear of the ends of advertisements by more than the clocks drift apart in one.
    for (let now = 0; now < 6 * hourMs; now += 3_701) {
      const phone = phones[Math.floor(now / 3_701 / 5) % 3];
      const { kibbutz } = phone;
      for (const one of phones)
        if (one.kibbutz.pollAt() <= at(one, now)) {
          one.kibbutz.poll(at(one, now));
          deliver(now);
        }
      const place = kibbutz.route(at(phone, now), 0);
      let way = `${place}`;
      if (place === own) kibbutz.sentOwn(at(phone, now), 100, false);
      if (place >= 0) {
        const forwarder = phones.find(({ member }) => member === kibbutz.neighbours[place].member) as Phone;
        kibbutz.sentVia(at(phone, now), place, 100, false);
        const taken = forwarder.kibbutz.forward(
          at(forwarder, now),
          forwarder.kibbutz.find(phone.member),
          100,
          false,
        );
        way += taken ? ' taken' : ' refused';
        if (taken) kibbutz.answered(place);
      }
      deliver(now);
      ways.push(way);
    }
    for (const phone of phones) assert.is(phone.count('signals.stale'), 0);
    return ways;
  };
  const years = 20 * 365.25 * 24 * hourMs;
  const sharedIn = (ways: readonly string[]) => ways.filter(way => way.endsWith('taken')).length;
  for (const policy of policies) {
    const alike = waysWith([now => now, now => now, now => now], policy);
    assert.ok(sharedIn(alike) > alike.length / 3, `${policy}: they share, ${sharedIn(alike)} times`);
    assert.equal(waysWith([now => now, now => years + now, now => 5e14 + now], policy), alike, policy);
    const drifting = waysWith(
      [now => now, now => Math.floor(years + now * 1.0001), now => Math.floor(5e14 + now * 0.9999)],
      policy,
    );
    // Kith counts time: what two clocks that drift make of it may decide whose turn it is, though not how often.
    if (policy === 'paper') assert.equal(drifting, alike);
    else {
      const [one, other] = [sharedIn(drifting), sharedIn(alike)];
      assert.ok(Math.abs(one - other) < alike.length / 50, `${one} and ${other} of ${alike.length}`);
    }
  }
});

// ---- What is not believed ----

test('forged, replayed, stale, own, malformed, unknown and misdirected signals: each is counted and changes nothing', () => {
  for (const policy of policies) {
    const a = new Phone(1, { policy });
    const b = new Phone(2, { policy });
    const c = new Phone(3, { policy });
    acquaint(0, a, b, c);
    const stranger = new Phone(9, { policy });
    stranger.kibbutz.introduce(0, recipient(2, 9));
    request(0, a, [a, b, c]);
    const before = b.count('advertisements.received');
    a.kibbutz.sentOwn(12_000, 100, false);
    const fresh = a.take();
    b.kibbutz.receive(12_003, fresh);
    assert.is(b.count('advertisements.received'), before + 1);
    const refuse = (name: KibbutzCounter, now: number, bytes: Uint8Array) => {
      const state = stateOf(b);
      const count = b.count(name);
      b.kibbutz.receive(now, bytes);
      assert.is(b.count(name), count + 1, `${policy} ${name}`);
      assert.is(stateOf(b), state, `${policy} ${name}`);
      assert.is(b.spoken.length, 0);
    };
    refuse('signals.replayed', 12_004, fresh);
    for (const kind of ['advertisement', 'hand-over', 'refusal'] as const) {
      const forged = a.make(b, kind, { lifetimeMs: 9_000, uptimeMs: 12_004 });
      forged[22] ^= 1;
      refuse('signals.forged', 12_004, forged);
      const asIfFromA = c.make(b, kind, { sender: 1, sequence: 1_000 });
      refuse('signals.forged', 12_004, asIfFromA);
      refuse('signals.unknown-sender', 12_004, stranger.make(b, kind));
      refuse('signals.own', 12_004, b.make(a, kind));
      refuse('signals.not-for-us', 12_004, a.make(c, kind, { uptimeMs: 12_004 }));
      refuse('signals.malformed', 12_004, fresh.subarray(0, 40));
      // Somebody holds one back. It is authentic and has not been heard.
      for (const lateMs of [3_000, hourMs])
        refuse(
          'signals.stale',
          12_004 + lateMs,
          a.make(b, kind, { lifetimeMs: tailMs, uptimeMs: 12_004, sequence: 500 }),
        );
    }
    // What is late by less than a local link may take is believed.
    b.kibbutz.receive(
      23_900,
      a.make(b, 'advertisement', { lifetimeMs: tailMs, uptimeMs: 22_000, sequence: 501 }),
    );
    assert.is(b.count('signals.stale'), 6);
    assert.is(b.kibbutz.route(33_899, 0), 0);
  }
});

test('a signal held back a little more each time is not believed for longer than two clocks could drift apart', () => {
  const [a, b] = pair('paper');
  b.kibbutz.receive(0, a.make(b, 'advertisement', { lifetimeMs: tailMs, uptimeMs: 0 }));
  let believedMs = 0;
  for (let i = 1; i <= 3_600; i++) {
    const lateMs = 10 * i;
    const stale = b.count('signals.stale');
    b.kibbutz.receive(
      1_000 * i + lateMs,
      a.make(b, 'advertisement', { lifetimeMs: tailMs, uptimeMs: 1_000 * i }),
    );
    if (b.count('signals.stale') > stale) break;
    believedMs = lateMs;
  }
  assert.ok(believedMs >= 1_990 && believedMs <= 2_100, `${believedMs}`);
});

test('a sender whose clock stood still while it slept is heard again after a minute, and not before', () => {
  const [a, b] = pair('paper');
  const say = (now: number, uptimeMs: number) =>
    b.kibbutz.receive(now, a.make(b, 'advertisement', { lifetimeMs: tailMs, uptimeMs }));
  say(0, 0);
  for (let i = 0; i < 6; i++) say(hourMs + i * 10_000, 1_000 + i * 10_000);
  assert.is(b.count('signals.stale'), 6);
  say(hourMs + 60_000, 61_000);
  assert.is(b.count('signals.stale'), 6);
  assert.is(b.kibbutz.route(hourMs + 60_001, 0), 0);
  say(hourMs + 70_000, 71_000);
  assert.is(b.count('advertisements.received'), 3);
  // And one that is held back after that is late again.
  say(hourMs + 90_000, 81_000);
  assert.is(b.count('signals.stale'), 7);
});

test('the uptime may wrap after 49.7 days, and a receiver that slept hears on', () => {
  const [a, b] = pair('paper');
  const wrapMs = 2 ** 32;
  for (const now of [0, wrapMs / 2, wrapMs - 5, wrapMs + 5, 3 * wrapMs, 3 * wrapMs + 40_000])
    b.kibbutz.receive(now, a.make(b, 'advertisement', { lifetimeMs: tailMs, uptimeMs: now % wrapMs }));
  assert.is(b.count('advertisements.received'), 6);
  // The receiver's clock stands still for an hour: everything seems early by it.
  b.kibbutz.receive(
    3 * wrapMs + 50_000,
    a.make(b, 'advertisement', { lifetimeMs: tailMs, uptimeMs: 50_000 + hourMs }),
  );
  assert.is(b.count('advertisements.received'), 7);
});

test('a restarted sender is heard at once, and what was recorded of its former life is not', () => {
  const [a, b] = pair('paper');
  a.kibbutz.sentOwn(0, 100, false);
  const first = a.take();
  b.kibbutz.receive(0, first);
  a.kibbutz.sentOwn(20_000, 100, false);
  const unheard = a.take();
  const restarted = new Phone(1, { boot: 77 }, 30_000);
  restarted.sequence = 1_000;
  acquaint(30_000, restarted, b);
  restarted.kibbutz.sentOwn(31_000, 100, false);
  b.kibbutz.receive(31_000, restarted.take());
  assert.is(b.count('advertisements.received'), 2);
  b.kibbutz.receive(32_000, first);
  b.kibbutz.receive(32_000, unheard);
  assert.is(b.count('signals.replayed'), 2);
});

test('a lie about the lifetime is cut to a minute and counted', () => {
  const [a, b] = pair('paper');
  b.kibbutz.receive(0, a.make(b, 'advertisement', { lifetimeMs: 65_000 }));
  assert.is(b.count('advertisements.lifetime-cut'), 1);
  assert.is(b.of(a).offerUntil, longestLifetimeMs);
  b.kibbutz.receive(0, a.make(b, 'advertisement', { lifetimeMs: longestLifetimeMs }));
  assert.is(b.count('advertisements.lifetime-cut'), 1);
});

test('a sequence at the end of its numbers silences only who jumped there, and a new key begins anew', () => {
  const [a, b] = pair('paper');
  const c = new Phone(3);
  acquaint(0, b, c);
  b.kibbutz.receive(0, a.make(b, 'advertisement', { lifetimeMs: tailMs, sequence: 2 ** 53 - 1 }));
  b.kibbutz.receive(
    1,
    a.make(b, 'advertisement', { lifetimeMs: tailMs, sequence: 2 ** 53 - 1, uptimeMs: 1 }),
  );
  assert.is(b.count('signals.replayed'), 1);
  b.kibbutz.receive(2, c.make(b, 'advertisement', { lifetimeMs: tailMs }));
  assert.is(b.count('advertisements.received'), 2);
  // The same key again, as a provider may say it twice, opens no way for a replay; another one does begin from 1.
  b.kibbutz.introduce(3, recipient(1, 2));
  b.kibbutz.receive(4, a.make(b, 'advertisement', { lifetimeMs: tailMs, sequence: 5, uptimeMs: 4 }));
  assert.is(b.count('signals.replayed'), 2);
  const credit = b.of(a).credit;
  const renewed: Recipient = { member: 1, key: new Uint8Array(16).fill(0x77), aead: aes128Gcm };
  b.kibbutz.introduce(5, renewed);
  const signal: Signal = {
    kind: 'advertisement',
    sender: 1,
    boot: 8,
    sequence: 1,
    uptimeMs: 0,
    lifetimeMs: tailMs,
    readyMs: 0,
  };
  b.kibbutz.receive(6, emitSignal(signal, [{ ...renewed, member: 2 }]));
  assert.is(b.count('advertisements.received'), 3);
  assert.is(b.of(a).credit, credit, 'what is owed stays owed');
});

test('without numbers left nothing is said, nothing breaks, and it is counted', () => {
  for (const policy of policies) {
    const [a, b] = pair(policy);
    a.exhausted = true;
    a.kibbutz.sentOwn(0, 100, false);
    assert.not(a.kibbutz.forward(20_000, 0, 100, false));
    b.kibbutz.receive(20_000, a.make(b, 'advertisement', { lifetimeMs: tailMs, uptimeMs: 20_000 }));
    assert.is(a.spoken.length, 0);
    assert.is(a.count('signals.no-sequence'), 2);
  }
});

test('100,000 datagrams of garbage, replays and forgeries: the counters add up, and neither table, credit nor quota changes', () => {
  const seed = 65_537;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'flood');
  const owner = new OwnerLimits({ quotaBytes: 1e9, minimumPacketsPerMinute: 0 });
  owner.snapshot();
  const a = new Phone(1);
  const b = new Phone(2, { owner });
  acquaint(0, a, b);
  const recorded: Uint8Array[] = [];
  for (let i = 0; i < 20; i++) {
    a.kibbutz.sentOwn(i * tailMs, 100, false);
    recorded.push(a.take());
    b.kibbutz.receive(i * tailMs, recorded[i]);
  }
  const quota = JSON.stringify([owner.ownBytes, owner.forwardedBytes]);
  const state = stateOf(b);
  const { signals: already } = b.kibbutz.counters.snapshot();
  for (let i = 0; i < 100_000; i++) {
    let bytes: Uint8Array = recorded[random.below(recorded.length)];
    if (random.chance(0.3)) {
      bytes = new Uint8Array(random.below(150));
      for (let j = 0; j < bytes.length; j++) bytes[j] = random.below(256);
    } else if (random.chance(0.5)) {
      bytes = bytes.slice();
      // A fresh number, or anything else in it.
      bytes[random.chance(0.3) ? 12 : random.below(bytes.length)] ^= 1 + random.below(255);
    }
    b.kibbutz.receive(190_000 + random.below(5_000), bytes);
  }
  const counts = b.kibbutz.counters.snapshot();
  const refused = Object.keys(counts)
    .filter(name => name.startsWith('signals.'))
    .reduce((sum, name) => sum + counts[name], 0);
  assert.is(counts.signals - already, 100_000);
  assert.is(refused, 100_000, JSON.stringify(counts));
  for (const name of ['malformed', 'unknown-sender', 'not-for-us', 'replayed', 'forged'])
    assert.ok(counts[`signals.${name}`] > 100, name);
  assert.is(stateOf(b), state);
  assert.is(JSON.stringify([owner.ownBytes, owner.forwardedBytes]), quota);
  assert.is(b.spoken.length, 0, 'and none was answered');
});

// ---- Tit-for-tat ----

test('paper: the credit falls when a neighbour first uses a period and rises when we use one of its; at zero no more is offered', () => {
  const [a, b] = pair('paper');
  for (let period = 0; period < 5; period++) {
    const now = 20_000 * period;
    assert.is(request(now, a, [a, b]), 'own');
    assert.is(a.of(b).credit, 5 - period);
    for (const later of [1, 2_000, 9_999]) assert.is(request(now + later, b, [a, b]), 'via');
    assert.is(a.of(b).credit, 4 - period);
    assert.is(b.of(a).credit, 6 + period);
  }
  request(100_000, a, [a, b]);
  assert.is(a.count('advertisements.sent'), 5, 'there is nobody left to offer it to');
  assert.not(a.kibbutz.forward(100_001, 0, 100, false));
  assert.is(a.count('refused.not-offered'), 1);
  a.take();
  // B pays back, in one period, and may use one again.
  assert.is(request(120_000, b, [a, b]), 'own');
  assert.is(request(120_001, a, [a, b]), 'via');
  assert.is(a.of(b).credit, 1);
  assert.is(b.of(a).credit, 9);
});

test('kith: the credit counts the time a neighbour’s radio was spared, in tail times, alike at both ends', () => {
  const [a, b] = pair('kith');
  request(0, a, [a, b]);
  request(1_000, b, [a, b]);
  closeTo(a.of(b).credit, 4, 'one packet spares a tail');
  request(3_000, b, [a, b]);
  closeTo(a.of(b).credit, 3.8, 'another one two seconds after it two seconds more');
  closeTo(b.of(a).credit, 6.2, 'the other end');
  closeTo(b.of(a).taken, 1.2, 'taken');
});

/** Slots a neighbour got, worked out from when its packets were forwarded. */
class Meter {
  private readonly policy: Policy;
  private readonly periods: number[] = [];
  private spentMs = 0;
  private until = -1;

  constructor(policy: Policy) {
    this.policy = policy;
  }

  add(now: number, period: number): void {
    if (this.periods[this.periods.length - 1] !== period) this.periods.push(period);
    this.spentMs += now + tailMs - Math.max(now, this.until);
    this.until = now + tailMs;
  }

  /** Paper: advertisement periods; kith: tail times of radio. */
  get slots(): number {
    return this.policy === 'paper' ? this.periods.length : this.spentMs / tailMs;
  }
}

/** Somebody who only takes. Each is called ten times a second. */
interface Leech {
  /** Packets it sends now. */
  readonly greed: (now: number, victim: Phone) => number;
  /** What it says now. */
  readonly lie?: (now: number, leech: Phone, victim: Phone) => Uint8Array | undefined;
  /** What it does with our packets that its lies attract. */
  readonly swallows?: boolean;
}

const everySecond = (now: number) => (now % 1_000 === 300 ? 1 : 0);

const leeches: { readonly [kind: string]: Leech } = {
  'never advertises': { greed: everySecond },
  'sends at an insane rate': { greed: () => 10 },
  'once in a while': { greed: now => (now % 31_000 === 700 ? 1 : 0) },
  'when an advertisement has ended': {
    // One late in it, so that the radio stays up beyond.
    greed: (now, { kibbutz }) => {
      const { sharedUntil } = kibbutz as unknown as { readonly sharedUntil: number };
      return now >= sharedUntil ? 3 : now % 13_000 === 9_500 ? 1 : 0;
    },
  },
  'refuses to take over': {
    greed: everySecond,
    lie: (now, leech, victim) =>
      now % 1_000 === 0 ? leech.make(victim, 'refusal', { uptimeMs: now }) : undefined,
  },
  'asks us to take over': {
    greed: everySecond,
    lie: (now, leech, victim) =>
      leech.make(victim, 'hand-over', { uptimeMs: now, lifetimeMs: now % 3_000 === 0 ? 0 : tailMs }),
  },
  'advertises, and refuses': {
    greed: everySecond,
    lie: (now, leech, victim) =>
      now % 2_000 === 500
        ? leech.make(victim, 'advertisement', { uptimeMs: now, lifetimeMs: 65_000 })
        : undefined,
  },
  'advertises after each packet, and refuses': {
    greed: everySecond,
    lie: (now, leech, victim) =>
      now % 1_000 === 400
        ? leech.make(victim, 'advertisement', { uptimeMs: now, lifetimeMs: tailMs })
        : undefined,
  },
  'advertises, and swallows': {
    greed: everySecond,
    lie: (now, leech, victim) =>
      now % 2_000 === 500
        ? leech.make(victim, 'advertisement', { uptimeMs: now, lifetimeMs: tailMs })
        : undefined,
    swallows: true,
  },
};

const leechMs = hourMs / 3;

interface Damage {
  readonly slots: readonly number[];
  readonly victim: Phone;
  readonly requests: number;
  readonly slow: number;
}

/** A third of an hour of one honest phone, with a request every `gapMs`, among leeches. */
function leech(policy: Policy, initialCredit: number, kinds: readonly Leech[], gapMs: number): Damage {
  // The leeches have the lower ids, which two who share at once decide by.
  const victim = new Phone(100, { policy, initialCredit }, 0, unkeyed);
  const thieves = kinds.map((_, i) => new Phone(i + 1, { policy, initialCredit }, 0, unkeyed));
  acquaint(0, victim, ...thieves);
  const meters = kinds.map(() => new Meter(policy));
  let requests = 0;
  let slow = 0;
  const timeouts: number[] = [];
  const send = (now: number) => {
    const { kibbutz } = victim;
    for (let tries = 0; tries < 10; tries++) {
      const place = kibbutz.route(now, 0);
      if (place === wait) return void timeouts.push(now + exchangeMs);
      if (place === own) {
        if (now >= victim.radioUntil) slow++;
        kibbutz.sentOwn(now, 100, false);
        victim.radio(now);
        return;
      }
      kibbutz.sentVia(now, place, 100, false);
      const thief = thieves[place];
      if (kinds[place].swallows) {
        timeouts.push(now + 1_000, -place - 1);
        return;
      }
      kibbutz.receive(now, thief.make(victim, 'refusal', { uptimeMs: now }));
    }
    throw new Error('expected a way within ten tries');
  };
  for (let now = 0; now < leechMs; now += 100) {
    while (timeouts.length > 0 && timeouts[0] <= now) {
      timeouts.shift();
      if (timeouts.length > 0 && timeouts[0] < 0) {
        slow++;
        victim.kibbutz.lost(now, -(timeouts.shift() as number) - 1);
      }
      send(now);
    }
    if (victim.kibbutz.pollAt() <= now) victim.kibbutz.poll(now);
    if (now % gapMs === 0) {
      requests++;
      send(now);
    }
    for (const [i, thief] of thieves.entries()) {
      const lie = kinds[i].lie?.(now, thief, victim);
      if (lie) victim.kibbutz.receive(now, lie);
      for (let n = kinds[i].greed(now, victim); n > 0; n--) {
        if (!victim.kibbutz.forward(now, i, 100, false)) continue;
        victim.radio(now);
        meters[i].add(now, victim.count('advertisements.sent'));
      }
    }
    victim.spoken = [];
    assert.ok(timeouts.length < 100);
  }
  victim.settle(leechMs);
  return { slots: meters.map(({ slots }) => slots), victim, requests, slow };
}

test('a leech of whatever kind gets at most the initial credit: periods under the paper’s policy, tail times of radio under kith', () => {
  for (const policy of policies)
    for (const credit of [1, 2, 5, 20])
      for (const gapMs of [1_000, 13_000])
        for (const [kind, cheat] of Object.entries(leeches)) {
          const { slots, victim } = leech(policy, credit, [cheat], gapMs);
          const what = `${policy}, credit ${credit}, every ${gapMs} ms, ${kind}: ${slots[0]} slots`;
          // What swallows packets is believed to have lost them, for as many slots as anybody gets for nothing.
          const most = cheat.swallows ? 2 * credit + 1 : credit;
          assert.ok(slots[0] <= most + 1e-9, what);
          assert.ok(slots[0] > 0, what);
          assert.ok(victim.of(new Phone(1)).credit >= -1e-9, what);
        }
});

test('two leeches get no more than the initial credit each, not even when one lies for the other', () => {
  for (const policy of policies)
    for (const [one, other] of [
      ['never advertises', 'sends at an insane rate'],
      ['never advertises', 'advertises after each packet, and refuses'],
      ['sends at an insane rate', 'asks us to take over'],
      ['advertises, and refuses', 'advertises after each packet, and refuses'],
    ]) {
      const { slots } = leech(policy, 5, [leeches[one], leeches[other]], 1_000);
      for (const got of slots) assert.ok(got <= 5 + 1e-9, `${policy}, ${one}, ${other}: ${slots}`);
    }
});

test('a leech that leaves, restarts and comes back finds its account as it left it', () => {
  for (const policy of policies) {
    const [victim, thief] = pair(policy);
    const meter = new Meter(policy);
    for (let now = 0; now < hourMs; now += 500) {
      if (now % 600_000 === 0) {
        victim.kibbutz.introduce(now, recipient(2, 1));
        const again = new Phone(2, { boot: now }, now);
        victim.kibbutz.receive(now, again.make(victim, 'refusal', { sequence: now + 1 }));
      }
      if (victim.kibbutz.pollAt() <= now) victim.kibbutz.poll(now);
      if (now % 1_000 === 0) victim.kibbutz.sentOwn(now, 100, false);
      else if (victim.kibbutz.forward(now, 0, 100, false))
        meter.add(now, victim.count('advertisements.sent'));
      victim.spoken = [];
    }
    assert.ok(meter.slots <= 5 + 1e-9 && meter.slots > 4, `${policy}: ${meter.slots}`);
    assert.is(thief.spoken.length, 0);
  }
});

test('lies cost an honest phone little: its radio sleeps as before, and few requests find it asleep', () => {
  for (const policy of policies)
    for (const gapMs of [1_000, 13_000]) {
      const alone = leech(policy, 5, [], gapMs);
      for (const [kind, cheat] of Object.entries(leeches)) {
        const { victim, slots, requests, slow } = leech(policy, 5, [cheat], gapMs);
        const what = `${policy}, every ${gapMs} ms, ${kind}`;
        // What it carries keeps it up, a tail time for each slot; and so does each request that is made to fail.
        const mostMs = alone.victim.upMs + (slots[0] + 2) * tailMs;
        assert.ok(victim.upMs <= mostMs, `${what}: up ${victim.upMs} ms, alone ${alone.victim.upMs}`);
        assert.is(victim.promoted, 0, `${what}: brought up its radio for nothing`);
        // At most two in a minute: then its offers are not worth giving up a radio for.
        if (!cheat.swallows)
          assert.ok(slow <= alone.slow + 3 * 20, `${what}: ${slow} of ${requests} slow, alone ${alone.slow}`);
      }
    }
});

test('who was carried once can be asked to take over once, however often it is asked', () => {
  const [a, b] = pair('kith');
  request(0, b, [a, b]);
  request(1_000, a, [a, b]);
  assert.is(a.of(b).credit, 6);
  let promoted = 0;
  for (let now = 20_000; now < hourMs; now += 1_000) {
    for (const lifetimeMs of [1, tailMs, 65_535, 0])
      a.kibbutz.receive(now, b.make(a, 'hand-over', { uptimeMs: now, lifetimeMs }));
    if (a.kibbutz.pollAt() <= now) a.kibbutz.poll(now);
    promoted = a.promoted;
  }
  assert.ok(promoted >= 1 && promoted <= 2, `the promotion, and its end: ${promoted}`);
  assert.is(a.count('hand-overs.taken'), 1);
  a.settle(hourMs);
  assert.ok(a.upMs < 2.5 * tailMs, `${a.upMs}`);
});

test('a hand-over does not put to sleep a radio that its owner is using', () => {
  const [a, b] = pair('kith');
  request(0, b, [a, b]);
  request(1_000, a, [a, b]);
  for (let now = 20_000; now < 60_000; now += 1_000) {
    if (a.kibbutz.pollAt() <= now) a.kibbutz.poll(now);
    a.kibbutz.sentOwn(now, 100, false);
    a.radio(now);
    const asks = now >= 25_000;
    if (asks) a.kibbutz.receive(now + 1, b.make(a, 'hand-over', { uptimeMs: now + 1, lifetimeMs: 1 }));
    for (let later = now + 2; later < now + 1_000; later += 100)
      if (a.kibbutz.pollAt() <= later) a.kibbutz.poll(later);
  }
  assert.is(a.count('hand-overs.taken'), 1);
  assert.is(a.wakes, 1, 'once, for its first packet');
});

// ---- Two honest ones ----

interface Pair {
  readonly phones: readonly [Phone, Phone];
  readonly via: number;
  readonly viaLate: number;
  readonly requests: number;
  /** The least and the most that the two accounts were off their common sum. */
  readonly least: number;
  readonly most: number;
}

/** Four hours of two honest phones whose signals may be lost; `restart` is asked once a minute. */
function live(
  policy: Policy,
  gaps: readonly [number, number],
  random: Random,
  lose: () => boolean,
  restart?: (now: number, phone: Phone, other: Phone) => Account | undefined | 'no',
): Pair {
  const phones = pair(policy, unkeyed) as [Phone, Phone];
  const next = [random.below(gaps[0]), random.below(gaps[1])];
  let [via, viaLate, requests, least, most] = [0, 0, 0, 0, 0];
  for (let now = 0; now < 4 * hourMs; now += 100) {
    if (restart && now % 60_000 === 0 && now > 0)
      for (const [i, phone] of phones.entries()) {
        const other = phones[1 - i];
        const account = restart(now, phone, other);
        if (account === 'no') continue;
        const { upMs, wakes } = phone;
        const again = new Phone(phone.member, { policy, boot: now + i }, now, unkeyed);
        Object.assign(again, { upMs, wakes, radioSince: now, sequence: phone.sequence });
        again.kibbutz.introduce(now, recipient(other.member, phone.member, unkeyed), account);
        phones[i] = again;
      }
    for (const [i, phone] of phones.entries()) {
      if (phone.kibbutz.pollAt() <= now) {
        phone.kibbutz.poll(now);
        assert.ok(phone.kibbutz.pollAt() > now);
        carry(now, phones, lose);
      }
      if (phone.released > 0) {
        phone.released = 0;
        if (phone.waiting.splice(0).length > 0) next[i] = now;
      }
      if (now < next[i]) continue;
      requests++;
      next[i] = now + gaps[i] / 2 + random.below(gaps[i]);
      const { kibbutz } = phone;
      const other = phones[1 - i];
      let done = false;
      for (let tries = 0; !done; tries++) {
        assert.ok(tries < 5, 'refusals end');
        const place = kibbutz.route(now, 0);
        if (place === wait) {
          phone.waiting.push(now);
          next[i] = Infinity;
          break;
        }
        done = place === own || other.kibbutz.forward(now, 0, 100, false);
        if (place === own) {
          kibbutz.sentOwn(now, 100, false);
          phone.radio(now);
        } else if (done) {
          // The renewal that the packet causes is heard, or lost, before the answer comes.
          kibbutz.sentVia(now, place, 100, false);
          other.radio(now);
          via++;
          if (now >= 3.5 * hourMs) viaLate++;
        }
        // A refusal is told again until it arrives.
        const heard = done ? lose : () => false;
        carry(now, phones, heard);
        if (done && place !== own) kibbutz.answered(place);
      }
      carry(now, phones, lose);
    }
    const off = phones[0].of(phones[1]).credit + phones[1].of(phones[0]).credit - 10;
    least = Math.min(least, off);
    most = Math.max(most, off);
  }
  for (const phone of phones) phone.settle(4 * hourMs);
  return { phones, via, viaLate, requests, least, most };
}

const mixes: readonly (readonly [number, number])[] = [
  [1_000, 1_000],
  [13_000, 13_000],
  [1_000, 13_000],
  [30_000, 13_000],
];

test('two honest phones share for as long as they live, whatever they do, and their accounts agree to the last slot', () => {
  for (const policy of policies)
    for (const gaps of mixes)
      for (let seed = 1; seed <= 3; seed++) {
        const what = `${policy}, ${gaps}, seed ${seed}`;
        const random = new Random(seed, 'honest');
        const { phones, viaLate, least, most } = live(policy, gaps, random, () => false);
        closeTo(least, 0, what);
        closeTo(most, 0, what);
        assert.ok(viaLate > 0, what);
        const aloneMs = gaps.map(gap => Math.min(1, (gap > tailMs ? 0.85 : 1.02) as number) * 4 * hourMs);
        for (const [i, phone] of phones.entries())
          assert.ok(phone.upMs < aloneMs[i], `${what}: phone ${i} up ${phone.upMs / hourMs} h`);
      }
});

test('advertisements lost, up to half of them: nobody is starved; the accounts go apart by a bounded amount, in favour of the other', () => {
  for (const policy of policies) {
    let [worst, best] = [0, 0];
    for (const loss of [0.02, 0.1, 0.3, 0.5])
      for (const gaps of mixes) {
        const seed = 4_711;
        const random = new Random(seed, `lost/${loss}`);
        const what = `${policy}, ${loss} lost, ${gaps}, seed ${seed}`;
        const { viaLate, least, most } = live(policy, gaps, random, () => random.chance(loss));
        worst = Math.min(worst, least);
        best = Math.max(best, most);
        assert.ok(viaLate > 0, `${what}: they still share in the last half hour`);
        // Neither account passes what two that agree could reach, so their sum does not either.
        assert.ok(most <= (policy === 'paper' ? 10 : 20) + 1e-9, `${what}: ${most} too much`);
        assert.ok(least >= -5, `${what}: ${least} too little`);
      }
    console.log(`${policy}: the two accounts were off by ${worst.toFixed(1)} … ${best.toFixed(1)} slots`);
  }
});

test('what one lost and one duplicated advertisement do to the two accounts', () => {
  for (const policy of policies) {
    // Lost when it begins: nobody knows of the period, nobody counts it.
    const [a, b] = pair(policy);
    a.kibbutz.sentOwn(0, 100, false);
    a.spoken = [];
    assert.is(b.kibbutz.route(1_000, 0), own);
    assert.equal([a.of(b).credit, b.of(a).credit], [5, 5], policy);
    // Twice: the second copy is a replay.
    a.kibbutz.sentOwn(20_000, 100, false);
    const bytes = a.take();
    for (let i = 0; i < 2; i++) b.kibbutz.receive(20_000, bytes);
    assert.is(b.count('signals.replayed'), 1);
    request(21_000, b, [a, b]);
    assert.equal([a.of(b).credit, b.of(a).credit], [4, 6], policy);
    // Lost when a forwarded packet renews it: the sender of that packet knows that it does, and counts.
    b.kibbutz.sentVia(30_500, 0, 100, false);
    assert.ok(a.kibbutz.forward(30_500, 0, 100, false));
    a.spoken = [];
    b.kibbutz.answered(0);
    const sum = a.of(b).credit + b.of(a).credit;
    closeTo(sum, 10, policy);
    assert.ok(a.of(b).credit < 4, policy);
    // Overtaken by a later one: it says nothing new.
    a.kibbutz.sentOwn(45_000, 100, false);
    const early = a.take();
    a.kibbutz.sentOwn(56_000, 100, false);
    const late = a.take();
    b.kibbutz.receive(56_001, late);
    b.kibbutz.receive(56_002, early);
    assert.is(b.count('signals.replayed'), 2);
  }
});

test('paper: a packet that crosses the end of the advertisement on its way is counted as the forwarder counts it', () => {
  const [a, b] = pair('paper');
  request(0, a, [a, b]);
  request(5_000, b, [a, b]);
  // Sent while valid, there after the end.
  b.kibbutz.sentVia(9_995, 0, 100, false);
  assert.ok(a.kibbutz.forward(10_004, 0, 100, false));
  carry(10_013, [a, b]);
  b.kibbutz.answered(0);
  assert.equal([a.of(b).credit, b.of(a).credit], [3, 7]);
  // And in the period it has begun it is not counted again.
  request(12_000, b, [a, b]);
  assert.equal([a.of(b).credit, b.of(a).credit], [3, 7]);
  // The same over a slow link, where the renewal is heard only after a packet was sent past the end.
  b.kibbutz.sentVia(21_000, 0, 100, false);
  assert.ok(a.kibbutz.forward(21_020, 0, 100, false));
  carry(21_040, [a, b]);
  b.kibbutz.answered(0);
  assert.equal([a.of(b).credit, b.of(a).credit], [2, 8]);
  request(22_000, b, [a, b]);
  assert.equal([a.of(b).credit, b.of(a).credit], [2, 8]);
});

test('a lost answer leaves the account as the forwarder has it; a refused packet takes back what it counted', () => {
  for (const policy of policies) {
    const [a, b] = pair(policy);
    request(0, a, [a, b]);
    b.kibbutz.sentVia(1_000, 0, 100, false);
    assert.ok(a.kibbutz.forward(1_000, 0, 100, false));
    b.kibbutz.lost(2_000, 0);
    closeTo(a.of(b).credit + b.of(a).credit, 10, policy);
    assert.is(b.of(a).takenBytes, 100);
    // Refused: the radio is idle by now.
    const [c, d] = pair(policy);
    request(0, c, [c, d]);
    d.kibbutz.sentVia(9_000, 0, 100, false);
    assert.not(c.kibbutz.forward(11_000, 0, 100, false));
    carry(11_000, [c, d]);
    assert.equal([c.of(d).credit, d.of(c).credit], [5, 5], policy);
    assert.is(d.of(c).takenBytes, 0);
    assert.is(d.of(c).taken, 0);
    assert.is(d.kibbutz.route(11_001, 0), own);
  }
});

test('restarts with the accounts kept, every few minutes and of both, starve nobody', () => {
  const kept = ({ credit, taken, givenBytes, takenBytes }: Account): Account => ({
    credit,
    taken,
    givenBytes,
    takenBytes,
  });
  for (const policy of policies)
    for (const gaps of mixes) {
      const seed = 99;
      const random = new Random(seed, 'restarts');
      const what = `${policy}, ${gaps}, seed ${seed}`;
      const { viaLate, least, most } = live(
        policy,
        gaps,
        random,
        () => false,
        (_, phone, other) => (random.chance(0.2) ? kept(phone.of(other)) : 'no'),
      );
      assert.ok(viaLate > 0, what);
      // A restart may forget the slot that is running.
      assert.ok(least > -10 && most <= 20 + 1e-9, `${what}: ${least} … ${most}`);
    }
});

test('who lost its account starts anew, and the two go on sharing', () => {
  for (const policy of policies)
    for (const gaps of mixes) {
      const seed = 7;
      const random = new Random(seed, 'amnesia');
      const what = `${policy}, ${gaps}, seed ${seed}`;
      const { viaLate, least, most } = live(
        policy,
        gaps,
        random,
        () => false,
        (now, { member }) => (member === 1 && now % 600_000 === 0 ? undefined : 'no'),
      );
      assert.ok(viaLate > 0, what);
      assert.ok(least > -11 && most <= 20 + 1e-9, `${what}: ${least} … ${most}`);
    }
});

test('a credit that is no number opens nothing', () => {
  for (const policy of policies) {
    const a = new Phone(1, { policy });
    a.kibbutz.introduce(0, recipient(2, 1), { credit: Number.NaN, taken: 0, givenBytes: 0, takenBytes: 0 });
    a.kibbutz.sentOwn(0, 100, false);
    assert.is(a.spoken.length, 0);
    for (const now of [1, 9_000, 10_500, 12_000]) assert.not(a.kibbutz.forward(now, 0, 100, false));
  }
});

// ---- Policy kith: one radio at a time ----

test('make before break: the successor promotes first, and the old radio goes dormant only when the new one is up', () => {
  const [a, b] = pair('kith');
  request(0, a, [a, b]);
  let now = 1_000;
  for (; b.promoted === 0; now += 1_000) {
    assert.is(request(now, b, [a, b]), 'via');
    request(now, a, [a, b]);
    poll(now, [a, b]);
    assert.ok(now < 120_000, 'its turn comes');
  }
  const askedAt = now - 1_000;
  assert.is(a.count('hand-overs.asked'), 1);
  assert.is(b.count('hand-overs.taken'), 1);
  assert.ok(a.of(b).credit < 1 && a.of(b).credit > -5, 'who owes is asked');
  assert.is(b.kibbutz.pollAt(), askedAt + promotionMs);
  assert.is(request(askedAt + promotionMs - 1, b, [a, b]), 'via', 'the old one carries until then');
  poll(askedAt + promotionMs, [a, b]);
  assert.is(a.count('hand-overs.unanswered'), 0);
  assert.is(request(askedAt + promotionMs + 1, a, [a, b]), 'via');
  assert.is(request(askedAt + promotionMs + 2, b, [a, b]), 'own');
  const leavesAt = askedAt + promotionMs + exchangeMs;
  assert.is(a.kibbutz.pollAt(), leavesAt);
  poll(leavesAt, [a, b]);
  assert.is(a.radioUntil, leavesAt, 'fast dormancy');
});

test('nobody is asked who does not owe, and who is asked without owing refuses', () => {
  const [a, b] = pair('kith');
  b.kibbutz.receive(0, a.make(b, 'hand-over', { lifetimeMs: tailMs }));
  assert.is(b.count('hand-overs.refused'), 1);
  assert.is(b.promoted, 0);
  assert.is(parsed(b.take()).kind, 'refusal');
  const [c, d] = pair('paper');
  d.kibbutz.receive(0, c.make(d, 'hand-over', { lifetimeMs: tailMs }));
  assert.is(d.count('hand-overs.refused'), 1, 'the paper knows no hand-over');
});

test('a successor that dies, is deaf or refuses is not waited for, and not asked again for a minute', () => {
  for (const how of ['dies', 'refuses'] as const) {
    const [a, b] = pair('kith');
    const asked: number[] = [];
    const ways: Way[] = [];
    for (let now = 0; now < 300_000; now += 500) {
      const before = a.count('hand-overs.asked');
      const { kibbutz } = a;
      if (kibbutz.pollAt() <= now) kibbutz.poll(now);
      ways.push(kibbutz.route(now, 0) === own ? 'own' : 'via');
      kibbutz.sentOwn(now, 100, false);
      // It goes on taking, as much as it may.
      kibbutz.forward(now, 0, 100, false);
      if (a.count('hand-overs.asked') > before) {
        asked.push(now);
        if (how === 'refuses') kibbutz.receive(now, b.make(a, 'refusal', { uptimeMs: now }));
      }
      a.spoken = [];
    }
    assert.ok(asked.length >= 1, how);
    for (let i = 1; i < asked.length; i++) assert.ok(asked[i] - asked[i - 1] >= 60_000, `${how}: ${asked}`);
    assert.is(a.count('hand-overs.unanswered'), how === 'dies' ? asked.length : 0);
    assert.ok(ways.every(way => way === 'own'));
  }
});

test('two who start to share at the same instant settle on one, whatever their accounts say', () => {
  for (const [mine, others] of [
    [5, 5],
    [6, 4],
    [4, 6],
    [6, 6],
    [4, 4],
    [5.5, 5],
  ]) {
    const phones = pair('kith');
    const [a, b] = phones;
    a.of(b).credit = mine;
    b.of(a).credit = others;
    for (const phone of phones) phone.kibbutz.sentOwn(0, 100, false);
    for (const phone of phones) phone.radio(0);
    carry(0, phones);
    let both = 0;
    for (let now = 500; now < 120_000; now += 500) {
      poll(now, phones);
      for (const phone of phones) request(now, phone, phones);
      if (now > 30_000 && a.radioUntil > now && b.radioUntil > now) both++;
    }
    // Hand-overs overlap for a promotion and an exchange.
    assert.ok(both <= 40, `credits ${mine} and ${others}: both up in ${both} of 180 half seconds`);
    const woken = a.wakes + b.wakes;
    assert.ok(woken <= 12, `credits ${mine} and ${others}: ${woken} promotions in two minutes`);
  }
});

test('what may wait is released at its deadline, at a neighbour’s advertisement, or when the own radio is up', () => {
  const [a, b] = pair('kith');
  assert.is(b.kibbutz.route(0, 30_000), wait);
  assert.is(b.kibbutz.route(10, 20_000), wait);
  assert.is(b.kibbutz.pollAt(), 20_000, 'the first of several');
  b.kibbutz.poll(20_000);
  assert.is(b.released, 1);
  assert.is(b.kibbutz.route(20_000, 20_000), own);
  assert.is(b.kibbutz.pollAt(), Infinity);
  assert.is(b.kibbutz.route(20_000, 30_000), wait);
  // A neighbour's radio is about to be up.
  a.kibbutz.sentOwn(21_000, 100, true);
  carry(21_000, [a, b]);
  assert.is(b.kibbutz.pollAt(), 21_000 + promotionMs);
  b.kibbutz.poll(21_000 + promotionMs);
  assert.is(b.released, 2);
  assert.is(b.kibbutz.route(21_000 + promotionMs, 30_000), 0);
  // Our own radio is promoted for something else.
  const [, d] = pair('kith');
  assert.is(d.kibbutz.route(0, 30_000), wait);
  d.kibbutz.sentOwn(1_000, 100, false);
  assert.is(d.kibbutz.pollAt(), 1_000 + promotionMs);
});

test('what waits goes when a hand-over has brought our radio up', () => {
  const [a, b] = pair('kith');
  request(0, b, [a, b]);
  request(1_000, a, [a, b]);
  assert.ok(a.of(b).credit > 5);
  assert.is(a.kibbutz.route(200_000, 230_000), wait);
  a.kibbutz.receive(200_100, b.make(a, 'hand-over', { uptimeMs: 200_100, lifetimeMs: 5_000 }));
  assert.is(a.kibbutz.pollAt(), 200_100 + promotionMs);
  a.kibbutz.poll(200_100 + promotionMs);
  assert.is(a.released, 1);
  assert.is(a.kibbutz.route(200_100 + promotionMs, 230_000), own);
});

test('nothing waits while somebody uses the network interactively, here or next to us', () => {
  const [a, b] = pair('kith');
  a.kibbutz.sentOwn(0, 100, false);
  carry(0, [a, b]);
  for (const now of [20_001, 59_999]) {
    assert.is.not(a.kibbutz.route(now, now + 30_000), wait);
    assert.is.not(b.kibbutz.route(now, now + 30_000), wait);
  }
  assert.is(a.kibbutz.route(60_000, 90_000), wait);
  assert.is(b.kibbutz.route(60_000, 90_000), wait);
  assert.is(pair('paper')[0].kibbutz.route(0, 30_000), own, 'nothing ever does under the paper’s policy');
});

test('what may not wait is held up for at most one exchange, however many successors are asked in vain', () => {
  const phones = [1, 2, 3, 4, 5].map(member => new Phone(member, { policy: 'kith' }));
  acquaint(0, ...phones);
  const [a, ...deaf] = phones;
  // All have used what they may, and somebody interactive is about.
  for (const other of deaf) a.of(other).credit = 0;
  let longestMs = 0;
  for (let now = 1_000; now < 600_000; now += 15_000) {
    for (const other of deaf) a.kibbutz.receive(now - 1, other.make(a, 'refusal', { uptimeMs: now - 1 }));
    a.kibbutz.sentOwn(now, 100, false);
    a.radio(now);
    const madeAt = now + 12_000;
    if (a.kibbutz.pollAt() <= madeAt) a.kibbutz.poll(madeAt);
    let at = madeAt;
    while (a.kibbutz.route(at, 0) === wait) {
      at = a.kibbutz.pollAt();
      assert.ok(at < Infinity, 'somebody will wake us');
      a.kibbutz.poll(at);
    }
    longestMs = Math.max(longestMs, at - madeAt);
  }
  assert.ok(a.count('hand-overs.asked') > 0);
  assert.is(longestMs, exchangeMs);
});

test('a radio is released only when nothing has passed it for an exchange, and never stays up without use', () => {
  const [a, b] = pair('kith');
  a.kibbutz.sentOwn(0, 100, true);
  a.radio(0);
  carry(0, [a, b]);
  // The rest of an answer still comes in.
  const doneAt = promotionMs + exchangeMs;
  a.kibbutz.upUntil = doneAt - 50 + tailMs;
  a.kibbutz.poll(doneAt);
  assert.is(a.kibbutz.pollAt(), doneAt - 50 + exchangeMs);
  a.kibbutz.poll(doneAt - 50 + exchangeMs);
  assert.is(a.radioUntil, doneAt - 50 + exchangeMs);
  // A neighbour's packet that comes while we leave still gets its answer.
  const [c, d] = pair('kith');
  request(0, d, [c, d]);
  request(100, c, [c, d]);
  d.kibbutz.receive(
    1_000,
    c.make(d, 'advertisement', { uptimeMs: 1_000, lifetimeMs: tailMs, sequence: 100 }),
  );
  const leavesAt = d.kibbutz.pollAt();
  assert.is(leavesAt, promotionMs + exchangeMs, 'not before its own promotion is over and answered');
  assert.ok(d.kibbutz.forward(leavesAt - 1, 0, 100, false));
  d.kibbutz.poll(leavesAt);
  assert.is(d.kibbutz.pollAt(), leavesAt - 1 + exchangeMs);
});

test('polled late, it says nothing about times that are over', () => {
  const [a, b] = pair('kith');
  request(0, b, [a, b]);
  request(1_000, a, [a, b]);
  a.kibbutz.receive(20_000, b.make(a, 'hand-over', { uptimeMs: 20_000, lifetimeMs: tailMs }));
  a.kibbutz.poll(45_000);
  const { kind, lifetimeMs } = parsed(a.take());
  assert.is(kind, 'advertisement');
  assert.ok(lifetimeMs > 0 && lifetimeMs <= tailMs, `${lifetimeMs}`);
});

// ---- Owner's limits ----

function withOwner(policy: Policy, limits: OwnerOptions): { a: Phone; b: Phone; owner: OwnerLimits } {
  const owner = new OwnerLimits({ minimumPacketsPerMinute: 0, ...limits });
  owner.snapshot();
  const a = new Phone(1, { policy, owner });
  const b = new Phone(2, { policy });
  acquaint(0, a, b);
  return { a, b, owner };
}

test('a blocked neighbour is offered nothing, carried nothing, asked for nothing, and its advertisements hide nobody’s', () => {
  for (const policy of policies)
    for (const limits of [{ blocked: [2] }, { allowed: [3] }]) {
      const { a, b, owner } = withOwner(policy, limits);
      const c = new Phone(3, { policy });
      acquaint(0, a, c);
      const reason = 'blocked' in limits ? 'blocked' : 'not-allowed';
      a.kibbutz.receive(0, c.make(a, 'advertisement', { lifetimeMs: tailMs }));
      a.kibbutz.receive(0, b.make(a, 'advertisement', { lifetimeMs: 60_000 }));
      assert.is(a.count('advertisements.unwanted'), 1);
      assert.is(a.kibbutz.route(1, 0), 1, 'the later offer does not hide the allowed one');
      assert.is(a.kibbutz.plan(1).carrier, 3);
      assert.is(a.kibbutz.plan(1).paths.length, 2);
      a.kibbutz.sentOwn(20_000, 100, false);
      assert.equal([...a.take().subarray(26, 31)], [1, 0, 0, 0, 3], 'one entry, for member 3');
      assert.not(a.kibbutz.forward(20_001, 0, 100, false));
      assert.is(a.count('refused.not-offered'), 1);
      a.kibbutz.sentOwn(24_999, 100, false);
      assert.not(a.kibbutz.forward(30_001, 0, 100, false), 'nor does it renew one that has ended');
      assert.is(a.count('refused.owner'), 1);
      assert.ok(owner.advertising.get(reason) > 0);
      assert.is(a.of(b).givenBytes, 0);
      assert.is(a.of(b).credit, 5);
    }
});

test('not a byte beyond the neighbours’ share of the quota is carried', () => {
  for (const policy of policies) {
    const seed = 3;
    const random = new Random(seed, 'quota');
    const { a, owner } = withOwner(policy, { quotaBytes: 1_000_000, neighbourShare: 0.1 });
    let carried = 0;
    for (let now = 0; now < 40_000; now += 20) {
      if (owner.saveDue) owner.snapshot();
      if (a.kibbutz.pollAt() <= now) a.kibbutz.poll(now);
      if (now % 1_000 === 0) a.kibbutz.sentOwn(now, 10, false);
      const lengthBytes = 1 + random.below(1_500);
      if (a.kibbutz.forward(now, 0, lengthBytes, false)) carried += lengthBytes;
      a.spoken = [];
    }
    assert.ok(carried <= 100_000 && carried > 98_000, `${policy}, seed ${seed}: ${carried}`);
    assert.is(owner.forwardedBytes, carried);
    assert.is(a.kibbutz.neighbours[0].givenBytes, carried);
    assert.ok(a.count('refused.owner') > 0);
    assert.ok(owner.forwarding.get('neighbours-share') > 0);
    const offered = a.count('advertisements.sent');
    a.kibbutz.sentOwn(60_000, 10, false);
    assert.is(a.count('advertisements.sent'), offered, 'what would be refused is not advertised');
  }
});

test('a refused packet costs its sender neither credit nor us quota', () => {
  for (const policy of policies) {
    const { a, b, owner } = withOwner(policy, { batteryPercent: 50 });
    owner.setBattery(80, false);
    a.kibbutz.sentOwn(0, 100, false);
    owner.setBattery(40, false);
    const credit = a.of(b).credit;
    assert.not(a.kibbutz.forward(1, 0, 1_000, false));
    assert.is(a.count('refused.owner'), 1);
    assert.is(owner.forwarding.get('battery'), 1);
    assert.is(a.of(b).credit, credit);
    assert.is(owner.forwardedBytes, 0);
    const offered = a.count('advertisements.sent');
    a.kibbutz.sentOwn(20_000, 100, false);
    assert.is(a.count('advertisements.sent'), offered);
    assert.is(owner.advertising.get('battery'), 1);
  }
});

test('with too little traffic of its own a phone neither offers nor uses, and its path manager is told the same', () => {
  for (const policy of policies) {
    const { a, b, owner } = withOwner(policy, { minimumPacketsPerMinute: 2.4 });
    a.kibbutz.receive(0, b.make(a, 'advertisement', { lifetimeMs: 60_000 }));
    assert.is(a.kibbutz.route(1, 0), own);
    assert.equal(a.kibbutz.plan(1), { paths: [{ member: own, priority: 'backup' }], carrier: own });
    assert.ok(owner.using.get('quiet') > 0);
    a.kibbutz.sentOwn(1, 100, false);
    assert.is(a.count('advertisements.sent'), 0);
    assert.is(owner.advertising.get('quiet'), 1);
    // Lively: a packet every second for two minutes.
    for (let now = 1_000; now < 120_000; now += 1_000) a.kibbutz.sentOwn(now, 100, false);
    assert.ok(a.count('advertisements.sent') > 0);
    a.kibbutz.receive(140_000, b.make(a, 'advertisement', { uptimeMs: 140_000, lifetimeMs: 60_000 }));
    assert.is(a.kibbutz.route(140_001, 0), 0);
    assert.is(a.kibbutz.plan(140_001).carrier, 2);
  }
});

// ---- Table, profiles, plan ----

test('the table of neighbours is bounded: the one silent for longest makes room, if it was silent for ten tails', () => {
  for (const policy of policies) {
    const a = new Phone(1, { policy, neighbours: 3 });
    const others = [2, 3, 4, 5].map(member => new Phone(member, { policy }));
    const meet = (now: number, other: Phone) => a.kibbutz.introduce(now, recipient(other.member, 1));
    for (const [i, other] of others.slice(0, 3).entries()) assert.ok(meet(i, other));
    assert.not(meet(99_999, others[3]), 'all heard, or met, within ten tails');
    assert.is(a.count('neighbours.refused'), 1);
    for (const other of others) other.kibbutz.introduce(0, recipient(1, other.member));
    // The first speaks, so the second is the oldest.
    a.kibbutz.receive(90_000, others[0].make(a, 'advertisement', { uptimeMs: 90_000, lifetimeMs: tailMs }));
    a.of(others[1]).credit = 2;
    assert.ok(meet(100_001, others[3]));
    assert.is(a.count('neighbours.forgotten'), 1);
    assert.equal(
      a.kibbutz.neighbours.map(({ member }) => member),
      [2, 5, 4],
    );
    assert.is(a.kibbutz.find(3), -1);
    a.kibbutz.receive(100_002, others[1].make(a, 'advertisement', { uptimeMs: 100_002 }));
    assert.is(a.count('signals.unknown-sender'), 1);
    // Back with the account that was kept for it.
    const kept: Account = { credit: 2, taken: 0, givenBytes: 7, takenBytes: 8 };
    assert.ok(a.kibbutz.introduce(300_000, recipient(3, 1), kept));
    assert.is(a.of(others[1]).credit, 2);
    assert.is(a.kibbutz.neighbours.length, 3);
  }
});

test('whoever was asked and is forgotten is not waited for', () => {
  const a = new Phone(1, { policy: 'kith', neighbours: 1 });
  a.kibbutz.introduce(0, recipient(2, 1));
  for (let now = 0; a.count('hand-overs.asked') === 0; now += 1_000) {
    a.kibbutz.sentOwn(now, 100, false);
    a.kibbutz.forward(now, 0, 100, false);
  }
  assert.ok(a.kibbutz.introduce(200_000, recipient(3, 1)));
  a.kibbutz.poll(200_000);
  assert.is(a.count('hand-overs.unanswered'), 0);
  assert.is(a.kibbutz.neighbours[0].declinedUntil, -1);
});

test('profiles: what the paper’s three optimizations make of an offer and of the own radio', () => {
  const offered = (profile: KibbutzOptions['profile'], metered = false, high = false) => {
    const owner = new OwnerLimits({ minimumPacketsPerMinute: 0, metered });
    const a = new Phone(1, { profile, owner } as Partial<KibbutzOptions>);
    const b = new Phone(2);
    acquaint(0, a, b);
    if (high) a.kibbutz.sentOwn(0, 100, false);
    a.kibbutz.receive(5_000, b.make(a, 'advertisement', { uptimeMs: 5_000, lifetimeMs: tailMs }));
    return a.kibbutz.route(6_000, 0);
  };
  assert.is(offered('save-energy'), 0);
  assert.is(offered('save-energy', false, true), 0, 'even with the own radio up');
  assert.is(offered('max-bandwidth'), own);
  assert.is(offered('min-rtt'), 0, 'an idle own radio is the slower way');
  assert.is(offered('min-rtt', false, true), own);
  assert.is(offered('min-rtt', true, true), 0, 'a metered link is not used merely for a lower RTT');
});

test('min-rtt does not take a radio for high that is still being promoted', () => {
  const a = new Phone(1, { profile: 'min-rtt' });
  const b = new Phone(2);
  acquaint(0, a, b);
  a.kibbutz.sentOwn(0, 100, false);
  a.kibbutz.receive(100, b.make(a, 'advertisement', { uptimeMs: 100, lifetimeMs: tailMs }));
  assert.is(a.kibbutz.route(promotionMs - 1, 0), 0);
  assert.is(a.kibbutz.route(promotionMs, 0), own);
});

test('the plan is the same object until something in it changes, and says what `route` does', () => {
  const [a, b] = pair('paper');
  const alone = a.kibbutz.plan(0);
  assert.equal(alone, { paths: [{ member: own, priority: 'backup' }], carrier: own });
  assert.is(a.kibbutz.plan(1_000), alone);
  a.kibbutz.receive(1_000, b.make(a, 'advertisement', { uptimeMs: 1_000, lifetimeMs: tailMs }));
  const shared = a.kibbutz.plan(1_001);
  assert.equal(shared.paths[1], { member: 2, priority: 'normal' });
  assert.is(shared.carrier, 2);
  a.kibbutz.receive(5_000, b.make(a, 'advertisement', { uptimeMs: 5_000, lifetimeMs: tailMs }));
  assert.is(a.kibbutz.plan(14_999), shared, 'renewed');
  assert.equal(a.kibbutz.plan(15_000), alone);
  a.kibbutz.receive(20_000, b.make(a, 'advertisement', { uptimeMs: 20_000, lifetimeMs: tailMs }));
  a.kibbutz.judge(0, true);
  assert.is(a.kibbutz.route(20_001, 0), own, 'a poor path is not used alone');
  assert.is(a.kibbutz.plan(20_001).paths[0].priority, 'normal');
});

test('kith: who shares its own link uses it, by the plan too', () => {
  const [a, b] = pair('kith');
  request(0, b, [a, b]);
  request(1_000, a, [a, b]);
  assert.is(a.kibbutz.plan(1_500).carrier, 2);
  a.kibbutz.receive(2_000, b.make(a, 'hand-over', { uptimeMs: 2_000, lifetimeMs: 5_000 }));
  poll(2_000 + promotionMs, [a, b]);
  assert.is(a.kibbutz.route(4_000, 0), own);
  assert.is(a.kibbutz.plan(4_000).carrier, own);
  assert.equal(a.kibbutz.plan(4_000).paths.length, 1);
});

test('an option out of its range is named with the range', () => {
  const make = (more: object) => () =>
    new Kibbutz(
      0,
      {
        member: 1,
        boot: 1,
        policy: 'paper',
        tailMs: 10_000,
        promotionMs: 1_800,
        exchangeMs: 200,
        initialCredit: 5,
        neighbours: 4,
        ...more,
      },
      {} as KibbutzPort,
    );
  make({})();
  assert.throws(make({ tailMs: 70_000 }), 'tailMs: expected an integer 1..60000, got 70000');
  assert.throws(make({ member: 0 }), 'member: expected an integer 1..4294967295, got 0');
  assert.throws(make({ neighbours: 256 }), 'neighbours: expected an integer 1..255, got 256');
  assert.throws(make({ promotionMs: 0.5 }), 'promotionMs: expected an integer 0..60000, got 0.5');
  assert.throws(make({ initialCredit: Number.NaN }), 'initialCredit: expected more than 0, got NaN');
});

test.run();
