import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  concatBytes,
  copyBytes,
  encodeUtf8,
  formatHex,
  numberBytes,
  parseHex,
} from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { learnFrom } from '../../agent/power-proxy/learn.js';
import { Profile } from '../../agent/power-proxy/profile.js';
import { udpFrame } from '../../agent/power-proxy/respond/frame.js';
import { respondSnmp } from '../../agent/power-proxy/respond/snmp.js';
import type { Served } from '../../agent/power-proxy/responder.js';
import { Headers } from '../../agent/wire/headers.js';
import { needs } from '../support/needs.js';
import {
  askerAddress,
  askerMac,
  askNow,
  hex,
  hostAddress,
  hostMac,
  ip,
  layersOf,
  plainHost,
  repaired,
} from './respond-asking.js';
import { toAll, toHost } from './respond-subjects.js';
import { readByTshark } from './tshark.js';

/** 1.3.6.1.2.1.1.3.0 (RFC 3418 §2). */
const sysUpTime = '2b06010201010300';
const community = encodeUtf8('public');
const host: Served = { ...plainHost, snmp: { community, ticks: 100, at: 5000 } };

/** One element, its length in `lengthBytes` bytes. */
function ber(tag: number, contents: readonly Uint8Array[], lengthBytes = 1): Uint8Array {
  const { length } = concatBytes(contents);
  const zeros = Array(lengthBytes - 1).fill(0);
  const head = lengthBytes === 1 ? [tag, length] : [tag, 0x80 | lengthBytes, ...zeros, length];
  return concatBytes([new Uint8Array(head), ...contents]);
}

const int = (...bytes: number[]) => ber(0x02, [new Uint8Array(bytes)]);
const variable = (name = sysUpTime, value = ber(0x05, [])) =>
  ber(0x30, [ber(0x06, [parseHex(name)!]), value]);

function message({
  version = int(1),
  name = community,
  tag = 0xa0,
  requestId = int(0x12, 0x34, 0x56, 0x78),
  errorStatus = int(0),
  variables = [variable()],
  lengthBytes = 1,
} = {}): Uint8Array {
  const list = ber(0x30, variables, lengthBytes);
  const pdu = ber(tag, [requestId, errorStatus, int(0), list], lengthBytes);
  return ber(0x30, [version, ber(0x04, [name]), pdu], lengthBytes);
}

const asked = {
  srcAddress: askerAddress,
  dstAddress: hostAddress,
  srcPort: 40_000,
  dstPort: 161,
  timeToLive: 64,
};
const question = (payload: Uint8Array, parts = asked, way = toHost) => udpFrame(way, parts, payload);
const ask = (payload: Uint8Array, { served = host, now = 5000 } = {}) =>
  askNow({ respond: respondSnmp }, question(payload), served, { now });

/** The UDP payload of the one answer, as hex. */
function answerTo(payload: Uint8Array, options: { served?: Served; now?: number } = {}): string {
  const { verdict, answers } = ask(payload, options);
  assert.is(verdict, 'answered', formatHex(payload));
  assert.is(answers.length, 1);
  // biome-ignore lint/suspicious/noExplicitAny: layers are records of anything
  const { udp, ipv4, ethernet } = layersOf(answers[0]) as any;
  assert.equal([udp.srcPort, udp.dstPort], [161, 40_000]);
  assert.equal([ipv4.srcAddress, ipv4.dstAddress].map(hex), [hostAddress, askerAddress].map(hex));
  assert.is(hex(ethernet.dstMac), hex(askerMac));
  return formatHex(answers[0].subarray(14 + 20 + 8));
}

test('a GetRequest for sysUpTime.0 gets what the host told and what has passed since, in versions 1 and 2c', () => {
  const expected = (version: string, ticks: string, length: number) =>
    `30${(0x28 + length).toString(16)}0201${version}0406${formatHex(community)}` +
    `a2${(0x1b + length).toString(16)}020412345678020100020100` +
    `30${formatHex(numberBytes(0x0d + length, 1))}30${formatHex(numberBytes(0x0b + length, 1))}0608${sysUpTime}43${ticks}`;
  assert.is(answerTo(message({ version: int(0) })), expected('00', '0164', 2));
  assert.is(answerTo(message()), expected('01', '0164', 2));
  // 128 needs a zero before it.
  assert.is(answerTo(message(), { now: 5280 }), expected('01', '020080', 3));
  assert.is(answerTo(message(), { now: 5289 }), expected('01', '020080', 3));
});

test('the time runs over after 2^32 hundredths of a second', () => {
  const served = { ...host, snmp: { community, ticks: 0xffffffff, at: 0 } };
  assert.match(answerTo(message(), { served, now: 0 }), /430500ffffffff$/);
  assert.match(answerTo(message(), { served, now: 10 }), /430100$/);
});

test('lengths in more bytes than they need are read, as RFC 3417 §8 has it', () => {
  assert.is(answerTo(message({ lengthBytes: 3 })), answerTo(message()));
});

