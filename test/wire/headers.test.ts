import { readFileSync } from 'node:fs';
import v8 from 'node:v8';
import vm from 'node:vm';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex, readUint16, writeUint16 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { ok, type Result } from '../../agent/core/result.js';
import { parseArp } from '../../agent/wire/arp.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import {
  etherTypeArp,
  etherTypeIpv4,
  etherTypeIpv6,
  etherTypePppoeSession,
  parseEthernet,
} from '../../agent/wire/ethernet.js';
import { Headers, networkArp, networkIpv4, networkIpv6 } from '../../agent/wire/headers.js';
import { parseIcmpv6 } from '../../agent/wire/icmpv6.js';
import {
  parseIpv4,
  protocolIcmp,
  protocolIcmpv6,
  protocolIgmp,
  protocolTcp,
  protocolUdp,
} from '../../agent/wire/ipv4.js';
import { extensionFragment, maxIpv6Extensions, parseIpv6 } from '../../agent/wire/ipv6.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { parsePppoe, pppoeCode } from '../../agent/wire/pppoe.js';
import type { Reason } from '../../agent/wire/reason.js';
import { parseTcp } from '../../agent/wire/tcp.js';
import { parseUdp } from '../../agent/wire/udp.js';
import { CaptureReader } from '../../host-sim/capture/pcap.js';
import { capturePath, capturePaths } from '../support/captures.js';
import { bytesOf, frames, patched } from './vectors.js';

/** The numbers of a `Headers`; only those that are there, so that a test names what it expects. */
type Fields = { [name: string]: number };

function fieldsOf(headers: Headers): Fields {
  const fields: Fields = {};
  for (const [name, value] of Object.entries(headers) as [string, number][])
    if (value !== -1 && !((name === 'vlanCount' || name === 'network') && value === 0)) fields[name] = value;
  return fields;
}

function scanned(frame: Uint8Array): Fields | Reason {
  const headers = new Headers();
  const verdict = headers.scan(frame, 0, frame.length);
  return verdict === 'ok' ? fieldsOf(headers) : verdict;
}

test('a SYN behind two VLAN tags and PPPoE gives all its fields (pppoe-over-qinq.pcap, frame 1)', () => {
  assert.equal(scanned(frames.qinqSyn), {
    etherType: etherTypePppoeSession,
    vlanCount: 2,
    vlanId: 3704,
    innerVlanId: 2474,
    pppoeSession: 3847,
    network: networkIpv4,
    l3Offset: 30,
    protocol: protocolTcp,
    fragmentOffset: 0,
    l4Offset: 50,
    l4End: 94,
    srcPort: 20394,
    dstPort: 443,
    tcpFlags: 2,
  });
});

test('ARP, IGMP behind options, MLD behind an extension and LCP give what they have', () => {
  assert.equal(scanned(frames.arpReply), { etherType: etherTypeArp, network: networkArp, l3Offset: 14 });
  assert.equal(scanned(frames.igmpReport), {
    etherType: etherTypeIpv4,
    network: networkIpv4,
    l3Offset: 14,
    protocol: protocolIgmp,
    fragmentOffset: 0,
    l4Offset: 38,
    l4End: 62,
  });
  assert.equal(scanned(frames.mldReport), {
    etherType: etherTypeIpv6,
    network: networkIpv6,
    l3Offset: 14,
    protocol: protocolIcmpv6,
    fragmentOffset: 0,
    l4Offset: 62,
    l4End: 90,
    icmpType: 143,
    icmpCode: 0,
  });
  assert.equal(scanned(frames.pppoeLcp), {
    etherType: etherTypePppoeSession,
    pppoeSession: 17,
    l3Offset: 22,
  });
});

test('a frame of an unknown type or of the length form is accepted with its link header only', () => {
  const macs = '020000000002 020000000001';
  assert.equal(scanned(bytesOf(`${macs} 88cc 0207`)), { etherType: 0x88cc, l3Offset: 14 });
  assert.equal(scanned(bytesOf(`${macs} 0003 424203 00`)), { etherType: 3, l3Offset: 14 });
});

