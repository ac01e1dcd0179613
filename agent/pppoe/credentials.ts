/**
 * What a peer shows to be let in, and what is made of it (RFC 1334, RFC 1994, RFC 2759). `verifyCredentials` is for
 * whoever has the secret at hand; a RADIUS client passes the credentials on instead.
 *
 * Credentials may hold a password: they go to who judges them, never into a log or a report.
 */

import { concatBytes, encodeUtf8, numberBytes } from '../core/bytes.js';
import type { Digest } from '../port/digest.js';
import { authenticatorResponse, msChapDigest, ntResponse, splitMsChapV2Value } from './ms-chap-v2.js';

export type AuthenticationMethod = 'pap' | 'chap-md5' | 'ms-chap-v2' | 'none';

export type Credentials =
  /** The link asks for none. */
  | { readonly method: 'none' }
  | { readonly method: 'pap'; readonly user: Uint8Array; readonly password: Uint8Array }
  | {
      readonly method: 'chap-md5' | 'ms-chap-v2';
      readonly user: Uint8Array;
      /** 0…255 */
      readonly identifier: number;
      /** 16 bytes. */
      readonly challenge: Uint8Array;
      /** 16 bytes for MD5, 49 for MS-CHAPv2 (RFC 2759 §4). */
      readonly response: Uint8Array;
    };

/** What a user may use of IPv4; addresses as unsigned 32-bit numbers. */
export interface Ipv4Grant {
  /** Ours on this link. */
  readonly local: number;
  /** The peer's. */
  readonly peer: number;
  /** Up to two each count (RFC 1877 has a primary and a secondary). */
  readonly dns?: readonly number[];
  readonly nbns?: readonly number[];
}

export type Verdict =
  | {
      readonly ok: true;
      /** For people to read. */
      readonly message?: string;
      /** Of MS-CHAPv2, as in its Success packet: `S=` and 40 hex digits. */
      readonly authenticatorResponse?: string;
      /** Absent: no IPv4. */
      readonly ipv4?: Ipv4Grant;
    }
  | {
      readonly ok: false;
      readonly message?: string;
      /** Of MS-CHAPv2: the peer may try once more on the same link (R=1). */
      readonly retry?: boolean;
    };

/** Whether the credentials fit a secret; for MS-CHAPv2 with the authenticator's own proof. */
export function verifyCredentials(credentials: Credentials, secret: Uint8Array, digest: Digest): Verdict {
  switch (credentials.method) {
    case 'none':
      return { ok: true };
    case 'pap':
      return { ok: sameSecret(credentials.password, secret) };
    case 'chap-md5': {
      const { identifier, challenge, response } = credentials;
      return { ok: sameSecret(response, chapMd5Response(identifier, secret, challenge, digest)) };
    }
    case 'ms-chap-v2': {
      const { user, challenge } = credentials;
      const shown = splitMsChapV2Value(credentials.response);
      const input = { user, password: secret, challenge, peerChallenge: shown.peerChallenge };
      const full = msChapDigest(digest);
      if (!sameSecret(shown.ntResponse, ntResponse(input, full))) return { ok: false };
      return { ok: true, authenticatorResponse: authenticatorResponse(input, shown.ntResponse, full) };
    }
  }
}

/** The value of a CHAP Response with MD5 (RFC 1994 §4.1), 16 bytes. */
export function chapMd5Response(
  identifier: number,
  secret: Uint8Array,
  challenge: Uint8Array,
  digest: Digest,
): Uint8Array {
  return digest.md5(concatBytes([numberBytes(identifier, 1), secret, challenge]));
}

/** A message of 255 bytes at most, which is what PAP has room for. */
export function messageBytes(text: string | undefined): Uint8Array {
  const bytes = encodeUtf8(text ?? '');
  return bytes.length <= 255 ? bytes : bytes.subarray(0, 255);
}

/** Takes as long for a guess that begins well as for one that does not. */
export function sameSecret(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length && i < b.length; i++) difference |= a[i] ^ b[i];
  return difference === 0;
}
