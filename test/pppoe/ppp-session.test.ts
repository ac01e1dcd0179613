/** One PPP session, step by step: what it agrees to, what it refuses, and what it does when the peer is odd. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { answerEcho, echoMagic, isEcho } from '../../agent/pppoe/echo.js';
import { type PppConfig, PppSession, setUpMs } from '../../agent/pppoe/ppp-session.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { clientConfig, End, ends, grant, judgeBy, run, serverConfig, settle } from './ppp-ends.js';

const { lcp, ipcp, ipv6cp, chap } = pppProtocol;
const hex = (text: string) => parseHex(text.replace(/\s/g, ''))!;
const hexOf = formatHex;

/** A packet with its length filled in. */
function packet(code: number, identifier: number, data: string): Uint8Array {
  const body = hex(data);
  return new Uint8Array([code, identifier, (body.length + 4) >> 8, (body.length + 4) & 255, ...body]);
}

/** Hands a packet to an end and takes what it sends in answer. */
function say(end: End, now: number, protocol: number, bytes: Uint8Array): string[] {
  end.sent.length = 0;
  end.receive(now, { protocol, bytes });
  return end.sent.splice(0).map(sent => `${sent.protocol.toString(16)} ${hexOf(sent.bytes)}`);
}

/** An end that has sent its first request and heard nothing. */
function alone(config: PppConfig): End {
  const end = new End(config, new Random(1, 'alone'));
  end.session.open(0);
  return end;
}

function opened(server: Partial<PppConfig> = {}, client: Partial<PppConfig> = {}) {
  const both = ends(server, client);
  settle(0, both.server, both.client);
  assert.ok(both.server.up && both.client.up);
  return both;
}

for (const method of ['none', 'pap', 'chap-md5', 'ms-chap-v2'] as const)
  test(`two ends come up with ${method}, and the client has address and name servers`, () => {
    const { server, client } = opened({ authentication: [method] }, { askNbns: true });
    assert.equal(
      client.events.find(event => event.kind === 'ipv4-up'),
      { kind: 'ipv4-up', local: grant.peer, peer: grant.local, dns: grant.dns, nbns: grant.nbns },
    );
    assert.equal(
      server.events.find(event => event.kind === 'ipv4-up'),
      { kind: 'ipv4-up', local: grant.local, peer: grant.peer, dns: [], nbns: [] },
    );
    const [own] = server.events.filter(event => event.kind === 'ipv6-up');
    const [peers] = client.events.filter(event => event.kind === 'ipv6-up');
    assert.ok(own.kind === 'ipv6-up' && peers.kind === 'ipv6-up');
    assert.is(hexOf(own.localInterfaceId), hexOf(peers.peerInterfaceId));
    assert.is(hexOf(own.peerInterfaceId), hexOf(peers.localInterfaceId));
    assert.is(own.localInterfaceId[0] & 2, 0, 'the universal bit');
  });

test('a wrong secret ends both sides with the reason, and no secret is in any event or counter', () => {
  for (const method of ['pap', 'chap-md5', 'ms-chap-v2'] as const) {
    const { server, client } = ends({ authentication: [method] });
    server.judge = judgeBy(encodeUtf8('something else'));
    run(0, 60_000, server, client);
    assert.is(server.reason, 'authentication-failed', method);
    assert.is(client.reason, 'authentication-failed', method);
    assert.is(server.session.pollAt(), never);
    assert.is(client.session.pollAt(), never);
    const told = server.events.filter(event => event.kind !== 'credentials');
    const said = JSON.stringify([told, client.events, server.counters.values, client.counters.values]);
    for (const secret of ['s3cr3t', [...clientConfig.secret!.subarray(0, 6)].join(), 'subscriber'])
      assert.not.ok(said.includes(secret), said);
  }
});

