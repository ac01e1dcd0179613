/**
 * The kibbutz as a job of the agent: joins the engine (kibbutz.ts), the tunnel to the provider (envelope.ts), the queue
 * before the uplink, the owner's limits and the watchdogs to the agent's inputs and effects (mobile kibbutz, §2.1.3.2.2).
 *
 *     own packet       → the engine's choice: the uplink's queue, or within a hop to a neighbour, or wait for a radio
 *     neighbour's hop  → patience, the engine, the owner's limits → sealed again → the queue, behind own packets
 *     from the provider → for us: deliver; for a neighbour: within a hop; introductions and drop reports: take to heart
 *
 * A hop holds 1 byte of flags (bit 0: the packet may wait; the others 0), 4 bytes of the sender's boot id, and the
 * envelope. Its tag covers the receiver's boot id (envelope.ts), which the receiver's signals and hops tell.
 *
 * What goes through a neighbour is answered by whatever next comes down through it for us; nothing within a second and a
 * round trip, and the path is lost (kibbutz.ts) and its watchdog told. A packet that is refused is sent again another way,
 * and after `mostRefusals` by the own link.
 *
 * What outlives a restart (saved-state.ts), and what a crash loses: numbers are reserved before they are used, so none is
 * used twice. An account is saved at most `saveMs` after it changed; what the neighbour may use is rounded down to whole
 * slots, and saved before the packet that goes below leaves. So a crash costs a neighbour less than a slot and what it
 * gave in the last minute, and us nothing (of the quota: owner-limits.ts). Signals up to a minute ahead of the last save
 * count as heard: no replay of what came before the crash is believed, but for what a neighbour said within ten seconds of
 * a restart of its own; and a neighbour is heard again within a minute. Whom we refused for drop reports may try again.
 * An orderly end saves all exactly.
 *
 * Bounds: limits.neighbours, limits.waiting…, limits.uplink…, limits.forwarded…; all datagrams are checked cheapest first.
 */

import { copyBytes, readUint32, writeUint8, writeUint32 } from '../core/bytes.js';
import { Counters, type Counts } from '../core/counters.js';
import { never } from '../core/time.js';
import type { Job, JobContext, JobFactory } from '../job.js';
import { envelopesBytes } from '../limits.js';
import { encodeCbor } from '../message/cbor.js';
import type { Account as LedgerAccount } from '../message/messages.js';
import type { Aead } from '../port/aead.js';
import type { KibbutzInput } from '../port/effect.js';
import { Patience } from './drop-report.js';
import {
  envelopeOverhead,
  MemberTunnel,
  noCarrier,
  parseEnvelope,
  ReceivingLane,
  SendingLane,
} from './envelope.js';
import { findAead, type Introduction } from './introduction.js';
import { Kibbutz, type KibbutzPort, type Policy, wait } from './kibbutz.js';
import type { Neighbour } from './neighbour.js';
import { NonceCounter, NonceReserve } from './nonce.js';
import { OwnerLimits, type OwnerOptions } from './owner-limits.js';
import { own, type PathPlan, type Profile, planChanges } from './path-selection.js';
import {
  emitNeighbour,
  emitRegistration,
  type KeptNeighbour,
  type KeptRegistration,
  neighbourPrefix,
  ownerKey,
  parseNeighbour,
  parseRegistration,
  type RegistrationReason,
  readRecord,
  registrationKey,
} from './saved-state.js';
import { parseSignal, signalKinds } from './signal.js';
import { owner as ownPacket, UplinkQueue } from './uplink-queue.js';
import { type PathSample, Watchdog } from './watchdog.js';

export interface KibbutzJobOptions {
  /** Those the platform has; AES-128-GCM among them. */
  readonly aeads: readonly Aead[];
  readonly policy: Policy;
  /** Default `save-energy`. */
  readonly profile?: Profile;
  /** Left out: no limits but the least traffic (owner-limits.ts). */
  readonly owner?: OwnerOptions;
  /** As in `KibbutzOptions`. */
  readonly tailMs: number;
  readonly promotionMs: number;
  readonly exchangeMs: number;
  /** Default 5 (paper, Fig. 2.16). */
  readonly initialCredit?: number;
  /** How long a packet that may wait is kept for a radio to be up, ms. */
  readonly deferMs: number;
  /** As in `UplinkOptions`. */
  readonly uplinkBitsPerSecond: number;
  /** As in `UplinkOptions`; default 0. */
  readonly forwardedShare?: number;
}

const counterNames = [
  'packets',
  'packets.too-long',
  /** MPTCP put it on the path of somebody who is no neighbour, or was not heard since we started. */
  'packets.no-path',
  'packets.waited',
  'packets.sent-again',
  /** Of somebody who is no neighbour. */
  'samples.no-path',
  /** Times that nothing came back through a neighbour. */
  'packets.unanswered',
  'waiting.full',
  'hops',
  'hops.malformed',
  'hops.unknown-sender',
  'hops.replayed',
  'hops.forged',
  'hops.not-its-own',
  'hops.unsealed',
  'refused.patience',
  /** For somebody who is no neighbour, or was not heard since we started. */
  'returned.no-path',
  'introductions',
  'introductions.old',
  'introductions.unusable',
  'saved.unreadable',
  'saved.other-registration',
  'events.suppressed',
] as const;

