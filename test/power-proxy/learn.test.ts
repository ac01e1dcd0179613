import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { copyBytes, formatHex, writeBytes } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { learnFrom, learnTo } from '../../agent/power-proxy/learn.js';
import { flowLimit } from '../../agent/power-proxy/learn-tcp.js';
import { Profile } from '../../agent/power-proxy/profile.js';
import { arpAnnouncement } from '../../agent/power-proxy/respond/arp.js';
import { groupMac, ipv4Frame, ipv6Frame, udpFrame } from '../../agent/power-proxy/respond/frame.js';
import { igmpMembership } from '../../agent/power-proxy/respond/igmp.js';
import { mdnsAnnouncements, mdnsGoodbyes } from '../../agent/power-proxy/respond/mdns.js';
import type { MembershipProtocol } from '../../agent/power-proxy/respond/membership.js';
import { mldMembership } from '../../agent/power-proxy/respond/mld.js';
import { unsolicitedAdvertisement } from '../../agent/power-proxy/respond/nd.js';
import type { Served } from '../../agent/power-proxy/responder.js';
import { formatAddress, formatMac } from '../../agent/wire/address.js';
import {
  type Dns,
  type DnsDataRecord,
  type DnsRecord,
  dnsLength,
  dnsType,
  emitDns,
} from '../../agent/wire/dns.js';
import { Headers } from '../../agent/wire/headers.js';
import { emitNbns, type Nbns, nbnsLength, nbnsOperation } from '../../agent/wire/nbns.js';
import { emitSsdp, type Ssdp, ssdpLength } from '../../agent/wire/ssdp.js';
import { emitTcp, type TcpHeader, tcpLength } from '../../agent/wire/tcp.js';
import { CaptureReader } from '../../host-sim/capture/pcap.js';
import { capturePath, capturePaths } from '../support/captures.js';
import {
  ask,
  askerAddress,
  askerLinkLocal,
  askerMac,
  hostAddress,
  hostGlobal,
  hostLinkLocal,
  hostMac,
  ip,
  plainHost,
  repaired,
  responders,
} from './respond-asking.js';
import {
  ask4,
  asks,
  connection,
  dnsQuery,
  echoQuestion,
  hostName,
  ndpFrame,
  notifications,
  records,
  richHost,
  serviceName,
  solicitedNode,
  subjects,
} from './respond-subjects.js';

const hostLink = { name: 'lan', mac: hostMac };
const way = { link: hostLink, tags: [] };
const toAsker = { ...way, dstMac: askerMac };

/** Hands a profile one frame; its memory is the platform's again afterwards. */
function hear(profile: Profile, frame: Uint8Array, now = 0): void {
  const lent = copyBytes(frame, 0, frame.length);
  const headers = new Headers();
  assert.is(headers.scan(lent, 0, lent.length), 'ok', formatHex(frame));
  if (formatMac(lent.subarray(6, 12)) === formatMac(profile.mac)) learnFrom(now, lent, headers, profile);
  else learnTo(now, lent, headers, profile);
  lent.fill(0xa5);
}

function heard(frames: readonly Uint8Array[], profile = new Profile(hostMac)): Profile {
  for (const frame of frames) hear(profile, frame);
  return profile;
}

/** A profile of the capture's first frames for each sender. */
function profilesOf(name: string, most = Infinity): { readonly [mac: string]: Profile } {
  const profiles: { [mac: string]: Profile } = {};
  const reader = new CaptureReader(capturePath(name));
  reader.push(readFileSync(capturePath(name)));
  const headers = new Headers();
  for (let frame = reader.next(); frame && frame.number <= most; frame = reader.next()) {
    const { bytes } = frame;
    if (headers.scan(bytes, 0, bytes.length) !== 'ok') continue;
    const [dst, src] = [formatMac(bytes.subarray(0, 6)), formatMac(bytes.subarray(6, 12))];
    profiles[src] ??= new Profile(bytes.subarray(6, 12));
    hear(profiles[src], bytes, frame.number * 1000);
    if (profiles[dst]) hear(profiles[dst], bytes, frame.number * 1000);
  }
  return profiles;
}

const addresses = (list: readonly Uint8Array[]) => list.map(formatAddress);

