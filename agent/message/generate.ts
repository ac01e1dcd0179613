/**
 * Makes messages.ts from messages.cddl: a TypeScript type for every rule, and for every message (a map rule no other
 * rule uses) a descriptor that schema.ts validates by. Those of messages that agents receive stand in received.ts, so that
 * a board carries no others. Runs on Node only: `npm run generate`.
 *
 * Reads the subset of CDDL (RFC 8610) that the messages use and says by line what is outside it: maps with text keys,
 * `?`, tables `* tstr => type`, arrays of one type with an occurrence, choices, literals, integer ranges, `.size` of text
 * and bytes, `.regexp` as far as `matchesAll` understands it. Comments mean something here, which is why the parser is
 * our own: the npm package `cddl` (which the test uses to check the syntax) ties them to the wrong rules.
 *
 * - Comment lines right above a rule or member, or behind a member, become its docstring.
 * - `expected: …` in one of them is what an error says was expected.
 * - `closed`, alone or behind the last sentence of a rule's comment: the map takes no other keys.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

interface Token {
  readonly kind: 'name' | 'text' | 'number' | 'control' | 'mark' | 'end';
  readonly text: string;
  readonly line: number;
  /** The comment lines right above it. */
  above: string[];
  /** The comment behind it on its line. */
  behind: string[];
}

interface Notes {
  readonly doc: string;
  readonly expected: string | undefined;
  readonly isClosed: boolean;
}

interface Member {
  /** `*`: every other key. */
  readonly name: string;
  readonly isOptional: boolean;
  readonly type: Type;
  readonly notes: Notes;
}

type Type =
  | { readonly kind: 'name'; readonly name: string; readonly line: number }
  | { readonly kind: 'literal'; readonly value: string | number | boolean | null }
  | { readonly kind: 'range'; readonly from: number; readonly to: number }
  | { readonly kind: 'size'; readonly base: 'tstr' | 'bstr'; readonly from: number; readonly to: number }
  | { readonly kind: 'regexp'; readonly pattern: string }
  | { readonly kind: 'choice'; readonly types: readonly Type[] }
  | { readonly kind: 'list'; readonly type: Type; readonly from: number; readonly to: number }
  | { readonly kind: 'map'; readonly members: readonly Member[] };

interface Rule {
  readonly name: string;
  readonly type: Type;
  readonly notes: Notes;
  readonly line: number;
}

/** Names of the standard prelude (RFC 8610 Appendix D) we know: the shape, and the TypeScript type. */
const prelude: { readonly [name: string]: readonly [shape: string, type: string] | undefined } = {
  any: ['any', 'CborValue'],
  bool: ['bool', 'boolean'],
  bstr: ['bstr', 'Uint8Array'],
  bytes: ['bstr', 'Uint8Array'],
  float: ['number', 'number'],
  int: ['int', 'number'],
  nil: ['null', 'null'],
  null: ['null', 'null'],
  number: ['number', 'number'],
  text: ['tstr', 'string'],
  tstr: ['tstr', 'string'],
  uint: ['uint', 'number'],
};

/** What agents subscribe to (`agentFilters` of topic.ts), and what comes within one of these. */
const receivedNames: readonly string[] = ['rule', 'host', 'acl', 'request', 'manifest'];

/** The files for the text of messages.cddl; throws, naming the line, on what it cannot read. */
export function generate(cddl: string): { readonly messages: string; readonly received: string } {
  const { messages, received } = new Writer(parseRules(cddl)).write();
  return { messages: format(messages), received: format(received) };
}

// ---- Reading ----

function tokenize(cddl: string): Token[] {
  const tokens: Token[] = [];
  let above: string[] = [];
  const lines = cddl.split('\n');
  lines.forEach((text, index) => {
    const line = index + 1;
    let rest = text.trim();
    if (rest === '') above = [];
    let isFirst = true;
    while (rest !== '') {
      const [comment, content] = /^;\s*(.*)$/.exec(rest) ?? [];
      if (comment !== undefined) {
        if (isFirst) above.push(content);
        else tokens[tokens.length - 1].behind.push(content);
        break;
      }
      const token = nextToken(rest, line);
      if (isFirst) token.above = above;
      above = [];
      isFirst = false;
      tokens.push(token);
      rest = rest.slice(token.text.length).trimStart();
    }
  });
  tokens.push({ kind: 'end', text: 'the end', line: lines.length, above: [], behind: [] });
  return tokens;
}

