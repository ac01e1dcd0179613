/**
 * Pools of what subscribers are given: IPv4 addresses of one or more ranges, and IPv6 prefixes of one length.
 *
 * Taking the next, taking a certain one and giving back are O(1), but for the walk over the ranges (at most `rangeLimit`):
 * the free ones are a doubly linked list in typed arrays, 8 bytes each. What was given back goes to the end of the list, so
 * that an address comes again as late as can be. Bounded by `poolLimit`; an empty pool gives `undefined`.
 */

import { readUint32, writeUint32 } from '../../agent/core/bytes.js';
import { formatAddress, parseIpv4Address, parseIpv6Address } from '../../agent/wire/address.js';

/** 16 times what a BRAS has sessions: a /12. */
export const poolLimit = 1_048_576;
export const rangeLimit = 64;
/** `IndexPool.next` of an entry that is taken. */
const taken = 0xffffffff;

export interface Ipv4PoolOptions {
  /** `10.1.0.0/16`, without its first and last address, or `10.1.0.1-10.1.3.254`. */
  readonly ranges: readonly string[];
  /** Addresses of the ranges that are never given out, such as a router's. */
  readonly reserved?: readonly string[];
  /** A user gets the address he had last, if nobody has had it since. One word a name: a Map entry for each address of the pool at most. */
  readonly sticky?: boolean;
}

/** Addresses are 32-bit numbers in network order, as in the session table. */
export class Ipv4Pool {
  readonly size: number;
  private readonly ranges: readonly { readonly first: number; readonly count: number; readonly at: number }[];
  private readonly indexes: IndexPool;
  private readonly lastOf: Map<string, number> | undefined;
  private readonly lastUser: (string | undefined)[] = [];

  /** Throws, naming the range and the form expected, on one that is none or overlaps another. */
  constructor({ ranges, reserved = [], sticky = false }: Ipv4PoolOptions) {
    if (ranges.length < 1 || ranges.length > rangeLimit)
      throw new Error(`ranges: expected 1..${rangeLimit}, got ${ranges.length}`);
    const parsed = ranges
      .map((text, i) => parseRange(text, `ranges[${i}]`))
      .sort((a, b) => a.first - b.first);
    let size = 0;
    this.ranges = parsed.map(({ first, last }, i) => {
      if (i > 0 && first <= parsed[i - 1].last)
        throw new Error(`ranges: expected no overlap, got ${formatIpv4(first)} twice`);
      const range = { first, count: last - first + 1, at: size };
      size += range.count;
      return range;
    });
    if (size > poolLimit) throw new Error(`ranges: expected at most ${poolLimit} addresses, got ${size}`);
    this.size = size;
    this.indexes = new IndexPool(size);
    this.lastOf = sticky ? new Map() : undefined;
    for (const [i, text] of reserved.entries()) this.take(parseIpv4(text, `reserved[${i}]`));
  }

  get free(): number {
    return this.indexes.free;
  }

  get memoryBytes(): number {
    return this.indexes.memoryBytes;
  }

  /** The address longest free, or the user's own if the pool is sticky; `undefined`: none is free. */
  allocate(user?: string): number | undefined {
    const own = user === undefined ? undefined : this.lastOf?.get(user);
    const index = own !== undefined && this.indexes.take(own) ? own : this.indexes.allocate();
    if (index === undefined) return undefined;
    if (this.lastOf && user !== undefined) this.remember(index, user);
    return this.addressAt(index);
  }

  /** Takes a certain address. False if it is taken; true too for one outside the ranges, which is somebody else's to keep. */
  take(address: number): boolean {
    const index = this.indexOf(address);
    return index === undefined || this.indexes.take(index);
  }

  /** Whether `take` would take it. */
  canTake(address: number): boolean {
    const index = this.indexOf(address);
    return index === undefined || this.indexes.isFree(index);
  }

  /** Gives one back; one outside the ranges is ignored. */
  release(address: number): void {
    const index = this.indexOf(address);
    if (index !== undefined) this.indexes.release(index);
  }

  private remember(index: number, user: string): void {
    const before = this.lastUser[index];
    if (before === user) return;
    if (before !== undefined && this.lastOf?.get(before) === index) this.lastOf.delete(before);
    this.lastUser[index] = user;
    this.lastOf?.set(user, index);
  }

  private indexOf(address: number): number | undefined {
    for (const { first, count, at } of this.ranges)
      if (address >= first && address < first + count) return at + address - first;
    return undefined;
  }

  private addressAt(index: number): number {
    for (const { first, count, at } of this.ranges) if (index < at + count) return first + index - at;
    throw new Error(`index: expected 0..${this.size - 1}, got ${index}`);
  }
}

/** The first 64 bits of a prefix, as the session table keeps them. */
export interface PrefixBits {
  readonly high: number;
  readonly low: number;
}

/** Prefixes of `length` bits out of one shorter prefix. */
export class Ipv6PrefixPool {
  /** In bits, 33 … 64: what `SessionTable.findIpv6` can tell apart. */
  readonly length: number;
  readonly size: number;
  private readonly high: number;
  private readonly low: number;
  private readonly step: number;
  private readonly indexes: IndexPool;

