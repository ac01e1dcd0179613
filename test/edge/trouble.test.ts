/**
 * The gateway daemon when something is wrong around it: network, credentials, certificates, clock, disk, what another version saved.
 * It says what, over MQTT when it can and by its log when it cannot, comes back by itself, and keeps its rules and ledger.
 * What a part of it can be asked alone is in bus.test.ts, store.test.ts, outbox.test.ts and surroundings.test.ts.
 */

import { execFileSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeCbor } from '../../agent/message/cbor.js';
import { openStore } from '../../edge/linux/store.js';
import { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';
import { brokerPrograms, Gateway } from './gateway.js';
import { answer, faults, hangUp, home, isAnswered, member, shimOf } from './trouble.js';

const available = Namespace.available({ ...brokerPrograms, arping: 'arping', openssl: 'openssl' });
const maybe = available ? test : test.skip;
const withGcc = available && needs('gcc', 'gcc') ? test : test.skip;

test.after.each(async () => {
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
});

maybe(
  'no network: the log says of each reason what it is, SIGHUP and routes put it right, and MQTT tells it afterwards',
  async () => {
    const { gateway } = home({ broker: { url: 'mqtt://192.168.7.3:1883' } });
    const { namespace } = gateway;
    const at = (url: string) =>
      gateway.configure({ links: [{ name: 'lan', interface: 'lan' }], broker: { url } });
    const daemon = await gateway.start(
      /there is no network on the way to mqtt:\/\/192\.168\.7\.3:1883 \(ENETUNREACH\)/,
    );
    // A neighbour that is there for ARP and swallows what comes: the SYN is dropped.
    namespace.run('ip', 'address', 'add', '192.168.7.1/24', 'dev', 'lan');
    namespace.run(
      'ip',
      'neigh',
      'add',
      '192.168.7.3',
      'lladdr',
      '02:00:00:00:00:77',
      'dev',
      'lan',
      'nud',
      'permanent',
    );
    await daemon.says(/nothing answers at mqtt:\/\/192\.168\.7\.3:1883: is its address right/);
    at('mqtt://broker.invalid:1883');
    hangUp(daemon);
    await daemon.says(
      /the host of mqtt:\/\/broker\.invalid:1883 has no address: check broker\.url and the name server/,
    );
    at('mqtt://192.168.7.1:1883');
    hangUp(daemon);
    await daemon.says(/no broker answers at mqtt:\/\/192\.168\.7\.1:1883/);
    at('mqtt://127.0.0.1:1883');
    hangUp(daemon);
    await daemon.says(/no broker answers at mqtt:\/\/127/);
    await gateway.startBroker();
    await gateway.listen();
    await gateway.ready();
    await eventually('the last fault over MQTT', () =>
      faults(gateway).some(text => /127\.0\.0\.1/.test(text)),
    );
    // Those of former lives waited on disk.
    const told = faults(gateway).join('\n');
    for (const reason of [
      /ENETUNREACH/,
      /nothing answers/,
      /has no address/,
      /no broker answers at mqtt:..192/,
    ])
      assert.match(told, reason);
  },
);

maybe(
  'an interface down and up, renamed and back: the link returns without a restart, and info says why it was missing',
  async () => {
    const { gateway, neighbour } = home();
    const { namespace } = gateway;
    await gateway.startBroker();
    await gateway.listen();
    const daemon = await gateway.start();
    await gateway.ready();
    await gateway.put('rule/arp', answer);
    namespace.run('ip', 'link', 'set', 'lan', 'down');
    await daemon.says(/<4>raw link on lan: the interface is down/);
    await eventually('the fault', () =>
      faults(gateway).some(text => /lan: the interface is down/.test(text)),
    );
    namespace.run('ip', 'link', 'set', 'lan', 'up');
    await daemon.says(/<6>raw link on lan: the interface is up again/);
    await eventually('an answer', () => isAnswered(neighbour));
    const { boot } = gateway.last('info') ?? {};

    namespace.run('ip', 'link', 'set', 'lan', 'down');
    namespace.run('ip', 'link', 'set', 'lan', 'name', 'wan');
    namespace.run('ip', 'link', 'set', 'wan', 'up');
    await eventually('the reason', () =>
      /lan: there is no interface of that name/.test(JSON.stringify(gateway.last('info')?.['missing'])),
    );
    assert.not.equal(gateway.last('info')?.['boot'], boot);
    namespace.run('ip', 'link', 'set', 'wan', 'down');
    namespace.run('ip', 'link', 'set', 'wan', 'name', 'lan');
    namespace.run('ip', 'link', 'set', 'lan', 'up');
    await eventually('the job', () => JSON.stringify(gateway.last('info')?.['jobs']) === '["power-proxy"]');
    await eventually('an answer', () => isAnswered(neighbour));
  },
);

for (const mqtt of ['3.1.1', '5'])
  maybe(
    `a wrong password with MQTT ${mqtt}: told, put right in the file, SIGHUP, connected, and told over MQTT`,
    async () => {
      const { gateway } = home();
      const users = gateway.path('users');
      const url = 'mqtt://127.0.0.1:1884';
      gateway.namespace.run('mosquitto_passwd', '-b', '-c', users, 'gw-1', 'right');
      gateway.write('password', 'wrong\n');
      gateway.configure({
        links: [{ name: 'lan', interface: 'lan' }],
        broker: { url, mqtt, user: 'gw-1', passwordFile: 'password' },
      });
      await gateway.startBroker(
        `per_listener_settings true\nallow_anonymous true\nlistener 1884 127.0.0.1\nallow_anonymous false\npassword_file ${users}`,
      );
      await gateway.listen();
      const daemon = await gateway.start(/refuses us/);
      gateway.write('password', 'right\n');
      hangUp(daemon);
      await daemon.says(/connected to/);
      await eventually('the fault', () =>
        faults(gateway).some(text => /refuses us \(.*\): check broker\.user/.test(text)),
      );
    },
  );

withGcc(
  'the date leaps ten years ahead and back: connection, rules and timeouts go on; a certificate that is not valid then is told with the date',
  async () => {
    const { gateway, neighbour } = home();
    const shim = shimOf(gateway);
    const openssl = (words: string) =>
      execFileSync('openssl', words.split(' '), { cwd: gateway.directory, stdio: 'ignore' });
    const key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
    openssl(`req -x509 ${key} -days 3650 -subj /CN=authority -keyout ca.key -out ca.pem`);
    openssl(`req -new ${key} -subj /CN=broker -addext subjectAltName=IP:127.0.0.1 -keyout b.key -out b.csr`);
    openssl('x509 -req -in b.csr -days 365 -copy_extensions copy -CA ca.pem -CAkey ca.key -out b.pem');
    const file = (name: string) => gateway.path(name);
    const more = `allow_anonymous true\nlistener 8883 127.0.0.1\ncafile ${file('ca.pem')}\ncertfile ${file('b.pem')}\nkeyfile ${file('b.key')}`;
    gateway.configure({
      links: [{ name: 'lan', interface: 'lan', promiscuous: true }],
      broker: { url: 'mqtts://127.0.0.1:8883', caFile: 'ca.pem' },
    });
    await gateway.startBroker(more);
    await gateway.listen();
    const daemon = await gateway.start(/connected to/, shim.wrapper);
    await gateway.ready();
    await gateway.put('rule/arp', answer);
    await gateway.put('rule/short', { ...answer, priority: 1, timeout: '6s' });
    const acceptedAt = Date.now();
    const telemetry = () => gateway.heard('telemetry/power-proxy').length;
    const tenYearsS = 10 * 365 * 86_400;
    for (const leapS of [tenYearsS, -tenYearsS, 86_400, -86_400]) {
      shim.say(`clock ${leapS}`);
      const before = telemetry();
      await eventually('telemetry', () => telemetry() >= before + 1);
    }
    assert.ok(isAnswered(neighbour));
    assert.is(gateway.last('rule/short/status')?.['status'], 'accepted');
    await eventually(
      'the end of its time',
      () => gateway.last('rule/short/status')?.['status'] === 'expired',
    );
    const lastedMs = Date.now() - acceptedAt;
    assert.ok(lastedMs > 5000 && lastedMs < 12_000, `${lastedMs} ms`);
    assert.is(daemon.output.split('connected to').length - 1, 1);
    // In ten years the certificate has expired, and ten years ago it was not valid yet.
    for (const [leapS, reason] of [
      [tenYearsS, 'certificate has expired'],
      [-tenYearsS, 'certificate is not yet valid'],
    ] as const) {
      shim.say(`clock ${leapS}`);
      const year = new Date(Date.now() + 1000 * leapS).getUTCFullYear();
      await gateway.stopBroker();
      await gateway.startBroker(more);
      await daemon.says(
        new RegExp(`<3>mqtts:.*: ${reason}: renew .*, or check the clock here, which says ${year}-`),
      );
      shim.say('');
      const { length } = daemon.output.split('connected to');
      await eventually('connected again', () => daemon.output.split('connected to').length > length, 40_000);
    }
  },
);

maybe(
  'certificates: an unknown authority, none of our own, one that the broker does not know; told each, put right by SIGHUP',
  async () => {
    const { gateway } = home();
    const openssl = (words: string) =>
      execFileSync('openssl', words.split(' '), { cwd: gateway.directory, stdio: 'ignore' });
    const key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
    for (const authority of ['ca', 'other'])
      openssl(`req -x509 ${key} -subj /CN=${authority} -keyout ${authority}.key -out ${authority}.pem`);
    for (const [name, authority] of [
      ['broker', 'ca'],
      ['gw-1', 'ca'],
      ['stranger', 'other'],
    ]) {
      openssl(
        `req -new ${key} -subj /CN=${name} -addext subjectAltName=IP:127.0.0.1 -keyout ${name}.key -out ${name}.csr`,
      );
      openssl(
        `x509 -req -in ${name}.csr -copy_extensions copy -CA ${authority}.pem -CAkey ${authority}.key -out ${name}.pem`,
      );
    }
    const file = (name: string) => gateway.path(name);
    await gateway.startBroker(
      `allow_anonymous true\nlistener 8883 127.0.0.1\ncafile ${file('ca.pem')}\ncertfile ${file('broker.pem')}
keyfile ${file('broker.key')}\nrequire_certificate true`,
    );
    const broker = (more: object) =>
      gateway.configure({
        links: [{ name: 'lan', interface: 'lan' }],
        broker: { url: 'mqtts://127.0.0.1:8883', ...more },
      });
    broker({ caFile: 'other.pem' });
    const daemon = await gateway.start(/<3>mqtts:.*name its authority's certificate in broker\.caFile/);
    broker({ caFile: 'ca.pem' });
    hangUp(daemon);
    await daemon.says(/refuses us without a certificate: name one in broker\.certFile/);
    broker({ caFile: 'ca.pem', certFile: 'stranger.pem', keyFile: 'stranger.key' });
    hangUp(daemon);
    await daemon.says(/refuses our certificate: check broker\.certFile/);
    broker({ caFile: 'ca.pem', certFile: 'gw-1.pem', keyFile: 'gw-1.key' });
    hangUp(daemon);
    await daemon.says(/connected to mqtts/);
  },
);

withGcc(
  'a disk that fails under it: rules are in force, MQTT says that they are not kept, and they are when it works again',
  async () => {
    const { gateway, neighbour } = home();
    const shim = shimOf(gateway);
    await gateway.startBroker();
    await gateway.listen();
    const daemon = await gateway.start(/connected to/, shim.wrapper);
    await gateway.ready();
    shim.say('eio');
    await gateway.put('rule/arp', answer);
    assert.ok(isAnswered(neighbour));
    await eventually('the fault', () =>
      faults(gateway).some(text => /store .*: cannot be written: EIO/.test(text)),
    );
    const unkept = () => gateway.counter('power-proxy', 'platform.store.unkept');
    await eventually('the count', () => unkept() === 1);
    shim.say('');
    await daemon.says(/<6>store: all is on disk again/);
    await eventually('no count', () => unkept() === 0);
    await daemon.kill('SIGKILL');
    await gateway.stopBroker();
    await gateway.start(/no broker answers/);
    assert.ok(isAnswered(neighbour));
  },
);

withGcc(
  'a disk that cannot keep which numbers were used: the kibbutz is silent rather than use one twice, and speaks when it can',
  async () => {
    const { gateway, provider } = await member();
    const shim = shimOf(gateway);
    await gateway.startBroker();
    await gateway.listen();
    shim.say('eio');
    const daemon = await gateway.start(/cannot be written: EIO/, shim.wrapper);
    await gateway.ready();
    await eventually(
      'what it did not send',
      () =>
        gateway.counter('kibbutz', 'platform.datagrams.unkept') +
          gateway.counter('power-proxy', 'platform.datagrams.unkept') >
        5,
    );
    assert.is(provider.output.trim(), 'open');
    shim.say('');
    await daemon.says(/all is on disk again/);
    await eventually('an envelope', () => provider.output.split('\n').length > 3);
  },
);

maybe(
  'firmware older than what was saved: left aside, told, not destroyed; a rule it does not know is rejected by field, the one before stays',
  async () => {
    const { gateway, neighbour } = home();
    const text = (value: object) => new Uint8Array(Buffer.from(JSON.stringify(value)));
    const saved: { readonly [key: string]: Uint8Array } = {
      'rule/quantum': encodeCbor({
        payload: text({ ...answer, trigger: { quantum: { spin: 1 } } }),
        revision: 3,
        leftMs: -1,
      }),
      'rule/format': encodeCbor({ version: 2, rule: { action: 'answer' } }),
      'host/new': text({ mac: '02:00:00:00:00:09', soul: true, ipv4: 'all' }),
      'dreams/1': encodeCbor({ version: 7 }),
    };
    const store = openStore(gateway.path('store'), { onFault: fault => assert.unreachable(fault.message) });
    for (const name of Object.keys(saved)) store.save(name, saved[name]);
    await store.close();
    await gateway.startBroker();
    await gateway.listen();
    const daemon = await gateway.start(/connected to/);
    await gateway.ready();
    for (const what of ['rule quantum', 'rule format', 'host new']) {
      assert.match(daemon.output, new RegExp(`<4>saved ${what} is left aside`));
      await eventually('the fault', () =>
        faults(gateway).some(said => said.includes(`saved ${what} is left aside`)),
      );
    }
    await gateway.put('rule/arp', answer);
    const inForce = gateway.last('rule/arp/status')?.['inForce'];
    for (const [newer, field] of [
      [{ ...answer, trigger: { arp: { operation: 'request' }, quantum: 1 } }, 'trigger.quantum'],
      [{ ...answer, action: 'teleport' }, 'action'],
      [{ ...answer, trigger: { arp: { operation: 'request', spin: 1 } } }, 'trigger.arp.spin'],
    ] as const) {
      gateway.publish('rule/arp', JSON.stringify(newer), '-r');
      await eventually(`a rejection of ${field}`, () => gateway.last('rule/arp/status')?.['field'] === field);
      const status = gateway.last('rule/arp/status');
      assert.is(status?.['status'], 'rejected');
      assert.is(status?.['inForce'], inForce);
      assert.ok(isAnswered(neighbour));
    }
    await daemon.kill('SIGTERM');
    // The rejected one is still retained at the broker when it starts again; the rule in force is the one before.
    const again = await gateway.start(/connected to/);
    await eventually('the rejection', () => gateway.heard('rule/arp/status').length > 4);
    assert.ok(isAnswered(neighbour));
    await again.kill('SIGTERM');
    const after = openStore(gateway.path('store'), { onFault: fault => assert.unreachable(fault.message) });
    for (const name of Object.keys(saved)) assert.equal(after.saved()[name], saved[name], name);
    await after.close();
  },
);

test.run();
