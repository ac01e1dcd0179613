/**
 * The platform of an agent on Linux: hands it what happens (frames, messages, time) and performs its effects in order.
 *
 * An agent lives until it is stopped or a link comes or goes: a link that is missing at the start is looked for again, and the
 * agent goes on without it meanwhile, a job that cannot run without it left out with the reason (`info.missing`). What agents
 * save outlives them (store.ts), and so does what they publish (outbox.ts): to the agent the bus is up from the start, and
 * comes up again, so that it reports everything, whenever the broker has accepted us anew. What goes wrong here is logged, and
 * told by the agent as event `fault`.
 * `now` is CLOCK_MONOTONIC: a change of the date changes nothing but what is about dates, and while the machine is suspended
 * time stands still, as it does while it is off: a rule's timeout then goes on with what was left of it. Bounds: those of the parts.
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Agent } from '../../agent/agent.js';
import { Counters, type Counts } from '../../agent/core/counters.js';
import type { JobFactory, JobName } from '../../agent/job.js';
import { kibbutzJob } from '../../agent/kibbutz/job.js';
import { newRegistration, registrationKey, takeOver } from '../../agent/kibbutz/saved-state.js';
import type { Effect, Input, LogLevel } from '../../agent/port/effect.js';
import type { Link } from '../../agent/port/platform.js';
import { powerProxyWith } from '../../agent/power-proxy/job.js';
import { pppoeGateway } from '../../agent/pppoe/job.js';
import { formatAddress } from '../../agent/wire/address.js';
import { aeads } from './aead.js';
import { Bus } from './bus.js';
import type { Config, KibbutzConfig, LinkConfig } from './config.js';
import { digest } from './digest.js';
import { KibbutzSockets } from './kibbutz-sockets.js';
import { writeNameServers } from './name-servers.js';
import { type Outbox, openOutbox } from './outbox.js';
import { quietInterface } from './quiet-interface.js';
import { openRawLink, type RawLink } from './raw-link.js';
import { openStore, type Store } from './store.js';
import { Stubs } from './stubs.js';
import { Surroundings } from './surroundings.js';
import { openTun, type Tun } from './tun.js';
import { firmware } from './version.js';

export type Log = (level: LogLevel, text: string) => void;

/** A missing link is looked for so often. */
const lookAgainMs = 5_000;
/** setTimeout takes no longer span. */
const longestTimerMs = 2 ** 31 - 1;
/** Faults that wait to be told, beside what the agent itself keeps. */
const mostFaults = 16;
/** In the store's directory. */
const nameServersFile = 'resolv.conf';

/** A link that is open, or why it is not. */
type Opened = { readonly config: LinkConfig } & (
  | { readonly link: RawLink; readonly fault?: undefined }
  | { readonly link?: undefined; readonly fault: string }
);

interface Life {
  readonly agent: Agent;
  readonly links: readonly Opened[];
  readonly byName: ReadonlyMap<string, RawLink>;
  readonly stubs: Stubs | undefined;
  readonly kibbutz: KibbutzSockets | undefined;
  readonly surroundings: Surroundings | undefined;
}

export class Platform {
  private readonly config: Config;
  private readonly log: Log;
  private readonly counters = new Counters(['datagrams.unkept']);
  private readonly store: Store;
  private readonly outbox: Outbox;
  private readonly bus: Bus;
  private life: Life;
  private line: { readonly tun: Tun; readonly mtuBytes: number; readonly address: string } | undefined;
  private timer: NodeJS.Timeout | undefined;
  private timerAt = Infinity;
  private armDue = false;
  private lookTimer: NodeJS.Timeout | undefined;
  private readonly said = new Map<string, string>();
  private readonly faults: string[] = [];
  private stopped = false;
  /** Gives the access line back to the kernel. */
  private restoreLine: (() => void) | undefined;

  /** Starts it. Throws if the store cannot be had; all else is waited for. */
  static start(config: Config, log: Log): Promise<Platform> {
    return startPlatform(config, log);
  }

  constructor(config: Config, log: Log, store: Store, outbox: Outbox) {
    this.config = config;
    this.log = log;
    this.store = store;
    this.outbox = outbox;
    this.life = this.begin();
    const { kind: _, ...will } = this.life.agent.will();
    this.bus = new Bus({
      broker: config.broker,
      clientId: `kith-${config.site}-${config.node}`,
      will,
      outbox,
      up: sessionPresent => {
        this.give({ kind: 'bus-down' });
        this.give({ kind: 'bus-up', sessionPresent });
      },
      // The outbox takes what the agent has to say until the broker is back, so for the agent the bus is up again at once.
      down: () => {
        this.give({ kind: 'bus-down' });
        this.give({ kind: 'bus-up', sessionPresent: false });
      },
      message: (topic, payload, retained) => this.hearMessage(topic, payload, retained),
      log: (level, text) => this.say(level, text),
    });
    this.give({ kind: 'bus-up', sessionPresent: false });
    this.bus.start();
  }

