/**
 * DHCP and BOOTP for IPv4 over Ethernet (RFC 2131 §2, options RFC 2132, relay agent information RFC 3046).
 *
 *      0  operation         1  hardware type = 1      2  hardware length = 6      3  hops
 *      4  transaction id    8  seconds               10  flags (bit 15: broadcast)
 *     12  client address   16  your address          20  server address          24  relay agent address
 *     28  client MAC, and 10 bytes of padding        44  server name, 64         108  boot file, 128
 *    236  magic cookie    240  options: code, length, data; 0 is padding, 255 the end
 *
 * Options may run on in the boot file and the server name (option 52), and a long one comes in pieces (RFC 3396); a
 * parsed message shows neither. Every code appears once after that, so there are at most 254 options; the
 * datagram bounds their length.
 */

import {
  checkAtMost,
  concatBytes,
  decodeUtf8,
  encodeUtf8,
  numberBytes,
  readUint16,
  readUint32,
  writeBytes,
  writeUint8,
  writeUint16,
  writeUint32,
  writeZeros,
} from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv4Length, macLength } from './address.js';
import type { Reason } from './reason.js';

export { dhcpClientPort, dhcpServerPort } from './udp-ports.js';

export const bootRequest = 1;
export const bootReply = 2;

/** RFC 2132 §9.6. */
export const dhcpMessageType = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

export type DhcpOption =
  | { readonly kind: 'message-type'; readonly messageType: number }
  | { readonly kind: AddressKind; readonly address: Uint8Array }
  /** One address or more, the preferred first. */
  | { readonly kind: AddressesKind; readonly addresses: readonly Uint8Array[] }
  /** 0xffffffff seconds are for ever. */
  | { readonly kind: SecondsKind; readonly seconds: number }
  /** Not empty. Text that is not UTF-8 is a raw option. */
  | { readonly kind: TextKind; readonly text: string }
  | { readonly kind: DataKind; readonly data: Uint8Array }
  | { readonly kind: 'maximum-message-size'; readonly sizeBytes: number }
  | { readonly kind: 'parameter-request-list'; readonly codes: readonly number[] }
  | { readonly kind: 'relay-agent-information'; readonly suboptions: readonly DhcpSuboption[] }
  | RawDhcpOption;

export interface RawDhcpOption {
  readonly kind: 'raw';
  /** 1 … 254, but not 52, which is how a message is laid out and not part of it. */
  readonly code: number;
  /** The pieces of a split option together; may be longer than 255 bytes. */
  readonly data: Uint8Array;
}

/** RFC 3046 §2.0: 1 is the circuit identifier, 2 the remote identifier. */
export interface DhcpSuboption {
  readonly code: number;
  readonly data: Uint8Array;
}

type AddressKind = 'subnet-mask' | 'broadcast-address' | 'requested-address' | 'server-identifier';
type AddressesKind = 'router' | 'domain-name-server' | 'ntp-server';
type SecondsKind = 'lease-time' | 'renewal-time' | 'rebinding-time';
type TextKind = 'host-name' | 'domain-name' | 'message';
type DataKind = 'vendor-class-identifier' | 'client-identifier';

export interface Dhcp {
  /** `bootRequest` or `bootReply`. */
  readonly operation: number;
  readonly hops: number;
  readonly transactionId: number;
  /** Since the client began to ask. */
  readonly secondsElapsed: number;
  /** The client cannot take unicast before it has an address. */
  readonly broadcast: boolean;
  readonly clientAddress: Uint8Array;
  readonly yourAddress: Uint8Array;
  readonly serverAddress: Uint8Array;
  readonly relayAddress: Uint8Array;
  readonly clientMac: Uint8Array;
  /** Up to 64 bytes, none of them zero. */
  readonly serverName: Uint8Array;
  /** Up to 128 bytes, none of them zero. */
  readonly bootFile: Uint8Array;
  /** Without a message type it is BOOTP. No code twice. */
  readonly options: readonly DhcpOption[];
}

