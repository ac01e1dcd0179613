/**
 * Payloads as the coordinator reads them: CBOR from agents by `cbor-x`, JSON or CBOR from people by the agent's own decoder.
 *
 * cbor-x is fast but takes much that agents do not speak (tags that build dates, sets, errors and shared references; keys
 * that are no text; broken UTF-8, made U+FFFD; a key twice; indefinite lengths), and most of it cannot be told from the
 * result. So the bytes are walked first, and it only sees the portable subset of agent/message/cbor.ts (RFC 8949). It has no
 * state from one message to the next (no records), and what it gives is validated by shape.
 */

import { isUtf8 } from 'node:buffer';
import { Decoder, setSizeLimits } from 'cbor-x';
import { fail, type Ok, ok, type Result } from '../../agent/core/result.js';
import type { CborReason, CborValue } from '../../agent/message/cbor.js';
import { decodePayload } from '../../agent/message/json.js';
import { type Descriptor, type Problem, validate } from '../../agent/message/schema.js';

/** A host has more room than the agents' `limits.ts`. */
export const payloadLimits = { bytes: 65_536, depth: 16 };

// For all of cbor-x in this process. The walk bounds counts by the bytes there are; this bounds them again.
setSizeLimits({
  maxArraySize: payloadLimits.bytes,
  maxMapSize: payloadLimits.bytes,
  maxObjectSize: payloadLimits.bytes,
});
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });

export interface BadMessage {
  readonly ok: false;
  readonly problem: Problem;
}

/** What an agent published, of the shape the descriptor asks. Byte strings are views into `payload`. */
export function decodeMessage<T>(descriptor: Descriptor<T>, payload: Uint8Array): Ok<T> | BadMessage {
  const decoded = decodeWithCborX(payload);
  if (!decoded.ok)
    return {
      ok: false,
      problem: { field: '', expected: 'CBOR (RFC 8949)', got: `bad CBOR (${decoded.reason})` },
    };
  const problem = validate(descriptor, decoded.value);
  return problem ? { ok: false, problem } : ok(decoded.value as T);
}

/** What a person published, as an agent would read it but for the wider limits; the reason is for people. */
export function decodePeoplesPayload(payload: Uint8Array): Result<CborValue> {
  return decodePayload(payload, payloadLimits);
}

/** Exported for the test that holds it against the agent's own decoder. */
export function decodeWithCborX(payload: Uint8Array): Result<CborValue, CborReason> {
  const fault = findFault(payload);
  if (fault !== undefined) return fail(fault);
  return ok(withoutBigInts(decoder.decode(payload)));
}

/** An array or map that is being walked. */
interface Container {
  /** Items still to come; a map's keys and values are items each. */
  left: number;
  /** A map's keys so far. */
  readonly keys: Set<string> | undefined;
}

/** Why these bytes are not one item of the portable subset, found in one pass and without building anything of it. */
function findFault(payload: Uint8Array): CborReason | undefined {
  if (payload.length > payloadLimits.bytes) return 'too-long';
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  const open: Container[] = [];
  let at = 0;
  do {
    if (at >= bytes.length) return 'truncated';
    const major = bytes[at] >> 5;
    const info = bytes[at] & 31;
    const around = open.at(-1);
    const isKey = around?.keys !== undefined && around.left % 2 === 0;
    if (isKey && major !== 3) return 'bad-key';
    if (major === 6) return 'tag';
    if (info >= 28) return info === 31 && major >= 2 && major <= 5 ? 'indefinite' : 'malformed';
    const width = info < 24 ? 0 : 1 << (info - 24);
    if (at + 1 + width > bytes.length) return 'truncated';
    const argument =
      width === 0 ? info : width === 8 ? readUint64(bytes, at + 1) : bytes.readUIntBE(at + 1, width);
    at += 1 + width;
    if (around) around.left--;
    if (major === 0 && argument > Number.MAX_SAFE_INTEGER) return 'integer-range';
    if (major === 1 && argument >= Number.MAX_SAFE_INTEGER) return 'integer-range';
    if (major === 2 || major === 3) {
      if (argument > bytes.length - at) return 'truncated';
      const string = bytes.subarray(at, at + argument);
      at += argument;
      if (major === 3 && !isUtf8(string)) return 'not-utf8';
      if (isKey) {
        const key = string.toString('latin1');
        if (key === '__proto__') return 'bad-key';
        if (around.keys.has(key)) return 'duplicate-key';
        around.keys.add(key);
      }
    }
    if (major === 4 || major === 5) {
      const items = major === 4 ? argument : 2 * argument;
      if (items > bytes.length - at) return 'truncated';
      if (open.length === payloadLimits.depth) return 'too-deep';
      open.push({ left: items, keys: major === 5 ? new Set() : undefined });
    }
    if (major === 7 && info === 23) return 'undefined';
    if (major === 7 && (info < 20 || info === 24)) return 'simple-value';
    while (open.at(-1)?.left === 0) open.pop();
  } while (open.length > 0);
  return at < bytes.length ? 'trailing-bytes' : undefined;
}

function readUint64(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

/** cbor-x gives every integer of 8 bytes as a BigInt; the walk has seen to it that a number can hold it. */
function withoutBigInts(value: unknown): CborValue {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    const items = value as { [key: string]: unknown };
    for (const key in items) {
      const item = items[key];
      if (typeof item === 'bigint' || typeof item === 'object') items[key] = withoutBigInts(item);
    }
  }
  return value as CborValue;
}
