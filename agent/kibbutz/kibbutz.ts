/**
 * The mobile kibbutz (§2.1.3.2.2.1): neighbours take turns in sharing a cellular link whose radio is up anyway.
 *
 * Sans-I/O. The platform says what happens to packets (`route`, `sentOwn`, `sentVia`, `forward`) and hands in signals
 * (`receive`); the kibbutz answers where a packet goes and calls its port to speak to neighbours and to steer the radio.
 *
 * Two policies, one protocol:
 *
 * `paper`   A device advertises when a packet leaves its radio in the high-power state and its link is not shared
 *           already, for one tail time. Tit-for-tat counts advertisement periods: credit falls by one when a neighbour
 *           first uses the link in a period. A packet that a neighbour sends after the period ended renews the
 *           advertisement, if the radio is still up and the neighbour still has credit.
 * `kith`    One radio at a time for the whole group. Tit-for-tat counts what a neighbour was spared: the time its own
 *           radio would have been up for the packets carried, in tail times; so everyone saves the same share of what
 *           it would spend alone. When a neighbour's credit runs out it is asked to take over; it promotes its radio
 *           while the old one still serves (make before break), and the old one then goes dormant at once (fast
 *           dormancy, 3GPP TS 25.331 §8.1.14). Traffic that may wait is kept until some radio is up, until its deadline.
 *
 * Credit is kept per neighbour, from `initialCredit` down to 0, where the link is no longer offered. Both ends keep
 * the same account from what they send and carry, so no message about it can be forged. Where something is lost on
 * the local link the two may differ, but only in the other's favour, so that nobody is starved; and a credit that two
 * accounts which agree cannot reach is not given, so that the difference is bounded and goes away.
 * Bounds: limits.neighbours; one deadline of each kind.
 */

import { sameBytes } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import { never } from '../core/time.js';
import { type Account, Neighbour } from './neighbour.js';
import type { OwnerLimits } from './owner-limits.js';
import { choose, own, type PathPlan, PathSelection, type Profile } from './path-selection.js';
import { emitSignal, entryOf, parseSignal, type Recipient, type Signal, verifySignal } from './signal.js';

export type Policy = 'paper' | 'kith';

/** What a kibbutz asks of its platform. Called during the calls of `Kibbutz`; must not call back into it. */
export interface KibbutzPort {
  /** Send to every neighbour on the local link. */
  broadcast(signal: Uint8Array): void;
  /** Send to one neighbour on the local link. */
  send(member: number, signal: Uint8Array): void;
  /** Bring the radio to the high-power state without a packet of anybody's, or keep it there for a tail time. */
  promote(now: number): void;
  /** Ask the network to release the radio at once (fast dormancy). */
  dormant(now: number): void;
  /** Route the packets that wait again; their time has come or a radio is up. */
  release(now: number): void;
  /** The sequence of our next signal, 1 … 2^53 − 1, strictly increasing over restarts; `undefined`: none may be sent. */
  nextSequence(): number | undefined;
}

export interface KibbutzOptions {
  /** Our member id, 1 … 2^32 − 1, from the kibbutz provider. */
  readonly member: number;
  /** Random, new at each start: 0 … 2^32 − 1. */
  readonly boot: number;
  readonly policy: Policy;
  /** The operator's inactivity timer: how long the radio stays up after a packet; ms, 1 … 60,000. */
  readonly tailMs: number;
  /** From idle to the high-power state; ms, 0 … 60,000. */
  readonly promotionMs: number;
  /** Request to answer with the radio up: how long a radio must stay up after a packet before it may go dormant. */
  readonly exchangeMs: number;
  /** Slots (tail times) a neighbour may use before it gives any; > 0. Paper: 5 (Fig. 2.16). */
  readonly initialCredit: number;
  /** Neighbours kept: 1 … 255. */
  readonly neighbours: number;
  /** Default `save-energy`. */
  readonly profile?: Profile;
  /** What the owner of the link permits; left out: everything. */
  readonly owner?: OwnerLimits;
}

/** A packet of ours is to wait; where else could stand the place of a neighbour in `neighbours`, or `own`. */
export const wait = -2;

