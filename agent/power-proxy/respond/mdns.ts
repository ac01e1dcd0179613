/**
 * Multicast DNS in a sleeping host's place (RFC 6762), from the records it had announced or registered.
 *
 * Answered are queries to the group, and queries to the host itself with a time to live of 255, which shows that they come
 * from the link (§5.5, §11). Records the asker knows are left out (§7.1), also if it sends them later (§7.2); of a name that
 * is the host's alone, an NSEC record says which types there are not (§6.1); an asker on another port than 5353 gets a
 * plain DNS answer (§6.7). Answers with records that others may have too wait 20 … 120 ms, those to a truncated query 400 …
 * 500 ms (§6, §7.2), and no record is multicast twice within a second, or a quarter of one to defend it (§6).
 *
 * An answer is one message: at most `answerFactor` times as long as the query and never longer than a packet of Ethernet's
 * MTU. What does not fit is left out from the end, additional records first; who knows the others gets the rest when it
 * asks again. Answers that wait and records lately sent are bounded by the limit given: beyond it a query is left to its
 * repetition, and the oldest of the records is forgotten.
 */

import { copyBytes, sameBytes } from '../../core/bytes.js';
import type { Random } from '../../core/random.js';
import { fail, ok, type Result } from '../../core/result.js';
import { ipv4Length, ipv6Length, parseAddress } from '../../wire/address.js';
import {
  type DnsDataRecord,
  type DnsQuery,
  type DnsQuestion,
  type DnsRecord,
  dnsClass,
  dnsLength,
  dnsOperation,
  dnsType,
  emitDns,
  mdnsGroups,
  mdnsPort,
  parseDns,
} from '../../wire/dns.js';
import { ipv6MinLength } from '../../wire/ipv6.js';
import { udpLength } from '../../wire/udp.js';
import type { Question, Served } from '../responder.js';
import { type Deferring, Due, type SendDue } from './due.js';
import {
  type Datagram,
  includes,
  isGroupMac,
  maxPacketLength,
  ownAddresses,
  ownAddressFor,
  type Refusal,
  readDatagram,
  type Send,
  udpFrame,
  type Way,
  wayBack,
  wayToGroup,
} from './frame.js';
import { sameName } from './names.js';
import { sameRecord, serviceTypesName, typeOf } from './records.js';

export type MdnsRefusal =
  | Refusal
  /** The asker knows all there is to say, or everybody was told within the last second. */
  | 'known'
  /** The answer goes out in `poll`. */
  | 'scheduled'
  /** No room for another answer that waits. */
  | 'too-many'
  /** Not one record fits what the query may get. */
  | 'too-long';

/**
 * How many times as long as the query's message the answer's may be. A browser's 33 bytes for `_ipp._tcp.local` then get a
 * printer's PTR, SRV, TXT and addresses, some 700 bytes, with room for two more; RFC 6762 itself sets no bound but the MTU.
 */
export const answerFactor = 32;

/** §11: all messages have it. */
const mdnsTimeToLive = 255;
/** §6.7. */
const legacyTimeToLiveS = 10;
/** §6. */
const sharedDelayMs = { least: 20, most: 120 };
/** §7.2. */
const truncatedDelayMs = { least: 400, most: 500 };
/** §6: between two multicasts of a record. */
const repeatMs = 1000;
const defenceRepeatMs = 250;
/** That both IPv4 and IPv6 can carry. */
const maxMessageLength = maxPacketLength - ipv6MinLength - udpLength;

/** An answer without its frame. */
interface Answer {
  readonly way: Way;
  readonly srcAddress: Uint8Array;
  readonly dstAddress: Uint8Array;
  readonly dstPort: number;
  readonly identification: number;
  /** Only in an answer to a legacy query. */
  readonly questions: readonly DnsQuestion[];
  readonly answers: readonly DnsDataRecord[];
  readonly additionals: readonly DnsDataRecord[];
  readonly maxLength: number;
}

interface Pending extends Answer {
  readonly dueAt: number;
  readonly host: Served;
  readonly vlanId: number;
  readonly asker: Uint8Array;
}

/** A record multicast over IPv4 or IPv6 (`addressLength`) on a link. */
interface Sent {
  readonly record: DnsDataRecord;
  readonly link: string;
  readonly vlanId: number;
  readonly addressLength: number;
  readonly at: number;
}

export class Mdns implements Deferring {
  private readonly random: Random;
  private readonly limit: number;
  private readonly due: Due<Pending>;
  private sent: Sent[] = [];

