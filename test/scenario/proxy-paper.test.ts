/** The power proxy paper's home and office: what is documented is what happens, and the paper's findings come out of it. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Headers } from '../../agent/wire/headers.js';
import { renderSvg } from '../../host-sim/plot/plot.js';
import { defaultIdleMs, desktopPower } from '../../host-sim/scenario/proxy/energy.js';
import { type Policy, runDay, spansOf } from '../../host-sim/scenario/proxy/home-office.js';
import {
  type DayFrame,
  dayMs,
  dayOf,
  home,
  hostMac,
  office,
  type Place,
} from '../../host-sim/scenario/proxy/mix.js';
import {
  type Outcome,
  type PolicyName,
  policyNames,
  proxyExperiments,
  ruleSet,
} from '../../host-sim/scenario/proxy/paper-proxy.js';

/** The cost of a frame grows with the hosts. */
const fewHosts = (place: Place): Place => ({ ...place, hosts: 2 });

test('every host is used for a tenth of the day and idle for half of it, wherever the seed puts that', () => {
  for (const place of [home, office]) {
    for (let seed = 0; seed < 50; seed++) {
      for (let host = 0; host < place.hosts; host++) {
        const spans = spansOf(place, seed, host);
        const where = `${place.name}, seed ${seed}, host ${host}`;
        const share = (wanted: string) =>
          spans.reduce((sum, { from, to, use }) => sum + (use === wanted ? to - from : 0), 0) / dayMs;
        assert.is(spans[0].from, 0, where);
        assert.is(spans.at(-1)?.to, dayMs, where);
        for (const [i, { from }] of spans.entries()) if (i > 0) assert.is(from, spans[i - 1].to, where);
        assert.ok(Math.abs(share('used') - 0.1) < 1e-9, where);
        assert.ok(Math.abs(share('idle') - 0.5) < 1e-9, where);
      }
    }
  }
});

test('a day has each kind of traffic at its rate and cast, in order, each frame well-formed, the same for the same seed', () => {
  const headers = new Headers();
  // Its day ends in the midst of a session.
  const seed = 6;
  for (const place of [home, office]) {
    const frames = dayOf(place, seed);
    const again = dayOf(place, seed);
    assert.is(frames.length, again.length);
    const bursts = new Map<string, number>();
    for (const [i, { at, bytes, host, traffic, isFirst }] of frames.entries()) {
      const where = `${place.name}, seed ${seed}, frame ${i} (${traffic.id})`;
      assert.is(at, again[i].at, where);
      assert.ok(at < dayMs && (i === 0 || at >= frames[i - 1].at), where);
      assert.is(headers.scan(bytes, 0, bytes.length), 'ok', where);
      const cast =
        (bytes[0] & 1) === 0
          ? 'unicast'
          : bytes.subarray(0, 6).every(b => b === 255)
            ? 'broadcast'
            : 'multicast';
      assert.is(cast, traffic.cast, where);
      assert.is(host >= 0, cast === 'unicast', where);
      if (host >= 0) assert.equal(bytes.slice(0, 6), hostMac(host), where);
      if (isFirst) bursts.set(traffic.id, (bursts.get(traffic.id) ?? 0) + 1);
    }
    for (const { id, perHour, to } of place.traffic) {
      const expected = perHour * 24 * (to === 'host' ? place.hosts : 1);
      const got = bursts.get(id) ?? 0;
      // Five standard deviations of a Poisson count, and one for a period that does not divide the day.
      const where = `${place.name}, seed ${seed}, ${id}: expected ${expected}, got ${got}`;
      assert.ok(Math.abs(got - expected) <= 5 * Math.sqrt(expected) + 1, where);
    }
  }
});

