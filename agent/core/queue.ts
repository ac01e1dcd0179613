/**
 * A first-in, first-out queue with a fixed capacity. It never grows; whoever pushes decides what a full queue means
 * and counts it (style.md 13).
 */

export class BoundedQueue<T> {
  readonly capacity: number;
  private readonly slots: (T | undefined)[];
  private head = 0;
  private count = 0;

  constructor(capacity: number) {
    if (!(capacity >= 1)) throw new Error(`capacity: expected at least 1, got ${capacity}`);
    this.capacity = capacity;
    this.slots = [];
    for (let i = 0; i < capacity; i++) this.slots.push(undefined);
  }

  get length(): number {
    return this.count;
  }

  /** How many more items fit. */
  get room(): number {
    return this.capacity - this.count;
  }

  /** False, and nothing changed, if the queue is full. */
  push(item: T): boolean {
    if (this.count === this.capacity) return false;
    this.slots[(this.head + this.count) % this.capacity] = item;
    this.count++;
    return true;
  }

  /** The oldest item, removed; `undefined` if there is none. */
  shift(): T | undefined {
    if (this.count === 0) return undefined;
    const item = this.slots[this.head];
    this.slots[this.head] = undefined;
    this.head = (this.head + 1) % this.capacity;
    this.count--;
    return item;
  }
}
