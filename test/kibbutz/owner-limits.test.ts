import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { mostMembers, OwnerLimits, type OwnerOptions } from '../../agent/kibbutz/owner-limits.js';
import { decodeCbor, encodeCbor } from '../../agent/message/cbor.js';

const second = 1000;
const minute = 60 * second;
const mebibyte = 1_048_576;
const may10 = { year: 2026, month: 5, day: 10 };

/** Limits whose account is saved, as the platform does whenever it is due. */
function limitsWith(options: OwnerOptions): OwnerLimits {
  const limits = new OwnerLimits({ minimumPacketsPerMinute: 0, ...options });
  limits.snapshot();
  return limits;
}

test('a wrong option throws, naming the field, what was expected and what came', () => {
  const members = Array.from({ length: mostMembers + 1 }, (_, i) => i + 1);
  const wrong: [OwnerOptions, string][] = [
    [{ quotaBytes: 0 }, 'quotaBytes: expected an integer 1..9007199254740991, got 0'],
    [{ quotaBytes: 1.5 }, 'quotaBytes: expected an integer 1..9007199254740991, got 1.5'],
    [{ resetDay: 0 }, 'resetDay: expected an integer 1..31, got 0'],
    [{ resetDay: 32 }, 'resetDay: expected an integer 1..31, got 32'],
    [{ quotaBytes: 1, neighbourShare: 1.1 }, 'neighbourShare: expected 0..1, got 1.1'],
    [{ quotaBytes: 1, neighbourShare: Number.NaN }, 'neighbourShare: expected 0..1, got NaN'],
    [{ neighbourShare: 0.5 }, 'neighbourShare: expected quotaBytes beside it, got 0.5 of no quota'],
    [{ batteryPercent: 101 }, 'batteryPercent: expected 0..100, got 101'],
    [{ chargingOverrides: 1 as never }, 'chargingOverrides: expected true or false, got 1'],
    [{ metered: 'no' as never }, 'metered: expected true or false, got no'],
    [{ allowed: members }, 'allowed: expected at most 64 members, got 65'],
    [{ blocked: [7, 0] }, 'blocked[1]: expected an integer 1..4294967295, got 0'],
    [{ blocked: [4294967296] }, 'blocked[0]: expected an integer 1..4294967295, got 4294967296'],
    [{ minimumPacketsPerMinute: 6.1 }, 'minimumPacketsPerMinute: expected 0..6, got 6.1'],
  ];
  for (const [options, message] of wrong)
    assert.throws(
      () => new OwnerLimits(options),
      (error: Error) => error.message === message,
      message,
    );
});

test('what the platform tells is checked as well', () => {
  const limits = new OwnerLimits({});
  assert.throws(
    () => limits.setDate({ year: 2026, month: 2, day: 29 }),
    'day: expected an integer 1..28, got 29',
  );
  assert.throws(() => limits.setBattery(Number.NaN, false), 'percent: expected 0..100, got NaN');
  assert.throws(() => limits.tryForward(1, -1), 'bytes: expected an integer 0..65535, got -1');
  assert.throws(
    () => limits.recordOwn(0, Number.NaN, true),
    'bytes: expected an integer 0..9007199254740991, got NaN',
  );
});

test('without any option everything is allowed, once there is traffic enough', () => {
  const limits = new OwnerLimits({ minimumPacketsPerMinute: 0 });
  assert.is(limits.mayAdvertise(0, 7), 'ok');
  assert.is(limits.tryForward(7, 1500), 'ok');
  assert.is(limits.mayUse(0, 7, 'min-rtt', false), 'ok');
  assert.not(limits.saveDue);
});

test('a neighbour that floods gets the share to the last byte and not one more', () => {
  const limits = limitsWith({ quotaBytes: 10_000, neighbourShare: 0.3 });
  let forwarded = 0;
  for (let i = 0; i < 1000; i++) if (limits.tryForward(7, 7) === 'ok') forwarded += 7;
  assert.is(forwarded, 2996);
  assert.is(limits.tryForward(8, 5), 'neighbours-share');
  assert.is(limits.tryForward(8, 4), 'ok');
  assert.is(limits.tryForward(8, 1), 'neighbours-share');
  assert.is(limits.forwardedBytes, 3000);
  assert.is(limits.mayAdvertise(0, 7), 'neighbours-share');
  assert.is(limits.forwarding.get('neighbours-share'), 1000 - 428 + 2);
  // The one save there was covers the whole share.
  assert.not(limits.saveDue);
});

