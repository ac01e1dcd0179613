/**
 * Path selection: what each of our paths is to MPTCP (§2.1.3.2.2.1 "Traffic Optimization", "Multipath TCP"; RFC 8684
 * §3.3.8, the backup flag of MP_PRIO), and which one carries the next packet where there is no MPTCP.
 *
 * | profile             | offered by neighbours  | own link                                          |
 * | ------------------- | ---------------------- | ------------------------------------------------- |
 * | `save-energy`       | latest-expiring normal | backup; normal if all that is offered is poor     |
 * | `max-bandwidth`     | backup                 | backup: all alike, MPTCP fills them all           |
 * | `min-rtt`           | backup                 | backup: all alike, MPTCP takes the quickest       |
 * | `min-rtt`, metered  | normal                 | as with `save-energy`                             |
 *
 * The own link alone is backup too, as the paper creates it: one alone is used whatever its flag, and a flag that
 * changed with each advertisement would cost an MP_PRIO on the own link, which wakes the radio it should spare.
 * The paper marks every neighbour's path normal; here only one, since two normal paths keep two radios up.
 *
 * Bounds: the caller's list of neighbours; nothing is kept but the last plan.
 */

import { never } from '../core/time.js';

export type Profile = 'save-energy' | 'max-bandwidth' | 'min-rtt';

export type Priority = 'normal' | 'backup';

export interface OwnLink {
  /** The radio is in the high-power state. */
  readonly high: boolean;
  /** Its owner pays by volume: not to be used merely for a lower RTT. */
  readonly metered: boolean;
}

/** A path through a neighbour. */
export interface NeighbourPath {
  /** Member id, 1 … 2^32 − 1. */
  readonly member: number;
  /** The advertisement is valid until then (not at that instant any more), ms. */
  readonly offerUntil: number;
  /** The watchdog's verdict (watchdog.ts); left out: not poor. */
  readonly poor?: boolean;
}

/** Our own link, where a neighbour's member id or place could stand. */
export const own = -1;

export interface PathPriority {
  /** Member id, or `own`. */
  readonly member: number;
  readonly priority: Priority;
}

export interface PathPlan {
  /** Own link first, then the valid neighbours in the order given. */
  readonly paths: readonly PathPriority[];
  /** What carries the next packet without MPTCP: member id, or `own`. */
  readonly carrier: number;
}

/** A step from one plan to the next. */
export interface PathChange {
  /** Member id, or `own`. */
  readonly member: number;
  /** `undefined`: the path is gone. */
  readonly priority: Priority | undefined;
}

/**
 * What carries the next packet where there is no MPTCP: the place of a neighbour in `neighbours`, or `own`. Allocates
 * nothing.
 *
 * Without MPTCP a connection cannot use two links: `max-bandwidth` takes the own one, where nobody's traffic goes
 * before ours, and a poor path carries nothing.
 */
export function choose(
  now: number,
  profile: Profile,
  link: OwnLink,
  neighbours: readonly NeighbourPath[],
): number {
  if (profile === 'max-bandwidth') return own;
  if (profile === 'min-rtt' && link.high && !link.metered) return own;
  const place = latest(now, neighbours);
  return place !== own && neighbours[place].poor ? own : place;
}

export class PathSelection {
  /** The last plan; the same object until something in it changes. */
  plan: PathPlan = { paths: [{ member: own, priority: 'backup' }], carrier: own };
  private expiresAt = never;

  /** The plan now. Allocates only when it differs from the last one. */
  update(now: number, profile: Profile, link: OwnLink, neighbours: readonly NeighbourPath[]): PathPlan {
    const place = latest(now, neighbours);
    const carrierPlace = choose(now, profile, link, neighbours);
    const carrier = carrierPlace === own ? own : neighbours[carrierPlace].member;
    const alike = profile === 'max-bandwidth' || (profile === 'min-rtt' && !link.metered);
    const ownPriority = !alike && place !== own && neighbours[place].poor ? 'normal' : 'backup';
    const before = this.plan;
    let same = before.carrier === carrier && before.paths[0].priority === ownPriority;
    let count = 1;
    this.expiresAt = never;
    for (let i = 0; i < neighbours.length; i++) {
      const { member, offerUntil } = neighbours[i];
      if (offerUntil <= now) continue;
      this.expiresAt = Math.min(this.expiresAt, offerUntil);
      const known = before.paths[count++];
      same =
        same &&
        known !== undefined &&
        known.member === member &&
        known.priority === priorityAt(i, place, profile, alike);
    }
    if (same && count === before.paths.length) return before;
    const paths: PathPriority[] = [{ member: own, priority: ownPriority }];
    for (let i = 0; i < neighbours.length; i++) {
      if (neighbours[i].offerUntil > now)
        paths.push({ member: neighbours[i].member, priority: priorityAt(i, place, profile, alike) });
    }
    this.plan = { paths, carrier };
    return this.plan;
  }

  /** When the plan changes if nothing else does: the next advertisement that expires. */
  pollAt(): number {
    return this.expiresAt;
  }
}

/** What a path manager must do to get from one plan to another; empty if it is the same object. */
export function planChanges(before: PathPlan, after: PathPlan): readonly PathChange[] {
  const changes: PathChange[] = [];
  if (before === after) return changes;
  for (const path of after.paths) {
    if (priorityIn(before, path.member) !== path.priority) changes.push(path);
  }
  for (const { member } of before.paths) {
    if (priorityIn(after, member) === undefined) changes.push({ member, priority: undefined });
  }
  return changes;
}

/**
 * The place of the valid advertisement that expires last, of those not poor if there are any; `own` if there is none.
 * Everyone who picks the latest meets on one radio, and the others can go idle; of two alike, the first.
 */
function latest(now: number, neighbours: readonly NeighbourPath[]): number {
  let best = own;
  let poorest = own;
  for (let i = 0; i < neighbours.length; i++) {
    const { offerUntil, poor } = neighbours[i];
    if (offerUntil <= now) continue;
    if (poor) {
      if (poorest === own || offerUntil > neighbours[poorest].offerUntil) poorest = i;
    } else if (best === own || offerUntil > neighbours[best].offerUntil) best = i;
  }
  return best === own ? poorest : best;
}

function priorityAt(place: number, picked: number, profile: Profile, alike: boolean): Priority {
  if (alike) return 'backup';
  return profile === 'min-rtt' || place === picked ? 'normal' : 'backup';
}

function priorityIn(plan: PathPlan, member: number): Priority | undefined {
  for (const path of plan.paths) if (path.member === member) return path.priority;
  return undefined;
}
