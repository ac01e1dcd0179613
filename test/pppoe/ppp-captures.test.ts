/**
 * Our side of sessions recorded by others: fed the recorded peer's control packets in their order, it answers each
 * acceptably, and where its numbers are the recorded ones, with the recorded packets.
 */

import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex, readUint16 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { Entropy } from '../../agent/pppoe/authentication.js';
import { answerEcho, isEcho } from '../../agent/pppoe/echo.js';
import { type PppConfig, PppSession } from '../../agent/pppoe/ppp-session.js';
import { etherTypePppoeSession, parseEthernet } from '../../agent/wire/ethernet.js';
import { parsePpp, pppProtocol } from '../../agent/wire/ppp.js';
import { parsePppoe } from '../../agent/wire/pppoe.js';
import { CaptureReader } from '../../host-sim/capture/pcap.js';
import { capturePath } from '../support/captures.js';
import { address, clientConfig, End, ends, serverConfig, settle } from './ppp-ends.js';

interface Recorded {
  readonly number: number;
  /** The sender's MAC address. */
  readonly from: string;
  readonly protocol: number;
  readonly bytes: Uint8Array;
}

/** The PPP packets of a capture, tagged or not. */
function packetsOf(name: string): Recorded[] {
  const packets: Recorded[] = [];
  const reader = new CaptureReader(capturePath(name));
  reader.push(readFileSync(capturePath(name)));
  for (let frame = reader.next(); frame; frame = reader.next()) {
    const ethernet = parseEthernet(frame.bytes, 0, frame.bytes.length);
    assert.ok(ethernet.ok, `${name} ${frame.number}`);
    let at = 14;
    while (readUint16(frame.bytes, at - 2) === 0x8100 || readUint16(frame.bytes, at - 2) === 0x88a8) at += 4;
    if (readUint16(frame.bytes, at - 2) !== etherTypePppoeSession) continue;
    const pppoe = parsePppoe(frame.bytes, at, frame.bytes.length);
    assert.ok(pppoe.ok, `${name} ${frame.number}`);
    const ppp = parsePpp(pppoe.value.payload, 0, pppoe.value.payload.length);
    assert.ok(ppp.ok, `${name} ${frame.number}`);
    const from = formatHex(ethernet.value.srcMac);
    packets.push({ number: frame.number, from, protocol: ppp.value.protocol, bytes: ppp.value.payload });
  }
  return packets;
}

const subscriber = 'cc050e880000';
const concentrator = 'ca010e880006';

/** First these numbers, then any. */
function numbers(...first: number[]): Entropy {
  const random = new Random(1, 'numbers');
  return { uint32: () => first.shift() ?? random.uint32() };
}

const recordedConfig: Partial<PppConfig> = { echoIntervalMs: 0, echoFailures: 3, authentication: ['pap'] };

/** Everything an end has sent, as protocol and hex. */
function sentBy(end: End): string[] {
  return end.sent.splice(0).map(sent => `${sent.protocol.toString(16)} ${formatHex(sent.bytes)}`);
}

function isControl({ protocol }: Recorded): boolean {
  return protocol >= 0x8000;
}

/** What an end answers to each recorded packet of the other side, by the frame's number. */
function replay(end: End, other: string): Map<number, string[]> {
  end.session.open(0);
  const answers = new Map([[0, sentBy(end)]]);
  let now = 0;
  for (const packet of packetsOf('pppoe.pcap')) {
    if (packet.from !== other || !isControl(packet)) continue;
    end.receive(++now, packet);
    answers.set(packet.number, sentBy(end));
  }
  return answers;
}

test('pppoe.pcap: our access concentrator, fed the recorded subscriber, opens as the recorded one did', () => {
  const end = new End({ ...serverConfig, ...recordedConfig, mru: 1500 }, numbers(0x01fccbfb));
  end.judge = credentials => {
    assert.ok(credentials.method === 'pap');
    assert.equal([credentials.user, credentials.password], [encodeUtf8('cisco'), encodeUtf8('cisco')]);
    return { ok: true, ipv4: { local: address('10.0.0.1'), peer: address('10.0.2.16') } };
  };
  const answers = replay(end, subscriber);
  assert.equal(answers.get(5), ['c021 0201000a050605fcd459'], 'frame 7: Ack of its magic number');
  assert.equal(answers.get(8), ['c021 01020012010405dc0304c023050601fccbfb'], 'frame 9: the MRU it wants');
  assert.equal(answers.get(10), [], 'frame 10 opens LCP');
  assert.equal(answers.get(11)?.[0], 'c023 0201000500', 'frame 12: PAP Ack');
  assert.ok(answers.get(11)?.includes('8021 0101000a03060a000001'), 'frame 13: our address');
  assert.equal(answers.get(15), ['8021 0301000a03060a000210'], 'frame 19: Nak with its address');
  assert.equal(answers.get(16), ['8057 0201000e010ace050efffe880000'], 'frame 20: Ack of its identifier');
  assert.equal(answers.get(21), ['8021 0202000a03060a000210'], 'frame 27: Ack of the address');
  assert.equal(answers.get(28), ['c021 0a01000c01fccbfb01fccbfb'], 'frame 29: Echo-Reply');
  assert.is(end.counters.get('dropped.phase'), 0);
  assert.ok(end.kinds.includes('ipv4-up') && end.up);
});