test('an error about a configuration does not quote the secret', () => {
  const config = { ...clientConfig, secret: encodeUtf8('x'.repeat(300)) };
  try {
    alone(config);
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), /user and secret: expected up to 255 bytes each/);
    assert.not.match(String(error), /xx/);
  }
  assert.throws(() => alone({ ...serverConfig, mru: 67 }), /mru: expected 68..65535, got 67/);
  assert.throws(
    () => alone({ ...serverConfig, authentication: [] }),
    /authentication: expected at least one/,
  );
  const { name: _, ...nameless } = serverConfig;
  assert.throws(() => alone(nameless), /name: expected one/);
});

test('the two sides find the method both have, or end with the reason', () => {
  const cases: readonly (readonly [PppConfig['authentication'], PppConfig['authentication'], string])[] = [
    [['chap-md5', 'pap'], ['pap'], 'pap'],
    [['ms-chap-v2', 'chap-md5', 'pap'], ['chap-md5', 'pap'], 'chap-md5'],
    [['chap-md5'], ['ms-chap-v2', 'chap-md5'], 'chap-md5'],
    [['chap-md5', 'none'], ['none'], 'none'],
    [['chap-md5'], ['none'], 'authentication-refused'],
    [['chap-md5'], ['pap'], 'authentication-refused'],
    [['none'], ['chap-md5'], 'peer-terminated'],
  ];
  for (const [servers, clients, expected] of cases) {
    const { server, client } = ends({ authentication: servers }, { authentication: clients });
    run(0, 60_000, server, client);
    const [shown] = server.events.filter(event => event.kind === 'credentials');
    const used = shown?.kind === 'credentials' ? shown.credentials.method : undefined;
    assert.is(server.reason ?? used, expected, `${servers} against ${clients}`);
    if (expected === 'peer-terminated') assert.is(client.reason, 'authentication-not-offered');
  }
});

test('LCP takes MRU and magic number and rejects by name all else that has no place on PPPoE', () => {
  const end = alone(serverConfig);
  // ACCM, quality, PFC, ACFC, callback, MRRU, endpoint discriminator, and one that nobody has assigned.
  const refused = '0206000a0000 0404c025 0702 0802 0d0306 11040640 130903020000000001 c803ff';
  assert.equal(say(end, 0, lcp, packet(1, 9, `0104 05d4 ${refused} 0506 11223344`)), [
    `c021 ${hexOf(packet(4, 9, refused))}`,
  ]);
  assert.equal(say(end, 0, lcp, packet(1, 10, '010405d4 050611223344')), [
    `c021 ${hexOf(packet(2, 10, '010405d4050611223344'))}`,
  ]);
});

test('an option of a wrong size is rejected by itself, and one that comes twice the second time', () => {
  const end = alone(serverConfig);
  assert.equal(say(end, 0, lcp, packet(1, 1, '010305 0506 11223344')), [
    `c021 ${hexOf(packet(4, 1, '010305'))}`,
  ]);
  assert.equal(say(end, 0, lcp, packet(1, 2, '010405d4 01040400')), [
    `c021 ${hexOf(packet(4, 2, '01040400'))}`,
  ]);
  assert.equal(say(end, 0, lcp, packet(1, 3, 'c80301 c80301')), [
    `c021 ${hexOf(packet(4, 3, 'c80301c80301'))}`,
  ]);
  assert.is(end.counters.get('option.repeated'), 2);
  assert.is(end.counters.get('sent.reject'), 3);
});

test('an MRU beyond the link or too small for IPv4 is Nakked with the bound', () => {
  const end = alone(serverConfig);
  assert.equal(say(end, 0, lcp, packet(1, 1, '010405dc')), [`c021 ${hexOf(packet(3, 1, '010405d4'))}`]);
  assert.equal(say(end, 0, lcp, packet(1, 2, '01040000')), [`c021 ${hexOf(packet(3, 2, '01040044'))}`]);
});

test('a Nak of our MRU lowers it, but never raises it beyond the link', () => {
  const end = alone({ ...clientConfig, mru: 1492 });
  const first = end.sent[0].bytes;
  const [again] = say(end, 0, lcp, packet(3, first[1], '010405dc'));
  assert.match(again, /^c021 0102000e010405d4/);
  assert.match(say(end, 0, lcp, packet(3, 2, '01040400'))[0], /^c021 0103000e01040400/);
});

