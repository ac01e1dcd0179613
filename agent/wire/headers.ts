/**
 * Headers: where everything is in one frame, found once for all the rules that ask. Link, VLAN tags, PPPoE session,
 * ARP, IPv4, IPv6 with its extension headers, and the first bytes of ICMP, UDP and TCP; the layouts are those of
 * ethernet.ts, vlan.ts, pppoe.ts, arp.ts, ipv4.ts, ipv6.ts, icmp.ts, udp.ts and tcp.ts.
 *
 * One object serves every frame and allocates nothing. Every field is a small integer; −1 says that there is none.
 * Lengths and the IPv4 header's checksum are verified, as the parsers do; other checksums, options and the inside of
 * payloads are not. Bounded by `maxVlanTags` and `maxIpv6Extensions`.
 */

import { readUint16 } from '../core/bytes.js';
import { arpLength } from './arp.js';
import { internetChecksum } from './checksum.js';
import {
  ethernetHeaderLength,
  etherTypeArp,
  etherTypeIpv4,
  etherTypeIpv6,
  etherTypePppoeSession,
  maxEthernetLength,
  minEtherType,
} from './ethernet.js';
import { icmpLength } from './icmp.js';
import { ipv4MinLength, protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from './ipv4.js';
import {
  extensionAuthentication,
  extensionFragment,
  extensionHopByHop,
  ipv6ExtensionLength,
  ipv6MinLength,
  isIpv6Extension,
  maxIpv6Extensions,
} from './ipv6.js';
import { pppProtocol } from './ppp.js';
import {
  pppoeCode,
  pppoeCodeOffset,
  pppoeHeaderLength,
  pppoeLengthOffset,
  pppoeProtocolOffset,
  pppoeSessionHeaderLength,
  pppoeSessionIdOffset,
  pppoeVersionType,
} from './pppoe.js';
import type { Reason } from './reason.js';
import { tcpMinLength } from './tcp.js';
import { udpLength } from './udp.js';
import { isVlanTpid, maxVlanTags, reservedVlanId, vlanTagLength } from './vlan.js';

/** What `Headers.network` can be, beside 0 for anything else. */
export const networkArp = 1;
export const networkIpv4 = 4;
export const networkIpv6 = 6;

export class Headers {
  /** After the VLAN tags; up to 1500 it is the length of an 802.3 payload. −1 for a packet without a link header. */
  etherType = -1;
  vlanCount = 0;
  /** Of the outermost tag. */
  vlanId = -1;
  /** Of the tag within it. */
  innerVlanId = -1;
  /** Session id; the network layer is then what PPP carries. */
  pppoeSession = -1;
  /** `networkArp`, `networkIpv4`, `networkIpv6`, or 0: nothing is known of what stands at `l3Offset`. */
  network = 0;
  /** Behind the link header; of a PPPoE session, behind the PPP protocol number. */
  l3Offset = -1;
  /** Of the transport, behind IPv6 extension headers. */
  protocol = -1;
  /** In bytes. Not 0: `l4Offset` is the inside of a datagram, and ports, flags and ICMP fields are −1. */
  fragmentOffset = -1;
  l4Offset = -1;
  /** The end of the IP packet, before any Ethernet padding. */
  l4End = -1;
  srcPort = -1;
  dstPort = -1;
  tcpFlags = -1;
  icmpType = -1;
  icmpCode = -1;

  /**
   * Reads the frame `bytes[start, end)`, which begins with an Ethernet header. Anything but 'ok' is the reason to drop
   * it; the fields found before that stay, the others are as if absent.
   */
  scan(bytes: Uint8Array, start: number, end: number): Reason | 'ok' {
    this.clear();
    if (end - start < ethernetHeaderLength) return 'truncated';
    let at = start + ethernetHeaderLength;
    let etherType = readUint16(bytes, at - 2);
    while (isVlanTpid(etherType)) {
      if (this.vlanCount === maxVlanTags) return 'too-many';
      if (end - at < vlanTagLength) return 'truncated';
      const vlanId = readUint16(bytes, at) & 0xfff;
      if (vlanId === reservedVlanId) return 'bad-value';
      if (this.vlanCount === 0) this.vlanId = vlanId;
      else if (this.vlanCount === 1) this.innerVlanId = vlanId;
      this.vlanCount++;
      etherType = readUint16(bytes, at + 2);
      at += vlanTagLength;
    }
    this.etherType = etherType;
    this.l3Offset = at;
    switch (etherType) {
      case etherTypeIpv4:
        return this.scanIpv4(bytes, at, end);
      case etherTypeIpv6:
        return this.scanIpv6(bytes, at, end);
      case etherTypeArp:
        return this.scanArp(bytes, at, end);
      case etherTypePppoeSession:
        return this.scanPppoe(bytes, at, end);
    }
    if (etherType >= minEtherType) return 'ok';
    if (etherType > maxEthernetLength) return 'bad-type';
    return etherType > end - at ? 'truncated' : 'ok';
  }

  /** As `scan`, for links that carry bare IP packets (TUN, cellular). */
  scanIp(bytes: Uint8Array, start: number, end: number): Reason | 'ok' {
    this.clear();
    if (end - start < 1) return 'truncated';
    this.l3Offset = start;
    const version = bytes[start] >>> 4;
    if (version === 4) return this.scanIpv4(bytes, start, end);
    if (version === 6) return this.scanIpv6(bytes, start, end);
    return 'bad-version';
  }

  private clear(): void {
    this.etherType = -1;
    this.vlanCount = 0;
    this.vlanId = -1;
    this.innerVlanId = -1;
    this.pppoeSession = -1;
    this.network = 0;
    this.l3Offset = -1;
    this.protocol = -1;
    this.fragmentOffset = -1;
    this.l4Offset = -1;
    this.l4End = -1;
    this.srcPort = -1;
    this.dstPort = -1;
    this.tcpFlags = -1;
    this.icmpType = -1;
    this.icmpCode = -1;
  }

  private scanArp(bytes: Uint8Array, at: number, end: number): Reason | 'ok' {
    if (end - at < arpLength) return 'truncated';
    if (readUint16(bytes, at) !== 1 || readUint16(bytes, at + 2) !== etherTypeIpv4) return 'bad-type';
    if (bytes[at + 4] !== 6 || bytes[at + 5] !== 4) return 'bad-length';
    if (readUint16(bytes, at + 6) === 0) return 'bad-value';
    this.network = networkArp;
    return 'ok';
  }

  private scanPppoe(bytes: Uint8Array, at: number, end: number): Reason | 'ok' {
    if (end - at < pppoeHeaderLength) return 'truncated';
    if (bytes[at] !== pppoeVersionType) return 'bad-version';
    if (bytes[at + pppoeCodeOffset] !== pppoeCode.session) return 'bad-type';
    const length = readUint16(bytes, at + pppoeLengthOffset);
    if (length > end - at - pppoeHeaderLength) return 'truncated';
    if (length < pppoeSessionHeaderLength - pppoeProtocolOffset) return 'bad-length';
    this.pppoeSession = readUint16(bytes, at + pppoeSessionIdOffset);
    this.l3Offset = at + pppoeSessionHeaderLength;
    const payloadEnd = at + pppoeHeaderLength + length;
    switch (readUint16(bytes, at + pppoeProtocolOffset)) {
      case pppProtocol.ipv4:
        return this.scanIpv4(bytes, this.l3Offset, payloadEnd);
      case pppProtocol.ipv6:
        return this.scanIpv6(bytes, this.l3Offset, payloadEnd);
      default:
        return 'ok';
    }
  }

  private scanIpv4(bytes: Uint8Array, at: number, end: number): Reason | 'ok' {
    if (end - at < ipv4MinLength) return 'truncated';
    const first = bytes[at];
    if (first >>> 4 !== 4) return 'bad-version';
    const headerLength = (first & 15) * 4;
    const totalLength = readUint16(bytes, at + 2);
    if (headerLength < ipv4MinLength || totalLength < headerLength) return 'bad-length';
    if (totalLength > end - at) return 'truncated';
    const l4Offset = at + headerLength;
    if (internetChecksum(bytes, at, l4Offset) !== 0) return 'bad-checksum';
    const fragment = readUint16(bytes, at + 6);
    const protocol = bytes[at + 9];
    this.network = networkIpv4;
    this.protocol = protocol;
    this.fragmentOffset = (fragment & 0x1fff) * 8;
    this.l4Offset = l4Offset;
    this.l4End = at + totalLength;
    if ((fragment & 0x1fff) !== 0) return 'ok';
    if (protocol === protocolIcmp) return this.scanIcmp(bytes);
    return this.scanTransport(bytes, (fragment & 0x2000) !== 0);
  }

  private scanIpv6(bytes: Uint8Array, at: number, end: number): Reason | 'ok' {
    if (end - at < ipv6MinLength) return 'truncated';
    if (bytes[at] >>> 4 !== 6) return 'bad-version';
    const l4End = at + ipv6MinLength + readUint16(bytes, at + 4);
    if (l4End > end) return 'truncated';
    let protocol = bytes[at + 6];
    let l4Offset = at + ipv6MinLength;
    let fragmentOffset = 0;
    let moreFragments = false;
    for (let i = 0; fragmentOffset === 0 && isIpv6Extension(protocol); i++) {
      if (i === maxIpv6Extensions) return 'too-many';
      if (protocol === extensionHopByHop && i > 0) return 'bad-option';
      const length = ipv6ExtensionLength(bytes, l4Offset, l4End, protocol);
      if (length < 0) return 'truncated';
      if (protocol === extensionFragment) {
        fragmentOffset = readUint16(bytes, l4Offset + 2) & 0xfff8;
        moreFragments = (bytes[l4Offset + 3] & 1) !== 0;
      } else if (protocol === extensionAuthentication && length < 12) {
        return 'bad-length';
      }
      protocol = bytes[l4Offset];
      l4Offset += length;
    }
    this.network = networkIpv6;
    this.protocol = protocol;
    this.fragmentOffset = fragmentOffset;
    this.l4Offset = l4Offset;
    this.l4End = l4End;
    if (fragmentOffset !== 0) return 'ok';
    if (protocol === protocolIcmpv6) return this.scanIcmp(bytes);
    return this.scanTransport(bytes, moreFragments);
  }

  private scanIcmp(bytes: Uint8Array): Reason | 'ok' {
    if (this.l4End - this.l4Offset < icmpLength) return 'truncated';
    this.icmpType = bytes[this.l4Offset];
    this.icmpCode = bytes[this.l4Offset + 1];
    return 'ok';
  }

  /** Of a first fragment the header must be whole (RFC 1858 §3), but the rest of the datagram is elsewhere. */
  private scanTransport(bytes: Uint8Array, moreFragments: boolean): Reason | 'ok' {
    const at = this.l4Offset;
    const length = this.l4End - at;
    if (this.protocol === protocolTcp) {
      if (length < tcpMinLength) return 'truncated';
      const headerLength = (bytes[at + 12] >>> 4) * 4;
      if (headerLength < tcpMinLength) return 'bad-length';
      if (headerLength > length) return 'truncated';
      this.tcpFlags = bytes[at + 13];
    } else if (this.protocol === protocolUdp) {
      if (length < udpLength) return 'truncated';
      const datagramLength = readUint16(bytes, at + 4);
      if (datagramLength < udpLength) return 'bad-length';
      if (datagramLength > length && !moreFragments) return 'truncated';
    } else {
      return 'ok';
    }
    this.srcPort = readUint16(bytes, at);
    this.dstPort = readUint16(bytes, at + 2);
    return 'ok';
  }
}
