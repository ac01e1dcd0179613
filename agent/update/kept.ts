/**
 * What the job `update` keeps over restarts: one CBOR record (message/cbor.ts). Bounds: those of its fields.
 */

import { type CborMap, decodeCbor, encodeCbor } from '../message/cbor.js';

export const updateKey = 'update';

export interface Kept {
  /** Of the firmware that last proved itself. */
  readonly sequence: number;
  readonly attempt?: Attempt | undefined;
  /** A text that somebody may not have been told yet. */
  readonly outcome?: string | undefined;
}

/** `download`: the image is on its way into the slot. `trial`: it is there, and the next start is from it. */
export interface Attempt {
  readonly version: string;
  readonly sequence: number;
  readonly slot: string;
  readonly step: 'download' | 'trial';
  /** Why the firmware on trial rolled itself back. */
  readonly why?: string | undefined;
}

export function emitKept({ sequence, attempt, outcome }: Kept): Uint8Array {
  return encodeCbor({ sequence, attempt: attempt && { ...attempt }, outcome });
}

/** `undefined` if the bytes are no such record. */
export function parseKept(bytes: Uint8Array): Kept | undefined {
  const decoded = decodeCbor(bytes, { depth: 2 });
  const record = decoded.ok ? mapIn(decoded.value) : undefined;
  if (!record || !isSequence(record['sequence'])) return undefined;
  const { sequence, outcome } = record;
  const told = typeof outcome === 'string' ? outcome : undefined;
  const { version, sequence: wanted, slot, step, why } = mapIn(record['attempt']) ?? {};
  if (
    typeof version !== 'string' ||
    typeof slot !== 'string' ||
    !isSequence(wanted) ||
    (step !== 'download' && step !== 'trial')
  )
    return { sequence, outcome: told };
  const reason = typeof why === 'string' ? why : undefined;
  return { sequence, outcome: told, attempt: { version, sequence: wanted, slot, step, why: reason } };
}

function mapIn(value: unknown): CborMap | undefined {
  return typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array)
    ? (value as CborMap)
    : undefined;
}

function isSequence(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value % 1 === 0;
}
