import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex, parseHex, readUint16, writeBytes } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { Result } from '../../agent/core/result.js';
import { type Ccp, ccpLength, ccpOptionName, emitCcp, parseCcp } from '../../agent/wire/ccp.js';
import { type Chap, chapAlgorithm, chapLength, emitChap, parseChap } from '../../agent/wire/chap.js';
import { etherTypePppoeSession, parseEthernet } from '../../agent/wire/ethernet.js';
import { emitIpcp, encodeIpcpOption, type Ipcp, ipcpLength, parseIpcp } from '../../agent/wire/ipcp.js';
import {
  emitIpv6cp,
  encodeIpv6cpOption,
  type Ipv6cp,
  ipv6cpLength,
  parseIpv6cp,
} from '../../agent/wire/ipv6cp.js';
import {
  emitLcp,
  encodeLcpOption,
  type Lcp,
  type LcpOption,
  lcpLength,
  parseLcp,
} from '../../agent/wire/lcp.js';
import { emitPap, type Pap, papLength, parsePap } from '../../agent/wire/pap.js';
import { emitPpp, type Ppp, parsePpp, pppLength, pppProtocol } from '../../agent/wire/ppp.js';
import { controlOptionLimit, type RawOption } from '../../agent/wire/ppp-control.js';
import { parsePppoe } from '../../agent/wire/pppoe.js';
import { capturePath } from '../support/captures.js';

/** Bytes of annotated hex: blanks, and everything from `;` to the end of a line, do not count. */
function hex(text: string): Uint8Array {
  return parseHex(text.replace(/;.*$/gm, '').replace(/\s/g, ''))!;
}

/** A protocol as these tests use it, whatever its values are. */
interface Codec {
  parse(bytes: Uint8Array, start: number, end: number): Result<unknown>;
  /** The bytes, after checking that emit wrote `length` of them and touched no others. */
  emit(value: unknown): Uint8Array;
}

function codec<T>(
  parse: (bytes: Uint8Array, start: number, end: number) => Result<T>,
  length: (value: T) => number,
  emit: (value: T, out: Uint8Array, at: number) => number,
): Codec {
  return {
    parse,
    emit(value) {
      const end = 3 + length(value as T);
      const out = new Uint8Array(end + 3).fill(0xa5);
      assert.is(emit(value as T, out, 3), end, 'the offset emit returns');
      assert.is(formatHex(out.subarray(0, 3)) + formatHex(out.subarray(end)), 'a5a5a5a5a5a5');
      return out.subarray(3, end);
    },
  };
}

const lcp = codec<Lcp>(parseLcp, lcpLength, emitLcp);
const ipcp = codec<Ipcp>(parseIpcp, ipcpLength, emitIpcp);
const ipv6cp = codec<Ipv6cp>(parseIpv6cp, ipv6cpLength, emitIpv6cp);
const ccp = codec<Ccp>(parseCcp, ccpLength, emitCcp);
const pap = codec<Pap>(parsePap, papLength, emitPap);
const chap = codec<Chap>(parseChap, chapLength, emitChap);
const ppp = codec<Ppp>(
  parsePpp,
  packet => pppLength(packet) + packet.payload.length,
  (packet, out, at) => writeBytes(out, emitPpp(packet, out, at), packet.payload),
);

const codecs: { readonly [protocol: number]: Codec | undefined } = {
  [pppProtocol.lcp]: lcp,
  [pppProtocol.ipcp]: ipcp,
  [pppProtocol.ipv6cp]: ipv6cp,
  [pppProtocol.ccp]: ccp,
  [pppProtocol.pap]: pap,
  [pppProtocol.chap]: chap,
};

interface Vector {
  readonly source: string;
  readonly bytes: Uint8Array;
  readonly protocol: number;
  readonly value: Lcp | Ipcp | Ipv6cp | Ccp | Pap | Chap;
}

const none = new Uint8Array(0);

