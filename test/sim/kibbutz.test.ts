import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { Policy } from '../../agent/kibbutz/kibbutz.js';
import { aes128Gcm } from '../../edge/linux/aead.js';
import { type AppName, AppTraffic, appNames, TraceTraffic, type Traffic } from '../../host-sim/sim/app.js';
import {
  type Device,
  type DeviceOptions,
  type DeviceResult,
  SimulatedKibbutz,
  type SimulatedKibbutzOptions,
} from '../../host-sim/sim/kibbutz.js';
import { localLinkModels } from '../../host-sim/sim/local-link.js';
import { paperRadio, radioModels } from '../../host-sim/sim/radio.js';

const hourMs = 3_600_000;
const policies: readonly Policy[] = ['paper', 'kith'];
const localNames = Object.keys(localLinkModels) as (keyof typeof localLinkModels)[];

function kibbutz(
  devices: readonly DeviceOptions[],
  options: Partial<SimulatedKibbutzOptions> = {},
): SimulatedKibbutz {
  return new SimulatedKibbutz({
    seed: 1,
    policy: 'paper',
    radio: paperRadio(),
    local: localLinkModels.perfect,
    initialCredit: 5,
    deferMs: 30_000,
    devices,
    ...options,
  });
}

const run = (app: AppName): DeviceOptions => ({ traffic: new AppTraffic(app) });

/** An application that ends, and remembers when it asked for something. */
class Until implements Traffic {
  readonly madeAt: number[] = [];
  readonly mayWait: boolean;
  readonly upBytes: number;
  readonly downBytes: number;
  private readonly app: AppTraffic;
  private readonly endAt: number;
  private at = 0;

  constructor(app: AppName, endAt: number) {
    this.app = new AppTraffic(app);
    this.endAt = endAt;
    this.mayWait = this.app.mayWait;
    this.upBytes = this.app.upBytes;
    this.downBytes = this.app.downBytes;
  }

  first(random: Random): number {
    this.at = this.app.first(random);
    this.madeAt.push(this.at);
    return this.at;
  }

  next(random: Random): number {
    const gapMs = this.app.next(random);
    this.at += gapMs;
    if (this.at >= this.endAt) return never;
    this.madeAt.push(this.at);
    return gapMs;
  }
}

function total(results: readonly DeviceResult[], field: keyof DeviceResult): number {
  return results.reduce((sum, result) => sum + result[field], 0);
}

function waitingOf(device: Device): number {
  return (device as unknown as { waiting: readonly unknown[] }).waiting.length;
}

/** By how much the two accounts of each pair are off their common sum: the least and the most. */
function off(group: SimulatedKibbutz, initialCredit = 5): [number, number] {
  const sums: number[] = [0];
  for (const one of group.devices)
    for (const other of group.devices) {
      if (one.index >= other.index) continue;
      const given = one.kibbutz.neighbours[one.kibbutz.find(other.index + 1)].credit;
      const taken = other.kibbutz.neighbours[other.kibbutz.find(one.index + 1)].credit;
      sums.push(given + taken - 2 * initialCredit);
    }
  return [Math.min(...sums), Math.max(...sums)];
}

/** Sees to it that a device that is away neither speaks nor uses its radio. */
function watchAbsent(group: SimulatedKibbutz, what: string): void {
  const speak = group.signal.bind(group);
  group.signal = (now, from, to, bytes) => {
    assert.ok(from.present, `${what}: a signal of who is away`);
    speak(now, from, to, bytes);
  };
  for (const device of group.devices) {
    const send = device.radio.send.bind(device.radio);
    device.radio.send = (now, upBytes, downBytes) => {
      assert.ok(device.present, `${what}: a packet of who is away`);
      return send(now, upBytes, downBytes);
    };
  }
}

function near(actual: number, expected: number, tolerance: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) <= tolerance,
    `${what}: expected ${expected}±${tolerance}, got ${actual}`,
  );
}

