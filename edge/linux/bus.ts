/**
 * The MQTT session of a gateway (MQTT 3.1.1 or 5) through `mqtt`: persistent, so that the broker keeps what is published for
 * us while we are away; with a will, TLS and client certificates, and a jittered back-off between tries that never ends.
 *
 * What is published waits in the outbox (outbox.ts) until the broker has acknowledged it. What arrives is acknowledged when
 * the promise of `message` resolves, one message at a time. A fault is said once, not at every try.
 * Bounds: `mostUnderWay` publications without acknowledgement; the outbox; `mostPacketBytes` of a packet that arrives.
 */

import type { Duplex } from 'node:stream';
import { connect, type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import type { LogLevel } from '../../agent/port/effect.js';
import type { BrokerConfig } from './config.js';
import type { Outbox, Publication } from './outbox.js';
import { limitPackets, PacketLimit } from './packet-limit.js';

export interface BusOptions {
  readonly broker: BrokerConfig;
  readonly clientId: string;
  readonly will: Publication;
  readonly outbox: Outbox;
  /** The broker accepted the connection. */
  readonly up: (sessionPresent: boolean) => void;
  readonly down: () => void;
  /** Resolves when the message may be acknowledged. A rejection ends the connection, so that the broker sends it again. */
  readonly message: (topic: string, payload: Uint8Array, retained: boolean) => Promise<void>;
  readonly log: (level: LogLevel, text: string) => void;
  /** Of the spans between tries; left out: the system's monotonic one. */
  readonly clock?: Clock;
}

export interface Clock {
  /** Milliseconds. */
  now(): number;
  /** Calls `what` once after so many; returns what calls it off. */
  after(ms: number, what: () => void): () => void;
}

/** Doubles from the first to the last span; each is multiplied by 0.5 … 1, so that gateways do not return in step. */
const firstRetryMs = 500;
const lastRetryMs = 30_000;
/** A connection that lasted so long was a good one: the back-off begins anew. Two nodes of one name throw each other out at once. */
const steadyMs = 30_000;
/** Below the 20 that mosquitto takes by default (max_inflight_messages). */
const mostUnderWay = 16;
/** The broker publishes the will after one and a half of these (MQTT 3.1.1 §3.1.2.10). */
const keepaliveS = 30;
const connectTimeoutMs = 10_000;
/**
 * Of an MQTT packet, behind its header: the longest topic (64 KiB, MQTT 3.1.1 §1.5.3) and properties beside any payload that is
 * looked at (`limits.payloadBytes`). And of a WebSocket message, which a broker may fill with several packets.
 */
const mostPacketBytes = 256 * 1024;
const mostWebSocketBytes = 4 << 20;
/** For what is under way when the bus is closed. */
const closeMs = 3_000;
const closedByBroker = 'it closed the connection';
const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, what) => {
    const timer = setTimeout(what, ms);
    return () => clearTimeout(timer);
  },
};

/** How `mqtt` opens the connection of a client: private there, and the only place before its parser. */
interface StreamBuilder {
  streamBuilder: (client: StreamBuilder) => Duplex;
}

export class Bus {
  private readonly options: BusOptions;
  private readonly clock: Clock;
  private client: MqttClient | undefined;
  private connectedAt = 0;
  private retryMs = firstRetryMs;
  private stopTimer = () => {};
  private underWay = 0;
  private closing = false;
  private lastFault = '';
  /** The connection under way stands, whatever MQTT says. */
  private isReached = false;
  /** Called when nothing is left to be sent. */
  private drained: (() => void) | undefined;

  constructor(options: BusOptions) {
    this.options = options;
    this.clock = options.clock ?? systemClock;
  }

  get connected(): boolean {
    return this.client?.connected ?? false;
  }

