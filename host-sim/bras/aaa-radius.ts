/**
 * AAA by RADIUS, sans I/O: authentication (RFC 2865; MS-CHAPv2 RFC 2548 §2.3), accounting (RFC 2866), and what the server asks
 * of running sessions, Disconnect and CoA (RFC 5176).
 *
 * A server that does not answer is asked again `triesPerServer` times, `timeoutMs` apart, then the next one is; for a while it is
 * then only asked if no other is left. An authentication is answered within `servers × tries × timeout`, with a refusal if nobody
 * answered. Starts and stops of accounting are told again and again until somebody acknowledges them, interims once round.
 *
 * Bounded: 256 requests under way a server and kind (the identifier has 8 bits); `waiting` of each kind behind them. Beyond it an
 * authentication is refused as 'busy', and an accounting record is dropped; both are counted. No secret and no password
 * appears in a counter, an error or a record.
 */

import { Counters } from '../../agent/core/counters.js';
import { never } from '../../agent/core/time.js';
import type { Credentials } from '../../agent/pppoe/credentials.js';
import type {
  Aaa,
  AaaVerdict,
  AccountingRecord,
  SessionControl,
  SessionName,
  Subscriber,
  TerminateCause,
} from './aaa.js';
import { ipv4Bytes } from './address-pool.js';
import {
  type Attribute,
  attributeType,
  decodeControlRequest,
  decodeResponse,
  dslForum,
  encodeControlResponse,
  encodeRequest,
  find,
  findVendor,
  findWord,
  microsoft,
  number,
  type RadiusPacket,
  radiusCode,
  text,
  vendor,
} from './radius-packet.js';

export interface RadiusServer {
  /** For the platform, which knows how to reach it: `192.0.2.1`. */
  readonly host: string;
  readonly authenticationPort: number;
  readonly accountingPort: number;
  readonly secret: string;
}

export interface RadiusOptions {
  /** In order of preference, 1 … 8. */
  readonly servers: readonly RadiusServer[];
  /** Of the BRAS, told with every request. */
  readonly nasIdentifier: string;
  /** 32-bit number; left out: not told. */
  readonly nasAddress?: number;
  /** 3 s if left out: pppd and gateways ask for half a minute. */
  readonly timeoutMs?: number;
  /** 3 if left out. */
  readonly triesPerServer?: number;
  /** Refuse answers to Access-Request without Message-Authenticator (CVE-2024-3596); true if left out. */
  readonly requireMessageAuthenticator?: boolean;
  /** 4096 if left out. */
  readonly waiting?: number;
}

export interface RadiusCalls {
  /** 16 bytes nobody can guess. */
  random(): Uint8Array;
  /** Seconds since 1970 at `now`: Event-Timestamp. */
  clockSeconds(now: number): number;
  send(now: number, server: number, kind: RequestKind, packet: Uint8Array): void;
  /** For people: a server stopped or began to answer, or answers with a wrong secret. */
  log(now: number, line: string): void;
}

export type RequestKind = 'authentication' | 'accounting';

const counterNames = [
  'radius.access-request',
  'radius.access-accept',
  'radius.access-reject',
  'radius.accounting-request',
  'radius.accounting-response',
  'radius.retransmitted',
  'radius.timeout',
  'radius.failover',
  'radius.no-answer',
  'radius.busy',
  'radius.accounting-dropped',
  'radius.unsupported-method',
  'radius.drop.malformed',
  'radius.drop.bad-authenticator',
  'radius.drop.bad-message-authenticator',
  'radius.drop.no-message-authenticator',
  'radius.drop.unexpected',
  'radius.drop.wrong-code',
  'radius.lie.challenge',
  'radius.lie.no-proof',
  'radius.lie.bad-attribute',
  'radius.disconnect-request',
  'radius.coa-request',
  'radius.control-refused',
  'radius.control-repeated',
  'radius.control-stale',
] as const;
export type RadiusCounter = (typeof counterNames)[number];

