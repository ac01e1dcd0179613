import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PseudoHeader } from '../../agent/wire/checksum.js';
import { parseIpv4 } from '../../agent/wire/ipv4.js';
import { emitTcp, parseTcp, parseTcpFlags, type TcpOption, tcpFlagNames } from '../../agent/wire/tcp.js';
import { parseUdp } from '../../agent/wire/udp.js';
import { tcpCodec, udpCodec } from './codecs.js';
import { bytesOf, checkCodec, frames, patched, refusal } from './vectors.js';

const pseudo4: PseudoHeader = { srcAddress: bytesOf('c0000201'), dstAddress: bytesOf('c0000202') };
/** pppoe.pcap, frame 36 */
const pseudo6: PseudoHeader = {
  srcAddress: bytesOf('fe80000000000000ce050efffe880000'),
  dstAddress: bytesOf('ff020000000000000000000000010002'),
};

// Made for this test, checksum confirmed with tshark. An odd length.
const udp4 = bytesOf('c000 0035 000b dc34 6b6974');
const dhcpv6 = bytesOf(`
  0222 0223 003a 1a67                         # pppoe.pcap, frame 36: DHCPv6 to all servers
  01fc24ab 0008 0002 05e9 0001 000a 00030001cc050e880000 0006 0006 001900170018
  0019 000c 00090001 00000000 00000000`);

test('UDP over IPv4 and over IPv6 parses, mirrors and is refused when cut', () => {
  const datagram = checkCodec(udpCodec(pseudo4), udp4);
  assert.equal([datagram.srcPort, datagram.dstPort], [49152, 53]);
  assert.equal(datagram.payload, bytesOf('6b6974'));
  const solicit = checkCodec(udpCodec(pseudo6), dhcpv6);
  assert.equal([solicit.srcPort, solicit.dstPort, solicit.payload.length], [546, 547, 50]);
});

test('the UDP payload ends where its length says, and the checksum covers just that', () => {
  const padded = bytesOf('c000 0035 000b dc34 6b6974 ffffffff');
  const datagram = parseUdp(padded, 0, padded.length, pseudo4);
  assert.ok(datagram.ok && datagram.value.payload.length === 3);
});

test('a UDP checksum of 0 means none over IPv4 and is refused over IPv6 (RFC 8200 §8.1)', () => {
  assert.is(refusal(udpCodec(pseudo4), patched(udp4, 6, 0, 0)), 'ok');
  assert.is(refusal(udpCodec(pseudo6), patched(dhcpv6, 6, 0, 0)), 'bad-checksum');
  assert.is(refusal(udpCodec(pseudo4), patched(udp4, 6, 0, 1)), 'bad-checksum');
  assert.is(parseUdp(patched(dhcpv6, 6, 0, 0), 0, dhcpv6.length).ok, true, 'no pseudo-header, no check');
});

test('a UDP checksum that computes to 0 is sent as ffff (RFC 768)', () => {
  // Made for this test, checksum confirmed with tshark: the payload is chosen so that the sum is ffff.
  checkCodec(udpCodec(pseudo4), bytesOf('c000 0035 000a ffff bba0'));
});

test('a UDP length below the header is refused', () => {
  for (const length of [0, 7])
    assert.is(refusal(udpCodec(pseudo4), patched(udp4, 4, 0, length)), 'bad-length');
  assert.is(refusal(udpCodec(pseudo4), patched(udp4, 4, 0, 12)), 'truncated');
});

test('TCP segments of real traffic parse and mirror (pppoe-over-qinq.pcap, frames 1 and 14)', () => {
  const syn = parseIpv4(frames.qinqSyn, 30, frames.qinqSyn.length);
  assert.ok(syn.ok);
  const { payload, ...header } = checkCodec(tcpCodec(syn.value), syn.value.payload);
  assert.is(payload.length, 0);
  assert.equal(header, {
    srcPort: 20394,
    dstPort: 443,
    sequenceNumber: 0xd7a84155,
    acknowledgmentNumber: 0,
    flags: 2,
    window: 65_535,
    urgentPointer: 0,
    options: [
      { kind: 'maximum-segment-size', maximumSegmentSize: 1440 },
      { kind: 'no-operation' },
      { kind: 'window-scale', shift: 6 },
      { kind: 'no-operation' },
      { kind: 'no-operation' },
      { kind: 'timestamps', value: 0x012dd88c, echoReply: 0 },
      { kind: 'sack-permitted' },
    ],
  });
  const sack = parseIpv4(frames.qinqSack, 30, frames.qinqSack.length);
  assert.ok(sack.ok);
  assert.equal(checkCodec(tcpCodec(sack.value), sack.value.payload).options, [
    { kind: 'no-operation' },
    { kind: 'no-operation' },
    { kind: 'sack', blocks: [{ leftEdge: 0xfc90a2ff, rightEdge: 0xfc90a89f }] },
  ]);
});

