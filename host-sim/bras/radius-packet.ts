/**
 * RADIUS packets (RFC 2865 §3, §5; accounting RFC 2866 §3; Message-Authenticator RFC 3579 §3.2; RFC 5176 §2.3): those a BRAS
 * sends, and those it believes.
 *
 *     0  code     1  identifier     2  length     4  authenticator 16     20  attributes
 *     attribute:  0  type     1  length, these two included     2  value
 *
 * Not on npm `radius` 1.1.4, on which npm's other RADIUS clients stand: it compares digests as UTF-8 text, in which bytes that
 * are not UTF-8 are all alike, takes an attribute cut short for a shorter one, refuses a Disconnect-Request whose
 * Message-Authenticator is that of RFC 5176 §2.3, and is written for Node 0.8.
 *
 * Bounded by 4096 bytes a packet (RFC 2865 §3).
 */

import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { readUint16, readUint32 } from '../../agent/core/bytes.js';
import { fail, ok, type Result } from '../../agent/core/result.js';

export const radiusCode = {
  accessRequest: 1,
  accessAccept: 2,
  accessReject: 3,
  accountingRequest: 4,
  accountingResponse: 5,
  accessChallenge: 11,
  disconnectRequest: 40,
  disconnectAck: 41,
  disconnectNak: 42,
  coaRequest: 43,
  coaAck: 44,
  coaNak: 45,
} as const;

/** Attribute types (IANA, RADIUS Types). */
export const attributeType = {
  userName: 1,
  userPassword: 2,
  chapPassword: 3,
  nasIpAddress: 4,
  nasPort: 5,
  serviceType: 6,
  framedProtocol: 7,
  framedIpAddress: 8,
  filterId: 11,
  replyMessage: 18,
  class: 25,
  vendorSpecific: 26,
  sessionTimeout: 27,
  callingStationId: 31,
  nasIdentifier: 32,
  proxyState: 33,
  acctStatusType: 40,
  acctInputOctets: 42,
  acctOutputOctets: 43,
  acctSessionId: 44,
  acctSessionTime: 46,
  acctInputPackets: 47,
  acctOutputPackets: 48,
  acctTerminateCause: 49,
  acctInputGigawords: 52,
  acctOutputGigawords: 53,
  eventTimestamp: 55,
  chapChallenge: 60,
  nasPortType: 61,
  messageAuthenticator: 80,
  acctInterimInterval: 85,
  nasPortId: 87,
  errorCause: 101,
} as const;

/** Microsoft's (RFC 2548), of vendor 311. */
export const microsoft = {
  vendorId: 311,
  chapError: 2,
  chapChallenge: 11,
  chap2Response: 25,
  chap2Success: 26,
};
/** The DSL Forum's (RFC 4679), of vendor 3561. */
export const dslForum = { vendorId: 3561, circuitId: 1, remoteId: 2 };

/** Type and value, in order. A text is sent as UTF-8, a number as 32 bits. */
export type Attribute = readonly [type: number, value: Uint8Array];

export interface RadiusPacket {
  readonly code: number;
  readonly identifier: number;
  readonly attributes: readonly Attribute[];
}

export type RadiusRefusal =
  | 'malformed'
  | 'bad-authenticator'
  | 'bad-message-authenticator'
  | 'no-message-authenticator';

const headerLength = 20;
const authenticatorAt = 4;
const longestPacket = 4096;
const longestValue = 253;

export interface RequestInput {
  readonly code: typeof radiusCode.accessRequest | typeof radiusCode.accountingRequest;
  readonly identifier: number;
  readonly secret: string;
  /** Of an Access-Request: 16 bytes nobody can guess (RFC 2865 §3). */
  readonly authenticator: Uint8Array;
  readonly attributes: readonly Attribute[];
  /** At most 128 bytes (RFC 2865 §5.2); goes out hidden. */
  readonly password?: Uint8Array;
}

/**
 * A request; an Access-Request with a Message-Authenticator as its first attribute, so that no prefix can be chosen for a
 * collision (CVE-2024-3596).
 */
export function encodeRequest(input: RequestInput): Uint8Array {
  const { code, identifier, secret, authenticator, attributes, password } = input;
  if (code === radiusCode.accountingRequest) {
    const packet = assemble(code, identifier, new Uint8Array(16), attributes);
    packet.set(createHash('md5').update(packet).update(secret).digest(), authenticatorAt);
    return packet;
  }
  const list = [emptyMessageAuthenticator(), ...attributes];
  if (password) list.push([attributeType.userPassword, hidePassword(password, secret, authenticator)]);
  const packet = assemble(code, identifier, authenticator, list);
  signMessage(packet, secret);
  return packet;
}

/** The answer to `request`, verified. */
export function decodeResponse(
  bytes: Uint8Array,
  request: Uint8Array,
  secret: string,
  requireMessageAuthenticator: boolean,
): Result<RadiusPacket, RadiusRefusal> {
  return verify(bytes, request.subarray(authenticatorAt, headerLength), secret, requireMessageAuthenticator);
}

/** A Disconnect-Request or CoA-Request, verified (RFC 5176 §2.3: as Accounting-Request is). */
export function decodeControlRequest(
  bytes: Uint8Array,
  secret: string,
  requireMessageAuthenticator: boolean,
): Result<RadiusPacket, RadiusRefusal> {
  return verify(bytes, new Uint8Array(16), secret, requireMessageAuthenticator);
}

