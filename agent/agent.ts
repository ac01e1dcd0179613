/**
 * The agent: composes the jobs behind one sans-I/O boundary.
 *
 *     agent.receive(now, input)   something arrived
 *     agent.poll(now)             time passed; call it when now ≥ pollAt()
 *     agent.pollAt()              the next instant there is work, or `never`
 *     agent.outbox                effects, to be drained and performed in order after each of the calls above
 *
 * `now` is integer milliseconds on a monotonic clock. The same inputs at the same times give the same effects.
 * Bounds: limits.ts. Nothing thrown on any input; every drop is in `counters` and so in the telemetry.
 */

import { digest, encodeUtf8 } from './core/bytes.js';
import { Counters, type Counts } from './core/counters.js';
import { BoundedQueue } from './core/queue.js';
import { never } from './core/time.js';
import { type EventBody, type Job, type JobContext, type JobFactory, type JobName, jobNames } from './job.js';
import { checkLimits, defaultLimits, type Limits } from './limits.js';
import { type CborValue, encodeCbor } from './message/cbor.js';
import { judge } from './message/judge.js';
import type { AclStatus, HostStatus, Info, Request, Response, RuleStatus } from './message/messages.js';
import { requestDescriptor } from './message/received.js';
import { agentFilters, formatTopic, isId, type Leaf, type NodeId, parseTopic } from './message/topic.js';
import type { Effect, Input, KibbutzInput, LogLevel, PppoeInput, UpdateInput } from './port/effect.js';
import type { Link, Saved } from './port/platform.js';
import { Headers } from './wire/headers.js';

export interface AgentOptions extends NodeId {
  /** Name and version of the firmware, at most 64 bytes. */
  readonly firmware: string;
  /** Such as `linux`, `xs`, `espruino`, `sim`; at most 64 bytes. */
  readonly platform: string;
  /** Eight hex digits from the platform's entropy, new at every start: tells one life of the node from the next. */
  readonly boot: string;
  readonly links: readonly Link[];
  readonly jobs: readonly JobFactory[];
  /** Why a job is missing, for the birth message; default: this firmware has none. */
  readonly missing?: { readonly [job in JobName]?: string };
  /** What earlier `save` effects kept. */
  readonly saved: Saved;
  readonly limits?: Limits;
  /** What the platform itself counted; goes out as `platform.…` with the first job's telemetry. Left out: nothing. */
  readonly platformCounts?: () => Counts;
  /** Span between two telemetry messages of a job; default 10 s. */
  readonly telemetryMs?: number;
}

/** The agent's own counters; the jobs have theirs. Published with the first job's telemetry under `agent.…`. */
const counterNames = [
  'frames',
  'frames.unknown-link',
  'frames.malformed',
  'inputs.no-job',
  'inputs.stopped',
  'messages',
  'messages.topic',
  'messages.unsubscribed',
  'messages.no-job',
  'messages.too-long',
  'messages.bad-request',
  'outbox.full',
  'events.dropped',
] as const;
type CounterName = (typeof counterNames)[number];

interface WaitingEvent {
  readonly at: number;
  readonly name: string;
  readonly seq: number;
  readonly body: EventBody;
}

export class Agent {
  readonly outbox: BoundedQueue<Effect>;
  readonly counters = new Counters<CounterName>(counterNames);
  private readonly options: AgentOptions;
  private readonly limits: Limits;
  private readonly jobs: readonly Job[];
  private readonly headers = new Headers();
  private readonly events: BoundedQueue<WaitingEvent>;
  private readonly bootedAt: number;
  private readonly telemetryMs: number;
  private online = false;
  private stopped = false;
  private birthDue = false;
  private reportedRules = '';
  private telemetryAt = never;
  /** The job whose telemetry is next; −1: none is due. */
  private telemetryJob = -1;
  private telemetrySeq = 0;
  private eventSeq = 0;

