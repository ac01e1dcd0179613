/**
 * Wake-on-LAN's magic packet (AMD, "Magic Packet Technology", publication 20213, 1995): anywhere in a frame six bytes
 * of ff, then the sleeper's MAC sixteen times without a break. SecureOn network cards also want a password after it.
 *
 *     0  synchronisation: 6 × ff      6  MAC × 16      102  password: 0, 4 or 6 bytes
 *
 * What carries it is free: EtherType 0x0842, UDP to the discard port, anything. The payload bounds it.
 */

import { writeBytes, writeUint8 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { formatMac, macLength } from './address.js';
import type { Reason } from './reason.js';

/** The EtherType etherwake and the network cards' own tools use; not assigned by the IEEE. */
export const wakeOnLanEtherType = 0x0842;
/** The UDP discard port (RFC 863), where most tools send it. */
export const wakeOnLanPort = 9;

const synchronisationLength = 6;
const repetitions = 16;
const magicLength = synchronisationLength + repetitions * macLength;

export interface WakeOnLan {
  /** The sleeper's own MAC, or whatever its network card listens for; not broadcast. */
  readonly targetMac: Uint8Array;
  /** SecureOn: 4 bytes (written like an IPv4 address) or 6 (like a MAC); empty without one. */
  readonly password: Uint8Array;
}

/**
 * Finds the magic packet in `bytes[start, end)`; the first one counts. Exactly 4 or 6 bytes after it are the password;
 * any other number belongs to something else. The arrays are views into `bytes`.
 */
export function parseWakeOnLan(bytes: Uint8Array, start: number, end: number): Result<WakeOnLan, Reason> {
  if (end - start < magicLength) return fail('truncated');
  for (let at = start; at + magicLength <= end; at++) {
    if (!isMagic(bytes, at)) continue;
    const macAt = at + synchronisationLength;
    const after = end - at - magicLength;
    return ok({
      targetMac: bytes.subarray(macAt, macAt + macLength),
      password: bytes.subarray(at + magicLength, after === 4 || after === 6 ? end : at + magicLength),
    });
  }
  return fail('bad-magic');
}

/** Bytes `emitWakeOnLan` writes. */
export function wakeOnLanLength(wake: WakeOnLan): number {
  return magicLength + wake.password.length;
}

/** Writes the magic packet alone at `at`; returns the offset after it. Throws for a MAC or password of another size. */
export function emitWakeOnLan(wake: WakeOnLan, out: Uint8Array, at: number): number {
  const { targetMac, password } = wake;
  if (targetMac.length !== macLength || allOnes(targetMac, 0))
    throw new Error(`targetMac: expected 6 bytes, not all ff, got ${formatMac(targetMac)}`);
  if (password.length !== 0 && password.length !== 4 && password.length !== 6)
    throw new Error(`password: expected 0, 4 or 6 bytes, got ${password.length}`);
  for (let i = 0; i < synchronisationLength; i++) at = writeUint8(out, at, 0xff);
  for (let i = 0; i < repetitions; i++) at = writeBytes(out, at, targetMac);
  return writeBytes(out, at, password);
}

/** Whether synchronisation and sixteen equal MACs begin at `at`. In a run of ff nothing is a MAC yet. */
function isMagic(bytes: Uint8Array, at: number): boolean {
  const macAt = at + synchronisationLength;
  if (!allOnes(bytes, at) || allOnes(bytes, macAt)) return false;
  for (let i = macLength; i < repetitions * macLength; i++)
    if (bytes[macAt + i] !== bytes[macAt + i - macLength]) return false;
  return true;
}

/** Six bytes of ff: the synchronisation, or the broadcast address. */
function allOnes(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + synchronisationLength; i++) if (bytes[i] !== 0xff) return false;
  return true;
}
