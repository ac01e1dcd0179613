/**
 * What the agent publishes with QoS 1, from then until the broker has acknowledged it (PUBACK, MQTT 3.1.1 §3.4), in order,
 * whether the broker is there or not.
 *
 * Events and responses happen once and would be lost with this process, so they are kept on disk (store.ts), and so is a
 * retained leaf cleared: after a restart nobody knows any more that it was there. What is said again by itself is kept in
 * memory only, which spares flash: every other retained leaf at the next birth, telemetry (sums) with the next message.
 * Of these only the latest waits: a new one takes the place of an older one of the same topic that is not under way.
 *
 * Bound: `maxBytes`. Full: the oldest event or response that is not under way makes room, and is counted.
 */

import { Counters } from '../../agent/core/counters.js';
import { decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { isTelemetry } from '../../agent/message/topic.js';
import { openStore, type Store } from './store.js';

export interface Publication {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
}

export interface OutboxOptions {
  /** Topics and payloads that wait, bytes; default 1 MiB: some 8,000 events. */
  readonly maxBytes?: number;
  /** The disk does not keep what it should; the outbox goes on without. */
  readonly onFault: (fault: Error) => void;
  /** After that: the disk keeps all again. */
  readonly onMended?: () => void;
}

const defaultMaxBytes = 1 << 20;
/** What an entry costs beside its topic and payload, in memory and in the store. */
const entryBytes = 64;

interface Entry extends Publication {
  readonly serial: number;
  readonly isKept: boolean;
  isUnderWay: boolean;
}

/** Opens or makes the outbox in `directory`. Throws as `openStore` does. */
export function openOutbox(directory: string, options: OutboxOptions): Outbox {
  return new Outbox(directory, options);
}

export class Outbox {
  readonly counters = new Counters(['added', 'superseded', 'acknowledged', 'refused', 'dropped', 'restored']);
  private readonly store: Store;
  private readonly maxBytes: number;
  /** By serial, oldest first. */
  private readonly entries = new Map<number, Entry>();
  private bytes = 0;
  private serial = 0;

  constructor(directory: string, { maxBytes = defaultMaxBytes, ...calls }: OutboxOptions) {
    this.maxBytes = maxBytes;
    // A record of the store is a little longer than what it is counted as here.
    this.store = openStore(directory, { maxBytes: 2 * maxBytes + (1 << 16), ...calls });
    this.restore(calls.onFault);
  }

  /** How many of what is to be kept may be in memory only. */
  get unkeptCount(): number {
    return this.store.unkeptCount;
  }

  get length(): number {
    return this.entries.size;
  }

  add(publication: Publication): void {
    const { topic, payload, retain } = publication;
    const isReplaced = retain || isTelemetry(topic);
    if (isReplaced) this.supersede(topic);
    const isKept = isReplaced ? retain && payload.length === 0 : true;
    const entry = { topic, payload, retain, serial: this.serial++, isKept, isUnderWay: false };
    this.enter(entry);
    if (isKept) this.store.save(keyOf(entry), encodeCbor({ topic, payload, retain }));
    this.counters.add('added');
    while (this.bytes > this.maxBytes && this.dropOne()) this.counters.add('dropped');
  }

  /** The oldest that is not under way, which it then is; `undefined`: there is none. */
  next(): Publication | undefined {
    // Few are under way at a time, and they are the oldest.
    for (const entry of this.entries.values()) {
      if (entry.isUnderWay) continue;
      entry.isUnderWay = true;
      return entry;
    }
    return undefined;
  }

  /** The broker has, or will never take, what `next` gave. */
  settle(publication: Publication, outcome: 'acknowledged' | 'refused'): void {
    const entry = publication as Entry;
    if (this.entries.get(entry.serial) !== entry) return;
    this.remove(entry);
    this.counters.add(outcome);
  }

  /** The connection is gone: what was under way is to be sent again. */
  returnAll(): void {
    for (const entry of this.entries.values()) entry.isUnderWay = false;
  }

  /** Waits until what is to be kept is on disk. */
  close(): Promise<void> {
    return this.store.close();
  }

  private restore(onFault: (fault: Error) => void): void {
    const saved = this.store.saved();
    for (const key of Object.keys(saved).sort()) {
      const decoded = decodeCbor(saved[key], { depth: 1 });
      const { topic, payload, retain } = (decoded.ok ? (decoded.value ?? {}) : {}) as Partial<Publication>;
      const serial = Number(key);
      if (typeof topic !== 'string' || !(payload instanceof Uint8Array) || typeof retain !== 'boolean') {
        onFault(new Error(`outbox: ${key} is left aside: not as this version keeps publications`));
        // It is not ours to throw away, nor to write over.
        if (serial >= this.serial) this.serial = serial + 1;
        continue;
      }
      this.enter({ topic, payload, retain, serial, isKept: true, isUnderWay: false });
      this.counters.add('restored');
      this.serial = serial + 1;
    }
  }

  private enter(entry: Entry): void {
    this.entries.set(entry.serial, entry);
    this.bytes += lengthOf(entry);
  }

  private remove(entry: Entry): void {
    this.entries.delete(entry.serial);
    this.bytes -= lengthOf(entry);
    if (entry.isKept) this.store.save(keyOf(entry), undefined);
  }

  private supersede(topic: string): void {
    for (const entry of this.entries.values()) {
      if (entry.topic !== topic || entry.isUnderWay) continue;
      this.remove(entry);
      this.counters.add('superseded');
    }
  }

  /** Retained leaves and telemetry have one entry each, so they go only where nothing else is left. */
  private dropOne(): boolean {
    let other: Entry | undefined;
    for (const entry of this.entries.values()) {
      if (entry.isUnderWay) continue;
      if (entry.isKept && !entry.retain) {
        this.remove(entry);
        return true;
      }
      other ??= entry;
    }
    if (other) this.remove(other);
    return other !== undefined;
  }
}

function lengthOf({ topic, payload }: Publication): number {
  return entryBytes + topic.length + payload.length;
}

/** Keys sort as serials do: 2^53 has 16 digits. */
function keyOf({ serial }: Entry): string {
  return String(serial).padStart(16, '0');
}
