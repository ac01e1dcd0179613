/**
 * How many answers a source gets: a token bucket for each source MAC, and one for all together, so that whoever invents
 * sources gains nothing by it. A frame over the rate goes unanswered.
 *
 * Sources share buckets by a hash of their MAC; whoever comes to a bucket that was another's begins with what that one left,
 * or what time has added. Bounds: `leastSlots` buckets, or as many as hosts may be known. Allocates nothing after construction.
 */

import { readUint16, readUint32 } from '../core/bytes.js';

/** Somebody who looks for all hosts of a home at once asks each of 64 (limits.hosts), then seldom. */
const burst = 64;
const perSecond = 16;
/** Four such at the same time. */
const totalBurst = 256;
const totalPerSecond = 64;
/** Sources that share a bucket have the rate of one. A power of two. */
const leastSlots = 16;

export class Throttle {
  private readonly slots: number;
  /** Of each bucket, and behind them of all together. */
  private readonly tokens: Float64Array;
  private readonly times: Float64Array;

  /** `hosts`: how many may be known; those of a home are what asks for each other. */
  constructor(now: number, hosts: number) {
    let slots = leastSlots;
    while (slots < hosts) slots *= 2;
    this.slots = slots;
    this.tokens = new Float64Array(slots + 1).fill(burst);
    this.tokens[slots] = totalBurst;
    this.times = new Float64Array(slots + 1).fill(now);
  }

  /** Whether the source MAC of the frame may be answered once more. */
  allows(now: number, frame: Uint8Array): boolean {
    const { slots } = this;
    const slot = this.slotOf(frame);
    this.fill(now, slot, burst, perSecond);
    this.fill(now, slots, totalBurst, totalPerSecond);
    return this.tokens[slot] >= 1 && this.tokens[slots] >= 1;
  }

  /** It was. */
  take(frame: Uint8Array): void {
    this.tokens[this.slotOf(frame)]--;
    this.tokens[this.slots]--;
  }

  private fill(now: number, slot: number, most: number, rate: number): void {
    const passed = now - this.times[slot];
    this.times[slot] = now;
    this.tokens[slot] = Math.min(most, this.tokens[slot] + (passed * rate) / 1000);
  }

  private slotOf(frame: Uint8Array): number {
    const mixed = readUint32(frame, 8) ^ readUint16(frame, 6);
    return (mixed ^ (mixed >>> 6) ^ (mixed >>> 16)) & (this.slots - 1);
  }
}
