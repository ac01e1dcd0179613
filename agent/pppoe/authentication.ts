/**
 * Authentication on a PPP link: PAP (RFC 1334), CHAP with MD5 (RFC 1994) and MS-CHAPv2 (RFC 2759), the side that asks
 * (`Authenticator`) and the side that answers (`Claimant`).
 *
 * What may get lost is sent again: Challenges and PAP requests as their RFCs have it, Responses as well, since a lost
 * Success would otherwise leave the peer waiting while the authenticator goes on; a repeated question gets the same reply.
 * Bounds: one set of credentials under judgement; `maxTransmissions` of each packet.
 */

import { copyBytes, encodeUtf8, formatHex, sameBytes, writeUint32 } from '../core/bytes.js';
import type { Counters } from '../core/counters.js';
import { never } from '../core/time.js';
import type { Digest } from '../port/digest.js';
import { type Chap, chapLength, emitChap, parseChap } from '../wire/chap.js';
import { emitPap, type Pap, papLength, parsePap } from '../wire/pap.js';
import { pppProtocol } from '../wire/ppp.js';
import {
  type AuthenticationMethod,
  type Credentials,
  chapMd5Response,
  messageBytes,
  sameSecret,
  type Verdict,
} from './credentials.js';
import {
  authenticatorResponse,
  authenticatorResponseLength,
  type MsChapV2Input,
  msChapDigest,
  msChapV2ChallengeBytes,
  msChapV2Value,
  msChapV2ValueBytes,
  splitMsChapV2Value,
} from './ms-chap-v2.js';
import { countMalformed, type PppCounter } from './ppp-counters.js';

/** Neither RFC gives a number; as RFC 1661 §4.6 has it for Configure-Requests. */
const retransmitMs = 3_000;
const maxTransmissions = 10;
/** RFC 1994 §2.3 wants a challenge that never comes twice; 16 bytes, an MD5's length, as RFC 2759 §3 has it too. */
const challengeBytes = msChapV2ChallengeBytes;

/** Random numbers that a peer cannot guess (RFC 1994 §2.3): from the platform, but in tests. */
export interface Entropy {
  /** An integer in 0…2^32 − 1. */
  uint32(): number;
}

export type AuthenticationFailure =
  /** The credentials were refused. */
  | 'authentication-failed'
  /** The authenticator could not prove that it knows the password (MS-CHAPv2). */
  | 'peer-not-authentic'
  | 'authentication-timeout';

export interface AuthenticationOwner {
  readonly counters: Counters<PppCounter>;
  readonly random: Entropy;
  readonly digest: Digest;
  send(protocol: number, packet: Uint8Array): void;
  /** Of an authenticator: credentials to judge. */
  credentialsShown(credentials: Credentials): void;
  /** Of a claimant: it is let in. */
  authenticated(now: number): void;
  authenticationFailed(now: number, failure: AuthenticationFailure): void;
}

/** The side that wants to know who the peer is. */
export class Authenticator {
  timeoutAt = never;
  private readonly owner: AuthenticationOwner;
  private readonly method: AuthenticationMethod;
  private readonly name: Uint8Array;
  private state: 'waiting' | 'judging' | 'decided' = 'decided';
  private identifier: number;
  private challenge: Uint8Array | undefined;
  /** The Challenge as sent. */
  private question: Uint8Array | undefined;
  /** Success or Failure, Ack or Nak, as sent. */
  private reply: Uint8Array | undefined;
  private transmissions = 0;

  /** `method` is not 'none'; `name` is what the Challenges are signed with. */
  constructor(owner: AuthenticationOwner, method: AuthenticationMethod, name: Uint8Array) {
    this.owner = owner;
    this.method = method;
    this.name = name;
    this.identifier = owner.random.uint32() & 255;
  }

  get protocol(): number {
    return protocolOf(this.method);
  }

  /** Credentials are expected or being judged. */
  get busy(): boolean {
    return this.state !== 'decided';
  }

