/**
 * What an idle host hears at home and in an office (Nedevschi et al., "Skilled in the Art of Being Idle", NSDI 2009, §4 and
 * §5): kinds of frames with their rates, and a day of them, seeded.
 *
 * The seed gives no rates. Each row says where its own comes from: a standard's timer, a capture of test/captures, somebody's
 * default from memory, or an assumption of ours with its reason. The rates to single hosts are the least certain and decide
 * how long a host sleeps under `ignoring-groups` and proxies 1 and 2. They were set before the first run and not changed after
 * it, but knowing from the paper's two gains about how often a host may be woken: those figures are plausible, and no proof.
 * Networks are of the paper's time: IPv4, an office with NetBIOS and Cisco routers. What goes to groups reaches every host;
 * what goes to one host is listed as it is for each.
 *
 * Bounds: `mostHosts` hosts, a day of 24 h; a day of the office is some 310,000 frames.
 */

import { encodeUtf8, writeBytes } from '../../../agent/core/bytes.js';
import { Random } from '../../../agent/core/random.js';
import { arpRequest } from '../../../agent/wire/arp.js';
import {
  type Dhcp,
  dhcpClientPort,
  dhcpLength,
  dhcpMessageType,
  dhcpServerPort,
  emitDhcp,
} from '../../../agent/wire/dhcp.js';
import { dnsClass, dnsLength, dnsType, emitDns, mdnsPort } from '../../../agent/wire/dns.js';
import { emitEthernet, ethernetHeaderLength, etherTypeIpv4 } from '../../../agent/wire/ethernet.js';
import { icmpType } from '../../../agent/wire/icmp.js';
import { emitIgmp, emptyQueryTail, type Igmp, igmpLength } from '../../../agent/wire/igmp.js';
import { emitIpv4, ipv4HeaderLength, protocolIgmp } from '../../../agent/wire/ipv4.js';
import {
  emitNbns,
  type NbnsName,
  nbnsLength,
  nbnsOperation,
  nbnsPort,
  nbnsType,
} from '../../../agent/wire/nbns.js';
import { emitSsdp, type Ssdp, ssdpLength, ssdpPort } from '../../../agent/wire/ssdp.js';
import { arpFrame, icmpFrame, type Route, tcpFrame, udpFrame } from '../../sim/frames.js';

export type Cast = 'broadcast' | 'multicast' | 'unicast';
export type PlaceName = 'home' | 'office';

/** Where a rate comes from. */
export type Origin = 'standard' | 'capture' | 'memory' | 'assumed';

/** A kind of traffic. */
export interface Traffic {
  readonly id: string;
  /** For all, at `perHour` on the network; or for each host by itself, at `perHour` each. */
  readonly to: 'network' | 'host';
  readonly cast: Cast;
  /** Bursts, mean over the day. */
  readonly perHour: number;
  /** Frames in a burst, mean; for the table of the mixes. */
  readonly burst: number;
  /** At a fixed period, or at random (Poisson) with the hour's weight. */
  readonly timing: 'periodic' | 'random';
  readonly origin: Origin;
  readonly source: string;
  /** Somebody wants something of the host by it that its owner offers: it stays awake for it, and missing it is a loss. */
  readonly isSession?: true;
  /** Bursts to choose from. `host`: −1 of what is for the network. */
  readonly bursts: (host: number) => readonly (readonly TimedFrame[])[];
}

export interface TimedFrame {
  /** After the first of the burst. */
  readonly afterMs: number;
  readonly bytes: Uint8Array;
}

export interface Place {
  readonly name: PlaceName;
  /** Hosts that may sleep. */
  readonly hosts: number;
  /** By hour of the day, mean 1. */
  readonly trafficWeights: readonly number[];
  readonly useWeights: readonly number[];
  /** The hour a host that is off part of the day is on again, about. */
  readonly onAgainHour: number;
  readonly traffic: readonly Traffic[];
}