/** Why a hop was not opened, as it is counted. */
const hopCounters = {
  'not-for-us': 'hops.malformed',
  'bad-aead': 'hops.malformed',
  'too-old': 'hops.replayed',
  replayed: 'hops.replayed',
  'bad-tag': 'hops.forged',
} as const;

/** The paper's value (Fig. 2.16). */
const defaultInitialCredit = 5;
/** Accounts and the ledger are not written oftener, or flash wears out: 100,000 cycles of a page of 40 records last years. */
const saveMs = 60_000;
/** A neighbour whose sequence leaps ahead of what is saved is saved this soon; sooner, a liar could wear out the flash. */
const leapSaveMs = 10_000;
/**
 * Sequences reserved at a time: they advance by one a millisecond at least, so that a minute of them can be told from the
 * next without a clock in common; these last 70 minutes.
 */
const sequenceBlock = 4_194_304;
const mostInteger = 9007199254740991;
/** RFC 6298 §2.4: a computed timeout below a second is rounded up to one. */
const retransmissionMs = 1000;
/** Each is another neighbour's, or comes after another advertisement; a packet that waits for a third gets old. */
const mostRefusals = 2;
/** While a path counts as poor, how often the watchdog is asked again; it takes at least one sample a second. */
const resampleMs = 1000;
/** IPv6 (RFC 8200 §3) and UDP (RFC 768) before each envelope: the operator counts them too. IPv4 would be 20 less. */
const datagramHeaderBytes = 48;
const hopHeaderBytes = 5;
const mayWaitFlag = 1;
/** Reports of one name within a minute; more are counted. A person wants to know that something flaps, not each time. */
const eventsPerMinute = 4;
const eventNames = ['hand-over', 'neighbour', 'watchdog', 'limit', 'refused', 'saved'] as const;
type EventName = (typeof eventNames)[number];
/** What changes for all neighbours at once when the owner's limits say so; `ok` first, for the others outrank it. */
const limitReasons = ['ok', 'battery', 'quota', 'neighbours-share'] as const;
type LimitReason = (typeof limitReasons)[number];

/** What the job keeps for a neighbour beside the engine; at the same place. */
interface Path {
  readonly member: number;
  readonly generation: number;
  readonly hopOut: SendingLane;
  readonly hopIn: ReceivingLane;
  readonly watchdog: Watchdog;
  /** Where it was heard last, authentically; `undefined`: not since we started, so everybody is addressed. */
  peer: string | undefined;
  /** Its boot id, −1 if it was not heard since we started. */
  boot: number;
  /** Its radio is up from then, as it said. */
  readyAt: number;
  /** Something must come back until then; `never`: nothing is awaited. */
  answerAt: number;
  /** The last sample, and whether the platform gives them. */
  sample: PathSample;
  isSampled: boolean;
  resampleAt: number;
  /** The account as last looked at. */
  credit: number;
  givenBytes: number;
  takenBytes: number;
  sequence: number;
  /** As saved, and when; and when to save again. */
  savedCredit: number;
  savedSequence: number;
  restoredSequence: number;
  savedAt: number;
  saveAt: number;
  isRefused: boolean;
}

/** A neighbour that another has taken the place of, in case it comes back. */
interface Forgotten {
  readonly neighbour: Neighbour;
  readonly path: Path;
}

/** An own packet that is kept. */
interface Waiting {
  readonly packet: Uint8Array;
  readonly mayWait: boolean;
  readonly waitUntil: number;
  /** Member id of the neighbour it went through; 0: it has not gone yet. */
  readonly via: number;
  readonly refusals: number;
}

/**
 * The job, from the registration under `registrationKey` of what was saved. Without a readable one it only says so: a
 * platform that can carry the host's packets otherwise asks `parseRegistration` first. Throws on wrong options.
 */
export function kibbutzJob(options: KibbutzJobOptions): JobFactory {
  return (now, context) => {
    const registration = parseRegistration(context.saved[registrationKey], options.aeads);
    return registration.ok
      ? new KibbutzJob(now, context, options, registration.value)
      : unregistered(now, context, registration.reason);
  };
}

