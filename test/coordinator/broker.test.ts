import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import mqemitter from 'mqemitter';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import WebSocket from 'ws';
import { Random } from '../../agent/core/random.js';
import { persistenceOn } from '../../host-sim/coordinator/broker/persistence.js';
import {
  type Broker,
  type BrokerOptions,
  boundedEmitter,
  openBroker,
  packetMeter,
} from '../../host-sim/coordinator/broker.js';
import { openDatabase } from '../../host-sim/coordinator/database.js';

const brokerModule = new URL('../../host-sim/coordinator/broker.ts', import.meta.url).href;

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kith-broker-'));
  try {
    await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function withBroker(options: BrokerOptions, work: (broker: Broker) => Promise<void>): Promise<void> {
  const broker = await openBroker({ port: 0, ...options });
  try {
    await work(broker);
  } finally {
    await broker.close();
  }
}

function client(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  return connectAsync(url, { reconnectPeriod: 0, ...options });
}

/** A client that speaks packets, and is as rude as the test wants. */
class RawClient {
  readonly socket: Socket;
  readonly received: Packet[] = [];
  readonly closed: Promise<unknown>;
  private readonly waiting: (() => void)[] = [];

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect({ host: hostname, port: Number(port) });
    this.socket.on('error', () => undefined);
    this.closed = new Promise(done => this.socket.once('close', done));
    const parser = mqttPacket.parser();
    parser.on('packet', packet => {
      this.received.push(packet);
      for (const wake of this.waiting.splice(0)) wake();
    });
    this.socket.on('data', chunk => parser.parse(chunk));
  }

  send(...packets: Packet[]): void {
    this.socket.write(Buffer.concat(packets.map(packet => mqttPacket.generate(packet))));
  }

  connect(clientId: string, more: object = {}): Promise<Packet> {
    this.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      keepalive: 0,
      clientId,
      ...more,
    });
    return this.packet('connack');
  }

  publish(messageId: number, topic = 'a', more: object = {}): void {
    const payload = Buffer.from(String(messageId));
    this.send({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false, messageId, ...more });
  }

  of(cmd: string): Packet[] {
    return this.received.filter(packet => packet.cmd === cmd);
  }

  /** The `count`th packet of this kind, when it comes. */
  async packet(cmd: string, count = 1): Promise<Packet> {
    while (this.of(cmd).length < count) {
      const more = new Promise<void>(done => this.waiting.push(done));
      const ended = this.closed.then(() => {
        throw new Error(`closed before ${cmd} ${count}`);
      });
      await Promise.race([more, ended]);
    }
    return this.of(cmd)[count - 1];
  }

  /** Resolves when the broker has taken everything sent so far up to here and answered. */
  async ping(): Promise<void> {
    const count = this.of('pingresp').length;
    this.send({ cmd: 'pingreq' });
    await this.packet('pingresp', count + 1);
  }
}

/** A promise settled from outside. */
function gate(): { promise: Promise<void>; open: () => void; break: (error: Error) => void } {
  let open = () => {};
  let breakIt = (_error: Error) => {};
  const promise = new Promise<void>((resolve, reject) => {
    open = resolve;
    breakIt = reject;
  });
  return { promise, open: () => open(), break: error => breakIt(error) };
}

async function rejection(work: Promise<unknown>): Promise<Error> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a rejection');
}

const turn = () => new Promise(done => setImmediate(done));

/** Lets `condition` come true, one turn of the event loop after another; gives up when it clearly never will. */
async function until(condition: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > giveUpAt) throw new Error(`never came true: ${condition}`);
    await turn();
  }
}

/** The broker's own end of a connection closes a little after the client's. */
async function counted(
  broker: Broker,
  name: Parameters<Broker['counters']['get']>[0],
  count: number,
): Promise<void> {
  await until(() => broker.counters.get(name) >= count);
  assert.is(broker.counters.get(name), count);
}