test('a host falls asleep after the idle time, and one packet costs wake-on-packet a resumption and an idle time more', () => {
  const place: Place = { ...home, hosts: 1 };
  const seed = 1;
  const idle = spansOf(place, seed, 0).filter(({ use }) => use === 'idle');
  const longest = idle.reduce((a, b) => (b.to - b.from > a.to - a.from ? b : a));
  const traffic = home.traffic.find(({ id }) => id === 'keepalive');
  assert.ok(traffic);
  const frame: DayFrame = {
    at: (longest.from + longest.to) / 2,
    bytes: traffic.bursts(0)[0][0].bytes,
    host: 0,
    traffic,
    isFirst: true,
  };
  const asleepMs = (policy: Policy, frames: readonly DayFrame[]) =>
    runDay(place, policy, seed, [...frames]).usage.asleepMs;
  const awakeMs = defaultIdleMs + desktopPower.suspendMs;
  const quiet = idle.reduce((sum, { from, to }) => sum + Math.max(0, to - from - awakeMs), 0);
  assert.is(asleepMs('wake-on-packet', []), quiet);
  assert.is(asleepMs('wake-on-packet', [frame]), quiet - desktopPower.resumeMs - awakeMs);
  const soonAfter = { ...frame, at: frame.at + desktopPower.resumeMs + 60_000 };
  const two = asleepMs('wake-on-packet', [frame, soonAfter]);
  assert.is(two, quiet - desktopPower.resumeMs - awakeMs, 'a packet does not keep up a host that is up');
  assert.is(asleepMs('ignoring-groups', [{ ...frame, host: -1 }]), quiet);
  assert.is(asleepMs({ rules: ruleSet('proxy-3') }, [frame]), quiet, 'proxy-3 drops it');
  assert.is(asleepMs('always-on', [frame]), 0);
});

test('as the paper found: wake-on-packet is useless, groups keep hosts awake, proxy-1 does at home and not in the office', () => {
  const { rows, figures, outcomes } = proxyExperiments({
    runs: 1,
    seed: 1,
    places: [fewHosts(home), fewHosts(office)],
  });
  const of = (place: string, name: PolicyName): Outcome => {
    const outcome = outcomes.find(one => one.place === place && one.policy === name);
    assert.ok(outcome, `${place} ${name}`);
    return outcome;
  };
  const asleep = (place: string, name: PolicyName) => of(place, name).asleep.mean;
  for (const place of ['home', 'office']) {
    assert.is(asleep(place, 'always-on'), 0);
    assert.ok(asleep(place, 'wake-on-packet') < 2, place);
    assert.ok(asleep(place, 'proxy-2') > asleep(place, 'proxy-1') + 10, place);
    assert.ok(asleep(place, 'proxy-3') > asleep(place, 'proxy-2'), place);
    assert.ok(asleep(place, 'proxy-4') <= asleep(place, 'proxy-3'), place);
    assert.ok(of(place, 'proxy-4').wakes.mean > of(place, 'proxy-3').wakes.mean, place);
    for (const name of policyNames) {
      const { reached, energy } = of(place, name);
      // What it offers can be had under every proxy, and energy is never less than sleep would explain.
      if (reached) assert.ok(reached.mean >= 95, `${place} ${name}: ${reached.mean} % reached`);
      assert.ok(energy.mean >= 100 - asleep(place, name), `${place} ${name}`);
    }
  }
  assert.ok(asleep('home', 'proxy-1') > 55, `${asleep('home', 'proxy-1')}`);
  assert.ok(asleep('office', 'proxy-1') < 45, `${asleep('office', 'proxy-1')}`);
  for (const { id, paper, ours } of rows)
    if (paper !== undefined) assert.ok(Math.abs(ours - paper) < 16, `${id}: ${ours}`);
  const ids = rows.map(({ id }) => id);
  assert.is(new Set(ids).size, ids.length);
  assert.is(
    rows.filter(({ paper }) => paper !== undefined).length,
    6,
    'two shares and a gain, of each place',
  );
  for (const figure of figures) assert.match(renderSvg(figure), /^<\?xml|^<svg/);
});

test.run();