  constructor(now: number, options: AgentOptions) {
    if (!isId(options.site) || !isId(options.node))
      throw new Error(
        `site/node: expected 1 to 32 characters of a-z, 0-9 and -, got ${options.site}/${options.node}`,
      );
    if (options.boot.length !== 8 || !/^[0-9a-f]+$/.test(options.boot))
      throw new Error(`boot: expected 8 hex digits, got ${options.boot}`);
    this.options = options;
    this.limits = options.limits ?? defaultLimits;
    checkLimits(this.limits);
    this.telemetryMs = options.telemetryMs ?? 10_000;
    this.bootedAt = now;
    this.outbox = new BoundedQueue<Effect>(this.limits.outboxEffects);
    this.events = new BoundedQueue<WaitingEvent>(this.limits.waitingEvents);
    const context = this.lend();
    this.jobs = options.jobs.map(make => make(now, context));
  }

  /** The last will to register with the broker: retained `lost` on `state`. */
  will(): Effect & { readonly kind: 'publish' } {
    return this.publication({ kind: 'state' }, encodeUtf8('lost'), true);
  }

  receive(now: number, input: Input): void {
    if (this.stopped) {
      this.counters.add('inputs.stopped');
      return;
    }
    switch (input.kind) {
      case 'frame':
        this.receiveFrame(now, input.link, input.frame);
        break;
      case 'message':
        this.receiveMessage(now, input.topic, input.payload, input.retained);
        break;
      case 'bus-up':
        this.goOnline(now);
        break;
      case 'bus-down':
        this.online = false;
        this.telemetryAt = never;
        this.telemetryJob = -1;
        for (const job of this.jobs) if (job.offline) job.offline(now);
        break;
      case 'fault':
        this.event(now, 'fault', { text: input.text.slice(0, 200) });
        break;
      case 'shutdown':
        for (const job of this.jobs) if (job.shutdown) job.shutdown(now);
        // What happened last is told too; the state has its place behind it.
        this.publishEvents(2);
        if (this.online) this.publishState('disconnected');
        this.stopped = true;
        break;
      case 'datagram':
      case 'packet':
      case 'sent':
      case 'radio':
      case 'battery':
      case 'date':
      case 'path-sample':
        this.receiveKibbutz(now, input);
        break;
      case 'line-packet':
        this.receiveLine(now, input);
        break;
      case 'image':
        this.receiveImage(now, input);
        break;
      default:
        unreachable(input);
    }
  }

  poll(now: number): void {
    if (this.stopped) return;
    for (const job of this.jobs) if (now >= job.pollAt()) job.poll(now);
    if (!this.online) return;
    if (this.telemetryAt <= now) {
      this.telemetryAt = now + this.telemetryMs;
      this.telemetryJob = 0;
    }
    this.report(now);
  }

  pollAt(): number {
    let at = never;
    if (this.stopped) return at;
    for (const job of this.jobs) at = Math.min(at, job.pollAt());
    if (!this.online) return at;
    const due = this.birthDue || this.telemetryJob >= 0 || this.events.length > 0;
    if ((due || this.ruleSet().digest !== this.reportedRules) && this.outbox.room >= 2) return this.bootedAt;
    return Math.min(at, this.telemetryAt);
  }

  private receiveFrame(now: number, link: string, frame: Uint8Array): void {
    this.counters.add('frames');
    if (!this.options.links.some(known => known.name === link)) {
      this.counters.add('frames.unknown-link');
      return;
    }
    if (this.headers.scan(frame, 0, frame.length) !== 'ok') {
      this.counters.add('frames.malformed');
      return;
    }
    for (const job of this.jobs) if (job.frame) job.frame(now, link, frame, this.headers);
  }

  private receiveKibbutz(now: number, input: KibbutzInput): void {
    let isHeard = false;
    for (const job of this.jobs) {
      if (!job.hear) continue;
      isHeard = true;
      job.hear(now, input);
    }
    if (!isHeard) this.counters.add('inputs.no-job');
  }

  private receiveLine(now: number, input: PppoeInput): void {
    for (const job of this.jobs) {
      if (!job.line) continue;
      job.line(now, input);
      return;
    }
    this.counters.add('inputs.no-job');
  }

  private receiveImage(now: number, input: UpdateInput): void {
    for (const job of this.jobs) {
      if (!job.image) continue;
      job.image(now, input);
      return;
    }
    this.counters.add('inputs.no-job');
  }

