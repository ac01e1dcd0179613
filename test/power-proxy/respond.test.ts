import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex } from '../../agent/core/bytes.js';
import { arpAnnouncement } from '../../agent/power-proxy/respond/arp.js';
import { mdnsAnnouncements, mdnsGoodbyes } from '../../agent/power-proxy/respond/mdns.js';
import { unsolicitedAdvertisement } from '../../agent/power-proxy/respond/nd.js';
import type { Served } from '../../agent/power-proxy/responder.js';
import { type Dns, type DnsDataRecord, dnsType } from '../../agent/wire/dns.js';
import type { Igmp } from '../../agent/wire/igmp.js';
import type { Ssdp } from '../../agent/wire/ssdp.js';
import { bytesOf } from '../wire/vectors.js';
import {
  ask,
  askerAddress,
  askerGlobal,
  askerLink,
  askerMac,
  askNow,
  hostAddress,
  hostGlobal,
  hostLinkLocal,
  hostMac,
  ip,
  layersOf,
  mac,
  plainHost,
  proxyLink,
  repaired,
  responders,
} from './respond-asking.js';
import {
  arpQuestion,
  ask4,
  ask6,
  asks,
  broadcastMac,
  connection,
  dnsQuery,
  echoQuestion,
  echoV6Question,
  groupsHost,
  headerOf,
  hostName,
  igmpFrame,
  igmpQuery,
  llmnrAsk,
  llmnrQuestion,
  mdnsFrame,
  mdnsGroup,
  mediaServer,
  mldFrame,
  mldQuery,
  nbnsQuestion,
  notifications,
  records,
  richHost,
  routerAlertV6,
  search,
  segment,
  serviceName,
  serviceType,
  solicitation,
  solicitedNode,
  ssdpAsk,
  subjects,
  tags,
  toAll,
  toGroup,
  toHost,
} from './respond-subjects.js';

/** The verdict of a responder that has heard nothing before. */
const verdict = (name: string, frame: Uint8Array, host: Served = subjects[name].host) =>
  ask(responders[name](), frame, host).verdict;

/** Expects one answer of these bytes. Each was compared field by field with the standard's figure, and read with tshark. */
function expectAnswer(name: string, frame: Uint8Array, annotated: string, host = subjects[name].host): void {
  const { answers } = ask(responders[name](), frame, host);
  assert.equal(
    answers.map(frame => formatHex(frame)),
    [formatHex(bytesOf(annotated))],
  );
}

const ethernet = '020000000020 02005e100001';

test('ARP: a request and a probe are answered with the MAC of the host, in their VLAN (RFC 826, RFC 5227)', () => {
  expectAnswer(
    'arp',
    arpQuestion({}),
    `${ethernet} 0806
    0001 0800 06 04 0002            # Ethernet, IPv4, reply
    3c22fb010203 c000020a           # 192.0.2.10 is at the host
    020000000020 c0000214`,
  );
  expectAnswer(
    'arp',
    arpQuestion({ senderAddress: ip('0.0.0.0') }, { ...toAll, tags }),
    `${ethernet} 8100 6007 0806     # priority 3, VLAN 7
    0001 0800 06 04 0002 3c22fb010203 c000020a 020000000020 00000000`,
  );
});

test('ARP: answers, announcements, others’ addresses and senders that are nobody, a group or the host get nothing', () => {
  assert.is(verdict('arp', arpQuestion({ operation: 2 })), 'not-a-question');
  assert.is(verdict('arp', arpQuestion({ senderAddress: hostAddress })), 'not-a-question', 'announcement');
  assert.is(verdict('arp', echoQuestion()), 'not-a-question');
  assert.is(verdict('arp', arpQuestion({ targetAddress: ip('192.0.2.11') })), 'not-ours');
  assert.is(
    verdict('arp', arpQuestion({}, { ...toAll, dstMac: mac('02:00:00:00:00:99') })),
    'not-ours',
    'for another host',
  );
  assert.is(verdict('arp', arpQuestion({ senderMac: broadcastMac })), 'bad-source');
  assert.is(verdict('arp', arpQuestion({ senderAddress: ip('224.0.0.1') })), 'bad-source');
  const two = { ...plainHost, ipv4: [hostAddress, ip('192.0.2.11')] };
  assert.is(verdict('arp', arpQuestion({ senderAddress: ip('192.0.2.11') }), two), 'bad-source');
  assert.is(verdict('arp', arpQuestion({ senderMac: hostMac })), 'own-frame', 'in a frame of another');
  for (const [srcMac, expected] of [
    [broadcastMac, 'bad-source'],
    [new Uint8Array(6), 'bad-source'],
    [hostMac, 'own-frame'],
    [proxyLink.mac, 'own-frame'],
  ] as const)
    assert.is(verdict('arp', arpQuestion({}, { ...toAll, link: { name: 'lan', mac: srcMac } })), expected);
});

test('ARP: the announcement of a take-over names the address twice (RFC 5227 §2.3), and nobody answers it', () => {
  const frame = arpAnnouncement({ link: proxyLink, tags }, hostMac, hostAddress);
  assert.is(
    formatHex(frame),
    formatHex(
      bytesOf(`ffffffffffff 02005e100001 8100 6007 0806
      0001 0800 06 04 0001 3c22fb010203 c000020a 000000000000 c000020a`),
    ),
  );
  assert.is(ask(responders['arp'](), frame, plainHost, { link: askerLink }).verdict, 'not-a-question');
});

