/**
 * Drop reports: how a forwarder learns which neighbour's packets the provider threw away, so that nobody makes it
 * work for nothing (mobile kibbutz, §2.1.3.2.2.3: "letting B know when a number of packets have been dropped").
 *
 * Within a control envelope (envelope.ts), network order:
 *
 *     0  type = 2    1  count    2  entries of 46 bytes: 0 sender, 4 bytes · 4 accepted · 10 dropped, by reason
 *
 * with 6 bytes for each number of packets. They count from the pair's first packet, so a lost report loses nothing;
 * where they went back, the provider has forgotten the pair, and counts anew. Sender 0 stands for packets that no
 * known member can be blamed for. Bounds: `mostReported` senders a report, and the table of `Patience`.
 */

import { readUint16, readUint32, writeUint8, writeUint16, writeUint32 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from '../wire/reason.js';

export const dropReportType = 2;
/** More senders wait for the next report. */
export const mostReported = 16;

/** Why the provider threw away what was within an authentic envelope of the forwarder. */
export type DropReason =
  | 'malformed'
  | 'unknown-sender'
  | 'bad-tag'
  | 'replayed'
  | 'too-old'
  | 'over-allowance';

/** In the order of the wire. */
export const dropReasons: readonly DropReason[] = [
  'malformed',
  'unknown-sender',
  'bad-tag',
  'replayed',
  'too-old',
  'over-allowance',
];

const countBytes = 6;
const entryBytes = 4 + countBytes * 7;
const headerBytes = 2;

export interface DropEntry {
  /** Member id; 0: not a member's, or not to be told whose. */
  readonly sender: number;
  /** Packets accounted for, below 2^48 as those dropped. */
  readonly accepted: number;
  /** As in `dropReasons`. */
  readonly dropped: readonly number[];
}

/** A new array with the report; throws if it has more than `mostReported` entries. */
export function emitDropReport(entries: readonly DropEntry[]): Uint8Array {
  if (entries.length > mostReported)
    throw new Error(`entries: expected at most ${mostReported}, got ${entries.length}`);
  const bytes = new Uint8Array(headerBytes + entries.length * entryBytes);
  let at = writeUint8(bytes, 0, dropReportType);
  at = writeUint8(bytes, at, entries.length);
  for (const entry of entries) {
    at = writeUint32(bytes, at, entry.sender);
    at = writeCount(bytes, at, entry.accepted);
    for (const count of entry.dropped) at = writeCount(bytes, at, count);
  }
  return bytes;
}

/** Reads all of `bytes`. */
export function parseDropReport(bytes: Uint8Array): Result<readonly DropEntry[], Reason> {
  if (bytes.length < headerBytes) return fail('truncated');
  if (bytes[0] !== dropReportType) return fail('bad-type');
  if (bytes[1] > mostReported) return fail('too-many');
  if (bytes.length !== headerBytes + bytes[1] * entryBytes) return fail('bad-length');
  const entries: DropEntry[] = [];
  for (let at = headerBytes; at < bytes.length; at += entryBytes) {
    const dropped: number[] = [];
    for (let i = 0; i < dropReasons.length; i++) dropped.push(readCount(bytes, at + 10 + i * countBytes));
    entries.push({ sender: readUint32(bytes, at), accepted: readCount(bytes, at + 4), dropped });
  }
  return ok(entries);
}

/**
 * Packets carried for nothing that a forwarder puts up with: 8 of 1,400 bytes are 11 kB, 45 ms of the paper's
 * 2 Mbit/s link, while honest senders lose packets to the window now and then.
 */
const toleratedDrops = 8;
/**
 * Packets accounted for that make up for one dropped: who mixes good and bad ones has at most 1/17 carried for nothing,
 * and pays for the rest.
 */
const packetsPerDrop = 16;
/** As long as two strangers stay together in public transport, "several minutes" (paper, §2.1.3.2.2.3). */
const refusalMs = 300_000;
/** Senders remembered. Full: the one that gave least trouble is forgotten, and its next report counts from there. */
const mostSenders = 32;

interface Record {
  /** Counts of the last report; `undefined` until the first, which only says where to count from. */
  accepted: number | undefined;
  dropped: number;
  /** In sixteenths of a packet, from 0. */
  trouble: number;
  refusedUntilAt: number;
}

/**
 * Whom a forwarder still forwards for. With a report every four drops (host-sim/coordinator/provider.ts) a sender is
 * stopped after 12 packets for nothing, 4 of them before the first report; with good ones in between after fewer than
 * 16 and a sixteenth of the good ones; and each lost report costs 4 more. What is on its way meanwhile comes on top.
 */
export class Patience {
  private readonly records: { [sender: string]: Record } = {};
  private count = 0;
  private lastNonce = 0;

  /**
   * Takes in a report, `nonce` being that of its envelope: one older than the last is passed over. At
   * `toleratedDrops` a sender is refused for `refusalMs`; after that, half of its trouble is forgotten.
   */
  hear(now: number, nonce: number, report: readonly DropEntry[]): void {
    if (nonce <= this.lastNonce) return;
    this.lastNonce = nonce;
    for (const entry of report) if (entry.sender !== 0) this.judge(now, entry);
  }

  mayForward(now: number, sender: number): boolean {
    const record = this.records[sender];
    return record === undefined || now >= record.refusedUntilAt;
  }

  private judge(now: number, entry: DropEntry): void {
    let dropped = 0;
    for (const count of entry.dropped) dropped += count;
    const record = this.records[entry.sender] ?? this.add(now, entry.sender);
    const isNext =
      record.accepted !== undefined && entry.accepted >= record.accepted && dropped >= record.dropped;
    if (isNext) {
      const trouble = (dropped - record.dropped) * packetsPerDrop - (entry.accepted - record.accepted!);
      record.trouble = Math.max(0, record.trouble + trouble);
    }
    record.accepted = entry.accepted;
    record.dropped = dropped;
    if (record.trouble < toleratedDrops * packetsPerDrop) return;
    record.trouble = Math.floor((toleratedDrops * packetsPerDrop) / 2);
    record.refusedUntilAt = now + refusalMs;
  }

  private add(now: number, sender: number): Record {
    if (this.count === mostSenders) {
      let least: string | undefined;
      for (const other of Object.keys(this.records))
        if (least === undefined || this.isEasier(now, other, least)) least = other;
      delete this.records[least!];
      this.count--;
    }
    this.count++;
    this.records[sender] = { accepted: undefined, dropped: 0, trouble: 0, refusedUntilAt: now };
    return this.records[sender];
  }

  private isEasier(now: number, one: string, other: string): boolean {
    const a = this.records[one];
    const b = this.records[other];
    const aLeftMs = Math.max(0, a.refusedUntilAt - now);
    const bLeftMs = Math.max(0, b.refusedUntilAt - now);
    return aLeftMs < bLeftMs || (aLeftMs === bLeftMs && a.trouble < b.trouble);
  }
}

function writeCount(bytes: Uint8Array, at: number, count: number): number {
  at = writeUint16(bytes, at, Math.floor(count / 4294967296));
  return writeUint32(bytes, at, count % 4294967296);
}

function readCount(bytes: Uint8Array, at: number): number {
  return readUint16(bytes, at) * 4294967296 + readUint32(bytes, at + 2);
}
