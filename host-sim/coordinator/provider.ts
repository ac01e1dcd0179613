/**
 * The kibbutz provider: registers members, opens what they send, and accounts for what they carry for each other
 * (mobile kibbutz, §2.1.3.2.2.3). Sans-I/O: datagrams in, packets and datagrams out, records to be kept.
 *
 * Bytes given (B_G) and taken (B_T) are the length of the forwarder's whole envelope, which is what its SIM carried
 * beside the UDP and IP headers; the sender's authentic packet fixes that length, so a forwarder cannot stretch it.
 * Upwards they count when the packet has arrived, is authentic and new: no forwarder can claim what the sender did not
 * send through it. Downwards they count when the envelope leaves for the forwarder, for then its SIM carries it whether
 * the receiver is still there or not; so the provider only answers through a forwarder the receiver itself was heard
 * through within `pathMs`.
 *
 * What is kept: `save` gets every changed record in one batch, which must be kept as a whole, and before anything
 * returned after that call leaves. A batch is due when keys or nonces are handed out, before a report or statement is,
 * and when `flush` is called. A window is stored as its highest number, in the same batch as the bytes its packets
 * brought; so after a crash each packet counts at most once, and what anybody was told stays true. What came since the
 * last batch is lost to the forwarder: call `flush` as often as that matters.
 *
 * Bounds: `ProviderLimits`.
 */

import { Counters } from '../../agent/core/counters.js';
import { fail, ok, type Result } from '../../agent/core/result.js';
import { never } from '../../agent/core/time.js';
import {
  type DropReason,
  dropReasons,
  emitDropReport,
  mostReported,
} from '../../agent/kibbutz/drop-report.js';
import {
  type EnvelopeReason,
  longestPacket,
  noCarrier,
  type OpenReason,
  parseEnvelope,
  ReceivingLane,
  SendingLane,
} from '../../agent/kibbutz/envelope.js';
import {
  commonAead,
  deviceKey,
  emitIntroduction,
  findAead,
  pairKey,
} from '../../agent/kibbutz/introduction.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import type { Aead } from '../../agent/port/aead.js';

/** What the provider does about B_G and B_T; each part is optional, none: only count. Amounts are in millionths. */
export interface Policy {
  /** Fairness (B_G = B_T): who has taken this many bytes more than given is refused until it gives. */
  readonly allowanceBytes?: number;
  /** Charge (B_G < B_T): a price for each 1,000,000 bytes taken beyond those given. */
  readonly chargePerMegabyte?: number;
  /** Pay (B_G > B_T): a reward for each 1,000,000 bytes given beyond those taken. */
  readonly payPerMegabyte?: number;
}

export interface ProviderLimits {
  /** Full: `register` refuses. */
  readonly members: number;
  /** Pairs of forwarder and sender. Full: the one used longest ago is forgotten; its bytes stay in B_G and B_T. */
  readonly pairs: number;
}

export const defaultProviderLimits: ProviderLimits = { members: 100_000, pairs: 400_000 };

/** Kept under `key` until replaced; `undefined` removes it. JSON. */
export interface ProviderRecord {
  readonly key: string;
  readonly value: ProviderState | MemberState | PairState | undefined;
}

export interface ProviderState {
  readonly reservedThrough: number;
  readonly lastMember: number;
}

export interface MemberState {
  readonly name: string;
  /** Those it has, in order of preference, and the one its envelopes use. */
  readonly aeads: readonly number[];
  readonly aead: number;
  readonly generation: number;
  readonly givenBytes: number;
  readonly takenBytes: number;
  /** Nonces the member has used, of its `own` and `carried` envelopes. */
  readonly ownThrough: number;
  readonly carriedThrough: number;
}

export interface PairState {
  readonly upBytes: number;
  readonly downBytes: number;
  readonly accepted: number;
  /** As in `dropReasons`. */
  readonly dropped: readonly number[];
}

