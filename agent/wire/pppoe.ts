/**
 * PPPoE (RFC 2516 §4): the header of both stages, and the tags of discovery.
 *
 *     0  version and type = 0x11     1  code     2  session id     4  length of the payload     6  payload
 *
 * The payload of discovery is a list of tags, each 0 type · 2 length · 4 value (RFC 2516 §4 and appendix A;
 * PPP-Max-Payload RFC 4638). In the session stage it is one PPP packet, and its protocol number stands at 6. The
 * Vendor-Specific tag of an access node (TR-101, PPPoE Intermediate Agent) holds sub-options of its own, each
 * 0 type · 1 length of the value · 2 value, numbered as in RFC 4679 §3.3. Tags keep their order; those not named here,
 * and text that is not UTF-8, are kept as raw bytes. At most `pppoeTagLimit` tags, and as many sub-options in each.
 *
 * The access node adds its tag to packets of hosts that know nothing of it, so what is wrong inside the tag never refuses the
 * packet: a line sub-option of a wrong length is raw, and bytes that are no sub-option are kept as they are.
 */

import {
  concatBytes,
  decodeUtf8,
  encodeUtf8,
  readUint16,
  readUint32,
  writeBytes,
  writeUint8,
  writeUint16,
  writeUint32,
} from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from './reason.js';

export const pppoeHeaderLength = 6;
/** The header and an uncompressed PPP protocol number: what stands before the IP packet in the session stage. */
export const pppoeSessionHeaderLength = 8;
/** Offsets in the header, for reading and writing it in place. */
export const pppoeVersionTypeOffset = 0;
export const pppoeCodeOffset = 1;
export const pppoeSessionIdOffset = 2;
export const pppoeLengthOffset = 4;
export const pppoeProtocolOffset = 6;
/** Version 1, type 1. */
export const pppoeVersionType = 0x11;

export const pppoeCode = {
  session: 0x00,
  pado: 0x07,
  padi: 0x09,
  padr: 0x19,
  pads: 0x65,
  padt: 0xa7,
} as const;

/** Tags in one packet (more: 'too-many'), and sub-options in one tag (more: in `rest`). */
export const pppoeTagLimit = 64;
/** The DSL Forum (now Broadband Forum) as a vendor: 3561 among IANA's enterprise numbers. */
const dslForumVendorId = 0x00000de9;

export interface PppoeHeader {
  /** `pppoeCode`; others parse and are the caller's to ignore. */
  readonly code: number;
  /** 0 until PADS assigns one; 0xffff is reserved. */
  readonly sessionId: number;
}

export interface Pppoe extends PppoeHeader {
  readonly payload: Uint8Array;
}

type TextKind = 'service-name' | 'ac-name' | 'service-name-error' | 'ac-system-error' | 'generic-error';
type BytesKind = 'host-uniq' | 'ac-cookie' | 'relay-session-id';

export type PppoeTag =
  | { readonly kind: TextKind; readonly text: string }
  | { readonly kind: BytesKind; readonly data: Uint8Array }
  /** Bytes, 16 bits: the PPP payload its sender can take (RFC 4638). */
  | { readonly kind: 'ppp-max-payload'; readonly value: number }
  | { readonly kind: 'vendor-specific'; readonly vendorId: number; readonly data: Uint8Array }
  /** Vendor-Specific of the DSL Forum. */
  | {
      readonly kind: 'dsl-forum';
      readonly subOptions: readonly DslForumSubOption[];
      /** What stands behind the last whole sub-option, if anything does. */
      readonly rest?: Uint8Array;
    }
  /** Ends the list; what follows it is not looked at, nor kept. */
  | { readonly kind: 'end-of-list' }
  | { readonly kind: 'raw'; readonly type: number; readonly data: Uint8Array };

export type DslForumSubOption =
  | { readonly kind: 'agent-circuit-id' | 'agent-remote-id'; readonly text: string }
  /** 32 bits as received: delays in ms; rates in kbit/s by TR-101, in bit/s by RFC 4679. */
  | { readonly kind: (typeof lineKinds)[number]; readonly value: number }
  | { readonly kind: 'raw'; readonly type: number; readonly data: Uint8Array };

