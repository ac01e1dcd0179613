/**
 * One LevelDB directory (classic-level): group commit, errors that say what to do, and recovery after a failed write.
 *
 * Only one batch is ever under way; what is written meanwhile joins the next one. So writes become durable in the order
 * they were asked for, and many callers share the cost of one. Bounded by `queuedOperations`.
 *
 * A resolved write is with the operating system: `kill -9` of this process loses nothing. A power cut may lose what the
 * kernel had not flushed (about 30 s on ext4), always the newest writes and never half a batch, unless `sync` asks for
 * one fdatasync a batch.
 *
 * After a failed append LevelDB goes on behind the torn record, and recovery would then drop acknowledged records with
 * it (log_reader.cc skips the rest of the 32 KiB block). So after any failed write the database is closed and opened
 * again, which begins a new log, before anything else is written.
 */

import { type BatchOperation, ClassicLevel } from 'classic-level';
import { Counters } from '../../agent/core/counters.js';

export type Operation =
  | { readonly type: 'put'; readonly key: string; readonly value: string | Buffer }
  | { readonly type: 'del'; readonly key: string };

export interface Range {
  readonly gte: string;
  readonly lt: string;
}

export interface DatabaseOptions {
  /** One fdatasync for each batch: nothing acknowledged is lost in a power cut. */
  readonly sync?: boolean;
  /** Stands in for the LevelDB database in tests. */
  readonly level?: Level;
  /** Milliseconds on a monotonic clock; tests move it by hand. */
  readonly now?: () => number;
}

export type Level = ClassicLevel<string, string>;

/** Operations waiting for the batch under way. Full: the write is refused and counted; a single one, however long, never is. */
const queuedOperations = 100_000;
/** How long a database that cannot be written is left alone; the first attempt is free, then this doubles. */
const firstRetryMs = 100;
const longestRetryMs = 10_000;

/** Opens or makes `directory`. The error names it and says what to do if it is in use, unreadable or damaged. */
export async function openDatabase(directory: string, options: DatabaseOptions = {}): Promise<Database> {
  const level = options.level ?? new ClassicLevel<string, string>(directory);
  try {
    await level.open();
  } catch (cause) {
    throw describeOpenError(directory, cause);
  }
  return new Database(directory, level, options.sync ?? false, options.now ?? (() => performance.now()));
}

export class Database {
  readonly counters = new Counters(['batches', 'operations', 'failures', 'reopened', 'refused-full']);
  readonly directory: string;
  private readonly level: Level;
  private readonly sync: boolean;
  private readonly now: () => number;
  private waiting: { operations: readonly Operation[]; done: (error?: Error) => void }[] = [];
  private waitingOperations = 0;
  private committing: Promise<void> | undefined;
  /** Since the last write that failed, until one succeeds. `torn`: the log may end in half a record. */
  private broken: { error: Error; torn: boolean; retryAt: number; delayMs: number } | undefined;
  private reopening: Promise<void> | undefined;
  private closed = false;

  constructor(directory: string, level: Level, sync: boolean, now: () => number) {
    this.directory = directory;
    this.level = level;
    this.sync = sync;
    this.now = now;
  }