  /** Asks for credentials, or waits for them; while the link is open, CHAP asks anew (RFC 1994 §2). */
  start(now: number): void {
    this.state = 'waiting';
    this.reply = undefined;
    this.transmissions = 0;
    if (this.method === 'pap') {
      this.timeoutAt = now + maxTransmissions * retransmitMs;
      return;
    }
    this.renewChallenge();
    this.question = chapPacket({
      kind: 'challenge',
      identifier: this.identifier,
      value: this.challenge!,
      name: this.name,
    });
    this.ask(now);
  }

  receive(bytes: Uint8Array, start: number, end: number): void {
    if (this.method === 'pap') this.receivePap(bytes, start, end);
    else this.receiveChap(bytes, start, end);
  }

  /** The answer to `credentialsShown`. False if none is expected. */
  decide(now: number, verdict: Verdict): boolean {
    if (this.state !== 'judging') return false;
    this.state = 'decided';
    this.owner.counters.add(verdict.ok ? 'authentication.passed' : 'authentication.failed');
    const retry = this.method === 'ms-chap-v2' && !verdict.ok && verdict.retry === true;
    const { identifier } = this;
    // The new challenge of a Failure with R=1 is answered under the next identifier (RFC 2759 §6).
    if (this.method === 'ms-chap-v2' && !verdict.ok) this.renewChallenge();
    const message = this.replyMessage(verdict);
    if (this.method === 'pap') {
      const kind = verdict.ok ? 'authenticate-ack' : 'authenticate-nak';
      this.reply = papPacket({ kind, identifier, message });
    } else {
      this.reply = chapPacket({ kind: verdict.ok ? 'success' : 'failure', identifier, message });
    }
    this.owner.send(this.protocol, this.reply);
    if (retry) {
      this.state = 'waiting';
      this.question = undefined;
      this.transmissions = 0;
      this.timeoutAt = now + maxTransmissions * retransmitMs;
    } else if (!verdict.ok) {
      this.owner.authenticationFailed(now, 'authentication-failed');
    }
    return true;
  }

  poll(now: number): void {
    if (now < this.timeoutAt) return;
    if (this.question && this.transmissions < maxTransmissions) {
      this.ask(now);
      return;
    }
    this.timeoutAt = never;
    this.owner.authenticationFailed(now, 'authentication-timeout');
  }

  private ask(now: number): void {
    this.transmissions++;
    this.timeoutAt = now + retransmitMs;
    this.owner.send(this.protocol, this.question!);
  }

  private renewChallenge(): void {
    this.identifier = (this.identifier + 1) & 255;
    this.challenge = randomBytes(this.owner.random, challengeBytes);
  }

  private replyMessage(verdict: Verdict): Uint8Array {
    const text = verdict.message ?? '';
    if (this.method !== 'ms-chap-v2') return messageBytes(text);
    if (verdict.ok) {
      const proof = verdict.authenticatorResponse;
      if (proof === undefined || proof.length !== authenticatorResponseLength)
        throw new Error('authenticatorResponse: expected S= and 40 hex digits for ms-chap-v2');
      return messageBytes(`${proof} M=${text}`);
    }
    // E=691: authentication failure (RFC 2759 §6).
    const retry = verdict.retry === true ? 1 : 0;
    return messageBytes(`E=691 R=${retry} C=${formatHex(this.challenge!).toUpperCase()} V=3 M=${text}`);
  }

  private receivePap(bytes: Uint8Array, start: number, end: number): void {
    const parsed = parsePap(bytes, start, end);
    const { counters } = this.owner;
    if (!parsed.ok) {
      countMalformed(counters, parsed.reason);
      return;
    }
    const packet = parsed.value;
    if (packet.kind !== 'authenticate-request') {
      counters.add('dropped.authentication');
      return;
    }
    if (this.state === 'decided') {
      this.resend(packet.identifier);
      return;
    }
    // The reply names the request that came last.
    this.identifier = packet.identifier;
    if (this.state === 'judging') {
      counters.add('dropped.judging');
      return;
    }
    this.show({ method: 'pap', user: copyOf(packet.peerId), password: copyOf(packet.password) });
  }

