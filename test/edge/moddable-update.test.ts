import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync, type MqttClient } from 'mqtt';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import type { Manifest } from '../../agent/message/messages.js';
import { imageCrypto, type NativeEcdsa } from '../../edge/moddable/es256.js';
import {
  HttpAnswer,
  isFault,
  mostHeadBytes,
  parsePlace,
  requestBytes,
} from '../../edge/moddable/http-get.js';
import { signManifest } from '../../host-sim/cli/firmware.js';
import { type Broker, openBroker } from '../../host-sim/coordinator/broker.js';
import { Listener } from '../support/listener.js';
import { Process } from '../support/process.js';
import { type KeyPair, keyPair } from '../update/update-rig.js';
import { moddableProgram, removeModdableProgram } from './moddable-program.js';

test.after.each(() => Process.killAll());
test.after(() => removeModdableProgram());

const body = new Uint8Array(100).map((_, at) => at);

/** What is handed on of an answer that comes in pieces, or the fault. */
function receive(answer: HttpAnswer, head: string, pieceBytes: number, content = body): Uint8Array | string {
  const all = new Uint8Array([...encodeUtf8(head), ...content]);
  const got: number[] = [];
  for (let at = 0; at < all.length; at += pieceBytes) {
    const part = answer.receive(all.subarray(at, at + pieceBytes));
    if (isFault(part)) return `${part.reason}${part.isFinal ? '' : ', try again'}`;
    got.push(...part);
  }
  return new Uint8Array(got);
}

test('a URI becomes a place and a request', () => {
  assert.equal(parsePlace('http://a.example/b/c?d=1#e'), {
    tls: false,
    host: 'a.example',
    port: 80,
    target: '/b/c?d=1',
  });
  assert.equal(parsePlace('https://10.0.0.1:8443'), { tls: true, host: '10.0.0.1', port: 8443, target: '/' });
  assert.is(parsePlace('http://a?b')?.target, '/?b');
  for (const uri of [
    'ftp://a/',
    'http://',
    'http://u@a/',
    'http://[::1]/',
    'http://a:0/',
    'http://a:65536/',
    'http://a:b/',
  ])
    assert.is(parsePlace(uri), undefined, uri);
  const text = (from: number) => Buffer.from(requestBytes(parsePlace('http://a:81/b')!, from)).toString();
  assert.match(text(0), /^GET \/b HTTP\/1\.1\r\nHost: a:81\r\n(?!.*Range)[\s\S]*Connection: close\r\n\r\n$/);
  assert.match(text(7), /\r\nRange: bytes=7-\r\n/);
});

test('an answer gives its body however it is cut, from the offset that was asked for', () => {
  const whole = 'HTTP/1.1 200 OK\r\ncontent-LENGTH: 100\r\n\r\n';
  const part = 'HTTP/1.1 206 Partial Content\r\nContent-Length: 60\r\nContent-Range: bytes 40-99/100\r\n\r\n';
  for (let piece = 1; piece <= 220; piece++) {
    assert.equal(receive(new HttpAnswer(0, 100), whole, piece), body, `pieces of ${piece}`);
    assert.equal(receive(new HttpAnswer(40, 100), part, piece, body.subarray(40)), body.slice(40));
    // A server that knows no ranges sends all.
    assert.equal(receive(new HttpAnswer(40, 100), whole, piece), body.slice(40));
    // Before the answer: RFC 8297 §2.
    const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n';
    assert.equal(receive(new HttpAnswer(0, 100), hints + hints + whole, piece), body, `pieces of ${piece}`);
  }
});

