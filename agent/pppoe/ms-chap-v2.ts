/**
 * The arithmetic of MS-CHAPv2 (RFC 2759 §8): what the peer answers to a challenge, and how the authenticator proves in
 * its Success that it knows the password too. The keys of RFC 3079 are for MPPE, which is not offered here.
 *
 * Bounds: none; every input is a few hundred bytes at most.
 */

import { concatBytes, decodeUtf8, encodeUtf8, formatHex } from '../core/bytes.js';
import type { Digest } from '../port/digest.js';
import { md4 } from './md4.js';

export const msChapV2ChallengeBytes = 16;
const ntResponseBytes = 24;
/** Peer challenge, 8 reserved bytes, NT response, flags (RFC 2759 §4). */
export const msChapV2ValueBytes = 49;
const ntResponseAt = 24;
/** `S=` and 40 hex digits (RFC 2759 §5). */
export const authenticatorResponseLength = 42;

/** The digests MS-CHAPv2 needs, which a platform may lack. */
export type MsChapDigest = Required<Digest>;

/** `digest` if it has all that MS-CHAPv2 needs; throws if not, for the configuration asks for what cannot be. */
export function msChapDigest(digest: Digest): MsChapDigest {
  const { sha1, des } = digest;
  if (!sha1 || !des)
    throw new Error('digest: expected sha1 and des for ms-chap-v2, got a platform without them');
  return { md5: digest.md5, sha1, des };
}

export interface MsChapV2Input {
  /** As sent, perhaps with a domain and a backslash before it. */
  readonly user: Uint8Array;
  /** UTF-8. */
  readonly password: Uint8Array;
  /** 16 bytes, the authenticator's. */
  readonly challenge: Uint8Array;
  /** 16 bytes, the peer's own. */
  readonly peerChallenge: Uint8Array;
}

/** The value of a Response packet, 49 bytes (RFC 2759 §4). */
export function msChapV2Value(input: MsChapV2Input, digest: MsChapDigest): Uint8Array {
  const value = new Uint8Array(msChapV2ValueBytes);
  value.set(input.peerChallenge);
  value.set(ntResponse(input, digest), ntResponseAt);
  return value;
}

/** The two parts of a Response's value; views into it. */
export function splitMsChapV2Value(value: Uint8Array): { peerChallenge: Uint8Array; ntResponse: Uint8Array } {
  return {
    peerChallenge: value.subarray(0, msChapV2ChallengeBytes),
    ntResponse: value.subarray(ntResponseAt, ntResponseAt + ntResponseBytes),
  };
}

/** GenerateNTResponse (RFC 2759 §8.1), 24 bytes. */
export function ntResponse(input: MsChapV2Input, digest: MsChapDigest): Uint8Array {
  const hash = challengeHash(input, digest);
  // The 16 bytes of the password's hash and five zeros make three DES keys of seven (RFC 2759 §8.5).
  const keys = new Uint8Array(21);
  keys.set(md4(utf16(input.password)));
  const response = new Uint8Array(ntResponseBytes);
  for (let i = 0; i < 3; i++) response.set(digest.des(desKey(keys.subarray(7 * i, 7 * i + 7)), hash), 8 * i);
  return response;
}

/** GenerateAuthenticatorResponse (RFC 2759 §8.7): `S=` and 40 upper-case hex digits. */
export function authenticatorResponse(
  input: MsChapV2Input,
  response: Uint8Array,
  digest: MsChapDigest,
): string {
  const hashHash = md4(md4(utf16(input.password)));
  const first = digest.sha1(concatBytes([hashHash, response, encodeUtf8(magic1)]));
  const second = digest.sha1(concatBytes([first, challengeHash(input, digest), encodeUtf8(magic2)]));
  return `S=${formatHex(second).toUpperCase()}`;
}

/** The two constants of RFC 2759 §8.7. */
const magic1 = 'Magic server to client signing constant';
const magic2 = 'Pad to make it do more than one iteration';

/** ChallengeHash (RFC 2759 §8.2), 8 bytes. */
function challengeHash({ peerChallenge, challenge, user }: MsChapV2Input, digest: MsChapDigest): Uint8Array {
  return digest.sha1(concatBytes([peerChallenge, challenge, withoutDomain(user)])).subarray(0, 8);
}

/** The user name without a domain before it (RFC 2759 §4). */
function withoutDomain(user: Uint8Array): Uint8Array {
  let at = user.length;
  while (at > 0 && user[at - 1] !== 0x5c) at--;
  return user.subarray(at);
}

/** UTF-16, little endian (RFC 2759 §8.3). A password that is not UTF-8 is taken byte by byte, as pppd does. */
function utf16(password: Uint8Array): Uint8Array {
  const text = decodeUtf8(password);
  const bytes = new Uint8Array(2 * (text === undefined ? password.length : text.length));
  for (let i = 0; 2 * i < bytes.length; i++) {
    const unit = text === undefined ? password[i] : text.charCodeAt(i);
    bytes[2 * i] = unit;
    bytes[2 * i + 1] = unit >>> 8;
  }
  return bytes;
}

/** 56 bits as 8 bytes of seven, the lowest bit of each making the parity odd (RFC 2759 §8.6; FIPS 46-3). */
function desKey(seven: Uint8Array): Uint8Array {
  const key = new Uint8Array(8);
  for (let i = 0; i < 8; i++) {
    const high = i === 0 ? 0 : seven[i - 1] << (7 - i);
    const low = i === 7 ? 0 : seven[i] >>> (i + 1);
    const bits = ((high | low) << 1) & 0xfe;
    let ones = 0;
    for (let bit = 1; bit < 8; bit++) ones += (bits >> bit) & 1;
    key[i] = bits | (ones % 2 === 0 ? 1 : 0);
  }
  return key;
}