class KibbutzJob implements Job, KibbutzPort {
  readonly name = 'kibbutz';
  readonly counters: Job['counters'];
  private readonly counts = new Counters<(typeof counterNames)[number]>(counterNames);
  private readonly context: JobContext;
  private readonly options: KibbutzJobOptions;
  private readonly registration: KeptRegistration;
  private readonly boot: number;
  private readonly kibbutz: Kibbutz;
  private readonly tunnel: MemberTunnel;
  private readonly reserve: NonceReserve;
  /** One for all hops: a neighbour that comes back has the key it had. */
  private readonly hopNonces: NonceCounter;
  private readonly ownerLimits: OwnerLimits;
  private readonly queue: UplinkQueue<Uint8Array>;
  private readonly patience = new Patience();
  private readonly paths: Path[] = [];
  /** At most limits.neighbours; the oldest makes room. */
  private readonly forgotten: Forgotten[] = [];
  private waiting: Waiting[] = [];
  private waitingBytes = 0;
  /** Of the call under way: the engine's port is not told. */
  private now: number;
  private readonly startedAt: number;
  private nonceThrough: number;
  private sequence: number;
  private sequenceThrough: number;
  private controlThrough: number;
  private controlSaveAt = never;
  /** The engine lets what waits go. */
  private isReleased = false;
  private plan: PathPlan = { paths: [], carrier: own };
  /** The path manager has not been told of the plan yet. */
  private isSteering = true;
  private isLedgerDue = true;
  private ledgerAt = never;
  private ledgerSaidAt = -saveMs;
  private limit: LimitReason = 'ok';
  private readonly limitCounts: { [reason: string]: number } = {};
  private readonly reports: { [name: string]: { fromAt: number; count: number } } = {};
  /** Counters of watchdogs that are gone. */
  private readonly pastWatchdogs: { [name: string]: number } = {};

  constructor(
    now: number,
    context: JobContext,
    options: KibbutzJobOptions,
    kept: KeptRegistration & { readonly suite: Aead },
  ) {
    const { limits, saved } = context;
    const { member, key } = kept;
    this.counters = { snapshot: () => this.snapshot() };
    this.context = context;
    this.options = options;
    this.registration = kept;
    this.now = now;
    this.startedAt = now;
    this.boot = parseInt(context.boot, 16);
    this.nonceThrough = kept.nonceThrough;
    this.sequence = kept.sequenceThrough;
    this.sequenceThrough = kept.sequenceThrough;
    this.controlThrough = kept.controlSeenThrough;
    this.reserve = new NonceReserve({
      savedThrough: kept.nonceThrough,
      save: through => this.saveRegistration(through, this.sequenceThrough),
    });
    this.hopNonces = new NonceCounter(this.reserve);
    this.tunnel = new MemberTunnel({
      member,
      aead: kept.suite,
      deviceKey: key,
      reserve: this.reserve,
      controlSeenThrough: kept.controlSeenThrough,
    });
    const snapshot = saved[ownerKey];
    this.ownerLimits = new OwnerLimits(options.owner ?? {}, snapshot && readRecord(snapshot));
    this.queue = new UplinkQueue<Uint8Array>({
      bitsPerSecond: options.uplinkBitsPerSecond,
      longestPacketBytes: limits.packetBytes + envelopesBytes,
      ownPackets: limits.uplinkPackets,
      ownBytes: limits.uplinkBytes,
      neighbours: limits.neighbours,
      packetsPerNeighbour: limits.forwardedPackets,
      bytesPerNeighbour: limits.forwardedBytes,
      forwardedShare: options.forwardedShare ?? 0,
    });
    this.kibbutz = new Kibbutz(
      now,
      {
        member,
        boot: this.boot,
        policy: options.policy,
        tailMs: options.tailMs,
        promotionMs: options.promotionMs,
        exchangeMs: options.exchangeMs,
        initialCredit: options.initialCredit ?? defaultInitialCredit,
        neighbours: limits.neighbours,
        profile: options.profile ?? 'save-energy',
        owner: this.ownerLimits,
      },
      this,
    );
    for (const name of eventNames) this.reports[name] = { fromAt: now, count: 0 };
    for (const reason of limitReasons) this.limitCounts[reason] = 0;
    if (this.ownerLimits.accounting.get('snapshots.unreadable') > 0) this.reportUnreadable(now, ownerKey);
    for (const name of Object.keys(saved).sort())
      if (name.slice(0, neighbourPrefix.length) === neighbourPrefix) this.restore(now, name, saved[name]);
  }

  hear(now: number, input: KibbutzInput): void {
    this.now = now;
    switch (input.kind) {
      case 'datagram':
        if (input.link === 'uplink') this.receiveUplink(now, input.payload);
        else if (isHop(input.payload)) this.receiveHop(now, input.peer, input.payload);
        else this.receiveSignal(now, input.peer, input.payload);
        break;
      case 'packet':
        this.receivePacket(now, input.packet, input.mayWait, input.path);
        break;
      case 'sent':
        this.kibbutz.sentOwn(now, input.lengthBytes, input.mayWait);
        break;
      case 'radio':
        this.kibbutz.upUntil = input.state === 'idle' ? now : now + (input.releaseMs ?? this.options.tailMs);
        break;
      case 'battery':
        this.ownerLimits.setBattery(input.percent, input.charging);
        break;
      case 'date':
        this.ownerLimits.setDate(input);
        break;
      case 'path-sample': {
        const place = this.kibbutz.find(input.member);
        if (place < 0) {
          this.counts.add('samples.no-path');
          break;
        }
        this.paths[place].isSampled = true;
        this.judge(now, place, input);
        break;
      }
      default:
        unreachable(input);
    }
    this.settle(now);
  }

  online(): void {
    this.isLedgerDue = true;
  }

