/**
 * What a `kith paper` command finds: figures of ours beside those a paper prints, and plots like the paper's.
 */

import type { Figure } from '../plot/plot.js';

/** A figure of ours beside the paper's. */
export interface Row {
  /** Experiment, mix, quantity: such as `table2.2/web/streaming`. */
  readonly id: string;
  /** Left out: the paper gives none. */
  readonly paper?: number;
  readonly ours: number;
  readonly unit: string;
  /** Why the two differ, or how the paper is read. */
  readonly note?: string;
}

export interface Experiments {
  readonly rows: readonly Row[];
  readonly figures: readonly Figure[];
}
