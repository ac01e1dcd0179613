import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import {
  emitSignal,
  entryOf,
  parseSignal,
  type Recipient,
  type Signal,
  type SignalKind,
  signalKinds,
  signedBytes,
  verifySignal,
} from '../../agent/kibbutz/signal.js';
import { aes128Gcm, chacha20Poly1305 } from '../../edge/linux/aead.js';

const headerBytes = 27;
const entryBytes = 20;
const to = (member: number, fill = member): Recipient => ({
  member,
  key: new Uint8Array(16).fill(fill),
  aead: aes128Gcm,
});

const vector: Signal = {
  kind: 'advertisement',
  sender: 0x01020304,
  boot: 0xa0b0c0d0,
  sequence: 0x1_2345_6789_abcd,
  uptimeMs: 0xfedcba98,
  lifetimeMs: 10_000,
  readyMs: 1_800,
};

// The tags straight from OpenSSL: AES-128-GCM over the first 26 bytes, nonce 01020304 ‖ 000123456789abcd, no plaintext.
const vectorHex = [
  '11', // advertisement
  '01', // version
  '01020304', // sender
  'a0b0c0d0', // boot
  '000123456789abcd', // sequence
  'fedcba98', // uptimeMs
  '2710', // lifetimeMs 10,000
  '0708', // readyMs 1,800
  '02', // count
  '00000005', // recipient 5, whose key is 05 … 05
  'c4167ae45d13929444550d1b8d563ffe',
  'fffffffe', // recipient 2^32 − 2, whose key is 07 … 07
  '2c97d764d9b09f420b9bb83e7d110d49',
];
const recipients = [to(5), to(0xfffffffe, 7)];

function must(bytes: Uint8Array): Signal {
  const parsed = parseSignal(bytes);
  if (!parsed.ok) throw new Error(`expected a signal, got ${parsed.reason}`);
  return parsed.value;
}

function reasonOf(bytes: Uint8Array): string {
  const parsed = parseSignal(bytes);
  return parsed.ok ? 'ok' : parsed.reason;
}

test('one annotated vector: emit gives these bytes, parse gives the value back, and each recipient verifies its tag', () => {
  const bytes = emitSignal(vector, recipients);
  assert.is(formatHex(bytes), vectorHex.join(''));
  assert.equal(must(bytes), vector);
  assert.is(bytes.length, headerBytes + 2 * entryBytes);
  assert.is(signedBytes, headerBytes - 1);
  assert.is(entryOf(bytes, 5), headerBytes);
  assert.is(entryOf(bytes, 0xfffffffe), headerBytes + entryBytes);
  assert.is(entryOf(bytes, 6), -1);
  for (const recipient of recipients)
    assert.ok(verifySignal(bytes, entryOf(bytes, recipient.member), recipient));
});

test('every kind at both ends of every field survives the way there and back, whatever else lay in the buffer', () => {
  for (const kind of Object.keys(signalKinds) as SignalKind[])
    for (const [boot, sequence, span, sender] of [
      [0, 1, 0, 1],
      [0xffffffff, 2 ** 53 - 1, 0xffff, 0xffffffff],
    ]) {
      const signal = { kind, sender, boot, sequence, uptimeMs: boot, lifetimeMs: span, readyMs: span };
      const bytes = emitSignal(signal, [to(9)]);
      assert.equal(must(bytes), signal);
      assert.is(bytes[0], signalKinds[kind]);
      const within = new Uint8Array(bytes.length + 7).fill(0xa5);
      within.set(bytes, 3);
      const view = within.subarray(3, 3 + bytes.length);
      assert.equal(must(view), signal, 'a view into a larger buffer');
      assert.ok(verifySignal(view, entryOf(view, 9), to(9)));
    }
});

test('cut off at any length, or with a byte too many, it is refused', () => {
  const bytes = emitSignal(vector, recipients);
  for (let length = 0; length < bytes.length; length++) {
    const reason = reasonOf(bytes.subarray(0, length));
    assert.is(reason, length < headerBytes + entryBytes ? 'length' : 'count', `${length}`);
  }
  for (const more of [1, entryBytes]) {
    const longer = new Uint8Array(bytes.length + more);
    longer.set(bytes);
    assert.is(reasonOf(longer), 'count');
  }
});