test('ND: S, O and the option as RFC 4861 §7.2.4 asks; duplicate address detection fails for all to hear', () => {
  expectAnswer(
    'nd',
    solicitation(hostGlobal),
    `${ethernet} 86dd
    60000000 0020 3a ff 20010db8000000000000000000000010 fe800000000000000000000000000020
    88 00 8249 60000000 20010db8000000000000000000000010   # solicited, override
    02 01 3c22fb010203`,
  );
  expectAnswer(
    'nd',
    solicitation(hostLinkLocal, { src: ip('::'), source: null }),
    `333300000001 02005e100001 86dd
    60000000 0020 3a ff fe800000000000003e22fbfffe010203 ff020000000000000000000000000001
    88 00 ac28 20000000 fe800000000000003e22fbfffe010203   # override
    02 01 3c22fb010203`,
  );
});

test('ND: answers go to the source link-layer address, or to the frame’s source without one', () => {
  const other = mac('02:00:00:00:00:21');
  const [answer] = ask(responders['nd'](), solicitation(hostGlobal, { source: other }), plainHost).answers;
  assert.equal([...(layersOf(answer)['ethernet']['dstMac'] as Uint8Array)], [...other]);
  const bare = solicitation(hostGlobal, { source: null, dst: hostGlobal });
  assert.equal(
    [...(layersOf(ask(responders['nd'](), bare, plainHost).answers[0])['ethernet']['dstMac'] as Uint8Array)],
    [...askerMac],
  );
});

test('ND: what RFC 4861 §7.1.1 forbids, fragments, and wrong targets or sources get nothing', () => {
  const asked = solicitation(hostGlobal);
  const hopLimit = new Uint8Array(asked);
  hopLimit[21] = 254;
  assert.is(verdict('nd', hopLimit), 'malformed', 'may have crossed a router');
  const checksum = new Uint8Array(asked);
  checksum[57] ^= 1;
  assert.is(verdict('nd', checksum), 'malformed', 'checksum');
  assert.is(verdict('nd', solicitation(hostGlobal, { src: ip('::') })), 'malformed', 'nobody names a MAC');
  assert.is(
    verdict('nd', solicitation(hostGlobal, { src: ip('::'), source: null, dst: ip('ff02::1') })),
    'malformed',
  );
  assert.is(verdict('nd', solicitation(hostGlobal, { dst: ip('ff02::1:ff00:11') })), 'malformed');
  assert.is(verdict('nd', solicitation(hostGlobal, { dst: ip('ff02::1:fe00:10') })), 'malformed');
  assert.is(verdict('nd', solicitation(hostGlobal, { dst: hostLinkLocal })), 'malformed', '§4.3');
  assert.is(verdict('nd', solicitation(ip('2001:db8::11'))), 'not-ours');
  assert.is(verdict('nd', solicitation(hostGlobal, { src: hostLinkLocal })), 'bad-source');
  assert.is(verdict('nd', solicitation(hostGlobal, { src: ip('::1') })), 'bad-source');
  assert.is(verdict('nd', solicitation(hostGlobal, { source: broadcastMac })), 'bad-source');
  assert.is(verdict('nd', solicitation(hostGlobal, { source: hostMac })), 'own-frame');
  const dad = { src: ip('::'), source: null };
  const way = { ...toGroup(solicitedNode(hostLinkLocal)), link: { name: 'lan', mac: hostMac } };
  assert.is(verdict('nd', solicitation(hostLinkLocal, { ...dad, way })), 'own-frame', 'the host woke up');
});

test('ND: the unsolicited advertisement of a take-over (RFC 4861 §7.2.6), which nobody answers', () => {
  const frame = unsolicitedAdvertisement({ link: proxyLink, tags: [] }, hostMac, hostLinkLocal);
  assert.is(
    formatHex(frame),
    formatHex(
      bytesOf(`333300000001 02005e100001 86dd
      60000000 0020 3a ff fe800000000000003e22fbfffe010203 ff020000000000000000000000000001
      88 00 ac28 20000000 fe800000000000003e22fbfffe010203 02 01 3c22fb010203`),
    ),
  );
  assert.is(ask(responders['nd'](), frame, plainHost, { link: askerLink }).verdict, 'not-a-question');
});

test('echo: identifier, sequence number, data and differentiated services come back (RFC 792, RFC 4443)', () => {
  expectAnswer(
    'echo',
    echoQuestion(),
    `${ethernet} 0800
    45 20 002c 0000 4000 40 01 b692 c000020a c0000214
    00 00 0d46 1234 0001 6b69746820706f7765722070726f7879`,
  );
  expectAnswer(
    'echoV6',
    echoV6Question(),
    `${ethernet} 86dd
    60000000 0018 3a 40 20010db8000000000000000000000010 20010db8000000000000000000000020
    81 00 3051 1234 0001 6b69746820706f7765722070726f7879`,
  );
});

test('echo: groups, options, fragments, too long packets and replies get nothing', () => {
  assert.is(verdict('echo', echoQuestion({ dst: ip('224.0.0.1') })), 'not-ours');
  assert.is(verdict('echo', echoQuestion({ dst: ip('192.0.2.255'), way: toAll })), 'not-ours');
  assert.is(verdict('echo', echoQuestion({ way: toAll })), 'to-group');
  assert.is(verdict('echoV6', echoV6Question({ dst: ip('ff02::1'), way: toAll })), 'not-ours');
  assert.is(verdict('echoV6', echoV6Question({ way: toAll })), 'to-group');
  assert.is(
    verdict('echo', echoQuestion({ options: bytesOf('07 07 04 00000000 00') })),
    'options',
    'record route',
  );
  assert.is(verdict('echoV6', echoV6Question({ extensions: [routerAlertV6] })), 'options');
  const fragment = { protocol: 44, fragmentOffset: 0, moreFragments: false, identification: 1 } as const;
  assert.is(verdict('echoV6', echoV6Question({ extensions: [fragment] })), 'fragment', 'of all of it');
  const first = echoQuestion();
  first[20] = 0x20;
  assert.is(verdict('echo', repaired(first)), 'fragment');
  assert.is(verdict('echo', echoQuestion({ data: new Uint8Array(1472) })), 'answered');
  assert.is(verdict('echo', echoQuestion({ data: new Uint8Array(1473) })), 'too-long');
  const coded = echoQuestion();
  coded[35] = 1;
  assert.is(verdict('echo', repaired(coded)), 'malformed', 'a code that echo does not have');
  const loop = echoQuestion();
  loop[26] = 127;
  assert.is(verdict('echo', repaired(loop)), 'bad-source');
  const [reply] = ask(responders['echo'](), echoQuestion(), plainHost).answers;
  const asker = { ...plainHost, mac: askerMac, ipv4: [askerAddress] };
  assert.is(ask(responders['echo'](), reply, asker, { link: askerLink }).verdict, 'not-a-question');
});

