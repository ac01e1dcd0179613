/**
 * What every responder does alike: it looks at who asks (RFC 1122 §3.2.1.3, RFC 4291 §2.7 for sources nobody may have)
 * and puts its answer into a frame for the VLAN the question came in (IEEE 802.1Q).
 *
 * What is refused is refused on bytes and numbers where that is possible; objects are made for a question only.
 */

import { copyBytes, sameBytes, writeBytes } from '../../core/bytes.js';
import { fail, ok, type Result } from '../../core/result.js';
import type { Link } from '../../port/platform.js';
import { ipv4Length } from '../../wire/address.js';
import { mdnsPort } from '../../wire/dns.js';
import {
  type EthernetHeader,
  emitEthernet,
  ethernetLength,
  type etherTypeArp,
  etherTypeIpv4,
  etherTypeIpv6,
} from '../../wire/ethernet.js';
import { networkIpv4, networkIpv6 } from '../../wire/headers.js';
import {
  emitIpv4,
  type Ipv4,
  type Ipv4Header,
  ipv4HeaderLength,
  parseIpv4,
  protocolUdp,
} from '../../wire/ipv4.js';
import {
  emitIpv6,
  extensionFragment,
  type Ipv6,
  type Ipv6Header,
  ipv6HeaderLength,
  isIpv6LinkLocal,
  isIpv6Multicast,
  isIpv6Unspecified,
  parseIpv6,
} from '../../wire/ipv6.js';
import { emitUdp, parseUdp, udpLength } from '../../wire/udp.js';
import { llmnrPort, ssdpPort } from '../../wire/udp-ports.js';
import { parseVlanTags, type VlanTag } from '../../wire/vlan.js';
import type { Question, Served } from '../responder.js';

/** Why a question gets no answer. */
export type Refusal =
  /** Another protocol, an answer or an announcement: nothing that asks. */
  | 'not-a-question'
  /** For an address, a name or a group that the host does not have. */
  | 'not-ours'
  /** The bytes are damaged, or break a rule of the protocol. */
  | 'malformed'
  /** A fragment: the question is not all there, or should have been. */
  | 'fragment'
  /** There is nobody an answer could go to: the source is a group, nobody, or claims to be the host. */
  | 'bad-source'
  /** It is the host itself, or this agent, who asks. */
  | 'own-frame';

/** IPv4 time to live and IPv6 hop limit of an answer that may cross routers (IANA, IP parameters: recommended). */
export const defaultTimeToLive = 64;
/** Ethernet's MTU (RFC 894, RFC 2464 §2): no answer makes a longer IP packet. */
export const maxPacketLength = 1500;

/** Takes one frame of the answer. */
export type Send = (frame: Uint8Array) => void;

/** Where an answer leaves to. */
export interface Way {
  readonly link: Link;
  readonly tags: readonly VlanTag[];
  readonly dstMac: Uint8Array;
}

/** A UDP question. Arrays are views into the frame. */
export interface Datagram {
  readonly srcAddress: Uint8Array;
  readonly dstAddress: Uint8Array;
  readonly srcPort: number;
  /** Or the hop limit. */
  readonly timeToLive: number;
  readonly payload: Uint8Array;
}

/** Why nobody on this link may be answered; `undefined` if the sender may. */
export function linkRefusal({ frame, headers, link, host }: Question): Refusal | undefined {
  // A packet without a link header, or within a PPPoE session, asks no host of this segment.
  if (headers.etherType < 0 || headers.pppoeSession >= 0) return 'not-a-question';
  if (isGroupMac(frame, 6) || isNobody(frame, 6)) return 'bad-source';
  if (holds(frame, 6, link.mac) || holds(frame, 6, host.mac)) return 'own-frame';
  if (!isGroupMac(frame, 0) && !holds(frame, 0, host.mac) && !holds(frame, 0, link.mac)) return 'not-ours';
  return undefined;
}

/** The whole IPv4 packet that asks, from somebody. */
export function readIpv4(question: Question): Result<Ipv4, Refusal> {
  const { frame, headers, host } = question;
  if (headers.network !== networkIpv4) return fail('not-a-question');
  const refusal = linkRefusal(question);
  if (refusal) return fail(refusal);
  const packet = parseIpv4(frame, headers.l3Offset, frame.length);
  if (!packet.ok) return fail('malformed');
  const { moreFragments, fragmentOffset, srcAddress } = packet.value;
  if (moreFragments || fragmentOffset > 0) return fail('fragment');
  if (isIpv4Group(srcAddress) || srcAddress[0] === 127 || includes(host.ipv4, srcAddress))
    return fail('bad-source');
  return ok(packet.value);
}