/** A frame of the day. */
export interface DayFrame {
  /** ms since midnight. */
  readonly at: number;
  readonly bytes: Uint8Array;
  /** The host it is for; −1: a group. */
  readonly host: number;
  readonly traffic: Traffic;
  /** Whether it is the first of its burst. */
  readonly isFirst: boolean;
}

export const dayMs = 86_400_000;
const hourMs = 3_600_000;
/** What the addresses have room for. */
export const mostHosts = 64;

const broadcast = new Uint8Array(6).fill(0xff);
const nobody = new Uint8Array(6);
const allAddresses = new Uint8Array([192, 168, 1, 255]);
const none = new Uint8Array(0);

export function hostMac(host: number): Uint8Array {
  return new Uint8Array([0x00, 0x1a, 0xa0, 0, 0, 0x10 + host]);
}

export function hostAddress(host: number): Uint8Array {
  return new Uint8Array([192, 168, 1, 0x10 + host]);
}

export function hostName(host: number): string {
  return `host-${host}`;
}

/** Machines that never sleep: 0 is the router, further ones are servers, printers, phones. */
function otherMac(other: number): Uint8Array {
  return new Uint8Array([0x00, 0x0c, 0x29, 0, 0, other]);
}

function otherAddress(other: number): Uint8Array {
  return new Uint8Array([192, 168, 1, other === 0 ? 1 : 0x80 + other]);
}

/** TCP connections that were idle when the host fell asleep: the peer, and the ports. */
export const idlePeer = { mac: otherMac(1), address: otherAddress(1), port: 5222, hostPort: 49_200 };
export const idleSequence = { host: 0x1000, peer: 0x8000 };
/** What a host says of its connection before it sleeps, and hears, so that a proxy can learn it. */
export function connectionFrames(host: number): { readonly said: Uint8Array; readonly heard: Uint8Array } {
  const { said, heard } = connectionRoutes(host);
  const { port, hostPort } = idlePeer;
  const from = { srcPort: hostPort, dstPort: port, flags: ack };
  const to = { srcPort: port, dstPort: hostPort, flags: ack };
  return {
    said: tcpFrame(said, {
      ...from,
      sequenceNumber: idleSequence.host,
      acknowledgmentNumber: idleSequence.peer,
    }),
    heard: tcpFrame(heard, {
      ...to,
      sequenceNumber: idleSequence.peer,
      acknowledgmentNumber: idleSequence.host,
    }),
  };
}

const syn = 2;
const ack = 16;

const toHost =
  (build: (host: number) => readonly TimedFrame[]): Traffic['bursts'] =>
  host => [build(host)];

const once = (bytes: Uint8Array): readonly TimedFrame[] => [{ afterMs: 0, bytes }];

/** How long a session lasts, and a segment of it each so often: well within a host's idle time. Assumed. */
const sessionMs = 300_000;
const segmentMs = 30_000;

/** A SYN with the retries of RFC 6298 §2.1 and §5.5 while a host resumes, then data. */
function session(dstPort: number): Traffic['bursts'] {
  return toHost(host => {
    const route = connectionTo(host);
    const header = { srcPort: 50_000, dstPort, sequenceNumber: 1, acknowledgmentNumber: 0, flags: syn };
    const first = tcpFrame(route, header);
    const later = tcpFrame(route, { ...header, sequenceNumber: 2, acknowledgmentNumber: 1, flags: ack });
    const frames: TimedFrame[] = [0, 1_000, 3_000, 7_000, 15_000].map(afterMs => ({ afterMs, bytes: first }));
    for (let afterMs = segmentMs; afterMs <= sessionMs; afterMs += segmentMs)
      frames.push({ afterMs, bytes: later });
    return frames;
  });
}

/** A SYN from a machine that wants nothing a person would miss, tried as a session's. */
function probe(dstPort: number): Traffic['bursts'] {
  return toHost(host => {
    const header = { srcPort: 50_001, dstPort, sequenceNumber: 1, acknowledgmentNumber: 0, flags: syn };
    const bytes = tcpFrame(connectionTo(host), header);
    return [0, 1_000, 3_000].map(afterMs => ({ afterMs, bytes }));
  });
}

