import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatAddress } from '../../agent/wire/address.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { icmpType } from '../../agent/wire/icmp.js';
import { icmpv6Type, parseIcmpv6 } from '../../agent/wire/icmpv6.js';
import {
  emitIpv4,
  parseIpv4,
  protocolIcmpv6,
  protocolIgmp,
  protocolTcp,
  protocolUdp,
} from '../../agent/wire/ipv4.js';
import {
  emitIpv6,
  extensionAuthentication,
  extensionDestinationOptions,
  extensionFragment,
  extensionHopByHop,
  extensionRouting,
  maxIpv6Extensions,
  parseIpv6,
  protocolNoNextHeader,
} from '../../agent/wire/ipv6.js';
import { icmpCodec, icmpv6Codec, ipv4Codec, ipv6Codec } from './codecs.js';
import { bytesOf, checkCodec, frames, patched, refusal } from './vectors.js';

const addresses4 = 'c0000201 c0000202';
const addresses6 = '20010db8000000000000000000000001 20010db8000000000000000000000002';

/** A copy whose header checksum is right again, so that what is tested is the fault put in. */
function resealed(packet: Uint8Array): Uint8Array {
  const copy = patched(packet, 10, 0, 0);
  const checksum = internetChecksum(copy, 0, (copy[0] & 15) * 4);
  return patched(copy, 10, checksum >> 8, checksum & 255);
}

test('an IPv4 packet gives its fields and mirrors (llmnr-udp.pcap, frame 1)', () => {
  const ipv4 = checkCodec(ipv4Codec, frames.llmnr.subarray(14));
  const { payload, srcAddress, dstAddress, options, ...rest } = ipv4;
  assert.equal(rest, {
    dscp: 0,
    ecn: 0,
    identification: 0x351c,
    dontFragment: false,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 1,
    protocol: protocolUdp,
  });
  assert.is(formatAddress(srcAddress), '192.168.10.233');
  assert.is(formatAddress(dstAddress), '224.0.0.252');
  assert.is(payload.length, 32);
  assert.is(options.length, 0);
});

test('IPv4 options are kept as they came (home-multicast-short.pcap, frame 3: Router Alert)', () => {
  const ipv4 = checkCodec(ipv4Codec, frames.igmpReport.subarray(14));
  assert.equal(ipv4.options, bytesOf('94040000'));
  assert.is(ipv4.dscp, 48);
  assert.is(ipv4.protocol, protocolIgmp);
});

test('IPv4 options that are no multiple of four are padded with End of Option List', () => {
  const parsed = parseIpv4(frames.llmnr, 14, frames.llmnr.length);
  assert.ok(parsed.ok);
  const out = new Uint8Array(24).fill(0xa5);
  assert.is(emitIpv4({ ...parsed.value, options: bytesOf('01') }, 0, out, 0), 24);
  assert.equal(out.subarray(20), bytesOf('01000000'));
});

test('Ethernet padding never becomes IPv4 payload', () => {
  const packet = bytesOf(
    `45 00 001f 1234 0000 40 11 e496 ${addresses4} c000 0035 000b dc34 6b6974 000000000000`,
  );
  const ipv4 = parseIpv4(packet, 0, packet.length);
  assert.ok(ipv4.ok && ipv4.value.payload.length === 11);
});

test('fragments keep identification, flags and an offset in bytes', () => {
  // Made for this test, read back with tshark.
  const first = checkCodec(
    ipv4Codec,
    bytesOf(`45 00 0024 1234 2000 40 11 c491 ${addresses4} c000 0035 0018 0000 0102030405060708`),
  );
  assert.is(first.moreFragments, true);
  assert.is(first.fragmentOffset, 0);
  const last = checkCodec(
    ipv4Codec,
    bytesOf(`45 00 001c 1234 0002 40 11 e497 ${addresses4} 1112131415161718`),
  );
  assert.is(last.moreFragments, false);
  assert.is(last.fragmentOffset, 16);
  assert.is(last.identification, 0x1234);
});

