/**
 * What simulated hosts do of their own accord: one that keeps asking for a service, and chatter on a multicast group.
 */

import { Random } from '../../agent/core/random.js';
import type { Host } from './host.js';
import type { Kernel } from './kernel.js';

export interface ProberOptions {
  readonly kernel: Kernel;
  readonly seed: number;
  /** Who asks. */
  readonly host: Host;
  readonly address: Uint8Array;
  /** TCP. */
  readonly port: number;
  /** The first attempt, ms. */
  readonly startAt: number;
  /** From one attempt to the next while there is no answer, ms; each varies by a tenth either way. */
  readonly retryMs: number;
  /** From an answered attempt to the next, ms. */
  readonly contentMs: number;
}

/** Tries a TCP port again and again: the laptop whose owner wants the desktop at home. */
export class Prober {
  private readonly options: ProberOptions;
  private readonly random: Random;

  constructor(options: ProberOptions) {
    this.options = options;
    this.random = new Random(options.seed, `prober ${options.host.name}`);
    options.kernel.schedule(options.startAt, this, undefined);
  }

  fire(now: number): void {
    const { kernel, host, address, port, retryMs, contentMs } = this.options;
    const retryAt = now + retryMs * (0.9 + 0.2 * this.random.unit());
    const tried = host.connect(address, port, outcome => {
      const at = outcome === 'answered' ? kernel.now + contentMs : Math.max(retryAt, kernel.now);
      kernel.schedule(at, this, undefined);
    });
    if (!tried) kernel.schedule(retryAt, this, undefined);
  }
}

export interface ChatterOptions {
  readonly kernel: Kernel;
  readonly seed: number;
  readonly host: Host;
  /** IPv4 multicast. */
  readonly group: Uint8Array;
  /** UDP, source and destination. */
  readonly port: number;
  readonly payload: Uint8Array;
  /** Mean span between two messages, ms; each is 0.5 to 1.5 times as long. */
  readonly everyMs: number;
}

/** Speaks to a multicast group while its host is awake. */
export class Chatter {
  private readonly options: ChatterOptions;
  private readonly random: Random;

  constructor(options: ChatterOptions) {
    this.options = options;
    this.random = new Random(options.seed, `chatter ${options.host.name}`);
    this.next(options.kernel.now);
  }

  fire(now: number): void {
    const { host, group, port, payload } = this.options;
    host.multicast(group, port, payload);
    this.next(now);
  }

  private next(now: number): void {
    const { kernel, everyMs } = this.options;
    kernel.schedule(now + everyMs * (0.5 + this.random.unit()), this, undefined);
  }
}
