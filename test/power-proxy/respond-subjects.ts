/**
 * Questions to a sleeping host, of each protocol some, and what makes an answer one to them.
 */

import { concatBytes, encodeUtf8, sameBytes, writeBytes } from '../../agent/core/bytes.js';
import {
  etherFrame,
  groupMac,
  ipv4Frame,
  ipv6Frame,
  udpFrame,
  type Way,
} from '../../agent/power-proxy/respond/frame.js';
import { reverseName, sameName } from '../../agent/power-proxy/respond/names.js';
import type { Served } from '../../agent/power-proxy/responder.js';
import { arpLength, emitArp } from '../../agent/wire/arp.js';
import {
  type Dns,
  type DnsDataRecord,
  type DnsQuery,
  type DnsQuestion,
  dnsLength,
  dnsType,
  emitDns,
} from '../../agent/wire/dns.js';
import { etherTypeArp } from '../../agent/wire/ethernet.js';
import { emitIcmp, icmpLength } from '../../agent/wire/icmp.js';
import { emitIcmpv6 } from '../../agent/wire/icmpv6.js';
import { emitIgmp, type Igmp, type IgmpQuery, igmpLength } from '../../agent/wire/igmp.js';
import type { Ipv6Extension } from '../../agent/wire/ipv6.js';
import { emitLlmnr, type Llmnr, llmnrLength } from '../../agent/wire/llmnr.js';
import { emitMld, type Mld, type MldQuery, mldLength } from '../../agent/wire/mld.js';
import { emitNbns, type Nbns, nbnsLength, nbnsType } from '../../agent/wire/nbns.js';
import { emitNdp, type Ndp, type NdpOption, ndpLength } from '../../agent/wire/ndp.js';
import { emitSsdp, type Ssdp, ssdpLength } from '../../agent/wire/ssdp.js';
import { emitTcp, type TcpHeader, tcpLength } from '../../agent/wire/tcp.js';
import type { VlanTag } from '../../agent/wire/vlan.js';
import {
  askerAddress,
  askerGlobal,
  askerLink,
  askerLinkLocal,
  askerMac,
  has,
  hex,
  hostAddress,
  hostGlobal,
  hostLinkLocal,
  hostMac,
  ip,
  plainHost,
  type Satisfies,
  type Subject,
} from './respond-asking.js';

export const broadcastMac = new Uint8Array(6).fill(0xff);
export const tags: readonly VlanTag[] = [{ tpid: 0x8100, priority: 3, dropEligible: false, vlanId: 7 }];
const routerAlert = new Uint8Array([0x94, 4, 0, 0]);
export const routerAlertV6: Ipv6Extension = { protocol: 0, data: new Uint8Array([5, 2, 0, 0, 1, 0]) };

export const toHost: Way = { link: askerLink, tags: [], dstMac: hostMac };
export const toAll: Way = { link: askerLink, tags: [], dstMac: broadcastMac };
export const toGroup = (group: Uint8Array): Way => ({ link: askerLink, tags: [], dstMac: groupMac(group) });

function bytesOf<T>(
  value: T,
  length: (value: T) => number,
  emit: (value: T, out: Uint8Array, at: number) => number,
): Uint8Array {
  const out = new Uint8Array(length(value)).fill(0xa5);
  emit(value, out, 0);
  return out;
}

export function arpQuestion(
  change: Partial<{
    operation: number;
    senderAddress: Uint8Array;
    targetAddress: Uint8Array;
    senderMac: Uint8Array;
  }>,
  way: Way = toAll,
): Uint8Array {
  const arp = {
    operation: 1,
    senderMac: askerMac,
    senderAddress: askerAddress,
    targetMac: new Uint8Array(6),
    targetAddress: hostAddress,
    ...change,
  };
  return etherFrame(way, etherTypeArp, arpLength, (out, at) => emitArp(arp, out, at));
}

export const solicitedNode = (address: Uint8Array) =>
  concatBytes([ip('ff02::1:ff00:0').subarray(0, 13), address.subarray(13)]);