  poll(now: number): void {
    this.now = now;
    if (now >= this.kibbutz.pollAt()) this.kibbutz.poll(now);
    if (this.isReleased) {
      this.isReleased = false;
      this.sendAgain(now, 0);
    }
    for (let place = 0; place < this.paths.length; place++) {
      const path = this.paths[place];
      if (now >= path.answerAt) this.giveUp(now, place);
      if (now >= path.resampleAt) this.judge(now, place, { ...path.sample, outstanding: false });
    }
    this.settle(now);
  }

  pollAt(): number {
    if (this.isSteering) return this.now;
    let at = Math.min(this.kibbutz.pollAt(), this.queue.readyAt(), this.controlSaveAt);
    for (const { answerAt, resampleAt, saveAt } of this.paths)
      at = Math.min(at, answerAt, resampleAt, saveAt);
    // An offer that expires changes the paths' priorities.
    for (const { offerUntil } of this.kibbutz.neighbours)
      if (offerUntil > this.now) at = Math.min(at, offerUntil);
    if (this.context.canPublish()) at = Math.min(at, this.isLedgerDue ? this.now : this.ledgerAt);
    return at;
  }

  shutdown(now: number): void {
    this.now = now;
    for (let place = 0; place < this.paths.length; place++) this.saveNeighbour(now, place, true);
    if (this.options.owner?.quotaBytes !== undefined) this.saveOwner(true);
    this.saveRegistration(this.nonceThrough, this.sequence);
  }

  // ---- What the engine asks for ----

  broadcast(signal: Uint8Array): void {
    this.context.perform({ kind: 'datagram', link: 'local', payload: signal });
  }

  send(member: number, signal: Uint8Array): void {
    if (signal[0] === signalKinds['hand-over']) this.report(this.now, 'hand-over', 'asked to share', member);
    this.sendLocal(this.paths[this.kibbutz.find(member)], signal);
  }

  promote(): void {
    this.context.perform({ kind: 'radio', state: 'connected' });
  }

  dormant(): void {
    this.context.perform({ kind: 'radio', state: 'idle' });
  }

  release(): void {
    this.isReleased = true;
  }

  nextSequence(): number | undefined {
    const next = Math.max(this.sequence, this.registration.sequenceThrough + this.now - this.startedAt) + 1;
    if (next > mostInteger - sequenceBlock) return undefined;
    if (next > this.sequenceThrough && !this.saveRegistration(this.nonceThrough, next + sequenceBlock))
      return undefined;
    this.sequence = next;
    return next;
  }

  // ---- Own packets ----

  private receivePacket(now: number, packet: Uint8Array, mayWait: boolean, path: number | undefined): void {
    this.counts.add('packets');
    if (packet.length > this.context.limits.packetBytes) {
      this.counts.add('packets.too-long');
      return;
    }
    if (path === undefined) {
      this.dispatch(now, { packet, mayWait, waitUntil: now + this.options.deferMs, via: 0, refusals: 0 });
      return;
    }
    if (path === noCarrier) {
      this.sendOwn(now, packet, mayWait);
      return;
    }
    const place = this.kibbutz.find(path);
    if (place >= 0 && this.paths[place].boot >= 0) this.sendVia(now, place, packet, mayWait);
    else this.counts.add('packets.no-path');
  }

  /** Sends a packet the way the engine chooses, or keeps it. */
  private dispatch(now: number, item: Waiting): void {
    const { packet, mayWait, refusals } = item;
    const place = refusals < mostRefusals ? this.kibbutz.route(now, mayWait ? item.waitUntil : 0) : own;
    if (place === wait) {
      if (this.keep({ ...item, via: 0 })) {
        this.counts.add('packets.waited');
        return;
      }
      this.counts.add('waiting.full');
    }
    if (place < 0) {
      this.sendOwn(now, packet, mayWait);
      return;
    }
    const via = this.paths[place].member;
    if (this.sendVia(now, place, packet, mayWait)) this.keep({ ...item, via });
  }

  private sendOwn(now: number, packet: Uint8Array, mayWait: boolean): void {
    const sealed = this.tunnel.seal(packet, noCarrier);
    if (!sealed.ok || this.queue.enqueue(now, sealed.value, ownPacket) !== 'ok') return;
    this.kibbutz.sentOwn(now, sealed.value.length + datagramHeaderBytes, mayWait);
  }

  /** False if nothing left. */
  private sendVia(now: number, place: number, packet: Uint8Array, mayWait: boolean): boolean {
    const path = this.paths[place];
    const sealed = this.tunnel.seal(packet, path.member);
    if (!sealed.ok || !this.sendHop(path, sealed.value, mayWait)) return false;
    const answerMs = this.options.exchangeMs + retransmissionMs;
    if (path.answerAt === never) path.answerAt = Math.max(now, path.readyAt) + answerMs;
    this.kibbutz.sentVia(now, place, sealed.value.length + envelopeOverhead, mayWait);
    return true;
  }

  /** Something came back through the neighbour at `place`: it carries our packets. */
  private answered(place: number): void {
    const path = this.paths[place];
    path.answerAt = never;
    this.forgetKept(path.member);
    this.kibbutz.answered(place);
  }