test('PUBACK goes out only after ingest resolved, with many publishes in flight and in their order', async () => {
  const committed = gate();
  const ingested: string[] = [];
  const ingest = ({ topic, payload }: { topic: string; payload: Buffer }) => {
    ingested.push(`${topic} ${payload}`);
    return committed.promise;
  };
  await withBroker({ ingest }, async broker => {
    const raw = new RawClient(broker.url);
    await raw.connect('gw-1');
    for (let id = 1; id <= 200; id++) raw.publish(id);
    await until(() => ingested.length === 200);
    for (let i = 0; i < 20; i++) await turn();
    assert.is(raw.of('puback').length, 0);
    assert.equal(
      ingested,
      Array.from({ length: 200 }, (_, i) => `a ${i + 1}`),
    );
    committed.open();
    await raw.packet('puback', 200);
    assert.equal(
      raw.of('puback').map(({ messageId }) => messageId),
      Array.from({ length: 200 }, (_, i) => i + 1),
    );
    raw.socket.destroy();
  });
});

test('a publish that ingest refuses is not acknowledged, kept or forwarded, nor is anything after it', async () => {
  const second = gate();
  const ingest = ({ payload }: { payload: Buffer }) =>
    String(payload) === '2' ? second.promise : Promise.resolve();
  await withBroker({ ingest }, async broker => {
    const heard: string[] = [];
    await broker.subscribe('#', ({ payload }) => heard.push(String(payload)));
    const raw = new RawClient(broker.url);
    await raw.connect('gw-1');
    for (const id of [1, 2, 3]) raw.publish(id, 'a', { retain: true });
    await raw.packet('puback');
    second.break(new Error('disk full'));
    await raw.closed;
    assert.equal(
      raw.of('puback').map(({ messageId }) => messageId),
      [1],
    );
    assert.equal(heard, ['1']);
    await counted(broker, 'disconnects.ingest', 1);
    const reader = new RawClient(broker.url);
    await reader.connect('reader');
    reader.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] });
    assert.is(String(((await reader.packet('publish')) as { payload: Buffer }).payload), '1');
    reader.socket.destroy();
  });
});

test('PUBACK waits until the retained message and the queue entry are stored', async () => {
  await withBroker({}, async broker => {
    const sleeper = await client(broker.url, { clientId: 'sleeper', clean: false });
    await sleeper.subscribeAsync('a', { qos: 1 });
    await sleeper.endAsync();
    for (const step of ['storeRetained', 'outgoingEnqueueCombi'] as const) {
      const persistence = broker['persistence'];
      const original = persistence[step] as (...args: unknown[]) => Promise<unknown>;
      const stored = gate();
      let reached = false;
      persistence[step] = async (...args: unknown[]) => {
        reached = true;
        await stored.promise;
        return original.apply(persistence, args) as never;
      };
      const raw = new RawClient(broker.url);
      await raw.connect('gw-1');
      raw.publish(1, 'a', { retain: true });
      await until(() => reached);
      for (let i = 0; i < 20; i++) await turn();
      assert.is(raw.of('puback').length, 0, step);
      stored.open();
      await raw.packet('puback');
      persistence[step] = original as never;
      raw.socket.destroy();
      await raw.closed;
    }
  });
});

test('a QoS 2 message is ingested once however often it is sent before PUBREL, and PUBREC waits for ingest', async () => {
  const committed = gate();
  const ingested: string[] = [];
  const ingest = ({ payload }: { payload: Buffer }) => {
    ingested.push(String(payload));
    return committed.promise;
  };
  await withBroker({ ingest }, async broker => {
    const raw = new RawClient(broker.url);
    await raw.connect('gw-1');
    raw.publish(7, 'a', { qos: 2 });
    await until(() => ingested.length === 1);
    for (let i = 0; i < 20; i++) await turn();
    assert.is(raw.of('pubrec').length, 0);
    committed.open();
    await raw.packet('pubrec');
    raw.publish(7, 'a', { qos: 2, dup: true });
    await raw.packet('pubrec', 2);
    raw.send({ cmd: 'pubrel', messageId: 7 });
    await raw.packet('pubcomp');
    raw.publish(7, 'a', { qos: 2 });
    await raw.packet('pubrec', 3);
    assert.equal(ingested, ['7', '7']);
    raw.socket.destroy();
  });
});