const hardwareTypeEthernet = 1;
const broadcastFlag = 0x8000;
const serverNameAt = 44;
const bootFileAt = 108;
const cookieAt = 236;
const optionsAt = 240;
const magicCookie = 0x63825363;
/** RFC 1542 §2.1: a shorter message may be thrown away by a relay agent or a server. */
const minLength = 300;
const maxPieceLength = 255;
const endCode = 255;
const overloadCode = 52;

const optionCodes = {
  'subnet-mask': 1,
  router: 3,
  'domain-name-server': 6,
  'host-name': 12,
  'domain-name': 15,
  'broadcast-address': 28,
  'ntp-server': 42,
  'requested-address': 50,
  'lease-time': 51,
  'message-type': 53,
  'server-identifier': 54,
  'parameter-request-list': 55,
  message: 56,
  'maximum-message-size': 57,
  'renewal-time': 58,
  'rebinding-time': 59,
  'vendor-class-identifier': 60,
  'client-identifier': 61,
  'relay-agent-information': 82,
} as const;

/** All that a message says under one code, in pieces (RFC 3396 §5). */
interface Pieces {
  readonly code: number;
  readonly parts: Uint8Array[];
}

/** Reads a message from `bytes[start, end)`; what follows the end option is padding. Arrays may be views into `bytes`. */
export function parseDhcp(bytes: Uint8Array, start: number, end: number): Result<Dhcp, Reason> {
  if (end - start < optionsAt) return fail('truncated');
  const operation = bytes[start];
  if (operation !== bootRequest && operation !== bootReply) return fail('bad-type');
  if (bytes[start + 1] !== hardwareTypeEthernet) return fail('bad-type');
  if (bytes[start + 2] !== macLength) return fail('bad-length');
  if (readUint32(bytes, start + cookieAt) !== magicCookie) return fail('bad-magic');
  const gathered: Pieces[] = [];
  const reason = gather(bytes, start + optionsAt, end, gathered);
  if (reason !== undefined) return fail(reason);
  const overload = takeOverload(gathered);
  // RFC 3396 §5: the fields are one long option field, in this order.
  const nameHoldsOptions = (overload & 2) !== 0;
  const fileHoldsOptions = (overload & 1) !== 0;
  if (
    overload < 0 ||
    (fileHoldsOptions && gather(bytes, start + bootFileAt, start + cookieAt, gathered) !== undefined) ||
    (nameHoldsOptions && gather(bytes, start + serverNameAt, start + bootFileAt, gathered) !== undefined) ||
    takeOverload(gathered) !== 0
  )
    return fail('bad-option');
  const options: DhcpOption[] = [];
  for (const { code, parts } of gathered) {
    const option = decodeOption(code, parts.length === 1 ? parts[0] : concatBytes(parts));
    if (option === undefined) return fail('bad-option');
    options.push(option);
  }
  return ok({
    operation,
    hops: bytes[start + 3],
    transactionId: readUint32(bytes, start + 4),
    secondsElapsed: readUint16(bytes, start + 8),
    broadcast: (readUint16(bytes, start + 10) & broadcastFlag) !== 0,
    clientAddress: bytes.subarray(start + 12, start + 16),
    yourAddress: bytes.subarray(start + 16, start + 20),
    serverAddress: bytes.subarray(start + 20, start + 24),
    relayAddress: bytes.subarray(start + 24, start + 28),
    clientMac: bytes.subarray(start + 28, start + 28 + macLength),
    serverName: nameHoldsOptions
      ? new Uint8Array(0)
      : upToZero(bytes, start + serverNameAt, start + bootFileAt),
    bootFile: fileHoldsOptions ? new Uint8Array(0) : upToZero(bytes, start + bootFileAt, start + cookieAt),
    options,
  });
}

/** Bytes `emitDhcp` writes: 300 or more (RFC 1542 §2.1). */
export function dhcpLength(message: Dhcp): number {
  let length = optionsAt + 1;
  for (const option of message.options) {
    const { data } = encodeDhcpOption(option);
    length += data.length + 2 * pieceCount(data);
  }
  return Math.max(minLength, length);
}

