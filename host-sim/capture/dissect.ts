/**
 * One captured frame as a list of layers, outermost first, by the parsers of agent/wire.
 *
 * The next protocol is chosen by link type, EtherType, protocol number and well-known UDP port; what no parser here
 * knows is a layer `data`. It stops at the first layer a parser refuses. VLAN tags are layers of their own; a message
 * of Neighbor Discovery or MLD is a layer `ndp` or `mld` after its `icmpv6`; a DHCPv6 message that a relay agent passes
 * on is a layer after the relay agent's. Packets quoted in ICMP errors, fragments
 * and the inside of encrypted payloads are data.
 *
 * Of a frame that the capture cut short, headers are shown as far as they were captured; the first message that is not
 * there as a whole is refused as 'truncated', and checksums that cover missing bytes are not verified.
 */

import { readUint16, readUint32 } from '../../agent/core/bytes.js';
import { fail, ok, type Result } from '../../agent/core/result.js';
import { parseArp } from '../../agent/wire/arp.js';
import { parseCcp } from '../../agent/wire/ccp.js';
import { parseChap } from '../../agent/wire/chap.js';
import type { PseudoHeader } from '../../agent/wire/checksum.js';
import { dhcpClientPort, dhcpServerPort, parseDhcp } from '../../agent/wire/dhcp.js';
import { dhcpv6ClientPort, dhcpv6ServerPort, parseDhcpv6 } from '../../agent/wire/dhcpv6.js';
import { dnsPort, mdnsPort, parseDns } from '../../agent/wire/dns.js';
import {
  etherTypeArp,
  etherTypeIpv4,
  etherTypeIpv6,
  etherTypePppoeDiscovery,
  etherTypePppoeSession,
  parseEthernet,
} from '../../agent/wire/ethernet.js';
import { type Icmp, icmpType, parseIcmp } from '../../agent/wire/icmp.js';
import { type Icmpv6Carrier, icmpv6Type, parseIcmpv6 } from '../../agent/wire/icmpv6.js';
import { parseIgmp } from '../../agent/wire/igmp.js';
import { parseIpcp } from '../../agent/wire/ipcp.js';
import {
  parseIpv4,
  protocolIcmp,
  protocolIcmpv6,
  protocolIgmp,
  protocolTcp,
  protocolUdp,
} from '../../agent/wire/ipv4.js';
import { extensionFragment, extensionRouting, type Ipv6Header, parseIpv6 } from '../../agent/wire/ipv6.js';
import { parseIpv6cp } from '../../agent/wire/ipv6cp.js';
import { parseLcp } from '../../agent/wire/lcp.js';
import { llmnrPort, parseLlmnr } from '../../agent/wire/llmnr.js';
import { parseMld } from '../../agent/wire/mld.js';
import { nbnsPort, parseNbns } from '../../agent/wire/nbns.js';
import { parseNdp } from '../../agent/wire/ndp.js';
import { parsePap } from '../../agent/wire/pap.js';
import { parsePpp, pppProtocol } from '../../agent/wire/ppp.js';
import { parsePppoe, parsePppoeTags, pppoeCode } from '../../agent/wire/pppoe.js';
import type { Reason } from '../../agent/wire/reason.js';
import { parseSsdp, ssdpPort } from '../../agent/wire/ssdp.js';
import { parseTcp } from '../../agent/wire/tcp.js';
import { parseUdp } from '../../agent/wire/udp.js';
import { parseWakeOnLan, wakeOnLanEtherType, wakeOnLanPort } from '../../agent/wire/wol.js';
import { longestFrameBytes } from './pcap.js';

/** Echo (RFC 862), the other port tools send Wake-on-LAN to. */
const wakeOnLanEchoPort = 7;

/** LINKTYPE_ numbers (the registry of tcpdump.org) that can be dissected. */
export const linkType = {
  null: 0,
  ethernet: 1,
  ppp: 9,
  pppSerial: 50,
  pppEther: 51,
  raw: 101,
  loop: 108,
  linuxCooked: 113,
  ipv4: 228,
  ipv6: 229,
  linuxCooked2: 276,
} as const;

/** The fields are those of the protocol's own type in agent/wire, without `payload`; CHAP's `name` is `peerName`. */
export interface Layer {
  readonly name: string;
  readonly [field: string]: unknown;
}

export interface Dissection {
  readonly layers: readonly Layer[];
  /** The layer that was refused, and why. It is not among `layers`. */
  readonly error?: { readonly layer: string; readonly reason: Reason | `unsupported link type ${number}` };
}

