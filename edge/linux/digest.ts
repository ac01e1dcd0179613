/**
 * The digest port on Node: MD5 (RFC 1321), SHA-1 (RFC 3174) and one block of DES (FIPS 46-3) by OpenSSL.
 *
 * OpenSSL 3 keeps single DES in its legacy provider, but triple DES (SP 800-67) with three times the same key is DES.
 * Bounds: none of its own.
 */

import { createCipheriv, createHash } from 'node:crypto';
import type { Digest } from '../../agent/port/digest.js';

export const digest: Required<Digest> = {
  md5: data => createHash('md5').update(data).digest(),
  sha1: data => createHash('sha1').update(data).digest(),
  des(key, block) {
    if (key.length !== 8) throw new Error(`key: expected 8 bytes, got ${key.length}`);
    if (block.length !== 8) throw new Error(`block: expected 8 bytes, got ${block.length}`);
    const tripleKey = new Uint8Array(24);
    for (let at = 0; at < 24; at += 8) tripleKey.set(key, at);
    const cipher = createCipheriv('des-ede3-ecb', tripleKey, null).setAutoPadding(false);
    return cipher.update(block);
  },
};
