/**
 * A raw Ethernet link: a packet socket (packet(7)) on one interface, frames with their Ethernet header and VLAN tags,
 * without FCS. To receive, recvmmsg (each frame at once, for control traffic) or a TPACKET_V3 ring (kernel document
 * networking/packet_mmap: many frames for little CPU, up to `retireMs` later, for bulk); to send, sendmmsg.
 *
 * What the host itself sends over the interface is not heard (PACKET_IGNORE_OUTGOING). A VLAN tag that the kernel took
 * off is put back. A checksum that a local sender left to hardware which does not exist (a veth's other end) is
 * finished: TCP and UDP, also in PPPoE; not those inside a tunnel. Frames that GRO or GSO merged beyond the MTU are refused
 * and counted: turn it off (`ethtool -K IF gro off`, and on a veth's other end `tso off gso off`).
 *
 * Bounds: 64 frames a system call; what the kernel holds, `bufferBytes` each way. Full: the newest are dropped and counted.
 * Needs CAP_NET_RAW and Linux 4.20. The MTU is the one at the start.
 */

import { Counters, type Counts } from '../../agent/core/counters.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { ethernetHeaderLength } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { protocolTcp, protocolUdp } from '../../agent/wire/ipv4.js';
import { vlanTagLength } from '../../agent/wire/vlan.js';
import * as libc from './libc.js';
import { MessageBatch } from './message-batch.js';
import { PacketRing } from './packet-ring.js';

export interface RawLinkOptions {
  /** Name of the interface, such as `eth0`, in the network namespace of the caller. */
  readonly interface: string;
  /** Hear frames for other MAC addresses and all groups; default false: own address, broadcast, and the groups
   * that the interface passes. */
  readonly promiscuous?: boolean;
  /** Receive through the ring; default false. */
  readonly ring?: boolean;
  /** Hear only this EtherType; default all. With VLAN: the type behind the tag that the kernel took off. */
  readonly protocol?: number;
  /** Send without the interface's queueing discipline (PACKET_QDISC_BYPASS); default false. */
  readonly bypassQueue?: boolean;
  /** What the kernel holds in each direction, bytes; default 4 MiB. */
  readonly bufferBytes?: number;
  /** The interface is down, for a second or more, or up again. */
  readonly onState?: (isUp: boolean) => void;
}

/**
 * `bytes[start, end)` is the frame, to be used, or changed, until the call returns. The `headroomBytes` before `start` are free
 * to write to.
 */
export type FrameReceiver = (bytes: Uint8Array, start: number, end: number) => void;

/** What may be written before a received frame: a PPPoE header of 8 bytes and two VLAN tags fit. */
export const headroomBytes = 32;

const counterNames = [
  'received',
  /** The kernel had no room (PACKET_STATISTICS). */
  'received.no-room',
  'received.too-long',
  /** For another host, and the link is not promiscuous: virtual interfaces filter nothing. */
  'received.other-host',
  'received.vlan-restored',
  'received.checksum-finished',
  /** A checksum nobody finished, of a protocol unknown here. */
  'received.checksum-unfinished',
  'sent',
  'sent.too-short',
  'sent.too-long',
  'sent.no-room',
  'sent.refused',
  /** The interface was down, or the link closed. */
  'sent.down',
] as const;
export type RawLinkCounter = (typeof counterNames)[number];

// linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h
const afPacket = 17;
const sockRawNonBlockingCloseOnExec = 3 | 0o4000 | 0o2000000;
const allProtocols = 0x0003;
const solPacket = 263;
const packetAddMembership = 1;
const packetStatistics = 6;
const packetAuxdata = 8;
const packetQdiscBypass = 20;
const packetIgnoreOutgoing = 23;
const membershipPromiscuous = 1;
const solSocket = 1;
const soError = 4;
const soSendBuffer = 7;
const soReceiveBuffer = 8;
const soSendBufferForce = 32;
const soReceiveBufferForce = 33;
const statusChecksumNotReady = 1 << 3;
const statusVlanValid = 1 << 4;
const arphrdEthernet = 1;
const arphrdLoopback = 772;

