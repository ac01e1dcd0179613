/**
 * What membership.ts needs of IGMP: queries as a host must take them, reports as it sends them (RFC 3376 §4, RFC 2236 §2,
 * RFC 1112 appendix I).
 *
 * A query must have a time to live of 1 and, but for version 1, the Router Alert option (RFC 3376 §9.1). It goes to all
 * systems, to the group it asks of, or to the host (§4.1.12).
 */

import { sameBytes } from '../../core/bytes.js';
import { fail, ok, type Result } from '../../core/result.js';
import { ipv4Length } from '../../wire/address.js';
import { emitIgmp, type GroupRecord, type Igmp, igmpLength, parseIgmp } from '../../wire/igmp.js';
import { ipv4MinLength, protocolIgmp } from '../../wire/ipv4.js';
import type { Question, Served } from '../responder.js';
import {
  includes,
  ipv4Frame,
  isUnspecified,
  maxPacketLength,
  type Refusal,
  readIpv4,
  type Way,
  wayToGroup,
} from './frame.js';
import type { Generation, Heard, MembershipProtocol } from './membership.js';

/** RFC 2113 §2.1, value 0. */
const routerAlert = [0x94, 4, 0, 0];
/** Internetwork control (RFC 3376 §4). */
const dscpInternetworkControl = 48;
const allSystems = [224, 0, 0, 1];
/** RFC 3376 §4.2.14. */
const version3Routers = [224, 0, 0, 22];

export const igmpMembership: MembershipProtocol = {
  read,
  groupsOf,
  report,
  recordsLimit: Math.floor((maxPacketLength - ipv4MinLength - routerAlert.length - 8) / (4 + ipv4Length)),
};

function read(question: Question): Result<Heard, Refusal> {
  if (question.headers.protocol !== protocolIgmp) return fail('not-a-question');
  const packet = readIpv4(question);
  if (!packet.ok) return packet;
  const { dstAddress, options, timeToLive, payload } = packet.value;
  const message = parseIgmp(payload, 0, payload.length);
  if (!message.ok) return fail('malformed');
  const igmp = message.value;
  if (igmp.kind === 'report-v1' || igmp.kind === 'report-v2')
    return ok({ kind: 'report', groupAddress: igmp.groupAddress });
  if (igmp.kind !== 'query') return fail('not-a-question');
  const { version, groupAddress } = igmp;
  const expected = isUnspecified(groupAddress) ? new Uint8Array(allSystems) : groupAddress;
  if (!sameBytes(dstAddress, expected) && !includes(question.host.ipv4, dstAddress)) return fail('malformed');
  // Version 1 has no Router Alert, and its general query leaves the group field 0 (RFC 2236 §2.4).
  if (timeToLive !== 1 || (version > 1 && options[0] !== routerAlert[0])) return fail('malformed');
  return ok({ ...igmp, generation: version });
}

function groupsOf({ groups = [], ipv4 }: Served): Uint8Array[] {
  if (ipv4.length === 0) return [];
  // RFC 3376 §5: of all systems everybody is a member, and nobody says so.
  const all = new Uint8Array(allSystems);
  return groups.filter(group => group.length === ipv4Length && !sameBytes(group, all));
}

function report(
  way: Pick<Way, 'link' | 'tags'>,
  host: Served,
  generation: Generation,
  records: readonly GroupRecord[],
): Uint8Array {
  const { groupAddress } = records[0];
  const message: Igmp =
    generation === 3
      ? { kind: 'report-v3', records }
      : { kind: generation === 1 ? 'report-v1' : 'report-v2', groupAddress };
  const dstAddress = generation === 3 ? new Uint8Array(version3Routers) : groupAddress;
  const parts = {
    srcAddress: host.ipv4[0],
    dstAddress,
    protocol: protocolIgmp,
    timeToLive: 1,
    dscp: dscpInternetworkControl,
    options: new Uint8Array(generation === 1 ? [] : routerAlert),
  };
  return ipv4Frame(wayToGroup(way, dstAddress), parts, igmpLength(message), (out, at) =>
    emitIgmp(message, out, at),
  );
}
