/**
 * IGMP: version 3 (RFC 3376 §4), version 2 (RFC 2236 §2), version 1 (RFC 1112 appendix I).
 *
 *     0  type      1  maximum response code, or 0      2  checksum
 *     4  group address                                           query, reports of versions 1 and 2, leave
 *     8  S 1 bit, QRV 3 bits    9  QQIC   10  count   12  sources       query of version 3
 *     6  count      8  group records                             report of version 3
 *
 *     group record:  0  type   1  auxiliary words   2  count   4  group address   8  sources, then auxiliary data
 *
 * A query's version shows in its length (RFC 3376 §7.1). Bounded by the packet; what follows the last source or record
 * is ignored. That the packet came with a time to live of 1 (RFC 3376 §4) is for the caller, who has the IPv4 header.
 * Query tails and group records are MLDv2's too, with longer addresses: mld.ts uses them from here.
 */

import { readUint16, writeBytes, writeUint8, writeUint16, writeZeros } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv4Length } from './address.js';
import { internetChecksum } from './checksum.js';
import type { Reason } from './reason.js';

const typeQuery = 0x11;
const typeReportV1 = 0x12;
const typeReportV2 = 0x16;
const typeLeave = 0x17;
const typeReportV3 = 0x22;

const shortLength = 8;
const queryV3Length = 12;
/** RFC 2236 §4: a version 1 query is answered within ten seconds. */
const version1ResponseMs = 10_000;

export type Igmp = IgmpQuery | IgmpMembership | IgmpReportV3;

/** What a query of IGMPv3 or MLDv2 says beyond the group; all zero and empty in earlier versions. */
export interface QueryTail {
  /** The S flag. */
  readonly suppressRouterProcessing: boolean;
  /** The querier's robustness variable, 0 … 7; 0 says it exceeds 7. */
  readonly robustness: number;
  /** The querier's query interval in seconds, 0 … 31,744; coarser from 128 on. */
  readonly queryIntervalS: number;
  readonly sourceAddresses: readonly Uint8Array[];
}

export interface IgmpQuery extends QueryTail {
  readonly kind: 'query';
  readonly version: 1 | 2 | 3;
  /** A multiple of 100. Version 2: 100 … 25,500. Version 3: 0 … 3,174,400, coarser from 12,800 on. Version 1: 10,000. */
  readonly maxResponseTimeMs: number;
  /** 0.0.0.0 in a general query. */
  readonly groupAddress: Uint8Array;
}

export interface IgmpMembership {
  readonly kind: 'report-v1' | 'report-v2' | 'leave';
  readonly groupAddress: Uint8Array;
}

export interface IgmpReportV3 {
  readonly kind: 'report-v3';
  readonly records: readonly GroupRecord[];
}

/** Auxiliary data is skipped, and never sent (RFC 3376 §4.2.11). */
export interface GroupRecord {
  /** 1 is include, 2 is exclude, 3 to include, 4 to exclude, 5 allow new, 6 block old; others are to be ignored. */
  readonly type: number;
  readonly groupAddress: Uint8Array;
  readonly sourceAddresses: readonly Uint8Array[];
}