test('a will reaches ingest after everything its client sent, and a refused one is still forwarded', async () => {
  const committed = gate();
  const ingested: string[] = [];
  const ingest = ({ topic }: { topic: string }) => {
    ingested.push(topic);
    return topic === 'will/bad' ? Promise.reject(new Error('disk full')) : committed.promise;
  };
  await withBroker({ ingest }, async broker => {
    const heard: string[] = [];
    await broker.subscribe('#', ({ topic }) => heard.push(topic));
    for (const topic of ['will/good', 'will/bad']) {
      const raw = new RawClient(broker.url);
      await raw.connect('gw-1', { will: { topic, payload: Buffer.from('lost'), qos: 1, retain: true } });
      raw.publish(1, 'last/words');
      await until(() => ingested.at(-1) === 'last/words');
      raw.socket.resetAndDestroy();
      await until(() => ingested.at(-1) === topic);
      committed.open();
      await until(() => heard.at(-1) === topic);
    }
    assert.equal(ingested, ['last/words', 'will/good', 'last/words', 'will/bad']);
    assert.equal(heard, ingested);
    await until(() => broker.counters.get('drops.will-ingest') === 1);
    assert.is(broker.counters.get('wills'), 2);
  });
});

test('the broker’s own $SYS messages never reach ingest, and a client that publishes one is disconnected', async () => {
  const ingested: string[] = [];
  const ingest = async ({ topic }: { topic: string }) => {
    ingested.push(topic);
  };
  await withBroker({ ingest }, async broker => {
    const raw = new RawClient(broker.url);
    await raw.connect('gw-1');
    raw.publish(1, '$SYS/x/heartbeat');
    await raw.closed;
    assert.equal(ingested, []);
    await counted(broker, 'disconnects.topic', 1);
  });
});

test('a backlog of 20,000 messages without a subscriber drains in order; mqemitter alone ends in RangeError', async () => {
  /** One message with a slow subscriber holds the only place; behind it the backlog grows, then the place is free. */
  const drain = async (mq: mqemitter.MQEmitter): Promise<number[]> => {
    const order: number[] = [];
    let release = () => {};
    mq.on('slow', (_message, done) => {
      release = done;
    });
    mq.emit({ topic: 'slow' });
    for (let i = 0; i < 20_000; i++) mq.emit({ topic: 'nobody' }, () => order.push(i));
    release();
    mq.emit({ topic: 'nobody' }, () => order.push(20_000));
    await until(() => order.length === 20_001);
    return order;
  };
  assert.instance(await rejection(drain(mqemitter({ concurrency: 1 }))), RangeError);
  assert.equal(
    await drain(boundedEmitter(1)),
    Array.from({ length: 20_001 }, (_, i) => i),
  );
});

test('a subscriber that stops reading is disconnected and does not hold up the others', async () => {
  await withBroker({ limits: { unreadBytes: 1 << 20 } }, async broker => {
    const stuck = new RawClient(broker.url);
    await stuck.connect('stuck');
    stuck.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] });
    await stuck.packet('suback');
    stuck.socket.pause();
    const good = await client(broker.url);
    let received = 0;
    good.on('message', () => received++);
    await good.subscribeAsync('a');
    const publisher = await client(broker.url);
    const payload = Buffer.alloc(64 << 10);
    // 32 MiB: more than the kernel buffers of the one that does not read.
    for (let i = 0; i < 32; i++)
      await Promise.all(Array.from({ length: 16 }, () => publisher.publishAsync('a', payload, { qos: 1 })));
    await until(() => received === 512);
    await counted(broker, 'disconnects.unread', 1);
    assert.is(broker.clients, 2);
    stuck.socket.destroy();
    await good.endAsync();
    await publisher.endAsync();
  });
});

test('a persistent session loses no QoS 1 message when QoS 0 and QoS 1 are mixed', () =>
  inDirectory(directory =>
    withBroker({ directory }, async broker => {
      const subscriber = await client(broker.url, { clientId: 'keeper', clean: false });
      const missing = new Set(Array.from({ length: 1500 }, (_, i) => i));
      subscriber.on('message', (_topic, payload, { qos }) => {
        if (qos === 1) missing.delete(Number(payload));
      });
      await subscriber.subscribeAsync('a/#', { qos: 1 });
      const publishers = await Promise.all([1, 2, 3].map(() => client(broker.url)));
      const sent: Promise<unknown>[] = [];
      for (const number of missing) {
        const publisher = publishers[number % 3];
        publisher.publish('a/0', 'unsure', { qos: 0 });
        sent.push(
          publisher.publishAsync(`a/${number % 7}`, String(number), { qos: 1, retain: number % 5 === 0 }),
        );
      }
      await Promise.all(sent);
      // What was delivered live precedes the answer to a later SUBSCRIBE.
      await subscriber.subscribeAsync('end');
      await until(() => missing.size === 0);
      for (const one of [subscriber, ...publishers]) await one.endAsync();
    }),
  ));

