/**
 * DNS records compared and kept, as all who announce them for a host do it (RFC 6762, RFC 6763).
 */

import { copyBytes, sameBytes } from '../../core/bytes.js';
import { type DnsDataRecord, dnsType, encodeDnsMessage } from '../../wire/dns.js';
import { sameName } from './names.js';

/** Where the types of all services are listed (RFC 6763 §9): others may offer services of a host's types too. */
export const serviceTypesName = '_services._dns-sd._udp.local';

/** The same name, type and data. Data are compared as bytes: another case in them costs an answer too many. */
export function sameRecord(a: DnsDataRecord, b: DnsDataRecord): boolean {
  if (a === b) return true;
  if (a.kind !== b.kind || a.class !== b.class || !sameName(a.name, b.name)) return false;
  return sameBytes(dataBytes(a), dataBytes(b));
}

/** The number of its type. */
export function typeOf(record: DnsDataRecord): number {
  return record.kind === 'raw' ? record.type : dnsType[record.kind];
}

/** One that may be kept: the bytes it was read from are lent. */
export function copyRecord(record: DnsDataRecord): DnsDataRecord {
  switch (record.kind) {
    case 'a':
    case 'aaaa':
      return { ...record, address: copyOf(record.address) };
    case 'txt':
      return { ...record, strings: record.strings.map(copyOf) };
    case 'hinfo':
      return { ...record, cpu: copyOf(record.cpu), operatingSystem: copyOf(record.operatingSystem) };
    case 'raw':
      return { ...record, data: copyOf(record.data) };
    default:
      return record;
  }
}

/** A message with the record's type and data and nothing else of it. */
function dataBytes(record: DnsDataRecord): Uint8Array {
  const bare = { ...record, name: '.', timeToLive: 0, cacheFlush: false };
  const nothing = { identification: 0, flags: 0, questions: [], authorities: [], additionals: [] };
  return encodeDnsMessage({ ...nothing, answers: [bare] });
}

function copyOf(bytes: Uint8Array): Uint8Array {
  return copyBytes(bytes, 0, bytes.length);
}
