/**
 * The bandwidth watchdog (§2.1.3.2.2.1 "Bandwidth Watchdog"): says when a preferred path performs so badly that the own
 * link is to be used too, and when the path has recovered. One per neighbour whose path is in use.
 *
 * The paper examines ssthresh and the timeouts; here also what was delivered, for an end that only receives knows no
 * more. Whoever sends (the provider's proxy for a download, the device for an upload) hands in samples, ten a second
 * or so while data are under way, at least one a second: a verdict is only given on a sample.
 *
 * Trips, each cause counted:
 * `timeout`   a retransmission timeout, and what was delivered meanwhile is less than wanted: one is enough (paper);
 * `ssthresh`  twice in a row a loss left TCP with a window that cannot carry what is wanted;
 * `rate`      the path delivers less than wanted, on average over a second, though data wait for it.
 * What is wanted is told by the platform: the lesser of what the application asks for and what the own link would
 * deliver; where it cannot tell, what the path itself delivered within about the last minute.
 *
 * It does not flap: from a trip to the recovery pass at least `firstHoldMs`, twice as long for each trip soon after a
 * recovery, up to `longestHoldMs`. So in any time t there are at most 2 t / firstHoldMs + 2 switches.
 */

import { Counters } from '../core/counters.js';
import { never } from '../core/time.js';

export interface PathSample {
  /** Retransmission timeouts (RFC 6298) so far. 0 where the platform cannot tell. */
  readonly timeouts: number;
  /** TCP's slow-start threshold, bytes; Infinity until the first loss and where the platform cannot tell. */
  readonly ssthreshBytes: number;
  /** Smoothed round-trip time, ms, > 0. */
  readonly roundTripMs: number;
  /** Bytes delivered so far. */
  readonly deliveredBytes: number;
  /** Bytes/s; 0: not known. */
  readonly wantedBytesPerSecond: number;
  /** Data are under way or wait for the path. */
  readonly outstanding: boolean;
}

const counterNames = ['trips.timeout', 'trips.ssthresh', 'trips.rate', 'recoveries'] as const;
export type WatchdogCounter = (typeof counterNames)[number];

/**
 * Below this share of what is wanted a path is poor. At it the paper's 2 MB download (13 s on an own link that must be
 * promoted first, 10.3 s on one that is up) lasts 10.3 s / 0.7 = 14.8 s: 15 % more than by the own link, which is what
 * the download experiment allows.
 */
export const poorShare = 0.7;
/** From this share on it is good: it costs less than those 15 %. The gap keeps TCP's sawtooth from switching. */
export const goodShare = 0.9;
/**
 * What is delivered is averaged over about this: five round trips of the paper's links, so that bursts of one round
 * trip do not count; and a path that falls silent is poor after 0.4 of it, before TCP's timer has run out (0.5 s and
 * more there).
 */
const averagingMs = 1_000;
/**
 * The average is not judged before data were outstanding for two averaging times, and for ten round trips: slow start
 * needs five from 10 segments to 2 Mbit/s over 0.4 s, and as long again to make up for them in the average.
 */
const settleMs = 2 * averagingMs;
const settleRoundTrips = 10;
/** An unlucky loss in slow start leaves a small window on a good path too; a second one so soon is not bad luck. */
const collapsesToTrip = 2;
/** Where nobody says what is wanted: cells change their load within minutes, so what was delivered earlier fades. */
const memoryMs = 60_000;
/** No bad sample for so long before a path has recovered: several averaging times. */
export const recoverMs = 5_000;
/** The tail of the paper's radios, 5–10 s: whoever leaves the own link sooner pays for its tail more than for its use. */
export const firstHoldMs = 10_000;
/** "Several minutes" is how long the paper's neighbours stay together: it pays to try again once in that time. */
export const longestHoldMs = 300_000;

