/**
 * The coordinator's durable store: telemetry with history, totals that nothing can enter twice, and latest-value
 * documents (registry, rules, ledgers). LevelDB through database.ts, which says what survives a crash; values are JSON.
 *
 *     d!<kind>!<key>                                      a document
 *     h!<site>!<node>!<received, 15 digits>!<boot>!<seq>  one telemetry message
 *     b!<site>!<node>!<boot>                              what is known of a boot: sequence numbers seen, latest counters
 *     n!<site>!<node>                                     records kept, and the sums of boots folded away
 *
 * A message and what it does to its boot and node are one batch, so no crash can store a message and not remember it, or
 * count it twice. Sequence numbers outlive the messages: a replay of what retention deleted is still a duplicate.
 * Bounds: `StoreLimits`, and the queue of database.ts.
 */

import type { Counts } from '../../agent/core/counters.js';
import { Counters } from '../../agent/core/counters.js';
import { isId } from '../../agent/message/topic.js';
import { type Database, type DatabaseOptions, type Operation, openDatabase, type Range } from './database.js';

export interface Telemetry {
  readonly site: string;
  readonly node: string;
  /** Random id of the boot, `[a-z0-9-]{1,32}`. */
  readonly boot: string;
  /** Counts the node's telemetry messages since boot, over all jobs; an integer from 0. */
  readonly seq: number;
  readonly job: string;
  /** Wall clock of the coordinator, ms since 1970. */
  readonly receivedAtMs: number;
  /** Milliseconds since boot. */
  readonly uptime: number;
  /** Cumulative since boot. */
  readonly counters: Counts;
  readonly gauges?: Counts;
}

/** By job, then by counter. */
export type Totals = { readonly [job: string]: Counts };

export interface StoreLimits {
  /** Telemetry older than this is deleted by `retain`. */
  readonly maxAgeMs: number;
  /** Telemetry messages kept for a node; `retain` deletes the oldest beyond. */
  readonly maxRecordsPerNode: number;
  /**
   * Boots remembered for a node. Beyond, `retain` folds the one heard longest ago into a sum and forgets its sequence
   * numbers: only a replay older than that many boots could count twice.
   */
  readonly maxBootsPerNode: number;
  /** Boots and nodes held in memory; the one used longest ago is read from disk again. */
  readonly cached: number;
}

export interface StoreOptions extends DatabaseOptions {
  readonly limits?: Partial<StoreLimits>;
}

const defaultLimits: StoreLimits = {
  maxAgeMs: 30 * 86_400_000,
  maxRecordsPerNode: 100_000,
  maxBootsPerNode: 1000,
  cached: 5_000,
};

/** Telemetry messages decided upon together; more wait for the next group. */
const groupMessages = 4096;
/** Jobs of one boot. Another one's messages are refused: each job's latest counters are kept in memory. */
const jobsPerBoot = 8;
/** Gaps remembered in a boot's sequence numbers. More: the lowest is closed, and what would fill it is a duplicate. */
const gapsPerBoot = 32;
/** Nodes looked at and messages deleted by one call of `retain`, and boots folded of one node. */
const retainNodes = 256;
const retainDeletions = 5000;
const foldedBoots = 1000;
/** Messages waiting to be written. Full: the message is refused and counted. */
const waitingMessages = 100_000;

/** What is known of one boot of one node. Stored under `b!`. */
interface Boot {
  /** Ascending, disjoint, not touching: [first, last] sequence numbers seen. */
  seen: [number, number][];
  heardAtMs: number;
  jobs: { [job: string]: { seq: number; counters: Counts } };
}

/** Stored under `n!`. */
interface Node {
  records: number;
  folded: Totals;
}

type Outcome = 'stored' | 'duplicate' | 'too-many-jobs';

interface Waiting {
  readonly telemetry: Telemetry;
  readonly done: (outcome: Outcome | Error) => void;
}

/** Opens or makes the store in `directory`; an error names it and says what to do. */
export async function openStore(directory: string, options: StoreOptions = {}): Promise<Store> {
  return new Store(await openDatabase(directory, options), { ...defaultLimits, ...options.limits });
}

export class Store {
  readonly counters = new Counters([
    'stored',
    'duplicates',
    'gaps-closed',
    'refused-full',
    'deleted',
    'boots-folded',
  ]);
  /** Batches, operations, failures, reopenings. */
  readonly databaseCounters: Counters<string>;
  private readonly database: Database;
  private readonly limits: StoreLimits;
  private readonly boots: Cache<Boot>;
  private readonly nodes: Cache<Node>;
  private waiting: Waiting[] = [];
  /** Telemetry and retention change the same boots and nodes: one at a time. */
  private turn: Promise<unknown> = Promise.resolve();
  private retainFrom = 'n!';

