import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { copyBytes, parseHex } from '../../agent/core/bytes.js';
import { never } from '../../agent/core/time.js';
import { learnFrom, learnTo } from '../../agent/power-proxy/learn.js';
import { Profile } from '../../agent/power-proxy/profile.js';
import { keepDhcp } from '../../agent/power-proxy/respond/dhcp-renewal.js';
import { keepDhcpv6 } from '../../agent/power-proxy/respond/dhcpv6-renewal.js';
import { groupMac, udpFrame } from '../../agent/power-proxy/respond/frame.js';
import { keepNatMapping } from '../../agent/power-proxy/respond/nat-keepalive.js';
import type { Keeper, Served } from '../../agent/power-proxy/responder.js';
import {
  bootReply,
  bootRequest,
  type Dhcp,
  type DhcpOption,
  dhcpLength,
  dhcpMessageType,
  emitDhcp,
} from '../../agent/wire/dhcp.js';
import { type Dhcpv6Option, dhcpv6Length, dhcpv6MessageType, emitDhcpv6 } from '../../agent/wire/dhcpv6.js';
import { Headers } from '../../agent/wire/headers.js';
import { CaptureReader } from '../../host-sim/capture/pcap.js';
import { capturePath } from '../support/captures.js';
import { needs } from '../support/needs.js';
import {
  hex,
  hostAddress,
  hostGlobal,
  hostLinkLocal,
  hostMac,
  ip,
  layersOf,
  mac,
  plainHost,
  proxyLink,
} from './respond-asking.js';
import { readByTshark } from './tshark.js';

const minute = 60_000;
const hour = 60 * minute;
const serverAddress = ip('192.0.2.1');
const serverMac = mac('02:00:00:00:00:01');
const serverLink = { name: 'lan', mac: serverMac };
const hostLink = { name: 'lan', mac: hostMac };
const serverLinkLocal = ip('fe80::1');
const allServers = ip('ff02::1:2');
const everybody = new Uint8Array(6).fill(0xff);
const clientId = parseHex(`01${hex(hostMac)}`)!;
const duid = parseHex(`00030001${hex(hostMac)}`)!;
const serverDuid = parseHex(`00030001${hex(serverMac)}`)!;
const untagged = { link: proxyLink, vlanId: -1 };

/** Hands a profile one frame; its memory is the platform's again afterwards. */
function hear(profile: Profile, now: number, frame: Uint8Array): void {
  const lent = copyBytes(frame, 0, frame.length);
  const headers = new Headers();
  assert.is(headers.scan(lent, 0, lent.length), 'ok');
  const isFromHost = hex(lent.subarray(6, 12)) === hex(profile.mac);
  if (isFromHost) learnFrom(now, lent, headers, profile);
  else learnTo(now, lent, headers, profile);
  lent.fill(0xa5);
}

const request = (transactionId: number, change: Partial<Dhcp> = {}): Dhcp => ({
  operation: bootRequest,
  hops: 0,
  transactionId,
  secondsElapsed: 0,
  broadcast: false,
  clientAddress: ip('0.0.0.0'),
  yourAddress: ip('0.0.0.0'),
  serverAddress: ip('0.0.0.0'),
  relayAddress: ip('0.0.0.0'),
  clientMac: hostMac,
  serverName: new Uint8Array(0),
  bootFile: new Uint8Array(0),
  options: [
    { kind: 'message-type', messageType: dhcpMessageType.request },
    { kind: 'client-identifier', data: clientId },
    { kind: 'requested-address', address: hostAddress },
    { kind: 'host-name', text: 'desktop.example.net' },
  ],
  ...change,
});

const acknowledgement = (transactionId: number, seconds: number, more: readonly DhcpOption[] = []): Dhcp => ({
  ...request(transactionId),
  operation: bootReply,
  yourAddress: hostAddress,
  options: [
    { kind: 'message-type', messageType: dhcpMessageType.ack },
    { kind: 'server-identifier', address: serverAddress },
    { kind: 'lease-time', seconds },
    ...more,
  ],
});