const counterNames = [
  'signals',
  'signals.malformed',
  'signals.unknown-sender',
  'signals.own',
  'signals.not-for-us',
  'signals.replayed',
  'signals.forged',
  'signals.stale',
  'signals.no-sequence',
  'advertisements.sent',
  'advertisements.received',
  'advertisements.kept',
  'advertisements.unwanted',
  'advertisements.lifetime-cut',
  'hand-overs.asked',
  'hand-overs.taken',
  'hand-overs.refused',
  'hand-overs.unanswered',
  'forwarded',
  'refused.idle',
  'refused.not-offered',
  'refused.credit',
  'refused.owner',
  'refusals.received',
  'neighbours.forgotten',
  'neighbours.refused',
] as const;
export type KibbutzCounter = (typeof counterNames)[number];

/** A signal later than the fastest one by more than this was held back by somebody; well above a local link's queue. */
const staleMs = 2000;
/** How far two crystals drift apart at most: 100 ppm each. */
const driftPerMs = 0.0002;
/** The longest advertisement believed: above every operator's tail timer in the literature (3GPP's T1 + T2 ≤ 20 s). */
export const longestLifetimeMs = 60_000;
/** An interactive user is taken to be still there this long after its last traffic: some page views (mean gap 13 s). */
const livelyMs = 60_000;
/** Slots. Who has less left than that is asked to bring up its radio when all are idle; its next use would be its last. */
const nearlyUsedUp = 1;
/**
 * Slots that a packet costs for each it spares, if it may wait: whoever marks its traffic as such pays a twentieth less. At the
 * full price a background device beside a web one is up as long as under the paper's policy, though it saves a
 * larger share than the other: a quarter of what it would spend alone against a fifth.
 */
const waitingPrice = 0.95;
/** A neighbour that let a hand-over pass is not asked again for this many tail times. */
const declinedTails = 6;
/** Local signalling and scheduling on top of the promotion before a hand-over counts as unanswered. */
const handOverSlackMs = 1000;
/** A packet and the advertisement it causes take no longer than this over a local link and back. */
const localTripMs = 500;
/** Nothing but signals late by the same time for this long: the sender's clock stood still (it slept). */
const lateForMs = 60_000;
/** Who fails that often without an answer in between is not worth giving up our radio for. Once happens to anybody. */
const mostFailures = 2;
/** So many tail times long. */
const distrustedTails = 6;
const nobody: readonly Neighbour[] = [];

export class Kibbutz {
  readonly counters = new Counters<KibbutzCounter>(counterNames);
  readonly neighbours: Neighbour[] = [];
  /**
   * Our radio is in the high-power state until then, if no more packets pass and it is not released. A platform that
   * sees its radio, or packets that arrive, sets it to what that says: a tail time after the last packet.
   */
  upUntil = -1;
  private readonly options: KibbutzOptions;
  private readonly port: KibbutzPort;
  private readonly bootedAt: number;
  private readonly kith: boolean;
  private readonly profile: Profile;
  private readonly owner: OwnerLimits | undefined;
  private readonly link: { high: boolean; readonly metered: boolean };
  private readonly selection = new PathSelection();
  /** What a neighbour uses while it promotes its radio: with less credit than that left, it is its turn. */
  private readonly handOverBelow: number;
  /** The highest credit that two accounts which agree can reach: all the other's, and its line. */
  private readonly mostCredit: number;
  /** Our advertisement is valid until then. */
  private sharedUntil = -1;
  /** Our radio is up from then, if it is being promoted. */
  private readyAt = -1;
  /** Policy kith: somebody needs our radio until then. */
  private holdUntil = -1;
  private dormantAt = never;
  private takeOverAt = never;
  /** Policy kith: a neighbour's packet may promote our radio until then. */
  private willingUntil = -1;
  /** The place of the neighbour we asked to take over, −1 for none; and until when we wait for it. */
  private asked = -1;
  private askedUntil = never;
  /** When we last waited for one in vain. */
  private unansweredAt = -never;
  /** The neighbour our last packet went through, −1 if it used our own link. */
  private last = own;
  /** Packets wait until then; never: none do. */
  private releaseAt = never;
  /** Somebody here is using the network interactively until then, as far as we know. */
  private livelyUntil = -1;