  /** Goes on trying until `close`. */
  start(): void {
    const { broker, clientId, will } = this.options;
    const options: IClientOptions = {
      clientId,
      protocolVersion: broker.mqttVersion,
      clean: false,
      keepalive: keepaliveS,
      connectTimeout: connectTimeoutMs,
      reconnectPeriod: 0,
      queueQoSZero: false,
      will: { ...will, payload: Buffer.from(will.payload), qos: 1 },
      manualConnect: true,
      wsOptions: { maxPayload: mostWebSocketBytes },
      ...(broker.mqttVersion === 5
        ? { properties: { sessionExpiryInterval: 0xffffffff, maximumPacketSize: mostPacketBytes } }
        : {}),
      ...(broker.user === undefined ? {} : { username: broker.user }),
      ...(broker.password === undefined ? {} : { password: broker.password }),
      ...(broker.ca === undefined ? {} : { ca: broker.ca }),
      ...(broker.cert === undefined ? {} : { cert: broker.cert }),
      ...(broker.key === undefined ? {} : { key: broker.key }),
    };
    const client = connect(broker.url, options);
    this.client = client;
    // Before the connection stands: what the broker kept for us comes in the same breath as CONNACK.
    client.handleMessage = (packet, done) => this.take(client, packet, done);
    client.on('connect', ({ sessionPresent }) => this.connectedNow(client, sessionPresent));
    let isFaulty = false;
    client.on('error', error => {
      if (!isFaulty) this.fault(error);
      isFaulty = true;
      // What is no MQTT leaves a connection of no use.
      client.stream.destroy();
    });
    client.on('close', () => this.lost(client));
    // A WebSocket's stream does not say when its connection stands.
    this.isReached = broker.url.startsWith('ws');
    const builder = client as unknown as StreamBuilder;
    const open = builder.streamBuilder;
    builder.streamBuilder = one => {
      const stream = open(one);
      stream.once('connect', () => {
        this.isReached = true;
      });
      return limitPackets(stream, new PacketLimit(mostPacketBytes));
    };
    client.connect();
  }

  publish(publication: Publication & { readonly qos: 0 | 1 }): void {
    const { topic, payload, qos, retain } = publication;
    if (qos === 0) {
      if (this.connected) this.client?.publish(topic, payload as Buffer, { qos, retain });
      return;
    }
    this.options.outbox.add(publication);
    this.send();
  }

  /** Nothing while the broker is away: the agent asks again when it is back. */
  subscribe(filter: string, qos: 0 | 1): void {
    const { client } = this;
    if (!client?.connected) return;
    client.subscribe(filter, { qos }, (error, granted) => {
      if (this.client !== client || !client.connected) return;
      // SUBACK 128 (MQTT 3.1.1 §3.9.3), or a reason code of MQTT 5 from there on.
      if (error || granted?.some(grant => grant.qos > 2)) {
        this.tell(`${this.options.broker.url} refuses the subscription to ${filter}: check its access rules`);
        // Without its rules the node is of little use; the next try may find the broker put right.
        client.stream.destroy();
      }
    });
  }

  /** Sends what waits, as far as the broker takes it in time, and leaves in an orderly way: no will. */
  async close(): Promise<void> {
    this.closing = true;
    this.stopTimer();
    const { client } = this;
    if (!client?.connected) {
      client?.end(true);
      return;
    }
    const orderly = new Promise<void>(resolve => {
      this.drained = resolve;
      this.send();
    }).then(() => client.endAsync());
    // A broker that has stopped answering must not keep us.
    await within(closeMs, orderly).catch(() => client.end(true));
  }

  private connectedNow(client: MqttClient, sessionPresent: boolean): void {
    if (this.client !== client || this.closing) return;
    this.connectedAt = this.clock.now();
    this.say('info', `connected to ${this.options.broker.url}`);
    this.options.up(sessionPresent);
    this.send();
  }