const typed = (message: Dhcp, messageType: number, options: readonly DhcpOption[] = []): Dhcp => ({
  ...message,
  options: [{ kind: 'message-type', messageType }, ...options],
});

function fromHost(message: Dhcp): Uint8Array {
  const payload = new Uint8Array(dhcpLength(message));
  emitDhcp(message, payload, 0);
  const parts = { srcAddress: ip('0.0.0.0'), dstAddress: ip('255.255.255.255'), srcPort: 68, dstPort: 67 };
  return udpFrame({ link: hostLink, tags: [], dstMac: everybody }, { ...parts, timeToLive: 64 }, payload);
}

function fromServer(message: Dhcp, dstMac = hostMac): Uint8Array {
  const payload = new Uint8Array(dhcpLength(message));
  emitDhcp(message, payload, 0);
  const dstAddress = dstMac === everybody ? ip('255.255.255.255') : hostAddress;
  const parts = { srcAddress: serverAddress, dstAddress, srcPort: 67, dstPort: 68, timeToLive: 64 };
  return udpFrame({ link: serverLink, tags: [], dstMac }, parts, payload);
}

/** A host that has a lease of an hour since `now`. */
function leased(now: number, more: readonly DhcpOption[] = []): Profile {
  const profile = new Profile(hostMac);
  hear(profile, now, fromHost(request(7)));
  hear(profile, now, fromServer(acknowledgement(7, 3600, more)));
  assert.ok(profile.lease);
  return profile;
}

/** What a keeper says and sends. */
function keep(keeper: Keeper, now: number, host: Served, where = untagged) {
  const frames: Uint8Array[] = [];
  const verdict = keeper(now, where, host, frame => frames.push(frame));
  return { verdict, frames };
}

// biome-ignore lint/suspicious/noExplicitAny: layers are records of anything
const read = (frame: Uint8Array) => layersOf(frame) as any;

test('a lease is learnt from the acknowledgement of a request the host was seen to make', () => {
  const profile = leased(1000);
  hear(profile, 2000, fromServer(acknowledgement(7, 3600)));
  const { lease, ipv4, names } = profile;
  assert.equal(lease, {
    address: hostAddress,
    server: serverAddress,
    serverMac,
    clientId,
    renewAt: 1000 + hour / 2,
    rebindAt: 1000 + (7 * hour) / 8,
    expiresAt: 1000 + hour,
  });
  assert.equal(ipv4, [hostAddress]);
  assert.equal(names, ['desktop']);
});

test('T1 and T2 of the server count, unless they are out of order', () => {
  const times = (t1: number, t2: number) => {
    const { lease } = leased(0, [
      { kind: 'renewal-time', seconds: t1 },
      { kind: 'rebinding-time', seconds: t2 },
    ]);
    return [lease!.renewAt, lease!.rebindAt, lease!.expiresAt];
  };
  assert.equal(times(600, 1200), [600_000, 1_200_000, hour]);
  assert.equal(times(1200, 600), [hour / 2, (7 * hour) / 8, hour]);
  assert.equal(times(600, 3601), [hour / 2, (7 * hour) / 8, hour]);
});

test('a lease for ever is never renewed', () => {
  const profile = new Profile(hostMac);
  hear(profile, 0, fromHost(request(7)));
  hear(profile, 0, fromServer(acknowledgement(7, 0xffffffff)));
  assert.equal([profile.lease!.renewAt, profile.lease!.expiresAt], [never, never]);
  assert.is(keep(keepDhcp(4), 1e12, profile).verdict, 'not-due');
});

test('an acknowledgement of another transaction, to another host, or without a lease is not believed', () => {
  const profile = new Profile(hostMac);
  const { inform, ack } = dhcpMessageType;
  hear(profile, 0, fromServer(acknowledgement(7, 3600)));
  hear(profile, 0, fromHost(request(7)));
  hear(profile, 0, fromServer(acknowledgement(8, 3600)));
  hear(profile, 0, fromServer({ ...acknowledgement(7, 3600), clientMac: serverMac }));
  hear(profile, 0, fromHost(typed(request(9), inform)));
  hear(profile, 0, fromServer(typed(acknowledgement(9, 0), ack)));
  assert.is(profile.lease, undefined);
  assert.equal(profile.ipv4, []);
  hear(profile, 0, fromServer(acknowledgement(7, 3600), everybody));
  assert.ok(profile.lease, 'one that is broadcast is the host’s too');
});

