/**
 * The AEAD port on Moddable's XS: AES-128-GCM (NIST SP 800-38D §7) from the SDK's native AES, counter mode and GHASH.
 *
 * Not from the SDK's own class GCM: it stops comparing tags at the first byte that differs, and copies the message once
 * more. The SDK (8.2) has neither Poly1305 nor CCM, so this is all a Moddable board offers. No state between calls.
 * Bounds: the machine's memory; a message costs its length twice.
 */

import type { Aead } from '../../agent/port/aead.js';

/** What is used of the SDK's module `crypt`: include $(MODULES)/crypt/digest/manifest.json in the manifest. */
export interface NativeCrypt {
  readonly BlockCipher: new (name: 'AES', key: ArrayBuffer) => BlockCipher;
  readonly Mode: new (name: 'CTR', cipher: BlockCipher, firstBlock: ArrayBuffer) => Mode;
  readonly GHASH: new (h: ArrayBuffer, associated: ArrayBuffer) => Ghash;
}

export interface BlockCipher {
  /** One block of 16 bytes. */
  encrypt(block: ArrayBuffer): ArrayBuffer;
}

export interface Mode {
  /** Into `result` from its beginning, if given. */
  encrypt(data: Uint8Array, result?: ArrayBuffer): ArrayBuffer;
}

export interface Ghash {
  /** Once, with everything: a part that does not end on a block is padded. */
  write(data: Uint8Array): void;
  close(): ArrayBuffer;
}

const keyBytes = 16;
const tagBytes = 16;
const nonceBytes = 12;
const blockBytes = 16;

/** The suite on the SDK's module: `import * as crypt from 'crypt'`. */
export function aes128Gcm(crypt: NativeCrypt): Aead {
  return {
    id: 1,
    keyBytes,
    tagBytes,
    nonceBytes,
    seal(key, nonce, associated, plaintext) {
      const gcm = start(crypt, key, nonce, associated);
      const buffer = new ArrayBuffer(plaintext.length + tagBytes);
      const sealed = new Uint8Array(buffer);
      gcm.mode.encrypt(plaintext, buffer);
      sealed.set(finish(gcm, sealed.subarray(0, plaintext.length)), plaintext.length);
      return sealed;
    },
    open(key, nonce, associated, sealed) {
      const gcm = start(crypt, key, nonce, associated);
      const length = sealed.length - tagBytes;
      if (length < 0) return undefined;
      const ciphertext = sealed.subarray(0, length);
      const tag = finish(gcm, ciphertext);
      // Every byte is looked at, so that the time tells nothing of where a forged tag goes wrong.
      let different = 0;
      for (let i = 0; i < tagBytes; i++) different |= tag[i] ^ sealed[length + i];
      if (different !== 0) return undefined;
      // Counter mode undoes itself.
      return new Uint8Array(gcm.mode.encrypt(ciphertext));
    },
  };
}

interface Gcm {
  readonly mode: Mode;
  readonly ghash: Ghash;
  /** The first counter block enciphered, which hides the tag. */
  readonly mask: ArrayBuffer;
}

function start(crypt: NativeCrypt, key: Uint8Array, nonce: Uint8Array, associated: Uint8Array): Gcm {
  if (key.length !== keyBytes) throw new Error(`key: expected ${keyBytes} bytes, got ${key.length}`);
  if (nonce.length !== nonceBytes)
    throw new Error(`nonce: expected ${nonceBytes} bytes, got ${nonce.length}`);
  const cipher = new crypt.BlockCipher('AES', whole(key));
  const block = new Uint8Array(blockBytes);
  const ghash = new crypt.GHASH(cipher.encrypt(block.buffer), whole(associated));
  block.set(nonce);
  block[blockBytes - 1] = 1;
  const mask = cipher.encrypt(block.buffer);
  block[blockBytes - 1] = 2;
  return { mode: new crypt.Mode('CTR', cipher, block.buffer), ghash, mask };
}

function finish(gcm: Gcm, ciphertext: Uint8Array): Uint8Array {
  gcm.ghash.write(ciphertext);
  const tag = new Uint8Array(gcm.ghash.close());
  const mask = new Uint8Array(gcm.mask);
  for (let i = 0; i < tagBytes; i++) tag[i] ^= mask[i];
  return tag;
}

/** The SDK takes a key, a block and associated data as an ArrayBuffer, all of it. */
function whole(bytes: Uint8Array): ArrayBuffer {
  const { byteOffset, byteLength } = bytes;
  const buffer = bytes.buffer as ArrayBuffer;
  if (byteOffset === 0 && byteLength === buffer.byteLength) return buffer;
  return buffer.slice(byteOffset, byteOffset + byteLength);
}
