/**
 * Frames made by the emitters of agent/wire: what the captures in test/captures lack, for another decoder to read.
 */

import { concatBytes, encodeUtf8, parseHex } from '../../agent/core/bytes.js';
import { parseAddress, parseMac } from '../../agent/wire/address.js';
import { type Arp, arpLength, emitArp } from '../../agent/wire/arp.js';
import { type Ccp, ccpLength, emitCcp } from '../../agent/wire/ccp.js';
import { type Chap, chapLength, emitChap } from '../../agent/wire/chap.js';
import type { PseudoHeader } from '../../agent/wire/checksum.js';
import { type Dhcp, dhcpLength, emitDhcp } from '../../agent/wire/dhcp.js';
import { type Dhcpv6, dhcpv6Length, emitDhcpv6 } from '../../agent/wire/dhcpv6.js';
import { type Dns, type DnsDataRecord, type DnsQuery, dnsLength, emitDns } from '../../agent/wire/dns.js';
import { type EthernetHeader, emitEthernet, ethernetLength } from '../../agent/wire/ethernet.js';
import { emitIcmp, type IcmpHeader, icmpLength } from '../../agent/wire/icmp.js';
import { emitIcmpv6 } from '../../agent/wire/icmpv6.js';
import { emitIgmp, type Igmp, igmpLength } from '../../agent/wire/igmp.js';
import { emitIpcp, type Ipcp, ipcpLength } from '../../agent/wire/ipcp.js';
import { emitIpv4, type Ipv4Header, ipv4HeaderLength } from '../../agent/wire/ipv4.js';
import { emitIpv6, type Ipv6Header, ipv6HeaderLength } from '../../agent/wire/ipv6.js';
import { emitIpv6cp, type Ipv6cp, ipv6cpLength } from '../../agent/wire/ipv6cp.js';
import { emitLcp, type Lcp, lcpLength } from '../../agent/wire/lcp.js';
import { emitLlmnr, type Llmnr, llmnrLength } from '../../agent/wire/llmnr.js';
import { emitMld, type Mld, mldLength } from '../../agent/wire/mld.js';
import { emitNbns, type Nbns, nbnsLength } from '../../agent/wire/nbns.js';
import { emitNdp, type Ndp, ndpLength } from '../../agent/wire/ndp.js';
import { emitPap, type Pap, papLength } from '../../agent/wire/pap.js';
import { emitPpp, pppLength } from '../../agent/wire/ppp.js';
import {
  emitPppoe,
  emitPppoeTags,
  type PppoeTag,
  pppoeHeaderLength,
  pppoeTagsLength,
} from '../../agent/wire/pppoe.js';
import { emitSsdp, type Ssdp, ssdpLength } from '../../agent/wire/ssdp.js';
import { emitTcp, type TcpHeader, tcpLength } from '../../agent/wire/tcp.js';
import { emitUdp, udpLength } from '../../agent/wire/udp.js';
import { emitWakeOnLan, type WakeOnLan, wakeOnLanLength } from '../../agent/wire/wol.js';
import { linkType } from '../../host-sim/capture/dissect.js';

export interface CraftedFrame {
  readonly title: string;
  readonly link: number;
  readonly bytes: Uint8Array;
  /** What the innermost layer must be read back as. */
  readonly value: object;
}

const mac = (text: string) => parseMac(text)!;
const ip = (text: string) => parseAddress(text)!;
const hex = (text: string) => parseHex(text)!;
const text = encodeUtf8;

const gatewayMac = mac('02:00:5e:10:00:01');
const hostMac = mac('3c:22:fb:01:02:03');
const gateway = ip('192.0.2.1');
const host = ip('192.0.2.7');
const gateway6 = ip('fe80::1');
const host6 = ip('fe80::3e22:fbff:fe01:203');
const global6 = ip('2001:db8:0:1::7');
const allNodes = ip('ff02::1');
const none = new Uint8Array(0);

/** `length(value)` bytes by `emit`, into a buffer that shows an unwritten byte. */
function bytesOf<T>(
  value: T,
  length: (value: T) => number,
  emit: (value: T, out: Uint8Array, at: number) => number,
): Uint8Array {
  const out = new Uint8Array(length(value)).fill(0xa5);
  emit(value, out, 0);
  return out;
}

/** A header of `headerLength` bytes before `payload`, which already stands there when `emit` is called. */
function before(headerLength: number, payload: Uint8Array, emit: (out: Uint8Array) => unknown): Uint8Array {
  const out = new Uint8Array(headerLength + payload.length).fill(0xa5);
  out.set(payload, headerLength);
  emit(out);
  return out;
}

function ethernet(etherType: number, payload: Uint8Array, change: Partial<EthernetHeader> = {}): Uint8Array {
  const header = { dstMac: gatewayMac, srcMac: hostMac, tags: [], etherType, ...change };
  return before(ethernetLength(header), payload, out => emitEthernet(header, payload.length, out, 0));
}

function ipv4(protocol: number, payload: Uint8Array, change: Partial<Ipv4Header> = {}): Uint8Array {
  const header: Ipv4Header = {
    dscp: 0,
    ecn: 0,
    identification: 0x1234,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 64,
    protocol,
    srcAddress: host,
    dstAddress: gateway,
    options: none,
    ...change,
  };
  return before(ipv4HeaderLength(header), payload, out => emitIpv4(header, payload.length, out, 0));
}

