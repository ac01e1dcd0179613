import { createCipheriv } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, formatHex, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import {
  type DropEntry,
  emitDropReport,
  mostReported,
  Patience,
  parseDropReport,
} from '../../agent/kibbutz/drop-report.js';
import {
  envelopeOverhead,
  longestEnvelope,
  longestPacket,
  MemberTunnel,
  noCarrier,
  parseEnvelope,
  ReceivingLane,
  SendingLane,
} from '../../agent/kibbutz/envelope.js';
import {
  commonAead,
  deviceKey,
  emitIntroduction,
  pairKey,
  parseIntroduction,
  purposeKey,
} from '../../agent/kibbutz/introduction.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import { aeads, aes128Ccm, aes128Gcm, chacha20Poly1305 } from '../../edge/linux/aead.js';

const keyOf = (fill: number) => new Uint8Array(16).fill(fill);
const reserve = (savedThrough = 0) => new NonceReserve({ savedThrough, save: () => true });

function tunnel(member: number, savedThrough = 0): MemberTunnel {
  const options = { member, aead: aes128Gcm, deviceKey: keyOf(member), reserve: reserve(savedThrough) };
  return new MemberTunnel({ ...options, controlSeenThrough: 0 });
}

/** The provider's end of one lane of a member's. */
function lane(kind: 'own' | 'carried', member: number): ReceivingLane {
  return new ReceivingLane({ kind, member, aead: aes128Gcm, key: keyOf(member) }, 0);
}

function fromProvider(kind: 'down' | 'return' | 'control', member: number): SendingLane {
  return new SendingLane({ kind, member, aead: aes128Gcm, key: keyOf(member) }, reserve());
}

function must<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string },
): T {
  if (!result.ok) throw new Error(`expected a value, got ${result.reason}`);
  return result.value;
}

