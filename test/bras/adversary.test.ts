/** What attackers, broken gateways and mistaken people do to a BRAS: nothing passes that no session allows, and nobody is left out. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  digest as digestOf,
  encodeUtf8,
  readUint16,
  readUint32,
  writeUint16,
} from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { JobContext } from '../../agent/job.js';
import { defaultLimits } from '../../agent/limits.js';
import type { AclStatus } from '../../agent/message/messages.js';
import { PppoeGateway } from '../../agent/pppoe/job.js';
import { internetChecksum, transportChecksum } from '../../agent/wire/checksum.js';
import { Headers } from '../../agent/wire/headers.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { pppoeCode } from '../../agent/wire/pppoe.js';
import { digest } from '../../edge/linux/digest.js';
import { FileAaa } from '../../host-sim/bras/aaa-file.js';
import { RadiusAaa } from '../../host-sim/bras/aaa-radius.js';
import { Ipv4Pool, Ipv6PrefixPool } from '../../host-sim/bras/address-pool.js';
import { AttemptLimit, longestBlockMs } from '../../host-sim/bras/attempt-limit.js';
import { Bras } from '../../host-sim/bras/bras.js';
import { BrasAcl } from '../../host-sim/bras/bras-acl.js';
import type { Home } from '../../host-sim/bras/home.js';
import { exportSessions, importSessions, type SessionSnapshot } from '../../host-sim/bras/migration.js';
import { Access, acMac, address, brasConfig, fromCore, ipv4Packet, users } from './homes.js';

const core = address('198.51.100.7');

/** A session frame as the home would send it, with `change` made to it. */
function sessionFrame(home: Home, protocol: number, packet: Uint8Array): Uint8Array {
  const frame = new Uint8Array(22 + packet.length);
  frame.set(acMac, 0);
  frame.set(home.mac, 6);
  frame.set([0x88, 0x64, 0x11, 0], 12);
  writeUint16(frame, 16, home.sessionId);
  writeUint16(frame, 18, 2 + packet.length);
  writeUint16(frame, 20, protocol);
  frame.set(packet, 22);
  return frame;
}

test('a session is its host’s alone: from another MAC, VLAN or link neither data, Echo, Terminate nor PADT does anything', () => {
  const access = new Access();
  const { bras, packets } = access.addBras();
  const home = access.dial(1, 'ada', 'secret-a');
  const padt = sessionFrame(home, 0, new Uint8Array(0)).subarray(0, 20);
  padt.set([0x63, 0x11, pppoeCode.padt], 13);
  writeUint16(padt, 18, 0);
  const frames: [what: string, Uint8Array][] = [
    ['data', sessionFrame(home, pppProtocol.ipv4, ipv4Packet(home.address, core))],
    ['echo', sessionFrame(home, pppProtocol.lcp, new Uint8Array([9, 1, 0, 8, 0, 0, 0, 0]))],
    ['terminate', sessionFrame(home, pppProtocol.lcp, new Uint8Array([5, 1, 0, 4]))],
    ['configure', sessionFrame(home, pppProtocol.lcp, new Uint8Array([1, 1, 0, 4]))],
    ['padt', padt],
  ];
  const tag = (frame: Uint8Array, tags: readonly number[]) =>
    new Uint8Array([...frame.subarray(0, 12), ...tags, ...frame.subarray(12)]);
  const otherMac = (frame: Uint8Array) => {
    const copy = frame.slice();
    copy[11] ^= 1;
    return copy;
  };
  let answers = 0;
  access.fromBras = () => void answers++;
  for (const [what, frame] of frames)
    for (const [how, link, wrong] of [
      ['MAC', 0, otherMac(frame)],
      ['link', 1, frame],
      ['VLAN', 0, tag(frame, [0x81, 0, 0, 7])],
      ['QinQ', 0, tag(frame, [0x88, 0xa8, 0, 7, 0x81, 0, 0, 1])],
    ] as const) {
      bras.receiveAccess(access.now, link, wrong.slice());
      assert.equal(
        [packets.length, answers, bras.openCount, bras.talkingCount],
        [0, 0, 1, 0],
        `${what}, ${how}`,
      );
    }
  const { counters } = bras.encapsulation;
  assert.equal(
    [counters.get('encapsulation.wrong-host'), bras.discovery.counters.get('discovery.drop.padt-stranger')],
    [16, 4],
  );
  // The host's own work.
  for (const [, frame] of frames) bras.receiveAccess(access.now, 0, frame.slice());
  assert.equal([packets.length, bras.table.count], [1, 0]);
  assert.ok(answers > 1);
});

