/**
 * What the power proxy makes of a capture: the agent itself (agent/agent.ts with the job `power-proxy`) hears the frames at
 * the times the capture gives them, is polled when it asks to be between them, and says of each frame what it did and why.
 *
 * The hosts are modelled, for a capture cannot change: each that is declared is a machine (energy.ts) that falls asleep when
 * nobody has wanted anything of it for `idleMs`. It sleeps at first, unless it is declared `awake`; what the capture has from
 * it wakes it, for a person must have, and the proxy lets go of it. Not so of one declared `asleep`: what the capture has
 * from it is left out, and counted, while it sleeps. A magic packet brings a sleeping one up after the model's resume time;
 * then it announces its addresses, answers the proxy's ARP, ND and pings, and falls asleep again. TCP and UDP to its MAC keep
 * it awake; groups' frames, ARP, ND and pings do not. What others say is as captured, also where the proxy's answers would
 * have changed it.
 *
 * The same machines also go through the capture without a proxy: always on, woken only by magic packets that the capture
 * has, and woken by whatever comes to their MAC or a group. Time and energy are counted from the first frame to the last;
 * the agent gets `beforeMs` before it to find out who is there, and `afterMs` after it to say what it is about to say.
 *
 * Bounds: the agent's limits, raised to what the files hold; `mostEvents` events are kept, the others counted.
 */

import { Agent } from '../../../agent/agent.js';
import { copyBytes, parseHex, sameBytes } from '../../../agent/core/bytes.js';
import type { JobFactory } from '../../../agent/job.js';
import { defaultLimits } from '../../../agent/limits.js';
import {
  descriptors,
  type Event,
  type HostStatus,
  type RuleStatus,
  type Warning,
} from '../../../agent/message/messages.js';
import { formatTopic, type NodeId, parseTopic } from '../../../agent/message/topic.js';
import type { Effect } from '../../../agent/port/effect.js';
import type { Link } from '../../../agent/port/platform.js';
import { powerProxyWith } from '../../../agent/power-proxy/job.js';
import type { PowerProxy, Verdict } from '../../../agent/power-proxy/power-proxy.js';
import { probeCount, probeMs } from '../../../agent/power-proxy/presence.js';
import { arpAnnouncement, respondArp } from '../../../agent/power-proxy/respond/arp.js';
import { respondEcho, respondEchoV6 } from '../../../agent/power-proxy/respond/echo.js';
import { respondNd, unsolicitedAdvertisement } from '../../../agent/power-proxy/respond/nd.js';
import type { Question, Served } from '../../../agent/power-proxy/responder.js';
import { parseAddress, parseMac } from '../../../agent/wire/address.js';
import { Headers } from '../../../agent/wire/headers.js';
import { protocolTcp, protocolUdp } from '../../../agent/wire/ipv4.js';
import type { VlanTag } from '../../../agent/wire/vlan.js';
import { parseWakeOnLan, type WakeOnLan } from '../../../agent/wire/wol.js';
import { linkType } from '../../capture/dissect.js';
import type { CapturedFrame, CaptureTime } from '../../capture/pcap.js';
import { decodeMessage } from '../../coordinator/payload.js';
import {
  addUsage,
  alwaysOn,
  asleepShare,
  defaultIdleMs,
  desktopPower,
  type Policy,
  PoweredHost,
  type PowerModel,
  policies,
  type Usage,
} from './energy.js';
import { type DeclaredHost, wrongEntry } from './hosts-file.js';
import type { DeclaredRule } from './rules-file.js';

const self: NodeId = { site: 'replay', node: 'proxy' };
/** Where the agent stands. Locally administered (IEEE 802 §8.4), so it is nobody's in the capture. */
const lan: Link = { name: 'lan', mac: new Uint8Array([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01]) };
/** As long as it waits for a host that it is told of, and probes it (presence.ts). */
const beforeMs = (1 + probeCount) * probeMs;
/** The longest a member may wait with its report by default (Query Response Interval, RFC 9776 §8.3): all else is sooner. */
export const afterMs = 10_000;
/** How long a simulated host takes to answer the proxy, ms. The clock knows no less. */
const answerMs = 1;
const mostEvents = 1_000;
/** An agent that asks to be polled this often at one instant would never let time pass. */
const mostPollsAtOnce = 1_000;

