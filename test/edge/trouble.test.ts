/**
 * The gateway daemon when something is wrong around it: broker, network, certificates, clock, disk, memory, and crashes in a row.
 * It says what, over MQTT when it can and by its log when it cannot, comes back by itself, and keeps its rules and ledger.
 * What a part of it can be asked alone is in bus.test.ts, store.test.ts, outbox.test.ts and surroundings.test.ts.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { digest } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { registrationKey } from '../../agent/kibbutz/saved-state.js';
import { decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { parseIpv4Address, parseMac } from '../../agent/wire/address.js';
import { openRawLink } from '../../edge/linux/raw-link.js';
import { openStore } from '../../edge/linux/store.js';
import { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';
import { brokerPrograms, decoded, Gateway } from './gateway.js';

const available = Namespace.available({ ...brokerPrograms, arping: 'arping' });
const maybe = available ? test : test.skip;
const withGcc = available && needs('gcc', 'gcc') ? test : test.skip;
const hostMac = '3c:22:fb:01:02:03';
const answer = {
  host: hostMac,
  trigger: { arp: { operation: 'request', targetAddress: '192.168.7.9' } },
  action: 'respond',
};

test.after.each(async () => {
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
});

function home(more: object = {}): { gateway: Gateway; neighbour: Namespace } {
  const [inside, neighbour] = [Namespace.make(), Namespace.make()];
  inside.connect('lan', neighbour, 'eth');
  neighbour.run('ip', 'address', 'add', '192.168.7.2/24', 'dev', 'eth');
  const gateway = new Gateway(inside);
  gateway.configure({ links: [{ name: 'lan', interface: 'lan', promiscuous: true }], ...more });
  return { gateway, neighbour };
}

function isAnswered(neighbour: Namespace, address = '192.168.7.9'): boolean {
  try {
    neighbour.run('arping', '-c', '1', '-C', '1', '-w', '1', '-i', 'eth', address);
    return true;
  } catch {
    return false;
  }
}

/** Event `fault`s that were heard, oldest first. */
function faults(gateway: Gateway): string[] {
  return gateway.heard('event/fault').map(said => String(decoded(said)?.['text']));
}

function hangUp(daemon: Process): void {
  process.kill(daemon.pid as number, 'SIGHUP');
}