test('a password is in no log, record, counter, error or snapshot, whether right or wrong, from the file or by RADIUS', () => {
  for (const byRadius of [false, true])
    for (const method of ['pap', 'chap-md5', 'ms-chap-v2'] as const) {
      const access = new Access();
      const said: unknown[] = [];
      const aaa = byRadius
        ? new RadiusAaa(
            {
              servers: [{ host: 'aaa', authenticationPort: 1, accountingPort: 2, secret: 'shared-s3cret' }],
              nasIdentifier: 'n',
            },
            {
              random: () => new Uint8Array(16).fill(7),
              clockSeconds: () => 0,
              send: (_now, _server, _kind, packet) => said.push(Buffer.from(packet).toString('latin1')),
              log: (_now, line) => said.push(line),
            },
          )
        : undefined;
      const { bras, lines, records } = access.addBras({}, aaa && (() => aaa));
      access.dial(1, 'ada', 'secret-a', { methods: [method] });
      access.dial(2, 'bob', 'wr0ng-guess', { methods: [method] });
      access.pass(30_000);
      said.push(lines, records, bras.counters.snapshot(), bras.pppCounters.snapshot(), bras.users);
      if (aaa) said.push(aaa.counters.snapshot());
      said.push(exportSessions(access.now, bras));
      const text = JSON.stringify(said);
      const hex = (word: string) => Buffer.from(word).toString('hex');
      for (const word of ['secret-a', 'wr0ng-guess', 'shared-s3cret'])
        for (const form of [word, hex(word), [...Buffer.from(word)].join()])
          assert.not.ok(text.includes(form), `${method}, RADIUS ${byRadius}: ${form}`);
    }
});

test('guesses at one name from ever new MACs, and at ever new names from one MAC, are stopped, and the memory for it is bounded', () => {
  const access = new Access();
  const { bras } = access.addBras();
  for (let i = 0; i < 40; i++) access.dial(100 + i, 'ada', `guess-${i}`, { methods: ['pap'] });
  const { counters } = bras;
  assert.equal(
    [counters.get('bras.authentication.refused'), counters.get('bras.authentication.blocked')],
    [5, 35],
  );
  for (let i = 0; i < 8; i++) {
    access.dial(7, `name-${i}`, 'guess', { methods: ['pap'] });
    access.pass(150);
  }
  assert.is(counters.get('bras.authentication.refused'), 10);
  // A day of guessing at one name.
  const limit = new AttemptLimit(100);
  let guesses = 0;
  for (let now = 0; now < 86_400_000; now += 500) {
    if (limit.isBlocked(now, 'ada')) continue;
    guesses++;
    limit.failed(now, 'ada');
  }
  assert.ok(guesses < 86_400_000 / longestBlockMs + 20, `${guesses}`);
  for (let i = 0; i < 1_000; i++) limit.failed(0, `${i}`);
  assert.is(limit.size, 100);
});

test('whoever logs in again on the same session must be the same user', () => {
  const access = new Access();
  const { bras, records } = access.addBras();
  const home = access.dial(1, 'ada', 'secret-a', { methods: ['pap'] });
  const row = bras.table.rowOf[home.sessionId];
  // LCP begins anew, with bob behind it.
  access.homes.delete(1);
  const say = (protocol: number, bytes: readonly number[]) => {
    home.sendPpp(protocol, new Uint8Array(bytes));
    access.settle();
  };
  access.seen.length = 0;
  const sent: Uint8Array[] = [];
  access.fromBras = (bytes, start, end) => sent.push(bytes.slice(start, end));
  const renegotiate = (user: string, secret: string) => {
    sent.length = 0;
    say(pppProtocol.lcp, [1, 200, 0, 4]);
    const request = sent.find(frame => frame[22] === 1)!;
    const length = readUint16(request, 24);
    // The BRAS asks for chap-md5 first: pap instead.
    say(pppProtocol.lcp, [3, request[23], 0, 8, 3, 4, 0xc0, 0x23]);
    const again = sent.filter(frame => frame[22] === 1).at(-1)!;
    say(pppProtocol.lcp, [2, ...again.subarray(23, 22 + readUint16(again, 24))]);
    assert.ok(length > 4);
    // While nobody is logged in, his packets do not pass.
    const before = bras.counters.get('bras.up');
    say(pppProtocol.ipv4, [...ipv4Packet(home.address, core)]);
    assert.is(bras.counters.get('bras.up'), before);
    const [name, password] = [Buffer.from(user), Buffer.from(secret)];
    const body = [name.length, ...name, password.length, ...password];
    say(pppProtocol.pap, [1, 9, 0, 4 + body.length, ...body]);
  };
  renegotiate('ada', 'secret-a');
  assert.equal([bras.users[row], bras.counters.get('bras.refused.other-user')], ['ada', 0]);
  renegotiate('bob', 'secret-b');
  assert.equal([bras.users[row], bras.counters.get('bras.refused.other-user')], ['ada', 1]);
  access.pass(10_000);
  assert.is(bras.table.count, 0);
  assert.equal(
    records.map(({ kind, user, ipv4 }) => [kind, user, ipv4]),
    [
      ['start', 'ada', home.address],
      ['stop', 'ada', home.address],
    ],
  );
});