  /** Nothing came back through the neighbour at `place`. Whoever sent the packets sends them again. */
  private giveUp(now: number, place: number): void {
    const path = this.paths[place];
    this.counts.add('packets.unanswered');
    path.answerAt = never;
    this.forgetKept(path.member);
    this.kibbutz.lost(now, place);
    if (path.isSampled) return;
    const { sample } = path;
    this.judge(now, place, { ...sample, timeouts: sample.timeouts + 1, outstanding: true });
  }

  /** A copy of the packet, if there is room. */
  private keep(item: Waiting): boolean {
    const { packet } = item;
    const { waitingPackets, waitingBytes } = this.context.limits;
    if (this.waiting.length >= waitingPackets || this.waitingBytes + packet.length > waitingBytes)
      return false;
    this.waiting.push({ ...item, packet: copyBytes(packet, 0, packet.length) });
    this.waitingBytes += packet.length;
    return true;
  }

  /** The kept packets that went through that neighbour (0: those not gone), which are not kept any more. */
  private forgetKept(via: number): readonly Waiting[] {
    const taken: Waiting[] = [];
    if (this.waiting.length === 0) return taken;
    const left: Waiting[] = [];
    for (const item of this.waiting) {
      if (item.via !== via) left.push(item);
      else {
        taken.push(item);
        this.waitingBytes -= item.packet.length;
      }
    }
    this.waiting = left;
    return taken;
  }

  private sendAgain(now: number, via: number): void {
    for (const item of this.forgetKept(via)) {
      const isRefused = via !== 0;
      if (isRefused) this.counts.add('packets.sent-again');
      this.dispatch(now, isRefused ? { ...item, refusals: item.refusals + 1 } : item);
    }
  }

  // ---- The local link ----

  private receiveSignal(now: number, peer: string, payload: Uint8Array): void {
    const signal = parseSignal(payload);
    const place = signal.ok ? this.kibbutz.find(signal.value.sender) : -1;
    const sequence = place < 0 ? -1 : this.kibbutz.neighbours[place].sequence;
    const handOvers = this.kibbutz.counters.get('hand-overs.taken');
    this.kibbutz.receive(now, payload);
    if (!signal.ok || place < 0 || this.kibbutz.neighbours[place].sequence === sequence) return;
    const { kind, sender, boot, readyMs } = signal.value;
    const path = this.paths[place];
    path.peer = peer;
    path.boot = boot;
    if (kind === 'advertisement') path.readyAt = now + readyMs;
    if (this.kibbutz.counters.get('hand-overs.taken') > handOvers)
      this.report(now, 'hand-over', 'shares because it was asked to', sender);
    if (kind !== 'refusal') return;
    path.answerAt = never;
    this.sendAgain(now, sender);
  }

  private receiveHop(now: number, peer: string, payload: Uint8Array): void {
    this.counts.add('hops');
    const hop = parseEnvelope(payload);
    if (!hop.ok) {
      this.counts.add('hops.malformed');
      return;
    }
    const place = this.kibbutz.find(hop.value.member);
    if (place < 0) {
      this.counts.add('hops.unknown-sender');
      return;
    }
    const path = this.paths[place];
    const opened = path.hopIn.open(hop.value, this.boot);
    if (!opened.ok) {
      this.counts.add(hopCounters[opened.reason]);
      return;
    }
    path.peer = peer;
    const content = opened.value;
    const envelope = content.subarray(Math.min(hopHeaderBytes, content.length));
    const inner = parseEnvelope(envelope);
    if (!inner.ok) {
      this.counts.add('hops.malformed');
      return;
    }
    path.boot = readUint32(content, 1);
    if (inner.value.kind === 'down') this.receiveReturned(now, place, envelope);
    else if (inner.value.kind === 'own' && inner.value.member === path.member)
      this.forward(now, place, envelope, (content[0] & mayWaitFlag) !== 0);
    else this.counts.add('hops.not-its-own');
  }

  /** What the neighbour at `place` asks us to carry. */
  private forward(now: number, place: number, envelope: Uint8Array, mayWait: boolean): void {
    const { kibbutz, ownerLimits } = this;
    const neighbour = kibbutz.neighbours[place];
    const { member } = neighbour;
    if (!this.patience.mayForward(now, member)) {
      this.counts.add('refused.patience');
      return;
    }
    const lengthBytes = envelope.length + envelopeOverhead;
    if (!kibbutz.forward(now, place, lengthBytes, mayWait)) return;
    const carried = this.tunnel.carry(envelope, member);
    if (carried.ok && this.queue.enqueue(now, carried.value, member) === 'ok') {
      // Counted beyond what was asked for, since the operator counts it.
      ownerLimits.recordReturned(datagramHeaderBytes);
      return;
    }
    neighbour.givenBytes -= lengthBytes;
    ownerLimits.refund(lengthBytes);
  }

  /** A packet for us that came down the link of the neighbour at `place`. */
  private receiveReturned(now: number, place: number, envelope: Uint8Array): void {
    const arrival = this.tunnel.receive(envelope);
    if (!arrival.ok || arrival.value.kind !== 'packet') return;
    this.answered(place);
    const lengthBytes = envelope.length + envelopeOverhead;
    this.kibbutz.neighbours[place].takenBytes += lengthBytes;
    this.ownerLimits.recordOwn(now, lengthBytes, false);
    this.context.perform({ kind: 'deliver', packet: arrival.value.packet });
  }