test('an MRU of the default is not named, unless the peer asks for it', () => {
  const end = alone({ ...clientConfig, mru: 1500 });
  assert.match(hexOf(end.sent[0].bytes), /^0101000a0506/);
  assert.match(say(end, 0, lcp, packet(3, 1, '010405dc'))[0], /^c021 0102000e010405dc/);
});

test('a link looped back to itself is found out by its magic number, on either side', () => {
  for (const config of [serverConfig, clientConfig]) {
    const end = alone(config);
    for (let turn = 0; turn < 50 && end.sent.length > 0; turn++)
      for (const sent of end.sent.splice(0)) end.receive(turn, sent);
    while (end.session.pollAt() !== never) end.session.poll(end.session.pollAt());
    assert.is(end.reason, 'looped-back', config.role);
    assert.ok(end.counters.get('option.own-magic') > 0);
  }
});

test('a peer that changes nothing is Nakked five times, then rejected, and then given up', () => {
  const end = alone(serverConfig);
  const codes: number[] = [];
  for (let i = 1; end.session.pollAt() !== never && i < 100; i++)
    for (const answer of say(end, i, lcp, packet(1, i, '0506 00000000')))
      if (answer.startsWith('c021')) codes.push(Number.parseInt(answer.slice(5, 7), 16));
  assert.equal(codes, [3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5]);
  while (end.session.pollAt() !== never) end.session.poll(end.session.pollAt());
  assert.is(end.reason, 'not-converging');
});

test('a peer that Naks whatever we ask for is given up', () => {
  const end = alone(serverConfig);
  let now = 0;
  for (; end.reason === undefined && now < 100; now++) {
    const request = end.sent.splice(0).find(sent => sent.bytes[0] === 1);
    if (!request) break;
    end.receive(now, { protocol: lcp, bytes: packet(3, request.bytes[1], '010405dc') });
  }
  assert.ok(now <= 12, `after ${now} Naks`);
  while (end.session.pollAt() !== never) end.session.poll(end.session.pollAt());
  assert.is(end.reason, 'not-converging');
});

test('a peer that acknowledges but never asks is given up when set-up has taken too long', () => {
  const end = alone(serverConfig);
  let sent = 0;
  for (;;) {
    for (const { bytes } of end.sent.splice(0)) {
      sent++;
      if (bytes[0] !== 1) continue;
      const ack = Uint8Array.from(bytes);
      ack[0] = 2;
      end.receive(0, { protocol: lcp, bytes: ack });
    }
    const at = end.session.pollAt();
    if (at === never) break;
    end.session.poll(at);
  }
  assert.is(end.reason, 'set-up-timeout');
  assert.ok(sent < 2 + 2 * (setUpMs / 3_000), `${sent} packets`);
});

test('a peer that never answers is given up after ten requests', () => {
  const end = alone(serverConfig);
  while (end.session.pollAt() !== never) end.session.poll(end.session.pollAt());
  assert.is(end.reason, 'no-answer');
  assert.is(end.sent.filter(sent => sent.bytes[0] === 1).length, 10);
});

test('an Ack that is not our request, a Reject of what we did not ask, and stale answers are dropped and counted', () => {
  const end = alone(serverConfig);
  const request = end.sent[0].bytes;
  const altered = Uint8Array.from(request);
  altered[0] = 2;
  altered[altered.length - 1] ^= 1;
  say(end, 0, lcp, altered);
  assert.is(end.counters.get('dropped.altered-ack'), 1);
  for (const options of ['', '01040001', '0702', '0506ffffffff 010405d4'])
    say(end, 0, lcp, packet(4, request[1], options));
  assert.is(end.counters.get('dropped.altered-reject'), 4);
  for (const code of [2, 3, 4]) say(end, 0, lcp, packet(code, request[1] + 1, '010405d4'));
  assert.is(end.counters.get('dropped.stale-answer'), 3);
  const ack = Uint8Array.from(request);
  ack[0] = 2;
  say(end, 0, lcp, ack);
  say(end, 0, lcp, ack);
  assert.is(end.counters.get('dropped.stale-answer'), 4, 'the same Ack twice');
});

