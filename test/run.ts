/**
 * The test wrapper: `npm test [-- PART…]` runs every test/**\/*.test.ts whose path contains one of the PARTs.
 *
 * Each file runs in a process of its own, so that what uvu lets pass is a failure here: a file that forgets
 * `test.run()` or holds no test, a handle left open after the last test, a pattern that matches nothing.
 * The last line is `N passed, N failed` (`, N skipped`); every skip prints why (test/support/needs.ts).
 */

import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Outcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly output: string;
  /** Why the file as a whole failed, beyond its own tests. */
  readonly fault?: string;
}

/** A file may take this long in all; the slowest (kill -9 in a loop) needs about a third of it here. */
const fileLimitMs = 300_000;
/** After uvu's summary a file must exit by itself within this time, or a handle was left open. */
const exitLimitMs = 5_000;

export async function runFile(path: string): Promise<Outcome> {
  const hook = new URL('./support/open-handles.ts', import.meta.url).href;
  const child = spawn(process.execPath, ['--import', 'tsx', '--import', hook, path], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, FORCE_COLOR: '0', NODE_OPTIONS: '' },
  });
  let output = '';
  let fault: string | undefined;
  let exitTimer: NodeJS.Timeout | undefined;
  const stop = (why: string) => {
    fault ??= why;
    child.kill('SIGUSR2'); // open-handles.ts names what is open and exits
    setTimeout(() => child.kill('SIGKILL'), 2_000).unref();
  };
  const fileTimer = setTimeout(() => stop(`took longer than ${fileLimitMs / 1000} s`), fileLimitMs);
  const hear = (chunk: Buffer) => {
    output += chunk;
    if (!exitTimer && /^ {2}Duration: /m.test(output)) {
      exitTimer = setTimeout(() => stop('left a handle open: close what the tests opened'), exitLimitMs);
    }
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const code = await new Promise<number | null>(done => child.on('close', done));
  clearTimeout(fileTimer);
  clearTimeout(exitTimer);
  // A file that defines several suites prints a summary once for all of them.
  const count = (label: string) => Number(new RegExp(`^ {2}${label}: +(\\d+)`, 'm').exec(output)?.[1] ?? 0);
  const total = count('Total');
  const passed = count('Passed');
  const skipped = count('Skipped');
  if (!fault && total + skipped === 0) fault = 'ran no test: is `test.run()` missing?';
  const failed = Math.max(0, total - passed);
  if (!fault && code !== 0 && failed === 0) fault = `exited with code ${code} although no test failed`;
  return { file: path, passed, failed, skipped, output, ...(fault === undefined ? {} : { fault }) };
}

async function main(parts: readonly string[]): Promise<boolean> {
  const root = fileURLToPath(new URL('.', import.meta.url));
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.test.ts') && !name.startsWith('support'))
    .filter(name => parts.length === 0 || parts.some(part => name.includes(part)))
    .sort();
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  const waiting = [...files];
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const outcome = await runFile(join(root, file));
      passed += outcome.passed;
      failed += outcome.failed + (outcome.fault ? 1 : 0);
      skipped += outcome.skipped;
      const bad = outcome.failed > 0 || outcome.fault !== undefined;
      console.log(
        `${bad ? 'FAIL' : 'ok  '} ${file} (${outcome.passed}${outcome.skipped ? `, ${outcome.skipped} skipped` : ''})`,
      );
      for (const line of outcome.output.split('\n'))
        if (line.startsWith('SKIP: ')) console.log(`     ${line}`);
      if (bad) console.log(outcome.output.trimEnd());
      if (outcome.fault) console.log(`     ${outcome.fault}`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, work));
  if (files.length === 0) {
    console.log(`no test file matches ${parts.join(', ')}`);
    failed++;
  }
  console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`);
  return failed === 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.exit((await main(process.argv.slice(2))) ? 0 : 1);