/** Reads a message from `bytes[start, end)` and verifies its checksum. Addresses are views into `bytes`. */
export function parseIgmp(bytes: Uint8Array, start: number, end: number): Result<Igmp, Reason> {
  const length = end - start;
  if (length < shortLength) return fail('truncated');
  if (internetChecksum(bytes, start, end) !== 0) return fail('bad-checksum');
  if (bytes[start] === typeReportV3) {
    const records = parseGroupRecords(bytes, start + 6, end, ipv4Length, isMulticast);
    return records.ok ? ok({ kind: 'report-v3', records: records.value }) : records;
  }
  const code = bytes[start + 1];
  const groupAddress = bytes.subarray(start + 4, start + 8);
  if (bytes[start] === typeQuery) {
    if (!isMulticast(groupAddress) && !isUnspecified(groupAddress)) return fail('bad-value');
    if (length > shortLength && length < queryV3Length) return fail('bad-length');
    if (length === shortLength) {
      const version = code === 0 ? 1 : 2;
      const maxResponseTimeMs = code === 0 ? version1ResponseMs : code * 100;
      return ok({ kind: 'query', version, maxResponseTimeMs, groupAddress, ...emptyQueryTail() });
    }
    const tail = parseQueryTail(bytes, start + 8, end, ipv4Length);
    if (!tail.ok) return tail;
    const maxResponseTimeMs = decodeFloat(code, 4) * 100;
    return ok({ kind: 'query', version: 3, maxResponseTimeMs, groupAddress, ...tail.value });
  }
  const kind = membershipKind(bytes[start]);
  if (!kind) return fail('bad-type');
  return isMulticast(groupAddress) ? ok({ kind, groupAddress }) : fail('bad-value');
}

export function igmpLength(igmp: Igmp): number {
  if (igmp.kind === 'report-v3') return shortLength + groupRecordsLength(igmp.records, ipv4Length);
  if (igmp.kind === 'query' && igmp.version === 3)
    return queryV3Length + ipv4Length * igmp.sourceAddresses.length;
  return shortLength;
}

/** Writes the message at `at`; returns the offset after it. Needs `igmpLength` bytes. */
export function emitIgmp(igmp: Igmp, out: Uint8Array, at: number): number {
  const start = at;
  switch (igmp.kind) {
    case 'query':
      at = writeUint8(out, at, typeQuery);
      at = writeUint8(out, at, queryCode(igmp));
      at = writeUint16(out, at, 0);
      at = writeBytes(out, at, igmp.groupAddress);
      if (igmp.version === 3) at = emitQueryTail(igmp, out, at);
      break;
    case 'report-v3':
      at = writeUint8(out, at, typeReportV3);
      at = writeZeros(out, at, 5);
      at = emitGroupRecords(igmp.records, out, at);
      break;
    default:
      at = writeUint8(out, at, membershipType(igmp.kind));
      at = writeZeros(out, at, 3);
      at = writeBytes(out, at, igmp.groupAddress);
  }
  writeUint16(out, start + 2, internetChecksum(out, start, at));
  return at;
}

/** What queries before IGMPv3 and MLDv2 do not say. */
export function emptyQueryTail(): QueryTail {
  return { suppressRouterProcessing: false, robustness: 0, queryIntervalS: 0, sourceAddresses: [] };
}

export function parseQueryTail(
  bytes: Uint8Array,
  at: number,
  end: number,
  addressLength: number,
): Result<QueryTail, Reason> {
  const count = readUint16(bytes, at + 2);
  if (count * addressLength > end - at - 4) return fail('truncated');
  return ok({
    suppressRouterProcessing: (bytes[at] & 8) !== 0,
    robustness: bytes[at] & 7,
    queryIntervalS: decodeFloat(bytes[at + 1], 4),
    sourceAddresses: readAddresses(bytes, at + 4, count, addressLength),
  });
}

export function emitQueryTail(tail: QueryTail, out: Uint8Array, at: number): number {
  at = writeUint8(out, at, (tail.suppressRouterProcessing ? 8 : 0) | tail.robustness);
  at = writeUint8(out, at, encodeFloat(tail.queryIntervalS, 4));
  at = writeUint16(out, at, tail.sourceAddresses.length);
  for (const address of tail.sourceAddresses) at = writeBytes(out, at, address);
  return at;
}

