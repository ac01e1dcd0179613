/** Checks of a codec by mutated vectors, and the codec of a protocol that knows its length before it emits. */

import * as assert from 'uvu/assert';
import { concatBytes, formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { type Codec, unwritten } from './vectors.js';

/** The codec whose emit is also held against what `length` announced. */
export function sizedCodec<T>(
  parse: Codec<T>['parse'],
  length: (value: T) => number,
  emit: Codec<T>['emit'],
): Codec<T> {
  return {
    parse,
    emit(value, out, at) {
      const end = emit(value, out, at);
      assert.is(end, at + length(value), 'as long as announced');
      return end;
    },
  };
}

/** The bytes of a value, of which at most `most` may be needed. */
export function emitted<T>(codec: Codec<T>, value: T, most = 16_384): Uint8Array {
  const out = unwritten(most);
  const end = codec.emit(value, out, 3);
  assert.equal(
    [...out.subarray(0, 3), ...out.subarray(end)].filter(byte => byte !== 0xa5),
    [],
  );
  return out.slice(3, end);
}

/** Emits the value, parses that, and expects the value again. */
export function checkMirror<T>(codec: Codec<T>, value: T): void {
  const bytes = emitted(codec, value);
  assert.equal(codec.parse(bytes, 0, bytes.length), { ok: true, value }, formatHex(bytes));
}

/**
 * Parses `cases` mutations of the vectors: none may throw, and what parses must emit to bytes that parse to the same
 * value. Expects at least 1 % to parse and 1 % not to, or the check would be of little worth.
 */
export function checkMutations<T>(
  codec: Codec<T>,
  vectors: readonly Uint8Array[],
  seed: number,
  cases = 3000,
): void {
  const random = new Random(seed, 'mutations');
  let parsed = 0;
  for (let i = 0; i < cases; i++) {
    const bytes = mutate(vectors[random.below(vectors.length)], vectors, random);
    try {
      const result = codec.parse(bytes, 0, bytes.length);
      if (!result.ok) continue;
      parsed++;
      checkMirror(codec, result.value);
    } catch (error) {
      throw new Error(`seed ${seed}, case ${i}, ${formatHex(bytes)}: ${error}`);
    }
  }
  assert.ok(parsed > cases / 100 && parsed < cases - cases / 100, `${parsed} of ${cases} parsed`);
}

const strikingBytes = [0x00, 0x01, 0x0c, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff];

/** One to four changes: a byte or bit, a piece cut out, doubled, or taken from another vector. */
function mutate(vector: Uint8Array, vectors: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes: Uint8Array = new Uint8Array(vector);
  for (let changes = 1 + random.below(4); changes > 0 && bytes.length > 0; changes--) {
    const at = random.below(bytes.length);
    const next = Math.min(bytes.length, at + 1 + random.below(16));
    const other = vectors[random.below(vectors.length)];
    const from = random.below(other.length);
    switch (random.below(6)) {
      case 0:
        bytes[at] ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = strikingBytes[random.below(strikingBytes.length)];
        break;
      case 2:
        bytes[at] = bytes[at] + (random.chance(0.5) ? 1 : 255);
        break;
      case 3:
        bytes = concatBytes([bytes.subarray(0, at), bytes.subarray(next)]);
        break;
      case 4:
        bytes = concatBytes([bytes.subarray(0, next), bytes.subarray(at)]);
        break;
      default:
        bytes = concatBytes([bytes.subarray(0, at), other.subarray(from, from + 16), bytes.subarray(at)]);
    }
  }
  return bytes;
}