  private sendHop(path: Path, envelope: Uint8Array, mayWait: boolean): boolean {
    const content = new Uint8Array(hopHeaderBytes + envelope.length);
    writeUint32(content, writeUint8(content, 0, mayWait ? mayWaitFlag : 0), this.boot);
    content.set(envelope, hopHeaderBytes);
    const sealed = path.hopOut.seal(content, path.boot);
    if (!sealed.ok) {
      this.counts.add('hops.unsealed');
      return false;
    }
    return this.sendLocal(path, sealed.value);
  }

  private sendLocal({ peer }: Path, payload: Uint8Array): boolean {
    return this.context.perform(
      peer === undefined
        ? { kind: 'datagram', link: 'local', payload }
        : { kind: 'datagram', link: 'local', peer, payload },
    );
  }

  // ---- The provider ----

  private receiveUplink(now: number, payload: Uint8Array): void {
    // Authentic or not, it came through the radio, whose tail begins anew.
    this.kibbutz.upUntil = Math.max(this.kibbutz.upUntil, now + this.options.tailMs);
    const result = this.tunnel.receive(payload);
    if (!result.ok) return;
    const arrival = result.value;
    const lengthBytes = payload.length + datagramHeaderBytes;
    if (arrival.kind === 'for-neighbour') {
      this.ownerLimits.recordReturned(lengthBytes);
      const place = this.kibbutz.find(arrival.member);
      if (place < 0 || this.paths[place].boot < 0) {
        this.counts.add('returned.no-path');
        return;
      }
      this.kibbutz.neighbours[place].givenBytes += payload.length;
      this.sendHop(this.paths[place], arrival.envelope, false);
      return;
    }
    this.ownerLimits.recordOwn(now, lengthBytes, true);
    switch (arrival.kind) {
      case 'packet':
        this.context.perform({ kind: 'deliver', packet: arrival.packet });
        break;
      case 'introduction':
        this.introduced(now, arrival.introduction);
        break;
      case 'drop-report':
        this.patience.hear(now, arrival.nonce, arrival.report);
        for (const path of this.paths) {
          const isRefused = !this.patience.mayForward(now, path.member);
          if (isRefused && !path.isRefused)
            this.report(now, 'refused', 'the provider throws its packets away', path.member);
          path.isRefused = isRefused;
        }
        break;
      default:
        unreachable(arrival);
    }
  }

  private introduced(now: number, { peer, aead, generation, key }: Introduction): void {
    this.counts.add('introductions');
    const suite = findAead(this.options.aeads, aead);
    if (!suite || key.length !== suite.keyBytes || peer === this.registration.member) {
      this.counts.add('introductions.unusable');
      return;
    }
    const known = this.kibbutz.find(peer);
    const old = known < 0 ? this.forgotten.filter(({ path }) => path.member === peer)[0] : undefined;
    if (known >= 0 && generation <= this.paths[known].generation) {
      this.counts.add('introductions.old');
      return;
    }
    const before = this.kibbutz.neighbours.slice();
    if (!this.kibbutz.introduce(now, { member: peer, key, aead: suite }, old?.neighbour)) return;
    const place = this.kibbutz.find(peer);
    if (known < 0) {
      if (place < before.length) this.forget(now, { neighbour: before[place], path: this.paths[place] });
      this.report(now, 'neighbour', 'met', peer);
    }
    const isSameKey = old !== undefined && old.path.generation === generation;
    if (isSameKey) this.kibbutz.neighbours[place].sequence = old.neighbour.sequence;
    this.makePath(now, place, generation, isSameKey ? old.path.hopIn : undefined).saveAt = now;
  }

  /** Another has taken its place. What it owes, and what it has said, is not forgotten at once, or forgetting would pay. */
  private forget(now: number, forgotten: Forgotten): void {
    const { member } = forgotten.path;
    this.context.save(neighbourPrefix + member, undefined);
    this.report(now, 'neighbour', 'forgotten', member);
    this.forgotten.push(forgotten);
    if (this.forgotten.length > this.context.limits.neighbours) this.forgotten.shift();
  }

  /** Makes the path of the neighbour just introduced at `place`; `hopIn`: what has heard its hops under this key already. */
  private makePath(now: number, place: number, generation: number, hopIn?: ReceivingLane): Path {
    const before: Path | undefined = this.paths[place];
    if (before) {
      this.forgetKept(before.member);
      addCounts(this.pastWatchdogs, '', before.watchdog.counters.snapshot());
    }
    const { member, key, aead, credit, givenBytes, takenBytes, sequence } = this.kibbutz.neighbours[place];
    const lane = { kind: 'hop', aead, key } as const;
    const path: Path = {
      member,
      generation,
      hopOut: new SendingLane({ ...lane, member: this.registration.member }, this.reserve, this.hopNonces),
      hopIn: hopIn ?? new ReceivingLane({ ...lane, member }, 0),
      watchdog: new Watchdog(),
      peer: undefined,
      boot: -1,
      readyAt: now,
      answerAt: never,
      sample: {
        timeouts: 0,
        ssthreshBytes: Infinity,
        roundTripMs: this.options.exchangeMs,
        deliveredBytes: 0,
        wantedBytesPerSecond: 0,
        outstanding: false,
      },
      isSampled: false,
      resampleAt: never,
      credit,
      givenBytes,
      takenBytes,
      sequence,
      savedCredit: credit,
      savedSequence: sequence,
      restoredSequence: sequence,
      savedAt: now - saveMs,
      saveAt: never,
      isRefused: false,
    };
    this.paths[place] = path;
    this.isLedgerDue = true;
    return path;
  }

