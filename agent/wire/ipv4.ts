/**
 * IPv4 (RFC 791 §3.1; differentiated services RFC 2474, ECN RFC 3168).
 *
 *     0  version = 4 · header length in words      1  DSCP 6 bits · ECN 2 bits      2  total length
 *     4  identification                            6  flags 3 bits · fragment offset 13 bits (8-byte units)
 *     8  time to live      9  protocol            10  header checksum
 *    12  source           16  destination         20  options, 0 … 40 bytes
 *
 * Bounded by the total length, at most 65,535 bytes. The reserved flag is ignored, and zero when emitted.
 */

import { readUint16, writeBytes, writeUint8, writeUint16, writeZeros } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { internetChecksum } from './checksum.js';
import type { Reason } from './reason.js';

/** Without options. */
export const ipv4MinLength = 20;
/** The longest IPv4 packet, and the longest payload of an IPv6 one. */
export const maxIpLength = 65_535;

/** IANA protocol numbers, of IPv4 and of the last IPv6 next header. */
export const protocolIcmp = 1;
export const protocolIgmp = 2;
export const protocolTcp = 6;
export const protocolUdp = 17;
export const protocolIcmpv6 = 58;

export interface Ipv4Header {
  /** Differentiated services code point, 0 … 63. */
  readonly dscp: number;
  /** 0 … 3. */
  readonly ecn: number;
  readonly identification: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** In bytes: a multiple of 8, 0 … 65,528. */
  readonly fragmentOffset: number;
  readonly timeToLive: number;
  readonly protocol: number;
  readonly srcAddress: Uint8Array;
  readonly dstAddress: Uint8Array;
  /** As on the wire, well formed: 0 … 40 bytes. Emitted padded with End of Option List to a multiple of four. */
  readonly options: Uint8Array;
}

export interface Ipv4 extends Ipv4Header {
  readonly payload: Uint8Array;
}

/** Reads a packet from `bytes[start, end)`; what follows the total length is padding. Arrays are views into `bytes`. */
export function parseIpv4(bytes: Uint8Array, start: number, end: number): Result<Ipv4, Reason> {
  if (end - start < ipv4MinLength) return fail('truncated');
  if (bytes[start] >>> 4 !== 4) return fail('bad-version');
  const headerLength = (bytes[start] & 15) * 4;
  const totalLength = readUint16(bytes, start + 2);
  if (headerLength < ipv4MinLength || totalLength < headerLength) return fail('bad-length');
  if (totalLength > end - start) return fail('truncated');
  const payloadAt = start + headerLength;
  if (internetChecksum(bytes, start, payloadAt) !== 0) return fail('bad-checksum');
  if (!areOptionsWellFormed(bytes, start + ipv4MinLength, payloadAt)) return fail('bad-option');
  const fragment = readUint16(bytes, start + 6);
  const moreFragments = (fragment & 0x2000) !== 0;
  const fragmentOffset = (fragment & 0x1fff) * 8;
  const payloadLength = totalLength - headerLength;
  // RFC 791 §3.2: only the last fragment's length is free, and no datagram is longer than its length field can say.
  if (moreFragments && payloadLength % 8 !== 0) return fail('bad-length');
  if (fragmentOffset + totalLength > maxIpLength) return fail('bad-length');
  return ok({
    dscp: bytes[start + 1] >>> 2,
    ecn: bytes[start + 1] & 3,
    identification: readUint16(bytes, start + 4),
    dontFragment: (fragment & 0x4000) !== 0,
    moreFragments,
    fragmentOffset,
    timeToLive: bytes[start + 8],
    protocol: bytes[start + 9],
    srcAddress: bytes.subarray(start + 12, start + 16),
    dstAddress: bytes.subarray(start + 16, start + 20),
    options: bytes.subarray(start + ipv4MinLength, payloadAt),
    payload: bytes.subarray(payloadAt, start + totalLength),
  });
}

/** Bytes of the header with its options: 20 … 60. */
export function ipv4HeaderLength(header: Ipv4Header): number {
  return ipv4MinLength + ((header.options.length + 3) & ~3);
}

/** Writes the header at `at`, before a payload of `payloadLength` bytes; returns the offset of the payload. */
export function emitIpv4(header: Ipv4Header, payloadLength: number, out: Uint8Array, at: number): number {
  const headerLength = ipv4HeaderLength(header);
  const longest = maxIpLength - headerLength;
  if (payloadLength > longest)
    throw new Error(`payloadLength: expected at most ${longest}, got ${payloadLength}`);
  const start = at;
  at = writeUint8(out, at, 0x40 | (headerLength / 4));
  at = writeUint8(out, at, (header.dscp << 2) | header.ecn);
  at = writeUint16(out, at, headerLength + payloadLength);
  at = writeUint16(out, at, header.identification);
  const flags = (header.dontFragment ? 0x4000 : 0) | (header.moreFragments ? 0x2000 : 0);
  at = writeUint16(out, at, flags | (header.fragmentOffset / 8));
  at = writeUint8(out, at, header.timeToLive);
  at = writeUint8(out, at, header.protocol);
  at = writeUint16(out, at, 0);
  at = writeBytes(out, at, header.srcAddress);
  at = writeBytes(out, at, header.dstAddress);
  at = writeBytes(out, at, header.options);
  at = writeZeros(out, at, start + headerLength - at);
  writeUint16(out, start + 10, internetChecksum(out, start, at));
  return at;
}

/** Type, length, data (RFC 791 §3.1), but for End of Option List and No Operation, which are one byte. */
function areOptionsWellFormed(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end && bytes[at] !== 0) {
    if (bytes[at] === 1) {
      at++;
      continue;
    }
    if (end - at < 2 || bytes[at + 1] < 2 || bytes[at + 1] > end - at) return false;
    at += bytes[at + 1];
  }
  return true;
}