function nextToken(rest: string, line: number): Token {
  const kinds: readonly (readonly [Token['kind'], RegExp])[] = [
    ['text', /^"(\\.|[^"\\])*"/],
    ['number', /^-?[0-9]+/],
    ['name', /^[A-Za-z_][A-Za-z0-9_-]*/],
    ['control', /^\.[a-z]+/],
    ['mark', /^(\.\.\.?|=>|[{}[\]():,=/?*+])/],
  ];
  for (const [kind, expression] of kinds) {
    const match = expression.exec(rest);
    if (match) return { kind, text: match[0], line, above: [], behind: [] };
  }
  throw new Error(`messages.cddl:${line}: cannot read ${rest.slice(0, 20)}`);
}

function parseRules(cddl: string): Rule[] {
  const tokens = tokenize(cddl);
  let at = 0;
  const rules: Rule[] = [];
  while (tokens[at].kind !== 'end') {
    const first = take('name');
    if (rules.some(rule => rule.name === first.text) || prelude[first.text])
      throw refusal(first, `a second rule named ${first.text}`);
    take('mark', '=');
    const type = parseType();
    rules.push({
      name: first.text,
      type,
      notes: readNotes([...first.above, ...tokens[at - 1].behind]),
      line: first.line,
    });
  }
  return rules;

  function take(kind: Token['kind'], text?: string): Token {
    const token = tokens[at];
    if (token.kind !== kind || (text !== undefined && token.text !== text))
      throw refusal(token, `expected ${text ?? kind}, got ${token.text}`);
    at++;
    return token;
  }

  function takeIf(text: string): boolean {
    if (tokens[at].kind !== 'mark' || tokens[at].text !== text) return false;
    at++;
    return true;
  }

  function parseType(): Type {
    const types = [parseControlled()];
    while (takeIf('/')) types.push(parseControlled());
    return types.length === 1 ? types[0] : { kind: 'choice', types };
  }

  function parseControlled(): Type {
    const token = tokens[at];
    const type = parsePlain();
    if (takeIf('..')) {
      const to = Number(take('number').text);
      if (type.kind !== 'literal' || typeof type.value !== 'number' || type.value > to)
        throw refusal(token, 'a range must go from an integer up to an integer');
      return { kind: 'range', from: type.value, to };
    }
    if (tokens[at].kind !== 'control') return type;
    const control = take('control').text;
    const base = type.kind === 'name' ? prelude[type.name]?.[0] : undefined;
    if (control === '.size' && (base === 'tstr' || base === 'bstr')) {
      const size = parsePlain();
      if (size.kind === 'range') return { kind: 'size', base, from: size.from, to: size.to };
      if (size.kind === 'literal' && typeof size.value === 'number')
        return { kind: 'size', base, from: size.value, to: size.value };
    }
    if (control === '.regexp' && base === 'tstr') {
      const pattern = JSON.parse(take('text').text) as string;
      checkPattern(pattern, token);
      return { kind: 'regexp', pattern };
    }
    throw refusal(token, `${control} of this is not supported`);
  }

  function parsePlain(): Type {
    const token = tokens[at++];
    if (token.kind === 'number') return { kind: 'literal', value: Number(token.text) };
    if (token.kind === 'text') return { kind: 'literal', value: JSON.parse(token.text) };
    if (token.kind === 'name') {
      if (token.text === 'true' || token.text === 'false')
        return { kind: 'literal', value: token.text === 'true' };
      return { kind: 'name', name: token.text, line: token.line };
    }
    if (token.text === '(') {
      const type = parseType();
      take('mark', ')');
      return type;
    }
    if (token.text === '[') {
      const [from, to] = parseOccurrence();
      const type = parseType();
      take('mark', ']');
      return { kind: 'list', type, from, to };
    }
    if (token.text === '{') {
      const members: Member[] = [];
      while (!takeIf('}')) members.push(parseMember(members));
      return { kind: 'map', members };
    }
    throw refusal(token, `expected a type, got ${token.text}`);
  }

  function parseMember(before: readonly Member[]): Member {
    const first = tokens[at];
    const [from, to] = parseOccurrence();
    const key = tokens[at].kind === 'text' ? take('text') : take('name');
    const isTable = takeIf('=>');
    if (isTable ? key.text !== 'tstr' || from !== 0 || to !== -1 || before.length > 0 : to !== 1)
      throw refusal(first, 'expected name: type, ? name: type, or nothing but * tstr => type');
    if (!isTable) take('mark', ':');
    const type = parseType();
    if (!takeIf(',') && tokens[at].text !== '}')
      throw refusal(tokens[at], `expected , or }, got ${tokens[at].text}`);
    const name = isTable ? '*' : key.kind === 'text' ? (JSON.parse(key.text) as string) : key.text;
    // schema.ts looks members up with map[name], and marks optional ones with a question mark.
    if (
      name in {} ||
      /[?*]./.test(name) ||
      before.some(member => member.name === name || member.name === '*')
    )
      throw refusal(key, `${name} cannot be a key here`);
    const notes = readNotes([...first.above, ...tokens[at - 1].behind]);
    return { name, isOptional: from === 0, type, notes };
  }

  /** From and to; to is −1 where there is no bound. */
  function parseOccurrence(): [number, number] {
    if (takeIf('?')) return [0, 1];
    if (takeIf('+')) return [1, -1];
    const isBound = (index: number) => tokens[index].kind === 'number';
    if (!(isBound(at) && tokens[at + 1].text === '*') && tokens[at].text !== '*') return [1, 1];
    const from = isBound(at) ? Number(take('number').text) : 0;
    take('mark', '*');
    return [from, isBound(at) ? Number(take('number').text) : -1];
  }
}