test('IGMP: each version is answered in its own (RFC 3376, RFC 2236, RFC 1112), never for all systems', () => {
  expectAnswer(
    'igmp',
    igmpFrame(igmpQuery(), ip('224.0.0.1')),
    `01005e000016 02005e100001 0800
    46 c0 0030 0000 4000 01 02 41e7 c000020a e0000016 94040000
    22 00 0907 0000 0002
    02 00 0000 e00000fb             # exclude nothing
    02 00 0000 effffffa`,
  );
  expectAnswer(
    'igmp',
    igmpFrame(igmpQuery({ version: 2, groupAddress: ip('239.255.255.250') }), ip('239.255.255.250')),
    `01005e7ffffa 02005e100001 0800
    46 c0 0020 0000 4000 01 02 3213 c000020a effffffa 94040000
    16 00 fa04 effffffa`,
  );
  const version1 = igmpFrame(igmpQuery({ version: 1 }), ip('224.0.0.1'), { options: new Uint8Array(0) });
  assert.equal(
    ask(responders['igmp'](), version1, groupsHost).answers.map(frame => layersOf(frame)['igmp']['kind']),
    ['report-v1', 'report-v1'],
  );
  const sources = [ip('198.51.100.1')];
  const specific = igmpQuery({ groupAddress: mdnsGroup, sourceAddresses: sources });
  const [answer] = ask(responders['igmp'](), igmpFrame(specific, mdnsGroup), groupsHost).answers;
  assert.equal((layersOf(answer)['igmp'] as unknown as { records: unknown }).records, [
    { type: 1, groupAddress: mdnsGroup, sourceAddresses: sources },
  ]);
});

test('MLD: version 2 is answered with records, version 1 with a report a group (RFC 3810, RFC 2710)', () => {
  expectAnswer(
    'mld',
    mldFrame(mldQuery(), ip('ff02::1')),
    `333300000016 02005e100001 86dd
    60000000 0038 00 01 fe800000000000003e22fbfffe010203 ff020000000000000000000000000016
    3a 00 0502 0000 0100
    8f 00 36bf 0000 0002
    02 00 0000 ff0200000000000000000000000000fb
    02 00 0000 ff0200000000000000000001ff000010`,
  );
  const answers = ask(
    responders['mld'](),
    mldFrame(mldQuery({ version: 1 }), ip('ff02::1')),
    groupsHost,
  ).answers;
  assert.equal(
    answers.map(frame => layersOf(frame)['mld']['kind']),
    ['report', 'report'],
  );
});

test('membership: queries of the wrong kind, for other groups, or to a host without an address get nothing', () => {
  const query = igmpQuery();
  assert.is(verdict('igmp', igmpFrame(query, ip('224.0.0.1'), { options: new Uint8Array(0) })), 'malformed');
  assert.is(verdict('igmp', igmpFrame(query, ip('224.0.0.1'), { timeToLive: 2 })), 'malformed');
  assert.is(verdict('igmp', igmpFrame(query, ip('224.0.0.5'))), 'malformed');
  const other = ip('239.1.2.3');
  assert.is(verdict('igmp', igmpFrame(igmpQuery({ groupAddress: other }), other)), 'not-ours');
  assert.is(verdict('igmp', igmpFrame(query, ip('224.0.0.1')), plainHost), 'not-ours', 'no groups');
  const addressless = { ...groupsHost, ipv4: [], ipv6: [hostGlobal] };
  assert.is(verdict('igmp', igmpFrame(query, ip('224.0.0.1')), addressless), 'not-ours');
  assert.is(
    verdict('mld', mldFrame(mldQuery(), ip('ff02::1')), addressless),
    'not-ours',
    'no link-local one',
  );
  assert.is(verdict('mld', mldFrame(mldQuery(), ip('ff02::1'), { extensions: [] })), 'malformed');
  assert.is(verdict('mld', mldFrame(mldQuery(), ip('ff02::1'), { hopLimit: 64 })), 'malformed');
  assert.is(verdict('mld', mldFrame(mldQuery(), ip('ff02::1'), { srcAddress: askerGlobal })), 'malformed');
});

test('membership: the report comes within the time allowed, once for queries that repeat, and not if the host wakes', () => {
  const later = responders['igmp']();
  const query = igmpFrame(igmpQuery({ maxResponseTimeMs: 1000 }), ip('224.0.0.1'));
  let dueAt = 1100;
  for (let i = 0; i < 20; i++) {
    assert.equal(askNow(later, query, groupsHost, { now: 100 }), { verdict: 'scheduled', answers: [] });
    assert.ok(later.later!.pollAt() >= 100 && later.later!.pollAt() <= dueAt, 'never put off');
    dueAt = later.later!.pollAt();
  }
  const sent: string[] = [];
  later.later!.poll(later.later!.pollAt() - 1, link => sent.push(link));
  assert.equal(sent, [], 'not before');
  later.later!.poll(1100, link => sent.push(link));
  assert.equal([sent, later.later!.pollAt()], [['lan'], Infinity]);
  askNow(later, query, groupsHost, { now: 2000 });
  later.later!.forget(hostMac);
  assert.is(later.later!.pollAt(), Infinity);
});

