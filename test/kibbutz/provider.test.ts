import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { type DropEntry, Patience } from '../../agent/kibbutz/drop-report.js';
import {
  type Arrival,
  envelopeOverhead,
  MemberTunnel,
  noCarrier,
  parseEnvelope,
  ReceivingLane,
  SendingLane,
} from '../../agent/kibbutz/envelope.js';
import { findAead } from '../../agent/kibbutz/introduction.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import { aeads } from '../../edge/linux/aead.js';
import {
  type Datagram,
  type PairState,
  Provider,
  type ProviderOptions,
  type ProviderRecord,
  type Registration,
} from '../../host-sim/coordinator/provider.js';

const master = new Uint8Array(16).fill(0x42);
const packet = new Uint8Array(100).fill(0x5a);
/** What the forwarder's uplink carries for `packet`. */
const carriedBytes = 100 + 2 * envelopeOverhead;

/** A store that keeps what it is given, as the coordinator's does. */
class Disk {
  readonly records = new Map<string, ProviderRecord>();
  batches = 0;

  readonly save = (batch: readonly ProviderRecord[]) => {
    this.batches++;
    assert.is(new Set(batch.map(record => record.key)).size, batch.length, 'a record once in a batch');
    for (const record of batch) {
      if (record.value === undefined) this.records.delete(record.key);
      else this.records.set(record.key, structuredClone(record));
    }
  };
}

function provider(options: Partial<ProviderOptions> = {}, disk = new Disk()): Provider {
  return new Provider({ master, aeads, save: disk.save, saved: [...disk.records.values()], ...options });
}

function must<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string },
): T {
  if (!result.ok) throw new Error(`expected a value, got ${result.reason}`);
  return result.value;
}

/** The member's end of what the provider registered. */
function join(registration: Registration, savedThrough = 0): MemberTunnel {
  return new MemberTunnel({
    member: registration.member,
    aead: findAead(aeads, registration.aead)!,
    deviceKey: registration.key,
    reserve: new NonceReserve({ savedThrough, save: () => true }),
    controlSeenThrough: 0,
  });
}

function world(names: string, options: Partial<ProviderOptions> = {}) {
  const disk = new Disk();
  const home = provider(options, disk);
  const registrations = [...names].map(name => must(home.register(name, [1, 29, 3])));
  return { disk, home, registrations, members: registrations.map(one => join(one)) };
}

/** A sends through B. */
function sendThrough(home: Provider, a: MemberTunnel, b: MemberTunnel, now = 0) {
  return home.receive(now, must(b.carry(must(a.seal(packet, b.member)), a.member)));
}

function counts(home: Provider, member: number): [given: number, taken: number] {
  const { givenBytes, takenBytes } = home.statement(member)!;
  return [givenBytes, takenBytes];
}

function reportIn(tunnel: MemberTunnel, datagrams: readonly Datagram[]): readonly DropEntry[] {
  const mine = datagrams.filter(datagram => datagram.member === tunnel.member);
  const arrivals: Arrival[] = mine.map(({ bytes }) => must(tunnel.receive(bytes)));
  return arrivals.flatMap(arrival => (arrival.kind === 'drop-report' ? arrival.report : []));
}

test('what A sends through B is given by B and taken by A, both ways; what it sends itself is neither', () => {
  const { home, members } = world('ab');
  const [a, b] = members;
  assert.equal(must(sendThrough(home, a, b)), { member: 1, carrier: 2, packet });
  assert.equal(counts(home, 1), [0, carriedBytes]);
  assert.equal(counts(home, 2), [carriedBytes, 0]);
  assert.equal(must(home.receive(0, must(a.seal(packet, noCarrier)))), {
    member: 1,
    carrier: noCarrier,
    packet,
  });
  const back = must(home.send(0, { to: 1, carrier: 2, packet }));
  assert.is(back.member, 2);
  const passed = must(b.receive(back.bytes));
  if (passed.kind !== 'for-neighbour') throw new Error('expected something for the neighbour');
  assert.is(passed.member, 1);
  assert.equal(must(a.receive(passed.envelope)), { kind: 'packet', packet });
  const direct = must(home.send(0, { to: 1, carrier: noCarrier, packet }));
  assert.equal([direct.member, must(a.receive(direct.bytes))], [1, { kind: 'packet', packet }]);
  assert.equal(counts(home, 1), [0, 2 * carriedBytes]);
  assert.equal(counts(home, 2), [2 * carriedBytes, 0]);
  const [line] = [...home.ledger()];
  assert.equal(
    [line.carrier, line.sender, line.upBytes, line.downBytes, line.accepted],
    [2, 1, carriedBytes, carriedBytes, 1],
  );
});