test('own traffic eats the quota first: what is left of it bounds the neighbours below their share', () => {
  const limits = limitsWith({ quotaBytes: 10_000, neighbourShare: 0.5 });
  limits.recordOwn(0, 9_000, true);
  limits.snapshot();
  assert.is(limits.tryForward(7, 1001), 'quota');
  assert.is(limits.tryForward(7, 1000), 'ok');
  assert.is(limits.mayAdvertise(0, 7), 'quota');
});

test('what comes back down for a neighbour is charged even beyond the share, and then nothing goes out', () => {
  const limits = limitsWith({ quotaBytes: 10_000, neighbourShare: 0.5 });
  assert.is(limits.tryForward(7, 1000), 'ok');
  limits.recordReturned(4500);
  assert.is(limits.forwardedBytes, 5500);
  assert.is(limits.tryForward(7, 1), 'neighbours-share');
  assert.ok(limits.saveDue);
});

test('a packet that did not leave is given back', () => {
  const limits = limitsWith({ quotaBytes: 10_000, neighbourShare: 0.1 });
  assert.is(limits.tryForward(7, 1000), 'ok');
  limits.refund(400);
  assert.is(limits.tryForward(7, 401), 'neighbours-share');
  assert.is(limits.tryForward(7, 400), 'ok');
});

test('own traffic over a neighbour’s link costs no quota', () => {
  const limits = limitsWith({ quotaBytes: 10_000 });
  limits.recordOwn(0, 4000, false);
  assert.is(limits.ownBytes, 0);
});

test('a period begins on the reset day, and on the last day of a month without it', () => {
  const days: [resetDay: number, before: [number, number, number], first: [number, number, number]][] = [
    [1, [2026, 5, 31], [2026, 6, 1]],
    [1, [2026, 12, 31], [2027, 1, 1]],
    [15, [2026, 5, 14], [2026, 5, 15]],
    [31, [2026, 4, 29], [2026, 4, 30]],
    [31, [2026, 5, 30], [2026, 5, 31]],
    [30, [2026, 2, 27], [2026, 2, 28]],
    [30, [2028, 2, 28], [2028, 2, 29]],
    [29, [2100, 2, 27], [2100, 2, 28]],
    [31, [2400, 2, 28], [2400, 2, 29]],
  ];
  for (const [resetDay, before, first] of days) {
    const limits = limitsWith({ quotaBytes: 10_000, resetDay });
    const tell = ([year, month, day]: [number, number, number]) => limits.setDate({ year, month, day });
    tell(before);
    limits.recordOwn(0, 5000, true);
    tell(before);
    assert.is(limits.ownBytes, 5000, `${resetDay}: ${before}`);
    tell(first);
    assert.is(limits.ownBytes, 0, `${resetDay}: ${first}`);
    limits.recordOwn(0, 100, true);
    tell(first);
    assert.is(limits.ownBytes, 100, `${resetDay}: ${first} again`);
  }
});

test('every day of thirteen years belongs to one period, and each period begins once', () => {
  for (const resetDay of [1, 28, 29, 30, 31]) {
    const limits = limitsWith({ quotaBytes: 10_000, resetDay });
    // Test code may ask the engine's calendar, as a second opinion on month lengths.
    for (let at = Date.UTC(2026, 0, 1); at < Date.UTC(2039, 0, 1); at += 86_400_000) {
      const date = new Date(at);
      limits.setDate({ year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() });
    }
    // The first told date falls in the period that began in December 2025, unless the period begins on it.
    assert.is(limits.accounting.get('periods'), resetDay === 1 ? 13 * 12 - 1 : 13 * 12, `${resetDay}`);
    assert.is(limits.accounting.get('dates.refused'), 0);
  }
});

