/**
 * How fast the power proxy finds the rule for a frame: compiled, and beside it a walk of the list and json-rules-engine.
 *
 * The site: hosts that have a dozen rules each (services by port, ARP, pings, names, ranges), some for everyone (prefixes)
 * among them, and a default behind all. A third of the frames go to groups, half of the others to hosts that rules name;
 * with 10,000 rules most match one. The worst case: nothing but ranges and prefixes over each other. Each frame is in memory
 * of its own.
 */

import { Engine, type NestedCondition, type RuleProperties } from 'json-rules-engine';
import { Random } from '../../agent/core/random.js';
import type { Rule } from '../../agent/message/messages.js';
import { Fields, field } from '../../agent/power-proxy/fields.js';
import { Matcher } from '../../agent/power-proxy/matcher.js';
import { type CompiledRule, compareRules, compileRule, matches } from '../../agent/power-proxy/rule.js';
import { Headers } from '../../agent/wire/headers.js';
import { ipBytes, linkBytes, message, pick, setPorts } from '../power-proxy/random-rules.js';
import { allocation, measure, type Row } from './row.js';

export const name = 'matcher';

/** Issue 4: frames a second, of which with 10,000 rules no less than half of those with 10; 200 ms to compile 10,000. */
const rateGoal = 2_000_000;
const shareGoal = 0.5;
const compileGoal = 1000 / 200;
const counts = [10, 100, 1_000, 10_000];
const frameCount = 16_384;
const rulesPerHost = 12;

interface Item {
  readonly rule: CompiledRule;
}

const headers = new Headers();
const fields = new Fields();
const always = () => true;
/** What was found; unread, the compiler would leave the work out. */
let consumed = 0;

export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  let fewest: Row | undefined;
  for (const count of counts) {
    const items = siteRules(count);
    const frames = siteFrames(count);
    const title = `${count.toLocaleString('en')} rules`;
    checkAlike(items, frames);
    const matched = measure(
      `${title}: headers and match`,
      'frames/s',
      { goal: rateGoal },
      matchAll(items, frames),
    );
    const walked = measure(`${title}: headers and walk of the list`, 'frames/s', {}, walkAll(items, frames));
    fewest = fewest ?? matched;
    rows.push(
      matched,
      ...(count === 10_000 ? [ratio(`${title}: of the rate with 10 rules`, matched, fewest, shareGoal)] : []),
      walked,
      ratio(`${title}: match beside walk`, matched, walked),
    );
    const ran = await runEngine(title, items, frames);
    rows.push(ran, ratio(`${title}: match beside json-rules-engine`, matched, ran));
    const once = matchAll(items, frames);
    rows.push(
      allocation(title, 20, () => {
        let count = 0;
        for (let i = 0; i < 8; i++) count += once();
        return count;
      }),
    );
  }
  const many = siteRules(10_000);
  const worst = worstRules(10_000);
  const frames = siteFrames(10_000);
  checkAlike(worst, frames.slice(0, 500));
  const matched = measure('the worst 10,000: headers and match', 'frames/s', {}, matchAll(worst, frames));
  const walked = measure(
    'the worst 10,000: headers and walk of the list',
    'frames/s',
    {},
    walkAll(worst, frames.slice(0, 256)),
  );
  const compile = (items: readonly Item[]) => () => {
    consumed += new Matcher(items).order.length;
    return 1;
  };
  const oneMore = many[5_000];
  const rest = many.filter(item => item !== oneMore);
  const changing = new Matcher(rest);
  return [
    ...rows,
    matched,
    walked,
    ratio('the worst 10,000: match beside walk', matched, walked),
    measure('compile 10,000 rules', 'times/s', { goal: compileGoal }, compile(many)),
    measure('compile the worst 10,000', 'times/s', {}, compile(worst)),
    measure('10,000 rules: one put and removed, a frame after each', 'changes/s', {}, () => {
      for (let i = 0; i < 32; i++) {
        changing.add(oneMore);
        matchOne(changing, frames[2 * i]);
        changing.remove(oneMore);
        matchOne(changing, frames[2 * i + 1]);
      }
      return 64;
    }),
  ];
}

function matchOne(matcher: Matcher<Item>, frame: Uint8Array): Item | undefined {
  if (headers.scan(frame, 0, frame.length) !== 'ok') throw new Error('frame: expected to be accepted');
  return matcher.match(frame, headers, always);
}

function matchAll(items: readonly Item[], frames: readonly Uint8Array[]): () => number {
  const matcher = new Matcher(items);
  return () => {
    for (const frame of frames) consumed = (consumed + (matchOne(matcher, frame)?.rule.priority ?? 0)) | 0;
    return frames.length;
  };
}