/** ICMP echo as a monitor sends it. */
const pings = toHost(host =>
  once(icmpFrame(connectionTo(host), { type: icmpType.echo, code: 0, rest: 0x10001 }, encodeUtf8('monitor'))),
);

/** RFC 9293 §3.8.4: one before what the host expects next, without data. */
const keepalives = toHost(host => {
  const { port, hostPort } = idlePeer;
  return once(
    tcpFrame(connectionRoutes(host).heard, {
      srcPort: port,
      dstPort: hostPort,
      sequenceNumber: idleSequence.peer - 1,
      acknowledgmentNumber: idleSequence.host,
      flags: ack,
    }),
  );
});

const arpForHost = toHost(host => once(arpAsk(0, hostAddress(host))));

/** From one of `askers` machines for another. */
function arpForOthers(askers: number): Traffic['bursts'] {
  return () => Array.from({ length: askers }, (_, i) => once(arpAsk(i, otherAddress((i + 1) % askers))));
}

function nbnsQuery(name: (host: number) => string): Traffic['bursts'] {
  return host => {
    const bytes = nbnsFrame(
      groupRoute(2, broadcast, allAddresses),
      nbnsNameOf(name(host)),
      nbnsType.nb,
      true,
    );
    // RFC 1002 §6: BCAST_REQ_RETRY_COUNT 3, BCAST_REQ_RETRY_TIMEOUT 250 ms; Windows' is 750 ms (from memory).
    return [[0, 750, 1_500].map(afterMs => ({ afterMs, bytes }))];
  };
}

const nodeStatus = toHost(host =>
  once(nbnsFrame(connectionTo(host), nbnsNameOf('*'), nbnsType.nbstat, false)),
);

const browsing: Traffic['bursts'] = () => [
  once(udpFrame(groupRoute(3, broadcast, allAddresses), { srcPort: 138, dstPort: 138 }, new Uint8Array(180))),
];

/** An advertisement of a root device: some ten messages, each sent twice (UPnP Device Architecture 2.0 §1.2.2). */
const notifications: Traffic['bursts'] = () => {
  const message: Ssdp = {
    kind: 'notify',
    headers: [
      { name: 'HOST', value: '239.255.255.250:1900' },
      { name: 'NT', value: 'upnp:rootdevice' },
      { name: 'NTS', value: 'ssdp:alive' },
      { name: 'CACHE-CONTROL', value: 'max-age=1800' },
    ],
  };
  const bytes = ssdpFrame(message, 0);
  return [Array.from({ length: 20 }, (_, i) => ({ afterMs: 50 * i, bytes }))];
};

const searches: Traffic['bursts'] = () => {
  const headers = [
    { name: 'HOST', value: '239.255.255.250:1900' },
    { name: 'MAN', value: '"ssdp:discover"' },
    { name: 'MX', value: '1' },
    { name: 'ST', value: 'urn:dial-multiscreen-org:service:dial:1' },
  ];
  return [once(ssdpFrame({ kind: 'search', headers }, 4))];
};

const mdnsQueries: Traffic['bursts'] = () =>
  ['_googlecast._tcp.local', '_spotify-connect._tcp.local'].map(name => once(mdnsQuestion(name)));

const igmpQueries: Traffic['bursts'] = () => [
  once(
    igmpFrame(0, [224, 0, 0, 1], {
      kind: 'query',
      version: 3,
      maxResponseTimeMs: 10_000,
      groupAddress: new Uint8Array(4),
      ...emptyQueryTail(),
    }),
  ),
];

const igmpReports: Traffic['bursts'] = () => [
  once(
    igmpFrame(5, [224, 0, 0, 22], {
      kind: 'report-v3',
      records: [{ type: 2, groupAddress: new Uint8Array([224, 0, 0, 251]), sourceAddresses: [] }],
    }),
  ),
];

