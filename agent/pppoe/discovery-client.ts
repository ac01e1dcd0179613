/**
 * PPPoE discovery as a host does it (RFC 2516 §5; PPP-Max-Payload RFC 4638): finds access concentrators, chooses one, and keeps
 * a session until `stop`.
 *
 *     idle → discovering  PADI, again after 1, 2, 4 … 64 s
 *          → requesting   PADR to the AC chosen, four times; silent or refused: back to PADI, that AC last among the offers
 *          → open         until PADT from that AC for that session, `lost` or `stop`
 *          → waiting      before it begins anew, the longer the more sessions failed at once
 *
 * Believed: what carries our Host-Uniq; PADS and PADT only from the AC chosen. A session that a late PADS brings is not taken up:
 * the AC times it out. Bounds: `offerLimit` offers, `servicesPerOffer` names in each; `refusedLimit` ACs remembered as
 * unwilling, the oldest forgotten.
 */

import { copyBytes, sameBytes, writeUint32 } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import type { Random } from '../core/random.js';
import { never } from '../core/time.js';
import { etherTypePppoeDiscovery } from '../wire/ethernet.js';
import type { Headers } from '../wire/headers.js';
import { type PppoeTag, parsePppoe, pppoeCode } from '../wire/pppoe.js';
import { emitVlanTags, isOnVlans, type VlanTag, vlanTagLength } from '../wire/vlan.js';
import {
  type DiscoveryTags,
  emitDiscoveryFrame,
  readDiscoveryTags,
  sameService,
  standardPayload,
} from './discovery-tags.js';
import { reservedSessionId } from './session-table.js';

export interface DiscoveryClientConfig {
  readonly mac: Uint8Array;
  /** Outermost first; empty for none. */
  readonly vlanTags: readonly VlanTag[];
  /** '' for any. */
  readonly service: string;
  /** The only AC to take, by name; '' for any. */
  readonly acName: string;
  /** How long to gather offers before choosing; 0: the first is taken. */
  readonly gatherMs: number;
  /** Bytes of PPP payload our link can carry; above 1492 the AC is asked (RFC 4638). */
  readonly maxPayload: number;
}

export interface Offer {
  readonly acMac: Uint8Array;
  readonly acName: string;
  readonly services: readonly string[];
  /** Bytes of PPP payload beyond 1492 that the AC offers; 0: no more. */
  readonly maxPayload: number;
  /** This AC refused us, or fell silent, a moment ago. */
  readonly wasUnwilling: boolean;
}

export interface ClientSession {
  readonly sessionId: number;
  readonly acMac: Uint8Array;
  readonly acName: string;
  /** Bytes of PPP payload both can take: the most to ask for as MRU. */
  readonly maxPayload: number;
}

export type ClientCloseReason = 'padt' | 'lost' | 'stopped';

export interface DiscoveryClientCalls {
  readonly random: Random;
  send(frame: Uint8Array): void;
  /** The place of the offer to take among those that have what we asked for. Absent: the first from a willing AC. */
  choose?(offers: readonly Offer[]): number;
  opened(now: number, session: ClientSession): void;
  closed(now: number, reason: ClientCloseReason): void;
  /** An AC's error, for people to read; discovery goes on. */
  refused(now: number, acName: string, text: string): void;
}

const counterNames = [
  'client.padi',
  'client.pado',
  'client.padr',
  'client.pads',
  'client.padt',
  'client.padt-sent',
  'client.refused',
  'client.ac-silent',
  'client.opened',
  'client.drop.malformed',
  'client.drop.duplicate-tag',
  'client.drop.other-type',
  'client.drop.code',
  'client.drop.source',
  'client.drop.destination',
  'client.drop.vlan-tags',
  'client.drop.host-uniq',
  'client.drop.session-id',
  'client.drop.unasked',
  'client.drop.ac-name',
  'client.drop.service',
  'client.drop.error',
  'client.drop.offers-full',
  'client.drop.padt-stranger',
] as const;
export type ClientCounter = (typeof counterNames)[number];
type DropReason = ClientCounter extends infer Name
  ? Name extends `client.drop.${infer Reason}`
    ? Reason
    : never
  : never;

