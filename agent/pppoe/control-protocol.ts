/**
 * One control protocol of a PPP link, LCP or a network control protocol: its packets (RFC 1661 §5) turned into events of
 * the automaton, and the automaton's actions into packets. What the options mean is the negotiation's, handed in.
 *
 * Negotiation converges: after `maxFailure` Configure-Naks without an Ack, what we would Nak we Reject (RFC 1661 §4.6),
 * and so are the peer's Naks taken; after twice as many refusals of either side the owner is told that it leads nowhere.
 * A packet that answers nothing we asked, or twice, is discarded and counted.
 */

import { copyBytes, readUint16, sameBytes } from '../core/bytes.js';
import type { Counters } from '../core/counters.js';
import type { Result } from '../core/result.js';
import {
  type ControlPacket,
  controlHeaderLength,
  emitControlHeader,
  type RawOption,
} from '../wire/ppp-control.js';
import type { Reason } from '../wire/reason.js';
import { Automaton, type AutomatonOwner, automatonState } from './automaton.js';
import { countMalformed, type PppCounter } from './ppp-counters.js';

/** Configure-Naks sent without a Configure-Ack before they become Rejects (RFC 1661 §4.6: 5). */
export const maxFailure = 5;

/** What to do with an option of the peer's: take it, refuse it, or ask for this one instead. */
export type Judgement<Option> = 'accept' | 'reject' | Option;

/** The options of one protocol: what we ask for, and what we think of what the peer asks for. */
export interface Negotiation<Option extends { readonly kind: string }> {
  /** The options of our next Configure-Request. */
  request(): readonly Option[];
  /** A Configure-Request of the peer's begins: what it does not name has its default. */
  begin(): void;
  judge(option: Option): Judgement<Option>;
  /** What the request just judged ought to have named, as the values to Nak it with. */
  missing(): readonly Option[];
  /** The peer asks us for another value, perhaps of an option we have not named. */
  nak(option: Option): void;
  /** The peer does not want an option of ours. */
  reject(option: Option): void;
}

/** The codec of a control protocol (agent/wire). */
export interface ControlCodec<Option> {
  readonly protocol: number;
  length(packet: ControlPacket<Option>): number;
  emit(packet: ControlPacket<Option>, out: Uint8Array, at: number): number;
  encode(option: Option): RawOption;
}

/** Whom a control protocol belongs to. */
export interface ControlOwner {
  readonly counters: Counters<PppCounter>;
  send(protocol: number, packet: Uint8Array): void;
  /** Fewer bytes than the peer receives at once: what is quoted back is cut to fit. */
  quoteLimit(): number;
  layerUp(now: number, protocol: number): void;
  layerDown(now: number, protocol: number): void;
  layerFinished(now: number, protocol: number): void;
  /** The two sides refuse each other's options without end; called outside any transition. */
  notConverging(now: number, protocol: number): void;
}

const configureRequest = 1;
const configureAck = 2;
const terminateRequest = 5;
const terminateAck = 6;
const codeReject = 7;

export class ControlProtocol<Option extends { readonly kind: string }> implements AutomatonOwner {
  readonly automaton: Automaton;
  private readonly codec: ControlCodec<Option>;
  private readonly negotiation: Negotiation<Option>;
  private readonly owner: ControlOwner;
  /** Of the last packet sent that chose its own. */
  private identifier: number;
  /** Our Configure-Request under way, as sent; `undefined` if none is, or an answer has come. */
  private requested: Uint8Array | undefined;
  /** The answer the next `sca`, `scn`, `scj` or `ser` sends. */
  private reply: Uint8Array | undefined;
  private replyIdentifier = 0;
  private naksSent = 0;
  private refusalsSent = 0;
  private refusalsReceived = 0;

  /** `identifier` 0…255: the last one used before. */
  constructor(
    codec: ControlCodec<Option>,
    negotiation: Negotiation<Option>,
    owner: ControlOwner,
    identifier: number,
  ) {
    this.codec = codec;
    this.negotiation = negotiation;
    this.owner = owner;
    this.identifier = identifier;
    this.automaton = new Automaton(this);
  }

  get opened(): boolean {
    return this.automaton.state === automatonState.opened;
  }

  /** The last identifier used, 0…255. */
  get lastIdentifier(): number {
    return this.identifier;
  }

  nextIdentifier(): number {
    this.identifier = (this.identifier + 1) & 255;
    return this.identifier;
  }

