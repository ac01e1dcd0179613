import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatAddress } from '../../agent/wire/address.js';
import type { Icmpv6Carrier } from '../../agent/wire/icmpv6.js';
import { type Ipv6, parseIpv6 } from '../../agent/wire/ipv6.js';
import { emitNdp, infiniteLifetime, type Ndp, ndpHopLimit, ndpLength } from '../../agent/wire/ndp.js';
import { ndpCodec } from './codecs.js';
import { bytesOf, checkCodec, frames, refusal, unwritten } from './vectors.js';

/** The IPv6 packet at `offset` of a frame. */
function packetOf(frame: Uint8Array, offset = 14): Ipv6 {
  const ipv6 = parseIpv6(frame, offset, frame.length);
  if (!ipv6.ok) throw new Error(`packet: expected to parse, got ${ipv6.reason}`);
  return ipv6.value;
}

function checkPacket(packet: Ipv6): Ndp {
  return checkCodec(ndpCodec(packet), packet.payload);
}

/** The reason for which the message, its checksum made right, is refused when it comes in `carrier`. */
function verdict(ndp: Ndp, carrier: Icmpv6Carrier): string {
  const out = unwritten(ndpLength(ndp));
  emitNdp(ndp, carrier, out, 0);
  return refusal(ndpCodec(carrier), out);
}

function carrierOf(src: string, dst: string, hopLimit = ndpHopLimit): Icmpv6Carrier {
  return { srcAddress: bytesOf(src), dstAddress: bytesOf(dst), hopLimit };
}

const none = '00000000000000000000000000000000';
const link = 'fe800000000000000000000000000001';
const global = '20010db8000000000000000000000001';
const all = 'ff020000000000000000000000000001';
const solicited = 'ff0200000000000000000001ff000001';

test('a router advertisement with prefix, MTU and source address (icmp6-nd-options.pcap, frame 3)', () => {
  assert.equal(checkPacket(packetOf(frames.routerAdvertisement)), {
    kind: 'router-advertisement',
    currentHopLimit: 64,
    managed: false,
    otherConfiguration: false,
    preference: 0,
    routerLifetimeS: 1800,
    reachableTimeMs: 0,
    retransmitTimerMs: 0,
    options: [
      { kind: 'source-link-layer-address', linkLayerMac: bytesOf('c20054f50000') },
      { kind: 'mtu', mtu: 1500 },
      {
        kind: 'prefix-information',
        prefixLength: 64,
        onLink: true,
        autonomous: true,
        validLifetimeS: 2_592_000,
        preferredLifetimeS: 604_800,
        prefixAddress: bytesOf('20010db8000000010000000000000000'),
      },
    ],
  });
});

test('routes, name servers, search list, nonce and unknown options of a router advertisement', () => {
  // Made for this test, read back with tshark.
  const vector = bytesOf(`
    86 00 e74b 40 48 0708 00007530 000003e8
    18 02 38 18 00000708 20010db800010000                       # 2001:db8:1::/56, low
    18 01 00 08 00000000                                        # ::/0, high
    18 03 60 00 ffffffff 20010db8000200000000000100000000       # 2001:db8:2:0:0:1::/96, for ever
    19 05 0000 00000e10 20010db8000000000000000000000053 20010db8000000000000000000000054
    1f 04 0000 00000e10 04686f6d65 076578616d706c65 00 026c61 00 000000000000
    0e 01 010203040506
    07 01 0000 0000ea60                                         # advertisement interval (RFC 6275)`);
  const advertisement = checkCodec(ndpCodec(carrierOf(link, all)), vector);
  assert.ok(advertisement.kind === 'router-advertisement');
  const { otherConfiguration, preference, reachableTimeMs, retransmitTimerMs, options } = advertisement;
  assert.equal([otherConfiguration, preference, reachableTimeMs, retransmitTimerMs], [true, 1, 30_000, 1000]);
  const route = { kind: 'route-information' as const };
  assert.equal(options, [
    {
      ...route,
      prefixLength: 56,
      preference: -1,
      routeLifetimeS: 1800,
      prefixAddress: bytesOf('20010db8000100000000000000000000'),
    },
    { ...route, prefixLength: 0, preference: 1, routeLifetimeS: 0, prefixAddress: bytesOf(none) },
    {
      ...route,
      prefixLength: 96,
      preference: 0,
      routeLifetimeS: infiniteLifetime,
      prefixAddress: bytesOf('20010db8000200000000000100000000'),
    },
    {
      kind: 'recursive-dns-server',
      lifetimeS: 3600,
      serverAddresses: [
        bytesOf('20010db8000000000000000000000053'),
        bytesOf('20010db8000000000000000000000054'),
      ],
    },
    { kind: 'dns-search-list', lifetimeS: 3600, domains: ['home.example', 'la'] },
    { kind: 'nonce', nonce: bytesOf('010203040506') },
    { kind: 'raw', type: 7, data: bytesOf('0000 0000ea60') },
  ]);
});

