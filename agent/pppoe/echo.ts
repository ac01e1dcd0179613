/**
 * LCP's Echo (RFC 1661 §5.8) without a session object: what a link that is open and quiet still has to do. Answering
 * happens in place in the received packet.
 */

import { readUint16, readUint32, writeUint16, writeUint32 } from '../core/bytes.js';
import { pppProtocol } from '../wire/ppp.js';

const requestCode = 9;
const replyCode = 10;
/** Header and magic number. */
export const echoBytes = 8;

/** What the PPP packet in `bytes[start, end)` is; anything but a well-formed Echo of LCP is undefined. */
export function isEcho(
  protocol: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): 'request' | 'reply' | undefined {
  if (protocol !== pppProtocol.lcp || end - start < echoBytes) return undefined;
  const length = readUint16(bytes, start + 2);
  if (length < echoBytes || length > end - start) return undefined;
  return bytes[start] === requestCode ? 'request' : bytes[start] === replyCode ? 'reply' : undefined;
}

/** The magic number an Echo carries, its sender's: our own means a line that is looped back (RFC 1661 §6.4). */
export function echoMagic(bytes: Uint8Array, start: number): number {
  return readUint32(bytes, start + 4);
}

/** Makes the Echo-Request at `start` its reply, with our magic number (0 if none was agreed on). */
export function answerEcho(bytes: Uint8Array, start: number, magicNumber: number): void {
  bytes[start] = replyCode;
  writeUint32(bytes, start + 4, magicNumber);
}

/** Writes an Echo-Request of `echoBytes`; returns the offset after it. */
export function emitEchoRequest(
  { identifier, magicNumber }: { readonly identifier: number; readonly magicNumber: number },
  out: Uint8Array,
  at: number,
): number {
  out[at] = requestCode;
  out[at + 1] = identifier;
  writeUint16(out, at + 2, echoBytes);
  return writeUint32(out, at + 4, magicNumber);
}
