/**
 * SNMP in a sleeping host's place: how long it has been up, sysUpTime.0 (RFC 3418 §2), which management stations ask for to
 * see whether a host is there. Versions 1 and 2c (RFC 1157 §4, RFC 1901 §3, PDUs RFC 3416 §3), in BER as RFC 3417 §8
 * restricts it.
 *
 *     SEQUENCE { version INTEGER, community OCTET STRING, PDU }
 *     PDU, tagged with its type { request-id, error-status, error-index, SEQUENCE OF SEQUENCE { name, value } }
 *
 * Only a GetRequest to the host's own address, for that one variable, with the community the host itself has answered, gets
 * an answer: the time it told, and what has passed since. All else is 'not-a-question' or 'not-ours', and the rules decide.
 * An answer is at most 5 bytes longer than its question, those of the time.
 */

import { concatBytes, copyBytes, numberBytes, sameBytes } from '../../core/bytes.js';
import type { Question, Served } from '../responder.js';
import {
  defaultTimeToLive,
  includes,
  ownAddresses,
  type Refusal,
  readDatagram,
  type Send,
  udpFrame,
  wayBack,
} from './frame.js';

/** RFC 3417 §3. */
export const snmpPort = 161;

/** RFC 3416 §3; version 1 has the same. */
const tagGetRequest = 0xa0;
const tagResponse = 0xa2;
const tagInteger = 0x02;
const tagOctetString = 0x04;
const tagNull = 0x05;
const tagObjectIdentifier = 0x06;
const tagSequence = 0x30;
/** RFC 2578 §7.1.8: hundredths of a second, modulo 2^32. */
const tagTimeTicks = 0x43;
/** 1.3.6.1.2.1.1.3.0 (RFC 3418 §2): the first two numbers share a byte. */
const sysUpTime: readonly number[] = [0x2b, 6, 1, 2, 1, 1, 3, 0];
/** SNMP's numbers for versions 1 and 2c. */
const versions: readonly number[] = [0, 1];
/** Ours: longer ones are in nobody's use, and this bounds what is kept. */
const communityLimit = 64;

/** A message about sysUpTime.0 alone. */
interface Uptime {
  readonly version: number;
  /** A view. */
  readonly community: Uint8Array;
  /** The type of the PDU. */
  readonly tag: number;
  readonly requestId: number;
  readonly errorStatus: number;
  /** Absent: NULL stands there, as in a request. */
  readonly ticks?: number;
}

/** Where reading has got to. After a fault `failed` stays set, and further reads give nothing of use. */
interface Reader {
  readonly bytes: Uint8Array;
  at: number;
  end: number;
  failed: boolean;
}

export function respondSnmp(question: Question, send: Send): 'answered' | Refusal {
  const datagram = readDatagram(question, snmpPort);
  if (!datagram.ok) return datagram.reason;
  const { srcAddress, srcPort, dstAddress, payload } = datagram.value;
  const host: Served = question.host;
  const request = parseUptime(payload, 0, payload.length);
  if (request === 'malformed') return 'malformed';
  if (request === 'other' || request.tag !== tagGetRequest || request.ticks !== undefined)
    return 'not-a-question';
  if (!includes(ownAddresses(host, dstAddress), dstAddress)) return 'not-ours';
  const { snmp } = host;
  if (!snmp || !sameBytes(request.community, snmp.community)) return 'not-ours';
  const ticks = (snmp.ticks + Math.floor((question.now - snmp.at) / 10)) % 4294967296;
  const parts = { srcAddress: dstAddress, dstAddress: srcAddress, srcPort: snmpPort, dstPort: srcPort };
  const message = encodeUptime({ ...request, tag: tagResponse, errorStatus: 0, ticks });
  send(udpFrame(wayBack(question), { ...parts, timeToLive: defaultTimeToLive }, message));
  return 'answered';
}

/** The message at `bytes[start, end)`; 'other' if it is well formed as far as it was read, but about something else. */
function parseUptime(bytes: Uint8Array, start: number, end: number): Uptime | 'other' | 'malformed' {
  const reader: Reader = { bytes, at: start, end, failed: false };
  enter(reader, tagSequence);
  if (reader.end !== end) return 'malformed';
  const version = readInteger(reader);
  if (reader.failed) return 'malformed';
  // Version 3 goes on in another way.
  if (versions.indexOf(version) < 0) return 'other';
  const community = readContents(reader, tagOctetString);
  const tag = bytes[reader.at];
  if (reader.failed || reader.at >= reader.end) return 'malformed';
  if (tag !== tagGetRequest && tag !== tagResponse) return 'other';
  enterLast(reader, tag);
  const requestId = readInteger(reader);
  const errorStatus = readInteger(reader);
  readInteger(reader);
  enterLast(reader, tagSequence);
  if (reader.failed) return 'malformed';
  if (reader.at === reader.end) return 'other';
  const listEnd = reader.end;
  enter(reader, tagSequence);
  const isAlone = reader.end === listEnd;
  const name = readContents(reader, tagObjectIdentifier);
  const valueTag = bytes[reader.at];
  const value = readContents(reader, valueTag);
  if (reader.failed || reader.at !== reader.end) return 'malformed';
  if (!isAlone || community.length > communityLimit || !isSysUpTime(name)) return 'other';
  const message = { version, community, tag, requestId, errorStatus };
  if (valueTag === tagNull) return value.length === 0 ? message : 'malformed';
  if (valueTag !== tagTimeTicks) return 'other';
  const ticks = unsignedOf(value);
  return ticks === undefined ? 'malformed' : { ...message, ticks };
}

