/**
 * Ethernet frames out of UDP datagrams and back, for boards whose network hands over nothing else: so the power proxy's rules
 * about UDP, and what they ask of names (mDNS), work on what a UDP socket hears.
 *
 * A socket does not say which MAC address a datagram came from, nor to which address it went: `strangerMac` stands for every
 * sender; what came to the mDNS port went to its group, everything else to all. Of the frames the agent sends, magic packets
 * become a broadcast, IPv4 UDP a datagram; all others (ARP, TCP, IPv6) have no way out. Bounded by the datagram. No state.
 */

import { parseHex } from '../../agent/core/bytes.js';
import { formatAddress, parseIpv4Address } from '../../agent/wire/address.js';
import { mdnsPort } from '../../agent/wire/dns.js';
import {
  emitEthernet,
  ethernetHeaderLength,
  etherTypeIpv4,
  parseEthernet,
} from '../../agent/wire/ethernet.js';
import { emitIpv4, ipv4MinLength, parseIpv4, protocolUdp } from '../../agent/wire/ipv4.js';
import { emitUdp, parseUdp, udpLength } from '../../agent/wire/udp.js';
import { wakeOnLanEtherType, wakeOnLanPort } from '../../agent/wire/wol.js';

/** The group of multicast DNS (RFC 6762 §3), and the MAC address it has (RFC 1112 §6.4). */
export const mdnsGroup = '224.0.0.251';
const mdnsMac = '01005e0000fb';
const broadcastMac = 'ffffffffffff';
const broadcastAddress = '255.255.255.255';
/** Locally administered (IEEE 802 §8.4), so nobody's. */
const strangerMac = '026b697468ff';

export interface Heard {
  /** Of the sender, dotted. */
  readonly address: string;
  readonly port: number;
  /** Ours. */
  readonly dstPort: number;
  readonly payload: Uint8Array;
}

export interface Outgoing {
  /** Dotted; undefined: to all. */
  readonly address: string | undefined;
  readonly port: number;
  /** The port it must come from; 0: any. */
  readonly srcPort: number;
  readonly payload: Uint8Array;
}

/** A datagram as the frame it was, as far as can be told; undefined for an address that is not IPv4. */
export function frameOf({ address, port, dstPort, payload }: Heard): Uint8Array | undefined {
  const srcAddress = parseIpv4Address(address);
  if (!srcAddress) return undefined;
  const isMdns = dstPort === mdnsPort;
  const dstAddress = parseIpv4Address(isMdns ? mdnsGroup : broadcastAddress) as Uint8Array;
  const udpAt = ethernetHeaderLength + ipv4MinLength;
  const out = new Uint8Array(udpAt + udpLength + payload.length);
  out.set(payload, udpAt + udpLength);
  emitUdp({ srcPort: port, dstPort }, payload.length, { srcAddress, dstAddress }, out, udpAt);
  const packet = {
    dscp: 0,
    ecn: 0,
    identification: 0,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    // What mDNS demands of its senders (RFC 6762 §11); of others nobody asks.
    timeToLive: 255,
    protocol: protocolUdp,
    srcAddress,
    dstAddress,
    options: new Uint8Array(0),
  };
  emitIpv4(packet, udpLength + payload.length, out, ethernetHeaderLength);
  const link = {
    dstMac: parseHex(isMdns ? mdnsMac : broadcastMac) as Uint8Array,
    srcMac: parseHex(strangerMac) as Uint8Array,
    tags: [],
    etherType: etherTypeIpv4,
  };
  emitEthernet(link, out.length - ethernetHeaderLength, out, 0);
  return out;
}

/** What a frame becomes; undefined: there is no way to send it. Its payload is a view. */
export function outgoingOf(frame: Uint8Array): Outgoing | undefined {
  const link = parseEthernet(frame, 0, frame.length);
  if (!link.ok) return undefined;
  const { etherType, payload } = link.value;
  if (etherType === wakeOnLanEtherType)
    return { address: undefined, port: wakeOnLanPort, srcPort: 0, payload };
  if (etherType !== etherTypeIpv4) return undefined;
  const packet = parseIpv4(payload, 0, payload.length);
  if (!packet.ok || packet.value.protocol !== protocolUdp) return undefined;
  const udp = parseUdp(packet.value.payload, 0, packet.value.payload.length);
  if (!udp.ok) return undefined;
  return {
    address: formatAddress(packet.value.dstAddress),
    port: udp.value.dstPort,
    srcPort: udp.value.srcPort,
    payload: udp.value.payload,
  };
}
