/**
 * The local link of a kibbutz (seed §2.1.3.2.2.1): Bluetooth, Wi-Fi ad hoc, Wi-Fi with one phone as access point, or
 * `perfect`, as the seed's simulator assumes it (§2.1.3.2.3: no delay, no limit, no energy).
 *
 * One medium shared by all members: a frame waits for those before it, whoever sent them; what waits is bounded by
 * `queueBytes` (tail drop). Members, or the whole medium, can be down. Every drop is counted with its reason.
 *
 * Unlike link.ts it carries no bytes and schedules nothing: `transmit` says when a frame of some length arrives, in
 * constant time. Each member's energy is the time it was up and the time it was active × power + what each bit costs.
 * Times are virtual milliseconds with a fraction; powers are above a phone whose local radio is off.
 */

import { Counters } from '../../agent/core/counters.js';
import type { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { checkConditions, perfectLink } from './link.js';

export interface LocalLinkModel {
  readonly name: string;
  /** One way, ms, besides waiting and sending. */
  readonly delayMs: number;
  /** Of the medium, all members together. Infinity: no limit. */
  readonly bitsPerSecond: number;
  /** Bytes that may wait for the medium. */
  readonly queueBytes: number;
  /** Probability 0 … 1 for each frame. */
  readonly loss: number;
  /** Frames between two members pass through member 0 (piconet master, access point), which takes the medium twice. */
  readonly star: boolean;
  /** Up without traffic. */
  readonly standbyMilliwatts: number;
  /** On top of that while a member sends or receives, and for `activeMs` after. */
  readonly activeMilliwatts: number;
  readonly activeMs: number;
  /** On top of that, for each Mbit; the same number as mW per Mbit/s. */
  readonly sendMillijoulesPerMegabit: number;
  readonly receiveMillijoulesPerMegabit: number;
  /** On top of standby: member 0's part in a star, everyone's otherwise. */
  readonly hostMilliwatts: number;
}

const perfect: LocalLinkModel = {
  name: 'perfect',
  delayMs: 0,
  bitsPerSecond: Infinity,
  queueBytes: perfectLink.queueBytes,
  loss: 0,
  star: false,
  standbyMilliwatts: 0,
  activeMilliwatts: 0,
  activeMs: 0,
  sendMillijoulesPerMegabit: 0,
  receiveMillijoulesPerMegabit: 0,
  hostMilliwatts: 0,
};

/**
 * Bluetooth 2.1+EDR/3.0 on the seed's Galaxy Nexus.
 *
 * Rate: 3-DH5 packets, symmetric, 1306.9 kbit/s (Bluetooth Core 3.0 vol. 2 part B §6.7); the seed saw "below 2 Mbps".
 * Delay: a slave waits for the master's poll, every 40 slots = 25 ms unless negotiated (T_poll, Core 3.0 vol. 2 part C),
 * half of it on average; the master sends in its next slot pair, 1.25 ms. The mean of the two.
 * Standby: seed §2.1.3.2.5.4: Bluetooth 12 → 28 mW, IP over it 28 → 50 mW.
 *
 * Active and per bit are derived, the seed's curve (Fig. 2.12 c) having no numbers in the text:
 * - a TCP ping twice a second needs 754 mW on the own link (§2.1.3.2.5.1) = 12 idle + 650 3G + 92 program, and 169 mW
 *   through the neighbour = 60 idle in the kibbutz + 92 program + 17 Bluetooth active at next to no rate;
 * - at 150 kbit/s 3G is 4 times worse (Fig. 2.12 d). 3G: 12 + 650 + 0.15 × 412, the 412 mW per Mbit/s being what the
 *   phone's stack adds in the app download: 1,300 mW at 6 MB in 31 s (§2.1.3.2.5.2). A quarter is 181 mW = 50 standby
 *   + 17 active + 0.15 × (412 + 348).
 * If 754 mW was measured with the kibbutz running, the program needs less and "active" up to 109 mW.
 */
const bluetooth: LocalLinkModel = {
  name: 'bluetooth',
  delayMs: (25 / 2 + 1.25) / 2,
  bitsPerSecond: 1_306_900,
  queueBytes: perfectLink.queueBytes,
  loss: 0,
  star: true,
  standbyMilliwatts: 38,
  activeMilliwatts: 17,
  // The ping at 2/s keeps it active; a second without traffic is assumed to end that (no figure).
  activeMs: 1_000,
  // The two ends "symmetric" (§2.1.3.2.5).
  sendMillijoulesPerMegabit: 348,
  receiveMillijoulesPerMegabit: 348,
  hostMilliwatts: 0,
};

/**
 * 802.11g. Power of a client: Huang et al. (MobiSys 2012), Tables 3 and 4, quoted from memory: 132.86 mW + 283.17 / 137.01
 * mW per Mbit/s up / down, a tail of 238.1 ms, and a beacon of 77.2 mW × 7.6 ms every 308.2 ms. The access point draws
 * 200 mW more (seed §2.1.3.2.2.1). Rate: about what UDP gets of 54 Mbit/s; delay: one frame and its contention; both
 * assumed, the seed gives none.
 */
const wifiAccessPoint: LocalLinkModel = {
  name: 'wifi-ap',
  delayMs: 1,
  bitsPerSecond: 20_000_000,
  queueBytes: perfectLink.queueBytes,
  loss: 0,
  star: true,
  standbyMilliwatts: (77.2 * 7.6) / 308.2,
  activeMilliwatts: 132.86,
  activeMs: 238.1,
  sendMillijoulesPerMegabit: 283.17,
  receiveMillijoulesPerMegabit: 137.01,
  hostMilliwatts: 200,
};

/** As above, between peers. Derived: nobody buffers for a sleeping peer, so each listens as an access point does. */
const wifiAdHoc: LocalLinkModel = { ...wifiAccessPoint, name: 'wifi-ad-hoc', star: false };

/** Every model, by the name a scenario gives. */
export const localLinkModels = {
  perfect,
  bluetooth,
  'wifi-ap': wifiAccessPoint,
  'wifi-ad-hoc': wifiAdHoc,
} satisfies { readonly [name: string]: LocalLinkModel };

export type LocalLinkCount = 'sent' | 'arriving' | 'lost' | 'down' | 'queue-full';

export interface LocalLinkOptions {
  readonly model: LocalLinkModel;
  /** They are numbered from 0; at least 2. */
  readonly members: number;
  readonly random: Random;
  readonly now: number;
}

export class LocalLink {
  readonly model: LocalLinkModel;
  /** `sent` = `arriving` + the drops. */
  readonly counters = new Counters<LocalLinkCount>(['sent', 'arriving', 'lost', 'down', 'queue-full']);
  private readonly random: Random;
  private readonly members: Member[] = [];
  private up = true;
  /** When the medium has carried what waits for it. */
  private freeAt = -Infinity;

  /** Everything up at `now`. Throws, naming the field, on a value out of range. */
  constructor({ model, members, random, now }: LocalLinkOptions) {
    if (!(members >= 2)) throw new Error(`members: expected at least 2, got ${members}`);
    const { delayMs, bitsPerSecond, queueBytes, loss } = model;
    checkConditions({ ...perfectLink, delayMs, bitsPerSecond, queueBytes, loss });
    this.model = model;
    this.random = random;
    for (let i = 0; i < members; i++) {
      const hosts = i === 0 || !model.star;
      this.members.push(new Member(model, model.standbyMilliwatts + (hosts ? model.hostMilliwatts : 0), now));
    }
  }

  /** The whole medium: while it is down, nothing is carried. Its members stay on. */
  setUp(up: boolean): void {
    this.up = up;
  }

  /** One member, such as a phone that blacks out or leaves: it sends and hears nothing and draws no power. */
  setMemberUp(now: number, member: number, up: boolean): void {
    this.members[member].setUp(now, up);
  }

  /** Whether a frame could pass between the two. For whoever delivers: ask again when the frame arrives. */
  isUp(from: number, to: number): boolean {
    if (!(this.up && this.members[from].up && this.members[to].up)) return false;
    return !this.relayed(from, to) || this.members[0].up;
  }

  /**
   * Sends `lengthBytes` at `now` (not before the last call's) and returns when they arrive, ms; `never` if they do not,
   * which is counted. A lost frame has taken its time on the medium and the sender's energy.
   */
  transmit(now: number, from: number, to: number, lengthBytes: number): number {
    const { counters, model } = this;
    counters.add('sent');
    if (!this.isUp(from, to)) {
      counters.add('down');
      return never;
    }
    const waitingBytes = this.freeAt > now ? ((this.freeAt - now) * model.bitsPerSecond) / 8_000 : 0;
    if (waitingBytes > 0 && waitingBytes + lengthBytes > model.queueBytes) {
      counters.add('queue-full');
      return never;
    }
    const hops = this.relayed(from, to) ? 2 : 1;
    const sentAt = Math.max(this.freeAt, now) + (hops * lengthBytes * 8_000) / model.bitsPerSecond;
    this.freeAt = sentAt;
    const megabits = lengthBytes * 8e-6;
    this.members[from].carry(now, sentAt, megabits * model.sendMillijoulesPerMegabit);
    // A chance of 0 draws nothing, so that a perfect link costs no random numbers.
    if (model.loss > 0 && this.random.chance(model.loss)) {
      counters.add('lost');
      return never;
    }
    this.members[to].carry(now, sentAt, megabits * model.receiveMillijoulesPerMegabit);
    if (hops === 2) {
      const relayMillijoules = model.sendMillijoulesPerMegabit + model.receiveMillijoulesPerMegabit;
      this.members[0].carry(now, sentAt, megabits * relayMillijoules);
    }
    counters.add('arriving');
    return sentAt + hops * model.delayMs;
  }

  /** What `member` has drawn up to `now` (not before the last call's). */
  energyMillijoules(now: number, member: number): number {
    return this.members[member].energyMillijoules(now);
  }

  private relayed(from: number, to: number): boolean {
    return this.model.star && from !== 0 && to !== 0;
  }
}

class Member {
  up = true;
  private readonly model: LocalLinkModel;
  private readonly standbyMilliwatts: number;
  private settledAt: number;
  private activeUntil = -Infinity;
  private millijoules = 0;

  constructor(model: LocalLinkModel, standbyMilliwatts: number, now: number) {
    this.model = model;
    this.standbyMilliwatts = standbyMilliwatts;
    this.settledAt = now;
  }

  setUp(now: number, up: boolean): void {
    this.settle(now);
    this.up = up;
    this.activeUntil = -Infinity;
  }

  /** Active from `now` until `activeMs` after `sentAt`, which never falls: waiting for the medium is listening to it. */
  carry(now: number, sentAt: number, millijoules: number): void {
    this.settle(now);
    this.activeUntil = sentAt + this.model.activeMs;
    this.millijoules += millijoules;
  }

  energyMillijoules(now: number): number {
    this.settle(now);
    return this.millijoules;
  }

  private settle(now: number): void {
    const from = this.settledAt;
    if (!(now >= from)) throw new Error(`now: expected a time from ${from} on, got ${now}`);
    this.settledAt = now;
    if (!this.up) return;
    const activeMs = Math.max(0, Math.min(now, this.activeUntil) - from);
    this.millijoules +=
      ((now - from) * this.standbyMilliwatts + activeMs * this.model.activeMilliwatts) / 1_000;
  }
}
