/**
 * TCP keep-alives in a sleeping host's place (RFC 9293 §3.8.4): a probe repeats the last sequence number that the host has
 * acknowledged, with no byte of data or one, and wants that acknowledgement again.
 *
 * Only for connections known to be idle, and only if the probe fits their numbers exactly: a segment with new data, or
 * that acknowledges less than the host has sent, is for the host. The answer has no data, and the next sequence number, so
 * it is no probe to another proxy; it is at most 12 bytes longer than the probe, by the timestamps it must have where the
 * connection uses them (RFC 7323 §3.2).
 *
 * The keep-alive of ESP in UDP, one byte 0xff to port 4500, has no answer (RFC 3948 §2.3: it is to be
 * ignored).
 */

import { sameBytes } from '../../core/bytes.js';
import { networkIpv4 } from '../../wire/headers.js';
import { protocolTcp } from '../../wire/ipv4.js';
import { emitTcp, parseTcp, type TcpHeader, type TcpOption, tcpLength } from '../../wire/tcp.js';
import type { IdleConnection, Question, Served } from '../responder.js';
import {
  defaultTimeToLive,
  ipv4Frame,
  ipv6Frame,
  isGroupMac,
  type Refusal,
  readIpv4,
  readIpv6,
  type Send,
  wayBack,
} from './frame.js';

const flagAck = 0x10;

export function respondTcpKeepalive(question: Question, send: Send): 'answered' | Refusal {
  const { frame, headers } = question;
  const host: Served = question.host;
  if (headers.protocol !== protocolTcp || headers.tcpFlags !== flagAck || isGroupMac(frame, 0))
    return 'not-a-question';
  const packet = headers.network === networkIpv4 ? readIpv4(question) : readIpv6(question);
  if (!packet.ok) return packet.reason;
  const { srcAddress, dstAddress, payload } = packet.value;
  const tcp = parseTcp(payload, 0, payload.length, { srcAddress, dstAddress });
  if (!tcp.ok) return 'malformed';
  const { srcPort, dstPort, sequenceNumber, acknowledgmentNumber, options } = tcp.value;
  const connection = (host.connections ?? []).find(
    each =>
      each.port === dstPort &&
      each.peerPort === srcPort &&
      sameBytes(each.address, dstAddress) &&
      sameBytes(each.peerAddress, srcAddress),
  );
  if (!connection) return 'not-ours';
  const isProbe =
    sequenceNumber === (connection.receiveNext - 1) >>> 0 &&
    acknowledgmentNumber === connection.sendNext &&
    tcp.value.payload.length <= 1;
  if (!isProbe) return 'not-a-question';
  const answer = answerOf(connection, options);
  const length = tcpLength(answer);
  const addresses = { srcAddress: dstAddress, dstAddress: srcAddress };
  const parts = { ...addresses, protocol: protocolTcp };
  const write = (out: Uint8Array, at: number) => emitTcp(answer, 0, addresses, out, at);
  const way = wayBack(question);
  send(
    headers.network === networkIpv4
      ? ipv4Frame(way, { ...parts, timeToLive: defaultTimeToLive }, length, write)
      : ipv6Frame(way, { ...parts, hopLimit: defaultTimeToLive }, length, write),
  );
  return 'answered';
}

/**
 * The host's clock for timestamps runs at a pace of its own, so its last value is repeated: RFC 7323 §5.3 takes what is no
 * smaller than before.
 */
function answerOf(connection: IdleConnection, probeOptions: readonly TcpOption[]): TcpHeader {
  const { timestamp } = connection;
  const asked = probeOptions.find(option => option.kind === 'timestamps');
  const options: TcpOption[] = [];
  if (asked?.kind === 'timestamps' && timestamp !== undefined)
    options.push(
      // RFC 7323 appendix A: so that the numbers stand at multiples of four.
      { kind: 'no-operation' },
      { kind: 'no-operation' },
      { kind: 'timestamps', value: timestamp, echoReply: asked.value },
    );
  return {
    srcPort: connection.port,
    dstPort: connection.peerPort,
    sequenceNumber: connection.sendNext,
    acknowledgmentNumber: connection.receiveNext,
    flags: flagAck,
    window: connection.window,
    urgentPointer: 0,
    options,
  };
}
