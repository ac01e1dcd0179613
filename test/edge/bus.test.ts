/** The MQTT session of a gateway: when it tries again, what it says of each fault, and what it makes of packets that are too long. */

import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { generate, type Packet, parser } from 'mqtt-packet';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { Bus, type Clock } from '../../edge/linux/bus.js';
import type { BrokerConfig } from '../../edge/linux/config.js';
import { type Outbox, openOutbox } from '../../edge/linux/outbox.js';
import { limitPackets, PacketLimit } from '../../edge/linux/packet-limit.js';
import { eventually } from '../support/process.js';

const base = 'kith/1/home/gw-1';

/** Time as the test lets it pass; spans asked for are noted. */
class HandClock implements Clock {
  ms = 0;
  readonly spans: number[] = [];
  private readonly due: { readonly at: number; readonly what: () => void }[] = [];

  now(): number {
    return this.ms;
  }

  after(ms: number, what: () => void): () => void {
    const one = { at: this.ms + ms, what };
    this.spans.push(ms);
    this.due.push(one);
    return () => {
      if (this.due.includes(one)) this.due.splice(this.due.indexOf(one), 1);
    };
  }

  get isWaiting(): boolean {
    return this.due.length > 0;
  }

  /** Lets the next thing happen that is due. */
  next(): void {
    const [one] = this.due.splice(0, 1);
    this.ms = one.at;
    one.what();
  }
}

/** A broker of a few lines: what it does with a CONNECT is up to the test. */
class Stand {
  readonly server: Server;
  readonly heard: Packet[] = [];
  sockets: Socket[] = [];
  answer: (packet: Packet, socket: Socket) => void = () => {};

  constructor() {
    this.server = createServer(socket => {
      this.sockets.push(socket);
      const reader = parser();
      reader.on('packet', packet => {
        this.heard.push(packet);
        this.answer(packet, socket);
      });
      socket.on('data', chunk => reader.parse(chunk));
      socket.on('error', () => {});
    });
  }

  async listen(port = 0): Promise<number> {
    await new Promise<void>(resolve => this.server.listen(port, '127.0.0.1', resolve));
    return (this.server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets.splice(0)) socket.destroy();
    await new Promise(resolve => this.server.close(resolve));
  }
}

interface Rig {
  readonly bus: Bus;
  readonly outbox: Outbox;
  readonly clock: HandClock;
  readonly lines: string[];
  readonly messages: { readonly topic: string; readonly lengthBytes: number }[];
  ups: number;
}

const after: (() => Promise<unknown> | undefined)[] = [];
test.after.each(async () => {
  for (const undo of after.splice(0).reverse()) await undo();
});

function rig(broker: Partial<BrokerConfig> & { readonly url: string }): Rig {
  const directory = mkdtempSync(join(tmpdir(), 'kith-bus-'));
  const outbox = openOutbox(directory, { onFault: error => assert.unreachable(error.message) });
  const clock = new HandClock();
  const made: Rig = {
    outbox,
    clock,
    lines: [],
    messages: [],
    ups: 0,
    bus: new Bus({
      broker: { mqttVersion: 4, ...broker },
      clientId: 'kith-home-gw-1',
      will: { topic: `${base}/state`, payload: Buffer.from('lost'), retain: true },
      outbox,
      up: () => {
        made.ups++;
      },
      down: () => {},
      message: async (topic, payload) => {
        made.messages.push({ topic, lengthBytes: payload.length });
      },
      log: (level, text) => made.lines.push(`${level} ${text}`),
      clock,
    }),
  };
  after.push(async () => {
    await made.bus.close();
    await outbox.close();
    rmSync(directory, { recursive: true });
  });
  return made;
}

async function stand(): Promise<{ readonly stand: Stand; readonly url: string; readonly port: number }> {
  const made = new Stand();
  const port = await made.listen();
  after.push(async () => (made.server.listening ? made.close() : undefined));
  return { stand: made, port, url: `mqtt://127.0.0.1:${port}` };
}