  constructor(random: Random, limit: number) {
    this.random = random;
    this.limit = limit;
    this.due = new Due(limit);
  }

  /** As a `Responder`. */
  respond(question: Question, send: Send): 'answered' | MdnsRefusal {
    const datagram = readQuery(question);
    if (!datagram.ok) return datagram.reason;
    const { query, srcAddress, srcPort, dstAddress, payload } = datagram.value;
    if (query.questions.length === 0) {
      this.learnKnown(question, srcAddress, query.answers);
      return 'not-a-question';
    }
    const host: Served = question.host;
    const records = host.records ?? [];
    const from = includes(ownAddresses(host, dstAddress), dstAddress)
      ? dstAddress
      : ownAddressFor(host, srcAddress);
    if (!from || records.length === 0) return 'not-ours';
    const isLegacy = srcPort !== mdnsPort;
    const { found, unicast } = findAnswers(query.questions, records);
    if (found.length === 0) return 'not-ours';
    let answers = found.filter(record => !isKnown(record, query.answers));
    const defends = query.authorities.length > 0;
    const { headers, link, now } = question;
    const multicast = !isLegacy && !unicast;
    if (multicast)
      answers = this.notLately(now, link.name, headers.vlanId, srcAddress.length, answers, defends);
    if (answers.length === 0) return 'known';
    const group = groupOf(srcAddress.length);
    const back = wayBack(question);
    const answer: Answer = {
      way: multicast ? wayToGroup(back, group) : back,
      srcAddress: copyBytes(from, 0, from.length),
      dstAddress: multicast ? group : copyBytes(srcAddress, 0, srcAddress.length),
      dstPort: srcPort,
      // §18.1: zero in all but the answer to a legacy query.
      identification: isLegacy ? query.identification : 0,
      questions: isLegacy ? query.questions : [],
      answers,
      additionals: isLegacy
        ? []
        : additionalsFor(answers, records).filter(record => !isKnown(record, query.answers)),
      maxLength: Math.min(maxMessageLength, answerFactor * payload.length),
    };
    const delay = query.truncated
      ? truncatedDelayMs
      : answers.every(record => record.cacheFlush)
        ? undefined
        : sharedDelayMs;
    if (!delay || isLegacy) return this.emit(now, headers.vlanId, answer, send);
    const dueAt = now + delay.least + this.random.below(delay.most - delay.least + 1);
    const asker = copyBytes(srcAddress, 0, srcAddress.length);
    const pending = { ...answer, dueAt, host, vlanId: headers.vlanId, asker };
    return this.due.add(pending) ? 'scheduled' : 'too-many';
  }

  poll(now: number, send: SendDue): void {
    for (const pending of this.due.take(now)) {
      const { way, vlanId, srcAddress } = pending;
      const answers = isGroupMac(way.dstMac, 0)
        ? this.notLately(now, way.link.name, vlanId, srcAddress.length, pending.answers, false)
        : pending.answers;
      if (answers.length > 0)
        this.emit(now, vlanId, { ...pending, answers }, frame => send(way.link.name, frame));
    }
  }

  pollAt(): number {
    return this.due.pollAt();
  }

  forget(mac: Uint8Array): void {
    this.due.forget(mac);
  }

  private emit(now: number, vlanId: number, answer: Answer, send: Send): 'answered' | 'too-long' {
    const { way, srcAddress, dstAddress, dstPort, answers } = answer;
    const all = [...answers, ...answer.additionals];
    const count = countThatFits(all, answers.length, answer, answer.maxLength);
    if (count === 0) return 'too-long';
    const message = messageOf(all.slice(0, count), answers.length, answer);
    if (isGroupMac(way.dstMac, 0))
      this.remember(now, way.link.name, vlanId, srcAddress.length, all.slice(0, count));
    const parts = { srcAddress, dstAddress, srcPort: mdnsPort, dstPort, timeToLive: mdnsTimeToLive };
    send(udpFrame(way, parts, message));
    return 'answered';
  }

  /** §7.2: more known answers of one who sent a truncated query. */
  private learnKnown({ link, headers }: Question, asker: Uint8Array, known: readonly DnsRecord[]): void {
    const left: Pending[] = [];
    for (const pending of this.due.items) {
      const isTheirs =
        pending.way.link.name === link.name &&
        pending.vlanId === headers.vlanId &&
        sameBytes(pending.asker, asker);
      const answers = isTheirs ? pending.answers.filter(record => !isKnown(record, known)) : pending.answers;
      if (answers.length === pending.answers.length) left.push(pending);
      else if (answers.length > 0) left.push({ ...pending, answers });
    }
    this.due.items = left;
  }

