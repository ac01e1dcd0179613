/**
 * How fast the power proxy decides about frames that it drops, from the agent's boundary on: headers, whom they are for, the
 * rule, its counters; with 10 and 10,000 rules for 1, 64 and 1,000 sleeping hosts. Beside it a walk of the list that finds
 * the same rules, and what a dropped frame leaves on the heap.
 *
 * Frames to one host and frames to a group are measured apart: of a group's, a rule has to be found for every host. Half of
 * the rules are for one host each, and half for all; every fourth frame matches nothing but the default. Memory is that
 * of a host platform, not of a board.
 */

import { Agent } from '../../agent/agent.js';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { defaultLimits } from '../../agent/limits.js';
import { encodeCbor } from '../../agent/message/cbor.js';
import type { Rule } from '../../agent/message/messages.js';
import type { Input } from '../../agent/port/effect.js';
import { Fields } from '../../agent/power-proxy/fields.js';
import { everyPart } from '../../agent/power-proxy/job.js';
import { PowerProxy } from '../../agent/power-proxy/power-proxy.js';
import { type CompiledRule, compareRules, compileRule, matches } from '../../agent/power-proxy/rule.js';
import { parseMac } from '../../agent/wire/address.js';
import { Headers } from '../../agent/wire/headers.js';
import { ipBytes, linkBytes, pick, setPorts } from '../power-proxy/random-rules.js';
import { allocation, measure, type Row } from './row.js';

export const name = 'power-proxy';

/** Issue 4: of the matcher; here with all that the proxy does beside. */
const rateGoal = 2_000_000;
const frameCount = 4096;

type Kind = 'to a host' | 'to a group';

const headers = new Headers();
const fields = new Fields();
/** What was found; unread, the compiler would leave the work out. */
let consumed = 0;

export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const hostCount of [1, 64, 1000]) {
    for (const ruleCount of [10, 10_000]) {
      const rules = rulesFor(hostCount, ruleCount);
      const { agent, proxy } = sleepingSite(hostCount, rules);
      for (const kind of ['to a host', 'to a group'] as const) {
        const inputs = framesFor(hostCount, kind);
        const title = `${ruleCount.toLocaleString('en')} rules, ${hostCount} hosts, ${kind}`;
        checkAlike(agent, proxy, rules, inputs);
        const decided = measure(title, 'frames/s', kind === 'to a host' ? { goal: rateGoal } : {}, () =>
          decide(agent, inputs, kind === 'to a host' ? frameCount : 64),
        );
        const walked = measure(`${title}: walk of the list`, 'frames/s', {}, walkSome(rules, proxy, inputs));
        rows.push(decided, walked, ratio(`${title}: beside the walk`, decided, walked));
        rows.push(allocation(title, 5, () => decide(agent, inputs, frameCount)));
      }
    }
  }
  return rows;
}

const macOf = (index: number) => `02:10:00:00:${hex(index >> 8)}:${hex(index & 255)}`;
const addressOf = (index: number) => `10.1.${index >> 8}.${index & 255}`;

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** An agent with these rules in force, all hosts asleep. */
function sleepingSite(hostCount: number, rules: readonly Rule[]): { agent: Agent; proxy: PowerProxy } {
  const saved: { [key: string]: Uint8Array } = {};
  rules.forEach((rule, i) => {
    const payload = encodeUtf8(JSON.stringify(rule));
    saved[`rule/r${i}`] = encodeCbor({ payload, revision: 1, leftMs: -1, fireLeftMs: -1 });
  });
  for (let i = 0; i < hostCount; i++)
    saved[`host/h${i}`] = encodeUtf8(
      JSON.stringify({ mac: macOf(i), ipv4: [addressOf(i)], state: 'asleep' }),
    );
  let proxy: PowerProxy | undefined;
  const agent = new Agent(0, {
    site: 'home',
    node: 'gw-1',
    firmware: 'bench',
    platform: 'bench',
    boot: '00000001',
    links: [{ name: 'lan', mac: parseMac('02:00:00:00:00:01') as Uint8Array }],
    limits: { ...defaultLimits, hosts: 1000, rules: 10_000 },
    jobs: [
      (now, context) => {
        proxy = new PowerProxy(now, context, everyPart, {});
        return proxy;
      },
    ],
    saved,
  });
  const drain = () => {
    while (agent.outbox.shift());
  };
  drain();
  for (let at = agent.pollAt(); at < 60_000; at = agent.pollAt()) {
    agent.poll(at);
    drain();
  }
  if (!proxy?.hosts.hosts.every(({ state }) => state === 'asleep'))
    throw new Error('hosts: expected all asleep');
  return { agent, proxy };
}

function rulesFor(hostCount: number, ruleCount: number): Rule[] {
  const random = new Random(7, 'rules');
  const rules: Rule[] = [];
  for (let i = 0; i < ruleCount - 1; i++) {
    const index = random.below(hostCount);
    const low = 8000 + random.below(100);
    const trigger = pick(random, [
      { tcp: { dstPort: 1024 + random.below(60_000), flags: 'syn' } },
      { tcp: { dstPort: `${low}-${low + 100}` } },
      { udp: { dstPort: 1024 + random.below(60_000) } },
      { arp: { operation: 'request', targetAddress: addressOf(random.below(65_536)) } },
      { ipv4: { srcAddress: `10.${random.below(256)}.0.0/16` }, udp: {} },
    ] as const);
    const host = i % 2 === 0 ? { host: macOf(index) } : {};
    rules.push({ ...host, priority: 1000 + random.below(1000), trigger, action: 'drop' });
  }
  return [...rules, { trigger: { any: true }, action: 'drop', priority: 0 }];
}

