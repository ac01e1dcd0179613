/**
 * What a member of a kibbutz keeps over restarts, one CBOR record (message/cbor.ts) a key:
 *
 *     kibbutz/registration        who it is to the provider, its key, and the numbers it may have used under that key
 *     kibbutz/neighbour/<member>  the key of the pair, and the account
 *     kibbutz/owner               what of the quota is used (OwnerSnapshot, owner-limits.ts)
 *
 * Key and numbers stand in one record because they are lost together or not at all: the key with a count from before
 * would use nonces again (nonce.ts). A record that is not as written here is as good as none; whoever reads says so.
 */

import { fail, ok, type Result } from '../core/result.js';
import { type CborValue, decodeCbor, encodeCbor } from '../message/cbor.js';
import type { Aead } from '../port/aead.js';
import { findAead } from './introduction.js';
import type { Account } from './neighbour.js';

export const registrationKey = 'kibbutz/registration';
export const ownerKey = 'kibbutz/owner';
export const neighbourPrefix = 'kibbutz/neighbour/';

/** What the provider gave us (host-sim/coordinator/provider.ts). */
export interface Registration {
  /** Member id, 1 … 2^32 − 1. */
  readonly member: number;
  /** Number of the AEAD in IANA's registry. */
  readonly aead: number;
  /** Rises with each registration, 1 … 2^24 − 1. */
  readonly generation: number;
  /** Shared with the provider. */
  readonly key: Uint8Array;
}

export interface KeptRegistration extends Registration {
  /** Numbers up to this may have been used under the key or a pair's (nonce.ts), and sequences of signals. */
  readonly nonceThrough: number;
  readonly sequenceThrough: number;
  /** As in `TunnelOptions`. */
  readonly controlSeenThrough: number;
}

export interface KeptNeighbour extends Account {
  readonly member: number;
  readonly aead: Aead;
  readonly key: Uint8Array;
  /** Of the introduction. */
  readonly generation: number;
  /** Of our registration then: under another one the numbers have begun anew, so the pair's key must not be used. */
  readonly registration: number;
  /** Signals up to this sequence count as heard. */
  readonly sequence: number;
}

/** `missing`: there is none. `no-aead`: this platform lacks the one it was registered with. */
export type RegistrationReason = 'missing' | 'unreadable' | 'no-aead';

const mostInteger = 9007199254740991;
const mostMember = 4294967295;
const mostGeneration = 0xffffff;
/** Far above any credit that can be earned, and small enough to reckon with. */
const mostCredit = 1_000_000_000;

/** The record of a new registration, for whoever provisions the device: to be stored under `registrationKey`. */
export function newRegistration({ member, aead, generation, key }: Registration): Uint8Array {
  return emitRegistration({
    member,
    aead,
    generation,
    key,
    nonceThrough: 0,
    sequenceThrough: 0,
    controlSeenThrough: 0,
  });
}

/**
 * The record to store under `registrationKey` in the place of `kept`, because `registration` is another member's, or newer.
 * `undefined`: `kept` stays. The same registration is never taken over twice: its numbers are used up.
 */
export function takeOver(
  kept: Uint8Array | undefined,
  registration: Registration,
  aeads: readonly Aead[],
): Uint8Array | undefined {
  const now = parseRegistration(kept, aeads);
  const { member, generation } = registration;
  if (now.ok && now.value.member === member && now.value.generation >= generation) return undefined;
  return newRegistration(registration);
}

export function emitRegistration(kept: KeptRegistration): Uint8Array {
  return encodeCbor({ ...kept });
}

/** Reads a record kept under `registrationKey`. */
export function parseRegistration(
  bytes: Uint8Array | undefined,
  aeads: readonly Aead[],
): Result<KeptRegistration & { readonly suite: Aead }, RegistrationReason> {
  if (bytes === undefined) return fail('missing');
  const { member, aead, generation, key, nonceThrough, sequenceThrough, controlSeenThrough } = mapIn(bytes);
  if (
    !isInteger(member, 1, mostMember) ||
    !isInteger(aead, 1, 255) ||
    !isInteger(generation, 1, mostGeneration) ||
    !(key instanceof Uint8Array) ||
    !isInteger(nonceThrough, 0, mostInteger) ||
    !isInteger(sequenceThrough, 0, mostInteger) ||
    !isInteger(controlSeenThrough, 0, mostInteger)
  )
    return fail('unreadable');
  const suite = findAead(aeads, aead);
  if (!suite) return fail('no-aead');
  if (key.length !== suite.keyBytes) return fail('unreadable');
  return ok({ member, aead, generation, key, nonceThrough, sequenceThrough, controlSeenThrough, suite });
}

export function emitNeighbour(kept: KeptNeighbour): Uint8Array {
  return encodeCbor({ ...kept, aead: kept.aead.id });
}

/** Reads a record kept under `neighbourPrefix`; `undefined` if it is none. */
export function parseNeighbour(bytes: Uint8Array, aeads: readonly Aead[]): KeptNeighbour | undefined {
  const { member, aead, key, generation, registration, sequence, ...account } = mapIn(bytes);
  const { credit, taken, givenBytes, takenBytes } = account;
  const suite = isInteger(aead, 1, 255) ? findAead(aeads, aead) : undefined;
  if (
    !suite ||
    !isInteger(member, 1, mostMember) ||
    !(key instanceof Uint8Array && key.length === suite.keyBytes) ||
    !isInteger(generation, 1, mostGeneration) ||
    !isInteger(registration, 1, mostGeneration) ||
    !isInteger(sequence, -1, mostInteger) ||
    !isNumber(credit, -mostCredit, mostCredit) ||
    !isNumber(taken, -mostCredit, mostInteger) ||
    !isInteger(givenBytes, 0, mostInteger) ||
    !isInteger(takenBytes, 0, mostInteger)
  )
    return undefined;
  return {
    member,
    aead: suite,
    key,
    generation,
    registration,
    sequence,
    credit,
    taken,
    givenBytes,
    takenBytes,
  };
}

/** The value of a record as CBOR; `null`, which is no record, where it is none. */
export function readRecord(bytes: Uint8Array): CborValue {
  const decoded = decodeCbor(bytes, { depth: 1 });
  return decoded.ok ? decoded.value : null;
}

function mapIn(bytes: Uint8Array): { readonly [key: string]: unknown } {
  const value = readRecord(bytes);
  return value !== null && typeof value === 'object' ? (value as { readonly [key: string]: unknown }) : {};
}

function isNumber(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && value >= least && value <= most;
}

function isInteger(value: unknown, least: number, most: number): value is number {
  return isNumber(value, least, most) && value % 1 === 0;
}