  /** Throws, naming the option and its range, if one is out of it. */
  constructor(now: number, options: KibbutzOptions, port: KibbutzPort) {
    checkRange('member', options.member, 1, 4294967295);
    checkRange('tailMs', options.tailMs, 1, longestLifetimeMs);
    checkRange('promotionMs', options.promotionMs, 0, longestLifetimeMs);
    checkRange('exchangeMs', options.exchangeMs, 0, longestLifetimeMs);
    checkRange('neighbours', options.neighbours, 1, 255);
    if (!(options.initialCredit > 0))
      throw new Error(`initialCredit: expected more than 0, got ${options.initialCredit}`);
    this.options = options;
    this.port = port;
    this.bootedAt = now;
    this.kith = options.policy === 'kith';
    this.profile = options.profile ?? 'save-energy';
    this.owner = options.owner;
    this.link = { high: false, metered: this.owner ? this.owner.metered : false };
    this.handOverBelow = (options.promotionMs + options.exchangeMs) / options.tailMs;
    this.mostCredit = (this.kith ? 3 : 2) * options.initialCredit;
  }

  /**
   * Makes a neighbour known, with the key of the pair and the account kept from earlier, or gives it a new key. False if
   * the table is full of neighbours heard within the last ten tail times.
   */
  introduce(now: number, { member, key, aead }: Recipient, account?: Account): boolean {
    const known = this.find(member);
    if (known >= 0) {
      const neighbour = this.neighbours[known];
      // Whoever lost its store gets a new key and counts from 1 again; under the same key that would be a replay.
      if (!sameBytes(key, neighbour.key)) neighbour.sequence = -1;
      neighbour.key = key;
      neighbour.aead = aead;
      return true;
    }
    const made = new Neighbour(member, key, aead, account ?? newAccount(this.options.initialCredit));
    made.heardAt = now;
    if (this.neighbours.length < this.options.neighbours) {
      this.neighbours.push(made);
      return true;
    }
    let oldest = 0;
    for (let i = 1; i < this.neighbours.length; i++)
      if (this.neighbours[i].heardAt < this.neighbours[oldest].heardAt) oldest = i;
    if (this.neighbours[oldest].heardAt + 10 * this.options.tailMs > now) {
      this.counters.add('neighbours.refused');
      return false;
    }
    this.counters.add('neighbours.forgotten');
    this.neighbours[oldest] = made;
    if (this.last === oldest) this.last = own;
    if (this.asked === oldest) this.settleAsked();
    return true;
  }

  /**
   * Where a packet of ours goes now: the place of a neighbour, `own`, or `wait`: `release` follows. A packet waits for a
   * radio to be up, before `waitUntil` only; one that may not wait (`waitUntil` 0) at most `exchangeMs`, for a
   * neighbour's answer. As it goes, call `sentVia` or `sentOwn`.
   */
  route(now: number, waitUntil: number): number {
    if (this.kith && this.sharedUntil > now) return own;
    const { link, neighbours, profile } = this;
    link.high = this.readyAt <= now && now < this.upUntil;
    const place = choose(now, profile, link, neighbours);
    if (place !== own) return this.permitted(now, place);
    if (profile !== 'save-energy') return own;
    // Paper's reading: go on through the last link until it refuses. Its radio was up a tail time from our last packet.
    if (this.last !== own) {
      const { offerUntil, poor } = neighbours[this.last];
      if (!poor && offerUntil + this.options.tailMs >= now) return this.permitted(now, this.last);
    }
    if (this.kith && now < waitUntil && now >= this.livelyUntil && !link.high) {
      if (waitUntil < this.releaseAt) this.releaseAt = waitUntil;
      if (now < this.readyAt && this.readyAt < this.releaseAt) this.releaseAt = this.readyAt;
      return wait;
    }
    if (this.kith && !link.high && this.askToWake(now)) {
      this.releaseAt = Math.min(this.releaseAt, this.askedUntil);
      return wait;
    }
    return own;
  }

  /** A packet of ours of so many bytes left by our own radio. */
  sentOwn(now: number, lengthBytes: number, mayWait: boolean): void {
    this.last = own;
    if (this.owner) this.owner.recordOwn(now, lengthBytes, true);
    if (now >= this.upUntil) this.readyAt = now + this.options.promotionMs;
    this.used(now, mayWait);
    this.releaseBy(Math.max(now, this.readyAt));
    if (this.kith ? this.sharedUntil < this.renewBefore(now) : this.sharedUntil <= now) this.advertise(now);
  }