test('carrying one´s own packet in one´s own envelope is neither given nor taken', () => {
  const { home, registrations } = world('a');
  const { member, key } = registrations[0];
  const a = join(registrations[0]);
  const carried = new SendingLane(
    { kind: 'carried', member, aead: aeads[0], key },
    new NonceReserve({ savedThrough: 0, save: () => true }),
  );
  const outer = must(carried.seal(must(a.seal(packet, noCarrier)), noCarrier));
  assert.equal(must(home.receive(0, outer)), { member, carrier: noCarrier, packet });
  assert.equal(counts(home, member), [0, 0]);
});

test('theft: C, who overheard the packet for B, gains nothing, and B, who comes later, is paid', () => {
  const { home, members } = world('abc');
  const [a, b, c] = members;
  const overheard = must(a.seal(packet, 2));
  assert.equal(home.receive(0, must(c.carry(overheard, 1))), { ok: false, reason: 'inner-bad-tag' });
  assert.is(must(home.receive(0, must(b.carry(overheard, 1)))).carrier, 2);
  assert.equal(home.receive(0, must(c.carry(overheard, 1))), { ok: false, reason: 'inner-replayed' });
  // On the way to the provider nobody can put his name in B's place either.
  const outer = must(b.carry(must(a.seal(packet, 2)), 1));
  const renamed = Uint8Array.from(outer);
  renamed[5] = 3;
  assert.not.ok(home.receive(0, renamed).ok);
  assert.equal(home.receive(0, overheard), { ok: false, reason: 'replayed' }, 'nor send it as it is');
  assert.ok(home.receive(0, outer).ok);
  assert.equal(
    [counts(home, 1), counts(home, 2), counts(home, 3)],
    [
      [0, 2 * carriedBytes],
      [2 * carriedBytes, 0],
      [0, 0],
    ],
  );
  assert.is(home.counters.get('inner-bad-tag'), 1);
  assert.is(home.counters.get('inner-replayed'), 1);
});

test('replay: B sends the same packet of A a hundred times and is paid once', () => {
  const { home, members } = world('ab');
  const [a, b] = members;
  const inner = must(a.seal(packet, 2));
  const outer = must(b.carry(inner, 1));
  assert.ok(home.receive(0, outer).ok);
  for (let i = 0; i < 50; i++) {
    assert.equal(home.receive(0, outer), { ok: false, reason: 'replayed' });
    assert.equal(home.receive(0, must(b.carry(inner, 1))), { ok: false, reason: 'inner-replayed' });
  }
  assert.equal(counts(home, 2), [carriedBytes, 0]);
  assert.equal([home.counters.get('replayed'), home.counters.get('inner-replayed')], [50, 50]);
});

test('B cannot claim traffic that A never sent, whatever it makes up', () => {
  const { home, members, registrations } = world('abc');
  const [, b] = members;
  const liar = { ...registrations[1], member: 1 };
  const invented = must(join(liar).seal(packet, 2));
  assert.equal(home.receive(0, must(b.carry(invented, 1))), { ok: false, reason: 'inner-bad-tag' });
  // C sent for itself over its own uplink: B, who saw it pass, has carried nothing.
  const direct = must(members[2].seal(packet, noCarrier));
  assert.equal(home.receive(0, must(b.carry(direct, 3))), { ok: false, reason: 'inner-bad-tag' });
  const nobody = must(join({ ...registrations[1], member: 99 }).seal(packet, 2));
  assert.equal(home.receive(0, must(b.carry(nobody, 99))), { ok: false, reason: 'inner-unknown-sender' });
  const carried = new SendingLane(
    { kind: 'carried', member: 2, aead: aeads[0], key: registrations[1].key },
    new NonceReserve({ savedThrough: 1000, save: () => true }),
  );
  for (const rubbish of [new Uint8Array(0), packet, must(b.carry(direct, 3))])
    assert.equal(home.receive(0, must(carried.seal(rubbish, noCarrier))), {
      ok: false,
      reason: 'inner-malformed',
    });
  for (const id of [1, 2, 3]) assert.equal(counts(home, id), [0, 0], `member ${id}`);
  assert.is(
    [...home.ledger()].reduce((sum, line) => sum + line.upBytes, 0),
    0,
  );
});

