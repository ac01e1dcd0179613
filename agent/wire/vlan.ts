/**
 * VLAN tags between an Ethernet frame's source MAC and its EtherType (IEEE 802.1Q-2018 §9.6; stacked as 802.1ad does).
 *
 *     0  tag protocol identifier = 0x8100 (customer) or 0x88a8 (service)
 *     2  priority 3 bits · drop eligible 1 bit · VLAN identifier 12 bits
 *
 * Bounded by `maxVlanTags`; more are refused as 'too-many'.
 */

import { readUint16, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Reason } from './reason.js';

export const vlanTagLength = 4;
export const tpidCustomer = 0x8100;
export const tpidService = 0x88a8;
/** QinQ needs two; a transport network between may add its own pair. */
export const maxVlanTags = 4;
/** 802.1Q table 9-2: this VLAN identifier "shall not be transmitted". */
export const reservedVlanId = 0xfff;

export interface VlanTag {
  readonly tpid: number;
  /** Priority code point, 0 … 7. */
  readonly priority: number;
  readonly dropEligible: boolean;
  /** 0 (priority only) … 4094. */
  readonly vlanId: number;
}

export function isVlanTpid(etherType: number): boolean {
  return etherType === tpidCustomer || etherType === tpidService;
}

/** Reads the tags, none or more, at `bytes[start, end)`; an EtherType must follow the last. */
export function parseVlanTags(bytes: Uint8Array, start: number, end: number): Result<VlanTag[], Reason> {
  const tags: VlanTag[] = [];
  let at = start;
  for (;;) {
    if (end - at < 2) return fail('truncated');
    const tpid = readUint16(bytes, at);
    if (!isVlanTpid(tpid)) return ok(tags);
    if (tags.length === maxVlanTags) return fail('too-many');
    if (end - at < vlanTagLength) return fail('truncated');
    const control = readUint16(bytes, at + 2);
    const vlanId = control & 0xfff;
    if (vlanId === reservedVlanId) return fail('bad-value');
    tags.push({ tpid, priority: control >>> 13, dropEligible: (control & 0x1000) !== 0, vlanId });
    at += vlanTagLength;
  }
}

/** Writes the tags at `at`; returns the offset after them. Needs `vlanTagLength` bytes each. */
export function emitVlanTags(tags: readonly VlanTag[], out: Uint8Array, at: number): number {
  for (const tag of tags) {
    at = writeUint16(out, at, tag.tpid);
    at = writeUint16(out, at, (tag.priority << 13) | (tag.dropEligible ? 0x1000 : 0) | tag.vlanId);
  }
  return at;
}

/** Whether a frame whose EtherType is followed by `bytes[payloadAt]` is on the VLANs of `tags`, as emitted; priorities may differ. */
export function isOnVlans(frame: Uint8Array, payloadAt: number, tags: Uint8Array): boolean {
  const tagsAt = payloadAt - 2 - tags.length;
  // Behind the two MAC addresses.
  if (tagsAt !== 12) return false;
  for (let i = 0; i < tags.length; i++) {
    // Byte 2 of a tag holds priority and drop eligibility in its upper half.
    const mask = i % vlanTagLength === 2 ? 0x0f : 0xff;
    if (((frame[tagsAt + i] ^ tags[i]) & mask) !== 0) return false;
  }
  return true;
}
