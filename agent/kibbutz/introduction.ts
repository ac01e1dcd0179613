/**
 * Who may talk with whom under which key: the choice of an AEAD, keys derived from keys, and the provider's
 * introduction of two members to each other (mobile kibbutz, §2.1.3.2.2.3: each member shares one secret with the
 * provider, and all else follows from it).
 *
 * Keys come from the AEAD alone, for boards have no hash in common: a derived key is what the AEAD's cipher makes of
 * zeros, under a master key and a label in the nonce's place, the tag left off. All three AEADs encrypt by XOR with a
 * stream that only key and nonce determine, and that nobody without the key can tell from noise (RFC 5116 §2.1, and the
 * proofs for GCM, CCM and ChaCha20 it rests on); so different labels give keys that say nothing of each other or of the
 * master. A label used again encrypts the same zeros again, which repeats the answer and shows nothing. A master is
 * used for nothing else, except that signals authenticate under a pair's key (signal.ts): their nonces begin with the
 * sender's id, which is never 0, and the labels under a pair's key do. A derived key is no stronger than its master.
 *
 * An introduction, within a control envelope (envelope.ts), network order:
 *
 *     0  type = 1    1  AEAD    2  peer, 4 bytes    6  generation, 4 bytes    10  key of the pair    end
 */

import { readUint32, writeBytes, writeUint8, writeUint32 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Aead } from '../port/aead.js';
import type { Reason } from '../wire/reason.js';
import { aeadNonce } from './nonce.js';

export const introductionType = 1;
const keyOffset = 10;
const largestGeneration = 0xffffff;

export interface Introduction {
  /** Member id, 1 … 2^32 − 1. */
  readonly peer: number;
  /** Number of the AEAD in IANA's registry, 1 … 255. */
  readonly aead: number;
  /** Rises whenever either of the two got new keys, 1 … 2^24 − 1. One lower than known is an old introduction. */
  readonly generation: number;
  /** The key of the pair: signals use it, and what envelopes between the two use is derived from it. */
  readonly key: Uint8Array;
}

/**
 * The AEAD for two who list theirs in order of preference: of those both have, the one with the smallest sum of places,
 * then the smallest number; so both sides find the same one. `undefined`: they have none in common, and cannot talk.
 */
export function commonAead(one: readonly number[], other: readonly number[]): number | undefined {
  let best: number | undefined;
  let bestSum = Infinity;
  for (let i = 0; i < one.length; i++) {
    const j = other.indexOf(one[i]);
    if (j < 0) continue;
    if (i + j < bestSum || (i + j === bestSum && one[i] < best!)) {
      best = one[i];
      bestSum = i + j;
    }
  }
  return best;
}

/** The AEAD with that number; `undefined` if the platform lacks it. */
export function findAead(aeads: readonly Aead[], id: number): Aead | undefined {
  for (const aead of aeads) if (aead.id === id) return aead;
  return undefined;
}

/** The secret that member and provider share; new with each generation (1 … 2^24 − 1). `aead` goes with `master`. */
export function deviceKey(
  aead: Aead,
  master: Uint8Array,
  options: { readonly member: number; readonly generation: number; readonly keyBytes: number },
): Uint8Array {
  const { member, generation, keyBytes } = options;
  return derive(aead, master, label(deviceTag, generation, 0, member), keyBytes);
}

/** The key of two members, whichever is named first. */
export function pairKey(
  aead: Aead,
  master: Uint8Array,
  options: {
    readonly members: readonly [number, number];
    readonly generation: number;
    readonly keyBytes: number;
  },
): Uint8Array {
  const [one, other] = options.members;
  const low = Math.min(one, other);
  const high = Math.max(one, other);
  return derive(aead, master, label(pairTag, options.generation, low, high), options.keyBytes);
}

/** A key for one purpose (1 … 255) under a device's or a pair's key, for the same AEAD. */
export function purposeKey(aead: Aead, master: Uint8Array, purpose: number): Uint8Array {
  return derive(aead, master, aeadNonce(0, purpose), aead.keyBytes);
}

/** A new array with the introduction. */
export function emitIntroduction(introduction: Introduction): Uint8Array {
  const bytes = new Uint8Array(keyOffset + introduction.key.length);
  let at = writeUint8(bytes, 0, introductionType);
  at = writeUint8(bytes, at, introduction.aead);
  at = writeUint32(bytes, at, introduction.peer);
  at = writeUint32(bytes, at, introduction.generation);
  writeBytes(bytes, at, introduction.key);
  return bytes;
}

/** Reads all of `bytes`. The key is a view; whether its length suits the AEAD is known where the AEAD is. */
export function parseIntroduction(bytes: Uint8Array): Result<Introduction, Reason> {
  if (bytes.length <= keyOffset) return fail('truncated');
  if (bytes[0] !== introductionType) return fail('bad-type');
  const peer = readUint32(bytes, 2);
  const generation = readUint32(bytes, 6);
  if (bytes[1] === 0 || peer === 0 || generation === 0 || generation > largestGeneration)
    return fail('bad-value');
  if (bytes.length !== keyOffset + 16 && bytes.length !== keyOffset + 32) return fail('bad-length');
  return ok({ peer, aead: bytes[1], generation, key: bytes.subarray(keyOffset) });
}

/** What the provider's master key is asked for: tells the labels of its two kinds of keys apart. */
const deviceTag = 1;
const pairTag = 2;

/** 1 tag · 3 generation · 4 member or 0 · 4 member. */
function label(tag: number, generation: number, low: number, high: number): Uint8Array {
  if (!(generation >= 1 && generation <= largestGeneration))
    throw new Error(`generation: expected 1..${largestGeneration}, got ${generation}`);
  const bytes = new Uint8Array(12);
  writeUint32(bytes, writeUint32(bytes, writeUint32(bytes, 0, tag * 0x1000000 + generation), low), high);
  return bytes;
}

function derive(aead: Aead, master: Uint8Array, label: Uint8Array, keyBytes: number): Uint8Array {
  return aead.seal(master, label, new Uint8Array(0), new Uint8Array(keyBytes)).subarray(0, keyBytes);
}
