/**
 * Builds the firmware for Espruino: `node --import tsx edge/espruino/build.ts [--jobs power-proxy|kibbutz|none] [--out FILE]`.
 *
 * One ASCII script. Two things make it small beside minification: what a build does not do is left out (`--jobs`), and the
 * names of properties that never leave the board are shortened: those declared `private`, and those that end in a unit of
 * time (style.md 4), which no message has. Names of messages (messages.cddl) are never touched.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { descriptors } from '../../agent/message/messages.js';
import { faults, lower, renamed } from './lower.js';

export interface FirmwareOptions {
  /** `none`: it only reports. */
  readonly jobs: 'power-proxy' | 'kibbutz' | 'none';
  readonly minify?: boolean;
}

/** What a board with little flash takes (issue 6). */
export const mostBytes = 20_480;

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The script. Throws if Espruino would reject it, or if it is too large. */
export async function buildFirmware({ jobs, minify = true }: FirmwareOptions): Promise<string> {
  // Development dependencies, which a package that is only used does not have.
  const { build, transform } = await import('esbuild');
  const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as { version: string };
  const bundled = await build({
    entryPoints: [resolve(root, 'edge/espruino/main.ts')],
    bundle: true,
    write: false,
    metafile: true,
    format: 'iife',
    target: 'es2022',
    charset: 'ascii',
    minifySyntax: true,
    define: {
      firmware: JSON.stringify(`kith ${version}`),
      withRules: String(jobs === 'power-proxy'),
      withKibbutz: String(jobs === 'kibbutz'),
    },
    tsconfig: resolve(root, 'tsconfig.base.json'),
    logLevel: 'error',
  });
  const sources = Object.keys(bundled.metafile.inputs).map(file =>
    readFileSync(resolve(root, file.replace(/^.*?(?=agent\/|edge\/)/, '')), 'utf8'),
  );
  const lowered = await lower(bundled.outputFiles[0].text);
  const { code } = await transform(lowered, {
    target: 'es2015',
    charset: 'ascii',
    minify,
    treeShaking: true,
    ...(minify ? { mangleProps: internalNames(sources), reserveProps: /^char(?:Code)?At$/ } : {}),
  });
  // Espruino has one mode, and it is not that.
  const script = (await renamed(code.trimEnd().replace(/^"use strict";/, ''))).replaceAll(
    'boardModule(',
    'require(',
  );
  const found = await faults(script);
  if (found.length > 0) throw new Error(`Espruino would reject it: ${found.join('; ')}`);
  if (minify && script.length > mostBytes)
    throw new Error(`firmware: expected at most ${mostBytes} bytes, got ${script.length}`);
  return script;
}

/** Matches the names of properties that no message, no file and no module of the board has. */
function internalNames(sources: readonly string[]): RegExp {
  const outward = new Set<string>();
  collectKeys(Object.values(descriptors), outward);
  for (const builtIn of [
    Object,
    Array,
    String,
    Number,
    Boolean,
    Function,
    RegExp,
    ArrayBuffer,
    DataView,
    Error,
    Date,
  ])
    for (const name of [
      ...Object.getOwnPropertyNames(builtIn),
      ...Object.getOwnPropertyNames(builtIn.prototype),
    ])
      outward.add(name);
  for (const builtIn of [Math, JSON, Object.getPrototypeOf(Uint8Array.prototype) as object])
    for (const name of Object.getOwnPropertyNames(builtIn)) outward.add(name);
  const names = new Set<string>();
  for (const source of sources)
    for (const [, name] of source.matchAll(/^ {2}private (?:readonly )?(\w+)/gm))
      if (!outward.has(name) && !boardNames.has(name)) names.add(name);
  for (const name of innerNames) names.add(name);
  return new RegExp(`^(?:${[...names].join('|')}|\\w+(?:At|Ms|Due))$`);
}

/** Public, and yet only from one file of the bundle to another. */
const innerNames = [
  'outbox',
  'isReady',
  'capacity',
  'retained',
  'clientId',
  'targetMac',
  'keepAliveS',
  'room',
  'snapshot',
  'until',
  'makeJob',
  'jobNames',
  'putRule',
  'removeRule',
  'wakeFor',
  'knocked',
  'pollJob',
  'flushJob',
  'reportAll',
  'inForceTexts',
  'tellRule',
  'tellEvent',
  'askFor',
  'rulesChanged',
  'unsaved',
  'body',
  'jobCounters',
  'sentOwn',
  'highest',
  'seen',
  'offered',
  'used',
  'trouble',
  'accepted',
  'dropped',
  'refusedUntil',
  'kind',
  'topic',
  'retain',
  'receive',
  'publish',
  'subscribe',
  'poll',
  'will',
  'tally',
  'up',
  'down',
  'add',
];

/** Of Espruino's objects and of main.ts's files: `write`, `send` … are called on sockets too. */
const boardNames = new Set(
  'send receive publish subscribe connect close end on write read list erase bind key value'.split(' '),
);

/** The keys of all maps in a descriptor, without the `?` of optional ones. */
function collectKeys(shape: unknown, into: Set<string>): void {
  if (!Array.isArray(shape)) return;
  const isMap = shape[0] === 'open' || shape[0] === 'closed';
  for (const part of shape) {
    if (isMap && Array.isArray(part) && typeof part[0] === 'string') into.add(part[0].replace('?', ''));
    collectKeys(part, into);
  }
}

function argument(name: string, fallback: string): string {
  const at = process.argv.indexOf(name);
  return at < 0 ? fallback : (process.argv[at + 1] ?? '');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const jobs = argument('--jobs', 'power-proxy');
  if (jobs !== 'power-proxy' && jobs !== 'kibbutz' && jobs !== 'none')
    throw new Error(`--jobs: expected power-proxy, kibbutz or none, got ${jobs}`);
  const script = await buildFirmware({ jobs });
  const out = argument('--out', '');
  if (out === '') process.stdout.write(`${script}\n`);
  else writeFileSync(out, script);
  console.error(`${script.length} bytes of at most ${mostBytes}, jobs: ${jobs}`);
}