export function ndpFrame(ndp: Ndp, srcAddress: Uint8Array, dstAddress: Uint8Array, way: Way): Uint8Array {
  const parts = { srcAddress, dstAddress, protocol: 58, hopLimit: 255 };
  return ipv6Frame(way, parts, ndpLength(ndp), (out, at) => emitNdp(ndp, parts, out, at));
}

/** `source`: the asker's option; `null` leaves it out. */
export function solicitation(
  targetAddress: Uint8Array,
  change: { src?: Uint8Array; dst?: Uint8Array; source?: Uint8Array | null; way?: Way } = {},
): Uint8Array {
  const { src = askerLinkLocal, dst = solicitedNode(targetAddress), source = askerMac } = change;
  const way = change.way ?? (dst[0] === 0xff ? toGroup(dst) : toHost);
  const options: NdpOption[] = source ? [{ kind: 'source-link-layer-address', linkLayerMac: source }] : [];
  return ndpFrame({ kind: 'neighbor-solicitation', targetAddress, options }, src, dst, way);
}

const echoData = encodeUtf8('kith power proxy');

export function echoQuestion(
  change: { dst?: Uint8Array; way?: Way; data?: Uint8Array; options?: Uint8Array } = {},
) {
  const { dst = hostAddress, way = toHost, data = echoData, options = new Uint8Array(0) } = change;
  const parts = { srcAddress: askerAddress, dstAddress: dst, protocol: 1, timeToLive: 64, dscp: 8, options };
  return ipv4Frame(way, parts, icmpLength + data.length, (out, at) => {
    writeBytes(out, at + icmpLength, data);
    emitIcmp({ type: 8, code: 0, rest: 0x12340001 }, data.length, out, at);
  });
}

export function echoV6Question(change: { dst?: Uint8Array; way?: Way; extensions?: Ipv6Extension[] } = {}) {
  const { dst = hostGlobal, way = toHost, extensions = [] } = change;
  const parts = { srcAddress: askerGlobal, dstAddress: dst, protocol: 58, hopLimit: 64, extensions };
  return ipv6Frame(way, parts, icmpLength + echoData.length, (out, at) => {
    writeBytes(out, at + icmpLength, echoData);
    emitIcmpv6({ type: 128, code: 0, rest: 0x12340001 }, echoData.length, parts, out, at);
  });
}

const queryTail = {
  suppressRouterProcessing: false,
  robustness: 2,
  queryIntervalS: 125,
  sourceAddresses: [],
};

export function igmpFrame(
  igmp: Igmp,
  dstAddress: Uint8Array,
  { options = routerAlert, timeToLive = 1, srcAddress = askerAddress } = {},
): Uint8Array {
  const parts = { srcAddress, dstAddress, protocol: 2, timeToLive, options };
  return ipv4Frame(toGroup(dstAddress), parts, igmpLength(igmp), (out, at) => emitIgmp(igmp, out, at));
}

export function igmpQuery(change: Partial<IgmpQuery> = {}): IgmpQuery {
  const groupAddress = ip('0.0.0.0');
  return { kind: 'query', version: 3, maxResponseTimeMs: 10_000, groupAddress, ...queryTail, ...change };
}

export function mldFrame(
  mld: Mld,
  dstAddress: Uint8Array,
  { extensions = [routerAlertV6], hopLimit = 1, srcAddress = askerLinkLocal } = {},
): Uint8Array {
  const parts = { srcAddress, dstAddress, protocol: 58, hopLimit, extensions };
  return ipv6Frame(toGroup(dstAddress), parts, mldLength(mld), (out, at) => emitMld(mld, parts, out, at));
}

export function mldQuery(change: Partial<MldQuery> = {}): MldQuery {
  return {
    kind: 'query',
    version: 2,
    maxResponseTimeMs: 10_000,
    groupAddress: ip('::'),
    ...queryTail,
    ...change,
  };
}

export const mdnsGroup = ip('224.0.0.251');
export const mdnsGroupV6 = ip('ff02::fb');
export const ask4 = {
  srcAddress: askerAddress,
  dstAddress: mdnsGroup,
  srcPort: 5353,
  dstPort: 5353,
  timeToLive: 255,
};
export const ask6 = { ...ask4, srcAddress: askerLinkLocal, dstAddress: mdnsGroupV6 };