/** The whole IPv6 packet that asks; who has no address yet may ask (RFC 4862 §5.4.2). */
export function readIpv6(question: Question): Result<Ipv6, Refusal> {
  const { frame, headers, host } = question;
  if (headers.network !== networkIpv6) return fail('not-a-question');
  const refusal = linkRefusal(question);
  if (refusal) return fail(refusal);
  const packet = parseIpv6(frame, headers.l3Offset, frame.length);
  if (!packet.ok) return fail('malformed');
  const { extensions, srcAddress } = packet.value;
  if (extensions.some(({ protocol }) => protocol === extensionFragment)) return fail('fragment');
  if (isIpv6Multicast(srcAddress) || isLoopback(srcAddress) || includes(host.ipv6, srcAddress))
    return fail('bad-source');
  return ok(packet.value);
}

/** The UDP datagram to `port` that asks, its checksum verified, from an address that can be answered. */
export function readDatagram(question: Question, port: number): Result<Datagram, Refusal> {
  const { headers } = question;
  if (headers.protocol !== protocolUdp || headers.dstPort !== port) return fail('not-a-question');
  const packet = headers.network === networkIpv4 ? readIpv4(question) : readIpv6(question);
  if (!packet.ok) return packet;
  const { srcAddress, dstAddress, payload } = packet.value;
  if (isUnspecified(srcAddress)) return fail('bad-source');
  const udp = parseUdp(payload, 0, payload.length, { srcAddress, dstAddress });
  if (!udp.ok) return fail('malformed');
  if (isServicePort(udp.value.srcPort) && udp.value.srcPort !== port) return fail('bad-source');
  return ok({
    srcAddress,
    dstAddress,
    srcPort: udp.value.srcPort,
    timeToLive: 'hopLimit' in packet.value ? packet.value.hopLimit : packet.value.timeToLive,
    payload: udp.value.payload,
  });
}

/** Back to whoever asked, or on to another MAC; it may be kept after the call. */
export function wayBack({ frame, link }: Question, dstMac?: Uint8Array): Way {
  const tags = parseVlanTags(frame, 12, frame.length);
  return {
    link,
    tags: tags.ok ? tags.value : [],
    dstMac: dstMac ? copyBytes(dstMac, 0, dstMac.length) : copyBytes(frame, 6, 12),
  };
}

/** The same link and VLAN, to a group. */
export function wayToGroup({ link, tags }: Pick<Way, 'link' | 'tags'>, group: Uint8Array): Way {
  return { link, tags, dstMac: groupMac(group) };
}

/** An Ethernet frame around `length` bytes, which `write` puts where it is told. */
export function etherFrame(
  way: Way,
  etherType: typeof etherTypeArp | typeof etherTypeIpv4 | typeof etherTypeIpv6,
  length: number,
  write: (out: Uint8Array, at: number) => void,
): Uint8Array {
  const header: EthernetHeader = { dstMac: way.dstMac, srcMac: way.link.mac, tags: way.tags, etherType };
  const out = new Uint8Array(ethernetLength(header) + length);
  write(out, emitEthernet(header, length, out, 0));
  return out;
}

/** What a responder says of an IPv4 packet; the rest is as RFC 6864 §4 asks of a packet that is never fragmented. */
export type Ipv4Parts = Pick<Ipv4Header, 'srcAddress' | 'dstAddress' | 'protocol' | 'timeToLive'> &
  Partial<Pick<Ipv4Header, 'dscp' | 'options'>>;

/** An IPv4 packet in its frame; `write` puts the payload of `length` bytes where it is told, before the header is made. */
export function ipv4Frame(
  way: Way,
  parts: Ipv4Parts,
  length: number,
  write: (out: Uint8Array, at: number) => void,
): Uint8Array {
  const header: Ipv4Header = {
    dscp: 0,
    ecn: 0,
    identification: 0,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    options: new Uint8Array(0),
    ...parts,
  };
  const headerLength = ipv4HeaderLength(header);
  return etherFrame(way, etherTypeIpv4, headerLength + length, (out, at) => {
    write(out, at + headerLength);
    emitIpv4(header, length, out, at);
  });
}

export type Ipv6Parts = Pick<Ipv6Header, 'srcAddress' | 'dstAddress' | 'protocol' | 'hopLimit'> &
  Partial<Pick<Ipv6Header, 'dscp' | 'extensions'>>;

