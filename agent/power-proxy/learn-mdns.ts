/**
 * The multicast DNS records of a host, from the responses it sends (RFC 6762 §6, §8.3): those that are its own and those it
 * shares, as announced.
 *
 * A record is the host's if it hangs on an address of the host's: the name with that address, services whose SRV leads to
 * that name, the PTRs to those services, the reverse name. So the records that a sleep proxy or a repeater on the host
 * answers with in another's place are left out, and so is a whole message whose Owner option names another host
 * (draft-cheshire-edns0-owner-option). Bounded as the profile is; NSEC records are made anew by the responder.
 */

import { readUint16, sameBytes } from '../core/bytes.js';
import {
  type DnsDataRecord,
  type DnsRecord,
  dnsClass,
  dnsOperation,
  operationOf,
  parseDns,
  responseFlag,
} from '../wire/dns.js';
import { isIpv6Multicast, isIpv6Unspecified } from '../wire/ipv6.js';
import type { Profile } from './profile.js';
import type { Datagram } from './respond/frame.js';
import { sameName } from './respond/names.js';
import { copyRecord, sameRecord, serviceTypesName } from './respond/records.js';

/** Whether the message at `bytes[at, end)` is a response of operation 0, as far as its flags say. */
export function isDnsResponse(bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 4) return false;
  const flags = readUint16(bytes, at + 2);
  return (flags & responseFlag) !== 0 && operationOf(flags) === dnsOperation.query;
}

/** Whether an address in a host's message is its own: known to be, or where the message comes from. */
export function isOwnAddress(profile: Profile, address: Uint8Array, srcAddress: Uint8Array): boolean {
  return sameBytes(address, srcAddress) || profile.hasAddress(address, 0, address.length);
}

/** The text if it can be a host name as RFC 1123 §2.1 has it, or with the underscore that many use. */
export function plainLabel(text: string): string | undefined {
  return text.length <= 63 && /^[0-9A-Za-z_-]+$/.test(text) ? text : undefined;
}

export function learnMdns(_now: number, { srcAddress, payload }: Datagram, profile: Profile): void {
  const parsed = parseDns(payload, 0, payload.length);
  if (!parsed.ok || parsed.value.kind !== 'query' || parsed.value.responseCode !== 0) return;
  const { answers, additionals } = parsed.value;
  const said: DnsDataRecord[] = [];
  for (const record of [...answers, ...additionals]) {
    if (record.kind === 'opt') {
      for (const option of record.options)
        if (option.kind === 'owner' && !sameBytes(option.primaryMac, profile.mac)) return;
    } else if (record.class === dnsClass.internet && record.kind !== 'nsec') said.push(record);
  }
  // §10.1: no more.
  for (const record of said)
    if (record.timeToLive === 0) profile.removeRecords(known => sameRecord(known, record));
  const own = ownRecords(
    said.filter(record => record.timeToLive > 0),
    profile,
    srcAddress,
  );
  // §10.2: these are all there are of their name and type.
  profile.removeRecords(
    known =>
      known.cacheFlush &&
      own.some(record => record.cacheFlush && sameType(known, record)) &&
      !own.some(record => sameRecord(known, record)),
  );
  for (const record of own) {
    const known = profile.records.find(each => sameRecord(each, record));
    if (known?.timeToLive === record.timeToLive && known.cacheFlush === record.cacheFlush) continue;
    profile.removeRecords(each => each === known);
    profile.addRecord(copyRecord(record));
  }
  for (const record of own) {
    if (record.kind !== 'a' && record.kind !== 'aaaa') continue;
    profile.addAddress(record.address, 0, record.address.length);
    const dotAt = record.name.indexOf('.');
    const name = sameName(record.name.slice(dotAt), '.local')
      ? plainLabel(record.name.slice(0, dotAt))
      : undefined;
    if (name !== undefined) profile.addName(name);
  }
}

/** Those that hang on an address of the host's, from the addresses on. */
function ownRecords(
  said: readonly DnsDataRecord[],
  profile: Profile,
  srcAddress: Uint8Array,
): DnsDataRecord[] {
  const isSource = (address: Uint8Array) => isOwnAddress(profile, address, srcAddress);
  const known: DnsDataRecord[] = [...profile.records];
  const own: DnsDataRecord[] = [];
  const take = (wanted: (record: DnsDataRecord) => boolean) => {
    for (const record of said)
      if (own.indexOf(record) < 0 && wanted(record)) {
        own.push(record);
        known.push(record);
      }
  };
  const isHost = (name: string) =>
    known.some(record => (record.kind === 'a' || record.kind === 'aaaa') && sameName(record.name, name));
  const hasService = (name: string) =>
    known.some(record => record.kind === 'srv' && sameName(record.name, name));
  take(record => isAddress(record) && record.cacheFlush && isSource(record.address));
  // Its other addresses, of the same name.
  take(record => isAddress(record) && record.cacheFlush && isHost(record.name));
  take(record => record.kind === 'srv' && record.cacheFlush && isHost(record.target));
  take(
    record =>
      !isAddress(record) &&
      record.kind !== 'ptr' &&
      record.kind !== 'srv' &&
      record.cacheFlush &&
      (isHost(record.name) || hasService(record.name)),
  );
  take(
    record =>
      record.kind === 'ptr' && (record.cacheFlush ? isHost(record.target) : hasService(record.target)),
  );
  take(
    record =>
      record.kind === 'ptr' &&
      sameName(record.name, serviceTypesName) &&
      known.some(other => other.kind === 'ptr' && !other.cacheFlush && sameName(other.name, record.target)),
  );
  return own;
}

function isAddress(record: DnsRecord): record is Extract<DnsDataRecord, { readonly kind: 'a' | 'aaaa' }> {
  if (record.kind === 'a')
    return record.address[0] > 0 && record.address[0] !== 127 && record.address[0] < 224;
  return record.kind === 'aaaa' && !isIpv6Unspecified(record.address) && !isIpv6Multicast(record.address);
}

function sameType(a: DnsDataRecord, b: DnsDataRecord): boolean {
  if (a.kind !== b.kind || !sameName(a.name, b.name)) return false;
  return a.kind !== 'raw' || (b.kind === 'raw' && a.type === b.type);
}
