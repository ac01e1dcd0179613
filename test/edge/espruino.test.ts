import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeUtf8, digest, encodeUtf8, formatHex, readUint16 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { type CborValue, encodeCbor } from '../../agent/message/cbor.js';
import { parseWakeOnLan } from '../../agent/wire/wol.js';
import { buildFirmware, mostBytes } from '../../edge/espruino/build.js';
import { faults } from '../../edge/espruino/lower.js';
import { Mqtt } from '../../edge/espruino/mqtt.js';
import { noJob, SmallAgent, type SmallEffect, type SmallInput } from '../../edge/espruino/small-agent.js';
import { encodeSmallCbor } from '../../edge/espruino/small-cbor.js';
import { parseJson } from '../../edge/espruino/small-json.js';
import type { KibbutzSettings } from '../../edge/espruino/small-kibbutz.js';
import { proxyCounters, SmallProxy } from '../../edge/espruino/small-proxy.js';
import {
  crc32,
  flashEspruino,
  kibbutzOf,
  missingForEspruino,
  missingForModdable,
  settingsOf,
} from '../../host-sim/cli/flash.js';
import { needs } from '../support/needs.js';
import { bodyOf, faultsOf, onBoard, report } from './espruino-board.js';

const host = '3c:22:fb:01:02:03';
const knockRule = `{"host":"${host}","trigger":{"udp":{"dstPort":9999}},"action":"wake"}`;
const topicOf = (leaf: string) => `kith/1/home/esp-1/${leaf}`;

/** A board: the agent, what it saved, and what it said. */
class Board {
  agent: SmallAgent;
  now = 0;
  ports: readonly number[] = [];
  effects: SmallEffect[] = [];
  readonly saved: { [key: string]: Uint8Array };

  constructor(saved: { [key: string]: Uint8Array } = {}, withRules = true) {
    this.saved = saved;
    this.agent = new SmallAgent(0, {
      site: 'home',
      node: 'esp-1',
      firmware: 'test 1',
      boot: '00000001',
      jobCounters: withRules ? proxyCounters : [],
      makeJob: withRules ? (now, voice) => new SmallProxy(now, voice, { ...saved }) : () => noJob,
    });
    this.give({ kind: 'bus-up' });
  }

  give(input: SmallInput): void {
    this.agent.receive(this.now, input);
    this.pass(this.now);
  }

  publish(leaf: string, text: string, retained = false): void {
    this.give({ kind: 'message', topic: topicOf(leaf), payload: encodeUtf8(text), retained });
  }

  /** Lets time pass until `until`. */
  pass(until: number): void {
    for (;;) {
      for (const [key, record] of Object.entries(this.agent.unsaved)) {
        delete this.agent.unsaved[key];
        if (record.length > 0) this.saved[key] = record;
        else delete this.saved[key];
      }
      for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift()) {
        if (effect.kind === 'listen') this.ports = effect.ports;
        else this.effects.push(effect);
      }
      const at = Math.max(this.now, this.agent.pollAt());
      if (at > until) break;
      this.now = at;
      this.agent.poll(at);
    }
    this.now = until;
  }

  /** What was said on a leaf since the last call of `clear`, as the schema has it. */
  said(leaf: string): { [key: string]: CborValue }[] {
    const bodies: { [key: string]: CborValue }[] = [];
    for (const effect of this.effects) {
      if (effect.kind !== 'publish' || effect.topic !== topicOf(leaf) || effect.payload.length === 0)
        continue;
      bodies.push(bodyOf(effect.topic, effect.payload));
    }
    return bodies;
  }

  /** Magic packets since the last call of `clear`. */
  wakes(): number {
    const magic = this.effects.filter(effect => effect.kind === 'broadcast');
    for (const { payload } of magic) assert.ok(parseWakeOnLan(payload, 0, payload.length).ok);
    return magic.length;
  }
}

test('what a build does not do is not in it', async () => {
  const [all, carrying, reporting] = await Promise.all([
    buildFirmware({ jobs: 'power-proxy' }),
    buildFirmware({ jobs: 'kibbutz' }),
    buildFirmware({ jobs: 'none' }),
  ]);
  assert.ok(reporting.length < all.length - 5000, `${all.length} and ${reporting.length} bytes`);
  for (const word of ['dstPort', 'revision', 'MAC address']) {
    assert.match(all, word);
    assert.not.match(reporting, word);
    assert.not.match(carrying, word);
  }
  assert.match(carrying, 'addMembership');
  for (const script of [all, reporting]) assert.not.match(script, 'addMembership');
});

