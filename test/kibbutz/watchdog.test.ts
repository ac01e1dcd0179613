import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import {
  firstHoldMs,
  goodShare,
  longestHoldMs,
  type PathSample,
  poorShare,
  recoverMs,
  Watchdog,
} from '../../agent/kibbutz/watchdog.js';

const wanted = 200_000;
const stepMs = 100;

/** A path that is sampled ten times a second, and the watchdog on it. */
class Path {
  readonly watchdog = new Watchdog();
  now = 0;
  switches: number[] = [];
  sample: { -readonly [K in keyof PathSample]: PathSample[K] } = {
    timeouts: 0,
    ssthreshBytes: Infinity,
    roundTripMs: 200,
    deliveredBytes: 0,
    wantedBytesPerSecond: wanted,
    outstanding: true,
  };

  /** Delivers at a share of what is wanted for a span; true if the path is poor then. */
  deliver(share: number, ms: number): boolean {
    for (const until = this.now + ms; this.now < until; ) {
      this.now += stepMs;
      this.sample.deliveredBytes += (share * wanted * stepMs) / 1000;
      this.take();
    }
    return this.watchdog.poor;
  }

  take(): boolean {
    const before = this.watchdog.poor;
    const poor = this.watchdog.sample(this.now, this.sample);
    if (poor !== before) this.switches.push(this.now);
    return poor;
  }

  /** Until the verdict changes; the time it took. */
  until(poor: boolean, share: number): number {
    const from = this.now;
    while (this.watchdog.poor !== poor) {
      this.deliver(share, stepMs);
      assert.ok(this.now < from + 2 * longestHoldMs, `never ${poor ? 'poor' : 'good'}`);
    }
    return this.now - from;
  }
}

test('a path that delivers what is wanted is never poor, however it bursts within a round trip', () => {
  const path = new Path();
  path.deliver(1, 60_000);
  for (let i = 0; i < 300; i++) {
    path.deliver(0, 100);
    path.deliver(2, 100);
  }
  assert.equal(path.watchdog.counters.snapshot(), {});
});

test('one retransmission timeout without progress trips, at once', () => {
  const path = new Path();
  path.deliver(1, 500);
  path.sample.timeouts = 1;
  assert.ok(path.deliver(0, stepMs));
  assert.equal(path.watchdog.counters.snapshot(), { 'trips.timeout': 1 });
});

test('a timeout while the path delivers what is wanted was spurious and trips nothing', () => {
  const path = new Path();
  path.deliver(1, 500);
  path.sample.timeouts = 1;
  assert.not(path.deliver(1, 10_000));
});

test('the second loss in a row that leaves too small a window trips, one does not', () => {
  const collapsed = 10_000; // 1.5 × 10,000 B / 0.2 s = 75,000 B/s
  const path = new Path();
  path.deliver(1, 3_000);
  path.sample.ssthreshBytes = collapsed;
  assert.not(path.deliver(1, 3_000), 'the first');
  path.sample.ssthreshBytes = 40_000;
  assert.not(path.deliver(1, 3_000), 'a window that suffices');
  path.sample.ssthreshBytes = collapsed;
  assert.not(path.deliver(1, 3_000), 'the first again');
  path.sample.ssthreshBytes = collapsed + 1;
  assert.ok(path.deliver(1, stepMs));
  assert.equal(path.watchdog.counters.snapshot(), { 'trips.ssthresh': 1 });
});

test('a path that delivers less than wanted trips once slow start had its time; one that falls silent does before TCP’s timer', () => {
  const weak = new Path();
  assert.not(weak.deliver(poorShare / 2, 1_900));
  assert.ok(weak.deliver(poorShare / 2, 300));
  assert.equal(weak.watchdog.counters.snapshot(), { 'trips.rate': 1 });
  const silent = new Path();
  silent.deliver(1, 10_000);
  assert.ok(silent.until(true, 0) <= 500);
  const slow = new Path();
  assert.not(slow.deliver(0, 400), 'slow start');
  slow.deliver(0.4, 400);
  assert.not(slow.deliver(1, 60_000));
});

