/**
 * What a host says of itself while it is awake, put down in its profile for the responders to repeat while it sleeps: ARP (RFC
 * 826), Neighbour Discovery (RFC 4861, RFC 4862), IGMP and MLD reports, multicast DNS (learn-mdns.ts), LLMNR, NetBIOS name
 * registrations, SSDP notifications, TCP connections (learn-tcp.ts), leases (learn-lease.ts), NAT keep-alives, SNMP.
 *
 * An address is the host's only if it says so: the source of a packet may be somebody's it forwards for. Nothing is learnt
 * from what it asks of others, nor from what it says in another's place. A frame that teaches nothing new allocates
 * nothing: what can be told by single bytes is, and a message that taught nothing is known by its digest when it is
 * repeated. Bounded as the profile is.
 */

import { timesFnvPrime } from '../core/random.js';
import { ipv4Length, ipv6Length, macLength } from '../wire/address.js';
import { dhcpClientPort, dhcpServerPort } from '../wire/dhcp.js';
import { dhcpv6ClientPort, dhcpv6ServerPort } from '../wire/dhcpv6.js';
import { mdnsPort } from '../wire/dns.js';
import { type Headers, networkArp, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { type GroupRecord, parseIgmp } from '../wire/igmp.js';
import { parseIpv4, protocolIcmpv6, protocolIgmp, protocolUdp } from '../wire/ipv4.js';
import { isIpv6Multicast, isIpv6Unspecified, parseIpv6 } from '../wire/ipv6.js';
import { llmnrPort, parseLlmnr } from '../wire/llmnr.js';
import { parseMld } from '../wire/mld.js';
import { nbnsOperation, nbnsPort, parseNbns } from '../wire/nbns.js';
import { parseNdp } from '../wire/ndp.js';
import { parseSsdp, type Ssdp, ssdpPort } from '../wire/ssdp.js';
import { parseUdp, udpLength } from '../wire/udp.js';
import { learnLease, learnLease6, learnRequest, learnRequest6 } from './learn-lease.js';
import { isDnsResponse, isOwnAddress, learnMdns, plainLabel } from './learn-mdns.js';
import { TcpFlows } from './learn-tcp.js';
import type { Profile } from './profile.js';
import type { Datagram } from './respond/frame.js';
import { keepaliveByte } from './respond/nat-keepalive.js';
import { snmpPort, uptimeTold } from './respond/snmp.js';

/** IKE and ESP in UDP (RFC 3948 §2.2). */
const natTraversalPort = 4500;
/** RFC 3948 §4 sends every 20 s. After five of those without any the tunnel is gone. */
const mappingLifeMs = 5 * 20_000;

/** ICMPv6 types (RFC 4861 §4, RFC 2710 §3, RFC 3810 §5). */
const routerSolicitation = 133;
const neighborSolicitation = 135;
const neighborAdvertisement = 136;
const listenerReport = 131;
const listenerDone = 132;
const listenerReportV2 = 143;

/** RFC 3376 §4.2.12, RFC 3810 §5.2.12. */
const recordType = { include: 1, exclude: 2, toInclude: 3, toExclude: 4, allow: 5 } as const;

/** Learns from a frame that the host sent. */
export function learnFrom(now: number, frame: Uint8Array, headers: Headers, profile: Profile): void {
  const { network, l3Offset, protocol } = headers;
  // Within a PPPoE session, and in later fragments, nobody says who he is.
  if (headers.pppoeSession >= 0 || headers.fragmentOffset > 0) return;
  if (network === networkArp) learnArp(frame, l3Offset, profile);
  if (network === networkIpv6 && profile.tentative.length > 0) learnConfirmed(frame, l3Offset + 8, profile);
  if (headers.tcpFlags >= 0) {
    profile.flows = profile.flows ?? new TcpFlows();
    profile.flows.sent(now, frame, headers, profile);
    return;
  }
  if (profile.natMappings.length > 0) profile.dropNatMappings(now - mappingLifeMs);
  if (protocol === protocolUdp) learnDatagram(now, frame, headers, profile);
  else if (protocol === protocolIgmp) learnOnce(now, frame, headers, profile, learnIgmp);
  else if (protocol === protocolIcmpv6) learnIcmpv6(now, frame, headers, profile);
}

/** Learns from a frame sent to the host, or to everybody: what others agreed with it. */
export function learnTo(now: number, frame: Uint8Array, headers: Headers, profile: Profile): void {
  if (headers.pppoeSession >= 0) return;
  if (headers.tcpFlags >= 0) {
    // Of a connection that the host has not been heard in, nothing is kept.
    if (profile.flows) profile.flows.received(now, frame, headers);
    return;
  }
  const { srcPort, dstPort, network } = headers;
  if (dstPort === dhcpClientPort && srcPort === dhcpServerPort && network === networkIpv4)
    learnWhole(now, frame, headers, profile, learnLease);
  else if (dstPort === dhcpv6ClientPort && network === networkIpv6)
    learnWhole(now, frame, headers, profile, learnLease6);
  else if (dstPort === nbnsPort && srcPort === nbnsPort)
    learnWhole(now, frame, headers, profile, learnRefusedName);
}

/** What is learnt from a datagram whose checksum is right. */
export type DatagramLearner = (now: number, datagram: Datagram, profile: Profile, frame: Uint8Array) => void;

function learnDatagram(now: number, frame: Uint8Array, headers: Headers, profile: Profile): void {
  const { srcPort, dstPort, l4Offset, l4End, network } = headers;
  const data = l4Offset + udpLength;
  if (srcPort === mdnsPort && dstPort === mdnsPort) {
    if (isDnsResponse(frame, data, l4End)) learnOnce(now, frame, headers, profile, learnMdns);
  } else if (srcPort === llmnrPort) {
    if (isDnsResponse(frame, data, l4End)) learnOnce(now, frame, headers, profile, learnLlmnr);
  } else if (dstPort === ssdpPort) {
    // NOTIFY; a search begins with M.
    if (frame[data] === 0x4e) learnOnce(now, frame, headers, profile, learnSsdp);
  } else if (dstPort === nbnsPort && srcPort === nbnsPort) {
    if (network === networkIpv4 && !isNameQuery(frame, data, l4End))
      learnOnce(now, frame, headers, profile, learnNetbios);
  } else if (dstPort === natTraversalPort) {
    if (l4End === data + 1 && frame[data] === keepaliveByte) learnMapping(now, frame, headers, profile);
  } else if (srcPort === snmpPort) {
    learnWhole(now, frame, headers, profile, learnUptime);
  } else if (dstPort === dhcpServerPort && srcPort === dhcpClientPort && network === networkIpv4) {
    learnWhole(now, frame, headers, profile, learnRequest);
  } else if (dstPort === dhcpv6ServerPort && network === networkIpv6) {
    learnWhole(now, frame, headers, profile, learnRequest6);
  }
}

/** Learns from the packet, unless it is the repetition of one that taught nothing. */
function learnOnce(
  now: number,
  frame: Uint8Array,
  headers: Headers,
  profile: Profile,
  learn: PacketLearner | DatagramLearner,
): void {
  const digest = digestOf(frame, headers);
  if (profile.isStale(digest)) return;
  const { revision } = profile;
  if (headers.protocol === protocolUdp) learnWhole(now, frame, headers, profile, learn as DatagramLearner);
  else (learn as PacketLearner)(frame, headers, profile);
  if (profile.revision === revision) profile.addStale(digest);
}

type PacketLearner = (frame: Uint8Array, headers: Headers, profile: Profile) => void;

/** Learns from the datagram if it is whole and its checksum is right. */
function learnWhole(
  now: number,
  frame: Uint8Array,
  { network, l3Offset }: Headers,
  profile: Profile,
  learn: DatagramLearner,
): void {
  const packet =
    network === networkIpv4
      ? parseIpv4(frame, l3Offset, frame.length)
      : parseIpv6(frame, l3Offset, frame.length);
  if (!packet.ok || ('moreFragments' in packet.value && packet.value.moreFragments)) return;
  const { srcAddress, dstAddress, payload } = packet.value;
  const timeToLive = 'hopLimit' in packet.value ? packet.value.hopLimit : packet.value.timeToLive;
  const udp = parseUdp(payload, 0, payload.length, { srcAddress, dstAddress });
  if (!udp.ok) return;
  learn(now, { ...udp.value, srcAddress, dstAddress, timeToLive }, profile, frame);
}

/** The sender of any ARP packet but a probe (RFC 5227 §1.1), if it is the host itself. */
function learnArp(frame: Uint8Array, at: number, profile: Profile): void {
  for (let i = 0; i < macLength; i++) if (frame[at + 8 + i] !== profile.mac[i]) return;
  const first = frame[at + 14];
  if (first > 0 && first !== 127 && first < 224) profile.addAddress(frame, at + 14, ipv4Length);
}

/** RFC 4862 §5.4: an address the host has asked about, and then sends from, has been found free. */
function learnConfirmed(frame: Uint8Array, at: number, profile: Profile): void {
  if (profile.takeTentative(frame, at, ipv6Length)) profile.addAddress(frame, at, ipv6Length);
}

function learnIcmpv6(now: number, frame: Uint8Array, headers: Headers, profile: Profile): void {
  switch (headers.icmpType) {
    case routerSolicitation:
    case neighborSolicitation:
    case neighborAdvertisement:
      // Of the addresses it has, those it uses stay.
      if (profile.hasAddress(frame, headers.l3Offset + 8, ipv6Length))
        profile.addAddress(frame, headers.l3Offset + 8, ipv6Length);
      learnOnce(now, frame, headers, profile, learnNdp);
      break;
    case listenerReport:
    case listenerDone:
    case listenerReportV2:
      learnOnce(now, frame, headers, profile, learnMld);
  }
}

/**
 * The source of Neighbour Discovery, which does not pass routers (RFC 4861 §7.1), and the target of an advertisement. One
 * made for another (§7.2.8) has O clear.
 */
function learnNdp(frame: Uint8Array, { l3Offset }: Headers, profile: Profile): void {
  const packet = parseIpv6(frame, l3Offset, frame.length);
  if (!packet.ok || packet.value.protocol !== protocolIcmpv6) return;
  const { srcAddress, payload } = packet.value;
  const ndp = parseNdp(payload, 0, payload.length, packet.value);
  if (!ndp.ok) return;
  const message = ndp.value;
  for (const option of message.options)
    if (option.kind === 'source-link-layer-address' || option.kind === 'target-link-layer-address')
      for (let i = 0; i < macLength; i++) if (option.linkLayerMac[i] !== profile.mac[i]) return;
  if (isUsable(srcAddress)) profile.addAddress(srcAddress, 0, ipv6Length);
  if (message.kind === 'neighbor-advertisement') {
    if (message.override && isUsable(message.targetAddress))
      profile.addAddress(message.targetAddress, 0, ipv6Length);
  } else if (message.kind === 'neighbor-solicitation' && !isUsable(srcAddress)) {
    const { targetAddress } = message;
    if (!profile.hasAddress(targetAddress, 0, ipv6Length)) profile.addTentative(targetAddress);
  }
}

/** RFC 3376 §4: with a time to live of 1. */
function learnIgmp(frame: Uint8Array, { l3Offset, l4Offset, l4End }: Headers, profile: Profile): void {
  if (frame[l3Offset + 8] !== 1) return;
  const igmp = parseIgmp(frame, l4Offset, l4End);
  if (!igmp.ok) return;
  switch (igmp.value.kind) {
    case 'report-v1':
    case 'report-v2':
      profile.addGroup(igmp.value.groupAddress);
      break;
    case 'leave':
      profile.removeGroup(igmp.value.groupAddress);
      break;
    case 'report-v3':
      learnRecords(igmp.value.records, profile);
  }
}

function learnMld(frame: Uint8Array, { l3Offset }: Headers, profile: Profile): void {
  const packet = parseIpv6(frame, l3Offset, frame.length);
  if (!packet.ok || packet.value.protocol !== protocolIcmpv6) return;
  const { payload } = packet.value;
  const mld = parseMld(payload, 0, payload.length, packet.value);
  if (!mld.ok) return;
  if (mld.value.kind === 'report') profile.addGroup(mld.value.groupAddress);
  else if (mld.value.kind === 'done') profile.removeGroup(mld.value.groupAddress);
  else if (mld.value.kind === 'report-v2') learnRecords(mld.value.records, profile);
}

/** A group is joined if any source is wanted, and left if none is. */
function learnRecords(records: readonly GroupRecord[], profile: Profile): void {
  for (const { type, groupAddress, sourceAddresses } of records) {
    const { include, exclude, toInclude, toExclude, allow } = recordType;
    const includes = type === include || type === toInclude;
    const isJoined = type === exclude || type === toExclude || sourceAddresses.length > 0;
    if (isJoined && (includes || type === allow || type === exclude || type === toExclude))
      profile.addGroup(groupAddress);
    else if (includes) profile.removeGroup(groupAddress);
  }
}

/** A name that the host answers to with its own address, and is sure of (RFC 4795 §2.1.1: T and C clear). */
function learnLlmnr(_now: number, { srcAddress, payload }: Datagram, profile: Profile): void {
  const message = parseLlmnr(payload, 0, payload.length);
  if (!message.ok || !message.value.isResponse) return;
  const { question, answers, responseCode, tentative, conflict } = message.value;
  if (responseCode !== 0 || tentative || conflict) return;
  const name = plainLabel(question.name);
  if (name === undefined) return;
  for (const answer of answers)
    if ((answer.kind === 'a' || answer.kind === 'aaaa') && isOwnAddress(profile, answer.address, srcAddress))
      profile.addName(name);
}

/** Names the host registers, refreshes or gives up (RFC 1002 §4.2.2, §4.2.4, §4.2.9), for an address of its own. */
function learnNetbios(_now: number, { srcAddress, payload }: Datagram, profile: Profile): void {
  const message = parseNbns(payload, 0, payload.length);
  if (!message.ok || message.value.isResponse) return;
  const { operation, additionals } = message.value;
  const isRelease = operation === nbnsOperation.release;
  for (const record of additionals) {
    const { name } = record;
    if (record.kind !== 'nb' || name.scope !== '') continue;
    const own = record.entries.find(({ address }) => isOwnAddress(profile, address, srcAddress));
    if (!own) continue;
    if (isRelease) profile.removeNetbiosName(name.name, name.suffix);
    else if (isRegistration(operation)) {
      profile.addNetbiosName({ name: name.name, suffix: name.suffix, group: own.group });
      // Of 15 characters it may be the beginning of a longer one.
      const label = name.name.length < 15 ? plainLabel(name.name) : undefined;
      if (!own.group && name.suffix === 0 && label !== undefined) profile.addName(label);
    }
  }
}

/** RFC 1002 §4.2.6: the name is another's. */
function learnRefusedName(_now: number, { payload }: Datagram, profile: Profile): void {
  const message = parseNbns(payload, 0, payload.length);
  if (!message.ok || !message.value.isResponse || message.value.responseCode === 0) return;
  if (!isRegistration(message.value.operation)) return;
  for (const { name } of message.value.answers) profile.removeNetbiosName(name.name, name.suffix);
}

function isRegistration(operation: number): boolean {
  const { registration, refresh, alternativeRefresh, multihomedRegistration } = nbnsOperation;
  return (
    operation === registration ||
    operation === refresh ||
    operation === alternativeRefresh ||
    operation === multihomedRegistration
  );
}

/** A request of operation 0, of which nothing is learnt (RFC 1002 §4.2.1.1). */
function isNameQuery(frame: Uint8Array, at: number, end: number): boolean {
  return end - at > 2 && (frame[at + 2] & 0xf8) === 0;
}

/** UPnP Device Architecture 2.0 §1.2.2, §1.2.3: a notification stands until the same name says byebye. */
function learnSsdp(_now: number, { payload }: Datagram, profile: Profile): void {
  const message = parseSsdp(payload, 0, payload.length);
  if (!message.ok || message.value.kind !== 'notify') return;
  const notification = message.value;
  const name = headerOf(notification, 'USN');
  const kind = headerOf(notification, 'NTS');
  if (!name || !headerOf(notification, 'NT')) return;
  if (kind === 'ssdp:alive') {
    const known = profile.notifications.find(each => headerOf(each, 'USN') === name);
    if (known && sameHeaders(known, notification)) return;
  } else if (kind !== 'ssdp:byebye') return;
  profile.removeNotifications(each => headerOf(each, 'USN') === name);
  if (kind === 'ssdp:alive') profile.addNotification(notification);
}

function headerOf({ headers }: Ssdp, name: string): string | undefined {
  for (const header of headers) if (header.name.toUpperCase() === name) return header.value;
  return undefined;
}

function sameHeaders(a: Ssdp, b: Ssdp): boolean {
  return (
    a.headers.length === b.headers.length &&
    a.headers.every(({ name, value }, i) => name === b.headers[i].name && value === b.headers[i].value)
  );
}

/** RFC 3948 §4. */
function learnMapping(now: number, frame: Uint8Array, headers: Headers, profile: Profile): void {
  const { network, l3Offset, srcPort, dstPort } = headers;
  const length = network === networkIpv4 ? ipv4Length : ipv6Length;
  const at = l3Offset + (network === networkIpv4 ? 12 : 8);
  if (!profile.hasAddress(frame, at, length)) return;
  profile.holdMapping(now, frame, { at, length, port: srcPort, peerPort: dstPort });
}

function learnUptime(now: number, { srcAddress, payload }: Datagram, profile: Profile): void {
  if (!profile.hasAddress(srcAddress, 0, srcAddress.length)) return;
  const told = uptimeTold(payload, 0, payload.length);
  if (told) profile.snmp = { ...told, at: now };
}

/** Neither nobody, nor a group, nor the loopback. */
function isUsable(address: Uint8Array): boolean {
  return !isIpv6Unspecified(address) && !isIpv6Multicast(address);
}

/** Of the source and the payload (FNV-1a). */
function digestOf(frame: Uint8Array, { network, l3Offset, l4Offset, l4End }: Headers): number {
  const srcAt = l3Offset + (network === networkIpv4 ? 12 : 8);
  const srcEnd = srcAt + (network === networkIpv4 ? ipv4Length : ipv6Length);
  let hash = 0x811c9dc5 | 0;
  for (let at = srcAt; at < srcEnd; at++) hash = timesFnvPrime(hash ^ frame[at]);
  for (let at = l4Offset; at < l4End; at++) hash = timesFnvPrime(hash ^ frame[at]);
  return hash;
}
