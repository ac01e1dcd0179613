/** What joins the agent to the Moddable SDK (edge/moddable/platform.ts, update.ts), on Node: an SDK of our own that fails when it likes. */

import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { generate, type Packet, parser } from 'mqtt-packet';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import type { UpdateInput } from '../../agent/port/effect.js';
import type { ConnectOptions, Stream } from '../../edge/moddable/sdk.js';

const modules = ['sdk', 'slots'] as const;
/** What the fakes below do for the two modules that a board's manifest chooses. */
const fakes: { sdk: object; slots: object } = { sdk: {}, slots: {} };
const names = {
  sdk: 'connect openUdp resolve joinNetwork macAddress setDate store repeat ticks elapsedMs random print crypt platformName tlsFault',
  slots: 'builtWith readSlots beginImage confirm rollBack restart ecdsa',
};

const boardOfOurs: Plugin = {
  name: 'board',
  setup(bundle) {
    bundle.onResolve({ filter: /\/(sdk|slots)\.js$/ }, ({ path }) => ({ path, namespace: 'board' }));
    bundle.onLoad({ filter: /./, namespace: 'board' }, ({ path }) => {
      const name = modules.find(one => path.includes(one))!;
      const contents = names[name]
        .split(' ')
        .map(one => `export const ${one} = globalThis.kithBoard.${name}.${one};`)
        .join('\n');
      return { contents };
    });
  },
};

/** Platform and Updater, built once. */
const program = build({
  stdin: {
    contents: "export { Platform } from './platform.js'; export { Updater } from './update.js';",
    resolveDir: fileURLToPath(new URL('../../edge/moddable', import.meta.url)),
  },
  bundle: true,
  format: 'esm',
  write: false,
  plugins: [boardOfOurs],
});
let loads = 0;

/** A program of its own, with the fakes as they are now. */
async function load() {
  const { outputFiles } = await program;
  (globalThis as { kithBoard?: unknown }).kithBoard = fakes;
  const text = `${outputFiles[0]!.text}// ${++loads}`;
  const url = `data:text/javascript;base64,${Buffer.from(text).toString('base64')}`;
  return (await import(url)) as typeof import('../../edge/moddable/platform.js') &
    typeof import('../../edge/moddable/update.js');
}

/** A connection of the board with a broker that answers as it should, unless there is trouble. */
class Connection implements Stream {
  readonly packets: Packet[] = [];
  isClosed = false;
  roomBytes = 0;
  private readonly calls: ConnectOptions;
  private readonly board: Board;
  private readonly reader = parser();
  private readonly unread: Buffer[] = [];

  constructor(board: Board, calls: ConnectOptions) {
    this.board = board;
    this.calls = calls;
    this.reader.on('packet', packet => this.answer(packet));
    this.reader.on('error', error => board.faults.push(error.message));
  }

  read(): ArrayBuffer {
    return new Uint8Array(Buffer.concat(this.unread.splice(0))).buffer;
  }

  write(bytes: Uint8Array): number {
    const { random, trouble } = this.board;
    if (random.chance(trouble)) throw new Error('no memory');
    assert.ok(bytes.length <= this.roomBytes);
    this.roomBytes -= bytes.length;
    this.reader.parse(Buffer.from(bytes));
    return this.roomBytes;
  }

  close(): void {
    this.isClosed = true;
  }

  say(packet: Packet): void {
    this.unread.push(generate(packet));
  }

  step(): void {
    const { random, trouble } = this.board;
    if (random.chance(0.5)) {
      this.roomBytes = Math.min(4000, this.roomBytes + 1 + random.below(800));
      this.calls.onWritable(this.roomBytes);
    }
    if (this.packets.length > 0 && random.chance(0.3))
      for (let i = random.below(10); i > 0; i--)
        this.say({
          cmd: 'publish',
          topic: `kith/1/home/xs-1/${['rule/a', 'request/report'][random.below(2)]}`,
          payload: ['{"transaction":"t"}', ''][random.below(2)]!,
          qos: 1,
          dup: false,
          retain: random.chance(0.5),
          messageId: 1 + random.below(65_535),
        });
    if (!this.isClosed && this.unread.length > 0) this.calls.onReadable(1);
    if (!this.isClosed && random.chance(trouble / 5)) this.calls.onError();
  }

  private answer(packet: Packet): void {
    const { random, trouble, faults } = this.board;
    if ((packet.cmd === 'connect') !== (this.packets.length === 0))
      faults.push(`${packet.cmd} is packet ${this.packets.length} of its connection`);
    this.packets.push(packet);
    const { messageId = 0 } = packet;
    if (random.chance(trouble)) return;
    if (packet.cmd === 'connect') this.say({ cmd: 'connack', returnCode: 0, sessionPresent: false });
    if (packet.cmd === 'subscribe') this.say({ cmd: 'suback', messageId, granted: [1] });
    if (packet.cmd === 'publish') this.say({ cmd: 'puback', messageId });
    if (packet.cmd === 'pingreq') this.say({ cmd: 'pingresp' });
  }
}