export interface DissectOptions {
  /** Whether a wrong checksum of TCP or UDP is an error (true); a host that offloads them captures wrong ones. */
  readonly verifyChecksums?: boolean;
  /** Length on the wire, if the capture cut the frame short. */
  readonly originalLength?: number;
}

/** Dissects one frame of an interface of the given LINKTYPE_. Byte fields are views into `frame` or a copy of it. */
export function dissect(frame: Uint8Array, link: number, options: DissectOptions = {}): Dissection {
  const layers: Layer[] = [];
  const first = firstProtocol(link, frame);
  if (!first) return { layers, error: { layer: 'data', reason: `unsupported link type ${link}` } };
  const walk = new Walk(frame, link, options);
  let next: Next | undefined = { name: first, bytes: walk.bytes };
  while (next) {
    const found: Result<Found, Reason> = walk.parse(next);
    if (!found.ok) return { layers, error: { layer: next.name, reason: found.reason } };
    layers.push(...found.value.layers);
    next = found.value.next;
  }
  return { layers };
}

type Name =
  | 'ethernet'
  | 'sll'
  | 'loopback'
  | 'arp'
  | 'ipv4'
  | 'ipv6'
  | 'icmp'
  | 'icmpv6'
  | 'ndp'
  | 'mld'
  | 'igmp'
  | 'tcp'
  | 'udp'
  | 'dhcp'
  | 'dhcpv6'
  | 'dns'
  | 'mdns'
  | 'llmnr'
  | 'nbns'
  | 'ssdp'
  | 'wol'
  | 'pppoe'
  | 'ppp'
  | 'lcp'
  | 'ipcp'
  | 'ipv6cp'
  | 'ccp'
  | 'pap'
  | 'chap'
  | 'data';

interface Next {
  readonly name: Name;
  readonly bytes: Uint8Array;
}

interface Found {
  readonly layers: readonly Layer[];
  readonly next?: Next;
}

type Parser = (bytes: Uint8Array, walk: Walk) => Result<Found, Reason>;

/** The way through one frame: what inner layers need to know of outer ones. */
class Walk {
  /** The frame, with zeros in place of what the capture cut off. */
  readonly bytes: Uint8Array;
  readonly link: number;
  readonly verifyChecksums: boolean;
  /** Of the IP header last passed; absent where the checksum covers another destination than the header's. */
  carrier: Icmpv6Carrier | undefined;
  private readonly capturedEnd: number;

  constructor(
    frame: Uint8Array,
    link: number,
    { verifyChecksums = true, originalLength = frame.length }: DissectOptions,
  ) {
    this.link = link;
    this.verifyChecksums = verifyChecksums;
    this.bytes = frame;
    if (originalLength > frame.length) {
      this.bytes = new Uint8Array(Math.min(originalLength, longestFrameBytes));
      this.bytes.set(frame);
    }
    this.capturedEnd = this.bytes.byteOffset + frame.length;
  }

  parse({ name, bytes }: Next): Result<Found, Reason> {
    const found = parsers[name](bytes, this);
    if (this.isCaptured(bytes) || name === 'data') return found;
    // A header may lie within what was captured. A message, also one that carries another, does not.
    const payload = found.ok && name !== 'dhcpv6' ? found.value.next?.bytes : undefined;
    return payload && payload.byteOffset <= this.capturedEnd ? found : fail('truncated');
  }

  /** The pseudo-header to verify a transport's checksum with, if there is reason to. */
  pseudoHeader(segment: Uint8Array): PseudoHeader | undefined {
    return this.verifyChecksums && this.isCaptured(segment) ? this.carrier : undefined;
  }

  /** What the capture holds of `bytes`, a view into the frame. */
  captured(bytes: Uint8Array): Uint8Array {
    return bytes.subarray(0, this.capturedEnd - bytes.byteOffset);
  }

  private isCaptured(bytes: Uint8Array): boolean {
    return bytes.byteOffset + bytes.length <= this.capturedEnd;
  }
}