  /**
   * A packet of ours goes to the neighbour at `place`; call `answered` or `lost` when it is known what came of it. If the
   * neighbour refuses it, what it added to credit and bytes is taken off again.
   */
  sentVia(now: number, place: number, lengthBytes: number, mayWait: boolean): void {
    const neighbour = this.neighbours[place];
    this.last = place;
    neighbour.takenBytes += lengthBytes;
    if (this.owner) this.owner.recordOwn(now, lengthBytes, false);
    neighbour.sentSlots = 0;
    if (this.kith) {
      const { tailMs } = this.options;
      neighbour.sentSlots = this.owe(
        neighbour,
        (priceOf(mayWait) * (now + tailMs - Math.max(now, neighbour.takenUntil))) / tailMs,
      );
      if (neighbour.sentSlots > 0) neighbour.takenUntil = now + tailMs;
    } else {
      const { offerUntil, renewedAt } = neighbour;
      const renews = now >= offerUntil && (renewedAt < offerUntil || now >= renewedAt + this.options.tailMs);
      if (!neighbour.offerUsed || renews) {
        neighbour.sentSlots = this.owe(neighbour, 1);
        neighbour.offerUsed = true;
      }
      if (renews) neighbour.renewedAt = now;
    }
    neighbour.sentBytes = lengthBytes;
    neighbour.sentAt = now;
  }

  /** An answer to a packet of ours came through the neighbour at `place`; the platform knows that nobody forged it. */
  answered(place: number): void {
    const neighbour = this.neighbours[place];
    neighbour.unproven = 0;
    neighbour.failures = 0;
    neighbour.sentSlots = 0;
    neighbour.sentBytes = 0;
    neighbour.sentAt = -never;
    neighbour.obliged = false;
  }

  /** A packet through the neighbour at `place` was not answered in time: it is not used until it advertises again. */
  lost(now: number, place: number): void {
    if (this.asked === place) this.decline(now);
    const neighbour = this.neighbours[place];
    if (++neighbour.failures >= mostFailures)
      neighbour.distrustedUntil = now + distrustedTails * this.options.tailMs;
    neighbour.offerUntil = -1;
    if (this.last === place) this.last = own;
  }

  /** A neighbour asks us to forward a packet of so many bytes. If false, it was told so. */
  forward(now: number, place: number, lengthBytes: number, mayWait: boolean): boolean {
    const neighbour = this.neighbours[place];
    if (now >= this.upUntil && now >= this.willingUntil) return this.refuse(now, neighbour, 'refused.idle');
    const expired = this.sharedUntil <= now;
    if (!expired && !neighbour.offered) return this.refuse(now, neighbour, 'refused.not-offered');
    if (this.kith) {
      const { tailMs } = this.options;
      const cost = (priceOf(mayWait) * (now + tailMs - Math.max(now, neighbour.givenUntil))) / tailMs;
      if (!(this.creditOf(neighbour) >= cost)) return this.refuse(now, neighbour, 'refused.credit');
      if (!this.ownerLets(neighbour, lengthBytes)) return this.refuse(now, neighbour, 'refused.owner');
      neighbour.credit -= cost;
      neighbour.givenUntil = now + tailMs;
      const leaving = this.dormantAt !== never && this.sharedUntil <= now;
      if (leaving) this.dormantAt = Math.max(this.dormantAt, now + this.options.exchangeMs);
      else {
        this.used(now, mayWait);
        if (this.sharedUntil < this.renewBefore(now)) this.advertise(now);
        if (this.creditOf(neighbour) < this.handOverBelow + cost) this.handOver(now, place);
      }
    } else {
      if (!(neighbour.credit > 0) && (expired || !neighbour.used))
        return this.refuse(now, neighbour, 'refused.credit');
      if (!this.ownerLets(neighbour, lengthBytes)) return this.refuse(now, neighbour, 'refused.owner');
      this.used(now, mayWait);
      if (expired) this.advertise(now);
      if (!neighbour.used) {
        neighbour.used = true;
        neighbour.credit -= 1;
      }
    }
    neighbour.givenBytes += lengthBytes;
    this.counters.add('forwarded');
    return true;
  }

