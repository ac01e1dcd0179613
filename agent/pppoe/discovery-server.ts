/**
 * PPPoE discovery as an access concentrator does it (RFC 2516 §5; PPP-Max-Payload RFC 4638; the line's name TR-101).
 *
 *     PADI → PADO with a cookie     nothing kept: whoever asks with a false MAC costs one answer
 *     PADR with the cookie → PADS   a row of the session table, half-open until `settle`
 *     PADT                          believed from the session's host alone: MAC, link, VLAN tags and id
 *
 * The cookie is the time, a serial number and an HMAC-MD5 (RFC 2104) of them and of where the host is. MD5's collisions do not
 * touch HMAC (RFC 6151 §2.3), no key lives longer than two `keyLifeMs`, and a forged cookie would buy only what any host gets by
 * asking; the platform has MD5 for CHAP anyhow. One cookie opens one session: the same PADR again gets the same PADS, which may
 * have been lost.
 *
 * Bounds (`DiscoveryLimits`): answers a second for a host, for a line (link, VLAN tags and circuit id) and in all, beyond
 * which packets are dropped and clients ask again, those of lines that asked much before those that asked little. PADI and PADR
 * are counted apart: who floods with PADI under false MACs never sees a cookie, and does not hold up those who have one. A session
 * that is settled gives its setup back, so that only those that come to nothing are bounded. Sessions of a host, beyond which its
 * oldest gives way (its cookie proves that it is the host); half-open sessions, beyond which the oldest gives way: with
 * `setupsPerSecond` that is what time every client has at least. PADOs that wait, beyond which they are not sent. Slots of hosts
 * and lines are shared by hash. The circuit id is taken at its word: an access node replaces what hosts send (TR-101), and
 * without one it should not be believed.
 */

import { encodeUtf8, readUint32, writeUint16, writeUint32 } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import { BoundedQueue } from '../core/queue.js';
import { timesFnvPrime } from '../core/random.js';
import { never } from '../core/time.js';
import type { Digest } from '../port/digest.js';
import { etherTypePppoeDiscovery } from '../wire/ethernet.js';
import type { Headers } from '../wire/headers.js';
import { type PppoeTag, parsePppoe, pppoeCode } from '../wire/pppoe.js';
import { vlanTagLength } from '../wire/vlan.js';
import {
  type DiscoveryTags,
  emitDiscoveryFrame,
  readDiscoveryTags,
  sameService,
  standardPayload,
} from './discovery-tags.js';
import { type Host, hostOf, maxLineIdLength, type SessionTable } from './session-table.js';

export interface DiscoveryLimits {
  /** PADI and PADR of one host that are looked at: so many a second, and so many at once. */
  readonly hostPerSecond: number;
  readonly hostBurst: number;
  /** PADI answered on one line, and as many cookies looked at; as many at once. At most half of `offersPerSecond`. */
  readonly lineOffersPerSecond: number;
  /** PADI answered in all, and as many cookies looked at. */
  readonly offersPerSecond: number;
  /** Setups on one line that come to nothing, at most a quarter of `setupsPerSecond`. Behind one VLAN without circuit ids it is a whole access node. */
  readonly linePerSecond: number;
  readonly lineBurst: number;
  /** Setups in all, PADR with a genuine cookie, that come to nothing. */
  readonly setupsPerSecond: number;
  /** Sessions of one host (MAC, link and VLAN tags). More than one where a relay stands for many. */
  readonly sessionsPerHost: number;
  readonly halfOpen: number;
  /** PADOs held back by `padoDelays`. */
  readonly waitingOffers: number;
}

