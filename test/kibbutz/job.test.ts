import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Agent } from '../../agent/agent.js';
import { formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { envelopeOverhead, parseEnvelope, SendingLane } from '../../agent/kibbutz/envelope.js';
import { type KibbutzJobOptions, kibbutzJob } from '../../agent/kibbutz/job.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import {
  emitNeighbour,
  newRegistration,
  ownerKey,
  parseNeighbour,
  parseRegistration,
  registrationKey,
  takeOver,
} from '../../agent/kibbutz/saved-state.js';
import { emitSignal, parseSignal } from '../../agent/kibbutz/signal.js';
import { checkLimits, defaultLimits, envelopesBytes, type Limits } from '../../agent/limits.js';
import { decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { descriptors, type Event, type Ledger, type Telemetry } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import type { Effect, Input } from '../../agent/port/effect.js';
import { aeads, aes128Gcm } from '../../edge/linux/aead.js';
import { Coordinator } from '../../host-sim/coordinator/coordinator.js';
import {
  Provider,
  type ProviderOptions,
  type ProviderRecord,
  type Registration,
} from '../../host-sim/coordinator/provider.js';
import { openStore } from '../../host-sim/coordinator/store.js';

const localMs = 2;
const uplinkMs = 50;
/** The paper's radio (§2.1.3.2.3), on a link fast enough not to matter unless a test slows it down. */
const options: KibbutzJobOptions = {
  aeads,
  policy: 'paper',
  tailMs: 10_000,
  promotionMs: 2_000,
  exchangeMs: 200,
  deferMs: 30_000,
  uplinkBitsPerSecond: Infinity,
  owner: { minimumPacketsPerMinute: 0 },
};

interface Flight {
  readonly at: number;
  readonly land: () => void;
}

function must<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string },
): T {
  if (!result.ok) throw new Error(`expected a value, got ${result.reason}`);
  return result.value;
}

/** Members around one local link, each with an uplink, the provider behind, and a server that answers every packet. */
class World {
  now = 0;
  readonly nodes: Node[] = [];
  readonly records = new Map<string, ProviderRecord>();
  /** Every number an envelope or signal left under, with the key's owner; none twice. */
  readonly numbers = new Set<string>();
  readonly provider: Provider;
  /** Everything on the local link, as somebody in range records it. */
  readonly overheard: Uint8Array[] = [];
  /** Everything the provider sent. */
  readonly sentDown: Uint8Array[] = [];
  /** What reached the server: from whom, through whom, what. */
  readonly arrived: { readonly member: number; readonly carrier: number; readonly text: string }[] = [];
  isAnswering = true;
  private flights: Flight[] = [];

  constructor(names: string, changed: Partial<NodeOptions> = {}, policy: ProviderOptions['policy'] = {}) {
    this.provider = new Provider({
      master: new Uint8Array(16).fill(0x42),
      aeads,
      policy,
      save: batch => {
        for (const record of batch) this.records.set(record.key, record);
      },
    });
    for (const name of names) this.nodes.push(new Node(this, name, changed));
    for (const node of this.nodes) node.start();
  }

  /** The provider tells every two of each other. */
  introduceAll(): void {
    for (const one of this.nodes)
      for (const other of this.nodes) if (one.member < other.member) this.introduce(one, other);
    this.run(200);
  }

  introduce(one: Node, other: Node): void {
    for (const { member, bytes } of must(this.provider.introduce(one.member, other.member)))
      this.down(member, bytes);
  }

  schedule(delayMs: number, land: () => void): void {
    const at = this.now + delayMs;
    let i = this.flights.length;
    while (i > 0 && this.flights[i - 1].at > at) i--;
    this.flights.splice(i, 0, { at, land });
  }

  /** Lets so much time pass. */
  run(spanMs: number): void {
    const until = this.now + spanMs;
    for (;;) {
      let at = Math.min(until, this.flights[0]?.at ?? Infinity, this.provider.pollAt());
      for (const node of this.nodes) at = Math.min(at, node.pollAt());
      this.now = Math.max(this.now, at);
      if (this.flights.length > 0 && this.flights[0].at <= this.now) this.flights.shift()!.land();
      for (const { member, bytes } of this.provider.poll(this.now)) this.down(member, bytes);
      for (const node of this.nodes) node.poll();
      if (this.now >= until && !(this.flights[0]?.at <= until)) return;
    }
  }

  local(from: Node, peer: string | undefined, payload: Uint8Array): void {
    this.overheard.push(payload);
    for (const node of this.nodes)
      if (node !== from && (peer === undefined || node.address === peer))
        this.schedule(localMs, () => {
          if (from.isInRange && node.isInRange)
            node.give({ kind: 'datagram', link: 'local', peer: from.address, payload });
        });
  }

  up(from: Node, payload: Uint8Array): void {
    this.schedule(uplinkMs + from.promotionMs, () => {
      if (!from.isCovered) return;
      const result = this.provider.receive(this.now, payload);
      if (!result.ok) return;
      const { member, carrier, packet } = result.value;
      this.arrived.push({ member, carrier, text: new TextDecoder().decode(packet).trim() });
      if (!this.isAnswering) return;
      const answer = this.provider.send(this.now, { to: member, carrier, packet: packet.slice().reverse() });
      if (answer.ok) this.down(answer.value.member, answer.value.bytes);
    });
  }

  down(member: number, payload: Uint8Array): void {
    this.sentDown.push(payload);
    const node = this.nodes.find(known => known.member === member);
    this.schedule(uplinkMs, () => {
      if (node?.isCovered) node.give({ kind: 'datagram', link: 'uplink', payload });
    });
  }

  /** Texts that reached the server since the last call. */
  news(): string[] {
    return this.arrived.splice(0).map(({ member, carrier, text }) => `${member}/${carrier} ${text}`);
  }
}

interface NodeOptions {
  readonly job: Partial<KibbutzJobOptions>;
  readonly limits: Partial<Limits>;
}

/** A device: an agent, its store, and what its platform does for it. */
class Node {
  readonly address: string;
  readonly registration: Registration;
  readonly store = new Map<string, Uint8Array>();
  readonly delivered: string[] = [];
  /** Added to what its uplink takes. */
  promotionMs = 0;
  /** The power fails right after such an effect. */
  crashesAfter: ((effect: Effect) => boolean) | undefined;
  /** Whether the platform performs what it is asked to. */
  isDraining = true;
  /** What the platform was asked to do, but for MQTT and the store. */
  performed: Effect[] = [];
  readonly events: (Event & { readonly name: string })[] = [];
  readonly ledgers: { readonly topic: string; readonly payload: Uint8Array }[] = [];
  telemetry: Telemetry | undefined;
  /** The path manager's endpoints. */
  readonly endpoints = new Map<number, string>();
  saves = 0;
  isInRange = true;
  isCovered = true;
  agent: Agent | undefined;
  private readonly world: World;
  readonly changed: Partial<NodeOptions>;
  private boots = 0;
  private bornAt = 0;