export function asks(name: string, type: number, unicastResponse = false): DnsQuestion {
  return { name, type, class: 1, unicastResponse };
}

export function dnsQuery(questions: readonly DnsQuestion[], change: Partial<DnsQuery> = {}): DnsQuery {
  return {
    kind: 'query',
    operation: 0,
    identification: 0,
    isResponse: false,
    authoritative: false,
    truncated: false,
    recursionDesired: false,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    responseCode: 0,
    questions,
    answers: [],
    authorities: [],
    additionals: [],
    ...change,
  };
}

export function mdnsFrame(dns: Dns, parts: typeof ask4 = ask4, way = toGroup(parts.dstAddress)): Uint8Array {
  return udpFrame(way, parts, bytesOf(dns, dnsLength, emitDns));
}

const inClass = { class: 1, cacheFlush: true, timeToLive: 120 };
export const hostName = 'desktop.local';
export const serviceName = 'Desktop._ssh._tcp.local';
export const serviceType = '_ssh._tcp.local';
/** A host with two addresses, one service and what points to them. */
export const records: readonly DnsDataRecord[] = [
  { ...inClass, kind: 'a', name: hostName, address: hostAddress },
  { ...inClass, kind: 'aaaa', name: hostName, address: hostLinkLocal },
  { ...inClass, kind: 'ptr', name: reverseName(hostAddress), target: hostName },
  { ...inClass, kind: 'srv', name: serviceName, priority: 0, weight: 0, port: 22, target: hostName },
  { ...inClass, kind: 'txt', name: serviceName, timeToLive: 4500, strings: [encodeUtf8('user=kith')] },
  { class: 1, cacheFlush: false, timeToLive: 4500, kind: 'ptr', name: serviceType, target: serviceName },
  {
    class: 1,
    cacheFlush: false,
    timeToLive: 4500,
    kind: 'ptr',
    name: '_services._dns-sd._udp.local',
    target: serviceType,
  },
];

export const llmnrAsk = {
  srcAddress: askerAddress,
  dstAddress: ip('224.0.0.252'),
  srcPort: 50_000,
  dstPort: 5355,
  timeToLive: 1,
};
export const llmnrAsk6 = { ...llmnrAsk, srcAddress: askerLinkLocal, dstAddress: ip('ff02::1:3') };

export function llmnrQuestion(
  question: DnsQuestion,
  change: Partial<Llmnr> = {},
  parts = llmnrAsk,
  way = toGroup(parts.dstAddress),
) {
  const llmnr: Llmnr = {
    identification: 0x1234,
    isResponse: false,
    conflict: false,
    truncated: false,
    tentative: false,
    responseCode: 0,
    question,
    answers: [],
    authorities: [],
    additionals: [],
    ...change,
  };
  return udpFrame(way, parts, bytesOf(llmnr, llmnrLength, emitLlmnr));
}

export function nbnsQuestion(
  name: string,
  {
    suffix = 0,
    type = nbnsType.nb as number,
    dst = ip('192.0.2.255'),
    way = toAll,
    change = {} as Partial<Nbns>,
  } = {},
): Uint8Array {
  const nbns: Nbns = {
    identification: 0x4321,
    isResponse: false,
    operation: 0,
    authoritative: false,
    truncated: false,
    recursionDesired: type === nbnsType.nb,
    recursionAvailable: false,
    broadcast: way === toAll,
    responseCode: 0,
    questions: [{ name: { name, suffix, scope: '' }, type }],
    answers: [],
    authorities: [],
    additionals: [],
    ...change,
  };
  const parts = { srcAddress: askerAddress, dstAddress: dst, srcPort: 137, dstPort: 137, timeToLive: 64 };
  return udpFrame(way, parts, bytesOf(nbns, nbnsLength, emitNbns));
}

export function headers(values: { readonly [name: string]: string }): Ssdp['headers'] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

const uuid = 'uuid:4d696e69-444c-164e-9d41-3c22fb010203';
export const mediaServer = 'urn:schemas-upnp-org:device:MediaServer:';

