/**
 * The questions of a name query, as rules ask for them: DNS (RFC 1035 §4.1.2), multicast DNS (RFC 6762), LLMNR (RFC 4795)
 * and the NetBIOS name service (RFC 1002 §4.2), told apart by the UDP port they are sent to.
 *
 * Only queries count (operation 0, no response). A message whose questions are malformed has none. Bounded by
 * `dnsQuestionLimit`; names are read as parseDnsName of dns.ts does, but compared in place: nothing is allocated.
 */

import { encodeUtf8, readUint16 } from '../core/bytes.js';
import { timesFnvPrime } from '../core/random.js';
import { dnsPort, dnsQuestionLimit, encodeDnsName, mdnsPort } from '../wire/dns.js';
import type { Headers } from '../wire/headers.js';
import { nbnsPort } from '../wire/nbns.js';
import { llmnrPort } from '../wire/udp-ports.js';
import { has, type Spans } from './spans.js';

/** The name services, and the port of each. */
export const questionPorts = { dns: dnsPort, mdns: mdnsPort, llmnr: llmnrPort, nbns: nbnsPort } as const;

/** A name as a rule has it. */
export interface NameTest {
  /** Labels in lower case, each behind its length, without the root's; of NetBIOS, 30 letters without the suffix's two. */
  readonly bytes: Uint8Array;
  readonly labels: number;
  /** `exact`; `below`: any name with these labels at its end and at least one before them. */
  readonly kind: 'exact' | 'below' | 'netbios';
  /** Of an exact name, as `Questions.hashes` has it. */
  readonly hash: number;
}

/** One question must have one of the names and one of the types. */
export interface QuestionTest {
  /** None: any name. */
  readonly names: readonly NameTest[];
  /** None: any type. */
  readonly types: Spans;
}

const udpHeaderLength = 8;
const dnsHeaderLength = 12;
const maxNameLength = 255;
const netbiosLabelLength = 32;
const netbiosNameLength = 15;
/** QR and the operation: all clear in a query. */
const notQueryBits = 0xf800;
const fnvOffset = 0x811c9dc5;

export class Questions {
  count = 0;
  /** Of the names, unsigned; 0 … count − 1 are valid, as with the arrays below. */
  readonly hashes = new Float64Array(dnsQuestionLimit);
  private readonly types = new Uint16Array(dnsQuestionLimit);
  private readonly labels = new Uint8Array(dnsQuestionLimit);
  private readonly nameAt = new Int32Array(dnsQuestionLimit);
  private messageAt = 0;
  private endAt = 0;
  /** The offset after the name read last. */
  private nextAt = 0;

  /** Finds the questions of a UDP datagram with its header in the frame; `count` is 0 if it is no query. */
  read(frame: Uint8Array, headers: Headers): void {
    this.count = 0;
    const { dstPort, l4Offset, l4End } = headers;
    if (dstPort !== dnsPort && dstPort !== mdnsPort && dstPort !== llmnrPort && dstPort !== nbnsPort) return;
    const start = l4Offset + udpHeaderLength;
    const end = Math.min(l4End, l4Offset + readUint16(frame, l4Offset + 4));
    if (end - start < dnsHeaderLength || (readUint16(frame, start + 2) & notQueryBits) !== 0) return;
    const count = readUint16(frame, start + 4);
    if (count > dnsQuestionLimit) return;
    this.messageAt = start;
    this.endAt = end;
    let at = start + dnsHeaderLength;
    for (let i = 0; i < count; i++) {
      if (!this.readName(frame, at, i) || this.nextAt + 4 > end) return;
      this.nameAt[i] = at;
      this.types[i] = readUint16(frame, this.nextAt);
      at = this.nextAt + 4;
    }
    this.count = count;
  }

  match(frame: Uint8Array, test: QuestionTest): boolean {
    for (let i = 0; i < this.count; i++) {
      if (test.types.length > 0 && !has(test.types, this.types[i])) continue;
      if (test.names.length === 0) return true;
      for (const name of test.names) if (this.isName(frame, i, name)) return true;
    }
    return false;
  }

