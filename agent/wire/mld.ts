/**
 * Multicast Listener Discovery: version 2 (RFC 3810 §5), version 1 (RFC 2710 §3), inside ICMPv6.
 *
 *     0  type      1  code = 0      2  checksum
 *     4  maximum response code      8  multicast address                query, report of version 1, done
 *    24  S 1 bit, QRV 3 bits   25  QQIC   26  count   28  sources       query of version 2
 *     6  count      8  group records (igmp.ts)                          report of version 2
 *
 * A query's version shows in its length (RFC 3810 §8.1). Bounded by the packet; what follows the last source or record
 * is ignored. That the packet carried a Router Alert option (RFC 3810 §5) is for the caller, who has the extensions.
 */

import { readUint16, writeBytes, writeUint8, writeUint16, writeZeros } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv6Length } from './address.js';
import type { PseudoHeader } from './checksum.js';
import { type Icmpv6Carrier, isIcmpv6Intact, writeIcmpv6Checksum } from './icmpv6.js';
import {
  decodeFloat,
  emitGroupRecords,
  emitQueryTail,
  emptyQueryTail,
  encodeFloat,
  type GroupRecord,
  groupRecordsLength,
  parseGroupRecords,
  parseQueryTail,
  type QueryTail,
} from './igmp.js';
import { isIpv6LinkLocal, isIpv6Multicast, isIpv6Unspecified } from './ipv6.js';
import type { Reason } from './reason.js';

const typeQuery = 130;
const typeReport = 131;
const typeDone = 132;
const typeReportV2 = 143;

const version1Length = 24;
const queryV2Length = 28;
const recordsAt = 8;

export type Mld = MldQuery | MldListener | MldReportV2;

export interface MldQuery extends QueryTail {
  readonly kind: 'query';
  readonly version: 1 | 2;
  /** Version 1: 0 … 65,535. Version 2: 0 … 8,387,584, coarser from 32,768 on. */
  readonly maxResponseTimeMs: number;
  /** `::` in a general query. */
  readonly groupAddress: Uint8Array;
}

export interface MldListener {
  readonly kind: 'report' | 'done';
  readonly groupAddress: Uint8Array;
}

export interface MldReportV2 {
  readonly kind: 'report-v2';
  readonly records: readonly GroupRecord[];
}

/**
 * Reads a message from `bytes[start, end)`. If the carrier is given, verifies the checksum, that the hop limit is 1, and
 * that the source is link-local, or unspecified in a report or done (RFC 3810 §5.1.14, §5.2.13). Addresses are views.
 */
export function parseMld(
  bytes: Uint8Array,
  start: number,
  end: number,
  carrier?: Icmpv6Carrier,
): Result<Mld, Reason> {
  if (end - start < recordsAt) return fail('truncated');
  if (carrier) {
    if (!isIcmpv6Intact(carrier, bytes, start, end)) return fail('bad-checksum');
    const isQuery = bytes[start] === typeQuery;
    const fromLink =
      isIpv6LinkLocal(carrier.srcAddress) || (!isQuery && isIpv6Unspecified(carrier.srcAddress));
    if (carrier.hopLimit !== 1 || !fromLink) return fail('bad-value');
  }
  switch (bytes[start]) {
    case typeQuery:
      return parseQuery(bytes, start, end);
    case typeReport:
      return parseListener('report', bytes, start, end);
    case typeDone:
      return parseListener('done', bytes, start, end);
    case typeReportV2: {
      const records = parseGroupRecords(bytes, start + recordsAt - 2, end, ipv6Length, isIpv6Multicast);
      return records.ok ? ok({ kind: 'report-v2', records: records.value }) : records;
    }
    default:
      return fail('bad-type');
  }
}

export function mldLength(mld: Mld): number {
  if (mld.kind === 'report-v2') return recordsAt + groupRecordsLength(mld.records, ipv6Length);
  if (mld.kind === 'query' && mld.version === 2)
    return queryV2Length + ipv6Length * mld.sourceAddresses.length;
  return version1Length;
}

/** Writes the message at `at`; returns the offset after it. Needs `mldLength` bytes. */
export function emitMld(mld: Mld, pseudoHeader: PseudoHeader, out: Uint8Array, at: number): number {
  const start = at;
  switch (mld.kind) {
    case 'query': {
      const time = mld.maxResponseTimeMs;
      at = writeUint8(out, at, typeQuery);
      at = writeZeros(out, at, 3);
      at = writeUint16(out, at, mld.version === 1 ? time : encodeFloat(time, 12));
      at = writeUint16(out, at, 0);
      at = writeBytes(out, at, mld.groupAddress);
      if (mld.version === 2) at = emitQueryTail(mld, out, at);
      break;
    }
    case 'report-v2':
      at = writeUint8(out, at, typeReportV2);
      at = writeZeros(out, at, 5);
      at = emitGroupRecords(mld.records, out, at);
      break;
    default:
      at = writeUint8(out, at, mld.kind === 'report' ? typeReport : typeDone);
      at = writeZeros(out, at, 7);
      at = writeBytes(out, at, mld.groupAddress);
  }
  writeIcmpv6Checksum(pseudoHeader, out, start, at);
  return at;
}

function parseQuery(bytes: Uint8Array, start: number, end: number): Result<MldQuery, Reason> {
  if (end - start < version1Length) return fail('truncated');
  const code = readUint16(bytes, start + 4);
  const groupAddress = bytes.subarray(start + 8, start + 24);
  if (!isIpv6Multicast(groupAddress) && !isIpv6Unspecified(groupAddress)) return fail('bad-value');
  if (end - start === version1Length)
    return ok({ kind: 'query', version: 1, maxResponseTimeMs: code, groupAddress, ...emptyQueryTail() });
  if (end - start < queryV2Length) return fail('bad-length');
  const tail = parseQueryTail(bytes, start + 24, end, ipv6Length);
  if (!tail.ok) return tail;
  const maxResponseTimeMs = decodeFloat(code, 12);
  return ok({ kind: 'query', version: 2, maxResponseTimeMs, groupAddress, ...tail.value });
}

function parseListener(
  kind: MldListener['kind'],
  bytes: Uint8Array,
  start: number,
  end: number,
): Result<MldListener, Reason> {
  if (end - start < version1Length) return fail('truncated');
  const groupAddress = bytes.subarray(start + 8, start + 24);
  return isIpv6Multicast(groupAddress) ? ok({ kind, groupAddress }) : fail('bad-value');
}
