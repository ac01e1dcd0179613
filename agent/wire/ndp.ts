/**
 * Neighbor Discovery for IPv6 (RFC 4861 §4), inside ICMPv6, with the options of RFC 4861 §4.6, RFC 3971 §5.3 (nonce),
 * RFC 4191 §2 (router preference, route information) and RFC 8106 §5 (name servers, search list).
 *
 *     0  type      1  code = 0      2  checksum      4  by type, then options
 *
 *     router solicitation 133      4  reserved      8  options
 *     router advertisement 134     4  current hop limit     5  M 1 bit, O 1 bit, -, preference 2 bits      6  lifetime
 *                                  8  reachable time       12  retransmission timer                       16  options
 *     neighbor solicitation 135    8  target       24  options
 *     neighbor advertisement 136   4  R, S, O 1 bit each    8  target     24  options
 *     redirect 137                 8  target       24  destination       40  options
 *
 *     option   0  type      1  length in 8-byte units, these two included      2  data
 *
 * Bounded by the message: an option takes at least 8 bytes. Reserved bits are ignored, and zero when emitted.
 */

import {
  readUint16,
  readUint32,
  sameBytes,
  writeBytes,
  writeUint8,
  writeUint16,
  writeUint32,
  writeZeros,
} from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv6Length, macLength } from './address.js';
import type { PseudoHeader } from './checksum.js';
import { type Icmpv6Carrier, isIcmpv6Intact, writeIcmpv6Checksum } from './icmpv6.js';
import { isIpv6LinkLocal, isIpv6Multicast, isIpv6Unspecified } from './ipv6.js';
import type { Reason } from './reason.js';

/** Shows that a message comes from the link itself, for no router forwards it so (RFC 4861 §3.1). */
export const ndpHopLimit = 255;

/** ICMPv6 types. */
const types = {
  'router-solicitation': 133,
  'router-advertisement': 134,
  'neighbor-solicitation': 135,
  'neighbor-advertisement': 136,
  redirect: 137,
} as const;

const optionTypes = {
  'source-link-layer-address': 1,
  'target-link-layer-address': 2,
  'prefix-information': 3,
  'redirected-header': 4,
  mtu: 5,
  nonce: 14,
  'route-information': 24,
  'recursive-dns-server': 25,
  'dns-search-list': 31,
} as const;

/** A lifetime of seconds that does not end. */
export const infiniteLifetime = 0xffffffff;

export type Ndp =
  | RouterSolicitation
  | RouterAdvertisement
  | NeighborSolicitation
  | NeighborAdvertisement
  | Redirect;

export interface RouterSolicitation {
  readonly kind: 'router-solicitation';
  readonly options: readonly NdpOption[];
}

export interface RouterAdvertisement {
  readonly kind: 'router-advertisement';
  /** 0 leaves it open. */
  readonly currentHopLimit: number;
  /** The M flag: addresses by DHCPv6. */
  readonly managed: boolean;
  /** The O flag: other configuration by DHCPv6. */
  readonly otherConfiguration: boolean;
  readonly preference: Preference;
  /** Seconds as a default router, 0 … 65,535; 0: not one. */
  readonly routerLifetimeS: number;
  /** 0 leaves it open, as it does the next. */
  readonly reachableTimeMs: number;
  readonly retransmitTimerMs: number;
  readonly options: readonly NdpOption[];
}

export interface NeighborSolicitation {
  readonly kind: 'neighbor-solicitation';
  readonly targetAddress: Uint8Array;
  readonly options: readonly NdpOption[];
}

export interface NeighborAdvertisement {
  readonly kind: 'neighbor-advertisement';
  readonly router: boolean;
  readonly solicited: boolean;
  readonly override: boolean;
  readonly targetAddress: Uint8Array;
  readonly options: readonly NdpOption[];
}

export interface Redirect {
  readonly kind: 'redirect';
  readonly targetAddress: Uint8Array;
  readonly destinationAddress: Uint8Array;
  readonly options: readonly NdpOption[];
}

/** Low, medium, high; the reserved fourth pattern is read as medium (RFC 4191 §2.1 for a router). */
export type Preference = -1 | 0 | 1;

