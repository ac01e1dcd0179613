/**
 * The PPPoE fast path in memory, and what a session costs.
 *
 * Frames of 64 bytes (with the check sequence, which no one here sees) stand in a ring of slots, as those of a packet socket
 * do; each is of another session, in random order. Checks, lookup and counting included; no system call. Heap growth
 * holds the measurement's own few kilobytes.
 */

import { readUint32 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { Encapsulation } from '../../agent/pppoe/encapsulation.js';
import { type Host, SessionTable } from '../../agent/pppoe/session-table.js';
import { parseMac } from '../../agent/wire/address.js';
import { allocation, measure, type Row } from './row.js';

export const name = 'encapsulation';

/** Issue 5: packets a second on one core. */
const rateGoal = 10_000_000;
/** Issue 5: 0.5 MB for 1,000 sessions and 40 MB for 65,535, everything included. */
const bytesGoal = 500;
const sessionCounts = [1_000, 10_000, 65_534];
/** 60 bytes on the wire without the check sequence: 14 Ethernet, 6 PPPoE, 2 protocol, 38 IP. */
const frameLength = 60;
const packetLength = 38;
const slotLength = 128;
/** Leaves headroom before the frame too. */
const frameAt = 32;
const slotCount = 4_096;
const localMac = parseMac('02:00:00:00:00:01')!;

/** What the calls returned; unread, the compiler would leave the work out. */
let consumed = 0;

export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  // Compiled code is not a session's: a first table, dropped, brings it in.
  fillTable(1_000);
  for (const count of sessionCounts) rows.push(...runWith(count));
  return rows;
}

function runWith(count: number): Row[] {
  const title = `${count.toLocaleString('en')} sessions`;
  globalThis.gc?.();
  const before = process.memoryUsage();
  const table = fillTable(count);
  // Twice: the arrays that grew out of use are freed after the first.
  globalThis.gc?.();
  globalThis.gc?.();
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  const encapsulation = new Encapsulation(table, localMac);
  const incoming = fillRing(encapsulation, count, true);
  const outgoing = fillRing(encapsulation, count, false);
  const decapsulate = () => {
    let sum = 0;
    for (let slot = 0; slot < slotCount; slot++) {
      const at = slot * slotLength + frameAt;
      sum += encapsulation.decapsulate(0, incoming, at, at + frameLength);
    }
    consumed = sum;
    return slotCount;
  };
  const encapsulate = () => {
    let sum = 0;
    for (let slot = 0; slot < slotCount; slot++) {
      const at = slot * slotLength + frameAt + frameLength - packetLength;
      const row = table.findIpv4(readUint32(outgoing, at + 16));
      sum += encapsulation.encapsulateIp(outgoing, at, at + packetLength, row);
    }
    consumed = sum;
    return slotCount;
  };
  const rows = [
    measure(`${title}: decapsulate, 64 B`, 'packets/s', { goal: rateGoal }, decapsulate),
    measure(
      `${title}: find by IPv4 address and encapsulate, 64 B`,
      'packets/s',
      { goal: rateGoal },
      encapsulate,
    ),
    allocation(`${title}, decapsulate`, 3, forty(decapsulate)),
    allocation(`${title}, encapsulate`, 3, forty(encapsulate)),
    figure(`${title}: memory of a session`, 'B', grown / count, bytesGoal),
    figure(`${title}: of that, arrays`, 'B', table.memoryBytes / count),
  ];
  if (consumed < 0 || Object.keys(encapsulation.counters.snapshot()).length > 0)
    throw new Error(`frames: expected all to pass, got ${JSON.stringify(encapsulation.counters.snapshot())}`);
  return rows;
}

function fillTable(count: number): SessionTable {
  const table = new SessionTable({ sessions: count });
  for (let i = 0; i < count; i++) {
    const id = table.open(0, hostOf(i));
    table.settle(id);
    table.setIpv4(table.rowOf[id], 0x0a000000 + i);
  }
  return table;
}

function hostOf(index: number): Host {
  return { macHigh: 0x0210, macLow: index, link: 0, outerTag: 0, innerTag: 0 };
}

/** In each slot a frame to a host, with its packet; `isIncoming`: turned round, from the host. */
function fillRing(encapsulation: Encapsulation, count: number, isIncoming: boolean): Uint8Array {
  const random = new Random(5, 'encapsulation');
  const ring = new Uint8Array(slotCount * slotLength);
  for (let slot = 0; slot < slotCount; slot++) {
    const row = 1 + random.below(count);
    const start = slot * slotLength + frameAt;
    const packetAt = start + frameLength - packetLength;
    ring[packetAt] = 0x45;
    ring.set([10, (row - 1) >>> 16, ((row - 1) >>> 8) & 255, (row - 1) & 255], packetAt + 16);
    encapsulation.encapsulateIp(ring, packetAt, packetAt + packetLength, row);
    if (!isIncoming) continue;
    const hostMac = ring.slice(start, start + 6);
    ring.copyWithin(start, start + 6, start + 12);
    ring.set(hostMac, start + 6);
  }
  return ring;
}

/** Over so few packets that a double each would not yet make the collector run. */
function forty(work: () => number): () => number {
  return () => {
    let count = 0;
    while (count < 40 * slotCount) count += work();
    return count;
  };
}

function figure(title: string, unit: string, value: number, goal?: number): Row {
  return {
    name: title,
    unit,
    median: value,
    min: value,
    max: value,
    runs: 1,
    ...(goal === undefined ? {} : { goal }),
  };
}
