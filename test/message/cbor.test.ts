/** CBOR (RFC 8949): our codec by the standard's own examples, against cbor-x, and against hostile bytes. */

import { readFileSync } from 'node:fs';
import { Encoder, isNativeAccelerationEnabled } from 'cbor-x';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { copyBytes, encodeUtf8, formatHex, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import {
  type CborMap,
  type CborValue,
  cborLength,
  decodeCbor,
  encodeCbor,
} from '../../agent/message/cbor.js';
import { decodePayload } from '../../agent/message/json.js';
import { decodeWithCborX, payloadLimits } from '../../host-sim/coordinator/payload.js';

interface Vector {
  readonly hex: string;
  readonly diagnostic: string;
  readonly value?: CborValue;
  readonly number?: string;
  readonly bytes?: string;
  readonly canonical?: string;
  readonly refused?: string;
}

const file = new URL('../vectors/cbor-appendix-a.json', import.meta.url);
const vectors: readonly Vector[] = JSON.parse(readFileSync(file, 'utf8')).vectors;
const limits = { depth: 8 };
const cborX = new Encoder({ useRecords: false, tagUint8Array: false });

/** Bytes beyond the portable subset, and the reason and offset they are refused with. */
const refusals: readonly (readonly [string, string])[] = [
  ['', 'truncated@0'],
  ['1b0020000000000000', 'integer-range@0'],
  ['3b001fffffffffffff', 'integer-range@0'],
  ['8201c2410a', 'tag@2'],
  ['820181f7', 'undefined@3'],
  ['8200f8ff', 'simple-value@2'],
  ['81e0', 'simple-value@1'],
  ['1c', 'malformed@0'],
  ['3f', 'malformed@0'],
  ['81ff', 'malformed@1'],
  ['81fc', 'malformed@1'],
  ['815f4100ff', 'indefinite@1'],
  ['a10102', 'bad-key@1'],
  ['a1800102', 'bad-key@1'],
  ['a1695f5f70726f746f5f5fa0', 'bad-key@1'],
  ['8100a0', 'trailing-bytes@2'],
  ['81a2616101616102', 'duplicate-key@1'],
  ['8162c328', 'not-utf8@1'],
  ['62c080', 'not-utf8@0'],
  ['63eda080', 'not-utf8@0'],
  ['64f4908080', 'not-utf8@0'],
  ['81818181818181818100', 'too-deep@8'],
  ['8181818181818181a0', 'too-deep@8'],
  ['8281818181818180818181818181818100', 'too-deep@15'],
];

function hex(text: string): Uint8Array {
  return parseHex(text)!;
}

function expectedOf(vector: Vector): CborValue {
  if (vector.number !== undefined) return Number(vector.number);
  return vector.bytes === undefined ? vector.value! : hex(vector.bytes);
}

/** The value, or the reason and offset, as text. */
function outcome(bytes: Uint8Array): unknown {
  const decoded = decodeCbor(bytes, limits);
  return decoded.ok ? decoded.value : `${decoded.reason}@${decoded.at}`;
}

/** Deep equality that tells −0 from 0, equates NaNs, and takes a Buffer for the bytes it holds. */
function isSame(a: unknown, b: unknown): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return formatHex(a) === formatHex(b);
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b);
  const keys = Object.keys(a);
  if (Array.isArray(a) !== Array.isArray(b) || keys.length !== Object.keys(b).length) return false;
  return keys.every(key => Object.hasOwn(b, key) && isSame(a[key as never], b[key as never]));
}

function randomValue(random: Random, depth: number): CborValue {
  const kind = random.below(depth > 0 ? 11 : 9);
  if (kind === 0) return [null, true, false][random.below(3)];
  if (kind <= 3) {
    const size = Math.floor(2 ** (random.unit() * 53));
    return random.chance(0.5) ? Math.min(size, Number.MAX_SAFE_INTEGER) : -size;
  }
  if (kind === 4)
    return [NaN, Infinity, -Infinity, 1.5, 2 ** -24, 2 ** 53, 2 ** 1023, 5e-324][random.below(8)];
  if (kind === 5) return random.normal(0, 1) * 10 ** (random.below(80) - 40);
  if (kind === 6) return Math.fround(random.normal(0, 1));
  if (kind === 7) return Uint8Array.from({ length: random.below(40) }, () => random.below(256));
  if (kind === 8) return randomText(random);
  if (kind === 9) return Array.from({ length: random.below(6) }, () => randomValue(random, depth - 1));
  const map: { [key: string]: CborValue } = {};
  for (let i = random.below(6); i > 0; i--) map[randomText(random)] = randomValue(random, depth - 1);
  return map;
}