test('B is not paid for the way back without a fresh path, and A is not charged', () => {
  const { home, members } = world('ab');
  const [a, b] = members;
  assert.equal(home.send(0, { to: 1, carrier: 2, packet }), { ok: false, reason: 'no-path' });
  must(sendThrough(home, a, b, 1000));
  assert.ok(home.send(13_300, { to: 1, carrier: 2, packet }).ok);
  assert.equal(home.send(13_301, { to: 1, carrier: 2, packet }), { ok: false, reason: 'no-path' });
  assert.equal(home.send(0, { to: 9, carrier: noCarrier, packet }), { ok: false, reason: 'unknown-member' });
  assert.equal(counts(home, 2), [2 * carriedBytes, 0]);
  assert.is(home.counters.get('sent-no-path'), 2);
});

test('every changed byte, every length cut short and every wrong key count nothing for anybody', () => {
  const { home, members } = world('ab');
  const [a, b] = members;
  const outer = must(b.carry(must(a.seal(packet, 2)), 1));
  for (let i = 0; i < outer.length; i++) {
    outer[i] ^= 0x10;
    assert.not.ok(home.receive(0, outer).ok, `byte ${i}`);
    outer[i] ^= 0x10;
  }
  for (let length = 0; length < outer.length; length++)
    assert.not.ok(home.receive(0, outer.subarray(0, length)).ok, `${length} bytes`);
  const elsewhere = provider({ master: new Uint8Array(16).fill(1) });
  must(elsewhere.register('a', [1]));
  must(elsewhere.register('b', [1]));
  assert.equal(elsewhere.receive(0, outer), { ok: false, reason: 'bad-tag' });
  assert.equal(
    [counts(home, 1), counts(home, 2)],
    [
      [0, 0],
      [0, 0],
    ],
  );
  assert.ok(home.receive(0, outer).ok, 'and none of it was held against the packet itself');
  const sum = Object.values(home.counters.snapshot()).reduce((total, count) => total + count, 0);
  assert.is(sum, 2 * outer.length, 'each refusal has its counter');
});

/** B forwards for A until it refuses; `lose` says which reports are lost. Returns packets carried for nothing. */
function wasted(
  make: (a: MemberTunnel, i: number) => Uint8Array,
  lose: (report: number) => boolean,
  options: Partial<ProviderOptions> = {},
): { dropped: number; sent: number } {
  const { home, members } = world('ab', options);
  const [a, b] = members;
  const patience = new Patience();
  let dropped = 0;
  let sent = 0;
  let reports = 0;
  for (let now = 0; now < 2000 && patience.mayForward(now, 1); now++) {
    const carried = b.carry(make(a, now), 1);
    if (carried.ok) {
      sent++;
      if (!home.receive(now, carried.value).ok) dropped++;
    }
    for (const { bytes } of home.poll(now)) {
      if (lose(reports++)) continue;
      const arrival = must(b.receive(bytes));
      if (arrival.kind === 'drop-report') patience.hear(now, arrival.nonce, arrival.report);
    }
  }
  return { dropped, sent };
}

test('a sender that makes a forwarder work for nothing is stopped after a dozen packets, four more a lost report', () => {
  const forge = (a: MemberTunnel) => {
    const envelope = must(a.seal(packet, 2));
    envelope[envelope.length - 1] ^= 1;
    return envelope;
  };
  let first: Uint8Array | undefined;
  const replay = (a: MemberTunnel) => {
    first ??= must(a.seal(packet, 2));
    return first;
  };
  const forAnother = (a: MemberTunnel) => must(a.seal(packet, 3));
  for (const attack of [forge, replay, forAnother]) {
    const { dropped } = wasted(attack, () => false);
    assert.ok(dropped >= 8 && dropped <= 12, `${attack.name}: ${dropped}`);
    first = undefined;
    const lossy = wasted(attack, report => report % 2 === 0);
    assert.ok(lossy.dropped <= 12 + 4 * 3, `${attack.name}: ${lossy.dropped} with every second report lost`);
    first = undefined;
  }
});

test('who mixes good and bad packets has at most one in seventeen carried for nothing, beyond sixteen', () => {
  for (const every of [2, 4, 10, 16, 18, 30]) {
    const { dropped, sent } = wasted(
      (a, i) => {
        const envelope = must(a.seal(packet, 2));
        if (i % every === 0) envelope[20] ^= 1;
        return envelope;
      },
      () => false,
    );
    assert.ok(dropped < 16 + (sent - dropped) / 16, `one in ${every}: ${dropped} of ${sent}`);
    if (every >= 18) assert.is(sent, 2000, 'and an honest one with a few losses goes on');
  }
});