function readNotes(comments: readonly string[]): Notes {
  const expected = comments.find(comment => comment.startsWith('expected: '))?.slice('expected: '.length);
  const doc = comments.filter(comment => !comment.startsWith('expected: ')).join(' ');
  const isClosed = /(^|[.] )closed$/.test(doc);
  return { doc: isClosed ? doc.slice(0, -'closed'.length).trim() : doc, expected, isClosed };
}

/** `matchesAll` trusts its patterns, so they are checked here; JavaScript must also accept them. */
function checkPattern(pattern: string, token: Token): void {
  const atom = /(\\[^A-Za-z0-9]|\[\^?([^\][\\^]|[^\][\\]-[^\][\\])+\]|[^\\[\](){}|?*+^$])/.source;
  const sequence = `(${atom}([?*+]|\\{[0-9]+(,[0-9]+)?\\})?)+`;
  const alternatives = `${sequence}([|]${sequence})*`;
  let rest = pattern;
  // A group is an atom too: from the innermost outwards.
  for (let before = ''; before !== rest; ) {
    before = rest;
    rest = rest.replace(new RegExp(`\\(${alternatives}\\)`), 'x');
  }
  if (!new RegExp(`^${alternatives}$`).test(rest))
    throw refusal(token, `a pattern beyond the portable subset: ${pattern}`);
  new RegExp(pattern);
}

function refusal(token: Token, what: string): Error {
  return new Error(`messages.cddl:${token.line}: ${what}`);
}

// ---- Writing ----

class Writer {
  private readonly rules: readonly Rule[];
  private readonly used: { [name: string]: boolean } = {};
  private usesAny = false;
  /** Each behind those it needs. */
  private readonly parts: { readonly name: string; readonly shape: string }[] = [];
  private readonly partState: { [name: string]: 'open' | 'done' } = {};
  /** Names of received.ts that messages.ts needs, while they are collected. */
  private shared: Set<string> | undefined;

