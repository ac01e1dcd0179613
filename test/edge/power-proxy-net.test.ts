/**
 * The power proxy on a home's real network, with clients no one here wrote: a host sleeps, and stays reachable.
 *
 *     client ── bridge br-lan of the gateway ── standby ── host
 *
 * `standby` is the host's network card: asleep, it lets nothing through, either way, and only watches for the magic packet.
 */

import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openRawLink, type RawLink } from '../../edge/linux/raw-link.js';
import { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';
import { brokerPrograms, Gateway } from './gateway.js';

const available = Namespace.available({
  ...brokerPrograms,
  arping: 'arping',
  ping: 'iputils-ping',
  ndisc6: 'ndisc6',
});
const maybe = available ? test : test.skip;
const recommended: { readonly [id: string]: object } = JSON.parse(
  readFileSync(new URL('../../host-sim/scenario/proxy/rules/recommended.json', import.meta.url), 'utf8'),
);
const hostMac = '3c:22:fb:01:02:03';
const host4 = '192.168.7.9';
const host6 = 'fd00:7::9';
const links: RawLink[] = [];

test.after.each(async () => {
  for (const link of links.splice(0)) link.close();
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
});

interface Home {
  readonly gateway: Gateway;
  readonly client: Namespace;
  readonly host: Namespace;
  /** Magic packets that the host's card saw. */
  readonly magic: () => number;
  /** The card lets frames through, or no more. */
  awaken(isAwake: boolean): void;
}

/** The host is declared asleep, never heard; the rules are those recommended. */
async function home(): Promise<Home> {
  const [inside, client, standby, host] = [
    Namespace.make(),
    Namespace.make(),
    Namespace.make(),
    Namespace.make(),
  ];
  inside.run('ip', 'link', 'add', 'br-lan', 'type', 'bridge', 'mcast_snooping', '0');
  inside.run('ip', 'link', 'set', 'br-lan', 'up');
  inside.connect('port1', client, 'eth');
  inside.connect('port2', standby, 'wire');
  standby.connect('stack', host, 'eth');
  for (const port of ['port1', 'port2']) inside.run('ip', 'link', 'set', port, 'master', 'br-lan');
  standby.run('ip', 'link', 'add', 'card', 'type', 'bridge', 'mcast_snooping', '0');
  standby.run('ip', 'link', 'set', 'wire', 'master', 'card');
  standby.run('ip', 'link', 'set', 'card', 'up');
  host.run('ip', 'link', 'set', 'eth', 'down');
  host.run('ip', 'link', 'set', 'eth', 'address', hostMac);
  host.run('ip', 'link', 'set', 'eth', 'up');
  const configure = (namespace: Namespace, device: string, v4: string, v6: string) => {
    namespace.run('ip', 'address', 'add', `${v4}/24`, 'dev', device);
    namespace.run('ip', 'address', 'add', `${v6}/64`, 'dev', device, 'nodad');
  };
  configure(inside, 'br-lan', '192.168.7.1', 'fd00:7::1');
  configure(client, 'eth', '192.168.7.2', 'fd00:7::2');
  configure(host, 'eth', host4, host6);

  let magic = 0;
  const pattern = Buffer.from('ff'.repeat(6) + hostMac.replaceAll(':', '').repeat(16), 'hex');
  links.push(
    standby.enter(() =>
      openRawLink(
        { interface: 'wire', promiscuous: true },
        (bytes, start, end) => {
          if (Buffer.from(bytes.subarray(start, end)).includes(pattern)) magic++;
        },
        error => assert.unreachable(error.message),
      ),
    ),
  );
  const gateway = new Gateway(inside);
  gateway.configure({ links: [{ name: 'lan', interface: 'br-lan', promiscuous: true }] });
  await gateway.startBroker();
  await gateway.listen();
  await gateway.start();
  await gateway.ready();
  for (const id of Object.keys(recommended))
    gateway.publish(`rule/${id}`, JSON.stringify(recommended[id]), '-r');
  await eventually('all rules in force', () =>
    Object.keys(recommended).every(id => gateway.last(`rule/${id}/status`)?.['status'] === 'accepted'),
  );
  await gateway.put('host/desktop', {
    mac: hostMac,
    ipv4: [host4],
    ipv6: [host6],
    names: ['desktop'],
    services: [{ type: '_mqtt._tcp', port: 1884 }],
    state: 'asleep',
  });
  await eventually('the host asleep', () => gateway.last('host/desktop/status')?.['state'] === 'asleep');
  return {
    gateway,
    client,
    host,
    magic: () => magic,
    awaken(isAwake) {
      standby.run('ip', 'link', 'set', 'stack', ...(isAwake ? ['master', 'card'] : ['nomaster']));
    },
  };
}

maybe('a sleeping host answers arping, ping, ping -6 and ndisc6, and sleeps on', async () => {
  const { client, gateway, magic } = await home();
  assert.match(client.run('arping', '-c', '2', '-w', '5', '-i', 'eth', host4), /2 packets received/);
  assert.match(client.run('ping', '-n', '-c', '2', '-W', '5', host4), /2 received, 0% packet loss/);
  assert.match(client.run('ping', '-n', '-c', '2', '-W', '5', host6), /2 received, 0% packet loss/);
  const solicited = client.run('ndisc6', '-1', '-w', '5000', host6, 'eth');
  assert.match(solicited, new RegExp(`Target link-layer address: ${hostMac}`, 'i'));
  // The neighbour cache of a kernel no one here wrote agrees.
  assert.match(client.run('ip', 'neighbour', 'show', host4), new RegExp(hostMac));
  // Nobody else is spoken for.
  assert.throws(() => client.run('arping', '-c', '1', '-w', '1', '-i', 'eth', '192.168.7.77'));
  assert.is(magic(), 0);
  await eventually('telemetry', () => gateway.counter('power-proxy', 'frames.answered') >= 6);
});

(available && needs('avahi-daemon', 'avahi-daemon') && needs('avahi-resolve', 'avahi-utils')
  ? test
  : test.skip)('a sleeping host is found by its name: avahi-resolve', async () => {
  const { client, gateway, magic } = await home();
  const config = gateway.write(
    'avahi.conf',
    '[server]\nhost-name=visitor\nallow-interfaces=eth\nuse-ipv4=yes\nuse-ipv6=no\nenable-dbus=yes\n[publish]\ndisable-publishing=yes\n[wide-area]\nenable-wide-area=no\n',
  );
  // A message bus of its own, which ends with the shell's mount namespace.
  const script = `mount -t tmpfs tmpfs /run && mkdir -p /run/dbus /run/avahi-daemon
    dbus-daemon --system --nofork --nopidfile & bus=$!
    until [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
    avahi-daemon --no-drop-root --no-chroot --no-rlimits -f ${config} & daemon=$!
    until avahi-resolve -4 -n desktop.local; do sleep 0.2; done
    avahi-resolve -4 -a ${host4}
    kill $daemon $bus; wait`;
  const output = client.run('unshare', '-m', 'timeout', '15', 'sh', '-c', script);
  assert.match(output, new RegExp(`desktop\\.local\\t${host4}`));
  assert.is(magic(), 0);
});

maybe(
  'a SYN wakes the host and reaches it late, and the connection completes; then the proxy lets go',
  async () => {
    const { client, host, gateway, magic, awaken } = await home();
    // The service: a broker of its own on the host.
    const config = gateway.write('service.conf', 'user root\nlistener 1884\nallow_anonymous true\n');
    const [broker, ...brokerWords] = host.command('mosquitto', '-c', config);
    await Process.start(broker, brokerWords, /mosquitto version .* running/);

    const [program, ...words] = client.command(
      'mosquitto_pub',
      ...['-d', '-h', host4, '-p', '1884', '-q', '1', '-t', 'x', '-m', 'y'],
    );
    const published = Process.run(program, words);
    await eventually('the magic packet', () => magic() > 0);
    awaken(true);
    // A system that comes up soon has something to say.
    host.run('ping', '-n', '-c', '1', '-W', '5', '192.168.7.1');
    const { code, output } = await published;
    assert.is(code, 0, output);
    assert.match(output, /PUBACK/);
    await eventually('the wake', () => gateway.heard('event/wake').length > 0);
    await eventually('awake', () => gateway.last('host/desktop/status')?.['state'] === 'awake');
    await eventually('telemetry', () => gateway.counter('power-proxy', 'held.delivered') >= 1);

    // From now on it answers for itself: nothing of the proxy's.
    await eventually('telemetry settles', () => gateway.heard('telemetry/power-proxy').length > 2);
    const answered = gateway.counter('power-proxy', 'frames.answered');
    client.run('ip', 'neighbour', 'flush', 'all');
    assert.match(client.run('ping', '-n', '-c', '2', '-W', '5', host4), /2 received, 0% packet loss/);
    const seen = gateway.heard('telemetry/power-proxy').length;
    await eventually('more telemetry', () => gateway.heard('telemetry/power-proxy').length > seen + 1);
    assert.is(gateway.counter('power-proxy', 'frames.answered'), answered);
  },
);

test.run();