/** Time is advanced by hand. */
class Board {
  readonly random: Random;
  readonly faults: string[] = [];
  /** Chance that a write throws, that the broker does not answer; a fifth of it, that the connection breaks. */
  trouble = 0.05;
  connection: Connection | undefined;
  private now = 0;
  private readonly timers: { readonly call: () => void; readonly everyMs: number; at: number }[] = [];

  constructor(seed: number) {
    this.random = new Random(seed, 'board');
    const kept = new Map<string, ArrayBuffer>();
    fakes.sdk = {
      connect: (calls: ConnectOptions) => {
        this.connection = new Connection(this, calls);
        return this.connection;
      },
      openUdp: () => ({ read() {}, write() {}, close() {} }),
      resolve: (_: string, done: (address: string) => void) => done('192.0.2.1'),
      joinNetwork: (_: unknown, done: (isUp: boolean) => void) => done(true),
      macAddress: () => '020000000001',
      setDate: (done: () => void) => done(),
      store: {
        get: (_: string, key: string) => kept.get(key),
        set: (_: string, key: string, value: ArrayBuffer) => kept.set(key, value),
        delete: (_: string, key: string) => kept.delete(key),
        keys: () => [...kept.keys()],
      },
      repeat: (call: () => void, everyMs: number) =>
        this.timers.push({ call, everyMs, at: this.now + everyMs }),
      ticks: () => this.now,
      elapsedMs: (from: number, to: number) => to - from,
      random: () => this.random.unit(),
      print() {},
      crypt: {},
      platformName: 'test',
    };
    fakes.slots = { builtWith: () => ({ key: '', platform: '', sequence: 0 }) };
  }

  step(): void {
    this.now += 100;
    for (const timer of this.timers)
      if (this.now >= timer.at) {
        timer.at += timer.everyMs;
        timer.call();
      }
    if (this.connection && !this.connection.isClosed) this.connection.step();
  }
}

test('whenever a connection breaks, even in the middle of a call, the next begins with CONNECT and nothing of the former', async () => {
  const firstSeed = 1;
  const seeds = 8;
  console.log(`seeds ${firstSeed} to ${firstSeed + seeds - 1}`);
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const board = new Board(seed);
    const { Platform } = await load();
    new Platform({ site: 'home', node: 'xs-1', broker: { host: 'broker.example' } }).start();
    const connections = new Set<Connection | undefined>();
    for (let i = 0; i < 2000; i++) {
      board.step();
      connections.add(board.connection);
    }
    assert.ok(connections.size > 5);
    // When all is well again it comes back and says that it is there.
    board.trouble = 0;
    for (let i = 0; i < 2000; i++) board.step();
    assert.equal(board.faults, [], `seed ${seed}`);
    const states = board.connection!.packets.filter(
      packet => packet.cmd === 'publish' && packet.topic.endsWith('/state'),
    );
    assert.is(String((states.at(-1) as { payload: Buffer }).payload), 'ready', `seed ${seed}`);
  }
});

test('an image is activated when it is whole, and while the store keeps what becomes of it', async () => {
  const done: string[] = [];
  const told: UpdateInput[] = [];
  fakes.slots = {
    beginImage: () => ({ append() {}, activate: () => done.push('activate'), cancel() {} }),
    restart: () => done.push('restart'),
  };
  const answer = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxy');
  const unread = [answer.subarray(0, -1), answer.subarray(-1)];
  let calls: ConnectOptions | undefined;
  const { Updater } = await load();
  const updater = new Updater(
    {
      connect: options => {
        calls = options;
        return { read: () => new Uint8Array(unread.shift()!).buffer, write: () => 0, close() {} };
      },
      resolve: (_, done) => done('192.0.2.1'),
      setDate() {},
      tlsFault: undefined,
    },
    { give: input => told.push(input), stop() {}, later: call => call() },
  );
  updater.perform({ kind: 'image-fetch', uri: 'http://images.example/x', from: 0, size: 2 });
  const refusal = () => {
    updater.perform({ kind: 'slot', action: 'activate' });
    assert.equal(done, []);
    return (told.at(-1) as { reason: string }).reason;
  };
  calls!.onReadable(1);
  updater.isOnRecord = false;
  assert.match(refusal(), /store: expected room for the record of the update/);
  updater.isOnRecord = true;
  assert.match(refusal(), /slot: expected 2 bytes in it, got 1/);
  updater.perform({ kind: 'image-fetch', uri: 'http://images.example/x', from: 0, size: 2 });
  unread.unshift(answer.subarray(0, -1));
  calls!.onReadable(1);
  calls!.onReadable(1);
  updater.perform({ kind: 'slot', action: 'activate' });
  assert.equal(done, ['activate', 'restart']);
});

test.run();
