/**
 * Downloads over one or several paths: TCP in rounds of a round trip (as Padhye et al., SIGCOMM 1998, see it), and MPTCP
 * above it (RFC 8684; the scheduler and reinjection of its Linux implementations).
 *
 * A subflow sends a window; the round ends when the first acknowledgement is back and the link has carried the window,
 * whichever is later, so a full window keeps the link busy. Within a round the time of each packet and each
 * acknowledgement is known by arithmetic: there is one event a round, not one a packet.
 *
 * TCP: slow start, congestion avoidance, one halving a round for a loss (RFC 5681, selective acknowledgements, not
 * coupled as in RFC 6356, for the paths share no bottleneck); with fewer than three acknowledgements in a round a timeout
 * (RFC 6298, back-off, 1 segment). A promotion of the radio delays a round but neither times it out nor counts as a
 * round trip (RFC 5682 would take the timeout back).
 * MPTCP: new data and reinjections go on normal paths that have not failed, on backup paths only if there is none.
 * What times out is sent again on its subflow and reinjected on another. Rates are of payload; headers are left out.
 * Acknowledgements are not lost. The data all come from a source that always has some, and begin with subflows set up.
 *
 * Bounds: the connection's window (data beyond the first gap), a subflow's window (the same).
 */

import { Random } from '../../agent/core/random.js';
import type { Priority } from '../../agent/kibbutz/path-selection.js';
import type { EventHandle, Kernel } from './kernel.js';
import type { Radio } from './radio.js';

export interface PathConditions {
  /** Of payload. Infinity: no limit. */
  readonly bitsPerSecond: number;
  /** With an empty queue, ms, > 0. */
  readonly roundTripMs: number;
  /** What the link's queue holds beyond what is on its way; more is lost (tail drop). */
  readonly queueBytes: number;
  /** Probability 0 … 1 for each packet, behind the link. */
  readonly loss: number;
}

export interface FlowPathOptions {
  readonly kernel: Kernel;
  readonly seed: number;
  /** Names the path's random stream; unique in the world. */
  readonly name: string;
  readonly conditions: PathConditions;
  /** Promoted when the path is used, charged for what it carries; left out: always up. */
  readonly radio?: Radio;
}

/** Payload of a packet: 1,500 bytes less IP, TCP with timestamps and a DSS option (RFC 8684 §3.3), and a UDP tunnel. */
export const segmentBytes = 1_400;
/** RFC 6928. */
const initialWindow = 10;
/** RFC 5681 §3.2. */
const duplicatesForLoss = 3;
/**
 * Linux's TCP_RTO_MIN: what the timer leaves at least beyond the smoothed round trip. RFC 6298 §2.4 has 1 s in all, but
 * the paper's server is Linux.
 */
const rtoMarginMs = 200;
/** RFC 6298 §2.5: a ceiling of 60 s or more. */
const longestRtoMs = 60_000;
/** Several times what the paper's paths hold: neither end limits. */
const defaultWindowBytes = 1_048_576;
/**
 * Timeouts in a row after which a path counts as failed and backup paths are used: "repeated timeouts" (paper), Linux'
 * net.mptcp.stale_loss_cnt. (The MPTCP patches of the paper's years let backup paths wait until the others were closed.)
 */
const defaultFailedAfterTimeouts = 4;

/** A path's link, shared by the flows that use it. */
export class FlowPath {
  readonly conditions: PathConditions;
  private readonly radio: Radio | undefined;
  private readonly random: Random;
  private readonly kernel: Kernel;
  /** When the link will have carried what was handed to it. */
  private busyUntil = 0;
  private downFrom = Infinity;
  private upFrom = Infinity;