  private isName(frame: Uint8Array, index: number, name: NameTest): boolean {
    const labels = this.labels[index];
    if (name.kind === 'netbios')
      return labels > 0 && this.isNetbiosName(frame, this.nameAt[index], name.bytes);
    if (name.kind === 'exact' && (labels !== name.labels || this.hashes[index] !== name.hash)) return false;
    if (name.kind === 'below' && labels <= name.labels) return false;
    const { bytes } = name;
    let skip = labels - name.labels;
    let at = this.nameAt[index];
    let i = 0;
    for (;;) {
      const first = frame[at];
      if (first === 0) return true;
      if (first >= 0xc0) {
        at = this.messageAt + (readUint16(frame, at) & 0x3fff);
      } else if (skip > 0) {
        skip--;
        at += 1 + first;
      } else {
        if (bytes[i] !== first) return false;
        for (let end = at + first; at < end; ) if (lower(frame[++at]) !== bytes[++i]) return false;
        at++;
        i++;
      }
    }
  }

  private isNetbiosName(frame: Uint8Array, at: number, letters: Uint8Array): boolean {
    while (frame[at] >= 0xc0) at = this.messageAt + (readUint16(frame, at) & 0x3fff);
    if (frame[at] !== netbiosLabelLength) return false;
    for (let i = 0; i < letters.length; i++) if (lower(frame[at + 1 + i]) !== letters[i]) return false;
    return true;
  }

  /** Reads the name at `at` into the question `index`; false if it is malformed. Pointers as in parseDnsName. */
  private readName(bytes: Uint8Array, at: number, index: number): boolean {
    let end = this.endAt;
    let runAt = at;
    let length = 1;
    let labels = 0;
    let hash = fnvOffset;
    let isPointed = false;
    while (at < end) {
      const first = bytes[at];
      if (first === 0) {
        if (!isPointed) this.nextAt = at + 1;
        this.labels[index] = labels;
        this.hashes[index] = hash >>> 0;
        return true;
      }
      if (first >= 0xc0) {
        if (at + 2 > end) return false;
        const target = this.messageAt + (readUint16(bytes, at) & 0x3fff);
        if (target >= runAt || target < this.messageAt + dnsHeaderLength) return false;
        if (!isPointed) this.nextAt = at + 2;
        isPointed = true;
        end = at;
        at = target;
        runAt = target;
        continue;
      }
      length += 1 + first;
      if (first > 63 || length > maxNameLength || at + 1 + first > end) return false;
      hash = hashLabel(hash, bytes, at);
      labels++;
      at += 1 + first;
    }
    return false;
  }
}

/** What a rule means by a DNS name: `desktop.local`, or `*.local` for all names below; `undefined` if it is none. */
export function parseNameTest(text: string): NameTest | undefined {
  const isBelow = text.slice(0, 2) === '*.';
  const encoded = encodeDnsName(isBelow ? text.slice(2) : text);
  if (!encoded) return undefined;
  let labels = 0;
  let hash = fnvOffset;
  for (let at = 0; encoded[at] !== 0; at += 1 + encoded[at]) {
    hash = hashLabel(hash, encoded, at);
    labels++;
  }
  const bytes = encoded.subarray(0, encoded.length - 1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = lower(bytes[i]);
  return { bytes, labels, kind: isBelow ? 'below' : 'exact', hash: hash >>> 0 };
}

/**
 * What a rule means by a NetBIOS name, whatever its suffix and scope: up to 15 characters of ASCII, or `*` alone, which
 * asks for every name (RFC 1002 §4.2.18); `undefined` if it is none.
 */
export function parseNetbiosTest(text: string): NameTest | undefined {
  const name = encodeUtf8(text.toUpperCase());
  if (name.length === 0 || name.length > netbiosNameLength) return undefined;
  const bytes = new Uint8Array(2 * netbiosNameLength);
  for (let i = 0; i < netbiosNameLength; i++) {
    const byte = i < name.length ? name[i] : text === '*' ? 0 : 32;
    if (byte > 126) return undefined;
    // RFC 1001 §14.1: half a byte a letter, from A on; in lower case, as the names compared with it.
    bytes[2 * i] = 97 + (byte >>> 4);
    bytes[2 * i + 1] = 97 + (byte & 15);
  }
  return { bytes, labels: 1, kind: 'netbios', hash: 0 };
}

function hashLabel(hash: number, bytes: Uint8Array, at: number): number {
  for (let i = at; i <= at + bytes[at]; i++) hash = timesFnvPrime(hash ^ lower(bytes[i]));
  return hash;
}

/** ASCII letters without their case (RFC 4343); a label's length, up to 63, stays as it is. */
function lower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte + 32 : byte;
}