/** Writes a message at `at`, its options in one field; returns the offset after it. */
export function emitDhcp(message: Dhcp, out: Uint8Array, at: number): number {
  const end = at + dhcpLength(message);
  at = writeUint8(out, at, message.operation);
  at = writeUint8(out, at, hardwareTypeEthernet);
  at = writeUint8(out, at, macLength);
  at = writeUint8(out, at, message.hops);
  at = writeUint32(out, at, message.transactionId);
  at = writeUint16(out, at, message.secondsElapsed);
  at = writeUint16(out, at, message.broadcast ? broadcastFlag : 0);
  at = writeBytes(out, at, message.clientAddress);
  at = writeBytes(out, at, message.yourAddress);
  at = writeBytes(out, at, message.serverAddress);
  at = writeBytes(out, at, message.relayAddress);
  at = writePadded(out, at, 'clientMac', message.clientMac, 16);
  at = writePadded(out, at, 'serverName', message.serverName, bootFileAt - serverNameAt);
  at = writePadded(out, at, 'bootFile', message.bootFile, cookieAt - bootFileAt);
  at = writeUint32(out, at, magicCookie);
  for (const option of message.options) {
    const { code, data } = encodeDhcpOption(option);
    if (!(code > 0 && code < endCode && code !== overloadCode))
      throw new Error(`code: expected 1..254 but not ${overloadCode}, got ${code}`);
    for (let piece = 0; piece < pieceCount(data); piece++) {
      // Espruino's subarray does not stop at the end of the data.
      const end = Math.min(data.length, (piece + 1) * maxPieceLength);
      const part = data.subarray(piece * maxPieceLength, end);
      at = writeUint8(out, at, code);
      at = writeUint8(out, at, part.length);
      at = writeBytes(out, at, part);
    }
  }
  at = writeUint8(out, at, endCode);
  return writeZeros(out, at, end - at);
}

/** The option as code and data. */
function encodeDhcpOption(option: DhcpOption): RawDhcpOption {
  if (option.kind === 'raw') return option;
  return { kind: 'raw', code: optionCodes[option.kind], data: optionData(option) };
}

function optionData(option: Exclude<DhcpOption, RawDhcpOption>): Uint8Array {
  switch (option.kind) {
    case 'message-type':
      return numberBytes(option.messageType, 1);
    case 'maximum-message-size':
      return numberBytes(option.sizeBytes, 2);
    case 'lease-time':
    case 'renewal-time':
    case 'rebinding-time':
      return numberBytes(option.seconds, 4);
    case 'subnet-mask':
    case 'broadcast-address':
    case 'requested-address':
    case 'server-identifier':
      return option.address;
    case 'router':
    case 'domain-name-server':
    case 'ntp-server':
      return concatBytes(option.addresses);
    case 'host-name':
    case 'domain-name':
    case 'message':
      return encodeUtf8(option.text);
    case 'vendor-class-identifier':
    case 'client-identifier':
      return option.data;
    case 'parameter-request-list':
      return new Uint8Array(option.codes);
    case 'relay-agent-information': {
      const parts: Uint8Array[] = [];
      for (const { code, data } of option.suboptions) {
        checkAtMost('suboption', data.length, maxPieceLength);
        parts.push(new Uint8Array([code, data.length]), data);
      }
      return concatBytes(parts);
    }
  }
}