/** Each begins with the PPP protocol number, as behind a PPPoE header. */
const vectors: readonly Vector[] = [
  {
    source: 'pppoe.pcap frame 6 (zeek), the access concentrator asks for PAP',
    bytes: hex(`
      c021 01 01 0012            ; LCP Configure-Request 1, 18 bytes
      01 04 05d4                 ; MRU 1492
      03 04 c023                 ; Authentication-Protocol PAP
      05 06 01fccbfb             ; Magic-Number`),
    protocol: pppProtocol.lcp,
    value: {
      kind: 'configure-request',
      identifier: 1,
      options: [
        { kind: 'maximum-receive-unit', value: 1492 },
        { kind: 'authentication-protocol', protocol: pppProtocol.pap, data: none },
        { kind: 'magic-number', value: 0x01fccbfb },
      ],
    },
  },
  {
    source: 'pppoe.pcap frame 7 (zeek)',
    bytes: hex('c021 02 01 000a 05 06 05fcd459'),
    protocol: pppProtocol.lcp,
    value: {
      kind: 'configure-ack',
      identifier: 1,
      options: [{ kind: 'magic-number', value: 0x05fcd459 }],
    },
  },
  {
    source: 'pppoe.pcap frame 8 (zeek), a Nak of the MRU',
    bytes: hex('c021 03 01 0008 01 04 05dc'),
    protocol: pppProtocol.lcp,
    value: {
      kind: 'configure-nak',
      identifier: 1,
      options: [{ kind: 'maximum-receive-unit', value: 1500 }],
    },
  },
  {
    source: 'pppoe.pcap frame 28 (zeek)',
    bytes: hex(`
      c021 09 01 000c            ; Echo-Request
      05fcd459                   ; the sender's magic number
      01fccbfb                   ; data`),
    protocol: pppProtocol.lcp,
    value: { kind: 'echo-request', identifier: 1, magicNumber: 0x05fcd459, data: hex('01fccbfb') },
  },
  {
    source: 'pppoe.pcap frame 29 (zeek)',
    bytes: hex('c021 0a 01 000c 01fccbfb 01fccbfb'),
    protocol: pppProtocol.lcp,
    value: { kind: 'echo-reply', identifier: 1, magicNumber: 0x01fccbfb, data: hex('01fccbfb') },
  },
  {
    source: 'pppoes.pcap frame 1 (tcpdump), a magic number over 2^31',
    bytes: hex('c021 09 6a 000c a4cbea34 0ee2f609'),
    protocol: pppProtocol.lcp,
    value: { kind: 'echo-request', identifier: 0x6a, magicNumber: 0xa4cbea34, data: hex('0ee2f609') },
  },
  {
    source:
      'composed from RFC 1661 §6, RFC 1570 §2.3, RFC 1989 §2.3, RFC 1990 §5.1.1; all but Quality-Protocol read back by tshark 4.0.17: every LCP option',
    bytes: hex(`
      c021 04 ff 0035            ; Configure-Reject 255, 53 bytes
      01 04 05dc                 ; MRU
      02 06 ffffffff             ; ACCM
      03 05 c223 05              ; Authentication-Protocol CHAP MD5
      04 08 c025 00000bb8        ; Quality-Protocol, Link-Quality-Report every 30 s
      05 06 89abcdef             ; Magic-Number
      07 02                      ; PFC
      08 02                      ; ACFC
      0d 03 06                   ; Callback, by CBCP
      11 04 0640                 ; MRRU 1600
      13 09 03 020000000001      ; Endpoint discriminator, unknown here`),
    protocol: pppProtocol.lcp,
    value: {
      kind: 'configure-reject',
      identifier: 255,
      options: [
        { kind: 'maximum-receive-unit', value: 1500 },
        { kind: 'async-control-character-map', value: 0xffffffff },
        { kind: 'authentication-protocol', protocol: pppProtocol.chap, data: hex('05') },
        { kind: 'quality-protocol', protocol: pppProtocol.linkQualityReport, data: hex('00000bb8') },
        { kind: 'magic-number', value: 0x89abcdef },
        { kind: 'protocol-field-compression' },
        { kind: 'address-and-control-field-compression' },
        { kind: 'callback', operation: 6, message: none },
        { kind: 'maximum-receive-reconstructed-unit', value: 1600 },
        { kind: 'raw', type: 19, data: hex('03 020000000001') },
      ],
    },
  },
  {
    source: 'composed from RFC 1661 §5.5; read back by tshark 4.0.17',
    bytes: hex('c021 05 02 000c 4c6f676f66662021'),
    protocol: pppProtocol.lcp,
    value: { kind: 'terminate-request', identifier: 2, data: encodeUtf8('Logoff !') },
  },
  {
    source: 'composed from RFC 1661 §5.5; read back by tshark 4.0.17',
    bytes: hex('c021 06 02 0004'),
    protocol: pppProtocol.lcp,
    value: { kind: 'terminate-ack', identifier: 2, data: none },
  },
  {
    source: 'composed from RFC 1661 §5.6; read back by tshark 4.0.17: a Code-Reject of code 14',
    bytes: hex('c021 07 03 0008 0e010004'),
    protocol: pppProtocol.lcp,
    value: { kind: 'code-reject', identifier: 3, rejectedPacket: hex('0e010004') },
  },
  {
    source: 'composed from RFC 1661 §5.7; read back by tshark 4.0.17: a Protocol-Reject of CCP',
    bytes: hex('c021 08 04 000e 80fd 01010008 1a047800'),
    protocol: pppProtocol.lcp,
    value: {
      kind: 'protocol-reject',
      identifier: 4,
      rejectedProtocol: pppProtocol.ccp,
      rejectedInformation: hex('010100081a047800'),
    },
  },
  {
    source: 'composed from RFC 1661 §5.9; read back by tshark 4.0.17',
    bytes: hex('c021 0b 05 000a 00000000 0102'),
    protocol: pppProtocol.lcp,
    value: { kind: 'discard-request', identifier: 5, magicNumber: 0, data: hex('0102') },
  },
  {
    source: 'composed from RFC 1570 §2.1; read back by tshark 4.0.17',
    bytes: hex('c021 0c 06 000c 01fccbfb 4b697468'),
    protocol: pppProtocol.lcp,
    value: { kind: 'identification', identifier: 6, magicNumber: 0x01fccbfb, data: encodeUtf8('Kith') },
  },
  {
    source: 'composed from RFC 1570 §2.2; read back by tshark 4.0.17: Time-Remaining, a code unknown here',
    bytes: hex('c021 0d 07 000c 01fccbfb 0000003c'),
    protocol: pppProtocol.lcp,
    value: { kind: 'unknown', code: 13, identifier: 7, data: hex('01fccbfb0000003c') },
  },
  {
    source: 'pppoe.pcap frame 11 (zeek)',
    bytes: hex(`
      c023 01 01 0010            ; PAP Authenticate-Request
      05 636973636f              ; peer id cisco
      05 636973636f              ; password cisco`),
    protocol: pppProtocol.pap,
    value: {
      kind: 'authenticate-request',
      identifier: 1,
      peerId: encodeUtf8('cisco'),
      password: encodeUtf8('cisco'),
    },
  },
  {
    source: 'pppoe.pcap frame 12 (zeek), an empty message',
    bytes: hex('c023 02 01 0005 00'),
    protocol: pppProtocol.pap,
    value: { kind: 'authenticate-ack', identifier: 1, message: none },
  },
  {
    source: 'composed from RFC 1334 §2.2.2; read back by tshark 4.0.17',
    bytes: hex('c023 03 01 0007 02 6e6f'),
    protocol: pppProtocol.pap,
    value: { kind: 'authenticate-nak', identifier: 1, message: encodeUtf8('no') },
  },
  {
    source:
      'composed after pppd, whose upap_rauthack puts up with it: an Ack without even the length of a message',
    bytes: hex('c023 02 01 0004'),
    protocol: pppProtocol.pap,
    value: { kind: 'authenticate-ack', identifier: 1 },
  },
  {
    source:
      'authenticator challenge of RFC 2759 §9.2 in the packet of RFC 1994 §4.1; read back by tshark 4.0.17',
    bytes: hex('c223 01 01 0019 10 5b5d7c7d7b3f2f3e3c2c602132262628 42524153'),
    protocol: pppProtocol.chap,
    value: {
      kind: 'challenge',
      identifier: 1,
      value: hex('5b5d7c7d7b3f2f3e3c2c602132262628'),
      name: encodeUtf8('BRAS'),
    },
  },
  {
    source: 'response of RFC 2759 §9.2 in the packet of RFC 2759 §4; read back by tshark 4.0.17',
    bytes: hex(`
      c223 02 01 003a 31         ; 49 bytes of value:
      21402324255e262a28295f2b3a337c7e 0000000000000000 ; peer challenge, reserved
      82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df 00 ; NT response, flags
      55736572                   ; User`),
    protocol: pppProtocol.chap,
    value: {
      kind: 'response',
      identifier: 1,
      value: hex(`21402324255e262a28295f2b3a337c7e 0000000000000000
        82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df 00`),
      name: encodeUtf8('User'),
    },
  },
  {
    source: 'composed from RFC 1994 §4.2; read back by tshark 4.0.17',
    bytes: hex('c223 03 01 0006 6f6b'),
    protocol: pppProtocol.chap,
    value: { kind: 'success', identifier: 1, message: encodeUtf8('ok') },
  },
  {
    source: 'composed from RFC 1994 §4.2; read back by tshark 4.0.17',
    bytes: hex('c223 04 01 0004'),
    protocol: pppProtocol.chap,
    value: { kind: 'failure', identifier: 1, message: none },
  },
  {
    source: 'pppoe.pcap frame 19 (zeek), a Nak that gives the address',
    bytes: hex('8021 03 01 000a 03 06 0a000210'),
    protocol: pppProtocol.ipcp,
    value: {
      kind: 'configure-nak',
      identifier: 1,
      options: [{ kind: 'ip-address', ipAddress: hex('0a000210') }],
    },
  },
  {
    source: 'composed from RFC 1332 §3, §4 and RFC 1877 §1; read back by tshark 4.0.17: every IPCP option',
    bytes: hex(`
      8021 01 09 0034
      01 0a 0a000001 0a000002    ; IP-Addresses
      02 06 002d 0f 01           ; IP-Compression-Protocol, Van Jacobson, slots 0…15, slot id may be left out
      03 06 0a000001             ; IP-Address
      81 06 0a000003             ; Primary-DNS-Address
      82 06 0a000004             ; Primary-NBNS-Address
      83 06 0a000005             ; Secondary-DNS-Address
      84 06 0a000006             ; Secondary-NBNS-Address
      90 02                      ; unassigned, unknown here`),
    protocol: pppProtocol.ipcp,
    value: {
      kind: 'configure-request',
      identifier: 9,
      options: [
        { kind: 'ip-addresses', sourceAddress: hex('0a000001'), destinationAddress: hex('0a000002') },
        { kind: 'ip-compression-protocol', protocol: pppProtocol.vanJacobsonCompressed, data: hex('0f01') },
        { kind: 'ip-address', ipAddress: hex('0a000001') },
        { kind: 'primary-dns-server', ipAddress: hex('0a000003') },
        { kind: 'primary-nbns-server', ipAddress: hex('0a000004') },
        { kind: 'secondary-dns-server', ipAddress: hex('0a000005') },
        { kind: 'secondary-nbns-server', ipAddress: hex('0a000006') },
        { kind: 'raw', type: 0x90, data: none },
      ],
    },
  },
  {
    source: 'pppoe.pcap frame 14 (zeek)',
    bytes: hex('8057 01 01 000e 01 0a c8010efffe880008'),
    protocol: pppProtocol.ipv6cp,
    value: {
      kind: 'configure-request',
      identifier: 1,
      options: [{ kind: 'interface-identifier', interfaceIdentifier: hex('c8010efffe880008') }],
    },
  },
  {
    source: 'composed from RFC 5172 §2; read back by tshark 4.0.17: IPv6-Compression-Protocol, unknown here',
    bytes: hex('8057 04 01 0008 02 04 004f'),
    protocol: pppProtocol.ipv6cp,
    value: {
      kind: 'configure-reject',
      identifier: 1,
      options: [{ kind: 'raw', type: 2, data: hex('004f') }],
    },
  },
  {
    source: 'composed from RFC 1962 §2, RFC 1979 §2.1; read back by tshark 4.0.17: Deflate and BSD compress',
    bytes: hex('80fd 01 01 000b 1a 04 7800 15 03 2f'),
    protocol: pppProtocol.ccp,
    value: {
      kind: 'configure-request',
      identifier: 1,
      options: [
        { kind: 'raw', type: 26, data: hex('7800') },
        { kind: 'raw', type: 21, data: hex('2f') },
      ],
    },
  },
];

