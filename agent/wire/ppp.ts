/**
 * PPP encapsulation (RFC 1661 §2) as PPPoE carries it: a protocol number before the packet.
 *
 *     [FF 03]  address and control: absent over PPPoE (RFC 2516 §6), but some peers send them all the same
 *     protocol 2 bytes, or 1 if its upper byte is zero and the sender compresses it (PFC, RFC 1661 §6.5)
 *     payload  to the end
 *
 * A protocol number's lower byte is odd and its upper byte even, which is how the two forms are told apart. A number
 * that is not so formed is no error but an unknown protocol (RFC 1661 §2), for the caller to Protocol-Reject.
 */

import { readUint16, writeUint8, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from './reason.js';

/** Protocol numbers (IANA, PPP DLL Protocol Numbers). */
export const pppProtocol = {
  ipv4: 0x0021,
  vanJacobsonCompressed: 0x002d,
  vanJacobsonUncompressed: 0x002f,
  multilink: 0x003d,
  ipv6: 0x0057,
  compressed: 0x00fd,
  ipcp: 0x8021,
  ipv6cp: 0x8057,
  ccp: 0x80fd,
  lcp: 0xc021,
  pap: 0xc023,
  linkQualityReport: 0xc025,
  chap: 0xc223,
  eap: 0xc227,
} as const;

export interface PppHeader {
  /** 0…0xffff; below 0x100 if `protocolCompressed`. */
  readonly protocol: number;
  /** The protocol number takes one byte (PFC). */
  readonly protocolCompressed: boolean;
  /** FF 03 stand before the protocol number: the peer does not apply ACFC's compression. */
  readonly addressAndControl: boolean;
}

export interface Ppp extends PppHeader {
  readonly payload: Uint8Array;
}

/** Reads PPP from `bytes[start, end)`. The payload is a view into `bytes`. */
export function parsePpp(bytes: Uint8Array, start: number, end: number): Result<Ppp, Reason> {
  const addressAndControl = end - start >= 2 && bytes[start] === 0xff && bytes[start + 1] === 0x03;
  const at = addressAndControl ? start + 2 : start;
  if (at >= end) return fail('truncated');
  // 00ff is reserved, so that FF is never a compressed protocol number (RFC 1661 §6.6).
  if (bytes[at] === 0xff) return fail(end - at < 2 ? 'truncated' : 'bad-value');
  const protocolCompressed = (bytes[at] & 1) === 1;
  const payloadAt = at + (protocolCompressed ? 1 : 2);
  if (payloadAt > end) return fail('truncated');
  return ok({
    protocol: protocolCompressed ? bytes[at] : readUint16(bytes, at),
    protocolCompressed,
    addressAndControl,
    payload: bytes.subarray(payloadAt, end),
  });
}

/** Bytes `emitPpp` writes: 1…4. */
export function pppLength(header: PppHeader): number {
  return (header.addressAndControl ? 2 : 0) + (header.protocolCompressed ? 1 : 2);
}

/** Writes the header before a payload; returns the offset after it. PPP states no payload length. */
export function emitPpp(header: PppHeader, out: Uint8Array, at: number): number {
  if (header.addressAndControl) at = writeUint16(out, at, 0xff03);
  return header.protocolCompressed
    ? writeUint8(out, at, header.protocol)
    : writeUint16(out, at, header.protocol);
}
