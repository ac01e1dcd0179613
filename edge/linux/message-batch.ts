/**
 * A batch of messages for recvmmsg(2) and sendmmsg(2): one array of `struct mmsghdr`, a slot of memory for each message
 * and, to receive, room for the packet socket's auxiliary data (packet(7), PACKET_AUXDATA). All made once.
 */

import { addressOf, recvmmsg, sendmmsg, wordBytes, writeWord } from './libc.js';

/** `struct mmsghdr`: name, its length, iov, its length, control, its length, flags; then the message's length: words all. */
const headerBytes = 8 * wordBytes;
const iovBytes = 2 * wordBytes;
/** `struct cmsghdr` before `struct tpacket_auxdata`, and what both take, aligned. */
const controlHeaderBytes = wordBytes + 8;
const auxiliaryBytes = 20;
const controlBytes =
  Math.ceil(controlHeaderBytes / wordBytes) * wordBytes + Math.ceil(auxiliaryBytes / wordBytes) * wordBytes;
const dontWait = 0x40;
const truncated = 0x20;

export interface BatchOptions {
  readonly count: number;
  /** Room in a slot before and for the message. */
  readonly headroomBytes: number;
  readonly messageBytes: number;
}

export class MessageBatch {
  /** All slots. */
  readonly bytes: Uint8Array;
  readonly count: number;
  private readonly headroomBytes: number;
  private readonly slotBytes: number;
  private readonly headers: Uint32Array;
  private readonly vectors: Uint32Array;
  private readonly control: Uint32Array;
  private readonly headersAddress: number;

  constructor({ count, headroomBytes, messageBytes }: BatchOptions) {
    this.count = count;
    this.headroomBytes = headroomBytes;
    // A slot begins on a cache line.
    this.slotBytes = Math.ceil((headroomBytes + messageBytes) / 64) * 64;
    this.bytes = new Uint8Array(new ArrayBuffer(count * this.slotBytes));
    this.headers = new Uint32Array(new ArrayBuffer(count * headerBytes));
    this.vectors = new Uint32Array(new ArrayBuffer(count * iovBytes));
    this.control = new Uint32Array(new ArrayBuffer(count * controlBytes));
    const [bytesAt, vectorsAt, controlAt] = [this.bytes, this.vectors, this.control].map(array =>
      addressOf(array.buffer as ArrayBuffer),
    );
    this.headersAddress = addressOf(this.headers.buffer as ArrayBuffer);
    const headers = new DataView(this.headers.buffer);
    const vectors = new DataView(this.vectors.buffer);
    for (let i = 0; i < count; i++) {
      writeWord(vectors, i * iovBytes, bytesAt + this.start(i));
      writeWord(vectors, i * iovBytes + wordBytes, messageBytes);
      writeWord(headers, i * headerBytes + 2 * wordBytes, vectorsAt + i * iovBytes);
      writeWord(headers, i * headerBytes + 3 * wordBytes, 1);
      writeWord(headers, i * headerBytes + 4 * wordBytes, controlAt + i * controlBytes);
    }
  }

  /** Where message `i` starts in `bytes`. */
  start(i: number): number {
    return i * this.slotBytes + this.headroomBytes;
  }

  /** How many messages came; −1: see `lastErrno()`. */
  receive(fd: number): number {
    for (let i = 0; i < this.count; i++) this.headers[this.word(i, 5)] = controlBytes;
    return recvmmsg(fd, this.headersAddress, this.count, dontWait, null);
  }

  /** Bytes of received message `i`; −1 if it was longer than a slot. */
  receivedBytes(i: number): number {
    return (this.headers[this.word(i, 6)] & truncated) !== 0 ? -1 : this.headers[this.word(i, 7)];
  }

  /** `tp_status` of received message `i`. */
  status(i: number): number {
    return this.auxiliary(i, 0);
  }

  /** `tp_vlan_tpid` and `tp_vlan_tci` of received message `i`, as they stand in a frame. */
  vlanTag(i: number): number {
    return this.auxiliary(i, 4);
  }

  /** Puts `source[start, end)` into message `i`. The slot has room for it. */
  fill(i: number, source: Uint8Array, start: number, end: number): void {
    const at = this.start(i);
    if (start === 0 && end === source.length) this.bytes.set(source, at);
    else this.bytes.set(source.subarray(start, end), at);
    this.vectors[(i * iovBytes + wordBytes) >> 2] = end - start;
  }

  /** Sends messages [from, to); how many went; −1: see `lastErrno()`. */
  send(fd: number, from: number, to: number): number {
    for (let i = from; i < to; i++) this.headers[this.word(i, 5)] = 0;
    return sendmmsg(fd, this.headersAddress + from * headerBytes, to - from, dontWait);
  }

  private word(i: number, field: number): number {
    return (i * headerBytes + field * wordBytes) >> 2;
  }

  private auxiliary(i: number, word: number): number {
    return this.headers[this.word(i, 5)] === 0
      ? 0
      : this.control[((i * controlBytes + controlHeaderBytes) >> 2) + word];
  }
}