test('every request is answered once, over every local link, when all stay', () => {
  for (const policy of policies)
    for (const name of localNames)
      for (const loss of [0, 0.1]) {
        const apps: readonly AppName[] = ['web', 'background', 'streaming'];
        const group = kibbutz(
          apps.map(app => ({ traffic: new Until(app, hourMs), loss })),
          { policy, local: localLinkModels[name] },
        );
        group.run(1.5 * hourMs);
        const what = `${policy}, ${name}, loss ${loss}`;
        for (const [i, result] of group.results().entries()) {
          assert.ok(result.requests > 100, what);
          assert.is(result.answered, result.requests, `${what}, device ${i}`);
          assert.is(result.unsent, 0, what);
          if (loss === 0 && name !== 'bluetooth') assert.is(result.timeouts, 0, what);
        }
        const results = group.results();
        assert.ok(total(results, 'taken') > 0, what);
        assert.ok(total(results, 'given') >= total(results, 'taken'), what);
        if (loss === 0) assert.is(total(results, 'given'), total(results, 'taken'), what);
        else assert.ok(total(results, 'timeouts') > 0, what);
      }
});

test('the same seed gives the same results, with any AEAD, and another seed others', () => {
  const once = (seed: number, more: Partial<SimulatedKibbutzOptions> = {}) => {
    const group = kibbutz(
      appNames.map(app => ({ ...run(app), loss: 0.05 })),
      { seed, policy: 'kith', local: localLinkModels['wifi-ap'], ...more },
    );
    group.run(hourMs);
    return group.results();
  };
  assert.equal(once(7), once(7));
  assert.equal(once(7, { aead: aes128Gcm }), once(7), 'authentic or not, an honest signal is heard');
  assert.not.equal(once(8), once(7));
});

test('run in pieces or at once, it comes to the same', () => {
  const pieces = kibbutz(appNames.map(run), { policy: 'kith' });
  for (let until = 0; until <= hourMs; until += 7_777) pieces.run(until);
  pieces.run(hourMs);
  const once = kibbutz(appNames.map(run), { policy: 'kith' });
  once.run(hourMs);
  assert.equal(pieces.results(), once.results());
});

test('another device changes nobody else’s traffic', () => {
  const madeBy = (apps: readonly AppName[]) => {
    const traffic = apps.map(app => new Until(app, hourMs));
    kibbutz(traffic.map(one => ({ traffic: one, loss: 0.1 }))).run(hourMs);
    return traffic.map(({ madeAt }) => madeAt);
  };
  const three = madeBy(['web', 'background', 'streaming']);
  const four = madeBy(['web', 'background', 'streaming', 'web']);
  assert.equal(four.slice(0, 3), three);
  assert.not.equal(four[3], three[0]);
});

test('alone: nothing is shared, and each gap beyond the tail costs a promotion', () => {
  for (const policy of policies) {
    const entries = [0, 5_000, 14_999, 30_000].map(atMs => ({
      atMs,
      bytes: 100,
      direction: 'up' as const,
    }));
    const group = kibbutz([{ traffic: new TraceTraffic(entries) }], { policy });
    group.run(100_000);
    const [{ requests, answered, promotions, rttMs, upMs, taken, signals }] = group.results();
    assert.equal(
      { requests, answered, promotions, rttMs, taken, signals },
      { requests: 4, answered: 4, promotions: 2, rttMs: 2 * 2_000 + 2 * 200, taken: 0, signals: 0 },
    );
    assert.is(upMs, 24_999 + 10_000);
  }
});

test('kith: over a perfect link no request ever pays for a hand-over, and only one radio is up but for the overlap', () => {
  for (let devices = 2; devices <= 6; devices++)
    for (let seed = 1; seed <= 4; seed++) {
      const group = kibbutz(
        Array.from({ length: devices }, () => run('streaming')),
        { seed, policy: 'kith' },
      );
      group.run(2 * hourMs);
      const results = group.results();
      const what = `seed ${seed}, ${devices} devices`;
      assert.is(total(results, 'rttMs') - 200 * total(results, 'answered'), 1_800, what);
      assert.ok(total(results, 'promotions') > devices, `${what}: they do hand over`);
      const overlapMs = total(results, 'promotions') * 2_000;
      assert.ok(total(results, 'upMs') <= 2 * hourMs + overlapMs, what);
      for (const { upMs } of results) near(upMs / (2 * hourMs), 1 / devices, 0.03, what);
    }
});