  constructor(world: World, name: string, changed: Partial<NodeOptions>) {
    this.world = world;
    this.address = `fe80::${name}`;
    this.changed = changed;
    this.registration = must(world.provider.register(name, [1, 29, 3]));
    this.store.set(registrationKey, newRegistration(this.registration));
  }

  get member(): number {
    return this.registration.member;
  }

  /** The boot id of this life, as a number. */
  get boot(): number {
    return 0x1000 * this.member + this.boots;
  }

  start(job: Partial<KibbutzJobOptions> = {}): void {
    this.boots++;
    this.bornAt = this.world.now;
    this.endpoints.clear();
    this.agent = new Agent(0, {
      site: 'home',
      node: `phone-${this.member}`,
      firmware: 'test 1',
      platform: 'test',
      boot: this.boot.toString(16).padStart(8, '0'),
      links: [],
      jobs: [kibbutzJob({ ...options, ...this.changed.job, ...job })],
      saved: Object.fromEntries(this.store),
      limits: { ...defaultLimits, ...this.changed.limits },
    });
    this.drain();
  }

  /** The power fails: what has not been performed is lost. */
  crash(): void {
    this.agent = undefined;
  }

  stop(): void {
    this.give({ kind: 'shutdown' });
    this.agent = undefined;
  }

  give(input: Input): void {
    if (!this.agent) return;
    this.agent.receive(this.clock, input);
    this.drain();
  }

  /** A packet of the host with that text, at least 40 bytes. */
  send(
    text: string,
    how: { readonly mayWait?: boolean; readonly path?: number; readonly bytes?: number } = {},
  ): void {
    const packet = new TextEncoder().encode(text.padEnd(how.bytes ?? 40));
    this.give({
      kind: 'packet',
      packet,
      mayWait: how.mayWait ?? false,
      ...(how.path === undefined ? {} : { path: how.path }),
    });
  }

  /** Where MPTCP's default scheduler puts a packet: a normal path before a backup one, the own link last. */
  mptcpPath(): number {
    const normal = [...this.endpoints].filter(([, priority]) => priority === 'normal').map(([path]) => path);
    return Math.max(0, ...normal);
  }

  pollAt(): number {
    return this.agent && this.isDraining ? this.bornAt + this.agent.pollAt() : Infinity;
  }

  poll(): void {
    for (let calls = 0; this.agent && this.isDraining && this.pollAt() <= this.world.now; calls++) {
      if (calls > 100) throw new Error('the agent never comes to rest');
      this.agent.poll(this.clock);
      this.drain();
    }
  }

  counters(): { readonly [name: string]: number } {
    this.give({ kind: 'bus-up', sessionPresent: true });
    this.poll();
    return this.telemetry?.counters ?? {};
  }

  /** The account of `other` as saved. */
  account(other: Node) {
    const kept = parseNeighbour(
      this.store.get(`kibbutz/neighbour/${other.member}`) ?? new Uint8Array(0),
      aeads,
    );
    if (!kept) throw new Error(`${this.address} has saved no account of ${other.address}`);
    return kept;
  }

  get clock(): number {
    return this.world.now - this.bornAt;
  }

  drain(): void {
    const { agent } = this;
    if (!agent || !this.isDraining) return;
    for (let effect = agent.outbox.shift(); effect; effect = agent.outbox.shift()) {
      this.perform(effect);
      if (this.crashesAfter?.(effect)) {
        this.crash();
        return;
      }
    }
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case 'save':
        this.saves++;
        if (effect.value) this.store.set(effect.key, effect.value.slice());
        else this.store.delete(effect.key);
        return;
      case 'publish':
        this.publish(effect.topic, effect.payload, effect.retain);
        return;
      case 'datagram':
        this.checkNumbers(effect.payload, effect.link === 'local' ? effect.peer : undefined);
        if (effect.link === 'uplink') this.world.up(this, effect.payload.slice());
        else if (this.isInRange) this.world.local(this, effect.peer, effect.payload.slice());
        break;
      case 'deliver':
        this.delivered.push(new TextDecoder().decode(effect.packet.slice().reverse()).trim());
        break;
      case 'path-priority':
        if (effect.priority === 'gone')
          assert.ok(this.endpoints.delete(effect.path), 'a path that was there');
        else this.endpoints.set(effect.path, effect.priority);
        break;
      default:
    }
    this.performed.push(effect);
  }

  /** Nothing may leave under a number that the store does not yet hold, or that was used before. */
  private checkNumbers(payload: Uint8Array, peer: string | undefined): void {
    const kept = must(parseRegistration(this.store.get(registrationKey), aeads));
    const signal = parseSignal(payload);
    const envelope = parseEnvelope(payload);
    let number = '';
    if (signal.ok) {
      assert.ok(signal.value.sequence <= kept.sequenceThrough, 'a sequence that is not reserved');
      number = `signal/${signal.value.sequence}`;
    } else {
      const { kind, nonce } = must(envelope);
      assert.ok(nonce <= kept.nonceThrough, 'a nonce that is not reserved');
      const neighbour = this.world.nodes.find(({ address }) => address === peer);
      // Under a key for each neighbour.
      number = `${kind}/${kind === 'hop' && neighbour ? formatHex(this.account(neighbour).key) : ''}/${nonce}`;
    }
    number = `${this.member}/${kept.generation}/${number}`;
    assert.not.ok(this.world.numbers.has(number), `${number} again`);
    this.world.numbers.add(number);
  }

  private publish(topic: string, payload: Uint8Array, retain: boolean): void {
    const [, , , , leaf, name] = topic.split('/');
    if (leaf === 'state') return;
    const value = must(decodeCbor(payload, { depth: 8 }));
    const known = descriptors[leaf as 'ledger'];
    assert.is(validate(known, value), undefined, topic);
    if (leaf === 'event') this.events.push({ ...(value as unknown as Event), name });
    if (leaf === 'telemetry' && name === 'kibbutz') {
      assert.ok(payload.length <= 4096, `telemetry of ${payload.length} bytes`);
      this.telemetry = value as unknown as Telemetry;
    }
    if (leaf === 'ledger') {
      assert.ok(retain);
      this.ledgers.push({ topic, payload: payload.slice() });
    }
  }
}

function ledgerOf(node: Node): Ledger['neighbours'] {
  const last = node.ledgers[node.ledgers.length - 1];
  return (must(decodeCbor(last.payload, { depth: 4 })) as unknown as Ledger).neighbours;
}

function busUp(...nodes: Node[]): void {
  for (const node of nodes) {
    node.give({ kind: 'bus-up', sessionPresent: false });
    node.poll();
  }
}

/** Two that know each other; B has just advertised. */
function pair(changed: Partial<NodeOptions> = {}): { world: World; a: Node; b: Node } {
  const world = new World('ab', changed);
  const [a, b] = world.nodes;
  world.introduceAll();
  b.send('b wakes its radio');
  world.run(300);
  assert.equal(world.news(), ['2/0 b wakes its radio']);
  return { world, a, b };
}

