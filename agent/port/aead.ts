/**
 * Authenticated encryption as a platform supplies it (RFC 5116), one object for each algorithm it has. Types only.
 *
 * Every platform that joins a kibbutz has AES-128-GCM; what else two of them share is found by
 * kibbutz/introduction.ts.
 */

/** Numbers of the IANA registry "AEAD Parameters": AES-128-GCM, AES-128-CCM, ChaCha20-Poly1305. */
export type AeadId = 1 | 3 | 29;

export interface Aead {
  readonly id: AeadId;
  /** 16 for the AES ones, 32 for ChaCha20-Poly1305. */
  readonly keyBytes: number;
  /** 16 for all three. */
  readonly tagBytes: number;
  /** 12 for all three. */
  readonly nonceBytes: number;
  /**
   * Ciphertext ‖ tag (RFC 5116 §2.1), in memory of its own. A (key, nonce) pair must never seal two different
   * (associated, plaintext) pairs: with GCM that gives away the key of the tags. Throws on a key or nonce of another
   * length.
   */
  seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array;
  /**
   * The plaintext, in memory of its own; `undefined` if the tag does not fit or there is none (RFC 5116 §2.2). Throws
   * on a key or nonce of another length.
   */
  open(
    key: Uint8Array,
    nonce: Uint8Array,
    associated: Uint8Array,
    sealed: Uint8Array,
  ): Uint8Array | undefined;
}
