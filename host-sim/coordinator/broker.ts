/**
 * The embedded MQTT 3.1.1 broker: aedes over TCP and WebSocket, its sessions and retained messages in LevelDB.
 *
 * What it promises beyond aedes: a publish is acknowledged (PUBACK, PUBREC) only after `ingest` resolved and what the
 * broker itself must keep of it, the retained message and the queues of persistent subscribers, is on disk
 * (database.ts). aedes 1.2.0 sends PUBACK first and stores afterwards; so the work is done in the authorizePublish hook,
 * which comes before, and aedes's own publishing of that packet is skipped.
 * One client's messages reach `ingest`, subscribers and queues in the order they were sent (MQTT 3.1.1 §4.6). QoS 2 is
 * exactly once except over a crash between the two stores of a message, after which it may come twice.
 *
 * Bounds: `BrokerLimits`. Each fault of aedes cured here is told beside its cure, and broker.test.ts fails without it.
 */

import { randomBytes } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, createServer, isIP, type Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Aedes, type AuthenticateError, type Client, type PublishPacket, type Subscription } from 'aedes';
import mqemitter from 'mqemitter';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { Counters } from '../../agent/core/counters.js';
import { memoryPersistence, type Persistence, persistenceOn } from './broker/persistence.js';
import { type Database, openDatabase } from './database.js';

export interface Publication {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
}

export interface BrokerLimits {
  /** Connected clients. More: CONNACK 3, server unavailable. Connections without CONNECT: as many again. */
  readonly clients: number;
  /** Bytes behind the fixed header of one incoming packet. More: the client is disconnected. */
  readonly packetBytes: number;
  /** Bytes a client has not read yet. More: the client is disconnected. */
  readonly unreadBytes: number;
  /** UTF-16 units of a topic, filter or client id. More: refused. */
  readonly topicLength: number;
  /** Levels of a topic or filter, up to 100. More: refused. */
  readonly topicLevels: number;
  /** Filters of one client. More: SUBACK 128. */
  readonly subscriptions: number;
  /** Publishes not yet acknowledged, over all clients. More: sockets are left unread until some are. */
  readonly inFlight: number;
  /** Messages queued for one absent persistent session since it left or the broker began. More: the newest is dropped. */
  readonly queuedPerSession: number;
  /** From the connection to its CONNECT packet. */
  readonly connectTimeoutMs: number;
}

export interface BrokerOptions {
  /** For sessions and retained messages; left out: in memory. */
  readonly directory?: string;
  /** As in `DatabaseOptions`. */
  readonly sync?: boolean;
  /** 127.0.0.1 if left out. */
  readonly host?: string;
  /** 0: any free one. 1883 if left out. */
  readonly port?: number;
  /** 0: any free one. No WebSocket listener if left out. */
  readonly wsPort?: number;
  readonly limits?: Partial<BrokerLimits>;
  /**
   * Called for every publish and every will of a client, in its order, before it is acknowledged or forwarded.
   * If it rejects, the client is disconnected without an acknowledgement and nothing else has happened to the message.
   */
  readonly ingest?: (publication: Publication) => Promise<void>;
  /** Called when the store is open and before anyone can connect. */
  readonly beforeListening?: (broker: Broker) => Promise<void>;
}

const defaultLimits: BrokerLimits = {
  clients: 10_000,
  packetBytes: 1 << 20,
  unreadBytes: 4 << 20,
  topicLength: 512,
  topicLevels: 16,
  subscriptions: 1000,
  inFlight: 1000,
  queuedPerSession: 10_000,
  connectTimeoutMs: 10_000,
};

const counterNames = [
  'connects',
  'refused.clients',
  'refused.connections',
  'refused.client-id',
  'refused.origin',
  /** The client sent DISCONNECT. */
  'disconnects.asked',
  /** The connection ended without. */
  'disconnects.network',
  'disconnects.keepalive',
  /** Another connection came with the same client id. */
  'disconnects.taken-over',
  'disconnects.unread',
  'disconnects.packet-bytes',
  /** Published to a topic that is too long, too deep or begins with $. */
  'disconnects.topic',
  'disconnects.ingest',
  /** Whatever else MQTT forbids, and no CONNECT in time. */
  'disconnects.protocol',
  'publishes.qos0',
  'publishes.qos1',
  'publishes.qos2',
  'wills',
  /** `ingest` refused a will: subscribers got it, the store did not; it is offered again after a restart. */
  'drops.will-ingest',
  'drops.queue-full',
  'drops.subscription',
  /** aedes could not read or write its own state; what it was doing failed. */
  'errors',
] as const;
type CounterName = (typeof counterNames)[number];

