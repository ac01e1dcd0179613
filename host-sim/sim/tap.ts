/**
 * What listens at a segment or link: a pcap tap, whose bytes Wireshark opens, and the digest by which two runs are
 * compared.
 */

import { createHash } from 'node:crypto';
import { pcapHeader, pcapRecord } from '../capture/pcap.js';
import type { Tap } from './segment.js';

/** LINKTYPE_ETHERNET. */
const ethernetLinkType = 1;

/** Collects a classic pcap file in memory, at most `mostBytes`; later frames are counted in `dropped`. */
export class PcapTap implements Tap {
  /** Frames that no longer fitted. */
  dropped = 0;
  private readonly records: Uint8Array[] = [pcapHeader(ethernetLinkType)];
  private length = this.records[0].length;
  private readonly mostBytes: number;

  constructor(mostBytes = 256 * 1024 * 1024) {
    this.mostBytes = mostBytes;
  }

  capture(now: number, frame: Uint8Array): void {
    const record = pcapRecord(now, frame);
    if (this.length + record.length > this.mostBytes) {
      this.dropped++;
      return;
    }
    this.length += record.length;
    this.records.push(record);
  }

  /** The file so far. */
  bytes(): Uint8Array {
    const file = new Uint8Array(this.length);
    let at = 0;
    for (const record of this.records) {
      file.set(record, at);
      at += record.length;
    }
    return file;
  }
}

/** SHA-256 over every frame and publication with its time (µs), in order: the same for the same seed. */
export class RunDigest implements Tap {
  /** How many frames it has seen. */
  frames = 0;
  private readonly hash = createHash('sha256');

  capture(now: number, frame: Uint8Array): void {
    this.frames++;
    this.hash.update(`frame ${microseconds(now)} ${frame.length}\n`).update(frame);
  }

  publication(now: number, topic: string, payload: Uint8Array): void {
    this.hash.update(`publish ${microseconds(now)} ${topic} ${payload.length}\n`).update(payload);
  }

  /** Hex of everything so far. */
  hex(): string {
    return this.hash.copy().digest('hex');
  }
}

function microseconds(ms: number): number {
  return Math.round(ms * 1000);
}