const parsers: { readonly [name in Name]: Parser } = {
  ethernet: bytes => {
    const ethernet = parseEthernet(bytes, 0, bytes.length);
    if (!ethernet.ok) return ethernet;
    const { tags, payload, ...header } = ethernet.value;
    const layers = [{ name: 'ethernet', ...header }, ...tags.map(tag => ({ name: 'vlan', ...tag }))];
    return ok({ layers, next: { name: byEtherType(header.etherType), bytes: payload } });
  },
  sll: (bytes, walk) => parseLinuxCooked(bytes, walk.link),
  loopback: (bytes, walk) => parseLoopback(bytes, walk.link),
  arp: bytes => message('arp', parseArp(bytes, 0, bytes.length)),
  ipv4: (bytes, walk) => {
    const ipv4 = parseIpv4(bytes, 0, bytes.length);
    if (!ipv4.ok) return ipv4;
    const { payload, ...header } = ipv4.value;
    walk.carrier = { ...header, hopLimit: header.timeToLive };
    const isWhole = !header.moreFragments && header.fragmentOffset === 0;
    const name = (isWhole && ipv4Protocols[header.protocol]) || 'data';
    return ok({ layers: [{ name: 'ipv4', ...header }], next: { name, bytes: payload } });
  },
  ipv6: (bytes, walk) => {
    const ipv6 = parseIpv6(bytes, 0, bytes.length);
    if (!ipv6.ok) return ipv6;
    const { payload, ...header } = ipv6.value;
    walk.carrier = isRoutedFurther(header) ? undefined : header;
    const name = (!isFragment(header) && ipv6Protocols[header.protocol]) || 'data';
    return ok({ layers: [{ name: 'ipv6', ...header }], next: { name, bytes: payload } });
  },
  icmp: bytes => {
    const icmp = parseIcmp(bytes, 0, bytes.length);
    if (!icmp.ok) return icmp;
    const { type, code, payload } = icmp.value;
    const layer = { name: 'icmp', type, code, ...icmpRest(icmp.value) };
    return ok({ layers: [layer], next: { name: 'data', bytes: payload } });
  },
  icmpv6: (bytes, walk) => {
    const icmpv6 = parseIcmpv6(bytes, 0, bytes.length, walk.carrier);
    if (!icmpv6.ok) return icmpv6;
    const { type, code, payload } = icmpv6.value;
    const name = isNdp(type) ? 'ndp' : isMld(type) ? 'mld' : undefined;
    if (name) return ok({ layers: [{ name: 'icmpv6', type, code }], next: { name, bytes } });
    const layer = { name: 'icmpv6', type, code, ...icmpv6Rest(icmpv6.value) };
    return ok({ layers: [layer], next: { name: 'data', bytes: payload } });
  },
  ndp: (bytes, walk) => message('ndp', parseNdp(bytes, 0, bytes.length, walk.carrier)),
  mld: (bytes, walk) => message('mld', parseMld(bytes, 0, bytes.length, walk.carrier)),
  igmp: bytes => message('igmp', parseIgmp(bytes, 0, bytes.length)),
  tcp: (bytes, walk) => {
    const tcp = parseTcp(bytes, 0, bytes.length, walk.pseudoHeader(bytes));
    if (!tcp.ok) return tcp;
    const { payload, ...header } = tcp.value;
    return ok({ layers: [{ name: 'tcp', ...header }], next: { name: 'data', bytes: payload } });
  },
  udp: (bytes, walk) => {
    const udp = parseUdp(bytes, 0, bytes.length, walk.pseudoHeader(bytes));
    if (!udp.ok) return udp;
    const { payload, ...header } = udp.value;
    const known = udpPorts[header.dstPort] ?? udpPorts[header.srcPort] ?? 'data';
    // Wake-on-LAN borrows the ports of echo and discard, which carry anything.
    const isOther = known === 'wol' && !parseWakeOnLan(payload, 0, payload.length).ok;
    const name = isOther || payload.length === 0 ? 'data' : known;
    return ok({ layers: [{ name: 'udp', ...header }], next: { name, bytes: payload } });
  },
  dhcp: bytes => message('dhcp', parseDhcp(bytes, 0, bytes.length)),
  dhcpv6: bytes => {
    const dhcpv6 = parseDhcpv6(bytes, 0, bytes.length);
    if (!dhcpv6.ok) return dhcpv6;
    const layers = [{ name: 'dhcpv6', ...dhcpv6.value }];
    const relayed = dhcpv6.value.options.find(option => option.kind === 'relay-message');
    return ok(relayed ? { layers, next: { name: 'dhcpv6', bytes: relayed.message } } : { layers });
  },
  dns: bytes => message('dns', parseDns(bytes, 0, bytes.length)),
  mdns: bytes => message('mdns', parseDns(bytes, 0, bytes.length)),
  llmnr: bytes => message('llmnr', parseLlmnr(bytes, 0, bytes.length)),
  nbns: bytes => message('nbns', parseNbns(bytes, 0, bytes.length)),
  ssdp: bytes => message('ssdp', parseSsdp(bytes, 0, bytes.length)),
  wol: bytes => message('wol', parseWakeOnLan(bytes, 0, bytes.length)),
  pppoe: bytes => {
    const pppoe = parsePppoe(bytes, 0, bytes.length);
    if (!pppoe.ok) return pppoe;
    const { payload, ...header } = pppoe.value;
    if (header.code === pppoeCode.session)
      return ok({ layers: [{ name: 'pppoe', ...header }], next: { name: 'ppp', bytes: payload } });
    const tags = parsePppoeTags(payload, 0, payload.length);
    return tags.ok ? ok({ layers: [{ name: 'pppoe', ...header, tags: tags.value }] }) : tags;
  },
  ppp: bytes => {
    const ppp = parsePpp(bytes, 0, bytes.length);
    if (!ppp.ok) return ppp;
    const { payload, ...header } = ppp.value;
    const name = pppProtocols[header.protocol] ?? 'data';
    return ok({ layers: [{ name: 'ppp', ...header }], next: { name, bytes: payload } });
  },
  lcp: bytes => message('lcp', parseLcp(bytes, 0, bytes.length)),
  ipcp: bytes => message('ipcp', parseIpcp(bytes, 0, bytes.length)),
  ipv6cp: bytes => message('ipv6cp', parseIpv6cp(bytes, 0, bytes.length)),
  ccp: bytes => message('ccp', parseCcp(bytes, 0, bytes.length)),
  pap: bytes => message('pap', parsePap(bytes, 0, bytes.length)),
  chap: bytes => {
    const chap = parseChap(bytes, 0, bytes.length);
    if (!chap.ok || !('name' in chap.value)) return message('chap', chap);
    const { name, ...rest } = chap.value;
    return ok({ layers: [{ name: 'chap', ...rest, peerName: name }] });
  },
  data: (bytes, walk) => {
    const layer = { name: 'data', length: bytes.length, bytes: walk.captured(bytes) };
    return ok({ layers: bytes.length === 0 ? [] : [layer] });
  },
};

