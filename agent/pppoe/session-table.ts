/**
 * The sessions of an access concentrator (or of a gateway, which has one): a row each in flat typed arrays, so that an open
 * session is no object on the heap and a packet finds its row by two reads (software BRAS, §3.2.3.3: "a common database").
 *
 * Found by session id (RFC 2516 §4: 1 … 65534; 0 and 0xffff are reserved), by host (MAC, link and VLAN tags: a chain), by
 * IPv4 address and by IPv6 prefix (open addressing, half full at most). Ids go round the whole range before one comes again, so
 * that a late packet or PADT of a session closed does not meet a new one; rows are reused at once.
 * Bounded by `sessions`; a further one is refused (id 0). The columns grow by half (doubling would cost 500 bytes a session
 * just after), and are then other arrays: read them from the table anew after each `open`.
 */

import { readUint16, readUint32 } from '../core/bytes.js';
import { isVlanTpid, vlanTagLength } from '../wire/vlan.js';

export const maxSessions = 65_534;
/** RFC 2516 §4: "reserved for future use and MUST NOT be used". */
export const reservedSessionId = 0xffff;

/** Values of the column `state`. */
export const stateFree = 0;
/** PADS sent, and nobody has called `settle`: whoever asked has shown no more than that it hears us. */
export const stateHalfOpen = 1;
export const stateOpen = 2;

/** TR-101: an Agent Circuit or Remote ID has at most 63 characters. */
export const maxLineIdLength = 63;
const lineIdSlot = maxLineIdLength + 1;
const firstRows = 64;

/** Where a host is: what its frames must carry to be believed. */
export interface Host {
  /** The MAC's first two bytes, and its last four. */
  readonly macHigh: number;
  readonly macLow: number;
  /** The caller's number for the port, 0 … 65535. */
  readonly link: number;
  /** VLAN tags, tag protocol identifier × 65536 + VLAN identifier; 0 for none. */
  readonly outerTag: number;
  readonly innerTag: number;
}

export interface SessionTableOptions {
  /** 1 … 65534. */
  readonly sessions: number;
  /** Of the prefixes given to hosts, for `findIpv6`: 33 … 64, one length for all. */
  readonly ipv6PrefixLength?: number;
}

export class SessionTable {
  readonly limit: number;
  /** Sessions there are, and those of them half-open. */
  count = 0;
  halfOpenCount = 0;
  /** Rows in use lie below this; row 0 is none's. */
  rowEnd = 1;
  /** Row by session id; 0 for none. */
  readonly rowOf = new Uint16Array(0x10000);

  // The columns, by row.
  /** Session id; 0 if the row is free. */
  id = new Uint16Array(firstRows);
  state = new Uint8Array(firstRows);
  macHigh = new Uint16Array(firstRows);
  macLow = new Uint32Array(firstRows);
  link = new Uint16Array(firstRows);
  outerTag = new Uint32Array(firstRows);
  innerTag = new Uint32Array(firstRows);
  /** Bytes of PPP payload, behind the protocol number, that we may send: 1492 until the caller writes otherwise. */
  mru = new Uint16Array(firstRows);
  /** 0 for none. Set by `setIpv4`. */
  ipv4 = new Uint32Array(firstRows);
  /** The first 64 bits of the prefix; both 0 for none. Set by `setIpv6Prefix`. */
  ipv6High = new Uint32Array(firstRows);
  ipv6Low = new Uint32Array(firstRows);
  /** Interface identifiers of IPV6CP, two words each. */
  localInterfaceHigh = new Uint32Array(firstRows);
  localInterfaceLow = new Uint32Array(firstRows);
  peerInterfaceHigh = new Uint32Array(firstRows);
  peerInterfaceLow = new Uint32Array(firstRows);
  /** In: from the host. Bytes are of IP packets. */
  packetsIn = new Float64Array(firstRows);
  bytesIn = new Float64Array(firstRows);
  packetsOut = new Float64Array(firstRows);
  bytesOut = new Float64Array(firstRows);
  rateClass = new Uint16Array(firstRows);
  /** Milliseconds, as `now`. */
  openedAt = new Float64Array(firstRows);
  /** Seconds, by whoever counts echoes. */
  heardSeconds = new Uint32Array(firstRows);
  localMagic = new Uint32Array(firstRows);
  peerMagic = new Uint32Array(firstRows);
  lastIdentifier = new Uint8Array(firstRows);
  echoMisses = new Uint8Array(firstRows);
  /** Serial of the AC-Cookie the session was opened with (discovery-server.ts). */
  cookieSerial = new Uint32Array(firstRows);
  /** Of the limits by line there. */
  lineSlot = new Uint16Array(firstRows);
  /** Place of the service in the configuration. */
  service = new Uint8Array(firstRows);