/** The packet without the PPP protocol number before it. */
function packetOf(vector: Vector): Uint8Array {
  return vector.bytes.subarray(2);
}

test('packets parse to the values in them, padding left out, and emit to the same bytes', () => {
  for (const vector of vectors) {
    const { source, bytes, protocol, value } = vector;
    const padded = new Uint8Array(bytes.length + 9).fill(0xa5);
    padded.set(bytes, 2);
    const frame = parsePpp(padded, 2, padded.length);
    assert.ok(frame.ok && frame.value.protocol === protocol, source);
    const parsed = codecs[protocol]!.parse(padded, 4, padded.length);
    assert.equal(parsed, { ok: true, value }, source);
    assert.is(formatHex(codecs[protocol]!.emit(value)), formatHex(packetOf(vector)), source);
  }
});

test('a packet cut at any length is truncated', () => {
  for (const vector of vectors) {
    const packet = packetOf(vector);
    for (let cut = 0; cut < packet.length; cut++) {
      const parsed = codecs[vector.protocol]!.parse(packet, 0, cut);
      assert.equal(parsed, { ok: false, reason: 'truncated' }, `${vector.source}, ${cut} bytes`);
    }
  }
});

test('what contradicts the standard is refused with the reason', () => {
  const cases: readonly (readonly [string, Codec, string])[] = [
    ['bad-length', lcp, '01 01 0003'], // shorter than the header
    ['bad-length', lcp, '01 01 0000'],
    ['bad-length', lcp, '01 01 0005 01'], // half an option header
    ['bad-length', lcp, '01 01 0006 01 01'], // an option shorter than its header
    ['bad-length', lcp, '01 01 0006 01 00'],
    ['bad-length', lcp, '01 01 0007 01 04 05 dc'], // an option longer than the packet
    ['bad-length', lcp, '08 01 0005 c0'], // Protocol-Reject without a protocol
    ['bad-length', lcp, '09 01 0007 010203'], // Echo-Request without a magic number
    ['bad-length', lcp, '0c 01 0004'],
    ['bad-length', pap, '01 01 0004'],
    ['bad-length', pap, '01 01 0005 00'],
    ['bad-length', pap, '01 01 0006 01 00'], // no room for a password length
    ['bad-length', pap, '01 01 0007 00 02 61'],
    ['bad-length', pap, '01 01 0007 00 00 61'], // something behind the password
    ['bad-length', pap, '02 01 0005 01'],
    ['bad-length', pap, '03 01 0006 00 61'],
    ['bad-type', pap, '04 01 0004'],
    ['bad-type', pap, '00 01 0004'],
    ['bad-length', chap, '01 01 0004'],
    ['bad-length', chap, '01 01 0006 02 61'],
    ['bad-value', chap, '02 01 0006 00 61'], // a value has one byte or more (RFC 1994 §4.1)
    ['bad-type', chap, '05 01 0004'],
  ];
  for (const [reason, { parse }, text] of cases) {
    const bytes = hex(text);
    assert.equal(parse(bytes, 0, bytes.length), { ok: false, reason }, text);
  }
});

