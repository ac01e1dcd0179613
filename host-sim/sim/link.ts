/**
 * A link between two ends, such as Wi-Fi or a long cable, with what goes wrong on it: delay and jitter, loss,
 * duplication, reordering, a limited rate, and being down.
 *
 * Each direction has its own random stream and its own queue of `queueBytes` (tail drop). Frames keep their order
 * whatever the jitter, except those picked for reordering, which are held back for `reorderMs`. Every drop is counted.
 */

import { copyBytes } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { Random } from '../../agent/core/random.js';
import type { Kernel } from './kernel.js';
import type { Attachable, Port, Receiver, Tap } from './segment.js';

export interface LinkConditions {
  /** One way, ms. */
  readonly delayMs: number;
  /** Added to the delay, evenly from 0 to this, ms. */
  readonly jitterMs: number;
  /** Probabilities 0 … 1 for each frame. */
  readonly loss: number;
  readonly duplication: number;
  readonly reordering: number;
  /** How long a reordered frame is held back, ms. */
  readonly reorderMs: number;
  /** Infinity: no limit. */
  readonly bitsPerSecond: number;
  /** Bytes that wait for their turn where there is a rate limit. */
  readonly queueBytes: number;
}

export const perfectLink: LinkConditions = {
  delayMs: 0.1,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  reordering: 0,
  reorderMs: 5,
  bitsPerSecond: Infinity,
  queueBytes: 65_536,
};

export type LinkCount =
  | 'sent'
  | 'delivered'
  | 'duplicated'
  | 'reordered'
  | 'lost'
  | 'down'
  | 'queue-full'
  | 'detached';

const linkCounts: readonly LinkCount[] = [
  'sent',
  'delivered',
  'duplicated',
  'reordered',
  'lost',
  'down',
  'queue-full',
  'detached',
];

export interface LinkOptions {
  readonly kernel: Kernel;
  readonly seed: number;
  /** Names the link's random streams; unique in the world. */
  readonly name: string;
  /** What differs from `perfectLink`. */
  readonly conditions?: Partial<LinkConditions>;
}

export class Link {
  /** Over both directions. `sent` + `duplicated` = `delivered` + the drops + what is under way. */
  readonly counters = new Counters<LinkCount>(linkCounts);
  readonly ends: readonly [Attachable, Attachable];
  private readonly kernel: Kernel;
  private readonly pipes: readonly [Pipe, Pipe];

  /** Throws, naming the condition, if one is out of range. */
  constructor({ kernel, seed, name, conditions }: LinkOptions) {
    const all = checkConditions({ ...perfectLink, ...conditions });
    this.kernel = kernel;
    const pipes = [
      new Pipe(kernel, new Random(seed, `link ${name} forth`), all, this.counters),
      new Pipe(kernel, new Random(seed, `link ${name} back`), all, this.counters),
    ] as const;
    this.pipes = pipes;
    this.ends = [new LinkEnd(pipes[0], pipes[1]), new LinkEnd(pipes[1], pipes[0])];
  }

  /** Down: what is sent or would arrive meanwhile is lost. */
  setUp(up: boolean): void {
    for (const pipe of this.pipes) pipe.up = up;
  }

  /** Takes the link down from `downAt` to `upAt` (ms). */
  partition(downAt: number, upAt: number): void {
    const actor = { fire: (_now: number, up: boolean) => this.setUp(up) };
    this.kernel.schedule(downAt, actor, false);
    this.kernel.schedule(upAt, actor, true);
  }

  /** Shows `tap` every frame that arrives at either end from now on. */
  addTap(tap: Tap): void {
    for (const pipe of this.pipes) pipe.taps.push(tap);
  }
}

/** Throws, naming the field and its range, on a condition that is out of it. */
export function checkConditions(conditions: LinkConditions): LinkConditions {
  for (const name of ['loss', 'duplication', 'reordering'] as const) {
    if (!(conditions[name] >= 0 && conditions[name] <= 1))
      throw new Error(`${name}: expected a probability 0..1, got ${conditions[name]}`);
  }
  for (const name of ['delayMs', 'jitterMs', 'reorderMs', 'queueBytes'] as const) {
    if (!(conditions[name] >= 0 && conditions[name] < Infinity))
      throw new Error(`${name}: expected a number from 0, got ${conditions[name]}`);
  }
  if (!(conditions.bitsPerSecond > 0))
    throw new Error(`bitsPerSecond: expected more than 0, got ${conditions.bitsPerSecond}`);
  return conditions;
}

/** One direction. */
class Pipe {
  up = true;
  receiver: Receiver | undefined;
  readonly taps: Tap[] = [];
  private readonly kernel: Kernel;
  private readonly random: Random;
  private readonly conditions: LinkConditions;
  private readonly counters: Counters<LinkCount>;
  /** When the last frame will have left the sender. */
  private sentAt = 0;
  /** When the last frame in order arrives. */
  private arrivesAt = 0;

  constructor(kernel: Kernel, random: Random, conditions: LinkConditions, counters: Counters<LinkCount>) {
    this.kernel = kernel;
    this.random = random;
    this.conditions = conditions;
    this.counters = counters;
  }

  send(frame: Uint8Array): void {
    const { counters, conditions, random } = this;
    counters.add('sent');
    if (!this.up) {
      counters.add('down');
      return;
    }
    const now = this.kernel.now;
    const waitingBytes = ((this.sentAt - now) * conditions.bitsPerSecond) / 8000;
    if (waitingBytes + frame.length > conditions.queueBytes && this.sentAt > now) {
      counters.add('queue-full');
      return;
    }
    this.sentAt = Math.max(this.sentAt, now) + (frame.length * 8000) / conditions.bitsPerSecond;
    if (random.chance(conditions.loss)) {
      counters.add('lost');
      return;
    }
    this.travel(frame);
    if (random.chance(conditions.duplication)) {
      counters.add('duplicated');
      this.travel(frame);
    }
  }

  fire(now: number, frame: Uint8Array): void {
    if (!this.up) {
      this.counters.add('down');
      return;
    }
    if (!this.receiver) {
      this.counters.add('detached');
      return;
    }
    this.counters.add('delivered');
    for (const tap of this.taps) tap.capture(now, frame);
    this.receiver.receive(now, frame);
  }

  private travel(frame: Uint8Array): void {
    const { delayMs, jitterMs, reordering, reorderMs } = this.conditions;
    let at = Math.max(this.sentAt + delayMs + jitterMs * this.random.unit(), this.arrivesAt);
    if (this.random.chance(reordering)) {
      this.counters.add('reordered');
      at += reorderMs;
    } else {
      this.arrivesAt = at;
    }
    this.kernel.schedule(at, this, copyBytes(frame, 0, frame.length));
  }
}

class LinkEnd implements Attachable {
  private readonly out: Pipe;
  private readonly back: Pipe;

  constructor(out: Pipe, back: Pipe) {
    this.out = out;
    this.back = back;
  }

  /** Throws if somebody is attached already. */
  attach(receiver: Receiver): Port {
    if (this.back.receiver) throw new Error('link end: expected it to be free, somebody is attached');
    this.back.receiver = receiver;
    return {
      send: frame => this.out.send(frame),
      detach: () => {
        this.back.receiver = undefined;
      },
    };
  }
}
