/**
 * IPV6CP, the IPv6 Control Protocol (RFC 5072 §3 and §4). Packet and option list as in ppp-control.ts; codes 1…7.
 */

import type { Result } from '../core/result.js';
import {
  type ControlPacket,
  controlLength,
  emitControl,
  parseControl,
  type RawOption,
  rawOption,
} from './ppp-control.js';
import type { Reason } from './reason.js';

export type Ipv6cpOption =
  | {
      readonly kind: 'interface-identifier';
      /** 8 bytes, the lower half of the link-local address; all zero asks the peer for one (RFC 5072 §4.1). */
      readonly interfaceIdentifier: Uint8Array;
    }
  | RawOption;

export type Ipv6cp = ControlPacket<Ipv6cpOption>;

const interfaceIdentifierType = 1;

/** Reads IPV6CP from `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parseIpv6cp(bytes: Uint8Array, start: number, end: number): Result<Ipv6cp, Reason> {
  return parseControl(bytes, start, end, decodeIpv6cpOption);
}

/** Bytes `emitIpv6cp` writes. */
export function ipv6cpLength(packet: Ipv6cp): number {
  return controlLength(packet, encodeIpv6cpOption);
}

/** Writes IPV6CP at `at`; returns the offset after it. */
export function emitIpv6cp(packet: Ipv6cp, out: Uint8Array, at: number): number {
  return emitControl(packet, encodeIpv6cpOption, out, at);
}

/** The option as type and data, the form two options are compared in. */
export function encodeIpv6cpOption(option: Ipv6cpOption): RawOption {
  return option.kind === 'raw' ? option : rawOption(interfaceIdentifierType, option.interfaceIdentifier);
}

function decodeIpv6cpOption(type: number, data: Uint8Array): Ipv6cpOption {
  if (type !== interfaceIdentifierType || data.length !== 8) return rawOption(type, data);
  return { kind: 'interface-identifier', interfaceIdentifier: data };
}
