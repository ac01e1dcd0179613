import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeUtf8, encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import type { Info, RuleStatus, Telemetry } from '../../agent/message/messages.js';
import { powerProxy } from '../../agent/power-proxy/job.js';
import { MemoryBus } from '../../host-sim/sim/bus.js';
import { Host } from '../../host-sim/sim/host.js';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { AgentNode } from '../../host-sim/sim/node.js';
import { Segment } from '../../host-sim/sim/segment.js';
import { Prober } from '../../host-sim/sim/traffic.js';

const base = 'kith/1/home/gw-1';
const arpRule = {
  host: '3c:22:fb:01:02:03',
  trigger: { arp: { operation: 'request', targetAddress: '192.168.1.10' } },
  action: 'respond',
};
const sshRule = {
  host: '3c:22:fb:01:02:03',
  trigger: { tcp: { dstPort: 22, flags: 'syn' } },
  action: 'wake',
  timeout: '30s',
};

/** A gateway with the real agent, a sleeping desktop, a laptop that tries ssh on it, and the broker. */
class House {
  readonly kernel = new Kernel();
  readonly bus = new MemoryBus(this.kernel, { keepAliveMs: 10_000 });
  readonly lan = new Segment(this.kernel);
  readonly node = new AgentNode({
    kernel: this.kernel,
    bus: this.bus,
    bootSeed: 1,
    site: 'home',
    node: 'gw-1',
    links: [{ name: 'lan', mac: new Uint8Array([2, 0, 0, 0, 0, 1]), network: this.lan }],
    jobs: [powerProxy],
  });
  readonly desktop = new Host({
    kernel: this.kernel,
    network: this.lan,
    seed: 1,
    name: 'desktop',
    mac: new Uint8Array([0x3c, 0x22, 0xfb, 1, 2, 3]),
    address: new Uint8Array([192, 168, 1, 10]),
    openPorts: [22],
    sleep: { idleMs: 40_000, bootMs: 3_500, asleep: true },
  });
  readonly laptop = new Host({
    kernel: this.kernel,
    network: this.lan,
    seed: 1,
    name: 'laptop',
    mac: new Uint8Array([2, 0, 0, 0, 0, 2]),
    address: new Uint8Array([192, 168, 1, 20]),
  });
  private readonly person = this.bus.connect({
    clientId: 'person',
    handlers: { up: () => {}, down: () => {}, message: () => {} },
  });

  constructor() {
    this.node.start();
    this.pass(1000);
  }

  pass(ms: number): void {
    this.kernel.run(this.kernel.now + ms);
  }

  probe(): void {
    const { kernel, laptop: host, desktop } = this;
    const every = { startAt: kernel.now, retryMs: 15_000, contentMs: 300_000 };
    new Prober({ kernel, seed: 1, host, address: desktop.address, port: 22, ...every });
  }

  say(leaf: string, message: object): void {
    const payload = encodeUtf8(JSON.stringify(message));
    this.person.publish({ topic: `${base}/${leaf}`, payload, qos: 1, retain: true });
  }

  get state(): string | undefined {
    const retained = this.bus.retained.get(`${base}/state`);
    return retained && decodeUtf8(retained.payload);
  }

  retained<Message>(leaf: string): Message | undefined {
    const publication = this.bus.retained.get(`${base}/${leaf}`);
    if (!publication) return undefined;
    const decoded = decodeCbor(publication.payload, { depth: 8 });
    assert.ok(decoded.ok);
    return decoded.ok ? (decoded.value as Message) : undefined;
  }
}

