/**
 * Envelopes: what protects a packet on its way through a neighbour, and shows the provider who carried it (mobile
 * kibbutz, §2.1.3.2.2.3). A seals its packet for the provider; B, who carries it, seals A's envelope again as a whole.
 * The provider opens B's and knows who carried, opens A's and knows who sent.
 *
 *     0  version 1, 4 bits · kind, 4 bits    1  AEAD    2  member, 4 bytes    6  nonce, 8 bytes
 *     14 ciphertext ‖ tag of 16 bytes (RFC 5116)
 *
 *     kind        from        to        sealed                              under
 *     1 own       A           provider  A's packet                          a key of A's
 *     2 carried   B           provider  an `own` envelope of another's      a key of B's
 *     3 down      provider    A         a packet for A                      a key of A's
 *     4 return    provider    B         a `down` envelope for another       a key of B's
 *     5 control   provider    A         introduction.ts or drop-report.ts   a key of A's
 *     6 hop       A           B         5 bytes, an envelope (job.ts)       a key of the pair's
 *
 * `member` is whose key it is; for `hop`, who sent it. Each kind has a key of its own (introduction.ts), hence its own
 * nonces and its own window: packets that A carries for others do not push its own out of the window.
 *
 * The AEAD's associated data is the header and, not sent, four bytes with the member id of the carrier A chose (0: its
 * own uplink), as IPsec does with the upper half of its sequence numbers (RFC 4303 §2.2.1). So an overheard envelope is
 * worthless to anybody else: the paper lets whoever delivers it first have the credit, here only B can.
 *
 * `hop` proves to B which neighbour a packet is from. Without it anybody in radio range could send rubbish in A's name,
 * and B would blame A for what the provider throws away. In the carrier's place it has the boot id of B as A heard it
 * last, so that what was overheard before B restarted is nothing to B now, and B need not keep its window.
 *
 * Overhead: `envelopeOverhead` a layer, two layers on the forwarder's uplink. Bounds: `longestEnvelope`; a lane holds a
 * key and a counter or window.
 */

import { readUint32, writeUint8, writeUint32 } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Aead } from '../port/aead.js';
import { type DropEntry, dropReportType, parseDropReport } from './drop-report.js';
import { type Introduction, parseIntroduction, purposeKey } from './introduction.js';
import {
  aeadNonce,
  defaultWindow,
  NonceCounter,
  type NonceReserve,
  ReplayWindow,
  readNonce,
  writeNonce,
} from './nonce.js';

export type EnvelopeKind = 'own' | 'carried' | 'down' | 'return' | 'control' | 'hop';

/** Index + 1 is the number on the wire, and the purpose the kind's key is derived for. */
const kinds: readonly EnvelopeKind[] = ['own', 'carried', 'down', 'return', 'control', 'hop'];

const version = 1;
const headerLength = 14;
const carrierLength = 4;
const tagLength = 16;

/** Bytes an envelope is longer than what it holds. */
export const envelopeOverhead = headerLength + tagLength;
/** The most one UDP datagram over IPv4 holds: 65,535 less both headers (RFC 791 §3.1, RFC 768). */
export const longestEnvelope = 65_507;
/** Bytes of the longest packet that fits through a neighbour's uplink: two layers. */
export const longestPacket = longestEnvelope - 2 * envelopeOverhead;
/** The carrier of what goes over its sender's own uplink. */
export const noCarrier = 0;

export interface Envelope {
  readonly kind: EnvelopeKind;
  /** Number of the AEAD in IANA's registry. */
  readonly aead: number;
  /** Member id, 1 … 2^32 − 1. */
  readonly member: number;
  /** 1 … 2^53 − 1. */
  readonly nonce: number;
  /** The whole envelope: a view. */
  readonly bytes: Uint8Array;
}

/** Why bytes are no envelope. */
export type EnvelopeReason =
  | 'truncated'
  | 'too-long'
  | 'bad-version'
  | 'bad-kind'
  | 'bad-member'
  | 'bad-nonce';
/** Why an envelope was not opened; `not-for-us`: of another kind or member; `bad-aead`: another than agreed upon. */
export type OpenReason = 'not-for-us' | 'bad-aead' | 'too-old' | 'replayed' | 'bad-tag';
/** Why nothing was sealed; `no-nonce`: the store did not take the reservation (nonce.ts). */
export type SealReason = 'too-long' | 'no-nonce';