const tagTypes = {
  'end-of-list': 0x0000,
  'service-name': 0x0101,
  'ac-name': 0x0102,
  'host-uniq': 0x0103,
  'ac-cookie': 0x0104,
  'vendor-specific': 0x0105,
  'relay-session-id': 0x0110,
  'ppp-max-payload': 0x0120,
  'service-name-error': 0x0201,
  'ac-system-error': 0x0202,
  'generic-error': 0x0203,
} as const;

const agentCircuitIdType = 0x01;
const agentRemoteIdType = 0x02;
const firstLineType = 0x81;
/** Index + 0x81 is the type (RFC 4679 §3.3). */
const lineKinds = [
  'actual-data-rate-upstream',
  'actual-data-rate-downstream',
  'minimum-data-rate-upstream',
  'minimum-data-rate-downstream',
  'attainable-data-rate-upstream',
  'attainable-data-rate-downstream',
  'maximum-data-rate-upstream',
  'maximum-data-rate-downstream',
  'minimum-data-rate-upstream-low-power',
  'minimum-data-rate-downstream-low-power',
  'maximum-interleaving-delay-upstream',
  'actual-interleaving-delay-upstream',
  'maximum-interleaving-delay-downstream',
  'actual-interleaving-delay-downstream',
] as const;

/** Reads either stage from `bytes[start, end)`. The payload is a view into `bytes`, without Ethernet padding. */
export function parsePppoe(bytes: Uint8Array, start: number, end: number): Result<Pppoe, Reason> {
  if (end - start < pppoeHeaderLength) return fail('truncated');
  if (bytes[start + pppoeVersionTypeOffset] !== pppoeVersionType) return fail('bad-version');
  const payloadAt = start + pppoeHeaderLength;
  const length = readUint16(bytes, start + pppoeLengthOffset);
  if (end - payloadAt < length) return fail('truncated');
  return ok({
    code: bytes[start + pppoeCodeOffset],
    sessionId: readUint16(bytes, start + pppoeSessionIdOffset),
    payload: bytes.subarray(payloadAt, payloadAt + length),
  });
}

/** Writes the header before a payload of `payloadLength` bytes; returns the offset after the header. */
export function emitPppoe(header: PppoeHeader, payloadLength: number, out: Uint8Array, at: number): number {
  at = writeUint8(out, at, pppoeVersionType);
  at = writeUint8(out, at, header.code);
  at = writeUint16(out, at, header.sessionId);
  return writeUint16(out, at, payloadLength);
}

/** Reads the tags that fill `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parsePppoeTags(
  bytes: Uint8Array,
  start: number,
  end: number,
): Result<readonly PppoeTag[], Reason> {
  const tags: PppoeTag[] = [];
  let at = start;
  while (at < end) {
    if (end - at < 4) return fail('bad-length');
    const next = at + 4 + readUint16(bytes, at + 2);
    if (next > end) return fail('bad-length');
    if (tags.length === pppoeTagLimit) return fail('too-many');
    const tag = decodeTag(readUint16(bytes, at), bytes.subarray(at + 4, next));
    if (!tag.ok) return tag;
    tags.push(tag.value);
    if (tag.value.kind === 'end-of-list') break;
    at = next;
  }
  return ok(tags);
}

/** Bytes `emitPppoeTags` writes. */
export function pppoeTagsLength(tags: readonly PppoeTag[]): number {
  let length = 0;
  for (const tag of tags) length += 4 + tagValue(tag).length;
  return length;
}

/** Writes the tags at `at`; returns the offset after them. Throws if a sub-option is longer than 255 bytes. */
export function emitPppoeTags(tags: readonly PppoeTag[], out: Uint8Array, at: number): number {
  for (const tag of tags) {
    const value = tagValue(tag);
    at = writeUint16(out, at, tagType(tag));
    at = writeUint16(out, at, value.length);
    at = writeBytes(out, at, value);
  }
  return at;
}

