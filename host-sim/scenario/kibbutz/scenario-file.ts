/**
 * A scenario file: what kibbutzim to simulate and which devices are in each, as people write it in JSON (RFC 8259):
 *
 *     { "duration": "1h", "radio": "lte-huang", "local": "bluetooth", "kibbutzim": 2000,
 *       "devices": [ { "app": "streaming", "count": 2 },
 *                    { "app": { "trace": "train.csv" }, "leaveAt": "40m", "loss": 0.05 },
 *                    { "app": { "download": 6000000 }, "joinAt": "5m", "blackouts": [{ "from": "10m", "to": "11m" }] } ] }
 *
 * Only `devices` must be given; defaults are the seed's simulation (mobile kibbutz, §2.1.3.2.3). Durations and instants
 * are texts like `30s` (agent/core/time.ts), from the start. Unknown keys are refused. Of duplicate keys the last counts.
 *
 * Bounds: `mostScenarioBytes`, `mostTraceBytes`, `mostEntries` in `devices`, `mostDevices` in a kibbutz, `mostBlackouts` of a
 * device, `mostSimulated` devices in all.
 */

import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { formatDuration, parseDuration } from '../../../agent/core/time.js';
import type { Policy } from '../../../agent/kibbutz/kibbutz.js';
import { type Shape, validate } from '../../../agent/message/schema.js';
import { type AppName, appNames, type TraceEntry } from '../../sim/app.js';
import { localLinkModels } from '../../sim/local-link.js';
import { type RadioModel, radioModels } from '../../sim/radio.js';
import { mostTraceMs, parseTrace } from './trace.js';

export const mostScenarioBytes = 1024 * 1024;
/** A million lines of 64 bytes. */
export const mostTraceBytes = 64 * 1024 * 1024;
const mostEntries = 64;
/** In one kibbutz. The seed expects five (§2.1.3.2.3). */
const mostDevices = 64;
const mostBlackouts = 64;
/** A hundred times the 10,000 devices the simulator is measured with. */
const mostSimulated = 1_000_000;
/** Of a download. */
const mostDownloadBytes = 1e12;
/** What the agent takes (KibbutzOptions.tailMs), ms. */
const longestTailMs = 60_000;
/** A trace can last as long. */
const longestMs = mostTraceMs;

export type RadioName = keyof typeof radioModels;
export type LocalLinkName = keyof typeof localLinkModels;

/** A scenario file with every default filled in. Spans and instants are virtual milliseconds. */
export interface KibbutzScenario {
  readonly seed: number;
  readonly durationMs: number;
  readonly policy: Policy;
  readonly radio: RadioName;
  readonly local: LocalLinkName;
  readonly initialCredit: number;
  /** The radio's own unless the file says another; at least as long as its states need. */
  readonly tailMs: number;
  /** How many such kibbutzim there are. */
  readonly kibbutzim: number;
  readonly devices: readonly ScenarioDevices[];
}

/** Devices that are alike, `count` in each kibbutz. */
export interface ScenarioDevices {
  readonly app: ScenarioApp;
  readonly count: number;
  /** 0 ≤ joinAt < leaveAt ≤ durationMs. */
  readonly joinAt: number;
  readonly leaveAt: number;
  /** In order, not overlapping, none empty, within the time the device is there. */
  readonly blackouts: readonly { readonly fromAt: number; readonly toAt: number }[];
  /** Probability 0 … 1 that a packet between it and a neighbour is lost. */
  readonly loss: number;
  /** Takes and does not give. */
  readonly leech: boolean;
}

export type ScenarioApp =
  | { readonly kind: 'app'; readonly name: AppName }
  /** `entries` is one and the same array for each mention of a file. */
  | { readonly kind: 'trace'; readonly file: string; readonly entries: readonly TraceEntry[] }
  | { readonly kind: 'download'; readonly bytes: number };

/** The text of a trace file a scenario names; throws if it cannot be had. */
export type ReadText = (file: string) => string;

