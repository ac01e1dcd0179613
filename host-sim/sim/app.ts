/**
 * The applications of the kibbutz simulation (mobile kibbutz, §2.1.3.2.3): when a device sends its next request.
 *
 * `streaming`   every second, audio or video
 * `web`         gaps of mean 13 s. The paper gives the mean only; a normal distribution of standard deviation 5.7 s is
 *               the one whose share of gaps under the 10 s tail agrees with the paper's 72 % up and 1.46 s mean RTT.
 * `background`  gaps of mean 30 s, "similarly modeled": normal, of standard deviation 17 s. With it one device is up
 *               30–33 % of the time and three alike 22–24 %, as the paper says; an exponential gives 28 and 22, web's
 *               ratio of deviation to mean 32 and 24 but a pair 28 against the paper's 25.
 *
 * The paper's requests are points in time. Their bytes matter only to radios and links that are slower or costlier
 * than the paper's: 48 kbit/s of audio a second (§2.1.3.2.5.2); a page of an index and an image part of 20–50 KB each
 * (same section), taken as 70 KB; 10 KB for background, such as an e-mail (assumed, the paper gives none).
 */

import type { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';

export type AppName = 'background' | 'web' | 'streaming';
/** In the order of Table 2.2. */
export const appNames: readonly AppName[] = ['background', 'web', 'streaming'];

/** What a device wants of the network. */
export interface Traffic {
  /** Bytes of the request that is next. */
  readonly upBytes: number;
  readonly downBytes: number;
  /** Whether requests may wait for a radio that is up ("podcasts, or email"). */
  readonly mayWait: boolean;
  /** Milliseconds from the start to the first request. */
  first(random: Random): number;
  /** Milliseconds from a request to the one after it, an integer from 0; `never` after the last. */
  next(random: Random): number;
}

export class AppTraffic implements Traffic {
  readonly upBytes: number;
  readonly downBytes: number;
  readonly mayWait: boolean;
  private readonly app: AppName;

  constructor(app: AppName) {
    this.app = app;
    this.mayWait = app === 'background';
    this.upBytes = 500;
    this.downBytes = app === 'streaming' ? 6000 : app === 'web' ? 70_000 : 10_000;
  }

  /** Somewhere in a gap, so that alike devices are not in step. */
  first(random: Random): number {
    return Math.floor(this.next(random) * random.unit());
  }

  next(random: Random): number {
    if (this.app === 'streaming') return 1000;
    const gapMs = this.app === 'web' ? random.normal(13_000, 5_700) : random.normal(30_000, 17_000);
    // The normal distribution goes below zero; two requests of one device never coincide.
    return Math.max(1, Math.round(gapMs));
  }
}

/** One exchange of a recorded trace. */
export interface TraceEntry {
  /** From the start of the trace, ms; not decreasing. */
  readonly atMs: number;
  readonly bytes: number;
  readonly direction: 'up' | 'down';
}

/** Replays a trace once, each entry an exchange of its own. */
export class TraceTraffic implements Traffic {
  readonly mayWait = false;
  private readonly entries: readonly TraceEntry[];
  private index = 0;

  constructor(entries: readonly TraceEntry[]) {
    this.entries = entries;
  }

  get upBytes(): number {
    const entry = this.entries[this.index];
    return entry.direction === 'up' ? entry.bytes : 0;
  }

  get downBytes(): number {
    const entry = this.entries[this.index];
    return entry.direction === 'down' ? entry.bytes : 0;
  }

  first(): number {
    return this.entries.length > 0 ? this.entries[0].atMs : never;
  }

  next(): number {
    const before = this.entries[this.index++];
    return this.index < this.entries.length ? this.entries[this.index].atMs - before.atMs : never;
  }
}
