/** RADIUS without a network: a server in memory that answers, is slow, is silent, or lies. freeradius.test.ts has the real one. */

import { createHash, createHmac } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { Credentials } from '../../agent/pppoe/credentials.js';
import type { AaaVerdict, AccountingRecord, SessionControl, SessionName } from '../../host-sim/bras/aaa.js';
import { RadiusAaa, type RadiusOptions, type RequestKind } from '../../host-sim/bras/aaa-radius.js';
import { type Attribute, decodeResponse, number, text, vendor } from '../../host-sim/bras/radius-packet.js';
import { Access } from './homes.js';

const secret = 'shared';
const server = { host: '192.0.2.1', authenticationPort: 1812, accountingPort: 1813, secret };
const subscriber = {
  sessionId: 7,
  accountingId: 'a-7',
  mac: '02:00:00:00:00:01',
  line: '0',
  circuitId: 'dslam 1/1',
  remoteId: '',
  service: 'internet',
};
const pap = { method: 'pap', user: encodeUtf8('ada'), password: encodeUtf8('open sesame') } as const;

interface Sent {
  readonly at: number;
  readonly server: number;
  readonly kind: RequestKind;
  readonly packet: Uint8Array;
}

/** A packet as a server signs it. */
function sign(
  code: number,
  request: Uint8Array,
  attributes: readonly Attribute[],
  key = secret,
  withSignature = true,
) {
  const list: Attribute[] = withSignature ? [[80, new Uint8Array(16)], ...attributes] : [...attributes];
  const body = Buffer.concat(
    list.map(([type, value]) => Buffer.concat([Buffer.from([type, value.length + 2]), value])),
  );
  const packet = Buffer.concat([Buffer.from([code, request[1], 0, 0]), request.subarray(4, 20), body]);
  packet.writeUInt16BE(packet.length, 2);
  if (withSignature) createHmac('md5', key).update(packet).digest().copy(packet, 22);
  createHash('md5').update(packet).update(key).digest().copy(packet, 4);
  return packet;
}

function rig(options: Partial<RadiusOptions> = {}) {
  const sent: Sent[] = [];
  const lines: string[] = [];
  const random = new Random(1, 'radius');
  const radius = new RadiusAaa(
    { servers: [server], nasIdentifier: 'ac', ...options },
    {
      random: () => new Uint8Array(16).map(() => random.below(256)),
      clockSeconds: now => 1_700_000_000 + Math.floor(now / 1000),
      send: (at, to, kind, packet) => sent.push({ at, server: to, kind, packet }),
      log: (_now, line) => lines.push(line),
    },
  );
  const verdicts: { at: number; verdict: AaaVerdict }[] = [];
  const ask = (now: number, credentials: Credentials = pap) =>
    radius.authenticate(now, credentials, subscriber, (at, verdict) => verdicts.push({ at, verdict }));
  const run = (untilAt: number) => {
    for (let at = radius.pollAt(); at <= untilAt; at = radius.pollAt()) radius.poll(at);
  };
  return { radius, sent, lines, verdicts, ask, run };
}

const record: AccountingRecord = {
  kind: 'start',
  subscriber,
  user: 'ada',
  classes: [],
  ipv4: 0x0a000001,
  sessionTimeS: 0,
  inputBytes: 5 * 2 ** 32 + 6,
  outputBytes: 0,
  inputPackets: 0,
  outputPackets: 0,
};