test('an answer that is of no use is refused, for good or for now', () => {
  const answers: readonly (readonly [string, RegExp])[] = [
    ['HTTP/1.1 404 Not Found\r\n\r\n', /^HTTP 404$/],
    ['HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n', /^HTTP 301$/],
    ['HTTP/1.1 503 Busy\r\n\r\n', /^HTTP 503, try again$/],
    ['HTTP/1.1 429 Slow\r\n\r\n', /^HTTP 429, try again$/],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', /^expected a Content-Length/],
    ['HTTP/1.1 200 OK\r\n\r\n', /^expected a Content-Length/],
    ['HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n', /^size: expected 100, got 99$/],
    ['HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n', /^size: expected 100, got NaN$/],
    ['HTTP/1.1 206 P\r\nContent-Length: 60\r\n\r\n', /^range: expected bytes 40-99\/100, got none$/],
    ['HTTP/1.1 206 P\r\nContent-Length: 60\r\nContent-Range: bytes 41-100/100\r\n\r\n', /^range: expected/],
    ['SSH-2.0-x\r\n\r\n', /^expected HTTP\/1.1$/],
    ['HTTP/1.1 206 P\r\nContent-Length: 60\r\nContent-Range: \xff\x1b[2J\r\n\r\n', /, got \?\?\?\[2J$/],
    ['x'.repeat(mostHeadBytes + 1), /^no HTTP/],
  ];
  for (const [head, expected] of answers)
    assert.match(String(receive(new HttpAnswer(40, 100), head, 16)), expected, head.slice(0, 60));
  const seed = 5;
  const random = new Random(seed, 'http');
  for (let i = 0; i < 5000; i++) {
    const bytes = new Uint8Array(random.below(300)).map(() => random.below(256));
    const answer = new HttpAnswer(random.below(100), 100);
    for (let at = 0; at < bytes.length; at += 50)
      if (isFault(answer.receive(bytes.subarray(at, at + 50)))) break;
  }
});

test('a signature is verified by curve arithmetic alone, by the key that made it and no other', () => {
  const { verifyEs256, sha256 } = imageCrypto(nodeArithmetic);
  const [message, other] = [encodeUtf8('one'), encodeUtf8('two')];
  for (let i = 0; i < 3; i++) {
    const { privateKey, point } = keyPair();
    const signature = new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' }));
    assert.ok(verifyEs256(point, message, signature));
    assert.not(verifyEs256(point, other, signature));
    assert.not(verifyEs256(keyPair().point, message, signature));
    for (const at of [0, 31, 32, 63]) {
      const damaged = signature.slice();
      damaged[at]! ^= 1;
      assert.not(verifyEs256(point, message, damaged), `byte ${at}`);
    }
  }
  const hash = sha256();
  hash.add(encodeUtf8('ab'));
  hash.add(encodeUtf8('c'));
  // FIPS 180-4's example (NIST, SHA256.pdf).
  assert.is(formatHex(hash.finish()), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test('on XS under Linux: signed updates over HTTP, and what goes wrong with them', async () => {
  const program = moddableProgram();
  if (program === undefined) return;
  const bench = await Bench.open(program);
  try {
    await bench.start();
    assert.equal(bench.info['jobs'], ['power-proxy', 'update']);
    // What no signature, platform or number allows is not fetched.
    assert.match(
      await bench.refusal({}, keyPair()),
      /^manifest: expected the signature of this firmware's key/,
    );
    assert.match(
      await bench.refusal({ platform: 'esp32' }),
      /^manifest.platform: expected x-cli-lin, got esp32$/,
    );
    assert.match(await bench.refusal({ size: 16_000_000 }), /^manifest.size: expected at most 2031616/);
    assert.is(bench.requests.length, 0);
    // What the server gives is not what was signed.
    assert.match(
      await bench.outcome({ uri: `${bench.url}/missing` }),
      /^failed: 1.0 \(sequence 1\): HTTP 404$/,
    );
    assert.match(
      await bench.outcome({ digest: new Uint8Array(32) }),
      /^failed: .*: digest: expected 00000000…/,
    );
    assert.match(
      await bench.outcome({ size: image.length + 1 }),
      /^failed: .*: size: expected 300001, got 300000$/,
    );
    assert.match(
      await bench.outcome({ uri: 'https://127.0.0.1/x' }),
      /^failed: .*: the Linux build of this firmware has no TLS$/,
    );
    assert.match(
      await bench.outcome({ uri: 'http://u@127.0.0.1/x' }),
      /^failed: .*: uri: expected http or https/,
    );

    // As people do it; the connection breaks half-way.
    bench.breakAt = 150_000;
    bench.requests.length = 0;
    const update = Process.runKith(bench.updateArguments({ version: '2.0', sequence: 2 }));
    await bench.restarted();
    assert.equal(new Uint8Array(readFileSync(join(bench.folder, 'slot-b'))), image);
    await bench.start();
    const { code, output } = await update;
    assert.is(code, 0, output);
    assert.match(
      output,
      /^begun: 2.0 \(sequence 2\): 300000 bytes from http[\s\S]*\nloading: [\s\S]*\ninstalled: [\s\S]*\nrunning: 2.0 \(sequence 2\): proved itself\n$/,
    );
    assert.equal(bench.requests.length, 2);
    assert.match(String(bench.requests[1]), /^bytes=[1-9][0-9]*-$/, 'it went on where it was');

    // No way back; and the broker goes away during the next.
    assert.match(await bench.refusal({ sequence: 2 }), /^manifest.sequence: expected at least 3, got 2$/);
    bench.holdAt = 100_000;
    assert.is(await bench.response({ version: '3.0', sequence: 3 }), undefined);
    await bench.held;
    await bench.closeBroker();
    bench.release();
    await bench.restarted();
    await bench.openBroker();
    // A power cut before it proves itself: the bootloader brings the former one back, which says so.
    await bench.start();
    bench.kill();
    await bench.restarted();
    await bench.start();
    assert.is(
      await bench.heard.until(said('event/update', event => event['text'] as string)),
      'rolled-back: 3.0 (sequence 3): it restarted before it proved itself',
    );
    assert.is(bench.store()['running'], 'b');
  } finally {
    await bench.close();
  }
});

test('on XS under Linux: firmware without a key has no updates, and says so', async () => {
  const program = moddableProgram();
  if (program === undefined) return;
  const bench = await Bench.open(program, '');
  try {
    await bench.start();
    assert.equal(bench.info['jobs'], ['power-proxy']);
    assert.is((bench.info['missing'] as Record<string, string>)['update'], 'built without updateKey');
    assert.is(await bench.response({}), 'this node has no update job: built without updateKey');
  } finally {
    await bench.close();
  }
});

interface Point {
  readonly x: bigint;
  readonly y: bigint;
  isZero(): boolean;
}

/** What the SDK's natives do, slowly: SP 800-186 §3.2.1.3 for the numbers, SEC 1 §2.2.1 for the addition. */
const nodeArithmetic: NativeEcdsa = (() => {
  const m = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const a = m - 3n;
  const pointAt = (x: bigint, y: bigint, isZero = false): Point => ({ x, y, isZero: () => isZero });
  const power = (base: bigint, exponent: bigint, modulus: bigint): bigint =>
    exponent === 0n
      ? 1n
      : (power((base * base) % modulus, exponent >> 1n, modulus) * (exponent & 1n ? base : 1n)) % modulus;
  // Fermat: the moduli are primes.
  const inverse = (value: bigint, modulus: bigint) =>
    power(((value % modulus) + modulus) % modulus, modulus - 2n, modulus);
  const add = (p: Point, q: Point): Point => {
    if (p.isZero()) return q;
    if (q.isZero()) return p;
    if (p.x === q.x && (p.y + q.y) % m === 0n) return pointAt(0n, 0n, true);
    const slope =
      p.x === q.x ? (3n * p.x * p.x + a) * inverse(2n * p.y, m) : (q.y - p.y) * inverse(q.x - p.x, m);
    const x = (((slope * slope - p.x - q.x) % m) + m) % m;
    return pointAt(x, (((slope * (p.x - x) - p.y) % m) + m) % m);
  };
  const times = (p: Point, factor: bigint): Point =>
    factor === 0n
      ? pointAt(0n, 0n, true)
      : add(times(add(p, p), factor >> 1n), factor & 1n ? p : pointAt(0n, 0n, true));
  class Digest {
    private readonly hash = createHash('sha256');
    write(bytes: Uint8Array): void {
      this.hash.update(bytes);
    }
    close(): ArrayBuffer {
      return new Uint8Array(this.hash.digest()).buffer;
    }
  }
  class Curve {
    readonly n = n;
    readonly G = pointAt(
      0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
      0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
    );
    readonly ec = {
      mul2: (p: Point, j: bigint, q: Point, k: bigint) => add(times(p, j), times(q, k)),
    };
  }
  class ECPoint {
    readonly x: bigint;
    readonly y: bigint;
    constructor(x: bigint, y: bigint) {
      this.x = x;
      this.y = y;
    }
    isZero(): boolean {
      return false;
    }
  }
  class Mont {
    private readonly modulus: bigint;
    constructor({ m: modulus }: { readonly m: bigint }) {
      this.modulus = modulus;
    }
    mul(x: bigint, y: bigint): bigint {
      return (x * y) % this.modulus;
    }
    mulinv(x: bigint): bigint {
      return inverse(x, this.modulus);
    }
  }
  const bigInt = (bytes: ArrayBuffer) => BigInt(`0x${formatHex(new Uint8Array(bytes))}`);
  return { Digest, Curve, ECPoint, Mont, bigInt };
})();

const image = new Uint8Array(300_000).map((_, at) => (at * 31) >> 3);

/** A board, its broker, and a server with its image. */
class Bench {
  heard!: Listener;
  info: Record<string, unknown> = {};
  /** The ranges asked for. */
  readonly requests: (string | undefined)[] = [];
  /** The connection of the next whole answer ends here. */
  breakAt = 0;
  /** The next whole answer waits here for `release`; `held` resolves when it does. */
  holdAt = 0;
  held: Promise<void>;
  release: () => void = () => undefined;
  readonly folder = mkdtempSync(join(tmpdir(), 'kith-moddable-'));
  private readonly key = keyPair();
  private readonly program: string;
  private readonly server: Server;
  private broker!: Broker;
  private brokerPort = 0;
  private client: MqttClient | undefined;
  private board: ChildProcess | undefined;
  private boardEnded: Promise<unknown> = Promise.resolve();
  private tellHeld: () => void = () => undefined;
  private transactions = 0;

  private constructor(program: string) {
    this.program = program;
    this.held = new Promise(resolve => {
      this.tellHeld = resolve;
    });
    this.server = createServer((request, response) => this.serve(request, response));
  }

  static async open(program: string, key?: string): Promise<Bench> {
    const bench = new Bench(program);
    bench.server.listen(0, '127.0.0.1');
    await once(bench.server, 'listening');
    await bench.openBroker();
    const settings = { site: 'home', node: 'xs-1', broker: { host: '127.0.0.1', port: bench.brokerPort } };
    const store = {
      'kith.conf': { settings: JSON.stringify(settings) },
      'kith.slots': { key: key ?? formatHex(bench.key.point) },
    };
    writeFileSync(join(bench.folder, 'modpreferences.json'), JSON.stringify(store));
    return bench;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async openBroker(): Promise<void> {
    this.broker = await openBroker({ port: this.brokerPort });
    this.brokerPort = Number(new URL(this.broker.url).port);
    this.client = await connectAsync(this.broker.url, { reconnectPeriod: 0 });
    this.heard = new Listener(this.client);
    await this.client.subscribeAsync('kith/1/home/xs-1/#', { qos: 1 });
  }

  async closeBroker(): Promise<void> {
    await this.client?.endAsync(true);
    await this.broker.close();
  }

  /** Until it is born. */
  async start(): Promise<void> {
    this.heard.clear();
    this.board = spawn(this.program, { cwd: this.folder, stdio: ['ignore', 'inherit', 'inherit'] });
    this.boardEnded = once(this.board, 'close');
    this.info = await this.heard.until(said('info', info => info));
  }

  /** The process ended, as it does to restart. */
  async restarted(): Promise<void> {
    await this.boardEnded;
  }

  kill(): void {
    this.board?.kill('SIGKILL');
  }

  async close(): Promise<void> {
    this.kill();
    this.server.closeAllConnections();
    this.server.close();
    await this.closeBroker();
    rmSync(this.folder, { recursive: true, force: true });
  }

  store(): Record<string, unknown> {
    const all = JSON.parse(readFileSync(join(this.folder, 'modpreferences.json'), 'utf8'));
    return all['kith.slots'] as Record<string, unknown>;
  }

  manifest(changes: Partial<Manifest>, { privateKey }: KeyPair = this.key): string {
    const digest = new Uint8Array(createHash('sha256').update(image).digest());
    const uri = `${this.url}/image.bin`;
    const all = {
      format: 1,
      platform: 'x-cli-lin',
      version: '1.0',
      sequence: 1,
      size: image.length,
      digest,
      uri,
    } as const;
    return formatHex(signManifest({ ...all, ...changes }, privateKey));
  }

  updateArguments(changes: Partial<Manifest>): string[] {
    const file = join(this.folder, 'manifest.hex');
    writeFileSync(file, `${this.manifest(changes)}\n`);
    return ['firmware', 'update', 'xs-1', '--manifest', file, '--broker', this.broker.url];
  }

  /** The error of the response; undefined: it began. */
  async response(changes: Partial<Manifest>, key?: KeyPair): Promise<string | undefined> {
    const transaction = `t${++this.transactions}`;
    const request = JSON.stringify({ transaction, manifest: this.manifest(changes, key) });
    await this.client?.publishAsync('kith/1/home/xs-1/request/update', request, { qos: 1 });
    const answer = await this.heard.until(
      said('response/update', response => (response['transaction'] === transaction ? response : undefined)),
    );
    return answer['ok'] === true ? undefined : String(answer['error']);
  }

  async refusal(changes: Partial<Manifest>, key?: KeyPair): Promise<string> {
    return String(await this.response(changes, key));
  }

  /** What it tells in the end of an update that it began. */
  async outcome(changes: Partial<Manifest>): Promise<string> {
    assert.is(await this.response(changes), undefined);
    return this.heard.until(
      said('event/update', event => {
        const text = event['text'] as string;
        return /^(running|rolled-back|failed):/.test(text) ? text : undefined;
      }),
    );
  }

  private serve({ url, headers }: IncomingMessage, response: ServerResponse): void {
    this.requests.push(headers.range);
    if (url !== '/image.bin') {
      response.writeHead(404, { 'Content-Length': 0 }).end();
      return;
    }
    const from = Number(/^bytes=([0-9]+)-$/.exec(headers.range ?? '')?.[1] ?? 0);
    const length = { 'Content-Length': image.length - from };
    if (from > 0) {
      const range = { 'Content-Range': `bytes ${from}-${image.length - 1}/${image.length}` };
      response.writeHead(206, { ...length, ...range }).end(image.subarray(from));
      return;
    }
    response.writeHead(200, length);
    const { breakAt, holdAt } = this;
    this.breakAt = 0;
    this.holdAt = 0;
    if (breakAt > 0) response.write(image.subarray(0, breakAt), () => response.destroy());
    else if (holdAt > 0) {
      this.release = () => response.end(image.subarray(holdAt));
      response.write(image.subarray(0, holdAt), () => this.tellHeld());
    } else response.end(image);
  }
}

/** What `take` makes of a publication of the node's on such a leaf. */
function said<T>(leaf: string, take: (body: Record<string, unknown>) => T | undefined) {
  return (topic: string, payload: Uint8Array): T | undefined => {
    if (topic !== `kith/1/home/xs-1/${leaf}`) return undefined;
    const decoded = decodeCbor(payload, { depth: 8 });
    if (!decoded.ok) throw new Error(`${topic}: ${decoded.reason}`);
    return take(decoded.value as Record<string, unknown>);
  };
}

test.run();
