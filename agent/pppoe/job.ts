/**
 * The gateway's side of PPPoE offload (software BRAS, §3.2.4): the agent keeps the subscriber's session, so that hosts behind the
 * gateway send plain IP, and reports it over MQTT.
 *
 *     tunnel  packets of the gateway's network go into PPPoE, and come out of it
 *     plain   while an access list of the BRAS is in force, they cross the access network as plain IP over Ethernet; the
 *             session stays up beside it, with its echoes, so that the way back takes no time
 *
 * An access list counts for the session that is open, the address that session has, and the AC it is with: any other is
 * rejected, so neither a list left over from before a restart nor one meant for a neighbour lets anything pass. It ends when
 * it expires, is revoked, or the session ends; then the tunnel carries everything again. A BRAS that cannot reach us over
 * MQTT cannot renew it, and so takes us back too.
 * Bounds: one session, one access list.
 */

import { copyBytes, digest, sameBytes, writeBytes } from '../core/bytes.js';
import { Counters, type Counts } from '../core/counters.js';
import { Random } from '../core/random.js';
import type { Job, JobContext, JobFactory } from '../job.js';
import { judge } from '../message/judge.js';
import { type AclStatus, descriptors } from '../message/messages.js';
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
import { emitPppoe, parsePppoe, pppoeCode, pppoeHeaderLength } from '../wire/pppoe.js';
import { tpidCustomer, type VlanTag } from '../wire/vlan.js';
import { type AccessList, compileAcl, isSubscribers, TokenBucket } from './access-list.js';
import type { Entropy } from './authentication.js';
import type { AuthenticationMethod } from './credentials.js';
import { type ClientSession, DiscoveryClient } from './discovery-client.js';
import { clampMss } from './mss.js';
import { pppCounters } from './ppp-counters.js';
import { type PppEvent, PppSession } from './ppp-session.js';

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
  /** Bytes an Ethernet frame of the link carries; default 1500. Above 1508 the AC is asked for more than 1492 (RFC 4638). */
  readonly mtuBytes?: number;
  /** Whether the BRAS may install access lists; default: yes. */
  readonly plain?: boolean;
  /** From the platform: not to be guessed. */
  readonly entropy: Entropy;
  readonly digest: Digest;
}

/** As pppd's and accel-ppp's defaults go: a line that is dead is known to be so within a minute and a half. */
const echoIntervalMs = 30_000;
const echoFailures = 3;
const ethernetMtu = 1500;
const headerBytes = 8;

const counterNames = [
  'sessions.opened',
  'sessions.closed',
  'packets.tunnel-in',
  'packets.tunnel-out',
  'packets.plain-in',
  'packets.plain-out',
  'bytes.in',
  'bytes.out',
  'mss.clamped',
  'drop.no-session',
  'drop.not-ip',
  'drop.too-long',
  'drop.acl-source',
  'drop.acl-rate',
  'drop.plain-unasked',
  'drop.plain-source',
  'drop.plain-destination',
  'drop.session-id',
  'drop.ac-mac',
  'drop.malformed',
  'acl.installed',
  'acl.rejected',
  'acl.expired',
  'acl.revoked',
] as const;
type CounterName = (typeof counterNames)[number];

/** An access list in force, and what passed by it. */
interface Installed {
  readonly id: string;
  readonly digest: string;
  readonly list: AccessList;
  readonly expiresAt: number;
  readonly bucket: TokenBucket | undefined;
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
  private readonly vlanTags: readonly VlanTag[];
  private readonly discovery: DiscoveryClient;
  private session: ClientSession | undefined;
  private ppp: PppSession | undefined;
  /** The addresses of the line; `undefined`: it is down. */
  private up: Extract<PppEvent, { kind: 'ipv4-up' }> | undefined;
  private installed: Installed | undefined;
  /** To be said of each id, once the bus takes it. */
  private reports: { readonly id: string; readonly status: AclStatus }[] = [];

