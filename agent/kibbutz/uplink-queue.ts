/**
 * The queue before an uplink that is shared: the owner's packets first, then the neighbours', who take turns (mobile
 * kibbutz, §2.1.3.2.2.1 "Prioritization").
 *
 * Strict priority without pre-emption: an own packet waits for own packets before it and for at most one packet in
 * service, whatever the neighbours send. Among neighbours deficit round robin (Shreedhar and Varghese, SIGCOMM 1995)
 * with a quantum of one longest packet: of two that have packets waiting, neither gets ahead by more than a quantum and
 * a packet. If the owner asks for it, forwarded traffic keeps `forwardedShare` of a busy uplink.
 *
 * Sans-I/O and paced: `dequeue` gives a packet when the one before it has left at `bitsPerSecond`, so the queue builds
 * up here, where it is in order, and not behind.
 *
 * Bounds: own packets and bytes; the forwarded ones are divided evenly over `neighbours` places, so nobody can take the
 * room of another, and no place is lent. Full: the arriving packet is refused, with the reason, and counted. What is
 * queued is never dropped later. A place is free again when its last packet has left.
 */

import { Counters } from '../core/counters.js';
import { BoundedQueue } from '../core/queue.js';
import { never } from '../core/time.js';

export interface UplinkOptions {
  /** Of the uplink, more than 0; Infinity: not paced. At most what the link carries, or the order is lost behind it. */
  readonly bitsPerSecond: number;
  /** A longer packet is refused; bytes from 1. */
  readonly longestPacketBytes: number;
  /** Own packets that wait at most. */
  readonly ownPackets: number;
  readonly ownBytes: number;
  /** Neighbours that may have packets waiting at once: 1 … 255. */
  readonly neighbours: number;
  /** Packets that each of them may have waiting, from 2, and their bytes. */
  readonly packetsPerNeighbour: number;
  readonly bytesPerNeighbour: number;
  /** The part of the bytes that forwarded traffic keeps while own packets wait: 0 (strict priority) … 0.5. */
  readonly forwardedShare: number;
}

/** Who a packet is from, besides a neighbour's member id (1 … 2^32 − 1). */
export const owner = 0;

const counterNames = [
  'own.sent',
  'forwarded.sent',
  /** Longer than `longestPacketBytes`. */
  'too-long',
  'own-full',
  /** The neighbour has as many packets or bytes waiting as it may. */
  'neighbour-full',
  /** Other neighbours have packets waiting in every place. */
  'no-place',
] as const;
export type UplinkCounter = (typeof counterNames)[number];
export type EnqueueReason = 'ok' | 'too-long' | 'own-full' | 'neighbour-full' | 'no-place';

/** What waits of one neighbour; `neighbour` is 0 while nothing does. */
interface Place<T> {
  neighbour: number;
  /** The oldest packet, out of `rest` so that its length can be seen. */
  first: T | undefined;
  readonly rest: BoundedQueue<T>;
  bytes: number;
  /** Bytes it may still send in this round. */
  deficit: number;
}

/** `T`: a packet, whatever it is; `length` is in bytes. */
export class UplinkQueue<T extends { readonly length: number }> {
  readonly counters = new Counters<UplinkCounter>(counterNames);
  /** Waiting. */
  packets = 0;
  bytes = 0;
  private readonly options: UplinkOptions;
  private readonly own: BoundedQueue<T>;
  private ownBytes = 0;
  private readonly places: readonly Place<T>[];
  /** The places with packets, in the order of their turns. */
  private readonly turns: BoundedQueue<Place<T>>;
  /** Whose turn it is. */
  private current: Place<T> | undefined;
  /** Bytes that forwarded traffic is behind its share, while both wait. */
  private owed = 0;
  /** When the link is free for the next packet; ms with a fraction. */
  private freeAt = 0;

  /** Throws, naming the option and what was expected, if one is wrong. */
  constructor(options: UplinkOptions) {
    if (!(options.bitsPerSecond > 0))
      throw new Error(`bitsPerSecond: expected more than 0, got ${options.bitsPerSecond}`);
    checkInteger('longestPacketBytes', options.longestPacketBytes, 1);
    checkInteger('ownPackets', options.ownPackets, 1);
    checkInteger('ownBytes', options.ownBytes, options.longestPacketBytes);
    checkInteger('neighbours', options.neighbours, 1, 255);
    checkInteger('packetsPerNeighbour', options.packetsPerNeighbour, 2);
    checkInteger('bytesPerNeighbour', options.bytesPerNeighbour, options.longestPacketBytes);
    if (!(options.forwardedShare >= 0 && options.forwardedShare <= 0.5))
      throw new Error(`forwardedShare: expected 0..0.5, got ${options.forwardedShare}`);
    this.options = options;
    this.own = new BoundedQueue(options.ownPackets);
    const places: Place<T>[] = [];
    for (let i = 0; i < options.neighbours; i++) {
      const rest = new BoundedQueue<T>(options.packetsPerNeighbour - 1);
      places.push({ neighbour: owner, first: undefined, rest, bytes: 0, deficit: 0 });
    }
    this.places = places;
    this.turns = new BoundedQueue(options.neighbours);
  }

