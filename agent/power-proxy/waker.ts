/**
 * Wakes hosts: magic packets (AMD, "Magic Packet Technology", publication 20213, 1995), the first to the host's own MAC, which
 * a switch that still knows it brings there and nowhere else, the others to all, in the host's VLAN. The frames that caused
 * it are held, and handed to the host once it is heard.
 *
 * Bounds: limits.heldFrames and heldBytes for all hosts together; a host is woken `allowance` times at once, then once an
 * `allowanceMs`.
 */

import { never } from '../core/time.js';
import type { JobContext } from '../job.js';
import { emitEthernet, ethernetLength } from '../wire/ethernet.js';
import { emitWakeOnLan, wakeOnLanEtherType, wakeOnLanLength } from '../wire/wol.js';
import { type Host, tagsOf } from './host-table.js';

/** A magic packet is repeated at this span until the host is heard, for a frame may be lost while the link comes up. */
export const wakeRepeatMs = 3_000;
/** After this the host counts as asleep again and the next matching frame starts over. A cold boot takes about so long. */
export const wakeGiveUpMs = 45_000;
/** A host that was woken sleeps no sooner than some minutes later: more wakes than these no user has a reason for. */
const allowance = 6;
const allowanceMs = 600_000;

interface Held {
  readonly host: Host;
  readonly link: string;
  readonly frame: Uint8Array;
}

export type WakerCounter =
  | 'wakes.started'
  | 'wakes.under-way'
  | 'wakes.limited'
  | 'wakes.heard'
  | 'wakes.given-up'
  | 'wakes.packets'
  | 'held.frames'
  | 'held.delivered'
  | 'held.dropped';

export const wakerCounters: readonly WakerCounter[] = [
  'wakes.started',
  'wakes.under-way',
  'wakes.limited',
  'wakes.heard',
  'wakes.given-up',
  'wakes.packets',
  'held.frames',
  'held.delivered',
  'held.dropped',
];

export class Waker {
  private readonly context: JobContext;
  private readonly isLimited: boolean;
  private readonly count: (name: WakerCounter, by?: number) => void;
  private held: Held[] = [];
  private heldBytes = 0;

  /** `isLimited`: whether `allowance` counts. */
  constructor(context: JobContext, isLimited: boolean, count: (name: WakerCounter, by?: number) => void) {
    this.context = context;
    this.isLimited = isLimited;
    this.count = count;
  }

  /** Begins to wake the host; false if it was woken too often of late. */
  wake(now: number, host: Host): boolean {
    if (this.isLimited && !this.isAllowed(now, host)) {
      this.count('wakes.limited');
      return false;
    }
    this.count('wakes.started');
    host.wakes++;
    host.magicPackets = 0;
    host.giveUpAt = now + wakeGiveUpMs;
    this.repeat(now, host);
    return true;
  }

  /** The next magic packet of a wake under way. */
  repeat(now: number, host: Host): void {
    for (const { name, mac } of this.context.links) {
      if (host.link !== '' && host.link !== name) continue;
      this.count('wakes.packets');
      this.context.transmit(name, magicFrame(mac, host));
    }
    host.magicPackets++;
    host.nextAt = Math.min(now + wakeRepeatMs, host.giveUpAt);
  }

  /** Keeps a frame until the host is heard. Only what is for this host alone: whoever sends to all sends again. */
  hold(link: string, frame: Uint8Array, host: Host): void {
    if ((frame[0] & 1) === 1) return;
    const { heldFrames, heldBytes } = this.context.limits;
    if (this.held.length >= heldFrames || this.heldBytes + frame.length > heldBytes) {
      this.count('held.dropped');
      return;
    }
    this.count('held.frames');
    this.held.push({ host, link, frame: new Uint8Array(frame) });
    this.heldBytes += frame.length;
  }

  /** The host was heard, or is given up: what is held for it is delivered or dropped. */
  release(host: Host, isUp: boolean): void {
    const kept: Held[] = [];
    for (const held of this.held) {
      if (held.host !== host) {
        kept.push(held);
        continue;
      }
      this.heldBytes -= held.frame.length;
      this.count(isUp ? 'held.delivered' : 'held.dropped');
      if (isUp) this.context.transmit(held.link, held.frame);
    }
    this.held = kept;
    host.giveUpAt = never;
  }

  private isAllowed(now: number, host: Host): boolean {
    if (host.allowance < 0) host.allowance = allowance;
    const earned = Math.floor((now - host.allowedAt) / allowanceMs);
    if (earned > 0) {
      host.allowance = Math.min(allowance, host.allowance + earned);
      host.allowedAt += earned * allowanceMs;
    }
    if (host.allowance === 0) return false;
    // A full allowance starts to be earned back from now on.
    if (host.allowance === allowance) host.allowedAt = now;
    host.allowance--;
    return true;
  }
}

function magicFrame(srcMac: Uint8Array, host: Host): Uint8Array {
  const wake = { targetMac: host.wakeMac, password: host.password };
  const header = {
    dstMac: host.magicPackets === 0 ? host.mac : new Uint8Array(6).fill(0xff),
    srcMac,
    tags: tagsOf(host),
    etherType: wakeOnLanEtherType,
  };
  const frame = new Uint8Array(ethernetLength(header) + wakeOnLanLength(wake));
  emitWakeOnLan(wake, frame, emitEthernet(header, wakeOnLanLength(wake), frame, 0));
  return frame;
}