  private circuitIds = new Uint8Array(firstRows * lineIdSlot);
  private remoteIds = new Uint8Array(firstRows * lineIdSlot);
  /** The next of the same host's chain, newest first; of a free row the next free one. */
  private nextOfHost = new Uint16Array(firstRows);
  private hostHeads = new Uint16Array(firstRows);
  /** Half-open sessions, oldest first. */
  private older = new Uint16Array(firstRows);
  private newer = new Uint16Array(firstRows);
  private oldestHalfOpen = 0;
  private newestHalfOpen = 0;
  private freeRow = 0;
  private lastId: number;
  private readonly ipv4Index = new RowIndex(firstRows);
  private readonly ipv6Index = new RowIndex(firstRows);
  private readonly ipv6Mask: number;

  /** `firstId`, 1 … 65534: where the ids begin. A random one keeps a restarted concentrator from giving out its old ids. */
  constructor(options: SessionTableOptions, firstId = 1) {
    const { sessions, ipv6PrefixLength = 64 } = options;
    if (!(sessions >= 1 && sessions <= maxSessions))
      throw new Error(`sessions: expected 1..${maxSessions}, got ${sessions}`);
    if (!(ipv6PrefixLength >= 33 && ipv6PrefixLength <= 64))
      throw new Error(`ipv6PrefixLength: expected 33..64, got ${ipv6PrefixLength}`);
    if (!(firstId >= 1 && firstId <= maxSessions))
      throw new Error(`firstId: expected 1..${maxSessions}, got ${firstId}`);
    this.limit = sessions;
    this.lastId = firstId - 1;
    this.ipv6Mask = (-1 << (64 - ipv6PrefixLength)) >>> 0;
  }

  /** A half-open session of `host` under a fresh id; 0 if the table is full. */
  open(now: number, host: Host): number {
    if (this.count === this.limit) return 0;
    let id = this.lastId;
    do id = id >= maxSessions ? 1 : id + 1;
    while (this.rowOf[id] !== 0);
    this.lastId = id;
    this.openAs(now, id, host);
    return id;
  }

  /** As `open` under an id of the caller's: one an AC gave, or that of a session moved here. False if it is taken, or the table full. */
  openAs(now: number, id: number, host: Host): boolean {
    if (!(id >= 1 && id <= maxSessions)) throw new Error(`id: expected 1..${maxSessions}, got ${id}`);
    if (this.rowOf[id] !== 0 || this.count === this.limit) return false;
    const row = this.takeRow();
    this.rowOf[id] = row;
    this.id[row] = id;
    this.state[row] = stateHalfOpen;
    this.macHigh[row] = host.macHigh;
    this.macLow[row] = host.macLow;
    this.link[row] = host.link;
    this.outerTag[row] = host.outerTag;
    this.innerTag[row] = host.innerTag;
    this.mru[row] = 1492;
    this.openedAt[row] = now;
    const head = this.hostSlot(row);
    this.nextOfHost[row] = this.hostHeads[head];
    this.hostHeads[head] = row;
    this.older[row] = this.newestHalfOpen;
    this.newer[row] = 0;
    if (this.newestHalfOpen !== 0) this.newer[this.newestHalfOpen] = row;
    else this.oldestHalfOpen = row;
    this.newestHalfOpen = row;
    this.count++;
    this.halfOpenCount++;
    return true;
  }

  /** The session has shown that somebody uses it. Again, or for an id without a session: nothing happens. */
  settle(id: number): void {
    const row = this.rowOf[id];
    if (row === 0 || this.state[row] !== stateHalfOpen) return;
    this.state[row] = stateOpen;
    this.leaveHalfOpen(row);
  }

  /** False if there is no such session. */
  close(id: number): boolean {
    const row = this.rowOf[id];
    if (row === 0) return false;
    if (this.state[row] === stateHalfOpen) this.leaveHalfOpen(row);
    this.setIpv4(row, 0);
    this.setIpv6Prefix(row, 0, 0);
    this.leaveHost(row);
    this.rowOf[id] = 0;
    this.clear(row);
    this.nextOfHost[row] = this.freeRow;
    this.freeRow = row;
    this.count--;
    return true;
  }

  /** The half-open session that has waited longest; 0 for none. */
  get oldestHalfOpenId(): number {
    return this.id[this.oldestHalfOpen];
  }

