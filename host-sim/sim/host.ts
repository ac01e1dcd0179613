/**
 * A simulated host on IPv4 over Ethernet: enough of one that another host can ask "is your ssh reachable?", and that
 * it can sleep and be woken.
 *
 * It resolves addresses with ARP (RFC 826; retries and ageing RFC 1122 §2.3.2), answers echo (RFC 792), answers a SYN
 * with SYN-ACK or RST (RFC 9293 §3.10.7), and opens connections with the retransmissions of RFC 6298. A connection is
 * only opened, then reset: nothing is transferred. A host that may sleep does so after `idleMs` without anything for it
 * or from it, hears only magic packets for its MAC then, and takes `bootMs` to come back.
 *
 * Bounds: `mostNeighbours` resolved addresses (the oldest goes), `mostConnections` attempts at a time.
 */

import { copyBytes, sameBytes } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { Random } from '../../agent/core/random.js';
import { formatAddress } from '../../agent/wire/address.js';
import { arpReply, arpRequest, parseArp } from '../../agent/wire/arp.js';
import {
  ethernetHeaderLength,
  etherTypeArp,
  etherTypeIpv4,
  parseEthernet,
} from '../../agent/wire/ethernet.js';
import { icmpType, parseIcmp } from '../../agent/wire/icmp.js';
import { parseIpv4, protocolIcmp, protocolTcp } from '../../agent/wire/ipv4.js';
import { parseTcp, type Tcp } from '../../agent/wire/tcp.js';
import { arpFrame, icmpFrame, type Route, tcpFrame, udpFrame } from './frames.js';
import type { EventHandle, Kernel } from './kernel.js';
import type { Attachable, Port, Receiver } from './segment.js';

export interface SleepHabits {
  /** Falls asleep after this long without use, ms. */
  readonly idleMs: number;
  /** From the magic packet until it answers, ms. */
  readonly bootMs: number;
  /** Whether it sleeps at the start. */
  readonly asleep: boolean;
}

export interface HostOptions {
  readonly kernel: Kernel;
  readonly network: Attachable;
  readonly seed: number;
  /** Names the host in reports and its random stream; unique in the world. */
  readonly name: string;
  readonly mac: Uint8Array;
  readonly address: Uint8Array;
  /** TCP ports that answer; others refuse. */
  readonly openPorts?: readonly number[];
  /** Left out: it never sleeps. */
  readonly sleep?: SleepHabits;
}

/** What came of an attempt to connect: `unanswered` also where the address could not be resolved. */
export type ConnectOutcome = 'answered' | 'refused' | 'unanswered';

const hostCounts = [
  'frames.sent',
  'frames.heard',
  'frames.malformed',
  'arp.asked',
  'arp.answered',
  'echo.answered',
  'tcp.asked',
  'tcp.answered',
  'tcp.refused',
  'connections.tried',
  'connections.answered',
  'connections.refused',
  'connections.unanswered',
  'wakes',
] as const;
type HostCount = (typeof hostCounts)[number];

/** What the host knows of a neighbour's MAC address. */
type Neighbour =
  | { readonly kind: 'known'; readonly mac: Uint8Array; readonly until: number }
  /** `ports` are of the attempts that wait for the answer. */
  | { readonly kind: 'asked'; readonly asks: number; readonly ports: readonly number[] };

interface Attempt {
  readonly address: Uint8Array;
  readonly dstPort: number;
  readonly sequenceNumber: number;
  readonly done: (outcome: ConnectOutcome) => void;
  /** The next SYN or the end of the attempt. */
  retry: EventHandle;
}

const arpRetryMs = 1_000;
const mostArpAsks = 3;
/** How long an answer is believed; Linux's base reachable time is 30 s, and older stacks take a minute. */
const neighbourMs = 60_000;
const mostNeighbours = 256;
const mostConnections = 256;
/** RFC 6298 §2.1, doubled each time (§5.5): SYNs at 0, 1, 3 and 7 s. */
const synRetryMs = 1_000;
const mostSyns = 4;
/** Gives up this long after the last SYN: ten seconds after the first, as `ssh -o ConnectTimeout=10`. */
const lastSynMs = 3_000;
/** RFC 5227 §1.1: ANNOUNCE_NUM and ANNOUNCE_INTERVAL. */
const announcements = 2;
const announceMs = 2_000;
const firstEphemeralPort = 49_152;
/** Synchronisation bytes and sixteen MACs (AMD, Magic Packet Technology, 1995). */
const magicLength = 6 + 16 * 6;

const syn = 2;
const rst = 4;
const ack = 16;

