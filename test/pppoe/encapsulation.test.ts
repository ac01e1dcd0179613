import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readUint16, writeUint16 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import * as fastPath from '../../agent/pppoe/encapsulation.js';
import { Encapsulation, encapsulationHeadroom } from '../../agent/pppoe/encapsulation.js';
import { clampMss } from '../../agent/pppoe/mss.js';
import { type Host, SessionTable } from '../../agent/pppoe/session-table.js';
import { parseMac } from '../../agent/wire/address.js';
import { emitEthernet, parseEthernet } from '../../agent/wire/ethernet.js';
import { parsePpp } from '../../agent/wire/ppp.js';
import { emitPppoe, parsePppoe } from '../../agent/wire/pppoe.js';
import { emitTcp, parseTcp, type TcpOption, tcpLength } from '../../agent/wire/tcp.js';
import type { VlanTag } from '../../agent/wire/vlan.js';

const acMac = parseMac('02:ac:00:00:00:01')!;
const hostMac = parseMac('02:10:00:00:00:01')!;
const outer: VlanTag = { tpid: 0x88a8, priority: 3, dropEligible: false, vlanId: 100 };
const inner: VlanTag = { tpid: 0x8100, priority: 5, dropEligible: true, vlanId: 7 };
const untagged: Host = { macHigh: 0x0210, macLow: 1, link: 4, outerTag: 0, innerTag: 0 };
const double: Host = { ...untagged, outerTag: 0x88a80064, innerTag: 0x81000007 };
const single: Host = { ...untagged, outerTag: 0x81000007 };

function tableOf(host: Host, id = 0x1234): SessionTable {
  const table = new SessionTable({ sessions: 10 });
  table.openAs(0, id, host);
  table.settle(id);
  return table;
}

interface FrameParts {
  readonly dst?: Uint8Array;
  readonly src?: Uint8Array;
  readonly tags?: readonly VlanTag[];
  readonly etherType?: number;
  readonly code?: number;
  readonly sessionId?: number;
  readonly ppp: readonly number[];
  /** Bytes behind the PPPoE payload. */
  readonly padding?: number;
}

/** A session frame by the codecs, at offset 5 of a larger buffer. */
function frameOf(parts: FrameParts): { bytes: Uint8Array; start: number; end: number } {
  const { dst = acMac, src = hostMac, tags = [], etherType = 0x8864 } = parts;
  const bytes = new Uint8Array(200).fill(0xa5);
  let at = emitEthernet({ dstMac: dst, srcMac: src, tags, etherType }, 0, bytes, 5);
  at = emitPppoe(
    { code: parts.code ?? 0, sessionId: parts.sessionId ?? 0x1234 },
    parts.ppp.length,
    bytes,
    at,
  );
  bytes.set(parts.ppp, at);
  return { bytes, start: 5, end: at + parts.ppp.length + (parts.padding ?? 0) };
}

const ipv4 = [0x00, 0x21, 0x45, 1, 2, 3];

test('a frame of the session gives its packet where it lies, without the padding behind it', () => {
  for (const [host, tags] of [
    [untagged, []],
    [single, [inner]],
    [double, [outer, inner]],
  ] as const) {
    const table = tableOf(host);
    const fast = new Encapsulation(table, acMac);
    const { bytes, start, end } = frameOf({ tags, ppp: ipv4, padding: 26 });
    const before = Uint8Array.from(bytes);
    const at = fast.decapsulate(4, bytes, start, end);
    assert.equal(bytes.subarray(at, fast.end), new Uint8Array([0x45, 1, 2, 3]));
    assert.is(fast.protocol, 0x0021);
    assert.is(table.id[fast.row], 0x1234);
    assert.is(table.packetsIn[fast.row], 1);
    assert.is(table.bytesIn[fast.row], 4);
    assert.equal(bytes, before);
  }
});

