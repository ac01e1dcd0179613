/**
 * SSDP, the Simple Service Discovery Protocol (UPnP Device Architecture 2.0 §1): an HTTP/1.1 message without a body in
 * one UDP datagram, `M-SEARCH * HTTP/1.1`, `NOTIFY * HTTP/1.1` or `HTTP/1.1 200 OK`, then `name: value` lines (RFC 7230
 * §3.2, without line folding), each ended by CR LF, and an empty line. What follows that is ignored.
 *
 * At most `ssdpHeaderLimit` headers; the datagram bounds their length.
 */

import { decodeUtf8, encodeUtf8, utf8Length, writeBytes } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from './reason.js';

export { ssdpPort } from './udp-ports.js';

/** Where searches and notifications go (UPnP Device Architecture 2.0 §1.1 and annex A.3, link-local scope). */
export const ssdpGroups: readonly string[] = ['239.255.255.250', 'ff02::c'];
/** The architecture defines some 15 headers, and vendors add a few. More: 'too-many'. */
export const ssdpHeaderLimit = 32;

export interface SsdpHeader {
  /** Compared without regard to case; kept as it came. */
  readonly name: string;
  /** Without the white space around it. */
  readonly value: string;
}

export interface Ssdp {
  readonly kind: 'search' | 'notify' | 'response';
  readonly headers: readonly SsdpHeader[];
}

const startLines: { readonly [kind in Ssdp['kind']]: string } = {
  search: 'M-SEARCH * HTTP/1.1',
  notify: 'NOTIFY * HTTP/1.1',
  response: 'HTTP/1.1 200 OK',
};

/** A token (RFC 7230 §3.2.6). */
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Reads a message from `bytes[start, end)`. */
export function parseSsdp(bytes: Uint8Array, start: number, end: number): Result<Ssdp, Reason> {
  let kind: Ssdp['kind'] | undefined;
  const headers: SsdpHeader[] = [];
  for (let at = start; at < end; ) {
    const lineEnd = findLineEnd(bytes, at, end);
    if (lineEnd < 0) return fail('truncated');
    const line = decodeUtf8(bytes.subarray(at, lineEnd));
    if (line === undefined || hasControl(line)) return fail('bad-value');
    at = lineEnd + 2;
    if (kind === undefined) {
      kind = kindOf(line);
      if (kind === undefined) return fail('bad-type');
      continue;
    }
    if (line === '') return ok({ kind, headers });
    if (headers.length === ssdpHeaderLimit) return fail('too-many');
    const colon = line.indexOf(':');
    const header = { name: line.slice(0, Math.max(colon, 0)), value: trimBlanks(line.slice(colon + 1)) };
    if (!tokenPattern.test(header.name)) return fail('bad-option');
    headers.push(header);
  }
  return fail('truncated');
}

/** Bytes `emitSsdp` writes. */
export function ssdpLength(message: Ssdp): number {
  return utf8Length(ssdpText(message));
}

/** Writes a message at `at`; returns the offset after it. Throws for a header that would not be read back. */
export function emitSsdp(message: Ssdp, out: Uint8Array, at: number): number {
  return writeBytes(out, at, encodeUtf8(ssdpText(message)));
}

function ssdpText({ kind, headers }: Ssdp): string {
  let text = `${startLines[kind]}\r\n`;
  for (const { name, value } of headers) {
    if (!tokenPattern.test(name)) throw new Error(`name: expected a token, got ${name}`);
    if (hasControl(value) || trimBlanks(value) !== value)
      throw new Error(`value: expected text without control characters and blanks around it, got ${value}`);
    text += value === '' ? `${name}:\r\n` : `${name}: ${value}\r\n`;
  }
  return `${text}\r\n`;
}

function kindOf(line: string): Ssdp['kind'] | undefined {
  for (const kind of Object.keys(startLines) as Ssdp['kind'][]) if (startLines[kind] === line) return kind;
  return undefined;
}

/** The offset of the next CR LF, −1 if there is none. */
function findLineEnd(bytes: Uint8Array, at: number, end: number): number {
  for (; at + 1 < end; at++) if (bytes[at] === 13 && bytes[at + 1] === 10) return at;
  return -1;
}

/** Control characters other than the tab. */
function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code < 32 && code !== 9) || code === 127) return true;
  }
  return false;
}

/** Without spaces and tabs around it: String.trim would also take Unicode's, which are part of a value. */
function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}