test('introduced, A sends sealed through B, who advertised; the answer comes back; all three count the same bytes', () => {
  const { world, a, b } = pair();
  busUp(a, b);
  a.send('secret of A');
  world.run(300);
  assert.equal(world.news(), ['1/2 secret of A']);
  assert.equal(a.delivered, ['secret of A']);
  for (const payload of world.overheard)
    assert.not.match(
      new TextDecoder('latin1').decode(payload),
      'secret',
      'nobody on the local link reads it',
    );
  for (const effect of b.performed)
    if ('payload' in effect) assert.not.match(new TextDecoder('latin1').decode(effect.payload), 'secret');
  const bytes = 2 * (40 + 2 * envelopeOverhead);
  world.run(60_000);
  const [forA, forB] = [world.provider.statement(1)!, world.provider.statement(2)!];
  assert.equal([forA.takenBytes, forB.givenBytes], [bytes, bytes]);
  assert.equal(ledgerOf(a), { 2: { given: 0, taken: bytes, credit: 6 } });
  assert.equal(ledgerOf(b), { 1: { given: bytes, taken: 0, credit: 4 } });
  assert.equal(a.counters()['hops'], 1);
  assert.equal(b.counters()['forwarded'], 1);
});

test('three take turns: each tail is on one radio, and nobody pays for more than it was given', () => {
  const world = new World('abc');
  const [a, b, c] = world.nodes;
  world.introduceAll();
  for (let second = 0; second < 300; second++) {
    for (const node of world.nodes) node.send(`${node.member} ${second}`);
    world.run(1000);
  }
  const own = world.arrived.filter(({ carrier }) => carrier === 0).length;
  assert.ok(own < world.arrived.length * 0.6, `${own} of ${world.arrived.length} by the own link`);
  assert.ok(world.arrived.length >= 890, `${world.arrived.length} of 900 arrived`);
  for (const one of [a, b, c]) {
    one.stop();
    for (const other of [a, b, c])
      if (other !== one) assert.ok(one.account(other).credit >= 0 && one.account(other).credit <= 10);
  }
});

test('B´s own packets overtake what it carries, and a neighbour that floods loses only its own packets', () => {
  const limits = { forwardedPackets: 4, uplinkPackets: 32 };
  const { world, a, b } = pair({ limits, job: { uplinkBitsPerSecond: 100_000 } });
  for (let i = 0; i < 10; i++) a.send(`a ${i}`, { bytes: 1000 });
  world.run(localMs);
  for (let i = 0; i < 3; i++) b.send(`b ${i}`, { bytes: 1000 });
  world.run(2000);
  const order = world.news();
  // The first of A's is in service when B's come: there is no pre-emption.
  assert.equal(order.slice(0, 4), ['1/2 a 0', '2/0 b 0', '2/0 b 1', '2/0 b 2']);
  assert.is(order.filter(text => text.startsWith('1/2')).length, 5, 'one in service, four waiting');
  const counters = b.counters();
  assert.is(counters['queue.neighbour-full'], 5);
  assert.is(counters['queue.own-full'], undefined);
  b.stop();
  assert.is(
    b.account(a).givenBytes,
    5 * (1000 + 60) + 8 * (1000 + 60) - 3 * (1000 + 60),
    'only what left, and 5 answers',
  );
});

test('A falls back to its own link within a timeout when B vanishes, and returns when B is back, without flapping', () => {
  const { world, a, b } = pair({ job: { initialCredit: 100 } });
  busUp(a, b);
  const ways: string[] = [];
  const stream = (seconds: number) => {
    for (let tick = 0; tick < seconds * 4; tick++) {
      a.send(`a ${world.now}`);
      if (tick % 4 === 0 && b.isInRange) b.send(`b ${world.now}`);
      world.run(250);
      for (const { member, carrier } of world.arrived.splice(0)) {
        const way = carrier === 2 ? 'B' : 'own';
        if (member === 1 && ways[ways.length - 1] !== way) ways.push(way);
      }
    }
  };
  stream(5);
  assert.equal(ways, ['B']);
  b.isInRange = false;
  const lostAt = world.now;
  a.send('into the void');
  for (let waited = 0; ways.length < 2; waited += 250) {
    assert.ok(waited < 2000, 'expected the own link within a timeout of 1.2 s');
    stream(0.25);
  }
  assert.ok(world.now - lostAt <= 1750);
  stream(10);
  b.isInRange = true;
  stream(60);
  assert.equal(ways, ['B', 'own', 'B'], 'one switch each way');
  const names = a.events.map(({ name, neighbour, text }) => `${name} ${neighbour} ${text}`);
  assert.equal(names, ['neighbour 2 met', 'watchdog 2 delivers too little', 'watchdog 2 has recovered']);
  assert.is(a.counters()['watchdog.trips.timeout'], 1);
});

test('B, which advertises but whose own uplink is dead, is tried ever more rarely', () => {
  const { world, a, b } = pair();
  b.isCovered = false;
  const tries: number[] = [];
  for (let second = 0; second < 1200; second++) {
    b.send('b', { path: 0 });
    const before = a.performed.length;
    a.send('a');
    world.run(1000);
    if (a.performed.slice(before).some(effect => 'payload' in effect && effect.payload[0] === 0x16))
      tries.push(second);
  }
  const episodes = tries.filter((second, i) => i === 0 || second > tries[i - 1] + 5).length;
  assert.ok(episodes >= 4 && episodes <= 10, `tried ${episodes} times in 20 minutes: ${tries}`);
  assert.ok(tries.length <= 2 * episodes, `${tries}`);
  assert.is(world.arrived.length, 1200 - tries.length, 'the rest went its own way');
  a.stop();
  assert.ok(a.account(b).credit <= 10, 'for what was swallowed no more is owed than strangers get');
});

test('B refuses when the share for neighbours is used up: A is told, sends that packet itself, and B says why', () => {
  const world = new World('ab');
  const [a, b] = world.nodes;
  b.stop();
  b.start({ owner: { minimumPacketsPerMinute: 0, quotaBytes: 2_000_000, neighbourShare: 0.05 } });
  busUp(b);
  b.give({ kind: 'date', year: 2026, month: 11, day: 21 });
  world.introduceAll();
  const texts: string[] = [];
  for (let tick = 0; tick < 240; tick++) {
    if (tick % 4 === 0) b.send('b');
    texts.push(`a ${tick}`);
    a.send(`a ${tick}`, { bytes: 1000 });
    world.run(250);
  }
  const news = world.arrived.splice(0).filter(({ member }) => member === 1);
  assert.equal(
    news.map(({ text }) => text),
    texts,
    'none lost, none twice, in order',
  );
  const carried = news.filter(({ carrier }) => carrier === 2).length;
  assert.ok(carried > 30 && carried * 2000 <= 100_000 + 10 * 2000, `${carried} carried, their answers too`);
  assert.equal(
    b.events.map(({ name, text }) => `${name} ${text}`),
    ['neighbour met', 'limit does not share: neighbours-share'],
  );
  assert.is(a.counters()['packets.sent-again'], 1);
  assert.ok(b.counters()['owner.forwarding.neighbours-share'] >= 1);
  b.give({ kind: 'date', year: 2026, month: 12, day: 1 });
  const { givenBytes } = world.provider.statement(2)!;
  for (let second = 0; second < 30; second++) {
    b.send('b');
    a.send('december');
    world.run(1000);
  }
  const inDecember = world.arrived.filter(({ carrier }) => carrier === 2).length;
  assert.ok(inDecember > 0);
  assert.is(b.events[b.events.length - 1].text, 'shares again');
  b.stop();
  const { forwardedBytes } = must(decodeCbor(b.store.get(ownerKey)!, { depth: 1 })) as {
    forwardedBytes: number;
  };
  const headers = 48 * 2 * inDecember;
  assert.is(forwardedBytes, world.provider.statement(2)!.givenBytes - givenBytes + headers, 'to the byte');
});

