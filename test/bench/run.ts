/**
 * `npm run bench [-- PART…] [-- --json]`: runs every test/bench/*.bench.ts whose name contains one of the PARTs and
 * prints a table, or with --json one JSON document. Medians count: machines are noisy, and a ratio within one run says
 * more than a figure.
 */

import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Row } from './row.js';

interface Bench {
  readonly name: string;
  run(): Promise<Row[]>;
}

const root = fileURLToPath(new URL('.', import.meta.url));

/** Each file in a process of its own: what one leaves on the heap is not the next one's memory or speed. */
async function runApart(file: string): Promise<{ name: string; rows: Row[] }> {
  const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', `${root}run.ts`, '--only', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', chunk => {
    output += chunk;
  });
  const code = await new Promise<number | null>(done => child.on('close', done));
  if (code !== 0) throw new Error(`${file} exited with code ${code}`);
  return JSON.parse(output.slice(output.lastIndexOf('\n{') + 1));
}

function table(name: string, rows: readonly Row[]): string {
  const cells = rows.map(row => [
    row.name,
    figure(row.median),
    row.unit,
    `${figure(row.min)} … ${figure(row.max)}`,
    row.goal === undefined ? '' : `goal ${figure(row.goal)}`,
  ]);
  const widths = [0, 1, 2, 3].map(i => Math.max(...cells.map(row => row[i].length)));
  const lines = cells.map(row =>
    row
      .map((cell, i) => (i === 1 ? cell.padStart(widths[i]) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
  return [`# ${name}`, ...lines, ''].join('\n');
}

function figure(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}

const args = process.argv.slice(2);
if (args[0] === '--only') {
  const { name, run }: Bench = await import(`./${args[1]}`);
  const rows = await run();
  // On a line of its own, whatever the benchmark may have printed.
  console.log(`\n${JSON.stringify({ name, rows })}`);
  process.exit(0);
}
const json = args.includes('--json');
const parts = args.filter(arg => arg !== '--json');
const files = readdirSync(root)
  .filter(
    file => file.endsWith('.bench.ts') && (parts.length === 0 || parts.some(part => file.includes(part))),
  )
  .sort();
if (files.length === 0) {
  console.error(`no benchmark matches ${parts.join(', ')}`);
  process.exit(1);
}
const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`;
if (!json) console.log(`${machine}\nmedian, unit, min … max\n`);
const all: { name: string; rows: Row[] }[] = [];
for (const file of files) {
  const bench = await runApart(file);
  all.push(bench);
  if (!json) console.log(table(bench.name, bench.rows));
}
if (json) console.log(JSON.stringify({ machine, benches: all }, null, 2));