test('an address goes with its lease: refused, given back, declined, or replaced', () => {
  const { nak, release, decline } = dhcpMessageType;
  const ends: readonly (readonly [string, Uint8Array[]])[] = [
    ['refused', [fromHost(request(8)), fromServer(typed(acknowledgement(8, 0), nak))]],
    ['given back', [fromHost(typed(request(8, { clientAddress: hostAddress }), release))]],
    [
      'declined',
      [fromHost(typed(request(8), decline, [{ kind: 'requested-address', address: hostAddress }]))],
    ],
  ];
  for (const [what, frames] of ends) {
    const profile = leased(0);
    for (const frame of frames) hear(profile, 1000, frame);
    assert.is(profile.lease, undefined, what);
    assert.equal(profile.ipv4, [], what);
  }
  const profile = leased(0);
  hear(profile, 1000, fromHost(request(8)));
  hear(profile, 1000, fromServer({ ...acknowledgement(8, 3600), yourAddress: ip('192.0.2.77') }));
  assert.equal(profile.ipv4, [ip('192.0.2.77')]);
});

test('a lease is renewed with its server from T1 on, with all from T2 on, and not when it has ended', () => {
  const profile = leased(0);
  const keeper = keepDhcp(4);
  const sent: [atMinute: number, to: string, secs: number][] = [];
  for (let now = 0; now < hour; now += 10_000) {
    const { verdict, frames } = keep(keeper, now, profile);
    assert.is(frames.length, verdict === 'sent' ? 1 : 0);
    if (verdict !== 'sent') assert.is(verdict, 'not-due');
    for (const frame of frames) {
      const { ethernet, ipv4, udp, dhcp } = read(frame);
      assert.equal(hex(ethernet.srcMac), hex(proxyLink.mac));
      assert.equal([udp.srcPort, udp.dstPort], [68, 67]);
      assert.equal(
        [ipv4.srcAddress, dhcp.clientAddress, dhcp.clientMac],
        [hostAddress, hostAddress, hostMac],
      );
      assert.equal(dhcp.options, [
        { kind: 'message-type', messageType: dhcpMessageType.request },
        { kind: 'client-identifier', data: clientId },
      ]);
      const isUnicast =
        hex(ethernet.dstMac) === hex(serverMac) && hex(ipv4.dstAddress) === hex(serverAddress);
      const isBroadcast = hex(ethernet.dstMac) === hex(everybody) && hex(ipv4.dstAddress) === 'ffffffff';
      assert.ok(isUnicast || isBroadcast);
      sent.push([now / minute, isUnicast ? 'server' : 'all', dhcp.secondsElapsed]);
    }
  }
  // T1 is 30 minutes, T2 52.5; half of what is left passes between the attempts, 60 s at the least.
  assert.equal(
    sent.map(([at, to]) => `${at.toFixed(2)} ${to}`),
    [
      ...['30.00', '41.33', '47.00', '49.83', '51.17', '52.17'].map(at => `${at} server`),
      ...['52.50', '56.33', '58.17', '59.17'].map(at => `${at} all`),
    ],
  );
  assert.equal(sent.filter(([, to]) => to === 'server').map(([, , secs]) => secs)[1], 680);
  assert.is(keep(keeper, hour, profile).verdict, 'expired');
  assert.is(keep(keeper, hour, { ...plainHost }).verdict, 'no-lease');
});