  /** A datagram from the local link. The bytes may be reused after the call. */
  receive(now: number, bytes: Uint8Array): void {
    this.counters.add('signals');
    const parsed = parseSignal(bytes);
    if (!parsed.ok) {
      this.counters.add('signals.malformed');
      return;
    }
    const signal = parsed.value;
    if (signal.sender === this.options.member) {
      this.counters.add('signals.own');
      return;
    }
    const place = this.find(signal.sender);
    if (place < 0) {
      this.counters.add('signals.unknown-sender');
      return;
    }
    const entry = entryOf(bytes, this.options.member);
    if (entry < 0) {
      this.counters.add('signals.not-for-us');
      return;
    }
    const neighbour = this.neighbours[place];
    if (signal.sequence <= neighbour.sequence) {
      this.counters.add('signals.replayed');
      return;
    }
    if (!verifySignal(bytes, entry, neighbour)) {
      this.counters.add('signals.forged');
      return;
    }
    if (isLate(now, signal, neighbour)) {
      this.counters.add('signals.stale');
      return;
    }
    neighbour.heardAt = now;
    neighbour.sequence = signal.sequence;
    if (signal.kind === 'advertisement') this.receiveAdvertisement(now, place, signal);
    else if (signal.kind === 'hand-over') this.receiveHandOver(now, neighbour, signal.lifetimeMs);
    else this.receiveRefusal(now, place);
  }

  poll(now: number): void {
    if (now >= this.takeOverAt) {
      this.takeOverAt = never;
      this.port.promote(now);
      this.upUntil = now + this.options.tailMs;
      // Polled late, it is no later needed less.
      this.holdUntil = Math.max(this.holdUntil, now + this.options.exchangeMs);
      this.dormantAt = this.holdUntil < this.upUntil ? this.holdUntil : never;
      this.releaseBy(now);
      this.advertise(now);
    }
    if (now >= this.askedUntil) {
      this.counters.add('hand-overs.unanswered');
      this.unansweredAt = now;
      this.decline(now);
    }
    if (now >= this.releaseAt) {
      this.releaseAt = never;
      this.port.release(now);
    }
    if (now >= this.dormantAt) {
      // The platform has seen packets since, such as the rest of an answer.
      const quietAt = this.upUntil - this.options.tailMs + this.options.exchangeMs;
      this.dormantAt = now < quietAt ? quietAt : never;
      if (this.dormantAt === never && now < this.upUntil) {
        this.upUntil = now;
        this.port.dormant(now);
      }
    }
  }

  pollAt(): number {
    return Math.min(this.takeOverAt, this.askedUntil, this.releaseAt, this.dormantAt);
  }

  /**
   * Slots the neighbour may still use. Policy `kith`: the line of credit grows with what the neighbour has given, to twice
   * the initial one; with the initial line only, a group of three would hand over more often than the paper's does.
   */
  creditOf(neighbour: Neighbour): number {
    if (!this.kith) return neighbour.credit;
    const proven = Math.max(0, neighbour.taken - neighbour.unproven);
    return neighbour.credit + Math.min(this.options.initialCredit, proven);
  }

  /** Every path's priority for MPTCP; the same object until something in it changes. */
  plan(now: number): PathPlan {
    this.link.high = this.readyAt <= now && now < this.upUntil;
    const place = choose(now, this.profile, this.link, this.neighbours);
    const alone =
      (this.kith && this.sharedUntil > now) || (place !== own && this.permitted(now, place) === own);
    return this.selection.update(now, this.profile, this.link, alone ? nobody : this.neighbours);
  }

  /** The watchdog's verdict on the path through the neighbour at `place`. */
  judge(place: number, poor: boolean): void {
    this.neighbours[place].poor = poor;
  }

  find(member: number): number {
    for (let i = 0; i < this.neighbours.length; i++) if (this.neighbours[i].member === member) return i;
    return -1;
  }

