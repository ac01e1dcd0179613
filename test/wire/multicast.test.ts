import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatAddress } from '../../agent/wire/address.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import type { Icmpv6Carrier } from '../../agent/wire/icmpv6.js';
import { decodeFloat, encodeFloat, igmpLength, parseIgmp } from '../../agent/wire/igmp.js';
import { parseIpv6 } from '../../agent/wire/ipv6.js';
import { emitMld, mldLength, parseMld } from '../../agent/wire/mld.js';
import { igmpCodec, mldCodec } from './codecs.js';
import { bytesOf, checkCodec, frames, patched, refusal } from './vectors.js';

function carrierOf(src: string, dst: string, hopLimit = 1): Icmpv6Carrier {
  return { srcAddress: bytesOf(src), dstAddress: bytesOf(dst), hopLimit };
}

function resealed(message: Uint8Array): Uint8Array {
  const checksum = internetChecksum(patched(message, 2, 0, 0), 0, message.length);
  return patched(message, 2, checksum >> 8, checksum & 255);
}

test('IGMP queries of three versions are told apart by their lengths and codes (RFC 3376 §7.1)', () => {
  // Made for this test, checksums confirmed with tshark.
  const general = { groupAddress: bytesOf('00000000'), suppressRouterProcessing: false, robustness: 0 };
  assert.equal(checkCodec(igmpCodec, bytesOf('11 00 eeff 00000000')), {
    kind: 'query',
    version: 1,
    maxResponseTimeMs: 10_000,
    queryIntervalS: 0,
    sourceAddresses: [],
    ...general,
  });
  assert.equal(checkCodec(igmpCodec, bytesOf('11 64 ee9b 00000000')), {
    kind: 'query',
    version: 2,
    maxResponseTimeMs: 10_000,
    queryIntervalS: 0,
    sourceAddresses: [],
    ...general,
  });
  const specific = bytesOf('11 9f 6ed3 effffffa 0b 8c 0002 c0000201 c0000202');
  assert.equal(checkCodec(igmpCodec, specific), {
    kind: 'query',
    version: 3,
    maxResponseTimeMs: 49_600,
    groupAddress: bytesOf('effffffa'),
    suppressRouterProcessing: true,
    robustness: 3,
    queryIntervalS: 224,
    sourceAddresses: [bytesOf('c0000201'), bytesOf('c0000202')],
  });
  for (const length of [9, 10, 11])
    assert.is(
      refusal(igmpCodec, resealed(bytesOf(`11 64 0000 00000000 ${'00'.repeat(length - 8)}`))),
      'bad-length',
    );
});

test('a version 3 query with padding behind it parses (home-multicast-short.pcap, frame 1)', () => {
  const vector = bytesOf('1164 ec1e 00000000 02 7d 0000 00000000000000000000');
  const query = parseIgmp(vector, 0, vector.length);
  assert.ok(query.ok && query.value.kind === 'query' && query.value.version === 3);
  assert.equal([query.value.robustness, query.value.queryIntervalS], [2, 125]);
});

test('reports of versions 1 and 2 and a leave name their group (igmp.pcap, frames 5 and 7)', () => {
  assert.is(checkCodec(igmpCodec, bytesOf('16 00 0904 e00000fb')).kind, 'report-v2');
  const leave = checkCodec(igmpCodec, bytesOf('17 00 0804 e00000fb'));
  assert.ok(leave.kind === 'leave' && formatAddress(leave.groupAddress) === '224.0.0.251');
  assert.is(checkCodec(igmpCodec, bytesOf('12 00 fe04 effffffa')).kind, 'report-v1');
});

test('a bad checksum is refused (igmp-bad-checksum.pcap, frame 5; frame 1 is sound)', () => {
  assert.is(refusal(igmpCodec, bytesOf('22 00 ea03 0000 0001 04 00 0000 effffffa')), 'ok');
  assert.is(refusal(igmpCodec, bytesOf('16 00 0905 e00000fb')), 'bad-checksum');
});

test('a version 3 report lists its records (home-multicast-short.pcap, frame 3)', () => {
  assert.equal(checkCodec(igmpCodec, frames.igmpReport.subarray(38)), {
    kind: 'report-v3',
    records: [
      { type: 2, groupAddress: bytesOf('effffffa'), sourceAddresses: [] },
      { type: 2, groupAddress: bytesOf('e00000fb'), sourceAddresses: [] },
    ],
  });
});

