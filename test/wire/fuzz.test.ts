import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex, writeUint16 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import {
  arpCodec,
  ethernetCodec,
  icmpCodec,
  icmpv6Codec,
  igmpCodec,
  ipv4Codec,
  ipv6Codec,
  mldCodec,
  ndpCodec,
  tcpCodec,
  udpCodec,
} from './codecs.js';
import { bytesOf, type Codec, frames } from './vectors.js';

const carrier = {
  srcAddress: bytesOf('fe800000000000000000000000000001'),
  dstAddress: bytesOf('ff020000000000000000000000000001'),
  hopLimit: 255,
};

interface Subject {
  readonly codec: Codec<unknown>;
  readonly vectors: readonly Uint8Array[];
  /** Where a checksum stands that no pseudo-header is needed for, and how far it reaches. */
  readonly checksum?: { readonly at: number; end(bytes: Uint8Array): number };
}

const whole = (bytes: Uint8Array) => bytes.length;
const queries = ['11 64 ee9b 00000000', '11 9f 6ed3 effffffa 0b 8c 0002 c0000201 c0000202'];
const searchList = '1f 04 0000 00000e10 04686f6d65 076578616d706c65 00 026c61 00 000000000000';

const subjects: { readonly [name: string]: Subject } = {
  ethernet: { codec: ethernetCodec, vectors: Object.values(frames) },
  arp: { codec: arpCodec, vectors: [frames.arpRequest.subarray(14)] },
  ipv4: {
    codec: ipv4Codec,
    vectors: [frames.llmnr.subarray(14), frames.igmpReport.subarray(14), frames.qinqSyn.subarray(30)],
    checksum: { at: 10, end: bytes => Math.min(bytes.length, (bytes[0] & 15) * 4) },
  },
  ipv6: {
    codec: ipv6Codec,
    vectors: [
      frames.mldReport.subarray(14),
      frames.ping6.subarray(14),
      bytesOf(`60000000 0018 2c 40 ${'20'.repeat(32)} 33 00 0001 01020304 3b 02 0000 ${'00'.repeat(12)}`),
    ],
  },
  icmp: {
    codec: icmpCodec,
    vectors: [bytesOf('08 00 05f9 1234 0001 6b697468'), bytesOf(`03 04 0000 0000 05d4 ${'45'.repeat(28)}`)],
    checksum: { at: 2, end: whole },
  },
  igmp: {
    codec: igmpCodec,
    vectors: [frames.igmpReport.subarray(38), ...queries.map(bytesOf)],
    checksum: { at: 2, end: whole },
  },
  icmpv6: { codec: icmpv6Codec(carrier, 'unverified'), vectors: [frames.ping6.subarray(54)] },
  ndp: {
    codec: ndpCodec(carrier, 'unverified'),
    vectors: [
      frames.routerAdvertisement.subarray(54),
      frames.neighborSolicitation.subarray(54),
      bytesOf(
        `85 00 0000 00000000 18 03 40 00 00000000 ${'20'.repeat(16)} 19 03 0000 00000e10 ${'20'.repeat(16)}`,
      ),
      bytesOf(`85 00 0000 00000000 ${searchList} 0e 02 ${'01'.repeat(14)}`),
      bytesOf(`89 00 0000 00000000 fe80${'01'.repeat(14)} ${'20'.repeat(16)} 04 02 ${'00'.repeat(14)}`),
    ],
  },
  mld: {
    codec: mldCodec(carrier, 'unverified'),
    vectors: [
      frames.mldReport.subarray(62),
      bytesOf(`82 00 0000 8fa1 0000 ff02${'01'.repeat(14)} 0a 7d 0001 ${'20'.repeat(16)}`),
    ],
  },
  udp: { codec: udpCodec(carrier, 'unverified'), vectors: [frames.llmnr.subarray(34)] },
  tcp: {
    codec: tcpCodec(carrier, 'unverified'),
    vectors: [frames.qinqSyn.subarray(50), frames.qinqSack.subarray(50)],
  },
};

for (const name of Object.keys(subjects)) {
  test(`${name}: damaged bytes are refused or become a value that survives being emitted`, () => {
    const { codec, vectors, checksum } = subjects[name];
    const seed = 20_240_503;
    const random = new Random(seed, name);
    let accepted = 0;
    let refused = 0;
    for (let i = 0; i < 6_000; i++) {
      const bytes = damaged(vectors[random.below(vectors.length)], random);
      if (checksum && bytes.length > checksum.at + 1) {
        writeUint16(bytes, checksum.at, 0);
        writeUint16(bytes, checksum.at, internetChecksum(bytes, 0, checksum.end(bytes)));
      }
      const where = `seed ${seed}, round ${i}: ${formatHex(bytes)}`;
      const result = codec.parse(bytes, 0, bytes.length);
      if (!result.ok) {
        refused++;
        continue;
      }
      accepted++;
      // Nothing a parser makes of some bytes takes more room than they did.
      const out = new Uint8Array(bytes.length).fill(0xa5);
      const end = codec.emit(result.value, out, 0);
      assert.ok(end <= bytes.length, `${where}: grew to ${end}`);
      assert.equal(codec.parse(out, 0, end), result, where);
    }
    assert.ok(accepted > 100 && refused > 100, `accepted ${accepted}, refused ${refused}`);
  });
}

test('no parser throws on noise, of whatever length and at whatever place of a buffer', () => {
  const seed = 20_240_504;
  const random = new Random(seed, 'noise');
  for (let i = 0; i < 4_000; i++) {
    const bytes = new Uint8Array(random.below(120)).map(() => (random.chance(0.3) ? 0 : random.below(256)));
    const start = random.below(bytes.length + 1);
    const end = start + random.below(bytes.length - start + 1);
    for (const name of Object.keys(subjects)) {
      const result = subjects[name].codec.parse(bytes, start, end);
      assert.is(typeof result.ok, 'boolean', `seed ${seed}, round ${i}, ${name}`);
    }
  }
});

/** A copy with a few bytes changed, sometimes cut or extended. */
function damaged(vector: Uint8Array, random: Random): Uint8Array {
  const length = random.chance(0.2) ? random.below(vector.length + 1) : vector.length;
  const copy = new Uint8Array(length + (random.chance(0.1) ? random.below(20) : 0));
  copy.set(vector.subarray(0, length));
  for (let changes = random.below(4); changes > 0 && copy.length > 0; changes--)
    copy[random.below(copy.length)] = random.chance(0.5) ? random.below(256) : random.below(64);
  return copy;
}

test.run();
