/**
 * Whole frames of simulated hosts, put together from the emitters of agent/wire: ARP, and ICMP, TCP and UDP over IPv4
 * without options or fragments.
 */

import { writeBytes } from '../../agent/core/bytes.js';
import { type Arp, arpLength, emitArp } from '../../agent/wire/arp.js';
import {
  emitEthernet,
  ethernetHeaderLength,
  etherTypeArp,
  etherTypeIpv4,
} from '../../agent/wire/ethernet.js';
import { emitIcmp, type IcmpHeader, icmpLength } from '../../agent/wire/icmp.js';
import {
  emitIpv4,
  type Ipv4Header,
  ipv4MinLength,
  protocolIcmp,
  protocolTcp,
  protocolUdp,
} from '../../agent/wire/ipv4.js';
import { emitTcp, type TcpHeader, tcpLength } from '../../agent/wire/tcp.js';
import { emitUdp, type UdpHeader, udpLength } from '../../agent/wire/udp.js';

/** Who sends to whom. */
export interface Route {
  readonly srcMac: Uint8Array;
  readonly dstMac: Uint8Array;
  readonly srcAddress: Uint8Array;
  readonly dstAddress: Uint8Array;
}

const none = new Uint8Array(0);
/** RFC 1122 §3.2.1.7 as IANA recommends it today. */
const timeToLive = 64;
const transportAt = ethernetHeaderLength + ipv4MinLength;

export function arpFrame(dstMac: Uint8Array, arp: Arp): Uint8Array {
  const frame = new Uint8Array(ethernetHeaderLength + arpLength);
  const header = { dstMac, srcMac: arp.senderMac, tags: [], etherType: etherTypeArp };
  emitArp(arp, frame, emitEthernet(header, arpLength, frame, 0));
  return frame;
}

export function icmpFrame(route: Route, header: IcmpHeader, payload: Uint8Array): Uint8Array {
  const frame = ipv4Frame(route, protocolIcmp, icmpLength + payload.length);
  writeBytes(frame, transportAt + icmpLength, payload);
  emitIcmp(header, payload.length, frame, transportAt);
  return frame;
}

export function udpFrame(route: Route, header: UdpHeader, payload: Uint8Array): Uint8Array {
  const frame = ipv4Frame(route, protocolUdp, udpLength + payload.length);
  writeBytes(frame, transportAt + udpLength, payload);
  emitUdp(header, payload.length, route, frame, transportAt);
  return frame;
}

/** A segment without payload, options and urgent data. */
export function tcpFrame(
  route: Route,
  header: Omit<TcpHeader, 'window' | 'urgentPointer' | 'options'>,
): Uint8Array {
  const whole = { ...header, window: 65_535, urgentPointer: 0, options: [] };
  const frame = ipv4Frame(route, protocolTcp, tcpLength(whole));
  emitTcp(whole, 0, route, frame, transportAt);
  return frame;
}

/** A frame with room for `length` bytes of transport at `transportAt`. */
function ipv4Frame(route: Route, protocol: number, length: number): Uint8Array {
  const frame = new Uint8Array(transportAt + length);
  const header: Ipv4Header = {
    dscp: 0,
    ecn: 0,
    // RFC 6864 §4.1: a datagram that may not be fragmented needs no identification.
    identification: 0,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive,
    protocol,
    srcAddress: route.srcAddress,
    dstAddress: route.dstAddress,
    options: none,
  };
  const { dstMac, srcMac } = route;
  const at = emitEthernet(
    { dstMac, srcMac, tags: [], etherType: etherTypeIpv4 },
    frame.length - ethernetHeaderLength,
    frame,
    0,
  );
  emitIpv4(header, length, frame, at);
  return frame;
}