function randomText(random: Random): string {
  const highest = [0x7f, 0x7ff, 0xffff, 0x10ffff][random.below(4)];
  let text = '';
  for (let i = random.below(random.chance(0.1) ? 300 : 12); i > 0; i--) {
    const code = random.below(highest + 1);
    // No surrogates; and no byte order mark, which has a test of its own.
    text += code >= 0xd800 && code <= 0xdfff ? '-' : code === 0xfeff ? '+' : String.fromCodePoint(code);
  }
  return text === '__proto__' ? '' : text;
}

test('every example of RFC 8949 Appendix A decodes to its value or is refused for its reason', () => {
  assert.is(vectors.length, 81);
  for (const vector of vectors) {
    const decoded = decodeCbor(hex(vector.hex), limits);
    if (vector.refused !== undefined)
      assert.is(decoded.ok ? 'accepted' : decoded.reason, vector.refused, vector.hex);
    else assert.ok(decoded.ok && isSame(decoded.value, expectedOf(vector)), vector.hex);
  }
});

test('every value of RFC 8949 Appendix A encodes to its bytes, or to the shorter ones determinism asks for', () => {
  for (const vector of vectors) {
    if (vector.refused !== undefined) continue;
    const value = expectedOf(vector);
    assert.is(formatHex(encodeCbor(value)), vector.canonical ?? vector.hex, vector.diagnostic);
    assert.is(cborLength(value), (vector.canonical ?? vector.hex).length / 2, vector.diagnostic);
  }
});

test('every truncation of every example is refused, and so is every example with a byte behind it', () => {
  for (const vector of vectors) {
    const bytes = hex(vector.hex);
    for (let end = 0; end < bytes.length; end++)
      assert.not(decodeCbor(copyBytes(bytes, 0, end), limits).ok, `${vector.hex} cut to ${end}`);
    if (vector.refused === undefined)
      assert.is(outcome(hex(`${vector.hex}00`)), `trailing-bytes@${bytes.length}`);
  }
});

test('longer encodings than needed and keys out of order are read, and written back in the one deterministic form', () => {
  for (const [given, canonical] of [
    ['1800', '00'],
    ['190017', '17'],
    ['1a0000ffff', '19ffff'],
    ['1b0000000000000001', '01'],
    ['3b0000000000000000', '20'],
    ['1b001fffffffffffff', '1b001fffffffffffff'],
    ['3b001ffffffffffffe', '3b001ffffffffffffe'],
    ['5800', '40'],
    ['79000161', '6161'],
    ['9b000000000000000101', '8101'],
    ['b800', 'a0'],
    ['fa3fc00000', 'f93e00'],
    ['fb7ff4000000000000', 'f97e00'],
    ['fb8000000000000000', 'f98000'],
    ['fb47efffffe0000000', 'fa7f7fffff'],
    // 2^−25 is half of the smallest half; 65520 would round up to infinity.
    ['fb3e60000000000000', 'fa33000000'],
    ['fa477ff000', '19fff0'],
    ['a2626161016162f6', 'a26162f662616101'],
    // U+FFFF "a" sorts before U+10000 by bytes, behind it by UTF-16.
    ['a264f09080800164efbfbf6102', 'a264efbfbf610264f090808001'],
  ]) {
    const decoded = decodeCbor(hex(given), limits);
    assert.ok(decoded.ok, given);
    if (decoded.ok) assert.is(formatHex(encodeCbor(decoded.value)), canonical, given);
  }
});

test('what the portable subset leaves out is refused with its reason and the offset of the item at fault', () => {
  for (const [given, expected] of refusals) assert.equal(outcome(hex(given)), expected, given);
  assert.is(decodeCbor(new Uint8Array(5), { depth: 8, bytes: 4 }).ok, false);
  assert.is(decodeCbor(hex('84000000'), { depth: 8, bytes: 4 }).ok, false);
  assert.is(decodeCbor(hex('83000000'), { depth: 8, bytes: 4 }).ok, true);
});

test('eight levels may be nested, and siblings do not add up', () => {
  assert.equal(outcome(hex('818181818181818100')), [[[[[[[[0]]]]]]]]);
  assert.equal(outcome(hex('8380a0818180')), [[], {}, [[[]]]]);
  assert.ok(decodeCbor(encodeCbor([[], {}, [[]], { a: [] }]), { depth: 3 }).ok);
});

test('a length or count beyond the bytes is refused at its head, before anything is built', () => {
  for (const head of ['5a', '7a', '9a', 'ba'])
    assert.is(outcome(hex(`${head}ffffffff010203`)), 'truncated@0', head);
  for (const head of ['5b', '7b', '9b', 'bb'])
    for (const length of ['ffffffffffffffff', '0020000000000000', '0000000000000004'])
      assert.is(outcome(hex(`${head}${length}010203`)), 'truncated@0', `${head}${length}`);
  assert.is(outcome(hex('a3616101')), 'truncated@0');
});

