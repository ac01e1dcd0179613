/**
 * The fast path of the session stage (RFC 2516 §6): the Ethernet, PPPoE and PPP headers popped from a frame, or pushed before a
 * packet, where the bytes lie. No payload is copied and nothing is allocated; what comes beside the offset stands in fields
 * of the object, valid until the next call.
 *
 *     in:  frame[start, end)  Ethernet · VLAN tags · PPPoE · protocol · packet · Ethernet padding
 *     out:                                                              packet
 *
 * On the way in everything that makes a frame the session's is checked: our MAC, version, type, code, length, session id, and the
 * host's MAC, link and VLAN tags. IP passes only over a session that is open (RFC 1661 §3.5, §3.7); control protocols pass
 * always. On the way out the tags are the row's, without priority. Bounded by two VLAN tags; IP that is longer than the
 * session's MRU is refused, and whoever forwards it tells the sender (RFC 1191 §4).
 */

import { readUint16, readUint32, writeUint16, writeUint32 } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import { ethernetHeaderLength, etherTypePppoeSession } from '../wire/ethernet.js';
import { pppProtocol } from '../wire/ppp.js';
import {
  pppoeCode,
  pppoeCodeOffset,
  pppoeHeaderLength,
  pppoeLengthOffset,
  pppoeSessionHeaderLength,
  pppoeSessionIdOffset,
  pppoeVersionType,
} from '../wire/pppoe.js';
import { isVlanTpid, vlanTagLength } from '../wire/vlan.js';
import { type SessionTable, stateOpen, tagAt } from './session-table.js';

/** The most that `encapsulate` writes before a packet: Ethernet, two VLAN tags, PPPoE and the PPP protocol number. */
export const encapsulationHeadroom = ethernetHeaderLength + 2 * vlanTagLength + pppoeSessionHeaderLength;

/** What `decapsulate` and `encapsulate` return instead of an offset. −code is the place of its counter in `dropNames`. */
export const dropTruncated = -1;
export const dropOtherType = -2;
export const dropWrongDestination = -3;
export const dropBadVersion = -4;
export const dropBadCode = -5;
export const dropBadLength = -6;
export const dropNoSession = -7;
/** The session is another host's: its MAC, link or VLAN tags differ. */
export const dropWrongHost = -8;
export const dropNotOpen = -9;
export const dropBadProtocol = -10;
export const dropNoHeadroom = -11;
export const dropTooLong = -12;

const dropNames = [
  'encapsulation.none',
  'encapsulation.truncated',
  'encapsulation.other-type',
  'encapsulation.wrong-destination',
  'encapsulation.bad-version',
  'encapsulation.bad-code',
  'encapsulation.bad-length',
  'encapsulation.no-session',
  'encapsulation.wrong-host',
  'encapsulation.not-open',
  'encapsulation.bad-protocol',
  'encapsulation.no-headroom',
  'encapsulation.too-long',
] as const;
export type EncapsulationCounter = (typeof dropNames)[number];

export class Encapsulation {
  readonly counters = new Counters<EncapsulationCounter>(dropNames);
  /** Of the packet handled last: its row in the table; where it ends, before Ethernet padding; its PPP protocol number. */
  row = 0;
  end = 0;
  protocol = 0;
  private readonly table: SessionTable;
  private readonly macHigh: number;
  private readonly macLow: number;

  /** `localMac`: ours, on every link. */
  constructor(table: SessionTable, localMac: Uint8Array) {
    this.table = table;
    this.macHigh = readUint16(localMac, 0);
    this.macLow = readUint32(localMac, 2);
  }

  /**
   * The offset of the packet in the frame `frame[start, end)` that came over `link`, or the negative reason to drop it.
   * Counts IP packets and their bytes in the row.
   */
  decapsulate(link: number, frame: Uint8Array, start: number, end: number): number {
    if (end - start < ethernetHeaderLength + pppoeSessionHeaderLength) return this.drop(dropTruncated);
    let at = start + ethernetHeaderLength;
    let outerTag = 0;
    let innerTag = 0;
    if (readUint16(frame, at - 2) !== etherTypePppoeSession) {
      outerTag = tagAt(frame, at - 2);
      if (outerTag === 0) return this.drop(dropOtherType);
      at += vlanTagLength;
      if (isVlanTpid(readUint16(frame, at - 2))) {
        innerTag = tagAt(frame, at - 2);
        at += vlanTagLength;
      }
      if (end - at < pppoeSessionHeaderLength) return this.drop(dropTruncated);
      if (readUint16(frame, at - 2) !== etherTypePppoeSession) return this.drop(dropOtherType);
    }
    if (readUint32(frame, start + 2) !== this.macLow || readUint16(frame, start) !== this.macHigh)
      return this.drop(dropWrongDestination);
    if (frame[at] !== pppoeVersionType) return this.drop(dropBadVersion);
    if (frame[at + pppoeCodeOffset] !== pppoeCode.session) return this.drop(dropBadCode);
    const length = readUint16(frame, at + pppoeLengthOffset);
    const payloadAt = at + pppoeHeaderLength;
    if (length > end - payloadAt) return this.drop(dropTruncated);
    if (length < pppoeSessionHeaderLength - pppoeHeaderLength) return this.drop(dropBadLength);
    const table = this.table;
    const row = table.rowOf[readUint16(frame, at + pppoeSessionIdOffset)];
    if (row === 0) return this.drop(dropNoSession);
    if (
      table.macLow[row] !== readUint32(frame, start + 8) ||
      table.macHigh[row] !== readUint16(frame, start + 6) ||
      table.link[row] !== link ||
      table.outerTag[row] !== outerTag ||
      table.innerTag[row] !== innerTag
    )
      return this.drop(dropWrongHost);
    this.row = row;
    this.end = payloadAt + length;
    const protocol = readUint16(frame, payloadAt);
    if (protocol !== pppProtocol.ipv4 && protocol !== pppProtocol.ipv6)
      return this.readProtocol(frame, payloadAt);
    this.protocol = protocol;
    return this.accept(payloadAt + 2);
  }

