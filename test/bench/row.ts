/** A line of the benchmark table, and how a rate is measured. Every bench exports `name` and `run(): Promise<Row[]>`. */

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
  /** What the median must reach. */
  readonly goal?: number;
}

const runs = 5;
const warmUpMs = 200;
const runMs = 200;

/**
 * Operations per second of `work`, which returns how many it did and is called until each of five runs has lasted 200 ms.
 * One call should take some milliseconds at most, and use what it computes: the compiler leaves out work nobody reads.
 */
export function measure(name: string, unit: string, options: { goal?: number }, work: () => number): Row {
  rate(work, warmUpMs);
  const rates: number[] = [];
  for (let i = 0; i < runs; i++) rates.push(rate(work, runMs));
  rates.sort((a, b) => a - b);
  return { name, unit, median: rates[runs >> 1], min: rates[0], max: rates[runs - 1], runs, ...options };
}

function rate(work: () => number, leastMs: number): number {
  const start = performance.now();
  let operations = 0;
  let elapsedMs = 0;
  while (elapsedMs < leastMs) {
    operations += work();
    elapsedMs = performance.now() - start;
  }
  return (operations * 1000) / elapsedMs;
}

/**
 * Bytes of heap that `work` leaves behind for each of the frames it returns the number of, rounded by what the engine itself
 * needs in the meantime. One call should be too short for the engine to collect garbage by itself.
 */
export function allocation(title: string, warmUps: number, work: () => number): Row {
  const { gc } = globalThis;
  if (!gc) throw new Error('run it with --expose-gc');
  for (let i = 0; i < warmUps; i++) work();
  const perFrame: number[] = [];
  for (let run = 0; run < runs; run++) {
    gc();
    const before = process.memoryUsage().heapUsed;
    const count = work();
    perFrame.push(Math.max(0, process.memoryUsage().heapUsed - before) / count);
  }
  perFrame.sort((a, b) => a - b);
  return {
    name: `${title}: allocated`,
    unit: 'bytes/frame',
    median: perFrame[runs >> 1],
    min: perFrame[0],
    max: perFrame[runs - 1],
    runs,
  };
}