test('without a date nothing resets, and what was used before the date was known counts to its period', () => {
  const limits = limitsWith({ quotaBytes: 10_000 });
  limits.recordOwn(0, 6000, true);
  limits.recordOwn(400 * 86_400 * second, 3000, true);
  assert.is(limits.ownBytes, 9000);
  limits.setDate(may10);
  assert.is(limits.ownBytes, 9000);
});

test('a clock that says 1970 until it is set does not begin the period anew', () => {
  const options = { quotaBytes: 10_000, neighbourShare: 0.5 };
  const first = limitsWith(options);
  first.setDate(may10);
  assert.is(first.tryForward(7, 4000), 'ok');
  const again = new OwnerLimits(options, first.lastSnapshot());
  again.setDate({ year: 1970, month: 1, day: 1 });
  again.setDate(may10);
  assert.is(again.forwardedBytes, 4000);
  assert.is(again.accounting.get('dates.refused'), 1);
  again.setDate({ year: 2026, month: 6, day: 1 });
  assert.is(again.forwardedBytes, 0);
});

test('also on the very first start a clock not yet set is not believed', () => {
  const limits = limitsWith({ quotaBytes: 10_000 });
  limits.setDate({ year: 1970, month: 1, day: 1 });
  limits.recordOwn(0, 4000, true);
  limits.setDate(may10);
  assert.is(limits.ownBytes, 4000);
});

test('the snapshot survives CBOR, and an orderly end loses nothing', () => {
  const options = { quotaBytes: 5_000_000_000, neighbourShare: 0.25 };
  const limits = limitsWith(options);
  limits.setDate(may10);
  limits.recordOwn(0, 4_999_999_000, true);
  limits.snapshot();
  assert.is(limits.tryForward(7, 900), 'ok');
  const decoded = decodeCbor(encodeCbor(limits.lastSnapshot()), { depth: 1 });
  assert.ok(decoded.ok);
  const again = new OwnerLimits(options, decoded.value);
  assert.is(again.ownBytes, 4_999_999_000);
  assert.is(again.forwardedBytes, 900);
  assert.is(again.reserveBytes, mebibyte);
  again.snapshot();
  assert.is(again.tryForward(7, 101), 'quota');
});

test('after the last snapshot nothing more is forwarded, for a restart would not know of it', () => {
  const limits = limitsWith({ quotaBytes: 10_000 });
  limits.lastSnapshot();
  assert.is(limits.tryForward(7, 1), 'unsaved');
  assert.ok(limits.saveDue);
});

test('a restart that moves no bytes reserves none: a crash loop does not eat the quota', () => {
  const options = { quotaBytes: 10_000_000 };
  let saved = limitsWith(options).lastSnapshot();
  for (let i = 0; i < 1000; i++) {
    const limits = new OwnerLimits(options, saved);
    limits.setDate(may10);
    limits.mayAdvertise(i, 7);
    limits.mayUse(i, 7, 'save-energy', false);
    if (limits.saveDue) saved = limits.snapshot();
  }
  assert.is(saved.ownBytes, 0);
});

test('with an account that cannot be read the share counts as spent, until a date begins the next period', () => {
  const broken = [
    null,
    7,
    'x',
    [],
    {},
    { period: 24_316, ownBytes: -1, forwardedBytes: 0 },
    { period: 24_316, ownBytes: Number.NaN, forwardedBytes: 0 },
    { period: 24_316.5, ownBytes: 0, forwardedBytes: 0 },
    { period: 24_316, ownBytes: 0, forwardedBytes: 2e16 },
    { period: 24_316, ownBytes: '0', forwardedBytes: 0 },
  ];
  for (const saved of broken) {
    const limits = new OwnerLimits(
      { quotaBytes: 10_000, neighbourShare: 0.5, minimumPacketsPerMinute: 0 },
      saved,
    );
    limits.setDate(may10);
    assert.is(limits.tryForward(7, 1), 'neighbours-share', JSON.stringify(saved));
    assert.is(limits.accounting.get('snapshots.unreadable'), 1);
    limits.setDate({ year: 2026, month: 6, day: 1 });
    assert.ok(limits.saveDue);
    limits.snapshot();
    assert.is(limits.tryForward(7, 1), 'ok');
  }
});