const discovers: Traffic['bursts'] = () => {
  const message: Dhcp = {
    operation: 1,
    hops: 0,
    transactionId: 7,
    secondsElapsed: 0,
    broadcast: false,
    clientAddress: new Uint8Array(4),
    yourAddress: new Uint8Array(4),
    serverAddress: new Uint8Array(4),
    relayAddress: new Uint8Array(4),
    clientMac: otherMac(6),
    serverName: none,
    bootFile: none,
    options: [{ kind: 'message-type', messageType: dhcpMessageType.discover }],
  };
  const payload = new Uint8Array(dhcpLength(message));
  emitDhcp(message, payload, 0);
  const route = {
    srcMac: otherMac(6),
    dstMac: broadcast,
    srcAddress: new Uint8Array(4),
    dstAddress: new Uint8Array(4).fill(255),
  };
  return [once(udpFrame(route, { srcPort: dhcpClientPort, dstPort: dhcpServerPort }, payload))];
};

/** To a group of routers or bridges; what is inside no host reads. */
function hello(protocol: number, group: readonly number[]): Traffic['bursts'] {
  return () => [once(ipv4ToGroup(0, group, protocol, new Uint8Array(20)))];
}

const hsrpHellos: Traffic['bursts'] = () => [
  once(
    udpFrame(
      groupRoute(0, groupMac([224, 0, 0, 2]), new Uint8Array([224, 0, 0, 2])),
      { srcPort: 1985, dstPort: 1985 },
      new Uint8Array(20),
    ),
  ),
];

/** 802.3 with LLC to a bridges' group (IEEE 802.1D §7.12.3, and Cisco's). */
function llc(dstMac: readonly number[], lengthBytes: number): Traffic['bursts'] {
  return () => [once(plainFrame(dstMac, lengthBytes, lengthBytes))];
}

/** RFC 1157 §4.1.2: get sysUpTime.0 of the community "public". */
const snmpGet = new Uint8Array([
  0x30, 0x26, 0x02, 0x01, 0x00, 0x04, 0x06, 0x70, 0x75, 0x62, 0x6c, 0x69, 0x63, 0xa0, 0x19, 0x02, 0x01, 0x01,
  0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x30, 0x0e, 0x30, 0x0c, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x02, 0x01, 0x01,
  0x03, 0x00, 0x05, 0x00,
]);

function datagram(dstPort: number, payload: Uint8Array): Traffic['bursts'] {
  return toHost(host => once(udpFrame(connectionTo(host), { srcPort: 40_000, dstPort }, payload)));
}

type Words = Pick<Traffic, 'perHour' | 'timing' | 'origin' | 'source' | 'isSession'>;

function row(id: string, to: Traffic['to'], cast: Cast, bursts: Traffic['bursts'], words: Words): Traffic {
  return { id, to, cast, bursts, burst: bursts(to === 'host' ? 0 : -1)[0].length, ...words };
}

