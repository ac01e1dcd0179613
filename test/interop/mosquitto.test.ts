/** The coordinator and live nodes on a broker no one here wrote: Debian's mosquitto, MQTT 3.1.1 and 5. */

import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeCbor } from '../../agent/message/cbor.js';
import { askNode, listNodes } from '../../host-sim/cli/watch.js';
import { ruleStanding } from '../../host-sim/coordinator/coordinator.js';
import { startCoordinator } from '../../host-sim/coordinator/start.js';
import { buildWorld } from '../../host-sim/scenario/scenario.js';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { LiveClock, MqttBus } from '../../host-sim/sim/live.js';
import { needs } from '../support/needs.js';
import { eventually, freePort, Process } from '../support/process.js';

const here = needs('mosquitto', 'mosquitto') && needs('mosquitto_pub', 'mosquitto-clients');
const check = here ? test : test.skip;
const rule =
  '{"host":"3c:22:fb:01:02:03","trigger":{"tcp":{"dstPort":22,"flags":"syn"}},"action":"wake","timeout":"30s"}';

let directory = '';
let port = 0;
let url = '';
test.before.each(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kith-mosquitto-'));
  port = await freePort();
  url = `mqtt://127.0.0.1:${port}`;
});
test.after.each(async () => {
  await Process.killAll();
  await rm(directory, { recursive: true });
});

async function mosquitto(extra = ''): Promise<Process> {
  const config = join(directory, 'mosquitto.conf');
  await writeFile(config, `listener ${port} 127.0.0.1\n${extra || 'allow_anonymous true'}\n`);
  return Process.start('mosquitto', ['-v', '-c', config], /mosquitto version .* running/);
}

const publish = (topic: string, message: string, ...more: string[]) =>
  Process.run('mosquitto_pub', [
    '-h',
    '127.0.0.1',
    '-p',
    String(port),
    '-q',
    '1',
    '-t',
    topic,
    '-m',
    message,
    ...more,
  ]);

function street(homes: number): { stop(): Promise<void> } {
  const kernel = new Kernel();
  const clock = new LiveClock(kernel, 1);
  const bus = new MqttBus(url, clock, () => {});
  const world = buildWorld('street', { seed: 1, homes }, { kernel, bus });
  clock.start();
  return {
    async stop() {
      clock.enter(() => world.stop());
      clock.stop();
      await bus.close();
    },
  };
}

for (const mqttVersion of [4, 5] as const) {
  check(
    `on MQTT ${mqttVersion === 4 ? '3.1.1' : '5'} nodes report, a rule is judged, and a lost broker is found again`,
    async () => {
      let broker = await mosquitto();
      const log: string[] = [];
      const running = await startCoordinator({
        directory,
        broker: url,
        mqttVersion,
        log: text => log.push(text),
      });
      const { coordinator } = running;
      const homes = street(2);
      await eventually(
        'two nodes ready',
        () => coordinator.nodeList().filter(node => node.state === 'ready').length === 2,
      );
      await eventually('telemetry', () => coordinator.counters.get('telemetry.stored') >= 2);
      assert.is((await publish('kith/1/home/gw-1/rule/ssh-desktop', rule, '-r')).code, 0);
      const standing = () => coordinator.ruleList().find(one => one.rule === 'ssh-desktop');
      await eventually('the rule accepted', () => {
        const found = standing();
        return found !== undefined && ruleStanding(found) === 'accepted';
      });
      assert.equal(
        (await listNodes(url)).map(row => [row.node, row.state]),
        [
          ['gw-1', 'ready'],
          ['gw-2', 'ready'],
        ],
      );

      const asked = await askNode(url, { site: 'home', node: 'gw-1' }, 5);
      assert.is((asked['node'] as { state: string }).state, 'ready');

      await broker.kill('SIGKILL');
      await eventually('the loss noticed', () => log.some(text => text.includes('lost')));
      broker = await mosquitto();
      // Its retained messages died with it: what it lists now, the nodes said anew.
      await eventually('both nodes back', async () => {
        const rows = await listNodes(url);
        return rows.length === 2 && rows.every(row => row.state === 'ready');
      });
      await eventually('the coordinator back', () =>
        askNode(url, { site: 'home', node: 'gw-1' }, 0).then(
          () => true,
          () => false,
        ),
      );
      await homes.stop();
      await eventually('an orderly end', () =>
        coordinator.nodeList().every(node => node.state === 'disconnected'),
      );
      await running.close();
      await broker.kill('SIGTERM');
    },
  );
}

