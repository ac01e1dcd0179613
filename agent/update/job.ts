/**
 * The job `update`: takes a signed manifest (manifest.ts), has the image it names put into the spare slot, and lets the node
 * restart with it.
 *
 *     request/update → judged → fetched, hashed as it comes → size and digest right → activate, restart, on trial
 *     on trial: connected to the broker for `steadyMs` within `proveMs` → confirmed; else rolled back
 *
 * What happens is told as events `update`, whose text begins with one of these words; the last three are outcomes:
 *
 *     begun:, loading:, installed:, running:, rolled-back:, failed:
 *
 * A download that breaks goes on where it was, after a random time between half and all of 2, 4, 8 … 64 s. It is given up after
 * `mostTries` of them, and at once where the platform says that another try is of no use.
 *
 * One record is kept: the sequence number of the firmware that proved itself, the attempt under way, and the last outcome, until
 * it has been told for `forgetMs`. It is written before a request is answered and before the node restarts, so that after the
 * restart the slot it runs from tells what became of the attempt, whoever caused the restart; an outcome may be told twice. The
 * sequence number keeps an attacker from bringing back an older image that has a signature (RFC 9124 §3.2); whoever erases the
 * record is at the board, and left with the number that the firmware was built with.
 *
 * Bounds: one image at a time, none of its bytes kept; manifests of `longestSign1` bytes.
 */

import { copyBytes, formatHex, parseHex, sameBytes } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import { Random } from '../core/random.js';
import { never } from '../core/time.js';
import type { Job, JobContext, JobFactory } from '../job.js';
import type { Manifest, Request } from '../message/messages.js';
import type { UpdateInput } from '../port/effect.js';
import type { ImageCrypto, Sha256 } from '../port/image.js';
import { type Attempt, emitKept, type Kept, parseKept, updateKey } from './kept.js';
import { readManifest } from './manifest.js';

export interface UpdateOptions {
  readonly crypto: ImageCrypto;
  /** Whose manifests are taken: 65 bytes, an uncompressed point of P-256. */
  readonly publicKey: Uint8Array;
  /** What a manifest must be for. */
  readonly platform: string;
  /** The number this firmware was built with; 0 if with none. */
  readonly sequence: number;
  readonly slots: Slots;
}

export interface Slots {
  /** Names of the slot that this firmware runs from and of the other one. */
  readonly running: string;
  readonly spare: string;
  /** Bytes that the other one holds. */
  readonly spareBytes: number;
  /** This firmware runs for the first time, and nobody has confirmed it. */
  readonly isOnTrial: boolean;
}

/** Nothing came for so long: the connection is dead. TCP itself would take longer to notice (RFC 9293 §3.8.3, 100 s at least). */
export const stallMs = 60_000;
export const firstPauseMs = 2_000;
export const longestPauseMs = 64_000;
/** Without a byte between them these last 7 to 8 minutes, longer than a home router takes to restart. */
export const mostTries = 12;
/** The event and the response have left by then, over any connection that is up. */
export const farewellMs = 2_000;
/** Ten tries of a board that pauses 64 s between them, so that a broker or router that restarts meanwhile condemns no firmware. */
export const proveMs = 600_000;
/** The retained messages and the first telemetry (10 s) have passed: what crashes at either does not prove itself. */
export const steadyMs = 15_000;
/** Three of the 20 s that a board waits for an acknowledgement (edge/espruino/mqtt.ts): what it has said by then was heard. */
export const forgetMs = 60_000;
/** What one step puts into the outbox at most: two records, a log line, an effect. */
const stepEffects = 4;

const counterNames = [
  'requests',
  'requests.refused',
  'fetches',
  'fetches.broken',
  'bytes',
  /** Of no fetch that is under way. */
  'inputs.unexpected',
  'chunks.misplaced',
  'installed',
  'running',
  'rolled-back',
  'failed',
  'saved.unreadable',
] as const;
type CounterName = (typeof counterNames)[number];

interface Download {
  readonly manifest: Manifest;
  readonly hash: Sha256;
  receivedBytes: number;
  tries: number;
  pauseMs: number;
}

