/**
 * CBOR (RFC 8949): a deterministic encoder and a strict decoder of the subset every platform here can hold.
 *
 * Written: core deterministic encoding (§4.2.1) — shortest integers, the shortest float that keeps the value, map keys in
 * the bytewise order of their encodings, definite lengths. A whole number within ±(2^53 − 1) is an integer, −0 a float.
 *
 * Read: integers within ±(2^53 − 1), byte strings, UTF-8 text, arrays, maps with text keys, false, true, null, floats of
 * 16, 32 and 64 bits; each may be longer than needed, since people's encoders do that. Everything else is refused with
 * its reason and offset. Bounded by the payload's bytes and nesting: no claimed length is believed before the bytes are seen.
 */

import {
  decodeUtf8,
  encodeUtf8,
  readUint16,
  readUint32,
  utf8Length,
  writeBytes,
  writeUint8,
  writeUint16,
  writeUint32,
} from '../core/bytes.js';
import { type Failure, type Ok, ok } from '../core/result.js';

export type CborValue = null | boolean | number | string | Uint8Array | readonly CborValue[] | CborMap;

/** A key whose value is `undefined` is not there. */
export type CborMap = { readonly [key: string]: CborValue | undefined };

export interface CborLimits {
  /** Arrays and maps inside each other. */
  readonly depth: number;
  /** The longest payload looked at; left out: however long the caller lets it be. */
  readonly bytes?: number;
}

export type CborReason =
  /** More bytes than the limit. */
  | 'too-long'
  /** More arrays and maps inside each other than the limit. */
  | 'too-deep'
  /** The bytes end before the item does, or cannot hold the length or count it claims. */
  | 'truncated'
  | 'trailing-bytes'
  /** A head RFC 8949 §3 reserves, or a break with nothing to end. */
  | 'malformed'
  | 'indefinite'
  /** Any tag: dates, big numbers, decimals (§3.4). */
  | 'tag'
  | 'undefined'
  | 'simple-value'
  /** An integer beyond ±(2^53 − 1). */
  | 'integer-range'
  | 'not-utf8'
  /** A map key that is not text, or is `__proto__`, which would not be a plain key in JavaScript. */
  | 'bad-key'
  | 'duplicate-key';

/** `at` is the offset of the item at fault. */
export type CborFailure = Failure<CborReason> & { readonly at: number };

const maxInteger = 9007199254740991;
/** Nesting the encoder takes for a programmer's cycle. */
const maxEncodeDepth = 32;

interface Reader {
  readonly bytes: Uint8Array;
  at: number;
  depthLeft: number;
  reason: CborReason | undefined;
  reasonAt: number;
}

/** The one item that `bytes` are. Byte strings are views into `bytes`. */
export function decodeCbor(bytes: Uint8Array, limits: CborLimits): Ok<CborValue> | CborFailure {
  const reader: Reader = {
    bytes,
    at: 0,
    depthLeft: limits.depth,
    reason: undefined,
    reasonAt: 0,
  };
  if (limits.bytes !== undefined && bytes.length > limits.bytes)
    return { ok: false, reason: 'too-long', at: limits.bytes };
  const value = readItem(reader);
  if (value !== undefined && reader.at < bytes.length) refuse(reader, 'trailing-bytes', reader.at);
  if (value === undefined || reader.reason !== undefined)
    return { ok: false, reason: reader.reason!, at: reader.reasonAt };
  return ok(value);
}

/** How many bytes `encodeCbor(value)` has. Throws as it does. */
export function cborLength(value: CborValue): number {
  return measure(value, []);
}

/** Throws on what CBOR here cannot say (a function, `undefined` in an array, a cycle), naming the path to it. */
export function encodeCbor(value: CborValue): Uint8Array {
  const out = new Uint8Array(measure(value, []));
  emit(value, out, 0);
  return out;
}

function refuse(reader: Reader, reason: CborReason, at: number): undefined {
  reader.reason = reason;
  reader.reasonAt = at;
  return undefined;
}

/** The item at `reader.at`, or `undefined` and a reason. */
function readItem(reader: Reader): CborValue | undefined {
  const { bytes } = reader;
  const start = reader.at;
  if (start >= bytes.length) return refuse(reader, 'truncated', start);
  const major = bytes[start] >> 5;
  const info = bytes[start] & 31;
  if (major === 6) return refuse(reader, 'tag', start);
  if (info >= 28)
    return refuse(reader, info === 31 && major >= 2 && major <= 5 ? 'indefinite' : 'malformed', start);
  const argumentLength = info < 24 ? 0 : 1 << (info - 24);
  const body = start + 1 + argumentLength;
  if (body > bytes.length) return refuse(reader, 'truncated', start);
  reader.at = body;
  if (major === 7) return readSimple(reader, info, start);
  const argument = info < 24 ? info : readUint(bytes, start + 1, argumentLength);
  switch (major) {
    case 0:
      return argument <= maxInteger ? argument : refuse(reader, 'integer-range', start);
    case 1:
      return argument < maxInteger ? -1 - argument : refuse(reader, 'integer-range', start);
    case 4:
      return readArray(reader, argument, start);
    case 5:
      return readMap(reader, argument, start);
    default: {
      if (argument > bytes.length - body) return refuse(reader, 'truncated', start);
      reader.at = body + argument;
      const string = bytes.subarray(body, reader.at);
      if (major === 2) return string;
      const text = decodeUtf8(string);
      return text === undefined ? refuse(reader, 'not-utf8', start) : text;
    }
  }
}