/** Calls of itself that mqemitter may nest. */
const emitterDepth = 50;
/** Messages mqemitter delivers at a time. With aedes's 100 a few busy subscribers hold up everybody. */
const emitterConcurrency = 1000;
/** Four of these after a restart, the wills of those who have not come back are published. */
const heartbeatMs = 15_000;
const publishCounters = ['publishes.qos0', 'publishes.qos1', 'publishes.qos2'] as const;

/** The order of one publisher's messages: each waits for the one before it. Rejected once one was refused. */
interface Order {
  /** The latest message ingested, and the latest kept and ready to be forwarded. */
  ingested: Promise<void>;
  kept: Promise<void>;
}

/** A connection from accept to close. */
interface Connection extends Order {
  accepted: boolean;
  /** Why it ends, as far as is known; the first to know wins. */
  reason: CounterName | undefined;
  readonly filters: Set<string>;
}

/** What of aedes is used that its types do not show. */
interface AedesInternals {
  counter: number;
  clients: { [id: string]: Client | undefined };
  publish: (packet: object, ...rest: unknown[]) => void;
  listen(): Promise<void>;
}

/** A message as aedes and its persistence hand it round. */
interface Packet extends Publication {
  readonly cmd: 'publish';
  readonly brokerId: string;
  readonly brokerCounter: number;
  readonly dup: false;
  readonly clientId?: string;
}

/** Starts the broker. An error names the port or directory that cannot be had and says what to do. */
export async function openBroker(options: BrokerOptions = {}): Promise<Broker> {
  const database =
    options.directory === undefined
      ? undefined
      : await openDatabase(options.directory, { sync: options.sync ?? false });
  const broker = new Broker({ ...defaultLimits, ...options.limits }, database, options.ingest);
  try {
    await options.beforeListening?.(broker);
    await broker.listen(options);
  } catch (error) {
    await broker.close();
    throw error;
  }
  return broker;
}

export class Broker {
  readonly counters = new Counters<CounterName>(counterNames);
  /** `mqtt://host:port` */
  url = '';
  /** `ws://host:port`; absent without a WebSocket listener. */
  wsUrl: string | undefined;
  private readonly limits: BrokerLimits;
  private readonly database: Database | undefined;
  private readonly persistence: Persistence;
  private readonly ingest: BrokerOptions['ingest'];
  private readonly mq = boundedEmitter();
  private readonly aedes: Aedes & AedesInternals;
  private readonly connections = new WeakMap<Client, Connection>();
  private readonly streams = new Set<Duplex>();
  /** Of the coordinator's own messages. */
  private readonly own: Order = { ingested: Promise.resolve(), kept: Promise.resolve() };
  private readonly servers: Server[] = [];
  private acceptedClients = 0;
  /** Publishes under way, the sockets that wait for there to be fewer, and who waits for there to be none. */
  private inFlight = 0;
  private readonly unread = new Set<Duplex>();
  private whenIdle: (() => void) | undefined;
  /** Packets published here already, so that aedes does not again. */
  private readonly published = new WeakSet<object>();
  /** By client id, messages queued while it is away. */
  private readonly queued = new Map<string, number>();

