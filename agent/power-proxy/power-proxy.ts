/**
 * The power proxy: stands in for sleeping hosts. The first of the rules in force, in their order, that a frame matches
 * decides: drop it, wake the host, or answer in its place (Nedevschi et al., NSDI 2009, §5). Timers wake hosts for what
 * they have to do while nobody asks (the paper's scheduled tasks).
 *
 * A rule with a host applies to frames for that host (its MAC, broadcast or multicast) while the host is silent; the
 * proxy lets go the moment the host speaks. Answers go to requests only, never to an answer.
 */

import { Counters } from '../core/counters.js';
import type { Job, JobContext, JobFactory } from '../job.js';
import { formatAddress } from '../wire/address.js';
import { emitEthernet, ethernetLength } from '../wire/ethernet.js';
import { type Headers, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { tcpFlagNames } from '../wire/tcp.js';
import { emitWakeOnLan, wakeOnLanEtherType, wakeOnLanLength } from '../wire/wol.js';
import { type Host, HostTable, isSilent } from './host-table.js';
import { respondArp } from './respond/arp.js';
import type { Responder, Served } from './responder.js';
import type { ResponderName } from './rule.js';
import { type ActiveRule, type RuleCounter, RuleTable } from './rule-table.js';

/** A magic packet is repeated at this span until the host is heard, for a frame may be lost while the link comes up. */
const wakeRepeatMs = 3_000;
/** After this the host counts as asleep again and the next matching frame starts over. A cold boot takes about so long. */
const wakeGiveUpMs = 45_000;

/** What answers, by the name a rule gives it. */
const responders: { readonly [name in ResponderName]: Responder } = { arp: respondArp };

/** In the place of a link's name: all of them. A timer does not know by which one the host is reached. */
const everyLink = '';

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
  'frames.unanswerable',
  'timers.fired',
  'wakes.started',
  'wakes.unneeded',
  'wakes.under-way',
  'wakes.heard',
  'wakes.given-up',
  'wakes.packets',
] as const;
type CounterName = (typeof counterNames)[number];

export const powerProxy: JobFactory = (now, context) => new PowerProxy(now, context);

class PowerProxy implements Job {
  readonly name = 'power-proxy';
  readonly counters = new Counters<CounterName>(counterNames);
  private readonly context: JobContext;
  private readonly table: RuleTable;
  private readonly hosts: HostTable;
  /** While a frame is matched: when it came. */
  private frameAt = 0;
  private readonly applies: (active: ActiveRule) => boolean;

  constructor(now: number, context: JobContext) {
    this.context = context;
    this.table = new RuleTable(now, context, this.counters as Counters<RuleCounter>);
    this.hosts = new HostTable(context.limits.hosts);
    this.applies = active => this.isForSleeper(active);
    this.knowHosts();
  }

  rule(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    this.table.put(now, id, payload, retained);
    this.knowHosts();
  }

  rules(): { readonly count: number; readonly digest: string } {
    return { count: this.table.matcher.order.length, digest: this.table.digest };
  }

  online(now: number): void {
    this.table.reportAll(now);
  }

  frame(now: number, link: string, frame: Uint8Array, headers: Headers): void {
    this.frameAt = now;
    const sender = this.hosts.find(frame, 6);
    if (sender) this.heard(now, sender);
    const active = this.table.matcher.match(frame, headers, this.applies);
    if (!active) {
      this.counters.add('frames.unmatched');
      return;
    }
    this.table.hit(now, active, frame.length);
    this.act(now, link, frame, headers, active);
  }

  poll(now: number): void {
    for (const host of this.hosts.hosts) {
      if (host.state.kind !== 'waking' || now < Math.min(host.state.nextAt, host.state.giveUpAt)) continue;
      if (now >= host.state.giveUpAt) {
        this.counters.add('wakes.given-up');
        host.state = { kind: 'asleep' };
        this.context.event(now, 'wake-failed', {
          host: host.name,
          text: `not heard for ${wakeGiveUpMs / 1000} s`,
        });
      } else {
        this.sendMagic(host.state.link, host);
        host.state = { ...host.state, nextAt: now + wakeRepeatMs };
      }
    }
    for (const active of this.table.takeDue(now)) {
      const host = this.hosts.find(active.rule.host as Uint8Array, 0);
      this.counters.add('timers.fired');
      this.table.hit(now, active, 0);
      if (host && isSilent(host, now)) this.wake(now, everyLink, active, host, undefined);
      else this.counters.add('wakes.unneeded');
    }
    this.table.poll(now);
  }