function ipv6(protocol: number, payload: Uint8Array, change: Partial<Ipv6Header> = {}): Uint8Array {
  const header: Ipv6Header = {
    dscp: 0,
    ecn: 0,
    flowLabel: 0,
    hopLimit: 255,
    srcAddress: host6,
    dstAddress: gateway6,
    extensions: [],
    protocol,
    ...change,
  };
  return before(ipv6HeaderLength(header), payload, out => emitIpv6(header, payload.length, out, 0));
}

const pseudo4: PseudoHeader = { srcAddress: host, dstAddress: gateway };
const pseudo6: PseudoHeader = { srcAddress: host6, dstAddress: gateway6 };

function udp(srcPort: number, dstPort: number, payload: Uint8Array, pseudoHeader = pseudo4): Uint8Array {
  return before(udpLength, payload, out =>
    emitUdp({ srcPort, dstPort }, payload.length, pseudoHeader, out, 0),
  );
}

/** One message in UDP, over IPv4 and Ethernet. */
function udpFrame(srcPort: number, dstPort: number, payload: Uint8Array): Uint8Array {
  return ethernet(0x0800, ipv4(17, udp(srcPort, dstPort, payload)));
}

function udp6Frame(srcPort: number, dstPort: number, payload: Uint8Array): Uint8Array {
  return ethernet(0x86dd, ipv6(17, udp(srcPort, dstPort, payload, pseudo6)));
}

const frames: CraftedFrame[] = [];

function add(title: string, bytes: Uint8Array, value: object, link: number = linkType.ethernet): void {
  frames.push({ title, link, bytes, value });
}

function addArp(title: string, arp: Arp, header: Partial<EthernetHeader> = {}): void {
  add(
    title,
    ethernet(
      0x0806,
      bytesOf(arp, () => arpLength, emitArp),
      header,
    ),
    arp,
  );
}

function addTcp(title: string, change: Partial<TcpHeader>, payload: Uint8Array, version: 4 | 6 = 4): void {
  const header: TcpHeader = {
    srcPort: 50_000,
    dstPort: 22,
    sequenceNumber: 0xfffffff0,
    acknowledgmentNumber: 0,
    flags: 2,
    window: 64_240,
    urgentPointer: 0,
    options: [],
    ...change,
  };
  const pseudoHeader = version === 4 ? pseudo4 : pseudo6;
  const segment = before(tcpLength(header), payload, out =>
    emitTcp(header, payload.length, pseudoHeader, out, 0),
  );
  const frame = version === 4 ? ethernet(0x0800, ipv4(6, segment)) : ethernet(0x86dd, ipv6(6, segment));
  add(title, frame, payload.length > 0 ? { length: payload.length, bytes: payload } : header);
}

/** `value` is what dissect makes of the header's second word. */
function addIcmp(title: string, header: IcmpHeader, payload: Uint8Array, value: object): void {
  const message = before(icmpLength, payload, out => emitIcmp(header, payload.length, out, 0));
  const found = { type: header.type, code: header.code, ...value };
  const innermost = payload.length > 0 ? { length: payload.length, bytes: payload } : found;
  add(title, ethernet(0x0800, ipv4(1, message)), innermost);
}

function addIcmpv6(title: string, header: IcmpHeader, payload: Uint8Array): void {
  const message = before(icmpLength, payload, out => emitIcmpv6(header, payload.length, pseudo6, out, 0));
  add(title, ethernet(0x86dd, ipv6(58, message)), { length: payload.length, bytes: payload });
}

const routerAlert4 = hex('94040000');
const routerAlert6 = { protocol: 0, data: hex('050200000100') } as const;

function addIgmp(title: string, igmp: Igmp): void {
  const packet = ipv4(2, bytesOf(igmp, igmpLength, emitIgmp), {
    timeToLive: 1,
    dstAddress: ip('224.0.0.22'),
    options: routerAlert4,
  });
  add(title, ethernet(0x0800, packet), igmp);
}

function addMld(title: string, mld: Mld): void {
  const addresses = { srcAddress: host6, dstAddress: ip('ff02::16') };
  const message = bytesOf(mld, mldLength, (value, out, at) => emitMld(value, addresses, out, at));
  const packet = ipv6(58, message, { ...addresses, hopLimit: 1, extensions: [routerAlert6] });
  add(title, ethernet(0x86dd, packet), mld);
}

function addNdp(title: string, ndp: Ndp, change: Partial<PseudoHeader> = {}): void {
  const addresses = { srcAddress: gateway6, dstAddress: allNodes, ...change };
  const message = bytesOf(ndp, ndpLength, (value, out, at) => emitNdp(value, addresses, out, at));
  add(title, ethernet(0x86dd, ipv6(58, message, addresses)), ndp);
}

function addDiscovery(title: string, code: number, sessionId: number, tags: readonly PppoeTag[]): void {
  const payload = bytesOf(tags, pppoeTagsLength, emitPppoeTags);
  const pppoe = before(pppoeHeaderLength, payload, out =>
    emitPppoe({ code, sessionId }, payload.length, out, 0),
  );
  add(title, ethernet(0x8863, pppoe), { code, sessionId, tags });
}