  /** What its parts counted: links, outbox, store, stubs. Zeros left out. */
  counts(): Counts {
    const counts: { [name: string]: number } = {};
    const add = (prefix: string, from: Counts) => {
      for (const name of Object.keys(from)) counts[`${prefix}.${name}`] = from[name];
    };
    for (const [name, link] of this.life.byName) add(`link.${name}`, link.counts());
    add('outbox', { ...this.outbox.counters.snapshot(), ...this.unkept(this.outbox) });
    add('store', { ...this.store.counters.snapshot(), ...this.unkept(this.store) });
    if (this.life.stubs) add('stubs', this.life.stubs.counters.snapshot());
    if (this.life.kibbutz) add('kibbutz', this.life.kibbutz.counters.snapshot());
    if (this.line) add('line', this.line.tun.counters.snapshot());
    Object.assign(counts, this.counters.snapshot());
    return counts;
  }

  /** Orderly: the agent says goodbye and saves, what can be sent is sent, all is on disk. */
  async stop(): Promise<void> {
    if (this.stopped) return;
    this.end();
    this.stopped = true;
    clearTimeout(this.timer);
    clearTimeout(this.lookTimer);
    this.restoreLine?.();
    await this.bus.close();
    await this.outbox.close();
    await this.store.close();
  }

  /** Logs what happened, and has the agent tell what went wrong. Never at once: the agent may be at work. */
  say(level: LogLevel, text: string): void {
    this.log(level, text);
    if (level === 'info' || this.faults.length >= mostFaults) return;
    this.faults.push(text);
    if (this.faults.length === 1) setImmediate(() => this.tellFaults());
  }

  private tellFaults(): void {
    for (const fault of this.faults.splice(0)) this.give({ kind: 'fault', text: fault });
  }

  private unkept({ unkeptCount }: { readonly unkeptCount: number }): Counts {
    return unkeptCount === 0 ? {} : { unkept: unkeptCount };
  }

  private now(): number {
    return Math.floor(performance.now());
  }

  private begin(): Life {
    const { config } = this;
    const links = config.links.map(link => this.open(link));
    const byName = new Map<string, RawLink>();
    const agentLinks: Link[] = [];
    for (const { config: link, link: raw } of links) {
      if (!raw) continue;
      byName.set(link.name, raw);
      const { name, hearsOthers, addresses } = link;
      agentLinks.push({
        name,
        mac: raw.mac,
        ...(hearsOthers === undefined ? {} : { hearsOthers }),
        ...(addresses && { addresses }),
      });
    }
    if (links.some(({ fault }) => fault !== undefined)) this.lookAgain();
    if (config.kibbutz) this.register(config.kibbutz);
    // What a crash left behind is of a line that went with it.
    if (config.pppoe) this.handOn([]);
    const { jobs, missing } = jobsOf(this.ownLine(config), links);
    const agent = new Agent(this.now(), {
      site: config.site,
      node: config.node,
      firmware,
      platform: 'linux',
      boot: randomBytes(4).toString('hex'),
      links: agentLinks,
      jobs,
      missing,
      saved: this.store.saved(),
      limits: config.limits,
      telemetryMs: config.telemetryMs,
      platformCounts: () => this.counts(),
    });
    const life: Life = {
      agent,
      links,
      byName,
      stubs: config.powerProxy && new Stubs(config.powerProxy.stubs),
      kibbutz:
        config.kibbutz &&
        new KibbutzSockets(config.kibbutz, {
          hear: input => this.give(input),
          log: (level, text) => this.say(level, text),
        }),
      surroundings: config.kibbutz && new Surroundings({ hear: input => this.give(input) }),
    };
    // Not before the agent is there to hear of it.
    setImmediate(() => {
      if (this.life === life && !this.stopped) life.surroundings?.start();
    });
    return life;
  }

  /**
   * Packets that come without the tunnel are for the job alone: the kernel would take some of them too, past the job's checks.
   * Where it cannot be kept off the line, the line keeps to the tunnel.
   */
  private ownLine(config: Config): Config {
    const { pppoe } = config;
    const link = config.links.find(({ name }) => name === pppoe?.link);
    if (!pppoe || pppoe.plain === false || !link) return config;
    try {
      this.restoreLine ??= quietInterface(link.interface);
      return config;
    } catch (error) {
      this.say('warn', `${(error as Error).message}; no access lists are taken`);
      return { ...config, pppoe: { ...pppoe, plain: false } };
    }
  }

  /** A registration that is newer than the one kept replaces it; never the same one again, its numbers are used up. */
  private register({ registration }: KibbutzConfig): void {
    const record = takeOver(this.store.saved()[registrationKey], registration, aeads);
    if (record) this.store.save(registrationKey, record);
  }