test('an Access-Request hides the password and is signed first of all; an acceptance brings what it grants', () => {
  const { radius, sent, ask, verdicts } = rig();
  ask(0);
  const { packet } = sent[0];
  assert.equal([packet[0], packet[20], packet[21]], [1, 80, 18]);
  assert.not.ok(Buffer.from(packet).includes('open sesame'));
  const grants = [
    number(8, 0x0a090005),
    text(11, 'fast'),
    number(27, 3600),
    number(85, 5),
    text(25, 'c1'),
    text(18, 'hello'),
  ];
  radius.receive(5, 0, 'authentication', sign(2, packet, grants));
  assert.equal(verdicts, [
    {
      at: 5,
      verdict: {
        ok: true,
        ipv4: 0x0a090005,
        rateClass: 'fast',
        sessionTimeoutS: 3600,
        interimS: 60,
        classes: [Buffer.from('c1')],
        message: 'hello',
      },
    },
  ]);
  // Once answered, the same answer is nobody's.
  radius.receive(6, 0, 'authentication', sign(2, packet, grants));
  assert.is(radius.counters.get('radius.drop.unexpected'), 1);
});

test('the password is hidden as RFC 2865 §7.1 shows', () => {
  // The example's secret, authenticator and result; its packet has no Message-Authenticator, and more follows there.
  const { sent, ask } = rig({ servers: [{ ...server, secret: 'xyzzy5461' }] });
  ask(0, { method: 'pap', user: encodeUtf8('nemo'), password: encodeUtf8('arctangent') });
  const packet = Buffer.from(sent[0].packet);
  const at = packet.lastIndexOf(Buffer.from([2, 18]));
  const mask = createHash('md5').update('xyzzy5461').update(packet.subarray(4, 20)).digest();
  const clear = packet.subarray(at + 2, at + 18).map((byte, i) => byte ^ mask[i]);
  assert.is(Buffer.from(clear).toString('latin1'), `arctangent${'\0'.repeat(6)}`);
});

test('a silent server is asked three times, then the next; later ones go there at once, until it answers again', () => {
  const { radius, sent, lines, verdicts, ask, run } = rig({
    servers: [server, { ...server, host: '192.0.2.2' }],
  });
  ask(0);
  run(9_000);
  assert.equal(
    sent.map(one => [one.at, one.server]),
    [
      [0, 0],
      [3000, 0],
      [6000, 0],
      [9000, 1],
    ],
  );
  assert.equal(sent[1].packet, sent[0].packet);
  assert.not.equal(sent[3].packet, sent[0].packet);
  radius.receive(9_100, 1, 'authentication', sign(3, sent[3].packet, []));
  assert.equal(verdicts, [{ at: 9_100, verdict: { ok: false, reason: 'wrong-credentials' } }]);
  assert.match(lines[0], /192\.0\.2\.1 does not answer: is it up.*firewall/);
  ask(10_000);
  assert.is(sent[4].server, 1);
  ask(80_000);
  assert.is(sent.at(-1)!.server, 0);
  radius.receive(80_001, 0, 'authentication', sign(3, sent.at(-1)!.packet, []));
  assert.match(lines[1], /answers again/);
});

test('if nobody answers, the session is refused after servers × tries × timeout, and nothing is left under way', () => {
  const { radius, verdicts, ask, run } = rig({ timeoutMs: 1_000 });
  ask(0);
  run(1e6);
  assert.equal(verdicts, [
    { at: 3_000, verdict: { ok: false, reason: 'no-answer', message: 'please try again later' } },
  ]);
  assert.is(radius.pollAt(), never);
});

test('answers that are forged, cut short, unsigned or of the wrong kind are counted and not believed', () => {
  const { radius, sent, lines, verdicts, ask } = rig();
  ask(0);
  const { packet } = sent[0];
  const good = sign(2, packet, []);
  const lie = (bytes: Uint8Array) => radius.receive(1, 0, 'authentication', bytes);
  lie(sign(2, packet, [], 'other'));
  lie(sign(2, packet, [], secret, false));
  lie(sign(5, packet, []));
  for (let end = 0; end < good.length; end++) lie(good.subarray(0, end));
  for (let at = 4; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad[at] ^= 0x80;
    lie(bad);
  }
  // Compared as text, this would be any digest without a valid byte of UTF-8.
  const blind = Buffer.from(good);
  blind.fill(0xff, 4, 20);
  lie(blind);
  assert.is(verdicts.length, 0);
  const { counters } = radius;
  assert.is(counters.get('radius.drop.wrong-code'), 1);
  assert.is(counters.get('radius.drop.no-message-authenticator'), 1);
  assert.ok(counters.get('radius.drop.bad-authenticator') > 16);
  assert.ok(counters.get('radius.drop.malformed') > 16);
  assert.match(lines[0], /is the shared secret the same on both sides/);
  lie(good);
  assert.is(verdicts.length, 1);
});