const duration: Shape = ['say', 'a duration such as "90s" or "2h"', ['regexp', '[0-9]{1,12}(ms|s|m|h|d)']];
const shape: Shape = [
  'closed',
  ['seed?', ['range', 0, Number.MAX_SAFE_INTEGER]],
  ['duration?', duration],
  ['policy?', ['is', 'paper', 'kith']],
  ['radio?', ['is', ...Object.keys(radioModels)]],
  ['local?', ['is', ...Object.keys(localLinkModels)]],
  ['initialCredit?', ['range', 1, 1000]],
  ['tail?', duration],
  ['kibbutzim?', ['range', 1, mostSimulated]],
  [
    'devices',
    [
      'list',
      [
        'closed',
        [
          'app',
          [
            'say',
            `${appNames.map(name => `"${name}"`).join(', ')}, {"trace": file} or {"download": bytes}`,
            [
              'one',
              ['is', ...appNames],
              [
                'closed',
                ['trace?', ['size', 'tstr', 1, 4096]],
                ['download?', ['range', 1, mostDownloadBytes]],
              ],
            ],
          ],
        ],
        ['count?', ['range', 1, mostDevices]],
        ['joinAt?', duration],
        ['leaveAt?', duration],
        ['blackouts?', ['list', ['closed', ['from', duration], ['to', duration]], 0, mostBlackouts]],
        ['loss?', 'number'],
        ['leech?', 'bool'],
      ],
      1,
      mostEntries,
    ],
  ],
];

/** What `shape` lets through. */
interface RawScenario {
  readonly seed?: number;
  readonly duration?: string;
  readonly policy?: Policy;
  readonly radio?: RadioName;
  readonly local?: LocalLinkName;
  readonly initialCredit?: number;
  readonly tail?: string;
  readonly kibbutzim?: number;
  readonly devices: readonly RawDevices[];
}

interface RawDevices {
  readonly app: AppName | { readonly trace?: string; readonly download?: number };
  readonly count?: number;
  readonly joinAt?: string;
  readonly leaveAt?: string;
  readonly blackouts?: readonly { readonly from: string; readonly to: string }[];
  readonly loss?: number;
  readonly leech?: boolean;
}

/**
 * Reads a scenario file and the traces it names, relative to its own folder. Throws an Error as `parseScenario` does, or that
 * says which file cannot be read.
 */
export function readScenario(path: string): KibbutzScenario {
  const folder = dirname(path);
  return parseScenario(path, readText(path, mostScenarioBytes), file =>
    readText(resolve(folder, file), mostTraceBytes),
  );
}

/**
 * The scenario in a text. Throws an Error that names the scenario (`name`), the path of the field at fault, what was expected
 * there and what came: `home.json: devices[2].leaveAt: expected after joinAt, 10m, got 5m`. What is wrong in a trace is told
 * by the trace's own line (trace.ts), behind the path of the field that names it.
 */
export function parseScenario(name: string, text: string, readTrace: ReadText): KibbutzScenario {
  const raw = parseJson(name, text);
  const problem = validate(shape, raw);
  if (problem) throw wrong(name, problem.field, problem.expected, problem.got);
  const { seed = 1, policy = 'paper', radio = 'paper', local = 'perfect', ...rest } = raw as RawScenario;
  const { initialCredit = 5, kibbutzim = 1 } = rest;
  const durationMs = readDuration(name, 'duration', rest.duration ?? '2h', 1, longestMs);
  const model: RadioModel = radioModels[radio];
  // A tail shorter than its states would leave some out; one of no length could not be advertised.
  const leastTailMs = Math.max(1, model.tail[model.tail.length - 1].afterMs);
  const tail = rest.tail ?? formatDuration(model.tailMs);
  const tailMs = readDuration(name, 'tail', tail, leastTailMs, longestTailMs);
  const traces = new Map<string, readonly TraceEntry[]>();
  const devices = rest.devices.map((entry, i) => {
    const path = `devices[${i}]`;
    const app = readApp(name, `${path}.app`, entry.app, traces, readTrace);
    return { app, ...readDevices(name, path, entry, durationMs) };
  });
  const inEach = devices.reduce((sum, { count }) => sum + count, 0);
  if (inEach > mostDevices)
    throw wrong(name, 'devices', `at most ${mostDevices} devices in a kibbutz`, `${inEach}`);
  if (inEach * kibbutzim > mostSimulated)
    throw wrong(name, 'kibbutzim', `at most ${mostSimulated} devices in all`, `${kibbutzim} × ${inEach}`);
  return { seed, durationMs, policy, radio, local, initialCredit, tailMs, kibbutzim, devices };
}

