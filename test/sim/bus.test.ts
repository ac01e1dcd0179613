import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeUtf8, encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { type Connection, MemoryBus, matchesFilter, type Publication } from '../../host-sim/sim/bus.js';
import { Kernel } from '../../host-sim/sim/kernel.js';

function say(topic: string, text: string, options: Partial<Publication> = {}): Publication {
  return { topic, payload: encodeUtf8(text), qos: 1, retain: false, ...options };
}

/** A client that writes down what happens to it. */
function client(bus: MemoryBus, clientId: string, will?: Publication) {
  const log: string[] = [];
  const connection: Connection = bus.connect({
    clientId,
    ...(will && { will }),
    handlers: {
      up: present => log.push(`up ${present}`),
      down: () => log.push('down'),
      message: (topic, payload, retained) =>
        log.push(`${topic}=${decodeUtf8(payload)}${retained ? ' retained' : ''}`),
    },
  });
  return { log, connection };
}

function broker() {
  const kernel = new Kernel();
  const bus = new MemoryBus(kernel, { latencyMs: 10, keepAliveMs: 1000, mostQueued: 3 });
  return { kernel, bus, pass: (ms: number) => kernel.run(kernel.now + ms) };
}

test('topic filters match as MQTT 3.1.1 §4.7 says', () => {
  // The examples of §4.7.1 and §4.7.2.
  const rows: [filter: string, topic: string, match: boolean][] = [
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/tennis/player1/#', 'sport/tennis/player10', false],
    ['sport/#', 'sport', true],
    ['#', 'sport/tennis', true],
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['#', '$SYS/monitor', false],
    ['+/monitor/clients', '$SYS/monitor/clients', false],
    ['$SYS/#', '$SYS/monitor', true],
    ['a/b', 'a/b', true],
    ['a/b', 'a/b/c', false],
    ['a/b/c', 'a/b', false],
    ['a/+/c/#', 'a/b/c', true],
  ];
  for (const [filter, topic, match] of rows)
    assert.is(matchesFilter(filter, topic), match, `${filter} ${topic}`);
});

test('random filters and topics match as a level-by-level comparison does', () => {
  const naive = (filter: string[], topic: string[]): boolean => {
    if (filter[0] === '#') return true;
    if (filter.length === 0 || topic.length === 0)
      return topic.length === 0 && (filter.length === 0 || filter[0] === '#');
    return (filter[0] === '+' || filter[0] === topic[0]) && naive(filter.slice(1), topic.slice(1));
  };
  const random = new Random(3, 'filters');
  const level = (words: string[]) => words[random.below(words.length)];
  let matched = 0;
  for (let i = 0; i < 20_000; i++) {
    const topic = [...Array(1 + random.below(4))].map(() => level(['a', 'b', 'ab', '']));
    const filter = [...Array(1 + random.below(4))].map(() => level(['a', 'b', 'ab', '', '+']));
    if (random.chance(0.3)) filter.push('#');
    const match = naive(filter, topic);
    if (match) matched++;
    assert.is(
      matchesFilter(filter.join('/'), topic.join('/')),
      match,
      `${filter.join('/')} ${topic.join('/')}`,
    );
  }
  assert.ok(matched > 1000);
});

test('a retained message reaches who subscribes later, marked retained; an empty one clears it', () => {
  const { bus, pass } = broker();
  const person = client(bus, 'person');
  const agent = client(bus, 'agent');
  pass(100);
  person.connection.publish(say('rule/a', '1', { retain: true }));
  person.connection.publish(say('rule/b', '2', { retain: true }));
  person.connection.publish(say('rule/b', '', { retain: true }));
  pass(100);
  agent.connection.subscribe({ filter: 'rule/+', qos: 1 });
  pass(100);
  person.connection.publish(say('rule/a', '3', { retain: true }));
  pass(100);
  assert.equal(agent.log, ['up false', 'rule/a=1 retained', 'rule/a=3']);
  assert.equal([...bus.retained.keys()], ['rule/a']);
});