test('what is not wholly the session’s is dropped with the reason, counted, and counts for no session', () => {
  const table = tableOf(double);
  table.openAs(0, 0x2222, { ...double, macLow: 2 });
  table.settle(0x2222);
  table.openAs(0, 0x3333, double);
  const tags = [outer, inner];
  const ppp = ipv4;
  const cases: readonly (readonly [number, FrameParts, { link?: number; cut?: number }?])[] = [
    [fastPath.dropTruncated, { tags, ppp }, { cut: 16 }],
    [fastPath.dropTruncated, { tags, ppp }, { cut: 1 }],
    [fastPath.dropOtherType, { tags: [], etherType: 0x0800, ppp }],
    [fastPath.dropOtherType, { tags, etherType: 0x0800, ppp }],
    [fastPath.dropOtherType, { tags: [outer, inner, inner], ppp }],
    [fastPath.dropWrongDestination, { tags, dst: hostMac, ppp }],
    [fastPath.dropBadCode, { tags, code: 0xa7, ppp }],
    [fastPath.dropBadLength, { tags, ppp: [0x21], padding: 8 }],
    [fastPath.dropNoSession, { tags, sessionId: 0x1235, ppp }],
    [fastPath.dropNoSession, { tags, sessionId: 0, ppp }],
    [fastPath.dropNoSession, { tags, sessionId: 0xffff, ppp }],
    [fastPath.dropWrongHost, { tags, sessionId: 0x2222, ppp }],
    [fastPath.dropWrongHost, { tags, src: acMac, ppp }],
    [fastPath.dropWrongHost, { tags, ppp }, { link: 5 }],
    [fastPath.dropWrongHost, { tags: [], ppp }],
    [fastPath.dropWrongHost, { tags: [outer], ppp }],
    [fastPath.dropWrongHost, { tags: [inner, outer], ppp }],
    [fastPath.dropWrongHost, { tags: [outer, { ...inner, vlanId: 8 }], ppp }],
    [fastPath.dropNotOpen, { tags, sessionId: 0x3333, ppp }],
    [fastPath.dropBadProtocol, { tags, ppp: [0xff, 0x03] }],
    [fastPath.dropBadProtocol, { tags, ppp: [0xff, 0x03, 0x00] }],
  ];
  const fast = new Encapsulation(table, acMac);
  const dropped = () => Object.values(fast.counters.snapshot()).reduce((sum, count) => sum + count, 0);
  for (const [reason, parts, { link = 4, cut = 0 } = {}] of cases) {
    const { bytes, start, end } = frameOf(parts);
    const before = dropped();
    assert.is(fast.decapsulate(link, bytes, start, end - cut), reason, JSON.stringify(parts));
    assert.is(dropped(), before + 1);
  }
  const { bytes, start, end } = frameOf({ tags, ppp });
  bytes[start + 22] = 0x12;
  assert.is(fast.decapsulate(4, bytes, start, end), fastPath.dropBadVersion);
  for (const column of [table.packetsIn, table.bytesIn]) assert.ok(column.every(count => count === 0));
});

test('control protocols pass before the session is open, and FF 03 or a one-byte protocol is borne', () => {
  const table = new SessionTable({ sessions: 1 });
  table.openAs(0, 0x1234, untagged);
  const fast = new Encapsulation(table, acMac);
  const cases: readonly (readonly [readonly number[], number, readonly number[]])[] = [
    [[0xc0, 0x21, 9, 1, 0, 4], 0xc021, [9, 1, 0, 4]],
    [[0xff, 0x03, 0xc0, 0x21, 9], 0xc021, [9]],
    [[0xff, 0x03, 0x80, 0x21], 0x8021, []],
  ];
  for (const [ppp, protocol, packet] of cases) {
    const { bytes, start, end } = frameOf({ ppp, padding: 3 });
    const at = fast.decapsulate(4, bytes, start, end);
    assert.equal([...bytes.subarray(at, fast.end)], packet);
    assert.is(fast.protocol, protocol);
  }
  table.settle(0x1234);
  for (const ppp of [
    [0x21, 0x45],
    [0xff, 0x03, 0x21, 0x45],
    [0xff, 0x03, 0x00, 0x21, 0x45],
  ]) {
    const { bytes, start, end } = frameOf({ ppp });
    const at = fast.decapsulate(4, bytes, start, end);
    assert.is(fast.protocol, 0x0021);
    assert.equal([at, fast.end], [end - 1, end]);
  }
  assert.is(table.packetsIn[fast.row], 3);
});