test('an option of a known type but another size is kept raw, to be refused by itself and not with its packet', () => {
  const cases: readonly (readonly [Codec, string])[] = [
    [lcp, '01 01 0007 01 03 05'],
    [lcp, '02 01 0009 01 05 0005dc'],
    [lcp, '03 01 0008 02 04 0000'],
    [lcp, '04 01 0007 03 03 c0'],
    [lcp, '01 01 0009 03 05 c02300'], // PAP has no data
    [lcp, '01 01 0009 03 05 c22700'], // nor EAP
    [lcp, '01 01 0008 03 04 c223'], // CHAP has one byte
    [lcp, '01 01 000a 03 06 c2230505'],
    [lcp, '01 01 0007 04 03 c0'],
    [lcp, '01 01 0009 05 05 000000'],
    [lcp, '01 01 0007 07 03 00'],
    [lcp, '01 01 0007 08 03 00'],
    [lcp, '01 01 0006 0d 02'],
    [lcp, '01 01 0007 11 03 05'],
    [ipcp, '01 01 000d 01 09 0a0000010a0000'],
    [ipcp, '01 01 0007 02 03 00'],
    [ipcp, '01 01 0008 02 04 002d'], // Van Jacobson has two bytes
    [ipcp, '01 01 0009 03 05 0a0000'],
    [ipcp, '01 01 000b 81 07 0a00000101'],
    [ipcp, '01 01 0006 84 02'],
    [ipv6cp, '01 01 000d 01 09 00000000000000'],
  ];
  for (const [{ parse, emit }, text] of cases) {
    const bytes = hex(text);
    const parsed = parse(bytes, 0, bytes.length);
    const options = [{ kind: 'raw', type: bytes[4], data: bytes.subarray(6) }];
    assert.ok(parsed.ok, text);
    assert.equal((parsed.value as { options: unknown }).options, options, text);
    assert.equal(emit(parsed.value), bytes, text);
  }
});