function decodeTag(type: number, data: Uint8Array): Result<PppoeTag, Reason> {
  switch (type) {
    case tagTypes['end-of-list']:
      return data.length === 0 ? ok({ kind: 'end-of-list' }) : fail('bad-option');
    case tagTypes['service-name']:
      return ok(textTag('service-name', type, data));
    case tagTypes['ac-name']:
      return ok(textTag('ac-name', type, data));
    case tagTypes['service-name-error']:
      return ok(textTag('service-name-error', type, data));
    case tagTypes['ac-system-error']:
      return ok(textTag('ac-system-error', type, data));
    case tagTypes['generic-error']:
      return ok(textTag('generic-error', type, data));
    case tagTypes['host-uniq']:
      return ok({ kind: 'host-uniq', data });
    case tagTypes['ac-cookie']:
      return ok({ kind: 'ac-cookie', data });
    case tagTypes['relay-session-id']:
      return ok({ kind: 'relay-session-id', data });
    case tagTypes['ppp-max-payload']:
      return data.length === 2
        ? ok({ kind: 'ppp-max-payload', value: readUint16(data, 0) })
        : fail('bad-option');
    case tagTypes['vendor-specific']:
      return ok(decodeVendorSpecific(type, data));
    default:
      return ok({ kind: 'raw', type, data });
  }
}

function textTag(kind: TextKind, type: number, data: Uint8Array): PppoeTag {
  const text = decodeUtf8(data);
  return text === undefined ? { kind: 'raw', type, data } : { kind, text };
}

function decodeVendorSpecific(type: number, data: Uint8Array): PppoeTag {
  if (data.length < 4) return { kind: 'raw', type, data };
  const vendorId = readUint32(data, 0);
  if (vendorId !== dslForumVendorId) return { kind: 'vendor-specific', vendorId, data: data.subarray(4) };
  const subOptions: DslForumSubOption[] = [];
  let at = 4;
  while (data.length - at >= 2 && subOptions.length < pppoeTagLimit) {
    const next = at + 2 + data[at + 1];
    if (next > data.length) break;
    subOptions.push(decodeSubOption(data[at], data.subarray(at + 2, next)));
    at = next;
  }
  return at === data.length
    ? { kind: 'dsl-forum', subOptions }
    : { kind: 'dsl-forum', subOptions, rest: data.subarray(at) };
}

function decodeSubOption(type: number, data: Uint8Array): DslForumSubOption {
  if (type === agentCircuitIdType || type === agentRemoteIdType) {
    const kind = type === agentCircuitIdType ? 'agent-circuit-id' : 'agent-remote-id';
    const text = decodeUtf8(data);
    if (text !== undefined) return { kind, text };
  }
  const kind = lineKinds[type - firstLineType];
  if (kind === undefined || data.length !== 4) return { kind: 'raw', type, data };
  return { kind, value: readUint32(data, 0) };
}

function tagType(tag: PppoeTag): number {
  if (tag.kind === 'raw') return tag.type;
  return tagTypes[tag.kind === 'dsl-forum' ? 'vendor-specific' : tag.kind];
}

function tagValue(tag: PppoeTag): Uint8Array {
  if ('text' in tag) return encodeUtf8(tag.text);
  switch (tag.kind) {
    case 'end-of-list':
      return new Uint8Array(0);
    case 'ppp-max-payload': {
      const value = new Uint8Array(2);
      writeUint16(value, 0, tag.value);
      return value;
    }
    case 'vendor-specific':
      return vendorValue(tag.vendorId, [tag.data]);
    case 'dsl-forum': {
      const parts: Uint8Array[] = [];
      for (const subOption of tag.subOptions) parts.push(encodeSubOption(subOption));
      if (tag.rest) parts.push(tag.rest);
      return vendorValue(dslForumVendorId, parts);
    }
    default:
      return tag.data;
  }
}

function vendorValue(vendorId: number, parts: readonly Uint8Array[]): Uint8Array {
  const id = new Uint8Array(4);
  writeUint32(id, 0, vendorId);
  return concatBytes([id, ...parts]);
}

function encodeSubOption(subOption: DslForumSubOption): Uint8Array {
  let type: number;
  let value: Uint8Array;
  if ('text' in subOption) {
    type = subOption.kind === 'agent-circuit-id' ? agentCircuitIdType : agentRemoteIdType;
    value = encodeUtf8(subOption.text);
  } else if (subOption.kind === 'raw') {
    type = subOption.type;
    value = subOption.data;
  } else {
    type = firstLineType + lineKinds.indexOf(subOption.kind);
    value = new Uint8Array(4);
    writeUint32(value, 0, subOption.value);
  }
  if (value.length > 255) throw new Error(`sub-option bytes: expected at most 255, got ${value.length}`);
  const bytes = new Uint8Array(2 + value.length);
  bytes[0] = type;
  bytes[1] = value.length;
  bytes.set(value, 2);
  return bytes;
}