  constructor(rules: readonly Rule[]) {
    this.rules = rules;
  }

  write(): { readonly messages: string; readonly received: string } {
    const types = this.rules.map(
      rule => `${docstring(rule.notes)}export type ${pascal(rule.name)} = ${this.typeOf(rule.type)};`,
    );
    const messages = this.rules.filter(rule => !this.used[rule.name]);
    for (const rule of messages)
      if (rule.type.kind !== 'map') throw new Error(`messages.cddl:${rule.line}: nothing uses ${rule.name}`);
    const received = messages.filter(({ name }) => receivedNames.includes(name));
    const receivedShapes = received.map(rule => this.shapeOfRule(rule));
    const receivedParts = this.parts.splice(0);
    const shared = new Set(received.map(rule => descriptorName(rule)));
    this.shared = shared;
    const members = messages.map(rule => ({
      name: JSON.stringify(rule.name),
      type: pascal(rule.name),
      shape: received.includes(rule) ? descriptorName(rule) : this.shapeOfRule(rule),
    }));
    this.shared = undefined;
    // A used rule that no message reached is part of a circle.
    for (const rule of this.rules) if (this.used[rule.name]) this.partNamed(rule);
    return {
      messages: [
        '/**',
        ' * Messages: their types, and what schema.ts validates them by. Agents import types alone from here.',
        ...headerEnd,
        ...(this.usesAny ? ["import type { CborValue } from './cbor.js';"] : []),
        ...importOf('', [...shared], './received.js'),
        "import type { Descriptor, Shape } from './schema.js';",
        '',
        'export type { Descriptor };',
        '',
        types.join('\n\n'),
        '',
        ...this.parts.map(({ name, shape }) => `const ${name}: Shape = ${shape};`),
        '',
        '/** One for each message, by its name in messages.cddl. */',
        'export const descriptors: {',
        ...members.map(({ name, type }) => `readonly ${name}: Descriptor<${type}>;`),
        '} = {',
        ...members.map(({ name, shape }) => `${name}: ${shape},`),
        '};',
        '',
      ].join('\n'),
      received: [
        '/**',
        ' * What schema.ts validates those messages by that an agent receives; messages.ts has all of them.',
        ...headerEnd,
        ...importOf(
          'type ',
          received.map(({ name }) => pascal(name)),
          './messages.js',
        ),
        "import type { Descriptor, Shape } from './schema.js';",
        '',
        ...receivedParts.map(
          ({ name, shape }) => `${shared.has(name) ? 'export ' : ''}const ${name}: Shape = ${shape};`,
        ),
        '',
        ...received.map(
          (rule, i) =>
            `export const ${descriptorName(rule)}: Descriptor<${pascal(rule.name)}> = ${receivedShapes[i]};`,
        ),
        '',
      ].join('\n'),
    };
  }

  private ruleNamed(type: { readonly name: string; readonly line: number }): Rule {
    const found = this.rules.find(rule => rule.name === type.name);
    if (!found) throw new Error(`messages.cddl:${type.line}: there is no rule ${type.name}`);
    return found;
  }

  private typeOf(type: Type): string {
    switch (type.kind) {
      case 'name': {
        const basic = prelude[type.name];
        if (basic) {
          if (type.name === 'any') this.usesAny = true;
          return basic[1];
        }
        this.used[this.ruleNamed(type).name] = true;
        return pascal(type.name);
      }
      case 'literal':
        return JSON.stringify(type.value);
      case 'range':
        return 'number';
      case 'size':
        return type.base === 'tstr' ? 'string' : 'Uint8Array';
      case 'regexp':
        return 'string';
      case 'choice':
        return type.types.map(alternative => this.typeOf(alternative)).join(' | ');
      case 'list':
        return `readonly (${this.typeOf(type.type)})[]`;
      case 'map': {
        const members = type.members.map(({ name, isOptional, type, notes }) => {
          const key = name === '*' ? '[key: string]' : `${JSON.stringify(name)}${isOptional ? '?' : ''}`;
          return `${docstring(notes)}readonly ${key}: ${this.typeOf(type)};`;
        });
        return `{\n${members.join('\n')}\n}`;
      }
    }
  }