test('authentication protocols name themselves and their algorithm in the option', () => {
  for (const [data, protocol, rest] of [
    ['c023', pppProtocol.pap, none],
    ['c227', pppProtocol.eap, none],
    ['c22305', pppProtocol.chap, new Uint8Array([chapAlgorithm.md5])],
    ['c22380', pppProtocol.chap, new Uint8Array([chapAlgorithm.msChap])],
    ['c22381', pppProtocol.chap, new Uint8Array([chapAlgorithm.msChapV2])],
    ['c0270102', 0xc027, hex('0102')],
  ] as const) {
    const option: LcpOption = { kind: 'authentication-protocol', protocol, data: rest };
    assert.equal(encodeLcpOption(option), { kind: 'raw', type: 3, data: hex(data) });
    const packet: Lcp = { kind: 'configure-request', identifier: 1, options: [option] };
    const bytes = lcp.emit(packet);
    assert.equal(parseLcp(bytes, 0, bytes.length), { ok: true, value: packet });
  }
});

test('every protocol keeps a code it does not know, for a Code-Reject, and CCP its resets', () => {
  for (const [name, { parse, emit }, code] of [
    ['lcp', lcp, 0],
    ['lcp', lcp, 14],
    ['ipcp', ipcp, 8],
    ['ipv6cp', ipv6cp, 9],
    ['ccp', ccp, 14],
  ] as const) {
    const bytes = new Uint8Array([code, 7, 0, 6, 1, 2]);
    const value = { kind: 'unknown', code, identifier: 7, data: bytes.subarray(4) };
    assert.equal(parse(bytes, 0, bytes.length), { ok: true, value }, `${name} ${code}`);
    assert.equal(emit(value), bytes, `${name} ${code}`);
  }
});

