/**
 * A gateway's agent with the PPPoE job, the software BRAS, and the Ethernet and MQTT between them, in memory: time by hand, each
 * frame padded with rubbish to Ethernet's 60 bytes, messages handed over at once while `busUp`.
 */

import { Agent } from '../../agent/agent.js';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import { type AclStatus, descriptors } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { parseTopic } from '../../agent/message/topic.js';
import type { PppoeEffect } from '../../agent/port/effect.js';
import { type GatewayOptions, PppoeGateway } from '../../agent/pppoe/job.js';
import type { VlanTag } from '../../agent/wire/vlan.js';
import { digest } from '../../edge/linux/digest.js';
import { FileAaa } from '../../host-sim/bras/aaa-file.js';
import { Bras, type BrasConfig } from '../../host-sim/bras/bras.js';
import { BrasBus } from '../../host-sim/cli/bras-bus.js';
import { brasConfig, fromCore, users } from '../bras/homes.js';

export const gatewayMac = new Uint8Array([2, 0x10, 0, 0, 0, 7]);
const shortestFrame = 60;
const aclTopic = 'kith/1/home/gw-1/acl/';

/** The packet but for what every router on its way changes: hops, and the checksum of IPv4's header over them. */
export function withoutHops(packet: Uint8Array | undefined): number[] {
  if (!packet) return [];
  const bytes = [...packet];
  for (const at of bytes[0] >>> 4 === 6 ? [7] : [8, 10, 11]) bytes[at] = 0;
  return bytes;
}

export interface RigOptions {
  readonly gateway?: Partial<GatewayOptions>;
  readonly bras?: Partial<BrasConfig>;
  readonly vlanTags?: readonly VlanTag[];
  /** The BRAS installs access lists by itself, for so long. */
  readonly expiryMs?: number;
  readonly seed?: number;
}

export class Rig {
  now = 0;
  agent!: Agent;
  job!: PppoeGateway;
  bras!: Bras;
  bus: BrasBus | undefined;
  /** What came out of the line, on either side. */
  readonly toHome: Uint8Array[] = [];
  readonly toCore: Uint8Array[] = [];
  readonly lines: Extract<PppoeEffect, { kind: 'line' }>[] = [];
  readonly events: { readonly name: string; readonly session?: number; readonly text?: string }[] = [];
  readonly statuses: { readonly id: string; readonly status: AclStatus }[] = [];
  /** All frames, in order. */
  readonly frames: { readonly up: boolean; readonly frame: Uint8Array }[] = [];
  /** Frames to lose. */
  lose: (frame: Uint8Array, up: boolean) => boolean = () => false;
  busUp = false;
  /** What the BRAS sends goes nowhere: for a benchmark. */
  isQuiet = false;
  private readonly options: RigOptions;
  private readonly queue: { readonly up: boolean; readonly frame: Uint8Array }[] = [];
  /** Lists on their way to the broker. */
  private readonly messages: { readonly topic: string; readonly payload: Uint8Array }[] = [];
  /** By topic, as the broker keeps them. */
  private readonly retained = new Map<string, Uint8Array>();
  private boots = 0;

  constructor(options: RigOptions = {}) {
    this.options = options;
    this.startBras();
    this.boot();
  }

  /** The gateway's agent starts, or starts again; what it knew is gone. */
  boot(): void {
    const { seed = 1, gateway, vlanTags } = this.options;
    this.boots++;
    this.busUp = false;
    const options: GatewayOptions = {
      link: 'wan',
      user: encodeUtf8('ada'),
      secret: encodeUtf8('secret-a'),
      ipv6: false,
      entropy: new Random(seed * 100 + this.boots, 'gateway'),
      digest,
      ...(vlanTags && { vlanTags }),
      ...gateway,
    };
    this.agent = new Agent(this.now, {
      site: 'home',
      node: 'gw-1',
      firmware: 'test',
      platform: 'test',
      boot: `0000000${this.boots}`,
      links: [{ name: 'wan', mac: gatewayMac }],
      jobs: [(now, context) => (this.job = new PppoeGateway(now, context, options))],
      saved: {},
    });
    this.settle();
  }

  startBras(): void {
    const { bras, expiryMs, seed = 1 } = this.options;
    const entropy = new Random(seed, 'bras');
    this.bras = new Bras(this.now, brasConfig(bras), {
      digest,
      entropy,
      newKey: () => new Uint8Array(16).map(() => entropy.below(256)),
      random: new Random(seed, 'delays'),
      aaa: new FileAaa(users, digest),
      sendAccess: (_link, bytes, start, end) => {
        if (!this.isQuiet) this.carry(bytes.slice(start, end), false);
      },
      sendIp: (_now, bytes, start, end) => {
        if (!this.isQuiet) this.toCore.push(bytes.slice(start, end));
      },
      log: () => {},
    });
    if (expiryMs === undefined) return;
    // The answer of an agent comes after this has returned.
    this.bus = new BrasBus('home', this.bras, { expiryMs }, ({ topic, payload }) =>
      this.messages.push({ topic, payload: payload as Uint8Array }),
    );
  }

