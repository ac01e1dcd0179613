/**
 * Capture files, chunks in and frames out, and a writer for the simulator's tap.
 *
 * `CaptureReader` recognises classic pcap (draft-ietf-opsawg-pcap: microseconds or nanoseconds, either byte order)
 * and hands pcapng to pcapng.ts. It does no I/O and holds at most one record or block (`longestFrameBytes`,
 * `longestBlockBytes`) besides the chunk just pushed, so a capture of any size passes through.
 */

import { formatHex } from '../../agent/core/bytes.js';
import { PcapngFormat } from './pcapng.js';

/** What libpcap writes at most for one frame of these link types; a longer record is a damaged file. */
export const longestFrameBytes = 262_144;

/** One frame of a capture. */
export interface CapturedFrame {
  /** 1 for the first frame of the file. */
  readonly number: number;
  /** When: whole seconds since 1970-01-01 UTC and nanoseconds from 0; absent where the file does not say. */
  readonly time?: CaptureTime;
  /** LINKTYPE_ number of the interface. */
  readonly linkType: number;
  /** What was captured: a view that stays valid. */
  readonly bytes: Uint8Array;
  /** Length on the wire; larger than `bytes` where the capture cut the frame at its snapshot length. */
  readonly originalLength: number;
}

export interface CaptureTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** One step of a format over the bytes that are there: a request for more, something used up, or an error. */
export type Step =
  | { readonly kind: 'need'; readonly bytes: number }
  | { readonly kind: 'used'; readonly bytes: number; readonly frame?: Omit<CapturedFrame, 'number'> }
  | { readonly kind: 'error'; readonly text: string };

/** A file format: reads one record or block at the start of `bytes`. */
export interface Format {
  step(bytes: Uint8Array): Step;
}

/**
 * Reads a capture: `push` chunks, take frames with `next` until it gives `undefined`, call `end` after the last chunk.
 * `next` and `end` throw an Error that names the file, the frame, the offset and what was expected there.
 */
export class CaptureReader {
  private readonly name: string;
  private format: Format | undefined;
  private chunks: Uint8Array[] = [];
  private available = 0;
  private needed = 4;
  private offset = 0;
  private frames = 0;

  /** `name` is the file's name for the texts of errors. */
  constructor(name: string) {
    this.name = name;
  }

  /** Takes the next bytes of the file; they must not change afterwards. */
  push(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.available += chunk.length;
  }

  /** The next whole frame; `undefined` if more bytes are needed for one. */
  next(): CapturedFrame | undefined {
    while (this.available >= this.needed) {
      const bytes = this.joined();
      this.format ??= this.recognise(bytes);
      const step = this.format.step(bytes);
      if (step.kind === 'error') throw new Error(`${this.place()}: ${step.text}`);
      if (step.kind === 'need') {
        this.needed = step.bytes;
        continue;
      }
      this.chunks = step.bytes < bytes.length ? [bytes.subarray(step.bytes)] : [];
      this.available -= step.bytes;
      this.offset += step.bytes;
      this.needed = 1;
      if (step.frame) return { number: ++this.frames, ...step.frame };
    }
    return undefined;
  }

  /** Says that the file is over. Throws if it is empty or cut off within a record. */
  end(): void {
    if (!this.format && this.available === 0)
      throw new Error(`${this.name}: empty file: expected a pcap or pcapng capture`);
    if (!this.format) this.recognise(this.joined());
    if (this.available > 0)
      throw new Error(`${this.place()}: truncated: expected ${this.needed} bytes, got ${this.available}`);
  }

