/**
 * How the agent comes by names of its own in multicast DNS (RFC 6762 §8, §9): it asks three times, 250 ms apart, whether
 * anybody has them; of two who ask at the same time the one with the greater records wins and the other waits a second
 * (§8.2); who finds a name taken chooses the next; a name that is free is announced twice, 1 s apart. A conflict that shows
 * later starts it all over. On leaving, a goodbye (§10.1).
 *
 * The names are the same on every link, and a conflict on one is one on all. After fifteen conflicts each further attempt
 * waits 5 s (§8.1), so that nobody can make this a source of traffic.
 */

import { sameBytes } from '../core/bytes.js';
import type { Random } from '../core/random.js';
import { never } from '../core/time.js';
import type { Link } from '../port/platform.js';
import { ipv4Length, ipv6Length, parseAddress } from '../wire/address.js';
import {
  type Dns,
  type DnsDataRecord,
  type DnsQuery,
  type DnsRecord,
  dnsClass,
  dnsLength,
  dnsOperation,
  dnsType,
  emitDns,
  encodeDnsMessage,
  mdnsGroups,
  mdnsPort,
} from '../wire/dns.js';
import type { SendDue } from './respond/due.js';
import { ownAddressFor, udpFrame, wayToGroup } from './respond/frame.js';
import { mdnsAnnouncements, mdnsGoodbyes } from './respond/mdns.js';
import { sameName } from './respond/names.js';
import { serviceTypesName } from './respond/records.js';
import type { Served } from './responder.js';

/** RFC 6762 §8.1. */
const probeCount = 3;
const probeIntervalMs = 250;
const manyConflicts = 15;
const manyConflictsDelayMs = 5000;
/** §8.2. */
const lostTieDelayMs = 1000;
/** §8.3. */
const announcementCount = 2;
const announcementIntervalMs = 1000;
/** Names tried before the first has its turn again: so many devices of one name are in no home. */
const attemptLimit = 999;
/** §11. */
const mdnsTimeToLive = 255;

/** A link, and what of the agent's is announced there. */
export interface Place {
  readonly link: Link;
  readonly served: Served;
}

type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'probing'; readonly sent: number; readonly dueAt: number }
  | { readonly kind: 'announcing'; readonly sent: number; readonly dueAt: number }
  | { readonly kind: 'claimed' };

export class Claim {
  places: readonly Place[];
  private readonly random: Random;
  /** What to claim with the names of an attempt. */
  private readonly placesFor: (attempt: number) => readonly Place[];
  /** Which names are tried, from 1: `name`, `name-2` … */
  private attempt = 1;
  private conflicts = 0;
  private state: State = { kind: 'idle' };

  constructor(random: Random, placesFor: (attempt: number) => readonly Place[]) {
    this.random = random;
    this.placesFor = placesFor;
    this.places = placesFor(this.attempt);
  }

  /** Whether the names may be answered for. */
  get isHeld(): boolean {
    return this.state.kind === 'announcing' || this.state.kind === 'claimed';
  }

  get isIdle(): boolean {
    return this.state.kind === 'idle';
  }

  start(now: number): void {
    // §8.1: so that not everybody asks at once when the power comes back.
    this.probeFrom(now + this.random.below(probeIntervalMs));
  }

  /** Says goodbye where something was announced. */
  stop(send: SendDue): void {
    if (this.isHeld)
      for (const { link, served } of this.places) {
        const records = (served.records ?? []).filter(({ name }) => !sameName(name, serviceTypesName));
        for (const frame of mdnsGoodbyes({ link, tags: [] }, { ...served, records })) send(link.name, frame);
      }
    this.state = { kind: 'idle' };
  }

  /** A message that another host multicast, or sent here. True if it took a name away, for now or for good. */
  hear(now: number, place: Place, dns: Dns): boolean {
    if (this.state.kind === 'idle' || dns.kind !== 'query' || dns.operation !== dnsOperation.query)
      return false;
    const own = ownRecords(place);
    if (!dns.isResponse) {
      if (this.state.kind !== 'probing' || dns.questions.length === 0) return false;
      if (!losesTie(own, dns.authorities)) return false;
      this.probeFrom(now + lostTieDelayMs);
      return true;
    }
    const isProbing = this.state.kind === 'probing';
    const heard = [...dns.answers, ...dns.additionals];
    if (!heard.some(record => isConflict(own, record, isProbing))) return false;
    this.conflicts++;
    // §9: a name that was ours is asked for again first; whoever has it then says so.
    if (isProbing) {
      this.attempt = (this.attempt % attemptLimit) + 1;
      this.places = this.placesFor(this.attempt);
    }
    this.probeFrom(now + (this.conflicts >= manyConflicts ? manyConflictsDelayMs : 0));
    return true;
  }

