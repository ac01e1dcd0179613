/**
 * The power proxy paper's comparison (Nedevschi et al., NSDI 2009, §5 and §6): how much of their idle time hosts of a home
 * and of an office sleep under no proxy, wake-on-packet and the four example proxies, and what energy that saves. The
 * seed gives few figures: those stand beside ours; every other row is ours alone.
 *
 * Bounds: `runs` days of each place and policy.
 */

import { readFileSync } from 'node:fs';
import type { Figure, Series } from '../../plot/plot.js';
import type { Experiments, Row } from '../paper.js';
import { desktopPower, type PowerModel } from './energy.js';
import { type DayResult, type Policy, runDay } from './home-office.js';
import { type DayFrame, dayMs, dayOf, home, office, type Place } from './mix.js';
import { type DeclaredRule, parseRules } from './rules-file.js';

export interface ProxyExperimentOptions {
  /** Days of each place; from 1. */
  readonly runs: number;
  /** Of the first day; the others count on from it. */
  readonly seed: number;
  /** Left out: a home and an office. */
  readonly places?: readonly Place[];
}

export const ruleSetNames = ['proxy-1', 'proxy-2', 'proxy-3', 'proxy-4', 'recommended'] as const;
export type RuleSetName = (typeof ruleSetNames)[number];

/** What the table has, in its order. */
export const policyNames = ['always-on', 'wake-on-packet', 'ignoring-groups', ...ruleSetNames] as const;
export type PolicyName = (typeof policyNames)[number];

/** One policy at one place, over the runs: means, and the least and the most of a run. */
export interface Outcome {
  readonly place: Place['name'];
  readonly policy: PolicyName;
  /** % of the idle time. */
  readonly asleep: Spread;
  /** % of what always-on needs in the idle time. */
  readonly energy: Spread;
  /** For each host, in the day. */
  readonly wakes: Spread;
  /**
   * % of the sessions that found the host up in 20 s. Not of `ignoring-groups`: who opens one asks for the address by ARP
   * first, which then nobody answers.
   */
  readonly reached: Spread | undefined;
}

export interface Spread {
  readonly mean: number;
  readonly least: number;
  readonly most: number;
}

/** Seed, "both broadcast and multicast are largely responsible for poor sleep": what ignoring them gains. */
const paperGain = { home: 80, office: 50 } as const;
const bothPlaces: readonly Place[] = [home, office];

/** The rules of a set that ships with Kith. */
export function ruleSet(name: RuleSetName): DeclaredRule[] {
  const url = new URL(`rules/${name}.json`, import.meta.url);
  return parseRules(`${name}.json`, readFileSync(url, 'utf8'));
}

/** Runs everything: the same options give the same figures. */
export function proxyExperiments(options: ProxyExperimentOptions): Experiments & {
  readonly outcomes: readonly Outcome[];
} {
  const rows: Row[] = [];
  const outcomes: Outcome[] = [];
  const places = options.places ?? bothPlaces;
  for (const place of places) {
    const days = Array.from({ length: options.runs }, (_, run) => {
      const seed = options.seed + run;
      return { seed, frames: dayOf(place, seed) };
    });
    const [first] = days;
    const { usedShare, idleShare } = runDay(place, 'always-on', first.seed, []);
    rows.push(
      { id: `${place.name}/used`, paper: 10, ours: 100 * usedShare, unit: '% of the day', note: 'made so' },
      { id: `${place.name}/idle`, paper: 50, ours: 100 * idleShare, unit: '% of the day', note: 'made so' },
      ...mixRows(place, first.frames),
    );
    const here = policyNames.map(name => {
      const policy = policyOf(name);
      const results = days.map(({ seed, frames }) => runDay(place, policy, seed, frames));
      return outcomeOf(place, name, results);
    });
    outcomes.push(...here);
    rows.push(...here.flatMap(rowsOf), gainRow(here));
  }
  return { rows, figures: figures(places, outcomes, options.runs), outcomes };
}

function policyOf(name: PolicyName): Policy {
  switch (name) {
    case 'always-on':
    case 'wake-on-packet':
    case 'ignoring-groups':
      return name;
    case 'recommended':
      return { rules: ruleSet(name), limited: true };
    default:
      return { rules: ruleSet(name) };
  }
}