export type NdpOption =
  | {
      readonly kind: 'source-link-layer-address' | 'target-link-layer-address';
      readonly linkLayerMac: Uint8Array;
    }
  | PrefixInformation
  /** `packet` is as much of the redirected packet as fits, with padding to a multiple of 8 bytes. */
  | { readonly kind: 'redirected-header'; readonly packet: Uint8Array }
  | { readonly kind: 'mtu'; readonly mtu: number }
  /** 8n − 2 bytes, at least 6. */
  | { readonly kind: 'nonce'; readonly nonce: Uint8Array }
  | RouteInformation
  | {
      readonly kind: 'recursive-dns-server';
      readonly lifetimeS: number;
      readonly serverAddresses: readonly Uint8Array[];
    }
  /** Names of ASCII labels with dots between, without the last dot. */
  | { readonly kind: 'dns-search-list'; readonly lifetimeS: number; readonly domains: readonly string[] }
  /** 8n − 2 bytes. */
  | { readonly kind: 'raw'; readonly type: number; readonly data: Uint8Array };

export interface PrefixInformation {
  readonly kind: 'prefix-information';
  /** 0 … 128. */
  readonly prefixLength: number;
  readonly onLink: boolean;
  readonly autonomous: boolean;
  /** `infiniteLifetime` is for ever. */
  readonly validLifetimeS: number;
  readonly preferredLifetimeS: number;
  /** As it came: bits beyond the length are not cleared. */
  readonly prefixAddress: Uint8Array;
}

export interface RouteInformation {
  readonly kind: 'route-information';
  readonly prefixLength: number;
  readonly preference: Preference;
  readonly routeLifetimeS: number;
  /** 16 bytes, of which the option holds 0, 8 or 16, as the prefix length needs. */
  readonly prefixAddress: Uint8Array;
}

/**
 * Reads a message from `bytes[start, end)`. If the carrier is given, verifies the checksum, the hop limit, and what RFC
 * 4861 §6.1, §7.1 and §8.1 ask of the addresses; otherwise that is for the caller. Arrays are views into `bytes`.
 */
export function parseNdp(
  bytes: Uint8Array,
  start: number,
  end: number,
  carrier?: Icmpv6Carrier,
): Result<Ndp, Reason> {
  if (end - start < 8) return fail('truncated');
  if (carrier) {
    if (!isIcmpv6Intact(carrier, bytes, start, end)) return fail('bad-checksum');
    if (carrier.hopLimit !== ndpHopLimit) return fail('bad-value');
  }
  const kind = kindOf(bytes[start]);
  if (!kind || bytes[start + 1] !== 0) return fail('bad-type');
  const optionsAt = start + fixedLength(kind);
  if (optionsAt > end) return fail('truncated');
  const options = parseOptions(bytes, optionsAt, end);
  if (!options.ok) return options;
  const ndp = readFixed(kind, bytes, start, options.value);
  return isAllowed(ndp, carrier) ? ok(ndp) : fail('bad-value');
}

export function ndpLength(ndp: Ndp): number {
  let length = fixedLength(ndp.kind);
  for (const option of ndp.options) length += optionLength(option);
  return length;
}

/** Writes the message at `at`; returns the offset after it. Needs `ndpLength` bytes; goes out with `ndpHopLimit`. */
export function emitNdp(ndp: Ndp, pseudoHeader: PseudoHeader, out: Uint8Array, at: number): number {
  const start = at;
  at = writeUint8(out, at, types[ndp.kind]);
  at = writeZeros(out, at, 3);
  switch (ndp.kind) {
    case 'router-solicitation':
      at = writeUint32(out, at, 0);
      break;
    case 'router-advertisement': {
      const flags = (ndp.managed ? 0x80 : 0) | (ndp.otherConfiguration ? 0x40 : 0);
      at = writeUint8(out, at, ndp.currentHopLimit);
      at = writeUint8(out, at, flags | preferenceBits(ndp.preference));
      at = writeUint16(out, at, ndp.routerLifetimeS);
      at = writeUint32(out, at, ndp.reachableTimeMs);
      at = writeUint32(out, at, ndp.retransmitTimerMs);
      break;
    }
    case 'neighbor-solicitation':
      at = writeUint32(out, at, 0);
      at = writeBytes(out, at, ndp.targetAddress);
      break;
    case 'neighbor-advertisement':
      at = writeUint8(
        out,
        at,
        (ndp.router ? 0x80 : 0) | (ndp.solicited ? 0x40 : 0) | (ndp.override ? 0x20 : 0),
      );
      at = writeZeros(out, at, 3);
      at = writeBytes(out, at, ndp.targetAddress);
      break;
    case 'redirect':
      at = writeUint32(out, at, 0);
      at = writeBytes(out, at, ndp.targetAddress);
      at = writeBytes(out, at, ndp.destinationAddress);
      break;
  }
  for (const option of ndp.options) at = emitOption(option, out, at);
  writeIcmpv6Checksum(pseudoHeader, out, start, at);
  return at;
}

