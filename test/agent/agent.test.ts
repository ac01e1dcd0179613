import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Agent, type AgentOptions } from '../../agent/agent.js';
import { digest, encodeUtf8, sameBytes } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { JobFactory } from '../../agent/job.js';
import { checkLimits, defaultLimits } from '../../agent/limits.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import { descriptors } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import type { Effect } from '../../agent/port/effect.js';

const mac = new Uint8Array([2, 0, 0, 0, 0, 1]);
const options: AgentOptions = {
  site: 'home',
  node: 'gw-1',
  firmware: 'test 1',
  platform: 'test',
  boot: '0badcafe',
  links: [{ name: 'lan', mac }],
  jobs: [],
  saved: {},
};

/** Calls poll as a platform does, and returns everything performed. */
function settle(agent: Agent, now: number): Effect[] {
  const effects: Effect[] = [];
  for (let calls = 0; calls < 100; calls++) {
    for (let effect = agent.outbox.shift(); effect; effect = agent.outbox.shift()) effects.push(effect);
    if (agent.pollAt() > now) return effects;
    agent.poll(now);
  }
  throw new Error('the agent never comes to rest');
}

const published = (effects: Effect[]) =>
  effects.flatMap(effect => (effect.kind === 'publish' ? [[effect.topic, effect] as const] : []));
const text = (effect: Effect | undefined) =>
  effect?.kind === 'publish' ? new TextDecoder().decode(effect.payload) : undefined;
function body(effect: Effect | undefined): Record<string, unknown> {
  assert.ok(effect?.kind === 'publish');
  const decoded = decodeCbor(effect.payload, { depth: 8 });
  assert.ok(decoded.ok);
  return decoded.value as Record<string, unknown>;
}

test('a birth says init, subscribes, tells what it is and what it lacks, then ready, all as the schema asks', () => {
  const agent = new Agent(1000, { ...options, missing: { pppoe: 'no raw Ethernet here' } });
  assert.is(agent.pollAt(), never, 'nothing to do while the bus is down');
  agent.receive(1000, { kind: 'bus-up', sessionPresent: false });
  const effects = settle(agent, 1000);
  assert.equal(
    effects.filter(effect => effect.kind === 'subscribe').map(effect => effect.filter),
    ['rule', 'host', 'acl', 'request'].map(kind => `kith/1/home/gw-1/${kind}/+`),
  );
  const all = published(effects);
  assert.equal(
    all.map(([topic]) => topic.replace('kith/1/home/gw-1/', '')),
    ['state', 'info', 'state', 'telemetry/agent'],
  );
  assert.is(text(all[0][1]), 'init');
  assert.is(text(all[2][1]), 'ready');
  const info = body(all[1][1]);
  assert.is(validate(descriptors.info, info), undefined);
  assert.equal(info['jobs'], []);
  assert.equal(info['missing'], {
    kibbutz: 'not in this firmware',
    'power-proxy': 'not in this firmware',
    update: 'not in this firmware',
    pppoe: 'no raw Ethernet here',
  });
  assert.ok(all.slice(0, 3).every(([, effect]) => effect.kind === 'publish' && effect.retain));
  assert.is(validate(descriptors.telemetry, body(all[3][1])), undefined);
});

test('the will is a retained lost, and an orderly end says disconnected', () => {
  const agent = new Agent(0, options);
  const will = agent.will();
  assert.equal([will.topic, text(will), will.retain], ['kith/1/home/gw-1/state', 'lost', true]);
  agent.receive(0, { kind: 'bus-up', sessionPresent: true });
  settle(agent, 0);
  agent.receive(5, { kind: 'shutdown' });
  assert.is(text(published(settle(agent, 5))[0][1]), 'disconnected');
});

test('what is wrong around it is an event, cut to fit; one that happened last is told before disconnected', () => {
  const agent = new Agent(0, options);
  agent.receive(0, { kind: 'bus-up', sessionPresent: true });
  settle(agent, 0);
  agent.receive(5, { kind: 'fault', text: 'x'.repeat(300) });
  agent.receive(5, { kind: 'shutdown' });
  const [[topic, event], [, state]] = published(settle(agent, 5));
  assert.is(topic, 'kith/1/home/gw-1/event/fault');
  assert.is(validate(descriptors.event, body(event)), undefined);
  assert.equal([body(event)['text'], body(event)['uptime']], ['x'.repeat(200), 5]);
  assert.is(text(state), 'disconnected');
});

