/** Three members of a kibbutz on one local link: what one advertises over UDP multicast, the other two hear and believe. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kibbutzGroup4 } from '../../agent/kibbutz/member-settings.js';
import {
  emitNeighbour,
  neighbourPrefix,
  newRegistration,
  registrationKey,
} from '../../agent/kibbutz/saved-state.js';
import { aes128Gcm } from '../../edge/linux/aead.js';
import { openStore } from '../../edge/linux/store.js';
import { Namespace } from '../support/namespaces.js';
import { eventually, Process } from '../support/process.js';
import { brokerPrograms, Gateway } from './gateway.js';

const maybe = Namespace.available({ ...brokerPrograms, ping: 'iputils-ping' }) ? test : test.skip;
const members = [1, 2, 3];

test.after.each(async () => {
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
});

/** As the provider would: each registered, and introduced to the others. */
async function introduce(gateway: Gateway, member: number): Promise<void> {
  const store = openStore(gateway.path('store'), { onFault: fault => assert.unreachable(fault.message) });
  const registration = { member, aead: 1, generation: 1, key: new Uint8Array(16).fill(member) };
  store.save(registrationKey, newRegistration(registration));
  for (const other of members) {
    if (other === member) continue;
    const pair = new Uint8Array(16).fill(16 * Math.min(member, other) + Math.max(member, other));
    const account = { credit: 5, taken: 0, givenBytes: 0, takenBytes: 0 };
    const neighbour = {
      member: other,
      aead: aes128Gcm,
      key: pair,
      generation: 1,
      registration: 1,
      sequence: -1,
    };
    store.save(neighbourPrefix + other, emitNeighbour({ ...neighbour, ...account }));
  }
  await store.close();
  const { key, ...rest } = registration;
  gateway.write('registration.json', JSON.stringify({ ...rest, key: Buffer.from(key).toString('hex') }));
}

for (const [family, group] of [
  ['IPv6', undefined],
  ['IPv4', kibbutzGroup4],
] as const)
  maybe(`an advertisement to an ${family} group reaches both neighbours, and is authentic`, () =>
    advertise(group),
  );

async function advertise(group: string | undefined): Promise<void> {
  const middle = Namespace.make();
  middle.run('ip', 'link', 'add', 'air', 'type', 'bridge', 'mcast_snooping', '0');
  middle.run('ip', 'link', 'set', 'air', 'up');
  const gateways: Gateway[] = [];
  for (const member of members) {
    const inside = Namespace.make();
    inside.run('sh', '-c', 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad');
    inside.run('sh', '-c', 'echo 0 >/proc/sys/net/ipv6/conf/default/addr_gen_mode');
    inside.connect('wlan', middle, `port${member}`);
    middle.run('ip', 'link', 'set', `port${member}`, 'master', 'air');
    inside.run('ip', 'address', 'add', `10.3.0.${member}/24`, 'dev', 'wlan');
    const gateway = new Gateway(inside);
    await introduce(gateway, member);
    gateway.configure({
      links: [{ name: 'local', interface: 'wlan' }],
      jobs: {
        kibbutz: {
          registrationFile: 'registration.json',
          local: { interface: 'wlan', ...(group === undefined ? {} : { group }) },
          provider: { host: '127.0.0.1', port: 9 },
          tun: { addresses: ['10.1.0.1/24'] },
          policy: 'paper',
          owner: { minimumPacketsPerMinute: 0 },
          tail: '10s',
          promotion: '2s',
          exchange: '200ms',
          uplinkBitsPerSecond: 2_000_000,
        },
      },
    });
    await gateway.startBroker();
    await gateway.listen();
    await gateway.start();
    await gateway.ready();
    gateways.push(gateway);
  }
  const [speaker, ...others] = gateways;
  // Through the TUN device, where nobody answers.
  assert.throws(() => speaker.namespace.run('ping', '-n', '-c', '2', '-W', '1', '10.1.0.2'));
  await eventually('sent', () => speaker.counter('kibbutz', 'advertisements.sent') > 0);
  for (const other of others) {
    await eventually('received', () => other.counter('kibbutz', 'advertisements.received') > 0);
    assert.is(other.counter('kibbutz', 'signals.forged'), 0);
    assert.is(other.counter('kibbutz', 'advertisements.sent'), 0);
  }
}

test.run();