  /** Resolves when the operations, all of them or none, are on disk. Rejects with an error that names the directory. */
  write(operations: readonly Operation[]): Promise<void> {
    if (this.closed) return Promise.reject(new Error(`the store in ${this.directory} is closed`));
    if (this.waitingOperations > 0 && this.waitingOperations + operations.length > queuedOperations) {
      this.counters.add('refused-full');
      return Promise.reject(
        new Error(`the store in ${this.directory} cannot keep up: ${this.waitingOperations} writes wait`),
      );
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ operations, done: error => (error === undefined ? resolve() : reject(error)) });
      this.waitingOperations += operations.length;
      this.committing ??= this.commit();
    });
  }

  async get(key: string): Promise<string | undefined> {
    return (await this.readable()).get(key);
  }

  async getMany(keys: string[]): Promise<(string | undefined)[]> {
    return (await this.readable()).getMany(keys);
  }

  async getBuffer(key: string): Promise<Buffer | undefined> {
    return (await this.readable()).get<string, Buffer>(key, { valueEncoding: 'buffer' });
  }

  /** At most `limit` entries of the range, in key order; `reverse`: from its end. */
  async entries(range: Range, limit = -1, reverse = false): Promise<[string, string][]> {
    return (await this.readable()).iterator({ ...range, limit, reverse }).all();
  }

  async keys(range: Range, limit = -1): Promise<string[]> {
    return (await this.readable()).keys({ ...range, limit }).all();
  }

  async *buffers(range: Range): AsyncGenerator<Buffer> {
    yield* (await this.readable()).values<string, Buffer>({ ...range, valueEncoding: 'buffer' });
  }

  /** Waits for what is being written, then closes. */
  async close(): Promise<void> {
    this.closed = true;
    await this.committing;
    await this.level.close();
  }

  private async commit(): Promise<void> {
    // Whoever writes in this same turn of the event loop joins the batch.
    await Promise.resolve();
    while (this.waiting.length > 0) {
      const group = this.waiting;
      this.waiting = [];
      this.waitingOperations = 0;
      const error = await this.commitGroup(group.flatMap(({ operations }) => operations));
      for (const { done } of group) done(error);
    }
    this.committing = undefined;
  }

  private async commitGroup(operations: Operation[]): Promise<Error | undefined> {
    try {
      await this.writable();
    } catch (error) {
      return error as Error;
    }
    try {
      // A Buffer passes the text encoding unchanged (broker), a string is written as UTF-8.
      await this.level.batch(operations.map(encoded), { sync: this.sync });
      this.broken = undefined;
      this.counters.add('batches');
      this.counters.add('operations', operations.length);
      return undefined;
    } catch (cause) {
      return this.fail(cause);
    }
  }

  private async readable(): Promise<Level> {
    await this.reopening?.catch(() => undefined);
    return this.level.status === 'open' || this.closed ? this.level : this.writable();
  }

  /** The database, opened again first if a write has failed and its time has come. */
  private async writable(): Promise<Level> {
    const { broken } = this;
    if (!broken?.torn) return this.level;
    if (this.now() < broken.retryAt) throw broken.error;
    this.reopening ??= this.reopen().finally(() => {
      this.reopening = undefined;
    });
    await this.reopening;
    return this.level;
  }

  private async reopen(): Promise<void> {
    try {
      await this.level.close();
      await this.level.open();
    } catch (cause) {
      throw this.fail(cause);
    }
    this.counters.add('reopened');
    // The delay goes on doubling until a write succeeds.
    if (this.broken !== undefined) this.broken.torn = false;
  }

  private fail(cause: unknown): Error {
    this.counters.add('failures');
    const error = new Error(
      `cannot write to ${this.directory}: ${messageOf(cause)}; free some room or check the disk, nothing else needs doing`,
      { cause },
    );
    const delayMs = this.broken === undefined ? 0 : nextDelay(this.broken.delayMs);
    this.broken = { error, torn: true, retryAt: this.now() + delayMs, delayMs };
    return error;
  }
}

function nextDelay(delayMs: number): number {
  return delayMs === 0 ? firstRetryMs : Math.min(2 * delayMs, longestRetryMs);
}

function encoded(operation: Operation): BatchOperation<Level, string, string> {
  if (operation.type === 'del' || typeof operation.value === 'string') return operation as never;
  return { ...operation, valueEncoding: 'buffer' } as never;
}

function describeOpenError(directory: string, error: unknown): Error {
  const { cause } = error as { cause?: { code?: string } };
  const text = messageOf(error);
  if (cause?.code === 'LEVEL_LOCKED')
    return new Error(`${directory} is in use by another process: stop it, or name another directory`, {
      cause: error,
    });
  if (cause?.code === 'LEVEL_CORRUPTION' || /corrupt/i.test(text))
    return new Error(
      `${directory} holds a damaged store (${text}): restore a copy, or move the directory away to start empty`,
      { cause: error },
    );
  return new Error(`cannot open ${directory} (${text}): check that it is a directory you may write to`, {
    cause: error,
  });
}

/** LevelDB's own words: abstract-level wraps them as the cause of a general error. */
function messageOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { message?: string } };
  return cause?.message ?? message ?? String(error);
}
