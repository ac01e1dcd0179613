/** What is said of rules is so: against random frames and whatever hosts sleep, and by example. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { descriptors, type Rule, type Warning } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { analyse, chatterOf, coversRule, mayMeet } from '../../agent/power-proxy/analysis.js';
import { Fields } from '../../agent/power-proxy/fields.js';
import { type CompiledRule, compareRules, compileRule, matches } from '../../agent/power-proxy/rule.js';
import { Headers } from '../../agent/wire/headers.js';
import { hosts, pick, type RandomFrame, randomFrame, randomRule } from './random-rules.js';

interface Item {
  readonly rule: CompiledRule;
  readonly json: Rule;
}

const headers = new Headers();
const fields = new Fields();
const chatter = chatterOf();

function setOf(rules: { readonly [id: string]: unknown }): Item[] {
  return Object.keys(rules)
    .map(id => {
      const json = rules[id] as Rule;
      assert.is(validate(descriptors.rule, json), undefined, JSON.stringify(json));
      const compiled = compileRule(id, json);
      assert.ok(compiled.ok, JSON.stringify(compiled));
      return { rule: compiled.value, json };
    })
    .sort((a, b) => compareRules(a.rule, b.rule));
}

function randomSet(random: Random, count: number): Item[] {
  const rules: { [id: string]: Rule } = {};
  for (let i = 0; i < count; i++) rules[`r${i}`] = randomRule(random);
  return setOf(rules);
}

/** The rules that take a frame, in order. `asleep`: a bit for each of `hosts`. */
function takers(items: readonly Item[], { words, bytes }: RandomFrame, asleep: number): Item[] {
  assert.is(headers.scan(bytes, 0, bytes.length), 'ok');
  fields.read(bytes, headers, true);
  return items.filter(({ rule, json }) => {
    const isAsleep = json.host === undefined || (asleep & (1 << hosts.indexOf(json.host))) !== 0;
    return isAsleep && json.host !== words.srcMac && matches(rule, fields);
  });
}

/** What is done in the end; drop and nothing are the same to everybody. */
function verdict(item: Item | undefined): string {
  return !item || item.json.action === 'drop' ? 'drop' : `wake ${item.json.host}`;
}

const kinds = (warnings: readonly Warning[]) => warnings.map(({ kind }) => kind).sort();
const warningsOf = (items: readonly Item[], id: string) =>
  analyse(
    items,
    items.findIndex(({ rule }) => rule.id === id),
    chatter,
  );
const told = (items: readonly Item[], id: string) =>
  warningsOf(items, id).map(({ kind, rule }) => `${kind} ${rule ?? ''}`.trim());

test('on random frames a shadowed rule is never first, a redundant one never missed, and one that never matches never does', () => {
  const seed = 31;
  const random = new Random(seed, 'analysis');
  const frames = Array.from({ length: 4000 }, () => randomFrame(random));
  const counts: { [kind: string]: number } = {};
  for (let i = 0; i < 250; i++) {
    const items = randomSet(random, 2 + random.below(30));
    const warnings = items.map((_, place) => analyse(items, place, chatter));
    for (const warning of warnings.flat()) counts[warning.kind] = (counts[warning.kind] ?? 0) + 1;
    for (let j = 0; j < 300; j++) {
      const frame = pick(random, frames);
      const asleep = random.below(16);
      const list = takers(items, frame, asleep);
      const where = `seed ${seed}, set ${i}: ${JSON.stringify({ frame: frame.words, list: list.map(item => item.json) })}`;
      for (const [place, item] of items.entries()) {
        const isTaker = list.includes(item);
        if (!isTaker) continue;
        for (const { kind, rule } of warnings[place]) {
          if (kind === 'never') assert.unreachable(where);
          if (kind === 'shadowed') assert.is.not(list[0], item, where);
          if (kind === 'shadowed')
            assert.ok(
              list.some(other => other.rule.id === rule),
              where,
            );
          if (kind === 'redundant')
            assert.is(verdict(list.filter(other => other !== item)[0]), verdict(list[0]), where);
        }
      }
    }
  }
  for (const kind of ['shadowed', 'redundant', 'conflict', 'storm', 'never'])
    assert.ok(counts[kind] >= 20, `${kind}: ${counts[kind]}`);
});

