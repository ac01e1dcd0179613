/**
 * The event kernel under the hold model (Jones 1986): each event that fires schedules one more, so the number pending
 * stays the same. And a whole street, in virtual seconds of one home per second.
 */

import { Random } from '../../agent/core/random.js';
import { buildWorld } from '../../host-sim/scenario/scenario.js';
import { MemoryBus } from '../../host-sim/sim/bus.js';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { measure, type Row } from './row.js';

export const name = 'kernel';

const homes = 20;

export async function run(): Promise<Row[]> {
  return [
    hold('hold, 1,000 pending', 1_000, { goal: 3_000_000 }),
    hold('hold, 100,000 pending', 100_000, {}),
    hold('hold, 1,000,000 pending', 1_000_000, {}),
    moveTimers(1_000),
    street(),
  ];
}

/** Delays drawn in advance, so that the generator is not what is measured. */
function delays(): Float64Array {
  const random = new Random(1, 'bench');
  return new Float64Array(65_536).map(() => random.exponential(1));
}

function hold(title: string, pending: number, options: { goal?: number }): Row {
  const kernel = new Kernel();
  const spans = delays();
  let next = 0;
  const actor = {
    fire(now: number, tag: number) {
      next = (next + 1) & 0xffff;
      kernel.schedule(now + spans[next], actor, tag);
    },
  };
  for (let i = 0; i < pending; i++) actor.fire(0, i);
  return measure(title, 'events/s', options, () => kernel.run(Infinity, 10_000));
}

/** What a node does after each input: its one timer is cancelled and set anew. */
function moveTimers(timers: number): Row {
  const kernel = new Kernel();
  const spans = delays();
  const actor = { fire: () => {} };
  const handles = new Float64Array(timers);
  let next = 0;
  return measure(`move one of ${timers} timers`, 'moves/s', {}, () => {
    for (let i = 0; i < 10_000; i++) {
      next = (next + 1) & 0xffff;
      const timer = next % timers;
      kernel.cancel(handles[timer]);
      handles[timer] = kernel.schedule(1 + spans[next], actor, timer);
    }
    return 10_000;
  });
}

function street(): Row {
  const kernel = new Kernel();
  const bus = new MemoryBus(kernel);
  buildWorld('street', { seed: 1, homes }, { kernel, bus });
  return measure(`street of ${homes} homes`, 'home-seconds/s', {}, () => {
    kernel.run(kernel.now + 1_000);
    return homes;
  });
}
