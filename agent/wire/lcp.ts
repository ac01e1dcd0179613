/**
 * LCP, the Link Control Protocol (RFC 1661 §5 and §6; Identification and Callback RFC 1570; MRRU RFC 1990 §5.1.1;
 * ACCM RFC 1662 §7.1). Packet and option list as in ppp-control.ts. The codes that are LCP's alone:
 *
 *     8  Protocol-Reject: 4 rejected protocol, 6 rejected information
 *     9  Echo-Request, 10 Echo-Reply, 11 Discard-Request, 12 Identification: 4 magic number, 8 data
 */

import {
  concatBytes,
  numberBytes,
  readUint16,
  readUint32,
  writeBytes,
  writeUint16,
  writeUint32,
} from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { pppProtocol } from './ppp.js';
import {
  type ControlPacket,
  controlHeaderLength,
  controlLength,
  decodeControl,
  emitControl,
  emitControlHeader,
  parseControlHeader,
  type RawOption,
  rawOption,
} from './ppp-control.js';
import type { Reason } from './reason.js';

export type LcpOption =
  | {
      readonly kind:
        | 'maximum-receive-unit'
        | 'async-control-character-map'
        | 'magic-number'
        | 'maximum-receive-reconstructed-unit';
      /** The units in bytes, 16 bits; the map and the magic number 32 bits. */
      readonly value: number;
    }
  | {
      readonly kind: 'authentication-protocol' | 'quality-protocol';
      /** A PPP protocol number (`pppProtocol`). */
      readonly protocol: number;
      /** For CHAP one byte, the algorithm (`chapAlgorithm`); for PAP and EAP none. */
      readonly data: Uint8Array;
    }
  | { readonly kind: 'protocol-field-compression' | 'address-and-control-field-compression' }
  | { readonly kind: 'callback'; readonly operation: number; readonly message: Uint8Array }
  | RawOption;

export type Lcp =
  | ControlPacket<LcpOption>
  | {
      readonly kind: 'protocol-reject';
      readonly identifier: number;
      readonly rejectedProtocol: number;
      /** The packet refused; its sender may have cut it to the MRU. */
      readonly rejectedInformation: Uint8Array;
    }
  | {
      readonly kind: MagicKind;
      readonly identifier: number;
      /** The sender's, 0 if none was negotiated (RFC 1661 §5.8). */
      readonly magicNumber: number;
      /** Of an Identification: the message. */
      readonly data: Uint8Array;
    };

type MagicKind = 'echo-request' | 'echo-reply' | 'discard-request' | 'identification';

const protocolRejectCode = 8;
/** Index + 9 is the code. */
const magicKinds: readonly MagicKind[] = ['echo-request', 'echo-reply', 'discard-request', 'identification'];
const firstMagicCode = 9;

const optionTypes = {
  'maximum-receive-unit': 1,
  'async-control-character-map': 2,
  'authentication-protocol': 3,
  'quality-protocol': 4,
  'magic-number': 5,
  'protocol-field-compression': 7,
  'address-and-control-field-compression': 8,
  callback: 13,
  'maximum-receive-reconstructed-unit': 17,
} as const;

/** Reads LCP from `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parseLcp(bytes: Uint8Array, start: number, end: number): Result<Lcp, Reason> {
  const header = parseControlHeader(bytes, start, end);
  if (!header.ok) return header;
  const { code, identifier, data } = header.value;
  if (code === protocolRejectCode) {
    if (data.length < 2) return fail('bad-length');
    return ok({
      kind: 'protocol-reject',
      identifier,
      rejectedProtocol: readUint16(data, 0),
      rejectedInformation: data.subarray(2),
    });
  }
  const magicKind = magicKinds[code - firstMagicCode];
  if (magicKind === undefined) return decodeControl(header.value, decodeLcpOption);
  if (data.length < 4) return fail('bad-length');
  return ok({ kind: magicKind, identifier, magicNumber: readUint32(data, 0), data: data.subarray(4) });
}

/** Bytes `emitLcp` writes. */
export function lcpLength(packet: Lcp): number {
  if ('magicNumber' in packet) return controlHeaderLength + 4 + packet.data.length;
  if (packet.kind === 'protocol-reject') return controlHeaderLength + 2 + packet.rejectedInformation.length;
  return controlLength(packet, encodeLcpOption);
}

