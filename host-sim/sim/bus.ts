/**
 * The message bus as a simulated node sees it, and an MQTT-like broker in memory for runs without a network.
 *
 * `MemoryBus` does what MQTT 3.1.1 promises and Kith relies on: retained messages (§3.3.1.3), the wildcards `+` and `#`
 * (§4.7), wills (§3.1.2.5), sessions that keep subscriptions and QoS 1 messages for an absent client (§3.1.2.4), and
 * order. Everything takes `latencyMs` each way. A client that vanished without closing is missed after
 * 1.5 × `keepAliveMs` (§3.1.2.10), or when it comes back, and then its will is published.
 *
 * Bounds: `mostQueued` messages wait for an absent client; a further one is dropped and counted.
 */

import { copyBytes } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import type { Effect } from '../../agent/port/effect.js';
import type { EventHandle, Kernel } from './kernel.js';

export type Publication = Omit<Effect & { readonly kind: 'publish' }, 'kind'>;
export type Subscription = Omit<Effect & { readonly kind: 'subscribe' }, 'kind'>;

/** Called only while the kernel runs or between two runs, and never from within a call to the bus or connection. */
export interface BusHandlers {
  /** The broker accepted the connection; `sessionPresent` as in CONNACK (MQTT 3.1.1 §3.2.2.2). */
  up(sessionPresent: boolean): void;
  /** The connection is gone though nobody here closed it. An `up` may follow. */
  down(): void;
  message(topic: string, payload: Uint8Array, retained: boolean): void;
}

export interface Connection {
  /** Dropped and counted where the connection is not up. */
  publish(publication: Publication): void;
  subscribe(subscription: Subscription): void;
  /** Orderly: what was published arrives, the will does not. No handler is called any more. */
  close(): void;
  /** As when the machine or its uplink dies: the broker publishes the will. No handler is called any more. */
  abort(): void;
}

export interface ConnectOptions {
  /** Names the session, which outlives the connection. */
  readonly clientId: string;
  readonly will?: Publication;
  readonly handlers: BusHandlers;
}

/** Both the broker in memory and a real one (live.ts). */
export interface Bus {
  connect(options: ConnectOptions): Connection;
}

export interface MemoryBusOptions {
  /** One way; default 20 ms. */
  readonly latencyMs?: number;
  /** Default 60 s. */
  readonly keepAliveMs?: number;
  /** Default 1000. */
  readonly mostQueued?: number;
}

export type BusCount = 'published' | 'delivered' | 'queued' | 'wills' | 'offline' | 'queue-full';

/** Sees every publication the broker accepts, in order. */
export type PublicationListener = (now: number, publication: Publication) => void;

/** What the broker keeps for a client, connected or not. */
interface Session {
  readonly clientId: string;
  filters: Subscription[];
  queue: Publication[];
  connection: MemoryConnection | undefined;
  /** The check that the vanished client is gone. */
  missing: EventHandle;
}

export class MemoryBus implements Bus {
  readonly counters = new Counters<BusCount>([
    'published',
    'delivered',
    'queued',
    'wills',
    'offline',
    'queue-full',
  ]);
  /** Topic → the retained message. */
  readonly retained = new Map<string, Publication>();
  private readonly kernel: Kernel;
  private readonly latencyMs: number;
  private readonly keepAliveMs: number;
  private readonly mostQueued: number;
  private readonly sessions = new Map<string, Session>();
  /** What a filter says before its first wildcard → who subscribed so: thousands of nodes are not asked one by one. */
  private readonly stems = new Map<string, Set<Session>>();
  private readonly listeners: PublicationListener[] = [];

  constructor(kernel: Kernel, options: MemoryBusOptions = {}) {
    this.kernel = kernel;
    this.latencyMs = options.latencyMs ?? 20;
    this.keepAliveMs = options.keepAliveMs ?? 60_000;
    this.mostQueued = options.mostQueued ?? 1000;
  }

  connect(options: ConnectOptions): Connection {
    const connection = new MemoryConnection(this, options);
    this.after(this.latencyMs, () => this.accept(connection));
    return connection;
  }

  /** Shows `listener` every publication from now on. */
  listen(listener: PublicationListener): void {
    this.listeners.push(listener);
  }

  /** @internal Runs `action` at `now + delayMs`, in the order of the calls. */
  after(delayMs: number, action: () => void): EventHandle {
    return this.kernel.schedule(this.kernel.now + delayMs, caller, action);
  }

  /** @internal What the client sends reaches the broker one latency later, whatever becomes of the client. */
  fromClient(connection: MemoryConnection, action: () => void): void {
    if (connection.state === 'up') this.after(this.latencyMs, action);
    else this.counters.add('offline');
  }

  /** @internal */
  publish(publication: Publication): void {
    this.counters.add('published');
    for (const listener of this.listeners) listener(this.kernel.now, publication);
    const { topic, payload, retain } = publication;
    if (retain && payload.length === 0) this.retained.delete(topic);
    else if (retain) this.retained.set(topic, publication);
    for (const session of this.candidates(topic)) {
      const match = session.filters.find(({ filter }) => matchesFilter(filter, topic));
      // Only a message sent because of a new subscription carries RETAIN (§3.3.1.3).
      if (match)
        this.send(session, { ...publication, qos: lower(match.qos, publication.qos), retain: false });
    }
  }