  /** A packet passed through our radio: until when is it up, and until when is it needed? */
  private used(now: number, mayWait: boolean): void {
    const { tailMs, exchangeMs } = this.options;
    this.upUntil = now + tailMs;
    if (!this.kith) return;
    if (!mayWait) this.livelyUntil = now + livelyMs;
    const needed =
      mayWait && now >= this.livelyUntil ? Math.max(now, this.readyAt) + exchangeMs : this.upUntil;
    if (needed > this.holdUntil) this.holdUntil = needed;
    this.dormantAt = this.holdUntil < this.upUntil ? this.holdUntil : never;
  }

  /** An advertisement that ends before this is renewed by a packet: half of what a new one would last. */
  private renewBefore(now: number): number {
    return now + Math.min(this.options.tailMs, this.holdUntil - now) / 2;
  }

  private advertise(now: number): void {
    const { tailMs } = this.options;
    const lifetimeMs = this.kith ? Math.min(tailMs, this.holdUntil - now) : tailMs;
    this.sharedUntil = now + lifetimeMs;
    const recipients: Neighbour[] = [];
    for (const neighbour of this.neighbours) {
      neighbour.used = false;
      neighbour.offered = this.creditOf(neighbour) > 0 && this.offers(now, neighbour);
      if (neighbour.offered) recipients.push(neighbour);
    }
    if (recipients.length === 0) return;
    const readyMs = Math.max(0, this.readyAt - now);
    const bytes = this.signal(now, 'advertisement', recipients, lifetimeMs, readyMs);
    if (!bytes) return;
    this.counters.add('advertisements.sent');
    this.port.broadcast(bytes);
  }

  private receiveAdvertisement(now: number, place: number, { lifetimeMs, readyMs }: Signal): void {
    const neighbour = this.neighbours[place];
    this.counters.add('advertisements.received');
    if (this.unwanted(now, neighbour)) {
      this.counters.add('advertisements.unwanted');
      return;
    }
    if (lifetimeMs > longestLifetimeMs) this.counters.add('advertisements.lifetime-cut');
    if (this.kith && this.sharedUntil > now) {
      // An advertisement of less than half a tail is for what waits; it is not worth moving everybody for.
      const brief = lifetimeMs < this.options.tailMs / 2;
      const trusted = now >= neighbour.distrustedUntil;
      if (this.asked !== place && (brief || !trusted || this.keeps(now, neighbour))) {
        this.counters.add('advertisements.kept');
        neighbour.keptAt = now;
        return;
      }
      this.yieldTo(now);
    }
    const answered = this.asked === place;
    if (answered) this.settleAsked();
    if (lifetimeMs >= this.options.tailMs / 2) this.livelyUntil = now + livelyMs;
    neighbour.offerUsed = !this.kith && this.renewed(now, neighbour);
    neighbour.offerUntil = now + Math.min(lifetimeMs, longestLifetimeMs);
    this.releaseBy(answered ? now : now + readyMs);
  }

  /** The neighbour at `place`, if our owner lets us use it. */
  private permitted(now: number, place: number): number {
    if (!this.owner) return place;
    const { member } = this.neighbours[place];
    // Advertisements do not tell whether the neighbour's link is metered.
    return this.owner.mayUse(now, member, this.profile, false) === 'ok' ? place : own;
  }

  /** Our owner does not deal with the neighbour. */
  private unwanted(now: number, { member }: Neighbour): boolean {
    if (!this.owner) return false;
    const reason = this.owner.mayUse(now, member, this.profile, false);
    return reason === 'blocked' || reason === 'not-allowed';
  }

  private ownerLets({ member }: Neighbour, lengthBytes: number): boolean {
    return !this.owner || this.owner.tryForward(member, lengthBytes) === 'ok';
  }

  private offers(now: number, { member }: Neighbour): boolean {
    return !this.owner || this.owner.mayAdvertise(now, member) === 'ok';
  }

  /**
   * Counts slots in a neighbour's favour and returns how many. What is not answered counts too, for it may have been the
   * answer that was lost; but no more of it than anybody gets for nothing, so that swallowing packets does not pay.
   */
  private owe(neighbour: Neighbour, slots: number): number {
    const most = Math.max(1, this.options.initialCredit);
    if (neighbour.failures > 0 && neighbour.unproven + slots > most) return 0;
    const counted = Math.max(0, Math.min(slots, this.mostCredit - neighbour.credit));
    neighbour.unproven += counted;
    neighbour.credit += counted;
    neighbour.taken += counted;
    return counted;
  }