/** The count at `at` and the records behind it. */
export function parseGroupRecords(
  bytes: Uint8Array,
  at: number,
  end: number,
  addressLength: number,
  isGroup: (address: Uint8Array) => boolean,
): Result<GroupRecord[], Reason> {
  const records: GroupRecord[] = [];
  const count = readUint16(bytes, at);
  at += 2;
  for (let i = 0; i < count; i++) {
    if (end - at < 4 + addressLength) return fail('truncated');
    const sources = readUint16(bytes, at + 2);
    const sourcesAt = at + 4 + addressLength;
    const next = sourcesAt + sources * addressLength + bytes[at + 1] * 4;
    if (next > end) return fail('truncated');
    const groupAddress = bytes.subarray(at + 4, sourcesAt);
    if (!isGroup(groupAddress)) return fail('bad-value');
    const sourceAddresses = readAddresses(bytes, sourcesAt, sources, addressLength);
    records.push({ type: bytes[at], groupAddress, sourceAddresses });
    at = next;
  }
  return ok(records);
}

/** Without the count. */
export function groupRecordsLength(records: readonly GroupRecord[], addressLength: number): number {
  let length = 0;
  for (const record of records) length += 4 + addressLength * (1 + record.sourceAddresses.length);
  return length;
}

/** Writes the count at `at` and the records; returns the offset after them. */
export function emitGroupRecords(records: readonly GroupRecord[], out: Uint8Array, at: number): number {
  at = writeUint16(out, at, records.length);
  for (const record of records) {
    at = writeUint8(out, at, record.type);
    at = writeUint8(out, at, 0);
    at = writeUint16(out, at, record.sourceAddresses.length);
    at = writeBytes(out, at, record.groupAddress);
    for (const address of record.sourceAddresses) at = writeBytes(out, at, address);
  }
  return at;
}

/**
 * The number behind a code whose values from half its range on are floating-point: a set bit, three bits of exponent
 * and `mantissaBits` of mantissa (RFC 3376 §4.1.1 with 4, RFC 3810 §5.1.3 with 12).
 */
export function decodeFloat(code: number, mantissaBits: number): number {
  if (code < 8 << mantissaBits) return code;
  const implied = 1 << mantissaBits;
  return (implied | (code & (implied - 1))) << (((code >>> mantissaBits) & 7) + 3);
}

/** The code of the largest number up to `value` that has one. */
export function encodeFloat(value: number, mantissaBits: number): number {
  const implied = 1 << mantissaBits;
  const largest = (2 * implied - 1) << 10;
  if (value > largest) throw new Error(`value: expected at most ${largest}, got ${value}`);
  if (value < 8 * implied) return value;
  let exponent = 0;
  while (value >>> (exponent + 3) >= 2 * implied) exponent++;
  return (8 * implied) | (exponent << mantissaBits) | ((value >>> (exponent + 3)) & (implied - 1));
}

function queryCode(query: IgmpQuery): number {
  switch (query.version) {
    case 1:
      return 0;
    case 2:
      return query.maxResponseTimeMs / 100;
    case 3:
      return encodeFloat(query.maxResponseTimeMs / 100, 4);
  }
}

function membershipKind(type: number): IgmpMembership['kind'] | undefined {
  switch (type) {
    case typeReportV1:
      return 'report-v1';
    case typeReportV2:
      return 'report-v2';
    case typeLeave:
      return 'leave';
    default:
      return undefined;
  }
}

function membershipType(kind: IgmpMembership['kind']): number {
  return kind === 'report-v1' ? typeReportV1 : kind === 'report-v2' ? typeReportV2 : typeLeave;
}

function readAddresses(bytes: Uint8Array, at: number, count: number, addressLength: number): Uint8Array[] {
  const addresses: Uint8Array[] = [];
  for (let i = 0; i < count; i++)
    addresses.push(bytes.subarray(at + i * addressLength, at + (i + 1) * addressLength));
  return addresses;
}

function isMulticast(address: Uint8Array): boolean {
  return address[0] >>> 4 === 0xe;
}

function isUnspecified(address: Uint8Array): boolean {
  return (address[0] | address[1] | address[2] | address[3]) === 0;
}