/** A server that did not answer is left alone so long, if there is another. RFC 2865 leaves it open; FreeRADIUS's default revive interval is two minutes. */
const deadMs = 60_000;
/** The longest wait between tries of an accounting record (RFC 5080 §2.2.1: MRT 16 s). */
const longestWaitMs = 16_000;
/** RFC 5176 §3.3 wants old requests refused, §6.3 takes 300 s as an example. */
const controlWindowS = 300;
/** Answers to control requests kept for their repetition. */
const answersKept = 64;

const terminateCauses: Record<TerminateCause, number> = {
  // RFC 2866 §5.10.
  'user-request': 1,
  'lost-carrier': 2,
  'session-timeout': 5,
  'admin-reset': 6,
  'admin-reboot': 7,
  'port-error': 8,
  'nas-request': 10,
  'service-unavailable': 15,
};
/** Error-Cause (RFC 5176 §3.6). */
const missingAttribute = 402;
const unsupportedAttribute = 401;
const invalidValue = 407;
const sessionNotFound = 503;

interface Job {
  readonly kind: RequestKind;
  readonly attributes: readonly Attribute[];
  readonly password?: Uint8Array;
  readonly answer?: (now: number, verdict: AaaVerdict) => void;
  /** The challenge was MS-CHAPv2's: an acceptance must prove that the server knows the password. */
  readonly wantsProof: boolean;
  /** Of MS-CHAPv2: begins the proof. */
  readonly chapIdentifier: number;
  /** Until somebody acknowledges it. */
  readonly persistent: boolean;
  rounds: number;
  /** Servers asked in this round. */
  asked: number[];
}

interface Pending {
  readonly job: Job;
  readonly server: number;
  readonly identifier: number;
  readonly packet: Uint8Array;
  tries: number;
  dueAt: number;
}

interface ServerState {
  readonly pending: { readonly [kind in RequestKind]: Map<number, Pending> };
  readonly nextIdentifier: { [kind in RequestKind]: number };
  deadUntilAt: number;
  saidWrongSecret: boolean;
}

export class RadiusAaa implements Aaa {
  readonly counters = new Counters<RadiusCounter>(counterNames);
  private readonly options: Required<Omit<RadiusOptions, 'nasAddress'>> & Pick<RadiusOptions, 'nasAddress'>;
  private readonly calls: RadiusCalls;
  private readonly states: ServerState[];
  private readonly waiting: { readonly [kind in RequestKind]: Job[] } = {
    authentication: [],
    accounting: [],
  };
  /** Accounting records whose round failed, and when the next begins. */
  private resting: { readonly job: Job; readonly at: number }[] = [];
  private readonly answers = new Map<string, Uint8Array>();

  /** Throws, naming the option, on one out of range. */
  constructor(options: RadiusOptions, calls: RadiusCalls) {
    const { servers } = options;
    if (servers.length < 1 || servers.length > 8)
      throw new Error(`servers: expected 1..8, got ${servers.length}`);
    for (const [i, { secret }] of servers.entries())
      if (secret === '') throw new Error(`servers[${i}].secret: expected at least one character`);
    this.options = {
      timeoutMs: 3_000,
      triesPerServer: 3,
      requireMessageAuthenticator: true,
      waiting: 4_096,
      ...options,
    };
    this.calls = calls;
    this.states = servers.map(() => ({
      pending: { authentication: new Map(), accounting: new Map() },
      nextIdentifier: { authentication: 0, accounting: 0 },
      deadUntilAt: -1,
      saidWrongSecret: false,
    }));
  }