test('an application that asks for little is content with little: a packet a second over a slow path', () => {
  const path = new Path();
  path.sample.wantedBytesPerSecond = 1_000;
  for (let i = 0; i < 600; i++) {
    path.sample.outstanding = i % 10 < 2;
    if (i % 10 === 2) path.sample.deliveredBytes += 1_000;
    path.now += stepMs;
    path.take();
  }
  assert.equal(path.watchdog.counters.snapshot(), {});
  path.sample.outstanding = true;
  path.sample.timeouts++;
  path.now += stepMs;
  assert.ok(path.take(), 'and a timeout still trips');
});

test('where nobody says what is wanted, what the path delivered of late is the measure, and it fades', () => {
  const path = new Path();
  path.sample.wantedBytesPerSecond = 0;
  path.deliver(0.2, 30_000);
  assert.not(path.watchdog.poor, 'slow from the start is all anybody knows');
  path.deliver(1, 30_000);
  assert.ok(path.until(true, 0.5) < 2_000);
  assert.ok(path.until(false, 0.5) < 180_000, 'a few minutes later that is what it delivers');
});

test('a path recovers after the hold and a good while, and a bad sample begins the while anew', () => {
  const path = new Path();
  path.deliver(1, 3_000);
  path.until(true, 0);
  assert.is(path.until(false, 1), firstHoldMs);
  path.deliver(1, firstHoldMs + stepMs);
  path.until(true, 0);
  path.deliver(1, firstHoldMs - 1_000);
  path.deliver(0, 1_000);
  const recoveryMs = path.until(false, 1);
  assert.ok(recoveryMs >= recoverMs && recoveryMs <= recoverMs + 4_000, `${recoveryMs}`);
  assert.is(path.watchdog.counters.get('recoveries'), 2);
});

test('between poor and good nothing changes, from either side', () => {
  const between = (poorShare + goodShare) / 2;
  const path = new Path();
  assert.not(path.deliver(between, 60_000));
  path.until(true, 0);
  assert.ok(path.deliver(between, 60_000));
});

test('a path that nobody uses any more is tried again after the hold', () => {
  const path = new Path();
  path.deliver(1, 3_000);
  path.until(true, 0);
  path.sample.outstanding = false;
  assert.is(path.until(false, 0), firstHoldMs);
});

test('the hold doubles with each trip soon after a recovery, up to its bound, and a good time makes it short again', () => {
  const path = new Path();
  path.deliver(1, 3_000);
  const holds: number[] = [];
  for (let i = 0; i < 7; i++) {
    path.until(true, 0);
    holds.push(path.until(false, 1));
  }
  assert.equal(
    holds,
    [1, 2, 4, 8, 16, 30, 30].map(times => Math.min(times * firstHoldMs, longestHoldMs)),
  );
  path.deliver(1, longestHoldMs + 1_000);
  path.until(true, 0);
  assert.is(path.until(false, 1), firstHoldMs);
});

test('it does not flap: noise about the threshold switches at most 2 t / hold + 2 times', () => {
  let most = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed, 'noise');
    const path = new Path();
    const spread = random.unit();
    const middle = poorShare + (goodShare - poorShare) * random.unit();
    const elapsedMs = 600_000;
    while (path.now < elapsedMs) {
      const share = Math.max(0, middle + spread * (2 * random.unit() - 1));
      if (random.chance(0.01)) path.sample.timeouts++;
      if (random.chance(0.05)) path.sample.ssthreshBytes = 60_000 * random.unit();
      if (random.chance(0.02)) path.sample.outstanding = !path.sample.outstanding;
      path.deliver(share, stepMs * (1 + random.below(10)));
    }
    const { length } = path.switches;
    most = Math.max(most, length);
    assert.ok(length <= (2 * elapsedMs) / firstHoldMs + 2, `seed ${seed}: ${length} switches`);
    for (let i = 1; i < length; i += 2)
      assert.ok(path.switches[i] - path.switches[i - 1] >= firstHoldMs, `seed ${seed}: left early`);
  }
  // With the doubling, far fewer: within 10 minutes five holds fill the time.
  assert.ok(most >= 4 && most <= 30, `${most}`);
});

test('a platform whose totals shrink or whose clock stands still is not judged by it', () => {
  const path = new Path();
  path.deliver(1, 5_000);
  path.sample.deliveredBytes = 0;
  path.now += stepMs;
  assert.not(path.take());
  assert.not(path.take());
  assert.not(path.deliver(1, 5_000));
});

test.run();
