/**
 * A TPACKET_V3 receive ring (kernel document networking/packet_mmap; linux/if_packet.h): blocks of memory shared with the
 * kernel, which hands over each full one, and one with any frame after `retireMs`.
 *
 * Bound: `bufferBytes`. Full: the kernel drops frames and counts them. Frames are used where they lie.
 */

import { check, type Mapping, map, setsockopt } from './libc.js';

const solPacket = 263;
const packetRxRing = 5;
const packetVersion = 10;
const packetReserve = 12;
const version3 = 2;
/** A power of two and a multiple of the page; about 1,300 frames of 64 bytes. */
const blockBytes = 256 * 1024;
/** Blocks read before the event loop has its turn again. */
const blocksPerTurn = 4;
/** How long a frame may wait for others. The kernel's tick is 4 ms where HZ is 250: less is not to be had. */
const retireMs = 4;
/** Any; TPACKET_V3 packs frames one behind the other, whatever this says. */
const frameBytes = 2048;
const statusUser = 1;

export interface RingOptions {
  readonly fd: number;
  readonly bufferBytes: number;
  readonly headroomBytes: number;
  /** For errors. */
  readonly what: string;
}

/** One frame, with `tp_status` and TPID, TCI. False: no more. */
export type RingReceiver = (
  bytes: Uint8Array,
  start: number,
  end: number,
  status: number,
  vlanTag: number,
) => boolean;

export class PacketRing {
  private readonly mapping: Mapping;
  private readonly words: Uint32Array;
  private readonly blocks: number;
  private block = 0;
  private closed = false;

  /** Throws if the kernel does not give it. */
  constructor({ fd, bufferBytes, headroomBytes, what }: RingOptions) {
    this.blocks = Math.max(2, Math.floor(bufferBytes / blockBytes));
    const set = (option: number, ...values: number[]) =>
      check(setsockopt(fd, solPacket, option, new Int32Array(values), values.length * 4), `${what}: ring`);
    set(packetVersion, version3);
    set(packetReserve, headroomBytes);
    // struct tpacket_req3: block size, blocks, frame size, frames, time-out, private bytes, features
    const frames = (blockBytes / frameBytes) * this.blocks;
    set(packetRxRing, blockBytes, this.blocks, frameBytes, frames, retireMs, 0, 0);
    this.mapping = map(fd, blockBytes * this.blocks, `${what}: ring`);
    const { buffer, byteOffset, length } = this.mapping.bytes;
    this.words = new Uint32Array(buffer, byteOffset, length >> 2);
  }

  /** Hands over what the kernel has handed over, at most four blocks. */
  receive(receiver: RingReceiver): void {
    const { words } = this;
    for (let turn = 0; turn < blocksPerTurn; turn++) {
      const at = (this.block * blockBytes) >> 2;
      // struct tpacket_block_desc: version, offset of the private part, status, frames, offset of the first, …
      const statusAt = at + 2;
      if ((Atomics.load(words, statusAt) & statusUser) === 0) return;
      if (!this.receiveBlock(at, receiver)) return;
      Atomics.store(words, statusAt, 0);
      this.block = (this.block + 1) % this.blocks;
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.mapping.close();
  }

  private receiveBlock(at: number, receiver: RingReceiver): boolean {
    const { words } = this;
    const { bytes } = this.mapping;
    let header = at + (words[at + 4] >> 2);
    for (let left = words[at + 3]; left > 0; left--) {
      // struct tpacket3_hdr: offset of the next, seconds, nanoseconds, captured, length, status, mac | net << 16, hash,
      // TCI, TPID. Read before the receiver may write into the headroom.
      const next = words[header];
      const start = header * 4 + (words[header + 6] & 0xffff);
      const vlanTag = ((words[header + 9] << 16) | (words[header + 8] & 0xffff)) >>> 0;
      if (!receiver(bytes, start, start + words[header + 4], words[header + 5], vlanTag)) return false;
      header += next >> 2;
    }
    return true;
  }
}