function alive(type: string): Ssdp {
  return {
    kind: 'notify',
    headers: headers({
      HOST: '239.255.255.250:1900',
      'Cache-Control': 'max-age=1800',
      LOCATION: 'http://192.0.2.10:8200/rootDesc.xml',
      SERVER: 'Debian UPnP/2.0 MiniDLNA/1.3.0',
      NT: type,
      USN: type === uuid ? uuid : `${uuid}::${type}`,
      NTS: 'ssdp:alive',
      'BOOTID.UPNP.ORG': '7',
      'CONFIGID.UPNP.ORG': '1',
    }),
  };
}

export const notifications = ['upnp:rootdevice', uuid, `${mediaServer}2`].map(alive);

export const ssdpAsk = {
  srcAddress: askerAddress,
  dstAddress: ip('239.255.255.250'),
  srcPort: 50_001,
  dstPort: 1900,
  timeToLive: 2,
};

export function search(
  target: string,
  change: { readonly [name: string]: string } = {},
  parts = ssdpAsk,
  way = toGroup(parts.dstAddress),
) {
  const values = { HOST: '239.255.255.250:1900', MAN: '"ssdp:discover"', MX: '3', ST: target, ...change };
  const message: Ssdp = { kind: 'search', headers: headers(values) };
  return udpFrame(way, parts, bytesOf(message, ssdpLength, emitSsdp));
}

export const connection = {
  address: hostAddress,
  port: 22,
  peerAddress: askerAddress,
  peerPort: 50_002,
  sendNext: 0x10000000,
  receiveNext: 0,
  window: 502,
  timestamp: 0x1000,
};
export const connection6 = { ...connection, address: hostGlobal, peerAddress: askerGlobal };

export function segment(change: Partial<TcpHeader> = {}, data = new Uint8Array(0), six = false): Uint8Array {
  const header: TcpHeader = {
    srcPort: connection.peerPort,
    dstPort: connection.port,
    sequenceNumber: 0xffffffff,
    acknowledgmentNumber: connection.sendNext,
    flags: 0x10,
    window: 1000,
    urgentPointer: 0,
    options: [
      { kind: 'no-operation' },
      { kind: 'no-operation' },
      { kind: 'timestamps', value: 0x2000, echoReply: 0x1000 },
    ],
    ...change,
  };
  const length = tcpLength(header);
  const write = (srcAddress: Uint8Array, dstAddress: Uint8Array) => (out: Uint8Array, at: number) => {
    writeBytes(out, at + length, data);
    emitTcp(header, data.length, { srcAddress, dstAddress }, out, at);
  };
  const parts4 = { srcAddress: askerAddress, dstAddress: hostAddress, protocol: 6, timeToLive: 64 };
  const parts6 = { srcAddress: askerGlobal, dstAddress: hostGlobal, protocol: 6, hopLimit: 64 };
  return six
    ? ipv6Frame(toHost, parts6, length + data.length, write(askerGlobal, hostGlobal))
    : ipv4Frame(toHost, parts4, length + data.length, write(askerAddress, hostAddress));
}

// What makes an answer one to a question. The layers are those of host-sim/capture/dissect.ts.

// biome-ignore lint/suspicious/noExplicitAny: layers are records of anything
type Any = any;
const same = (a: unknown, b: unknown) => sameBytes(a as Uint8Array, b as Uint8Array);

/** Back to whom the frame came from, on the VLAN it came in, and from this proxy. */
const returns = (q: Any, a: Any) =>
  same(a.ethernet.dstMac, q.ethernet.srcMac) && JSON.stringify(a.vlan) === JSON.stringify(q.vlan);
const swaps = (q: Any, a: Any) => same(a.srcAddress, q.dstAddress) && same(a.dstAddress, q.srcAddress);

/** A UDP answer to the sender's address and port. */
const replies = (q: Any, a: Any) => {
  const from = q.ipv4 ?? q.ipv6;
  const to = a.ipv4 ?? a.ipv6;
  return (
    returns(q, a) &&
    same(to.dstAddress, from.srcAddress) &&
    a.udp.dstPort === q.udp.srcPort &&
    a.udp.srcPort === q.udp.dstPort
  );
};

const typeNumber = (record: DnsDataRecord) => (record.kind === 'raw' ? record.type : dnsType[record.kind]);

