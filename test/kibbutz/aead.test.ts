import { createCipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex, parseHex } from '../../agent/core/bytes.js';
import { findAead } from '../../agent/kibbutz/introduction.js';
import type { Aead } from '../../agent/port/aead.js';
import { aes128Ccm as espruinoCcm, type NativeAes } from '../../edge/espruino/aead.js';
import { aeads } from '../../edge/linux/aead.js';
import { type BlockCipher, type NativeCrypt, aes128Gcm as xsGcm } from '../../edge/moddable/aead.js';

interface Vector {
  readonly aead: number;
  readonly from: string;
  readonly refused?: true;
  readonly key: string;
  readonly nonce: string;
  readonly associated: string;
  readonly plaintext: string;
  readonly sealed: string;
}

const { vectors }: { vectors: Vector[] } = JSON.parse(
  readFileSync(new URL('../vectors/aead.json', import.meta.url), 'utf8'),
);
const hex = (text: string) => parseHex(text)!;

/** The firmware's AES as far as the port uses it: no associated data, no padding, CBC from a zero vector. */
const espruino: NativeAes = {
  encrypt(message, key, { mode }) {
    const vector = mode === 'CBC' ? new Uint8Array(16) : null;
    const cipher = createCipheriv(`aes-128-${mode.toLowerCase()}`, key, vector).setAutoPadding(false);
    return ownMemory(cipher.update(message));
  },
  ccmEncrypt(message, key, iv, tagLength) {
    const cipher = createCipheriv('aes-128-ccm', key, iv, { authTagLength: tagLength });
    return { data: ownMemory(cipher.update(message)) };
  },
};

/** The SDK's classes as far as the port uses them: ArrayBuffers where it demands them. */
const moddable: NativeCrypt = {
  BlockCipher: class {
    private readonly key: ArrayBuffer;
    constructor(_name: 'AES', key: ArrayBuffer) {
      this.key = key;
    }
    encrypt(block: ArrayBuffer): ArrayBuffer {
      const cipher = createCipheriv('aes-128-ecb', new Uint8Array(this.key), null).setAutoPadding(false);
      return ownMemory(cipher.update(new Uint8Array(block)));
    }
  },
  Mode: class {
    private readonly cipher: BlockCipher;
    private readonly counter: DataView;
    constructor(_name: 'CTR', cipher: BlockCipher, firstBlock: ArrayBuffer) {
      this.cipher = cipher;
      this.counter = new DataView(firstBlock.slice(0));
    }
    encrypt(data: Uint8Array, result = new ArrayBuffer(data.length)): ArrayBuffer {
      const out = new Uint8Array(result);
      for (let at = 0; at < data.length; at++) {
        if (at > 0 && at % 16 === 0) this.counter.setUint32(12, this.counter.getUint32(12) + 1);
        if (at % 16 === 0)
          out.set(
            new Uint8Array(this.cipher.encrypt(this.counter.buffer as ArrayBuffer)).subarray(
              0,
              data.length - at,
            ),
            at,
          );
        out[at] ^= data[at];
      }
      return result;
    }
  },
  GHASH: class {
    private readonly h: bigint;
    private readonly associatedLength: number;
    private sum = 0n;
    private length = 0;
    constructor(h: ArrayBuffer, associated: ArrayBuffer) {
      this.h = BigInt(`0x${formatHex(new Uint8Array(h))}`);
      this.associatedLength = associated.byteLength;
      this.absorb(new Uint8Array(associated));
    }
    write(data: Uint8Array): void {
      this.length += data.length;
      this.absorb(data);
    }
    close(): ArrayBuffer {
      this.add((BigInt(this.associatedLength * 8) << 64n) | BigInt(this.length * 8));
      return ownMemory(hex(this.sum.toString(16).padStart(32, '0')));
    }
    private absorb(data: Uint8Array): void {
      for (let at = 0; at < data.length; at += 16)
        this.add(BigInt(`0x${formatHex(data.subarray(at, at + 16)).padEnd(32, '0')}`));
    }
    /** sum ← (sum + block) · h in GF(2^128) (NIST SP 800-38D §6.3). */
    private add(block: bigint): void {
      const x = this.sum ^ block;
      let v = this.h;
      this.sum = 0n;
      for (let bit = 127n; bit >= 0n; bit--) {
        if ((x >> bit) & 1n) this.sum ^= v;
        v = v & 1n ? (v >> 1n) ^ (0xe1n << 120n) : v >> 1n;
      }
    }
  },
};

function ownMemory(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

const platforms: readonly (readonly [string, readonly Aead[]])[] = [
  ['Node', aeads],
  ['Espruino', [espruinoCcm(espruino)]],
  ['Espruino, whose firmware has no CCM', [espruinoCcm({ encrypt: espruino.encrypt })]],
  ['Moddable', [xsGcm(moddable)]],
];

for (const [platform, suites] of platforms) {
  checkPlatform(platform, suites);
}

test.run();

function checkPlatform(platform: string, suites: readonly Aead[]): void {
  test(`${platform}: every published vector seals to its bytes and opens again, and forgeries stay shut`, () => {
    const opened = new Map<number, number>();
    for (const { aead: id, from, refused, ...vector } of vectors) {
      const aead = findAead(suites, id);
      if (!aead) continue;
      const [key, nonce, associated, sealed] = [
        vector.key,
        vector.nonce,
        vector.associated,
        vector.sealed,
      ].map(hex);
      const plaintext = aead.open(key, nonce, associated, sealed);
      if (refused) {
        assert.is(plaintext, undefined, from);
        continue;
      }
      assert.is(plaintext && formatHex(plaintext), vector.plaintext, from);
      assert.is(formatHex(aead.seal(key, nonce, associated, hex(vector.plaintext))), vector.sealed, from);
      opened.set(id, (opened.get(id) ?? 0) + 1);
    }
    for (const { id } of suites) assert.ok(opened.get(id)! > 30, `AEAD ${id} has vectors`);
  });

  test(`${platform}: a changed byte anywhere, a missing one, or another key, nonce or header opens nothing`, () => {
    for (const aead of suites) {
      const key = new Uint8Array(aead.keyBytes).fill(1);
      const nonce = new Uint8Array(aead.nonceBytes).fill(2);
      const associated = new Uint8Array(18).fill(3);
      const plaintext = new Uint8Array(40).fill(4);
      const sealed = aead.seal(key, nonce, associated, plaintext);
      assert.is(sealed.length, plaintext.length + aead.tagBytes);
      for (const part of [key, nonce, associated, sealed]) {
        for (let i = 0; i < part.length; i++) {
          part[i] ^= 0x80;
          assert.is(aead.open(key, nonce, associated, sealed), undefined);
          part[i] ^= 0x80;
        }
      }
      for (let length = 0; length < sealed.length; length++)
        assert.is(
          aead.open(key, nonce, associated, sealed.subarray(0, length)),
          undefined,
          `${length} bytes`,
        );
      assert.equal(aead.open(key, nonce, associated, sealed), plaintext);
    }
  });

  test(`${platform}: a key or nonce of another length is a mistake of the caller`, () => {
    for (const aead of suites) {
      const [key, nonce, none] = [new Uint8Array(aead.keyBytes), new Uint8Array(12), new Uint8Array(0)];
      assert.throws(() => aead.seal(key.subarray(1), nonce, none, none), /key: expected/);
      assert.throws(() => aead.open(key, nonce.subarray(1), none, none), /nonce: expected 12 bytes, got 11/);
    }
  });
}
