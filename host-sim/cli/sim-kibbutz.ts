/**
 * `kith sim kibbutz`: kibbutzim by the thousand, on every core, and what came of their devices by application;
 * `--shard i/n` runs the i-th of n parts and prints it as JSON, and `kith sim merge` prints for all n parts, to the byte,
 * what one run would have.
 *
 * Without a scenario file: kibbutzim of five phones, two that stream, two on the web and one in the background, under
 * the defaults of scenario files. §2.1.3.2.3 expects kibbutzim of five and has these three applications; how many of
 * each it does not say.
 *
 * Bounds: `mostPartBytes` of a part, one part in memory at a time besides the scenario.
 */

import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { formatDuration } from '../../agent/core/time.js';
import type { Policy } from '../../agent/kibbutz/kibbutz.js';
import { type Shape, validate } from '../../agent/message/schema.js';
import {
  addDevices,
  addTotals,
  type DeviceTotals,
  deviceTotalFields,
  jainIndexOf,
  type Totals,
} from '../scenario/kibbutz/run.js';
import { type KibbutzScenario, parseScenario, readScenario } from '../scenario/kibbutz/scenario-file.js';
import { mostTraceMs } from '../scenario/kibbutz/trace.js';
import { runOnWorkers } from '../scenario/kibbutz/workers.js';
import { Progress } from './progress.js';

/** What the `kith sim kibbutz` command takes; what is left out is as the scenario says. */
export interface KibbutzWords {
  /** In all, a multiple of those in a kibbutz. */
  readonly devices?: number;
  /** Virtual milliseconds. */
  readonly duration?: number;
  readonly seed?: number;
  readonly policy?: Policy;
  readonly workers: number;
  /** Such as `2/7`. */
  readonly shard?: string;
  readonly json?: boolean;
}

type Print = (line: string) => Promise<void> | void;

const usualDevices = 10_000;
const usualMix = [
  { app: 'streaming', count: 2 },
  { app: 'web', count: 2 },
  { app: 'background', count: 1 },
];
/** The longest scenario (64 entries, 64 blackouts each) takes a quarter of it. */
const mostPartBytes = 4 * 1024 * 1024;
const partFormat = 'kith sim kibbutz part 1';
const hourMs = 3_600_000;

/** A part of a run, as `--shard` prints it. */
interface Part {
  readonly format: typeof partFormat;
  readonly scenario: ToldScenario;
  /** The `part`-th of `of`; from 1. */
  readonly shard: { readonly part: number; readonly of: number };
  readonly totals: Totals;
  /** SHA-256 of all the above as JSON without spaces. */
  readonly checksum: string;
}

/** The scenario as parts and results tell it: a trace by its file's name and a digest of its entries. */
interface ToldScenario extends Omit<KibbutzScenario, 'devices'> {
  readonly devices: readonly ToldDevices[];
}

type ToldDevices = Omit<KibbutzScenario['devices'][number], 'app'> & {
  readonly app: string | { readonly trace: string; readonly sha256: string } | { readonly download: number };
};

const whole: Shape = 'uint';
const hex: Shape = ['say', '64 hex digits', ['regexp', '[0-9a-f]{64}']];
const partShape: Shape = [
  'closed',
  ['format', ['is', partFormat]],
  [
    'scenario',
    [
      'closed',
      ['seed', whole],
      ['durationMs', whole],
      ['policy', 'tstr'],
      ['radio', 'tstr'],
      ['local', 'tstr'],
      ['initialCredit', whole],
      ['tailMs', whole],
      ['kibbutzim', ['range', 1, Number.MAX_SAFE_INTEGER]],
      [
        'devices',
        [
          'list',
          [
            'closed',
            [
              'app',
              [
                'one',
                'tstr',
                ['closed', ['trace', 'tstr'], ['sha256', hex]],
                ['closed', ['download', whole]],
              ],
            ],
            ['count', whole],
            ['joinAt', whole],
            ['leaveAt', whole],
            ['blackouts', ['list', ['closed', ['fromAt', whole], ['toAt', whole]], 0, -1]],
            ['loss', 'number'],
            ['leech', 'bool'],
          ],
          1,
          -1,
        ],
      ],
    ],
  ],
  ['shard', ['closed', ['part', ['range', 1, Number.MAX_SAFE_INTEGER]], ['of', whole]]],
  [
    'totals',
    [
      'closed',
      ['kibbutzim', whole],
      ['events', whole],
      ['digest', hex],
      ['devices', ['list', ['closed', ...deviceTotalFields.map(field => [field, whole] as const)], 0, -1]],
    ],
  ],
  ['checksum', hex],
];

