/**
 * A day of a home or an office (mix.ts) in which hosts sleep when nobody uses them, under one policy of what wakes them: the
 * measure of Nedevschi et al., NSDI 2009, §5, share of the idle time that a host sleeps, and the energy of that time
 * (energy.ts).
 *
 * Every host is used for 10 % of the day, idle (powered on, not used) for 50 % and off for the rest, as the paper measured on
 * average. Idle, it falls asleep `defaultIdleMs` after it was last used; a packet as such does not keep it awake, only a
 * session that its owner offers does. Woken, it does the same again. Which packet wakes it the policy says; with a rule set
 * the frames go through the agent with its power proxy, which is told of the hosts as their own agents would (`host/<id>`).
 *
 * The agent's bound on wakes per host is taken away here: the paper's proxies have none, and it would hide how often a policy
 * wants to wake. Set `limited` to have it.
 */

import { Agent } from '../../../agent/agent.js';
import { encodeUtf8, sameBytes } from '../../../agent/core/bytes.js';
import { Random } from '../../../agent/core/random.js';
import { defaultLimits } from '../../../agent/limits.js';
import type { Host as DeclaredHost } from '../../../agent/message/messages.js';
import { formatTopic, type NodeId } from '../../../agent/message/topic.js';
import { powerProxyWith } from '../../../agent/power-proxy/job.js';
import type { PowerProxy } from '../../../agent/power-proxy/power-proxy.js';
import { formatAddress, formatMac } from '../../../agent/wire/address.js';
import { arpReply, arpRequest, parseArp } from '../../../agent/wire/arp.js';
import { ethernetHeaderLength, etherTypeArp, parseEthernet } from '../../../agent/wire/ethernet.js';
import { parseWakeOnLan, wakeOnLanEtherType } from '../../../agent/wire/wol.js';
import { arpFrame } from '../../sim/frames.js';
import { type EventHandle, Kernel } from '../../sim/kernel.js';
import { addUsage, defaultIdleMs, desktopPower, PoweredHost, type Usage } from './energy.js';
import {
  connectionFrames,
  type DayFrame,
  dayMs,
  dayOf,
  hostAddress,
  hostMac,
  hostName,
  type Place,
} from './mix.js';
import type { DeclaredRule } from './rules-file.js';

/** What wakes a sleeping host: nothing (it never sleeps), any packet it hears, any for its MAC alone, or what rules say. */
export type Policy =
  | 'always-on'
  | 'wake-on-packet'
  | 'ignoring-groups'
  | { readonly rules: readonly DeclaredRule[]; readonly limited?: boolean };

export interface DayResult {
  /** Of all hosts' idle time. */
  readonly usage: Usage;
  /** Sessions that began while their host was idle, and those that found it up in time. */
  readonly sessions: number;
  readonly reached: number;
  /** Of all hosts, of the day: 0 … 1. */
  readonly usedShare: number;
  readonly idleShare: number;
  /** What the proxy counted; empty without one. */
  readonly counters: { readonly [name: string]: number };
}

type Use = 'used' | 'idle' | 'off';

/** A part of a host's day. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly use: Use;
}

/** Seed: active 10 % of the time, idle 50 %. */
const usedShare = 0.1;
const idleShare = 0.5;
/** What the use of a day is made of; a session of use is some of them, three on average. Assumed. */
const slotMs = 360_000;
const meanSlots = 3;
/** When hosts are switched on varies by so much. Assumed. */
const onAgainHours = 1;
/** Whoever opened a session waits so long: five SYNs by RFC 6298 §5.5. */
const patienceMs = 20_000;
const self: NodeId = { site: 'paper', node: 'proxy' };
const lan = { name: 'lan', mac: new Uint8Array([0x02, 0, 0, 0, 0, 1]) };

/** The day of one host: as many slots of use and of idleness as the shares ask for, use where the hours' weights put it. */
export function spansOf(place: Place, seed: number, host: number): Span[] {
  const random = new Random(seed, `${place.name} use ${host}`);
  const slots = dayMs / slotMs;
  const on = Math.round((usedShare + idleShare) * slots);
  const firstOn = Math.round(
    ((place.onAgainHour + onAgainHours * (2 * random.unit() - 1)) * 3_600_000) / slotMs,
  );
  const uses: Use[] = Array<Use>(slots).fill('off');
  for (let i = 0; i < on; i++) uses[(firstOn + i) % slots] = 'idle';
  let left = Math.round(usedShare * slots);
  while (left > 0) {
    let at = weighted(random, slots, slot => (uses[slot] === 'idle' ? hourWeight(place, slot) : 0));
    do {
      uses[at] = 'used';
      left--;
      at = (at + 1) % slots;
    } while (left > 0 && uses[at] === 'idle' && !random.chance(1 / meanSlots));
  }
  const spans: Span[] = [];
  for (const [slot, use] of uses.entries()) {
    const last = spans.at(-1);
    const to = (slot + 1) * slotMs;
    if (last?.use === use) spans[spans.length - 1] = { ...last, to };
    else spans.push({ from: slot * slotMs, to, use });
  }
  return spans;
}