test('the firmware is one ASCII script that Espruino takes, within its bytes, with each choice of jobs', async () => {
  for (const jobs of ['power-proxy', 'kibbutz', 'none'] as const) {
    const script = await buildFirmware({ jobs });
    assert.ok(script.length <= mostBytes, `${script.length} bytes`);
    assert.equal(await faults(script), []);
    assert.not.match(script, /boardModule|withRules|withKibbutz/);
    for (const name of ['push', 'length', 'indexOf', 'inForce', 'uptime', 'transaction', 'waitingEvents'])
      assert.match(script, name, 'names that leave the file are whole');
  }
});

test('a rule is judged, a datagram to its port wakes the host every 3 s for 45 s, and all is said as the contract has it', () => {
  const board = new Board();
  const [info] = board.said('info');
  assert.equal(info['jobs'], ['power-proxy']);
  assert.equal(Object.keys(info['missing'] as object).sort(), [
    'kibbutz',
    'power-proxy/frames',
    'power-proxy/mdns',
    'pppoe',
    'update',
  ]);
  board.now = 1000;
  board.publish('rule/nas', knockRule);
  assert.equal(board.ports, [9999]);
  assert.is(board.said('rule/nas/status')[0]['inForce'], digest(encodeUtf8(knockRule)));
  board.give({ kind: 'knock', port: 1234 });
  board.pass(10_000);
  assert.is(board.wakes(), 0, 'no other port, and not by itself');
  board.give({ kind: 'knock', port: 9999 });
  board.give({ kind: 'knock', port: 9999 });
  board.pass(100_000);
  assert.is(board.wakes(), 16);
  assert.is(board.said('event/wake').length, 1, 'while it is being woken there is no second wake');
  assert.is(board.said('rule/nas/status').at(-1)!['hits'], 2);
  board.publish('rule/nas', '');
  assert.equal(board.ports, []);
  assert.equal(board.saved, {});
});

test('timers fire once or again and again, a rule ends with its timeout and stays so over a restart', () => {
  const board = new Board();
  const timer = (every: string) =>
    `{"host":"${host}","trigger":{"timer":${every}},"action":"wake","timeout":"1h"}`;
  board.publish('rule/hourly', timer('{"every":"10m"}'));
  board.publish('rule/once', timer('{"after":"5m"}'));
  board.pass(299_999);
  assert.is(board.wakes(), 0);
  board.pass(1_000_000);
  assert.equal(
    board.said('event/wake').map(event => event['rule']),
    ['once', 'hourly'],
  );
  // What was saved last is less than a minute old, so of the hour some 43 minutes are left.
  const next = new Board(board.saved);
  assert.is(next.said('rule/hourly/status')[0]['status'], 'accepted');
  next.pass(2_600_000 - 60_000);
  assert.is(next.said('rule/hourly/status').at(-1)!['status'], 'accepted');
  next.pass(2_600_000 + 60_000);
  assert.is(next.said('rule/hourly/status').at(-1)!['status'], 'expired');
  const third = new Board(next.saved);
  third.publish('rule/hourly', timer('{"every":"10m"}'), true);
  assert.is(third.said('rule/hourly/status').at(-1)!['status'], 'expired');
  third.publish('rule/hourly', timer('{"every":"10m"}'));
  assert.is(third.said('rule/hourly/status').at(-1)!['status'], 'accepted', 'published again it starts anew');
});

test('a rule that ended stays so when a new connection delivers it again, and the oldest of many is forgotten', () => {
  const board = new Board();
  const rule = (port: number) =>
    `{"host":"${host}","trigger":{"udp":{"dstPort":${port}}},"action":"wake","timeout":"1h"}`;
  const lastOf = (id: string) => board.said(`rule/${id}/status`).at(-1)!['status'];
  board.publish('rule/a', rule(1));
  board.pass(4_000_000);
  board.publish('rule/a', rule(1), true);
  assert.is(lastOf('a'), 'expired');
  board.publish('rule/a', rule(2), true);
  assert.is(lastOf('a'), 'accepted');
  board.publish('rule/a', rule(1), true);
  assert.is(lastOf('a'), 'accepted', 'it is another than the one before');
  for (let i = 0; i < 20; i++) {
    board.publish(`rule/r-${i}`, rule(1));
    board.pass(board.now + 4_000_000);
  }
  assert.is(Object.keys(board.saved).length, 16);
  assert.not.ok('rule/a' in board.saved);
});