function framesFor(hostCount: number, kind: Kind): Input[] {
  const random = new Random(9, kind);
  return Array.from({ length: frameCount }, (_, i) => {
    const index = random.below(hostCount);
    const dstMac =
      kind === 'to a host' ? macOf(index) : pick(random, ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:fb']);
    const link = { dstMac, srcMac: macOf(40_000 + random.below(200)) };
    const dst = kind === 'to a host' ? addressOf(index) : '224.0.0.251';
    const ip = { version: 4, src: addressOf(random.below(60_000)), dst, dscp: 0, timeToLive: 64 } as const;
    const body = new Uint8Array(40);
    if (i % 4 === 0) {
      body.set([0, 1, 8, 0, 6, 4, 0, 1]);
      body.set(addressOf(random.below(65_536)).split('.').map(Number), 24);
      return { kind: 'frame', link: 'lan', frame: linkBytes(link, 0x0806, body) };
    }
    const protocol = i % 4 === 1 ? 17 : 6;
    setPorts(body, {
      src: 50_000,
      dst: i % 4 === 2 ? 8000 + random.below(200) : 1024 + random.below(60_000),
    });
    if (protocol === 17) body.set([0, 40], 4);
    else body.set([0x50, i % 4 === 2 ? 16 : 2], 12);
    return { kind: 'frame', link: 'lan', frame: linkBytes(link, 0x0800, ipBytes({ ...ip, protocol }, body)) };
  });
}

let at = 0;

function decide(agent: Agent, inputs: readonly Input[], count: number): number {
  for (let i = 0; i < count; i++) {
    at = (at + 1) % inputs.length;
    agent.receive(60_000, inputs[at]);
  }
  return count;
}

/** For each host that the frame is for, the first rule of the list that matches and is for that host. */
function walk(list: readonly CompiledRule[], proxy: PowerProxy, frame: Uint8Array): CompiledRule | undefined {
  if (headers.scan(frame, 0, frame.length) !== 'ok') throw new Error('frame: expected to be accepted');
  fields.read(frame, headers, true);
  let first: CompiledRule | undefined;
  const isGroup = (frame[0] & 1) === 1;
  const only = isGroup ? undefined : proxy.hosts.find(frame, 0);
  for (const host of isGroup ? proxy.hosts.hosts : only ? [only] : []) {
    const found = list.find(
      rule => (!rule.host || proxy.hosts.find(rule.host, 0) === host) && matches(rule, fields),
    );
    first = first ?? found;
  }
  return first;
}

function walkSome(rules: readonly Rule[], proxy: PowerProxy, inputs: readonly Input[]): () => number {
  const list = compileAll(rules);
  const batch = Math.max(1, Math.min(256, Math.floor(4_000_000 / (rules.length * proxy.hosts.hosts.length))));
  return () => {
    for (let i = 0; i < batch; i++) {
      at = (at + 1) % inputs.length;
      consumed = (consumed + (walk(list, proxy, frameOf(inputs[at]))?.priority ?? 0)) | 0;
    }
    return batch;
  };
}

function compileAll(rules: readonly Rule[]): CompiledRule[] {
  const list = rules.map((rule, i) => {
    const compiled = compileRule(`r${i}`, JSON.parse(JSON.stringify(rule)));
    if (!compiled.ok) throw new Error(compiled.reason);
    return compiled.value;
  });
  return list.sort(compareRules);
}

function frameOf(input: Input): Uint8Array {
  if (input.kind !== 'frame') throw new Error(`input: expected a frame, got ${input.kind}`);
  return input.frame;
}

/** What is compared must be the same; with several rules for one frame, the verdict is of the first that decided. */
function checkAlike(agent: Agent, proxy: PowerProxy, rules: readonly Rule[], inputs: readonly Input[]): void {
  const list = compileAll(rules);
  for (const input of inputs.slice(0, proxy.hosts.hosts.length > 1 ? 20 : 500)) {
    agent.receive(60_000, input);
    const isGroup = (frameOf(input)[0] & 1) === 1;
    const found = walk(list, proxy, frameOf(input));
    if (proxy.verdict.kind !== 'dropped' || (found === undefined) !== (proxy.verdict.rule === ''))
      throw new Error(`verdict: expected dropped, got ${proxy.verdict.kind}`);
    if (!isGroup && found?.id !== proxy.verdict.rule)
      throw new Error(`rule: expected ${found?.id}, got ${proxy.verdict.rule}`);
  }
}

function ratio(title: string, fast: Row, slow: Row): Row {
  const median = fast.median / slow.median;
  return {
    name: title,
    unit: 'times',
    median,
    min: fast.min / slow.max,
    max: fast.max / slow.min,
    runs: fast.runs,
  };
}
