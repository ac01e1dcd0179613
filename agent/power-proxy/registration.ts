/**
 * What a Mac says before it sleeps: a DNS update (RFC 2136) whose records the sleep proxy shall announce in its place, with
 * an EDNS(0) record that tells for how long (Update Lease, RFC 9664) and whose they are (Owner,
 * draft-cheshire-edns0-owner-option-01).
 *
 * As mDNSResponder sends it (mDNSCore/mDNS.c, SendSPSRegistration): no zone at all, the records in the update section,
 * those that are the host's alone with the cache flush bit, and nothing but additions. What one message of 1440 bytes does
 * not hold follows in another with the same sequence number, so registrations of one sequence add up (`merge`). Its TCP
 * keepalive records are left out: they hold sequence numbers that are nobody's business. Bounded by `dnsRecordLimit` and `longestBytes`.
 */

import { copyBytes, decodeUtf8, sameBytes } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv4Length, ipv6Length, macLength } from '../wire/address.js';
import {
  type DnsDataRecord,
  type DnsRecord,
  type DnsUpdate,
  dnsClass,
  dnsRecordLimit,
  dnsType,
  type EdnsOption,
  encodeDnsMessage,
  encodeDnsName,
} from '../wire/dns.js';
import { protocolTcp, protocolUdp } from '../wire/ipv4.js';
import { isIpv6Multicast, isIpv6Unspecified } from '../wire/ipv6.js';
import { includes, isGroupMac, isIpv4Group, isUnspecified } from './respond/frame.js';
import { reverseName, sameName } from './respond/names.js';
import { copyRecord, sameRecord, typeOf } from './respond/records.js';

/** A service the host offers, as its SRV record says. */
export interface ServicePort {
  /** TCP or UDP (IANA, protocol numbers). */
  readonly protocol: 6 | 17;
  readonly port: number;
}

/** A host that asked to be stood in for. All of it is a copy; it stays as it is. */
export interface Registration {
  /** The MAC the host has on this link, 6 bytes: that its registration came from, one of the next two. */
  readonly mac: Uint8Array;
  /** By which the host is known, whatever interface it speaks on. */
  readonly primaryMac: Uint8Array;
  /** What the magic packet carries. */
  readonly wakeMac: Uint8Array;
  /** Of the magic packet (SecureOn): 0, 4 or 6 bytes. */
  readonly password: Uint8Array;
  /** Counts the sleeps of the host since it booted, modulo 256. */
  readonly sequence: number;
  /** Where it sleeps. −1: untagged. */
  readonly link: string;
  readonly vlanId: number;
  /** Of its A and AAAA records and of the names that lead from an address to the host (in-addr.arpa, ip6.arpa). */
  readonly ipv4: Uint8Array[];
  readonly ipv6: Uint8Array[];
  /** Host names without `.local`, plain text. */
  readonly names: string[];
  /** As `Served.records`. */
  readonly records: DnsDataRecord[];
  readonly ports: ServicePort[];
  readonly untilAt: number;
}

/** Why an update is no registration. */
export type RegistrationFault =
  /** It has prerequisites, or takes records away. */
  | 'unsupported'
  | 'wrong-zone'
  | 'edns-version'
  | 'no-lease'
  | 'no-owner'
  | 'owner-version'
  /** A MAC of the owner is a group's or nobody's. */
  | 'bad-owner'
  | 'no-records'
  | 'too-many-records'
  | 'bad-record'
  /** A group's, nobody's or the host's own loopback. */
  | 'bad-address';

type Owner = Extract<EdnsOption, { kind: 'owner' }>;

/**
 * Of all records of a host, as one message: as long as one of multicast DNS may be (RFC 6762 §17). A dozen services take a
 * third of it, and a device with little memory and flash keeps it for every host.
 */
const longestBytes = 9000;

/** An update that asks for proxying, read but not yet judged: arrays are views into the message. */
export interface RegistrationRequest {
  readonly owner: Owner;
  /** 0: the host wants no proxy any more. */
  readonly leaseSeconds: number;
  readonly records: readonly DnsDataRecord[];
}

const ownerCode = 4;
const soaType = 6;
/** RFC 1035 §3.3.10; mDNSResponder keeps TCP connections' numbers in it, under this name. */
const nullType = 10;
const keepaliveSuffix = '._keepalive._dns-sd._udp.local';
const localSuffix = '.local';

