import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { Ipv6PrefixPool } from '../../host-sim/bras/address-pool.js';
import { igmpPacket } from '../../host-sim/bras/igmp-proxy.js';
import { exportSessions, importSessions, type SessionSnapshot } from '../../host-sim/bras/migration.js';
import { Access, address, fromCore, ipv4Packet } from './homes.js';

const core = address('198.51.100.7');

/** As if written to a file and read by another process. */
function carried(snapshot: SessionSnapshot): SessionSnapshot {
  return JSON.parse(JSON.stringify(snapshot));
}

test('a hundred live sessions move: none is dropped, none dials in again, and each goes on sending and receiving', () => {
  const access = new Access();
  const options = { sameUser: 'allow' as const, interimS: 600 };
  const { bras: old, records } = access.addBras({
    ...options,
    prefixes: new Ipv6PrefixPool('2001:db8::/48'),
  });
  const homes = Array.from({ length: 100 }, (_, i) =>
    access.dial(i + 1, i % 3 === 0 ? 'eve' : 'ada', i % 3 === 0 ? 'secret-e' : 'secret-a', {
      echoIntervalMs: 5_000,
      ipv6: i % 2 === 0,
    }),
  );
  access.pass(30_000);
  for (const home of homes) home.sendPpp(pppProtocol.ipv4, ipv4Packet(home.address, core, 200));
  const groupAddress = new Uint8Array([239, 1, 1, 1]);
  const channel = address('239.1.1.1');
  homes[7].sendPpp(
    pppProtocol.ipv4,
    igmpPacket(homes[7].address, channel, { kind: 'report-v2', groupAddress }),
  );
  access.settle();
  const padisBefore = old.discovery.counters.get('discovery.padi');
  const { snapshot, leftBehind } = exportSessions(access.now, old);
  assert.equal([snapshot.sessions.length, leftBehind], [100, 0]);
  // For a moment nobody is there.
  access.pass(1_000);
  const fresh = access.addBras({
    ...options,
    instance: 'other',
    prefixes: new Ipv6PrefixPool('2001:db8::/48'),
  });
  assert.is(importSessions(access.now, fresh.bras, carried(snapshot)), 100);
  const { bras } = fresh;
  // Longer than all echoes of both sides take to notice a death.
  access.pass(45_000);
  assert.ok(homes.every(home => home.isUp && home.closed === ''));
  assert.is(bras.openCount, 100);
  assert.is(old.discovery.counters.get('discovery.padi'), padisBefore);
  assert.is(bras.discovery.counters.get('discovery.padi'), 0);
  for (const home of homes) {
    home.packets.length = 0;
    home.sendPpp(pppProtocol.ipv4, ipv4Packet(home.address, core, 300));
    fromCore(bras, access.now, ipv4Packet(core, home.address, 400));
  }
  fromCore(bras, access.now, ipv4Packet(core, channel, 1000));
  access.settle();
  assert.is(fresh.packets.filter(packet => packet.length === 300).length, 100);
  assert.is(homes.filter(home => home.packets.some(packet => packet.length === 400)).length, 100);
  assert.equal(
    homes
      .map((home, i) => (home.packets.some(packet => packet.length === 1000) ? i : -1))
      .filter(i => i >= 0),
    [7],
  );
  // eve's 90 s go on from where they were, and the account is one: no stop in between, all bytes counted.
  access.pass(20_000);
  assert.is(bras.openCount, 66);
  homes[1].discovery.stop(access.now);
  access.settle();
  const stop = fresh.records.at(-1)!;
  const { mac } = stop.subscriber;
  const start = records.find(record => record.kind === 'start' && record.subscriber.mac === mac)!;
  assert.is(stop.subscriber.accountingId, start.subscriber.accountingId);
  assert.equal([stop.inputBytes, stop.outputBytes], [500, 400]);
  assert.is(records.filter(record => record.kind === 'stop').length, 0);
});

test('at most one echo interval of control traffic is lost, whatever the moment of the move', () => {
  const seed = 3;
  const random = new Random(seed, 'moments');
  for (let i = 0; i < 20; i++) {
    const access = new Access();
    const { bras: old } = access.addBras({ sameUser: 'allow', echoFailures: 1, echoIntervalMs: 10_000 });
    const homes = [1, 2, 3].map(number => access.dial(number, 'ada', 'secret-a', { echoIntervalMs: 10_000 }));
    access.pass(10_000 + random.below(30_000));
    const { snapshot } = exportSessions(access.now, old);
    // Almost one interval passes before the other takes over.
    access.pass(random.below(9_000));
    const { bras } = access.addBras({ sameUser: 'allow', echoFailures: 1, echoIntervalMs: 10_000 });
    importSessions(access.now, bras, carried(snapshot));
    access.pass(100_000);
    assert.equal([homes.every(home => home.isUp), bras.openCount], [true, 3], `seed ${seed}, move ${i}`);
  }
});

test('a session that renegotiates is left behind, and counted', () => {
  const access = new Access();
  const { bras: old } = access.addBras();
  const ada = access.dial(1, 'ada', 'secret-a');
  access.dial(2, 'bob', 'secret-b');
  // LCP begins anew, and what the BRAS says to that does not arrive.
  access.lose = frame => frame[1] === 0;
  ada.sendPpp(pppProtocol.lcp, new Uint8Array([1, 77, 0, 4]));
  access.settle();
  access.lose = () => false;
  const { snapshot, leftBehind } = exportSessions(access.now, old);
  assert.equal([snapshot.sessions.map(one => one.user), leftBehind], [['bob'], 1]);
});

test('a snapshot that does not fit is refused whole, and the error names what is wrong', () => {
  const access = new Access();
  const { bras: old } = access.addBras({ sameUser: 'allow' });
  for (const number of [1, 2]) access.dial(number, 'ada', 'secret-a');
  const { snapshot } = exportSessions(access.now, old);
  const { bras } = access.addBras();
  const [one, two] = snapshot.sessions;
  const rows: [bad: unknown, message: RegExp][] = [
    [{ ...snapshot, version: 2 }, /^version: expected 1, got 2/],
    [{ ...snapshot, ac: '02:00:00:00:00:09' }, /^ac: expected 02:ac:/],
    [{ ...snapshot, sessions: undefined }, /^sessions: expected a list/],
    [{ ...snapshot, sessions: [one, { ...two, id: 0 }] }, /^sessions\[1\]\.id: expected 1\.\.65534, got 0/],
    [{ ...snapshot, sessions: [one, one] }, /^sessions\[1\]\.id: expected one that is not taken/],
    [{ ...snapshot, sessions: [one, { ...two, ipv4: one.ipv4 }] }, /^sessions\[1\]\.ipv4: expected one that/],
    [
      { ...snapshot, sessions: [{ ...one, rateClass: 'gold' }] },
      /rateClass: expected one that is configured/,
    ],
    [{ ...snapshot, sessions: [{ ...one, ppp: { ...one.ppp, mru: -1 } }] }, /ppp\.mru: expected 68/],
  ];
  for (const [bad, message] of rows) {
    assert.throws(() => importSessions(access.now, bras, bad as SessionSnapshot), message);
    assert.is(bras.table.count, 0);
  }
  assert.is(importSessions(access.now, bras, snapshot), 2);
});

test.run();
