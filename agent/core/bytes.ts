/**
 * Bytes: big-endian (network order) reads and writes, text, comparison, digest. Plain indexing, because a DataView
 * read past the end gives 0 on Espruino instead of an error: callers check lengths first.
 */

import { timesFnvPrime } from './random.js';

export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function readUint24(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

/** Each write returns the offset after what it wrote. */
export function writeUint8(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value;
  return at + 1;
}

export function writeUint16(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
  return at + 2;
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
  return at + 4;
}

/** Copies `source` into `bytes` at `at`; returns the offset after it. */
export function writeBytes(bytes: Uint8Array, at: number, source: Uint8Array): number {
  bytes.set(source, at);
  return at + source.length;
}

/** Zeroes `length` bytes at `at`; returns the offset after them. */
export function writeZeros(bytes: Uint8Array, at: number, length: number): number {
  for (let i = at; i < at + length; i++) bytes[i] = 0;
  return at + length;
}

/** A copy of `bytes[start, end)` (Uint8Array.slice gives a plain Array on Espruino). */
export function copyBytes(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const copy = new Uint8Array(end - start);
  copy.set(bytes.subarray(start, end));
  return copy;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) at = writeBytes(all, at, part);
  return all;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** `value` as `length` bytes in network order (0…4 of them): the data of most options. */
export function numberBytes(value: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = value >>> (8 * (length - 1 - i));
  return bytes;
}

/** Throws, naming what is too long, if `value` does not fit the one-byte length before it. */
export function checkAtMost(name: string, value: number, most: number): void {
  if (value > most) throw new Error(`${name}: expected at most ${most}, got ${value}`);
}

const hexDigits = '0123456789abcdef';

/** Lower-case hex, with `separator` between bytes. */
export function formatHex(bytes: Uint8Array, separator = ''): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) {
    if (i > 0) text += separator;
    text += hexDigits[bytes[i] >>> 4] + hexDigits[bytes[i] & 15];
  }
  return text;
}

/** Bytes of an even number of hex digits, either case; `undefined` for anything else. */
export function parseHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const high = hexValue(text.charCodeAt(2 * i));
    const low = hexValue(text.charCodeAt(2 * i + 1));
    if (high < 0 || low < 0) return undefined;
    bytes[i] = high * 16 + low;
  }
  return bytes;
}

/** The value of one hex digit's character code, −1 if it is none. */
export function hexValue(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 65 && code <= 70) return code - 55;
  if (code >= 97 && code <= 102) return code - 87;
  return -1;
}

/** UTF-8 of a string (RFC 3629); a lone surrogate becomes U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  const bytes = new Uint8Array(utf8Length(text));
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    const code = codePointAt(text, i);
    if (code > 0xffff) i++;
    if (code < 0x80) {
      bytes[at++] = code;
    } else if (code < 0x800) {
      bytes[at++] = 0xc0 | (code >> 6);
      bytes[at++] = 0x80 | (code & 63);
    } else if (code < 0x10000) {
      bytes[at++] = 0xe0 | (code >> 12);
      bytes[at++] = 0x80 | ((code >> 6) & 63);
      bytes[at++] = 0x80 | (code & 63);
    } else {
      bytes[at++] = 0xf0 | (code >> 18);
      bytes[at++] = 0x80 | ((code >> 12) & 63);
      bytes[at++] = 0x80 | ((code >> 6) & 63);
      bytes[at++] = 0x80 | (code & 63);
    }
  }
  return bytes;
}

/** How many bytes `encodeUtf8(text)` has. */
export function utf8Length(text: string): number {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const code = codePointAt(text, i);
    if (code > 0xffff) i++;
    length += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return length;
}

/** Text of UTF-8 bytes; `undefined` where RFC 3629 forbids them (overlong, surrogate, beyond U+10FFFF, cut short). */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  let text = '';
  let i = 0;
  while (i < bytes.length) {
    const first = bytes[i++];
    if (first < 0x80) {
      text += String.fromCharCode(first);
      continue;
    }
    const more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || i + more > bytes.length) return undefined;
    let code = first & (0x3f >> more);
    for (let k = 0; k < more; k++) {
      const next = bytes[i++];
      if ((next & 0xc0) !== 0x80) return undefined;
      code = (code << 6) | (next & 63);
    }
    if (code < (more === 3 ? 0x10000 : more === 2 ? 0x800 : 0x80)) return undefined;
    if ((code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return undefined;
    if (code > 0xffff)
      text += String.fromCharCode(0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
    else text += String.fromCharCode(code);
  }
  return text;
}

/** FNV-1a, 32 bits, as eight hex digits: tells two revisions of a text apart. Not a defence against forgery. */
export function digest(bytes: Uint8Array): string {
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < bytes.length; i++) hash = timesFnvPrime(hash ^ bytes[i]);
  return `0000000${(hash >>> 0).toString(16)}`.slice(-8);
}

function codePointAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  if (unit < 0xd800 || unit > 0xdfff) return unit;
  const next = text.charCodeAt(at + 1);
  if (unit < 0xdc00 && next >= 0xdc00 && next <= 0xdfff)
    return 0x10000 + ((unit - 0xd800) << 10) + (next - 0xdc00);
  return 0xfffd;
}