test('on random frames, rules for one host that decide by their ids alone are told so, and rules said to be apart are', () => {
  const seed = 32;
  const random = new Random(seed, 'conflicts');
  let conflicts = 0;
  for (let i = 0; i < 4000; i++) {
    const host = pick(random, hosts);
    const rules = {
      a: { ...randomRule(random), host, priority: 7 },
      b: { ...randomRule(random), host, priority: 7 },
    };
    const items = setOf(rules);
    const [first, second] = items;
    const both = mayMeet(first.rule, second.rule);
    const covers = coversRule(first.rule, second.rule);
    for (let j = 0; j < 40; j++) {
      const frame = randomFrame(random);
      const list = takers(items, frame, 15);
      const where = `seed ${seed}, pair ${i}: ${JSON.stringify({ rules, frame: frame.words })}`;
      if (covers && list.includes(second)) assert.ok(list.includes(first), where);
      if (list.length < 2) continue;
      assert.ok(both, where);
      // Of several questions, one may be each rule's.
      if (verdict(first) === verdict(second) || (frame.words.questions ?? []).length > 1) continue;
      conflicts++;
      const expected = covers ? 'shadowed a' : 'conflict a';
      assert.ok(told(items, 'b').includes(expected), where);
      if (!covers) assert.ok(told(items, 'a').includes('conflict b'), where);
    }
  }
  assert.ok(conflicts > 300, `${conflicts}`);
});

const [host, other] = hosts;
const wake = (trigger: unknown, more = {}) => ({ host, trigger, action: 'wake', ...more });
const drop = (trigger: unknown, more = {}) => ({ trigger, action: 'drop', ...more });

test('shadowed: by a rule before it that takes all of its frames, for everyone or for the same host', () => {
  const ssh = wake({ tcp: { dstPort: 22, flags: 'syn' } });
  for (const [before, expected] of [
    [drop({ any: true }), ['shadowed a']],
    [drop({ tcp: {} }), ['shadowed a']],
    [drop({ tcp: { dstPort: '1-1023' } }), ['shadowed a']],
    [wake({ tcp: { dstPort: [22, 80] } }), ['shadowed a']],
    [wake({ tcp: { dstPort: 22, flags: ['syn', 'rst'] } }), ['shadowed a']],
    [drop({ class: 'policy-dependent' }), ['shadowed a']],
    [drop({ tcp: { dstPort: 22, flags: 'syn' }, ipv4: { srcAddress: '0.0.0.0/0' } }), []],
    [drop({ tcp: { dstPort: '23-1023' } }), []],
    [{ ...wake({ tcp: {} }), host: other }, []],
    [drop({ tcp: { dstPort: 22 }, payload: { bytes: '00' } }), []],
  ] as const)
    assert.equal(
      told(setOf({ a: { ...before, priority: 200 }, b: ssh }), 'b'),
      expected,
      JSON.stringify(before),
    );
  const [{ text }] = warningsOf(
    setOf({ a: drop({ tcp: {} }, { priority: 200, timeout: '1h' }), b: ssh }),
    'b',
  );
  assert.match(text, /while it is in force: a comes before it/);
  const names = (name: unknown) => wake({ mdns: { name } });
  for (const [outer, inner, is] of [
    ['*.local', 'desktop.local', true],
    ['*.local', '*.desktop.local', true],
    ['*.local', '*.LOCAL', true],
    ['*.desktop.local', '*.local', false],
    ['*.local', 'local', false],
    ['*.local', 'notlocal', false],
    ['*.b', 'a\\001b', false],
    [['a.local', '*.x'], ['b.x', 'A.local'], true],
    [['a.local', '*.x'], ['b.x', 'c.local'], false],
  ] as const)
    assert.is(
      told(setOf({ a: names(outer), b: names(inner) }), 'b').includes('shadowed a'),
      is,
      `${outer} ${inner}`,
    );
  assert.equal(
    told(setOf({ a: names('a.local'), b: wake({ mdns: { type: 'a' } }) }), 'b'),
    ['storm'],
    'any name',
  );
  const one = { ipv6: { dstAddress: ['fe80::1', 'fe80::2'] } };
  assert.equal(told(setOf({ a: drop({ ipv6: { dstAddress: 'fe80::/10' } }), b: drop(one) }), 'b'), [
    'shadowed a',
  ]);
  assert.equal(told(setOf({ a: drop({ ipv6: { dstAddress: 'fe80::/127' } }), b: drop(one) }), 'b'), []);
});

