/**
 * The discrete-event kernel: a binary heap of events ordered by (time, serial), so that events of one instant fire in
 * the order they were scheduled and a run is the same each time.
 *
 * Time is virtual milliseconds from 0. It may have a fraction: a frame crosses a switch in microseconds and captures
 * are stamped in microseconds, and a whole millisecond each would blur the order people read in a tap. Whoever drives
 * an agent floors it (node.ts). Nothing here reads a clock.
 *
 * The heap is three typed arrays (time, serial, slot); actor and tag stay put in the slot. A cancelled event stays in
 * the heap until it comes to the top, or until half of the heap is cancelled, when it is rebuilt without them.
 *
 * Bounds: `mostPending` events, `run`'s `maxEvents`.
 */

/** Something that events happen to. */
export interface Actor<Tag> {
  /** `now` is the time the event was scheduled for, `tag` what was scheduled with it. */
  fire(now: number, tag: Tag): void;
}

/** Names one scheduled event; 0 names none. */
export type EventHandle = number;

/** Pending events, cancelled ones included; more is a programmer's error. Handles leave 24 bits for it. */
export const mostPending = 2 ** 24 - 1;

const slotSpan = 2 ** 24;
/** Below this many cancelled events a rebuild is not worth it. */
const fewCancelled = 64;

export class Kernel {
  /** Virtual milliseconds: of the event being fired, or where the last `run` ended. */
  now = 0;
  /** Events fired since the start. */
  fired = 0;
  private serial = 0;
  private size = 0;
  private cancelled = 0;
  private heapAt = new Float64Array(1024);
  private heapSerial = new Float64Array(1024);
  private heapSlot = new Int32Array(1024);
  /** Slot → actor; `undefined` once cancelled. */
  private actors: (Actor<unknown> | undefined)[] = [];
  private tags: unknown[] = [];
  /** Slot → how often it was used, so that the handle of a past event names nothing. */
  private generations = new Int32Array(1024);
  private free: number[] = [];

  /** Events still to fire. */
  get pending(): number {
    return this.size - this.cancelled;
  }

  /** Event slots ever needed at once, cancelled events included: what the kernel's memory grows with. */
  get footprint(): number {
    return this.actors.length;
  }

  /** When the next event fires; Infinity if there is none. */
  nextAt(): number {
    this.dropCancelled();
    return this.size > 0 ? this.heapAt[0] : Infinity;
  }

  /** Schedules `actor.fire(at, tag)`. Throws unless `at` (ms) is a finite time not before `now`. */
  schedule<Tag>(at: number, actor: Actor<Tag>, tag: Tag): EventHandle {
    if (!(at >= this.now && at < Infinity))
      throw new Error(`at: expected a time from ${this.now} on, got ${at}`);
    const slot = this.takeSlot();
    this.actors[slot] = actor as Actor<unknown>;
    this.tags[slot] = tag;
    if (this.size === this.heapAt.length) this.grow();
    this.siftUp(this.size++, at, this.serial++, slot);
    return this.generations[slot] * slotSpan + slot + 1;
  }

  /** Takes back a scheduled event; false if it has fired, was cancelled, or never was. */
  cancel(handle: EventHandle): boolean {
    const slot = (handle % slotSpan) - 1;
    if (slot < 0 || this.generations[slot] !== Math.floor(handle / slotSpan) || !this.actors[slot])
      return false;
    this.actors[slot] = undefined;
    this.tags[slot] = undefined;
    this.cancelled++;
    if (this.cancelled > fewCancelled && this.cancelled * 2 > this.size) this.rebuild();
    return true;
  }

  /**
   * Fires every event up to and including `until` (ms), at most `maxEvents`, and returns how many it fired. Afterwards
   * `now` is `until`; earlier if `maxEvents` came first: call again.
   */
  run(until: number, maxEvents = Infinity): number {
    if (!(until >= this.now)) throw new Error(`until: expected a time from ${this.now} on, got ${until}`);
    const firedBefore = this.fired;
    const lastFired = firedBefore + maxEvents;
    while (this.size > 0) {
      const slot = this.heapSlot[0];
      const actor = this.actors[slot];
      if (!actor) {
        this.removeTop();
        this.cancelled--;
        this.freeSlot(slot);
        continue;
      }
      const at = this.heapAt[0];
      if (at > until) break;
      if (this.fired >= lastFired) return this.fired - firedBefore;
      const tag = this.tags[slot];
      this.removeTop();
      this.freeSlot(slot);
      this.now = at;
      this.fired++;
      actor.fire(at, tag);
    }
    if (until < Infinity) this.now = until;
    return this.fired - firedBefore;
  }

