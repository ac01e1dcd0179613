/**
 * Access control: from a session pass only packets whose source is the session's own, its IPv4 address or an address under its
 * IPv6 prefix (software BRAS, §3.2.2.2; BCP 38, RFC 2827 §3). Link-local packets are for the BRAS alone, and the unspecified
 * address is no source of a packet that is forwarded.
 *
 * Also what a forwarder must not pass on (RFC 1812 §5.2.2): a packet shorter or longer than it says, or with a wrong IPv4 header
 * checksum; `end` is brought to the packet's own end by `ipLength`. Reads in place and allocates nothing.
 */

import { readUint16, readUint32 } from '../../agent/core/bytes.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { ipv4MinLength } from '../../agent/wire/ipv4.js';
import { ipv6MinLength } from '../../agent/wire/ipv6.js';

/** Reasons, negative; what is not refused is the family. */
export const malformedPacket = -1;
export const foreignSource = -2;
/** From a link-local address, or to one, or to a group of the link: for the BRAS itself, if for anybody. */
export const linkLocalPacket = -3;

/** What a session may send from. */
export interface SourceColumns {
  readonly ipv4: Uint32Array;
  readonly ipv6High: Uint32Array;
  readonly ipv6Low: Uint32Array;
}

/** The IP packet's own length in bytes, `malformedPacket` if `bytes[start, end)` does not hold one whole. */
export function ipLength(bytes: Uint8Array, start: number, end: number): number {
  const version = bytes[start] >>> 4;
  if (version === 4 && end - start >= ipv4MinLength) {
    const headerLength = (bytes[start] & 15) * 4;
    const length = readUint16(bytes, start + 2);
    if (headerLength < ipv4MinLength || length < headerLength || length > end - start) return malformedPacket;
    return internetChecksum(bytes, start, start + headerLength) === 0 ? length : malformedPacket;
  }
  if (version === 6 && end - start >= ipv6MinLength) {
    const length = ipv6MinLength + readUint16(bytes, start + 4);
    return length <= end - start ? length : malformedPacket;
  }
  return malformedPacket;
}

/**
 * 4 or 6 if the session in `row` may send the packet at `start` (whose length is checked), or the reason it may not.
 * `ipv6LowMask` covers the second word's bits under the prefixes' length.
 */
export function checkSource(
  columns: SourceColumns,
  row: number,
  ipv6LowMask: number,
  bytes: Uint8Array,
  start: number,
): number {
  if (bytes[start] >>> 4 === 4) {
    const source = readUint32(bytes, start + 12);
    return source !== 0 && source === columns.ipv4[row] ? 4 : foreignSource;
  }
  const high = readUint32(bytes, start + 8);
  const low = readUint32(bytes, start + 12);
  // fe80::/10 (RFC 4291 §2.5.6) and the unspecified address, or to ff02::/16 (§2.7).
  if (
    high >>> 22 === 0x3fa ||
    (high | low | readUint32(bytes, start + 16) | readUint32(bytes, start + 20)) === 0
  )
    return linkLocalPacket;
  const isOwn =
    (columns.ipv6High[row] | columns.ipv6Low[row]) !== 0 &&
    high === columns.ipv6High[row] &&
    (low & ipv6LowMask) >>> 0 === columns.ipv6Low[row];
  if (!isOwn) return foreignSource;
  const to = readUint16(bytes, start + 24);
  return to >>> 6 === 0x3fa || (to & 0xff0f) === 0xff02 ? linkLocalPacket : 6;
}

/** Of the second word of a prefix of `length` bits, 33 … 64. */
export function ipv6LowMask(length: number): number {
  return (-1 << (64 - length)) >>> 0;
}
