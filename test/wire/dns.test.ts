import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { parseAddress } from '../../agent/wire/address.js';
import {
  type Dns,
  type DnsDataRecord,
  type DnsQuery,
  type DnsRecord,
  type DnsUpdate,
  dnsClass,
  dnsLength,
  dnsListLimit,
  dnsNamesLimit,
  dnsOperation,
  dnsPort,
  dnsQuestionLimit,
  dnsRecordLimit,
  dnsType,
  type EdnsOption,
  emitDns,
  encodeDnsName,
  mdnsGroups,
  mdnsPort,
  parseDns,
  parseDnsName,
} from '../../agent/wire/dns.js';
import {
  emitLlmnr,
  type Llmnr,
  llmnrGroups,
  llmnrLength,
  llmnrPort,
  parseLlmnr,
} from '../../agent/wire/llmnr.js';
import { checkMirror, checkMutations, emitted, sizedCodec } from './mutations.js';
import { bytesOf, checkCodec, patched, refusal } from './vectors.js';

const codec = sizedCodec<Dns>(parseDns, dnsLength, emitDns);
const llmnrCodec = sizedCodec<Llmnr>(parseLlmnr, llmnrLength, emitLlmnr);

const flags = {
  isResponse: false,
  authoritative: false,
  truncated: false,
  recursionDesired: false,
  recursionAvailable: false,
  authenticData: false,
  checkingDisabled: false,
  responseCode: 0,
};

const emptyQuery: DnsQuery = {
  kind: 'query',
  identification: 0,
  ...flags,
  operation: dnsOperation.query,
  questions: [],
  answers: [],
  authorities: [],
  additionals: [],
};

function parsed(bytes: Uint8Array): Dns {
  const result = parseDns(bytes, 0, bytes.length);
  if (!result.ok) throw new Error(`expected to parse, got ${result.reason}`);
  return result.value;
}

/** A response of one answer: the root's, of this type and data, in class IN for a minute. */
function answerOf(type: number, data: string): Uint8Array {
  const bytes = bytesOf(data);
  const head = [0, type >> 8, type & 255, 0, 1, 0, 0, 0, 60, bytes.length >> 8, bytes.length & 255];
  return concatBytes([bytesOf('0000 8000 0000 0001 0000 0000'), new Uint8Array(head), bytes]);
}

/** What that answer is, if the data is right. */
function answer(type: number, data: string): DnsRecord {
  const dns = parsed(answerOf(type, data));
  if (dns.kind !== 'query') throw new Error('expected a query');
  return dns.answers[0];
}

/** mdns.pcap, frame 1 */
const printersQuery = bytesOf(`
  0000 0000 0002 0000 0000 0000
  04 5f697070 04 5f746370 05 6c6f63616c 00 000c 0001      # _ipp._tcp.local PTR, QM
  05 5f69707073 c011 000c 0001                            # _ipps and the rest of the first`);

/** mdns.pcap, frame 4: a host takes its addresses back (time to live 0), with cache flush. */
const goodbye = bytesOf(`
  0000 8400 0000 0006 0000 0000
  1c 6a6f68616e6e612d51454d552d5669727475616c2d4d616368696e65 05 6c6f63616c 00   # at 12
    001c 8001 00000000 0010 fd52429ec03c8235883cd6fffee14dc4
  0134 0163 0164 0134 0131 0165 0165 0166 0166 0166 0136 0164 0163 0133 0138 0138
  0135 0133 0132 0138 0163 0133 0130 0163 0165 0139 0132 0134 0132 0135 0164 0166 03697036 0461727061 00
    000c 8001 00000000 0002 c00c
  c00c 001c 8001 00000000 0010 fd52429ec03c823559685bc61563f82f
  0166 0132 0138 0166 0133 0136 0135 0131 0136 0163 0162 0135 0138 0136 0139 0135 c06a
    000c 8001 00000000 0002 c00c
  c00c 0001 8001 00000000 0004 0a000207
  0137 0132 0130 023130 07696e2d61646472 c08e
    000c 8001 00000000 0002 c00c`);

