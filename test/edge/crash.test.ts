/** The gateway daemon killed at any moment, with a broker away, and flooded: what it said and counted is kept, its memory bounded. */

import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { digest } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { registrationKey } from '../../agent/kibbutz/saved-state.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import { openStore } from '../../edge/linux/store.js';
import { Namespace } from '../support/namespaces.js';
import { eventually, Process } from '../support/process.js';
import { brokerPrograms, decoded, Gateway } from './gateway.js';
import { answer, bundle, hex, home, hostMac, isAnswered, member, question, send } from './trouble.js';

const maybe = Namespace.available({ ...brokerPrograms, arping: 'arping' }) ? test : test.skip;

test.after.each(async () => {
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
});

maybe(
  'a broker away while hundreds of hosts are woken, and kill -9 in the middle: all is told after it, in order',
  async () => {
    const { gateway, neighbour } = home();
    const hosts = 200;
    const addressOf = (i: number) => `192.168.8.${i + 1}`;
    const store = openStore(gateway.path('store'), { onFault: fault => assert.unreachable(fault.message) });
    for (let i = 0; i < hosts; i++) {
      const mac = `02:00:00:00:08:${i.toString(16).padStart(2, '0')}`;
      const text = JSON.stringify({ mac, ipv4: [addressOf(i)], state: 'asleep' });
      store.save(`host/h${i}`, new Uint8Array(Buffer.from(text)));
    }
    await store.close();
    await gateway.startBroker();
    await gateway.listen();
    const first = await gateway.start();
    await gateway.ready();
    await eventually('all asleep', () => gateway.heard('event/asleep').length === hosts);
    await gateway.put('rule/wake', { trigger: { asked: true }, action: 'wake' });
    // A rule whose time runs out while nobody listens.
    await gateway.put('rule/short', { ...answer, timeout: '3s' });
    await gateway.stopBroker();
    await first.says(/<4>lost mqtt/);
    const ask = (from: number, to: number) =>
      send(
        neighbour,
        Array.from({ length: to - from }, (_, i) => question(addressOf(from + i))),
      );
    ask(0, 100);
    // Behind a topic stands the next key of the record's map (CBOR: a text of 6 bytes).
    const onDisk = (name: string) =>
      readFileSync(gateway.path('store/outbox/state'), 'latin1').split(`event/${name}fretain`).length - 1;
    await eventually('the events on disk', () => onDisk('wake') === hosts / 2);
    await first.kill('SIGKILL');
    const second = await gateway.start(/no broker answers/);
    // The first life's stand there too, with what says that they were acknowledged.
    await eventually('all asleep again', () => onDisk('asleep') === 2 * hosts);
    ask(100, hosts);
    await eventually('the others on disk', () => onDisk('wake') === hosts);
    // Its back-off is at some seconds now, and the short rule's time is over.
    await new Promise(resolve => setTimeout(resolve, 6_000));
    // It must not be back before anybody listens.
    process.kill(second.pid as number, 'SIGSTOP');
    await gateway.startBroker();
    await gateway.listen();
    process.kill(second.pid as number, 'SIGCONT');
    const waitedFrom = Date.now();
    await second.says(/connected to/, 40_000);
    console.log(`back after ${Date.now() - waitedFrom} ms`);
    await gateway.ready();
    await eventually('the last event', () => gateway.heard('event/wake').length >= hosts);
    await eventually(
      'the rule that expired',
      () => gateway.last('rule/short/status')?.['status'] === 'expired',
    );
    assert.is(gateway.last('rule/wake/status')?.['status'], 'accepted');
    const wakes = gateway.heard('event/wake').map(said => decoded(said) ?? {});
    assert.is(new Set(wakes.map(({ host }) => host)).size, hosts);
    // Within a life the sequence numbers of all events rise without a gap: nothing lost, nothing out of order.
    const lives = new Map<unknown, number[]>();
    const all = ['wake', 'wake-failed', 'fault', 'asleep', 'gone'].flatMap(name =>
      gateway.heard(`event/${name}`),
    );
    for (const { boot, seq } of all.map(said => decoded(said) ?? {}))
      lives.set(boot, [...(lives.get(boot) ?? []), seq as number]);
    assert.is(lives.size, 2);
    for (const seqs of lives.values()) {
      const sorted = [...seqs].sort((a, b) => a - b);
      assert.equal(
        sorted,
        sorted.map((_, i) => sorted[0] + i),
      );
    }
    for (const life of lives.keys()) {
      const seqs = wakes.filter(({ boot }) => boot === life).map(({ seq }) => seq as number);
      assert.equal(
        seqs,
        [...seqs].sort((a, b) => a - b),
      );
    }
  },
);