  authenticate(
    now: number,
    credentials: Credentials,
    subscriber: Subscriber,
    answer: (now: number, verdict: AaaVerdict) => void,
  ): void {
    if (
      credentials.method === 'none' ||
      (credentials.method === 'pap' && credentials.password.length > 128)
    ) {
      this.counters.add('radius.unsupported-method');
      answer(now, { ok: false, reason: 'unsupported-method' });
      return;
    }
    const attributes = [
      [attributeType.userName, credentials.user.slice(0, 253)] as const,
      ...this.describe(subscriber),
      number(attributeType.serviceType, 2), // Framed
      number(attributeType.framedProtocol, 1), // PPP
    ];
    if (credentials.method === 'chap-md5') {
      const { identifier, challenge, response } = credentials;
      attributes.push([attributeType.chapPassword, Buffer.concat([Buffer.from([identifier]), response])]);
      attributes.push([attributeType.chapChallenge, challenge.slice()]);
    }
    if (credentials.method === 'ms-chap-v2') {
      const { identifier, challenge, response } = credentials;
      attributes.push(vendor(microsoft.vendorId, microsoft.chapChallenge, challenge));
      // RFC 2548 §2.3.2: identifier, flags, peer challenge, reserved, response; RFC 2759 has the flags last.
      const value = Buffer.concat([Buffer.from([identifier, 0]), response.subarray(0, 48)]);
      attributes.push(vendor(microsoft.vendorId, microsoft.chap2Response, value));
    }
    const job: Job = {
      kind: 'authentication',
      attributes,
      answer,
      ...(credentials.method === 'pap' && { password: credentials.password.slice() }),
      wantsProof: credentials.method === 'ms-chap-v2',
      chapIdentifier: credentials.method === 'pap' ? 0 : credentials.identifier,
      persistent: false,
      rounds: 0,
      asked: [],
    };
    this.counters.add('radius.access-request');
    if (this.begin(now, job)) return;
    this.counters.add('radius.busy');
    answer(now, { ok: false, reason: 'busy', message: 'please try again' });
  }

  account(now: number, record: AccountingRecord): void {
    const { kind, subscriber, user, classes, ipv4, terminateCause } = record;
    const attributes: Attribute[] = [
      number(attributeType.acctStatusType, kind === 'start' ? 1 : kind === 'stop' ? 2 : 3),
      text(attributeType.userName, user),
      ...this.describe(subscriber),
      number(attributeType.eventTimestamp, this.calls.clockSeconds(now)),
    ];
    for (const value of classes) attributes.push([attributeType.class, value]);
    if (ipv4 !== 0) attributes.push([attributeType.framedIpAddress, ipv4Bytes(ipv4)]);
    if (kind !== 'start')
      attributes.push(
        number(attributeType.acctSessionTime, record.sessionTimeS),
        number(attributeType.acctInputOctets, record.inputBytes % 2 ** 32),
        number(attributeType.acctInputGigawords, Math.floor(record.inputBytes / 2 ** 32)),
        number(attributeType.acctOutputOctets, record.outputBytes % 2 ** 32),
        number(attributeType.acctOutputGigawords, Math.floor(record.outputBytes / 2 ** 32)),
        number(attributeType.acctInputPackets, record.inputPackets % 2 ** 32),
        number(attributeType.acctOutputPackets, record.outputPackets % 2 ** 32),
      );
    if (terminateCause)
      attributes.push(number(attributeType.acctTerminateCause, terminateCauses[terminateCause]));
    this.counters.add('radius.accounting-request');
    const job: Job = {
      kind: 'accounting',
      attributes,
      wantsProof: false,
      chapIdentifier: 0,
      persistent: kind !== 'interim',
      rounds: 0,
      asked: [],
    };
    if (!this.begin(now, job)) this.counters.add('radius.accounting-dropped');
  }

  /** A packet that came from a server's port for that kind; from nobody else's. */
  receive(now: number, server: number, kind: RequestKind, bytes: Uint8Array): void {
    const state = this.states[server];
    const pending = bytes.length > 1 ? state.pending[kind].get(bytes[1]) : undefined;
    if (!pending) {
      this.counters.add('radius.drop.unexpected');
      return;
    }
    const { host, secret } = this.options.servers[server];
    const isAccess = kind === 'authentication';
    const response = decodeResponse(
      bytes,
      pending.packet,
      secret,
      isAccess && this.options.requireMessageAuthenticator,
    );
    if (!response.ok) {
      this.counters.add(`radius.drop.${response.reason}`);
      if (response.reason !== 'malformed' && !state.saidWrongSecret) {
        state.saidWrongSecret = true;
        const why =
          response.reason === 'no-message-authenticator'
            ? 'no Message-Authenticator (CVE-2024-3596): update the server, or set requireMessageAuthenticator to false'
            : 'a signature that does not fit: is the shared secret the same on both sides?';
        this.calls.log(now, `RADIUS server ${host}: its answer has ${why}`);
      }
      return;
    }
    const { code } = response.value;
    const isExpected = isAccess
      ? code === radiusCode.accessAccept ||
        code === radiusCode.accessReject ||
        code === radiusCode.accessChallenge
      : code === radiusCode.accountingResponse;
    if (!isExpected) {
      this.counters.add('radius.drop.wrong-code');
      return;
    }
    if (state.deadUntilAt >= 0) {
      state.deadUntilAt = -1;
      this.calls.log(now, `RADIUS server ${host} answers again`);
    }
    state.saidWrongSecret = false;
    state.pending[kind].delete(pending.identifier);
    if (isAccess) pending.job.answer?.(now, this.judge(response.value, pending.job));
    else this.counters.add('radius.accounting-response');
    this.pump(now, kind);
  }