  /** Throws, naming the condition, if one is out of range. */
  constructor({ kernel, seed, name, conditions, radio }: FlowPathOptions) {
    const { bitsPerSecond, roundTripMs, queueBytes, loss } = conditions;
    if (!(loss >= 0 && loss <= 1)) throw new Error(`loss: expected a probability 0..1, got ${loss}`);
    if (!(roundTripMs > 0 && roundTripMs < Infinity))
      throw new Error(`roundTripMs: expected more than 0, got ${roundTripMs}`);
    if (!(bitsPerSecond > 0)) throw new Error(`bitsPerSecond: expected more than 0, got ${bitsPerSecond}`);
    if (!(queueBytes >= 0)) throw new Error(`queueBytes: expected a number from 0, got ${queueBytes}`);
    this.conditions = conditions;
    this.radio = radio;
    this.random = new Random(seed, `flow path ${name}`);
    this.kernel = kernel;
  }

  /** Down: what arrives from now on is lost. Only the last outage is remembered. */
  setUp(up: boolean): void {
    const { now } = this.kernel;
    if (up) this.upFrom = now;
    else {
      this.downFrom = now;
      this.upFrom = Infinity;
    }
  }

  isUp(now: number): boolean {
    return !(now >= this.downFrom && now < this.upFrom);
  }

  /** Hands `ids.length` packets to the link at `now`. */
  carry(now: number, ids: readonly number[], freshFrom: number): Round {
    const { bitsPerSecond, roundTripMs, queueBytes, loss } = this.conditions;
    const sentAt = this.radio?.promote(now) ?? now;
    this.radio?.send(now, 0, ids.length * segmentBytes);
    const spacingMs = (segmentBytes * 8000) / bitsPerSecond;
    const startAt = Math.max(sentAt, this.busyUntil);
    const queueMs = (queueBytes * 8000) / bitsPerSecond;
    const room = Math.floor((roundTripMs + queueMs - (startAt - sentAt)) / spacingMs);
    const lost = ids.map((_, i) => i >= room || this.random.chance(loss));
    this.busyUntil = startAt + Math.min(ids.length, Math.max(0, room)) * spacingMs;
    const endsAt = Math.max(sentAt + roundTripMs, this.busyUntil);
    return { ids, freshFrom, lost, sentAt, startAt, spacingMs, endsAt };
  }

  /** When packet `i` of a round arrives; undefined if it does not. */
  arrivalAt(round: Round, i: number): number | undefined {
    if (round.lost[i]) return undefined;
    const at = round.startAt + (i + 1) * round.spacingMs + this.conditions.roundTripMs / 2;
    return this.isUp(at) ? at : undefined;
  }
}

/** A window of packets under way. */
interface Round {
  readonly ids: readonly number[];
  /** The packets before this place are sent again. */
  readonly freshFrom: number;
  readonly lost: readonly boolean[];
  /** With the radio up. */
  readonly sentAt: number;
  /** The link begins with the first packet, and takes so long for each. */
  readonly startAt: number;
  readonly spacingMs: number;
  readonly endsAt: number;
}

export interface FlowOptions {
  readonly kernel: Kernel;
  readonly paths: readonly { readonly path: FlowPath; readonly priority: Priority }[];
  /** To be delivered; Infinity: open-ended. */
  readonly bytes: number;
  /** How far data may go beyond the first gap, bytes. */
  readonly windowBytes?: number;
  /** 1 …; see `defaultFailedAfterTimeouts`. */
  readonly failedAfterTimeouts?: number;
  /** Hears of progress: the first `bytes` had been delivered at `at`, ms; told up to a round later. */
  readonly onProgress?: (at: number, bytes: number) => void;
}

/** What a subflow tells at an instant. */
export interface SubflowState {
  readonly timeouts: number;
  /** Bytes; Infinity before the first loss. */
  readonly ssthreshBytes: number;
  readonly roundTripMs: number;
  readonly rtoMs: number;
  /** Acknowledged so far, bytes; what arrived by another subflow too counts for both. */
  readonly deliveredBytes: number;
  readonly outstanding: boolean;
}

