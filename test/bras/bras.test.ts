import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readUint32 } from '../../agent/core/bytes.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { formatIpv4, Ipv4Pool, Ipv6PrefixPool } from '../../host-sim/bras/address-pool.js';
import { igmpPacket } from '../../host-sim/bras/igmp-proxy.js';
import { Access, address, fromCore, ipv4Packet } from './homes.js';

const core = address('198.51.100.7');

test('a home dials in with PAP, CHAP and MS-CHAPv2, gets an address of the pool, and sends and receives', () => {
  for (const method of ['pap', 'chap-md5', 'ms-chap-v2'] as const) {
    const access = new Access();
    const { bras, packets } = access.addBras();
    const home = access.dial(1, 'ada', 'secret-a', { methods: [method] });
    assert.ok(home.isUp, `${method}: ${JSON.stringify(home.events)}`);
    assert.is(formatIpv4(home.address), '10.1.0.1');
    assert.equal([bras.openCount, bras.talkingCount], [1, 0], 'open, and no object left');
    const out = ipv4Packet(home.address, core, 100);
    home.sendPpp(pppProtocol.ipv4, out);
    access.settle();
    assert.equal(packets, [ipv4Packet(home.address, core, 100, 17, 63)], 'one hop less');
    const back = ipv4Packet(core, home.address, 1400);
    fromCore(bras, access.now, back);
    access.settle();
    assert.equal(home.packets, [ipv4Packet(core, home.address, 1400, 17, 63)]);
  }
});

test('nothing passes that is not the session’s own source, of either family', () => {
  const access = new Access();
  const { bras, packets } = access.addBras({ prefixes: new Ipv6PrefixPool('2001:db8::/48') });
  const home = access.dial(1, 'ada', 'secret-a', { ipv6: true });
  access.pass(4_000);
  for (const from of [home.address + 1, 0, core, address('10.0.0.1'), address('127.0.0.1')])
    home.sendPpp(pppProtocol.ipv4, ipv4Packet(from, core));
  const ipv6 = (high: number, low: number) => {
    const packet = new Uint8Array(48);
    packet.set([0x60, 0, 0, 0, 0, 8, 17, 64]);
    packet.set([high >>> 24, high >>> 16, high >>> 8, high, low >>> 24, low >>> 16, low >>> 8, low], 8);
    packet.set([0x20, 1, 0xd, 0xb8, 0xff], 24);
    return packet;
  };
  for (const [high, low] of [
    [0x20010db8, 1],
    [0x20010db8, 0x10000],
    [0xfe800000, 0],
    [0, 0],
  ])
    home.sendPpp(pppProtocol.ipv6, ipv6(high, low));
  access.settle();
  assert.is(packets.length, 0);
  assert.equal(
    [bras.counters.get('bras.drop.foreign-source'), bras.counters.get('bras.drop.link-local')],
    [7, 2],
  );
  home.sendPpp(pppProtocol.ipv6, ipv6(0x20010db8, 0));
  // A length that lies, a wrong checksum, the wrong protocol number.
  const good = ipv4Packet(home.address, core);
  for (const [at, value] of [
    [3, 200],
    [3, 19],
    [0, 0x41],
    [10, good[10] ^ 1],
  ]) {
    const bad = good.slice();
    bad[at] = value;
    home.sendPpp(pppProtocol.ipv4, bad);
  }
  home.sendPpp(pppProtocol.ipv6, good);
  access.settle();
  assert.is(packets.length, 1);
  assert.is(bras.counters.get('bras.drop.malformed'), 5);
});

test('with a prefix pool a home hears a router advertisement with a prefix of its own, and again when it asks', () => {
  const access = new Access();
  access.addBras({ prefixes: new Ipv6PrefixPool('2001:db8:0:8::/62') });
  const homes = [1, 2].map(number =>
    access.dial(number, `u${number}`, '', { ipv6: true, methods: ['none'] }),
  );
  assert.ok(
    homes.every(home => !home.isUp),
    'the AC asks for credentials',
  );
  const rig = new Access();
  rig.addBras({ prefixes: new Ipv6PrefixPool('2001:db8:0:8::/62') });
  const [ada, bob] = [
    rig.dial(1, 'ada', 'secret-a', { ipv6: true }),
    rig.dial(2, 'bob', 'secret-b', { ipv6: true }),
  ];
  const prefix = (packet: Uint8Array) => [packet[40], readUint32(packet, 40 + 16 + 16 + 4)];
  assert.equal(prefix(ada.packets[0]), [134, 8]);
  assert.equal(prefix(bob.packets[0]), [134, 9]);
  assert.is(ada.packets[0][7], 255);
});