const broadcastMac = new Uint8Array(6).fill(0xff);
const unknownMac = new Uint8Array(6);

export class Host implements Receiver {
  readonly counters = new Counters<HostCount>(hostCounts);
  readonly name: string;
  readonly mac: Uint8Array;
  readonly address: Uint8Array;
  private readonly kernel: Kernel;
  private readonly port: Port;
  private readonly random: Random;
  private readonly openPorts: readonly number[];
  private readonly sleep: SleepHabits | undefined;
  private readonly neighbours = new Map<string, Neighbour>();
  private readonly attempts = new Map<number, Attempt>();
  private readonly bornAt: number;
  private power: 'awake' | 'asleep' | 'waking' = 'awake';
  private awakeSince: number;
  private awakeBeforeMs = 0;
  private usedAt: number;
  private lastPort: number;

  constructor(options: HostOptions) {
    this.kernel = options.kernel;
    this.name = options.name;
    this.mac = options.mac;
    this.address = options.address;
    this.openPorts = options.openPorts ?? [];
    this.sleep = options.sleep;
    this.random = new Random(options.seed, `host ${options.name}`);
    this.lastPort = firstEphemeralPort + this.random.below(10_000);
    this.bornAt = this.awakeSince = this.usedAt = this.kernel.now;
    this.port = options.network.attach(this);
    if (options.sleep?.asleep) this.power = 'asleep';
    else this.watchIdleness();
  }

  get awake(): boolean {
    return this.power === 'awake';
  }

  /** Whole milliseconds awake, and asleep or booting, since it was made. */
  times(): { readonly awakeMs: number; readonly asleepMs: number } {
    const { now } = this.kernel;
    const awakeMs = this.awakeBeforeMs + (this.awake ? now - this.awakeSince : 0);
    return { awakeMs: Math.round(awakeMs), asleepMs: Math.round(now - this.bornAt - awakeMs) };
  }

  receive(_now: number, bytes: Uint8Array): void {
    if (this.power === 'waking' || !this.isForUs(bytes)) return;
    if (this.power === 'asleep') {
      if (this.isMagic(bytes)) this.wake();
      return;
    }
    this.counters.add('frames.heard');
    const frame = parseEthernet(bytes, 0, bytes.length);
    if (!frame.ok) {
      this.counters.add('frames.malformed');
      return;
    }
    const { etherType, srcMac, payload } = frame.value;
    if (etherType === etherTypeArp) this.receiveArp(payload);
    else if (etherType === etherTypeIpv4) this.receiveIpv4(srcMac, payload);
  }

  /**
   * Tries to open a TCP connection and calls `done` with what came of it, at most 13 s later. False, and nothing
   * tried, if the host is not awake or has `mostConnections` under way.
   */
  connect(address: Uint8Array, dstPort: number, done: (outcome: ConnectOutcome) => void): boolean {
    if (!this.awake || this.attempts.size >= mostConnections) return false;
    this.usedAt = this.kernel.now;
    this.counters.add('connections.tried');
    const srcPort = this.takePort();
    const attempt = { address, dstPort, sequenceNumber: this.random.uint32(), done, retry: 0 };
    this.attempts.set(srcPort, attempt);
    const mac = this.macOf(address);
    if (mac) this.sendSyn(mac, srcPort, 1);
    else this.resolve(address, srcPort);
    return true;
  }

