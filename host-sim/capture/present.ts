/**
 * Layers for people and programs: JSON values, one line of text a frame, or every field indented.
 *
 * A field's name says how its bytes read: `…Mac` as a MAC, `…Address` and `…Addresses` as IP addresses, others as hex.
 */

import { formatHex } from '../../agent/core/bytes.js';
import { formatAddress, formatMac, ipv4Length, ipv6Length, macLength } from '../../agent/wire/address.js';
import { dhcpMessageType } from '../../agent/wire/dhcp.js';
import { pppoeCode } from '../../agent/wire/pppoe.js';
import { tcpFlagNames } from '../../agent/wire/tcp.js';
import type { Dissection, Layer } from './dissect.js';
import type { CapturedFrame, CaptureTime } from './pcap.js';

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** The layer as JSON holds it, `name` first. */
export function presentLayer(layer: Layer): { readonly [key: string]: JsonValue } {
  const fields: { [key: string]: JsonValue } = {};
  for (const [key, value] of Object.entries(layer)) {
    const isFlags = layer.name === 'tcp' && key === 'flags' && typeof value === 'number';
    fields[key] = isFlags ? tcpFlagNames(value) : present(key, value);
  }
  return fields;
}

/** One line of JSON (without the line's end): number, time in seconds since 1970, lengths, layers, error. */
export function frameJson(frame: CapturedFrame, dissection: Dissection): string {
  const { bytes, originalLength } = frame;
  const rest = JSON.stringify({
    length: originalLength,
    ...(bytes.length < originalLength ? { capturedLength: bytes.length } : {}),
    layers: dissection.layers.map(presentLayer),
    ...(dissection.error ? { error: dissection.error } : {}),
  });
  // The time is written digit by digit: nanoseconds since 1970 do not fit a double.
  const time = frame.time ? decimalSeconds(frame.time) : 'null';
  return `{"number":${frame.number},"time":${time},${rest.slice(1)}`;
}

/** One line of text: number, seconds since `start`, addresses and protocols from the outside in. */
export function frameLine(
  frame: CapturedFrame,
  dissection: Dissection,
  start: CaptureTime | undefined,
): string {
  const parts = [String(frame.number), frame.time && start ? decimalSeconds(since(frame.time, start)) : '-'];
  for (const layer of dissection.layers) parts.push(summary(layer.name, presentLayer(layer)));
  if (frame.bytes.length < frame.originalLength)
    parts.push(`[${frame.bytes.length} of ${frame.originalLength} bytes captured]`);
  if (dissection.error) parts.push(errorText(dissection));
  return parts.map(withoutControls).join(' ');
}

/** Many lines of text: the frame, its layers, their fields, each level indented by two. */
export function frameLines(frame: CapturedFrame, dissection: Dissection): string[] {
  const cut = frame.bytes.length < frame.originalLength ? `, ${frame.bytes.length} captured` : '';
  const time = frame.time ? decimalSeconds(frame.time) : '-';
  const lines = [`frame ${frame.number}, time ${time}, ${frame.originalLength} bytes${cut}`];
  for (const layer of dissection.layers) {
    const { name, ...fields } = presentLayer(layer);
    lines.push(`  ${String(name)}`);
    pushFields(lines, fields, '    ');
  }
  if (dissection.error) lines.push(`  ${errorText(dissection)}`);
  return lines.map(withoutControls);
}

/** Captured text must not steer the terminal it is shown on. */
function withoutControls(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, one => `\\u{${one.codePointAt(0)!.toString(16)}}`);
}

function present(key: string, value: unknown): JsonValue {
  if (value instanceof Uint8Array) return presentBytes(key, value);
  if (Array.isArray(value)) return value.map(item => present(key, item));
  if (typeof value === 'object' && value !== null) {
    const fields: { [key: string]: JsonValue } = {};
    for (const [name, field] of Object.entries(value)) fields[name] = present(name, field);
    return fields;
  }
  return value as string | number | boolean;
}

