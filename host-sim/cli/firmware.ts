/**
 * `kith firmware`: the key that signs firmware, the signed manifest of an image (agent/update/), and the update of a node by it.
 *
 * A manifest is kept and published as one line of hex digits. The key is ECDSA on P-256 (FIPS 186-5) in PKCS #8 (RFC 5958, PEM);
 * firmware has its public point, 65 bytes in hex.
 */

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
  sign,
  verify,
} from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { formatHex, parseHex } from '../../agent/core/bytes.js';
import { formatDuration } from '../../agent/core/time.js';
import { decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { descriptors, type Manifest } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { formatTopic, type NodeId } from '../../agent/message/topic.js';
import { nameOf } from '../../agent/update/job.js';
import { readManifest } from '../../agent/update/manifest.js';
import { emitSign1, longestSign1, parseSign1, signedBytes } from '../../agent/update/sign1.js';
import { decodeMessage } from '../coordinator/payload.js';
import { visit } from './client.js';

type Say = (line: string) => Promise<void> | void;

export interface SignWords {
  /** A file with the private key. */
  readonly key: string;
  readonly platform: string;
  readonly imageVersion: string;
  readonly sequence: number;
  readonly url: string;
  /** Where the manifest goes; left out: it is said. */
  readonly out?: string;
}

/** A node that has not answered a request by then is not there. */
const answerMs = 10_000;
const outcomes = ['running', 'rolled-back', 'failed'];

/** Makes a key pair; the private key into a file that only its owner reads. Throws if the file is there already. */
export async function makeKey(path: string, say: Say): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  await writeFile(path, pem, { flag: 'wx', mode: 0o600 }).catch(error => {
    throw new Error(`${path}: cannot be written: ${error.message}`, { cause: error });
  });
  await say(`${path}: the private key; whoever has it can put firmware on your nodes`);
  await say(`updateKey=${formatHex(pointOf(publicKey))}`);
}

/** What firmware is built with to believe what this private key signs, in hex. Throws an Error that names the file. */
export async function updateKeyOf(path: string): Promise<string> {
  return formatHex(pointOf(createPublicKey(await readKey(path))));
}

/** Throws an Error that names the file, or the manifest's field and what was expected. */
export async function printManifest(image: string, words: SignWords, say: Say): Promise<void> {
  const { platform, imageVersion: version, sequence, url: uri } = words;
  const { size, digest } = await measure(image);
  const manifest = { format: 1 as const, platform, version, sequence, size, digest, uri };
  const hex = formatHex(signManifest(manifest, await readKey(words.key)));
  if (words.out === undefined) await say(hex);
  else {
    await writeFile(words.out, `${hex}\n`);
    await say(`${words.out}: ${describeManifest(manifest)}`);
  }
}

/** The manifest as a node takes it. Throws, naming the field, if no node would. */
export function signManifest(manifest: Manifest, key: KeyObject): Uint8Array {
  const payload = encodeCbor(manifest);
  const signature = sign('sha256', signedBytes(payload), { key, dsaEncoding: 'ieee-p1363' });
  const signed = emitSign1(payload, signature);
  if (signed.length > longestSign1)
    throw new Error(`manifest: expected at most ${longestSign1} bytes, got ${signed.length}`);
  const read = readManifest(signed, { crypto: { verifyEs256 }, publicKey: pointOf(createPublicKey(key)) });
  if (!read.ok) throw new Error(read.reason);
  return signed;
}

/** ES256 by OpenSSL, as ImageCrypto has it. */
export function verifyEs256(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const [x, y] = [publicKey.subarray(1, 33), publicKey.subarray(33)].map(half =>
    Buffer.from(half).toString('base64url'),
  );
  const key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: x!, y: y! }, format: 'jwk' });
  return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

/**
 * Asks a node to update itself and says what it tells, until it is over. True: it runs what the manifest names. Throws an Error if the
 * node refuses, does not answer, or has not come to an end after `waitMs`.
 */
