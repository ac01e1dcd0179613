import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Agent } from '../../agent/agent.js';
import { encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { defaultLimits, type Limits } from '../../agent/limits.js';
import type { Link, Saved } from '../../agent/port/platform.js';
import { everyPart } from '../../agent/power-proxy/job.js';
import { PowerProxy, type PowerProxyOptions } from '../../agent/power-proxy/power-proxy.js';
import { silenceMs } from '../../agent/power-proxy/presence.js';
import { udpFrame } from '../../agent/power-proxy/respond/frame.js';
import { formatMac } from '../../agent/wire/address.js';
import { type Dhcp, dhcpLength, dhcpMessageType, emitDhcp } from '../../agent/wire/dhcp.js';
import { wakeOnLanEtherType } from '../../agent/wire/wol.js';
import { Bench, events, eventsNamed, frames, report } from './bench.js';
import { hosts as macs, pick, randomFrame, randomRule } from './random-rules.js';
import { askerAddress, askerMac, hostAddress, hostMac, ip, mac } from './respond-asking.js';
import {
  arpQuestion,
  asks,
  broadcastMac,
  dnsQuery,
  echoQuestion,
  hostName,
  mdnsFrame,
  records,
  segment,
  subjects,
  toAll,
  toHost,
} from './respond-subjects.js';
import { type Mac, officeMac, record, registration, servingLink } from './sleep-registration.js';

const host = formatMac(hostMac);
const asleep = { mac: host, ipv4: ['192.0.2.10'], names: ['desktop'], state: 'asleep' };
const syn = segment({ dstPort: 22, flags: 2 });
const fromHost = { ...toAll, link: { name: 'lan', mac: hostMac } };
const hostSpeaks = arpQuestion(
  { senderMac: hostMac, senderAddress: hostAddress, targetAddress: askerAddress },
  fromHost,
);
const serving = { sleepProxy: { name: 'Gateway' }, links: [servingLink] };
const respondToAll = { trigger: { any: true }, action: 'respond' };
const wakeForSsh = { trigger: { tcp: { dstPort: 22 } }, action: 'wake' };

function withSleeper(bench = new Bench(), declaration: object = {}): Bench {
  bench.publish(0, 'host/desktop', { ...asleep, ...declaration });
  bench.run(0, 5000);
  return bench;
}

const magics = (all: readonly Uint8Array[]) =>
  all.filter(frame => ((frame[12] << 8) | frame[13]) === wakeOnLanEtherType);

// ---- Everything at once ----

const questions = Object.values(subjects).flatMap(subject => subject.questions);
const addresses = ['192.168.1.10', '192.168.1.11', '192.0.2.10', '192.168.1.200'];

/** A life of an agent from one seed: rules, hosts, frames, restarts and time in any order, on links and limits of any kind. */
class Life {
  readonly limits: Limits;
  links: Link[];
  now = 0;
  saved: { [key: string]: Uint8Array } = {};
  agent!: Agent;
  proxy!: PowerProxy;
  /** What all effects came to, to compare two lives by. */
  digest = 0;
  private readonly random: Random;
  private isUp = false;

  constructor(seed: number) {
    const random = new Random(seed, 'adversary');
    this.random = random;
    this.limits = {
      ...defaultLimits,
      hosts: 1 + random.below(6),
      rules: 1 + random.below(12),
      heldFrames: 1 + random.below(4),
      waitingAnswers: 1 + random.below(8),
      outboxEffects: pick(random, [8, 12, 64]),
    };
    const other: Link = { name: 'two', mac: mac('02:00:5e:10:00:02') };
    this.links = [servingLink, ...(random.chance(0.4) ? [other] : [])].map(link =>
      random.chance(0.5) ? { ...link, hearsOthers: false } : link,
    );
    this.boot();
  }

  step(): void {
    const { random, now } = this;
    const kind = random.below(100);
    const publish = (leaf: string, body: object) =>
      this.agent.receive(now, {
        kind: 'message',
        topic: `kith/1/home/gw-1/${leaf}`,
        payload: random.chance(0.25) ? new Uint8Array(0) : encodeUtf8(JSON.stringify(body)),
        retained: random.chance(0.3),
      });
    if (kind < 50)
      this.agent.receive(now, { kind: 'frame', link: pick(random, this.links).name, frame: this.frame() });
    else if (kind < 60) publish(`rule/r${random.below(16)}`, this.rule());
    else if (kind < 68) publish(`host/h${random.below(5)}`, this.declaration());
    else if (kind < 70) publish('request/wake', { transaction: 't', host: pick(random, macs) });
    else if (kind < 72) {
      this.isUp = !this.isUp;
      this.agent.receive(now, this.isUp ? { kind: 'bus-up', sessionPresent: false } : { kind: 'bus-down' });
    } else if (kind < 74) {
      if (random.chance(0.3)) this.damage();
      if (random.chance(0.2)) this.links = this.links.map(link => ({ ...link, name: `${link.name}x` }));
      this.boot();
    } else this.run(now + pick(random, [1, 100, 1000, 3000, 10_000, 31_000, 60_000, 3_600_000, 90_000_000]));
    this.settle();
  }

  /** What must hold whatever happened. */
  check(): void {
    const { proxy, limits } = this;
    const { hosts } = proxy.hosts;
    const { presence, waker } = proxy as unknown as {
      presence: { pollAt(): number };
      waker: { held: { host: unknown; frame: Uint8Array }[]; heldBytes: number };
    };
    assert.ok(hosts.length <= limits.hosts && waker.held.length <= limits.heldFrames);
    assert.is(
      waker.held.reduce((sum, { frame }) => sum + frame.length, 0),
      waker.heldBytes,
    );
    for (const held of waker.held)
      assert.ok(
        hosts.some(each => each === held.host && each.state === 'waking'),
        'frames are held for hosts that are being woken only',
      );
    for (const each of hosts) {
      assert.is(proxy.hosts.find(each.mac, 0), each);
      assert.ok(
        each.isNamed || each.declaredAs !== '' || each.registeredUntil >= 0,
        'somebody wants it known',
      );
      if (each.state === 'awake') assert.is(each.registeredUntil, -1, 'who is awake is registered no more');
      if (each.state !== 'asleep' && each.state !== 'gone') assert.ok(each.nextAt < never, each.state);
      assert.ok(presence.pollAt() <= each.nextAt, 'no deadline is forgotten');
      if (each.state === 'waking') assert.ok(each.giveUpAt <= this.now + 45_000, 'a wake ends');
      if (each.registeredUntil >= 0) assert.ok(proxy.pollAt() <= each.registeredUntil, 'a registration ends');
    }
    for (const key of Object.keys(this.saved))
      if (key.startsWith('sleeper/'))
        assert.ok(
          hosts.some(({ name }) => key === `sleeper/${name}`),
          key,
        );
  }

  private boot(): void {
    this.agent = new Agent(this.now, {
      site: 'home',
      node: 'gw-1',
      firmware: 'test 1',
      platform: 'test',
      boot: '00000001',
      links: this.links,
      limits: this.limits,
      jobs: [
        (now, context) => {
          this.proxy = new PowerProxy(now, context, everyPart, { sleepProxy: { name: 'Gateway' } });
          return this.proxy;
        },
      ],
      saved: { ...this.saved },
      telemetryMs: 1e9,
    });
    this.isUp = false;
    this.settle();
  }

  private settle(): void {
    for (let calls = 0; ; calls++) {
      for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift()) {
        if (effect.kind === 'transmit') this.mix(effect.frame);
        if (effect.kind === 'publish') this.mix(effect.payload);
        if (effect.kind === 'save' && effect.value) this.saved[effect.key] = effect.value;
        if (effect.kind === 'save' && !effect.value) delete this.saved[effect.key];
      }
      if (this.agent.pollAt() > this.now) return;
      assert.ok(calls < 500, 'the agent comes to rest');
      this.agent.poll(this.now);
    }
  }

  private run(to: number): void {
    for (let calls = 0; this.agent.pollAt() <= to && calls < 200; calls++) {
      this.now = Math.max(this.now, this.agent.pollAt());
      this.settle();
    }
    this.now = to;
  }

  private mix(bytes: Uint8Array): void {
    for (const byte of bytes) this.digest = (Math.imul(this.digest, 31) + byte) | 0;
  }

  private damage(): void {
    for (const [key, value] of Object.entries(this.saved)) {
      const bytes = new Uint8Array(value);
      if (bytes.length > 0) bytes[this.random.below(bytes.length)] ^= 1 << this.random.below(8);
      this.saved[key] = bytes;
    }
  }

  private frame(): Uint8Array {
    const { random } = this;
    const kind = random.below(10);
    let bytes = new Uint8Array(kind < 5 ? randomFrame(random).bytes : pick(random, questions));
    if (kind > 7) {
      const sleeper = { mac: mac(pick(random, macs)), addresses: [ip(pick(random, addresses))] };
      const leaseSeconds = pick(random, [0, 1, 60, 7200, 0xffffffff]);
      bytes = new Uint8Array(
        registration({ ...officeMac, ...sleeper, sequence: random.below(256) }, { leaseSeconds }),
      );
    }
    if (random.chance(0.3)) bytes.set(mac(pick(random, macs)), pick(random, [0, 6]));
    if (random.chance(0.1)) bytes.set(servingLink.mac);
    if (random.chance(0.1)) bytes[random.below(bytes.length)] = random.below(256);
    if (random.chance(0.03)) bytes = bytes.slice(0, random.below(bytes.length + 1));
    return random.chance(0.01) ? new Uint8Array(random.below(3000)).map(() => random.below(256)) : bytes;
  }

  private rule(): object {
    const { random } = this;
    const rule = { ...randomRule(random), ...(random.chance(0.3) ? { timeout: '10s' } : {}) };
    const timer = { trigger: { timer: { every: '1s' } } };
    const template = pick(random, ['00', '{data:0:4}{count:1}{asleep:4}', '{mac}{ipv4}', '{data:9000:900}']);
    return {
      ...rule,
      ...pick(random, [
        {},
        {},
        { ...timer, action: 'wake' },
        { ...timer, action: 'respond', responder: pick(random, ['dhcp', 'dhcpv6', 'nat-keepalive', 'arp']) },
        { trigger: { udp: { dstPort: '1024-65535' } }, action: 'respond', answer: { template } },
        { action: 'redirect', redirect: pick(random, [{ host }, { stub: 'x' }, { coordinator: true }]) },
        { trigger: { registered: true }, action: 'wake' },
        { trigger: { asked: true }, action: pick(random, ['wake', 'respond']) },
        respondToAll,
        { trigger: { any: true }, action: 'wake' },
      ]),
    };
  }

  private declaration(): object {
    const { random } = this;
    const maybe = (value: object) => (random.chance(0.4) ? value : {});
    return {
      mac: pick(random, macs),
      ...maybe({ ipv4: [pick(random, addresses)] }),
      ...maybe({ ipv6: ['2001:db8::10'] }),
      ...maybe({ names: ['desktop'], services: [{ type: '_ssh._tcp', port: 22 }] }),
      ...maybe({ groups: ['239.1.2.3'] }),
      ...maybe({ vlanId: 7, password: '01020304' }),
      ...maybe({ state: pick(random, ['awake', 'asleep']) }),
    };
  }
}

