/**
 * ARP in a sleeping host's place (RFC 826; probes and announcements as RFC 5227 §1.1, §2.1 name them).
 *
 * A request for one of the host's addresses is answered with the host's MAC (or the agent's, `Served.linkAddress`), to the sender
 * it names. So is a probe
 * (sender 0.0.0.0): the answer is the conflict that keeps the address for the host. An announcement (sender = target) asks
 * nothing. One answer of the request's length a request.
 */

import { sameBytes } from '../../core/bytes.js';
import { type Arp, arpLength, arpReply, arpRequest, emitArp, parseArp } from '../../wire/arp.js';
import { etherTypeArp } from '../../wire/ethernet.js';
import { networkArp } from '../../wire/headers.js';
import type { Question } from '../responder.js';
import {
  etherFrame,
  includes,
  isGroupMac,
  isIpv4Group,
  linkRefusal,
  type Refusal,
  type Send,
  type Way,
  wayBack,
} from './frame.js';

export function respondArp(question: Question, send: Send): 'answered' | Refusal {
  const { frame, headers, host } = question;
  if (headers.network !== networkArp) return 'not-a-question';
  const refusal = linkRefusal(question);
  if (refusal) return refusal;
  const arp = parseArp(frame, headers.l3Offset, frame.length);
  if (!arp.ok) return 'malformed';
  const { operation, senderMac, senderAddress, targetAddress } = arp.value;
  if (operation !== arpRequest || sameBytes(senderAddress, targetAddress)) return 'not-a-question';
  if (!includes(host.ipv4, targetAddress)) return 'not-ours';
  if (isGroupMac(senderMac, 0) || isIpv4Group(senderAddress) || includes(host.ipv4, senderAddress))
    return 'bad-source';
  if (sameBytes(senderMac, host.mac)) return 'own-frame';
  send(
    arpFrame(wayBack(question, senderMac), {
      operation: arpReply,
      senderMac: host.linkAddress ?? host.mac,
      senderAddress: targetAddress,
      targetMac: senderMac,
      targetAddress: senderAddress,
    }),
  );
  return 'answered';
}

/**
 * An ARP announcement (RFC 5227 §2.3) that `mac` has the address, for neighbours to correct what they remember; `mac`: the
 * host's where its frames pass this agent anyway, the link's where they must be drawn here. Send it twice, 2 s apart
 * (§1.1: ANNOUNCE_NUM, ANNOUNCE_INTERVAL).
 */
export function arpAnnouncement(
  way: Pick<Way, 'link' | 'tags'>,
  mac: Uint8Array,
  address: Uint8Array,
): Uint8Array {
  return arpFrame(
    { ...way, dstMac: new Uint8Array(6).fill(0xff) },
    {
      operation: arpRequest,
      senderMac: mac,
      senderAddress: address,
      targetMac: new Uint8Array(6),
      targetAddress: address,
    },
  );
}

function arpFrame(way: Way, arp: Arp): Uint8Array {
  return etherFrame(way, etherTypeArp, arpLength, (out, at) => emitArp(arp, out, at));
}
