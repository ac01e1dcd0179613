/**
 * How many telemetry messages a second pass through the embedded broker into the store: QoS 1 over TCP, each
 * acknowledged only after it is on disk. The clients live in a process of their own (this file, run as a program).
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Encoder } from 'cbor-x';
import mqtt from 'mqtt-packet';
import { parseTopic } from '../../agent/message/topic.js';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { openStore } from '../../host-sim/coordinator/store.js';
import type { Row } from './row.js';

export const name = 'broker';

const clients = 50;
const messagesPerClient = 1200;
/** Unacknowledged publishes of one client. */
const window = 100;
const runs = 3;
const encoder = new Encoder({ useRecords: false });

interface Measured {
  readonly perSecond: number;
  readonly p99Ms: number;
}

export async function run(): Promise<Row[]> {
  return [
    ...(await measure('QoS 1 telemetry stored, then acknowledged', false, 10_000)),
    ...(await measure('the same, fsync a group', true)),
  ];
}

async function measure(label: string, sync: boolean, goal?: number): Promise<Row[]> {
  const measured: (Measured & { readonly residentMegabytes: number })[] = [];
  for (let i = 0; i < runs; i++) {
    const directory = mkdtempSync(join(tmpdir(), 'kith-bench-'));
    const store = await openStore(join(directory, 'store'), { sync });
    const broker = await openBroker({
      directory: join(directory, 'broker'),
      port: 0,
      ingest: async ({ topic, payload }) => {
        const parsed = parseTopic(topic);
        if (!parsed.ok || parsed.value.leaf.kind !== 'telemetry') throw new Error(`not telemetry: ${topic}`);
        const { site, node, leaf } = parsed.value;
        const { boot, seq, uptime, counters } = encoder.decode(payload);
        await store.telemetry({
          site,
          node,
          job: leaf.name,
          boot,
          seq,
          uptime,
          counters,
          receivedAtMs: Date.now(),
        });
      },
    });
    try {
      const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(import.meta.url), broker.url], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.on('data', chunk => {
        output += chunk;
      });
      await once(child, 'close');
      const stored = store.counters.get('stored');
      if (stored !== clients * messagesPerClient)
        throw new Error(`expected ${clients * messagesPerClient} messages stored, got ${stored}`);
      measured.push({ ...JSON.parse(output), residentMegabytes: process.memoryUsage().rss / 1e6 });
    } finally {
      await broker.close();
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    }
  }
  return [
    row(
      label,
      'messages/s',
      measured.map(({ perSecond }) => perSecond),
      goal,
    ),
    row(
      `${label}: 99 % acknowledged within`,
      'ms',
      measured.map(({ p99Ms }) => p99Ms),
    ),
    row(
      `${label}: resident memory of broker and store`,
      'MB',
      measured.map(({ residentMegabytes }) => residentMegabytes),
    ),
  ];
}

function row(name: string, unit: string, values: number[], goal?: number): Row {
  const sorted = values.map(Math.round).sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1];
  return {
    name,
    unit,
    median,
    min: sorted[0],
    max: sorted[sorted.length - 1],
    runs: sorted.length,
    ...(goal === undefined ? {} : { goal }),
  };
}

/** The clients: all messages of each, at most `window` unacknowledged. */
async function publishAll(url: string): Promise<Measured> {
  const { hostname, port } = new URL(url);
  const latencies: number[] = [];
  const start = performance.now();
  const publishFrom = async (index: number) => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const parser = mqtt.parser();
    socket.on('data', chunk => parser.parse(chunk));
    socket.write(
      mqtt.generate({
        cmd: 'connect',
        clientId: `gw-${index}`,
        protocolId: 'MQTT',
        clean: true,
        keepalive: 0,
      }),
    );
    const sentAt = new Map<number, number>();
    let seq = 0;
    const send = () => {
      const payload = encoder.encode({
        boot: 'b0000001',
        seq,
        uptime: seq * 1000,
        counters: {
          frames: seq * 7,
          dropped: seq * 3,
          wakes: seq >> 3,
          'responded.arp': seq * 2,
          'responded.ndp': seq,
          bytes: seq * 900,
        },
      });
      const messageId = (seq % 65535) + 1;
      sentAt.set(messageId, performance.now());
      socket.write(
        mqtt.generate({
          cmd: 'publish',
          topic: `kith/1/home/gw-${index}/telemetry/power-proxy`,
          payload,
          qos: 1,
          messageId,
          dup: false,
          retain: false,
        }),
      );
      seq++;
    };
    await new Promise<void>((resolve, reject) => {
      let acknowledged = 0;
      parser.on('packet', packet => {
        if (packet.cmd === 'connack') for (let i = 0; i < window; i++) send();
        if (packet.cmd !== 'puback') return;
        latencies.push(performance.now() - sentAt.get(packet.messageId!)!);
        sentAt.delete(packet.messageId!);
        if (++acknowledged === messagesPerClient) resolve();
        else if (seq < messagesPerClient) send();
      });
      socket.on('error', reject);
      socket.on('close', () => reject(new Error(`gw-${index} was disconnected`)));
    });
    socket.end(mqtt.generate({ cmd: 'disconnect' }));
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => publishFrom(index)));
  const seconds = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  return { perSecond: latencies.length / seconds, p99Ms: latencies[Math.floor(latencies.length * 0.99)] };
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  console.log(JSON.stringify(await publishAll(process.argv[2])));