test('no order of rules, hosts, frames, restarts and time throws, or leaves anything that never ends', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const life = new Life(seed);
    for (let step = 0; step < 150; step++) {
      try {
        life.step();
        life.check();
      } catch (error) {
        assert.unreachable(`seed ${seed}, step ${step}: ${(error as Error).stack}`);
      }
    }
  }
});

test('the same inputs at the same times give the same effects', () => {
  for (let seed = 1; seed <= 5; seed++) {
    const [one, other] = [new Life(seed), new Life(seed)];
    for (let step = 0; step < 150; step++) {
      one.step();
      other.step();
    }
    assert.is(one.digest, other.digest, `seed ${seed}`);
    assert.is.not(one.digest, 0);
  }
});

// ---- Two agents ----

/** Two agents on one segment, each hearing what the other sends if its link brings it there. */
class Segment {
  readonly benches: Bench[];
  private readonly links: readonly Link[];

  constructor(options: PowerProxyOptions, hearsOthers: boolean) {
    this.links = ['02:00:00:00:00:01', '02:00:00:00:00:02'].map(address => ({
      name: 'lan',
      mac: mac(address),
      hearsOthers,
    }));
    this.benches = this.links.map(link => new Bench({}, { ...options, links: [link] }));
  }

  /** Brings the frames to the other agent, and its answers back, until all is said; how many there were. */
  exchange(now: number, sent: readonly (readonly Uint8Array[])[]): number {
    let waiting = sent;
    let count = 0;
    while (waiting.some(each => each.length > 0)) {
      count += waiting[0].length + waiting[1].length;
      assert.ok(count < 5000, 'they come to an end');
      waiting = [1, 0].map(from =>
        waiting[from].flatMap(frame =>
          this.reaches(1 - from, frame) ? frames(this.benches[1 - from].hear(now, frame)) : [],
        ),
      );
    }
    return count;
  }

