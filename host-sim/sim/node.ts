/**
 * A simulated node: drives one agent, unchanged, from the kernel. Frames of its links and messages of its bus are the
 * inputs, one event stands at `pollAt()`, and the outbox is drained after every call.
 *
 * What the agent saves outlives a reboot; its clock and its boot id do not, as on a real machine.
 */

import { Agent } from '../../agent/agent.js';
import { copyBytes } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { JobFactory } from '../../agent/job.js';
import type { Limits } from '../../agent/limits.js';
import type { NodeId } from '../../agent/message/topic.js';
import type { Effect, Input, LogLevel } from '../../agent/port/effect.js';
import type { Link } from '../../agent/port/platform.js';
import type { Bus, Connection } from './bus.js';
import type { EventHandle, Kernel } from './kernel.js';
import type { Attachable, Port } from './segment.js';

/** A link of the agent and what it is plugged into. */
export interface NodeLink extends Link {
  readonly network: Attachable;
}

export interface AgentNodeOptions extends NodeId {
  readonly kernel: Kernel;
  readonly bus: Bus;
  /** Of the boot ids alone; on a real broker each run must have its own, or the second one's telemetry looks replayed. */
  readonly bootSeed: number;
  readonly links: readonly NodeLink[];
  readonly jobs: readonly JobFactory[];
  readonly limits?: Limits;
  /** Between two telemetry messages of a job, ms. */
  readonly telemetryMs?: number;
  /** Hears what the agent logs. */
  readonly log?: (level: LogLevel, text: string) => void;
}

/** An agent that asks to be polled this often at one instant would never let time pass. */
const mostPollsAtOnce = 1000;

/** A life of the node, from start to kill or shutdown. */
interface Life {
  readonly agent: Agent;
  /** Kernel time that is 0 for the agent. */
  readonly bornAt: number;
  readonly ports: Map<string, Port>;
  connection: Connection | undefined;
  poll: EventHandle;
  pollAt: number;
}

export class AgentNode {
  readonly id: NodeId;
  /** How often it was started. */
  boots = 0;
  private readonly options: AgentNodeOptions;
  private readonly kernel: Kernel;
  private readonly random: Random;
  private readonly store = new Map<string, Uint8Array>();
  private life: Life | undefined;
  private pollsAtOnce = 0;
  private polledAt = -1;

  /** The node is off until `start`. */
  constructor(options: AgentNodeOptions) {
    this.options = options;
    this.kernel = options.kernel;
    this.id = { site: options.site, node: options.node };
    this.random = new Random(options.bootSeed, `boot ${options.site}/${options.node}`);
  }

  get running(): boolean {
    return this.life !== undefined;
  }

  /** Powers the node on; nothing if it is. */
  start(): void {
    if (this.life) return;
    this.boots++;
    const { site, node, jobs, limits, telemetryMs, links } = this.options;
    const agent = new Agent(0, {
      site,
      node,
      firmware: 'kith-sim 0.1.0',
      platform: 'sim',
      boot: this.random.uint32().toString(16).padStart(8, '0'),
      links: links.map(({ name, mac }) => ({ name, mac })),
      jobs,
      saved: Object.fromEntries(this.store),
      ...(limits && { limits }),
      ...(telemetryMs !== undefined && { telemetryMs }),
    });
    const bornAt = Math.floor(this.kernel.now);
    this.life = {
      agent,
      bornAt,
      ports: new Map(),
      connection: undefined,
      poll: 0,
      pollAt: Infinity,
    };
    for (const { name, network } of links) {
      const receiver = {
        receive: (_now: number, frame: Uint8Array) => this.give({ kind: 'frame', link: name, frame }),
      };
      this.life.ports.set(name, network.attach(receiver));
    }
    this.connect(this.life);
    this.settle(this.life);
  }

  /** The power fails: the broker is left to find out by itself. */
  kill(): void {
    this.end(life => life.connection?.abort());
  }

  /** Stops in an orderly way: the agent says so, the connection is closed. */
  shutdown(): void {
    this.give({ kind: 'shutdown' });
    this.end(life => life.connection?.close());
  }

