/**
 * The agent cut down to a board of 20 KB of code: the MQTT contract (docs/mqtt.md) with state, birth, telemetry, events and
 * requests. The one job it can have, a small power proxy (small-proxy.ts) or carrying for a kibbutz (small-kibbutz.ts), is
 * handed in, so that a build without it does not hold it. What comes to this board must be JSON: CBOR, which the contract
 * allows too, is rejected with that reason.
 *
 * Sans-I/O like agent/agent.ts, of which it keeps the shape: `receive`, `poll`, `pollAt`, `outbox`; `now` is counted from the
 * board's start. What is to be saved is in `unsaved` after every call, beside the outbox, so that it is on flash before the
 * message that it comes from is acknowledged. No file of agent/agent.ts is in this one because that class alone is 36 KB
 * minified, with the validators of all messages.
 * Bounds: `mostEvents`, the outbox; the statuses of rules, one for each that was published since the bus was up; what is to
 * be saved, one record for each rule.
 */

import { decodeUtf8, digest, encodeUtf8, utf8Length } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { BoundedQueue } from '../../agent/core/queue.js';
import { never } from '../../agent/core/time.js';
import type { CborMap, CborValue } from '../../agent/message/cbor.js';
import { agentFilters, formatTopic, isId, type Leaf, type NodeId } from '../../agent/message/topic.js';
import type { Effect } from '../../agent/port/effect.js';
import { encodeSmallCbor } from './small-cbor.js';
import { parseJson } from './small-json.js';
import type { KibbutzCounter } from './small-kibbutz.js';
import type { ProxyCounter } from './small-proxy.js';

export type SmallInput =
  | {
      readonly kind: 'message';
      readonly topic: string;
      readonly payload: Uint8Array;
      readonly retained: boolean;
    }
  | { readonly kind: 'bus-up' | 'bus-down' }
  /** A datagram came to a UDP port of the board. */
  | { readonly kind: 'knock'; readonly port: number };

export type SmallEffect =
  | (Effect & { readonly kind: 'publish' | 'subscribe' })
  /** Send a UDP datagram to everybody on the link. */
  | { readonly kind: 'broadcast'; readonly port: number; readonly payload: Uint8Array }
  /** Be reached on these UDP ports, and no others. */
  | { readonly kind: 'listen'; readonly ports: readonly number[] };

/** What the board does beside reporting. Its own effects go to the agent's outbox, but for datagrams of the kibbutz. */
export interface SmallJob {
  readonly jobNames: readonly string[];
  /** The payload is not empty and not too long; a reason if it is refused, and what is in force instead. */
  putRule(now: number, id: string, payload: Uint8Array, retained: boolean): Problem | undefined;
  removeRule(id: string): void;
  /** What is wrong with the host, in words. */
  wakeFor(now: number, host: CborValue | undefined): string | undefined;
  knocked(now: number, port: number): void;
  pollJob(now: number): void;
  /** What could not be handed out before for want of room in the outbox. */
  flushJob(now: number, isOnline: boolean): void;
  jobPollAt(isOnline: boolean): number;
  /** Says how each rule stands. */
  reportAll(now: number): void;
  /** The rules in force: `id=digest;` each. */
  inForceTexts(): string[];
}

/** Of a board that only reports. */
export const noJob: SmallJob = {
  jobNames: [],
  putRule(_now, _id, payload) {
    return { field: '', expected: 'no rules on this board', got: `${payload.length} bytes` };
  },
  removeRule: () => undefined,
  wakeFor: () => 'verb: expected report, got wake',
  knocked: () => undefined,
  pollJob: () => undefined,
  flushJob: () => undefined,
  jobPollAt: () => never,
  reportAll: () => undefined,
  inForceTexts: () => [],
};

/** What the agent does for a job. */
export interface SmallVoice {
  readonly outbox: BoundedQueue<SmallEffect>;
  /** Records to be saved, by key, of which the last counts; empty: to be erased. */
  readonly unsaved: { [key: string]: Uint8Array };
  tally(name: SmallCounter): void;
  tellRule(now: number, id: string, status: CborMap): void;
  tellEvent(now: number, name: string, about: CborMap): void;
  askFor(effect: SmallEffect): void;
  /** `rest` behind what every report begins with. */
  body(now: number, rest: CborMap): CborMap;
  publish(leaf: Leaf, body: CborMap, retain: boolean): void;
  /** The birth message is to be said anew. */
  rulesChanged(): void;
}

export interface Problem {
  readonly field: string;
  readonly expected: string;
  readonly got: string;
  /** Digest of the rule in force instead. */
  inForce?: string | undefined;
}