type State =
  | { readonly kind: 'idle' }
  /** The next try is at `at`. */
  | { readonly kind: 'waiting'; readonly download: Download; readonly at: number }
  | { readonly kind: 'loading'; readonly download: Download; stallAt: number }
  /** In the slot and right; activated at `at`. */
  | { readonly kind: 'installed'; readonly manifest: Manifest; readonly at: number }
  /** `attempt`: what is on trial, if the record of it is there. */
  | { readonly kind: 'trial'; readonly attempt: Attempt | undefined; readonly endAt: number; proveAt: number }
  /** The platform was asked to restart. */
  | { readonly kind: 'leaving'; readonly attempt: Attempt | undefined };

/** Throws an Error at once if an option cannot be. */
export function updateWith(options: UpdateOptions): JobFactory {
  const { publicKey, sequence } = options;
  if (publicKey.length !== 65 || publicKey[0] !== 4)
    throw new Error(`publicKey: expected 65 bytes that begin with 04, got ${publicKey.length}`);
  if (!(sequence >= 0 && sequence % 1 === 0))
    throw new Error(`sequence: expected an integer from 0, got ${sequence}`);
  return (now, context) => new Update(now, context, options);
}

class Update implements Job {
  readonly name = 'update';
  readonly counters = new Counters<CounterName>(counterNames);
  private readonly context: JobContext;
  private readonly options: UpdateOptions;
  private readonly random: Random;
  private state: State = { kind: 'idle' };
  private kept: Kept;
  private keepDue = false;
  private isOnline = false;
  /** The outcome in `kept` was told in this life of the node. */
  private isTold = false;
  private forgetAt = never;

  constructor(now: number, context: JobContext, options: UpdateOptions) {
    this.context = context;
    this.options = options;
    this.random = new Random(Number(`0x${context.boot}`), 'update');
    const record = context.saved[updateKey];
    const kept = record === undefined ? { sequence: 0 } : parseKept(record);
    if (!kept) this.counters.add('saved.unreadable');
    this.kept = kept ?? { sequence: 0 };
    const { attempt } = this.kept;
    const { running, isOnTrial } = options.slots;
    // Whatever the step: the record of the last one may be missing, if the store did not take it.
    const isAttempt = attempt?.slot === running && (isOnTrial || attempt.step === 'trial');
    if (isOnTrial)
      this.state = {
        kind: 'trial',
        attempt: isAttempt ? attempt : undefined,
        endAt: now + proveMs,
        proveAt: never,
      };
    else if (attempt && isAttempt) this.prove(now, attempt);
    else if (attempt?.step === 'trial')
      this.conclude(now, 'rolled-back', attempt, attempt.why ?? 'it restarted before it proved itself');
    else if (attempt) this.conclude(now, 'failed', attempt, 'the node restarted meanwhile');
  }

  request(now: number, verb: string, request: Request): 'done' | { readonly error: string } | undefined {
    if (verb !== 'update') return undefined;
    this.counters.add('requests');
    const error = this.begin(now, request.manifest);
    if (error === undefined) return 'done';
    this.counters.add('requests.refused');
    return { error };
  }

  image(now: number, input: UpdateInput): void {
    const { state } = this;
    if (input.state === 'refused' && state.kind === 'leaving') {
      this.state = { kind: 'idle' };
      if (state.attempt) this.conclude(now, 'failed', state.attempt, input.reason);
    } else if (state.kind !== 'loading') this.counters.add('inputs.unexpected');
    else if (input.state === 'refused') this.giveUp(now, state.download, input.reason);
    else if (input.state === 'broken') this.tryAgain(now, state.download, input.reason);
    else this.take(now, state, input.at, input.bytes);
  }

  online(now: number): void {
    this.isOnline = true;
    if (this.state.kind === 'trial' && this.state.proveAt === never) this.state.proveAt = now + steadyMs;
    this.tellOutcome(now);
  }

  offline(): void {
    this.isOnline = false;
    this.forgetAt = never;
    if (this.state.kind === 'trial') this.state.proveAt = never;
  }