test('what this board cannot do is rejected with the field, and the rule in force stays', () => {
  const board = new Board();
  board.publish('rule/a', knockRule);
  const rejections: [string, string][] = [
    ['{', ''],
    ['[1]', ''],
    ['{"trigger":{"any":true},"action":"wake"}', 'host'],
    [`{"host":"${host}","trigger":{"tcp":{"dstPort":22}},"action":"wake"}`, 'trigger.tcp'],
    [`{"host":"${host}","trigger":{"udp":{"dstPort":70000}},"action":"wake"}`, 'trigger.udp.dstPort'],
    [`{"host":"${host}","trigger":{"udp":{"dstPort":1}},"action":"drop"}`, 'action'],
    [`{"host":"${host}","trigger":{"timer":{"every":"1ms"}},"action":"wake"}`, 'trigger.timer'],
    [`{"host":"${host}","trigger":{"timer":{"every":"1h"}},"action":"wake","timeout":"soon"}`, 'timeout'],
    [`{"host":"ff:ff:ff:ff:ff:ff","trigger":{"timer":{"every":"1h"}},"action":"wake"}`, 'host'],
    [`{"host":"${host}","triger":{},"action":"wake"}`, 'triger'],
  ];
  for (const [text, field] of rejections) {
    board.publish('rule/a', text);
    const status = board.said('rule/a/status').at(-1)!;
    assert.is(status['status'], 'rejected', text);
    assert.is(status['field'], field, text);
    assert.is(status['inForce'], digest(encodeUtf8(knockRule)));
  }
  for (let i = 0; i < 20; i++) board.publish(`rule/r-${i}`, knockRule);
  assert.is(board.said('rule/r-19/status').at(-1)!['expected'], 'at most 16 rules');
  const reporter = new Board({}, false);
  reporter.publish('rule/a', knockRule);
  assert.is(reporter.said('rule/a/status')[0]['status'], 'rejected');
  assert.match(Object.keys(reporter.said('info')[0]['missing'] as object).join(), 'power-proxy');
  const payload = encodeCbor({ host, trigger: { udp: { dstPort: 9999 } }, action: 'wake' });
  board.give({ kind: 'message', topic: topicOf('rule/a'), payload, retained: false });
  assert.is(
    board.said('rule/a/status').at(-1)!['reason'],
    'payload: expected a map in JSON, got CBOR',
    'a departure from the contract, said by name',
  );
});

test('more rules than the outbox has room are all saved, and again each minute, those alone that have a time', () => {
  const board = new Board();
  for (let i = 0; i < 15; i++) board.publish(`rule/r-${i}`, `${knockRule.slice(0, -1)},"timeout":"1d"}`);
  board.publish('rule/for-ever', knockRule);
  const records = () => Object.entries(board.saved).map(([key, bytes]) => [key, decodeUtf8(bytes)] as const);
  const before = records();
  assert.is(before.length, 16);
  board.pass(61_000);
  const after = records();
  assert.equal(
    after.filter(([, text], i) => text === before[i]![1]).map(([key]) => key),
    ['rule/for-ever'],
  );
  for (const [key, text] of after)
    if (key !== 'rule/for-ever') assert.ok(Number(text!.split(',')[1]) <= 86_400_000 - 60_000, text);
  assert.is(board.agent.counters.get('outbox.full'), 0);
});

test('requests are answered, torn records and foreign topics do no harm, nothing is said while the bus is down', () => {
  const board = new Board({ 'rule/x': encodeUtf8('{"payload":"{\\"ho'), 'rule/y': new Uint8Array(3) });
  assert.is(board.agent.counters.get('records.unreadable'), 2);
  board.publish('request/wake', `{"transaction":"t","host":"${host}"}`);
  board.publish('request/wake', '{"transaction":"u","host":"me"}');
  assert.equal(
    board.said('response/wake').map(({ ok }) => ok),
    [true, false],
  );
  board.publish('request/report', '{}');
  board.give({ kind: 'message', topic: 'x', payload: new Uint8Array(0), retained: false });
  board.give({
    kind: 'message',
    topic: 'kith/1/home/esp-2/rule/a',
    payload: encodeUtf8(knockRule),
    retained: false,
  });
  assert.is(board.agent.counters.get('messages.refused'), 3);
  board.give({ kind: 'bus-down' });
  board.effects = [];
  board.publish('rule/a', knockRule);
  // The first knock finds the host being woken.
  for (let i = 0; i < 30; i++) {
    board.give({ kind: 'knock', port: 9999 });
    board.pass(board.now + 60_000);
  }
  assert.ok(board.effects.every(({ kind }) => kind === 'broadcast'));
  assert.is(board.agent.counters.get('events.dropped'), 21);
  board.give({ kind: 'bus-up' });
  assert.is(board.said('event/wake').length, 8);
});

