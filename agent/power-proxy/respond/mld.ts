/**
 * What membership.ts needs of Multicast Listener Discovery (RFC 3810 §5, RFC 2710 §3).
 *
 * A query must come from a link-local address with a hop limit of 1 and the Router Alert option (RFC 3810 §6.2), to all
 * nodes, to the group it asks of, or to the host. Reports leave from the host's link-local address (§5.2.13); for a host
 * none of whose is known there are none.
 */

import { sameBytes } from '../../core/bytes.js';
import { fail, ok, type Result } from '../../core/result.js';
import { ipv6Length } from '../../wire/address.js';
import type { GroupRecord } from '../../wire/igmp.js';
import { protocolIcmpv6 } from '../../wire/ipv4.js';
import { extensionHopByHop, type Ipv6Extension, ipv6MinLength, isIpv6LinkLocal } from '../../wire/ipv6.js';
import { emitMld, type Mld, mldLength, parseMld } from '../../wire/mld.js';
import type { Question, Served } from '../responder.js';
import {
  allNodes,
  includes,
  ipv6Frame,
  isUnspecified,
  maxPacketLength,
  type Refusal,
  readIpv6,
  type Way,
  wayToGroup,
} from './frame.js';
import type { Generation, Heard, MembershipProtocol } from './membership.js';

const typeQuery = 130;
const typeReport = 131;
/** RFC 2711 §2.1 with value 0, and padding to eight bytes. */
const routerAlert = [5, 2, 0, 0, 1, 0];
const optionRouterAlert = 5;
const linkLocalScope = 2;

export const mldMembership: MembershipProtocol = {
  read,
  groupsOf,
  report,
  recordsLimit: Math.floor((maxPacketLength - ipv6MinLength - 8 - 8) / (4 + ipv6Length)),
};

function read(question: Question): Result<Heard, Refusal> {
  const { headers, host } = question;
  const { icmpType } = headers;
  if (headers.protocol !== protocolIcmpv6 || (icmpType !== typeQuery && icmpType !== typeReport))
    return fail('not-a-question');
  const packet = readIpv6(question);
  if (!packet.ok) return packet;
  const { dstAddress, extensions, protocol, payload } = packet.value;
  if (protocol !== protocolIcmpv6) return fail('malformed');
  const message = parseMld(payload, 0, payload.length, packet.value);
  if (!message.ok) return fail('malformed');
  const mld = message.value;
  if (mld.kind === 'report') return ok({ kind: 'report', groupAddress: mld.groupAddress });
  if (mld.kind !== 'query') return fail('not-a-question');
  const expected = isUnspecified(mld.groupAddress) ? allNodes() : mld.groupAddress;
  if (!sameBytes(dstAddress, expected) && !includes(host.ipv6, dstAddress)) return fail('malformed');
  if (!hasRouterAlert(extensions)) return fail('malformed');
  return ok({ ...mld, generation: mld.version === 1 ? 2 : 3 });
}

function groupsOf({ groups = [], ipv6 }: Served): Uint8Array[] {
  if (!ipv6.some(isIpv6LinkLocal)) return [];
  // RFC 3810 §6: all nodes, and scopes below the link, are never reported.
  const all = allNodes();
  return groups.filter(
    group => group.length === ipv6Length && (group[1] & 15) >= linkLocalScope && !sameBytes(group, all),
  );
}

function report(
  way: Pick<Way, 'link' | 'tags'>,
  host: Served,
  generation: Generation,
  records: readonly GroupRecord[],
): Uint8Array {
  const { groupAddress } = records[0];
  const message: Mld = generation === 3 ? { kind: 'report-v2', records } : { kind: 'report', groupAddress };
  const dstAddress = generation === 3 ? allVersion2Routers() : groupAddress;
  const parts = {
    srcAddress: host.ipv6.find(isIpv6LinkLocal) as Uint8Array,
    dstAddress,
    protocol: protocolIcmpv6,
    hopLimit: 1,
    extensions: [{ protocol: extensionHopByHop, data: new Uint8Array(routerAlert) }],
  } as const;
  return ipv6Frame(wayToGroup(way, dstAddress), parts, mldLength(message), (out, at) =>
    emitMld(message, parts, out, at),
  );
}

/** ff02::16 (RFC 3810 §5.2.14). */
function allVersion2Routers(): Uint8Array {
  const address = allNodes();
  address[15] = 0x16;
  return address;
}

function hasRouterAlert(extensions: readonly Ipv6Extension[]): boolean {
  const first = extensions[0];
  if (first?.protocol !== extensionHopByHop) return false;
  const { data } = first;
  for (let at = 0; at < data.length; at += data[at] === 0 ? 1 : 2 + data[at + 1])
    if (data[at] === optionRouterAlert) return true;
  return false;
}