test('a session that has no use for IPv4 gives its address back, sends nothing from it, and gets one should it want it after all', () => {
  const access = new Access();
  const pool = new Ipv4Pool({ ranges: ['10.1.0.1-10.1.0.1'] });
  const { bras, packets } = access.addBras({
    pool,
    prefixes: new Ipv6PrefixPool('2001:db8::/48'),
    sameUser: 'allow',
  });
  access.lose = frame => readUint16(frame, 20) === pppProtocol.ipcp;
  const ada = access.dial(1, 'ada', 'secret-a', { ipv6: true });
  access.pass(2_000);
  // Up with IPv6, and IPCP still under way.
  assert.equal([bras.openCount, bras.talkingCount, pool.free], [1, 1, 0]);
  const fromOld = ipv4Packet(address('10.1.0.1'), core);
  ada.sendPpp(pppProtocol.ipv4, fromOld);
  fromCore(bras, access.now, ipv4Packet(core, address('10.1.0.1')));
  access.settle();
  const { counters } = bras;
  assert.equal([packets.length, counters.get('bras.drop.foreign-source')], [0, 1]);
  assert.is(counters.get('bras.drop.no-session'), 1);
  // Protocol-Reject of IPCP.
  ada.sendPpp(pppProtocol.lcp, new Uint8Array([8, 1, 0, 6, 0x80, 0x21]));
  access.settle();
  assert.equal([bras.openCount, bras.talkingCount, pool.free], [1, 0, 1]);
  assert.is(counters.get('bras.address-unused'), 1);
  const bob = access.dial(2, 'eve', 'secret-e');
  access.lose = () => false;
  access.pass(4_000);
  assert.equal([bob.address, ada.isUp], [address('10.1.0.1'), false], 'somebody else has it');
  ada.sendPpp(pppProtocol.ipv4, fromOld);
  access.settle();
  assert.is(packets.length, 0);
  // None is left: the home hears that there is no IPv4, and keeps IPv6.
  assert.equal([bras.pppCounters.get('sent.protocol-reject'), ada.closed], [1, '']);
  bob.discovery.stop(access.now);
  ada.discovery.stop(access.now);
  access.pass(2_000);
  // Another one, whose IPCP begins late.
  access.lose = frame => readUint16(frame, 20) === pppProtocol.ipcp;
  const late = access.dial(3, 'ada', 'secret-a', { ipv6: true });
  late.sendPpp(pppProtocol.lcp, new Uint8Array([8, 1, 0, 6, 0x80, 0x21]));
  access.settle();
  assert.equal([bras.openCount, pool.free], [1, 1]);
  access.lose = () => false;
  access.pass(10_000);
  assert.equal([late.address, pool.free, bras.talkingCount], [address('10.1.0.1'), 0, 0]);
  late.sendPpp(pppProtocol.ipv4, fromOld);
  access.settle();
  assert.is(packets.length, 1);
});

/** The fields of an ICMP message in a packet, its checksums verified. */
function icmpOf(packet: Uint8Array) {
  if (packet[0] >>> 4 === 4) {
    assert.is(internetChecksum(packet, 0, 20), 0);
    assert.is(internetChecksum(packet, 20, packet.length), 0);
    return {
      from: readUint32(packet, 12),
      to: readUint32(packet, 16),
      type: packet[20],
      code: packet[21],
      rest: readUint32(packet, 24),
      quoted: packet.slice(28),
    };
  }
  const pseudo = { srcAddress: packet.subarray(8, 24), dstAddress: packet.subarray(24, 40) };
  assert.is(transportChecksum(pseudo, 58, packet, 40, packet.length), 0);
  return {
    from: packet.slice(8, 24),
    to: packet.slice(24, 40),
    type: packet[40],
    code: packet[41],
    rest: readUint32(packet, 44),
    quoted: packet.slice(48),
  };
}