  // ---- Watchdog ----

  private judge(now: number, place: number, sample: PathSample): void {
    const path = this.paths[place];
    const wasPoor = path.watchdog.poor;
    const isPoor = path.watchdog.sample(now, sample);
    const { timeouts, ssthreshBytes, roundTripMs, deliveredBytes, wantedBytesPerSecond, outstanding } =
      sample;
    path.sample = {
      timeouts,
      ssthreshBytes,
      roundTripMs,
      deliveredBytes,
      wantedBytesPerSecond,
      outstanding,
    };
    path.resampleAt = isPoor ? now + resampleMs : never;
    this.kibbutz.judge(place, isPoor);
    if (isPoor === wasPoor) return;
    this.report(now, 'watchdog', isPoor ? 'delivers too little' : 'has recovered', path.member);
  }

  // ---- After every call ----

  private settle(now: number): void {
    this.noteAccounts(now);
    this.save(now);
    // Behind what is saved, so that nothing leaves which a crash would have us forget.
    while (this.context.room() > 0) {
      const payload = this.queue.dequeue(now);
      if (!payload) break;
      this.context.perform({ kind: 'datagram', link: 'uplink', payload });
    }
    this.steer(now);
    this.noteLimits(now);
    this.publishLedger(now);
  }

  /** Looks for accounts that changed, and when they are to be saved. */
  private noteAccounts(now: number): void {
    for (let place = 0; place < this.paths.length; place++) {
      const path = this.paths[place];
      const { credit, givenBytes, takenBytes, sequence } = this.kibbutz.neighbours[place];
      const isAccountNew =
        credit !== path.credit || givenBytes !== path.givenBytes || takenBytes !== path.takenBytes;
      if (!isAccountNew && sequence === path.sequence) continue;
      if (isAccountNew) this.ledgerAt = Math.max(now, this.ledgerSaidAt + saveMs);
      path.credit = credit;
      path.givenBytes = givenBytes;
      path.takenBytes = takenBytes;
      path.sequence = sequence;
      const dueAt = path.savedAt + (sequence > path.savedSequence ? leapSaveMs : saveMs);
      path.saveAt = Math.min(path.saveAt, credit < path.savedCredit ? now : Math.max(now, dueAt));
    }
    const { controlSeenThrough } = this.tunnel;
    if (controlSeenThrough !== this.controlThrough && this.controlSaveAt === never)
      this.controlSaveAt = now + saveMs;
  }

  private save(now: number): void {
    for (let place = 0; place < this.paths.length; place++)
      if (now >= this.paths[place].saveAt && this.context.room() > 0) this.saveNeighbour(now, place, false);
    if (now >= this.controlSaveAt && this.context.room() > 0)
      this.saveRegistration(this.nonceThrough, this.sequenceThrough);
    if (this.ownerLimits.saveDue && this.context.room() > 0) this.saveOwner(false);
  }

  private saveNeighbour(now: number, place: number, isLast: boolean): void {
    const path = this.paths[place];
    const { member, aead, key, credit, taken, givenBytes, takenBytes, sequence } =
      this.kibbutz.neighbours[place];
    const isHeard = sequence > path.restoredSequence;
    const kept: KeptNeighbour = {
      member,
      aead,
      key,
      generation: path.generation,
      registration: this.registration.generation,
      sequence: isLast || !isHeard ? sequence : sequence + saveMs,
      credit: isLast ? credit : Math.floor(credit),
      taken: isLast ? taken : Math.floor(taken),
      givenBytes,
      takenBytes,
    };
    if (!this.context.save(neighbourPrefix + member, emitNeighbour(kept))) return;
    path.savedCredit = kept.credit;
    path.savedSequence = kept.sequence;
    path.savedAt = now;
    path.saveAt = never;
  }

  private saveOwner(isLast: boolean): void {
    const { ownerLimits } = this;
    this.context.save(ownerKey, encodeCbor(isLast ? ownerLimits.lastSnapshot() : ownerLimits.snapshot()));
  }

  /** Reserves numbers up to these. False: nothing was kept, so nothing may be used. */
  private saveRegistration(nonceThrough: number, sequenceThrough: number): boolean {
    const controlSeenThrough = this.tunnel.controlSeenThrough;
    const { member, aead, generation, key } = this.registration;
    const kept = { member, aead, generation, key, nonceThrough, sequenceThrough, controlSeenThrough };
    if (!this.context.save(registrationKey, emitRegistration(kept))) return false;
    this.nonceThrough = nonceThrough;
    this.sequenceThrough = sequenceThrough;
    this.controlThrough = controlSeenThrough;
    this.controlSaveAt = never;
    return true;
  }