const ipv4Protocols: { readonly [protocol: number]: Name } = {
  [protocolIcmp]: 'icmp',
  [protocolIgmp]: 'igmp',
  [protocolTcp]: 'tcp',
  [protocolUdp]: 'udp',
};

const ipv6Protocols: { readonly [protocol: number]: Name } = {
  [protocolIcmpv6]: 'icmpv6',
  [protocolTcp]: 'tcp',
  [protocolUdp]: 'udp',
};

const udpPorts: { readonly [port: number]: Name } = {
  [dnsPort]: 'dns',
  [mdnsPort]: 'mdns',
  [llmnrPort]: 'llmnr',
  [nbnsPort]: 'nbns',
  [dhcpServerPort]: 'dhcp',
  [dhcpClientPort]: 'dhcp',
  [dhcpv6ClientPort]: 'dhcpv6',
  [dhcpv6ServerPort]: 'dhcpv6',
  [ssdpPort]: 'ssdp',
  [wakeOnLanEchoPort]: 'wol',
  [wakeOnLanPort]: 'wol',
};

const pppProtocols: { readonly [protocol: number]: Name } = {
  [pppProtocol.ipv4]: 'ipv4',
  [pppProtocol.ipv6]: 'ipv6',
  [pppProtocol.lcp]: 'lcp',
  [pppProtocol.ipcp]: 'ipcp',
  [pppProtocol.ipv6cp]: 'ipv6cp',
  [pppProtocol.ccp]: 'ccp',
  [pppProtocol.pap]: 'pap',
  [pppProtocol.chap]: 'chap',
};

const etherTypes: { readonly [etherType: number]: Name } = {
  [etherTypeIpv4]: 'ipv4',
  [etherTypeArp]: 'arp',
  [etherTypeIpv6]: 'ipv6',
  [etherTypePppoeDiscovery]: 'pppoe',
  [etherTypePppoeSession]: 'pppoe',
  [wakeOnLanEtherType]: 'wol',
};

function byEtherType(etherType: number): Name {
  return etherTypes[etherType] ?? 'data';
}

function firstProtocol(link: number, frame: Uint8Array): Name | undefined {
  switch (link) {
    case linkType.ethernet:
      return 'ethernet';
    case linkType.null:
    case linkType.loop:
      return 'loopback';
    case linkType.linuxCooked:
    case linkType.linuxCooked2:
      return 'sll';
    case linkType.raw:
      return frame[0] >>> 4 === 6 ? 'ipv6' : 'ipv4';
    case linkType.ipv4:
      return 'ipv4';
    case linkType.ipv6:
      return 'ipv6';
    case linkType.ppp:
      return 'ppp';
    case linkType.pppSerial:
      // The alternative is Cisco's framing, which is not PPP.
      return frame.length === 0 || frame[0] === 0xff ? 'ppp' : 'data';
    case linkType.pppEther:
      return 'pppoe';
    default:
      return undefined;
  }
}