  /**
   * A Disconnect-Request or CoA-Request that came from `server`'s address (RFC 5176). Returns the answer to send back, none
   * for what is not believed.
   */
  control(now: number, server: number, bytes: Uint8Array, sessions: SessionControl): Uint8Array | undefined {
    const { secret } = this.options.servers[server];
    const request = decodeControlRequest(bytes, secret, false);
    if (!request.ok) {
      this.counters.add(`radius.drop.${request.reason}`);
      return undefined;
    }
    const { code } = request.value;
    if (code !== radiusCode.disconnectRequest && code !== radiusCode.coaRequest) {
      this.counters.add('radius.drop.wrong-code');
      return undefined;
    }
    // The authenticator signs all of it, so the same one is the same request.
    const key = `${server} ${Buffer.from(bytes.subarray(0, 20)).toString('hex')}`;
    const said = this.answers.get(key);
    if (said) {
      this.counters.add('radius.control-repeated');
      return said;
    }
    const stampS = findWord(request.value, attributeType.eventTimestamp);
    if (stampS !== undefined && Math.abs(this.calls.clockSeconds(now) - stampS) > controlWindowS) {
      this.counters.add('radius.control-stale');
      return undefined;
    }
    const isDisconnect = code === radiusCode.disconnectRequest;
    this.counters.add(isDisconnect ? 'radius.disconnect-request' : 'radius.coa-request');
    const errorCause = this.obey(now, request.value, isDisconnect, sessions);
    if (errorCause !== 0) this.counters.add('radius.control-refused');
    const { disconnectAck, disconnectNak, coaAck, coaNak } = radiusCode;
    const [ack, nak] = isDisconnect ? [disconnectAck, disconnectNak] : [coaAck, coaNak];
    const answer = encodeControlResponse(
      errorCause === 0 ? ack : nak,
      bytes,
      request.value,
      secret,
      errorCause,
    );
    this.answers.set(key, answer);
    if (this.answers.size > answersKept)
      for (const oldest of this.answers.keys()) {
        this.answers.delete(oldest);
        break;
      }
    return answer;
  }

  poll(now: number): void {
    for (const state of this.states)
      for (const kind of ['authentication', 'accounting'] as const) {
        for (const pending of [...state.pending[kind].values()])
          if (pending.dueAt <= now) this.again(now, pending);
        this.pump(now, kind);
      }
    const ready = this.resting.filter(one => one.at <= now);
    if (ready.length === 0) return;
    this.resting = this.resting.filter(one => one.at > now);
    for (const { job } of ready) if (!this.begin(now, job)) this.counters.add('radius.accounting-dropped');
  }

  pollAt(): number {
    let at = never;
    for (const { pending } of this.states)
      for (const kind of ['authentication', 'accounting'] as const)
        for (const one of pending[kind].values()) at = Math.min(at, one.dueAt);
    for (const one of this.resting) at = Math.min(at, one.at);
    return at;
  }

  /** Sends it, or has it wait for an identifier; false if there is no room for that. */
  private begin(now: number, job: Job): boolean {
    if (this.waiting[job.kind].length === 0 && this.ask(now, job)) return true;
    const backlog = this.waiting[job.kind].length + (job.kind === 'accounting' ? this.resting.length : 0);
    if (backlog >= this.options.waiting) return false;
    this.waiting[job.kind].push(job);
    return true;
  }