  /** Own packets waiting. */
  get ownPackets(): number {
    return this.own.length;
  }

  /** Takes a packet that waits for the uplink: `from` is `owner` or the neighbour's member id. `ok`, or why it was refused. */
  enqueue(now: number, packet: T, from: number): EnqueueReason {
    const reason = this.put(packet, from);
    if (reason !== 'ok') {
      this.counters.add(reason);
      return reason;
    }
    // An idle link sends nothing in arrears.
    if (this.packets === 0) this.freeAt = Math.max(this.freeAt, now);
    this.packets++;
    this.bytes += packet.length;
    return reason;
  }

  /** The packet that leaves now; `undefined` if the one before it has not left yet, or none waits. */
  dequeue(now: number): T | undefined {
    if (this.packets === 0 || now < this.freeAt) return undefined;
    const packet = this.take();
    this.packets--;
    this.bytes -= packet.length;
    // `now` is whole milliseconds: less than one of them may have passed since the link was free. More was lost.
    const startsAt = Math.max(this.freeAt, now - 1);
    this.freeAt = startsAt + (packet.length * 8000) / this.options.bitsPerSecond;
    return packet;
  }

  /** When `dequeue` gives a packet, in whole milliseconds; `never` if none waits. In the past: at once. */
  readyAt(): number {
    return this.packets === 0 ? never : Math.ceil(this.freeAt);
  }

  private put(packet: T, from: number): EnqueueReason {
    const { longestPacketBytes, ownBytes, bytesPerNeighbour } = this.options;
    const { length } = packet;
    if (length > longestPacketBytes) return 'too-long';
    if (from === owner) {
      if (this.ownBytes + length > ownBytes || !this.own.push(packet)) return 'own-full';
      this.ownBytes += length;
      return 'ok';
    }
    const place = this.placeOf(from);
    if (!place) return 'no-place';
    if (place.first === undefined) {
      place.neighbour = from;
      place.first = packet;
      this.turns.push(place);
    } else if (place.bytes + length > bytesPerNeighbour || !place.rest.push(packet)) {
      return 'neighbour-full';
    }
    place.bytes += length;
    return 'ok';
  }

  /** The neighbour's place, or a free one. */
  private placeOf(neighbour: number): Place<T> | undefined {
    let free: Place<T> | undefined;
    for (const place of this.places) {
      if (place.neighbour === neighbour) return place;
      if (place.neighbour === owner) free = place;
    }
    return free;
  }

  /** The next packet; some wait. */
  private take(): T {
    const forwardedWait = this.packets > this.own.length;
    if (this.own.length === 0 || (forwardedWait && this.owed > 0)) {
      const packet = this.takeForwarded();
      this.counters.add('forwarded.sent');
      // Only what own packets had to wait for is paid back.
      if (this.own.length > 0) this.owed -= packet.length;
      return packet;
    }
    const packet = this.own.shift() as T;
    this.counters.add('own.sent');
    this.ownBytes -= packet.length;
    const { forwardedShare } = this.options;
    this.owed = forwardedWait ? this.owed + (packet.length * forwardedShare) / (1 - forwardedShare) : 0;
    return packet;
  }

  /** Deficit round robin; some neighbour's packet waits. A quantum is at least the longest packet, so one turn is enough. */
  private takeForwarded(): T {
    let place = this.current;
    if (place && (place.first as T).length > place.deficit) {
      this.turns.push(place);
      place = undefined;
    }
    if (!place) {
      place = this.turns.shift() as Place<T>;
      place.deficit += this.options.longestPacketBytes;
    }
    const packet = place.first as T;
    place.first = place.rest.shift();
    place.bytes -= packet.length;
    place.deficit -= packet.length;
    this.current = place;
    if (place.first === undefined) {
      place.neighbour = owner;
      place.deficit = 0;
      this.current = undefined;
    }
    return packet;
  }
}

function checkInteger(field: string, value: number, least: number, most = 9007199254740991): void {
  if (!(value >= least && value <= most && value % 1 === 0))
    throw new Error(`${field}: expected an integer ${least}..${most}, got ${value}`);
}