/** mdns.pcap, frame 12: the probe of the same host, which asks for names and says what it would answer. */
const probe = bytesOf(`
  0000 0000 0004 0000 0006 0000
  0134 0163 0164 0134 0131 0165 0165 0166 0166 0166 0136 0164 0163 0133 0138 0138
  0135 0133 0132 0138 0163 0133 0130 0163 0165 0139 0132 0134 0132 0135 0164 0166 03697036 0461727061 00 00ff 0001
  1c 6a6f68616e6e612d51454d552d5669727475616c2d4d616368696e65 05 6c6f63616c 00 00ff 0001
  0137 0132 0130 023130 07696e2d61646472 c050 00ff 0001
  0166 0132 0138 0166 0133 0136 0135 0131 0136 0163 0162 0135 0138 0136 0139 0135 c02c 00ff 0001
  c05a 0001 0001 00000078 0004 0a000207
  c082 000c 0001 00000078 0002 c05a
  c05a 001c 0001 00000078 0010 fd52429ec03c823559685bc61563f82f
  c099 000c 0001 00000078 0002 c05a
  c05a 001c 0001 00000078 0010 fd52429ec03c8235883cd6fffee14dc4
  c00c 000c 0001 00000078 0002 c05a`);

/** home-multicast-short.pcap, frame 6 */
const castQuery = bytesOf(`
  0000 0000 0001 0000 0000 0000
  0b 5f676f6f676c6563617374 04 5f746370 05 6c6f63616c 00 000c 0001`);

/** dns-dynamic-update.pcap, frame 1: Windows registers its address, signed. */
const update = bytesOf(`
  bb50 2800 0001 0001 0003 0001
  09 53747261746f4c6162 03 6f7267 00 0006 0001                          # zone StratoLab.org SOA
  05 4e57696e32 09 53747261746f4c6162 03 6f7267 00 0005 00fe 00000000 0000   # no CNAME may be there
  c01f 001c 00ff 00000000 0000                                          # all AAAA go
  c01f 0001 00ff 00000000 0000                                          # all A go
  c01f 0001 0001 000004b0 0004 c0a8016a                                 # this A comes
  09 313036382d6d732d37 0b 3332382d32663032363464
  24 37613934363362382d623130392d313165642d323661332d303830303237663232306535 00
    00fa 00ff 00000000 0036 086773732d7473696700 000063f4163c 8ca0 001c
    040404ffffffffff000000000677093930fb1c81196247ff4899884f bb50 0000 0000`);

/** dns-dynamic-update.pcap, frame 4: another one taken, without a signature. */
const updateResponse = bytesOf(`
  ef07 a800 0001 0001 0003 0000
  09 53747261746f4c6162 03 6f7267 00 0006 0001
  05 4e57696e31 09 53747261746f4c6162 03 6f7267 00 0005 00fe 00000000 0000
  c01f 001c 00ff 00000000 0000  c01f 0001 00ff 00000000 0000
  c01f 0001 0001 000004b0 0004 c0a80169`);

/** What a sleeping host hands to its proxy: service, host, and in OPT for how long and how to wake it. */
const services: DnsRecord[] = [
  record('_ssh._tcp.local', 4500, { kind: 'ptr', target: 'Büro\\032\\.2._ssh._tcp.local' }),
  record(
    'Büro\\032\\.2._ssh._tcp.local',
    120,
    { kind: 'srv', priority: 0, weight: 5, port: 22, target: 'buero.local' },
    true,
  ),
  record(
    'Büro\\032\\.2._ssh._tcp.local',
    4500,
    { kind: 'txt', strings: [encodeUtf8('a=1'), bytesOf('ff00')] },
    true,
  ),
  record('buero.local', 120, { kind: 'a', address: bytesOf('c0a80002') }, true),
  record('buero.local', 120, { kind: 'nsec', nextName: 'buero.local', types: [1, 28] }, true),
];

function record<T>(name: string, timeToLive: number, data: T, cacheFlush = false) {
  return { name, class: dnsClass.internet, cacheFlush, timeToLive, ...data };
}