test('mdns.pcap: addresses, name, groups and records as announced, and none of what the host gave up between', () => {
  const { ipv4, ipv6, names, groups, records: learnt } = profilesOf('mdns.pcap')['8a:3c:d6:e1:4d:c4'];
  const [temporary, stable] = [
    'fd52:429e:c03c:8235:5968:5bc6:1563:f82f',
    'fd52:429e:c03c:8235:883c:d6ff:fee1:4dc4',
  ];
  assert.equal(addresses(ipv4), ['10.0.2.7']);
  assert.equal(addresses(ipv6).sort(), [temporary, stable]);
  assert.equal(names, ['johanna-QEMU-Virtual-Machine']);
  assert.equal(addresses(groups).sort(), ['224.0.0.251', 'ff02::fb']);
  assert.ok(learnt.every(({ timeToLive, cacheFlush }) => timeToLive === 120 && cacheFlush));
  assert.equal(
    learnt
      .map(record =>
        record.kind === 'ptr'
          ? record.name
          : record.kind === 'a' || record.kind === 'aaaa'
            ? formatAddress(record.address)
            : '',
      )
      .sort(),
    [
      '10.0.2.7',
      '4.c.d.4.1.e.e.f.f.f.6.d.c.3.8.8.5.3.2.8.c.3.0.c.e.9.2.4.2.5.d.f.ip6.arpa',
      '7.2.0.10.in-addr.arpa',
      'f.2.8.f.3.6.5.1.6.c.b.5.8.6.9.5.5.3.2.8.c.3.0.c.e.9.2.4.2.5.d.f.ip6.arpa',
      temporary,
      stable,
    ],
  );
});

test('the other captures: groups, addresses and names that a reader finds, and nothing else', () => {
  const what = (name: string, most = Infinity) =>
    Object.entries(profilesOf(name, most)).flatMap(([mac, profile]) => {
      const { ipv4, ipv6, names, groups, records: found, notifications: told, tentative } = profile;
      assert.equal([found.length, told.length, profile.netbiosNames], [0, 0, undefined], name);
      const all = [
        ...addresses(ipv4),
        ...addresses(ipv6),
        ...names,
        ...addresses(groups).map(each => `in ${each}`),
      ];
      const line = [...all, ...addresses(tentative).map(each => `asks for ${each}`)].join(', ');
      return line === '' ? [] : [`${mac.slice(-5)}: ${line}`];
    });
  assert.equal(what('igmp.pcap'), ['d8:95: in 239.255.255.250', 'a9:d7: in 224.0.0.251']);
  // The report that alone is damaged, the fifth frame, does not count.
  assert.equal(what('igmp-bad-checksum.pcap', 5), ['d8:95: in 239.255.255.250']);
  assert.equal(what('home-multicast-short.pcap'), [
    'eb:0a: in 224.0.0.251',
    '3b:66: in 239.255.255.250, in 224.0.0.251',
  ]);
  assert.equal(what('icmp6-neighbor-advert.pcap'), ['00:00: fe80::dead, fe80::babe']);
  assert.equal(what('icmp6-neighbor-solicit.pcap'), ['00:00: fe80::dead']);
  assert.equal(what('icmp6-nd-options.pcap'), [
    '00:00: fe80::c000:54ff:fef5:0, 2001:db8:0:1:c000:54ff:fef5:0, in ff02::1:fff5:0, in ff02::2',
    // Its global addresses were asked about, and not yet used when the capture ends.
    '4c:67: fe80::20c:29ff:fe0e:4c67, in ff02::1:ff10:782e, in ff02::1:ff0e:4c67, ' +
      'asks for 2001:db8:0:1:fd97:f9f0:a810:782e, asks for 2001:db8:0:1:20c:29ff:fe0e:4c67',
  ]);
  // Reports with a hop limit other than 1, echo requests, questions: nobody says who he is.
  assert.equal(
    ['icmp6-mldv2.pcap', 'icmp6-ping.pcap', 'nbns.pcap'].flatMap(name => what(name)),
    [],
  );
  assert.equal(what('llmnr-udp.pcap'), ['ee:54: hs2011']);
  assert.equal(what('arp-who-has.pcap'), ['3f:c2: 10.0.0.2', 'a4:f1: 10.0.0.1']);
});

function frameOf<T>(
  parts: Parameters<typeof udpFrame>[1],
  value: T,
  length: (value: T) => number,
  emit: (value: T, out: Uint8Array, at: number) => number,
): Uint8Array {
  const payload = new Uint8Array(length(value));
  emit(value, payload, 0);
  return udpFrame({ ...way, dstMac: groupMac(parts.dstAddress) }, parts, payload);
}

const said = { ...ask4, srcAddress: hostAddress };
const mdnsSaid = (dns: Dns, parts = said) => frameOf(parts, dns, dnsLength, emitDns);
const answers = (list: readonly DnsRecord[], additionals: readonly DnsRecord[] = []) =>
  dnsQuery([], { isResponse: true, authoritative: true, answers: list, additionals });