function readArray(reader: Reader, count: number, start: number): CborValue | undefined {
  if (count > reader.bytes.length - reader.at) return refuse(reader, 'truncated', start);
  if (reader.depthLeft === 0) return refuse(reader, 'too-deep', start);
  reader.depthLeft--;
  const items: CborValue[] = [];
  for (let i = 0; i < count; i++) {
    const item = readItem(reader);
    if (item === undefined) return undefined;
    items.push(item);
  }
  reader.depthLeft++;
  return items;
}

function readMap(reader: Reader, count: number, start: number): CborValue | undefined {
  if (2 * count > reader.bytes.length - reader.at) return refuse(reader, 'truncated', start);
  if (reader.depthLeft === 0) return refuse(reader, 'too-deep', start);
  reader.depthLeft--;
  const map: { [key: string]: CborValue } = {};
  for (let i = 0; i < count; i++) {
    const keyAt = reader.at;
    if (keyAt < reader.bytes.length && reader.bytes[keyAt] >> 5 !== 3)
      return refuse(reader, 'bad-key', keyAt);
    const key = readItem(reader) as string | undefined;
    if (key === undefined) return undefined;
    if (key === '__proto__') return refuse(reader, 'bad-key', keyAt);
    const value = readItem(reader);
    if (value === undefined) return undefined;
    map[key] = value;
  }
  if (Object.keys(map).length !== count) return refuse(reader, 'duplicate-key', start);
  reader.depthLeft++;
  return map;
}

/** Major type 7 (RFC 8949 §3.3); `reader.at` is behind the argument. */
function readSimple(reader: Reader, info: number, start: number): CborValue | undefined {
  if (info === 20 || info === 21) return info === 21;
  if (info === 22) return null;
  if (info === 23) return refuse(reader, 'undefined', start);
  if (info === 25) return readHalf(readUint16(reader.bytes, start + 1));
  if (info < 26) return refuse(reader, 'simple-value', start);
  const floats = info === 26 ? new Float32Array(1) : new Float64Array(1);
  const raw = new Uint8Array(floats.buffer);
  for (let i = 0; i < raw.length; i++) raw[raw.length - 1 - i] = reader.bytes[start + 1 + i];
  return floats[0];
}

/** Beyond 2^53 the result is rounded, but never to less than 2^53. */
function readUint(bytes: Uint8Array, at: number, length: number): number {
  if (length === 1) return bytes[at];
  if (length === 2) return readUint16(bytes, at);
  if (length === 4) return readUint32(bytes, at);
  return readUint32(bytes, at) * 4294967296 + readUint32(bytes, at + 4);
}

/** RFC 8949 Appendix D: 1 sign bit, 5 of exponent biased by 15, 10 of fraction. */
function readHalf(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  let value: number;
  if (exponent === 0) value = fraction / 16777216;
  else if (exponent < 31) {
    // By doubling, as Math.pow is inexact on Espruino: (1024 + fraction) × 2^(exponent − 25).
    value = (1024 + fraction) / 33554432;
    for (let doublings = exponent; doublings > 0; doublings--) value *= 2;
  } else value = fraction === 0 ? Infinity : NaN;
  return bits < 0x8000 ? value : value / -1;
}

function measure(value: CborValue | undefined, trail: (string | number)[]): number {
  if (typeof value === 'number') {
    if (isInteger(value)) return headLength(value < 0 ? -1 - value : value);
    return halfBits(value) >= 0 ? 3 : fitsFloat32(value) ? 5 : 9;
  }
  if (typeof value === 'string') {
    const length = utf8Length(value);
    return headLength(length) + length;
  }
  if (typeof value === 'boolean' || value === null) return 1;
  if (typeof value !== 'object' || trail.length > maxEncodeDepth)
    throw new Error(
      `${trail.slice(0, 8).join('.')}: expected a CBOR value nested at most ${maxEncodeDepth} deep, got ${typeof value}`,
    );
  if (value instanceof Uint8Array) return headLength(value.length) + value.length;
  const depth = trail.length;
  if (isArray(value)) {
    let length = headLength(value.length);
    trail.push(0);
    for (let i = 0; i < value.length; i++) {
      trail[depth] = i;
      length += measure(value[i], trail);
    }
    trail.pop();
    return length;
  }
  let length = 0;
  let count = 0;
  trail.push('');
  for (const key of Object.keys(value)) {
    if (value[key] === undefined) continue;
    trail[depth] = key;
    length += measure(key, trail) + measure(value[key], trail);
    count++;
  }
  trail.pop();
  return headLength(count) + length;
}