function presentBytes(key: string, bytes: Uint8Array): string {
  if (/Mac$/.test(key) && bytes.length === macLength) return formatMac(bytes);
  const isAddress = bytes.length === ipv4Length || bytes.length === ipv6Length;
  if (/(^a|A)ddress(es)?$/.test(key) && isAddress) return formatAddress(bytes);
  return formatHex(bytes);
}

function errorText({ error }: Dissection): string {
  return `[${error!.layer}: ${error!.reason}]`;
}

type Fields = { readonly [key: string]: JsonValue };

function summary(name: string, { name: _, ...fields }: Fields): string {
  const text = (key: string) => String(fields[key]);
  switch (name) {
    case 'ethernet':
      return `${text('srcMac')} > ${text('dstMac')}`;
    case 'vlan':
      return `vlan ${text('vlanId')}`;
    case 'arp': {
      const operation = ['', 'request', 'reply'][Number(fields['operation'])] ?? text('operation');
      return `arp ${operation} ${text('senderAddress')} → ${text('targetAddress')}`;
    }
    case 'ipv4':
    case 'ipv6':
      return `${text('srcAddress')} → ${text('dstAddress')}`;
    case 'pppoe': {
      if (fields['code'] === pppoeCode.session) return `pppoe ${text('sessionId')}`;
      const code = Object.entries(pppoeCode).find(([, value]) => value === fields['code'])?.[0];
      const session = fields['sessionId'] === 0 ? [] : [text('sessionId')];
      const tags = brief('tags', fields['tags']);
      return ['pppoe', code ?? text('code'), ...session, ...tags].join(' ');
    }
    case 'ppp':
      return 'ppp';
    case 'udp':
      return `udp ${text('srcPort')} → ${text('dstPort')}`;
    case 'tcp':
      return `tcp ${text('srcPort')} → ${text('dstPort')} ${(fields['flags'] as string[]).join(',')}`;
    case 'icmp':
    case 'icmpv6':
      return `${name} ${icmpTypes[name][Number(fields['type'])] ?? `type ${text('type')} code ${text('code')}`}`.trimEnd();
    case 'dhcp':
      return dhcpSummary(fields);
    case 'dns':
    case 'mdns':
    case 'llmnr':
      return dnsSummary(name, fields);
    case 'data':
      return `data ${text('length')}`;
    default:
      return [name, ...Object.entries(fields).flatMap(([key, value]) => brief(key, value))].join(' ');
  }
}

/** The types whose name says it all (RFC 792; RFC 4443 §4; those of ndp and mld are named by their own layer). */
const icmpTypes: { readonly [name: string]: { readonly [type: number]: string } } = {
  icmp: { 0: 'echo-reply', 3: 'unreachable', 5: 'redirect', 8: 'echo-request', 11: 'time-exceeded' },
  icmpv6: {
    1: 'unreachable',
    2: 'packet-too-big',
    3: 'time-exceeded',
    128: 'echo-request',
    129: 'echo-reply',
    ...Object.fromEntries([130, 131, 132, 133, 134, 135, 136, 137, 143].map(type => [type, ''])),
  },
};

/** `dhcp ack 90:b1:1c:99:49:29 your 192.168.1.7 from 192.168.1.1 …` */
function dhcpSummary(fields: Fields): string {
  const options = fields['options'] as readonly Fields[];
  const option = (kind: string) => options.find(one => one['kind'] === kind);
  const type = option('message-type')?.['messageType'];
  const typeName = Object.entries(dhcpMessageType).find(([, value]) => value === type)?.[0];
  const bootp = fields['operation'] === 1 ? 'bootp request' : 'bootp reply';
  const words = [`dhcp ${typeName ?? bootp} ${fields['clientMac']}`];
  for (const [word, address] of [
    ['requested', option('requested-address')?.['address']],
    ['client', fields['clientAddress']],
    ['your', fields['yourAddress']],
  ] as const)
    if (address !== undefined && address !== '0.0.0.0') words.push(`${word} ${address}`);
  const host = option('host-name')?.['text'];
  if (host !== undefined) words.push(`name ${shorten(String(host))}`);
  return words.join(' ');
}