  private receiveMessage(now: number, text: string, payload: Uint8Array, retained: boolean): void {
    this.counters.add('messages');
    const topic = parseTopic(text);
    if (!topic.ok) {
      this.counters.add('messages.topic');
      return;
    }
    const { site, node, leaf } = topic.value;
    if (site !== this.options.site || node !== this.options.node) {
      this.counters.add('messages.unsubscribed');
    } else if (leaf.kind === 'rule') {
      this.receiveRule(now, leaf.name, payload, retained);
    } else if (leaf.kind === 'host' || leaf.kind === 'acl') {
      this.receiveJudged(now, leaf.kind, leaf.name, payload, retained);
    } else if (leaf.kind === 'request') {
      this.receiveRequest(now, leaf.name, payload);
    } else {
      this.counters.add('messages.unsubscribed');
    }
  }

  private receiveRule(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    for (const job of this.jobs) {
      if (job.rule) {
        job.rule(now, id, payload, retained);
        return;
      }
    }
    this.counters.add('messages.no-job');
    if (payload.length === 0 || !this.canPublish()) return;
    const status: RuleStatus = {
      status: 'rejected',
      digest: digest(payload),
      boot: this.options.boot,
      uptime: this.uptime(now),
      reason: `this node has no power-proxy job: ${this.info().missing['power-proxy']}`,
    };
    this.publish({ kind: 'rule-status', name: id }, status, true);
  }

  private receiveJudged(
    now: number,
    kind: 'host' | 'acl',
    id: string,
    payload: Uint8Array,
    retained: boolean,
  ): void {
    for (const job of this.jobs) {
      if (kind === 'host' && job.host) {
        job.host(now, id, payload, retained);
        return;
      }
      if (kind === 'acl' && job.acl) {
        job.acl(now, id, payload, retained);
        return;
      }
    }
    this.counters.add('messages.no-job');
    if (payload.length === 0 || !this.canPublish()) return;
    const job = kind === 'host' ? 'power-proxy' : 'pppoe';
    const status: HostStatus & AclStatus = {
      status: 'rejected',
      digest: digest(payload),
      boot: this.options.boot,
      uptime: this.uptime(now),
      reason: `this node has no ${job} job: ${this.info().missing[job]}`,
    };
    this.publish({ kind: `${kind}-status`, name: id }, status, true);
  }

  private receiveRequest(now: number, verb: string, payload: Uint8Array): void {
    const judged = judge(requestDescriptor, payload, this.limits);
    if (!judged.ok) {
      // Without a transaction there is nobody to answer.
      this.counters.add(
        payload.length > this.limits.payloadBytes ? 'messages.too-long' : 'messages.bad-request',
      );
      return;
    }
    const { transaction } = judged.value;
    // What happened before is told before the answer, so that whoever asked can tell it from what comes of the request.
    this.publishEvents(2);
    let response: Response = { transaction, ok: true };
    if (verb === 'report') {
      this.telemetryAt = now;
      this.birthDue = true;
      for (const job of this.jobs) if (job.online) job.online(now);
    } else {
      const answer = this.askJobs(now, verb, judged.value);
      if (answer !== 'done') {
        this.counters.add('messages.bad-request');
        response = { transaction, ok: false, error: answer.error };
      }
    }
    if (this.canPublish()) this.publish({ kind: 'response', name: verb }, response, false);
  }

  private askJobs(now: number, verb: string, request: Request): 'done' | { readonly error: string } {
    for (const job of this.jobs) {
      const answer = job.request ? job.request(now, verb, request) : undefined;
      if (answer) return answer;
    }
    if (verb === 'update') return { error: `this node has no update job: ${this.info().missing['update']}` };
    return { error: `verb: expected report, wake or update, got ${verb}` };
  }

  private goOnline(now: number): void {
    this.online = true;
    // Subscribing again is harmless where the session was present, and needed where it was lost.
    for (const filter of agentFilters(this.options)) this.push({ kind: 'subscribe', filter, qos: 1 });
    this.publishState('init');
    this.birthDue = true;
    this.telemetryAt = now;
    for (const job of this.jobs) if (job.online) job.online(now);
  }

