/**
 * What is known of a sleeping host, kept over a restart of the agent (key `sleeper/<mac>`): the host cannot say it again.
 * One CBOR record, its DNS records as a message of RFC 1035 within. A registration goes on with what was left of it when it
 * was saved. A record that is not as written here is as good as none.
 */

import { decodeCbor, encodeCbor } from '../message/cbor.js';
import { ipv4Length, ipv6Length, macLength } from '../wire/address.js';
import { encodeDnsMessage, parseDnsMessage } from '../wire/dns.js';
import { type Host, longestLeaseS } from './host-table.js';

export const sleeperPrefix = 'sleeper/';

const longestLeftMs = 1000 * longestLeaseS;

/** The record; `undefined` if nothing is known that a rule or a declaration would not say again. */
export function encodeSleeper(now: number, host: Host): Uint8Array | undefined {
  const { profile, link, vlanId, wakeMac, password, ports, registeredUntil } = host;
  const { ipv4, ipv6, names, groups } = profile;
  if (ipv4.length + ipv6.length + names.length + groups.length === 0 && registeredUntil < 0) return undefined;
  const answers = profile.records;
  return encodeCbor({
    mac: host.mac,
    link,
    vlanId,
    wakeMac,
    password,
    ports: ports.map(({ protocol, port }) => [protocol, port]),
    ipv4,
    ipv6,
    names,
    groups,
    records: encodeDnsMessage({
      identification: 0,
      flags: 0,
      questions: [],
      answers,
      authorities: [],
      additionals: [],
    }),
    leftMs: registeredUntil < 0 ? -1 : Math.max(0, registeredUntil - now),
  });
}

/** The host's MAC in a record; `undefined` if it is none. */
export function sleeperMac(bytes: Uint8Array): Uint8Array | undefined {
  const { mac } = mapOf(bytes);
  return isBytes(mac, macLength) ? mac : undefined;
}

/** Whether the record says that the host is registered, and still is. */
export function isRegistered(bytes: Uint8Array): boolean {
  const { leftMs } = mapOf(bytes);
  return typeof leftMs === 'number' && leftMs > 0;
}

/** Puts what the record says into the host; false if it is not as written here, and the host is as it was. */
export function decodeSleeper(now: number, bytes: Uint8Array, host: Host): boolean {
  const { link, vlanId, wakeMac, password, ports, ipv4, ipv6, names, groups, records, leftMs } = mapOf(bytes);
  if (typeof link !== 'string' || !isWhole(vlanId, -1, 4094) || !isWhole(leftMs, -1, longestLeftMs))
    return false;
  if (!isBytes(wakeMac, macLength) || !isPassword(password) || !(records instanceof Uint8Array)) return false;
  if (!areBytes(ipv4, ipv4Length) || !areBytes(ipv6, ipv6Length) || !areTexts(names)) return false;
  if (!Array.isArray(groups) || !groups.every(group => isBytes(group, 4) || isBytes(group, 16))) return false;
  if (!Array.isArray(ports) || !ports.every(isPort)) return false;
  const message = parseDnsMessage(records, 0, records.length);
  if (!message.ok) return false;
  const { profile } = host;
  host.link = link;
  host.vlanId = vlanId;
  host.wakeMac = wakeMac;
  if (leftMs >= 0) {
    host.password = password;
    host.ports = ports.map(pair => ({ protocol: pair[0], port: pair[1] }));
    host.registeredUntil = now + leftMs;
  }
  profile.ipv4 = ipv4;
  profile.ipv6 = ipv6;
  profile.names = names;
  profile.groups = groups as Uint8Array[];
  profile.records = [];
  for (const record of message.value.answers) if (record.kind !== 'opt') profile.records.push(record);
  return true;
}

function mapOf(bytes: Uint8Array): { readonly [key: string]: unknown } {
  const decoded = decodeCbor(bytes, { depth: 4 });
  const { value } = decoded.ok ? decoded : { value: undefined };
  return typeof value === 'object' &&
    value !== null &&
    !(value instanceof Uint8Array) &&
    !Array.isArray(value)
    ? (value as { readonly [key: string]: unknown })
    : {};
}

function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function areBytes(value: unknown, length: number): value is Uint8Array[] {
  return Array.isArray(value) && value.every(each => isBytes(each, length));
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && value % 1 === 0 && value >= least && value <= most;
}

/** Of SecureOn. */
function isPassword(value: unknown): value is Uint8Array {
  return isBytes(value, 0) || isBytes(value, 4) || isBytes(value, 6);
}

function areTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(each => typeof each === 'string');
}

function isPort(value: unknown): value is [number, number] {
  return (
    Array.isArray(value) && value.length === 2 && isWhole(value[0], 0, 255) && isWhole(value[1], 1, 65_535)
  );
}
