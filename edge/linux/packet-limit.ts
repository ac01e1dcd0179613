/**
 * Cuts MQTT packets that are longer than we ever look at, before they are put together in memory: whoever may publish to this
 * node could otherwise send 256 MB (MQTT 3.1.1 §2.2.3), retained, and again at each connection. Of a PUBLISH its beginning stays, so
 * that it is judged as too long, reported and acknowledged; topic and identifier come first. Others are passed on as they are.
 *
 * Sits between the connection and the parser of `mqtt`. Bounds: nothing is kept but five bytes of a header.
 */

import type { Duplex } from 'node:stream';
import { Transform, type TransformCallback } from 'node:stream';

/** Type 3 in the upper half of the first byte (MQTT 3.1.1 §2.2.1). */
const publish = 3;
/** Bytes of Remaining Length at most (§2.2.3), and the type before them. */
const longestHeaderBytes = 5;

export class PacketLimit extends Transform {
  cutCount = 0;
  private readonly mostBytes: number;
  private readonly header: number[] = [];
  /** Of the packet under way: what is still to be passed on, and then to be left out. */
  private passBytes = 0;
  private dropBytes = 0;

  /** `mostBytes`: of a packet behind its header, from 128 below 2^28. */
  constructor(mostBytes: number) {
    super();
    this.mostBytes = mostBytes;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.passBytes > 0) {
        const end = Math.min(chunk.length, at + this.passBytes);
        this.push(chunk.subarray(at, end));
        this.passBytes -= end - at;
        at = end;
      } else if (this.dropBytes > 0) {
        const end = Math.min(chunk.length, at + this.dropBytes);
        this.dropBytes -= end - at;
        at = end;
      } else {
        this.header.push(chunk[at++]);
        this.readHeader();
      }
    }
    done();
  }

  private readHeader(): void {
    const { header } = this;
    const last = header[header.length - 1];
    if (header.length === 1 || (last >= 128 && header.length < longestHeaderBytes)) return;
    let lengthBytes = 0;
    for (let i = header.length - 1; i > 0; i--) lengthBytes = lengthBytes * 128 + (header[i] & 127);
    const isCut = header[0] >>> 4 === publish && lengthBytes > this.mostBytes;
    this.passBytes = isCut ? this.mostBytes : lengthBytes;
    this.dropBytes = lengthBytes - this.passBytes;
    if (isCut) this.cutCount++;
    this.push(Buffer.from(isCut ? [header[0], ...lengthOf(this.mostBytes)] : header));
    header.length = 0;
  }
}

/** Makes whoever pipes `stream` elsewhere get it through the limit. */
export function limitPackets<T extends Duplex>(stream: T, limit: PacketLimit): T {
  const pipe = stream.pipe.bind(stream);
  stream.pipe = (to, options) => pipe(limit).pipe(to, options);
  return stream;
}

/** Remaining Length, seven bits a byte, the lowest first (§2.2.3). */
function lengthOf(bytes: number): number[] {
  const digits = [bytes & 127];
  for (let rest = bytes >>> 7; rest > 0; rest >>>= 7) {
    digits[digits.length - 1] |= 128;
    digits.push(rest & 127);
  }
  return digits;
}