test('the ports of a later fragment are −1, and a first fragment has them', () => {
  // Made for this test, read back with tshark.
  const ethernet = '020000000002 020000000001 0800';
  const first = scanned(
    bytesOf(
      `${ethernet} 45 00 0024 1234 2000 40 11 c491 c0000201 c0000202 c000 0035 0018 0000 0102030405060708`,
    ),
  );
  assert.ok(typeof first !== 'string' && first.srcPort === 49152 && first.dstPort === 53);
  const later = scanned(
    bytesOf(`${ethernet} 45 00 001c 1234 0002 40 11 e497 c0000201 c0000202 1112131415161718`),
  );
  assert.equal(later, {
    etherType: etherTypeIpv4,
    network: networkIpv4,
    l3Offset: 14,
    protocol: protocolUdp,
    fragmentOffset: 16,
    l4Offset: 34,
    l4End: 42,
  });
});

test('the same packet without a link header has the same fields from its IP header on', () => {
  const headers = new Headers();
  assert.is(headers.scanIp(frames.llmnr, 14, frames.llmnr.length), 'ok');
  const { etherType, ...fromIp } = scanned(frames.llmnr) as Fields;
  assert.is(etherType, etherTypeIpv4);
  assert.equal(fieldsOf(headers), fromIp);
  assert.is(headers.scanIp(frames.ping6, 14, frames.ping6.length), 'ok');
  assert.equal([headers.network, headers.icmpType], [networkIpv6, 128]);
  assert.is(headers.scanIp(frames.arpReply, 14, frames.arpReply.length), 'bad-version');
  assert.is(headers.scanIp(frames.llmnr, 14, 14), 'truncated');
});

test('nothing of one frame is left when the next is read', () => {
  const headers = new Headers();
  const list = Object.values(frames);
  for (const before of list) {
    for (const frame of [...list, new Uint8Array(5)]) {
      headers.scan(before, 0, before.length);
      const verdict = headers.scan(frame, 0, frame.length);
      const fresh = new Headers();
      assert.is(verdict, fresh.scan(frame, 0, frame.length));
      assert.equal({ ...headers }, { ...fresh });
    }
  }
});

test('every truncation of every frame is refused up to the end of its packet, with no look beyond', () => {
  for (const [name, frame] of Object.entries(frames)) {
    const whole = scanned(frame) as Fields;
    const end = whole.l4End ?? (whole.network === networkArp ? 42 : 32);
    for (let length = 0; length < frame.length; length++) {
      const cut = scanned(frame.subarray(0, length));
      assert.is(typeof cut === 'string', length < end, `${name} cut to ${length}`);
      const headers = new Headers();
      headers.scan(patched(frame, length, ...new Uint8Array(frame.length - length).fill(0xff)), 0, length);
      assert.equal(fieldsOf(headers), fieldsAfter(frame.subarray(0, length)), `${name} cut to ${length}`);
    }
  }
});

