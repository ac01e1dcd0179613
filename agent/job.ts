/**
 * How a job plugs into the agent. A job never touches the outbox or the bus itself: the agent lends it a `JobContext`.
 */

import type { Counts } from './core/counters.js';
import type { Limits } from './limits.js';
import type { CborValue } from './message/cbor.js';
import type { Event, Request } from './message/messages.js';
import type { Leaf } from './message/topic.js';
import type { JobEffect, KibbutzInput, LogLevel, PppoeInput, UpdateInput } from './port/effect.js';
import type { Link, Saved } from './port/platform.js';
import type { Headers } from './wire/headers.js';

export type JobName = 'kibbutz' | 'power-proxy' | 'pppoe' | 'update';

export const jobNames: readonly JobName[] = ['kibbutz', 'power-proxy', 'pppoe', 'update'];

/** What an event says beyond boot, seq and uptime. */
export type EventBody = Omit<Event, 'boot' | 'seq' | 'uptime'>;

export interface JobContext {
  readonly boot: string;
  readonly limits: Limits;
  readonly links: readonly Link[];
  /** What earlier `save` calls kept, all keys of this agent. */
  readonly saved: Saved;
  /** Whether a publication can be taken now: the bus is up and the outbox has room. */
  canPublish(): boolean;
  /** Publishes a leaf of this node; call only while `canPublish()`. `undefined` clears a retained leaf. */
  publish(leaf: Leaf, body: CborValue | undefined, retain: boolean): void;
  /** A report of something that happened. Waits, bounded, while the bus is down. */
  event(now: number, name: string, body: EventBody): void;
  transmit(link: string, frame: Uint8Array): void;
  /** False if the outbox has no room for it: then it is not kept. */
  save(key: string, value: Uint8Array | undefined): boolean;
  /** False if the outbox has no room for it: then it will not happen. */
  perform(effect: JobEffect): boolean;
  /** How many effects the outbox still takes. */
  room(): number;
  log(level: LogLevel, text: string): void;
  /** Milliseconds since boot. */
  uptime(now: number): number;
}

export interface Job {
  readonly name: JobName;
  /** What its telemetry says: the same bounded set of names at all times. */
  readonly counters: { snapshot(): Counts };
  /** A frame whose headers were read. `frame` and `headers` are only valid during the call. */
  frame?(now: number, link: string, frame: Uint8Array, headers: Headers): void;
  /** A rule was published (an empty payload removes it); `retained` is the packet's RETAIN flag. */
  rule?(now: number, id: string, payload: Uint8Array, retained: boolean): void;
  /** The same for a host declared and an access list; see messages.cddl. */
  host?(now: number, id: string, payload: Uint8Array, retained: boolean): void;
  acl?(now: number, id: string, payload: Uint8Array, retained: boolean): void;
  /** A request to this node; `undefined`: not a verb of this job. An error is what was expected. */
  request?(now: number, verb: string, request: Request): 'done' | { readonly error: string } | undefined;
  /** How many rules the job holds in force, and a digest over their ids and digests. */
  rules?(): { readonly count: number; readonly digest: string };
  /** Something from the neighbourhood of a kibbutz; its bytes are only valid during the call. */
  hear?(now: number, input: KibbutzInput): void;
  /** An IP packet for the subscriber's line; its bytes are only valid during the call. */
  line?(now: number, input: PppoeInput): void;
  /** What came of an image that was fetched; its bytes are only valid during the call. */
  image?(now: number, input: UpdateInput): void;
  /** The platform stops the agent: save what must not be lost. Nothing is called after it. */
  shutdown?(now: number): void;
  /** The bus came up: report everything again. */
  online?(now: number): void;
  /** The bus is lost. */
  offline?(now: number): void;
  poll(now: number): void;
  /** The next instant `poll` has work; `never` if none. */
  pollAt(): number;
}

export type JobFactory = (now: number, context: JobContext) => Job;
