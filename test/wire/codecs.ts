/** The codecs of this folder's tests, each as parse and emit of the whole thing; a container's payload is copied first. */

import * as assert from 'uvu/assert';
import { writeBytes } from '../../agent/core/bytes.js';
import { type Arp, emitArp, parseArp } from '../../agent/wire/arp.js';
import type { PseudoHeader } from '../../agent/wire/checksum.js';
import { type Ethernet, emitEthernet, ethernetLength, parseEthernet } from '../../agent/wire/ethernet.js';
import { emitIcmp, type Icmp, icmpLength, parseIcmp } from '../../agent/wire/icmp.js';
import { emitIcmpv6, type Icmpv6Carrier, parseIcmpv6 } from '../../agent/wire/icmpv6.js';
import { emitIgmp, type Igmp, igmpLength, parseIgmp } from '../../agent/wire/igmp.js';
import { emitIpv4, type Ipv4, ipv4HeaderLength, parseIpv4 } from '../../agent/wire/ipv4.js';
import { emitIpv6, type Ipv6, ipv6HeaderLength, parseIpv6 } from '../../agent/wire/ipv6.js';
import { emitMld, type Mld, mldLength, parseMld } from '../../agent/wire/mld.js';
import { emitNdp, type Ndp, ndpLength, parseNdp } from '../../agent/wire/ndp.js';
import { emitTcp, parseTcp, type Tcp, tcpLength } from '../../agent/wire/tcp.js';
import { emitUdp, parseUdp, type Udp, udpLength } from '../../agent/wire/udp.js';
import type { Codec } from './vectors.js';

export const arpCodec: Codec<Arp> = { parse: parseArp, emit: emitArp };

export const ethernetCodec: Codec<Ethernet> = {
  parse: parseEthernet,
  emit: (ethernet, out, at) =>
    container(ethernet, ethernetLength(ethernet), out, at, length => emitEthernet(ethernet, length, out, at)),
};

export const ipv4Codec: Codec<Ipv4> = {
  parse: parseIpv4,
  emit: (ipv4, out, at) =>
    container(ipv4, ipv4HeaderLength(ipv4), out, at, length => emitIpv4(ipv4, length, out, at)),
};

export const ipv6Codec: Codec<Ipv6> = {
  parse: parseIpv6,
  emit: (ipv6, out, at) =>
    container(ipv6, ipv6HeaderLength(ipv6), out, at, length => emitIpv6(ipv6, length, out, at)),
};

export const icmpCodec: Codec<Icmp> = {
  parse: parseIcmp,
  emit: (icmp, out, at) => container(icmp, icmpLength, out, at, length => emitIcmp(icmp, length, out, at)),
};

export const igmpCodec: Codec<Igmp> = {
  parse: parseIgmp,
  emit: (igmp, out, at) => whole(at + igmpLength(igmp), emitIgmp(igmp, out, at)),
};

/** These verify checksums, and of NDP and MLD what else depends on the carrier, unless `unverified`. */
export function udpCodec(pseudoHeader: PseudoHeader, unverified?: 'unverified'): Codec<Udp> {
  return {
    parse: (bytes, start, end) => parseUdp(bytes, start, end, unverified ? undefined : pseudoHeader),
    emit: (udp, out, at) =>
      container(udp, udpLength, out, at, length => emitUdp(udp, length, pseudoHeader, out, at)),
  };
}

export function tcpCodec(pseudoHeader: PseudoHeader, unverified?: 'unverified'): Codec<Tcp> {
  return {
    parse: (bytes, start, end) => parseTcp(bytes, start, end, unverified ? undefined : pseudoHeader),
    emit: (tcp, out, at) =>
      container(tcp, tcpLength(tcp), out, at, length => emitTcp(tcp, length, pseudoHeader, out, at)),
  };
}

export function icmpv6Codec(pseudoHeader: PseudoHeader, unverified?: 'unverified'): Codec<Icmp> {
  return {
    parse: (bytes, start, end) => parseIcmpv6(bytes, start, end, unverified ? undefined : pseudoHeader),
    emit: (icmp, out, at) =>
      container(icmp, icmpLength, out, at, length => emitIcmpv6(icmp, length, pseudoHeader, out, at)),
  };
}

export function ndpCodec(carrier: Icmpv6Carrier, unverified?: 'unverified'): Codec<Ndp> {
  return {
    parse: (bytes, start, end) => parseNdp(bytes, start, end, unverified ? undefined : carrier),
    emit: (ndp, out, at) => whole(at + ndpLength(ndp), emitNdp(ndp, carrier, out, at)),
  };
}

export function mldCodec(carrier: Icmpv6Carrier, unverified?: 'unverified'): Codec<Mld> {
  return {
    parse: (bytes, start, end) => parseMld(bytes, start, end, unverified ? undefined : carrier),
    emit: (mld, out, at) => whole(at + mldLength(mld), emitMld(mld, carrier, out, at)),
  };
}

/** Copies the payload where it belongs, then has the header written before it; returns the offset after both. */
function container(
  value: { readonly payload: Uint8Array },
  headerLength: number,
  out: Uint8Array,
  at: number,
  emitHeader: (payloadLength: number) => number,
): number {
  const end = writeBytes(out, at + headerLength, value.payload);
  whole(at + headerLength, emitHeader(value.payload.length));
  return end;
}

function whole(announced: number, written: number): number {
  assert.is(written, announced, 'as long as announced');
  return written;
}