/** A connection that downloads. */
export class Flow {
  /** When the last byte arrived; undefined while any is missing. */
  finishedAt: number | undefined;
  /** Bytes that came first by each path. */
  readonly bytesByPath: number[];
  /** When the first of them came. */
  readonly firstArrivalAt: (number | undefined)[];
  private readonly kernel: Kernel;
  private readonly subflows: readonly Subflow[];
  private readonly packets: number;
  private readonly lastPacketBytes: number;
  private readonly onProgress: FlowOptions['onProgress'];
  private readonly windowPackets: number;
  /** The next packet never sent. */
  private next = 0;
  /** All before it have arrived. */
  private inOrder = 0;
  private readonly outOfOrder = new Set<number>();
  private readonly reinjections: { readonly id: number; readonly from: Subflow }[] = [];
  private lastArrivalAt = 0;

  /** Throws, naming the field, if one is out of range. */
  constructor(options: FlowOptions) {
    const { kernel, paths, bytes, windowBytes = defaultWindowBytes, onProgress } = options;
    const { failedAfterTimeouts = defaultFailedAfterTimeouts } = options;
    if (!(bytes > 0)) throw new Error(`bytes: expected more than 0, got ${bytes}`);
    if (!(windowBytes >= segmentBytes))
      throw new Error(`windowBytes: expected at least ${segmentBytes}, got ${windowBytes}`);
    if (!(failedAfterTimeouts >= 1))
      throw new Error(`failedAfterTimeouts: expected at least 1, got ${failedAfterTimeouts}`);
    this.kernel = kernel;
    this.packets = Math.ceil(bytes / segmentBytes);
    this.lastPacketBytes = bytes - (this.packets - 1) * segmentBytes;
    this.windowPackets = Math.floor(windowBytes / segmentBytes);
    this.onProgress = onProgress;
    this.bytesByPath = paths.map(() => 0);
    this.firstArrivalAt = paths.map(() => undefined);
    this.subflows = paths.map(
      ({ path, priority }, place) =>
        new Subflow(this, kernel, { path, place, priority, failedAfterTimeouts }),
    );
  }

  /** Begins, or goes on after something changed, at the kernel's now. */
  pump(): void {
    for (const subflow of [...this.subflows].sort((a, b) => a.smoothedMs - b.smoothedMs))
      subflow.send(this.kernel.now);
  }

  /** As MP_PRIO arrives at the sender. */
  setPriority(place: number, priority: Priority): void {
    if (this.subflows[place].priority === priority) return;
    this.subflows[place].priority = priority;
    this.pump();
  }

  /** A subflow as its sender sees it now. */
  state(place: number): SubflowState {
    return this.subflows[place].state(this.kernel.now);
  }

  /** Up to `most` packets for a subflow, after those it must send again itself. For subflows. */
  take(subflow: Subflow, most: number): number[] {
    const ids: number[] = [];
    if (!this.mayCarry(subflow)) return ids;
    for (let i = 0; i < this.reinjections.length && ids.length < most; ) {
      const { id, from } = this.reinjections[i];
      if (from === subflow) {
        i++;
        continue;
      }
      this.reinjections.splice(i, 1);
      if (!this.has(id)) ids.push(id);
    }
    const end = Math.min(this.packets, this.inOrder + this.windowPackets);
    while (ids.length < most && this.next < end) ids.push(this.next++);
    return ids;
  }

  /** A packet arrived. For subflows. */
  deliver(id: number, place: number, at: number): void {
    if (this.has(id)) return;
    this.firstArrivalAt[place] ??= at;
    this.lastArrivalAt = Math.max(this.lastArrivalAt, at);
    this.bytesByPath[place] += id === this.packets - 1 ? this.lastPacketBytes : segmentBytes;
    this.outOfOrder.add(id);
    if (id !== this.inOrder) return;
    while (this.outOfOrder.delete(this.inOrder)) this.inOrder++;
    const done = this.inOrder === this.packets;
    const bytes = this.inOrder * segmentBytes - (done ? segmentBytes - this.lastPacketBytes : 0);
    this.onProgress?.(this.lastArrivalAt, bytes);
    if (!done) return;
    this.finishedAt = this.lastArrivalAt;
    for (const subflow of this.subflows) subflow.stop();
  }