test('membership: a group’s query adds to what waits, and the whole group swallows its sources (RFC 3376 §5.2)', () => {
  const due = (...queried: Uint8Array[][]) => {
    const later = responders['igmp']();
    for (const sourceAddresses of queried)
      askNow(
        later,
        igmpFrame(igmpQuery({ groupAddress: mdnsGroup, sourceAddresses }), mdnsGroup),
        groupsHost,
      );
    const reports: Igmp[] = [];
    later.later!.poll(10_000, (_, frame) => reports.push(layersOf(frame)['igmp'] as unknown as Igmp));
    assert.is(reports.length, 1);
    const [report] = reports;
    assert.ok(report.kind === 'report-v3' && report.records.length === 1);
    return [report.records[0].type, report.records[0].sourceAddresses.map(address => address[3])];
  };
  const source = (last: number) => ip(`198.51.100.${last}`);
  assert.equal(due([source(1)], [source(1), source(2)]), [1, [1, 2]]);
  assert.equal(due([source(1)], []), [2, []]);
  assert.equal(due([], [source(1)]), [2, []]);
  assert.equal(due(Array.from({ length: 33 }, (_, i) => source(i))), [2, []], 'too many to remember');
});

test('membership: what waits for everybody covers a group’s query, and an older timer is only cut short (RFC 2236 §3)', () => {
  const general = responders['igmp']();
  askNow(general, igmpFrame(igmpQuery({ maxResponseTimeMs: 0 }), ip('224.0.0.1')), groupsHost);
  askNow(general, igmpFrame(igmpQuery({ groupAddress: mdnsGroup }), mdnsGroup), groupsHost);
  let reports = 0;
  general.later!.poll(10_000, () => reports++);
  assert.is(reports, 1);
  const older = responders['igmp']();
  const query = (maxResponseTimeMs: number) =>
    igmpFrame(igmpQuery({ version: 2, groupAddress: mdnsGroup, maxResponseTimeMs }), mdnsGroup);
  askNow(older, query(25_500), groupsHost);
  const dueAt = older.later!.pollAt();
  for (let i = 0; i < 20; i++) askNow(older, query(25_500), groupsHost);
  assert.is(older.later!.pollAt(), dueAt, 'left alone');
  askNow(older, query(100), groupsHost);
  assert.ok(older.later!.pollAt() <= 100);
});

test('membership: an older querier is spoken to in its version for 260 s, another member’s report hushes ours', () => {
  const later = responders['igmp']();
  const sent: Igmp[] = [];
  const poll = (now: number) =>
    later.later!.poll(now, (_, frame) => sent.push(layersOf(frame)['igmp'] as unknown as Igmp));
  const version3 = igmpFrame(igmpQuery(), ip('224.0.0.1'));
  const version2 = igmpFrame(igmpQuery({ version: 2 }), ip('224.0.0.1'));
  askNow(later, version3, groupsHost, { now: 0 });
  askNow(later, version2, groupsHost, { now: 0 });
  poll(10_000);
  assert.equal(
    sent.map(({ kind }) => kind),
    ['report-v2', 'report-v2'],
    'a change of version cancels what waits',
  );
  sent.length = 0;
  askNow(later, version3, groupsHost, { now: 259_999 });
  const heard = igmpFrame({ kind: 'report-v2', groupAddress: mdnsGroup }, mdnsGroup);
  assert.is(askNow(later, heard, groupsHost, { now: 259_999 }).verdict, 'not-a-question');
  poll(270_000);
  assert.equal(
    sent.map(igmp => 'groupAddress' in igmp && igmp.groupAddress[0]),
    [239],
  );
  sent.length = 0;
  askNow(later, version3, groupsHost, { now: 270_000 });
  poll(280_000);
  assert.equal(
    sent.map(({ kind }) => kind),
    ['report-v3'],
  );
});

test('membership: more groups than fit a packet are reported in several (RFC 3376 §4.2.16), more waiting than the limit not', () => {
  const groups = Array.from({ length: 300 }, (_, i) => ip(`239.1.${i >> 8}.${i & 255}`));
  const groups6 = Array.from({ length: 100 }, (_, i) => ip(`ff05::${i + 1}`));
  const host = { ...plainHost, groups: [...groups, ...groups6] };
  const { answers } = ask(responders['igmp'](), igmpFrame(igmpQuery(), ip('224.0.0.1')), host);
  const counts = answers.map(frame => {
    assert.ok(frame.length <= 1514);
    return (layersOf(frame)['igmp'] as unknown as { records: unknown[] }).records.length;
  });
  assert.equal(counts, [183, 117]);
  const mld = ask(responders['mld'](), mldFrame(mldQuery(), ip('ff02::1')), host).answers;
  assert.equal(
    mld.map(frame => (layersOf(frame)['mld'] as unknown as { records: unknown[] }).records.length),
    [72, 28],
  );
  const version2 = igmpFrame(igmpQuery({ version: 2 }), ip('224.0.0.1'));
  assert.is(ask(responders['igmp'](), version2, host).answers.length, 64);
  const later = responders['igmp']();
  askNow(later, version2, host);
  const single = igmpFrame(igmpQuery({ version: 2, groupAddress: groups[299] }), groups[299]);
  assert.is(askNow(later, single, host).verdict, 'too-many');
});