const batchCount = 64;
/** Batches heard before the event loop has its turn again: 1,024 frames take about 2 ms. */
const batchesPerTurn = 16;
const defaultBufferBytes = 4 << 20;
/** A link that went down is looked at so often, to tell an interface that comes back from one removed. */
const downCheckMs = 1000;

/**
 * Opens a link. `onError` is called once if it breaks later, because the interface was removed; it is closed then. While the
 * interface is down nothing is heard. Throws, saying what is missing, if it cannot be opened.
 */
export function openRawLink(
  options: RawLinkOptions,
  onFrame: FrameReceiver,
  onError: (error: Error) => void,
): RawLink {
  return new RawLink(options, onFrame, onError);
}

export class RawLink {
  readonly interface: string;
  /** The interface's address, 6 bytes. */
  readonly mac: Uint8Array;
  /** Of the Ethernet payload behind the VLAN tags. */
  readonly mtuBytes: number;
  private readonly counters = new Counters<RawLinkCounter>(counterNames);
  private readonly onFrame: FrameReceiver;
  private readonly onError: (error: Error) => void;
  private readonly onState: (isUp: boolean) => void;
  private readonly index: number;
  private readonly longestBytes: number;
  private readonly promiscuous: boolean;
  private readonly socket: number;
  private readonly watcher: { close(): void };
  private readonly receiving: MessageBatch | PacketRing;
  private readonly sending: MessageBatch;
  private readonly headers = new Headers();
  private waiting = 0;
  private flushDue = false;
  private closed = false;
  private downTimer: NodeJS.Timeout | undefined;

  constructor(options: RawLinkOptions, onFrame: FrameReceiver, onError: (error: Error) => void) {
    const { interface: name, bufferBytes = defaultBufferBytes, protocol = allProtocols } = options;
    if (!(protocol >= 0 && protocol <= 0xffff))
      throw new Error(`protocol: expected an EtherType, 0..65535, got ${protocol}`);
    this.interface = name;
    this.promiscuous = options.promiscuous ?? false;
    this.onFrame = onFrame;
    this.onError = onError;
    this.onState = options.onState ?? (() => {});
    const what = `raw link on ${name}`;
    // Protocol 0 hears nothing until bind: no frames of other interfaces in between.
    this.socket = libc.check(libc.socket(afPacket, sockRawNonBlockingCloseOnExec, 0), what, {
      EPERM: 'not permitted: it needs CAP_NET_RAW',
    });
    let ring: PacketRing | undefined;
    try {
      const found = libc.describeInterface(this.socket, name);
      if (!found) throw new Error(`${what}: there is no interface of that name`);
      if (found.hardwareType !== arphrdEthernet && found.hardwareType !== arphrdLoopback)
        throw new Error(
          `${what}: expected an Ethernet interface, its hardware type is ${found.hardwareType}`,
        );
      this.index = found.index;
      this.mac = found.mac;
      this.mtuBytes = found.mtuBytes;
      // Two tags may come; the kernel lets one go out beyond the MTU (packet_snd), so full QinQ frames need an MTU of 1504.
      this.longestBytes = ethernetHeaderLength + 2 * vlanTagLength + found.mtuBytes;
      this.prepareSocket(options, bufferBytes, what);
      if (options.ring) ring = new PacketRing({ fd: this.socket, bufferBytes, headroomBytes, what });
      this.receiving =
        ring ??
        new MessageBatch({
          count: batchCount,
          // A tag put back takes four.
          headroomBytes: headroomBytes + vlanTagLength,
          messageBytes: this.longestBytes,
        });
      this.sending = new MessageBatch({
        count: batchCount,
        headroomBytes: 0,
        messageBytes: this.longestBytes,
      });
      libc.check(libc.bind(this.socket, linkAddress(protocol, this.index), 20), what);
      this.watcher = libc.watch(this.socket, () => this.hear());
    } catch (error) {
      ring?.close();
      libc.close(this.socket);
      throw error;
    }
    if (!libc.describeInterface(this.socket, name)?.isUp) this.down();
  }

  /** Counts since the start, without those still zero. */
  counts(): Counts {
    if (!this.closed) {
      // struct tpacket_stats_v3, which starts as tpacket_stats does; reading it clears it.
      const statistics = new Int32Array(new ArrayBuffer(12));
      const length = new Int32Array([12]);
      if (libc.getsockopt(this.socket, solPacket, packetStatistics, statistics, length) === 0)
        this.counters.add('received.no-room', statistics[1] >>> 0);
    }
    return this.counters.snapshot();
  }

