/**
 * Signals: what neighbours of a kibbutz say to each other on the local link (mobile kibbutz, §2.1.3.2.2.1).
 *
 *     advertisement  "until the lifetime ends you may send through my cellular link", to the members it lists
 *     hand-over      "please share your link now: I have carried you long enough" (policy `kith`), to one member
 *     refusal        "I do not forward for you (any more)", to one member
 *
 * Every span is relative (milliseconds from sending), so no two clocks need agree. One datagram, network order:
 *
 *     0  kind             1 byte, 0x11 advertisement, 0x12 hand-over, 0x13 refusal
 *     1  version          1 byte, 1
 *     2  sender           4 bytes, member id
 *     6  boot             4 bytes, random at each start of the sender
 *     10 sequence         8 bytes, strictly increasing over all signals and starts of the sender, below 2^53
 *     18 uptimeMs         4 bytes, the sender's milliseconds since boot, modulo 2^32
 *     22 lifetimeMs       2 bytes, of an advertisement; in a hand-over for how long it is asked, 0 for one packet; else 0
 *     24 readyMs          2 bytes, of an advertisement: until the radio is up, 0 unless it is being promoted; else 0
 *     26 count            1 byte, of the entries that follow
 *     27 entries          20 bytes each: recipient's member id, authentication tag
 *
 * A tag is the AEAD of the pair (RFC 5116) over the first 26 bytes, with no plaintext, under the pair's key and the
 * nonce sender ‖ sequence. Only the two can make it, so nobody can pass for the sender, not even another member.
 * Bounds: `most` recipients.
 */

import { readUint16, readUint32, writeUint8, writeUint16, writeUint32 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Aead } from '../port/aead.js';

export const signalKinds = { advertisement: 0x11, 'hand-over': 0x12, refusal: 0x13 } as const;
export type SignalKind = keyof typeof signalKinds;

/** Bytes the tags cover; `count` follows. */
export const signedBytes = 26;
const headerBytes = signedBytes + 1;
const tagBytes = 16;
const entryBytes = 4 + tagBytes;
const version = 1;

export interface Signal {
  readonly kind: SignalKind;
  /** Member id, 1 … 2^32 − 1. */
  readonly sender: number;
  readonly boot: number;
  readonly sequence: number;
  /** The sender's milliseconds since boot, modulo 2^32. */
  readonly uptimeMs: number;
  /** 0 … 65,535. */
  readonly lifetimeMs: number;
  /** 0 … 65,535. */
  readonly readyMs: number;
}

export type SignalReason = 'length' | 'kind' | 'version' | 'sender' | 'sequence' | 'count';

export interface Recipient {
  readonly member: number;
  readonly key: Uint8Array;
  readonly aead: Aead;
}

/** The parts of a signal that are no entries; never throws. */
export function parseSignal(bytes: Uint8Array): Result<Signal, SignalReason> {
  if (bytes.length < headerBytes + entryBytes) return fail('length');
  const kind = kindOf(bytes[0]);
  if (!kind) return fail('kind');
  if (bytes[1] !== version) return fail('version');
  if (bytes.length !== headerBytes + entryBytes * bytes[signedBytes]) return fail('count');
  const sender = readUint32(bytes, 2);
  if (sender === 0) return fail('sender');
  const high = readUint32(bytes, 10);
  if (high >= 0x200000) return fail('sequence');
  return ok({
    kind,
    sender,
    boot: readUint32(bytes, 6),
    sequence: high * 4294967296 + readUint32(bytes, 14),
    uptimeMs: readUint32(bytes, 18),
    lifetimeMs: readUint16(bytes, 22),
    readyMs: readUint16(bytes, 24),
  });
}

/** Where the entry of `member` begins in a datagram that parsed; −1 if it is not addressed. */
export function entryOf(bytes: Uint8Array, member: number): number {
  for (let at = headerBytes; at < bytes.length; at += entryBytes)
    if (readUint32(bytes, at) === member) return at;
  return -1;
}

/** Whether the tag of the entry at `at` is the sender's, under the key of the pair. */
export function verifySignal(bytes: Uint8Array, at: number, { key, aead }: Recipient): boolean {
  const signed = bytes.subarray(0, signedBytes);
  return aead.open(key, nonceOf(bytes), signed, bytes.subarray(at + 4, at + entryBytes)) !== undefined;
}

/** The datagram of a signal to 1 … 255 recipients. */
export function emitSignal(signal: Signal, recipients: readonly Recipient[]): Uint8Array {
  const bytes = new Uint8Array(headerBytes + entryBytes * recipients.length);
  writeUint8(bytes, 0, signalKinds[signal.kind]);
  writeUint8(bytes, 1, version);
  writeUint32(bytes, 2, signal.sender);
  writeUint32(bytes, 6, signal.boot);
  writeUint32(bytes, 10, Math.floor(signal.sequence / 4294967296));
  writeUint32(bytes, 14, signal.sequence % 4294967296);
  writeUint32(bytes, 18, signal.uptimeMs);
  writeUint16(bytes, 22, signal.lifetimeMs);
  writeUint16(bytes, 24, signal.readyMs);
  writeUint8(bytes, signedBytes, recipients.length);
  const nonce = nonceOf(bytes);
  const signed = bytes.subarray(0, signedBytes);
  let at = headerBytes;
  for (const { member, key, aead } of recipients) {
    at = writeUint32(bytes, at, member);
    bytes.set(aead.seal(key, nonce, signed, bytes.subarray(0, 0)), at);
    at += tagBytes;
  }
  return bytes;
}

/** sender ‖ sequence: a key shared by the two directions never sees a nonce twice. */
function nonceOf(bytes: Uint8Array): Uint8Array {
  const nonce = new Uint8Array(12);
  for (let i = 0; i < 4; i++) nonce[i] = bytes[2 + i];
  for (let i = 0; i < 8; i++) nonce[4 + i] = bytes[10 + i];
  return nonce;
}

function kindOf(byte: number): SignalKind | undefined {
  if (byte === signalKinds.advertisement) return 'advertisement';
  if (byte === signalKinds['hand-over']) return 'hand-over';
  return byte === signalKinds.refusal ? 'refusal' : undefined;
}