test('an empty battery stops sharing, and a full one begins again', () => {
  const { world, a, b } = pair({ job: { owner: { minimumPacketsPerMinute: 0, batteryPercent: 30 } } });
  void a;
  busUp(b);
  const advertised = () => b.counters()['advertisements.sent'] ?? 0;
  b.give({ kind: 'battery', percent: 20, charging: false });
  world.run(10_000);
  const before = advertised();
  b.send('b');
  world.run(10_000);
  assert.is(advertised(), before);
  b.give({ kind: 'battery', percent: 90, charging: false });
  b.send('b');
  world.run(100);
  assert.is(advertised(), before + 1);
  for (let i = 0; i < 20; i++) {
    b.give({ kind: 'battery', percent: i % 2 === 0 ? 20 : 90, charging: false });
    world.run(11_000);
    b.send('b');
  }
  assert.ok(b.counters()['events.suppressed'] >= 2);
  assert.ok(b.events.filter(({ name }) => name === 'limit').length <= 4 * 5);
});

/** Everything that was overheard, said again by somebody else in range. */
function replay(world: World, from: number, until: number): void {
  for (const payload of world.overheard.slice(from, until))
    for (const node of world.nodes)
      node.give({ kind: 'datagram', link: 'local', peer: 'fe80::mallory', payload });
  world.run(100);
}

for (const isOrderly of [true, false]) {
  test(`${isOrderly ? 'an orderly restart' : 'a crash'} of both midway keeps credit, numbers and keys, and no replay is heard`, () => {
    const { world, a, b } = pair();
    for (let second = 0; second < 25; second++) {
      a.send(`a ${second}`);
      b.send(`b ${second}`);
      world.run(1000);
    }
    world.run(isOrderly ? 20_000 : 900);
    const until = world.overheard.length;
    const given = world.provider.statement(2)!.givenBytes;
    for (const node of [a, b]) {
      if (isOrderly) node.stop();
      else node.crash();
      node.start();
    }
    assert.is(b.account(a).credit, 2, 'three periods were used');
    // The gain of the last minute may be lost in a crash, which is to the disadvantage of the neighbour.
    assert.ok(isOrderly ? a.account(b).credit === 8 : a.account(b).credit <= 8);
    world.run(0);
    const performed = [a.performed.length, b.performed.length];
    replay(world, 0, until);
    assert.equal([a.performed.length, b.performed.length], performed, 'nobody did anything');
    assert.equal(world.news().length, 25 * 2);
    assert.is(world.provider.statement(2)!.givenBytes, given);
    assert.equal(a.endpoints, new Map([[0, 'backup']]), 'nor does it believe an old advertisement');
    world.run(60_000);
    b.send('b again');
    world.run(100);
    a.send('a again');
    world.run(300);
    assert.equal(world.news(), ['2/0 b again', '1/2 a again']);
    busUp(b);
    assert.is(b.counters()['hops.replayed'] ?? 0, 0);
    assert.is(ledgerOf(b)[1].credit, 1);
  });
}

test('crashes at random moments use no number twice, and traffic goes on', () => {
  for (let seed = 1; seed <= 5; seed++) {
    const random = new Random(seed, 'crash');
    const policy = seed % 2 === 0 ? 'kith' : 'paper';
    const world = new World('abc', { job: { policy } });
    world.introduceAll();
    for (let tick = 0; tick < 600; tick++) {
      const node = world.nodes[random.below(3)];
      if (node.agent) node.send(`${tick}`, { mayWait: random.chance(0.3) });
      if (random.chance(0.02)) {
        node.crash();
        node.start();
      }
      world.run(random.below(1000));
    }
    for (const node of world.nodes) node.stop();
    for (const one of world.nodes)
      for (const other of world.nodes) {
        if (one === other) continue;
        const { credit } = one.account(other);
        assert.ok(
          credit > -6 && credit < 40,
          `seed ${seed}: ${one.address} gives ${other.address} ${credit}`,
        );
      }
    assert.ok(world.arrived.length > 400, `seed ${seed}: ${world.arrived.length} arrived`);
  }
});

test('a neighbour whose packets the provider drops is stopped after a dozen; the others go on', () => {
  const world = new World('abc');
  const [a, b, c] = world.nodes;
  busUp(b);
  world.introduceAll();
  b.send('b');
  world.run(300);
  c.crash();
  // What C has, in the hands of somebody who replays one packet of his for ever.
  const reserve = () => new NonceReserve({ savedThrough: 100_000, save: () => true });
  const own = new SendingLane(
    { kind: 'own', member: 3, aead: aes128Gcm, key: c.registration.key },
    reserve(),
  );
  const toB = new SendingLane({ kind: 'hop', member: 3, aead: aes128Gcm, key: c.account(b).key }, reserve());
  const envelope = must(own.seal(new TextEncoder().encode('again'), 2));
  world.news();
  for (let i = 0; i < 100; i++) {
    const hop = new Uint8Array(5 + envelope.length);
    hop[4] = 9;
    hop.set(envelope, 5);
    const payload = must(toB.seal(hop, b.boot));
    b.give({ kind: 'datagram', link: 'local', peer: c.address, payload });
    a.send(`a ${i}`);
    world.run(100);
  }
  const news = world.news();
  assert.is(news.filter(text => text.startsWith('3/')).length, 1);
  assert.is(news.filter(text => text.startsWith('1/2')).length, 100, 'A is not punished');
  const replayed = world.provider.counters.get('inner-replayed');
  assert.ok(replayed >= 8 && replayed <= 16, `${replayed} carried for nothing`);
  assert.is(b.counters()['refused.patience'], 100 - 1 - replayed);
  assert.equal(
    b.events.filter(({ name }) => name === 'refused').map(({ neighbour }) => neighbour),
    [3],
  );
});