  private reaches(to: number, frame: Uint8Array): boolean {
    const { mac: own, hearsOthers } = this.links[to];
    return hearsOthers !== false || (frame[0] & 1) === 1 || own.every((byte, i) => byte === frame[i]);
  }
}

test('two agents that answer for all never keep each other busy, whatever they hear', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed, 'two agents');
    const segmentOfTwo = new Segment({}, random.chance(0.5));
    const { benches } = segmentOfTwo;
    const isShared = random.chance(0.5);
    const other = { mac: macs[1], ipv4: ['192.168.1.10'], names: ['laptop'], state: 'asleep' };
    benches.forEach((bench, i) => {
      if (isShared || i === 0) bench.publish(0, 'host/desktop', asleep);
      if (isShared || i === 1) bench.publish(0, 'host/laptop', other);
      bench.put(0, 'all', respondToAll);
    });
    for (let now = 10; now < 60_000; now += 1000 + random.below(2000)) {
      segmentOfTwo.exchange(
        now,
        benches.map(bench => frames(bench.run(now, now))),
      );
      const frame = new Uint8Array(random.chance(0.5) ? pick(random, questions) : randomFrame(random).bytes);
      if (random.chance(0.3)) frame.set(mac(`02:00:00:00:00:0${1 + random.below(2)}`), 6);
      const first = benches.map(bench => frames(bench.hear(now, frame)));
      const count = segmentOfTwo.exchange(now, first);
      assert.ok(count <= 12, `seed ${seed}, at ${now}: ${count} frames for ${formatHex(frame)}`);
    }
  }
});