check(
  'what arrives while the coordinator is away is kept by the broker and stored when it is back',
  async () => {
    const broker = await mosquitto();
    const options = { directory, broker: url, log: () => {} };
    await (await startCoordinator(options)).close();
    for (let seq = 0; seq < 5; seq++) {
      const body = encodeCbor({ boot: '0badcafe', seq, uptime: seq, counters: {} });
      const file = join(directory, `body-${seq}`);
      await writeFile(file, body);
      const args = [
        '-h',
        '127.0.0.1',
        '-p',
        String(port),
        '-q',
        '1',
        '-t',
        'kith/1/home/gw-9/telemetry/t',
        '-f',
        file,
      ];
      assert.is((await Process.run('mosquitto_pub', args)).code, 0);
    }
    const running = await startCoordinator(options);
    await eventually('five messages', () => running.coordinator.counters.get('telemetry.stored') === 5);
    await running.close();
    // Nothing is left to send: all five were acknowledged.
    const again = await startCoordinator(options);
    await publish('kith/1/home/gw-9/state', 'ready');
    await eventually('the state', () => again.coordinator.nodeList().some(node => node.state === 'ready'));
    assert.equal(
      [
        again.coordinator.counters.get('telemetry.stored'),
        again.coordinator.counters.get('telemetry.duplicate'),
      ],
      [0, 0],
    );
    await again.close();
    await broker.kill('SIGTERM');
  },
);

(here && needs('openssl', 'openssl') ? test : test.skip)(
  'over TLS the broker is believed by its certificate only, and a password in the URL is used and never shown',
  async () => {
    const key = join(directory, 'key.pem');
    const certificate = join(directory, 'cert.pem');
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const made = await Process.run('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject],
      ...['-keyout', key, '-out', certificate],
    ]);
    assert.is(made.code, 0, made.output);
    const passwords = join(directory, 'passwords');
    assert.is((await Process.run('mosquitto_passwd', ['-b', '-c', passwords, 'kith', 'secret'])).code, 0);
    // mosquitto gives up root before it reads these.
    await chmod(directory, 0o755);
    for (const file of [key, passwords]) await chmod(file, 0o644);
    const broker = await mosquitto(`certfile ${certificate}\nkeyfile ${key}\npassword_file ${passwords}`);
    const secure = `mqtts://kith:secret@localhost:${port}`;
    const list = (...env: string[]) =>
      Process.run('env', [
        ...env,
        process.execPath,
        ...Process.kithArguments(['node', 'ls', '--broker', secure]),
      ]);
    const stranger = await list();
    assert.is(stranger.code, 1);
    assert.match(stranger.output, /self.signed certificate.*NODE_EXTRA_CA_CERTS/);
    assert.not.match(stranger.output, 'secret');
    const trusted = await list(`NODE_EXTRA_CA_CERTS=${certificate}`);
    assert.equal([trusted.code, trusted.output], [0, '']);
    await broker.kill('SIGTERM');
  },
);

check('a broker that refuses, or none at all, is a clear error', async () => {
  const start = () =>
    startCoordinator({ directory, broker: url, log: () => {} }).then(
      () => 'started',
      error => String(error),
    );
  assert.match(await start(), /no broker answers at .*kith up/);
  const broker = await mosquitto('allow_anonymous false');
  assert.match(await start(), /refuses us.*user and password/);
  await broker.kill('SIGTERM');
});

test.run();
