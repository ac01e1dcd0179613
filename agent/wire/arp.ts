/**
 * ARP for IPv4 over Ethernet (RFC 826; probe and announcement as RFC 5227 §1.1 names them).
 *
 *     0  hardware type = 1        2  protocol type = 0x0800
 *     4  hardware length = 6      5  protocol length = 4       6  operation
 *     8  sender MAC              14  sender address
 *    18  target MAC              24  target address           28  end (Ethernet padding may follow)
 */

import { readUint16, writeBytes, writeUint8, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from './reason.js';

export const arpLength = 28;
export const arpRequest = 1;
export const arpReply = 2;

export interface Arp {
  /** 1 request, 2 reply (RFC 826); others (RARP, InARP) parse and are the caller's to ignore. */
  readonly operation: number;
  readonly senderMac: Uint8Array;
  readonly senderAddress: Uint8Array;
  readonly targetMac: Uint8Array;
  readonly targetAddress: Uint8Array;
}

/** Reads ARP from `bytes[start, end)`. The addresses are views into `bytes`. */
export function parseArp(bytes: Uint8Array, start: number, end: number): Result<Arp, Reason> {
  if (end - start < arpLength) return fail('truncated');
  if (readUint16(bytes, start) !== 1 || readUint16(bytes, start + 2) !== 0x0800) return fail('bad-type');
  if (bytes[start + 4] !== 6 || bytes[start + 5] !== 4) return fail('bad-length');
  const operation = readUint16(bytes, start + 6);
  if (operation === 0) return fail('bad-value');
  return ok({
    operation,
    senderMac: bytes.subarray(start + 8, start + 14),
    senderAddress: bytes.subarray(start + 14, start + 18),
    targetMac: bytes.subarray(start + 18, start + 24),
    targetAddress: bytes.subarray(start + 24, start + 28),
  });
}

/** Writes ARP at `at`; returns the offset after it. Needs `arpLength` bytes. */
export function emitArp(arp: Arp, out: Uint8Array, at: number): number {
  at = writeUint16(out, at, 1);
  at = writeUint16(out, at, 0x0800);
  at = writeUint8(out, at, 6);
  at = writeUint8(out, at, 4);
  at = writeUint16(out, at, arp.operation);
  at = writeBytes(out, at, arp.senderMac);
  at = writeBytes(out, at, arp.senderAddress);
  at = writeBytes(out, at, arp.targetMac);
  return writeBytes(out, at, arp.targetAddress);
}
