/** The gateway's job `pppoe` in its agent, with the software BRAS on the other end: the line, and what access lists let pass. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, readUint16, writeUint16 } from '../../agent/core/bytes.js';
import { internetChecksum, transportChecksum } from '../../agent/wire/checksum.js';
import type { VlanTag } from '../../agent/wire/vlan.js';
import { acMac, address, ipv4Packet } from '../bras/homes.js';
import { gatewayMac, Rig, withoutHops } from './gateway-rig.js';

const outside = address('192.0.2.7');
const tag = (vlanId: number): VlanTag => ({ tpid: 0x8100, priority: 0, dropEligible: false, vlanId });
const etherTypeOf = (frame: Uint8Array) => readUint16(frame, 12);
const discoveryCode = (frame: Uint8Array) => (etherTypeOf(frame) === 0x8863 ? frame[15] : -1);
const isLcp = (frame: Uint8Array) => etherTypeOf(frame) === 0x8864 && readUint16(frame, 20) === 0xc021;

function lineAddress(rig: Rig): number {
  const line = rig.lines[rig.lines.length - 1];
  assert.ok(line.state === 'up');
  const [a, b, c, d] = line.address;
  return address(`${a}.${b}.${c}.${d}`);
}

function text(number: number): string {
  return [24, 16, 8, 0].map(shift => (number >>> shift) & 255).join('.');
}

/** A list that fits the session that is open. */
function fitting(rig: Rig, more: object = {}): Record<string, unknown> {
  const { session } = rig.events.filter(({ name }) => name === 'session-up').at(-1)!;
  return {
    session,
    bras: '02:ac:00:00:00:01',
    ipv4: text(lineAddress(rig)),
    expires: '60s',
    ...more,
  };
}

function lastStatus(rig: Rig): string {
  const last = rig.statuses.at(-1)!;
  return `${last.id} ${last.status.status}`;
}

/** Of a protocol number for experiments (RFC 3692): 20 bytes are enough, and nothing in it can be malformed. */
function packetOf(from: number, to: number, length = 64): Uint8Array {
  return ipv4Packet(from, to, length, 253);
}

/** A TCP SYN with the option MSS. */
function syn(from: number, to: number, mss: number): Uint8Array {
  const packet = ipv4Packet(from, to, 44, 6);
  writeUint16(packet, 20, 40_000);
  writeUint16(packet, 22, 80);
  packet[32] = 6 << 4;
  packet[33] = 0x02;
  packet.set([2, 4, mss >>> 8, mss & 255], 40);
  writeUint16(packet, 36, 0);
  writeUint16(packet, 36, checksumOf(packet));
  return packet;
}

function checksumOf(packet: Uint8Array): number {
  const pseudo = { srcAddress: packet.slice(12, 16), dstAddress: packet.slice(16, 20) };
  return transportChecksum(pseudo, 6, packet, 20, packet.length);
}

/** As the BRAS would send it. */
function plainFrame(packet: Uint8Array, from: Uint8Array = acMac, tags: number[] = []): Uint8Array {
  const frame = new Uint8Array(Math.max(60, 14 + 4 * tags.length + packet.length));
  frame.set(gatewayMac);
  frame.set(from, 6);
  let at = 12;
  for (const one of tags) at = writeUint16(frame, writeUint16(frame, at, 0x8100), one);
  at = writeUint16(frame, at, packet[0] >>> 4 === 6 ? 0x86dd : 0x0800);
  frame.set(packet, at);
  return frame;
}

test('the line comes up with address, peer, DNS and MTU, and is reported as one that can do without the tunnel', () => {
  const rig = new Rig().dial();
  const [line] = rig.lines;
  assert.ok(line.state === 'up');
  assert.is(line.mode, 'tunnel');
  assert.equal([...line.peerAddress], [10, 0, 0, 1]);
  assert.equal(
    line.dnsAddresses.map(one => [...one]),
    [[192, 0, 2, 53]],
  );
  assert.is(line.mtuBytes, 1492);
  assert.is(lineAddress(rig), rig.bras.table.ipv4[1]);
  const [event] = rig.events;
  assert.equal([event.name, event.session, event.text], ['session-up', rig.bras.table.id[1], 'plain']);
  const told = rig.events.length;
  rig.disconnect();
  rig.connect();
  assert.is(rig.events.length, told + 1, 'again to a broker that has us anew');
  assert.is(rig.events.at(-1)!.name, 'session-up');
});

