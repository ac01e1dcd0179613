/**
 * An Ethernet segment: a home's switch seen from the gateway that is the switch, one broadcast domain every port of
 * which hears every frame but its own. Hosts and agents pick out what is theirs, as a network card does.
 *
 * Frames are 14 to `longestEthernetBytes` bytes with the Ethernet header and without the frame check sequence; short
 * ones are not padded. Each receiver gets a copy of its own and may keep or change it. Every drop is counted.
 */

import { copyBytes } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import type { Kernel } from './kernel.js';

/** Header, two VLAN tags and 1500 bytes (IEEE 802.3-2018 §3.2.7; 802.1ad for the second tag). */
export const longestEthernetBytes = 1522;
const ethernetHeaderBytes = 14;

/** How long a frame takes through the switch: store and forward of a full frame at 1 Gbit/s. */
const switchingMs = 0.012;

/** Hears frames. */
export interface Receiver {
  /** `frame` is the receiver's own copy. */
  receive(now: number, frame: Uint8Array): void;
}

/** One's place on a segment or at the end of a link. */
export interface Port {
  /** Sends a copy of `frame`. */
  send(frame: Uint8Array): void;
  /** Hears and sends nothing more; what it sent before still arrives. */
  detach(): void;
}

/** What a host, an agent or another segment can be plugged into. */
export interface Attachable {
  attach(receiver: Receiver): Port;
}

/** Sees frames in passing; must not keep or change the bytes. */
export interface Tap {
  capture(now: number, frame: Uint8Array): void;
}

export type SegmentCount = 'sent' | 'too-short' | 'too-long' | 'detached' | 'down';

export class Segment implements Attachable {
  readonly counters = new Counters<SegmentCount>(['sent', 'too-short', 'too-long', 'detached', 'down']);
  /** False while the switch has no power: frames sent meanwhile are lost. */
  up = true;
  private readonly kernel: Kernel;
  private ports: SegmentPort[] = [];
  private readonly taps: Tap[] = [];

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  attach(receiver: Receiver): Port {
    const port = new SegmentPort(this, receiver);
    this.ports.push(port);
    return port;
  }

  /** Shows `tap` every frame from now on, when it is sent. */
  addTap(tap: Tap): void {
    this.taps.push(tap);
  }

  /** @internal for the segment's ports */
  send(from: SegmentPort, frame: Uint8Array): void {
    const drop = this.reasonToDrop(from, frame);
    this.counters.add(drop ?? 'sent');
    if (drop) return;
    for (const tap of this.taps) tap.capture(this.kernel.now, frame);
    this.kernel.schedule(this.kernel.now + switchingMs, from, copyBytes(frame, 0, frame.length));
  }

  /** @internal */
  deliver(from: SegmentPort, now: number, frame: Uint8Array): void {
    // A receiver may attach or detach ports: that changes who hears the next frame, not this one.
    for (const port of this.ports) {
      if (port !== from && port.attached) port.receiver.receive(now, copyBytes(frame, 0, frame.length));
    }
  }

  /** @internal */
  remove(port: SegmentPort): void {
    this.ports = this.ports.filter(other => other !== port);
  }

  private reasonToDrop(from: SegmentPort, frame: Uint8Array): Exclude<SegmentCount, 'sent'> | undefined {
    if (!this.up) return 'down';
    if (!from.attached) return 'detached';
    if (frame.length < ethernetHeaderBytes) return 'too-short';
    if (frame.length > longestEthernetBytes) return 'too-long';
    return undefined;
  }
}

class SegmentPort implements Port {
  attached = true;
  readonly receiver: Receiver;
  private readonly segment: Segment;

  constructor(segment: Segment, receiver: Receiver) {
    this.segment = segment;
    this.receiver = receiver;
  }

  send(frame: Uint8Array): void {
    this.segment.send(this, frame);
  }

  detach(): void {
    this.attached = false;
    this.segment.remove(this);
  }

  /** A frame sent from here comes out of the switch. */
  fire(now: number, frame: Uint8Array): void {
    this.segment.deliver(this, now, frame);
  }
}

/** Bridges two segments or links: what one hears, the other sends. */
export function join(one: Attachable, other: Attachable): void {
  const there: Port = other.attach({ receive: (_now, frame) => here.send(frame) });
  const here: Port = one.attach({ receive: (_now, frame) => there.send(frame) });
}