test('a path manager that follows the effects ends right: normal by B, both while B is poor, the own link alone at last', () => {
  const { world, a, b } = pair();
  const paths = () => Object.fromEntries(a.endpoints);
  assert.equal(paths(), { 0: 'backup', 2: 'normal' });
  let timeouts = 0;
  const sample = (deliveredBytes: number) =>
    a.give({
      kind: 'path-sample',
      member: 2,
      timeouts,
      ssthreshBytes: Infinity,
      roundTripMs: 200,
      deliveredBytes,
      wantedBytesPerSecond: 100_000,
      outstanding: true,
    });
  const stream = (seconds: number, carried: number[]) => {
    for (let tick = 0; tick < seconds * 10; tick++) {
      if (tick % 10 === 0) b.send('b', { path: 0 });
      a.send('a', { path: a.mptcpPath() });
      carried[a.mptcpPath()] = (carried[a.mptcpPath()] ?? 0) + 1;
      world.run(100);
      if (isWell) total += 10_000;
      sample(total);
    }
  };
  let total = 0;
  let isWell = true;
  const before: number[] = [];
  stream(5, before);
  assert.is(before[2], 50);
  assert.is(before[0], undefined);
  isWell = false;
  timeouts++;
  sample(total);
  assert.equal(paths(), { 0: 'normal', 2: 'normal' }, 'both');
  stream(5, []);
  isWell = true;
  stream(30, []);
  assert.equal(paths(), { 0: 'backup', 2: 'normal' }, 'recovered');
  assert.is(a.counters()['watchdog.trips.timeout'], 1);
  world.run(30_000);
  assert.equal(paths(), { 0: 'backup' }, 'the advertisement has expired');
  a.send('onto a path that is gone', { path: 7 });
  a.send('the own link', { path: 0 });
  world.run(100);
  assert.equal(world.news().slice(-1), ['1/0 the own link']);
  assert.is(a.counters()['packets.no-path'], 1);
});

test('hostile datagrams of all kinds change nothing but counters', () => {
  const { world, a, b } = pair();
  a.send('a');
  world.run(300);
  const heard = world.overheard.slice();
  const toProvider = b.performed.flatMap(effect =>
    effect.kind === 'datagram' && effect.link === 'uplink' ? [effect.payload] : [],
  );
  const sentDown = world.sentDown.slice();
  // By somebody who knows both ids, but not the key.
  const stranger = { member: 1, key: new Uint8Array(16).fill(9), aead: aes128Gcm };
  const signal = { sender: 1, boot: 1, sequence: 2 ** 52, uptimeMs: 0, lifetimeMs: 60_000, readyMs: 0 };
  const forged = (['advertisement', 'hand-over', 'refusal'] as const).map(kind =>
    emitSignal({ ...signal, kind }, [{ ...stranger, member: 2 }]),
  );
  world.run(70_000);
  for (const node of [a, b]) busUp(node);
  const state = () =>
    JSON.stringify([
      [a, b].map(node => [[...node.store].map(([key, value]) => [key, formatHex(value)]), ...node.endpoints]),
      [a, b].map(ledgerOf),
      [a, b].map(node => node.performed.length),
      [a, b].map(node => node.events.length),
      world.arrived,
    ]);
  const before = state();
  const random = new Random(7, 'hostile');
  for (let i = 0; i < 20_000; i++) {
    const node = random.chance(0.5) ? a : b;
    const seed = [heard, toProvider, sentDown, forged][random.below(4)];
    let payload = seed[random.below(seed.length)].slice();
    switch (random.below(5)) {
      case 0:
        payload = payload.map(() => random.below(256));
        break;
      case 1:
        payload = payload.subarray(0, random.below(payload.length));
        break;
      case 2:
        payload[random.below(payload.length)] ^= 1 << random.below(8);
        break;
      case 3:
        payload = new Uint8Array([...payload, ...new Uint8Array(1 + random.below(40))]);
        break;
      default: // a replay
    }
    if (random.chance(0.2)) node.give({ kind: 'datagram', link: 'uplink', payload });
    else node.give({ kind: 'datagram', link: 'local', peer: 'fe80::mallory', payload });
  }
  world.run(100);
  assert.is(state(), before, 'seed 7');
  const [ofA, ofB] = [a.counters(), b.counters()];
  for (const name of ['signals.replayed', 'signals.malformed', 'signals.unknown-sender', 'tunnel.replayed'])
    assert.ok(ofA[name] > 0, `${name} of A`);
  for (const name of ['signals.forged', 'signals.own', 'hops.forged', 'hops.replayed', 'hops.unknown-sender'])
    assert.ok(ofB[name] > 0, `${name} of B`);
  b.send('b');
  world.run(100);
  a.send('to B, wherever Mallory says that B is');
  world.run(300);
  assert.is(world.news().pop(), '1/2 to B, wherever Mallory says that B is');
});

test('a neighbour that hands over what is not its own, or a packet too long, costs a counter and no quota', () => {
  const { world, a, b } = pair({ job: { owner: { minimumPacketsPerMinute: 0, quotaBytes: 10_000_000 } } });
  for (let i = 0; i < 25; i++) {
    b.send('b');
    world.run(1000);
  }
  const key = b.account(a).key;
  a.crash();
  const lane = new SendingLane(
    { kind: 'hop', member: 1, aead: aes128Gcm, key },
    new NonceReserve({ savedThrough: 1_000_000, save: () => true }),
  );
  const envelopeOf = (member: number, bytes: number) =>
    must(
      new SendingLane(
        { kind: 'own', member, aead: aes128Gcm, key: new Uint8Array(16) },
        new NonceReserve({ savedThrough: 0, save: () => true }),
      ).seal(new Uint8Array(bytes), 2),
    );
  busUp(b);
  const before = b.performed.length;
  const owner = () => formatHex(b.store.get(ownerKey)!);
  const used = owner();
  const { given } = ledgerOf(b)[1];
  for (const content of [
    new Uint8Array(0),
    new Uint8Array(4),
    new Uint8Array([0, 0, 0, 0, 9, ...envelopeOf(2, 9)]),
    new Uint8Array([0, 0, 0, 0, 9, ...envelopeOf(77, 9)]),
    new Uint8Array([0, 0, 0, 0, 9, ...envelopeOf(1, 1600)]),
  ])
    b.give({ kind: 'datagram', link: 'local', peer: 'x', payload: must(lane.seal(content, b.boot)) });
  assert.is(b.performed.length, before, 'nothing left');
  const counters = b.counters();
  assert.equal(
    [counters['hops.malformed'], counters['hops.not-its-own'], counters['queue.too-long']],
    [2, 2, 1],
  );
  assert.is(owner(), used);
  assert.equal(ledgerOf(b)[1].given, given);
  b.stop();
  assert.is(
    (must(decodeCbor(b.store.get(ownerKey)!, { depth: 1 })) as { forwardedBytes: number }).forwardedBytes,
    0,
  );
});