test('a wrong password is refused, told to nobody in clear, and after five of them not even asked about', () => {
  const access = new Access();
  const { bras, lines } = access.addBras({ sessions: 10 });
  for (let i = 0; i < 8; i++) {
    const home = access.dial(10 + i, 'ada', 'not-the-secret', { methods: ['pap'] });
    access.pass(20);
    assert.not(home.isUp);
    assert.is(bras.table.count, 0, 'no session is left');
  }
  assert.is(bras.counters.get('bras.authentication.refused'), 5);
  assert.is(bras.counters.get('bras.authentication.blocked'), 3);
  assert.not.match(lines.join('\n'), 'not-the-secret');
  assert.match(lines[0], /"ada" refused \(wrong-credentials\)/);
  // Another home's user is not held up, and ada gets in when the block is over.
  assert.ok(access.dial(2, 'bob', 'secret-b').isUp);
  access.pass(10_000);
  assert.ok(access.dial(1, 'ada', 'secret-a').isUp);
});

test('a user who comes again elsewhere replaces his session, or is refused, as configured; accounting says why', () => {
  const access = new Access();
  const { bras, records } = access.addBras();
  const first = access.dial(1, 'ada', 'secret-a');
  access.pass(5_000);
  const second = access.dial(2, 'ada', 'secret-a');
  assert.equal([first.isUp, first.closed, second.isUp, bras.openCount], [false, 'padt', true, 1]);
  assert.equal(
    records.map(({ kind, terminateCause, sessionTimeS }) => [kind, terminateCause, sessionTimeS]),
    [
      ['start', undefined, 0],
      ['stop', 'admin-reset', 5],
      ['start', undefined, 0],
    ],
  );
  const strict = new Access();
  const { bras: refusing } = strict.addBras({ sameUser: 'refuse' });
  assert.ok(strict.dial(1, 'ada', 'secret-a').isUp);
  assert.not(strict.dial(2, 'ada', 'secret-a').isUp);
  assert.equal([refusing.openCount, refusing.counters.get('bras.refused.same-user')], [1, 1]);
});

test('a user’s own address is his, a full pool refuses, and what a session had is free when it ends', () => {
  const access = new Access();
  const { bras, lines } = access.addBras({
    pool: new Ipv4Pool({ ranges: ['10.9.0.5-10.9.0.6'] }),
    sameUser: 'allow',
  });
  const ada = access.dial(1, 'ada', 'secret-a');
  assert.is(formatIpv4(ada.address), '10.9.0.5');
  // bob's own address is taken.
  assert.not(access.dial(2, 'bob', 'secret-b').isUp);
  assert.match(lines[0], /10\.9\.0\.5 of "bob" is another session/);
  ada.discovery.stop(access.now);
  access.settle();
  assert.is(bras.table.count, 0);
  assert.is(formatIpv4(access.dial(2, 'bob', 'secret-b').address), '10.9.0.5');
  assert.ok(access.dial(3, 'ada', 'secret-a').isUp);
  assert.not(access.dial(4, 'ada', 'secret-a').isUp);
  assert.is(bras.counters.get('bras.refused.no-address'), 1);
});

test('an open session answers echoes from its row, is missed after three of its own, and ends at its timeout', () => {
  const access = new Access();
  const { bras, records } = access.addBras();
  const ada = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 5_000 });
  const eve = access.dial(3, 'eve', 'secret-e');
  access.pass(80_000);
  assert.ok(ada.isUp && eve.isUp);
  assert.is(bras.counters.get('bras.echo-answered'), 16);
  assert.is(bras.counters.get('bras.thawed'), 0);
  access.pass(11_000);
  assert.not(eve.isUp);
  assert.is(records.at(-1)?.terminateCause, 'session-timeout');
  // The line goes dead.
  access.homes.clear();
  access.pass(101_000);
  assert.is(bras.table.count, 0);
  assert.is(records.at(-1)?.terminateCause, 'lost-carrier');
});

test('a frozen session wakes for what is no echo: a renegotiation, an unknown protocol, a goodbye', () => {
  const access = new Access();
  const { bras, records } = access.addBras();
  const home = access.dial(1, 'ada', 'secret-a');
  home.sendPpp(0x80fd, new Uint8Array([1, 1, 0, 4]));
  access.settle();
  assert.is(bras.pppCounters.get('sent.protocol-reject'), 1);
  assert.equal([bras.talkingCount, bras.counters.get('bras.thawed')], [0, 1], 'put away again');
  home.ppp!.close(access.now);
  access.settle();
  access.pass(10_000);
  assert.is(bras.table.count, 0);
  assert.is(records.at(-1)?.terminateCause, 'user-request');
});