  constructor(now: number, context: JobContext, options: GatewayOptions) {
    const link = context.links.find(({ name }) => name === options.link);
    if (!link) throw new Error(`link: expected one of the agent's, got ${options.link}`);
    this.context = context;
    this.options = options;
    this.link = link;
    this.vlanTags = options.vlanTags ?? [];
    this.discovery = new DiscoveryClient(
      {
        mac: link.mac,
        vlanTags: this.vlanTags,
        service: options.service ?? '',
        acName: options.acName ?? '',
        gatherMs: 0,
        maxPayload: (options.mtuBytes ?? ethernetMtu) - headerBytes,
      },
      {
        random: new Random(options.entropy.uint32(), 'discovery'),
        send: frame => context.transmit(link.name, frame),
        opened: (at, session) => this.sessionOpened(at, session),
        closed: (at, reason) => this.sessionClosed(at, reason),
        refused: (at, acName, text) =>
          context.event(at, 'session-refused', { text: `${acName}: ${text}`.slice(0, 200) }),
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
    else if (headers.pppoeSession >= 0) this.receiveSession(now, frame);
    else if (headers.network === networkIpv4 || headers.network === networkIpv6)
      this.receivePlain(frame, headers);
  }

  /** How packets of the gateway's network travel now. */
  get mode(): 'down' | 'tunnel' | 'plain' {
    if (!this.up) return 'down';
    return this.installed ? 'plain' : 'tunnel';
  }

  poll(now: number): void {
    if (this.discovery.pollAt() <= now) this.discovery.poll(now);
    if (this.ppp && this.ppp.pollAt() <= now) this.ppp.poll(now);
    if (this.installed && now >= this.installed.expiresAt) this.endAcl(now, 'expired');
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

  acl(now: number, id: string, payload: Uint8Array): void {
    if (payload.length === 0) {
      if (this.installed?.id === id) this.endAcl(now, 'revoked');
      return;
    }
    const judged = judge(descriptors.acl, payload, this.context.limits);
    const compiled = judged.ok ? compileAcl(judged.value) : judged;
    const problem = compiled.ok ? this.objection(compiled.value) : compiled.problem;
    const payloadDigest = digest(payload);
    if (problem || !compiled.ok) {
      this.counts.add('acl.rejected');
      this.say(now, id, { status: 'rejected', digest: payloadDigest, ...told(problem as Problem) });
      return;
    }
    const { value: list } = compiled;
    const before = this.installed;
    const { upBitsPerSecond } = list;
    this.counts.add('acl.installed');
    this.installed = {
      id,
      digest: payloadDigest,
      list,
      expiresAt: now + list.lifetimeMs,
      bucket: upBitsPerSecond === undefined ? undefined : new TokenBucket(now, upBitsPerSecond),
      packets: before?.packets ?? 0,
      refused: before?.refused ?? 0,
    };
    if (!before) this.announce(now);
    this.sayInstalled(now);
  }

  online(now: number): void {
    if (this.up && this.session) this.tellUp(now, this.session);
    if (this.installed) this.sayInstalled(now);
  }

  /** A packet of the gateway's network. */
  line(now: number, { packet }: PppoeInput): void {
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
    if (installed) this.sendPlain(now, packet, version, installed);
    else this.sendTunnel(packet, version, session, ppp);
  }

  private sendTunnel(packet: Uint8Array, version: number, session: ClientSession, ppp: PppSession): void {
    if (packet.length > ppp.mtu) {
      this.counts.add('drop.too-long');
      return;
    }
    this.transmitPpp(session, version === 4 ? pppProtocol.ipv4 : pppProtocol.ipv6, packet, ppp.mtu);
    this.counts.add('packets.tunnel-out');
    this.counts.add('bytes.out', packet.length);
  }

  private sendPlain(now: number, packet: Uint8Array, version: number, installed: Installed): void {
    const { list, bucket } = installed;
    if (!isSubscribers(list, 'source', packet, 0, packet.length)) {
      installed.refused++;
      this.counts.add('drop.acl-source');
      return;
    }
    if (packet.length > (this.options.mtuBytes ?? ethernetMtu)) {
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
    const tags: readonly VlanTag[] =
      list.vlanId > 0
        ? [{ tpid: tpidCustomer, priority: 0, dropEligible: false, vlanId: list.vlanId }]
        : this.vlanTags;
    const header = {
      dstMac: list.brasMac,
      srcMac: this.link.mac,
      tags,
      etherType: version === 4 ? etherTypeIpv4 : etherTypeIpv6,
    };
    const frame = new Uint8Array(ethernetLength(header) + packet.length);
    writeBytes(frame, emitEthernet(header, packet.length, frame, 0), packet);
    this.context.transmit(this.link.name, frame);
  }

  private receiveSession(now: number, frame: Uint8Array): void {
    const { session, ppp } = this;
    if (!session || !ppp) {
      this.counts.add('drop.no-session');
      return;
    }
    if (!sameBytes(frame.subarray(6, 12), session.acMac) || !sameBytes(frame.subarray(0, 6), this.link.mac)) {
      this.counts.add('drop.ac-mac');
      return;
    }
    const at = 12 + 4 * this.vlanTags.length + 2;
    const outer = parsePppoe(frame, at, frame.length);
    if (!outer.ok || outer.value.code !== pppoeCode.session) {
      this.counts.add('drop.malformed');
      return;
    }
    if (outer.value.sessionId !== session.sessionId) {
      this.counts.add('drop.session-id');
      return;
    }
    const { payload } = outer.value;
    const inner = parsePpp(payload, 0, payload.length);
    if (!inner.ok) {
      this.counts.add('drop.malformed');
      return;
    }
    const { protocol, payload: packet } = inner.value;
    if (protocol !== pppProtocol.ipv4 && protocol !== pppProtocol.ipv6) {
      ppp.receive(now, protocol, packet, 0, packet.length);
      return;
    }
    if (!this.up) {
      this.counts.add('drop.no-session');
      return;
    }
    this.counts.add('packets.tunnel-in');
    this.deliver(packet, ppp.mtu);
  }

  /** A packet that came without the tunnel. */
  private receivePlain(frame: Uint8Array, { l3Offset, l4End }: Headers): void {
    const { installed } = this;
    if (!sameBytes(frame.subarray(0, 6), this.link.mac)) return;
    if (!installed) {
      this.counts.add('drop.plain-unasked');
      return;
    }
    if (!sameBytes(frame.subarray(6, 12), installed.list.brasMac)) {
      this.counts.add('drop.plain-source');
      return;
    }
    if (!isSubscribers(installed.list, 'destination', frame, l3Offset, l4End)) {
      this.counts.add('drop.plain-destination');
      return;
    }
    this.counts.add('packets.plain-in');
    this.deliver(frame.subarray(l3Offset, l4End), this.options.mtuBytes ?? ethernetMtu);
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
        this.counts.add('sessions.opened');
        this.announce(now);
        if (this.session) this.tellUp(now, this.session);
        break;
      case 'ipv4-down':
        this.lineDown(now, 'ipv4-down');
        break;
      case 'down':
        this.lineDown(now, event.reason);
        this.ppp = undefined;
        // Asks again after a while; `sessionClosed` follows at once.
        this.discovery.lost(now);
        break;
      default:
        break;
    }
  }

  private sessionClosed(now: number, reason: string): void {
    this.lineDown(now, reason);
    const { ppp } = this;
    this.ppp = undefined;
    this.session = undefined;
    if (ppp) ppp.lowerDown(now);
  }

  private lineDown(now: number, reason: string): void {
    if (!this.up) return;
    this.up = undefined;
    if (this.installed) this.endAcl(now, 'revoked');
    this.counts.add('sessions.closed');
    this.context.perform({ kind: 'line', state: 'down' });
    const session = this.session ? { session: this.session.sessionId } : {};
    this.context.event(now, 'session-down', { ...session, text: reason });
  }

  /** The platform learns how the line is. */
  private announce(_now: number): void {
    const { up: line, ppp } = this;
    if (!line || !ppp) return;
    this.context.perform({
      kind: 'line',
      state: 'up',
      mode: this.installed ? 'plain' : 'tunnel',
      address: addressBytes(line.local),
      peerAddress: addressBytes(line.peer),
      dnsAddresses: line.dns.map(addressBytes),
      mtuBytes: this.installed ? (this.options.mtuBytes ?? ethernetMtu) : ppp.mtu,
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
    const { session, up: line, installed } = this;
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
    if (installed && installed.list.session !== list.session)
      return { field: 'session', expected: `${installed.list.session}`, got: `${list.session}` };
    return undefined;
  }

  /** From now on the tunnel carries everything. */
  private endAcl(now: number, how: 'expired' | 'revoked'): void {
    const { installed } = this;
    if (!installed) return;
    this.installed = undefined;
    this.counts.add(`acl.${how}`);
    const { packets, refused } = installed;
    this.say(now, installed.id, { status: how, digest: installed.digest, packets, refused });
    this.announce(now);
  }

  private sayInstalled(now: number): void {
    if (!this.installed) return;
    const { id, digest: judged, packets, refused } = this.installed;
    this.say(now, id, { status: 'installed', digest: judged, packets, refused });
  }

  /** The last word on an id counts; of more ids than one is in force there is no reason to keep many. */
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

const maxReports = 4;

function told({ field, expected, got }: Problem): Pick<AclStatus, 'reason' | 'field' | 'expected' | 'got'> {
  return {
    reason: `${field === '' ? 'payload' : field}: expected ${expected}, got ${got}`.slice(0, 200),
    field: field.slice(0, 64),
    expected: expected.slice(0, 200),
    got: got.slice(0, 64),
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