test('MQTT byte by byte: a publication waits for its acknowledgement, and what a broker must not send ends it', () => {
  const make = () => {
    const sent: string[] = [];
    const news: string[] = [];
    const mqtt = new Mqtt(
      0,
      {
        clientId: 'c',
        user: 'u',
        password: 'p',
        will: { topic: 'w', payload: encodeUtf8('lost') },
        keepAliveS: 60,
      },
      {
        send: bytes => sent.push(formatHex(bytes)),
        up: () => news.push('up'),
        down: reason => news.push(reason),
        message: (topic, payload, retained) => news.push(`${topic} ${formatHex(payload)} ${retained}`),
      },
    );
    return { mqtt, sent, news };
  };
  const bytes = (hex: string) => Buffer.from(hex, 'hex');
  const { mqtt, sent, news } = make();
  // CONNECT: MQTT 3.1.1, user, password, will retained with QoS 1, clean session, 60 s (§3.1).
  assert.is(sent[0], '101c00044d51545404ee003c0001630001770004' + '6c6f7374' + '000175' + '000170');
  for (const byte of bytes('20020000')) mqtt.receive(new Uint8Array([byte]));
  mqtt.publish(1, 'a', new Uint8Array([7]), true);
  assert.is(sent[1], '3306000161000107');
  assert.not(mqtt.isReady);
  mqtt.receive(bytes('40020001' + '330700016100051234' + 'd000'));
  assert.ok(mqtt.isReady);
  assert.equal(news, ['up', 'a 1234 true']);
  assert.is(sent[2], '40020005', 'PUBACK');
  mqtt.poll(29_000);
  assert.is(sent.length, 3);
  mqtt.poll(31_000);
  assert.is(sent[3], 'c000', 'PINGREQ after half of the keep-alive time');
  mqtt.publish(32_000, 'a', new Uint8Array(0), false);
  mqtt.receive(bytes('d000'));
  mqtt.poll(51_000);
  assert.is(news.length, 2, 'an answer to PINGREQ is none to a publication');
  mqtt.poll(52_000);
  assert.is(news.at(-1), 'the broker does not answer');
  const ends: [string, RegExp][] = [
    ['20020005', /refuses us, code 5/],
    ['300700016100051234', /type 3/],
    ['20020000' + '20020000', /type 2/],
    ['20020000' + '30040001ff61', /publication/],
    ['20020000' + '30ffffffff7f', /length/],
    ['20020000' + '30ff7f', /16383 bytes/],
    ['20020000' + '9003000180', /subscription/],
    ['20020000' + '3003000961', /publication/],
    ['20020000' + 'f000', /type 15/],
  ];
  for (const [hex, why] of ends) {
    const other = make();
    other.mqtt.receive(bytes(hex));
    assert.match(other.news.at(-1)!, why);
  }
});

/** One packet of MQTT 3.1.1, its body at most 16,383 bytes. */
const packet = (first: number, ...parts: readonly (Uint8Array | readonly number[])[]) => {
  const body = Buffer.concat(parts.map(part => Buffer.from(part)));
  return Buffer.concat([
    Buffer.from(
      body.length < 128 ? [first, body.length] : [first, (body.length & 127) | 128, body.length >> 7],
    ),
    body,
  ]);
};

test('whatever a broker sends, cut and merged anyhow, nothing throws and nothing is acknowledged that is not kept', () => {
  const seed = 311;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'packets');
  const topics = [
    'rule/a',
    'rule/constructor',
    'rule/__proto__',
    'rule/',
    'rule/a/status',
    'request/wake',
    'request/report',
  ]
    .map(topicOf)
    .concat(['', '/', '////////', 'kith/1/other/esp-1/rule/a', 'x/1/home/esp-1/rule/a', '\0']);
  const payloads = [
    '',
    knockRule,
    knockRule.slice(0, 40),
    '[',
    'null',
    '{"transaction":"t"}',
    '"',
    '\ud800',
    'x'.repeat(1025),
  ];
  for (let run = 0; run < 300; run++) {
    const board = new Board();
    board.give({ kind: 'bus-down' });
    /** Ids of messages that the agent took and whose records are saved; of ours that wait. */
    const taken: number[] = [];
    const acknowledged: number[] = [];
    let ours = 0;
    const hear = (bytes: Uint8Array) => {
      if (bytes[0] === 0x40) acknowledged.push(readUint16(bytes, 2));
      if ((bytes[0]! & 0xf0) === 0x30) ours++;
    };
    let nextId = 0;
    let isDown = false;
    const options = { clientId: 'c', user: '', password: '', keepAliveS: 60 };
    const mqtt = new Mqtt(
      0,
      { ...options, will: { topic: 'w', payload: new Uint8Array(1) } },
      {
        send: hear,
        up: () => board.give({ kind: 'bus-up' }),
        down: () => {
          isDown = true;
        },
        message: (topic, payload, retained) => {
          board.give({ kind: 'message', topic, payload, retained });
          assert.equal(board.agent.unsaved, {}, 'saved before it is acknowledged');
        },
      },
    );
    const isTorn = random.chance(0.5);
    const sent: Buffer[] = [packet(0x20, [0, 0])];
    for (let i = random.below(20); i > 0; i--) {
      const topic = encodeUtf8(topics[random.below(topics.length)]!);
      const payload = encodeUtf8(payloads[random.below(payloads.length)]!);
      const qos = random.below(2);
      const id = qos === 0 ? [] : [++nextId >> 8, nextId & 255];
      if (qos === 1) taken.push(nextId);
      sent.push(
        packet(
          0x30 | (qos << 1) | random.below(2),
          [topic.length >> 8, topic.length & 255],
          topic,
          id,
          payload,
        ),
      );
      if (random.chance(0.2)) sent.push(packet(0xd0));
      if (random.chance(0.2)) sent.push(packet(0x40, [random.below(2), 200]));
    }
    const bytes = Buffer.concat(sent);
    if (isTorn)
      for (let i = random.below(6); i > 0; i--) bytes[random.below(bytes.length)] = random.below(256);
    for (let at = 0; at < bytes.length; ) {
      const length = 1 + random.below(random.chance(0.5) ? 4 : 200);
      mqtt.receive(bytes.subarray(at, at + length));
      at += length;
      if (mqtt.isReady && ours === 0) mqtt.publish(at, 'x', new Uint8Array(1), false);
      mqtt.poll(at);
    }
    if (isTorn) continue;
    assert.not(isDown, `run ${run}`);
    assert.equal(acknowledged, taken, `run ${run}`);
    assert.not(mqtt.isReady, 'none of those acknowledges ours, which has the id 1');
    for (const body of [[], [0], [0, 1, 0]]) mqtt.receive(packet(0x40, body));
    assert.not(mqtt.isReady, 'an acknowledgement too short or too long is none');
    mqtt.receive(packet(0x40, [0, 1]));
    assert.ok(mqtt.isReady);
  }
});