  /** Tells the path manager what changed. */
  private steer(now: number): void {
    const plan = this.kibbutz.plan(now);
    const changes = planChanges(this.plan, plan);
    this.isSteering = changes.length > this.context.room();
    if (this.isSteering) return;
    this.plan = plan;
    for (const { member, priority } of changes)
      this.context.perform({
        kind: 'path-priority',
        path: member === own ? noCarrier : member,
        priority: priority ?? 'gone',
      });
  }

  private noteLimits(now: number): void {
    const { advertising, forwarding } = this.ownerLimits;
    for (const reason of limitReasons) {
      const count = advertising.get(reason) + forwarding.get(reason);
      if (count === this.limitCounts[reason]) continue;
      this.limitCounts[reason] = count;
      if (reason === this.limit) continue;
      this.limit = reason;
      this.report(now, 'limit', reason === 'ok' ? 'shares again' : `does not share: ${reason}`);
    }
  }

  private publishLedger(now: number): void {
    if (!(this.isLedgerDue || now >= this.ledgerAt) || !this.context.canPublish()) return;
    const neighbours: { [member: string]: LedgerAccount } = {};
    for (const neighbour of this.kibbutz.neighbours)
      neighbours[String(neighbour.member)] = {
        given: neighbour.givenBytes,
        taken: neighbour.takenBytes,
        credit: Math.floor(this.kibbutz.creditOf(neighbour)),
      };
    const { boot } = this.context;
    this.context.publish({ kind: 'ledger' }, { boot, uptime: this.context.uptime(now), neighbours }, true);
    this.isLedgerDue = false;
    this.ledgerAt = never;
    this.ledgerSaidAt = now;
  }

  private report(now: number, name: EventName, text: string, neighbour?: number): void {
    const reported = this.reports[name];
    if (now >= reported.fromAt + 60_000) {
      reported.fromAt = now;
      reported.count = 0;
    }
    reported.count++;
    if (reported.count > eventsPerMinute) this.counts.add('events.suppressed');
    else this.context.event(now, name, neighbour === undefined ? { text } : { neighbour, text });
  }

  // ---- Start ----

  private restore(now: number, key: string, bytes: Uint8Array): void {
    const kept = parseNeighbour(bytes, this.options.aeads);
    if (!kept || neighbourPrefix + kept.member !== key) {
      this.counts.add('saved.unreadable');
      this.reportUnreadable(now, key);
      return;
    }
    if (kept.registration !== this.registration.generation) {
      this.counts.add('saved.other-registration');
      this.context.save(key, undefined);
      return;
    }
    if (!this.kibbutz.introduce(now, kept, kept)) return;
    const place = this.kibbutz.find(kept.member);
    this.kibbutz.neighbours[place].sequence = kept.sequence;
    this.makePath(now, place, kept.generation);
  }

  private reportUnreadable(now: number, key: string): void {
    this.report(now, 'saved', `${key} is left aside: not as this firmware saves it`);
    this.context.log('warn', `saved ${key} is left aside: not as this firmware saves it`);
  }

  private snapshot(): Counts {
    const all: { [name: string]: number } = {};
    addCounts(all, '', this.kibbutz.counters.snapshot());
    addCounts(all, '', this.counts.snapshot());
    addCounts(all, 'tunnel.', this.tunnel.counters.snapshot());
    addCounts(all, 'queue.', this.queue.counters.snapshot());
    const { advertising, forwarding, using, accounting } = this.ownerLimits;
    addCounts(all, 'owner.advertising.', advertising.snapshot());
    addCounts(all, 'owner.forwarding.', forwarding.snapshot());
    addCounts(all, 'owner.using.', using.snapshot());
    addCounts(all, 'owner.', accounting.snapshot());
    addCounts(all, 'watchdog.', this.pastWatchdogs);
    for (const { watchdog } of this.paths) addCounts(all, 'watchdog.', watchdog.counters.snapshot());
    return all;
  }
}

/** What stands in for the job while the device is not registered. */
function unregistered(now: number, context: JobContext, reason: RegistrationReason): Job {
  const counts = new Counters(['unregistered']);
  const text = `not registered with a kibbutz provider: ${registrationKey} is ${reason}`;
  context.log('error', text);
  context.event(now, 'saved', { text });
  return {
    name: 'kibbutz',
    counters: counts,
    hear: () => counts.add('unregistered'),
    poll: () => undefined,
    pollAt: () => never,
  };
}

/** Whether a datagram of the local link is a hop: the version and kind of an envelope (envelope.ts), no signal's first byte. */
function isHop(payload: Uint8Array): boolean {
  return payload[0] === 0x16;
}

function addCounts(into: { [name: string]: number }, prefix: string, counts: Counts): void {
  for (const name of Object.keys(counts)) into[prefix + name] = (into[prefix + name] ?? 0) + counts[name];
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
