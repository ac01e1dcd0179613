/**
 * The gateway's side of PPPoE offload (software BRAS, §3.2.4): the agent keeps the subscriber's session, so that hosts behind the
 * gateway send plain IP, and reports it over MQTT.
 *
 *     tunnel  packets of the gateway's network go into PPPoE, and come out of it
 *     plain   while an access list of the BRAS is in force, they cross the access network as plain IP over Ethernet, with
 *             the VLAN tags of the session's frames; the session stays up beside it, with its echoes, so that the way back
 *             takes no time
 *
 * An access list counts for the session that is open, the address that session has, and the AC it is with: any other is
 * rejected, so neither a list left over from before a restart nor one meant for a neighbour lets anything pass. It ends when
 * it expires, is revoked, or the session ends; then the tunnel carries everything again. A BRAS that cannot reach us over
 * MQTT cannot renew it, and so takes us back too. Before that, the gateway stops sending plain packets, but takes them,
 * once MQTT is lost or the BRAS sends packets through the tunnel; it begins again when the BRAS does, or renews the list.
 * Bounds: one session, one access list, `maxReports` reports that wait.
 */

import { copyBytes, digest, sameBytes, utf8Length, writeBytes } from '../core/bytes.js';
import { Counters, type Counts } from '../core/counters.js';
import { Random } from '../core/random.js';
import type { Job, JobContext, JobFactory } from '../job.js';
import { judge } from '../message/judge.js';
import type { AclStatus } from '../message/messages.js';
import { aclDescriptor } from '../message/received.js';
import type { Problem } from '../message/schema.js';
import type { Digest } from '../port/digest.js';
import type { PppoeInput } from '../port/effect.js';
import type { Link } from '../port/platform.js';
import { formatAddress, formatMac } from '../wire/address.js';
import {
  emitEthernet,
  ethernetLength,
  etherTypeIpv4,
  etherTypeIpv6,
  etherTypePppoeDiscovery,
  etherTypePppoeSession,
} from '../wire/ethernet.js';
import { type Headers, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { emitPpp, parsePpp, pppLength, pppProtocol } from '../wire/ppp.js';
import {
  emitPppoe,
  parsePppoe,
  pppoeCode,
  pppoeHeaderLength,
  pppoeSessionHeaderLength,
} from '../wire/pppoe.js';
import { emitVlanTags, isOnVlans, type VlanTag, vlanTagLength } from '../wire/vlan.js';
import { type AccessList, compileAcl, mayComeIn, TokenBucket, wayOut } from './access-list.js';
import type { Entropy } from './authentication.js';
import type { AuthenticationMethod } from './credentials.js';
import { type ClientSession, DiscoveryClient } from './discovery-client.js';
import { clampMss } from './mss.js';
import { pppCounters } from './ppp-counters.js';
import { type PppDownReason, type PppEvent, PppSession } from './ppp-session.js';

export interface GatewayOptions {
  /** The link to the access network. */
  readonly link: string;
  /** Outermost first. */
  readonly vlanTags?: readonly VlanTag[];
  /** Whom and what to ask for; '' or left out: any. */
  readonly service?: string;
  readonly acName?: string;
  readonly user: Uint8Array;
  readonly secret: Uint8Array;
  /** What to agree to; default: ms-chap-v2 (if the digest port has all for it), chap-md5, pap, none. */
  readonly authentication?: readonly AuthenticationMethod[];
  /** Default: yes. */
  readonly ipv6?: boolean;
  /** Bytes of payload an Ethernet frame of the link carries; default 1500. Above it the AC is asked for more than 1492 (RFC 4638). */
  readonly mtuBytes?: number;
  /** Whether the BRAS may install access lists; default: yes. */
  readonly plain?: boolean;
  /** From the platform: not to be guessed. */
  readonly entropy: Entropy;
  readonly digest: Digest;
}

/** A line that is dead is known to be so within two minutes: three echoes unanswered. pppd's and accel-ppp's examples have the like. */
const echoIntervalMs = 30_000;
const echoFailures = 3;
const ethernetMtu = 1500;
/** As long as the BRAS may take to hear that a list is installed (issue 5: "within a second"): until then it uses the tunnel. */
const installedMs = 1_000;
/** An id each; of more than one access list in force there is no reason to keep many. */
const maxReports = 4;
/** Of `text` and `reason`, bytes (messages.cddl). */
const longestText = 200;
const longestGot = 64;

const counterNames = [
  'sessions.opened',
  'sessions.closed',
  /** Ended before they had an address. */
  'sessions.failed',
  'packets.tunnel-in',
  'packets.tunnel-out',
  'packets.plain-in',
  'packets.plain-out',
  'bytes.in',
  'bytes.out',
  'mss.clamped',
  'drop.no-session',
  'drop.not-ip',
  /** IPv6 while the peer does not speak it. */
  'drop.no-ipv6',
  'drop.too-long',
  'drop.acl-source',
  'drop.acl-rate',
  'drop.plain-unasked',
  'drop.plain-source',
  'drop.plain-destination',
  'drop.session-id',
  'drop.ac-mac',
  'drop.vlan-tags',
  'drop.malformed',
  'acl.installed',
  'acl.rejected',
  'acl.expired',
  'acl.revoked',
  /** It stays in force, but for a while the tunnel carries what we send; and no longer. */
  'acl.suspended',
  'acl.resumed',
] as const;
type CounterName = (typeof counterNames)[number];

/** An access list in force, and what passed by it. */
interface Installed {
  readonly id: string;
  readonly digest: string;
  readonly list: AccessList;
  readonly expiresAt: number;
  readonly bucket: TokenBucket | undefined;
  /** From then on, packets in the tunnel say that the BRAS does not go by it. */
  readonly heardAt: number;
  /** We do not send by it, but receive. */
  isSuspended: boolean;
  packets: number;
  refused: number;
}

export function pppoeGateway(options: GatewayOptions): JobFactory {
  return (now, context) => new PppoeGateway(now, context, options);
}

export class PppoeGateway implements Job {
  readonly name = 'pppoe';
  readonly counters: { snapshot(): Counts };
  private readonly counts = new Counters<CounterName>(counterNames);
  private readonly pppCounts = new Counters(pppCounters);
  private readonly context: JobContext;
  private readonly options: GatewayOptions;
  private readonly link: Link;
  private readonly mtuBytes: number;
  private readonly vlanTags: readonly VlanTag[];
  /** As they stand in a frame. */
  private readonly vlanBytes: Uint8Array;
  private readonly discovery: DiscoveryClient;
  private session: ClientSession | undefined;
  private ppp: PppSession | undefined;
  /** The addresses of the line; `undefined`: it is down. */
  private up: Extract<PppEvent, { kind: 'ipv4-up' }> | undefined;
  private isIpv6Up = false;
  /** The session has had an address. */
  private wasUp = false;
  private installed: Installed | undefined;
  /** Why discovery let the session go. */
  private closedBy = '';
  /** To be said of each id, once the bus takes it. */
  private reports: { readonly id: string; readonly status: AclStatus }[] = [];

  constructor(now: number, context: JobContext, options: GatewayOptions) {
    const link = context.links.find(({ name }) => name === options.link);
    if (!link) throw new Error(`link: expected one of the agent's, got ${options.link}`);
    this.context = context;
    this.options = options;
    this.link = link;
    this.mtuBytes = options.mtuBytes ?? ethernetMtu;
    this.vlanTags = options.vlanTags ?? [];
    this.vlanBytes = new Uint8Array(this.vlanTags.length * vlanTagLength);
    emitVlanTags(this.vlanTags, this.vlanBytes, 0);
    this.discovery = new DiscoveryClient(
      {
        mac: link.mac,
        vlanTags: this.vlanTags,
        service: options.service ?? '',
        acName: options.acName ?? '',
        gatherMs: 0,
        maxPayload: this.mtuBytes - pppoeSessionHeaderLength,
      },
      {
        random: new Random(options.entropy.uint32(), 'discovery'),
        send: frame => context.transmit(link.name, frame),
        opened: (at, session) => this.sessionOpened(at, session),
        closed: (at, reason) => this.sessionClosed(at, reason),
        refused: (at, acName, text) =>
          context.event(at, 'session-refused', { text: clip(`${acName}: ${text}`, longestText) }),
      },
    );
    this.counters = {
      snapshot: () => ({
        ...this.counts.snapshot(),
        ...this.discovery.counters.snapshot(),
        ...prefixed('ppp.', this.pppCounts.snapshot()),
      }),
    };
    this.discovery.start(now);
  }

  frame(now: number, link: string, frame: Uint8Array, headers: Headers): void {
    if (link !== this.link.name) return;
    if (headers.etherType === etherTypePppoeDiscovery) this.discovery.receive(now, frame, headers);
    else if (!sameBytes(frame.subarray(0, 6), this.link.mac)) return;
    else if (headers.pppoeSession >= 0) this.receiveSession(now, frame, headers);
    else if (headers.network === networkIpv4 || headers.network === networkIpv6)
      this.receivePlain(now, frame, headers);
  }

  /** How packets of the gateway's network travel now. */
  get mode(): 'down' | 'tunnel' | 'plain' {
    if (!this.up) return 'down';
    return this.installed && !this.installed.isSuspended ? 'plain' : 'tunnel';
  }

  poll(now: number): void {
    if (this.discovery.pollAt() <= now) this.discovery.poll(now);
    if (this.ppp && this.ppp.pollAt() <= now) this.ppp.poll(now);
    this.expire(now);
    this.report();
  }

  pollAt(): number {
    let at = this.discovery.pollAt();
    if (this.ppp) at = Math.min(at, this.ppp.pollAt());
    if (this.installed) at = Math.min(at, this.installed.expiresAt);
    return this.reports.length > 0 && this.context.canPublish() ? 0 : at;
  }

  /** Says goodbye to the AC; PPP's own is left out, for nobody would wait for the answer (RFC 2516 §5.5 allows it). */
  shutdown(now: number): void {
    this.discovery.stop(now);
  }

  /** One that is rejected ends one of that id in force, which it was to take the place of. */
  acl(now: number, id: string, payload: Uint8Array): void {
    const { installed: before } = this;
    if (payload.length === 0) {
      if (before?.id === id) this.endAcl(now, 'revoked');
      return;
    }
    const judged = judge(aclDescriptor, payload, this.context.limits);
    const compiled = judged.ok ? compileAcl(judged.value) : judged;
    const problem = compiled.ok ? this.objection(compiled.value) : compiled.problem;
    const payloadDigest = digest(payload);
    if (!compiled.ok || problem) {
      this.counts.add('acl.rejected');
      if (before?.id === id) this.endAcl(now, 'revoked');
      this.say(now, id, { status: 'rejected', digest: payloadDigest, ...told(problem as Problem) });
      return;
    }
    const { value: list } = compiled;
    const { upBitsPerSecond } = list;
    if (before && before.id !== id) this.endAcl(now, 'revoked');
    const isRenewal = before?.id === id;
    this.counts.add('acl.installed');
    this.installed = {
      id,
      digest: payloadDigest,
      list,
      expiresAt: now + list.lifetimeMs,
      bucket:
        isRenewal && before.list.upBitsPerSecond === upBitsPerSecond
          ? before.bucket
          : upBitsPerSecond === undefined
            ? undefined
            : new TokenBucket(now, upBitsPerSecond),
      heardAt: now + installedMs,
      isSuspended: false,
      packets: isRenewal ? before.packets : 0,
      refused: isRenewal ? before.refused : 0,
    };
    if (!isRenewal || before.isSuspended) this.announce();
    this.sayInstalled(now);
  }

  online(now: number): void {
    if (this.up && this.session) this.tellUp(now, this.session);
    if (this.installed) this.sayInstalled(now);
  }

  /** The bus is lost: the BRAS will take us back to the tunnel when it learns of that. */
  offline(): void {
    this.suspend();
  }

  /** A packet of the gateway's network. */
  line(now: number, { packet }: PppoeInput): void {
    this.expire(now);
    const { session, ppp, installed } = this;
    if (!session || !ppp || !this.up) {
      this.counts.add('drop.no-session');
      return;
    }
    const version = packet.length > 0 ? packet[0] >>> 4 : 0;
    if (version !== 4 && version !== 6) {
      this.counts.add('drop.not-ip');
      return;
    }
    const way =
      installed && !installed.isSuspended ? wayOut(installed.list, packet, 0, packet.length) : 'tunnel';
    if (way === 'tunnel' || !installed) {
      this.sendTunnel(packet, version, session, ppp);
    } else if (way === 'plain') {
      this.sendPlain(now, packet, version, installed, ppp);
    } else {
      installed.refused++;
      this.counts.add('drop.acl-source');
    }
  }

  private sendTunnel(packet: Uint8Array, version: number, session: ClientSession, ppp: PppSession): void {
    if (version === 6 && !this.isIpv6Up) {
      this.counts.add('drop.no-ipv6');
      return;
    }
    if (packet.length > ppp.mtu) {
      this.counts.add('drop.too-long');
      return;
    }
    this.transmitPpp(session, version === 4 ? pppProtocol.ipv4 : pppProtocol.ipv6, packet, ppp.mtu);
    this.counts.add('packets.tunnel-out');
    this.counts.add('bytes.out', packet.length);
  }

  /** A SYN learns what the tunnel carries, for the connection may have to go back there. */
  private sendPlain(
    now: number,
    packet: Uint8Array,
    version: number,
    installed: Installed,
    ppp: PppSession,
  ): void {
    const { list, bucket } = installed;
    if (packet.length > this.mtuBytes) {
      this.counts.add('drop.too-long');
      return;
    }
    if (bucket && !bucket.take(now, packet.length)) {
      this.counts.add('drop.acl-rate');
      return;
    }
    installed.packets++;
    this.counts.add('packets.plain-out');
    this.counts.add('bytes.out', packet.length);
    const header = {
      dstMac: list.brasMac,
      srcMac: this.link.mac,
      tags: this.vlanTags,
      etherType: version === 4 ? etherTypeIpv4 : etherTypeIpv6,
    };
    const frame = new Uint8Array(ethernetLength(header) + packet.length);
    const at = emitEthernet(header, packet.length, frame, 0);
    writeBytes(frame, at, packet);
    if (clampMss(frame, at, frame.length, ppp.mtu)) this.counts.add('mss.clamped');
    this.context.transmit(this.link.name, frame);
  }

  private receiveSession(now: number, frame: Uint8Array, headers: Headers): void {
    const { session, ppp, installed } = this;
    const reason = this.strange(frame, headers);
    if (reason || !session || !ppp) {
      this.counts.add(reason ?? 'drop.no-session');
      return;
    }
    const outer = parsePppoe(frame, headers.l3Offset - pppoeSessionHeaderLength, frame.length);
    const inner = outer.ok ? parsePpp(outer.value.payload, 0, outer.value.payload.length) : outer;
    if (!inner.ok) {
      this.counts.add('drop.malformed');
      return;
    }
    const { protocol, payload: packet } = inner.value;
    if (protocol !== pppProtocol.ipv4 && protocol !== pppProtocol.ipv6) {
      ppp.receive(now, protocol, packet, 0, packet.length);
      return;
    }
    if (!this.up || (protocol === pppProtocol.ipv6 && !this.isIpv6Up)) {
      this.counts.add(this.up ? 'drop.no-ipv6' : 'drop.no-session');
      return;
    }
    if (installed && now >= installed.heardAt) this.suspend();
    this.counts.add('packets.tunnel-in');
    this.deliver(packet, ppp.mtu);
  }

  /** Why a session frame is not of our session. */
  private strange(frame: Uint8Array, headers: Headers): CounterName | undefined {
    const { session } = this;
    if (!session) return 'drop.no-session';
    if (headers.pppoeSession !== session.sessionId) return 'drop.session-id';
    if (!sameBytes(frame.subarray(6, 12), session.acMac)) return 'drop.ac-mac';
    return isOnVlans(frame, headers.l3Offset - pppoeSessionHeaderLength, this.vlanBytes)
      ? undefined
      : 'drop.vlan-tags';
  }

  /** A packet that came without the tunnel. */
  private receivePlain(now: number, frame: Uint8Array, { l3Offset, l4End }: Headers): void {
    this.expire(now);
    const { installed, ppp } = this;
    if (!installed || !ppp) {
      this.counts.add('drop.plain-unasked');
      return;
    }
    if (!sameBytes(frame.subarray(6, 12), installed.list.brasMac)) {
      this.counts.add('drop.plain-source');
      return;
    }
    if (!isOnVlans(frame, l3Offset, this.vlanBytes)) {
      this.counts.add('drop.vlan-tags');
      return;
    }
    if (!mayComeIn(installed.list, frame, l3Offset, l4End)) {
      this.counts.add('drop.plain-destination');
      return;
    }
    if (installed.isSuspended) {
      installed.isSuspended = false;
      this.counts.add('acl.resumed');
      this.announce();
    }
    this.counts.add('packets.plain-in');
    this.deliver(frame.subarray(l3Offset, l4End), ppp.mtu);
  }

  /** Without the padding of Ethernet; a SYN learns how much the line carries. */
  private deliver(packet: Uint8Array, mtuBytes: number): void {
    const copy = copyBytes(packet, 0, packet.length);
    if (clampMss(copy, 0, copy.length, mtuBytes)) this.counts.add('mss.clamped');
    this.counts.add('bytes.in', copy.length);
    this.context.perform({ kind: 'line-deliver', packet: copy });
  }

  /** `mtuBytes`: given for IP, whose SYN learns it. */
  private transmitPpp(session: ClientSession, protocol: number, packet: Uint8Array, mtuBytes?: number): void {
    const ppp = { protocol, protocolCompressed: false, addressAndControl: false };
    const header = { code: pppoeCode.session, sessionId: session.sessionId };
    const payloadLength = pppLength(ppp) + packet.length;
    const ethernet = {
      dstMac: session.acMac,
      srcMac: this.link.mac,
      tags: this.vlanTags,
      etherType: etherTypePppoeSession,
    };
    const frame = new Uint8Array(ethernetLength(ethernet) + pppoeHeaderLength + payloadLength);
    let at = emitEthernet(ethernet, pppoeHeaderLength + payloadLength, frame, 0);
    at = emitPppoe(header, payloadLength, frame, at);
    at = emitPpp(ppp, frame, at);
    writeBytes(frame, at, packet);
    if (mtuBytes !== undefined && clampMss(frame, at, frame.length, mtuBytes)) this.counts.add('mss.clamped');
    this.context.transmit(this.link.name, frame);
  }

  private sessionOpened(now: number, session: ClientSession): void {
    const { user, secret, ipv6 = true, entropy, digest: hashes } = this.options;
    const full: readonly AuthenticationMethod[] =
      hashes.sha1 && hashes.des ? ['ms-chap-v2', 'chap-md5', 'pap', 'none'] : ['chap-md5', 'pap', 'none'];
    this.session = session;
    this.ppp = new PppSession(
      now,
      {
        role: 'client',
        mru: session.maxPayload,
        authentication: this.options.authentication ?? full,
        user,
        secret,
        ipv6,
        echoIntervalMs,
        echoFailures,
      },
      {
        random: entropy,
        digest: hashes,
        counters: this.pppCounts,
        send: (protocol, packet) => this.transmitPpp(session, protocol, packet),
        event: (at, event) => this.pppEvent(at, event),
      },
    );
    this.ppp.open(now);
  }

  private pppEvent(now: number, event: PppEvent): void {
    switch (event.kind) {
      case 'ipv4-up':
        this.up = event;
        if (!this.wasUp) this.counts.add('sessions.opened');
        this.wasUp = true;
        this.announce();
        if (this.session) this.tellUp(now, this.session);
        break;
      case 'ipv4-down':
        this.lineDown(now);
        break;
      case 'ipv6-up':
      case 'ipv6-down':
        this.isIpv6Up = event.kind === 'ipv6-up';
        break;
      case 'down':
        this.sessionOver(now, event.reason);
        this.ppp = undefined;
        // Asks again after a while; nothing if discovery knows already.
        this.discovery.lost(now);
        break;
      default:
        break;
    }
  }

  private sessionClosed(now: number, reason: string): void {
    const { ppp } = this;
    this.closedBy = reason;
    if (ppp) ppp.lowerDown(now);
    this.ppp = undefined;
    this.session = undefined;
  }

  private sessionOver(now: number, reason: PppDownReason): void {
    this.lineDown(now);
    this.isIpv6Up = false;
    const { session, wasUp } = this;
    this.wasUp = false;
    if (!session) return;
    this.counts.add(wasUp ? 'sessions.closed' : 'sessions.failed');
    const text = reason === 'lower-down' ? this.closedBy : reason;
    this.context.event(now, wasUp ? 'session-down' : 'session-failed', {
      session: session.sessionId,
      text: `${clip(session.acName, longestText / 2)}: ${text}`,
    });
  }

  private lineDown(now: number): void {
    if (!this.up) return;
    this.up = undefined;
    this.endAcl(now, 'revoked');
    this.context.perform({ kind: 'line', state: 'down' });
  }

  /** The platform learns how the line is. */
  private announce(): void {
    const { up: line, ppp, mode } = this;
    if (!line || !ppp || mode === 'down') return;
    this.context.perform({
      kind: 'line',
      state: 'up',
      mode,
      address: addressBytes(line.local),
      peerAddress: addressBytes(line.peer),
      dnsAddresses: line.dns.map(addressBytes),
      mtuBytes: mode === 'plain' ? this.mtuBytes : ppp.mtu,
    });
  }

  /** What the BRAS goes by: the session, and whether this gateway can do without the tunnel. */
  private tellUp(now: number, session: ClientSession): void {
    const { plain = true } = this.options;
    this.context.event(now, 'session-up', {
      session: session.sessionId,
      host: formatMac(this.link.mac),
      text: plain ? 'plain' : 'tunnel',
    });
  }

  /** Why a well-formed list does not count here. */
  private objection(list: AccessList): Problem | undefined {
    const { session, up: line } = this;
    if (this.options.plain === false)
      return {
        field: '',
        expected: 'a gateway that takes access lists',
        got: 'one that keeps to the tunnel',
      };
    if (!session || !line) return { field: 'session', expected: 'a session that is open', got: 'none' };
    if (list.session !== session.sessionId)
      return {
        field: 'session',
        expected: `${session.sessionId}, the session that is open`,
        got: `${list.session}`,
      };
    if (!sameBytes(list.address, addressBytes(line.local)))
      return {
        field: 'ipv4',
        expected: `${formatAddress(addressBytes(line.local))}, the address of the session`,
        got: formatAddress(list.address),
      };
    if (!sameBytes(list.brasMac, session.acMac))
      return {
        field: 'bras',
        expected: `${formatMac(session.acMac)}, the session's access concentrator`,
        got: formatMac(list.brasMac),
      };
    return undefined;
  }

  private expire(now: number): void {
    if (this.installed && now >= this.installed.expiresAt) this.endAcl(now, 'expired');
  }

  private suspend(): void {
    const { installed } = this;
    if (!installed || installed.isSuspended) return;
    installed.isSuspended = true;
    this.counts.add('acl.suspended');
    this.announce();
  }

  /** From now on the tunnel carries everything. */
  private endAcl(now: number, how: 'expired' | 'revoked'): void {
    const { installed } = this;
    if (!installed) return;
    this.installed = undefined;
    this.counts.add(`acl.${how}`);
    const { packets, refused } = installed;
    this.say(now, installed.id, { status: how, digest: installed.digest, packets, refused });
    if (!installed.isSuspended) this.announce();
  }

  private sayInstalled(now: number): void {
    if (!this.installed) return;
    const { id, digest: judged, packets, refused } = this.installed;
    this.say(now, id, { status: 'installed', digest: judged, packets, refused });
  }

  /** The last word on an id counts. */
  private say(now: number, id: string, body: Omit<AclStatus, 'boot' | 'uptime'>): void {
    const status = { boot: this.context.boot, uptime: this.context.uptime(now), ...body };
    this.reports = this.reports.filter(report => report.id !== id);
    if (this.reports.length >= maxReports) this.reports.shift();
    this.reports.push({ id, status });
    this.report();
  }

  private report(): void {
    while (this.reports.length > 0 && this.context.canPublish()) {
      const { id, status } = this.reports[0];
      this.reports.shift();
      this.context.publish({ kind: 'acl-status', name: id }, status, true);
    }
  }
}

function told({ field, expected, got }: Problem): Pick<AclStatus, 'reason' | 'field' | 'expected' | 'got'> {
  return {
    reason: clip(`${field === '' ? 'payload' : field}: expected ${expected}, got ${got}`, longestText),
    field,
    expected,
    got: clip(got, longestGot),
  };
}

function addressBytes(address: number): Uint8Array {
  return new Uint8Array([address >>> 24, address >>> 16, address >>> 8, address]);
}

function prefixed(text: string, counts: Counts): Counts {
  const all: { [name: string]: number } = {};
  for (const name of Object.keys(counts)) all[text + name] = counts[name];
  return all;
}

/** At most `maxBytes` of UTF-8: an AC may have any name. */
function clip(text: string, maxBytes: number): string {
  let end = Math.min(text.length, maxBytes);
  while (utf8Length(text.slice(0, end)) > maxBytes) end--;
  return text.slice(0, end);
}