const notify = (notification: Ssdp, parts = said) =>
  frameOf(
    { ...parts, dstAddress: ip('239.255.255.250'), srcPort: 50_000, dstPort: 1900 },
    notification,
    ssdpLength,
    emitSsdp,
  );

function registration(
  name: string,
  change: Partial<Nbns> = {},
  { suffix = 0, group = false, address = hostAddress } = {},
) {
  const nbns: Nbns = {
    identification: 1,
    isResponse: false,
    operation: nbnsOperation.registration,
    authoritative: false,
    truncated: false,
    recursionDesired: true,
    recursionAvailable: false,
    broadcast: true,
    responseCode: 0,
    questions: [{ name: { name, suffix, scope: '' }, type: 0x20 }],
    answers: [],
    authorities: [],
    additionals: [
      {
        kind: 'nb',
        name: { name, suffix, scope: '' },
        timeToLive: 300_000,
        entries: [{ group, nodeType: 0, address }],
      },
    ],
    ...change,
  };
  return frameOf(
    { ...said, dstAddress: ip('192.0.2.255'), srcPort: 137, dstPort: 137, timeToLive: 64 },
    nbns,
    nbnsLength,
    emitNbns,
  );
}

function report(protocol: MembershipProtocol, group: Uint8Array, type = 4): Uint8Array {
  return protocol.report(way, plainHost, 3, [{ type, groupAddress: group, sourceAddresses: [] }]);
}

/** Segments of `connection`, from the host or its peer. */
const timestamps = (value: number): TcpHeader['options'] => [
  { kind: 'no-operation' },
  { kind: 'no-operation' },
  { kind: 'timestamps', value, echoReply: 1 },
];

function tcpSegment(
  fromHost: boolean,
  numbers: {
    seq: number;
    ack: number;
    flags?: number;
    data?: number;
    port?: number;
    options?: TcpHeader['options'];
  },
): Uint8Array {
  const {
    seq,
    ack,
    flags = 0x10,
    data = 0,
    port = connection.peerPort,
    options = timestamps(0x1000),
  } = numbers;
  const header: TcpHeader = {
    srcPort: fromHost ? connection.port : port,
    dstPort: fromHost ? port : connection.port,
    sequenceNumber: seq >>> 0,
    acknowledgmentNumber: ack >>> 0,
    flags,
    window: connection.window,
    urgentPointer: 0,
    options,
  };
  const [srcAddress, dstAddress] = fromHost ? [hostAddress, askerAddress] : [askerAddress, hostAddress];
  const link = { name: 'lan', mac: fromHost ? hostMac : askerMac };
  const length = tcpLength(header);
  return ipv4Frame(
    { link, tags: [], dstMac: fromHost ? askerMac : hostMac },
    { srcAddress, dstAddress, protocol: 6, timeToLive: 64 },
    length + data,
    (out, at) => {
      writeBytes(out, at + length, new Uint8Array(data).fill(0x61));
      emitTcp(header, data, { srcAddress, dstAddress }, out, at);
    },
  );
}

const fin = 0x11;
const syn = 0x02;
const synAck = 0x12;
const rst = 0x04;

/** All that `richHost` says of itself. */
const introduction: readonly Uint8Array[] = [
  arpAnnouncement(way, hostMac, hostAddress),
  unsolicitedAdvertisement(way, hostMac, hostGlobal),
  unsolicitedAdvertisement(way, hostMac, hostLinkLocal),
  ...mdnsAnnouncements(way, richHost),
  ...['239.255.255.250', '224.0.0.251'].map(group => report(igmpMembership, ip(group))),
  ...['ff02::fb', 'ff02::1:ff00:10'].map(group => report(mldMembership, ip(group))),
  ...notifications.map(notification => notify(notification)),
  tcpSegment(true, { seq: connection.sendNext, ack: connection.receiveNext }),
  tcpSegment(false, { seq: connection.receiveNext, ack: connection.sendNext }),
];

