/** Message schemas: what the generator makes of CDDL (RFC 8610), and what `validate` says about values. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse } from 'cddl';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { type CborValue, decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { generate } from '../../agent/message/generate.js';
import { type Descriptor, descriptors, type Rule } from '../../agent/message/messages.js';
import { matchesAll, type Problem, type Shape, validate } from '../../agent/message/schema.js';
import { decodeMessage, decodePeoplesPayload, payloadLimits } from '../../host-sim/coordinator/payload.js';

const cddlFile = fileURLToPath(new URL('../../agent/message/messages.cddl', import.meta.url));
const cddl = readFileSync(cddlFile, 'utf8');

/** Generates from a CDDL text and loads the descriptors. */
async function load(text: string): Promise<{ readonly [name: string]: Descriptor }> {
  const folder = mkdtempSync(join(tmpdir(), 'kith-schema-'));
  try {
    const { messages, received } = generate(text);
    writeFileSync(join(folder, 'messages.ts'), messages);
    writeFileSync(join(folder, 'received.ts'), received);
    return (await import(pathToFileURL(join(folder, 'messages.ts')).href)).descriptors;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function sentence(problem: Problem | undefined): string {
  return problem ? `${problem.field}: expected ${problem.expected}, got ${problem.got}` : 'none';
}

const sample = `
; A message with one of everything. closed
everything = {
  name: tstr,               ; whose it is
  ? size: tstr .size (1..4),
  ? four: bstr .size 4,
  ? raw: bytes,
  ? port: 0..65535,
  ? offset: -10..10,
  ? number: float,
  ? flag: bool,
  ? nothing: nil / 7,
  ? "quoted name": "a" / 1 / true,
  ; expected: between two and three words
  ? words: [2*3 word],
  ? some: [+ int],
  ? anything: any,
  ? target: target,
  ? inner: { deep: { table: { * tstr => target }, ? x: uint } },
  ? id: tstr .regexp "x{2}"   ; expected: two x
}

word = tstr .regexp "[a-z]+"
target = by-mac / by-address / "all" / [* word]
; closed
by-mac = { kind: "mac", mac: tstr .regexp "[0-9a-f]{12}" }
; closed
by-address = { kind: "address", address: (tstr .size (7..15)), ? port: 1..65535 }
`;

test('messages.ts and received.ts are what the generator makes of messages.cddl', () => {
  const made = generate(cddl);
  for (const name of ['messages', 'received'] as const) {
    const file = readFileSync(new URL(`../../agent/message/${name}.ts`, import.meta.url), 'utf8');
    assert.is(file, made[name], 'run npm run generate');
  }
});

test('an agent loads the descriptors of what it receives, and no others', () => {
  const made = generate('rule = { id: name, at: mark }\nstate = { id: name }\nname = tstr\nmark = uint\n');
  assert.match(made.received, /export const name: Shape = 'tstr';\nconst mark: Shape/);
  assert.match(made.received, 'export const ruleDescriptor: Descriptor<Rule> =');
  assert.not.match(made.received, /state/i);
  assert.match(made.messages, "import { name, ruleDescriptor } from './received.js';");
  for (const file of readdirSync(new URL('../../agent', import.meta.url), {
    recursive: true,
    encoding: 'utf8',
  })) {
    if (!file.endsWith('.ts') || file === 'message/generate.ts') continue;
    const source = readFileSync(new URL(`../../agent/${file}`, import.meta.url), 'utf8');
    assert.not.match(source, /^import (?!type )[^;]*\/messages\.js';/m, file);
  }
});

test('the npm package cddl, which is not ours, reads the same rules in messages.cddl', () => {
  const theirs = parse(cddlFile).map(rule => rule.Name);
  const types = [...generate(cddl).messages.matchAll(/^export type (\w+) =/gm)].map(match =>
    match[1].toLowerCase(),
  );
  assert.ok(theirs.length > 20);
  assert.equal(
    types,
    theirs.map(name => name.replaceAll('-', '').toLowerCase()),
  );
});

test('the generator writes a type with docstrings and a descriptor for each construct of its CDDL subset', () => {
  const text = generate(sample).messages;
  for (const part of [
    '/** A message with one of everything. */\nexport type Everything = {',
    '  /** Whose it is. */\n  readonly name: string;',
    'readonly four?: Uint8Array;',
    'readonly offset?: number;',
    'readonly nothing?: null | 7;',
    "readonly 'quoted name'?: 'a' | 1 | true;",
    'readonly words?: readonly Word[];',
    'readonly anything?: CborValue;',
    "import type { CborValue } from './cbor.js';",
    'readonly [key: string]: Target;',
    "export type Target = ByMac | ByAddress | 'all' | readonly Word[];",
    "const byMac: Shape = ['closed', ['kind', ['is', 'mac']],",
    "['say', 'two x', ['regexp', 'x{2}']]",
    "['say', 'between two and three words', ['list', word, 2, 3]]",
    "['some?', ['list', 'int', 1, -1]]",
  ])
    assert.ok(text.includes(part), `${part}\nis not in\n${text}`);
});

test('the generator refuses CDDL beyond its subset, naming the line', () => {
  for (const [text, expected] of [
    ['a = { b: c }', /:1: there is no rule c/],
    ['a = { b: a }', /:1: a contains itself/],
    ['\nm = { a: a }\na = [* a]', /:3: a contains itself/],
    ['a = uint', /:1: nothing uses a/],
    ['a = { b: uint }\na = { c: uint }', /:2: a second rule named a/],
    ['a = {\n b: uint\n c: uint }', /:3: expected , or }, got c/],
    ['a = { b: uint, b: int }', /:1: b cannot be a key here/],
    ['a = { toString: uint }', /toString cannot be a key here/],
    ['a = { "__proto__": uint }', /__proto__ cannot be a key here/],
    ['a = { * uint => uint }', /expected name: type/],
    ['a = { b: uint, * tstr => int }', /expected name: type/],
    ['a = { b: 5..2 }', /a range must go/],
    ['a = { b: uint .size 4 }', /\.size of this is not supported/],
    ['a = { b: tstr .default "x" }', /\.default of this is not supported/],
    ['a = { b: #6.1(uint) }', /cannot read #6/],
    ['a = { b: [uint, tstr] }', /expected \], got ,/],
    ...['\\\\d', '(?:a)', 'a{2,}', 'a**', '^a', 'a$', '(a', '[]', 'a|', '(a|)', '[^', '\\\\'].map(
      pattern => [`a = { b: tstr .regexp "${pattern}" }`, /beyond the portable subset/] as const,
    ),
  ] as const)
    assert.throws(() => generate(text), expected, text);
});

test('a rule that is wrong is refused with the path, what was expected, and what came', () => {
  const good = {
    host: '3c:22:fb:01:02:03',
    trigger: { tcp: { dstPort: 22, flags: 'syn' } },
    action: 'wake',
    timeout: '30s',
  };
  assert.is(validate(descriptors.rule, good), undefined);
  const { trigger, ...rest } = good;
  const port = (dstPort: unknown) => ({ ...good, trigger: { tcp: { dstPort } } });
  const ports = 'an integer 0..65535, a range such as "1024-65535", or a list of up to 64 of them';
  for (const [value, expected] of [
    [7, ': expected a map of host, priority, trigger, action, responder, answer, redirect, timeout, got 7'],
    [
      [good],
      ': expected a map of host, priority, trigger, action, responder, answer, redirect, timeout, got an array of 1',
    ],
    [
      rest,
      'trigger: expected a map of any, asked, registered, class, timer, ethernet, arp, ipv4, ipv6, icmp, icmpv6, tcp, udp, dns, mdns, llmnr, nbns, payload, got nothing',
    ],
    [
      { ...rest, triger: trigger },
      'triger: expected one of the fields host, priority, trigger, action, responder, answer, redirect, timeout, got an unknown field',
    ],
    [{ ...good, host: undefined }, 'none'],
    [{ ...good, extra: undefined }, 'none'],
    [{ ...good, host: null }, 'host: expected a MAC address such as 3c:22:fb:01:02:03, got null'],
    [
      { ...good, host: '3c:22:fb:01:02' },
      'host: expected a MAC address such as 3c:22:fb:01:02:03, got "3c:22:fb:01:02"',
    ],
    [{ ...good, action: 'reboot' }, 'action: expected "drop", "wake", "respond" or "redirect", got "reboot"'],
    [
      { ...good, action: { drop: 1 } },
      'action: expected "drop", "wake", "respond" or "redirect", got a map of drop',
    ],
    [
      { ...good, timeout: 30 },
      'timeout: expected a whole number and a unit (ms, s, m, h, d) such as 30s, got 30',
    ],
    [{ ...good, priority: -1 }, 'priority: expected an integer 0..65535, got -1'],
    [port(65535), 'none'],
    [port([22, '1024-65535']), 'none'],
    [
      port(['x']),
      'trigger.tcp.dstPort[0]: expected an integer 0..65535 or a range such as "1024-65535", got "x"',
    ],
    [port(65536), `trigger.tcp.dstPort: expected ${ports}, got 65536`],
    [port(22.5), `trigger.tcp.dstPort: expected ${ports}, got 22.5`],
    [port(NaN), `trigger.tcp.dstPort: expected ${ports}, got NaN`],
    [port('22'), `trigger.tcp.dstPort: expected ${ports}, got "22"`],
    [port(Uint8Array.of(22)), `trigger.tcp.dstPort: expected ${ports}, got 1 bytes`],
    [port({}), `trigger.tcp.dstPort: expected ${ports}, got an empty map`],
    [
      { ...good, trigger: { tcp: { dstport: 22 } } },
      'trigger.tcp.dstport: expected one of the fields srcPort, dstPort, flags, got an unknown field',
    ],
    [
      { ...good, trigger: { arp: { operation: 'probe' } } },
      'trigger.arp.operation: expected "request", "reply", a number 1..65535 or a range of such or an array of 1 to 8, got "probe"',
    ],
  ] as const)
    assert.is(sentence(validate(descriptors.rule, value)), expected);
});

test('messages that agents send may have keys of a later version, and their tables and lists are checked inside', () => {
  const telemetry = { boot: '0123abcd', seq: 1, uptime: 2, counters: { a: 1, b: 2 }, later: [1] };
  assert.is(validate(descriptors.telemetry, telemetry), undefined);
  const bad = { ...telemetry, counters: { a: 1, b: -2 } };
  assert.is(sentence(validate(descriptors.telemetry, bad)), 'counters.b: expected an integer from 0, got -2');
  const ledger = { boot: '0123abcd', uptime: 0, neighbours: { 'gw-2': { given: 1, taken: 2 } } };
  assert.is(
    sentence(validate(descriptors.ledger, ledger)),
    'neighbours.gw-2.credit: expected an integer, got nothing',
  );
});

test('a choice that fails says what the alternative it comes closest to lacks, or else what the alternatives are', async () => {
  const { everything } = await load(sample);
  for (const [value, expected] of [
    [{ target: 'all' }, 'none'],
    [{ target: ['a', 'b'] }, 'none'],
    [{ target: { kind: 'mac', mac: '0123456789ab' } }, 'none'],
    [
      { target: 'some' },
      'target: expected a map of kind, mac or a map of kind, address, port or "all" or an array, got "some"',
    ],
    [{ target: ['a', 'B'] }, 'target[1]: expected text that matches [a-z]+, got "B"'],
    [{ target: { kind: 'mac', mac: 'ab' } }, 'target.mac: expected text that matches [0-9a-f]{12}, got "ab"'],
    [
      { target: { kind: 'address', address: '10.0.0.1', port: 0 } },
      'target.port: expected an integer 1..65535, got 0',
    ],
    [
      { target: { kind: 'address', adress: '10.0.0.1' } },
      'target.adress: expected one of the fields kind, address, port, got an unknown field',
    ],
    [
      { inner: { deep: { table: { t: { kind: 'address' } } } } },
      'inner.deep.table.t.address: expected text of 7 to 15 bytes, got nothing',
    ],
    [{ nothing: null }, 'none'],
    [{ nothing: 7 }, 'none'],
    [{ nothing: 8 }, 'nothing: expected null or 7, got 8'],
    [{ 'quoted name': true }, 'none'],
    [{ 'quoted name': false }, 'quoted name: expected "a", 1, true, got false'],
    [{ size: '' }, 'size: expected text of 1 to 4 bytes, got ""'],
    [{ size: 'aé' }, 'none'],
    [{ size: 'aéé' }, 'size: expected text of 1 to 4 bytes, got "aéé"'],
    [{ four: Uint8Array.of(1, 2, 3) }, 'four: expected a byte string of 4 bytes, got 3 bytes'],
    [{ words: ['a'] }, 'words: expected between two and three words, got an array of 1'],
    [{ words: ['a', 1] }, 'words[1]: expected text that matches [a-z]+, got 1'],
    [{ some: [] }, 'some: expected an array of at least 1, got an array of 0'],
    [{ offset: -11 }, 'offset: expected an integer -10..10, got -11'],
    [{ number: Infinity }, 'number: expected a number, got Infinity'],
    [{ id: 'xxx' }, 'id: expected two x, got "xxx"'],
  ] as const)
    assert.is(sentence(validate(everything, { name: 'x', ...value })), expected);
});

interface Corruption {
  readonly field: string;
  /** Makes the value wrong in this one place, and gives the value as a whole. */
  readonly apply: () => unknown;
}

/** A random value of the shape, and everything that could be made wrong in it. */
class Builder {
  readonly corruptions: Corruption[] = [];
  readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  /** `put` puts another value in this one's place; `field` is its path. */
  build(shape: Shape, field: string, put: (value: unknown) => unknown): unknown {
    const wrong = (value: unknown) => this.corruptions.push({ field, apply: () => put(value) });
    const { random } = this;
    if (typeof shape === 'string') return this.buildBasic(shape, wrong);
    switch (shape[0]) {
      case 'is':
        wrong({});
        wrong('is');
        return shape[1 + random.below(shape.length - 1)];
      case 'range':
        wrong(shape[1] - 1);
        wrong(shape[2] + 1);
        wrong('1');
        return shape[1] + random.below(Math.min(0x1_0000_0000, shape[2] - shape[1] + 1));
      case 'size':
        if (shape[1] === 'bstr') {
          wrong(new Uint8Array(shape[3] + 1));
          wrong('x');
          return new Uint8Array(shape[2] + random.below(shape[3] - shape[2] + 1));
        }
        wrong('é'.repeat(shape[3] / 2 + 1));
        return 'x'.repeat(shape[2] + random.below(shape[3] - shape[2] + 1));
      case 'regexp': {
        const text = randomMatch(random, shape[1]);
        wrong(`${text}\n`);
        wrong(7);
        return text;
      }
      case 'say':
        return this.build(shape[2], field, put);
      case 'one': {
        // What is wrong by one alternative may be right by another; only what none takes is surely wrong.
        const before = this.corruptions.length;
        const value = this.build(shape[1 + random.below(shape.length - 1)] as Shape, field, put);
        this.corruptions.length = before;
        wrong(true);
        return value;
      }
      case 'list': {
        wrong('x');
        const list: unknown[] = [];
        for (let i = 0; i < 3; i++) {
          const place = (value: unknown) => {
            list[i] = value;
            return put(list);
          };
          list.push(this.build(shape[1], `${field}[${i}]`, place));
        }
        return list;
      }
      default:
        wrong(null);
        wrong([]);
        return this.buildMap(shape, field, put);
    }
  }

  private buildMap(shape: Exclude<Shape, string>, field: string, put: (value: unknown) => unknown): unknown {
    const map: { [key: string]: unknown } = {};
    const inside = (name: string) => (field === '' ? name : `${field}.${name}`);
    const place = (name: string) => (value: unknown) => {
      map[name] = value;
      return put(map);
    };
    for (const [mark, type] of shape.slice(1) as [string, Shape][]) {
      if (mark === '*') {
        for (const name of ['a', 'toString', 'é'])
          if (this.random.chance(0.7)) map[name] = this.build(type, inside(name), place(name));
        continue;
      }
      const name = mark.replace('?', '');
      if (mark !== name && this.random.chance(0.4)) continue;
      map[name] = this.build(type, inside(name), place(name));
      if (mark === name) this.corruptions.push({ field: inside(name), apply: () => place(name)(undefined) });
    }
    if (shape[0] === 'closed')
      this.corruptions.push({ field: inside('misspelt'), apply: () => place('misspelt')(1) });
    return map;
  }

  private buildBasic(shape: string, wrong: (value: unknown) => void): unknown {
    wrong(new Map());
    if (shape === 'int' || shape === 'uint') wrong(0.5);
    if (shape === 'uint') wrong(-1);
    if (shape === 'uint' || shape === 'int') return this.random.uint32();
    if (shape === 'number') return this.random.normal(0, 10);
    return shape === 'bool' ? this.random.chance(0.5) : 'some text';
  }
}

/** A random text that matches a pattern of groups, classes, characters, `|` and `{n,m}` (what messages.cddl uses). */
function randomMatch(random: Random, pattern: string): string {
  let at = 0;
  return alternatives();

  function alternatives(): string {
    const texts = [sequence()];
    while (pattern[at] === '|') {
      at++;
      texts.push(sequence());
    }
    return texts[random.below(texts.length)];
  }

  function sequence(): string {
    let text = '';
    while (at < pattern.length && !'|)'.includes(pattern[at])) text += repeated();
    return text;
  }

  function repeated(): string {
    const start = at;
    let text = atom();
    const [mark, min, max] = /^\{([0-9]+)(?:,([0-9]+))?\}/.exec(pattern.slice(at)) ?? [''];
    if (mark === '') return text;
    const end = at + mark.length;
    const count = Number(min) + random.below(Number(max ?? min) - Number(min) + 1);
    if (count === 0) text = '';
    for (let i = 1; i < count; i++) {
      at = start;
      text += atom();
    }
    at = end;
    return text;
  }

  function atom(): string {
    if (pattern[at] === '(') {
      at++;
      const text = alternatives();
      at++;
      return text;
    }
    if (pattern[at] !== '[') return pattern[at++];
    const end = pattern.indexOf(']', at);
    const inside = new RegExp(pattern.slice(at, end + 1));
    at = end + 1;
    for (;;) {
      const character = String.fromCharCode(33 + random.below(94));
      if (inside.test(character)) return character;
    }
  }
}

test('random values made from each descriptor validate, and one made wrong in one place is refused at that place', () => {
  const seed = 5;
  const random = new Random(seed, 'schema property');
  const fields = new Set<string>();
  for (const [name, descriptor] of Object.entries(descriptors) as [string, Shape][])
    for (let i = 0; i < 300; i++) {
      const builder = new Builder(random);
      const value = builder.build(descriptor, '', other => other);
      const text = JSON.stringify(value);
      const where = `seed ${seed}, ${name} ${i}: ${text}`;
      assert.is(validate(descriptor, value), undefined, where);
      const decoded = decodeCbor(encodeCbor(value as CborValue), { depth: 8 });
      assert.is(decoded.ok && validate(descriptor, decoded.value), undefined, where);
      const corruption = builder.corruptions[random.below(builder.corruptions.length)];
      const problem = validate(descriptor, corruption.apply());
      assert.is(
        problem?.field,
        corruption.field,
        `${where}, ${corruption.field} made wrong: ${sentence(problem)}`,
      );
      fields.add(`${name}: ${corruption.field}`);
    }
  assert.ok(fields.size > 100, `only ${fields.size} different fields were made wrong`);
});

test('no value makes validate throw, and every problem fits into the rule status that reports it', () => {
  const cycle: { [key: string]: unknown } = { boot: '01234567', seq: 1, uptime: 1 };
  cycle['counters'] = cycle;
  const long = '\ud83d\u0000é"'.repeat(500);
  const junk = [
    undefined,
    null,
    true,
    NaN,
    -0,
    Infinity,
    1e300,
    1n,
    Symbol('s'),
    () => 1,
    new Date(0),
    new Map(),
    new Uint8Array(9),
    /x/,
    long,
    [long],
    [],
    {},
    cycle,
    Object.create(null),
    Object.create({ trigger: 1 }),
    { [long]: 1 },
    { trigger: { [long]: 1 } },
    { trigger: { tcp: { [long]: 1 } }, action: 'drop' },
    { trigger: { ethernet: { srcMac: long } } },
    { action: long },
    { counters: { [long]: long } },
    { [long]: { [long]: long } },
    { boot: '01234567', seq: 1, uptime: 1, counters: { [long]: long } },
  ];
  let problems = 0;
  const status = { status: 'rejected', digest: '01234567', boot: '01234567', uptime: 0 };
  for (const [name, descriptor] of Object.entries(descriptors) as [string, Shape][])
    for (const value of junk) {
      const problem = validate(descriptor, value);
      // Two of them happen to be events.
      if (!problem) continue;
      problems++;
      const report = { ...status, ...problem };
      assert.is(
        sentence(validate(descriptors['rule-status'], report)),
        'none',
        `${name}: ${sentence(problem)}`,
      );
    }
  assert.is(problems, Object.keys(descriptors).length * junk.length - 2);
});

test('the pattern matcher agrees with JavaScript on random patterns of the subset and random texts', () => {
  const seed = 11;
  const random = new Random(seed, 'patterns');
  const pick = (items: readonly string[]) => items[random.below(items.length)];
  const build = (depth: number): string => {
    let sequence = '';
    for (let i = 1 + random.below(3); i > 0; i--) {
      const atom =
        depth > 0 && random.chance(0.4)
          ? `(${build(depth - 1)})`
          : pick(['a', 'b', '.', '[ab]', '[^a]', '[a-c-]', '[b-]', '[.]', '\\.', '-']);
      sequence += atom + pick(['', '', '', '?', '*', '+', '{2}', '{0,2}', '{1,3}']);
    }
    return random.chance(0.3) ? `${sequence}|${build(depth)}` : sequence;
  };
  let matched = 0;
  for (let i = 0; i < 4000; i++) {
    const pattern = build(2);
    let text = '';
    for (let n = random.below(7); n > 0; n--) text += pick(['a', 'a', 'b', 'c', '.', '-']);
    const expected = new RegExp(`^(?:${pattern})$`).test(text);
    if (expected) matched++;
    assert.is(
      matchesAll(pattern, text),
      expected,
      `seed ${seed}, case ${i}: ${pattern} on ${JSON.stringify(text)}`,
    );
  }
  assert.ok(matched > 500 && matched < 3500, `${matched} matched`);
});

test('a pattern that makes backtracking matchers blow up is matched in few steps', () => {
  assert.not(matchesAll('(a*)*(a|a)*b', 'a'.repeat(200)));
  assert.not(matchesAll('[a-z]{1,999}', 'a'.repeat(257)));
});

test('the coordinator reads a message of an agent, and says what is wrong with one that is none', () => {
  const rule = {
    trigger: { arp: { operation: 'request' } },
    action: 'drop',
    priority: 7,
  } as const satisfies Rule;
  const good = decodeMessage(descriptors.rule, encodeCbor(rule));
  assert.equal(good, { ok: true, value: rule });
  const problemOf = (payload: Uint8Array) => {
    const decoded = decodeMessage(descriptors.telemetry, payload);
    return decoded.ok ? 'none' : sentence(decoded.problem);
  };
  const uptime = 2 ** 40;
  const telemetry = { boot: '0123abcd', seq: 4, uptime, counters: { bytes: 2 ** 33 } };
  const decoded = decodeMessage(descriptors.telemetry, encodeCbor(telemetry));
  assert.ok(decoded.ok && decoded.value.uptime === uptime && decoded.value.counters['bytes'] === 2 ** 33);
  assert.is(problemOf(encodeCbor({ ...telemetry, seq: 'x' })), 'seq: expected an integer from 0, got "x"');
  assert.is(problemOf(encodeUtf8('{"boot":1}')), ': expected CBOR (RFC 8949), got bad CBOR (truncated)');
  assert.is(
    problemOf(new Uint8Array(payloadLimits.bytes + 1)),
    ': expected CBOR (RFC 8949), got bad CBOR (too-long)',
  );
  assert.equal(decodePeoplesPayload(encodeUtf8(' {"a":1}')), { ok: true, value: { a: 1 } });
});

test.run();