test('IPv4 headers that contradict themselves are refused, each with its reason', () => {
  const packet = frames.llmnr.subarray(14);
  assert.is(refusal(ipv4Codec, patched(packet, 8, 2)), 'bad-checksum');
  assert.is(refusal(ipv4Codec, resealed(patched(packet, 0, 0x65))), 'bad-version');
  assert.is(refusal(ipv4Codec, resealed(patched(packet, 0, 0x44))), 'bad-length');
  assert.is(refusal(ipv4Codec, resealed(patched(packet, 2, 0, 19))), 'bad-length');
  assert.is(refusal(ipv4Codec, resealed(patched(packet, 2, 0, 53))), 'truncated');
  assert.is(refusal(ipv4Codec, resealed(patched(packet, 2, 0, 0))), 'bad-length');
  // More fragments follow 32 bytes, but not 31; and none reaches beyond 65,535.
  assert.is(refusal(ipv4Codec, resealed(patched(packet, 6, 0x20, 0))), 'ok');
  assert.is(refusal(ipv4Codec, resealed(patched(patched(packet, 6, 0x20, 0), 2, 0, 51))), 'bad-length');
  assert.is(refusal(ipv4Codec, resealed(patched(packet, 6, 0x1f, 0xff))), 'bad-length');
});

test('IPv4 options whose length is below two or beyond the header are refused', () => {
  const packet = frames.igmpReport.subarray(14);
  for (const option of ['94000000', '94010000', '94050000', '01010194'])
    assert.is(refusal(ipv4Codec, resealed(patched(packet, 20, ...bytesOf(option)))), 'bad-option', option);
  for (const option of ['00ffffff', '01010100', '94040000', '01019402'])
    assert.is(refusal(ipv4Codec, resealed(patched(packet, 20, ...bytesOf(option)))), 'ok', option);
});

test('an IPv4 packet longer than its length field can say is a programming error', () => {
  const parsed = parseIpv4(frames.llmnr, 14, frames.llmnr.length);
  assert.ok(parsed.ok);
  assert.throws(
    () => emitIpv4(parsed.value, 65_516, new Uint8Array(20), 0),
    'payloadLength: expected at most 65515, got 65516',
  );
});

test('an IPv6 packet gives its fields and mirrors (icmp6-nd-options.pcap, frame 3)', () => {
  const { payload, srcAddress, dstAddress, ...rest } = checkCodec(
    ipv6Codec,
    frames.routerAdvertisement.subarray(14),
  );
  assert.equal(rest, {
    dscp: 56,
    ecn: 0,
    flowLabel: 0,
    hopLimit: 255,
    extensions: [],
    protocol: protocolIcmpv6,
  });
  assert.is(formatAddress(srcAddress), 'fe80::c000:54ff:fef5:0');
  assert.is(formatAddress(dstAddress), 'ff02::1');
  assert.is(payload.length, 64);
});

test('traffic class and flow label do not run into each other', () => {
  const vector = bytesOf(`6b7abcde 0000 3b 01 ${addresses6}`);
  const { dscp, ecn, flowLabel, protocol } = checkCodec(ipv6Codec, vector);
  assert.equal([dscp, ecn, flowLabel, protocol], [0x2d, 3, 0xabcde, protocolNoNextHeader]);
});

test('hop-by-hop options are an extension, kept as they came (icmp6-nd-options.pcap, frame 4)', () => {
  const ipv6 = checkCodec(ipv6Codec, frames.mldReport.subarray(14));
  assert.equal(ipv6.extensions, [{ protocol: extensionHopByHop, data: bytesOf('0502 0000 0100') }]);
  assert.is(ipv6.protocol, protocolIcmpv6);
  assert.is(ipv6.payload.length, 28);
});

test('a chain of every kind of extension header leads to the transport', () => {
  // Made for this test, read back with tshark.
  const vector = bytesOf(`
    60000000 003a 00 40 ${addresses6}
    2b 00 0502 0000 0100                                  # hop-by-hop options
    3c 02 02 01 00000000 20010db8000000000000000000000002 # routing, type 2
    2c 00 0104 00000000                                   # destination options
    11 00 0000 deadbeef                                   # fragment, of one
    c000 0035 000a 3974 aabb`);
  const ipv6 = checkCodec(ipv6Codec, vector);
  assert.equal(ipv6.extensions, [
    { protocol: extensionHopByHop, data: bytesOf('0502 0000 0100') },
    { protocol: extensionRouting, data: bytesOf('0201 00000000 20010db8000000000000000000000002') },
    { protocol: extensionDestinationOptions, data: bytesOf('0104 00000000') },
    { protocol: extensionFragment, fragmentOffset: 0, moreFragments: false, identification: 0xdeadbeef },
  ]);
  assert.is(ipv6.protocol, protocolUdp);
  assert.is(ipv6.payload.length, 10);
});