export interface SmallOptions extends NodeId {
  readonly firmware: string;
  /** Eight hex digits, new at every start. */
  readonly boot: string;
  /** What the board has to tell of itself with the telemetry. */
  readonly gauges?: () => { readonly [name: string]: number };
  /** `() => noJob`: the board only reports. */
  readonly jobCounters: readonly SmallCounter[];
  readonly makeJob: (now: number, voice: SmallVoice) => SmallJob;
}

export const mostRules = 16;
const mostEvents = 8;
const mostPayloadBytes = 1024;
const outboxEffects = 12;
const telemetryMs = 60_000;

const notThere = 'not flashed (kith flash espruino --jobs)';

/** What this board does not do, or not with each job, and why; part of its birth message and of docs/platforms.md. */
export const missing: { readonly [job: string]: string } = {
  kibbutz: notThere,
  'kibbutz/own-packets': 'it only carries for neighbours',
  pppoe: 'this board has no raw Ethernet',
  update: 'by kith flash',
  'power-proxy': notThere,
  'power-proxy/frames': 'this board hears no frames: only timer and udp to itself',
  'power-proxy/mdns': 'too large for this board',
};

const counterNames = [
  'messages',
  'messages.refused',
  'rules.rejected',
  'events.dropped',
  'outbox.full',
  'records.unreadable',
  // Of main.ts: what Storage did not take, what the interpreter itself complains of (memory, a full buffer).
  'store.failed',
  'board.faults',
] as const;
export type SmallCounter = (typeof counterNames)[number] | ProxyCounter | KibbutzCounter;

export class SmallAgent implements SmallVoice {
  readonly outbox = new BoundedQueue<SmallEffect>(outboxEffects);
  readonly unsaved: { [key: string]: Uint8Array } = {};
  readonly counters: Counters<SmallCounter>;
  private readonly options: SmallOptions;
  private readonly soleJob: SmallJob;
  /** Publications that wait until the bus is up and the outbox has room: by leaf, so that the last counts. */
  private readonly statuses: { [id: string]: CborMap } = {};
  private events: SmallEffect[] = [];
  private online = false;
  private birthDue = false;
  private telemetryAt = never;
  private telemetrySeq = 0;
  private eventSeq = 0;

  constructor(now: number, options: SmallOptions) {
    this.options = options;
    this.counters = new Counters((counterNames as readonly SmallCounter[]).concat(options.jobCounters));
    this.soleJob = options.makeJob(now, this);
  }

  /** The last will to register with the broker. */
  will(): SmallEffect & { readonly kind: 'publish' } {
    return this.publication({ kind: 'state' }, encodeUtf8('lost'), true);
  }

  receive(now: number, input: SmallInput): void {
    switch (input.kind) {
      case 'bus-up':
        this.online = true;
        for (const filter of agentFilters(this.options)) this.askFor({ kind: 'subscribe', filter, qos: 1 });
        this.state('init');
        this.birthDue = true;
        this.telemetryAt = now;
        this.soleJob.reportAll(now);
        break;
      case 'bus-down':
        this.online = false;
        break;
      case 'knock':
        this.soleJob.knocked(now, input.port);
        break;
      default:
        this.hear(now, input.topic, input.payload, input.retained);
    }
    this.flush(now);
  }

  poll(now: number): void {
    this.soleJob.pollJob(now);
    this.flush(now);
  }

  pollAt(): number {
    const at = this.soleJob.jobPollAt(this.online);
    if (!this.online) return at;
    const due = this.birthDue || this.events.length > 0 || Object.keys(this.statuses).length > 0;
    return due && this.outbox.room >= 2 ? 0 : Math.min(at, this.telemetryAt);
  }

  tellRule(now: number, id: string, status: CborMap): void {
    this.statuses[id] = this.body(now, status);
  }

  tellEvent(now: number, name: string, about: CborMap): void {
    if (this.events.length >= mostEvents) {
      this.events.shift();
      this.tally('events.dropped');
    }
    const body = this.body(now, about, this.eventSeq++);
    this.events.push(this.publication({ kind: 'event', name }, encodeSmallCbor(body), false));
  }

  askFor(effect: SmallEffect): void {
    if (!this.outbox.push(effect)) this.tally('outbox.full');
  }

  tally(name: SmallCounter): void {
    this.counters.add(name);
  }

  rulesChanged(): void {
    this.birthDue = true;
  }

  private hear(now: number, text: string, payload: Uint8Array, retained: boolean): void {
    this.tally('messages');
    // By building the topic that it would be; parseTopic is 700 bytes.
    const [, , , , kind, name] = text.split('/');
    const isOurs =
      (kind === 'rule' || kind === 'request') &&
      isId(name || '') &&
      formatTopic(this.options, { kind, name }) === text;
    if (!isOurs) this.tally('messages.refused');
    else if (kind === 'rule') this.hearRule(now, name, payload, retained);
    else this.request(now, name, payload);
  }

