/**
 * The TCP connections of a host, followed in the segments of both sides (RFC 9293 §3.3.1), so that keep-alives can be
 * answered with the host's numbers while it sleeps.
 *
 * Numbers are kept as signed 32-bit integers, which every engine holds without allocating: no segment of a known connection
 * allocates. Checksums are not verified: that would cost more than all the rest, and who can send a wrong segment can send
 * one with a right checksum. What a peer says is believed only of a connection that the host has spoken on.
 *
 * Bounded by `flowLimit`. A new connection makes room by pushing out, in this order, one that is closed, one the peer never
 * answered on, the one silent longest. One met in its middle takes only the place of a closed or dead one, so that a host
 * with more connections than there is room for costs no more than others.
 */

import { copyBytes, readUint32 } from '../core/bytes.js';
import { ipv4Length, ipv6Length } from '../wire/address.js';
import { type Headers, networkIpv4 } from '../wire/headers.js';
import { tcpMinLength } from '../wire/tcp.js';
import type { IdleConnection } from './responder.js';

/**
 * Ours: what a desktop keeps open while nobody uses it, with room to spare. A connection that is not known gets no
 * keep-alive answered; the rules then say what becomes of it.
 */
export const flowLimit = 32;
/** RFC 9293 §3.8.4: keep-alives come every two hours or oftener; after two of them without any, nobody is left. */
const deadMs = 2 * 2 * 3_600_000;

const flagFin = 0x01;
const flagSyn = 0x02;
const flagRst = 0x04;
const flagAck = 0x10;
/** RFC 7323 §3.2, behind two of no operation as its appendix A has it: 1, 1, 8, 10. */
const alignedTimestamps = 0x0101080a;
const optionTimestamps = 8;
const timestampsLength = 10;

/** Whose addresses a segment must come from to begin a connection. */
interface Owner {
  hasAddress(bytes: Uint8Array, at: number, length: number): boolean;
}

interface Flow {
  address: Uint8Array;
  port: number;
  peerAddress: Uint8Array;
  peerPort: number;
  heardAt: number;
  /** After FIN or RST. It stays, so that the acknowledgement of a FIN does not pass for a connection met in its middle. */
  isClosed: boolean;
  /** SND.NXT of the host, and how much the peer has acknowledged of what is before it. */
  sendNext: number;
  acknowledged: number;
  /** SND.NXT of the peer, once it was heard, and how much the host has acknowledged (RCV.NXT). */
  isAnswered: boolean;
  peerNext: number;
  receiveNext: number;
  window: number;
  hasTimestamp: boolean;
  timestamp: number;
}

export class TcpFlows {
  private readonly flows: Flow[] = [];

  /** The open connections on which all is acknowledged; a new array each time. */
  idle(): IdleConnection[] {
    const idle: IdleConnection[] = [];
    for (const flow of this.flows) {
      if (flow.isClosed || !flow.isAnswered) continue;
      if (flow.sendNext !== flow.acknowledged || flow.peerNext !== flow.receiveNext) continue;
      const { address, port, peerAddress, peerPort, window } = flow;
      const numbers = { sendNext: flow.sendNext >>> 0, receiveNext: flow.receiveNext >>> 0, window };
      const connection = { address, port, peerAddress, peerPort, ...numbers };
      idle.push(flow.hasTimestamp ? { ...connection, timestamp: flow.timestamp >>> 0 } : connection);
    }
    return idle;
  }

  /** A segment from the host, not of a later fragment. */
  sent(now: number, frame: Uint8Array, headers: Headers, owner: Owner): void {
    const { l4Offset: at, tcpFlags, srcPort, dstPort } = headers;
    const length = headers.network === networkIpv4 ? ipv4Length : ipv6Length;
    const srcAt = headers.l3Offset + (length === ipv4Length ? 12 : 8);
    let flow = this.find(frame, srcAt, srcPort, srcAt + length, dstPort, length);
    if ((tcpFlags & (flagRst | flagFin)) !== 0) {
      if (flow) flow.isClosed = true;
      return;
    }
    const isSyn = (tcpFlags & flagSyn) !== 0;
    const hasAck = (tcpFlags & flagAck) !== 0;
    if (!isSyn && !hasAck) return;
    const sequence = readUint32(frame, at + 4) | 0;
    const acknowledgment = readUint32(frame, at + 8) | 0;
    if (!flow || isSyn) {
      if (!flow) {
        if (!owner.hasAddress(frame, srcAt, length)) return;
        flow = this.makeRoom(now, isSyn);
        if (!flow) return;
        flow.address = copyBytes(frame, srcAt, srcAt + length);
        flow.port = srcPort;
        flow.peerAddress = copyBytes(frame, srcAt + length, srcAt + 2 * length);
        flow.peerPort = dstPort;
      }
      begin(flow, sequence, acknowledgment, isSyn && hasAck);
    }
    flow.heardAt = now;
    const end = endOf(frame, headers, sequence, isSyn);
    if (isAfter(end, flow.sendNext)) flow.sendNext = end;
    if (hasAck && isAfter(acknowledgment, flow.receiveNext)) flow.receiveNext = acknowledgment;
    // The host knows what it received, if this agent has missed it.
    if (flow.isAnswered && isAfter(flow.receiveNext, flow.peerNext)) flow.peerNext = flow.receiveNext;
    flow.window = (frame[at + 14] << 8) | frame[at + 15];
    const timestampAt = findTimestamp(frame, at);
    flow.hasTimestamp = timestampAt > 0;
    if (timestampAt > 0) flow.timestamp = readUint32(frame, timestampAt) | 0;
  }

