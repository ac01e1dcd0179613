/**
 * What installs Kith on a device: what the daemon tells systemd, what the OpenWrt script tells procd (in BusyBox' ash, the rest
 * of rc.common and procd a few lines of our own), and how `kith flash moddable` drives mcconfig (a stand-in that says what it got).
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { serviceManager } from '../../edge/linux/service-manager.js';
import { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';
import { Gateway } from './gateway.js';

const maybeNotify = needs('socat', 'socat') ? test : test.skip;
const maybeDaemon = Namespace.available({ socat: 'socat' }) ? test : test.skip;
const maybeOpenWrt = needs('busybox', 'busybox') ? test : test.skip;
const maybeSystemd = needs('systemd-analyze', 'systemd') ? test : test.skip;
const checkout = fileURLToPath(new URL('../..', import.meta.url));
const openwrt = join(checkout, 'edge/linux/openwrt');

let directory = '';

test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'kith-install-'));
});
test.after.each(async () => {
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
  rmSync(directory, { recursive: true, force: true });
});

// ---- systemd ----

maybeSystemd('systemd understands every line of the unit, and finds it shut off well', () => {
  const unit = join(directory, 'kith-agent.service');
  const text = readFileSync(join(checkout, 'edge/linux/systemd/kith-agent.service'), 'utf8');
  // Kith is not installed here.
  writeFileSync(unit, text.replace('ExecStart=kith ', 'ExecStart=/bin/true '));
  const said = execFileSync('sh', ['-c', 'systemd-analyze verify "$0" 2>&1', unit], { encoding: 'utf8' });
  assert.equal(
    said.split('\n').filter(line => line.includes('kith-agent')),
    [],
  );
  // Of 100; what is left is what it needs: packets, two capabilities, a device, and no MemoryDenyWriteExecute.
  execFileSync('systemd-analyze', ['security', '--offline=true', '--threshold=30', unit], { stdio: 'pipe' });
});

/** Hears Unix datagrams as systemd does; what they said so far, one behind the other. */
async function hear(address: string): Promise<() => string> {
  const heard = join(directory, 'heard');
  await Process.start('socat', ['-d', '-d', '-u', address, `CREATE:${heard}`], /starting data transfer loop/);
  return () => readFileSync(heard, 'utf8');
}

maybeNotify('an abstract socket is told as well, and nobody where none is named', async () => {
  const name = `kith-install-${process.pid}`;
  const heard = await hear(`ABSTRACT-RECV:${name}`);
  serviceManager({ NOTIFY_SOCKET: `@${name}` }).ready();
  await eventually('READY=1', () => heard() === 'READY=1');
  serviceManager({}).ready();
  serviceManager({ NOTIFY_SOCKET: join(directory, 'nobody') }).ready();
});

test('a watchdog that waits for months, or for nothing that is a time, is no flood of signs of life', async () => {
  const warnings: string[] = [];
  const hear = ({ name }: Error) => void warnings.push(name);
  process.on('warning', hear);
  for (const micros of ['5184000000000', '9'.repeat(20), 'infinity', 'Infinity', '-1', 'x', '']) {
    const manager = serviceManager({ NOTIFY_SOCKET: join(directory, 'nobody'), WATCHDOG_USEC: micros });
    manager.ready();
    await new Promise(resolve => setImmediate(resolve));
    manager.stopping();
  }
  process.off('warning', hear);
  assert.equal(warnings, []);
});

test('whatever is named as the service manager, nobody is told and nothing ends', () => {
  for (const path of [
    'x',
    '/',
    '@',
    '@'.repeat(300),
    `/${'x'.repeat(107)}`,
    '/dev/null',
    directory,
    'vsock:2:9',
    '\u{1f4a5}',
    '/é'.repeat(53),
  ]) {
    const manager = serviceManager({ NOTIFY_SOCKET: path });
    manager.ready();
    manager.reloading();
    manager.stopping();
  }
});