function ppp(protocol: number, payload: Uint8Array): Uint8Array {
  const header = { protocol, protocolCompressed: false, addressAndControl: false };
  return before(pppLength(header), payload, out => emitPpp(header, out, 0));
}

function pppoeSession(protocol: number, payload: Uint8Array): Uint8Array {
  const packet = ppp(protocol, payload);
  return before(pppoeHeaderLength, packet, out =>
    emitPppoe({ code: 0, sessionId: 0x0011 }, packet.length, out, 0),
  );
}

function addPpp(title: string, protocol: number, payload: Uint8Array, value: object): void {
  add(title, ethernet(0x8864, pppoeSession(protocol, payload)), value);
}

addArp(
  'ARP probe behind two VLAN tags',
  {
    operation: 1,
    senderMac: hostMac,
    senderAddress: ip('0.0.0.0'),
    targetMac: mac('00:00:00:00:00:00'),
    targetAddress: host,
  },
  {
    tags: [
      { tpid: 0x88a8, priority: 5, dropEligible: true, vlanId: 100 },
      { tpid: 0x8100, priority: 0, dropEligible: false, vlanId: 4094 },
    ],
  },
);
addArp('ARP reply', {
  operation: 2,
  senderMac: gatewayMac,
  senderAddress: gateway,
  targetMac: hostMac,
  targetAddress: host,
});
const llc = hex('424203000000000080000200000000010000000080000200000000018001000014000200');
add('802.3 frame with LLC (spanning tree)', ethernet(0, concatBytes([llc, hex('0f00')])), {
  length: 38,
  bytes: concatBytes([llc, hex('0f00')]),
});

addTcp(
  'TCP SYN with every option that is known',
  {
    options: [
      { kind: 'maximum-segment-size', maximumSegmentSize: 1460 },
      { kind: 'sack-permitted' },
      { kind: 'timestamps', value: 0xfedcba98, echoReply: 1 },
      { kind: 'no-operation' },
      { kind: 'window-scale', shift: 7 },
    ],
  },
  none,
);
addTcp(
  'TCP with SACK blocks, ECN and urgent data',
  {
    flags: 0xf8,
    acknowledgmentNumber: 77,
    urgentPointer: 3,
    options: [
      { kind: 'no-operation' },
      { kind: 'no-operation' },
      {
        kind: 'sack',
        blocks: [
          { leftEdge: 1000, rightEdge: 2000 },
          { leftEdge: 3000, rightEdge: 4000 },
        ],
      },
      { kind: 'raw', type: 253, data: hex('f98900112233') },
    ],
  },
  text('abc'),
);
addTcp('TCP over IPv6, reset', { flags: 0x14, acknowledgmentNumber: 1 }, none, 6);

const other = hex('0001020304050607');
add('UDP over IPv4 to a port nobody knows', udpFrame(40_000, 40_001, other), { length: 8, bytes: other });
add('UDP over IPv6 to a port nobody knows', udp6Frame(40_000, 40_001, other), { length: 8, bytes: other });
add(
  'first fragment of an IPv4 datagram',
  ethernet(0x0800, ipv4(17, other, { moreFragments: true, dontFragment: false, dscp: 46, ecn: 1 })),
  { length: 8, bytes: other },
);
add(
  'last fragment of an IPv4 datagram',
  ethernet(0x0800, ipv4(17, other, { fragmentOffset: 1480, identification: 7, dontFragment: false })),
  { length: 8, bytes: other },
);
add(
  'IPv6 with hop-by-hop, destination options, routing and authentication headers',
  ethernet(
    0x86dd,
    ipv6(17, udp(40_000, 40_001, other, pseudo6), {
      dscp: 10,
      ecn: 2,
      flowLabel: 0xabcde,
      extensions: [
        { protocol: 0, data: hex('010400000000') },
        { protocol: 60, data: hex('010400000000') },
        { protocol: 43, data: hex('fd0000000000') },
        // RFC 4302 §2: length, reserved, SPI, sequence number, integrity check value of 12 bytes.
        { protocol: 51, data: hex('0000000001000000000a00112233445566778899aabb') },
      ],
    }),
  ),
  { length: 8, bytes: other },
);
add(
  'first fragment of an IPv6 packet',
  ethernet(
    0x86dd,
    ipv6(17, other, {
      extensions: [{ protocol: 44, fragmentOffset: 0, moreFragments: true, identification: 0xdeadbeef }],
    }),
  ),
  { length: 8, bytes: other },
);

const quoted4 = ipv4(17, udp(1234, 5678, other));
const quoted6 = ipv6(17, udp(1234, 5678, other, pseudo6));
addIcmp('ICMP echo', { type: 8, code: 0, rest: 0x12345678 }, other, {});
addIcmp('ICMP echo reply', { type: 0, code: 0, rest: 0x12345678 }, other, {});
addIcmp('ICMP fragmentation needed', { type: 3, code: 4, rest: 1492 }, quoted4, {});
addIcmp('ICMP port unreachable', { type: 3, code: 3, rest: 0 }, quoted4, {});
addIcmp('ICMP redirect', { type: 5, code: 1, rest: 0xc0000209 }, quoted4, {});
addIcmp('ICMP time exceeded', { type: 11, code: 0, rest: 0 }, quoted4, {});
addIcmp('ICMP parameter problem', { type: 12, code: 0, rest: 0x14000000 }, quoted4, {});
addIcmp('ICMP timestamp', { type: 13, code: 0, rest: 0x00010002 }, hex('000001000000020000000300'), {});
addIcmpv6('ICMPv6 echo request', { type: 128, code: 0, rest: 0x12345678 }, other);
addIcmpv6('ICMPv6 destination unreachable', { type: 1, code: 4, rest: 0 }, quoted6);
addIcmpv6('ICMPv6 packet too big', { type: 2, code: 0, rest: 1280 }, quoted6);
addIcmpv6('ICMPv6 time exceeded', { type: 3, code: 0, rest: 0 }, quoted6);
addIcmpv6('ICMPv6 parameter problem', { type: 4, code: 1, rest: 40 }, quoted6);

