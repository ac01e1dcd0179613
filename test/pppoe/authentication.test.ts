/** Digests and MS-CHAPv2 against the RFCs' vectors, and the two sides of authentication against each other. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex, parseHex } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { type AuthenticationOwner, Authenticator, Claimant } from '../../agent/pppoe/authentication.js';
import {
  type AuthenticationMethod,
  type Credentials,
  chapMd5Response,
  verifyCredentials,
} from '../../agent/pppoe/credentials.js';
import { md4 } from '../../agent/pppoe/md4.js';
import { authenticatorResponse, msChapV2Value, ntResponse } from '../../agent/pppoe/ms-chap-v2.js';
import { pppCounters } from '../../agent/pppoe/ppp-counters.js';
import { parseChap } from '../../agent/wire/chap.js';
import { digest } from '../../edge/linux/digest.js';

const hex = (text: string) => parseHex(text.replace(/\s/g, ''))!;
const text = encodeUtf8;

test('MD4 gives the digests of RFC 1320 §A.5', () => {
  const vectors: readonly (readonly [string, string])[] = [
    ['', '31d6cfe0d16ae931b73c59d7e0c089c0'],
    ['a', 'bde52cb31de33e46245e05fbdbd6fb24'],
    ['abc', 'a448017aaf21d8525fc10ae87aa6729d'],
    ['message digest', 'd9130a8164549fe818874806e1c7014b'],
    ['abcdefghijklmnopqrstuvwxyz', 'd79e1c308aa5bbcdeea8ed63df412da9'],
    ['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', '043f8582f241db351ce627e153e7f0e4'],
    [
      '12345678901234567890123456789012345678901234567890123456789012345678901234567890',
      'e33b4ddc9c38f2199c3e7b164fcc0536',
    ],
  ];
  for (const [message, expected] of vectors) assert.is(formatHex(md4(text(message))), expected, message);
});

test('the digest port gives the vectors of RFC 1321, RFC 3174 and a known one of DES', () => {
  assert.is(formatHex(digest.md5(text('abc'))), '900150983cd24fb0d6963f7d28e17f72');
  assert.is(formatHex(digest.sha1(text('abc'))), 'a9993e364706816aba3e25717850c26c9cd0d89d');
  // NBS Special Publication 500-20, variable plaintext test, first of Table 1.
  assert.is(formatHex(digest.des(hex('0101010101010101'), hex('8000000000000000'))), '95f8a5e5dd31d900');
  assert.throws(() => digest.des(hex('01'), hex('8000000000000000')), /key: expected 8 bytes, got 1/);
});

/** RFC 2759 §9.2. */
const rfc2759 = {
  user: text('User'),
  password: text('clientPass'),
  challenge: hex('5b5d7c7d7b3f2f3e3c2c602132262628'),
  peerChallenge: hex('21402324255e262a28295f2b3a337c7e'),
};

test('MS-CHAPv2 gives the responses of RFC 2759 §9.2, with or without a domain before the name', () => {
  const expected = '82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df';
  const response = ntResponse(rfc2759, digest);
  assert.is(formatHex(response), expected);
  assert.is(formatHex(ntResponse({ ...rfc2759, user: text('BIGCO\\User') }, digest)), expected);
  assert.is(authenticatorResponse(rfc2759, response, digest), 'S=407A5589115FD0D6209F510FE9C04566932CDA56');
  assert.is(
    formatHex(msChapV2Value(rfc2759, digest)),
    `21402324255e262a28295f2b3a337c7e0000000000000000${expected}00`,
  );
});

test('credentials are verified with the right secret and refused with another', () => {
  const { user, password, challenge } = rfc2759;
  const all: readonly Credentials[] = [
    { method: 'pap', user, password },
    {
      method: 'chap-md5',
      user,
      identifier: 7,
      challenge,
      response: chapMd5Response(7, password, challenge, digest),
    },
    { method: 'ms-chap-v2', user, identifier: 7, challenge, response: msChapV2Value(rfc2759, digest) },
  ];
  for (const credentials of all) {
    assert.ok(verifyCredentials(credentials, password, digest).ok, credentials.method);
    for (const wrong of ['', 'clientPas', 'clientPass ', 'clientpass'])
      assert.not.ok(verifyCredentials(credentials, text(wrong), digest).ok, `${credentials.method} ${wrong}`);
  }
});

