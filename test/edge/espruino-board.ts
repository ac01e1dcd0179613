/**
 * Boards for tests: Espruino for Linux with a console on TCP and its flash in a folder, a broker beside it, and a client that
 * hears all the board says. KITH_ESPRUINO names the engine; without it nothing runs.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync, type MqttClient } from 'mqtt';
import * as assert from 'uvu/assert';
import { formatHex } from '../../agent/core/bytes.js';
import { type CborValue, decodeCbor } from '../../agent/message/cbor.js';
import { descriptors } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { parseTopic } from '../../agent/message/topic.js';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { Listener } from '../support/listener.js';
import type { Namespace } from '../support/namespaces.js';
import { needs } from '../support/needs.js';

const noEspruino = 'KITH_ESPRUINO is not set: the path of an Espruino for Linux (make BOARD=LINUX RELEASE=1)';

export interface Bench {
  readonly broker: Awaited<ReturnType<typeof openBroker>>;
  readonly client: MqttClient;
  readonly heard: Listener;
  readonly board: WiredBoard;
  readonly folder: string;
  /** Puts settings and firmware into the board's Storage, as `kith flash` does, but at once. */
  write(script: string, port: number, more?: string, settings?: object): Promise<void>;
}

/** With a board that is off; skipped without an engine. */
export async function onBoard(use: (bench: Bench) => Promise<void>): Promise<void> {
  const program = process.env['KITH_ESPRUINO'];
  if (!program) {
    console.log(`SKIP: ${noEspruino}`);
    return;
  }
  if (!needs('socat', 'socat')) return;
  const folder = mkdtempSync(join(tmpdir(), 'kith-espruino-'));
  const broker = await openBroker({ port: 0 });
  const client = await connectAsync(broker.url, { reconnectPeriod: 0 });
  const board = await WiredBoard.open(program, folder);
  const write = async (script: string, port: number, more = '', changed: object = {}) => {
    const settings = { site: 'home', node: 'esp-1', broker: { host: '127.0.0.1', port }, ...changed };
    const text = JSON.stringify(JSON.stringify(settings));
    const lines = [`var s=require("Storage");s.write("kith.json",${text});`];
    for (let i = 0; i < script.length; i += 384) {
      const size = i === 0 ? `,${script.length}` : '';
      lines.push(`s.write(".bootcde",${JSON.stringify(script.slice(i, i + 384))},${i}${size});`);
    }
    const file = join(folder, 'write.js');
    writeFileSync(file, [...lines, more, 'quit();'].join('\n'));
    await once(spawn(program, [file], { cwd: folder, stdio: 'ignore' }), 'close');
  };
  try {
    await client.subscribeAsync('kith/1/home/esp-1/#', { qos: 1 });
    await use({ broker, client, heard: new Listener(client), board, folder, write });
  } finally {
    await board.close();
    await client.endAsync(true);
    await broker.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a publication says, held against its schema. */
export function bodyOf(topic: string, payload: Uint8Array): { [key: string]: CborValue } {
  const decoded = decodeCbor(payload, { depth: 8 });
  assert.ok(decoded.ok, `${topic} ${formatHex(payload)}`);
  const parsed = parseTopic(topic);
  assert.ok(parsed.ok);
  assert.is(validate(descriptors[parsed.value.leaf.kind as 'info'], decoded.value), undefined, topic);
  return decoded.value as { [key: string]: CborValue };
}

/** Asks the board for its telemetry. */
export async function report(
  client: MqttClient,
  heard: Listener,
  node = 'esp-1',
  job = 'power-proxy',
): Promise<{ [key: string]: CborValue }> {
  heard.clear();
  const topic = `kith/1/home/${node}/`;
  await client.publishAsync(`${topic}request/report`, '{"transaction":"t"}', { qos: 1 });
  const leaf = `${topic}telemetry/${job}`;
  return bodyOf(
    leaf,
    await heard.until((heardTopic, payload) => (heardTopic === leaf ? payload : undefined)),
  );
}

export function faultsOf(counters: CborValue | undefined): string {
  const names = ['outbox.full', 'records.unreadable', 'store.failed', 'board.faults'];
  return names.filter(name => (counters as { [name: string]: CborValue })[name] !== undefined).join();
}

/**
 * A board whose console is a TCP port, as the uploader wants it: it goes on when nobody is connected. socat gives it the
 * terminal it wants; both are a process group, and a power cut is the end of that.
 */
class WiredBoard {
  private process: ChildProcess | undefined;
  private readonly program: string;
  private readonly folder: string;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  static async open(program: string, folder: string): Promise<WiredBoard> {
    const board = new WiredBoard(program, folder);
    board.server.listen(0, '127.0.0.1');
    await once(board.server, 'listening');
    return board;
  }

  private constructor(program: string, folder: string) {
    this.program = program;
    this.folder = folder;
    this.server = createServer(socket => {
      this.sockets.add(socket);
      socket.on('data', chunk => this.process?.stdin?.write(chunk));
      socket.on('error', () => undefined);
      socket.on('close', () => this.sockets.delete(socket));
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** `inside`: the namespace that it is in; left out: this one. */
  powerOn(inside?: Namespace): void {
    const program = inside ? inside.command(this.program).join(' ') : this.program;
    const child = spawn('socat', ['-', `EXEC:${program},pty,raw,echo=0`], {
      cwd: this.folder,
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    child.stdin.on('error', () => undefined);
    child.stdout.on('data', chunk => {
      for (const socket of this.sockets) socket.write(chunk);
    });
    this.process = child;
  }

  /** Without warning, as SIGKILL is. */
  async powerOff(): Promise<void> {
    const { process: child } = this;
    this.process = undefined;
    if (!child?.pid) return;
    const ended = once(child, 'close');
    process.kill(-child.pid, 'SIGKILL');
    await ended;
  }

  async close(): Promise<void> {
    await this.powerOff();
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
    await once(this.server, 'close');
  }
}