const emptyTail = { suppressRouterProcessing: false, robustness: 0, queryIntervalS: 0, sourceAddresses: [] };
const tail4 = {
  suppressRouterProcessing: true,
  robustness: 2,
  queryIntervalS: 125,
  sourceAddresses: [ip('192.0.2.9'), ip('192.0.2.10')],
};
const group = ip('239.1.2.3');
addIgmp('IGMPv1 query', {
  kind: 'query',
  version: 1,
  maxResponseTimeMs: 10_000,
  groupAddress: ip('0.0.0.0'),
  ...emptyTail,
});
addIgmp('IGMPv1 report', { kind: 'report-v1', groupAddress: group });
addIgmp('IGMPv2 query', {
  kind: 'query',
  version: 2,
  maxResponseTimeMs: 2500,
  groupAddress: group,
  ...emptyTail,
});
addIgmp('IGMPv2 report', { kind: 'report-v2', groupAddress: group });
addIgmp('IGMPv2 leave', { kind: 'leave', groupAddress: group });
addIgmp('IGMPv3 query with a long response time', {
  kind: 'query',
  version: 3,
  maxResponseTimeMs: 25_600,
  groupAddress: group,
  ...tail4,
  queryIntervalS: 256,
});
addIgmp('IGMPv3 report of six kinds of record', {
  kind: 'report-v3',
  records: [1, 2, 3, 4, 5, 6].map(type => ({
    type,
    groupAddress: group,
    sourceAddresses: type % 2 === 0 ? [] : tail4.sourceAddresses,
  })),
});
const group6 = ip('ff05::1:3');
const sources6 = [global6, ip('2001:db8::9')];
addMld('MLDv1 query', {
  kind: 'query',
  version: 1,
  maxResponseTimeMs: 10_000,
  groupAddress: ip('::'),
  ...emptyTail,
});
addMld('MLDv1 report', { kind: 'report', groupAddress: group6 });
addMld('MLDv1 done', { kind: 'done', groupAddress: group6 });
addMld('MLDv2 query with a long response time', {
  kind: 'query',
  version: 2,
  maxResponseTimeMs: 32_768,
  groupAddress: group6,
  ...tail4,
  sourceAddresses: sources6,
});
addMld('MLDv2 report', {
  kind: 'report-v2',
  records: [
    { type: 4, groupAddress: group6, sourceAddresses: [] },
    { type: 5, groupAddress: group6, sourceAddresses: sources6 },
  ],
});

addNdp(
  'router solicitation',
  {
    kind: 'router-solicitation',
    options: [{ kind: 'source-link-layer-address', linkLayerMac: hostMac }],
  },
  { srcAddress: host6, dstAddress: ip('ff02::2') },
);
addNdp('router advertisement with every option', {
  kind: 'router-advertisement',
  currentHopLimit: 64,
  managed: true,
  otherConfiguration: true,
  preference: 1,
  routerLifetimeS: 1800,
  reachableTimeMs: 30_000,
  retransmitTimerMs: 1000,
  options: [
    { kind: 'source-link-layer-address', linkLayerMac: gatewayMac },
    { kind: 'mtu', mtu: 1492 },
    {
      kind: 'prefix-information',
      prefixLength: 64,
      onLink: true,
      autonomous: true,
      validLifetimeS: 0xffffffff,
      preferredLifetimeS: 3600,
      prefixAddress: ip('2001:db8:0:1::'),
    },
    {
      kind: 'route-information',
      prefixLength: 48,
      preference: -1,
      routeLifetimeS: 600,
      prefixAddress: ip('2001:db8:5::'),
    },
    { kind: 'recursive-dns-server', lifetimeS: 1200, serverAddresses: sources6 },
    { kind: 'dns-search-list', lifetimeS: 1200, domains: ['home.example', 'example.org'] },
  ],
});
addNdp(
  'neighbour solicitation with a nonce',
  {
    kind: 'neighbor-solicitation',
    targetAddress: host6,
    options: [{ kind: 'nonce', nonce: hex('010203040506') }],
  },
  { srcAddress: ip('::'), dstAddress: ip('ff02::1:ff01:203') },
);
addNdp(
  'neighbour advertisement',
  {
    kind: 'neighbor-advertisement',
    router: false,
    solicited: true,
    override: true,
    targetAddress: host6,
    options: [{ kind: 'target-link-layer-address', linkLayerMac: hostMac }],
  },
  { srcAddress: host6, dstAddress: gateway6 },
);
addNdp(
  'redirect',
  {
    kind: 'redirect',
    targetAddress: ip('fe80::2'),
    destinationAddress: ip('2001:db8::9'),
    options: [
      { kind: 'target-link-layer-address', linkLayerMac: gatewayMac },
      { kind: 'redirected-header', packet: quoted6 },
    ],
  },
  { dstAddress: host6 },
);

