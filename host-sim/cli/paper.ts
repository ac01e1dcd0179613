/**
 * `kith paper`: runs a paper's experiments and prints ours beside its figures, as a table or as one JSON object
 * `{"rows":[{"id","paper","ours","unit"}]}` (`paper` is null where the paper gives none), and draws its plots.
 */

import type { Policy } from '../../agent/kibbutz/kibbutz.js';
import {
  type Comparison,
  compare,
  comparisonRows,
  experiments,
  remarks,
} from '../scenario/kibbutz/experiments.js';
import type { Row } from '../scenario/paper.js';
import { type Outcome, proxyExperiments, remarks as proxyRemarks } from '../scenario/proxy/paper-proxy.js';

export interface PaperWords {
  readonly policy: Policy;
  readonly runs: number;
  readonly seed: number;
  /** ms. */
  readonly wait: number;
  readonly out?: string;
  readonly json?: boolean;
}

/** Throws an Error that names `--out` if the plots cannot be written. */
export async function printKibbutzPaper(
  { policy, runs, seed, wait, out, json }: PaperWords,
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const options = { policy, runs, seed, deferMs: wait };
  const { rows, figures } = experiments(options);
  const comparisons = policy === 'kith' ? compare(options) : [];
  const files = out === undefined ? [] : await (await import('../plot/plot.js')).writeFigures(out, figures);
  if (json) {
    await print(JSON.stringify({ rows: [...rows, ...comparisonRows(comparisons)].map(rowToJson) }));
    return;
  }
  await print(`The mobile kibbutz under policy ${policy}: ${runs} runs of each mix, seeds from ${seed}.`);
  await print('');
  for (const line of describeRows(rows)) await print(line);
  if (comparisons.length > 0) {
    await print('');
    for (const line of describeComparisons(comparisons, options)) await print(line);
  }
  await print('');
  await print('Where the paper disagrees with itself, or we with it:');
  for (const remark of remarks) await print(`- ${remark}`);
  for (const file of files) await print(`wrote ${file}`);
}

export interface ProxyPaperWords {
  readonly runs: number;
  readonly seed: number;
  readonly out?: string;
  readonly json?: boolean;
}

/** Throws an Error that names `--out` if the plots cannot be written. */
export async function printProxyPaper(
  { runs, seed, out, json }: ProxyPaperWords,
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const { rows, figures, outcomes } = proxyExperiments({ runs, seed });
  const files = out === undefined ? [] : await (await import('../plot/plot.js')).writeFigures(out, figures);
  if (json) {
    await print(JSON.stringify({ rows: rows.map(rowToJson) }));
    return;
  }
  await print(`The power proxy: ${runs} days of a home and of an office, seeds from ${seed}.`);
  await print('');
  for (const line of describeOutcomes(outcomes)) await print(line);
  await print('');
  for (const line of describeRows(rows.filter(({ id }) => !isOutcome(id, outcomes)))) await print(line);
  await print('');
  for (const remark of proxyRemarks) await print(`- ${remark}`);
  for (const file of files) await print(`wrote ${file}`);
}

/** Throws an Error that names `--out` if the plots cannot be written. */
export async function printBrasPaper(
  { out, json }: { readonly out?: string; readonly json?: boolean },
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const { brasExperiments } = await import('../bras/paper.js');
  const { rows, figures } = brasExperiments();
  const files = out === undefined ? [] : await (await import('../plot/plot.js')).writeFigures(out, figures);
  if (json) {
    await print(JSON.stringify({ rows: rows.map(rowToJson) }));
    return;
  }
  for (const line of describeRows(rows)) await print(line);
  for (const file of files) await print(`wrote ${file}`);
}

function isOutcome(id: string, outcomes: readonly Outcome[]): boolean {
  const [place, policy, quantity] = id.split('/');
  return outcomes.some(
    outcome => outcome.place === place && outcome.policy === policy && quantity in outcome,
  );
}