test('auxiliary data is skipped and never sent, unknown record types are kept', () => {
  // Made for this test, checksum confirmed with tshark.
  const vector = bytesOf(`
    22 00 a665 0000 0002
    06 01 0001 effffffa c0000201 deadbeef     # four bytes of auxiliary data
    01 00 0000 e00000fb`);
  const report = parseIgmp(vector, 0, vector.length);
  assert.ok(report.ok && report.value.kind === 'report-v3');
  assert.equal(
    report.value.records.map(record => [record.type, record.sourceAddresses.length]),
    [
      [6, 1],
      [1, 0],
    ],
  );
  assert.is(igmpLength(report.value), vector.length - 4);
  assert.is(refusal(igmpCodec, resealed(patched(vector, 8, 99))), 'ok');
});

test('counts that reach beyond the message, groups that are none and unknown types are refused', () => {
  const report = frames.igmpReport.subarray(38);
  assert.is(refusal(igmpCodec, resealed(patched(report, 7, 3))), 'truncated');
  assert.is(refusal(igmpCodec, resealed(patched(report, 10, 0xff, 0xff))), 'truncated');
  assert.is(refusal(igmpCodec, resealed(patched(report, 17, 1))), 'truncated');
  assert.is(refusal(igmpCodec, resealed(patched(report, 12, 192))), 'bad-value');
  assert.is(refusal(igmpCodec, resealed(bytesOf('16 00 0000 c0000201'))), 'bad-value');
  assert.is(refusal(igmpCodec, resealed(bytesOf('11 64 0000 c0000201'))), 'bad-value');
  assert.is(refusal(igmpCodec, resealed(bytesOf('13 00 0000 e0000001'))), 'bad-type');
});

test('every code of a floating-point time comes back from its value, and values between are rounded down', () => {
  for (let code = 0; code < 256; code++) assert.is(encodeFloat(decodeFloat(code, 4), 4), code);
  for (let code = 0; code < 65_536; code++) assert.is(encodeFloat(decodeFloat(code, 12), 12), code);
  // RFC 3376 §4.1.1: (mant | 0x10) << (exp + 3)
  assert.equal(
    [127, 128, 0x9f, 255].map(code => decodeFloat(code, 4)),
    [127, 128, 496, 31_744],
  );
  assert.is(encodeFloat(135, 4), 128);
  assert.is(decodeFloat(65_535, 12), 8_387_584);
  assert.throws(() => encodeFloat(31_745, 4), 'value: expected at most 31744, got 31745');
});

const all = 'ff020000000000000000000000000001';
const routers = 'ff020000000000000000000000000002';
const group = 'ff020000000000000000000000010003';
const host = 'fe800000000000000000000000000001';

test('MLD queries of both versions are told apart by their lengths (RFC 3810 §8.1)', () => {
  // Made for this test, checksums confirmed with tshark.
  const general = bytesOf(`82 00 5917 2710 0000 ${'00'.repeat(16)}`);
  assert.equal(checkCodec(mldCodec(carrierOf(host, all)), general), {
    kind: 'query',
    version: 1,
    maxResponseTimeMs: 10_000,
    groupAddress: new Uint8Array(16),
    suppressRouterProcessing: false,
    robustness: 0,
    queryIntervalS: 0,
    sourceAddresses: [],
  });
  const source = '20010db8000000000000000000000001';
  const specific = bytesOf(`82 00 b92f 8fa1 0000 ${group} 0a 7d 0001 ${source}`);
  assert.equal(checkCodec(mldCodec(carrierOf(host, group)), specific), {
    kind: 'query',
    version: 2,
    maxResponseTimeMs: 64_776,
    groupAddress: bytesOf(group),
    suppressRouterProcessing: true,
    robustness: 2,
    queryIntervalS: 125,
    sourceAddresses: [bytesOf(source)],
  });
  for (const length of [25, 26, 27]) {
    const between = parseMld(patched(new Uint8Array(length), 0, 130), 0, length);
    assert.ok(!between.ok && between.reason === 'bad-length');
  }
});

