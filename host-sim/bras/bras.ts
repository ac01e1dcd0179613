/**
 * The software BRAS, sans I/O (the seed, §3.2): PPPoE discovery and PPP towards the access network, IP packets towards the
 * core. It takes frames and packets with the time they came at and calls back with what is to be sent; sockets, a simulator
 * or a test stand around it.
 *
 *     access → discovery (agent/pppoe)   → a PppSession while a session negotiates, columns once it is open and quiet
 *            → session frames, IP        → decapsulation → source check → IGMP proxy, router advertisement | shaper → IP side
 *     IP side → session by address       → shaper → encapsulation, or plain Ethernet where no tunnel is used → access
 *
 * It is a router between them (forward.ts): it takes a hop from each packet, fragments what is too long for a session, or says so.
 * IPv4 and IPv6 pass only while their control protocol is open: outside that the session's address is in no index. A session
 * that is up without IPv4 gives its address back once it rests, and takes another should it want IPv4 later. Every session is
 * looked at once a second, in `slots` lots; times of sessions are whole seconds.
 *
 * Bounded by the session table and the discovery server's limits; see shaper.ts, igmp-proxy.ts, attempt-limit.ts for theirs.
 */

import { encodeUtf8, formatHex, readUint16, readUint32, writeUint32 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import type { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { Digest } from '../../agent/port/digest.js';
import type { Entropy } from '../../agent/pppoe/authentication.js';
import { automatonState } from '../../agent/pppoe/automaton.js';
import type { AuthenticationMethod, Credentials } from '../../agent/pppoe/credentials.js';
import {
  type DiscoveryLimits,
  DiscoveryServer,
  defaultDiscoveryLimits,
  type PadoDelay,
  type ServerCloseReason,
  type SessionRequest,
} from '../../agent/pppoe/discovery-server.js';
import { answerEcho, echoBytes, echoMagic, emitEchoRequest, isEcho } from '../../agent/pppoe/echo.js';
import { Encapsulation, encapsulationHeadroom } from '../../agent/pppoe/encapsulation.js';
import { clampMss } from '../../agent/pppoe/mss.js';
import { pppCounters } from '../../agent/pppoe/ppp-counters.js';
import {
  type PppConfig,
  type PppDownReason,
  type PppEvent,
  PppSession,
} from '../../agent/pppoe/ppp-session.js';
import { maxSessions, SessionTable, stateOpen } from '../../agent/pppoe/session-table.js';
import { formatMac } from '../../agent/wire/address.js';
import { etherTypePppoeDiscovery, etherTypePppoeSession } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { protocolIgmp } from '../../agent/wire/ipv4.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { pppoeSessionHeaderLength } from '../../agent/wire/pppoe.js';
import { isVlanTpid, vlanTagLength } from '../../agent/wire/vlan.js';
import type { Aaa, AaaVerdict, SessionControl, SessionName, Subscriber, TerminateCause } from './aaa.js';
import { checkSource, foreignSource, ipLength, ipv6LowMask, linkLocalPacket } from './acl.js';
import { formatIpv4, type Ipv4Pool, type Ipv6PrefixPool, ipv4Bytes } from './address-pool.js';
import { AttemptLimit } from './attempt-limit.js';
import { type ForwardError, ForwardErrors, fragments, takeHop } from './forward.js';
import { IgmpProxy } from './igmp-proxy.js';
import { advertise, advertiseIntervalMs, isSolicitation } from './router-advertisement.js';
import { type CommonGrant, macOf, SessionColumns } from './session-columns.js';
import { type RateClassOptions, Shaper } from './shaper.js';

export interface BrasConfig extends CommonGrant {
  /** Ours on the access side. */
  readonly mac: Uint8Array;
  readonly acName: string;
  readonly services: readonly string[];
  /** Bytes of PPP payload the access links carry: 1492 on Ethernet's 1500. */
  readonly maxPayload: number;
  /** Best first. */
  readonly authentication: readonly AuthenticationMethod[];
  /** 1 … 65534. */
  readonly sessions: number;
  readonly pool: Ipv4Pool;
  /** Left out: no IPv6. */
  readonly prefixes?: Ipv6PrefixPool;
  /** 16 bytes each. */
  readonly ipv6Dns?: readonly Uint8Array[];
  /** Echoes go to sessions not heard of for so long; whole seconds, 0: none. */
  readonly echoIntervalMs: number;
  readonly echoFailures: number;
  /** A second session of the same user: the first gives way, or the second does not come up, or both stay. */
  readonly sameUser: 'replace' | 'refuse' | 'allow';
  /** Of accounting, unless AAA says otherwise; 0: none. */
  readonly interimS: number;
  /** Up: from the subscriber. The same names in the same order; the first is the default. */
  readonly rateClasses: {
    readonly up: readonly RateClassOptions[];
    readonly down: readonly RateClassOptions[];
  };
  readonly portBytesPerSecond?: number;
  /** Of packets that wait in the shapers, each direction. */
  readonly shaperMemoryBytes: number;
  readonly limits?: DiscoveryLimits;
  readonly padoDelays?: readonly PadoDelay[];
  /** 16 hex digits or so: tells this BRAS and this start of it from all others. */
  readonly instance: string;
}

export interface BrasCalls {
  readonly digest: Digest;
  /** From the platform: nobody can guess them. */
  readonly entropy: Entropy;
  newKey(): Uint8Array;
  /** For delays only. */
  readonly random: Random;
  readonly aaa: Aaa;
  /** A frame `bytes[start, end)`, lent until this returns. */
  sendAccess(link: number, bytes: Uint8Array, start: number, end: number): void;
  /** An IP packet `bytes[start, end)` with at least 14 bytes of headroom, lent until this returns. */
  sendIp(now: number, bytes: Uint8Array, start: number, end: number): void;
  /** For people; never a password. */
  log(now: number, line: string): void;
}

/** What may stand beside the tunnel (bras-acl.ts). */
export interface Bypass {
  opened(now: number, row: number): void;
  closed(now: number, row: number): void;
  /** Packets of that session go without the tunnel, and may be as long as the access network carries. */
  isDirect(now: number, row: number): boolean;
  /** Writes the header of a plain frame before the packet, of a session that is direct, and returns where it begins. */
  address(row: number, bytes: Uint8Array, start: number): number;
  /** Row of the session that may send this plain frame (`at`: the IP packet in it), 0 for none. */
  admit(now: number, link: number, frame: Uint8Array, at: number, end: number): number;
}

const counterNames = [
  'bras.opened',
  'bras.closed',
  'bras.frozen',
  'bras.thawed',
  'bras.authentication.accepted',
  'bras.authentication.refused',
  'bras.authentication.blocked',
  'bras.authentication.no-answer',
  'bras.refused.same-user',
  'bras.refused.other-user',
  'bras.refused.no-address',
  'bras.refused.address-in-use',
  'bras.unknown-rate-class',
  'bras.no-prefix',
  'bras.echo-sent',
  'bras.echo-answered',
  'bras.looped-echo',
  'bras.session-timeout',
  'bras.up',
  'bras.down',
  'bras.plain-up',
  'bras.plain-down',
  'bras.drop.other-type',
  'bras.drop.malformed',
  'bras.drop.foreign-source',
  'bras.drop.link-local',
  'bras.drop.no-session',
  'bras.drop.plain',
  'bras.drop.hops',
  'bras.drop.too-long',
  'bras.fragmented',
  'bras.icmp-error',
  'bras.address-unused',
  'bras.advertised',
  'bras.drained',
] as const;
export type BrasCounter = (typeof counterNames)[number];

/** Lots a second: sessions are looked at evenly over it. */
const slots = 16;
const slotMs = 1000 / slots;
/** Keys of wrong passwords that are remembered: users and MACs. */
const attemptKeys = 65_536;
const groupMembershipsPerSession = 4;

interface Talk {
  readonly row: number;
  readonly ppp: PppSession;
  readonly request: SessionRequest;
  user: string;
  verdictSent: boolean;
}

export class Bras implements SessionControl {
  readonly counters = new Counters<BrasCounter>(counterNames);
  readonly pppCounters = new Counters(pppCounters);
  readonly table: SessionTable;
  readonly discovery: DiscoveryServer;
  readonly encapsulation: Encapsulation;
  readonly columns = new SessionColumns();
  readonly igmp: IgmpProxy;
  readonly shapers: { readonly up: Shaper; readonly down: Shaper };
  readonly attempts = new AttemptLimit(attemptKeys);
  readonly config: BrasConfig;
  /** Set by whoever has it. */
  bypass: Bypass | undefined;
  /** By row; '' for nobody. */
  readonly users: string[] = [];
  /** What RADIUS gave to be given back, and accounting ids from before a migration, by row: few have either. */
  readonly classes = new Map<number, readonly Uint8Array[]>();
  readonly movedIds = new Map<number, string>();
  private readonly calls: BrasCalls;
  private readonly talks = new Map<number, Talk>();
  private readonly rowOfUser = new Map<string, number>();
  private readonly headers = new Headers();
  private readonly errors = new ForwardErrors();
  private readonly lowMask: number;
  private readonly pppConfigs = new Map<number, PppConfig>();
  /** For what is sent that was not received: headroom, and the longest packet behind it. */
  private readonly scratch = new Uint8Array(encapsulationHeadroom + 65_535);
  private slot = 0;
  private slotAt: number;
  private drainAt = never;
  private drainIdleS = 0;
  /** It was exported: another BRAS speaks now. */
  private isSilent = false;

  constructor(now: number, config: BrasConfig, calls: BrasCalls) {
    const { up, down } = config.rateClasses;
    if (up.length !== down.length || up.some((one, i) => one.name !== down[i].name))
      throw new Error('rateClasses: expected the same names up and down');
    if (config.echoIntervalMs % 1000 !== 0)
      throw new Error(`echoIntervalMs: expected whole seconds, got ${config.echoIntervalMs} ms`);
    this.config = config;
    this.calls = calls;
    this.slotAt = now;
    const ipv6PrefixLength = config.prefixes?.length ?? 64;
    this.lowMask = ipv6LowMask(ipv6PrefixLength);
    const firstId = 1 + (readUint32(calls.newKey(), 0) % maxSessions);
    this.table = new SessionTable({ sessions: config.sessions, ipv6PrefixLength }, firstId);
    this.encapsulation = new Encapsulation(this.table, config.mac);
    this.discovery = new DiscoveryServer(
      now,
      {
        mac: config.mac,
        acName: config.acName,
        services: config.services,
        maxPayload: config.maxPayload,
        openTimeoutMs: 90_000,
        padoDelays: config.padoDelays ?? [],
        limits: config.limits ?? defaultDiscoveryLimits,
      },
      {
        digest: calls.digest,
        newKey: () => calls.newKey(),
        send: (link, frame) => this.sendAccess(link, frame, 0, frame.length),
        opened: (at, id, request) => this.begin(at, id, request),
        closed: (at, id, reason) => this.ended(at, this.table.rowOf[id], causes[reason]),
      },
      this.table,
    );
    const memoryBytes = config.shaperMemoryBytes;
    const port = config.portBytesPerSecond;
    const shaper = (
      classes: readonly RateClassOptions[],
      send: (row: number, bytes: Uint8Array, start: number, at: number) => void,
    ) =>
      new Shaper(
        {
          classes,
          memoryBytes,
          headroomBytes: encapsulationHeadroom,
          ...(port !== undefined && { portBytesPerSecond: port }),
        },
        (at, row, bytes, start) => send(row, bytes, start, at),
      );
    this.shapers = {
      up: shaper(up, (_row, bytes, start, at) => calls.sendIp(at, bytes, start, bytes.length)),
      down: shaper(down, (row, bytes, start, at) => this.toSession(at, row, bytes, start, bytes.length)),
    };
    this.igmp = new IgmpProxy({
      memberships: groupMembershipsPerSession * config.sessions,
      upstreamAddress: config.local,
      sessionAddress: config.local,
      random: calls.random,
      toSession: (at, row, packet) => this.copyToSession(at, row, packet, 0, packet.length),
      toUpstream: (at, packet) => {
        this.scratch.set(packet, encapsulationHeadroom);
        calls.sendIp(at, this.scratch, encapsulationHeadroom, encapsulationHeadroom + packet.length);
      },
    });
  }

  /** Sessions that are up. */
  get openCount(): number {
    return this.table.count - this.table.halfOpenCount;
  }

  /** Sessions with an object. */
  get talkingCount(): number {
    return this.talks.size;
  }

  /** A frame from an access link. It may be changed in place. */
  receiveAccess(now: number, link: number, frame: Uint8Array): void {
    if (this.isSilent) return;
    let at = 12;
    for (let tags = 0; tags < 2 && isVlanTpid(readUint16(frame, at)); tags++) at += vlanTagLength;
    const etherType = readUint16(frame, at);
    if (etherType === etherTypePppoeSession) this.receiveSession(now, link, frame);
    else if (etherType === etherTypePppoeDiscovery) {
      this.headers.scan(frame, 0, frame.length);
      this.discovery.receive(now, link, frame, this.headers);
    } else if (this.bypass) {
      const row = this.bypass.admit(now, link, frame, at + 2, frame.length);
      if (row === 0) this.counters.add('bras.drop.plain');
      else {
        this.counters.add('bras.plain-up');
        this.fromSubscriber(now, row, frame, at + 2, frame.length);
      }
    } else this.counters.add('bras.drop.other-type');
  }

  /** An IP packet `bytes[start, end)` from the core, with `encapsulationHeadroom` before it. It may be changed in place. */
  receiveIp(now: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.isSilent) return;
    const length = ipLength(bytes, start, end);
    if (length < 0) {
      this.counters.add('bras.drop.malformed');
      return;
    }
    const packetEnd = start + length;
    const { table } = this;
    let row = 0;
    if (bytes[start] >>> 4 === 4) {
      const to = readUint32(bytes, start + 16);
      if (bytes[start + 9] === protocolIgmp) {
        this.igmp.fromUpstream(now, bytes, start, packetEnd);
        return;
      }
      if (to >>> 28 === 0xe) {
        const source = readUint32(bytes, start + 12);
        if (!takeHop(bytes, start)) this.counters.add('bras.drop.hops');
        else
          this.igmp.replicate(to, source, member => this.copyToSession(now, member, bytes, start, packetEnd));
        return;
      }
      row = to === 0 ? 0 : table.findIpv4(to);
    } else {
      row = table.findIpv6(readUint32(bytes, start + 24), readUint32(bytes, start + 28));
    }
    if (row === 0 || table.state[row] !== stateOpen) {
      this.counters.add('bras.drop.no-session');
      return;
    }
    this.columns.activeS[row] = seconds(now);
    if (!takeHop(bytes, start)) {
      this.counters.add('bras.drop.hops');
      this.tellCore(now, row, { kind: 'hops' }, bytes, start, packetEnd);
      return;
    }
    clampMss(bytes, start, packetEnd, table.mru[row]);
    const mtuBytes = this.bypass?.isDirect(now, row)
      ? this.config.maxPayload + pppoeSessionHeaderLength
      : table.mru[row];
    if (length <= mtuBytes) {
      this.shape(now, row, bytes, start, packetEnd);
      return;
    }
    const parts = fragments(bytes, start, packetEnd, mtuBytes, encapsulationHeadroom);
    if (!parts) {
      this.counters.add('bras.drop.too-long');
      this.tellCore(now, row, { kind: 'too-long', mtuBytes }, bytes, start, packetEnd);
      return;
    }
    this.counters.add('bras.fragmented');
    for (const part of parts) this.shape(now, row, part, encapsulationHeadroom, part.length);
  }

  /** Ends a session with a PADT that says why; nothing if there is none. */
  close(now: number, id: number, text: string, cause: TerminateCause): void {
    const row = this.table.rowOf[id];
    if (row === 0) return;
    this.ended(now, row, cause);
    this.discovery.close(id, text);
  }

  disconnect(now: number, name: SessionName): number {
    const rows = this.rowsOf(name);
    for (const row of rows)
      this.close(now, this.table.id[row], 'disconnected by the provider', 'admin-reset');
    return rows.length;
  }

  changeRateClass(now: number, name: SessionName, rateClass: string): number | undefined {
    const index = this.shapers.up.classOf(rateClass);
    if (index === undefined) return undefined;
    const rows = this.rowsOf(name);
    for (const row of rows) {
      this.table.rateClass[row] = index;
      this.bypass?.opened(now, row);
    }
    return rows.length;
  }

  /** No new sessions; those without traffic for `idleMs` are closed, and at `deadlineAt` all of them. */
  drain(deadlineAt: number, idleMs: number): void {
    this.discovery.isDraining = true;
    this.drainAt = deadlineAt;
    this.drainIdleS = Math.ceil(idleMs / 1000);
  }

  poll(now: number): void {
    if (this.isSilent) return;
    this.calls.aaa.poll(now);
    this.discovery.poll(now);
    this.shapers.up.poll(now);
    this.shapers.down.poll(now);
    this.igmp.poll(now);
    if (now < this.slotAt) return;
    for (const talk of [...this.talks.values()])
      if (talk.ppp.pollAt() <= now && this.talks.get(talk.row) === talk) {
        talk.ppp.poll(now);
        this.settleDown(now, talk);
      }
    // After a pause each lot has its turn once, not once for every second missed.
    let turns = Math.min(slots, 1 + Math.floor((now - this.slotAt) / slotMs));
    this.slotAt = Math.max(this.slotAt + slotMs * turns, now);
    for (; turns > 0; turns--) {
      this.slot = (this.slot + 1) % slots;
      for (let row = this.slot; row < this.table.rowEnd; row += slots) if (row > 0) this.turn(now, row);
    }
  }

  pollAt(): number {
    if (this.isSilent) return never;
    return Math.min(
      this.table.count > 0 ? this.slotAt : never,
      this.calls.aaa.pollAt(),
      this.discovery.pollAt(),
      this.shapers.up.pollAt(),
      this.shapers.down.pollAt(),
      this.igmp.pollAt(),
    );
  }

  /** From now on nothing is heard, said or accounted: the sessions are another BRAS's (migration.ts). */
  silence(): void {
    this.isSilent = true;
    this.talks.clear();
  }

  /** The session in `row`, restored by migration.ts: columns, user, pools. */
  adopt(now: number, row: number, user: string): void {
    this.columns.echoAtS[row] = this.nextEchoS(now, row);
    this.setUser(row, user);
    this.counters.add('bras.opened');
  }

  /** Whom AAA is told of. */
  subscriber(row: number): Subscriber {
    const { table } = this;
    const tag = (value: number) => (value === 0 ? '' : `.${value & 0xfff}`);
    return {
      sessionId: table.id[row],
      accountingId: this.movedIds.get(row) ?? this.accountingId(row),
      mac: formatMac(macOf(table, row)),
      line: `${table.link[row]}${tag(table.outerTag[row])}${tag(table.innerTag[row])}`,
      circuitId: Buffer.from(table.circuitId(row)).toString('utf8'),
      remoteId: Buffer.from(table.remoteId(row)).toString('utf8'),
      service: this.config.services[table.service[row]],
    };
  }

  isFrozen(row: number): boolean {
    return this.columns.frozen[row] === 1;
  }

  // Sessions as they come and go.

  private begin(now: number, id: number, request: SessionRequest): void {
    const row = this.table.rowOf[id];
    this.columns.fit(this.table);
    this.columns.clear(row);
    const talk = this.talk(row, request, (config, calls) => new PppSession(now, config, calls));
    talk.ppp.open(now);
  }

  private talk(
    row: number,
    request: SessionRequest,
    make: (config: PppConfig, calls: ConstructorParameters<typeof PppSession>[2]) => PppSession,
  ): Talk {
    const { digest, entropy } = this.calls;
    const ppp = make(this.pppConfig(Math.min(request.maxPayload, this.config.maxPayload)), {
      digest,
      random: entropy,
      counters: this.pppCounters,
      send: (protocol, packet) => this.sendPpp(row, protocol, packet),
      event: (at, event) => this.event(at, talk, event),
    });
    const talk: Talk = { row, ppp, request, user: this.users[row] ?? '', verdictSent: false };
    this.talks.set(row, talk);
    return talk;
  }

  /** One object for all sessions with that MRU. */
  private pppConfig(mru: number): PppConfig {
    const known = this.pppConfigs.get(mru);
    if (known) return known;
    const { authentication, acName, prefixes, echoIntervalMs, echoFailures } = this.config;
    const config: PppConfig = {
      role: 'server',
      mru,
      authentication,
      name: encodeUtf8(acName),
      ipv6: prefixes !== undefined,
      echoIntervalMs,
      echoFailures,
    };
    this.pppConfigs.set(mru, config);
    return config;
  }

  private event(now: number, talk: Talk, event: PppEvent): void {
    const { table } = this;
    const { row } = talk;
    if (this.talks.get(row) !== talk) return;
    switch (event.kind) {
      case 'credentials':
        this.authenticate(now, talk, event.credentials);
        return;
      case 'ipv4-up':
        table.mru[row] = talk.ppp.mtu;
        if (!table.setIpv4(row, this.columns.grantedIpv4[row])) {
          // Of no pool, and another session's that was quicker.
          this.counters.add('bras.refused.address-in-use');
          this.close(now, table.id[row], 'address in use', 'nas-request');
          return;
        }
        this.up(now, talk);
        this.bypass?.opened(now, row);
        return;
      case 'ipv6-up': {
        const { localInterfaceId: ours, peerInterfaceId: theirs } = event;
        table.localInterfaceHigh[row] = readUint32(ours, 0);
        table.localInterfaceLow[row] = readUint32(ours, 4);
        table.peerInterfaceHigh[row] = readUint32(theirs, 0);
        table.peerInterfaceLow[row] = readUint32(theirs, 4);
        table.mru[row] = talk.ppp.mtu;
        this.up(now, talk);
        this.givePrefix(row);
        this.advertise(now, row);
        // The list of a session that has IPv4 names its prefix too.
        if (table.ipv4[row] !== 0) this.bypass?.opened(now, row);
        return;
      }
      case 'ipv4-down':
        this.bypass?.closed(now, row);
        table.setIpv4(row, 0);
        return;
      case 'ipv6-down':
        this.releasePrefix(row);
        return;
      case 'down':
        this.down(now, row, event.reason);
        return;
    }
  }

  /** The first network protocol is up: the session counts. */
  private up(now: number, { row, user }: Talk): void {
    const { table, columns, calls, config } = this;
    if (table.state[row] === stateOpen) return;
    this.discovery.settle(table.id[row]);
    this.setUser(row, user);
    columns.echoAtS[row] = this.nextEchoS(now, row);
    columns.activeS[row] = seconds(now);
    table.heardSeconds[row] = seconds(now);
    if (columns.interimS[row] === 0) columns.interimS[row] = config.interimS;
    if (columns.interimS[row] > 0) columns.interimAtS[row] = seconds(now) + columns.interimS[row];
    this.counters.add('bras.opened');
    calls.aaa.account(now, this.record(now, row, 'start'));
  }

  private down(now: number, row: number, reason: PppDownReason): void {
    const cause: TerminateCause =
      reason === 'echo-timeout' || reason === 'lower-down'
        ? 'lost-carrier'
        : reason === 'peer-terminated'
          ? 'user-request'
          : 'nas-request';
    this.close(now, this.table.id[row], reason, cause);
  }

  /** All that ends with the session in `row`, but the row itself. */
  private ended(now: number, row: number, cause: TerminateCause): void {
    const { table, calls, columns } = this;
    if (table.state[row] === stateOpen) {
      this.counters.add('bras.closed');
      calls.aaa.account(now, { ...this.record(now, row, 'stop'), terminateCause: cause });
      this.bypass?.closed(now, row);
      this.igmp.close(now, row);
      this.shapers.up.forget(row);
      this.shapers.down.forget(row);
    }
    this.talks.delete(row);
    this.releaseIpv4(row);
    this.releasePrefix(row);
    const user = this.users[row];
    if (user && this.rowOfUser.get(user) === row) this.rowOfUser.delete(user);
    this.users[row] = '';
    this.classes.delete(row);
    this.movedIds.delete(row);
    columns.clear(row);
  }

  private setUser(row: number, user: string): void {
    this.users[row] = user;
    if (user !== '') this.rowOfUser.set(user, row);
  }

  // AAA.

  private authenticate(now: number, talk: Talk, credentials: Credentials): void {
    talk.user = credentials.method === 'none' ? '' : Buffer.from(credentials.user).toString('utf8');
    const keys = this.attemptKeys(talk);
    if (keys.some(key => this.attempts.isBlocked(now, key))) {
      this.counters.add('bras.authentication.blocked');
      talk.ppp.authorise(now, { ok: false, message: 'too many wrong passwords: try again later' });
      return;
    }
    this.calls.aaa.authenticate(now, credentials, this.subscriber(talk.row), (at, verdict) => {
      // The session may have ended meanwhile, and its row be another's.
      if (this.talks.get(talk.row) !== talk) return;
      this.decide(at, talk, verdict);
      if (this.talks.get(talk.row) === talk) this.settleDown(at, talk);
    });
  }

  private attemptKeys({ row, user }: Talk): string[] {
    const mac = formatMac(macOf(this.table, row));
    return user === '' ? [`mac ${mac}`] : [`user ${user}`, `mac ${mac}`];
  }

  private decide(now: number, talk: Talk, verdict: AaaVerdict): void {
    const { counters, calls } = this;
    const { row, user } = talk;
    if (!verdict.ok) {
      counters.add(`bras.authentication.${verdict.reason === 'no-answer' ? 'no-answer' : 'refused'}`);
      if (verdict.reason === 'wrong-credentials')
        for (const key of this.attemptKeys(talk)) this.attempts.failed(now, key);
      calls.log(now, `session ${this.table.id[row]}: ${JSON.stringify(user)} refused (${verdict.reason})`);
      talk.ppp.authorise(now, {
        ok: false,
        ...(verdict.message !== undefined && { message: verdict.message }),
      });
      return;
    }
    for (const key of this.attemptKeys(talk)) this.attempts.succeeded(key);
    const refusal = talk.verdictSent ? this.readmit(talk) : this.admit(now, talk, verdict);
    if (refusal !== undefined) {
      calls.log(now, `session ${this.table.id[row]}: ${JSON.stringify(user)} refused (${refusal})`);
      talk.ppp.authorise(now, { ok: false, message: refusal });
      return;
    }
    counters.add('bras.authentication.accepted');
    talk.verdictSent = true;
    const { local, dns, nbns } = this.config;
    const { message, authenticatorResponse } = verdict;
    talk.ppp.authorise(now, {
      ok: true,
      ipv4: { local, peer: this.columns.grantedIpv4[row], dns, nbns },
      ...(message !== undefined && { message }),
      ...(authenticatorResponse !== undefined && { authenticatorResponse }),
    });
  }

  /** Who logs in again on the same session must be the same: address, rate and account are his. */
  private readmit({ row, user }: Talk): string | undefined {
    if (user === this.users[row]) return undefined;
    this.counters.add('bras.refused.other-user');
    return 'another user';
  }

  /** Gives the session what AAA granted; or why it cannot be. */
  private admit(now: number, talk: Talk, grant: AaaVerdict & { readonly ok: true }): string | undefined {
    const { table, config, columns, counters, calls } = this;
    const { row, user } = talk;
    const other = user === '' || config.sameUser === 'allow' ? undefined : this.rowOfUser.get(user);
    if (other !== undefined && other !== row) {
      if (config.sameUser === 'refuse') {
        counters.add('bras.refused.same-user');
        return 'already logged in';
      }
      this.close(now, table.id[other], 'logged in again elsewhere', 'admin-reset');
    }
    const address = grant.ipv4 ?? config.pool.allocate(user === '' ? undefined : user);
    if (address === undefined) {
      counters.add('bras.refused.no-address');
      return 'no address left';
    }
    if (grant.ipv4 !== undefined && (table.findIpv4(address) !== 0 || !config.pool.take(address))) {
      counters.add('bras.refused.address-in-use');
      calls.log(now, `address ${formatIpv4(address)} of ${JSON.stringify(user)} is another session’s`);
      return 'address in use';
    }
    columns.grantedIpv4[row] = address;
    columns.isOwnIpv4[row] = grant.ipv4 === undefined ? 0 : 1;
    const named = grant.rateClass === undefined ? 0 : this.shapers.up.classOf(grant.rateClass);
    if (named === undefined) {
      counters.add('bras.unknown-rate-class');
      calls.log(
        now,
        `AAA gives ${JSON.stringify(user)} the rate class ${JSON.stringify(grant.rateClass)}, which is not configured`,
      );
    }
    table.rateClass[row] = named ?? 0;
    if (grant.sessionTimeoutS !== undefined) columns.endAtS[row] = seconds(now) + grant.sessionTimeoutS;
    if (grant.interimS !== undefined) columns.interimS[row] = Math.min(65_535, grant.interimS);
    if (grant.classes) this.classes.set(row, grant.classes);
    this.setUser(row, user);
    return undefined;
  }

  /** Only a session whose IPV6CP is up has a prefix, so that without it nothing of IPv6 passes the source check. */
  private givePrefix(row: number): void {
    const { table, config } = this;
    if (!config.prefixes || (table.ipv6High[row] | table.ipv6Low[row]) !== 0) return;
    const prefix = config.prefixes.allocate();
    if (prefix) table.setIpv6Prefix(row, prefix.high, prefix.low);
    else this.counters.add('bras.no-prefix');
  }

  private releasePrefix(row: number): void {
    const { table, config } = this;
    const prefix = { high: table.ipv6High[row], low: table.ipv6Low[row] };
    if ((prefix.high | prefix.low) === 0) return;
    table.setIpv6Prefix(row, 0, 0);
    config.prefixes?.release(prefix);
  }

  private releaseIpv4(row: number): void {
    const { table, columns, config } = this;
    table.setIpv4(row, 0);
    if (columns.grantedIpv4[row] !== 0) config.pool.release(columns.grantedIpv4[row]);
    columns.grantedIpv4[row] = 0;
  }

  private record(now: number, row: number, kind: 'start' | 'interim' | 'stop') {
    const { table, columns } = this;
    return {
      kind,
      subscriber: this.subscriber(row),
      user: this.users[row] ?? '',
      classes: this.classes.get(row) ?? [],
      ipv4: columns.grantedIpv4[row],
      sessionTimeS: Math.floor((now - table.openedAt[row]) / 1000),
      inputBytes: table.bytesIn[row],
      outputBytes: table.bytesOut[row],
      inputPackets: table.packetsIn[row],
      outputPackets: table.packetsOut[row],
    };
  }

  private accountingId(row: number): string {
    const { id, openedAt } = this.table;
    return `${this.config.instance}-${id[row].toString(16)}-${Math.floor(openedAt[row]).toString(16)}`;
  }

  private rowsOf({ accountingId, user, ipv4, mac }: SessionName): number[] {
    const { table } = this;
    const matches = (row: number) =>
      table.state[row] === stateOpen &&
      (user === undefined || this.users[row] === user) &&
      (ipv4 === undefined || table.ipv4[row] === ipv4) &&
      (mac === undefined || formatMac(macOf(table, row)) === mac) &&
      (accountingId === undefined || (this.movedIds.get(row) ?? this.accountingId(row)) === accountingId);
    const rows: number[] = [];
    if (ipv4 !== undefined) rows.push(table.findIpv4(ipv4));
    else for (let row = 1; row < table.rowEnd; row++) rows.push(row);
    return rows.filter(matches);
  }

  // Once a second.

  private turn(now: number, row: number): void {
    const { table, columns, calls } = this;
    if (table.state[row] !== stateOpen) return;
    const nowS = seconds(now);
    if (columns.endAtS[row] !== 0 && nowS >= columns.endAtS[row]) {
      this.counters.add('bras.session-timeout');
      this.close(now, table.id[row], 'session timeout', 'session-timeout');
      return;
    }
    if (now >= this.drainAt || (this.drainAt !== never && nowS - columns.activeS[row] >= this.drainIdleS)) {
      this.counters.add('bras.drained');
      this.close(now, table.id[row], 'going out of service', 'admin-reboot');
      return;
    }
    if (columns.interimAtS[row] !== 0 && nowS >= columns.interimAtS[row]) {
      columns.interimAtS[row] = nowS + columns.interimS[row];
      calls.aaa.account(now, this.record(now, row, 'interim'));
    }
    if (columns.advertiseAtS[row] !== 0 && nowS >= columns.advertiseAtS[row]) this.advertise(now, row);
    if (columns.frozen[row] === 1 && columns.echoAtS[row] !== 0 && nowS >= columns.echoAtS[row])
      this.echo(now, row);
  }

  /** A session that was heard needs no echo (RFC 1661 §5.8 leaves it free). */
  private echo(now: number, row: number): void {
    const { table, columns, config } = this;
    const nowS = seconds(now);
    const intervalS = config.echoIntervalMs / 1000;
    if (nowS - table.heardSeconds[row] < intervalS) {
      table.echoMisses[row] = 0;
      columns.echoAtS[row] = table.heardSeconds[row] + intervalS;
      return;
    }
    if (table.echoMisses[row] >= config.echoFailures) {
      this.close(now, table.id[row], 'no answer to echoes', 'lost-carrier');
      return;
    }
    table.echoMisses[row]++;
    columns.echoAtS[row] = nowS + intervalS;
    const echo = { identifier: columns.nextEcho(row), magicNumber: table.localMagic[row] };
    const end = emitEchoRequest(echo, this.scratch, encapsulationHeadroom);
    this.counters.add('bras.echo-sent');
    this.encapsulateAndSend(row, pppProtocol.lcp, this.scratch, encapsulationHeadroom, end);
  }

  private nextEchoS(now: number, row: number): number {
    const intervalS = this.config.echoIntervalMs / 1000;
    // Spread by row, so that sessions that came together are not asked together.
    return intervalS === 0 ? 0 : seconds(now) + 1 + (row % intervalS);
  }

  // Packets.

  private receiveSession(now: number, link: number, frame: Uint8Array): void {
    const { encapsulation, columns, table } = this;
    const at = encapsulation.decapsulate(link, frame, 0, frame.length);
    if (at < 0) return;
    const { row, end, protocol } = encapsulation;
    table.heardSeconds[row] = seconds(now);
    if (protocol === pppProtocol.ipv4 || protocol === pppProtocol.ipv6) {
      if (frame[at] >>> 4 !== (protocol === pppProtocol.ipv4 ? 4 : 6))
        this.counters.add('bras.drop.malformed');
      else this.fromSubscriber(now, row, frame, at, end);
      return;
    }
    if (columns.frozen[row] === 1) {
      const echo = isEcho(protocol, frame, at, end);
      if (echo !== undefined) {
        this.receiveEcho(row, echo, frame, at, end);
        return;
      }
      this.thaw(now, row);
    }
    const talk = this.talks.get(row);
    if (!talk) return;
    talk.ppp.receive(now, protocol, frame, at, end);
    if (this.talks.get(row) === talk) this.settleDown(now, talk);
  }

  private receiveEcho(
    row: number,
    echo: 'request' | 'reply',
    frame: Uint8Array,
    at: number,
    end: number,
  ): void {
    const { table } = this;
    const magic = table.localMagic[row];
    if (magic !== 0 && echoMagic(frame, at) === magic) {
      this.counters.add('bras.looped-echo');
      return;
    }
    if (echo === 'reply') {
      table.echoMisses[row] = 0;
      return;
    }
    answerEcho(frame, at, magic);
    this.counters.add('bras.echo-answered');
    const length = Math.max(echoBytes, readUint16(frame, at + 2));
    this.encapsulateAndSend(row, pppProtocol.lcp, frame, at, Math.min(end, at + length));
  }

  /** Puts the session away if nothing is under way. */
  private settleDown(now: number, talk: Talk): void {
    const { row } = talk;
    if (this.table.state[row] !== stateOpen) return;
    const frozen = talk.ppp.freeze();
    if (!frozen) return;
    const { columns } = this;
    // Nobody needs it now; another is to be had should IPCP begin again (`thaw`). What AAA gave stays the user's.
    if (
      frozen.ipcpState !== automatonState.opened &&
      columns.grantedIpv4[row] !== 0 &&
      columns.isOwnIpv4[row] === 0
    ) {
      this.counters.add('bras.address-unused');
      this.releaseIpv4(row);
    }
    columns.freeze(this.table, row, frozen);
    this.talks.delete(row);
    this.counters.add('bras.frozen');
    if (this.columns.echoAtS[row] === 0) this.columns.echoAtS[row] = this.nextEchoS(now, row);
  }

  private thaw(now: number, row: number): void {
    const { table, columns, config } = this;
    if (columns.grantedIpv4[row] === 0)
      columns.grantedIpv4[row] = config.pool.allocate(this.users[row] || undefined) ?? 0;
    let frozen = columns.thaw(table, row, config);
    // Without an address IPCP is Protocol-Rejected.
    if (frozen.peerIpv4 === 0) frozen = { ...frozen, ipcpState: automatonState.initial };
    const request: SessionRequest = {
      service: config.services[table.service[row]],
      maxPayload: frozen.mru,
      circuitId: '',
      remoteId: '',
    };
    this.counters.add('bras.thawed');
    this.talk(row, request, (pppConfig, calls) =>
      PppSession.thaw(now, pppConfig, calls, frozen),
    ).verdictSent = true;
  }

  private fromSubscriber(now: number, row: number, bytes: Uint8Array, start: number, end: number): void {
    const { table, counters } = this;
    const length = ipLength(bytes, start, end);
    if (length < 0) {
      counters.add('bras.drop.malformed');
      return;
    }
    const packetEnd = start + length;
    const isIgmp = bytes[start] >>> 4 === 4 && bytes[start + 9] === protocolIgmp;
    const source = checkSource(table, row, this.lowMask, bytes, start);
    // RFC 3376 §4.2.13: a report may come from 0.0.0.0.
    if (source === foreignSource && !(isIgmp && readUint32(bytes, start + 12) === 0)) {
      counters.add('bras.drop.foreign-source');
      return;
    }
    if (isIgmp) {
      this.igmp.fromSession(now, row, bytes, start, packetEnd);
      return;
    }
    if (source === linkLocalPacket) {
      if (isSolicitation(bytes, start, packetEnd)) this.advertise(now, row);
      else counters.add('bras.drop.link-local');
      return;
    }
    this.columns.activeS[row] = seconds(now);
    // What is for us goes no further.
    const isOurs = bytes[start] >>> 4 === 4 && readUint32(bytes, start + 16) === this.config.local;
    if (!isOurs && !takeHop(bytes, start)) {
      counters.add('bras.drop.hops');
      const error = this.errorAbout(now, row, { kind: 'hops' }, bytes, start, packetEnd);
      if (error) this.copyToSession(now, row, error, 0, error.length);
      return;
    }
    clampMss(bytes, start, packetEnd, table.mru[row]);
    counters.add('bras.up');
    if (this.shapers.up.offer(now, row, table.rateClass[row], bytes, start, packetEnd))
      this.calls.sendIp(now, bytes, start, packetEnd);
  }

  /** Our answer to the sender of a packet of that session; `undefined`: none. */
  private errorAbout(
    now: number,
    row: number,
    error: ForwardError,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): Uint8Array | undefined {
    let source = ipv4Bytes(this.config.local);
    if (bytes[start] >>> 4 === 6) {
      // The Subnet-Router anycast address of the session's prefix: its router is us (RFC 4291 §2.6.1).
      source = new Uint8Array(16);
      writeUint32(source, 0, this.table.ipv6High[row]);
      writeUint32(source, 4, this.table.ipv6Low[row]);
    }
    const packet = this.errors.about(now, error, source, bytes, start, end);
    if (packet) this.counters.add('bras.icmp-error');
    return packet;
  }

  private tellCore(
    now: number,
    row: number,
    error: ForwardError,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const packet = this.errorAbout(now, row, error, bytes, start, end);
    if (!packet) return;
    this.scratch.set(packet, encapsulationHeadroom);
    this.calls.sendIp(now, this.scratch, encapsulationHeadroom, encapsulationHeadroom + packet.length);
  }

  private shape(now: number, row: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.shapers.down.offer(now, row, this.table.rateClass[row], bytes, start, end))
      this.toSession(now, row, bytes, start, end);
  }

  private toSession(now: number, row: number, bytes: Uint8Array, start: number, end: number): void {
    const { table, encapsulation, bypass } = this;
    if (bypass?.isDirect(now, row)) {
      table.packetsOut[row]++;
      table.bytesOut[row] += end - start;
      this.counters.add('bras.plain-down');
      this.sendAccess(table.link[row], bytes, bypass.address(row, bytes, start), end);
      return;
    }
    const at = encapsulation.encapsulateIp(bytes, start, end, row);
    if (at < 0) return;
    this.counters.add('bras.down');
    this.sendAccess(table.link[row], bytes, at, end);
  }

  private copyToSession(now: number, row: number, bytes: Uint8Array, start: number, end: number): void {
    this.scratch.set(bytes.subarray(start, end), encapsulationHeadroom);
    this.toSession(now, row, this.scratch, encapsulationHeadroom, encapsulationHeadroom + end - start);
  }

  private sendPpp(row: number, protocol: number, packet: Uint8Array): void {
    this.scratch.set(packet, encapsulationHeadroom);
    const end = encapsulationHeadroom + packet.length;
    this.encapsulateAndSend(row, protocol, this.scratch, encapsulationHeadroom, end);
  }

  private encapsulateAndSend(
    row: number,
    protocol: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const at = this.encapsulation.encapsulate(bytes, start, end, row, protocol);
    if (at >= 0) this.sendAccess(this.table.link[row], bytes, at, end);
  }

  private sendAccess(link: number, bytes: Uint8Array, start: number, end: number): void {
    if (!this.isSilent) this.calls.sendAccess(link, bytes, start, end);
  }

  private advertise(now: number, row: number): void {
    const { table, columns, config } = this;
    const prefix = { high: table.ipv6High[row], low: table.ipv6Low[row] };
    const { prefixes } = config;
    if (!prefixes || (prefix.high | prefix.low) === 0) return;
    columns.advertiseAtS[row] = seconds(now) + advertiseIntervalMs / 1000;
    this.counters.add('bras.advertised');
    const packet = advertise({
      interfaceHigh: table.localInterfaceHigh[row],
      interfaceLow: table.localInterfaceLow[row],
      prefix,
      prefixLength: prefixes.length,
      mtu: table.mru[row],
      dns: config.ipv6Dns ?? [],
    });
    this.copyToSession(now, row, packet, 0, packet.length);
  }
}

const causes: Record<ServerCloseReason, TerminateCause> = {
  padt: 'user-request',
  timeout: 'nas-request',
  replaced: 'admin-reset',
  'crowded-out': 'nas-request',
};

/** An instance's name for accounting ids, of 8 fresh bytes. */
export function instanceName(key: Uint8Array): string {
  return formatHex(key.subarray(0, 8));
}

function seconds(now: number): number {
  return Math.floor(now / 1000);
}
