/**
 * IPv6 with its chain of extension headers (RFC 8200 §3, §4; Authentication Header RFC 4302 §2).
 *
 *     0  version = 6 · DSCP 6 bits · ECN 2 bits · flow label 20 bits
 *     4  payload length      6  next header      7  hop limit
 *     8  source             24  destination     40  extension headers, then the payload
 *
 *     extension header:  0  next header      1  length in 8-byte units, without the first 8 bytes      2  data
 *
 * The chain ends at the first protocol that is none of `isIpv6Extension`: a transport, ESP (50, encrypted from there
 * on), No Next Header (59), or the inside of a fragment that is not the first. Bounded by `maxIpv6Extensions` and by the
 * payload length; jumbograms (RFC 2675) are refused, because their payload length of 0 says that nothing follows.
 */

import { readUint16, readUint32, writeBytes, writeUint8, writeUint16, writeUint32 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { maxIpLength } from './ipv4.js';
import type { Reason } from './reason.js';

/** Without extension headers. */
export const ipv6MinLength = 40;
/** RFC 8200 §4.1 lists six headers that occur, one of them twice. */
export const maxIpv6Extensions = 8;

export const extensionHopByHop = 0;
export const extensionRouting = 43;
export const extensionFragment = 44;
export const extensionAuthentication = 51;
export const extensionDestinationOptions = 60;
export const protocolNoNextHeader = 59;

export type Ipv6Extension = Ipv6OpaqueExtension | Ipv6FragmentHeader;

export interface Ipv6OpaqueExtension {
  readonly protocol:
    | typeof extensionHopByHop
    | typeof extensionRouting
    | typeof extensionAuthentication
    | typeof extensionDestinationOptions;
  /** From the third byte on: 8n − 2 bytes, of an Authentication Header 4n + 2, from 10. */
  readonly data: Uint8Array;
}

/** RFC 8200 §4.5. */
export interface Ipv6FragmentHeader {
  readonly protocol: typeof extensionFragment;
  /** In bytes: a multiple of 8, 0 … 65,528. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
  /** 32 bits. */
  readonly identification: number;
}

export interface Ipv6Header {
  /** Differentiated services code point, 0 … 63. */
  readonly dscp: number;
  /** 0 … 3. */
  readonly ecn: number;
  /** 0 … 0xfffff. */
  readonly flowLabel: number;
  readonly hopLimit: number;
  readonly srcAddress: Uint8Array;
  readonly dstAddress: Uint8Array;
  readonly extensions: readonly Ipv6Extension[];
  /** Of the payload: the last next header. */
  readonly protocol: number;
}

export interface Ipv6 extends Ipv6Header {
  readonly payload: Uint8Array;
}

/** Reads a packet from `bytes[start, end)`; what follows the payload length is padding. Arrays are views into `bytes`. */
export function parseIpv6(bytes: Uint8Array, start: number, end: number): Result<Ipv6, Reason> {
  if (end - start < ipv6MinLength) return fail('truncated');
  if (bytes[start] >>> 4 !== 6) return fail('bad-version');
  const payloadEnd = start + ipv6MinLength + readUint16(bytes, start + 4);
  if (payloadEnd > end) return fail('truncated');
  const extensions: Ipv6Extension[] = [];
  let protocol = bytes[start + 6];
  let at = start + ipv6MinLength;
  let inside = false;
  while (!inside && isIpv6Extension(protocol)) {
    if (extensions.length === maxIpv6Extensions) return fail('too-many');
    const length = ipv6ExtensionLength(bytes, at, payloadEnd, protocol);
    if (length < 0) return fail('truncated');
    if (protocol === extensionFragment) {
      const fragment = parseFragment(bytes, at, payloadEnd);
      if (!fragment.ok) return fail(fragment.reason);
      extensions.push(fragment.value);
      inside = fragment.value.fragmentOffset > 0;
    } else {
      // RFC 8200 §4.1: hop-by-hop options stand first or not at all.
      if (protocol === extensionHopByHop && extensions.length > 0) return fail('bad-option');
      const hasOptions = protocol === extensionHopByHop || protocol === extensionDestinationOptions;
      if (hasOptions && !areOptionsWellFormed(bytes, at + 2, at + length)) return fail('bad-option');
      if (protocol === extensionAuthentication && length < 12) return fail('bad-length');
      const data = bytes.subarray(at + 2, at + length);
      extensions.push({ protocol: protocol as Ipv6OpaqueExtension['protocol'], data });
    }
    protocol = bytes[at];
    at += length;
  }
  const traffic = readUint16(bytes, start) >>> 4;
  return ok({
    dscp: (traffic >>> 2) & 63,
    ecn: traffic & 3,
    flowLabel: readUint32(bytes, start) & 0xfffff,
    hopLimit: bytes[start + 7],
    srcAddress: bytes.subarray(start + 8, start + 24),
    dstAddress: bytes.subarray(start + 24, start + 40),
    extensions,
    protocol,
    payload: bytes.subarray(at, payloadEnd),
  });
}

/** Bytes of the header with its extension headers. */
export function ipv6HeaderLength(header: Ipv6Header): number {
  let length = ipv6MinLength;
  for (const extension of header.extensions) length += emittedExtensionLength(extension);
  return length;
}

/** Writes the headers at `at`, before a payload of `payloadLength` bytes; returns the offset of the payload. */
export function emitIpv6(header: Ipv6Header, payloadLength: number, out: Uint8Array, at: number): number {
  const { extensions } = header;
  const longest = maxIpLength - ipv6HeaderLength(header) + ipv6MinLength;
  if (payloadLength > longest)
    throw new Error(`payloadLength: expected at most ${longest}, got ${payloadLength}`);
  const traffic = (header.dscp << 2) | header.ecn;
  at = writeUint32(out, at, (6 << 28) | (traffic << 20) | header.flowLabel);
  at = writeUint16(out, at, ipv6HeaderLength(header) - ipv6MinLength + payloadLength);
  at = writeUint8(out, at, extensions.length > 0 ? extensions[0].protocol : header.protocol);
  at = writeUint8(out, at, header.hopLimit);
  at = writeBytes(out, at, header.srcAddress);
  at = writeBytes(out, at, header.dstAddress);
  for (let i = 0; i < extensions.length; i++) {
    const extension = extensions[i];
    at = writeUint8(out, at, i + 1 < extensions.length ? extensions[i + 1].protocol : header.protocol);
    if (extension.protocol === extensionFragment) {
      at = writeUint8(out, at, 0);
      at = writeUint16(out, at, extension.fragmentOffset | (extension.moreFragments ? 1 : 0));
      at = writeUint32(out, at, extension.identification);
    } else {
      const length = emittedExtensionLength(extension);
      at = writeUint8(
        out,
        at,
        extension.protocol === extensionAuthentication ? length / 4 - 2 : length / 8 - 1,
      );
      at = writeBytes(out, at, extension.data);
    }
  }
  return at;
}

/** Whether a next header number means another header of the chain, of a form known here. */
export function isIpv6Extension(protocol: number): boolean {
  return (
    protocol === extensionHopByHop ||
    protocol === extensionRouting ||
    protocol === extensionFragment ||
    protocol === extensionAuthentication ||
    protocol === extensionDestinationOptions
  );
}

/** Bytes of the extension header of kind `protocol` at `at`, or −1 if it runs over `end`. */
export function ipv6ExtensionLength(bytes: Uint8Array, at: number, end: number, protocol: number): number {
  if (end - at < 8) return -1;
  const length =
    protocol === extensionFragment
      ? 8
      : protocol === extensionAuthentication
        ? (bytes[at + 1] + 2) * 4
        : (bytes[at + 1] + 1) * 8;
  return length <= end - at ? length : -1;
}

/** ff00::/8 (RFC 4291 §2.7). */
export function isIpv6Multicast(address: Uint8Array): boolean {
  return address[0] === 0xff;
}

/** fe80::/10 (RFC 4291 §2.5.6). */
export function isIpv6LinkLocal(address: Uint8Array): boolean {
  return address[0] === 0xfe && (address[1] & 0xc0) === 0x80;
}

/** `::` (RFC 4291 §2.5.2). */
export function isIpv6Unspecified(address: Uint8Array): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== 0) return false;
  return true;
}

function emittedExtensionLength(extension: Ipv6Extension): number {
  return extension.protocol === extensionFragment ? 8 : 2 + extension.data.length;
}

function parseFragment(bytes: Uint8Array, at: number, end: number): Result<Ipv6FragmentHeader, Reason> {
  const offset = readUint16(bytes, at + 2);
  const fragmentOffset = offset & 0xfff8;
  const moreFragments = (offset & 1) !== 0;
  const length = end - at - 8;
  // RFC 8200 §4.5: only the last fragment's length is free, and no packet is longer than its length field can say.
  if (moreFragments && length % 8 !== 0) return fail('bad-length');
  if (fragmentOffset + length > maxIpLength) return fail('bad-length');
  const identification = readUint32(bytes, at + 4);
  return ok({ protocol: extensionFragment, fragmentOffset, moreFragments, identification });
}

/** Type, length, data (RFC 8200 §4.2), but for Pad1, which is one byte. */
function areOptionsWellFormed(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end) {
    if (bytes[at] === 0) {
      at++;
      continue;
    }
    if (end - at < 2 || bytes[at + 1] > end - at - 2) return false;
    at += 2 + bytes[at + 1];
  }
  return true;
}