function kindOf(type: number): Ndp['kind'] | undefined {
  for (const kind of Object.keys(types) as Ndp['kind'][]) if (types[kind] === type) return kind;
  return undefined;
}

/** Bytes before the options. */
function fixedLength(kind: Ndp['kind']): number {
  switch (kind) {
    case 'router-solicitation':
      return 8;
    case 'router-advertisement':
      return 16;
    case 'neighbor-solicitation':
    case 'neighbor-advertisement':
      return 24;
    case 'redirect':
      return 40;
  }
}

function readFixed(kind: Ndp['kind'], bytes: Uint8Array, start: number, options: NdpOption[]): Ndp {
  const flags = bytes[start + 4];
  switch (kind) {
    case 'router-solicitation':
      return { kind, options };
    case 'router-advertisement':
      return {
        kind,
        currentHopLimit: flags,
        managed: (bytes[start + 5] & 0x80) !== 0,
        otherConfiguration: (bytes[start + 5] & 0x40) !== 0,
        preference: readPreference(bytes[start + 5]),
        routerLifetimeS: readUint16(bytes, start + 6),
        reachableTimeMs: readUint32(bytes, start + 8),
        retransmitTimerMs: readUint32(bytes, start + 12),
        options,
      };
    case 'neighbor-solicitation':
      return { kind, targetAddress: bytes.subarray(start + 8, start + 24), options };
    case 'neighbor-advertisement':
      return {
        kind,
        router: (flags & 0x80) !== 0,
        solicited: (flags & 0x40) !== 0,
        override: (flags & 0x20) !== 0,
        targetAddress: bytes.subarray(start + 8, start + 24),
        options,
      };
    case 'redirect':
      return {
        kind,
        targetAddress: bytes.subarray(start + 8, start + 24),
        destinationAddress: bytes.subarray(start + 24, start + 40),
        options,
      };
  }
}

/** The validity rules beyond structure, as far as they can be checked. */
function isAllowed(ndp: Ndp, carrier: Icmpv6Carrier | undefined): boolean {
  const fromNowhere = carrier !== undefined && isIpv6Unspecified(carrier.srcAddress);
  const fromLink = carrier === undefined || isIpv6LinkLocal(carrier.srcAddress);
  // RFC 4861 §6.1.1, §7.1.1: whoever has no address yet must not be entered in a cache.
  const namesNobody =
    !fromNowhere || !ndp.options.some(option => option.kind === 'source-link-layer-address');
  switch (ndp.kind) {
    case 'router-solicitation':
      return namesNobody;
    case 'router-advertisement':
      return fromLink;
    case 'neighbor-solicitation':
      if (isIpv6Multicast(ndp.targetAddress) || !namesNobody) return false;
      return !fromNowhere || isSolicitedNode(carrier.dstAddress);
    case 'neighbor-advertisement':
      if (isIpv6Multicast(ndp.targetAddress)) return false;
      return !(ndp.solicited && carrier !== undefined && isIpv6Multicast(carrier.dstAddress));
    case 'redirect':
      if (isIpv6Multicast(ndp.destinationAddress) || !fromLink) return false;
      return isIpv6LinkLocal(ndp.targetAddress) || sameBytes(ndp.targetAddress, ndp.destinationAddress);
  }
}

/** ff02::1:ff00:0/104 (RFC 4291 §2.7.1). */
function isSolicitedNode(address: Uint8Array): boolean {
  if (readUint32(address, 0) !== 0xff020000 || readUint32(address, 4) !== 0) return false;
  return readUint32(address, 8) === 1 && address[12] === 0xff;
}

