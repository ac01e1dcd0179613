/**
 * PPPoE on the wire, if a veth is one: frames come in by a raw link's ring, are encapsulated or decapsulated where they lie, and
 * go out by sendmmsg over another link.
 *
 *     access ── va ═ vb ── ring ── decapsulate ─────────────── sendmmsg ── vc ═ vd ── core
 *            ── va ═ vb ── sendmmsg ── find by IPv4, encapsulate ── ring ── vc ═ vd ──
 *
 * Bursts: this process fills the ring with frames of 1,000 sessions in random order, then the time is taken until all have
 * left: what one core carries while nobody else wants it. Stream: another process sends as fast as it can, on the other core; what arrives at
 * the far interface counts, and the slower of the two bounds it.
 *
 * "Relay" is the same without PPPoE: what the links cost alone. No BRAS stands in between: no source check, shaper or
 * forwarding. A veth delivers in the call that sends, so the far end's kernel is in the figures, and there is no driver and no
 * card. On two cores all compete with whatever else runs.
 */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { readUint16, readUint32, writeUint16, writeUint32 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { Encapsulation } from '../../agent/pppoe/encapsulation.js';
import { SessionTable } from '../../agent/pppoe/session-table.js';
import { parseMac } from '../../agent/wire/address.js';
import { ethernetHeaderLength, etherTypeIpv4 } from '../../agent/wire/ethernet.js';
import { openRawLink, type RawLink } from '../../edge/linux/raw-link.js';
import { Namespace } from '../support/namespaces.js';
import type { Row } from './row.js';

export const name = 'pppoe-wire';

type Way = 'relay' | 'decapsulate' | 'encapsulate';

const sessionCount = 1_000;
/** Of the IP packet; with PPPoE 60 bytes are a frame of 64 with its check sequence. */
const sizes = [
  ['64 B', 38],
  ['1,400 B', 1_400],
] as const;
/** 50 ms of work, so that what a frame may wait in the ring (4 ms) tells little; the ring holds it. */
const burst = 32_768;
const bursts = 15;
const warmUps = 3;
const streams = 5;
const streamMs = 500;
const ringBytes = 64 << 20;
const bufferBytes = 16 << 20;
/** Nothing has come for so long: all that will has. */
const silenceMs = 50;
const frameCount = 1_024;
const localMac = parseMac('02:00:00:00:00:01')!;
const coreMac = parseMac('02:00:00:00:00:02')!;
/** IEEE 802 local experimental: nothing is heard on the link that only sends. */
const nothing = 0x88b5;

export async function run(): Promise<Row[]> {
  if (!Namespace.available()) return [];
  const rows: Row[] = [];
  try {
    for (const [size, packetBytes] of sizes)
      for (const way of ['relay', 'decapsulate', 'encapsulate'] as const)
        rows.push(...(await carry(way, size, packetBytes)));
  } finally {
    Namespace.removeAll();
  }
  return rows;
}

async function carry(way: Way, size: string, packetBytes: number): Promise<Row[]> {
  const [access, middle, core] = [Namespace.make(), Namespace.make(), Namespace.make()];
  access.connect('va', middle, 'vb');
  middle.connect('vc', core, 'vd');
  const isInward = way !== 'encapsulate';
  const [from, to] = isInward ? [access, core] : [core, access];
  const [source, sink] = isInward ? ['va', 'vd'] : ['vd', 'va'];
  const [inward, outward] = isInward ? ['vb', 'vc'] : ['vc', 'vb'];
  const fail = (error: Error) => {
    throw error;
  };
  const table = fillTable();
  const encapsulation = new Encapsulation(table, localMac);
  let heard = 0;
  let firstAt = 0;
  let lastAt = 0;
  const openSender = (on: string) =>
    openRawLink({ interface: on, protocol: nothing, bypassQueue: true, bufferBytes }, () => {}, fail);
  const [receiver, sender]: RawLink[] = middle.enter(() => {
    const out = openSender(outward);
    const handle = handler(way, table, encapsulation, out);
    const hear = (bytes: Uint8Array, start: number, end: number) => {
      // Asking the time for each would be a part of what is measured.
      if (heard++ % 64 === 0) {
        lastAt = performance.now();
        if (firstAt === 0) firstAt = lastAt;
      }
      handle(bytes, start, end);
    };
    const ring = { interface: inward, promiscuous: true, ring: true, bufferBytes: ringBytes };
    return [openRawLink(ring, hear, fail), out];
  });
  const silence = async () => {
    for (let seen = -1; seen !== heard; ) {
      seen = heard;
      await new Promise(resolve => setTimeout(resolve, silenceMs));
    }
  };
  const arrived = () => {
    const [{ stats64 }] = JSON.parse(to.run('ip', '-j', '-s', 'link', 'show', 'dev', sink));
    return stats64.rx.packets as number;
  };
  const [program, ...words] = from.command(
    process.execPath,
    '--import',
    'tsx',
    fileURLToPath(import.meta.url),
    '--send',
    source,
    way,
    String(packetBytes),
  );
  const taken: number[] = [];
  const costs: number[] = [];
  const rates: number[] = [];
  const losses: number[] = [];
  let lost = 0;
  const filler = from.enter(() => openSender(source));
  const frames = makeFrames(way, packetBytes);
  for (let round = -warmUps; round < bursts; round++) {
    heard = 0;
    for (let i = 0; i < burst; i++) filler.send(frames[i % frameCount]);
    const startedAt = performance.now();
    const usage = process.cpuUsage();
    await silence();
    const { user, system } = process.cpuUsage(usage);
    if (round < 0) continue;
    lost += burst - heard;
    taken.push((heard * 1000) / (lastAt - startedAt));
    costs.push((user + system) / heard);
  }
  filler.close();
  for (let round = 0; round < streams; round++) {
    heard = firstAt = 0;
    const before = arrived();
    const sent = await new Promise<number>((resolve, reject) =>
      execFile(program, words, (error, stdout) => (error ? reject(error) : resolve(Number(stdout)))),
    );
    await silence();
    const count = arrived() - before;
    if (count === 0)
      throw new Error(`${way}: expected frames to arrive, got ${JSON.stringify(sender.counts())}`);
    rates.push((count * 1000) / (lastAt - firstAt));
    losses.push((100 * (sent - count)) / sent);
  }
  receiver.close();
  sender.close();
  Namespace.removeAll();
  const dropped = encapsulation.counters.snapshot();
  if (Object.keys(dropped).length > 0)
    throw new Error(`${way}: expected all to pass, got ${JSON.stringify(dropped)}`);
  const title = `${way}, ${size}, over veth`;
  return [
    row(`${title}: one core, in bursts`, 'packets/s', taken),
    row(`${title}: processor time`, 'µs/packet', costs),
    row(`${title}: lost of ${(burst * bursts).toLocaleString('en')}`, 'packets', [lost]),
    row(`${title}: stream, arrived`, 'packets/s', rates),
    row(`${title}: stream, lost`, '%', losses),
  ];
}

/** What is done with each frame in between. */
function handler(way: Way, table: SessionTable, encapsulation: Encapsulation, out: RawLink) {
  return (bytes: Uint8Array, start: number, end: number): void => {
    switch (way) {
      case 'relay':
        out.send(bytes, start, end);
        return;
      case 'decapsulate': {
        const at = encapsulation.decapsulate(0, bytes, start, end);
        if (at < 0) return;
        const frameAt = at - ethernetHeaderLength;
        writeHeader(bytes, frameAt);
        out.send(bytes, frameAt, encapsulation.end);
        return;
      }
      case 'encapsulate': {
        const at = start + ethernetHeaderLength;
        const row = table.findIpv4(readUint32(bytes, at + 16));
        const packetEnd = at + readUint16(bytes, at + 2);
        const frameAt = encapsulation.encapsulateIp(bytes, at, packetEnd, row);
        if (frameAt >= 0) out.send(bytes, frameAt, packetEnd);
      }
    }
  };
}

/** Ethernet between the relay and the core, which is no interface of anybody's. */
function writeHeader(bytes: Uint8Array, at: number): void {
  bytes.set(coreMac, at);
  bytes.set(localMac, at + 6);
  writeUint16(bytes, at + 12, etherTypeIpv4);
}

/** The other process: sends for a while, and prints how many frames went. */
async function send(source: string, way: Way, packetBytes: number): Promise<void> {
  const link = openRawLink(
    { interface: source, protocol: nothing, bypassQueue: true },
    () => {},
    () => process.exit(1),
  );
  const frames = makeFrames(way, packetBytes);
  const endAt = performance.now() + streamMs;
  while (performance.now() < endAt) for (const frame of frames) link.send(frame);
  link.close();
  console.log(link.counts()['sent']);
}

/** Each of another session. */
function makeFrames(way: Way, packetBytes: number): Uint8Array[] {
  const random = new Random(5, 'pppoe-wire');
  const table = fillTable();
  const encapsulation = new Encapsulation(table, localMac);
  return Array.from({ length: frameCount }, () => {
    const row = 1 + random.below(sessionCount);
    const packetAt = 64;
    const bytes = new Uint8Array(packetAt + packetBytes);
    bytes[packetAt] = 0x45;
    writeUint16(bytes, packetAt + 2, packetBytes);
    writeUint32(bytes, packetAt + 12, table.ipv4[row]);
    writeUint32(bytes, packetAt + 16, table.ipv4[row]);
    if (way === 'encapsulate') {
      writeHeader(bytes, packetAt - ethernetHeaderLength);
      const frame = bytes.subarray(packetAt - ethernetHeaderLength);
      // Ethernet's shortest.
      return frame.length >= 60 ? frame : Uint8Array.from({ length: 60 }, (_, i) => frame[i] ?? 0);
    }
    const frame = bytes.subarray(encapsulation.encapsulateIp(bytes, packetAt, bytes.length, row));
    // From the host, not to it.
    const hostMac = frame.slice(0, 6);
    frame.set(localMac);
    frame.set(hostMac, 6);
    return frame;
  });
}

/** The same in both processes. */
function fillTable(): SessionTable {
  const table = new SessionTable({ sessions: sessionCount });
  for (let i = 0; i < sessionCount; i++) {
    const id = table.open(0, { macHigh: 0x0210, macLow: i, link: 0, outerTag: 0, innerTag: 0 });
    table.settle(id);
    table.setIpv4(table.rowOf[id], 0x0a000000 + i);
  }
  return table;
}

function row(title: string, unit: string, values: number[]): Row {
  const sorted = [...values].sort((x, y) => x - y);
  return {
    name: title,
    unit,
    median: sorted[sorted.length >> 1],
    min: sorted[0],
    max: sorted[sorted.length - 1],
    runs: sorted.length,
  };
}

if (process.argv[2] === '--send')
  await send(process.argv[3], process.argv[4] as Way, Number(process.argv[5]));