test('a hop under the key of the introduction proves who sent: rubbish in A´s name is not held against A', () => {
  const { home, members } = world('ab');
  const [toA, toB] = must(home.introduce(1, 2));
  const [forA, forB] = [must(members[0].receive(toA.bytes)), must(members[1].receive(toB.bytes))];
  if (forA.kind !== 'introduction' || forB.kind !== 'introduction') throw new Error('expected introductions');
  const lane = (key: Uint8Array) => ({ kind: 'hop', member: 1, aead: aeads[0], key }) as const;
  const reserve = () => new NonceReserve({ savedThrough: 0, save: () => true });
  const hears = new ReceivingLane(lane(forB.introduction.key), 0);
  const forged = new SendingLane(lane(new Uint8Array(16)), reserve());
  assert.equal(hears.open(must(parseEnvelope(must(forged.seal(packet, noCarrier)))), noCarrier), {
    ok: false,
    reason: 'bad-tag',
  });
  const sends = new SendingLane(lane(forA.introduction.key), reserve());
  const envelope = must(members[0].seal(packet, 2));
  const heard = must(hears.open(must(parseEnvelope(must(sends.seal(envelope, noCarrier)))), noCarrier));
  assert.ok(home.receive(0, must(members[1].carry(heard, 1))).ok);
});

test('a report names each sender and reason, comes after four drops or a second, and is never too long', () => {
  const { home, members } = world('abcdefghijklmnopqrstuvwxyz');
  const b = members[1];
  assert.is(home.pollAt(), Infinity);
  const replayed = must(members[0].seal(packet, 2));
  assert.ok(home.receive(0, must(b.carry(replayed, 1))).ok);
  home.receive(100, must(b.carry(replayed, 1)));
  assert.is(home.pollAt(), 1100);
  assert.equal(home.poll(1099), []);
  assert.equal(reportIn(b, home.poll(1100)), [{ sender: 1, accepted: 1, dropped: [0, 0, 0, 1, 0, 0] }]);
  assert.is(home.pollAt(), Infinity);
  for (const member of members) {
    if (member === b) continue;
    const wrong = must(member.seal(packet, noCarrier));
    home.receive(2000, must(b.carry(wrong, member.member)));
  }
  assert.is(home.pollAt(), 2000);
  const report = reportIn(b, home.poll(2000));
  assert.equal(
    report.map(entry => [entry.sender, entry.accepted, entry.dropped[2], entry.dropped[3]]),
    members
      .filter(one => one !== b)
      .map(one => [one.member, one.member === 1 ? 1 : 0, 1, one.member === 1 ? 1 : 0]),
  );
  assert.is(home.counters.get('reports'), 3, 'sixteen senders in one, nine in the next');
});

test('an introduction gives both the same key, and nobody else can read or repeat it', () => {
  const { home, members } = world('abc');
  const [toA, toB] = must(home.introduce(1, 2));
  const [forA, forB] = [must(members[0].receive(toA.bytes)), must(members[1].receive(toB.bytes))];
  if (forA.kind !== 'introduction' || forB.kind !== 'introduction') throw new Error('expected introductions');
  assert.equal([forA.introduction.peer, forB.introduction.peer], [2, 1]);
  assert.equal(forA.introduction.key, forB.introduction.key);
  assert.equal(members[0].receive(toA.bytes), { ok: false, reason: 'replayed' });
  assert.equal(members[2].receive(toA.bytes), { ok: false, reason: 'not-for-us' });
  assert.equal(home.introduce(1, 1), { ok: false, reason: 'same-member' });
  assert.equal(home.introduce(1, 7), { ok: false, reason: 'unknown-member' });
});

test('members without a common AEAD are refused with the reason, others meet in what both have', () => {
  const home = provider();
  const gcm = must(home.register('xs', [1]));
  const ccm = must(home.register('espruino', [3]));
  const both = must(home.register('node', [29, 1, 3]));
  assert.equal([gcm.aead, ccm.aead, both.aead], [1, 3, 1]);
  assert.equal(home.introduce(gcm.member, ccm.member), { ok: false, reason: 'no-common-aead' });
  const [toNode] = must(home.introduce(both.member, ccm.member));
  const arrival = must(join(both).receive(toNode.bytes));
  assert.is(arrival.kind === 'introduction' && arrival.introduction.aead, 3);
  assert.equal(home.register('strange', [77]), { ok: false, reason: 'no-common-aead' });
  // Envelopes of different suites nest: a CCM board carries for a GCM one.
  assert.ok(sendThrough(home, join(gcm), join(ccm)).ok);
});