/**
 * Simulates the scenario in `file`, or the usual one, and prints the result, or with `shard` the part. Throws an Error that
 * names the option or the field at fault, or says that `stop` resolved first.
 */
export async function printKibbutzim(
  file: string | undefined,
  words: KibbutzWords,
  print: Print,
  stop: Promise<unknown>,
): Promise<void> {
  const { workers, shard: shardText, json } = words;
  const scenario = adjust(file === undefined ? usualScenario() : readScenario(file), words);
  const { kibbutzim } = scenario;
  const shard = parseShard(shardText ?? '1/1', kibbutzim);
  const progress = new Progress(`simulating ${devicesOf(scenario)} devices`);
  const startedAt = performance.now();
  let totals: Totals;
  try {
    totals = await runOnWorkers(scenario, {
      ...rangeOf(shard, kibbutzim),
      workers,
      onProgress: fraction => progress.update(fraction),
      stop,
    });
  } finally {
    progress.done();
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const told = tell(scenario);
  if (shardText !== undefined) {
    const part = { format: partFormat, scenario: told, shard, totals } as const;
    await print(JSON.stringify({ ...part, checksum: checksumOf(part) } satisfies Part));
    return;
  }
  await printResult(told, totals, { json, print });
  // Not part of the result, which is the same whoever made it and however long it took.
  if (!json) console.error(describeSpeed(totals, { workers, seconds }));
}

/** Prints what one run would have of the parts in `files`. Throws an Error that names the file and the field at fault. */
export async function printMerged(
  files: readonly string[],
  { json }: { readonly json?: boolean },
  print: Print,
): Promise<void> {
  const first = readPart(files[0]);
  const { scenario, shard } = first;
  let { totals } = first;
  const fileOf = new Map([[shard.part, files[0]]]);
  for (const file of files.slice(1)) {
    const part = readPart(file);
    const different =
      differenceOf('scenario', scenario, part.scenario) ?? differenceOf('shard.of', shard.of, part.shard.of);
    if (different) throw new Error(`${file}: ${different}: of another run than ${files[0]}`);
    const other = fileOf.get(part.shard.part);
    if (other !== undefined)
      throw new Error(`${file}: shard.part: expected each part once, got ${part.shard.part} as in ${other}`);
    fileOf.set(part.shard.part, file);
    totals = addTotals(totals, part.totals);
  }
  for (let part = 1; part <= shard.of; part++)
    if (!fileOf.has(part))
      throw new Error(`shard.part: expected all of 1..${shard.of}, got no file with part ${part}`);
  await printResult(scenario, totals, { json, print });
}

/** As the command's options will have it. A shorter duration cuts the scenario off; who stays to the end, stays longer too. */
function adjust(scenario: KibbutzScenario, words: KibbutzWords): KibbutzScenario {
  const {
    seed = scenario.seed,
    policy = scenario.policy,
    duration: durationMs = scenario.durationMs,
  } = words;
  if (durationMs > mostTraceMs)
    throw new Error(`--duration: expected at most ${formatDuration(mostTraceMs)}`);
  const inEach = devicesOf({ ...scenario, kibbutzim: 1 });
  const { devices = inEach * scenario.kibbutzim } = words;
  if (devices % inEach !== 0)
    throw new Error(`--devices: expected a multiple of ${inEach}, the devices of a kibbutz, got ${devices}`);
  return {
    ...scenario,
    seed,
    policy,
    durationMs,
    kibbutzim: devices / inEach,
    devices: scenario.devices.map(entry => ({
      ...entry,
      leaveAt: entry.leaveAt === scenario.durationMs ? durationMs : entry.leaveAt,
    })),
  };
}

function usualScenario(): KibbutzScenario {
  const inEach = usualMix.reduce((sum, { count }) => sum + count, 0);
  const text = JSON.stringify({ kibbutzim: usualDevices / inEach, devices: usualMix });
  return parseScenario('the usual scenario', text, () => '');
}

function devicesOf({
  kibbutzim,
  devices,
}: Pick<ToldScenario, 'kibbutzim'> & { devices: readonly { count: number }[] }) {
  return devices.reduce((sum, { count }) => sum + count, 0) * kibbutzim;
}

function parseShard(text: string, kibbutzim: number): Part['shard'] {
  const [, part, of] = (/^(\d{1,7})\/(\d{1,7})$/.exec(text) ?? []).map(Number);
  if (part >= 1 && part <= of && of <= kibbutzim) return { part, of };
  throw new Error(
    `--shard: expected i/n with 1 <= i <= n <= ${kibbutzim} kibbutzim, such as 1/2, got ${text}`,
  );
}

/** Parts differ in size by one kibbutz at most. */
function rangeOf({ part, of }: Part['shard'], kibbutzim: number): { from: number; to: number } {
  return { from: Math.floor((kibbutzim * (part - 1)) / of), to: Math.floor((kibbutzim * part) / of) };
}

function tell({ devices, ...scenario }: KibbutzScenario): ToldScenario {
  return {
    ...scenario,
    devices: devices.map(({ app, ...entry }) => {
      if (app.kind === 'app') return { app: app.name, ...entry };
      if (app.kind === 'download') return { app: { download: app.bytes }, ...entry };
      const hash = createHash('sha256');
      for (const { atMs, bytes, direction } of app.entries) hash.update(`${atMs},${bytes},${direction}\n`);
      return { app: { trace: app.file, sha256: hash.digest('hex') }, ...entry };
    }),
  };
}

function checksumOf({ format, scenario, shard, totals }: Omit<Part, 'checksum'>): string {
  return createHash('sha256').update(JSON.stringify({ format, scenario, shard, totals })).digest('hex');
}

function readPart(file: string): Part {
  const wrong = (field: string, expected: string, got: string) =>
    new Error(`${file}: ${field === '' ? '' : `${field}: `}expected ${expected}, got ${got}`);
  let read: unknown;
  try {
    const { size } = statSync(file);
    if (size > mostPartBytes) throw new Error(`expected at most ${mostPartBytes} bytes, got ${size}`);
    read = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
  const problem = validate(partShape, read);
  if (problem) throw wrong(problem.field, problem.expected, problem.got);
  const part = read as Part;
  const { scenario, shard, totals } = part;
  const { kibbutzim } = scenario;
  const { part: number, of } = shard;
  if (of < number || of > kibbutzim) throw wrong('shard.of', `${number}..${kibbutzim}`, `${of}`);
  const { from, to } = rangeOf(shard, kibbutzim);
  const expected: [string, number, number][] = [
    ['totals.kibbutzim', to - from, totals.kibbutzim],
    ['totals.devices.length', scenario.devices.length, totals.devices.length],
    ...scenario.devices.map(({ count }, i): [string, number, number] => [
      `totals.devices[${i}].devices`,
      count * (to - from),
      totals.devices[i]?.devices,
    ]),
  ];
  for (const [field, right, got] of expected) if (got !== right) throw wrong(field, `${right}`, `${got}`);
  const checksum = checksumOf(part);
  if (part.checksum !== checksum)
    throw wrong('checksum', `${checksum} of what the file holds`, `${part.checksum}: it was changed`);
  return part;
}

/** The first place where two values of JSON differ, what was expected there and what came. */
function differenceOf(path: string, expected: unknown, got: unknown): string | undefined {
  if (typeof expected !== 'object' || typeof got !== 'object' || expected === null || got === null)
    return expected === got ? undefined : `${path}: expected ${brief(expected)}, got ${brief(got)}`;
  const [before, after] = [expected, got] as { readonly [key: string]: unknown }[];
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const step = Array.isArray(expected) ? `[${key}]` : `.${key}`;
    const difference = differenceOf(path + step, before[key], after[key]);
    if (difference) return difference;
  }
  return undefined;
}

function brief(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 60);
}