/** The records of the answer to mDNS questions, as `kind name`, additionals behind a bar. */
function mdnsSaid(frame: Uint8Array): string {
  const { answers, additionals } = layersOf(frame)['mdns'] as unknown as Extract<Dns, { kind: 'query' }>;
  const text = (list: readonly unknown[]) =>
    (list as DnsDataRecord[]).map(({ kind, name }) => `${kind} ${name}`).join(', ');
  return `${text(answers)} | ${text(additionals)}`;
}

const mdnsAnswers = (frame: Uint8Array, host = richHost) =>
  ask(responders['mdns'](), frame, host).answers.map(mdnsSaid);

test('mDNS: one question, several, any type, and what is not there (RFC 6762 §6, §6.1, §6.2)', () => {
  expectAnswer(
    'mdns',
    mdnsFrame(dnsQuery([asks(hostName, dnsType.a)])),
    `01005e0000fb 02005e100001 0800
    45 00 0061 0000 4000 ff 11 d885 c000020a e00000fb 14e9 14e9 004d acc5
    0000 8400 0000 0001 0000 0001                           # response, authoritative
    07 6465736b746f70 05 6c6f63616c 00 0001 8001 00000078 0004 c000020a
    c00c 001c 8001 00000078 0010 fe800000000000003e22fbfffe010203`,
  );
  assert.equal(
    mdnsAnswers(mdnsFrame(dnsQuery([asks(serviceType, dnsType.ptr), asks(hostName, dnsType.any)]))),
    [`ptr ${serviceType}, a ${hostName}, aaaa ${hostName} | srv ${serviceName}, txt ${serviceName}`],
  );
  assert.equal(mdnsAnswers(mdnsFrame(dnsQuery([asks(hostName, dnsType.hinfo)]))), [`nsec ${hostName} | `]);
  const four = { ...richHost, records: records.filter(({ kind }) => kind !== 'aaaa') };
  assert.equal(
    mdnsAnswers(mdnsFrame(dnsQuery([asks(hostName, dnsType.a)])), four),
    [`a ${hostName} | nsec ${hostName}`],
    'without IPv6, says so',
  );
  for (const question of [
    asks(serviceType, dnsType.txt),
    asks('laptop.local', dnsType.a),
    { ...asks(hostName, dnsType.a), class: 3 },
  ])
    assert.is(verdict('mdns', mdnsFrame(dnsQuery([question]))), 'not-ours');
});

test('mDNS: what the asker knows for half its time or more is left out (§7.1), also if it says so later (§7.2)', () => {
  const [a] = records;
  const known = (timeToLive: number) =>
    mdnsFrame(dnsQuery([asks(hostName, dnsType.a)], { answers: [{ ...a, timeToLive }] }));
  assert.is(verdict('mdns', known(60)), 'known');
  assert.is(verdict('mdns', known(59)), 'answered');
  const ptr = records[5];
  const question = asks(serviceType, dnsType.ptr);
  const both = [question, asks('_services._dns-sd._udp.local', dnsType.ptr)];
  const later = responders['mdns']();
  const query = mdnsFrame(dnsQuery(both, { truncated: true }));
  assert.is(askNow(later, query, richHost, { now: 1000 }).verdict, 'scheduled');
  assert.ok(later.later!.pollAt() >= 1400 && later.later!.pollAt() <= 1500);
  const more = mdnsFrame(dnsQuery([], { answers: [ptr] }));
  assert.is(askNow(later, more, richHost, { now: 1100 }).verdict, 'not-a-question');
  const stranger = mdnsFrame(dnsQuery([], { answers: [records[6]] }), {
    ...ask4,
    srcAddress: ip('192.0.2.21'),
  });
  askNow(later, stranger, richHost, { now: 1100 });
  const said: string[] = [];
  later.later!.poll(1500, (_, frame) => said.push(mdnsSaid(frame)));
  assert.equal(said.length, 1);
  assert.match(said[0], /^ptr _services._dns-sd._udp.local \|/);
});

test('mDNS: shared records wait 20 … 120 ms, own ones do not, and nothing is multicast twice within a second (§6)', () => {
  const later = responders['mdns']();
  const shared = mdnsFrame(dnsQuery([asks(serviceType, dnsType.ptr)]));
  assert.is(askNow(later, shared, richHost, { now: 1000 }).verdict, 'scheduled');
  assert.ok(later.later!.pollAt() >= 1020 && later.later!.pollAt() <= 1120);
  const sent: string[] = [];
  later.later!.poll(1120, (_, frame) => sent.push(mdnsSaid(frame)));
  assert.is(sent.length, 1);
  const own = mdnsFrame(dnsQuery([asks(hostName, dnsType.a)]));
  const at = (now: number, frame = own) => askNow(later, frame, richHost, { now }).verdict;
  assert.is(at(1500), 'known', 'it was an additional record just before');
  assert.is(
    at(1500, mdnsFrame(dnsQuery([asks(hostName, dnsType.a, true)]))),
    'answered',
    'but not to this one',
  );
  const probe = mdnsFrame(
    dnsQuery([asks(hostName, dnsType.any)], {
      authorities: [{ ...records[0], address: askerAddress } as DnsDataRecord],
    }),
  );
  assert.is(at(1500, probe), 'answered', 'a probe is: 250 ms');
  assert.is(at(1600, probe), 'known');
  assert.is(at(2600), 'answered');
  assert.is(
    at(2600, mdnsFrame(dnsQuery([asks(hostName, dnsType.a)]), ask6)),
    'answered',
    'IPv6 is another link',
  );
});