const withDontFragment = (packet: Uint8Array) => {
  packet[6] = 0x40;
  writeUint16(packet, 10, 0);
  writeUint16(packet, 10, internetChecksum(packet, 0, 20));
  return packet;
};

test('the BRAS is a router: a packet without a hop left ends there, and its sender hears of it', () => {
  const access = new Access();
  const { bras, packets } = access.addBras();
  const home = access.dial(1, 'ada', 'secret-a');
  home.sendPpp(pppProtocol.ipv4, ipv4Packet(home.address, core, 64, 17, 1));
  access.settle();
  assert.is(packets.length, 0);
  const up = icmpOf(home.packets[0]);
  assert.equal([up.from, up.to, up.type, up.code], [address('10.0.0.1'), home.address, 11, 0]);
  assert.equal(up.quoted, ipv4Packet(home.address, core, 64, 17, 1));
  fromCore(bras, access.now, ipv4Packet(core, home.address, 1400, 17, 1));
  const down = icmpOf(packets[0]);
  assert.equal([down.from, down.to, down.type, packets[0].length], [address('10.0.0.1'), core, 11, 576]);
  assert.is(home.packets.length, 1);
  // To the BRAS itself the last hop is enough.
  home.sendPpp(pppProtocol.ipv4, ipv4Packet(home.address, address('10.0.0.1'), 64, 1, 1));
  access.settle();
  assert.equal(packets.at(-1), ipv4Packet(home.address, address('10.0.0.1'), 64, 1, 1));
  // Nothing about errors, groups, later fragments and nobodies; and not more than the limit.
  const before = bras.counters.get('bras.icmp-error');
  const error = ipv4Packet(core, home.address, 64, 1, 1);
  error[20] = 3;
  fromCore(bras, access.now, error);
  fromCore(bras, access.now, ipv4Packet(address('127.0.0.1'), home.address, 64, 17, 1));
  fromCore(bras, access.now, ipv4Packet(core, address('239.1.1.1'), 64, 17, 1));
  assert.is(bras.counters.get('bras.icmp-error'), before);
  for (let i = 0; i < 1_000; i++) fromCore(bras, access.now, ipv4Packet(core, home.address, 64, 17, 1));
  assert.ok(bras.counters.get('bras.icmp-error') - before <= 50);
});

test('a packet longer than the session takes is fragmented, or its sender hears how long it may be', () => {
  const access = new Access();
  const { bras, packets } = access.addBras({ prefixes: new Ipv6PrefixPool('2001:db8::/48') });
  const home = access.dial(1, 'ada', 'secret-a', { ipv6: true });
  access.pass(4_000);
  home.packets.length = 0;
  fromCore(bras, access.now, withDontFragment(ipv4Packet(core, home.address, 1493)));
  const four = icmpOf(packets[0]);
  assert.equal(
    [four.from, four.to, four.type, four.code, four.rest],
    [address('10.0.0.1'), core, 3, 4, 1492],
  );
  const long = ipv4Packet(core, home.address, 4_000);
  for (let i = 20; i < long.length; i++) long[i] = i * 7;
  fromCore(bras, access.now, long);
  access.settle();
  assert.equal(
    home.packets.map(packet => [packet.length, readUint16(packet, 6), internetChecksum(packet, 0, 20)]),
    [
      [1492, 0x2000, 0],
      [1492, 0x2000 + 184, 0],
      [1056, 368, 0],
    ],
  );
  assert.equal(
    Buffer.concat(home.packets.map(packet => packet.subarray(20))),
    Buffer.from(long.subarray(20)),
  );
  // IPv6 is never fragmented on its way.
  const row = bras.table.rowOf[home.sessionId];
  const six = new Uint8Array(1_493);
  six.set([0x60, 0, 0, 0, 0x05, 0xad, 17, 64, 0x20, 1, 0xd, 0xb8, 0xff]);
  six.set(new Uint8Array(new Uint32Array([bras.table.ipv6High[row]]).buffer).reverse(), 24);
  writeUint16(six, 30, bras.table.ipv6Low[row] & 0xffff);
  fromCore(bras, access.now, six);
  const told = icmpOf(packets[1]);
  assert.equal([told.type, told.rest, packets[1].length], [2, 1492, 1280]);
  assert.equal([...(told.to as Uint8Array)], [...six.subarray(8, 24)]);
  // From the router of the session's own prefix.
  assert.equal([...(told.from as Uint8Array)], [...six.subarray(24, 32), ...new Uint8Array(8)]);
});