test('redundant: a rule behind it does the same, with none between that might not, and for good', () => {
  const rules = {
    a: wake({ tcp: { dstPort: 22 } }, { priority: 300 }),
    m: drop({ udp: {} }, { priority: 200 }),
    z: wake({ tcp: {} }, { priority: 100 }),
  };
  assert.equal(told(setOf(rules), 'a'), ['redundant z']);
  assert.equal(told(setOf({ ...rules, m: drop({ tcp: { dstPort: '1-100' } }, { priority: 200 }) }), 'a'), []);
  assert.equal(told(setOf({ ...rules, z: { ...rules.z, timeout: '1h' } }), 'a'), []);
  assert.equal(told(setOf({ ...rules, z: { ...rules.z, host: other } }), 'a'), []);
  assert.equal(told(setOf({ ...rules, z: drop({ any: true }, { priority: 0 }) }), 'a'), []);
  const drops = { a: drop({ arp: {} }, { host, priority: 2 }), z: drop({ any: true }, { priority: 1 }) };
  assert.equal(told(setOf(drops), 'a'), ['redundant z']);
});

test('conflict: the same priority, some of the same frames, and something else done with them', () => {
  const ssh = wake({ tcp: { dstPort: 22 } });
  assert.equal(told(setOf({ a: ssh, b: drop({ tcp: { flags: 'syn' } }) }), 'a'), ['conflict b']);
  assert.equal(told(setOf({ a: ssh, b: drop({ tcp: { flags: 'syn' } }) }), 'b'), ['conflict a']);
  assert.equal(told(setOf({ a: ssh, b: drop({ any: true }) }), 'b'), ['conflict a']);
  assert.equal(told(setOf({ a: ssh, b: drop({ any: true }) }), 'a'), ['conflict b']);
  assert.equal(told(setOf({ a: ssh, b: drop({ any: true }, { priority: 99 }) }), 'a'), []);
  assert.equal(told(setOf({ a: ssh, b: drop({ udp: { dstPort: 22 } }) }), 'a'), []);
  assert.equal(told(setOf({ a: ssh, b: { ...ssh, host: other } }), 'a'), [], 'a segment is for one host');
  const ping = wake({ icmp: { type: 8 } });
  assert.equal(told(setOf({ a: ping, b: { ...ping, host: other } }), 'a'), [], 'and so is a ping');
  const asked = (name: string) => wake({ mdns: { name } });
  assert.equal(told(setOf({ a: asked('a.local'), b: { ...asked('b.local'), host: other } }), 'a'), []);
  assert.equal(told(setOf({ a: asked('a.local'), b: { ...asked('A.local'), host: other } }), 'a'), [
    'conflict b',
  ]);
  const answer = {
    host,
    trigger: { arp: { operation: 'request', targetAddress: '10.0.0.1' } },
    action: 'respond',
  };
  assert.equal(told(setOf({ a: answer, b: { ...answer, host: other } }), 'b'), ['conflict a']);
  const many: { [id: string]: unknown } = { z: drop({ tcp: { flags: 'syn' } }) };
  for (let i = 0; i < 9; i++) many[`a${i}`] = wake({ tcp: { dstPort: i } });
  assert.equal(told(setOf(many), 'z'), ['conflict a8', 'conflict a7', 'conflict a6'], 'no more than three');
});

