/**
 * What the owner of a shared link allows: how much of the SIM's quota goes to neighbours, from which battery level, to
 * whom, and whether there is traffic enough for the kibbutz to pay (mobile kibbutz, §2.1.3.2.2.1 "Prioritization",
 * §2.1.3.2.5.4).
 *
 * Sans-I/O. Whoever moves packets tells it the owner's bytes (`recordOwn`), asks before each of a neighbour's
 * (`tryForward`, which charges it), and performs a save whenever `saveDue`. Each question is answered `ok` or with the
 * reason against it, and each answer is counted.
 *
 * Whatever is not known counts against the neighbours: without a date the quota never resets, without a battery level a
 * threshold is not met, and with a saved account that cannot be read their share counts as spent.
 *
 * A restart forgets nothing: what is saved runs ahead of what is used, by `reserveBytes` for the owner's bytes and as much
 * for the neighbours'. A neighbour's packet beyond that waits for the next save (`unsaved`). So a crash takes up to
 * twice `reserveBytes` off what is left of the quota, and gives no neighbour a byte more. Of the owner's bytes, which nobody
 * refuses, it can forget only those recorded while a save was due; and a save is due while half the reserve is left.
 *
 * Bounds: `mostMembers` in each list; nothing else grows. Every call is of constant cost and allocates nothing, but
 * `snapshot`.
 */

import { Counters } from '../core/counters.js';
import type { Profile } from './path-selection.js';

/** Older than this software: the clock has not been set. */
const earliestYear = 2026;

/** Members in `allowed` and in `blocked`, each: more than meet around one link. A longer list is refused. */
export const mostMembers = 64;

/** 2^53 − 1. */
const mostInteger = 9007199254740991;

/** RFC 791 §3.1. */
const mostPacketBytes = 65_535;

/**
 * At least the largest packet: one must fit in a fresh reserve. At most 1 MiB: the link of the seed's
 * simulator (2 Mbit/s) then asks for a save every two seconds at worst, which wear-levelled flash stands. In between a
 * thousandth of the quota, so that a crash a day costs at most six percent of a month's.
 */
const leastReserveBytes = 65_536;
const mostReserveBytes = 1_048_576;
const reservesPerQuota = 1024;

/** With less than a full packet (Ethernet's MTU, RFC 894) left, an advertisement would only invite what is refused. */
const leastRoomBytes = 1500;

/** A gauge moves by a few percent as the load comes and goes; sharing must not follow it. */
const batteryHysteresisPercent = 5;

/**
 * The seed's tail time (§2.1.3.2.3). Own packets that follow a counted one within it are not counted: they ride in its
 * tail, cost a radio alone little more, and so are little that the kibbutz could save.
 */
const slotMs = 10_000;
/**
 * Three minutes. Measured with the seed's applications, two hours each, and the default below: streaming switches it on in
 * 71 s, web in two minutes, and background, just below break-even, has it on 6 % of the time, three times by chance. With two
 * minutes it is 41 s and 80 s, but 20 % and nineteen times.
 */
const slots = 18;
/** The most that `minimumPacketsPerMinute` can ask: a packet counted in every slot. */
const mostPacketsPerMinute = 60_000 / slotMs;
/** Off again below this part of the rate that switched it on. Near break-even either way costs little. */
const rateHysteresis = 0.8;

/**
 * The rate of break-even. Taking part costs 48 mW (§2.1.3.2.5.4), a radio that is up 650 mW (§2.1.3.2.5.2), so the kibbutz
 * must spare the radio 48 / 650 = 7.4 % of the time. With one neighbour alike it spares (Table 2.2, its diagonal)
 * background, 2 packets a minute, 30 − 25 = 5 %, and web, 60 / 13 = 4.6 packets a minute, 72 − 49 = 23 % (72 rather than
 * the table's 80: §2.1.3.2.3 gives both, and the smaller gain is the safer). Straight between the two:
 * 2 + (7.4 − 5) / (23 − 5) × (4.6 − 2) = 2.35, rounded up to a tenth.
 */
const breakEvenPacketsPerMinute = 2.4;