test('options cut short, overlong or too many refuse the packet, with a counter each', () => {
  const end = alone(serverConfig);
  assert.equal(say(end, 0, lcp, packet(1, 1, '0104')), []);
  assert.equal(say(end, 0, lcp, packet(1, 1, '01ff05d4')), []);
  assert.equal(say(end, 0, lcp, packet(1, 1, '0100')), []);
  assert.is(end.counters.get('malformed.bad-length'), 3);
  assert.equal(say(end, 0, lcp, packet(1, 1, 'c802'.repeat(33))), []);
  assert.is(end.counters.get('malformed.too-many'), 1);
  assert.equal(say(end, 0, lcp, hex('01')), []);
  assert.equal(say(end, 0, lcp, hex('0101 0008 0104')), []);
  assert.is(end.counters.get('malformed.truncated'), 2);
});

test('echoes are answered with our magic number; discard and identification are not, and looped ones are counted', () => {
  const { server, client } = opened();
  const frozen = server.session.freeze()!;
  const magic = (value: number) => value.toString(16).padStart(8, '0');
  assert.equal(say(server, 0, lcp, packet(9, 7, `${magic(frozen.peerMagicNumber)} abcd`)), [
    `c021 ${hexOf(packet(10, 7, `${magic(frozen.magicNumber)}abcd`))}`,
  ]);
  assert.equal(say(server, 0, lcp, packet(9, 7, magic(frozen.magicNumber))), []);
  assert.is(server.counters.get('looped-echo'), 1);
  assert.equal(say(server, 0, lcp, packet(11, 1, '00000000')), []);
  assert.equal(say(server, 0, lcp, packet(12, 1, '00000000 4b697468')), []);
  assert.is(server.counters.get('discard-request') + server.counters.get('identification'), 2);
  assert.ok(server.up && client.up);
});

test('echoes keep a link, and so many without a reply end it', () => {
  const { server, client } = opened({ echoIntervalMs: 10_000, echoFailures: 3 }, {});
  run(0, 100_000, server, client);
  assert.is(server.counters.get('echo-missed'), 0);
  assert.is(client.counters.get('echo-request'), 10);
  const before = server.counters.get('echo-missed');
  while (server.session.pollAt() !== never) {
    server.session.poll(server.session.pollAt());
    server.sent.length = 0;
  }
  assert.is(server.counters.get('echo-missed') - before, 2, 'the third miss ends it');
  assert.is(server.reason, 'echo-timeout');
});

test('protocols we have not are Protocol-Rejected, ten a second at most', () => {
  const { server } = opened();
  const [first] = say(server, 0, pppProtocol.ccp, packet(1, 1, '1a047800'));
  assert.match(first, /^c021 08..000e80fd010100081a047800$/);
  assert.is(say(server, 0, pppProtocol.vanJacobsonCompressed, hex('45')).length, 1);
  for (let i = 0; i < 100; i++) say(server, 1, 0x4021, hex('00'));
  assert.is(server.counters.get('sent.protocol-reject'), 10);
  assert.is(server.counters.get('dropped.reject-limit'), 92);
  assert.is(say(server, 1_001, 0x4021, hex('00')).length, 1);
  assert.ok(server.up);
});

test('what a Reject quotes is cut to what the peer receives', () => {
  const { server } = opened({ ipv6: false }, { mru: 68, ipv6: false });
  const long = '00'.repeat(1400);
  for (const sent of [
    ...say(server, 0, pppProtocol.ccp, packet(1, 1, long)),
    ...say(server, 0, lcp, packet(99, 1, long)),
    ...say(server, 0, lcp, packet(9, 1, `00000001 ${long}`)),
  ]) {
    assert.ok((sent.length - 5) / 2 <= 68, sent);
  }
});