test('a packet over the limit disconnects its sender before its body is read', async () => {
  await withBroker({ limits: { packetBytes: 1000 } }, async broker => {
    const raw = new RawClient(broker.url);
    await raw.connect('gw-1');
    raw.publish(1, 'a', { payload: Buffer.alloc(1000 - 5) });
    await raw.packet('puback');
    raw.socket.write(Buffer.from([0x30, 0xe9, 0x07]));
    await raw.closed;
    await counted(broker, 'disconnects.packet-bytes', 1);
    assert.is(broker.counters.get('publishes.qos1'), 1);
  });
});

test('the packet meter sees each fixed header, wherever the stream is cut, and refuses a fifth length byte', () => {
  const seed = 11;
  const random = new Random(seed, 'meter');
  for (let round = 0; round < 300; round++) {
    const types: number[] = [];
    const parts: Buffer[] = [];
    for (let i = random.below(6); i >= 0; i--) {
      const length = random.chance(0.3) ? 0 : random.below(random.chance(0.2) ? 20_000 : 200);
      const type = 1 + random.below(14);
      types.push(type);
      const header = [type << 4];
      for (let rest = length; ; rest >>= 7) {
        header.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
        if (rest <= 0x7f) break;
      }
      parts.push(Buffer.from(header), Buffer.alloc(length, random.below(256)));
    }
    const stream = Buffer.concat(parts);
    const seen: number[] = [];
    const meter = packetMeter(20_000, type => seen.push(type));
    for (let at = 0; at < stream.length; ) {
      const step = 1 + random.below(random.chance(0.5) ? 3 : 5000);
      assert.ok(meter(stream.subarray(at, at + step)), `seed ${seed}, round ${round}`);
      at += step;
    }
    assert.equal(seen, types, `seed ${seed}, round ${round}`);
  }
  const nothing = () => undefined;
  assert.ok(packetMeter(128, nothing)(Buffer.from([0x30, 0x80, 0x01])));
  assert.not(packetMeter(127, nothing)(Buffer.from([0x30, 0x80, 0x01])));
  assert.not(packetMeter(1 << 28, nothing)(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x80])));
});

test('over the limit of clients CONNACK says server unavailable, but a known client may take its session over', async () => {
  await withBroker({ limits: { clients: 1 } }, async broker => {
    const first = new RawClient(broker.url);
    await first.connect('one');
    const other = new RawClient(broker.url);
    assert.is(((await other.connect('two')) as { returnCode: number }).returnCode, 3);
    await other.closed;
    const again = new RawClient(broker.url);
    assert.is(((await again.connect('one')) as { returnCode: number }).returnCode, 0);
    await first.closed;
    assert.is(broker.clients, 1);
    again.send({ cmd: 'disconnect' });
    await again.closed;
    await until(() => broker.clients === 0);
    assert.equal(broker.counters.snapshot(), {
      connects: 2,
      'refused.clients': 1,
      'disconnects.asked': 1,
      'disconnects.taken-over': 1,
    });
  });
});

test('topics and filters too long or too deep, too many filters and silent connections are refused and counted', async () => {
  const limits = { topicLength: 20, topicLevels: 3, subscriptions: 2, connectTimeoutMs: 20 };
  await withBroker({ limits }, async broker => {
    for (const topic of ['x'.repeat(21), 'a/b/c/d']) {
      const raw = new RawClient(broker.url);
      await raw.connect('gw-1');
      raw.publish(1, topic);
      await raw.closed;
    }
    await counted(broker, 'disconnects.topic', 2);
    const raw = new RawClient(broker.url);
    await raw.connect('gw-1');
    const filters = ['x'.repeat(21), '+/+/#', 'a', 'b', 'a'];
    raw.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: filters.map(topic => ({ topic, qos: 1 as const })),
    });
    const { granted } = (await raw.packet('suback')) as { granted: number[] };
    assert.equal(granted, [128, 1, 1, 128]);
    assert.is(broker.counters.get('drops.subscription'), 2);
    const longId = new RawClient(broker.url);
    assert.is(((await longId.connect('x'.repeat(21))) as { returnCode: number }).returnCode, 2);
    const silent = new RawClient(broker.url);
    await silent.closed;
    await counted(broker, 'disconnects.protocol', 1);
    raw.socket.destroy();
  });
});