function describeOutcomes(outcomes: readonly Outcome[]): string[] {
  const cells = outcomes.map(({ place, policy, asleep, energy, wakes, reached }) => [
    place,
    policy,
    asleep.mean.toFixed(1),
    `${asleep.least.toFixed(1)}–${asleep.most.toFixed(1)}`,
    energy.mean.toFixed(1),
    wakes.mean.toFixed(1),
    reached?.mean.toFixed(1) ?? '–',
  ]);
  const heads = [
    ['', 'what wakes a host', 'asleep', 'days', 'energy', 'wakes', 'reached'],
    ['', '', '% idle', '', '% on', 'a day', '%'],
  ];
  return align([...heads, ...cells], [false, false, true, true, true, true, true]);
}

export function rowToJson({ id, paper, ours, unit, note }: Row): object {
  return { id, paper: paper ?? null, ours, unit, ...(note !== undefined && { note }) };
}

function describeRows(rows: readonly Row[]): string[] {
  const cells = rows.map(({ id, paper, ours, unit, note }) => [
    id,
    paper === undefined ? '' : figure(paper),
    figure(ours),
    paper === undefined ? '' : signed(ours - paper),
    unit,
    note ?? '',
  ]);
  return align(
    [['', 'paper', 'ours', 'difference', '', ''], ...cells],
    [false, true, true, true, false, false],
  );
}

function describeComparisons(
  comparisons: readonly Comparison[],
  { deferMs }: { readonly deferMs: number },
): string[] {
  const cells = comparisons.map(comparison => {
    const { id, alone, paper, kith, oracle, paperMean, kithMean, bound, boundAtTransitions } = comparison;
    return [
      id,
      ...[alone, paper, kith, oracle].map(({ up }) => up.toFixed(1)),
      ...[paper, kith].map(({ rtt }) => rtt.toFixed(2)),
      ...[paper, kith].map(({ transitions }) => transitions.toFixed(0)),
      ...[paperMean, kithMean, bound, boundAtTransitions, kithMean - boundAtTransitions].map(up =>
        up.toFixed(1),
      ),
      kith.wait.toFixed(1),
      comparison.jain.toFixed(3),
      comparison.worst.toFixed(2),
    ];
  });
  const heads = [
    [
      '',
      'up %',
      '',
      '',
      '',
      'RTT s',
      '',
      'transitions',
      '',
      'group up %',
      '',
      '',
      '',
      '',
      'wait s',
      'Jain',
      'worst',
    ],
    ['', 'alone', 'paper', 'kith', 'oracle', 'paper', 'kith', 'paper', 'kith'].concat([
      'paper',
      'kith',
      'bound',
      'bound*',
      'distance',
      'mean',
      '',
      '× alone',
    ]),
  ];
  return [
    'Both policies on the same traffic. The first device of the mix is looked at; in a group of alike ones, their mean.',
    'oracle: the device alone, asleep at once if nothing is due for 4 s. group: mean over the devices of the group;',
    'bound: the least mean for any policy that knows the future; bound*: with no more transitions than the paper’s makes,',
    'and kith’s distance to that.',
    `wait: what background requests wait for a radio to be up, at most ${deferMs / 1000} s, before their RTT. Jain: of up / up alone.`,
    ...align([...heads, ...cells], [false, ...Array<boolean>(16).fill(true)]),
  ];
}

/** Columns as wide as their widest cell, numbers to the right. */
function align(lines: readonly (readonly string[])[], right: readonly boolean[]): string[] {
  const widths = right.map((_, i) => Math.max(...lines.map(cells => cells[i].length)));
  return lines.map(cells =>
    cells
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}

function figure(value: number): string {
  return String(Number(value.toPrecision(4)));
}

function signed(value: number): string {
  const text = figure(Number(value.toFixed(3)));
  return value > 0 ? `+${text}` : text;
}