const dhcp: Dhcp = {
  operation: 1,
  hops: 1,
  transactionId: 0xcafebabe,
  secondsElapsed: 3,
  broadcast: true,
  clientAddress: ip('0.0.0.0'),
  yourAddress: ip('0.0.0.0'),
  serverAddress: ip('0.0.0.0'),
  relayAddress: gateway,
  clientMac: hostMac,
  serverName: none,
  bootFile: none,
  options: [
    { kind: 'message-type', messageType: 1 },
    { kind: 'requested-address', address: host },
    { kind: 'client-identifier', data: concatBytes([hex('01'), hostMac]) },
    { kind: 'host-name', text: 'laptop' },
    { kind: 'vendor-class-identifier', data: text('MSFT 5.0') },
    { kind: 'maximum-message-size', sizeBytes: 1472 },
    { kind: 'parameter-request-list', codes: [1, 3, 6, 15, 42] },
    {
      kind: 'relay-agent-information',
      suboptions: [
        { code: 1, data: text('eth 1/1') },
        { code: 2, data: text('customer') },
      ],
    },
  ],
};
add('DHCP discover through a relay agent', udpFrame(68, 67, bytesOf(dhcp, dhcpLength, emitDhcp)), dhcp);
const offer: Dhcp = {
  ...dhcp,
  operation: 2,
  broadcast: false,
  yourAddress: host,
  serverName: text('boot'),
  bootFile: text('image.bin'),
  options: [
    { kind: 'message-type', messageType: 2 },
    { kind: 'server-identifier', address: gateway },
    { kind: 'lease-time', seconds: 86_400 },
    { kind: 'renewal-time', seconds: 43_200 },
    { kind: 'rebinding-time', seconds: 75_600 },
    { kind: 'subnet-mask', address: ip('255.255.255.0') },
    { kind: 'router', addresses: [gateway] },
    { kind: 'domain-name-server', addresses: [gateway, ip('9.9.9.9')] },
    { kind: 'broadcast-address', address: ip('192.0.2.255') },
    { kind: 'ntp-server', addresses: [gateway] },
    { kind: 'domain-name', text: 'home.example' },
    { kind: 'message', text: 'welcome' },
  ],
};
add('DHCP offer', udpFrame(67, 68, bytesOf(offer, dhcpLength, emitDhcp)), offer);

const solicit: Dhcpv6 = {
  kind: 'message',
  messageType: 1,
  transactionId: 0x123456,
  options: [
    { kind: 'client-identifier', duid: concatBytes([hex('00030001'), hostMac]) },
    { kind: 'elapsed-time', elapsedHundredths: 150 },
    { kind: 'rapid-commit' },
    { kind: 'option-request', codes: [23, 24] },
    { kind: 'ia-na', iaid: 0xfb010203, t1Seconds: 0, t2Seconds: 0, options: [] },
    {
      kind: 'ia-pd',
      iaid: 9,
      t1Seconds: 0,
      t2Seconds: 0,
      options: [
        {
          kind: 'ia-prefix',
          preferredLifetimeSeconds: 0,
          validLifetimeSeconds: 0,
          prefixLength: 56,
          prefixAddress: ip('::'),
          options: [],
        },
      ],
    },
  ],
};
const solicitBytes = bytesOf(solicit, dhcpv6Length, emitDhcpv6);
add('DHCPv6 solicit', udp6Frame(546, 547, solicitBytes), solicit);
const reply: Dhcpv6 = {
  kind: 'message',
  messageType: 7,
  transactionId: 0x123456,
  options: [
    { kind: 'server-identifier', duid: concatBytes([hex('000100012c3d4e5f'), gatewayMac]) },
    { kind: 'preference', preference: 255 },
    {
      kind: 'ia-na',
      iaid: 0xfb010203,
      t1Seconds: 1800,
      t2Seconds: 2880,
      options: [
        {
          kind: 'ia-address',
          address: global6,
          preferredLifetimeSeconds: 3600,
          validLifetimeSeconds: 7200,
          options: [{ kind: 'status-code', statusCode: 0, text: 'all well' }],
        },
      ],
    },
    { kind: 'ia-ta', iaid: 5, options: [{ kind: 'status-code', statusCode: 2, text: '' }] },
    { kind: 'dns-servers', addresses: sources6 },
    { kind: 'domain-list', names: ['home.example', 'example.org'] },
  ],
};
add('DHCPv6 reply', udp6Frame(547, 546, bytesOf(reply, dhcpv6Length, emitDhcpv6)), reply);
const relay: Dhcpv6 = {
  kind: 'relay-forward',
  hopCount: 0,
  linkAddress: global6,
  peerAddress: host6,
  options: [{ kind: 'relay-message', message: solicitBytes }],
};
// The innermost layer is the message relayed.
add('DHCPv6 relay', udp6Frame(547, 547, bytesOf(relay, dhcpv6Length, emitDhcpv6)), solicit);

