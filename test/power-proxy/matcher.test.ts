/** The compiled matcher against a walk of the list. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import type { Rule } from '../../agent/message/messages.js';
import { Fields } from '../../agent/power-proxy/fields.js';
import { Matcher } from '../../agent/power-proxy/matcher.js';
import { type CompiledRule, compareRules, compileRule, matches } from '../../agent/power-proxy/rule.js';
import { Headers } from '../../agent/wire/headers.js';
import { pick, type RandomFrame, randomFrame, randomRule } from './random-rules.js';

interface Item {
  readonly rule: CompiledRule;
  /** Set: the rule does not apply now, as of a host that is awake. */
  isOff: boolean;
}

const headers = new Headers();
const fields = new Fields();

function itemOf(id: string, rule: Rule): Item {
  const compiled = compileRule(id, rule);
  assert.ok(compiled.ok, JSON.stringify(compiled));
  return { rule: compiled.value, isOff: false };
}

/** What a walk of the list in its order finds. */
function walk(items: readonly Item[], { bytes }: RandomFrame): Item | undefined {
  assert.is(headers.scan(bytes, 0, bytes.length), 'ok');
  fields.read(bytes, headers, true);
  for (const item of items) if (!item.isOff && matches(item.rule, fields)) return item;
  return undefined;
}

function match(matcher: Matcher<Item>, { bytes }: RandomFrame): Item | undefined {
  headers.scan(bytes, 0, bytes.length);
  return matcher.match(bytes, headers, item => !item.isOff);
}

const inOrder = (items: readonly Item[]) => [...items].sort((a, b) => compareRules(a.rule, b.rule));

test('for random rule sets, with rules that do not apply now and then, it finds what a walk of the list finds', () => {
  const seed = 21;
  const random = new Random(seed, 'matcher');
  const frames = Array.from({ length: 6000 }, () => randomFrame(random));
  let pairs = 0;
  let hits = 0;
  for (let i = 0; i < 250; i++) {
    const count = random.below(random.chance(0.2) ? 600 : 60);
    const items = Array.from({ length: count }, (_, j) => itemOf(`r${j}`, randomRule(random)));
    for (const item of items) item.isOff = random.chance(0.1);
    const matcher = new Matcher(items);
    const list = inOrder(items);
    assert.equal(
      matcher.order.map(item => item.rule.id),
      list.map(item => item.rule.id),
    );
    for (let j = 0; j < 300; j++) {
      const frame = pick(random, frames);
      const expected = walk(list, frame);
      const found = match(matcher, frame);
      if (found !== expected)
        assert.unreachable(
          `seed ${seed}, set ${i}: ${found?.rule.id} instead of ${expected?.rule.id} for ${JSON.stringify(frame.words)}`,
        );
      if (found) hits++;
      pairs += count;
    }
  }
  assert.ok(pairs > 5_000_000 && hits > 30_000, `${pairs} pairs, ${hits} hits`);
});

test('a set of 10,000 rules, ranges and prefixes over each other, matches as its list does', () => {
  const random = new Random(22, 'many');
  const rules = Array.from({ length: 10_000 }, (_, i) => {
    const low = random.below(60_000);
    const length = random.below(33);
    const address = length === 0 ? 0 : ((random.uint32() >> (32 - length)) << (32 - length)) >>> 0;
    const text = [24, 16, 8, 0].map(shift => (address >>> shift) & 255).join('.');
    const trigger = random.chance(0.3)
      ? randomRule(random).trigger
      : {
          tcp: {
            dstPort: `${low}-${low + random.below(65_536 - low)}`,
            srcPort: random.chance(0.3) ? [22, low] : undefined,
          },
          ipv4: random.chance(0.5) ? { srcAddress: `${text}/${length}` } : undefined,
        };
    const rule = {
      priority: random.below(65_536),
      trigger: JSON.parse(JSON.stringify(trigger)),
      action: 'drop',
    } as const;
    return itemOf(`r${i}`, rule);
  });
  const matcher = new Matcher(rules);
  const list = inOrder(rules);
  // Most frames match some rule early; taking rules out of force makes them go on.
  for (const off of [0, 0.9, 0.99]) {
    for (const item of rules) item.isOff = random.chance(off);
    for (let i = 0; i < 150; i++) {
      const frame = randomFrame(random);
      assert.is(match(matcher, frame), walk(list, frame), JSON.stringify(frame.words));
    }
  }
});

test('rules come and go one by one, and the first match is at every moment that of the list', () => {
  const seed = 23;
  const random = new Random(seed, 'changes');
  const frames = Array.from({ length: 3000 }, () => randomFrame(random));
  let items = Array.from({ length: 40 }, (_, i) => itemOf(`r${i}`, randomRule(random)));
  const matcher = new Matcher(items);
  for (let i = 0; i < 1500; i++) {
    if (random.chance(items.length < 100 ? 0.6 : 0.4)) {
      const item = itemOf(`n${i}`, randomRule(random));
      items.push(item);
      matcher.add(item);
    } else if (items.length > 0) {
      const item = pick(random, items);
      items = items.filter(other => other !== item);
      matcher.remove(item);
    }
    const list = inOrder(items);
    assert.equal(matcher.order, list, `seed ${seed}, step ${i}`);
    for (let j = 0; j < 5; j++) {
      const frame = pick(random, frames);
      assert.is(match(matcher, frame), walk(list, frame), `seed ${seed}, step ${i}`);
    }
  }
});

test('no rules, rules that no frame can match, and rules by the dozen for one name', () => {
  const none = new Matcher<Item>([]);
  const random = new Random(24, 'edges');
  for (let i = 0; i < 20; i++) assert.is(match(none, randomFrame(random)), undefined);
  const never = new Matcher([itemOf('never', { trigger: { tcp: {}, udp: {} }, action: 'drop' })]);
  for (let i = 0; i < 200; i++) assert.is(match(never, randomFrame(random)), undefined);
  const nameOf = (i: number) =>
    i === 150 ? 'desktop.local' : i === 199 ? ['nobody.local', '*.desktop.local'] : `host-${i}.local`;
  const named = Array.from({ length: 200 }, (_, i) =>
    itemOf(`n${i}`, { trigger: { mdns: { name: nameOf(i) } }, action: 'drop' }),
  );
  const names = new Matcher(named);
  const hits = new Set<string>();
  for (let i = 0; i < 2000; i++) {
    const frame = randomFrame(random);
    const found = match(names, frame);
    assert.is(found, walk(named, frame));
    if (found) hits.add(found.rule.id);
  }
  assert.equal([...hits].sort(), ['n150', 'n199']);
});

test.run();