  /**
   * Writes the headers of the session in `row` before the packet `frame[start, end)`, which is its own end: returns the
   * offset of the frame, up to `encapsulationHeadroom` before `start`, or the negative reason. The protocol of an IP packet
   * is that of its version.
   */
  encapsulateIp(frame: Uint8Array, start: number, end: number, row: number): number {
    const table = this.table;
    const version = frame[start] >>> 4;
    if (version !== 4 && version !== 6) return this.drop(dropBadProtocol);
    if (table.state[row] !== stateOpen) return this.drop(table.id[row] === 0 ? dropNoSession : dropNotOpen);
    if (end - start > table.mru[row]) return this.drop(dropTooLong);
    const at = this.encapsulate(frame, start, end, row, version === 4 ? pppProtocol.ipv4 : pppProtocol.ipv6);
    if (at >= 0) {
      table.packetsOut[row]++;
      table.bytesOut[row] += end - start;
    }
    return at;
  }

  /** As `encapsulateIp`, for any PPP protocol, in any state, at any length, and without counting. */
  encapsulate(frame: Uint8Array, start: number, end: number, row: number, protocol: number): number {
    const table = this.table;
    const id = table.id[row];
    if (id === 0) return this.drop(dropNoSession);
    const outerTag = table.outerTag[row];
    const innerTag = table.innerTag[row];
    let at = start - ethernetHeaderLength - pppoeSessionHeaderLength;
    if (outerTag !== 0) at -= innerTag !== 0 ? 2 * vlanTagLength : vlanTagLength;
    if (at < 0) return this.drop(dropNoHeadroom);
    this.row = row;
    this.end = end;
    this.protocol = protocol;
    const frameAt = at;
    at = writeUint16(frame, at, table.macHigh[row]);
    at = writeUint32(frame, at, table.macLow[row]);
    at = writeUint16(frame, at, this.macHigh);
    at = writeUint32(frame, at, this.macLow);
    if (outerTag !== 0) at = writeUint32(frame, at, outerTag);
    if (innerTag !== 0) at = writeUint32(frame, at, innerTag);
    at = writeUint16(frame, at, etherTypePppoeSession);
    at = writeUint16(frame, at, pppoeVersionType * 0x100 + pppoeCode.session);
    at = writeUint16(frame, at, id);
    at = writeUint16(frame, at, end - start + pppoeSessionHeaderLength - pppoeHeaderLength);
    writeUint16(frame, at, protocol);
    return frameAt;
  }

  /**
   * What is not plainly IP: control protocols, and the two liberties peers take although RFC 2516 §7 denies the one and we refuse
   * the other: FF 03 before the protocol number, and a number of one byte.
   */
  private readProtocol(frame: Uint8Array, payloadAt: number): number {
    let at = payloadAt;
    if (this.end - at >= 2 && frame[at] === 0xff && frame[at + 1] === 0x03) at += 2;
    const isCompressed = at < this.end && (frame[at] & 1) === 1;
    const packetAt = at + (isCompressed ? 1 : 2);
    if (packetAt > this.end || frame[at] === 0xff) return this.drop(dropBadProtocol);
    this.protocol = isCompressed ? frame[at] : readUint16(frame, at);
    return this.accept(packetAt);
  }

  private accept(packetAt: number): number {
    if (this.protocol !== pppProtocol.ipv4 && this.protocol !== pppProtocol.ipv6) return packetAt;
    const table = this.table;
    if (table.state[this.row] !== stateOpen) return this.drop(dropNotOpen);
    table.packetsIn[this.row]++;
    table.bytesIn[this.row] += this.end - packetAt;
    return packetAt;
  }

  private drop(reason: number): number {
    this.counters.add(dropNames[-reason]);
    return reason;
  }
}