/** Everything may be left out; then there is no such limit, except where a default is given. */
export interface OwnerOptions {
  /** What the SIM's contract allows in a period, own and forwarded, up and down: 1 … 2^53 − 1 bytes. */
  readonly quotaBytes?: number;
  /** The day of the month a period begins, 1 … 31, default 1; in a month without it, the month's last day. */
  readonly resetDay?: number;
  /** The part of the quota that may go to all neighbours together, 0 … 1, default 1. Needs `quotaBytes`. */
  readonly neighbourShare?: number;
  /** Nothing is shared below this level, 0 … 100; and then again from five percent above it. */
  readonly batteryPercent?: number;
  /** While charging the level does not matter; default false. */
  readonly chargingOverrides?: boolean;
  /** Member ids, 1 … 2^32 − 1. Given: nobody else is dealt with, in either direction. */
  readonly allowed?: readonly number[];
  /** Member ids never dealt with, even if allowed. */
  readonly blocked?: readonly number[];
  /** The own link is paid by the byte, so neither used nor shared merely for a lower RTT; default false. */
  readonly metered?: boolean;
  /**
   * The kibbutz is off while own traffic is rarer: 0 … 6 packets a minute, those within ten seconds counting as one
   * (§2.1.3.2.5.4); 0: never off. Default 2.4, where it begins to pay.
   */
  readonly minimumPacketsPerMinute?: number;
}

/** A civil date where the contract is. */
export interface CivilDate {
  readonly year: number;
  /** 1 … 12. */
  readonly month: number;
  /** 1 … 31. */
  readonly day: number;
}

/** What a restart needs to know; CBOR can carry it. */
export interface OwnerSnapshot {
  /** year × 12 + month − 1 in which the period began; −1: unknown. */
  readonly period: number;
  readonly ownBytes: number;
  readonly forwardedBytes: number;
  readonly [key: string]: number;
}

const forwardReasons = [
  'ok',
  'blocked',
  'not-allowed',
  'battery',
  /** The quota of the SIM is used up. */
  'quota',
  /** The neighbours' part of it is. */
  'neighbours-share',
  /** It would go beyond what the last save covers. */
  'unsaved',
] as const;
export type ForwardReason = (typeof forwardReasons)[number];

/** `quiet`: there is too little own traffic for the kibbutz to pay. */
const advertiseReasons = [...forwardReasons, 'quiet'] as const;
export type AdvertiseReason = (typeof advertiseReasons)[number];

/** `metered`: the link is paid by the byte, and a lower RTT is all there is to gain. */
const useReasons = ['ok', 'blocked', 'not-allowed', 'quiet', 'metered'] as const;
export type UseReason = (typeof useReasons)[number];

/** `dates.refused`: too old to be true. */
const accountNames = ['periods', 'dates.refused', 'snapshots', 'snapshots.unreadable'] as const;

export class OwnerLimits {
  /** Answers of `mayAdvertise`, `tryForward` and `mayUse`, by reason; and what happened to the account. */
  readonly advertising = new Counters<AdvertiseReason>(advertiseReasons);
  readonly forwarding = new Counters<ForwardReason>(forwardReasons);
  readonly using = new Counters<UseReason>(useReasons);
  readonly accounting = new Counters<(typeof accountNames)[number]>(accountNames);
  /** For the own path selection (path-selection.ts), and to tell neighbours, for their `mayUse`. */
  readonly metered: boolean;
  /** How far a save runs ahead of what is used, for own and for forwarded bytes each. */
  readonly reserveBytes: number;
  /** Save `snapshot()` now, before more packets go. Never true without a quota. */
  saveDue = false;
  /** Used in this period. */
  ownBytes = 0;
  forwardedBytes = 0;
  private readonly quotaBytes: number;
  private readonly shareBytes: number;
  private readonly resetDay: number;
  private readonly batteryPercent: number;
  private readonly chargingOverrides: boolean;
  private readonly allowed: readonly number[] | undefined;
  private readonly blocked: readonly number[];
  /** Busy slots of a window to switch on, and to stay on. */
  private readonly leastBusy: number;
  private readonly leastBusyOn: number;
  private period = -1;
  private savedOwnBytes = 0;
  private savedForwardedBytes = 0;
  private charged: boolean;
  private countedAt = -slotMs;
  /** A bit for each slot, the newest lowest: whether a packet was counted in it. Two never fall in one. */
  private busySlots = 0;
  private slot = 0;
  private lively: boolean;