test('fairness: who takes more than the allowance is refused until it gives, and its forwarder is told', () => {
  const { home, members } = world('ab', { policy: { allowanceBytes: 3 * carriedBytes } });
  const [a, b] = members;
  for (let i = 0; i < 4; i++) assert.ok(sendThrough(home, a, b).ok, 'up to one packet over');
  assert.is(home.statement(1)!.refused, true);
  for (let i = 0; i < 4; i++)
    assert.equal(sendThrough(home, a, b), { ok: false, reason: 'inner-over-allowance' });
  assert.equal(home.send(0, { to: 1, carrier: 2, packet }), { ok: false, reason: 'over-allowance' });
  assert.equal(reportIn(b, home.poll(0)), [{ sender: 1, accepted: 4, dropped: [0, 0, 0, 0, 0, 4] }]);
  assert.equal(counts(home, 2), [4 * carriedBytes, 0], 'nor credited');
  assert.ok(home.receive(0, must(a.seal(packet, noCarrier))).ok, 'its own uplink is its own');
  assert.ok(sendThrough(home, b, a).ok, 'it gives');
  assert.ok(sendThrough(home, a, b).ok, 'and may take again');
});

test('charge and pay: a price for what was taken beyond given, a reward for the other side', () => {
  const policy = { chargePerMegabyte: 5_000_000, payPerMegabyte: 2_000_000 };
  const { home, members } = world('ab', { policy });
  const [a, b] = members;
  for (let i = 0; i < 10; i++) must(sendThrough(home, a, b));
  for (let i = 0; i < 4; i++) must(sendThrough(home, b, a));
  const balance = 6 * carriedBytes;
  const rest = { refused: false, rekeyDue: false };
  assert.equal(home.statement(1), {
    member: 1,
    name: 'a',
    givenBytes: 4 * carriedBytes,
    takenBytes: 10 * carriedBytes,
    owes: balance * 5,
    earns: 0,
    ...rest,
  });
  assert.equal([home.statement(2)!.owes, home.statement(2)!.earns], [0, balance * 2]);
  assert.is(home.statement(3), undefined);
});

test('after a crash nothing told is lost, no packet counts twice, and no nonce comes again', () => {
  const disk = new Disk();
  let home = provider({}, disk);
  const registrations = [...'ab'].map(name => must(home.register(name, [1])));
  const [a, b] = registrations.map(one => join(one));
  const nonces = new Set<number>();
  const passed: Uint8Array[] = [];
  let told = 0;
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 7; i++) {
      const outer = must(b.carry(must(a.seal(packet, 2)), 1));
      passed.push(outer);
      must(home.receive(round, outer));
      const { bytes } = must(home.send(round, { to: 1, carrier: noCarrier, packet }));
      const { nonce } = must(parseEnvelope(bytes));
      assert.not.ok(nonces.has(nonce), `nonce ${nonce} again`);
      nonces.add(nonce);
    }
    if (round % 3 === 0) told = home.statement(2)!.givenBytes;
    // The crash: what was not saved is gone.
    home = provider({}, disk);
    assert.ok(home.statement(2)!.givenBytes >= told, 'what was told stays');
    for (const outer of passed) home.receive(round, outer);
    assert.ok(home.statement(2)!.givenBytes <= passed.length * carriedBytes, 'nothing counts twice');
  }
  assert.is(counts(home, 2)[0], counts(home, 1)[1], 'given and taken agree');
});

