/**
 * Keeps the rooms apart (docs/design.md) and agent/ within the language that Node, XS and Espruino share
 * (CONTRIBUTING.md). What the compiler already refuses (agent/tsconfig.json: no Node, no DOM) is not repeated here.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from '@babel/parser';
import { type Node, traverseFast } from '@babel/types';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Room → rooms it may import from, besides itself. The longest matching room of a file counts. */
const arrows: Record<string, readonly string[]> = {
  'agent/core': [],
  'agent/port': [],
  'agent/wire': ['agent/core'],
  'agent/message': ['agent/core', 'agent/limits.ts'],
  agent: [],
  edge: ['agent'],
  'host-sim': ['agent'],
  // Where programs are put together: `kith bras` is the BRAS of host-sim/ on a real Ethernet.
  'host-sim/cli': ['host-sim', 'agent', 'edge/linux'],
};

/** Packages a room may use, besides `node:` modules; agent/ may use neither. */
const packages: Record<string, readonly string[]> = {
  // `crypt` is the Moddable SDK's.
  edge: ['mqtt', 'crypt', 'koffi'],
  'host-sim': [
    'mqtt',
    'cbor-x',
    'aedes',
    'aedes-persistence',
    'aedes-persistence-level',
    'classic-level',
    'mqemitter',
    'ws',
    'commander',
    'd3-scale',
    'd3-shape',
  ],
};

/**
 * Packages that a file may load by `import()` when it comes to that: development dependencies, which build a firmware from
 * the sources, and which whoever only runs the package does not have.
 */
const latePackages: Record<string, readonly string[]> = {
  'edge/espruino/build.ts': ['esbuild'],
  'edge/espruino/lower.ts': ['@babel/parser'],
};

/** Globals and members that one of the three engines lacks, or that would let the world into the agent. */
const forbiddenGlobals = new Set(
  `Date Map Set WeakMap WeakSet WeakRef Proxy Reflect Symbol BigInt BigInt64Array BigUint64Array Promise RangeError
   TextEncoder TextDecoder Intl globalThis console process Buffer require crypto performance setTimeout setInterval
   setImmediate clearTimeout clearInterval queueMicrotask structuredClone Atomics SharedArrayBuffer eval Function`.split(
    /\s+/,
  ),
);
const forbiddenMembers: Record<string, readonly string[]> = {
  Math: ['random', 'imul', 'trunc', 'clz32'],
  Array: ['from'],
  Object: ['freeze', 'hasOwn', 'fromEntries', 'groupBy'],
  Number: ['isInteger', 'isSafeInteger'],
  Uint8Array: ['from', 'of'],
};
const forbiddenMethods = new Set([
  'flat',
  'flatMap',
  'at',
  'padStart',
  'padEnd',
  'replaceAll',
  'matchAll',
  'toSorted',
  'findLast',
  'codePointAt',
  'normalize',
]);
const typedArrays =
  /^(Uint8|Int8|Uint16|Int16|Uint32|Int32|Float32|Float64|Uint8Clamped)Array$|^ArrayBuffer$|^DataView$/;

/** A rule of the tidy test broken: `file:line what`. */
type Complaint = string;