  /** The row of the newest session of `host`, then `nextRowOf` those before it; 0 for no more. */
  firstRowOf(host: Host): number {
    const head = hostHash(host.macHigh, host.macLow, host.link, host.outerTag, host.innerTag);
    return this.skipOthers(this.hostHeads[head & (this.hostHeads.length - 1)], host);
  }

  nextRowOf(row: number, host: Host): number {
    return this.skipOthers(this.nextOfHost[row], host);
  }

  isOf(row: number, host: Host): boolean {
    return (
      this.macLow[row] === host.macLow &&
      this.macHigh[row] === host.macHigh &&
      this.link[row] === host.link &&
      this.outerTag[row] === host.outerTag &&
      this.innerTag[row] === host.innerTag
    );
  }

  /** The address (0 for none) by which packets from the IP side find the row. False, and nothing changed, if another has it. */
  setIpv4(row: number, address: number): boolean {
    if (this.ipv4[row] === address) return true;
    if (address !== 0 && this.findIpv4(address) !== 0) return false;
    if (this.ipv4[row] !== 0) this.ipv4Index.remove(this.ipv4, this.ipv4, row);
    this.ipv4[row] = address;
    // One word is a key of two equal ones.
    if (address !== 0) this.ipv4Index.add(this.ipv4, this.ipv4, row);
    return true;
  }

  /** The row with this address (not 0); 0 for none. */
  findIpv4(address: number): number {
    return this.ipv4Index.find(this.ipv4, this.ipv4, address, address);
  }

  /** As `setIpv4`, of the prefix's first 64 bits (both 0: none); bits behind the prefix length do not count. */
  setIpv6Prefix(row: number, high: number, low: number): boolean {
    low = (low & this.ipv6Mask) >>> 0;
    const hasOne = (this.ipv6High[row] | this.ipv6Low[row]) !== 0;
    if (this.ipv6High[row] === high && this.ipv6Low[row] === low) return true;
    const hasNew = (high | low) !== 0;
    if (hasNew && this.findIpv6(high, low) !== 0) return false;
    if (hasOne) this.ipv6Index.remove(this.ipv6High, this.ipv6Low, row);
    this.ipv6High[row] = high;
    this.ipv6Low[row] = low;
    if (hasNew) this.ipv6Index.add(this.ipv6High, this.ipv6Low, row);
    return true;
  }

  /** The row whose prefix holds the address that begins with these 64 bits; 0 for none. */
  findIpv6(high: number, low: number): number {
    return this.ipv6Index.find(this.ipv6High, this.ipv6Low, high, (low & this.ipv6Mask) >>> 0);
  }

  /** The line as its access node names it (TR-101); at most 63 bytes, empty for none. A copy. */
  circuitId(row: number): Uint8Array {
    return readLineId(this.circuitIds, row);
  }

  remoteId(row: number): Uint8Array {
    return readLineId(this.remoteIds, row);
  }

  setLineIds(row: number, circuitId: Uint8Array, remoteId: Uint8Array): void {
    writeLineId(this.circuitIds, row, circuitId);
    writeLineId(this.remoteIds, row, remoteId);
  }

  /** Bytes of every array of the table. */
  get memoryBytes(): number {
    let bytes = this.rowOf.byteLength + this.ipv4Index.memoryBytes + this.ipv6Index.memoryBytes;
    for (const value of Object.values(this) as unknown[])
      if (value !== this.rowOf && isColumn(value)) bytes += value.byteLength;
    return bytes;
  }

  private takeRow(): number {
    const free = this.freeRow;
    if (free !== 0) {
      this.freeRow = this.nextOfHost[free];
      return free;
    }
    if (this.rowEnd === this.id.length) this.grow(Math.min(this.rowEnd + (this.rowEnd >> 1), this.limit + 1));
    return this.rowEnd++;
  }

  private clear(row: number): void {
    this.id[row] = 0;
    this.state[row] = stateFree;
    this.localInterfaceHigh[row] = 0;
    this.localInterfaceLow[row] = 0;
    this.peerInterfaceHigh[row] = 0;
    this.peerInterfaceLow[row] = 0;
    this.packetsIn[row] = 0;
    this.bytesIn[row] = 0;
    this.packetsOut[row] = 0;
    this.bytesOut[row] = 0;
    this.rateClass[row] = 0;
    this.heardSeconds[row] = 0;
    this.localMagic[row] = 0;
    this.peerMagic[row] = 0;
    this.lastIdentifier[row] = 0;
    this.echoMisses[row] = 0;
    this.cookieSerial[row] = 0;
    this.lineSlot[row] = 0;
    this.service[row] = 0;
    this.circuitIds[row * lineIdSlot] = 0;
    this.remoteIds[row * lineIdSlot] = 0;
  }

