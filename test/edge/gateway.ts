/** A gateway for tests: the daemon as a process in a network namespace, with Debian's mosquitto on its loopback. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeCbor } from '../../agent/message/cbor.js';
import type { Namespace } from '../support/namespaces.js';
import { eventually, Process } from '../support/process.js';

/** With their Debian packages, for `Namespace.available`. */
export const brokerPrograms = { mosquitto: 'mosquitto', mosquitto_sub: 'mosquitto-clients' };
export const base = 'kith/1/home/gw-1';
const main = fileURLToPath(new URL('../../edge/linux/main.ts', import.meta.url));

/** What a topic said, as `mosquitto_sub` heard it. */
export interface Said {
  readonly topic: string;
  readonly retained: boolean;
  readonly payload: Buffer;
}

export class Gateway {
  /** Configuration, store and the broker's files. */
  readonly directory = mkdtempSync(join(tmpdir(), 'kith-gateway-'));
  readonly namespace: Namespace;
  /** What Node runs as the daemon. */
  program: readonly string[] = ['--import', 'tsx', main];
  /** The daemon while it runs. */
  daemon: Process | undefined;
  private broker: Process | undefined;
  private ear: Process | undefined;
  private static readonly all: Gateway[] = [];

  constructor(namespace: Namespace) {
    this.namespace = namespace;
    Gateway.all.push(this);
  }

  /** For `test.after.each`, behind `Process.killAll`. */
  static removeAll(): void {
    for (const { directory } of Gateway.all.splice(0)) rmSync(directory, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  write(name: string, text: string): string {
    writeFileSync(this.path(name), text);
    return this.path(name);
  }

  configure(more: object): void {
    this.write(
      'agent.json',
      JSON.stringify({
        site: 'home',
        node: 'gw-1',
        store: 'store',
        broker: { url: 'mqtt://127.0.0.1:1883' },
        jobs: { powerProxy: { stubs: '.' } },
        telemetry: '1s',
        ...more,
      }),
    );
  }

  /** Starts the daemon; `wrapper` goes before its command line. */
  async start(ready = /runs: /, wrapper: readonly string[] = []): Promise<Process> {
    const words = [process.execPath, ...this.program, '--config', this.path('agent.json')];
    const [first, ...more] = [...wrapper, ...words];
    const [program, ...rest] = this.namespace.command(first, ...more);
    this.daemon = await Process.start(program, rest, ready);
    return this.daemon;
  }

  async startBroker(extra = 'allow_anonymous true'): Promise<void> {
    const config = this.write('mosquitto.conf', `user root\nlistener 1883 127.0.0.1\n${extra}\n`);
    const [program, ...rest] = this.namespace.command('mosquitto', '-c', config);
    this.broker = await Process.start(program, rest, /mosquitto version .* running/);
  }

  async stopBroker(): Promise<void> {
    await this.ear?.kill('SIGTERM');
    await this.broker?.kill('SIGTERM');
    this.ear = undefined;
  }

  /** Hears everything from now on, or these leaves (`+` for any part), and all that is retained. */
  async listen(...leaves: readonly string[]): Promise<void> {
    // It says nothing when it has subscribed; a retained message tells.
    this.namespace.run('mosquitto_pub', '-r', '-t', 'kith/ear', '-m', 'open');
    const filters = leaves.length === 0 ? ['kith/#'] : ['kith/ear', ...leaves.map(leaf => `${base}/${leaf}`)];
    const words = ['-F', '%r %t %x', ...filters.flatMap(filter => ['-t', filter])];
    const [program, ...rest] = this.namespace.command('mosquitto_sub', ...words);
    this.ear = await Process.start(program, rest, /kith\/ear/);
  }

  /** What was heard since `listen` on a topic below the node. */
  heard(leaf: string): Said[] {
    const said: Said[] = [];
    for (const line of this.ear?.output.split('\n') ?? []) {
      const [retained, topic, hex = ''] = line.split(' ');
      if (topic === `${base}/${leaf}`)
        said.push({ topic, retained: retained === '1', payload: Buffer.from(hex, 'hex') });
    }
    return said;
  }

  /** The last message on a topic, decoded; `undefined`: none yet. */
  last(leaf: string): Record<string, unknown> | undefined {
    const said = this.heard(leaf).at(-1);
    return said && decoded(said);
  }

  get state(): string | undefined {
    return this.heard('state').at(-1)?.payload.toString();
  }

  counter(job: string, name: string): number {
    const counters = this.last(`telemetry/${job}`)?.['counters'] as Record<string, number> | undefined;
    return counters?.[name] ?? 0;
  }

  async ready(): Promise<void> {
    await eventually('the node ready', () => this.state === 'ready');
  }

  publish(leaf: string, message: string, ...more: readonly string[]): void {
    this.namespace.run('mosquitto_pub', '-q', '1', '-t', `${base}/${leaf}`, '-m', message, ...more);
  }

  /** Publishes a rule and waits until it is in force. */
  async put(leaf: string, value: object): Promise<void> {
    this.publish(leaf, JSON.stringify(value), '-r');
    await eventually(`${leaf} judged`, () => this.last(`${leaf}/status`) !== undefined);
    const status = this.last(`${leaf}/status`);
    if (status?.['status'] !== 'accepted') throw new Error(`${leaf}: ${JSON.stringify(status)}`);
  }
}

export function decoded({ payload }: Said): Record<string, unknown> | undefined {
  const value = decodeCbor(payload, { depth: 8 });
  return value.ok ? (value.value as Record<string, unknown>) : undefined;
}