test('packets go both ways byte for byte, without the padding of Ethernet, from the shortest to the MTU', () => {
  const rig = new Rig().dial();
  const home = lineAddress(rig);
  for (const length of [20, 21, 37, 38, 39, 576, 1491, 1492]) {
    const up = packetOf(home, outside, length);
    const down = packetOf(outside, home, length);
    rig.send(up);
    const { frame } = rig.frames.at(-1)!;
    assert.equal(frame.slice(22, 22 + length), up, `on the wire, ${length}`);
    assert.equal(withoutHops(rig.toCore.pop()), withoutHops(up), `up, ${length}`);
    rig.fromCore(down);
    assert.equal(withoutHops(rig.toHome.pop()), withoutHops(down), `down, ${length}`);
  }
  rig.send(packetOf(home, outside, 1493));
  assert.is(rig.count('drop.too-long'), 1);
  assert.is(rig.count('packets.tunnel-out'), 8);
  assert.is(rig.count('packets.tunnel-in'), 8);
});

test('a SYN learns what the line carries, both ways, in the tunnel and without, and its checksum stays right', () => {
  const rig = new Rig().dial();
  const home = lineAddress(rig);
  // The BRAS clamps too: what the gateway makes of it is seen on the wire.
  const upOnWire = () => rig.frames.filter(({ up }) => up).at(-1)!.frame;
  rig.send(syn(home, outside, 1460));
  let packet = upOnWire().slice(22, 22 + 44);
  assert.is(readUint16(packet, 42), 1452);
  assert.is(checksumOf(packet), 0);
  rig.publishAcl('s', fitting(rig));
  rig.send(syn(home, outside, 1460));
  packet = upOnWire().slice(14, 14 + 44);
  assert.is(readUint16(packet, 42), 1452, 'a plain connection may have to go back to the tunnel');
  assert.is(checksumOf(packet), 0);
  rig.inject(plainFrame(syn(outside, home, 1460)));
  assert.is(readUint16(rig.toHome.at(-1)!, 42), 1452);
  rig.send(syn(home, outside, 1400));
  assert.is(readUint16(upOnWire(), 14 + 42), 1400, 'smaller ones stay');
});

test('a PADT of the AC ends the line at once and is told; the job dials again and gets a session of another id', () => {
  const rig = new Rig().dial();
  const id = rig.bras.table.id[1];
  rig.bras.close(rig.now, id, 'for maintenance', 'admin-reset');
  rig.settle();
  assert.is(rig.job.mode, 'down');
  assert.is(rig.lines.at(-1)!.state, 'down');
  const down = rig.events.at(-1)!;
  assert.equal([down.name, down.session, down.text], ['session-down', id, 'ac: padt']);
  rig.send(packetOf(address('10.1.0.1'), outside));
  assert.is(rig.count('drop.no-session'), 1);
  rig.pass(10_000);
  assert.is(rig.job.mode, 'tunnel');
  const up = rig.events.at(-1)!;
  assert.is(up.name, 'session-up');
  assert.is.not(up.session, id);
});

test('an AC that falls silent is noticed by echoes within two minutes, with the reason, and sought anew', () => {
  const rig = new Rig().dial();
  rig.lose = (_frame, up) => !up;
  const from = rig.now;
  while (rig.job.mode !== 'down') rig.pass(1_000);
  assert.ok(rig.now - from <= 121_000, `${rig.now - from} ms`);
  rig.pass(10_000);
  const down = rig.events.at(-1)!;
  assert.equal([down.name, down.text], ['session-down', 'ac: echo-timeout']);
  rig.lose = () => false;
  rig.pass(120_000);
  assert.is(rig.job.mode, 'tunnel');
});

test('a wrong password never brings the line up, is told without being quoted, and is not tried in a hurry', () => {
  for (const method of ['pap', 'chap-md5', 'ms-chap-v2'] as const) {
    const rig = new Rig({
      gateway: { secret: encodeUtf8('gu3ss') },
      bras: { authentication: [method] },
    });
    rig.connect();
    rig.pass(60_000);
    assert.is(rig.job.mode, 'down');
    assert.equal(rig.lines, []);
    const failed = rig.events.filter(({ name }) => name === 'session-failed');
    assert.is(failed[0].text, 'ac: authentication-failed', method);
    assert.ok(failed.length >= 2 && failed.length <= 6, `${failed.length} attempts in a minute`);
    assert.not.match(JSON.stringify(rig.events), /gu3ss/);
  }
});