test('frames that contradict themselves are refused, each with its reason', () => {
  const syn = frames.qinqSyn;
  assert.is(scanned(patched(syn, 14, 0x0f, 0xff)), 'bad-value', 'reserved VLAN identifier');
  assert.is(scanned(bytesOf(`${'02'.repeat(12)} ${'8100 0001 '.repeat(5)} 0800`)), 'too-many');
  assert.is(scanned(bytesOf(`${'02'.repeat(12)} 05ff 00`)), 'bad-type', 'neither length nor type');
  assert.is(scanned(bytesOf(`${'02'.repeat(12)} 0003 4242`)), 'truncated', 'length form');
  assert.is(scanned(patched(syn, 22, 0x12)), 'bad-version', 'PPPoE');
  assert.is(scanned(patched(syn, 23, pppoeCode.padt)), 'bad-type', 'discovery code in the session stage');
  assert.is(scanned(patched(syn, 26, 0, 1)), 'bad-length', 'no room for a PPP protocol');
  assert.is(scanned(patched(syn, 26, 0, 67)), 'truncated');
  assert.is(scanned(patched(syn, 38, 62)), 'bad-checksum', 'IPv4 header');
  assert.is(scanned(patched(syn, 30, 0x65)), 'bad-version', 'IPv4');
  assert.is(scanned(patched(syn, 30, 0x44)), 'bad-length', 'IPv4 header length');
  assert.is(scanned(patched(syn, 62, 0x40)), 'bad-length', 'TCP data offset');
  assert.is(scanned(patched(syn, 62, 0xc0)), 'truncated', 'TCP data offset');
  assert.is(scanned(patched(frames.llmnr, 38, 0, 7)), 'bad-length', 'UDP');
  assert.is(scanned(patched(frames.llmnr, 38, 0, 33)), 'truncated', 'UDP');
  assert.is(scanned(patched(frames.arpRequest, 14, 0, 6)), 'bad-type', 'ARP hardware');
  assert.is(scanned(patched(frames.arpRequest, 18, 255)), 'bad-length', 'ARP');
  assert.is(scanned(patched(frames.arpRequest, 20, 0, 0)), 'bad-value', 'ARP operation');
  const mld = frames.mldReport;
  assert.is(scanned(patched(mld, 14, 0x50)), 'bad-version', 'IPv6');
  assert.is(scanned(patched(mld, 55, 4)), 'truncated', 'extension header');
  assert.is(scanned(patched(mld, 54, 0)), 'bad-option', 'hop-by-hop options twice');
  assert.is(scanned(patched(mld, 20, 51)), 'bad-length', 'authentication header of 8 bytes');
  const chain = '3c00 010400000000 '.repeat(maxIpv6Extensions + 1);
  const addresses = '20010db8000000000000000000000001 20010db8000000000000000000000002';
  assert.is(
    scanned(bytesOf(`${'02'.repeat(12)} 86dd 60000000 0048 3c 40 ${addresses} ${chain}`)),
    'too-many',
  );
});

test('an IP packet longer than its PPPoE payload is refused (pppoe-over-qinq.pcap, frame 19)', () => {
  const frame = bytesOf(`
    bcd17717750d 000000000000 8100 0e78 8100 09aa 8864
    11 00 0f07 002a 0021                      # 40 bytes of IPv4 …
    45 00 002e 1c46 4000 ef 06 697e           # … which says it has 46: its sender counted padding
    02020202 01010101
    01bb 4faa fc90b007 d7a84499 50 10 8628 7270 0000 000000000000`);
  assert.is(scanned(frame), 'truncated');
});

test('scanning allocates nothing: no collection and no growth over a million frames', () => {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const headers = new Headers();
  const list = [...Object.values(frames), frames.qinqSyn.subarray(0, 60), new Uint8Array(64)];
  const scanAll = (count: number) => {
    for (let i = 0, next = 0; i < count; i++) {
      const frame = list[next];
      if (++next === list.length) next = 0;
      headers.scan(frame, 0, frame.length);
    }
  };
  // One object of 16 bytes or more for each of 1,000 frames shows, or the measurement could not fail.
  const kept: object[] = [];
  const control = leastGrowth(collect, () => {
    kept.length = 0;
    for (let i = 0; i < 1_000; i++) kept.push({ i });
  });
  assert.ok(control >= 16_000, `the control grew by ${control} bytes only`);
  scanAll(1_000_000);
  const growth = leastGrowth(collect, () => scanAll(1_000_000));
  assert.ok(growth < 4_096, `grew by ${growth} bytes`);
});

test('Headers and the parsers agree about every frame of every capture', () => {
  let accepted = 0;
  for (const path of capturePaths()) {
    if (path === capturePath('icmp6-mldv2.pcap')) continue; // bare IPv6, its link type is 229
    for (const frame of framesOf(path)) if (checkAgreement(frame, path)) accepted++;
  }
  assert.ok(accepted > 200, `only ${accepted} frames were accepted by both`);
  const headers = new Headers();
  for (const packet of framesOf(capturePath('icmp6-mldv2.pcap')))
    assert.is(headers.scanIp(packet, 0, packet.length), 'ok');
});

test('Headers and the parsers agree about damaged frames, and neither throws', () => {
  const seed = 20_240_502;
  const random = new Random(seed, 'headers');
  const originals = Object.values(frames);
  originals.push(...framesOf(capturePath('pppoe.pcap')), ...framesOf(capturePath('icmp6-nd-options.pcap')));
  originals.push(
    ...manyFragments(),
    bytesOf(`${'02'.repeat(12)} 86dd 60000000 0018 33 40 ${'20'.repeat(32)} 3b 04 0000 ${'00'.repeat(20)}`),
  );
  let accepted = 0;
  for (let i = 0; i < 60_000; i++) {
    const frame = damaged(originals[random.below(originals.length)], random);
    if (checkAgreement(frame, `seed ${seed}, round ${i}`)) accepted++;
  }
  assert.ok(accepted > 10_000, `only ${accepted} frames were accepted by both`);
});

