/**
 * How often somebody may guess a password: after `freeFailures` wrong ones a key (a user's name, a MAC) is refused without
 * asking, for a second, then two, four, up to `longestBlockMs`; a right one wipes the slate. So a guesser gets a few hundred
 * guesses a day, and a subscriber whose name he guesses at waits at most that long.
 *
 * Bounded by `keys`: when full, the key whose last failure is oldest is forgotten.
 */

/** pppd and home gateways redial at once with a mistyped password, and a person corrects it after some tries. */
const freeFailures = 5;
const firstBlockMs = 1_000;
export const longestBlockMs = 300_000;

interface Slate {
  failures: number;
  blockedUntilAt: number;
}

export class AttemptLimit {
  private readonly slates = new Map<string, Slate>();
  private readonly keys: number;

  constructor(keys: number) {
    if (!(keys >= 1)) throw new Error(`keys: expected at least 1, got ${keys}`);
    this.keys = keys;
  }

  get size(): number {
    return this.slates.size;
  }

  isBlocked(now: number, key: string): boolean {
    return now < (this.slates.get(key)?.blockedUntilAt ?? 0);
  }

  failed(now: number, key: string): void {
    const slate = this.slates.get(key) ?? { failures: 0, blockedUntilAt: 0 };
    // To the end of the Map's order: the first is then the oldest.
    this.slates.delete(key);
    this.slates.set(key, slate);
    // Somebody who has kept quiet for as long as the longest block begins anew.
    slate.failures =
      now > slate.blockedUntilAt + longestBlockMs && slate.blockedUntilAt > 0 ? 1 : slate.failures + 1;
    const doublings = slate.failures - freeFailures;
    if (doublings >= 0)
      slate.blockedUntilAt = now + Math.min(longestBlockMs, firstBlockMs * 2 ** Math.min(doublings, 20));
    if (this.slates.size > this.keys)
      for (const oldest of this.slates.keys()) {
        this.slates.delete(oldest);
        break;
      }
  }

  succeeded(key: string): void {
    this.slates.delete(key);
  }
}