maybe(
  'twenty crashes at any moment while rules change and the kibbutz sends: what was said to be accepted is kept, and no number is used twice',
  async () => {
    const seed = Date.now() >>> 0;
    console.log(`seed ${seed}`);
    const random = new Random(seed, 'crashes');
    const { gateway, provider, shell } = await member();
    await bundle(gateway);
    await gateway.startBroker();
    await gateway.listen();
    const trigger = `"trigger":{"arp":{"operation":"request","targetAddress":"192.168.7.9"}}`;
    await shell(
      `i=0; while :; do i=$((i+1)); mosquitto_pub -q 1 -r -t kith/1/home/gw-1/rule/r$((i%8)) -m '{"host":"${hostMac}",${trigger},"action":"respond","priority":'$i'}'; echo; done`,
      /\n/,
    );
    let startMs = 0;
    for (let i = 0; i < 20; i++) {
      const from = Date.now();
      const daemon = await gateway.start();
      startMs = Math.max(startMs, Date.now() - from);
      await new Promise(resolve => setTimeout(resolve, random.below(1500)));
      await daemon.kill('SIGKILL');
      assert.not.match(daemon.output, /damaged|left aside/);
    }
    const store = openStore(gateway.path('store'), { onFault: fault => assert.unreachable(fault.message) });
    const saved = store.saved();
    await store.close();
    let accepted = 0;
    for (let i = 0; i < 8; i++) {
      // The broker's messages in its order; whose digest is which is found from the payloads.
      const published = gateway.heard(`rule/r${i}`).map(({ payload }) => digest(payload));
      const told = gateway
        .heard(`rule/r${i}/status`)
        .map(said => decoded(said) ?? {})
        .filter(({ status }) => status === 'accepted');
      const last = Math.max(-1, ...told.map(status => published.indexOf(status['digest'] as string)));
      accepted += told.length;
      const record = decodeCbor(saved[`rule/r${i}`] ?? new Uint8Array(0), { depth: 2 });
      const { payload } = (record.ok ? record.value : {}) as { payload?: Uint8Array };
      const kept = payload ? published.indexOf(digest(payload)) : -1;
      assert.ok(kept >= last, `rule/r${i}: kept number ${kept}, accepted ${last} of ${published.length}`);
    }
    // Envelopes: kind in the first byte, 8 bytes of number behind six; under one key no number twice (GCM).
    const numbers = provider.output.split('\n').filter(line => line.length > 60);
    const used = numbers.map(line => line.slice(0, 28));
    assert.is(new Set(used).size, used.length);
    const kept = decodeCbor(saved[registrationKey], { depth: 1 });
    const { nonceThrough } = (kept.ok ? kept.value : {}) as { nonceThrough: number };
    const highest = Math.max(...used.map(line => Number.parseInt(line.slice(12), 16)));
    assert.ok(nonceThrough >= highest, `${nonceThrough} of ${highest}`);
    // What is kept as used of the quota runs ahead of what was used.
    const owner = decodeCbor(saved['kibbutz/owner'], { depth: 1 });
    const { ownBytes } = (owner.ok ? owner.value : {}) as { ownBytes: number };
    const sentBytes = numbers.reduce((sum, line) => sum + line.length / 2, 0);
    assert.ok(ownBytes >= sentBytes, `${ownBytes} of ${sentBytes}`);
    console.log(
      `${accepted} rules accepted, ${used.length} envelopes, highest number ${highest}, start at most ${startMs} ms`,
    );
    assert.ok(accepted > 20 && used.length > 50, 'enough happened');
  },
);

