/**
 * One PPP session (RFC 1661 §3): LCP, then authentication, then IPCP and IPV6CP, for either side. Frames come and go as
 * PPP packets without the protocol number; the PPPoE session around it is the caller's.
 *
 * Once open and quiet it can be put away as a few numbers (`freeze`) and made again when something comes (`thaw`).
 * Bounds: one packet a timer; refusals as in control-protocol.ts; `setUpMs` until the first network protocol is up;
 * `rejectsPerSecond` Protocol-Rejects. Neither secrets nor what the peer wrote appear in any event but `credentials`.
 */

import { numberBytes, readUint32, writeUint32 } from '../core/bytes.js';
import type { Counters } from '../core/counters.js';
import { never } from '../core/time.js';
import type { Digest } from '../port/digest.js';
import { type IpcpOption, parseIpcp } from '../wire/ipcp.js';
import { type Ipv6cpOption, parseIpv6cp } from '../wire/ipv6cp.js';
import { emitLcp, type Lcp, type LcpOption, lcpLength, parseLcp } from '../wire/lcp.js';
import { pppProtocol } from '../wire/ppp.js';
import {
  type AuthenticationFailure,
  type AuthenticationOwner,
  Authenticator,
  Claimant,
  type Entropy,
} from './authentication.js';
import { automatonState, maxConfigure, restartMs } from './automaton.js';
import { type ControlOwner, ControlProtocol } from './control-protocol.js';
import type { AuthenticationMethod, Credentials, Ipv4Grant, Verdict } from './credentials.js';
import { echoBytes, emitEchoRequest } from './echo.js';
import { IpcpNegotiation, ipcpCodec, isHostAddress } from './ipcp-options.js';
import { Ipv6cpNegotiation, ipv6cpCodec } from './ipv6cp-options.js';
import { type LcpFailure, LcpNegotiation, lcpCodec, smallestMru } from './lcp-options.js';
import { msChapDigest } from './ms-chap-v2.js';
import { countMalformed, type PppCounter } from './ppp-counters.js';

export interface PppConfig {
  readonly role: 'server' | 'client';
  /** What we receive at most, 68…65535: 1492 on PPPoE (RFC 2516 §7), more where RFC 4638 raised it. */
  readonly mru: number;
  /** Of a server what it asks for, best first; of a client what it agrees to, 'none' being that nobody asks. */
  readonly authentication: readonly AuthenticationMethod[];
  /** Of a client: who it is. 1…255 bytes; as in PAP, no longer. */
  readonly user?: Uint8Array;
  readonly secret?: Uint8Array;
  /** Of a server: what it signs its challenges with. */
  readonly name?: Uint8Array;
  /** Default: yes. */
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  /** Of a client: whether it asks for DNS servers (default: yes) and for NBNS servers (default: no). */
  readonly askDns?: boolean;
  readonly askNbns?: boolean;
  /** Between two Echo-Requests; 0: none are sent. */
  readonly echoIntervalMs: number;
  /** So many in a row without a reply end the session. At least 1. */
  readonly echoFailures: number;
}

export interface PppCalls {
  /** Numbers a peer cannot guess: from the platform. */
  readonly random: Entropy;
  readonly digest: Digest;
  readonly counters: Counters<PppCounter>;
  /** The packet is the receiver's to read, not to change, and must not reach a peer before this returns. */
  send(protocol: number, packet: Uint8Array): void;
  /** Called when the session is at rest: it may be called back. */
  event(now: number, event: PppEvent): void;
}

export type PppDownReason =
  /** Somebody here wanted it so (the default of `close`). */
  | 'closed'
  | 'lower-down'
  | 'peer-terminated'
  /** No answer to ten Configure-Requests. */
  | 'no-answer'
  /** The peer refuses what LCP cannot do without. */
  | 'peer-rejects'
  /** Options the two sides do not agree on. */
  | 'not-converging'
  | LcpFailure
  | AuthenticationFailure
  /** The server asks for no credentials, and the client was told not to put up with that. */
  | 'authentication-not-offered'
  /** No network protocol was up in time. */
  | 'set-up-timeout'
  /** All network protocols were refused, or came to nothing. */
  | 'no-network-protocol'
  /** Of a client: IPv4 ended or came to nothing, although the peer speaks it. IPv6 alone is kept only where IPv4 was refused. */
  | 'no-ipv4'
  | 'echo-timeout';