  constructor(limits: BrokerLimits, database: Database | undefined, ingest: BrokerOptions['ingest']) {
    this.limits = limits;
    this.database = database;
    this.ingest = ingest;
    this.persistence =
      database === undefined
        ? memoryPersistence()
        : persistenceOn(database, () => this.counters.add('errors'));
    const { delWill } = this.persistence;
    this.persistence.delWill = client => this.track(delWill.call(this.persistence, client));
    // For each filter of a SUBSCRIBE that is granted, aedes stores all filters of the packet, the refused ones too: 900 of
    // them cost 10 s and 2 GB. Each is stored here once, as it is granted.
    const keepSubscriptions = this.persistence.addSubscriptions.bind(this.persistence);
    this.persistence.addSubscriptions = async () => undefined;
    const aedes = new Aedes({
      // Queues on disk are sorted by broker id, then by a counter that starts at 1 each time: aedes's random ids would
      // mix what was queued before and after a restart.
      id: `${String(Date.now()).padStart(15, '0')}-${randomBytes(4).toString('hex')}`,
      mq: this.mq,
      persistence: this.persistence,
      concurrency: emitterConcurrency,
      heartbeatInterval: heartbeatMs,
      connectTimeout: limits.connectTimeoutMs,
      authenticate: (client, _user, _password, done) => this.authenticate(client, done),
      authorizeSubscribe: (client, subscription, done) => {
        const allowed = this.allowSubscription(client, subscription);
        if (!allowed || (client as unknown as { clean: boolean }).clean) done(null, allowed);
        else keepSubscriptions(client, [allowed]).then(() => done(null, allowed), done);
      },
      authorizePublish: (client, packet, done) => this.authorizePublish(client, packet, done),
    }) as unknown as Aedes & AedesInternals;
    const publish = aedes.publish.bind(aedes);
    aedes.publish = (packet, ...rest) => {
      if (this.published.delete(packet)) (rest[rest.length - 1] as () => void)();
      else publish(packet, ...rest);
    };
    aedes.on('client', client => this.queued.delete(client.id));
    aedes.on('unsubscribe', (filters, client) => {
      for (const filter of filters) this.connections.get(client)?.filters.delete(filter);
    });
    aedes.on('keepaliveTimeout', client => this.blame(client, 'disconnects.keepalive'));
    aedes.on('clientError', (client, error) => this.blameError(client, error));
    aedes.on('connectionError', (client, error) => this.blameError(client, error));
    (aedes as NodeJS.EventEmitter).on('error', () => this.counters.add('errors'));
    this.aedes = aedes;
  }

  /** Connected clients. */
  get clients(): number {
    return this.acceptedClients;
  }

  async listen({ host = '127.0.0.1', port = 1883, wsPort }: BrokerOptions): Promise<void> {
    await this.aedes.listen();
    const tcp = createServer(socket => this.accept(socket));
    this.url = `mqtt://${await this.bind(tcp, host, port, '--port')}`;
    if (wsPort === undefined) return;
    const http = createHttpServer((_request, response) => {
      response.writeHead(426, { connection: 'close', 'content-type': 'text/plain' });
      response.end('This port speaks MQTT over WebSocket.\n');
    });
    const webSockets = new WebSocketServer({
      server: http,
      maxPayload: this.limits.packetBytes + 5,
      perMessageDeflate: false,
      // A client must offer `mqtt` (MQTT 3.1.1 §6), and no web page of elsewhere may talk to a broker on this machine.
      verifyClient: ({ req }: { req: IncomingMessage }) => {
        const offered = req.headers['sec-websocket-protocol']?.split(',').map(name => name.trim());
        if (offered?.includes('mqtt') && isOwnOrigin(req)) return true;
        this.counters.add('refused.origin');
        return false;
      },
      handleProtocols: () => 'mqtt',
    });
    webSockets.on('error', () => undefined); // reported by bind
    webSockets.on('connection', (socket, request) => this.accept(createWebSocketStream(socket), request));
    this.wsUrl = `ws://${await this.bind(http, host, wsPort, '--ws-port')}`;
  }

  /**
   * Publishes for the coordinator itself: not handed to `ingest`. Resolves when stored and forwarded. A caller need not
   * wait; a failure is counted under `errors` in any case.
   */
  publish(
    topic: string,
    payload: Buffer | string,
    { qos = 0, retain = false }: { qos?: 0 | 1; retain?: boolean } = {},
  ): Promise<void> {
    const packet = this.packet({ topic, payload: Buffer.from(payload), qos, retain });
    forgive(this.own);
    const delivered = this.track(this.deliver(packet, this.own, undefined));
    delivered.catch(() => this.counters.add('errors'));
    return delivered;
  }

  /** The topics of the retained messages a filter matches. */
  async retainedTopics(filter: string): Promise<string[]> {
    const topics: string[] = [];
    for await (const { topic } of this.persistence.createRetainedStreamCombi([filter])) topics.push(topic);
    return topics;
  }

  /** Hears what is published, from now on, in this process; the function it resolves to ends that. */
  async subscribe(filter: string, listener: (publication: Publication) => void): Promise<() => void> {
    const hear = (packet: Publication, done: () => void) => {
      // §4.7.2: # does not mean the server's own $ topics.
      if (!packet.topic.startsWith('$')) listener(packet);
      done();
    };
    await new Promise<void>(done => this.mq.on(filter, hear as never, done));
    return () => this.mq.removeListener(filter, hear as never);
  }