export async function updateNode(
  broker: string,
  node: NodeId,
  file: string,
  waitMs: number,
  say: Say,
): Promise<boolean> {
  const hex = (await readFile(file, 'utf8')).trim();
  const name = nameIn(hex);
  if (name === undefined)
    throw new Error(`${file}: expected a signed manifest in hex digits, as kith firmware sign writes them`);
  const transaction = randomUUID();
  const told = new Inbox();
  let isAccepted = false;
  const hear = (topic: string, payload: Uint8Array) => {
    if (topic === formatTopic(node, { kind: 'response', name: 'update' })) {
      const response = decodeMessage(descriptors.response, payload);
      // A request that reaches the node twice (QoS 1) is refused the second time.
      if (!response.ok || response.value.transaction !== transaction || isAccepted) return;
      isAccepted = response.value.ok;
      told.put(isAccepted ? 'accepted' : new Error(response.value.error ?? 'refused'));
    } else {
      const event = decodeMessage(descriptors.event, payload);
      if (event.ok) told.put(event.value.text ?? '');
    }
  };
  return visit(broker, hear, async ({ subscribe, publish }) => {
    await subscribe(formatTopic(node, { kind: 'response', name: 'update' }));
    await subscribe(formatTopic(node, { kind: 'event', name: 'update' }));
    const request = encodeCbor({ transaction, manifest: hex });
    await publish(formatTopic(node, { kind: 'request', name: 'update' }), request, false);
    // What it tells of an earlier update comes before its answer.
    const where = `${node.site}/${node.node}`;
    const late = `${where} did not answer within ${answerMs / 1000} s: kith node ls says whether it is there`;
    while ((await told.next(answerMs, late)) !== 'accepted');
    const endAt = Date.now() + waitMs;
    for (;;) {
      const text = await told.next(
        Math.max(0, endAt - Date.now()),
        `${where}: no outcome within ${formatDuration(waitMs)}; kith watch ${where} shows what it tells`,
      );
      await say(text);
      // An earlier outcome may be told again.
      const word = outcomes.find(one => text.startsWith(`${one}: ${name}: `));
      if (word !== undefined) return word === 'running';
    }
  });
}

/** What outcomes call the firmware of a manifest; undefined if it is none. Whether it is signed the node sees. */
function nameIn(hex: string): string | undefined {
  const signed = parseSign1(parseHex(hex) ?? new Uint8Array(0));
  const payload = signed.ok ? decodeCbor(signed.value.payload, { depth: 1 }) : signed;
  if (!payload.ok || validate(descriptors.manifest, payload.value)) return undefined;
  return nameOf(payload.value as Manifest);
}

/** What was heard and not looked at yet, in order. */
class Inbox {
  private readonly items: (string | Error)[] = [];
  private wake: () => void = () => {};

  put(item: string | Error): void {
    this.items.push(item);
    this.wake();
  }

  /** The next text. Throws what was put, or `late` after so long. */
  async next(withinMs: number, late: string): Promise<string> {
    if (this.items.length === 0)
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(late)), withinMs);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    const item = this.items.shift() as string | Error;
    if (item instanceof Error) throw item;
    return item;
  }
}

function describeManifest(manifest: Manifest): string {
  return `${nameOf(manifest)} for ${manifest.platform}, ${manifest.size} bytes`;
}

async function measure(path: string): Promise<{ readonly size: number; readonly digest: Uint8Array }> {
  const hash = createHash('sha256');
  let size = 0;
  try {
    for await (const chunk of createReadStream(path)) {
      hash.update(chunk as Buffer);
      size += (chunk as Buffer).length;
    }
  } catch (error) {
    throw new Error(`${path}: cannot be read: ${(error as Error).message}`, { cause: error });
  }
  return { size, digest: new Uint8Array(hash.digest()) };
}

async function readKey(path: string): Promise<KeyObject> {
  const pem = await readFile(path).catch(error => {
    throw new Error(`${path}: cannot be read: ${error.message}`, { cause: error });
  });
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(pem);
  } catch {
    // Said below.
  }
  if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw new Error(`${path}: expected a private key on P-256 in PEM, as kith firmware key makes it`);
  return key;
}

/** An uncompressed point (SEC 1 §2.3.3). */
function pointOf(key: KeyObject): Uint8Array {
  const { x, y } = key.export({ format: 'jwk' });
  return new Uint8Array([4, ...Buffer.from(x!, 'base64url'), ...Buffer.from(y!, 'base64url')]);
}