const homeTraffic: readonly Traffic[] = [
  row('arp-others', 'network', 'broadcast', arpForOthers(8), {
    perHour: 240,
    timing: 'random',
    origin: 'assumed',
    source: 'eight devices, each asking for somebody every two minutes',
  }),
  row('ssdp-notify', 'network', 'multicast', notifications, {
    perHour: 12,
    timing: 'random',
    origin: 'standard',
    source: 'UPnP DA 2.0 §1.2.2: before half of max-age (1800 s) has passed; three devices (assumed)',
  }),
  row('ssdp-search', 'network', 'multicast', searches, {
    perHour: 47,
    timing: 'random',
    origin: 'capture',
    source: 'home-multicast-short.pcap: one in 76 s',
  }),
  row('mdns', 'network', 'multicast', mdnsQueries, {
    perHour: 95,
    timing: 'random',
    origin: 'capture',
    source: 'home-multicast-short.pcap: two in 76 s',
  }),
  row('igmp-query', 'network', 'multicast', igmpQueries, {
    perHour: 28.8,
    timing: 'periodic',
    origin: 'standard',
    source: 'RFC 9776 §8.2: every 125 s; home-multicast-short.pcap has one in 76 s',
  }),
  row('igmp-report', 'network', 'multicast', igmpReports, {
    perHour: 95,
    timing: 'random',
    origin: 'capture',
    source: 'home-multicast-short.pcap: two in 76 s',
  }),
  row(
    'nbns-others',
    'network',
    'broadcast',
    nbnsQuery(() => 'WORKGROUP'),
    {
      perHour: 6,
      timing: 'random',
      origin: 'assumed',
      source: 'a name looked for every ten minutes, by one of the machines',
    },
  ),
  row('netbios-datagram', 'network', 'broadcast', browsing, {
    perHour: 20,
    timing: 'random',
    origin: 'memory',
    source: 'Windows announces itself to browsers every 12 minutes; four machines',
  }),
  row('dhcp', 'network', 'broadcast', discovers, {
    perHour: 4,
    timing: 'random',
    origin: 'assumed',
    source: 'phones that come and go',
  }),
  row('arp-for-host', 'host', 'broadcast', arpForHost, {
    perHour: 3,
    timing: 'random',
    origin: 'memory',
    source: 'one neighbour that uses it or looks for it: BSD keeps an entry for 20 minutes',
  }),
  row(
    'nbns-for-host',
    'host',
    'broadcast',
    nbnsQuery(host => hostName(host)),
    {
      perHour: 0.5,
      timing: 'random',
      origin: 'assumed',
      source: 'another machine opens its network folder every other hour',
    },
  ),
  row('keepalive', 'host', 'unicast', keepalives, {
    perHour: 4,
    timing: 'periodic',
    origin: 'assumed',
    source: 'one messenger connection left open, its server asking every 15 minutes',
  }),
  row('stray-udp', 'host', 'unicast', datagram(6881, new Uint8Array(60)), {
    perHour: 1,
    timing: 'random',
    origin: 'assumed',
    source: 'late packets of peers and games through the router',
  }),
  row('file-sharing', 'host', 'unicast', session(445), {
    perHour: 0.25,
    timing: 'random',
    isSession: true,
    origin: 'assumed',
    source: 'six a day: music, photographs, a backup',
  }),
  row('remote-login', 'host', 'unicast', session(22), {
    perHour: 0.05,
    timing: 'random',
    isSession: true,
    origin: 'assumed',
    source: 'about one a day',
  }),
];

