/**
 * What LCP's options are here (RFC 1661 §6): MRU, magic number and authentication are negotiated, all others are
 * Configure-Rejected. RFC 2516 §7 forbids ACFC, the character map and FCS alternatives on PPPoE, and PFC gains a byte where
 * it costs the alignment; callback, multilink and link quality are not done here.
 */

import type { Counters } from '../core/counters.js';
import { chapAlgorithm } from '../wire/chap.js';
import { emitLcp, encodeLcpOption, type LcpOption, lcpLength } from '../wire/lcp.js';
import { pppProtocol } from '../wire/ppp.js';
import type { Entropy } from './authentication.js';
import { type ControlCodec, type Judgement, maxFailure, type Negotiation } from './control-protocol.js';
import type { AuthenticationMethod } from './credentials.js';
import type { PppCounter } from './ppp-counters.js';

export const lcpCodec: ControlCodec<LcpOption> = {
  protocol: pppProtocol.lcp,
  length: lcpLength,
  emit: emitLcp,
  encode: encodeLcpOption,
};

/** The MRU of a peer that names none (RFC 1661 §6.1). */
export const defaultMru = 1500;
/** What every host must accept of IPv4 (RFC 791 §3.2, 68 bytes without fragmenting): less is no link for it. */
export const smallestMru = 68;

export interface LcpWishes {
  /** Who asks the peer for credentials: a server does. */
  readonly role: 'server' | 'client';
  /** `smallestMru`…65535: what we receive at most. */
  readonly mru: number;
  readonly authentication: readonly AuthenticationMethod[];
}

/** Why a link cannot be, found while options are negotiated. */
export type LcpFailure = 'authentication-refused' | 'looped-back';

/** Authentication-Protocol; Quality-Protocol has the same fields. */
type ProtocolOption = Extract<LcpOption, { readonly protocol: number }>;

const noBytes: readonly number[] = [];

export class LcpNegotiation implements Negotiation<LcpOption> {
  /** Ours; 0 if the peer does not want to hear it. */
  magicNumber: number;
  /** 0 if the peer has named none. */
  peerMagicNumber = 0;
  peerMru = defaultMru;
  /** What we told the peer, or the default if that stands for it. */
  mru: number;
  /** What the server asks for; of a client, what it was asked for. */
  method: AuthenticationMethod;
  failure: LcpFailure | undefined;
  private readonly wishes: LcpWishes;
  private readonly random: Entropy;
  private readonly counters: Counters<PppCounter>;
  private namesMru: boolean;
  /** The magic number we asked the peer to take last. */
  private suggestedMagic = 0;
  private ownMagicSeen = 0;

  constructor(wishes: LcpWishes, random: Entropy, counters: Counters<PppCounter>) {
    this.wishes = wishes;
    this.random = random;
    this.counters = counters;
    this.magicNumber = this.newMagic();
    this.mru = wishes.mru;
    this.namesMru = wishes.mru !== defaultMru;
    this.method = wishes.role === 'server' ? wishes.authentication[0] : 'none';
  }

  request(): readonly LcpOption[] {
    const options: LcpOption[] = [];
    if (this.namesMru) options.push({ kind: 'maximum-receive-unit', value: this.mru });
    if (this.wishes.role === 'server' && this.method !== 'none')
      options.push(authenticationOption(this.method));
    if (this.magicNumber !== 0) options.push({ kind: 'magic-number', value: this.magicNumber });
    return options;
  }

  begin(): void {
    this.peerMru = defaultMru;
    this.peerMagicNumber = 0;
    if (this.wishes.role === 'client') this.method = 'none';
  }

  judge(option: LcpOption): Judgement<LcpOption> {
    switch (option.kind) {
      case 'maximum-receive-unit':
        return this.judgeMru(option.value);
      case 'magic-number':
        return this.judgeMagic(option.value);
      case 'authentication-protocol':
        return this.judgeAuthentication(option);
      default:
        return 'reject';
    }
  }

  missing(): readonly LcpOption[] {
    return [];
  }

