/**
 * The mode without a tunnel, end to end: the software BRAS installs access lists on the gateway's agent by MQTT messages, and
 * packets cross the access network as plain IP over Ethernet, until something says otherwise.
 */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, readUint16, writeUint16, writeUint32 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { Ipv6PrefixPool } from '../../host-sim/bras/address-pool.js';
import { acMac, address, ipv4Packet } from '../bras/homes.js';
import { gatewayMac, Rig, withoutHops } from './gateway-rig.js';

const outside = address('192.0.2.7');
const expiryMs = 60_000;
const etherTypeOf = (frame: Uint8Array) => readUint16(frame, 12);
const packetOf = (from: number, to: number, length = 64) => ipv4Packet(from, to, length, 253);

function homeOf(rig: Rig): number {
  return rig.bras.table.ipv4[rig.bras.table.rowOf[sessionOf(rig)]];
}

function sessionOf(rig: Rig): number {
  return rig.events.filter(({ name }) => name === 'session-up').at(-1)!.session!;
}

/** Sends a packet each way and says how they crossed the access network; each must arrive as it was. */
function exchange(rig: Rig): string {
  const home = homeOf(rig);
  const from = rig.frames.length;
  const up = packetOf(home, outside, 100);
  const down = packetOf(outside, home, 101);
  rig.send(up);
  rig.fromCore(down);
  assert.equal(withoutHops(rig.toCore.at(-1)), withoutHops(up));
  assert.equal(withoutHops(rig.toHome.at(-1)), withoutHops(down));
  return rig.frames
    .slice(from)
    .map(
      ({ up: isUp, frame }) =>
        `${isUp ? 'up' : 'down'} ${etherTypeOf(frame) === 0x0800 ? 'plain' : 'tunnel'}`,
    )
    .join(', ');
}

test('once the session is authenticated, packets cross without the tunnel; PPP goes on in it', () => {
  const rig = new Rig({ expiryMs }).dial();
  assert.is(rig.job.mode, 'plain');
  assert.is(exchange(rig), 'up plain, down plain');
  const from = rig.frames.length;
  rig.pass(90_000);
  assert.ok(
    rig.frames.slice(from).some(({ frame }) => etherTypeOf(frame) === 0x8864),
    'echoes',
  );
  assert.is(exchange(rig), 'up plain, down plain', 'after a renewal');
  assert.is(rig.bras.openCount, 1);
  const row = rig.bras.table.rowOf[sessionOf(rig)];
  assert.equal(
    [rig.bras.table.packetsIn[row], rig.bras.table.bytesIn[row], rig.bras.table.bytesOut[row]],
    [2, 200, 202],
    'and are accounted',
  );
});

test('until the gateway has installed its list, and without MQTT, the tunnel carries all', () => {
  const rig = new Rig({ expiryMs });
  rig.pass(5_000);
  assert.is(rig.job.mode, 'tunnel');
  const home = rig.bras.table.ipv4[1];
  rig.send(packetOf(home, outside));
  assert.is(etherTypeOf(rig.frames.at(-1)!.frame), 0x8864);
  rig.connect();
  assert.is(exchange(rig), 'up plain, down plain');
});

test('a revocation takes effect at once on both sides: no plain packet passes after it', () => {
  const rig = new Rig({ expiryMs }).dial();
  assert.is(exchange(rig), 'up plain, down plain');
  rig.bus!.acl.closed(rig.now, rig.bras.table.rowOf[sessionOf(rig)]);
  rig.settle();
  assert.is(exchange(rig), 'up tunnel, down tunnel');
  const before = rig.toCore.length;
  plainUp(rig, packetOf(homeOf(rig), outside));
  assert.is(rig.toCore.length, before, 'not even from a gateway that goes on');
  assert.ok(rig.statuses.at(-1)!.status.status === 'revoked');
});

test('a gateway that loses MQTT goes back to the tunnel; what the BRAS still sends plain arrives, and then it follows', () => {
  const rig = new Rig({ expiryMs }).dial();
  rig.disconnect();
  rig.job.offline();
  rig.settle();
  assert.is(exchange(rig), 'up tunnel, down plain', 'the BRAS does not know yet');
  assert.is(rig.job.mode, 'plain', 'and its packets say so');
  rig.loseGateway();
  rig.job.offline();
  rig.settle();
  assert.is(exchange(rig), 'up tunnel, down tunnel');
  rig.connect();
  assert.is(exchange(rig), 'up plain, down plain');
});

test('a BRAS that takes the gateway for lost while it is not: packets go on, through the tunnel, within a second', () => {
  const rig = new Rig({ expiryMs }).dial();
  rig.pass(2_000);
  rig.busUp = false;
  rig.loseGateway();
  rig.fromCore(packetOf(outside, homeOf(rig)));
  assert.is(rig.job.mode, 'tunnel');
  assert.is(exchange(rig), 'up tunnel, down tunnel');
});

test('a gateway that reboots begins in the tunnel with another session, and is taken out of it anew', () => {
  const rig = new Rig({ expiryMs }).dial();
  const before = sessionOf(rig);
  rig.boot();
  rig.loseGateway();
  const up = rig.frames.length;
  rig.pass(5_000);
  assert.is(rig.job.mode, 'tunnel');
  assert.ok(
    rig.frames.slice(up).every(({ frame }) => etherTypeOf(frame) !== 0x0800),
    'nothing plain',
  );
  rig.connect();
  assert.is.not(sessionOf(rig), before);
  assert.is(exchange(rig), 'up plain, down plain');
});