export interface ProviderOptions {
  /** The secret all keys derive from, 16 bytes for AES-128-GCM. Never used for anything else. */
  readonly master: Uint8Array;
  /** Those the provider has, in order of preference; AES-128-GCM must be among them. */
  readonly aeads: readonly Aead[];
  readonly policy?: Policy;
  readonly limits?: Partial<ProviderLimits>;
  readonly save: (batch: readonly ProviderRecord[]) => void;
  /** What `save` kept, in any order. */
  readonly saved?: readonly ProviderRecord[];
}

export interface Registration {
  readonly member: number;
  readonly aead: number;
  readonly generation: number;
  /** The secret the member shares with the provider. Goes to it over a channel that is safe already. */
  readonly key: Uint8Array;
}

/** A member's packet, for the Internet. */
export interface Delivery {
  readonly member: number;
  /** Through whom it came; `noCarrier`: the member's own uplink. */
  readonly carrier: number;
  readonly packet: Uint8Array;
}

/** To be sent over that member's uplink. */
export interface Datagram {
  readonly member: number;
  readonly bytes: Uint8Array;
}

export interface Statement {
  readonly member: number;
  /** As it was registered. */
  readonly name: string;
  /** B_G and B_T. */
  readonly givenBytes: number;
  readonly takenBytes: number;
  /** Whether fairness refuses it now. */
  readonly refused: boolean;
  /** In millionths of the policy's currency. */
  readonly owes: number;
  readonly earns: number;
  /** So many packets were sealed under its keys that it should be registered anew. */
  readonly rekeyDue: boolean;
}

/** One line of the ledger. */
export interface PairStatement extends PairState {
  readonly carrier: number;
  readonly sender: number;
}

export type RegisterReason = 'no-common-aead' | 'table-full';
export type IntroduceReason = 'unknown-member' | 'same-member' | 'no-common-aead';
/** `no-path`: the receiver was not heard through that forwarder lately. */
export type SendReason = 'unknown-member' | 'too-long' | 'no-path' | 'over-allowance' | 'no-nonce';
/** Why a datagram gave nothing: of the outer envelope, or `inner-…` of what an authentic one held. */
export type ReceiveReason = EnvelopeReason | OpenReason | 'unknown-member' | `inner-${DropReason}`;

export type ProviderCount = ReceiveReason | `sent-${SendReason}` | 'pairs-forgotten' | 'reports';

/**
 * How long the provider answers through a forwarder after the member was heard through it: an advertisement lasts one
 * tail time, at most 10 s in the paper (§2.1.3.2.1), and the round trip it may start on takes 2.3 s of promotion.
 */
const pathMs = 12_300;
/** A report is due after this many drops of one forwarder, half of what it puts up with (drop-report.ts). */
const dropsPerReport = 4;
/** And after this long in any case, so that the last few are told as well. */
const reportAfterMs = 1000;
/**
 * Packets up to 2 kB under one AES-128-GCM key before an attacker's advantage passes 2^-57 (RFC 9001 appendix B.1.1).
 * Nonces are the measure; restarts skip some, so this comes early rather than late.
 */
const noncesPerKey = 2 ** 28;
const largestGeneration = 0xffffff;

interface Member {
  readonly id: number;
  readonly name: string;
  readonly aeads: readonly number[];
  readonly aead: Aead;
  readonly generation: number;
  givenBytes: number;
  takenBytes: number;
  readonly own: ReceivingLane;
  readonly carried: ReceivingLane;
  readonly down: SendingLane;
  readonly returned: SendingLane;
  readonly control: SendingLane;
}

interface Pair {
  readonly carrier: number;
  /** 0: nobody known. */
  readonly sender: number;
  upBytes: number;
  downBytes: number;
  accepted: number;
  readonly dropped: number[];
  /** The sender was heard through the carrier then; not kept over restarts. */
  heardAt: number;
}

/** What a forwarder has not been told yet. */
interface Pending {
  drops: number;
  dueAt: number;
  readonly pairs: Set<Pair>;
}