test('two agents that redirect to each other, or answer each other by pattern, run out of hops', () => {
  const laptop = { ...asleep, mac: macs[1], ipv4: ['192.168.1.10'], names: ['laptop'] };
  for (const [rule, hearsOthers] of [
    [{ trigger: { any: true }, action: 'redirect' }, true],
    [{ trigger: { udp: { dstPort: '1024-65535' } }, action: 'respond', answer: { template: '00' } }, false],
  ] as const) {
    const segmentOfTwo = new Segment({}, hearsOthers);
    const { benches } = segmentOfTwo;
    benches[0].publish(0, 'host/desktop', asleep);
    benches[1].publish(0, 'host/laptop', laptop);
    [macs[1], host].forEach((to, i) => {
      benches[i].run(0, 10_000);
      benches[i].put(10_000, 'loop', rule.action === 'redirect' ? { ...rule, redirect: { host: to } } : rule);
    });
    const parts = { srcAddress: ip('192.168.1.10'), dstAddress: hostAddress, srcPort: 5555, dstPort: 4444 };
    const way = {
      link: { name: 'lan', mac: mac('02:00:00:00:00:02') },
      tags: [],
      dstMac: hearsOthers ? hostMac : mac('02:00:00:00:00:01'),
    };
    const start = udpFrame(way, { ...parts, timeToLive: 20 }, new Uint8Array(1));
    const count = segmentOfTwo.exchange(10_001, [frames(benches[0].hear(10_001, start)), []]);
    assert.ok(count > 1 && count <= 20, `${rule.action}: ${count}`);
    const ends = benches.flatMap(({ proxy }) =>
      ['frames.unanswerable', 'redirects.no-hops'].map(name => proxy.counters.get(name as never)),
    );
    assert.is(Math.max(...ends), 1);
    if (rule.action !== 'redirect') continue;
    const arp = arpQuestion({}, { ...toAll, dstMac: hostMac });
    assert.is(
      segmentOfTwo.exchange(10_002, [frames(benches[0].hear(10_002, arp)), []]),
      0,
      'ARP has no hops',
    );
  }
});

// ---- Hosts that come and go ----

test('what is held or waits for a host goes when the host is forgotten, so the next has its place', () => {
  const bench = new Bench();
  for (let i = 0; i < 20; i++) {
    const now = 10_000 * (i + 1);
    bench.put(now, 'ssh', { host, ...wakeForSsh });
    bench.hear(now + 1, syn);
    assert.is(bench.proxy.verdict.kind, 'waking');
    bench.put(now + 2, 'ssh', '');
    assert.is(bench.proxy.hosts.hosts.length, 0);
  }
  assert.is(bench.proxy.counters.get('held.frames'), 20);
  assert.is(bench.proxy.counters.get('held.dropped'), 20);
});

test('a host that only an expired rule named is forgotten with it, and so is what was saved of it', () => {
  const bench = new Bench();
  bench.put(0, 'named', { host, ...wakeForSsh, timeout: '10m' });
  bench.hear(1000, hostSpeaks);
  bench.run(1001, 60_000);
  assert.ok(Object.keys(bench.saved).includes(`sleeper/${host}`));
  bench.run(60_001, 700_000);
  assert.is(bench.proxy.hosts.hosts.length, 0);
  assert.not(Object.keys(bench.saved).some(key => key.startsWith('sleeper/')));
});

test('a host with a registration that ended is known no more, and one that is declared has its own services again', () => {
  for (const isDeclared of [false, true]) {
    const bench = new Bench({}, serving);
    const services = [{ type: '_http._tcp', port: 8080 }];
    if (isDeclared)
      bench.publish(0, 'host/mac', { mac: host, names: ['office'], services, password: '01020304' });
    bench.run(0, 5000);
    bench.hear(6000, registration(officeMac));
    assert.ok(bench.proxy.hosts.find(hostMac, 0)?.ports.some(({ port }) => port === 22));
    bench.run(6001, 20_000);
    bench.hear(20_001, hostSpeaks);
    const known = bench.proxy.hosts.find(hostMac, 0);
    assert.equal(known?.ports, isDeclared ? [{ protocol: 6, port: 8080 }] : undefined);
    assert.equal(known && [...known.password], isDeclared ? [1, 2, 3, 4] : undefined);
  }
});

test('a copy of a declaration that the broker kept changes nothing of a registration in force', () => {
  const bench = new Bench({}, serving);
  bench.publish(0, 'host/mac', { mac: host, names: ['office'] });
  bench.run(0, 5000);
  bench.hear(6000, registration(officeMac));
  bench.run(6001, 20_000);
  bench.publish(20_000, 'host/mac', { mac: host, names: ['office'] }, true);
  const known = bench.proxy.hosts.find(hostMac, 0)!;
  assert.equal(
    known.ports.map(({ port }) => port),
    [22, 445],
  );
  assert.is(known.profile.ipv4.length, 1);
});