test('options are counted: the limit parses, one more is too many', () => {
  const options: RawOption[] = [];
  for (let i = 0; i < controlOptionLimit; i++) options.push({ kind: 'raw', type: 200, data: none });
  for (const { parse, emit } of [lcp, ipcp, ipv6cp, ccp]) {
    const most = { kind: 'configure-reject', identifier: 0, options };
    const bytes = emit(most);
    assert.equal(parse(bytes, 0, bytes.length), { ok: true, value: most });
    const more = emit({ ...most, options: [...options, options[0]] });
    assert.equal(parse(more, 0, more.length), { ok: false, reason: 'too-many' });
  }
});

test('what its length byte cannot hold is a programmer error, not a wrong packet', () => {
  const long = new Uint8Array(256);
  const option = { kind: 'raw', type: 200, data: long.subarray(0, 254) };
  assert.throws(() => lcp.emit({ kind: 'configure-ack', identifier: 1, options: [option] }), /at most 253/);
  assert.throws(
    () => pap.emit({ kind: 'authenticate-request', identifier: 1, peerId: none, password: long }),
    /password bytes: expected at most 255, got 256/,
  );
  assert.throws(
    () => chap.emit({ kind: 'challenge', identifier: 1, value: long, name: none }),
    /value bytes: expected at most 255, got 256/,
  );
});

