/**
 * Puts the coordinator together: store, broker (embedded, or somebody else's), coordinator, and the housekeeping
 * between them. One directory holds all that must survive.
 */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { coordinatorTopicOf, filterOf, formatTopic } from '../../agent/message/topic.js';
import { MqttSession, redact } from '../mqtt/session.js';
import { type Broker, openBroker } from './broker.js';
import { Coordinator, type CoordinatorOptions, type Publication } from './coordinator.js';
import { openStore } from './store.js';

export interface StartOptions {
  /** Where the store and the broker keep what must survive. */
  readonly directory: string;
  /** Somebody else's broker; left out: an embedded one. */
  readonly broker?: string;
  readonly mqttVersion?: 4 | 5;
  /** Telemetry older than this is deleted; default 30 days. */
  readonly keepMs?: number;
  /** Of the embedded broker. */
  readonly host?: string;
  readonly port?: number;
  readonly wsPort?: number;
  readonly log: (text: string) => void;
  readonly event?: CoordinatorOptions['event'];
}

export interface Running {
  readonly coordinator: Coordinator;
  /** Where clients connect, without a password. */
  readonly url: string;
  readonly wsUrl?: string;
  close(): Promise<void>;
}

/** How often the coordinator publishes its counters and deletes a bounded part of what is too old. */
const housekeepingMs = 5_000;
const refusalSpacingMs = 10_000;

export async function startCoordinator(options: StartOptions): Promise<Running> {
  const { directory, log } = options;
  await mkdir(directory, { recursive: true }).catch(error => {
    throw new Error(`--data: cannot make ${directory}: ${(error as Error).message}`);
  });
  const store = await openStore(join(directory, 'store'), {
    sync: true,
    ...(options.keepMs === undefined ? {} : { limits: { maxAgeMs: options.keepMs } }),
  });
  let publish: CoordinatorOptions['publish'] = () => {};
  const coordinator = await Coordinator.open({
    store,
    clock: Date.now,
    publish: (...all) => publish(...all),
    ...(options.event ? { event: options.event } : {}),
  });
  // A full disk refuses thousands of messages a second; the person who runs this needs to be told once in a while.
  let toldAt = -Infinity;
  const ingest = (publication: Publication) =>
    coordinator.ingest(publication).catch(error => {
      if (performance.now() - toldAt > refusalSpacingMs) {
        toldAt = performance.now();
        log(`not stored, and so not acknowledged: ${(error as Error).message}`);
      }
      throw error;
    });
  let uplink: MqttSession | undefined;
  let broker: Broker | undefined;
  try {
    if (options.broker !== undefined) {
      uplink = new MqttSession({
        url: options.broker,
        clientId: 'kith-coordinator',
        protocolVersion: options.mqttVersion ?? 4,
        filters: [filterOf({}, '#'), coordinatorTopicOf('request', 'node')],
        message: (topic, payload) => ingest({ topic, payload }),
        log,
      });
      const session = uplink;
      publish = (topic, payload, { retain }) => session.publish({ topic, payload, qos: 0, retain });
      await uplink.open();
    } else {
      broker = await openBroker({
        directory: join(directory, 'broker'),
        sync: true,
        ...(options.host === undefined ? {} : { host: options.host }),
        ...(options.port === undefined ? {} : { port: options.port }),
        ...(options.wsPort === undefined ? {} : { wsPort: options.wsPort }),
        ingest,
        beforeListening: opened => forgetRemovedRules(coordinator, opened),
      });
      const own = broker;
      publish = (topic, payload, { retain }) => own.publish(topic, payload, { qos: 0, retain });
    }
  } catch (error) {
    await uplink?.close();
    await broker?.close();
    await store.close();
    throw error;
  }
  const timer = setInterval(() => {
    coordinator.publishStatus({
      store: { ...store.counters.snapshot(), ...store.databaseCounters.snapshot() },
      ...(broker ? { broker: broker.counters.snapshot() } : {}),
      ...(uplink ? { uplink: { connected: uplink.connected, dropped: uplink.dropped } } : {}),
    });
    store.retain(Date.now()).catch(error => log((error as Error).message));
  }, housekeepingMs);
  return {
    coordinator,
    url: options.broker !== undefined ? redact(options.broker) : (broker as Broker).url,
    ...(broker?.wsUrl === undefined ? {} : { wsUrl: broker.wsUrl }),
    async close() {
      clearInterval(timer);
      await uplink?.close();
      await broker?.close();
      await store.close();
    },
  };
}

/**
 * A rule the store desires and the broker has no trace of was removed, or never acknowledged, when the process died.
 * Before anyone can connect: a rule published meanwhile must not be taken for one of those.
 */
async function forgetRemovedRules(coordinator: Coordinator, broker: Broker): Promise<void> {
  const retained = await broker.retainedTopics(filterOf({}, 'rule/+'));
  await coordinator.forgetRulesExcept(new Set(retained), ({ site, node, rule }) =>
    formatTopic({ site, node }, { kind: 'rule', name: rule }),
  );
}
