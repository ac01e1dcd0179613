/** `kith decode`: the frames of a capture file as text or as JSON, one frame after the other as they are read. */

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dissect } from '../capture/dissect.js';
import { type CapturedFrame, CaptureReader, type CaptureTime } from '../capture/pcap.js';
import { frameJson, frameLine, frameLines } from '../capture/present.js';
import { Progress } from './progress.js';

export interface DecodeOptions {
  /** One JSON object a line; otherwise text. */
  readonly json: boolean;
  /** Text with every field, on many lines. */
  readonly verbose: boolean;
  /** Verify checksums of TCP and UDP. */
  readonly checksums: boolean;
}

/**
 * Writes the frames of the capture at `path`, `-` for standard input, line by line to `out`. Throws an Error that says
 * what was expected if the file cannot be read, is no capture or is cut off; the frames before that are written first.
 */
export async function decode(
  path: string,
  options: DecodeOptions,
  out: (line: string) => Promise<void> | void,
): Promise<void> {
  const name = path === '-' ? 'standard input' : path;
  const reader = new CaptureReader(name);
  let start: CaptureTime | undefined;
  const write = async (frame: CapturedFrame) => {
    const { originalLength } = frame;
    const dissection = dissect(frame.bytes, frame.linkType, {
      verifyChecksums: options.checksums,
      originalLength,
    });
    start ??= frame.time;
    if (options.json) return out(frameJson(frame, dissection));
    if (!options.verbose) return out(frameLine(frame, dissection, start));
    for (const line of frameLines(frame, dissection)) await out(line);
  };
  // Frames that run over the terminal are progress enough; standard input has no known end.
  const total = path === '-' ? undefined : (await stat(path).catch(() => undefined))?.size;
  const progress = new Progress(`decoding ${name}`, !process.stdout.isTTY && total !== undefined);
  let read = 0;
  try {
    for await (const chunk of chunks(path, name)) {
      reader.push(chunk);
      read += chunk.length;
      progress.update(read / (total || 1));
      for (let frame = reader.next(); frame; frame = reader.next()) await write(frame);
    }
    reader.end();
  } finally {
    progress.done();
  }
}

async function* chunks(path: string, name: string): AsyncGenerator<Uint8Array> {
  const stream = path === '-' ? process.stdin : createReadStream(path);
  try {
    yield* stream;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new Error(`${name}: no such file: expected a pcap or pcapng capture`);
    if (code === 'EISDIR') throw new Error(`${name}: is a directory: expected a pcap or pcapng capture`);
    throw new Error(`${name}: cannot be read: ${message}`);
  }
}