/** The answer to a verified request, with its Proxy-State (RFC 5176 §3.1) and an Error-Cause if `errorCause` is not 0. */
export function encodeControlResponse(
  code: number,
  request: Uint8Array,
  { identifier, attributes }: RadiusPacket,
  secret: string,
  errorCause: number,
): Uint8Array {
  const list = [emptyMessageAuthenticator()];
  if (errorCause !== 0) list.push(number(attributeType.errorCause, errorCause));
  for (const attribute of attributes) if (attribute[0] === attributeType.proxyState) list.push(attribute);
  const packet = assemble(code, identifier, request.subarray(authenticatorAt, headerLength), list);
  signMessage(packet, secret);
  packet.set(createHash('md5').update(packet).update(secret).digest(), authenticatorAt);
  return packet;
}

/** The first value of that type. */
export function find(packet: RadiusPacket, type: number): Uint8Array | undefined {
  return packet.attributes.find(one => one[0] === type)?.[1];
}

/** 32 bits of the first of that type; `undefined` if there is none, or not of four bytes. */
export function findWord(packet: RadiusPacket, type: number): number | undefined {
  const value = find(packet, type);
  return value?.length === 4 ? readUint32(value, 0) : undefined;
}

/** The first value of a vendor's attribute in the form RFC 2865 §5.26 suggests. */
export function findVendor(
  packet: RadiusPacket,
  vendorId: number,
  vendorType: number,
): Uint8Array | undefined {
  for (const [type, value] of packet.attributes) {
    if (type !== attributeType.vendorSpecific || value.length < 6 || readUint32(value, 0) !== vendorId)
      continue;
    for (let at = 4; at + 2 <= value.length; ) {
      const length = value[at + 1];
      if (length < 2 || at + length > value.length) break;
      if (value[at] === vendorType) return value.subarray(at + 2, at + length);
      at += length;
    }
  }
  return undefined;
}

export function text(type: number, value: string): Attribute {
  return [type, Buffer.from(value, 'utf8').subarray(0, longestValue)];
}

export function number(type: number, value: number): Attribute {
  return [type, word(value)];
}

export function vendor(vendorId: number, vendorType: number, value: Uint8Array): Attribute {
  const own = value.subarray(0, longestValue - 6);
  return [
    attributeType.vendorSpecific,
    Buffer.concat([word(vendorId), Buffer.from([vendorType, 2 + own.length]), own]),
  ];
}

function word(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** `signedWith`: what stands in the place of the authenticator when the digests are computed. */
function verify(
  bytes: Uint8Array,
  signedWith: Uint8Array,
  secret: string,
  requireMessageAuthenticator: boolean,
): Result<RadiusPacket, RadiusRefusal> {
  if (bytes.length < headerLength) return fail('malformed');
  const length = readUint16(bytes, 2);
  // RFC 2865 §3: what follows the length is padding.
  if (length < headerLength || length > longestPacket || length > bytes.length) return fail('malformed');
  const packet = Buffer.from(bytes.subarray(0, length));
  const attributes: Attribute[] = [];
  let signedAt = 0;
  for (let at = headerLength; at < length; at += packet[at + 1]) {
    if (length - at < 2 || packet[at + 1] < 2 || at + packet[at + 1] > length) return fail('malformed');
    attributes.push([packet[at], bytes.subarray(at + 2, at + packet[at + 1])]);
    if (packet[at] !== attributeType.messageAuthenticator) continue;
    if (signedAt !== 0 || packet[at + 1] !== 18) return fail('malformed');
    signedAt = at + 2;
  }
  const shown = Buffer.from(packet.subarray(authenticatorAt, headerLength));
  packet.set(signedWith, authenticatorAt);
  const expected = createHash('md5').update(packet).update(secret).digest();
  if (!timingSafeEqual(expected, shown)) return fail('bad-authenticator');
  if (signedAt === 0 && requireMessageAuthenticator) return fail('no-message-authenticator');
  if (signedAt !== 0) {
    packet.fill(0, signedAt, signedAt + 16);
    const signature = createHmac('md5', secret).update(packet).digest();
    if (!timingSafeEqual(signature, bytes.subarray(signedAt, signedAt + 16)))
      return fail('bad-message-authenticator');
  }
  return ok({ code: packet[0], identifier: packet[1], attributes });
}

function emptyMessageAuthenticator(): Attribute {
  return [attributeType.messageAuthenticator, new Uint8Array(16)];
}

/** Throws if it is longer than a packet may be: what goes in is ours and bounded. */
function assemble(
  code: number,
  identifier: number,
  authenticator: Uint8Array,
  attributes: readonly Attribute[],
): Buffer {
  let length = headerLength;
  for (const [, value] of attributes) length += 2 + value.length;
  if (length > longestPacket)
    throw new Error(`packet bytes: expected at most ${longestPacket}, got ${length}`);
  const packet = Buffer.alloc(length);
  packet[0] = code;
  packet[1] = identifier;
  packet.writeUInt16BE(length, 2);
  packet.set(authenticator, authenticatorAt);
  let at = headerLength;
  for (const [type, value] of attributes) {
    packet[at] = type;
    packet[at + 1] = 2 + value.length;
    packet.set(value, at + 2);
    at += 2 + value.length;
  }
  return packet;
}

/** Fills in the first attribute, which is the Message-Authenticator. */
function signMessage(packet: Buffer, secret: string): void {
  packet.set(createHmac('md5', secret).update(packet).digest(), headerLength + 2);
}

/** RFC 2865 §5.2: each 16 bytes with the MD5 of the secret and the 16 before. */
function hidePassword(password: Uint8Array, secret: string, authenticator: Uint8Array): Uint8Array {
  const hidden = Buffer.alloc(Math.max(16, (password.length + 15) & ~15));
  hidden.set(password);
  let before = authenticator;
  for (let at = 0; at < hidden.length; at += 16) {
    const mask = createHash('md5').update(secret).update(before).digest();
    for (let i = 0; i < 16; i++) hidden[at + i] ^= mask[i];
    before = hidden.subarray(at, at + 16);
  }
  return hidden;
}