test('what a host said of itself makes every responder answer as what was declared of it', () => {
  const profile = heard(introduction);
  let compared = 0;
  for (const [name, { host, questions }] of Object.entries(subjects)) {
    for (const question of questions) {
      const learnt = ask(responders[name](), question, profile);
      const declared = ask(responders[name](), question, host);
      // Of the connection over IPv6 nothing was said.
      if (name === 'tcp' && declared.answers[0][12] === 0x86) continue;
      assert.equal(learnt.verdict, declared.verdict, name);
      // The order of addresses and records is not declared but heard.
      const sorted = (frames: readonly Uint8Array[]) =>
        frames.map(frame => formatHex(frame.slice().sort())).sort();
      if (name === 'igmp' || name === 'mld') assert.is(learnt.answers.length, declared.answers.length, name);
      else if (name !== 'mdns' && name !== 'ssdp')
        assert.equal(sorted(learnt.answers), sorted(declared.answers), name);
      else
        assert.equal(
          learnt.answers.map(({ length }) => length),
          declared.answers.map(({ length }) => length),
          name,
        );
      compared++;
    }
  }
  assert.ok(compared > 25, `${compared} compared`);
});

test('what is repeated changes nothing, and is not read again', () => {
  const profile = heard(introduction);
  const { revision } = profile;
  for (let i = 0; i < 3; i++) heard(introduction, profile);
  assert.is(profile.revision, revision);
  const before = { ...profile.records };
  heard(introduction, profile);
  for (const [i, record] of profile.records.entries()) assert.is(record, before[i], 'the very same object');
});

test('an address that a host forwards for, asks about, or names in another’s place is not its own', () => {
  const other = ip('192.0.2.99');
  const other6 = ip('2001:db8::99');
  const forwarded = echoQuestion();
  forwarded.set(hostMac, 6);
  const arp = (mac: Uint8Array, sender: Uint8Array) =>
    arpAnnouncement({ link: hostLink, tags: [] }, mac, sender);
  const advertisement = (override: boolean, linkLayerMac: Uint8Array) =>
    ndpFrame(
      {
        kind: 'neighbor-advertisement',
        router: false,
        solicited: false,
        override,
        targetAddress: other6,
        options: [{ kind: 'target-link-layer-address', linkLayerMac }],
      },
      hostLinkLocal,
      ip('ff02::1'),
      { ...way, dstMac: groupMac(ip('ff02::1')) },
    );
  const probe = (target: Uint8Array) =>
    ndpFrame(
      { kind: 'neighbor-solicitation', targetAddress: target, options: [] },
      ip('::'),
      solicitedNode(target),
      { ...way, dstMac: groupMac(solicitedNode(target)) },
    );
  const frames = [
    forwarded,
    arp(askerMac, other),
    arp(hostMac, ip('0.0.0.0')),
    arp(hostMac, ip('127.0.0.1')),
    arp(hostMac, ip('224.0.0.1')),
    advertisement(true, askerMac),
    probe(other6),
  ];
  const profile = heard(frames);
  assert.equal([profile.ipv4, profile.ipv6], [[], []]);
  heard([advertisement(false, hostMac)], profile);
  assert.equal(addresses(profile.ipv6), addresses([hostLinkLocal]), 'its source, but not the target');
  const packet = (source: Uint8Array) =>
    ipv6Frame(
      toAsker,
      { srcAddress: source, dstAddress: askerLinkLocal, protocol: 59, hopLimit: 64 },
      0,
      () => {},
    );
  heard([packet(ip('2001:db8::98')), packet(other6)], profile);
  assert.equal(
    addresses(profile.ipv6),
    addresses([hostLinkLocal, other6]),
    'what it had asked about, and uses',
  );
});

test('records of another host, of questions and of probes are not learnt', () => {
  const profile = new Profile(hostMac);
  const owner = (primaryMac: Uint8Array): DnsRecord => ({
    kind: 'opt',
    udpPayloadSizeBytes: 1440,
    extendedResponseCode: 0,
    version: 0,
    dnssecOk: false,
    options: [{ kind: 'owner', sequence: 1, primaryMac, wakeupMac: primaryMac, password: new Uint8Array(0) }],
  });
  const strange = records.map(record =>
    record.kind === 'a' ? { ...record, address: ip('192.0.2.99') } : record,
  );
  const strangeOnly = strange.filter(({ kind }) => kind !== 'aaaa');
  const none: readonly (readonly [string, Dns])[] = [
    ['a query with known answers', dnsQuery([asks(hostName, dnsType.a)], { answers: records })],
    ['a probe', dnsQuery([asks(hostName, dnsType.any)], { authorities: records })],
    ['for a host that sleeps', answers(records, [owner(askerMac)])],
    ['repeated from another link', answers(strangeOnly)],
    ['a service of another host', answers(records.filter(({ kind }) => kind !== 'a' && kind !== 'aaaa'))],
    ['not the host’s alone', answers(records.map(record => ({ ...record, cacheFlush: false })))],
  ];
  for (const [what, dns] of none) {
    heard([mdnsSaid(dns)], profile);
    assert.equal([profile.records, profile.names, profile.ipv4], [[], [], []], what);
  }
  heard([mdnsSaid(answers(records), { ...said, dstPort: 50_000 })], profile);
  assert.is(profile.records.length, 0, 'an answer to a legacy query, whose times are short');
  heard([mdnsSaid(answers(records, [owner(hostMac)]))], profile);
  assert.is(profile.records.length, records.length, 'its own, with its own Owner option');
});

