/**
 * The store on disk for what an agent saves (`save` in agent/port/effect.ts): one append-only log, read whole at the start,
 * written anew when half of it is out of date.
 *
 *     header   "kithlog1"
 *     record   "rec1", length of the body (4 bytes), CRC-32 of the body (RFC 1952 §8), body
 *     body     1: put, or 0: forget; length of the key (2 bytes), key (UTF-8), value
 *
 * A saved value is with the kernel when `save` returns: no crash of this process loses it. A power cut may lose what
 * `synced` has not told of yet, the newest values only: an unfinished record at the end is left out, the value before it
 * counts. Writing anew goes to a second file, which takes the first one's place once it is on disk (fsync, rename, fsync of
 * the directory). A damaged log is kept beside as `state.damaged` (the latest only), reported, and every whole record in it is used.
 *
 * A disk that takes nothing (full, read-only, failing) costs no value while this process lives: they are in memory, what the
 * file lacks is told once and by `keeps`, and all is written anew with the next save, or every `retryMs`, until it is there.
 * Bounds: `maxBytes` for all keys and values; beyond, the new value is refused and reported, the old one stays.
 */

import {
  closeSync,
  constants,
  copyFileSync,
  fdatasync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { Counters } from '../../agent/core/counters.js';
import type { Saved } from '../../agent/port/platform.js';
import * as libc from './libc.js';

export interface StoreOptions {
  /** Keys and values in all, bytes; default 1 MiB: hundreds of rules and accounts. */
  readonly maxBytes?: number;
  /** A value could not be kept, or the log is damaged; what was kept before stays. Once for a disk that goes on failing. */
  readonly onFault: (fault: Error) => void;
  /** After such a fault: all is on disk again. */
  readonly onMended?: () => void;
  /** Span between tries to write what the disk did not take, when nothing is saved meanwhile; default 10 s. */
  readonly retryMs?: number;
}

const defaultMaxBytes = 1 << 20;
const defaultRetryMs = 10_000;
/** The log is written anew when it is twice what it holds, and so much more: not at every save of a small one. */
const slackBytes = 64 * 1024;
const magic = Buffer.from('kithlog1');
const recordMagic = Buffer.from('rec1');
const recordHeaderBytes = 12;
const maxKeyBytes = 0xffff;
/** LOCK_EX | LOCK_NB of flock(2). */
const lockExclusively = 2 | 4;

/**
 * Opens or makes the store in `directory`. Throws, naming it, if another process has it, if it cannot be read or made, or
 * if a later version of this program wrote it. One that can be read and not written is opened, and reported.
 */
export function openStore(directory: string, options: StoreOptions): Store {
  return new Store(directory, options);
}

export class Store {
  readonly counters = new Counters(['saved', 'refused', 'failed', 'syncs', 'rewritten', 'damaged']);
  private readonly directory: string;
  private readonly path: string;
  private readonly maxBytes: number;
  private readonly onFault: (fault: Error) => void;
  private readonly onMended: () => void;
  private readonly retryMs: number;
  private readonly values = new Map<string, Uint8Array>();
  private readonly lock: number;
  private file = -1;
  private fileBytes = 0;
  /** Of all keys and values, and their records' headers. */
  private liveBytes = 0;
  /** The file does not hold all values: a write failed. */
  private behind = false;
  /** Keys whose newest value the file may lack. */
  private readonly unkept = new Set<string>();
  private retryTimer: NodeJS.Timeout | undefined;
  private unsynced = new Set<string>();
  private syncing: Promise<void> | undefined;

  constructor(directory: string, options: StoreOptions) {
    const { maxBytes = defaultMaxBytes, retryMs = defaultRetryMs, onFault, onMended = () => {} } = options;
    this.directory = directory;
    this.path = join(directory, 'state');
    this.maxBytes = maxBytes;
    this.retryMs = retryMs;
    this.onFault = onFault;
    this.onMended = onMended;
    try {
      mkdirSync(directory, { recursive: true });
      this.lock = openLock(join(directory, 'lock'));
    } catch (error) {
      throw new Error(`store ${directory}: ${(error as Error).message}`);
    }
    try {
      libc.check(libc.flock(this.lock, lockExclusively), `store ${directory}`, {
        EAGAIN: 'another process has it open',
      });
      this.load();
    } catch (error) {
      if (this.file >= 0) closeSync(this.file);
      clearTimeout(this.retryTimer);
      closeSync(this.lock);
      throw error;
    }
  }

  /** How many keys' newest values the file may lack. */
  get unkeptCount(): number {
    return this.unkept.size;
  }

  /** False while the newest value under `key` may be nowhere but in memory. What was not synced yet counts as kept. */
  keeps(key: string): boolean {
    return !this.unkept.has(key);
  }

  /** All that is kept, for the agent's start. */
  saved(): Saved {
    const saved: { [key: string]: Uint8Array } = {};
    for (const [key, value] of this.values) saved[key] = value;
    return saved;
  }

  /** Keeps `value` under `key`; `undefined` forgets it. Never throws on what a disk does: see `onFault`. */
  save(key: string, value: Uint8Array | undefined): void {
    const record = encodeRecord(key, value);
    const before = recordBytes(key, this.values.get(key));
    const after = recordBytes(key, value);
    if (Buffer.byteLength(key) > maxKeyBytes || this.liveBytes - before + after > this.maxBytes) {
      this.counters.add('refused');
      this.onFault(
        new Error(
          `store ${this.directory}: ${key}: no room for ${value?.length} bytes, the limit is ${this.maxBytes}`,
        ),
      );
      return;
    }
    this.liveBytes += after - before;
    if (value === undefined) this.values.delete(key);
    else this.values.set(key, value.slice());
    try {
      this.write(key, record);
      this.counters.add('saved');
    } catch (error) {
      this.failed(error, [key]);
      return;
    }
    void this.synced();
  }

  /** Resolves when all saved until now has been handed to the disk (fdatasync), or could not be (`onFault` knows). */
  async synced(): Promise<void> {
    // One sync is under way at a time; what is saved meanwhile shares the next.
    while (this.syncing) await this.syncing;
    const { unsynced } = this;
    if (unsynced.size === 0) return;
    this.unsynced = new Set();
    this.syncing = new Promise(resolve => {
      fdatasync(this.file, error => {
        this.syncing = undefined;
        this.counters.add('syncs');
        // The kernel may have let go of what it could not write (fsync(2), EIO).
        if (error) this.failed(error, unsynced);
        resolve();
      });
    });
    await this.syncing;
  }

  /** Waits until all is on disk, as far as it takes it, and lets go of it. */
  async close(): Promise<void> {
    if (this.behind) this.mend();
    await this.synced();
    clearTimeout(this.retryTimer);
    if (this.file >= 0) closeSync(this.file);
    closeSync(this.lock);
  }

  /** Memory is right, the file is not: all is to be written. */
  private failed(error: unknown, keys: Iterable<string>): void {
    for (const key of keys) this.unkept.add(key);
    this.counters.add('failed');
    if (!this.behind)
      this.onFault(
        new Error(
          `store ${this.directory}: cannot be written: ${(error as Error).message}; what changes is in force but lost at a restart; trying again`,
        ),
      );
    this.behind = true;
    this.retryTimer ??= setTimeout(() => {
      this.retryTimer = undefined;
      if (this.behind) this.mend();
    }, this.retryMs).unref();
  }

  private mend(): void {
    try {
      this.rewrite();
    } catch (error) {
      this.failed(error, []);
    }
  }

  private load(): void {
    let log: Buffer;
    try {
      log = readFileSync(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        throw new Error(`store ${this.directory}: ${(error as Error).message}`);
      this.mend();
      return;
    }
    const start = log.subarray(0, magic.length);
    if (
      start.length === magic.length &&
      start.subarray(0, 7).equals(magic.subarray(0, 7)) &&
      !start.equals(magic)
    )
      throw new Error(
        `store ${this.directory}: expected format ${magic}, got ${start}: a later version wrote it; move it away to start anew`,
      );
    const skippedBytes = this.readRecords(log);
    this.fileBytes = log.length;
    if (skippedBytes > 0 || !start.equals(magic)) {
      this.counters.add('damaged');
      this.onFault(
        new Error(
          `store ${this.directory}: ${skippedBytes} of ${log.length} bytes are damaged; the last good values are used, ${this.setAside()}`,
        ),
      );
      this.mend();
      return;
    }
    try {
      this.file = openSync(this.path, constants.O_WRONLY | constants.O_APPEND);
    } catch (error) {
      this.failed(error, []);
    }
  }

  /** Keeps the damaged log under another name, before a new one takes its place; what came of it. */
  private setAside(): string {
    const beside = `${this.path}.damaged`;
    try {
      rmSync(beside, { force: true });
      try {
        // A second name needs no room.
        linkSync(this.path, beside);
      } catch {
        copyFileSync(this.path, beside);
      }
      return `the file is kept as ${beside}`;
    } catch (error) {
      return `the file could not be kept as ${beside}: ${(error as Error).message}`;
    }
  }

  /** Takes every whole record; how many bytes were none. */
  private readRecords(log: Buffer): number {
    let skippedBytes = 0;
    let at = Math.min(magic.length, log.length);
    while (at < log.length) {
      const body = readRecord(log, at);
      if (body) {
        const keyBytes = body.readUInt16BE(1);
        const key = body.toString('utf8', 3, 3 + keyBytes);
        const value = body[0] === 1 ? new Uint8Array(body.subarray(3 + keyBytes)) : undefined;
        this.liveBytes += recordBytes(key, value) - recordBytes(key, this.values.get(key));
        if (value) this.values.set(key, value);
        else this.values.delete(key);
        at += recordHeaderBytes + body.length;
      } else {
        const next = log.indexOf(recordMagic, at + 1);
        const to = next < 0 ? log.length : next;
        skippedBytes += to - at;
        at = to;
      }
    }
    return skippedBytes;
  }

  private write(key: string, record: Buffer): void {
    if (this.behind || this.fileBytes + record.length > 2 * this.liveBytes + slackBytes) {
      try {
        this.rewrite();
        return;
      } catch (error) {
        if (this.behind) throw error;
        // No room for a second file; there may be for one more record.
        this.counters.add('failed');
      }
    }
    this.append(record);
    this.unsynced.add(key);
  }

  private append(record: Buffer): void {
    try {
      writeWhole(this.file, record);
    } catch (error) {
      // A part of a record may stand there. What follows it would still be found, but it is not damage.
      try {
        ftruncateSync(this.file, this.fileBytes);
      } catch {
        // The log is written anew anyway.
      }
      throw error;
    }
    this.fileBytes += record.length;
  }

  private rewrite(): void {
    const temporary = `${this.path}.new`;
    const parts: Buffer[] = [magic];
    for (const [key, value] of this.values) parts.push(encodeRecord(key, value));
    const log = Buffer.concat(parts);
    const file = openSync(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND,
      0o600,
    );
    try {
      writeWhole(file, log);
      fsyncSync(file);
      renameSync(temporary, this.path);
      const directory = openSync(this.directory, 'r');
      try {
        fsyncSync(directory);
      } finally {
        closeSync(directory);
      }
    } catch (error) {
      closeSync(file);
      // Half a file must not take the room that is missing.
      rmSync(temporary, { force: true });
      throw error;
    }
    const former = this.file;
    const wasBehind = this.behind;
    this.file = file;
    this.fileBytes = log.length;
    this.behind = false;
    this.unkept.clear();
    this.unsynced.clear();
    this.counters.add('rewritten');
    if (wasBehind) this.onMended();
    if (former < 0) return;
    // A sync of the former one may be under way.
    if (this.syncing) void this.syncing.then(() => closeSync(former));
    else closeSync(former);
  }
}

/** Holds the lock of a read-only file system too. */
function openLock(path: string): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EROFS') throw error;
    return openSync(path, 'r');
  }
}