/** RFC 2516 §8: double the time at each attempt. The first as short as a home can wait, the last as a fault lasts. */
const firstRetryMs = 1_000;
const lastRetryMs = 64_000;
/** PADR: after 1 + 2 + 4 + 8 s the AC is taken to be silent, well within the life of a cookie. */
const padrAttempts = 4;
/** A session that lived so long did not fail at once. */
const settledMs = 60_000;
export const offerLimit = 16;
export const servicesPerOffer = 16;
export const refusedLimit = 8;
const hostUniqLength = 8;

interface Pending {
  readonly offer: Offer;
  readonly acCookie: PppoeTag | undefined;
  readonly relaySessionId: PppoeTag | undefined;
}

type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'waiting'; readonly startAt: number }
  | {
      readonly kind: 'discovering';
      attempt: number;
      resendAt: number;
      readonly pending: Pending[];
      /** When to choose among the offers; `never` while there is none. */
      chooseAt: number;
    }
  | { readonly kind: 'requesting'; readonly chosen: Pending; attempt: number; resendAt: number }
  | { readonly kind: 'open'; readonly session: ClientSession; readonly openedAt: number };

export class DiscoveryClient {
  readonly counters = new Counters<ClientCounter>(counterNames);
  private readonly config: DiscoveryClientConfig;
  private readonly calls: DiscoveryClientCalls;
  private readonly vlanTags: Uint8Array;
  private state: State = { kind: 'idle' };
  /** Of the present attempt to get a session: one from before it is not answered. */
  private hostUniq = new Uint8Array(hostUniqLength);
  private serial = 0;
  /** MACs of ACs that refused or were silent, oldest first. */
  private unwilling: Uint8Array[] = [];
  /** Sessions, or refusals, in a row that came to nothing. */
  private failures = 0;

  constructor(config: DiscoveryClientConfig, calls: DiscoveryClientCalls) {
    this.config = config;
    this.calls = calls;
    this.vlanTags = new Uint8Array(config.vlanTags.length * vlanTagLength);
    emitVlanTags(config.vlanTags, this.vlanTags, 0);
  }

  get kind(): State['kind'] {
    return this.state.kind;
  }

  get session(): ClientSession | undefined {
    return this.state.kind === 'open' ? this.state.session : undefined;
  }

  /** Begins to look for a session; nothing if that is under way. */
  start(now: number): void {
    if (this.state.kind !== 'idle') return;
    this.failures = 0;
    this.unwilling = [];
    this.discover(now);
  }

  /** Ends the session, or the search for one, for good. */
  stop(now: number): void {
    const { state } = this;
    this.state = { kind: 'idle' };
    if (state.kind === 'open') this.end(now, state.session, 'stopped');
  }

  /** The session is no good (PPP gave up, echoes unanswered): ends it, and begins anew after a while. */
  lost(now: number): void {
    const { state } = this;
    if (state.kind !== 'open') return;
    this.rest(now, state.openedAt);
    this.end(now, state.session, 'lost');
  }

  /** A frame of EtherType 0x8863, with what `headers.scan` found in it from offset 0. */
  receive(now: number, frame: Uint8Array, headers: Headers): void {
    const reason = this.handle(now, frame, headers);
    if (reason) this.counters.add(`client.drop.${reason}`);
  }

  pollAt(): number {
    const { state } = this;
    switch (state.kind) {
      case 'waiting':
        return state.startAt;
      case 'discovering':
        return Math.min(state.resendAt, state.chooseAt);
      case 'requesting':
        return state.resendAt;
      default:
        return never;
    }
  }

  poll(now: number): void {
    const { state } = this;
    switch (state.kind) {
      case 'waiting':
        if (state.startAt <= now) this.discover(now);
        return;
      case 'discovering':
        if (state.chooseAt <= now) {
          this.request(now, state.pending);
        } else if (state.resendAt <= now) {
          state.attempt++;
          state.resendAt = now + this.retryMs(state.attempt);
          this.sendPadi();
        }
        return;
      case 'requesting':
        if (state.resendAt > now) return;
        if (state.attempt + 1 >= padrAttempts) {
          this.counters.add('client.ac-silent');
          this.giveUp(now, state.chosen.offer);
          return;
        }
        state.attempt++;
        state.resendAt = now + this.retryMs(state.attempt);
        this.sendPadr(state.chosen);
        return;
      default:
        return;
    }
  }