  private pump(now: number, kind: RequestKind): void {
    const queue = this.waiting[kind];
    while (queue.length > 0 && this.ask(now, queue[0])) queue.shift();
  }

  /** Asks the best server not yet asked in this round; false if all identifiers there are taken. */
  private ask(now: number, job: Job): boolean {
    const server = this.choose(now, job);
    const state = this.states[server];
    const pending = state.pending[job.kind];
    if (pending.size === 256) return false;
    let identifier = state.nextIdentifier[job.kind];
    while (pending.has(identifier)) identifier = (identifier + 1) & 0xff;
    state.nextIdentifier[job.kind] = (identifier + 1) & 0xff;
    job.asked.push(server);
    const isAccess = job.kind === 'authentication';
    const packet = encodeRequest({
      code: isAccess ? radiusCode.accessRequest : radiusCode.accountingRequest,
      identifier,
      secret: this.options.servers[server].secret,
      authenticator: isAccess ? this.calls.random() : new Uint8Array(16),
      attributes: job.attributes,
      ...(job.password && { password: job.password }),
    });
    pending.set(identifier, {
      job,
      server,
      identifier,
      packet,
      tries: 1,
      dueAt: now + this.options.timeoutMs,
    });
    this.calls.send(now, server, job.kind, packet);
    return true;
  }

  private choose(now: number, job: Job): number {
    const left = this.states.map((_, i) => i).filter(i => !job.asked.includes(i));
    return left.find(i => this.states[i].deadUntilAt <= now) ?? left[0];
  }

  /** The same packet again (RFC 2865 §2.5: same identifier and authenticator), or the next server. */
  private again(now: number, pending: Pending): void {
    const { job, server, packet } = pending;
    const { timeoutMs, triesPerServer, servers } = this.options;
    if (pending.tries < triesPerServer) {
      pending.tries++;
      pending.dueAt = now + timeoutMs;
      this.counters.add('radius.retransmitted');
      this.calls.send(now, server, job.kind, packet);
      return;
    }
    this.counters.add('radius.timeout');
    const state = this.states[server];
    state.pending[job.kind].delete(pending.identifier);
    if (state.deadUntilAt < 0)
      this.calls.log(
        now,
        `RADIUS server ${servers[server].host} does not answer: is it up, does it know us as a client, does the firewall let UDP through?`,
      );
    state.deadUntilAt = now + deadMs;
    if (job.asked.length < servers.length) {
      this.counters.add('radius.failover');
      if (!this.begin(now, job)) this.giveUp(now, job);
      return;
    }
    this.giveUp(now, job);
  }

  private giveUp(now: number, job: Job): void {
    this.counters.add('radius.no-answer');
    job.answer?.(now, { ok: false, reason: 'no-answer', message: 'please try again later' });
    if (job.answer) return;
    if (!job.persistent) {
      this.counters.add('radius.accounting-dropped');
      return;
    }
    job.asked = [];
    const waitMs = Math.min(longestWaitMs, 2_000 * 2 ** Math.min(job.rounds++, 10));
    this.resting.push({ job, at: now + waitMs });
    if (this.resting.length <= this.options.waiting) return;
    this.resting.shift();
    this.counters.add('radius.accounting-dropped');
  }