/** The option of a code, a raw one if the code is not typed here; `undefined` if the data has a wrong size. */
function decodeOption(code: number, data: Uint8Array): DhcpOption | undefined {
  const { length } = data;
  const kind = kindOf(code);
  switch (kind) {
    case 'message-type':
      return length === 1 ? { kind, messageType: data[0] } : undefined;
    case 'maximum-message-size':
      return length === 2 ? { kind, sizeBytes: readUint16(data, 0) } : undefined;
    case 'lease-time':
    case 'renewal-time':
    case 'rebinding-time':
      return length === 4 ? { kind, seconds: readUint32(data, 0) } : undefined;
    case 'subnet-mask':
    case 'broadcast-address':
    case 'requested-address':
    case 'server-identifier':
      return length === ipv4Length ? { kind, address: data } : undefined;
    case 'router':
    case 'domain-name-server':
    case 'ntp-server': {
      if (length === 0 || length % ipv4Length !== 0) return undefined;
      const addresses: Uint8Array[] = [];
      for (let at = 0; at < length; at += ipv4Length) addresses.push(data.subarray(at, at + ipv4Length));
      return { kind, addresses };
    }
    case 'host-name':
    case 'domain-name':
    case 'message': {
      const text = decodeUtf8(withoutTrailingZeros(data));
      return text === undefined || text === '' ? { kind: 'raw', code, data } : { kind, text };
    }
    case 'vendor-class-identifier':
    case 'client-identifier':
      // RFC 2132 §9.13: at least 1; §9.14: at least 2.
      return length >= (kind === 'client-identifier' ? 2 : 1) ? { kind, data } : undefined;
    case 'parameter-request-list': {
      const codes: number[] = [];
      for (let i = 0; i < length; i++) codes.push(data[i]);
      return length >= 1 ? { kind, codes } : undefined;
    }
    case 'relay-agent-information':
      return decodeRelayAgentInformation(data);
    case undefined:
      return { kind: 'raw', code, data };
  }
}

function decodeRelayAgentInformation(data: Uint8Array): DhcpOption | undefined {
  const suboptions: DhcpSuboption[] = [];
  let at = 0;
  while (at < data.length) {
    if (at + 2 > data.length || at + 2 + data[at + 1] > data.length) return undefined;
    const next = at + 2 + data[at + 1];
    suboptions.push({ code: data[at], data: data.subarray(at + 2, next) });
    at = next;
  }
  return suboptions.length > 0 ? { kind: 'relay-agent-information', suboptions } : undefined;
}

function kindOf(code: number): keyof typeof optionCodes | undefined {
  for (const kind of Object.keys(optionCodes) as (keyof typeof optionCodes)[])
    if (optionCodes[kind] === code) return kind;
  return undefined;
}

/** Collects the options of one field up to its end option; says why it could not. */
function gather(bytes: Uint8Array, at: number, end: number, into: Pieces[]): Reason | undefined {
  while (at < end) {
    const code = bytes[at++];
    if (code === 0) continue;
    if (code === endCode) return undefined;
    if (at >= end || at + 1 + bytes[at] > end) return 'truncated';
    const next = at + 1 + bytes[at];
    let pieces = into.find(known => known.code === code);
    if (pieces === undefined) {
      pieces = { code, parts: [] };
      into.push(pieces);
    }
    pieces.parts.push(bytes.subarray(at + 1, next));
    at = next;
  }
  // RFC 2131 §4.1: the last option must be the end option.
  return 'truncated';
}

/** Removes option 52. Bit 0: the boot file holds options; bit 1: the server name does; −1: it is malformed. */
function takeOverload(gathered: Pieces[]): number {
  const at = gathered.findIndex(({ code }) => code === overloadCode);
  if (at < 0) return 0;
  const [{ parts }] = gathered.splice(at, 1);
  const [data] = parts;
  return parts.length === 1 && data.length === 1 && data[0] >= 1 && data[0] <= 3 ? data[0] : -1;
}

function upToZero(bytes: Uint8Array, start: number, end: number): Uint8Array {
  let at = start;
  while (at < end && bytes[at] !== 0) at++;
  return bytes.subarray(start, at);
}

/** RFC 2132 §2: text should not end in zeros, and a receiver deletes them. */
function withoutTrailingZeros(data: Uint8Array): Uint8Array {
  let end = data.length;
  while (end > 0 && data[end - 1] === 0) end--;
  return data.subarray(0, end);
}

/** How many options `data` takes; an empty one is still one. */
function pieceCount(data: Uint8Array): number {
  return Math.max(1, Math.ceil(data.length / maxPieceLength));
}

function writePadded(out: Uint8Array, at: number, name: string, data: Uint8Array, length: number): number {
  checkAtMost(name, data.length, length);
  return writeZeros(out, writeBytes(out, at, data), length - data.length);
}
