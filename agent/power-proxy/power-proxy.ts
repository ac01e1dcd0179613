/**
 * The power proxy: stands in for sleeping hosts. Each frame is held against the rules in force in their order; the
 * first that matches decides: drop it, wake the host, or answer in its place (Nedevschi et al., NSDI 2009, §5).
 *
 * A rule with a host applies to frames for that host (its MAC, broadcast or multicast) while the host is silent; the
 * proxy lets go the moment the host speaks. Answers go to requests only, never to an answer.
 */

import { sameBytes } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import type { Job, JobContext, JobFactory } from '../job.js';
import { formatAddress } from '../wire/address.js';
import { arpLength, arpReply, arpRequest, emitArp, parseArp } from '../wire/arp.js';
import { emitEthernet, ethernetLength, etherTypeArp, parseEthernet } from '../wire/ethernet.js';
import { type Headers, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { tcpFlagNames } from '../wire/tcp.js';
import { emitWakeOnLan, wakeOnLanEtherType, wakeOnLanLength } from '../wire/wol.js';
import { type Host, HostTable, isSilent } from './host-table.js';
import { matches } from './rule.js';
import { type ActiveRule, type RuleCounter, RuleTable } from './rule-table.js';

/** A magic packet is repeated at this span until the host is heard, for a frame may be lost while the link comes up. */
const wakeRepeatMs = 3_000;
/** After this the host counts as asleep again and the next matching frame starts over. A cold boot takes about so long. */
const wakeGiveUpMs = 45_000;

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
  'wakes.started',
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

  constructor(now: number, context: JobContext) {
    this.context = context;
    this.table = new RuleTable(now, context, this.counters as Counters<RuleCounter>);
    this.hosts = new HostTable(context.limits.hosts);
    this.knowHosts();
  }

  rule(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    this.table.put(now, id, payload, retained);
    this.knowHosts();
  }

  rules(): { readonly count: number; readonly digest: string } {
    return { count: this.table.order.length, digest: this.table.digest };
  }

  online(now: number): void {
    this.table.reportAll(now);
  }

  frame(now: number, link: string, frame: Uint8Array, headers: Headers): void {
    const sender = this.hosts.find(frame, 6);
    if (sender) this.heard(now, sender);
    for (const active of this.table.order) {
      const host = active.rule.host ? this.hosts.find(active.rule.host, 0) : undefined;
      if (active.rule.host && !(host && host !== sender && isSilent(host, now) && isFor(frame, host)))
        continue;
      if (!matches(active.rule, frame, headers)) continue;
      this.table.hit(now, active, frame.length);
      this.act(now, link, frame, headers, active, host);
      return;
    }
    this.counters.add('frames.unmatched');
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
    this.table.poll(now);
  }

  pollAt(): number {
    let at = this.table.pollAt();
    for (const host of this.hosts.hosts) {
      if (host.state.kind === 'waking') at = Math.min(at, host.state.nextAt, host.state.giveUpAt);
    }
    return at;
  }

  private act(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    active: ActiveRule,
    host: Host | undefined,
  ): void {
    switch (active.action) {
      case 'drop':
        this.counters.add('frames.dropped');
        break;
      case 'respond':
        this.answerArp(link, frame, headers, host as Host);
        break;
      case 'wake':
        this.wake(now, link, frame, headers, active, host as Host);
        break;
      default:
        unreachable(active.action);
    }
  }

  private wake(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    active: ActiveRule,
    host: Host,
  ): void {
    if (host.state.kind === 'waking') {
      this.counters.add('wakes.under-way');
      return;
    }
    this.counters.add('wakes.started');
    this.sendMagic(link, host);
    host.state = { kind: 'waking', link, nextAt: now + wakeRepeatMs, giveUpAt: now + wakeGiveUpMs };
    this.context.event(now, 'wake', { rule: active.id, host: host.name, packet: describe(frame, headers) });
  }

  private heard(now: number, host: Host): void {
    if (host.state.kind === 'waking') {
      this.counters.add('wakes.heard');
      this.context.event(now, 'awake', { host: host.name });
    }
    host.state = { kind: 'awake', heardAt: now };
  }

  private sendMagic(link: string, host: Host): void {
    const from = this.context.links.find(known => known.name === link);
    if (!from) return;
    this.counters.add('wakes.packets');
    const wake = { targetMac: host.mac, password: new Uint8Array(0) };
    const header = { dstMac: broadcastMac(), srcMac: from.mac, tags: [], etherType: wakeOnLanEtherType };
    const out = new Uint8Array(ethernetLength(header) + wakeOnLanLength(wake));
    const at = emitEthernet(header, wakeOnLanLength(wake), out, 0);
    emitWakeOnLan(wake, out, at);
    this.context.transmit(link, out);
  }

  /** RFC 826: the host's own MAC is the answer, so that frames for it go on reaching this segment. */
  private answerArp(link: string, frame: Uint8Array, headers: Headers, host: Host): void {
    const from = this.context.links.find(known => known.name === link);
    const asked = parseEthernet(frame, 0, frame.length);
    const question = parseArp(frame, headers.l3Offset, frame.length);
    if (!from || !asked.ok || !question.ok || question.value.operation !== arpRequest) {
      this.counters.add('frames.unanswerable');
      return;
    }
    const { senderMac, senderAddress, targetAddress } = question.value;
    const header = { dstMac: senderMac, srcMac: from.mac, tags: asked.value.tags, etherType: etherTypeArp };
    const out = new Uint8Array(ethernetLength(header) + arpLength);
    const at = emitEthernet(header, arpLength, out, 0);
    const answer = {
      operation: arpReply,
      senderMac: host.mac,
      senderAddress: targetAddress,
      targetMac: senderMac,
      targetAddress: senderAddress,
    };
    emitArp(answer, out, at);
    this.counters.add('frames.answered');
    this.context.transmit(link, out);
  }

  /** Follows the rules: hosts that one names are known, the others forgotten. */
  private knowHosts(): void {
    const { order } = this.table;
    for (const { rule } of order) if (rule.host) this.hosts.know(rule.host);
    this.hosts.keep(host => order.some(({ rule }) => rule.host && sameBytes(rule.host, host.mac)));
  }
}

/** Whether a frame is for the host: to its MAC, or to a group (the lowest bit of the first byte, IEEE 802 §8.2). */
function isFor(frame: Uint8Array, host: Host): boolean {
  if ((frame[0] & 1) === 1) return true;
  for (let i = 0; i < 6; i++) if (frame[i] !== host.mac[i]) return false;
  return true;
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