  private handle(now: number, frame: Uint8Array, headers: Headers): DropReason | undefined {
    const { l3Offset } = headers;
    if (headers.etherType !== etherTypePppoeDiscovery) return 'other-type';
    const packet = parsePppoe(frame, l3Offset, frame.length);
    if (!packet.ok) return 'malformed';
    if (!sameBytes(frame.subarray(0, 6), this.config.mac)) return 'destination';
    if ((frame[6] & 1) !== 0) return 'source';
    if (!isOnVlans(frame, l3Offset, this.vlanTags)) return 'vlan-tags';
    const { code, sessionId, payload } = packet.value;
    const acMac = copyBytes(frame, 6, 12);
    if (code === pppoeCode.padt) return this.receivePadt(now, acMac, sessionId);
    if (code !== pppoeCode.pado && code !== pppoeCode.pads) return 'code';
    // The pending offer outlives the frame.
    const read = readDiscoveryTags(copyBytes(payload, 0, payload.length));
    if (!read.ok) return read.reason === 'duplicate' ? 'duplicate-tag' : 'malformed';
    const tags = read.value;
    if (!tags.hostUniq || !sameBytes(tags.hostUniq.data, this.hostUniq)) return 'host-uniq';
    return code === pppoeCode.pado
      ? this.receivePado(now, acMac, sessionId, tags)
      : this.receivePads(now, acMac, sessionId, tags);
  }

  private receivePado(
    now: number,
    acMac: Uint8Array,
    sessionId: number,
    tags: DiscoveryTags,
  ): DropReason | undefined {
    const { state, config } = this;
    if (state.kind !== 'discovering') return 'unasked';
    if (sessionId !== 0) return 'session-id';
    if (tags.error) {
      this.calls.refused(now, textOf(tags.acNames[0]), tags.error.text);
      return 'error';
    }
    if (tags.acNames.length !== 1) return 'ac-name';
    const acName = textOf(tags.acNames[0]);
    if (config.acName !== '' && acName !== config.acName) return 'ac-name';
    const services: string[] = [];
    let hasOurs = false;
    for (const tag of tags.services) {
      if (sameService(tag, config.service)) hasOurs = true;
      if (tag.kind === 'service-name' && services.length < servicesPerOffer) services.push(tag.text);
    }
    // Who asks for any service takes whatever is named (RFC 2516 appendix A), but named something must be.
    if (!hasOurs && !(config.service === '' && tags.services.length > 0)) return 'service';
    for (const { offer } of state.pending) if (sameBytes(offer.acMac, acMac)) return 'unasked';
    if (state.pending.length === offerLimit) return 'offers-full';
    this.counters.add('client.pado');
    const offer: Offer = {
      acMac,
      acName,
      services,
      maxPayload: tags.maxPayload,
      wasUnwilling: this.isUnwilling(acMac),
    };
    state.pending.push({ offer, acCookie: tags.acCookie, relaySessionId: tags.relaySessionId });
    // Of an AC that would not have us a moment ago, not the first word is taken: another may answer yet.
    const gatherMs = offer.wasUnwilling ? Math.max(config.gatherMs, firstRetryMs) : config.gatherMs;
    state.chooseAt = Math.min(state.chooseAt, now + gatherMs);
    if (state.chooseAt <= now) this.request(now, state.pending);
    return undefined;
  }

  private receivePads(
    now: number,
    acMac: Uint8Array,
    sessionId: number,
    tags: DiscoveryTags,
  ): DropReason | undefined {
    const { state } = this;
    if (state.kind !== 'requesting') return 'unasked';
    const { offer } = state.chosen;
    if (!sameBytes(offer.acMac, acMac)) return 'source';
    if (sessionId === reservedSessionId || (sessionId !== 0 && tags.error)) return 'session-id';
    if (sessionId === 0) {
      this.counters.add('client.refused');
      this.calls.refused(now, offer.acName, tags.error ? tags.error.text : '');
      this.giveUp(now, offer);
      return undefined;
    }
    this.counters.add('client.pads');
    this.counters.add('client.opened');
    const agreed = Math.min(tags.maxPayload, this.config.maxPayload);
    const session: ClientSession = {
      sessionId,
      acMac: offer.acMac,
      acName: offer.acName,
      maxPayload: agreed > standardPayload ? agreed : Math.min(standardPayload, this.config.maxPayload),
    };
    this.state = { kind: 'open', session, openedAt: now };
    this.calls.opened(now, session);
    return undefined;
  }