function walkAll(items: readonly Item[], frames: readonly Uint8Array[]): () => number {
  const list = [...items].sort((a, b) => compareRules(a.rule, b.rule));
  let at = 0;
  // With 10,000 rules a batch of all frames would last too long.
  const batch = Math.max(16, Math.min(frames.length, Math.floor(400_000 / items.length)));
  return () => {
    for (let i = 0; i < batch; i++) {
      at = (at + 1) % frames.length;
      consumed = (consumed + (walk(list, frames[at])?.rule.priority ?? 0)) | 0;
    }
    return batch;
  };
}

function walk(list: readonly Item[], frame: Uint8Array): Item | undefined {
  if (headers.scan(frame, 0, frame.length) !== 'ok') throw new Error('frame: expected to be accepted');
  fields.read(frame, headers, true);
  for (const item of list) if (matches(item.rule, fields)) return item;
  return undefined;
}

/** What is compared must be the same. */
function checkAlike(items: readonly Item[], frames: readonly Uint8Array[]): void {
  const matcher = new Matcher(items);
  for (const frame of frames.slice(0, 2_000))
    if (matchOne(matcher, frame) !== walk(matcher.order, frame)) throw new Error('match and walk differ');
}

function ratio(title: string, fast: Row, slow: Row, goal?: number): Row {
  const median = fast.median / slow.median;
  const goals = goal === undefined ? {} : { goal };
  return {
    name: title,
    unit: 'times',
    median,
    min: fast.min / slow.max,
    max: fast.max / slow.min,
    runs: fast.runs,
    ...goals,
  };
}

// ---- json-rules-engine ----

/** As fast as that engine goes for first match: rules of falling priority, stopped at the first success. */
async function runEngine(title: string, items: readonly Item[], frames: readonly Uint8Array[]): Promise<Row> {
  const engine = new Engine([], { allowUndefinedFacts: true });
  const list = [...items].sort((a, b) => compareRules(a.rule, b.rule));
  for (const [place, { rule }] of list.entries()) engine.addRule(ruleFor(rule, list.length - place));
  engine.on('success', () => engine.stop());
  const rates: number[] = [];
  let at = 0;
  for (let run = 0; run < 4; run++) {
    const start = performance.now();
    let count = 0;
    while (performance.now() - start < 300) {
      at = (at + 1) % frames.length;
      const { events } = await engine.run(factsOf(frames[at]));
      if (events[0]?.type !== walk(list, frames[at])?.rule.id) throw new Error('json-rules-engine differs');
      count++;
    }
    if (run > 0) rates.push((count * 1000) / (performance.now() - start));
  }
  rates.sort((a, b) => a - b);
  return {
    name: `${title}: json-rules-engine 7`,
    unit: 'frames/s',
    median: rates[1],
    min: rates[0],
    max: rates[2],
    runs: 3,
  };
}

function ruleFor(rule: CompiledRule, priority: number): RuleProperties {
  const any = rule.boxes.map(box => ({
    all: [
      ...box.tests
        .filter(test => !test.isImplied)
        .map(test => ({
          any: Array.from({ length: test.spans.length / 2 }, (_, i) =>
            span(`f${test.field}`, test.spans[2 * i], test.spans[2 * i + 1]),
          ),
        })),
      ...(rule.question ? [{ fact: `name${rule.question.names[0].hash}`, operator: 'equal', value: 1 }] : []),
      { fact: 'f', operator: 'equal', value: 1 },
    ],
  }));
  return { conditions: { any }, event: { type: rule.id }, priority };
}

function span(fact: string, low: number, high: number): NestedCondition {
  if (low === high) return { fact, operator: 'equal', value: low };
  return {
    all: [
      { fact, operator: 'greaterThanInclusive', value: low },
      { fact, operator: 'lessThanInclusive', value: high },
    ],
  };
}

function factsOf(frame: Uint8Array): object {
  headers.scan(frame, 0, frame.length);
  fields.read(frame, headers, true);
  const facts: { [name: string]: number } = { f: 1 };
  for (const by of Object.values(field)) facts[`f${by}`] = fields.values[by];
  for (const first of [field.ipv6Src, field.ipv6Dst])
    for (let part = 1; part < 3; part++) facts[`f${first + part}`] = fields.values[first + part];
  for (let i = 0; i < fields.questions.count; i++) facts[`name${fields.questions.hashes[i]}`] = 1;
  return facts;
}

// ---- Rules and frames ----

const macOf = (index: number) =>
  `02:10:00:00:${[index >> 8, index & 255].map(byte => byte.toString(16).padStart(2, '0')).join(':')}`;
const addressOf = (index: number) => `10.1.${index >> 8}.${index & 255}`;
const hostCount = (count: number) => Math.ceil(count / rulesPerHost);