test('keys that mean something to JavaScript stay plain keys and nothing inherits from a payload', () => {
  const decoded = decodeCbor(
    encodeCbor({ constructor: 1, toString: { x: 2 }, hasOwnProperty: 3, length: 4, 7: 5 }),
    limits,
  );
  assert.ok(decoded.ok);
  if (decoded.ok) {
    const value = decoded.value as CborMap;
    assert.equal(Object.keys(value).sort(), ['7', 'constructor', 'hasOwnProperty', 'length', 'toString']);
    assert.is(Object.getPrototypeOf(value), Object.prototype);
  }
  assert.is(({} as { x?: unknown }).x, undefined);
});

test('every half-precision float reads as RFC 8949 Appendix D computes it and is written back unchanged', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const bytes = Uint8Array.of(0xf9, bits >> 8, bits & 255);
    const decoded = decodeCbor(bytes, limits);
    const value = decoded.ok ? (decoded.value as number) : undefined;
    const exponent = (bits >> 10) & 31;
    const size = exponent === 0 ? (bits & 1023) * 2 ** -24 : ((bits & 1023) + 1024) * 2 ** (exponent - 25);
    const expected = exponent < 31 ? size : (bits & 1023) === 0 ? Infinity : NaN;
    if (!Object.is(value, bits < 0x8000 ? expected : -expected))
      assert.is(value, expected, bits.toString(16));
    const again = formatHex(encodeCbor(value!));
    if (Number.isInteger(value) && !Object.is(value, -0))
      assert.is(again, formatHex(encodeCbor(Number(value))));
    else assert.is(again, Number.isNaN(value) ? 'f97e00' : formatHex(bytes));
  }
});

test('random values survive our codec, cbor-x reads what we write, and we read what cbor-x writes', () => {
  const seed = 20240611;
  const random = new Random(seed, 'cbor round trip');
  for (let i = 0; i < 4000; i++) {
    const value = randomValue(random, 4);
    const bytes = encodeCbor(value);
    const where = `seed ${seed}, value ${i}: ${formatHex(bytes).slice(0, 200)}`;
    assert.is(cborLength(value), bytes.length, where);
    const decoded = decodeCbor(bytes, limits);
    assert.ok(decoded.ok && isSame(decoded.value, value), `ours to ours, ${where}`);
    if (decoded.ok)
      assert.is(formatHex(encodeCbor(decoded.value)), formatHex(bytes), `deterministic, ${where}`);
    const theirs = decodeWithCborX(bytes);
    assert.ok(theirs.ok && isSame(theirs.value, value), `ours to theirs, ${where}`);
    const back = decodeCbor(cborX.encode(value), limits);
    assert.ok(back.ok && isSame(back.value, value), `theirs to ours, ${where}`);
  }
});

test('the key order of the object does not show in the bytes, and a key that is undefined is left out', () => {
  const expected = 'a4616101617a026261610462c3a903';
  assert.is(formatHex(encodeCbor({ aa: 4, é: 3, z: 2, a: 1 })), expected);
  assert.is(formatHex(encodeCbor({ a: 1, aa: 4, gone: undefined, z: 2, é: 3 })), expected);
});

test('encoding what CBOR here cannot say throws and names the path to it', () => {
  const throws = (value: unknown, expected: RegExp) =>
    assert.throws(() => encodeCbor(value as CborValue), expected);
  throws(undefined, /expected a CBOR value/);
  throws({ counters: { a: [1, () => 1] } }, /^counters\.a\.1: expected .*, got function$/);
  throws({ a: [undefined] }, /a\.0: expected .*, got undefined/);
  throws({ a: 1n }, /a: expected .*, got bigint/);
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  throws(cycle, /self\.self.*nested at most 32/);
});

test('on random and on damaged bytes our decoder and the guarded cbor-x agree on the value or the reason', () => {
  const seed = 8949;
  const random = new Random(seed, 'cbor differential');
  let accepted = 0;
  for (let i = 0; i < 30_000; i++) {
    let bytes: Uint8Array = Uint8Array.from({ length: random.below(24) }, () => random.below(256));
    if (i % 3 > 0) {
      bytes = i % 3 === 1 ? encodeCbor(randomValue(random, 3)) : cborX.encode(randomValue(random, 3));
      for (let n = random.below(4); n > 0 && bytes.length > 0; n--)
        bytes[random.below(Math.min(bytes.length, 40))] = random.chance(0.5)
          ? random.below(256)
          : 0xa0 + random.below(96);
    }
    const ours = decodeCbor(bytes, payloadLimits);
    const theirs = decodeWithCborX(bytes);
    const where = `seed ${seed}, case ${i}: ${formatHex(bytes).slice(0, 400)}`;
    if (ours.ok) {
      accepted++;
      assert.ok(theirs.ok && isSame(ours.value, theirs.value), where);
    } else {
      assert.not(theirs.ok, where);
      // Both name the first fault; only the duplicate key is found at once by one and at the map's end by the other.
      if (!theirs.ok && theirs.reason !== 'duplicate-key') assert.is(ours.reason, theirs.reason, where);
    }
  }
  assert.ok(accepted > 3000, `only ${accepted} accepted: the test does not reach the values`);
});

