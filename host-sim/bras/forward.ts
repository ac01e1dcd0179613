/**
 * What a router does to a packet that it passes on (RFC 1812 §5.3.1, RFC 8200 §3): one hop less; and what it says of one that
 * it does not: that its hops ran out, or how long it may be (RFC 792, RFC 1191 §4; RFC 4443 §3.2, §3.3). An IPv4 packet that may
 * be fragmented is (RFC 791 §3.2).
 *
 * No error is sent about an error, a group's packet, a fragment that is not the first, or from a source that is nobody's
 * (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e), and `errorsPerSecond` in all at most (RFC 1812 §4.3.2.8). Lengths and the IPv4 checksum of
 * what comes in were verified (acl.ts).
 */

import { copyBytes, readUint16, readUint32, writeUint16 } from '../../agent/core/bytes.js';
import { internetChecksum, updateChecksum16 } from '../../agent/wire/checksum.js';
import { emitIcmp, icmpLength, icmpType } from '../../agent/wire/icmp.js';
import { emitIcmpv6, icmpv6Type } from '../../agent/wire/icmpv6.js';
import { emitIpv4, ipv4MinLength, protocolIcmp, protocolIcmpv6 } from '../../agent/wire/ipv4.js';
import { emitIpv6, extensionFragment, ipv6MinLength } from '../../agent/wire/ipv6.js';

/** RFC 1812 §4.3.2.8 wants a limit that can be set, and names none; Linux's icmp_msgs_per_sec and its burst. */
const errorsPerSecond = 1_000;
const errorBurst = 50;
/** How much of the packet is quoted: RFC 1812 §4.3.2.3 (576 bytes in all); RFC 4443 §3.2 (1280). */
const longestIpv4Error = 576;
const longestIpv6Error = 1_280;
const hops = 64;
const dontFragment = 0x4000;
const moreFragments = 0x2000;

export type ForwardError =
  | { readonly kind: 'hops' }
  | { readonly kind: 'too-long'; readonly mtuBytes: number };

/** Takes one hop from the packet at `start`. False, and nothing changed, if it has none left. */
export function takeHop(bytes: Uint8Array, start: number): boolean {
  if (bytes[start] >>> 4 === 6) {
    if (bytes[start + 7] <= 1) return false;
    bytes[start + 7]--;
    return true;
  }
  if (bytes[start + 8] <= 1) return false;
  const before = readUint16(bytes, start + 8);
  bytes[start + 8]--;
  const checksum = updateChecksum16(readUint16(bytes, start + 10), before, before - 0x100);
  writeUint16(bytes, start + 10, checksum);
  return true;
}

/**
 * The IPv4 packet `bytes[start, end)` in parts of `mtuBytes` at most (68 or more), each a packet with `headroomBytes` before it;
 * `undefined` if it may not be cut: IPv6, DF, or options, which would have to be told apart.
 */
export function fragments(
  bytes: Uint8Array,
  start: number,
  end: number,
  mtuBytes: number,
  headroomBytes: number,
): Uint8Array[] | undefined {
  const field = readUint16(bytes, start + 6);
  if (bytes[start] !== 0x45 || (field & dontFragment) !== 0) return undefined;
  const most = (mtuBytes - ipv4MinLength) & ~7;
  const parts: Uint8Array[] = [];
  for (let from = start + ipv4MinLength; from < end; from += most) {
    const to = Math.min(end, from + most);
    const part = new Uint8Array(headroomBytes + ipv4MinLength + to - from);
    part.set(bytes.subarray(start, start + ipv4MinLength), headroomBytes);
    part.set(bytes.subarray(from, to), headroomBytes + ipv4MinLength);
    writeUint16(part, headroomBytes + 2, part.length - headroomBytes);
    const place = (field & 0x1fff) + (from - start - ipv4MinLength) / 8;
    writeUint16(part, headroomBytes + 6, place | (to < end ? moreFragments : field & moreFragments));
    writeUint16(part, headroomBytes + 10, 0);
    const checksum = internetChecksum(part, headroomBytes, headroomBytes + ipv4MinLength);
    writeUint16(part, headroomBytes + 10, checksum);
    parts.push(part);
  }
  return parts;
}

/** What to say of packets that are not passed on. */
export class ForwardErrors {
  private emptyAt = 0;

