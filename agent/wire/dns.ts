/**
 * DNS messages (RFC 1035 §4), and what is built on them: dynamic update (RFC 2136), multicast DNS (RFC 6762), EDNS(0)
 * (RFC 6891) with the two options of a sleep proxy, Update Lease (RFC 9664) and Owner (draft-cheshire-edns0-owner-option).
 * LLMNR and the NetBIOS name service use the same layout with other flags: llmnr.ts, nbns.ts.
 *
 *     0  identification      2  flags: QR 1 · opcode 4 · AA TC RD RA Z AD CD 1 each · response code 4
 *     4  number of questions, answers, authorities, additionals, 2 bytes each
 *    12  question: name, type 2, class 2        record: name, type 2, class 2, time to live 4, data length 2, data
 *
 * The top bit of the class is multicast DNS's: unicast response wanted in a question (RFC 6762 §5.4), cache flush in a
 * record (§10.2). Bounded by the limits below; a compression pointer must lead back past the beginning of the labels it
 * ends, so a name is read in at most 127 steps whatever the pointers say.
 */

import {
  copyBytes,
  decodeUtf8,
  encodeUtf8,
  formatHex,
  readUint16,
  readUint32,
  sameBytes,
  writeBytes,
  writeUint8,
  writeUint16,
  writeUint32,
} from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv4Length, ipv6Length } from './address.js';
import type { Reason } from './reason.js';

export const dnsPort = 53;
export const mdnsPort = 5353;
/** Where multicast DNS goes (RFC 6762 §3). */
export const mdnsGroups: readonly string[] = ['224.0.0.251', 'ff02::fb'];

/** Questions in a message. A host asks for its dozen service types at once when it wakes. */
export const dnsQuestionLimit = 32;
/** Records in the other three sections together. A frame of 1500 bytes has room for some 60 of multicast DNS's. */
export const dnsRecordLimit = 128;
/** Strings of a TXT or types of an NSEC record, options of an OPT record. Service announcements use up to about 30. */
export const dnsListLimit = 64;

/** Characters of all names together. Pointers make 2 bytes a name of 255; ordinary messages stay below 5,000. */
export const dnsNamesLimit = 16_384;

export const dnsOperation = { query: 0, notify: 4, update: 5 } as const;

/** The types with a meaning here (IANA, DNS parameters). The data of others stays raw. */
export const dnsType = {
  a: 1,
  ns: 2,
  md: 3,
  mf: 4,
  cname: 5,
  soa: 6,
  mb: 7,
  mg: 8,
  mr: 9,
  ptr: 12,
  hinfo: 13,
  minfo: 14,
  mx: 15,
  txt: 16,
  aaaa: 28,
  srv: 33,
  opt: 41,
  nsec: 47,
  tsig: 250,
  any: 255,
} as const;

export const dnsClass = { internet: 1, none: 254, any: 255 } as const;

/**
 * A name is text: labels in order with dots between them and none at the end, the root is `.`. A dot or a backslash in a
 * label has a backslash before it; a space, a control character or a byte that is not UTF-8 is `\` and three decimal
 * digits (RFC 1035 §5.1). Case is kept.
 */
export interface DnsQuestion {
  readonly name: string;
  readonly type: number;
  /** 15 bits (`dnsClass`). */
  readonly class: number;
  /** Multicast DNS's QU bit. */
  readonly unicastResponse: boolean;
}

interface RecordHead {
  readonly name: string;
  /** 15 bits (`dnsClass`). */
  readonly class: number;
  /** Multicast DNS: these are all the records of this name, type and class there are. */
  readonly cacheFlush: boolean;
  /** Seconds. */
  readonly timeToLive: number;
}

type TargetKind = 'ns' | 'md' | 'mf' | 'cname' | 'mb' | 'mg' | 'mr' | 'ptr';