/** Writes LCP at `at`; returns the offset after it. */
export function emitLcp(packet: Lcp, out: Uint8Array, at: number): number {
  const length = lcpLength(packet);
  if ('magicNumber' in packet) {
    const code = firstMagicCode + magicKinds.indexOf(packet.kind);
    at = emitControlHeader(code, packet.identifier, length, out, at);
    at = writeUint32(out, at, packet.magicNumber);
    return writeBytes(out, at, packet.data);
  }
  if (packet.kind === 'protocol-reject') {
    at = emitControlHeader(protocolRejectCode, packet.identifier, length, out, at);
    at = writeUint16(out, at, packet.rejectedProtocol);
    return writeBytes(out, at, packet.rejectedInformation);
  }
  return emitControl(packet, encodeLcpOption, out, at);
}

/** The option as type and data, the form two options are compared in. */
export function encodeLcpOption(option: LcpOption): RawOption {
  switch (option.kind) {
    case 'maximum-receive-unit':
    case 'maximum-receive-reconstructed-unit':
      return rawOption(optionTypes[option.kind], numberBytes(option.value, 2));
    case 'async-control-character-map':
    case 'magic-number':
      return rawOption(optionTypes[option.kind], numberBytes(option.value, 4));
    case 'authentication-protocol':
    case 'quality-protocol':
      return rawOption(optionTypes[option.kind], concatBytes([numberBytes(option.protocol, 2), option.data]));
    case 'protocol-field-compression':
    case 'address-and-control-field-compression':
      return rawOption(optionTypes[option.kind], numberBytes(0, 0));
    case 'callback':
      return rawOption(optionTypes.callback, concatBytes([numberBytes(option.operation, 1), option.message]));
    case 'raw':
      return option;
  }
}

function decodeLcpOption(type: number, data: Uint8Array): LcpOption {
  return decodeKnown(type, data) ?? rawOption(type, data);
}

/** `undefined` if the type is unknown or has another size. */
function decodeKnown(type: number, data: Uint8Array): LcpOption | undefined {
  switch (type) {
    case optionTypes['maximum-receive-unit']:
      return data.length === 2 ? { kind: 'maximum-receive-unit', value: readUint16(data, 0) } : undefined;
    case optionTypes['maximum-receive-reconstructed-unit']:
      return data.length === 2
        ? { kind: 'maximum-receive-reconstructed-unit', value: readUint16(data, 0) }
        : undefined;
    case optionTypes['async-control-character-map']:
      return data.length === 4
        ? { kind: 'async-control-character-map', value: readUint32(data, 0) }
        : undefined;
    case optionTypes['magic-number']:
      return data.length === 4 ? { kind: 'magic-number', value: readUint32(data, 0) } : undefined;
    case optionTypes['authentication-protocol']:
      return authenticationProtocol(data);
    case optionTypes['quality-protocol']:
      return data.length >= 2
        ? { kind: 'quality-protocol', protocol: readUint16(data, 0), data: data.subarray(2) }
        : undefined;
    case optionTypes['protocol-field-compression']:
      return data.length === 0 ? { kind: 'protocol-field-compression' } : undefined;
    case optionTypes['address-and-control-field-compression']:
      return data.length === 0 ? { kind: 'address-and-control-field-compression' } : undefined;
    case optionTypes.callback:
      return data.length >= 1
        ? { kind: 'callback', operation: data[0], message: data.subarray(1) }
        : undefined;
    default:
      return undefined;
  }
}

function authenticationProtocol(data: Uint8Array): LcpOption | undefined {
  if (data.length < 2) return undefined;
  const protocol = readUint16(data, 0);
  const rest = data.subarray(2);
  // PAP: RFC 1334 §2.1. EAP: RFC 3748 §3.2.1. CHAP, one byte of algorithm: RFC 1994 §3.
  if ((protocol === pppProtocol.pap || protocol === pppProtocol.eap) && rest.length !== 0) return undefined;
  if (protocol === pppProtocol.chap && rest.length !== 1) return undefined;
  return { kind: 'authentication-protocol', protocol, data: rest };
}