test('a packet gets the headers of its session before it, and nothing else of the buffer changes', () => {
  for (const [host, tags] of [
    [untagged, []],
    [single, [{ ...inner, priority: 0, dropEligible: false }]],
    [double, [outer, inner].map(tag => ({ ...tag, priority: 0, dropEligible: false }))],
  ] as const) {
    const table = tableOf(host);
    const fast = new Encapsulation(table, acMac);
    const row = table.rowOf[0x1234];
    const bytes = new Uint8Array(100).fill(0xa5);
    bytes[encapsulationHeadroom] = 0x60;
    const end = encapsulationHeadroom + 20;
    const at = fast.encapsulateIp(bytes, encapsulationHeadroom, end, row);
    const link = parseEthernet(bytes, at, end);
    assert.ok(link.ok);
    assert.equal([link.value.dstMac, link.value.srcMac, link.value.tags], [hostMac, acMac, tags]);
    assert.is(link.value.etherType, 0x8864);
    const pppoe = parsePppoe(link.value.payload, 0, link.value.payload.length);
    assert.ok(pppoe.ok);
    assert.equal([pppoe.value.code, pppoe.value.sessionId], [0, 0x1234]);
    const ppp = parsePpp(pppoe.value.payload, 0, pppoe.value.payload.length);
    assert.ok(ppp.ok);
    assert.is(ppp.value.protocol, 0x0057);
    assert.is(ppp.value.payload.length, 20);
    assert.ok(bytes.subarray(0, at).every(byte => byte === 0xa5));
    assert.ok(bytes.subarray(encapsulationHeadroom + 1).every(byte => byte === 0xa5));
    assert.is(table.packetsOut[row], 1);
    assert.is(table.bytesOut[row], 20);
  }
});

test('a packet without headroom, session, or a version, or longer than the MRU, is refused and the buffer untouched', () => {
  const table = tableOf(double);
  table.openAs(0, 0x3333, double);
  const row = table.rowOf[0x1234];
  table.mru[row] = 40;
  const fast = new Encapsulation(table, acMac);
  const cases = [
    [fastPath.dropNoHeadroom, encapsulationHeadroom - 1, 20, row, 0x45],
    [fastPath.dropTooLong, encapsulationHeadroom, 41, row, 0x45],
    [fastPath.dropBadProtocol, encapsulationHeadroom, 20, row, 0x55],
    [fastPath.dropNotOpen, encapsulationHeadroom, 20, table.rowOf[0x3333], 0x45],
    [fastPath.dropNoSession, encapsulationHeadroom, 20, 0, 0x45],
  ];
  for (const [reason, start, length, to, first] of cases) {
    const bytes = new Uint8Array(100).fill(0xa5);
    bytes[start] = first;
    const before = Uint8Array.from(bytes);
    assert.is(fast.encapsulateIp(bytes, start, start + length, to), reason);
    assert.equal(bytes, before);
  }
  const bytes = new Uint8Array(100);
  bytes[encapsulationHeadroom] = 0x45;
  assert.is(fast.encapsulateIp(bytes, encapsulationHeadroom, encapsulationHeadroom + 40, row), 0);
});