  private lost(client: MqttClient): void {
    if (this.client !== client) return;
    const wasConnected = this.connectedAt > 0;
    const lastedMs = wasConnected ? this.clock.now() - this.connectedAt : 0;
    this.client = undefined;
    this.connectedAt = 0;
    this.underWay = 0;
    client.end(true);
    this.options.outbox.returnAll();
    this.drained?.();
    if (this.closing) return;
    if (wasConnected) {
      this.options.down();
      this.say('warn', `lost ${this.options.broker.url}; trying again`);
    } else {
      this.fault(new Error(closedByBroker));
    }
    if (lastedMs >= steadyMs) {
      this.retryMs = firstRetryMs;
      this.lastFault = '';
    }
    const delayMs = this.retryMs * (0.5 + Math.random() / 2);
    this.retryMs = Math.min(lastRetryMs, this.retryMs * 2);
    this.stopTimer = this.clock.after(delayMs, () => this.start());
  }

  private send(): void {
    const { client, options } = this;
    if (!client?.connected) return;
    while (this.underWay < mostUnderWay) {
      const publication = options.outbox.next();
      if (!publication) break;
      this.underWay++;
      const { topic, payload, retain } = publication;
      client.publish(topic, payload as Buffer, { qos: 1, retain }, error => {
        if (this.client !== client || (error && !client.connected)) return;
        this.underWay--;
        // MQTT 5 §3.4.2.1: the broker has it and does not want it; it would not the next time.
        if (error) this.say('error', `${options.broker.url} refuses ${topic}: ${error.message}`);
        options.outbox.settle(publication, error ? 'refused' : 'acknowledged');
        this.send();
      });
    }
    if (this.underWay === 0) this.drained?.();
  }

  private take(client: MqttClient, packet: IPublishPacket, done: (error?: Error) => void): void {
    this.options.message(packet.topic, packet.payload as Uint8Array, packet.retain).then(
      () => done(),
      error => {
        this.say('error', (error as Error).message);
        client.stream.destroy();
      },
    );
  }

  private fault(error: unknown): void {
    // The close that follows an error has nothing to add.
    if (this.lastFault !== '' && (error as Error).message === closedByBroker) return;
    this.tell(`${describeFault(this.options.broker, error, this.isReached)}; trying again`);
  }

  /** Once, until a connection was good or something else is wrong. */
  private tell(text: string): void {
    if (text === this.lastFault) return;
    this.lastFault = text;
    this.say('error', text);
  }

  private say(level: LogLevel, text: string): void {
    this.options.log(level, text);
  }
}

function within(ms: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function silent(url: string): string {
  return `nothing answers at ${url}: is its address right, and does a firewall let us out?`;
}

/** What went wrong with a broker, and what to do about it. */
function describeFault({ url, cert }: BrokerConfig, error: unknown, isReached: boolean): string {
  const { code, message } = error as { code?: unknown; message: string };
  switch (code) {
    case 'ECONNREFUSED':
      return `no broker answers at ${url}`;
    case 'ETIMEDOUT':
      return silent(url);
    case 'ENETUNREACH':
    case 'EHOSTUNREACH':
    case 'ENETDOWN':
    case 'EADDRNOTAVAIL':
      return `there is no network on the way to ${url} (${code})`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host of ${url} has no address: check broker.url and the name server`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'CERT_SIGNATURE_FAILURE':
      return `${url}: ${message}: name its authority's certificate in broker.caFile if you trust it`;
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return `${url}: ${message}: renew the broker's certificate, or check the clock here, which says ${new Date().toISOString()}`;
    case 4: // MQTT 3.1.1 §3.2.2.3: bad user name or password, not authorized; MQTT 5 §3.2.2.2 the same
    case 5:
    case 134:
    case 135:
      return `${url} refuses us (${message}): check broker.user and its password`;
    default:
      if (message === 'connack timeout')
        return isReached ? `${url} took the connection and said nothing: is it an MQTT broker?` : silent(url);
      // An alert of the other side (RFC 8446 §6): it is about us.
      if (/^ERR_SSL_.*ALERT/.test(String(code)))
        return `${url} refuses ${cert ? 'our certificate: check broker.certFile' : 'us without a certificate: name one in broker.certFile'} (${code})`;
      return `${url}: ${message || String(code)}${code === undefined && message !== closedByBroker ? ': is it an MQTT broker?' : ''}`;
  }
}
