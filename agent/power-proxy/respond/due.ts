/**
 * Answers that wait: several protocols ask for a random delay so that not all who could answer do so at once.
 *
 * Bounded by its limit; when full, the new one is refused, for those that wait are sooner due as a rule, and whoever asked
 * asks again.
 */

import { sameBytes } from '../../core/bytes.js';
import { never } from '../../core/time.js';

/** Whose answer it is, and when it goes out. */
export interface Waiting {
  readonly dueAt: number;
  readonly host: { readonly mac: Uint8Array };
}

/** What hands out the frames that have come due, by the name of their link. */
export type SendDue = (link: string, frame: Uint8Array) => void;

/** A responder that may answer later. Its answers go out in `poll`. */
export interface Deferring {
  /** Sends what has come due. */
  poll(now: number, send: SendDue): void;
  /** The next instant `poll` has work; `never` if none. */
  pollAt(): number;
  /** The host speaks for itself again: nothing more is sent for it. */
  forget(mac: Uint8Array): void;
}

export class Due<T extends Waiting> {
  items: T[] = [];
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** False if there is no room. */
  add(item: T): boolean {
    if (this.items.length >= this.limit) return false;
    this.items.push(item);
    return true;
  }

  /** Takes out what is due at `now`, the earliest first. */
  take(now: number): T[] {
    const due = this.items.filter(item => item.dueAt <= now);
    if (due.length > 0) this.items = this.items.filter(item => item.dueAt > now);
    return due.sort((a, b) => a.dueAt - b.dueAt);
  }

  pollAt(): number {
    let at = never;
    for (const { dueAt } of this.items) at = Math.min(at, dueAt);
    return at;
  }

  forget(mac: Uint8Array): void {
    this.items = this.items.filter(({ host }) => !sameBytes(host.mac, mac));
  }
}
