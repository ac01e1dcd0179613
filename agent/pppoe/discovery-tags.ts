/**
 * What both roles of PPPoE discovery (RFC 2516 §5; PPP-Max-Payload RFC 4638) do with frames: the tags that may stand once,
 * taken out of the list, and a packet put together.
 *
 * Bounded by `pppoeTagLimit` tags in, and out by the Ethernet payload.
 */

import { writeBytes, writeUint16 } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { etherTypePppoeDiscovery, maxEthernetLength } from '../wire/ethernet.js';
import {
  emitPppoe,
  emitPppoeTags,
  type PppoeTag,
  parsePppoeTags,
  pppoeHeaderLength,
  pppoeTagsLength,
} from '../wire/pppoe.js';
import type { Reason } from '../wire/reason.js';

/** PPP payload of an Ethernet of 1500 bytes (RFC 2516 §7): what goes without RFC 4638. */
export const standardPayload = 1492;

const serviceNameType = 0x0101;

type EchoedTag = Extract<PppoeTag, { readonly kind: 'host-uniq' | 'ac-cookie' | 'relay-session-id' }>;

export interface DiscoveryTags {
  /** In order; one that is not UTF-8 is raw. */
  readonly services: readonly PppoeTag[];
  readonly acNames: readonly PppoeTag[];
  readonly hostUniq: EchoedTag | undefined;
  readonly acCookie: EchoedTag | undefined;
  readonly relaySessionId: EchoedTag | undefined;
  /** Bytes; 0 for none. */
  readonly maxPayload: number;
  /** Of the access node (TR-101); '' for none. */
  readonly circuitId: string;
  readonly remoteId: string;
  /** The first error tag. */
  readonly error: Extract<PppoeTag, { readonly text: string }> | undefined;
}

/** The tags in `payload`; 'duplicate' if one of those that echo or bind stands twice, for then it says two things. */
export function readDiscoveryTags(payload: Uint8Array): Result<DiscoveryTags, Reason | 'duplicate'> {
  const parsed = parsePppoeTags(payload, 0, payload.length);
  if (!parsed.ok) return parsed;
  const services: PppoeTag[] = [];
  const acNames: PppoeTag[] = [];
  let hostUniq: DiscoveryTags['hostUniq'];
  let acCookie: DiscoveryTags['acCookie'];
  let relaySessionId: DiscoveryTags['relaySessionId'];
  let maxPayload = 0;
  let circuitId = '';
  let remoteId = '';
  let error: DiscoveryTags['error'];
  for (const tag of parsed.value) {
    switch (tag.kind) {
      case 'service-name':
        services.push(tag);
        break;
      case 'ac-name':
        acNames.push(tag);
        break;
      case 'host-uniq':
        if (hostUniq) return fail('duplicate');
        hostUniq = tag;
        break;
      case 'ac-cookie':
        if (acCookie) return fail('duplicate');
        acCookie = tag;
        break;
      case 'relay-session-id':
        if (relaySessionId) return fail('duplicate');
        relaySessionId = tag;
        break;
      case 'ppp-max-payload':
        if (maxPayload !== 0) return fail('duplicate');
        maxPayload = tag.value;
        break;
      case 'dsl-forum':
        // A node near the host may have added one before ours did: the last, nearest to us, counts (TR-101 R-126 has it replaced).
        for (const subOption of tag.subOptions) {
          if (subOption.kind === 'agent-circuit-id') circuitId = subOption.text;
          else if (subOption.kind === 'agent-remote-id') remoteId = subOption.text;
        }
        break;
      case 'service-name-error':
      case 'ac-system-error':
      case 'generic-error':
        error = error ?? tag;
        break;
      case 'raw':
        if (tag.type === serviceNameType) services.push(tag);
        break;
    }
  }
  return ok({
    services,
    acNames,
    hostUniq,
    acCookie,
    relaySessionId,
    maxPayload,
    circuitId,
    remoteId,
    error,
  });
}

/** Whether the tag names this service. */
export function sameService(tag: PppoeTag, name: string): boolean {
  return tag.kind === 'service-name' && tag.text === name;
}

export interface DiscoveryFrame {
  readonly dstMac: Uint8Array;
  readonly srcMac: Uint8Array;
  /** The VLAN tags as they stand in a frame. */
  readonly vlanTags: Uint8Array;
  readonly code: number;
  readonly sessionId: number;
  readonly tags: readonly PppoeTag[];
}

/** The frame, without padding; `undefined` if its payload is longer than Ethernet's 1500 bytes. */
export function emitDiscoveryFrame(packet: DiscoveryFrame): Uint8Array | undefined {
  const length = pppoeTagsLength(packet.tags);
  if (pppoeHeaderLength + length > maxEthernetLength) return undefined;
  const frame = new Uint8Array(14 + packet.vlanTags.length + pppoeHeaderLength + length);
  let at = writeBytes(frame, 0, packet.dstMac);
  at = writeBytes(frame, at, packet.srcMac);
  at = writeBytes(frame, at, packet.vlanTags);
  at = writeUint16(frame, at, etherTypePppoeDiscovery);
  at = emitPppoe(packet, length, frame, at);
  emitPppoeTags(packet.tags, frame, at);
  return frame;
}
