/** The gateway daemon as it runs: its broker, its signals, its capabilities, and what a crash leaves of its rules. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Aedes } from 'aedes';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Bus } from '../../edge/linux/bus.js';
import * as libc from '../../edge/linux/libc.js';
import { openOutbox } from '../../edge/linux/outbox.js';
import { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';
import { base, brokerPrograms, decoded, Gateway } from './gateway.js';

const available = Namespace.available({ ...brokerPrograms, arping: 'arping' });
const maybe = available ? test : test.skip;
const hostMac = '3c:22:fb:01:02:03';
const answer = {
  host: hostMac,
  trigger: { arp: { operation: 'request', targetAddress: '192.168.7.9' } },
  action: 'respond',
};
const wakeTrigger = { arp: { operation: 'request', targetAddress: '192.168.7.8' } };

test.after.each(async () => {
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
});

/** The gateway's namespace with interface `lan`, and a neighbour on its cable. */
function home(): { gateway: Gateway; neighbour: Namespace } {
  const [inside, neighbour] = [Namespace.make(), Namespace.make()];
  inside.connect('lan', neighbour, 'eth');
  neighbour.run('ip', 'address', 'add', '192.168.7.2/24', 'dev', 'eth');
  const gateway = new Gateway(inside);
  gateway.configure({ links: [{ name: 'lan', interface: 'lan', promiscuous: true }] });
  return { gateway, neighbour };
}

/** Whether somebody answers for an address (Habets' arping asks up to three times). */
function isAnswered(neighbour: Namespace, address: string): boolean {
  try {
    neighbour.run('arping', '-c', '1', '-C', '1', '-w', '1', '-i', 'eth', address);
    return true;
  } catch {
    return false;
  }
}

maybe('it reports, takes a rule, answers, and leaves in an orderly way at SIGTERM', async () => {
  const { gateway, neighbour } = home();
  await gateway.startBroker();
  await gateway.listen();
  const daemon = await gateway.start();
  await gateway.ready();
  const info = gateway.last('info');
  assert.is(info?.['platform'], 'linux');
  assert.equal(info?.['jobs'], ['power-proxy']);
  assert.equal(info?.['missing'], {
    kibbutz: 'not configured',
    pppoe: 'not configured',
    update: 'it comes with the packages of the system',
  });
  assert.not(isAnswered(neighbour, '192.168.7.9'));
  await gateway.put('rule/arp', answer);
  assert.ok(isAnswered(neighbour, '192.168.7.9'));
  await eventually('telemetry of the answer', () => gateway.counter('power-proxy', 'frames.answered') >= 1);
  assert.is(await daemon.kill('SIGTERM'), 0);
  await eventually('its goodbye', () => gateway.state === 'disconnected');
});

maybe(
  'crashes and a power cut in the middle of a write leave the rules in force, without a broker',
  async () => {
    const { gateway, neighbour } = home();
    await gateway.startBroker();
    await gateway.listen();
    const first = await gateway.start();
    await gateway.ready();
    await gateway.put('rule/arp', answer);
    await first.kill('SIGKILL');
    await eventually('the will', () => gateway.state === 'lost');
    await gateway.stopBroker();

    const second = await gateway.start(/no broker answers/);
    assert.ok(isAnswered(neighbour, '192.168.7.9'));
    await second.kill('SIGKILL');

    // The last record once more, cut off.
    const log = gateway.path('store/state');
    const { size } = statSync(log);
    gateway.namespace.run('sh', '-c', `tail -c 60 ${log} | head -c 40 >>${log}`);
    assert.is(statSync(log).size, size + 40);
    const third = await gateway.start(/no broker answers/);
    assert.match(third.output, /<3>store .* are damaged; the last good values are used/);
    assert.ok(isAnswered(neighbour, '192.168.7.9'));
  },
);

maybe('without interface and broker it waits for both, says so once, and then does its work', async () => {
  const inside = Namespace.make();
  const gateway = new Gateway(inside);
  gateway.configure({ links: [{ name: 'lan', interface: 'lan', promiscuous: true }] });
  const daemon = await gateway.start(/no broker answers/);
  assert.match(daemon.output, /<3>raw link on lan: there is no interface of that name; looking again/);
  await gateway.startBroker();
  await gateway.listen();
  await gateway.ready();
  assert.match(
    JSON.stringify(gateway.last('info')?.['missing']),
    /raw link on lan: there is no interface of that name/,
  );
  const neighbour = Namespace.make();
  inside.connect('lan', neighbour, 'eth');
  neighbour.run('ip', 'address', 'add', '192.168.7.2/24', 'dev', 'eth');
  await eventually('the job', () => JSON.stringify(gateway.last('info')?.['jobs']) === '["power-proxy"]');
  await gateway.put('rule/arp', answer);
  assert.ok(isAnswered(neighbour, '192.168.7.9'));
  // And away again: the job is missing, the node is not.
  inside.run('ip', 'link', 'del', 'lan');
  await eventually('no job', () => JSON.stringify(gateway.last('info')?.['jobs']) === '[]');
  assert.is(daemon.output.split('there is no interface of that name').length - 1, 2);
});

