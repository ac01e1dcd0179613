/**
 * The sockets of a member of a kibbutz: UDP (RFC 768) to neighbours on the local link, multicast and unicast from one socket
 * of the group's family (RFC 4291 §2.7, RFC 3493 §5.2; RFC 1112 §6); UDP to the provider; and a TUN device for the packets of
 * this host.
 *
 * A peer is `address%interface port` (IPv4: without the interface), as the socket names it. The provider's name is looked up at the start and again while
 * it is not known. What cannot be done yet (no interface, no address) is tried again every few seconds.
 * Bounds: the kernel's socket buffers; what they do not take is dropped and counted.
 */

import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns';
import { networkInterfaces } from 'node:os';
import { Counters } from '../../agent/core/counters.js';
import { envelopesBytes } from '../../agent/limits.js';
import type { KibbutzEffect, KibbutzInput, LogLevel } from '../../agent/port/effect.js';
import type { KibbutzConfig } from './config.js';
import { openTun, type Tun } from './tun.js';

export interface KibbutzCalls {
  hear(input: KibbutzInput): void;
  log(level: LogLevel, text: string): void;
}

/**
 * What leaves unfragmented over Ethernet (RFC 894): less IPv6 (RFC 8200 §3), UDP (RFC 768), and what a hop to a neighbour adds
 * (agent/kibbutz/job.ts), which is more than a carried envelope on the uplink.
 */
export const innerMtuBytes = 1500 - 40 - 8 - envelopesBytes - 5;
const tryAgainMs = 5_000;
/** DSCP of packets that may wait: LE, 000001 (RFC 8622 §3). */
const lowerEffort = 1;
const counterNames = [
  'local.received',
  'local.sent',
  'local.unsent',
  'uplink.received',
  'uplink.sent',
  'uplink.unsent',
  'packets.in',
  'packets.out',
  /** To a group, or on the link: what the kernel says on any interface it has. It must not bring up a radio. */
  'packets.not-for-internet',
  /** The radio and the path manager of MPTCP are not steered here. */
  'effects.not-performed',
] as const;

export class KibbutzSockets {
  readonly counters = new Counters(counterNames);
  private readonly config: KibbutzConfig;
  private readonly calls: KibbutzCalls;
  private local: Socket | undefined;
  private uplink: Socket | undefined;
  private tun: Tun | undefined;
  private closed = false;
  private readonly timers = new Map<string, NodeJS.Timeout>();
  private readonly said = new Map<string, string>();

  constructor(config: KibbutzConfig, calls: KibbutzCalls) {
    this.config = config;
    this.calls = calls;
    // Not before the agent is there to hear of it.
    setImmediate(() => {
      this.openLocal();
      this.openUplink();
      this.openTun();
    });
  }

  perform(effect: KibbutzEffect): void {
    switch (effect.kind) {
      case 'datagram':
        if (effect.link === 'local') this.sendLocal(effect.peer, effect.payload);
        else this.sendUplink(effect.payload);
        break;
      case 'deliver':
        this.counters.add('packets.out');
        this.tun?.send(effect.packet);
        break;
      case 'radio':
      case 'path-priority':
        this.counters.add('effects.not-performed');
        break;
      default:
        unreachable(effect);
    }
  }

  close(): void {
    this.closed = true;
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.local?.close();
    this.uplink?.close();
    this.tun?.close();
  }

  private openLocal(): void {
    if (this.closed) return;
    const { interface: name, group, port } = this.config.local;
    const isIpv4 = group.indexOf(':') < 0;
    const socket = isIpv4
      ? createSocket({ type: 'udp4', reuseAddr: true })
      : createSocket({ type: 'udp6', reuseAddr: true, ipv6Only: true });
    const fail = (error: Error) => {
      socket.close();
      if (this.local === socket) this.local = undefined;
      this.later('local', `local link ${name}: ${error.message}`, () => this.openLocal());
    };
    socket.on('error', fail);
    socket.on('message', (payload, from) => {
      this.counters.add('local.received');
      this.calls.hear({ kind: 'datagram', link: 'local', peer: `${from.address} ${from.port}`, payload });
    });
    socket.bind(port, isIpv4 ? '0.0.0.0' : '::', () => {
      try {
        const own = isIpv4 ? ipv4AddressOf(name) : `::%${name}`;
        socket.setMulticastInterface(own);
        socket.addMembership(group, own);
        socket.setMulticastLoopback(false);
        // The link's neighbours only: no router passes it on.
        socket.setMulticastTTL(1);
      } catch (error) {
        fail(error as Error);
        return;
      }
      this.said.delete('local');
      this.local = socket;
    });
  }