test('a code we have not is Code-Rejected, and a Code-Reject of what LCP needs ends the link', () => {
  const { server } = opened();
  assert.match(say(server, 0, lcp, packet(14, 5, 'aa'))[0], /^c021 07..00090e050005aa$/);
  assert.ok(server.up);
  say(server, 0, lcp, packet(7, 1, '0c010004'));
  assert.ok(server.up, 'not of Identification');
  say(server, 0, lcp, packet(7, 1, '01010004'));
  assert.not.ok(server.up);
  while (server.session.pollAt() !== never) server.session.poll(server.session.pollAt());
  assert.is(server.reason, 'peer-rejects');
});

test('a network protocol the peer rejects is given up, the last one with the link', () => {
  const { server } = opened();
  say(server, 0, lcp, packet(8, 1, '8057 01010004'));
  assert.is(server.kinds[server.kinds.length - 1], 'ipv6-down');
  assert.ok(server.up, 'with IPv4');
  say(server, 0, lcp, packet(8, 2, '8021 01010004'));
  while (server.session.pollAt() !== never) server.session.poll(server.session.pollAt());
  assert.is(server.reason, 'no-network-protocol');
});

test('before authentication is over nothing but LCP and the agreed protocol is heard', () => {
  const { server, client } = ends({ authentication: ['chap-md5'] });
  server.judge = undefined;
  settle(0, server, client);
  assert.equal(say(server, 0, ipcp, packet(1, 1, '030600000000')), []);
  assert.equal(say(server, 0, pppProtocol.pap, packet(1, 1, '0161 0162')), []);
  assert.equal(say(server, 0, 0x4021, hex('00')), []);
  assert.is(server.counters.get('dropped.phase'), 3);
  assert.not.ok(server.up);
});

test('a verdict may come late; too late, it is counted and changes nothing', () => {
  const { server, client } = ends();
  server.judge = undefined;
  run(0, 20_000, server, client);
  const [shown] = server.events;
  assert.ok(shown.kind === 'credentials');
  server.session.authorise(20_000, judgeBy(clientConfig.secret!)(shown.credentials));
  settle(20_000, server, client);
  assert.ok(server.up && client.up);
  server.session.authorise(20_001, { ok: false });
  assert.is(server.counters.get('dropped.verdict'), 1);
  assert.ok(server.up);
});

test('a judge that never answers costs a session no more than the set-up time', () => {
  const { server, client } = ends();
  server.judge = undefined;
  run(0, setUpMs + 10_000, server, client);
  assert.ok(server.reason !== undefined);
  assert.is(client.session.pollAt(), never);
});

test('IPCP: a client is Nakked with its address and servers, and refused what there is not', () => {
  const { server, client } = ends({ ipv6: false }, { ipv6: false });
  settle(0, server, client);
  const peer = '0a000210';
  assert.equal(
    say(server, 0, ipcp, packet(1, 50, '030600000000 810600000000 830600000000 820600000000')).slice(-1),
    [`8021 ${hexOf(packet(3, 50, `0306${peer} 8106c0000235 8306c0000236 8206c0000289`))}`],
  );
  // A secondary NBNS there is none of, compression, the deprecated pair: Rejects come before Naks (RFC 1661 §5.4).
  assert.equal(
    say(server, 0, ipcp, packet(1, 51, '030600000000 840600000000 0206002d0f01 010a0a0000010a000002')),
    [`8021 ${hexOf(packet(4, 51, '8406000000000206002d0f01010a0a0000010a000002'))}`],
  );
  assert.equal(say(server, 0, ipcp, packet(1, 52, '')), [`8021 ${hexOf(packet(3, 52, `0306${peer}`))}`]);
  assert.equal(say(server, 0, ipcp, packet(1, 53, `0306${peer}`)), [
    `8021 ${hexOf(packet(2, 53, `0306${peer}`))}`,
  ]);
});

/** A client whose peer is this test, up to where IPCP begins; its first requests are thrown away. */
function clientAtNetwork(config: Partial<PppConfig> = {}): End {
  const { server, client } = ends({ authentication: ['none'], ipv4: false }, { ipv6: true, ...config });
  settle(0, server, client);
  client.sent.length = 0;
  return client;
}