maybe('a broker gone and back, and a crash meanwhile: what happened arrives, once', async () => {
  const { gateway, neighbour } = home();
  await gateway.startBroker();
  await gateway.listen();
  const first = await gateway.start();
  await gateway.ready();
  await gateway.put('rule/wake', { host: hostMac, trigger: wakeTrigger, action: 'wake' });
  await gateway.stopBroker();
  await first.says(/<4>lost mqtt/);
  assert.not(isAnswered(neighbour, '192.168.7.8'));
  const outbox = gateway.path('store/outbox/state');
  await eventually('the event on disk', () => readFileSync(outbox).includes('event/wake'));
  await first.kill('SIGKILL');

  const second = await gateway.start(/no broker answers/);
  await gateway.startBroker();
  await gateway.listen();
  await second.says(/connected to/);
  await gateway.ready();
  await eventually('the event', () => gateway.heard('event/wake').length > 0);
  await gateway.put('rule/arp', answer);
  const wakes = gateway.heard('event/wake').map(said => decoded(said));
  const own = gateway.last('info')?.['boot'];
  assert.is(wakes.filter(wake => wake?.['boot'] !== own).length, 1);
  assert.is(wakes[0]?.['rule'], 'wake');
});

maybe('a password that is wrong is told once; put right at the broker, it comes back by itself', async () => {
  const { gateway } = home();
  const users = gateway.path('users');
  const secure = `allow_anonymous false\npassword_file ${users}`;
  gateway.namespace.run('mosquitto_passwd', '-b', '-c', users, 'gw-1', 'other');
  gateway.write('password', 'right\n');
  gateway.configure({
    links: [{ name: 'lan', interface: 'lan' }],
    broker: { url: 'mqtt://127.0.0.1:1883', user: 'gw-1', passwordFile: 'password' },
  });
  await gateway.startBroker(secure);
  const daemon = await gateway.start(/refuses us/);
  assert.match(daemon.output, /<3>mqtt:\/\/127\.0\.0\.1:1883 refuses us \(.*\): check broker\.user/);
  gateway.namespace.run('mosquitto_passwd', '-b', users, 'gw-1', 'right');
  await gateway.stopBroker();
  await daemon.says(/no broker answers/);
  await gateway.startBroker(secure);
  await daemon.says(/connected to/);
  assert.is(daemon.output.split('refuses us').length - 1, 1);
});

test('a subscription the broker refuses is told, and asked for again', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kith-bus-'));
  let isOpen = false;
  const broker = await Aedes.createBroker({
    authorizeSubscribe: (_, subscription, done) => done(null, isOpen ? subscription : null),
  });
  const server = createServer(broker.handle);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const outbox = openOutbox(directory, { onFault: error => assert.unreachable(error.message) });
  const lines: string[] = [];
  let heard = '';
  const bus: Bus = new Bus({
    broker: { url: `mqtt://127.0.0.1:${port}`, mqttVersion: 4 },
    clientId: 'kith-home-gw-1',
    will: { topic: `${base}/state`, payload: Buffer.from('lost'), retain: true },
    outbox,
    up: () => bus.subscribe(`${base}/rule/+`, 1),
    down: () => {},
    message: async topic => {
      heard = topic;
    },
    log: (level, text) => lines.push(`${level} ${text}`),
  });
  bus.start();
  const told =
    /^error mqtt:.* refuses the subscription to kith\/1\/home\/gw-1\/rule\/\+: check its access rules$/m;
  await eventually('the refusal', () => told.test(lines.join('\n')));
  isOpen = true;
  await eventually('a message', () => {
    const message = { topic: `${base}/rule/x`, payload: 'x', qos: 0, retain: false, dup: false } as const;
    broker.publish({ cmd: 'publish', ...message }, () => {});
    return heard === `${base}/rule/x`;
  });
  await bus.close();
  await outbox.close();
  await new Promise<void>(resolve => broker.close(resolve));
  server.close();
  rmSync(directory, { recursive: true });
});

maybe(
  'SIGHUP: a bad file changes nothing and is told, a good one counts, the same one is left alone',
  async () => {
    const { gateway, neighbour } = home();
    await gateway.startBroker();
    await gateway.listen();
    const daemon = await gateway.start();
    await gateway.ready();
    await gateway.put('rule/arp', answer);
    const boot = gateway.last('info')?.['boot'];
    const good = readFileSync(gateway.path('agent.json'), 'utf8');
    const hup = () => process.kill(daemon.pid as number, 'SIGHUP');

    gateway.write('agent.json', good.replace('"lan"', '"LAN"'));
    hup();
    await daemon.says(
      /<3>the configuration stays as it was: .*links\[0\]\.name: expected 1 to 32 characters/,
    );
    assert.ok(isAnswered(neighbour, '192.168.7.9'));
    assert.is(gateway.last('info')?.['boot'], boot);

    gateway.write('agent.json', good);
    hup();
    await daemon.says(/the configuration has not changed/);
    assert.is(gateway.last('info')?.['boot'], boot);

    gateway.write('agent.json', good.replace('"1s"', '"2s"'));
    hup();
    await daemon.says(/runs anew/);
    await eventually('another boot', () => gateway.last('info')?.['boot'] !== boot);
    await gateway.ready();
    assert.ok(isAnswered(neighbour, '192.168.7.9'));
  },
);