test('overlapping subscriptions deliver once, a subscription made anew sends the retained messages again', () => {
  const { bus, pass } = broker();
  const agent = client(bus, 'agent');
  pass(100);
  agent.connection.publish(say('a/b', 'x', { retain: true }));
  agent.connection.subscribe({ filter: 'a/+', qos: 1 });
  agent.connection.subscribe({ filter: 'a/+', qos: 1 });
  agent.connection.subscribe({ filter: '#', qos: 0 });
  pass(100);
  assert.equal(agent.log, ['up false', ...Array(3).fill('a/b=x retained')]);
  agent.connection.publish(say('a/c', 'y'));
  pass(100);
  assert.equal(agent.log.slice(4), ['a/c=y']);
});

test('what is published at QoS 1 for an absent client waits in order, up to the limit; QoS 0 does not', () => {
  const { bus, pass } = broker();
  const person = client(bus, 'person');
  const agent = client(bus, 'agent');
  pass(100);
  agent.connection.subscribe({ filter: '#', qos: 1 });
  pass(100);
  // One message is on its way when the client vanishes: unacknowledged, it waits too.
  person.connection.publish(say('t', '1'));
  pass(15);
  agent.connection.abort();
  for (const text of ['2', '3', '4']) person.connection.publish(say('t', text));
  person.connection.publish(say('t', 'zero', { qos: 0 }));
  pass(100);
  const again = client(bus, 'agent');
  pass(100);
  assert.equal(agent.log, ['up false']);
  assert.equal(again.log, ['up true', 't=1', 't=2', 't=3']);
  assert.is(bus.counters.get('queue-full'), 1);
  assert.is(bus.counters.get('offline'), 1);
  assert.is(bus.counters.get('queued'), 3);
});

test('the will comes after one and a half keep-alives of silence, not after an orderly close', () => {
  const { bus, pass } = broker();
  const watcher = client(bus, 'watcher');
  const will = say('state', 'lost', { retain: true });
  const [dead, polite] = [client(bus, 'dead', will), client(bus, 'polite', say('polite', 'lost'))];
  pass(100);
  watcher.connection.subscribe({ filter: '#', qos: 1 });
  pass(100);
  polite.connection.publish(say('polite', 'bye'));
  polite.connection.close();
  dead.connection.abort();
  pass(1500);
  assert.equal(watcher.log, ['up false', 'polite=bye']);
  pass(100);
  assert.equal(watcher.log, ['up false', 'polite=bye', 'state=lost']);
  assert.is(decodeUtf8(bus.retained.get('state')!.payload), 'lost');
  // What a dead client still sends goes nowhere.
  dead.connection.publish(say('state', 'ready'));
  pass(100);
  assert.is(watcher.log.length, 3);
});

test('a client that comes back under its name ends its old connection, whose will is published first', () => {
  const { bus, pass } = broker();
  const watcher = client(bus, 'watcher');
  const first = client(bus, 'agent', say('state', 'lost'));
  pass(100);
  watcher.connection.subscribe({ filter: '#', qos: 1 });
  pass(100);
  const second = client(bus, 'agent', say('state', 'lost'));
  pass(100);
  assert.equal(first.log, ['up false', 'down']);
  assert.equal(second.log, ['up true']);
  assert.equal(watcher.log, ['up false', 'state=lost']);
  pass(5000);
  assert.is(bus.counters.get('wills'), 1);
});

test('a client that vanished and is back before it was missed is lost once only', () => {
  const { bus, pass } = broker();
  const first = client(bus, 'agent', say('state', 'lost'));
  pass(100);
  first.connection.subscribe({ filter: 'a', qos: 1 });
  pass(100);
  first.connection.abort();
  pass(500);
  const second = client(bus, 'agent', say('state', 'lost'));
  pass(5000);
  second.connection.publish(say('a', 'still here'));
  pass(100);
  assert.equal(second.log, ['up true', 'a=still here']);
  assert.is(bus.counters.get('wills'), 1);
});

test.run();
