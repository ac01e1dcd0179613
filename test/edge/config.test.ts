/** The configuration of a gateway: what is taken, and that each fault is told with the path of its field. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readConfig } from '../../edge/linux/config.js';
import { checkAgent } from '../../edge/linux/main.js';
import { needs } from '../support/needs.js';

let directory = '';
test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'kith-config-'));
  writeFileSync(join(directory, 'secret'), 's3cret\r\n');
  writeFileSync(
    join(directory, 'registration.json'),
    JSON.stringify({ member: 7, aead: 1, generation: 1, key: '00'.repeat(16) }),
  );
});
test.after.each(() => rmSync(directory, { recursive: true }));

const link = { name: 'lan', interface: 'br-lan' };
const kibbutz = {
  registrationFile: 'registration.json',
  local: { interface: 'wlan0' },
  provider: { host: 'provider.example', port: 4000 },
  tail: '10s',
  promotion: '2s',
  exchange: '200ms',
  uplinkBitsPerSecond: 2_000_000,
};
const good = {
  site: 'home',
  node: 'gw-1',
  store: 'state',
  broker: { url: 'mqtt://broker.example' },
  links: [link],
  jobs: { powerProxy: {} },
};

function write(value: unknown): string {
  const path = join(directory, 'agent.json');
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

/** What is wrong with it, without the file's name. */
function fault(value: unknown): string {
  const path = write(value);
  const read = readConfig(path);
  if (read.ok) return 'nothing';
  assert.is(read.reason.slice(0, path.length + 2), `${path}: `);
  return read.reason.slice(path.length + 2);
}

test('the smallest configuration is filled up with defaults, and names files from its own directory', () => {
  const read = readConfig(write(good));
  if (!read.ok) throw new Error(read.reason);
  const { store, broker, links, powerProxy, pppoe, kibbutz: none, telemetryMs } = read.value;
  assert.is(store, join(directory, 'state'));
  assert.equal(broker, { url: 'mqtt://broker.example', mqttVersion: 4 });
  assert.equal(links, [{ ...link, promiscuous: false, bulk: false }]);
  assert.equal(powerProxy, { stubs: '/run/kith/stubs' });
  assert.is(pppoe, undefined);
  assert.is(none, undefined);
  assert.is(telemetryMs, 10_000);
});

test('all three jobs at once are read, with their secrets', () => {
  const path = write({
    ...good,
    broker: { url: 'mqtts://broker.example', user: 'gw-1', passwordFile: 'secret', mqtt: '5' },
    links: [{ ...link, addresses: ['192.168.1.1', 'fe80::1'], hearsOthers: false, bulk: true }],
    jobs: {
      powerProxy: { sleepProxy: { name: 'Kith' } },
      pppoe: { link: 'lan', user: 'alice@isp', secretFile: 'secret', vlanIds: [100, 7] },
      kibbutz: { ...kibbutz, owner: { quotaBytes: 1_000_000_000, neighbourShare: 0.1 } },
    },
    limits: { rules: 10 },
    telemetry: '1m',
  });
  const config = checkAgent(path);
  assert.is(config.broker.password?.toString(), 's3cret');
  assert.is(config.broker.mqttVersion, 5);
  assert.is(Buffer.from(config.pppoe?.secret ?? []).toString(), 's3cret');
  assert.equal(
    config.pppoe?.vlanTags?.map(({ tpid, vlanId }) => [tpid, vlanId]),
    [
      [0x88a8, 100],
      [0x8100, 7],
    ],
  );
  assert.is(config.kibbutz?.tailMs, 10_000);
  assert.is(config.kibbutz?.registration.member, 7);
  assert.is(config.limits.rules, 10);
  assert.equal(
    config.links[0].addresses?.map(bytes => bytes.length),
    [4, 16],
  );
});

test('the example that is delivered is right but for the files it names', () => {
  const example = JSON.parse(
    readFileSync(new URL('../../edge/linux/agent.example.json', import.meta.url), 'utf8'),
  );
  const { caFile: _, ...broker } = example.broker;
  assert.is(fault({ ...example, broker: { ...broker, passwordFile: 'secret' } }), 'nothing');
});

