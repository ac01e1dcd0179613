/**
 * A home that dials in to a BRAS: PPPoE discovery and PPP as agent/pppoe has them for a gateway, on one Ethernet without VLAN
 * tags. For measuring and testing the BRAS with both ends in one process; frames go out by a callback and come in by `receive`.
 */

import { encodeUtf8, readUint16, writeUint16 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { Digest } from '../../agent/port/digest.js';
import type { AuthenticationMethod } from '../../agent/pppoe/credentials.js';
import { DiscoveryClient } from '../../agent/pppoe/discovery-client.js';
import { pppCounters } from '../../agent/pppoe/ppp-counters.js';
import { type PppEvent, PppSession } from '../../agent/pppoe/ppp-session.js';
import { etherTypePppoeDiscovery, etherTypePppoeSession } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { emitPppoe, pppoeCode } from '../../agent/wire/pppoe.js';

export interface HomeOptions {
  /** 1 … 2^24 − 1: the end of its MAC. */
  readonly number: number;
  readonly user: string;
  readonly secret: string;
  readonly digest: Digest;
  /** The frame is the receiver's to keep. */
  readonly send: (frame: Uint8Array) => void;
  readonly methods?: readonly AuthenticationMethod[];
  readonly ipv6?: boolean;
  readonly echoIntervalMs?: number;
}

const clientCounters = new Counters(pppCounters);
const headers = new Headers();

/** A gateway that dials in: PPPoE client and PPP session. */
export class Home {
  readonly mac = new Uint8Array([2, 0, 0, 0, 0, 0]);
  readonly events: PppEvent[] = [];
  /** IP packets that came. */
  readonly packets: Uint8Array[] = [];
  ppp: PppSession | undefined;
  sessionId = 0;
  private acMac: Uint8Array = new Uint8Array(6);
  /** Of the AC, as PADT or its end of PPP had it. */
  closed = '';
  readonly discovery: DiscoveryClient;
  private readonly options: HomeOptions;
  private readonly random: Random;

  constructor(options: HomeOptions) {
    this.options = options;
    this.random = new Random(options.number, 'home');
    writeUint16(this.mac, 4, options.number & 0xffff);
    this.mac[3] = options.number >>> 16;
    this.discovery = new DiscoveryClient(
      {
        mac: this.mac,
        vlanTags: [],
        service: '',
        acName: '',
        gatherMs: 0,
        maxPayload: 1492,
      },
      {
        random: this.random,
        send: frame => options.send(frame.slice()),
        opened: (now, { sessionId, acMac }) => {
          this.acMac = acMac;
          this.sessionId = sessionId;
          this.begin(now);
        },
        closed: (now, reason) => {
          this.closed = reason;
          this.ppp?.lowerDown(now);
          this.ppp = undefined;
          this.discovery.stop(now);
        },
        refused: (_now, _ac, text) => {
          this.closed = text;
        },
      },
    );
  }

  get address(): number {
    for (let i = this.events.length - 1; i >= 0; i--) {
      const event = this.events[i];
      if (event.kind === 'ipv4-up') return event.local;
    }
    return 0;
  }

  get isUp(): boolean {
    return this.ppp !== undefined && this.address !== 0;
  }

  start(now: number): void {
    this.discovery.start(now);
  }

  receive(now: number, frame: Uint8Array): void {
    headers.scan(frame, 0, frame.length);
    if (readUint16(frame, 12) === etherTypePppoeDiscovery) {
      this.discovery.receive(now, frame, headers);
      return;
    }
    if (readUint16(frame, 16) !== this.sessionId) return;
    const end = 20 + readUint16(frame, 18);
    const protocol = readUint16(frame, 20);
    if (protocol === pppProtocol.ipv4 || protocol === pppProtocol.ipv6)
      this.packets.push(frame.slice(22, end));
    else this.ppp?.receive(now, protocol, frame, 22, end);
  }

  poll(now: number): void {
    if (this.discovery.pollAt() <= now) this.discovery.poll(now);
    if (this.ppp && this.ppp.pollAt() <= now) this.ppp.poll(now);
  }

  pollAt(): number {
    return Math.min(this.discovery.pollAt(), this.ppp?.pollAt() ?? never);
  }

  sendPpp(protocol: number, packet: Uint8Array): void {
    const frame = new Uint8Array(Math.max(60, 22 + packet.length));
    frame.set(this.acMac, 0);
    frame.set(this.mac, 6);
    writeUint16(frame, 12, etherTypePppoeSession);
    emitPppoe({ code: pppoeCode.session, sessionId: this.sessionId }, 2 + packet.length, frame, 14);
    writeUint16(frame, 20, protocol);
    frame.set(packet, 22);
    this.options.send(frame);
  }

  private begin(now: number): void {
    const {
      digest,
      user,
      secret,
      methods = ['chap-md5', 'pap', 'ms-chap-v2'],
      ipv6 = false,
      echoIntervalMs = 0,
    } = this.options;
    const ppp = new PppSession(
      now,
      {
        role: 'client',
        mru: 1492,
        authentication: methods,
        user: encodeUtf8(user),
        secret: encodeUtf8(secret),
        ipv6,
        echoIntervalMs,
        echoFailures: 3,
      },
      {
        random: this.random,
        digest,
        counters: clientCounters,
        send: (protocol, packet) => this.sendPpp(protocol, packet),
        event: (_now, event) => {
          this.events.push(event);
          if (event.kind === 'down' && this.ppp === ppp) this.ppp = undefined;
        },
      },
    );
    this.ppp = ppp;
    ppp.open(now);
  }
}