  /** Kills the node now and starts it `offMs` later with what it had saved. */
  reboot(offMs: number): void {
    this.kill();
    this.kernel.schedule(this.kernel.now + offMs, { fire: () => this.start() }, undefined);
  }

  /** Cuts the node off from its broker for `spanMs`; its links go on. */
  partition(spanMs: number): void {
    const { life } = this;
    if (!life?.connection) return;
    life.connection.abort();
    life.connection = undefined;
    this.give({ kind: 'bus-down' });
    const mend = { fire: () => this.life === life && this.connect(life) };
    this.kernel.schedule(this.kernel.now + spanMs, mend, undefined);
  }

  /** What the agent saved under `key`. */
  saved(key: string): Uint8Array | undefined {
    return this.store.get(key);
  }

  /** The agent's event at `pollAt()`. */
  fire(): void {
    const { life } = this;
    if (!life) return;
    life.poll = 0;
    life.pollAt = Infinity;
    this.pollsAtOnce = this.polledAt === this.kernel.now ? this.pollsAtOnce + 1 : 0;
    this.polledAt = this.kernel.now;
    if (this.pollsAtOnce > mostPollsAtOnce)
      throw new Error(
        `${this.id.node}: pollAt: expected progress, polled ${mostPollsAtOnce} times at one instant`,
      );
    life.agent.poll(this.clock(life));
    this.settle(life);
  }

  private give(input: Input): void {
    const { life } = this;
    if (!life) return;
    life.agent.receive(this.clock(life), input);
    this.settle(life);
  }

  private clock(life: Life): number {
    return Math.floor(this.kernel.now) - life.bornAt;
  }

  private connect(life: Life): void {
    const { kind: _, ...will } = life.agent.will();
    const ifAlive = (input: Input) => {
      if (this.life === life) this.give(input);
    };
    life.connection = this.options.bus.connect({
      clientId: `kith-${this.id.site}-${this.id.node}`,
      will,
      handlers: {
        up: sessionPresent => ifAlive({ kind: 'bus-up', sessionPresent }),
        down: () => ifAlive({ kind: 'bus-down' }),
        message: (topic, payload, retained) => ifAlive({ kind: 'message', topic, payload, retained }),
      },
    });
  }

  private end(leave: (life: Life) => void): void {
    const { life } = this;
    if (!life) return;
    this.life = undefined;
    this.kernel.cancel(life.poll);
    for (const port of life.ports.values()) port.detach();
    leave(life);
  }

  /** Performs the agent's effects, then sees to it that it is polled in time. */
  private settle(life: Life): void {
    const { outbox } = life.agent;
    for (let effect = outbox.shift(); effect !== undefined; effect = outbox.shift())
      this.perform(life, effect);
    const pollAt = Math.max(life.bornAt + life.agent.pollAt(), this.kernel.now);
    if (pollAt === life.pollAt) return;
    this.kernel.cancel(life.poll);
    life.poll = pollAt === Infinity ? 0 : this.kernel.schedule(pollAt, this, undefined);
    life.pollAt = pollAt;
  }

  private perform(life: Life, effect: Effect): void {
    switch (effect.kind) {
      case 'transmit':
        life.ports.get(effect.link)?.send(effect.frame);
        break;
      case 'publish':
        life.connection?.publish(effect);
        break;
      case 'subscribe':
        life.connection?.subscribe(effect);
        break;
      case 'save':
        if (effect.value) this.store.set(effect.key, copyBytes(effect.value, 0, effect.value.length));
        else this.store.delete(effect.key);
        break;
      case 'log':
        this.options.log?.(effect.level, effect.text);
        break;
      case 'datagram':
      case 'deliver':
      case 'radio':
      case 'path-priority':
        break; // Simulated homes have no cellular link; sim/kibbutz.ts drives the engine itself.
      case 'redirect':
      case 'line':
      case 'line-deliver':
      case 'image-fetch':
      case 'image-stop':
      case 'slot':
        break; // Nor programs beside the agent, nor a subscriber's line, nor firmware.
      default:
        unreachable(effect);
    }
  }
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