test('a password beyond ASCII is UTF-16 to MS-CHAPv2, and one that is no text is still a password', () => {
  for (const password of [text('pässwörd €'), hex('ff00fe')]) {
    const response = msChapV2Value({ ...rfc2759, password }, digest);
    const { user, challenge } = rfc2759;
    const credentials: Credentials = { method: 'ms-chap-v2', user, identifier: 1, challenge, response };
    assert.ok(verifyCredentials(credentials, password, digest).ok);
    assert.not.ok(verifyCredentials(credentials, text('other'), digest).ok);
  }
});

/** An owner that notes everything; what it sends waits in `sent`. */
class Owner implements AuthenticationOwner {
  readonly counters = new Counters(pppCounters);
  readonly random = new Random(7, 'authentication');
  readonly digest = digest;
  readonly sent: Uint8Array[] = [];
  readonly shown: Credentials[] = [];
  outcome = '';
  send(_protocol: number, packet: Uint8Array) {
    this.sent.push(packet);
  }
  credentialsShown(credentials: Credentials) {
    this.shown.push(credentials);
  }
  authenticated() {
    this.outcome = 'authenticated';
  }
  authenticationFailed(_now: number, failure: string) {
    this.outcome = failure;
  }
}

const account = { user: text('User'), secret: text('clientPass') };

function pair(method: AuthenticationMethod) {
  const server = new Owner();
  const client = new Owner();
  return {
    server,
    client,
    authenticator: new Authenticator(server, method, text('BRAS')),
    claimant: new Claimant(client, method, account),
  };
}

/** Brings everything that waits across, both ways, until nothing does. */
function exchange(now: number, { server, client, authenticator, claimant }: ReturnType<typeof pair>): void {
  for (;;) {
    const toClient = server.sent.shift();
    if (toClient) claimant.receive(now, toClient, 0, toClient.length);
    const toServer = client.sent.shift();
    if (toServer) authenticator.receive(toServer, 0, toServer.length);
    if (!toClient && !toServer) return;
  }
}

const withPeer: readonly AuthenticationMethod[] = ['pap', 'chap-md5', 'ms-chap-v2'];

for (const method of withPeer) {
  test(`${method}: the right secret is let in, a wrong one is not`, () => {
    for (const secret of ['clientPass', 'other']) {
      const both = pair(method);
      both.authenticator.start(0);
      both.claimant.start(0);
      exchange(0, both);
      assert.is(both.server.shown.length, 1);
      const verdict = verifyCredentials(both.server.shown[0], text(secret), digest);
      assert.ok(both.authenticator.decide(0, verdict));
      exchange(0, both);
      assert.is(both.client.outcome, secret === 'clientPass' ? 'authenticated' : 'authentication-failed');
      assert.is(both.server.outcome, secret === 'clientPass' ? '' : 'authentication-failed');
    }
  });

  test(`${method}: a lost question and a lost reply are sent again`, () => {
    const both = pair(method);
    const { server, client, authenticator, claimant } = both;
    authenticator.start(0);
    claimant.start(0);
    server.sent.length = 0;
    client.sent.length = 0;
    const tick = (now: number) => {
      authenticator.poll(now);
      claimant.poll(now);
    };
    tick(3_000);
    exchange(3_000, both);
    assert.is(server.shown.length, 1, 'once the question or the request came through');
    tick(6_000);
    exchange(6_000, both);
    assert.is(server.shown.length, 1, 'what comes again while it is judged is not judged twice');
    assert.ok(server.counters.get('dropped.judging') > 0);
    authenticator.decide(6_500, verifyCredentials(server.shown[0], account.secret, digest));
    server.sent.length = 0;
    assert.is(client.outcome, '');
    tick(9_000);
    exchange(9_000, both);
    assert.is(client.outcome, 'authenticated');
    assert.is(server.counters.get('authentication.resent'), 1);
  });

  test(`${method}: silence ends in a timeout on both sides, after thirty seconds`, () => {
    const { server, client, authenticator, claimant } = pair(method);
    authenticator.start(0);
    claimant.start(0);
    for (const [side, owner] of [
      [authenticator, server],
      [claimant, client],
    ] as const) {
      let last = 0;
      while (side.timeoutAt !== never) {
        last = side.timeoutAt;
        side.poll(last);
      }
      assert.is(owner.outcome, 'authentication-timeout');
      assert.is(last, 30_000);
      assert.ok(owner.sent.length <= 10);
    }
  });
}

