/**
 * Ethernet frames without the frame check sequence (IEEE 802.3-2018 §3.1), in the type form ("Ethernet II") and the
 * length form, with VLAN tags.
 *
 *     0  destination MAC      6  source MAC      12  VLAN tags, 4 bytes each
 *    12 + 4n  EtherType (from 0x0600), or length of the payload (to 1500)      14 + 4n  payload
 *
 * Bounded by `maxVlanTags`. In the length form the payload begins with the LLC header and padding is cut off; the
 * type form does not say where padding begins, so its payload runs to the end of the frame.
 */

import { readUint16, writeBytes, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from './reason.js';
import { emitVlanTags, parseVlanTags, type VlanTag, vlanTagLength } from './vlan.js';

/** Without VLAN tags. */
export const ethernetHeaderLength = 14;
/** The largest number in the type field that is a length. */
export const maxEthernetLength = 1500;
/** The smallest number in the type field that is a type; between the two lies nothing. */
export const minEtherType = 0x0600;

export const etherTypeIpv4 = 0x0800;
export const etherTypeArp = 0x0806;
export const etherTypeIpv6 = 0x86dd;
export const etherTypePppoeDiscovery = 0x8863;
export const etherTypePppoeSession = 0x8864;

export interface EthernetHeader {
  readonly dstMac: Uint8Array;
  readonly srcMac: Uint8Array;
  /** Outermost first. */
  readonly tags: readonly VlanTag[];
  /** After the tags. Up to 1500 it is the length form: parsed, the payload's length; emitted, recomputed. */
  readonly etherType: number;
}

export interface Ethernet extends EthernetHeader {
  readonly payload: Uint8Array;
}

/** Reads a frame from `bytes[start, end)`. MACs and payload are views into `bytes`. */
export function parseEthernet(bytes: Uint8Array, start: number, end: number): Result<Ethernet, Reason> {
  if (end - start < ethernetHeaderLength) return fail('truncated');
  const tags = parseVlanTags(bytes, start + 12, end);
  if (!tags.ok) return tags;
  const typeAt = start + 12 + vlanTagLength * tags.value.length;
  const etherType = readUint16(bytes, typeAt);
  if (etherType > maxEthernetLength && etherType < minEtherType) return fail('bad-type');
  const payloadAt = typeAt + 2;
  if (etherType <= maxEthernetLength) {
    if (etherType > end - payloadAt) return fail('truncated');
    end = payloadAt + etherType;
  }
  return ok({
    dstMac: bytes.subarray(start, start + 6),
    srcMac: bytes.subarray(start + 6, start + 12),
    tags: tags.value,
    etherType,
    payload: bytes.subarray(payloadAt, end),
  });
}

export function ethernetLength(header: EthernetHeader): number {
  return ethernetHeaderLength + vlanTagLength * header.tags.length;
}

/** Writes the header at `at`, before a payload of `payloadLength` bytes; returns the offset of the payload. */
export function emitEthernet(
  header: EthernetHeader,
  payloadLength: number,
  out: Uint8Array,
  at: number,
): number {
  at = writeBytes(out, at, header.dstMac);
  at = writeBytes(out, at, header.srcMac);
  at = emitVlanTags(header.tags, out, at);
  return writeUint16(out, at, header.etherType <= maxEthernetLength ? payloadLength : header.etherType);
}
