/**
 * Addresses as text: MAC (six hex pairs), IPv4 (dotted quad), IPv6 (RFC 4291 §2.2, written as RFC 5952 asks).
 *
 * Addresses are Uint8Arrays of 6, 4 and 16 bytes everywhere else.
 */

import { formatHex, hexValue, readUint16 } from '../core/bytes.js';

export const macLength = 6;
export const ipv4Length = 4;
export const ipv6Length = 16;

/** `3c:22:fb:01:02:03`, lower case. */
export function formatMac(mac: Uint8Array): string {
  return formatHex(mac, ':');
}

/** Six bytes of `aa:bb:cc:dd:ee:ff` or `aa-bb-cc-dd-ee-ff`, either case; `undefined` for anything else. */
export function parseMac(text: string): Uint8Array | undefined {
  if (text.length !== 17) return undefined;
  const separator = text.charCodeAt(2);
  if (separator !== 58 && separator !== 45) return undefined;
  const mac = new Uint8Array(macLength);
  for (let i = 0; i < macLength; i++) {
    if (i > 0 && text.charCodeAt(3 * i - 1) !== separator) return undefined;
    const high = hexValue(text.charCodeAt(3 * i));
    const low = hexValue(text.charCodeAt(3 * i + 1));
    if (high < 0 || low < 0) return undefined;
    mac[i] = high * 16 + low;
  }
  return mac;
}

/** Four bytes of a dotted quad without leading zeros (RFC 6943 §3.1.1); `undefined` for anything else. */
export function parseIpv4Address(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const address = new Uint8Array(ipv4Length);
  for (let i = 0; i < 4; i++) {
    const part = parts[i];
    if (part.length > 3 || !/^[0-9]+$/.test(part)) return undefined;
    if ((part.length > 1 && part.charCodeAt(0) === 48) || Number(part) > 255) return undefined;
    address[i] = Number(part);
  }
  return address;
}

/** Sixteen bytes of an IPv6 address (RFC 4291 §2.2 forms 1–3, no zone); `undefined` for anything else. */
export function parseIpv6Address(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0], halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1], true) : [];
  if (!head || !tail) return undefined;
  const given = head.length + tail.length;
  if (halves.length === 1 ? given !== 16 : given > 14) return undefined;
  const address = new Uint8Array(ipv6Length);
  address.set(head, 0);
  address.set(tail, 16 - tail.length);
  return address;
}

/** IPv4 or IPv6 text by the length of the address, 4 or 16 bytes. */
export function formatAddress(address: Uint8Array): string {
  if (address.length === ipv4Length) return `${address[0]}.${address[1]}.${address[2]}.${address[3]}`;
  if (address.length !== ipv6Length)
    throw new Error(`address: expected 4 or 16 bytes, got ${address.length}`);
  return formatIpv6(address);
}

/** IPv4 or IPv6 bytes of either text; `undefined` for anything else. */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.indexOf(':') < 0 ? parseIpv4Address(text) : parseIpv6Address(text);
}

function formatIpv6(address: Uint8Array): string {
  // RFC 5952 §4.2: the longest run of two or more zero groups becomes `::`, the first of equals.
  let runStart = -1;
  let runLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && readUint16(address, 2 * (i + length)) === 0) length++;
    if (length > runLength) {
      runStart = i;
      runLength = length;
    }
    i += length;
  }
  let text = '';
  for (let i = 0; i < 8; i++) {
    if (i === runStart) {
      text += '::';
      i += runLength - 1;
      continue;
    }
    if (text !== '' && text.charCodeAt(text.length - 1) !== 58) text += ':';
    text += readUint16(address, 2 * i).toString(16);
  }
  return text;
}

/** The bytes of colon-separated groups; the last may be a dotted quad if `quadAllowed`. */
function parseGroups(text: string, quadAllowed: boolean): number[] | undefined {
  const bytes: number[] = [];
  if (text === '') return bytes;
  const groups = text.split(':');
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i];
    if (quadAllowed && i === groups.length - 1 && group.indexOf('.') > 0) {
      const quad = parseIpv4Address(group);
      if (!quad) return undefined;
      bytes.push(quad[0], quad[1], quad[2], quad[3]);
    } else if (group.length <= 4 && /^[0-9a-fA-F]+$/.test(group)) {
      bytes.push(parseInt(group, 16) >> 8, parseInt(group, 16) & 255);
    } else {
      return undefined;
    }
  }
  return bytes.length <= 16 ? bytes : undefined;
}
