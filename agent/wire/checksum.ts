/**
 * The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words, its sum over
 * an IPv4 or IPv6 pseudo-header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1), and its incremental update (RFC 1624 §3).
 *
 * A sum is kept folded to 16 bits between calls. One call takes at most 128 KiB, so 32 bits never overflow.
 */

/**
 * What a transport's checksum covers beside its own bytes: 4-byte or 16-byte addresses, both of one length. Under an
 * IPv6 routing header the destination is the final one (RFC 8200 §8.1).
 */
export interface PseudoHeader {
  readonly srcAddress: Uint8Array;
  readonly dstAddress: Uint8Array;
}

/**
 * The folded sum of `sum` and the words of `bytes[start, end)`. An odd last byte counts as the high half of a word
 * (RFC 1071 §4.1), so of several chunks only the last may be odd.
 */
export function addToSum(sum: number, bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  for (; at + 1 < end; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
  if (at < end) sum += bytes[at] << 8;
  return fold(sum);
}

/**
 * The checksum of `bytes[start, end)` after what `sum` already holds. To emit: over the range with a zeroed checksum
 * field. To verify: over the range as it came, where 0 means intact.
 */
export function internetChecksum(bytes: Uint8Array, start: number, end: number, sum = 0): number {
  return ~addToSum(sum, bytes, start, end) & 0xffff;
}

/** As `internetChecksum`, with the pseudo-header of `protocol` before `bytes[start, end)`. */
export function transportChecksum(
  pseudoHeader: PseudoHeader,
  protocol: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  const { srcAddress, dstAddress } = pseudoHeader;
  const length = end - start;
  let sum = addToSum((length >>> 16) + (length & 0xffff) + protocol, srcAddress, 0, srcAddress.length);
  sum = addToSum(sum, dstAddress, 0, dstAddress.length);
  return internetChecksum(bytes, start, end, sum);
}

/**
 * The checksum after one 16-bit word it covers changed: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3. The word must
 * stand at an even offset. Not for a UDP checksum of 0, which means there is none.
 */
export function updateChecksum16(checksum: number, from: number, to: number): number {
  return ~fold((~checksum & 0xffff) + (~from & 0xffff) + to) & 0xffff;
}

/** As `updateChecksum16`, for a 32-bit field such as an IPv4 address. */
export function updateChecksum32(checksum: number, from: number, to: number): number {
  const half = updateChecksum16(checksum, from >>> 16, to >>> 16);
  return updateChecksum16(half, from & 0xffff, to & 0xffff);
}

function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}