test('a snapshot changed by hand in any of its fields comes in whole and lives, or is refused whole by the field’s name', () => {
  const access = new Access();
  const prefixes = () => new Ipv6PrefixPool('2001:db8::/48');
  const { bras: old } = access.addBras({ sameUser: 'allow', prefixes: prefixes() });
  const homes = [1, 2].map(number => access.dial(number, 'ada', 'secret-a', { ipv6: true }));
  access.pass(5_000);
  old.igmp.restore(access.now, 1, { group: address('239.1.1.1'), mode: 'exclude', sources: [core] });
  const text = JSON.stringify(exportSessions(access.now, old).snapshot);
  const values = [null, -1, 1.5, 2 ** 32, 2 ** 53, 0, 1, 'x', '', [], {}, [null], true, 0xffff, 'length'];
  /** Every place in it. */
  const places: (string | number)[][] = [];
  const walk = (value: unknown, path: (string | number)[]) => {
    if (path.length > 0) places.push(path);
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value))
      walk(inner, [...path, Array.isArray(value) ? Number(key) : key]);
  };
  walk(JSON.parse(text), []);
  assert.ok(places.length > 100);
  let refused = 0;
  for (const path of places)
    for (const value of [...values, undefined]) {
      const snapshot = JSON.parse(text);
      let at = snapshot;
      for (const key of path.slice(0, -1)) at = at[key];
      if (value === undefined) delete at[path[path.length - 1]];
      else at[path[path.length - 1]] = value;
      const pool = new Ipv4Pool({ ranges: ['10.1.0.1-10.1.0.9'] });
      const ipv6 = prefixes();
      const free = [pool.free, ipv6.free];
      const fresh = new Access();
      fresh.now = access.now;
      const { bras } = fresh.addBras({ sameUser: 'allow', pool, prefixes: ipv6 });
      const where = `${path.join('.')} = ${JSON.stringify(value)}`;
      try {
        importSessions(fresh.now, bras, JSON.parse(JSON.stringify(snapshot)) as SessionSnapshot);
      } catch (error) {
        refused++;
        assert.match(String((error as Error).message), /^[a-z0-9[\]A-Z.]+: expected /, where);
        const named = String((error as Error).message).split(':')[0];
        const field = String(
          path
            .filter(
              key =>
                typeof key === 'string' &&
                !['ppp', 'sessions', 'groups', 'sources', 'group', 'mode', 'classes'].includes(key),
            )
            .at(-1) ?? path[0],
        );
        assert.ok(
          named.includes(field) || /sessions|groups|classes|ipv4|ipv6|ppp/.test(named),
          `${where}: ${named}`,
        );
        assert.equal([bras.table.count, pool.free, ipv6.free], [0, ...free], where);
        continue;
      }
      // It is in: it must live.
      fresh.pass(3_000);
      for (const home of homes)
        bras.receiveAccess(fresh.now, 0, sessionFrame(home, pppProtocol.lcp, new Uint8Array([1, 9, 0, 4])));
      for (let id = 1; id < 65_535; id++)
        if (bras.table.rowOf[id] !== 0) bras.close(fresh.now, id, 'end', 'admin-reset');
      assert.equal([bras.table.count, pool.free, ipv6.free], [0, ...free], where);
    }
  assert.ok(refused > 1_000, `${refused}`);
  for (const bad of [null, 7, 'x', [], {}])
    assert.throws(() => importSessions(0, old, bad as unknown as SessionSnapshot), /: expected /);
});