test('multicast DNS queries, goodbyes and probes come out byte for byte (mdns.pcap)', () => {
  const query = checkCodec(codec, printersQuery);
  const ask = { type: dnsType.ptr, class: dnsClass.internet, unicastResponse: false };
  assert.equal(query, {
    ...emptyQuery,
    questions: [
      { name: '_ipp._tcp.local', ...ask },
      { name: '_ipps._tcp.local', ...ask },
    ],
  });
  assert.equal(checkCodec(codec, castQuery), {
    ...emptyQuery,
    questions: [{ name: '_googlecast._tcp.local', ...ask }],
  });
  const host = 'johanna-QEMU-Virtual-Machine.local';
  const bye = checkCodec(codec, goodbye) as DnsQuery;
  assert.ok(bye.isResponse && bye.authoritative);
  assert.equal(
    bye.answers[0],
    record(host, 0, { kind: 'aaaa', address: bytesOf('fd52429ec03c8235883cd6fffee14dc4') }, true),
  );
  assert.equal(bye.answers[5], record('7.2.0.10.in-addr.arpa', 0, { kind: 'ptr', target: host }, true));
  const probing = checkCodec(codec, probe) as DnsQuery;
  assert.equal(probing.questions[1], { ...ask, name: host, type: dnsType.any });
  assert.equal(probing.authorities[0], record(host, 120, { kind: 'a', address: bytesOf('0a000207') }));
  assert.is(probing.authorities.length, 6);
  assert.equal([dnsPort, mdnsPort], [53, 5353]);
  for (const group of [...mdnsGroups, ...llmnrGroups]) assert.ok(parseAddress(group), group);
});

test('the top bit of a class is QU in a question and cache flush in a record (RFC 6762 §5.4, §10.2)', () => {
  const bytes = patched(castQuery, castQuery.length - 2, 0x80);
  const query = checkCodec(codec, bytes) as DnsQuery;
  assert.equal(query.questions[0], {
    name: '_googlecast._tcp.local',
    type: dnsType.ptr,
    class: 1,
    unicastResponse: true,
  });
});

test('a dynamic update has sections of its own and keeps a signature raw (dns-dynamic-update.pcap)', () => {
  const value = parsed(update) as DnsUpdate;
  const name = 'NWin2.StratoLab.org';
  const absent = { kind: 'raw', data: new Uint8Array(0) };
  assert.equal(
    { ...value, additionals: [] },
    {
      kind: 'update',
      identification: 0xbb50,
      ...flags,
      zones: [{ name: 'StratoLab.org', type: dnsType.soa, class: dnsClass.internet, unicastResponse: false }],
      prerequisites: [{ ...record(name, 0, { ...absent, type: dnsType.cname }), class: dnsClass.none }],
      updates: [
        { ...record(name, 0, { ...absent, type: dnsType.aaaa }), class: dnsClass.any },
        { ...record(name, 0, { ...absent, type: dnsType.a }), class: dnsClass.any },
        record(name, 1200, { kind: 'a', address: bytesOf('c0a8016a') }),
      ],
      additionals: [],
    },
  );
  const [signature] = value.additionals as DnsDataRecord[];
  assert.is(signature.name, '1068-ms-7.328-2f0264d.7a9463b8-b109-11ed-26a3-080027f220e5');
  assert.is(signature.kind === 'raw' && signature.type, dnsType.tsig);
  checkMirror(codec, value);
  const taken = parsed(updateResponse) as DnsUpdate;
  assert.equal([taken.isResponse, taken.responseCode], [true, 0]);
  checkMirror(codec, taken);
  // Frame 2 repeats frame 1 with other flags: refused.
  assert.equal(parsed(patched(update, 2, 0xa8, 0x05)), { ...value, isResponse: true, responseCode: 5 });
  for (const vector of [update, updateResponse])
    for (let length = 0; length < vector.length; length++)
      assert.is(refusal(codec, vector.subarray(0, length)), 'truncated', `${length}`);
});

