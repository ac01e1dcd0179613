/**
 * An IGMP proxy for television (RFC 4605): what the subscribers have joined is merged, one membership database, and reported to
 * the router on the IP side as one host's (IGMPv3, RFC 3376; IGMPv2 while the querier there speaks that); what arrives for a
 * group is replicated to those who want it.
 *
 * A session is a point-to-point link with one peer, so each report states that peer's whole wish for a group and a leave holds
 * at once: no last-member queries. Only sessions that have joined something are asked every `queryIntervalMs`; a host that joins
 * says so unasked (RFC 3376 §5.1). Groups of 224.0.0.0/24 are the link's and are not proxied (RFC 4605 §4.1). IGMPv1 and MLD are not done.
 *
 * Bounded by `memberships` in all, `groupLimit` a session and `sourceLimit` a membership; what goes beyond is counted and not joined.
 */

import { readUint32 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import type { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { emitIgmp, type GroupRecord, type Igmp, igmpLength, parseIgmp } from '../../agent/wire/igmp.js';
import { emitIpv4, ipv4HeaderLength, parseIpv4, protocolIgmp } from '../../agent/wire/ipv4.js';
import { ipv4Bytes } from './address-pool.js';

/** RFC 3376 §8.2, §8.3, §8.1; together §8.4: how long a report holds. */
const queryIntervalMs = 125_000;
const queryResponseMs = 10_000;
const robustness = 2;
const membershipMs = robustness * queryIntervalMs + queryResponseMs;
/** RFC 3376 §8.11: what changed is said again within so long. */
const unsolicitedReportMs = 1_000;
/** RFC 3376 §8.12: how long a querier of version 2 is deferred to. */
const olderQuerierMs = membershipMs;
/** The sessions are asked in so many lots, so that the queries do not go out all at once. */
const lots = 64;

/** A set-top box watches one, records a few, and announces some. */
export const groupLimit = 32;
export const sourceLimit = 16;
/** Records without sources that fit 1500 bytes behind IP header, Router Alert and report header. */
const recordsPerReport = Math.floor((1500 - 24 - 8) / 8);

/** RFC 3376 §4.2.12. */
const recordType = { isInclude: 1, isExclude: 2, toInclude: 3, toExclude: 4, allow: 5, block: 6 } as const;

const allSystems = 0xe0000001;
const allRouters = 0xe0000002;
const version3Routers = 0xe0000016;

export type IgmpCount =
  | 'joins'
  | 'leaves'
  | 'expired'
  | 'malformed'
  | 'not-proxied'
  | 'too-many'
  | 'replicated'
  | 'unwanted';

export interface IgmpProxyOptions {
  readonly memberships: number;
  /** Ours on the IP side and on the sessions; 32-bit numbers. */
  readonly upstreamAddress: number;
  readonly sessionAddress: number;
  readonly random: Random;
  /** Whole IP packets. */
  readonly toSession: (now: number, row: number, packet: Uint8Array) => void;
  readonly toUpstream: (now: number, packet: Uint8Array) => void;
}

/** RFC 3376 §3.1: from which sources a group is wanted. */
interface Wish {
  readonly mode: 'include' | 'exclude';
  readonly sources: readonly number[];
}

interface Member {
  wish: Wish;
  expiresAt: number;
}

/** The members of a group and what of their wishes is counted, so that a change costs no walk over all of them. */
interface Group {
  readonly address: number;
  readonly members: Map<number, Member>;
  readonly included: Map<number, number>;
  readonly excluded: Map<number, number>;
  excludingAll: number;
  excludingSome: number;
  /** What the querier was told last. */
  reported: Wish;
}

export interface Membership {
  readonly group: number;
  readonly mode: 'include' | 'exclude';
  readonly sources: readonly number[];
}

const nothing: Wish = { mode: 'include', sources: [] };

export class IgmpProxy {
  readonly counters = new Counters<IgmpCount>([
    'joins',
    'leaves',
    'expired',
    'malformed',
    'not-proxied',
    'too-many',
    'replicated',
    'unwanted',
  ]);
  /** Of all sessions. */
  memberships = 0;
  private readonly options: IgmpProxyOptions;
  private readonly groups = new Map<number, Group>();
  private readonly groupsOf = new Map<number, Set<number>>();
  private askAt = never;
  private lot = 0;
  private version2UntilAt = -1;
  /** Changes to be said again, and answers to queries, by group; 0: all groups. */
  private readonly due = new Map<
    number,
    { at: number; readonly records: readonly GroupRecord[] | undefined }
  >();

  constructor(options: IgmpProxyOptions) {
    this.options = options;
  }

  /** The IGMP packet `bytes[start, end)`, an IPv4 packet, from the session in `row`. */
  fromSession(now: number, row: number, bytes: Uint8Array, start: number, end: number): void {
    const igmp = this.read(bytes, start, end);
    if (!igmp) return;
    switch (igmp.kind) {
      case 'report-v2':
        this.wish(now, row, readUint32(igmp.groupAddress, 0), { mode: 'exclude', sources: [] });
        return;
      case 'leave':
        this.wish(now, row, readUint32(igmp.groupAddress, 0), nothing);
        return;
      case 'report-v3':
        for (const record of igmp.records) this.takeRecord(now, row, record);
        return;
      default:
        // A query from a subscriber would make him the querier of his link; an IGMPv1 report is not done.
        this.counters.add('not-proxied');
    }
  }

  /** An IGMP packet from the IP side: only queries matter. */
  fromUpstream(now: number, bytes: Uint8Array, start: number, end: number): void {
    const igmp = this.read(bytes, start, end);
    if (igmp?.kind !== 'query') return;
    if (igmp.version < 3) this.version2UntilAt = now + olderQuerierMs;
    const group = readUint32(igmp.groupAddress, 0);
    if (group !== 0 && !this.groups.has(group)) return;
    const at = now + this.options.random.below(igmp.maxResponseTimeMs + 1);
    const before = this.due.get(group);
    // A change that waits to be said again is the newest state as well.
    if (!before || (before.records === undefined && before.at > at))
      this.due.set(group, { at, records: undefined });
  }

  /** Calls `send` for each session that wants what `source` sends to `group`. */
  replicate(group: number, source: number, send: (row: number) => void): void {
    const entry = this.groups.get(group);
    if (!entry) {
      this.counters.add('unwanted');
      return;
    }
    for (const [row, { wish }] of entry.members) {
      if (wish.sources.includes(source) !== (wish.mode === 'include')) continue;
      this.counters.add('replicated');
      send(row);
    }
  }

  /** The session in `row` has ended. */
  close(now: number, row: number): void {
    for (const group of this.groupsOf.get(row) ?? []) this.set(now, row, group, nothing, 0);
  }

  membershipsOf(row: number): Membership[] {
    return [...(this.groupsOf.get(row) ?? [])].map(group => ({
      group,
      ...this.groups.get(group)!.members.get(row)!.wish,
    }));
  }

  /** As if the session in `row` had just said so: what another BRAS knew of it. */
  restore(now: number, row: number, { group, mode, sources }: Membership): void {
    this.wish(now, row, group, { mode, sources });
  }

  poll(now: number): void {
    while (now >= this.askAt) this.ask(now);
    for (const [group, { at, records }] of this.due) {
      if (at > now) continue;
      this.due.delete(group);
      if (records) this.report(now, records);
      else this.reportState(now, group);
    }
  }

  pollAt(): number {
    let at = this.askAt;
    for (const entry of this.due.values()) at = Math.min(at, entry.at);
    return at;
  }

  private read(bytes: Uint8Array, start: number, end: number): Igmp | undefined {
    const packet = parseIpv4(bytes, start, end);
    // RFC 3376 §4: a time to live of 1, so that it comes from this link.
    const igmp =
      packet.ok && packet.value.protocol === protocolIgmp && packet.value.timeToLive === 1
        ? parseIgmp(packet.value.payload, 0, packet.value.payload.length)
        : undefined;
    if (igmp?.ok) return igmp.value;
    this.counters.add('malformed');
    return undefined;
  }

  /** RFC 3376 §6.4 for a link with one host, whose state is known whole. */
  private takeRecord(now: number, row: number, { type, groupAddress, sourceAddresses }: GroupRecord): void {
    const group = readUint32(groupAddress, 0);
    const said = [...new Set(sourceAddresses.map(address => readUint32(address, 0)))];
    const { mode, sources } = this.groups.get(group)?.members.get(row)?.wish ?? nothing;
    const more = [...new Set([...sources, ...said])];
    const fewer = sources.filter(source => !said.includes(source));
    const wish = (wishMode: Wish['mode'], wishSources: number[]) =>
      this.wish(now, row, group, { mode: wishMode, sources: wishSources });
    switch (type) {
      case recordType.isInclude:
      case recordType.toInclude:
        wish('include', said);
        break;
      case recordType.isExclude:
      case recordType.toExclude:
        wish('exclude', said);
        break;
      case recordType.allow:
        wish(mode, mode === 'include' ? more : fewer);
        break;
      case recordType.block:
        wish(mode, mode === 'include' ? fewer : more);
        break;
    }
  }

  private wish(now: number, row: number, group: number, wish: Wish): void {
    if (group >>> 8 === 0xe00000 || group >>> 28 !== 0xe) {
      this.counters.add('not-proxied');
      return;
    }
    const own = this.groupsOf.get(row);
    const isNew = !own?.has(group);
    const isWanted = wish.mode === 'exclude' || wish.sources.length > 0;
    const hasRoom = !isNew || (this.memberships < this.options.memberships && (own?.size ?? 0) < groupLimit);
    if (isWanted && (!hasRoom || wish.sources.length > sourceLimit)) {
      this.counters.add('too-many');
      return;
    }
    if (isNew && !isWanted) return;
    if (isNew) this.counters.add('joins');
    else if (!isWanted) this.counters.add('leaves');
    this.set(now, row, group, wish, now + membershipMs);
    if (this.askAt === never && this.memberships > 0) this.askAt = now + queryIntervalMs / lots;
  }

  /** The one place where a membership comes, changes and goes. */
  private set(now: number, row: number, address: number, wish: Wish, expiresAt: number): void {
    let group = this.groups.get(address);
    if (!group) {
      group = {
        address,
        members: new Map(),
        included: new Map(),
        excluded: new Map(),
        excludingAll: 0,
        excludingSome: 0,
        reported: nothing,
      };
      this.groups.set(address, group);
    }
    const member = group.members.get(row);
    if (member) count(group, member.wish, -1);
    if (wish.mode === 'include' && wish.sources.length === 0) {
      group.members.delete(row);
      const own = this.groupsOf.get(row);
      own?.delete(address);
      if (own?.size === 0) this.groupsOf.delete(row);
      this.memberships--;
    } else {
      count(group, wish, 1);
      if (member) {
        member.wish = wish;
        member.expiresAt = expiresAt;
      } else {
        group.members.set(row, { wish, expiresAt });
        const own = this.groupsOf.get(row);
        if (own) own.add(address);
        else this.groupsOf.set(row, new Set([address]));
        this.memberships++;
      }
    }
    if (group.members.size === 0) this.groups.delete(address);
    this.tell(now, group);
  }

  /** Tells the querier what changed, now and once more (RFC 3376 §5.1, robustness 2). */
  private tell(now: number, group: Group): void {
    const state = merge(group);
    const records = difference(group.address, group.reported, state);
    if (records.length === 0) return;
    group.reported = state;
    this.report(now, records);
    const at = now + 1 + this.options.random.below(unsolicitedReportMs);
    this.due.set(group.address, { at, records });
  }

  private reportState(now: number, asked: number): void {
    let records: GroupRecord[] = [];
    for (const group of asked === 0 ? this.groups.values() : [this.groups.get(asked)]) {
      if (!group) continue;
      const { mode, sources } = group.reported;
      const type = mode === 'include' ? recordType.isInclude : recordType.isExclude;
      records.push(record(type, group.address, sources));
      if (records.length < recordsPerReport) continue;
      this.report(now, records);
      records = [];
    }
    if (records.length > 0) this.report(now, records);
  }

  private report(now: number, records: readonly GroupRecord[]): void {
    if (now >= this.version2UntilAt) {
      this.say(now, version3Routers, { kind: 'report-v3', records });
      return;
    }
    for (const { type, groupAddress } of records) {
      // IGMPv2 knows no sources: joined if any is wanted. A block leaves something wanted.
      const group = readUint32(groupAddress, 0);
      if (this.groups.has(group)) this.say(now, group, { kind: 'report-v2', groupAddress });
      else if (type === recordType.toInclude || type === recordType.block)
        this.say(now, allRouters, { kind: 'leave', groupAddress });
    }
  }

  private say(now: number, to: number, message: Igmp): void {
    this.options.toUpstream(now, igmpPacket(this.options.upstreamAddress, to, message));
  }

  /** A lot of the sessions: who has not answered for too long is dropped, the others are asked. */
  private ask(now: number): void {
    this.askAt = this.memberships > 0 ? now + Math.ceil(queryIntervalMs / lots) : never;
    this.lot = (this.lot + 1) % lots;
    const query = igmpPacket(this.options.sessionAddress, allSystems, {
      kind: 'query',
      version: 3,
      maxResponseTimeMs: queryResponseMs,
      groupAddress: new Uint8Array(4),
      suppressRouterProcessing: false,
      robustness,
      queryIntervalS: queryIntervalMs / 1000,
      sourceAddresses: [],
    });
    for (const [row, groups] of this.groupsOf) {
      if (row % lots !== this.lot) continue;
      for (const group of groups) {
        if (this.groups.get(group)!.members.get(row)!.expiresAt > now) continue;
        this.counters.add('expired');
        this.set(now, row, group, nothing, 0);
      }
      if (this.groupsOf.has(row)) this.options.toSession(now, row, query);
    }
  }
}

function count(group: Group, { mode, sources }: Wish, by: 1 | -1): void {
  if (mode === 'exclude') {
    if (sources.length === 0) group.excludingAll += by;
    else group.excludingSome += by;
  }
  const counts = mode === 'include' ? group.included : group.excluded;
  for (const source of sources) {
    const left = (counts.get(source) ?? 0) + by;
    if (left === 0) counts.delete(source);
    else counts.set(source, left);
  }
}

/** RFC 4605 §4.1, by the rules of RFC 3376 §3.2. */
function merge({ included, excluded, excludingAll, excludingSome }: Group): Wish {
  if (excludingAll + excludingSome === 0) return { mode: 'include', sources: [...included.keys()] };
  if (excludingAll > 0) return { mode: 'exclude', sources: [] };
  const byAll = [...excluded].filter(([source, times]) => times === excludingSome && !included.has(source));
  return { mode: 'exclude', sources: byAll.map(([source]) => source) };
}

/** RFC 3376 §5.1: the state-change records from one wish to another. */
function difference(group: number, from: Wish, to: Wish): GroupRecord[] {
  if (from.mode !== to.mode)
    return [record(to.mode === 'include' ? recordType.toInclude : recordType.toExclude, group, to.sources)];
  const added = to.sources.filter(source => !from.sources.includes(source));
  const gone = from.sources.filter(source => !to.sources.includes(source));
  const [allow, block] = to.mode === 'include' ? [added, gone] : [gone, added];
  const records: GroupRecord[] = [];
  if (allow.length > 0) records.push(record(recordType.allow, group, allow));
  if (block.length > 0) records.push(record(recordType.block, group, block));
  return records;
}

function record(type: number, group: number, sources: readonly number[]): GroupRecord {
  return { type, groupAddress: ipv4Bytes(group), sourceAddresses: sources.map(ipv4Bytes) };
}

/** The whole IP packet, with Router Alert (RFC 2113), a time to live of 1 and internetwork control (RFC 3376 §4). */
export function igmpPacket(from: number, to: number, message: Igmp): Uint8Array {
  const header = {
    dscp: 48,
    ecn: 0,
    identification: 0,
    dontFragment: false,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 1,
    protocol: protocolIgmp,
    srcAddress: ipv4Bytes(from),
    dstAddress: ipv4Bytes(to),
    options: new Uint8Array([0x94, 4, 0, 0]),
  };
  const length = igmpLength(message);
  const packet = new Uint8Array(ipv4HeaderLength(header) + length);
  emitIgmp(message, packet, emitIpv4(header, length, packet, 0));
  return packet;
}
