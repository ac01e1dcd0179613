/** The main job as a whole: how long a person waits for the answer to a rule, and how much memory a street takes. */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { digest } from '../../agent/core/bytes.js';
import { descriptors } from '../../agent/message/messages.js';
import { listNodes } from '../../host-sim/cli/watch.js';
import { decodeMessage } from '../../host-sim/coordinator/payload.js';
import { eventually, freePort, Process } from '../support/process.js';
import type { Row } from './row.js';

export const name = 'kith up';

const homes = 20;
const rules = 100;

export async function run(): Promise<Row[]> {
  const directory = await mkdtemp(join(tmpdir(), 'kith-bench-'));
  const port = await freePort();
  const url = `mqtt://127.0.0.1:${port}`;
  const args = ['--data', directory, '--port', String(port), '--ws-port', '0', '--homes', String(homes)];
  const startedAt = performance.now();
  const up = await Process.kith(['up', ...args]);
  const upMs = performance.now() - startedAt;
  try {
    const isReady = async () => (await listNodes(url)).filter(row => row.state === 'ready').length === homes;
    await eventually('every home ready', isReady);
    const answers = await answerTimes(url);
    const residentMegabytes =
      Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${up.pid}/status`, 'utf8'))?.[1]) / 1024;
    return [
      row('from the command to a listening broker', 'ms', [upMs]),
      { ...row('rule published → status received', 'ms', answers), goal: 1000 },
      row(`resident memory, ${homes} live homes`, 'MB', [residentMegabytes]),
    ];
  } finally {
    await up.kill('SIGTERM');
    await rm(directory, { recursive: true });
  }
}

/** One rule after the other, each another text, so that each has its own digest. */
async function answerTimes(url: string): Promise<number[]> {
  const client = await connectAsync(url);
  const times: number[] = [];
  let answered: (digest: string) => void = () => {};
  client.on('message', (_topic, payload) => {
    const status = decodeMessage(descriptors['rule-status'], payload);
    if (status.ok && status.value.status === 'accepted') answered(status.value.digest);
  });
  await client.subscribeAsync('kith/1/home/gw-1/rule/bench/status', { qos: 1 });
  for (let i = 0; i < rules; i++) {
    const payload = Buffer.from(`{"trigger":{"udp":{"dstPort":${i}}},"action":"drop"}`);
    const start = performance.now();
    const answer = new Promise<void>(resolve => {
      answered = judged => judged === digest(payload) && resolve();
    });
    await Promise.all([
      answer,
      client.publishAsync('kith/1/home/gw-1/rule/bench', payload, { qos: 1, retain: true }),
    ]);
    times.push(performance.now() - start);
  }
  await client.publishAsync('kith/1/home/gw-1/rule/bench', '', { qos: 1, retain: true });
  await client.endAsync();
  return times;
}

function row(title: string, unit: string, values: number[]): Row {
  const sorted = values.toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1];
  return { name: title, unit, median, min: sorted[0], max: sorted[sorted.length - 1], runs: values.length };
}