test('the answer to a renewal made in its place prolongs the lease, though the host asked nothing', () => {
  const profile = leased(0);
  const keeper = keepDhcp(4);
  for (const [now, stage] of [
    [hour / 2, 'T1'],
    [hour / 2 + (7 * hour) / 8 + 1000, 'T2'],
  ] as const) {
    const { frames } = keep(keeper, now, profile);
    const { transactionId } = read(frames[0]).dhcp;
    hear(profile, now, fromServer(acknowledgement(transactionId, 3600)));
    assert.is(profile.lease!.expiresAt, now + hour, stage);
    assert.is(keep(keeper, now + 1, profile).verdict, 'not-due', stage);
    hear(profile, now + 5, fromServer(acknowledgement(transactionId, 7200)));
    assert.is(profile.lease!.expiresAt, now + hour, `${stage}: the same answer again is none`);
  }
});

test('attempts for more hosts than there is room for are still made, and lost ones only come early', () => {
  const keeper = keepDhcp(2);
  const hosts = [1, 2, 3].map(last => {
    const { lease } = leased(0);
    return { ...plainHost, mac: mac(`02:00:00:00:01:0${last}`), lease: lease! };
  });
  const verdicts = (now: number) => hosts.map(host => keep(keeper, now, host).verdict);
  assert.equal(verdicts(hour / 2), ['sent', 'sent', 'sent']);
  assert.equal(
    hosts.slice(1).map(host => keep(keeper, hour / 2 + 1, host).verdict),
    ['not-due', 'not-due'],
  );
  assert.is(keep(keeper, hour / 2 + 1, hosts[0]).verdict, 'sent');
});

test('of the capture, the acknowledged lease is learnt and renewed with that server', () => {
  const reader = new CaptureReader(capturePath('dhcp.pcap'));
  reader.push(readFileSync(capturePath('dhcp.pcap')));
  const profile = new Profile(mac('90:b1:1c:99:49:29'));
  for (let frame = reader.next(); frame; frame = reader.next()) hear(profile, 0, frame.bytes);
  assert.equal(profile.ipv4, [ip('128.2.6.189')]);
  assert.equal(profile.names, ['btest']);
  const { frames } = keep(keepDhcp(1), 450_000, profile);
  const { ethernet, ipv4, dhcp } = read(frames[0]);
  assert.equal([ethernet.dstMac, ipv4.dstAddress], [mac('00:0c:29:40:0e:ef'), ip('128.2.6.152')]);
  assert.equal(dhcp.clientAddress, ip('128.2.6.189'));
});

const iaAddress = (address: Uint8Array, preferred: number, valid: number): Dhcpv6Option => ({
  kind: 'ia-address',
  address,
  preferredLifetimeSeconds: preferred,
  validLifetimeSeconds: valid,
  options: [],
});

const ia = (options: readonly Dhcpv6Option[], t1Seconds = 0, t2Seconds = 0): Dhcpv6Option => ({
  kind: 'ia-na',
  iaid: 0xcafe,
  t1Seconds,
  t2Seconds,
  options,
});

function dhcpv6Frame(type: number, transactionId: number, options: readonly Dhcpv6Option[]): Uint8Array {
  const message = { kind: 'message', messageType: type, transactionId, options } as const;
  const payload = new Uint8Array(dhcpv6Length(message));
  emitDhcpv6(message, payload, 0);
  const isReply = type === dhcpv6MessageType.reply;
  const way = {
    link: isReply ? serverLink : hostLink,
    tags: [],
    dstMac: isReply ? hostMac : groupMac(allServers),
  };
  const addresses = isReply
    ? { srcAddress: serverLinkLocal, dstAddress: hostLinkLocal }
    : { srcAddress: hostLinkLocal, dstAddress: allServers };
  const ports = isReply ? { srcPort: 547, dstPort: 546 } : { srcPort: 546, dstPort: 547 };
  return udpFrame(way, { ...addresses, ...ports, timeToLive: 64 }, payload);
}

const identifiers: readonly Dhcpv6Option[] = [
  { kind: 'client-identifier', duid },
  { kind: 'server-identifier', duid: serverDuid },
];
const { reply, request: request6, renew, rebind } = dhcpv6MessageType;
const address6 = iaAddress(hostGlobal, 3600, 7200);

function leased6(now: number, association = ia([address6], 1800, 2880)): Profile {
  const profile = new Profile(hostMac);
  hear(profile, now, dhcpv6Frame(request6, 0x123456, identifiers));
  hear(profile, now, dhcpv6Frame(reply, 0x123456, [...identifiers, association]));
  return profile;
}