function parseOptions(bytes: Uint8Array, at: number, end: number): Result<NdpOption[], Reason> {
  const options: NdpOption[] = [];
  while (at < end) {
    if (end - at < 8) return fail('truncated');
    const length = bytes[at + 1] * 8;
    // RFC 4861 §4.6: an option of length 0 condemns the packet.
    if (length === 0) return fail('bad-option');
    if (length > end - at) return fail('truncated');
    const option = parseOption(bytes, at, at + length);
    if (!option.ok) return option;
    options.push(option.value);
    at += length;
  }
  return ok(options);
}

/** One option, `bytes[at, end)`, at least 8 bytes. */
function parseOption(bytes: Uint8Array, at: number, end: number): Result<NdpOption, Reason> {
  const type = bytes[at];
  const length = end - at;
  switch (type) {
    case optionTypes['source-link-layer-address']:
    case optionTypes['target-link-layer-address']: {
      if (length !== 8) return fail('bad-option');
      const isSource = type === optionTypes['source-link-layer-address'];
      const kind = isSource ? 'source-link-layer-address' : 'target-link-layer-address';
      return ok({ kind, linkLayerMac: bytes.subarray(at + 2, at + 2 + macLength) });
    }
    case optionTypes['prefix-information']:
      if (length !== 32 || bytes[at + 2] > 128) return fail('bad-option');
      return ok({
        kind: 'prefix-information',
        prefixLength: bytes[at + 2],
        onLink: (bytes[at + 3] & 0x80) !== 0,
        autonomous: (bytes[at + 3] & 0x40) !== 0,
        validLifetimeS: readUint32(bytes, at + 4),
        preferredLifetimeS: readUint32(bytes, at + 8),
        prefixAddress: bytes.subarray(at + 16, end),
      });
    case optionTypes['redirected-header']:
      return ok({ kind: 'redirected-header', packet: bytes.subarray(at + 8, end) });
    case optionTypes.mtu:
      return length === 8 ? ok({ kind: 'mtu', mtu: readUint32(bytes, at + 4) }) : fail('bad-option');
    case optionTypes.nonce:
      return ok({ kind: 'nonce', nonce: bytes.subarray(at + 2, end) });
    case optionTypes['route-information']: {
      const prefixLength = bytes[at + 2];
      if (prefixLength > 128 || length > 24 || length < routeOptionLength(prefixLength))
        return fail('bad-option');
      const prefixAddress = new Uint8Array(ipv6Length);
      prefixAddress.set(bytes.subarray(at + 8, at + routeOptionLength(prefixLength)), 0);
      const preference = readPreference(bytes[at + 3]);
      const routeLifetimeS = readUint32(bytes, at + 4);
      return ok({ kind: 'route-information', prefixLength, preference, routeLifetimeS, prefixAddress });
    }
    case optionTypes['recursive-dns-server']: {
      if (length < 24 || length % 16 !== 8) return fail('bad-option');
      const serverAddresses: Uint8Array[] = [];
      for (let server = at + 8; server < end; server += ipv6Length)
        serverAddresses.push(bytes.subarray(server, server + ipv6Length));
      return ok({ kind: 'recursive-dns-server', lifetimeS: readUint32(bytes, at + 4), serverAddresses });
    }
    case optionTypes['dns-search-list']: {
      const domains = parseDomains(bytes, at + 8, end);
      if (!domains.ok) return domains;
      if (domains.value.length === 0) return fail('bad-option');
      return ok({ kind: 'dns-search-list', lifetimeS: readUint32(bytes, at + 4), domains: domains.value });
    }
    default:
      return ok({ kind: 'raw', type, data: bytes.subarray(at + 2, end) });
  }
}

function optionLength(option: NdpOption): number {
  switch (option.kind) {
    case 'source-link-layer-address':
    case 'target-link-layer-address':
    case 'mtu':
      return 8;
    case 'prefix-information':
      return 32;
    case 'redirected-header':
      return 8 + roundUp(option.packet.length);
    case 'nonce':
      return roundUp(2 + option.nonce.length);
    case 'route-information':
      return routeOptionLength(option.prefixLength);
    case 'recursive-dns-server':
      return 8 + ipv6Length * option.serverAddresses.length;
    case 'dns-search-list': {
      let length = 8;
      // A length byte replaces each dot, one more stands first, and a zero ends the name.
      for (const domain of option.domains) length += domain.length + 2;
      return roundUp(length);
    }
    case 'raw':
      return roundUp(2 + option.data.length);
  }
}

