/**
 * The power proxy: stands in for sleeping hosts (Nedevschi et al., NSDI 2009, §5). For each silent host that a frame is for,
 * the first of the rules in force, in their order, decides: drop it, answer in the host's place, send it on to somebody
 * else, or wake the host. Timers wake hosts for what they have to do while nobody asks (the paper's scheduled tasks), and
 * keep up what would lapse while they sleep.
 *
 * A frame is for a host if it goes to its MAC, to a group, or (where the agent says that the host's addresses are here)
 * to one of its addresses at the agent's MAC. A rule without a host is for every host the proxy knows (host-table.ts).
 * The proxy lets go the moment the host speaks. Answers go to requests only, never to an answer, and to one source no
 * more often than throttle.ts allows. A frame that is dropped costs no allocation,
 * but for one to a group about which the own rules of several hosts decide.
 */

import { writeUint16 } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import { Random } from '../core/random.js';
import { never } from '../core/time.js';
import type { Job, JobContext, JobFactory } from '../job.js';
import type { Request } from '../message/messages.js';
import type { Link } from '../port/platform.js';
import { formatAddress, parseMac } from '../wire/address.js';
import { internetChecksum } from '../wire/checksum.js';
import { mdnsPort } from '../wire/dns.js';
import { type Headers, networkArp, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { protocolTcp, protocolUdp } from '../wire/ipv4.js';
import { tcpFlagNames } from '../wire/tcp.js';
import { udpLength } from '../wire/udp.js';
import { dhcpClientPort } from '../wire/udp-ports.js';
import { type Answer, type AnswerState, answerOf } from './answer.js';
import { Answering } from './answering.js';
import { Asked } from './asked.js';
import { type DeclarationCounter, Declarations, declarationCounters, undeclare } from './declaration.js';
import { type Host, HostTable, isSilent, tagsOf } from './host-table.js';
import type { Parts, SleepProxyPart } from './parts.js';
import { Presence, type PresenceCounter, presenceCounters } from './presence.js';
import type { SendDue } from './respond/due.js';
import { defaultTimeToLive, readDatagram, udpFrame, wayBack } from './respond/frame.js';
import { mdnsGoodbyes } from './respond/mdns.js';
import type { Keeper, Question } from './responder.js';
import { compareRules, type ResponderName } from './rule.js';
import { type ActiveRule, type RuleCounter, RuleTable } from './rule-table.js';
import { decodeSleeper, encodeSleeper, isRegistered, sleeperMac, sleeperPrefix } from './saved-sleeper.js';
import type { Registration, SleepProxy } from './sleep-proxy.js';
import { Throttle } from './throttle.js';
import { Waker, type WakerCounter, wakerCounters } from './waker.js';

export interface PowerProxyOptions {
  /** Of the random delays of answers; left out: the agent's boot id. */
  readonly seed?: number;
  /**
   * Hosts may register to be stood in for (sleep-proxy.ts, which must be among the parts), on the links that have addresses.
   * `name`: for people, 1 … 40 bytes.
   */
  readonly sleepProxy?: { readonly name: string };
  /** False: a host is woken as often as rules say, as it was in the paper's experiments; default: as often as waker.ts allows. */
  readonly limitWakes?: boolean;
}

/** What became of the last frame, the most notable if it was for several hosts; in rising order. */
export type VerdictKind =
  | 'unmatched'
  | 'dropped'
  | 'unanswerable'
  | 'limited'
  | 'scheduled'
  | 'answered'
  | 'redirected'
  | 'waking'
  /** To the sleep proxy: the reason says what came of it. */
  | 'registration'
  | 'host-speaks';

const verdictKinds: readonly VerdictKind[] = [
  'unmatched',
  'dropped',
  'unanswerable',
  'limited',
  'scheduled',
  'answered',
  'redirected',
  'waking',
  'registration',
  'host-speaks',
];

export interface Verdict {
  kind: VerdictKind;
  /** The id of the rule that decided; empty: none did. */
  rule: string;
  /** Why, in a responder's words; may be empty. */
  reason: string;
}

const counterNames = [
  'rules.accepted',
  'rules.rejected',
  'rules.removed',
  'rules.expired',
  'rules.redelivered',
  'rules.unreadable',
  'frames.unmatched',
  'frames.dropped',
  'frames.answered',
  'frames.scheduled',
  'frames.unanswerable',
  'frames.limited',
  'frames.redirected',
  'redirects.limited',
  'redirects.no-hops',
  'timers.fired',
  'keepers.sent',
  'keepers.idle',
  'wakes.unneeded',
  'wakes.requested',
  ...wakerCounters,
  ...presenceCounters,
  ...declarationCounters,
] as const;
type CounterName = (typeof counterNames)[number];
/** What came of frames to the sleep proxy, as a counter; of a question left alone for want of tokens, `limited`. */
const sleepProxyPrefix = 'sleep-proxy.';

/** A frame over MQTT pushes an event of somebody else's out of the queue (limits.waitingEvents): a few a second at most. */
const redirectBurst = 8;
const redirectMs = 250;

/** Of these parts; job.ts has all. */
export function powerProxyOf(parts: Parts, options: PowerProxyOptions = {}): JobFactory {
  return (now, context) => new PowerProxy(now, context, parts, options);
}

export class PowerProxy implements Job {
  readonly name = 'power-proxy';
  readonly counters: Counters<CounterName>;
  /** Of the last frame. */
  readonly verdict: Verdict = { kind: 'unmatched', rule: '', reason: '' };
  readonly hosts: HostTable;
  private readonly context: JobContext;
  private readonly parts: Parts;
  private readonly table: RuleTable;
  private readonly waker: Waker;
  private readonly presence: Presence;
  private readonly declarations: Declarations;
  private readonly answering: Answering;
  private readonly throttle: Throttle;
  private readonly sleepProxy: SleepProxy | undefined;
  /** The first end of a registration. */
  private registeredUntil = never;
  /** Those that a timer was due for. */
  private readonly keepers: { [name in ResponderName]?: Keeper } = {};
  private redirectTokens = redirectBurst;
  private redirectedAt: number;
  /** A frame to the agent's MAC, as it would be to the host's. */
  private readdressed: Uint8Array | undefined;

  // While a frame is matched: what it is, and the host it is for; `undefined`: a group's, for all that are undecided.
  private frameTo: Host | undefined;
  private frameHeaders: Headers | undefined;
  private frameBytes: Uint8Array = new Uint8Array(0);
  private readonly asked = new Asked();
  private readonly applies: (active: ActiveRule) => boolean;
  private readonly transmit: SendDue;
  /** As `transmit`, of the sleep proxy's answers. */
  private readonly reply: SendDue;
  private hasReplied = false;
  /** A host may be wanted no more. */
  private isSweepDue = false;
  private isRestored = false;
  /** Keys of what is to be saved no more, for which the outbox had no room: at most one a host, until the next `poll`. */
  private unerased: readonly string[] = [];

  constructor(now: number, context: JobContext, parts: Parts, options: PowerProxyOptions) {
    const count = (name: WakerCounter | PresenceCounter | DeclarationCounter, by = 1) =>
      this.counters.add(name, by);
    this.context = context;
    this.parts = parts;
    this.counters = new Counters<CounterName>(
      options.sleepProxy ? [...counterNames, ...sleepProxyCounters(parts)] : counterNames,
    );
    this.redirectedAt = now;
    this.table = new RuleTable(now, context, parts, this.counters as Counters<RuleCounter>);
    this.hosts = new HostTable(context.limits.hosts, host => this.forget(host));
    this.waker = new Waker(context, options.limitWakes ?? true, count);
    this.presence = new Presence(context, this.hosts, this.waker, parts.voice, {
      count,
      asleep: (at, host) => {
        // What was saved before the restart says more, and is yet to be read.
        if (this.isRestored) this.saveSleeper(at, host);
      },
      letGo: (_, host) => {
        this.answering.forget(host.mac);
        if (host.state === 'gone') this.sayGoodbye(host);
        host.isAnnounced = false;
        this.dropSleeper(host);
        this.endRegistration(host);
      },
    });
    this.declarations = new Declarations(context, {
      count,
      declare: (at, id, declaration, isNew) => {
        const host = this.hosts.know(at, declaration.mac, 'gone');
        if (!host) return undefined;
        host.declaredAs = id;
        if (!isNew) return host;
        const { profile } = host;
        host.nameTests = undefined;
        host.password = declaration.password;
        // What the host registered itself stands, unless it is told better.
        if (host.registeredUntil < 0 || declaration.ports.length > 0) host.ports = declaration.ports;
        if (declaration.vlanId >= 0) host.vlanId = declaration.vlanId;
        if (declaration.ipv4.length > 0) profile.ipv4 = [...declaration.ipv4];
        if (declaration.ipv6.length > 0) profile.ipv6 = [...declaration.ipv6];
        if (declaration.names.length > 0) profile.names = [...declaration.names];
        if (declaration.groups.length > 0) profile.groups = [...declaration.groups];
        if (declaration.records.length > 0) profile.records = [...declaration.records];
        profile.changed();
        if (declaration.state === 'awake') this.presence.heard(at, host);
        else if (declaration.state === 'asleep') this.presence.leaving(at, host);
        else if (host.heardAt < 0) this.presence.ask(at, host);
        if (!isSilent(host)) return host;
        this.presence.standIn(at, host);
        if (this.isRestored) this.saveSleeper(at, host);
        return host;
      },
      withdraw: (at, host, declaration) => {
        host.declaredAs = '';
        if (host.registeredUntil < 0) undeclare(host, declaration);
        this.knowHosts(at);
      },
    });
    this.answering = new Answering(
      parts.responders,
      new Random(options.seed ?? Number(`0x${context.boot}`), 'power-proxy'),
      context.limits.waitingAnswers,
    );
    this.throttle = new Throttle(now, context.limits.hosts);
    this.applies = active => this.isFor(active);
    this.transmit = (link, frame) => this.context.transmit(link, frame);
    this.reply = (link, frame) => {
      this.hasReplied = true;
      this.context.transmit(link, frame);
    };
    const { sleepProxy } = options;
    if (sleepProxy)
      this.sleepProxy = sleepProxyPart(parts).make(
        {
          name: sleepProxy.name,
          random: new Random(options.seed ?? Number(`0x${context.boot}`), 'sleep-proxy'),
          limit: context.limits.hosts,
          links: context.links,
        },
        {
          register: (at, registration) => this.register(at, registration),
          withdraw: (at, mac, why) => this.unregister(at, mac, why),
          owner: address => this.hosts.owner(address, 0, address.length)?.mac,
        },
      );
    this.knowHosts(now);
    this.declarations.restore(now);
    this.restoreSleepers(now);
    this.isRestored = true;
    this.sleepProxy?.start(now);
  }

  rule(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    this.table.put(now, id, payload, retained);
    this.knowHosts(now);
  }

  rules(): { readonly count: number; readonly digest: string } {
    return { count: this.table.matcher.order.length, digest: this.table.digest };
  }

  host(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    this.declarations.put(now, id, payload, retained);
  }

  /** The sleep proxy says goodbye. */
  shutdown(): void {
    this.sleepProxy?.stop(this.transmit);
  }

  /** `wake`: the host named is woken, whatever the rules say. */
  request(now: number, verb: string, request: Request): 'done' | { readonly error: string } | undefined {
    if (verb !== 'wake') return undefined;
    if (request.host === undefined) return { error: 'host: expected the MAC address of a host, got nothing' };
    const host = this.hosts.find(parseMac(request.host) as Uint8Array, 0);
    if (!host) return { error: `host: expected one this node stands in for, got ${request.host}` };
    this.counters.add('wakes.requested');
    if (host.state === 'awake') this.counters.add('wakes.unneeded');
    if (host.state === 'waking' || host.state === 'awake') return 'done';
    if (!this.presence.wake(now, host)) return { error: `host: ${host.name} was woken too often of late` };
    this.context.event(now, 'wake', { host: host.name, text: 'requested' });
    return 'done';
  }

  online(now: number): void {
    this.table.reportAll(now);
    this.declarations.reportAll();
  }

  frame(now: number, link: string, frame: Uint8Array, headers: Headers): void {
    const { verdict, hosts } = this;
    verdict.kind = 'unmatched';
    verdict.rule = '';
    verdict.reason = '';
    const sender = hosts.find(frame, 6);
    if (headers.network === networkArp) this.findConflict(now, link, frame, headers, sender);
    if (sender) {
      this.learn(now, link, frame, headers, sender);
      verdict.kind = 'host-speaks';
    }
    const isServed =
      this.sleepProxy !== undefined &&
      headers.dstPort === mdnsPort &&
      this.hearMacs(now, link, frame, headers, this.sleepProxy);
    if (!isServed) {
      this.frameHeaders = headers;
      this.frameBytes = frame;
      this.asked.begin();
      if ((frame[0] & 1) === 1) this.decideAll(now, link, frame, headers);
      else {
        const host = hosts.find(frame, 0);
        if (host) this.decideFor(now, link, frame, headers, host);
        else if (this.isTaken(frame, headers)) this.decideTaken(now, link, frame, headers);
      }
      if (verdict.kind === 'unmatched') this.counters.add('frames.unmatched');
    }
    this.sweep();
  }

  poll(now: number): void {
    const { unerased } = this;
    this.unerased = [];
    for (const key of unerased) this.erase(key);
    this.presence.poll(now);
    this.answering.poll(now, this.transmit);
    this.sleepProxy?.poll(now, this.transmit);
    if (now >= this.registeredUntil) this.expireRegistrations(now);
    for (const active of this.table.takeDue(now)) this.fire(now, active);
    const { length } = this.table.matcher.order;
    this.table.poll(now);
    if (this.table.matcher.order.length !== length) this.knowHosts(now);
    this.sweep();
    this.declarations.report(now);
  }

  pollAt(): number {
    const at = Math.min(
      this.table.pollAt(),
      this.presence.pollAt(),
      this.answering.pollAt(),
      this.registeredUntil,
      this.sleepProxy ? this.sleepProxy.pollAt() : never,
    );
    return this.unerased.length > 0 || this.declarations.isDue() ? Math.min(at, 0) : at;
  }

  private learn(now: number, link: string, frame: Uint8Array, headers: Headers, host: Host): void {
    host.link = link;
    host.vlanId = headers.vlanId;
    host.nameTests = undefined;
    this.presence.heard(now, host);
    if (this.parts.learning) this.parts.learning.from(now, frame, headers, host.profile);
  }

  /**
   * What Macs say to the sleep proxy, and questions for its own names, as often as any source is answered. True: it was an
   * update, and of no concern to anybody else.
   */
  private hearMacs(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    sleepProxy: SleepProxy,
  ): boolean {
    // The response flag and the operation (RFC 1035 §4.1.1).
    const flags = frame[headers.l4Offset + udpLength + 2];
    if ((flags & 0x80) === 0 && !this.throttle.allows(now, frame)) {
      this.counters.add('sleep-proxy.limited' as CounterName);
      this.decide('limited', '', 'too many questions of this source');
      return false;
    }
    this.hasReplied = false;
    const outcome = sleepProxy.receive(now, link, frame, headers, this.reply);
    if (outcome === 'not-ours') return false;
    this.counters.add((sleepProxyPrefix + outcome) as CounterName);
    if (this.hasReplied || outcome === 'scheduled') this.throttle.take(frame);
    const isUpdate = this.hasReplied && (flags & 0x78) === 0x28;
    if (isUpdate) this.decide('registration', '', outcome);
    else if (outcome === 'answered' || outcome === 'scheduled') this.decide(outcome, '', '');
    else if (this.verdict.kind === 'unmatched') this.verdict.reason = outcome;
    return isUpdate;
  }

  /** RFC 5227 §2.4: somebody else sends ARP from an address that a silent host has. */
  private findConflict(
    now: number,
    name: string,
    frame: Uint8Array,
    headers: Headers,
    sender: Host | undefined,
  ): void {
    const at = headers.l3Offset + 14;
    if (frame[at] === 0 && frame[at + 1] === 0 && frame[at + 2] === 0 && frame[at + 3] === 0) return;
    const link = this.linkOf(name);
    if (!link || isAt(frame, 6, link.mac)) return;
    for (const host of this.hosts.hosts) {
      if (host === sender || !isSilent(host) || !host.profile.hasAddress(frame, at, 4)) continue;
      // Another proxy that stands in for it says the same as the host.
      if (!isAt(frame, at - 6, host.mac)) this.presence.conflict(now, host, link, frame.slice(at, at + 4));
    }
  }

  /** Whether it goes to the agent's MAC, and may be for a host whose addresses are said to be here. */
  private isTaken(frame: Uint8Array, { network }: Headers): boolean {
    if ((network !== networkIpv4 && network !== networkIpv6) || frame.length > maxFrameLength) return false;
    for (const { mac, hearsOthers } of this.context.links)
      if (hearsOthers === false && isAt(frame, 0, mac)) return true;
    return false;
  }

  private decideTaken(now: number, link: string, frame: Uint8Array, headers: Headers): void {
    const { l3Offset, network } = headers;
    const length = network === networkIpv4 ? 4 : 16;
    const host = this.hosts.owner(frame, l3Offset + (length === 4 ? 16 : 24), length);
    if (!host?.profile.linkAddress) return;
    this.readdressed = this.readdressed ?? new Uint8Array(maxFrameLength);
    this.readdressed.set(frame);
    this.readdressed.set(host.mac);
    this.decideFor(now, link, this.readdressed.subarray(0, frame.length), headers, host);
  }

  private decideFor(now: number, link: string, frame: Uint8Array, headers: Headers, host: Host): void {
    if (this.parts.learning) this.parts.learning.to(now, frame, headers, host.profile);
    if (!isSilent(host) || isElsewhere(host, link, headers)) return;
    this.frameTo = host;
    const active = this.table.matcher.match(frame, headers, this.applies);
    this.frameTo = undefined;
    if (!active) {
      if (host.registeredUntil >= 0) this.serve(now, link, frame, headers, host);
      return;
    }
    this.table.hit(now, active, frame.length);
    this.act(now, link, frame, headers, active, host);
  }

  /** A group's frame: each silent host's first rule decides for it. */
  private decideAll(now: number, link: string, frame: Uint8Array, headers: Headers): void {
    const { hosts } = this.hosts;
    if (headers.dstPort === dhcpClientPort) this.learnBroadcastLease(now, frame, headers);
    const isReport = this.answering.mayOverhear(headers, frame);
    let undecided = 0;
    for (const host of hosts) {
      host.isDecided = !isSilent(host) || isAt(frame, 6, host.mac) || isElsewhere(host, link, headers);
      if (host.isDecided) continue;
      undecided++;
      if (isReport) this.answering.overhear(this.question(now, link, frame, headers, host));
    }
    for (let round = 0; undecided > 0 && round < roundsOneByOne; round++) {
      const active = this.table.matcher.match(frame, headers, this.applies);
      undecided = active ? undecided - this.decideBy(now, link, frame, headers, active) : 0;
    }
    if (undecided > 0) this.decideRest(now, link, frame, headers);
    for (const host of hosts)
      if (!host.isDecided && host.registeredUntil >= 0) this.serve(now, link, frame, headers, host);
  }

  /** All rules that are left, found at once: one after the other each would be looked for behind all before it. */
  private decideRest(now: number, link: string, frame: Uint8Array, headers: Headers): void {
    const found: ActiveRule[] = [];
    this.table.matcher.match(frame, headers, active => {
      if (this.isFor(active)) found.push(active);
      return false;
    });
    found.sort((a, b) => compareRules(a.rule, b.rule));
    for (const active of found) this.decideBy(now, link, frame, headers, active);
  }

  /** Decides by the rule for all hosts that it concerns and none before it did; how many. */
  private decideBy(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    active: ActiveRule,
  ): number {
    const { rule } = active;
    const isDropped = rule.action === 'drop';
    const only = rule.host ? this.hosts.find(rule.host, 0) : undefined;
    let count = 0;
    for (const host of only ? [only] : this.hosts.hosts) {
      if (host.isDecided || !this.concerns(active, host)) continue;
      if (count === 0) this.table.hit(now, active, frame.length);
      host.isDecided = true;
      count++;
      if (!isDropped) this.act(now, link, frame, headers, active, host);
    }
    if (isDropped && count > 0) this.drop(active, count);
    return count;
  }

  /** A server answers a client that has no address yet, or tells it no, by broadcast (RFC 2131 §4.1). */
  private learnBroadcastLease(now: number, frame: Uint8Array, headers: Headers): void {
    const at = headers.l4Offset + udpLength + clientMacOffset;
    const host = at + 6 <= frame.length ? this.hosts.find(frame, at) : undefined;
    if (host && this.parts.learning) this.parts.learning.to(now, frame, headers, host.profile);
  }

  /** What a registration asks for where no rule says otherwise: it is answered for, and woken for its services. */
  private serve(now: number, link: string, frame: Uint8Array, headers: Headers, host: Host): void {
    if (isForService(headers, host)) this.wake(now, link, frame, headers, '', host);
    else if (this.answering.whoKnows(headers, frame) !== undefined)
      this.respondAs(now, link, frame, headers, undefined, undefined, host);
  }

  /** Whether the rule decides for the host, or for one of those undecided, that the frame being matched is for. */
  private isFor(active: ActiveRule): boolean {
    if (this.frameTo) return this.concerns(active, this.frameTo);
    if (active.rule.host) {
      const host = this.hosts.find(active.rule.host, 0);
      return host !== undefined && !host.isDecided && this.concerns(active, host);
    }
    for (const host of this.hosts.hosts) if (!host.isDecided && this.concerns(active, host)) return true;
    return false;
  }

  private concerns({ rule }: ActiveRule, host: Host): boolean {
    if (rule.host && !isAt(rule.host, 0, host.mac)) return false;
    if (rule.asked && !this.asked.asksFor(this.frameBytes, this.frameHeaders as Headers, host)) return false;
    if (!rule.registered) return true;
    const { protocol, dstPort } = this.frameHeaders as Headers;
    for (const service of host.ports)
      if (service.protocol === protocol && service.port === dstPort) return true;
    return false;
  }

  private act(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    active: ActiveRule,
    host: Host,
  ): void {
    switch (active.rule.action) {
      case 'drop':
        this.drop(active, 1);
        break;
      case 'respond':
        this.respondAs(now, link, frame, headers, active, active.rule.responder, host);
        break;
      case 'redirect':
        this.redirect(now, link, frame, headers, active, host);
        break;
      case 'wake':
        this.wake(now, link, frame, headers, active.id, host);
        break;
      default:
        unreachable(active.rule.action);
    }
  }

  private drop(active: ActiveRule, hostCount: number): void {
    this.counters.add('frames.dropped', hostCount);
    this.decide('dropped', active.id, '');
  }

  /** `active` is `undefined` where the host's registration decides. */
  private respondAs(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    active: ActiveRule | undefined,
    responder: ResponderName | undefined,
    host: Host,
  ): void {
    const question = this.question(now, link, frame, headers, host);
    const id = active ? active.id : '';
    if (!this.throttle.allows(now, frame)) {
      this.counters.add('frames.limited');
      this.decide('limited', id, 'too many questions of this source');
      return;
    }
    const send = (answer: Uint8Array) => this.context.transmit(link, answer);
    const said = active?.rule.answer
      ? this.answer(question, active.rule.answer, active, host, send)
      : this.answering.respond(responder, question, send);
    if (said === 'answered' || said === 'scheduled') {
      this.throttle.take(frame);
      if (headers.dstPort === mdnsPort) host.isAnnounced = true;
      this.counters.add(said === 'answered' ? 'frames.answered' : 'frames.scheduled');
      this.decide(said, id, '');
      return;
    }
    this.counters.add('frames.unanswerable');
    this.decide('unanswerable', id, said);
  }

  /** As the rule itself describes it. */
  private answer(
    question: Question,
    answer: Answer,
    active: ActiveRule,
    host: Host,
    send: (frame: Uint8Array) => void,
  ): string {
    const { now, headers } = question;
    const datagram = readDatagram(question, headers.dstPort);
    if (!datagram.ok) return datagram.reason;
    const { srcAddress, srcPort, dstAddress, payload } = datagram.value;
    // Between two services a message to and fro would have no end. If their ports differ, it runs out of hops.
    const hops = Math.min(defaultTimeToLive, datagram.value.timeToLive - 1);
    if (srcPort === headers.dstPort || hops < 1) return 'bad-source';
    if (!host.profile.hasAddress(dstAddress, 0, dstAddress.length)) return 'not-ours';
    const out = answerOf(now, answer, stateOf(active), payload, host.profile, now - host.since);
    if (!out) return 'too-short';
    const parts = {
      srcAddress: dstAddress,
      dstAddress: srcAddress,
      srcPort: headers.dstPort,
      dstPort: srcPort,
      timeToLive: hops,
    };
    send(udpFrame(wayBack(question), parts, out));
    return 'answered';
  }

  private redirect(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    active: ActiveRule,
    host: Host,
  ): void {
    const to = active.rule.redirect;
    if (!to) return;
    if (to.kind === 'coordinator' && !this.mayRedirect(now)) {
      this.counters.add('redirects.limited');
      this.decide('limited', active.id, 'too many frames to the coordinator');
      return;
    }
    const copy = new Uint8Array(frame);
    if (to.kind === 'host') {
      if (!takeHop(copy, headers)) {
        this.counters.add('redirects.no-hops');
        this.decide('limited', active.id, 'no IP packet with hops left');
        return;
      }
      const own = this.linkOf(link);
      copy.set(to.mac);
      if (own) copy.set(own.mac, 6);
      this.context.transmit(link, copy);
    } else if (to.kind === 'stub')
      this.context.perform({ kind: 'redirect', stub: to.name, link, frame: copy });
    else {
      const packet = describe(frame, headers);
      this.context.event(now, 'redirect', {
        rule: active.id,
        host: host.name,
        packet,
        // Espruino does not clamp the end of a subarray.
        frame: copy.subarray(0, Math.min(copy.length, maxRedirectedLength)),
      });
    }
    this.counters.add('frames.redirected');
    this.decide('redirected', active.id, to.kind);
  }

  private mayRedirect(now: number): boolean {
    const earned = Math.floor((now - this.redirectedAt) / redirectMs);
    this.redirectedAt += earned * redirectMs;
    this.redirectTokens = Math.min(redirectBurst, this.redirectTokens + earned);
    if (this.redirectTokens === 0) return false;
    this.redirectTokens--;
    return true;
  }

  private wake(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    rule: string,
    host: Host,
  ): void {
    if (host.state === 'waking') {
      this.counters.add('wakes.under-way');
      this.decide('waking', rule, 'under way');
    } else if (this.presence.wake(now, host)) {
      this.decide('waking', rule, '');
      const packet = describe(frame, headers);
      this.context.event(
        now,
        'wake',
        rule === '' ? { host: host.name, packet } : { rule, host: host.name, packet },
      );
    } else {
      this.decide('limited', rule, 'woken too often of late');
      return;
    }
    this.waker.hold(link, frame, host);
  }

  private register(now: number, registration: Registration): boolean {
    // What the host is told to be accepted must outlast a restart: else it is as if it had never asked.
    if (this.context.room() < roomToRegister) return false;
    const host = this.hosts.know(now, registration.mac, 'gone');
    if (!host) return false;
    const { profile } = host;
    host.nameTests = undefined;
    host.link = registration.link;
    host.vlanId = registration.vlanId;
    host.wakeMac = registration.wakeMac;
    host.password = registration.password;
    host.ports = registration.ports;
    profile.ipv4 = [...registration.ipv4];
    profile.ipv6 = [...registration.ipv6];
    profile.names = [...registration.names];
    profile.records = [...registration.records];
    profile.changed();
    host.registeredUntil = registration.untilAt;
    this.saveSleeper(now, host);
    this.registeredUntil = Math.min(this.registeredUntil, registration.untilAt);
    this.presence.leaving(now, host);
    this.context.event(now, 'registered', { host: host.name });
    return true;
  }

  private unregister(now: number, mac: Uint8Array, why: 'expired' | 'withdrawn'): void {
    const host = this.hosts.find(mac, 0);
    if (!host || host.registeredUntil < 0) return;
    this.undoRegistration(host);
    this.dropSleeper(host);
    this.sayGoodbye(host);
    this.context.event(now, 'registration-ended', { host: host.name, text: why });
    this.answering.forget(host.mac);
    this.hosts.sweep();
  }

  /** Whoever heard its multicast DNS records of the proxy is told that they are no more (RFC 6762 §10.1). */
  private sayGoodbye(host: Host): void {
    if (!host.isAnnounced) return;
    host.isAnnounced = false;
    for (const link of this.context.links)
      if (host.link === '' || host.link === link.name)
        for (const frame of mdnsGoodbyes({ link, tags: tagsOf(host) }, host.profile))
          this.context.transmit(link.name, frame);
  }

  /** The host is awake, or gone: what it had registered counts no more. */
  private endRegistration(host: Host): void {
    if (host.registeredUntil < 0) return;
    this.undoRegistration(host);
    this.sleepProxy?.forget(host.mac);
    this.isSweepDue = true;
  }

  /** What it is woken for, and how, is as declared again. */
  private undoRegistration(host: Host): void {
    const declared = this.declarations.inForce(host);
    host.registeredUntil = -1;
    host.ports = declared ? declared.ports : [];
    host.password = declared ? declared.password : new Uint8Array(0);
    host.wakeMac = host.mac;
  }

  /** Nothing is kept for a host that is known no more. */
  private forget(host: Host): void {
    this.waker.release(host, false);
    this.answering.forget(host.mac);
    this.dropSleeper(host);
  }

  private sweep(): void {
    if (this.isSweepDue) this.hosts.sweep();
    this.isSweepDue = false;
  }

  private expireRegistrations(now: number): void {
    this.registeredUntil = never;
    for (const host of [...this.hosts.hosts]) {
      if (host.registeredUntil < 0) continue;
      if (host.registeredUntil <= now) this.unregister(now, host.mac, 'expired');
      else this.registeredUntil = Math.min(this.registeredUntil, host.registeredUntil);
    }
  }

  private saveSleeper(now: number, host: Host): void {
    const bytes = encodeSleeper(now, host);
    const key = sleeperPrefix + host.name;
    if (!bytes || !this.context.save(key, bytes)) return;
    host.isSaved = true;
    this.unerased = this.unerased.filter(other => other !== key);
  }

  private dropSleeper(host: Host): void {
    if (host.isSaved) this.erase(sleeperPrefix + host.name);
    host.isSaved = false;
  }

  private erase(key: string): void {
    if (!this.context.save(key, undefined)) this.unerased = [...this.unerased, key];
  }

  private restoreSleepers(now: number): void {
    for (const key of Object.keys(this.context.saved).sort()) {
      if (key.slice(0, sleeperPrefix.length) !== sleeperPrefix) continue;
      const bytes = this.context.saved[key];
      const mac = sleeperMac(bytes);
      const host =
        mac && (isRegistered(bytes) ? this.hosts.know(now, mac, 'asleep') : this.hosts.find(mac, 0));
      if (!host || key !== sleeperPrefix + host.name || !decodeSleeper(now, bytes, host)) {
        this.erase(key);
        continue;
      }
      host.isSaved = true;
      // A link by another name than before is none: it may sleep on any.
      if (!this.linkOf(host.link)) host.link = '';
      if (isSilent(host)) this.presence.standIn(now, host);
      if (host.registeredUntil < 0) continue;
      this.registeredUntil = Math.min(this.registeredUntil, host.registeredUntil);
      // It registered after it was declared awake, and has not been heard since.
      if (!isSilent(host)) this.presence.ask(now, host);
    }
    this.hosts.sweep();
  }

  /** A timer is due. */
  private fire(now: number, active: ActiveRule): void {
    const { rule } = active;
    this.counters.add('timers.fired');
    this.table.hit(now, active, 0);
    for (const host of this.hosts.hosts) {
      if (rule.host && !isAt(rule.host, 0, host.mac)) continue;
      if (rule.action === 'respond') {
        if (isSilent(host)) this.keep(now, this.keeperOf(rule.responder as ResponderName), host);
      } else if (!isSilent(host)) this.counters.add('wakes.unneeded');
      else if (host.state === 'waking') this.counters.add('wakes.under-way');
      else if (this.presence.wake(now, host))
        this.context.event(now, 'wake', { rule: active.id, host: host.name });
    }
  }

  private keeperOf(name: ResponderName): Keeper {
    // The rule table lets none in force that is not among the parts.
    const make = this.parts.keepers[name] as (limit: number) => Keeper;
    const keeper = this.keepers[name] ?? make(this.context.limits.hosts);
    this.keepers[name] = keeper;
    return keeper;
  }

  private keep(now: number, keeper: Keeper, host: Host): void {
    for (const link of this.context.links) {
      if (host.link !== '' && host.link !== link.name) continue;
      const send = (frame: Uint8Array) => this.context.transmit(link.name, frame);
      const said = keeper(now, { link, vlanId: host.vlanId }, host.profile, send);
      this.counters.add(said === 'sent' ? 'keepers.sent' : 'keepers.idle');
    }
  }

  private question(now: number, link: string, frame: Uint8Array, headers: Headers, host: Host): Question {
    return { now, link: this.linkOf(link) as Link, frame, headers, host: host.profile };
  }

  /** The agent knows the link of every frame it hands to a job. */
  private linkOf(name: string): Link | undefined {
    for (const link of this.context.links) if (link.name === name) return link;
    return undefined;
  }

  private decide(kind: VerdictKind, rule: string, reason: string): void {
    const { verdict } = this;
    if (verdict.kind !== 'host-speaks' && verdictKinds.indexOf(kind) <= verdictKinds.indexOf(verdict.kind))
      return;
    verdict.kind = kind;
    verdict.rule = rule;
    verdict.reason = reason;
  }

  /** Follows the rules: the hosts they name are known, with the addresses the rules say they have. */
  private knowHosts(now: number): void {
    for (const host of this.hosts.hosts) host.isNamed = false;
    for (const { rule } of this.table.matcher.order) {
      if (!rule.host) continue;
      // Until it is heard: whoever writes a rule for a sleeping host may do so while it sleeps.
      const host = this.hosts.know(now, rule.host, 'asleep');
      if (!host) continue;
      host.isNamed = true;
      let isTold = false;
      for (const address of rule.addresses) {
        if (host.profile.hasAddress(address, 0, address.length)) continue;
        host.profile.addAddress(address, 0, address.length);
        isTold = true;
      }
      if (isTold && isSilent(host)) this.presence.standIn(now, host);
    }
    this.hosts.sweep();
  }
}

/** Rules that decide about a frame to a group, each for some hosts, before those that are left are collected. */
const roundsOneByOne = 4;
/** The longest frame that may be readdressed: Ethernet's MTU with two VLAN tags. */
const maxFrameLength = 1514 + 8;
/** What an event has room for (messages.cddl). */
const maxRedirectedLength = 1514;
/** `chaddr` of RFC 2131 §2. */
const clientMacOffset = 28;
/** Effects of a registration that must not fail: what is saved of the host, and no more of one that made room. */
const roomToRegister = 2;

/** Its frames are in another VLAN of the link it was heard by. */
function isElsewhere(host: Host, link: string, { vlanId }: Headers): boolean {
  return host.link === link && Math.max(0, host.vlanId) !== Math.max(0, vlanId);
}

/**
 * What is sent on has a hop less (RFC 1812 §5.3.1, RFC 8200 §3), so that what two redirect to each other comes to an end.
 * False if it is no IP packet, or has none left.
 */
function takeHop(frame: Uint8Array, { network, l3Offset }: Headers): boolean {
  const at = l3Offset + (network === networkIpv4 ? 8 : 7);
  if ((network !== networkIpv4 && network !== networkIpv6) || frame[at] <= 1) return false;
  frame[at]--;
  if (network === networkIpv6) return true;
  writeUint16(frame, l3Offset + 10, 0);
  const end = l3Offset + (frame[l3Offset] & 15) * 4;
  writeUint16(frame, l3Offset + 10, internetChecksum(frame, l3Offset, end));
  return true;
}

function sleepProxyPart({ sleepProxy }: Parts): SleepProxyPart {
  if (!sleepProxy) throw new Error('sleepProxy: expected to be among the parts, got none');
  return sleepProxy;
}

function sleepProxyCounters(parts: Parts): CounterName[] {
  return [...sleepProxyPart(parts).outcomes, 'limited'].map(
    outcome => (sleepProxyPrefix + outcome) as CounterName,
  );
}

/** What the rule's own answer keeps. */
function stateOf(active: ActiveRule): AnswerState {
  active.answerState = active.answerState ?? { count: 0, usedAt: 0 };
  return active.answerState;
}

/** A SYN, or a datagram, to a port where the host offers a service. */
function isForService({ protocol, dstPort, tcpFlags }: Headers, host: Host): boolean {
  for (const service of host.ports)
    if (service.protocol === protocol && service.port === dstPort)
      return protocol !== protocolTcp || (tcpFlags & 0x17) === 0x02;
  return false;
}

/** The packet in words, for the event: `tcp 192.168.1.20:50000 > 192.168.1.10:22 syn`. */
function describe(frame: Uint8Array, headers: Headers): string {
  const { l3Offset, network, protocol, srcPort, dstPort } = headers;
  if (network === networkArp) {
    const sender = formatAddress(frame.subarray(l3Offset + 14, l3Offset + 18));
    const target = formatAddress(frame.subarray(l3Offset + 24, l3Offset + 28));
    return `arp ${sender} > ${target}`;
  }
  const size = network === networkIpv4 ? 4 : network === networkIpv6 ? 16 : 0;
  if (size === 0) return `ethertype 0x${headers.etherType.toString(16)}`;
  const srcAt = l3Offset + (size === 4 ? 12 : 8);
  const src = formatAddress(frame.subarray(srcAt, srcAt + size));
  const dst = formatAddress(frame.subarray(srcAt + size, srcAt + 2 * size));
  if (srcPort < 0) return `protocol ${protocol} ${src} > ${dst}`;
  const flags = protocol === protocolTcp ? ` ${tcpFlagNames(headers.tcpFlags).join(',')}` : '';
  return `${protocol === protocolUdp ? 'udp' : 'tcp'} ${src}:${srcPort} > ${dst}:${dstPort}${flags}`;
}

function isAt(bytes: Uint8Array, at: number, mac: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (bytes[at + i] !== mac[i]) return false;
  return true;
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