/** `mdns response printer.local a, …`, `dns query 0x1a2b example.com aaaa` */
function dnsSummary(name: string, fields: Fields): string {
  const identification = Number(fields['identification']);
  const kind = fields['kind'] === 'update' ? 'update' : fields['isResponse'] === true ? 'response' : 'query';
  const error = fields['responseCode'] ? ` error ${fields['responseCode']}` : '';
  const listed = ['question', 'questions', 'answers', 'updates', 'additionals'].flatMap(key =>
    [fields[key] ?? []].flat().map(record => {
      const { name: owner, kind: recordKind, type } = record as Fields;
      return [owner, recordKind === 'raw' ? type : (recordKind ?? recordTypes[Number(type)] ?? type)].join(
        ' ',
      );
    }),
  );
  const shown = listed.slice(0, 3).join(', ') + (listed.length > 3 ? `, and ${listed.length - 3} more` : '');
  const id = identification === 0 ? '' : ` 0x${identification.toString(16)}`;
  return `${name} ${kind}${id}${error} ${shorten(shown)}`.trimEnd();
}

/** For questions, which carry the number alone (RFC 1035 §3.2.2, 3.2.3; RFC 3596, 2782). */
const recordTypes: { readonly [type: number]: string } = {
  1: 'a',
  2: 'ns',
  5: 'cname',
  6: 'soa',
  12: 'ptr',
  15: 'mx',
  16: 'txt',
  28: 'aaaa',
  33: 'srv',
  255: 'any',
};

/** A field in a line of text: what is plain in full, of a list the names of what it holds, or how many. */
function brief(key: string, value: JsonValue | undefined): string[] {
  if (value === undefined || value === false || value === '' || value === null) return [];
  if (value === true) return [key];
  if (key === 'kind' && typeof value === 'string') return [value];
  if (Array.isArray(value)) {
    if (value.length === 0) return [];
    const names = value.map(item => nameOf(item as JsonValue));
    const all = names.every(item => item !== undefined) ? names.join(',') : String(value.length);
    return [`${key}=${shorten(all)}`];
  }
  if (typeof value === 'object') return [`${key}=${nameOf(value) ?? '…'}`];
  return [`${key}=${shorten(String(value))}`];
}

function nameOf(item: JsonValue): string | undefined {
  if (typeof item !== 'object' || item === null) return String(item);
  const fields = item as Fields;
  for (const key of ['name', 'groupAddress', 'kind']) {
    const value = fields[key];
    if (typeof value === 'string' && value !== '' && value !== 'raw') return value;
  }
  return undefined;
}

function shorten(text: string): string {
  const longest = 100;
  return text.length <= longest ? text : `${text.slice(0, longest)}…`;
}

function pushFields(lines: string[], fields: Fields, indent: string): void {
  for (const [key, value] of Object.entries(fields)) {
    if (Array.isArray(value) && value.some(item => typeof item === 'object')) {
      value.forEach((item, index) => {
        lines.push(`${indent}${key}[${index}]`);
        pushFields(lines, item as Fields, `${indent}  `);
      });
    } else if (Array.isArray(value)) {
      lines.push(`${indent}${key}: ${value.join(', ')}`);
    } else if (typeof value === 'object' && value !== null) {
      lines.push(`${indent}${key}`);
      pushFields(lines, value as Fields, `${indent}  `);
    } else {
      lines.push(`${indent}${key}: ${String(value)}`);
    }
  }
}

function since(time: CaptureTime, start: CaptureTime): CaptureTime {
  return { seconds: time.seconds - start.seconds, nanoseconds: time.nanoseconds - start.nanoseconds };
}

/** Seconds with six decimals, nine where there is more than microseconds; either part may be negative. */
function decimalSeconds({ seconds, nanoseconds }: CaptureTime): string {
  const total = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
  const digits = (total < 0n ? -total : total).toString().padStart(10, '0');
  const fraction = digits.slice(-9);
  const shown = fraction.endsWith('000') ? fraction.slice(0, 6) : fraction;
  return `${total < 0n ? '-' : ''}${digits.slice(0, -9)}.${shown}`;
}