export const satisfies: { readonly [responder: string]: Satisfies } = {
  arp: ({ arp: q }: Any, { arp: a, ethernet, ...rest }: Any, host) =>
    q.operation === 1 &&
    a.operation === 2 &&
    has(host.ipv4, q.targetAddress) &&
    same(a.senderAddress, q.targetAddress) &&
    same(a.senderMac, host.mac) &&
    same(a.targetMac, q.senderMac) &&
    same(ethernet.dstMac, q.senderMac) &&
    same(a.targetAddress, q.senderAddress) &&
    !rest.ipv4,
  nd: ({ ndp: q, ipv6: from }: Any, { ndp: a, ipv6: to }: Any, host) => {
    const nobody = hex(from.srcAddress) === '0'.repeat(32);
    return (
      q.kind === 'neighbor-solicitation' &&
      a.kind === 'neighbor-advertisement' &&
      has(host.ipv6, q.targetAddress) &&
      same(a.targetAddress, q.targetAddress) &&
      same(to.srcAddress, q.targetAddress) &&
      same(to.dstAddress, nobody ? ip('ff02::1') : from.srcAddress) &&
      to.hopLimit === 255 &&
      a.solicited === !nobody &&
      a.override &&
      !a.router &&
      a.options.length === 1 &&
      same(a.options[0].linkLayerMac, host.mac)
    );
  },
  echo: (q: Any, a: Any, host) =>
    returns(q, a) &&
    swaps(q.ipv4, a.ipv4) &&
    has(host.ipv4, q.ipv4.dstAddress) &&
    q.icmp.type === 8 &&
    a.icmp.type === 0 &&
    a.icmp.identifier === q.icmp.identifier &&
    a.icmp.sequenceNumber === q.icmp.sequenceNumber &&
    hex(a.data?.bytes ?? []) === hex(q.data?.bytes ?? []),
  echoV6: (q: Any, a: Any, host) =>
    returns(q, a) &&
    swaps(q.ipv6, a.ipv6) &&
    has(host.ipv6, q.ipv6.dstAddress) &&
    q.icmpv6.type === 128 &&
    a.icmpv6.type === 129 &&
    a.icmpv6.identifier === q.icmpv6.identifier &&
    a.icmpv6.sequenceNumber === q.icmpv6.sequenceNumber &&
    hex(a.data?.bytes ?? []) === hex(q.data?.bytes ?? []),
  igmp: ({ igmp: q }: Any, { igmp: a, ipv4 }: Any, host) =>
    isReport(q, a, host) && ipv4.timeToLive === 1 && has(host.ipv4, ipv4.srcAddress),
  mld: ({ mld: q }: Any, { mld: a, ipv6 }: Any, host) =>
    isReport(q, a, host) && ipv6.hopLimit === 1 && has(host.ipv6, ipv6.srcAddress),
  mdns: (q: Any, a: Any, host) => {
    const own = (host as Served).records ?? [];
    const legacy = q.udp.srcPort !== 5353;
    const isOwn = (record: DnsDataRecord) =>
      record.kind === 'nsec'
        ? own.some(each => each.cacheFlush && sameName(each.name, record.name)) &&
          own.every(each => !sameName(each.name, record.name) || record.types.includes(typeNumber(each)))
        : own.some(each => dataOf(each) === dataOf(record));
    const isAsked = (record: DnsDataRecord) =>
      q.mdns.questions.some(
        ({ name, type }: DnsQuestion) =>
          sameName(name, record.name) &&
          (type === dnsType.any ||
            type === typeNumber(record) ||
            (record.kind === 'nsec' && !record.types.includes(type))),
      );
    const isKnown = (record: DnsDataRecord) =>
      q.mdns.answers.some(
        (each: DnsDataRecord) => dataOf(each) === dataOf(record) && 2 * each.timeToLive >= record.timeToLive,
      );
    const multicast = (a.ethernet.dstMac as Uint8Array)[0] & 1;
    return (
      !q.mdns.isResponse &&
      a.mdns.isResponse &&
      a.mdns.answers.length > 0 &&
      a.mdns.answers.every((record: DnsDataRecord) => isOwn(record) && isAsked(record) && !isKnown(record)) &&
      a.mdns.additionals.every(isOwn) &&
      a.udp.srcPort === 5353 &&
      (a.ipv4?.timeToLive ?? a.ipv6.hopLimit) === 255 &&
      (multicast ? !legacy : replies(q, a)) &&
      (legacy
        ? a.mdns.identification === q.mdns.identification && a.mdns.questions.length > 0
        : a.mdns.identification === 0 && a.mdns.questions.length === 0)
    );
  },
  llmnr: (q: Any, a: Any, host) =>
    replies(q, a) &&
    !q.llmnr.isResponse &&
    !q.llmnr.conflict &&
    a.llmnr.isResponse &&
    a.llmnr.identification === q.llmnr.identification &&
    JSON.stringify(a.llmnr.question) === JSON.stringify(q.llmnr.question) &&
    a.llmnr.answers.every(
      (record: Any) =>
        record.name === q.llmnr.question.name &&
        [typeNumber(record), dnsType.any].includes(q.llmnr.question.type) &&
        (record.kind === 'ptr'
          ? host.names.includes(record.target)
          : has([...host.ipv4, ...host.ipv6], record.address)),
    ),
  nbns: (q: Any, a: Any, host) => {
    const [asked] = q.nbns.questions;
    const [record] = a.nbns.answers;
    return (
      replies(q, a) &&
      !q.nbns.isResponse &&
      a.nbns.isResponse &&
      a.nbns.identification === q.nbns.identification &&
      q.nbns.questions.length === 1 &&
      a.nbns.answers.length === 1 &&
      JSON.stringify(record.name) === JSON.stringify(asked.name) &&
      nbnsType[record.kind as 'nb' | 'nbstat'] === asked.type &&
      (record.kind === 'nb'
        ? record.entries.every(({ address }: Any) => has(host.ipv4, address))
        : same(record.unitMac, host.mac))
    );
  },
  ssdp: (q: Any, a: Any) => {
    const st = headerOf(q.ssdp, 'ST');
    return (
      replies(q, a) &&
      q.ssdp.kind === 'search' &&
      a.ssdp.kind === 'response' &&
      (st === 'ssdp:all' || headerOf(a.ssdp, 'ST') === st) &&
      ['USN', 'LOCATION', 'CACHE-CONTROL', 'SERVER', 'EXT'].every(
        name => headerOf(a.ssdp, name) !== undefined,
      )
    );
  },
  tcp: (q: Any, a: Any) =>
    returns(q, a) &&
    swaps(q.ipv4 ?? q.ipv6, a.ipv4 ?? a.ipv6) &&
    a.tcp.srcPort === q.tcp.dstPort &&
    a.tcp.dstPort === q.tcp.srcPort &&
    a.tcp.flags === 0x10 &&
    a.tcp.acknowledgmentNumber === (q.tcp.sequenceNumber + 1) >>> 0 &&
    a.tcp.sequenceNumber === q.tcp.acknowledgmentNumber &&
    a.data === undefined,
};