test('the inside of a later fragment is payload, whatever its bytes look like', () => {
  const vector = bytesOf(`60000000 0010 2c 40 ${addresses6} 3c 00 0011 deadbeef 3c00010400000000`);
  const ipv6 = checkCodec(ipv6Codec, vector);
  assert.equal(ipv6.extensions, [
    { protocol: extensionFragment, fragmentOffset: 16, moreFragments: true, identification: 0xdeadbeef },
  ]);
  assert.is(ipv6.protocol, extensionDestinationOptions);
  assert.is(ipv6.payload.length, 8);
});

test('an authentication header counts in four bytes, and ESP ends the chain', () => {
  const authenticated = checkCodec(
    ipv6Codec,
    bytesOf(`60000000 0018 33 40 ${addresses6} 3b 04 0000 00000001 00000002 000102030405060708090a0b`),
  );
  assert.is(authenticated.extensions[0].protocol, extensionAuthentication);
  assert.is(authenticated.protocol, protocolNoNextHeader);
  assert.is(authenticated.payload.length, 0);
  const encrypted = checkCodec(
    ipv6Codec,
    bytesOf(`60000000 000c 32 40 ${addresses6} 00000001 00000002 aabbccdd`),
  );
  assert.is(encrypted.protocol, 50);
  assert.is(encrypted.payload.length, 12);
});

test('IPv6 chains that contradict themselves are refused, each with its reason', () => {
  const header = (length: string, next: string) => `60000000 ${length} ${next} 40 ${addresses6}`;
  assert.is(refusal(ipv6Codec, bytesOf(`50${header('0000', '3b').slice(2)}`)), 'bad-version');
  assert.is(refusal(ipv6Codec, bytesOf(`${header('0001', '3b')}`)), 'truncated');
  // A payload length of 0 with hop-by-hop options is a jumbogram's (RFC 2675).
  assert.is(refusal(ipv6Codec, bytesOf(`${header('0000', '00')} 3b00 c204 00010000`)), 'truncated');
  assert.is(refusal(ipv6Codec, bytesOf(`${header('0008', '3c')} 3b01 010400000000`)), 'truncated');
  assert.is(refusal(ipv6Codec, bytesOf(`${header('0008', '3c')} 3b00 010500000000`)), 'bad-option');
  assert.is(refusal(ipv6Codec, bytesOf(`${header('0008', '3c')} 3b00 000000000001`)), 'bad-option');
  assert.is(refusal(ipv6Codec, bytesOf(`${header('0008', '33')} 3b00 0000 00000001`)), 'bad-length');
  assert.is(
    refusal(ipv6Codec, bytesOf(`${header('0010', '3c')} 0000 010400000000 3b00 010400000000`)),
    'bad-option',
    'hop-by-hop options that do not stand first',
  );
  assert.is(
    refusal(ipv6Codec, bytesOf(`${header('000d', '2c')} 11 00 0001 00000001 0102030405`)),
    'bad-length',
  );
  assert.is(
    refusal(ipv6Codec, bytesOf(`${header('0010', '2c')} 11 00 fff8 00000001 0102030405060708`)),
    'bad-length',
  );
});

test('a chain of eight extension headers parses and one of nine is refused', () => {
  const chain = (count: number) =>
    bytesOf(`60000000 00${(count * 8).toString(16).padStart(2, '0')} 3c 40 ${addresses6}
      ${'3c00 010400000000 '.repeat(count - 1)} 3b00 010400000000`);
  assert.is(checkCodec(ipv6Codec, chain(maxIpv6Extensions)).extensions.length, 8);
  assert.is(refusal(ipv6Codec, chain(maxIpv6Extensions + 1)), 'too-many');
});

test('an IPv6 packet longer than its length field can say is a programming error', () => {
  const parsed = parseIpv6(frames.mldReport, 14, frames.mldReport.length);
  assert.ok(parsed.ok);
  assert.throws(
    () => emitIpv6(parsed.value, 65_528, new Uint8Array(48), 0),
    'payloadLength: expected at most 65527, got 65528',
  );
});

