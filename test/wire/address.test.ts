import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import {
  formatAddress,
  formatMac,
  parseAddress,
  parseIpv4Address,
  parseIpv6Address,
  parseMac,
} from '../../agent/wire/address.js';

test('IPv6 addresses are written as RFC 5952 §4 asks, whatever form they came in', () => {
  const canonical: [string, string][] = [
    ['2001:0db8::0001', '2001:db8::1'], // §4.1 leading zeros
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'], // §4.2.1 as short as possible
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'], // §4.2.2 not for one group
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'], // §4.2.3 the longest run
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'], // §4.2.3 the first of equals
    ['2001:DB8::AbCd', '2001:db8::abcd'], // §4.3 lower case
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ];
  for (const [text, expected] of canonical) {
    const address = parseIpv6Address(text);
    if (!address) throw new Error(`expected ${text} to parse`);
    assert.is(formatAddress(address), expected);
    assert.equal(parseAddress(expected), address);
  }
});

test('texts that are no addresses are refused', () => {
  const wrong = [
    '',
    ' ',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4 ',
    '0x1.2.3.4',
    '-1.2.3.4',
  ];
  wrong.push(':', ':::', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '12345::', '::g', 'fe80::1%eth0');
  wrong.push(
    '1:2:3:4:5:6:7::8:9',
    '::1.2.3',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '[::1]',
    '1:2:3:4:5:6:7:',
    ':1:2:3:4:5:6:7',
  );
  for (const text of wrong) assert.is(parseAddress(text), undefined, text);
  for (const text of [
    '',
    '0:1:2:3:4:5',
    '00:11:22:33:44:5g',
    '00:11:22-33-44-55',
    '00:11:22:33:44:55:',
    '001122334455',
  ])
    assert.is(parseMac(text), undefined, text);
});

test('MAC addresses take colons or hyphens in either case and are written in lower case with colons', () => {
  for (const text of ['3c:22:fb:01:0A:ff', '3C-22-FB-01-0a-FF']) {
    const mac = parseMac(text);
    if (!mac) throw new Error(`expected ${text} to parse`);
    assert.is(formatMac(mac), '3c:22:fb:01:0a:ff');
  }
});

test('an address of another length than 4 or 16 bytes is a programming error', () => {
  assert.throws(() => formatAddress(new Uint8Array(6)), 'address: expected 4 or 16 bytes, got 6');
});

test('IPv4 and IPv6 texts are accepted exactly when the platform accepts them', () => {
  const seed = 20_240_501;
  const random = new Random(seed, 'address');
  const pieces = [
    ':',
    ':',
    '::',
    '.',
    '0',
    '1',
    '00',
    '9',
    'f',
    'F',
    '255',
    '256',
    'ffff',
    '12345',
    'g',
    '10.0.0.1',
  ];
  let accepted = 0;
  for (let i = 0; i < 60_000; i++) {
    let text = '';
    for (let left = 1 + random.below(15); left > 0; left--) text += pieces[random.below(pieces.length)];
    if (random.chance(0.3)) text = nearlyIpv6(random);
    assert.is(parseIpv4Address(text) !== undefined, isIPv4(text), `seed ${seed}: ${text}`);
    assert.is(parseIpv6Address(text) !== undefined, isIPv6(text), `seed ${seed}: ${text}`);
    if (parseAddress(text)) accepted++;
  }
  assert.ok(accepted > 1000, `only ${accepted} texts were addresses`);
});

test('any address read back from its text is the same', () => {
  const seed = 7;
  const random = new Random(seed, 'address text');
  for (let i = 0; i < 5_000; i++) {
    const address = new Uint8Array(random.chance(0.5) ? 4 : 16).map(() =>
      random.chance(0.6) ? 0 : random.below(256),
    );
    const text = formatAddress(address);
    assert.equal(parseAddress(text), address, `seed ${seed}: ${text}`);
    if (address.length === 16)
      assert.is(new URL(`http://[${text}]/`).hostname, `[${text}]`, `seed ${seed}: ${text}`);
  }
});

/** Groups joined by colons, one or two of them doubled or missing now and then. */
function nearlyIpv6(random: Random): string {
  const groups: string[] = [];
  const count = 6 + random.below(4);
  for (let i = 0; i < count; i++) groups.push(random.chance(0.15) ? '' : random.below(0x10000).toString(16));
  if (random.chance(0.2)) groups.push('192.0.2.1');
  return groups.join(':');
}

test.run();