test('with a silent RADIUS server nobody waits without end, what waits is bounded, and the log says what to look for', () => {
  const access = new Access();
  let aaa!: RadiusAaa;
  const lines: string[] = [];
  const { bras } = access.addBras({}, () => {
    aaa = new RadiusAaa(
      {
        servers: [{ host: '192.0.2.1', authenticationPort: 1, accountingPort: 2, secret: 's' }],
        nasIdentifier: 'n',
        waiting: 10,
      },
      {
        random: () => new Uint8Array(16),
        clockSeconds: () => 0,
        send: () => {},
        log: (_now, line) => lines.push(line),
      },
    );
    return aaa;
  });
  const homes = Array.from({ length: 300 }, (_, i) => access.dial(i + 1, 'ada', 'secret-a'));
  assert.is(aaa.counters.get('radius.busy'), 300 - 256 - 10);
  access.pass(25_000);
  assert.equal([bras.table.count, homes.some(home => home.isUp)], [0, false]);
  assert.is(bras.counters.get('bras.authentication.no-answer'), 266);
  assert.match(lines[0], /192\.0\.2\.1 does not answer: is it up, does it know us/);
  // No guess of theirs: the limit on wrong passwords does not count it.
  assert.is(bras.attempts.size, 0);
});

test('what a gateway said of an earlier list, kept by the broker, does not confirm the present one, however alike they are', () => {
  const access = new Access();
  const { bras } = access.addBras();
  const digests: string[] = [];
  const acl = new BrasAcl(
    bras,
    { expiryMs: 20_000 },
    {
      gatewayOf: () => 'gw-1',
      publish: (_now, _gateway, _id, list) => {
        digests.push(digestOf(encodeUtf8(JSON.stringify(list ?? ''))));
        return digests[digests.length - 1];
      },
    },
  );
  bras.bypass = acl;
  const home = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  const row = bras.table.rowOf[home.sessionId];
  const say = (digest: string) =>
    acl.status(access.now, 'gw-1', `s${home.sessionId}`, {
      status: 'installed',
      digest,
      boot: 'b' as AclStatus['boot'],
      uptime: 0,
    });
  say(digests[0]);
  assert.ok(acl.isDirect(access.now, row));
  acl.gatewayLost(access.now, 'gw-1');
  acl.poll(access.now);
  say(digests[0]);
  assert.not.ok(acl.isDirect(access.now, row));
  say(digests[1]);
  assert.ok(acl.isDirect(access.now, row));
  // Its end is seen by the time, without a poll.
  access.pass(20_000);
  assert.not.ok(acl.isDirect(access.now, row));
});

/** A gateway's agent, its part of MQTT and the network around it. */
class Gateway {
  readonly mac: Uint8Array;
  readonly name: string;
  job!: PppoeGateway;
  busUp = false;
  delivered: Uint8Array[] = [];
  /** Events that wait for the bus. */
  private waiting: { name: string; session?: number; text?: string }[] = [];
  private boots = 0;
  private readonly street: Street;
  private readonly number: number;

  constructor(street: Street, number: number) {
    this.street = street;
    this.number = number;
    this.name = `gw-${number}`;
    this.mac = new Uint8Array([2, 0x10, 0, 0, 0, number]);
    this.boot();
  }

  boot(): void {
    this.boots++;
    this.busUp = false;
    this.waiting = [];
    const { street } = this;
    const boot = `${this.number}-${this.boots}`;
    const context: JobContext = {
      boot,
      limits: defaultLimits,
      links: [{ name: 'wan', mac: this.mac }],
      saved: {},
      canPublish: () => this.busUp,
      publish: (leaf, body) => {
        if (leaf.kind === 'acl-status') street.say(this, leaf.name, body as unknown as AclStatus);
      },
      event: (_now, name, body) => {
        this.waiting.push({ name, ...(body as object) });
        if (this.busUp) this.tell();
      },
      transmit: (_link, frame) => street.carry(frame, this),
      save: () => true,
      perform: effect => {
        if (effect.kind === 'line-deliver') this.delivered.push(effect.packet);
        return true;
      },
      room: () => 1_000,
      log: () => {},
      uptime: now => now,
    };
    this.job = new PppoeGateway(street.now, context, {
      link: 'wan',
      user: encodeUtf8('ada'),
      secret: encodeUtf8('secret-a'),
      entropy: new Random(street.seed, `entropy ${boot}`),
      digest,
    });
  }

  connect(): void {
    this.busUp = true;
    this.job.online(this.street.now);
    for (const [id, payload] of this.street.retained.get(this.name) ?? [])
      this.job.acl(this.street.now, id, payload);
    this.tell();
  }