test('mDNS: QU gets a unicast answer (§5.4), QM among them a multicast one, another port a plain one (§6.7)', () => {
  const to = (frame: Uint8Array) => {
    const [answer] = ask(responders['mdns'](), frame, richHost).answers;
    const { ethernet, ipv4, udp } = layersOf(answer);
    return [
      formatHex(ethernet['dstMac'] as Uint8Array),
      formatHex(ipv4['dstAddress'] as Uint8Array),
      udp['dstPort'],
    ];
  };
  const quest = asks(hostName, dnsType.a, true);
  assert.equal(to(mdnsFrame(dnsQuery([quest]))), [formatHex(askerMac), 'c0000214', 5353]);
  assert.equal(to(mdnsFrame(dnsQuery([quest, asks(hostName, dnsType.aaaa)]))), [
    '01005e0000fb',
    'e00000fb',
    5353,
  ]);
  const direct = { ...ask4, dstAddress: hostAddress };
  assert.equal(to(mdnsFrame(dnsQuery([quest]), direct, toHost)), [formatHex(askerMac), 'c0000214', 5353]);
  const crossed = { ...direct, timeToLive: 254 };
  assert.is(
    verdict('mdns', mdnsFrame(dnsQuery([quest]), crossed, toHost)),
    'malformed',
    'from beyond the link',
  );
  expectAnswer(
    'mdns',
    mdnsFrame(dnsQuery([asks(serviceName, dnsType.srv)], { identification: 77 }), {
      ...ask4,
      srcPort: 50_003,
    }),
    `${ethernet} 0800
    45 00 0066 0000 4000 ff 11 f767 c000020a c0000214 14e9 c353 0052 e02c
    004d 8400 0001 0001 0000 0000
    07 4465736b746f70 04 5f737368 04 5f746370 05 6c6f63616c 00 0021 0001
    c00c 0021 0001 0000000a 0015 0000 0000 0016 07 6465736b746f70 05 6c6f63616c 00   # 10 s, no cache flush`,
  );
});

test('mDNS: responses, other operations and sources without an answer’s address get nothing', () => {
  const questions = [asks(hostName, dnsType.a)];
  assert.is(verdict('mdns', mdnsFrame(dnsQuery(questions, { isResponse: true }))), 'not-a-question');
  assert.is(verdict('mdns', mdnsFrame(dnsQuery(questions, { operation: 4 }))), 'malformed');
  assert.is(verdict('mdns', mdnsFrame(dnsQuery(questions, { responseCode: 3 }))), 'malformed');
  for (const srcPort of [0, 53, 137, 1023, 1900, 5355])
    assert.is(
      verdict('mdns', mdnsFrame(dnsQuery(questions), { ...ask4, srcPort })),
      'bad-source',
      `${srcPort}`,
    );
  assert.is(
    verdict('mdns', mdnsFrame(dnsQuery(questions), { ...ask4, srcAddress: ip('0.0.0.0') })),
    'bad-source',
  );
  assert.is(
    verdict('mdns', mdnsFrame(dnsQuery(questions), { ...ask4, srcAddress: mdnsGroup })),
    'bad-source',
  );
  assert.is(verdict('mdns', mdnsFrame(dnsQuery(questions)), plainHost), 'not-ours', 'nothing registered');
  assert.is(verdict('mdns', mdnsFrame(dnsQuery(questions), ask6), { ...richHost, ipv6: [] }), 'not-ours');
});

test('mDNS: an answer is at most 32 times the query and a packet long, and knowing a part brings the rest', () => {
  const type = '_x._tcp.local';
  const many = Array.from({ length: 60 }, (_, i): DnsDataRecord => {
    const target = `Service number ${i} of this host`.replaceAll(' ', '\\032');
    return {
      kind: 'ptr',
      name: type,
      class: 1,
      cacheFlush: false,
      timeToLive: 4500,
      target: `${target}.${type}`,
    };
  });
  const host = { ...richHost, records: many };
  const known: DnsDataRecord[] = [];
  for (let round = 0; known.length < 60; round++) {
    assert.ok(round < 10);
    const query = mdnsFrame(dnsQuery([asks(type, dnsType.ptr)], { answers: known }));
    const [answer] = ask(responders['mdns'](), query, host).answers;
    assert.ok(answer.length <= 1514 && answer.length - 42 <= 32 * (query.length - 42), `${answer.length}`);
    const { answers } = layersOf(answer)['mdns'] as unknown as { answers: DnsDataRecord[] };
    known.push(...answers);
  }
  assert.is(new Set(known.map(record => 'target' in record && record.target)).size, 60);
  const long = { ...records[4], name: 'a', strings: Array.from({ length: 4 }, () => new Uint8Array(250)) };
  const big = { ...richHost, records: [long as DnsDataRecord] };
  assert.is(verdict('mdns', mdnsFrame(dnsQuery([asks('a', dnsType.txt)])), big), 'too-long');
});

test('mDNS: an announcement has all records, a goodbye its own with no time to live (§8.3, §10.1), over both IPs', () => {
  for (const [frames, lives] of [
    [mdnsAnnouncements({ link: proxyLink, tags: [] }, richHost), true],
    [mdnsGoodbyes({ link: proxyLink, tags: [] }, richHost), false],
  ] as const) {
    assert.is(frames.length, 2);
    for (const frame of frames) {
      const { mdns, ethernet } = layersOf(frame);
      const { answers, isResponse } = mdns as unknown as { answers: DnsDataRecord[]; isResponse: boolean };
      assert.equal(
        answers,
        lives
          ? records
          : records
              // Others may offer services of the type too.
              .filter(({ name }) => !name.startsWith('_services.'))
              .map(record => ({ ...record, timeToLive: 0 })),
      );
      assert.ok(isResponse && (ethernet['dstMac'] as Uint8Array)[0] & 1);
      assert.equal(ask(responders['mdns'](), frame, richHost, { link: askerLink }).answers, []);
    }
  }
  assert.equal(mdnsAnnouncements({ link: proxyLink, tags: [] }, plainHost), []);
});