export type PppEvent =
  /** Of a server: answer with `authorise`, now or later. Not for a log. */
  | { readonly kind: 'credentials'; readonly credentials: Credentials }
  | {
      readonly kind: 'ipv4-up';
      /** Addresses as unsigned 32-bit numbers; `peer` 0 if the server does not name its own. */
      readonly local: number;
      readonly peer: number;
      /** Of a client: what it was told, none 0. */
      readonly dns: readonly number[];
      readonly nbns: readonly number[];
    }
  | { readonly kind: 'ipv4-down' }
  | {
      readonly kind: 'ipv6-up';
      /** 8 bytes each; the peer's all zero if it names none. */
      readonly localInterfaceId: Uint8Array;
      readonly peerInterfaceId: Uint8Array;
    }
  | { readonly kind: 'ipv6-down' }
  /** The last one: the session is over. */
  | { readonly kind: 'down'; readonly reason: PppDownReason };

/** All that is left of an open session. Numbers only; those without a comment are 0…255. */
export interface FrozenPpp {
  /** 32 bits each; 0: none. */
  readonly magicNumber: number;
  readonly peerMagicNumber: number;
  /** Bytes, 68…65535. */
  readonly mru: number;
  readonly peerMru: number;
  readonly lcpIdentifier: number;
  readonly ipcpIdentifier: number;
  readonly ipv6cpIdentifier: number;
  readonly echoIdentifier: number;
  readonly echoMisses: number;
  /** Index into `methods`. */
  readonly method: number;
  /** States of the automatons (RFC 1661 §4.1). */
  readonly ipcpState: number;
  readonly ipv6cpState: number;
  /** 32 bits each. */
  readonly localIpv4: number;
  readonly peerIpv4: number;
  readonly primaryDns: number;
  readonly secondaryDns: number;
  readonly primaryNbns: number;
  readonly secondaryNbns: number;
  readonly localIdHigh: number;
  readonly localIdLow: number;
  readonly peerIdHigh: number;
  readonly peerIdLow: number;
}

/** In the order of `FrozenPpp.method`. */
const methods: readonly AuthenticationMethod[] = ['none', 'pap', 'chap-md5', 'ms-chap-v2'];

/** From LCP's first request to the first network protocol: three phases of RFC 1661 §4.6's ten times three seconds. */
export const setUpMs = 3 * maxConfigure * restartMs;
/** Protocol-Rejects sent; enough for a peer that tries all it has, too few to be of use to a flood. */
const rejectsPerSecond = 10;
/** IPv6 needs a link of 1280 bytes (RFC 8200 §5). */
const smallestIpv6Mru = 1280;
/** The header of a Protocol-Reject with the rejected number, the longer of what goes before a quotation. */
const quoteHeaderBytes = 6;
const longestUser = 255;

type Ncp = ControlProtocol<IpcpOption> | ControlProtocol<Ipv6cpOption>;

export class PppSession implements ControlOwner, AuthenticationOwner {
  readonly counters: Counters<PppCounter>;
  readonly random: Entropy;
  readonly digest: Digest;
  private readonly config: PppConfig;
  private readonly calls: PppCalls;
  private phase: 'establish' | 'authenticate' | 'network' | 'dead' = 'establish';
  private readonly lcpOptions: LcpNegotiation;
  private readonly lcp: ControlProtocol<LcpOption>;
  private ipcpOptions: IpcpNegotiation | undefined;
  private ipcp: ControlProtocol<IpcpOption> | undefined;
  private ipv6cpOptions: Ipv6cpNegotiation | undefined;
  private ipv6cp: ControlProtocol<Ipv6cpOption> | undefined;
  private authenticator: Authenticator | undefined;
  private claimant: Claimant | undefined;
  /** The link asks for no credentials, and the owner has not yet said what the peer may. */
  private awaitsVerdict = false;
  /** The peer has Protocol-Rejected IPCP. */
  private ipv4Refused = false;
  private grant: Ipv4Grant | undefined;
  /** Why the link goes down; the first reason counts. */
  private reason: PppDownReason | undefined;
  private setUpAt = never;
  private echoAt = never;
  private echoIdentifier = 0;
  private echoMisses = 0;
  private rejectWindowAt = 0;
  private rejectsLeft = rejectsPerSecond;
  private readonly events: PppEvent[] = [];