const accept = (packet: Packet, socket: Socket) => {
  if (packet.cmd === 'connect')
    socket.write(generate({ cmd: 'connack', returnCode: 0, sessionPresent: false }));
};

test('a broker away for an hour: tries 0.5 s to 30 s apart, jittered, told once, and everything arrives in order after it', async () => {
  const { stand: broker, url, port } = await stand();
  await broker.close();
  const { bus, outbox, clock, lines } = rig({ url });
  bus.start();
  const hourMs = 3_600_000;
  let events = 0;
  while (clock.ms < hourMs) {
    await eventually('another try', () => clock.isWaiting);
    for (let i = 0; i < 5; i++)
      bus.publish({
        topic: `${base}/event/wake`,
        payload: Buffer.from(`${events++}`),
        qos: 1,
        retain: false,
      });
    bus.publish({
      topic: `${base}/telemetry/pppoe`,
      payload: Buffer.from(`${events}`),
      qos: 1,
      retain: false,
    });
    bus.publish({ topic: `${base}/state`, payload: Buffer.from(`${events}`), qos: 1, retain: true });
    clock.next();
  }
  // Doubled from 500 ms to 30 s, each times 0.5 … 1.
  clock.spans.forEach((span, i) => {
    const mostMs = Math.min(30_000, 500 * 2 ** i);
    assert.ok(span >= mostMs / 2 && span <= mostMs, `span ${i}: ${span} ms of ${mostMs}`);
  });
  // An hour is some 120 to 240 of the longest spans, and the six before them.
  assert.ok(clock.spans.length > 120 && clock.spans.length < 260, `${clock.spans.length} tries`);
  assert.ok(new Set(clock.spans.map(span => Math.round(span))).size > 100, 'the spans are jittered');
  assert.equal(lines, [`error no broker answers at ${url}; trying again`]);
  assert.is(outbox.length, events + 2);

  const said: { readonly topic: string; readonly text: string }[] = [];
  broker.answer = (packet, socket) => {
    accept(packet, socket);
    if (packet.cmd !== 'publish') return;
    said.push({ topic: packet.topic, text: packet.payload.toString() });
    socket.write(generate({ cmd: 'puback', messageId: packet.messageId as number }));
  };
  await broker.listen(port);
  while (lines.length < 2) {
    await eventually('a try or a connection', () => lines.length > 1 || clock.isWaiting);
    if (lines.length < 2) clock.next();
  }
  await eventually('an empty outbox', () => outbox.length === 0);
  const texts = said.filter(({ topic }) => topic.endsWith('/event/wake')).map(({ text }) => Number(text));
  assert.equal(texts, [...Array(events).keys()]);
  for (const leaf of ['telemetry/pppoe', 'state'])
    assert.equal(
      said.filter(({ topic }) => topic === `${base}/${leaf}`).map(({ text }) => text),
      [`${events}`],
    );
});

test('the back-off begins anew after a connection of half a minute, and not after a shorter one', async () => {
  const { stand: broker, url } = await stand();
  broker.answer = accept;
  const { bus, clock, lines } = rig({ url });
  const connectedFor = async (ms: number) => {
    const { length } = clock.spans;
    // That is said once the subscriptions stand, from when on it counts.
    await eventually('connected', () => lines.some(line => line.startsWith('info connected')));
    lines.length = 0;
    clock.ms += ms;
    for (const socket of broker.sockets.splice(0)) socket.destroy();
    await eventually('a span', () => clock.spans.length > length);
  };
  bus.start();
  for (let i = 0; i < 5; i++) {
    await connectedFor(1000);
    clock.next();
  }
  assert.ok(clock.spans[4] >= 4000, `${clock.spans}`);
  // A millisecond more, for the clock's readings are no whole numbers.
  await connectedFor(30_001);
  assert.ok((clock.spans.at(-1) as number) <= 500, `${clock.spans}`);
});

