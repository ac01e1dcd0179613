/**
 * ICMP (RFC 792; the MTU in Destination Unreachable RFC 1191 §4).
 *
 *     0  type      1  code      2  checksum      4  rest of the header, by type      8  payload
 *
 *     echo, echo reply             rest: identifier, sequence number     payload: the data to return
 *     timestamp, timestamp reply   rest: identifier, sequence number     payload: three 32-bit times
 *     destination unreachable      rest: 0, MTU of the next hop          payload: the packet's header and some data
 *     redirect                     rest: the gateway's address           payload: likewise
 *     parameter problem            rest: pointer in the first byte       payload: likewise
 *     time exceeded                rest: 0                               payload: likewise
 *
 * Bounded by the packet. Unknown types parse and are the caller's to ignore (RFC 1122 §3.2.2).
 */

import { readUint32, writeUint16, writeUint32 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { internetChecksum } from './checksum.js';
import { ipv4MinLength } from './ipv4.js';
import type { Reason } from './reason.js';

export const icmpLength = 8;

export const icmpType = {
  echoReply: 0,
  destinationUnreachable: 3,
  redirect: 5,
  echo: 8,
  timeExceeded: 11,
  parameterProblem: 12,
  timestamp: 13,
  timestampReply: 14,
} as const;

export interface IcmpHeader {
  readonly type: number;
  readonly code: number;
  /** 32 bits; the upper 16 of an echo are its identifier, the lower its sequence number. */
  readonly rest: number;
}

/** A message of ICMP, or of ICMPv6 (icmpv6.ts), whose layout is the same. */
export interface Icmp extends IcmpHeader {
  readonly payload: Uint8Array;
}

/** Reads a message from `bytes[start, end)` and verifies its checksum. */
export function parseIcmp(bytes: Uint8Array, start: number, end: number): Result<Icmp, Reason> {
  if (end - start < icmpLength) return fail('truncated');
  if (end - start < icmpLength + leastPayload(bytes[start])) return fail('truncated');
  if (internetChecksum(bytes, start, end) !== 0) return fail('bad-checksum');
  return ok(readIcmp(bytes, start, end));
}

/**
 * Writes the header at `at`, before the payload of `payloadLength` bytes that already stands at `at + icmpLength`;
 * returns the offset of the payload.
 */
export function emitIcmp(header: IcmpHeader, payloadLength: number, out: Uint8Array, at: number): number {
  const payloadAt = writeIcmp(header, out, at);
  writeUint16(out, at + 2, internetChecksum(out, at, payloadAt + payloadLength));
  return payloadAt;
}

/** The fields of ICMP or ICMPv6, of at least `icmpLength` bytes. */
export function readIcmp(bytes: Uint8Array, start: number, end: number): Icmp {
  return {
    type: bytes[start],
    code: bytes[start + 1],
    rest: readUint32(bytes, start + 4),
    payload: bytes.subarray(start + icmpLength, end),
  };
}

/** Writes the header of ICMP or ICMPv6 with a checksum of 0; returns the offset after it. */
export function writeIcmp(header: IcmpHeader, out: Uint8Array, at: number): number {
  at = writeUint16(out, at, (header.type << 8) | header.code);
  at = writeUint16(out, at, 0);
  return writeUint32(out, at, header.rest);
}

function leastPayload(type: number): number {
  switch (type) {
    case icmpType.destinationUnreachable:
    case icmpType.redirect:
    case icmpType.timeExceeded:
    case icmpType.parameterProblem:
      return ipv4MinLength;
    case icmpType.timestamp:
    case icmpType.timestampReply:
      return 12;
    default:
      return 0;
  }
}