export const defaultDiscoveryLimits: DiscoveryLimits = {
  // A client asks at 0, 1, 3, 7 … s, twice over for PADR; rp-pppoe at 0, 5, 15 s.
  hostPerSecond: 1,
  // Of 65,534 hosts that come together after a power cut, up to eight share a slot, with a PADI and a PADR each.
  hostBurst: 20,
  // Answering is cheaper than choosing whom not to answer: a client behind a flood of that size still gets every other PADO.
  lineOffersPerSecond: 10_000,
  // Two MD5 and a frame each, some 10 µs: a fifth of one core at most.
  offersPerSecond: 20_000,
  // Of an access node of 1,000 lines each asks every four seconds while nobody can log in, and all ask at once after a power
  // cut. 5,000 setups a second that take a fifth of a second each are as many under way.
  linePerSecond: 250,
  lineBurst: 1_000,
  setupsPerSecond: 2_000,
  sessionsPerHost: 1,
  halfOpen: 16_384,
  waitingOffers: 1_024,
};

/** What a half-open session must get even in a flood: two restart timers of PPP (RFC 1661 §4.6: 3 s), one packet lost. */
const leastHalfOpenMs = 6_000;

/** One line in flood must not take what all share. */
const linesOfAll = 4;
const offerLinesOfAll = 2;
/** A line that has used more than this of its own burst may use the common ones only to this mark: the rest is kept for quiet lines. */
const quietShare = 0.5;

export interface PadoDelay {
  /** From so many sessions on … */
  readonly sessions: number;
  /** … an offer is held back so long, for another AC to be first; −1: not made. */
  readonly delayMs: number;
}

export interface DiscoveryServerConfig {
  /** Ours, on every link. */
  readonly mac: Uint8Array;
  readonly acName: string;
  /** The names served, at least one; a host that asks for any ('') gets the first. At most 255. */
  readonly services: readonly string[];
  /** Bytes of PPP payload our links can carry: their MTU less 8. Above 1492 only for those who ask (RFC 4638). */
  readonly maxPayload: number;
  /** A session that nobody has settled is closed after this: LCP's ten requests at 3 s, and a login. */
  readonly openTimeoutMs: number;
  /** By `sessions`, ascending; empty: no delay. */
  readonly padoDelays: readonly PadoDelay[];
  readonly limits: DiscoveryLimits;
}

/** What a host asked for when it opened a session. */
export interface SessionRequest {
  readonly service: string;
  /** Bytes of PPP payload both can take: the most that LCP may agree to as MRU. */
  readonly maxPayload: number;
  /** '' for none. */
  readonly circuitId: string;
  readonly remoteId: string;
}

export type ServerCloseReason =
  /** The host said so. */
  | 'padt'
  /** Nobody settled it. */
  | 'timeout'
  /** Its host opened one more than it may have. */
  | 'replaced'
  /** The oldest half-open of too many. */
  | 'crowded-out';

export interface DiscoveryServerCalls {
  readonly digest: Digest;
  /** 16 fresh bytes that nobody can guess; a simulation takes them from its seed. */
  newKey(): Uint8Array;
  send(link: number, frame: Uint8Array): void;
  /** PADS is sent: PPP may begin. `settle(id)` when the session has shown that it is used. */
  opened(now: number, id: number, request: SessionRequest): void;
  /** The row still stands, for its counters, and goes when this returns. Not called for `close`. */
  closed(now: number, id: number, reason: ServerCloseReason): void;
}

const counterNames = [
  'discovery.padi',
  'discovery.pado',
  'discovery.padr',
  'discovery.pads',
  'discovery.pads-again',
  'discovery.padt',
  'discovery.padt-sent',
  'discovery.settled',
  'discovery.refused.service',
  'discovery.refused.full',
  'discovery.refused.draining',
  'discovery.refused.cookie-expired',
  'discovery.drop.malformed',
  'discovery.drop.duplicate-tag',
  'discovery.drop.other-type',
  'discovery.drop.code',
  'discovery.drop.source',
  'discovery.drop.destination',
  'discovery.drop.vlan-tags',
  'discovery.drop.session-id',
  'discovery.drop.service-count',
  'discovery.drop.service',
  'discovery.drop.no-cookie',
  'discovery.drop.forged-cookie',
  'discovery.drop.stale-cookie',
  'discovery.drop.host-rate',
  'discovery.drop.line-rate',
  'discovery.drop.offer-rate',
  'discovery.drop.cookie-rate',
  'discovery.drop.line-setup-rate',
  'discovery.drop.setup-rate',
  'discovery.drop.padt-stranger',
  'discovery.drop.load',
  'discovery.drop.waiting-full',
  'discovery.drop.answer-too-long',
  'discovery.line-id-too-long',
  'discovery.closed.padt',
  'discovery.closed.timeout',
  'discovery.closed.replaced',
  'discovery.closed.crowded-out',
] as const;
export type DiscoveryCounter = (typeof counterNames)[number];

