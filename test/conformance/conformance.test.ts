import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeCbor } from '../../agent/message/cbor.js';
import { faults, lower, renamed } from '../../edge/espruino/lower.js';
import { bundle, given } from './bundle.js';
import { espruino, node, xs } from './engines.js';
import { scenarios } from './scenarios.js';
import { sentinel, wideSection } from './suite.js';

const define = { given: given() };
const modern = await bundle('main.ts', 'modern', { define });
const lowered = await bundle('main.ts', 'espruino', { define, minify: true });
const expected = node(modern);

/** Expects the same lines, but for the one section that may be left out; names the first that differs. */
function checkSame(got: readonly string[]): void {
  const wideAt = expected.indexOf(wideSection);
  assert.ok(wideAt > 0);
  const without = [...expected.slice(0, wideAt), sentinel];
  const wanted = got.includes(wideSection) ? expected : without;
  for (let i = 0; i < Math.max(got.length, wanted.length); i++) {
    if (got[i] === wanted[i]) continue;
    const section = wanted.slice(0, i + 1).findLast(line => line.startsWith('#'));
    throw new Error(`${section}, line ${i}:\nexpected ${wanted[i]}\ngot      ${got[i]}`);
  }
}

/** A line of a transcript with its payload as JSON, or as text where it is no CBOR map. */
function readable(line: string): string {
  const words = line.split(' ');
  if (words[1] !== 'publish') return line;
  const payload = Buffer.from(words.pop()!, 'hex');
  const decoded = decodeCbor(payload, { depth: 8 });
  const isMap = decoded.ok && typeof decoded.value === 'object';
  return `${words.join(' ')} ${JSON.stringify(isMap ? decoded.value : payload.toString())}`;
}

test('every scenario does what it is written for', () => {
  assert.is(expected[expected.length - 1], sentinel);
  for (const scenario of scenarios) {
    const from = expected.indexOf(`# ${scenario.name}`);
    assert.ok(from >= 0, scenario.name);
    const length = expected.slice(from + 1).findIndex(line => line.startsWith('#'));
    const transcript = expected.slice(from + 1, from + 1 + length).map(readable);
    let at = 0;
    for (const wanted of scenario.expect) {
      const found = transcript.findIndex((line, i) => i >= at && line.includes(wanted));
      assert.ok(
        found >= 0,
        `${scenario.name}: expected ${wanted} after:\n${transcript.slice(Math.max(0, at - 3), at + 9).join('\n')}`,
      );
      at = found + 1;
    }
  }
});

test('lowered for Espruino, the suite prints the same bytes on Node', () => checkSame(node(lowered)));

test('nothing in the lowered suite is what Espruino rejects', async () => {
  assert.equal(await faults(lowered), []);
});

for (const bits of [64, 32] as const)
  test(`XS of ${bits} bits prints the same bytes`, () => {
    const run = xs(bits);
    if (run) checkSame(run(modern));
  });

test('Espruino prints the same bytes', () => {
  const run = espruino();
  if (run) checkSame(run(lowered));
});

test('what is lowered means the same: each construct, evaluated both ways', async () => {
  const pieces: [string, string][] = [
    ['const { a, b: [c, d = 4], ...rest } = { a: 1, b: [3], e: 5, f: 6 };', '[a, c, d, rest]'],
    ['function f({ x, y = 2 } = {}, ...more) { return [x, y, more]; }', '[f({ x: 1 }, 7, 8), f()]'],
    ['function g(a = 1, [b] = [2]) { return a + b; }', '[g(), g(5, [6])]'],
    ['const o = { m(...all) { return all.length + this.k; }, k: 10 };', 'o.m(...[1, 2], 3)'],
    ['class A { constructor(n = 3) { this.n = n; } get m() { return this.n; } }', '[new A().n, new A(9).m]'],
    ['const all = []; for (const [k, v] of Object.entries({ p: 1, q: 2 })) all.push(k + v);', 'all'],
    ['', '[...new Uint8Array([1, 2]), ...[3], 4]'],
    ['', '({ ...{ a: 1, b: 2 }, b: 3, ...undefined })'],
    ['const before = late(); function late() { return 1; }', 'before'],
    ['const k = a => (a ? { b: a } : [...[1]]);', '[k(0), k(2)]'],
    ['', '[[1], [2, 3]].map(({ length }, i) => [length, i])'],
    ['', 'Math.max(...[1, 5, 2])'],
  ];
  for (const [statements, expression] of pieces) {
    const whole = `print(JSON.stringify((() => { ${statements}\nreturn ${expression}; })()))`;
    const after = await lower(whole);
    assert.equal(await faults(after), [], after);
    assert.equal(node(after), node(whole), after);
  }
});

test('a variable named of, a keyword to Espruino, gets another name, and a property keeps its own', async () => {
  const before = 'const of = { of: 1, g(of_) { return of_ + of.of; } }; print(of.g(2) + of["of"]);';
  const after = await renamed(before);
  assert.equal(await faults(after), []);
  assert.equal(node(after), node(before));
});

test('what Espruino rejects is found, and what cannot be lowered is refused: the tests can fail', async () => {
  const rejected: [string, RegExp][] = [
    ['const { a } = b;', /destructuring/],
    ['f(...a);', /spread/],
    ['function f(a = 1) {}', /default/],
    ['a?.b;', /\?\./],
    ['a ??= b;', /\?\?=/],
    ['a ** b;', /\*\*/],
    ['({ [a]: 1 });', /computed/],
    ['class A { b = 1; }', /field/],
    ['f(); function f() {}', /hoisted/],
    ['async function f() {}', /async/],
    ['new Map();', /Map/],
    ['Array.from(a);', /Array\.from/],
    ['try {} catch {}', /catch/],
    ['a = "\u00e9";', /ASCII/],
    ['1n;', /BigInt/],
    ['let of = 1;', /keyword/],
  ];
  for (const [source, why] of rejected) assert.match((await faults(source)).join(), why);
  for (const source of ['[a, b] = [b, a];', 'const f = (...a) => a;', 'new A(...a);', 'f().g(...a);']) {
    let message = '';
    await lower(source).catch((error: Error) => {
      message = error.message;
    });
    assert.match(message, 'cannot lower', source);
  }
  assert.throws(() => checkSame([...expected.slice(0, -2), sentinel]), /expected/);
  assert.throws(() => checkSame(expected.map((line, i) => (i === 900 ? `${line}0` : line))), /line 900/);
});

test.run();