test('each fault is told with the path of its field, what was expected and what was found', () => {
  const broker = (more: object) => ({ ...good, broker: { url: 'mqtts://broker.example', ...more } });
  const jobs = (more: object) => ({ ...good, jobs: more });
  const pppoe = { link: 'lan', user: 'alice', secretFile: 'secret' };
  const faults: [unknown, RegExp][] = [
    ['{', /^expected JSON: /],
    [{ ...good, sit: 'home' }, /^sit: expected one of the fields site, node, .*got an unknown field$/],
    [{ ...good, node: 'Gw 1' }, /^node: expected 1 to 32 characters of a-z, 0-9 and -, got "Gw 1"$/],
    [{ ...good, store: undefined }, /^store: expected text .*, got nothing$/],
    [broker({ url: 'http://x' }), /^broker\.url: expected mqtt:\/\/.*, got "http:\/\/x"$/],
    [broker({ url: 'mqtt://' }), /^broker\.url: expected /],
    [broker({ url: 'mqtt://u:pw@x' }), /^broker\.url: expected no user and password .*, got some$/],
    [broker({ mqtt: '3' }), /^broker\.mqtt: expected "3\.1\.1", "5", got "3"$/],
    [broker({ password: 'x' }), /^broker\.user: expected a user beside the password, got nothing$/],
    [
      broker({ user: 'u', password: 'x', passwordFile: 'secret' }),
      /^broker\.passwordFile: expected no broker\.password beside it, got both$/,
    ],
    [
      broker({ user: 'u', passwordFile: 'nothing' }),
      /^broker\.passwordFile: expected a file that can be read, got ENOENT/,
    ],
    [broker({ caFile: 'secret' }), /^broker\.caFile: expected PEM certificates, got /],
    [broker({ certFile: 'secret' }), /^broker\.keyFile: expected certFile and keyFile together/],
    [
      { ...good, broker: { url: 'mqtt://x', caFile: 'secret' } },
      /^broker\.url: expected mqtts:\/\/ or wss:\/\/ beside caFile/,
    ],
    [{ ...good, links: [] }, /^links: expected an array of 1 to 16, got an array of 0$/],
    [
      { ...good, links: [{ ...link, interface: 'a-name-that-is-too-long' }] },
      /^links\[0\]\.interface: expected /,
    ],
    [{ ...good, links: [link, link] }, /^links\[1\]\.name: expected a name of its own, got lan$/],
    [
      { ...good, links: [{ ...link, addresses: ['::1', '300.1.1.1'] }] },
      /^links\[0\]\.addresses\[1\]: expected an IPv4 or IPv6 address, got 300\.1\.1\.1$/,
    ],
    [jobs({}), /^jobs: expected at least one of powerProxy, pppoe and kibbutz, got none$/],
    [
      jobs({ powerProxy: { sleepProxy: { name: '' } } }),
      /^jobs\.powerProxy\.sleepProxy\.name: expected text of 1 to 40/,
    ],
    [jobs({ powerProxy: { stubs: 'd'.repeat(80) } }), /^jobs\.powerProxy\.stubs: expected at most 69 bytes/],
    [jobs({ pppoe: { ...pppoe, link: 'wan' } }), /^jobs\.pppoe\.link: expected one of lan, got wan$/],
    [
      jobs({ pppoe: { ...pppoe, vlanIds: [4095] } }),
      /^jobs\.pppoe\.vlanIds\[0\]: expected an integer 0\.\.4094, got 4095$/,
    ],
    [
      jobs({ pppoe: { ...pppoe, secretFile: 'gone' } }),
      /^jobs\.pppoe\.secretFile: expected a file that can be read/,
    ],
    [
      jobs({ kibbutz: { ...kibbutz, tail: '10' } }),
      /^jobs\.kibbutz\.tail: expected a duration such as 30s or 5m, got "10"$/,
    ],
    [
      jobs({ kibbutz: { ...kibbutz, local: { interface: 'w', group: 'fe80::1' } } }),
      /^jobs\.kibbutz\.local\.group: expected a multicast address, got fe80::1$/,
    ],
    [
      jobs({ kibbutz: { ...kibbutz, registrationFile: 'secret' } }),
      /^jobs\.kibbutz\.registrationFile: expected JSON/,
    ],
    [{ ...good, limits: { rulez: 1 } }, /^limits\.rulez: expected one of the fields /],
    [{ ...good, limits: { outboxEffects: 1 } }, /^limits\.outboxEffects: expected at least 8, got 1$/],
    [{ ...good, telemetry: '10ms' }, /^telemetry: expected at least 1s, got 10ms$/],
  ];
  for (const [value, expected] of faults) assert.match(fault(value), expected);
});

test('what only a job knows to be wrong is told by the check, before anything runs', () => {
  const path = write({ ...good, jobs: { kibbutz: { ...kibbutz, owner: { quotaBytes: -1 } } } });
  assert.throws(() => checkAgent(path), /agent\.json: .*quotaBytes: expected /);
});

test('a file that is too long, and one that is not there, are told by name', () => {
  const path = write(' '.repeat((1 << 20) + 1));
  const long = readConfig(path);
  assert.match(long.ok ? '' : long.reason, /expected at most 1048576 bytes, got 1048577$/);
  const none = readConfig(join(directory, 'none.json'));
  assert.match(none.ok ? '' : none.reason, /none\.json: ENOENT/);
});

(needs('openssl', 'openssl') ? test : test.skip)(
  'certificates are looked at, and that a key is its own',
  () => {
    for (const name of ['a', 'b'])
      execFileSync(
        'openssl',
        `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name} -keyout ${name}.key -out ${name}.pem`.split(
          ' ',
        ),
        { cwd: directory, stdio: 'ignore' },
      );
    const files = (certFile: string, keyFile: string) => ({
      ...good,
      broker: { url: 'mqtts://broker.example', caFile: 'a.pem', certFile, keyFile },
    });
    assert.is(fault(files('a.pem', 'a.key')), 'nothing');
    assert.match(fault(files('a.key', 'a.key')), /^broker\.certFile: expected a PEM certificate, got /);
    assert.match(fault(files('a.pem', 'b.key')), /^broker\.keyFile: expected the certificate's PEM key/);
  },
);

test.run();