test('two accounts agree to the last slot over a perfect link, and within a few over real ones, where as much is shared', () => {
  const upOf = (group: SimulatedKibbutz) => total(group.results(), 'upMs') / group.devices.length;
  for (const policy of policies)
    for (const apps of [['streaming', 'streaming'], ['web', 'web'], appNames] as const)
      for (const name of localNames) {
        const perfect = kibbutz(apps.map(run), { policy });
        const real = kibbutz(apps.map(run), { policy, local: localLinkModels[name] });
        for (const group of [perfect, real]) group.run(6 * hourMs);
        const what = `${policy}, ${apps}, ${name}`;
        for (const sum of off(perfect)) near(sum, 0, 1e-6, what);
        const [least, most] = off(real);
        assert.ok(least > -2 && most < 6, `${what}: ${least} … ${most}`);
        assert.ok(upOf(real) < 1.06 * upOf(perfect), `${what}: ${upOf(real)} up, ${upOf(perfect)} perfect`);
      }
});

test('a lossy link never makes a group worse off than each alone, and what is lost starves no account', () => {
  const aloneMs = (app: AppName) => {
    const group = kibbutz([run(app)]);
    group.run(4 * hourMs);
    return group.results()[0].upMs;
  };
  const alone = { background: aloneMs('background'), web: aloneMs('web'), streaming: aloneMs('streaming') };
  for (const policy of policies)
    for (const loss of [0.01, 0.05, 0.3])
      for (let seed = 1; seed <= 3; seed++)
        for (const apps of [['web', 'web'], ['streaming', 'streaming'], appNames] as const) {
          const group = kibbutz(
            apps.map(app => ({ ...run(app), loss })),
            { seed, policy },
          );
          group.run(3.5 * hourMs);
          const takenBefore = total(group.results(), 'taken');
          group.run(4 * hourMs);
          const results = group.results();
          const what = `${policy}, loss ${loss}, seed ${seed}, ${apps}`;
          assert.ok(total(results, 'taken') > takenBefore, `${what}: they share to the end`);
          for (const [i, app] of apps.entries())
            assert.ok(results[i].upMs <= 1.03 * alone[app] + 60_000, `${what}: ${app} ${results[i].upMs}`);
          const [least, most] = off(group);
          assert.ok(
            least > -4 && most <= (policy === 'paper' ? 10 : 20) + 1e-6,
            `${what}: ${least} … ${most}`,
          );
        }
});

test('who is away sends nothing, hears nothing and keeps no radio up; what it wanted then is unsent', () => {
  for (const policy of policies) {
    const traffic = new Until('streaming', 3 * hourMs);
    const group = kibbutz(
      [
        { traffic, blackouts: [{ fromAt: hourMs, toAt: 2 * hourMs }] },
        { ...run('web'), joinAt: hourMs / 2, leaveAt: 2.5 * hourMs },
      ],
      { policy },
    );
    group.run(hourMs / 2 - 1);
    assert.is(group.results()[1].requests, 0);
    assert.is(group.results()[1].upMs, 0);
    assert.is(group.results()[1].signals, 0);
    group.run(hourMs);
    assert.ok(group.devices[0].kibbutz.upUntil <= hourMs, 'and its kibbutz knows');
    const before = group.results();
    group.run(2 * hourMs - 1);
    const during = group.results();
    assert.is(during[0].upMs, before[0].upMs);
    assert.is(during[0].signals, before[0].signals);
    assert.is(during[0].answered, before[0].answered);
    assert.is(during[0].unsent, during[0].requests - during[0].answered);
    assert.ok(during[0].unsent > 3_000);
    assert.ok(during[1].answered > before[1].answered, 'the other goes on');
    group.run(2.5 * hourMs);
    const back = group.results();
    assert.ok(back[0].answered > during[0].answered + 1_000);
    assert.ok(total(back, 'taken') > total(during, 'taken'), 'they find each other again');
    group.run(3 * hourMs);
    const after = group.results();
    assert.is(after[1].upMs, back[1].upMs, 'gone');
    assert.is(after[1].answered, back[1].answered);
    assert.is(after[1].advertisements, back[1].advertisements);
  }
});

