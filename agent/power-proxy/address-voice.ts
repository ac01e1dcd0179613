/**
 * What is said of a sleeping host's addresses without being asked: probes to the host itself, in the form of RFC 5227 §1.1 and
 * RFC 4862 §5.4.2, and announcements of who has an address (respond/arp.ts, respond/nd.ts). No state; presence.ts says when.
 */

import type { Link } from '../port/platform.js';
import { arpLength, arpRequest, emitArp } from '../wire/arp.js';
import { etherTypeArp } from '../wire/ethernet.js';
import { protocolIcmpv6 } from '../wire/ipv4.js';
import { emitNdp, type NeighborSolicitation, ndpHopLimit, ndpLength } from '../wire/ndp.js';
import { type Host, tagsOf } from './host-table.js';
import type { AddressVoice } from './parts.js';
import { arpAnnouncement } from './respond/arp.js';
import { etherFrame, ipv6Frame } from './respond/frame.js';
import { unsolicitedAdvertisement } from './respond/nd.js';

export const addressVoice: AddressVoice = {
  probe,
  announceIpv4: (link, host, mac, address) => arpAnnouncement({ link, tags: tagsOf(host) }, mac, address),
  announceIpv6: (link, host, mac, address) =>
    unsolicitedAdvertisement({ link, tags: tagsOf(host) }, mac, address),
};

function probe(link: Link, host: Host): Uint8Array | undefined {
  const { ipv4, ipv6 } = host.profile;
  const way = { link, tags: tagsOf(host), dstMac: host.mac };
  if (ipv4.length > 0) {
    const arp = {
      operation: arpRequest,
      senderMac: link.mac,
      senderAddress: new Uint8Array(4),
      targetMac: new Uint8Array(6),
      targetAddress: ipv4[ipv4.length - 1],
    };
    return etherFrame(way, etherTypeArp, arpLength, (out, at) => emitArp(arp, out, at));
  }
  if (ipv6.length === 0) return undefined;
  const targetAddress = ipv6[ipv6.length - 1];
  const solicitation: NeighborSolicitation = { kind: 'neighbor-solicitation', targetAddress, options: [] };
  const parts = {
    srcAddress: new Uint8Array(16),
    dstAddress: solicitedNode(targetAddress),
    protocol: protocolIcmpv6,
    hopLimit: ndpHopLimit,
  };
  return ipv6Frame(way, parts, ndpLength(solicitation), (out, at) => emitNdp(solicitation, parts, out, at));
}

/** ff02::1:ff and the last three bytes of the address (RFC 4291 §2.7.1). */
function solicitedNode(address: Uint8Array): Uint8Array {
  const group = new Uint8Array(16);
  group[0] = 0xff;
  group[1] = 2;
  group[11] = 1;
  group[12] = 0xff;
  group.set(address.subarray(13), 13);
  return group;
}