test('the end of the session ends the mode on both sides', () => {
  const rig = new Rig({ expiryMs }).dial();
  const home = homeOf(rig);
  rig.bras.close(rig.now, sessionOf(rig), 'bye', 'admin-reset');
  rig.settle();
  assert.is(rig.job.mode, 'down');
  rig.send(packetOf(home, outside));
  assert.is(rig.toCore.length, 0);
  plainUp(rig, packetOf(home, outside));
  assert.is(rig.toCore.length, 0);
  assert.is(rig.bras.counters.get('bras.drop.plain'), 1);
});

test('nothing passes that no session allows: random plain frames around a session in plain mode', () => {
  const seed = 5;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'plain');
  const rig = new Rig({ expiryMs }).dial();
  const home = homeOf(rig);
  let passed = 0;
  for (let i = 0; i < 5_000; i++) {
    const wrongSource = random.chance(0.5);
    const wrongMac = random.chance(0.1);
    const wrongTag = random.chance(0.1);
    const from = wrongSource ? (home ^ (1 << random.below(32))) >>> 0 : home;
    const before = rig.toCore.length;
    plainUp(rig, packetOf(from, outside, 20 + random.below(100)), { wrongMac, wrongTag });
    const isAllowed = !wrongSource && !wrongMac && !wrongTag;
    if (rig.toCore.length > before) {
      assert.ok(isAllowed, `frame ${i}: expected it dropped`);
      passed++;
    }
  }
  // A gateway that lies so much loses the mode, so that few pass.
  assert.ok(passed > 0);
  assert.is(rig.bus!.acl.counters.get('acl.liar'), 1);
  assert.is(rig.job.mode, 'tunnel');
  assert.is(exchange(rig), 'up tunnel, down tunnel');
});

test('IPv6 goes the same way: the prefix plain, the link itself in the tunnel', () => {
  const rig = new Rig({
    expiryMs: 10_000,
    gateway: { ipv6: true },
    bras: { prefixes: new Ipv6PrefixPool('2001:db8::/48') },
  }).dial();
  // With the renewal at the latest the list names the prefix.
  rig.pass(6_000);
  const { table } = rig.bras;
  const row = table.rowOf[sessionOf(rig)];
  assert.is.not(table.ipv6High[row], 0);
  const up = ipv6Packet();
  writeUint32(up, 8, table.ipv6High[row]);
  writeUint32(up, 12, table.ipv6Low[row]);
  rig.send(up);
  assert.is(etherTypeOf(rig.frames.at(-1)!.frame), 0x86dd);
  assert.equal(withoutHops(rig.toCore.at(-1)), withoutHops(up));
  const down = ipv6Packet();
  down.set(up.slice(8, 24), 24);
  rig.fromCore(down);
  assert.is(etherTypeOf(rig.frames.at(-1)!.frame), 0x86dd);
  assert.equal(withoutHops(rig.toHome.at(-1)), withoutHops(down));
  const link = ipv6Packet();
  link.set([0xfe, 0x80], 8);
  rig.send(link);
  assert.is(etherTypeOf(rig.frames.at(-1)!.frame), 0x8864);
});

test('a list goes only to the gateway that names its own session and MAC; who claims another’s, or after it, gets none', () => {
  const rig = new Rig({ expiryMs, gateway: { plain: false } }).dial();
  const session = sessionOf(rig);
  const claim = (node: string, host: string, id: number, text = 'plain') =>
    rig.bus!.receive(
      rig.now,
      `kith/1/home/${node}/event/session-up`,
      encodeUtf8(JSON.stringify({ boot: '0badcafe', seq: 0, uptime: 0, host, session: id, text })),
    );
  const published = () => rig.bus!.acl.counters.get('acl.published');
  claim('gw-2', '02:10:00:00:00:08', session);
  claim('gw-2', '02:10:00:00:00:07', 1 + (session % 65_534));
  claim('gw-2', '02:10:00:00:00:07', session, 'tunnel');
  rig.bus!.receive(rig.now, 'kith/1/home/gw-2/event/session-up', encodeUtf8('{}'));
  rig.bus!.receive(rig.now, 'kith/1/away/gw-2/state', encodeUtf8('lost'));
  assert.is(published(), 0);
  assert.equal(rig.bus!.counters.snapshot(), { 'bus.wrong-host': 2, 'bus.malformed': 2 });
  claim('gw-3', '02:10:00:00:00:07', session);
  assert.is(published(), 1);
  claim('gw-2', '02:10:00:00:00:07', session);
  assert.is(published(), 1);
  assert.is(rig.bus!.counters.get('bus.claimed'), 1);
});

/** A plain frame as a gateway may send it, whether it should or not. */
function plainUp(rig: Rig, packet: Uint8Array, wrong: { wrongMac?: boolean; wrongTag?: boolean } = {}): void {
  const tags = wrong.wrongTag ? [0x81, 0, 0, 9] : [];
  const frame = new Uint8Array([...acMac, ...gatewayMac, ...tags, 8, 0, ...packet]);
  if (wrong.wrongMac) frame[11] ^= 1;
  rig.bras.receiveAccess(rig.now, 0, frame);
  rig.settle();
}

function ipv6Packet(): Uint8Array {
  const packet = new Uint8Array(60);
  packet[0] = 0x60;
  writeUint16(packet, 4, 20);
  packet.set([253, 64, 0x20, 1, 0x0d, 0xb8, 0xff], 6);
  packet.set([0x20, 1, 0x0d, 0xb9], 24);
  return packet;
}

test.run();
