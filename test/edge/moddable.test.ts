import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { connectAsync } from 'mqtt';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import { emitEthernet, etherTypeArp } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { parseWakeOnLan, wakeOnLanEtherType } from '../../agent/wire/wol.js';
import { answerForm, httpAnswer, mostRequestBytes, parseSettings } from '../../edge/moddable/settings.js';
import { frameOf, outgoingOf } from '../../edge/moddable/udp-link.js';
import { environmentForModdable } from '../../host-sim/cli/flash.js';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { Listener } from '../support/listener.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const host = '3c:22:fb:01:02:03';
const payload = new Uint8Array([1, 2, 3, 4, 5]);

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
  assert.ok(parseSettings(JSON.stringify(good)).ok);
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
  const ask = (text: string) => {
    const got = answerForm(encodeUtf8(text));
    return got === 'more' ? got : `${got.status}${got.settings ?? ''} ${got.text.slice(-600)}`;
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
    external: ['./sdk.js'],
  });
  const needed = Object.keys(metafile.inputs).map(file => file.replace(/\.ts$/, ''));
  const named = Object.values(manifest.modules).flat();
  assert.equal(named.slice().sort(), needed.map(name => `./${name}`).sort());
  // mcconfig (8.2) takes no wildcards for TypeScript there. These two run on what the board says when it starts.
  const late = ['edge/moddable/main', 'edge/moddable/platform'];
  assert.equal(manifest.preload.slice().sort(), needed.filter(name => !late.includes(name)).sort());
});

test('on XS under Linux: is born, takes a rule, wakes by UDP and by request, keeps the rule over kill -9', async () => {
  if (!process.env['MODDABLE']) {
    const why = 'MODDABLE is not set: the folder of the Moddable SDK, its tools built (docs/moddable.md)';
    if (process.env['KITH_REQUIRE_MODDABLE']) throw new Error(why);
    console.log(`SKIP: ${why}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'kith-moddable-'));
  const broker = await openBroker({ port: 0 });
  const client = await connectAsync(broker.url, { reconnectPeriod: 0 });
  const magic = await bound();
  const knockPort = await freePort();
  let board: ChildProcess | undefined;
  try {
    const built = spawnSync(
      'mcconfig',
      ['-m', '-p', 'x-cli-lin', '-o', folder, join(root, 'manifest.json')],
      { env: environmentForModdable(process.env), encoding: 'utf8', timeout: 400_000 },
    );
    assert.is(built.status, 0, `${built.stdout}${built.stderr}`.slice(-2000));
    const program = join(folder, 'bin/lin/release', basename(root));
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