test('nothing is spent of a new period before it is saved', () => {
  const limits = limitsWith({ quotaBytes: 10_000 });
  limits.setDate(may10);
  assert.is(limits.tryForward(7, 100), 'ok');
  limits.setDate({ year: 2026, month: 6, day: 1 });
  assert.is(limits.tryForward(7, 100), 'unsaved');
  limits.snapshot();
  assert.is(limits.tryForward(7, 100), 'ok');
});

test('over random traffic, late saves, crashes and months no share is overdrawn and the account errs only as stated', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed, 'owner crash');
    const quotaBytes = 100_000 + random.below(40_000_000);
    const neighbourShare = random.unit();
    const options = { quotaBytes, neighbourShare, minimumPacketsPerMinute: 0 };
    const share = Math.floor(quotaBytes * neighbourShare);
    let limits = new OwnerLimits(options);
    let stored: unknown;
    let month = 1;
    // What truly went in this month, what was recorded while a save was due, and what a crash forgot of that.
    let [own, forwarded, unsaved, forgotten, crashes] = [0, 0, 0, 0, 0];
    limits.setDate({ year: 2026, month, day: 1 });
    for (let step = 0; step < 3000; step++) {
      const what = random.below(1000);
      if (what < 300) {
        const bytes = random.below(20_000);
        limits.recordOwn(step, bytes, true);
        own += bytes;
        if (limits.saveDue) unsaved += bytes;
      } else if (what < 994) {
        const bytes = random.below(65_536);
        if (limits.tryForward(1 + random.below(3), bytes) === 'ok') forwarded += bytes;
      } else if (what < 998) {
        crashes++;
        forgotten += unsaved;
        unsaved = 0;
        limits = new OwnerLimits(options, stored);
        limits.setDate({ year: 2026, month, day: 1 });
      } else if (month < 12) {
        month++;
        limits.setDate({ year: 2026, month, day: 1 });
        [own, forwarded, unsaved, forgotten, crashes] = [0, 0, 0, 0, 0];
      }
      const place = `seed ${seed} step ${step}`;
      const most = crashes * limits.reserveBytes;
      assert.ok(forwarded <= share, `${place}: ${forwarded} of ${share} forwarded`);
      assert.ok(limits.forwardedBytes >= forwarded, `${place}: forwarded`);
      assert.ok(limits.forwardedBytes - forwarded <= most, `${place}: forwarded, over`);
      assert.ok(limits.ownBytes >= own - forgotten, `${place}: own`);
      assert.ok(limits.ownBytes - own <= most, `${place}: own, over`);
      if (limits.saveDue && random.chance(0.7)) {
        stored = limits.snapshot();
        unsaved = 0;
      }
    }
  }
});

test('a save is asked for while it still covers half a reserve, and not before', () => {
  const limits = limitsWith({ quotaBytes: 1e12, neighbourShare: 0.5 });
  for (const use of [
    () => limits.recordOwn(0, 1000, true),
    () => assert.is(limits.tryForward(7, 1000), 'ok'),
    () => limits.recordReturned(1000),
  ]) {
    const saved = limits.snapshot();
    let uses = 0;
    for (; !limits.saveDue; uses++) use();
    assert.is(uses, Math.floor(mebibyte / 2 / 1000) + 1);
    const left = Math.min(saved.ownBytes - limits.ownBytes, saved.forwardedBytes - limits.forwardedBytes);
    assert.ok(left > mebibyte / 2 - 1000, `${left}`);
  }
});

test('a platform that never saves forwards nothing under a quota, and is told so', () => {
  const limits = new OwnerLimits({ quotaBytes: 1_000_000, minimumPacketsPerMinute: 0 });
  assert.is(limits.mayAdvertise(0, 7), 'unsaved');
  assert.is(limits.tryForward(7, 100), 'unsaved');
  assert.ok(limits.saveDue);
});