  constructor(database: Database, limits: StoreLimits) {
    this.database = database;
    this.databaseCounters = database.counters;
    this.limits = limits;
    this.boots = new Cache(limits.cached);
    this.nodes = new Cache(limits.cached);
  }

  /**
   * Stores one message unless its (site, node, boot, seq) has been seen. Resolves when that is on disk; rejects, with
   * nothing changed, if it cannot be written. Throws on an id that is none: ids are checked where they enter.
   */
  telemetry(telemetry: Telemetry): Promise<Outcome> {
    for (const field of ['site', 'node', 'boot', 'job'] as const)
      if (!isId(telemetry[field])) throw new Error(`${field}: expected an id, got ${telemetry[field]}`);
    if (!Number.isSafeInteger(telemetry.seq) || telemetry.seq < 0)
      throw new Error(`seq: expected an integer from 0, got ${telemetry.seq}`);
    if (this.waiting.length >= waitingMessages) {
      this.counters.add('refused-full');
      return Promise.reject(
        new Error(`the store in ${this.database.directory} cannot keep up: ${waitingMessages} messages wait`),
      );
    }
    return new Promise((resolve, reject) => {
      const done = (outcome: Outcome | Error) =>
        outcome instanceof Error ? reject(outcome) : resolve(outcome);
      this.waiting.push({ telemetry, done });
      if (this.waiting.length === 1) this.take(() => this.commitTelemetry());
    });
  }

  /** The latest value of a document, kept as JSON; resolves when on disk. */
  put(kind: string, key: string, value: unknown): Promise<void> {
    return this.database.write([{ type: 'put', key: documentKey(kind, key), value: JSON.stringify(value) }]);
  }

  remove(kind: string, key: string): Promise<void> {
    return this.database.write([{ type: 'del', key: documentKey(kind, key) }]);
  }

  /** What was last put and is on disk; `undefined` if nothing. */
  async get<T>(kind: string, key: string): Promise<T | undefined> {
    const value = await this.database.get(documentKey(kind, key));
    return value === undefined ? undefined : JSON.parse(value);
  }

  /** All documents of a kind on disk, by key. */
  async all<T>(kind: string): Promise<{ key: string; value: T }[]> {
    const prefix = documentKey(kind, '');
    const entries = await this.database.entries(under(prefix));
    return entries.map(([key, value]) => ({ key: key.slice(prefix.length), value: JSON.parse(value) }));
  }

  /** Each counter of each job, summed over the node's boots; of a boot the message with the highest seq counts. */
  async totals(site: string, node: string): Promise<Totals> {
    const [folded, boots] = await Promise.all([
      this.database.get(nodeKey(site, node)),
      this.database.entries(under(`b!${site}!${node}!`)),
    ]);
    const base: Totals = folded === undefined ? {} : (JSON.parse(folded) as Node).folded;
    return addBoots(
      base,
      boots.map(([, boot]) => JSON.parse(boot)),
    );
  }

  /** Messages received in [fromMs, toMs), oldest first; at most `limit`, the newest of them. */
  async history(
    site: string,
    node: string,
    { fromMs = 0, toMs = 1e15 - 1, limit = 1000 }: { fromMs?: number; toMs?: number; limit?: number } = {},
  ): Promise<Telemetry[]> {
    const range = { gte: historyTime(site, node, fromMs), lt: historyTime(site, node, toMs) };
    const entries = await this.database.entries(range, limit, true);
    return entries.map(([, value]) => ({ site, node, ...JSON.parse(value) })).reverse();
  }

  /**
   * Deletes telemetry over the limits: a few nodes and at most 5000 messages a call, going on where the last call
   * stopped. Resolves to whether the last node has been reached; the next call begins again.
   */
  retain(nowMs: number): Promise<boolean> {
    return this.take(() => this.retainSome(nowMs));
  }

  async close(): Promise<void> {
    await this.turn;
    await this.database.close();
  }

