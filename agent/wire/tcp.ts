/**
 * TCP segments (RFC 9293 §3.1; options RFC 7323, RFC 2018).
 *
 *     0  source port           2  destination port
 *     4  sequence number       8  acknowledgment number
 *    12  data offset 4 bits (in words) · reserved 4 bits     13  flags     14  window
 *    16  checksum             18  urgent pointer             20  options, 0 … 40 bytes, then the payload
 *
 * Bounded by the data offset. The reserved bits are ignored, and zero when emitted.
 */

import {
  readUint16,
  readUint32,
  writeBytes,
  writeUint8,
  writeUint16,
  writeUint32,
  writeZeros,
} from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { type PseudoHeader, transportChecksum } from './checksum.js';
import { protocolTcp } from './ipv4.js';
import type { Reason } from './reason.js';

/** Without options. */
export const tcpMinLength = 20;
const maxOptionsLength = 40;

/** The bits of the flags byte, from the lowest (RFC 9293 §3.1). */
const flagNames = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'] as const;
export type TcpFlagName = (typeof flagNames)[number];

const optionNumbers = {
  'no-operation': 1,
  'maximum-segment-size': 2,
  'window-scale': 3,
  'sack-permitted': 4,
  sack: 5,
  timestamps: 8,
} as const;

export type TcpOption =
  /** Kind 1, kept so that what came can be sent on unchanged. */
  | { readonly kind: 'no-operation' }
  /** Kind 2. */
  | { readonly kind: 'maximum-segment-size'; readonly maximumSegmentSize: number }
  /** Kind 3. More than 14 is to be taken as 14 (RFC 7323 §2.3). */
  | { readonly kind: 'window-scale'; readonly shift: number }
  /** Kind 4. */
  | { readonly kind: 'sack-permitted' }
  /** Kind 5, one to four blocks. */
  | { readonly kind: 'sack'; readonly blocks: readonly SackBlock[] }
  /** Kind 8. */
  | { readonly kind: 'timestamps'; readonly value: number; readonly echoReply: number }
  /** Any other, such as 19, the MD5 signature (RFC 2385); `type` is its kind, `data` what follows kind and length. */
  | { readonly kind: 'raw'; readonly type: number; readonly data: Uint8Array };

/** Sequence numbers: the first byte received, and the one after the last. */
export interface SackBlock {
  readonly leftEdge: number;
  readonly rightEdge: number;
}

export interface TcpHeader {
  readonly srcPort: number;
  readonly dstPort: number;
  readonly sequenceNumber: number;
  readonly acknowledgmentNumber: number;
  /** 0 … 255; `tcpFlagNames` names the bits. */
  readonly flags: number;
  readonly window: number;
  readonly urgentPointer: number;
  /** At most 40 bytes of them. */
  readonly options: readonly TcpOption[];
}

export interface Tcp extends TcpHeader {
  readonly payload: Uint8Array;
}

/** Reads a segment from `bytes[start, end)`; verifies the checksum if `pseudoHeader` is given. */
export function parseTcp(
  bytes: Uint8Array,
  start: number,
  end: number,
  pseudoHeader?: PseudoHeader,
): Result<Tcp, Reason> {
  if (end - start < tcpMinLength) return fail('truncated');
  const headerLength = (bytes[start + 12] >>> 4) * 4;
  if (headerLength < tcpMinLength) return fail('bad-length');
  if (headerLength > end - start) return fail('truncated');
  if (pseudoHeader && transportChecksum(pseudoHeader, protocolTcp, bytes, start, end) !== 0)
    return fail('bad-checksum');
  const options = parseOptions(bytes, start + tcpMinLength, start + headerLength);
  if (!options) return fail('bad-option');
  return ok({
    srcPort: readUint16(bytes, start),
    dstPort: readUint16(bytes, start + 2),
    sequenceNumber: readUint32(bytes, start + 4),
    acknowledgmentNumber: readUint32(bytes, start + 8),
    flags: bytes[start + 13],
    window: readUint16(bytes, start + 14),
    urgentPointer: readUint16(bytes, start + 18),
    options,
    payload: bytes.subarray(start + headerLength, end),
  });
}

/** Bytes of the header with its options: 20 … 60. */
export function tcpLength(header: TcpHeader): number {
  let length = 0;
  for (const option of header.options) length += optionLength(option);
  return tcpMinLength + ((length + 3) & ~3);
}

/**
 * Writes the header at `at`, before the payload of `payloadLength` bytes that already stands at `at + tcpLength(header)`;
 * returns the offset of the payload.
 */