export function complain(file: string, source: string): Complaint[] {
  const complaints: Complaint[] = [];
  const ast = parse(source, {
    sourceType: 'module',
    plugins: [['typescript', { dts: file.endsWith('.d.ts') }]],
    attachComment: false,
    // Or `import('x')` would be a call like any other.
    createImportExpressions: true,
  });
  const say = (node: Node, what: string) => complaints.push(`${file}:${node.loc?.start.line} ${what}`);
  if (!/^(#!.*\n)?\/\*\*/.test(source) && !file.startsWith('test/'))
    complaints.push(`${file}:1 has no header comment`);
  traverseFast(ast, node => {
    const from =
      (node.type === 'ImportDeclaration' ||
        node.type === 'ExportNamedDeclaration' ||
        node.type === 'ExportAllDeclaration') &&
      node.source
        ? node.source.value
        : node.type === 'ImportExpression' && node.source.type === 'StringLiteral'
          ? node.source.value
          : undefined;
    if (from === undefined) return;
    if (node.type === 'ImportExpression' && latePackages[file]?.includes(from)) return;
    checkImport(file, from, what => say(node, what));
  });
  if (file.startsWith('agent/') && file !== 'agent/message/generate.ts') checkPortable(ast, say);
  if (file.startsWith('agent/port/')) {
    for (const statement of ast.program.body) {
      const typeOnly =
        (statement.type === 'ImportDeclaration' && statement.importKind === 'type') ||
        (statement.type === 'ExportNamedDeclaration' && statement.exportKind === 'type');
      if (!typeOnly) say(statement, 'agent/port holds types only');
    }
  }
  return complaints;
}

function checkImport(file: string, from: string, say: (what: string) => void): void {
  const room = roomOf(file);
  if (room === undefined || file === 'agent/message/generate.ts') return;
  if (!from.startsWith('.')) {
    const top = room.split('/')[0];
    const name = from
      .split('/')
      .slice(0, from.startsWith('@') ? 2 : 1)
      .join('/');
    const allowed = top !== 'agent' && (from.startsWith('node:') || packages[top]?.includes(name));
    if (!allowed) say(`${top}/ may not import ${from}`);
    return;
  }
  if (!from.endsWith('.js')) say(`import ${from}: a relative import ends in .js`);
  const target = normalize(join(dirname(file), from)).replace(/\.js$/, '.ts');
  const may = [room, ...(arrows[room] ?? [])];
  if (!may.some(allowed => target === allowed || target.startsWith(`${allowed}/`)))
    say(`${room}/ may not import ${target}`);
}

function roomOf(file: string): string | undefined {
  return Object.keys(arrows)
    .filter(room => file.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function checkPortable(ast: ReturnType<typeof parse>, say: (node: Node, what: string) => void): void {
  for (const statement of ast.program.body) {
    const declaration = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement;
    if (declaration?.type !== 'VariableDeclaration') continue;
    if (declaration.kind !== 'const')
      say(statement, 'module-level state must be const (XS preload freezes it)');
    traverseFast(declaration, node => {
      if (
        node.type === 'NewExpression' &&
        node.callee.type === 'Identifier' &&
        typedArrays.test(node.callee.name)
      )
        say(node, 'no typed array at module level (XS preload freezes it)');
    });
  }
  traverseFast(ast, node => {
    switch (node.type) {
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
      case 'ClassMethod':
      case 'ObjectMethod':
        if (node.async) say(node, 'no async: the agent is sans-I/O');
        if ('generator' in node && node.generator) say(node, 'no generators');
        if (node.type === 'ArrowFunctionExpression' && losesThis(node))
          say(
            node,
            'an arrow that uses this, around one that does not, loses it on Espruino: take it out first',
          );
        break;
      case 'PrivateName':
        say(node, 'no #private: use `private`');
        break;
      case 'BinaryExpression':
        if (node.operator === '**') say(node, 'no **: it becomes Math.pow, which is inexact on Espruino');
        break;
      case 'BigIntLiteral':
        say(node, 'no BigInt');
        break;
      case 'LabeledStatement':
        say(node, 'no labels');
        break;
      case 'TSEnumDeclaration':
        say(node, 'no enum: use a union of literals');
        break;
      case 'ClassDeclaration':
        if (node.superClass) say(node, 'no subclasses: compose');
        break;
      case 'RegExpLiteral':
        // Espruino's matcher knows neither counts, nor `?`, nor groups that repeat or choose.
        if (/[{?(]|\\[pk]/.test(node.pattern) || /[dsuvy]/.test(node.flags))
          say(node, 'only plain regular expressions');
        break;
      case 'Identifier':
        break;
      case 'CallExpression':
        if (node.callee.type === 'MemberExpression' && node.callee.property.type === 'Identifier') {
          const { object, property } = node.callee;
          if (forbiddenMethods.has(property.name)) say(node, `no .${property.name}() (Espruino lacks it)`);
          if (object.type === 'Identifier' && forbiddenMembers[object.name]?.includes(property.name))
            say(node, `no ${object.name}.${property.name} (Espruino lacks it, or it lets the world in)`);
        }
        break;
      default:
    }
  });
  // Global names: any identifier used as a value that is not a property name or a type.
  visitValues(ast.program, name => forbiddenGlobals.has(name.name) && say(name, `no ${name.name} in agent/`));
}

/** Espruino notes "uses this" in one flag, which an arrow within clears. */
function losesThis(arrow: Node): boolean {
  let uses = false;
  let holdsOneThatDoesNot = false;
  traverseFast(arrow, node => {
    if (node.type === 'ThisExpression') uses = true;
    if (node === arrow || node.type !== 'ArrowFunctionExpression') return;
    let innerUses = false;
    traverseFast(node, inner => {
      if (inner.type === 'ThisExpression') innerUses = true;
    });
    if (!innerUses) holdsOneThatDoesNot = true;
  });
  return uses && holdsOneThatDoesNot;
}

/** Calls `hear` for every identifier that stands for a value. */
function visitValues(node: Node, hear: (name: Node & { type: 'Identifier' }) => void): void {
  if (node.type.startsWith('TS') && !/^TS(As|NonNull|Satisfies)/.test(node.type)) return;
  if (node.type === 'Identifier') hear(node);
  for (const [key, value] of Object.entries(node)) {
    if (key === 'loc' || key === 'typeAnnotation' || key === 'typeParameters' || key === 'returnType')
      continue;
    const isName =
      (key === 'property' && node.type === 'MemberExpression' && !node.computed) ||
      (key === 'key' && 'computed' in node && !node.computed) ||
      key === 'imported' ||
      key === 'exported';
    if (isName) continue;
    for (const child of Array.isArray(value) ? value : [value]) {
      if (child && typeof child === 'object' && typeof (child as Node).type === 'string')
        visitValues(child as Node, hear);
    }
  }
}

const files = ['agent', 'edge', 'host-sim', 'test']
  .flatMap(top =>
    readdirSync(join(root, top), { recursive: true, encoding: 'utf8' }).map(name => `${top}/${name}`),
  )
  .filter(name => name.endsWith('.ts'));

test('every file keeps to its room, and agent/ to the language all engines share', () => {
  assert.ok(files.length > 20, `expected the whole tree, found ${files.length} files`);
  const complaints = files.flatMap(file => complain(file, readFileSync(join(root, file), 'utf8')));
  assert.equal(complaints, []);
});

test('each breach is found: the test itself can fail', () => {
  const header = '/** A header. */\n';
  const breaches: [string, string, RegExp][] = [
    [
      'agent/core/x.ts',
      "import { y } from '../wire/arp.js';",
      /agent\/core\/ may not import agent\/wire\/arp.ts/,
    ],
    ['agent/wire/x.ts', "import { y } from '../../host-sim/sim/kernel.js';", /may not import host-sim/],
    ['agent/x.ts', "import fs from 'node:fs';", /may not import node:fs/],
    ['agent/x.ts', "import type { y } from './core/time';", /ends in \.js/],
    ['host-sim/x.ts', "import { y } from '../edge/linux/x.js';", /may not import edge/],
    ['host-sim/cli/x.ts', "import { y } from '../../edge/moddable/x.js';", /may not import edge/],
    ['host-sim/x.ts', "import { y } from 'uvu';", /may not import uvu/],
    ['host-sim/x.ts', "const y = await import('uvu');", /may not import uvu/],
    ['host-sim/x.ts', "const y = await import('../edge/linux/x.js');", /may not import edge/],
    ['edge/x.ts', "const y = await import('esbuild');", /may not import esbuild/],
    ['edge/espruino/build.ts', "import { y } from 'esbuild';", /may not import esbuild/],
    ['edge/x.ts', "import { y } from '../host-sim/x.js';", /may not import host-sim/],
    ['agent/x.ts', 'const t = Date.now();', /no Date/],
    ['agent/x.ts', 'const t = Math.random();', /Math\.random/],
    ['agent/x.ts', 'const t = new Map();', /no Map/],
    ['agent/x.ts', 'export let t = 1;', /must be const/],
    ['agent/x.ts', 'export const t = { a: new Uint8Array(4) };', /typed array at module level/],
    ['agent/x.ts', 'async function f() {}', /no async/],
    ['agent/x.ts', 'function* f() {}', /no generators/],
    ['agent/x.ts', 'class A { #b = 1; }', /#private/],
    ['agent/x.ts', 'class A extends B {}', /no subclasses/],
    ['agent/x.ts', 'const b = [1].at(0);', /\.at\(\)/],
    ['agent/x.ts', 'a: for (;;) break a;', /labels/],
    ['agent/x.ts', 'const b = 1n;', /BigInt/],
    ['agent/x.ts', 'const b = 2 ** 3;', /inexact/],
    ['agent/x.ts', 'class A { b() { return [() => this.c.some(d => d)]; } }', /loses it/],
    ['agent/x.ts', 'const b = /a{2}/;', /regular/],
    ['agent/port/x.ts', 'export const a = 1;', /types only/],
  ];
  for (const [file, source, expected] of breaches)
    assert.match(complain(file, header + source).join('\n'), expected);
  assert.match(complain('agent/x.ts', 'const a = 1;').join(), /no header/);
  const fine =
    'export const a = { Date: 1 };\nexport type T = Map<string, Date>;\nconst b = a.Date;\nexport { b };';
  assert.equal(complain('agent/x.ts', header + fine), []);
});

test.run();
