/**
 * NBNS, the NetBIOS name service over UDP (RFC 1001 §14, RFC 1002 §4.2): a DNS message with flags, names and two types
 * of its own.
 *
 *     0  identification      2  flags: response 1 · opcode 4 · AA TC RD RA 1 each · 2 reserved · broadcast 1 · response code 4
 *     4  as in dns.ts; the class is always IN
 *
 *     name: one label of 32 letters, each half a byte from A = 0 to P = 15, of 15 bytes of name and one of suffix;
 *           then the scope's labels
 *     NB: flags 2, IPv4 address 4, any number of times
 *     NBSTAT: number of names 1; each 15 + suffix 1 + flags 2; statistics, of which the first six bytes are the MAC
 *
 * Bounded as DNS is.
 */

import { readUint16, writeBytes, writeUint8, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv4Length, macLength } from './address.js';
import {
  authoritativeFlag,
  type DnsMessage,
  type DnsRecord,
  dnsClass,
  encodeDnsMessage,
  operationOf,
  parseDnsMessage,
  recursionAvailableFlag,
  recursionDesiredFlag,
  responseFlag,
  truncatedFlag,
} from './dns.js';
import type { Reason } from './reason.js';

export const nbnsPort = 137;
export const nbnsType = { nb: 0x20, nbstat: 0x21 } as const;
/** RFC 1002 §4.2.1.1. 9 is the refresh of RFC 1002 §4.2.4, 15 Microsoft's registration of a host with several addresses. */
export const nbnsOperation = {
  query: 0,
  registration: 5,
  release: 6,
  waitForAcknowledgement: 7,
  refresh: 8,
  alternativeRefresh: 9,
  multihomedRegistration: 15,
} as const;

export interface NbnsName {
  /** Up to 15 characters, each a byte (Latin-1), without the blanks they are filled up with; `*` stands for every name. */
  readonly name: string;
  /** What the name is for: 0 workstation, 0x20 file server, 0x1b domain master browser … */
  readonly suffix: number;
  /** DNS text as in dns.ts; empty without one. */
  readonly scope: string;
}

/** How a name is held (RFC 1002 §4.2.1.3): by a group or one node; broadcast 0, point-to-point 1, mixed 2, hybrid 3. */
interface Ownership {
  readonly group: boolean;
  readonly nodeType: number;
}

export interface NbnsEntry extends Ownership {
  readonly address: Uint8Array;
}

/** RFC 1002 §4.2.18. */
export interface NbnsNodeName extends Ownership {
  readonly name: string;
  readonly suffix: number;
  readonly deregistering: boolean;
  readonly conflict: boolean;
  readonly active: boolean;
  readonly permanent: boolean;
}

export interface NbnsQuestion {
  readonly name: NbnsName;
  readonly type: number;
}

type RecordData =
  | { readonly kind: 'nb'; readonly entries: readonly NbnsEntry[] }
  | {
      readonly kind: 'nbstat';
      readonly names: readonly NbnsNodeName[];
      readonly unitMac: Uint8Array;
      /** After the MAC; 40 bytes by the standard, which nobody fills in. */
      readonly statistics: Uint8Array;
    }
  /** Another type, or an NB of other content: a wait-for-acknowledgement has the flags it is about. */
  | { readonly kind: 'raw'; readonly type: number; readonly data: Uint8Array };

/** `timeToLive` in seconds. */
export type NbnsRecord = { readonly name: NbnsName; readonly timeToLive: number } & RecordData;

export interface Nbns {
  readonly identification: number;
  readonly isResponse: boolean;
  /** `nbnsOperation`. */
  readonly operation: number;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  readonly recursionAvailable: boolean;
  readonly broadcast: boolean;
  readonly responseCode: number;
  readonly questions: readonly NbnsQuestion[];
  readonly answers: readonly NbnsRecord[];
  readonly authorities: readonly NbnsRecord[];
  readonly additionals: readonly NbnsRecord[];
}

const broadcastFlag = 0x0010;
const groupFlag = 0x8000;
const deregisteringFlag = 0x1000;
const conflictFlag = 0x0800;
const activeFlag = 0x0400;
const permanentFlag = 0x0200;

/** The type of the NS record by which a name server sends a node to another: RFC 1002 §4.2.15. */
const nameServerType = 2;
const nameLength = 15;
const encodedLength = 32;
const entryLength = 2 + ipv4Length;
const nodeNameLength = nameLength + 3;
const letterA = 65;
const blank = 32;
const wildcard = '*\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