export function emitTcp(
  header: TcpHeader,
  payloadLength: number,
  pseudoHeader: PseudoHeader,
  out: Uint8Array,
  at: number,
): number {
  const start = at;
  const headerLength = tcpLength(header);
  if (headerLength > tcpMinLength + maxOptionsLength)
    throw new Error(
      `options: expected at most ${maxOptionsLength} bytes, got ${headerLength - tcpMinLength}`,
    );
  at = writeUint16(out, at, header.srcPort);
  at = writeUint16(out, at, header.dstPort);
  at = writeUint32(out, at, header.sequenceNumber);
  at = writeUint32(out, at, header.acknowledgmentNumber);
  at = writeUint8(out, at, (headerLength / 4) << 4);
  at = writeUint8(out, at, header.flags);
  at = writeUint16(out, at, header.window);
  at = writeUint16(out, at, 0);
  at = writeUint16(out, at, header.urgentPointer);
  for (const option of header.options) at = emitOption(option, out, at);
  // End of Option List is a zero, and so is the padding behind it.
  at = writeZeros(out, at, start + headerLength - at);
  writeUint16(out, start + 16, transportChecksum(pseudoHeader, protocolTcp, out, start, at + payloadLength));
  return at;
}

/** The names of the bits set in `flags` (0 … 255), from the lowest: `['syn', 'ack']`. */
export function tcpFlagNames(flags: number): TcpFlagName[] {
  const names: TcpFlagName[] = [];
  for (let bit = 0; bit < flagNames.length; bit++) if (flags & (1 << bit)) names.push(flagNames[bit]);
  return names;
}

/** The flags of names with commas between them, `syn,ack`, in any order; `undefined` for anything else, or one twice. */
export function parseTcpFlags(text: string): number | undefined {
  let flags = 0;
  for (const name of text.split(',')) {
    const bit = flagNames.indexOf(name as TcpFlagName);
    if (bit < 0 || flags & (1 << bit)) return undefined;
    flags |= 1 << bit;
  }
  return flags;
}

/** The options at `bytes[at, end)`; `undefined` if one has a wrong length. */
function parseOptions(bytes: Uint8Array, at: number, end: number): TcpOption[] | undefined {
  const options: TcpOption[] = [];
  while (at < end && bytes[at] !== 0) {
    if (bytes[at] === optionNumbers['no-operation']) {
      options.push({ kind: 'no-operation' });
      at++;
      continue;
    }
    if (end - at < 2) return undefined;
    const length = bytes[at + 1];
    if (length < 2 || length > end - at) return undefined;
    const option = parseOption(bytes, at, length);
    if (!option) return undefined;
    options.push(option);
    at += length;
  }
  return options;
}

function parseOption(bytes: Uint8Array, at: number, length: number): TcpOption | undefined {
  const type = bytes[at];
  switch (type) {
    case optionNumbers['maximum-segment-size']:
      if (length !== 4) return undefined;
      return { kind: 'maximum-segment-size', maximumSegmentSize: readUint16(bytes, at + 2) };
    case optionNumbers['window-scale']:
      return length === 3 ? { kind: 'window-scale', shift: bytes[at + 2] } : undefined;
    case optionNumbers['sack-permitted']:
      return length === 2 ? { kind: 'sack-permitted' } : undefined;
    case optionNumbers.sack: {
      if (length < 10 || (length - 2) % 8 !== 0) return undefined;
      const blocks: SackBlock[] = [];
      for (let edge = at + 2; edge < at + length; edge += 8)
        blocks.push({ leftEdge: readUint32(bytes, edge), rightEdge: readUint32(bytes, edge + 4) });
      return { kind: 'sack', blocks };
    }
    case optionNumbers.timestamps: {
      if (length !== 10) return undefined;
      const value = readUint32(bytes, at + 2);
      return { kind: 'timestamps', value, echoReply: readUint32(bytes, at + 6) };
    }
    default:
      return { kind: 'raw', type, data: bytes.subarray(at + 2, at + length) };
  }
}

function optionLength(option: TcpOption): number {
  switch (option.kind) {
    case 'no-operation':
      return 1;
    case 'maximum-segment-size':
      return 4;
    case 'window-scale':
      return 3;
    case 'sack-permitted':
      return 2;
    case 'sack':
      return 2 + 8 * option.blocks.length;
    case 'timestamps':
      return 10;
    case 'raw':
      return 2 + option.data.length;
  }
}

function emitOption(option: TcpOption, out: Uint8Array, at: number): number {
  if (option.kind === 'no-operation') return writeUint8(out, at, optionNumbers[option.kind]);
  at = writeUint8(out, at, optionNumber(option));
  at = writeUint8(out, at, optionLength(option));
  switch (option.kind) {
    case 'maximum-segment-size':
      return writeUint16(out, at, option.maximumSegmentSize);
    case 'window-scale':
      return writeUint8(out, at, option.shift);
    case 'sack-permitted':
      return at;
    case 'sack':
      for (const block of option.blocks) {
        at = writeUint32(out, at, block.leftEdge);
        at = writeUint32(out, at, block.rightEdge);
      }
      return at;
    case 'timestamps':
      at = writeUint32(out, at, option.value);
      return writeUint32(out, at, option.echoReply);
    case 'raw':
      return writeBytes(out, at, option.data);
  }
}

function optionNumber(option: TcpOption): number {
  return option.kind === 'raw' ? option.type : optionNumbers[option.kind];
}
