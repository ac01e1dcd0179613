/**
 * The manifest of a firmware image: a closed CBOR map (`manifest` in messages.cddl) within a COSE_Sign1 (sign1.ts).
 *
 * What it says was taken from the information model of SUIT (RFC 9124 §3): version of the structure, monotonic sequence number,
 * vendor and class id (one text here), size, digest, payload indicator, signature. Not taken: SUIT's command sequences,
 * components, dependencies, expiry (a board has no clock it can trust), encrypted payloads and delegated keys: a node here has one
 * image, two slots and one key, and the interpreter of draft-ietf-suit-manifest would be larger than all of this.
 */

import { encodeUtf8 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { decodeCbor } from '../message/cbor.js';
import { describeProblem } from '../message/judge.js';
import type { Manifest } from '../message/messages.js';
import { manifestDescriptor } from '../message/received.js';
import { validate } from '../message/schema.js';
import type { ImageCrypto } from '../port/image.js';
import { parseSign1, signedBytes } from './sign1.js';

/** Whose manifests are taken. */
export interface Signer {
  readonly crypto: Pick<ImageCrypto, 'verifyEs256'>;
  /** 65 bytes, as ImageCrypto has it. */
  readonly publicKey: Uint8Array;
}

/**
 * The manifest that `bytes` are, if the signer's; else which field is wrong and what was expected, for a person. Its content is only
 * looked at behind the signature.
 */
export function readManifest(bytes: Uint8Array, signer: Signer): Result<Manifest, string> {
  const signed = parseSign1(bytes);
  if (!signed.ok) return fail(`manifest: expected a COSE_Sign1 with ES256, got ${signed.reason}`);
  const { payload, signature } = signed.value;
  if (!signer.crypto.verifyEs256(signer.publicKey, signedBytes(payload), signature))
    return fail("manifest: expected the signature of this firmware's key, got another");
  const decoded = decodeCbor(payload, { depth: 1 });
  if (!decoded.ok) return fail(`manifest: expected a map in CBOR, got ${decoded.reason}`);
  const problem = validate(manifestDescriptor, decoded.value) ?? uriProblem(decoded.value as Manifest);
  if (problem) return fail(`manifest.${describeProblem(problem)}`);
  return ok(decoded.value as Manifest);
}

/** RFC 3986 §2: no space, nothing below or beyond ASCII: a line break would end the line of HTTP that it goes into. */
function uriProblem({ uri }: Manifest) {
  const bytes = encodeUtf8(uri);
  let isPlain = uri.indexOf('http://') === 0 || uri.indexOf('https://') === 0;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] <= 0x20 || bytes[i] >= 0x7f) isPlain = false;
  if (isPlain) return undefined;
  return { field: 'uri', expected: 'http:// or https:// in plain ASCII', got: 'something else' };
}