  private receiveChap(bytes: Uint8Array, start: number, end: number): void {
    const parsed = parseChap(bytes, start, end);
    const { counters } = this.owner;
    if (!parsed.ok) {
      countMalformed(counters, parsed.reason);
      return;
    }
    const packet = parsed.value;
    if (packet.kind === 'response' && this.reply && packet.identifier === this.reply[1]) {
      this.resend(packet.identifier);
      return;
    }
    const valueBytes = this.method === 'ms-chap-v2' ? msChapV2ValueBytes : challengeBytes;
    if (
      packet.kind !== 'response' ||
      packet.identifier !== this.identifier ||
      packet.value.length !== valueBytes ||
      !this.challenge ||
      this.state === 'decided'
    ) {
      counters.add('dropped.authentication');
      return;
    }
    if (this.state === 'judging') {
      counters.add('dropped.judging');
      return;
    }
    this.show({
      method: this.method === 'ms-chap-v2' ? 'ms-chap-v2' : 'chap-md5',
      user: copyOf(packet.name),
      identifier: packet.identifier,
      challenge: this.challenge,
      response: copyOf(packet.value),
    });
  }

  private show(credentials: Credentials): void {
    this.state = 'judging';
    this.timeoutAt = never;
    this.reply = undefined;
    this.owner.credentialsShown(credentials);
  }

  /** A reply that got lost, once more (RFC 1334 §2.2.1, RFC 1994 §4.2). */
  private resend(identifier: number): void {
    const { owner, reply } = this;
    if (!reply) {
      owner.counters.add('dropped.authentication');
      return;
    }
    owner.counters.add('authentication.resent');
    const copy = copyOf(reply);
    copy[1] = identifier;
    owner.send(this.protocol, copy);
  }
}

/** The side that says who it is. */
export class Claimant {
  timeoutAt = never;
  private readonly owner: AuthenticationOwner;
  private readonly method: AuthenticationMethod;
  private readonly user: Uint8Array;
  private readonly secret: Uint8Array;
  /** The packet that awaits its reply. */
  private claim: Uint8Array | undefined;
  /** The value of the challenge it answers. */
  private challenge: Uint8Array | undefined;
  /** What the authenticator's Success must prove (MS-CHAPv2). */
  private expectedProof: string | undefined;
  private transmissions = 0;

  constructor(
    owner: AuthenticationOwner,
    method: AuthenticationMethod,
    account: { readonly user: Uint8Array; readonly secret: Uint8Array },
  ) {
    this.owner = owner;
    this.method = method;
    this.user = account.user;
    this.secret = account.secret;
  }

  get protocol(): number {
    return protocolOf(this.method);
  }

  /** A reply or a challenge is awaited. */
  get busy(): boolean {
    return this.timeoutAt !== never;
  }

  start(now: number): void {
    this.timeoutAt = now + maxTransmissions * retransmitMs;
    if (this.method !== 'pap') return;
    this.claim = papPacket({
      kind: 'authenticate-request',
      identifier: 1,
      peerId: this.user,
      password: this.secret,
    });
    this.send(now);
  }