  /** Policy paper: whether a packet of ours asked for the advertisement that has just come; then its period is counted. */
  private renewed(now: number, neighbour: Neighbour): boolean {
    const { offerUntil, renewedAt, sentAt } = neighbour;
    // Still without an answer, and sent past the end of the last one, or so little before it that it arrived after it.
    if (now >= sentAt + localTripMs || offerUntil > sentAt + localTripMs) return false;
    if (renewedAt < offerUntil || now >= renewedAt + localTripMs) this.owe(neighbour, 1);
    return true;
  }

  /**
   * Two share at once: whoever has taken more from the other goes on. Both ends decide alike, as long as their accounts
   * agree; if the other has not given way within a tail they do not, and the lower member id goes on.
   */
  private keeps(now: number, neighbour: Neighbour): boolean {
    const { initialCredit, member, tailMs } = this.options;
    const owed = neighbour.credit - initialCredit;
    // Accounts that agree do so but for rounding.
    const alike = now < neighbour.keptAt + tailMs || (owed < 1e-6 && owed > -1e-6);
    return alike ? member < neighbour.member : owed > 0;
  }

  /** Somebody else shares now: our radio is no longer needed once what is under way has been answered. */
  private yieldTo(now: number): void {
    this.sharedUntil = now;
    this.holdUntil = now;
    this.settleAsked();
    this.takeOverAt = never;
    this.dormantAt = Math.max(now, this.readyAt) + this.options.exchangeMs;
  }

  private handOver(now: number, place: number): void {
    const neighbour = this.neighbours[place];
    // Where all traffic may wait there is nothing to go on with: the neighbour's own next packet will be its turn.
    if (this.asked >= 0 || now < neighbour.declinedUntil || now >= this.livelyUntil) return;
    this.ask(now, place, Math.max(1, this.holdUntil - now), this.options.promotionMs + handOverSlackMs);
  }

  /** All radios are idle and somebody needs one: whoever has hardly any credit left is asked to bring up its own. */
  private askToWake(now: number): boolean {
    if (now >= this.livelyUntil) return false;
    if (this.asked >= 0) return now < this.askedUntil;
    // Who has waited for one neighbour in vain does not go on to wait for the next.
    if (now < this.unansweredAt + this.options.exchangeMs) return false;
    let place = -1;
    let least = nearlyUsedUp;
    for (let i = 0; i < this.neighbours.length; i++) {
      const { credit, heardAt, declinedUntil } = this.neighbours[i];
      if (credit >= least || now < declinedUntil || now >= heardAt + livelyMs) continue;
      least = credit;
      place = i;
    }
    return place >= 0 && this.ask(now, place, 0, this.options.exchangeMs);
  }

  /** Asks the neighbour at `place` to share its link for `neededMs`; 0: for a packet that waits now. */
  private ask(now: number, place: number, neededMs: number, patienceMs: number): boolean {
    const neighbour = this.neighbours[place];
    const bytes = this.signal(now, 'hand-over', [neighbour], neededMs, 0);
    if (!bytes) return false;
    this.counters.add('hand-overs.asked');
    this.asked = place;
    this.askedUntil = now + patienceMs;
    this.port.send(neighbour.member, bytes);
    return true;
  }

  private receiveHandOver(now: number, neighbour: Neighbour, neededMs: number): void {
    // Only who has taken more than it gave can be asked, and once until it was carried again: so nobody can have our
    // radio promoted for nothing.
    const owes = this.kith && neighbour.credit > this.options.initialCredit && !neighbour.obliged;
    if (!owes || !this.offers(now, neighbour)) {
      this.counters.add('hand-overs.refused');
      this.refusal(now, neighbour);
      return;
    }
    this.counters.add('hand-overs.taken');
    neighbour.obliged = true;
    const { promotionMs, tailMs } = this.options;
    if (neededMs === 0 && now >= this.upUntil) {
      // Its packet will promote our radio.
      this.willingUntil = now + handOverSlackMs;
      this.readyAt = now + promotionMs;
      this.holdUntil = now + tailMs;
      this.advertise(now);
      return;
    }
    if (now >= this.upUntil) this.readyAt = now + promotionMs;
    this.takeOverAt = Math.max(now, this.readyAt);
    this.upUntil = this.takeOverAt + tailMs;
    this.port.promote(now);
    const neededUntil = Math.max(this.takeOverAt + this.options.exchangeMs, now + Math.min(neededMs, tailMs));
    this.holdUntil = Math.max(this.holdUntil, neededUntil);
    this.dormantAt = this.holdUntil;
  }