  private hearRule(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    if (payload.length === 0) {
      this.soleJob.removeRule(id);
      delete this.statuses[id];
      if (this.online) this.askFor(this.publication({ kind: 'rule-status', name: id }, payload, true));
      this.birthDue = true;
      return;
    }
    const problem =
      payload.length > mostPayloadBytes
        ? { field: '', expected: `at most ${mostPayloadBytes} bytes`, got: `${payload.length}` }
        : this.soleJob.putRule(now, id, payload, retained);
    if (!problem) return;
    this.tally('rules.rejected');
    const { field, expected, got, inForce } = problem;
    this.tellRule(now, id, {
      status: 'rejected',
      digest: digest(payload),
      reason: `${field === '' ? 'payload' : field}: expected ${expected}, got ${got}`,
      field,
      expected,
      got,
      inForce,
    });
  }

  private request(now: number, verb: string, payload: Uint8Array): void {
    const body = payload.length > mostPayloadBytes ? undefined : parsed(payload);
    const { transaction, host } = isMap(body) ? body : ({} as CborMap);
    if (typeof transaction !== 'string' || utf8Length(transaction) > 64) {
      this.tally('messages.refused');
      return;
    }
    let error: string | undefined;
    if (verb === 'report') {
      this.birthDue = true;
      this.telemetryAt = now;
      this.soleJob.reportAll(now);
    } else if (verb === 'wake') error = this.soleJob.wakeFor(now, host);
    else error = `verb: expected report or wake, got ${verb}`;
    if (!this.online) return;
    const answer = error === undefined ? { transaction, ok: true } : { transaction, ok: false, error };
    this.askFor(this.publication({ kind: 'response', name: verb }, encodeSmallCbor(answer), false));
  }

  /** Publishes what is due as far as there is room; the rest waits. */
  private flush(now: number): void {
    this.soleJob.flushJob(now, this.online);
    if (!this.online) return;
    if (this.birthDue && this.outbox.room >= 2) {
      this.birthDue = false;
      this.publish({ kind: 'info' }, this.info(), true);
      this.state('ready');
    }
    for (const id of Object.keys(this.statuses)) {
      if (this.outbox.room === 0) return;
      this.publish({ kind: 'rule-status', name: id }, this.statuses[id], true);
      delete this.statuses[id];
    }
    while (this.events.length > 0 && this.outbox.room > 0) this.askFor(this.events.shift() as SmallEffect);
    if (this.telemetryAt > now || this.outbox.room === 0) return;
    this.telemetryAt = now + telemetryMs;
    const name = this.soleJob.jobNames[0] || 'agent';
    const report = { counters: this.counters.snapshot(), gauges: this.options.gauges?.() };
    this.publish({ kind: 'telemetry', name }, this.body(now, report, this.telemetrySeq++), false);
  }

  private info(): CborMap {
    const { firmware, boot } = this.options;
    const without: { [job: string]: string } = {};
    for (const name of Object.keys(missing)) {
      const [job, part] = name.split('/');
      // A part is missed where the rest of the job is there.
      if (this.soleJob.jobNames.indexOf(job) < 0 === (part === undefined)) without[name] = missing[name];
    }
    const inForce = this.soleJob.inForceTexts();
    return {
      version: 1,
      firmware,
      platform: 'espruino',
      boot,
      jobs: this.soleJob.jobNames,
      missing: without,
      limits: { rules: mostRules, payloadBytes: mostPayloadBytes, waitingEvents: mostEvents, outboxEffects },
      rules: { count: inForce.length, digest: digest(encodeUtf8(inForce.sort().join(''))) },
    };
  }

  /** What every report begins with. */
  body(now: number, rest: CborMap, seq?: number): CborMap {
    const body: { [key: string]: CborValue | undefined } = {
      boot: this.options.boot,
      uptime: now,
      seq,
    };
    for (const key of Object.keys(rest)) body[key] = rest[key];
    return body;
  }

  private state(state: string): void {
    this.askFor(this.publication({ kind: 'state' }, encodeUtf8(state), true));
  }

  publish(leaf: Leaf, body: CborMap, retain: boolean): void {
    this.askFor(this.publication(leaf, encodeSmallCbor(body), retain));
  }

  private publication(leaf: Leaf, payload: Uint8Array, retain: boolean): SmallEffect & { kind: 'publish' } {
    return { kind: 'publish', topic: formatTopic(this.options, leaf), payload, qos: 1, retain };
  }
}

/** The value of JSON; `undefined` if it is none. */
export function parsed(bytes: Uint8Array): CborValue | undefined {
  const text = decodeUtf8(bytes);
  return text === undefined ? undefined : parseJson(text);
}

export function isMap(value: CborValue | undefined): value is CborMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