test('the small writer of CBOR and reader of JSON agree with the ones elsewhere, whatever the value', () => {
  const seed = 8259;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'values');
  const value = (depth: number): CborValue => {
    const kind = random.below(depth > 3 ? 4 : 6);
    if (kind === 0) return random.chance(0.5);
    if (kind === 1)
      return Math.floor(2 ** (random.below(53) + random.unit())) * (random.chance(0.5) ? 1 : -1);
    if (kind < 4) return ['', 'a', 'näh €', '🐟', 'x'.repeat(random.below(300)), '"\\\n'][random.below(6)]!;
    if (kind === 4) return Array.from({ length: random.below(30) }, () => value(depth + 1));
    return map(depth);
  };
  const map = (depth: number) => {
    const made: { [key: string]: CborValue } = {};
    for (let i = random.below(30); i > 0; i--) made['kdhxa-'.slice(random.below(6)) + i] = value(depth + 1);
    return made;
  };
  for (const text of notJson) assert.is(parseJson(text), undefined, text);
  for (let run = 0; run < 300; run++) {
    const made = map(1);
    assert.equal(formatHex(encodeSmallCbor(made)), formatHex(encodeCbor(made)), `run ${run}`);
    let text = JSON.stringify(made, null, random.below(2));
    for (let i = random.below(3); i > 0; i--) {
      const at = random.below(text.length);
      text =
        text.slice(0, at) +
        '{}[]",:\\ \n0123.eE+-tn\u0001'[random.below(24)]! +
        text.slice(at + random.below(2));
    }
    let wanted: CborValue | undefined;
    try {
      wanted = JSON.parse(text);
    } catch {
      wanted = undefined;
    }
    assert.equal(parseJson(text), wanted, text);
  }
});

test('settings and checks of kith flash say what they expect', () => {
  const board = { port: '', jobs: 'none', site: 'home', node: 'a' } as const;
  assert.equal(JSON.parse(settingsOf({ ...board, broker: 'mqtt://u:p%40@b:1' })).broker, {
    host: 'b',
    port: 1,
    user: 'u',
    password: 'p@',
  });
  for (const broker of ['b', 'mqtts://b', 'http://b'])
    assert.throws(() => settingsOf({ ...board, broker }), /expected mqtt/);
  const registration = {
    member: 7,
    aead: 3,
    generation: 2,
    key: '00112233445566778899aabbccddeeff',
    addresses: [],
  };
  const member = { provider: '198.51.100.1:49498', tail: '10s' };
  const kibbutz: KibbutzSettings = kibbutzOf(JSON.stringify(registration), member);
  assert.equal(JSON.parse(settingsOf({ ...board, jobs: 'kibbutz', broker: 'mqtt://b', kibbutz })).kibbutz, {
    member: 7,
    generation: 2,
    key: [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255],
    provider: { host: '198.51.100.1', port: 49_498 },
    group: '239.255.107.105',
    port: 49_497,
    tail: 10_000,
    credit: 5,
  });
  for (const [text, words, wrong] of [
    ['{', member, /--registration: expected JSON/],
    ['{"member":0}', member, /--registration: /],
    [JSON.stringify({ ...registration, aead: 1 }), member, /AES-128-CCM .*got AEAD 1/],
    [
      JSON.stringify(registration),
      { ...member, provider: 'here' },
      /--provider: expected host:port, got here/,
    ],
    [JSON.stringify(registration), { ...member, tail: '2h' }, /--tail: expected 1ms to 60s, got 2h/],
    [JSON.stringify(registration), { ...member, credit: 0 }, /--credit: expected/],
  ] as const)
    assert.throws(() => kibbutzOf(text, words), wrong);
  assert.is(crc32(encodeUtf8('123456789')), 0xcbf43926, 'the check value of CRC-32/ISO-HDLC');
  assert.is(missingForModdable('esp32', { PATH: '' }).length, 4);
});