test('a host’s agent that says the same again says it anew: it goes to sleep a second time', () => {
  const bench = withSleeper();
  bench.hear(10_000, hostSpeaks);
  const told = report(bench.publish(11_000, 'host/desktop', asleep, true), 'host', 'desktop')!;
  assert.is(told['state'], 'awake', 'a kept copy is old news');
  bench.publish(12_000, 'host/desktop', asleep);
  assert.is(bench.proxy.hosts.find(hostMac, 0)?.state, 'falling-asleep');
});

test('a declaration that is withdrawn leaves no address, name or service behind with a host that rules name', () => {
  const bench = withSleeper(new Bench(), { services: [{ type: '_ssh._tcp', port: 22 }] });
  bench.put(5000, 'all', { ...respondToAll, host });
  assert.is(frames(bench.hear(5001, arpQuestion({}))).length, 1);
  bench.publish(6000, 'host/desktop', '');
  assert.equal(frames(bench.hear(6001, arpQuestion({}))), []);
  const { ports, profile } = bench.proxy.hosts.find(hostMac, 0)!;
  assert.equal([ports, profile.names, profile.records], [[], [], []]);
});

test('the agent’s own MAC is no host’s', () => {
  const bench = new Bench();
  const told = report(bench.publish(0, 'host/me', { mac: '02:00:00:00:00:01' }), 'host', 'me')!;
  assert.equal([told['status'], told['field']], ['rejected', 'mac']);
});

// ---- Whether it is awake ----

test('a request to wake a host that is awake is no reason to speak for it', () => {
  const bench = withSleeper();
  bench.put(5000, 'all', respondToAll);
  bench.hear(10_000, hostSpeaks);
  assert.equal(frames(bench.publish(10_001, 'request/wake', { transaction: 't', host })), []);
  assert.equal(frames(bench.hear(10_002, arpQuestion({}))), []);
  assert.is(bench.proxy.counters.get('wakes.unneeded'), 1);
});

test('a declaration of a host that is being woken does not end the wake, and what is held is delivered', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', { host, ...wakeForSsh });
  bench.hear(1000, syn);
  bench.publish(1001, 'host/desktop', { ...asleep, state: undefined });
  assert.is(bench.proxy.hosts.find(hostMac, 0)?.state, 'waking');
  assert.is(frames(bench.hear(2000, hostSpeaks)).length, 1);
});

test('a Mac that registered and then did not sleep after all is registered no more, also after a restart', () => {
  const bench = new Bench({}, serving);
  bench.publish(0, 'host/mac', { mac: host, names: ['office'] });
  bench.run(0, 5000);
  bench.hear(6000, registration(officeMac));
  for (let now = 6500; now < 40_000; now += 500) bench.hear(now, hostSpeaks);
  const known = bench.proxy.hosts.find(hostMac, 0)!;
  assert.equal([known.state, known.registeredUntil], ['awake', -1]);
  assert.not(Object.keys(bench.saved).some(key => key.startsWith('sleeper/')));
});

test('every host of a storm gets its magic packets, also where one call has no room for all', () => {
  const limits = { ...defaultLimits, outboxEffects: 8 };
  const life = new Life(1);
  Object.assign(life, { limits, links: [{ name: 'lan', mac: mac('02:00:00:00:00:01') }], saved: {} });
  (life as unknown as { boot(): void }).boot();
  const woken: string[] = [];
  const drain = () => {
    for (let effect = life.agent.outbox.shift(); effect; effect = life.agent.outbox.shift())
      if (effect.kind === 'transmit')
        for (const magic of magics([effect.frame])) woken.push(formatMac(magic.subarray(20, 26)));
  };
  const publish = (leaf: string, body: object) => {
    const payload = encodeUtf8(JSON.stringify(body));
    life.agent.receive(0, { kind: 'message', topic: `kith/1/home/gw-1/${leaf}`, payload, retained: false });
    drain();
  };
  for (let i = 0; i < 40; i++) publish(`host/h${i}`, { mac: `02:11:00:00:00:${(16 + i).toString(16)}` });
  publish('rule/storm', { trigger: { arp: {} }, action: 'wake' });
  life.agent.receive(1000, { kind: 'frame', link: 'lan', frame: arpQuestion({}) });
  drain();
  for (let at = life.agent.pollAt(); at <= 8000; at = life.agent.pollAt()) {
    life.agent.poll(Math.max(1000, at));
    drain();
  }
  assert.is(new Set(woken).size, 40);
});

// ---- Restarts ----

test('what was learnt of a sleeping host outlasts one restart after the other', () => {
  let bench = new Bench();
  bench.publish(0, 'host/desktop', { mac: host, names: ['desktop'] });
  bench.put(0, 'all', respondToAll);
  bench.hear(1000, hostSpeaks);
  bench.run(1001, 60_000);
  for (let life = 0; life < 3; life++) {
    bench = new Bench(bench.saved);
    bench.run(0, 10_000);
    assert.is(frames(bench.hear(10_001, arpQuestion({}))).length, 1, `life ${life}`);
  }
});