  /** Disconnects everybody (their wills are published), waits for what is under way and closes the store. */
  async close(): Promise<void> {
    for (const server of this.servers) server.close();
    await new Promise<void>(done => this.aedes.close(done));
    for (const stream of this.streams) stream.destroy();
    // What has just landed may begin something new: aedes deletes a will after it is published.
    for (let busy = true; busy; busy = this.inFlight > 0) {
      if (this.inFlight > 0)
        await new Promise<void>(done => {
          this.whenIdle = done;
        });
      await new Promise(done => setImmediate(done));
    }
    await this.database?.close();
  }

  private async bind(server: Server, host: string, port: number, option: string): Promise<string> {
    // Those that never send CONNECT must not use up the file descriptors.
    server.maxConnections = 2 * this.limits.clients;
    server.on('drop', () => this.counters.add('refused.connections'));
    await new Promise<void>((resolve, reject) => {
      server.once('error', error => reject(describeListenError(error, host, port, option)));
      server.listen(port, host, resolve);
    });
    this.servers.push(server);
    const { address, port: bound } = server.address() as AddressInfo;
    return `${isIP(address) === 6 ? `[${address}]` : address}:${bound}`;
  }

  private accept(stream: Duplex, request?: IncomingMessage): void {
    if (stream instanceof Socket) stream.setNoDelay(true);
    const connection: Connection = {
      accepted: false,
      reason: undefined,
      ingested: Promise.resolve(),
      kept: Promise.resolve(),
      filters: new Set(),
    };
    this.streams.add(stream);
    this.guard(stream, connection);
    stream.once('close', () => {
      this.streams.delete(stream);
      this.unread.delete(stream);
      if (connection.accepted) this.acceptedClients--;
      const reason = connection.reason ?? (connection.accepted ? 'disconnects.network' : undefined);
      if (reason?.startsWith('disconnects')) this.counters.add(reason);
    });
    const client = this.aedes.handle(stream, request);
    this.connections.set(client, connection);
    // aedes takes a message for a duplicate if it comes after a younger one of the same broker. With a persistence on
    // disk they do overtake each other (QoS 0 is not queued, QoS 1 is), and 3–5 % of QoS 1 were lost. An object that
    // forgets: every look finds no message seen before.
    Object.defineProperty(client, 'duplicates', { get: () => ({}) });
  }

  /** Looks at what goes in and out of a connection; bounds both. */
  private guard(stream: Duplex, connection: Connection): void {
    const read = stream.read.bind(stream);
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    const meter = packetMeter(this.limits.packetBytes, type => {
      if (type === 14) connection.reason ??= 'disconnects.asked';
    });
    stream.read = (size?: number) => {
      if (size !== 0 && this.inFlight >= this.limits.inFlight) {
        this.unread.add(stream);
        return null;
      }
      const chunk: Buffer | null = read(size);
      if (chunk === null || meter(chunk)) return chunk;
      connection.reason ??= 'disconnects.packet-bytes';
      stream.destroy();
      return null;
    };
    // To a subscriber that stops reading, aedes waits up to a minute with each message, and its emitter, which has only
    // so many messages under way, stops for everybody. So no write is ever reported as "wait for drain", and who leaves
    // too much unread is disconnected.
    stream.write = (...args: unknown[]) => {
      write(...args);
      if (stream.writableLength > this.limits.unreadBytes) {
        connection.reason ??= 'disconnects.unread';
        stream.destroy();
      }
      return true;
    };
  }

  private blame(client: Client, reason: CounterName): void {
    const connection = this.connections.get(client);
    if (connection) connection.reason ??= reason;
  }

  /** A socket's own error (connection reset) has a code; what aedes and the parser object to has none. */
  private blameError(client: Client, error: Error): void {
    this.blame(client, 'code' in error ? 'disconnects.network' : 'disconnects.protocol');
  }

  private authenticate(
    client: Client,
    done: (error: AuthenticateError | null, success: boolean | null) => void,
  ): void {
    const connection = this.connections.get(client);
    const old = this.aedes.clients[client.id];
    const refuse = (reason: CounterName, returnCode: number) => {
      this.counters.add(reason);
      if (connection) connection.reason = reason;
      done(Object.assign(new Error(reason), { returnCode }) as AuthenticateError, null);
    };
    if (client.id.length > this.limits.topicLength) refuse('refused.client-id', 2);
    else if (this.acceptedClients - (old ? 1 : 0) >= this.limits.clients) refuse('refused.clients', 3);
    else {
      if (old) this.blame(old, 'disconnects.taken-over');
      this.counters.add('connects');
      if (connection) {
        connection.accepted = true;
        this.acceptedClients++;
      }
      done(null, true);
    }
  }

