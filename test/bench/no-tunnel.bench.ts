/**
 * What the mode without a tunnel saves (issue 5; the seed, §3.2.4): header bytes, packets a second of a gigabit Ethernet, and
 * packets a second and CPU a packet at the gateway and at the BRAS, with and without.
 *
 * One core, in memory: the agent from input to drained outbox, the BRAS from frame to callback, checks, counters, MSS clamping and
 * a copy of the packet included, one session, as many packets up as down; no system call. Both ways run by turns, so that
 * what else the machine does meets both; CPU is the process's, its garbage collector included.
 */

import { encapsulationHeadroom } from '../../agent/pppoe/encapsulation.js';
import { address, ipv4Packet } from '../bras/homes.js';
import { Rig } from '../pppoe/gateway-rig.js';
import type { Row } from './row.js';

export const name = 'no-tunnel';

const outside = address('192.0.2.7');
const packetsAtOnce = 1_000;
const gigabitBytesPerSecond = 125e6;
/** IEEE 802.3-2018 §3.1.1, §4.2.7: preamble 8, check sequence 4, gap 12; the shortest frame 60 without the check sequence. */
const wireBytes = 8 + 4 + 12;
const shortestFrame = 60;
const warmUpRounds = 3;
const rounds = 15;
const roundMs = 100;

interface Way {
  readonly title: string;
  readonly rig: Rig;
}

export async function run(): Promise<Row[]> {
  const ways: Way[] = [
    { title: 'tunnel', rig: new Rig().dial() },
    { title: 'plain', rig: new Rig({ expiryMs: 3_600_000 }).dial() },
  ];
  const rows: Row[] = [];
  for (const length of [64, 1_400]) {
    const frames = ways.map(({ rig }) => framesOf(rig, length));
    for (const [i, { title, rig }] of ways.entries()) {
      if (rig.job.mode !== title) throw new Error(`mode: expected ${title}, got ${rig.job.mode}`);
      const frameLength = frames[i].up.length;
      rows.push(
        row(`${length} B, ${title}: headers`, 'B/packet', [frameLength - length]),
        row(`${length} B, ${title}: a gigabit Ethernet carries`, 'packets/s', [wireRate(frameLength)]),
      );
      rig.isQuiet = true;
    }
    const gateway = ways.map(({ rig }, i) => [gatewayUp(rig, length), gatewayDown(rig, frames[i].down)]);
    const bras = ways.map(({ rig }, i) => [brasUp(rig, frames[i].up), brasDown(rig, length)]);
    rows.push(...compare(`${length} B, gateway`, gateway), ...compare(`${length} B, BRAS`, bras));
    for (const { rig } of ways) rig.isQuiet = false;
  }
  return rows;
}

/** `works`: in the tunnel and plain. */
function compare(title: string, works: readonly (readonly (() => number)[])[]): Row[] {
  const rates: number[][] = [[], []];
  const costs: number[][] = [[], []];
  for (let round = -warmUpRounds; round < rounds; round++)
    for (const [way, both] of works.entries()) {
      const startedAt = performance.now();
      const before = process.cpuUsage();
      let packets = 0;
      while (performance.now() - startedAt < roundMs) for (const work of both) packets += work();
      const { user, system } = process.cpuUsage(before);
      const elapsedMs = performance.now() - startedAt;
      if (round < 0) continue;
      rates[way].push((packets * 1e3) / elapsedMs);
      costs[way].push(((user + system) * 1e3) / packets);
    }
  return [
    ...['tunnel', 'plain'].flatMap((way, i) => [
      row(`${title}, ${way}`, 'packets/s', rates[i]),
      row(`${title}, ${way}: CPU`, 'ns/packet', costs[i]),
    ]),
    row(
      `${title}: CPU without the tunnel, of that with it`,
      '%',
      costs[1].map((cost, i) => (100 * cost) / costs[0][i]),
    ),
  ];
}

function homeOf(rig: Rig): number {
  return rig.bras.table.ipv4[1];
}

const packetOf = (from: number, to: number, length: number) => ipv4Packet(from, to, length, 253);

/** A frame each way as the access network carries it, without padding. */
function framesOf(rig: Rig, length: number): { up: Uint8Array; down: Uint8Array } {
  rig.send(packetOf(homeOf(rig), outside, length));
  const up = rig.frames.at(-1)!.frame;
  rig.fromCore(packetOf(outside, homeOf(rig), length));
  return { up, down: rig.frames.at(-1)!.frame };
}

function gatewayUp(rig: Rig, length: number): () => number {
  const { agent } = rig;
  const packet = packetOf(homeOf(rig), outside, length);
  return times(() => {
    agent.receive(rig.now, { kind: 'line-packet', packet });
    if (agent.outbox.shift()?.kind !== 'transmit') throw new Error('expected a frame');
  });
}

function gatewayDown(rig: Rig, frame: Uint8Array): () => number {
  const { agent } = rig;
  return times(() => {
    agent.receive(rig.now, { kind: 'frame', link: 'wan', frame });
    if (agent.outbox.shift()?.kind !== 'line-deliver') throw new Error('expected a packet');
  });
}

/** The BRAS changes what it forwards in place, so that each packet is a copy, as below. */
function brasUp(rig: Rig, frame: Uint8Array): () => number {
  const bytes = new Uint8Array(frame.length);
  return counted(rig, 'bras.up', () => {
    bytes.set(frame);
    rig.bras.receiveAccess(rig.now, 0, bytes);
  });
}

function brasDown(rig: Rig, length: number): () => number {
  const packet = packetOf(outside, homeOf(rig), length);
  const bytes = new Uint8Array(encapsulationHeadroom + length);
  const name = rig.job.mode === 'plain' ? 'bras.plain-down' : 'bras.down';
  return counted(rig, name, () => {
    bytes.set(packet, encapsulationHeadroom);
    rig.bras.receiveIp(rig.now, bytes, encapsulationHeadroom, bytes.length);
  });
}

/** Every packet must have passed. */
function counted(
  rig: Rig,
  name: 'bras.up' | 'bras.down' | 'bras.plain-down',
  work: () => void,
): () => number {
  const batch = times(work);
  return () => {
    const before = rig.bras.counters.get(name);
    const done = batch();
    if (rig.bras.counters.get(name) - before !== done) throw new Error(`${name}: expected all to pass`);
    return done;
  };
}

function times(work: () => void): () => number {
  return () => {
    for (let i = 0; i < packetsAtOnce; i++) work();
    return packetsAtOnce;
  };
}

function wireRate(frameLength: number): number {
  return gigabitBytesPerSecond / (Math.max(shortestFrame, frameLength) + wireBytes);
}

function row(title: string, unit: string, values: readonly number[]): Row {
  const sorted = [...values].sort((a, b) => a - b);
  const [min, median, max] = [sorted[0], sorted[sorted.length >> 1], sorted[sorted.length - 1]];
  return { name: title, unit, median, min, max, runs: sorted.length };
}