test('a DHCPv6 lease is learnt from the reply to a request the host was seen to make', () => {
  const { lease6, ipv6 } = leased6(1000);
  assert.equal(lease6, {
    from: hostLinkLocal,
    clientId: duid,
    serverId: serverDuid,
    serverMac,
    iaid: 0xcafe,
    addresses: [hostGlobal],
    renewAt: 1000 + 1_800_000,
    rebindAt: 1000 + 2_880_000,
    expiresAt: 1000 + 7_200_000,
  });
  assert.equal(ipv6, [hostGlobal]);
  // Left to the client (RFC 8415 §21.4): of the preferred lifetime a half, and four fifths.
  const { renewAt, rebindAt } = leased6(0, ia([address6])).lease6!;
  assert.equal([renewAt, rebindAt], [1_800_000, 2_880_000]);
});

test('a reply to nothing asked, with a refusal, or without an address gives no lease, and one that takes it away ends it', () => {
  const refusal: Dhcpv6Option = { kind: 'status-code', statusCode: 2, text: 'none left' };
  assert.is(leased6(0, ia([refusal])).lease6, undefined);
  assert.is(leased6(0, ia([iaAddress(hostGlobal, 0, 0)])).lease6, undefined);
  const profile = new Profile(hostMac);
  hear(profile, 0, dhcpv6Frame(reply, 0x123456, [...identifiers, ia([address6])]));
  assert.is(profile.lease6, undefined);
  const had = leased6(0);
  hear(had, 1000, dhcpv6Frame(renew, 0x77, identifiers));
  hear(had, 1000, dhcpv6Frame(reply, 0x77, [...identifiers, ia([iaAddress(hostGlobal, 0, 0)])]));
  assert.equal([had.lease6, had.ipv6], [undefined, []]);
});

test('DHCPv6 addresses are renewed from T1 on, rebound from T2 on, and the answer prolongs them', () => {
  const profile = leased6(0);
  const keeper = keepDhcpv6(4);
  const sentAt: { [type: number]: number[] } = { [renew]: [], [rebind]: [] };
  const ids: { [type: number]: number[] } = { [renew]: [], [rebind]: [] };
  for (let now = 0; now < 7_200_000; now += 5000) {
    for (const frame of keep(keeper, now, profile).frames) {
      const { ethernet, ipv6, udp, dhcpv6 } = read(frame);
      const { messageType, transactionId, options } = dhcpv6;
      assert.equal([ethernet.dstMac, ipv6.dstAddress], [groupMac(allServers), allServers]);
      assert.equal([ipv6.srcAddress, udp.srcPort, udp.dstPort], [hostLinkLocal, 546, 547]);
      const started = sentAt[messageType][0] ?? now;
      assert.equal(options, [
        { kind: 'client-identifier', duid },
        ...(messageType === renew ? [{ kind: 'server-identifier', duid: serverDuid }] : []),
        { kind: 'elapsed-time', elapsedHundredths: Math.min(0xffff, (now - started) / 10) },
        ia([iaAddress(hostGlobal, 0, 0)]),
        { kind: 'option-request', codes: [82] },
      ]);
      sentAt[messageType].push(now);
      if (!ids[messageType].includes(transactionId)) ids[messageType].push(transactionId);
    }
  }
  const seconds = (type: number) =>
    sentAt[type].slice(0, 9).map(at => at / 1000 - (type === renew ? 1800 : 2880));
  assert.equal(seconds(renew), [0, 10, 30, 70, 150, 310, 630]);
  assert.equal(seconds(rebind), [0, 10, 30, 70, 150, 310, 630, 1230, 1830]);
  assert.equal([ids[renew].length, ids[rebind].length], [1, 1], 'an exchange has one transaction id');
  assert.is.not(ids[renew][0], ids[rebind][0]);
  for (const type of [renew, rebind]) {
    const host = leased6(0);
    hear(host, 1_900_000, dhcpv6Frame(reply, ids[type][0], [...identifiers, ia([address6], 1800, 2880)]));
    assert.is(host.lease6!.expiresAt, 1_900_000 + 7_200_000);
  }
  assert.is(keep(keeper, 7_200_000, profile).verdict, 'expired');
});