  /**
   * `saved` is what `snapshot` gave before the restart, as the store gave it back; `undefined` if there never was one. Throws,
   * naming the option and what was expected, if one is wrong.
   */
  constructor(options: OwnerOptions, saved?: unknown) {
    const { quotaBytes, resetDay = 1, neighbourShare, batteryPercent = 0, allowed, blocked = [] } = options;
    const { minimumPacketsPerMinute = breakEvenPacketsPerMinute } = options;
    if (quotaBytes !== undefined) checkInteger('quotaBytes', quotaBytes, 1, mostInteger);
    checkInteger('resetDay', resetDay, 1, 31);
    checkNumber('neighbourShare', neighbourShare ?? 1, 0, 1);
    if (neighbourShare !== undefined && quotaBytes === undefined)
      throw new Error(`neighbourShare: expected quotaBytes beside it, got ${neighbourShare} of no quota`);
    checkNumber('batteryPercent', batteryPercent, 0, 100);
    checkNumber('minimumPacketsPerMinute', minimumPacketsPerMinute, 0, mostPacketsPerMinute);
    this.quotaBytes = quotaBytes ?? Infinity;
    this.shareBytes = quotaBytes === undefined ? Infinity : Math.floor(quotaBytes * (neighbourShare ?? 1));
    this.reserveBytes = Math.max(
      leastReserveBytes,
      Math.min(mostReserveBytes, Math.floor(this.quotaBytes / reservesPerQuota)),
    );
    this.resetDay = resetDay;
    this.batteryPercent = batteryPercent;
    this.charged = batteryPercent === 0;
    this.chargingOverrides = checkBoolean('chargingOverrides', options.chargingOverrides);
    this.metered = checkBoolean('metered', options.metered);
    this.allowed = allowed && sortedMembers('allowed', allowed);
    this.blocked = sortedMembers('blocked', blocked);
    this.leastBusy = (minimumPacketsPerMinute * slots) / mostPacketsPerMinute;
    this.leastBusyOn = this.leastBusy * rateHysteresis;
    this.lively = minimumPacketsPerMinute === 0;
    if (saved !== undefined && quotaBytes !== undefined) this.restore(saved);
  }

  /**
   * Tells the civil date: at the start, when it becomes known, and after each midnight. Only this begins a new period. A date
   * before 2026 or the present period is counted and not believed: a board's clock says 1970 until it is set, and
   * believing that would begin the period anew once it is. Throws on what is no date.
   */
  setDate({ year, month, day }: CivilDate): void {
    checkInteger('year', year, 1970, 9999);
    checkInteger('month', month, 1, 12);
    checkInteger('day', day, 1, daysInMonth(year, month));
    const begins = Math.min(this.resetDay, daysInMonth(year, month));
    const period = year * 12 + month - (day >= begins ? 1 : 2);
    if (year < earliestYear || period < this.period) {
      this.accounting.add('dates.refused');
      return;
    }
    // What was used before the date was known is taken to be of this period.
    if (this.period < 0) this.period = period;
    if (period === this.period) return;
    this.accounting.add('periods');
    this.period = period;
    this.ownBytes = 0;
    this.forwardedBytes = 0;
    // Until the new period is saved a restart takes up the old account; so nothing of the new one may be spent on it.
    this.savedOwnBytes = 0;
    this.savedForwardedBytes = 0;
    this.saveDue = this.quotaBytes !== Infinity;
  }

  /** Tells the battery's level, 0 … 100 percent, whenever it changes. Throws on any other. */
  setBattery(percent: number, charging: boolean): void {
    checkNumber('percent', percent, 0, 100);
    const threshold = this.batteryPercent;
    if (
      (charging && this.chargingOverrides) ||
      percent >= Math.min(100, threshold + batteryHysteresisPercent)
    )
      this.charged = true;
    else if (percent < threshold) this.charged = false;
  }

