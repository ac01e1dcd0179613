import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { connectAsync } from 'mqtt';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { kibbutzGroup4 } from '../../agent/kibbutz/member-settings.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import type { KibbutzInput } from '../../agent/port/effect.js';
import { emitEthernet, etherTypeArp } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { parseWakeOnLan, wakeOnLanEtherType } from '../../agent/wire/wol.js';
import { aes128Gcm } from '../../edge/linux/aead.js';
import { KibbutzSockets, type Network } from '../../edge/moddable/kibbutz-sockets.js';
import type { UdpSocket } from '../../edge/moddable/sdk.js';
import {
  answerForm,
  httpAnswer,
  kibbutzOf,
  mostRequestBytes,
  mostSettingsBytes,
  parseSettings,
} from '../../edge/moddable/settings.js';
import { frameOf, outgoingOf } from '../../edge/moddable/udp-link.js';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { type Datagram, Provider } from '../../host-sim/coordinator/provider.js';
import { Listener } from '../support/listener.js';
import { Namespace } from '../support/namespaces.js';
import { eventually, Process } from '../support/process.js';
import { brokerPrograms, Gateway } from './gateway.js';
import { moddableProgram, removeModdableProgram } from './moddable-program.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const host = '3c:22:fb:01:02:03';
const payload = new Uint8Array([1, 2, 3, 4, 5]);
const registration = { member: 7, aead: 1, generation: 1, key: '00'.repeat(16), addresses: ['10.0.0.8/16'] };
const kibbutz = {
  registration,
  provider: { host: 'provider.lan', port: 4999 },
  tail: '10s',
  promotion: '2s',
  exchange: '200ms',
  uplinkBitsPerSecond: 2_000_000,
};

test.after.each(async () => {
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
});

test.after(() => removeModdableProgram());

test('a datagram becomes the frame that rules see, and comes out again as the same datagram', () => {
  for (const [dstPort, dstMac, dstAddress] of [
    [5353, '01005e0000fb', '224.0.0.251'],
    [9999, 'ffffffffffff', '255.255.255.255'],
  ] as const) {
    const frame = frameOf({ address: '192.168.1.7', port: 4000, dstPort, payload })!;
    const headers = new Headers();
    assert.is(headers.scan(frame, 0, frame.length), 'ok');
    assert.is(headers.dstPort, dstPort);
    assert.is(headers.srcPort, 4000);
    assert.is(formatHex(frame.subarray(0, 6)), dstMac);
    assert.equal(outgoingOf(frame), { address: dstAddress, port: dstPort, srcPort: 4000, payload });
  }
  assert.is(frameOf({ address: 'fe80::1', port: 1, dstPort: 2, payload }), undefined);
});

test('a magic packet goes to all, and what is no UDP has no way out', () => {
  const frame = (etherType: number) => {
    const bytes = new Uint8Array(14 + 102).fill(0xff);
    emitEthernet(
      { dstMac: new Uint8Array(6), srcMac: new Uint8Array(6), tags: [], etherType },
      102,
      bytes,
      0,
    );
    return bytes;
  };
  const magic = outgoingOf(frame(wakeOnLanEtherType))!;
  assert.equal([magic.address, magic.port, magic.srcPort, magic.payload.length], [undefined, 9, 0, 102]);
  assert.is(outgoingOf(frame(etherTypeArp)), undefined);
  assert.is(outgoingOf(frame(0x0800)), undefined, 'not IPv4 inside');
  const datagram = frameOf({ address: '10.0.0.1', port: 1, dstPort: 2, payload })!;
  for (let length = 0; length < datagram.length; length++)
    assert.is(outgoingOf(datagram.subarray(0, length)), undefined, `cut at ${length}`);
});