const mapping = { address: hostAddress, port: 4500, peerAddress: ip('198.51.100.9'), peerPort: 4500 };
const keepaliveOf = (byte = 0xff, srcAddress = hostAddress) =>
  udpFrame(
    { link: hostLink, tags: [], dstMac: serverMac },
    { srcAddress, dstAddress: mapping.peerAddress, srcPort: 4500, dstPort: 4500, timeToLive: 64 },
    new Uint8Array([byte]),
  );

test('NAT keep-alives go on as the host sent them, and stop with the tunnel', () => {
  const profile = new Profile(hostMac);
  hear(profile, 0, keepaliveOf());
  assert.is(
    keep(keepNatMapping, 0, profile).verdict,
    'no-mapping',
    'from an address that is not known as its own',
  );
  profile.addAddress(hostAddress, 0, 4);
  hear(profile, 0, keepaliveOf(0));
  assert.is(profile.natMappings.length, 0, 'no keep-alive');
  for (const now of [0, 20_000, 40_000]) hear(profile, now, keepaliveOf());
  assert.equal(profile.natMappings, [{ ...mapping, routerMac: serverMac, heldAt: 40_000 }]);
  const { verdict, frames } = keep(keepNatMapping, 60_000, profile);
  assert.is(verdict, 'sent');
  const own = keepaliveOf();
  own.set(proxyLink.mac, 6);
  assert.equal(frames.map(hex), [hex(own)]);
  // The host is awake, and says other things, but keeps the mapping open no longer.
  hear(profile, 140_000, fromHost(request(1)));
  assert.is(profile.natMappings.length, 1);
  hear(profile, 140_001, fromHost(request(2)));
  assert.is(profile.natMappings.length, 0);
});

test('what is sent in a host’s place is in its VLAN', () => {
  const profile = leased(0);
  hear(profile, 0, keepaliveOf());
  const where = { link: proxyLink, vlanId: 7 };
  const host = { ...profile, lease6: leased6(0).lease6!, lease: profile.lease! };
  for (const keeper of [keepDhcp(1), keepDhcpv6(1), keepNatMapping] as Keeper[]) {
    const { frames } = keep(keeper, 1_900_000, host, where);
    assert.is(frames.length, 1);
    assert.is(read(frames[0]).vlan.vlanId, 7);
  }
});

const compare = needs('tshark', 'tshark') ? test : test.skip;

compare(
  'tshark finds nothing malformed in renewals and keep-alives, and reads from them what was meant',
  () => {
    const lease = leased(0);
    hear(lease, 0, keepaliveOf());
    const lease6 = leased6(0);
    const [dhcp, dhcpv6] = [keepDhcp(1), keepDhcpv6(1)];
    const frames = [
      ...keep(dhcp, hour / 2, lease).frames,
      ...keep(dhcp, hour - minute, lease).frames,
      ...keep(dhcpv6, 1_800_000, lease6).frames,
      ...keep(dhcpv6, 3_000_000, lease6).frames,
      ...keep(keepNatMapping, 0, lease).frames,
    ];
    const fields = [
      'dhcp.option.dhcp',
      'dhcp.ip.client',
      'dhcp.hw.mac_addr',
      'dhcpv6.msgtype',
      'dhcpv6.iaaddr.ip',
    ];
    const found = readByTshark(frames, [...fields, 'udpencap.nat_keepalive']);
    assert.equal(
      found.map(each =>
        fields
          .map(field => each[field])
          .join(' ')
          .trim(),
      ),
      [
        ...[0, 1].map(() => '3 192.0.2.10 3c:22:fb:01:02:03,3c:22:fb:01:02:03'),
        ...[5, 6].map(type => `${type} 2001:db8::10`),
        '',
      ],
    );
    assert.is.not(found[4]['udpencap.nat_keepalive'], '');
  },
);

test.run();
