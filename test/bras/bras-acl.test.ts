import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeUint16 } from '../../agent/core/bytes.js';
import type { Acl, AclStatus } from '../../agent/message/messages.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import type { BrasConfig } from '../../host-sim/bras/bras.js';
import { BrasAcl, lieLimit, penaltyMs } from '../../host-sim/bras/bras-acl.js';
import type { Home } from '../../host-sim/bras/home.js';
import { Access, acMac, address, fromCore, ipv4Packet } from './homes.js';

const core = address('198.51.100.7');

function street(more: Partial<BrasConfig> = {}) {
  const access = new Access();
  const rig = access.addBras({ sameUser: 'allow', ...more });
  const published: { gateway: string; id: string; acl: Acl | undefined; digest: string }[] = [];
  const able = new Set(['02:00:00:00:00:01', '02:00:00:00:00:02']);
  const acl = new BrasAcl(
    rig.bras,
    { expiryMs: 60_000 },
    {
      gatewayOf: mac => (able.has(mac) ? `gw-${mac.slice(-1)}` : undefined),
      publish: (_now, gateway, id, list) => {
        const digest = String(published.length).padStart(8, '0');
        published.push({ gateway, id, acl: list, digest });
        return digest;
      },
    },
  );
  rig.bras.bypass = acl;
  /** The gateway's agent, about what was published last. */
  const say = (status: AclStatus['status'], boot = 'b1', which = published.at(-1)!) =>
    acl.status(access.now, which.gateway, which.id, {
      status,
      digest: which.digest,
      boot: boot as AclStatus['boot'],
      uptime: 1,
    });
  const pass = (ms: number) => {
    const untilAt = access.now + ms;
    while (access.now < untilAt) {
      access.pass(Math.min(500, untilAt - access.now));
      if (acl.pollAt() <= access.now) acl.poll(access.now);
    }
  };
  const plain = (home: Home, packet: Uint8Array, from = home.mac) => {
    const frame = new Uint8Array(14 + packet.length);
    frame.set(acMac, 0);
    frame.set(from, 6);
    writeUint16(frame, 12, packet[0] >>> 4 === 6 ? 0x86dd : 0x0800);
    frame.set(packet, 14);
    access.send(frame, true);
    access.settle();
  };
  /** How many plain frames and tunnelled packets a packet from the core becomes. */
  const down = (home: Home) => {
    access.seen.length = 0;
    home.packets.length = 0;
    fromCore(rig.bras, access.now, ipv4Packet(core, home.address));
    access.settle();
    return [access.seen.length, home.packets.length];
  };
  return { access, ...rig, acl, published, able, say, pass, plain, down };
}

test('a session whose gateway can goes plain both ways once the gateway has confirmed, and not before', () => {
  const { access, packets, published, say, plain, down } = street();
  const home = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  assert.equal(
    published.map(({ gateway, acl }) => [gateway, acl?.ipv4, acl?.bras, acl?.expires, acl?.upBitsPerSecond]),
    [['gw-1', '10.1.0.1', '02:ac:00:00:00:01', '1m', undefined]],
  );
  plain(home, ipv4Packet(home.address, core));
  assert.equal([packets.length, down(home)], [0, [0, 1]]);
  say('installed');
  plain(home, ipv4Packet(home.address, core));
  assert.equal([packets.length, down(home)], [1, [1, 0]]);
  assert.equal(access.seen[0].subarray(0, 6), home.mac);
  // 8 bytes fewer a packet than in the tunnel.
  assert.is(access.seen[0].length, 14 + 64);
  // The tunnel stays open beside it.
  home.sendPpp(pppProtocol.ipv4, ipv4Packet(home.address, core));
  access.settle();
  assert.is(packets.length, 2);
  // A home whose gateway cannot is never asked.
  access.dial(3, 'ada', 'secret-a');
  assert.is(published.length, 1);
});

