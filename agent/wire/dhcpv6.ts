/**
 * DHCPv6 (RFC 8415 §8, §9, §21; DNS options RFC 3646).
 *
 *     0  message type 1      1  transaction id 3      4  options
 *     0  message type 1 = 12 or 13      1  hop count 1      2  link address      18  peer address      34  options
 *     option: code 2, length 2, data
 *
 * Options contain options: an identity association its addresses or prefixes, these a status. At most
 * `dhcpv6OptionLimit` options on all levels together, and as many levels as the standard has. What a relay carries stays
 * bytes and is parsed by whoever unwraps it.
 */

import {
  concatBytes,
  decodeUtf8,
  encodeUtf8,
  numberBytes,
  readUint16,
  readUint24,
  readUint32,
  writeBytes,
  writeUint8,
  writeUint16,
} from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { ipv6Length } from './address.js';
import { encodeDnsName, parseDnsName } from './dns.js';
import type { Reason } from './reason.js';

export const dhcpv6ServerPort = 547;
export const dhcpv6ClientPort = 546;
/** All relay agents and servers on the link (RFC 8415 §7.1). */
export const dhcpv6Group = 'ff02::1:2';

/** A server's reply to a home gateway has about 10. More: 'too-many'. */
export const dhcpv6OptionLimit = 64;
/** Message, identity association, address or prefix: the levels at which options are listed. More: 'too-many'. */
const levelLimit = 3;

/** RFC 8415 §7.3. */
export const dhcpv6MessageType = {
  solicit: 1,
  advertise: 2,
  request: 3,
  confirm: 4,
  renew: 5,
  rebind: 6,
  reply: 7,
  release: 8,
  decline: 9,
  reconfigure: 10,
  informationRequest: 11,
  relayForward: 12,
  relayReply: 13,
} as const;

/** All times in seconds, 0xffffffff for ever, except where the name says otherwise. */
export type Dhcpv6Option =
  /** A DHCP unique identifier (RFC 8415 §11), up to 130 bytes. */
  | { readonly kind: 'client-identifier' | 'server-identifier'; readonly duid: Uint8Array }
  | {
      /** Identity association for addresses, or for prefixes. */
      readonly kind: 'ia-na' | 'ia-pd';
      readonly iaid: number;
      /** When to renew, from whom it was got. */
      readonly t1Seconds: number;
      /** When to rebind, from whomever. */
      readonly t2Seconds: number;
      readonly options: readonly Dhcpv6Option[];
    }
  | {
      readonly kind: 'ia-ta';
      readonly iaid: number;
      readonly options: readonly Dhcpv6Option[];
    }
  | {
      readonly kind: 'ia-address';
      readonly address: Uint8Array;
      readonly preferredLifetimeSeconds: number;
      readonly validLifetimeSeconds: number;
      readonly options: readonly Dhcpv6Option[];
    }
  | {
      readonly kind: 'ia-prefix';
      readonly preferredLifetimeSeconds: number;
      readonly validLifetimeSeconds: number;
      /** In bits, 0 … 128. */
      readonly prefixLength: number;
      readonly prefixAddress: Uint8Array;
      readonly options: readonly Dhcpv6Option[];
    }
  | { readonly kind: 'option-request'; readonly codes: readonly number[] }
  /** 0 … 255, the highest preferred. */
  | { readonly kind: 'preference'; readonly preference: number }
  | { readonly kind: 'elapsed-time'; readonly elapsedHundredths: number }
  /** A whole message, for a relay agent or from one. */
  | { readonly kind: 'relay-message'; readonly message: Uint8Array }
  /** 0 is success; the text is for people. */
  | { readonly kind: 'status-code'; readonly statusCode: number; readonly text: string }
  | { readonly kind: 'rapid-commit' }
  | { readonly kind: 'dns-servers'; readonly addresses: readonly Uint8Array[] }
  /** Names as in dns.ts. */
  | { readonly kind: 'domain-list'; readonly names: readonly string[] }
  | { readonly kind: 'raw'; readonly code: number; readonly data: Uint8Array };

export type Dhcpv6 =
  | {
      readonly kind: 'message';
      /** `dhcpv6MessageType`, but neither of the relay's. */
      readonly messageType: number;
      /** 24 bits. */
      readonly transactionId: number;
      readonly options: readonly Dhcpv6Option[];
    }
  | {
      readonly kind: 'relay-forward' | 'relay-reply';
      readonly hopCount: number;
      readonly linkAddress: Uint8Array;
      readonly peerAddress: Uint8Array;
      readonly options: readonly Dhcpv6Option[];
    };

const messageHeaderLength = 4;
const relayHeaderLength = 2 + 2 * ipv6Length;
const optionHeaderLength = 4;
const maxDuidLength = 130;

const optionCodes = {
  'client-identifier': 1,
  'server-identifier': 2,
  'ia-na': 3,
  'ia-ta': 4,
  'ia-address': 5,
  'option-request': 6,
  preference: 7,
  'elapsed-time': 8,
  'relay-message': 9,
  'status-code': 13,
  'rapid-commit': 14,
  'dns-servers': 23,
  'domain-list': 24,
  'ia-pd': 25,
  'ia-prefix': 26,
} as const;

