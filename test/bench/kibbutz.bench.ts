/**
 * The usual scenario of `kith sim kibbutz`: kibbutzim of five with mixed applications, two hours each, on one and on two
 * worker threads. Wall-clock times include starting the threads. What they cost for each device must not grow with the
 * number of devices; memory is the most this process, threads included, has held so far, so that it rises from row to row.
 */

import { runKibbutzim } from '../../host-sim/scenario/kibbutz/run.js';
import { parseScenario } from '../../host-sim/scenario/kibbutz/scenario-file.js';
import { runOnWorkers } from '../../host-sim/scenario/kibbutz/workers.js';
import { measure, type Row } from './row.js';

export const name = 'kibbutz';

const inEach = 5;
const hours = 2;
const scenario = parseScenario(
  'bench',
  JSON.stringify({
    duration: `${hours}h`,
    devices: [{ app: 'streaming', count: 2 }, { app: 'web', count: 2 }, { app: 'background' }],
  }),
  () => '',
);

export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const policy of ['paper', 'kith'] as const) {
    let number = 0;
    const next = () => runKibbutzim({ ...scenario, policy }, number, ++number);
    rows.push(
      measure(`one thread, policy ${policy}`, 'events/s', {}, () => next().events),
      measure(`one thread, policy ${policy}`, 'device-hours/s', {}, () => next().kibbutzim * inEach * hours),
    );
  }
  rows.push(...(await many(1_000, { workers: 2, runs: 3 })));
  rows.push(...(await many(10_000, { workers: 1, runs: 1 })));
  // The customer's goals, on two cores.
  rows.push(...(await many(10_000, { workers: 2, runs: 3, goalSeconds: 60, goalMegabytes: 1_000 })));
  rows.push(...(await many(20_000, { workers: 2, runs: 1 })));
  return rows;
}

interface ManyOptions {
  readonly workers: number;
  readonly runs: number;
  readonly goalSeconds?: number;
  readonly goalMegabytes?: number;
}

async function many(
  devices: number,
  { workers, runs, goalSeconds, goalMegabytes }: ManyOptions,
): Promise<Row[]> {
  const seconds: number[] = [];
  for (let i = 0; i < runs; i++) {
    const startedAt = performance.now();
    const to = devices / inEach;
    const totals = await runOnWorkers(scenario, { from: 0, to, workers });
    if (totals.kibbutzim !== to) throw new Error(`expected ${to} kibbutzim, got ${totals.kibbutzim}`);
    seconds.push((performance.now() - startedAt) / 1000);
  }
  const title = `${devices.toLocaleString('en')} devices × ${hours} h, ${workers} thread${workers === 1 ? '' : 's'}`;
  // Kilobytes (getrusage).
  const megabytes = process.resourceUsage().maxRSS / 1024;
  return [
    row(title, 's', seconds, goalSeconds),
    row(
      title,
      'device-hours/s',
      seconds.map(elapsed => (devices * hours) / elapsed),
      undefined,
    ),
    row(`${title}, resident`, 'MB', [megabytes], goalMegabytes),
  ];
}

function row(title: string, unit: string, values: readonly number[], goal: number | undefined): Row {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    name: title,
    unit,
    median: sorted[sorted.length >> 1],
    min: sorted[0],
    max: sorted[sorted.length - 1],
    runs: sorted.length,
    ...(goal !== undefined && { goal }),
  };
}
