/** The rule sets that ship: each compiles, says nothing odd that was not meant, and does with each kind of frame what it is for. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeUtf8 } from '../../agent/core/bytes.js';
import { defaultLimits } from '../../agent/limits.js';
import type { Rule } from '../../agent/message/messages.js';
import { analyse, chatterOf } from '../../agent/power-proxy/analysis.js';
import { Fields } from '../../agent/power-proxy/fields.js';
import { type CompiledRule, compareRules, compileRule, matches } from '../../agent/power-proxy/rule.js';
import { Headers } from '../../agent/wire/headers.js';
import { home, office } from '../../host-sim/scenario/proxy/mix.js';
import { type RuleSetName, ruleSet, ruleSetNames } from '../../host-sim/scenario/proxy/paper-proxy.js';

interface Item {
  readonly rule: CompiledRule;
  readonly json: Rule;
}

function itemsOf(name: RuleSetName): Item[] {
  return ruleSet(name)
    .map(({ id, payload }) => {
      const json = JSON.parse(decodeUtf8(payload) as string) as Rule;
      const compiled = compileRule(id, json);
      assert.ok(compiled.ok, `${name}: ${id}: ${JSON.stringify(compiled)}`);
      return { rule: compiled.value, json };
    })
    .sort((a, b) => compareRules(a.rule, b.rule));
}

test('every rule of every set compiles, with its priority written down and no host, and all fit into the agent', () => {
  for (const name of ruleSetNames) {
    const items = itemsOf(name);
    assert.ok(items.length <= defaultLimits.rules, name);
    for (const { rule, json } of items) {
      assert.type(json.priority, 'number', `${name}: ${rule.id}`);
      assert.is(json.host, undefined, `${name}: ${rule.id}`);
    }
  }
});

test('every set ends with a default rule that takes every frame', () => {
  for (const name of ruleSetNames) {
    const last = itemsOf(name).at(-1);
    assert.is(last?.rule.id, 'rest', name);
    assert.equal(last?.json.trigger, { any: true }, name);
    assert.is(last?.json.priority, 0, name);
  }
});

test('the analysis finds nothing odd in any set', () => {
  const chatter = chatterOf();
  for (const name of ruleSetNames) {
    const items = itemsOf(name);
    const told = items.flatMap(({ rule }, place) =>
      analyse(items, place, chatter).map(({ kind }) => `${rule.id} ${kind}`),
    );
    assert.equal(told, [], name);
  }
});

test('each kind of frame that an idle host hears gets from each set what the set is for', () => {
  const headers = new Headers();
  const fields = new Fields();
  const decide = (items: readonly Item[], bytes: Uint8Array): string => {
    assert.is(headers.scan(bytes, 0, bytes.length), 'ok');
    fields.read(bytes, headers, true);
    // What is registered depends on the host; no host here has a service.
    return (
      items.find(({ rule, json }) => !json.trigger.registered && matches(rule, fields))?.rule.action ?? ''
    );
  };
  const sets = Object.fromEntries(ruleSetNames.map(name => [name, itemsOf(name)]));
  const all = [...home.traffic, ...office.traffic];
  const verdicts = (id: string) => {
    const traffic = all.find(one => one.id === id);
    assert.ok(traffic, id);
    const { bytes } = traffic.bursts(0)[0][0];
    return ruleSetNames.map(name => decide(sets[name], bytes)).join(' ');
  };
  const expected: { readonly [id: string]: string } = {
    // Of proxy-1, 2, 3, 4 and recommended.
    'arp-for-host': 'wake respond respond respond respond',
    'nbns-for-host': 'wake respond respond respond respond',
    mdns: 'wake respond drop drop respond',
    'ssdp-notify': 'drop respond drop drop respond',
    'netbios-datagram': 'drop drop drop drop drop',
    'igmp-query': 'drop respond drop drop respond',
    dhcp: 'drop drop drop drop drop',
    'spanning-tree': 'drop drop drop drop drop',
    hsrp: 'drop drop drop drop drop',
    eigrp: 'drop drop drop drop drop',
    ipx: 'drop drop drop drop drop',
    ping: 'wake respond drop drop respond',
    snmp: 'wake respond drop drop respond',
    keepalive: 'wake respond drop drop respond',
    'node-status': 'wake respond respond respond respond',
    management: 'wake wake drop drop drop',
    'stray-udp': 'wake wake drop drop drop',
    'mail-notice': 'wake wake drop drop drop',
    'file-sharing': 'wake wake wake wake wake',
    'remote-login': 'wake wake wake wake wake',
  };
  for (const id of Object.keys(expected)) assert.is(verdicts(id), expected[id], id);
});

test('proxy-4 is proxy-3 with scheduled tasks, and nothing else', () => {
  const plain = (name: RuleSetName) => itemsOf(name).map(({ rule, json }) => [rule.id, json]);
  const tasks = itemsOf('proxy-4').filter(({ json }) => json.trigger.timer !== undefined);
  assert.ok(tasks.length > 0);
  assert.equal(
    plain('proxy-4').filter(([id]) => !tasks.some(({ rule }) => rule.id === id)),
    plain('proxy-3'),
  );
});

test.run();