export function readRegistration(update: DnsUpdate): Result<RegistrationRequest, RegistrationFault> {
  const { zones, prerequisites, updates, additionals } = update;
  if (prerequisites.length > 0) return fail('unsupported');
  // Apple names no zone; who follows RFC 2136 §2.3 names the one the records are in, or the root above it.
  for (const { name, type } of zones)
    if (zones.length > 1 || type !== soaType || (name !== '.' && !sameName(name, 'local')))
      return fail('wrong-zone');
  const options = readOptions(additionals);
  if (!options.ok) return options;
  const records: DnsDataRecord[] = [];
  for (const record of updates) {
    // The parser lets OPT through among the additionals only.
    if (record.kind === 'opt') return fail('bad-record');
    const isAddition = record.class === dnsClass.internet && record.timeToLive > 0;
    if (!isAddition) return fail('unsupported');
    if (!isOfLink(record.name) || isMeta(typeOf(record))) return fail('bad-record');
    if (!isKeepalive(record)) records.push(record);
    const address = addressOf(record);
    if (address && !isHostAddress(address)) return fail('bad-address');
  }
  const { owner, leaseSeconds } = options.value;
  if (updates.length === 0 && leaseSeconds > 0) return fail('no-records');
  return ok({ owner, leaseSeconds, records });
}

/** The registration that `request` asks for, with the records of an earlier one of the same sequence added. */
export function mergeRegistration(
  request: RegistrationRequest,
  where: Pick<Registration, 'mac' | 'link' | 'vlanId' | 'untilAt'>,
  earlier: Registration | undefined,
): Result<Registration, 'too-many-records'> {
  const { owner } = request;
  const records: DnsDataRecord[] = [];
  for (const record of request.records)
    if (!records.some(other => isSameRecord(other, record))) records.push(copyRecord(record));
  for (const record of earlier?.records ?? [])
    if (!records.some(other => isSameRecord(other, record))) records.push(record);
  if (records.length > dnsRecordLimit || lengthOf(records) > longestBytes) return fail('too-many-records');
  const ipv4: Uint8Array[] = [];
  const ipv6: Uint8Array[] = [];
  const names: string[] = [];
  const ports: ServicePort[] = [];
  for (const record of records) {
    const address = addressOf(record);
    const addresses = address?.length === ipv4Length ? ipv4 : ipv6;
    if (address && !includes(addresses, address)) addresses.push(address);
    const name = record.kind === 'a' || record.kind === 'aaaa' ? hostLabel(record.name) : undefined;
    if (name !== undefined && names.indexOf(name) < 0) names.push(name);
    const service = servicePortOf(record);
    if (
      service &&
      !ports.some(({ protocol, port }) => protocol === service.protocol && port === service.port)
    )
      ports.push(service);
  }
  return ok({
    mac: copyOf(where.mac),
    primaryMac: copyOf(owner.primaryMac),
    wakeMac: copyOf(owner.wakeupMac),
    password: copyOf(owner.password),
    sequence: owner.sequence,
    link: where.link,
    vlanId: where.vlanId,
    ipv4,
    ipv6,
    names,
    records,
    ports,
    untilAt: where.untilAt,
  });
}

function lengthOf(answers: readonly DnsDataRecord[]): number {
  const nothing = { identification: 0, flags: 0, questions: [], authorities: [], additionals: [] };
  return encodeDnsMessage({ ...nothing, answers }).length;
}

/** Whether both cannot be true: the same name and type, which is one's alone, and other data (RFC 6762 §9). */
export function contradicts(a: DnsDataRecord, b: DnsDataRecord): boolean {
  const isSameSet = typeOf(a) === typeOf(b) && a.class === b.class && sameName(a.name, b.name);
  return isSameSet && a.cacheFlush && b.cacheFlush && !isSameRecord(a, b);
}

/** The owner option of an mDNS message or an update, if its MACs are somebody's. */
export function ownerOf(additionals: readonly DnsRecord[]): Owner | undefined {
  for (const record of additionals)
    if (record.kind === 'opt')
      for (const option of record.options) if (option.kind === 'owner' && isOwner(option)) return option;
  return undefined;
}