(available && needs('openssl', 'openssl') ? test : test.skip)(
  'TLS: the broker is known by its authority, and we by our certificate',
  async () => {
    const { gateway } = home();
    const openssl = (words: string) =>
      execFileSync('openssl', words.split(' '), { cwd: gateway.directory, stdio: 'ignore' });
    const key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
    openssl(`req -x509 ${key} -subj /CN=authority -keyout ca.key -out ca.pem`);
    for (const [name, extra] of [
      ['127.0.0.1', ' -addext subjectAltName=IP:127.0.0.1'],
      ['gw-1', ''],
    ]) {
      openssl(`req -new ${key} -subj /CN=${name}${extra} -keyout ${name}.key -out ${name}.csr`);
      openssl(`x509 -req -in ${name}.csr -copy_extensions copy -CA ca.pem -CAkey ca.key -out ${name}.pem`);
    }
    const file = (name: string) => gateway.path(name);
    const broker = (more: object) =>
      gateway.configure({
        links: [{ name: 'lan', interface: 'lan' }],
        broker: { url: 'mqtts://127.0.0.1:8883', ...more },
      });
    await gateway.startBroker(
      `allow_anonymous false\nlistener 8883 127.0.0.1\ncafile ${file('ca.pem')}\ncertfile ${file('127.0.0.1.pem')}
keyfile ${file('127.0.0.1.key')}\nrequire_certificate true\nuse_identity_as_username true`,
    );
    broker({});
    const stranger = await gateway.start(/<3>mqtts:.*name its authority's certificate in broker\.caFile/);
    await stranger.kill('SIGTERM');
    broker({ caFile: 'ca.pem', certFile: 'gw-1.pem', keyFile: 'gw-1.key' });
    const daemon = await gateway.start(/connected to mqtts/);
    assert.not.match(daemon.output, /<3>/);
  },
);

maybe('it runs with CAP_NET_RAW and CAP_NET_ADMIN alone, as nobody', async () => {
  const { gateway, neighbour } = home();
  gateway.namespace.run('mkdir', gateway.path('store'));
  gateway.namespace.run('chown', '-R', 'nobody', gateway.directory);
  await gateway.startBroker();
  await gateway.listen();
  const capabilities = '-all,+net_raw,+net_admin';
  const daemon = await gateway.start(/runs: /, [
    'setpriv',
    '--reuid=nobody',
    '--clear-groups',
    `--inh-caps=${capabilities}`,
    `--ambient-caps=${capabilities}`,
    `--bounding-set=${capabilities}`,
    '--no-new-privs',
  ]);
  const status = readFileSync(`/proc/${daemon.pid}/status`, 'utf8');
  // CAP_NET_ADMIN is bit 12, CAP_NET_RAW 13 (linux/capability.h).
  assert.match(status, /CapEff:\t0000000000003000/);
  assert.match(status, /CapBnd:\t0000000000003000/);
  await gateway.ready();
  await gateway.put('rule/arp', answer);
  assert.ok(isAnswered(neighbour, '192.168.7.9'));
});

maybe('frames that a rule redirects to a stub reach the program at its socket', async () => {
  const { gateway, neighbour } = home();
  await gateway.startBroker();
  await gateway.listen();
  await gateway.start();
  await gateway.ready();
  // A Unix datagram socket, which Node does not have.
  const path = gateway.path('ids.sock');
  const address = new Uint8Array(110);
  address[0] = 1;
  address.set(Buffer.from(path), 2);
  const fd = libc.check(libc.socket(1, 2 | 0o4000, 0), 'socket');
  try {
    libc.check(libc.bind(fd, address, address.length), 'bind');
    await gateway.put('rule/stub', {
      host: hostMac,
      trigger: wakeTrigger,
      action: 'redirect',
      redirect: { stub: 'ids' },
    });
    isAnswered(neighbour, '192.168.7.8');
    const bytes = new Uint8Array(new ArrayBuffer(2048));
    let lengthBytes = -1;
    await eventually('a frame', () => {
      lengthBytes = libc.read(fd, libc.addressOf(bytes.buffer as ArrayBuffer), bytes.length);
      return lengthBytes >= 0;
    });
    assert.ok(lengthBytes >= 42);
    assert.is(Buffer.from(bytes.subarray(12, 22)).toString('hex'), '08060001080006040001');
    assert.equal([...bytes.subarray(38, 42)], [192, 168, 7, 8]);
  } finally {
    libc.close(fd);
  }
});

test.run();