function message(name: string, result: Result<object, Reason>): Result<Found, Reason> {
  return result.ok ? ok({ layers: [{ name, ...result.value }] }) : result;
}

/**
 * Linux's "cooked" headers (LINKTYPE_LINUX_SLL and _SLL2), which replace the link's own:
 *
 *     0  packet type    2  ARPHRD_ type    4  address length    6  address, 8 bytes                   14  protocol
 *     0  protocol       4  interface index     8  ARPHRD_ type     10  packet type    11  address length    12  address
 */
function parseLinuxCooked(bytes: Uint8Array, link: number): Result<Found, Reason> {
  const isFirst = link === linkType.linuxCooked;
  const headerLength = isFirst ? 16 : 20;
  if (bytes.length < headerLength) return fail('truncated');
  const addressLength = isFirst ? readUint16(bytes, 4) : bytes[11];
  const addressAt = isFirst ? 6 : 12;
  const address = bytes.subarray(addressAt, addressAt + Math.min(addressLength, 8));
  const protocol = readUint16(bytes, isFirst ? 14 : 0);
  const layer = {
    name: 'sll',
    packetType: isFirst ? readUint16(bytes, 0) : bytes[10],
    hardwareType: readUint16(bytes, isFirst ? 2 : 8),
    ...(isFirst ? {} : { interfaceIndex: readUint32(bytes, 4) }),
    srcMac: address,
    protocol,
  };
  const next = { name: byEtherType(protocol), bytes: bytes.subarray(headerLength) };
  return ok({ layers: [layer], next });
}

/**
 * LINKTYPE_NULL and _LOOP: an address family in 4 bytes, in LINKTYPE_NULL in the order of the machine that captured.
 * All families are small numbers, so the order shows.
 */
function parseLoopback(bytes: Uint8Array, link: number): Result<Found, Reason> {
  if (bytes.length < 4) return fail('truncated');
  const inOrder = readUint32(bytes, 0);
  const isSwapped = link === linkType.null && inOrder > 0xffff;
  const family = isSwapped ? (bytes[3] << 24) | (bytes[2] << 16) | (bytes[1] << 8) | bytes[0] : inOrder;
  // AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24, 28 and 30 on the BSDs and macOS.
  const name = family === 2 ? 'ipv4' : [10, 24, 28, 30].includes(family) ? 'ipv6' : 'data';
  return ok({ layers: [{ name: 'loopback', family }], next: { name, bytes: bytes.subarray(4) } });
}

function isFragment({ extensions }: Ipv6Header): boolean {
  return extensions.some(
    extension =>
      extension.protocol === extensionFragment && (extension.moreFragments || extension.fragmentOffset > 0),
  );
}

/** Whether a routing header names the final destination, which the checksum covers (RFC 8200 §8.1). */
function isRoutedFurther({ extensions }: Ipv6Header): boolean {
  return extensions.some(extension => extension.protocol === extensionRouting && extension.data[1] > 0);
}

function isNdp(type: number): boolean {
  return type >= 133 && type <= 137;
}

function isMld(type: number): boolean {
  return (type >= 130 && type <= 132) || type === 143;
}

/** The second word of an ICMP message by its type (RFC 792, RFC 1191 §4). */
function icmpRest({ type, code, rest }: Icmp): object {
  switch (type) {
    case icmpType.echo:
    case icmpType.echoReply:
    case icmpType.timestamp:
    case icmpType.timestampReply:
      return echoRest(rest);
    case icmpType.redirect:
      return { gatewayAddress: Uint8Array.of(rest >>> 24, rest >>> 16, rest >>> 8, rest) };
    case icmpType.parameterProblem:
      return { pointer: rest >>> 24 };
    case icmpType.destinationUnreachable:
      return code === 4 ? { mtu: rest & 0xffff } : {};
    case icmpType.timeExceeded:
      return {};
    default:
      return { rest };
  }
}

/** The second word of an ICMPv6 message by its type (RFC 4443 §3, §4). */
function icmpv6Rest({ type, rest }: Icmp): object {
  switch (type) {
    case icmpv6Type.echoRequest:
    case icmpv6Type.echoReply:
      return echoRest(rest);
    case icmpv6Type.packetTooBig:
      return { mtu: rest };
    case icmpv6Type.parameterProblem:
      return { pointer: rest };
    case icmpv6Type.destinationUnreachable:
    case icmpv6Type.timeExceeded:
      return {};
    default:
      return { rest };
  }
}

function echoRest(rest: number): object {
  return { identifier: rest >>> 16, sequenceNumber: rest & 0xffff };
}