  pollAt(): number {
    let at = this.table.pollAt();
    for (const host of this.hosts.hosts) {
      if (host.state.kind === 'waking') at = Math.min(at, host.state.nextAt, host.state.giveUpAt);
    }
    return at;
  }

  /** Whether the frame being matched is the rule's to decide: of a rule with a host, while that is silent. */
  private isForSleeper({ rule }: ActiveRule): boolean {
    if (!rule.host) return true;
    const host = this.hosts.find(rule.host, 0);
    return host !== undefined && isSilent(host, this.frameAt);
  }

  private act(now: number, link: string, frame: Uint8Array, headers: Headers, active: ActiveRule): void {
    const { rule } = active;
    switch (rule.action) {
      case 'drop':
        this.counters.add('frames.dropped');
        break;
      case 'respond':
        this.respond(now, link, frame, headers, active);
        break;
      case 'wake':
        this.wake(
          now,
          link,
          active,
          this.hosts.find(rule.host as Uint8Array, 0) as Host,
          describe(frame, headers),
        );
        break;
      default:
        unreachable(rule.action);
    }
  }

  private respond(now: number, name: string, frame: Uint8Array, headers: Headers, active: ActiveRule): void {
    const link = this.context.links.find(known => known.name === name);
    const respond = responders[active.rule.responder as ResponderName];
    const host = active.rule.served as Served;
    const send = (answer: Uint8Array) => this.context.transmit(name, answer);
    const isAnswered = link && respond({ now, link, frame, headers, host }, send) === 'answered';
    this.counters.add(isAnswered ? 'frames.answered' : 'frames.unanswerable');
  }

  /** `packet`: what for, in words; a timer has none. */
  private wake(now: number, link: string, active: ActiveRule, host: Host, packet: string | undefined): void {
    if (host.state.kind === 'waking') {
      this.counters.add('wakes.under-way');
      return;
    }
    this.counters.add('wakes.started');
    this.sendMagic(link, host);
    host.state = { kind: 'waking', link, nextAt: now + wakeRepeatMs, giveUpAt: now + wakeGiveUpMs };
    const event = { rule: active.id, host: host.name };
    this.context.event(now, 'wake', packet === undefined ? event : { ...event, packet });
  }

  private heard(now: number, host: Host): void {
    if (host.state.kind === 'waking') {
      this.counters.add('wakes.heard');
      this.context.event(now, 'awake', { host: host.name });
    }
    host.state = { kind: 'awake', heardAt: now };
  }

  private sendMagic(link: string, host: Host): void {
    const wake = { targetMac: host.mac, password: new Uint8Array(0) };
    for (const { name, mac } of this.context.links) {
      if (link !== everyLink && link !== name) continue;
      this.counters.add('wakes.packets');
      const header = { dstMac: broadcastMac(), srcMac: mac, tags: [], etherType: wakeOnLanEtherType };
      const out = new Uint8Array(ethernetLength(header) + wakeOnLanLength(wake));
      const at = emitEthernet(header, wakeOnLanLength(wake), out, 0);
      emitWakeOnLan(wake, out, at);
      this.context.transmit(name, out);
    }
  }

  /** Follows the rules: hosts that one names are known, the others forgotten. */
  private knowHosts(): void {
    const wanted: { [mac: string]: boolean } = {};
    for (const { rule } of this.table.matcher.order) {
      if (!rule.host || wanted[rule.hostName]) continue;
      wanted[rule.hostName] = true;
      this.hosts.know(rule.host);
    }
    this.hosts.keep(host => wanted[host.name]);
  }
}

/** The packet in words, for the event: `tcp 192.168.1.20:50000 > 192.168.1.10:22 syn`. */
function describe(frame: Uint8Array, headers: Headers): string {
  const { l3Offset, network, protocol, srcPort, dstPort } = headers;
  const size = network === networkIpv4 ? 4 : network === networkIpv6 ? 16 : 0;
  if (size === 0) return `ethertype 0x${headers.etherType.toString(16)}`;
  const srcAt = l3Offset + (size === 4 ? 12 : 8);
  const src = formatAddress(frame.subarray(srcAt, srcAt + size));
  const dst = formatAddress(frame.subarray(srcAt + size, srcAt + 2 * size));
  if (srcPort < 0) return `protocol ${protocol} ${src} > ${dst}`;
  const flags = protocol === 6 ? ` ${tcpFlagNames(headers.tcpFlags).join(',')}` : '';
  return `${protocol === 6 ? 'tcp' : 'udp'} ${src}:${srcPort} > ${dst}:${dstPort}${flags}`;
}

function broadcastMac(): Uint8Array {
  return new Uint8Array(6).fill(0xff);
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
