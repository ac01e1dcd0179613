import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import {
  agentFilters,
  filterOf,
  formatMirrorTopic,
  formatTopic,
  isId,
  type Leaf,
  parseTopic,
} from '../../agent/message/topic.js';

const id = { site: 'home', node: 'gw-1' };

test('every leaf of the contract reads back as it was written', () => {
  const leaves: [Leaf, string][] = [
    [{ kind: 'state' }, 'state'],
    [{ kind: 'info' }, 'info'],
    [{ kind: 'ledger' }, 'ledger'],
    [{ kind: 'rule', name: 'ssh-desktop' }, 'rule/ssh-desktop'],
    [{ kind: 'rule-status', name: 'ssh-desktop' }, 'rule/ssh-desktop/status'],
    [{ kind: 'telemetry', name: 'power-proxy' }, 'telemetry/power-proxy'],
    [{ kind: 'event', name: 'wake' }, 'event/wake'],
    [{ kind: 'request', name: 'report' }, 'request/report'],
    [{ kind: 'response', name: 'report' }, 'response/report'],
  ];
  for (const [leaf, levels] of leaves) {
    assert.is(formatTopic(id, leaf), `kith/1/home/gw-1/${levels}`);
    assert.is(formatMirrorTopic(id, leaf), `kith/json/home/gw-1/${levels}`);
    assert.equal(parseTopic(`kith/1/home/gw-1/${levels}`), { ok: true, value: { ...id, leaf } });
  }
});

test('what is no topic of the contract is refused with the reason', () => {
  const refused: [string, string][] = [
    ['', 'foreign-topic'],
    ['kith/2/home/gw-1/state', 'foreign-topic'],
    ['kith/json/home/gw-1/state', 'foreign-topic'],
    ['/kith/1/home/gw-1/state', 'foreign-topic'],
    ['kith/1', 'unknown-leaf'],
    ['kith/1/home/gw-1', 'unknown-leaf'],
    ['kith/1/home/gw-1/', 'unknown-leaf'],
    ['kith/1/home/gw-1/mood', 'unknown-leaf'],
    ['kith/1/home/gw-1/state/now', 'unknown-leaf'],
    ['kith/1/home/gw-1/rule', 'unknown-leaf'],
    ['kith/1/home/gw-1/rule/a/status/b', 'unknown-leaf'],
    ['kith/1/home/gw-1/rule/a/state', 'unknown-leaf'],
    ['kith/1/home/gw-1/telemetry/a/status', 'unknown-leaf'],
    ['kith/1/home/gw-1/rule/', 'bad-id'],
    ['kith/1/home/gw-1/rule/A', 'bad-id'],
    ['kith/1/home/GW/state', 'bad-id'],
    ['kith/1//gw-1/state', 'bad-id'],
    [`kith/1/home/${'x'.repeat(33)}/state`, 'bad-id'],
    ['kith/1/+/gw-1/state', 'bad-id'],
  ];
  for (const [text, reason] of refused) assert.equal(parseTopic(text), { ok: false, reason }, text);
});

test('ids are 1 to 32 characters of a-z, 0-9 and -, and nothing else can be built into a topic', () => {
  for (const good of ['a', '0', '-', 'x'.repeat(32)]) assert.ok(isId(good));
  for (const bad of ['', 'x'.repeat(33), 'A', 'a/b', 'a+', '#', 'ä', 'a\n', '\na', 'a b']) {
    assert.not(isId(bad), JSON.stringify(bad));
    assert.throws(() => formatTopic({ site: bad, node: 'a' }, { kind: 'state' }), /site: expected 1 to 32/);
    assert.throws(() => formatTopic(id, { kind: 'rule', name: bad }), /rule: expected 1 to 32/);
    assert.throws(() => filterOf({ node: bad }, '#'), /node: expected/);
  }
  assert.equal(
    agentFilters(id),
    ['rule', 'host', 'acl', 'request'].map(kind => `kith/1/home/gw-1/${kind}/+`),
  );
  assert.is(filterOf({ site: 'home' }, 'state'), 'kith/1/home/+/state');
});

test('a topic that parses is the one that would be built', () => {
  const random = new Random(3, 'topics');
  const parts = [
    'kith',
    '1',
    'home',
    'gw-1',
    'state',
    'rule',
    'host',
    'acl',
    'a',
    'status',
    'telemetry',
    '',
    '+',
    'json',
  ];
  let parsed = 0;
  for (let i = 0; i < 50_000; i++) {
    const levels = Array.from({ length: 1 + random.below(5) }, () => parts[random.below(parts.length)]);
    const text = random.chance(0.8) ? `kith/1/home/${levels.join('/')}` : levels.join('/');
    const topic = parseTopic(text);
    if (!topic.ok) continue;
    parsed++;
    assert.is(formatTopic(topic.value, topic.value.leaf), text);
  }
  assert.ok(parsed > 500, String(parsed));
});

test.run();