export interface ReplayOptions {
  readonly hosts: readonly DeclaredHost[];
  readonly rules: readonly DeclaredRule[];
  /** How long a host stays awake that nobody wants anything of, ms. */
  readonly idleMs?: number;
  readonly power?: PowerModel;
  /** Of the delays of answers. */
  readonly seed?: number;
  /** Hears what the proxy sends; `timeMs` is since 1970 as the capture tells it. */
  readonly sent?: (timeMs: number, frame: Uint8Array) => void;
}

/** What the proxy is not asked about: said by a host that sleeps here, cut short by the capture, or no frame to the agent. */
type Unjudged = 'left-out' | 'cut-short' | 'not-ethernet' | 'malformed';

export interface FrameVerdict {
  /** 1 for the first frame of the capture. */
  readonly frame: number;
  /** Since the first frame, ms. */
  readonly atMs: number;
  readonly verdict: Verdict['kind'] | Unjudged;
  /** The id of the rule that decided; '' if none. */
  readonly rule: string;
  /** '' if there is nothing to add. */
  readonly reason: string;
}

export interface HostSummary {
  readonly id: string;
  readonly mac: string;
  /** 0 … 1 of the time, and how often it was woken or woke by itself, by policy. */
  readonly asleepShare: { readonly [policy in Policy]: number };
  readonly wakes: { readonly [policy in Policy]: number };
}

export interface EnergySummary {
  /** Of all hosts together. */
  readonly joules: number;
  readonly averageWatts: number;
  /** 1 is what always-on needs. */
  readonly ofAlwaysOn: number;
  readonly asleepShare: number;
  readonly wakes: number;
}

export interface RuleSummary {
  /** As it reports: a frame for several hosts is one or several, and a timer's are counted too. */
  readonly hits: number;
  readonly wakes: number;
  readonly warnings: readonly Warning[];
}

export interface ReplaySummary {
  readonly frames: number;
  /** From the first frame to the last, ms. */
  readonly durationMs: number;
  readonly verdicts: { readonly [kind: string]: number };
  readonly wakes: { readonly started: number; readonly heard: number; readonly failed: number };
  /** Frames that were answered, at once or later. */
  readonly responses: number;
  readonly drops: number;
  /** What the proxy sent in all. */
  readonly sent: { readonly frames: number; readonly magicPackets: number };
  readonly rules: { readonly [id: string]: RuleSummary };
  readonly hosts: readonly HostSummary[];
  readonly energy: { readonly [policy in Policy]: EnergySummary };
  readonly events: readonly ReplayedEvent[];
  /** Events beyond those kept. */
  readonly eventsBeyond: number;
}

export interface ReplayedEvent {
  readonly atMs: number;
  readonly name: string;
  readonly rule?: string;
  readonly host?: string;
  readonly packet?: string;
  readonly text?: string;
}

/** A declared host, as a machine of its own for each policy that lets it sleep. */
interface ModelledHost {
  readonly declared: DeclaredHost;
  readonly mac: Uint8Array;
  readonly password: Uint8Array;
  /** What the capture has from it does not count while it sleeps. */
  readonly isLeftOut: boolean;
  readonly machines: { readonly [policy in Exclude<Policy, 'always-on'>]: PoweredHost };
}

/** Give it the frames of one capture in order, then call `finish`. */
export class ProxyReplay {
  private readonly options: ReplayOptions;
  private readonly agent: Agent;
  /** The job itself. */
  readonly proxy: PowerProxy;
  private readonly hosts: readonly ModelledHost[];
  private readonly power: PowerModel;
  private readonly headers = new Headers();
  /** What simulated hosts are about to say, in order. */
  private readonly said: { readonly at: number; readonly frame: Uint8Array }[] = [];
  private now = 0;
  private pollsAtOnce = 0;
  private first: CaptureTime | undefined;
  /** What the proxy sent before the first frame, whose time is not known yet. */
  private readonly early: { readonly at: number; readonly frame: Uint8Array }[] = [];
  private lastMs = 0;
  private frames = 0;
  private readonly verdicts = new Map<string, number>();
  private readonly wakes = new Map<string, number>();
  private readonly statuses = new Map<string, RuleStatus>();
  private readonly hostStatuses = new Map<string, HostStatus>();
  private readonly events: ReplayedEvent[] = [];
  private readonly eventCounts = new Map<string, number>();
  private sentFrames = 0;
  private magicPackets = 0;