  private receiveRefusal(now: number, place: number): void {
    this.counters.add('refusals.received');
    const neighbour = this.neighbours[place];
    // What it refuses it has not counted.
    const { sentSlots } = neighbour;
    neighbour.credit -= sentSlots;
    neighbour.taken -= sentSlots;
    neighbour.takenUntil -= sentSlots * this.options.tailMs;
    neighbour.takenBytes -= neighbour.sentBytes;
    neighbour.unproven = Math.max(0, neighbour.unproven - sentSlots);
    neighbour.sentSlots = 0;
    neighbour.sentBytes = 0;
    neighbour.sentAt = -never;
    if (sentSlots > 0) neighbour.offerUsed = false;
    this.lost(now, place);
  }

  private decline(now: number): void {
    if (this.asked >= 0)
      this.neighbours[this.asked].declinedUntil = now + declinedTails * this.options.tailMs;
    this.settleAsked();
  }

  private settleAsked(): void {
    this.asked = -1;
    this.askedUntil = never;
  }

  private refuse(
    now: number,
    neighbour: Neighbour,
    reason: 'refused.idle' | 'refused.not-offered' | 'refused.credit' | 'refused.owner',
  ): false {
    this.counters.add(reason);
    this.refusal(now, neighbour);
    return false;
  }

  private refusal(now: number, neighbour: Neighbour): void {
    const bytes = this.signal(now, 'refusal', [neighbour], 0, 0);
    if (bytes) this.port.send(neighbour.member, bytes);
  }

  /** What waits, if anything does, need not wait longer than this. */
  private releaseBy(at: number): void {
    if (this.releaseAt !== never && at < this.releaseAt) this.releaseAt = at;
  }

  private signal(
    now: number,
    kind: Signal['kind'],
    recipients: readonly Recipient[],
    lifetimeMs: number,
    readyMs: number,
  ): Uint8Array | undefined {
    const sequence = this.port.nextSequence();
    if (sequence === undefined) {
      this.counters.add('signals.no-sequence');
      return undefined;
    }
    const { member: sender, boot } = this.options;
    const uptimeMs = (now - this.bootedAt) % 4294967296;
    return emitSignal({ kind, sender, boot, sequence, uptimeMs, lifetimeMs, readyMs }, recipients);
  }
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most && value % 1 === 0))
    throw new Error(`${name}: expected an integer ${least}..${most}, got ${value}`);
}

function priceOf(mayWait: boolean): number {
  return mayWait ? waitingPrice : 1;
}

function newAccount(credit: number): Account {
  return { credit, taken: 0, givenBytes: 0, takenBytes: 0 };
}

/**
 * Whether a signal took longer than the fastest of this sender by more than `staleMs`: somebody held it back, and its
 * lifetime would be believed too long. No clocks are compared, only how the difference of the two uptimes changes.
 */
function isLate(now: number, { boot, uptimeMs }: Signal, neighbour: Neighbour): boolean {
  const offset = now - uptimeMs;
  if (boot !== neighbour.boot) {
    neighbour.boot = boot;
    neighbour.offset = offset;
    neighbour.offsetAt = now;
    return false;
  }
  // The uptime wraps after 49.7 days.
  const late = ((offset - neighbour.offset + 2147483648) % 4294967296) - 2147483648;
  const drift = (now - neighbour.offsetAt) * driftPerMs;
  if (late > staleMs + drift) {
    if (Math.abs(late - neighbour.lateMs) > staleMs) {
      neighbour.lateMs = late;
      neighbour.lateSince = now;
    }
    if (now - neighbour.lateSince < lateForMs) return true;
    neighbour.offset += late;
  } else neighbour.offset += Math.min(late, drift);
  neighbour.lateMs = -never;
  neighbour.offsetAt = now;
  return false;
}