/** What a list of options is read with: how deep it is, and how many options there were so far. */
interface Budget {
  level: number;
  options: number;
}

/** Reads a message from `bytes[start, end)`, all of it. Arrays are views into `bytes`. */
export function parseDhcpv6(bytes: Uint8Array, start: number, end: number): Result<Dhcpv6, Reason> {
  if (end - start < messageHeaderLength) return fail('truncated');
  const messageType = bytes[start];
  if (messageType === 0) return fail('bad-type');
  const kind =
    messageType === dhcpv6MessageType.relayForward
      ? 'relay-forward'
      : messageType === dhcpv6MessageType.relayReply
        ? 'relay-reply'
        : 'message';
  const optionsAt = start + (kind === 'message' ? messageHeaderLength : relayHeaderLength);
  if (optionsAt > end) return fail('truncated');
  const options = parseOptions(bytes.subarray(optionsAt, end), { level: 0, options: 0 });
  if (!options.ok) return options;
  if (kind === 'message')
    return ok({ kind, messageType, transactionId: readUint24(bytes, start + 1), options: options.value });
  return ok({
    kind,
    hopCount: bytes[start + 1],
    linkAddress: bytes.subarray(start + 2, start + 2 + ipv6Length),
    peerAddress: bytes.subarray(start + 2 + ipv6Length, optionsAt),
    options: options.value,
  });
}

/** Bytes `emitDhcpv6` writes. */
export function dhcpv6Length(message: Dhcpv6): number {
  const headerLength = message.kind === 'message' ? messageHeaderLength : relayHeaderLength;
  return headerLength + encodeOptions(message.options).length;
}

/** Writes a message at `at`; returns the offset after it. */
export function emitDhcpv6(message: Dhcpv6, out: Uint8Array, at: number): number {
  if (message.kind === 'message') {
    at = writeUint8(out, at, message.messageType);
    at = writeBytes(out, at, numberBytes(message.transactionId, 3));
  } else {
    const { relayForward, relayReply } = dhcpv6MessageType;
    at = writeUint8(out, at, message.kind === 'relay-forward' ? relayForward : relayReply);
    at = writeUint8(out, at, message.hopCount);
    at = writeBytes(out, at, message.linkAddress);
    at = writeBytes(out, at, message.peerAddress);
  }
  return writeBytes(out, at, encodeOptions(message.options));
}

/** Options up to the end of `data`. Short data is truncated on the outermost level, and a fault within. */
function parseOptions(data: Uint8Array, budget: Budget): Result<Dhcpv6Option[], Reason> {
  if (budget.level === levelLimit) return fail('too-many');
  const short = budget.level === 0 ? 'truncated' : 'bad-length';
  budget.level++;
  const options: Dhcpv6Option[] = [];
  let at = 0;
  while (at < data.length) {
    if (at + optionHeaderLength > data.length) return fail(short);
    const next = at + optionHeaderLength + readUint16(data, at + 2);
    if (next > data.length) return fail(short);
    if (budget.options === dhcpv6OptionLimit) return fail('too-many');
    budget.options++;
    const option = decodeOption(readUint16(data, at), data.subarray(at + optionHeaderLength, next), budget);
    if (!option.ok) return option;
    options.push(option.value);
    at = next;
  }
  budget.level--;
  return ok(options);
}

/** The option of a code, a raw one if the code is not typed here. */
function decodeOption(code: number, data: Uint8Array, budget: Budget): Result<Dhcpv6Option, Reason> {
  const { length } = data;
  const kind = kindOf(code);
  switch (kind) {
    case 'client-identifier':
    case 'server-identifier':
      // RFC 8415 §11.1: a type of two bytes, and 1 … 128 bytes.
      return length > 2 && length <= maxDuidLength ? ok({ kind, duid: data }) : fail('bad-option');
    case 'ia-na':
    case 'ia-pd':
    case 'ia-ta':
    case 'ia-address':
    case 'ia-prefix':
      return decodeContainer(kind, data, budget);
    case 'option-request': {
      if (length % 2 !== 0) return fail('bad-option');
      const codes: number[] = [];
      for (let at = 0; at < length; at += 2) codes.push(readUint16(data, at));
      return ok({ kind, codes });
    }
    case 'preference':
      return length === 1 ? ok({ kind, preference: data[0] }) : fail('bad-option');
    case 'elapsed-time':
      return length === 2 ? ok({ kind, elapsedHundredths: readUint16(data, 0) }) : fail('bad-option');
    case 'relay-message':
      return ok({ kind, message: data });
    case 'status-code': {
      const text = length < 2 ? undefined : decodeUtf8(data.subarray(2));
      return text === undefined ? fail('bad-option') : ok({ kind, statusCode: readUint16(data, 0), text });
    }
    case 'rapid-commit':
      return length === 0 ? ok({ kind }) : fail('bad-option');
    case 'dns-servers': {
      if (length === 0 || length % ipv6Length !== 0) return fail('bad-option');
      const addresses: Uint8Array[] = [];
      for (let at = 0; at < length; at += ipv6Length) addresses.push(data.subarray(at, at + ipv6Length));
      return ok({ kind, addresses });
    }
    case 'domain-list': {
      const names: string[] = [];
      for (let at = 0; at < length; ) {
        // RFC 8415 §10: never compressed.
        const result = parseDnsName(data, at, at, length);
        if (!result.ok) return fail('bad-option');
        names.push(result.value.name);
        at = result.value.next;
      }
      return ok({ kind, names });
    }
    case undefined:
      return ok({ kind: 'raw', code, data });
  }
}