/** Reads an envelope that is all of `bytes`. What it says is not authentic before it is opened. */
export function parseEnvelope(bytes: Uint8Array): Result<Envelope, EnvelopeReason> {
  if (bytes.length < envelopeOverhead) return fail('truncated');
  if (bytes.length > longestEnvelope) return fail('too-long');
  if (bytes[0] >>> 4 !== version) return fail('bad-version');
  const kind = kinds[(bytes[0] & 15) - 1];
  if (kind === undefined) return fail('bad-kind');
  const member = readUint32(bytes, 2);
  if (member === 0) return fail('bad-member');
  const nonce = readNonce(bytes, 6);
  if (nonce === 0) return fail('bad-nonce');
  return ok({ kind, aead: bytes[1], member, nonce, bytes });
}

export interface LaneOptions {
  readonly kind: EnvelopeKind;
  /** As in the envelopes' header. */
  readonly member: number;
  readonly aead: Aead;
  /** The device's key, or for `hop` the pair's. */
  readonly key: Uint8Array;
}

/** Seals envelopes of one kind under one key. */
export class SendingLane {
  private readonly kind: EnvelopeKind;
  private readonly member: number;
  private readonly aead: Aead;
  private readonly key: Uint8Array;
  private readonly counter: NonceCounter;

  /** A key that may get another lane later needs a counter that goes on: `counter` is then shared by those lanes. */
  constructor(
    { kind, member, aead, key }: LaneOptions,
    reserve: NonceReserve,
    counter = new NonceCounter(reserve),
  ) {
    this.kind = kind;
    this.member = member;
    this.aead = aead;
    this.key = purposeKey(aead, key, numberOf(kind));
    this.counter = counter;
  }

  /** An envelope in memory of its own. */
  seal(content: Uint8Array, carrier: number): Result<Uint8Array, SealReason> {
    if (content.length > longestEnvelope - envelopeOverhead) return fail('too-long');
    const nonce = this.counter.next();
    if (nonce === undefined) return fail('no-nonce');
    const { aead, kind, member } = this;
    const associated = new Uint8Array(headerLength + carrierLength);
    let at = writeUint8(associated, 0, (version << 4) | numberOf(kind));
    at = writeUint8(associated, at, aead.id);
    at = writeUint32(associated, at, member);
    at = writeNonce(associated, at, nonce);
    writeUint32(associated, at, carrier);
    const sealed = aead.seal(this.key, aeadNonce(senderOf(kind, member), nonce), associated, content);
    const bytes = new Uint8Array(headerLength + sealed.length);
    bytes.set(associated.subarray(0, headerLength));
    bytes.set(sealed, headerLength);
    return ok(bytes);
  }
}

/** Opens envelopes of one kind under one key, each nonce once. */
export class ReceivingLane {
  readonly window: ReplayWindow;
  private readonly kind: EnvelopeKind;
  private readonly member: number;
  private readonly aead: Aead;
  private readonly key: Uint8Array;

  /** All nonces through `seenThrough` count as seen: 0 for a new key. */
  constructor({ kind, member, aead, key }: LaneOptions, seenThrough: number, windowSize = defaultWindow) {
    this.kind = kind;
    this.member = member;
    this.aead = aead;
    this.key = purposeKey(aead, key, numberOf(kind));
    this.window = new ReplayWindow(windowSize, seenThrough);
  }

  /** What an envelope holds. The cheap refusals come first. */
  open(envelope: Envelope, carrier: number): Result<Uint8Array, OpenReason> {
    const { aead, kind, member, window } = this;
    const { bytes, nonce } = envelope;
    if (envelope.kind !== kind || envelope.member !== member) return fail('not-for-us');
    if (envelope.aead !== aead.id) return fail('bad-aead');
    const freshness = window.judge(nonce);
    if (freshness !== 'fresh') return fail(freshness);
    const associated = new Uint8Array(headerLength + carrierLength);
    associated.set(bytes.subarray(0, headerLength));
    writeUint32(associated, headerLength, carrier);
    const sealed = bytes.subarray(headerLength);
    const content = aead.open(this.key, aeadNonce(senderOf(kind, member), nonce), associated, sealed);
    if (content === undefined) return fail('bad-tag');
    window.mark(nonce);
    return ok(content);
  }
}

/** What came from the provider. */
export type Arrival =
  | { readonly kind: 'packet'; readonly packet: Uint8Array }
  /** To be handed to that neighbour, within a `hop`. The provider has accounted for it. */
  | { readonly kind: 'for-neighbour'; readonly member: number; readonly envelope: Uint8Array }
  | { readonly kind: 'introduction'; readonly introduction: Introduction }
  /** For `Patience.hear`. */
  | { readonly kind: 'drop-report'; readonly nonce: number; readonly report: readonly DropEntry[] };

/** Why nothing came of an envelope; one counter each. */
export type TunnelReason =
  | EnvelopeReason
  | OpenReason
  | SealReason
  /** A neighbour hands over what is not its own. */
  | 'not-its-own'
  /** A control message this version does not know, or `return` without a `down` envelope within. */
  | 'bad-content';