function outcomeOf(place: Place, policy: PolicyName, results: readonly DayResult[]): Outcome {
  const of = (figure: (result: DayResult) => number) => spread(results.map(figure));
  return {
    place: place.name,
    policy,
    asleep: of(({ usage }) => (100 * usage.asleepMs) / usage.totalMs),
    energy: of(({ usage }) => (100 * usage.joules) / alwaysOnJoules(usage.totalMs, desktopPower)),
    wakes: of(({ usage }) => usage.wakes / place.hosts),
    reached:
      policy === 'ignoring-groups'
        ? undefined
        : of(({ sessions, reached }) => (sessions === 0 ? 100 : (100 * reached) / sessions)),
  };
}

function alwaysOnJoules(totalMs: number, { awakeWatts }: PowerModel): number {
  return (awakeWatts * totalMs) / 1000;
}

function rowsOf({ place, policy, asleep, energy, wakes, reached }: Outcome): Row[] {
  const row = (quantity: string, { mean, least, most }: Spread, unit: string): Row => ({
    id: `${place}/${policy}/${quantity}`,
    ours: mean,
    unit,
    note: `${least.toFixed(1)} to ${most.toFixed(1)}`,
  });
  return [
    row('asleep', asleep, '% of idle time'),
    row('energy', energy, '% of always-on'),
    row('wakes', wakes, 'a host and day'),
    ...(reached ? [row('reached', reached, '% of sessions')] : []),
  ];
}

function gainRow(outcomes: readonly Outcome[]): Row {
  const asleep = (name: PolicyName) => outcomes.find(({ policy }) => policy === name)?.asleep.mean ?? 0;
  const { place } = outcomes[0];
  return {
    id: `${place}/ignoring-groups/gain`,
    paper: paperGain[place],
    ours: asleep('ignoring-groups') - asleep('wake-on-packet'),
    unit: 'points of idle time',
    note: 'the paper’s “80 %” and “50 % more sleep” read as points of the idle time',
  };
}

/** What an idle host hears, all day: the first day's. */
function mixRows(place: Place, frames: readonly DayFrame[]): Row[] {
  const rows: Row[] = [];
  const perSecond = dayMs / 1000;
  let heard = 0;
  for (const cast of ['broadcast', 'multicast', 'unicast'] as const) {
    let count = 0;
    for (const { traffic } of frames) if (traffic.cast === cast) count++;
    if (cast === 'unicast') count /= place.hosts;
    heard += count;
    rows.push({ id: `${place.name}/heard/${cast}`, ours: count / perSecond, unit: 'frames/s' });
  }
  return [...rows, { id: `${place.name}/heard`, ours: heard / perSecond, unit: 'frames/s' }];
}

function figures(places: readonly Place[], outcomes: readonly Outcome[], runs: number): Figure[] {
  const series = (quantity: 'asleep' | 'energy'): Series[] =>
    places.map(({ name }) => {
      const here = outcomes.filter(({ place }) => place === name);
      return {
        label: name,
        kind: 'bars',
        points: here.map((outcome, i): [number, number] => [i, outcome[quantity].mean]),
        spread: here.map((outcome, i): [number, number, number] => {
          const { least, most } = outcome[quantity];
          return [i, least, most];
        }),
      };
    });
  const x = { title: 'what wakes a host', categories: policyNames };
  const note = `Means of ${runs} simulated days; whiskers: the least and the most of a day.`;
  return [
    {
      file: 'proxy-asleep',
      title: 'Idle hosts: share of the idle time asleep',
      x,
      y: { title: 'asleep (% of idle time)', least: 0, most: 100 },
      series: series('asleep'),
      note,
    },
    {
      file: 'proxy-energy',
      title: 'Idle hosts: energy of the idle time',
      x,
      y: { title: 'energy (% of always-on)', least: 0, most: 100 },
      series: series('energy'),
      note,
    },
  ];
}

function spread(values: readonly number[]): Spread {
  const sum = values.reduce((total, value) => total + value, 0);
  return { mean: sum / values.length, least: Math.min(...values), most: Math.max(...values) };
}

/** Printed below the table. */
export const remarks: readonly string[] = [
  'asleep: of the time that hosts are on and nobody uses them; energy: of that time, always-on is 100; reached: of the logins and file accesses, those that found the host up within 20 s.',
  'The paper’s own figures here are 10 %, 50 % and the two gains. Everything else is ours, of traffic that is documented row by row in host-sim/scenario/proxy/mix.ts; most of its rates are assumed, those to single hosts with the paper’s two gains in mind.',
  'ignoring-groups wakes for every packet to the host’s own MAC and for nothing else: a measure of the paper’s, and no way to run a host, whose address nobody could resolve.',
  'The agent’s bound on wakes per host acts under recommended only.',
];
