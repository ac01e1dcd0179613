/**
 * The sockets of a member of a kibbutz on a board: UDP (RFC 768) over IPv4 to neighbours, multicast and unicast from one socket,
 * and to the provider, both over the one network that the board has. A peer is `address port`.
 *
 * A board forwards for its neighbours. It has no IP packets of its own in the kibbutz, for its sockets do not go through one:
 * what is delivered to it is counted and dropped, and what its sockets send counts as its traffic (platform.ts). So that the
 * provider knows where it is, and introduces it, it sends a packet without content once a minute, when it has sent
 * something else anyway. It has no battery that it could read: the level is told as full and charging, for without one nothing
 * would be shared (owner-limits.ts).
 *
 * What cannot be opened or looked up is tried again every `tryAgainMs`. Bounds: the SDK's queues of the sockets.
 */

import { Counters } from '../../agent/core/counters.js';
import type { KibbutzEffect, KibbutzInput } from '../../agent/port/effect.js';
import type { UdpSocket } from './sdk.js';
import type { KibbutzSettings } from './settings.js';

/** What is used of sdk.d.ts. */
export interface Network {
  openUdp: typeof import('./sdk.js').openUdp;
  resolve: typeof import('./sdk.js').resolve;
  setDate: typeof import('./sdk.js').setDate;
}

export interface KibbutzCalls {
  hear(input: KibbutzInput): void;
  complain(text: string): void;
}

const tryAgainMs = 5_000;
/** The date is looked at so often; owner-limits.ts wants to know it soon after midnight. */
const dateMs = 60_000;
/** Between two greetings of the provider: NATs keep a mapping for two minutes (RFC 4787 §4.3), or somewhat less. */
const greetMs = 60_000;
/** IPv6's header alone, from nobody to nobody: version 6, no next header (59, RFC 8200 §4.7). Providers drop it. */
const emptyPacketBytes = 40;
const counterNames = [
  'local.received',
  'local.sent',
  'local.unsent',
  'uplink.received',
  /** Not from the provider's address and port. */
  'uplink.strangers',
  'uplink.sent',
  'uplink.unsent',
  /** IP packets for this board, which has no use for them. */
  'packets.dropped',
  /** The radio and the path manager of MPTCP are not steered here. */
  'effects.not-performed',
] as const;

export class KibbutzSockets {
  readonly counters = new Counters<(typeof counterNames)[number]>(counterNames);
  private readonly settings: KibbutzSettings;
  private readonly network: Network;
  private readonly calls: KibbutzCalls;
  private local: UdpSocket | undefined;
  private uplink: UdpSocket | undefined;
  /** The provider's, once it is known. */
  private address: string | undefined;
  private isBatteryTold = false;
  private tryAt = 0;
  private dateAt = 0;
  private greetAt = 0;
  private toldDate = '';

  constructor(settings: KibbutzSettings, network: Network, calls: KibbutzCalls) {
    this.settings = settings;
    this.network = network;
    this.calls = calls;
  }

  /** To be called a few times a second while there is a network. */
  poll(now: number): void {
    if (!this.isBatteryTold) {
      this.isBatteryTold = true;
      this.calls.hear({ kind: 'battery', percent: 100, charging: true });
    }
    if (now >= this.tryAt) {
      this.tryAt = now + tryAgainMs;
      this.open();
      if (this.address === undefined) this.lookUp();
    }
    // Only the quota's period asks for it.
    if (this.settings.owner?.quotaBytes === undefined || now < this.dateAt) return;
    this.dateAt = now + dateMs;
    this.network.setDate(() => this.tellDate());
  }

  /** So many bytes of the board's own left over its network. Nobody waits for what a board reports. */
  sent(now: number, lengthBytes: number): void {
    this.calls.hear({ kind: 'sent', lengthBytes, mayWait: true });
    if (!this.uplink || this.address === undefined || now < this.greetAt) return;
    this.greetAt = now + greetMs;
    const packet = new Uint8Array(emptyPacketBytes);
    packet[0] = 6 << 4;
    packet[6] = 59;
    this.calls.hear({ kind: 'packet', packet, mayWait: true, path: 0 });
  }

  perform(effect: KibbutzEffect): void {
    switch (effect.kind) {
      case 'datagram':
        if (effect.link === 'local') this.sendLocal(effect.peer, effect.payload);
        else this.sendUplink(effect.payload);
        break;
      case 'deliver':
        this.counters.add('packets.dropped');
        break;
      case 'radio':
      case 'path-priority':
        this.counters.add('effects.not-performed');
        break;
      default:
        unreachable(effect);
    }
  }

  private open(): void {
    const sockets = this;
    const { counters, calls } = this;
    const { group, port, interface: name } = this.settings.local;
    try {
      this.local ??= this.network.openUdp(port, { group, interface: name }, function () {
        for (let datagram = this.read(); datagram; datagram = this.read()) {
          counters.add('local.received');
          const { address, port: from } = datagram;
          calls.hear({
            kind: 'datagram',
            link: 'local',
            peer: `${address} ${from}`,
            payload: new Uint8Array(datagram),
          });
        }
      });
      this.uplink ??= this.network.openUdp(0, undefined, function () {
        for (let datagram = this.read(); datagram; datagram = this.read())
          if (datagram.address === sockets.address && datagram.port === sockets.settings.provider.port) {
            counters.add('uplink.received');
            calls.hear({ kind: 'datagram', link: 'uplink', payload: new Uint8Array(datagram) });
          } else counters.add('uplink.strangers');
      });
    } catch (error) {
      calls.complain(`kibbutz: UDP port ${port}, group ${group}: ${String(error)}`);
    }
  }

  private lookUp(): void {
    const { host } = this.settings.provider;
    this.network.resolve(host, address => {
      this.address = address;
      if (address === undefined) this.calls.complain(`kibbutz: the provider ${host} has no address`);
    });
  }

  private sendLocal(peer: string | undefined, payload: Uint8Array): void {
    const { group, port } = this.settings.local;
    const [address, peerPort] = peer === undefined ? [group, `${port}`] : peer.split(' ');
    const isSent = send(this.local, payload, address, Number(peerPort));
    this.counters.add(isSent ? 'local.sent' : 'local.unsent');
  }

  private sendUplink(payload: Uint8Array): void {
    const isSent = send(this.uplink, payload, this.address, this.settings.provider.port);
    this.counters.add(isSent ? 'uplink.sent' : 'uplink.unsent');
  }

  /** In UTC, for a board knows no time zone. */
  private tellDate(): void {
    const today = new Date();
    const [year, month, day] = [today.getUTCFullYear(), today.getUTCMonth() + 1, today.getUTCDate()];
    const date = `${year}-${month}-${day}`;
    if (date === this.toldDate) return;
    this.toldDate = date;
    this.calls.hear({ kind: 'date', year, month, day });
  }
}

function send(
  socket: UdpSocket | undefined,
  payload: Uint8Array,
  address: string | undefined,
  port: number,
): boolean {
  if (!socket || address === undefined) return false;
  try {
    socket.write(payload, address, port);
    return true;
  } catch {
    // Such as no network, or no room: it is lost as on the air.
    return false;
  }
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