const head = { class: 1, cacheFlush: false, timeToLive: 3600 };
const everyRecord: DnsDataRecord[] = [
  { ...head, name: 'a.example', kind: 'a', address: host },
  { ...head, name: 'a.example', kind: 'aaaa', address: global6 },
  { ...head, name: 'example', kind: 'ns', target: 'ns.example' },
  { ...head, name: 'www.example', kind: 'cname', target: 'a.example' },
  { ...head, name: '7.2.0.192.in-addr.arpa', kind: 'ptr', target: 'a.example' },
  { ...head, name: 'example', kind: 'mx', preference: 10, exchange: 'mail.example' },
  { ...head, name: 'a.example', kind: 'hinfo', cpu: text('ARM'), operatingSystem: text('Linux') },
  { ...head, name: 'a.example', kind: 'txt', strings: [text('path=/'), text('v=1')] },
  { ...head, name: '_ssh._tcp.example', kind: 'srv', priority: 1, weight: 2, port: 22, target: 'a.example' },
  { ...head, name: 'a.example', kind: 'nsec', nextName: 'b.example', types: [1, 28, 47] },
  { ...head, name: 'a.example', kind: 'raw', type: 65_280, data: hex('0102') },
];
const dnsHeader = {
  identification: 0xbeef,
  isResponse: false,
  authoritative: false,
  truncated: false,
  recursionDesired: true,
  recursionAvailable: false,
  authenticData: false,
  checkingDisabled: false,
  responseCode: 0,
};
const question = { name: 'a.example', type: 255, class: 1, unicastResponse: false };
const query: DnsQuery = {
  ...dnsHeader,
  kind: 'query',
  operation: 0,
  authenticData: true,
  questions: [question],
  answers: [],
  authorities: [],
  additionals: [
    {
      kind: 'opt',
      udpPayloadSizeBytes: 1232,
      extendedResponseCode: 0,
      version: 0,
      dnssecOk: true,
      options: [{ kind: 'raw', code: 10, data: hex('0011223344556677') }],
    },
  ],
};
const dnsBytes = (dns: Dns) => bytesOf(dns, dnsLength, emitDns);
add('DNS query with EDNS(0)', udpFrame(40_000, 53, dnsBytes(query)), query);
const response: DnsQuery = {
  ...query,
  isResponse: true,
  authoritative: true,
  recursionAvailable: true,
  answers: everyRecord,
  authorities: [
    {
      ...head,
      name: 'example',
      kind: 'soa',
      primaryServer: 'ns.example',
      responsibleMailbox: 'admin.example',
      serial: 2026,
      refreshSeconds: 1,
      retrySeconds: 2,
      expireSeconds: 3,
      minimumSeconds: 4,
    },
  ],
  additionals: [],
};
add('DNS response with every record', udpFrame(53, 40_000, dnsBytes(response)), response);
const announcement: DnsQuery = {
  ...query,
  identification: 0,
  recursionDesired: false,
  authenticData: false,
  questions: [{ name: '_ipp._tcp.local', type: 12, class: 1, unicastResponse: true }],
  additionals: [
    {
      kind: 'opt',
      udpPayloadSizeBytes: 1440,
      extendedResponseCode: 0,
      version: 0,
      dnssecOk: false,
      options: [
        { kind: 'update-lease', leaseSeconds: 7200 },
        { kind: 'owner', sequence: 3, primaryMac: hostMac, wakeupMac: hostMac, password: none },
      ],
    },
  ],
  authorities: [{ ...head, cacheFlush: true, name: 'printer.local', kind: 'a', address: host }],
};
add('multicast DNS for a sleep proxy', udpFrame(5353, 5353, dnsBytes(announcement)), announcement);
const llmnr: Llmnr = {
  identification: 7,
  isResponse: true,
  conflict: true,
  truncated: false,
  tentative: true,
  responseCode: 0,
  question: { name: 'laptop', type: 28, class: 1, unicastResponse: false },
  answers: [{ ...head, name: 'laptop', kind: 'aaaa', address: host6 }],
  authorities: [],
  additionals: [],
};
add('LLMNR response', udp6Frame(5355, 40_000, bytesOf(llmnr, llmnrLength, emitLlmnr)), llmnr);
const nbName = { name: 'LAPTOP', suffix: 0x20, scope: '' };
const nbns: Nbns = {
  identification: 8,
  isResponse: false,
  operation: 5,
  authoritative: false,
  truncated: false,
  recursionDesired: true,
  recursionAvailable: false,
  broadcast: true,
  responseCode: 0,
  questions: [{ name: nbName, type: 0x20 }],
  answers: [],
  authorities: [],
  additionals: [
    {
      name: nbName,
      timeToLive: 300_000,
      kind: 'nb',
      entries: [{ group: false, nodeType: 0, address: host }],
    },
  ],
};
add('NetBIOS name registration', udpFrame(137, 137, bytesOf(nbns, nbnsLength, emitNbns)), nbns);
const nbstat: Nbns = {
  ...nbns,
  isResponse: true,
  operation: 0,
  authoritative: true,
  recursionDesired: false,
  broadcast: false,
  questions: [],
  answers: [
    {
      name: { name: '*', suffix: 0, scope: '' },
      timeToLive: 0,
      kind: 'nbstat',
      names: [
        {
          name: 'LAPTOP',
          suffix: 0,
          group: false,
          nodeType: 2,
          deregistering: false,
          conflict: false,
          active: true,
          permanent: false,
        },
        {
          name: 'WORKGROUP',
          suffix: 0x1e,
          group: true,
          nodeType: 0,
          deregistering: false,
          conflict: false,
          active: true,
          permanent: true,
        },
      ],
      unitMac: hostMac,
      statistics: new Uint8Array(40),
    },
  ],
  additionals: [],
};
add('NetBIOS node status', udpFrame(137, 137, bytesOf(nbstat, nbnsLength, emitNbns)), nbstat);
const ssdp: Ssdp = {
  kind: 'notify',
  headers: [
    { name: 'HOST', value: '239.255.255.250:1900' },
    { name: 'CACHE-CONTROL', value: 'max-age=1800' },
    { name: 'LOCATION', value: 'http://192.0.2.7/device.xml' },
    { name: 'NT', value: 'upnp:rootdevice' },
    { name: 'NTS', value: 'ssdp:alive' },
    { name: 'SERVER', value: 'Linux/6 UPnP/2.0 kith/1' },
    { name: 'USN', value: 'uuid:1::upnp:rootdevice' },
  ],
};
add('SSDP notify', udpFrame(40_000, 1900, bytesOf(ssdp, ssdpLength, emitSsdp)), ssdp);
const found: Ssdp = {
  kind: 'response',
  headers: [
    { name: 'ST', value: 'upnp:rootdevice' },
    { name: 'EXT', value: '' },
  ],
};
add('SSDP response', udpFrame(1900, 40_000, bytesOf(found, ssdpLength, emitSsdp)), found);
for (const password of ['', 'c0000201', '001122334455']) {
  const wake: WakeOnLan = { targetMac: hostMac, password: hex(password) };
  const magic = bytesOf(wake, wakeOnLanLength, emitWakeOnLan);
  add(`Wake-on-LAN in Ethernet, password of ${password.length / 2} bytes`, ethernet(0x0842, magic), wake);
  add(`Wake-on-LAN in UDP, password of ${password.length / 2} bytes`, udpFrame(40_000, 9, magic), wake);
}