  private shapeOfRule(rule: Rule): string {
    return this.shapeOf(rule.type, rule.notes);
  }

  private shapeOf(type: Type, notes?: Notes): string {
    const shape = this.plainShapeOf(type, notes?.isClosed ?? false);
    return notes?.expected === undefined ? shape : `['say', ${JSON.stringify(notes.expected)}, ${shape}]`;
  }

  private plainShapeOf(type: Type, isClosed: boolean): string {
    switch (type.kind) {
      case 'name':
        return prelude[type.name] ? `'${prelude[type.name]![0]}'` : this.partNamed(type);
      case 'literal':
        return JSON.stringify(['is', type.value]);
      case 'range':
        return JSON.stringify(['range', type.from, type.to]);
      case 'size':
        return JSON.stringify(['size', type.base, type.from, type.to]);
      case 'regexp':
        return JSON.stringify(['regexp', type.pattern]);
      case 'choice': {
        const literals = type.types.map(alternative =>
          alternative.kind === 'literal' ? [alternative.value] : [],
        );
        if (literals.every(literal => literal.length === 1))
          return JSON.stringify(['is', ...literals.flat()]);
        return `['one', ${type.types.map(alternative => this.shapeOf(alternative)).join(', ')}]`;
      }
      case 'list':
        return `['list', ${this.shapeOf(type.type)}, ${type.from}, ${type.to}]`;
      case 'map': {
        const members = type.members.map(({ name, isOptional, type, notes }) => {
          const mark = name !== '*' && isOptional ? '?' : '';
          return `, [${JSON.stringify(name + mark)}, ${this.shapeOf(type, notes)}]`;
        });
        return `['${isClosed ? 'closed' : 'open'}'${members.join('')}]`;
      }
    }
  }

  /** The name of the constant that holds a rule's shape, written before it is used. */
  private partNamed(type: { readonly name: string; readonly line: number }): string {
    const rule = this.ruleNamed(type);
    const name = camel(rule.name);
    if (this.partState[name] === 'open')
      throw new Error(`messages.cddl:${type.line}: ${rule.name} contains itself`);
    if (this.partState[name] === undefined) {
      this.partState[name] = 'open';
      this.parts.push({ name, shape: this.shapeOfRule(rule) });
      this.partState[name] = 'done';
    } else if (this.shared && !this.parts.some(part => part.name === name)) this.shared.add(name);
    return name;
  }
}

const headerEnd = [
  ' *',
  ' * Generated from messages.cddl by generate.ts (`npm run generate`): edit the former.',
  ' */',
  '',
];

function importOf(kind: '' | 'type ', names: readonly string[], from: string): string[] {
  // As the linter has them.
  const order = [...names].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return order.length > 0 ? [`import ${kind}{ ${order.join(', ')} } from '${from}';`] : [];
}

function descriptorName({ name }: Rule): string {
  return `${camel(name)}Descriptor`;
}

function docstring(notes: Notes): string {
  const text = notes.doc === '' ? notes.expected : notes.doc;
  if (text === undefined) return '';
  const sentence = /^ms\b/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return `/** ${sentence}${sentence.endsWith('.') ? '' : '.'} */\n`;
}

function camel(name: string): string {
  return name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

function pascal(name: string): string {
  return name.charAt(0).toUpperCase() + camel(name).slice(1);
}

function format(source: string): string {
  const biome = fileURLToPath(new URL('../../node_modules/.bin/biome', import.meta.url));
  return execFileSync(biome, ['format', '--stdin-file-path=agent/message/messages.ts'], {
    input: source,
    encoding: 'utf8',
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const read = readFileSync(new URL('messages.cddl', import.meta.url), 'utf8');
  const { messages, received } = generate(read);
  writeFileSync(new URL('messages.ts', import.meta.url), messages);
  writeFileSync(new URL('received.ts', import.meta.url), received);
}