  /** The subscription, or null for SUBACK 128. */
  private allowSubscription(client: Client, subscription: Subscription): Subscription | null {
    const filters = this.connections.get(client)?.filters;
    filters?.add(subscription.topic);
    if (this.isTopic(subscription.topic) && (filters?.size ?? 0) <= this.limits.subscriptions)
      return subscription;
    filters?.delete(subscription.topic);
    this.counters.add('drops.subscription');
    return null;
  }

  private isTopic(topic: string): boolean {
    return topic.length <= this.limits.topicLength && topic.split('/').length <= this.limits.topicLevels;
  }

  /** aedes's hook before PUBACK, PUBREC and its own publishing: for publishes, and for wills, which have no `cmd`. */
  private authorizePublish(
    client: Client | null,
    packet: PublishPacket,
    done: (error?: Error | null) => void,
  ): void {
    const { topic, qos, retain } = packet;
    // MQTT 3.1.1 §4.7.2: topics that begin with $ are the server's.
    if (!this.isTopic(topic) || topic.startsWith('$')) {
      if (client) this.blame(client, 'disconnects.topic');
      done(new Error('a topic that is too long, too deep or begins with $'));
      return;
    }
    // A copy: the payload is a view into all that was read from the socket at once.
    const message = this.packet({ topic, payload: Buffer.from(packet.payload), qos, retain }, client?.id);
    const order = (client && this.connections.get(client)) ?? this.own;
    const isWill = packet.cmd !== 'publish';
    this.counters.add(isWill ? 'wills' : publishCounters[qos]);
    const delivered = isWill
      ? this.deliverWill(message, order)
      : client && qos === 2
        ? this.deliverOnce(message, order, client, packet)
        : this.deliverIngested(message, order);
    this.track(delivered).then(
      published => {
        if (published) this.published.add(packet);
        done(null);
      },
      (error: Error) => {
        if (isWill) {
          // Without an answer aedes leaves the will on disk: it is offered again after a restart.
          this.counters.add('drops.will-ingest');
          return;
        }
        if (client) this.blame(client, 'disconnects.ingest');
        done(error);
      },
    );
  }

  private async deliverIngested(packet: Packet, order: Order): Promise<boolean> {
    await this.deliver(packet, order, this.ingest?.(packet));
    return true;
  }

  /** Of QoS 2, what aedes has already taken (MQTT 3.1.1 §4.3.3) is not delivered again: false. */
  private async deliverOnce(
    packet: Packet,
    order: Order,
    client: Client,
    incoming: PublishPacket,
  ): Promise<boolean> {
    const taken = await this.persistence.incomingGetPacket(client, incoming).then(
      () => true,
      () => false,
    );
    return !taken && this.deliverIngested(packet, order);
  }

  /** After all its client sent, even if some of that was refused; forwarded even if it is refused itself. */
  private async deliverWill(packet: Packet, order: Order): Promise<boolean> {
    forgive(order);
    const ingested = this.ingest?.(packet);
    await this.deliver(packet, order, ingested?.catch(nothing));
    await ingested;
    return true;
  }

  private async deliver(packet: Packet, order: Order, ingested: Promise<void> | undefined): Promise<void> {
    order.ingested = inOrder(order.ingested, ingested);
    await order.ingested;
    order.kept = inOrder(order.kept, this.keep(packet));
    await order.kept;
    await new Promise<void>(done => this.mq.emit(packet as never, () => done()));
  }

  /** Resolves when all that must outlive this process is on disk. */
  private async keep(packet: Packet): Promise<void> {
    const retained = packet.retain ? this.persistence.storeRetained(packet) : undefined;
    if (packet.qos > 0) {
      const subscriptions = await this.persistence.subscriptionsByTopic(packet.topic);
      // aedes-persistence-level lists QoS 0 too if another client's filter matches; its queue would never be emptied.
      const queues = subscriptions.filter(({ clientId, qos }) => qos > 0 && this.mayQueue(clientId));
      if (queues.length > 0) await this.persistence.outgoingEnqueueCombi(queues, packet);
    }
    await retained;
  }

  private mayQueue(clientId: string): boolean {
    if (this.aedes.clients[clientId]) return true;
    const queued = this.queued.get(clientId) ?? 0;
    if (queued >= this.limits.queuedPerSession) {
      this.counters.add('drops.queue-full');
      return false;
    }
    this.queued.set(clientId, queued + 1);
    return true;
  }