test('on Espruino for Linux: takes a rule over the embedded broker, wakes, keeps the rule over kill -9', async () => {
  await onBoard(async ({ broker, client, heard, board, write }) => {
    await write(await buildFirmware({ jobs: 'power-proxy' }), portOf(broker.url));
    board.powerOn();
    await heard.until(on('/info'));
    await client.publishAsync(topicOf('rule/nas'), knockRule, { qos: 1, retain: true });
    const status = await heard.until(on('/rule/nas/status'));
    assert.is(bodyOf(topicOf('rule/nas/status'), status)['status'], 'accepted');
    const knock = createSocket('udp4');
    knock.send('hello', 9999, '127.0.0.1', () => knock.close());
    await heard.until(on('/event/wake'));
    await board.powerOff();
    // Nobody publishes the rule again, so what is known of it is from Storage.
    await client.publishAsync(topicOf('rule/nas'), '', { qos: 1, retain: true });
    heard.clear();
    board.powerOn();
    const again = await heard.until(on('/rule/nas/status'));
    assert.is(bodyOf(topicOf('rule/nas/status'), again)['status'], 'accepted');
  });
});

/** What Espruino's own JSON.parse takes, or takes for something else, or not; none of it is JSON. */
const notJson = [
  `${knockRule}}`,
  `${knockRule} x`,
  `${knockRule},`,
  `${knockRule}//`,
  `${knockRule}\0`,
  `\ufeff${knockRule}`,
  `(${knockRule})`,
  knockRule.slice(0, -1),
  knockRule.replace(/}$/, ',}'),
  knockRule.replace('9999', '9999.'),
  knockRule.replace('9999', '09999'),
  knockRule.replace('9999', '0x270f'),
  knockRule.replace('9999', '9_999'),
  knockRule.replace('9999', '+9999'),
  knockRule.replace('9999', '9999/**/'),
  knockRule.replace('"wake"', "'wake'"),
  knockRule.replace('"wake"', '`wake`'),
  knockRule.replace('"wake"', '"w\\x61ke"'),
  knockRule.replace('"wake"', '"\\wake"'),
  knockRule.replace('"action"', 'action'),
  knockRule.replace('"action":', '"timeout":-,"action":'),
  `{"__proto__":${knockRule}}`,
];

test('on Espruino for Linux: what is no JSON is rejected, whatever its own JSON.parse makes of it', async () => {
  await onBoard(async ({ broker, client, heard, board, write }) => {
    await write(await buildFirmware({ jobs: 'power-proxy' }), portOf(broker.url));
    board.powerOn();
    await heard.until(on('/info'));
    for (const text of notJson) {
      await client.publishAsync(topicOf('rule/a'), text, { qos: 1 });
      const status = bodyOf(topicOf('rule/a/status'), await heard.until(on('/rule/a/status')));
      assert.is(status['status'], 'rejected', text);
      assert.is(status['digest'], digest(encodeUtf8(text)));
    }
    const odd = ` \n\t${knockRule.replace('9999', '9.999E+3').replace('wake"', '\\u0077ake"')} `;
    await client.publishAsync(topicOf('rule/a'), odd, { qos: 1 });
    const status = bodyOf(topicOf('rule/a/status'), await heard.until(on('/rule/a/status')));
    assert.is(status['status'], 'accepted');
  });
});

test('on Espruino for Linux: an event whose connection breaks before it is acknowledged is said on the next one', async () => {
  await onBoard(async ({ broker, client, heard, board, write }) => {
    /** Ends a connection instead of passing on its first event. */
    let isArmed = true;
    const link = createServer(near => {
      const far = connectTcp(portOf(broker.url), '127.0.0.1');
      near.on('data', chunk => {
        if (isArmed && chunk.includes('event/wake')) {
          isArmed = false;
          near.destroy();
        } else far.write(chunk);
      });
      far.on('data', chunk => near.write(chunk));
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        one.on('error', () => undefined);
        one.on('close', () => other.destroy());
      }
    });
    link.listen(0, '127.0.0.1');
    await once(link, 'listening');
    try {
      await write(await buildFirmware({ jobs: 'power-proxy' }), (link.address() as AddressInfo).port);
      board.powerOn();
      await heard.until(on('/info'));
      await client.publishAsync(topicOf('rule/nas'), knockRule, { qos: 1 });
      await heard.until(on('/rule/nas/status'));
      const knock = createSocket('udp4');
      knock.send('hello', 9999, '127.0.0.1', () => knock.close());
      const event = bodyOf(topicOf('event/wake'), await heard.until(on('/event/wake')));
      assert.is(event['rule'], 'nas');
      assert.is(event['seq'], 0);
      assert.not(isArmed);
    } finally {
      await board.powerOff();
      link.close();
    }
  });
});

