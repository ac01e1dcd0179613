/**
 * Frames that several tests use, each with its source, and the checks every codec passes. Nobody here wrote the frames
 * of captures; the file and the number of the frame are named.
 */

import * as assert from 'uvu/assert';
import { parseHex, writeBytes } from '../../agent/core/bytes.js';
import type { Result } from '../../agent/core/result.js';

/** Bytes of hex digits with blanks anywhere; `#` begins a comment up to the end of the line. */
export function bytesOf(annotated: string): Uint8Array {
  const bytes = parseHex(annotated.replace(/#.*/g, '').replace(/\s/g, ''));
  if (!bytes) throw new Error(`vector: expected pairs of hex digits, got ${annotated}`);
  return bytes;
}

/** Bytes that nobody has written yet, recognisable as such. */
export function unwritten(length: number): Uint8Array {
  return new Uint8Array(length).fill(0xa5);
}

export interface Codec<T> {
  parse(bytes: Uint8Array, start: number, end: number): Result<T>;
  /** Writes all of it, a container's payload included; returns the offset after it. */
  emit(value: T, out: Uint8Array, at: number): number;
}

const margin = 5;

/**
 * Checks that the vector parses, that emitting what came out gives the vector again and touches nothing beside it, and
 * that every truncation below `shortest` bytes (all of them, if not given) is refused. No bytes outside of the range may
 * matter. Returns the value.
 */
export function checkCodec<T>(codec: Codec<T>, vector: Uint8Array, shortest = vector.length): T {
  const value = parseWithin(codec, vector, vector.length);
  if (!value.ok) throw new Error(`vector: expected to parse, got ${value.reason}`);
  const out = unwritten(vector.length + 2 * margin);
  assert.is(codec.emit(value.value, out, margin), margin + vector.length, 'offset after the emitted bytes');
  const expected = unwritten(vector.length + 2 * margin);
  writeBytes(expected, margin, vector);
  assert.equal(out, expected);
  for (let length = 0; length < vector.length; length++) {
    const cut = parseWithin(codec, vector, length);
    if (length < shortest) assert.is(cut.ok, false, `the first ${length} bytes must be refused`);
  }
  return value.value;
}

/** The reason for which the codec refuses the vector, or `ok`. */
export function refusal<T>(codec: Codec<T>, vector: Uint8Array): string {
  const result = parseWithin(codec, vector, vector.length);
  return result.ok ? 'ok' : result.reason;
}

/** A copy of `bytes` with some replaced. */
export function patched(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = new Uint8Array(bytes);
  copy.set(values, at);
  return copy;
}

/** Parses the first `length` bytes of the vector within two different surroundings, and expects no difference. */
function parseWithin<T>(codec: Codec<T>, vector: Uint8Array, length: number): Result<T> {
  const results = [0x00, 0xff].map(surrounding => {
    const bytes = new Uint8Array(length + 2 * margin).fill(surrounding);
    writeBytes(bytes, margin, vector.subarray(0, length));
    return codec.parse(bytes, margin, margin + length);
  });
  assert.equal(results[0], results[1], 'bytes outside of the range must not matter');
  return results[0];
}

export const frames = {
  /** arp-who-has.pcap, frame 1 */
  arpRequest: bytesOf(`
    ffffffffffff 7831c1c63fc2 0806
    0001 0800 06 04 0001                      # Ethernet, IPv4, request
    7831c1c63fc2 0a000002                     # sender
    000000000000 0a000001                     # target`),
  /** arp-who-has.pcap, frame 2, with its padding */
  arpReply: bytesOf(`
    7831c1c63fc2 f8eda5c0a4f1 0806
    0001 0800 06 04 0002                      # Ethernet, IPv4, reply
    f8eda5c0a4f1 0a000001                     # sender
    7831c1c63fc2 0a000002                     # target
    0000000000000000000000000000 1f0b60ce     # padding and a frame check sequence`),
  /** pppoe-over-qinq.pcap, frame 1: two tags, PPPoE session, TCP SYN with options */
  qinqSyn: bytesOf(`
    000000000001 000000000000
    8100 0e78 8100 09aa 8864                  # VLAN 3704 within it 2474
    11 00 0f07 0042 0021                      # session 3847, 66 bytes, IPv4
    45 00 0040 0000 4000 3f 06 35b3           # 64 bytes, do not fragment, time to live 63, TCP
    01010101 02020202
    4faa 01bb d7a84155 00000000 b0 02 ffff eced 0000
    020405a0 01 030306 01 01 080a 012dd88c00000000 0402 00 00`),
  /** pppoe-over-qinq.pcap, frame 14: a SACK block */
  qinqSack: bytesOf(`
    000000000001 000000000000 8100 0e78 8100 09aa 8864
    11 00 0f07 0036 0021
    45 00 0034 0000 4000 3f 06 35bf 01010101 02020202
    4faa 01bb d7a84499 fc90b007 80 10 1000 04b7 0000
    01 01 050a fc90a2ff fc90a89f`),
  /** pppoe.pcap, frame 5: LCP Configure-Request, padded */
  pppoeLcp: bytesOf(`
    ca010e880006 cc050e880000 8864
    11 00 0011 000c c021                      # session 17, 12 bytes, LCP
    01 01 000a 0506 05fcd459
    00000000000000000000000000000000000000000000000000000000`),
  /** llmnr-udp.pcap, frame 1 */
  llmnr: bytesOf(`
    01005e0000fc a4db3019ad73 0800
    45 00 0034 351c 0000 01 11 d80f           # 52 bytes, time to live 1, UDP
    c0a80ae9 e00000fc
    d306 14eb 0020 cd1d                       # 54022 to 5355, 32 bytes
    c3410000000100000000000006687332303131 0000010001`),
  /** home-multicast-short.pcap, frame 3: Router Alert, IGMPv3 report of two groups */
  igmpReport: bytesOf(`
    01005e000016 e236ebf73b66 0800
    46 c0 0030 0000 4000 01 02 42dc           # 24 bytes of header, CS6, time to live 1, IGMP
    c0a8006d e0000016 94040000                # Router Alert
    22 00 0907 0000 0002
    02 00 0000 effffffa                       # exclude nothing of 239.255.255.250
    02 00 0000 e00000fb`),
  /** icmp6-nd-options.pcap, frame 4: hop-by-hop Router Alert, MLDv2 report */
  mldReport: bytesOf(`
    333300000016 c20054f50000 86dd
    6e000000 0024 00 01 fe80000000000000c00054fffef50000 ff020000000000000000000000000016
    3a 00 0502 0000 0100                      # ICMPv6 follows; Router Alert, PadN of nothing
    8f 00 5c13 0000 0001
    04 00 0000 ff020000000000000000000000000002`),
  /** icmp6-nd-options.pcap, frame 3: router advertisement with prefix, MTU, source address */
  routerAdvertisement: bytesOf(`
    333300000001 c20054f50000 86dd
    6e000000 0040 3a ff fe80000000000000c00054fffef50000 ff020000000000000000000000000001
    86 00 c4fe 40 00 0708 00000000 00000000   # hop limit 64, 1800 s
    01 01 c20054f50000
    05 01 0000 000005dc                       # MTU 1500
    03 04 40 c0 00278d00 00093a80 00000000 20010db8000000010000000000000000`),
  /** icmp6-nd-options.pcap, frame 1: duplicate address detection, whose source is unspecified */
  neighborSolicitation: bytesOf(`
    3333fff50000 c20054f50000 86dd
    6e000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001fff50000
    87 00 673c 00000000 fe80000000000000c00054fffef50000`),
  /** icmp6-ping.pcap, frame 1 */
  ping6: bytesOf(`
    b0c69ada3280 0023aea00b33 86dd
    60000000 0028 3a 80 2620 00000e00400e0d1ddb370beb5aac 20014860800600000000000000000063
    80 00 2910 0001 0003
    6162636465666768696a6b6c6d6e6f7071727374757677616263646566676869`),
};