addDiscovery('PADI with the tags of an access node', 0x09, 0, [
  { kind: 'service-name', text: '' },
  { kind: 'host-uniq', data: hex('01020304') },
  { kind: 'ppp-max-payload', value: 1500 },
  { kind: 'relay-session-id', data: hex('0506') },
  {
    kind: 'dsl-forum',
    subOptions: [
      { kind: 'agent-circuit-id', text: 'node eth 1/1' },
      { kind: 'agent-remote-id', text: 'line 7' },
      { kind: 'actual-data-rate-upstream', value: 40_000 },
      { kind: 'actual-data-rate-downstream', value: 250_000 },
    ],
  },
]);
addDiscovery('PADO', 0x07, 0, [
  { kind: 'service-name', text: 'internet' },
  { kind: 'ac-name', text: 'bras' },
  { kind: 'ac-cookie', data: hex('00112233445566778899aabbccddeeff') },
  { kind: 'vendor-specific', vendorId: 9, data: hex('0102') },
  { kind: 'end-of-list' },
]);
addDiscovery('PADS with an error', 0x65, 0, [
  { kind: 'service-name-error', text: 'no such service' },
  { kind: 'ac-system-error', text: 'full' },
  { kind: 'generic-error', text: 'sorry' },
]);
addDiscovery('PADT', 0xa7, 0x0011, []);