  private skipOthers(row: number, host: Host): number {
    while (row !== 0 && !this.isOf(row, host)) row = this.nextOfHost[row];
    return row;
  }

  private hostSlot(row: number): number {
    const hash = hostHash(
      this.macHigh[row],
      this.macLow[row],
      this.link[row],
      this.outerTag[row],
      this.innerTag[row],
    );
    return hash & (this.hostHeads.length - 1);
  }

  private leaveHost(row: number): void {
    const head = this.hostSlot(row);
    if (this.hostHeads[head] === row) {
      this.hostHeads[head] = this.nextOfHost[row];
      return;
    }
    let before = this.hostHeads[head];
    while (this.nextOfHost[before] !== row) before = this.nextOfHost[before];
    this.nextOfHost[before] = this.nextOfHost[row];
  }

  private leaveHalfOpen(row: number): void {
    const older = this.older[row];
    const newer = this.newer[row];
    if (older !== 0) this.newer[older] = newer;
    else this.oldestHalfOpen = newer;
    if (newer !== 0) this.older[newer] = older;
    else this.newestHalfOpen = older;
    this.halfOpenCount--;
  }

  /** To `rows` rows, 65535 at most. */
  private grow(rows: number): void {
    this.id = grown16(this.id, rows);
    this.state = grown8(this.state, rows);
    this.macHigh = grown16(this.macHigh, rows);
    this.macLow = grown32(this.macLow, rows);
    this.link = grown16(this.link, rows);
    this.outerTag = grown32(this.outerTag, rows);
    this.innerTag = grown32(this.innerTag, rows);
    this.mru = grown16(this.mru, rows);
    this.ipv4 = grown32(this.ipv4, rows);
    this.ipv6High = grown32(this.ipv6High, rows);
    this.ipv6Low = grown32(this.ipv6Low, rows);
    this.localInterfaceHigh = grown32(this.localInterfaceHigh, rows);
    this.localInterfaceLow = grown32(this.localInterfaceLow, rows);
    this.peerInterfaceHigh = grown32(this.peerInterfaceHigh, rows);
    this.peerInterfaceLow = grown32(this.peerInterfaceLow, rows);
    this.packetsIn = grown64(this.packetsIn, rows);
    this.bytesIn = grown64(this.bytesIn, rows);
    this.packetsOut = grown64(this.packetsOut, rows);
    this.bytesOut = grown64(this.bytesOut, rows);
    this.rateClass = grown16(this.rateClass, rows);
    this.openedAt = grown64(this.openedAt, rows);
    this.heardSeconds = grown32(this.heardSeconds, rows);
    this.localMagic = grown32(this.localMagic, rows);
    this.peerMagic = grown32(this.peerMagic, rows);
    this.lastIdentifier = grown8(this.lastIdentifier, rows);
    this.echoMisses = grown8(this.echoMisses, rows);
    this.cookieSerial = grown32(this.cookieSerial, rows);
    this.lineSlot = grown16(this.lineSlot, rows);
    this.service = grown8(this.service, rows);
    this.circuitIds = grown8(this.circuitIds, rows * lineIdSlot);
    this.remoteIds = grown8(this.remoteIds, rows * lineIdSlot);
    this.nextOfHost = grown16(this.nextOfHost, rows);
    this.older = grown16(this.older, rows);
    this.newer = grown16(this.newer, rows);
    this.hostHeads = new Uint16Array(powerOfTwo(rows));
    for (let row = 1; row < this.rowEnd; row++) {
      const head = this.hostSlot(row);
      this.nextOfHost[row] = this.hostHeads[head];
      this.hostHeads[head] = row;
    }
    this.ipv4Index.grow(rows);
    this.ipv6Index.grow(rows);
    for (let row = 1; row < this.rowEnd; row++) {
      if (this.ipv4[row] !== 0) this.ipv4Index.add(this.ipv4, this.ipv4, row);
      if ((this.ipv6High[row] | this.ipv6Low[row]) !== 0)
        this.ipv6Index.add(this.ipv6High, this.ipv6Low, row);
    }
  }
}

/**
 * The host that sent `frame` over `link`: the source MAC and up to two VLAN tags, without their priorities; `undefined` if
 * it carries more tags. `l3Offset` is where the tags and the EtherType end.
 */