test('pppoe.pcap: our subscriber, fed the recorded access concentrator, opens as the recorded one did', () => {
  const account = { user: encodeUtf8('cisco'), secret: encodeUtf8('cisco') };
  const config = { ...clientConfig, ...recordedConfig, ...account, mru: 1500, askDns: false };
  const end = new End(config, numbers(0x05fcd459, 0xcc050eff, 0xfe880000));
  const answers = replay(end, concentrator);
  assert.equal(answers.get(0), ['c021 0101000a050605fcd459'], 'frame 5');
  // The recorded subscriber insisted on an MRU of 1500 here; ours takes 1492.
  assert.equal(answers.get(6), ['c021 02010012010405d40304c023050601fccbfb']);
  assert.equal(answers.get(7)?.[0], 'c023 0101001005636973636f05636973636f', 'frame 11: PAP request');
  assert.ok(
    answers.get(9)?.includes('c021 02020012010405dc0304c023050601fccbfb'),
    'frame 10: Ack of the second',
  );
  assert.ok(answers.get(9)?.includes('c021 0102000a050605fcd459'), 'an open LCP begins anew (RFC 1661 §4.1)');
  assert.equal(end.kinds, [], 'and the recorded subscriber had no second request to be acknowledged');
});

test('pppoe.pcap: our subscriber comes up on what the access concentrator said, its second request left out', () => {
  const account = { user: encodeUtf8('cisco'), secret: encodeUtf8('cisco') };
  const config = { ...clientConfig, ...recordedConfig, ...account, mru: 1500, askDns: false };
  const end = new End(config, numbers(0x05fcd459, 0xcc050eff, 0xfe880000));
  end.session.open(0);
  sentBy(end);
  const answers = new Map<number, string[]>();
  for (const packet of packetsOf('pppoe.pcap')) {
    if (packet.from !== concentrator || !isControl(packet) || packet.number === 9) continue;
    end.receive(packet.number, packet);
    answers.set(packet.number, sentBy(end));
  }
  assert.ok(answers.get(12)?.includes('8021 0101000a030600000000'), 'frame 15: asks for an address');
  assert.ok(answers.get(12)?.includes('8057 0101000e010acc050efffe880000'), 'an identifier, not universal');
  assert.equal(answers.get(13), ['8021 0201000a03060a000001'], 'frame 17: Ack of its address');
  assert.equal(answers.get(14), ['8057 0201000e010ac8010efffe880008'], 'frame 18: Ack of its identifier');
  assert.equal(answers.get(19), ['8021 0102000a03060a000210'], 'frame 21: takes the address given');
  assert.equal(
    end.events.find(event => event.kind === 'ipv4-up'),
    { kind: 'ipv4-up', local: address('10.0.2.16'), peer: address('10.0.0.1'), dns: [], nbns: [] },
  );
  for (const packet of packetsOf('pppoe.pcap')) {
    if (packet.from !== concentrator || packet.protocol !== pppProtocol.lcp || packet.bytes[0] !== 9)
      continue;
    const [reply] = answers.get(packet.number)!;
    assert.match(
      reply,
      new RegExp(`^c021 0a${formatHex(packet.bytes.subarray(1, 4))}05fcd459`),
      'Echo-Reply',
    );
  }
});

test('pppoes.pcap: echoes of sessions put away are answered in place, with our magic number and the data as it was', () => {
  const echoes = packetsOf('pppoes.pcap');
  assert.is(echoes.length, 2);
  for (const { protocol, bytes } of echoes) {
    assert.is(isEcho(protocol, bytes, 0, bytes.length), 'request');
    const answered = Uint8Array.from(bytes);
    answerEcho(answered, 0, 0x01fccbfb);
    assert.is(isEcho(protocol, answered, 0, answered.length), 'reply');
    assert.is(
      formatHex(answered),
      `0a${formatHex(bytes.subarray(1, 4))}01fccbfb${formatHex(bytes.subarray(8))}`,
    );
  }
});

test('pppoe-over-qinq.pcap holds no control packets: an open session leaves them to the fast path', () => {
  const packets = packetsOf('pppoe-over-qinq.pcap');
  assert.ok(packets.length > 0);
  const both = ends();
  settle(0, both.server, both.client);
  const { server } = both;
  server.session = PppSession.thaw(1, server.config, server.calls, server.session.freeze()!);
  for (const packet of packets) {
    assert.not.ok(isControl(packet));
    server.receive(1, packet);
  }
  assert.is(server.sent.length, 0);
  assert.is(server.counters.get('dropped.data'), packets.length);
});

test.run();
