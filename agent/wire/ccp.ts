/**
 * CCP, the Compression Control Protocol (RFC 1962). Packet and option list as in ppp-control.ts. No compression is
 * offered here: options stay raw, to be named in a log and rejected; Reset-Request and Reset-Ack (14, 15) are unknown
 * codes, which come only once a compressor is agreed on.
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

export type Ccp = ControlPacket<RawOption>;

/** IANA, PPP CCP Configuration Option Types; 24 is what Deflate used before RFC 1979 gave it 26. */
const optionNames: { readonly [type: number]: string } = {
  0: 'oui',
  1: 'predictor-1',
  2: 'predictor-2',
  3: 'puddle-jumper',
  16: 'hewlett-packard-ppc',
  17: 'stac-lzs',
  18: 'mppe-mppc',
  19: 'gandalf-fza',
  20: 'v42bis',
  21: 'bsd-compress',
  23: 'lzs-dcp',
  24: 'deflate-draft',
  26: 'deflate',
};

/** The name of a compression by its option type; `undefined` if it has none. */
export function ccpOptionName(type: number): string | undefined {
  return optionNames[type];
}

/** Reads CCP from `bytes[start, end)`. Byte fields are views into `bytes`. */
export function parseCcp(bytes: Uint8Array, start: number, end: number): Result<Ccp, Reason> {
  return parseControl(bytes, start, end, rawOption);
}

/** Bytes `emitCcp` writes. */
export function ccpLength(packet: Ccp): number {
  return controlLength(packet, option => option);
}

/** Writes CCP at `at`; returns the offset after it. */
export function emitCcp(packet: Ccp, out: Uint8Array, at: number): number {
  return emitControl(packet, option => option, out, at);
}
