/**
 * `kith bras` and `kith pppoe` against software no one here wrote, in network namespaces joined by a veth: Debian's
 * pppoe-discovery, pppoe, pppoe-server (rp-pppoe) and slirp, and Debian's pppd, which runs without kernel PPP by the customer's shim
 * (tools/interop/pppshim.c in the folder shared with this project, beside it). What our commands capture, tshark reads.
 *
 * Programs find a private /etc/ppp and /run, and whatever still runs in a namespace after a test is ended.
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';

const shimSource = fileURLToPath(new URL('../../../shared/tools/interop/pppshim.c', import.meta.url));
const daemon = fileURLToPath(new URL('../../edge/linux/main.ts', import.meta.url));
const secret = 's3cr3t pa55';
const wrongSecret = 'wr0ng-gu3ss';

const here =
  Namespace.available({
    'pppoe-server': 'pppoe',
    'pppoe-discovery': 'ppp',
    pppoe: 'pppoe',
    tshark: 'tshark',
    ping: 'iputils-ping',
    unshare: 'util-linux',
  }) && present('/dev/net/tun', 'the kernel has no TUN devices');
const withSlirp = here && needs('slirp-fullbolt', 'slirp') && needs('socat', 'socat');
const withPppd =
  here && needs('pppd', 'ppp') && needs('gcc', 'gcc libc6-dev') && present(shimSource, `no ${shimSource}`);
const maybe = here ? test : test.skip;
const maybeSlirp = withSlirp ? test : test.skip;
const maybePppd = withPppd ? test : test.skip;

let directory = '';
/** The subscriber's side has the interface va, the provider's vb. */
let home: Namespace;
let provider: Namespace;

test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'kith-pppoe-'));
  home = Namespace.make();
  provider = Namespace.make();
  home.connect('va', provider, 'vb');
});
test.after.each(async () => {
  await Process.killAll();
  // What our programs started themselves: pppoe-server leaves its pppd behind.
  for (const namespace of [home, provider])
    for (let tries = 0, pids = processesIn(namespace); pids.length > 0 && tries < 100; tries++) {
      for (const pid of pids) {
        try {
          process.kill(pid, tries < 50 ? 'SIGTERM' : 'SIGKILL');
        } catch {
          // It has ended meanwhile.
        }
      }
      await new Promise(resolve => setTimeout(resolve, 20));
      pids = processesIn(namespace);
    }
  Namespace.removeAll();
  rmSync(directory, { recursive: true });
});

function present(path: string, why: string): boolean {
  if (existsSync(path)) return true;
  console.log(`SKIP: ${why}`);
  return false;
}

function processesIn(namespace: Namespace): number[] {
  const output = execFileSync('ip', ['netns', 'pids', namespace.name], { encoding: 'utf8' });
  return output.split('\n').filter(Boolean).map(Number);
}

/** A file of the test's; its path. */
function file(name: string, text: string, mode = 0o600): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const script = (name: string, ...lines: string[]) =>
  file(name, ['#!/bin/sh', ...lines, ''].join('\n'), 0o700);

function startIn(namespace: Namespace, program: string, args: string[], ready: RegExp): Promise<Process> {
  const [first, ...rest] = namespace.command(program, ...args);
  return Process.start(first, rest, ready);
}

function runIn(namespace: Namespace, program: string, ...args: string[]) {
  const [first, ...rest] = namespace.command(program, ...args);
  return Process.run(first, rest);
}

function kith(namespace: Namespace, args: string[], ready: RegExp): Promise<Process> {
  return startIn(namespace, process.execPath, Process.kithArguments(args), ready);
}

function bras(...more: string[]): Promise<Process> {
  const users = file('users', `alice * "${secret}" *\n`);
  return kith(
    provider,
    ['bras', '--interface', 'vb', '--users', users, '--pool', '10.67.0.0/24', '--dns', '10.67.0.53', ...more],
    /Ctrl-C stops/,
  );
}

const dialWords = (password: string, ...more: string[]) => [
  'pppoe',
  '--interface',
  'va',
  '--user',
  'alice',
  '--secret-file',
  file('secret', `${password}\n`),
  ...more,
];

