/**
 * An MQTT session with a broker (MQTT 3.1.1 or 5) through `mqtt`, for the coordinator and for live simulated nodes:
 * persistent, so that the broker keeps QoS 1 messages while we are away; with a jittered back-off between tries; and
 * with acknowledgements that wait for `message`.
 *
 * `mqtt` hands packets over one at a time and acknowledges each before it takes the next, which would make every
 * message wait for a disk write of its own. So a packet is taken off its hands at once, and its PUBACK sent from here,
 * in the order of arrival (MQTT-4.6.0-2), once the promise of `message` has resolved.
 */

import { connect, type IPublishPacket, type MqttClient } from 'mqtt';

export interface MqttSessionOptions {
  /** mqtt://, mqtts://, ws:// or wss:// with host, port, and user and password if the broker asks for them. */
  readonly url: string;
  readonly clientId: string;
  /** 4 is MQTT 3.1.1; default 4. */
  readonly protocolVersion?: 4 | 5;
  readonly filters?: readonly string[];
  readonly will?: MqttPublication;
  /** Resolves when the message may be acknowledged; a rejection ends the connection, so that the broker sends again. */
  readonly message: (topic: string, payload: Uint8Array, retained: boolean) => Promise<void>;
  /** Connected, and subscribed to `filters`. */
  readonly up?: (sessionPresent: boolean) => void;
  readonly down?: () => void;
  /** Lost, refused, back … in words, for the person who runs it. */
  readonly log: (text: string) => void;
}

export interface MqttPublication {
  readonly topic: string;
  readonly payload: Uint8Array | string;
  readonly qos: 0 | 1;
  readonly retain: boolean;
}

/** Back-off doubles from the first to the last span; each is multiplied by 0.5 … 1, so that clients do not return in step. */
const firstRetryMs = 500;
const lastRetryMs = 30_000;
/** Towards a broker that reads slowly; beyond it QoS 0 is dropped and counted. */
const mostWaitingBytes = 4 << 20;
/** QoS 1 waiting for the broker's word. */
const mostUnacknowledged = 1_000;
/** A broker answers a subscription in milliseconds; one that has not by then never will. */
const answerMs = 10_000;
/** For what is on its way when the session is closed. */
const closeMs = 3_000;
/** Messages taken and not yet acknowledged; at the limit the next one waits, and so does the broker. */
const mostInFlight = 1_000;
/** Given to `mqtt` instead of success, so that it takes the next packet without acknowledging this one. */
const acknowledgedLater = new Error('acknowledged when it is safe');

export class MqttSession {
  connected = false;
  /** Publications given up because the broker was away or slow. */
  dropped = 0;
  private readonly options: MqttSessionOptions;
  private client: MqttClient | undefined;
  private closing = false;
  private retryMs = firstRetryMs;
  private timer: NodeJS.Timeout | undefined;
  private acknowledging: Promise<void> = Promise.resolve();
  private inFlight = 0;
  private closed: Promise<void> | undefined;
  /** QoS 1 that no broker has acknowledged yet, in order; sent again over the next connection. */
  private readonly unacknowledged = new Set<MqttPublication>();

  constructor(options: MqttSessionOptions) {
    this.options = options;
  }

  /** The first connection: rejects with what the broker or the network said. Later losses are mended from within. */
  async open(): Promise<void> {
    await this.connect();
  }

  /** Goes on trying until it is connected or closed. */
  openEventually(): void {
    this.connect().catch(error => {
      this.options.log((error as Error).message);
      this.retry();
    });
  }

  /**
   * False, and counted, if the broker is away or too slow to take more. What was taken with QoS 1 is sent again, over
   * each new connection, until it is acknowledged.
   */
  publish(publication: MqttPublication): boolean {
    const { client } = this;
    const isFull =
      publication.qos === 0
        ? (client?.stream.writableLength ?? 0) > mostWaitingBytes
        : this.unacknowledged.size >= mostUnacknowledged;
    if (!client?.connected || isFull) {
      this.dropped++;
      return false;
    }
    if (publication.qos === 1) this.unacknowledged.add(publication);
    this.send(client, publication);
    return true;
  }

  subscribe(filter: string, qos: 0 | 1): void {
    this.client?.subscribe(filter, { qos }, error => {
      if (error && !this.closing) this.options.log(describeBrokerError(this.options.url, error));
    });
  }

  /** Orderly: what was taken in is acknowledged, what was published is sent, the will is not. */
  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  /** As if the machine had died: the broker publishes the will. */
  abort(): void {
    this.closing = true;
    clearTimeout(this.timer);
    this.client?.stream.destroy();
    this.client?.end(true);
  }

  private async end(): Promise<void> {
    this.closing = true;
    clearTimeout(this.timer);
    const { client } = this;
    const orderly = this.acknowledging.then(() => client?.endAsync(!client.connected));
    // A broker that has stopped answering must not keep us.
    await within(closeMs, orderly, 'the end').catch(() => client?.stream.destroy());
  }

  private send(client: MqttClient, publication: MqttPublication): void {
    const { topic, payload, qos, retain } = publication;
    client.publish(topic, payload as Buffer | string, { qos, retain }, error => {
      if (!error) this.unacknowledged.delete(publication);
      else if (!this.closing && client.connected)
        this.options.log(describeBrokerError(this.options.url, error));
    });
  }