export class Provider {
  readonly counters = new Counters<ProviderCount>(providerCounts());
  private readonly master: Uint8Array;
  private readonly masterAead: Aead;
  private readonly aeads: readonly Aead[];
  private readonly policy: Policy;
  private readonly limits: ProviderLimits;
  private readonly save: (batch: readonly ProviderRecord[]) => void;
  private readonly members = new Map<number, Member>();
  private readonly ids = new Map<string, number>();
  /** By `pairKeyOf`; the one used last stands last. */
  private readonly pairs = new Map<string, Pair>();
  private readonly pending = new Map<number, Pending>();
  private readonly reserve: NonceReserve;
  private reservedThrough: number;
  private lastMember: number;
  /** What changed since the last batch. */
  private readonly dirtyMembers = new Set<Member>();
  private readonly dirtyPairs = new Set<Pair>();
  private readonly forgotten = new Set<string>();
  private dirtySelf = false;

  constructor(options: ProviderOptions) {
    const { master, aeads, policy = {}, limits, save, saved = [] } = options;
    const masterAead = findAead(aeads, 1);
    if (!masterAead) throw new Error('aeads: expected AES-128-GCM among them');
    this.master = master;
    this.masterAead = masterAead;
    this.aeads = aeads;
    this.policy = policy;
    this.limits = { ...defaultProviderLimits, ...limits };
    this.save = save;
    const self = saved.find(record => record.key === 'provider')?.value as ProviderState | undefined;
    this.reservedThrough = self?.reservedThrough ?? 0;
    this.lastMember = self?.lastMember ?? 0;
    this.reserve = new NonceReserve({
      savedThrough: this.reservedThrough,
      save: through => {
        this.reservedThrough = through;
        this.dirtySelf = true;
        this.flush();
        return true;
      },
    });
    for (const { key, value } of saved) {
      const [kind, first, second] = key.split('/');
      if (kind === 'member') this.restoreMember(Number(first), value as MemberState);
      if (kind === 'pair') {
        const pair = { carrier: Number(first), sender: Number(second), heardAt: -Infinity };
        const state = value as PairState;
        this.pairs.set(pairKeyOf(pair.carrier, pair.sender), {
          ...pair,
          ...state,
          dropped: [...state.dropped],
        });
      }
    }
  }

  /**
   * Takes in a member, known by `name` (the paper's phone or SIM number), that has the AEADs numbered `aeads`, best
   * first. A name registered before keeps its id and its account, and gets new keys: what it had stops working.
   */
  register(name: string, aeads: readonly number[]): Result<Registration, RegisterReason> {
    const known = this.members.get(this.ids.get(name) ?? 0);
    const own = this.aeads.map(aead => aead.id);
    const aead = commonAead(aeads, own);
    if (aead === undefined) return fail('no-common-aead');
    if (!known && this.members.size >= this.limits.members) return fail('table-full');
    const generation = (known?.generation ?? 0) + 1;
    if (generation > largestGeneration) throw new Error(`generation: ${name} was registered too often`);
    const id = known?.id ?? ++this.lastMember;
    const member = this.restoreMember(id, {
      name,
      // A list from outside: what the provider lacks, and repetitions, are no use to anybody.
      aeads: own.filter(id => aeads.includes(id)).sort((a, b) => aeads.indexOf(a) - aeads.indexOf(b)),
      aead,
      generation,
      givenBytes: known?.givenBytes ?? 0,
      takenBytes: known?.takenBytes ?? 0,
      ownThrough: 0,
      carriedThrough: 0,
    });
    if (known) this.dirtyMembers.delete(known);
    this.dirtyMembers.add(member);
    this.dirtySelf = true;
    this.flush();
    return ok({ member: id, aead, generation, key: this.deviceKey(member) });
  }

  /** Two control envelopes that tell the members of each other. */
  introduce(one: number, other: number): Result<readonly [Datagram, Datagram], IntroduceReason | 'no-nonce'> {
    const a = this.members.get(one);
    const b = this.members.get(other);
    if (!a || !b) return fail('unknown-member');
    if (a === b) return fail('same-member');
    const aead = findAead(this.aeads, commonAead(a.aeads, b.aeads) ?? 0);
    if (!aead) return fail('no-common-aead');
    // Rises with either, so no two of a pair's generations are alike.
    const generation = a.generation + b.generation;
    const key = pairKey(this.masterAead, this.master, {
      members: [one, other],
      generation,
      keyBytes: aead.keyBytes,
    });
    const toA = a.control.seal(emitIntroduction({ peer: other, aead: aead.id, generation, key }), noCarrier);
    const toB = b.control.seal(emitIntroduction({ peer: one, aead: aead.id, generation, key }), noCarrier);
    if (!toA.ok || !toB.ok) return fail('no-nonce');
    return ok([
      { member: one, bytes: toA.value },
      { member: other, bytes: toB.value },
    ]);
  }