test('while the outbox is full nothing is handed out that the store does not hold, and all goes on once there is room', () => {
  const world = new World('ab', { limits: { outboxEffects: 8 } });
  const [a, b] = world.nodes;
  world.introduceAll();
  for (const node of [a, b]) {
    node.crash();
    node.start();
    node.isDraining = false;
    // Fills the outbox before the first number is reserved in this life.
    node.agent!.receive(node.clock, { kind: 'bus-up', sessionPresent: false });
    for (let i = 0; i < 20; i++) node.agent!.poll(node.clock);
    for (let i = 0; i < 50; i++) node.send(`lost ${i}`);
    assert.is(node.agent!.outbox.room, 0);
    node.isDraining = true;
    node.drain();
  }
  world.run(100);
  assert.ok(a.counters()['tunnel.no-nonce'] >= 40);
  assert.ok(world.news().length < 16);
  b.send('b');
  world.run(100);
  // B's platform stalls while A floods it: nothing is carried, nor charged, beyond what the outbox and the queue hold.
  b.isDraining = false;
  for (let i = 0; i < 100; i++) {
    a.send(`a ${i}`);
    world.run(10);
  }
  b.isDraining = true;
  b.drain();
  world.run(2000);
  const carried = world.news().filter(text => text.startsWith('1/2')).length;
  assert.ok(carried >= 1 && carried <= 20, `${carried} carried`);
  b.stop();
  assert.is(b.account(a).givenBytes, world.provider.statement(2)!.givenBytes);
});

for (const policy of ['paper', 'kith'] as const) {
  test(`${policy}: the bus is down for an hour; the kibbutz goes on, the store is spared, and one ledger tells it all`, () => {
    const { world, a, b } = pair({ job: { policy } });
    busUp(a);
    a.give({ kind: 'bus-down' });
    const [ledgers, events] = [a.ledgers.length, a.events.length];
    const saves = [a.saves, b.saves];
    for (let second = 0; second < 3600; second++) {
      a.send('a');
      b.send('b');
      world.run(1000);
    }
    assert.is(world.arrived.length, 1 + 7200 - 1);
    assert.is(a.ledgers.length, ledgers);
    // A slot is 10 s, and each is used by one of the two: at most 360 accounts that fell by one, one a minute, and reserves.
    for (const [i, node] of [a, b].entries()) {
      const written = node.saves - saves[i];
      assert.ok(written <= 360 + 60 + 10, `${node.address} saved ${written} times in an hour`);
    }
    busUp(a);
    world.run(100);
    assert.is(a.ledgers.length, ledgers + 1);
    assert.ok(a.events.length - events <= defaultLimits.waitingEvents);
    const { given, taken } = ledgerOf(a)[2];
    assert.equal(
      [given, taken],
      [world.provider.statement(1)!.givenBytes, world.provider.statement(1)!.takenBytes],
    );
    for (let second = 0; second < 600; second++) {
      a.send('a');
      b.send('b');
      world.run(1000);
    }
    assert.ok(a.ledgers.length - ledgers <= 12, `${a.ledgers.length - ledgers} ledgers in ten minutes`);
  });
}

test('a real coordinator takes the ledger and the events in', async () => {
  const { world, a, b } = pair();
  busUp(a);
  b.send('b');
  world.run(100);
  a.send('a');
  world.run(61_000);
  const directory = await mkdtemp(join(tmpdir(), 'kith-job-'));
  const store = await openStore(directory);
  try {
    const mirror = new Map<string, unknown>();
    const coordinator = await Coordinator.open({
      store,
      clock: () => 1_000_000,
      publish: (topic, payload) => mirror.set(topic, JSON.parse(payload)),
    });
    for (const { topic, payload } of a.ledgers) await coordinator.ingest({ topic, payload });
    for (const { name, ...body } of a.events)
      await coordinator.ingest({
        topic: `kith/1/home/phone-1/event/${name}`,
        payload: encodeCbor({ ...body }),
      });
    assert.equal(coordinator.nodeList()[0].ledger?.neighbours, ledgerOf(a));
    assert.is(coordinator.nodeList()[0].lastEvent?.neighbour, 2);
    assert.equal((mirror.get('kith/json/home/phone-1/ledger') as Ledger).neighbours, ledgerOf(a));
    assert.is(coordinator.lastProblem, undefined);
  } finally {
    await store.close();
    await rm(directory, { recursive: true });
  }
});

test('policy kith: what may wait is kept for a radio or its deadline; a full waiting room empties over the own link', () => {
  const world = new World('ab', { job: { policy: 'kith' }, limits: { waitingPackets: 3 } });
  const [a, b] = world.nodes;
  world.introduceAll();
  world.run(11_000);
  a.send('may wait', { mayWait: true });
  world.run(10_000);
  assert.equal(world.news(), []);
  b.send('b');
  world.run(3000);
  assert.equal(world.news(), ['2/0 b', '1/2 may wait'], 'it went when B´s radio was up');
  world.run(120_000);
  a.send('nobody comes', { mayWait: true });
  world.run(29_999);
  assert.equal(world.news(), []);
  world.run(100);
  assert.equal(world.news(), ['1/0 nobody comes']);
  world.run(120_000);
  for (let i = 0; i < 4; i++) a.send(`${i}`, { mayWait: true });
  world.run(3000);
  assert.equal(world.news(), ['1/0 3', '1/0 0', '1/0 1', '1/0 2']);
  assert.is(a.counters()['waiting.full'], 1);
  assert.is(a.counters()['packets.waited'], 5);
});

test('policy kith: whoever owes is asked to take over, both say so, and the radio given up goes dormant', () => {
  const world = new World('ab', { job: { policy: 'kith' } });
  const [a, b] = world.nodes;
  busUp(a, b);
  world.introduceAll();
  for (let second = 0; second < 300; second++) {
    a.send('a');
    b.send('b');
    world.run(1000);
  }
  const said = (node: Node) =>
    node.events
      .filter(({ name }) => name === 'hand-over')
      .map(({ neighbour, text }) => `${neighbour} ${text}`);
  assert.ok(said(a).includes('2 asked to share') || said(b).includes('1 asked to share'));
  assert.ok(
    said(a).includes('2 shares because it was asked to') ||
      said(b).includes('1 shares because it was asked to'),
  );
  for (const node of [a, b]) {
    const radio = node.performed.flatMap(effect => (effect.kind === 'radio' ? [effect.state] : []));
    assert.ok(radio.includes('connected') && radio.includes('idle'), `${radio}`);
  }
  assert.is(world.arrived.length, 600);
});

test('a member registered anew is introduced anew: new keys, new numbers, the old account', () => {
  const { world, a, b } = pair();
  a.send('a');
  world.run(300);
  world.run(60_000);
  b.stop();
  const again = must(world.provider.register('b', [1]));
  assert.is(again.member, 2);
  b.store.set(registrationKey, newRegistration(again));
  (b as { registration: Registration }).registration = again;
  b.start();
  busUp(b);
  assert.is(b.counters()['saved.other-registration'], 1);
  assert.not.ok(b.store.has('kibbutz/neighbour/1'), 'the old key is forgotten');
  world.introduce(a, b);
  world.run(200);
  world.news();
  b.send('b');
  world.run(300);
  a.send('a');
  world.run(300);
  assert.equal(world.news(), ['2/0 b', '1/2 a']);
  a.stop();
  assert.equal([a.account(b).credit, a.account(b).takenBytes], [7, 400]);
  // What the provider said first comes late: it is old.
  a.start();
  busUp(a);
  assert.is(a.counters()['introductions.old'], undefined);
  world.introduce(a, b);
  world.run(100);
  assert.is(a.counters()['introductions.old'], 1);
});