test('accounting counts bytes and packets of IP, with interims as often as asked', () => {
  const access = new Access();
  const { bras, records } = access.addBras({ interimS: 60 });
  const home = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  home.sendPpp(pppProtocol.ipv4, ipv4Packet(home.address, core, 500));
  fromCore(bras, access.now, ipv4Packet(core, home.address, 1000));
  fromCore(bras, access.now, ipv4Packet(core, home.address, 1000));
  access.settle();
  access.pass(125_000);
  home.discovery.stop(access.now);
  access.settle();
  assert.equal(
    records.map(({ kind, inputBytes, outputBytes, inputPackets, outputPackets }) => [
      kind,
      inputBytes,
      outputBytes,
      inputPackets,
      outputPackets,
    ]),
    [
      ['start', 0, 0, 0, 0],
      ['interim', 500, 2000, 1, 2],
      ['interim', 500, 2000, 1, 2],
      ['stop', 500, 2000, 1, 2],
    ],
  );
  assert.equal(new Set(records.map(record => record.subscriber.accountingId)).size, 1);
});

test('a subscriber’s rate class shapes both directions', () => {
  const access = new Access();
  const { bras, packets } = access.addBras({ pool: new Ipv4Pool({ ranges: ['10.9.0.0/24'] }) });
  const bob = access.dial(2, 'bob', 'secret-b', { echoIntervalMs: 10_000 });
  for (let i = 0; i < 15; i++) {
    bob.sendPpp(pppProtocol.ipv4, ipv4Packet(bob.address, core, 1000));
    fromCore(bras, access.now, ipv4Packet(core, bob.address, 1000));
  }
  access.settle();
  assert.equal([packets.length, bob.packets.length], [2, 2]);
  access.pass(1_050);
  // One overdrawn.
  assert.equal([packets.length, bob.packets.length], [13, 13]);
  bras.changeRateClass(access.now, { user: 'bob' }, 'line');
  assert.is(bras.changeRateClass(access.now, { user: 'bob' }, 'nowhere'), undefined);
  access.pass(10_000);
  assert.equal([packets.length, bob.packets.length], [15, 15]);
  for (let i = 0; i < 15; i++) bob.sendPpp(pppProtocol.ipv4, ipv4Packet(bob.address, core, 1000));
  access.settle();
  assert.is(packets.length, 30);
});

test('television reaches the sessions that joined, and only while they have', () => {
  const access = new Access();
  const { bras, packets } = access.addBras({ sameUser: 'allow' });
  const homes = [1, 2, 3].map(number => access.dial(number, 'ada', 'secret-a'));
  const channel = address('239.1.1.1');
  const groupAddress = new Uint8Array([239, 1, 1, 1]);
  for (const home of homes.slice(0, 2))
    home.sendPpp(pppProtocol.ipv4, igmpPacket(home.address, channel, { kind: 'report-v2', groupAddress }));
  access.settle();
  assert.is(packets.length, 1, 'one join upstream');
  fromCore(bras, access.now, ipv4Packet(core, channel, 1328));
  access.settle();
  assert.equal(
    homes.map(home => home.packets.length),
    [1, 1, 0],
  );
  homes[0].discovery.stop(access.now);
  access.settle();
  fromCore(bras, access.now, ipv4Packet(core, channel, 1328));
  access.settle();
  assert.equal(
    homes.map(home => home.packets.length),
    [1, 2, 0],
  );
});

test('draining takes no new session, closes the idle ones at once and the rest at the deadline', () => {
  const access = new Access();
  const { bras, records } = access.addBras({ sameUser: 'allow' });
  const busy = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  const idle = access.dial(2, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  access.pass(60_000);
  bras.drain(access.now + 30_000, 10_000);
  for (let i = 0; i < 29; i++) {
    busy.sendPpp(pppProtocol.ipv4, ipv4Packet(busy.address, core));
    access.pass(1_000);
  }
  assert.equal([busy.isUp, idle.isUp], [true, false]);
  assert.not(access.dial(3, 'ada', 'secret-a').isUp);
  access.pass(2_000);
  assert.equal([bras.table.count, bras.counters.get('bras.drained')], [0, 2]);
  assert.is(records.at(-1)?.terminateCause, 'admin-reboot');
});

test('the provider disconnects by user, address, MAC or accounting id, and only who fits all that is named', () => {
  const access = new Access();
  const { bras, records } = access.addBras();
  const ada = access.dial(1, 'ada', 'secret-a');
  const { accountingId, mac } = records[0].subscriber;
  assert.is(bras.disconnect(access.now, { user: 'bob' }), 0);
  assert.is(bras.disconnect(access.now, { user: 'ada', ipv4: ada.address + 1 }), 0);
  assert.is(bras.disconnect(access.now, { user: 'ada', ipv4: ada.address, mac, accountingId }), 1);
  access.settle();
  assert.is(ada.closed, 'padt');
});

test.run();