async function printResult(
  scenario: ToldScenario,
  { kibbutzim, events, digest, devices }: Totals,
  { json, print }: { readonly json: boolean | undefined; readonly print: Print },
): Promise<void> {
  const entries = devices.map((totals, i) => ({ app: classOf(scenario.devices[i]), totals }));
  const apps: typeof entries = [];
  for (const { app, totals } of entries) {
    const known = apps.findIndex(other => other.app === app);
    if (known < 0) apps.push({ app, totals });
    else apps[known] = { app, totals: addDevices(apps[known].totals, totals) };
  }
  if (json) {
    const flat = ({ app, totals }: (typeof entries)[number]) => ({ app, ...totals, ...figuresOf(totals) });
    await print(
      JSON.stringify({
        scenario,
        kibbutzim,
        events,
        apps: apps.map(flat),
        entries: entries.map(flat),
        digest,
      }),
    );
    return;
  }
  const { durationMs, policy, radio, local, seed } = scenario;
  await print(
    `${kibbutzim} kibbutzim, ${devicesOf(scenario)} devices, ${formatDuration(durationMs)}, policy ${policy}, ` +
      `radio ${radio}, local link ${local}, seed ${seed}: ${events} events`,
  );
  for (const { app, totals } of apps) await print(describe(app, totals));
  if (entries.length > apps.length)
    for (const [i, { app, totals }] of entries.entries())
      await print(describe(`devices[${i}] ${app}`, totals));
  await print(`digest ${digest}`);
}