  /**
   * Sends `bytes[start, end)`, a frame with its Ethernet header; its bytes are copied. Frames sent in one turn of the event
   * loop leave together at its end, or 64 at a time. What cannot be sent is dropped and counted.
   */
  send(bytes: Uint8Array, start = 0, end = bytes.length): void {
    const { counters } = this;
    if (this.closed) counters.add('sent.down');
    else if (end - start < ethernetHeaderLength) counters.add('sent.too-short');
    else if (end - start > this.longestBytes) counters.add('sent.too-long');
    else {
      this.sending.fill(this.waiting++, bytes, start, end);
      if (this.waiting === batchCount) this.flush();
      else if (!this.flushDue) {
        this.flushDue = true;
        queueMicrotask(() => {
          this.flushDue = false;
          this.flush();
        });
      }
    }
  }

  /** Sends what waits, and gives everything back to the kernel. Nothing is heard any more. */
  close(): void {
    if (this.closed) return;
    this.flush();
    this.counts();
    this.closed = true;
    clearTimeout(this.downTimer);
    this.watcher.close();
    if (this.receiving instanceof PacketRing) this.receiving.close();
    libc.close(this.socket);
  }

  private prepareSocket(options: RawLinkOptions, bufferBytes: number, what: string): void {
    const set = (level: number, option: number, value: number) =>
      libc.setsockopt(this.socket, level, option, new Int32Array([value]), 4);
    libc.check(set(solPacket, packetIgnoreOutgoing, 1), what, {
      ENOPROTOOPT: 'expected Linux 4.20 or later',
    });
    libc.check(set(solPacket, packetAuxdata, 1), what);
    if (options.bypassQueue) libc.check(set(solPacket, packetQdiscBypass, 1), what);
    // Beyond net.core.[rw]mem_max needs CAP_NET_ADMIN; without it the kernel gives what it allows.
    if (set(solSocket, soSendBufferForce, bufferBytes) < 0) set(solSocket, soSendBuffer, bufferBytes);
    if (set(solSocket, soReceiveBufferForce, bufferBytes) < 0) set(solSocket, soReceiveBuffer, bufferBytes);
    if (options.promiscuous) {
      // struct packet_mreq: index, type, length of the address, address
      const membership = new Int32Array([this.index, membershipPromiscuous, 0, 0]);
      libc.check(libc.setsockopt(this.socket, solPacket, packetAddMembership, membership, 16), what);
    }
  }

  private hear(): void {
    if (this.receiving instanceof PacketRing) {
      this.receiving.receive(this.hearOne);
      // What the ring leaves unread, such as that the interface went down.
      if (!this.closed && this.takeError() === libc.errno.netDown) this.down();
    } else {
      this.hearBatches(this.receiving);
    }
    if (!this.closed && this.waiting > 0) this.flush();
  }

  private hearBatches(batch: MessageBatch): void {
    for (let turn = 0; turn < batchesPerTurn; turn++) {
      const count = batch.receive(this.socket);
      if (count < 0) {
        if (libc.lastErrno() === libc.errno.netDown) this.down();
        return;
      }
      for (let i = 0; i < count; i++) {
        const lengthBytes = batch.receivedBytes(i);
        const start = batch.start(i);
        this.hearOne(
          batch.bytes,
          start,
          lengthBytes < 0 ? start + this.longestBytes + 1 : start + lengthBytes,
          batch.status(i),
          batch.vlanTag(i),
        );
        if (this.closed) return;
      }
      if (count < batch.count) return;
    }
  }