maybeDaemon('the daemon says that it is ready, lives, reads its configuration again, and stops', async () => {
  const gateway = new Gateway(Namespace.make());
  gateway.configure({ links: [{ name: 'lan', interface: 'lo' }] });
  const path = gateway.path('notify');
  const heard = await hear(`UNIX-RECV:${path}`);
  const said = () => [...heard().matchAll(/[A-Z_]+=\d+/g)].map(([word]) => word);
  const count = (word: string) => said().filter(other => other === word).length;
  const daemon = await gateway.start(/runs: /, [
    'env',
    `NOTIFY_SOCKET=${path}`,
    // As if WatchdogSec=100ms.
    'WATCHDOG_USEC=100000',
  ]);
  await eventually('signs of life', () => count('WATCHDOG=1') >= 2);
  assert.is(said()[0], 'READY=1');
  assert.is(count('READY=1'), 1);

  gateway.configure({ links: [{ name: 'lan', interface: 'lo' }], telemetry: '2s' });
  process.kill(daemon.pid!, 'SIGHUP');
  await eventually('ready again', () => count('READY=1') === 2);
  const reload = said().filter(word => word !== 'WATCHDOG=1');
  assert.equal(reload.slice(0, 2), ['READY=1', 'RELOADING=1']);
  assert.match(reload[2] ?? '', /^MONOTONIC_USEC=\d+$/);
  assert.is(reload[3], 'READY=1');

  // One that cannot be read is no end of readiness either.
  gateway.write('agent.json', '{');
  process.kill(daemon.pid!, 'SIGHUP');
  await eventually('ready a third time', () => count('READY=1') === 3);
  assert.is(await daemon.kill('SIGTERM'), 0);
  await eventually('STOPPING=1', () => count('STOPPING=1') === 1);
  assert.is(said().at(-1), 'STOPPING=1');
});

// ---- OpenWrt ----

/** Every word a call was made with, a line a call. */
const procd = `
for call in procd_open_instance procd_close_instance procd_set_param procd_append_param procd_add_jail chown; do
  eval "$call() { echo \\"$call\\" \\"\\$@\\"; }"
done
`;

interface Device {
  /** Whether `kith agent check` is content. */
  readonly configured?: boolean;
  /** Has procd-ujail, the user and the file of capabilities. */
  readonly jail?: boolean;
}