test('MS-CHAPv2: a Failure says E=691, and with R=1 another try under the new challenge is judged', () => {
  const { server, authenticator } = pair('ms-chap-v2');
  authenticator.start(0);
  const respond = (challengeHex: string, identifier: number, password: string) => {
    const value = msChapV2Value(
      { ...rfc2759, challenge: hex(challengeHex), password: text(password) },
      digest,
    );
    const packet = hex(
      `02${formatHex(new Uint8Array([identifier]))}003a31${formatHex(value)}${formatHex(text('User'))}`,
    );
    authenticator.receive(packet, 0, packet.length);
  };
  const challenge = server.sent.pop()!;
  respond(formatHex(challenge.subarray(5, 21)), challenge[1], 'wrong');
  authenticator.decide(0, { ok: false, retry: true, message: 'Try again' });
  const failure = server.sent.pop()!;
  const message = String.fromCharCode(...failure.subarray(4));
  assert.match(message, /^E=691 R=1 C=[0-9A-F]{32} V=3 M=Try again$/);
  assert.is(failure[1], challenge[1]);
  assert.is(server.outcome, '');
  respond(message.slice(12, 44).toLowerCase(), (challenge[1] + 1) & 255, 'clientPass');
  const verdict = verifyCredentials(server.shown[1], account.secret, digest);
  assert.ok(verdict.ok);
  authenticator.decide(0, verdict);
  assert.match(String.fromCharCode(...server.sent.pop()!.subarray(4)), /^S=[0-9A-F]{40} M=$/);
});

test('MS-CHAPv2: without another try the Failure says R=0 and the authenticator gives up', () => {
  const both = pair('ms-chap-v2');
  both.authenticator.start(0);
  exchange(0, both);
  both.authenticator.decide(0, { ok: false });
  assert.match(String.fromCharCode(...both.server.sent[0].subarray(4)), /^E=691 R=0 C=[0-9A-F]{32} V=3 M=$/);
  assert.is(both.server.outcome, 'authentication-failed');
});

test('MS-CHAPv2: a server that does not know the password is found out', () => {
  const both = pair('ms-chap-v2');
  both.authenticator.start(0);
  exchange(0, both);
  both.authenticator.decide(0, { ok: true, authenticatorResponse: `S=${'0'.repeat(40)}` });
  exchange(0, both);
  assert.is(both.client.outcome, 'peer-not-authentic');
});

test('a challenge comes never twice, and a renewed one is answered anew', () => {
  const both = pair('chap-md5');
  const seen = new Set<string>();
  for (let i = 0; i < 300; i++) {
    both.authenticator.start(i);
    const packet = both.server.sent[0];
    const parsed = parseChap(packet, 0, packet.length);
    assert.ok(parsed.ok && parsed.value.kind === 'challenge');
    seen.add(formatHex(parsed.value.value));
    exchange(i, both);
    const credentials = both.server.shown.pop()!;
    both.authenticator.decide(i, verifyCredentials(credentials, account.secret, digest));
    exchange(i, both);
    assert.is(both.client.outcome, 'authenticated');
  }
  assert.is(seen.size, 300);
});

test('responses of the wrong size, under another identifier, or to no question are dropped and counted', () => {
  const { server, authenticator } = pair('chap-md5');
  const early = hex('02000015 10 00000000000000000000000000000000');
  authenticator.receive(early, 0, early.length);
  assert.is(server.counters.get('dropped.authentication'), 1, 'before any challenge');
  authenticator.start(0);
  const identifier = server.sent[0][1];
  for (const [packet, at] of [
    [hex('02000006 01 00'), identifier],
    [hex('02000015 10 00000000000000000000000000000000'), identifier + 1],
    [hex('01000015 10 00000000000000000000000000000000'), identifier],
  ] as const) {
    packet[1] = at;
    authenticator.receive(packet, 0, packet.length);
  }
  assert.is(server.counters.get('dropped.authentication'), 4);
  assert.is(server.shown.length, 0);
});

test('malformed packets of either protocol change nothing, at any length', () => {
  for (const method of withPeer) {
    const both = pair(method);
    both.authenticator.start(0);
    both.claimant.start(0);
    for (const packet of [both.server.sent[0], both.client.sent[0]]) {
      if (!packet) continue;
      for (let cut = 0; cut < packet.length; cut++) {
        both.authenticator.receive(packet, 0, cut);
        both.claimant.receive(0, packet, 0, cut);
      }
    }
    assert.is(both.server.shown.length, 0, method);
    assert.ok(both.server.counters.get('malformed.truncated') > 0, method);
    assert.ok(both.client.counters.get('malformed.truncated') > 0, method);
  }
});

test.run();