test('with the limit in flight other clients wait unread, and go on when there is room', async () => {
  const committed = gate();
  let ingested = 0;
  const ingest = () => {
    ingested++;
    return committed.promise;
  };
  await withBroker({ ingest, limits: { inFlight: 5 } }, async broker => {
    const raws = await Promise.all(
      [1, 2, 3].map(async n => {
        const raw = new RawClient(broker.url);
        await raw.connect(`gw-${n}`);
        return raw;
      }),
    );
    for (let id = 1; id <= 8; id++) raws[0].publish(id);
    await until(() => ingested >= 5);
    for (const raw of raws.slice(1)) for (let id = 1; id <= 3; id++) raw.publish(id);
    for (let i = 0; i < 20; i++) await turn();
    const before = ingested;
    assert.ok(before <= 8, `${before} in flight`);
    committed.open();
    await raws[0].packet('puback', 8);
    for (const raw of raws.slice(1)) await raw.packet('puback', 3);
    assert.is(ingested, 14);
    for (const raw of raws) raw.socket.destroy();
  });
});

test('what is queued for an absent session is bounded, in order over a restart, and delivered when it returns', () =>
  inDirectory(async directory => {
    const limits = { queuedPerSession: 3 };
    await withBroker({ directory, limits }, async broker => {
      const sleeper = await client(broker.url, { clientId: 'sleeper', clean: false });
      await sleeper.subscribeAsync('a/+', { qos: 1 });
      await sleeper.endAsync();
      await until(() => broker.clients === 0);
      for (let i = 0; i < 5; i++) await broker.publish(`a/${i}`, String(i), { qos: 1 });
      assert.is(broker.counters.get('drops.queue-full'), 2);
    });
    await withBroker({ directory, limits }, async broker => {
      for (let i = 5; i < 8; i++) await broker.publish(`a/${i}`, String(i), { qos: 1 });
      const received: string[] = [];
      const sleeper = new RawClient(broker.url);
      const connack = (await sleeper.connect('sleeper', { clean: false })) as { sessionPresent: boolean };
      assert.ok(connack.sessionPresent);
      await sleeper.packet('publish', 6);
      for (const packet of sleeper.of('publish'))
        received.push(String((packet as { payload: Buffer }).payload));
      assert.equal(received, ['0', '1', '2', '5', '6', '7']);
      sleeper.socket.destroy();
    });
  }));

test('kill -9 right after PUBACK loses no retained message and no queued one', () =>
  inDirectory(async directory => {
    const script = `
      import { openBroker } from ${JSON.stringify(brokerModule)};
      const broker = await openBroker({ directory: process.argv[1], port: 0 });
      console.log(broker.url);`;
    const broker = spawn(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', script, directory],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const exited = once(broker, 'exit');
    const [url] = await once(createInterface({ input: broker.stdout }), 'line');
    const sleeper = await client(url, { clientId: 'sleeper', clean: false });
    await sleeper.subscribeAsync('a/#', { qos: 1 });
    await sleeper.endAsync();
    const raw = new RawClient(url);
    await raw.connect('gw-1');
    for (let id = 1; id <= 500; id++) raw.publish(id, `a/${id}`, { retain: true });
    await raw.packet('puback', 400);
    const acknowledged = raw.of('puback').map(({ messageId }) => messageId!);
    broker.kill('SIGKILL');
    await exited;
    await withBroker({ directory }, async again => {
      const returned = new RawClient(again.url);
      await returned.connect('sleeper', { clean: false });
      const reader = new RawClient(again.url);
      await reader.connect('reader');
      reader.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 0 }] });
      for (const who of [returned, reader]) {
        await who.packet('publish', acknowledged.length);
        const topics = new Set(who.of('publish').map(packet => (packet as { topic: string }).topic));
        assert.equal(
          acknowledged.filter(id => !topics.has(`a/${id}`)),
          [],
        );
        who.socket.destroy();
      }
    });
  }));