export function hostOf(link: number, frame: Uint8Array, l3Offset: number): Host | undefined {
  const tagCount = (l3Offset - 14) / vlanTagLength;
  if (tagCount > 2) return undefined;
  return {
    macHigh: readUint16(frame, 6),
    macLow: readUint32(frame, 8),
    link,
    outerTag: tagCount > 0 ? tagAt(frame, 12) : 0,
    innerTag: tagCount > 1 ? tagAt(frame, 16) : 0,
  };
}

/** The VLAN tag at `at` as the table keeps it, 0 if there is none. */
export function tagAt(frame: Uint8Array, at: number): number {
  const tpid = readUint16(frame, at);
  return isVlanTpid(tpid) ? tpid * 0x10000 + (readUint16(frame, at + 2) & 0xfff) : 0;
}

/** Open addressing over rows: slots hold a row or 0, never more than half of them; removal leaves no gap (Knuth 6.4 R). */
class RowIndex {
  private slots: Uint16Array;

  constructor(rows: number) {
    this.slots = new Uint16Array(2 * powerOfTwo(rows));
  }

  get memoryBytes(): number {
    return this.slots.byteLength;
  }

  find(highs: Uint32Array, lows: Uint32Array, high: number, low: number): number {
    const mask = this.slots.length - 1;
    for (let slot = mix(high ^ mix(low)) & mask; ; slot = (slot + 1) & mask) {
      const row = this.slots[slot];
      if (row === 0 || (lows[row] === low && highs[row] === high)) return row;
    }
  }

  add(highs: Uint32Array, lows: Uint32Array, row: number): void {
    const mask = this.slots.length - 1;
    let slot = mix(highs[row] ^ mix(lows[row])) & mask;
    while (this.slots[slot] !== 0) slot = (slot + 1) & mask;
    this.slots[slot] = row;
  }

  remove(highs: Uint32Array, lows: Uint32Array, row: number): void {
    const mask = this.slots.length - 1;
    let gap = mix(highs[row] ^ mix(lows[row])) & mask;
    while (this.slots[gap] !== row) gap = (gap + 1) & mask;
    for (let slot = (gap + 1) & mask; this.slots[slot] !== 0; slot = (slot + 1) & mask) {
      const other = this.slots[slot];
      const home = mix(highs[other] ^ mix(lows[other])) & mask;
      // It may move back into the gap unless its home lies behind the gap, going round.
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
      this.slots[gap] = other;
      gap = slot;
    }
    this.slots[gap] = 0;
  }

  /** Empties the index. */
  grow(rows: number): void {
    this.slots = new Uint16Array(2 * powerOfTwo(rows));
  }
}

function hostHash(macHigh: number, macLow: number, link: number, outerTag: number, innerTag: number): number {
  return mix(macLow ^ mix(macHigh ^ (link << 16) ^ mix(outerTag ^ mix(innerTag))));
}

/** Spreads neighbouring addresses over 32 bits: a multiplication by the golden ratio's fraction (Knuth 6.4), in halves. */
function mix(value: number): number {
  const low = (value & 0xffff) * 0x9e3779b1;
  const high = (value >>> 16) * 0x9e3779b1;
  const product = (low + (high & 0xffff) * 0x10000) | 0;
  return (product ^ (product >>> 15)) >>> 0;
}

/** The smallest that is at least `count`. */
function powerOfTwo(count: number): number {
  let power = 1;
  while (power < count) power *= 2;
  return power;
}

function readLineId(column: Uint8Array, row: number): Uint8Array {
  const at = row * lineIdSlot;
  const id = new Uint8Array(column[at]);
  id.set(column.subarray(at + 1, at + 1 + id.length));
  return id;
}

function writeLineId(column: Uint8Array, row: number, id: Uint8Array): void {
  if (id.length > maxLineIdLength)
    throw new Error(`line id: expected at most ${maxLineIdLength} bytes, got ${id.length}`);
  column[row * lineIdSlot] = id.length;
  column.set(id, row * lineIdSlot + 1);
}

function isColumn(value: unknown): value is { readonly byteLength: number } {
  return typeof value === 'object' && value !== null && 'byteLength' in value;
}

function grown8(column: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(length);
  copy.set(column);
  return copy;
}

function grown16(column: Uint16Array, length: number): Uint16Array<ArrayBuffer> {
  const copy = new Uint16Array(length);
  copy.set(column);
  return copy;
}

function grown32(column: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const copy = new Uint32Array(length);
  copy.set(column);
  return copy;
}

function grown64(column: Float64Array, length: number): Float64Array<ArrayBuffer> {
  const copy = new Float64Array(length);
  copy.set(column);
  return copy;
}