  /** Lets other subflows carry what a subflow lost to a timeout. For subflows. */
  reinject(ids: readonly number[], from: Subflow): void {
    for (const id of ids) {
      if (!this.has(id) && !this.reinjections.some(waiting => waiting.id === id && waiting.from === from))
        this.reinjections.push({ id, from });
    }
  }

  private has(id: number): boolean {
    return id < this.inOrder || this.outOfOrder.has(id);
  }

  /** RFC 8684 §3.3.8: backup paths only if there is no other. */
  private mayCarry(subflow: Subflow): boolean {
    if (subflow.failed || this.finishedAt !== undefined) return false;
    return (
      subflow.priority === 'normal' ||
      !this.subflows.some(other => other.priority === 'normal' && !other.failed)
    );
  }
}

interface SubflowOptions {
  readonly path: FlowPath;
  readonly place: number;
  readonly priority: Priority;
  readonly failedAfterTimeouts: number;
}

type Happening = 'round-end' | 'timeout';

class Subflow {
  priority: Priority;
  smoothedMs: number;
  private variationMs: number;
  private readonly flow: Flow;
  private readonly kernel: Kernel;
  private readonly path: FlowPath;
  private readonly place: number;
  private readonly failedAfterTimeouts: number;
  /** Packets, with a fraction. */
  private window = initialWindow;
  private ssthresh = Infinity;
  private rtoMs: number;
  private timeouts = 0;
  private timeoutsInARow = 0;
  /** To be sent again. */
  private lost: number[] = [];
  private round: Round | undefined;
  private before: Round | undefined;
  /** Acknowledged of the rounds before those two, packets. */
  private acknowledged = 0;
  /** When it last came to an end. */
  private endedAt = 0;
  private event: EventHandle = 0;
  private stopped = false;

  constructor(flow: Flow, kernel: Kernel, { path, place, priority, failedAfterTimeouts }: SubflowOptions) {
    this.flow = flow;
    this.kernel = kernel;
    this.path = path;
    this.place = place;
    this.priority = priority;
    this.failedAfterTimeouts = failedAfterTimeouts;
    // RFC 6298 §2.2, with the handshake's round trip.
    this.smoothedMs = path.conditions.roundTripMs;
    this.variationMs = path.conditions.roundTripMs / 2;
    this.rtoMs = this.freshRtoMs();
  }

  get failed(): boolean {
    return this.timeoutsInARow >= this.failedAfterTimeouts;
  }

  /** Sends a window if none is under way and there is anything to send. */
  send(now: number): void {
    if (this.event !== 0 || this.stopped) return;
    // RFC 5681 §4.1: what a path could carry before a pause says nothing about now.
    if (now - this.endedAt > this.rtoMs) this.window = Math.min(this.window, initialWindow);
    const most = Math.max(1, Math.floor(this.window));
    const again = this.lost.splice(0, most);
    const ids = [...again, ...this.flow.take(this, most - again.length)];
    if (ids.length === 0) return;
    if (this.before) this.acknowledged += this.acknowledgedOf(this.before, Infinity);
    this.before = this.round;
    this.round = this.path.carry(now, ids, again.length);
    this.event = this.kernel.schedule<Happening>(this.round.endsAt, this, 'round-end');
  }

  fire(now: number, happening: Happening): void {
    this.event = 0;
    this.endedAt = now;
    if (happening === 'round-end') this.endRound(now, this.round!);
    else this.timeOut();
    if (this.event === 0) this.flow.pump();
  }

  stop(): void {
    this.stopped = true;
    if (this.event !== 0) this.kernel.cancel(this.event);
    this.event = 0;
  }

  state(now: number): SubflowState {
    let acknowledged = this.acknowledged;
    for (const round of [this.before, this.round]) if (round) acknowledged += this.acknowledgedOf(round, now);
    return {
      timeouts: this.timeouts,
      ssthreshBytes: this.ssthresh * segmentBytes,
      roundTripMs: this.smoothedMs,
      rtoMs: this.rtoMs,
      deliveredBytes: acknowledged * segmentBytes,
      outstanding: this.event !== 0,
    };
  }