test('a fifth neighbour takes the place of one not heard for long, whose account is removed', () => {
  const world = new World('abcde', { limits: { neighbours: 3, outboxEffects: 64 } });
  const [a, b, c, d, e] = world.nodes;
  busUp(a);
  for (const other of [b, c, d]) world.introduce(a, other);
  world.run(200);
  assert.equal([...a.store.keys()].filter(key => key.startsWith('kibbutz/neighbour/')).length, 3);
  world.introduce(a, e);
  world.run(200);
  assert.is(a.counters()['neighbours.refused'], 1);
  world.run(100_000);
  c.send('c');
  d.send('d');
  world.run(300);
  world.introduce(a, e);
  world.run(200);
  assert.equal([...a.store.keys()].filter(key => key.startsWith('kibbutz/neighbour/')).sort(), [
    'kibbutz/neighbour/3',
    'kibbutz/neighbour/4',
    'kibbutz/neighbour/5',
  ]);
  assert.equal(Object.keys(ledgerOf(a)), ['3', '4', '5']);
  assert.equal(
    a.events.slice(-2).map(({ neighbour, text }) => `${neighbour} ${text}`),
    ['2 forgotten', '5 met'],
  );
  e.send('e');
  world.run(100);
  a.send('a');
  world.run(300);
  assert.is(world.news().pop()?.slice(0, 2), '1/');
});

test('who was forgotten and comes back owes what it owed, under numbers that go on, and its old packets are replays', () => {
  const world = new World('abc', { limits: { neighbours: 1 } });
  const [a, b, c] = world.nodes;
  busUp(a, b);
  world.introduce(a, b);
  world.run(200);
  b.send('b');
  world.run(10);
  a.send('a by b');
  world.run(300);
  a.send('a', { path: 0 });
  world.run(11_000);
  a.send('a', { path: 0 });
  world.run(10);
  b.send('b by a');
  world.run(300);
  assert.equal(world.news(), ['2/0 b', '1/2 a by b', '1/0 a', '1/0 a', '2/1 b by a']);
  const until = world.overheard.length;
  assert.is(ledgerOf(b)[1].credit, 5);
  world.run(120_000);
  world.introduce(a, c);
  world.run(120_000);
  assert.equal(Object.keys(ledgerOf(a)), ['3']);
  world.introduce(a, b);
  world.run(200);
  assert.equal(Object.keys(ledgerOf(a)), ['2']);
  assert.ok(ledgerOf(a)[2].given > 0 && ledgerOf(a)[2].taken > 0);
  assert.is(a.counters()['hops'], 2);
  a.give({ kind: 'radio', state: 'connected' });
  world.run(0);
  replay(world, 0, until);
  assert.equal(world.news(), []);
  const { 'signals.replayed': signals, 'hops.replayed': hops, 'introductions.old': old } = a.counters();
  assert.ok(signals >= 1 && hops >= 1 && old === undefined);
  assert.equal(a.endpoints, new Map([[0, 'backup']]));
  b.send('b');
  world.run(100);
  a.send('a by b again');
  world.run(300);
  assert.equal(world.news(), ['2/0 b', '1/2 a by b again']);
});

test('saved records that cannot be read are counted and told of; a quota that is not known counts as spent', () => {
  const { world, a, b } = pair({ job: { owner: { minimumPacketsPerMinute: 0, quotaBytes: 50_000_000 } } });
  for (let i = 0; i < 30; i++) {
    b.send('b');
    world.run(1000);
  }
  b.stop();
  const good = b.account(a);
  for (const broken of [
    new Uint8Array(0),
    encodeCbor('text'),
    encodeCbor([1]),
    emitNeighbour({ ...good, credit: Number.NaN }),
    emitNeighbour({ ...good, givenBytes: -1 }),
    emitNeighbour({ ...good, key: new Uint8Array(15) }),
    emitNeighbour({ ...good, sequence: 1.5 }),
    emitNeighbour({ ...good, member: 3 }),
    b.store.get('kibbutz/neighbour/1')!.subarray(0, 50),
  ]) {
    b.store.set('kibbutz/neighbour/1', broken);
    b.store.set(ownerKey, broken);
    b.events.length = 0;
    b.start();
    busUp(b);
    b.poll();
    assert.is(b.counters()['saved.unreadable'], 1);
    assert.is(b.counters()['owner.snapshots.unreadable'], 1);
    assert.equal(
      b.events.map(({ name }) => name),
      ['saved', 'saved'],
    );
    b.crash();
  }
});

test("a registration is taken over when it is newer or another member's, and never twice", () => {
  const given = { member: 7, aead: 1, generation: 3, key: new Uint8Array(16).fill(1) };
  const fresh = newRegistration(given);
  assert.equal(takeOver(undefined, given, aeads), fresh);
  assert.equal(takeOver(new Uint8Array(3), given, aeads), fresh, 'what cannot be read is as good as none');
  assert.is(takeOver(fresh, given, aeads), undefined);
  assert.is(takeOver(newRegistration({ ...given, generation: 4 }), given, aeads), undefined, 'an older one');
  assert.equal(takeOver(newRegistration({ ...given, generation: 2 }), given, aeads), fresh);
  assert.equal(takeOver(newRegistration({ ...given, member: 8, generation: 9 }), given, aeads), fresh);
});

test('without a readable registration the job says so, and does nothing', () => {
  const world = new World('a');
  const [a] = world.nodes;
  const good = a.store.get(registrationKey)!;
  for (const [kept, reason] of [
    [undefined, 'missing'],
    [new Uint8Array(3), 'unreadable'],
    [good.subarray(0, good.length - 1), 'unreadable'],
    [newRegistration({ ...a.registration, aead: 7 }), 'no-aead'],
    [newRegistration({ ...a.registration, aead: 29 }), 'unreadable'],
    [newRegistration({ ...a.registration, member: 0 }), 'unreadable'],
  ] as const) {
    if (kept) a.store.set(registrationKey, kept);
    else a.store.delete(registrationKey);
    a.events.length = 0;
    a.start();
    a.send('a');
    busUp(a);
    assert.is(a.counters()['unregistered'], 1);
    assert.match(a.events[0].text ?? '', reason);
    a.stop();
  }
});

test('traffic that passes by, and what the platform knows of the radio, count as packets do', () => {
  const world = new World('ab');
  const [a, b] = world.nodes;
  world.introduceAll();
  b.give({ kind: 'sent', lengthBytes: 500, mayWait: false });
  world.run(10);
  a.send('a');
  world.run(300);
  assert.equal(world.news(), ['1/2 a']);
  b.give({ kind: 'radio', state: 'idle' });
  a.send('refused, so sent by A');
  world.run(300);
  assert.equal(world.news(), ['1/0 refused, so sent by A']);
  b.give({ kind: 'radio', state: 'connected', releaseMs: 3000 });
  world.run(10_000);
  busUp(b);
  assert.is(b.counters()['refused.idle'], 1);
});