  private receivePadt(now: number, acMac: Uint8Array, sessionId: number): DropReason | undefined {
    const { state } = this;
    if (state.kind !== 'open') return 'padt-stranger';
    const { session, openedAt } = state;
    if (session.sessionId !== sessionId || !sameBytes(session.acMac, acMac)) return 'padt-stranger';
    this.counters.add('client.padt');
    this.rest(now, openedAt);
    this.calls.closed(now, 'padt');
    return undefined;
  }

  /** PADI under a Host-Uniq of its own: answers to an earlier one no longer count. */
  private discover(now: number): void {
    this.serial++;
    writeUint32(this.hostUniq, 0, this.calls.random.uint32());
    writeUint32(this.hostUniq, 4, this.serial);
    this.state = {
      kind: 'discovering',
      attempt: 0,
      resendAt: now + this.retryMs(0),
      pending: [],
      chooseAt: never,
    };
    this.sendPadi();
  }

  private request(now: number, pending: readonly Pending[]): void {
    const offers: Offer[] = [];
    for (const each of pending) offers.push(each.offer);
    const place = this.calls.choose ? this.calls.choose(offers) : firstWilling(offers);
    const chosen = pending[place];
    if (!chosen) throw new Error(`choose: expected 0..${pending.length - 1}, got ${place}`);
    this.state = { kind: 'requesting', chosen, attempt: 0, resendAt: now + this.retryMs(0) };
    this.sendPadr(chosen);
  }

  /** The AC refused, or is silent: back to broadcast, after a pause, and others first. */
  private giveUp(now: number, offer: Offer): void {
    if (!this.isUnwilling(offer.acMac)) {
      if (this.unwilling.length === refusedLimit) this.unwilling.shift();
      this.unwilling.push(offer.acMac);
    }
    this.rest(now, now);
  }

  /** Waits before the next discovery: what began at `openedAt` has ended. */
  private rest(now: number, openedAt: number): void {
    if (now - openedAt >= settledMs) {
      this.failures = 0;
      this.unwilling = [];
    }
    this.state = { kind: 'waiting', startAt: now + this.retryMs(this.failures) };
    this.failures++;
  }

  private end(now: number, session: ClientSession, reason: ClientCloseReason): void {
    this.counters.add('client.padt-sent');
    this.send(session.acMac, pppoeCode.padt, session.sessionId, []);
    this.calls.closed(now, reason);
  }

  /** From the `attempt`-th (0 is the first) to the next: doubled each time, and up to a quarter more, to keep homes apart. */
  private retryMs(attempt: number): number {
    let ms = firstRetryMs;
    for (let i = 0; i < attempt && ms < lastRetryMs; i++) ms *= 2;
    return ms + this.calls.random.below(ms / 4);
  }

  private isUnwilling(acMac: Uint8Array): boolean {
    for (const mac of this.unwilling) if (sameBytes(mac, acMac)) return true;
    return false;
  }

  private sendPadi(): void {
    this.counters.add('client.padi');
    const broadcast = new Uint8Array([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    this.send(broadcast, pppoeCode.padi, 0, this.askingTags());
  }

  private sendPadr(chosen: Pending): void {
    this.counters.add('client.padr');
    const tags = this.askingTags();
    if (chosen.acCookie) tags.push(chosen.acCookie);
    if (chosen.relaySessionId) tags.push(chosen.relaySessionId);
    this.send(chosen.offer.acMac, pppoeCode.padr, 0, tags);
  }

  private askingTags(): PppoeTag[] {
    const tags: PppoeTag[] = [
      { kind: 'service-name', text: this.config.service },
      { kind: 'host-uniq', data: this.hostUniq },
    ];
    if (this.config.maxPayload > standardPayload)
      tags.push({ kind: 'ppp-max-payload', value: this.config.maxPayload });
    return tags;
  }

  private send(dstMac: Uint8Array, code: number, sessionId: number, tags: readonly PppoeTag[]): void {
    const { vlanTags } = this;
    const frame = emitDiscoveryFrame({ dstMac, srcMac: this.config.mac, vlanTags, code, sessionId, tags });
    // An AC whose cookie leaves no room has made an offer that nobody can accept: it will be found silent.
    if (frame) this.calls.send(frame);
  }
}

function firstWilling(offers: readonly Offer[]): number {
  for (let i = 0; i < offers.length; i++) if (!offers[i].wasUnwilling) return i;
  return 0;
}

function textOf(tag: PppoeTag | undefined): string {
  return tag && tag.kind === 'ac-name' ? tag.text : '';
}
