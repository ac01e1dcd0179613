/**
 * A short visit to the broker by a command: connect, ask, wait for the answer, leave. No session stays behind.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { connect, type IPublishPacket, type MqttClient } from 'mqtt';
import { checkBrokerUrl, describeBrokerError, subscribe, within } from '../mqtt/session.js';

export type Hear = (topic: string, payload: Uint8Array, retained: boolean) => void;

export interface Visit {
  subscribe(filter: string): Promise<void>;
  /** Resolves when the broker has acknowledged (QoS 1). */
  publish(topic: string, payload: Uint8Array | string, retain: boolean): Promise<void>;
}

/** A broker has sent the retained messages of a subscription when none came for this long. */
const quietMs = 250;
const mostRetainedMs = 10_000;
/** For the broker's own answers. */
const answerMs = 10_000;

/** Runs `work` with a connection; errors say what to do. `lost` is called if the broker goes away meanwhile. */
export async function visit<T>(url: string, hear: Hear, work: (visit: Visit) => Promise<T>): Promise<T> {
  const client = await connected(url);
  client.on('message', (topic, payload, packet: IPublishPacket) => hear(topic, payload, packet.retain));
  const gone = new Promise<never>((_, reject) => {
    client.on('close', () =>
      reject(new Error(describeBrokerError(url, new Error('it closed the connection')))),
    );
    client.on('error', error => reject(new Error(describeBrokerError(url, error))));
  });
  gone.catch(() => {});
  try {
    const result = await Promise.race([gone, work(new Visitor(url, client))]);
    await within(answerMs, client.endAsync(), 'the end');
    return result;
  } catch (error) {
    client.end(true); // without waiting for what a broker that is gone will not acknowledge
    throw error;
  }
}

/** Every retained message below the filter. */
export async function collectRetained(url: string, filter: string): Promise<Map<string, Uint8Array>> {
  const retained = new Map<string, Uint8Array>();
  let heardAt = Date.now();
  const hear: Hear = (topic, payload, isRetained) => {
    heardAt = Date.now();
    if (isRetained) retained.set(topic, payload);
  };
  return visit(url, hear, async ({ subscribe }) => {
    const endAt = Date.now() + mostRetainedMs;
    await subscribe(filter);
    heardAt = Date.now();
    while (Date.now() - heardAt < quietMs && Date.now() < endAt) await pause(quietMs / 5);
    return retained;
  });
}

class Visitor implements Visit {
  constructor(url: string, client: MqttClient) {
    this.subscribe = filter => subscribe(client, url, [filter]);
    this.publish = async (topic, payload, retain) => {
      await within(
        answerMs,
        client.publishAsync(topic, payload as Buffer | string, { qos: 1, retain }),
        'a publication',
      );
    };
  }
  readonly subscribe: Visit['subscribe'];
  readonly publish: Visit['publish'];
}

async function connected(url: string): Promise<MqttClient> {
  checkBrokerUrl(url);
  return new Promise((resolve, reject) => {
    const client = connect(url, { reconnectPeriod: 0, connectTimeout: 5_000 });
    const fail = (error: unknown) => {
      client.end(true);
      reject(new Error(describeBrokerError(url, error)));
    };
    const closed = () => fail(new Error('it closed the connection before accepting it'));
    client.once('error', fail);
    client.once('close', closed);
    client.once('connect', () => {
      client.off('error', fail);
      client.off('close', closed);
      resolve(client);
    });
  });
}
