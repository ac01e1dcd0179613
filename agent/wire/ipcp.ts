/**
 * IPCP, the Internet Protocol Control Protocol (RFC 1332 §2 and §3), with the name server options of RFC 1877 §1.
 * Packet and option list as in ppp-control.ts; codes 1…7.
 */

import { concatBytes, numberBytes, readUint16 } from '../core/bytes.js';
import type { Result } from '../core/result.js';
import { ipv4Length } from './address.js';
import { pppProtocol } from './ppp.js';
import {
  type ControlPacket,
  controlLength,
  emitControl,
  parseControl,
  type RawOption,
  rawOption,
} from './ppp-control.js';
import type { Reason } from './reason.js';

export type IpcpOption =
  | {
      readonly kind: 'ip-address' | ServerKind;
      /** 0.0.0.0 asks the peer to give one in a Configure-Nak. */
      readonly ipAddress: Uint8Array;
    }
  /** Deprecated (RFC 1332 §3.1), known so that it can be rejected by name. */
  | {
      readonly kind: 'ip-addresses';
      readonly sourceAddress: Uint8Array;
      readonly destinationAddress: Uint8Array;
    }
  | {
      readonly kind: 'ip-compression-protocol';
      readonly protocol: number;
      /** For Van Jacobson (`pppProtocol.vanJacobsonCompressed`) Max-Slot-Id and Comp-Slot-Id (RFC 1332 §4). */
      readonly data: Uint8Array;
    }
  | RawOption;

export type Ipcp = ControlPacket<IpcpOption>;

type ServerKind =
  | 'primary-dns-server'
  | 'primary-nbns-server'
  | 'secondary-dns-server'
  | 'secondary-nbns-server';

const ipAddressesType = 1;
const ipCompressionProtocolType = 2;
const ipAddressType = 3;
const firstServerType = 129;
/** Index + 129 is the type (RFC 1877 §1.1…§1.4). */
const serverKinds: readonly ServerKind[] = [
  'primary-dns-server',
  'primary-nbns-server',
  'secondary-dns-server',
  'secondary-nbns-server',
];

/** Reads IPCP from `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parseIpcp(bytes: Uint8Array, start: number, end: number): Result<Ipcp, Reason> {
  return parseControl(bytes, start, end, decodeIpcpOption);
}

/** Bytes `emitIpcp` writes. */
export function ipcpLength(packet: Ipcp): number {
  return controlLength(packet, encodeIpcpOption);
}

/** Writes IPCP at `at`; returns the offset after it. */
export function emitIpcp(packet: Ipcp, out: Uint8Array, at: number): number {
  return emitControl(packet, encodeIpcpOption, out, at);
}

/** The option as type and data, the form two options are compared in. */
export function encodeIpcpOption(option: IpcpOption): RawOption {
  switch (option.kind) {
    case 'ip-addresses':
      return rawOption(ipAddressesType, concatBytes([option.sourceAddress, option.destinationAddress]));
    case 'ip-compression-protocol':
      return rawOption(
        ipCompressionProtocolType,
        concatBytes([numberBytes(option.protocol, 2), option.data]),
      );
    case 'ip-address':
      return rawOption(ipAddressType, option.ipAddress);
    case 'raw':
      return option;
    default:
      return rawOption(firstServerType + serverKinds.indexOf(option.kind), option.ipAddress);
  }
}

function decodeIpcpOption(type: number, data: Uint8Array): IpcpOption {
  return decodeKnown(type, data) ?? rawOption(type, data);
}

/** `undefined` if the type is unknown or has another size. */
function decodeKnown(type: number, data: Uint8Array): IpcpOption | undefined {
  if (type === ipAddressesType) {
    if (data.length !== 2 * ipv4Length) return undefined;
    const sourceAddress = data.subarray(0, ipv4Length);
    return { kind: 'ip-addresses', sourceAddress, destinationAddress: data.subarray(ipv4Length) };
  }
  if (type === ipCompressionProtocolType) {
    if (data.length < 2) return undefined;
    const protocol = readUint16(data, 0);
    if (protocol === pppProtocol.vanJacobsonCompressed && data.length !== 4) return undefined;
    return { kind: 'ip-compression-protocol', protocol, data: data.subarray(2) };
  }
  const kind = type === ipAddressType ? 'ip-address' : serverKinds[type - firstServerType];
  return kind !== undefined && data.length === ipv4Length ? { kind, ipAddress: data } : undefined;
}