type ContainerKind = 'ia-na' | 'ia-pd' | 'ia-ta' | 'ia-address' | 'ia-prefix';

/** Bytes before the options within. */
const fixedLengths: { readonly [kind in ContainerKind]: number } = {
  'ia-na': 12,
  'ia-pd': 12,
  'ia-ta': 4,
  'ia-address': 24,
  'ia-prefix': 25,
};

function decodeContainer(
  kind: ContainerKind,
  data: Uint8Array,
  budget: Budget,
): Result<Dhcpv6Option, Reason> {
  if (data.length < fixedLengths[kind]) return fail('bad-option');
  const inner = parseOptions(data.subarray(fixedLengths[kind]), budget);
  if (!inner.ok) return inner;
  const options = inner.value;
  switch (kind) {
    case 'ia-na':
    case 'ia-pd':
      return ok({
        kind,
        iaid: readUint32(data, 0),
        t1Seconds: readUint32(data, 4),
        t2Seconds: readUint32(data, 8),
        options,
      });
    case 'ia-ta':
      return ok({ kind, iaid: readUint32(data, 0), options });
    case 'ia-address':
      return ok({
        kind,
        address: data.subarray(0, 16),
        preferredLifetimeSeconds: readUint32(data, 16),
        validLifetimeSeconds: readUint32(data, 20),
        options,
      });
    case 'ia-prefix':
      if (data[8] > 128) return fail('bad-option');
      return ok({
        kind,
        preferredLifetimeSeconds: readUint32(data, 0),
        validLifetimeSeconds: readUint32(data, 4),
        prefixLength: data[8],
        prefixAddress: data.subarray(9, 25),
        options,
      });
  }
}

function kindOf(code: number): keyof typeof optionCodes | undefined {
  for (const kind of Object.keys(optionCodes) as (keyof typeof optionCodes)[])
    if (optionCodes[kind] === code) return kind;
  return undefined;
}

function encodeOptions(options: readonly Dhcpv6Option[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const option of options) {
    const data = optionData(option);
    const header = new Uint8Array(optionHeaderLength);
    writeUint16(header, 0, option.kind === 'raw' ? option.code : optionCodes[option.kind]);
    writeUint16(header, 2, data.length);
    parts.push(header, data);
  }
  return concatBytes(parts);
}

function optionData(option: Dhcpv6Option): Uint8Array {
  switch (option.kind) {
    case 'client-identifier':
    case 'server-identifier':
      return option.duid;
    case 'ia-na':
    case 'ia-pd':
      return concatBytes([
        numberBytes(option.iaid, 4),
        numberBytes(option.t1Seconds, 4),
        numberBytes(option.t2Seconds, 4),
        encodeOptions(option.options),
      ]);
    case 'ia-ta':
      return concatBytes([numberBytes(option.iaid, 4), encodeOptions(option.options)]);
    case 'ia-address':
      return concatBytes([
        option.address,
        numberBytes(option.preferredLifetimeSeconds, 4),
        numberBytes(option.validLifetimeSeconds, 4),
        encodeOptions(option.options),
      ]);
    case 'ia-prefix':
      return concatBytes([
        numberBytes(option.preferredLifetimeSeconds, 4),
        numberBytes(option.validLifetimeSeconds, 4),
        numberBytes(option.prefixLength, 1),
        option.prefixAddress,
        encodeOptions(option.options),
      ]);
    case 'option-request': {
      const parts: Uint8Array[] = [];
      for (const code of option.codes) parts.push(numberBytes(code, 2));
      return concatBytes(parts);
    }
    case 'preference':
      return numberBytes(option.preference, 1);
    case 'elapsed-time':
      return numberBytes(option.elapsedHundredths, 2);
    case 'relay-message':
      return option.message;
    case 'status-code':
      return concatBytes([numberBytes(option.statusCode, 2), encodeUtf8(option.text)]);
    case 'rapid-commit':
      return new Uint8Array(0);
    case 'dns-servers':
      return concatBytes(option.addresses);
    case 'domain-list': {
      const parts: Uint8Array[] = [];
      for (const name of option.names) {
        const encoded = encodeDnsName(name);
        if (!encoded) throw new Error(`name: expected labels of 1..63 bytes, 255 in all, got ${name}`);
        parts.push(encoded);
      }
      return concatBytes(parts);
    }
    case 'raw':
      return option.data;
  }
}