  poll(now: number): void {
    if (this.context.room() < stepEffects) return;
    if (this.keepDue) this.keep(this.kept);
    if (now >= this.forgetAt) {
      this.forgetAt = never;
      this.keep({ ...this.kept, outcome: undefined });
    }
    const { state } = this;
    switch (state.kind) {
      case 'idle':
      case 'leaving':
        break;
      case 'waiting': {
        if (now < state.at) break;
        const { manifest, receivedBytes: from } = state.download;
        this.counters.add('fetches');
        this.state = { kind: 'loading', download: state.download, stallAt: now + stallMs };
        this.context.perform({ kind: 'image-fetch', uri: manifest.uri, from, size: manifest.size });
        break;
      }
      case 'loading':
        if (now < state.stallAt) break;
        this.context.perform({ kind: 'image-stop' });
        this.tryAgain(now, state.download, `nothing came for ${stallMs / 1000} s`);
        break;
      case 'installed':
        if (now < state.at) break;
        this.state = { kind: 'leaving', attempt: this.kept.attempt };
        this.context.perform({ kind: 'slot', action: 'activate' });
        break;
      case 'trial':
        if (now >= state.proveAt) {
          this.state = { kind: 'idle' };
          this.context.perform({ kind: 'slot', action: 'confirm' });
          if (state.attempt) this.prove(now, state.attempt);
        } else if (now >= state.endAt) this.rollBack(state.attempt);
        break;
      default:
        unreachable(state);
    }
  }

  pollAt(): number {
    if (this.context.room() < stepEffects) return never;
    return this.keepDue ? 0 : Math.min(this.forgetAt, this.stateAt());
  }

  private stateAt(): number {
    const { state } = this;
    switch (state.kind) {
      case 'idle':
      case 'leaving':
        return never;
      case 'waiting':
      case 'installed':
        return state.at;
      case 'loading':
        return state.stallAt;
      case 'trial':
        return Math.min(state.endAt, state.proveAt);
      default:
        return unreachable(state);
    }
  }

  /** Why not, or `undefined`: it is under way. */
  private begin(now: number, hex: string | undefined): string | undefined {
    const { options, state } = this;
    const { platform, slots } = options;
    if (state.kind === 'trial') return 'update: expected firmware that has proved itself, this has not yet';
    if (state.kind !== 'idle') return `update: expected none under way, got ${this.describeProgress()}`;
    if (hex === undefined) return 'manifest: expected a signed manifest in hex digits, got nothing';
    const bytes = parseHex(hex);
    if (!bytes) return 'manifest: expected hex digits, got something else';
    const read = readManifest(bytes, { crypto: options.crypto, publicKey: options.publicKey });
    if (!read.ok) return read.reason;
    // Its byte strings are views into the request's.
    const manifest = { ...read.value, digest: copyBytes(read.value.digest, 0, 32) };
    const least = this.sequence() + 1;
    if (manifest.platform !== platform)
      return `manifest.platform: expected ${platform}, got ${manifest.platform}`;
    if (manifest.sequence < least)
      return `manifest.sequence: expected at least ${least}, got ${manifest.sequence}`;
    if (manifest.size > slots.spareBytes)
      return `manifest.size: expected at most ${slots.spareBytes}, got ${manifest.size}`;
    const { version, sequence } = manifest;
    this.keep({ ...this.kept, attempt: { version, sequence, slot: slots.spare, step: 'download' } });
    const hash = options.crypto.sha256();
    const download = { manifest, hash, receivedBytes: 0, tries: 0, pauseMs: firstPauseMs };
    this.state = { kind: 'waiting', download, at: now };
    this.tell(now, 'begun', manifest, `${manifest.size} bytes from ${manifest.uri}`);
    return undefined;
  }

  private take(now: number, state: State & { kind: 'loading' }, at: number, bytes: Uint8Array): void {
    const { download } = state;
    const { manifest } = download;
    const before = download.receivedBytes;
    if (at !== before || bytes.length > manifest.size - before) {
      this.counters.add('chunks.misplaced');
      this.giveUp(now, download, `expected bytes at ${before}, got ${bytes.length} at ${at}`);
      return;
    }
    this.counters.add('bytes', bytes.length);
    download.hash.add(bytes);
    download.receivedBytes += bytes.length;
    download.pauseMs = firstPauseMs;
    state.stallAt = now + stallMs;
    if (download.receivedBytes === manifest.size) {
      this.finish(now, download);
      return;
    }
    const quarter = Math.floor((4 * download.receivedBytes) / manifest.size);
    if (quarter > Math.floor((4 * before) / manifest.size))
      this.tell(now, 'loading', manifest, `${25 * quarter} %`);
  }

