/**
 * TCP's maximum segment size, lowered in passing to what a tunnel can carry (RFC 4638 §1 and RFC 2923 §2.1 tell why: path MTU
 * discovery fails where ICMP is filtered). In place: the option of a SYN, with or without ACK, and the checksum brought along
 * incrementally (RFC 1624 §3). Nothing is verified; a wrong checksum stays wrong.
 *
 * Bounded by the packet: at most `maxIpv6Extensions` extension headers and 40 bytes of options.
 */

import { readUint16, writeUint16 } from '../core/bytes.js';
import { updateChecksum16 } from '../wire/checksum.js';
import { ipv4MinLength, protocolTcp } from '../wire/ipv4.js';
import {
  extensionFragment,
  ipv6ExtensionLength,
  ipv6MinLength,
  isIpv6Extension,
  maxIpv6Extensions,
} from '../wire/ipv6.js';
import { tcpMinLength } from '../wire/tcp.js';

const flagSyn = 0x02;
const optionEnd = 0;
const optionNoOperation = 1;
const optionMaximumSegmentSize = 2;

/**
 * Lowers the option in the IP packet `bytes[start, end)` to what fits into `mtu` bytes beside the fixed IP and TCP
 * headers (RFC 6691 §2). True if it wrote. A SYN without the option is left so: its sender takes 536 (RFC 9293 §3.7.1).
 */
export function clampMss(bytes: Uint8Array, start: number, end: number, mtu: number): boolean {
  if (end - start < ipv4MinLength + tcpMinLength) return false;
  if (bytes[start] >>> 4 === 4) {
    // A first fragment holds the options; a later one holds no header (RFC 791 §3.1).
    if (bytes[start + 9] !== protocolTcp || (readUint16(bytes, start + 6) & 0x1fff) !== 0) return false;
    const tcpAt = start + (bytes[start] & 15) * 4;
    if (tcpAt - start < ipv4MinLength) return false;
    return clampSegment(bytes, tcpAt, end, mtu - ipv4MinLength - tcpMinLength);
  }
  if (bytes[start] >>> 4 !== 6 || end - start < ipv6MinLength) return false;
  let protocol = bytes[start + 6];
  let at = start + ipv6MinLength;
  for (let i = 0; isIpv6Extension(protocol); i++) {
    const length = i < maxIpv6Extensions ? ipv6ExtensionLength(bytes, at, end, protocol) : -1;
    if (length < 0) return false;
    if (protocol === extensionFragment && (readUint16(bytes, at + 2) & 0xfff8) !== 0) return false;
    protocol = bytes[at];
    at += length;
  }
  return protocol === protocolTcp && clampSegment(bytes, at, end, mtu - ipv6MinLength - tcpMinLength);
}

function clampSegment(bytes: Uint8Array, tcpAt: number, end: number, most: number): boolean {
  if (end - tcpAt < tcpMinLength || (bytes[tcpAt + 13] & flagSyn) === 0) return false;
  const headerEnd = tcpAt + (bytes[tcpAt + 12] >>> 4) * 4;
  if (headerEnd > end) return false;
  let at = tcpAt + tcpMinLength;
  while (at + 1 < headerEnd && bytes[at] !== optionEnd) {
    if (bytes[at] === optionNoOperation) {
      at++;
      continue;
    }
    const length = bytes[at + 1];
    if (length < 2 || at + length > headerEnd) return false;
    if (bytes[at] === optionMaximumSegmentSize && length === 4) return lower(bytes, tcpAt, at + 2, most);
    at += length;
  }
  return false;
}

function lower(bytes: Uint8Array, tcpAt: number, at: number, most: number): boolean {
  const from = readUint16(bytes, at);
  if (from <= most) return false;
  writeUint16(bytes, at, most);
  const checksum = readUint16(bytes, tcpAt + 16);
  // Across two words the value adds to the sum with its bytes exchanged (RFC 1071 §2 B).
  const isOdd = ((at - tcpAt) & 1) === 1;
  const updated = isOdd
    ? updateChecksum16(checksum, exchanged(from), exchanged(most))
    : updateChecksum16(checksum, from, most);
  writeUint16(bytes, tcpAt + 16, updated);
  return true;
}

function exchanged(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