  /** The owner's own packet went or came over the own link or a neighbour's; `overOwnLink` counts it to the quota. */
  recordOwn(now: number, bytes: number, overOwnLink: boolean): void {
    checkInteger('bytes', bytes, 0, mostInteger);
    this.settleSlots(now);
    if (now >= this.countedAt + slotMs) {
      this.countedAt = now;
      this.busySlots |= 1;
    }
    if (!overOwnLink) return;
    this.ownBytes += bytes;
    if (this.ownBytes + this.reserveBytes / 2 > this.savedOwnBytes) this.wantSave();
  }

  /**
   * Asks for a neighbour's packet of 0 … 65,535 bytes that would leave through our link, and charges it if the answer is
   * `ok`. (Plain arguments, because an object for each packet would be garbage.)
   */
  tryForward(neighbour: number, bytes: number): ForwardReason {
    checkInteger('bytes', bytes, 0, mostPacketBytes);
    const reason = this.judgeForward(neighbour, bytes);
    this.forwarding.add(reason);
    if (reason === 'ok') this.forwardedBytes += bytes;
    if (reason === 'ok' || reason === 'unsaved') this.reserveForwarded(reason === 'ok' ? 0 : bytes);
    return reason;
  }

  /** Takes back what `tryForward` charged for a packet that did not leave after all: the queue was full. */
  refund(bytes: number): void {
    checkInteger('bytes', bytes, 0, mostInteger);
    this.forwardedBytes = Math.max(0, this.forwardedBytes - bytes);
  }

  /**
   * A neighbour's bytes that came down our link. They are spent before anyone is asked, so they are charged beyond the share
   * too, and nothing more goes out then; how many come is for the provider, which sends them, to bound.
   */
  recordReturned(bytes: number): void {
    checkInteger('bytes', bytes, 0, mostInteger);
    this.forwardedBytes += bytes;
    this.reserveForwarded(0);
  }

  /** Whether the own link may be offered to `neighbour` now. */
  mayAdvertise(now: number, neighbour: number): AdvertiseReason {
    // What is advertised already is forwarded for its short rest, quiet or not: `tryForward` does not ask this.
    const reason = this.isLively(now) ? this.judgeForward(neighbour, leastRoomBytes) : 'quiet';
    this.advertising.add(reason);
    if (reason === 'unsaved') this.reserveForwarded(leastRoomBytes);
    return reason;
  }

  /** Whether own traffic may take `neighbour`'s link, which that neighbour said is `metered` or not. */
  mayUse(now: number, neighbour: number, profile: Profile, metered: boolean): UseReason {
    const reason = this.judgeUse(now, neighbour, profile, metered);
    this.using.add(reason);
    return reason;
  }

  /** What to save now; it runs `reserveBytes` ahead of what is used. Allocates. */
  snapshot(): OwnerSnapshot {
    const { ownBytes, forwardedBytes, reserveBytes } = this;
    this.savedOwnBytes = ownBytes + reserveBytes;
    // Beyond the share nothing is forwarded, so nothing need be reserved.
    this.savedForwardedBytes = Math.max(
      forwardedBytes,
      Math.min(forwardedBytes + reserveBytes, this.shareBytes),
    );
    return this.saved();
  }

  /** What to save last at an orderly end: exact. Nothing more is forwarded after it. */
  lastSnapshot(): OwnerSnapshot {
    this.savedOwnBytes = this.ownBytes;
    this.savedForwardedBytes = this.forwardedBytes;
    return this.saved();
  }

  private saved(): OwnerSnapshot {
    this.saveDue = false;
    this.accounting.add('snapshots');
    const { period, savedOwnBytes: ownBytes, savedForwardedBytes: forwardedBytes } = this;
    return { period, ownBytes, forwardedBytes };
  }

