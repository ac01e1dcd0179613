/**
 * The raw link over a veth pair between two network namespaces.
 *
 * Bursts: one process sends a burst that the receiver's buffer holds, then reads it. "Sent" has the kernel's work for both
 * ends in it (veth delivers in the sender's call); "taken" is the receiver's part alone, and its processor time.
 *
 * Stream: another process sends as fast as it can on the other core, and this one receives and classifies (headers.ts) what
 * comes. The rate is bounded by the sender; lost frames are told. On two cores both compete with whatever else runs.
 */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Headers } from '../../agent/wire/headers.js';
import { openRawLink, type RawLink } from '../../edge/linux/raw-link.js';
import { Namespace } from '../support/namespaces.js';
import type { Row } from './row.js';

export const name = 'raw-link';

/** Issue 6: frames a second received and classified over veth. */
const goal = 500_000;
/** What the kernel holds for the receiver whichever way it receives, with all that a small frame takes up there. */
const burst = 8_192;
const bursts = 40;
const bufferBytes = 16 << 20;
const warmUps = 5;
/** A burst that is not all there after so long lost frames. */
const lossMs = 500;
const streams = 5;
const streamMs = 600;

export async function run(): Promise<Row[]> {
  if (!Namespace.available()) return [];
  const rows: Row[] = [];
  try {
    for (const ring of [false, true])
      for (const frameBytes of [64, 512]) {
        rows.push(...(await transfer(ring, frameBytes)));
        rows.push(...(await stream(ring, frameBytes)));
      }
  } finally {
    Namespace.removeAll();
  }
  return rows;
}