test('MLDv1 reports and done name their group (icmp6-nd-options.pcap, frame 12, from no address)', () => {
  const none = '00000000000000000000000000000000';
  const carrier = carrierOf(none, 'ff0200000000000000000001ff0e4c67');
  const report = checkCodec(
    mldCodec(carrier),
    bytesOf('83 00 e7b8 0000 0000 ff0200000000000000000001ff0e4c67'),
  );
  assert.ok(report.kind === 'report' && formatAddress(report.groupAddress) === 'ff02::1:ff0e:4c67');
  // Made for this test, checksum confirmed with tshark.
  const done = bytesOf(`84 00 7f1f 0000 0000 ${group}`);
  assert.is(checkCodec(mldCodec(carrierOf(host, routers)), done).kind, 'done');
});

test('MLDv2 reports list their records (icmp6-nd-options.pcap, frame 4; icmp6-mldv2.pcap, frame 1)', () => {
  const ipv6 = parseIpv6(frames.mldReport, 14, frames.mldReport.length);
  assert.ok(ipv6.ok);
  assert.equal(checkCodec(mldCodec(ipv6.value), ipv6.value.payload), {
    kind: 'report-v2',
    records: [{ type: 4, groupAddress: bytesOf(routers), sourceAddresses: [] }],
  });
  const vector = bytesOf(`
    8f00 bd8c 0000 0004
    01 00 0002 ff0200000000000000000000480e413c fe800000000000000000f16d08916486
                                              fe800000000000000000794d737e8532
    02 00 0001 ff0200000000000000000000e78533ce fe800000000000000000f16d08916486
    03 00 0000 ff02000000000000000000003c05cd57
    04 00 0001 ff0200000000000000000000a8c95e9c fe800000000000000000794d737e8532`);
  // The capture's hop limit is 64; RFC 3810 §5 asks for 1.
  const carrier = carrierOf('fe800000000000000000f16d08916486', 'ff020000000000000000000000000016');
  const report = checkCodec(mldCodec(carrier), vector);
  assert.ok(report.kind === 'report-v2');
  assert.equal(
    report.records.map(record => [record.type, record.sourceAddresses.length]),
    [
      [1, 2],
      [2, 1],
      [3, 0],
      [4, 1],
    ],
  );
});

test('MLDv2 auxiliary data is skipped, and records cut short are refused (icmp6-mldv2.pcap, frames 3 to 5)', () => {
  const withAuxiliary = bytesOf(`
    8f00 5c06 0000 0001
    02 02 0001 ff0200000000000000000000d4a40fca fe800000000000000000f16d08916486 0102030405060708`);
  const report = parseMld(withAuxiliary, 0, withAuxiliary.length);
  assert.ok(report.ok && mldLength(report.value) === withAuxiliary.length - 8);
  const shortOfSources = bytesOf(`
    8f00 a4d6 0000 0001
    01 00 0003 ff02000000000000000000009b6484e6 fe800000000000000000f16d08916486
                                              fe800000000000000000794d737e8532`);
  const shortOfAuxiliary = bytesOf(`
    8f00 2992 0000 0001
    01 02 0001 ff0200000000000000000000489a0eb6 fe800000000000000000794d737e8532`);
  for (const cut of [shortOfSources, shortOfAuxiliary]) {
    const result = parseMld(cut, 0, cut.length);
    assert.ok(!result.ok && result.reason === 'truncated');
  }
});

test('MLD from beyond the link, with a wrong checksum or another type, is refused', () => {
  const query = bytesOf(`82 00 5917 2710 0000 ${'00'.repeat(16)}`);
  assert.is(refusal(mldCodec(carrierOf(host, all, 64)), query), 'bad-value', 'hop limit');
  assert.is(refusal(mldCodec(carrierOf(host, routers)), query), 'bad-checksum');
  // 2001:db8::… instead of fe80::…: a checksum that is right, and a source that is not.
  const far = carrierOf('20010db8000000000000000000000001', all);
  const sealed = new Uint8Array(query.length);
  emitMld({ ...checkCodec(mldCodec(carrierOf(host, all)), query) }, far, sealed, 0);
  assert.is(refusal(mldCodec(far), sealed), 'bad-value', 'source');
  const other = parseMld(patched(query, 0, 129), 0, query.length);
  assert.ok(!other.ok && other.reason === 'bad-type');
  const nowhere = parseMld(patched(query, 8, 0x20), 0, query.length);
  assert.ok(!nowhere.ok && nowhere.reason === 'bad-value');
});

test.run();