/** Runs the day of the seed; `frames` of `dayOf(place, seed)` may be handed in, since making them costs as much as a policy. */
export function runDay(place: Place, policy: Policy, seed: number, frames = dayOf(place, seed)): DayResult {
  return new Day(place, policy, seed, frames).run();
}

/** What stands between the network and a sleeping host. */
interface Watcher {
  frame(now: number, frame: DayFrame): void;
  /** What the host does: it is there and up, it goes to sleep, it is switched off. */
  host(now: number, host: number, state: 'awake' | 'asleep' | 'gone'): void;
  poll(now: number): void;
  pollAt(): number;
  counters(): { readonly [name: string]: number };
}

type Tag =
  | { readonly kind: 'frame'; readonly index: number }
  | { readonly kind: 'span'; readonly host: number; readonly index: number }
  | { readonly kind: 'machine' | 'patience'; readonly host: number }
  | { readonly kind: 'poll' };

interface SimulatedHost {
  readonly spans: readonly Span[];
  use: Use;
  /** While idle. */
  machine: PoweredHost | undefined;
  change: EventHandle;
}

class Day {
  private readonly kernel = new Kernel();
  private readonly frames: readonly DayFrame[];
  private readonly hosts: SimulatedHost[];
  private readonly watcher: Watcher;
  private readonly idleMs: number;
  private readonly usages: Usage[] = [];
  private polling: EventHandle = 0;
  private pollingAt = Infinity;
  private sessions = 0;
  private reached = 0;

  constructor(place: Place, policy: Policy, seed: number, frames: readonly DayFrame[]) {
    this.frames = frames;
    this.idleMs = policy === 'always-on' ? Infinity : defaultIdleMs;
    this.hosts = Array.from({ length: place.hosts }, (_, host) => ({
      spans: spansOf(place, seed, host),
      use: 'off',
      machine: undefined,
      change: 0,
    }));
    const wake = (now: number, host: number) => this.wake(now, host);
    const isUp = (host: number) => this.isUp(host);
    this.watcher =
      typeof policy === 'object'
        ? new ProxyWatcher({ policy, seed, hosts: place.hosts, wake, isUp })
        : plainWatcher(policy, place.hosts, wake);
  }

  run(): DayResult {
    const { kernel } = this;
    for (const [host, { spans }] of this.hosts.entries())
      for (const [index, { from }] of spans.entries())
        kernel.schedule<Tag>(from, this, { kind: 'span', host, index });
    if (this.frames.length > 0) kernel.schedule<Tag>(this.frames[0].at, this, { kind: 'frame', index: 0 });
    kernel.run(dayMs);
    for (const [host] of this.hosts.entries()) this.endIdleness(dayMs, host);
    const total = this.hosts.length * dayMs;
    let usedMs = 0;
    let idleMs = 0;
    for (const { from, to, use } of this.hosts.flatMap(host => host.spans)) {
      if (use === 'used') usedMs += to - from;
      if (use === 'idle') idleMs += to - from;
    }
    return {
      usage: addUsage(this.usages),
      sessions: this.sessions,
      reached: this.reached,
      usedShare: usedMs / total,
      idleShare: idleMs / total,
      counters: this.watcher.counters(),
    };
  }

  fire(at: number, tag: Tag): void {
    // The agent's clock has whole milliseconds.
    const now = Math.floor(at);
    switch (tag.kind) {
      case 'frame': {
        const frame = this.frames[tag.index];
        const next = this.frames[tag.index + 1];
        if (next) this.kernel.schedule<Tag>(next.at, this, { kind: 'frame', index: tag.index + 1 });
        this.hear(now, frame);
        break;
      }
      case 'span':
        this.begin(now, tag.host, this.hosts[tag.host].spans[tag.index].use);
        break;
      case 'machine':
        this.advance(now, tag.host);
        break;
      case 'patience':
        if (this.isUp(tag.host)) this.reached++;
        break;
      case 'poll':
        this.pollingAt = Infinity;
        this.watcher.poll(now);
        break;
    }
    this.planPoll(now);
  }

