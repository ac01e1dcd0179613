/**
 * What the gateway may send without the tunnel (software BRAS, §3.2.4: "install ACLs directly on home gateways"): the message
 * `acl` (messages.cddl), compiled, and what it says of each packet. Nothing passes that it does not name: a packet's source is
 * the subscriber's address or within his prefix, and his rate is a token bucket. Packets of the link itself, and IPv6
 * while the list names no prefix, stay in the tunnel.
 *
 * It names no VLAN: the BRAS's view may be an access node's making (TR-101 §3.1), so the gateway goes by its own.
 */

import { ok } from '../core/result.js';
import { parseDuration } from '../core/time.js';
import { type Judged, refuse } from '../message/judge.js';
import type { Acl } from '../message/messages.js';
import { parseIpv4Address, parseIpv6Address, parseMac } from '../wire/address.js';
import { ipv4MinLength } from '../wire/ipv4.js';
import { ipv6MinLength } from '../wire/ipv6.js';

export interface AccessList {
  readonly session: number;
  readonly brasMac: Uint8Array;
  readonly address: Uint8Array;
  readonly prefix: Uint8Array | undefined;
  readonly prefixLength: number;
  /** `undefined`: as fast as the line. */
  readonly upBitsPerSecond: number | undefined;
  readonly lifetimeMs: number;
}

/** How long a burst may be: that of a home's uplink queue; of 1500 bytes at least one packet passes at any rate. */
const burstMs = 250;
const leastBurstBytes = 3000;

/** The problem names the field whose value makes no sense. */
export function compileAcl(message: Acl): Judged<AccessList> {
  const brasMac = parseMac(message.bras) as Uint8Array;
  if ((brasMac[0] & 1) === 1)
    return refuse({
      field: 'bras',
      expected: 'the MAC address of the BRAS',
      got: `the group address ${message.bras}`,
    });
  const address = parseIpv4Address(message.ipv4);
  if (!address || address[0] === 0 || address[0] === 127 || address[0] >= 224)
    return refuse({ field: 'ipv4', expected: 'the IPv4 address of a host', got: `"${message.ipv4}"` });
  let prefix: Uint8Array | undefined;
  let prefixLength = 0;
  if (message.ipv6 !== undefined) {
    const slash = message.ipv6.indexOf('/');
    prefix = parseIpv6Address(message.ipv6.slice(0, slash));
    prefixLength = Number(message.ipv6.slice(slash + 1));
    if (!prefix || prefixLength < 1 || prefixLength > 128 || !isZeroBehind(prefix, prefixLength))
      return refuse({
        field: 'ipv6',
        expected: 'a prefix of 1 to 128 bits and nothing behind them, such as 2001:db8:1::/56',
        got: `"${message.ipv6}"`,
      });
  }
  const lifetimeMs = parseDuration(message.expires);
  if (lifetimeMs === undefined || lifetimeMs === 0)
    return refuse({
      field: 'expires',
      expected: 'a duration of 1ms to 3650d such as 5m',
      got: `"${message.expires}"`,
    });
  if (message.upBitsPerSecond === 0)
    return refuse({ field: 'upBitsPerSecond', expected: 'at least 1', got: '0' });
  return ok({
    session: message.session,
    brasMac,
    address,
    prefix,
    prefixLength,
    upBitsPerSecond: message.upBitsPerSecond,
    lifetimeMs,
  });
}

/** How the packet of the gateway's network `bytes[start, end)`, of IP version 4 or 6, may go. Allocates nothing. */
export function wayOut(
  list: AccessList,
  bytes: Uint8Array,
  start: number,
  end: number,
): 'plain' | 'tunnel' | 'refused' {
  if (bytes[start] >>> 4 === 6 && end - start >= ipv6MinLength) {
    if (!list.prefix) return 'tunnel';
    // fe80::/10 and the unspecified address speak to the BRAS alone (RFC 4291 §2.5.6, §2.5.2).
    if (isLinkLocal(bytes, start + 8) || isUnspecified(bytes, start + 8)) return 'tunnel';
  }
  return isSubscribers(list, 'source', bytes, start, end) ? 'plain' : 'refused';
}

/** Whether the IP packet `bytes[start, end)`, come without the tunnel, is the subscriber's, or for all on his line. Allocates nothing. */
export function mayComeIn(list: AccessList, bytes: Uint8Array, start: number, end: number): boolean {
  const version = bytes[start] >>> 4;
  if (version === 4 && end - start >= ipv4MinLength && bytes[start + 16] >>> 4 === 0xe) return true;
  if (version === 6 && list.prefix && end - start >= ipv6MinLength)
    if (bytes[start + 24] === 0xff || isLinkLocal(bytes, start + 24)) return true;
  return isSubscribers(list, 'destination', bytes, start, end);
}

function isSubscribers(
  list: AccessList,
  side: 'source' | 'destination',
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  const version = bytes[start] >>> 4;
  if (version === 4) {
    if (end - start < ipv4MinLength) return false;
    const at = start + (side === 'source' ? 12 : 16);
    for (let i = 0; i < 4; i++) if (bytes[at + i] !== list.address[i]) return false;
    return true;
  }
  const { prefix, prefixLength } = list;
  if (version !== 6 || !prefix || end - start < ipv6MinLength) return false;
  const at = start + (side === 'source' ? 8 : 24);
  let bit = 0;
  for (; bit + 8 <= prefixLength; bit += 8) if (bytes[at + bit / 8] !== prefix[bit / 8]) return false;
  if (bit === prefixLength) return true;
  const mask = 0xff00 >>> (prefixLength - bit);
  return ((bytes[at + bit / 8] ^ prefix[bit / 8]) & mask & 0xff) === 0;
}

function isLinkLocal(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0xfe && (bytes[at + 1] & 0xc0) === 0x80;
}

function isUnspecified(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 16; i++) if (bytes[at + i] !== 0) return false;
  return true;
}

/** A rate in bits per second, `undefined` for none. */
export class TokenBucket {
  private readonly bytesPerMs: number;
  private readonly most: number;
  private tokens: number;
  private filledAt: number;

  constructor(now: number, bitsPerSecond: number) {
    this.bytesPerMs = bitsPerSecond / 8000;
    this.most = Math.max(leastBurstBytes, this.bytesPerMs * burstMs);
    this.tokens = this.most;
    this.filledAt = now;
  }

  /** Takes `lengthBytes` if they are there. */
  take(now: number, lengthBytes: number): boolean {
    this.tokens = Math.min(this.most, this.tokens + (now - this.filledAt) * this.bytesPerMs);
    this.filledAt = now;
    if (this.tokens < lengthBytes) return false;
    this.tokens -= lengthBytes;
    return true;
  }
}

function isZeroBehind(bytes: Uint8Array, length: number): boolean {
  for (let bit = length; bit < 8 * bytes.length; bit++)
    if ((bytes[bit >>> 3] & (0x80 >>> (bit & 7))) !== 0) return false;
  return true;
}