  /** Those of the records that were not multicast here within the span of §6. */
  private notLately(
    now: number,
    link: string,
    vlanId: number,
    addressLength: number,
    records: readonly DnsDataRecord[],
    defends: boolean,
  ): DnsDataRecord[] {
    this.sent = this.sent.filter(({ at }) => now - at < repeatMs);
    const span = defends ? defenceRepeatMs : repeatMs;
    const lately = this.sent.filter(
      sent =>
        now - sent.at < span &&
        sent.link === link &&
        sent.vlanId === vlanId &&
        sent.addressLength === addressLength,
    );
    return records.filter(record => !lately.some(sent => sameRecord(sent.record, record)));
  }

  private remember(
    now: number,
    link: string,
    vlanId: number,
    addressLength: number,
    records: readonly DnsDataRecord[],
  ): void {
    for (const record of records) this.sent.push({ record, link, vlanId, addressLength, at: now });
    if (this.sent.length > this.limit) this.sent = this.sent.slice(this.sent.length - this.limit);
  }
}

/** The host's records for everybody, over IPv4 and IPv6 as it has addresses; to be sent twice, 1 s apart (§8.3). */
export function mdnsAnnouncements(way: Pick<Way, 'link' | 'tags'>, host: Served): Uint8Array[] {
  return announcementFrames(way, host, host.records ?? []);
}

/**
 * The same with a time to live of 0: the records are no more (§10.1). All but those that others may have too: that there is a
 * service of a type.
 */
export function mdnsGoodbyes(way: Pick<Way, 'link' | 'tags'>, host: Served): Uint8Array[] {
  const records = (host.records ?? []).filter(({ name }) => !sameName(name, serviceTypesName));
  return announcementFrames(
    way,
    host,
    records.map(record => ({ ...record, timeToLive: 0 })),
  );
}

function announcementFrames(
  way: Pick<Way, 'link' | 'tags'>,
  host: Served,
  records: readonly DnsDataRecord[],
): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const plain = { identification: 0, questions: [] };
  for (const addressLength of [ipv4Length, ipv6Length]) {
    const dstAddress = groupOf(addressLength);
    const srcAddress = ownAddressFor(host, dstAddress);
    let rest = srcAddress ? records : [];
    while (srcAddress && rest.length > 0) {
      const count = countThatFits(rest, rest.length, plain, maxMessageLength);
      if (count > 0) {
        const parts = {
          srcAddress,
          dstAddress,
          srcPort: mdnsPort,
          dstPort: mdnsPort,
          timeToLive: mdnsTimeToLive,
        };
        const message = messageOf(rest.slice(0, count), count, plain);
        frames.push(udpFrame(wayToGroup(way, dstAddress), parts, message));
      }
      // A record that fits no packet is left out.
      rest = rest.slice(Math.max(count, 1));
    }
  }
  return frames;
}

/** A query that may be answered (§18: operation and response code are 0). */
function readQuery(question: Question): Result<Datagram & { readonly query: DnsQuery }, Refusal> {
  const datagram = readDatagram(question, mdnsPort);
  if (!datagram.ok) return datagram;
  const { dstAddress, timeToLive, payload } = datagram.value;
  if (!sameBytes(dstAddress, groupOf(dstAddress.length))) {
    if (!includes(ownAddresses(question.host, dstAddress), dstAddress)) return fail('not-ours');
    if (timeToLive !== mdnsTimeToLive) return fail('malformed');
  }
  const dns = parseDns(payload, 0, payload.length);
  if (!dns.ok) return fail('malformed');
  if (dns.value.kind !== 'query' || dns.value.isResponse) return fail('not-a-question');
  if (dns.value.operation !== dnsOperation.query || dns.value.responseCode !== 0) return fail('malformed');
  return ok({ ...datagram.value, query: dns.value });
}

/** The records asked for, each once; `unicast`: everybody who asked for one wants it that way (§5.4). */
function findAnswers(
  questions: readonly DnsQuestion[],
  records: readonly DnsDataRecord[],
): { readonly found: DnsDataRecord[]; readonly unicast: boolean } {
  const found: DnsDataRecord[] = [];
  let unicast = true;
  for (const { name, type, class: asked, unicastResponse } of questions) {
    if (asked !== dnsClass.internet && asked !== dnsClass.any) continue;
    const named = records.filter(record => sameName(record.name, name));
    let wanted = named.filter(record => type === dnsType.any || typeOf(record) === type);
    if (wanted.length === 0) wanted = absence(named);
    if (wanted.length > 0 && !unicastResponse) unicast = false;
    for (const record of wanted) if (!found.some(other => sameRecord(other, record))) found.push(record);
  }
  return { found, unicast };
}