function readDevices(
  name: string,
  path: string,
  entry: RawDevices,
  durationMs: number,
): Omit<ScenarioDevices, 'app'> {
  const { count = 1, loss = 0, leech = false } = entry;
  if (!(loss >= 0 && loss <= 1)) throw wrong(name, `${path}.loss`, 'a probability 0..1', `${loss}`);
  const joinAt = readDuration(name, `${path}.joinAt`, entry.joinAt ?? '0s', 0, durationMs);
  if (joinAt === durationMs)
    throw wrong(name, `${path}.joinAt`, `before the end, ${formatDuration(durationMs)}`, `${entry.joinAt}`);
  const leave = entry.leaveAt ?? formatDuration(durationMs);
  const leaveAt = readDuration(name, `${path}.leaveAt`, leave, 0, durationMs);
  if (leaveAt <= joinAt)
    throw wrong(name, `${path}.leaveAt`, `after joinAt, ${formatDuration(joinAt)}`, leave);
  let before = joinAt;
  const blackouts = (entry.blackouts ?? []).map(({ from, to }, i) => {
    const place = `${path}.blackouts[${i}]`;
    const fromAt = readDuration(name, `${place}.from`, from, before, leaveAt);
    const toAt = readDuration(name, `${place}.to`, to, fromAt, leaveAt);
    if (toAt === fromAt) throw wrong(name, `${place}.to`, `after from, ${formatDuration(fromAt)}`, to);
    before = toAt;
    return { fromAt, toAt };
  });
  return { count, joinAt, leaveAt, blackouts, loss, leech };
}

function readApp(
  name: string,
  path: string,
  app: RawDevices['app'],
  traces: Map<string, readonly TraceEntry[]>,
  readTrace: ReadText,
): ScenarioApp {
  if (typeof app === 'string') return { kind: 'app', name: app };
  const { trace, download } = app;
  if ((trace === undefined) === (download === undefined))
    throw wrong(name, path, 'either trace or download', trace === undefined ? 'neither' : 'both');
  if (trace === undefined) return { kind: 'download', bytes: download as number };
  let entries = traces.get(trace);
  if (!entries) {
    try {
      entries = parseTrace(trace, readTrace(trace));
    } catch (error) {
      throw new Error(`${name}: ${path}.trace: ${(error as Error).message}`, { cause: error });
    }
    traces.set(trace, entries);
  }
  return { kind: 'trace', file: trace, entries };
}

/** Milliseconds of a duration from `least` to `most`. */
function readDuration(name: string, path: string, text: string, least: number, most: number): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= least && ms <= most) return ms;
  throw wrong(name, path, `${formatDuration(least)}..${formatDuration(most)}`, text);
}

function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: expected JSON: ${(error as Error).message}`, { cause: error });
  }
}

function readText(path: string, mostBytes: number): string {
  let problem: string;
  try {
    const file = statSync(path);
    if (!file.isFile()) throw new Error('expected a file');
    const { size } = file;
    if (size <= mostBytes) return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
    problem = `expected at most ${mostBytes} bytes, got ${size}`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    problem = code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'expected UTF-8' : (error as Error).message;
  }
  throw new Error(`${path}: ${problem}`);
}

function wrong(name: string, path: string, expected: string, got: string): Error {
  return new Error(`${name}: ${path === '' ? '' : `${path}: `}expected ${expected}, got ${got}`);
}