test('no telemetry is too long, even with every counter at its largest', () => {
  const world = new World('a');
  const { agent } = world.nodes[0];
  const seen: object[] = [];
  const fill = (value: unknown) => {
    if (value === null || typeof value !== 'object' || seen.includes(value)) return;
    seen.push(value);
    const { values } = value as { values?: { [name: string]: number } };
    if (values && 'snapshot' in value) for (const name of Object.keys(values)) values[name] = 2 ** 53 - 1;
    else for (const part of Object.values(value)) fill(part);
  };
  fill(agent);
  busUp(world.nodes[0]);
  world.run(0);
  const { telemetry } = world.nodes[0];
  assert.ok(Object.keys(telemetry?.counters ?? {}).length > 80, 'checked in `publish`');
});

test('limits that contradict each other are refused by name', () => {
  assert.is(envelopesBytes, 2 * envelopeOverhead);
  checkLimits(defaultLimits);
  for (const [changed, message] of [
    [{ neighbours: 256, outboxEffects: 300 }, 'limits.neighbours: expected 1..255, got 256'],
    [{ neighbours: 61 }, 'limits.outboxEffects: expected at least 65, 4 more than neighbours, got 64'],
    [
      { packetBytes: 65_443, waitingBytes: 1e6, uplinkBytes: 1e6, forwardedBytes: 1e6 },
      'limits.packetBytes: expected 1..65442, got 65443',
    ],
    [{ waitingBytes: 1499 }, 'limits.waitingBytes: expected at least 1500, got 1499'],
    [{ uplinkBytes: 1559 }, 'limits.uplinkBytes: expected at least 1560, got 1559'],
    [{ forwardedBytes: 1559 }, 'limits.forwardedBytes: expected at least 1560, got 1559'],
    [{ forwardedPackets: 1 }, 'limits.forwardedPackets: expected at least 2, got 1'],
  ] as const)
    assert.throws(
      () => checkLimits({ ...defaultLimits, ...changed }),
      (error: Error) => error.message === message,
    );
});

test('a crash right after a packet of a new slot has left finds the account without that slot', () => {
  const { world, a, b } = pair();
  a.send('first');
  world.run(12_000);
  assert.is(b.account(a).credit, 4);
  b.crashesAfter = effect => 'payload' in effect && effect.payload[0] === 0x12;
  b.send('b');
  world.run(10);
  a.send('second');
  world.run(300);
  assert.not.ok(b.agent, 'it has crashed');
  assert.equal(world.news(), ['1/2 first', '2/0 b', '1/2 second']);
  assert.is(b.account(a).credit, 3);
});

test('who alone crashes hears its neighbour again within a minute, and believes nothing said before', () => {
  const { world, a, b } = pair();
  for (let second = 0; second < 130; second++) {
    b.send('b', { path: 0 });
    world.run(1000);
  }
  a.crash();
  a.start();
  replay(world, 0, world.overheard.length);
  assert.equal(a.endpoints, new Map([[0, 'backup']]));
  for (let second = 0; second < 75; second++) {
    b.send('b', { path: 0 });
    world.run(1000);
  }
  assert.equal(
    a.endpoints,
    new Map([
      [0, 'backup'],
      [2, 'normal'],
    ]),
  );
});

test('an orderly end gives back the numbers that were reserved and not used, and keeps what the provider said last', () => {
  const { world, a, b } = pair();
  world.introduce(a, b);
  world.run(200);
  const before = must(parseRegistration(b.store.get(registrationKey), aeads));
  assert.ok(before.sequenceThrough > 4_000_000);
  world.run(61_000);
  assert.is(must(parseRegistration(b.store.get(registrationKey), aeads)).controlSeenThrough, 2);
  b.stop();
  const after = must(parseRegistration(b.store.get(registrationKey), aeads));
  assert.ok(after.sequenceThrough < 1000);
  b.start();
  for (const payload of world.sentDown) b.give({ kind: 'datagram', link: 'uplink', payload });
  const counters = b.counters();
  assert.is(counters['introductions'], undefined, 'the old one is not heard again');
  b.give({ kind: 'shutdown' });
  b.send('after the end');
  assert.is(world.news().length, 0);
});

test('nobody else´s address is believed, whatever is replayed or forged from it', () => {
  const { world, a, b } = pair();
  a.send('a');
  world.run(300);
  for (const payload of world.overheard.slice())
    for (const node of [a, b])
      for (const bit of [0, 3]) {
        const changed = payload.slice();
        // The last byte is of the tag.
        changed[changed.length - 1] ^= bit;
        // A number not yet seen.
        if (bit > 0) changed[payload[0] === 0x16 ? 12 : 16] ^= 0x40;
        node.give({ kind: 'datagram', link: 'local', peer: 'fe80::mallory', payload: changed });
      }
  const before = [a.performed.length, b.performed.length];
  a.send('a');
  world.run(300);
  for (const [i, node] of [a, b].entries())
    for (const effect of node.performed.slice(before[i]))
      if (effect.kind === 'datagram' && effect.link === 'local') assert.is(effect.peer, [b, a][i].address);
  assert.equal(world.news(), ['1/2 a', '1/2 a']);
});

test('after a bad time a neighbour that answers again is credited again: two honest ones are never starved', () => {
  const { world, a, b } = pair();
  let carried = 0;
  for (let second = 0; second < 900; second++) {
    a.isInRange = !(second > 20 && second < 40);
    a.send('a');
    b.send('b');
    world.run(1000);
    if (second > 600) carried += world.arrived.filter(({ carrier }) => carrier !== 0).length;
    world.news();
  }
  assert.ok(carried >= 250, `${carried} of 600 through the neighbour, five minutes later`);
});

test('a packet refused by two goes by the own link, whoever else advertises', () => {
  const world = new World('abcd');
  const [a, ...others] = world.nodes;
  world.introduceAll();
  for (const other of others) {
    other.send('mine', { path: 0 });
    world.run(20);
  }
  world.run(300);
  for (const other of others) other.give({ kind: 'radio', state: 'idle' });
  world.news();
  a.send('a');
  world.run(300);
  assert.equal(world.news(), ['1/0 a']);
  assert.is(a.counters()['packets.sent-again'], 2);
});

test('a neighbour whose radio comes up is given the time for it', () => {
  const { world, a, b } = pair();
  world.run(20_000);
  b.promotionMs = 2000;
  b.send('b');
  world.run(10);
  a.send('a');
  world.run(4000);
  assert.equal(world.news(), ['2/0 b', '1/2 a']);
  assert.equal(a.delivered, ['a']);
  assert.is(a.counters()['packets.unanswered'], undefined);
});

test('policy kith: B is told that a packet may wait, and lets its radio go once that is answered', () => {
  const world = new World('ab', { job: { policy: 'kith' } });
  const [a, b] = world.nodes;
  world.introduceAll();
  world.run(100_000);
  b.send('b', { mayWait: true });
  world.run(1000);
  a.send('a', { mayWait: true });
  world.run(29_000 + 2000 + 500);
  assert.equal(world.news(), ['2/0 b', '1/2 a']);
  assert.ok(b.performed.some(effect => effect.kind === 'radio' && effect.state === 'idle'));
});

test.run();