  private open(config: LinkConfig): Opened {
    try {
      const link = openRawLink(
        {
          interface: config.interface,
          promiscuous: config.promiscuous,
          ring: config.bulk,
          onState: isUp =>
            isUp
              ? this.log('info', `raw link on ${config.interface}: the interface is up again`)
              : this.say('warn', `raw link on ${config.interface}: the interface is down`),
        },
        (bytes, start, end) => this.hearFrame(config.name, bytes.subarray(start, end)),
        error => {
          this.say('warn', error.message);
          this.renew();
        },
      );
      this.said.delete(config.name);
      return { config, link };
    } catch (error) {
      const fault = (error as Error).message;
      // Once, not every time it is looked for.
      if (this.said.get(config.name) !== fault) this.say('error', `${fault}; looking again every 5 s`);
      this.said.set(config.name, fault);
      return { config, fault };
    }
  }

  private lookAgain(): void {
    clearTimeout(this.lookTimer);
    this.lookTimer = setTimeout(() => {
      const missing = this.life.links.filter(({ fault }) => fault !== undefined);
      const found = missing.map(({ config }) => this.open(config).link).filter(link => link !== undefined);
      for (const link of found) link.close();
      if (found.length === 0) this.lookAgain();
      else this.renew();
    }, lookAgainMs);
  }

  /** Another life with the links that are there now. */
  private renew(): void {
    if (this.stopped) return;
    this.end();
    this.life = this.begin();
    this.give({ kind: 'bus-up', sessionPresent: false });
  }

  private end(): void {
    const { life } = this;
    // A signal may come before what was just found wrong is told.
    this.tellFaults();
    this.give({ kind: 'shutdown' });
    for (const link of life.byName.values()) link.close();
    life.stubs?.close();
    life.kibbutz?.close();
    life.surroundings?.close();
    this.lineDown();
  }

  private hearFrame(link: string, frame: Uint8Array): void {
    const { agent } = this.life;
    agent.receive(this.now(), { kind: 'frame', link, frame });
    this.settle(agent);
  }

  /** Resolves when what came of it is on disk. */
  private hearMessage(topic: string, payload: Uint8Array, retained: boolean): Promise<void> {
    this.give({ kind: 'message', topic, payload, retained });
    return this.store.synced();
  }

  private give(input: Input): void {
    if (this.stopped) return;
    const { agent } = this.life;
    agent.receive(this.now(), input);
    this.settle(agent);
  }

  /** Performs the agent's effects, then sees to it that it is polled in time. */
  private settle(agent: Agent): void {
    const { outbox } = agent;
    if (outbox.length > 0)
      for (let effect = outbox.shift(); effect !== undefined; effect = outbox.shift()) this.perform(effect);
    if (this.armDue) return;
    // Once for all frames that the kernel handed over together.
    this.armDue = true;
    queueMicrotask(this.arm);
  }

  private readonly arm = (): void => {
    this.armDue = false;
    if (this.stopped) return;
    const at = this.life.agent.pollAt();
    if (at === this.timerAt) return;
    clearTimeout(this.timer);
    this.timerAt = at;
    if (at === Infinity) return;
    const delayMs = Math.min(longestTimerMs, Math.max(0, at - this.now()));
    this.timer = setTimeout(this.wake, delayMs);
  };

  private readonly wake = (): void => {
    this.timerAt = Infinity;
    const { agent } = this.life;
    agent.poll(this.now());
    this.settle(agent);
  };

  private perform(effect: Effect): void {
    const { life } = this;
    switch (effect.kind) {
      case 'transmit':
        life.byName.get(effect.link)?.send(effect.frame);
        break;
      case 'publish':
        this.bus.publish(effect);
        break;
      case 'subscribe':
        this.bus.subscribe(effect.filter, effect.qos);
        break;
      case 'save':
        this.store.save(effect.key, effect.value);
        break;
      case 'log':
        this.say(effect.level, effect.text);
        break;
      case 'redirect':
        life.stubs?.send(effect.stub, effect.frame);
        break;
      case 'line':
        if (effect.state === 'up') {
          this.lineUp(formatAddress(effect.address), effect.mtuBytes);
          this.handOn(effect.dnsAddresses);
        } else this.lineDown();
        break;
      case 'line-deliver':
        this.line?.tun.send(effect.packet);
        break;
      case 'datagram':
        // A number that is not on disk as used would be used again after a restart, and give the keys away (nonce.ts).
        if (this.store.keeps(registrationKey)) life.kibbutz?.perform(effect);
        else this.counters.add('datagrams.unkept');
        break;
      case 'deliver':
      case 'radio':
      case 'path-priority':
        life.kibbutz?.perform(effect);
        break;
      case 'image-fetch':
      case 'image-stop':
      case 'slot':
        break; // Of the job `update`, which is not here.
      default:
        unreachable(effect);
    }
  }