  /** Opens a datagram from the Internet. Poll afterwards: a report may have become due. */
  receive(now: number, datagram: Uint8Array): Result<Delivery, ReceiveReason> {
    const parsed = parseEnvelope(datagram);
    if (!parsed.ok) return this.refuse(parsed.reason);
    const envelope = parsed.value;
    const member = this.members.get(envelope.member);
    if (!member) return this.refuse('unknown-member');
    const lane = envelope.kind === 'own' ? member.own : member.carried;
    const opened = lane.open(envelope, noCarrier);
    if (!opened.ok) return this.refuse(opened.reason);
    this.dirtyMembers.add(member);
    if (lane === member.own) return ok({ member: member.id, carrier: noCarrier, packet: opened.value });
    return this.receiveCarried(now, member, opened.value, datagram.length);
  }

  /**
   * Seals `packet` for a member, over its own uplink (`noCarrier`) or through `carrier`; the datagram goes over the
   * uplink it names.
   */
  send(
    now: number,
    { to, carrier, packet }: { to: number; carrier: number; packet: Uint8Array },
  ): Result<Datagram, SendReason> {
    const member = this.members.get(to);
    const forwarder = carrier === noCarrier ? undefined : this.members.get(carrier);
    if (!member || (carrier !== noCarrier && !forwarder)) return this.refuseToSend('unknown-member');
    if (packet.length > longestPacket) return this.refuseToSend('too-long');
    const pair = forwarder && this.pairs.get(pairKeyOf(carrier, to));
    if (forwarder) {
      if (!pair || now > pair.heardAt + pathMs) return this.refuseToSend('no-path');
      if (this.isRefused(member)) return this.refuseToSend('over-allowance');
    }
    const down = member.down.seal(packet, noCarrier);
    if (!down.ok) return this.refuseToSend(down.reason);
    if (!forwarder || !pair) return ok({ member: to, bytes: down.value });
    const returned = forwarder.returned.seal(down.value, noCarrier);
    if (!returned.ok) return this.refuseToSend(returned.reason);
    pair.downBytes += returned.value.length;
    this.account(pair, forwarder, member, returned.value.length);
    return ok({ member: carrier, bytes: returned.value });
  }

  /** The drop reports that are due; what they say has been saved. */
  poll(now: number): Datagram[] {
    const datagrams: Datagram[] = [];
    for (const [carrier, pending] of this.pending) {
      if (now < pending.dueAt) continue;
      if (datagrams.length === 0) this.flush();
      this.pending.delete(carrier);
      const control = this.members.get(carrier)!.control;
      const pairs = [...pending.pairs];
      for (let i = 0; i < pairs.length; i += mostReported) {
        const report = control.seal(emitDropReport(pairs.slice(i, i + mostReported)), noCarrier);
        if (!report.ok) continue;
        this.counters.add('reports');
        datagrams.push({ member: carrier, bytes: report.value });
      }
    }
    return datagrams;
  }

  pollAt(): number {
    let at = never;
    for (const pending of this.pending.values()) at = Math.min(at, pending.dueAt);
    return at;
  }

  /** What a member has given, taken, owes and earns; `undefined` if there is none. What it says has been saved. */
  statement(id: number): Statement | undefined {
    const member = this.members.get(id);
    if (!member) return undefined;
    this.flush();
    const { givenBytes, takenBytes } = member;
    const { chargePerMegabyte = 0, payPerMegabyte = 0 } = this.policy;
    const balanceBytes = givenBytes - takenBytes;
    const used = Math.max(member.own.window.seenThrough, member.carried.window.seenThrough);
    return {
      member: id,
      name: member.name,
      givenBytes,
      takenBytes,
      refused: this.isRefused(member),
      owes: Math.floor((Math.max(0, -balanceBytes) * chargePerMegabyte) / 1_000_000),
      earns: Math.floor((Math.max(0, balanceBytes) * payPerMegabyte) / 1_000_000),
      rekeyDue: used > noncesPerKey,
    };
  }

