import { createHash, sign } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Agent } from '../../agent/agent.js';
import { formatHex, parseHex, utf8Length } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { encodeCbor } from '../../agent/message/cbor.js';
import {
  farewellMs,
  forgetMs,
  longestPauseMs,
  mostTries,
  proveMs,
  stallMs,
  steadyMs,
  updateWith,
} from '../../agent/update/job.js';
import { emitKept, parseKept } from '../../agent/update/kept.js';
import { readManifest } from '../../agent/update/manifest.js';
import { emitSign1, longestSign1, signedBytes } from '../../agent/update/sign1.js';
import { signManifest } from '../../host-sim/cli/firmware.js';
import { crypto, image, keyPair, manifestOf, Rig } from './update-rig.js';

/** Signed by Python's cryptography 50.0, encoded by its cbor2 6.1, with the key `11` of RFC 9052 Appendix C.7. */
const foreign =
  'd28443a10126a0588ca766666f726d61740168706c6174666f726d6565737033326776657273696f6e65312e322e306873657175656e6365076473697a' +
  '651903e8666469676573745820a8af099bf2e878609558dbf69d8f88f4a31040a8cf84b549a0cfa912f12ffc3f637572697825687474703a2f2f7570' +
  '64617465732e6578616d706c652f6b6974682d312e322e302e62696e58403fcf7d81ab461144a1c8f1b377fab5801a61e8c4fe0ef667e012979a6991' +
  'cdbba0221a2fe8340b4e3026fc364072a8ded1c720178160a6243abfb1a9ac102f93';
const foreignKey =
  '04bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e';

test('a manifest that other programs made and signed is read', () => {
  const read = readManifest(parseHex(foreign)!, { crypto, publicKey: parseHex(foreignKey)! });
  assert.ok(read.ok, JSON.stringify(read));
  assert.equal(
    { ...read.value, digest: formatHex(read.value.digest) },
    {
      format: 1,
      platform: 'esp32',
      version: '1.2.0',
      sequence: 7,
      size: 1000,
      digest: createHash('sha256').update(image).digest('hex'),
      uri: 'http://updates.example/kith-1.2.0.bin',
    },
  );
});

test('a good manifest: the image is fetched, activated, proves itself, and the outcome is told after the restart', () => {
  const rig = new Rig().connect();
  assert.equal(rig.request(rig.sign()), { transaction: 't', ok: true } as never);
  rig.pass(0);
  assert.equal(rig.only(), {
    kind: 'image-fetch',
    uri: 'http://images.example/kith.bin',
    from: 0,
    size: 1000,
  });
  rig.send().pass(farewellMs - 1);
  assert.equal(rig.effects, [], 'what is said leaves before the node does');
  rig.pass(1);
  assert.equal(rig.only(), { kind: 'slot', action: 'activate' });
  assert.equal(rig.told, [
    'begun: 1.2.0 (sequence 7): 1000 bytes from http://images.example/kith.bin',
    'loading: 1.2.0 (sequence 7): 25 %',
    'loading: 1.2.0 (sequence 7): 50 %',
    'loading: 1.2.0 (sequence 7): 75 %',
    'installed: 1.2.0 (sequence 7): restarting with it',
  ]);
  rig.told = [];
  rig
    .boot({ running: 'b', spare: 'a', isOnTrial: true })
    .pass(60_000)
    .connect()
    .pass(steadyMs - 1);
  assert.equal([rig.effects, rig.told], [[], []], 'a connection of a moment proves nothing');
  rig.pass(1);
  assert.equal(rig.only(), { kind: 'slot', action: 'confirm' });
  assert.equal(rig.told, ['running: 1.2.0 (sequence 7): proved itself']);
  // And not again after a while, nor is the same or an older image taken.
  rig.pass(forgetMs).told = [];
  rig
    .boot({ isOnTrial: false })
    .connect()
    .pass(2 * proveMs);
  assert.equal([rig.effects, rig.told], [[], []]);
  assert.match(rig.request(rig.sign()).error!, /^manifest.sequence: expected at least 8, got 7$/);
  assert.match(rig.request(rig.sign(manifestOf({ sequence: 1 }))).error!, /expected at least 8, got 1$/);
  assert.ok(rig.request(rig.sign(manifestOf({ sequence: 8 }))).ok);
});

