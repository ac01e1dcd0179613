/**
 * Neighbour Discovery in a sleeping host's place (RFC 4861 §7.2; duplicate address detection RFC 4862 §5.4).
 *
 * A solicitation for one of the host's addresses is answered as the host would: target link-layer address the host's (or the
 * agent's, `Served.linkAddress`), S
 * set unless nobody is named to answer to (then all nodes hear it, and duplicate address detection fails, §5.4.4), O set
 * because the MAC is the host's own and not that of a proxy of §7.2.8. R is clear: routers do not sleep. One answer of at
 * most 8 bytes more than a solicitation (§7.2.2's option). Solicitations in fragments are refused (RFC 6980 §5).
 */

import { readUint24, sameBytes } from '../../core/bytes.js';
import { protocolIcmpv6 } from '../../wire/ipv4.js';
import { isIpv6Multicast, isIpv6Unspecified } from '../../wire/ipv6.js';
import { emitNdp, type NeighborAdvertisement, ndpHopLimit, ndpLength, parseNdp } from '../../wire/ndp.js';
import type { Question } from '../responder.js';
import {
  allNodes,
  includes,
  ipv6Frame,
  isGroupMac,
  type Refusal,
  readIpv6,
  type Send,
  type Way,
  wayBack,
  wayToGroup,
} from './frame.js';

const typeNeighborSolicitation = 135;

export function respondNd(question: Question, send: Send): 'answered' | Refusal {
  const { headers, host } = question;
  if (headers.protocol !== protocolIcmpv6 || headers.icmpType !== typeNeighborSolicitation)
    return 'not-a-question';
  const packet = readIpv6(question);
  if (!packet.ok) return packet.reason;
  const { srcAddress, dstAddress, payload, protocol } = packet.value;
  if (protocol !== protocolIcmpv6) return 'malformed';
  // Checksum, hop limit and all else that §7.1.1 asks for.
  const solicitation = parseNdp(payload, 0, payload.length, packet.value);
  if (!solicitation.ok || solicitation.value.kind !== 'neighbor-solicitation') return 'malformed';
  const { targetAddress, options } = solicitation.value;
  if (!includes(host.ipv6, targetAddress)) return 'not-ours';
  // §4.3: to the solicited-node group of the target, or to the target itself.
  if (!sameBytes(dstAddress, targetAddress) && !isSolicitedNodeOf(dstAddress, targetAddress))
    return 'malformed';
  const back = wayBack(question);
  const mac = host.linkAddress ?? host.mac;
  if (isIpv6Unspecified(srcAddress)) {
    send(advertisementFrame(wayToGroup(back, allNodes()), allNodes(), mac, targetAddress, false));
    return 'answered';
  }
  let way = back;
  for (const option of options)
    if (option.kind === 'source-link-layer-address') way = { ...back, dstMac: option.linkLayerMac };
  if (isGroupMac(way.dstMac, 0)) return 'bad-source';
  if (sameBytes(way.dstMac, host.mac)) return 'own-frame';
  send(advertisementFrame(way, srcAddress, mac, targetAddress, true));
  return 'answered';
}

/**
 * An unsolicited advertisement that `mac` has the address (RFC 4861 §7.2.6); `mac` as for `arpAnnouncement`. Send it up to
 * 3 times, 1 s apart (§10: MAX_NEIGHBOR_ADVERTISEMENT, RETRANS_TIMER).
 */
export function unsolicitedAdvertisement(
  way: Pick<Way, 'link' | 'tags'>,
  mac: Uint8Array,
  address: Uint8Array,
): Uint8Array {
  return advertisementFrame(wayToGroup(way, allNodes()), allNodes(), mac, address, false);
}

function advertisementFrame(
  way: Way,
  dstAddress: Uint8Array,
  mac: Uint8Array,
  targetAddress: Uint8Array,
  solicited: boolean,
): Uint8Array {
  const advertisement: NeighborAdvertisement = {
    kind: 'neighbor-advertisement',
    router: false,
    solicited,
    override: true,
    targetAddress,
    options: [{ kind: 'target-link-layer-address', linkLayerMac: mac }],
  };
  const parts = { srcAddress: targetAddress, dstAddress, protocol: protocolIcmpv6, hopLimit: ndpHopLimit };
  return ipv6Frame(way, parts, ndpLength(advertisement), (out, at) => emitNdp(advertisement, parts, out, at));
}

/** ff02::1:ff and the last three bytes of the address (RFC 4291 §2.7.1). */
function isSolicitedNodeOf(group: Uint8Array, address: Uint8Array): boolean {
  if (!isIpv6Multicast(group) || readUint24(group, 13) !== readUint24(address, 13)) return false;
  if (group[1] !== 2 || group[11] !== 1 || group[12] !== 0xff) return false;
  for (let i = 2; i < 11; i++) if (group[i] !== 0) return false;
  return true;
}