test('an acceptance that cannot be: a challenge, an address no host can have, no proof of MS-CHAPv2', () => {
  const { radius, sent, verdicts, ask } = rig();
  const answer = (code: number, attributes: Attribute[], credentials: Credentials = pap) => {
    ask(0, credentials);
    radius.receive(0, 0, 'authentication', sign(code, sent.at(-1)!.packet, attributes));
    const { verdict } = verdicts.at(-1)!;
    return verdict.ok ? 'ok' : verdict.reason;
  };
  const chap: Credentials = {
    method: 'ms-chap-v2',
    user: encodeUtf8('ada'),
    identifier: 9,
    challenge: new Uint8Array(16),
    response: new Uint8Array(49),
  };
  const proof = (first: number, line: string) => vendor(311, 26, Buffer.from([first, ...Buffer.from(line)]));
  assert.is(answer(11, []), 'bad-answer');
  for (const address of [0, 0x7f000001, 0xe0000001]) assert.is(answer(2, [number(8, address)]), 'bad-answer');
  assert.is(answer(2, [[8, new Uint8Array(3)]]), 'bad-answer');
  assert.is(answer(2, [number(8, 0xfffffffe)]), 'ok');
  assert.is(answer(2, [], chap), 'bad-answer');
  assert.is(answer(2, [proof(8, `S=${'A'.repeat(40)}`)], chap), 'bad-answer');
  assert.is(answer(2, [proof(9, 'S=short')], chap), 'bad-answer');
  assert.is(answer(2, [proof(9, `S=${'A'.repeat(40)}`)], chap), 'ok');
  assert.is(radius.counters.get('radius.lie.no-proof'), 3);
});

test('requests beyond 256 wait, beyond that they are refused as busy; every one is answered exactly once', () => {
  const { radius, sent, verdicts, ask, run } = rig({ waiting: 100 });
  for (let i = 0; i < 400; i++) ask(0);
  assert.equal([sent.length, verdicts.length, radius.counters.get('radius.busy')], [256, 44, 44]);
  radius.receive(1, 0, 'authentication', sign(3, sent[0].packet, []));
  assert.is(sent.length, 257);
  run(1e6);
  assert.is(verdicts.length, 400);
});

test('a start is told until somebody acknowledges it, an interim once; bytes beyond 32 bits are in the gigawords', () => {
  const { radius, sent, run } = rig();
  radius.account(0, record);
  radius.account(0, { ...record, kind: 'interim' });
  const interim = Buffer.from(sent[1].packet);
  assert.ok(
    interim.includes(Buffer.from([42, 6, 0, 0, 0, 6])) && interim.includes(Buffer.from([52, 6, 0, 0, 0, 5])),
  );
  run(60_000);
  assert.is(radius.counters.get('radius.accounting-dropped'), 1);
  const soFar = sent.length;
  while (sent.length === soFar) run(radius.pollAt());
  const last = sent[soFar];
  radius.receive(last.at, 0, 'accounting', sign(5, last.packet, [], secret, false));
  assert.is(radius.counters.get('radius.accounting-response'), 1);
  const before = sent.length;
  run(1e6);
  assert.is(sent.length, before);
});

/** A request of a server's to us, RFC 5176 §2.3. */
function controlRequest(
  code: number,
  attributes: readonly Attribute[],
  { signed = false, key = secret } = {},
) {
  const zero = new Uint8Array(20);
  zero[1] = code;
  return sign(code, zero, attributes, key, signed);
}

