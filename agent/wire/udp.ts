/**
 * UDP (RFC 768; over IPv6 RFC 8200 §8.1).
 *
 *     0  source port      2  destination port      4  length, header included      6  checksum      8  payload
 *
 * Bounded by the length field. A checksum of 0 says there is none, which only IPv4 allows.
 */

import { readUint16, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv6Length } from './address.js';
import { type PseudoHeader, transportChecksum } from './checksum.js';
import { protocolUdp } from './ipv4.js';
import type { Reason } from './reason.js';

export const udpLength = 8;

export interface UdpHeader {
  readonly srcPort: number;
  readonly dstPort: number;
}

export interface Udp extends UdpHeader {
  readonly payload: Uint8Array;
}

/** Reads a datagram from `bytes[start, end)`; verifies the checksum if `pseudoHeader` is given. */
export function parseUdp(
  bytes: Uint8Array,
  start: number,
  end: number,
  pseudoHeader?: PseudoHeader,
): Result<Udp, Reason> {
  if (end - start < udpLength) return fail('truncated');
  const length = readUint16(bytes, start + 4);
  if (length < udpLength) return fail('bad-length');
  if (length > end - start) return fail('truncated');
  if (pseudoHeader) {
    const hasChecksum = readUint16(bytes, start + 6) !== 0;
    if (hasChecksum) {
      if (transportChecksum(pseudoHeader, protocolUdp, bytes, start, start + length) !== 0)
        return fail('bad-checksum');
    } else if (pseudoHeader.srcAddress.length === ipv6Length) {
      return fail('bad-checksum');
    }
  }
  return ok({
    srcPort: readUint16(bytes, start),
    dstPort: readUint16(bytes, start + 2),
    payload: bytes.subarray(start + udpLength, start + length),
  });
}

/**
 * Writes the header at `at`, before the payload of `payloadLength` bytes that already stands at `at + udpLength`;
 * returns the offset of the payload.
 */
export function emitUdp(
  header: UdpHeader,
  payloadLength: number,
  pseudoHeader: PseudoHeader,
  out: Uint8Array,
  at: number,
): number {
  const start = at;
  const length = udpLength + payloadLength;
  at = writeUint16(out, at, header.srcPort);
  at = writeUint16(out, at, header.dstPort);
  at = writeUint16(out, at, length);
  at = writeUint16(out, at, 0);
  const checksum = transportChecksum(pseudoHeader, protocolUdp, out, start, start + length);
  // RFC 768: a computed 0 is sent as its other ones' complement form, since 0 says there is no checksum.
  writeUint16(out, start + 6, checksum === 0 ? 0xffff : checksum);
  return at;
}