test('a PADT or a packet from another MAC, for another session or on another VLAN changes nothing and is counted', () => {
  const rig = new Rig({ vlanTags: [tag(7)] }).dial();
  const home = lineAddress(rig);
  rig.fromCore(packetOf(outside, home));
  const good = rig.frames.at(-1)!.frame;
  assert.is(rig.toHome.length, 1);
  const altered = (at: number, value: number) => {
    const frame = good.slice();
    frame[at] = value;
    rig.inject(frame);
  };
  altered(11, good[11] ^ 1);
  altered(21, good[21] ^ 1);
  altered(15, 8);
  assert.equal(
    ['drop.ac-mac', 'drop.session-id', 'drop.vlan-tags'].map(name => rig.count(name)),
    [1, 1, 1],
  );
  const untagged = new Uint8Array([...good.slice(0, 12), ...good.slice(16)]);
  rig.inject(untagged);
  assert.is(rig.count('drop.vlan-tags'), 2);
  altered(5, 9);
  assert.is(rig.toHome.length, 1, 'nor one for another station');
  const padt = new Uint8Array(60);
  padt.set(good.slice(0, 16));
  padt.set([0x88, 0x63, 0x11, 0xa7, good[20], good[21]], 16);
  const hijack = padt.slice();
  hijack[11] ^= 1;
  rig.inject(hijack);
  assert.is(rig.count('client.drop.padt-stranger'), 1);
  assert.is(rig.job.mode, 'tunnel');
  rig.inject(padt);
  assert.is(rig.job.mode, 'down', 'the right one does: the others were well formed');
});

test('an orderly end says PADT, and the BRAS forgets the session', () => {
  const rig = new Rig().dial();
  rig.agent.receive(rig.now, { kind: 'shutdown' });
  rig.settle();
  assert.is(rig.bras.openCount, 0);
  assert.ok(rig.frames.some(({ up, frame }) => up && discoveryCode(frame) === 0xa7));
});

test('IPv6 is not sent before IPV6CP is up, nor where the BRAS has none', () => {
  const rig = new Rig({ gateway: { ipv6: true } }).dial();
  const packet = new Uint8Array(48);
  packet[0] = 0x60;
  packet[5] = 8;
  rig.send(packet);
  assert.is(rig.count('drop.no-ipv6'), 1);
});

test('a list that fits the session is installed: plain frames both ways with the tags of the session, the tunnel as before', () => {
  const rig = new Rig({ vlanTags: [tag(7)] }).dial();
  const home = lineAddress(rig);
  rig.publishAcl('s', fitting(rig));
  assert.is(rig.job.mode, 'plain');
  assert.equal([rig.statuses.length, lastStatus(rig)], [1, 's installed']);
  const { mode, mtuBytes } = rig.lines.at(-1) as { mode: string; mtuBytes: number };
  assert.equal([mode, mtuBytes], ['plain', 1500]);
  const packet = packetOf(home, outside, 1500);
  rig.send(packet);
  const { frame } = rig.frames.at(-1)!;
  assert.equal(frame.slice(0, 6), acMac);
  assert.equal(frame.slice(6, 12), gatewayMac);
  assert.equal([...frame.slice(12, 18)], [0x81, 0, 0, 7, 8, 0]);
  assert.equal(frame.slice(18), packet);
  const down = packetOf(outside, home, 21);
  rig.inject(plainFrame(down, acMac, [7]));
  assert.equal(rig.toHome.at(-1), down, 'without padding');
  // What is on its way through the tunnel while the list is installed is no reason to go back.
  rig.fromCore(packetOf(outside, home, 30));
  assert.is(rig.toHome.at(-1)!.length, 30);
  assert.is(rig.job.mode, 'plain');
});

test('a list for another session, address or AC, or that makes no sense, is rejected with the field, and lets nothing pass', () => {
  const rig = new Rig().dial();
  const good = fitting(rig);
  const cases: [object | Uint8Array, string, RegExp][] = [
    [{ ...good, session: 1 + ((good['session'] as number) % 65_534) }, 'session', /the session that is open/],
    [{ ...good, ipv4: '10.1.0.99' }, 'ipv4', /the address of the session/],
    [{ ...good, bras: '02:ac:00:00:00:02' }, 'bras', /access concentrator/],
    [{ ...good, bras: '03:ac:00:00:00:01' }, 'bras', /group address/],
    [{ ...good, ipv6: '2001:db8::1/56' }, 'ipv6', /nothing behind them/],
    [{ ...good, expires: '0s' }, 'expires', /duration/],
    [{ ...good, upBitsPerSecond: 0 }, 'upBitsPerSecond', /at least 1/],
    [{ ...good, more: 1 }, 'more', /more/],
    [encodeUtf8('[]'), '', /map/],
  ];
  for (const [body, field, reason] of cases) {
    rig.publishAcl('s', body);
    const { status } = rig.statuses.at(-1)!;
    assert.is(status.status, 'rejected', field);
    assert.is(status.field, field);
    assert.match(status.reason!, reason);
    assert.is(rig.job.mode, 'tunnel');
  }
  assert.is(rig.count('acl.rejected'), cases.length);
  assert.is(rig.lines.length, 1, 'the line was never anything but a tunnel');
  rig.publishAcl('s', good);
  assert.is(lastStatus(rig), 's installed');
});

