/**
 * One-way functions as a platform supplies them, for the authentication of PPP (RFC 1994, RFC 2759). Types only.
 *
 * They are what those protocols ask for, and broken for any other use. MD4 is not among them: platforms have dropped it,
 * so pppoe/ has its own.
 */

export interface Digest {
  /** 16 bytes (RFC 1321). */
  md5(data: Uint8Array): Uint8Array;
  /** 20 bytes (RFC 3174). Absent: no MS-CHAPv2. */
  readonly sha1?: (data: Uint8Array) => Uint8Array;
  /** One block of DES in ECB mode (FIPS 46-3): `key` and `block` 8 bytes, the key with its parity bits. Absent: no MS-CHAPv2. */
  readonly des?: (key: Uint8Array, block: Uint8Array) => Uint8Array;
}
