/**
 * What is known of a host the power proxy stands in for: declared by people, registered by the host, or learnt from what it
 * says while it is awake (learn.ts).
 *
 * Bounded: every list has a limit, and beyond it the entry that was confirmed longest ago, or else the oldest, makes room
 * for the new one. What is kept is copied from the frames it came in.
 */

import { copyBytes, sameBytes } from '../core/bytes.js';
import { ipv4Length, macLength } from '../wire/address.js';
import type { DnsDataRecord } from '../wire/dns.js';
import type { NbnsNodeName } from '../wire/nbns.js';
import type { Ssdp } from '../wire/ssdp.js';
import type { TcpFlows } from './learn-tcp.js';
import { sameName } from './respond/names.js';
import type { IdleConnection, Lease, Lease6, NatMapping, Served } from './responder.js';

/** An interface has one, and now and then a few more; a declaration names up to 4. */
const ipv4Limit = 8;
/** Of two prefixes a stable address and a week of temporary ones (RFC 8981 §3.8), and a link-local one. */
const ipv6Limit = 20;
/** One for each protocol, and those before a change; a declaration names up to 4. */
const namesLimit = 8;
/** Linux lets a host join 20 groups of IPv4 (`igmp_max_memberships`); of IPv6 there is one for each address beside a few. */
const groupsLimit = 48;
/** Half of what a message may carry (dns.ts): a dozen services of four records each, and those of the addresses. */
const recordsLimit = 64;
/** Windows registers a host, its workgroup and a few services: up to about eight. */
const netbiosNamesLimit = 16;
/** UPnP Device Architecture 2.0 §1.2.2: a root device with two devices and four services has 3 + 2 × 2 + 4. */
const notificationsLimit = 16;
/** One a tunnel; who keeps more than a few open is a gateway, and those do not sleep. */
const natMappingsLimit = 4;
/** Three addresses may be in duplicate address detection at once: link-local, stable and temporary. */
const tentativeLimit = 4;
/** What a host repeats unchanged: its announcements over IPv4 and IPv6, notifications, reports. */
const staleLimit = 16;

export type NetbiosName = Pick<NbnsNodeName, 'name' | 'suffix' | 'group'>;

interface HeldMapping extends NatMapping {
  /** When the host last kept it open. */
  heldAt: number;
}

export class Profile implements Served {
  readonly mac: Uint8Array;
  ipv4: Uint8Array[] = [];
  ipv6: Uint8Array[] = [];
  linkAddress?: Uint8Array;
  names: string[] = [];
  groups: Uint8Array[] = [];
  records: DnsDataRecord[] = [];
  netbiosNames?: NetbiosName[];
  notifications: Ssdp[] = [];
  lease?: Lease;
  lease6?: Lease6;
  natMappings: HeldMapping[] = [];
  snmp?: NonNullable<Served['snmp']>;

  /** From the first segment on. */
  flows: TcpFlows | undefined;
  /** IPv6 addresses that the host asks about before it takes them (RFC 4862 §5.4). */
  readonly tentative: Uint8Array[] = [];
  /** Of the DHCP and DHCPv6 requests under way; −1: none. */
  transactionId = -1;
  transactionId6 = -1;
  /** The client identifier in the last DHCP request. */
  clientId?: Uint8Array;
  /** Counts the changes of the lists that messages teach. */
  revision = 0;
  private stale: number[] = [];

  /** `mac`: 6 bytes, copied. */
  constructor(mac: Uint8Array) {
    this.mac = copyBytes(mac, 0, mac.length);
  }

  /** Those that are idle; a new array each time. */
  get connections(): readonly IdleConnection[] {
    return this.flows ? this.flows.idle() : [];
  }

  /** Whether the address of `length` bytes at `bytes[at]` is the host's. Allocates nothing, as `addAddress` does of a known one. */
  hasAddress(bytes: Uint8Array, at: number, length: number): boolean {
    return indexOf(length === ipv4Length ? this.ipv4 : this.ipv6, bytes, at, length) >= 0;
  }

  addAddress(bytes: Uint8Array, at: number, length: number): void {
    const isIpv4 = length === ipv4Length;
    this.confirm(isIpv4 ? this.ipv4 : this.ipv6, bytes, at, length, isIpv4 ? ipv4Limit : ipv6Limit);
  }

  removeAddress(address: Uint8Array): void {
    this.remove(address.length === ipv4Length ? this.ipv4 : this.ipv6, address);
  }

  addTentative(address: Uint8Array): void {
    this.confirm(this.tentative, address, 0, address.length, tentativeLimit);
  }

  /** Whether the IPv6 address at `bytes[at]` was asked about; it is no longer. */
  takeTentative(bytes: Uint8Array, at: number, length: number): boolean {
    const index = indexOf(this.tentative, bytes, at, length);
    if (index >= 0) this.tentative.splice(index, 1);
    return index >= 0;
  }