  private async connect(): Promise<void> {
    const { url, clientId, protocolVersion = 4, will, filters = [] } = this.options;
    checkBrokerUrl(url);
    const client = connect(url, {
      clientId,
      protocolVersion,
      clean: false,
      ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 0xffffffff } } : {}),
      ...(will ? { will: { ...will, payload: will.payload as Buffer } } : {}),
      reconnectPeriod: 0,
      queueQoSZero: false,
      connectTimeout: 10_000,
    });
    this.client = client;
    // Before the connection stands: what the broker kept for us comes in the same breath as CONNACK.
    client.handleMessage = (packet, done) => this.take(client, packet, done);
    const sessionPresent = await this.connack(client);
    client.on('close', () => this.lost(client));
    // Also where the session was present: it may be one from before a filter was added.
    if (filters.length > 0) {
      await subscribe(client, url, filters).catch(error => {
        client.end(true);
        throw error;
      });
    }
    if (this.closing) {
      client.end(true);
      return;
    }
    this.connected = true;
    this.retryMs = firstRetryMs;
    for (const publication of this.unacknowledged) this.send(client, publication);
    this.options.up?.(sessionPresent);
  }

  private connack(client: MqttClient): Promise<boolean> {
    const { url } = this.options;
    return new Promise<boolean>((resolve, reject) => {
      let connected = false;
      const fail = (error: unknown) => {
        if (connected) return;
        client.end(true);
        reject(new Error(describeBrokerError(url, error)));
      };
      client.once('connect', packet => {
        connected = true;
        resolve(packet.sessionPresent);
      });
      client.on('error', error =>
        connected ? this.options.log(describeBrokerError(url, error)) : fail(error),
      );
      client.once('close', () => fail(new Error('it closed the connection')));
    });
  }

  private lost(client: MqttClient): void {
    if (this.client !== client || this.closing || !this.connected) return;
    this.connected = false;
    client.end(true);
    this.options.down?.();
    this.options.log(`lost ${redact(this.options.url)}; trying again`);
    this.retry();
  }

  private retry(): void {
    if (this.closing) return;
    const delayMs = this.retryMs * (0.5 + Math.random() / 2);
    this.retryMs = Math.min(lastRetryMs, this.retryMs * 2);
    this.timer = setTimeout(() => this.openEventually(), delayMs);
  }

  private take(client: MqttClient, packet: IPublishPacket, done: (error?: Error) => void): void {
    const { messageId, topic, payload, retain } = packet;
    const taken = Promise.resolve().then(() => this.options.message(topic, payload as Uint8Array, retain));
    if (packet.qos === 0 || messageId === undefined) {
      taken.catch(error => this.options.log((error as Error).message));
      done();
      return;
    }
    // It may be refused before its turn comes, when nobody listens yet; that must not end the process.
    taken.catch(() => {});
    this.inFlight++;
    const mayTakeNext = this.inFlight < mostInFlight;
    this.acknowledging = this.acknowledging
      .then(() => taken)
      .then(
        () => acknowledge(client, messageId),
        error => {
          this.options.log((error as Error).message);
          client.stream.destroy();
        },
      )
      .then(() => {
        this.inFlight--;
        if (!mayTakeNext) done(acknowledgedLater);
      });
    if (mayTakeNext) done(acknowledgedLater);
  }
}

/** PUBACK out of `mqtt`'s own sequence; `_sendPacket` is the only door to its packet writer. */
function acknowledge(client: MqttClient, messageId: number): void {
  if (!client.connected) return; // the broker sends the message again
  const writer = client as unknown as { _sendPacket(packet: object): void };
  writer._sendPacket({ cmd: 'puback', messageId, reasonCode: 0 });
}

/** Subscribes with QoS 1; rejects, saying what to do, if the broker refuses or does not answer. */
export async function subscribe(client: MqttClient, url: string, filters: readonly string[]): Promise<void> {
  const refusal = `${redact(url)} refuses the subscription to ${filters.join(', ')}: check its access rules`;
  const granted = await within(
    answerMs,
    client.subscribeAsync([...filters], { qos: 1 }),
    'a subscription',
  ).catch(error => {
    // SUBACK 128 (MQTT 3.1.1 §3.9.3) or a reason code of MQTT 5.
    throw new Error((error as { code?: number }).code === 128 ? refusal : describeBrokerError(url, error));
  });
  if (granted.some(({ qos }) => qos > 2)) throw new Error(refusal);
}

/** Rejects if the promise takes longer than `ms`. */
export function within<T>(ms: number, promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer to ${what} within ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Throws, saying what was expected, unless `url` is one of a broker. */
export function checkBrokerUrl(url: string): void {
  if (!/^(mqtts?|wss?):\/\/./.test(url) || !URL.canParse(url))
    throw new Error(`--broker: expected mqtt://host:port, mqtts://, ws:// or wss://, got ${redact(url)}`);
}

/** A URL without its password, for messages. */
export function redact(url: string): string {
  return url.replace(/\/\/([^:@/]*)(:.*)?@/, '//$1@');
}

/** What went wrong with a broker, and what to do about it. */
export function describeBrokerError(url: string, error: unknown): string {
  const { code, message } = error as { code?: unknown; message: string };
  const broker = redact(url);
  switch (code) {
    case 'ECONNREFUSED':
      return `no broker answers at ${broker}: start one with \`kith up\`, or name another with --broker`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host of ${broker} has no address: check the name`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return `${broker}: ${message}: name the authority's certificate in NODE_EXTRA_CA_CERTS if you trust it`;
    case 4: // MQTT 3.1.1 §3.2.2.3: bad user name or password, not authorized; MQTT 5 §3.2.2.2 the same
    case 5:
    case 134:
    case 135:
      return `${broker} refuses us (${message}): put user and password into the URL, mqtt://user:password@host`;
    default:
      if (message === 'connack timeout')
        return `${broker} took the connection and said nothing: is it an MQTT broker?`;
      return `${broker}: ${message || String(code)}`;
  }
}