  /** Throws an Error that names file, entry and field if the agent refuses a host or a rule. */
  constructor(options: ReplayOptions) {
    this.options = options;
    this.power = options.power ?? desktopPower;
    const make = powerProxyWith({ seed: options.seed ?? 1 });
    let proxy: PowerProxy | undefined;
    const job: JobFactory = (now, context) => {
      proxy = make(now, context) as PowerProxy;
      return proxy;
    };
    const { hosts, rules } = options;
    this.agent = new Agent(0, {
      ...self,
      firmware: 'kith-replay 0.1.0',
      platform: 'replay',
      boot: '00000000',
      links: [lan],
      jobs: [job],
      saved: {},
      limits: {
        ...defaultLimits,
        outboxEffects: 1024,
        waitingEvents: 256,
        rules: Math.max(defaultLimits.rules, rules.length),
        hosts: Math.max(defaultLimits.hosts, hosts.length),
      },
      // Nobody reads it.
      telemetryMs: 86_400_000,
    });
    this.proxy = proxy as unknown as PowerProxy;
    this.hosts = hosts.map(declared => this.model(declared));
    // All at once, before the bus is up: each change of the rules in force would be reported with a digest over all of them.
    for (const { id, payload } of hosts) this.hear({ kind: 'host', name: id }, payload);
    for (const { id, payload } of rules) this.hear({ kind: 'rule', name: id }, payload);
    this.agent.receive(0, { kind: 'bus-up', sessionPresent: false });
    this.settle(0);
    for (const { id, entry } of hosts) refuseRejected(entry, this.hostStatuses.get(id));
    for (const { id, entry } of rules) refuseRejected(entry, this.statuses.get(id));
    this.advance(beforeMs);
  }

  /** The next frame. */
  frame(captured: CapturedFrame): FrameVerdict {
    this.timeOf(captured);
    this.frames++;
    // Up to a millisecond late, for an answer must not come before its question.
    const now = beforeMs + Math.ceil(this.lastMs);
    this.advance(now);
    const { verdict, rule, reason } = this.judge(now, captured);
    count(this.verdicts, verdict);
    return { frame: captured.number, atMs: this.lastMs, verdict, rule, reason };
  }

  /** After the last frame. */
  finish(): ReplaySummary {
    const endAt = this.now;
    const durationMs = endAt - beforeMs;
    for (const { machines } of this.hosts)
      for (const policy of ['wol-only', 'wake-on-packet', 'proxy'] as const) machines[policy].advance(endAt);
    const usages = this.hosts.map(host => usagesOf(host, durationMs, this.power));
    this.advance(endAt + afterMs);
    const get = (name: 'wakes.heard' | 'wakes.given-up') => this.proxy.counters.get(name);
    const seen = (name: string) => this.eventCounts.get(name) ?? 0;
    const verdict = (kind: string) => this.verdicts.get(kind) ?? 0;
    const rules = this.options.rules.map(({ id }) => [
      id,
      {
        hits: this.statuses.get(id)?.hits ?? 0,
        wakes: this.wakes.get(id) ?? 0,
        warnings: this.statuses.get(id)?.warnings ?? [],
      },
    ]);
    const alwaysJoules = addUsage(usages.map(usage => usage['always-on'])).joules;
    let events = 0;
    for (const times of this.eventCounts.values()) events += times;
    return {
      frames: this.frames,
      durationMs,
      verdicts: Object.fromEntries(this.verdicts),
      wakes: { started: seen('wake'), heard: get('wakes.heard'), failed: get('wakes.given-up') },
      responses: verdict('answered') + verdict('scheduled'),
      drops: verdict('dropped'),
      sent: { frames: this.sentFrames, magicPackets: this.magicPackets },
      rules: Object.fromEntries(rules),
      hosts: this.hosts.map(({ declared }, i) => ({
        id: declared.id,
        mac: declared.host.mac.toLowerCase(),
        asleepShare: eachPolicy(policy => asleepShare(usages[i][policy])),
        wakes: eachPolicy(policy => usages[i][policy].wakes),
      })),
      energy: eachPolicy(policy => {
        const usage = addUsage(usages.map(each => each[policy]));
        return {
          joules: usage.joules,
          averageWatts: durationMs === 0 ? 0 : usage.joules / (durationMs / 1000),
          ofAlwaysOn: alwaysJoules === 0 ? 0 : usage.joules / alwaysJoules,
          asleepShare: asleepShare(usage),
          wakes: usage.wakes,
        };
      }),
      events: this.events,
      eventsBeyond: events - this.events.length,
    };
  }

