/**
 * The AEAD port on Node: the three suites of OpenSSL, AES-128-GCM (NIST SP 800-38D), AES-128-CCM (NIST SP 800-38C) and
 * ChaCha20-Poly1305 (RFC 8439), with the tag and nonce lengths of RFC 5116 §5.1, §5.3 and RFC 8439 §2.8.
 *
 * Bounds: none beyond OpenSSL's; CCM with 12-byte nonces takes messages below 2^24 bytes (RFC 5116 §5.3).
 */

import {
  type CipherCCM,
  type CipherCCMTypes,
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  type DecipherCCM,
} from 'node:crypto';
import type { Aead, AeadId } from '../../agent/port/aead.js';

const tagBytes = 16;
const nonceBytes = 12;
const options = { authTagLength: tagBytes };

export const aes128Gcm: Aead = suite(1, 'aes-128-gcm', 16);
export const aes128Ccm: Aead = suite(3, 'aes-128-ccm', 16);
export const chacha20Poly1305: Aead = suite(29, 'chacha20-poly1305', 32);

/** All of them, the fastest where the processor has AES instructions first. */
export const aeads: readonly Aead[] = [aes128Gcm, chacha20Poly1305, aes128Ccm];

function suite(
  id: AeadId,
  name: CipherGCMTypes | CipherCCMTypes | 'chacha20-poly1305',
  keyBytes: number,
): Aead {
  // The three types differ in nothing used here; CCM's demands what the others ignore: the length of the plaintext.
  const algorithm = name as CipherCCMTypes;

  function check(key: Uint8Array, nonce: Uint8Array): void {
    if (key.length !== keyBytes) throw new Error(`key: expected ${keyBytes} bytes, got ${key.length}`);
    if (nonce.length !== nonceBytes)
      throw new Error(`nonce: expected ${nonceBytes} bytes, got ${nonce.length}`);
  }

  return {
    id,
    keyBytes,
    tagBytes,
    nonceBytes,
    seal(key, nonce, associated, plaintext) {
      check(key, nonce);
      const cipher: CipherCCM = createCipheriv(algorithm, key, nonce, options);
      cipher.setAAD(associated, { plaintextLength: plaintext.length });
      const sealed = new Uint8Array(plaintext.length + tagBytes);
      sealed.set(cipher.update(plaintext));
      cipher.final();
      sealed.set(cipher.getAuthTag(), plaintext.length);
      return sealed;
    },
    open(key, nonce, associated, sealed) {
      check(key, nonce);
      const length = sealed.length - tagBytes;
      if (length < 0) return undefined;
      const decipher: DecipherCCM = createDecipheriv(algorithm, key, nonce, options);
      decipher.setAuthTag(sealed.subarray(length));
      decipher.setAAD(associated, { plaintextLength: length });
      try {
        const plaintext = decipher.update(sealed.subarray(0, length));
        decipher.final();
        return new Uint8Array(plaintext.buffer, plaintext.byteOffset, plaintext.length);
      } catch {
        // The tag does not fit: OpenSSL says so in `final`, for CCM in `update`.
        return undefined;
      }
    },
  };
}