test('what is declared while the host sleeps is not undone by a restart', () => {
  const first = withSleeper();
  first.put(5000, 'all', respondToAll);
  first.publish(6000, 'host/desktop', { ...asleep, ipv4: ['192.0.2.99'] });
  const bench = new Bench(first.saved);
  bench.run(0, 10_000);
  assert.equal(frames(bench.hear(10_001, arpQuestion({}))), []);
  assert.is(frames(bench.hear(10_002, arpQuestion({ targetAddress: ip('192.0.2.99') }))).length, 1);
});

test('after a restart with links of other names a sleeping host is still woken', () => {
  const first = new Bench({}, serving);
  first.run(0, 5000);
  first.hear(6000, registration(officeMac));
  first.run(6001, 20_000);
  const bench = new Bench(first.saved, { ...serving, links: [{ ...servingLink, name: 'eth7' }] });
  bench.run(0, 5000);
  const known = bench.proxy.hosts.hosts[0];
  assert.is(known.state, 'asleep');
  const woken = bench.publish(6000, 'request/wake', { transaction: 't', host: known.name });
  assert.is(magics(frames(woken)).length, 1);
});

test('behind a switch a host that was asleep before the restart, or that only rules name, has its addresses here', () => {
  const links = [{ ...servingLink, hearsOthers: false }];
  const first = new Bench({}, { ...serving, links });
  first.run(0, 5000);
  first.hear(6000, registration(officeMac));
  first.run(6001, 20_000);
  const here = (effects: ReturnType<Bench['run']>) =>
    frames(effects).filter(
      frame => frame[13] === 6 && formatHex(frame.subarray(28, 32)) === 'c000020a' && frame[0] === 0xff,
    ).length;
  const again = new Bench(first.saved, { ...serving, links });
  assert.is(again.proxy.hosts.hosts[0].profile.linkAddress, links[0].mac);
  assert.is(here(again.run(0, 10_000)), 1, 'the first went out as it booted');
  const named = new Bench({}, { links });
  const rule = { host, trigger: { arp: { targetAddress: '192.0.2.10' } }, action: 'respond' };
  assert.is(here(named.publish(0, 'rule/arp', rule)) + here(named.run(1, 10_000)), 2);
});

test('a rule or a host whose saved form cannot be read is gone for good once it is removed', () => {
  const saved: Saved = { 'rule/old': new Uint8Array([1]), 'host/old': new Uint8Array([1]) };
  const bench = new Bench(saved);
  bench.put(0, 'old', '');
  bench.publish(0, 'host/old', '');
  assert.equal(Object.keys(bench.saved), []);
});

// ---- Frames that deceive ----

test('an answer that repeats the name just asked for does not ask for it', () => {
  const bench = withSleeper();
  bench.put(5000, 'asked', { trigger: { asked: true }, action: 'wake' });
  const other = mdnsFrame(dnsQuery([asks('desktop.local', 1)]));
  const answer = mdnsFrame(
    dnsQuery([], { isResponse: true, answers: records.filter(({ name }) => name === hostName) }),
  );
  assert.equal(events(bench.hear(6000, answer)), []);
  assert.equal(events(bench.hear(6001, other)), ['wake']);
  bench.hear(7000, hostSpeaks);
  bench.run(7001, 7000 + silenceMs + 10_000);
  assert.equal(events(bench.hear(60_000, answer)), [], 'though it stands where the question stood');
});

test('in another VLAN of its link nobody finds a host, or wakes it', () => {
  const bench = withSleeper();
  const tagged = { ...fromHost, tags: [{ tpid: 0x8100, priority: 0, dropEligible: false, vlanId: 5 }] };
  bench.hear(
    6000,
    arpQuestion({ senderMac: hostMac, senderAddress: hostAddress, targetAddress: askerAddress }, tagged),
  );
  bench.run(6001, 60_000);
  bench.put(60_000, 'arp', { trigger: { arp: {} }, action: 'respond' });
  bench.put(60_000, 'rest', { trigger: { any: true }, action: 'wake', priority: 1 });
  assert.equal(frames([...bench.hear(60_001, arpQuestion({})), ...bench.hear(60_002, syn)]), []);
  const asked = arpQuestion({}, { ...toAll, tags: tagged.tags });
  assert.is(frames(bench.hear(60_003, asked)).length, 1);
});

test('an address that a host the proxy knows takes over is that host’s, and another proxy’s answer takes none', () => {
  const bench = withSleeper();
  bench.publish(5000, 'host/other', { mac: macs[1], state: 'awake' });
  const claim = (senderMac: Uint8Array, link = { name: 'lan', mac: mac(macs[1]) }) =>
    arpQuestion({ senderMac, senderAddress: hostAddress, targetAddress: hostAddress }, { ...toAll, link });
  const proxy = { name: 'lan', mac: askerMac };
  for (let i = 0; i < 3; i++) assert.equal(frames(bench.hear(6000 + i, claim(hostMac, proxy))), []);
  assert.is(frames(bench.hear(7000, claim(mac(macs[1])))).length, 1, 'defended once');
  assert.equal(events(bench.hear(7001, claim(mac(macs[1])))), ['address-conflict']);
  assert.equal(bench.proxy.hosts.find(hostMac, 0)?.profile.ipv4, []);
});