  private model(declared: DeclaredHost): ModelledHost {
    const { mac, password = '', state } = declared.host;
    const { power, options } = this;
    const { idleMs = defaultIdleMs } = options;
    const machine = () => new PoweredHost(beforeMs, state !== 'awake', power, idleMs);
    return {
      declared,
      mac: parseMac(mac) as Uint8Array,
      password: parseHex(password) as Uint8Array,
      isLeftOut: state === 'asleep',
      machines: { 'wol-only': machine(), 'wake-on-packet': machine(), proxy: machine() },
    };
  }

  /** People publish something for the agent. */
  private hear(leaf: { readonly kind: 'host' | 'rule'; readonly name: string }, payload: Uint8Array): void {
    const topic = formatTopic(self, leaf);
    this.agent.receive(0, { kind: 'message', topic, payload, retained: true });
    this.settle(0);
  }

  /** Sets `lastMs`: a clock set back while capturing does not turn time back. */
  private timeOf({ time }: CapturedFrame): void {
    this.first ??= time;
    for (const { at, frame } of this.early.splice(0)) this.tellSent(at, frame);
    if (!time || !this.first) return;
    const { seconds, nanoseconds } = this.first;
    const ms = (time.seconds - seconds) * 1000 + (time.nanoseconds - nanoseconds) / 1e6;
    this.lastMs = Math.max(this.lastMs, ms);
  }

  private judge(
    now: number,
    { bytes, originalLength, linkType: link }: CapturedFrame,
  ): Omit<FrameVerdict, 'frame' | 'atMs'> {
    if (link !== linkType.ethernet) return leftOut('not-ethernet', `link type ${link}`);
    if (bytes.length < originalLength)
      return leftOut('cut-short', `${bytes.length} of ${originalLength} bytes captured`);
    const speaker = this.hostAt(bytes, 6);
    const magic = magicIn(bytes);
    this.wakeWithoutProxy(now, bytes, magic, speaker);
    if (speaker?.isLeftOut && speaker.machines.proxy.state !== 'awake')
      return leftOut('left-out', `${speaker.declared.id} sleeps`);
    if (speaker && !speaker.isLeftOut) speaker.machines.proxy.speak(now);
    this.reach(now, bytes, magic, speaker);
    return this.feed(now, bytes);
  }

  /** What the frame does to hosts that no proxy stands in for. */
  private wakeWithoutProxy(
    now: number,
    bytes: Uint8Array,
    magic: WakeOnLan | undefined,
    speaker: ModelledHost | undefined,
  ): void {
    for (const host of this.hosts) {
      const { 'wol-only': wolOnly, 'wake-on-packet': onPacket } = host.machines;
      if (host === speaker) {
        if (host.isLeftOut) continue;
        wolOnly.speak(now);
        onPacket.speak(now);
        continue;
      }
      if (!isFor(host, bytes)) continue;
      onPacket.wake(now);
      if (isWokenBy(host, magic)) wolOnly.wake(now);
      if (!this.isUse(bytes)) continue;
      onPacket.use(now);
      wolOnly.use(now);
    }
  }

  /** What the frame does to hosts that the proxy stands in for, whoever sent it. */
  private reach(now: number, bytes: Uint8Array, magic: WakeOnLan | undefined, speaker?: ModelledHost): void {
    for (const host of this.hosts) {
      if (host === speaker || !isFor(host, bytes)) continue;
      if (isWokenBy(host, magic)) host.machines.proxy.wake(now);
      else if (this.isUse(bytes)) host.machines.proxy.use(now);
    }
  }

  /** Whether whoever gets the frame is made use of by it. */
  private isUse(bytes: Uint8Array): boolean {
    const { headers } = this;
    if ((bytes[0] & 1) === 1 || headers.scan(bytes, 0, bytes.length) !== 'ok') return false;
    return headers.protocol === protocolTcp || headers.protocol === protocolUdp;
  }

  private feed(now: number, bytes: Uint8Array): Omit<FrameVerdict, 'frame' | 'atMs'> {
    const malformed = this.agent.counters.get('frames.malformed');
    this.agent.receive(now, { kind: 'frame', link: lan.name, frame: bytes });
    const { kind, rule, reason } = this.proxy.verdict;
    this.settle(now);
    if (this.agent.counters.get('frames.malformed') > malformed) return leftOut('malformed', '');
    return { verdict: kind, rule, reason };
  }