test('options compare as type and data in every network control protocol', () => {
  assert.equal(encodeIpcpOption({ kind: 'secondary-dns-server', ipAddress: hex('0a000001') }), {
    kind: 'raw',
    type: 131,
    data: hex('0a000001'),
  });
  const interfaceIdentifier = hex('0000000000000001');
  assert.equal(encodeIpv6cpOption({ kind: 'interface-identifier', interfaceIdentifier }), {
    kind: 'raw',
    type: 1,
    data: interfaceIdentifier,
  });
});

test('compressions have their names, for a log that says what was rejected', () => {
  assert.is(ccpOptionName(26), 'deflate');
  assert.is(ccpOptionName(21), 'bsd-compress');
  assert.is(ccpOptionName(18), 'mppe-mppc');
  assert.is(ccpOptionName(200), undefined);
});

test('PPP headers of all four forms say which form they had and emit to it', () => {
  for (const [text, protocol, protocolCompressed, addressAndControl] of [
    ['0021 4500', pppProtocol.ipv4, false, false],
    ['21 4500', pppProtocol.ipv4, true, false],
    ['ff03 0057 4500', pppProtocol.ipv6, false, true],
    ['ff03 57 4500', pppProtocol.ipv6, true, true],
    ['c021 4500', pppProtocol.lcp, false, false],
    ['8020 4500', 0x8020, false, false], // an even lower byte: unknown, for a Protocol-Reject
  ] as const) {
    const bytes = hex(text);
    const value = { protocol, protocolCompressed, addressAndControl, payload: hex('4500') };
    assert.equal(parsePpp(bytes, 0, bytes.length), { ok: true, value }, text);
    assert.equal(ppp.emit(value), bytes, text);
  }
});

test('PPP headers that end early are truncated, and the reserved protocol 00ff is refused', () => {
  for (const text of ['', '00', 'c0', 'ff', 'ff03', 'ff0300', 'ff03ff'])
    assert.equal(parsePpp(hex(text), 0, hex(text).length), { ok: false, reason: 'truncated' }, text);
  for (const text of ['ff00', 'ff0021', 'ff03ff03'])
    assert.equal(parsePpp(hex(text), 0, hex(text).length), { ok: false, reason: 'bad-value' }, text);
});