export class Watchdog {
  readonly counters = new Counters<WatchdogCounter>(counterNames);
  /** The verdict: the own link is to be used too. */
  poor = false;
  private sampledAt = -1;
  private timeouts = 0;
  private ssthreshBytes = Infinity;
  private deliveredBytes = 0;
  /** Data are outstanding, and the average may be judged from then; `never`: none are. */
  private settledAt = never;
  /** Average, bytes/s. */
  private rate = 0;
  /** The highest average of late, bytes/s. */
  private bestRate = 0;
  private holdMs = firstHoldMs;
  private trippedAt = 0;
  private recoveredAt = -1;
  /** No bad sample since then. */
  private goodSince = 0;
  /** Losses in a row that left too small a window. */
  private collapses = 0;

  /**
   * Takes a sample and returns the verdict. Times must not go backwards nor totals shrink; where they do, nothing is
   * concluded about the rate.
   */
  sample(now: number, path: PathSample): boolean {
    const spanMs = this.sampledAt < 0 ? 0 : now - this.sampledAt;
    const delivered = path.deliveredBytes - this.deliveredBytes;
    const wanted = path.wantedBytesPerSecond > 0 ? path.wantedBytesPerSecond : this.bestRate;
    this.average(now, spanMs, delivered, wanted, path);
    const cause = this.badness(now, spanMs, delivered, wanted, path);
    this.sampledAt = now;
    this.timeouts = path.timeouts;
    this.ssthreshBytes = path.ssthreshBytes;
    this.deliveredBytes = path.deliveredBytes;
    if (!this.poor) {
      if (cause !== undefined) this.trip(now, cause);
      return this.poor;
    }
    const weak = now >= this.settledAt && this.rate < goodShare * wanted;
    if (cause !== undefined || weak) this.goodSince = now;
    else if (now >= this.trippedAt + this.holdMs && now >= this.goodSince + recoverMs) this.recover(now);
    return this.poor;
  }

  private average(
    now: number,
    spanMs: number,
    delivered: number,
    wanted: number,
    { outstanding, roundTripMs }: PathSample,
  ): void {
    if (!outstanding) {
      this.settledAt = never;
      return;
    }
    if (this.settledAt === never) {
      // The benefit of the doubt: a path is not poor for the time before there was anything to carry.
      this.settledAt = now + Math.max(settleMs, settleRoundTrips * roundTripMs);
      this.rate = wanted;
      return;
    }
    if (!(spanMs > 0 && delivered >= 0)) return;
    this.rate += ((delivered * 1000) / spanMs - this.rate) * (spanMs / (spanMs + averagingMs));
    if (now < this.settledAt) return;
    if (this.rate > this.bestRate) this.bestRate = this.rate;
    else this.bestRate += (this.rate - this.bestRate) * (spanMs / (spanMs + memoryMs));
  }

  /** What is bad about a sample, if anything is. */
  private badness(
    now: number,
    spanMs: number,
    delivered: number,
    wanted: number,
    path: PathSample,
  ): WatchdogCounter | undefined {
    if (!path.outstanding) return undefined;
    const needed = poorShare * wanted;
    if (path.timeouts > this.timeouts && delivered * 1000 <= needed * spanMs) return 'trips.timeout';
    // Between losses the window grows from ssthresh to about twice that (RFC 5681 §3.1): it carries 1.5 × ssthresh a
    // round trip. The value stays after the path has recovered, so only a new one says anything.
    const sustained = (1.5 * path.ssthreshBytes * 1000) / path.roundTripMs;
    if (path.ssthreshBytes !== this.ssthreshBytes) {
      this.collapses = sustained < needed ? this.collapses + 1 : 0;
      if (this.collapses >= collapsesToTrip) return 'trips.ssthresh';
    }
    if (now >= this.settledAt && this.rate < needed) return 'trips.rate';
    return undefined;
  }

  private trip(now: number, cause: WatchdogCounter): void {
    this.counters.add(cause);
    const again = this.recoveredAt >= 0 && now < this.recoveredAt + this.holdMs;
    this.holdMs = again ? Math.min(2 * this.holdMs, longestHoldMs) : firstHoldMs;
    this.poor = true;
    this.trippedAt = now;
    this.goodSince = now;
  }

  private recover(now: number): void {
    this.counters.add('recoveries');
    this.poor = false;
    this.collapses = 0;
    this.recoveredAt = now;
  }
}
