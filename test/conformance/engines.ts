/**
 * The engines: how each runs a bundle, and how one comes by it. XS is built from the npm package `@agoric/xsnap` once and
 * kept in node_modules/.cache, for words of 64 bits and, as a board's are, of 32; Espruino is the Linux binary that
 * KITH_ESPRUINO names.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import { needs } from '../support/needs.js';

const xsnapVersion = '0.15.0';
const mostOutputBytes = 64 << 20;
const mostBuildMs = 180_000;
const mostRunMs = 240_000;

/** Runs a bundle to its end; the lines it printed. */
export type Run = (bundle: string) => string[];

/** In a context of its own: nothing of Node is there but `print` and `performance.now`. */
export const node: Run = bundle => {
  const lines: string[] = [];
  const context = createContext({
    print: (line: string) => void lines.push(line),
    performance: { now: () => performance.now() },
  });
  runInContext(bundle, context, { timeout: mostRunMs });
  return lines;
};

/** 32: slots of 16 bytes and pointers of 4, as on a board. */
export type Bits = 32 | 64;

/** XS, built if it is not there yet; `undefined` if it cannot be, which has been said. */
export function xs(bits: Bits = 64): Run | undefined {
  const program = xsnap(bits);
  return program === undefined ? undefined : bundle => run(program, ['-m'], 'bundle.mjs', bundle);
}

/** What a machine of XS with 32 bits holds once a bundle has run, and all garbage is collected; `undefined` as for `xs`. */
export function xsMemory(
  bundle: string,
): { readonly slots: number; readonly chunkBytes: number } | undefined {
  const program = xsnap(32);
  if (program === undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'kith-engine-'));
  try {
    const snapshot = join(folder, 'snapshot');
    run(program, ['-w', snapshot, '-m'], 'bundle.mjs', bundle);
    return sizesIn(readFileSync(snapshot));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** XS's snapshots (xsSnapshot.c): atoms of length (4 bytes, itself included), name, and data, all within one. */
function sizesIn(snapshot: Buffer): { slots: number; chunkBytes: number } {
  const headerBytes = 8;
  const slotBytes = 16;
  let slots = 0;
  let chunkBytes = 0;
  for (let at = headerBytes; at < snapshot.length; at += snapshot.readUInt32BE(at)) {
    const name = snapshot.toString('latin1', at + 4, at + headerBytes);
    const bytes = snapshot.readUInt32BE(at) - headerBytes;
    if (name === 'HEAP') slots = bytes / slotBytes;
    if (name === 'BLOC') chunkBytes = bytes;
  }
  return { slots, chunkBytes };
}

/** Espruino for Linux; `undefined` if KITH_ESPRUINO names none, which has been said. */
export function espruino(): Run | undefined {
  const program = process.env['KITH_ESPRUINO'];
  // It greets first, and prompts last.
  if (program)
    return bundle => {
      const lines = run(program, [], 'bundle.js', bundle);
      const greeting = lines.findIndex(line => line.startsWith('http://espruino.com/'));
      return lines.slice(greeting + 2).filter(line => line !== '>');
    };
  // Debian has none, so not even where interoperability is required (test/support/needs.ts) must it be there.
  console.log(
    'SKIP: KITH_ESPRUINO is not set: the path of an Espruino for Linux (make BOARD=LINUX RELEASE=1)',
  );
  return undefined;
}

function run(program: string, options: readonly string[], name: string, bundle: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'kith-engine-'));
  try {
    const path = join(folder, name);
    writeFileSync(path, bundle);
    const { stdout, stderr, error, signal } = spawnSync(program, [...options, path], {
      encoding: 'utf8',
      maxBuffer: mostOutputBytes,
      timeout: mostRunMs,
    });
    if (error || signal) throw new Error(`${program}: ${error?.message ?? signal}: ${stderr.slice(-500)}`);
    const lines = stdout.split(/\r?\n/);
    if (lines[lines.length - 1] === '') lines.pop();
    return stderr === '' ? lines : [...lines, `stderr: ${stderr}`];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function xsnap(bits: Bits): string | undefined {
  const suffix = bits === 32 ? '-32' : '';
  const cache = fileURLToPath(
    new URL(`../../node_modules/.cache/kith/xsnap-${xsnapVersion}${suffix}/`, import.meta.url),
  );
  const program = join(cache, 'package/moddable/build/bin/lin/release/xsnap');
  if (existsSync(program)) return program;
  if (process.platform !== 'linux') return skipped('XS is only built on Linux');
  if (!needs('gcc', 'gcc') || !needs('make', 'make') || !needs('npm', 'npm')) return undefined;
  if (bits === 32 && !canBuild32())
    return skipped('gcc -m32 builds no program: apt-get install gcc-multilib');
  // Built beside it and moved there whole, so that two tests at once do no harm.
  mkdirSync(join(cache, '..'), { recursive: true });
  const folder = mkdtempSync(join(cache, '../building-'));
  try {
    try {
      const name = `@agoric/xsnap@${xsnapVersion}`;
      const packed = execFileSync('npm', ['pack', '--silent', name], {
        cwd: folder,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: mostBuildMs,
      });
      execFileSync('tar', ['xf', packed.trim()], { cwd: folder });
    } catch (error) {
      return skipped(`npm pack @agoric/xsnap@${xsnapVersion} failed: ${firstLine(error)}`);
    }
    const makefiles = join(folder, 'package/xsnap-native/xsnap/makefiles/lin');
    const options = [
      'GOAL=release',
      `MODDABLE=${join(folder, 'package/moddable')}`,
      `XSNAP_VERSION=${xsnapVersion}`,
      ...(bits === 32 ? ['CC=gcc -m32'] : []),
    ];
    execFileSync('make', ['-C', makefiles, '-f', 'xsnap.mk', ...options], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: mostBuildMs,
    });
    try {
      renameSync(folder, cache);
    } catch (error) {
      // Another test was faster.
      if (!existsSync(program)) throw error;
    }
    return program;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function canBuild32(): boolean {
  const { status } = spawnSync('gcc', ['-m32', '-x', 'c', '-o', '/dev/null', '-'], {
    input: 'int main(void) { return 0; }',
  });
  return status === 0;
}

function skipped(why: string): undefined {
  if (process.env['KITH_REQUIRE_INTEROP']) throw new Error(`${why} (KITH_REQUIRE_INTEROP is set)`);
  console.log(`SKIP: ${why}`);
  return undefined;
}

function firstLine(error: unknown): string {
  return String((error as Error).message).split('\n')[0];
}