test('what cannot be taken is refused with the field and what was expected', () => {
  const rig = new Rig().connect();
  const signed = parseHex(rig.sign())!;
  const raw = (value: unknown) => {
    const payload = encodeCbor(value as never);
    const key = { key: rig.key.privateKey, dsaEncoding: 'ieee-p1363' as const };
    return formatHex(emitSign1(payload, sign('sha256', signedBytes(payload), key)));
  };
  const broken = signed.slice();
  broken[40] ^= 1;
  const cases: readonly (readonly [string | undefined, RegExp])[] = [
    [undefined, /^manifest: expected a signed manifest in hex digits, got nothing$/],
    ['zz', /^manifest: expected hex digits, got something else$/],
    ['00', /^manifest: expected a COSE_Sign1 with ES256, got not-sign1$/],
    [
      rig.sign(manifestOf(), keyPair().privateKey),
      /^manifest: expected the signature of this firmware's key/,
    ],
    [formatHex(broken), /^manifest: expected the signature of this firmware's key/],
    [foreign, /^manifest: expected the signature of this firmware's key/],
    [raw([1]), /^manifest.payload: expected a map of format, platform/],
    [raw({ ...manifestOf(), extra: 1 }), /^manifest.extra: expected one of the fields format, platform/],
    [raw({ ...manifestOf(), format: 2 }), /^manifest.format: expected 1, got 2$/],
    [
      raw({ ...manifestOf(), digest: new Uint8Array(31) }),
      /^manifest.digest: expected 32 bytes, got 31 bytes$/,
    ],
    [raw({ ...manifestOf(), sequence: 0 }), /^manifest.sequence: expected an integer 1\.\./],
    [raw({ ...manifestOf(), sequence: 1.5 }), /^manifest.sequence: expected an integer/],
    [raw({ ...manifestOf(), uri: 'ftp://x/y' }), /^manifest.uri: expected http:\/\/ or https:\/\//],
    [
      raw({ ...manifestOf(), uri: 'http://x/\r\nHost: y' }),
      /^manifest.uri: expected http:\/\/ or https:\/\//,
    ],
    [
      raw({ ...manifestOf(), uri: undefined }),
      /^manifest.uri: expected text of 0 to 200 bytes, got nothing$/,
    ],
    [rig.sign(manifestOf({ platform: 'esp32' })), /^manifest.platform: expected test-board, got esp32$/],
    [rig.sign(manifestOf({ size: 4097 })), /^manifest.size: expected at most 4096, got 4097$/],
  ];
  for (const [manifest, expected] of cases) {
    const answer = rig.request(manifest);
    assert.not(answer.ok, String(expected));
    assert.match(answer.error!, expected);
    assert.ok(utf8Length(answer.error!) <= 200);
  }
  rig.pass(1000);
  assert.equal([rig.effects, rig.told], [[], []]);
  assert.is(rig.count('requests.refused'), cases.length);
  const node = new Agent(0, {
    site: 'home',
    node: 'board',
    firmware: 'f',
    platform: 'p',
    boot: '00000001',
    links: [],
    jobs: [],
    missing: { update: 'of a reason' },
    saved: {},
  });
  node.receive(0, { kind: 'bus-up', sessionPresent: false });
  const payload = encodeCbor({ transaction: 't', manifest: foreign });
  node.receive(0, { kind: 'message', topic: 'kith/1/home/board/request/update', payload, retained: false });
  const texts: string[] = [];
  for (let effect = node.outbox.shift(); effect; effect = node.outbox.shift())
    if (effect.kind === 'publish') texts.push(Buffer.from(effect.payload).toString('latin1'));
  assert.match(texts.join(), /this node has no update job: of a reason/);
});

test('the number that a firmware was built with holds where the record is lost', () => {
  const rig = new Rig();
  rig.sequence = 9;
  rig.boot().connect();
  assert.match(rig.request(rig.sign(manifestOf({ sequence: 9 }))).error!, /expected at least 10, got 9/);
});

test('one update at a time, and none while the firmware is on trial', () => {
  const rig = new Rig().connect();
  assert.ok(rig.request(rig.sign()).ok);
  assert.match(rig.request(rig.sign()).error!, /^update: expected none under way, got 1.2.0 \(sequence 7\)$/);
  const other = new Rig().boot({ isOnTrial: true }).connect();
  assert.match(other.request(other.sign()).error!, /^update: expected firmware that has proved itself/);
});

test('a download that breaks goes on where it was; one that never comes ends after a number of tries', () => {
  const rig = new Rig().connect();
  rig.request(rig.sign());
  rig.pass(0).only();
  rig.send(image.subarray(0, 384)).give({ kind: 'image', state: 'broken', reason: 'reset' });
  assert.equal(rig.effects, []);
  rig.pass(2000);
  assert.is((rig.only() as { from: number }).from, 384);
  rig.send(image, 384).pass(farewellMs);
  assert.equal(rig.only(), { kind: 'slot', action: 'activate' });

  const silent = new Rig().connect();
  silent.request(silent.sign());
  for (let i = 0; i < mostTries; i++) {
    const askedAt = silent.now;
    while (silent.effects.length === 0 && silent.now <= askedAt + longestPauseMs) silent.pass(1000);
    assert.is(silent.only().kind, 'image-fetch', `try ${i}`);
    silent.give({ kind: 'image', state: 'broken', reason: 'refused by images.example' });
  }
  silent.pass(0);
  assert.is(silent.told.pop(), 'failed: 1.2.0 (sequence 7): 12 tries, the last: refused by images.example');
  silent.effects = [];
  assert.ok(silent.pass(2 * proveMs).request(silent.sign()).ok, 'and it can be asked for again');
});

test('a connection that says nothing is given up, and tried again', () => {
  const rig = new Rig().connect();
  rig.request(rig.sign());
  rig.pass(0).only();
  rig
    .pass(stallMs - 1)
    .chunk(0, image.subarray(0, 10))
    .pass(stallMs - 1);
  assert.equal(rig.effects, []);
  rig.pass(1);
  assert.equal(rig.only(), { kind: 'image-stop' });
  rig.chunk(10, image.subarray(10, 20)).pass(2000);
  assert.is((rig.only() as { from: number }).from, 10, 'what came too late does not count');
  assert.is(rig.count('inputs.unexpected'), 1);
});

test('another digest, bytes out of place and what the platform refuses end it at once, and nothing is activated', () => {
  const outcomes: readonly (readonly [(rig: Rig) => unknown, RegExp])[] = [
    [rig => rig.send(image.map(byte => byte ^ 1)), /digest: expected a8af099b…, got [0-9a-f]{8}…$/],
    [rig => rig.chunk(1, image.subarray(1, 20)), /expected bytes at 0, got 19 at 1$/],
    [rig => rig.chunk(0, new Uint8Array(1001)), /expected bytes at 0, got 1001 at 0$/],
    [rig => rig.give({ kind: 'image', state: 'refused', reason: 'HTTP 404' }), /: HTTP 404$/],
  ];
  for (const [act, expected] of outcomes) {
    const rig = new Rig().connect();
    rig.request(rig.sign());
    rig.pass(0).only();
    act(rig);
    rig.pass(2 * proveMs);
    assert.match(rig.told.pop()!, expected);
    assert.not(rig.effects.some(effect => effect.kind === 'slot'));
    assert.ok(rig.request(rig.sign()).ok);
  }
});

test('while the broker is gone the download goes on; the outcome is told when it is back, also after a restart', () => {
  const rig = new Rig().connect();
  rig.request(rig.sign());
  rig.pass(0).only();
  rig.give({ kind: 'bus-down' }).send().pass(farewellMs);
  assert.equal(rig.only(), { kind: 'slot', action: 'activate' });

  const failing = new Rig().connect();
  failing.request(failing.sign());
  failing.pass(0).told = [];
  failing.give({ kind: 'bus-down' }).give({ kind: 'image', state: 'refused', reason: 'HTTP 404' }).pass(1000);
  failing.boot().pass(1000).connect().pass(0);
  assert.equal(failing.told, ['failed: 1.2.0 (sequence 7): HTTP 404']);
  failing
    .pass(forgetMs - 1)
    .give({ kind: 'bus-down' })
    .pass(forgetMs)
    .connect()
    .pass(forgetMs - 1);
  assert.equal(failing.told.length, 1, 'told once in one life');
  failing.told = [];
  failing
    .boot()
    .connect()
    .pass(forgetMs - 1);
  assert.equal(failing.told, ['failed: 1.2.0 (sequence 7): HTTP 404'], 'nobody may have heard it');
  failing.told = [];
  failing.pass(1).boot().connect().pass(1000);
  assert.equal(failing.told, []);
});

test('firmware that is not connected in time rolls itself back, and the former one says so', () => {
  const rig = installed();
  rig.boot({ running: 'b', spare: 'a', isOnTrial: true });
  // A connection that does not last is none.
  for (let i = 0; i < 5; i++)
    rig
      .pass(60_000)
      .connect()
      .pass(steadyMs - 1)
      .give({ kind: 'bus-down' });
  rig.pass(proveMs - rig.now + bootedAt);
  assert.equal(rig.only(), { kind: 'slot', action: 'roll-back' });
  rig.boot({ running: 'a', spare: 'b', isOnTrial: false }).connect().pass(0);
  assert.equal(rig.told, ['rolled-back: 1.2.0 (sequence 7): not connected to the broker within 10 min']);
  assert.ok(rig.request(rig.sign()).ok, 'the number of what did not prove itself does not count');
});

test('firmware that crashes is rolled back by the bootloader, and the former one says so', () => {
  const rig = installed().boot().connect().pass(0);
  assert.equal(rig.told, ['rolled-back: 1.2.0 (sequence 7): it restarted before it proved itself']);
});

test('a restart during the download, and one between confirming and its record, are told as what they are', () => {
  const rig = new Rig().connect();
  rig.request(rig.sign());
  rig.pass(0).told = [];
  rig.boot().connect().pass(0);
  assert.equal(rig.told, ['failed: 1.2.0 (sequence 7): the node restarted meanwhile']);
  const confirmed = installed().boot({ running: 'b', spare: 'a', isOnTrial: false }).connect().pass(0);
  assert.equal(confirmed.told, ['running: 1.2.0 (sequence 7): proved itself']);
  assert.match(confirmed.request(confirmed.sign()).error!, /expected at least 8/);
});

test('firmware on trial of which no record is left is confirmed all the same', () => {
  const rig = new Rig().boot({ isOnTrial: true }).connect().pass(steadyMs);
  assert.equal(rig.only(), { kind: 'slot', action: 'confirm' });
  assert.equal(rig.told, []);
});

test('a slot that does not take the image is told, and the node goes on', () => {
  const rig = installed();
  rig.give({ kind: 'image', state: 'refused', reason: 'the image is no firmware' }).pass(0);
  assert.equal(rig.told, ['failed: 1.2.0 (sequence 7): the image is no firmware']);
  assert.ok(rig.request(rig.sign()).ok);
});

test('what was answered is on record, and an answer comes behind what happened before', () => {
  const rig = new Rig().connect();
  rig.request(rig.sign());
  rig.boot().connect();
  rig.request(undefined);
  assert.equal(rig.told, ['failed: 1.2.0 (sequence 7): the node restarted meanwhile']);
});

test('firmware on trial whose last record the store did not take is of the attempt all the same', () => {
  const rig = new Rig().connect();
  rig.request(rig.sign());
  const record = rig.saved['update']!;
  rig.pass(0).send().pass(farewellMs).saved['update'] = record;
  rig.told = [];
  rig.boot({ running: 'b', spare: 'a', isOnTrial: true }).connect().pass(steadyMs);
  assert.equal(rig.told, ['running: 1.2.0 (sequence 7): proved itself']);
  assert.match(rig.request(rig.sign()).error!, /expected at least 8/);
});

test('a record is read as it was written, and no damage to one throws', () => {
  const attempt = { version: '1.2.0', sequence: 7, slot: 'b', step: 'trial' as const, why: 'x' };
  const record = emitKept({ sequence: 6, attempt, outcome: 'failed: y' });
  assert.equal(parseKept(record), { sequence: 6, attempt, outcome: 'failed: y' });
  const seed = 77;
  const random = new Random(seed, 'kept');
  let unreadable = 0;
  for (let i = 0; i < 5000; i++) {
    const bytes = record.slice(0, random.below(record.length) + 1);
    bytes[random.below(bytes.length)] = random.below(256);
    if (parseKept(bytes) === undefined) unreadable++;
  }
  assert.ok(unreadable > 1000);
  const rig = new Rig();
  rig.saved['update'] = new Uint8Array([0xff]);
  assert.is(rig.boot().connect().count('saved.unreadable'), 1);
});

test('no damaged manifest is taken, and none throws: every bit of it is signed or has one form', () => {
  const rig = new Rig();
  const signer = { crypto: { verifyEs256: () => true }, publicKey: rig.key.point };
  const good = parseHex(rig.sign())!;
  for (let bit = 0; bit < 8 * good.length; bit++) {
    const bytes = good.slice();
    bytes[bit >> 3] ^= 1 << (bit & 7);
    assert.not(readManifest(bytes, { ...signer, crypto }).ok, `bit ${bit}`);
  }
  // With any signature, so that what is behind it is reached.
  const seed = 4711;
  const random = new Random(seed, 'manifest');
  let read = 0;
  for (let i = 0; i < 10_000; i++) {
    const bytes = good.slice();
    for (let damage = random.below(5); damage >= 0; damage--)
      bytes[random.below(bytes.length)] = random.below(256);
    const judged = readManifest(bytes, signer);
    if (judged.ok) read++;
    else assert.match(judged.reason, /^manifest[.:]/, `seed ${seed}, round ${i}`);
  }
  assert.ok(read > 100 && read < 9000, `${read}`);
});

test('the longest manifest fits what is taken', () => {
  const rig = new Rig();
  const longest = manifestOf({
    platform: 'p'.repeat(64),
    version: 'v'.repeat(32),
    sequence: Number.MAX_SAFE_INTEGER,
    size: 16_777_216,
    uri: `http://${'u'.repeat(193)}`,
  });
  const signed = rig.sign(longest);
  assert.ok(signed.length / 2 <= longestSign1, `${signed.length / 2} bytes`);
  assert.throws(
    () => signManifest({ ...longest, version: '' }, rig.key.privateKey),
    /manifest.version: expected/,
  );
});

test('options that cannot be are refused at once', () => {
  const { slots } = new Rig();
  const options = { crypto, publicKey: keyPair().point, platform: 'p', sequence: 0, slots };
  assert.throws(
    () => updateWith({ ...options, publicKey: new Uint8Array(65) }),
    /publicKey: expected 65 bytes/,
  );
  assert.throws(() => updateWith({ ...options, sequence: -1 }), /sequence: expected an integer from 0/);
});

/** When `installed` restarts. */
const bootedAt = farewellMs;

/** A rig whose image is in the slot and which was asked to restart. */
function installed(): Rig {
  const rig = new Rig().connect();
  rig.request(rig.sign());
  rig.pass(0).only();
  rig.send().pass(farewellMs);
  assert.equal(rig.only(), { kind: 'slot', action: 'activate' });
  rig.told = [];
  return rig;
}

test.run();
