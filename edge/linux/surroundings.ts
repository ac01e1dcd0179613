/**
 * What a kibbutz must know of the machine: the civil date (`date`, for the quota's period) and the charge (battery.ts), looked at
 * once a minute and told when they change.
 *
 * A clock that leaps is believed when it has kept to its new time for `believeMs`: the agent takes no date before the present
 * period's again (agent/kibbutz/owner-limits.ts), so a year that was wrong for a moment would end the quota's renewal for good.
 * A date before 1970, as a clock without a battery says west of Greenwich, is none. Bounds: three numbers.
 */

import type { KibbutzInput } from '../../agent/port/effect.js';
import { type Charge, readCharge } from './battery.js';

/** The agent wants to know the date soon after midnight, and a charge that changes within minutes. */
const lookMs = 60_000;
/** Against the monotonic clock; a time server corrects less at once, or the clock was wrong (RFC 5905 §10, PANICT is 1000 s). */
const leapMs = 1_000_000;
/** A time server takes a few minutes to be believed (RFC 5905 §11.3: 900 s until a step); a person mends a typing error sooner. */
const believeMs = 600_000;

export interface SurroundingsOptions {
  readonly hear: (input: KibbutzInput) => void;
  /** Monotonic, milliseconds. */
  readonly now?: () => number;
  readonly wall?: () => Date;
  readonly charge?: () => Charge;
}

export class Surroundings {
  private readonly options: Required<SurroundingsOptions>;
  private timer: NodeJS.Timeout | undefined;
  /** Of the wall clock over the monotonic one, when last looked at; −Infinity: not yet. */
  private offsetMs = -Infinity;
  private believedAt = 0;
  private toldDate = '';
  private toldCharge = '';

  constructor(options: SurroundingsOptions) {
    this.options = {
      now: () => performance.now(),
      wall: () => new Date(),
      charge: () => readCharge(),
      ...options,
    };
  }

  /** Looks now, and every minute until `close`. */
  start(): void {
    this.look();
    this.timer = setTimeout(() => this.start(), lookMs);
  }

  close(): void {
    clearTimeout(this.timer);
  }

  look(): void {
    this.lookAtDate();
    const { percent, charging } = this.options.charge();
    const charge = `${percent} ${charging}`;
    if (charge === this.toldCharge) return;
    this.toldCharge = charge;
    this.options.hear({ kind: 'battery', percent, charging });
  }

  private lookAtDate(): void {
    const now = this.options.now();
    const wall = this.options.wall();
    const offsetMs = wall.getTime() - now;
    if (this.offsetMs !== -Infinity && Math.abs(offsetMs - this.offsetMs) > leapMs)
      this.believedAt = now + believeMs;
    this.offsetMs = offsetMs;
    const [year, month, day] = [wall.getFullYear(), wall.getMonth() + 1, wall.getDate()];
    const date = `${year}-${month}-${day}`;
    if (now < this.believedAt || date === this.toldDate || year < 1970) return;
    this.toldDate = date;
    this.options.hear({ kind: 'date', year, month, day });
  }
}