  receive(now: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.method === 'pap') this.receivePap(now, bytes, start, end);
    else this.receiveChap(now, bytes, start, end);
  }

  poll(now: number): void {
    if (now < this.timeoutAt) return;
    if (this.claim && this.transmissions < maxTransmissions) {
      this.send(now);
      return;
    }
    this.timeoutAt = never;
    this.owner.authenticationFailed(now, 'authentication-timeout');
  }

  private send(now: number): void {
    this.transmissions++;
    this.timeoutAt = now + retransmitMs;
    this.owner.send(this.protocol, this.claim!);
  }

  private receivePap(now: number, bytes: Uint8Array, start: number, end: number): void {
    const parsed = parsePap(bytes, start, end);
    if (!parsed.ok) {
      countMalformed(this.owner.counters, parsed.reason);
      return;
    }
    const { kind, identifier } = parsed.value;
    if (!this.claim || kind === 'authenticate-request' || identifier !== this.claim[1]) {
      this.owner.counters.add('dropped.authentication');
      return;
    }
    this.finish(now, kind === 'authenticate-ack' ? undefined : 'authentication-failed');
  }

  private receiveChap(now: number, bytes: Uint8Array, start: number, end: number): void {
    const parsed = parseChap(bytes, start, end);
    const { counters } = this.owner;
    if (!parsed.ok) {
      countMalformed(counters, parsed.reason);
      return;
    }
    const packet = parsed.value;
    if (packet.kind === 'challenge') {
      if (this.method === 'ms-chap-v2' && packet.value.length !== msChapV2ChallengeBytes)
        counters.add('dropped.authentication');
      else this.answer(now, packet.identifier, packet.value);
      return;
    }
    if (!('message' in packet) || !this.claim || packet.identifier !== this.claim[1]) {
      counters.add('dropped.authentication');
      return;
    }
    if (packet.kind === 'failure') {
      this.finish(now, 'authentication-failed');
      return;
    }
    const { expectedProof } = this;
    const proven =
      expectedProof === undefined ||
      sameSecret(packet.message.subarray(0, authenticatorResponseLength), encodeUtf8(expectedProof));
    this.finish(now, proven ? undefined : 'peer-not-authentic');
  }

  private answer(now: number, identifier: number, challenge: Uint8Array): void {
    const repeated = this.claim?.[1] === identifier && this.challenge && sameBytes(this.challenge, challenge);
    if (!repeated) {
      this.challenge = copyOf(challenge);
      const value = this.valueFor(identifier, this.challenge);
      this.claim = chapPacket({ kind: 'response', identifier, value, name: this.user });
      this.transmissions = 0;
    } else if (this.transmissions >= maxTransmissions) {
      this.owner.counters.add('dropped.authentication');
      return;
    }
    this.send(now);
  }

  private valueFor(identifier: number, challenge: Uint8Array): Uint8Array {
    const { owner, user, secret } = this;
    if (this.method === 'chap-md5') return chapMd5Response(identifier, secret, challenge, owner.digest);
    const digest = msChapDigest(owner.digest);
    const peerChallenge = randomBytes(owner.random, msChapV2ChallengeBytes);
    const input: MsChapV2Input = { user, password: secret, challenge, peerChallenge };
    const value = msChapV2Value(input, digest);
    const { ntResponse } = splitMsChapV2Value(value);
    this.expectedProof = authenticatorResponse(input, ntResponse, digest);
    return value;
  }

  private finish(now: number, failure: AuthenticationFailure | undefined): void {
    // A copy of a reply that has been heard changes nothing.
    if (!this.busy) return;
    this.timeoutAt = never;
    this.owner.counters.add(failure === undefined ? 'authentication.passed' : 'authentication.failed');
    if (failure === undefined) this.owner.authenticated(now);
    else this.owner.authenticationFailed(now, failure);
  }
}

function protocolOf(method: AuthenticationMethod): number {
  return method === 'pap' ? pppProtocol.pap : pppProtocol.chap;
}

function chapPacket(packet: Chap): Uint8Array {
  const bytes = new Uint8Array(chapLength(packet));
  emitChap(packet, bytes, 0);
  return bytes;
}

function papPacket(packet: Pap): Uint8Array {
  const bytes = new Uint8Array(papLength(packet));
  emitPap(packet, bytes, 0);
  return bytes;
}

function copyOf(bytes: Uint8Array): Uint8Array {
  return copyBytes(bytes, 0, bytes.length);
}

/** `length` is a multiple of 4. */
function randomBytes(random: Entropy, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 4) writeUint32(bytes, at, random.uint32());
  return bytes;
}