  private packet(publication: Publication, clientId?: string): Packet {
    return {
      ...publication,
      cmd: 'publish',
      brokerId: this.aedes.id,
      brokerCounter: ++this.aedes.counter,
      dup: false,
      ...(clientId === undefined ? {} : { clientId }),
    };
  }

  /** Counts what is in flight; lets sockets be read again when there is room. */
  private async track<T>(delivered: Promise<T>): Promise<T> {
    this.inFlight++;
    try {
      return await delivered;
    } finally {
      this.inFlight--;
      for (const stream of this.unread) {
        if (this.inFlight >= this.limits.inFlight) break;
        this.unread.delete(stream);
        stream.emit('readable');
      }
      if (this.inFlight === 0) this.whenIdle?.();
    }
  }
}

function nothing(): void {}

/** What follows goes ahead even if something before it was refused. */
function forgive(order: Order): void {
  order.ingested = order.ingested.catch(nothing);
  order.kept = order.kept.catch(nothing);
}

/** Resolves when both have; rejects as soon as one does. */
function inOrder(before: Promise<void>, work: Promise<void> | undefined): Promise<void> {
  return work === undefined ? before : Promise.all([before, work]).then(nothing);
}

/**
 * mqemitter goes from one queued message to the next by calling itself, and with no subscriber in between nothing
 * breaks the chain: a backlog of some thousand ends in RangeError, which ends the process. Past a depth it waits a turn.
 */
export function boundedEmitter(concurrency = emitterConcurrency): mqemitter.MQEmitter {
  const mq = mqemitter({ concurrency, matchEmptyLevels: true });
  const internals = mq as unknown as { current: number; _do: (message: object, done: () => void) => void };
  const run = internals._do.bind(mq);
  let depth = 0;
  internals._do = (message, done) => {
    if (depth < emitterDepth) {
      depth++;
      run(message, done);
      depth--;
      return;
    }
    // Still counted as under way, so that nothing younger overtakes it.
    internals.current++;
    setImmediate(() => {
      internals.current--;
      internals._do(message, done);
    });
  };
  return mq;
}

/**
 * Follows the fixed headers (MQTT 3.1.1 §2.2) of a stream of packets. The function returned takes the next bytes;
 * false: a packet is longer than `limit` behind its fixed header. `began` hears the type of each packet.
 */
export function packetMeter(limit: number, began: (type: number) => void): (bytes: Uint8Array) => boolean {
  /** Bytes of the body still to come; 0: a first byte is next; -1: a byte of the length is next. */
  let body = 0;
  let length = 0;
  let shift = 0;
  return bytes => {
    for (let at = 0; at < bytes.length; ) {
      if (body > 0) {
        const step = Math.min(body, bytes.length - at);
        body -= step;
        at += step;
      } else if (body === 0) {
        began(bytes[at++] >> 4);
        body = -1;
        length = 0;
        shift = 0;
      } else {
        const byte = bytes[at++];
        length += (byte & 0x7f) * 2 ** shift;
        shift += 7;
        // More than four bytes of length are malformed (§2.2.3).
        if (length > limit || shift > 28) return false;
        if (byte < 0x80) body = length;
      }
    }
    return true;
  };
}

/** Whether a WebSocket comes from no web page, or from one of this machine or of the very address it connects to. */
function isOwnOrigin({ headers }: IncomingMessage): boolean {
  if (headers.origin === undefined) return true;
  if (!URL.canParse(headers.origin)) return false;
  const { hostname } = new URL(headers.origin);
  if (['localhost', '127.0.0.1', '[::1]'].includes(hostname)) return true;
  // Only an address proves that: a name can be made to point here (DNS rebinding).
  const address = hostname.replace(/^\[|\]$/g, '');
  return (
    isIP(address) !== 0 &&
    URL.canParse(`http://${headers.host}`) &&
    new URL(`http://${headers.host}`).hostname === hostname
  );
}

function describeListenError(error: Error, host: string, port: number, option: string): Error {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE')
    return new Error(`port ${port} is in use: stop the other broker or pass ${option}`, { cause: error });
  if (code === 'EACCES')
    return new Error(`port ${port} needs privileges: pass ${option} with a number above 1023`, {
      cause: error,
    });
  return new Error(`cannot listen on ${host} port ${port} (${message}): pass another address or ${option}`, {
    cause: error,
  });
}