  /** A packet of the seven codes every control protocol has, or of an unknown one; `bytes[start, …)` is where it stands. */
  receive(
    now: number,
    parsed: Result<ControlPacket<Option>, Reason>,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    if (!parsed.ok) {
      countMalformed(this.owner.counters, parsed.reason);
      return;
    }
    const packet = parsed.value;
    const { automaton } = this;
    if (automaton.state <= automatonState.starting) {
      this.owner.counters.add('dropped.layer-down');
      return;
    }
    this.replyIdentifier = packet.identifier;
    switch (packet.kind) {
      case 'configure-request':
        this.receiveRequest(now, packet.identifier, packet.options, bytes, start);
        return;
      case 'configure-ack':
      case 'configure-nak':
      case 'configure-reject':
        this.receiveAnswer(now, packet.kind, packet.options, bytes, start);
        return;
      case 'terminate-request':
        automaton.handle(now, 'RTR');
        return;
      case 'terminate-ack':
        automaton.handle(now, 'RTA');
        return;
      case 'code-reject': {
        // Without one of the codes 1…7 no negotiation can go on (RFC 1661 §4.3, RXJ-).
        const code = packet.rejectedPacket.length > 0 ? packet.rejectedPacket[0] : 0;
        this.owner.counters.add('code-rejected');
        automaton.handle(now, code >= configureRequest && code <= codeReject ? 'RXJ-' : 'RXJ+');
        return;
      }
      default:
        this.owner.counters.add('unknown-code');
        this.reply = this.quote(bytes, start, end);
        automaton.handle(now, 'RUC');
    }
  }

  /** The restart timer. Who gives up on a peer that may have heard and be open tells it so, once. */
  poll(now: number): void {
    const { automaton } = this;
    const { state } = automaton;
    automaton.poll(now);
    if (state >= automatonState.requestSent && automaton.state === automatonState.stopped) this.str();
  }

  /** LCP's Echo-Request (event RXR): `reply` goes out if the link is open. */
  echo(now: number, reply: Uint8Array): void {
    this.reply = reply;
    this.automaton.handle(now, 'RXR');
  }

  tlu(now: number): void {
    this.owner.layerUp(now, this.codec.protocol);
  }

  tld(now: number): void {
    this.owner.layerDown(now, this.codec.protocol);
  }

  tls(): void {
    // Nothing is to be started: the layer below is there, or says so by itself.
  }

  tlf(now: number): void {
    this.owner.layerFinished(now, this.codec.protocol);
  }

  scr(): void {
    // A retransmission keeps its identifier, so that the answer to an earlier copy still counts (RFC 1661 §5.1).
    if (this.requested === undefined) {
      const options = this.negotiation.request();
      this.requested = this.emit({
        kind: 'configure-request',
        identifier: this.nextIdentifier(),
        options,
      });
    }
    this.owner.send(this.codec.protocol, this.requested);
  }

  sca(): void {
    this.sendReply();
  }

  scn(): void {
    this.sendReply();
  }

  scj(): void {
    this.sendReply();
  }

  ser(): void {
    this.sendReply();
  }

  sta(): void {
    this.owner.send(this.codec.protocol, emptyPacket(terminateAck, this.replyIdentifier));
  }

  str(): void {
    this.owner.send(this.codec.protocol, emptyPacket(terminateRequest, this.nextIdentifier()));
  }

  /** Goes on where an earlier one stopped, in a state without a timer. */
  resume(state: number, identifier: number): void {
    this.automaton.state = state;
    this.identifier = identifier;
  }

  private sendReply(): void {
    const { reply } = this;
    this.reply = undefined;
    if (reply) this.owner.send(this.codec.protocol, reply);
  }

  private receiveRequest(
    now: number,
    identifier: number,
    options: readonly Option[],
    bytes: Uint8Array,
    start: number,
  ): void {
    const { automaton } = this;
    const { state } = automaton;
    if (
      state === automatonState.closed ||
      state === automatonState.closing ||
      state === automatonState.stopping
    ) {
      // Nobody asks what the options are: both events do the same.
      automaton.handle(now, 'RCR-');
      return;
    }
    const refusal = this.refusalOf(identifier, options);
    if (refusal === undefined) {
      this.reply = copyBytes(bytes, start, start + readUint16(bytes, start + 2));
      this.reply[0] = configureAck;
      this.naksSent = 0;
      this.refusalsSent = 0;
      automaton.handle(now, 'RCR+');
      return;
    }
    this.owner.counters.add(refusal.kind === 'configure-nak' ? 'sent.nak' : 'sent.reject');
    if (refusal.kind === 'configure-nak') this.naksSent++;
    this.reply = this.emit(refusal);
    automaton.handle(now, 'RCR-');
    if (++this.refusalsSent > 2 * maxFailure) this.owner.notConverging(now, this.codec.protocol);
  }