  /** One frame as the kernel gave it. False once the link is closed. */
  private readonly hearOne = (
    bytes: Uint8Array,
    start: number,
    end: number,
    status: number,
    vlanTag: number,
  ): boolean => {
    const { counters } = this;
    counters.add('received');
    if (end - start > this.longestBytes) {
      counters.add('received.too-long');
      return true;
    }
    if (!this.promiscuous && !this.isForUs(bytes, start)) {
      counters.add('received.other-host');
      return true;
    }
    if ((status & (statusVlanValid | statusChecksumNotReady)) !== 0) {
      if ((status & statusVlanValid) !== 0) {
        start = restoreVlanTag(bytes, start, vlanTag);
        counters.add('received.vlan-restored');
      }
      if ((status & statusChecksumNotReady) !== 0) {
        if (!finishChecksum(bytes, start, end, this.headers)) {
          counters.add('received.checksum-unfinished');
          return true;
        }
        counters.add('received.checksum-finished');
      }
    }
    this.onFrame(bytes, start, end);
    return !this.closed;
  };

  private isForUs(bytes: Uint8Array, start: number): boolean {
    if ((bytes[start] & 1) !== 0) return true;
    for (let i = 0; i < 6; i++) if (bytes[start + i] !== this.mac[i]) return false;
    return true;
  }

  private flush(): void {
    const { sending, counters } = this;
    const count = this.waiting;
    this.waiting = 0;
    for (let from = 0; from < count; ) {
      const sent = sending.send(this.socket, from, count);
      if (sent > 0) {
        counters.add('sent', sent);
        from += sent;
        continue;
      }
      switch (libc.lastErrno()) {
        case libc.errno.interrupted:
          break;
        case libc.errno.noBuffers:
          // The driver or its queue refused this one; the next may find room.
          counters.add('sent.no-room');
          from++;
          break;
        case libc.errno.again:
          counters.add('sent.no-room', count - from);
          return;
        case libc.errno.netDown:
        case libc.errno.noDevice:
          counters.add('sent.down', count - from);
          this.down();
          return;
        default:
          counters.add('sent.refused');
          from++;
      }
    }
  }

  private takeError(): number {
    const value = new Int32Array(new ArrayBuffer(4));
    const length = new Int32Array([4]);
    return libc.getsockopt(this.socket, solSocket, soError, value, length) === 0 ? value[0] : 0;
  }

  /** The interface is down or gone: told apart by looking again until it is one or the other. */
  private down(isNew = true): void {
    if (this.closed || this.downTimer) return;
    this.downTimer = setTimeout(() => {
      this.downTimer = undefined;
      const found = libc.describeInterface(this.socket, this.interface);
      if (found?.index !== this.index) {
        this.close();
        this.onError(new Error(`raw link on ${this.interface}: the interface was removed`));
      } else if (!found.isUp) {
        if (isNew) this.onState(false);
        this.down(false);
      } else if (!isNew) {
        this.onState(true);
      }
    }, downCheckMs);
  }
}

/** `struct sockaddr_ll`. */
function linkAddress(protocol: number, index: number): Uint8Array {
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, afPacket, true);
  view.setUint16(2, protocol);
  view.setInt32(4, index, true);
  return address;
}

/** Puts `tag` (TPID, TCI) back behind the addresses of the frame at `start`; its new start, four bytes before. */
function restoreVlanTag(bytes: Uint8Array, start: number, tag: number): number {
  bytes.copyWithin(start - vlanTagLength, start, start + 12);
  bytes[start + 8] = tag >>> 24;
  bytes[start + 9] = tag >>> 16;
  bytes[start + 10] = tag >>> 8;
  bytes[start + 11] = tag;
  return start - vlanTagLength;
}

/**
 * Finishes a checksum whose field holds the sum over the pseudo-header (CHECKSUM_PARTIAL, kernel document
 * networking/checksum-offloads). False if there is none to find.
 */
function finishChecksum(bytes: Uint8Array, start: number, end: number, headers: Headers): boolean {
  if (headers.scan(bytes, start, end) !== 'ok' || headers.fragmentOffset !== 0) return false;
  const { protocol, l4Offset, l4End } = headers;
  if (protocol !== protocolTcp && protocol !== protocolUdp) return false;
  const sum = internetChecksum(bytes, l4Offset, l4End);
  // RFC 768: 0 says that there is none.
  const checksum = protocol === protocolUdp && sum === 0 ? 0xffff : sum;
  const at = l4Offset + (protocol === protocolTcp ? 16 : 6);
  bytes[at] = checksum >>> 8;
  bytes[at + 1] = checksum;
  return true;
}