test('a gateway that is to keep to the tunnel says so and takes no list', () => {
  const rig = new Rig({ gateway: { plain: false } }).dial();
  assert.is(rig.events.at(-1)!.text, 'tunnel');
  rig.publishAcl('s', fitting(rig));
  assert.is(lastStatus(rig), 's rejected');
  assert.is(rig.job.mode, 'tunnel');
});

test('only the address of the session passes in plain mode; what is refused is counted and reported', () => {
  const rig = new Rig().dial();
  const home = lineAddress(rig);
  rig.publishAcl('s', fitting(rig));
  const before = rig.frames.length;
  for (const from of [home + 1, home - 1, outside, 0]) rig.send(packetOf(from, outside));
  const short = packetOf(home, outside, 20).slice(0, 19);
  rig.send(short);
  const ipv6 = new Uint8Array(40);
  ipv6[0] = 0x60;
  rig.send(ipv6);
  assert.is(rig.frames.length, before, 'nothing left');
  assert.is(rig.count('drop.acl-source'), 5);
  assert.is(rig.count('drop.no-ipv6'), 1);
  rig.send(packetOf(home, outside));
  assert.is(rig.frames.length, before + 1);
  rig.publishAcl('s', new Uint8Array(0));
  const { status } = rig.statuses.at(-1)!;
  assert.equal([status.status, status.packets, status.refused], ['revoked', 1, 5]);
});

test('plain frames are taken only from the BRAS, for the subscriber, on his VLAN, and while a list is in force', () => {
  const rig = new Rig().dial();
  const home = lineAddress(rig);
  rig.inject(plainFrame(packetOf(outside, home)));
  assert.is(rig.count('drop.plain-unasked'), 1);
  rig.publishAcl('s', fitting(rig));
  rig.inject(plainFrame(packetOf(outside, home), new Uint8Array([2, 0xac, 0, 0, 0, 2])));
  rig.inject(plainFrame(packetOf(outside, home + 1)));
  rig.inject(plainFrame(packetOf(outside, home), acMac, [7]));
  assert.equal(
    ['drop.plain-source', 'drop.plain-destination', 'drop.vlan-tags'].map(name => rig.count(name)),
    [1, 1, 1],
  );
  assert.equal(rig.toHome, []);
  rig.inject(plainFrame(packetOf(outside, address('233.252.0.1'))));
  assert.is(rig.toHome.length, 1, 'groups are for all on the line');
});

test('the rate of the list holds within its burst, and a renewal gives no second burst', () => {
  const rig = new Rig().dial();
  const home = lineAddress(rig);
  const list = fitting(rig, { upBitsPerSecond: 80_000 });
  rig.publishAcl('s', list);
  for (let i = 0; i < 10; i++) rig.send(packetOf(home, outside, 1000));
  assert.is(rig.count('packets.plain-out'), 3, '3000 bytes at once');
  rig.publishAcl('s', list);
  rig.send(packetOf(home, outside, 1000));
  assert.is(rig.count('packets.plain-out'), 3);
  for (let i = 0; i < 10; i++) {
    rig.pass(100);
    rig.send(packetOf(home, outside, 1000));
  }
  assert.is(rig.count('packets.plain-out'), 13, '10,000 bytes a second');
  assert.is(rig.count('drop.acl-rate'), 8);
});

test('a list that is not renewed expires to the millisecond: the tunnel carries all, and that is told', () => {
  const rig = new Rig().dial();
  const home = lineAddress(rig);
  rig.publishAcl('s', fitting(rig, { expires: '5s' }));
  rig.pass(4_000);
  rig.publishAcl('s', fitting(rig, { expires: '5s' }));
  assert.is(rig.lines.length, 2, 'a renewal is no change of mode');
  rig.pass(4_999);
  rig.send(packetOf(home, outside));
  assert.is(etherTypeOf(rig.frames.at(-1)!.frame), 0x0800);
  // Even before the platform polls.
  rig.now++;
  rig.agent.receive(rig.now, { kind: 'line-packet', packet: packetOf(home, outside) });
  rig.settle();
  assert.is(etherTypeOf(rig.frames.at(-1)!.frame), 0x8864);
  assert.is(lastStatus(rig), 's expired');
  assert.equal((rig.lines.at(-1) as { mode: string }).mode, 'tunnel');
});