const officeTraffic: readonly Traffic[] = [
  row('arp-others', 'network', 'broadcast', arpForOthers(30), {
    perHour: 3600,
    timing: 'random',
    origin: 'assumed',
    source: 'one a second: 120 machines, each asking for somebody every two minutes, as at home',
  }),
  row('spanning-tree', 'network', 'multicast', llc([0x01, 0x80, 0xc2, 0, 0, 0], 38), {
    perHour: 1800,
    timing: 'periodic',
    origin: 'standard',
    source: 'IEEE 802.1D-2004 table 17-1: hello time 2 s',
  }),
  row('cdp', 'network', 'multicast', llc([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc], 120), {
    perHour: 60,
    timing: 'periodic',
    origin: 'memory',
    source: 'Cisco Discovery Protocol: every 60 s',
  }),
  row('hsrp', 'network', 'multicast', hsrpHellos, {
    perHour: 2400,
    timing: 'periodic',
    origin: 'standard',
    source: 'RFC 2281 §5: hello time 3 s; two routers',
  }),
  row('eigrp', 'network', 'multicast', hello(88, [224, 0, 0, 10]), {
    perHour: 1440,
    timing: 'periodic',
    origin: 'standard',
    source: 'RFC 7868 §5.3: hellos every 5 s; two routers',
  }),
  row('pim', 'network', 'multicast', hello(103, [224, 0, 0, 13]), {
    perHour: 240,
    timing: 'periodic',
    origin: 'standard',
    source: 'RFC 7761 §4.11: Hello_Period 30 s; two routers',
  }),
  row('igmp-query', 'network', 'multicast', igmpQueries, {
    perHour: 28.8,
    timing: 'periodic',
    origin: 'standard',
    source: 'RFC 9776 §8.2: every 125 s',
  }),
  row('igmp-report', 'network', 'multicast', igmpReports, {
    perHour: 200,
    timing: 'random',
    origin: 'assumed',
    source: 'some seven hosts in groups, each answering a query',
  }),
  row('ipx', 'network', 'broadcast', () => [once(plainFrame([255, 255, 255, 255, 255, 255], 0x8137, 60))], {
    perHour: 180,
    timing: 'periodic',
    origin: 'memory',
    source: 'printers of the time announce themselves (SAP) every 60 s; three',
  }),
  row(
    'nbns-others',
    'network',
    'broadcast',
    nbnsQuery(() => 'CORP'),
    {
      perHour: 600,
      timing: 'random',
      origin: 'assumed',
      source: '120 machines, each looking for a name every twelve minutes',
    },
  ),
  row('netbios-datagram', 'network', 'broadcast', browsing, {
    perHour: 600,
    timing: 'random',
    origin: 'memory',
    source: 'Windows announces itself to browsers every 12 minutes; 120 machines',
  }),
  row('ssdp-search', 'network', 'multicast', searches, {
    perHour: 300,
    timing: 'random',
    origin: 'assumed',
    source: '120 machines, each searching a few times a day, in fours',
  }),
  row('mdns', 'network', 'multicast', mdnsQueries, {
    perHour: 95,
    timing: 'random',
    origin: 'capture',
    source: 'home-multicast-short.pcap: two in 76 s; as few devices speak it',
  }),
  row('dhcp', 'network', 'broadcast', discovers, {
    perHour: 60,
    timing: 'random',
    origin: 'assumed',
    source: '120 machines that come, go and renew twice a day, and Windows asking for more (DHCPINFORM)',
  }),
  row('arp-for-host', 'host', 'broadcast', arpForHost, {
    perHour: 12,
    timing: 'random',
    origin: 'assumed',
    source:
      'those who reach it below forget it in between: a Windows machine after 2 to 10 minutes (from memory)',
  }),
  row(
    'nbns-for-host',
    'host',
    'broadcast',
    nbnsQuery(host => hostName(host)),
    {
      perHour: 1,
      timing: 'random',
      origin: 'assumed',
      source: 'a colleague or a server looks for it by name',
    },
  ),
  row('ping', 'host', 'unicast', pings, {
    perHour: 12,
    timing: 'periodic',
    origin: 'assumed',
    source: 'an inventory or monitoring station asks every five minutes',
  }),
  row('snmp', 'host', 'unicast', datagram(161, snmpGet), {
    perHour: 4,
    timing: 'periodic',
    origin: 'assumed',
    source: 'an inventory station reads the uptime every 15 minutes',
  }),
  row('node-status', 'host', 'unicast', nodeStatus, {
    perHour: 2,
    timing: 'random',
    origin: 'assumed',
    source: 'Windows servers look who an address is',
  }),
  row('keepalive', 'host', 'unicast', keepalives, {
    perHour: 6,
    timing: 'periodic',
    origin: 'assumed',
    source: 'connections to the mail and file servers left open, asked about every ten minutes',
  }),
  row('management', 'host', 'unicast', probe(8081), {
    perHour: 3,
    timing: 'random',
    origin: 'assumed',
    source: 'virus scanner and software distribution poll their agents',
  }),
  row('mail-notice', 'host', 'unicast', datagram(1097, new Uint8Array(8)), {
    perHour: 2,
    timing: 'random',
    origin: 'memory',
    source: 'Exchange 2003 tells Outlook of new mail by UDP; some 50 mails a day',
  }),
  row('file-sharing', 'host', 'unicast', session(445), {
    perHour: 0.25,
    timing: 'random',
    isSession: true,
    origin: 'assumed',
    source: 'as at home',
  }),
  row('remote-login', 'host', 'unicast', session(3389), {
    perHour: 0.05,
    timing: 'random',
    isSession: true,
    origin: 'assumed',
    source: 'as at home',
  }),
];