function siteRules(count: number): Item[] {
  const random = new Random(7, 'rules');
  const rules: object[] = [];
  for (let i = 0; i < count - 1; i++) {
    const index = Math.floor(i / rulesPerHost);
    const host = macOf(index);
    const address = addressOf(index);
    const low = 8000 + random.below(100);
    const [trigger, action, isForAll] = [
      [{ tcp: { dstPort: 22, flags: 'syn' } }, 'wake'],
      [{ tcp: { dstPort: [139, 445], flags: 'syn' } }, 'wake'],
      [{ tcp: { dstPort: 3389, flags: 'syn' }, ipv4: { srcAddress: '10.1.0.0/16' } }, 'wake'],
      [{ arp: { operation: 'request', targetAddress: address } }, 'respond'],
      [{ icmp: { type: 8 }, ipv4: { dstAddress: address } }, 'drop'],
      [{ mdns: { name: `host-${index}.local` } }, 'wake'],
      [{ udp: { dstPort: 137 } }, 'drop'],
      [{ tcp: { dstPort: `${low}-${low + 100}` } }, 'drop'],
      [{ ipv4: { srcAddress: `10.${random.below(256)}.0.0/16` } }, 'drop', true],
      [{ udp: { dstPort: [1900, 5353, 5355] }, ethernet: { cast: 'multicast' } }, 'drop'],
      [{ ipv6: { dstAddress: `fd00::${index.toString(16)}` }, tcp: {} }, 'wake'],
      [{ tcp: { dstPort: 1024 + random.below(60_000), flags: 'syn' } }, 'wake'],
    ][i % rulesPerHost];
    rules.push({ host: isForAll ? undefined : host, priority: 1000 + random.below(1000), trigger, action });
  }
  return compileAll([...rules, { trigger: { any: true }, action: 'drop', priority: 0 }]);
}

function worstRules(count: number): Item[] {
  const random = new Random(7, 'worst');
  const rules: object[] = [];
  for (let i = 0; i < count - 1; i++) {
    const length = 8 + random.below(17);
    const address = ((0x0a010000 + random.below(65_536)) & (-1 << (32 - length))) >>> 0;
    const prefix = `${[24, 16, 8, 0].map(shift => (address >>> shift) & 255).join('.')}/${length}`;
    const low = random.below(60_000);
    const ports = {
      dstPort: `${low}-${low + random.below(65_536 - low)}`,
      srcPort: `${random.below(1000)}-${1000 + random.below(60_000)}`,
    };
    const trigger = {
      [pick(random, ['tcp', 'udp'])]: ports,
      ipv4: { [pick(random, ['srcAddress', 'dstAddress'])]: prefix },
    };
    rules.push({ trigger, action: 'drop', priority: 1 + random.below(1000) });
  }
  return compileAll([...rules, { trigger: { any: true }, action: 'drop', priority: 0 }]);
}

function compileAll(rules: readonly object[]): Item[] {
  return rules.map((rule, index) => {
    const compiled = compileRule(`r${index}`, JSON.parse(JSON.stringify(rule)) as Rule);
    if (!compiled.ok) throw new Error(compiled.reason);
    return { rule: compiled.value };
  });
}

function siteFrames(count: number): Uint8Array[] {
  const random = new Random(9, 'frames');
  const hosts = hostCount(count);
  return Array.from({ length: frameCount }, () => {
    const index = random.chance(0.5) ? random.below(hosts) : hosts + random.below(200);
    const dstMac = random.chance(0.3)
      ? pick(random, ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:fb'])
      : macOf(index);
    const link = { dstMac, srcMac: macOf(40_000 + random.below(200)) };
    const ip = {
      version: 4,
      src: addressOf(random.below(60_000)),
      dst: addressOf(index),
      dscp: 0,
      timeToLive: 64,
    } as const;
    const kind = random.below(10);
    if (kind < 2) {
      const body = new Uint8Array(46);
      body.set([0, 1, 8, 0, 6, 4, 0, 1]);
      body.set(addressOf(index).split('.').map(Number), 24);
      return linkBytes(link, 0x0806, body);
    }
    if (kind === 2) {
      const body = new Uint8Array(40);
      body[0] = 8;
      return linkBytes(link, 0x0800, ipBytes({ ...ip, protocol: 1 }, body));
    }
    const port = pick(random, [22, 445, 80, 443, 3389, 8050, random.below(65_536), random.below(65_536)]);
    const src = 1024 + random.below(64_000);
    if (kind < 7) {
      const body = new Uint8Array(20 + random.below(40));
      setPorts(body, { src, dst: port });
      body[12] = 0x50;
      body[13] = pick(random, [2, 16, 24]);
      return linkBytes(link, 0x0800, ipBytes({ ...ip, protocol: 6 }, body));
    }
    const dst = pick(random, [5353, 5353, 137, 1900, 67, 5355, port]);
    const asked = [{ name: `host-${random.below(2 * hosts)}.local`, type: 1 }];
    const payload = dst === 5353 ? message(random, false, false, asked) : new Uint8Array(40);
    const body = new Uint8Array(8 + payload.length);
    setPorts(body, { src, dst });
    body.set([body.length >>> 8, body.length & 255], 4);
    body.set(payload, 8);
    return linkBytes(link, 0x0800, ipBytes({ ...ip, protocol: 17 }, body));
  });
}
