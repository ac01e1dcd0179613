/**
 * COSE_Sign1 (RFC 9052 §4.2) with ES256 (RFC 9053 §2.1), as far as a signed manifest needs it: the protected header is exactly
 * {1: -7}, the payload is inside, there is no external data.
 *
 * Read: with tag 18 or without. In the unprotected header at most a key's name (4, RFC 9052 §3.1), which is not looked at, for
 * there is one key. Any other encoding than the shortest is refused. Written: without tag and key's name.
 * Bounds: `longestSign1` bytes, seen before anything else.
 */

import { formatHex } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { encodeCbor } from '../message/cbor.js';

/** A manifest of the longest fields has 401 bytes, and 476 signed; the rest is for a key's name. */
export const longestSign1 = 512;
/** r ‖ s (RFC 9053 §2.1). */
export const signatureBytes = 64;

export interface Sign1 {
  /** A view into the bytes parsed. */
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

export type Sign1Reason =
  | 'too-long'
  /** No array of four. */
  | 'not-sign1'
  /** The protected header is not {1: -7}. */
  | 'not-es256'
  /** Something else than nothing or a key's name. */
  | 'unprotected-header'
  /** Payload or signature are no byte string of the shortest form, or cut short. */
  | 'no-byte-string'
  | 'signature-length'
  /** r or s is not in 1 … n − 1 (FIPS 186-5 §6.4.2 step 1): zero would pass a verifier that does not look. */
  | 'signature-range'
  | 'trailing-bytes';

/** The header {1: -7} in CBOR, behind the head of its byte string. */
const protectedHex = 'a10126';
/** The order n of P-256 (SP 800-186 §3.2.1.3). */
const orderHex = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551';
const zeroHex = '0000000000000000000000000000000000000000000000000000000000000000';

export function parseSign1(bytes: Uint8Array): Result<Sign1, Sign1Reason> {
  if (bytes.length > longestSign1) return fail('too-long');
  let at = bytes[0] === 0xd2 ? 1 : 0;
  if (bytes[at] !== 0x84) return fail('not-sign1');
  at += 5;
  if (formatHex(bytes.subarray(at - 4, at)) !== `43${protectedHex}`) return fail('not-es256');
  if (bytes[at] === 0xa0) at++;
  else {
    const name = bytes[at] === 0xa1 && bytes[at + 1] === 0x04 ? byteString(bytes, at + 2) : undefined;
    if (!name) return fail('unprotected-header');
    at = name.end;
  }
  const payload = byteString(bytes, at);
  const signature = payload && byteString(bytes, payload.end);
  if (!signature) return fail('no-byte-string');
  if (signature.value.length !== signatureBytes) return fail('signature-length');
  if (signature.end < bytes.length) return fail('trailing-bytes');
  for (const half of [0, 32]) {
    const hex = formatHex(signature.value.subarray(half, half + 32));
    if (hex === zeroHex || hex >= orderHex) return fail('signature-range');
  }
  return ok({ payload: payload.value, signature: signature.value });
}

export function emitSign1(payload: Uint8Array, signature: Uint8Array): Uint8Array {
  if (signature.length !== signatureBytes)
    throw new Error(`signature: expected ${signatureBytes} bytes, got ${signature.length}`);
  return encodeCbor([protectedHeader(), {}, payload, signature]);
}

/** What is signed: the Sig_structure of RFC 9052 §4.4. */
export function signedBytes(payload: Uint8Array): Uint8Array {
  return encodeCbor(['Signature1', protectedHeader(), new Uint8Array(0), payload]);
}

function protectedHeader(): Uint8Array {
  return new Uint8Array([0xa1, 0x01, 0x26]);
}

/** The byte string of up to 65,535 bytes that begins at `at`. */
function byteString(
  bytes: Uint8Array,
  at: number,
): { readonly value: Uint8Array; readonly end: number } | undefined {
  const head = bytes[at];
  let start = at + 1;
  let length = head - 0x40;
  if (head === 0x58) {
    length = bytes[start++];
    if (length < 24) return undefined;
  } else if (head === 0x59) {
    length = bytes[start] * 256 + bytes[start + 1];
    start += 2;
    if (length < 256) return undefined;
  } else if (!(length >= 0 && length < 24)) return undefined;
  const end = start + length;
  return end <= bytes.length ? { value: bytes.subarray(start, end), end } : undefined;
}