const tunnelReasons: readonly TunnelReason[] = [
  'truncated',
  'too-long',
  'bad-version',
  'bad-kind',
  'bad-member',
  'bad-nonce',
  'bad-aead',
  'too-old',
  'replayed',
  'bad-tag',
  'no-nonce',
  'not-for-us',
  'not-its-own',
  'bad-content',
];

export interface TunnelOptions {
  readonly member: number;
  readonly aead: Aead;
  /** Shared with the provider, from registration. */
  readonly deviceKey: Uint8Array;
  readonly reserve: NonceReserve;
  /**
   * The last `MemberTunnel.controlSeenThrough` kept, 0 for a new key. Without it a restart lets old introductions and reports in again; old
   * packets, which do no more harm than a network that duplicates, are let in once.
   */
  readonly controlSeenThrough: number;
}

/** A member's end of its tunnel to the provider: its own packets, and those it carries. */
export class MemberTunnel {
  readonly member: number;
  readonly counters = new Counters<TunnelReason>(tunnelReasons);
  private readonly own: SendingLane;
  private readonly carried: SendingLane;
  private readonly down: ReceivingLane;
  private readonly returned: ReceivingLane;
  private readonly control: ReceivingLane;

  constructor({ member, aead, deviceKey, reserve, controlSeenThrough }: TunnelOptions) {
    const lane = (kind: EnvelopeKind): LaneOptions => ({ kind, member, aead, key: deviceKey });
    this.member = member;
    this.own = new SendingLane(lane('own'), reserve);
    this.carried = new SendingLane(lane('carried'), reserve);
    this.down = new ReceivingLane(lane('down'), 0);
    this.returned = new ReceivingLane(lane('return'), 0);
    this.control = new ReceivingLane(lane('control'), controlSeenThrough);
  }

  /** To be kept over restarts after each introduction or report. */
  get controlSeenThrough(): number {
    return this.control.window.seenThrough;
  }

  /** An own packet for the provider, which only `carrier` can deliver (`noCarrier`: we ourselves). */
  seal(packet: Uint8Array, carrier: number): Result<Uint8Array, TunnelReason> {
    if (packet.length > longestPacket) return this.drop('too-long');
    return this.told(this.own.seal(packet, carrier));
  }

  /** What we send the provider for `neighbour`, whose envelope came in an authentic `hop`. */
  carry(envelope: Uint8Array, neighbour: number): Result<Uint8Array, TunnelReason> {
    const parsed = parseEnvelope(envelope);
    if (!parsed.ok) return this.drop(parsed.reason);
    if (parsed.value.kind !== 'own' || parsed.value.member !== neighbour) return this.drop('not-its-own');
    return this.told(this.carried.seal(envelope, noCarrier));
  }

  /** Opens what the provider sent us, over our uplink or through a neighbour. */
  receive(bytes: Uint8Array): Result<Arrival, TunnelReason> {
    const parsed = parseEnvelope(bytes);
    if (!parsed.ok) return this.drop(parsed.reason);
    const envelope = parsed.value;
    const { kind } = envelope;
    // Any other kind is none of ours: the lane of `control` says so.
    const lane = kind === 'down' ? this.down : kind === 'return' ? this.returned : this.control;
    const opened = lane.open(envelope, noCarrier);
    if (!opened.ok) return this.drop(opened.reason);
    const content = opened.value;
    switch (kind) {
      case 'down':
        return ok({ kind: 'packet', packet: content });
      case 'return': {
        const inner = parseEnvelope(content);
        if (!inner.ok || inner.value.kind !== 'down') return this.drop('bad-content');
        return ok({ kind: 'for-neighbour', member: inner.value.member, envelope: content });
      }
      default:
        return this.readControl(content, envelope.nonce);
    }
  }

  private readControl(content: Uint8Array, nonce: number): Result<Arrival, TunnelReason> {
    if (content[0] === dropReportType) {
      const report = parseDropReport(content);
      return report.ok ? ok({ kind: 'drop-report', nonce, report: report.value }) : this.drop('bad-content');
    }
    const introduction = parseIntroduction(content);
    if (!introduction.ok) return this.drop('bad-content');
    return ok({ kind: 'introduction', introduction: introduction.value });
  }

  private told<T>(result: Result<T, TunnelReason>): Result<T, TunnelReason> {
    if (!result.ok) this.counters.add(result.reason);
    return result;
  }

  private drop(reason: TunnelReason): Result<never, TunnelReason> {
    this.counters.add(reason);
    return fail(reason);
  }
}

function numberOf(kind: EnvelopeKind): number {
  return kinds.indexOf(kind) + 1;
}

function senderOf(kind: EnvelopeKind, member: number): number {
  return kind === 'down' || kind === 'return' || kind === 'control' ? 0 : member;
}
