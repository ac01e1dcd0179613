/** TUN and TAP devices in network namespaces, with the kernel's own ping on the other side. */

import { spawn } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { openTun, type Tun, type TunOptions } from '../../edge/linux/tun.js';
import { Namespace } from '../support/namespaces.js';
import { eventually } from '../support/process.js';

const maybe = Namespace.available({ ping: 'iputils-ping' }) ? test : test.skip;
const devices: Tun[] = [];

test.after.each(() => {
  for (const device of devices.splice(0)) device.close();
  Namespace.removeAll();
});

function open(
  namespace: Namespace,
  options: TunOptions,
  hear: (bytes: Uint8Array, start: number, end: number) => void = () => {},
  fail: (error: Error) => void = error => assert.unreachable(error.message),
): Tun {
  const device = namespace.enter(() => openTun(options, hear, fail));
  devices.push(device);
  return device;
}

/** Runs ping inside without stopping this process, which is to answer. */
function ping(namespace: Namespace, ...args: string[]): Promise<number | null> {
  const [program, ...rest] = namespace.command('ping', '-n', '-c', '1', '-W', '5', ...args);
  const child = spawn(program, rest, { stdio: 'ignore' });
  return new Promise((resolve, reject) => child.on('close', resolve).on('error', reject));
}

/** Turns an echo request into its reply, in place (RFC 792, RFC 4443 §4.2). */
function answer(device: Tun, bytes: Uint8Array, start: number, end: number): void {
  const version = bytes[start] >>> 4;
  const [addressAt, addressBytes, icmpAt] = version === 4 ? [12, 4, 20] : [8, 16, 40];
  const icmp = start + icmpAt;
  if (bytes[icmp] !== (version === 4 ? 8 : 128)) return;
  const source = bytes.slice(start + addressAt, start + addressAt + addressBytes);
  bytes.copyWithin(start + addressAt, start + addressAt + addressBytes, start + addressAt + 2 * addressBytes);
  bytes.set(source, start + addressAt + addressBytes);
  bytes[icmp] = version === 4 ? 0 : 129;
  if (version === 4) {
    bytes[icmp + 2] = bytes[icmp + 3] = 0;
    const sum = internetChecksum(bytes, icmp, end);
    bytes[icmp + 2] = sum >>> 8;
    bytes[icmp + 3] = sum;
  } else {
    // The type is the high byte of a word: 128 → 129 adds 0x100 to the sum.
    const sum = ((bytes[icmp + 2] << 8) | bytes[icmp + 3]) - 0x100;
    const folded = sum < 0 ? sum + 0xffff : sum;
    bytes[icmp + 2] = folded >>> 8;
    bytes[icmp + 3] = folded;
  }
  device.send(bytes, start, end);
}

maybe('the host pings through the device, over IPv4 and IPv6, with a packet as long as the MTU', async () => {
  const namespace = Namespace.make();
  const addresses = ['10.9.0.1/24', 'fd09::1/64'];
  const device: Tun = open(namespace, { name: 'kith%d', mtuBytes: 1492, addresses }, (bytes, start, end) =>
    answer(device, bytes, start, end),
  );
  assert.is(device.name, 'kith0');
  assert.match(namespace.run('ip', 'link', 'show', 'kith0'), /[<,]UP[,>].* mtu 1492 /);
  const shown = namespace.run('ip', 'address', 'show', 'kith0');
  for (const address of addresses) assert.ok(shown.includes(`${address} `), shown);
  assert.is(await ping(namespace, '-M', 'do', '-s', '1464', '10.9.0.2'), 0);
  assert.is(await ping(namespace, '-M', 'do', '-s', '1444', 'fd09::2'), 0);
  assert.ok(device.counters.get('received') >= 2);
  assert.is(device.counters.get('sent'), 2);
});