/** What a host said to a question for sysUpTime.0; `undefined` if the message is anything else. */
export function uptimeTold(
  bytes: Uint8Array,
  start: number,
  end: number,
): { readonly community: Uint8Array; readonly ticks: number } | undefined {
  const told = parseUptime(bytes, start, end);
  if (told === 'other' || told === 'malformed') return undefined;
  const { tag, errorStatus, ticks, community } = told;
  if (tag !== tagResponse || errorStatus !== 0 || ticks === undefined) return undefined;
  return { community: copyBytes(community, 0, community.length), ticks };
}

function encodeUptime({ version, community, tag, requestId, errorStatus, ticks = 0 }: Uptime): Uint8Array {
  const variable = element(tagSequence, [
    element(tagObjectIdentifier, [new Uint8Array(sysUpTime)]),
    element(tagTimeTicks, [minimal(concatBytes([new Uint8Array(1), numberBytes(ticks, 4)]))]),
  ]);
  return element(tagSequence, [
    integer(version),
    element(tagOctetString, [community]),
    element(tag, [integer(requestId), integer(errorStatus), integer(0), element(tagSequence, [variable])]),
  ]);
}

/** Into the contents of the element at the reader: its end becomes the reader's. */
function enter(reader: Reader, tag: number): void {
  const { bytes, end } = reader;
  let { at } = reader;
  if (reader.failed || end - at < 2 || bytes[at] !== tag) {
    reader.failed = true;
    return;
  }
  let length = bytes[at + 1];
  at += 2;
  if (length >= 0x80) {
    // RFC 3417 §8: never the indefinite form, and the long form may be longer than it need be.
    const lengthBytes = length & 0x7f;
    length = 0;
    reader.failed = lengthBytes === 0 || lengthBytes > 4 || end - at < lengthBytes;
    for (let i = 0; i < lengthBytes && !reader.failed; i++) length = length * 256 + bytes[at++];
  }
  if (reader.failed || length > end - at) {
    reader.failed = true;
    return;
  }
  reader.at = at;
  reader.end = at + length;
}

/** The same where nothing may follow the element. */
function enterLast(reader: Reader, tag: number): void {
  const { end } = reader;
  enter(reader, tag);
  if (reader.end !== end) reader.failed = true;
}

/** A view of the contents of the element at the reader, and past it. */
function readContents(reader: Reader, tag: number): Uint8Array {
  const { end } = reader;
  enter(reader, tag);
  if (reader.failed) return reader.bytes.subarray(0, 0);
  const contents = reader.bytes.subarray(reader.at, reader.end);
  reader.at = reader.end;
  reader.end = end;
  return contents;
}

/** RFC 2578 §7.1.1: 32 bits, signed, in as few bytes as can be (X.690 §8.3.2). */
function readInteger(reader: Reader): number {
  const contents = readContents(reader, tagInteger);
  if (!isMinimal(contents) || contents.length > 4) {
    reader.failed = true;
    return 0;
  }
  let value = contents[0] >= 0x80 ? -1 : 0;
  for (let i = 0; i < contents.length; i++) value = (value << 8) | contents[i];
  return value;
}

/** 32 bits without a sign, in as few bytes as a signed number takes. */
function unsignedOf(contents: Uint8Array): number | undefined {
  if (!isMinimal(contents) || contents[0] >= 0x80) return undefined;
  if (contents.length > 5 || (contents.length === 5 && contents[0] !== 0)) return undefined;
  let value = 0;
  for (let i = 0; i < contents.length; i++) value = value * 256 + contents[i];
  return value;
}

function isSysUpTime(name: Uint8Array): boolean {
  if (name.length !== sysUpTime.length) return false;
  for (let i = 0; i < name.length; i++) if (name[i] !== sysUpTime[i]) return false;
  return true;
}

/** X.690 §8.3.2: not the same bit nine times at the beginning. */
function isMinimal(contents: Uint8Array): boolean {
  if (contents.length < 2) return contents.length === 1;
  return !(contents[0] === 0 && contents[1] < 0x80) && !(contents[0] === 0xff && contents[1] >= 0x80);
}

function minimal(contents: Uint8Array): Uint8Array {
  return isMinimal(contents) ? contents : minimal(contents.subarray(1, contents.length));
}

function integer(value: number): Uint8Array {
  return element(tagInteger, [minimal(numberBytes(value, 4))]);
}

function element(tag: number, parts: readonly Uint8Array[]): Uint8Array {
  const contents = concatBytes(parts);
  const { length } = contents;
  const isShort = length < 0x80;
  const head = isShort ? [tag, length] : [tag, 0x82, length >>> 8, length & 0xff];
  return concatBytes([new Uint8Array(head), contents]);
}