/** By hour from midnight; normalised to mean 1 by `weights`. Assumed: shapes of a day, of people who work. */
const homeShape = [3, 2, 2, 2, 2, 2, 4, 8, 7, 5, 5, 5, 6, 6, 5, 6, 8, 11, 13, 14, 14, 13, 10, 6];
const officeShape = [3, 3, 3, 3, 3, 3, 4, 7, 12, 15, 15, 14, 11, 13, 15, 15, 14, 11, 7, 5, 4, 3, 3, 3];

export const home: Place = {
  name: 'home',
  hosts: 4,
  trafficWeights: weights(homeShape),
  useWeights: weights(homeShape),
  onAgainHour: 9,
  traffic: homeTraffic,
};

export const office: Place = {
  name: 'office',
  // Of 120 machines: the others are the traffic. Each that sleeps here takes as much time again to simulate.
  hosts: 4,
  trafficWeights: weights(officeShape),
  // Nobody is there at night, but for who stays late.
  useWeights: weights(officeShape.map((weight, hour) => (hour < 7 || hour > 20 ? 0 : weight))),
  onAgainHour: 7.5,
  traffic: officeTraffic,
};

/** A day of frames, in the order of their times. */
export function dayOf(place: Place, seed: number): DayFrame[] {
  if (place.hosts > mostHosts) throw new Error(`hosts: expected 1..${mostHosts}, got ${place.hosts}`);
  const frames: DayFrame[] = [];
  for (const traffic of place.traffic) {
    const count = traffic.to === 'host' ? place.hosts : 1;
    for (let i = 0; i < count; i++) {
      const target = traffic.to === 'host' ? i : -1;
      const random = new Random(seed, `${place.name} ${traffic.id} ${target}`);
      const bursts = traffic.bursts(target);
      for (const startAt of startsOf(place, traffic, random)) {
        const burst = bursts[random.below(bursts.length)];
        for (const [index, { afterMs, bytes }] of burst.entries()) {
          const at = startAt + afterMs;
          const host = traffic.cast === 'unicast' ? target : -1;
          if (at < dayMs) frames.push({ at, bytes, host, traffic, isFirst: index === 0 });
        }
      }
    }
  }
  return frames.sort((a, b) => a.at - b.at);
}

function startsOf({ trafficWeights }: Place, { perHour, timing }: Traffic, random: Random): number[] {
  const starts: number[] = [];
  const gapMs = hourMs / perHour;
  if (timing === 'periodic') {
    for (let at = gapMs * random.unit(); at < dayMs; at += gapMs) starts.push(at);
    return starts;
  }
  // A Poisson process of the highest rate, thinned to the hour's (Lewis and Shedler, 1979).
  const most = Math.max(...trafficWeights);
  for (let at = random.exponential(gapMs / most); at < dayMs; at += random.exponential(gapMs / most))
    if (random.chance(trafficWeights[Math.floor(at / hourMs)] / most)) starts.push(at);
  return starts;
}

function weights(shape: readonly number[]): number[] {
  const sum = shape.reduce((total, weight) => total + weight, 0);
  return shape.map(weight => (weight * shape.length) / sum);
}

function connectionTo(host: number): Route {
  return {
    srcMac: otherMac(2),
    dstMac: hostMac(host),
    srcAddress: otherAddress(2),
    dstAddress: hostAddress(host),
  };
}

function connectionRoutes(host: number): { readonly said: Route; readonly heard: Route } {
  const { mac, address } = idlePeer;
  const own = { mac: hostMac(host), address: hostAddress(host) };
  return {
    said: { srcMac: own.mac, dstMac: mac, srcAddress: own.address, dstAddress: address },
    heard: { srcMac: mac, dstMac: own.mac, srcAddress: address, dstAddress: own.address },
  };
}

function groupRoute(other: number, dstMac: Uint8Array, dstAddress: Uint8Array): Route {
  return { srcMac: otherMac(other), dstMac, srcAddress: otherAddress(other), dstAddress };
}

/** RFC 1112 §6.4. */
function groupMac(group: readonly number[]): Uint8Array {
  return new Uint8Array([0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]]);
}

