import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Agent } from '../../agent/agent.js';
import { formatHex } from '../../agent/core/bytes.js';
import { type CborValue, decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import type { Manifest } from '../../agent/message/messages.js';
import { parseTopic } from '../../agent/message/topic.js';
import type { Effect, Input, UpdateEffect } from '../../agent/port/effect.js';
import type { ImageCrypto } from '../../agent/port/image.js';
import { type Slots, updateWith } from '../../agent/update/job.js';
import { signManifest, verifyEs256 } from '../../host-sim/cli/firmware.js';

export const crypto: ImageCrypto = {
  verifyEs256,
  sha256() {
    const hash = createHash('sha256');
    return {
      add: bytes => {
        hash.update(bytes);
      },
      finish: () => new Uint8Array(hash.digest()),
    };
  },
};

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly point: Uint8Array;
}

export function keyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x, y } = publicKey.export({ format: 'jwk' });
  const point = new Uint8Array([4, ...Buffer.from(x!, 'base64url'), ...Buffer.from(y!, 'base64url')]);
  return { privateKey, point };
}

export const image = new Uint8Array(1000).map((_, at) => at);

export function manifestOf(changes: Partial<Manifest> = {}): Manifest {
  return {
    format: 1,
    platform: 'test-board',
    version: '1.2.0',
    sequence: 7,
    size: image.length,
    digest: new Uint8Array(createHash('sha256').update(image).digest()),
    uri: 'http://images.example/kith.bin',
    ...changes,
  };
}

/** A node with two slots and a store, that survives restarts; time is advanced by hand. */
export class Rig {
  now = 0;
  agent!: Agent;
  readonly key = keyPair();
  readonly saved: { [key: string]: Uint8Array } = {};
  slots: Slots = { running: 'a', spare: 'b', spareBytes: 4096, isOnTrial: false };
  sequence = 0;
  /** What it asked for and nobody took yet. */
  effects: UpdateEffect[] = [];
  /** Texts of events, and answers to requests. */
  told: string[] = [];
  answers: { readonly ok: boolean; readonly error?: string }[] = [];
  counters: { readonly [name: string]: number } = {};
  private boots = 0;

  constructor() {
    this.boot();
  }

  /** Starts it, as after any restart; `slots` as the bootloader left them. */
  boot(slots: Partial<Slots> = {}): this {
    this.slots = { ...this.slots, ...slots };
    const { publicKey, platform } = { publicKey: this.key.point, platform: 'test-board' };
    this.agent = new Agent(this.now, {
      site: 'home',
      node: 'board',
      firmware: 'test 1',
      platform: 'test',
      boot: `0000000${++this.boots}`,
      links: [],
      jobs: [updateWith({ crypto, publicKey, platform, sequence: this.sequence, slots: this.slots })],
      saved: { ...this.saved },
    });
    this.effects = [];
    this.drain();
    return this;
  }

  connect(): this {
    return this.give({ kind: 'bus-up', sessionPresent: false });
  }

  give(input: Input): this {
    this.agent.receive(this.now, input);
    this.drain();
    return this;
  }

  request(manifest: string | undefined): { readonly ok: boolean; readonly error?: string } {
    const payload = encodeCbor({ transaction: 't', ...(manifest === undefined ? {} : { manifest }) });
    this.give({ kind: 'message', topic: 'kith/1/home/board/request/update', payload, retained: false });
    return this.answers[this.answers.length - 1]!;
  }

  sign(manifest: Manifest = manifestOf(), key: KeyObject = this.key.privateKey): string {
    return formatHex(signManifest(manifest, key));
  }

  chunk(at: number, bytes: Uint8Array): this {
    return this.give({ kind: 'image', state: 'chunk', at, bytes });
  }

  /** All of `bytes` from offset `from`, cut in pieces. */
  send(bytes: Uint8Array = image, from = 0, pieceBytes = 128): this {
    for (let at = from; at < bytes.length; at += pieceBytes)
      this.chunk(at, bytes.subarray(at, Math.min(bytes.length, at + pieceBytes)));
    return this;
  }

  /** Polls whenever there is work until so much later. */
  pass(ms: number): this {
    const until = this.now + ms;
    for (;;) {
      const at = Math.max(this.now, this.agent.pollAt());
      if (at > until) break;
      this.now = at;
      this.agent.poll(this.now);
      this.drain();
    }
    this.now = until;
    return this;
  }

  /** The only effect there is. */
  only(): UpdateEffect {
    const [first, ...rest] = this.effects.splice(0);
    if (!first || rest.length > 0)
      throw new Error(`expected one effect, got ${rest.length + (first ? 1 : 0)}`);
    return first;
  }

  count(name: string): number {
    this.give({
      kind: 'message',
      topic: 'kith/1/home/board/request/report',
      payload: encodeCbor({ transaction: 'r' }),
      retained: false,
    });
    this.pass(0);
    return this.counters[name] ?? 0;
  }

  private drain(): void {
    for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift())
      this.perform(effect);
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case 'save':
        if (effect.value) this.saved[effect.key] = effect.value;
        else delete this.saved[effect.key];
        break;
      case 'image-fetch':
      case 'image-stop':
      case 'slot':
        this.effects.push(effect);
        break;
      case 'publish': {
        const topic = parseTopic(effect.topic);
        const decoded = decodeCbor(effect.payload, { depth: 8 });
        if (!topic.ok || !decoded.ok) break;
        const body = decoded.value as { readonly [key: string]: CborValue };
        const { leaf } = topic.value;
        if (leaf.kind === 'event') this.told.push(String(body['text']));
        if (leaf.kind === 'response') this.answers.push(body as never);
        if (leaf.kind === 'telemetry') this.counters = body['counters'] as never;
        break;
      }
      default:
    }
  }
}
