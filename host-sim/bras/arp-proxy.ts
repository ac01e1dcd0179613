/**
 * The IP side of the BRAS as an Ethernet: ARP requests for subscribers' addresses are answered with the BRAS's own MAC (proxy
 * ARP, RFC 1027 §2; the seed, §3.2.2.2), and one gateway is resolved as the next hop of all that subscribers send.
 *
 * It says nothing of addresses without a session, so that packets to them end at the router. A probe for a subscriber's address
 * (RFC 5227 §2.1.1) is answered too, which keeps the address for him; an announcement of it is counted as a conflict.
 * Nothing is queued for a gateway not resolved: such packets are dropped and counted. IPv6 goes to the same gateway's MAC, which
 * must hold a static route and neighbour for the prefixes; neighbour solicitations are not answered here.
 */

import { readUint16, readUint32, writeBytes, writeUint16 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { type Arp, arpLength, arpReply, arpRequest, emitArp, parseArp } from '../../agent/wire/arp.js';
import {
  ethernetHeaderLength,
  etherTypeArp,
  etherTypeIpv4,
  etherTypeIpv6,
} from '../../agent/wire/ethernet.js';
import { ipv4Bytes } from './address-pool.js';

export interface ArpProxyOptions {
  readonly mac: Uint8Array;
  /** The BRAS's own on that side, and the router's there; 32-bit numbers. */
  readonly address: number;
  readonly gateway: number;
  /** Whether a session has this address. */
  readonly isSubscriber: (address: number) => boolean;
  readonly send: (frame: Uint8Array) => void;
}

export type ArpProxyCount =
  | 'answered'
  | 'conflict'
  | 'not-ours'
  | 'malformed'
  | 'unresolved'
  | 'gateway-lost';

/** RFC 1122 §2.3.2.1: at most one request a second a destination. */
const retryMs = 1_000;
/** RFC 1122 §2.3.2.1 suggests a minute: how long an answer is believed without another. */
const freshMs = 60_000;
/** How long before that the next question goes out. */
const renewMs = 10_000;
const shortestFrame = 60;

export class ArpProxy {
  readonly counters = new Counters<ArpProxyCount>([
    'answered',
    'conflict',
    'not-ours',
    'malformed',
    'unresolved',
    'gateway-lost',
  ]);
  private readonly options: ArpProxyOptions;
  private readonly gatewayMac = new Uint8Array(6);
  private staleAt = -1;
  private askAt = 0;

  constructor(options: ArpProxyOptions) {
    if (options.mac.length !== 6) throw new Error(`mac: expected 6 bytes, got ${options.mac.length}`);
    this.options = options;
  }

  /** Where the IP packet in the frame begins; 0 if there is none for us, or it was ARP and is dealt with. */
  receive(now: number, frame: Uint8Array, start: number, end: number): number {
    const at = start + ethernetHeaderLength;
    if (end <= at) return this.drop('malformed');
    const isGroup = (frame[start] & 1) === 1;
    if (!isGroup && !this.isOwn(frame, start)) return this.drop('not-ours');
    const etherType = readUint16(frame, at - 2);
    if (etherType === etherTypeIpv4 || etherType === etherTypeIpv6) return at;
    if (etherType !== etherTypeArp) return this.drop('not-ours');
    const arp = parseArp(frame, at, end);
    if (!arp.ok) return this.drop('malformed');
    this.hear(now, arp.value);
    return 0;
  }

  /**
   * Writes the Ethernet header before the IP packet at `ipAt` (14 bytes of headroom); returns where the frame begins, −1 if
   * the gateway is not resolved.
   */
  address(now: number, bytes: Uint8Array, ipAt: number): number {
    if (now >= this.staleAt) {
      this.counters.add('unresolved');
      return -1;
    }
    const start = ipAt - ethernetHeaderLength;
    let at = writeBytes(bytes, start, this.gatewayMac);
    at = writeBytes(bytes, at, this.options.mac);
    writeUint16(bytes, at, bytes[ipAt] >>> 4 === 6 ? etherTypeIpv6 : etherTypeIpv4);
    return start;
  }

  poll(now: number): void {
    if (now < this.askAt) return;
    this.askAt = now + retryMs;
    if (this.staleAt >= 0 && now >= this.staleAt) {
      this.staleAt = -1;
      this.counters.add('gateway-lost');
    }
    const { mac, address, gateway } = this.options;
    this.say({
      operation: arpRequest,
      senderMac: mac,
      senderAddress: ipv4Bytes(address),
      targetMac: new Uint8Array(6),
      targetAddress: ipv4Bytes(gateway),
    });
  }

  pollAt(): number {
    return this.askAt;
  }

  private hear(now: number, arp: Arp): void {
    const { mac, address, gateway, isSubscriber } = this.options;
    const sender = readUint32(arp.senderAddress, 0);
    const target = readUint32(arp.targetAddress, 0);
    if (sender !== 0 && (isSubscriber(sender) || sender === address)) {
      this.counters.add('conflict');
      return;
    }
    // RFC 826: whoever speaks shows his address; a request of the gateway's does as well as its reply.
    if (sender === gateway && (arp.senderMac[0] & 1) === 0) {
      this.gatewayMac.set(arp.senderMac);
      this.staleAt = now + freshMs;
      this.askAt = now + freshMs - renewMs;
    }
    if (arp.operation !== arpRequest || sender === target) return;
    if (target !== address && !isSubscriber(target)) {
      this.counters.add('not-ours');
      return;
    }
    this.counters.add('answered');
    this.say({
      operation: arpReply,
      senderMac: mac,
      senderAddress: arp.targetAddress,
      targetMac: arp.senderMac,
      targetAddress: arp.senderAddress,
    });
  }

  private say(arp: Arp): void {
    const frame = new Uint8Array(Math.max(shortestFrame, ethernetHeaderLength + arpLength));
    frame.fill(0xff, 0, 6);
    if (arp.operation === arpReply) frame.set(arp.targetMac, 0);
    frame.set(this.options.mac, 6);
    writeUint16(frame, 12, etherTypeArp);
    emitArp(arp, frame, ethernetHeaderLength);
    this.options.send(frame);
  }

  private isOwn(frame: Uint8Array, start: number): boolean {
    for (let i = 0; i < 6; i++) if (frame[start + i] !== this.options.mac[i]) return false;
    return true;
  }

  private drop(reason: ArpProxyCount): 0 {
    this.counters.add(reason);
    return 0;
  }
}