maybe('prefixes of every length give the netmask they say', () => {
  const namespace = Namespace.make();
  for (const bits of [8, 15, 23, 24, 30, 32]) {
    const device = open(namespace, { name: 'kith0', addresses: [`10.9.0.1/${bits}`] });
    assert.match(
      namespace.run('ip', '-4', 'address', 'show', 'kith0'),
      new RegExp(`10\\.9\\.0\\.1/${bits} `),
    );
    device.close();
  }
});

maybe('a TAP device carries Ethernet frames: the host asks for a neighbour', async () => {
  const namespace = Namespace.make();
  const types: string[] = [];
  open(namespace, { name: 'kith0', kind: 'tap', addresses: ['10.9.0.1/24'] }, (bytes, start) => {
    types.push(Buffer.from(bytes.subarray(start + 12, start + 14)).toString('hex'));
  });
  const pinged = ping(namespace, '10.9.0.2');
  await eventually('an ARP request', () => types.includes('0806'));
  await pinged;
});

maybe('after close the device is gone; one that somebody removes is told', async () => {
  const namespace = Namespace.make();
  const told: string[] = [];
  const first = open(namespace, { name: 'kith0' });
  first.close();
  first.send(new Uint8Array(20));
  assert.is(first.counters.get('sent.down'), 1);
  assert.not.match(namespace.run('ip', 'link'), /kith0/);
  open(namespace, { name: 'kith0' }, undefined, error => told.push(error.message));
  namespace.run('ip', 'link', 'del', 'kith0');
  await eventually('the error', () => told.length > 0);
  assert.equal(told, ['device kith0: the interface was removed']);
});

maybe('what the host refuses is counted', () => {
  const namespace = Namespace.make();
  const device = open(namespace, { name: 'kith0' });
  device.send(new Uint8Array([0x00, 1, 2, 3]));
  assert.is(device.counters.get('sent.refused'), 1);
  namespace.run('ip', 'link', 'set', 'kith0', 'down');
  device.send(new Uint8Array([0x45, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
  assert.is(device.counters.get('sent.down'), 1);
});

maybe('a device that cannot be opened says why', () => {
  const namespace = Namespace.make();
  const wrong = (options: TunOptions, why: RegExp) => assert.throws(() => open(namespace, options), why);
  open(namespace, { name: 'kith0' });
  wrong({ name: 'kith0' }, /tun device kith0: the name is taken/);
  wrong({ name: 'lo' }, /lo: an interface of that name is there already/);
  wrong({ name: 'kith1', mtuBytes: 67 }, /mtuBytes: expected 68\.\.65535, got 67/);
  wrong({ name: 'kith1', mtuBytes: 1279, addresses: ['fd09::1/64'] }, /mtuBytes: expected 1280\.\.65535/);
  for (const address of ['10.9.0.1', '10.9.0.1/33', 'fd09::1/129', 'x/8', '10.9.0.1/-1'])
    wrong({ name: 'kith1', addresses: [address] }, /addresses: expected ADDRESS\/BITS such as/);
  wrong({ name: 'kith1', addresses: ['10.9.0.1/24', '10.9.1.1/24'] }, /expected at most one of IPv4/);
  assert.not.match(namespace.run('ip', 'link'), /kith1/);
});

maybe('its MTU changes both ways while routes over it stay', () => {
  const inside = Namespace.make();
  const device = open(inside, { name: 'line', mtuBytes: 1492, addresses: ['10.0.0.2/32'] });
  inside.run('ip', 'route', 'add', '10.0.0.1/32', 'dev', 'line');
  for (const mtuBytes of [1500, 1400]) {
    inside.enter(() => device.setMtu(mtuBytes));
    assert.match(inside.run('ip', 'link', 'show', 'line'), new RegExp(`mtu ${mtuBytes} `));
    assert.match(inside.run('ip', 'route'), /10\.0\.0\.1 dev line/);
    assert.match(inside.run('ip', 'address', 'show', 'line'), /10\.0\.0\.2\/32/);
  }
});

test.run();