test('announcements that come in pieces, in any order, are learnt by their repetition', () => {
  const profile = new Profile(hostMac);
  const pieces = [...records].reverse().map(record => mdnsSaid(answers([record])));
  for (let i = 0; i < 5; i++) heard(pieces, profile);
  assert.is(profile.records.length, records.length);
});

test('a goodbye takes records away, and an announcement replaces those of its name and type', () => {
  const profile = heard(introduction);
  const txt = records.find(({ kind, name }) => kind === 'txt' && name === serviceName)! as DnsDataRecord;
  const newer = { ...txt, strings: [new Uint8Array([0x78, 0x3d, 0x31])] } as DnsDataRecord;
  heard([mdnsSaid(answers([newer]))], profile);
  assert.equal(
    profile.records.filter(({ kind }) => kind === 'txt'),
    [newer],
  );
  heard([mdnsSaid(answers([{ ...newer, timeToLive: 60 }]))], profile);
  assert.equal(
    profile.records.filter(({ kind }) => kind === 'txt'),
    [{ ...newer, timeToLive: 60 }],
  );
  heard(mdnsGoodbyes(way, { ...richHost, records: profile.records }), profile);
  assert.equal(
    profile.records.map(({ name }) => name),
    ['_services._dns-sd._udp.local'],
    'of which there is no goodbye',
  );
  heard(introduction, profile);
  assert.is(profile.records.length, records.length, 'announced again');
});

test('groups are left as they were joined', () => {
  const group = ip('239.255.255.250');
  const group6 = ip('ff02::1:ff00:10');
  const v2 = (kind: 1 | 2) =>
    igmpMembership.report(way, plainHost, kind, [{ type: 4, groupAddress: group, sourceAddresses: [] }]);
  const profile = heard([v2(1)]);
  assert.equal(addresses(profile.groups), addresses([group]));
  for (const [join, leave, which] of [
    [report(igmpMembership, group), report(igmpMembership, group, 3), group],
    [report(igmpMembership, group, 2), report(igmpMembership, group, 1), group],
    [report(mldMembership, group6), report(mldMembership, group6, 3), group6],
  ] as const) {
    heard([join], profile);
    assert.ok(addresses(profile.groups).includes(formatAddress(which)));
    heard([leave], profile);
    assert.not.ok(addresses(profile.groups).includes(formatAddress(which)));
    heard([join], profile);
    assert.ok(addresses(profile.groups).includes(formatAddress(which)), 'and joined again');
    heard([leave], profile);
  }
});

test('NetBIOS names are learnt as registered, and given up when released or refused', () => {
  const { refresh, release } = nbnsOperation;
  const profile = heard([
    registration('DESKTOP'),
    registration('DESKTOP', { operation: refresh }, { suffix: 0x20 }),
    registration('WORKGROUP', {}, { group: true }),
    registration('OTHER', {}, { address: ip('192.0.2.99') }),
    registration('ASKED', { operation: nbnsOperation.query }),
  ]);
  assert.equal(profile.netbiosNames, [
    { name: 'DESKTOP', suffix: 0, group: false },
    { name: 'DESKTOP', suffix: 0x20, group: false },
    { name: 'WORKGROUP', suffix: 0, group: true },
  ]);
  assert.equal(profile.names, ['DESKTOP']);
  heard([registration('DESKTOP', { operation: release }, { suffix: 0x20 })], profile);
  const refusal = registration('WORKGROUP', {
    isResponse: true,
    responseCode: 6,
    answers: registrationAnswers('WORKGROUP'),
    additionals: [],
    questions: [],
  });
  refusal.set(askerMac, 6);
  heard([refusal], profile);
  assert.equal(profile.netbiosNames, [{ name: 'DESKTOP', suffix: 0, group: false }]);
});

function registrationAnswers(name: string): Nbns['answers'] {
  const entries = [{ group: false, nodeType: 0, address: askerAddress }];
  return [{ kind: 'nb', name: { name, suffix: 0, scope: '' }, timeToLive: 0, entries }];
}