test('against the codecs: random frames, many of them damaged, are taken apart alike or dropped', () => {
  const seed = 3;
  const random = new Random(seed, 'frames');
  const table = tableOf(double);
  const fast = new Encapsulation(table, acMac);
  let passed = 0;
  for (let i = 0; i < 50_000; i++) {
    const ppp = Array.from({ length: random.below(12) }, () => random.below(256));
    if (random.chance(0.7)) ppp.unshift(0x00, random.chance(0.5) ? 0x21 : 0x57);
    const tags = [outer, inner];
    const { bytes, start, end } = frameOf({ tags, ppp, padding: random.below(20) });
    if (random.chance(0.6)) bytes[start + random.below(end - start)] = random.below(256);
    const at = fast.decapsulate(4, bytes, start, end);
    if (at < 0) continue;
    passed++;
    const link = parseEthernet(bytes, start, end);
    assert.ok(link.ok, `seed ${seed}, frame ${i}`);
    const pppoe = parsePppoe(link.value.payload, 0, link.value.payload.length);
    assert.ok(pppoe.ok, `seed ${seed}, frame ${i}`);
    const packet = parsePpp(pppoe.value.payload, 0, pppoe.value.payload.length);
    assert.ok(packet.ok, `seed ${seed}, frame ${i}`);
    assert.is(packet.value.protocol, fast.protocol);
    assert.equal(bytes.subarray(at, fast.end), packet.value.payload);
    assert.is(pppoe.value.sessionId, 0x1234);
    assert.equal([link.value.dstMac, link.value.srcMac], [acMac, hostMac]);
    assert.equal(
      link.value.tags.map(tag => tag.vlanId),
      [100, 7],
    );
  }
  assert.ok(passed > 10_000, `${passed}`);
});

// ---- MSS ----

const flagSyn = 2;
const flagAck = 16;

interface SegmentParts {
  readonly version: 4 | 6;
  readonly flags: number;
  readonly options: readonly TcpOption[];
  /** IPv6 extension headers, the first of this kind; the last must name TCP as the next. */
  readonly extensions?: { readonly first: number; readonly bytes: readonly number[] };
  readonly payload?: number;
  readonly fragment?: number;
}

function segmentOf(parts: SegmentParts): { bytes: Uint8Array; tcpAt: number } {
  const { version, flags, options, extensions } = parts;
  const header = {
    srcPort: 1,
    dstPort: 2,
    sequenceNumber: 3,
    acknowledgmentNumber: 4,
    flags,
    window: 5,
    urgentPointer: 0,
    options,
  };
  const extra = extensions ? extensions.bytes.length : 0;
  const tcpAt = (version === 4 ? 20 : 40) + extra;
  const payload = parts.payload ?? 0;
  const bytes = new Uint8Array(tcpAt + tcpLength(header) + payload).fill(0x5a);
  const addressLength = version === 4 ? 4 : 16;
  const pseudo = pseudoOf(version, bytes);
  if (version === 4) {
    bytes.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0], 0);
    writeUint16(bytes, 2, bytes.length);
    writeUint16(bytes, 6, parts.fragment ?? 0);
  } else {
    bytes.set([0x60, 0, 0, 0, 0, 0, extensions ? extensions.first : 6, 64], 0);
    writeUint16(bytes, 4, bytes.length - 40);
    if (extensions) bytes.set(extensions.bytes, 40);
  }
  assert.is(pseudo.srcAddress.length, addressLength);
  emitTcp(header, payload, pseudo, bytes, tcpAt);
  return { bytes, tcpAt };
}

function pseudoOf(version: 4 | 6, bytes: Uint8Array) {
  return version === 4
    ? { srcAddress: bytes.subarray(12, 16), dstAddress: bytes.subarray(16, 20) }
    : { srcAddress: bytes.subarray(8, 24), dstAddress: bytes.subarray(24, 40) };
}

function mssOf(version: 4 | 6, bytes: Uint8Array, tcpAt: number): number {
  const tcp = parseTcp(bytes, tcpAt, bytes.length, pseudoOf(version, bytes));
  assert.ok(tcp.ok, 'the checksum is right');
  const option = tcp.value.options.find(each => each.kind === 'maximum-segment-size');
  return option?.kind === 'maximum-segment-size' ? option.maximumSegmentSize : 0;
}

const mss = (value: number): TcpOption => ({ kind: 'maximum-segment-size', maximumSegmentSize: value });

test('SYN and SYN-ACK are lowered to the MTU less 40 (IPv4) or 60 (IPv6) bytes, never raised, the checksum right', () => {
  for (const version of [4, 6] as const)
    for (const flags of [flagSyn, flagSyn | flagAck])
      for (const value of [1460, 1440, 1400, 536]) {
        const { bytes, tcpAt } = segmentOf({ version, flags, options: [mss(value)] });
        const most = 1492 - (version === 4 ? 40 : 60);
        assert.is(clampMss(bytes, 0, bytes.length, 1492), value > most);
        assert.is(mssOf(version, bytes, tcpAt), Math.min(value, most));
      }
});

