/** `kith proxy replay` and `kith rule put --dry-run` as a person runs them. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { capturePath } from '../support/captures.js';
import { eventually, freePort, Process } from '../support/process.js';

let directory = '';
test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kith-proxy-'));
});
test.after.each(() => Process.killAll());
test.after(() => rm(directory, { recursive: true }));

async function file(name: string, value: unknown): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

const sleeper = { mac: '02:00:00:00:00:99', ipv4: ['10.0.0.1'], state: 'asleep' };
const rules = {
  arp: { trigger: { arp: { operation: 'request' } }, action: 'respond', responder: 'arp' },
  rest: { trigger: { any: true }, action: 'drop', priority: 0 },
};

test('a replay prints a verdict a frame, a summary, and writes what the proxy would have sent', async () => {
  const hosts = await file('hosts.json', [sleeper]);
  const ruleFile = await file('rules.json', rules);
  const written = join(directory, 'out.pcap');
  const replay = (more: string[]) =>
    Process.runKith([
      'proxy',
      'replay',
      capturePath('arp-who-has.pcap'),
      '--hosts',
      hosts,
      '--rules',
      ruleFile,
      ...more,
    ]);
  const json = await replay(['--json', '--write', written]);
  assert.is(json.code, 0, json.output);
  const [first, second, { summary }] = json.output
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  assert.equal([first.frame, first.verdict, first.rule], [1, 'answered', 'arp']);
  assert.is(second.frame, 2);
  assert.equal([summary.frames, summary.responses, summary.rules.arp.hits], [2, 1, 1]);
  assert.is(summary.hosts[0].asleepShare.proxy, 1);
  assert.is(summary.hosts[0].wakes['wake-on-packet'], 1);
  const decoded = await Process.runKith(['decode', written]);
  assert.match(decoded.output, / arp reply 10\.0\.0\.1 → 10\.0\.0\.2\n/);
  assert.is(decoded.output.trim().split('\n').length, summary.sent.frames);

  const text = await replay([]);
  assert.is(text.code, 0, text.output);
  assert.match(text.output, /^answered +arp +1 0\.000000 .* arp request 10\.0\.0\.2 → 10\.0\.0\.1\n/);
  assert.match(text.output, /\n2 frames in 0\.006 s: .*1 answered/);
  assert.match(text.output, /of always-on +100\.0 % +1\.2 %/);
});

test('what is wrong with the words, the files or the capture is told in a sentence, with exit code 1', async () => {
  const hosts = await file('good-hosts.json', [sleeper]);
  const good = await file('good-rules.json', rules);
  const run = (capture: string, hostFile: string, ruleFile: string, ...more: string[]) =>
    Process.runKith(['proxy', 'replay', capture, '--hosts', hostFile, '--rules', ruleFile, ...more]);
  const arp = capturePath('arp-who-has.pcap');
  const bad = async (name: string, value: unknown) => file(name, value);
  for (const [ran, error] of [
    [run(arp, join(directory, 'none.json'), good), /^kith: .*none\.json: ENOENT/],
    [
      run(arp, await bad('h.json', [{ mac: 'x' }]), good),
      /^kith: .*h\.json: \[0\]\.mac: expected a MAC address/,
    ],
    [
      run(arp, hosts, await bad('r.json', { ssh: { trigger: { tcp: { dstprt: 22 } }, action: 'wake' } })),
      /^kith: .*r\.json: ssh\.trigger\.tcp\.dstprt: expected/,
    ],
    [run(join(directory, 'none.pcap'), hosts, good), /kith: .*none\.pcap: .*ENOENT/],
    [run(hosts, hosts, good), /kith: .*good-hosts\.json: not a capture: expected/],
    [run(arp, hosts, good, '--write', directory), /^kith: --write .*EISDIR/],
  ] as const) {
    const { code, output } = await ran;
    assert.is(code, 1, output);
    assert.match(output, error);
  }
});

test('a dry run tells what a rule would have done, from the record and from a capture, and publishes nothing', async () => {
  const port = await freePort();
  const broker = ['--broker', `mqtt://127.0.0.1:${port}`];
  const up = [
    'up',
    '--data',
    join(directory, 'up'),
    '--port',
    String(port),
    '--ws-port',
    '0',
    '--homes',
    '1',
  ];
  await Process.kith([...up, '--speed', '20', '--seed', '7']);
  const dry = (id: string, rule: unknown, ...more: string[]) =>
    Process.runKith(['rule', 'put', 'gw-1', id, JSON.stringify(rule), '--dry-run', ...more, ...broker]);
  await Process.runKith(['rule', 'put', 'gw-1', 'rest', JSON.stringify(rules.rest), ...broker]);
  const host = '3c:22:fb:01:02:03';
  const wake = { host, trigger: { tcp: { dstPort: 22, flags: 'syn' } }, action: 'wake', priority: 200 };
  let output = '';
  await eventually('an answer that counts telemetry', async () => {
    const ran = await dry('ssh', wake);
    assert.is(ran.code, 0, ran.output);
    output = ran.output;
    return /\nin \d+\w+ of telemetry the node heard \d+ frames, \d+ that no rule took\n/.test(output);
  });
  assert.match(
    output,
    /^dry run of ssh at home\/gw-1, from what the coordinator has recorded; nothing was published\n/,
  );
  assert.match(output, /\nit would be tried 1\. of 3\n/);
  assert.match(output, /\nit takes some of the frames of rest: it had \d+ in at most /);
  await Process.runKith([
    'rule',
    'put',
    'gw-1',
    'all-tcp',
    JSON.stringify({ ...wake, priority: 100 }),
    ...broker,
  ]);
  await eventually('a wake that is recorded', async () => {
    const ran = await dry('ssh', wake);
    return /\nof \d+ recorded packets since .* it matches [1-9]\d*; .*\n {2}\d+ × tcp \S+ > \S+:22 syn \(wake by all-tcp\)\n/.test(
      ran.output,
    );
  });
  assert.match(output, /\nnot known: how many frames it would have had/);

  const hosts = await file('dry-hosts.json', [sleeper]);
  const capture = ['--capture', capturePath('arp-who-has.pcap'), '--hosts', hosts];
  const replayed = await dry('arp', rules.arp, ...capture);
  assert.is(replayed.code, 0, replayed.output);
  assert.match(replayed.output, /\nit decides 1 frames: 1 answered, and wakes 0 times\n/);
  assert.match(replayed.output, /\nwithout it these are decided by: 1 rest\n/);
  assert.match(replayed.output, /\nwakes 0 → 0, responses 0 → 1, drops 1 → 0\n/);

  const wrong = await dry('ssh', { trigger: { tcp: { dstprt: 22 } }, action: 'wake' });
  assert.is(wrong.code, 1);
  assert.match(wrong.output, /^kith: rejected: trigger\.tcp\.dstprt: expected/);
  const listed = await Process.runKith(['rule', 'ls', 'gw-1', ...broker]);
  assert.match(listed.output, /home\/gw-1\/rest accepted/);
  assert.not.match(listed.output, /home\/gw-1\/(ssh|arp) /, 'only what was put without --dry-run is there');
});

test('the words of a dry run are refused without --dry-run, and hosts without a capture', async () => {
  const put = ['rule', 'put', 'gw-1', 'x', '{}', '--broker', 'mqtt://127.0.0.1:1'];
  const capture = await Process.runKith([...put, '--capture', 'x.pcap']);
  assert.equal([capture.code, capture.output], [1, 'kith: --capture and --hosts: expected with --dry-run\n']);
  const hosts = await Process.runKith([...put, '--dry-run', '--hosts', 'x.json']);
  assert.is(hosts.code, 1);
  assert.match(hosts.output, /^kith: --hosts: expected with --capture/);
});

test.run();
