/**
 * The packet that LCP, the network control protocols and CCP share, and with them PAP and CHAP its header (RFC 1661 §5):
 *
 *     0  code        1  identifier      2  length, this header included
 *     4  data        4 + data: end (bytes beyond the length are padding, ignored)
 *
 * The data of a Configure packet is a list of options (RFC 1661 §6): type, length with these two bytes, data. Which
 * types there are is each protocol's own: it hands in a decoder and an encoder. An option it does not know, or whose size
 * is not its type's, is kept as raw bytes, since it must go back unchanged in a Configure-Reject (RFC 1661 §5.4) or is
 * named in a Configure-Nak with what would do (§6). At most `controlOptionLimit` options.
 */

import { checkAtMost, readUint16, writeBytes, writeUint8, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from './reason.js';

export const controlHeaderLength = 4;
/** Options in one packet, more than a peer has reason to send. Beyond: 'too-many'. */
export const controlOptionLimit = 32;

/** Index + 1 is the code (RFC 1661 §5). */
const kinds = [
  'configure-request',
  'configure-ack',
  'configure-nak',
  'configure-reject',
  'terminate-request',
  'terminate-ack',
  'code-reject',
] as const;

/** An option as it is on the wire: `type` 0…255, `data` without the two bytes before it, at most 253. */
export interface RawOption {
  readonly kind: 'raw';
  readonly type: number;
  readonly data: Uint8Array;
}

export type ControlPacket<Option> =
  | {
      readonly kind: 'configure-request' | 'configure-ack' | 'configure-nak' | 'configure-reject';
      readonly identifier: number;
      readonly options: readonly Option[];
    }
  | {
      readonly kind: 'terminate-request' | 'terminate-ack';
      readonly identifier: number;
      readonly data: Uint8Array;
    }
  | {
      readonly kind: 'code-reject';
      readonly identifier: number;
      /** The packet refused, header included; its sender may have cut it to the MRU. */
      readonly rejectedPacket: Uint8Array;
    }
  | UnknownControlPacket;

/** A code the protocol does not have; the answer is a Code-Reject (RFC 1661 §5.6). */
export interface UnknownControlPacket {
  readonly kind: 'unknown';
  readonly code: number;
  readonly identifier: number;
  readonly data: Uint8Array;
}

/** The option of a type, a raw one if the type is unknown or its size wrong: there is always something to answer to. */
export type DecodeOption<Option> = (type: number, data: Uint8Array) => Option;
export type EncodeOption<Option> = (option: Option) => RawOption;

/** Reads the header from `bytes[start, end)`. The data is a view into `bytes`, without padding. */
export function parseControlHeader(
  bytes: Uint8Array,
  start: number,
  end: number,
): Result<UnknownControlPacket, Reason> {
  if (end - start < controlHeaderLength) return fail('truncated');
  const length = readUint16(bytes, start + 2);
  if (length < controlHeaderLength) return fail('bad-length');
  if (end - start < length) return fail('truncated');
  return ok({
    kind: 'unknown',
    code: bytes[start],
    identifier: bytes[start + 1],
    data: bytes.subarray(start + controlHeaderLength, start + length),
  });
}

/** The packet of the seven codes every control protocol has; any other code stays as it is. */
export function decodeControl<Option>(
  packet: UnknownControlPacket,
  decode: DecodeOption<Option>,
): Result<ControlPacket<Option>, Reason> {
  const { code, identifier, data } = packet;
  const kind = kinds[code - 1];
  switch (kind) {
    case 'configure-request':
    case 'configure-ack':
    case 'configure-nak':
    case 'configure-reject': {
      const options = parseOptions(data, decode);
      return options.ok ? ok({ kind, identifier, options: options.value }) : options;
    }
    case 'terminate-request':
    case 'terminate-ack':
      return ok({ kind, identifier, data });
    case 'code-reject':
      return ok({ kind, identifier, rejectedPacket: data });
    default:
      return ok(packet);
  }
}

/** Reads a packet from `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parseControl<Option>(
  bytes: Uint8Array,
  start: number,
  end: number,
  decode: DecodeOption<Option>,
): Result<ControlPacket<Option>, Reason> {
  const header = parseControlHeader(bytes, start, end);
  return header.ok ? decodeControl(header.value, decode) : header;
}

/** Bytes `emitControl` writes. */
export function controlLength<Option>(packet: ControlPacket<Option>, encode: EncodeOption<Option>): number {
  let length = controlHeaderLength;
  if ('options' in packet) for (const option of packet.options) length += 2 + encode(option).data.length;
  else length += packet.kind === 'code-reject' ? packet.rejectedPacket.length : packet.data.length;
  return length;
}

/** Writes a packet at `at`; returns the offset after it. Throws if an option's data is longer than 253 bytes. */
export function emitControl<Option>(
  packet: ControlPacket<Option>,
  encode: EncodeOption<Option>,
  out: Uint8Array,
  at: number,
): number {
  const length = controlLength(packet, encode);
  const code = packet.kind === 'unknown' ? packet.code : kinds.indexOf(packet.kind) + 1;
  at = emitControlHeader(code, packet.identifier, length, out, at);
  if (!('options' in packet))
    return writeBytes(out, at, packet.kind === 'code-reject' ? packet.rejectedPacket : packet.data);
  for (const option of packet.options) {
    const { type, data } = encode(option);
    checkAtMost('option data bytes', data.length, 253);
    at = writeUint8(out, at, type);
    at = writeUint8(out, at, 2 + data.length);
    at = writeBytes(out, at, data);
  }
  return at;
}

/** Writes the header of a packet of `length` bytes in all; returns the offset after the header. */
export function emitControlHeader(
  code: number,
  identifier: number,
  length: number,
  out: Uint8Array,
  at: number,
): number {
  at = writeUint8(out, at, code);
  at = writeUint8(out, at, identifier);
  return writeUint16(out, at, length);
}

export function rawOption(type: number, data: Uint8Array): RawOption {
  return { kind: 'raw', type, data };
}

function parseOptions<Option>(
  data: Uint8Array,
  decode: DecodeOption<Option>,
): Result<readonly Option[], Reason> {
  const options: Option[] = [];
  let at = 0;
  while (at < data.length) {
    if (data.length - at < 2) return fail('bad-length');
    const end = at + data[at + 1];
    if (end < at + 2 || end > data.length) return fail('bad-length');
    if (options.length === controlOptionLimit) return fail('too-many');
    options.push(decode(data[at], data.subarray(at + 2, end)));
    at = end;
  }
  return ok(options);
}
