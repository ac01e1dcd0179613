/**
 * No tunnel at all (the seed, §3.2.4: "a software BRAS instance handling session management install ACLs directly on home
 * gateways"): once a session is up and its gateway's agent can, the BRAS publishes an `acl` message (messages.cddl) to it and,
 * when the agent says it is installed, takes and sends the session's packets as plain IP over Ethernet. PPP goes on in the
 * tunnel, so that falling back costs nothing.
 *
 *     tunnel → asked        published; the tunnel goes on
 *            → direct       the agent's status says 'installed', of just that payload
 *     any    → tunnel       the session ends, the agent is lost or boots anew, says anything else, or did not confirm before expiry
 *
 * The gateway is not trusted: of plain frames only those pass whose address has a session in the state direct and whose MAC,
 * link and VLAN tags are the session's; source check and shaper follow in bras.ts as for the tunnel. `lieLimit` frames that do not fit end
 * the mode for `penaltyMs`. Revocation holds here at once, whatever the gateway does. No two lists of a session are alike in
 * a row, so that what a gateway said of an earlier one, which a broker keeps, does not confirm the present one. Bounded by the sessions.
 */

import { readUint16, readUint32, writeUint16, writeUint32 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { formatDuration, never } from '../../agent/core/time.js';
import type { Acl, AclStatus } from '../../agent/message/messages.js';
import { hostOf } from '../../agent/pppoe/session-table.js';
import { formatAddress, formatMac } from '../../agent/wire/address.js';
import { ethernetHeaderLength, etherTypeIpv4, etherTypeIpv6 } from '../../agent/wire/ethernet.js';
import { vlanTagLength } from '../../agent/wire/vlan.js';
import { formatIpv4 } from './address-pool.js';
import type { Bras, Bypass } from './bras.js';
import { macOf } from './session-columns.js';

export interface BrasAclOptions {
  /** How long an installed list holds without renewal; whole seconds, renewed at half. */
  readonly expiryMs: number;
}

export interface BrasAclCalls {
  /** The node whose agent serves the gateway with this MAC and says that it can; `undefined`: none. */
  gatewayOf(mac: string): string | undefined;
  /** Retained, to `acl/<id>` of that node; `undefined`: an empty payload, which revokes. Returns the digest of the payload; `status` about it comes after that. */
  publish(now: number, gateway: string, id: string, acl: Acl | undefined): string;
}

export type BrasAclCount =
  | 'acl.published'
  | 'acl.renewed'
  | 'acl.installed'
  | 'acl.revoked'
  | 'acl.rejected'
  | 'acl.stale-status'
  | 'acl.expired'
  | 'acl.gateway-lost'
  | 'acl.gateway-booted'
  | 'acl.liar'
  | 'acl.drop.not-direct'
  | 'acl.drop.wrong-host'
  | 'acl.drop.not-ip';

/** As many strays as a gateway may send while its list is on its way or just gone: a burst of a small window. */
export const lieLimit = 64;
export const penaltyMs = 600_000;

interface Entry {
  readonly row: number;
  readonly gateway: string;
  readonly id: string;
  /** Of the payload published last. */
  digest: string;
  isDirect: boolean;
  /** Of the gateway, once it has said. */
  boot: string | number | undefined;
  renewAt: number;
  /** When what is confirmed ends. */
  expiresAt: number;
  /** When what was published last would end: it counts once confirmed. */
  nextExpiresAt: number;
  publications: number;
  lies: number;
}

export class BrasAcl implements Bypass {
  readonly counters = new Counters<BrasAclCount>([
    'acl.published',
    'acl.renewed',
    'acl.installed',
    'acl.revoked',
    'acl.rejected',
    'acl.stale-status',
    'acl.expired',
    'acl.gateway-lost',
    'acl.gateway-booted',
    'acl.liar',
    'acl.drop.not-direct',
    'acl.drop.wrong-host',
    'acl.drop.not-ip',
  ]);
  private readonly bras: Bras;
  private readonly options: BrasAclOptions;
  private readonly calls: BrasAclCalls;
  /** By row; in the order of `renewAt`, since all wait equally long. */
  private readonly entries = new Map<number, Entry>();
  /** Of these gateways' lists another one is due at once. */
  private readonly urgent = new Set<Entry>();
  private readonly entriesOf = new Map<string, Set<Entry>>();
  private readonly rowOfId = new Map<string, number>();
  /** Gateways that lied, and until when they are not asked; in that order. */
  private readonly penalties = new Map<string, number>();

  constructor(bras: Bras, options: BrasAclOptions, calls: BrasAclCalls) {
    const { expiryMs } = options;
    if (!(expiryMs >= 2_000 && expiryMs % 1000 === 0))
      throw new Error(`expiryMs: expected whole seconds from 2000, got ${expiryMs}`);
    this.bras = bras;
    this.options = options;
    this.calls = calls;
  }

  isDirect(now: number, row: number): boolean {
    const entry = this.entries.get(row);
    return entry?.isDirect === true && now < entry.expiresAt;
  }

  /** The session in `row` is up, or its rate has changed. */
  opened(now: number, row: number): void {
    const known = this.entries.get(row);
    if (known) {
      this.publish(now, known);
      return;
    }
    const { table } = this.bras;
    // An `acl` message names one VLAN at most.
    if (table.ipv4[row] === 0 || table.innerTag[row] !== 0) return;
    const gateway = this.calls.gatewayOf(formatMac(macOf(table, row)));
    if (gateway === undefined || now < (this.penalties.get(gateway) ?? 0)) return;
    const id = `s${table.id[row]}`;
    const entry: Entry = {
      row,
      gateway,
      id,
      digest: '',
      isDirect: false,
      boot: undefined,
      renewAt: never,
      expiresAt: never,
      nextExpiresAt: never,
      publications: 0,
      lies: 0,
    };
    const others = this.entriesOf.get(gateway);
    if (others) others.add(entry);
    else this.entriesOf.set(gateway, new Set([entry]));
    this.rowOfId.set(`${gateway} ${id}`, row);
    this.publish(now, entry);
  }

  closed(now: number, row: number): void {
    const entry = this.entries.get(row);
    if (entry) this.revoke(now, entry);
  }

  /** What the gateway's agent made of a list. */
  status(now: number, gateway: string, id: string, status: AclStatus): void {
    const entry = this.entryOf(gateway, id);
    if (!entry || status.digest !== entry.digest) {
      this.counters.add('acl.stale-status');
      return;
    }
    if (status.status !== 'installed') {
      this.counters.add(status.status === 'expired' ? 'acl.expired' : 'acl.rejected');
      this.revoke(now, entry);
      return;
    }
    if (entry.boot !== undefined && entry.boot !== status.boot) {
      // It has booted, and taken the list from the broker again: that is as good as new.
      this.counters.add('acl.gateway-booted');
    }
    entry.boot = status.boot;
    // The agent counts from when the message arrived, which was later: ours ends first.
    entry.expiresAt = entry.nextExpiresAt;
    if (now >= entry.expiresAt) {
      this.counters.add('acl.stale-status');
      return;
    }
    if (!entry.isDirect) this.counters.add('acl.installed');
    entry.isDirect = true;
  }

  /** The gateway is lost to MQTT, or its agent begins anew: its sessions go back to the tunnel until it confirms again. */
  gatewayLost(now: number, gateway: string): void {
    for (const entry of this.entriesOf.get(gateway) ?? []) {
      if (entry.isDirect) this.counters.add('acl.gateway-lost');
      entry.isDirect = false;
      entry.boot = undefined;
      // Another list, so that a status from before does not confirm it.
      entry.renewAt = now;
      this.urgent.add(entry);
    }
  }

  /**
   * The gateway's agent says it can (again): its sessions are offered a list. `session`, if it named one (the event
   * `session-up` does), saves a walk over all of them.
   */
  gatewayFound(now: number, gateway: string, session?: number): void {
    const { table } = this.bras;
    const isOf = (row: number) =>
      table.ipv4[row] !== 0 && this.calls.gatewayOf(formatMac(macOf(table, row))) === gateway;
    if (session !== undefined) {
      const row = table.rowOf[session] ?? 0;
      if (row !== 0 && isOf(row)) this.opened(now, row);
      return;
    }
    for (let row = 1; row < table.rowEnd; row++) if (isOf(row)) this.opened(now, row);
  }

  poll(now: number): void {
    for (const entry of this.urgent) this.renew(now, entry);
    for (const entry of this.entries.values()) {
      if (now < entry.renewAt) break;
      this.renew(now, entry);
    }
    for (const [gateway, untilAt] of this.penalties) {
      if (now < untilAt) break;
      this.penalties.delete(gateway);
    }
  }

  /** Renewals; that a list has ended is seen from the time by whoever asks. */
  pollAt(): number {
    for (const { renewAt } of this.urgent) return renewAt;
    for (const { renewAt } of this.entries.values()) return renewAt;
    return never;
  }

  /** Writes the Ethernet header with the session's VLAN tag. */
  address(row: number, bytes: Uint8Array, start: number): number {
    const { table, config } = this.bras;
    const outerTag = table.outerTag[row];
    const at = start - ethernetHeaderLength - (outerTag !== 0 ? vlanTagLength : 0);
    writeUint16(bytes, at, table.macHigh[row]);
    writeUint32(bytes, at + 2, table.macLow[row]);
    bytes.set(config.mac, at + 6);
    if (outerTag !== 0) writeUint32(bytes, at + 12, outerTag);
    writeUint16(bytes, start - 2, bytes[start] >>> 4 === 6 ? etherTypeIpv6 : etherTypeIpv4);
    return at;
  }

  admit(now: number, link: number, frame: Uint8Array, at: number, end: number): number {
    const { table } = this.bras;
    const etherType = readUint16(frame, at - 2);
    const isIpv4 = etherType === etherTypeIpv4 && end - at >= 20 && frame[at] >>> 4 === 4;
    const isIpv6 = etherType === etherTypeIpv6 && end - at >= 40 && frame[at] >>> 4 === 6;
    if (!isIpv4 && !isIpv6) return this.refuse('acl.drop.not-ip');
    if (!isOurs(frame, this.bras.config.mac)) return this.refuse('acl.drop.not-ip');
    const source = readUint32(frame, at + 12);
    const row = isIpv4
      ? source === 0
        ? 0
        : table.findIpv4(source)
      : table.findIpv6(readUint32(frame, at + 8), source);
    const host = hostOf(link, frame, at);
    if (row !== 0 && host && table.isOf(row, host)) {
      const entry = this.entries.get(row);
      if (this.isDirect(now, row)) return this.count(row, end - at);
      this.lie(now, entry);
      return this.refuse('acl.drop.not-direct');
    }
    // Whoever sends with another's address is looked up by where he is.
    const liar = host ? table.firstRowOf(host) : 0;
    this.lie(now, this.entries.get(liar));
    return this.refuse('acl.drop.wrong-host');
  }

  private count(row: number, bytes: number): number {
    this.bras.table.packetsIn[row]++;
    this.bras.table.bytesIn[row] += bytes;
    return row;
  }

  private refuse(reason: BrasAclCount): 0 {
    this.counters.add(reason);
    return 0;
  }

  private lie(now: number, entry: Entry | undefined): void {
    if (!entry || ++entry.lies < lieLimit) return;
    this.counters.add('acl.liar');
    this.penalties.delete(entry.gateway);
    this.penalties.set(entry.gateway, now + penaltyMs);
    this.revoke(now, entry);
  }

  private renew(now: number, entry: Entry): void {
    if (entry.isDirect && now >= entry.expiresAt) {
      this.counters.add('acl.expired');
      entry.isDirect = false;
    }
    this.counters.add('acl.renewed');
    this.publish(now, entry);
  }

  private publish(now: number, entry: Entry): void {
    const { table, config, shapers } = this.bras;
    const { row } = entry;
    // A millisecond less each time makes it another list.
    const lifetimeMs = this.options.expiryMs - (entry.publications++ % 1_000);
    const rate = (bytesPerSecond: number) => Math.floor(bytesPerSecond * 8);
    const up = rate(shapers.up.bytesPerSecond(table.rateClass[row]));
    const down = rate(shapers.down.bytesPerSecond(table.rateClass[row]));
    const prefix = new Uint8Array(16);
    writeUint32(prefix, 0, table.ipv6High[row]);
    writeUint32(prefix, 4, table.ipv6Low[row]);
    const hasPrefix = (table.ipv6High[row] | table.ipv6Low[row]) !== 0;
    const acl: Acl = {
      session: table.id[row],
      bras: formatMac(config.mac),
      ipv4: formatIpv4(table.ipv4[row]),
      ...(hasPrefix && { ipv6: `${formatAddress(prefix)}/${config.prefixes?.length ?? 64}` }),
      ...(up !== Infinity && { upBitsPerSecond: up }),
      ...(down !== Infinity && { downBitsPerSecond: down }),
      expires: formatDuration(lifetimeMs),
    };
    this.counters.add('acl.published');
    entry.nextExpiresAt = now + lifetimeMs;
    entry.renewAt = now + this.options.expiryMs / 2;
    this.urgent.delete(entry);
    this.entries.delete(row);
    this.entries.set(row, entry);
    entry.digest = this.calls.publish(now, entry.gateway, entry.id, acl);
  }

  private revoke(now: number, entry: Entry): void {
    this.entries.delete(entry.row);
    this.urgent.delete(entry);
    const others = this.entriesOf.get(entry.gateway);
    others?.delete(entry);
    if (others?.size === 0) this.entriesOf.delete(entry.gateway);
    this.rowOfId.delete(`${entry.gateway} ${entry.id}`);
    this.counters.add('acl.revoked');
    this.calls.publish(now, entry.gateway, entry.id, undefined);
  }

  private entryOf(gateway: string, id: string): Entry | undefined {
    const row = this.rowOfId.get(`${gateway} ${id}`);
    return row === undefined ? undefined : this.entries.get(row);
  }
}

function isOurs(frame: Uint8Array, mac: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (frame[i] !== mac[i]) return false;
  return true;
}