test('forty bytes of TCP options, one of an unknown kind, and a payload behind them', () => {
  // Made for this test, checksum confirmed with tshark.
  const tcp = checkCodec(
    tcpCodec(pseudo4),
    bytesOf(`
      c000 0016 00000001 80000000 f0 12 faf0 0e0f 0000
      0204 05b4 0402 080a 00000001 00000000 01 030307
      1312 000102030405060708090a0b0c0d0e0f 0000          # MD5 signature, end of list, padding
      6b6974`),
  );
  assert.equal(tcp.options[5], { kind: 'raw', type: 19, data: bytesOf('000102030405060708090a0b0c0d0e0f') });
  assert.equal(tcp.payload, bytesOf('6b6974'));
});

test('reserved TCP bits are ignored and not sent on', () => {
  const syn = parseIpv4(frames.qinqSyn, 30, frames.qinqSyn.length);
  assert.ok(syn.ok);
  const parsed = parseTcp(patched(syn.value.payload, 12, 0xbf), 0, syn.value.payload.length);
  assert.ok(parsed.ok);
  const out = new Uint8Array(44).fill(0xa5);
  emitTcp(parsed.value, 0, syn.value, out, 0);
  assert.equal(out, syn.value.payload);
});

test('TCP headers and options of wrong lengths are refused, each with its reason', () => {
  const syn = frames.qinqSyn.subarray(50);
  const bare = tcpCodec(pseudo4, 'unverified');
  const checked = tcpCodec(pseudo4);
  assert.is(refusal(checked, syn), 'bad-checksum', "another connection's addresses");
  assert.is(refusal(bare, patched(syn, 12, 0x40)), 'bad-length');
  assert.is(refusal(bare, patched(syn, 12, 0xc0)), 'truncated');
  for (const option of [
    '0200',
    '0201',
    '0203',
    '0205',
    '02ff',
    '0302',
    '0304',
    '0403',
    '050a',
    '0502',
    '080b',
    '9901',
  ])
    assert.is(
      refusal(bare, patched(syn.subarray(0, 28), 12, 0x70, ...syn.subarray(13, 20), ...bytesOf(option))),
      'bad-option',
      option,
    );
  assert.is(refusal(bare, patched(syn, 42, 1, 2)), 'bad-option', 'a kind without a length');
});

test('more than forty bytes of TCP options are a programming error', () => {
  const options: TcpOption[] = [{ kind: 'raw', type: 254, data: new Uint8Array(39) }];
  const header = {
    srcPort: 1,
    dstPort: 2,
    sequenceNumber: 3,
    acknowledgmentNumber: 4,
    flags: 5,
    window: 6,
    urgentPointer: 7,
    options,
  };
  assert.throws(
    () => emitTcp(header, 0, pseudo4, new Uint8Array(80), 0),
    'options: expected at most 40 bytes, got 44',
  );
});

test('every combination of TCP flags has a text, and only such texts have flags', () => {
  for (let flags = 1; flags < 256; flags++) assert.is(parseTcpFlags(tcpFlagNames(flags).join(',')), flags);
  assert.equal(tcpFlagNames(0x12), ['syn', 'ack']);
  assert.is(parseTcpFlags('ack,syn'), 0x12);
  assert.equal(tcpFlagNames(0), []);
  for (const text of ['', 'syn,', 'syn,syn', 'SYN', 'syn, ack', 'ns'])
    assert.is(parseTcpFlags(text), undefined, text);
});

test.run();