/** A command line that finds a private /etc/ppp, with the secrets, and /run. */
function privately(line: string): [string, string[]] {
  const secrets = `alice * "${secret}" *\n`;
  execFileSync('mkdir', ['-p', join(directory, 'ppp')]);
  for (const name of ['ppp/pap-secrets', 'ppp/chap-secrets', 'ppp/options'])
    file(name, name === 'ppp/options' ? '' : secrets);
  const mounts = `mount --bind ${directory}/ppp /etc/ppp && mount -t tmpfs tmpfs /run`;
  return ['unshare', ['-m', 'sh', '-c', `${mounts} && exec ${line}`]];
}

function shim(): string {
  const path = join(directory, 'pppshim.so');
  if (!existsSync(path))
    execFileSync('gcc', ['-O2', '-w', '-shared', '-fPIC', '-o', path, shimSource, '-ldl', '-lpthread']);
  return path;
}

/** pppd as a subscriber, through Debian's pppoe; ends with the session. */
function pppd(password: string, ready: RegExp, ...more: string[]): Promise<Process> {
  const words = `noipdefault noauth user alice password '${password}' nodetach noccp novj mtu 1492 mru 1492 +ipv6 usepeerdns maxfail 1 debug`;
  const options = `${words} lcp-echo-interval 1 lcp-echo-failure 5 ${more.join(' ')}`;
  const [program, args] = privately(
    `env LD_PRELOAD=${shim()} pppd pty "pppoe -I va -T 80 -m 1412 -U" ${options}`,
  );
  return startIn(home, program, args, ready);
}

/** rp-pppoe's server, which starts `wrapper` for each session as it would pppd. */
async function pppoeServer(wrapper: string, options = '/dev/null'): Promise<Process> {
  const words = `-F -I vb -C AC -S isp -L 10.67.0.1 -R 10.67.0.10 -N 16 -q ${wrapper} -O ${options}`;
  const [program, args] = privately(`sh -c 'echo starts; exec pppoe-server ${words}'`);
  return startIn(provider, program, args, /starts/);
}

const bodyBytes = 3_000_000;
const body = `Buffer.from(Array.from({ length: ${bodyBytes} }, (_, i) => (i * 31 + (i >> 8)) & 255))`;
const sha = "require('node:crypto').createHash('sha1')";

function serve(namespace: Namespace, address: string): Promise<Process> {
  const code = `require('node:http').createServer((_, answer) => answer.end(${body})).listen(8080, '${address}', () => console.log('serves', ${sha}.update(${body}).digest('hex')))`;
  return startIn(namespace, process.execPath, ['-e', code], /serves \w+/);
}

/** Downloads over TCP, and holds what came against what was sent. */
async function download(namespace: Namespace, address: string, server: Process): Promise<void> {
  const code = `const hash = ${sha}; require('node:http').get('http://${address}:8080', answer => answer.on('data', part => hash.update(part)).on('end', () => console.log('got', hash.digest('hex'))))`;
  const { code: status, output } = await runIn(namespace, process.execPath, '-e', code);
  assert.is(status, 0, output);
  assert.is(/got (\w+)/.exec(output)?.[1], /serves (\w+)/.exec(server.output)?.[1]);
}

async function ping(namespace: Namespace, address: string, ...more: string[]): Promise<void> {
  const { code, output } = await runIn(
    namespace,
    'ping',
    '-n',
    '-c',
    '2',
    '-i',
    '0.2',
    '-W',
    '5',
    ...more,
    address,
  );
  assert.is(code, 0, output);
  assert.not.match(output, /DUP/, 'answered once: by nobody but whom the line leads to');
}

/** Whole packets of the line's MTU, which must not be fragmented. */
const wholePacket = ['-M', 'do', '-s', `${1492 - 28}`];