test('notifications stand until the same name says byebye, or something newer', () => {
  const profile = heard(notifications.map(each => notify(each)));
  assert.equal(profile.notifications, notifications);
  const change = (notification: Ssdp, name: string, value: string): Ssdp => ({
    ...notification,
    headers: notification.headers.map(header => (header.name === name ? { name, value } : header)),
  });
  const moved = change(notifications[0], 'LOCATION', 'http://192.0.2.10:8201/');
  heard([notify(moved), notify(change(notifications[1], 'NTS', 'ssdp:byebye'))], profile);
  assert.equal(profile.notifications, [notifications[2], moved]);
});

const idle = (profile: Profile) =>
  profile.connections.map(({ sendNext, receiveNext }) => [sendNext, receiveNext]);

test('a connection is idle when both sides have acknowledged all, from the handshake to its end', () => {
  const profile = heard([arpAnnouncement(way, hostMac, hostAddress)]);
  const us = 0xfffffff0;
  const them = 0x7fffffff;
  const steps: readonly (readonly [string, Uint8Array, number[][]])[] = [
    ['SYN', tcpSegment(false, { seq: them, ack: 0, flags: syn }), []],
    ['SYN ACK', tcpSegment(true, { seq: us, ack: them + 1, flags: synAck }), []],
    ['ACK', tcpSegment(false, { seq: them + 1, ack: us + 1 }), [[us + 1, them + 1]]],
    ['data of the host', tcpSegment(true, { seq: us + 1, ack: them + 1, data: 100 }), []],
    ['more', tcpSegment(true, { seq: us + 101, ack: them + 1, data: 100 }), []],
    ['half of it acknowledged', tcpSegment(false, { seq: them + 1, ack: us + 101 }), []],
    ['all of it', tcpSegment(false, { seq: them + 1, ack: us + 201 }), [[us + 201, them + 1]]],
    ['data of the peer', tcpSegment(false, { seq: them + 1, ack: us + 201, data: 50 }), []],
    ['repeated', tcpSegment(false, { seq: them + 1, ack: us + 201, data: 50 }), []],
    ['acknowledged', tcpSegment(true, { seq: us + 201, ack: them + 51 }), [[us + 201, them + 51]]],
    [
      'an old one again',
      tcpSegment(true, { seq: us + 1, ack: them + 1, data: 100 }),
      [[us + 201, them + 51]],
    ],
    [
      'keep-alive of the peer',
      tcpSegment(false, { seq: them + 50, ack: us + 201, data: 1 }),
      [[us + 201, them + 51]],
    ],
    ['of the host', tcpSegment(true, { seq: us + 200, ack: them + 51 }), [[us + 201, them + 51]]],
    [
      'a reset that is forged',
      tcpSegment(false, { seq: them + 50, ack: 0, flags: rst }),
      [[us + 201, them + 51]],
    ],
    ['FIN', tcpSegment(true, { seq: us + 201, ack: them + 51, flags: fin }), []],
    ['FIN of the peer', tcpSegment(false, { seq: them + 51, ack: us + 202, flags: fin }), []],
    ['its ACK', tcpSegment(true, { seq: us + 202, ack: them + 52 }), []],
    ['a late one', tcpSegment(false, { seq: them + 52, ack: us + 202 }), []],
    ['SYN of a new one', tcpSegment(true, { seq: 5, ack: 0, flags: syn }), []],
    ['SYN ACK', tcpSegment(false, { seq: 9, ack: 6, flags: synAck }), []],
    ['ACK', tcpSegment(true, { seq: 6, ack: 10 }), [[6, 10]]],
    ['a reset', tcpSegment(false, { seq: 10, ack: 0, flags: rst }), []],
  ];
  for (const [what, frame, expected] of steps) {
    hear(profile, frame);
    assert.equal(
      idle(profile),
      expected.map(pair => pair.map(each => each % 4294967296)),
      what,
    );
  }
});