  /** Lets time pass, with all that is due meanwhile. */
  private advance(to: number): void {
    for (;;) {
      let next = Math.min(this.agent.pollAt(), this.said.length > 0 ? this.said[0].at : Infinity);
      for (const { machines } of this.hosts) next = Math.min(next, machines.proxy.changesAt);
      if (next > to) break;
      const now = Math.max(this.now, next);
      this.pollsAtOnce = now === this.now ? this.pollsAtOnce + 1 : 0;
      if (this.pollsAtOnce > mostPollsAtOnce)
        throw new Error(`the agent asks to be polled at ${next} again and again, and it is ${now}`);
      this.now = now;
      for (const host of this.hosts) if (host.machines.proxy.advance(now)) this.announce(now, host);
      while (this.said.length > 0 && this.said[0].at <= now)
        this.feed(now, (this.said.shift() as { readonly frame: Uint8Array }).frame);
      if (this.agent.pollAt() <= now) {
        this.agent.poll(now);
        this.settle(now);
      }
    }
    this.now = to;
    this.pollsAtOnce = 0;
  }

  /** Performs what the agent wants, until it wants nothing more now. */
  private settle(now: number): void {
    for (let calls = 0; calls < mostPollsAtOnce; calls++) {
      for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift()) {
        this.perform(now, effect);
      }
      if (this.agent.pollAt() > now) return;
      this.agent.poll(now);
    }
    throw new Error(`the agent never comes to rest at ${now}`);
  }

  private perform(now: number, effect: Effect): void {
    if (effect.kind === 'transmit') this.hearSent(now, effect.frame);
    if (effect.kind !== 'publish') return;
    const topic = parseTopic(effect.topic);
    if (!topic.ok || effect.payload.length === 0) return;
    const { leaf } = topic.value;
    if (leaf.kind === 'rule-status') {
      const status = decodeMessage(descriptors['rule-status'], effect.payload);
      if (status.ok) this.statuses.set(leaf.name, status.value);
    }
    if (leaf.kind === 'host-status') {
      const status = decodeMessage(descriptors['host-status'], effect.payload);
      if (status.ok) this.hostStatuses.set(leaf.name, status.value);
    }
    if (leaf.kind === 'event') {
      const event = decodeMessage(descriptors.event, effect.payload);
      if (event.ok) this.keep(leaf.name, event.value);
    }
  }

  private keep(name: string, { uptime, rule, host, packet, text }: Event): void {
    count(this.eventCounts, name);
    if (name === 'wake' && rule !== undefined) count(this.wakes, rule);
    if (this.events.length >= mostEvents) return;
    this.events.push({
      atMs: uptime - beforeMs,
      name,
      ...(rule !== undefined && { rule }),
      ...(host !== undefined && { host }),
      ...(packet !== undefined && { packet }),
      ...(text !== undefined && { text }),
    });
  }

  /** A frame of the proxy's: to be written, and for the hosts to hear. */
  private hearSent(now: number, frame: Uint8Array): void {
    this.sentFrames++;
    if (this.frames > 0) this.tellSent(now, frame);
    else this.early.push({ at: now, frame });
    const magic = magicIn(frame);
    if (magic) this.magicPackets++;
    this.reach(now, frame, magic);
    for (const host of this.hosts)
      if (host.machines.proxy.state === 'awake' && isFor(host, frame)) this.answer(now, host, frame);
  }

  /** A capture may say nothing of time. */
  private tellSent(now: number, frame: Uint8Array): void {
    const { seconds, nanoseconds } = this.first ?? { seconds: 0, nanoseconds: 0 };
    const startMs = seconds * 1000 + nanoseconds / 1e6;
    this.options.sent?.(Math.max(0, startMs + now - beforeMs), frame);
  }

  /** A host that has come up says so: RFC 5227 §2.3, RFC 4861 §7.2.6. */
  private announce(now: number, host: ModelledHost): void {
    const { ipv4, ipv6 } = this.addressesOf(host);
    const way = this.wayOf(host);
    for (const address of ipv4) this.say(now, arpAnnouncement(way, host.mac, address));
    // A host that nobody knows an address of has at least the link-local one its MAC makes.
    const others = ipv4.length + ipv6.length > 0 ? ipv6 : [linkLocalOf(host.mac)];
    for (const address of others) this.say(now, unsolicitedAdvertisement(way, host.mac, address));
  }

  /** The proxy's questions, as any host answers them. */
  private answer(now: number, host: ModelledHost, frame: Uint8Array): void {
    if (this.headers.scan(frame, 0, frame.length) !== 'ok') return;
    const { link } = this.wayOf(host);
    const { mac } = host;
    const served: Served = { mac, ...this.addressesOf(host), names: [] };
    const question: Question = { now, link, frame, headers: this.headers, host: served };
    for (const respond of [respondArp, respondNd, respondEcho, respondEchoV6])
      respond(question, answer => this.say(now + answerMs, answer));
  }

  private say(at: number, frame: Uint8Array): void {
    this.said.push({ at, frame });
  }

  private wayOf({ mac, declared }: ModelledHost): { readonly link: Link; readonly tags: readonly VlanTag[] } {
    const { vlanId } = declared.host;
    const tags = vlanId === undefined ? [] : [{ tpid: 0x8100, priority: 0, dropEligible: false, vlanId }];
    return { link: { name: lan.name, mac }, tags };
  }

  /** Those declared, or else what the proxy has learnt: the host knows its own, but the file may not. */
  private addressesOf({ mac, declared }: ModelledHost): Pick<Served, 'ipv4' | 'ipv6'> {
    const { ipv4 = [], ipv6 = [] } = declared.host;
    const known = this.proxy.hosts.find(mac, 0)?.profile;
    const parse = (texts: readonly string[]) => texts.map(text => parseAddress(text) as Uint8Array);
    return {
      ipv4: ipv4.length > 0 ? parse(ipv4) : (known?.ipv4 ?? []),
      ipv6: ipv6.length > 0 ? parse(ipv6) : (known?.ipv6 ?? []),
    };
  }

  private hostAt(bytes: Uint8Array, at: number): ModelledHost | undefined {
    if (bytes.length < at + 6) return undefined;
    return this.hosts.find(({ mac }) => isAt(mac, bytes, at));
  }
}