/** The application's name, `trace` or `download`: what the totals are told by. */
function classOf({ app }: ToldDevices): string {
  if (typeof app === 'string') return app;
  return 'trace' in app ? 'trace' : 'download';
}

/** What people want of the totals: of the time present, up; the mean RTT; Jain's index of the time up. */
function figuresOf(totals: DeviceTotals): { upPercent: number; meanRttMs: number; jain: number } {
  const { upMs, presentMs, rttMs, answered } = totals;
  return {
    upPercent: round(ratio(100 * upMs, presentMs)),
    meanRttMs: round(ratio(rttMs, answered)),
    jain: round(jainIndexOf(totals)),
  };
}

function describe(name: string, totals: DeviceTotals): string {
  const { devices, presentMs, promotions, requests, answered, unsent } = totals;
  const { takenBytes, givenBytes, downloadedBytes } = totals;
  const { upPercent, meanRttMs, jain } = figuresOf(totals);
  const hours = presentMs / hourMs;
  const span = [totals.leastUpBasisPoints, totals.mostUpBasisPoints].map(points => (points / 100).toFixed(1));
  const parts = [
    `up ${upPercent.toFixed(1)} % (${span[0]} to ${span[1]}, Jain ${jain.toFixed(3)})`,
    `${ratio(promotions, hours).toFixed(1)} promotions/h`,
    `${answered} of ${requests} requests answered${answered > 0 ? `, RTT ${(meanRttMs / 1000).toFixed(2)} s` : ''}`,
    `${megabytes(takenBytes)} MB through neighbours, ${megabytes(givenBytes)} MB for them`,
    ...(downloadedBytes > 0 ? [`${megabytes(downloadedBytes)} MB downloaded`] : []),
    ...(unsent > 0 ? [`${unsent} unsent`] : []),
    ...(totals.waited > 0
      ? [
          `${totals.waited} waited ${(totals.waitedMs / totals.waited / 1000).toFixed(1)} s, ` +
            `at most ${(totals.longestWaitMs / 1000).toFixed(1)} s`,
        ]
      : []),
    `radio ${ratio(totals.radioMillijoules / 1000, hours).toFixed(0)} J/h`,
    `local link ${ratio(totals.localMillijoules / 1000, hours).toFixed(0)} J/h`,
  ];
  return `${name}, ${devices} devices: ${parts.join('; ')}`;
}

function describeSpeed(
  { events, devices }: Totals,
  { workers, seconds }: { readonly workers: number; readonly seconds: number },
): string {
  const hours = devices.reduce((sum, { presentMs }) => sum + presentMs, 0) / hourMs;
  const perSecond = (count: number) => Math.round(count / seconds).toLocaleString('en');
  return `${seconds.toFixed(1)} s on ${workers} worker thread${workers === 1 ? '' : 's'}: ${perSecond(events)} events/s, ${perSecond(hours)} device-hours/s`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function ratio(a: number, b: number): number {
  return b > 0 ? a / b : 0;
}

function round(value: number): number {
  return Number(value.toFixed(4));
}