/** Frames of a capture that match. */
function count(path: string, filter: string): number {
  // A segment sent again is no malformed frame.
  const whole = ['-o', 'tcp.desegment_tcp_streams:FALSE'];
  const words = ['-n', ...whole, '-r', path, '-Y', filter, '-T', 'fields', '-e', 'frame.number'];
  const output = execFileSync('tshark', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return output.split('\n').filter(Boolean).length;
}

/** The capture has what is asked for, and nothing in it is malformed. */
function readCapture(path: string, ...filters: string[]): void {
  assert.is(count(path, '_ws.malformed || _ws.short'), 0, `${path}: malformed frames`);
  for (const filter of filters) assert.ok(count(path, filter) > 0, `${path}: expected ${filter}`);
}

maybe("Debian's pppoe-discovery finds our AC by any service or one it has, and not by another", async () => {
  const capture = join(directory, 'bras.pcap');
  const server = await bras('--ac-name', 'AC', '--service', 'isp', 'tv', '--capture', capture);
  for (const words of [[], ['-S', 'tv'], ['-C', 'AC'], ['-S', 'isp', '-C', 'AC', '-U']]) {
    const { code, output } = await runIn(home, 'pppoe-discovery', '-I', 'va', '-t', '1', ...words);
    assert.is(code, 0, output);
    assert.match(output, /Access-Concentrator: AC\n/);
    assert.match(output, /Service-Name: (isp|tv)\n/);
    assert.match(output, /Got a cookie/);
  }
  for (const words of [
    ['-S', 'radio'],
    ['-S', 'isptv'],
  ]) {
    const { code, output } = await runIn(home, 'pppoe-discovery', '-I', 'va', '-t', '1', '-a', '1', ...words);
    assert.is.not(code, 0, output);
  }
  assert.is(await server.kill('SIGINT'), 0, server.output);
  readCapture(capture, 'pppoe.code == 0x09', 'pppoe.code == 0x07');
});

maybePppd(
  "Debian's pppd and pppoe come in to our BRAS by MS-CHAPv2, CHAP and PAP: IPv4, IPv6, ping, TCP; and say goodbye",
  async () => {
    const capture = join(directory, 'bras.pcap');
    const server = await bras('--service', 'isp', '--prefixes', '2001:db8::/48', '--capture', capture);
    const web = await serve(provider, '10.67.0.1');
    const methods = [
      ['chap MS-v2', ''],
      ['chap MD5', 'refuse-mschap-v2'],
      ['pap', 'refuse-mschap-v2 refuse-chap'],
    ];
    for (const [agreed, refuse] of methods) {
      const client = await pppd(secret, /primary +DNS address 10\.67\.0\.53/, refuse);
      assert.match(client.output, new RegExp(`sent \\[LCP ConfAck [^\\n]*<auth ${agreed}>`), agreed);
      await ping(home, '10.67.0.1', ...wholePacket);
      await download(home, '10.67.0.1', web);
      const address = /local +IP address ([0-9.]+)/.exec(client.output)![1];
      await ping(provider, address);
      const global = () => home.run('ip', '-6', 'address', 'show', 'dev', 'ppp0').includes('2001:db8:');
      await eventually('an address under our prefix', global);
      await eventually('an answered echo', () => /rcvd \[LCP EchoRep/.test(client.output));
      const ended = /"alice" at [0-9a-f:]+ down \(user-request\)/g;
      const before = server.output.match(ended)?.length ?? 0;
      await client.kill('SIGTERM');
      await eventually('the end of the session', () => (server.output.match(ended)?.length ?? 0) > before);
    }
    assert.is(await server.kill('SIGINT'), 0, server.output);
    readCapture(capture, 'chap', 'pap', 'ipcp', 'ipv6cp', 'icmpv6.type == 134', 'tcp', 'pppoe.code == 0xa7');
  },
);

maybePppd(
  "Debian's pppd with a wrong password is refused by each method, and no password is shown",
  async () => {
    const server = await bras();
    for (const refuse of ['', 'refuse-mschap-v2', 'refuse-mschap-v2 refuse-chap']) {
      const client = await pppd(wrongSecret, /Connect: ppp0/, refuse);
      // pppd(8): 19 is "we failed to authenticate ourselves to the peer".
      assert.is(await client.ended, 19, client.output);
      assert.match(client.output, /authentication failed/i);
    }
    assert.is(server.output.match(/"alice" refused \(wrong-credentials\)/g)?.length, 3, server.output);
    assert.not.match(server.output, new RegExp(wrongSecret));
    assert.not.match(server.output, new RegExp(secret));
    assert.is(await server.kill('SIGINT'), 0, server.output);
  },
);

maybePppd('our BRAS that stops ends the sessions of pppd with a PADT', async () => {
  const server = await bras();
  const client = await pppd(secret, /local +IP address/);
  assert.is(await server.kill('SIGINT'), 0, server.output);
  assert.match(server.output, /down \(admin-reboot\)/);
  await client.ended;
  assert.match(client.output, /Session \d+ terminated -- received PADT|Modem hangup/);
});

maybeSlirp(
  "our client comes in to rp-pppoe's server with slirp behind it: LCP, IPCP, ping, a TCP download, PADT",
  async () => {
    const run = script('slirp-run', `exec env HOME=${directory} slirp-fullbolt -P "mtu 1492"`);
    const wrapper = script(
      'wrapper',
      'while [ $# -gt 0 ]; do [ "$1" = pty ] && command=$2; shift; done',
      `printf '#!/bin/sh\\nexec %s\\n' "$command" >${directory}/link-$$ && chmod +x ${directory}/link-$$`,
      `exec socat EXEC:${directory}/link-$$ EXEC:${run},pty,rawer,echo=0`,
    );
    await pppoeServer(wrapper);
    const web = await serve(provider, '127.0.0.1');
    const capture = join(directory, 'client.pcap');
    const client = await kith(
      home,
      dialWords(secret, '--capture', capture),
      /line up: 10\.0\.2\.15 on kith0/,
    );
    home.run('ip', 'route', 'add', '10.0.2.0/24', 'dev', 'kith0');
    await ping(home, '10.0.2.2', ...wholePacket);
    await download(home, '10.0.2.2', web);
    assert.is(await client.kill('SIGINT'), 0, client.output);
    readCapture(capture, 'lcp', 'ipcp', 'icmp', 'tcp', 'pppoe.code == 0xa7', 'ppp.protocol == 0x80fd || ccp');
  },
);

maybePppd(
  "our client comes in to rp-pppoe's server with pppd by PAP, CHAP and MS-CHAPv2, and not with a wrong password",
  async () => {
    const wrapper = script('wrapper', `exec env LD_PRELOAD=${shim()} pppd "$@"`);
    const options = join(directory, 'options');
    await pppoeServer(wrapper, options);
    const web = await serve(provider, '0.0.0.0');
    for (const [i, method] of ['pap', 'chap', 'mschap-v2'].entries()) {
      const words = ['auth', `require-${method}`, 'name srv', 'noccp', 'novj', 'novjccomp', '+ipv6'];
      file(
        'options',
        [...words, 'ms-dns 10.67.0.53', 'lcp-echo-interval 1', 'lcp-echo-failure 4', ''].join('\n'),
      );
      const capture = join(directory, `client-${i}.pcap`);
      const client = await kith(
        home,
        dialWords(secret, '--capture', capture),
        /line up: 10\.67\.0\.\d+ on kith0/,
      );
      assert.match(client.output, /peer 10\.67\.0\.1, 1492 bytes, DNS 10\.67\.0\.53/, method);
      home.run('ip', 'route', 'add', '10.67.0.1/32', 'dev', 'kith0');
      await ping(home, '10.67.0.1', ...wholePacket);
      await download(home, '10.67.0.1', web);
      assert.is(await client.kill('SIGINT'), 0, client.output);
      readCapture(capture, method === 'pap' ? 'pap' : 'chap', 'ipcp', 'ipv6cp', 'lcp', 'tcp');

      const wrong = await kith(home, dialWords(wrongSecret, '--once'), /Ctrl-C stops/);
      assert.is(await wrong.ended, 1, wrong.output);
      assert.match(wrong.output, /session \d+ failed: AC: authentication-failed/, method);
      assert.match(wrong.output, /kith: the line did not come up/);
      assert.not.match(wrong.output, new RegExp(wrongSecret));
    }
  },
);

maybe(
  'our client and our BRAS, on a VLAN: ping and TCP both ways; each notices that the other stops',
  async () => {
    const capture = join(directory, 'bras.pcap');
    const server = await bras('--capture', capture, '--ac-name', 'Größe');
    const web = await serve(provider, '10.67.0.1');
    const client = await kith(
      home,
      dialWords(secret, '--vlan', '7', '--ac', 'Größe'),
      /line up: 10\.67\.0\.2/,
    );
    home.run('ip', 'route', 'add', '10.67.0.0/24', 'dev', 'kith0');
    await ping(home, '10.67.0.1', ...wholePacket);
    await download(home, '10.67.0.1', web);
    const back = await serve(home, '10.67.0.2');
    await download(provider, '10.67.0.2', back);
    assert.is(await server.kill('SIGINT'), 0, server.output);
    await client.says(/session \d+ down: Größe: padt/);
    assert.is(await client.kill('SIGINT'), 0, client.output);
    assert.ok(readFileSync(capture).length > 2 * bodyBytes);
    readCapture(capture, 'vlan.id == 7 && lcp', 'vlan.id == 7 && tcp');
  },
);

maybe(
  'a gateway daemon is taken out of the tunnel by MQTT, and back into it when the broker is gone',
  async () => {
    // The broker is not behind the line.
    home.connect('oa', provider, 'ob');
    home.run('ip', 'address', 'add', '10.99.0.2/24', 'dev', 'oa');
    provider.run('ip', 'address', 'add', '10.99.0.1/24', 'dev', 'ob');
    const url = 'mqtt://10.99.0.1:1883';
    const data = join(directory, 'data');
    const broker = await kith(
      provider,
      ['coordinator', '--data', data, '--host', '10.99.0.1', '--ws-port', '0'],
      /Ctrl-C stops/,
    );
    const capture = join(directory, 'bras.pcap');
    await bras('--broker', url, '--acl-expiry', '4s', '--capture', capture);
    file('secret', `${secret}\n`);
    const config = {
      site: 'home',
      node: 'gw-1',
      store: join(directory, 'store'),
      broker: { url },
      links: [{ name: 'wan', interface: 'va' }],
      jobs: { pppoe: { link: 'wan', user: 'alice', secretFile: 'secret', interface: 'line' } },
    };
    // As edge/linux/quiet-interface.ts does for the BRAS: else the kernel takes plain packets past the agent.
    home.run('sh', '-c', 'echo 1 >/proc/sys/net/ipv4/conf/va/rp_filter');
    const words = ['--import', 'tsx', daemon, '--config', file('agent.json', JSON.stringify(config))];
    await startIn(home, process.execPath, words, /line up: 10\.67\.0\.2/);
    home.run('ip', 'route', 'add', '10.67.0.1/32', 'dev', 'line');
    const plain = 'icmp && !pppoes';
    await eventually('pings without the tunnel, each way', async () => {
      const before = count(capture, plain);
      await ping(home, '10.67.0.1');
      return count(capture, plain) - before === 4;
    });
    const web = await serve(provider, '10.67.0.1');
    await download(home, '10.67.0.1', web);
    await broker.kill('SIGKILL');
    await eventually('pings through the tunnel, each way', async () => {
      const before = count(capture, 'icmp && pppoes');
      await runIn(home, 'ping', '-n', '-c', '2', '-i', '0.2', '-W', '1', '10.67.0.1');
      return count(capture, 'icmp && pppoes') - before === 4;
    });
    await ping(home, '10.67.0.1', ...wholePacket);
    await download(home, '10.67.0.1', web);
    readCapture(capture, 'tcp && !pppoes', 'tcp && pppoes', 'lcp');
  },
);

maybe('what is missing is said in one sentence, with exit code 1', async () => {
  const users = file('users', 'alice *\n');
  const cases: [string[], RegExp][] = [
    [
      ['bras', '--interface', 'vx', '--users', file('good', 'a * b *\n'), '--pool', '10.67.0.0/24'],
      /vx.*no interface/,
    ],
    [['bras', '--interface', 'vb', '--users', users, '--pool', '10.67.0.0/24'], /users: line 1, secret/],
    [['bras', '--interface', 'vb', '--users', users, '--pool', '10.67.0.0'], /--pool: expected/],
    [['bras', '--interface', 'vb', '--pool', '10.67.0.0/24'], /--users, or --radius/],
    [dialWords('', '--once'), /expected the secret/],
  ];
  for (const [words, expected] of cases) {
    const run = await runIn(provider, process.execPath, ...Process.kithArguments(words));
    assert.is(run.code, 1, run.output);
    assert.match(run.output.trim(), expected);
    assert.is(run.output.trim().split('\n').length, 1, run.output);
  }
});

test.run();