test('IPCP: a server without an address of its own is given a dummy one', () => {
  const client = clientAtNetwork();
  assert.equal(say(client, 0, ipcp, packet(1, 1, '030600000000')).slice(-1), [
    `8021 ${hexOf(packet(3, 1, '0306c0000008'))}`,
  ]);
});

test('IPCP: addresses no host can have are not taken, and without one IPv4 stays down', () => {
  for (const useless of ['00000000', 'ffffffff', 'e0000001', '7f000001']) {
    const { server, client } = ends({}, { ipv6: false, askDns: false });
    server.judge = credentials => {
      const verdict = judgeBy(clientConfig.secret!)(credentials);
      return { ...verdict, ipv4: { local: grant.local, peer: Number.parseInt(useless, 16) } };
    };
    run(0, 200_000, server, client);
    assert.not.ok(client.up, useless);
    assert.is(client.reason, 'no-network-protocol', useless);
  }
});

test('IPV6CP: a zero identifier and our own are Nakked with one that is neither, and both ends differ', () => {
  const { server } = opened();
  const frozen = server.session.freeze()!;
  const own = [frozen.localIdHigh, frozen.localIdLow]
    .map(half => half.toString(16).padStart(8, '0'))
    .join('');
  for (const [identifier, asked] of [
    [60, '0'.repeat(16)],
    [61, own],
  ] as const) {
    const answers = say(server, 0, ipv6cp, packet(1, identifier, `010a${asked}`));
    const nak = answers[answers.length - 1];
    assert.match(nak, new RegExp(`^8057 03${identifier.toString(16)}000e010a[0-9a-f]{16}$`));
    assert.not.ok(nak.endsWith(asked));
  }
});

test('who gives a network protocol up says so, lest the peer stay open alone (seed 47859 of the bad line)', () => {
  const { server, client } = ends();
  for (let now = 0; now < 60_000; now += 100) {
    server.session.poll(now);
    client.session.poll(now);
    while (server.sent.length + client.sent.length > 0) {
      // The client hears the server's requests for IPv6, but none of its answers: the server opens, the client cannot.
      for (const sent of server.sent.splice(0))
        if (sent.protocol !== ipv6cp || sent.bytes[0] === 1) client.receive(now, sent);
      for (const sent of client.sent.splice(0)) server.receive(now, sent);
    }
  }
  assert.ok(server.up && client.up);
  const last = (end: End) => end.kinds.filter(kind => kind.startsWith('ipv6')).pop();
  assert.is.not(last(client), 'ipv6-up');
  assert.is.not(last(server), 'ipv6-up');
});

test('an IPv6 that the link is too small for is not tried', () => {
  const { server, client } = opened({}, { mru: 1279 });
  assert.not.ok(server.kinds.includes('ipv6-up'));
  assert.not.ok(client.kinds.includes('ipv6-up'));
});

test('a close says goodbye, the peer answers, and both end', () => {
  const { server, client } = opened();
  client.session.close(1_000);
  run(1_000, 60_000, server, client);
  assert.is(client.reason, 'closed');
  assert.is(server.reason, 'peer-terminated');
  assert.equal(server.kinds.slice(-3), ['ipv4-down', 'ipv6-down', 'down']);
  const dead = server.counters.get('dropped.dead');
  server.receive(2_000, { protocol: lcp, bytes: packet(1, 1, '') });
  assert.is(server.counters.get('dropped.dead'), dead + 1);
});

test('when the link below is gone nothing more is sent', () => {
  const { server } = opened();
  server.sent.length = 0;
  server.session.lowerDown(5);
  server.session.close(6);
  assert.is(server.reason, 'lower-down');
  assert.is(server.sent.length, 0);
  assert.is(server.session.pollAt(), never);
});