test('every session frame of the captures parses, and its packets emit to the bytes they came from', () => {
  // As many of each protocol as tshark 4.0.17 counts.
  const counts: { [protocol: string]: number } = {};
  for (const name of ['pppoe.pcap', 'pppoes.pcap', 'pppoe-over-qinq.pcap']) {
    for (const frame of framesOf(name)) {
      const ethernet = parseEthernet(frame, 0, frame.length);
      assert.ok(ethernet.ok, name);
      if (ethernet.value.etherType !== etherTypePppoeSession) continue;
      const pppoe = parsePppoe(ethernet.value.payload, 0, ethernet.value.payload.length);
      assert.ok(pppoe.ok, name);
      const { payload } = pppoe.value;
      const parsed = parsePpp(payload, 0, payload.length);
      assert.ok(parsed.ok, name);
      assert.is(formatHex(ppp.emit(parsed.value)), formatHex(payload));
      const { protocol } = parsed.value;
      const key = protocol.toString(16);
      counts[key] = (counts[key] ?? 0) + 1;
      const control = codecs[protocol];
      if (!control) continue;
      const packet = control.parse(parsed.value.payload, 0, parsed.value.payload.length);
      assert.ok(packet.ok, formatHex(payload));
      assert.is(formatHex(control.emit(packet.value)), formatHex(parsed.value.payload));
    }
  }
  assert.equal(counts, { '21': 86, '57': 25, '8021': 6, '8057': 4, c021: 26, c023: 2 });
});

test('no mutation of a packet throws, and whatever parses emits to the bytes it came from', () => {
  const seed = 20_241;
  const random = new Random(seed, 'ppp mutations');
  for (const [protocol, { parse, emit }] of Object.entries(codecs) as [string, Codec][]) {
    const packets = vectors.filter(vector => vector.protocol === Number(protocol)).map(packetOf);
    let parsed = 0;
    let refused = 0;
    for (let round = 0; round < 5000; round++) {
      const bytes = Uint8Array.from(packets[random.below(packets.length)]);
      for (let i = random.below(4); i >= 0; i--)
        bytes[random.below(bytes.length)] = random.chance(0.5) ? random.below(256) : random.below(8);
      const end = random.chance(0.2) ? random.below(bytes.length + 1) : bytes.length;
      const result = parse(bytes, 0, end);
      if (!result.ok) {
        refused++;
        continue;
      }
      parsed++;
      const stated = bytes.subarray(0, readUint16(bytes, 2));
      assert.is(formatHex(emit(result.value)), formatHex(stated), `seed ${seed} ${protocol} round ${round}`);
    }
    assert.ok(parsed > 500 && refused > 500, `seed ${seed} ${protocol}: ${parsed} and ${refused}`);
  }
});

test('no bytes at all make a parser throw, and what PPP takes it emits again', () => {
  const seed = 20_242;
  const random = new Random(seed, 'ppp noise');
  const all = [lcp, ipcp, ipv6cp, ccp, pap, chap];
  for (let round = 0; round < 5000; round++) {
    const bytes = new Uint8Array(random.below(24)).map(() =>
      random.chance(0.5) ? random.below(6) : [0xff, 0x03, random.below(256)][random.below(3)],
    );
    for (const { parse } of all) parse(bytes, 0, bytes.length);
    const frame = parsePpp(bytes, 0, bytes.length);
    if (frame.ok)
      assert.is(formatHex(ppp.emit(frame.value)), formatHex(bytes), `seed ${seed} round ${round}`);
  }
});

/** The frames of a capture in the classic pcap format with little-endian headers. */
function framesOf(name: string): Uint8Array[] {
  const file = readFileSync(capturePath(name));
  assert.is(file.readUInt32LE(0), 0xa1b2c3d4, name);
  const frames: Uint8Array[] = [];
  for (let at = 24; at < file.length; at += 16 + file.readUInt32LE(at + 8))
    frames.push(file.subarray(at + 16, at + 16 + file.readUInt32LE(at + 8)));
  return frames;
}

test.run();