test('a broadcast on one link does not tell where a host is that was never heard', () => {
  const links = ['lan', 'guests'].map((name, i) => ({ name, mac: mac(`02:00:00:00:00:0${i + 1}`) }));
  const bench = new Bench({}, { links });
  bench.put(0, 'arp', { host, trigger: { arp: {} }, action: 'wake' });
  bench.agent.receive(1000, { kind: 'frame', link: 'guests', frame: arpQuestion({}) });
  const woken = bench.settle(1000);
  assert.equal(
    woken.flatMap(effect => (effect.kind === 'transmit' ? [effect.link] : [])),
    ['lan', 'guests'],
  );
});

test('a lease that a server grants by broadcast is learnt, from the client’s MAC within', () => {
  const bench = withSleeper();
  const known = bench.proxy.hosts.find(hostMac, 0)!;
  known.profile.transactionId = 77;
  const reply: Dhcp = {
    operation: 2,
    hops: 0,
    transactionId: 77,
    secondsElapsed: 0,
    broadcast: true,
    clientAddress: ip('0.0.0.0'),
    yourAddress: ip('192.0.2.11'),
    serverAddress: ip('0.0.0.0'),
    relayAddress: ip('0.0.0.0'),
    clientMac: hostMac,
    serverName: new Uint8Array(0),
    bootFile: new Uint8Array(0),
    options: [
      { kind: 'message-type', messageType: dhcpMessageType.ack },
      { kind: 'server-identifier', address: ip('192.0.2.1') },
      { kind: 'lease-time', seconds: 3600 },
    ],
  };
  const message = new Uint8Array(dhcpLength(reply));
  emitDhcp(reply, message, 0);
  const ports = { srcPort: 67, dstPort: 68, timeToLive: 64 };
  const parts = { srcAddress: ip('192.0.2.1'), dstAddress: ip('255.255.255.255'), ...ports };
  bench.hear(6000, udpFrame({ ...toAll, dstMac: broadcastMac }, parts, message));
  assert.equal(known.profile.lease && [...known.profile.lease.address], [192, 0, 2, 11]);
});

// ---- Floods ----

test('the sleep proxy answers one source no more often than any responder does, and says what it refused', () => {
  const bench = new Bench({}, serving);
  bench.run(0, 5000);
  const browse = mdnsFrame(dnsQuery([asks('Gateway-sleep-proxy.local', 1)]), {
    srcAddress: askerAddress,
    dstAddress: ip('224.0.0.251'),
    srcPort: 50_000,
    dstPort: 5353,
    timeToLive: 255,
  });
  let answered = 0;
  for (let i = 0; i < 2000; i++) answered += frames(bench.hear(6000 + i, browse)).length;
  assert.ok(answered >= 64 && answered <= 64 + 33, `${answered} in 2 s`);
  const { values } = bench.proxy.counters;
  assert.is(values['sleep-proxy.answered'], answered);
  assert.is(values['sleep-proxy.limited'], 2000 - answered);
  bench.hear(20_000, registration(officeMac, {}, { srcMac: askerMac }));
  assert.equal({ ...bench.proxy.verdict }, { kind: 'registration', rule: '', reason: 'spoofed' });
  assert.is(values['sleep-proxy.spoofed'], 1);
});

test('a registration that cannot be saved is refused, and is as if it had never been asked for', () => {
  const bench = new Bench({}, serving);
  bench.run(0, 5000);
  for (let i = 0; bench.agent.outbox.room > 1; i++) {
    const payload = encodeUtf8('{');
    bench.agent.receive(5000, {
      kind: 'message',
      topic: `kith/1/home/gw-1/rule/r${i}`,
      payload,
      retained: false,
    });
    bench.agent.poll(5000);
  }
  bench.agent.receive(6000, { kind: 'frame', link: 'lan', frame: registration(officeMac) });
  assert.is(bench.proxy.hosts.hosts.length, 0);
  assert.is(bench.proxy.verdict.reason, 'no-room');
  bench.settle(6000);
  assert.is(eventsNamed(bench.hear(6001, registration(officeMac)), 'registered').length, 1);
});

test('what a host registers is bounded in bytes, however many messages bring it', () => {
  const bench = new Bench({}, serving);
  bench.run(0, 5000);
  for (let i = 0; i < 100; i++) {
    const data = new Uint8Array(1200);
    for (let at = 0; at < data.length; at += 200) data.set([199, i], at);
    const more = [record([`x${i}`, 'local'], 16, data)];
    bench.hear(6000 + 100 * i, registration(officeMac, { more, bare: i > 0 }));
  }
  assert.is(bench.proxy.verdict.reason, 'too-many-records');
  assert.ok(bench.saved[`sleeper/${host}`].length < 9500);
});