test('nothing is answered but the one question, with the community the host answered', () => {
  const other = '2b06010201010100';
  const refused: readonly (readonly [string, string, Uint8Array])[] = [
    ['another community', 'not-ours', message({ name: encodeUtf8('private') })],
    ['version 3', 'not-a-question', message({ version: int(3) })],
    ['GetNextRequest', 'not-a-question', message({ tag: 0xa1 })],
    ['SetRequest', 'not-a-question', message({ tag: 0xa3 })],
    [
      'a response',
      'not-a-question',
      message({ tag: 0xa2, variables: [variable(sysUpTime, ber(0x43, [new Uint8Array([1])]))] }),
    ],
    ['another variable', 'not-a-question', message({ variables: [variable(other)] })],
    ['two variables', 'not-a-question', message({ variables: [variable(), variable(other)] })],
    ['no variable', 'not-a-question', message({ variables: [] })],
    [
      'a value',
      'not-a-question',
      message({ variables: [variable(sysUpTime, ber(0x43, [new Uint8Array([1])]))] }),
    ],
    ['an integer of 5 bytes', 'malformed', message({ requestId: int(1, 2, 3, 4, 5) })],
    ['an integer with a needless zero', 'malformed', message({ requestId: int(0, 1) })],
    ['an integer of no bytes', 'malformed', message({ requestId: int() })],
    [
      'NULL with a value',
      'malformed',
      message({ variables: [variable(sysUpTime, ber(0x05, [new Uint8Array(1)]))] }),
    ],
    ['bytes after the message', 'malformed', concatBytes([message(), new Uint8Array(1)])],
    [
      'the indefinite form',
      'malformed',
      concatBytes([new Uint8Array([0x30, 0x80]), message().subarray(2), new Uint8Array(2)]),
    ],
    [
      'bytes after a value',
      'malformed',
      message({ variables: [ber(0x30, [variable().subarray(2), int(0)])] }),
    ],
    ['bytes after the PDU', 'malformed', ber(0x30, [message().subarray(2), int(0)])],
  ];
  for (const [what, verdict, payload] of refused) assert.equal(ask(payload), { verdict, answers: [] }, what);
  const { snmp, ...silent } = host;
  assert.is(ask(message(), { served: silent }).verdict, 'not-ours', 'an agent never heard');
  for (const [parts, way] of [
    [{ ...asked, dstAddress: ip('192.0.2.255') }, toAll],
    [{ ...asked, dstAddress: ip('192.0.2.11') }, toHost],
  ] as const) {
    const frame = question(message(), parts, way);
    assert.is(askNow({ respond: respondSnmp }, frame, host).verdict, 'not-ours', 'not to the host');
  }
});

test('an answer is no question, and teaches another proxy the same', () => {
  const [answer] = ask(message(), { now: 5280 }).answers;
  assert.is(askNow({ respond: respondSnmp }, answer, host).answers.length, 0);
  const profile = new Profile(hostMac);
  const learn = (now: number) => {
    const headers = new Headers();
    const frame = copyBytes(answer, 0, answer.length);
    assert.is(headers.scan(frame, 0, frame.length), 'ok');
    learnFrom(now, frame, headers, profile);
    frame.fill(0xa5);
  };
  learn(9000);
  assert.is(profile.snmp, undefined, 'from an address that is not known to be the host’s');
  profile.addAddress(hostAddress, 0, 4);
  learn(9000);
  assert.equal(profile.snmp, { community, ticks: 128, at: 9000 });
});

test('cut and damaged messages never throw, and none gets a wrong answer', () => {
  const seed = 20_261_121;
  const random = new Random(seed, 'snmp');
  const right = answerTo(message());
  let answered = 0;
  for (let i = 0; i < 20_000; i++) {
    const payload = message({ lengthBytes: 1 + random.below(3) });
    const cut = random.chance(0.2) ? payload.subarray(0, random.below(payload.length)) : payload;
    const damaged = copyBytes(cut, 0, cut.length);
    for (let n = random.below(3); n > 0 && damaged.length > 0; n--)
      damaged[random.below(damaged.length)] ^= 1 << random.below(8);
    const { verdict, answers } = askNow({ respond: respondSnmp }, repaired(question(damaged)), host, {
      now: 5000,
    });
    if (verdict !== 'answered') continue;
    answered++;
    // Versions, request ids and what a request says of errors may have changed; all else is as it was.
    const got = formatHex(answers[0].subarray(14 + 20 + 8));
    assert.match(
      got,
      new RegExp(`0406${formatHex(community)}a2`),
      `seed ${seed}, case ${i}: ${formatHex(damaged)}`,
    );
    assert.ok(got.endsWith(right.slice(-30)), `seed ${seed}, case ${i}: ${formatHex(damaged)}`);
  }
  assert.ok(answered > 5000 && answered < 15_000, `seed ${seed}: ${answered} of 20000 answered`);
});

const compare = needs('tshark', 'tshark') ? test : test.skip;

compare('tshark finds nothing malformed in the answers, and reads the time from them', () => {
  const answers = [5000, 5280, 1_000_000_000].flatMap(now => ask(message(), { now }).answers);
  const read = readByTshark(answers, ['snmp.value.timeticks', 'snmp.request_id', 'snmp.community']);
  assert.equal(
    read.map(fields => fields['snmp.value.timeticks']),
    ['100', '128', '99999600'],
  );
  for (const fields of read)
    assert.equal([fields['snmp.request_id'], fields['snmp.community']], [String(0x12345678), 'public']);
});

test.run();