test('compression is that of the example in RFC 1035 §4.1.4', () => {
  const names = ['F.ISI.ARPA', 'FOO.F.ISI.ARPA', 'ARPA', '.'];
  const value = {
    ...emptyQuery,
    answers: names.map(name => record(name, 0, { kind: 'raw' as const, type: 65280, data: bytesOf('') })),
  };
  const rest = 'ff00 0001 00000000 0000';
  assert.equal(
    emitted(codec, value),
    bytesOf(`0000 0000 0000 0004 0000 0000
      01 46 03 495349 04 41525041 00 ${rest}          # at 12; ARPA at 18
      03 464f4f c00c ${rest}
      c012 ${rest}
      00 ${rest}`),
  );
  checkMirror(codec, value);
});

test('every type of RFC 1035 has its names read through compression and written with it', () => {
  const example = '07 6578616d706c65 03 636f6d 00';
  const vector = bytesOf(`
    0001 8180 0001 0006 0000 0000
    ${example} 0006 0001                                                # at 12
    c00c 0006 0001 00000e10 0026 026e73 c00c 0a 686f73746d6173746572 c00c 00000001 00000002 00000003 00000004 00000005
    c00c 000f 0001 00000e10 0009 000a 04 6d61696c c00c
    c00c 000d 0001 00000e10 000a 03 41524d 05 4c494e5558
    c00c 000e 0001 00000e10 0004 c00c c00c
    c00c 0002 0001 00000e10 0002 c029
    c00c 0010 0001 00000e10 0005 00 03 613d31`);
  const value = checkCodec(codec, vector) as DnsQuery;
  assert.equal(
    value.answers,
    [
      {
        kind: 'soa',
        primaryServer: 'ns.example.com',
        responsibleMailbox: 'hostmaster.example.com',
        serial: 1,
        refreshSeconds: 2,
        retrySeconds: 3,
        expireSeconds: 4,
        minimumSeconds: 5,
      },
      { kind: 'mx', preference: 10, exchange: 'mail.example.com' },
      { kind: 'hinfo', cpu: encodeUtf8('ARM'), operatingSystem: encodeUtf8('LINUX') },
      { kind: 'minfo', responsibleMailbox: 'example.com', errorMailbox: 'example.com' },
      { kind: 'ns', target: 'ns.example.com' },
      { kind: 'txt', strings: [bytesOf(''), encodeUtf8('a=1')] },
    ].map(data => record('example.com', 3600, data)),
  );
  assert.ok(value.recursionDesired && value.recursionAvailable && value.isResponse && !value.authoritative);
  const bits: Dns = {
    ...emptyQuery,
    truncated: true,
    authenticData: true,
    checkingDisabled: true,
    responseCode: 15,
    operation: 15,
  };
  assert.equal(emitted(codec, bits).subarray(2, 4), bytesOf('7a3f'));
  checkMirror(codec, bits);
});

test('a service with SRV, TXT and NSEC mirrors, with SRV and NSEC written uncompressed (RFC 2782, RFC 4034 §4.1.1)', () => {
  const value: Dns = {
    ...emptyQuery,
    isResponse: true,
    authoritative: true,
    answers: services.slice(0, 1),
    additionals: services.slice(1),
  };
  checkMirror(codec, value);
  const bytes = formatHex(emitted(codec, value));
  assert.ok(bytes.includes('00000005001605627565726f056c6f63616c00'), 'SRV');
  assert.ok(bytes.includes('0842c3bc726f202e32'), 'the label "Büro .2"');
  // A receiver takes the compressed form too.
  const compressed = bytesOf(`0000 8400 0000 0001 0000 0000
    05 6c6f63616c 00 0021 8001 00000078 000c 0000 0000 0016 03 626f78 c00c`);
  assert.equal(
    (parsed(compressed) as DnsQuery).answers[0],
    record('local', 120, { kind: 'srv', priority: 0, weight: 0, port: 22, target: 'box.local' }, true),
  );
});