test('nothing passes that no session allows: another’s address or MAC, a VLAN, no session, nonsense', () => {
  const { access, bras, acl, packets, say, plain } = street();
  const [ada, bob] = [1, 2].map(number => {
    const home = access.dial(number, 'ada', 'secret-a');
    say('installed');
    return home;
  });
  plain(ada, ipv4Packet(bob.address, core));
  plain(ada, ipv4Packet(ada.address, core), bob.mac);
  plain(ada, ipv4Packet(address('203.0.113.9'), core));
  plain(ada, ipv4Packet(0, core));
  plain(ada, new Uint8Array(60).fill(0x45));
  plain(ada, new Uint8Array(10).fill(0x45));
  const tagged = new Uint8Array(18 + 64);
  tagged.set(acMac, 0);
  tagged.set(ada.mac, 6);
  tagged.set([0x81, 0, 0, 5, 8, 0], 12);
  tagged.set(ipv4Packet(ada.address, core), 18);
  access.send(tagged, true);
  access.settle();
  assert.is(packets.length, 0);
  assert.is(bras.counters.get('bras.drop.plain'), 7);
  // Right source, wrong checksum: through the list, not through the source check.
  const bad = ipv4Packet(ada.address, core);
  bad[10] ^= 1;
  plain(ada, bad);
  assert.equal([packets.length, bras.counters.get('bras.drop.malformed')], [0, 1]);
  assert.ok(acl.isDirect(access.now, bras.table.findIpv4(ada.address)));
});

test('the subscriber’s rate holds without the tunnel too, and is told to the gateway', () => {
  const { access, packets, published, say, plain } = street();
  const bob = access.dial(1, 'bob', 'secret-b');
  assert.is(published[0].acl?.upBitsPerSecond, 80_000);
  say('installed');
  for (let i = 0; i < 10; i++) plain(bob, ipv4Packet(bob.address, core, 1_000));
  assert.is(packets.length, 2);
});

test('a list is renewed before it expires; unconfirmed, it ends on time and the tunnel carries on', () => {
  const { access, published, say, pass, down } = street();
  const home = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  say('installed');
  for (let i = 0; i < 5; i++) {
    pass(30_500);
    say('installed');
  }
  assert.equal([published.length, down(home)], [6, [1, 0]]);
  // MQTT is lost: renewals reach nobody.
  pass(56_000);
  assert.equal(down(home), [1, 0]);
  pass(4_000);
  assert.equal(down(home), [0, 1]);
  say('installed');
  assert.equal(down(home), [1, 0]);
});

test('when the session ends the list is revoked at once, and late plain frames go nowhere', () => {
  const { access, bras, packets, published, say, plain } = street();
  const home = access.dial(1, 'ada', 'secret-a');
  say('installed');
  const from = home.address;
  const before = access.now;
  bras.disconnect(access.now, { user: 'ada' });
  access.settle();
  assert.equal([published.at(-1)?.acl, access.now - before], [undefined, 0]);
  plain(home, ipv4Packet(from, core));
  assert.is(packets.length, 0);
});

test('a gateway lost to MQTT, one that rejects, and a status about another payload: back to the tunnel, or never out of it', () => {
  const { access, acl, published, able, say, pass, down } = street();
  const home = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  const first = published[0];
  say('installed');
  acl.gatewayLost(access.now, 'gw-1');
  assert.equal(down(home), [0, 1]);
  pass(500);
  // The status the broker kept from before does not count; that of the new payload does.
  say('installed', 'b1', first);
  assert.equal(down(home), [0, 1]);
  say('installed', 'b2');
  assert.equal(down(home), [1, 0]);
  say('rejected', 'b2');
  assert.equal([down(home), published.at(-1)?.acl], [[0, 1], undefined]);
  able.clear();
  acl.gatewayFound(access.now, 'gw-1');
  assert.equal(down(home), [0, 1]);
});

test('a gateway that goes on sending what is not its own loses the mode for a while', () => {
  const { access, acl, published, say, pass, plain, down } = street();
  const home = access.dial(1, 'ada', 'secret-a', { echoIntervalMs: 10_000 });
  say('installed');
  for (let i = 0; i < lieLimit; i++) plain(home, ipv4Packet(core, home.address));
  assert.equal([down(home), published.at(-1)?.acl, acl.counters.get('acl.liar')], [[0, 1], undefined, 1]);
  acl.gatewayFound(access.now, 'gw-1');
  assert.is(published.length, 2);
  pass(penaltyMs);
  acl.gatewayFound(access.now, 'gw-1');
  say('installed');
  assert.equal(down(home), [1, 0]);
});

test.run();