test('a subscription gets exactly the retained messages its filter matches, of any topics', () =>
  inDirectory(async directory => {
    const seed = 5;
    const random = new Random(seed, 'retained');
    const level = () => ['a', 'b', 'a0', 'a-', 'é', ''][random.below(6)];
    const matches = (filter: string[], topic: string[]): boolean => {
      if (filter[0] === '#') return true;
      if (filter.length === 0 || topic.length === 0) return filter.length === topic.length;
      return (filter[0] === '+' || filter[0] === topic[0]) && matches(filter.slice(1), topic.slice(1));
    };
    await withBroker({ directory }, async broker => {
      const topics = new Set<string>();
      while (topics.size < 60) {
        const topic = Array.from({ length: 1 + random.below(4) }, level).join('/');
        if (topic !== '') topics.add(topic);
      }
      await Promise.all([...topics].map(topic => broker.publish(topic, 'x', { retain: true })));
      const subscriber = new RawClient(broker.url);
      await subscriber.connect('subscriber');
      for (let round = 1; round <= 60; round++) {
        const levels = Array.from({ length: 1 + random.below(4) }, () =>
          random.chance(0.3) ? '+' : level(),
        );
        if (random.chance(0.4)) levels[levels.length - 1] = '#';
        const filter = levels.join('/');
        if (filter === '') continue;
        const expected = [...topics].filter(topic => matches(levels, topic.split('/'))).sort();
        const before = subscriber.of('publish').length;
        subscriber.send({ cmd: 'subscribe', messageId: round, subscriptions: [{ topic: filter, qos: 0 }] });
        await subscriber.packet('publish', before + expected.length);
        subscriber.send({ cmd: 'unsubscribe', messageId: round, unsubscriptions: [filter] });
        await subscriber.packet('unsuback', subscriber.of('unsuback').length + 1);
        await subscriber.ping();
        const got = subscriber
          .of('publish')
          .slice(before)
          .map(packet => (packet as { topic: string }).topic);
        assert.equal((await broker.retainedTopics(filter)).sort(), expected);
        assert.equal(got.sort(), expected, `seed ${seed}, filter ${filter}`);
      }
      subscriber.socket.destroy();
    });
  }));

test('a will that cannot be removed from a full disk is counted and does not end the process', () =>
  inDirectory(async directory => {
    const database = await openDatabase(directory);
    let failures = 0;
    const persistence = persistenceOn(database, () => failures++) as ReturnType<typeof persistenceOn> & {
      putWill(client: object, packet: object): Promise<void>;
    };
    await persistence.putWill(
      { id: 'gw-1' },
      { topic: 'a', payload: Buffer.from('lost'), qos: 1, retain: true },
    );
    database.write = () => Promise.reject(new Error('No space left on device'));
    await persistence.delWill({ id: 'gw-1' });
    assert.is(failures, 1);
    await database.close();
    // And a stream of retained messages over a closed database.
    persistence.createRetainedStreamCombi(['#']).resume();
    await until(() => failures === 2);
  }));

test('a publish of the coordinator’s own that nobody waits for may fail without ending the process', () =>
  inDirectory(directory =>
    withBroker({ directory }, async broker => {
      broker['database']!.write = () => Promise.reject(new Error('No space left on device'));
      broker.publish('a', 'x', { retain: true });
      await counted(broker, 'errors', 1);
      assert.match((await rejection(broker.publish('a', 'x', { retain: true }))).message, /No space left/);
      const heard: string[] = [];
      await broker.subscribe('b', ({ payload }) => heard.push(String(payload)));
      await broker.publish('b', 'still here');
      assert.equal(heard, ['still here']);
    }),
  ));

test('a port in use is named with what to do, and so is a directory in use', () =>
  inDirectory(async directory => {
    await withBroker({ directory, wsPort: 0 }, async broker => {
      const port = Number(new URL(broker.url).port);
      const taken = await rejection(openBroker({ port }));
      assert.is(taken.message, `port ${port} is in use: stop the other broker or pass --port`);
      const wsTaken = await rejection(openBroker({ port: 0, wsPort: port }));
      assert.is(wsTaken.message, `port ${port} is in use: stop the other broker or pass --ws-port`);
      const inUse = await rejection(openBroker({ directory, port: 0 }));
      assert.match(inUse.message, `${directory} is in use by another process`);
      const nowhere = await rejection(openBroker({ host: '203.0.113.1', port: 0 }));
      assert.match(nowhere.message, /cannot listen on 203\.0\.113\.1 port 0 .*pass another address/);
      assert.match(broker.url, /^mqtt:\/\/127\.0\.0\.1:\d+$/);
    });
  }));