/** §6.1: of a name that is the host's alone, that there are no other types than those of its records, `named`. */
function absence(named: readonly DnsDataRecord[]): DnsDataRecord[] {
  const own = named.filter(record => record.cacheFlush);
  if (own.length === 0) return [];
  let timeToLive = own[0].timeToLive;
  const types: number[] = [];
  for (const record of named) {
    timeToLive = Math.min(timeToLive, record.timeToLive);
    if (types.indexOf(typeOf(record)) < 0) types.push(typeOf(record));
  }
  types.sort((a, b) => a - b);
  const { name, class: inClass } = own[0];
  return [{ kind: 'nsec', name, class: inClass, cacheFlush: true, timeToLive, nextName: name, types }];
}

/** What who asked will ask for next (RFC 6763 §12; RFC 6762 §6.2 for addresses). */
function additionalsFor(
  answers: readonly DnsDataRecord[],
  records: readonly DnsDataRecord[],
): DnsDataRecord[] {
  const all: DnsDataRecord[] = [...answers];
  const add = (record: DnsDataRecord) => {
    if (!all.some(other => sameRecord(other, record))) all.push(record);
  };
  for (let i = 0; i < all.length; i++) {
    const record = all[i];
    if (record.kind === 'ptr') {
      for (const other of records)
        if ((other.kind === 'srv' || other.kind === 'txt') && sameName(other.name, record.target)) add(other);
    } else if (record.kind === 'srv') {
      for (const other of records) if (isAddress(other) && sameName(other.name, record.target)) add(other);
    } else if (isAddress(record)) {
      const named = records.filter(other => sameName(other.name, record.name));
      const others = named.filter(other => isAddress(other) && other.kind !== record.kind);
      for (const other of others.length > 0 ? others : absence(named)) add(other);
    }
  }
  return all.slice(answers.length);
}

function isAddress(record: DnsDataRecord): boolean {
  return record.kind === 'a' || record.kind === 'aaaa';
}

/** §7.1: with at least half of its time to live left. */
function isKnown(record: DnsDataRecord, known: readonly DnsRecord[]): boolean {
  return known.some(
    other => other.kind !== 'opt' && 2 * other.timeToLive >= record.timeToLive && sameRecord(other, record),
  );
}

type MessageHead = Pick<Answer, 'identification' | 'questions'>;

/** A response (§18) of `records`, the first `answerCount` of which are answers. */
function responseOf(records: readonly DnsDataRecord[], answerCount: number, head: MessageHead): DnsQuery {
  // §6.7: who speaks plain DNS knows no cache flush bit, and must not keep for long what it will not hear is gone.
  const isLegacy = head.questions.length > 0;
  const shown = isLegacy
    ? records.map(record => ({
        ...record,
        cacheFlush: false,
        timeToLive: Math.min(record.timeToLive, legacyTimeToLiveS),
      }))
    : records;
  return {
    kind: 'query',
    operation: dnsOperation.query,
    identification: head.identification,
    isResponse: true,
    authoritative: true,
    truncated: false,
    recursionDesired: false,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    responseCode: 0,
    questions: head.questions.map(question => ({ ...question, unicastResponse: false })),
    answers: shown.slice(0, answerCount),
    authorities: [],
    additionals: shown.slice(answerCount),
  };
}

function messageOf(records: readonly DnsDataRecord[], answerCount: number, head: MessageHead): Uint8Array {
  const response = responseOf(records, answerCount, head);
  const message = new Uint8Array(dnsLength(response));
  emitDns(response, message, 0);
  return message;
}

/** The most records from the first on that make a message of at most `maxLength` bytes. */
function countThatFits(
  records: readonly DnsDataRecord[],
  answerCount: number,
  head: MessageHead,
  maxLength: number,
): number {
  let fits = 0;
  let tooMany = records.length + 1;
  for (let count = records.length; fits + 1 < tooMany; count = (fits + tooMany) >>> 1) {
    if (dnsLength(responseOf(records.slice(0, count), answerCount, head)) <= maxLength) fits = count;
    else tooMany = count;
  }
  return fits;
}

function groupOf(addressLength: number): Uint8Array {
  return parseAddress(mdnsGroups[addressLength === ipv4Length ? 0 : 1]) as Uint8Array;
}
