/** How fast frames are read: the headers of each, and the parsers a responder calls on the few that matter. */

import { Random } from '../../agent/core/random.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { emitEthernet, ethernetLength, etherTypeIpv4, parseEthernet } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { emitIpv4, ipv4HeaderLength, parseIpv4, protocolTcp } from '../../agent/wire/ipv4.js';
import { emitTcp, parseTcp, tcpLength } from '../../agent/wire/tcp.js';
import { frames } from '../wire/vectors.js';
import { measure, type Row } from './row.js';

export const name = 'wire';

/** A third of what a 10 Gb/s line carries of the shortest frames. */
const scanGoal = 5_000_000;
const batch = 10_000;

export async function run(): Promise<Row[]> {
  const headers = new Headers();
  const frame = synFrame();
  const kinds = [frame, ...Object.values(frames)];
  const same = Array.from({ length: batch }, () => frame);
  const few = Array.from({ length: batch }, (_, i) => kinds[i % kinds.length]);
  const many = shuffled(kinds, 65_536);
  const packet = new Uint8Array(1500).fill(0x5a);
  const goal = scanGoal;
  return [
    measure('headers: TCP SYN, 64 bytes', 'frames/s', { goal }, () => scanAll(headers, same)),
    measure(`headers: ${kinds.length} kinds in turn`, 'frames/s', { goal }, () => scanAll(headers, few)),
    measure('headers: the same, shuffled, memory cold', 'frames/s', { goal }, () => scanAll(headers, many)),
    measure('parse: Ethernet, IPv4, TCP with checksums', 'frames/s', {}, () => {
      for (let i = 0; i < batch; i++) parseSyn(frame);
      return batch;
    }),
    measure('emit: Ethernet, IPv4, TCP with checksums', 'frames/s', {}, () => {
      for (let i = 0; i < batch; i++) synFrame();
      return batch;
    }),
    measure('checksum: 1,500 bytes', 'bytes/s', {}, () => {
      for (let i = 0; i < 1000; i++) packet[i & 1023] = internetChecksum(packet, 0, packet.length);
      return 1000 * packet.length;
    }),
  ];
}

/** `count` copies in random order, each in memory of its own: too many for caches and branch predictors to learn. */
function shuffled(kinds: readonly Uint8Array[], count: number): Uint8Array[] {
  const random = new Random(1, 'bench');
  return Array.from({ length: count }, () => new Uint8Array(kinds[random.below(kinds.length)]));
}

/** What was read of the headers; unread fields would let the compiler leave out the work of finding them. */
let consumed = 0;

function scanAll(headers: Headers, list: readonly Uint8Array[]): number {
  for (let i = 0; i < list.length; i++) {
    const frame = list[i];
    const verdict = headers.scan(frame, 0, frame.length);
    if (verdict !== 'ok') throw new Error(`frame: expected to be accepted, got ${verdict}`);
    const { network, protocol, l3Offset, l4Offset, l4End, srcPort, dstPort, tcpFlags, icmpType } = headers;
    consumed =
      (consumed +
        network +
        protocol +
        l3Offset +
        l4Offset +
        l4End +
        srcPort +
        dstPort +
        tcpFlags +
        icmpType) |
      0;
  }
  return list.length;
}

function parseSyn(frame: Uint8Array): void {
  const ethernet = parseEthernet(frame, 0, frame.length);
  if (!ethernet.ok) throw new Error(ethernet.reason);
  const ipv4 = parseIpv4(ethernet.value.payload, 0, ethernet.value.payload.length);
  if (!ipv4.ok) throw new Error(ipv4.reason);
  const tcp = parseTcp(ipv4.value.payload, 0, ipv4.value.payload.length, ipv4.value);
  if (!tcp.ok) throw new Error(tcp.reason);
}

/** 64 bytes with the frame check sequence, which is not there. */
function synFrame(): Uint8Array {
  const frame = new Uint8Array(60);
  const ethernet = {
    dstMac: frame.subarray(0, 6),
    srcMac: frame.subarray(6, 12),
    tags: [],
    etherType: etherTypeIpv4,
  };
  const ipv4 = {
    dscp: 0,
    ecn: 0,
    identification: 0,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 64,
    protocol: protocolTcp,
    srcAddress: new Uint8Array([192, 0, 2, 1]),
    dstAddress: new Uint8Array([192, 0, 2, 2]),
    options: new Uint8Array(0),
  };
  const tcp = {
    srcPort: 49152,
    dstPort: 22,
    sequenceNumber: 1,
    acknowledgmentNumber: 0,
    flags: 2,
    window: 64_240,
    urgentPointer: 0,
    options: [{ kind: 'maximum-segment-size', maximumSegmentSize: 1460 } as const],
  };
  const ipAt = ethernetLength(ethernet);
  const tcpAt = ipAt + ipv4HeaderLength(ipv4);
  emitTcp(tcp, 0, ipv4, frame, tcpAt);
  emitIpv4(ipv4, tcpLength(tcp), frame, ipAt);
  emitEthernet(ethernet, frame.length - ipAt, frame, 0);
  return frame;
}