  /** @internal */
  subscribe(connection: MemoryConnection, subscription: Subscription): void {
    const session = this.sessions.get(connection.options.clientId);
    if (!session || session.connection !== connection) return;
    session.filters = session.filters.filter(({ filter }) => filter !== subscription.filter);
    session.filters.push(subscription);
    const stem = stemOf(subscription.filter);
    const others = this.stems.get(stem);
    if (others) others.add(session);
    else this.stems.set(stem, new Set([session]));
    for (const publication of this.retained.values()) {
      if (matchesFilter(subscription.filter, publication.topic))
        this.send(session, { ...publication, qos: lower(subscription.qos, publication.qos) });
    }
  }

  /** @internal The client is gone: orderly now, otherwise when the broker notices. */
  leave(connection: MemoryConnection, orderly: boolean): void {
    this.after(this.latencyMs, () => {
      const session = this.sessions.get(connection.options.clientId);
      if (!session || session.connection !== connection) return;
      if (orderly) session.connection = undefined;
      else session.missing = this.after(1.5 * this.keepAliveMs, () => this.lose(session));
    });
  }

  private accept(connection: MemoryConnection): void {
    if (connection.state !== 'connecting') return;
    const { clientId } = connection.options;
    let session = this.sessions.get(clientId);
    const sessionPresent = session !== undefined;
    if (!session) {
      session = { clientId, filters: [], queue: [], connection: undefined, missing: 0 };
      this.sessions.set(clientId, session);
    }
    // §3.1.4: a second connection of a client ends the first, whose will is published.
    if (session.connection) {
      session.connection.end();
      this.lose(session);
    }
    session.connection = connection;
    this.after(this.latencyMs, () => connection.accepted(sessionPresent));
    const queue = session.queue;
    session.queue = [];
    for (const publication of queue) this.send(session, publication);
  }

  /** The sessions with a filter that may match, each once, in a fixed order. */
  private candidates(topic: string): Set<Session> {
    const found = new Set(this.stems.get(''));
    for (let end = topic.indexOf('/'); end >= 0; end = topic.indexOf('/', end + 1))
      for (const session of this.stems.get(topic.slice(0, end)) ?? []) found.add(session);
    for (const session of this.stems.get(topic) ?? []) found.add(session);
    return found;
  }

  private lose(session: Session): void {
    this.kernel.cancel(session.missing);
    const will = session.connection?.options.will;
    session.connection = undefined;
    if (!will) return;
    this.counters.add('wills');
    this.publish(will);
  }

  private send(session: Session, publication: Publication): void {
    const { connection } = session;
    // A client that has vanished unnoticed acknowledges nothing, so QoS 1 messages to it stay in the session too.
    if (connection && connection.state !== 'ended') {
      this.after(this.latencyMs, () => {
        if (connection.state === 'ended') {
          this.queue(session, publication);
          return;
        }
        this.counters.add('delivered');
        const { topic, payload, retain } = publication;
        connection.options.handlers.message(topic, copyBytes(payload, 0, payload.length), retain);
      });
    } else {
      this.queue(session, publication);
    }
  }

  private queue(session: Session, publication: Publication): void {
    if (publication.qos === 0) {
      this.counters.add('offline');
      return;
    }
    if (session.queue.length >= this.mostQueued) {
      this.counters.add('queue-full');
      return;
    }
    this.counters.add('queued');
    session.queue.push(publication);
  }
}

class MemoryConnection implements Connection {
  state: 'connecting' | 'up' | 'ended' = 'connecting';
  readonly options: ConnectOptions;
  private readonly bus: MemoryBus;

  constructor(bus: MemoryBus, options: ConnectOptions) {
    this.bus = bus;
    this.options = options;
  }

  publish(publication: Publication): void {
    this.bus.fromClient(this, () => this.bus.publish(publication));
  }

  subscribe(subscription: Subscription): void {
    this.bus.fromClient(this, () => this.bus.subscribe(this, subscription));
  }

  close(): void {
    this.state = 'ended';
    this.bus.leave(this, true);
  }

  abort(): void {
    this.state = 'ended';
    this.bus.leave(this, false);
  }

  accepted(sessionPresent: boolean): void {
    if (this.state !== 'connecting') return;
    this.state = 'up';
    this.options.handlers.up(sessionPresent);
  }

  /** The broker ends it. */
  end(): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.bus.after(0, () => this.options.handlers.down());
  }
}

/** Whether a valid topic filter (MQTT 3.1.1 §4.7) matches a topic. Those that begin with `$` match no leading wildcard. */
export function matchesFilter(filter: string, topic: string): boolean {
  if (topic[0] === '$' && filter[0] !== '$') return false;
  let at = 0;
  for (let i = 0; i < filter.length; i++) {
    if (filter[i] === '#') return true;
    if (filter[i] === '+') {
      while (at < topic.length && topic[at] !== '/') at++;
    } else if (topic[at] === filter[i]) {
      at++;
    } else {
      // `a/#` matches `a` too (§4.7.1.2).
      return at === topic.length && i === filter.length - 2 && filter.endsWith('/#');
    }
  }
  return at === topic.length;
}

/** The whole levels of a filter before its first wildcard. */
function stemOf(filter: string): string {
  const wildcard = filter.search(/[+#]/);
  return wildcard < 0 ? filter : filter.slice(0, Math.max(0, wildcard - 1));
}

const caller = { fire: (_now: number, action: () => void) => action() };

function lower(a: 0 | 1, b: 0 | 1): 0 | 1 {
  return a === 0 || b === 0 ? 0 : 1;
}
