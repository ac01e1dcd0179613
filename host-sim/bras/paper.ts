/**
 * `kith paper bras`: the seed's figures of its software BRAS (§3.2.3.4) beside ours, and Fig. 3.7 and 3.8 again.
 *
 * Ours are of one process with both ends in it, the homes' work included in the rate; the seed's BRAS ran in a virtual
 * machine on a 2.26 GHz core with an IXIA tester at the other end, which could offer 1,000 sessions a second at most.
 */

import type { Figure } from '../plot/plot.js';
import type { Experiments, Row } from '../scenario/paper.js';
import { type BrasPoint, measureBras } from './measure.js';

const steps = [1_000, 5_000, 10_000, 20_000, 30_000, 40_000, 50_000, 65_534];
/** §3.2.3.4, text. */
const seed = {
  testerPerSecond: 1_000,
  commercialPerSecond: 300,
  megabytesPerThousand: 1,
  fixedMegabytes: 8,
  megabytesAtMost: 100,
};

export function brasExperiments(): Experiments {
  const points = measureBras(steps);
  const rates = points.map(point => point.sessionsPerSecond).sort((a, b) => a - b);
  const [first, last] = [points[0], points[points.length - 1]];
  const slope = (megabytes(last) - megabytes(first)) / ((last.sessions - first.sessions) / 1000);
  const rows: Row[] = [
    {
      id: 'fig3.7/sessions-per-second',
      paper: seed.testerPerSecond,
      ours: rates[rates.length >> 1],
      unit: 'sessions/s',
      note: 'the paper’s is the most its tester could offer; ours with CHAP-MD5, both ends in one process, median over the steps',
    },
    {
      id: 'fig3.7/least-sessions-per-second',
      paper: seed.commercialPerSecond,
      ours: rates[0],
      unit: 'sessions/s',
      note: 'the paper’s is a typical commercial BRAS',
    },
    {
      id: 'fig3.8/memory-per-1000-sessions',
      paper: seed.megabytesPerThousand,
      ours: slope,
      unit: 'MB',
      note: 'what memory rises by, without what is there before the first session',
    },
    {
      id: 'fig3.8/memory-without-sessions',
      paper: seed.fixedMegabytes,
      ours: megabytes(first) - slope * (first.sessions / 1000),
      unit: 'MB',
      note: 'the paper’s is its whole virtual machine; Node itself is not in ours',
    },
    {
      id: 'fig3.8/memory-at-65534-sessions',
      paper: seed.megabytesAtMost,
      ours: megabytes(last),
      unit: 'MB',
      note: 'the paper says less than that, at 65,536',
    },
  ];
  return { rows, figures: [rateFigure(points), memoryFigure(points)] };
}

function rateFigure(points: readonly BrasPoint[]): Figure {
  const ends = [0, steps[steps.length - 1]];
  return {
    file: 'fig-3.7',
    title: 'Session establishment rate of the software BRAS',
    x: { title: 'sessions open', least: 0 },
    y: { title: 'sessions set up per second', least: 0 },
    series: [
      { label: 'ours, CHAP-MD5', points: points.map(point => [point.sessions, point.sessionsPerSecond]) },
      {
        label: 'paper: its tester’s limit, reached',
        points: ends.map(x => [x, seed.testerPerSecond]),
        dashed: true,
      },
      {
        label: 'paper: a commercial BRAS',
        points: ends.map(x => [x, seed.commercialPerSecond]),
        dashed: true,
      },
    ],
    note: 'The paper plots set up against offered; here as many are offered as can be, against how many are open already.',
  };
}

function memoryFigure(points: readonly BrasPoint[]): Figure {
  const line = (sessions: number): readonly [number, number] => [
    sessions,
    seed.fixedMegabytes + (seed.megabytesPerThousand * sessions) / 1000,
  ];
  return {
    file: 'fig-3.8',
    title: 'Memory of the software BRAS by sessions',
    x: { title: 'sessions open', least: 0 },
    y: { title: 'memory (MB)', least: 0 },
    series: [
      { label: 'ours', points: points.map(point => [point.sessions, megabytes(point)]) },
      { label: 'paper: 8 MB and 1 MB per 1,000', points: [line(0), line(65_534)], dashed: true },
    ],
    note: 'Ours: columns, and what the heap grew by. Columns grow by steps.',
  };
}

function megabytes({ columnBytes, heapBytes }: BrasPoint): number {
  return (columnBytes + heapBytes) / 1e6;
}