  private take<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work);
    this.turn = result.catch(() => undefined);
    return result;
  }

  private async commitTelemetry(): Promise<void> {
    while (this.waiting.length > 0) {
      const group = this.waiting.slice(0, groupMessages);
      let outcomes: Outcome[] | Error;
      try {
        outcomes = await this.commitGroup(group.map(({ telemetry }) => telemetry));
      } catch (error) {
        outcomes = error as Error;
      }
      // Taken out only now: `telemetry` starts a commit when it finds the queue empty.
      this.waiting.splice(0, group.length);
      group.forEach(({ done }, i) => {
        done(outcomes instanceof Error ? outcomes : outcomes[i]);
      });
    }
  }

  private async commitGroup(group: Telemetry[]): Promise<Outcome[]> {
    const boots = await this.load(
      this.boots,
      group.map(t => bootKey(t.site, t.node, t.boot)),
    );
    const nodes = await this.load(
      this.nodes,
      group.map(t => nodeKey(t.site, t.node)),
    );
    const operations: Operation[] = [];
    const changed = new Set<string>();
    let gapsClosed = 0;
    const outcomes = group.map((t): Outcome => {
      const boot = valueAt(boots, bootKey(t.site, t.node, t.boot), emptyBoot);
      if (!Object.hasOwn(boot.jobs, t.job) && Object.keys(boot.jobs).length >= jobsPerBoot)
        return 'too-many-jobs';
      if (!markSeen(boot.seen, t.seq)) return 'duplicate';
      if (boot.seen.length > gapsPerBoot) {
        boot.seen.splice(0, 2, [boot.seen[0][0], boot.seen[1][1]]);
        gapsClosed++;
      }
      boot.heardAtMs = Math.max(boot.heardAtMs, t.receivedAtMs);
      if (!Object.hasOwn(boot.jobs, t.job) || boot.jobs[t.job].seq < t.seq)
        boot.jobs[t.job] = { seq: t.seq, counters: t.counters };
      valueAt(nodes, nodeKey(t.site, t.node), emptyNode).records++;
      changed.add(bootKey(t.site, t.node, t.boot));
      const { site, node, ...value } = t;
      operations.push({ type: 'put', key: historyKey(t), value: JSON.stringify(value) });
      return 'stored';
    });
    if (operations.length > 0) {
      for (const key of changed) operations.push({ type: 'put', key, value: JSON.stringify(boots.get(key)) });
      for (const key of new Set([...changed].map(nodeOfBoot)))
        operations.push({ type: 'put', key, value: JSON.stringify(nodes.get(key)) });
      await this.writeOrForget(operations);
    }
    for (const [key, boot] of boots) this.boots.set(key, boot);
    for (const [key, node] of nodes) this.nodes.set(key, node);
    const stored = outcomes.filter(outcome => outcome === 'stored').length;
    this.counters.add('stored', stored);
    this.counters.add('duplicates', outcomes.filter(outcome => outcome === 'duplicate').length);
    this.counters.add('gaps-closed', gapsClosed);
    return outcomes;
  }

  private async retainSome(nowMs: number): Promise<boolean> {
    const keys = await this.database.keys({ gte: this.retainFrom, lt: 'n"' }, retainNodes);
    let room = retainDeletions;
    for (const key of keys) {
      this.retainFrom = key;
      const [, site, node] = key.split('!');
      const loaded = await this.load(this.nodes, [key]);
      const state = valueAt(loaded, key, emptyNode);
      const expired = await this.database.keys(
        { gte: historyTime(site, node, 0), lt: historyTime(site, node, nowMs - this.limits.maxAgeMs) },
        room,
      );
      const excess = Math.min(room, state.records - this.limits.maxRecordsPerNode);
      const deleted =
        expired.length >= excess ? expired : await this.database.keys(under(`h!${site}!${node}!`), excess);
      const folded = await this.foldBoots(site, node, state);
      if (deleted.length > 0 || folded.length > 0) {
        state.records -= deleted.length;
        await this.writeOrForget([
          ...[...deleted, ...folded].map(key => ({ type: 'del' as const, key })),
          { type: 'put', key, value: JSON.stringify(state) },
        ]);
        for (const boot of folded) this.boots.delete(boot);
        this.counters.add('deleted', deleted.length);
        this.counters.add('boots-folded', folded.length);
      }
      this.nodes.set(key, state);
      room -= deleted.length;
      if (room <= 0) return false;
      this.retainFrom = `${key}!`;
    }
    if (keys.length === retainNodes) return false;
    this.retainFrom = 'n!';
    return true;
  }

  /** Adds the boots beyond the limit to the node's folded sums; returns their keys. */
  private async foldBoots(site: string, node: string, state: Node): Promise<string[]> {
    const boots = under(`b!${site}!${node}!`);
    const enough = this.limits.maxBootsPerNode + foldedBoots;
    const count = (await this.database.keys(boots, enough)).length;
    if (count <= this.limits.maxBootsPerNode) return [];
    const entries = await this.database.entries(boots, enough);
    const oldest = entries
      .map(([key, value]) => ({ key, boot: JSON.parse(value) as Boot }))
      .sort((a, b) => a.boot.heardAtMs - b.boot.heardAtMs)
      .slice(0, count - this.limits.maxBootsPerNode);
    state.folded = addBoots(
      state.folded,
      oldest.map(({ boot }) => boot),
    );
    return oldest.map(({ key }) => key);
  }

  /** The values of `keys`, from memory or disk; a key with none is left out. */
  private async load<T>(cache: Cache<T>, keys: string[]): Promise<Map<string, T>> {
    const loaded = new Map<string, T>();
    const missing = new Set<string>();
    for (const key of keys) {
      const value = cache.get(key);
      if (value === undefined) missing.add(key);
      else loaded.set(key, value);
    }
    const names = [...missing];
    const values = names.length === 0 ? [] : await this.database.getMany(names);
    values.forEach((value, i) => {
      if (value !== undefined) loaded.set(names[i], JSON.parse(value));
    });
    return loaded;
  }

  /** After a failed write nobody knows what is on disk, and memory is ahead of it: both are read afresh. */
  private async writeOrForget(operations: Operation[]): Promise<void> {
    try {
      await this.database.write(operations);
    } catch (error) {
      this.boots.clear();
      this.nodes.clear();
      throw error;
    }
  }
}