  /** `now` in milliseconds. Throws if the configuration cannot be. */
  constructor(now: number, config: PppConfig, calls: PppCalls) {
    checkConfig(config, calls.digest);
    this.config = config;
    this.calls = calls;
    this.counters = calls.counters;
    this.random = calls.random;
    this.digest = calls.digest;
    this.rejectWindowAt = now;
    this.lcpOptions = new LcpNegotiation(config, calls.random, calls.counters);
    this.lcp = new ControlProtocol(lcpCodec, this.lcpOptions, this, 0);
  }

  /** A session as `freeze` left it. */
  static thaw(now: number, config: PppConfig, calls: PppCalls, frozen: FrozenPpp): PppSession {
    const session = new PppSession(now, config, calls);
    session.restore(now, frozen);
    return session;
  }

  /** What we send at most in one packet, protocol number not counted; bytes. */
  get mtu(): number {
    return Math.min(this.lcpOptions.peerMru, this.config.mru);
  }

  /** The link below is up: LCP begins. */
  open(now: number): void {
    this.setUpAt = now + setUpMs;
    this.lcp.automaton.handle(now, 'Open');
    this.lcp.automaton.handle(now, 'Up');
    this.flush(now);
  }

  /** Says goodbye to the peer; `down` follows when it has answered, or after two tries. */
  close(now: number, reason: PppDownReason = 'closed'): void {
    this.terminate(now, reason);
    this.flush(now);
  }

  /** The link below is gone: nobody is left to say goodbye to. */
  lowerDown(now: number): void {
    if (this.phase === 'dead') return;
    this.lcp.automaton.handle(now, 'Down');
    this.end(this.reason ?? 'lower-down');
    this.flush(now);
  }