type RecordData =
  | { readonly kind: 'a' | 'aaaa'; readonly address: Uint8Array }
  | { readonly kind: TargetKind; readonly target: string }
  | {
      readonly kind: 'soa';
      readonly primaryServer: string;
      readonly responsibleMailbox: string;
      readonly serial: number;
      readonly refreshSeconds: number;
      readonly retrySeconds: number;
      readonly expireSeconds: number;
      readonly minimumSeconds: number;
    }
  | { readonly kind: 'minfo'; readonly responsibleMailbox: string; readonly errorMailbox: string }
  | { readonly kind: 'mx'; readonly preference: number; readonly exchange: string }
  | { readonly kind: 'hinfo'; readonly cpu: Uint8Array; readonly operatingSystem: Uint8Array }
  /** One string or more, each up to 255 bytes. */
  | { readonly kind: 'txt'; readonly strings: readonly Uint8Array[] }
  | {
      readonly kind: 'srv';
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  /** The types the name has, ascending. */
  | { readonly kind: 'nsec'; readonly nextName: string; readonly types: readonly number[] }
  /** Another type, or a known one without data, as dynamic update has them (RFC 2136 §2.4, §2.5). */
  | { readonly kind: 'raw'; readonly type: number; readonly data: Uint8Array };

export type DnsDataRecord = RecordHead & RecordData;

/** RFC 6891 §6.1; at most one, among the additionals. Its name is the root. */
export interface DnsOptRecord {
  readonly kind: 'opt';
  readonly udpPayloadSizeBytes: number;
  /** The upper 8 of the 12 bits of the response code. */
  readonly extendedResponseCode: number;
  readonly version: number;
  readonly dnssecOk: boolean;
  readonly options: readonly EdnsOption[];
}

export type DnsRecord = DnsDataRecord | DnsOptRecord;

export type EdnsOption =
  | {
      /** RFC 9664 §4: for how long the records of an update shall live. */
      readonly kind: 'update-lease';
      readonly leaseSeconds: number;
      /** For how long the KEY record shall; absent: as the others. */
      readonly keyLeaseSeconds?: number;
    }
  | {
      /** Whose records they are, and how to wake that host. Only version 0; another is raw. */
      readonly kind: 'owner';
      /** Counts the sleeps, modulo 256: with another number an older registration is void. */
      readonly sequence: number;
      readonly primaryMac: Uint8Array;
      /** What the magic packet carries; the primary MAC unless the host sleeps on another interface. */
      readonly wakeupMac: Uint8Array;
      /** 0, 4 or 6 bytes. */
      readonly password: Uint8Array;
    }
  | { readonly kind: 'raw'; readonly code: number; readonly data: Uint8Array };

interface Header {
  readonly identification: number;
  readonly isResponse: boolean;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  readonly recursionAvailable: boolean;
  readonly authenticData: boolean;
  readonly checkingDisabled: boolean;
  /** The lower 4 bits. */
  readonly responseCode: number;
}

export interface DnsQuery extends Header, DnsSections {
  readonly kind: 'query';
  /** `dnsOperation`, but not update. */
  readonly operation: number;
}

/** RFC 2136 §2: the sections of a message with operation 5 have other names. */
export interface DnsUpdate extends Header {
  readonly kind: 'update';
  readonly zones: readonly DnsQuestion[];
  readonly prerequisites: readonly DnsRecord[];
  readonly updates: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

export type Dns = DnsQuery | DnsUpdate;

interface DnsSections {
  readonly questions: readonly DnsQuestion[];
  readonly answers: readonly DnsRecord[];
  readonly authorities: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

/** A message before anything is made of its flags: what DNS, LLMNR and the NetBIOS name service share. */
export interface DnsMessage extends DnsSections {
  readonly identification: number;
  readonly flags: number;
}

/** The flags that DNS, LLMNR and the NetBIOS name service have in common. */
export const responseFlag = 0x8000;
export const truncatedFlag = 0x0200;
export const authoritativeFlag = 0x0400;
export const recursionDesiredFlag = 0x0100;
export const recursionAvailableFlag = 0x0080;
const authenticDataFlag = 0x0020;
const checkingDisabledFlag = 0x0010;

const headerLength = 12;
const maxNameLength = 255;
const maxLabelLength = 63;
const maxStringLength = 255;
const multicastBit = 0x8000;
const dnssecOkBit = 0x8000;
const updateLeaseCode = 2;
const ownerCode = 4;
const targetKinds: readonly TargetKind[] = ['ns', 'md', 'mf', 'cname', 'mb', 'mg', 'mr', 'ptr'];
const dot = 46;
const backslash = 92;
const zero = 48;
/** What 14 bits of a pointer reach. */
const pointerReach = 0x4000;

/** Reads a message from `bytes[start, end)`, all of it. Arrays are views into `bytes`. */
export function parseDns(bytes: Uint8Array, start: number, end: number): Result<Dns, Reason> {
  const result = parseDnsMessage(bytes, start, end);
  if (!result.ok) return result;
  const { identification, flags, questions, answers, authorities, additionals } = result.value;
  const operation = operationOf(flags);
  const header = {
    identification,
    isResponse: (flags & responseFlag) !== 0,
    authoritative: (flags & authoritativeFlag) !== 0,
    truncated: (flags & truncatedFlag) !== 0,
    recursionDesired: (flags & recursionDesiredFlag) !== 0,
    recursionAvailable: (flags & recursionAvailableFlag) !== 0,
    authenticData: (flags & authenticDataFlag) !== 0,
    checkingDisabled: (flags & checkingDisabledFlag) !== 0,
    responseCode: flags & 15,
  };
  return ok(
    operation === dnsOperation.update
      ? {
          kind: 'update',
          ...header,
          zones: questions,
          prerequisites: answers,
          updates: authorities,
          additionals,
        }
      : { kind: 'query', ...header, operation, questions, answers, authorities, additionals },
  );
}

/** Bytes `emitDns` writes: the message is put together to know, for compression decides. */
export function dnsLength(dns: Dns): number {
  return encodeDnsMessage(messageOf(dns)).length;
}

/** Writes a message at `at`, compressed (RFC 1035 §4.1.4); returns the offset after it. */
export function emitDns(dns: Dns, out: Uint8Array, at: number): number {
  return writeBytes(out, at, encodeDnsMessage(messageOf(dns)));
}

export function operationOf(flags: number): number {
  return (flags >>> 11) & 15;
}

function messageOf(dns: Dns): DnsMessage {
  const operation = dns.kind === 'update' ? dnsOperation.update : dns.operation;
  const flags =
    (operation << 11) |
    (dns.isResponse ? responseFlag : 0) |
    (dns.authoritative ? authoritativeFlag : 0) |
    (dns.truncated ? truncatedFlag : 0) |
    (dns.recursionDesired ? recursionDesiredFlag : 0) |
    (dns.recursionAvailable ? recursionAvailableFlag : 0) |
    (dns.authenticData ? authenticDataFlag : 0) |
    (dns.checkingDisabled ? checkingDisabledFlag : 0) |
    dns.responseCode;
  const { identification, additionals } = dns;
  if (dns.kind === 'query') return { ...dns, flags };
  const { zones, prerequisites, updates } = dns;
  return {
    identification,
    flags,
    questions: zones,
    answers: prerequisites,
    authorities: updates,
    additionals,
  };
}

/**
 * Reads a message of the common layout. If `opaque`, all data stays raw: the NetBIOS name service has types of its own,
 * one with SRV's number.
 */
export function parseDnsMessage(
  bytes: Uint8Array,
  start: number,
  end: number,
  opaque = false,
): Result<DnsMessage, Reason> {
  if (end - start < headerLength) return fail('truncated');
  const questionCount = readUint16(bytes, start + 4);
  const answerCount = readUint16(bytes, start + 6);
  const authorityCount = readUint16(bytes, start + 8);
  const additionalCount = readUint16(bytes, start + 10);
  if (questionCount > dnsQuestionLimit || answerCount + authorityCount + additionalCount > dnsRecordLimit)
    return fail('too-many');
  const reader: Reader = { bytes, start, end, at: start + headerLength, namesLength: 0, reason: undefined };
  const questions: DnsQuestion[] = [];
  for (let i = 0; i < questionCount && !reader.reason; i++) {
    const name = readName(reader);
    const type = readNumber(reader, 2);
    const topAndClass = readNumber(reader, 2);
    const unicastResponse = (topAndClass & multicastBit) !== 0;
    questions.push({ name, type, class: topAndClass & ~multicastBit, unicastResponse });
  }
  const answers = readRecords(reader, answerCount, opaque);
  const authorities = readRecords(reader, authorityCount, opaque);
  const additionals = readRecords(reader, additionalCount, opaque);
  if (reader.reason) return fail(reader.reason);
  if (reader.at !== end) return fail('bad-length');
  if (optCount(answers) + optCount(authorities) > 0 || optCount(additionals) > 1) return fail('bad-value');
  return ok({
    identification: readUint16(bytes, start),
    flags: readUint16(bytes, start + 2),
    questions,
    answers,
    authorities,
    additionals,
  });
}

/** A message as bytes, compressed where every receiver understands it: names of RFC 1035's own types (RFC 3597 §4). */
export function encodeDnsMessage(message: DnsMessage): Uint8Array {
  const { questions, answers, authorities, additionals } = message;
  const writer: Writer = { bytes: new Uint8Array(512), at: 0, known: [] };
  writeNumber(writer, message.identification, 2);
  writeNumber(writer, message.flags, 2);
  for (const section of [questions, answers, authorities, additionals])
    writeNumber(writer, section.length, 2);
  for (const question of questions) {
    writeName(writer, question.name, true);
    writeNumber(writer, question.type, 2);
    writeNumber(writer, question.class | (question.unicastResponse ? multicastBit : 0), 2);
  }
  for (const section of [answers, authorities, additionals])
    for (const record of section) writeRecord(writer, record);
  return writer.bytes.subarray(0, writer.at);
}

/**
 * Where reading has got to. After a fault `reason` is set and further reads give nothing of use, so that a record is read
 * field by field and looked at once.
 */
interface Reader {
  readonly bytes: Uint8Array;
  /** Of the message: pointers count from here. */
  readonly start: number;
  /** Of the message, or of the data being read. */
  end: number;
  at: number;
  /** Characters of the names read so far. */
  namesLength: number;
  reason: Reason | undefined;
}

function readNumber(reader: Reader, length: 1 | 2 | 4): number {
  const { bytes } = reader;
  const from = advance(reader, length);
  if (from < 0) return 0;
  return length === 1 ? bytes[from] : length === 2 ? readUint16(bytes, from) : readUint32(bytes, from);
}

function readView(reader: Reader, length: number): Uint8Array {
  const from = advance(reader, length);
  return from < 0 ? reader.bytes.subarray(0, 0) : reader.bytes.subarray(from, from + length);
}

/** A character string (RFC 1035 §3.3): a length and as many bytes. */
function readString(reader: Reader): Uint8Array {
  return readView(reader, readNumber(reader, 1));
}

/** Takes `length` bytes and returns where they begin, −1 if there are fewer. */
function advance(reader: Reader, length: number): number {
  const from = reader.at;
  if (reader.reason || from + length > reader.end) {
    refuse(reader, 'truncated');
    return -1;
  }
  reader.at = from + length;
  return from;
}

/** The first reason is the one that counts. */
function refuse(reader: Reader, reason: Reason): void {
  if (!reader.reason) reader.reason = reason;
}

/** The name at the reader, and past it; `.` and a reason if it is malformed. */
function readName(reader: Reader): string {
  if (reader.reason) return '.';
  const result = parseDnsName(reader.bytes, reader.start, reader.at, reader.end);
  if (!result.ok) {
    refuse(reader, result.reason);
    return '.';
  }
  reader.at = result.value.next;
  reader.namesLength += result.value.name.length;
  if (reader.namesLength > dnsNamesLimit) refuse(reader, 'too-many');
  return result.value.name;
}

/**
 * The name at `at` in the message that begins at `start`, and the offset after it. Its own bytes end before `end`. With
 * `start` = `at` it has no room for a pointer: the uncompressed form.
 */
export function parseDnsName(
  bytes: Uint8Array,
  start: number,
  at: number,
  end: number,
): Result<{ readonly name: string; readonly next: number }, Reason> {
  let name = '';
  let length = 1;
  let next = -1;
  // Of the labels being read. A pointer must lead back beyond it, so it falls with every pointer.
  let runAt = at;
  while (at < end) {
    const first = bytes[at];
    if (first === 0) return ok({ name: name === '' ? '.' : name, next: next < 0 ? at + 1 : next });
    if (first >= 0xc0) {
      if (at + 2 > end) return fail('truncated');
      const target = start + (readUint16(bytes, at) & (pointerReach - 1));
      if (target >= runAt || target < start + headerLength) return fail('bad-pointer');
      if (next < 0) next = at + 2;
      // What is pointed at was there before, so it ends before the pointer.
      end = at;
      at = target;
      runAt = target;
      continue;
    }
    length += 1 + first;
    if (first > maxLabelLength || length > maxNameLength) return fail('bad-name');
    if (at + 1 + first > end) return fail(next < 0 ? 'truncated' : 'bad-pointer');
    name += (name === '' ? '' : '.') + dnsLabelText(bytes.subarray(at + 1, at + 1 + first));
    at += 1 + first;
  }
  return fail(next < 0 ? 'truncated' : 'bad-pointer');
}

/** The uncompressed form of a name; `undefined` if the text is none (RFC 1035 §2.3.4, §5.1). */
export function encodeDnsName(name: string): Uint8Array | undefined {
  if (name === '.') return new Uint8Array(1);
  const text = encodeUtf8(name);
  const bytes = new Uint8Array(text.length + 2);
  let lengthAt = 0;
  let at = 1;
  for (let i = 0; i <= text.length; i++) {
    if (i === text.length || text[i] === dot) {
      const length = at - lengthAt - 1;
      if (length === 0 || length > maxLabelLength) return undefined;
      bytes[lengthAt] = length;
      lengthAt = at++;
      continue;
    }
    let byte = text[i];
    if (byte === backslash) {
      i++;
      if (i === text.length) return undefined;
      byte = text[i];
      if (isDigit(byte)) {
        if (i + 2 >= text.length || !isDigit(text[i + 1]) || !isDigit(text[i + 2])) return undefined;
        byte = (byte - zero) * 100 + (text[i + 1] - zero) * 10 + (text[i + 2] - zero);
        if (byte > 255) return undefined;
        i += 2;
      }
    }
    bytes[at++] = byte;
  }
  // The last label's successor is the root's empty one.
  bytes[lengthAt] = 0;
  return at <= maxNameLength ? copyBytes(bytes, 0, at) : undefined;
}

function isDigit(code: number): boolean {
  return code >= zero && code <= zero + 9;
}

/** One label of a name as text, from its bytes: with the backslashes a name has. */
export function dnsLabelText(label: Uint8Array): string {
  const decoded = decodeUtf8(label);
  let text = '';
  for (let i = 0; i < (decoded ?? label).length; i++) {
    const code = decoded === undefined ? label[i] : decoded.charCodeAt(i);
    if (code === dot || code === backslash) text += `\\${String.fromCharCode(code)}`;
    else if (code <= 32 || code === 127 || (decoded === undefined && code > 127))
      text += `\\${`00${code}`.slice(-3)}`;
    else text += String.fromCharCode(code);
  }
  return text;
}

function readRecords(reader: Reader, count: number, opaque: boolean): DnsRecord[] {
  const records: DnsRecord[] = [];
  for (let i = 0; i < count && !reader.reason; i++) records.push(readRecord(reader, opaque));
  return records;
}

function readRecord(reader: Reader, opaque: boolean): DnsRecord {
  const name = readName(reader);
  const type = readNumber(reader, 2);
  const topAndClass = readNumber(reader, 2);
  const timeToLive = readNumber(reader, 4);
  const length = readNumber(reader, 2);
  const messageEnd = reader.end;
  if (reader.at + length > messageEnd) refuse(reader, 'truncated');
  else reader.end = reader.at + length;
  const complete = !reader.reason;
  let record: DnsRecord;
  if (type === dnsType.opt && !opaque) {
    if (name !== '.') refuse(reader, 'bad-name');
    record = {
      kind: 'opt',
      udpPayloadSizeBytes: topAndClass,
      extendedResponseCode: timeToLive >>> 24,
      version: (timeToLive >>> 16) & 255,
      dnssecOk: (timeToLive & dnssecOkBit) !== 0,
      options: readEdnsOptions(reader),
    };
  } else {
    const data = readData(reader, opaque || length === 0 ? 0 : type, type);
    const cacheFlush = (topAndClass & multicastBit) !== 0;
    record = { name, class: topAndClass & ~multicastBit, cacheFlush, timeToLive, ...data };
  }
  // All of the data was there, so what it lacks is the fault of its length.
  if (complete && reader.reason === 'truncated') reader.reason = 'bad-length';
  if (reader.at !== reader.end) refuse(reader, 'bad-length');
  reader.end = messageEnd;
  return record;
}

/** The data up to the reader's end, read as that of `type`; what is no type becomes raw data of `rawType`. */
function readData(reader: Reader, type: number, rawType: number): RecordData {
  const targetKind = targetKindOf(type);
  if (targetKind) return { kind: targetKind, target: readName(reader) };
  switch (type) {
    case dnsType.a:
      return { kind: 'a', address: readView(reader, ipv4Length) };
    case dnsType.aaaa:
      return { kind: 'aaaa', address: readView(reader, ipv6Length) };
    case dnsType.soa:
      return {
        kind: 'soa',
        primaryServer: readName(reader),
        responsibleMailbox: readName(reader),
        serial: readNumber(reader, 4),
        refreshSeconds: readNumber(reader, 4),
        retrySeconds: readNumber(reader, 4),
        expireSeconds: readNumber(reader, 4),
        minimumSeconds: readNumber(reader, 4),
      };
    case dnsType.minfo:
      return { kind: 'minfo', responsibleMailbox: readName(reader), errorMailbox: readName(reader) };
    case dnsType.mx:
      return { kind: 'mx', preference: readNumber(reader, 2), exchange: readName(reader) };
    case dnsType.hinfo:
      return { kind: 'hinfo', cpu: readString(reader), operatingSystem: readString(reader) };
    case dnsType.txt: {
      const strings: Uint8Array[] = [];
      while (reader.at < reader.end && !reader.reason) {
        if (strings.length === dnsListLimit) refuse(reader, 'too-many');
        strings.push(readString(reader));
      }
      return { kind: 'txt', strings };
    }
    case dnsType.srv:
      return {
        kind: 'srv',
        priority: readNumber(reader, 2),
        weight: readNumber(reader, 2),
        port: readNumber(reader, 2),
        target: readName(reader),
      };
    case dnsType.nsec:
      return { kind: 'nsec', nextName: readName(reader), types: readTypes(reader) };
    default:
      return { kind: 'raw', type: rawType, data: readView(reader, reader.end - reader.at) };
  }
}

function targetKindOf(type: number): TargetKind | undefined {
  for (const kind of targetKinds) if (dnsType[kind] === type) return kind;
  return undefined;
}

/** The type bit maps of NSEC (RFC 4034 §4.1.2): windows of 256 types, each up to 32 bytes, in ascending order. */
function readTypes(reader: Reader): number[] {
  const types: number[] = [];
  let previous = -1;
  while (reader.at < reader.end && !reader.reason) {
    const window = readNumber(reader, 1);
    const map = readString(reader);
    if (window <= previous || map.length === 0 || map.length > 32) refuse(reader, 'bad-value');
    previous = window;
    for (let bit = 0; bit < 8 * map.length; bit++)
      if ((map[bit >>> 3] & (0x80 >>> (bit & 7))) !== 0) types.push(256 * window + bit);
    if (types.length > dnsListLimit) refuse(reader, 'too-many');
  }
  return types;
}

function readEdnsOptions(reader: Reader): EdnsOption[] {
  const options: EdnsOption[] = [];
  while (reader.at < reader.end && !reader.reason) {
    if (options.length === dnsListLimit) refuse(reader, 'too-many');
    const code = readNumber(reader, 2);
    const option = decodeEdnsOption(code, readView(reader, readNumber(reader, 2)));
    if (option) options.push(option);
    else refuse(reader, 'bad-option');
  }
  return options;
}

/** An option of these two, or a raw one; `undefined` if the data has a wrong size. */
function decodeEdnsOption(code: number, data: Uint8Array): EdnsOption | undefined {
  const { length } = data;
  if (code === updateLeaseCode) {
    if (length !== 4 && length !== 8) return undefined;
    const leaseSeconds = readUint32(data, 0);
    if (length === 4) return { kind: 'update-lease', leaseSeconds };
    return { kind: 'update-lease', leaseSeconds, keyLeaseSeconds: readUint32(data, 4) };
  }
  if (code !== ownerCode || (length > 0 && data[0] !== 0)) return { kind: 'raw', code, data };
  // Version and sequence number, the primary MAC, and where they differ from none the wakeup MAC and a password.
  if (length !== 8 && length !== 14 && length !== 18 && length !== 20) return undefined;
  const primaryMac = data.subarray(2, 8);
  const wakeupMac = length === 8 ? primaryMac : data.subarray(8, 14);
  return {
    kind: 'owner',
    sequence: data[1],
    primaryMac,
    wakeupMac,
    password: data.subarray(Math.min(length, 14)),
  };
}

/** The message as far as it is written; `bytes` grows. */
interface Writer {
  bytes: Uint8Array;
  at: number;
  /** Names a pointer may lead to. */
  readonly known: { readonly name: string; readonly at: number }[];
}

/** Makes room for `length` more bytes and returns where they begin. */
function grow(writer: Writer, length: number): number {
  const from = writer.at;
  writer.at = from + length;
  if (writer.at > writer.bytes.length) {
    const larger = new Uint8Array(2 * writer.at);
    writeBytes(larger, 0, writer.bytes.subarray(0, from));
    writer.bytes = larger;
  }
  return from;
}

function writeNumber(writer: Writer, value: number, length: 1 | 2 | 4): void {
  const from = grow(writer, length);
  if (length === 1) writeUint8(writer.bytes, from, value);
  else if (length === 2) writeUint16(writer.bytes, from, value);
  else writeUint32(writer.bytes, from, value);
}

function writeData(writer: Writer, data: Uint8Array): void {
  // First the room: growing replaces the bytes.
  const from = grow(writer, data.length);
  writeBytes(writer.bytes, from, data);
}

function writeString(writer: Writer, data: Uint8Array): void {
  if (data.length > maxStringLength)
    throw new Error(`string: expected at most ${maxStringLength} bytes, got ${data.length}`);
  writeNumber(writer, data.length, 1);
  writeData(writer, data);
}

/** Writes a name; throws if it is none. What is compressed can also be pointed at. */
function writeName(writer: Writer, name: string, compress: boolean): void {
  const encoded = encodeDnsName(name);
  if (!encoded) throw new Error(`name: expected labels of 1..63 bytes, 255 in all, got ${name}`);
  if (!compress) {
    writeData(writer, encoded);
    return;
  }
  for (let at = 0; encoded[at] !== 0; at += 1 + encoded[at]) {
    const rest = formatHex(encoded.subarray(at));
    const known = writer.known.find(earlier => earlier.name === rest);
    if (known) {
      writeNumber(writer, 0xc000 | known.at, 2);
      return;
    }
    if (writer.at < pointerReach) writer.known.push({ name: rest, at: writer.at });
    writeData(writer, encoded.subarray(at, at + 1 + encoded[at]));
  }
  writeNumber(writer, 0, 1);
}

function writeRecord(writer: Writer, record: DnsRecord): void {
  if (record.kind === 'opt') {
    writeName(writer, '.', false);
    writeNumber(writer, dnsType.opt, 2);
    writeNumber(writer, record.udpPayloadSizeBytes, 2);
    writeNumber(writer, record.extendedResponseCode, 1);
    writeNumber(writer, record.version, 1);
    writeNumber(writer, record.dnssecOk ? dnssecOkBit : 0, 2);
  } else {
    writeName(writer, record.name, true);
    writeNumber(writer, record.kind === 'raw' ? record.type : dnsType[record.kind], 2);
    writeNumber(writer, record.class | (record.cacheFlush ? multicastBit : 0), 2);
    writeNumber(writer, record.timeToLive, 4);
  }
  const lengthAt = grow(writer, 2);
  if (record.kind === 'opt') for (const option of record.options) writeEdnsOption(writer, option);
  else writeRecordData(writer, record);
  writeUint16(writer.bytes, lengthAt, writer.at - lengthAt - 2);
}

function writeRecordData(writer: Writer, record: RecordData): void {
  switch (record.kind) {
    case 'a':
    case 'aaaa':
      writeData(writer, record.address);
      break;
    case 'soa':
      writeName(writer, record.primaryServer, true);
      writeName(writer, record.responsibleMailbox, true);
      writeNumber(writer, record.serial, 4);
      writeNumber(writer, record.refreshSeconds, 4);
      writeNumber(writer, record.retrySeconds, 4);
      writeNumber(writer, record.expireSeconds, 4);
      writeNumber(writer, record.minimumSeconds, 4);
      break;
    case 'minfo':
      writeName(writer, record.responsibleMailbox, true);
      writeName(writer, record.errorMailbox, true);
      break;
    case 'mx':
      writeNumber(writer, record.preference, 2);
      writeName(writer, record.exchange, true);
      break;
    case 'hinfo':
      writeString(writer, record.cpu);
      writeString(writer, record.operatingSystem);
      break;
    case 'txt':
      for (const text of record.strings) writeString(writer, text);
      break;
    case 'srv':
      writeNumber(writer, record.priority, 2);
      writeNumber(writer, record.weight, 2);
      writeNumber(writer, record.port, 2);
      // RFC 2782 forbids compression; multicast DNS would allow it (RFC 6762 §18.14).
      writeName(writer, record.target, false);
      break;
    case 'nsec':
      writeName(writer, record.nextName, false);
      writeTypes(writer, record.types);
      break;
    case 'raw':
      writeData(writer, record.data);
      break;
    default:
      writeName(writer, record.target, true);
  }
}

function writeTypes(writer: Writer, types: readonly number[]): void {
  const ascending = types.slice().sort((a, b) => a - b);
  for (let i = 0; i < ascending.length; ) {
    const window = ascending[i] >>> 8;
    const map = new Uint8Array(32);
    let last = 0;
    for (; i < ascending.length && ascending[i] >>> 8 === window; i++) {
      last = (ascending[i] & 255) >>> 3;
      map[last] |= 0x80 >>> (ascending[i] & 7);
    }
    writeNumber(writer, window, 1);
    writeString(writer, map.subarray(0, last + 1));
  }
}

function writeEdnsOption(writer: Writer, option: EdnsOption): void {
  writeNumber(
    writer,
    option.kind === 'raw' ? option.code : option.kind === 'owner' ? ownerCode : updateLeaseCode,
    2,
  );
  const lengthAt = grow(writer, 2);
  switch (option.kind) {
    case 'update-lease':
      writeNumber(writer, option.leaseSeconds, 4);
      if (option.keyLeaseSeconds !== undefined) writeNumber(writer, option.keyLeaseSeconds, 4);
      break;
    case 'owner': {
      const { sequence, primaryMac, wakeupMac, password } = option;
      writeNumber(writer, 0, 1);
      writeNumber(writer, sequence, 1);
      writeData(writer, primaryMac);
      // The short form says that the wakeup MAC is the primary one.
      if (password.length > 0 || !sameBytes(primaryMac, wakeupMac)) writeData(writer, wakeupMac);
      writeData(writer, password);
      break;
    }
    case 'raw':
      writeData(writer, option.data);
      break;
  }
  writeUint16(writer.bytes, lengthAt, writer.at - lengthAt - 2);
}

function optCount(records: readonly DnsRecord[]): number {
  let count = 0;
  for (const record of records) if (record.kind === 'opt') count++;
  return count;
}