/** Fields after a scan, whatever its verdict. */
function fieldsAfter(frame: Uint8Array): Fields {
  const headers = new Headers();
  headers.scan(frame, 0, frame.length);
  return fieldsOf(headers);
}

/** The least growth of the heap in bytes over `work` of several attempts, those with a collection left out. */
function leastGrowth(collect: () => void, work: () => void): number {
  let least = Infinity;
  for (let attempt = 0; attempt < 8; attempt++) {
    collect();
    const profiler = new v8.GCProfiler();
    profiler.start();
    const before = process.memoryUsage().heapUsed;
    work();
    const growth = process.memoryUsage().heapUsed - before;
    if (profiler.stop()?.statistics.length === 0 && growth < least) least = growth;
  }
  return least;
}

function framesOf(path: string): Uint8Array[] {
  const reader = new CaptureReader(path);
  reader.push(new Uint8Array(readFileSync(path)));
  const list: Uint8Array[] = [];
  for (let frame = reader.next(); frame; frame = reader.next()) list.push(frame.bytes);
  return list;
}

/** IPv4 and IPv6, first, middle and last. */
function manyFragments(): Uint8Array[] {
  const list: Uint8Array[] = [];
  const udp = 'c000 0035 0018 0000 0102030405060708';
  for (const offset of ['0000', '0001', '0008', '0009', '2000', '2001', '0002']) {
    const ipv4 = `45 00 0024 1234 ${offset} 40 11 0000 c0000201 c0000202 ${udp}`;
    list.push(resealed(bytesOf(`${'02'.repeat(12)} 0800 ${ipv4}`)));
    const ipv6 = `60000000 0018 2c 40 ${'20'.repeat(32)} 11 00 ${offset} 01020304 ${udp}`;
    list.push(bytesOf(`${'02'.repeat(12)} 86dd ${ipv6}`));
  }
  return list;
}

/** A copy with a few bytes changed, sometimes cut or extended; mostly with a good IPv4 header checksum. */
function damaged(frame: Uint8Array, random: Random): Uint8Array {
  const length = random.chance(0.2) ? random.below(frame.length + 1) : frame.length;
  const copy = new Uint8Array(length + (random.chance(0.1) ? random.below(20) : 0));
  copy.set(frame.subarray(0, length));
  for (let changes = random.below(4); changes > 0 && copy.length > 0; changes--) {
    // Headers are where it matters; small numbers are where lengths and types are.
    const at = random.below(random.chance(0.7) ? Math.min(copy.length, 70) : copy.length);
    copy[at] = random.chance(0.5) ? random.below(256) : random.below(64);
  }
  return random.chance(0.8) ? resealed(copy) : copy;
}

/** A copy whose IPv4 header, if one can be found, has a good checksum. */
function resealed(frame: Uint8Array): Uint8Array {
  const copy = new Uint8Array(frame);
  const { l3Offset } = fieldsAfter(copy);
  if (l3Offset === undefined || l3Offset + 20 > copy.length || copy[l3Offset] >>> 4 !== 4) return copy;
  const end = l3Offset + (copy[l3Offset] & 15) * 4;
  if (end < l3Offset + 20 || end > copy.length) return copy;
  writeUint16(copy, l3Offset + 10, 0);
  writeUint16(copy, l3Offset + 10, internetChecksum(copy, l3Offset, end));
  return copy;
}

/** Checks that what the parsers accept `Headers` accepts too, with the same fields; true if they did accept it. */
function checkAgreement(frame: Uint8Array, where: string): boolean {
  const expected = dissected(frame);
  const actual = scanned(frame);
  if (!expected.ok) return false;
  assert.equal(actual, expected.value, `${where}: ${formatHex(frame)}`);
  return true;
}