test('below the battery threshold nothing is shared, and again only five percent above it', () => {
  const limits = new OwnerLimits({ batteryPercent: 30, minimumPacketsPerMinute: 0 });
  const shares = (percent: number, charging = false) => {
    limits.setBattery(percent, charging);
    return limits.tryForward(7, 1);
  };
  assert.is(limits.tryForward(7, 1), 'battery', 'unknown is not enough');
  assert.is(shares(34), 'battery');
  assert.is(shares(35), 'ok');
  assert.is(shares(30), 'ok');
  assert.is(shares(29), 'battery');
  assert.is(shares(34), 'battery');
  assert.is(shares(29, true), 'battery', 'charging does not override unless the owner says so');
  assert.is(limits.mayAdvertise(0, 7), 'battery');
  assert.is(limits.mayUse(0, 7, 'save-energy', false), 'ok', 'using a neighbour’s link saves battery');
});

test('charging overrides the battery threshold if the owner says so, and only while it lasts', () => {
  const limits = new OwnerLimits({ batteryPercent: 100, chargingOverrides: true });
  limits.setBattery(10, true);
  assert.is(limits.tryForward(7, 1), 'ok');
  limits.setBattery(11, false);
  assert.is(limits.tryForward(7, 1), 'battery');
  limits.setBattery(100, false);
  assert.is(limits.tryForward(7, 1), 'ok');
});

test('blocked wins over allowed, and whoever is on neither list is not allowed if there is one of the allowed', () => {
  const limits = new OwnerLimits({
    allowed: [9, 4294967295, 7, 8],
    blocked: [8, 3_000_000_000],
    minimumPacketsPerMinute: 0,
  });
  const cases: [number, string][] = [
    [7, 'ok'],
    [9, 'ok'],
    [4294967295, 'ok'],
    [8, 'blocked'],
    [3_000_000_000, 'blocked'],
    [1, 'not-allowed'],
    [10, 'not-allowed'],
  ];
  for (const [member, reason] of cases) {
    assert.is(limits.tryForward(member, 1), reason, `${member}`);
    assert.is(limits.mayAdvertise(0, member), reason, `${member}`);
    assert.is(limits.mayUse(0, member, 'save-energy', false), reason, `${member}`);
  }
  assert.is(new OwnerLimits({ allowed: [] }).tryForward(7, 1), 'not-allowed');
});

test('bisection finds each member of random lists and no other', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed, 'members');
    const blocked = Array.from({ length: random.below(mostMembers + 1) }, () => 1 + random.below(200));
    const limits = new OwnerLimits({ blocked });
    for (let member = 1; member <= 200; member++)
      assert.is(
        limits.tryForward(member, 0) === 'blocked',
        blocked.includes(member),
        `seed ${seed}: ${member}`,
      );
  }
});

test('a neighbour’s metered link is not used merely for a lower RTT, and our own is told to be metered', () => {
  const limits = new OwnerLimits({ minimumPacketsPerMinute: 0 });
  assert.is(limits.mayUse(0, 7, 'min-rtt', true), 'metered');
  assert.is(limits.mayUse(0, 7, 'save-energy', true), 'ok');
  assert.is(limits.mayUse(0, 7, 'max-bandwidth', true), 'ok');
  assert.is(limits.mayUse(0, 7, 'min-rtt', false), 'ok');
  assert.is(limits.metered, false);
  assert.is(new OwnerLimits({ metered: true }).metered, true);
});

/** When the kibbutz is on, over `forMs` of own traffic with the given gaps: [first instant, share of the time after it]. */
function onWith(limits: OwnerLimits, gapMs: () => number, forMs: number): { firstAt: number; share: number } {
  let [firstAt, onMs, packetAt] = [Number.NaN, 0, gapMs()];
  for (let now = 0; now < forMs; now += second) {
    for (; packetAt <= now; packetAt += gapMs()) limits.recordOwn(packetAt, 1000, true);
    if (limits.mayUse(now, 7, 'save-energy', false) !== 'ok') continue;
    if (Number.isNaN(firstAt)) firstAt = now;
    onMs += second;
  }
  return { firstAt, share: onMs / forMs };
}

