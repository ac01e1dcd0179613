import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectAsync } from 'mqtt';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeUtf8, digest, encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { type CborValue, decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { descriptors } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { parseTopic } from '../../agent/message/topic.js';
import { parseWakeOnLan } from '../../agent/wire/wol.js';
import { buildFirmware, mostBytes } from '../../edge/espruino/build.js';
import { faults } from '../../edge/espruino/lower.js';
import { Mqtt } from '../../edge/espruino/mqtt.js';
import { noJob, SmallAgent, type SmallEffect, type SmallInput } from '../../edge/espruino/small-agent.js';
import { SmallProxy } from '../../edge/espruino/small-proxy.js';
import {
  crc32,
  flashEspruino,
  missingForEspruino,
  missingForModdable,
  settingsOf,
} from '../../host-sim/cli/flash.js';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { Listener } from '../support/listener.js';
import { needs } from '../support/needs.js';

const host = '3c:22:fb:01:02:03';
const noEspruino = 'KITH_ESPRUINO is not set: the path of an Espruino for Linux (make BOARD=LINUX RELEASE=1)';
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
      for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift()) {
        if (effect.kind === 'save' && effect.value) this.saved[effect.key] = effect.value;
        else if (effect.kind === 'save') delete this.saved[effect.key];
        else if (effect.kind === 'listen') this.ports = effect.ports;
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

function bodyOf(topic: string, payload: Uint8Array): { [key: string]: CborValue } {
  const decoded = decodeCbor(payload, { depth: 8 });
  assert.ok(decoded.ok, `${topic} ${formatHex(payload)}`);
  const parsed = parseTopic(topic);
  assert.ok(parsed.ok);
  assert.is(validate(descriptors[parsed.value.leaf.kind as 'info'], decoded.value), undefined, topic);
  return decoded.value as { [key: string]: CborValue };
}

test('what a build does not do is not in it', async () => {
  const [all, reporting] = await Promise.all([
    buildFirmware({ jobs: 'power-proxy' }),
    buildFirmware({ jobs: 'none' }),
  ]);
  assert.ok(reporting.length < all.length - 5000, `${all.length} and ${reporting.length} bytes`);
  for (const word of ['dstPort', 'revision', 'MAC address']) {
    assert.match(all, word);
    assert.not.match(reporting, word);
  }
});

test('the firmware is one ASCII script that Espruino takes, within its bytes, with either choice of jobs', async () => {
  for (const jobs of ['power-proxy', 'none'] as const) {
    const script = await buildFirmware({ jobs });
    assert.ok(script.length <= mostBytes, `${script.length} bytes`);
    assert.equal(await faults(script), []);
    assert.not.match(script, /boardModule|withRules/);
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
    if (key !== 'rule/for-ever') assert.ok(JSON.parse(text!).left <= 86_400_000 - 60_000, text);
  assert.is(board.agent.counters.get('outbox.full'), 0);
});

test('requests are answered, torn records and foreign topics do no harm, nothing is said while the bus is down', () => {
  const board = new Board({ 'rule/x': encodeUtf8('{"payload":"{\\"ho'), 'rule/y': new Uint8Array(3) });
  assert.is(board.agent.counters.get('rules.unreadable'), 2);
  board.publish('request/wake', `{"transaction":"t","host":"${host}"}`);
  board.publish('request/wake', '{"transaction":"u","host":"me"}');
  assert.equal(
    board.said('response/wake').map(({ ok }) => ok),
    [true, false],
  );
  board.publish('request/report', '{}');
  board.give({ kind: 'message', topic: 'x', payload: new Uint8Array(0), retained: false });
  assert.is(board.agent.counters.get('messages.refused'), 2);
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
  mqtt.poll(52_000);
  assert.is(news.at(-1), 'the broker does not answer');
  const ends: [string, RegExp][] = [
    ['20020005', /refuses us, code 5/],
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
  assert.is(crc32(encodeUtf8('123456789')), 0xcbf43926, 'the check value of CRC-32/ISO-HDLC');
  assert.is(missingForModdable('esp32', { PATH: '' }).length, 4);
});

test('on Espruino for Linux: takes a rule over the embedded broker, wakes, keeps the rule over kill -9', async () => {
  const program = process.env['KITH_ESPRUINO'];
  if (!program) {
    console.log(`SKIP: ${noEspruino}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'kith-espruino-'));
  const broker = await openBroker({ port: 0 });
  const client = await connectAsync(broker.url, { reconnectPeriod: 0 });
  const children: ChildProcess[] = [];
  try {
    const heard = new Listener(client);
    await client.subscribeAsync('kith/1/home/esp-1/#', { qos: 1 });
    const settings = {
      site: 'home',
      node: 'esp-1',
      broker: { host: '127.0.0.1', port: Number(new URL(broker.url).port) },
    };
    const script = await buildFirmware({ jobs: 'power-proxy' });
    // From a file: the Linux build reads its console only from a terminal; the upload to flash is `kith flash`'s.
    const write = `require("Storage").write("kith.json",${JSON.stringify(JSON.stringify(settings))});`;
    const file = join(folder, 'firmware.js');
    writeFileSync(file, `${write}\n${script}`);
    const boot = (): ChildProcess => {
      const child = spawn(program, [file], { cwd: folder, stdio: 'ignore' });
      children.push(child);
      return child;
    };
    const board = boot();
    await heard.until(on('/info'));
    await client.publishAsync(topicOf('rule/nas'), knockRule, { qos: 1, retain: true });
    const status = await heard.until(on('/rule/nas/status'));
    assert.is(bodyOf(topicOf('rule/nas/status'), status)['status'], 'accepted');
    const knock = createSocket('udp4');
    knock.send('hello', 9999, '127.0.0.1', () => knock.close());
    await heard.until(on('/event/wake'));
    board.kill('SIGKILL');
    await once(board, 'close');
    // Nobody publishes the rule again, so what is known of it is from Storage.
    await client.publishAsync(topicOf('rule/nas'), '', { qos: 1, retain: true });
    heard.clear();
    boot();
    const again = await heard.until(on('/rule/nas/status'));
    assert.is(bodyOf(topicOf('rule/nas/status'), again)['status'], 'accepted');
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await client.endAsync(true);
    await broker.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

const answerMs = 30_000;

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

test('flashed over TCP, it starts from flash, and takes rules over a broker within its variables', async () => {
  const program = process.env['KITH_ESPRUINO'];
  if (!program) {
    console.log(`SKIP: ${noEspruino}`);
    return;
  }
  if (!needs('socat', 'socat') || !needs('npm', 'npm')) return;
  const uploader = uploaderFolder();
  const folder = mkdtempSync(join(tmpdir(), 'kith-espruino-'));
  const before = process.cwd();
  const broker = await openBroker({ port: 0 });
  const client = await connectAsync(broker.url, { reconnectPeriod: 0 });
  const board = await WiredBoard.open(program, folder);
  try {
    const heard = new Listener(client);
    await client.subscribeAsync('kith/1/home/esp-1/#', { qos: 1 });
    const boardFile = join(folder, 'linux.json');
    // Or the uploader would look for the board's own modules on the Web.
    const modules = ['Storage', 'net', 'dgram', 'Wifi'];
    writeFileSync(boardFile, JSON.stringify({ info: { name: 'LINUX', builtin_modules: modules } }));
    const said: string[] = [];
    process.chdir(uploader);
    const options = { port: `tcp://127.0.0.1:${board.port}`, board: boardFile, jobs: 'power-proxy' } as const;
    await flashEspruino(
      { ...options, site: 'home', node: 'esp-1', broker: broker.url.replace('localhost', '127.0.0.1') },
      line => void said.push(line),
    );
    process.chdir(before);
    assert.match(said.at(-1)!, /the board holds both/);

    board.powerOff();
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
      const used = Number(await board.ask('process.memory().usage'));
      console.log(`${used} variables with ${rules} rules, of ${budget} on a board of ${boardVariables}`);
      assert.ok(used > 0 && used <= budget, `${used} variables`);
      assert.ok(budget < boardVariables);
    }
    assert.is(await board.ask('E.getErrorFlags().length'), '0', 'neither memory nor a buffer was too small');
  } finally {
    process.chdir(before);
    await board.close();
    await client.endAsync(true);
    await broker.close();
    rmSync(folder, { recursive: true, force: true });
  }
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

/**
 * A board whose console is a TCP port, as the uploader wants it: it goes on when nobody is connected. socat gives it the
 * terminal it wants; both are a process group, and a power cut is the end of that.
 */
class WiredBoard {
  private process: ChildProcess | undefined;
  private text = '';
  private heard: () => void = () => undefined;
  private readonly program: string;
  private readonly folder: string;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  static async open(program: string, folder: string): Promise<WiredBoard> {
    const board = new WiredBoard(program, folder);
    board.server.listen(0, '127.0.0.1');
    await once(board.server, 'listening');
    board.powerOn();
    return board;
  }

  private constructor(program: string, folder: string) {
    this.program = program;
    this.folder = folder;
    this.server = createServer(socket => {
      this.sockets.add(socket);
      socket.on('data', chunk => this.process?.stdin?.write(chunk));
      socket.on('error', () => undefined);
      socket.on('close', () => this.sockets.delete(socket));
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  powerOn(): void {
    const child = spawn('socat', ['-', `EXEC:${this.program},pty,raw,echo=0`], {
      cwd: this.folder,
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    child.stdin.on('error', () => undefined);
    child.stdout.on('data', chunk => {
      for (const socket of this.sockets) socket.write(chunk);
      this.text += chunk;
      this.heard();
    });
    this.process = child;
  }

  powerOff(): void {
    const pid = this.process?.pid;
    this.process = undefined;
    if (pid) process.kill(-pid, 'SIGKILL');
  }

  /** What the board's console prints for it. */
  async ask(expression: string): Promise<string> {
    this.text = '';
    // Ctrl-P: no echo of this line.
    this.process?.stdin?.write(`\x10print("<"+(${expression})+">")\n`);
    const deadline = AbortSignal.timeout(answerMs);
    for (;;) {
      const answer = /<([^<>"]*)>/.exec(this.text);
      if (answer) return answer[1]!;
      await new Promise<void>((resolve, reject) => {
        this.heard = resolve;
        deadline.onabort = () => reject(new Error(`${expression}: no answer in ${this.text}`));
      });
    }
  }

  async close(): Promise<void> {
    this.powerOff();
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
    await once(this.server, 'close');
  }
}

test.run();