  /** The packet that tells the sender of `bytes[start, end)`, from our address `source` (4 or 16 bytes); `undefined`: nothing. */
  about(
    now: number,
    error: ForwardError,
    source: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): Uint8Array | undefined {
    const isIpv4 = bytes[start] >>> 4 === 4;
    if (isIpv4 ? isUntoldIpv4(bytes, start) : isUntoldIpv6(error, bytes, start)) return undefined;
    const intervalMs = 1000 / errorsPerSecond;
    if (this.emptyAt - now > (errorBurst - 1) * intervalMs) return undefined;
    this.emptyAt = Math.max(this.emptyAt, now) + intervalMs;
    return isIpv4 ? ipv4Error(error, source, bytes, start, end) : ipv6Error(error, source, bytes, start, end);
  }
}

function isUntoldIpv4(bytes: Uint8Array, start: number): boolean {
  const from = bytes[start + 12];
  const isNobody = from === 0 || from === 127 || from >= 224;
  const isLaterFragment = (readUint16(bytes, start + 6) & 0x1fff) !== 0;
  const type = bytes[start + (bytes[start] & 15) * 4];
  const isError = bytes[start + 9] === protocolIcmp && type !== icmpType.echo && type !== icmpType.echoReply;
  return isNobody || isLaterFragment || isError || bytes[start + 16] >>> 4 === 0xe;
}

function isUntoldIpv6(error: ForwardError, bytes: Uint8Array, start: number): boolean {
  const isNobody =
    bytes[start + 8] === 0xff ||
    (readUint32(bytes, start + 8) |
      readUint32(bytes, start + 12) |
      readUint32(bytes, start + 16) |
      readUint32(bytes, start + 20)) ===
      0;
  const protocol = bytes[start + 6];
  const at = start + ipv6MinLength;
  const isLaterFragment = protocol === extensionFragment && (readUint16(bytes, at + 2) & 0xfff8) !== 0;
  const isError = protocol === protocolIcmpv6 && bytes[at] < icmpv6Type.echoRequest;
  // RFC 4443 §2.4 e.3: how long a packet may be is said of a group's too.
  return isNobody || isLaterFragment || isError || (bytes[start + 24] === 0xff && error.kind === 'hops');
}

/** Room for the headers of an error and behind it as much of the packet as `longest` bytes in all allow. */
function quoting(
  bytes: Uint8Array,
  start: number,
  end: number,
  headerBytes: number,
  longest: number,
): Uint8Array {
  const packet = new Uint8Array(Math.min(headerBytes + end - start, longest));
  packet.set(bytes.subarray(start, start + packet.length - headerBytes), headerBytes);
  return packet;
}

function ipv4Error(
  error: ForwardError,
  source: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
): Uint8Array {
  const packet = quoting(bytes, start, end, ipv4MinLength + icmpLength, longestIpv4Error);
  const length = packet.length - ipv4MinLength;
  const header =
    error.kind === 'hops'
      ? { type: icmpType.timeExceeded, code: 0, rest: 0 }
      : { type: icmpType.destinationUnreachable, code: 4, rest: error.mtuBytes };
  const carrier = {
    // RFC 1812 §4.3.2.5: internetwork control.
    dscp: 48,
    ecn: 0,
    identification: 0,
    dontFragment: false,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: hops,
    protocol: protocolIcmp,
    srcAddress: source,
    dstAddress: copyBytes(bytes, start + 12, start + 16),
    options: new Uint8Array(0),
  };
  emitIcmp(header, length - icmpLength, packet, emitIpv4(carrier, length, packet, 0));
  return packet;
}

function ipv6Error(
  error: ForwardError,
  source: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
): Uint8Array {
  const packet = quoting(bytes, start, end, ipv6MinLength + icmpLength, longestIpv6Error);
  const length = packet.length - ipv6MinLength;
  const header =
    error.kind === 'hops'
      ? { type: icmpv6Type.timeExceeded, code: 0, rest: 0 }
      : { type: icmpv6Type.packetTooBig, code: 0, rest: error.mtuBytes };
  const carrier = {
    dscp: 48,
    ecn: 0,
    flowLabel: 0,
    hopLimit: hops,
    srcAddress: source,
    dstAddress: copyBytes(bytes, start + 8, start + 24),
    extensions: [],
    protocol: protocolIcmpv6,
  };
  emitIcmpv6(header, length - icmpLength, carrier, packet, emitIpv6(carrier, length, packet, 0));
  return packet;
}