test('CHAP asks anew in the open link; a secret changed meanwhile ends it', () => {
  const { server, client } = opened();
  assert.ok(server.session.rechallenge(1_000));
  assert.not.ok(server.session.rechallenge(1_000), 'one question at a time');
  settle(1_000, server, client);
  assert.is(server.counters.get('authentication.passed'), 2);
  assert.ok(server.up && client.up);
  server.judge = judgeBy(encodeUtf8('changed'));
  assert.ok(server.session.rechallenge(2_000));
  run(2_000, 60_000, server, client);
  assert.is(client.reason, 'authentication-failed');
  assert.is(server.reason, 'authentication-failed');
});

test('an open session is put away as numbers and made again as it was', () => {
  const { server, client } = opened({ authentication: ['ms-chap-v2'] });
  for (const end of [server, client]) {
    const frozen = end.session.freeze()!;
    for (const value of Object.values(frozen)) assert.is(typeof value, 'number');
    end.session = PppSession.thaw(1_000, end.config, end.calls, frozen);
    assert.equal(end.session.freeze(), frozen);
  }
  assert.ok(server.session.rechallenge(1_000), 'still knows how to ask');
  settle(1_000, server, client);
  assert.is(server.counters.get('authentication.passed'), 2);
  const before = client.events.length;
  // The client negotiates IPCP anew: it gets the same address.
  const nak = say(server, 2_000, ipcp, packet(1, 200, '030600000000 810600000000'));
  assert.ok(nak.includes(`8021 ${hexOf(packet(3, 200, '03060a000210 8106c0000235'))}`), nak.join());
  assert.is(client.events.length, before);
  client.session.close(3_000);
  run(3_000, 60_000, server, client);
  assert.is(server.reason, 'peer-terminated');
});

test('a session with something under way is not put away', () => {
  const { server, client } = ends();
  assert.is(server.session.freeze(), undefined);
  server.judge = undefined;
  settle(0, server, client);
  assert.is(server.session.freeze(), undefined, 'credentials under judgement');
  const open = opened();
  open.server.session.rechallenge(0);
  assert.is(open.server.session.freeze(), undefined, 'a challenge');
  open.client.session.close(0);
  assert.is(open.client.session.freeze(), undefined, 'a goodbye');
});

test('the echo of a session put away is answered in place', () => {
  const { server, client } = opened({ echoIntervalMs: 10_000 });
  const { magicNumber } = client.session.freeze()!;
  server.sent.length = 0;
  server.session.poll(10_000);
  const [{ protocol, bytes }] = server.sent.splice(0);
  assert.is(isEcho(protocol, bytes, 0, bytes.length), 'request');
  assert.is(echoMagic(bytes, 0), server.session.freeze()!.magicNumber);
  answerEcho(bytes, 0, magicNumber);
  assert.is(isEcho(protocol, bytes, 0, bytes.length), 'reply');
  server.receive(10_001, { protocol, bytes });
  assert.is(server.session.freeze()!.echoMisses, 0);
  for (let cut = 0; cut < bytes.length; cut++) assert.is(isEcho(protocol, bytes, 0, cut), undefined);
  assert.is(isEcho(chap, bytes, 0, bytes.length), undefined);
  bytes[0] = 11;
  assert.is(isEcho(protocol, bytes, 0, bytes.length), undefined);
});

test('damaged packets at any moment neither throw nor leave a session without an end', () => {
  const seed = 20_260;
  console.log(`damage: seed ${seed}`);
  const random = new Random(seed, 'damage');
  for (let round = 0; round < 1_500; round++) {
    const { server, client } = ends({}, {}, round);
    for (let step = 0; step < 30; step++) {
      const from = random.chance(0.5) ? server : client;
      const to = from === server ? client : server;
      const sent = from.sent.shift();
      if (!sent) continue;
      const bytes = Uint8Array.from(sent.bytes);
      if (random.chance(0.3)) bytes[random.below(bytes.length)] = random.below(256);
      const end = random.chance(0.1) ? random.below(bytes.length + 1) : bytes.length;
      to.session.receive(step, sent.protocol, bytes, 0, end);
    }
    run(30, 400_000, server, client);
    assert.is(server.reason === undefined, client.reason === undefined, `round ${round}`);
  }
});

test.run();