test('by default streaming and web switch the kibbutz on within two minutes, sparse background traffic never', () => {
  const streaming = onWith(new OwnerLimits({}), () => second, 10 * minute);
  assert.ok(streaming.firstAt <= 75 * second, `streaming: ${streaming.firstAt} ms`);
  const web = onWith(new OwnerLimits({}), () => 13 * second, 10 * minute);
  assert.ok(web.firstAt <= 110 * second && web.share > 0.8, `web: ${web.firstAt} ms, ${web.share}`);
  const background = onWith(new OwnerLimits({}), () => 30 * second, 60 * minute);
  assert.is(background.share, 0);
});

test('a burst counts once: twenty packets every half minute are still background', () => {
  const limits = new OwnerLimits({});
  let i = 0;
  const burst = () => (i++ % 20 === 0 ? 30 * second - 19 * 50 : 50);
  assert.is(onWith(limits, burst, 30 * minute).share, 0);
});

test('when own traffic ends the kibbutz goes off within the window, whatever neighbours send', () => {
  const limits = new OwnerLimits({});
  onWith(limits, () => second, 5 * minute);
  for (let now = 5 * minute; now < 9 * minute; now += 100) limits.tryForward(7, 1000);
  assert.is(limits.mayUse(9 * minute, 7, 'save-energy', false), 'quiet');
  assert.is(limits.mayAdvertise(9 * minute, 7), 'quiet');
});

test('what was advertised before it went quiet is still forwarded', () => {
  const limits = new OwnerLimits({});
  assert.is(limits.mayAdvertise(0, 7), 'quiet');
  assert.is(limits.tryForward(7, 1000), 'ok');
});

test('a rate near the threshold does not make it flap', () => {
  const seed = 3;
  const random = new Random(seed, 'near');
  const limits = new OwnerLimits({ minimumPacketsPerMinute: 3 });
  let [changes, before, packetAt] = [0, 'quiet', 0];
  for (let now = 0; now < 600 * minute; now += second) {
    for (; packetAt <= now; packetAt += 15_000 + random.below(10_000)) limits.recordOwn(packetAt, 1, true);
    const answer = limits.mayUse(now, 7, 'save-energy', false);
    if (answer !== before) changes++;
    before = answer;
  }
  // 3 a minute on average: exactly the threshold, in 200 windows.
  assert.ok(changes > 0 && changes < 100, `${changes} changes, seed ${seed}`);
});

test('a clock that stands at days, or leaps by years, keeps the window right', () => {
  const limits = new OwnerLimits({});
  const start = 20 * 365 * 86_400 * second;
  for (let now = start; now < start + 2 * minute; now += second) limits.recordOwn(now, 1, true);
  assert.is(limits.mayUse(start + 2 * minute, 7, 'save-energy', false), 'ok');
  // A shift by 32 slots would be none at all.
  assert.is(limits.mayUse(start + 2 * minute + 320 * second, 7, 'save-energy', false), 'quiet');
  assert.is(limits.mayUse(2 * start, 7, 'save-energy', false), 'quiet');
});

test('every answer is counted, one counter a reason', () => {
  const random = new Random(5, 'answers');
  const limits = limitsWith({
    quotaBytes: 500_000,
    neighbourShare: 0.5,
    blocked: [1],
    metered: true,
    batteryPercent: 20,
  });
  const asked = 2000;
  for (let i = 0; i < asked; i++) {
    limits.setBattery(random.below(101), false);
    limits.tryForward(1 + random.below(4), random.below(1500));
    limits.mayAdvertise(i, 1 + random.below(4));
    limits.mayUse(i, 1 + random.below(4), 'min-rtt', random.chance(0.5));
    if (limits.saveDue && random.chance(0.02)) limits.snapshot();
  }
  for (const counters of [limits.forwarding, limits.advertising, limits.using]) {
    const counts = Object.values(counters.values);
    assert.is(
      counts.reduce((sum, count) => sum + count, 0),
      asked,
    );
  }
  for (const reason of ['ok', 'blocked', 'battery', 'neighbours-share', 'unsaved'] as const)
    assert.ok(limits.forwarding.get(reason) > 0, reason);
});

test.run();