test('a connection met in its middle is known when both have spoken, even if the first heard is a keep-alive', () => {
  const { sendNext, receiveNext } = connection;
  const expected = [{ ...connection }];
  for (const first of [sendNext, sendNext - 1]) {
    const profile = heard([arpAnnouncement(way, hostMac, hostAddress)]);
    hear(profile, tcpSegment(false, { seq: receiveNext, ack: sendNext }));
    assert.equal(profile.connections, [], 'nobody may tell of a connection but the host');
    hear(profile, tcpSegment(true, { seq: first, ack: receiveNext }));
    assert.equal(profile.connections, []);
    hear(profile, tcpSegment(false, { seq: receiveNext, ack: sendNext }));
    assert.equal(profile.connections, expected);
  }
  const profile = heard([arpAnnouncement(way, hostMac, hostAddress)]);
  hear(profile, tcpSegment(true, { seq: sendNext - 500, ack: receiveNext }));
  hear(profile, tcpSegment(false, { seq: receiveNext, ack: sendNext }));
  assert.equal(profile.connections, [], 'something was sent unheard');
  hear(profile, tcpSegment(true, { seq: sendNext, ack: receiveNext }));
  assert.equal(profile.connections, [], 'and not yet acknowledged');
  hear(profile, tcpSegment(false, { seq: receiveNext, ack: sendNext }));
  assert.equal(profile.connections, expected);
});

test('timestamps are found wherever they stand among the options', () => {
  const { sendNext, receiveNext } = connection;
  const timestampOf = (options: TcpHeader['options']) => {
    const profile = heard([arpAnnouncement(way, hostMac, hostAddress)]);
    hear(profile, tcpSegment(true, { seq: sendNext, ack: receiveNext, options }));
    hear(profile, tcpSegment(false, { seq: receiveNext, ack: sendNext }));
    return profile.connections[0].timestamp;
  };
  const [nop, , stamp] = timestamps(0xfffffffe);
  assert.is(timestampOf([nop, nop, stamp]), 0xfffffffe);
  assert.is(timestampOf([stamp]), 0xfffffffe);
  assert.is(timestampOf([{ kind: 'sack-permitted' }, nop, stamp]), 0xfffffffe);
  assert.is(timestampOf([]), undefined);
});

test('a connection of an address that is not the host’s is not followed', () => {
  const profile = new Profile(hostMac);
  hear(profile, tcpSegment(true, { seq: 1, ack: 1 }));
  hear(profile, tcpSegment(false, { seq: 1, ack: 1 }));
  assert.equal(profile.connections, []);
});

test('too many connections push out closed ones, then unanswered, then the one silent longest', () => {
  const profile = heard([arpAnnouncement(way, hostMac, hostAddress)]);
  const open = (port: number, now: number) => {
    hear(profile, tcpSegment(true, { seq: 10, ack: 0, flags: syn, port }), now);
    hear(profile, tcpSegment(false, { seq: 20, ack: 11, flags: synAck, port }), now);
    hear(profile, tcpSegment(true, { seq: 11, ack: 21, port }), now);
  };
  const ports = () => profile.connections.map(({ peerPort }) => peerPort).sort((a, b) => a - b);
  for (let i = 0; i < flowLimit; i++) open(1000 + i, i);
  assert.is(profile.connections.length, flowLimit);
  // In its middle: those there are have the better right.
  hear(profile, tcpSegment(true, { seq: 10, ack: 20, port: 5000 }), 100);
  hear(profile, tcpSegment(false, { seq: 20, ack: 10, port: 5000 }), 100);
  assert.not.ok(ports().includes(5000));
  hear(profile, tcpSegment(true, { seq: 11, ack: 21, flags: fin, port: 1007 }), 101);
  open(5001, 102);
  assert.equal([ports().includes(1000), ports().includes(5001), ports().length], [true, true, flowLimit]);
  hear(profile, tcpSegment(true, { seq: 10, ack: 0, flags: syn, port: 5002 }), 103);
  assert.not.ok(ports().includes(1000), 'silent longest');
  open(5003, 104);
  assert.equal(
    [ports().includes(1001), ports().includes(5003)],
    [true, true],
    'the unanswered one made room',
  );
});

test('a model of two ends agrees on what is idle, whatever order the segments are heard in', () => {
  const seed = 20_261_121;
  const random = new Random(seed, 'learn-tcp');
  let idleSeen = 0;
  for (let run = 0; run < 300; run++) {
    const profile = heard([arpAnnouncement(way, hostMac, hostAddress)]);
    // What each has sent and had acknowledged; both begin anywhere in the 32 bits.
    const host = { next: random.uint32(), received: 0 };
    const peer = { next: random.uint32(), received: host.next };
    host.received = peer.next;
    let hostAcked = host.next;
    let peerAcked = peer.next;
    const wrap = (value: number) => value % 4294967296;
    hear(profile, tcpSegment(true, { seq: host.next, ack: host.received }));
    hear(profile, tcpSegment(false, { seq: peer.next, ack: peer.received }));
    for (let step = 0; step < 40; step++) {
      const fromHost = random.chance(0.5);
      const [from, to] = fromHost ? [host, peer] : [peer, host];
      const data = random.chance(0.4) ? 1 + random.below(1400) : 0;
      if (random.chance(0.5)) from.received = to.next;
      hear(profile, tcpSegment(fromHost, { seq: from.next, ack: from.received, data }));
      from.next = wrap(from.next + data);
      if (fromHost) peerAcked = from.received;
      else hostAcked = from.received;
      const isIdle = hostAcked === host.next && peerAcked === peer.next;
      const expected = isIdle ? [[host.next, peer.next]] : [];
      assert.equal(idle(profile), expected, `seed ${seed}, run ${run}, step ${step}`);
      if (isIdle) idleSeen++;
    }
  }
  assert.ok(idleSeen > 500, `${idleSeen} times idle`);
});