  /** Sends a UDP datagram to an IPv4 multicast group (its MAC: RFC 1112 §6.4); nothing if the host is not awake. */
  multicast(group: Uint8Array, port: number, payload: Uint8Array): void {
    if (!this.awake) return;
    const dstMac = new Uint8Array([0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]]);
    this.send(udpFrame(this.routeTo(dstMac, group), { srcPort: port, dstPort: port }, payload));
  }

  private receiveArp(payload: Uint8Array): void {
    const parsed = parseArp(payload, 0, payload.length);
    if (!parsed.ok) {
      this.counters.add('frames.malformed');
      return;
    }
    const { operation, senderMac, senderAddress, targetAddress } = parsed.value;
    const key = formatAddress(senderAddress);
    const forUs = sameBytes(targetAddress, this.address);
    // RFC 826: an entry that is there is refreshed by any ARP packet, a new one only by a packet for this host.
    const neighbour = this.neighbours.get(key);
    if (neighbour || forUs) this.learn(key, copyBytes(senderMac, 0, 6));
    if (!forUs || operation !== arpRequest) return;
    this.counters.add('arp.answered');
    this.sendArp(copyBytes(senderMac, 0, 6), arpReply, senderMac, senderAddress);
  }

  private receiveIpv4(srcMac: Uint8Array, payload: Uint8Array): void {
    const packet = parseIpv4(payload, 0, payload.length);
    if (!packet.ok) {
      this.counters.add('frames.malformed');
      return;
    }
    const { srcAddress, dstAddress, protocol, payload: body } = packet.value;
    if (!sameBytes(dstAddress, this.address)) return;
    const route = this.routeTo(srcMac, srcAddress);
    if (protocol === protocolIcmp) {
      const message = parseIcmp(body, 0, body.length);
      if (!message.ok) {
        this.counters.add('frames.malformed');
        return;
      }
      if (message.value.type !== icmpType.echo) return;
      this.usedAt = this.kernel.now;
      this.counters.add('echo.answered');
      const { rest, payload: data } = message.value;
      this.send(icmpFrame(route, { type: icmpType.echoReply, code: 0, rest }, data));
    } else if (protocol === protocolTcp) {
      const segment = parseTcp(body, 0, body.length, packet.value);
      if (!segment.ok) {
        this.counters.add('frames.malformed');
        return;
      }
      if ((segment.value.flags & (syn | ack | rst)) === syn) this.receiveSyn(route, segment.value);
      else this.receiveAnswer(route, segment.value);
    }
  }

  /** Another host opens a connection. */
  private receiveSyn(route: Route, { srcPort, dstPort, sequenceNumber }: Tcp): void {
    this.usedAt = this.kernel.now;
    this.counters.add('tcp.asked');
    const isOpen = this.openPorts.includes(dstPort);
    this.counters.add(isOpen ? 'tcp.answered' : 'tcp.refused');
    this.sendTcp(route, {
      srcPort: dstPort,
      dstPort: srcPort,
      sequenceNumber: isOpen ? this.random.uint32() : 0,
      acknowledgmentNumber: (sequenceNumber + 1) >>> 0,
      flags: isOpen ? syn | ack : rst | ack,
    });
  }

  /** What may answer a SYN of ours: SYN-ACK or RST that acknowledges it. */
  private receiveAnswer(route: Route, segment: Tcp): void {
    const attempt = this.attempts.get(segment.dstPort);
    if (!attempt || attempt.dstPort !== segment.srcPort || !sameBytes(attempt.address, route.dstAddress))
      return;
    const next = (attempt.sequenceNumber + 1) >>> 0;
    if (!(segment.flags & ack) || segment.acknowledgmentNumber !== next) return;
    if (segment.flags & rst) {
      this.finish(segment.dstPort, 'refused');
      return;
    }
    if (!(segment.flags & syn)) return;
    const answer = {
      srcPort: segment.dstPort,
      dstPort: segment.srcPort,
      sequenceNumber: next,
      acknowledgmentNumber: (segment.sequenceNumber + 1) >>> 0,
    };
    this.sendTcp(route, { ...answer, flags: ack });
    this.sendTcp(route, { ...answer, flags: rst | ack });
    this.finish(segment.dstPort, 'answered');
  }

  private sendSyn(dstMac: Uint8Array, srcPort: number, count: number): void {
    const attempt = this.attempts.get(srcPort);
    if (!attempt) return;
    const { address, dstPort, sequenceNumber } = attempt;
    const header = { srcPort, dstPort, sequenceNumber, acknowledgmentNumber: 0, flags: syn };
    this.sendTcp(this.routeTo(dstMac, address), header);
    const isLast = count === mostSyns;
    attempt.retry = this.after(isLast ? lastSynMs : synRetryMs * 2 ** (count - 1), () => {
      if (isLast) this.finish(srcPort, 'unanswered');
      else this.sendSyn(dstMac, srcPort, count + 1);
    });
  }

  private finish(srcPort: number, outcome: ConnectOutcome): void {
    const attempt = this.attempts.get(srcPort);
    if (!attempt) return;
    this.attempts.delete(srcPort);
    this.kernel.cancel(attempt.retry);
    this.counters.add(`connections.${outcome}`);
    attempt.done(outcome);
  }

  private takePort(): number {
    do this.lastPort = this.lastPort === 65_535 ? firstEphemeralPort : this.lastPort + 1;
    while (this.attempts.has(this.lastPort));
    return this.lastPort;
  }

  /** The MAC of a neighbour that answered not too long ago. */
  private macOf(address: Uint8Array): Uint8Array | undefined {
    const neighbour = this.neighbours.get(formatAddress(address));
    return neighbour?.kind === 'known' && neighbour.until > this.kernel.now ? neighbour.mac : undefined;
  }

  /** Asks for the MAC of `address`, on behalf of the attempt at `srcPort`. */
  private resolve(address: Uint8Array, srcPort: number): void {
    const key = formatAddress(address);
    const neighbour = this.neighbours.get(key);
    const underWay = neighbour?.kind === 'asked';
    this.remember(key, {
      kind: 'asked',
      asks: underWay ? neighbour.asks : 0,
      ports: underWay ? [...neighbour.ports, srcPort] : [srcPort],
    });
    if (!underWay) this.ask(key, address);
  }

  private ask(key: string, address: Uint8Array): void {
    const neighbour = this.neighbours.get(key);
    if (neighbour?.kind !== 'asked') return;
    if (neighbour.asks === mostArpAsks) {
      this.neighbours.delete(key);
      for (const port of neighbour.ports) this.finish(port, 'unanswered');
      return;
    }
    this.neighbours.set(key, { ...neighbour, asks: neighbour.asks + 1 });
    this.counters.add('arp.asked');
    this.sendArp(broadcastMac, arpRequest, unknownMac, address);
    this.after(arpRetryMs, () => this.ask(key, address));
  }

  private learn(key: string, mac: Uint8Array): void {
    const neighbour = this.neighbours.get(key);
    this.remember(key, { kind: 'known', mac, until: this.kernel.now + neighbourMs });
    if (neighbour?.kind === 'asked') for (const port of neighbour.ports) this.sendSyn(mac, port, 1);
  }

  private remember(key: string, neighbour: Neighbour): void {
    this.neighbours.set(key, neighbour);
    if (this.neighbours.size <= mostNeighbours) return;
    for (const [oldest, { kind }] of this.neighbours) {
      if (kind !== 'known') continue;
      this.neighbours.delete(oldest);
      return;
    }
  }

  private isForUs(bytes: Uint8Array): boolean {
    if ((bytes[0] & 1) === 1) return true;
    for (let i = 0; i < 6; i++) if (bytes[i] !== this.mac[i]) return false;
    return true;
  }

  /** A network card looks for six times ff and sixteen times its MAC anywhere in the frame, whatever the protocol. */
  private isMagic(bytes: Uint8Array): boolean {
    for (let at = ethernetHeaderLength; at + magicLength <= bytes.length; at++) {
      let i = 0;
      while (i < magicLength && bytes[at + i] === (i < 6 ? 0xff : this.mac[i % 6])) i++;
      if (i === magicLength) return true;
    }
    return false;
  }

  private wake(): void {
    if (!this.sleep) return;
    this.power = 'waking';
    this.counters.add('wakes');
    this.after(this.sleep.bootMs, () => {
      this.power = 'awake';
      this.awakeSince = this.usedAt = this.kernel.now;
      this.watchIdleness();
      this.announce(announcements);
    });
  }

  /** Falls asleep once it has not been used for its time. */
  private watchIdleness(): void {
    if (!this.sleep) return;
    const idleAt = this.usedAt + this.sleep.idleMs;
    this.kernel.schedule(idleAt, caller, () => {
      if (this.usedAt + (this.sleep as SleepHabits).idleMs > this.kernel.now) {
        this.watchIdleness();
        return;
      }
      this.power = 'asleep';
      this.awakeBeforeMs += this.kernel.now - this.awakeSince;
      for (const port of [...this.attempts.keys()]) this.finish(port, 'unanswered');
    });
  }

  /** RFC 5227 §2.3: says that the address is this host's. */
  private announce(count: number): void {
    if (!this.awake) return;
    this.sendArp(broadcastMac, arpRequest, unknownMac, this.address);
    if (count > 1) this.after(announceMs, () => this.announce(count - 1));
  }

  private routeTo(dstMac: Uint8Array, dstAddress: Uint8Array): Route {
    return { srcMac: this.mac, dstMac, srcAddress: this.address, dstAddress };
  }

  private sendArp(
    dstMac: Uint8Array,
    operation: number,
    targetMac: Uint8Array,
    targetAddress: Uint8Array,
  ): void {
    const { mac: senderMac, address: senderAddress } = this;
    this.send(arpFrame(dstMac, { operation, senderMac, senderAddress, targetMac, targetAddress }));
  }

  private sendTcp(route: Route, header: Parameters<typeof tcpFrame>[1]): void {
    this.send(tcpFrame(route, header));
  }

  private send(frame: Uint8Array): void {
    this.counters.add('frames.sent');
    this.port.send(frame);
  }

  private after(delayMs: number, action: () => void): EventHandle {
    return this.kernel.schedule(this.kernel.now + delayMs, caller, action);
  }
}

const caller = { fire: (_now: number, action: () => void) => action() };
