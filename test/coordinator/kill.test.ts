/**
 * The promise of the coordinator, held against `kill -9`: what was acknowledged is there, once.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type MqttClient } from 'mqtt';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { encodeCbor } from '../../agent/message/cbor.js';
import { listRules } from '../../host-sim/cli/rule.js';
import { openStore } from '../../host-sim/coordinator/store.js';
import { freePort, Process } from '../support/process.js';

const kills = 8;
const nodes = 4;
/** Not yet acknowledged at a time, per node. */
const window = 20;
/** Below what a coordinator takes for one node. */
const rulesPerNode = 400;

/** A node that publishes telemetry for as long as it may, over every broken connection, and remembers what was acknowledged. */
class Publisher {
  readonly acknowledged = new Set<number>();
  readonly rules = new Set<string>();
  private readonly pending = new Set<number>();
  private next = 0;
  private stopped = false;
  private client: MqttClient | undefined;
  private idle: () => void = () => {};

  readonly node: string;
  private readonly url: string;

  constructor(node: string, url: string) {
    this.node = node;
    this.url = url;
  }

  start(): void {
    const client = connect(this.url, { clientId: this.node, clean: true, reconnectPeriod: 0 });
    this.client = client;
    client.on('error', () => {});
    client.on('close', () => {
      client.end(true);
      if (!this.stopped || this.pending.size > 0) setTimeout(() => this.start(), 20);
      else this.idle();
    });
    client.on('connect', () => {
      // What was not acknowledged before is sent again: it may have been stored, and must not count twice.
      for (const seq of this.pending) this.send(client, seq);
      this.fill(client);
    });
  }

  async finish(): Promise<void> {
    this.stopped = true;
    await new Promise<void>(resolve => {
      this.idle = resolve;
      if (this.pending.size === 0) this.client?.end(true, () => resolve());
    });
  }

  private fill(client: MqttClient): void {
    while (!this.stopped && this.pending.size < window) {
      this.pending.add(this.next);
      this.send(client, this.next++);
    }
    if (this.stopped && this.pending.size === 0) client.end();
  }

  private send(client: MqttClient, seq: number): void {
    const body = { boot: '0badcafe', seq, uptime: seq, counters: { frames: 3 * (seq + 1) } };
    client.publish(
      `kith/1/home/${this.node}/telemetry/power-proxy`,
      Buffer.from(encodeCbor(body)),
      { qos: 1 },
      error => {
        if (error) return;
        this.acknowledged.add(seq);
        this.pending.delete(seq);
        if (client === this.client) this.fill(client);
      },
    );
    // A rule besides, now and then: retained, so the broker's own store is tested too.
    if (seq % 100 !== 0 || seq >= 100 * rulesPerNode) return;
    const id = `r${seq / 100}`;
    const rule = Buffer.from(encodeUtf8(`{"trigger":{"udp":{"dstPort":${seq / 100}}},"action":"drop"}`));
    client.publish(`kith/1/home/${this.node}/rule/${id}`, rule, { qos: 1, retain: true }, error => {
      if (!error) this.rules.add(id);
    });
  }
}

test.after.each(() => Process.killAll());

test('killed eight times under load, the coordinator has everything it acknowledged, once', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'kith-kill-'));
  const port = await freePort();
  const url = `mqtt://127.0.0.1:${port}`;
  const seed = Date.now() % 1_000_000;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'kills');
  const start = () =>
    Process.kith(['coordinator', '--data', directory, '--port', String(port), '--ws-port', '0']);
  let coordinator = await start();
  const publishers = Array.from({ length: nodes }, (_, i) => new Publisher(`gw-${i + 1}`, url));
  for (const publisher of publishers) publisher.start();
  for (let i = 0; i < kills; i++) {
    await new Promise(resolve => setTimeout(resolve, 150 + random.below(700)));
    await coordinator.kill('SIGKILL');
    coordinator = await start();
  }
  await Promise.all(publishers.map(publisher => publisher.finish()));
  const rules = await listRules(url, undefined);
  assert.is(await coordinator.kill('SIGTERM'), 0, 'an orderly end');

  const store = await openStore(join(directory, 'store'));
  let acknowledged = 0;
  for (const publisher of publishers) {
    const { node } = publisher;
    acknowledged += publisher.acknowledged.size;
    const history = await store.history('home', node, { limit: 1e6 });
    const stored = history.map(record => record.seq).sort((a, b) => a - b);
    const distinct = new Set(stored);
    assert.is(distinct.size, stored.length, `${node}: no message twice`);
    const missing = [...publisher.acknowledged].filter(seq => !distinct.has(seq));
    assert.equal(missing, [], `${node}: nothing acknowledged is missing`);
    const latest = stored.at(-1)!;
    assert.equal(await store.totals('home', node), { 'power-proxy': { frames: 3 * (latest + 1) } });
    const retained = new Set(rules.filter(rule => rule.node === node && rule.desired).map(rule => rule.rule));
    assert.equal(
      [...publisher.rules].filter(id => !retained.has(id)),
      [],
      `${node}: no acknowledged rule is missing`,
    );
    const kept = await store.all<{ node: string; desired?: object }>('rule');
    const desired = new Set(
      kept.filter(({ value }) => value.node === node && value.desired).map(({ key }) => key),
    );
    const forgotten = [...publisher.rules].filter(id => !desired.has(`home/${node}/${id}`));
    assert.equal(forgotten, [], `${node}: the coordinator desires every acknowledged rule`);
  }
  await store.close();
  console.log(`${acknowledged} messages acknowledged over ${kills} kills`);
  assert.ok(acknowledged > 1000, `expected a load worth the name, got ${acknowledged}`);
  await rm(directory, { recursive: true });
});

test.run();