  private joined(): Uint8Array {
    if (this.chunks.length === 1) return this.chunks[0];
    const all = new Uint8Array(this.available);
    let at = 0;
    for (const chunk of this.chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    this.chunks = [all];
    return all;
  }

  private recognise(bytes: Uint8Array): Format {
    const magic = formatHex(bytes.subarray(0, 4));
    if (magic === 'a1b2c3d4') return new PcapFormat(false, 1000);
    if (magic === 'd4c3b2a1') return new PcapFormat(true, 1000);
    if (magic === 'a1b23c4d') return new PcapFormat(false, 1);
    if (magic === '4d3cb2a1') return new PcapFormat(true, 1);
    if (magic === '0a0d0d0a') return new PcapngFormat();
    const hint = magic.startsWith('1f8b') ? ' (gzip: decompress it first)' : '';
    throw new Error(
      `${this.name}: not a capture: expected a pcap or pcapng file, which begin with a1b2c3d4, a1b23c4d (or reversed) or 0a0d0d0a, got ${magic}${hint}`,
    );
  }

  private place(): string {
    return `${this.name}: frame ${this.frames + 1} at offset ${this.offset}`;
  }
}

const fileHeaderLength = 24;
const recordHeaderLength = 16;

class PcapFormat implements Format {
  private readonly littleEndian: boolean;
  private readonly nanosecondsPerTick: number;
  private linkType: number | undefined;

  constructor(littleEndian: boolean, nanosecondsPerTick: number) {
    this.littleEndian = littleEndian;
    this.nanosecondsPerTick = nanosecondsPerTick;
  }

  step(bytes: Uint8Array): Step {
    const headerLength = this.linkType === undefined ? fileHeaderLength : recordHeaderLength;
    if (bytes.length < headerLength) return { kind: 'need', bytes: headerLength };
    const view = new DataView(bytes.buffer, bytes.byteOffset, headerLength);
    if (this.linkType === undefined) {
      const version = `${view.getUint16(4, this.littleEndian)}.${view.getUint16(6, this.littleEndian)}`;
      if (version !== '2.4') return { kind: 'error', text: `pcap version: expected 2.4, got ${version}` };
      // The upper half may say how long the frame check sequence is; it stays in the frame's trailer.
      this.linkType = view.getUint32(20, this.littleEndian) & 0xffff;
      return { kind: 'used', bytes: fileHeaderLength };
    }
    const length = view.getUint32(8, this.littleEndian);
    if (length > longestFrameBytes)
      return { kind: 'error', text: `frame length: expected at most ${longestFrameBytes}, got ${length}` };
    if (bytes.length < recordHeaderLength + length)
      return { kind: 'need', bytes: recordHeaderLength + length };
    return {
      kind: 'used',
      bytes: recordHeaderLength + length,
      frame: {
        time: {
          seconds: view.getUint32(0, this.littleEndian),
          nanoseconds: view.getUint32(4, this.littleEndian) * this.nanosecondsPerTick,
        },
        linkType: this.linkType,
        bytes: bytes.subarray(recordHeaderLength, recordHeaderLength + length),
        originalLength: view.getUint32(12, this.littleEndian),
      },
    };
  }
}

/** The header of a classic pcap file: little-endian, microseconds, frames whole. */
export function pcapHeader(linkType: number): Uint8Array {
  const header = new DataView(new ArrayBuffer(fileHeaderLength));
  header.setUint32(0, 0xa1b2c3d4, true);
  header.setUint16(4, 2, true);
  header.setUint16(6, 4, true);
  header.setUint32(16, longestFrameBytes, true);
  header.setUint32(20, linkType, true);
  return new Uint8Array(header.buffer);
}

/** One frame's record to follow `pcapHeader`. `timeMs` is 0 … 2^32 s; fractions down to a microsecond are kept. */
export function pcapRecord(timeMs: number, frame: Uint8Array): Uint8Array {
  const record = new Uint8Array(recordHeaderLength + frame.length);
  const header = new DataView(record.buffer);
  const microseconds = Math.round(timeMs * 1000);
  header.setUint32(0, Math.floor(microseconds / 1_000_000), true);
  header.setUint32(4, microseconds % 1_000_000, true);
  header.setUint32(8, frame.length, true);
  header.setUint32(12, frame.length, true);
  record.set(frame, recordHeaderLength);
  return record;
}
