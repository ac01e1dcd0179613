/**
 * What may be asked of a running `kith bras`: sessions moved to another one (`kith session`), in network namespaces on one
 * bridge, and RADIUS by Debian's freeradius and radclient (RFC 2865, 2866, 5176), with rate classes that the shaper keeps.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { SessionSnapshot } from '../../host-sim/bras/migration.js';
import { parseRates } from '../../host-sim/cli/bras.js';
import type { Control } from '../../host-sim/cli/control.js';
import { openControl, type SessionMover } from '../../host-sim/cli/session.js';
import { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';

const daemon = fileURLToPath(new URL('../../edge/linux/main.ts', import.meta.url));
const secret = 's3cr3t pa55';
const wrongSecret = 'wr0ng-gu3ss';
const radiusSecret = 'testing-the-bras';
const brasMac = '02:ac:00:00:00:01';

const here = Namespace.available({ ping: 'iputils-ping' });
const maybe = here ? test : test.skip;
const withRadius = here && needs('freeradius', 'freeradius') && needs('radclient', 'freeradius-utils');
const shimSource = fileURLToPath(new URL('../../../shared/tools/interop/pppshim.c', import.meta.url));
const withPppd =
  here &&
  needs('pppd', 'ppp') &&
  needs('pppoe', 'pppoe') &&
  needs('gcc', 'gcc libc6-dev') &&
  present('/dev/net/tun') &&
  present(shimSource);
const maybePppd = withPppd ? test : test.skip;
const maybeRadius = withRadius ? test : test.skip;

let directory = '';
let controls: Control[] = [];

test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'kith-control-'));
});
test.after.each(async () => {
  await Process.killAll();
  for (const control of controls) control.close();
  controls = [];
  Namespace.removeAll();
  rmSync(directory, { recursive: true });
});

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

function present(path: string): boolean {
  if (existsSync(path)) return true;
  console.log(`SKIP: no ${path}`);
  return false;
}

function startIn(namespace: Namespace, program: string, args: string[], ready: RegExp): Promise<Process> {
  const [first, ...rest] = namespace.command(program, ...args);
  return Process.start(first, rest, ready);
}

function kith(namespace: Namespace, args: string[], ready: RegExp): Promise<Process> {
  return startIn(namespace, process.execPath, Process.kithArguments(args), ready);
}

function bras(namespace: Namespace, ...more: string[]): Promise<Process> {
  const users = file('users', ['alice', 'bob'].map(name => `${name} * "${secret}" *\n`).join(''));
  const words = ['bras', '--interface', 'v', '--pool', '10.67.0.0/24'];
  const who = more.includes('--radius') ? [] : ['--users', users];
  return kith(namespace, [...words, ...who, ...more], /Ctrl-C stops/);
}

const dialWords = (user: string, password: string, ...more: string[]) => {
  const path = file(`secret-${user}`, `${password}\n`);
  return ['pppoe', '--interface', 'v', '--user', user, '--secret-file', path, '--tun', 'line', ...more];
};

/** pppd as a subscriber, without kernel PPP by the customer's shim, through Debian's pppoe; it finds a private /etc/ppp and /run. */
function pppd(namespace: Namespace): Promise<Process> {
  const shim = join(directory, 'pppshim.so');
  execFileSync('gcc', ['-O2', '-w', '-shared', '-fPIC', '-o', shim, shimSource, '-ldl', '-lpthread']);
  const etc = join(directory, 'ppp');
  mkdirSync(etc);
  for (const name of ['options', 'pap-secrets', 'chap-secrets']) file(`ppp/${name}`, '');
  // Debug twice: echoes are told too.
  const words = `noipdefault noauth user alice password '${secret}' nodetach noccp novj mtu 1492 mru 1492 +ipv6 maxfail 1 debug debug`;
  const echo = 'defaultroute lcp-echo-interval 1 lcp-echo-failure 5';
  const line = `env LD_PRELOAD=${shim} pppd pty "pppoe -I v -T 80 -m 1412 -U" ${words} ${echo}`;
  const mounts = `mount --bind ${etc} /etc/ppp && mount -t tmpfs tmpfs /run`;
  return startIn(namespace, 'unshare', ['-m', 'sh', '-c', `${mounts} && exec ${line}`], /local +IP address/);
}