function readOptions(
  additionals: readonly DnsRecord[],
): Result<{ readonly owner: Owner; readonly leaseSeconds: number }, RegistrationFault> {
  let owner: Owner | undefined;
  let leaseSeconds = -1;
  let isOtherVersion = false;
  for (const record of additionals) {
    if (record.kind !== 'opt') continue;
    if (record.version !== 0) return fail('edns-version');
    for (const option of record.options) {
      if (option.kind === 'update-lease') leaseSeconds = option.leaseSeconds;
      else if (option.kind === 'owner') owner = option;
      else if (option.code === ownerCode) isOtherVersion = true;
    }
  }
  if (leaseSeconds < 0) return fail('no-lease');
  if (!owner) return fail(isOtherVersion ? 'owner-version' : 'no-owner');
  return isOwner(owner) ? ok({ owner, leaseSeconds }) : fail('bad-owner');
}

function isOwner({ primaryMac, wakeupMac }: Owner): boolean {
  return isHostMac(primaryMac) && isHostMac(wakeupMac);
}

function isHostMac(mac: Uint8Array): boolean {
  return !isGroupMac(mac, 0) && !sameBytes(mac, new Uint8Array(macLength));
}

function isHostAddress(address: Uint8Array): boolean {
  if (isUnspecified(address)) return false;
  if (address.length === ipv4Length) return !isIpv4Group(address) && address[0] !== 0 && address[0] !== 127;
  const isLoopback = address[15] === 1 && isIpv6Unspecified(address.subarray(0, 15));
  return !isIpv6Multicast(address) && !isLoopback;
}

/** Names that multicast DNS answers for: `local`, and those of addresses (RFC 6762 §3, §4). */
function isOfLink(name: string): boolean {
  return endsWith(name, localSuffix) || endsWith(name, '.in-addr.arpa') || endsWith(name, '.ip6.arpa');
}

/** Types that are not of data: OPT, and those a query or a transaction has (RFC 6895 §3.1). */
function isMeta(type: number): boolean {
  return type === 0 || type === dnsType.opt || (type >= 128 && type <= 255);
}

function isKeepalive(record: DnsDataRecord): boolean {
  return typeOf(record) === nullType && endsWith(record.name, keepaliveSuffix);
}

/** The address a record speaks of. */
function addressOf(record: DnsDataRecord): Uint8Array | undefined {
  if (record.kind === 'a' || record.kind === 'aaaa') return record.address;
  return record.kind === 'ptr' ? addressOfReverseName(record.name) : undefined;
}

/** The address whose `reverseName` this is. */
function addressOfReverseName(name: string): Uint8Array | undefined {
  const labels = name.split('.');
  const address = new Uint8Array(labels.length === ipv4Length + 2 ? ipv4Length : ipv6Length);
  const isIpv4 = address.length === ipv4Length;
  const digits = isIpv4 ? ipv4Length : 2 * ipv6Length;
  if (labels.length !== digits + 2) return undefined;
  for (let i = 0; i < digits; i++) {
    const value = Number((isIpv4 ? '' : '0x') + labels[digits - 1 - i]);
    if (isIpv4) address[i] = value;
    else address[i >>> 1] |= value << (i % 2 === 0 ? 4 : 0);
  }
  // What was no number, or written in another way, is found out here.
  return sameName(reverseName(address), name) ? address : undefined;
}

/** `desk` of `desk.local`. */
function hostLabel(name: string): string | undefined {
  const encoded = encodeDnsName(name);
  if (!encoded) return undefined;
  const length = encoded[0];
  const isOfLocal = encoded.length === length + 1 + localSuffix.length + 1 && endsWith(name, localSuffix);
  return isOfLocal ? decodeUtf8(encoded.subarray(1, 1 + length)) : undefined;
}

function servicePortOf(record: DnsDataRecord): ServicePort | undefined {
  // RFC 6763 §8: port 0 says that there is no such service here.
  if (record.kind !== 'srv' || record.port === 0) return undefined;
  if (endsWith(record.name, '._tcp.local')) return { protocol: protocolTcp, port: record.port };
  if (endsWith(record.name, '._udp.local')) return { protocol: protocolUdp, port: record.port };
  return undefined;
}

function endsWith(name: string, suffix: string): boolean {
  return name.length > suffix.length && sameName(name.slice(name.length - suffix.length), suffix);
}

function copyOf(bytes: Uint8Array): Uint8Array {
  return copyBytes(bytes, 0, bytes.length);
}

/** The same but for the time to live. */
function isSameRecord(a: DnsDataRecord, b: DnsDataRecord): boolean {
  return a.cacheFlush === b.cacheFlush && sameRecord(a, b);
}