function recordBytes(key: string, value: Uint8Array | undefined): number {
  return value === undefined ? 0 : recordHeaderBytes + 3 + Buffer.byteLength(key) + value.length;
}

function encodeRecord(key: string, value: Uint8Array | undefined): Buffer {
  const keyBytes = Buffer.byteLength(key);
  const record = Buffer.alloc(recordHeaderBytes + 3 + keyBytes + (value?.length ?? 0));
  recordMagic.copy(record);
  record.writeUInt32BE(record.length - recordHeaderBytes, 4);
  record[recordHeaderBytes] = value === undefined ? 0 : 1;
  record.writeUInt16BE(Math.min(keyBytes, maxKeyBytes), recordHeaderBytes + 1);
  record.write(key, recordHeaderBytes + 3);
  if (value) record.set(value, recordHeaderBytes + 3 + keyBytes);
  record.writeUInt32BE(crc32(record.subarray(recordHeaderBytes)), 8);
  return record;
}

/** The body of the record at `at`, if a whole one stands there. */
function readRecord(log: Buffer, at: number): Buffer | undefined {
  if (log.length - at < recordHeaderBytes + 3 || log.indexOf(recordMagic, at) !== at) return undefined;
  const bodyBytes = log.readUInt32BE(at + 4);
  if (bodyBytes < 3 || bodyBytes > log.length - at - recordHeaderBytes) return undefined;
  const body = log.subarray(at + recordHeaderBytes, at + recordHeaderBytes + bodyBytes);
  if (body[0] > 1 || body.readUInt16BE(1) > bodyBytes - 3) return undefined;
  return crc32(body) === log.readUInt32BE(at + 8) ? body : undefined;
}

function writeWhole(file: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

const crcTable = Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32 of RFC 1952 §8; Node 20 has none before 20.15. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 255];
  return (crc ^ 0xffffffff) >>> 0;
}