function arpAsk(other: number, targetAddress: Uint8Array): Uint8Array {
  return arpFrame(broadcast, {
    operation: arpRequest,
    senderMac: otherMac(other),
    senderAddress: otherAddress(other),
    targetMac: nobody,
    targetAddress,
  });
}

function nbnsNameOf(name: string): NbnsName {
  return { name: name.toUpperCase(), suffix: name === '*' ? 0 : 0x20, scope: '' };
}

function nbnsFrame(route: Route, name: NbnsName, type: number, isBroadcast: boolean): Uint8Array {
  const message = {
    identification: 1,
    isResponse: false,
    operation: nbnsOperation.query,
    authoritative: false,
    truncated: false,
    recursionDesired: isBroadcast,
    recursionAvailable: false,
    broadcast: isBroadcast,
    responseCode: 0,
    questions: [{ name, type }],
    answers: [],
    authorities: [],
    additionals: [],
  };
  const payload = new Uint8Array(nbnsLength(message));
  emitNbns(message, payload, 0);
  return udpFrame(route, { srcPort: nbnsPort, dstPort: nbnsPort }, payload);
}

function ssdpFrame(message: Ssdp, other: number): Uint8Array {
  const group = [239, 255, 255, 250];
  const payload = new Uint8Array(ssdpLength(message));
  emitSsdp(message, payload, 0);
  const route = groupRoute(other, groupMac(group), new Uint8Array(group));
  return udpFrame(route, { srcPort: 50_100, dstPort: ssdpPort }, payload);
}

function mdnsQuestion(name: string): Uint8Array {
  const group = [224, 0, 0, 251];
  const message = {
    kind: 'query' as const,
    identification: 0,
    isResponse: false,
    operation: 0,
    authoritative: false,
    truncated: false,
    recursionDesired: false,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    responseCode: 0,
    questions: [{ name, type: dnsType.ptr, class: dnsClass.internet, unicastResponse: false }],
    answers: [],
    authorities: [],
    additionals: [],
  };
  const payload = new Uint8Array(dnsLength(message));
  emitDns(message, payload, 0);
  const route = groupRoute(4, groupMac(group), new Uint8Array(group));
  return udpFrame(route, { srcPort: mdnsPort, dstPort: mdnsPort }, payload);
}

function igmpFrame(other: number, group: readonly number[], message: Igmp): Uint8Array {
  const payload = new Uint8Array(igmpLength(message));
  emitIgmp(message, payload, 0);
  return ipv4ToGroup(other, group, protocolIgmp, payload);
}

/** With what RFC 9776 §4 wants of IGMP, and routers' hellos have alike: time to live 1, and a router alert (RFC 2113). */
function ipv4ToGroup(
  other: number,
  group: readonly number[],
  protocol: number,
  payload: Uint8Array,
): Uint8Array {
  const header = {
    dscp: 48,
    ecn: 0,
    identification: 0,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 1,
    protocol,
    srcAddress: otherAddress(other),
    dstAddress: new Uint8Array(group),
    options: new Uint8Array([0x94, 4, 0, 0]),
  };
  const length = ipv4HeaderLength(header) + payload.length;
  const frame = new Uint8Array(ethernetHeaderLength + length);
  const ethernet = { dstMac: groupMac(group), srcMac: otherMac(other), tags: [], etherType: etherTypeIpv4 };
  const at = emitEthernet(ethernet, length, frame, 0);
  writeBytes(frame, emitIpv4(header, payload.length, frame, at), payload);
  return frame;
}

/** A frame of zeros; `etherType` may be an 802.3 length. */
function plainFrame(dstMac: readonly number[], etherType: number, lengthBytes: number): Uint8Array {
  const frame = new Uint8Array(ethernetHeaderLength + lengthBytes);
  const header = { dstMac: new Uint8Array(dstMac), srcMac: otherMac(0), tags: [], etherType };
  emitEthernet(header, lengthBytes, frame, 0);
  return frame;
}