  /** Its will tells the BRAS. */
  disconnect(): void {
    this.busUp = false;
    this.job.offline();
    this.street.acl.gatewayLost(this.street.now, this.name);
    this.street.able.delete(this.name);
  }

  private tell(): void {
    for (const event of this.waiting.splice(0)) {
      if (event.name !== 'session-up') continue;
      this.street.able.add(this.name);
      this.street.acl.gatewayFound(this.street.now, this.name, event.session);
    }
  }
}

/** A BRAS, gateways, an Ethernet that loses frames and a broker that loses messages. */
class Street {
  now = 0;
  readonly seed: number;
  readonly random: Random;
  readonly bras: Bras;
  readonly acl: BrasAcl;
  readonly gateways: Gateway[] = [];
  readonly able = new Set<string>();
  readonly retained = new Map<string, Map<string, Uint8Array>>();
  readonly toCore: Uint8Array[] = [];
  loss = 0;
  private readonly queue: (() => void)[] = [];
  private readonly headers = new Headers();

  constructor(seed: number, count: number) {
    this.seed = seed;
    this.random = new Random(seed, 'street');
    const entropy = new Random(seed, 'bras');
    this.bras = new Bras(
      0,
      brasConfig({ sameUser: 'allow', prefixes: new Ipv6PrefixPool('2001:db8::/48') }),
      {
        digest,
        entropy,
        newKey: () => new Uint8Array(16).map(() => entropy.below(256)),
        random: entropy,
        aaa: new FileAaa(users, digest),
        sendAccess: (_link, bytes, start, end) => this.carry(bytes.slice(start, end)),
        sendIp: (_now, bytes, start, end) => this.toCore.push(bytes.slice(start, end)),
        log: () => {},
      },
    );
    this.acl = new BrasAcl(
      this.bras,
      { expiryMs: 20_000 },
      {
        gatewayOf: mac => {
          const name = `gw-${Number.parseInt(mac.slice(-2), 16)}`;
          return this.able.has(name) ? name : undefined;
        },
        publish: (_now, name, id, list) => {
          const payload = list ? encodeUtf8(JSON.stringify(list)) : new Uint8Array(0);
          const kept = this.retained.get(name) ?? new Map<string, Uint8Array>();
          this.retained.set(name, kept);
          if (list) kept.set(id, payload);
          else kept.delete(id);
          this.queue.push(() => {
            const gateway = this.gateways.find(one => one.name === name)!;
            if (gateway.busUp && !this.random.chance(this.loss)) gateway.job.acl(this.now, id, payload);
          });
          return digestOf(payload);
        },
      },
    );
    this.bras.bypass = this.acl;
    for (let i = 1; i <= count; i++) this.gateways.push(new Gateway(this, i));
  }

  say(gateway: Gateway, id: string, status: AclStatus): void {
    if (!this.random.chance(this.loss))
      this.queue.push(() => this.acl.status(this.now, gateway.name, id, status));
  }

  /** To the BRAS from a gateway, or the other way. */
  carry(frame: Uint8Array, from?: Gateway): void {
    if (this.random.chance(this.loss)) return;
    const padded = new Uint8Array(Math.max(60, frame.length)).fill(0xa5);
    padded.set(frame);
    this.queue.push(() => {
      if (from) this.bras.receiveAccess(this.now, 0, padded.slice());
      for (const gateway of this.gateways) {
        const isItsOwn = gateway.mac.every((byte, i) => byte === padded[i]);
        if (from || !isItsOwn) continue;
        const copy = padded.slice();
        this.headers.scan(copy, 0, copy.length);
        gateway.job.frame(this.now, 'wan', copy, this.headers);
      }
    });
  }

  settle(): void {
    while (this.queue.length > 0) this.queue.shift()!();
  }

  pass(ms: number): void {
    for (const untilAt = this.now + ms; this.now < untilAt; ) {
      this.now += 100;
      if (this.bras.pollAt() <= this.now) this.bras.poll(this.now);
      if (this.acl.pollAt() <= this.now) this.acl.poll(this.now);
      for (const { job } of this.gateways) if (job.pollAt() <= this.now) job.poll(this.now);
      this.settle();
    }
  }

  /** The address its session has; 0 for none. */
  addressOf({ mac }: Gateway): number {
    const host = {
      macHigh: readUint16(mac, 0),
      macLow: readUint32(mac, 2),
      link: 0,
      outerTag: 0,
      innerTag: 0,
    };
    const row = this.bras.table.firstRowOf(host);
    return row === 0 ? 0 : this.bras.table.ipv4[row];
  }
}

