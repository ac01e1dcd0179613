/**
 * NAT keep-alives in a sleeping host's place (RFC 3948 §4): one byte of ff from its port to its peer's, so that the router
 * keeps the mapping which its tunnel needs. The peer ignores it (§2.3). A rule's timer says how often; 20 s is the
 * standard's default.
 */

import type { Keeper, Served } from '../responder.js';
import { wayOf } from './dhcp-renewal.js';
import { defaultTimeToLive, type Send, udpFrame } from './frame.js';

export type NatRefusal =
  /** The host was not heard to keep any open. */
  'no-mapping';

export const keepaliveByte = 0xff;

export function keepNatMapping(
  _now: number,
  where: Parameters<Keeper>[1],
  { natMappings = [] }: Served,
  send: Send,
): 'sent' | NatRefusal {
  for (const { address, port, peerAddress, peerPort, routerMac } of natMappings) {
    const parts = { srcAddress: address, dstAddress: peerAddress, srcPort: port, dstPort: peerPort };
    const payload = new Uint8Array(1).fill(keepaliveByte);
    send(udpFrame(wayOf(where, routerMac), { ...parts, timeToLive: defaultTimeToLive }, payload));
  }
  return natMappings.length > 0 ? 'sent' : 'no-mapping';
}