  /** `prefix` such as `2001:db8::/40`. Throws on another form, or on more than `poolLimit` prefixes. */
  constructor(prefix: string, length = 64) {
    const [text, bits, ...more] = prefix.split('/');
    const address = parseIpv6Address(text);
    const baseLength = /^[0-9]{1,3}$/.test(bits ?? '') ? Number(bits) : -1;
    if (!address || more.length > 0 || baseLength < 16 || baseLength > 64)
      throw new Error(`prefix: expected such as 2001:db8::/40 with 16..64 bits, got ${prefix}`);
    if (!(length >= Math.max(33, baseLength) && length <= 64))
      throw new Error(`length: expected ${Math.max(33, baseLength)}..64, got ${length}`);
    this.size = 2 ** (length - baseLength);
    if (this.size > poolLimit)
      throw new Error(`prefix: expected at most ${poolLimit} of /${length} in ${prefix}`);
    this.length = length;
    this.high = readUint32(address, 0);
    this.low = readUint32(address, 4);
    const tail =
      (this.high % 2 ** Math.max(0, 32 - baseLength)) +
      (this.low % 2 ** Math.min(32, 64 - baseLength)) +
      readUint32(address, 8) +
      readUint32(address, 12);
    if (tail !== 0) throw new Error(`prefix: expected zeros behind bit ${baseLength}, got ${prefix}`);
    this.step = 2 ** (64 - length);
    this.indexes = new IndexPool(this.size);
  }

  get free(): number {
    return this.indexes.free;
  }

  allocate(): PrefixBits | undefined {
    const index = this.indexes.allocate();
    if (index === undefined) return undefined;
    const offset = index * this.step;
    return { high: this.high + Math.floor(offset / 2 ** 32), low: this.low + (offset % 2 ** 32) };
  }

  /** As `Ipv4Pool.take`. */
  take(prefix: PrefixBits): boolean {
    const index = this.indexOf(prefix);
    return index === undefined || this.indexes.take(index);
  }

  canTake(prefix: PrefixBits): boolean {
    const index = this.indexOf(prefix);
    return index === undefined || this.indexes.isFree(index);
  }

  release(prefix: PrefixBits): void {
    const index = this.indexOf(prefix);
    if (index !== undefined) this.indexes.release(index);
  }

  private indexOf({ high, low }: PrefixBits): number | undefined {
    // Exact: at most 2^48 apart, or it is none of ours.
    const index = ((high - this.high) * 2 ** 32 + (low - this.low)) / this.step;
    return index >= 0 && index < this.size && Number.isInteger(index) ? index : undefined;
  }
}

/** Which of 0 … size − 1 are free. */
class IndexPool {
  free: number;
  /** A ring through `size`, which is no index but the list's head. */
  private readonly next: Uint32Array;
  private readonly previous: Uint32Array;
  private readonly head: number;

  constructor(size: number) {
    this.head = size;
    this.free = size;
    this.next = new Uint32Array(size + 1);
    this.previous = new Uint32Array(size + 1);
    for (let i = 0; i <= size; i++) {
      this.next[i] = i === size ? 0 : i + 1;
      this.previous[i] = i === 0 ? size : i - 1;
    }
  }

  get memoryBytes(): number {
    return this.next.byteLength + this.previous.byteLength;
  }

  allocate(): number | undefined {
    if (this.free === 0) return undefined;
    const index = this.next[this.head];
    this.take(index);
    return index;
  }

  isFree(index: number): boolean {
    return this.next[index] !== taken;
  }

  /** False if it is taken. */
  take(index: number): boolean {
    if (this.next[index] === taken) return false;
    this.next[this.previous[index]] = this.next[index];
    this.previous[this.next[index]] = this.previous[index];
    this.next[index] = taken;
    this.free--;
    return true;
  }

  /** To the end of the list; one that is free stays where it is. */
  release(index: number): void {
    if (this.next[index] !== taken) return;
    const last = this.previous[this.head];
    this.next[last] = index;
    this.previous[index] = last;
    this.next[index] = this.head;
    this.previous[this.head] = index;
    this.free++;
  }
}

export function formatIpv4(address: number): string {
  return formatAddress(ipv4Bytes(address));
}

export function ipv4Bytes(address: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeUint32(bytes, 0, address);
  return bytes;
}

/** Throws, naming `field`, on a text that is no dotted quad. */
export function parseIpv4(text: string, field: string): number {
  const address = parseIpv4Address(text);
  if (!address) throw new Error(`${field}: expected an IPv4 address such as 10.1.0.1, got ${text}`);
  return readUint32(address, 0);
}

function parseRange(text: string, field: string): { readonly first: number; readonly last: number } {
  const slash = text.indexOf('/');
  const dash = text.indexOf('-');
  if (slash > 0) {
    const length = /^[0-9]{1,2}$/.test(text.slice(slash + 1)) ? Number(text.slice(slash + 1)) : -1;
    if (length < 8 || length > 32) throw new Error(`${field}: expected a prefix length 8..32, got ${text}`);
    const base = parseIpv4(text.slice(0, slash), field);
    const count = 2 ** (32 - length);
    if (base % count !== 0) throw new Error(`${field}: expected zeros behind bit ${length}, got ${text}`);
    // A subscriber's address is a route of its own, but hosts take the first and last of a network for no host's (RFC 1122 §3.2.1.3).
    return count <= 2 ? { first: base, last: base + count - 1 } : { first: base + 1, last: base + count - 2 };
  }
  if (dash > 0) {
    const first = parseIpv4(text.slice(0, dash), field);
    const last = parseIpv4(text.slice(dash + 1), field);
    if (last < first) throw new Error(`${field}: expected its last address behind the first, got ${text}`);
    return { first, last };
  }
  throw new Error(`${field}: expected such as 10.1.0.0/16 or 10.1.0.1-10.1.3.254, got ${text}`);
}