test('on Espruino for Linux: a power cut anywhere in a write of Storage leaves the old rule or the new one', async () => {
  await onBoard(async ({ broker, client, heard, board, folder, write }) => {
    await write(await buildFirmware({ jobs: 'power-proxy' }), portOf(broker.url));
    const flash = join(folder, 'espruino.flash');
    const rules = [knockRule, knockRule.replace('9999', '9998')] as const;
    const digests = rules.map(text => digest(encodeUtf8(text)));
    const images: Buffer[] = [];
    for (const text of rules) {
      board.powerOn();
      await heard.until(on('/info'));
      await client.publishAsync(topicOf('rule/nas'), text, { qos: 1 });
      await heard.until((topic, payload) =>
        topic === topicOf('rule/nas/status') && bodyOf(topic, payload)['digest'] === digest(encodeUtf8(text))
          ? topic
          : undefined,
      );
      await board.powerOff();
      images.push(readFileSync(flash));
    }
    const [before, after] = images as [Buffer, Buffer];
    // Storage writes in the order of the addresses: the new record's head, its text, and last it strikes out the old one.
    const changed = [...after.keys()].filter(i => before[i] !== after[i]);
    const fresh = changed.filter(i => before[i] === 0xff);
    assert.ok(
      fresh.length > 100 && fresh.length < changed.length,
      `${fresh.length} of ${changed.length} bytes`,
    );
    const cuts = [0, 16, 33, fresh.length - 1, fresh.length];
    const counts: number[] = [];
    for (const cut of cuts) {
      const image = Buffer.from(before);
      for (const at of fresh.slice(0, cut)) image[at] = after[at]!;
      writeFileSync(flash, image);
      heard.clear();
      board.powerOn();
      const status = bodyOf(topicOf('rule/nas/status'), await heard.until(on('/rule/nas/status')));
      assert.is(status['status'], 'accepted', `cut at ${cut}`);
      if (cut < fresh.length) assert.is(status['inForce'], digests[0], `cut at ${cut}`);
      else assert.ok(digests.includes(String(status['inForce'])));
      const { counters } = await report(client, heard);
      counts.push(Number((counters as { [name: string]: CborValue })['records.unreadable'] ?? 0));
      // Storage works on: what is published now outlives the next cut.
      await client.publishAsync(topicOf('rule/nas'), rules[1], { qos: 1 });
      await heard.until((topic, payload) =>
        topic === topicOf('rule/nas/status') && bodyOf(topic, payload)['digest'] === digests[1]
          ? topic
          : undefined,
      );
      assert.is(faultsOf((await report(client, heard))['counters']).replace('records.unreadable', ''), '');
      await board.powerOff();
      heard.clear();
      board.powerOn();
      const next = bodyOf(topicOf('rule/nas/status'), await heard.until(on('/rule/nas/status')));
      assert.is(next['inForce'], digests[1], `after a cut at ${cut}`);
      await board.powerOff();
    }
    console.log(`cut at byte ${cuts.join(', ')} of ${fresh.length}: unreadable ${counts.join(', ')}`);
    assert.ok(
      counts.slice(2, -1).every(count => count === 1),
      'a torn record is said',
    );
  });
});

test('on Espruino for Linux: where Storage is full the rule is in force, and that it is not kept is said', async () => {
  await onBoard(async ({ broker, client, heard, board, write }) => {
    await write(
      await buildFirmware({ jobs: 'power-proxy' }),
      portOf(broker.url),
      's.write("fill","x",0,s.getFree()-96);',
    );
    board.powerOn();
    await heard.until(on('/info'));
    await client.publishAsync(topicOf('rule/nas'), knockRule, { qos: 1 });
    const status = bodyOf(topicOf('rule/nas/status'), await heard.until(on('/rule/nas/status')));
    assert.is(status['inForce'], digest(encodeUtf8(knockRule)));
    const { counters } = await report(client, heard);
    assert.is(faultsOf(counters), 'store.failed');
    const knock = createSocket('udp4');
    knock.send('hello', 9999, '127.0.0.1', () => knock.close());
    await heard.until(on('/event/wake'));
  });
});