test('settings that are of no use are refused with the field', () => {
  const good = { site: 'home', node: 'esp-1', broker: { host: 'b' } };
  const member = (more: object) => ({ ...good, kibbutz: { ...kibbutz, ...more } });
  for (const right of [
    good,
    member({}),
    member({ local: { group: '224.0.1.99', port: 1, interface: 'wlan0' } }),
  ])
    assert.ok(parseSettings(JSON.stringify(right)).ok);
  const bad: [unknown, RegExp][] = [
    [null, /expected an object/],
    [{ ...good, site: 'A' }, /^site:/],
    [{ ...good, node: '' }, /^node:/],
    [{ ...good, broker: 'b' }, /^broker.host:/],
    [{ ...good, broker: { host: 'b', port: 0 } }, /^broker.port:/],
    [{ ...good, broker: { host: 'b', user: 1 } }, /^broker.user:/],
    [{ ...good, broker: { host: 'b', tls: 'yes' } }, /^broker.tls:/],
    [{ ...good, wifi: { ssid: '' } }, /^wifi.ssid:/],
    [{ ...good, wifi: { ssid: 'a', password: 'short' } }, /^wifi.password:/],
    [{ ...good, knock: [1, 2, 3, 4, 5, 6, 7, 8, 9] }, /^knock:/],
    [{ ...good, knock: ['1'] }, /^knock:/],
    [{ ...good, wake: { address: 'all', port: 9 } }, /^wake:/],
    [{ ...good, powerProxy: 'no' }, /^powerProxy: expected true or false/],
    [{ ...good, powerProxy: false }, /^powerProxy: expected true where there is no kibbutz/],
    [{ ...good, kibbutz: 'yes' }, /^kibbutz: expected/],
    [member({ tial: '1s' }), /^kibbutz\.tial: expected one of the fields/],
    [member({ registration: undefined }), /^kibbutz\.registration: expected/],
    [member({ registration: { ...registration, aead: 29 } }), /^kibbutz\.registration\.aead: expected 1 /],
    [
      member({ registration: { ...registration, key: '00'.repeat(32) } }),
      /^kibbutz\.registration\.key:.*got 64$/,
    ],
    [
      member({ local: { group: 'ff12::1' } }),
      /^kibbutz\.local\.group: expected an IPv4 multicast address, got ff12/,
    ],
    [member({ local: { group: '192.168.1.1' } }), /^kibbutz\.local\.group:/],
    [member({ provider: { host: '', port: 9 } }), /^kibbutz\.provider\.host:/],
    [member({ tail: '61s' }), /^kibbutz\.tail: expected 1ms to 60s, got 61s$/],
    [member({ promotion: '2' }), /^kibbutz\.promotion: expected a duration/],
    [member({ exchange: '2m' }), /^kibbutz\.exchange: expected at most 60s/],
    [member({ initialCredit: 0 }), /^kibbutz\.initialCredit:/],
    [member({ forwardedShare: 1 }), /^kibbutz\.forwardedShare: expected 0\.\.0\.5, got 1$/],
    [member({ owner: { quotaBytes: '5' } }), /^kibbutz\.owner\.quotaBytes: expected/],
    [
      member({ owner: { neighbourShare: 0.1 } }),
      /^kibbutz\.owner\.neighbourShare: expected quotaBytes beside it/,
    ],
    [{ ...good, more: 'x'.repeat(mostSettingsBytes) }, /^settings: expected at most 3999 bytes/],
  ];
  for (const [value, why] of bad) {
    const judged = parseSettings(JSON.stringify(value));
    assert.ok(!judged.ok && why.test(judged.reason), `${JSON.stringify(value)} ${JSON.stringify(judged)}`);
  }
  assert.not(parseSettings('{').ok);
});