function emit(value: CborValue, out: Uint8Array, at: number): number {
  if (typeof value === 'number') return emitNumber(value, out, at);
  if (typeof value === 'string') return emitText(value, out, at);
  if (value === null) return writeUint8(out, at, 0xf6);
  if (typeof value === 'boolean') return writeUint8(out, at, value ? 0xf5 : 0xf4);
  if (value instanceof Uint8Array) return writeBytes(out, emitHead(2, value.length, out, at), value);
  if (isArray(value)) {
    at = emitHead(4, value.length, out, at);
    for (let i = 0; i < value.length; i++) at = emit(value[i], out, at);
    return at;
  }
  const keys: string[] = [];
  let inOrder = true;
  for (const key of Object.keys(value)) {
    if (value[key] === undefined) continue;
    if (keys.length > 0 && compareKeys(keys[keys.length - 1], key) > 0) inOrder = false;
    keys.push(key);
  }
  if (!inOrder) keys.sort(compareKeys);
  at = emitHead(5, keys.length, out, at);
  for (const key of keys) at = emit(value[key]!, out, emitText(key, out, at));
  return at;
}

function emitText(text: string, out: Uint8Array, at: number): number {
  const length = utf8Length(text);
  at = emitHead(3, length, out, at);
  if (length > text.length) return writeBytes(out, at, encodeUtf8(text));
  for (let i = 0; i < length; i++) out[at + i] = text.charCodeAt(i);
  return at + length;
}

function emitNumber(value: number, out: Uint8Array, at: number): number {
  if (isInteger(value)) return value < 0 ? emitHead(1, -1 - value, out, at) : emitHead(0, value, out, at);
  const half = halfBits(value);
  if (half >= 0) return writeUint16(out, writeUint8(out, at, 0xf9), half);
  const single = fitsFloat32(value);
  const floats = single ? new Float32Array(1) : new Float64Array(1);
  floats[0] = value;
  // Every platform here is little-endian; CBOR is not.
  const raw = new Uint8Array(floats.buffer);
  at = writeUint8(out, at, single ? 0xfa : 0xfb);
  for (let i = raw.length - 1; i >= 0; i--) at = writeUint8(out, at, raw[i]);
  return at;
}

function headLength(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 256) return 2;
  if (argument < 65536) return 3;
  return argument < 4294967296 ? 5 : 9;
}

function emitHead(major: number, argument: number, out: Uint8Array, at: number): number {
  const type = major << 5;
  if (argument < 24) return writeUint8(out, at, type | argument);
  if (argument < 256) return writeUint8(out, writeUint8(out, at, type | 24), argument);
  if (argument < 65536) return writeUint16(out, writeUint8(out, at, type | 25), argument);
  if (argument < 4294967296) return writeUint32(out, writeUint8(out, at, type | 26), argument);
  at = writeUint32(out, writeUint8(out, at, type | 27), Math.floor(argument / 4294967296));
  return writeUint32(out, at, argument % 4294967296);
}

/** Whether the number is written as an integer: whole, exact, and not −0, which only a float can say. */
function isInteger(value: number): boolean {
  return (
    value % 1 === 0 && value <= maxInteger && value >= -maxInteger && (value !== 0 || 1 / value === Infinity)
  );
}

/** The half-precision bits of a value one can hold exactly (NaN, any), else −1. */
function halfBits(value: number): number {
  if (!(value >= 0 || value < 0)) return 0x7e00;
  const sign = value < 0 || (value === 0 && 1 / value < 0) ? 0x8000 : 0;
  const size = sign === 0 ? value : -value;
  if (size === Infinity) return sign | 0x7c00;
  if (size > 65504) return -1;
  // `unit` is the value of the lowest fraction bit: 2^−24 for the subnormal and the smallest normal numbers.
  let exponent = 1;
  let unit = 1 / 16777216;
  while (size >= 2048 * unit) {
    exponent++;
    unit *= 2;
  }
  const steps = size / unit;
  if (steps % 1 !== 0) return -1;
  return sign | (steps < 1024 ? steps : (exponent << 10) | (steps - 1024));
}

function fitsFloat32(value: number): boolean {
  const single = new Float32Array(1);
  single[0] = value;
  return single[0] === value;
}

/** Bytewise order of the encoded keys: the shorter first, then by code point; UTF-16 puts surrogates elsewhere. */
function compareKeys(a: string, b: string): number {
  const longer = utf8Length(a) - utf8Length(b);
  if (longer !== 0) return longer;
  for (let i = 0; i < a.length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y)
      return (x >= 0xd800 && x < 0xe000 ? x + 0x10000 : x) - (y >= 0xd800 && y < 0xe000 ? y + 0x10000 : y);
  }
  return 0;
}

/** Array.isArray narrows a readonly array to any[]. */
function isArray(value: unknown): value is readonly CborValue[] {
  return Array.isArray(value);
}
