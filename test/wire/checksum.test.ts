import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readUint16, readUint32, writeUint16, writeUint32 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import {
  addToSum,
  internetChecksum,
  transportChecksum,
  updateChecksum16,
  updateChecksum32,
} from '../../agent/wire/checksum.js';
import { bytesOf } from './vectors.js';

test("RFC 1071 §3's example sums to ddf2", () => {
  const bytes = bytesOf('0001 f203 f4f5 f6f7');
  assert.is(addToSum(0, bytes, 0, 8), 0xddf2);
  assert.is(internetChecksum(bytes, 0, 8), 0x220d);
});

test('an odd last byte counts as if a zero followed it (RFC 1071 §4.1)', () => {
  for (const text of ['ab', '0001 f203 f4', 'ffff ff'])
    assert.is(
      internetChecksum(bytesOf(text), 0, bytesOf(text).length),
      internetChecksum(bytesOf(`${text}00`), 0, bytesOf(text).length + 1),
    );
});

test('no sum overflows: the longest packet of the largest words', () => {
  const bytes = new Uint8Array(65_535).fill(0xff);
  assert.is(addToSum(0xffff, bytes, 0, 65_534), 0xffff);
  assert.is(addToSum(0, bytes, 0, 65_535), 0xff00);
});

test('a sum may be continued from chunk to chunk at any even offset', () => {
  const seed = 11;
  const random = new Random(seed, 'chunks');
  for (let round = 0; round < 200; round++) {
    const bytes = new Uint8Array(random.below(80)).map(() => random.below(256));
    const split = 2 * random.below((bytes.length >> 1) + 1);
    const sum = addToSum(0, bytes, 0, split);
    const whole = internetChecksum(bytes, 0, bytes.length);
    assert.is(internetChecksum(bytes, split, bytes.length, sum), whole, `seed ${seed}, round ${round}`);
    assert.is(whole, slowChecksum(bytes), `seed ${seed}, round ${round}`);
  }
});

test('the pseudo-header of IPv6 covers a length of more than 16 bits (RFC 8200 §8.1)', () => {
  const pseudoHeader = {
    srcAddress: new Uint8Array(16).fill(0x20),
    dstAddress: new Uint8Array(16).fill(0x31),
  };
  const segment = new Uint8Array(70_000).fill(7);
  const all = new Uint8Array(40 + segment.length);
  all.set(pseudoHeader.srcAddress, 0);
  all.set(pseudoHeader.dstAddress, 16);
  writeUint32(all, 32, segment.length);
  writeUint32(all, 36, 6);
  all.set(segment, 40);
  assert.is(transportChecksum(pseudoHeader, 6, segment, 0, segment.length), slowChecksum(all));
});

test("RFC 1624 §4's example: equation 3 gives 0000 where equation 4 of RFC 1141 gave ffff", () => {
  assert.is(updateChecksum16(0xdd2f, 0x5555, 0x3285), 0x0000);
});

test('an updated checksum is the recomputed one, for changes of 16 and of 32 bits', () => {
  const seed = 12;
  const random = new Random(seed, 'update');
  for (let round = 0; round < 2_000; round++) {
    const bytes = new Uint8Array(20).map(() => random.below(256));
    const before = internetChecksum(bytes, 0, 20);
    const at = 2 * random.below(9);
    const wide = random.chance(0.5);
    const value = random.chance(0.1) ? 0 : random.uint32();
    const from = wide ? readUint32(bytes, at) : readUint16(bytes, at);
    const to = wide ? value : value & 0xffff;
    if (wide) writeUint32(bytes, at, to);
    else writeUint16(bytes, at, to);
    const after = wide ? updateChecksum32(before, from, to) : updateChecksum16(before, from, to);
    assert.is(after, internetChecksum(bytes, 0, 20), `seed ${seed}, round ${round}`);
  }
});

/** By definition and in unbounded integers: the ones' complement of the sum of words modulo 2^16 − 1. */
function slowChecksum(bytes: Uint8Array): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i++) sum += BigInt(bytes[i]) << (i % 2 === 0 ? 8n : 0n);
  if (sum === 0n) return 0xffff;
  const folded = Number(sum % 0xffffn);
  return 0xffff - (folded === 0 ? 0xffff : folded);
}

test.run();
