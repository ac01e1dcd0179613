/**
 * Echo in a sleeping host's place: ICMP (RFC 792; RFC 1122 §3.2.2.6) and ICMPv6 (RFC 4443 §4.1, §4.2).
 *
 * Identifier, sequence number and data come back as they went. Only to a request for the host alone: neither the frame nor
 * the packet may be for a group (RFC 1122 §3.2.2.6 and RFC 4443 §4.2 leave that free, and answering it helps nobody but who
 * wants to amplify). The answer is as long as the request, and no packet is longer than Ethernet's MTU.
 */

import { writeBytes } from '../../core/bytes.js';
import { emitIcmp, icmpLength, icmpType, parseIcmp } from '../../wire/icmp.js';
import { emitIcmpv6, icmpv6Type, parseIcmpv6 } from '../../wire/icmpv6.js';
import { protocolIcmp, protocolIcmpv6 } from '../../wire/ipv4.js';
import type { Question } from '../responder.js';
import {
  defaultTimeToLive,
  includes,
  ipv4Frame,
  ipv6Frame,
  isGroupMac,
  isUnspecified,
  maxPacketLength,
  type Refusal,
  readIpv4,
  readIpv6,
  type Send,
  wayBack,
} from './frame.js';

export type EchoRefusal =
  | Refusal
  /** To a group, on the link or above it. */
  | 'to-group'
  /** With options or extension headers that the answer would have to continue (RFC 1122 §3.2.2.6). */
  | 'options'
  | 'too-long';

export function respondEcho(question: Question, send: Send): 'answered' | EchoRefusal {
  const { frame, headers, host } = question;
  // Of a later fragment the type is −1.
  if (headers.protocol !== protocolIcmp || headers.icmpType !== icmpType.echo) return 'not-a-question';
  const packet = readIpv4(question);
  if (!packet.ok) return packet.reason;
  const { srcAddress, dstAddress, dscp, options, payload } = packet.value;
  if (isUnspecified(srcAddress)) return 'bad-source';
  if (!includes(host.ipv4, dstAddress)) return 'not-ours';
  if (isGroupMac(frame, 0)) return 'to-group';
  if (options.length > 0) return 'options';
  if (headers.l4End - headers.l3Offset > maxPacketLength) return 'too-long';
  const echo = parseIcmp(payload, 0, payload.length);
  if (!echo.ok || echo.value.code !== 0) return 'malformed';
  const data = echo.value.payload;
  const header = { type: icmpType.echoReply, code: 0, rest: echo.value.rest };
  const parts = {
    srcAddress: dstAddress,
    dstAddress: srcAddress,
    protocol: protocolIcmp,
    timeToLive: defaultTimeToLive,
    // RFC 1349 §5.1: as the request's.
    dscp,
  };
  send(
    ipv4Frame(wayBack(question), parts, icmpLength + data.length, (out, at) => {
      writeBytes(out, at + icmpLength, data);
      emitIcmp(header, data.length, out, at);
    }),
  );
  return 'answered';
}

export function respondEchoV6(question: Question, send: Send): 'answered' | EchoRefusal {
  const { frame, headers, host } = question;
  if (headers.protocol !== protocolIcmpv6 || headers.icmpType !== icmpv6Type.echoRequest)
    return 'not-a-question';
  const packet = readIpv6(question);
  if (!packet.ok) return packet.reason;
  const { srcAddress, dstAddress, dscp, extensions, payload } = packet.value;
  if (isUnspecified(srcAddress)) return 'bad-source';
  if (!includes(host.ipv6, dstAddress)) return 'not-ours';
  if (isGroupMac(frame, 0)) return 'to-group';
  if (extensions.length > 0) return 'options';
  if (headers.l4End - headers.l3Offset > maxPacketLength) return 'too-long';
  const echo = parseIcmpv6(payload, 0, payload.length, { srcAddress, dstAddress });
  if (!echo.ok || echo.value.code !== 0) return 'malformed';
  const data = echo.value.payload;
  const header = { type: icmpv6Type.echoReply, code: 0, rest: echo.value.rest };
  const parts = {
    srcAddress: dstAddress,
    dstAddress: srcAddress,
    protocol: protocolIcmpv6,
    hopLimit: defaultTimeToLive,
    dscp,
  };
  send(
    ipv6Frame(wayBack(question), parts, icmpLength + data.length, (out, at) => {
      writeBytes(out, at + icmpLength, data);
      emitIcmpv6(header, data.length, parts, out, at);
    }),
  );
  return 'answered';
}