const cookieLength = 24;
/** A client asks four times at 1, 2, 4, 8 s (ours), or at 5, 10, 20 s (rp-pppoe), before it starts again. */
export const cookieLifeMs = 60_000;
/** Not shorter than a cookie's life, so that the key before the present one is all that must be kept. */
export const keyLifeMs = 600_000;
/**
 * Slots of the limits by line (32 KiB each) and by host (512 KiB). Two that share one share its rate: as hosts are only
 * charged for what gets past their line's limit, `offersPerSecond` PADI and as many PADR of as many false MACs leave a slot of theirs two
 * thirds empty.
 */
const lineSlots = 4_096;
const hostSlots = 65_536;

interface WaitingOffer {
  readonly dueAt: number;
  readonly link: number;
  readonly frame: Uint8Array;
}

/** A packet that came, with what is needed to answer. */
interface Question {
  readonly host: Host;
  readonly frame: Uint8Array;
  readonly l3Offset: number;
  readonly tags: DiscoveryTags;
  readonly lineSlot: number;
}

export class DiscoveryServer {
  readonly counters = new Counters<DiscoveryCounter>(counterNames);
  readonly table: SessionTable;
  /** True: no offers, and PADR is refused. Sessions go on. */
  isDraining = false;
  private readonly config: DiscoveryServerConfig;
  private readonly calls: DiscoveryServerCalls;
  private readonly cookies: Cookies;
  private readonly hostRate: RateLimit;
  private readonly offerRate: SharedRate;
  private readonly cookieRate: SharedRate;
  private readonly setupRate: SharedRate;
  private readonly hashSeed: number;
  private readonly waiting: BoundedQueue<WaitingOffer>;
  /** The head of the queue, taken out of it. */
  private nextOffer: WaitingOffer | undefined;
  private lastOfferAt = 0;

  constructor(now: number, config: DiscoveryServerConfig, calls: DiscoveryServerCalls, table: SessionTable) {
    const { services, maxPayload, limits } = config;
    if (!(services.length >= 1 && services.length <= 255))
      throw new Error(`services: expected 1..255, got ${services.length}`);
    if (!(maxPayload >= 1 && maxPayload <= 0xffff))
      throw new Error(`maxPayload: expected 1..65535, got ${maxPayload}`);
    if (!(limits.linePerSecond * linesOfAll <= limits.setupsPerSecond))
      throw new Error(
        `limits.linePerSecond: expected at most ${limits.setupsPerSecond / linesOfAll}, got ${limits.linePerSecond}`,
      );
    if (!(limits.lineOffersPerSecond * offerLinesOfAll <= limits.offersPerSecond))
      throw new Error(
        `limits.lineOffersPerSecond: expected at most ${limits.offersPerSecond / offerLinesOfAll}, got ${limits.lineOffersPerSecond}`,
      );
    const halfOpenMs = (limits.halfOpen * 1000) / limits.setupsPerSecond;
    if (!(halfOpenMs >= leastHalfOpenMs) && limits.halfOpen < table.limit)
      throw new Error(
        `limits.halfOpen: expected ${leastHalfOpenMs} ms of setupsPerSecond, got ${halfOpenMs} ms`,
      );
    this.config = config;
    this.calls = calls;
    this.table = table;
    this.cookies = new Cookies(now, calls);
    this.hashSeed = readUint32(calls.newKey(), 0);
    const { hostPerSecond, hostBurst, linePerSecond, lineBurst, setupsPerSecond } = limits;
    const { lineOffersPerSecond, offersPerSecond } = limits;
    this.hostRate = new RateLimit(hostSlots, hostPerSecond, hostBurst);
    // A second's worth at once: clients come together after a fault.
    this.offerRate = new SharedRate(lineOffersPerSecond, lineOffersPerSecond, offersPerSecond);
    this.cookieRate = new SharedRate(lineOffersPerSecond, lineOffersPerSecond, offersPerSecond);
    this.setupRate = new SharedRate(linePerSecond, lineBurst, setupsPerSecond);
    this.waiting = new BoundedQueue(limits.waitingOffers);
  }