test('WebSocket clients offer mqtt, and web pages of elsewhere are refused', async () => {
  await withBroker({ wsPort: 0 }, async broker => {
    const over = await client(broker.wsUrl!);
    const heard: string[] = [];
    await broker.subscribe('a', ({ payload }) => heard.push(String(payload)));
    await over.publishAsync('a', 'hello', { qos: 1 });
    await over.endAsync();
    assert.equal(heard, ['hello']);
    const { port } = new URL(broker.wsUrl!);
    const attempt = (protocols: string[], headers: { [name: string]: string }) =>
      new Promise<string>(done => {
        const socket = new WebSocket(broker.wsUrl!, protocols, { headers });
        socket.on('open', () => {
          done(socket.protocol);
          socket.terminate();
        });
        socket.on('error', error => done(error.message));
      });
    const refused = 'Unexpected server response: 401';
    assert.is(await attempt(['mqtt'], { origin: 'http://localhost:8080' }), 'mqtt');
    assert.is(await attempt(['mqtt'], { origin: 'http://192.168.1.5', host: `192.168.1.5:${port}` }), 'mqtt');
    assert.is(
      await attempt(['mqtt'], { origin: 'http://evil.example', host: `evil.example:${port}` }),
      refused,
    );
    assert.is(await attempt(['mqtt'], { origin: 'null' }), refused);
    assert.is(await attempt([], {}), refused);
    assert.is(broker.counters.get('refused.origin'), 3);
    const page = await fetch(broker.wsUrl!.replace('ws', 'http'));
    assert.is(page.status, 426);
    await page.text();
  });
});

test('closing waits for what ingest has under way, wills included, and leaves no will behind to be published again', () =>
  inDirectory(async directory => {
    const committed = gate();
    const ingested: string[] = [];
    const broker = await openBroker({
      directory,
      port: 0,
      ingest: ({ topic }) => {
        ingested.push(topic);
        return committed.promise;
      },
    });
    const raw = new RawClient(broker.url);
    await raw.connect('gw-1', {
      will: { topic: 'will', payload: Buffer.from('lost'), qos: 0, retain: false },
    });
    raw.publish(1);
    await until(() => ingested.length === 1);
    let closed = false;
    const closing = broker.close().then(() => {
      closed = true;
    });
    await raw.closed;
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(ingested, ['a', 'will']);
    assert.not(closed);
    committed.open();
    await closing;
    const database = await openDatabase(directory);
    assert.equal(await database.keys({ gte: 'will:', lt: 'will;' }), []);
    await database.close();
  }));

test('who subscribes while a message is on its way keeps the connection and hears what comes after', async () => {
  await inDirectory(directory =>
    withBroker({ directory }, async broker => {
      const publisher = await client(broker.url);
      let going = true;
      let messageId = 0;
      const stream = async () => {
        while (going) await publisher.publishAsync('a', String(++messageId), { qos: 1, retain: true });
      };
      const streams = [stream(), stream(), stream(), stream()];
      for (let i = 0; i < 60; i++) {
        const late = new RawClient(broker.url);
        await late.connect(`late-${i}`, { clean: false });
        late.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }] } as Packet);
        await late.packet('publish', 3);
        late.send({ cmd: 'disconnect' });
        await late.closed;
      }
      going = false;
      await Promise.all(streams);
      await publisher.endAsync();
      assert.is(broker.counters.get('disconnects.protocol'), 0);
    }),
  );
});

test('of many filters in one SUBSCRIBE each one granted is kept once, and none that was refused', () =>
  inDirectory(async directory => {
    const filters = Array.from({ length: 1200 }, (_, i) => ({ topic: `f/${i}`, qos: 1 }));
    const counted = new Map<string, number>();
    await withBroker({ directory }, async broker => {
      const greedy = new RawClient(broker.url);
      await greedy.connect('greedy', { clean: false });
      greedy.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters } as Packet);
      const { granted } = (await greedy.packet('suback')) as { granted: number[] };
      assert.equal(
        [granted.filter(code => code === 1).length, granted.filter(code => code === 128).length],
        [1000, 200],
      );
      greedy.send({ cmd: 'disconnect' });
      await greedy.closed;
    });
    const database = await openDatabase(directory);
    for (const key of await database.keys({ gte: '', lt: '\uffff' })) {
      const filter = /f\/\d+/.exec(decodeURIComponent(key))?.[0];
      if (filter) counted.set(filter, (counted.get(filter) ?? 0) + 1);
    }
    await database.close();
    assert.is(counted.size, 1000);
    assert.ok([...counted.values()].every(count => count === 1));
  }));

test.run();