  /** Publishes what is due, as far as the outbox has room; the rest waits for the next poll. */
  private report(now: number): void {
    if (this.ruleSet().digest !== this.reportedRules) this.birthDue = true;
    if (this.birthDue && this.outbox.room >= 2) {
      const info = this.info();
      this.reportedRules = info.rules.digest;
      this.publish({ kind: 'info' }, info, true);
      this.publishState('ready');
      this.birthDue = false;
    }
    this.publishEvents(1);
    while (this.telemetryJob >= 0 && this.canPublish()) {
      const counters: { [name: string]: number } = {};
      if (this.telemetryJob === 0) {
        prefix(counters, 'agent.', this.counters.snapshot());
        const { platformCounts } = this.options;
        if (platformCounts) prefix(counters, 'platform.', platformCounts());
      }
      const job = this.jobs[this.telemetryJob];
      if (job) prefix(counters, '', job.counters.snapshot());
      const body = { boot: this.options.boot, seq: this.telemetrySeq++, uptime: this.uptime(now), counters };
      this.publish({ kind: 'telemetry', name: job ? job.name : 'agent' }, body, false);
      this.telemetryJob = this.telemetryJob + 1 < this.jobs.length ? this.telemetryJob + 1 : -1;
    }
  }

  /** As long as the outbox has room for `leastRoom` effects. */
  private publishEvents(leastRoom: number): void {
    while (this.events.length > 0 && this.online && this.outbox.room >= leastRoom) {
      const event = this.events.shift() as WaitingEvent;
      const { boot } = this.options;
      const body = { boot, seq: event.seq, uptime: this.uptime(event.at), ...event.body };
      this.publish({ kind: 'event', name: event.name }, body, false);
    }
  }

  private info(): Info {
    const missing: { [job: string]: string } = {};
    for (const name of jobNames) {
      if (!this.jobs.some(job => job.name === name))
        missing[name] = this.options.missing?.[name] ?? 'not in this firmware';
    }
    return {
      version: 1,
      firmware: this.options.firmware,
      platform: this.options.platform,
      boot: this.options.boot,
      jobs: this.jobs.map(job => job.name),
      missing,
      limits: { ...this.limits },
      rules: this.ruleSet(),
    };
  }

  private ruleSet(): { readonly count: number; readonly digest: string } {
    for (const job of this.jobs) if (job.rules) return job.rules();
    return { count: 0, digest: '00000000' };
  }

  private lend(): JobContext {
    return {
      boot: this.options.boot,
      limits: this.limits,
      links: this.options.links,
      saved: this.options.saved,
      canPublish: () => this.canPublish(),
      publish: (leaf, body, retain) => this.publish(leaf, body, retain),
      event: (now, name, body) => this.event(now, name, body),
      transmit: (link, frame) => {
        this.push({ kind: 'transmit', link, frame });
      },
      save: (key, value) => this.push({ kind: 'save', key, value }),
      perform: effect => this.push(effect),
      room: () => this.outbox.room,
      log: (level, text) => this.log(level, text),
      uptime: now => this.uptime(now),
    };
  }

  private event(now: number, name: string, body: EventBody): void {
    if (this.events.room === 0) {
      this.events.shift();
      this.counters.add('events.dropped');
    }
    this.events.push({ at: now, name, seq: this.eventSeq++, body });
  }

  private log(level: LogLevel, text: string): void {
    this.push({ kind: 'log', level, text });
  }

  private canPublish(): boolean {
    return this.online && this.outbox.room > 0;
  }

  private publish(leaf: Leaf, body: CborValue | undefined, retain: boolean): void {
    this.push(this.publication(leaf, body === undefined ? new Uint8Array(0) : encodeCbor(body), retain));
  }

  private publishState(state: 'init' | 'ready' | 'sleeping' | 'disconnected'): void {
    this.push(this.publication({ kind: 'state' }, encodeUtf8(state), true));
  }

  private publication(
    leaf: Leaf,
    payload: Uint8Array,
    retain: boolean,
  ): Effect & { readonly kind: 'publish' } {
    return { kind: 'publish', topic: formatTopic(this.options, leaf), payload, qos: 1, retain };
  }

  private push(effect: Effect): boolean {
    const isTaken = this.outbox.push(effect);
    if (!isTaken) this.counters.add('outbox.full');
    return isTaken;
  }

  private uptime(now: number): number {
    return now - this.bootedAt;
  }
}

function prefix(
  into: { [name: string]: number },
  text: string,
  counts: { readonly [name: string]: number },
): void {
  for (const name of Object.keys(counts)) into[text + name] = counts[name];
}

function unreachable(value: never): void {
  throw new Error(`unreachable: ${String(value)}`);
}