  /** A frame of EtherType 0x8863 that came over `link`, with what `headers.scan` found in it from offset 0. */
  receive(now: number, link: number, frame: Uint8Array, headers: Headers): void {
    const reason = this.handle(now, link, frame, headers);
    if (reason) this.counters.add(`discovery.drop.${reason}`);
  }

  private handle(now: number, link: number, frame: Uint8Array, headers: Headers): DropReason | undefined {
    const l3Offset = headers.l3Offset;
    if (headers.etherType !== etherTypePppoeDiscovery) return 'other-type';
    const packet = parsePppoe(frame, l3Offset, frame.length);
    if (!packet.ok) return 'malformed';
    const host = hostOf(link, frame, l3Offset);
    if (!host) return 'vlan-tags';
    if ((frame[6] & 1) !== 0 || (host.macHigh === 0 && host.macLow === 0)) return 'source';
    const { code, sessionId, payload } = packet.value;
    if (!this.isForUs(frame, code)) return 'destination';
    switch (code) {
      case pppoeCode.padi:
      case pppoeCode.padr:
        break;
      case pppoeCode.padt:
        return this.receivePadt(now, host, sessionId);
      default:
        return 'code';
    }
    this.counters.add(code === pppoeCode.padi ? 'discovery.padi' : 'discovery.padr');
    if (sessionId !== 0) return 'session-id';
    const hostSlot = hashHost(this.hashSeed, host);
    if (!this.hostRate.hasRoom(now, hostSlot)) return 'host-rate';
    const tags = readDiscoveryTags(payload);
    if (!tags.ok) return tags.reason === 'duplicate' ? 'duplicate-tag' : 'malformed';
    const lineSlot = hashLine(this.hashSeed, host, tags.value.circuitId) % lineSlots;
    const isPadi = code === pppoeCode.padi;
    const refusal = (isPadi ? this.offerRate : this.cookieRate).take(now, lineSlot);
    if (refusal) return refusal === 'line' ? 'line-rate' : isPadi ? 'offer-rate' : 'cookie-rate';
    this.hostRate.take(now, hostSlot);
    const question: Question = { host, frame, l3Offset, tags: tags.value, lineSlot };
    return isPadi ? this.receivePadi(now, question) : this.receivePadr(now, question);
  }

  /** The session is in use (its user has logged in): it no longer counts as half-open. */
  settle(id: number): void {
    const { table } = this;
    const before = table.halfOpenCount;
    table.settle(id);
    if (table.halfOpenCount === before) return;
    this.counters.add('discovery.settled');
    this.setupRate.giveBack(table.lineSlot[table.rowOf[id]]);
  }

  /** Ends the session with a PADT, for the host to read `text`; nothing if there is none. */
  close(id: number, text = ''): void {
    const row = this.table.rowOf[id];
    if (row === 0) return;
    this.sendPadt(row, text);
    this.table.close(id);
  }

  pollAt(): number {
    const oldest = this.table.oldestHalfOpenId;
    const expiresAt =
      oldest === 0 ? never : this.table.openedAt[this.table.rowOf[oldest]] + this.config.openTimeoutMs;
    return Math.min(expiresAt, this.nextOffer ? this.nextOffer.dueAt : never);
  }

  poll(now: number): void {
    while (this.nextOffer && this.nextOffer.dueAt <= now) {
      this.sendOffer(this.nextOffer.link, this.nextOffer.frame);
      this.nextOffer = this.waiting.shift();
    }
    for (;;) {
      const oldest = this.table.oldestHalfOpenId;
      if (oldest === 0) return;
      if (this.table.openedAt[this.table.rowOf[oldest]] + this.config.openTimeoutMs > now) return;
      this.end(now, oldest, 'timeout');
    }
  }

