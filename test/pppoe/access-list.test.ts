/** Access lists: what of a message is refused, what each packet may do, and the bucket of the rate. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeUint16 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import {
  type AccessList,
  compileAcl,
  mayComeIn,
  TokenBucket,
  wayOut,
} from '../../agent/pppoe/access-list.js';
import { parseAddress } from '../../agent/wire/address.js';

const message = { session: 7, bras: '02:ac:00:00:00:01', ipv4: '10.1.0.9', expires: '5m' };

function compiled(more: object = {}): AccessList {
  const list = compileAcl({ ...message, ...more });
  assert.ok(list.ok);
  return list.value;
}

/** Headers alone; `at` behind some bytes of another packet. */
function packet(from: string, to: string, at = 0): Uint8Array {
  const [source, destination] = [parseAddress(from)!, parseAddress(to)!];
  const isIpv4 = source.length === 4;
  const bytes = new Uint8Array(at + (isIpv4 ? 20 : 40)).fill(0xff, 0, at);
  bytes[at] = isIpv4 ? 0x45 : 0x60;
  bytes.set(source, at + (isIpv4 ? 12 : 8));
  bytes.set(destination, at + (isIpv4 ? 16 : 24));
  return bytes;
}

const out = (list: AccessList, from: string, to = from) => {
  const bytes = packet(from, to, 3);
  return wayOut(list, bytes, 3, bytes.length);
};
const comesIn = (list: AccessList, to: string, from = to) => {
  const bytes = packet(from, to, 3);
  return mayComeIn(list, bytes, 3, bytes.length);
};

test('a message becomes a list, and each field whose value makes no sense is named', () => {
  const list = compiled({ ipv6: '2001:db8:1:200::/55', upBitsPerSecond: 1 });
  assert.equal(
    [list.session, [...list.address], list.prefixLength, list.upBitsPerSecond, list.lifetimeMs],
    [7, [10, 1, 0, 9], 55, 1, 300_000],
  );
  const cases: [object, string][] = [
    [{ bras: '01:ac:00:00:00:01' }, 'bras'],
    [{ bras: 'ff:ff:ff:ff:ff:ff' }, 'bras'],
    ...['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '10.1.0.256', '10.1.0.09'].map(
      ipv4 => [{ ipv4 }, 'ipv4'] as [object, string],
    ),
    ...['2001:db8:1::/47', '2001:db8::1/64', '2001:db8::/0', '2001:db8::/129', '1:2::3::/64', '::/'].map(
      ipv6 => [{ ipv6 }, 'ipv6'] as [object, string],
    ),
    ...['0s', '4000d', '5', '5x'].map(expires => [{ expires }, 'expires'] as [object, string]),
    [{ upBitsPerSecond: 0 }, 'upBitsPerSecond'],
  ];
  for (const [more, field] of cases) {
    const refused = compileAcl({ ...message, ...more });
    assert.is(refused.ok ? 'accepted' : refused.problem.field, field, JSON.stringify(more));
  }
});

test('of IPv4 only the address itself passes; comes in what is for it, and groups', () => {
  const list = compiled();
  assert.is(out(list, '10.1.0.9', '192.0.2.1'), 'plain');
  for (const from of ['10.1.0.8', '10.1.0.10', '11.1.0.9', '10.0.0.9', '10.1.1.9', '0.0.0.0'])
    assert.is(out(list, from, '10.1.0.9'), 'refused', from);
  assert.ok(comesIn(list, '10.1.0.9', '192.0.2.1'));
  for (const to of ['224.0.0.1', '239.255.255.255']) assert.ok(comesIn(list, to), to);
  for (const to of ['10.1.0.8', '223.0.0.1', '240.0.0.1', '255.255.255.255'])
    assert.not(comesIn(list, to), to);
});