  addGroup(group: Uint8Array): void {
    this.confirm(this.groups, group, 0, group.length, groupsLimit);
  }

  removeGroup(group: Uint8Array): void {
    this.remove(this.groups, group);
  }

  /** A host name without a domain. */
  addName(name: string): void {
    for (const known of this.names) if (sameName(known, name)) return;
    this.push(this.names, name, namesLimit);
  }

  addNetbiosName({ name, suffix, group }: NetbiosName): void {
    if (!this.netbiosNames) this.netbiosNames = [];
    for (const known of this.netbiosNames)
      if (known.name === name && known.suffix === suffix && known.group === group) return;
    this.removeNetbiosName(name, suffix);
    this.push(this.netbiosNames, { name, suffix, group }, netbiosNamesLimit);
  }

  removeNetbiosName(name: string, suffix: number): void {
    this.drop(this.netbiosNames ?? [], known => known.name === name && known.suffix === suffix);
  }

  addRecord(record: DnsDataRecord): void {
    this.push(this.records, record, recordsLimit);
  }

  removeRecords(unwanted: (record: DnsDataRecord) => boolean): void {
    this.drop(this.records, unwanted);
  }

  addNotification(notification: Ssdp): void {
    this.push(this.notifications, notification, notificationsLimit);
  }

  removeNotifications(unwanted: (notification: Ssdp) => boolean): void {
    this.drop(this.notifications, unwanted);
  }

  /** A keep-alive from its address, of `length` bytes at `frame[at]`, before that of its peer. */
  holdMapping(
    now: number,
    frame: Uint8Array,
    { at, length, port, peerPort }: { at: number; length: number; port: number; peerPort: number },
  ): void {
    for (const mapping of this.natMappings) {
      if (mapping.port !== port || mapping.peerPort !== peerPort) continue;
      if (!stands(mapping.address, frame, at, length)) continue;
      if (!stands(mapping.peerAddress, frame, at + length, length)) continue;
      mapping.heldAt = now;
      return;
    }
    const address = copyBytes(frame, at, at + length);
    const peerAddress = copyBytes(frame, at + length, at + 2 * length);
    const routerMac = copyBytes(frame, 0, macLength);
    const mapping = { address, port, peerAddress, peerPort, routerMac, heldAt: now };
    this.push(this.natMappings, mapping, natMappingsLimit);
  }

  /** Forgets those the host has not held open since then. */
  dropNatMappings(heldBefore: number): void {
    const { natMappings } = this;
    for (let i = natMappings.length - 1; i >= 0; i--)
      if (natMappings[i].heldAt < heldBefore) natMappings.splice(i, 1);
  }

  /**
   * Whether a message with this digest has taught nothing since the profile last changed, so that it cannot now. Who changes
   * a list by other means than these methods calls `changed`.
   */
  isStale(digest: number): boolean {
    return this.stale.indexOf(digest) >= 0;
  }

  addStale(digest: number): void {
    if (this.stale.length >= staleLimit) this.stale.shift();
    this.stale.push(digest);
  }

  changed(): void {
    this.revision = (this.revision + 1) | 0;
    if (this.stale.length > 0) this.stale = [];
  }

  private push<T>(list: T[], entry: T, limit: number): void {
    if (list.length >= limit) list.shift();
    list.push(entry);
    this.changed();
  }

  private drop<T>(list: T[], unwanted: (entry: T) => boolean): void {
    for (let i = list.length - 1; i >= 0; i--) {
      if (!unwanted(list[i])) continue;
      list.splice(i, 1);
      this.changed();
    }
  }

  private remove(list: Uint8Array[], address: Uint8Array): void {
    this.drop(list, known => sameBytes(known, address));
  }

  /** The last of a list is what was confirmed last. */
  private confirm(list: Uint8Array[], bytes: Uint8Array, at: number, length: number, limit: number): void {
    const index = indexOf(list, bytes, at, length);
    if (index < 0) {
      this.push(list, copyBytes(bytes, at, at + length), limit);
      return;
    }
    const known = list[index];
    for (let i = index; i + 1 < list.length; i++) list[i] = list[i + 1];
    list[list.length - 1] = known;
  }
}

function indexOf(list: readonly Uint8Array[], bytes: Uint8Array, at: number, length: number): number {
  for (let i = 0; i < list.length; i++) if (stands(list[i], bytes, at, length)) return i;
  return -1;
}

/** Whether the address is that of `length` bytes at `bytes[at]`. */
function stands(address: Uint8Array, bytes: Uint8Array, at: number, length: number): boolean {
  if (address.length !== length) return false;
  for (let i = 0; i < length; i++) if (address[i] !== bytes[at + i]) return false;
  return true;
}
