/**
 * CBOR (RFC 8949) as much as small-agent.ts says: integers, text, booleans, arrays and maps, with the same bytes as
 * agent/message/cbor.ts (§4.2.3: the shortest heads, keys by length and then by bytes). That one is 2.7 KB minified, for it knows
 * floats, bytes and null, and counts before it writes; this one is 0.6 KB.
 *
 * Built as a text of one character a byte, for an element of an array costs Espruino a variable and twelve characters do too.
 * Bounds: integers of at most 53 bits, keys in ASCII; the caller's values are its own and nested a few levels deep.
 */

import { encodeUtf8 } from '../../agent/core/bytes.js';
import type { CborMap, CborValue } from '../../agent/message/cbor.js';

/** Entries whose value is undefined are left out. */
export function encodeSmallCbor(value: CborMap): Uint8Array {
  return bytesOfText(item(value));
}

/** One byte for each character, of which each must be below 256. */
export function bytesOfText(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function item(value: CborValue | undefined): string {
  if (typeof value === 'number') return value < 0 ? head(1, -1 - value) : head(0, value);
  if (typeof value === 'string') {
    const bytes = encodeUtf8(value);
    let text = head(3, bytes.length);
    for (let i = 0; i < bytes.length; i++) text += String.fromCharCode(bytes[i]);
    return text;
  }
  if (Array.isArray(value)) return head(4, value.length) + value.map(item).join('');
  if (typeof value !== 'object') return head(7, value ? 21 : 20);
  const map = value as CborMap;
  const keys = Object.keys(map).filter(key => map[key] !== undefined);
  keys.sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  return head(5, keys.length) + keys.map(key => item(key) + item(map[key])).join('');
}

/** §3: the major type, and the argument in 0, 1, 2, 4 or 8 bytes. */
function head(major: number, argument: number): string {
  if (argument < 24) return String.fromCharCode((major << 5) | argument);
  const size = argument < 256 ? 0 : argument < 65536 ? 1 : argument < 4294967296 ? 2 : 3;
  let text = '';
  for (let i = 1 << size; i > 0; i--) {
    text = String.fromCharCode(argument % 256) + text;
    argument = Math.floor(argument / 256);
  }
  return String.fromCharCode((major << 5) | (24 + size)) + text;
}