  private hear(now: number, frame: DayFrame): void {
    const { traffic, host, isFirst } = frame;
    this.watcher.frame(now, frame);
    if (!traffic.isSession) return;
    const { machine } = this.hosts[host];
    if (!machine) return;
    if (isFirst) {
      this.sessions++;
      this.kernel.schedule<Tag>(Math.min(dayMs, now + patienceMs), this, { kind: 'patience', host });
    }
    machine.use(now);
    this.plan(now, host);
  }

  private begin(now: number, index: number, use: Use): void {
    const host = this.hosts[index];
    const before = host.use;
    this.endIdleness(now, index);
    host.use = use;
    if (use === 'idle') {
      host.machine = new PoweredHost(now, false, desktopPower, this.idleMs);
      this.plan(now, index);
    }
    if (use === 'off') this.watcher.host(now, index, 'gone');
    else if (use === 'used' || before === 'off') this.watcher.host(now, index, 'awake');
  }

  private endIdleness(now: number, index: number): void {
    const host = this.hosts[index];
    if (!host.machine) return;
    host.machine.advance(now);
    this.usages.push(host.machine.usage());
    host.machine = undefined;
    this.kernel.cancel(host.change);
  }

  private wake(now: number, host: number): void {
    const { machine } = this.hosts[host];
    // A packet does not keep up a host that is up.
    if (!machine || machine.state === 'awake') return;
    machine.wake(now);
    this.plan(now, host);
  }

  private advance(now: number, host: number): void {
    const { machine } = this.hosts[host];
    if (!machine) return;
    const before = machine.state;
    const isUp = machine.advance(now);
    if (isUp) this.watcher.host(now, host, 'awake');
    else if (before === 'awake' && machine.state !== 'awake') this.watcher.host(now, host, 'asleep');
    this.plan(now, host);
  }

  private plan(now: number, index: number): void {
    const host = this.hosts[index];
    this.kernel.cancel(host.change);
    const at = host.machine?.changesAt ?? Infinity;
    host.change =
      at <= dayMs
        ? this.kernel.schedule<Tag>(Math.max(at, this.kernel.now, now), this, {
            kind: 'machine',
            host: index,
          })
        : 0;
  }

  private planPoll(now: number): void {
    const at = Math.max(this.watcher.pollAt(), now, this.kernel.now);
    if (at === this.pollingAt) return;
    this.kernel.cancel(this.polling);
    this.pollingAt = at;
    this.polling = at <= dayMs ? this.kernel.schedule<Tag>(at, this, { kind: 'poll' }) : 0;
  }

  /** Whether the host answers by itself. */
  private isUp(index: number): boolean {
    const { use, machine } = this.hosts[index];
    return use === 'used' || machine?.state === 'awake';
  }
}

type Wake = (now: number, host: number) => void;

function plainWatcher(policy: Exclude<Policy, object>, hosts: number, wake: Wake): Watcher {
  return {
    frame(now, { host }) {
      if (host >= 0) {
        wake(now, host);
      } else if (policy === 'wake-on-packet') {
        for (let i = 0; i < hosts; i++) wake(now, i);
      }
    },
    host() {},
    poll() {},
    pollAt: () => Infinity,
    counters: () => ({}),
  };
}

interface ProxyOptions {
  readonly policy: { readonly rules: readonly DeclaredRule[]; readonly limited?: boolean };
  readonly seed: number;
  readonly hosts: number;
  readonly wake: Wake;
  readonly isUp: (host: number) => boolean;
}

/** The agent with its power proxy, on the same segment. */
class ProxyWatcher implements Watcher {
  private readonly options: ProxyOptions;
  private readonly agent: Agent;
  private readonly proxy: PowerProxy;
  /** What awake hosts are about to answer. */
  private readonly answers: Uint8Array[] = [];

  constructor(options: ProxyOptions) {
    this.options = options;
    const make = powerProxyWith({ seed: options.seed, limitWakes: options.policy.limited ?? false });
    let proxy: PowerProxy | undefined;
    this.agent = new Agent(0, {
      ...self,
      firmware: 'kith-paper 0.1.0',
      platform: 'sim',
      boot: '00000000',
      links: [lan],
      jobs: [
        (now, context) => {
          proxy = make(now, context) as PowerProxy;
          return proxy;
        },
      ],
      saved: {},
      limits: { ...defaultLimits, outboxEffects: 1024 },
    });
    this.proxy = proxy as unknown as PowerProxy;
    for (const { id, payload } of options.policy.rules) this.publish(0, 'rule', id, payload);
    const accepted = this.proxy.counters.get('rules.accepted');
    if (accepted !== options.policy.rules.length)
      throw new Error(`rules: expected all ${options.policy.rules.length} to be accepted, got ${accepted}`);
  }