test('LLMNR: A, AAAA, ANY and PTR are answered to the sender, another type without records (RFC 4795)', () => {
  expectAnswer(
    'llmnr',
    llmnrQuestion(asks('DESKTOP', dnsType.a)),
    `${ethernet} 0800
    45 00 0045 0000 4000 ff 11 f788 c000020a c0000214 14eb c350 0031 ec3c
    1234 8000 0001 0001 0000 0000                           # response; C, TC and T clear
    07 4445534b544f50 00 0001 0001
    c00c 0001 0001 0000001e 0004 c000020a                   # 30 s`,
  );
  const said = (type: number, name = 'desktop') =>
    ask(responders['llmnr'](), llmnrQuestion(asks(name, type)), plainHost).answers.map(frame =>
      (layersOf(frame)['llmnr'] as unknown as { answers: DnsDataRecord[] }).answers.map(({ kind }) => kind),
    );
  assert.equal(said(dnsType.any), [['a', 'aaaa', 'aaaa']]);
  assert.equal(said(dnsType.mx), [[]]);
  assert.equal(said(dnsType.ptr, '10.2.0.192.in-addr.arpa'), [['ptr']]);
  assert.equal(said(dnsType.a, 'laptop'), []);
  assert.equal(said(dnsType.a, 'desktop.local'), []);
  const addresses = Array.from({ length: 100 }, (_, i) => ip(`192.0.2.${i}`));
  const many = ask(responders['llmnr'](), llmnrQuestion(asks('desktop', dnsType.a)), {
    ...plainHost,
    ipv4: addresses.slice(30),
  });
  assert.ok(many.answers[0].length - 42 <= 512 && many.answers[0].length - 42 > 480);
});

test('LLMNR: conflict notices, responses and queries not to the group get nothing (§2.1.1, §2.4)', () => {
  const question = asks('desktop', dnsType.a);
  assert.is(verdict('llmnr', llmnrQuestion(question, { conflict: true })), 'conflict');
  assert.is(verdict('llmnr', llmnrQuestion(question, { isResponse: true })), 'not-a-question');
  const fromMdns = { ...llmnrAsk, srcPort: 5353 };
  assert.is(verdict('llmnr', llmnrQuestion(question, {}, fromMdns)), 'bad-source', 'a service asks nothing');
  assert.is(verdict('llmnr', llmnrQuestion(question, { tentative: true })), 'answered');
  const direct = {
    srcAddress: askerAddress,
    dstAddress: hostAddress,
    srcPort: 50_000,
    dstPort: 5355,
    timeToLive: 1,
  };
  assert.is(verdict('llmnr', llmnrQuestion(question, {}, direct, toHost)), 'not-ours');
  assert.is(verdict('llmnr', llmnrQuestion({ ...question, class: 3 })), 'not-ours');
});

test('NBNS: name queries and node status for the names registered, or the host’s as a workstation (RFC 1002)', () => {
  expectAnswer(
    'nbns',
    nbnsQuestion('DESKTOP'),
    `${ethernet} 0800
    45 00 005a 0000 4000 40 11 b674 c000020a c0000214 0089 0089 0046 9199
    4321 8500 0000 0001 0000 0000                           # response, authoritative, recursion desired
    20 454545464644454c464545504641 ${'4341'.repeat(8)} 4141 00 0020 0001 00000000
    0006 0000 c000020a`,
  );
  const status = nbnsQuestion('*', { type: 0x21, dst: hostAddress, way: toHost });
  expectAnswer(
    'nbns',
    status,
    `${ethernet} 0800
    45 00 0095 0000 4000 40 11 b639 c000020a c0000214 0089 0089 0081 eb25
    4321 8400 0000 0001 0000 0000
    20 434b41414141414141414141414141414141414141414141414141414141 4141 00 0021 0001 00000000
    0041 01 4445534b544f5020202020202020 20 00 0400         # one name, a workstation's, active
    3c22fb010203 ${'00'.repeat(40)}`,
  );
  assert.is(verdict('nbns', nbnsQuestion('DESKTOP', { suffix: 0x20 })), 'not-ours', 'no file server');
  const server = { ...plainHost, netbiosNames: [{ name: 'NAS', suffix: 0x20, group: false }] };
  assert.is(verdict('nbns', nbnsQuestion('NAS', { suffix: 0x20 }), server), 'answered');
  assert.is(verdict('nbns', nbnsQuestion('DESKTOP'), server), 'not-ours');
  assert.is(verdict('nbns', nbnsQuestion('DESKTOP', { dst: hostAddress, way: toHost })), 'answered');
});

test('NBNS: registrations, releases, responses, and a status asked of everybody get nothing', () => {
  assert.is(verdict('nbns', nbnsQuestion('*', { type: 0x21 })), 'not-ours');
  for (const operation of [5, 6, 8, 15])
    assert.is(verdict('nbns', nbnsQuestion('DESKTOP', { change: { operation } })), 'not-a-question');
  assert.is(verdict('nbns', nbnsQuestion('DESKTOP', { change: { isResponse: true } })), 'not-a-question');
  const name = { name: 'DESKTOP', suffix: 0, scope: 'office' };
  assert.is(verdict('nbns', nbnsQuestion('', { change: { questions: [{ name, type: 0x20 }] } })), 'not-ours');
});