/** What the script says to procd when it is started on a device whose files are in `directory`. */
function started({ configured = true, jail = false }: Device): string[] {
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text, { mode: 0o755 });
  };
  put('usr/bin/kith', `#!/bin/sh\necho "kith $*" >&2\nexit ${configured ? 0 : 1}\n`);
  put('etc/kith/agent.json', '{}');
  put('etc/kith/password', 'secret');
  if (jail) {
    put('sbin/ujail', '');
    put('etc/capabilities/kith.json', '');
  }
  const script = readFileSync(join(openwrt, 'kith-agent.init'), 'utf8');
  put('script', script.replace(/(?<=[\s="])\/(?=(etc|usr|sbin|var|dev)\/)/g, `${directory}/`));
  const common = `${procd}\nid() { ${jail}; }\n. ${directory}/script\nstart_service\n`;
  put('common', common);
  const output = execFileSync('busybox', ['ash', join(directory, 'common')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return output.replaceAll(directory, '').trim().split('\n');
}

const asRoot = [
  'procd_open_instance',
  'procd_set_param command /usr/bin/kith agent --config /etc/kith/agent.json',
  'procd_set_param env NODE_OPTIONS=--max-semi-space-size=1 --v8-pool-size=0',
  'procd_set_param reload_signal HUP',
  'procd_append_param file /etc/kith/agent.json',
  'procd_append_param file /etc/kith/password',
  'procd_set_param respawn 0 5 0',
  'procd_set_param term_timeout 10',
  'procd_set_param stdout 1',
  'procd_set_param stderr 1',
  'procd_close_instance',
];

maybeOpenWrt('procd runs the agent, again and again, and signals it when a file has changed', () => {
  assert.equal(started({}), asRoot);
  const made = execFileSync('find', [directory, '-type', 'd'], { encoding: 'utf8' });
  assert.match(made, /\/etc\/kith\/store\n/);
  assert.match(made, /\/var\/run\/kith\/stubs\n/);
});

maybeOpenWrt('a wrong configuration does not tell procd to stop what runs', () => {
  assert.equal(started({ configured: false }), asRoot);
});

maybeOpenWrt('where it can be, the agent is a user with two capabilities, in a jail that must be', () => {
  assert.equal(started({ jail: true }), [
    ...asRoot.slice(0, -1),
    'chown -R kith /etc/kith/store /var/run/kith',
    'procd_set_param user kith',
    'procd_set_param capabilities /etc/capabilities/kith.json',
    'procd_set_param no_new_privs 1',
    'procd_add_jail kith requirejail',
    'procd_close_instance',
  ]);
  const sets = JSON.parse(readFileSync(join(openwrt, 'capabilities.json'), 'utf8'));
  // All five sets of ujail: one that is left out stays whole.
  assert.equal(Object.keys(sets).sort(), ['ambient', 'bounding', 'effective', 'inheritable', 'permitted']);
  for (const set of Object.values(sets)) assert.equal(set, ['CAP_NET_RAW', 'CAP_NET_ADMIN']);
});

// ---- Moddable ----

interface Surroundings {
  /** What mcconfig ends with. */
  readonly code?: number;
  /** Beside an SDK and an ESP-IDF that are there by name. */
  readonly environment?: { readonly [name: string]: string };
}

/** `kith flash moddable` with an mcconfig that says what it was given. */
async function flash(
  words: readonly string[],
  { code = 0, environment = {} }: Surroundings = {},
): Promise<{ code: number | null; output: string }> {
  for (const folder of ['bin', 'sdk/modules', 'idf']) mkdirSync(join(directory, folder), { recursive: true });
  writeFileSync(join(directory, 'idf/export.sh'), '');
  const stand = `#!/bin/sh\necho "port=$UPLOAD_PORT"\nfor word; do echo "word=$word"; done\nexit ${code}\n`;
  writeFileSync(join(directory, 'bin/mcconfig'), stand);
  chmodSync(join(directory, 'bin/mcconfig'), 0o755);
  const variables = {
    PATH: `${join(directory, 'bin')}:${process.env['PATH']}`,
    MODDABLE: join(directory, 'sdk'),
    IDF_PATH: join(directory, 'idf'),
    UPLOAD_PORT: '',
    ...environment,
  };
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const kith = Process.kithArguments(['flash', 'moddable', ...words]);
  return Process.run('env', [...assignments, process.execPath, ...kith]);
}

const given = (output: string) => [...output.matchAll(/^word=(.*)$/gm)].map(([, word]) => word);

test('mcconfig is given the platform, the manifest, the port and the key of updates', async () => {
  const manifest = join(checkout, 'manifest.json');
  const plain = await flash([]);
  assert.is(plain.code, 0, plain.output);
  assert.equal(given(plain.output), ['-m', '-p', 'esp32', manifest]);
  assert.match(plain.output, /^port=$/m);

  const key = join(directory, 'key.pem');
  const made = await Process.runKith(['firmware', 'key', '--out', key]);
  const point = /^updateKey=04[0-9a-f]{128}$/m.exec(made.output)?.[0];
  assert.ok(point, made.output);
  const port = join(directory, 'ttyUSB0');
  writeFileSync(port, '');
  const words = [
    '--platform',
    'esp32/m5atom',
    '--build-only',
    '--port',
    port,
    '--update-key',
    key,
    '--update-sequence',
    '7',
  ];
  const all = await flash(words);
  assert.is(all.code, 0, all.output);
  assert.equal(given(all.output), [
    '-m',
    '-p',
    'esp32/m5atom',
    '-t',
    'build',
    manifest,
    point,
    'updateSequence=7',
  ]);
  assert.match(all.output, new RegExp(`^port=${port}$`, 'm'));
});

test('what mcconfig says is shown, and its failure is a failure', async () => {
  const { code, output } = await flash(['--build-only'], { code: 3 });
  assert.is(code, 1);
  assert.match(output, /^word=build$/m);
  assert.match(output, /mcconfig ended with 3/);
});

test('what is missing is said before mcconfig is started', async () => {
  const refused = async (words: readonly string[], expected: RegExp, environment = {}) => {
    const { code, output } = await flash(words, { environment });
    assert.is(code, 1);
    assert.match(output, expected);
    assert.equal(given(output), []);
  };
  await refused(['--port', join(directory, 'none')], /port: expected a serial port, .*none is not there/);
  await refused(['--update-key', join(directory, 'none')], /none: cannot be read/);
  await refused([], /missing: MODDABLE, .*; the ESP-IDF in IDF_PATH: .* is another folder/, {
    MODDABLE: '',
    IDF_PATH: directory,
  });
  await refused([], /missing: the SDK in MODDABLE: .* is another folder; IDF_PATH, /, {
    MODDABLE: directory,
    IDF_PATH: '',
  });
});

test.run();