test('an empty payload revokes at once, one of another id does not, and a bad one in its place does', () => {
  const rig = new Rig().dial();
  rig.publishAcl('s', fitting(rig));
  rig.publishAcl('other', new Uint8Array(0));
  assert.is(rig.job.mode, 'plain');
  rig.publishAcl('s', new Uint8Array(0));
  assert.equal([rig.job.mode, lastStatus(rig)], ['tunnel', 's revoked']);
  rig.publishAcl('s', fitting(rig));
  rig.publishAcl('s', fitting(rig, { ipv4: '10.9.9.9' }));
  assert.equal([rig.job.mode, lastStatus(rig)], ['tunnel', 's rejected']);
  rig.publishAcl('s', fitting(rig));
  rig.publishAcl('t', fitting(rig));
  assert.equal(
    rig.statuses.slice(-2).map(({ id, status }) => `${id} ${status.status}`),
    ['s revoked', 't installed'],
    'one list at a time',
  );
});

test('the end of the session ends its list; the retained list is refused to the session after a restart', () => {
  const rig = new Rig().dial();
  rig.publishAcl('s', fitting(rig));
  rig.bras.close(rig.now, rig.bras.table.id[1], 'bye', 'admin-reset');
  rig.settle();
  assert.is(lastStatus(rig), 's revoked');
  rig.pass(10_000);
  assert.is(rig.job.mode, 'tunnel');

  const other = new Rig().dial();
  other.publishAcl('s', fitting(other));
  other.lose = () => true;
  other.boot();
  other.connect();
  assert.is(lastStatus(other), 's rejected', 'no session is open');
  assert.match(other.statuses.at(-1)!.status.reason!, /a session that is open/);
  assert.is(other.statuses.at(-1)!.status.boot, '00000002');
  other.lose = () => false;
  other.pass(10_000);
  assert.is(other.job.mode, 'tunnel');
  other.disconnect();
  other.connect();
  assert.is(lastStatus(other), 's rejected', 'nor for the session that is open now');
  assert.is(other.statuses.at(-1)!.status.field, 'session');
  assert.is(other.job.mode, 'tunnel');
});

test('a gateway whose BRAS sends through the tunnel again follows it there, and back when plain packets come', () => {
  const rig = new Rig().dial();
  const home = lineAddress(rig);
  rig.publishAcl('s', fitting(rig));
  rig.pass(1_000);
  rig.fromCore(packetOf(outside, home));
  assert.is(rig.job.mode, 'tunnel');
  rig.send(packetOf(home, outside));
  assert.is(etherTypeOf(rig.frames.at(-1)!.frame), 0x8864);
  rig.inject(plainFrame(packetOf(outside, home)));
  assert.is(rig.job.mode, 'plain');
  assert.equal(
    rig.lines.map(line => (line.state === 'up' ? line.mode : 'down')),
    ['tunnel', 'plain', 'tunnel', 'plain'],
  );
  assert.equal([rig.count('acl.suspended'), rig.count('acl.resumed')], [1, 1]);
});

test('what is said of lists while the bus is down is said when it is up, the last word of each id', () => {
  const rig = new Rig().dial();
  rig.publishAcl('s', fitting(rig, { expires: '5s' }));
  rig.disconnect();
  rig.publishAcl('s', new Uint8Array(0));
  rig.pass(6_000);
  assert.is(rig.statuses.length, 1);
  rig.connect();
  assert.equal(
    rig.statuses.slice(1, 2).map(({ id, status }) => `${id} ${status.status}`),
    ['s expired'],
  );
});

test('LCP of a peer that compresses or frames like HDLC is understood', () => {
  const rig = new Rig().dial();
  const id = rig.bras.table.id[1];
  // FF 03, and a protocol number of one byte: neither was agreed on, both are seen.
  const packet = packetOf(outside, lineAddress(rig), 40);
  const frame = new Uint8Array(64);
  frame.set(gatewayMac);
  frame.set(acMac, 6);
  frame.set([0x88, 0x64, 0x11, 0, id >>> 8, id & 255, 0, 43, 0xff, 0x03, 0x21], 12);
  frame.set(packet, 23);
  rig.inject(frame);
  assert.equal(rig.toHome, [packet]);
  assert.is(internetChecksum(rig.toHome[0], 0, 20), 0);
  assert.ok(rig.frames.some(({ frame: one }) => isLcp(one)));
});

test.run();