/** The daemon as one file, which starts in a third of the time and a third of the memory. */
async function bundle(gateway: Gateway): Promise<void> {
  symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), gateway.path('node_modules'));
  const outfile = gateway.path('agent.mjs');
  await build({
    entryPoints: [fileURLToPath(new URL('../../edge/linux/main.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    outfile,
    logLevel: 'error',
  });
  gateway.program = [outfile];
}

/** An ARP request (RFC 826) of the neighbour's for `target`. */
function question(target: string, sender = '02:00:00:00:00:02'): Uint8Array {
  const frame = new Uint8Array(60);
  const mac = parseMac(sender) as Uint8Array;
  frame.fill(0xff, 0, 6);
  frame.set(mac, 6);
  frame.set([8, 6, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  frame.set(mac, 22);
  frame.set([192, 168, 7, 2], 28);
  frame.set(parseIpv4Address(target) as Uint8Array, 38);
  return frame;
}

/** Sends frames on the neighbour's side, as fast as they are taken. */
function send(neighbour: Namespace, frames: readonly Uint8Array[]): void {
  const link = neighbour.enter(() =>
    openRawLink(
      { interface: 'eth' },
      () => {},
      () => {},
    ),
  );
  for (const frame of frames) link.send(frame);
  link.close();
}

maybe(
  'a broker away while hundreds of hosts are woken, and kill -9 in the middle: all is told after it, in order',
  async () => {
    const { gateway, neighbour } = home();
    const hosts = 200;
    const addressOf = (i: number) => `192.168.8.${i + 1}`;
    const store = openStore(gateway.path('store'), { onFault: fault => assert.unreachable(fault.message) });
    for (let i = 0; i < hosts; i++) {
      const mac = `02:00:00:00:08:${i.toString(16).padStart(2, '0')}`;
      const text = JSON.stringify({ mac, ipv4: [addressOf(i)], state: 'asleep' });
      store.save(`host/h${i}`, new Uint8Array(Buffer.from(text)));
    }
    await store.close();
    await gateway.startBroker();
    await gateway.listen();
    const first = await gateway.start();
    await gateway.ready();
    await eventually('all asleep', () => gateway.heard('event/asleep').length === hosts);
    await gateway.put('rule/wake', { trigger: { asked: true }, action: 'wake' });
    // A rule whose time runs out while nobody listens.
    await gateway.put('rule/short', { ...answer, timeout: '3s' });
    await gateway.stopBroker();
    await first.says(/<4>lost mqtt/);
    const ask = (from: number, to: number) =>
      send(
        neighbour,
        Array.from({ length: to - from }, (_, i) => question(addressOf(from + i))),
      );
    ask(0, 100);
    // Behind a topic stands the next key of the record's map (CBOR: a text of 6 bytes).
    const onDisk = (name: string) =>
      readFileSync(gateway.path('store/outbox/state'), 'latin1').split(`event/${name}fretain`).length - 1;
    await eventually('the events on disk', () => onDisk('wake') === hosts / 2);
    await first.kill('SIGKILL');
    const second = await gateway.start(/no broker answers/);
    // The first life's stand there too, with what says that they were acknowledged.
    await eventually('all asleep again', () => onDisk('asleep') === 2 * hosts);
    ask(100, hosts);
    await eventually('the others on disk', () => onDisk('wake') === hosts);
    // Its back-off is at some seconds now, and the short rule's time is over.
    await new Promise(resolve => setTimeout(resolve, 6_000));
    await gateway.startBroker();
    await gateway.listen();
    const waitedFrom = Date.now();
    await second.says(/connected to/, 40_000);
    console.log(`back after ${Date.now() - waitedFrom} ms`);
    await gateway.ready();
    await eventually('the last event', () => gateway.heard('event/wake').length >= hosts);
    await eventually(
      'the rule that expired',
      () => gateway.last('rule/short/status')?.['status'] === 'expired',
    );
    assert.is(gateway.last('rule/wake/status')?.['status'], 'accepted');
    const wakes = gateway.heard('event/wake').map(said => decoded(said) ?? {});
    assert.is(new Set(wakes.map(({ host }) => host)).size, hosts);
    // Within a life the sequence numbers of all events rise without a gap: nothing lost, nothing out of order.
    const lives = new Map<unknown, number[]>();
    const all = ['wake', 'wake-failed', 'fault', 'asleep', 'gone'].flatMap(name =>
      gateway.heard(`event/${name}`),
    );
    for (const { boot, seq } of all.map(said => decoded(said) ?? {}))
      lives.set(boot, [...(lives.get(boot) ?? []), seq as number]);
    assert.is(lives.size, 2);
    for (const seqs of lives.values()) {
      const sorted = [...seqs].sort((a, b) => a - b);
      assert.equal(
        sorted,
        sorted.map((_, i) => sorted[0] + i),
      );
    }
    for (const life of lives.keys()) {
      const seqs = wakes.filter(({ boot }) => boot === life).map(({ seq }) => seq as number);
      assert.equal(
        seqs,
        [...seqs].sort((a, b) => a - b),
      );
    }
  },
);

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

(available && needs('openssl', 'openssl') ? test : test.skip)(
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

maybe(
  'twenty crashes at any moment while rules change and the kibbutz sends: what was said to be accepted is kept, and no number is used twice',
  async () => {
    const seed = Date.now() >>> 0;
    console.log(`seed ${seed}`);
    const random = new Random(seed, 'crashes');
    const { gateway } = home({
      jobs: {
        powerProxy: { stubs: '.' },
        kibbutz: {
          registrationFile: 'registration.json',
          local: { interface: 'lan' },
          provider: { host: '127.0.0.1', port: 4999 },
          tun: { addresses: ['10.1.0.1/24'] },
          owner: { quotaBytes: 1_000_000_000, neighbourShare: 0.5, minimumPacketsPerMinute: 0 },
          tail: '10s',
          promotion: '1s',
          exchange: '200ms',
          uplinkBitsPerSecond: 2_000_000,
        },
      },
    });
    gateway.write(
      'registration.json',
      JSON.stringify({ member: 7, aead: 1, generation: 1, key: '07'.repeat(16) }),
    );
    await bundle(gateway);
    const { namespace } = gateway;
    const shell = (text: string, ready: RegExp) => {
      const [program, ...words] = namespace.command('sh', '-c', text);
      return Process.start(program, words, ready);
    };
    const provider = await shell(
      `exec ${process.execPath} -e "const s = require('dgram').createSocket('udp4'); s.on('message', m => console.log(m.toString('hex'))); s.bind(4999, '127.0.0.1', () => console.log('open'))"`,
      /open/,
    );
    await gateway.startBroker();
    await gateway.listen();
    await shell('while :; do ping -n -c 20 -i 0.01 -W 1 10.1.0.2 2>&1; sleep 0.05; echo; done', /\n/);
    const trigger = `"trigger":{"arp":{"operation":"request","targetAddress":"192.168.7.9"}}`;
    await shell(
      `i=0; while :; do i=$((i+1)); mosquitto_pub -q 1 -r -t kith/1/home/gw-1/rule/r$((i%8)) -m '{"host":"${hostMac}",${trigger},"action":"respond","priority":'$i'}'; echo; done`,
      /\n/,
    );
    let startMs = 0;
    for (let i = 0; i < 20; i++) {
      const from = Date.now();
      const daemon = await gateway.start();
      startMs = Math.max(startMs, Date.now() - from);
      await new Promise(resolve => setTimeout(resolve, random.below(1500)));
      await daemon.kill('SIGKILL');
      assert.not.match(daemon.output, /damaged|left aside/);
    }
    const store = openStore(gateway.path('store'), { onFault: fault => assert.unreachable(fault.message) });
    const saved = store.saved();
    await store.close();
    let accepted = 0;
    for (let i = 0; i < 8; i++) {
      // The broker's messages in its order; whose digest is which is found from the payloads.
      const published = gateway.heard(`rule/r${i}`).map(({ payload }) => digest(payload));
      const told = gateway
        .heard(`rule/r${i}/status`)
        .map(said => decoded(said) ?? {})
        .filter(({ status }) => status === 'accepted');
      const last = Math.max(-1, ...told.map(status => published.indexOf(status['digest'] as string)));
      accepted += told.length;
      const record = decodeCbor(saved[`rule/r${i}`] ?? new Uint8Array(0), { depth: 2 });
      const { payload } = (record.ok ? record.value : {}) as { payload?: Uint8Array };
      const kept = payload ? published.indexOf(digest(payload)) : -1;
      assert.ok(kept >= last, `rule/r${i}: kept number ${kept}, accepted ${last} of ${published.length}`);
    }
    // Envelopes: kind in the first byte, 8 bytes of number behind six; under one key no number twice (GCM).
    const numbers = provider.output.split('\n').filter(line => line.length > 60);
    const used = numbers.map(line => line.slice(0, 28));
    assert.is(new Set(used).size, used.length);
    const kept = decodeCbor(saved[registrationKey], { depth: 1 });
    const { nonceThrough } = (kept.ok ? kept.value : {}) as { nonceThrough: number };
    const highest = Math.max(...used.map(line => Number.parseInt(line.slice(12), 16)));
    assert.ok(nonceThrough >= highest, `${nonceThrough} of ${highest}`);
    // What is kept as used of the quota runs ahead of what was used.
    const owner = decodeCbor(saved['kibbutz/owner'], { depth: 1 });
    const { ownBytes } = (owner.ok ? owner.value : {}) as { ownBytes: number };
    const sentBytes = numbers.reduce((sum, line) => sum + line.length / 2, 0);
    assert.ok(ownBytes >= sentBytes, `${ownBytes} of ${sentBytes}`);
    console.log(
      `${accepted} rules accepted, ${used.length} envelopes, highest number ${highest}, start at most ${startMs} ms`,
    );
    assert.ok(accepted > 20 && used.length > 50, 'enough happened');
  },
);

maybe(
  'floods of rules, of messages of megabytes, and of frames of ten thousand hosts: memory stays bounded, work goes on',
  async () => {
    const seed = Date.now() >>> 0;
    console.log(`seed ${seed}`);
    const random = new Random(seed, 'flood');
    const { gateway, neighbour } = home();
    await bundle(gateway);
    await gateway.startBroker();
    // Not the megabytes.
    await gateway.listen('state', 'info', '+/+/status', 'telemetry/+');
    // As the service units set it; and a heap that a leak of a few bytes a frame would end.
    const daemon = await gateway.start(/connected to/, [
      'env',
      'NODE_OPTIONS=--max-semi-space-size=1 --v8-pool-size=0 --max-old-space-size=32',
    ]);
    await gateway.ready();
    await gateway.put('rule/arp', answer);
    await gateway.put('rule/learn', { trigger: { asked: true }, action: 'respond', priority: 1 });
    const memory = (field: string) =>
      Number(
        new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1],
      ) / 1024;
    const restMiB = memory('VmRSS');
    // Frames: of ten thousand hosts that announce themselves, and of nobody with random bytes.
    for (let round = 0; round < 10; round++) {
      const frames: Uint8Array[] = [];
      for (let i = 0; i < 1000; i++) {
        const n = round * 1000 + i;
        frames.push(question(`192.168.${n >>> 8}.${n & 255}`, `02:00:00:07:${hex(n >>> 8)}:${hex(n & 255)}`));
        const noise = new Uint8Array(60 + random.below(1400)).map(() => random.below(256));
        noise.set([8, 0], 12);
        frames.push(noise);
      }
      send(neighbour, frames);
      // A queue of the kernel's that runs over tests nothing of ours.
      await new Promise(resolve => setTimeout(resolve, 200));
    }
    await eventually('most of the frames', () => gateway.counter('power-proxy', 'agent.frames') > 15_000);
    const framesMiB = memory('VmRSS');
    // Messages: ten thousand rules, a hundred of a megabyte, and a retained one of 64.
    const script = `
    import { connectAsync } from 'mqtt';
    const client = await connectAsync('mqtt://127.0.0.1:1883');
    const rule = i => JSON.stringify({ ...${JSON.stringify(answer)}, priority: i });
    const topic = name => 'kith/1/home/gw-1/rule/' + name;
    const big = Buffer.alloc(1_000_000, 32);
    const all = [];
    for (let i = 0; i < 10_000; i++) {
      all.push(client.publishAsync(topic('f' + i), rule(i), { qos: 1 }));
      if (i % 50 === 0) await Promise.all(all.splice(0));
    }
    for (let i = 0; i < 100; i++) await client.publishAsync(topic('big'), big, { qos: 1 });
    await client.publishAsync(topic('big'), Buffer.alloc(64_000_000, 32), { qos: 1, retain: true });
    await client.publishAsync(topic('end'), rule(0), { qos: 1 });
    await client.endAsync();
    console.log('sent');`;
    const [program, ...words] = gateway.namespace.command(
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    );
    await Process.start(program, words, /sent/);
    await eventually('all judged', () => gateway.last('rule/end/status') !== undefined, 60_000);
    assert.match(String(gateway.last('rule/big/status')?.['reason']), /at most 4096 bytes/);
    assert.match(String(gateway.last('rule/f9999/status')?.['reason']), /at most 256 rules/);
    const messagesMiB = memory('VmRSS');
    const peakMiB = memory('VmHWM');
    console.log(
      `resident: ${restMiB.toFixed(0)} MiB at rest, ${framesMiB.toFixed(0)} after frames, ${messagesMiB.toFixed(0)} after messages, ${peakMiB.toFixed(0)} at most`,
    );
    assert.ok(isAnswered(neighbour));
    assert.ok(peakMiB < 160, 'MemoryMax of the service unit');
    assert.is(daemon.output.split('connected to').length - 1, 1);
    // The retained one comes at each start.
    await daemon.kill('SIGKILL');
    await gateway.start(/connected to/);
    assert.ok(isAnswered(neighbour));
  },
);

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** Loaded into the daemon by `wrapper`, it makes happen what `say` says (trouble-shim.c). */
function shimOf(gateway: Gateway): { readonly wrapper: readonly string[]; say(what: string): void } {
  const source = fileURLToPath(new URL('trouble-shim.c', import.meta.url));
  const library = gateway.path('trouble.so');
  execFileSync('gcc', ['-shared', '-fPIC', '-O2', '-o', library, source]);
  const file = gateway.write('trouble', '');
  return {
    wrapper: ['env', `LD_PRELOAD=${library}`, `KITH_TROUBLE=${file}`],
    say: what => gateway.write('trouble', what),
  };
}

test.run();
