/**
 * Makes one file of the suite (or another entry) for an engine: as it is for Node and XS, lowered for Espruino.
 */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, transform } from 'esbuild';
import { formatHex } from '../../agent/core/bytes.js';
import { lower, renamed } from '../../edge/espruino/lower.js';
import { CaptureReader } from '../../host-sim/capture/pcap.js';
import { capturePaths } from '../support/captures.js';
import type { Given } from './suite.js';

export type Dialect = 'modern' | 'espruino';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** What may be asked for beside the entry and the engine. */
export interface BundleOptions {
  readonly minify?: boolean;
  /** Values for names the entry declares. */
  readonly define?: { readonly [name: string]: unknown };
}

/** `entry`: a file of this folder, such as `main.ts`; or, if it holds a line break or a blank, the text of one. */
export async function bundle(
  entry: string,
  dialect: Dialect,
  { minify = false, define = {} }: BundleOptions = {},
): Promise<string> {
  const bundled = await build({
    ...(entry.includes(' ')
      ? { stdin: { contents: entry, resolveDir: here('.'), loader: 'ts' } }
      : { entryPoints: [here(entry)] }),
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2022',
    charset: 'ascii',
    minify: minify && dialect === 'modern',
    define: Object.fromEntries(Object.entries(define).map(([name, value]) => [name, JSON.stringify(value)])),
    tsconfig: here('../../tsconfig.base.json'),
    logLevel: 'error',
  });
  const { text } = bundled.outputFiles[0];
  if (dialect === 'modern') return text;
  const options = { target: 'es2015', charset: 'ascii', minify } as const;
  return renamed((await transform(await lower(text), options)).code);
}

/** From each capture the frames up to this one: some of each protocol, few enough for the slowest engine. */
const framesEach = 12;

export function given(): Given {
  const captured: string[] = [];
  for (const path of capturePaths()) captured.push(...framesIn(path).slice(0, framesEach));
  const { vectors } = JSON.parse(readFileSync(here('../vectors/cbor-appendix-a.json'), 'utf8')) as {
    vectors: { hex: string; value?: unknown }[];
  };
  // Nested text is ASCII in that appendix.
  const isWide = ({ value }: { value?: unknown }) =>
    typeof value === 'string' && [...value].some(character => character > '\xff');
  const hexOf = (list: typeof vectors) => list.map(({ hex }) => hex);
  return {
    cbor: hexOf(vectors.filter(vector => !isWide(vector))),
    wideCbor: hexOf(vectors.filter(isWide)),
    captured,
  };
}

function framesIn(path: string): string[] {
  const reader = new CaptureReader(path);
  reader.push(readFileSync(path));
  const frames: string[] = [];
  for (let frame = reader.next(); frame; frame = reader.next()) frames.push(formatHex(frame.bytes));
  reader.end();
  return frames;
}
