/**
 * A world: what a scenario builds and somebody else drives, as fast as possible (cli/sim.ts) or by the clock on the
 * wall. Building a world has no effects; everything begins with the kernel's first events.
 */

import { encodeUtf8 } from '../../agent/core/bytes.js';
import { powerProxy } from '../../agent/power-proxy/job.js';
import type { Bus, Publication } from '../sim/bus.js';
import type { Host } from '../sim/host.js';
import type { Kernel } from '../sim/kernel.js';
import { Link, type LinkConditions } from '../sim/link.js';
import { AgentNode, type AgentNodeOptions } from '../sim/node.js';
import { Segment, type Tap } from '../sim/segment.js';

export interface Surroundings {
  readonly kernel: Kernel;
  /** What every node connects to. */
  readonly bus: Bus;
  readonly seed: number;
  /** Of the nodes' boot ids; `seed` if left out. */
  readonly bootSeed?: number;
}

/** From one node's start to the next, so that they do not all connect at once, ms. */
const startSpacingMs = 50;

export class World {
  readonly kernel: Kernel;
  readonly seed: number;
  private readonly bootSeed: number;
  readonly nodes: AgentNode[] = [];
  readonly hosts: Host[] = [];
  readonly segments: Segment[] = [];
  readonly links: Link[] = [];
  private readonly bus: Bus;
  private readonly publisher: Publisher;

  constructor({ kernel, bus, seed, bootSeed }: Surroundings) {
    this.kernel = kernel;
    this.bus = bus;
    this.seed = seed;
    this.bootSeed = bootSeed ?? seed;
    this.publisher = new Publisher(kernel, bus);
  }

  addSegment(): Segment {
    const segment = new Segment(this.kernel);
    this.segments.push(segment);
    return segment;
  }

  addLink(name: string, conditions: Partial<LinkConditions>): Link {
    const link = new Link({ kernel: this.kernel, seed: this.seed, name, conditions });
    this.links.push(link);
    return link;
  }

  /** A node with the jobs a gateway in simulation can do; it starts soon after the world does. */
  addNode(options: Pick<AgentNodeOptions, 'site' | 'node' | 'links'>): AgentNode {
    const { kernel, bus, bootSeed } = this;
    const node = new AgentNode({ kernel, bus, bootSeed, jobs: [powerProxy], ...options });
    const startAt = kernel.now + this.nodes.length * startSpacingMs;
    kernel.schedule(startAt, { fire: () => node.start() }, undefined);
    this.nodes.push(node);
    return node;
  }

  /** Publishes `message` as retained JSON at `at`, as a person would; where the bus is down then, once it is up. */
  publishAt(at: number, topic: string, message: object): void {
    const payload = encodeUtf8(JSON.stringify(message));
    this.publisher.publishAt(at, { topic, payload, qos: 1, retain: true });
  }

  /** Shows `tap` every frame of every segment. */
  addTap(tap: Tap): void {
    for (const segment of this.segments) segment.addTap(tap);
  }

  /** Ends in an orderly way: every node says that it disconnects. */
  stop(): void {
    for (const node of this.nodes) node.shutdown();
    this.publisher.stop();
  }
}

/** The scenario's own connection to the bus, opened when it has something to say. */
class Publisher {
  private readonly kernel: Kernel;
  private readonly bus: Bus;
  private connection: ReturnType<Bus['connect']> | undefined;
  private isUp = false;
  private waiting: Publication[] = [];

  constructor(kernel: Kernel, bus: Bus) {
    this.kernel = kernel;
    this.bus = bus;
  }

  publishAt(at: number, publication: Publication): void {
    this.kernel.schedule(at, this, publication);
  }

  fire(_now: number, publication: Publication): void {
    this.waiting.push(publication);
    this.connection ??= this.bus.connect({
      clientId: 'kith-scenario',
      handlers: {
        up: () => this.setUp(true),
        down: () => this.setUp(false),
        message: () => {},
      },
    });
    this.flush();
  }

  stop(): void {
    this.connection?.close();
    this.connection = undefined;
    this.isUp = false;
  }

  private setUp(isUp: boolean): void {
    this.isUp = isUp;
    this.flush();
  }

  private flush(): void {
    if (!this.isUp) return;
    for (const publication of this.waiting) this.connection?.publish(publication);
    this.waiting = [];
  }
}
