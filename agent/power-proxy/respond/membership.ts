/**
 * Multicast group membership in a sleeping host's place: when a querier asks, the groups the host had joined are reported
 * after a random part of the time it allows. The algorithm is that of IGMPv3 (RFC 3376 §5.2) and MLDv2 (RFC 3810 §6.2),
 * with the older versions' (RFC 1112 appendix I, RFC 2236 §3, RFC 2710 §4) while their queriers are about (RFC 3376 §7.2.1,
 * RFC 3810 §8.2.1). igmp.ts and mld.ts say what the messages look like.
 *
 * The host's source filters are not known: each group counts as joined for any source, so a querier keeps forwarding what
 * the host may have excluded. Bounded by the limit given, reports and versions each; beyond it a query is left to the
 * querier's next, and `querySourceLimit` sources of a query widen to the whole group.
 */

import { sameBytes } from '../../core/bytes.js';
import type { Random } from '../../core/random.js';
import type { Result } from '../../core/result.js';
import type { GroupRecord } from '../../wire/igmp.js';
import type { Question, Served } from '../responder.js';
import { type Deferring, Due, type SendDue } from './due.js';
import { includes, isUnspecified, type Refusal, type Way, wayBack } from './frame.js';

export type MembershipRefusal =
  | Refusal
  /** The answer goes out in `poll`. */
  | 'scheduled'
  /** No room for another report. */
  | 'too-many';

/** The generation that reports one group a message and keeps quiet if another member was heard; 1 and 2 of IGMP. */
export type Generation = 1 | 2 | 3;

export type Heard =
  | {
      readonly kind: 'query';
      /** MLDv1 counts as 2, MLDv2 as 3: what IGMPv2 and IGMPv3 do. */
      readonly generation: Generation;
      readonly maxResponseTimeMs: number;
      /** Unspecified in a general query. */
      readonly groupAddress: Uint8Array;
      readonly sourceAddresses: readonly Uint8Array[];
    }
  /** Another member's report of generation 1 or 2. */
  | { readonly kind: 'report'; readonly groupAddress: Uint8Array };

/** What differs between IGMP and MLD. */
export interface MembershipProtocol {
  read(question: Question): Result<Heard, Refusal>;
  /** Those of the host's groups that are ever reported. */
  groupsOf(host: Served): readonly Uint8Array[];
  /** One frame with these records; of generation 1 and 2 there is one record, whose group alone counts. */
  report(
    way: Pick<Way, 'link' | 'tags'>,
    host: Served,
    generation: Generation,
    records: readonly GroupRecord[],
  ): Uint8Array;
  /** How many records without sources fit a packet of Ethernet's MTU. */
  readonly recordsLimit: number;
}

/** How many sources of a group are remembered between query and report; the rest of RFC 3376 §5.2 rule 5 needs no more. */
const querySourceLimit = 32;
/** Older Version Querier Present Timeout: 2 × 125 s + 10 s by default (RFC 3376 §8.12, RFC 3810 §9.12). */
const olderQuerierMs = 260_000;
const modeIsInclude = 1;
const modeIsExclude = 2;

interface Pending {
  readonly dueAt: number;
  readonly host: Served;
  readonly way: Pick<Way, 'link' | 'tags'>;
  readonly vlanId: number;
  readonly generation: Generation;
  /** Absent: all of the host's. */
  readonly group?: Uint8Array;
  /** Empty: whatever the source. */
  readonly sources: readonly Uint8Array[];
}

interface OlderQuerier {
  readonly link: string;
  readonly vlanId: number;
  readonly generation: Generation;
  readonly untilAt: number;
}

export class Membership implements Deferring {
  private readonly protocol: MembershipProtocol;
  private readonly random: Random;
  private readonly due: Due<Pending>;
  private readonly limit: number;
  private olderQueriers: OlderQuerier[] = [];

  constructor(protocol: MembershipProtocol, random: Random, limit: number) {
    this.protocol = protocol;
    this.random = random;
    this.limit = limit;
    this.due = new Due(limit);
  }

  /** As a `Responder`, but the answers go out in `poll`. */
  respond(question: Question): MembershipRefusal {
    const heard = this.protocol.read(question);
    if (!heard.ok) return heard.reason;
    const host: Served = question.host;
    if (heard.value.kind === 'report') {
      this.overhear(question, heard.value.groupAddress);
      return 'not-a-question';
    }
    const { generation, maxResponseTimeMs, groupAddress } = heard.value;
    const groups = this.protocol.groupsOf(host);
    const general = isUnspecified(groupAddress);
    if (groups.length === 0 || (!general && !includes(groups, groupAddress))) return 'not-ours';
    const speaks = this.noteQuerier(question, generation);
    const dueAt = question.now + this.random.below(maxResponseTimeMs + 1);
    const { link, tags } = wayBack(question);
    const pending = {
      dueAt,
      host,
      way: { link, tags },
      vlanId: question.headers.vlanId,
      generation: speaks,
      sources: [],
    };
    if (speaks === 3) {
      if (general) return this.scheduleGeneral(pending);
      return this.scheduleGroup(pending, groupAddress, heard.value.sourceAddresses);
    }
    let taken = 0;
    for (const group of general ? groups : [groupAddress]) {
      // Each waits for a time of its own, so that one group's members do not hush another's.
      const at = general ? question.now + this.random.below(maxResponseTimeMs + 1) : dueAt;
      if (this.scheduleOlder({ ...pending, dueAt: at }, group, maxResponseTimeMs, question.now)) taken++;
    }
    return taken > 0 ? 'scheduled' : 'too-many';
  }