test('NSEC type bit maps are those of the example in RFC 4034 §4.3', () => {
  const data = `04 686f7374 07 6578616d706c65 03 636f6d 00  00 06 400100000003  04 1b ${'00'.repeat(26)} 20`;
  const value = answer(dnsType.nsec, data);
  assert.equal(
    value,
    record('.', 60, { kind: 'nsec', nextName: 'host.example.com', types: [1, 15, 46, 47, 1234] }),
  );
  checkCodec(codec, answerOf(dnsType.nsec, data));
  for (const map of ['00 00', '01 01 40 00 01 40', '00 01 40 00 01 20', `00 21 ${'00'.repeat(32)}01`])
    assert.is(refusal(codec, answerOf(dnsType.nsec, `00 ${map}`)), 'bad-value', map);
  assert.is(refusal(codec, answerOf(dnsType.nsec, `00 00 09 ${'ff'.repeat(9)}`)), 'too-many');
});

/** A message with one OPT record of these options. */
function optOf(options: string): Uint8Array {
  const bytes = bytesOf(options);
  return concatBytes([
    bytesOf('0000 0000 0000 0000 0000 0001 00 0029 05a0 12 00 8000'),
    new Uint8Array([bytes.length >> 8, bytes.length]),
    bytes,
  ]);
}

test('OPT carries size, extended code, DNSSEC bit, and the options of a sleep proxy (RFC 6891 §6.1)', () => {
  const mac = bytesOf('3c22fb010203');
  const wakeup = bytesOf('3c22fb010204');
  const owner = {
    kind: 'owner' as const,
    sequence: 7,
    primaryMac: mac,
    wakeupMac: mac,
    password: bytesOf(''),
  };
  const cases: [string, EdnsOption][] = [
    ['0004 0008 00 07 3c22fb010203', owner],
    ['0004 000e 00 07 3c22fb010203 3c22fb010204', { ...owner, wakeupMac: wakeup }],
    ['0004 0012 00 07 3c22fb010203 3c22fb010203 01020304', { ...owner, password: bytesOf('01020304') }],
    [
      '0004 0014 00 07 3c22fb010203 3c22fb010204 010203040506',
      { ...owner, wakeupMac: wakeup, password: bytesOf('010203040506') },
    ],
    ['0004 0008 01 07 3c22fb010203', { kind: 'raw', code: 4, data: bytesOf('01073c22fb010203') }],
    ['0002 0004 00001c20', { kind: 'update-lease', leaseSeconds: 7200 }],
    ['0002 0008 00001c20 00093a80', { kind: 'update-lease', leaseSeconds: 7200, keyLeaseSeconds: 604_800 }],
    ['000a 0008 0102030405060708', { kind: 'raw', code: 10, data: bytesOf('0102030405060708') }],
  ];
  for (const [bytes, option] of cases) {
    const value = checkCodec(codec, optOf(bytes));
    assert.equal(value.additionals, [
      {
        kind: 'opt',
        udpPayloadSizeBytes: 1440,
        extendedResponseCode: 18,
        version: 0,
        dnssecOk: true,
        options: [option],
      },
    ]);
  }
  checkCodec(codec, optOf(cases.map(([bytes]) => bytes).join('')));
  // The long form of a wakeup MAC that is the primary one means the same.
  const long = parsed(optOf('0004 000e 00 07 3c22fb010203 3c22fb010203'));
  assert.equal(long, parsed(optOf(cases[0][0])));
  for (const option of [
    '0002 0003 000000',
    '0002 0005 0000000000',
    '0004 0000',
    '0004 0007 00073c22fb0102',
    `0004 0010 0007 ${'01'.repeat(14)}`,
  ])
    assert.is(refusal(codec, optOf(option)), 'bad-option', option);
  assert.is(refusal(codec, optOf('0002 0004 0000')), 'bad-length');
  assert.is(refusal(codec, optOf('000a0000'.repeat(dnsListLimit + 1))), 'too-many');
});

