/**
 * The job `update` on a board whose power, broker and network fail at any moment: what must hold whatever happens.
 */

import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Agent } from '../../agent/agent.js';
import { formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { defaultLimits } from '../../agent/limits.js';
import { decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { parseTopic } from '../../agent/message/topic.js';
import type { Effect, Input } from '../../agent/port/effect.js';
import { updateWith } from '../../agent/update/job.js';
import { signManifest } from '../../host-sim/cli/firmware.js';
import { crypto, keyPair, manifestOf } from './update-rig.js';

const key = keyPair();

/** What a slot holds, or a server has. */
interface Image {
  readonly bytes: Uint8Array;
  readonly sequence: number;
  /** It ends itself so long after its start; `never`: it does not. */
  readonly crashesAfterMs: number;
  readonly connects: boolean;
}

/** One request that was answered with `ok`. */
interface Asked {
  readonly version: string;
  readonly outcomes: Set<string>;
}

const slotNames = ['a', 'b'] as const;
type SlotName = (typeof slotNames)[number];

/** A board with two slots, a store, a broker and a server; each may fail between any two of its steps. */
class World {
  now = 0;
  readonly random: Random;
  /** Chance of a power cut at each effect, and of trouble at each step. */
  trouble = 0.01;
  agent!: Agent;
  readonly asked = new Map<string, Asked>();
  private readonly server = new Map<string, Uint8Array>();
  private store: { [key: string]: Uint8Array } = {};
  private readonly slots: { [name in SlotName]: Uint8Array };
  private readonly images = new Map<string, Image>();
  private running: SlotName = 'a';
  private trial: undefined | 'new' | 'begun';
  private highestConfirmed = 1;
  private isOnline = false;
  private waiting: (Effect & { readonly kind: 'publish' })[] = [];
  private fetch: { readonly uri: string; at: number; readonly size: number } | undefined;
  private held = 0;
  private restartAt = Infinity;
  private crashAt = Infinity;
  private boots = 0;
  private serial = 0;
  private readonly builtIn: boolean;
  private isCut = false;

  constructor(seed: number) {
    this.random = new Random(seed, 'world');
    this.builtIn = this.random.chance(0.5);
    const first = this.newImage(1, Infinity, true);
    this.slots = { a: first.bytes, b: new Uint8Array(0) };
    this.boot();
  }

  newImage(sequence: number, crashesAfterMs: number, connects: boolean): Image {
    const bytes = new Uint8Array(50 + this.random.below(400)).map(() => this.random.below(256));
    const image = { bytes, sequence, crashesAfterMs, connects };
    this.images.set(digestOf(bytes), image);
    return image;
  }

  /** Power on: the bootloader chooses the slot. */
  private boot(): void {
    if (this.trial === 'new') this.trial = 'begun';
    else if (this.trial === 'begun') {
      this.running = other(this.running);
      this.trial = undefined;
    }
    const image = this.current();
    if (!this.trial)
      assert.ok(
        image.sequence >= this.highestConfirmed,
        `runs ${image.sequence} after ${this.highestConfirmed}`,
      );
    this.isCut = false;
    this.isOnline = false;
    this.waiting = [];
    this.fetch = undefined;
    this.held = 0;
    this.restartAt = Infinity;
    this.crashAt = this.now + image.crashesAfterMs;
    this.agent = new Agent(this.now, {
      site: 'home',
      node: 'board',
      firmware: 'test 1',
      platform: 'test',
      boot: (++this.boots).toString(16).padStart(8, '0'),
      links: [],
      limits: { ...defaultLimits, outboxEffects: 24, waitingEvents: 8 },
      jobs: [
        updateWith({
          crypto,
          publicKey: key.point,
          platform: 'test-board',
          sequence: this.builtIn ? image.sequence : 0,
          slots: {
            running: this.running,
            spare: other(this.running),
            spareBytes: 4096,
            isOnTrial: this.trial !== undefined,
          },
        }),
      ],
      saved: { ...this.store },
    });
    this.drain();
  }

  private current(): Image {
    const image = this.images.get(digestOf(this.slots[this.running]));
    assert.ok(image, `slot ${this.running} holds no image that somebody signed`);
    return image;
  }

  private give(input: Input): void {
    if (this.isCut) return;
    this.agent.receive(this.now, input);
    this.drain();
  }

  private cut(): void {
    this.isCut = true;
  }

  private drain(): void {
    while (!this.isCut) {
      const effect = this.agent.outbox.shift();
      if (!effect) return;
      if (this.random.chance(this.trouble / 2)) this.cut();
      else this.perform(effect);
    }
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case 'save':
        if (effect.value) this.store[effect.key] = effect.value;
        else delete this.store[effect.key];
        break;
      case 'publish':
        this.waiting.push(effect);
        break;
      case 'image-fetch':
        if (effect.from === 0) {
          this.slots[other(this.running)] = new Uint8Array(0);
          this.held = 0;
        }
        assert.is(effect.from, this.held);
        this.fetch = { uri: effect.uri, at: effect.from, size: effect.size };
        break;
      case 'image-stop':
        this.fetch = undefined;
        break;
      case 'slot':
        if (effect.action === 'confirm') {
          this.trial = undefined;
          this.highestConfirmed = Math.max(this.highestConfirmed, this.current().sequence);
          break;
        }
        if (effect.action === 'activate') {
          if (this.random.chance(this.trouble)) {
            this.give({ kind: 'image', state: 'refused', reason: 'the slot does not take it' });
            break;
          }
          this.running = other(this.running);
          this.trial = 'new';
          this.current();
        } else {
          this.running = other(this.running);
          this.trial = undefined;
        }
        this.give({ kind: 'shutdown' });
        this.restartAt = this.now + 1000;
        break;
      default:
    }
  }

  /** The request that was answered with `ok`, or told of without that its answer was heard. */
  private askedOf(version: string): Asked {
    let asked = this.asked.get(version);
    if (!asked) {
      asked = { version, outcomes: new Set() };
      this.asked.set(version, asked);
    }
    return asked;
  }

  /** A publication gets through. */
  private acknowledge(): void {
    const publication = this.waiting.shift();
    if (!publication) return;
    const topic = parseTopic(publication.topic);
    const body = decodeCbor(publication.payload, { depth: 8 });
    if (topic.ok && body.ok) {
      const { leaf } = topic.value;
      const said = body.value as { [field: string]: unknown };
      if (leaf.kind === 'response' && leaf.name === 'update' && said['ok'] === true) {
        const version = String(said['transaction']);
        this.askedOf(version);
      }
      const outcome = /^(running|rolled-back|failed): (\S+) /.exec(String(said['text'] ?? ''));
      if (leaf.kind === 'event' && outcome) {
        const [, word, version] = outcome;
        this.askedOf(version!).outcomes.add(word!);
      }
    }
    this.drain();
  }

  private request(): void {
    const { random } = this;
    const version = `v${++this.serial}`;
    const sequence = Math.max(1, this.highestConfirmed - 2 + random.below(6));
    const image = this.newImage(
      sequence,
      random.chance(0.2) ? random.below(40_000) : Infinity,
      random.chance(0.8),
    );
    const uri = `http://x/${version}`;
    const served = random.chance(0.1) ? image.bytes.map(byte => byte ^ 1) : image.bytes;
    this.server.set(uri, served);
    const manifest = manifestOf({
      version,
      sequence,
      uri,
      size: image.bytes.length,
      digest: new Uint8Array(createHash('sha256').update(image.bytes).digest()),
    });
    const hex = formatHex(signManifest(manifest, key.privateKey));
    const payload = encodeCbor({ transaction: version, manifest: hex });
    for (let times = random.chance(0.2) ? 2 : 1; times > 0; times--)
      this.give({ kind: 'message', topic: 'kith/1/home/board/request/update', payload, retained: false });
  }

  /** So much time, and what may happen in it. */
  step(): void {
    const { random, trouble } = this;
    if (this.isCut || this.now >= this.crashAt || this.now >= this.restartAt) this.boot();
    if (this.isCut) return;
    const connects = this.current().connects;
    if (!this.isOnline && connects && random.chance(trouble > 0 ? 0.3 : 1)) {
      this.isOnline = true;
      this.give({ kind: 'bus-up', sessionPresent: false });
    } else if (this.isOnline && random.chance(trouble)) {
      this.isOnline = false;
      this.give({ kind: 'bus-down' });
    }
    // Whoever asks waits for what became of the last one, as `kith firmware update` does; two may ask at once.
    if (this.isOnline && trouble > 0 && random.chance(0.02) && this.isSettled())
      for (let i = random.below(3); i >= 0; i--) this.request();
    if (this.isOnline && trouble > 0 && random.chance(trouble))
      this.give({
        kind: 'message',
        topic: 'kith/1/home/board/request/report',
        payload: encodeCbor({ transaction: 'r' }),
        retained: false,
      });
    if (this.isOnline)
      for (let i = random.below(4); i > 0 || (trouble === 0 && this.waiting.length > 0); i--)
        this.acknowledge();
    this.download();
    if (random.chance(trouble / 10)) this.cut();
    if (!this.isCut && this.agent.pollAt() <= this.now) {
      this.agent.poll(this.now);
      this.drain();
    }
    this.now += random.chance(0.1) ? random.below(20_000) : 200;
  }

  private isSettled(): boolean {
    for (const { outcomes } of this.asked.values()) if (outcomes.size === 0) return false;
    return true;
  }

  private download(): void {
    const { fetch, random, trouble } = this;
    if (!fetch || this.isCut) return;
    if (random.chance(trouble)) {
      this.fetch = undefined;
      if (random.chance(0.3)) return; // it says nothing more
      const state = random.chance(0.8) ? 'broken' : 'refused';
      this.give({ kind: 'image', state, reason: 'trouble' });
      return;
    }
    const all = this.server.get(fetch.uri)!;
    const at = fetch.at;
    const bytes = all.subarray(at, at + 1 + random.below(200));
    const spare = other(this.running);
    this.slots[spare] = new Uint8Array([...this.slots[spare], ...bytes]);
    this.held += bytes.length;
    fetch.at += bytes.length;
    if (fetch.at === fetch.size) this.fetch = undefined;
    this.give({ kind: 'image', state: 'chunk', at, bytes });
  }
}

function other(slot: SlotName): SlotName {
  return slot === 'a' ? 'b' : 'a';
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

test('whatever fails and whenever: only what was signed runs, nothing older than what proved itself, and each update has one outcome', () => {
  const firstSeed = 1;
  const seeds = 80;
  console.log(`seeds ${firstSeed} to ${firstSeed + seeds - 1}`);
  const ended: { [word: string]: number } = { running: 0, 'rolled-back': 0, failed: 0 };
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const world = new World(seed);
    for (let i = 0; i < 1500; i++) world.step();
    world.trouble = 0;
    for (let i = 0; i < 2000; i++) world.step();
    for (const { version, outcomes } of world.asked.values()) {
      const words = [...outcomes].join();
      assert.ok(words in ended, `seed ${seed}: ${version}: expected one outcome, got ${words || 'none'}`);
      ended[words]!++;
    }
  }
  for (const [word, count] of Object.entries(ended)) assert.ok(count > 50, `${word}: ${count}`);
});

test.run();