  private receivePadi(now: number, question: Question): DropReason | undefined {
    const { tags } = question;
    const { services, padoDelays } = this.config;
    if (tags.services.length !== 1) return 'service-count';
    const asked = tags.services[0];
    if (this.serviceOf(asked) < 0) return 'service';
    let delayMs = this.isDraining ? -1 : 0;
    if (!this.isDraining)
      for (const step of padoDelays) if (this.table.count >= step.sessions) delayMs = step.delayMs;
    if (delayMs < 0) return 'load';
    const answer: PppoeTag[] = [{ kind: 'ac-name', text: this.config.acName }, asked];
    for (const service of services)
      if (!sameService(asked, service)) answer.push({ kind: 'service-name', text: service });
    answer.push({ kind: 'ac-cookie', data: this.cookies.issue(now, question.host) });
    const frame = this.answer(question, pppoeCode.pado, 0, answer);
    if (!frame) return 'answer-too-long';
    const { link } = question.host;
    if (delayMs === 0 && !this.nextOffer) {
      this.sendOffer(link, frame);
      return undefined;
    }
    // In order, although the load may have fallen since: an offer comes late by the difference of two delays at most.
    const dueAt = Math.max(now + delayMs, this.lastOfferAt);
    this.lastOfferAt = dueAt;
    if (!this.nextOffer) this.nextOffer = { dueAt, link, frame };
    else if (!this.waiting.push({ dueAt, link, frame })) return 'waiting-full';
    return undefined;
  }

  private receivePadr(now: number, question: Question): DropReason | undefined {
    const { host, tags } = question;
    const cookie = tags.acCookie;
    if (!cookie) return 'no-cookie';
    const verdict = this.cookies.check(now, host, cookie.data);
    if (verdict === 'forged') return 'forged-cookie';
    const refusal = this.setupRate.take(now, question.lineSlot);
    if (refusal) return refusal === 'line' ? 'line-setup-rate' : 'setup-rate';
    if (tags.services.length !== 1) return this.refuse(question, 'service', 'expected one Service-Name');
    const service = this.serviceOf(tags.services[0]);
    if (service < 0) return this.refuse(question, 'service', 'no such service here');
    const serial = readUint32(cookie.data, 4);
    const { table } = this;
    let count = 0;
    let oldestRow = 0;
    let newestRow = 0;
    for (let row = table.firstRowOf(host); row !== 0; row = table.nextRowOf(row, host)) {
      if (table.cookieSerial[row] === serial) {
        this.counters.add('discovery.pads-again');
        return this.answerAndSend(question, table.id[row]);
      }
      count++;
      if (oldestRow === 0 || isOlder(table.cookieSerial[row], table.cookieSerial[oldestRow])) oldestRow = row;
      if (newestRow === 0 || isOlder(table.cookieSerial[newestRow], table.cookieSerial[row])) newestRow = row;
    }
    if (verdict === 'expired') return this.refuse(question, 'cookie-expired', 'AC-Cookie expired: ask again');
    if (this.isDraining) return this.refuse(question, 'draining', 'going out of service');
    if (count >= this.config.limits.sessionsPerHost) {
      // A PADR from before the host's present session: late, or repeated. It must not push that out.
      if (isOlder(serial, table.cookieSerial[newestRow])) return 'stale-cookie';
      this.end(now, table.id[oldestRow], 'replaced');
    }
    if (table.halfOpenCount >= this.config.limits.halfOpen || table.count === table.limit) {
      const oldest = table.oldestHalfOpenId;
      if (oldest === 0) return this.refuse(question, 'full', 'no session left');
      this.end(now, oldest, 'crowded-out');
    }
    const id = table.open(now, host);
    const row = table.rowOf[id];
    table.cookieSerial[row] = serial;
    table.service[row] = service;
    table.lineSlot[row] = question.lineSlot;
    table.setLineIds(row, this.lineId(tags.circuitId), this.lineId(tags.remoteId));
    const reason = this.answerAndSend(question, id);
    if (reason) {
      table.close(id);
      return reason;
    }
    this.counters.add('discovery.pads');
    this.calls.opened(now, id, {
      service: this.config.services[service],
      maxPayload: this.maxPayload(tags) || standardPayload,
      circuitId: tags.circuitId,
      remoteId: tags.remoteId,
    });
    return undefined;
  }

