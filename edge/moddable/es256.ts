/**
 * What a firmware image is judged by, on Moddable's XS: SHA-256 (FIPS 180-4) and the verification of ECDSA on P-256 (FIPS 186-5 §6.4.2),
 * from the SDK's natives for digests and elliptic curves.
 *
 * Not by the SDK's own class ECDSA (8.2), which needs the modules for signing, too, and looks at the range of r and s no more than this
 * does: that is the caller's part (agent/update/sign1.ts). The key is the firmware's own and believed to be a point of the
 * curve. Nothing here is secret, so its time may tell anything.
 * Bounds: the natives'; a verification keeps nothing.
 */

import type { ImageCrypto } from '../../agent/port/image.js';

/** What is used of the SDK's modules `crypt`, `curve`, `ecp` and `mont`. */
export interface NativeEcdsa {
  readonly Digest: new (name: 'SHA256') => NativeDigest;
  readonly Curve: new (name: 'secp256r1') => NativeCurve;
  readonly ECPoint: new (x: bigint, y: bigint) => NativePoint;
  readonly Mont: new (modulus: { readonly m: bigint }) => NativeModulus;
  /** Of the bytes, the first the highest. */
  bigInt(bytes: ArrayBuffer): bigint;
}

interface NativeDigest {
  write(bytes: Uint8Array): void;
  close(): ArrayBuffer;
}

interface NativePoint {
  readonly x: bigint;
  readonly y: bigint;
  isZero(): boolean;
}

interface NativeCurve {
  readonly G: NativePoint;
  readonly n: bigint;
  readonly ec: {
    mul2(a: NativePoint, j: bigint, b: NativePoint, k: bigint): NativePoint;
  };
}

interface NativeModulus {
  mul(a: bigint, b: bigint): bigint;
  mulinv(a: bigint): bigint;
}

export function imageCrypto(native: NativeEcdsa): ImageCrypto {
  const { Digest, Curve, ECPoint, Mont } = native;
  const number = (bytes: Uint8Array) => native.bigInt(bytes.slice().buffer as ArrayBuffer);
  const sha256 = () => {
    const digest = new Digest('SHA256');
    return {
      add: (bytes: Uint8Array) => digest.write(bytes),
      finish: () => new Uint8Array(digest.close()),
    };
  };
  return {
    sha256,
    verifyEs256(publicKey, message, signature) {
      const { G, n, ec } = new Curve('secp256r1');
      const modulus = new Mont({ m: n });
      const key = new ECPoint(number(publicKey.subarray(1, 33)), number(publicKey.subarray(33)));
      const hash = sha256();
      hash.add(message);
      const r = number(signature.subarray(0, 32));
      const inverse = modulus.mulinv(number(signature.subarray(32)));
      // Step 5 to 8: R = (e / s) G + (r / s) Q, and its x is r modulo n.
      const sum = ec.mul2(G, modulus.mul(number(hash.finish()), inverse), key, modulus.mul(r, inverse));
      return !sum.isZero() && sum.x % n === r;
    },
  };
}