async function transfer(ring: boolean, frameBytes: number): Promise<Row[]> {
  const [a, b] = [Namespace.make(), Namespace.make()];
  a.connect('va', b, 'vb');
  const fail = (error: Error) => {
    throw error;
  };
  const headers = new Headers();
  let heard = 0;
  let done = () => {};
  const options = { promiscuous: true, bufferBytes };
  const sender: RawLink = a.enter(() =>
    openRawLink({ ...options, interface: 'va', bypassQueue: true }, () => {}, fail),
  );
  const receiver = b.enter(() =>
    openRawLink(
      { ...options, interface: 'vb', ring },
      (bytes, start, end) => {
        if (headers.scan(bytes, start, end) === 'ok' && headers.dstPort === 9 && ++heard === burst) done();
      },
      fail,
    ),
  );
  const frame = udpFrame(frameBytes);
  const sent: number[] = [];
  const received: number[] = [];
  const shares: number[] = [];
  let lost = 0;
  for (let round = 0; round < warmUps + bursts; round++) {
    heard = 0;
    const all = new Promise<void>(resolve => {
      const timer = setTimeout(resolve, lossMs);
      done = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    const startedAt = performance.now();
    for (let i = 0; i < burst; i++) sender.send(frame);
    const sentAt = performance.now();
    const before = process.cpuUsage();
    await all;
    const { user, system } = process.cpuUsage(before);
    const elapsedMs = performance.now() - sentAt;
    if (round < warmUps) continue;
    sent.push((burst * 1000) / (sentAt - startedAt));
    if (heard < burst) {
      lost += burst - heard;
      continue;
    }
    received.push((burst * 1000) / elapsedMs);
    // Of what one core can do in the time that so many frames take at the goal's rate.
    shares.push(((user + system) / 1000 / burst) * (goal / 10));
  }
  sender.close();
  receiver.close();
  Namespace.removeAll();
  const title = `${ring ? 'ring' : 'recvmmsg'}, ${frameBytes} bytes`;
  return [
    row(`${title}: sent by sendmmsg`, 'frames/s', sent),
    row(`${title}: taken and classified`, 'frames/s', received),
    row(`${title}: a core's share of that at 500,000/s`, '%', shares),
    row(`${title}: lost of ${(burst * bursts).toLocaleString('en')}`, 'frames', [lost]),
  ];
}

/** Sent by another process, continuously. */
async function stream(ring: boolean, frameBytes: number): Promise<Row[]> {
  const [a, b] = [Namespace.make(), Namespace.make()];
  a.connect('va', b, 'vb');
  const headers = new Headers();
  let heard = 0;
  let firstAt = 0;
  let lastAt = 0;
  const receiver = b.enter(() =>
    openRawLink(
      { interface: 'vb', promiscuous: true, ring, bufferBytes },
      (bytes, start, end) => {
        if (headers.scan(bytes, start, end) !== 'ok' || headers.dstPort !== 9) return;
        // Asking the time for each would be a part of what is measured.
        if (heard++ % 64 === 0) {
          lastAt = performance.now();
          if (firstAt === 0) firstAt = lastAt;
        }
      },
      error => {
        throw error;
      },
    ),
  );
  const received: number[] = [];
  const shares: number[] = [];
  const losses: number[] = [];
  const [program, ...rest] = a.command(
    process.execPath,
    '--import',
    'tsx',
    fileURLToPath(import.meta.url),
    '--send',
    String(frameBytes),
  );
  for (let round = 0; round < streams; round++) {
    heard = firstAt = 0;
    const before = process.cpuUsage();
    const sent = await new Promise<number>((resolve, reject) =>
      execFile(program, rest, (error, stdout) => (error ? reject(error) : resolve(Number(stdout)))),
    );
    // What is still in the buffer.
    await new Promise(resolve => setTimeout(resolve, 50));
    const { user, system } = process.cpuUsage(before);
    const elapsedMs = lastAt - firstAt;
    received.push((heard * 1000) / elapsedMs);
    shares.push((user + system) / 10 / elapsedMs);
    losses.push((100 * (sent - heard)) / sent);
  }
  receiver.close();
  Namespace.removeAll();
  const title = `${ring ? 'ring' : 'recvmmsg'}, ${frameBytes} bytes, stream`;
  return [
    row(`${title}: received and classified`, 'frames/s', received, frameBytes === 64 ? goal : undefined),
    row(`${title}: a core's share`, '%', shares),
    row(`${title}: lost`, '%', losses),
  ];
}

/** The other process: sends for a while, and prints how many frames went. */
async function send(frameBytes: number): Promise<void> {
  const link = openRawLink(
    { interface: 'va', bypassQueue: true },
    () => {},
    () => process.exit(1),
  );
  const frame = udpFrame(frameBytes);
  const endAt = performance.now() + streamMs;
  while (performance.now() < endAt) for (let i = 0; i < 1024; i++) link.send(frame);
  link.close();
  console.log(link.counts()['sent']);
}

function row(title: string, unit: string, values: number[], rowGoal?: number): Row {
  const sorted = [...values].sort((x, y) => x - y);
  return {
    name: title,
    unit,
    median: sorted[sorted.length >> 1] ?? 0,
    min: sorted[0] ?? 0,
    max: sorted[sorted.length - 1] ?? 0,
    runs: sorted.length,
    ...(rowGoal === undefined ? {} : { goal: rowGoal }),
  };
}

/** UDP from 10.9.0.1 to 10.9.0.2, port 9 (discard, RFC 863), without a checksum. */
function udpFrame(lengthBytes: number): Uint8Array {
  const frame = new Uint8Array(lengthBytes);
  const ip = lengthBytes - 14;
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
  frame.set([0x45, 0, ip >> 8, ip & 255, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2], 14);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += (frame[at] << 8) | frame[at + 1];
  sum = (sum & 0xffff) + (sum >>> 16);
  frame[24] = (~sum >>> 8) & 255;
  frame[25] = ~sum & 255;
  frame.set([0, 9, 0, 9, (ip - 20) >> 8, (ip - 20) & 255, 0, 0], 34);
  return frame;
}

if (process.argv[2] === '--send') await send(Number(process.argv[3]));