  private finish(now: number, { manifest, hash }: Download): void {
    const { attempt } = this.kept;
    const digest = hash.finish();
    if (!sameBytes(digest, manifest.digest)) {
      const [expected, got] = [manifest.digest, digest].map(bytes => formatHex(bytes.subarray(0, 4)));
      this.state = { kind: 'idle' };
      this.conclude(now, 'failed', manifest, `digest: expected ${expected}…, got ${got}…`);
      return;
    }
    this.counters.add('installed');
    this.state = { kind: 'installed', manifest, at: now + farewellMs };
    if (attempt) this.keep({ ...this.kept, attempt: { ...attempt, step: 'trial' } });
    this.tell(now, 'installed', manifest, 'restarting with it');
  }

  private tryAgain(now: number, download: Download, reason: string): void {
    this.counters.add('fetches.broken');
    download.tries++;
    if (download.tries >= mostTries) {
      this.giveUp(now, download, `${download.tries} tries, the last: ${reason}`);
      return;
    }
    const at = now + Math.floor(download.pauseMs * (0.5 + this.random.unit() / 2));
    download.pauseMs = Math.min(longestPauseMs, 2 * download.pauseMs);
    this.state = { kind: 'waiting', download, at };
    this.context.log('warn', `update: ${reason}`);
  }

  private giveUp(now: number, { manifest }: Download, reason: string): void {
    this.state = { kind: 'idle' };
    this.context.perform({ kind: 'image-stop' });
    this.conclude(now, 'failed', manifest, reason);
  }

  private prove(now: number, attempt: Attempt): void {
    this.kept = { ...this.kept, sequence: attempt.sequence };
    this.conclude(now, 'running', attempt, 'proved itself');
  }

  /** The reason is kept, for who restarts there has no other way to know it. */
  private rollBack(attempt: Attempt | undefined): void {
    this.state = { kind: 'leaving', attempt };
    const why = `not connected to the broker within ${proveMs / 60_000} min`;
    if (attempt) this.context.save(updateKey, emitKept({ ...this.kept, attempt: { ...attempt, why } }));
    this.context.perform({ kind: 'slot', action: 'roll-back' });
  }

  /** The attempt is over. */
  private conclude(
    now: number,
    word: 'running' | 'rolled-back' | 'failed',
    about: Named,
    text: string,
  ): void {
    this.counters.add(word);
    this.isTold = false;
    this.keep({ sequence: this.kept.sequence, outcome: describe(word, about, text) });
    if (this.isOnline) this.tellOutcome(now);
  }

  private tellOutcome(now: number): void {
    const { outcome } = this.kept;
    if (outcome === undefined) return;
    if (!this.isTold) this.context.event(now, 'update', { text: outcome });
    this.isTold = true;
    this.forgetAt = now + forgetMs;
  }

  private tell(now: number, word: 'begun' | 'loading' | 'installed', about: Named, text: string): void {
    this.context.event(now, 'update', { text: describe(word, about, text) });
  }

  /** Written at the next poll, if the outbox has no room for it now: then it has none for an answer either. */
  private keep(kept: Kept): void {
    this.kept = kept;
    this.keepDue = !this.context.save(updateKey, emitKept(kept));
  }

  private sequence(): number {
    return Math.max(this.kept.sequence, this.options.sequence);
  }

  private describeProgress(): string {
    const { attempt } = this.kept;
    return attempt ? nameOf(attempt) : 'a restart';
  }
}

/** What texts speak of. */
interface Named {
  readonly version: string;
  readonly sequence: number;
}

/** `1.2.0 (sequence 7)`. */
export function nameOf({ version, sequence }: Named): string {
  return `${version} (sequence ${sequence})`;
}

/** At most 200 bytes: what is longer is of the URI or the platform's words, and its end is left out. */
function describe(word: string, about: Named, text: string): string {
  return `${word}: ${nameOf(about)}: ${text.slice(0, 120)}`;
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