test('of IPv6 the prefix passes, the link keeps to the tunnel, and all does while the list names no prefix', () => {
  const list = compiled({ ipv6: '2001:db8:1:200::/55' });
  assert.is(out(list, '2001:db8:1:200::1'), 'plain');
  assert.is(out(list, '2001:db8:1:3ff:ffff:ffff:ffff:ffff'), 'plain');
  for (const from of ['2001:db8:1:400::1', '2001:db8:1:1ff::1', '2001:db9:1:200::1'])
    assert.is(out(list, from, '2001:db8:1:200::1'), 'refused', from);
  for (const from of ['fe80::1', 'febf::1', '::']) assert.is(out(list, from), 'tunnel', from);
  assert.is(out(list, 'fec0::1'), 'refused');
  assert.is(out(compiled(), '2001:db8:1:200::1'), 'tunnel');
  for (const to of ['2001:db8:1:2ff::1', 'ff02::1', 'fe80::1']) assert.ok(comesIn(list, to), to);
  assert.not(comesIn(list, '2001:db8:1:400::1', '2001:db8:1:200::1'));
  for (const to of ['2001:db8:1:200::1', 'ff02::1', 'fe80::1']) assert.not(comesIn(compiled(), to), to);
});

test('prefixes of every length let pass what shares their bits and nothing else', () => {
  const seed = 11;
  const random = new Random(seed, 'prefixes');
  console.log(`seed ${seed}`);
  for (let length = 1; length <= 128; length++) {
    const prefix = new Uint8Array(16).map(() => random.below(256));
    // Global unicast, so that no address of it is the link's own.
    prefix[0] = 0x20;
    for (let bit = Math.max(length, 3); bit < 128; bit++) prefix[bit >>> 3] &= ~(0x80 >>> (bit & 7));
    const text = [...Array(8).keys()].map(i => ((prefix[2 * i] << 8) | prefix[2 * i + 1]).toString(16));
    if (length < 3) continue;
    const list = compiled({ ipv6: `${text.join(':')}/${length}` });
    const bytes = new Uint8Array(40);
    bytes[0] = 0x60;
    bytes.set(prefix, 8);
    for (let bit = length; bit < 128; bit++)
      if (random.chance(0.5)) bytes[8 + (bit >>> 3)] ^= 0x80 >>> (bit & 7);
    assert.is(wayOut(list, bytes, 0, 40), 'plain', `/${length}`);
    const bit = random.below(length);
    bytes[8 + (bit >>> 3)] ^= 0x80 >>> (bit & 7);
    assert.is.not(wayOut(list, bytes, 0, 40), 'plain', `/${length}, bit ${bit}`);
  }
});

test('what is cut short, or no IP, passes neither way', () => {
  const list = compiled({ ipv6: '2001:db8:1::/48' });
  for (const whole of [packet('10.1.0.9', '10.1.0.9'), packet('2001:db8:1::1', '2001:db8:1::1')])
    for (let length = 0; length < whole.length; length++) {
      assert.is(wayOut(list, whole, 0, length), 'refused', `${length} bytes`);
      assert.not(mayComeIn(list, whole, 0, length));
    }
  const other = packet('10.1.0.9', '10.1.0.9');
  other[0] = 0x55;
  assert.is(wayOut(list, other, 0, 20), 'refused');
  writeUint16(other, 0, 0);
  assert.not(mayComeIn(list, other, 0, 20));
});

test('the bucket passes its rate over any span, and at once a burst of a quarter second or two packets', () => {
  const bucket = new TokenBucket(0, 8_000_000);
  let passed = 0;
  while (bucket.take(0, 1000)) passed++;
  assert.is(passed, 250);
  for (let now = 1; now <= 10_000; now++) while (bucket.take(now, 500)) passed++;
  assert.is(passed, 250 + 20_000);
  const slow = new TokenBucket(0, 1);
  assert.ok(slow.take(0, 1500) && slow.take(0, 1500));
  assert.not(slow.take(0, 1500));
  assert.not(slow.take(11_999_999, 1500));
  assert.ok(slow.take(12_000_000, 1500));
});

test.run();