test('a batch holds the bytes and the windows that belong to them, and is saved before a report', () => {
  const { disk, home, members } = world('ab');
  const before = disk.batches;
  must(sendThrough(home, ...(members as [MemberTunnel, MemberTunnel])));
  assert.is(disk.batches, before, 'not for each packet');
  home.flush();
  assert.is(disk.batches, before + 1);
  assert.equal(disk.records.get('member/1')?.value, {
    name: 'a',
    aeads: [1, 29, 3],
    aead: 1,
    generation: 1,
    givenBytes: 0,
    takenBytes: carriedBytes,
    ownThrough: 1,
    carriedThrough: 0,
  });
  assert.equal(disk.records.get('pair/2/1')?.value, {
    upBytes: carriedBytes,
    downBytes: 0,
    accepted: 1,
    dropped: [0, 0, 0, 0, 0, 0],
  });
  home.flush();
  assert.is(disk.batches, before + 1, 'nothing changed');
  const [a, b] = members;
  must(home.introduce(1, 2));
  assert.not.ok(home.receive(0, must(b.carry(must(a.seal(packet, 3)), 1))).ok);
  assert.is(home.poll(1000).length, 1);
  const { dropped } = disk.records.get('pair/2/1')!.value as PairState;
  assert.equal(dropped, [0, 0, 1, 0, 0, 0], 'what the report says is kept');
});

test('a member registered anew keeps id and account, and its old keys open nothing', () => {
  const { home, members } = world('ab');
  const [a, b] = members;
  must(sendThrough(home, a, b));
  const introduce = (tunnel: MemberTunnel) => {
    const arrival = must(tunnel.receive(must(home.introduce(1, 2))[1].bytes));
    if (arrival.kind !== 'introduction') throw new Error('expected an introduction');
    return arrival.introduction;
  };
  const before = introduce(b);
  const again = must(home.register('a', [1]));
  const after = introduce(b);
  assert.ok(after.generation > before.generation);
  assert.not.equal(after.key, before.key);
  assert.equal([again.member, again.generation], [1, 2]);
  assert.equal(sendThrough(home, a, b), { ok: false, reason: 'inner-bad-tag' });
  assert.ok(sendThrough(home, join(again), b).ok, 'from nonce 1 on');
  assert.equal(counts(home, 1), [0, 2 * carriedBytes]);
  const last = introduce(join(must(home.register('b', [1]))));
  assert.ok(last.generation > after.generation, 'whichever of the two got new keys');
});

test('tables stay within their limits: a member more is refused, a pair more forgets the oldest, B_G stays', () => {
  const { disk, home, members } = world('abcd', { limits: { members: 4, pairs: 2 } });
  assert.equal(home.register('e', [1]), { ok: false, reason: 'table-full' });
  assert.ok(home.register('a', [1]).ok, 'a known one is not one more');
  const [, b, c, d] = members;
  for (const sender of [c, d]) must(sendThrough(home, sender, b));
  must(sendThrough(home, c, b));
  home.flush();
  must(sendThrough(home, b, c));
  assert.equal(
    [...home.ledger()].map(line => [line.carrier, line.sender]),
    [
      [2, 3],
      [3, 2],
    ],
  );
  assert.not.ok(disk.records.has('pair/2/4'));
  assert.is(home.counters.get('pairs-forgotten'), 1);
  assert.equal(counts(home, 2), [3 * carriedBytes, carriedBytes]);
  for (const sender of [d, c, d]) must(sendThrough(home, sender, b));
  home.flush();
  assert.ok(disk.records.has('pair/2/4'), 'forgotten and made anew before it was saved');
});

test('the sum of all given is the sum of all taken, whoever sends what through whom with what mishaps', () => {
  const seed = 5;
  const random = new Random(seed, 'traffic');
  const { home, members } = world('abcdef');
  let delivered = 0;
  const seen: Uint8Array[] = [];
  for (let now = 0; now < 3000; now++) {
    const [a, b] = [members[random.below(6)], members[random.below(6)]];
    if (a === b) continue;
    let outer = must(b.carry(must(a.seal(packet.subarray(random.below(100)), b.member)), a.member));
    if (random.chance(0.1) && seen.length > 0) outer = seen[random.below(seen.length)];
    else if (random.chance(0.1)) outer[random.below(outer.length)] ^= 1 << random.below(8);
    else seen.push(outer);
    if (home.receive(now, outer).ok) delivered += outer.length;
    if (random.chance(0.3)) {
      const back = home.send(now, { to: a.member, carrier: b.member, packet });
      if (back.ok) delivered += back.value.bytes.length;
    }
    home.poll(now);
  }
  const [given, taken] = members
    .map(one => counts(home, one.member))
    .reduce(([x, y], [g, t]) => [x + g, y + t], [0, 0]);
  assert.equal([given, taken], [delivered, delivered], `seed ${seed}`);
  const lines = [...home.ledger()].reduce((sum, line) => sum + line.upBytes + line.downBytes, 0);
  assert.is(lines, delivered);
});

test.run();