  /** The device stays while its address does: routes over it would go with it. */
  private lineUp(address: string, mtuBytes: number): void {
    const { line } = this;
    if (line?.address === address) {
      if (line.mtuBytes !== mtuBytes) this.changeMtu(line.tun, address, mtuBytes);
      return;
    }
    this.lineDown();
    const name = (this.config.pppoe as NonNullable<Config['pppoe']>).interface;
    try {
      const tun = openTun(
        { name, mtuBytes, addresses: [`${address}/32`] },
        (bytes, start, end) => this.give({ kind: 'line-packet', packet: bytes.subarray(start, end) }),
        error => {
          this.say('error', error.message);
          this.line = undefined;
        },
      );
      this.line = { tun, mtuBytes, address };
      this.log('info', `line up: ${address} on ${tun.name}, ${mtuBytes} bytes`);
    } catch (error) {
      this.say('error', `line up, but ${(error as Error).message}`);
    }
  }

  private changeMtu(tun: Tun, address: string, mtuBytes: number): void {
    try {
      tun.setMtu(mtuBytes);
      this.line = { tun, mtuBytes, address };
    } catch (error) {
      this.say('error', `line of ${mtuBytes} bytes, but ${(error as Error).message}`);
    }
  }

  /** The line's name servers, to be found in the store's directory. */
  private handOn(dnsAddresses: readonly Uint8Array[]): void {
    try {
      writeNameServers(join(this.config.store, nameServersFile), dnsAddresses);
    } catch (error) {
      this.say('warn', `the name servers of the line: ${(error as Error).message}`);
    }
  }

  private lineDown(): void {
    if (!this.line) return;
    this.line.tun.close();
    this.line = undefined;
    this.handOn([]);
    this.log('info', 'line down');
  }
}

type Missing = { [job in JobName]?: string };

/** The jobs configured, and why others are missing. */
function jobsOf(
  { powerProxy, pppoe, kibbutz }: Config,
  links: readonly { readonly config: LinkConfig; readonly fault?: string | undefined }[],
): { readonly jobs: JobFactory[]; readonly missing: Missing } {
  const jobs: JobFactory[] = [];
  const missing: Missing = { update: 'it comes with the packages of the system' };
  if (!powerProxy) missing['power-proxy'] = 'not configured';
  else if (links.every(({ fault }) => fault !== undefined))
    missing['power-proxy'] = links.map(({ fault }) => fault).join('; ');
  else jobs.push(powerProxyWith(powerProxy));
  if (!pppoe) missing.pppoe = 'not configured';
  else {
    const fault = links.find(({ config }) => config.name === pppoe.link)?.fault;
    if (fault !== undefined) missing.pppoe = fault;
    else jobs.push(pppoeGateway({ ...pppoe, entropy, digest }));
  }
  if (!kibbutz) missing.kibbutz = 'not configured';
  else jobs.push(kibbutzJob({ ...kibbutz, aeads }));
  return { jobs, missing };
}

/** Throws what an agent so configured would throw at its start; does nothing else. */
export function checkJobs(config: Config): void {
  const { site, node, kibbutz, limits, telemetryMs } = config;
  const links = config.links.map(link => ({ config: link }));
  new Agent(0, {
    site,
    node,
    firmware,
    platform: 'linux',
    boot: '00000000',
    links: config.links.map(({ name }) => ({ name, mac: new Uint8Array(6) })),
    ...jobsOf(config, links),
    saved: kibbutz ? { [registrationKey]: newRegistration(kibbutz.registration) } : {},
    limits,
    telemetryMs,
  });
}

const entropy = { uint32: () => randomBytes(4).readUInt32BE() };

async function startPlatform(config: Config, log: Log): Promise<Platform> {
  // What is found wrong while the store is opened is told as soon as there is who could tell it.
  const early: string[] = [];
  let platform: Platform | undefined;
  const say = (level: LogLevel, text: string) => {
    if (platform) platform.say(level, text);
    else if (level === 'info') log(level, text);
    else early.push(text);
  };
  const calls = (what: string) => ({
    onFault: (fault: Error) => say('error', fault.message),
    onMended: () => say('info', `${what}: all is on disk again`),
  });
  const store = openStore(config.store, calls('store'));
  let outbox: Outbox | undefined;
  try {
    outbox = openOutbox(join(config.store, 'outbox'), calls('outbox'));
    platform = new Platform(config, log, store, outbox);
    for (const text of early) platform.say('error', text);
    return platform;
  } catch (error) {
    for (const text of early) log('error', text);
    await outbox?.close();
    await store.close();
    throw error;
  }
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