test('on every example, whole or cut, and on every refusal our decoder and the guarded cbor-x agree', () => {
  for (const [given, expected] of refusals) {
    const theirs = decodeWithCborX(hex(given));
    // The coordinator has room for twice the depth.
    if (!expected.startsWith('too-deep'))
      assert.is(theirs.ok ? 'ok' : theirs.reason, expected.split('@')[0], given);
  }
  for (const vector of vectors)
    for (let end = 0; end <= vector.hex.length / 2; end++) {
      const bytes = copyBytes(hex(vector.hex), 0, end);
      const ours = decodeCbor(bytes, payloadLimits);
      const theirs = decodeWithCborX(bytes);
      assert.is(
        ours.ok ? 'ok' : ours.reason,
        theirs.ok ? 'ok' : theirs.reason,
        `${vector.hex} cut to ${end}`,
      );
      if (ours.ok && theirs.ok) assert.ok(isSame(ours.value, theirs.value), vector.hex);
    }
});

test('the one known difference: cbor-x without its native part drops a byte order mark before a text over 64 bytes', () => {
  const text = `\ufeff${'x'.repeat(64)}`;
  const bytes = encodeCbor(text);
  assert.equal(decodeCbor(bytes, limits), { ok: true, value: text });
  assert.equal(decodeWithCborX(bytes), {
    ok: true,
    value: isNativeAccelerationEnabled ? text : text.slice(1),
  });
});

test('a payload that begins with a brace, after white space or not, is JSON; any other is CBOR', () => {
  const value = {
    host: '3c:22:fb:01:02:03',
    trigger: { tcp: { dstPort: 22 } },
    list: ['}', '"', '\\', 1.5, null],
  };
  for (const bytes of [
    encodeUtf8(JSON.stringify(value)),
    encodeUtf8(`\r\n\t ${JSON.stringify(value, null, 2)} `),
    encodeCbor(value),
  ])
    assert.equal(decodePayload(bytes, limits), { ok: true, value });
});

test('a payload that is neither says which of the two it is not, and why', () => {
  const text = (json: string) => {
    const decoded = decodePayload(encodeUtf8(json), { depth: 4, bytes: 64 });
    return decoded.ok ? decoded.value : decoded.reason;
  };
  assert.is(text('{"a":1'), 'bad JSON (syntax)');
  assert.is(text('{"a":1}x'), 'bad JSON (syntax)');
  assert.is(text('{"a":[[[[]]]]}'), 'bad JSON (too-deep)');
  assert.is(text('{'.repeat(64)), 'bad JSON (too-deep)');
  assert.equal(text('{"a":"[[[[[[{{{\\"[[[[[["}'), { a: '[[[[[[{{{"[[[[[[' });
  assert.is(text('{"a":"\\ud800"}'), 'bad JSON (not-utf8)');
  assert.is(text('{"\\udc00":1}'), 'bad JSON (not-utf8)');
  assert.is(text('{"a":[{"__proto__":{"x":1}}]}'), 'bad JSON (bad-key)');
  assert.is(text(`{"a":"${'x'.repeat(64)}"}`), 'bad JSON (too-long)');
  assert.is(text('hello'), 'bad CBOR (truncated at byte 0)');
  assert.is(text('[1]'), 'bad CBOR (truncated at byte 0)');
  assert.is(text(''), 'bad CBOR (truncated at byte 0)');
  assert.equal(decodePayload(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), limits), {
    ok: false,
    reason: 'bad JSON (not-utf8)',
  });
});

test('no bytes at all make the decoders throw', () => {
  const seed = 77;
  const random = new Random(seed, 'payload fuzz');
  const start = encodeUtf8('{"a":[1,{"b":"c\\u0041"}],"d":true}');
  for (let i = 0; i < 5000; i++) {
    const bytes = copyBytes(start, 0, start.length);
    for (let n = random.below(6); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256);
    try {
      decodePayload(bytes, { depth: 3 });
    } catch (error) {
      assert.unreachable(`seed ${seed}, case ${i}, ${formatHex(bytes)}: ${error}`);
    }
  }
});

test.run();
