/**
 * Replays a capture into a segment as the traffic of a real network: with the frames' own timing relative to the first,
 * faster or slower by `speed`, once or over and over with a gap.
 *
 * Ethernet captures only. Bounds: `mostFrames` and `mostBytes` of one capture are kept; the rest is counted. Frames that
 * the capture cut short are left out and counted.
 */

import { CaptureReader } from '../capture/pcap.js';
import type { Kernel } from './kernel.js';
import type { Port } from './segment.js';

const ethernetLinkType = 1;
const defaultMostFrames = 100_000;
const defaultMostBytes = 64 * 1024 * 1024;

/** A capture in memory; several replays may share it. */
export interface Recording {
  /** In the order of the file; `afterMs` since the first frame, never falling. */
  readonly frames: readonly { readonly afterMs: number; readonly bytes: Uint8Array }[];
  /** Frames left out because they were cut short. */
  readonly cut: number;
  /** Frames left out because the recording was full. */
  readonly beyond: number;
}

export interface RecordingLimits {
  readonly mostFrames?: number;
  readonly mostBytes?: number;
}

/**
 * Reads the bytes of a pcap or pcapng file. Throws an Error that names `name` and the frame if the file is damaged or
 * not of Ethernet.
 */
export function readRecording(name: string, file: Uint8Array, limits: RecordingLimits = {}): Recording {
  const { mostFrames = defaultMostFrames, mostBytes = defaultMostBytes } = limits;
  const reader = new CaptureReader(name);
  reader.push(file);
  const frames: { afterMs: number; bytes: Uint8Array }[] = [];
  let [cut, beyond, bytesKept, afterMs] = [0, 0, 0, 0];
  let first: { readonly seconds: number; readonly nanoseconds: number } | undefined;
  for (let frame = reader.next(); frame; frame = reader.next()) {
    if (frame.linkType !== ethernetLinkType)
      throw new Error(
        `${name}: frame ${frame.number}: link type: expected 1 (Ethernet), got ${frame.linkType}`,
      );
    if (frame.bytes.length < frame.originalLength) {
      cut++;
      continue;
    }
    if (frames.length >= mostFrames || bytesKept + frame.bytes.length > mostBytes) {
      beyond++;
      continue;
    }
    const { time } = frame;
    if (time) {
      first ??= time;
      const ms = (time.seconds - first.seconds) * 1000 + (time.nanoseconds - first.nanoseconds) / 1e6;
      // A clock set back while capturing must not send a frame before the one it followed.
      afterMs = Math.max(afterMs, ms);
    }
    bytesKept += frame.bytes.length;
    frames.push({ afterMs, bytes: frame.bytes });
  }
  reader.end();
  return { frames, cut, beyond };
}

export interface ReplayOptions {
  readonly kernel: Kernel;
  readonly port: Port;
  readonly recording: Recording;
  /** 2 is twice as fast; default 1. */
  readonly speed?: number;
  /** From the last frame to the first of the next round, ms at speed 1; left out: one round. */
  readonly gapMs?: number;
}

export class Replay {
  /** Frames sent. */
  sent = 0;
  private readonly options: ReplayOptions;
  private readonly speed: number;

  constructor(options: ReplayOptions) {
    this.speed = options.speed ?? 1;
    if (!(this.speed > 0 && this.speed < Infinity))
      throw new Error(`speed: expected a number above 0, got ${this.speed}`);
    if (options.gapMs !== undefined && !(options.gapMs > 0))
      throw new Error(`gapMs: expected more than 0, got ${options.gapMs}`);
    this.options = options;
  }

  /** Sends the first frame at `startAt`. One event is pending at a time, however long the recording. */
  start(startAt: number): void {
    if (this.options.recording.frames.length > 0)
      this.options.kernel.schedule(startAt, this, { index: 0, startAt });
  }

  fire(_now: number, { index, startAt }: { readonly index: number; readonly startAt: number }): void {
    const { kernel, port, recording, gapMs } = this.options;
    port.send(recording.frames[index].bytes);
    this.sent++;
    if (index + 1 < recording.frames.length) {
      const at = startAt + recording.frames[index + 1].afterMs / this.speed;
      kernel.schedule(at, this, { index: index + 1, startAt });
    } else if (gapMs !== undefined) {
      const at = startAt + (recording.frames[index].afterMs + gapMs) / this.speed;
      kernel.schedule(at, this, { index: 0, startAt: at });
    }
  }
}
