/**
 * The fields of a frame that rules ask for, as numbers in one array: read once, compared by every rule. −1 says that the
 * frame has no such field, and no rule's set has −1 in it.
 *
 * An IPv6 address is three numbers (48, 48 and 32 bits), since a number holds 53. Allocates nothing after construction.
 */

import { readUint16, readUint32 } from '../core/bytes.js';
import { type Headers, networkArp, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { Questions } from './question.js';

export const field = {
  /** Whom the frame is for: a host's MAC, or for groups `toMulticast` or `toBroadcast`. */
  destination: 0,
  dstMac: 1,
  srcMac: 2,
  etherType: 3,
  /** Of the outermost tag. */
  vlanId: 4,
  /** As in headers.ts, but −1 for what is neither ARP nor IP. */
  network: 5,
  arpOperation: 6,
  arpSender: 7,
  arpTarget: 8,
  ipv4Src: 9,
  ipv4Dst: 10,
  /** The first of three. */
  ipv6Src: 11,
  /** The first of three. */
  ipv6Dst: 14,
  protocol: 17,
  dscp: 18,
  /** Time to live, hop limit. */
  timeToLive: 19,
  /** The protocol if its header is in this packet: not in later fragments, and not if it is unknown here. */
  transport: 20,
  icmpType: 21,
  icmpCode: 22,
  srcPort: 23,
  dstPort: 24,
  /** The flags in the order `tcpFlagsKey` gives them. */
  tcpFlags: 25,
  /** Hashes of the names asked for; a frame may have several, so they are in `questions`, not in `values`. */
  question: 26,
} as const;

export const fieldCount = 27;

/** Behind all MACs. */
export const toMulticast = 0x1_0000_0000_0000;
export const toBroadcast = toMulticast + 1;

const broadcastMac = 0xffff_ffff_ffff;

export class Fields {
  readonly values = new Float64Array(fieldCount);
  readonly questions = new Questions();
  /** Only valid until the caller of `read` takes the frame back. */
  frame: Uint8Array = new Uint8Array(0);
  headers: Headers | undefined;

  /** Reads a frame whose headers were scanned; the names it asks for only if `withQuestions`. */
  read(frame: Uint8Array, headers: Headers, withQuestions: boolean): void {
    const { values } = this;
    const { network, etherType, l3Offset } = headers;
    this.frame = frame;
    this.headers = headers;
    for (let i = 0; i < fieldCount; i++) values[i] = -1;
    if (etherType >= 0) {
      copyUint48(frame, 0, values, field.dstMac);
      copyUint48(frame, 6, values, field.srcMac);
      values[field.destination] = values[field.dstMac];
      if ((frame[0] & 1) === 1)
        values[field.destination] = values[field.dstMac] === broadcastMac ? toBroadcast : toMulticast;
      values[field.etherType] = etherType;
      values[field.vlanId] = headers.vlanId;
    }
    this.questions.count = 0;
    switch (network) {
      case networkArp:
        values[field.network] = network;
        values[field.arpOperation] = readUint16(frame, l3Offset + 6);
        values[field.arpSender] = readUint32(frame, l3Offset + 14);
        values[field.arpTarget] = readUint32(frame, l3Offset + 24);
        return;
      case networkIpv4:
        values[field.dscp] = frame[l3Offset + 1] >>> 2;
        values[field.timeToLive] = frame[l3Offset + 8];
        values[field.ipv4Src] = readUint32(frame, l3Offset + 12);
        values[field.ipv4Dst] = readUint32(frame, l3Offset + 16);
        break;
      case networkIpv6:
        values[field.dscp] = (readUint16(frame, l3Offset) >>> 6) & 63;
        values[field.timeToLive] = frame[l3Offset + 7];
        copyUint48(frame, l3Offset + 8, values, field.ipv6Src);
        copyUint48(frame, l3Offset + 14, values, field.ipv6Src + 1);
        values[field.ipv6Src + 2] = readUint32(frame, l3Offset + 20);
        copyUint48(frame, l3Offset + 24, values, field.ipv6Dst);
        copyUint48(frame, l3Offset + 30, values, field.ipv6Dst + 1);
        values[field.ipv6Dst + 2] = readUint32(frame, l3Offset + 36);
        break;
      default:
        return;
    }
    values[field.network] = network;
    values[field.protocol] = headers.protocol;
    if (headers.icmpType >= 0) {
      values[field.transport] = headers.protocol;
      values[field.icmpType] = headers.icmpType;
      values[field.icmpCode] = headers.icmpCode;
    } else if (headers.srcPort >= 0) {
      values[field.transport] = headers.protocol;
      values[field.srcPort] = headers.srcPort;
      values[field.dstPort] = headers.dstPort;
      if (headers.tcpFlags >= 0) values[field.tcpFlags] = tcpFlagsKey(headers.tcpFlags);
      else if (withQuestions) this.questions.read(frame, headers);
    }
  }
}

/** `field.destination` of a frame to `mac`: a group's has the lowest bit of its first byte set (IEEE 802 §8.2.2). */
export function destinationOf(mac: number): number {
  if (mac === broadcastMac) return toBroadcast;
  return (Math.floor(mac / 0x100_0000_0000) & 1) === 1 ? toMulticast : mac;
}

/**
 * The flags byte with ack, rst, syn and fin on top, then psh, cwr, ece and urg: what tells the segments of a connection's
 * life apart decides the order, so that rules which ask for those only are one span.
 */
export function tcpFlagsKey(flags: number): number {
  return ((flags & 0x10) << 3) | ((flags & 7) << 4) | (flags & 8) | (flags >>> 5);
}

/** From bytes to a field. Not by way of a result: V8 would put a number so large on the heap. */
function copyUint48(bytes: Uint8Array, at: number, values: Float64Array, into: number): void {
  values[into] = readUint16(bytes, at) * 0x1_0000_0000 + readUint32(bytes, at + 2);
}
