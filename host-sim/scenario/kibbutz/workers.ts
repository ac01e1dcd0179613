/**
 * Runs kibbutzim on worker threads. This file is also what a thread runs: it is handed ranges of kibbutzim, one after the
 * other, and answers each with its totals, which do not depend on who did which (run.ts).
 *
 * Bounds: the threads asked for, each with one range of `blockSize` kibbutzim at a time.
 */

import { parentPort, Worker, workerData } from 'node:worker_threads';
import { addTotals, emptyTotals, runKibbutzim, type Totals } from './run.js';
import type { KibbutzScenario } from './scenario-file.js';

/** Some 40 ms of five devices for two hours: the threads end together, and handing out costs nothing beside it. */
const blockSize = 8;

/** Kibbutzim number `from` … `to` − 1; at least one. */
interface Block {
  readonly from: number;
  readonly to: number;
}

export interface ParallelOptions extends Block {
  /** Threads, from 1. No more are started than there are ranges. */
  readonly workers: number;
  /** Hears of progress, 0 … 1. */
  readonly onProgress?: (fraction: number) => void;
  /** Once it resolves the run is given up. */
  readonly stop?: Promise<unknown>;
}

/**
 * The same totals as `runKibbutzim(scenario, from, to)`. Rejects, with the threads ended, if one of them fails or dies,
 * saying in which kibbutzim, or if `stop` resolves first.
 */
export async function runOnWorkers(scenario: KibbutzScenario, options: ParallelOptions): Promise<Totals> {
  const { from, to, workers, onProgress, stop } = options;
  const threads: Worker[] = [];
  const run = new Promise<Totals>((resolve, reject) => {
    let totals = emptyTotals(scenario.devices.length);
    let next = from;
    const start = () => {
      const thread = newThread(scenario);
      threads.push(thread);
      let block: Block;
      const fail = (why: string) =>
        reject(new Error(`the simulation of kibbutzim ${block.from} to ${block.to - 1} failed: ${why}`));
      const handOut = () => {
        block = { from: next, to: Math.min(next + blockSize, to) };
        next = block.to;
        thread.postMessage(block);
      };
      thread.on('message', (done: Totals) => {
        try {
          totals = addTotals(totals, done);
        } catch (error) {
          fail((error as Error).message);
          return;
        }
        onProgress?.(totals.kibbutzim / (to - from));
        if (next < to) handOut();
        else if (totals.kibbutzim === to - from) resolve(totals);
      });
      thread.on('error', error => fail(error.message));
      thread.on('exit', code => fail(`its worker thread ended with code ${code}`));
      handOut();
    };
    for (let i = 0; i < workers && next < to; i++) start();
    stop?.then(() => reject(new Error('stopped before the end: there is no result')));
  });
  try {
    return await run;
  } finally {
    await Promise.all(threads.map(thread => thread.terminate()));
  }
}

function newThread(scenario: KibbutzScenario): Worker {
  const program = import.meta.url;
  if (!program.endsWith('.ts')) return new Worker(new URL(program), { workerData: scenario });
  // From the source tree. tsx registers itself for the main thread alone (privatenumber/tsx#354), and without it a thread
  // cannot load what else `node --import` names.
  const tsx = import.meta.resolve('tsx/esm/api');
  const text = `import('${tsx}').then(({ register }) => (register(), import('${program}')))`;
  return new Worker(text, { eval: true, execArgv: [], workerData: scenario });
}

// In a thread: at work.
parentPort?.on('message', ({ from, to }: Block) => {
  parentPort?.postMessage(runKibbutzim(workerData as KibbutzScenario, from, to));
});