  poll(now: number, send: SendDue): void {
    const { state } = this;
    if (state.kind === 'idle' || state.kind === 'claimed' || now < state.dueAt) return;
    if (state.kind === 'probing' && state.sent < probeCount) {
      for (const place of this.places) for (const frame of probeFrames(place)) send(place.link.name, frame);
      this.state = { kind: 'probing', sent: state.sent + 1, dueAt: now + probeIntervalMs };
      return;
    }
    const sent = state.kind === 'probing' ? 0 : state.sent;
    for (const { link, served } of this.places)
      for (const frame of mdnsAnnouncements({ link, tags: [] }, served)) send(link.name, frame);
    this.state =
      sent + 1 < announcementCount
        ? { kind: 'announcing', sent: sent + 1, dueAt: now + announcementIntervalMs }
        : { kind: 'claimed' };
  }

  pollAt(): number {
    const { state } = this;
    return state.kind === 'idle' || state.kind === 'claimed' ? never : state.dueAt;
  }

  private probeFrom(dueAt: number): void {
    this.state = { kind: 'probing', sent: 0, dueAt };
  }
}

/** Those that must be nobody else's. */
function ownRecords({ served }: Place): DnsDataRecord[] {
  return (served.records ?? []).filter(record => record.cacheFlush);
}

/** §8.1, §9: whose name is ours and who does not say the same of it; while probing, whatever it says. */
function isConflict(own: readonly DnsDataRecord[], heard: DnsRecord, isProbing: boolean): boolean {
  if (heard.kind === 'opt' || heard.timeToLive === 0) return false;
  const named = own.filter(record => sameName(record.name, heard.name));
  const ofType = named.filter(record => record.kind === heard.kind);
  if (named.length === 0 || ofType.some(record => sameBytes(dataOf(record), dataOf(heard)))) return false;
  return isProbing || (heard.cacheFlush && ofType.length > 0);
}

/** §8.2.1: the records for a name both ask for, in order; the first difference decides, and what is left over is greater. */
function losesTie(own: readonly DnsDataRecord[], authorities: readonly DnsRecord[]): boolean {
  for (const { name } of own) {
    const theirs: Uint8Array[] = [];
    for (const record of authorities)
      if (record.kind !== 'opt' && sameName(record.name, name)) theirs.push(dataOf(record));
    if (theirs.length === 0) continue;
    const ours = own.filter(record => sameName(record.name, name)).map(dataOf);
    ours.sort(compareBytes);
    theirs.sort(compareBytes);
    for (let i = 0; i < theirs.length; i++) {
      const order = i < ours.length ? compareBytes(ours[i], theirs[i]) : -1;
      if (order < 0) return true;
      if (order > 0) break;
    }
  }
  return false;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** Class, type and data as §8.2 compares them: names in the data are whole, for there is nothing to point at. */
function dataOf(record: DnsDataRecord): Uint8Array {
  const bare = { ...record, name: '.', timeToLive: 0, cacheFlush: false };
  const nothing = { identification: 0, flags: 0, questions: [], authorities: [], additionals: [] };
  const message = encodeDnsMessage({ ...nothing, answers: [bare] });
  const data = new Uint8Array(message.length - recordAt - 7);
  // Class 2, type 2; then what follows the length.
  data.set(message.subarray(recordAt + 3, recordAt + 5), 0);
  data.set(message.subarray(recordAt + 1, recordAt + 3), 2);
  data.set(message.subarray(recordAt + 11), 4);
  return data;
}

/** Of the only record in a message without questions. */
const recordAt = 12;

function probeFrames({ link, served }: Place): Uint8Array[] {
  const own = ownRecords({ link, served });
  const names: string[] = [];
  for (const { name } of own) if (names.indexOf(name) < 0) names.push(name);
  const probe: DnsQuery = {
    kind: 'query',
    operation: dnsOperation.query,
    identification: 0,
    isResponse: false,
    authoritative: false,
    truncated: false,
    recursionDesired: false,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    responseCode: 0,
    // §8.1: the answer to us alone, so that it comes at once.
    questions: names.map(name => ({
      name,
      type: dnsType.any,
      class: dnsClass.internet,
      unicastResponse: true,
    })),
    answers: [],
    // §10.2: the cache flush bit has no place here.
    authorities: own.map(record => ({ ...record, cacheFlush: false })),
    additionals: [],
  };
  const message = new Uint8Array(dnsLength(probe));
  emitDns(probe, message, 0);
  const frames: Uint8Array[] = [];
  for (const length of [ipv4Length, ipv6Length]) {
    const dstAddress = parseAddress(mdnsGroups[length === ipv4Length ? 0 : 1]) as Uint8Array;
    const srcAddress = ownAddressFor(served, dstAddress);
    if (!srcAddress) continue;
    const parts = {
      srcAddress,
      dstAddress,
      srcPort: mdnsPort,
      dstPort: mdnsPort,
      timeToLive: mdnsTimeToLive,
    };
    frames.push(udpFrame(wayToGroup({ link, tags: [] }, dstAddress), parts, message));
  }
  return frames;
}