maybe(
  'floods of rules, of messages of megabytes, and of frames of ten thousand hosts: memory stays bounded, work goes on',
  async () => {
    const seed = Date.now() >>> 0;
    console.log(`seed ${seed}`);
    const random = new Random(seed, 'flood');
    const { gateway, neighbour } = home();
    await bundle(gateway);
    await gateway.startBroker();
    // Not the megabytes.
    await gateway.listen('state', 'info', '+/+/status', 'telemetry/+');
    // As the service units set it; and a heap that a leak of a few bytes a frame would end.
    const daemon = await gateway.start(/connected to/, [
      'env',
      'NODE_OPTIONS=--max-semi-space-size=1 --v8-pool-size=0 --max-old-space-size=32',
    ]);
    await gateway.ready();
    await gateway.put('rule/arp', answer);
    await gateway.put('rule/learn', { trigger: { asked: true }, action: 'respond', priority: 1 });
    const memory = (field: string) =>
      Number(
        new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1],
      ) / 1024;
    const restMiB = memory('VmRSS');
    // Frames: of ten thousand hosts that announce themselves, and of nobody with random bytes.
    for (let round = 0; round < 10; round++) {
      const frames: Uint8Array[] = [];
      for (let i = 0; i < 1000; i++) {
        const n = round * 1000 + i;
        frames.push(question(`192.168.${n >>> 8}.${n & 255}`, `02:00:00:07:${hex(n >>> 8)}:${hex(n & 255)}`));
        const noise = new Uint8Array(60 + random.below(1400)).map(() => random.below(256));
        noise.set([8, 0], 12);
        frames.push(noise);
      }
      send(neighbour, frames);
      // A queue of the kernel's that runs over tests nothing of ours.
      await new Promise(resolve => setTimeout(resolve, 200));
    }
    await eventually('most of the frames', () => gateway.counter('power-proxy', 'agent.frames') > 15_000);
    const framesMiB = memory('VmRSS');
    // Messages: ten thousand rules, a hundred of a megabyte, and a retained one of 64.
    const script = `
    import { connectAsync } from 'mqtt';
    const client = await connectAsync('mqtt://127.0.0.1:1883');
    const rule = i => JSON.stringify({ ...${JSON.stringify(answer)}, priority: i });
    const topic = name => 'kith/1/home/gw-1/rule/' + name;
    const big = Buffer.alloc(1_000_000, 32);
    const all = [];
    for (let i = 0; i < 10_000; i++) {
      all.push(client.publishAsync(topic('f' + i), rule(i), { qos: 1 }));
      if (i % 50 === 0) await Promise.all(all.splice(0));
    }
    for (let i = 0; i < 100; i++) await client.publishAsync(topic('big'), big, { qos: 1 });
    await client.publishAsync(topic('big'), Buffer.alloc(64_000_000, 32), { qos: 1, retain: true });
    await client.publishAsync(topic('end'), rule(0), { qos: 1 });
    await client.endAsync();
    console.log('sent');`;
    const [program, ...words] = gateway.namespace.command(
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    );
    await Process.start(program, words, /sent/);
    await eventually('all judged', () => gateway.last('rule/end/status') !== undefined, 60_000);
    assert.match(String(gateway.last('rule/big/status')?.['reason']), /at most 4096 bytes/);
    assert.match(String(gateway.last('rule/f9999/status')?.['reason']), /at most 256 rules/);
    const messagesMiB = memory('VmRSS');
    const peakMiB = memory('VmHWM');
    console.log(
      `resident: ${restMiB.toFixed(0)} MiB at rest, ${framesMiB.toFixed(0)} after frames, ${messagesMiB.toFixed(0)} after messages, ${peakMiB.toFixed(0)} at most`,
    );
    assert.ok(isAnswered(neighbour));
    assert.ok(peakMiB < 160, 'MemoryMax of the service unit');
    assert.is(daemon.output.split('connected to').length - 1, 1);
    // The retained one comes at each start.
    await daemon.kill('SIGKILL');
    await gateway.start(/connected to/);
    assert.ok(isAnswered(neighbour));
  },
);

test.run();