/** Reads a message from `bytes[start, end)`, all of it. Redirections are refused. Arrays are views into `bytes`. */
export function parseNbns(bytes: Uint8Array, start: number, end: number): Result<Nbns, Reason> {
  const result = parseDnsMessage(bytes, start, end, true);
  if (!result.ok) return result;
  const { identification, flags } = result.value;
  const questions: NbnsQuestion[] = [];
  for (const question of result.value.questions) {
    const name = decodeName(question.name);
    if (name === undefined) return fail('bad-name');
    if (question.class !== dnsClass.internet || question.unicastResponse) return fail('bad-value');
    questions.push({ name, type: question.type });
  }
  const answers = decodeRecords(result.value.answers);
  if (!answers.ok) return answers;
  const authorities = decodeRecords(result.value.authorities);
  if (!authorities.ok) return authorities;
  const additionals = decodeRecords(result.value.additionals);
  if (!additionals.ok) return additionals;
  return ok({
    identification,
    isResponse: (flags & responseFlag) !== 0,
    operation: operationOf(flags),
    authoritative: (flags & authoritativeFlag) !== 0,
    truncated: (flags & truncatedFlag) !== 0,
    recursionDesired: (flags & recursionDesiredFlag) !== 0,
    recursionAvailable: (flags & recursionAvailableFlag) !== 0,
    broadcast: (flags & broadcastFlag) !== 0,
    responseCode: flags & 15,
    questions,
    answers: answers.value,
    authorities: authorities.value,
    additionals: additionals.value,
  });
}

/** Bytes `emitNbns` writes. */
export function nbnsLength(message: Nbns): number {
  return encodeDnsMessage(messageOf(message)).length;
}

/** Writes a message at `at`, compressed; returns the offset after it. Throws for a name that is none. */
export function emitNbns(message: Nbns, out: Uint8Array, at: number): number {
  return writeBytes(out, at, encodeDnsMessage(messageOf(message)));
}

function messageOf(message: Nbns): DnsMessage {
  const flags =
    (message.operation << 11) |
    (message.isResponse ? responseFlag : 0) |
    (message.authoritative ? authoritativeFlag : 0) |
    (message.truncated ? truncatedFlag : 0) |
    (message.recursionDesired ? recursionDesiredFlag : 0) |
    (message.recursionAvailable ? recursionAvailableFlag : 0) |
    (message.broadcast ? broadcastFlag : 0) |
    message.responseCode;
  return {
    identification: message.identification,
    flags,
    questions: message.questions.map(({ name, type }) => ({
      name: encodeName(name),
      type,
      class: dnsClass.internet,
      unicastResponse: false,
    })),
    answers: message.answers.map(encodeRecord),
    authorities: message.authorities.map(encodeRecord),
    additionals: message.additionals.map(encodeRecord),
  };
}

function decodeRecords(records: readonly DnsRecord[]): Result<NbnsRecord[], Reason> {
  const decoded: NbnsRecord[] = [];
  for (const record of records) {
    if (record.kind !== 'raw' || record.type === nameServerType) return fail('bad-type');
    const name = decodeName(record.name);
    if (name === undefined) return fail('bad-name');
    if (record.class !== dnsClass.internet || record.cacheFlush) return fail('bad-value');
    const data = decodeData(record.type, record.data);
    if (data === undefined) return fail('bad-length');
    decoded.push({ name, timeToLive: record.timeToLive, ...data });
  }
  return ok(decoded);
}

function encodeRecord(record: NbnsRecord): DnsRecord {
  return {
    kind: 'raw',
    name: encodeName(record.name),
    class: dnsClass.internet,
    cacheFlush: false,
    timeToLive: record.timeToLive,
    type: record.kind === 'raw' ? record.type : nbnsType[record.kind],
    data: encodeData(record),
  };
}

/** The data of a type; `undefined` if it has a wrong size. */
function decodeData(type: number, data: Uint8Array): RecordData | undefined {
  if (type === nbnsType.nbstat && data.length > 0) return decodeNodeStatus(data);
  if (type !== nbnsType.nb || data.length % entryLength !== 0 || data.length === 0)
    return { kind: 'raw', type, data };
  const entries: NbnsEntry[] = [];
  for (let at = 0; at < data.length; at += entryLength)
    entries.push({ ...ownershipOf(readUint16(data, at)), address: data.subarray(at + 2, at + entryLength) });
  return { kind: 'nb', entries };
}