test('a solicitation before any address (icmp6-nd-options.pcap, frame 1) and one with (made here)', () => {
  const detection = checkPacket(packetOf(frames.neighborSolicitation));
  assert.ok(detection.kind === 'neighbor-solicitation');
  assert.is(formatAddress(detection.targetAddress), 'fe80::c000:54ff:fef5:0');
  assert.equal(detection.options, []);
  // Checksum confirmed with tshark.
  const solicitation = bytesOf('85 00 7a2c 00000000 01 01 020000000001');
  assert.equal(checkCodec(ndpCodec(carrierOf(link, 'ff020000000000000000000000000002')), solicitation), {
    kind: 'router-solicitation',
    options: [{ kind: 'source-link-layer-address', linkLayerMac: bytesOf('020000000001') }],
  });
});

test('neighbor advertisements keep their three flags (icmp6-nd-options.pcap, frame 2; pppoe.pcap, frame 26)', () => {
  const gratuitous = checkPacket(
    packetOf(
      bytesOf(`
        6e000000 0020 3a ff fe80000000000000c00054fffef50000 ff020000000000000000000000000001
        88 00 9abb a0000000 fe80000000000000c00054fffef50000
        02 01 c20054f50000`),
      0,
    ),
  );
  assert.ok(gratuitous.kind === 'neighbor-advertisement');
  assert.equal([gratuitous.router, gratuitous.solicited, gratuitous.override], [true, false, true]);
  assert.equal(gratuitous.options, [
    { kind: 'target-link-layer-address', linkLayerMac: bytesOf('c20054f50000') },
  ]);
  const router = checkPacket(
    packetOf(
      bytesOf(`
        6e000000 0018 3a ff fe80000000000000c8010efffe880008 ff020000000000000000000000000001
        88 00 5083 80000000 fe80000000000000c8010efffe880008`),
      0,
    ),
  );
  assert.ok(
    router.kind === 'neighbor-advertisement' && router.router && !router.solicited && !router.override,
  );
});

test('a redirect names the better router and quotes the packet', () => {
  // Made for this test, checksum confirmed with tshark.
  const vector = bytesOf(`
    89 00 a4a9 00000000 fe800000000000000000000000000002 20010db8000000000000000000000002
    02 01 020000000002
    04 07 000000000000
    60000000 0008 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002
    c000 0035 0008 e433`);
  const redirect = checkCodec(ndpCodec(carrierOf(link, global)), vector);
  assert.ok(redirect.kind === 'redirect');
  assert.is(formatAddress(redirect.targetAddress), 'fe80::2');
  const quote = redirect.options[1];
  assert.ok(quote.kind === 'redirected-header' && quote.packet.length === 48);
});

test('data that is no multiple of eight is padded with zeros', () => {
  const ndp: Ndp = {
    kind: 'router-solicitation',
    options: [
      { kind: 'nonce', nonce: bytesOf('0102030405060708') },
      { kind: 'raw', type: 200, data: bytesOf('01') },
      { kind: 'redirected-header', packet: bytesOf('0102') },
    ],
  };
  const out = unwritten(ndpLength(ndp));
  emitNdp(ndp, carrierOf(link, all), out, 0);
  assert.equal(
    out.subarray(8),
    bytesOf('0e02 0102030405060708 000000000000 c801 010000000000 0402 000000000000 0102000000000000'),
  );
});

test('a message that may have crossed a router is refused: the hop limit must be 255 (RFC 4861 §6.1, §7.1, §8.1)', () => {
  for (const frame of [frames.routerAdvertisement, frames.neighborSolicitation]) {
    const packet = packetOf(frame);
    for (const hopLimit of [0, 1, 64, 254])
      assert.is(
        refusal(ndpCodec({ ...packet, hopLimit }), packet.payload),
        'bad-value',
        `hop limit ${hopLimit}`,
      );
    assert.is(refusal(ndpCodec({ ...packet, dstAddress: bytesOf(global) }), packet.payload), 'bad-checksum');
  }
});