  /** As the BRAS publishes it, retained. */
  publishAcl(id: string, body: object | Uint8Array): void {
    const payload = body instanceof Uint8Array ? body : encodeUtf8(JSON.stringify(body));
    this.messages.push({ topic: aclTopic + id, payload });
    this.settle();
  }

  connect(): void {
    this.busUp = true;
    this.agent.receive(this.now, { kind: 'bus-up', sessionPresent: false });
    for (const [topic, payload] of this.retained)
      this.agent.receive(this.now, { kind: 'message', topic, payload, retained: true });
    this.settle();
  }

  disconnect(): void {
    this.busUp = false;
    this.agent.receive(this.now, { kind: 'bus-down' });
    this.settle();
  }

  /** The broker publishes the gateway's will. */
  loseGateway(): void {
    this.bus?.receive(this.now, 'kith/1/home/gw-1/state', encodeUtf8('lost'));
    this.settle();
  }

  /** The home sends an IP packet. */
  send(packet: Uint8Array): void {
    this.agent.receive(this.now, { kind: 'line-packet', packet });
    this.settle();
  }

  /** An IP packet comes from the core. */
  fromCore(packet: Uint8Array): void {
    fromCore(this.bras, this.now, packet);
    this.settle();
  }

  /** A frame of somebody else's making reaches the gateway. */
  inject(frame: Uint8Array): void {
    this.agent.receive(this.now, { kind: 'frame', link: 'wan', frame });
    this.settle();
  }

  /** Until nothing is on its way. */
  settle(): void {
    for (let calls = 0; calls < 10_000; calls++) {
      if (this.drain() || this.deliver()) continue;
      const next = this.queue.shift();
      if (next?.up) this.bras.receiveAccess(this.now, 0, next.frame);
      else if (next) this.agent.receive(this.now, { kind: 'frame', link: 'wan', frame: next.frame });
      else if (this.agent.pollAt() <= this.now) this.agent.poll(this.now);
      else return;
    }
    throw new Error('expected to come to rest');
  }

  pass(ms: number): void {
    const untilAt = this.now + ms;
    for (;;) {
      const at = Math.min(
        this.bras.pollAt(),
        this.agent.pollAt(),
        this.bus?.acl.pollAt() ?? Infinity,
        untilAt,
      );
      this.now = Math.max(this.now, Math.ceil(at));
      if (this.bras.pollAt() <= this.now) this.bras.poll(this.now);
      this.bus?.acl.poll(this.now);
      this.settle();
      if (this.now >= untilAt) return;
    }
  }

  /** Until the line is up. */
  dial(): this {
    this.connect();
    for (let i = 0; i < 100 && this.job.mode === 'down'; i++) this.pass(100);
    if (this.job.mode === 'down') throw new Error('expected the line to come up');
    return this;
  }

  count(name: string): number {
    return this.job.counters.snapshot()[name] ?? 0;
  }

  private carry(frame: Uint8Array, up: boolean): void {
    const padded = new Uint8Array(Math.max(shortestFrame, frame.length)).fill(0xa5);
    padded.set(frame);
    if (this.lose(padded, up)) return;
    this.frames.push({ up, frame: padded });
    this.queue.push({ up, frame: padded.slice() });
  }

  private drain(): boolean {
    const effect = this.agent.outbox.shift();
    switch (effect?.kind) {
      case 'transmit':
        this.carry(effect.frame, true);
        break;
      case 'line-deliver':
        this.toHome.push(effect.packet);
        break;
      case 'line':
        this.lines.push(effect);
        break;
      case 'publish':
        if (this.busUp) this.hear(effect.topic, effect.payload);
        break;
    }
    return effect !== undefined;
  }

  private deliver(): boolean {
    const message = this.messages.shift();
    if (!message) return false;
    const { topic, payload } = message;
    if (payload.length === 0) this.retained.delete(topic);
    else this.retained.set(topic, payload);
    if (this.busUp) this.agent.receive(this.now, { kind: 'message', topic, payload, retained: false });
    return true;
  }

  /** What the BRAS and the test make of an agent's words, which must be as the schema has them. */
  private hear(text: string, payload: Uint8Array): void {
    const topic = parseTopic(text);
    if (!topic.ok) throw new Error(`topic: ${text}`);
    const { leaf } = topic.value;
    // As the filters of the BRAS have it.
    if (leaf.kind === 'state' || leaf.kind === 'acl-status' || text.endsWith('/event/session-up'))
      this.bus?.receive(this.now, text, payload);
    if (leaf.kind !== 'event' && leaf.kind !== 'acl-status') return;
    const decoded = decodeCbor(payload, { depth: 8 });
    const problem = decoded.ok ? validate(descriptors[leaf.kind], decoded.value) : undefined;
    if (!decoded.ok || problem) throw new Error(`${text}: ${JSON.stringify(problem)}`);
    if (leaf.kind === 'event')
      this.events.push({ name: leaf.name, ...(decoded.value as object) } as Rig['events'][number]);
    else this.statuses.push({ id: leaf.name, status: decoded.value as unknown as AclStatus });
  }
}