/** The values used last, at most `capacity`. */
class Cache<T> {
  private readonly capacity: number;
  private readonly values = new Map<string, T>();

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get(key: string): T | undefined {
    return this.values.get(key);
  }

  /** Also makes it the one used last (a Map remembers the order of insertion). */
  set(key: string, value: T): void {
    this.values.delete(key);
    this.values.set(key, value);
    if (this.values.size > this.capacity) {
      for (const oldest of this.values.keys()) {
        this.values.delete(oldest);
        return;
      }
    }
  }

  delete(key: string): void {
    this.values.delete(key);
  }

  clear(): void {
    this.values.clear();
  }
}

/** Adds `seq` to the ranges; false if it is there. */
function markSeen(seen: [number, number][], seq: number): boolean {
  let at = seen.length;
  while (at > 0 && seen[at - 1][0] > seq) at--;
  const before = seen[at - 1];
  const after = seen[at];
  if (before !== undefined && seq <= before[1]) return false;
  const touchesBefore = before !== undefined && before[1] + 1 === seq;
  const touchesAfter = after !== undefined && seq + 1 === after[0];
  if (touchesBefore && touchesAfter) seen.splice(at - 1, 2, [before[0], after[1]]);
  else if (touchesBefore) before[1] = seq;
  else if (touchesAfter) after[0] = seq;
  else seen.splice(at, 0, [seq, seq]);
  return true;
}

function addBoots(totals: Totals, boots: readonly Boot[]): Totals {
  // Maps and fromEntries: a counter may bear any name, even __proto__.
  const sums = new Map(
    Object.entries(totals).map(([job, counters]) => [job, new Map(Object.entries(counters))]),
  );
  for (const { jobs } of boots) {
    for (const [job, { counters }] of Object.entries(jobs)) {
      const sum = valueAt(sums, job, () => new Map<string, number>());
      for (const [name, value] of Object.entries(counters)) sum.set(name, (sum.get(name) ?? 0) + value);
    }
  }
  return Object.fromEntries([...sums].map(([job, counters]) => [job, Object.fromEntries(counters)]));
}

function valueAt<T>(values: Map<string, T>, key: string, empty: () => T): T {
  let value = values.get(key);
  if (value === undefined) {
    value = empty();
    values.set(key, value);
  }
  return value;
}

function emptyBoot(): Boot {
  return { seen: [], heardAtMs: 0, jobs: {} };
}

function emptyNode(): Node {
  return { records: 0, folded: {} };
}

function documentKey(kind: string, key: string): string {
  if (kind.includes('!')) throw new Error(`kind: expected no !, got ${kind}`);
  return `d!${kind}!${key}`;
}

function nodeKey(site: string, node: string): string {
  return `n!${site}!${node}`;
}

function bootKey(site: string, node: string, boot: string): string {
  return `b!${site}!${node}!${boot}`;
}

function nodeOfBoot(key: string): string {
  return `n${key.slice(1, key.lastIndexOf('!'))}`;
}

function historyKey(t: Telemetry): string {
  return `${historyTime(t.site, t.node, t.receivedAtMs)}!${t.boot}!${t.seq}`;
}

function historyTime(site: string, node: string, ms: number): string {
  return `h!${site}!${node}!${String(Math.min(Math.max(Math.floor(ms), 0), 1e15 - 1)).padStart(15, '0')}`;
}

/** Every key that begins with `prefix`, which ends in '!': '"' is the next character. */
function under(prefix: string): Range {
  return { gte: prefix, lt: `${prefix.slice(0, -1)}"` };
}
