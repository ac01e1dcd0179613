/**
 * The 64-bit numbers that keep packets fresh (mobile kibbutz, §2.1.3.2.2.3): handed out once, accepted once.
 *
 * They are numbers from 1 below 2^53 here (exact in JavaScript), 8 bytes on the wire, and the lower 8 bytes of the
 * AEAD's nonce, below the sender's member id. So two who share a key cannot use the same nonce, and one sender cannot
 * as long as it counts up. What must not happen is that a restart counts anew: the same nonce twice under one key shows
 * the XOR of two packets and, with GCM, the key of the tags. Hence `NonceReserve`.
 *
 * Bounds: a reserve is three numbers, a counter two, a window its `size` in bits.
 */

import { readUint32, writeUint32 } from '../core/bytes.js';

const aeadNonceLength = 12;
const largestNonce = 9007199254740991;

/**
 * Numbers reserved at a time. A store is written once for that many packets: at the paper's 2 Mbit/s and 1,400 bytes a
 * packet once in six minutes. A restart skips at most as many, which 2^53 allows 10^11 times.
 */
const blockOfNonces = 65_536;

export interface NonceReserveOptions {
  /** What `save` kept last; 0 only for keys that have never been used. */
  readonly savedThrough: number;
  /** Numbers reserved at a time, from 1. */
  readonly block?: number;
  /**
   * Keeps `through` over restarts. True if it is kept, or certain to be before anything leaves the device that is sent
   * after this call (an outbox performed in order does). False: nothing is handed out.
   */
  readonly save: (through: number) => boolean;
}

/**
 * What a device may count up to, stored before it does. Counters of different keys share one reserve: each starts after
 * what any of them can have used before the restart.
 *
 * If the store loses the number, the keys it belongs to are lost with it: starting from 0 would reuse nonces. Keep both
 * in one record, and ask the provider for new keys (`Provider.register` raises the generation). Who restarts from 0 all
 * the same is not heard either: the other side's window finds everything too old.
 */
export class NonceReserve {
  /** The last number that may have been used before this start. */
  readonly usedThrough: number;
  private readonly block: number;
  private readonly save: (through: number) => boolean;
  private through: number;

  constructor({ savedThrough, block = blockOfNonces, save }: NonceReserveOptions) {
    if (!(savedThrough >= 0 && savedThrough <= largestNonce && savedThrough % 1 === 0))
      throw new Error(`savedThrough: expected an integer from 0 below 2^53, got ${savedThrough}`);
    if (!(block >= 1 && block % 1 === 0)) throw new Error(`block: expected an integer from 1, got ${block}`);
    this.usedThrough = savedThrough;
    this.block = block;
    this.save = save;
    this.through = savedThrough;
  }

  /** False if `nonce` may not be used, because the store did not take it or 2^53 is reached. */
  covers(nonce: number): boolean {
    if (nonce <= this.through) return true;
    // A counter is at most one ahead of the reserve.
    if (this.through > largestNonce - this.block || !this.save(this.through + this.block)) return false;
    this.through += this.block;
    return true;
  }
}

/** Counts up for one key. */
export class NonceCounter {
  private readonly reserve: NonceReserve;
  private last: number;

  constructor(reserve: NonceReserve) {
    this.reserve = reserve;
    this.last = reserve.usedThrough;
  }

  /** A number never returned before, larger than all of them; `undefined` if none may be used: send nothing. */
  next(): number | undefined {
    if (!this.reserve.covers(this.last + 1)) return undefined;
    this.last++;
    return this.last;
  }
}

/** What a window says of a number: never seen, seen, or older than it remembers. */
export type Freshness = 'fresh' | 'replayed' | 'too-old';

/**
 * Packets a window looks back. The paths of one sender differ most where one waits for its radio: 2.3 s in the paper
 * (§2.1.3.2.1), at its 2 Mbit/s and 1,400 bytes a packet 411 packets. RFC 4303 §3.4.3 asks for 64 at least, and for
 * more on fast links.
 */
export const defaultWindow = 1024;

/**
 * The numbers of one sender under one key, each accepted once (RFC 4303 §3.4.3): those above the highest seen, and of
 * the `size` up to it those not seen. Ask `judge` before the tag is checked, which is cheap, and call `mark` only after,
 * or a forger moves the window.
 *
 * A ring of bits like RFC 6479's; only differences are computed in 32 bits, so numbers up to 2^53 cost nothing extra.
 */
export class ReplayWindow {
  private readonly mask: number;
  private readonly words: Uint32Array;
  private highest: number;
  /** The ring's bit that stands for `highest`. */
  private head = 0;

  /** `size` is a power of two from 32; all numbers through `usedThrough` count as seen. */
  constructor(size = defaultWindow, usedThrough = 0) {
    if (!(size >= 32 && (size & (size - 1)) === 0))
      throw new Error(`size: expected a power of two from 32, got ${size}`);
    this.mask = size - 1;
    this.words = new Uint32Array(size / 32);
    this.highest = usedThrough;
    for (let i = 0; i < this.words.length; i++) this.words[i] = 0xffffffff;
  }

  /** The highest number seen: with it alone a new window refuses all that this one has accepted. */
  get seenThrough(): number {
    return this.highest;
  }

  judge(nonce: number): Freshness {
    const behind = this.highest - nonce;
    if (behind < 0) return 'fresh';
    if (behind > this.mask) return 'too-old';
    const bit = (this.head - behind) & this.mask;
    return (this.words[bit >>> 5] & (1 << (bit & 31))) === 0 ? 'fresh' : 'replayed';
  }

  /** Remembers a number that `judge` called fresh and whose tag fits. */
  mark(nonce: number): void {
    const ahead = nonce - this.highest;
    if (ahead > 0) {
      this.highest = nonce;
      if (ahead > this.mask) {
        for (let i = 0; i < this.words.length; i++) this.words[i] = 0;
        this.head = 0;
      } else {
        for (let i = 0; i < ahead; i++) {
          this.head = (this.head + 1) & this.mask;
          this.words[this.head >>> 5] &= ~(1 << (this.head & 31));
        }
      }
    }
    const bit = (this.head + (ahead > 0 ? 0 : ahead)) & this.mask;
    this.words[bit >>> 5] |= 1 << (bit & 31);
  }
}

/** Writes 8 bytes; returns the offset after them. */
export function writeNonce(bytes: Uint8Array, at: number, nonce: number): number {
  at = writeUint32(bytes, at, Math.floor(nonce / 4294967296));
  return writeUint32(bytes, at, nonce % 4294967296);
}

/** Reads 8 bytes; 0, which is no nonce, for what is 2^53 or more. */
export function readNonce(bytes: Uint8Array, at: number): number {
  const high = readUint32(bytes, at);
  return high > 0x1fffff ? 0 : high * 4294967296 + readUint32(bytes, at + 4);
}

/** The AEAD's nonce: member id of the sender (0: the provider) ‖ nonce. */
export function aeadNonce(sender: number, nonce: number): Uint8Array {
  const bytes = new Uint8Array(aeadNonceLength);
  writeNonce(bytes, writeUint32(bytes, 0, sender), nonce);
  return bytes;
}