function emitOption(option: NdpOption, out: Uint8Array, at: number): number {
  const end = at + optionLength(option);
  at = writeUint8(out, at, option.kind === 'raw' ? option.type : optionTypes[option.kind]);
  at = writeUint8(out, at, optionLength(option) / 8);
  switch (option.kind) {
    case 'source-link-layer-address':
    case 'target-link-layer-address':
      at = writeBytes(out, at, option.linkLayerMac);
      break;
    case 'prefix-information':
      at = writeUint8(out, at, option.prefixLength);
      at = writeUint8(out, at, (option.onLink ? 0x80 : 0) | (option.autonomous ? 0x40 : 0));
      at = writeUint32(out, at, option.validLifetimeS);
      at = writeUint32(out, at, option.preferredLifetimeS);
      at = writeUint32(out, at, 0);
      at = writeBytes(out, at, option.prefixAddress);
      break;
    case 'redirected-header':
      at = writeZeros(out, at, 6);
      at = writeBytes(out, at, option.packet);
      break;
    case 'mtu':
      at = writeUint16(out, at, 0);
      at = writeUint32(out, at, option.mtu);
      break;
    case 'nonce':
      at = writeBytes(out, at, option.nonce);
      break;
    case 'route-information':
      at = writeUint8(out, at, option.prefixLength);
      at = writeUint8(out, at, preferenceBits(option.preference));
      at = writeUint32(out, at, option.routeLifetimeS);
      at = writeBytes(out, at, option.prefixAddress.subarray(0, end - at));
      break;
    case 'recursive-dns-server':
      at = writeUint16(out, at, 0);
      at = writeUint32(out, at, option.lifetimeS);
      for (const address of option.serverAddresses) at = writeBytes(out, at, address);
      break;
    case 'dns-search-list':
      at = writeUint16(out, at, 0);
      at = writeUint32(out, at, option.lifetimeS);
      for (const domain of option.domains) at = emitDomain(domain, out, at);
      break;
    case 'raw':
      at = writeBytes(out, at, option.data);
      break;
  }
  return writeZeros(out, at, end - at);
}

function routeOptionLength(prefixLength: number): number {
  return prefixLength > 64 ? 24 : prefixLength > 0 ? 16 : 8;
}

function roundUp(length: number): number {
  return (length + 7) & ~7;
}

/** Bits 3 and 4 of the flags byte, as a signed number (RFC 4191 §2.1). */
function readPreference(flags: number): Preference {
  const bits = (flags >>> 3) & 3;
  return bits === 1 ? 1 : bits === 3 ? -1 : 0;
}

function preferenceBits(preference: Preference): number {
  return (preference & 3) << 3;
}

/**
 * Names in the form of RFC 1035 §3.1, without compression, up to the zeros that pad them (RFC 8106 §5.2). dns.ts keeps
 * the whole of that form; here it is only ASCII that can stand between dots.
 */
function parseDomains(bytes: Uint8Array, at: number, end: number): Result<string[], Reason> {
  const domains: string[] = [];
  while (at < end && bytes[at] !== 0) {
    const start = at;
    let domain = '';
    while (at < end && bytes[at] !== 0) {
      const labelEnd = at + 1 + bytes[at];
      if (bytes[at] > 63 || labelEnd >= end || labelEnd - start >= 255) return fail('bad-name');
      if (domain !== '') domain += '.';
      for (at++; at < labelEnd; at++) {
        if (bytes[at] <= 32 || bytes[at] >= 127 || bytes[at] === 46) return fail('bad-name');
        domain += String.fromCharCode(bytes[at]);
      }
    }
    domains.push(domain);
    at++;
  }
  return ok(domains);
}

function emitDomain(domain: string, out: Uint8Array, at: number): number {
  for (const label of domain.split('.')) {
    if (label.length < 1 || label.length > 63)
      throw new Error(`domain: expected labels of 1..63 characters, got ${domain}`);
    at = writeUint8(out, at, label.length);
    for (let i = 0; i < label.length; i++) at = writeUint8(out, at, label.charCodeAt(i));
  }
  return writeUint8(out, at, 0);
}
