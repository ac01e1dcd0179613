/**
 * A hierarchical token-bucket shaper for one direction: subscribers under rate classes (services) under the port. A packet
 * goes when all three buckets have tokens; otherwise it waits in its subscriber's queue. (The seed, §3.2.2.2: "a hierarchical
 * shaping policy that creates per subscriber and per service classes".)
 *
 * A bucket fills at its rate up to its burst and may be overdrawn by the packet that takes the last of it, so that a packet
 * longer than a burst passes too and the mean rate still holds. Where a class or the port is the bottleneck, the subscribers
 * who wait take turns by deficit round robin (Shreedhar and Varghese, SIGCOMM 1995), the classes a packet each.
 *
 * Bounded: `queueBytes` a subscriber, by class, and `memoryBytes` in all; a packet that does not fit is dropped and counted.
 * A subscriber costs 16 bytes, and a queue only while something waits in it.
 */

import { Counters } from '../../agent/core/counters.js';
import { never } from '../../agent/core/time.js';

export interface RateClassOptions {
  readonly name: string;
  /** Of each subscriber. Infinity: no limit. */
  readonly bytesPerSecond: number;
  readonly burstBytes: number;
  /** Of all its subscribers together. Left out: no limit. */
  readonly aggregateBytesPerSecond?: number;
  /** Of packets that wait, a subscriber. */
  readonly queueBytes: number;
}

export interface ShaperOptions {
  /** Index 0 is the default class. */
  readonly classes: readonly RateClassOptions[];
  /** Left out: no limit. */
  readonly portBytesPerSecond?: number;
  /** Of packets that wait, in all. */
  readonly memoryBytes: number;
  /** Kept free before each packet that waits, for headers; 0 if left out. */
  readonly headroomBytes?: number;
}

/** Where a packet that waited goes: `bytes` from `start` on, the headroom before it. */
export type SendDelayed = (now: number, row: number, bytes: Uint8Array, start: number) => void;

export type ShaperCount = 'passed' | 'delayed' | 'queue-full' | 'memory-full' | 'forgotten';

/** Of classes and the port: what passes in this time may pass at once. The kernel's timers and ours are not finer (tc-tbf(8): burst ≥ rate / HZ). */
const aggregateBurstMs = 10;
/** Deficit round robin gives each a packet of full length a turn. */
const quantumBytes = 1_514;
/** Packets sent from a queue before their places in it are given back. */
const compactAfter = 32;
/** A subscriber may not owe more than this: the longest packet. */
const longestPacket = 65_535;

interface Queue {
  readonly row: number;
  /** As it was when the first packet came; a change applies once the queue is empty. */
  readonly rateClass: RateClass;
  readonly packets: Uint8Array[];
  head: number;
  bytes: number;
  deficit: number;
  /** When its own bucket has tokens. */
  readyAt: number;
}

interface RateClass extends RateClassOptions {
  readonly bucket: Bucket;
  /** Those whose own bucket has tokens and who wait for the class's or the port's, in turn. */
  readonly ready: Queue[];
}

export class Shaper {
  readonly counters = new Counters<ShaperCount>([
    'passed',
    'delayed',
    'queue-full',
    'memory-full',
    'forgotten',
  ]);
  /** Bytes that wait. */
  waitingBytes = 0;
  private readonly classes: readonly RateClass[];
  private readonly port: Bucket;
  private readonly memoryBytes: number;
  private readonly headroomBytes: number;
  private readonly send: SendDelayed;
  /** By row: tokens in bytes, and when they were counted. */
  private tokens = new Float64Array(64);
  private countedAt = new Float64Array(64).fill(-1);
  private readonly queues = new Map<number, Queue>();
  /** Heap by `readyAt` of queues whose own bucket is empty. */
  private readonly sleeping: Queue[] = [];
  private readyCount = 0;
  private nextClass = 0;

  /** `send` is for packets that waited. Throws, naming the class, on a rate or a size that is none. */
  constructor(options: ShaperOptions, send: SendDelayed) {
    const { classes, portBytesPerSecond = Infinity, memoryBytes, headroomBytes = 0 } = options;
    if (classes.length < 1 || classes.length > 65_536)
      throw new Error(`classes: expected 1..65536, got ${classes.length}`);
    for (const {
      name,
      bytesPerSecond,
      burstBytes,
      queueBytes,
      aggregateBytesPerSecond = Infinity,
    } of classes) {
      if (!(bytesPerSecond > 0 && aggregateBytesPerSecond > 0))
        throw new Error(`class ${name}: expected a rate above 0 bytes/s`);
      if (!(burstBytes >= 1 && queueBytes >= 0))
        throw new Error(`class ${name}: expected a burst from 1 byte and a queue from 0`);
    }
    if (!(portBytesPerSecond > 0))
      throw new Error(`portBytesPerSecond: expected more than 0, got ${portBytesPerSecond}`);
    this.classes = classes.map(one => ({
      ...one,
      bucket: new Bucket(one.aggregateBytesPerSecond ?? Infinity),
      ready: [],
    }));
    this.port = new Bucket(portBytesPerSecond);
    this.memoryBytes = memoryBytes;
    this.headroomBytes = headroomBytes;
    this.send = send;
  }