test('Disconnect and CoA are believed if signed, obeyed once, and answered with an Error-Cause where they cannot be', () => {
  const { radius } = rig();
  const asked: SessionName[] = [];
  const sessions: SessionControl = {
    disconnect: (_now, name) => {
      asked.push(name);
      return name.user === 'ada' ? 1 : 0;
    },
    changeRateClass: (_now, name, rateClass) =>
      rateClass === 'fast' ? (name.user === 'ada' ? 1 : 0) : undefined,
  };
  const answer = (request: Uint8Array) => {
    const bytes = radius.control(0, 0, request, sessions);
    if (!bytes) return undefined;
    const response = decodeResponse(bytes, request, secret, true);
    if (!response.ok) throw new Error(response.reason);
    const cause = response.value.attributes.find(([type]) => type === 101)?.[1];
    return [response.value.code, cause ? Buffer.from(cause).readUInt32BE() : 0];
  };
  const disconnect = controlRequest(40, [text(1, 'ada'), text(44, 'a-7')], { signed: true });
  assert.equal(answer(disconnect), [41, 0]);
  assert.equal(answer(disconnect), [41, 0]);
  assert.equal(asked, [{ accountingId: 'a-7', user: 'ada' }], 'a repetition is answered, not obeyed again');
  assert.equal(answer(controlRequest(40, [text(1, 'bob')])), [42, 503]);
  assert.equal(answer(controlRequest(40, [])), [42, 402]);
  assert.equal(answer(controlRequest(43, [text(1, 'ada'), text(11, 'fast')])), [44, 0]);
  assert.equal(answer(controlRequest(43, [text(1, 'ada'), text(11, 'gold')])), [45, 407]);
  assert.equal(answer(controlRequest(43, [text(1, 'ada')])), [45, 401]);
  assert.is(answer(controlRequest(40, [text(1, 'eve')], { key: 'guess' })), undefined);
  assert.is(
    answer(controlRequest(40, [text(1, 'ada'), number(55, 1_600_000_000)])),
    undefined,
    'a recording',
  );
  for (let end = 0; end < disconnect.length; end++) assert.is(answer(disconnect.subarray(0, end)), undefined);
});

test('a BRAS on RADIUS lets in whom the server accepts, waits while it thinks, and refuses when it is silent', () => {
  const access = new Access();
  const out: Sent[] = [];
  let radius: RadiusAaa | undefined;
  const { bras } = access.addBras({}, () => {
    radius = new RadiusAaa(
      { servers: [server], nasIdentifier: 'ac' },
      {
        random: () => new Uint8Array(16),
        clockSeconds: () => 0,
        send: (at, to, kind, packet) => out.push({ at, server: to, kind, packet }),
        log: () => {},
      },
    );
    return radius;
  });
  const ada = access.dial(1, 'ada', 'anything', { methods: ['chap-md5'] });
  assert.not(ada.isUp);
  access.pass(2_000);
  radius?.receive(access.now, 0, 'authentication', sign(2, out[0].packet, [number(8, 0x0a090001)]));
  access.settle();
  assert.equal([ada.isUp, ada.address, out.at(-1)?.kind], [true, 0x0a090001, 'accounting']);
  const bob = access.dial(2, 'bob', 'anything', { methods: ['pap'] });
  access.pass(12_000);
  assert.not(bob.isUp);
  assert.equal([bras.openCount, bras.counters.get('bras.authentication.no-answer')], [1, 1]);
});

test('options that cannot be are named, secrets are not', () => {
  assert.throws(() => rig({ servers: [] }), /servers: expected 1\.\.8, got 0/);
  assert.throws(() => rig({ servers: [{ ...server, secret: '' }] }), /servers\[0\]\.secret: expected/);
});

test.run();