  private receivePadt(now: number, host: Host, sessionId: number): DropReason | undefined {
    const row = this.table.rowOf[sessionId];
    if (row === 0 || !this.table.isOf(row, host)) return 'padt-stranger';
    this.counters.add('discovery.padt');
    this.end(now, sessionId, 'padt');
    return undefined;
  }

  /** The place of the service a tag asks for; −1 if we have none such. */
  private serviceOf(tag: PppoeTag): number {
    if (sameService(tag, '')) return 0;
    for (let i = 0; i < this.config.services.length; i++)
      if (sameService(tag, this.config.services[i])) return i;
    return -1;
  }

  /** What both can carry beyond RFC 2516's 1492; 0 if one cannot. */
  private maxPayload(tags: DiscoveryTags): number {
    const most = Math.min(tags.maxPayload, this.config.maxPayload);
    return most > standardPayload ? most : 0;
  }

  private lineId(text: string): Uint8Array {
    const bytes = encodeUtf8(text);
    if (bytes.length <= maxLineIdLength) return bytes;
    // Cut short it might name another line.
    this.counters.add('discovery.line-id-too-long');
    return new Uint8Array(0);
  }

  private isForUs(frame: Uint8Array, code: number): boolean {
    let isBroadcast = true;
    let isOurs = true;
    for (let i = 0; i < 6; i++) {
      if (frame[i] !== 0xff) isBroadcast = false;
      if (frame[i] !== this.config.mac[i]) isOurs = false;
    }
    return isOurs || (isBroadcast && code === pppoeCode.padi);
  }

  private end(now: number, id: number, reason: ServerCloseReason): void {
    this.counters.add(`discovery.closed.${reason}`);
    this.calls.closed(now, id, reason);
    if (reason !== 'padt') this.sendPadt(this.table.rowOf[id], reason);
    this.table.close(id);
  }

  /** PADS without a session, and why. */
  private refuse(question: Question, reason: RefuseReason, text: string): DropReason | undefined {
    this.counters.add(`discovery.refused.${reason}`);
    const kind = reason === 'service' ? 'service-name-error' : 'ac-system-error';
    return this.answerAndSend(question, 0, { kind, text });
  }

  /** PADS for session `sessionId`: with `error`, or else with the Service-Name asked for. */
  private answerAndSend(question: Question, sessionId: number, error?: PppoeTag): DropReason | undefined {
    const frame = this.answer(question, pppoeCode.pads, sessionId, [error ?? question.tags.services[0]]);
    if (!frame) return 'answer-too-long';
    this.calls.send(question.host.link, frame);
    return undefined;
  }

  private sendOffer(link: number, frame: Uint8Array): void {
    this.counters.add('discovery.pado');
    this.calls.send(link, frame);
  }

  /** The frame back to who asked, over the same VLANs, with what must be echoed; `undefined` if it is too long. */
  private answer(
    question: Question,
    code: number,
    sessionId: number,
    own: readonly PppoeTag[],
  ): Uint8Array | undefined {
    const { tags, frame, l3Offset } = question;
    const all = [...own];
    if (tags.hostUniq) all.push(tags.hostUniq);
    if (tags.relaySessionId) all.push(tags.relaySessionId);
    const maxPayload = this.maxPayload(tags);
    if (maxPayload !== 0) all.push({ kind: 'ppp-max-payload', value: maxPayload });
    return emitDiscoveryFrame({
      dstMac: frame.subarray(6, 12),
      srcMac: this.config.mac,
      vlanTags: frame.subarray(12, l3Offset - 2),
      code,
      sessionId,
      tags: all,
    });
  }