  /** Index of a class by its name. */
  classOf(name: string): number | undefined {
    const index = this.classes.findIndex(one => one.name === name);
    return index < 0 ? undefined : index;
  }

  className(index: number): string {
    return this.classes[index].name;
  }

  /** Of each subscriber of that class. */
  bytesPerSecond(index: number): number {
    return this.classes[index].bytesPerSecond;
  }

  /** True: send `bytes[start, end)` now. False: it was copied to wait, or dropped and counted. */
  offer(
    now: number,
    row: number,
    classIndex: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const one = this.classes[classIndex];
    const length = end - start;
    const queue = this.queues.get(row);
    if (queue === undefined && this.refill(now, row, one) > 0) {
      const isFree =
        one.ready.length === 0 && one.bucket.has(now) && (this.readyCount === 0 || this.port.isUnlimited);
      if (isFree && this.port.has(now)) {
        this.take(row, one, length);
        this.counters.add('passed');
        return true;
      }
    }
    this.wait(now, row, one, queue, bytes.subarray(start, end));
    return false;
  }

  /** The session in `row` is no more: what waits for it goes, and its bucket is full for the next. */
  forget(row: number): void {
    if (row < this.countedAt.length) this.countedAt[row] = -1;
    const queue = this.queues.get(row);
    if (!queue) return;
    this.queues.delete(row);
    this.counters.add('forgotten', queue.packets.length - queue.head);
    this.waitingBytes -= queue.bytes;
    const asleep = this.sleeping.indexOf(queue);
    if (asleep >= 0) {
      this.sleeping.splice(asleep, 1);
      heapify(this.sleeping);
      return;
    }
    const { ready } = queue.rateClass;
    ready.splice(ready.indexOf(queue), 1);
    this.readyCount--;
  }

  /** Sends what may go now. */
  poll(now: number): void {
    while (this.sleeping.length > 0 && this.sleeping[0].readyAt <= now) {
      const queue = popHeap(this.sleeping);
      queue.rateClass.ready.push(queue);
      this.readyCount++;
    }
    let idle = 0;
    while (this.readyCount > 0 && idle < this.classes.length && this.port.has(now)) {
      const one = this.classes[this.nextClass];
      this.nextClass = (this.nextClass + 1) % this.classes.length;
      if (one.ready.length === 0 || !one.bucket.has(now)) {
        idle++;
        continue;
      }
      idle = 0;
      this.serve(now, one);
    }
  }

  pollAt(): number {
    let at = this.sleeping.length > 0 ? this.sleeping[0].readyAt : never;
    if (this.readyCount === 0) return at;
    for (const { ready, bucket } of this.classes)
      if (ready.length > 0) at = Math.min(at, Math.max(bucket.readyAt(), this.port.readyAt()));
    return at;
  }

  /** Bytes of the columns. */
  get columnBytes(): number {
    return this.tokens.byteLength + this.countedAt.byteLength;
  }

  /** One packet of whose turn it is. */
  private serve(now: number, one: RateClass): void {
    const queue = one.ready[0];
    const packet = queue.packets[queue.head];
    const length = packet.length - this.headroomBytes;
    if (queue.deficit < length) {
      // Its turn is over; the next one's quantum is added when that begins.
      queue.deficit += quantumBytes;
      one.ready.push(one.ready.shift()!);
      return;
    }
    this.refill(now, queue.row, one);
    queue.head++;
    queue.bytes -= length;
    queue.deficit -= length;
    this.waitingBytes -= length;
    this.take(queue.row, one, length);
    if (queue.head === queue.packets.length) this.leave(queue, one);
    else {
      if (queue.head >= compactAfter) {
        queue.packets.splice(0, queue.head);
        queue.head = 0;
      }
      if (this.tokens[queue.row] <= 0) {
        one.ready.shift();
        this.readyCount--;
        this.sleep(now, queue);
      }
    }
    this.send(now, queue.row, packet, this.headroomBytes);
  }

  private leave(queue: Queue, one: RateClass): void {
    this.queues.delete(queue.row);
    one.ready.shift();
    this.readyCount--;
  }