test('telemetry comes at its span with rising seq and the drops by reason', () => {
  const agent = new Agent(0, { ...options, telemetryMs: 500 });
  agent.receive(0, { kind: 'bus-up', sessionPresent: true });
  settle(agent, 0);
  agent.receive(1, { kind: 'frame', link: 'lan', frame: new Uint8Array(10) });
  agent.receive(1, { kind: 'frame', link: 'wan', frame: new Uint8Array(60) });
  agent.receive(1, { kind: 'message', topic: 'kith/1/home/gw-1/rule/BAD', payload: mac, retained: false });
  agent.receive(1, { kind: 'message', topic: 'kith/1/home/gw-2/rule/a', payload: mac, retained: false });
  assert.equal(settle(agent, 499), []);
  assert.is(agent.pollAt(), 500);
  const telemetry = body(published(settle(agent, 500))[0][1]);
  assert.equal([telemetry['seq'], telemetry['uptime'], telemetry['boot']], [1, 500, '0badcafe']);
  assert.equal(telemetry['counters'], {
    'agent.frames': 2,
    'agent.frames.malformed': 1,
    'agent.frames.unknown-link': 1,
    'agent.messages': 2,
    'agent.messages.topic': 1,
    'agent.messages.unsubscribed': 1,
  });
});

test('a rule for a node without the power proxy is rejected with the reason', () => {
  const agent = new Agent(0, { ...options, missing: { 'power-proxy': 'no raw Ethernet here' } });
  agent.receive(0, { kind: 'bus-up', sessionPresent: true });
  settle(agent, 0);
  const payload = encodeUtf8('{"trigger":{"tcp":{}},"action":"drop"}');
  agent.receive(1, { kind: 'message', topic: 'kith/1/home/gw-1/rule/a', payload, retained: false });
  const [topic, effect] = published(settle(agent, 1))[0];
  assert.is(topic, 'kith/1/home/gw-1/rule/a/status');
  const status = body(effect);
  assert.is(validate(descriptors['rule-status'], status), undefined);
  assert.equal([status['status'], status['digest']], ['rejected', digest(payload)]);
  assert.match(String(status['reason']), 'no raw Ethernet here');
});

test('a request is answered with its transaction, an unknown verb with what was expected', () => {
  const agent = new Agent(0, options);
  agent.receive(0, { kind: 'bus-up', sessionPresent: true });
  settle(agent, 0);
  const payload = encodeUtf8('{"transaction":"t1"}');
  agent.receive(1, { kind: 'message', topic: 'kith/1/home/gw-1/request/report', payload, retained: false });
  const answers = published(settle(agent, 1));
  assert.is(answers[0][0], 'kith/1/home/gw-1/response/report');
  assert.equal(body(answers[0][1]), { transaction: 't1', ok: true });
  assert.ok(answers.some(([topic]) => topic.endsWith('/info')));
  agent.receive(2, { kind: 'message', topic: 'kith/1/home/gw-1/request/dance', payload, retained: false });
  assert.equal(body(published(settle(agent, 2))[0][1]), {
    transaction: 't1',
    ok: false,
    error: 'verb: expected report, wake or update, got dance',
  });
  agent.receive(3, {
    kind: 'message',
    topic: 'kith/1/home/gw-1/request/report',
    payload: mac,
    retained: false,
  });
  assert.equal(settle(agent, 3), []);
  assert.is(agent.counters.get('messages.bad-request'), 2);
});

test('a full outbox drops frames with a counter, and reports wait for room', () => {
  const flood: JobFactory = (_, context) => ({
    name: 'kibbutz',
    counters: new Counters([]),
    frame: () => {
      for (let i = 0; i < 100; i++) context.transmit('lan', mac);
    },
    poll: () => {},
    pollAt: () => never,
  });
  const agent = new Agent(0, { ...options, jobs: [flood], limits: { ...defaultLimits, outboxEffects: 8 } });
  agent.receive(0, { kind: 'bus-up', sessionPresent: true });
  settle(agent, 0);
  agent.receive(1, { kind: 'frame', link: 'lan', frame: new Uint8Array(60).fill(0xff) });
  assert.is(agent.outbox.length, 8);
  assert.is(agent.counters.get('outbox.full'), 92);
  agent.poll(10_000);
  assert.is(agent.outbox.length, 8, 'telemetry is due but waits');
  const late = published(settle(agent, 10_000));
  assert.is(late[0][0], 'kith/1/home/gw-1/telemetry/kibbutz');
});