test('the option is found behind others, at odd offsets too, and behind IPv6 extension headers', () => {
  const seed = 4;
  const random = new Random(seed, 'mss');
  for (let i = 0; i < 5_000; i++) {
    const options: TcpOption[] = [];
    for (let n = random.below(4); n > 0; n--) options.push({ kind: 'no-operation' });
    if (random.chance(0.5)) options.push({ kind: 'window-scale', shift: 7 });
    if (random.chance(0.5)) options.push({ kind: 'raw', type: 77, data: new Uint8Array(random.below(5)) });
    const value = 1 + random.below(65_535);
    options.push(mss(value), { kind: 'sack-permitted' });
    const version = random.chance(0.5) ? 4 : 6;
    const extensions =
      version === 6 && random.chance(0.5)
        ? { first: 0, bytes: [60, 0, 1, 4, 0, 0, 0, 0, 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }
        : undefined;
    const { bytes, tcpAt } = segmentOf({
      version,
      flags: flagSyn,
      options,
      payload: random.below(9),
      ...(extensions ? { extensions } : {}),
    });
    const mtu = 576 + random.below(1_000);
    const most = mtu - (version === 4 ? 40 : 60);
    assert.is(clampMss(bytes, 0, bytes.length, mtu), value > most, `seed ${seed}, segment ${i}`);
    assert.is(mssOf(version, bytes, tcpAt), Math.min(value, most), `seed ${seed}, segment ${i}`);
  }
});

test('nothing else is touched: no SYN, no option, a later fragment, another protocol, a damaged or cut header', () => {
  const options = [mss(1460)];
  const looping = segmentOf({
    version: 4,
    flags: flagSyn,
    options: [{ kind: 'window-scale', shift: 1 }, ...options],
  });
  looping.bytes[looping.tcpAt + 21] = 0;
  const beyond = segmentOf({
    version: 4,
    flags: flagSyn,
    options: [{ kind: 'window-scale', shift: 1 }, ...options],
  });
  beyond.bytes[beyond.tcpAt + 21] = 40;
  const offset = segmentOf({ version: 4, flags: flagSyn, options });
  offset.bytes[offset.tcpAt + 12] = 0xf0;
  const short = segmentOf({ version: 4, flags: flagSyn, options });
  short.bytes[0] = 0x41;
  const udp = segmentOf({ version: 4, flags: flagSyn, options });
  udp.bytes[9] = 17;
  const other = segmentOf({ version: 4, flags: flagSyn, options });
  other.bytes[0] = 0x55;
  const fragment6 = { first: 44, bytes: [6, 0, 0, 8, 0, 0, 0, 1] };
  const chain6 = { first: 60, bytes: [60, 40, 0, 0, 0, 0, 0, 0] };
  for (const [what, { bytes }] of [
    ['no SYN', segmentOf({ version: 4, flags: flagAck, options })],
    ['no option', segmentOf({ version: 4, flags: flagSyn, options: [] })],
    ['a later fragment', segmentOf({ version: 4, flags: flagSyn, options, fragment: 0x0010 })],
    ['a later fragment of IPv6', segmentOf({ version: 6, flags: flagSyn, options, extensions: fragment6 })],
    [
      'an extension header over the end',
      segmentOf({ version: 6, flags: flagSyn, options, extensions: chain6 }),
    ],
    ['UDP', udp],
    ['version 5', other],
    ['an option of length 0', looping],
    ['an option over the end', beyond],
    ['a data offset over the end', offset],
    ['an IPv4 header of 4 bytes', short],
  ] as const) {
    const before = Uint8Array.from(bytes);
    assert.not.ok(clampMss(bytes, 0, bytes.length, 1492), what);
    assert.equal(bytes, before, what);
  }
  const { bytes } = segmentOf({ version: 4, flags: flagSyn, options });
  for (let end = 0; end < bytes.length; end++) assert.not.ok(clampMss(bytes, 0, end, 1492), `${end} bytes`);
  assert.is(readUint16(bytes, 22), 2);
});

test.run();
