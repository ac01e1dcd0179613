/**
 * PAP, the Password Authentication Protocol (RFC 1334 §2). Header as in ppp-control.ts, then
 *
 *     Authenticate-Request: peer id length, peer id, password length, password
 *     Authenticate-Ack, Authenticate-Nak: message length, message
 *
 * Each length is one byte, so nothing is longer than 255. There is no Code-Reject here: another code is 'bad-type'.
 */

import { checkAtMost, writeBytes, writeUint8 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { controlHeaderLength, emitControlHeader, parseControlHeader } from './ppp-control.js';
import type { Reason } from './reason.js';

export type Pap =
  | {
      readonly kind: 'authenticate-request';
      readonly identifier: number;
      readonly peerId: Uint8Array;
      readonly password: Uint8Array;
    }
  | {
      readonly kind: 'authenticate-ack' | 'authenticate-nak';
      readonly identifier: number;
      /** For people to read. Absent if the sender left out even its length, which pppd puts up with too. */
      readonly message?: Uint8Array;
    };

const requestCode = 1;
const ackCode = 2;
const nakCode = 3;

/** Reads PAP from `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parsePap(bytes: Uint8Array, start: number, end: number): Result<Pap, Reason> {
  const header = parseControlHeader(bytes, start, end);
  if (!header.ok) return header;
  const { code, identifier, data } = header.value;
  if (code === requestCode) {
    // Two bytes at least, and the two lengths must fill the packet exactly.
    if (data.length < 2 || data[0] > data.length - 2) return fail('bad-length');
    const passwordAt = 1 + data[0] + 1;
    if (passwordAt + data[passwordAt - 1] !== data.length) return fail('bad-length');
    const peerId = data.subarray(1, passwordAt - 1);
    return ok({ kind: 'authenticate-request', identifier, peerId, password: data.subarray(passwordAt) });
  }
  if (code !== ackCode && code !== nakCode) return fail('bad-type');
  const kind = code === ackCode ? 'authenticate-ack' : 'authenticate-nak';
  if (data.length === 0) return ok({ kind, identifier });
  if (1 + data[0] !== data.length) return fail('bad-length');
  return ok({ kind, identifier, message: data.subarray(1) });
}

/** Bytes `emitPap` writes. */
export function papLength(packet: Pap): number {
  if (packet.kind === 'authenticate-request')
    return controlHeaderLength + 1 + packet.peerId.length + 1 + packet.password.length;
  return controlHeaderLength + (packet.message ? 1 + packet.message.length : 0);
}

/** Writes PAP at `at`; returns the offset after it. Throws if a field is longer than 255 bytes. */
export function emitPap(packet: Pap, out: Uint8Array, at: number): number {
  const code =
    packet.kind === 'authenticate-request'
      ? requestCode
      : packet.kind === 'authenticate-ack'
        ? ackCode
        : nakCode;
  at = emitControlHeader(code, packet.identifier, papLength(packet), out, at);
  if (packet.kind === 'authenticate-request') {
    at = emitCounted('peerId bytes', packet.peerId, out, at);
    return emitCounted('password bytes', packet.password, out, at);
  }
  return packet.message ? emitCounted('message bytes', packet.message, out, at) : at;
}

function emitCounted(name: string, bytes: Uint8Array, out: Uint8Array, at: number): number {
  checkAtMost(name, bytes.length, 255);
  at = writeUint8(out, at, bytes.length);
  return writeBytes(out, at, bytes);
}