for (const [mqttVersion, code] of [
  [4, 4],
  [4, 5],
  [5, 134],
  [5, 135],
] as const)
  test(`CONNACK ${code} of version ${mqttVersion}: the user and password are blamed, once, at the pace of any fault`, async () => {
    const { stand: broker, url } = await stand();
    broker.answer = (packet, socket) => {
      if (packet.cmd !== 'connect') return;
      const reason = mqttVersion === 5 ? { reasonCode: code } : { returnCode: code };
      socket.write(
        generate({ cmd: 'connack', sessionPresent: false, ...reason }, { protocolVersion: mqttVersion }),
      );
    };
    const { bus, clock, lines } = rig({ url, mqttVersion });
    bus.start();
    for (let i = 0; i < 3; i++) {
      await eventually('a refusal', () => clock.spans.length > i);
      clock.next();
    }
    await eventually('another', () => clock.spans.length > 3);
    assert.is(lines.length, 1);
    assert.match(
      lines[0],
      /^error mqtt:.* refuses us \(.*\): check broker\.user and its password; trying again$/,
    );
  });

test('who answers with what is no MQTT is told of and left', async () => {
  const { stand: broker, url } = await stand();
  broker.answer = (_, socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
  const { bus, clock, lines } = rig({ url });
  bus.start();
  await eventually('left', () => clock.spans.length > 0);
  assert.is(lines.length, 1);
  assert.match(lines[0], /^error mqtt:\/\/127\.0\.0\.1:\d+: .+: is it an MQTT broker\?; trying again$/);
});

test('a message of 20 MB is cut as it comes, heard as too long, acknowledged, and the next one is whole', async () => {
  const { stand: broker, url } = await stand();
  const big = Buffer.alloc(20_000_000, 0x20);
  broker.answer = (packet, socket) => {
    accept(packet, socket);
    if (packet.cmd !== 'connect') return;
    const common = { cmd: 'publish', qos: 1, dup: false, retain: true } as const;
    socket.write(generate({ ...common, messageId: 1, topic: `${base}/rule/big`, payload: big }));
    socket.write(generate({ ...common, messageId: 2, topic: `${base}/rule/x`, payload: Buffer.from('{}') }));
  };
  const { bus, messages } = rig({ url });
  const before = process.memoryUsage().arrayBuffers;
  bus.start();
  await eventually('both', () => messages.length === 2);
  assert.is(messages[0].topic, `${base}/rule/big`);
  assert.ok(messages[0].lengthBytes > 4096 && messages[0].lengthBytes < 300_000);
  assert.equal(messages[1], { topic: `${base}/rule/x`, lengthBytes: 2 });
  await eventually(
    'both acknowledged',
    () => broker.heard.filter(({ cmd }) => cmd === 'puback').length === 2,
  );
  assert.ok(process.memoryUsage().arrayBuffers - before < 60_000_000);
});

test('packets of any length in chunks of any length pass as they are up to the limit, and a PUBLISH beyond it is cut', () => {
  const seed = Date.now() >>> 0;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'packets');
  const source = new PassThrough();
  const [least, most] = [128, 2000];
  const lengths: number[] = [];
  const heard: number[] = [];
  const reader = parser();
  reader.on('packet', packet => heard.push(packet.cmd === 'publish' ? packet.payload.length : -1));
  const limit = new PacketLimit(most);
  limit.on('data', chunk => reader.parse(chunk));
  const parts: Buffer[] = [];
  for (let i = 0; i < 300; i++) {
    const lengthBytes = random.below(3) === 0 ? random.below(40_000) : random.below(least);
    const topic = 't/1';
    parts.push(
      generate({
        cmd: 'publish',
        topic,
        payload: Buffer.alloc(lengthBytes),
        qos: 1,
        messageId: 7,
        dup: false,
        retain: false,
      }),
    );
    parts.push(generate({ cmd: 'pingresp' }));
    lengths.push(Math.min(lengthBytes, most - 2 - topic.length - 2), -1);
  }
  const bytes = Buffer.concat(parts);
  limitPackets(source, limit).on('end', () => {});
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 1 + random.below(3000));
    limit.write(bytes.subarray(at, end));
    at = end;
  }
  assert.equal(heard, lengths);
  assert.ok(limit.cutCount > 50);
});

test.run();