test('without a rule that wakes, ssh on the sleeping desktop stays unanswered; with one the agent wakes it and it answers', () => {
  const house = new House();
  house.say('rule/arp-desktop', arpRule);
  house.probe();
  house.pass(60_000);
  const { counters } = house.laptop;
  assert.ok(counters.get('connections.unanswered') >= 3);
  assert.is(counters.get('connections.answered'), 0);
  assert.not(house.desktop.awake);

  house.say('rule/ssh-desktop', sshRule);
  // The next attempt comes within 16.5 s, the boot takes 3.5 s, the SYN after that is the one 7 s after the first.
  house.pass(25_000);
  assert.is(counters.get('connections.answered'), 1);
  assert.ok(house.desktop.awake);
  assert.is(house.desktop.counters.get('wakes'), 1);
  const status = house.retained<RuleStatus>('rule/ssh-desktop/status')!;
  assert.is(status.status, 'accepted');
  assert.ok(status.hits! >= 1);

  // Forty idle seconds later it sleeps, and the rule is over too.
  house.pass(60_000);
  assert.not(house.desktop.awake);
  assert.ok(house.desktop.times().awakeMs >= 40_000 && house.desktop.times().awakeMs < 50_000);
  assert.is(house.retained<RuleStatus>('rule/ssh-desktop/status')!.status, 'expired');
});

test('a node reports its birth, its state and its telemetry', () => {
  const house = new House();
  const telemetry: Telemetry[] = [];
  house.bus.listen((_now, { topic, payload }) => {
    if (topic !== `${base}/telemetry/power-proxy`) return;
    const decoded = decodeCbor(payload, { depth: 8 });
    if (decoded.ok) telemetry.push(decoded.value as Telemetry);
  });
  assert.is(house.state, 'ready');
  const info = house.retained<Info>('info')!;
  assert.equal([info.platform, info.jobs], ['sim', ['power-proxy']]);
  house.pass(60_000);
  assert.is(telemetry.length, 6);
  assert.equal(
    telemetry.map(({ uptime }) => Math.round(uptime / 1000)),
    [10, 20, 30, 40, 50, 60],
  );
});

test('a rebooted node has a new boot id and the rules it had saved, even where the broker cannot be reached', () => {
  const house = new House();
  house.say('rule/arp-desktop', arpRule);
  house.pass(1000);
  const before = house.retained<RuleStatus>('rule/arp-desktop/status')!;
  assert.is(before.status, 'accepted');
  house.node.reboot(2_000);
  assert.not(house.node.running);
  house.pass(2_000);
  assert.ok(house.node.running);
  // It answers for the desktop at once, before any message could have come back.
  house.node.partition(3_600_000);
  const frames: string[] = [];
  house.lan.addTap({ capture: (_now, frame) => frames.push(formatHex(frame.subarray(12, 14))) });
  house.laptop.connect(house.desktop.address, 22, () => {});
  house.pass(500);
  // Question, one answer, SYN.
  assert.equal(frames, ['0806', '0806', '0800']);
  house.pass(3_610_000);
  const after = house.retained<RuleStatus>('rule/arp-desktop/status')!;
  assert.is(after.status, 'accepted');
  assert.is(after.digest, before.digest);
  assert.is.not(after.boot, before.boot);
  assert.is(house.node.boots, 2);
});

test('a killed node is lost after its keep-alive; one that shuts down says disconnected and stays so', () => {
  const killed = new House();
  killed.node.kill();
  killed.pass(10_000);
  assert.is(killed.state, 'ready');
  killed.pass(10_000);
  assert.is(killed.state, 'lost');
  const frames = killed.lan.counters.get('sent');
  killed.pass(100_000);
  assert.is(killed.lan.counters.get('sent'), frames, 'a dead node sends nothing');

  const polite = new House();
  polite.node.shutdown();
  polite.pass(100_000);
  assert.is(polite.state, 'disconnected');
  polite.node.start();
  polite.pass(1_000);
  assert.is(polite.state, 'ready');
});

test('a node cut off from its broker hears afterwards what was published meanwhile', () => {
  const house = new House();
  house.node.partition(60_000);
  house.say('rule/arp-desktop', arpRule);
  house.pass(30_000);
  assert.is(house.state, 'lost');
  assert.is(house.retained('rule/arp-desktop/status'), undefined);
  house.pass(31_000);
  assert.is(house.state, 'ready');
  assert.is(house.retained<RuleStatus>('rule/arp-desktop/status')!.status, 'accepted');
  assert.is(house.node.boots, 1);
});

test.run();