test('overlapping blackouts end when the last one does, and a blackout does not bring back who has left', () => {
  const group = kibbutz([
    {
      ...run('streaming'),
      leaveAt: 100_000,
      blackouts: [
        { fromAt: 10_000, toAt: 40_000 },
        { fromAt: 20_000, toAt: 30_000 },
        { fromAt: 90_000, toAt: 110_000 },
      ],
    },
  ]);
  const presentAt = (at: number) => {
    group.run(at);
    return group.devices[0].present;
  };
  for (const [at, present] of [
    [9_999, true],
    [35_000, false],
    [40_000, true],
    [95_000, false],
    [200_000, false],
  ] as const)
    assert.is(presentAt(at), present, `${at}`);
});

test('what waited when its device went away is sent when it comes back, or waits for ever', () => {
  const group = kibbutz(
    [
      { traffic: new Until('background', 100_000), blackouts: [{ fromAt: 15_000, toAt: 600_000 }] },
      { traffic: new Until('background', 100_000), leaveAt: 15_000 },
    ],
    { policy: 'kith', deferMs: 60_000 },
  );
  group.run(15_000);
  const waited = group.devices.map(waitingOf);
  assert.ok(waited[0] > 0 && waited[1] > 0, `${waited}`);
  group.run(hourMs);
  assert.is(waitingOf(group.devices[0]), 0);
  assert.is(waitingOf(group.devices[1]), waited[1]);
  for (const [i, result] of group.results().entries())
    assert.is(result.requests, result.answered + result.unsent + waitingOf(group.devices[i]));
  assert.is(group.results()[0].answered, waited[0]);
});

test('what may wait waits for no longer than its deadline, and not at all where somebody browses', () => {
  const group = kibbutz([run('background'), run('background'), run('background')], { policy: 'kith' });
  group.run(4 * hourMs);
  for (const { waited, longestWaitMs } of group.results()) {
    assert.ok(waited > 0);
    assert.ok(longestWaitMs <= 30_000, `${longestWaitMs}`);
  }
  const lively = kibbutz([run('background'), run('streaming')], { policy: 'kith' });
  lively.run(60_000);
  const early = lively.results()[0].waited;
  lively.run(4 * hourMs);
  assert.is(lively.results()[0].waited, early);
});

test('a leech gets its slots and no more, and a deaf successor holds up nobody', () => {
  for (const policy of policies)
    for (const initialCredit of [1, 5, 20]) {
      const group = kibbutz([run('streaming'), { ...run('streaming'), leech: true }], {
        policy,
        initialCredit,
      });
      group.run(4 * hourMs);
      const [honest, leech] = group.results();
      const what = `${policy}, credit ${initialCredit}`;
      // A slot carries at most eleven of its packets, one a second and both ends counted.
      assert.ok(leech.taken > 0 && leech.taken <= 11 * initialCredit, `${what}: ${leech.taken}`);
      assert.is(honest.taken, 0, what);
      assert.is(honest.answered, honest.requests, what);
      near(leech.upMs / (4 * hourMs), 1, 0.03, what);
      if (policy === 'kith') {
        const asked = group.devices[0].kibbutz.counters.get('hand-overs.asked');
        assert.ok(asked <= 1 + 4 * 60, `${what}: asked ${asked} times`);
      }
    }
});

test('a radio is not released while it still carries an answer', () => {
  for (const radio of Object.values(radioModels))
    for (const apps of [['background', 'background'], ['background', 'web'], appNames] as const) {
      const group = kibbutz(apps.map(run), { policy: 'kith', radio });
      let releases = 0;
      for (const device of group.devices) {
        const dormant = device.radio.dormant.bind(device.radio);
        device.radio.dormant = now => {
          const state = device.radio.state(now);
          assert.ok(state !== 'active' && state !== 'promoting', `${radio.name}: ${state}`);
          releases++;
          return dormant(now);
        };
      }
      group.run(hourMs);
      // Bound to fail if nothing were ever released; a tail too short for it is let run out.
      assert.ok(releases > 0 || radio.tailMs <= 4 * radio.roundTripMs || apps.length === 3, radio.name);
    }
});