function isReport(q: Any, a: Any, host: Served): boolean {
  const general = (q.groupAddress as Uint8Array | undefined)?.every(byte => byte === 0);
  const groups = a.records ? a.records.map((record: Any) => record.groupAddress) : [a.groupAddress];
  return (
    q.kind === 'query' &&
    a.kind.startsWith('report') &&
    groups.length > 0 &&
    groups.every((group: Uint8Array) => has(host.groups, group) && (general || same(group, q.groupAddress)))
  );
}

export function headerOf(ssdp: Ssdp, name: string): string | undefined {
  return ssdp.headers.find(header => header.name.toUpperCase() === name)?.value;
}

/** Name, type and data as text, without what an answer may say otherwise. */
function dataOf(record: DnsDataRecord): string {
  const { timeToLive, cacheFlush, name, ...data } = record;
  const values = Object.entries({ name: name.toLowerCase(), ...data }).sort(([x], [y]) => (x < y ? -1 : 1));
  return JSON.stringify(values, (_, value) => (value instanceof Uint8Array ? hex(value) : value));
}

const group = ip('239.255.255.250');
const group6 = ip('ff02::1:ff00:10');
export const groupsHost: Served = {
  ...plainHost,
  groups: [ip('224.0.0.1'), mdnsGroup, group, mdnsGroupV6, group6, ip('ff02::1'), ip('ff01::fb')],
};
const source = ip('198.51.100.1');
export const richHost: Served = {
  ...groupsHost,
  records,
  notifications,
  connections: [connection, connection6],
};

