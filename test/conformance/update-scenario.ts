/**
 * The script of an update: asked for, refused, begun, broken, gone on with, activated, rolled back. In place of hash and signature,
 * which are the platform's, stands what every engine reckons alike.
 */

import { formatHex } from '../../agent/core/bytes.js';
import { encodeCbor } from '../../agent/message/cbor.js';
import type { ImageCrypto } from '../../agent/port/image.js';
import { updateWith } from '../../agent/update/job.js';
import { emitSign1 } from '../../agent/update/sign1.js';
import type { Scenario, Step } from './scenario.js';

const sizeBytes = 48;

const crypto: ImageCrypto = {
  verifyEs256: () => true,
  sha256() {
    const digest = new Uint8Array(32);
    let at = 0;
    return {
      add(bytes) {
        for (let i = 0; i < bytes.length; i++) digest[at++ % 32] ^= bytes[i];
      },
      finish: () => digest,
    };
  },
};

function image(from: number, to: number): Uint8Array {
  const bytes = new Uint8Array(to - from);
  for (let i = 0; i < bytes.length; i++) bytes[i] = 3 * (from + i);
  return bytes;
}

function point(): Uint8Array {
  const bytes = new Uint8Array(65);
  bytes[0] = 4;
  return bytes;
}

function request(at: number, transaction: string, sequence: number, scalar = 1): Step {
  const hash = crypto.sha256();
  hash.add(image(0, sizeBytes));
  const digest = hash.finish();
  const uri = 'http://192.0.2.5/x.bin';
  const fields = { format: 1, platform: 'any', version: '1.1', sequence, size: sizeBytes, digest, uri };
  const signature = new Uint8Array(64);
  for (let i = 0; i < 64; i++) signature[i] = scalar;
  const manifest = formatHex(emitSign1(encodeCbor(fields), signature));
  return { at, leaf: 'request/update', hex: formatHex(encodeCbor({ transaction, manifest })) };
}

function chunk(at: number, from: number, to: number): Step {
  return { at, input: { kind: 'image', state: 'chunk', at: from, bytes: image(from, to) } };
}

export function updateScenario(): Scenario {
  const slots = { running: 'a', spare: 'b', spareBytes: 4096, isOnTrial: false };
  return {
    name: 'update: a signed manifest judged, the image fetched, broken off, gone on with, activated, and rolled back',
    jobs: [updateWith({ crypto, publicKey: point(), platform: 'any', sequence: 4, slots })],
    steps: [
      { at: 0, bus: 'up' },
      { at: 100, leaf: 'request/update', text: '{"transaction":"a","manifest":"00"}' },
      request(200, 'b', 4),
      request(300, 'c', 5, 0),
      request(400, 'd', 5),
      chunk(500, 0, 20),
      { at: 600, input: { kind: 'image', state: 'broken', reason: 'reset' } },
      request(700, 'e', 6),
      chunk(5000, 20, 40),
      { at: 6000, bus: 'down' },
      chunk(7000, 40, 48),
      { at: 12_000, reboot: true },
      { at: 13_000, bus: 'up' },
      request(14_000, 'f', 5),
      { at: 14_500, input: { kind: 'image', state: 'refused', reason: 'HTTP 404' } },
      { at: 15_000, nothing: true },
    ],
    expect: [
      'not-sign1',
      'expected at least 5, got 4',
      'signature-range',
      'image-fetch http://192.0.2.5/x.bin 0 48',
      'expected none under way',
      'image-fetch http://192.0.2.5/x.bin 20 48',
      'save update ',
      'slot activate',
      'rolled-back: 1.1 (sequence 5)',
      'image-fetch http://192.0.2.5/x.bin 0 48',
      'failed: 1.1 (sequence 5): HTTP 404',
    ],
  };
}