  private endRound(now: number, round: Round): void {
    const { ids, freshFrom, sentAt } = round;
    const filled = ids.length >= Math.floor(this.window);
    let acknowledged = 0;
    let firstLost = -1;
    let freshLost = false;
    let acknowledgedAfter = 0;
    for (let i = 0; i < ids.length; i++) {
      const arrivalAt = this.path.arrivalAt(round, i);
      if (arrivalAt !== undefined) {
        acknowledged++;
        if (firstLost >= 0) acknowledgedAfter++;
        this.flow.deliver(ids[i], this.place, arrivalAt);
        continue;
      }
      if (firstLost < 0) firstLost = i;
      if (i >= freshFrom) freshLost = true;
      this.lost.push(ids[i]);
    }
    if (acknowledged > 0) {
      this.timeoutsInARow = 0;
      this.measure(Math.max(this.path.conditions.roundTripMs, now - sentAt));
      if (this.stopped) return;
    }
    // The acknowledgements before the loss call forth packets whose own ones are duplicates, unless the path is down.
    const duplicates = this.path.isUp(now) ? acknowledged : acknowledgedAfter;
    if (firstLost < 0) {
      if (filled) this.grow(acknowledged);
    } else if (duplicates < duplicatesForLoss) {
      const timerFrom = this.acknowledgedAt(round, firstLost);
      this.event = this.kernel.schedule<Happening>(Math.max(now, timerFrom + this.rtoMs), this, 'timeout');
    } else if (freshLost) {
      // RFC 6675: once a round; what is lost while sent again does not count again.
      this.ssthresh = Math.max(Math.floor(ids.length / 2), 2);
      this.window = this.ssthresh;
    }
  }

  private timeOut(): void {
    // RFC 5681 §3.1: held constant over timeouts in a row.
    if (this.timeoutsInARow === 0) this.ssthresh = Math.max(Math.floor(this.round!.ids.length / 2), 2);
    this.window = 1;
    this.timeouts++;
    this.timeoutsInARow++;
    this.rtoMs = Math.min(2 * this.rtoMs, longestRtoMs);
    this.flow.reinject(this.lost, this);
  }

  private grow(acknowledged: number): void {
    if (this.window < this.ssthresh) this.window = Math.min(this.window + acknowledged, this.ssthresh);
    else this.window += acknowledged / this.window;
  }

  /** RFC 6298 §2.3; timestamps make it good for what is sent again, too (RFC 7323 §4.1). */
  private measure(roundTripMs: number): void {
    this.variationMs += (Math.abs(this.smoothedMs - roundTripMs) - this.variationMs) / 4;
    this.smoothedMs += (roundTripMs - this.smoothedMs) / 8;
    this.rtoMs = this.freshRtoMs();
  }

  private freshRtoMs(): number {
    return this.smoothedMs + Math.max(rtoMarginMs, 4 * this.variationMs);
  }

  /** When the last acknowledgement came that moved on before packet `lost` of a round: the timer runs from then. */
  private acknowledgedAt(round: Round, lost: number): number {
    const { roundTripMs } = this.path.conditions;
    const { before } = this;
    if (lost > 0) return round.startAt + lost * round.spacingMs + roundTripMs;
    const lastBefore = before ? before.startAt + before.ids.length * before.spacingMs + roundTripMs : 0;
    return Math.max(round.sentAt, lastBefore);
  }

  /** How many of a round's packets have been acknowledged by `now`. */
  private acknowledgedOf(round: Round, now: number): number {
    let count = 0;
    for (let i = 0; i < round.ids.length; i++) {
      const at = this.path.arrivalAt(round, i);
      if (at !== undefined && at + this.path.conditions.roundTripMs / 2 <= now) count++;
    }
    return count;
  }
}