  poll(now: number, send: SendDue): void {
    for (const pending of this.due.take(now)) {
      const { host, way, generation, group, sources } = pending;
      const records: GroupRecord[] = [];
      for (const groupAddress of this.protocol.groupsOf(host)) {
        if (group && !sameBytes(group, groupAddress)) continue;
        const type = sources.length > 0 ? modeIsInclude : modeIsExclude;
        records.push({ type, groupAddress, sourceAddresses: sources });
      }
      const most = generation === 3 ? this.protocol.recordsLimit : 1;
      for (let i = 0; i < records.length; i += most)
        send(way.link.name, this.protocol.report(way, host, generation, records.slice(i, i + most)));
    }
  }

  pollAt(): number {
    return this.due.pollAt();
  }

  forget(mac: Uint8Array): void {
    this.due.forget(mac);
  }

  /** RFC 3376 §5.2, rules 1 and 2. */
  private scheduleGeneral(pending: Pending): MembershipRefusal {
    const earlier = this.due.items.find(other => sameInterface(other, pending) && !other.group);
    if (earlier && earlier.dueAt <= pending.dueAt) return 'scheduled';
    if (earlier) this.remove(earlier);
    return this.due.add(pending) ? 'scheduled' : 'too-many';
  }

  /** RFC 3376 §5.2, rules 1 and 3 to 5. */
  private scheduleGroup(
    pending: Pending,
    groupAddress: Uint8Array,
    queried: readonly Uint8Array[],
  ): MembershipRefusal {
    let { dueAt } = pending;
    let sources = queried;
    for (const other of this.due.items) {
      if (!sameInterface(other, pending)) continue;
      if (!other.group && other.dueAt <= dueAt) return 'scheduled';
      if (!other.group || !sameBytes(other.group, groupAddress)) continue;
      dueAt = Math.min(dueAt, other.dueAt);
      const whole = sources.length === 0 || other.sources.length === 0;
      const added = sources.filter(source => !includes(other.sources, source));
      sources = whole ? [] : [...other.sources, ...added];
      this.remove(other);
      break;
    }
    if (sources.length > querySourceLimit) sources = [];
    const kept = { ...pending, dueAt, group: copy(groupAddress), sources: sources.map(copy) };
    return this.due.add(kept) ? 'scheduled' : 'too-many';
  }

  /** RFC 2236 §3, RFC 2710 §4: a timer that runs is only set anew if it would run longer than the query allows. */
  private scheduleOlder(
    pending: Pending,
    groupAddress: Uint8Array,
    maxResponseTimeMs: number,
    now: number,
  ): boolean {
    for (const other of this.due.items) {
      if (!sameInterface(other, pending) || !other.group || !sameBytes(other.group, groupAddress)) continue;
      if (maxResponseTimeMs >= other.dueAt - now) return true;
      this.remove(other);
      break;
    }
    return this.due.add({ ...pending, group: copy(groupAddress) });
  }

  /** Another member's report makes ours needless (RFC 2236 §3); in generation 3 everybody reports. */
  private overhear({ link, headers, host }: Question, groupAddress: Uint8Array): void {
    this.due.items = this.due.items.filter(
      ({ way, vlanId, generation, group, host: owner }) =>
        generation === 3 ||
        way.link.name !== link.name ||
        vlanId !== headers.vlanId ||
        !sameBytes(owner.mac, host.mac) ||
        !group ||
        !sameBytes(group, groupAddress),
    );
  }

  /** Remembers an older querier, and says which generation is spoken here (RFC 3376 §7.2.1). */
  private noteQuerier({ now, link, headers }: Question, heard: Generation): Generation {
    const { vlanId } = headers;
    const before = this.spoken(now, link.name, vlanId);
    if (heard < 3) {
      this.olderQueriers = this.olderQueriers.filter(
        other =>
          other.untilAt > now &&
          !(other.link === link.name && other.vlanId === vlanId && other.generation === heard),
      );
      if (this.olderQueriers.length < this.limit)
        this.olderQueriers.push({
          link: link.name,
          vlanId,
          generation: heard,
          untilAt: now + olderQuerierMs,
        });
    }
    const spoken = Math.min(heard, this.spoken(now, link.name, vlanId)) as Generation;
    // A change of version cancels what waits.
    if (spoken !== before)
      this.due.items = this.due.items.filter(
        pending =>
          pending.way.link.name !== link.name || pending.vlanId !== vlanId || pending.generation === spoken,
      );
    return spoken;
  }

  private spoken(now: number, link: string, vlanId: number): Generation {
    let oldest: Generation = 3;
    for (const other of this.olderQueriers)
      if (other.link === link && other.vlanId === vlanId && other.untilAt > now)
        oldest = Math.min(oldest, other.generation) as Generation;
    return oldest;
  }

  private remove(pending: Pending): void {
    this.due.items = this.due.items.filter(other => other !== pending);
  }
}

function sameInterface(a: Pending, b: Pending): boolean {
  return a.way.link.name === b.way.link.name && a.vlanId === b.vlanId && sameBytes(a.host.mac, b.host.mac);
}

function copy(address: Uint8Array): Uint8Array {
  return new Uint8Array(address);
}