test('SSDP: a search gets the responses its target has, in the version asked for, within the time allowed (UPnP §1.3)', () => {
  const said = (target: string) =>
    ask(responders['ssdp'](), search(target), richHost)
      .answers.map(frame => layersOf(frame)['ssdp'] as unknown as Ssdp)
      .map(response => `${headerOf(response, 'ST')} ${headerOf(response, 'USN')?.slice(41)}`)
      .sort();
  assert.is(said('ssdp:all').length, 3);
  assert.equal(said('upnp:rootdevice'), ['upnp:rootdevice ::upnp:rootdevice']);
  assert.equal(said(`${mediaServer}1`), [`${mediaServer}1 ::${mediaServer}1`]);
  assert.equal(said(`${mediaServer}2`), [`${mediaServer}2 ::${mediaServer}2`]);
  assert.equal(said(`${mediaServer}3`), []);
  assert.equal(said('urn:schemas-upnp-org:device:MediaRenderer:1'), []);
  for (const [waitS, mostMs] of [
    ['1', 1000],
    ['120', 5000],
  ] as const) {
    const later = responders['ssdp']();
    askNow(later, search('ssdp:all', { MX: waitS }), richHost, { now: 50 });
    let count = 0;
    later.later!.poll(50 + mostMs, () => count++);
    assert.is(count, 3);
  }
});

test('SSDP: searches without MAN or MX, to one host, notifications, and what would be too much get nothing', () => {
  assert.is(verdict('ssdp', search('ssdp:all', { MAN: 'ssdp:discover' })), 'malformed');
  assert.is(verdict('ssdp', search('ssdp:all', { MX: '' })), 'malformed');
  assert.is(verdict('ssdp', search('ssdp:all', { MX: '0' })), 'malformed');
  assert.is(
    verdict('ssdp', search('ssdp:all', {}, { ...ssdpAsk, dstAddress: hostAddress }, toHost)),
    'not-ours',
  );
  const many = { ...richHost, notifications: Array.from({ length: 50 }, () => notifications[0]) };
  const { answers } = ask(responders['ssdp'](), search('ssdp:all'), many);
  const payloads = answers.reduce((sum, answer) => sum + answer.length - 42, 0);
  assert.ok(answers.length > 5 && payloads <= 32 * (search('ssdp:all').length - 42), `${payloads}`);
  const few = ask(responders['ssdp'](), search('ssdp:all', { 'USER-AGENT': 'x'.repeat(500) }), many).answers;
  assert.is(few.length, 16);
  const gone = {
    ...notifications[0],
    headers: notifications[0].headers.map(header =>
      header.name === 'NTS' ? { ...header, value: 'ssdp:byebye' } : header,
    ),
  };
  assert.is(verdict('ssdp', search('ssdp:all'), { ...richHost, notifications: [gone] }), 'not-ours');
});

test('TCP: a keep-alive of a known idle connection gets the acknowledgement the host would send (RFC 9293 §3.8.4)', () => {
  expectAnswer(
    'tcp',
    segment(),
    `${ethernet} 0800
    45 00 0034 0000 4000 40 06 b6a5 c000020a c0000214
    0016 c352 10000000 00000000 80 10 01f6 ed3f 0000
    01 01 08 0a 00001000 00002000`,
  );
  expectAnswer(
    'tcp',
    segment({ options: [] }),
    `${ethernet} 0800
    45 00 0028 0000 4000 40 06 b6b1 c000020a c0000214
    0016 c352 10000000 00000000 50 10 01f6 5657 0000`,
  );
});

test('TCP: data, other flags, other numbers, unknown connections and the answer itself are for the host', () => {
  assert.is(verdict('tcp', segment({ sequenceNumber: 0 })), 'not-a-question', 'nothing old in it');
  assert.is(verdict('tcp', segment({ sequenceNumber: 0xfffffffe })), 'not-a-question');
  assert.is(verdict('tcp', segment({ acknowledgmentNumber: connection.sendNext - 1 })), 'not-a-question');
  assert.is(verdict('tcp', segment({}, new Uint8Array(2))), 'not-a-question');
  for (const flags of [0x00, 0x02, 0x11, 0x14, 0x18])
    assert.is(verdict('tcp', segment({ flags })), 'not-a-question');
  assert.is(verdict('tcp', segment({ srcPort: 50_009 })), 'not-ours');
  assert.is(verdict('tcp', segment({ dstPort: 23 })), 'not-ours');
  assert.is(verdict('tcp', segment(), plainHost), 'not-ours');
  const [answer] = ask(responders['tcp'](), segment(), richHost).answers;
  const { address, port, peerAddress, peerPort, sendNext, receiveNext } = connection;
  const peer = {
    ...plainHost,
    mac: askerMac,
    ipv4: [askerAddress],
    connections: [
      {
        address: peerAddress,
        port: peerPort,
        peerAddress: address,
        peerPort: port,
        sendNext: receiveNext,
        receiveNext: sendNext,
        window: 1,
      },
    ],
  };
  assert.is(ask(responders['tcp'](), answer, peer, { link: askerLink }).verdict, 'not-a-question');
});

test('every responder leaves other protocols alone, and what is inside a PPPoE session', () => {
  for (const name of Object.keys(subjects))
    for (const other of Object.keys(subjects))
      for (const question of other === name ? [] : subjects[other].questions)
        assert.is(verdict(name, question, richHost), 'not-a-question', `${name}, ${other}`);
  const packet = echoQuestion().subarray(14);
  const session = bytesOf(
    `3c22fb010203 020000000020 8864 11 00 0001 ${(packet.length + 2).toString(16).padStart(4, '0')} 0021`,
  );
  assert.is(verdict('echo', new Uint8Array([...session, ...packet])), 'not-a-question');
});

test.run();