/** Each has an interface `v` on one bridge. */
function segment(count: number): Namespace[] {
  const bridge = Namespace.make();
  bridge.run('ip', 'link', 'add', 'bridge', 'type', 'bridge');
  bridge.run('ip', 'link', 'set', 'bridge', 'up');
  return Array.from({ length: count }, (_, i) => {
    const one = Namespace.make();
    one.connect('v', bridge, `p${i}`);
    bridge.run('ip', 'link', 'set', `p${i}`, 'master', 'bridge');
    return one;
  });
}

/** Sequence numbers that were answered. */
function answered({ output }: Process): number[] {
  return [...output.matchAll(/icmp_seq=(\d+) ttl/g)].map(match => Number(match[1]));
}

maybe(
  'two live sessions, one on a VLAN, move to another BRAS on another port: none is dropped, pings go on',
  async () => {
    const [home, neighbour, first, second] = segment(4);
    const common = ['--mac', brasMac, '--echo', '2s', '--prefixes', '2001:db8::/48'];
    const sockets = [join(directory, 'first'), join(directory, 'second')];
    const old = await bras(first, ...common, '--control', sockets[0]);
    assert.is(lstatSync(sockets[0]).mode & 0o777, 0o600);
    const capture = join(directory, 'second.pcap');
    const fresh = await bras(second, ...common, '--control', sockets[1], '--standby', '--capture', capture);
    assert.match(fresh.output, /standing by/);
    const clients: Process[] = [];
    const pings: Process[] = [];
    for (const [namespace, user, more] of [
      [home, 'alice', []],
      [neighbour, 'bob', ['--vlan', '7']],
    ] as const) {
      clients.push(await kith(namespace, dialWords(user, secret, ...more), /line up: 10\.67\.0\.\d+/));
      namespace.run('ip', 'route', 'add', '10.67.0.1/32', 'dev', 'line');
      pings.push(await startIn(namespace, 'ping', ['-n', '-i', '0.2', '10.67.0.1'], /icmp_seq=5 ttl/));
    }
    const moved = await Process.runKith(['session', 'export', '--control', sockets[0]]);
    assert.is(moved.code, 0, moved.output);
    const before = pings.map(one => answered(one).at(-1)!);
    // While it stood by it heard and said nothing: the capture is its header alone.
    assert.is(readFileSync(capture).length, 24);
    const snapshot: SessionSnapshot = JSON.parse(moved.output);
    assert.equal(snapshot.sessions.map(one => one.user).sort(), ['alice', 'bob']);
    assert.not.match(moved.output, new RegExp(secret));
    const taken = await Process.runKith(['session', 'import', '--control', sockets[1]], moved.output);
    assert.is(taken.code, 0, taken.output);
    assert.match(taken.output, /^2 sessions moved in/);
    for (const [i, one] of pings.entries())
      await eventually('ten pings answered by the second', () => answered(one).at(-1)! > before[i] + 10);
    const announcement = (tag: string) => Buffer.from(`${'f'.repeat(12)}02ac00000001${tag}80350001`, 'hex');
    // Bridges learn on each VLAN where the BRAS is now; nobody had to dial in again (0x8863).
    for (const tag of ['', '81000007'])
      assert.ok(readFileSync(capture).includes(announcement(tag)), `no announcement ${tag}`);
    assert.not.match(readFileSync(capture, 'hex'), /f{12}.{12}(81000007)?8863/, 'a PADI');
    for (const [i, client] of clients.entries()) {
      assert.not.match(client.output, /session \d+ (down|failed)|line down/);
      assert.is(client.output.match(/line up/g)?.length, 1, client.output);
      await pings[i].kill('SIGINT');
      // 0.2 s each: nobody was without an answer for as long as an echo interval of 30 s, the default.
      const sequence = answered(pings[i]);
      const gaps = sequence.map((one, at) => (at === 0 ? 0 : one - sequence[at - 1]));
      assert.ok(Math.max(...gaps) < 150, `${Math.max(...gaps)} pings in a row lost`);
    }
    // Asked again it says the same; it takes none back, and its end is no session's.
    const again = await Process.runKith(['session', 'export', '--control', sockets[0]]);
    assert.is(again.output, moved.output);
    const back = await Process.runKith(['session', 'import', '--control', sockets[0]], moved.output);
    assert.match(back.output, /its own sessions were exported/);
    const twice = await Process.runKith(['session', 'import', '--control', sockets[1]], moved.output);
    assert.match(twice.output, /sessions\[0\]\.id: expected one that is not taken/);
    assert.is(await old.kill('SIGINT'), 0, old.output);
    assert.not.match(old.output, /" at .* down/);
    assert.is(await clients[0].kill('SIGINT'), 0, clients[0].output);
    await fresh.says(/"alice" at [0-9a-f:]+ down \(user-request\)/);
    assert.is(await fresh.kill('SIGINT'), 0, fresh.output);
    await clients[1].says(/session \d+ down: kith: padt/);
    for (const path of sockets) assert.not(lstatSync(path, { throwIfNoEntry: false }));
  },
);

maybe(
  'sessions that another BRAS cannot have stay whole: it says why, and a fitting one takes them',
  async () => {
    const [home, first, second] = segment(3);
    const sockets = [join(directory, 'first'), join(directory, 'second'), join(directory, 'third')];
    const old = await bras(first, '--mac', brasMac, '--control', sockets[0]);
    const client = await kith(home, dialWords('alice', secret), /line up: 10\.67\.0\.\d+/);
    const moved = await Process.runKith(['session', 'export', '--control', sockets[0]]);
    assert.is(moved.code, 0, moved.output);
    assert.is(await old.kill('SIGINT'), 0, old.output);
    const stranger = await bras(second, '--control', sockets[1], '--standby');
    const refused = await Process.runKith(['session', 'import', '--control', sockets[1]], moved.output);
    assert.is(refused.code, 1);
    assert.match(refused.output, /ac: expected [0-9a-f:]+, got 02:ac:00:00:00:01\n$/);
    assert.not.match(second.run('ip', 'link'), /bras0/);
    assert.is(await stranger.kill('SIGINT'), 0, stranger.output);
    await bras(second, '--mac', brasMac, '--control', sockets[2], '--standby');
    const taken = await Process.runKith(['session', 'import', '--control', sockets[2]], moved.output);
    assert.is(taken.output, '1 session moved in\n');
    home.run('ip', 'route', 'add', '10.67.0.1/32', 'dev', 'line');
    assert.match(home.run('ping', '-n', '-c', '2', '-i', '0.2', '-W', '5', '10.67.0.1'), / 0% packet loss/);
    assert.not.match(client.output, /session \d+ (down|failed)|line down/);
  },
);

maybe('a session in the middle of its login is not moved: it hears a goodbye, and is counted', async () => {
  const [home, provider] = segment(2);
  const control = join(directory, 'control');
  const key = file('radius-secret', `${radiusSecret}\n`);
  // Nobody answers there.
  const words = ['--radius', '127.0.0.1', '--radius-secret-file', key, '--control', control];
  const server = await bras(provider, ...words, '--capture', join(directory, 'bras.pcap'));
  const client = await kith(home, dialWords('alice', secret, '--once'), /Ctrl-C stops/);
  const lcp = () => readFileSync(join(directory, 'bras.pcap')).includes(Buffer.from('alice'));
  await eventually('the login', lcp);
  const { output } = await Process.runKith(['session', 'export', '--control', control]);
  assert.match(output, /"sessions":\[\]/);
  assert.match(output, /^1 session was not at rest: they dial in again$/m);
  assert.is(await client.ended, 1, client.output);
  assert.match(client.output, /session \d+ failed: kith: padt/);
  assert.is(await server.kill('SIGINT'), 0, server.output);
});

maybePppd("Debian's pppd keeps its session and its pings when the BRAS is another one", async () => {
  const [home, first, second] = segment(3);
  const sockets = [join(directory, 'first'), join(directory, 'second')];
  const common = ['--mac', brasMac, '--echo', '2s', '--prefixes', '2001:db8::/48'];
  await bras(first, ...common, '--control', sockets[0]);
  const fresh = await bras(second, ...common, '--control', sockets[1], '--standby');
  const client = await pppd(home);
  const [, address] = /local +IP address ([0-9.]+)/.exec(client.output)!;
  const pings = await startIn(home, 'ping', ['-n', '-i', '0.2', '10.67.0.1'], /icmp_seq=5 ttl/);
  const moved = await Process.runKith(['session', 'export', '--control', sockets[0]]);
  const taken = await Process.runKith(['session', 'import', '--control', sockets[1]], moved.output);
  assert.is(taken.output, '1 session moved in\n');
  const before = answered(pings).at(-1)!;
  await eventually('ten more pings answered', () => answered(pings).at(-1)! > before + 10);
  const echoes = () => client.output.match(/rcvd \[LCP EchoRep/g)?.length ?? 0;
  const echoesBefore = echoes();
  // As many as pppd lets go unanswered: it would be down.
  await eventually('six more answered echoes', () => echoes() > echoesBefore + 6);
  assert.match(second.run('ping', '-n', '-c', '2', '-i', '0.2', '-W', '5', address), / 0% packet loss/);
  assert.not.match(client.output, /terminated|Hangup|No response/i);
  assert.is(client.output.match(/local +IP address/g)?.length, 1);
  await client.kill('SIGTERM');
  await fresh.says(/"alice" at [0-9a-f:]+ down \(user-request\)/);
});

maybe(
  'a gateway that does without the tunnel is back in it when its session moves, and pings go on',
  async () => {
    const [home, first, second] = segment(3);
    // The broker is not behind the line.
    home.run('ip', 'address', 'add', '10.99.0.1/24', 'dev', 'lo');
    const cables = [first, second].map((namespace, i) => {
      home.connect(`o${i}`, namespace, 'o');
      namespace.run('ip', 'address', 'add', `10.99.${i + 1}.2/24`, 'dev', 'o');
      home.run('ip', 'address', 'add', `10.99.${i + 1}.1/24`, 'dev', `o${i}`);
      return ['--broker', `mqtt://10.99.${i + 1}.1:1883`, '--acl-expiry', '1m'];
    });
    const data = join(directory, 'data');
    const words = ['coordinator', '--data', data, '--host', '0.0.0.0', '--ws-port', '0'];
    await kith(home, words, /Ctrl-C stops/);
    const sockets = [join(directory, 'first'), join(directory, 'second')];
    const common = ['--mac', brasMac, '--dns', '10.67.0.53'];
    const old = await bras(first, ...common, ...cables[0], '--control', sockets[0]);
    await bras(second, ...common, ...cables[1], '--control', sockets[1], '--standby');
    const config = {
      site: 'home',
      node: 'gw-1',
      store: join(directory, 'store'),
      broker: { url: 'mqtt://10.99.0.1:1883' },
      links: [{ name: 'wan', interface: 'v' }],
      jobs: {
        pppoe: { link: 'wan', user: 'alice', secretFile: file('secret', `${secret}\n`), interface: 'line' },
      },
    };
    // As edge/linux/quiet-interface.ts does for the BRAS.
    home.run('sh', '-c', 'echo 1 >/proc/sys/net/ipv4/conf/v/rp_filter');
    const run = ['--import', 'tsx', daemon, '--config', file('agent.json', JSON.stringify(config))];
    const gateway = await startIn(home, process.execPath, run, /line up: 10\.67\.0\.2/);
    home.run('ip', 'route', 'add', '10.67.0.1/32', 'dev', 'line');
    const nameServers = () => readFileSync(join(directory, 'store', 'resolv.conf'), 'utf8');
    assert.is(nameServers(), 'nameserver 10.67.0.53\n');
    const mtu = () => Number(/mtu (\d+)/.exec(home.run('ip', 'link', 'show', 'line'))?.[1]);
    const watch = await kith(home, ['watch', '--json', '--broker', 'mqtt://10.99.0.1:1883'], /installed/);
    // Without the eight bytes of PPPoE and PPP, the route where it was.
    await eventually('the whole MTU', () => mtu() === 1500);
    const pings = await startIn(home, 'ping', ['-n', '-i', '0.2', '10.67.0.1'], /icmp_seq=5 ttl/);
    const moved = await Process.runKith(['session', 'export', '--control', sockets[0]]);
    await watch.says(/revoked/);
    const taken = await Process.runKith(['session', 'import', '--control', sockets[1]], moved.output);
    assert.is(taken.output, '1 session moved in\n');
    const before = answered(pings).at(-1)!;
    // Long before the list would have expired.
    await eventually('ten more pings answered', () => answered(pings).at(-1)! > before + 10);
    assert.not.match(gateway.output, /session \d+ (down|failed)|line down/);
    assert.is(mtu(), 1492);
    assert.is(await gateway.kill('SIGTERM'), 0);
    assert.is(nameServers(), '');
    assert.is(await old.kill('SIGINT'), 0, old.output);
  },
);

/** Sends what is given to a control socket, and reads to its end. */
function say(path: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(text));
    let answer = '';
    socket.on('data', part => {
      answer += part;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
    socket.on('end', () => {
      socket.destroy();
    });
  });
}

test('the control socket answers what is no request with an error, and goes on', async () => {
  const path = join(directory, 'control');
  const mover: SessionMover = {
    exportSessions: async () => {
      throw new Error('it stands by: it has no sessions');
    },
    importSessions: snapshot => snapshot.sessions.length,
  };
  controls.push(await openControl(path, mover));
  assert.is(lstatSync(path).mode & 0o777, 0o600);
  for (const [request, expected] of [
    ['what\n', /"ok":false,"error":"expected a line of JSON/],
    ['null\n', /request: expected export or import, got undefined/],
    ['{"request":"shutdown"}\n', /expected export or import, got \\"shutdown\\"/],
    ['{"request":"import"}\n', /"ok":false/],
    ['{"request":"export"}\n', /it stands by/],
    [
      '{"request":"import","snapshot":{"sessions":[]}}\n{"request":"export"}\n',
      /^\{"ok":true,"count":0\}\n$/,
    ],
  ] as const)
    assert.match(await say(path, request), expected);
});

test('who says nothing does not keep the control socket from closing', async () => {
  const path = join(directory, 'control');
  const control = await openControl(path, {
    exportSessions: () => new Promise(() => {}),
    importSessions: () => 0,
  });
  const answers = [say(path, ''), say(path, '{"request":"export"}\n')];
  // The third is taken after them.
  assert.match(await say(path, '{}\n'), /expected export or import/);
  control.close();
  assert.equal(await Promise.all(answers), ['', '']);
  assert.not(existsSync(path));
});

test('two cannot listen at one path; a socket whose owner has died is replaced, a file is not', async () => {
  const path = join(directory, 'control');
  const mover: SessionMover = {
    exportSessions: () => Promise.reject(new Error('none')),
    importSessions: () => 0,
  };
  const fails = (at: string) =>
    openControl(at, mover).then(
      () => '',
      error => error.message,
    );
  controls.push(await openControl(path, mover));
  assert.match(await fails(path), /another kith bras listens there/);
  const dead = join(directory, 'dead');
  const code = `require('node:net').createServer().listen('${dead}', () => process.kill(process.pid, 'SIGKILL'))`;
  await Process.run(process.execPath, ['-e', code]);
  assert.ok(lstatSync(dead).isSocket());
  controls.push(await openControl(dead, mover));
  assert.match(await fails(file('file', '')), /a file of that name is there already/);
  assert.match(await fails(join(directory, 'x'.repeat(107))), /expected at most 107 bytes/);
  assert.match(await fails(join(directory, 'no', 'where')), /ENOENT|EACCES/);
});

test('kith session says in one sentence what is missing', async () => {
  const nobody = join(directory, 'nobody');
  for (const [input, expected] of [
    ['', /standard input: expected what kith session export wrote, got nothing/],
    ['{"version":', /standard input: expected what kith session export wrote/],
    ['{}', /nobody: no BRAS listens there: is one running with --control/],
  ] as const) {
    const run = await Process.runKith(['session', 'import', '--control', nobody], input);
    assert.is(run.code, 1, run.output);
    assert.match(run.output, expected);
    assert.is(run.output.trim().split('\n').length, 1, run.output);
  }
});

test('rate classes are read in bits a second, with the default class first, and a wrong one is named', () => {
  const { up, down } = parseRates('{"slow":{"up":800,"burst":2000},"7":{"down":8000000,"burst":1}}');
  assert.equal(
    up.map(one => [one.name, one.bytesPerSecond, one.burstBytes]),
    [
      ['line', Infinity, 1],
      ['7', Infinity, 1],
      ['slow', 100, 2000],
    ],
  );
  assert.equal(
    down.map(one => [one.name, one.bytesPerSecond, one.queueBytes]),
    [
      ['line', Infinity, 0],
      ['7', 1e6, 100_000],
      ['slow', Infinity, 0],
    ],
  );
  const own = parseRates('{"line":{"up":8000000,"down":8000000,"burst":1500}}');
  assert.equal([own.up.length, own.up[0].bytesPerSecond], [1, 1e6]);
  for (const [text, expected] of [
    ['[]', /expected an object of classes/],
    ['{"a":1}', /^a: expected an object/],
    ['{"":{}}', /expected a name/],
    ['{"a":{"up":0,"burst":1}}', /^a\.up: expected 8\.\./],
    ['{"a":{"up":"1M","burst":1}}', /^a\.up: .* got "1M"/],
    ['{"a":{"up":1000}}', /^a\.burst: expected 1\.\./],
    ['{"a":{"rate":1}}', /^a\.rate: expected up, down or burst/],
    ['{"a":', /JSON/],
  ] as const)
    assert.throws(
      () => parseRates(text),
      (error: Error) => expected.test(error.message),
      text,
    );
});

/** Debian's freeradius in a namespace, at its usual ports; what it is told of sessions is in the file `detail`. */
function freeradius(namespace: Namespace): Promise<Process> {
  file(
    'radius-users',
    [
      `alice Cleartext-Password := "${secret}"`,
      '    Framed-IP-Address = 10.67.0.77, Filter-Id = "slow", Class = 0x6b697468',
      '',
    ].join('\n'),
  );
  // Debian 12's 3.2.1 signs its answers only if told so; later ones always do.
  const sign = 'update reply {\n Message-Authenticator := 0x00\n}';
  const listen = (type: string, port: number) =>
    `listen {\n type = ${type}\n ipaddr = 127.0.0.1\n port = ${port}\n}`;
  file(
    'radiusd.conf',
    `
name = freeradius
logdir = ${directory}
run_dir = ${directory}
raddbdir = ${directory}
libdir = /usr/lib/freeradius
pidfile = ${directory}/pid
security {
 allow_vulnerable_openssl = yes
}
client here {
 ipaddr = 127.0.0.1
 secret = ${radiusSecret}
 require_message_authenticator = yes
}
modules {
 mschap {
 }
 files {
  filename = ${directory}/radius-users
 }
 detail {
  filename = ${directory}/detail
 }
}
server default {
 ${listen('auth', 1812)}
 ${listen('acct', 1813)}
 authorize {
  mschap
  files
 }
 authenticate {
  Auth-Type MS-CHAP {
   mschap
  }
 }
 accounting {
  detail
 }
 post-auth {
  ${sign}
  Post-Auth-Type REJECT {
   ${sign}
  }
 }
}
`,
  );
  return startIn(namespace, 'freeradius', ['-X', '-d', directory], /Ready to process requests/);
}

maybeRadius(
  'by freeradius: accepted with address and rate class, rejected, accounted, its rate changed, disconnected',
  async () => {
    const [home, provider] = segment(2);
    await freeradius(provider);
    // 8,000 bytes a second, and a queue of 15 kB.
    const rates = file('rates', '{"slow":{"down":64000,"burst":1500}}');
    const key = file('radius-secret', `${radiusSecret}\n`);
    const words = ['--radius', '127.0.0.1', '--radius-secret-file', key, '--coa-port', '3799'];
    const server = await bras(provider, ...words, '--rates', rates);
    const wrong = await kith(home, dialWords('alice', wrongSecret, '--once'), /Ctrl-C stops/);
    assert.is(await wrong.ended, 1, wrong.output);
    assert.match(server.output, /"alice" refused \(wrong-credentials\)/);
    const client = await kith(home, dialWords('alice', secret), /line up: 10\.67\.0\.77/);
    home.run('ip', 'route', 'add', '10.67.0.1/32', 'dev', 'line');
    const lost = () => {
      const sizes = ['-s', '1400', '-c', '40', '-i', '0.01', '-W', '3'];
      const [program, ...args] = home.command('sh', '-c', `ping -n -q ${sizes.join(' ')} 10.67.0.1 || true`);
      return Process.run(program, args).then(({ output }) =>
        Number(/([\d.]+)% packet loss/.exec(output)?.[1]),
      );
    };
    // 57 kB in half a second: what is neither sent nor waits is dropped.
    assert.ok((await lost()) > 0, 'the rate class slow limits nothing');
    const radclient = (kind: 'coa' | 'disconnect', attributes: string, secretWord = radiusSecret) => {
      const request = file('request', `${attributes}\n`);
      const options = ['-x', '-r', '1', '-t', '2', '-f', request, '127.0.0.1:3799', kind, secretWord];
      const [program, ...args] = provider.command('radclient', ...options);
      return Process.run(program, args).then(({ output }) => output);
    };
    assert.match(await radclient('coa', 'User-Name = "alice", Filter-Id = "gold"'), /Received CoA-NAK/);
    assert.match(await radclient('coa', 'User-Name = "alice", Filter-Id = "line"'), /Received CoA-ACK/);
    await eventually('no limit any more', async () => (await lost()) === 0);
    assert.match(await radclient('disconnect', 'User-Name = "bob"'), /Received Disconnect-NAK/);
    assert.match(await radclient('disconnect', 'User-Name = "alice"', 'guess'), /No reply/);
    assert.not.match(client.output, /session \d+ down/);
    const detail = () => readFileSync(join(directory, 'detail'), 'utf8');
    const values = (name: string) =>
      [...detail().matchAll(new RegExp(`\\t${name} = (.*)`, 'g'))].map(match => match[1]);
    assert.equal(values('Acct-Status-Type'), ['Start']);
    assert.match(await radclient('disconnect', 'User-Name = "alice"'), /Received Disconnect-ACK/);
    await client.says(/session \d+ down: kith: padt/);
    await eventually('the stop', () => values('Acct-Status-Type').includes('Stop'));
    assert.equal(values('Acct-Status-Type').slice(0, 2), ['Start', 'Stop']);
    assert.equal(values('Acct-Terminate-Cause').slice(0, 1), ['Admin-Reset']);
    assert.equal(values('Framed-IP-Address').slice(0, 2), ['10.67.0.77', '10.67.0.77']);
    assert.equal(values('Class').slice(0, 2), ['0x6b697468', '0x6b697468']);
    assert.is(await client.kill('SIGINT'), 0, client.output);
    assert.is(await server.kill('SIGINT'), 0, server.output);
    for (const word of [secret, wrongSecret, radiusSecret]) assert.not.ok(server.output.includes(word));
  },
);

maybe('what does not fit together is said in one sentence, with exit code 1', async () => {
  const [provider] = segment(1);
  const key = file('key', 'k\n');
  const users = file('good', 'a * b *\n');
  const usual = ['bras', '--interface', 'v', '--pool', '10.67.0.0/24'];
  const radius = ['--radius', '127.0.0.1', '--radius-secret-file', key];
  const taken = await startIn(
    provider,
    process.execPath,
    ['-e', "require('node:dgram').createSocket('udp4').bind(3799, () => console.log('bound'))"],
    /bound/,
  );
  for (const [words, expected] of [
    [['--users', users, '--mac', '03:00:00:00:00:01'], /--mac: expected an address such as .* got 03:/],
    [['--users', users, '--standby'], /--standby: expected with --control/],
    [['--users', users, '--coa-port', '3799'], /--coa-port: expected with --radius/],
    [['--users', users, '--rates', join(directory, 'none')], /--rates .*none: ENOENT/],
    [['--users', users, '--rates', file('bad', '{"a":{"up":1}}')], /--rates .*bad: a\.up: expected 8/],
    [['--users', users, '--control', users], /--control .*: a file of that name is there already/],
    [[...radius, '--coa-port', '3799'], /--coa-port 3799: .*EADDRINUSE/],
  ] as const) {
    const run = await kith(provider, [...usual, ...words], /^kith: .*\n/m);
    assert.is(await run.ended, 1, run.output);
    const lines = run.output
      .trim()
      .split('\n')
      .filter(line => !line.includes('Ctrl-C stops'));
    assert.is(lines.length, 1, run.output);
    assert.match(lines[0], expected);
  }
  await taken.kill('SIGTERM');
});

test.run();
