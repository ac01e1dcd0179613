/**
 * What a platform needs to take a new firmware: the hash and the signature of it. Types only.
 */

export interface ImageCrypto {
  /** A SHA-256 (FIPS 180-4 §6.2) to be fed part by part. */
  sha256(): Sha256;
  /**
   * Whether `signature` is ES256 (RFC 9053 §2.1: ECDSA on P-256 with SHA-256, FIPS 186-5 §6.4.2) of `message`. `publicKey`: an
   * uncompressed point, 65 bytes (SEC 1 §2.3.3); `signature`: r ‖ s, 64 bytes, of which the caller has seen that both are in 1 … n − 1.
   */
  verifyEs256(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

export interface Sha256 {
  /** The bytes are only valid during the call. */
  add(bytes: Uint8Array): void;
  /** 32 bytes; nothing is added afterwards. */
  finish(): Uint8Array;
}