export const subjects: { readonly [responder: string]: Subject } = {
  arp: {
    responder: 'arp',
    host: plainHost,
    questions: [
      arpQuestion({}),
      arpQuestion({ senderAddress: ip('0.0.0.0') }, { ...toAll, tags }),
      arpQuestion({}, toHost),
    ],
    satisfies: satisfies['arp'],
  },
  nd: {
    responder: 'nd',
    host: plainHost,
    questions: [
      solicitation(hostGlobal),
      solicitation(hostLinkLocal, { src: ip('::'), source: null }),
      solicitation(hostLinkLocal, { dst: hostLinkLocal, source: null }),
    ],
    satisfies: satisfies['nd'],
  },
  echo: {
    responder: 'echo',
    host: plainHost,
    questions: [echoQuestion(), echoQuestion({ way: { ...toHost, tags }, data: new Uint8Array(0) })],
    satisfies: satisfies['echo'],
  },
  echoV6: {
    responder: 'echoV6',
    host: plainHost,
    questions: [echoV6Question()],
    satisfies: satisfies['echoV6'],
  },
  igmp: {
    responder: 'igmp',
    host: groupsHost,
    questions: [
      igmpFrame(igmpQuery(), ip('224.0.0.1')),
      igmpFrame(igmpQuery({ groupAddress: group }), group),
      igmpFrame(igmpQuery({ groupAddress: group, sourceAddresses: [source] }), group),
      igmpFrame(igmpQuery({ version: 2, groupAddress: group }), group),
      igmpFrame(igmpQuery({ version: 1 }), ip('224.0.0.1'), { options: new Uint8Array(0) }),
    ],
    satisfies: satisfies['igmp'],
  },
  mld: {
    responder: 'mld',
    host: groupsHost,
    questions: [
      mldFrame(mldQuery(), ip('ff02::1')),
      mldFrame(mldQuery({ groupAddress: group6, sourceAddresses: [askerGlobal] }), group6),
      mldFrame(mldQuery({ version: 1 }), ip('ff02::1')),
    ],
    satisfies: satisfies['mld'],
  },
  mdns: {
    responder: 'mdns',
    host: richHost,
    questions: [
      mdnsFrame(dnsQuery([asks(hostName, dnsType.a)])),
      mdnsFrame(dnsQuery([asks('DeskTop.local', dnsType.any, true)]), ask6),
      mdnsFrame(dnsQuery([asks(serviceType, dnsType.ptr), asks(serviceName, dnsType.hinfo)])),
      mdnsFrame(dnsQuery([asks(hostName, dnsType.any, true)], { answers: [records[0]], truncated: true })),
      mdnsFrame(dnsQuery([asks(serviceName, dnsType.srv)], { identification: 77 }), {
        ...ask4,
        srcPort: 50_003,
      }),
    ],
    satisfies: satisfies['mdns'],
  },
  llmnr: {
    responder: 'llmnr',
    host: plainHost,
    questions: [
      llmnrQuestion(asks('DESKTOP', dnsType.any)),
      llmnrQuestion(asks('desktop', dnsType.aaaa), {}, llmnrAsk6),
      llmnrQuestion(asks(reverseName(hostAddress), dnsType.ptr)),
    ],
    satisfies: satisfies['llmnr'],
  },
  nbns: {
    responder: 'nbns',
    host: plainHost,
    questions: [
      nbnsQuestion('DESKTOP'),
      nbnsQuestion('*', { type: nbnsType.nbstat, dst: hostAddress, way: toHost }),
    ],
    satisfies: satisfies['nbns'],
  },
  ssdp: {
    responder: 'ssdp',
    host: richHost,
    questions: [search('ssdp:all'), search(`${mediaServer}1`)],
    satisfies: satisfies['ssdp'],
  },
  tcp: {
    responder: 'tcp',
    host: richHost,
    questions: [segment(), segment({}, new Uint8Array(1), true), segment({ options: [] })],
    satisfies: satisfies['tcp'],
  },
};