  private sendLocal(peer: string | undefined, payload: Uint8Array): void {
    const { group, port, interface: name } = this.config.local;
    // The interface of an IPv4 group is the socket's.
    const all = group.indexOf(':') < 0 ? group : `${group}%${name}`;
    const [address, peerPort] = peer === undefined ? [all, `${port}`] : peer.split(' ');
    const unsent = () => this.counters.add('local.unsent');
    if (!this.local) unsent();
    else
      this.local.send(payload, Number(peerPort), address, error =>
        error ? unsent() : this.counters.add('local.sent'),
      );
  }

  private openUplink(): void {
    if (this.closed) return;
    const { host, port } = this.config.provider;
    const fail = (error: Error) => {
      this.uplink = undefined;
      this.later('uplink', `provider ${host}: ${error.message}`, () => this.openUplink());
    };
    lookup(host, (lookupError, address, family) => {
      if (this.closed) return;
      if (lookupError) {
        fail(lookupError);
        return;
      }
      const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
      socket.on('error', error => {
        // The provider's host says that nobody listens: it may again.
        if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return;
        socket.close();
        fail(error);
      });
      socket.on('message', payload => {
        this.counters.add('uplink.received');
        this.calls.hear({ kind: 'datagram', link: 'uplink', payload });
      });
      socket.connect(port, address, () => {
        this.said.delete('uplink');
        this.uplink = socket;
      });
    });
  }

  private sendUplink(payload: Uint8Array): void {
    const unsent = () => this.counters.add('uplink.unsent');
    if (!this.uplink) unsent();
    else this.uplink.send(payload, error => (error ? unsent() : this.counters.add('uplink.sent')));
  }

  private openTun(): void {
    if (this.closed) return;
    const { interface: name, addresses } = this.config.tun;
    try {
      this.tun = openTun(
        { name, mtuBytes: innerMtuBytes, addresses },
        (bytes, start, end) => {
          const packet = bytes.subarray(start, end);
          if (!isForInternet(packet)) {
            this.counters.add('packets.not-for-internet');
            return;
          }
          this.counters.add('packets.in');
          this.calls.hear({ kind: 'packet', packet, mayWait: dscpOf(packet) === lowerEffort });
        },
        error => {
          this.tun = undefined;
          this.later('tun', error.message, () => this.openTun());
        },
      );
      this.said.delete('tun');
    } catch (error) {
      this.later('tun', (error as Error).message, () => this.openTun());
    }
  }

  private later(what: string, fault: string, again: () => void): void {
    if (this.closed) return;
    if (this.said.get(what) !== fault) this.calls.log('error', `kibbutz: ${fault}; trying again every 5 s`);
    this.said.set(what, fault);
    this.timers.set(what, setTimeout(again, tryAgainMs));
  }
}

/** An IPv4 socket knows the interface of a group by an address on it (RFC 1112 §6.1). */
function ipv4AddressOf(name: string): string {
  const address = networkInterfaces()[name]?.find(({ family }) => family === 'IPv4')?.address;
  if (address === undefined) throw new Error('expected an IPv4 address on it for an IPv4 group, got none');
  return address;
}

/** RFC 1112 §4: IPv4 groups begin at 224; RFC 4291 §2.4: ff00::/8 are groups, fe80::/10 is the link. */
function isForInternet(packet: Uint8Array): boolean {
  if (packet[0] >>> 4 === 4) return packet[16] < 224;
  return packet[24] !== 0xff && !(packet[24] === 0xfe && packet[25] >>> 6 === 2);
}

/** RFC 2474 §3: the upper six bits of IPv4's second byte, and of IPv6's traffic class behind the version. */
function dscpOf(packet: Uint8Array): number {
  return packet[0] >>> 4 === 4 ? packet[1] >>> 2 : ((packet[0] & 15) << 2) | (packet[1] >>> 6);
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
