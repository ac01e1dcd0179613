/**
 * ICMPv6 (RFC 4443 §2.1): errors have types below 128, informational messages from 128. Neighbor Discovery is ndp.ts,
 * Multicast Listener Discovery mld.ts; both are ICMPv6 messages and also parse here.
 *
 *     0  type      1  code      2  checksum over a pseudo-header too      4  rest of the header, by type      8  payload
 *
 *     echo request, echo reply     rest: identifier, sequence number     payload: the data to return
 *     packet too big               rest: MTU                             payload: the packet, as much as fits
 *     parameter problem            rest: pointer                         payload: likewise
 *     destination unreachable, time exceeded   rest: 0                   payload: likewise
 *
 * Bounded by the packet. Unknown types parse and are the caller's to ignore or pass on (RFC 4443 §2.4).
 */

import { writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { type PseudoHeader, transportChecksum } from './checksum.js';
import { type Icmp, type IcmpHeader, icmpLength, readIcmp, writeIcmp } from './icmp.js';
import { protocolIcmpv6 } from './ipv4.js';
import { type Ipv6Header, ipv6MinLength } from './ipv6.js';
import type { Reason } from './reason.js';

export const icmpv6Type = {
  destinationUnreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
  echoRequest: 128,
  echoReply: 129,
} as const;

const firstInformational = 128;

/** The header a message came in, as far as the rules of NDP and MLD look at it; any `Ipv6` value serves. */
export type Icmpv6Carrier = Pick<Ipv6Header, 'srcAddress' | 'dstAddress' | 'hopLimit'>;

/** Reads a message from `bytes[start, end)`; verifies the checksum if `pseudoHeader` is given. */
export function parseIcmpv6(
  bytes: Uint8Array,
  start: number,
  end: number,
  pseudoHeader?: PseudoHeader,
): Result<Icmp, Reason> {
  if (end - start < icmpLength) return fail('truncated');
  if (bytes[start] < firstInformational && end - start < icmpLength + ipv6MinLength) return fail('truncated');
  if (pseudoHeader && !isIcmpv6Intact(pseudoHeader, bytes, start, end)) return fail('bad-checksum');
  return ok(readIcmp(bytes, start, end));
}

/**
 * Writes the header at `at`, before the payload of `payloadLength` bytes that already stands at `at + icmpLength`;
 * returns the offset of the payload.
 */
export function emitIcmpv6(
  header: IcmpHeader,
  payloadLength: number,
  pseudoHeader: PseudoHeader,
  out: Uint8Array,
  at: number,
): number {
  const payloadAt = writeIcmp(header, out, at);
  writeIcmpv6Checksum(pseudoHeader, out, at, payloadAt + payloadLength);
  return payloadAt;
}

export function isIcmpv6Intact(
  pseudoHeader: PseudoHeader,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  return transportChecksum(pseudoHeader, protocolIcmpv6, bytes, start, end) === 0;
}

/** Completes the message `out[start, end)`, whose checksum is still 0. */
export function writeIcmpv6Checksum(
  pseudoHeader: PseudoHeader,
  out: Uint8Array,
  start: number,
  end: number,
): void {
  writeUint16(out, start + 2, transportChecksum(pseudoHeader, protocolIcmpv6, out, start, end));
}