  /** A packet of the peer's in `bytes[start, end)`, which are only read. */
  receive(now: number, protocol: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.phase === 'dead') {
      this.counters.add('dropped.dead');
      return;
    }
    this.dispatch(now, protocol, bytes, start, end);
    if (this.lcpOptions.failure) this.terminate(now, this.lcpOptions.failure);
    this.flush(now);
  }

  /** The answer to `credentials`. Too late, or unasked, it is counted and ignored. */
  authorise(now: number, verdict: Verdict): void {
    if (this.phase === 'authenticate' && this.awaitsVerdict) {
      this.awaitsVerdict = false;
      if (verdict.ok) this.admit(now, verdict);
      else this.terminate(now, 'authentication-failed');
    } else if (this.phase !== 'dead' && this.lcp.opened && this.authenticator?.decide(now, verdict)) {
      if (verdict.ok && this.phase === 'authenticate') this.admit(now, verdict);
    } else {
      this.counters.add('dropped.verdict');
    }
    this.flush(now);
  }

  /** Of a server with CHAP, while open: asks for the credentials anew (RFC 1994 §2). False if it cannot now. */
  rechallenge(now: number): boolean {
    const { authenticator } = this;
    if (this.phase !== 'network' || !authenticator || authenticator.busy) return false;
    if (authenticator.protocol !== pppProtocol.chap) return false;
    authenticator.start(now);
    return true;
  }

  poll(now: number): void {
    if (now < this.pollAt()) return;
    this.lcp.poll(now);
    this.ipcp?.poll(now);
    this.ipv6cp?.poll(now);
    this.authenticator?.poll(now);
    this.claimant?.poll(now);
    if (now >= this.echoAt) this.echoDue(now);
    if (now >= this.setUpAt) this.setUpOver(now);
    this.flush(now);
  }

  /** When `poll` is due next; `never` once the session is over. */
  pollAt(): number {
    let at = Math.min(this.lcp.automaton.timeoutAt, this.echoAt, this.setUpAt);
    if (this.ipcp) at = Math.min(at, this.ipcp.automaton.timeoutAt);
    if (this.ipv6cp) at = Math.min(at, this.ipv6cp.automaton.timeoutAt);
    if (this.authenticator) at = Math.min(at, this.authenticator.timeoutAt);
    if (this.claimant) at = Math.min(at, this.claimant.timeoutAt);
    return at;
  }

  /** What is left of it once it is open and nothing is under way: then the object may be dropped. */
  freeze(): FrozenPpp | undefined {
    const { lcpOptions, ipcpOptions, ipv6cpOptions } = this;
    if (this.phase !== 'network' || !this.lcp.opened || this.events.length > 0) return undefined;
    if (this.authenticator?.busy || this.claimant?.busy) return undefined;
    if (!isQuiet(this.ipcp) || !isQuiet(this.ipv6cp)) return undefined;
    const servers = ipcpOptions ? ipcpOptions.servers : [0, 0, 0, 0];
    return {
      magicNumber: lcpOptions.magicNumber,
      peerMagicNumber: lcpOptions.peerMagicNumber,
      mru: lcpOptions.mru,
      peerMru: lcpOptions.peerMru,
      lcpIdentifier: this.lcp.lastIdentifier,
      ipcpIdentifier: this.ipcp ? this.ipcp.lastIdentifier : 0,
      ipv6cpIdentifier: this.ipv6cp ? this.ipv6cp.lastIdentifier : 0,
      echoIdentifier: this.echoIdentifier,
      echoMisses: this.echoMisses,
      method: methods.indexOf(lcpOptions.method),
      ipcpState: this.ipcp ? this.ipcp.automaton.state : automatonState.initial,
      ipv6cpState: this.ipv6cp ? this.ipv6cp.automaton.state : automatonState.initial,
      localIpv4: ipcpOptions ? ipcpOptions.local : 0,
      peerIpv4: ipcpOptions ? ipcpOptions.peer : 0,
      primaryDns: servers[0],
      secondaryDns: servers[1],
      primaryNbns: servers[2],
      secondaryNbns: servers[3],
      localIdHigh: ipv6cpOptions ? readUint32(ipv6cpOptions.local, 0) : 0,
      localIdLow: ipv6cpOptions ? readUint32(ipv6cpOptions.local, 4) : 0,
      peerIdHigh: ipv6cpOptions ? readUint32(ipv6cpOptions.peer, 0) : 0,
      peerIdLow: ipv6cpOptions ? readUint32(ipv6cpOptions.peer, 4) : 0,
    };
  }

  // What the protocols of the link call.

  send(protocol: number, packet: Uint8Array): void {
    this.calls.send(protocol, packet);
  }

  quoteLimit(): number {
    return this.lcpOptions.peerMru - quoteHeaderBytes;
  }

  layerUp(now: number, protocol: number): void {
    if (protocol === pppProtocol.lcp) this.linkUp(now);
    else if (protocol === pppProtocol.ipcp) this.ipv4Up(now);
    else this.ipv6Up();
  }

  layerDown(now: number, protocol: number): void {
    if (protocol === pppProtocol.lcp) this.linkDown(now);
    else this.events.push({ kind: protocol === pppProtocol.ipcp ? 'ipv4-down' : 'ipv6-down' });
  }

  layerFinished(now: number, protocol: number): void {
    if (protocol === pppProtocol.lcp) this.end(this.reason ?? 'no-answer');
    else this.checkNetwork(now);
    // Nobody would begin IPCP again: dialling in anew does.
    if (protocol === pppProtocol.ipcp && this.phase === 'network')
      if (this.config.role === 'client' && !this.ipv4Refused) this.terminate(now, 'no-ipv4');
  }

  notConverging(now: number, protocol: number): void {
    this.counters.add('not-converging');
    if (protocol === pppProtocol.lcp) this.terminate(now, this.lcpOptions.failure ?? 'not-converging');
    else (protocol === pppProtocol.ipcp ? this.ipcp : this.ipv6cp)?.automaton.handle(now, 'Close');
  }

  credentialsShown(credentials: Credentials): void {
    this.events.push({ kind: 'credentials', credentials });
  }

  authenticated(now: number): void {
    if (this.phase === 'authenticate') this.startNetwork(now);
  }

  authenticationFailed(now: number, failure: AuthenticationFailure): void {
    this.terminate(now, failure);
  }

  // The phases of the link.

  private linkUp(now: number): void {
    const { config, lcpOptions } = this;
    if (config.echoIntervalMs > 0) this.echoAt = now + config.echoIntervalMs;
    this.phase = 'authenticate';
    if (config.role === 'server') {
      if (lcpOptions.method === 'none') {
        this.awaitsVerdict = true;
        this.credentialsShown({ method: 'none' });
        return;
      }
      this.authenticator = new Authenticator(this, lcpOptions.method, config.name!);
      this.authenticator.start(now);
    } else if (lcpOptions.method !== 'none') {
      const account = { user: config.user!, secret: config.secret! };
      this.claimant = new Claimant(this, lcpOptions.method, account);
      this.claimant.start(now);
    } else if (config.authentication.indexOf('none') >= 0) {
      this.startNetwork(now);
    } else {
      this.terminate(now, 'authentication-not-offered');
    }
  }

  private linkDown(now: number): void {
    this.phase = 'establish';
    this.authenticator = undefined;
    this.claimant = undefined;
    this.awaitsVerdict = false;
    this.echoAt = never;
    this.echoMisses = 0;
    this.setUpAt = now + setUpMs;
    this.ipcp?.automaton.handle(now, 'Down');
    this.ipv6cp?.automaton.handle(now, 'Down');
  }

  private admit(now: number, verdict: Verdict & { ok: true }): void {
    this.grant = verdict.ipv4;
    this.startNetwork(now);
  }

  private startNetwork(now: number): void {
    const { config, grant } = this;
    this.phase = 'network';
    const client = config.role === 'client';
    if (config.ipv4 !== false && (client || grant)) {
      const servers = [
        grant?.dns?.[0] ?? 0,
        grant?.dns?.[1] ?? 0,
        grant?.nbns?.[0] ?? 0,
        grant?.nbns?.[1] ?? 0,
      ];
      const addresses = { local: grant?.local ?? 0, peer: grant?.peer ?? 0, servers };
      this.makeIpcp(addresses, this.ipcp ? this.ipcp.lastIdentifier : 0);
    } else {
      this.ipcp = undefined;
    }
    if (config.ipv6 !== false && this.mtu >= smallestIpv6Mru)
      this.makeIpv6cp(this.ipv6cpOptions?.local, this.ipv6cp ? this.ipv6cp.lastIdentifier : 0);
    else this.ipv6cp = undefined;
    const { ipcp, ipv6cp } = this;
    start(now, ipcp);
    start(now, ipv6cp);
    this.checkNetwork(now);
  }

  private makeIpcp(
    addresses: { readonly local: number; readonly peer: number; readonly servers: readonly number[] },
    identifier: number,
  ): void {
    const { role, askDns = true, askNbns = false } = this.config;
    this.ipcpOptions = new IpcpNegotiation(role, addresses, [askDns, askDns, askNbns, askNbns]);
    this.ipcp = new ControlProtocol(ipcpCodec, this.ipcpOptions, this, identifier);
  }

  private makeIpv6cp(local: Uint8Array | undefined, identifier: number): void {
    this.ipv6cpOptions = new Ipv6cpNegotiation(this.random, local);
    this.ipv6cp = new ControlProtocol(ipv6cpCodec, this.ipv6cpOptions, this, identifier);
  }

  private ipv4Up(now: number): void {
    const { local, peer, servers } = this.ipcpOptions!;
    if (!isHostAddress(local)) {
      this.counters.add('no-address');
      this.ipcp!.automaton.handle(now, 'Close');
      return;
    }
    const client = this.config.role === 'client';
    const told = (first: number) =>
      client ? [servers[first], servers[first + 1]].filter(address => address !== 0) : [];
    this.events.push({ kind: 'ipv4-up', local, peer, dns: told(0), nbns: told(2) });
  }

  private ipv6Up(): void {
    const { local, peer } = this.ipv6cpOptions!;
    this.events.push({ kind: 'ipv6-up', localInterfaceId: local, peerInterfaceId: peer });
  }

  /** A link none of whose network protocols can come up is closed. */
  private checkNetwork(now: number): void {
    if (this.phase !== 'network') return;
    if (isOver(this.ipcp) && isOver(this.ipv6cp)) this.terminate(now, 'no-network-protocol');
  }

  /** Network protocols that are still negotiating are given up; a link without any is, too. */
  private setUpOver(now: number): void {
    this.setUpAt = never;
    const { ipcp, ipv6cp } = this;
    if (this.phase === 'network' && (ipcp?.opened || ipv6cp?.opened)) {
      if (!isQuiet(ipcp)) ipcp!.automaton.handle(now, 'Close');
      if (!isQuiet(ipv6cp)) ipv6cp!.automaton.handle(now, 'Close');
    } else {
      this.terminate(now, 'set-up-timeout');
    }
  }

  private terminate(now: number, reason: PppDownReason): void {
    if (this.phase === 'dead') return;
    this.reason ??= reason;
    this.setUpAt = never;
    const { automaton } = this.lcp;
    automaton.handle(now, 'Close');
    // Never opened: there is no Terminate-Request to wait for.
    if (automaton.state === automatonState.initial) this.end(this.reason);
  }

  private end(reason: PppDownReason): void {
    if (this.phase === 'dead') return;
    this.phase = 'dead';
    this.lcp.automaton.timeoutAt = never;
    this.setUpAt = never;
    this.echoAt = never;
    this.ipcp = undefined;
    this.ipv6cp = undefined;
    this.authenticator = undefined;
    this.claimant = undefined;
    this.events.push({ kind: 'down', reason });
  }

  // Packets.

  private dispatch(now: number, protocol: number, bytes: Uint8Array, start: number, end: number): void {
    if (protocol === pppProtocol.lcp) {
      this.receiveLcp(now, bytes, start, end);
      return;
    }
    const { phase, authenticator, claimant } = this;
    if (phase === 'establish' || !this.lcp.opened) {
      this.counters.add('dropped.phase');
      return;
    }
    if (protocol === pppProtocol.pap || protocol === pppProtocol.chap) {
      if (authenticator?.protocol === protocol) authenticator.receive(bytes, start, end);
      else if (claimant?.protocol === protocol) claimant.receive(now, bytes, start, end);
      else this.counters.add('dropped.phase');
      return;
    }
    // RFC 1661 §3.5: before authentication is over, nothing else is heard, not even to be rejected.
    if (phase !== 'network') {
      this.counters.add('dropped.phase');
      return;
    }
    const { ipcp, ipv6cp } = this;
    if (protocol === pppProtocol.ipcp && ipcp)
      ipcp.receive(now, parseIpcp(bytes, start, end), bytes, start, end);
    else if (protocol === pppProtocol.ipv6cp && ipv6cp)
      ipv6cp.receive(now, parseIpv6cp(bytes, start, end), bytes, start, end);
    else if ((protocol === pppProtocol.ipv4 && ipcp) || (protocol === pppProtocol.ipv6 && ipv6cp))
      this.counters.add('dropped.data');
    else this.rejectProtocol(now, protocol, bytes, start, end);
  }

  private receiveLcp(now: number, bytes: Uint8Array, start: number, end: number): void {
    const parsed = parseLcp(bytes, start, end);
    if (!parsed.ok) {
      countMalformed(this.counters, parsed.reason);
      return;
    }
    const packet = parsed.value;
    switch (packet.kind) {
      case 'protocol-reject':
        this.protocolRejected(now, packet.rejectedProtocol);
        return;
      case 'echo-request':
      case 'echo-reply':
        this.receiveEcho(now, packet);
        return;
      case 'discard-request':
      case 'identification':
        this.counters.add(packet.kind);
        return;
      default: {
        // What makes the link go down if this packet does.
        const before = this.reason;
        if (packet.kind === 'terminate-request') this.reason ??= 'peer-terminated';
        if (packet.kind === 'code-reject') this.reason ??= 'peer-rejects';
        this.lcp.receive(now, { ok: true, value: packet }, bytes, start, end);
        const { state } = this.lcp.automaton;
        if (state >= automatonState.requestSent) this.reason = before;
      }
    }
  }

  private receiveEcho(now: number, packet: Extract<Lcp, { readonly magicNumber: number }>): void {
    const own = packet.magicNumber !== 0 && packet.magicNumber === this.lcpOptions.magicNumber;
    if (own) {
      this.counters.add('looped-echo');
      return;
    }
    if (packet.kind === 'echo-reply') {
      this.echoMisses = 0;
      return;
    }
    this.counters.add('echo-request');
    const { magicNumber } = this.lcpOptions;
    const most = Math.max(0, this.lcpOptions.peerMru - echoBytes);
    const data = packet.data.subarray(0, Math.min(packet.data.length, most));
    const reply: Lcp = { kind: 'echo-reply', identifier: packet.identifier, magicNumber, data };
    this.lcp.echo(now, lcpPacket(reply));
  }

  private protocolRejected(now: number, protocol: number): void {
    // Only an open LCP hears it (RFC 1661 §5.7).
    if (!this.lcp.opened) {
      this.counters.add('dropped.phase');
      return;
    }
    this.counters.add('protocol-rejected');
    switch (protocol) {
      case pppProtocol.lcp:
        this.reason ??= 'peer-rejects';
        this.lcp.automaton.handle(now, 'RXJ-');
        return;
      case pppProtocol.pap:
      case pppProtocol.chap:
        if (this.phase === 'authenticate') this.terminate(now, 'authentication-refused');
        return;
      case pppProtocol.ipcp:
      case pppProtocol.ipv4:
        this.ipv4Refused = true;
        this.ipcp?.automaton.handle(now, 'RXJ-');
        return;
      case pppProtocol.ipv6cp:
      case pppProtocol.ipv6:
        this.ipv6cp?.automaton.handle(now, 'RXJ-');
        return;
      default:
        this.lcp.automaton.handle(now, 'RXJ+');
    }
  }

  private rejectProtocol(now: number, protocol: number, bytes: Uint8Array, start: number, end: number): void {
    if (now >= this.rejectWindowAt + 1_000) {
      this.rejectWindowAt = now;
      this.rejectsLeft = rejectsPerSecond;
    }
    if (this.rejectsLeft === 0) {
      this.counters.add('dropped.reject-limit');
      return;
    }
    this.rejectsLeft--;
    this.counters.add('sent.protocol-reject');
    const quoted = Math.min(end - start, this.quoteLimit());
    const packet: Lcp = {
      kind: 'protocol-reject',
      identifier: this.lcp.nextIdentifier(),
      rejectedProtocol: protocol,
      rejectedInformation: bytes.subarray(start, start + quoted),
    };
    this.send(pppProtocol.lcp, lcpPacket(packet));
  }

  private echoDue(now: number): void {
    const { config } = this;
    if (this.echoMisses >= config.echoFailures) {
      this.echoAt = never;
      this.terminate(now, 'echo-timeout');
      return;
    }
    if (this.echoMisses > 0) this.counters.add('echo-missed');
    this.echoMisses++;
    this.echoAt = now + config.echoIntervalMs;
    this.echoIdentifier = (this.echoIdentifier + 1) & 255;
    const packet = new Uint8Array(echoBytes);
    const { magicNumber } = this.lcpOptions;
    emitEchoRequest({ identifier: this.echoIdentifier, magicNumber }, packet, 0);
    this.send(pppProtocol.lcp, packet);
  }

  private flush(now: number): void {
    const { events, calls } = this;
    while (events.length > 0) calls.event(now, events.shift()!);
  }

  private restore(now: number, frozen: FrozenPpp): void {
    const { config, lcpOptions } = this;
    lcpOptions.magicNumber = frozen.magicNumber;
    lcpOptions.peerMagicNumber = frozen.peerMagicNumber;
    lcpOptions.mru = frozen.mru;
    lcpOptions.peerMru = frozen.peerMru;
    lcpOptions.method = methods[frozen.method];
    this.lcp.resume(automatonState.opened, frozen.lcpIdentifier);
    this.phase = 'network';
    this.echoIdentifier = frozen.echoIdentifier;
    this.echoMisses = frozen.echoMisses;
    if (config.echoIntervalMs > 0) this.echoAt = now + config.echoIntervalMs;
    if (config.role === 'server' && lcpOptions.method !== 'none')
      this.authenticator = new Authenticator(this, lcpOptions.method, config.name!);
    if (config.role === 'client' && lcpOptions.method !== 'none')
      this.claimant = new Claimant(this, lcpOptions.method, { user: config.user!, secret: config.secret! });
    if (frozen.ipcpState !== automatonState.initial) {
      const { primaryDns, secondaryDns, primaryNbns, secondaryNbns } = frozen;
      const servers = [primaryDns, secondaryDns, primaryNbns, secondaryNbns];
      const addresses = { local: frozen.localIpv4, peer: frozen.peerIpv4, servers };
      const { localIpv4: local, peerIpv4: peer } = frozen;
      this.grant = { local, peer, dns: servers.slice(0, 2), nbns: servers.slice(2) };
      this.makeIpcp(addresses, 0);
      this.ipcp!.resume(frozen.ipcpState, frozen.ipcpIdentifier);
    }
    if (frozen.ipv6cpState !== automatonState.initial) {
      this.makeIpv6cp(identifierOf(frozen.localIdHigh, frozen.localIdLow), 0);
      this.ipv6cpOptions!.peer = identifierOf(frozen.peerIdHigh, frozen.peerIdLow);
      this.ipv6cp!.resume(frozen.ipv6cpState, frozen.ipv6cpIdentifier);
    }
  }
}