  private judge(packet: RadiusPacket, job: Job): AaaVerdict {
    const said = find(packet, attributeType.replyMessage);
    const message = said && { message: Buffer.from(said).toString('utf8') };
    if (packet.code === radiusCode.accessReject) {
      this.counters.add('radius.access-reject');
      return { ok: false, reason: 'wrong-credentials', ...message };
    }
    if (packet.code === radiusCode.accessChallenge) {
      // RFC 2865 §4.4: who cannot carry a challenge treats it as a reject.
      this.counters.add('radius.lie.challenge');
      return { ok: false, reason: 'bad-answer', ...message };
    }
    const address = findWord(packet, attributeType.framedIpAddress);
    const hasOddAddress = address === undefined && find(packet, attributeType.framedIpAddress) !== undefined;
    // RFC 2865 §5.8: ff ff ff ff lets the user choose, ff ff ff fe the BRAS; no host has an address from 224.0.0.0 on.
    const isNone = address === undefined || address >= 0xfffffffe;
    if (hasOddAddress || (!isNone && (address === 0 || address >= 0xe0000000 || address >>> 24 === 127))) {
      this.counters.add('radius.lie.bad-attribute');
      return { ok: false, reason: 'bad-answer' };
    }
    let proof = {};
    if (job.wantsProof) {
      // RFC 2548 §2.3.3: the identifier and 42 characters.
      const success = findVendor(packet, microsoft.vendorId, microsoft.chap2Success);
      const response = success && Buffer.from(success.subarray(1)).toString('latin1');
      if (
        !success ||
        success[0] !== job.chapIdentifier ||
        !response ||
        !/^S=[0-9A-Fa-f]{40}/.test(response)
      ) {
        this.counters.add('radius.lie.no-proof');
        return { ok: false, reason: 'bad-answer' };
      }
      proof = { authenticatorResponse: response.slice(0, 42) };
    }
    this.counters.add('radius.access-accept');
    const filter = find(packet, attributeType.filterId);
    const sessionTimeoutS = findWord(packet, attributeType.sessionTimeout);
    const interimS = findWord(packet, attributeType.acctInterimInterval);
    const classes = packet.attributes
      .filter(one => one[0] === attributeType.class)
      .map(one => one[1].slice());
    return {
      ok: true,
      ...(!isNone && { ipv4: address }),
      ...(filter && { rateClass: Buffer.from(filter).toString('utf8') }),
      ...(sessionTimeoutS !== undefined && sessionTimeoutS > 0 && { sessionTimeoutS }),
      // RFC 2869 §5.16: not below 60 s.
      ...(interimS !== undefined && { interimS: Math.max(60, interimS) }),
      ...(classes.length > 0 && { classes }),
      ...message,
      ...proof,
    };
  }

  /** 0, or the Error-Cause. */
  private obey(now: number, packet: RadiusPacket, isDisconnect: boolean, sessions: SessionControl): number {
    const utf8 = (type: number) => {
      const value = find(packet, type);
      return value && Buffer.from(value).toString('utf8');
    };
    const accountingId = utf8(attributeType.acctSessionId);
    const user = utf8(attributeType.userName);
    const ipv4 = findWord(packet, attributeType.framedIpAddress);
    const mac = utf8(attributeType.callingStationId)?.toLowerCase().replaceAll('-', ':');
    const name: SessionName = {
      ...(accountingId !== undefined && { accountingId }),
      ...(user !== undefined && { user }),
      ...(ipv4 !== undefined && { ipv4 }),
      ...(mac !== undefined && { mac }),
    };
    if (Object.keys(name).length === 0) return missingAttribute;
    if (isDisconnect) return sessions.disconnect(now, name) > 0 ? 0 : sessionNotFound;
    const rateClass = utf8(attributeType.filterId);
    if (rateClass === undefined) return unsupportedAttribute;
    const changed = sessions.changeRateClass(now, name, rateClass);
    return changed === undefined ? invalidValue : changed > 0 ? 0 : sessionNotFound;
  }

  /** Who it is about, in requests of both kinds. */
  private describe(subscriber: Subscriber): Attribute[] {
    const { sessionId, accountingId, mac, line, circuitId, remoteId } = subscriber;
    const { nasIdentifier, nasAddress } = this.options;
    const attributes: Attribute[] = [
      text(attributeType.nasIdentifier, nasIdentifier),
      number(attributeType.nasPort, sessionId),
      number(attributeType.nasPortType, 32), // PPPoEoE (IANA)
      text(attributeType.nasPortId, line),
      text(attributeType.callingStationId, mac),
      text(attributeType.acctSessionId, accountingId),
    ];
    if (nasAddress !== undefined) attributes.push([attributeType.nasIpAddress, ipv4Bytes(nasAddress)]);
    const utf8 = (value: string) => Buffer.from(value, 'utf8');
    if (circuitId !== '') attributes.push(vendor(dslForum.vendorId, dslForum.circuitId, utf8(circuitId)));
    if (remoteId !== '') attributes.push(vendor(dslForum.vendorId, dslForum.remoteId, utf8(remoteId)));
    return attributes;
  }
}