test('any bit of what concerns a recipient flipped is refused by the parser, or by the tag, or is not for it any more', () => {
  const bytes = emitSignal(vector, recipients);
  const [mine] = recipients;
  const refused: { [by: string]: number } = {};
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    const isOthers = bit >> 3 >= headerBytes + entryBytes;
    const parsed = parseSignal(flipped);
    const at = parsed.ok ? entryOf(flipped, mine.member) : -1;
    const by = !parsed.ok
      ? parsed.reason
      : at < 0
        ? 'address'
        : verifySignal(flipped, at, mine)
          ? 'nobody'
          : 'tag';
    // The entries of others may be anything: their recipients look after them.
    assert.is(by === 'nobody', isOthers, `bit ${bit}: ${by}`);
    refused[by] = (refused[by] ?? 0) + 1;
  }
  // `sequence` has 11 bits above its 53.
  assert.equal(Object.keys(refused).sort(), [
    'address',
    'count',
    'kind',
    'nobody',
    'sequence',
    'tag',
    'version',
  ]);
  assert.is(refused.sequence, 11);
  assert.is(refused.address, 32);
  assert.is(refused.count, 8);
});

test('only the two of a pair can make a tag: not another member, not another sender, not another AEAD or direction', () => {
  const bytes = emitSignal(vector, recipients);
  assert.not(verifySignal(bytes, entryOf(bytes, 5), to(5, 7)), 'the key of another pair');
  assert.not(verifySignal(bytes, entryOf(bytes, 0xfffffffe), to(5)), 'the tag of another pair');
  const reflected = emitSignal({ ...vector, sender: 5 }, [to(vector.sender, 5)]);
  assert.not(
    formatHex(reflected.subarray(headerBytes + 4)) === formatHex(bytes.subarray(headerBytes + 4, 47)),
    'the same key in the other direction gives another tag',
  );
  const chacha: Recipient = { member: 5, key: new Uint8Array(32).fill(5), aead: chacha20Poly1305 };
  const other = emitSignal(vector, [chacha]);
  assert.ok(verifySignal(other, entryOf(other, 5), chacha));
  assert.not(verifySignal(other, entryOf(other, 5), to(5)));
  // Member 5 passes on what it got as if it were for member 6.
  const passedOn = bytes.slice();
  passedOn[headerBytes + 3] = 6;
  assert.not(verifySignal(passedOn, entryOf(passedOn, 6), to(6)));
});

test('of two entries for one member the first counts, so an inserted one can only do harm that losing it would do', () => {
  const bytes = emitSignal(vector, [to(5, 9), to(5)]);
  assert.is(entryOf(bytes, 5), headerBytes);
  assert.not(verifySignal(bytes, entryOf(bytes, 5), to(5)));
});

test('what stands for nothing is refused with its reason: kinds, versions, senders, sequences and counts', () => {
  const refuse = (reason: string, at: number, ...values: number[]) => {
    const bytes = emitSignal(vector, [to(5)]);
    bytes.set(values, at);
    assert.is(reasonOf(bytes), reason);
  };
  for (const kind of [0x00, 0x10, 0x14, 0xff]) refuse('kind', 0, kind);
  for (const version of [0, 2, 255]) refuse('version', 1, version);
  refuse('sender', 2, 0, 0, 0, 0);
  refuse('sequence', 10, 0x00, 0x20, 0, 0, 0, 0, 0, 0);
  refuse('sequence', 10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
  for (const count of [0, 2, 255]) refuse('count', 26, count);
  const most = emitSignal(
    vector,
    Array.from({ length: 255 }, (_, i) => to(i + 1)),
  );
  assert.is(must(most).sender, vector.sender);
  assert.is(entryOf(most, 255), headerBytes + 254 * entryBytes);
});

test('no bytes whatever make the parser throw or read an entry beyond the end', () => {
  const seed = 20_263;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'signal fuzz');
  let accepted = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = new Uint8Array(random.below(120));
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
    if (random.chance(0.7) && bytes.length > headerBytes) {
      bytes[0] = 0x11 + random.below(3);
      bytes[1] = 1;
      bytes[10] = bytes[11] = 0;
      bytes[signedBytes] = Math.floor((bytes.length - headerBytes) / entryBytes);
    }
    const parsed = parseSignal(bytes);
    if (!parsed.ok) continue;
    accepted++;
    const at = entryOf(bytes, random.below(4));
    assert.ok(at + entryBytes <= bytes.length);
    if (at >= 0) assert.not(verifySignal(bytes, at, to(1)));
  }
  assert.ok(accepted > 100, `${accepted} came through the parser`);
});

test.run();
