/**
 * The AEAD port on Espruino boards with AES (all that have TLS): AES-128-CCM (NIST SP 800-38C, RFC 3610; lengths of RFC 5116
 * §5.3) from the firmware's native AES.
 *
 * The firmware's `ccmEncrypt` takes no associated data. Its ciphertext does not depend on any, though, so it serves as
 * the counter mode both ways; the tag is made here, from the firmware's CBC and one block of ECB. (`AES.encrypt` in
 * mode CTR is no help: it ignores `iv`, 2v29.) So no byte of the message passes through the interpreter. Of the boards with a
 * network none has it as delivered, though (2v29: their `libraries` lack AES_CCM); there the counters go through ECB, and the
 * interpreter makes the XOR.
 *
 * Bounds: messages below 2^24 bytes, associated data below 65,280 (RFC 3610 §2.2), the board's memory long before.
 */

import type { Aead } from '../../agent/port/aead.js';

/** What is used of `require('crypto').AES`. */
export interface NativeAes {
  encrypt(message: Uint8Array, key: Uint8Array, options: { mode: 'CBC' | 'ECB' }): ArrayBuffer;
  ccmEncrypt?(message: Uint8Array, key: Uint8Array, iv: Uint8Array, tagLength: number): { data: ArrayBuffer };
}

const keyBytes = 16;
const tagBytes = 16;
const nonceBytes = 12;
const blockBytes = 16;
/** Associated data present; M = 16 bytes of tag; L = 3 bytes of length (RFC 3610 §2.2). */
const firstFlags = 0x40 | (((tagBytes - 2) / 2) << 3) | 2;
const counterFlags = 2;

/** The suite on the firmware's `require('crypto').AES`. */
export function aes128Ccm(aes: NativeAes): Aead {
  return {
    id: 3,
    keyBytes,
    tagBytes,
    nonceBytes,
    seal(key, nonce, associated, plaintext) {
      check(key, nonce);
      const sealed = new Uint8Array(plaintext.length + tagBytes);
      sealed.set(crypt(aes, key, nonce, plaintext), 0);
      sealed.set(tagOf(aes, key, nonce, associated, plaintext), plaintext.length);
      return sealed;
    },
    open(key, nonce, associated, sealed) {
      check(key, nonce);
      const length = sealed.length - tagBytes;
      if (length < 0) return undefined;
      const plaintext = crypt(aes, key, nonce, sealed.subarray(0, length));
      const tag = tagOf(aes, key, nonce, associated, plaintext);
      // Every byte is looked at, so that the time tells nothing of where a forged tag goes wrong.
      let different = 0;
      for (let i = 0; i < tagBytes; i++) different |= tag[i] ^ sealed[length + i];
      return different === 0 ? plaintext : undefined;
    },
  };
}

function check(key: Uint8Array, nonce: Uint8Array): void {
  if (key.length !== keyBytes) throw new Error(`key: expected ${keyBytes} bytes, got ${key.length}`);
  if (nonce.length !== nonceBytes)
    throw new Error(`nonce: expected ${nonceBytes} bytes, got ${nonce.length}`);
}

/** Counter mode from counter 1: the same both ways. */
function crypt(aes: NativeAes, key: Uint8Array, nonce: Uint8Array, message: Uint8Array): Uint8Array {
  const { length } = message;
  if (length > 0 && aes.ccmEncrypt) return new Uint8Array(aes.ccmEncrypt(message, key, nonce, tagBytes).data);
  const stream = new Uint8Array(wholeBlocks(length));
  for (let at = 0, counter = 1; at < length; at += blockBytes, counter++) {
    stream[at] = counterFlags;
    stream.set(nonce, at + 1);
    stream[at + 13] = counter >> 16;
    stream[at + 14] = counter >> 8;
    stream[at + 15] = counter;
  }
  const made = length > 0 ? new Uint8Array(aes.encrypt(stream, key, { mode: 'ECB' })) : stream;
  const crypted = new Uint8Array(length);
  for (let i = 0; i < length; i++) crypted[i] = message[i] ^ made[i];
  return crypted;
}

/** RFC 3610 §2.2 and §2.3. */
function tagOf(
  aes: NativeAes,
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  const associatedEnd = associated.length > 0 ? wholeBlocks(2 + associated.length) : 0;
  const blocks = new Uint8Array(blockBytes + associatedEnd + wholeBlocks(plaintext.length));
  blocks[0] = associated.length > 0 ? firstFlags : firstFlags - 0x40;
  blocks.set(nonce, 1);
  blocks[13] = plaintext.length >> 16;
  blocks[14] = plaintext.length >> 8;
  blocks[15] = plaintext.length;
  if (associated.length > 0) {
    blocks[blockBytes] = associated.length >> 8;
    blocks[blockBytes + 1] = associated.length;
    blocks.set(associated, blockBytes + 2);
  }
  blocks.set(plaintext, blockBytes + associatedEnd);
  const chained = new Uint8Array(aes.encrypt(blocks, key, { mode: 'CBC' }));
  const counter = new Uint8Array(blockBytes);
  counter[0] = counterFlags;
  counter.set(nonce, 1);
  const tag = new Uint8Array(aes.encrypt(counter, key, { mode: 'ECB' }));
  for (let i = 0; i < tagBytes; i++) tag[i] ^= chained[chained.length - tagBytes + i];
  return tag;
}

function wholeBlocks(length: number): number {
  return blockBytes * Math.ceil(length / blockBytes);
}