test('events wait while the bus is down, the oldest giving way, and keep their seq and time', () => {
  let tell: (now: number) => void = () => {};
  const teller: JobFactory = (_, context) => {
    tell = now => context.event(now, 'wake', { text: String(now) });
    return { name: 'kibbutz', counters: new Counters([]), poll: () => {}, pollAt: () => never };
  };
  const agent = new Agent(0, { ...options, jobs: [teller], limits: { ...defaultLimits, waitingEvents: 3 } });
  for (const now of [1, 2, 3, 4, 5]) tell(now);
  assert.equal(settle(agent, 6), []);
  agent.receive(10, { kind: 'bus-up', sessionPresent: true });
  const events = published(settle(agent, 10)).filter(([topic]) => topic.endsWith('event/wake'));
  assert.equal(
    events.map(([, effect]) => [body(effect)['seq'], body(effect)['uptime']]),
    [
      [2, 3],
      [3, 4],
      [4, 5],
    ],
  );
  assert.is(agent.counters.get('events.dropped'), 2);
});

test('an agent refuses options that make no sense, naming them', () => {
  assert.throws(() => new Agent(0, { ...options, node: 'GW' }), /site\/node: expected/);
  assert.throws(() => new Agent(0, { ...options, boot: 'x' }), /boot: expected 8 hex digits/);
  assert.throws(() => checkLimits({ ...defaultLimits, rules: 0 }), /limits.rules/);
  assert.throws(() => checkLimits({ ...defaultLimits, outboxEffects: 2 }), /limits.outboxEffects/);
  assert.throws(() => checkLimits({ ...defaultLimits, payloadDepth: 2 }), /limits.payloadDepth/);
  checkLimits(defaultLimits);
});

test('no input makes an agent throw, and equal inputs give equal effects', async () => {
  const { powerProxy } = await import('../../agent/power-proxy/job.js');
  const run = (seed: number) => {
    const random = new Random(seed, 'inputs');
    const agent = new Agent(0, { ...options, jobs: [powerProxy], telemetryMs: 3000 });
    const all: Effect[] = [];
    const bytes = (most: number) => new Uint8Array(random.below(most)).map(() => random.below(256));
    const topics = ['rule/a', 'rule/b/status', 'request/report', 'rule/', 'x', 'state', 'rule/a/b/c/d/e'];
    const payloads = ['', '{}', '{"trigger":{"tcp":{}},"action":"drop"}', '{"host":1}', '[', '\u0000'];
    for (let now = 0; now < 60_000; now += random.below(200)) {
      const topic = `kith/1/home/gw-1/${topics[random.below(topics.length)]}`;
      const payload = random.chance(0.5) ? bytes(40) : encodeUtf8(payloads[random.below(payloads.length)]);
      if (random.chance(0.4)) agent.receive(now, { kind: 'frame', link: 'lan', frame: bytes(90) });
      else if (random.chance(0.8))
        agent.receive(now, { kind: 'message', topic, payload, retained: random.chance(0.5) });
      else if (random.chance(0.5)) agent.receive(now, { kind: 'bus-up', sessionPresent: random.chance(0.5) });
      else agent.receive(now, { kind: 'bus-down' });
      all.push(...settle(agent, now));
    }
    return all;
  };
  const seed = Date.now() % 1_000_000;
  console.log(`seed ${seed}`);
  const [one, two] = [run(seed), run(seed)];
  assert.ok(one.length > 50);
  assert.is(one.length, two.length);
  one.forEach((effect, i) => {
    const other = two[i];
    assert.is(effect.kind, other.kind);
    if (effect.kind === 'publish' && other.kind === 'publish')
      assert.ok(sameBytes(effect.payload, other.payload));
  });
});

test.run();