  private wait(now: number, row: number, one: RateClass, queue: Queue | undefined, view: Uint8Array): void {
    if ((queue?.bytes ?? 0) + view.length > one.queueBytes) {
      this.counters.add('queue-full');
      return;
    }
    if (this.waitingBytes + view.length > this.memoryBytes) {
      this.counters.add('memory-full');
      return;
    }
    this.counters.add('delayed');
    const packet = new Uint8Array(this.headroomBytes + view.length);
    packet.set(view, this.headroomBytes);
    this.waitingBytes += view.length;
    if (queue) {
      queue.packets.push(packet);
      queue.bytes += view.length;
      return;
    }
    const fresh: Queue = {
      row,
      rateClass: one,
      packets: [packet],
      head: 0,
      bytes: view.length,
      deficit: quantumBytes,
      readyAt: 0,
    };
    this.queues.set(row, fresh);
    if (this.tokens[row] > 0) {
      one.ready.push(fresh);
      this.readyCount++;
    } else {
      this.sleep(now, fresh);
    }
  }

  private sleep(now: number, queue: Queue): void {
    // Strictly above 0, so that a packet may go at that time.
    queue.readyAt = now + Math.floor((-this.tokens[queue.row] * 1000) / queue.rateClass.bytesPerSecond) + 1;
    pushHeap(this.sleeping, queue);
  }

  /** The tokens of a subscriber now. */
  private refill(now: number, row: number, one: RateClass): number {
    if (row >= this.tokens.length) this.grow(row);
    const since = this.countedAt[row];
    const { bytesPerSecond, burstBytes } = one;
    const tokens = since < 0 ? burstBytes : this.tokens[row] + ((now - since) * bytesPerSecond) / 1000;
    // Not NaN: without a limit nothing is ever taken, and 0 × Infinity does not arise.
    this.tokens[row] = bytesPerSecond === Infinity || tokens > burstBytes ? burstBytes : tokens;
    this.countedAt[row] = now;
    return this.tokens[row];
  }

  private take(row: number, one: RateClass, bytes: number): void {
    if (one.bytesPerSecond !== Infinity)
      this.tokens[row] = Math.max(-longestPacket, this.tokens[row] - bytes);
    one.bucket.take(bytes);
    this.port.take(bytes);
  }

  private grow(row: number): void {
    let rows = this.tokens.length;
    while (rows <= row) rows *= 2;
    const tokens = new Float64Array(rows);
    const countedAt = new Float64Array(rows).fill(-1);
    tokens.set(this.tokens);
    countedAt.set(this.countedAt);
    this.tokens = tokens;
    this.countedAt = countedAt;
  }
}

/** Of a class or the port. */
class Bucket {
  readonly isUnlimited: boolean;
  private readonly bytesPerSecond: number;
  private readonly burstBytes: number;
  private tokens: number;
  private countedAt = 0;

  constructor(bytesPerSecond: number) {
    this.bytesPerSecond = bytesPerSecond;
    this.isUnlimited = bytesPerSecond === Infinity;
    this.burstBytes = Math.max(quantumBytes, (bytesPerSecond * aggregateBurstMs) / 1000);
    this.tokens = this.burstBytes;
  }

  has(now: number): boolean {
    if (this.isUnlimited) return true;
    const tokens = this.tokens + ((now - this.countedAt) * this.bytesPerSecond) / 1000;
    this.tokens = Math.min(tokens, this.burstBytes);
    this.countedAt = now;
    return this.tokens > 0;
  }

  /** When it has tokens, as last counted. */
  readyAt(): number {
    if (this.isUnlimited || this.tokens > 0) return this.countedAt;
    return this.countedAt + Math.floor((-this.tokens * 1000) / this.bytesPerSecond) + 1;
  }

  take(bytes: number): void {
    if (!this.isUnlimited) this.tokens -= bytes;
  }
}

function pushHeap(heap: Queue[], queue: Queue): void {
  let at = heap.length;
  heap.push(queue);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent].readyAt <= queue.readyAt) break;
    heap[at] = heap[parent];
    at = parent;
  }
  heap[at] = queue;
}

function popHeap(heap: Queue[]): Queue {
  const top = heap[0];
  const last = heap.pop()!;
  if (heap.length > 0) {
    heap[0] = last;
    sink(heap, 0);
  }
  return top;
}

function heapify(heap: Queue[]): void {
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(heap, at);
}

function sink(heap: Queue[], at: number): void {
  const queue = heap[at];
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1].readyAt < heap[child].readyAt) child++;
    if (heap[child].readyAt >= queue.readyAt) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = queue;
}