test('the form takes settings however the request is cut, and answers nonsense with what it expected', () => {
  const body =
    'ssid=My+Net&wifi=p%40ssw0rd&host=broker.lan&port=8883&tls=on&user=u&password=a%26b&site=home&node=esp-1';
  const request = `POST / HTTP/1.1\r\nHost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  for (let length = 0; length < request.length; length++)
    assert.is(answerForm(encodeUtf8(request.slice(0, length))), 'more', `cut at ${length}`);
  const answer = answerForm(encodeUtf8(request));
  assert.ok(answer !== 'more' && answer.status === 200);
  assert.equal(JSON.parse(answer.settings!), {
    site: 'home',
    node: 'esp-1',
    broker: { host: 'broker.lan', port: 8883, tls: true, user: 'u', password: 'a&b' },
    wifi: { ssid: 'My Net', password: 'p@ssw0rd' },
  });
  const all = JSON.stringify({ site: 'a', node: 'b', broker: { host: 'c' }, kibbutz });
  const pasted = `ssid=ignored&all=${encodeURIComponent(all)}`;
  const whole = answerForm(
    encodeUtf8(`POST / HTTP/1.1\r\nContent-Length: ${pasted.length}\r\n\r\n${pasted}`),
  );
  assert.is(whole !== 'more' && whole.settings, all);
  const ask = (text: string) => {
    const got = answerForm(encodeUtf8(text));
    return got === 'more' ? got : `${got.status}${got.settings ?? ''} ${got.text.slice(-800)}`;
  };
  assert.match(ask('GET / HTTP/1.1\r\n\r\n'), /^200 .*<form/);
  assert.match(ask('GET /favicon.ico HTTP/1.1\r\n\r\n'), /^404/);
  assert.match(ask('POST / HTTP/1.1\r\n\r\n'), /^400 Content-Length/);
  const wrong = 'host=b&site=home&node=%zz';
  const refused = answerForm(
    encodeUtf8(`POST / HTTP/1.1\r\nContent-Length: ${wrong.length}\r\n\r\n${wrong}`),
  );
  assert.ok(refused !== 'more' && refused.status === 400 && refused.settings === undefined);
  assert.match(refused.text, /node: expected/);
  assert.match(httpAnswer(refused), new RegExp(`Content-Length: ${refused.text.length}\r\n\r\n<!doctype`));
  const long = answerForm(new Uint8Array(mostRequestBytes + 1).fill(65));
  assert.ok(long !== 'more' && long.status === 413);
});

test('the sockets of a kibbutz: opened and looked up until it works, only the provider is heard on the uplink', () => {
  const heard: KibbutzInput[] = [];
  const said: string[] = [];
  const opened: { port: number; group: string | undefined; socket: FakeSocket }[] = [];
  const answers: (string | undefined)[] = [undefined, '10.9.9.9'];
  let isBroken = true;
  const network: Network = {
    openUdp: (port, multicast, onReadable) => {
      if (isBroken) throw new Error('no network');
      const socket = new FakeSocket(onReadable);
      opened.push({ port, group: multicast?.group, socket });
      return socket;
    },
    resolve: (_, done) => done(answers.shift()),
    setDate: done => done(),
  };
  const settings = kibbutzOf({ ...kibbutz, owner: { quotaBytes: 1_000_000 } });
  assert.ok(settings.ok);
  const sockets = new KibbutzSockets(settings.value, network, {
    hear: input => heard.push(input),
    complain: text => said.push(text),
  });
  sockets.perform({ kind: 'datagram', link: 'local', payload });
  sockets.perform({ kind: 'datagram', link: 'uplink', payload });
  sockets.poll(0);
  assert.match(said.shift()!, /group 239\.255\.107\.105: Error: no network/);
  assert.match(said.shift()!, /provider\.lan has no address/);
  isBroken = false;
  sockets.poll(4_999);
  assert.equal([opened, said], [[], []], 'not tried again at once');
  sockets.poll(5_000);
  sockets.poll(5_001);
  assert.equal(
    opened.map(({ port, group }) => [port, group]),
    [
      [49_497, '239.255.107.105'],
      [0, undefined],
    ],
  );
  // Told once, and the date while there is a quota.
  assert.equal(
    heard.map(({ kind }) => kind),
    ['battery', 'date'],
  );
  const [local, uplink] = opened.map(({ socket }) => socket);
  heard.length = 0;
  local!.arrive('10.0.0.2', 49_497);
  uplink!.arrive('10.9.9.9', 4999);
  uplink!.arrive('10.9.9.9', 5000);
  uplink!.arrive('10.9.9.8', 4999);
  assert.equal(heard, [
    { kind: 'datagram', link: 'local', peer: '10.0.0.2 49497', payload },
    { kind: 'datagram', link: 'uplink', payload },
  ]);
  sockets.perform({ kind: 'datagram', link: 'local', payload });
  sockets.perform({ kind: 'datagram', link: 'local', peer: '10.0.0.2 49498', payload });
  sockets.perform({ kind: 'datagram', link: 'uplink', payload });
  sockets.perform({ kind: 'deliver', packet: payload });
  sockets.perform({ kind: 'radio', state: 'idle' });
  assert.equal(local!.sent, ['239.255.107.105 49497', '10.0.0.2 49498']);
  assert.equal(uplink!.sent, ['10.9.9.9 4999']);
  local!.isFull = true;
  sockets.perform({ kind: 'datagram', link: 'local', payload });
  heard.length = 0;
  for (const at of [10_000, 69_999, 70_000]) sockets.sent(at, 100);
  // The provider is greeted once a minute.
  assert.equal(
    heard.map(input => (input.kind === 'packet' ? input.path : input.kind)),
    ['sent', 0, 'sent', 'sent', 0],
  );
  assert.equal(sockets.counters.snapshot(), {
    'local.received': 1,
    'local.sent': 2,
    'local.unsent': 2,
    'uplink.received': 1,
    'uplink.strangers': 2,
    'uplink.sent': 1,
    'uplink.unsent': 1,
    'packets.dropped': 1,
    'effects.not-performed': 1,
  });
});

test('the firmware says the version of the package', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  assert.match(readFileSync(join(root, 'edge/moddable/platform.ts'), 'utf8'), `'kith ${version}'`);
});

test('manifest.json names every module that the boards need and no other, and has them in flash', async () => {
  const manifest = JSON.parse(readFileSync(join(root, 'manifest.json'), 'utf8')) as {
    modules: Record<string, string[]>;
    preload: string[];
  };
  const { metafile } = await build({
    entryPoints: ['edge/moddable/main.ts'],
    absWorkingDir: root,
    bundle: true,
    metafile: true,
    write: false,
    format: 'esm',
    external: ['./sdk.js', './slots.js'],
  });
  const needed = Object.keys(metafile.inputs).map(file => file.replace(/\.ts$/, ''));
  const named = Object.values(manifest.modules).flat();
  assert.equal(named.slice().sort(), needed.map(name => `./${name}`).sort());
  // mcconfig (8.2) takes no wildcards for TypeScript there. These run on what the board says when it starts.
  const late = ['edge/moddable/main', 'edge/moddable/platform', 'edge/moddable/update'];
  assert.equal(manifest.preload.slice().sort(), needed.filter(name => !late.includes(name)).sort());
});

test('on XS under Linux: is born, takes a rule, wakes by UDP and by request, keeps the rule over kill -9', async () => {
  const program = moddableProgram();
  if (program === undefined) return;
  const folder = mkdtempSync(join(tmpdir(), 'kith-moddable-'));
  const broker = await openBroker({ port: 0 });
  const client = await connectAsync(broker.url, { reconnectPeriod: 0 });
  const magic = await bound();
  const knockPort = await freePort();
  let board: ChildProcess | undefined;
  try {
    const heard = new Listener(client);
    await client.subscribeAsync('kith/1/home/xs-1/#', { qos: 1 });
    const settings = {
      site: 'home',
      node: 'xs-1',
      broker: { host: '127.0.0.1', port: Number(new URL(broker.url).port) },
      knock: [knockPort],
      wake: { address: '127.0.0.1', port: (magic.address() as AddressInfo).port },
    };
    const file = join(folder, 'modpreferences.json');
    writeFileSync(file, JSON.stringify({ 'kith.conf': { settings: JSON.stringify(settings) } }));
    const boot = () => spawn(program, { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
    board = boot();
    const info = await heard.until(said('info'));
    assert.equal(
      [info['jobs'], info['platform']],
      [['power-proxy'], 'xs x-cli-lin: hears UDP only, no frames'],
    );
    const publish = (leaf: string, text: string) =>
      client.publishAsync(`kith/1/home/xs-1/${leaf}`, text, { qos: 1, retain: leaf.startsWith('rule') });
    await publish(
      'rule/nas',
      `{"host":"${host}","trigger":{"udp":{"dstPort":${knockPort}}},"action":"wake"}`,
    );
    assert.is((await heard.until(said('rule/nas/status')))['status'], 'accepted');
    await publish('rule/bad', '{"host":1}');
    assert.is((await heard.until(said('rule/bad/status')))['status'], 'rejected');

    const packet = once(magic, 'message');
    const knock = createSocket('udp4');
    knock.send('hello', knockPort, '127.0.0.1', () => knock.close());
    const wake = await heard.until(said('event/wake'));
    assert.equal([wake['host'], wake['rule']], [host, 'nas']);
    const [bytes] = (await packet) as [Buffer];
    const woken = parseWakeOnLan(bytes, 0, bytes.length);
    assert.ok(woken.ok && formatHex(woken.value.targetMac, ':') === host);

    board.kill('SIGKILL');
    await once(board, 'close');
    // Nobody publishes the rule again, so what is known of it is from the store.
    await publish('rule/nas', '');
    heard.clear();
    board = boot();
    assert.is((await heard.until(said('rule/nas/status')))['status'], 'accepted');
    await publish('request/wake', `{"transaction":"t","host":"${host}"}`);
    assert.equal((await heard.until(said('response/wake')))['ok'], true);
    assert.is((await heard.until(said('event/wake')))['text'], 'requested');
    // Removed while it listens: a publication without a payload.
    await publish('rule/nas', '');
    await heard.until(said('info', body => (body['rules'] as { count: number }).count === 0));
  } finally {
    board?.kill('SIGKILL');
    magic.close();
    await client.endAsync(true);
    await broker.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('on XS under Linux: a rule that was acknowledged is kept, though the broker takes nothing of what the board says', async () => {
  const program = moddableProgram();
  if (program === undefined) return;
  const folder = mkdtempSync(join(tmpdir(), 'kith-moddable-'));
  const rules = 14; // More than a board lets wait, fewer than it holds.
  let acknowledged = 0;
  let isDone: () => void;
  const done = new Promise<void>(resolve => {
    isDone = resolve;
  });
  const server = createServer(socket => {
    socket.on('error', () => undefined);
    let heard = Buffer.alloc(0);
    socket.on('data', bytes => {
      heard = Buffer.concat([heard, bytes]);
      for (;;) {
        const packet = firstPacket(heard);
        if (!packet) return;
        heard = heard.subarray(packet.length);
        const send = () => {
          const i = acknowledged + 1;
          socket.write(publication(`kith/1/home/xs-1/rule/r${i}`, i));
        };
        if (packet[0] === 0x10) {
          socket.write(Buffer.from('20020000', 'hex'));
          send();
        } else if (packet[0] === 0x40) {
          acknowledged++;
          if (acknowledged === rules) isDone();
          // After the board has said how it stands, so that this waits too.
          else setTimeout(send, 500);
        }
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  let board: ChildProcess | undefined;
  try {
    const broker = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
    const file = join(folder, 'modpreferences.json');
    writeFileSync(
      file,
      JSON.stringify({ 'kith.conf': { settings: JSON.stringify({ site: 'home', node: 'xs-1', broker }) } }),
    );
    board = spawn(program, { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
    await done;
    board.kill('SIGKILL');
    const kept = JSON.parse(readFileSync(file, 'utf8')) as { kith: Record<string, unknown> };
    assert.is(Object.keys(kept.kith).filter(name => name.startsWith('k')).length, rules);
  } finally {
    board?.kill('SIGKILL');
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

/** The first MQTT packet of what came, if it is all there (MQTT 3.1.1 §2.2.3). */
function firstPacket(bytes: Buffer): Buffer | undefined {
  let length = 0;
  for (let at = 1; at < bytes.length; at++) {
    length += (bytes[at]! & 127) * 128 ** (at - 1);
    if (bytes[at]! < 128)
      return bytes.length < at + 1 + length ? undefined : bytes.subarray(0, at + 1 + length);
  }
  return undefined;
}

/** A retained rule with QoS 1. */
function publication(topic: string, packetId: number): Buffer {
  const rule = Buffer.from(`{"host":"${host}","trigger":{"timer":{"every":"1h"}},"action":"wake"}`);
  const body = Buffer.concat([
    Buffer.from([0, topic.length]),
    Buffer.from(topic),
    Buffer.from([0, packetId]),
    rule,
  ]);
  return Buffer.concat([Buffer.from([0x33, body.length]), body]);
}

/** The body of a publication of the node's, on such a leaf, that is as wanted. */
function said(leaf: string, wanted: (body: Record<string, unknown>) => boolean = () => true) {
  return (topic: string, payload: Uint8Array): Record<string, unknown> | undefined => {
    if (topic !== `kith/1/home/xs-1/${leaf}`) return undefined;
    const decoded = decodeCbor(payload, { depth: 8 });
    if (!decoded.ok) throw new Error(`${topic}: ${decoded.reason}`);
    const body = decoded.value as Record<string, unknown>;
    return wanted(body) ? body : undefined;
  };
}

test("a board on XS under Linux carries a gateway's packets to the provider and back, and keeps its account over kill -9", async () => {
  const program = moddableProgram();
  if (program === undefined || !Namespace.available({ ...brokerPrograms, ping: 'iputils-ping' })) return;
  // One local link, IPv4 alone, and an uplink of each to the provider.
  const [inside, beside, internet] = [Namespace.make(), Namespace.make(), Namespace.make()];
  inside.connect('wlan', beside, 'wlan');
  internet.connect('up1', inside, 'wwan');
  internet.connect('up2', beside, 'wwan');
  const address = (of: Namespace, name: string, text: string) =>
    of.run('ip', 'address', 'add', text, 'dev', name);
  address(inside, 'wlan', '10.3.0.1/24');
  address(beside, 'wlan', '10.3.0.2/24');
  address(inside, 'wwan', '10.4.1.2/24');
  address(internet, 'up1', '10.4.1.1/24');
  address(beside, 'wwan', '10.4.2.2/24');
  address(internet, 'up2', '10.4.2.1/24');
  const provider = new TestProvider(internet);
  const board = new Gateway(inside);
  const gateway = new Gateway(beside);
  const magic = boundIn(beside, 9);
  try {
    const common = {
      policy: 'paper',
      owner: { minimumPacketsPerMinute: 0 },
      tail: '3s',
      promotion: '100ms',
      exchange: '200ms',
      uplinkBitsPerSecond: 2_000_000,
    };
    const settings = {
      site: 'home',
      node: 'gw-1',
      broker: { host: '127.0.0.1' },
      wake: { address: '10.3.0.255', port: 9 },
      kibbutz: {
        ...common,
        registration: provider.register('board'),
        local: { interface: 'wlan' },
        provider: { host: '10.4.1.1', port: provider.port },
      },
    };
    board.write(
      'modpreferences.json',
      JSON.stringify({ 'kith.conf': { settings: JSON.stringify(settings) } }),
    );
    gateway.write('registration.json', JSON.stringify(provider.register('gateway')));
    gateway.configure({
      links: [{ name: 'local', interface: 'wlan' }],
      jobs: {
        kibbutz: {
          ...common,
          registrationFile: 'registration.json',
          local: { interface: 'wlan', group: kibbutzGroup4 },
          provider: { host: '10.4.2.1', port: provider.port },
          tun: { addresses: ['10.1.0.1/24'] },
        },
      },
    });
    const boot = () => {
      // Its store is in the folder where it runs.
      const [first, ...rest] = inside.command('sh', '-c', `cd ${board.directory} && exec ${program}`);
      return Process.start(first, rest, /the broker took us/);
    };
    for (const one of [board, gateway]) {
      await one.startBroker();
      await one.listen();
    }
    let running = await boot();
    let broadcast = new Uint8Array(0);
    magic.on('message', bytes => {
      broadcast = bytes;
    });
    await board.ready();
    await board.put('rule/nas', { host, trigger: { udp: { dstPort: 4000 } }, action: 'wake' });
    board.publish('request/wake', `{"transaction":"t","host":"${host}"}`);
    await eventually('a magic packet to all', () => parseWakeOnLan(broadcast, 0, broadcast.length).ok);
    await gateway.start();
    await gateway.ready();
    const [first, ...rest] = beside.command('ping', '-n', '-c', '1', '-W', '1', '10.1.0.2');
    const isAnswered = async () => (await Process.run(first, rest)).code === 0;
    // By its own uplink, by which the provider introduces it to the board and the board to it.
    await eventually('an answer over the own uplink', isAnswered);
    await eventually('both introduced', () =>
      [board, gateway].every(one => one.counter('kibbutz', 'introductions') > 0),
    );
    // Behind its tail, and then without it.
    beside.run('ip', 'link', 'set', 'wwan', 'down');
    await eventually('an answer through the board', isAnswered);
    await eventually('the board heard', () => gateway.counter('kibbutz', 'advertisements.received') > 0);
    // The next ledger of either is due within a minute; after a restart it is said at once, from what was kept.
    const before = board.last('ledger')!['boot'];
    await running.kill('SIGKILL');
    running = await boot();
    await eventually('the ledger of the next boot', () => board.last('ledger')!['boot'] !== before);
    const given = accountOf(board.last('ledger'), 'given');
    assert.ok(given > 0 && given <= provider.givenBytes, `${given} of ${provider.givenBytes}`);
    await eventually('an answer through the board again', isAnswered);
    await gateway.daemon!.kill('SIGTERM');
    const carriedBytes = provider.givenBytes;
    await gateway.start();
    await gateway.ready();
    await eventually('what was taken', () => accountOf(gateway.last('ledger'), 'taken') >= carriedBytes);
  } finally {
    magic.close();
    provider.close();
  }
});

/** A socket of the SDK. */
class FakeSocket implements UdpSocket {
  readonly sent: string[] = [];
  isFull = false;
  private readonly arrived: ReturnType<UdpSocket['read']>[] = [];
  private readonly onReadable: (this: UdpSocket, count: number) => void;

  constructor(onReadable: (this: UdpSocket, count: number) => void) {
    this.onReadable = onReadable;
  }

  arrive(address: string, port: number): void {
    this.arrived.push(Object.assign(payload.slice().buffer, { address, port }));
    this.onReadable(this.arrived.length);
  }

  read(): ReturnType<UdpSocket['read']> {
    return this.arrived.shift();
  }

  write(_: Uint8Array, address: string, port: number): void {
    if (this.isFull) throw new Error('no room');
    this.sent.push(`${address} ${port}`);
  }

  close(): void {}
}

/** As `kith provider`, that answers every packet of a member with the one that ping expects. */
class TestProvider {
  readonly port = 4999;
  private readonly provider = new Provider({
    master: new Uint8Array(16).fill(7),
    aeads: [aes128Gcm],
    save: () => undefined,
  });
  private readonly socket: Socket;
  private readonly endpoints = new Map<number, { readonly address: string; readonly port: number }>();

  constructor(namespace: Namespace) {
    this.socket = boundIn(namespace, this.port);
    this.socket.on('message', (payload, from) => this.hear(payload, from));
  }

  /** What the board has carried, as the provider counts. */
  get givenBytes(): number {
    return this.provider.statement(1)!.givenBytes;
  }

  register(name: string): object {
    const registered = this.provider.register(name, [1]);
    if (!registered.ok) throw new Error(registered.reason);
    return { ...registered.value, key: formatHex(registered.value.key) };
  }

  close(): void {
    this.socket.close();
  }

  private hear(payload: Uint8Array, from: { readonly address: string; readonly port: number }): void {
    const now = Math.floor(performance.now());
    const received = this.provider.receive(now, payload);
    if (!received.ok) return;
    const { member, carrier, packet } = received.value;
    if (carrier === 0) {
      const isNew = !this.endpoints.has(member);
      this.endpoints.set(member, from);
      if (isNew && this.endpoints.size === 2) this.introduce();
    }
    const answer = answerOf(packet);
    const sent = answer && this.provider.send(now, { to: member, carrier, packet: answer });
    if (sent?.ok) this.send(sent.value);
  }

  private introduce(): void {
    const introduced = this.provider.introduce(1, 2);
    if (!introduced.ok) throw new Error(introduced.reason);
    for (const one of introduced.value) this.send(one);
  }

  private send({ member, bytes }: Datagram): void {
    const endpoint = this.endpoints.get(member);
    if (endpoint) this.socket.send(bytes, endpoint.port, endpoint.address);
  }
}

/** An ICMP echo request over IPv4 turned around (RFC 792); `undefined` for another packet. */
function answerOf(packet: Uint8Array): Uint8Array | undefined {
  if (packet[0] !== 0x45 || packet[9] !== 1 || packet[20] !== 8) return undefined;
  const answer = packet.slice();
  answer.set(packet.subarray(12, 16), 16);
  answer.set(packet.subarray(16, 20), 12);
  answer[20] = 0;
  // One's complement: the type was 8 in the upper byte of its word (RFC 1624 §3).
  const sum = ((packet[22]! << 8) | packet[23]!) + 0x0800;
  answer[22] = ((sum + (sum >> 16)) >> 8) & 0xff;
  answer[23] = (sum + (sum >> 16)) & 0xff;
  return answer;
}

/** What a ledger says of the one neighbour. */
function accountOf(ledger: Record<string, unknown> | undefined, what: 'given' | 'taken'): number {
  const accounts = (ledger?.['neighbours'] ?? {}) as Record<string, Record<string, number>>;
  return Object.values(accounts)[0]?.[what] ?? 0;
}

function boundIn(namespace: Namespace, port: number): Socket {
  // Looked up at once, so that the socket is made inside.
  const socket = createSocket({ type: 'udp4', lookup: (name, _, done) => done(null, name, 4) });
  namespace.enter(() => socket.bind(port, '0.0.0.0'));
  return socket;
}

async function bound(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

async function freePort(): Promise<number> {
  const socket = await bound();
  const { port } = socket.address() as AddressInfo;
  socket.close();
  await once(socket, 'close');
  return port;
}

test.run();