  /** Everybody's, in the order of registration. */
  *statements(): Generator<Statement> {
    for (const id of this.members.keys()) yield this.statement(id)!;
  }

  /** Every pair of forwarder and sender, the one used longest ago first. What it says has been saved. */
  *ledger(): Generator<PairStatement> {
    this.flush();
    for (const { carrier, sender, upBytes, downBytes, accepted, dropped } of this.pairs.values())
      yield { carrier, sender, upBytes, downBytes, accepted, dropped: [...dropped] };
  }

  /** Hands everything that changed to `save`, in one batch. */
  flush(): void {
    const batch: ProviderRecord[] = [];
    if (this.dirtySelf) {
      const { reservedThrough, lastMember } = this;
      batch.push({ key: 'provider', value: { reservedThrough, lastMember } });
    }
    for (const member of this.dirtyMembers)
      batch.push({ key: `member/${member.id}`, value: memberState(member) });
    for (const key of this.forgotten) batch.push({ key: `pair/${key}`, value: undefined });
    for (const { carrier, sender, upBytes, downBytes, accepted, dropped } of this.dirtyPairs) {
      const value = { upBytes, downBytes, accepted, dropped: [...dropped] };
      batch.push({ key: `pair/${pairKeyOf(carrier, sender)}`, value });
    }
    if (batch.length > 0) this.save(batch);
    this.dirtySelf = false;
    this.dirtyMembers.clear();
    this.forgotten.clear();
    this.dirtyPairs.clear();
  }

  private receiveCarried(
    now: number,
    forwarder: Member,
    inner: Uint8Array,
    outerBytes: number,
  ): Result<Delivery, ReceiveReason> {
    const parsed = parseEnvelope(inner);
    if (!parsed.ok || parsed.value.kind !== 'own') return this.dropFor(now, forwarder, 0, 'malformed');
    const sender = this.members.get(parsed.value.member);
    if (!sender) return this.dropFor(now, forwarder, 0, 'unknown-sender');
    // Carrying one's own is neither given nor taken.
    const carrier = sender === forwarder ? noCarrier : forwarder.id;
    const opened = sender.own.open(parsed.value, carrier);
    if (!opened.ok) {
      const reason = opened.reason === 'replayed' || opened.reason === 'too-old' ? opened.reason : 'bad-tag';
      return this.dropFor(now, forwarder, sender.id, reason);
    }
    const delivery = { member: sender.id, carrier, packet: opened.value };
    if (carrier === noCarrier) return ok(delivery);
    // Not credited either: a member registered for the purpose could run up a debt that nobody pays.
    if (this.isRefused(sender)) return this.dropFor(now, forwarder, sender.id, 'over-allowance');
    const pair = this.pairOf(forwarder.id, sender.id);
    pair.heardAt = now;
    pair.accepted++;
    pair.upBytes += outerBytes;
    this.account(pair, forwarder, sender, outerBytes);
    return ok(delivery);
  }

  private account(pair: Pair, forwarder: Member, sender: Member, bytes: number): void {
    forwarder.givenBytes += bytes;
    sender.takenBytes += bytes;
    this.dirtyPairs.add(pair);
    this.dirtyMembers.add(forwarder);
    this.dirtyMembers.add(sender);
  }

  private isRefused(member: Member): boolean {
    const { allowanceBytes = Infinity } = this.policy;
    return member.takenBytes - member.givenBytes > allowanceBytes;
  }