test('OPT has the root as its name, and there is one, among the additionals', () => {
  const opt = '00 0029 0200 00000000 0000';
  assert.is(refusal(codec, bytesOf(`0000 0000 0000 0000 0000 0002 ${opt} ${opt}`)), 'bad-value');
  assert.is(refusal(codec, bytesOf(`0000 0000 0000 0001 0000 0000 ${opt}`)), 'bad-value');
  assert.is(refusal(codec, bytesOf(`0000 0000 0000 0000 0001 0000 ${opt}`)), 'bad-value');
  assert.is(refusal(codec, bytesOf(`0000 0000 0000 0000 0000 0001 0161${opt}`)), 'bad-name');
});

/** A query whose first question, at 12, has this name. */
function questionOf(name: string): Uint8Array {
  return bytesOf(`0000 0000 0001 0000 0000 0000 ${name} 0001 0001`);
}

test('pointers forward, at themselves, in a circle or into the header are refused', () => {
  assert.is(refusal(codec, questionOf('c00c')), 'bad-pointer');
  assert.is(refusal(codec, questionOf('c00e')), 'bad-pointer');
  assert.is(refusal(codec, questionOf('ffff')), 'bad-pointer');
  assert.is(refusal(codec, questionOf('0161 c00c')), 'bad-pointer');
  assert.is(refusal(codec, questionOf('c000')), 'bad-pointer');
  assert.is(refusal(codec, questionOf('c00b')), 'bad-pointer');
  // The second name's label leads back, and from there on into the second name again.
  const circle = bytesOf('0000 0000 0002 0000 0000 0000  0161 c010 0001 0001  0162 c00c 0001 0001');
  assert.is(refusal(codec, circle), 'bad-pointer');
  const intoItself = bytesOf('0000 0000 0002 0000 0000 0000  00 0001 0001  0162 c011 0001 0001');
  assert.is(refusal(codec, intoItself), 'bad-pointer');
  // Back, but to labels that only end behind the pointer.
  const runsIn = bytesOf(`0000 8000 0000 0002 0000 0000
    00 ff00 0001 00000000 0001 03  c017 ff00 0001 00000000 0000`);
  assert.is(refusal(codec, runsIn), 'bad-pointer');
});

test('a long chain of pointers is read as far as a name may be long, in one pass', () => {
  const deep = parsed(chain(126)) as DnsQuery;
  assert.is((deep.answers[126] as DnsDataRecord).name, Array(127).fill('a').join('.'));
  checkMirror(codec, deep);
  assert.is(refusal(codec, chain(127)), 'bad-name');
});

/** A response of `count` + 1 answers, the name of each one label before a pointer to the name before. */
function chain(count: number): Uint8Array {
  const rest = bytesOf('ff00 0001 00000000 0000');
  const parts = [new Uint8Array([0, 0, 0x80, 0, 0, 0, 0, count + 1, 0, 0, 0, 0, 1, 97, 0]), rest];
  let at = 12;
  for (let i = 0; i < count; i++) {
    parts.push(new Uint8Array([1, 97, 0xc0 | (at >> 8), at]), rest);
    at += i === 0 ? 13 : 14;
  }
  return concatBytes(parts);
}

test('names of 255 bytes and labels of 63 are the longest, and only labels and pointers are names', () => {
  const label = `3f ${'61'.repeat(63)}`;
  const longest = `${label.repeat(3)} 3d ${'61'.repeat(61)} 00`;
  assert.is((checkCodec(codec, questionOf(longest)) as DnsQuery).questions[0].name.length, 253);
  assert.is(refusal(codec, questionOf(`${label.repeat(3)} 3e ${'61'.repeat(62)} 00`)), 'bad-name');
  for (const first of ['40', '7f', '80', 'bf'])
    assert.is(refusal(codec, questionOf(`${first} ${'61'.repeat(200)} 00`)), 'bad-name');
  assert.is(refusal(codec, questionOf(`${label.repeat(3)} 3d ${'61'.repeat(61)} 0161 00`)), 'bad-name');
});