test('nothing piles up: the last hour of a day costs no more events than the first', () => {
  for (const policy of policies) {
    const group = kibbutz(appNames.map(run), { policy });
    group.run(hourMs);
    const first = group.kernel.fired;
    group.run(23 * hourMs);
    const before = group.kernel.fired;
    group.run(24 * hourMs);
    assert.ok(
      group.kernel.fired - before < 1.2 * first,
      `${policy}: ${group.kernel.fired - before}, ${first}`,
    );
    assert.ok(group.kernel.pending < 20, `${policy}: ${group.kernel.pending} events pending`);
  }
});

test('random groups, links, radios, losses, comings and goings: nothing throws, nothing gets lost, no number is wrong', () => {
  const seed = 31_337;
  const rounds = 400;
  console.log(`seed ${seed}`);
  let taken = 0;
  for (let round = 0; round < rounds; round++) {
    const random = new Random(seed + round, 'scenario');
    const endMs = 200_000 + random.below(600_000);
    const pick = <T>(values: readonly T[]): T => values[random.below(values.length)];
    const radio = random.chance(0.4)
      ? paperRadio(1_000 + random.below(29_000))
      : pick(Object.values(radioModels));
    const options = {
      seed: round,
      policy: pick(policies),
      radio,
      local: localLinkModels[pick(localNames)],
      initialCredit: pick([1, 2, 5, 20]),
      deferMs: pick([0, 1_000, 30_000]),
    };
    const devices: DeviceOptions[] = [];
    for (let count = 1 + random.below(6); count > 0; count--) {
      const blackouts: { fromAt: number; toAt: number }[] = [];
      while (random.chance(0.3)) {
        const fromAt = random.below(endMs);
        blackouts.push({ fromAt, toAt: fromAt + 1 + random.below(120_000) });
      }
      devices.push({
        traffic: new Until(pick(appNames), endMs),
        blackouts,
        loss: random.chance(0.5) ? 0 : random.unit() * 0.6,
        leech: random.chance(0.1),
        ...(random.chance(0.2) ? { joinAt: 1 + random.below(endMs) } : {}),
        ...(random.chance(0.2) ? { leaveAt: random.below(endMs) } : {}),
      });
    }
    const what = `round ${round}, ${options.policy}, ${radio.name}, ${options.local.name}`;
    const group = kibbutz(devices, options);
    watchAbsent(group, what);
    const afterMs = endMs + 1_000_000;
    group.run(afterMs);
    const results = group.results();
    for (const [i, result] of results.entries()) {
      for (const [field, value] of Object.entries(result))
        assert.ok(Number.isInteger(value) && value >= 0, `${what}: ${field} ${value}`);
      assert.is(
        result.requests,
        result.answered + result.unsent + waitingOf(group.devices[i]),
        `${what}, device ${i}: ${JSON.stringify(result)}`,
      );
      assert.ok(result.upMs <= afterMs, `${what}: up ${result.upMs}`);
      assert.ok(
        result.rttMs >= result.answered * Math.floor(radio.roundTripMs),
        `${what}: RTT ${result.rttMs} for ${result.answered}`,
      );
      if (devices[i].leaveAt === undefined)
        assert.is(waitingOf(group.devices[i]), 0, `${what}: still waiting`);
      // What a neighbour used against a slot that it then refused to have given is taken back: one below the line.
      for (const { credit } of group.devices[i].kibbutz.neighbours)
        assert.ok(
          credit >= -options.initialCredit - 1 - 1e-6 && credit <= 3 * options.initialCredit + 1e-6,
          `${what}: credit ${credit}`,
        );
    }
    taken += total(results, 'taken');
    assert.ok(total(results, 'given') >= total(results, 'taken'), what);
    // Nobody spins: a request makes a handful of events, and each of its signals one for each that hears it.
    const work = total(results, 'requests') + total(results, 'signals') + 50;
    assert.ok(group.kernel.fired < 30 * work, `${what}: ${group.kernel.fired} events for ${work}`);
  }
  assert.ok(taken > 10_000, `${taken} requests were shared`);
});

test.run();