test('loss on the line and of MQTT, restarts of gateways and lies: only what a session allows passes, and all find back', () => {
  for (let seed = 1; seed <= 15; seed++) {
    const street = new Street(seed, 5);
    const { random, gateways, bras } = street;
    let plain = 0;
    for (let step = 0; step < 120; step++) {
      street.loss = random.chance(0.3) ? 0.4 : 0.05;
      const gateway = gateways[random.below(gateways.length)];
      const other = gateways[random.below(gateways.length)];
      switch (random.below(9)) {
        case 0:
          if (random.chance(0.3)) {
            // Its will reaches the BRAS, or the broker has not noticed.
            if (gateway.busUp && random.chance(0.5)) gateway.disconnect();
            gateway.boot();
          }
          break;
        case 1:
          if (gateway.busUp) gateway.disconnect();
          else gateway.connect();
          break;
        case 2:
        case 3:
          if (!gateway.busUp) gateway.connect();
          break;
        case 4:
          // A lie about a list: of another's id, of an old one, or made up.
          street.acl.status(street.now, gateway.name, `s${random.below(10)}`, {
            status: (['installed', 'rejected', 'expired', 'revoked'] as const)[random.below(4)],
            digest: '00000000',
            boot: 'x' as AclStatus['boot'],
            uptime: 0,
          });
          break;
        case 5:
          bras.disconnect(street.now, { ipv4: street.addressOf(gateway) });
          break;
        case 6: {
          // A plain frame with another's address, or his own MAC's.
          const source = random.chance(0.5) ? street.addressOf(other) : random.uint32();
          const frame = new Uint8Array(14 + 64);
          frame.set(acMac, 0);
          frame.set(gateway.mac, 6);
          frame.set([8, 0], 12);
          frame.set(ipv4Packet(source, core), 14);
          const isAllowed = source !== 0 && source === street.addressOf(gateway);
          const before = street.toCore.length;
          bras.receiveAccess(street.now, 0, frame);
          if (!isAllowed) assert.is(street.toCore.length, before, `seed ${seed}, step ${step}`);
          break;
        }
        default: {
          // The home sends from its own and from a neighbour's address; and hears only what is for it.
          const own = street.addressOf(gateway);
          for (const source of [own, street.addressOf(other), core]) {
            street.toCore.length = 0;
            gateway.job.line(street.now, { kind: 'line-packet', packet: ipv4Packet(source, core) });
            street.settle();
            const passed = street.toCore.filter(packet => packet[9] === 17);
            if (source === 0 || source !== street.addressOf(gateway))
              assert.is(passed.length, 0, `seed ${seed}, step ${step}`);
          }
          if (own !== 0) {
            for (const one of gateways) one.delivered = [];
            fromCore(bras, street.now, ipv4Packet(core, own));
            street.settle();
            for (const one of gateways)
              if (one !== gateway) assert.is(one.delivered.length, 0, `seed ${seed}, step ${step}`);
          }
        }
      }
      if (gateway.job.mode === 'plain') plain++;
      street.pass(100 * (1 + random.below(40)));
    }
    // Then peace, without MQTT: every gateway has its tunnel, and packets pass both ways.
    street.loss = 0;
    for (const gateway of gateways) if (gateway.busUp) gateway.disconnect();
    street.pass(240_000);
    for (const gateway of gateways) {
      const own = street.addressOf(gateway);
      assert.equal([gateway.job.mode, own !== 0], ['tunnel', true], `seed ${seed}: ${gateway.name}`);
      gateway.delivered = [];
      street.toCore.length = 0;
      gateway.job.line(street.now, { kind: 'line-packet', packet: ipv4Packet(own, core) });
      fromCore(bras, street.now, ipv4Packet(core, own));
      street.settle();
      assert.equal([street.toCore.length, gateway.delivered.length], [1, 1], `seed ${seed}: ${gateway.name}`);
    }
    // And with MQTT again, all go without it, but who lied too much.
    for (const gateway of gateways) gateway.connect();
    street.pass(2_000);
    if (bras.counters.get('bras.drop.plain') < 40)
      assert.ok(
        gateways.every(({ job }) => job.mode === 'plain'),
        `seed ${seed}: ${gateways.map(({ job }) => job.mode)}`,
      );
    assert.ok(plain > 0, `seed ${seed}`);
  }
});

test.run();