/** AES-128-GCM straight from OpenSSL. */
function gcm(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-128-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(associated);
  return concatBytes([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

test('the bytes are those of the header comment, computed here by hand', () => {
  const packet = new Uint8Array([0xca, 0xfe]);
  const envelope = must(tunnel(7, 0x100000000).seal(packet, 9));
  const header = parseHex('11010000000700000001' + '00000001')!;
  assert.is(formatHex(envelope.subarray(0, 14)), formatHex(header));
  const key = gcm(keyOf(7), parseHex('000000000000000000000001')!, new Uint8Array(0), new Uint8Array(16));
  const nonce = parseHex('00000007' + '0000000100000001')!;
  const sealed = gcm(key.subarray(0, 16), nonce, concatBytes([header, parseHex('00000009')!]), packet);
  assert.is(formatHex(envelope.subarray(14)), formatHex(sealed));
  assert.is(envelope.length, packet.length + envelopeOverhead);
});

test('a packet goes through a neighbour and only the provider, with both keys, reads it', () => {
  const [a, b] = [tunnel(1), tunnel(2)];
  for (const length of [0, 1, 100, 1400, longestPacket]) {
    const packet = new Uint8Array(length).fill(0x5a);
    const inner = must(a.seal(packet, 2));
    const outer = must(b.carry(inner, 1));
    assert.is(outer.length, length + 2 * envelopeOverhead);
    const carried = must(lane('carried', 2).open(must(parseEnvelope(outer)), noCarrier));
    assert.equal(carried, inner);
    assert.equal(must(lane('own', 1).open(must(parseEnvelope(carried)), 2)), packet);
  }
  const outer = must(b.carry(must(a.seal(new Uint8Array(64).fill(0x5a), 2)), 1));
  assert.not.ok(formatHex(outer).includes('5a5a5a5a'), 'no plaintext shows');
  assert.equal(a.seal(new Uint8Array(longestPacket + 1), 2), { ok: false, reason: 'too-long' });
});

test('the way back: the forwarder opens its own layer, the neighbour the other, each once', () => {
  const [a, b] = [tunnel(1), tunnel(2)];
  const packet = new Uint8Array(500).fill(0x33);
  const down = must(fromProvider('down', 1).seal(packet, noCarrier));
  const outer = must(fromProvider('return', 2).seal(down, noCarrier));
  const arrival = must(b.receive(outer));
  assert.equal(arrival, { kind: 'for-neighbour', member: 1, envelope: down });
  assert.equal(must(a.receive(down)), { kind: 'packet', packet });
  assert.equal(b.receive(down), { ok: false, reason: 'not-for-us' });
  assert.equal(b.receive(outer), { ok: false, reason: 'replayed' });
  assert.equal(a.receive(down), { ok: false, reason: 'replayed' });
  assert.is(a.counters.get('replayed'), 1);
  assert.equal(b.counters.snapshot(), { 'not-for-us': 1, replayed: 1 });
});

test('every changed byte and every length cut short is refused by name, and moves no window', () => {
  const outer = must(tunnel(2).carry(must(tunnel(1).seal(new Uint8Array(20), 2)), 1));
  const receiving = lane('carried', 2);
  const reasons = new Set<string>();
  for (let i = 0; i < outer.length; i++) {
    for (let bit = 1; bit < 256; bit *= 2) {
      outer[i] ^= bit;
      const parsed = parseEnvelope(outer);
      const opened = parsed.ok ? receiving.open(parsed.value, noCarrier) : parsed;
      assert.not.ok(opened.ok, `byte ${i}`);
      if (!opened.ok) reasons.add(opened.reason);
      outer[i] ^= bit;
    }
  }
  assert.equal([...reasons].sort(), [
    'bad-aead',
    'bad-kind',
    'bad-member',
    'bad-nonce',
    'bad-tag',
    'bad-version',
    'not-for-us',
  ]);
  for (let length = 0; length < outer.length; length++) {
    const parsed = parseEnvelope(outer.subarray(0, length));
    if (length < envelopeOverhead) assert.equal(parsed, { ok: false, reason: 'truncated' });
    else assert.equal(receiving.open(must(parsed), noCarrier), { ok: false, reason: 'bad-tag' });
  }
  assert.ok(receiving.open(must(parseEnvelope(outer)), noCarrier).ok);
  assert.equal(parseEnvelope(new Uint8Array(longestEnvelope + 1)), { ok: false, reason: 'too-long' });
  const nobody = Uint8Array.from(outer).fill(0, 2, 6);
  assert.equal(parseEnvelope(nobody), { ok: false, reason: 'bad-member' });
});

test('random bytes never throw', () => {
  const seed = 3;
  const random = new Random(seed, 'garbage');
  const member = tunnel(2);
  for (let i = 0; i < 5000; i++) {
    const bytes = new Uint8Array(random.below(120)).map(() => random.below(256));
    if (random.chance(0.7)) bytes.set([0x10 + random.below(8), 1, 0, 0, 0, 2].slice(0, bytes.length));
    assert.not.ok(member.receive(bytes).ok, `seed ${seed}`);
    assert.not.ok(member.carry(bytes, 1).ok && bytes.length < envelopeOverhead);
    parseIntroduction(bytes);
    parseDropReport(bytes);
  }
});

test('an envelope for one carrier is worthless to another, and to its sender', () => {
  const envelope = must(parseEnvelope(must(tunnel(1).seal(new Uint8Array(9), 2))));
  const receiving = lane('own', 1);
  for (const carrier of [noCarrier, 1, 3])
    assert.equal(receiving.open(envelope, carrier), { ok: false, reason: 'bad-tag' });
  assert.ok(receiving.open(envelope, 2).ok);
});

test('a key of one kind, member or AEAD opens nothing of another', () => {
  const own = must(parseEnvelope(must(tunnel(1).seal(new Uint8Array(9), noCarrier))));
  assert.equal(lane('own', 2).open(own, noCarrier), { ok: false, reason: 'not-for-us' });
  const wrong = new ReceivingLane({ kind: 'own', member: 1, aead: aes128Gcm, key: keyOf(9) }, 0);
  assert.equal(wrong.open(own, noCarrier), { ok: false, reason: 'bad-tag' });
  const ccm = new ReceivingLane({ kind: 'own', member: 1, aead: aes128Ccm, key: keyOf(1) }, 0);
  assert.equal(ccm.open(own, noCarrier), { ok: false, reason: 'bad-aead' });
  const keys = [1, 2, 3, 4, 5, 6].map(purpose => formatHex(purposeKey(aes128Gcm, keyOf(1), purpose)));
  assert.is(new Set(keys).size, 6);
});

test('a neighbour hands over what is its own and nothing else', () => {
  const b = tunnel(2);
  const fromA = must(tunnel(1).seal(new Uint8Array(9), 2));
  assert.equal(b.carry(fromA, 3), { ok: false, reason: 'not-its-own' });
  const twice = must(tunnel(1).carry(fromA, 1));
  assert.equal(b.carry(twice, 1), { ok: false, reason: 'not-its-own' });
  assert.equal(b.carry(new Uint8Array(5), 1), { ok: false, reason: 'truncated' });
  assert.equal(b.counters.snapshot(), { 'not-its-own': 2, truncated: 1 });
});

test('a hop shows which neighbour a packet is from, in either direction under one key', () => {
  const pair = keyOf(0x77);
  const hop = (member: number) => ({ kind: 'hop', member, aead: aes128Gcm, key: pair }) as const;
  const [aSends, bSends] = [new SendingLane(hop(1), reserve()), new SendingLane(hop(2), reserve())];
  const [bHears, aHears] = [new ReceivingLane(hop(1), 0), new ReceivingLane(hop(2), 0)];
  const content = new Uint8Array(64).fill(1);
  const there = must(parseEnvelope(must(aSends.seal(content, noCarrier))));
  const back = must(parseEnvelope(must(bSends.seal(content, noCarrier))));
  assert.is(there.nonce, back.nonce, 'the same number');
  assert.not.equal(there.bytes.subarray(14), back.bytes.subarray(14), 'another nonce');
  assert.equal(must(bHears.open(there, noCarrier)), content);
  assert.equal(must(aHears.open(back, noCarrier)), content);
  assert.equal(aHears.open(there, noCarrier), { ok: false, reason: 'not-for-us' });
  assert.equal(bHears.open(there, noCarrier), { ok: false, reason: 'replayed' });
});

test('a restarted member never seals under a nonce used before, even if it sent all it had reserved', () => {
  let saved = 0;
  const nonces = new Set<number>();
  for (let boot = 0; boot < 5; boot++) {
    const kept = new NonceReserve({
      savedThrough: saved,
      block: 4,
      save: through => {
        saved = through;
        return true;
      },
    });
    const options = { member: 1, aead: aes128Gcm, deviceKey: keyOf(1), reserve: kept };
    const member = new MemberTunnel({ ...options, controlSeenThrough: 0 });
    for (let i = 0; i < 4 + boot; i++) {
      const { nonce } = must(parseEnvelope(must(member.seal(new Uint8Array(1), noCarrier))));
      assert.not.ok(nonces.has(nonce), `nonce ${nonce} again`);
      nonces.add(nonce);
    }
  }
  const full = new NonceReserve({ savedThrough: saved, save: () => false });
  const stuck = new MemberTunnel({
    member: 1,
    aead: aes128Gcm,
    deviceKey: keyOf(1),
    reserve: full,
    controlSeenThrough: 0,
  });
  assert.equal(stuck.seal(new Uint8Array(1), noCarrier), { ok: false, reason: 'no-nonce' });
});

test('who lost the count and starts from 1 all the same is not heard', () => {
  const receiving = lane('own', 1);
  for (let i = 0, before = tunnel(1, 5000); i < 3; i++)
    assert.ok(receiving.open(must(parseEnvelope(must(before.seal(new Uint8Array(1), 0)))), 0).ok);
  const again = must(parseEnvelope(must(tunnel(1).seal(new Uint8Array(1), 0))));
  assert.equal(receiving.open(again, 0), { ok: false, reason: 'too-old' });
});

test('a window moves only for packets that are authentic', () => {
  const receiving = lane('own', 1);
  const forged = must(tunnel(1, 1_000_000).seal(new Uint8Array(9), 0));
  forged[20] ^= 1;
  assert.equal(receiving.open(must(parseEnvelope(forged)), 0), { ok: false, reason: 'bad-tag' });
  assert.ok(receiving.open(must(parseEnvelope(must(tunnel(1).seal(new Uint8Array(9), 0)))), 0).ok);
});

test('two find the same AEAD from either side, and none if they share none', () => {
  assert.is(commonAead([1, 29, 3], [3, 1]), 1);
  assert.is(commonAead([29, 3], [3, 29]), 3, 'a tie goes to the smaller number');
  assert.is(commonAead([29], [1, 3]), undefined);
  assert.is(commonAead([], [1]), undefined);
  const seed = 11;
  const random = new Random(seed, 'aeads');
  const list = () => [1, 3, 29, 77].filter(() => random.chance(0.6)).sort(() => random.below(3) - 1);
  for (let i = 0; i < 500; i++) {
    const [one, other] = [list(), list()];
    const common = commonAead(one, other);
    assert.is(common, commonAead(other, one), `seed ${seed}: ${one} and ${other}`);
    assert.is(common === undefined, !one.some(id => other.includes(id)));
  }
});

test('derived keys differ in every part of their label, and fit every AEAD', () => {
  const master = keyOf(0xee);
  const keys = new Set<string>();
  for (const aead of aeads)
    assert.is(purposeKey(aead, new Uint8Array(aead.keyBytes), 1).length, aead.keyBytes);
  for (const member of [1, 2, 0xffffffff])
    for (const generation of [1, 2, 0xffffff])
      keys.add(formatHex(deviceKey(aes128Gcm, master, { member, generation, keyBytes: 32 })));
  for (const members of [
    [1, 2],
    [1, 3],
    [2, 3],
    [1, 0xffffffff],
  ] as const)
    keys.add(formatHex(pairKey(aes128Gcm, master, { members, generation: 1, keyBytes: 32 })));
  assert.is(keys.size, 13);
  const options = { generation: 5, keyBytes: chacha20Poly1305.keyBytes };
  assert.equal(
    pairKey(aes128Gcm, master, { members: [9, 4], ...options }),
    pairKey(aes128Gcm, master, { members: [4, 9], ...options }),
  );
  assert.throws(() => deviceKey(aes128Gcm, master, { member: 1, generation: 0, keyBytes: 16 }), /generation/);
});

test('an introduction: parse, emit, mirror, and every length cut short', () => {
  const hex = `01030000002a00000007${'0f'.repeat(16)}`;
  const introduction = must(parseIntroduction(parseHex(hex)!));
  assert.equal(introduction, { peer: 42, aead: 3, generation: 7, key: new Uint8Array(16).fill(15) });
  assert.is(formatHex(emitIntroduction(introduction)), hex);
  const bytes = parseHex(hex)!;
  for (let length = 0; length < bytes.length; length++)
    assert.not.ok(parseIntroduction(bytes.subarray(0, length)).ok, `${length} bytes`);
  for (const [at, value, reason] of [
    [0, 9, 'bad-type'],
    [1, 0, 'bad-value'],
    [6, 1, 'bad-value'],
  ] as const) {
    const wrong = Uint8Array.from(bytes);
    wrong[at] = value;
    assert.equal(parseIntroduction(wrong), { ok: false, reason });
  }
});

test('a drop report: parse, emit, mirror, every length cut short, and its limit', () => {
  const dropped = [1, 2, 3, 4, 5, 0x1_0000_0000];
  const report: DropEntry[] = [{ sender: 0xfffffffe, accepted: 0xffff_ffff_ffff, dropped }];
  const bytes = emitDropReport(report);
  assert.is(
    formatHex(bytes),
    '0201fffffffeffffffffffff' + '000000000001000000000002000000000003000000000004000000000005000100000000',
  );
  assert.equal(must(parseDropReport(bytes)), report);
  for (let length = 0; length < bytes.length; length++)
    assert.not.ok(parseDropReport(bytes.subarray(0, length)).ok, `${length} bytes`);
  const many = Array.from({ length: mostReported }, () => report[0]);
  assert.is(must(parseDropReport(emitDropReport(many))).length, mostReported);
  assert.throws(() => emitDropReport([...many, report[0]]), /entries: expected at most 16/);
  bytes[1] = mostReported + 1;
  assert.equal(parseDropReport(bytes), { ok: false, reason: 'too-many' });
});

const entry = (sender: number, accepted: number, dropped: number): DropEntry => ({
  sender,
  accepted,
  dropped: [0, 0, dropped, 0, 0, 0],
});

test('patience ends at eight packets for nothing, comes back after five minutes, and is shorter then', () => {
  const patience = new Patience();
  patience.hear(0, 1, [entry(1, 0, 4)]);
  patience.hear(0, 2, [entry(1, 0, 11)]);
  assert.ok(patience.mayForward(0, 1), 'the first report only says where to count from');
  patience.hear(0, 3, [entry(1, 0, 12)]);
  assert.not.ok(patience.mayForward(299_999, 1));
  assert.ok(patience.mayForward(300_000, 1));
  assert.ok(patience.mayForward(0, 2), 'nobody else');
  patience.hear(300_000, 4, [entry(1, 0, 16)]);
  assert.not.ok(patience.mayForward(300_001, 1), 'four are enough the second time');
});

test('a lost report loses nothing, a late one changes nothing, and a provider that forgot is believed', () => {
  const patience = new Patience();
  patience.hear(0, 1, [entry(1, 100, 0)]);
  patience.hear(0, 5, [entry(1, 100, 7)]);
  patience.hear(0, 2, [entry(1, 100, 2)]);
  patience.hear(0, 6, [entry(1, 100, 7)]);
  assert.ok(patience.mayForward(0, 1));
  patience.hear(0, 7, [entry(1, 0, 0)]);
  patience.hear(0, 8, [entry(1, 0, 1)]);
  assert.not.ok(patience.mayForward(0, 1), '7 before it forgot and 1 since');
});

test('an honest sender that loses one packet in twenty is never refused, one in ten is', () => {
  for (const [drops, refused] of [
    [1, false],
    [2, true],
  ] as const) {
    const patience = new Patience();
    let isRefused = false;
    for (let i = 0; i < 200; i++) {
      patience.hear(i, i + 1, [entry(1, i * (20 - drops), i * drops)]);
      isRefused ||= !patience.mayForward(i, 1);
    }
    assert.is(isRefused, refused);
  }
});

test('a good past buys no right to be a nuisance', () => {
  const patience = new Patience();
  patience.hear(0, 1, [entry(1, 0, 0)]);
  patience.hear(0, 2, [entry(1, 1_000_000, 0)]);
  patience.hear(0, 3, [entry(1, 1_000_000, 8)]);
  assert.not.ok(patience.mayForward(0, 1));
});

test('a crowd of new names does not make a forwarder forget whom it refuses', () => {
  const patience = new Patience();
  patience.hear(0, 1, [entry(1, 0, 0)]);
  patience.hear(0, 2, [entry(1, 0, 8)]);
  for (let sender = 2; sender < 500; sender++) patience.hear(0, sender + 1, [entry(sender, 0, 3)]);
  assert.not.ok(patience.mayForward(0, 1));
});

test.run();