function decodeNodeStatus(data: Uint8Array): RecordData | undefined {
  const namesEnd = 1 + data[0] * nodeNameLength;
  if (data.length < namesEnd + macLength) return undefined;
  const names: NbnsNodeName[] = [];
  for (let at = 1; at < namesEnd; at += nodeNameLength) {
    const flags = readUint16(data, at + nameLength + 1);
    names.push({
      name: nameText(data.subarray(at, at + nameLength)),
      suffix: data[at + nameLength],
      ...ownershipOf(flags),
      deregistering: (flags & deregisteringFlag) !== 0,
      conflict: (flags & conflictFlag) !== 0,
      active: (flags & activeFlag) !== 0,
      permanent: (flags & permanentFlag) !== 0,
    });
  }
  const macEnd = namesEnd + macLength;
  return {
    kind: 'nbstat',
    names,
    unitMac: data.subarray(namesEnd, macEnd),
    statistics: data.subarray(macEnd),
  };
}

function encodeData(data: RecordData): Uint8Array {
  if (data.kind === 'raw') return data.data;
  if (data.kind === 'nb') {
    const bytes = new Uint8Array(data.entries.length * entryLength);
    let at = 0;
    for (const entry of data.entries) {
      at = writeUint16(bytes, at, ownershipFlags(entry));
      at = writeBytes(bytes, at, entry.address);
    }
    return bytes;
  }
  const { names, unitMac, statistics } = data;
  const bytes = new Uint8Array(1 + names.length * nodeNameLength + macLength + statistics.length);
  let at = writeUint8(bytes, 0, names.length);
  for (const node of names) {
    at = writeBytes(bytes, at, nameBytes(node.name));
    at = writeUint8(bytes, at, node.suffix);
    at = writeUint16(
      bytes,
      at,
      ownershipFlags(node) |
        (node.deregistering ? deregisteringFlag : 0) |
        (node.conflict ? conflictFlag : 0) |
        (node.active ? activeFlag : 0) |
        (node.permanent ? permanentFlag : 0),
    );
  }
  at = writeBytes(bytes, at, unitMac);
  writeBytes(bytes, at, statistics);
  return bytes;
}

function ownershipOf(flags: number): Ownership {
  return { group: (flags & groupFlag) !== 0, nodeType: (flags >>> 13) & 3 };
}

function ownershipFlags({ group, nodeType }: Ownership): number {
  return (group ? groupFlag : 0) | (nodeType << 13);
}

/** The NetBIOS name in a domain name (RFC 1001 §14.1); `undefined` if the first label is not of 32 letters A … P. */
function decodeName(domainName: string): NbnsName | undefined {
  const bytes = new Uint8Array(nameLength + 1);
  for (let i = 0; i < encodedLength; i++) {
    const half = domainName.charCodeAt(i) - letterA;
    if (!(half >= 0 && half < 16)) return undefined;
    bytes[i >>> 1] = (bytes[i >>> 1] << 4) | half;
  }
  if (domainName.length > encodedLength && domainName.charAt(encodedLength) !== '.') return undefined;
  return {
    name: nameText(bytes.subarray(0, nameLength)),
    suffix: bytes[nameLength],
    scope: domainName.slice(encodedLength + 1),
  };
}

function encodeName({ name, suffix, scope }: NbnsName): string {
  const bytes = nameBytes(name);
  let text = '';
  for (let i = 0; i <= nameLength; i++) {
    const byte = i < nameLength ? bytes[i] : suffix;
    text += String.fromCharCode(letterA + (byte >>> 4), letterA + (byte & 15));
  }
  return scope === '' ? text : `${text}.${scope}`;
}

/** The wildcard is filled up with zeros (RFC 1002 §4.2.18), every other name with blanks. */
function nameText(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < nameLength; i++) text += String.fromCharCode(bytes[i]);
  return text === wildcard ? '*' : text.replace(/ +$/, '');
}

function nameBytes(name: string): Uint8Array {
  if (name.length > nameLength)
    throw new Error(`name: expected at most ${nameLength} characters, got ${name}`);
  const bytes = new Uint8Array(nameLength);
  for (let i = 0; i < nameLength; i++) {
    const code = i < name.length ? name.charCodeAt(i) : name === '*' ? 0 : blank;
    if (code > 255) throw new Error(`name: expected characters of one byte, got ${name}`);
    bytes[i] = code;
  }
  return bytes;
}