  /** Drops what an authentic envelope of `forwarder` held, and notes it for its next report. */
  private dropFor(
    now: number,
    forwarder: Member,
    sender: number,
    reason: DropReason,
  ): Result<never, ReceiveReason> {
    const pair = this.pairOf(forwarder.id, sender);
    pair.dropped[dropReasons.indexOf(reason)]++;
    this.dirtyPairs.add(pair);
    let pending = this.pending.get(forwarder.id);
    if (!pending) {
      pending = { drops: 0, dueAt: now + reportAfterMs, pairs: new Set() };
      this.pending.set(forwarder.id, pending);
    }
    pending.pairs.add(pair);
    pending.drops++;
    if (pending.drops >= dropsPerReport) pending.dueAt = Math.min(pending.dueAt, now);
    return this.refuse(`inner-${reason}`);
  }

  /** The pair's account, made if need be, and moved to the end of the order in which they are forgotten. */
  private pairOf(carrier: number, sender: number): Pair {
    const key = pairKeyOf(carrier, sender);
    let pair = this.pairs.get(key);
    if (pair) {
      this.pairs.delete(key);
    } else {
      if (this.pairs.size >= this.limits.pairs) this.forgetOldest();
      const dropped = dropReasons.map(() => 0);
      pair = { carrier, sender, upBytes: 0, downBytes: 0, accepted: 0, dropped, heardAt: -Infinity };
      this.forgotten.delete(key);
    }
    this.pairs.set(key, pair);
    return pair;
  }

  private forgetOldest(): void {
    const [key, pair] = this.pairs.entries().next().value!;
    this.counters.add('pairs-forgotten');
    this.pairs.delete(key);
    this.dirtyPairs.delete(pair);
    this.pending.get(pair.carrier)?.pairs.delete(pair);
    this.forgotten.add(key);
  }

  /** Puts a member into the tables, in the place of what it was before. */
  private restoreMember(id: number, state: MemberState): Member {
    const { name, aeads, generation, givenBytes, takenBytes } = state;
    const aead = findAead(this.aeads, state.aead);
    if (!aead) throw new Error(`aeads: expected ${state.aead}, which ${name} was registered with`);
    const key = this.deviceKey({ id, generation, aead });
    const lane = { member: id, aead, key };
    const member: Member = {
      id,
      name,
      aeads,
      aead,
      generation,
      givenBytes,
      takenBytes,
      own: new ReceivingLane({ ...lane, kind: 'own' }, state.ownThrough),
      carried: new ReceivingLane({ ...lane, kind: 'carried' }, state.carriedThrough),
      down: new SendingLane({ ...lane, kind: 'down' }, this.reserve),
      returned: new SendingLane({ ...lane, kind: 'return' }, this.reserve),
      control: new SendingLane({ ...lane, kind: 'control' }, this.reserve),
    };
    this.members.set(id, member);
    this.ids.set(name, id);
    return member;
  }

  private deviceKey({ id, generation, aead }: Pick<Member, 'id' | 'generation' | 'aead'>): Uint8Array {
    const { keyBytes } = aead;
    return deviceKey(this.masterAead, this.master, { member: id, generation, keyBytes });
  }

  private refuse(reason: ReceiveReason): Result<never, ReceiveReason> {
    this.counters.add(reason);
    return fail(reason);
  }

  private refuseToSend(reason: SendReason): Result<never, SendReason> {
    this.counters.add(`sent-${reason}`);
    return fail(reason);
  }
}

function memberState(member: Member): MemberState {
  const { name, aeads, generation, givenBytes, takenBytes, own, carried } = member;
  const [ownThrough, carriedThrough] = [own.window.seenThrough, carried.window.seenThrough];
  const aead = member.aead.id;
  return { name, aeads, aead, generation, givenBytes, takenBytes, ownThrough, carriedThrough };
}

function pairKeyOf(carrier: number, sender: number): string {
  return `${carrier}/${sender}`;
}

function providerCounts(): ProviderCount[] {
  return [
    'truncated',
    'too-long',
    'bad-version',
    'bad-kind',
    'bad-member',
    'bad-nonce',
    'unknown-member',
    'not-for-us',
    'bad-aead',
    'too-old',
    'replayed',
    'bad-tag',
    ...dropReasons.map(reason => `inner-${reason}` as const),
    'sent-unknown-member',
    'sent-too-long',
    'sent-no-path',
    'sent-over-allowance',
    'sent-no-nonce',
    'pairs-forgotten',
    'reports',
  ];
}