  nak(option: LcpOption): void {
    switch (option.kind) {
      case 'maximum-receive-unit':
        // More than we asked for we may not take: nobody agreed on frames that large (RFC 2516 §7, RFC 4638 §2).
        this.namesMru = true;
        this.mru = Math.min(Math.max(option.value, smallestMru), this.wishes.mru);
        return;
      case 'magic-number':
        // Our own Nak come back: the line is looped (RFC 1661 §6.4).
        if (option.value === this.suggestedMagic && option.value !== 0) this.sawOwnMagic();
        this.magicNumber = this.newMagic();
        return;
      case 'authentication-protocol':
        if (this.wishes.role === 'server') this.tryOther(methodOf(option));
        return;
      default:
    }
  }

  reject(option: LcpOption): void {
    switch (option.kind) {
      case 'maximum-receive-unit':
        this.namesMru = false;
        return;
      case 'magic-number':
        this.magicNumber = 0;
        return;
      case 'authentication-protocol':
        this.tryOther('none');
        return;
      default:
    }
  }

  private judgeMru(value: number): Judgement<LcpOption> {
    const most = Math.max(this.wishes.mru, smallestMru);
    if (value < smallestMru) return { kind: 'maximum-receive-unit', value: smallestMru };
    if (value > most) return { kind: 'maximum-receive-unit', value: most };
    this.peerMru = value;
    return 'accept';
  }

  private judgeMagic(value: number): Judgement<LcpOption> {
    if (value !== 0 && value !== this.magicNumber) {
      this.peerMagicNumber = value;
      return 'accept';
    }
    if (value !== 0) this.sawOwnMagic();
    this.suggestedMagic = this.newMagic();
    return { kind: 'magic-number', value: this.suggestedMagic };
  }

  private judgeAuthentication(option: ProtocolOption): Judgement<LcpOption> {
    const { role, authentication } = this.wishes;
    if (role === 'server') return 'reject';
    const method = methodOf(option);
    if (method !== undefined && authentication.indexOf(method) >= 0) {
      this.method = method;
      return 'accept';
    }
    for (const other of authentication) if (other !== 'none') return authenticationOption(other);
    return 'reject';
  }

  /** Takes the method the peer suggests if we have it, else the next of ours, else none if that is allowed. */
  private tryOther(suggested: AuthenticationMethod | undefined): void {
    const { authentication } = this.wishes;
    const next = authentication[authentication.indexOf(this.method) + 1];
    if (suggested !== undefined && authentication.indexOf(suggested) >= 0) this.method = suggested;
    else if (next !== undefined && suggested !== 'none') this.method = next;
    // Our own options refused by ourselves: what they are about does not matter then.
    else this.failure = this.ownMagicSeen > 0 ? 'looped-back' : 'authentication-refused';
  }

  private sawOwnMagic(): void {
    this.counters.add('option.own-magic');
    // By chance it happens once in 2^32 links.
    if (++this.ownMagicSeen >= maxFailure) this.failure = 'looped-back';
  }

  private newMagic(): number {
    // Never 0 (RFC 1661 §6.4).
    return this.random.uint32() || 1;
  }
}

function authenticationOption(method: AuthenticationMethod): LcpOption {
  const algorithm =
    method === 'chap-md5'
      ? [chapAlgorithm.md5]
      : method === 'ms-chap-v2'
        ? [chapAlgorithm.msChapV2]
        : noBytes;
  return {
    kind: 'authentication-protocol',
    protocol: method === 'pap' ? pppProtocol.pap : pppProtocol.chap,
    data: new Uint8Array(algorithm),
  };
}

function methodOf(option: ProtocolOption): AuthenticationMethod | undefined {
  if (option.protocol === pppProtocol.pap) return 'pap';
  if (option.protocol !== pppProtocol.chap) return undefined;
  if (option.data[0] === chapAlgorithm.md5) return 'chap-md5';
  return option.data[0] === chapAlgorithm.msChapV2 ? 'ms-chap-v2' : undefined;
}