const portOf = (url: string) => Number(new URL(url).port);

/** The payload of a publication whose topic ends so. */
const on = (end: string) => (topic: string, payload: Uint8Array) =>
  topic.endsWith(end) ? payload : undefined;

test('kith flash says what is missing, and fails', () => {
  const empty = mkdtempSync(join(tmpdir(), 'kith-flash-'));
  try {
    assert.match(missingForEspruino(empty).join(), /sources of the firmware/);
    mkdirSync(join(empty, 'edge/espruino'), { recursive: true });
    writeFileSync(join(empty, 'edge/espruino/build.ts'), '');
    const missing = missingForEspruino(empty);
    assert.equal(
      missing.map(text => /package (\S+)/.exec(text)?.[1]),
      ['tsx', 'esbuild', '@babel/parser'],
    );
    assert.equal(missingForEspruino(process.cwd()), []);
  } finally {
    rmSync(empty, { recursive: true });
  }
});

/** What the firmware may hold, connected, with so many rules; a board's own modules and the work under way come on top. */
const budgets: readonly {
  readonly boardVariables: number;
  readonly rules: number;
  readonly budget: number;
}[] = [
  { boardVariables: 2_630, rules: 4, budget: 1_900 },
  { boardVariables: 12_000, rules: 16, budget: 2_500 },
];

test('flashed over TCP, it starts from flash, and takes and keeps rules within its variables', async () => {
  if (!needs('npm', 'npm')) return;
  await onBoard(async ({ broker, client, heard, board, folder }) => {
    board.powerOn();
    const boardFile = join(folder, 'linux.json');
    // Or the uploader would look for the board's own modules on the Web.
    const modules = ['Storage', 'net', 'dgram', 'Wifi'];
    writeFileSync(boardFile, JSON.stringify({ info: { name: 'LINUX', builtin_modules: modules } }));
    const said: string[] = [];
    const before = process.cwd();
    process.chdir(uploaderFolder());
    try {
      const options = {
        port: `tcp://127.0.0.1:${board.port}`,
        board: boardFile,
        jobs: 'power-proxy',
      } as const;
      await flashEspruino(
        { ...options, site: 'home', node: 'esp-1', broker: broker.url.replace('localhost', '127.0.0.1') },
        line => void said.push(line),
      );
    } finally {
      process.chdir(before);
    }
    assert.match(said.at(-1)!, /the board holds both/);

    await board.powerOff();
    heard.clear();
    board.powerOn();
    const info = bodyOf(topicOf('info'), await heard.until(on('/info')));
    assert.is(info['platform'], 'espruino');
    let rules = 0;
    for (const { boardVariables, rules: wanted, budget } of budgets) {
      for (; rules < wanted; rules++) {
        await client.publishAsync(topicOf(`rule/r-${rules}`), knockRule, { qos: 1, retain: true });
        const leaf = `/rule/r-${rules}/status`;
        const status = bodyOf(topicOf(leaf.slice(1)), await heard.until(on(leaf)));
        assert.is(status['status'], 'accepted');
      }
      const { gauges, counters } = await report(client, heard);
      // By telemetry, for the Linux build's console loses characters while the board is busy.
      const used = (gauges as { [name: string]: number })['variables.used']!;
      console.log(`${used} variables with ${rules} rules, of ${budget} on a board of ${boardVariables}`);
      assert.ok(used > 0 && used <= budget, `${used} variables`);
      assert.ok(budget < boardVariables);
      assert.is(faultsOf(counters), '', 'neither memory nor a buffer nor Storage was too small');
    }

    await board.powerOff();
    // Nobody publishes the rules again, so what is known of them is from Storage.
    for (let i = 0; i < rules; i++)
      await client.publishAsync(topicOf(`rule/r-${i}`), '', { qos: 1, retain: true });
    heard.clear();
    board.powerOn();
    const kept = new Set<string>();
    while (kept.size < rules) {
      const [leaf, status] = await heard.until((topic, payload) => {
        const [, name] = /(rule\/r-\d+\/status)$/.exec(topic) ?? [];
        return name === undefined ? undefined : ([name, bodyOf(topic, payload)] as const);
      });
      assert.is(status['status'], 'accepted', leaf);
      kept.add(leaf);
    }
  });
});

/** A folder from which the `espruino` command can be resolved: fetched once from the registry, as few need it. */
function uploaderFolder(): string {
  const folder = fileURLToPath(new URL('../../node_modules/.cache/kith/espruino-0.1.67/', import.meta.url));
  if (existsSync(join(folder, 'node_modules/espruino/bin/espruino-cli.js'))) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{}');
  const options = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
  execFileSync('npm', ['install', ...options, 'espruino@0.1.67'], {
    cwd: folder,
    stdio: 'ignore',
    timeout: 180_000,
  });
  return folder;
}

test.run();