test('every list is bounded, and what is confirmed stays', () => {
  const profile = new Profile(hostMac);
  const counts = () => {
    const {
      ipv4,
      ipv6,
      names,
      groups,
      records: all,
      netbiosNames,
      notifications: told,
      natMappings,
    } = profile;
    return [ipv4, ipv6, names, groups, all, netbiosNames ?? [], told, natMappings].map(list => list.length);
  };
  for (let i = 1; i < 250; i++) {
    const address = ip(`192.0.2.${i}`);
    const address6 = ip(`2001:db8::${i.toString(16)}`);
    heard(
      [arpAnnouncement(way, hostMac, hostAddress), unsolicitedAdvertisement(way, hostMac, hostLinkLocal)],
      profile,
    );
    heard(
      [arpAnnouncement(way, hostMac, address), unsolicitedAdvertisement(way, hostMac, address6)],
      profile,
    );
    const own: DnsDataRecord = {
      kind: 'a',
      name: `n${i}.local`,
      class: 1,
      cacheFlush: true,
      timeToLive: 120,
      address: hostAddress,
    };
    heard(
      [mdnsSaid(answers([own])), report(igmpMembership, ip(`239.1.1.${i}`)), registration(`N${i}`)],
      profile,
    );
    const usn = notifications[0].headers.map(header =>
      header.name === 'USN' ? { ...header, value: `uuid:${i}` } : header,
    );
    heard([notify({ kind: 'notify', headers: usn })], profile);
    const parts = {
      srcAddress: hostAddress,
      dstAddress: ip(`198.51.100.${i}`),
      srcPort: 4500,
      dstPort: 4500,
      timeToLive: 64,
    };
    heard([udpFrame(toAsker, parts, new Uint8Array([0xff]))], profile);
  }
  assert.equal(counts(), [8, 20, 8, 48, 64, 16, 16, 4]);
  assert.ok(profile.hasAddress(hostAddress, 0, 4) && profile.hasAddress(hostLinkLocal, 0, 16));
});

test('cut and damaged frames never throw, and leave nothing that a responder trips over', () => {
  const seed = 20_261_121;
  const random = new Random(seed, 'learn-damage');
  const frames: Uint8Array[] = [
    ...introduction,
    registration('DESKTOP'),
    tcpSegment(true, { seq: 1, ack: 1, flags: fin }),
  ];
  for (const path of capturePaths()) {
    const reader = new CaptureReader(path);
    reader.push(readFileSync(path));
    for (let frame = reader.next(); frame; frame = reader.next())
      if (frame.bytes.length > 20) frames.push(frame.bytes);
  }
  const headers = new Headers();
  let profile: Profile = new Profile(hostMac);
  let scanned = 0;
  for (let i = 0; i < 15_000; i++) {
    if (i % 500 === 0) profile = heard(introduction);
    const original = frames[random.below(frames.length)];
    const frame = copyBytes(
      original,
      0,
      random.chance(0.2) ? 14 + random.below(original.length - 14) : original.length,
    );
    frame.set(hostMac, 6);
    for (let n = random.below(4); n > 0; n--) frame[random.below(frame.length)] ^= 1 << random.below(8);
    const made = random.chance(0.8) ? repaired(frame) : frame;
    if (headers.scan(made, 0, made.length) !== 'ok') continue;
    scanned++;
    const before = formatHex(made);
    try {
      learnFrom(i, made, headers, profile);
      learnTo(i, made, headers, profile);
      if (i % 50 === 49)
        for (const [name, { questions }] of Object.entries(subjects))
          ask(responders[name](), questions[0], profile as Served);
    } catch (error) {
      throw new Error(`seed ${seed}, case ${i}: ${before}: ${(error as Error).stack}`);
    }
  }
  assert.ok(scanned > 5000, `${scanned} scanned`);
});

test.run();