const lcpBytes = (lcp: Lcp) => bytesOf(lcp, lcpLength, emitLcp);
const lcps: Lcp[] = [
  {
    kind: 'configure-request',
    identifier: 1,
    options: [
      { kind: 'maximum-receive-unit', value: 1492 },
      { kind: 'async-control-character-map', value: 0xa0000 },
      { kind: 'authentication-protocol', protocol: 0xc223, data: hex('05') },
      { kind: 'magic-number', value: 0xdeadbeef },
      { kind: 'protocol-field-compression' },
      { kind: 'address-and-control-field-compression' },
      { kind: 'callback', operation: 6, message: none },
      { kind: 'maximum-receive-reconstructed-unit', value: 1500 },
      { kind: 'raw', type: 19, data: hex('01020304') },
    ],
  },
  {
    kind: 'configure-reject',
    identifier: 2,
    options: [{ kind: 'authentication-protocol', protocol: 0xc023, data: none }],
  },
  { kind: 'terminate-request', identifier: 3, data: text('bye') },
  { kind: 'terminate-ack', identifier: 3, data: none },
  { kind: 'code-reject', identifier: 4, rejectedPacket: hex('7f010004') },
  {
    kind: 'protocol-reject',
    identifier: 5,
    rejectedProtocol: 0x80fd,
    rejectedInformation: hex('0101000a120600000001'),
  },
  { kind: 'echo-request', identifier: 6, magicNumber: 1, data: none },
  { kind: 'echo-reply', identifier: 6, magicNumber: 2, data: hex('0102') },
  { kind: 'discard-request', identifier: 7, magicNumber: 3, data: hex('00') },
  { kind: 'identification', identifier: 8, magicNumber: 4, data: text('kith') },
];
const quality: Lcp = {
  kind: 'configure-request',
  identifier: 9,
  options: [{ kind: 'quality-protocol', protocol: 0xc025, data: hex('00000064') }],
};
addPpp('LCP quality protocol', 0xc021, lcpBytes(quality), quality);
for (const lcp of lcps) addPpp(`LCP ${lcp.kind}`, 0xc021, lcpBytes(lcp), lcp);
const ipcps: Ipcp[] = [
  {
    kind: 'configure-request',
    identifier: 1,
    options: [
      { kind: 'ip-address', ipAddress: ip('0.0.0.0') },
      { kind: 'primary-dns-server', ipAddress: ip('0.0.0.0') },
      { kind: 'secondary-dns-server', ipAddress: ip('9.9.9.9') },
      { kind: 'primary-nbns-server', ipAddress: ip('192.0.2.3') },
      { kind: 'secondary-nbns-server', ipAddress: ip('192.0.2.4') },
      { kind: 'ip-compression-protocol', protocol: 0x2d, data: hex('0f01') },
    ],
  },
  {
    kind: 'configure-reject',
    identifier: 2,
    options: [{ kind: 'ip-addresses', sourceAddress: host, destinationAddress: gateway }],
  },
  { kind: 'terminate-request', identifier: 3, data: none },
];
for (const ipcp of ipcps) addPpp(`IPCP ${ipcp.kind}`, 0x8021, bytesOf(ipcp, ipcpLength, emitIpcp), ipcp);
const ipv6cp: Ipv6cp = {
  kind: 'configure-nak',
  identifier: 1,
  options: [{ kind: 'interface-identifier', interfaceIdentifier: hex('3e22fbfffe010203') }],
};
addPpp('IPV6CP configure-nak', 0x8057, bytesOf(ipv6cp, ipv6cpLength, emitIpv6cp), ipv6cp);
const ccp: Ccp = {
  kind: 'configure-request',
  identifier: 1,
  options: [
    { kind: 'raw', type: 18, data: hex('01000040') },
    { kind: 'raw', type: 26, data: hex('7800') },
    { kind: 'raw', type: 21, data: hex('2f') },
  ],
};
addPpp('CCP configure-request', 0x80fd, bytesOf(ccp, ccpLength, emitCcp), ccp);
const paps: Pap[] = [
  { kind: 'authenticate-request', identifier: 1, peerId: text('alice'), password: text('secret') },
  { kind: 'authenticate-ack', identifier: 1, message: text('welcome') },
  { kind: 'authenticate-nak', identifier: 1, message: none },
];
for (const pap of paps) addPpp(`PAP ${pap.kind}`, 0xc023, bytesOf(pap, papLength, emitPap), pap);
const chaps: Chap[] = [
  { kind: 'challenge', identifier: 1, value: hex('00112233445566778899aabbccddeeff'), name: text('bras') },
  { kind: 'response', identifier: 1, value: hex('ffeeddccbbaa99887766554433221100'), name: text('alice') },
  { kind: 'success', identifier: 1, message: text('welcome') },
  { kind: 'failure', identifier: 1, message: none },
];
for (const chap of chaps) {
  const { name, ...rest } = { name: undefined, ...chap };
  addPpp(
    `CHAP ${chap.kind}`,
    0xc223,
    bytesOf(chap, chapLength, emitChap),
    name ? { ...rest, peerName: name } : rest,
  );
}

const inner = udp(40_000, 40_001, other);
const data = { length: 8, bytes: other };
add('PPPoE session with IPv4', ethernet(0x8864, pppoeSession(0x21, ipv4(17, inner))), data);
add(
  'PPPoE session with IPv6',
  ethernet(0x8864, pppoeSession(0x57, ipv6(17, udp(40_000, 40_001, other, pseudo6)))),
  data,
);
add('raw IPv4', ipv4(17, inner), data, linkType.raw);
add('raw IPv6', ipv6(17, udp(40_000, 40_001, other, pseudo6)), data, linkType.raw);
add(
  'BSD loopback, IPv4, little-endian',
  concatBytes([hex('02000000'), ipv4(17, inner)]),
  data,
  linkType.null,
);
add(
  'OpenBSD loopback, IPv6',
  concatBytes([hex('00000018'), ipv6(17, udp(40_000, 40_001, other, pseudo6))]),
  data,
  linkType.loop,
);
add(
  'Linux cooked capture',
  concatBytes([hex('000400010006'), hostMac, hex('00000800'), ipv4(17, inner)]),
  data,
  linkType.linuxCooked,
);
add(
  'Linux cooked capture, second version',
  concatBytes([hex('0800000000000007000100'), hex('06'), hostMac, hex('0000'), ipv4(17, inner)]),
  data,
  linkType.linuxCooked2,
);
add('PPP', concatBytes([hex('ff03'), ppp(0x21, ipv4(17, inner))]), data, linkType.ppp);
add(
  'PPP in HDLC framing',
  concatBytes([hex('ff03'), ppp(0xc021, lcpBytes(lcps[2]))]),
  lcps[2],
  linkType.pppSerial,
);
add('PPPoE session without Ethernet', pppoeSession(0x21, ipv4(17, inner)), data, linkType.pppEther);

/** All of them, at least one for each protocol and link type. */
export const craftedFrames: readonly CraftedFrame[] = frames;