test('names are text with the escapes of RFC 1035 §5.1, and UTF-8 where the bytes are', () => {
  const cases: [string, string][] = [
    ['00', '.'],
    ['0161 0162 00', 'a.b'],
    ['03 612e62 00', 'a\\.b'],
    ['03 615c62 00', 'a\\\\b'],
    ['04 61206200 00', 'a\\032b\\000'],
    ['03 c3bc7f 00', 'ü\\127'],
    ['04 f09f8fa0 00', '🏠'],
    ['02 fc61 02 c3bc 00', '\\252a.ü'],
    ['02 4142 00', 'AB'],
  ];
  for (const [bytes, text] of cases) {
    const wire = bytesOf(bytes);
    assert.equal(parseDnsName(wire, 0, 0, wire.length), {
      ok: true,
      value: { name: text, next: wire.length },
    });
    assert.equal(encodeDnsName(text), wire, text);
  }
  // Escapes nobody needs are understood.
  assert.equal(encodeDnsName('\\a\\098.\\"\\ü'), bytesOf('02 6162 03 22c3bc 00'));
  for (const text of [
    '',
    'a.',
    '.a',
    'a..b',
    '..',
    'a\\',
    'a\\1',
    'a\\12',
    'a\\256',
    'a\\1x2',
    'a'.repeat(64),
    'ü'.repeat(32),
    Array(128).fill('a').join('.'),
  ])
    assert.is(encodeDnsName(text), undefined, text);
  assert.throws(
    () =>
      dnsLength({ ...emptyQuery, questions: [{ name: 'a..b', type: 1, class: 1, unicastResponse: false }] }),
    /name: expected/,
  );
});

test('data that is shorter or longer than its type is refused, and so is anything after the last record', () => {
  const malformed: [number, string][] = [
    [dnsType.a, '0102030405'],
    [dnsType.a, '010203'],
    [dnsType.aaaa, '01020304'],
    [dnsType.ptr, '0161'],
    [dnsType.ptr, '00 00'],
    [dnsType.txt, '02 61'],
    [dnsType.hinfo, '01 61'],
    [dnsType.srv, '0000 0000 0016'],
    [dnsType.mx, '00'],
    [dnsType.soa, '00 00 00000001 00000002 00000003 00000004 000000'],
    [dnsType.nsec, '00 00 02 40'],
  ];
  for (const [type, data] of malformed)
    assert.is(refusal(codec, answerOf(type, data)), 'bad-length', `${type}: ${data}`);
  assert.is(refusal(codec, concatBytes([castQuery, bytesOf('00')])), 'bad-length');
  assert.is(refusal(codec, answerOf(dnsType.txt, '00'.repeat(dnsListLimit + 1))), 'too-many');
  assert.is(refusal(codec, answerOf(dnsType.txt, '00'.repeat(dnsListLimit))), 'ok');
});

test('sections with more entries than the limits are refused before they are read', () => {
  const question = '00 0001 0001';
  const entry = '00 ff00 0001 00000000 0000';
  const hex = (count: number) => count.toString(16).padStart(4, '0');
  const message = (questions: number, answers: number, additionals: number) =>
    bytesOf(
      `0000 0000 ${hex(questions)} ${hex(answers)} 0000 ${hex(additionals)} ${question.repeat(questions)} ${entry.repeat(answers + additionals)}`,
    );
  assert.is(refusal(codec, message(dnsQuestionLimit, dnsRecordLimit - 1, 1)), 'ok');
  assert.is(refusal(codec, message(dnsQuestionLimit + 1, 0, 0)), 'too-many');
  assert.is(refusal(codec, message(0, dnsRecordLimit, 1)), 'too-many');
  assert.is(refusal(codec, bytesOf('0000 0000 ffff ffff ffff ffff')), 'too-many');
});

test('names that pointers multiply are refused beyond a number of characters', () => {
  // 65 characters at 12, and then only pointers there.
  const message = (records: number) =>
    bytesOf(`0000 8000 0001 00${records.toString(16).padStart(2, '0')} 0000 0000
      3f ${'61'.repeat(63)} 0161 00 0001 0001 ${'c00c 0002 0001 00000000 0002 c00c'.repeat(records)}`);
  const most = Math.floor((dnsNamesLimit / 65 - 1) / 2);
  assert.is(refusal(codec, message(most)), 'ok');
  assert.is(refusal(codec, message(most + 1)), 'too-many');
});