test('messages with addresses that RFC 4861 forbids them are refused', () => {
  const source = { kind: 'source-link-layer-address' as const, linkLayerMac: bytesOf('020000000001') };
  const target = { targetAddress: bytesOf(global), options: [] };
  const ask: Ndp = { kind: 'neighbor-solicitation', ...target };
  assert.is(verdict(ask, carrierOf(link, solicited)), 'ok');
  assert.is(verdict(ask, carrierOf(none, solicited)), 'ok');
  assert.is(verdict(ask, carrierOf(none, all)), 'bad-value', '§7.1.1: to a solicited-node address');
  assert.is(
    verdict({ ...ask, options: [source] }, carrierOf(none, solicited)),
    'bad-value',
    '§7.1.1: option',
  );
  assert.is(
    verdict({ ...ask, targetAddress: bytesOf(all) }, carrierOf(link, solicited)),
    'bad-value',
    '§7.1.1',
  );
  const tell: Ndp = {
    kind: 'neighbor-advertisement',
    router: false,
    solicited: true,
    override: true,
    ...target,
  };
  assert.is(verdict(tell, carrierOf(link, global)), 'ok');
  assert.is(verdict(tell, carrierOf(link, all)), 'bad-value', '§7.1.2: solicited, to a group');
  assert.is(
    verdict({ ...tell, targetAddress: bytesOf(all) }, carrierOf(link, global)),
    'bad-value',
    '§7.1.2',
  );
  const seek: Ndp = { kind: 'router-solicitation', options: [source] };
  assert.is(verdict(seek, carrierOf(link, all)), 'ok');
  assert.is(verdict(seek, carrierOf(none, all)), 'bad-value', '§6.1.1');
  const advertised = checkPacket(packetOf(frames.routerAdvertisement));
  assert.is(verdict(advertised, carrierOf(global, all)), 'bad-value', '§6.1.2: a router speaks link-locally');
  const better: Ndp = { kind: 'redirect', ...target, destinationAddress: bytesOf(global) };
  assert.is(verdict(better, carrierOf(link, global)), 'ok', 'on the link itself');
  assert.is(verdict(better, carrierOf(global, global)), 'bad-value', '§8.1: source');
  assert.is(
    verdict(
      { ...better, targetAddress: bytesOf('20010db8000000000000000000000009') },
      carrierOf(link, global),
    ),
    'bad-value',
    '§8.1: target',
  );
  assert.is(
    verdict({ ...better, destinationAddress: bytesOf(all) }, carrierOf(link, global)),
    'bad-value',
    '§8.1',
  );
});

test('malformed messages and options are refused, each with its reason', () => {
  const codec = ndpCodec(carrierOf(link, all), 'unverified');
  const solicit = (option: string) => refusal(codec, bytesOf(`85 00 0000 00000000 ${option}`));
  assert.is(solicit(''), 'ok');
  assert.is(refusal(codec, bytesOf('80 00 0000 00000000')), 'bad-type');
  assert.is(refusal(codec, bytesOf('85 01 0000 00000000')), 'bad-type');
  assert.is(refusal(codec, bytesOf('85 00 0000 000000')), 'truncated');
  assert.is(solicit('01 00 020000000001'), 'bad-option', 'length 0');
  assert.is(solicit('01 02 020000000001'), 'truncated');
  assert.is(solicit('01'), 'truncated');
  assert.is(
    solicit(`01 02 020000000001 ${'00'.repeat(8)}`),
    'bad-option',
    'a link-layer address of 14 bytes',
  );
  assert.is(solicit('03 01 40 c0 00000000'), 'bad-option', 'no prefix');
  assert.is(solicit(`03 04 81 c0 ${'00'.repeat(28)}`), 'bad-option', 'prefix length 129');
  assert.is(solicit(`05 02 0000 000005dc ${'00'.repeat(8)}`), 'bad-option', 'a long MTU');
  assert.is(solicit('18 01 01 00 00000000'), 'bad-option', 'a route without its prefix');
  assert.is(solicit(`18 02 41 00 00000000 ${'00'.repeat(8)}`), 'bad-option', 'a route with half of it');
  assert.is(solicit(`18 04 40 00 00000000 ${'00'.repeat(24)}`), 'bad-option', 'a route with more');
  assert.is(solicit('19 01 0000 00000e10'), 'bad-option', 'no server');
  assert.is(solicit(`19 02 0000 00000e10 ${'00'.repeat(8)}`), 'bad-option', 'half a server');
  assert.is(solicit('1f 01 0000 00000e10'), 'bad-option', 'no domain');
  const search = (name: string) => solicit(`1f 02 0000 00000e10 ${name}`);
  assert.is(search('026c610000000000'), 'ok');
  assert.is(search('066c616c616c6100'), 'ok');
  assert.is(search('076c616c616c616c'), 'bad-name', 'no end');
  assert.is(search('c00c000000000000'), 'bad-name', 'a compression pointer');
  assert.is(search('022e610000000000'), 'bad-name', 'a dot within a label');
  assert.is(search('02ff610000000000'), 'bad-name', 'not ASCII');
  const label = `3f${'61'.repeat(63)}`;
  assert.is(
    solicit(`1f 22 0000 00000e10 ${label.repeat(3)}3d${'61'.repeat(61)}00 ${'00'.repeat(9)}`),
    'ok',
    '255 bytes',
  );
  assert.is(
    solicit(`1f 22 0000 00000e10 ${label.repeat(3)}3e${'61'.repeat(62)}00 ${'00'.repeat(8)}`),
    'bad-name',
    '256',
  );
});

test('a domain that cannot be written is a programming error', () => {
  const ndp: Ndp = {
    kind: 'router-solicitation',
    options: [{ kind: 'dns-search-list', lifetimeS: 1, domains: ['home..example'] }],
  };
  assert.throws(
    () => emitNdp(ndp, carrierOf(link, all), new Uint8Array(64), 0),
    'domain: expected labels of 1..63 characters, got home..example',
  );
});

test.run();
