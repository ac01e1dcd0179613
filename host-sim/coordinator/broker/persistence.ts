/**
 * Where the broker keeps sessions, queues, wills and retained messages: aedes-persistence-level over database.ts, whose
 * writes are durable in the order they were asked for, or aedes-persistence in memory.
 */

import { Readable } from 'node:stream';
import aedesMemory from 'aedes-persistence';
// @ts-expect-error: the package has no types
import aedesLevel from 'aedes-persistence-level';
import type { Database, Operation, Range } from '../database.js';

/** What the broker itself calls; aedes calls the rest. */
export interface Persistence {
  storeRetained(packet: object): Promise<void>;
  subscriptionsByTopic(topic: string): Promise<{ clientId: string; qos: number }[]>;
  outgoingEnqueueCombi(subscriptions: object[], packet: object): Promise<unknown>;
  addSubscriptions(client: object, subscriptions: object[]): Promise<unknown>;
  outgoingUpdate(client: { readonly id: string }, packet: { readonly cmd: string }): Promise<void>;
  incomingGetPacket(client: object, packet: object): Promise<unknown>;
  delWill(client: object): Promise<unknown>;
  createRetainedStreamCombi(patterns: string[]): Readable;
}

export function memoryPersistence(): Persistence {
  return forLateSubscribers((aedesMemory as unknown as () => Persistence)());
}

/** `failed` is told of what fails where aedes does not look. */
export function persistenceOn(database: Database, failed: () => void): Persistence {
  const persistence = forLateSubscribers(aedesLevel(levelLike(database)));
  const { delWill } = persistence;
  return Object.assign(persistence, {
    // aedes leaves the rejection unhandled, which would end the process: one client with a will on a full disk.
    delWill: (client: object) => delWill.call(persistence, client).catch(failed),
    // aedes-persistence-level reads every retained message for each filter: a street of 10,000 agents that reconnect
    // reads 10,000 × all. The keys are topics, so only those with the filter's literal beginning are read here.
    // And aedes listens for no error on this stream, which would end the process.
    createRetainedStreamCombi: (patterns: string[]) =>
      Readable.from(retainedMessages(database, patterns)).on('error', failed),
  });
}

/**
 * Who subscribes after a message was queued for the subscribers of the moment, and before it is handed round, is handed
 * it without a queue entry; aedes then finds no such packet and drops the connection. The entry is made up for here.
 */
function forLateSubscribers(persistence: Persistence): Persistence {
  const update = persistence.outgoingUpdate.bind(persistence);
  return Object.assign(persistence, {
    async outgoingUpdate(client: { readonly id: string }, packet: { readonly cmd: string }): Promise<void> {
      try {
        await update(client, packet);
      } catch (error) {
        if (packet.cmd !== 'publish') throw error;
        await persistence.outgoingEnqueueCombi([{ clientId: client.id }], packet);
        await update(client, packet);
      }
    },
  });
}

async function* retainedMessages(database: Database, patterns: string[]): AsyncGenerator<object> {
  for (const pattern of patterns) {
    const within = levelLike(database, retainedRange(pattern));
    yield* (aedesLevel(within) as { createRetainedStream(pattern: string): Readable }).createRetainedStream(
      pattern,
    );
  }
}

/** The keys of retained topics a filter can match: all that begin with its levels before the first wildcard. */
function retainedRange(pattern: string): Range {
  const wildcard = pattern.search(/[+#]/);
  if (wildcard === -1) return { gte: `retained:${pattern}`, lt: `retained:${pattern}\0` };
  if (wildcard === 0) return { gte: 'retained:', lt: 'retained;' };
  // Without the last '/', because a/# matches a too; '0' is the character after '/'.
  const begin = pattern.slice(0, wildcard - 1);
  return { gte: `retained:${begin}`, lt: `retained:${begin}0` };
}

/** The part of a LevelDB database that aedes-persistence-level uses, with reads of values confined to `within`. */
function levelLike(database: Database, within?: Range): object {
  return {
    get: (key: string) => database.getBuffer(key),
    put: (key: string, value: Buffer) => database.write([{ type: 'put', key, value }]),
    del: (key: string) => database.write([{ type: 'del', key }]),
    clear: async (range: Range) => {
      const keys = await database.keys(range);
      if (keys.length > 0) await database.write(keys.map(key => ({ type: 'del', key })));
    },
    values: (range: Range) => database.buffers(within ?? { gte: range.gte, lt: range.lt }),
    batch: (operations?: Operation[]) => {
      if (operations) return database.write(operations);
      const chain: Operation[] = [];
      return {
        del: (key: string) => chain.push({ type: 'del', key }),
        write: () => database.write(chain),
      };
    },
  };
}