  /** A segment to the host, not of a later fragment. */
  received(now: number, frame: Uint8Array, headers: Headers): void {
    const { l4Offset: at, tcpFlags, srcPort, dstPort } = headers;
    const length = headers.network === networkIpv4 ? ipv4Length : ipv6Length;
    const srcAt = headers.l3Offset + (length === ipv4Length ? 12 : 8);
    const flow = this.find(frame, srcAt + length, dstPort, srcAt, srcPort, length);
    if (!flow || flow.isClosed) return;
    const sequence = readUint32(frame, at + 4) | 0;
    if ((tcpFlags & flagRst) !== 0) {
      // RFC 5961 §3.2: any other is to be challenged. Before the peer was heard, none has a number to compare.
      if (!flow.isAnswered || sequence === flow.receiveNext) flow.isClosed = true;
      return;
    }
    if ((tcpFlags & flagAck) === 0) return;
    flow.heardAt = now;
    const isSyn = (tcpFlags & flagSyn) !== 0;
    const end = endOf(frame, headers, sequence, isSyn);
    if (!flow.isAnswered) {
      flow.isAnswered = true;
      if (isSyn) flow.receiveNext = sequence;
      flow.peerNext = isAfter(end, flow.receiveNext) ? end : flow.receiveNext;
    } else if (isAfter(end, flow.peerNext)) {
      flow.peerNext = end;
    }
    if ((tcpFlags & flagFin) !== 0) {
      if (!isAfter(flow.receiveNext, sequence)) flow.isClosed = true;
      return;
    }
    const acknowledgment = readUint32(frame, at + 8) | 0;
    if (!isAfter(acknowledgment, flow.acknowledged)) return;
    // One more than the host was heard to send is right if that was a probe, whose number is one too low. More than that
    // was sent unheard: the host's next segment will tell.
    if (acknowledgment === ((flow.sendNext + 1) | 0)) flow.sendNext = acknowledgment;
    if (!isAfter(acknowledgment, flow.sendNext)) flow.acknowledged = acknowledgment;
  }

  private find(
    frame: Uint8Array,
    addressAt: number,
    port: number,
    peerAddressAt: number,
    peerPort: number,
    length: number,
  ): Flow | undefined {
    const { flows } = this;
    for (let i = 0; i < flows.length; i++) {
      const flow = flows[i];
      if (flow.port !== port || flow.peerPort !== peerPort || flow.address.length !== length) continue;
      if (stands(flow.address, frame, addressAt) && stands(flow.peerAddress, frame, peerAddressAt))
        return flow;
    }
    return undefined;
  }

  /** The place for a connection; `undefined` if those there are have the better right to it. */
  private makeRoom(now: number, isNew: boolean): Flow | undefined {
    const { flows } = this;
    if (flows.length < flowLimit) {
      const none = new Uint8Array(0);
      const flow: Flow = {
        address: none,
        port: 0,
        peerAddress: none,
        peerPort: 0,
        heardAt: now,
        isClosed: false,
        sendNext: 0,
        acknowledged: 0,
        isAnswered: false,
        peerNext: 0,
        receiveNext: 0,
        window: 0,
        hasTimestamp: false,
        timestamp: 0,
      };
      flows.push(flow);
      return flow;
    }
    let worst = flows[0];
    let lowest = rank(worst);
    for (let i = 1; i < flows.length; i++) {
      const other = rank(flows[i]);
      if (other > lowest || (other === lowest && flows[i].heardAt >= worst.heardAt)) continue;
      worst = flows[i];
      lowest = other;
    }
    return isNew || worst.isClosed || now - worst.heardAt >= deadMs ? worst : undefined;
  }
}

/** The numbers of a connection before its first segment is counted. */
function begin(flow: Flow, sequence: number, acknowledgment: number, isAnswered: boolean): void {
  flow.isClosed = false;
  flow.sendNext = sequence;
  flow.acknowledged = (sequence - 1) | 0;
  flow.isAnswered = isAnswered;
  flow.peerNext = acknowledgment;
  flow.receiveNext = acknowledgment;
}

/** The sequence number after the segment, its SYN counted (RFC 9293 §3.4). */
function endOf(frame: Uint8Array, headers: Headers, sequence: number, isSyn: boolean): number {
  const headerLength = (frame[headers.l4Offset + 12] >>> 4) * 4;
  return (sequence + headers.l4End - headers.l4Offset - headerLength + (isSyn ? 1 : 0)) | 0;
}

/** RFC 9293 §3.4: modulo 2^32. */
function isAfter(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}

/** What is pushed out first. */
function rank(flow: Flow): number {
  return flow.isClosed ? 0 : flow.isAnswered ? 2 : 1;
}

/** Where the value of the timestamps option stands, −1 without one. */
function findTimestamp(frame: Uint8Array, start: number): number {
  const end = start + (frame[start + 12] >>> 4) * 4;
  let at = start + tcpMinLength;
  if (end - at >= 12 && readUint32(frame, at) === alignedTimestamps) return at + 4;
  while (at + 1 < end && frame[at] !== 0) {
    if (frame[at] === 1) {
      at++;
      continue;
    }
    const length = frame[at + 1];
    if (frame[at] === optionTimestamps)
      return length === timestampsLength && at + length <= end ? at + 2 : -1;
    if (length < 2) return -1;
    at += length;
  }
  return -1;
}

function stands(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== bytes[at + i]) return false;
  return true;
}
