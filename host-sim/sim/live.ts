/**
 * Live simulation: the same world on the wall clock, its nodes on a real broker.
 *
 * Virtual time follows the wall clock times `speed`. A message from the broker first brings the kernel up to now, so
 * that an agent never sees time stand still or run back.
 */

import { MqttSession } from '../mqtt/session.js';
import type { Bus, Connection, ConnectOptions } from './bus.js';
import type { Kernel } from './kernel.js';

/** The finest step of live time; frames within one are handled in their order, up to this late. */
const tickMs = 10;
/** Tens of milliseconds of work. A world that asks for more falls behind the clock instead of starving the connections. */
const mostEventsAtOnce = 2_000;

export class LiveClock {
  private readonly kernel: Kernel;
  private readonly speed: number;
  private startedAt = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(kernel: Kernel, speed: number) {
    this.kernel = kernel;
    this.speed = speed;
  }

  start(): void {
    this.startedAt = performance.now() - this.kernel.now / this.speed;
    this.timer = setInterval(() => this.catchUp(), tickMs);
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Runs `action` at the instant it is now; nothing once stopped. */
  enter(action: () => void): void {
    if (!this.timer) return;
    this.catchUp();
    action();
  }

  private catchUp(): void {
    const now = Math.floor((performance.now() - this.startedAt) * this.speed);
    if (now > this.kernel.now) this.kernel.run(now, mostEventsAtOnce);
  }
}

/** A real broker as the nodes' bus. */
export class MqttBus implements Bus {
  private readonly url: string;
  private readonly clock: LiveClock;
  private readonly log: (text: string) => void;
  private readonly sessions = new Set<MqttSession>();

  constructor(url: string, clock: LiveClock, log: (text: string) => void) {
    this.url = url;
    this.clock = clock;
    this.log = log;
  }

  connect({ clientId, will, handlers }: ConnectOptions): Connection {
    const session = new MqttSession({
      url: this.url,
      clientId,
      ...(will ? { will } : {}),
      message: async (topic, payload, retained) =>
        this.clock.enter(() => handlers.message(topic, payload, retained)),
      up: sessionPresent => this.clock.enter(() => handlers.up(sessionPresent)),
      down: () => this.clock.enter(() => handlers.down()),
      log: text => this.log(`${clientId}: ${text}`),
    });
    this.sessions.add(session);
    session.openEventually();
    return {
      publish: publication => session.publish(publication),
      subscribe: ({ filter, qos }) => session.subscribe(filter, qos),
      close: () => {
        session.close().finally(() => this.sessions.delete(session));
      },
      abort: () => {
        this.sessions.delete(session);
        session.abort();
      },
    };
  }

  /** Resolves when every session is closed in an orderly way. */
  async close(): Promise<void> {
    await Promise.all([...this.sessions].map(session => session.close()));
  }
}
