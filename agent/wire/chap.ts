/**
 * CHAP, the Challenge Handshake Authentication Protocol (RFC 1994 §4; MS-CHAP of RFC 2433 and RFC 2759 has the same
 * packets). Header as in ppp-control.ts, then
 *
 *     Challenge, Response: value size (1 byte), value, name to the end
 *     Success, Failure: message to the end
 *
 * There is no Code-Reject here: another code is 'bad-type'.
 */

import { checkAtMost, writeBytes, writeUint8 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { controlHeaderLength, emitControlHeader, parseControlHeader } from './ppp-control.js';
import type { Reason } from './reason.js';

/** The byte after CHAP in LCP's Authentication-Protocol option (IANA, PPP Authentication Algorithms). */
export const chapAlgorithm = { md5: 5, msChap: 0x80, msChapV2: 0x81 } as const;

export type Chap =
  | {
      readonly kind: 'challenge' | 'response';
      readonly identifier: number;
      /** 1…255 bytes. */
      readonly value: Uint8Array;
      readonly name: Uint8Array;
    }
  | {
      readonly kind: 'success' | 'failure';
      readonly identifier: number;
      /** For people to read; of MS-CHAP also for the machine (RFC 2759 §5, §6). */
      readonly message: Uint8Array;
    };

/** Index + 1 is the code. */
const kinds = ['challenge', 'response', 'success', 'failure'] as const;

/** Reads CHAP from `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parseChap(bytes: Uint8Array, start: number, end: number): Result<Chap, Reason> {
  const header = parseControlHeader(bytes, start, end);
  if (!header.ok) return header;
  const { code, identifier, data } = header.value;
  const kind = kinds[code - 1];
  if (kind === undefined) return fail('bad-type');
  if (kind === 'success' || kind === 'failure') return ok({ kind, identifier, message: data });
  if (data.length < 1 || 1 + data[0] > data.length) return fail('bad-length');
  if (data[0] === 0) return fail('bad-value');
  return ok({ kind, identifier, value: data.subarray(1, 1 + data[0]), name: data.subarray(1 + data[0]) });
}

/** Bytes `emitChap` writes. */
export function chapLength(packet: Chap): number {
  return (
    controlHeaderLength +
    ('message' in packet ? packet.message.length : 1 + packet.value.length + packet.name.length)
  );
}

/** Writes CHAP at `at`; returns the offset after it. Throws if the value is longer than 255 bytes. */
export function emitChap(packet: Chap, out: Uint8Array, at: number): number {
  at = emitControlHeader(kinds.indexOf(packet.kind) + 1, packet.identifier, chapLength(packet), out, at);
  if ('message' in packet) return writeBytes(out, at, packet.message);
  checkAtMost('value bytes', packet.value.length, 255);
  at = writeUint8(out, at, packet.value.length);
  at = writeBytes(out, at, packet.value);
  return writeBytes(out, at, packet.name);
}