/** What `scanned` should give, found with the parsers. */
function dissected(frame: Uint8Array): Result<Fields> {
  const ethernet = parseEthernet(frame, 0, frame.length);
  if (!ethernet.ok) return ethernet;
  const { tags, etherType, payload } = ethernet.value;
  const fields: Fields = { etherType, l3Offset: offsetOf(payload, frame) };
  if (tags.length > 0) fields.vlanCount = tags.length;
  if (tags.length > 0) fields.vlanId = tags[0].vlanId;
  if (tags.length > 1) fields.innerVlanId = tags[1].vlanId;
  switch (etherType) {
    case etherTypeArp: {
      const arp = parseArp(payload, 0, payload.length);
      fields.network = networkArp;
      return arp.ok ? ok(fields) : arp;
    }
    case etherTypeIpv4:
      return dissectIpv4(frame, payload, fields);
    case etherTypeIpv6:
      return dissectIpv6(frame, payload, fields);
    case etherTypePppoeSession:
      return dissectPppoe(frame, payload, fields);
    default:
      return ok(fields);
  }
}

function dissectPppoe(frame: Uint8Array, bytes: Uint8Array, fields: Fields): Result<Fields> {
  const pppoe = parsePppoe(bytes, 0, bytes.length);
  if (!pppoe.ok) return pppoe;
  const { code, sessionId, payload } = pppoe.value;
  if (code !== pppoeCode.session || payload.length < 2) return { ok: false, reason: 'no session packet' };
  fields.pppoeSession = sessionId;
  const packet = payload.subarray(2);
  fields.l3Offset = offsetOf(packet, frame);
  const protocol = readUint16(payload, 0);
  if (protocol === pppProtocol.ipv4) return dissectIpv4(frame, packet, fields);
  if (protocol === pppProtocol.ipv6) return dissectIpv6(frame, packet, fields);
  return ok(fields);
}

function dissectIpv4(frame: Uint8Array, bytes: Uint8Array, fields: Fields): Result<Fields> {
  const ipv4 = parseIpv4(bytes, 0, bytes.length);
  if (!ipv4.ok) return ipv4;
  const { protocol, fragmentOffset, payload } = ipv4.value;
  Object.assign(fields, { network: networkIpv4, protocol, fragmentOffset });
  return dissectTransport(frame, payload, fields, protocolIcmp);
}

function dissectIpv6(frame: Uint8Array, bytes: Uint8Array, fields: Fields): Result<Fields> {
  const ipv6 = parseIpv6(bytes, 0, bytes.length);
  if (!ipv6.ok) return ipv6;
  const { protocol, extensions, payload } = ipv6.value;
  let fragmentOffset = 0;
  for (const extension of extensions)
    if (extension.protocol === extensionFragment) fragmentOffset = extension.fragmentOffset;
  Object.assign(fields, { network: networkIpv6, protocol, fragmentOffset });
  return dissectTransport(frame, payload, fields, protocolIcmpv6);
}

function dissectTransport(
  frame: Uint8Array,
  bytes: Uint8Array,
  fields: Fields,
  icmpProtocol: number,
): Result<Fields> {
  fields.l4Offset = offsetOf(bytes, frame);
  fields.l4End = fields.l4Offset + bytes.length;
  if (fields.fragmentOffset > 0) return ok(fields);
  if (fields.protocol === protocolTcp) {
    const tcp = parseTcp(bytes, 0, bytes.length);
    if (!tcp.ok) return tcp;
    fields.tcpFlags = tcp.value.flags;
    fields.srcPort = tcp.value.srcPort;
    fields.dstPort = tcp.value.dstPort;
  } else if (fields.protocol === protocolUdp) {
    const udp = parseUdp(bytes, 0, bytes.length);
    if (!udp.ok) return udp;
    fields.srcPort = udp.value.srcPort;
    fields.dstPort = udp.value.dstPort;
  } else if (fields.protocol === icmpProtocol) {
    // ICMP has ICMPv6's layout, and would be refused here for its checksum, which Headers does not look at.
    const icmp = parseIcmpv6(bytes, 0, bytes.length);
    if (!icmp.ok) return icmp;
    fields.icmpType = icmp.value.type;
    fields.icmpCode = icmp.value.code;
  }
  return ok(fields);
}

function offsetOf(part: Uint8Array, frame: Uint8Array): number {
  return part.byteOffset - frame.byteOffset;
}

test.run();