test('storm: a wake that chatter to everybody would trigger', () => {
  for (const [trigger, expected] of [
    [{ any: true }, /^LLC, LLDP, IPX, routing and \d+ more /],
    [{ arp: {} }, /^ARP from/],
    [{ arp: { operation: 'request' } }, /^ARP from/],
    [{ arp: { targetAddress: '192.168.0.0/16' } }, /^ARP from/],
    [{ arp: { targetAddress: '192.168.1.10' } }, undefined],
    [{ arp: { senderAddress: '192.168.1.0/28' } }, undefined],
    [{ ethernet: { srcMac: other } }, undefined],
    [{ ethernet: { cast: 'broadcast' } }, /more from anybody/],
    [{ ethernet: { cast: 'unicast' } }, undefined],
    [{ udp: { dstPort: 5353 } }, /^mDNS from/],
    [{ udp: { dstPort: '5350-5360' } }, /^mDNS, LLMNR from/],
    [{ mdns: { name: '*.local' } }, /^mDNS from/],
    [{ mdns: { type: 'ptr' } }, /^mDNS from/],
    [{ mdns: { name: 'desktop.local' } }, undefined],
    [{ nbns: { name: 'DESKTOP' } }, undefined],
    [{ udp: { dstPort: 5353 }, ipv4: { dstAddress: '224.0.0.251' } }, /^mDNS from/],
    [{ udp: { dstPort: 5353 }, ipv4: { dstAddress: '192.168.1.10' } }, undefined],
    [{ udp: { dstPort: 137 }, ipv4: { dstAddress: '192.168.1.255' } }, /^NBNS from/],
    [{ icmpv6: { type: 135 } }, /^ND and MLD from/],
    [{ icmpv6: { type: 135 }, ipv6: { dstAddress: 'ff02::1:ff01:203' } }, undefined],
    [{ icmpv6: { type: 135 }, ipv6: { dstAddress: 'ff02::1' } }, /^ND and MLD from/],
    [{ icmpv6: {}, ipv6: { dstAddress: '2001:db8::/64' } }, undefined],
    [{ icmp: { type: 8 } }, undefined],
    [{ tcp: {} }, undefined],
    [{ tcp: { dstPort: 22, flags: 'syn' } }, undefined],
    [{ class: 'dont-wake' }, /^LLC, LLDP, IPX, routing and/],
    [{ class: 'policy-dependent' }, undefined],
    [{ udp: { dstPort: 9 } }, undefined],
  ] as const) {
    const warnings = warningsOf(setOf({ a: wake(trigger) }), 'a');
    assert.equal(kinds(warnings), expected ? ['storm'] : [], JSON.stringify(trigger));
    if (expected) assert.match(warnings[0].text, expected);
    assert.equal(warningsOf(setOf({ a: drop(trigger) }), 'a'), [], 'nothing is woken');
  }
});

test('never and unanswerable: fields that exclude each other, addresses that no host has; a timer is neither', () => {
  for (const trigger of [
    { tcp: {}, udp: {} },
    { arp: {}, ipv4: {} },
    { dns: {}, mdns: {} },
    { ipv4: { protocol: 6 }, ipv6: {} },
    { tcp: { dstPort: 22 }, udp: { dstPort: 22 } },
    { ethernet: { dstMac: other, cast: 'broadcast' } },
    { ethernet: { dstMac: [other, '33:33:00:00:00:01'], cast: 'broadcast' } },
    { ethernet: { etherType: '0-1500' }, tcp: {} },
    { ipv6: {}, icmp: {} },
    { ipv4: { protocol: 17 }, tcp: {} },
  ])
    assert.equal(told(setOf({ a: drop(trigger) }), 'a'), ['never'], JSON.stringify(trigger));
  const elsewhere = setOf({ a: wake({ ethernet: { dstMac: other } }) });
  assert.equal(told(elsewhere, 'a'), ['never'], 'a frame for another host');
  assert.equal(told(setOf({ a: drop({ any: true }), b: wake({ timer: { every: '1h' } }) }), 'b'), []);
  assert.equal(told(setOf({ a: drop({ any: true }), b: wake({ timer: { every: '1h' } }) }), 'a'), []);
  const answer = (targetAddress: unknown) => ({
    host,
    trigger: { arp: { operation: 'request', targetAddress } },
    action: 'respond',
  });
  assert.equal(told(setOf({ a: answer('192.168.1.10') }), 'a'), []);
  for (const address of ['0.0.0.0', '127.0.0.1', '224.0.0.251', '255.255.255.255'])
    assert.equal(told(setOf({ a: answer(['192.168.1.10', address]) }), 'a'), ['unanswerable'], address);
});

test('every warning fits into the status, and a set of 10,000 rules is looked at within its bounds', () => {
  const random = new Random(33, 'many');
  const rules: { [id: string]: Rule } = {};
  for (let i = 0; i < 10_000; i++)
    rules[`rule-with-a-long-name-${i}`] = { ...randomRule(random), priority: i % 3 };
  const items = setOf(rules);
  for (let i = 0; i < 100; i++) {
    const place = random.below(items.length);
    for (const warning of analyse(items, place, chatter)) {
      const status = {
        status: 'accepted',
        digest: '00000000',
        boot: '00000000',
        uptime: 0,
        warnings: [warning],
      };
      assert.is(validate(descriptors['rule-status'], status), undefined, JSON.stringify(warning));
    }
  }
});

test.run();