test('ICMP messages of every kind parse, mirror and fail on a flipped bit', () => {
  // Made for this test, checksums confirmed with tshark.
  const quoted = `4500001c 12340000 4011e499 ${addresses4} c000003500080000`;
  const vectors: [type: number, code: number, rest: number, text: string][] = [
    [icmpType.echo, 0, 0x12340001, '08 00 05f9 1234 0001 6b697468'],
    [icmpType.destinationUnreachable, 4, 1492, `03 04 36ea 0000 05d4 ${quoted}`],
    [
      icmpType.redirect,
      1,
      0xc00002fe,
      `05 01 77ae c00002fe 4500001c 12340000 4006e4a4 ${addresses4} c000005000000001`,
    ],
    [icmpType.parameterProblem, 0, 0x14000000, `0c 00 1fc2 14000000 ${quoted}`],
    [icmpType.timestamp, 0, 0x00010002, '0d 00 f2fb 0001 0002 00000001 00000000 00000000'],
  ];
  for (const [type, code, rest, text] of vectors) {
    const vector = bytesOf(text);
    // Cut zeros at the end leave a checksum intact: only what is too short for its type is refused for certain.
    const icmp = checkCodec(icmpCodec, vector, type === icmpType.echo ? vector.length : 20);
    assert.equal([icmp.type, icmp.code, icmp.rest], [type, code, rest]);
    assert.is(
      refusal(icmpCodec, patched(vector, vector.length - 1, vector[vector.length - 1] ^ 1)),
      'bad-checksum',
    );
  }
});

test('ICMP errors that quote less than a header, and timestamps without times, are refused', () => {
  for (const type of [icmpType.destinationUnreachable, icmpType.timeExceeded])
    assert.is(refusal(icmpCodec, patched(new Uint8Array(27), 0, type)), 'truncated');
  for (const type of [icmpType.timestamp, icmpType.timestampReply])
    assert.is(refusal(icmpCodec, patched(new Uint8Array(19), 0, type)), 'truncated');
  assert.is(refusal(icmpCodec, bytesOf('00 00 ffff 0000 0000')), 'ok');
});

test('an ICMPv6 echo is verified against its IPv6 header (icmp6-ping.pcap, frame 1)', () => {
  const ipv6 = parseIpv6(frames.ping6, 14, frames.ping6.length);
  assert.ok(ipv6.ok);
  const codec = icmpv6Codec(ipv6.value);
  const vector = ipv6.value.payload;
  const echo = checkCodec(codec, vector);
  assert.equal([echo.type, echo.code, echo.rest], [icmpv6Type.echoRequest, 0, 0x00010003]);
  assert.is(echo.payload.length, 32);
  assert.is(refusal(codec, patched(vector, 8, 0)), 'bad-checksum');
  const elsewhere = icmpv6Codec({ ...ipv6.value, srcAddress: new Uint8Array(16) });
  assert.is(refusal(elsewhere, vector), 'bad-checksum');
  assert.is(parseIcmpv6(patched(vector, 8, 0), 0, vector.length).ok, true, 'no pseudo-header, no check');
});

test('an ICMPv6 error quotes a packet, at least its header', () => {
  // Made for this test, checksums confirmed with tshark.
  const packet = bytesOf(`
    60000000 0038 3a 40 ${addresses6}
    02 00 2be9 00000500
    60000000 0008 11 40 ${addresses6} c000 0035 0008 e433`);
  const ipv6 = parseIpv6(packet, 0, packet.length);
  assert.ok(ipv6.ok);
  const codec = icmpv6Codec(ipv6.value);
  const tooBig = checkCodec(codec, ipv6.value.payload);
  assert.equal([tooBig.type, tooBig.rest], [icmpv6Type.packetTooBig, 1280]);
  assert.is(parseIpv6(tooBig.payload, 0, tooBig.payload.length).ok, true);
  assert.is(refusal(codec, ipv6.value.payload.subarray(0, 47)), 'truncated');
});

test('a TCP packet in a PPPoE session is found behind its header (pppoe-over-qinq.pcap, frame 1)', () => {
  const ipv4 = checkCodec(ipv4Codec, frames.qinqSyn.subarray(30));
  assert.equal([ipv4.protocol, ipv4.timeToLive, ipv4.dontFragment], [protocolTcp, 63, true]);
});

test.run();