  private takeSlot(): number {
    const slot = this.free.pop();
    if (slot !== undefined) return slot;
    const fresh = this.actors.length;
    if (fresh >= mostPending) throw new Error(`pending events: expected at most ${mostPending}`);
    if (fresh === this.generations.length) {
      const generations = new Int32Array(2 * fresh);
      generations.set(this.generations);
      this.generations = generations;
    }
    this.actors.push(undefined);
    this.tags.push(undefined);
    return fresh;
  }

  private freeSlot(slot: number): void {
    this.actors[slot] = undefined;
    this.tags[slot] = undefined;
    // 29 bits: generation × 2^24 + slot stays an exact integer.
    this.generations[slot] = (this.generations[slot] + 1) & 0x1fffffff;
    this.free.push(slot);
  }

  private dropCancelled(): void {
    while (this.size > 0) {
      const slot = this.heapSlot[0];
      if (this.actors[slot]) return;
      this.removeTop();
      this.cancelled--;
      this.freeSlot(slot);
    }
  }

  /** Puts an event at position `hole` and moves it up to its place. */
  private siftUp(hole: number, at: number, serial: number, slot: number): void {
    const { heapAt, heapSerial, heapSlot } = this;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const parentAt = heapAt[parent];
      if (parentAt < at || (parentAt === at && heapSerial[parent] < serial)) break;
      heapAt[hole] = parentAt;
      heapSerial[hole] = heapSerial[parent];
      heapSlot[hole] = heapSlot[parent];
      hole = parent;
    }
    heapAt[hole] = at;
    heapSerial[hole] = serial;
    heapSlot[hole] = slot;
  }

  private removeTop(): void {
    const last = --this.size;
    if (last > 0) this.siftDown(0, this.heapAt[last], this.heapSerial[last], this.heapSlot[last]);
  }

  /** Puts an event at position `hole` and moves it down to its place. */
  private siftDown(hole: number, at: number, serial: number, slot: number): void {
    const { heapAt, heapSerial, heapSlot, size } = this;
    for (let child = 2 * hole + 1; child < size; child = 2 * hole + 1) {
      const right = child + 1;
      if (
        right < size &&
        (heapAt[right] < heapAt[child] ||
          (heapAt[right] === heapAt[child] && heapSerial[right] < heapSerial[child]))
      )
        child = right;
      const childAt = heapAt[child];
      if (at < childAt || (at === childAt && serial < heapSerial[child])) break;
      heapAt[hole] = childAt;
      heapSerial[hole] = heapSerial[child];
      heapSlot[hole] = heapSlot[child];
      hole = child;
    }
    heapAt[hole] = at;
    heapSerial[hole] = serial;
    heapSlot[hole] = slot;
  }

  private rebuild(): void {
    const { heapAt, heapSerial, heapSlot } = this;
    let kept = 0;
    for (let i = 0; i < this.size; i++) {
      const slot = heapSlot[i];
      if (!this.actors[slot]) {
        this.freeSlot(slot);
        continue;
      }
      heapAt[kept] = heapAt[i];
      heapSerial[kept] = heapSerial[i];
      heapSlot[kept++] = slot;
    }
    this.size = kept;
    this.cancelled = 0;
    for (let i = (kept >> 1) - 1; i >= 0; i--) this.siftDown(i, heapAt[i], heapSerial[i], heapSlot[i]);
  }

  private grow(): void {
    const capacity = 2 * this.size;
    const heapAt = new Float64Array(capacity);
    const heapSerial = new Float64Array(capacity);
    const heapSlot = new Int32Array(capacity);
    heapAt.set(this.heapAt);
    heapSerial.set(this.heapSerial);
    heapSlot.set(this.heapSlot);
    this.heapAt = heapAt;
    this.heapSerial = heapSerial;
    this.heapSlot = heapSlot;
  }
}