test('pointers stop where 14 bits do', () => {
  const big = { kind: 'raw' as const, type: 65280, data: new Uint8Array(16_384) };
  const answers = [
    record('a.local', 1, big),
    record('b.far', 1, big),
    record('c.far', 1, big),
    record('d.local', 1, big),
  ];
  const bytes = emitted(codec, { ...emptyQuery, answers }, 80_000);
  const back = parsed(bytes) as DnsQuery;
  assert.equal(
    back.answers.map(entry => (entry as DnsDataRecord).name),
    ['a.local', 'b.far', 'c.far', 'd.local'],
  );
  // header, four records' fixed parts and data, names: whole, whole (out of reach), whole, one label and a pointer
  assert.is(bytes.length, 12 + 4 * (10 + 16_384) + 9 + 7 + 7 + 4);
});

/** llmnr-udp.pcap, frame 2; the answer repeats the name in capitals, so it is not compressed. */
const llmnrResponse = bytesOf(`
  c341 8000 0001 0001 0000 0000
  06 687332303131 00 0001 0001
  06 485332303131 00 0001 0001 0000001e 0004 c0a80a65`);

test('LLMNR: a question and its answer go both ways, with their own flags (llmnr-udp.pcap; RFC 4795 §2.1.1)', () => {
  const question = { name: 'hs2011', type: dnsType.a, class: dnsClass.internet, unicastResponse: false };
  assert.equal(
    checkCodec(llmnrCodec, bytesOf('c341 0000 0001 0000 0000 0000 06 687332303131 00 0001 0001')),
    {
      identification: 0xc341,
      isResponse: false,
      conflict: false,
      truncated: false,
      tentative: false,
      responseCode: 0,
      question,
      answers: [],
      authorities: [],
      additionals: [],
    },
  );
  const response = checkCodec(llmnrCodec, llmnrResponse);
  assert.equal(response.answers, [record('HS2011', 30, { kind: 'a', address: bytesOf('c0a80a65') })]);
  for (const [high, low, name] of [
    [0x84, 0, 'conflict'],
    [0x82, 0, 'truncated'],
    [0x81, 0, 'tentative'],
  ] as const)
    assert.is(checkCodec(llmnrCodec, patched(llmnrResponse, 2, high, low))[name], true);
  // Reserved bits are ignored.
  const reserved = patched(llmnrResponse, 2, 0x80, 0xf0);
  assert.equal(llmnrCodec.parse(reserved, 0, reserved.length), { ok: true, value: response });
  assert.is(llmnrPort, 5355);
});

test('LLMNR: what RFC 4795 §2.1.1 has discarded is refused', () => {
  const query = 'c341 0000 0001 0000 0000 0000 00 0001 0001';
  assert.is(refusal(llmnrCodec, patched(bytesOf(query), 2, 0x28)), 'bad-type');
  assert.is(refusal(llmnrCodec, patched(bytesOf(query), 3, 1)), 'bad-value');
  assert.is(refusal(llmnrCodec, bytesOf('c341 0000 0000 0000 0000 0000')), 'bad-value');
  assert.is(
    refusal(llmnrCodec, bytesOf('c341 0000 0002 0000 0000 0000 00 0001 0001 00 0001 0001')),
    'bad-value',
  );
  assert.is(refusal(llmnrCodec, patched(llmnrResponse, 2, 0)), 'bad-value');
});

test('no mutation throws, and whatever parses mirrors', () => {
  const service = emitted(codec, { ...emptyQuery, isResponse: true, answers: services });
  const sleeper = optOf('0004 0014 00 07 3c22fb010203 3c22fb010204 010203040506 0002 0008 00001c20 00093a80');
  checkMutations(
    codec,
    [printersQuery, goodbye, probe, castQuery, update, updateResponse, service, sleeper],
    6,
    4000,
  );
  checkMutations(llmnrCodec, [llmnrResponse], 7, 1000);
});

test.run();