test('floods of hosts, rules, names, sources, questions and registrations leave nothing over its limit', () => {
  const random = new Random(5, 'flood');
  const bench = new Bench({}, serving);
  bench.run(0, 5000);
  const all = { trigger: { any: true }, action: 'respond' };
  bench.put(5000, 'all', all);
  bench.publish(5000, 'host/desktop', { ...asleep, groups: ['239.1.2.3'] });
  const anyMac = () =>
    mac(`02:${[0, 0, 0, 0, 0].map(() => (random.below(256) | 256).toString(16).slice(1)).join(':')}`);
  for (let i = 0; i < 3000; i++) {
    const now = 10_000 + i;
    const from = anyMac();
    const address = ip(`192.0.2.${1 + random.below(250)}`);
    if (i % 10 === 0)
      bench.put(now, `r${i}`, { host: formatMac(from), trigger: { any: true }, action: 'wake' });
    if (i % 10 === 1) bench.publish(now, `host/h${i}`, { mac: formatMac(from), ipv4: ['192.0.2.44'] });
    if (i % 10 === 2) {
      const addresses = [ip(`10.${i >> 8}.${i & 255}.1`)];
      const sleeper: Mac = { ...officeMac, mac: from, hostName: `m${i}`, addresses, services: [] };
      bench.hear(now, registration(sleeper));
    }
    const frame = new Uint8Array(pick(random, questions));
    frame.set(from, 6);
    bench.hear(now, frame);
    bench.hear(now, arpQuestion({ senderMac: hostMac, senderAddress: address }, fromHost));
    if (i % 100 === 99)
      bench.hear(now, echoQuestion({ way: { ...toHost, link: { name: 'lan', mac: from } } }));
  }
  const sizes = (value: unknown, path: string, seen: Set<unknown>): void => {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || seen.has(value)) return;
    seen.add(value);
    const list = Array.isArray(value) ? value : Object.values(value);
    assert.ok(list.length <= 200, `${path} has ${list.length}`);
    for (const [key, each] of Object.entries(value)) sizes(each, `${path}.${key}`, seen);
  };
  const { proxy } = bench;
  sizes({ ...proxy, context: undefined, table: undefined, counters: undefined }, 'proxy', new Set());
  assert.ok(proxy.hosts.hosts.length <= defaultLimits.hosts);
  assert.ok(proxy.rules().count <= defaultLimits.rules);
  assert.ok(Object.keys(bench.saved).length <= 2 * defaultLimits.hosts + defaultLimits.rules);
});

test('of a frame to a group the first rule of each host decides, however many rules and hosts there are', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed, 'groups');
    const bench = new Bench({}, { limitWakes: false });
    const names = Array.from({ length: 14 }, (_, i) => `02:11:00:00:00:${16 + i}`);
    names.forEach((name, i) => void bench.publish(0, `host/h${i}`, { mac: name, state: 'asleep' }));
    bench.run(0, 5000);
    const rules = Array.from({ length: 30 }, (_, i) => ({
      id: `r${10 + i}`,
      host: random.chance(0.9) ? pick(random, names) : undefined,
      priority: random.below(5),
      trigger: { arp: {} },
      action: pick(random, ['drop', 'wake']),
    }));
    for (const { id, ...rule } of rules) bench.put(5000, id, rule);
    rules.sort((a, b) => b.priority - a.priority || (a.id < b.id ? -1 : 1));
    const first = names.map(name => rules.find(rule => rule.host === undefined || rule.host === name));
    const effects = bench.hear(6000, arpQuestion({}));
    assert.equal(
      eventsNamed(effects, 'wake')
        .map(event => `${event['host']} ${event['rule']}`)
        .sort(),
      names.flatMap((name, i) => (first[i]?.action === 'wake' ? [`${name} ${first[i].id}`] : [])),
      `seed ${seed}`,
    );
    const all = [...effects, ...bench.run(6000, 10_000)];
    for (const rule of rules)
      assert.is(
        report(all, 'rule', rule.id)?.['hits'] ?? 0,
        first.includes(rule) ? 1 : 0,
        `seed ${seed}, ${rule.id}`,
      );
  }
});

test('a rule counts a frame to a group once, with its bytes and its time, however many hosts it is for', () => {
  const bench = withSleeper();
  for (let i = 0; i < 5; i++)
    bench.publish(5000, `host/h${i}`, { mac: `02:11:00:00:00:0${i}`, state: 'asleep' });
  bench.run(5000, 10_000);
  bench.put(10_000, 'all', { trigger: { arp: {} }, action: 'drop' });
  const effects = [...bench.hear(11_000, arpQuestion({})), ...bench.hear(12_000, arpQuestion({}))];
  const told = report([...effects, ...bench.run(12_000, 20_000)], 'rule', 'all')!;
  assert.equal([told['hits'], told['bytes'], told['lastHit']], [2, 2 * arpQuestion({}).length, 12_000]);
  assert.is(bench.proxy.counters.get('frames.dropped'), 12, 'and the frames are counted for each host');
});

test.run();