  frame(now: number, { bytes }: DayFrame): void {
    this.agent.receive(now, { kind: 'frame', link: lan.name, frame: bytes });
    this.perform(now);
  }

  host(now: number, host: number, state: 'awake' | 'asleep' | 'gone'): void {
    if (state === 'gone') {
      this.publish(now, 'host', hostName(host), new Uint8Array(0));
      return;
    }
    const declared: DeclaredHost = {
      mac: formatMac(hostMac(host)),
      ipv4: [formatAddress(hostAddress(host))],
      names: [hostName(host)],
      groups: ['224.0.0.251', '239.255.255.250'],
      services: [
        { type: '_ssh._tcp', port: 22 },
        { type: '_smb._tcp', port: 445 },
        { type: '_rdp._tcp', port: 3389 },
      ],
      state,
    };
    this.publish(now, 'host', hostName(host), encodeUtf8(JSON.stringify(declared)));
    if (state === 'asleep') return;
    const { said, heard } = connectionFrames(host);
    for (const frame of [announcement(host), said, heard, said])
      this.agent.receive(now, { kind: 'frame', link: lan.name, frame });
    this.perform(now);
  }

  poll(now: number): void {
    this.agent.poll(now);
    this.perform(now);
  }

  pollAt(): number {
    return this.agent.pollAt();
  }

  counters(): { readonly [name: string]: number } {
    return this.proxy.counters.snapshot();
  }

  private publish(now: number, kind: 'rule' | 'host', name: string, payload: Uint8Array): void {
    const topic = formatTopic(self, { kind, name });
    this.agent.receive(now, { kind: 'message', topic, payload, retained: false });
    this.perform(now);
  }

  private perform(now: number): void {
    const { outbox } = this.agent;
    for (let effect = outbox.shift(); effect; effect = outbox.shift())
      if (effect.kind === 'transmit') this.hear(now, effect.frame);
    for (let answer = this.answers.shift(); answer; answer = this.answers.shift()) {
      this.agent.receive(now, { kind: 'frame', link: lan.name, frame: answer });
      for (let effect = outbox.shift(); effect; effect = outbox.shift())
        if (effect.kind === 'transmit') this.hear(now, effect.frame);
    }
  }

  /** What the hosts make of a frame of the agent's. */
  private hear(now: number, bytes: Uint8Array): void {
    const frame = parseEthernet(bytes, 0, bytes.length);
    if (!frame.ok) throw new Error(`the proxy sent what is no frame: ${frame.reason}`);
    const { etherType, payload } = frame.value;
    if (etherType === wakeOnLanEtherType) {
      const magic = parseWakeOnLan(payload, 0, payload.length);
      for (let host = 0; magic.ok && host < this.options.hosts; host++)
        if (sameBytes(magic.value.targetMac, hostMac(host))) this.wake(now, host);
    } else if (etherType === etherTypeArp) {
      const arp = parseArp(bytes, ethernetHeaderLength, bytes.length);
      if (!arp.ok || arp.value.operation !== arpRequest) return;
      for (let host = 0; host < this.options.hosts; host++)
        if (this.options.isUp(host) && sameBytes(arp.value.targetAddress, hostAddress(host)))
          this.answers.push(
            arpFrame(arp.value.senderMac, {
              operation: arpReply,
              senderMac: hostMac(host),
              senderAddress: hostAddress(host),
              targetMac: arp.value.senderMac,
              targetAddress: arp.value.senderAddress,
            }),
          );
    }
  }

  private wake(now: number, host: number): void {
    this.options.wake(now, host);
  }
}

/** RFC 5227 §2.3. */
function announcement(host: number): Uint8Array {
  return arpFrame(new Uint8Array(6).fill(0xff), {
    operation: arpRequest,
    senderMac: hostMac(host),
    senderAddress: hostAddress(host),
    targetMac: new Uint8Array(6),
    targetAddress: hostAddress(host),
  });
}

function hourWeight({ useWeights }: Place, slot: number): number {
  return useWeights[Math.floor((slot * slotMs) / 3_600_000)];
}

/** An index below `count`, at random by weight; the first of any weight if none has. */
function weighted(random: Random, count: number, weight: (index: number) => number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += weight(i);
  let left = random.unit() * sum;
  let last = 0;
  for (let i = 0; i < count; i++) {
    if (weight(i) === 0) continue;
    last = i;
    left -= weight(i);
    if (left < 0) break;
  }
  return last;
}