function start(now: number, ncp: Ncp | undefined): void {
  ncp?.automaton.handle(now, 'Open');
  ncp?.automaton.handle(now, 'Up');
}

/** Absent, open, or given up: no timer runs. */
function isQuiet(ncp: Ncp | undefined): boolean {
  return ncp === undefined || ncp.automaton.timeoutAt === never;
}

/** Absent or given up. */
function isOver(ncp: Ncp | undefined): boolean {
  return ncp === undefined || ncp.automaton.state <= automatonState.stopped;
}

function identifierOf(high: number, low: number): Uint8Array {
  const identifier = numberBytes(0, 8);
  writeUint32(identifier, 0, high);
  writeUint32(identifier, 4, low);
  return identifier;
}

function lcpPacket(packet: Lcp): Uint8Array {
  const bytes = new Uint8Array(lcpLength(packet));
  emitLcp(packet, bytes, 0);
  return bytes;
}

function checkConfig(config: PppConfig, digest: Digest): void {
  const { role, mru, authentication, user, secret, name, echoFailures } = config;
  if (!(mru >= smallestMru && mru <= 65535))
    throw new Error(`mru: expected ${smallestMru}..65535, got ${mru}`);
  if (authentication.length === 0) throw new Error('authentication: expected at least one method, got none');
  if (!(echoFailures >= 1)) throw new Error(`echoFailures: expected at least 1, got ${echoFailures}`);
  if (authentication.indexOf('ms-chap-v2') >= 0) msChapDigest(digest);
  if (authentication.length === 1 && authentication[0] === 'none') return;
  if (role === 'server') {
    if (name === undefined) throw new Error('name: expected one for a server that asks for credentials');
    return;
  }
  // The secret's length stays out of the text.
  if (!user || user.length === 0 || user.length > longestUser || !secret || secret.length > longestUser)
    throw new Error(`user and secret: expected up to ${longestUser} bytes each, or no method but none`);
}