  private restore(saved: unknown): void {
    const { period, ownBytes, forwardedBytes } = (saved ?? {}) as { readonly [key: string]: unknown };
    if (isCount(period, -1) && isCount(ownBytes, 0) && isCount(forwardedBytes, 0)) {
      this.period = period;
      this.ownBytes = ownBytes;
      this.forwardedBytes = forwardedBytes;
    } else {
      this.accounting.add('snapshots.unreadable');
      this.forwardedBytes = this.shareBytes;
    }
    this.savedOwnBytes = this.ownBytes;
    this.savedForwardedBytes = this.forwardedBytes;
  }

  private judgeMember(member: number): 'ok' | 'blocked' | 'not-allowed' {
    if (has(this.blocked, member)) return 'blocked';
    return this.allowed === undefined || has(this.allowed, member) ? 'ok' : 'not-allowed';
  }

  private judgeForward(neighbour: number, bytes: number): ForwardReason {
    const about = this.judgeMember(neighbour);
    if (about !== 'ok') return about;
    if (!this.charged) return 'battery';
    if (this.ownBytes + this.forwardedBytes + bytes > this.quotaBytes) return 'quota';
    if (this.forwardedBytes + bytes > this.shareBytes) return 'neighbours-share';
    if (this.quotaBytes !== Infinity && this.forwardedBytes + bytes > this.savedForwardedBytes)
      return 'unsaved';
    return 'ok';
  }

  private judgeUse(now: number, neighbour: number, profile: Profile, metered: boolean): UseReason {
    const about = this.judgeMember(neighbour);
    if (about !== 'ok') return about;
    if (!this.isLively(now)) return 'quiet';
    return metered && profile === 'min-rtt' ? 'metered' : 'ok';
  }

  /** Wants a save if, after `bytes` more, less than half of a reserve were left, and a save could change that. */
  private reserveForwarded(bytes: number): void {
    const left = this.savedForwardedBytes - this.forwardedBytes - bytes;
    if (left < this.reserveBytes / 2 && (this.savedForwardedBytes < this.shareBytes || left < 0))
      this.wantSave();
  }

  private wantSave(): void {
    this.saveDue = this.quotaBytes !== Infinity;
  }

  /** Whether own traffic is frequent enough, with hysteresis. */
  private isLively(now: number): boolean {
    this.settleSlots(now);
    return this.lively;
  }

  /** Moves the window up to `now` and judges the rate in it. */
  private settleSlots(now: number): void {
    const slot = Math.floor(now / slotMs);
    const passed = slot - this.slot;
    this.busySlots = passed < slots ? (this.busySlots << passed) & ((1 << slots) - 1) : 0;
    this.slot = slot;
    let busy = 0;
    for (let bits = this.busySlots; bits !== 0; bits &= bits - 1) busy++;
    this.lively = busy >= (this.lively ? this.leastBusyOn : this.leastBusy);
  }
}

function daysInMonth(year: number, month: number): number {
  if (month !== 2) return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
}

function sortedMembers(field: string, members: readonly number[]): readonly number[] {
  if (members.length > mostMembers)
    throw new Error(`${field}: expected at most ${mostMembers} members, got ${members.length}`);
  for (let i = 0; i < members.length; i++) checkInteger(`${field}[${i}]`, members[i], 1, 4294967295);
  return members.slice().sort((a, b) => a - b);
}

/** Whether the ascending list has `member`, by bisection. */
function has(sorted: readonly number[], member: number): boolean {
  let from = 0;
  let to = sorted.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (sorted[middle] < member) from = middle + 1;
    else to = middle;
  }
  return from < sorted.length && sorted[from] === member;
}

function isCount(value: unknown, least: number): value is number {
  return typeof value === 'number' && value >= least && value <= mostInteger && value % 1 === 0;
}

function checkInteger(field: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most && value % 1 === 0))
    throw new Error(`${field}: expected an integer ${least}..${most}, got ${value}`);
}

function checkNumber(field: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most))
    throw new Error(`${field}: expected ${least}..${most}, got ${value}`);
}

function checkBoolean(field: string, value = false): boolean {
  if (value !== true && value !== false) throw new Error(`${field}: expected true or false, got ${value}`);
  return value;
}
