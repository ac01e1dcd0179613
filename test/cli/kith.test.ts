/** The main job and the commands, as a person runs them: in processes of their own, over real MQTT. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '../support/needs.js';
import { eventually, freePort, Process } from '../support/process.js';

const rule =
  '{"host":"3c:22:fb:01:02:03","trigger":{"tcp":{"dstPort":22,"flags":"syn"}},"action":"wake","timeout":"30m"}';

let directory = '';
test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kith-cli-'));
});
test.after.each(() => Process.killAll());
test.after(() => rm(directory, { recursive: true }));

test('the main job: nodes report, a rule is judged and wakes a host, a bad one is refused, Ctrl-C ends it', async () => {
  const port = await freePort();
  const broker = ['--broker', `mqtt://127.0.0.1:${port}`];
  const data = join(directory, 'up');
  const start = () =>
    Process.kith([
      'up',
      '--data',
      data,
      '--port',
      String(port),
      '--ws-port',
      '0',
      '--homes',
      '3',
      '--speed',
      '20',
      '--seed',
      '7',
    ]);
  let up = await start();
  assert.match(up.output, `mqtt://127.0.0.1:${port}`);
  await eventually('three nodes ready', async () => {
    const { output } = await Process.runKith(['node', 'ls', ...broker]);
    return (
      output.split('\n').filter(line => / ready jobs=power-proxy missing=kibbutz,pppoe,update /.test(line))
        .length === 3
    );
  });

  const watching = await Process.kith(
    ['watch', 'gw-1', '--json', ...broker],
    /"topic":"kith\/1\/home\/gw-1\/info"/,
  );
  const put = await Process.runKith(['rule', 'put', 'gw-1', 'ssh-desktop', rule, ...broker]);
  assert.equal([put.code, put.output], [0, 'accepted, revision 1\n']);
  await watching.says(
    /event\/wake","retained":false,"body":\{[^}]*"packet":"tcp 192\.168\.1\.20:\d+ > 192\.168\.1\.10:22 syn"/,
  );
  await watching.says(/event\/awake/);
  assert.is(await watching.kill('SIGINT'), 0);
  await up.says(/home\/gw-1 wake: rule ssh-desktop, 3c:22:fb:01:02:03, tcp/);

  const bad = await Process.runKith([
    'rule',
    'put',
    'gw-1',
    'ssh-desktop',
    '{"trigger":{"tcp":{"dstprt":22}},"action":"wake"}',
    ...broker,
  ]);
  assert.is(bad.code, 1);
  assert.match(bad.output, /rejected: trigger\.tcp\.dstprt: expected .*dstPort/);
  const [listed] = (await Process.runKith(['rule', 'ls', 'home/gw-1', '--json', ...broker])).output
    .split('\n')
    .filter(line => line.includes('"rule":"ssh-desktop"'))
    .map(line => JSON.parse(line));
  assert.equal(
    [listed.standing, listed.reported.field, listed.reported.revision],
    ['rejected', 'trigger.tcp.dstprt', 1],
  );
  assert.ok(listed.reported.inForce, 'the last good rule stays in force');

  // What must survive an orderly end and a new start: the rule, and telemetry that no boot counts twice.
  assert.is(await up.kill('SIGINT'), 0);
  up = await start();
  await eventually('the rule judged by the next life', async () => {
    const { output } = await Process.runKith(['rule', 'get', 'gw-1', 'ssh-desktop', ...broker]);
    return output.includes('"standing": "rejected"');
  });
  assert.is((await Process.runKith(['rule', 'rm', 'gw-1', 'ssh-desktop', ...broker])).code, 0);
  await eventually('the rule gone', async () => {
    const { code, output } = await Process.runKith(['rule', 'get', 'gw-1', 'ssh-desktop', ...broker]);
    return code === 1 && output.includes('there is no rule ssh-desktop');
  });
  const busy = await Process.runKith([
    'coordinator',
    '--data',
    join(directory, 'busy'),
    '--port',
    String(port),
  ]);
  assert.is(busy.code, 1);
  assert.match(busy.output, new RegExp(`${port}.*--port`));
  const twice = await Process.runKith(['coordinator', '--data', data, '--port', '0', '--ws-port', '0']);
  assert.is(twice.code, 1);
  assert.match(twice.output, /in use/);
  assert.is(await up.kill('SIGTERM'), 0);
});

(needs('mosquitto_pub', 'mosquitto-clients') ? test : test.skip)(
  'the rule of the design, published with mosquitto_pub, is answered on its status topic and mirrored as JSON',
  async () => {
    const port = await freePort();
    const up = await Process.kith([
      'up',
      '--data',
      join(directory, 'pub'),
      '--port',
      String(port),
      '--ws-port',
      '0',
      '--homes',
      '1',
    ]);
    const at = ['-h', '127.0.0.1', '-p', String(port)];
    const mirror = await Process.start(
      'mosquitto_sub',
      [...at, '-v', '-t', 'kith/json/home/gw-1/#'],
      /json\/home\/gw-1\/state \{"state":"ready"/,
    );
    const message =
      '\n{"host":"3c:22:fb:01:02:03","trigger":{"tcp":{"dstPort":22,"flags":"syn"}},"action":"wake","timeout":"30s"}';
    const topic = 'kith/1/home/gw-1/rule/ssh-desktop';
    assert.is((await Process.run('mosquitto_pub', [...at, '-r', '-t', topic, '-m', message])).code, 0);
    await mirror.says(/rule\/ssh-desktop\/status .*"status":"accepted"/);
    await Process.run('mosquitto_pub', [...at, '-r', '-t', topic, '-m', '{"action":"wake"}']);
    await mirror.says(/ssh-desktop\/status (?=.*"status":"rejected")(?=.*"field":"trigger")(?=.*"inForce")/);
    await mirror.kill('SIGTERM');
    assert.is(await up.kill('SIGINT'), 0);
  },
);

test('long work shows progress on a terminal, and none in a pipe', async () => {
  const args = ['sim', 'street', '--homes', '30', '--duration', '2h'];
  assert.not.match((await Process.runKith(args)).output, /%/);
  const terminal = await Process.runKithOnTerminal(args);
  assert.is(terminal.code, 0);
  assert.match(terminal.output, /simulating street \d+ %/);
});

test('errors say what to do, on standard error, with exit code 1', async () => {
  const nowhere = ['--broker', `mqtt://127.0.0.1:${await freePort()}`];
  const text = join(directory, 'text.pcap');
  await writeFile(text, 'this is no capture, whatever its name says');
  const cases: [string[], RegExp][] = [
    [['node', 'ls', ...nowhere], /no broker answers at mqtt:.*kith up/],
    [['node', 'ls', '--broker', 'localhost'], /--broker: expected mqtt:\/\/host:port/],
    [['rule', 'put', 'GW', 'a', '{}', ...nowhere], /node: expected <node> or <site>\/<node>/],
    [['rule', 'put', 'gw-1', 'A', '{}', ...nowhere], /rule: expected an id/],
    [['rule', 'put', 'gw-1', 'a', '@/nowhere', ...nowhere], /rule file \/nowhere/],
    [['rule', 'put', 'gw-1', 'a', '', ...nowhere], /expected a map in JSON or CBOR/],
    [['decode', '/nowhere.pcap'], /nowhere\.pcap/],
    [['decode', text], /text\.pcap/],
    [['sim', 'nowhere'], /scenario: expected one of home, street/],
    [['sim', 'home', '--seed', 'x'], /expected a whole number/],
    [['sim', 'home', '--duration', '10'], /unit \(ms, s, m, h, d\)/],
    [['up', '--port', '70000'], /0 to 65535/],
    [['up', '--speed', '0'], /above 0/],
    [['cordinator'], /Did you mean coordinator/],
  ];
  for (const [args, expected] of cases) {
    const { code, output } = await Process.runKith(args);
    assert.is(code, 1, args.join(' '));
    assert.match(output, expected);
    assert.not.match(output, /\n\s+at /, 'no stack');
  }
});

test.run();