  private sendPadt(row: number, text: string): void {
    const { table } = this;
    const dstMac = new Uint8Array(6);
    writeUint16(dstMac, 0, table.macHigh[row]);
    writeUint32(dstMac, 2, table.macLow[row]);
    const tagCount = table.outerTag[row] === 0 ? 0 : table.innerTag[row] === 0 ? 1 : 2;
    const vlanTags = new Uint8Array(tagCount * vlanTagLength);
    if (tagCount > 0) writeUint32(vlanTags, 0, table.outerTag[row]);
    if (tagCount > 1) writeUint32(vlanTags, vlanTagLength, table.innerTag[row]);
    const frame = emitDiscoveryFrame({
      dstMac,
      srcMac: this.config.mac,
      vlanTags,
      code: pppoeCode.padt,
      sessionId: table.id[row],
      tags: text === '' ? [] : [{ kind: 'generic-error', text }],
    });
    if (!frame) throw new Error(`text: expected to fit a frame, got ${text.length} characters`);
    this.counters.add('discovery.padt-sent');
    this.calls.send(table.link[row], frame);
  }
}

type DropReason = DiscoveryCounter extends infer Name
  ? Name extends `discovery.drop.${infer Reason}`
    ? Reason
    : never
  : never;

type RefuseReason = 'service' | 'full' | 'draining' | 'cookie-expired';

/** AC-Cookies: 0 seconds of issue · 4 serial number · 8 HMAC-MD5. */
class Cookies {
  private readonly calls: DiscoveryServerCalls;
  private key: MacKey;
  private previousKey: MacKey;
  private rotateAt: number;
  private serial = 0;

  constructor(now: number, calls: DiscoveryServerCalls) {
    this.calls = calls;
    this.key = macKey(calls.newKey());
    this.previousKey = this.key;
    this.rotateAt = now + keyLifeMs;
  }

  issue(now: number, host: Host): Uint8Array {
    this.rotate(now);
    this.serial = (this.serial + 1) >>> 0;
    const cookie = new Uint8Array(cookieLength);
    writeUint32(cookie, 0, seconds(now));
    writeUint32(cookie, 4, this.serial);
    cookie.set(this.mac(this.key, host, cookie), 8);
    return cookie;
  }

  check(now: number, host: Host, cookie: Uint8Array): 'good' | 'expired' | 'forged' {
    this.rotate(now);
    if (cookie.length !== cookieLength) return 'forged';
    const isGenuine =
      this.matches(this.key, host, cookie) ||
      (this.previousKey !== this.key && this.matches(this.previousKey, host, cookie));
    if (!isGenuine) return 'forged';
    const ageSeconds = (seconds(now) - readUint32(cookie, 0)) >>> 0;
    return ageSeconds * 1000 <= cookieLifeMs ? 'good' : 'expired';
  }

  private rotate(now: number): void {
    if (now < this.rotateAt) return;
    this.previousKey = this.key;
    this.key = macKey(this.calls.newKey());
    this.rotateAt = now + keyLifeMs;
  }

  private matches(key: MacKey, host: Host, cookie: Uint8Array): boolean {
    const mac = this.mac(key, host, cookie);
    // All of it, so that the time taken tells nothing of where they differ.
    let difference = 0;
    for (let i = 0; i < mac.length; i++) difference |= mac[i] ^ cookie[8 + i];
    return difference === 0;
  }

  /** RFC 2104 §2 over time and serial of the cookie and where the host is. */
  private mac(key: MacKey, host: Host, cookie: Uint8Array): Uint8Array {
    const inner = new Uint8Array(64 + 24);
    inner.set(key.inner, 0);
    inner.set(cookie.subarray(0, 8), 64);
    let at = writeUint16(inner, 72, host.macHigh);
    at = writeUint32(inner, at, host.macLow);
    at = writeUint16(inner, at, host.link);
    at = writeUint32(inner, at, host.outerTag);
    writeUint32(inner, at, host.innerTag);
    const outer = new Uint8Array(64 + 16);
    outer.set(key.outer, 0);
    outer.set(this.calls.digest.md5(inner), 64);
    return this.calls.digest.md5(outer);
  }
}

/** The two blocks HMAC begins with. */
interface MacKey {
  readonly inner: Uint8Array;
  readonly outer: Uint8Array;
}