  /** The Configure-Reject or, if nothing is to be rejected, the Configure-Nak of a request; `undefined` if it is good. */
  private refusalOf(
    identifier: number,
    options: readonly Option[],
  ): (ControlPacket<Option> & { kind: 'configure-nak' | 'configure-reject' }) | undefined {
    const { negotiation } = this;
    const rejected: Option[] = [];
    const naked: Option[] = [];
    negotiation.begin();
    const patient = this.naksSent < maxFailure;
    for (let i = 0; i < options.length; i++) {
      const option = options[i];
      // No option may be listed more than once (RFC 1661 §6): the first counts.
      const repeated = this.typeAmong(options, i);
      if (repeated) this.owner.counters.add('option.repeated');
      const judgement = repeated ? 'reject' : negotiation.judge(option);
      if (judgement === 'accept') continue;
      if (judgement === 'reject' || !patient) rejected.push(option);
      else naked.push(judgement);
    }
    if (rejected.length > 0) return { kind: 'configure-reject', identifier, options: rejected };
    if (patient) for (const option of negotiation.missing()) naked.push(option);
    return naked.length > 0 ? { kind: 'configure-nak', identifier, options: naked } : undefined;
  }

  /** Whether an option before the one at `at` has its type. */
  private typeAmong(options: readonly Option[], at: number): boolean {
    const { kind } = options[at];
    for (let i = 0; i < at; i++) {
      if (options[i].kind !== kind) continue;
      if (kind !== 'raw') return true;
      if (this.codec.encode(options[i]).type === this.codec.encode(options[at]).type) return true;
    }
    return false;
  }

  private receiveAnswer(
    now: number,
    kind: 'configure-ack' | 'configure-nak' | 'configure-reject',
    options: readonly Option[],
    bytes: Uint8Array,
    start: number,
  ): void {
    const { requested, automaton, owner, negotiation } = this;
    const { state } = automaton;
    if (state < automatonState.requestSent) {
      automaton.handle(now, kind === 'configure-ack' ? 'RCA' : 'RCN');
      return;
    }
    if (requested === undefined || bytes[start + 1] !== requested[1]) {
      owner.counters.add('dropped.stale-answer');
      return;
    }
    if (kind === 'configure-ack') {
      if (!isAckOf(requested, bytes, start)) {
        owner.counters.add('dropped.altered-ack');
        return;
      }
      this.requested = undefined;
      this.refusalsReceived = 0;
      automaton.handle(now, 'RCA');
      return;
    }
    if (kind === 'configure-reject' && !this.isPartOf(requested, options)) {
      owner.counters.add('dropped.altered-reject');
      return;
    }
    this.requested = undefined;
    const stubborn = ++this.refusalsReceived > maxFailure;
    owner.counters.add(kind === 'configure-nak' ? 'received.nak' : 'received.reject');
    for (const option of options) {
      if (kind === 'configure-reject' || stubborn) negotiation.reject(option);
      else negotiation.nak(option);
    }
    automaton.handle(now, 'RCN');
    if (this.refusalsReceived > 2 * maxFailure) owner.notConverging(now, this.codec.protocol);
  }

  /** Whether the options are some of those in the request, unaltered and in their order (RFC 1661 §5.4). */
  private isPartOf(request: Uint8Array, options: readonly Option[]): boolean {
    let at = controlHeaderLength;
    for (const option of options) {
      const { type, data } = this.codec.encode(option);
      for (;;) {
        if (at >= request.length) return false;
        const optionAt = at;
        at += request[at + 1];
        if (request[optionAt] === type && sameBytes(request.subarray(optionAt + 2, at), data)) break;
      }
    }
    return options.length > 0;
  }

  /** A Code-Reject (RFC 1661 §5.6) of a packet, cut to what the peer receives. */
  private quote(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const length = Math.min(readUint16(bytes, start + 2), end - start, this.owner.quoteLimit());
    return this.emit({
      kind: 'code-reject',
      identifier: this.nextIdentifier(),
      rejectedPacket: bytes.subarray(start, start + length),
    });
  }

  private emit(packet: ControlPacket<Option>): Uint8Array {
    const bytes = new Uint8Array(this.codec.length(packet));
    this.codec.emit(packet, bytes, 0);
    return bytes;
  }
}

function emptyPacket(code: number, identifier: number): Uint8Array {
  const packet = new Uint8Array(controlHeaderLength);
  emitControlHeader(code, identifier, controlHeaderLength, packet, 0);
  return packet;
}

/** Whether the packet at `start` is `request` but for its code. */
function isAckOf(request: Uint8Array, bytes: Uint8Array, start: number): boolean {
  if (readUint16(bytes, start + 2) !== request.length) return false;
  for (let i = 1; i < request.length; i++) if (bytes[start + i] !== request[i]) return false;
  return true;
}
