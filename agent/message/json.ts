/**
 * A payload from people: JSON (RFC 8259) if its first byte that is no white space is `{`, else CBOR. No CBOR map begins
 * with `{` or white space, so a map is never taken for the other.
 *
 * Both give the same values, within the same limits: what CBOR here would refuse (lone surrogates, the key `__proto__`)
 * is refused in JSON too. JSON.parse keeps the last of duplicate keys without a word; there only CBOR is strict.
 */

import { decodeUtf8, encodeUtf8 } from '../core/bytes.js';
import { type Failure, fail, type Ok, ok, type Result } from '../core/result.js';
import { type CborLimits, type CborValue, decodeCbor } from './cbor.js';

/** The reason is for people: `bad JSON (not-utf8)`, `bad CBOR (truncated at byte 12)`. */
export function decodePayload(bytes: Uint8Array, limits: CborLimits): Result<CborValue> {
  let at = 0;
  while (at < bytes.length && isSpace(bytes[at])) at++;
  if (at < bytes.length && bytes[at] === 0x7b) {
    const decoded = decodeJson(bytes, limits);
    return decoded.ok ? decoded : fail(`bad JSON (${decoded.reason})`);
  }
  const decoded = decodeCbor(bytes, limits);
  return decoded.ok ? decoded : fail(`bad CBOR (${decoded.reason} at byte ${decoded.at})`);
}

type JsonReason = 'too-long' | 'too-deep' | 'not-utf8' | 'syntax' | 'bad-key';

function decodeJson(bytes: Uint8Array, limits: CborLimits): Ok<CborValue> | Failure<JsonReason> {
  if (limits.bytes !== undefined && bytes.length > limits.bytes) return fail('too-long');
  // Before parsing: a deep text would exhaust a small engine's stack.
  if (nesting(bytes) > limits.depth) return fail('too-deep');
  const text = decodeUtf8(bytes);
  if (text === undefined) return fail('not-utf8');
  let value: CborValue;
  try {
    value = JSON.parse(text);
  } catch {
    return fail('syntax');
  }
  const reason = findFault(value);
  return reason === undefined ? ok(value) : fail(reason);
}

/** The greatest number of brackets and braces open at once, outside strings. */
function nesting(bytes: Uint8Array): number {
  let deepest = 0;
  let open = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === 0x22) inString = !inString;
    else if (inString) {
      if (byte === 0x5c) i++;
    } else if (byte === 0x7b || byte === 0x5b) {
      open++;
      if (open > deepest) deepest = open;
    } else if (byte === 0x7d || byte === 0x5d) open--;
  }
  return deepest;
}

/** Escapes can say what UTF-8 cannot, and a key may have a meaning of its own to JavaScript. */
function findFault(value: CborValue): JsonReason | undefined {
  if (typeof value === 'string') return decodeUtf8(encodeUtf8(value)) === value ? undefined : 'not-utf8';
  if (typeof value !== 'object' || value === null) return undefined;
  const map = value as { readonly [key: string]: CborValue };
  for (const key of Object.keys(map)) {
    if (key === '__proto__') return 'bad-key';
    const reason = findFault(key) ?? findFault(map[key]);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