function refuseRejected(entry: string, status: HostStatus | RuleStatus | undefined): void {
  if (status?.status !== 'rejected') return;
  const { field = '', expected = '', got = '' } = status;
  throw wrongEntry(entry, { field, expected, got });
}

function leftOut(verdict: Unjudged, reason: string) {
  return { verdict, rule: '', reason };
}

function usagesOf(
  { machines }: ModelledHost,
  totalMs: number,
  power: PowerModel,
): { readonly [policy in Policy]: Usage } {
  return eachPolicy(policy => (policy === 'always-on' ? alwaysOn(totalMs, power) : machines[policy].usage()));
}

function eachPolicy<T>(what: (policy: Policy) => T): { readonly [policy in Policy]: T } {
  return Object.fromEntries(policies.map(policy => [policy, what(policy)])) as { [policy in Policy]: T };
}

/** Whether the host's network card takes the frame, as one in which it is not promiscuous. */
function isFor({ mac }: ModelledHost, bytes: Uint8Array): boolean {
  return bytes.length >= 6 && ((bytes[0] & 1) === 1 || isAt(mac, bytes, 0));
}

/** A magic packet stands anywhere in a frame. */
function magicIn(bytes: Uint8Array): WakeOnLan | undefined {
  const magic = parseWakeOnLan(bytes, 12, bytes.length);
  return magic.ok ? magic.value : undefined;
}

/** SecureOn also wants its password. */
function isWokenBy({ mac, password }: ModelledHost, magic: WakeOnLan | undefined): boolean {
  if (!magic || !sameBytes(magic.targetMac, mac)) return false;
  return password.length === 0 || sameBytes(magic.password, password);
}

function isAt(mac: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 6; i++) if (mac[i] !== bytes[at + i]) return false;
  return true;
}

/** fe80::/64 and the modified EUI-64 of the MAC (RFC 4291 §2.5.1, §2.5.6). */
function linkLocalOf(mac: Uint8Array): Uint8Array {
  const address = new Uint8Array(16);
  address.set([0xfe, 0x80]);
  address.set(copyBytes(mac, 0, 3), 8);
  address.set([0xff, 0xfe], 11);
  address.set(copyBytes(mac, 3, 6), 13);
  address[8] ^= 2;
  return address;
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