/** As `ipv4Frame`. */
export function ipv6Frame(
  way: Way,
  parts: Ipv6Parts,
  length: number,
  write: (out: Uint8Array, at: number) => void,
): Uint8Array {
  const header: Ipv6Header = { dscp: 0, ecn: 0, flowLabel: 0, extensions: [], ...parts };
  const headerLength = ipv6HeaderLength(header);
  return etherFrame(way, etherTypeIpv6, headerLength + length, (out, at) => {
    write(out, at + headerLength);
    emitIpv6(header, length, out, at);
  });
}

export interface DatagramParts {
  readonly srcAddress: Uint8Array;
  readonly dstAddress: Uint8Array;
  readonly srcPort: number;
  readonly dstPort: number;
  /** Or the hop limit. */
  readonly timeToLive: number;
}

/** A UDP datagram in its frame, of IPv4 or IPv6 as the addresses are. */
export function udpFrame(way: Way, parts: DatagramParts, payload: Uint8Array): Uint8Array {
  const length = udpLength + payload.length;
  const { timeToLive, ...addresses } = parts;
  const write = (out: Uint8Array, at: number) => {
    writeBytes(out, at + udpLength, payload);
    emitUdp(parts, payload.length, parts, out, at);
  };
  const { srcAddress, dstAddress } = addresses;
  return srcAddress.length === ipv4Length
    ? ipv4Frame(way, { srcAddress, dstAddress, protocol: protocolUdp, timeToLive }, length, write)
    : ipv6Frame(way, { srcAddress, dstAddress, protocol: protocolUdp, hopLimit: timeToLive }, length, write);
}

/** Those of the host's addresses that are as long as this one. */
export function ownAddresses(host: Served, like: Uint8Array): readonly Uint8Array[] {
  return like.length === ipv4Length ? host.ipv4 : host.ipv6;
}

/** The host's address to answer `address` from: link-local to link-local and to groups, where it has one (RFC 6724 §5). */
export function ownAddressFor(host: Served, address: Uint8Array): Uint8Array | undefined {
  const own = ownAddresses(host, address);
  const isNear = address.length !== ipv4Length && (isIpv6LinkLocal(address) || isIpv6Multicast(address));
  return own.find(each => isIpv6LinkLocal(each) === isNear) ?? own[0];
}

export function includes(addresses: readonly Uint8Array[], address: Uint8Array): boolean {
  return addresses.some(each => sameBytes(each, address));
}

/** Multicast, reserved and the limited broadcast, 224.0.0.0 … 255.255.255.255 (RFC 1112 §4, RFC 919 §7). */
export function isIpv4Group(address: Uint8Array): boolean {
  return address[0] >= 224;
}

/** 0.0.0.0 or `::`. */
export function isUnspecified(address: Uint8Array): boolean {
  return isIpv6Unspecified(address);
}

/** The lowest bit of the first byte (IEEE 802 §8.2) of the MAC at `at`. */
export function isGroupMac(bytes: Uint8Array, at: number): boolean {
  return (bytes[at] & 1) !== 0;
}

/** The MAC an IP group's frames go to (RFC 1112 §6.4; RFC 2464 §7). */
export function groupMac(group: Uint8Array): Uint8Array {
  const mac = new Uint8Array(6);
  if (group.length === ipv4Length) {
    mac[0] = 1;
    mac[2] = 0x5e;
    mac.set(group.subarray(1), 3);
    mac[3] &= 0x7f;
  } else {
    mac.fill(0x33, 0, 2);
    mac.set(group.subarray(12), 2);
  }
  return mac;
}

/** ff02::1 (RFC 4291 §2.7.1). */
export function allNodes(): Uint8Array {
  const address = new Uint8Array(16);
  address[0] = 0xff;
  address[1] = 2;
  address[15] = 1;
  return address;
}

/**
 * A system port (RFC 6335 §6), or that of another protocol answered here: no client asks from one, and an answer sent there
 * would be a message to a service.
 */
function isServicePort(port: number): boolean {
  return port < 1024 || port === mdnsPort || port === llmnrPort || port === ssdpPort;
}

function isNobody(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + 6; i++) if (bytes[i] !== 0) return false;
  return true;
}

function isLoopback(address: Uint8Array): boolean {
  return address[15] === 1 && isIpv6Unspecified(address.subarray(0, 15));
}

/** Whether `part` stands at `at`. */
function holds(bytes: Uint8Array, at: number, part: Uint8Array): boolean {
  for (let i = 0; i < part.length; i++) if (bytes[at + i] !== part[i]) return false;
  return true;
}