function macKey(key: Uint8Array): MacKey {
  if (key.length !== 16) throw new Error(`key: expected 16 bytes, got ${key.length}`);
  const inner = new Uint8Array(64);
  const outer = new Uint8Array(64);
  for (let i = 0; i < 64; i++) {
    const byte = i < key.length ? key[i] : 0;
    inner[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  return { inner, outer };
}

/**
 * So many a second, and so many at once, for each slot: the generic cell rate algorithm (ITU-T I.371 annex A), one number a
 * slot. A slot is `hash` modulo their count.
 */
class RateLimit {
  /** When the slot would be empty again. */
  private readonly emptyAt: Float64Array;
  private readonly intervalMs: number;
  private readonly toleranceMs: number;

  constructor(slots: number, perSecond: number, burst: number) {
    if (!(perSecond > 0 && burst >= 1))
      throw new Error(`rate: expected more than 0 a second and 1 at once, got ${perSecond} and ${burst}`);
    this.emptyAt = new Float64Array(slots);
    this.intervalMs = 1000 / perSecond;
    this.toleranceMs = (burst - 1) * this.intervalMs;
  }

  /** Whether the slot would then be filled to `share` of its burst at most. */
  hasRoom(now: number, hash: number, share = 1): boolean {
    return this.emptyAt[hash % this.emptyAt.length] - now <= this.toleranceMs * share;
  }

  take(now: number, hash: number): void {
    const slot = hash % this.emptyAt.length;
    this.emptyAt[slot] = Math.max(this.emptyAt[slot], now) + this.intervalMs;
  }

  /** What was taken for nothing. */
  giveBack(hash: number): void {
    this.emptyAt[hash % this.emptyAt.length] -= this.intervalMs;
  }
}

/** A rate of each line under one of all lines, of which those that have used little of their own have the last part. */
class SharedRate {
  private readonly lines: RateLimit;
  private readonly all: RateLimit;

  constructor(linePerSecond: number, lineBurst: number, allPerSecond: number) {
    this.lines = new RateLimit(lineSlots, linePerSecond, lineBurst);
    this.all = new RateLimit(1, allPerSecond, allPerSecond);
  }

  /** Takes one, or says whose rate it would exceed. */
  take(now: number, lineSlot: number): 'line' | 'all' | undefined {
    if (!this.lines.hasRoom(now, lineSlot)) return 'line';
    const share = this.lines.hasRoom(now, lineSlot, quietShare) ? 1 : quietShare;
    // Asking counts: else lines that together ask too much would all seem quiet.
    this.lines.take(now, lineSlot);
    if (!this.all.hasRoom(now, 0, share)) return 'all';
    this.all.take(now, 0);
    return undefined;
  }

  giveBack(lineSlot: number): void {
    this.lines.giveBack(lineSlot);
    this.all.giveBack(0);
  }
}

/** `a` was issued before `b`: serial numbers go round (RFC 1982 §3.2). */
function isOlder(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

function seconds(now: number): number {
  return Math.floor(now / 1000) >>> 0;
}

function hashLine(seed: number, host: Host, circuitId: string): number {
  let hash = addToHash(addToHash(addToHash(seed, host.link), host.outerTag), host.innerTag);
  for (let i = 0; i < circuitId.length; i++) hash = timesFnvPrime(hash ^ circuitId.charCodeAt(i));
  return finish(hash);
}

function hashHost(seed: number, host: Host): number {
  const line = addToHash(addToHash(addToHash(seed, host.link), host.outerTag), host.innerTag);
  return finish(addToHash(addToHash(line, host.macHigh), host.macLow));
}

/** FNV-1a over the word's bytes. */
function addToHash(hash: number, word: number): number {
  for (let shift = 24; shift >= 0; shift -= 8) hash = timesFnvPrime(hash ^ ((word >>> shift) & 0xff));
  return hash;
}

/** FNV leaves its lowest bits least mixed, and those choose the slot. */
function finish(hash: number): number {
  return (hash ^ (hash >>> 15)) >>> 0;
}
