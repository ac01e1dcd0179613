/**
 * Rewrites a bundle into what Espruino (2v29) runs, where esbuild's own lowering ends: destructuring, default and rest
 * parameters, spread, and function declarations, which Espruino does not hoist, moved to the top of their block. The rest
 * (`?.`, `??=`, `**`, fields of classes) esbuild lowers afterwards, for the target es2015.
 *
 * Text for text, with `@babel/parser`: what is not rewritten stays as it is. Throws on what it cannot lower, naming it;
 * `faults` looks a finished bundle over. Arrays that are spread or taken apart must be arrays or typed arrays.
 */

type Node = import('@babel/types').Node;
type Fn = import('@babel/types').Function;

/** Goes before the bundle if it is used: all elements of all the lists, in one array. */
const helper =
  'function __all(lists){const all=[];for(let i=0;i<lists.length;i++)for(let k=0;k<lists[i].length;k++)all.push(lists[i][k]);return all;}\n';
/** Goes before the bundle if it is used: a copy of an object without some of its keys. */
const restHelper =
  'function __rest(from,without){const rest={};for(const key of Object.keys(from))if(without.indexOf(key)<0)rest[key]=from[key];return rest;}\n';

/** The parser is loaded when needed: esbuild and it are development dependencies, which a firmware build has. */
export async function lower(source: string): Promise<string> {
  const { parse } = await import('@babel/parser');
  return new Lowering(source).program(parse(source, { sourceType: 'script' }).program);
}

/** Gives another name to what a minifier called `of`, which is a keyword to Espruino everywhere. */
export async function renamed(bundle: string): Promise<string> {
  const { parse } = await import('@babel/parser');
  const places: number[] = [];
  visit(parse(bundle, { sourceType: 'script' }).program, (node, parent) => {
    if (isNamedOf(node, parent)) places.push(node.start as number);
  });
  if (places.length === 0) return bundle;
  let name = 'of_';
  while (bundle.includes(name)) name += '_';
  let text = '';
  let at = 0;
  for (const place of places) {
    text += bundle.slice(at, place) + name;
    at = place + 'of'.length;
  }
  return text + bundle.slice(at);
}

function isNamedOf(node: Node, parent: Node | undefined): boolean {
  if (node.type !== 'Identifier' || node.name !== 'of') return false;
  if (parent?.type === 'MemberExpression') return parent.computed || parent.object === node;
  if (parent?.type === 'ObjectProperty' || parent?.type === 'ObjectMethod' || parent?.type === 'ClassMethod')
    return parent.key !== node;
  return true;
}

/** What Espruino would reject, or run otherwise than meant, in a finished bundle; empty: nothing. */
export async function faults(bundle: string): Promise<string[]> {
  const found: string[] = [];
  for (let i = 0; i < bundle.length; i++)
    if (bundle.charCodeAt(i) > 126) found.push(`not ASCII at ${i}: ${bundle.slice(i, i + 20)}`);
  const { parse } = await import('@babel/parser');
  visit(parse(bundle, { sourceType: 'script' }).program, (node, parent) => {
    const what = isNamedOf(node, parent) ? 'a name that is a keyword' : faultOf(node);
    if (what) found.push(`${what}: ${bundle.slice(node.start ?? 0, (node.start ?? 0) + 60)}`);
  });
  return found;
}

const missingGlobals = new Set(
  'Map Set WeakMap WeakSet Symbol Proxy Reflect BigInt RangeError TextEncoder TextDecoder Buffer'.split(' '),
);
const missingMembers: { readonly [object: string]: readonly string[] } = {
  Array: ['from', 'of'],
  Object: ['freeze', 'hasOwn', 'getOwnPropertySymbols'],
  Number: ['isInteger', 'isSafeInteger', 'EPSILON'],
  Math: ['imul', 'trunc', 'clz32', 'hypot', 'fround'],
  Uint8Array: ['from', 'of'],
  String: ['raw'],
};

function faultOf(node: Node): string | undefined {
  switch (node.type) {
    case 'ObjectPattern':
    case 'ArrayPattern':
      return 'destructuring';
    case 'SpreadElement':
    case 'RestElement':
      return 'spread or rest';
    case 'AssignmentPattern':
      return 'default parameter';
    case 'OptionalMemberExpression':
    case 'OptionalCallExpression':
      return '?.';
    case 'ClassProperty':
    case 'ClassPrivateProperty':
    case 'PrivateName':
      return 'field of a class';
    case 'LabeledStatement':
      return 'label';
    case 'BigIntLiteral':
      return 'BigInt';
    case 'RegExpLiteral':
      // It is taken for itself, and matches nothing that was meant.
      return node.pattern.includes('?') ? '? in a regular expression' : undefined;
    case 'AssignmentExpression':
      return /^(\?\?|&&|\|\||\*\*)=$/.test(node.operator) ? node.operator : undefined;
    case 'BinaryExpression':
      return node.operator === '**' ? '**' : undefined;
    case 'CatchClause':
      return node.param ? undefined : 'catch without a name';
    case 'ObjectProperty':
    case 'ObjectMethod':
      return node.computed ? 'computed key' : undefined;
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
    case 'ClassMethod':
      return node.async || node.generator ? 'async or generator' : undefined;
    case 'Program':
    case 'BlockStatement': {
      const firstOther = node.body.findIndex(each => each.type !== 'FunctionDeclaration');
      const late = node.body.some((each, i) => each.type === 'FunctionDeclaration' && i > firstOther);
      return firstOther >= 0 && late ? 'function that must be hoisted' : undefined;
    }
    case 'SwitchCase':
      return node.consequent.some(each => each.type === 'FunctionDeclaration')
        ? 'function in a case'
        : undefined;
    case 'Identifier':
      return missingGlobals.has(node.name) ? `no ${node.name}` : undefined;
    case 'MemberExpression': {
      const { object, property } = node;
      if (object.type !== 'Identifier' || property.type !== 'Identifier' || node.computed) return undefined;
      return missingMembers[object.name]?.includes(property.name)
        ? `no ${object.name}.${property.name}`
        : undefined;
    }
    default:
      return undefined;
  }
}

class Lowering {
  private readonly source: string;
  private temporaries = 0;
  private usesAll = false;
  private usesRest = false;

  constructor(source: string) {
    this.source = source;
  }

  program(node: Node): string {
    const text = this.print(node);
    return (this.usesAll ? helper : '') + (this.usesRest ? restHelper : '') + text;
  }

  private print(node: Node): string {
    switch (node.type) {
      case 'Program':
      case 'BlockStatement':
        return this.hoisted(node);
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
      case 'ClassMethod':
      case 'ObjectMethod':
        return this.fn(node);
      case 'VariableDeclaration':
        if (!node.declarations.some(each => isPattern(each.id))) return this.plain(node);
        return `${node.kind} ${node.declarations
          .map(each =>
            isPattern(each.id) && each.init
              ? this.taken(each.id, this.print(each.init), each.init.type === 'Identifier')
              : this.print(each),
          )
          .join(', ')};`;
      case 'ForOfStatement':
        return this.forOf(node);
      case 'ArrayExpression':
        return node.elements.some(each => each?.type === 'SpreadElement')
          ? this.all(node.elements as Node[])
          : this.plain(node);
      case 'ObjectExpression':
        return node.properties.some(each => each.type === 'SpreadElement')
          ? this.assigned(node.properties)
          : this.plain(node);
      case 'CallExpression':
        return node.arguments.some(each => each.type === 'SpreadElement')
          ? this.applied(node.callee, node.arguments)
          : this.plain(node);
      case 'SpreadElement':
      case 'RestElement':
      case 'AssignmentPattern':
      case 'ObjectPattern':
      case 'ArrayPattern':
        throw new Error(`cannot lower: ${this.text(node)}`);
      default:
        return this.plain(node);
    }
  }

  /** The text of the node, its children printed. */
  private plain(node: Node): string {
    let text = '';
    let at = node.start as number;
    for (const child of childrenOf(node)) {
      text += this.source.slice(at, child.start as number) + this.print(child);
      at = child.end as number;
    }
    return text + this.source.slice(at, node.end as number);
  }

  private text(node: Node): string {
    return this.source.slice(
      node.start as number,
      Math.min(node.end as number, (node.start as number) + 120),
    );
  }

  /** `first`: statements before all others but functions. */
  private hoisted(
    node: Node & { type: 'Program' | 'BlockStatement' },
    first: readonly string[] = [],
  ): string {
    const isFunction = (each: Node) => each.type === 'FunctionDeclaration';
    const print = (each: Node) => this.print(each);
    const text = [
      ...node.directives.map(print),
      ...node.body.filter(isFunction).map(print),
      ...first,
      ...node.body.filter(each => !isFunction(each)).map(print),
    ].join('\n');
    return node.type === 'Program' ? text : `{\n${text}\n}`;
  }

  private fn(node: Fn): string {
    // An arrow has no arguments of its own.
    if (node.type === 'ArrowFunctionExpression' && node.params.some(each => each.type === 'RestElement'))
      throw new Error(`cannot lower: ${this.text(node)}`);
    const first: string[] = [];
    const names = node.params.map((param, i) => this.parameter(param as Node, i, first));
    const { body } = node;
    if (first.length === 0) return this.plain(node);
    const paramsAt = (node.params[0] as Node).start as number;
    const paramsEnd = (node.params[node.params.length - 1] as Node).end as number;
    const block =
      body.type === 'BlockStatement'
        ? this.hoisted(body, first)
        : `{${first.join('')}return (${this.print(body)});}`;
    let head = this.source.slice(node.start as number, paramsAt);
    let between = this.source.slice(paramsEnd, body.start as number);
    if ('key' in node && node.computed) throw new Error(`cannot lower: ${this.text(node)}`);
    // An arrow's parentheses around its body belong to neither.
    if (body.type !== 'BlockStatement') between = `${between.slice(0, between.indexOf('=>'))}=>`;
    if (!head.includes('(')) head += '(';
    if (!between.includes(')')) between = `)${between}`;
    const kept = names.filter(name => name !== '');
    return `${head}${kept.join(', ')}${between.replace(/^\s*,/, '')}${block}`;
  }

  private parameter(param: Node, at: number, first: string[]): string {
    if (param.type === 'Identifier') return param.name;
    if (param.type === 'RestElement') {
      this.usesAll = true;
      first.push(`const ${this.print(param.argument)}=__all([arguments]).slice(${at});`);
      return '';
    }
    if (param.type === 'AssignmentPattern') {
      const name = param.left.type === 'Identifier' ? param.left.name : this.temporary();
      first.push(`if(${name}===undefined)${name}=${this.print(param.right)};`);
      if (isPattern(param.left)) first.push(`const ${this.taken(param.left, name, true)};`);
      return name;
    }
    const name = this.temporary();
    first.push(`const ${this.taken(param, name, true)};`);
    return name;
  }

  /** Declarators that take `value` apart. */
  private taken(pattern: Node, value: string, isName: boolean): string {
    const declarators: string[] = [];
    const take = (target: Node | null, from: string) => {
      if (target === null) return;
      if (target.type === 'AssignmentPattern') {
        const name = target.left.type === 'Identifier' ? target.left.name : this.temporary();
        declarators.push(`${name}=${from}===undefined?${this.print(target.right)}:${from}`);
        if (isPattern(target.left)) takeAll(target.left, name);
      } else if (target.type === 'Identifier') declarators.push(`${target.name}=${from}`);
      else {
        const name = this.temporary();
        declarators.push(`${name}=${from}`);
        takeAll(target, name);
      }
    };
    const takeAll = (target: Node, name: string) => {
      if (target.type === 'ArrayPattern') {
        target.elements.forEach((element, i) => {
          if (element?.type === 'RestElement')
            declarators.push(`${this.print(element.argument)}=${name}.slice(${i})`);
          else take(element, `${name}[${i}]`);
        });
      } else if (target.type === 'ObjectPattern') {
        const keys: string[] = [];
        for (const property of target.properties) {
          if (property.type === 'RestElement') {
            this.usesRest = true;
            declarators.push(`${this.print(property.argument)}=__rest(${name},[${keys.join(',')}])`);
            continue;
          }
          const { key } = property;
          if (property.computed) throw new Error(`cannot lower: ${this.text(property)}`);
          keys.push(key.type === 'Identifier' ? `"${key.name}"` : this.text(key));
          take(
            property.value as Node,
            key.type === 'Identifier' ? `${name}.${key.name}` : `${name}[${this.text(key)}]`,
          );
        }
      } else throw new Error(`cannot lower: ${this.text(target)}`);
    };
    let name = value;
    if (!isName) {
      name = this.temporary();
      declarators.push(`${name}=${value}`);
    }
    takeAll(pattern, name);
    return declarators.length > 0 ? declarators.join(', ') : `${this.temporary()}=${value}`;
  }

  private forOf(node: Node & { type: 'ForOfStatement' }): string {
    const { left, right, body } = node;
    if (left.type !== 'VariableDeclaration' || !isPattern(left.declarations[0].id)) return this.plain(node);
    const name = this.temporary();
    const taken = this.taken(left.declarations[0].id, name, true);
    return `for (const ${name} of ${this.print(right)}) {const ${taken};${this.print(body)}}`;
  }

  private all(elements: readonly Node[]): string {
    this.usesAll = true;
    const lists: string[] = [];
    let single: string[] = [];
    for (const element of elements) {
      if (element.type !== 'SpreadElement') {
        single.push(this.print(element));
        continue;
      }
      if (single.length > 0) lists.push(`[${single.join(', ')}]`);
      single = [];
      lists.push(this.print(element.argument));
    }
    if (single.length > 0) lists.push(`[${single.join(', ')}]`);
    return `__all([${lists.join(', ')}])`;
  }

  private assigned(properties: readonly Node[]): string {
    const parts: string[] = [];
    let single: string[] = [];
    for (const property of properties) {
      if (property.type !== 'SpreadElement') {
        single.push(this.print(property));
        continue;
      }
      if (single.length > 0) parts.push(`{${single.join(', ')}}`);
      single = [];
      parts.push(this.print(property.argument));
    }
    if (single.length > 0) parts.push(`{${single.join(', ')}}`);
    return `Object.assign({}, ${parts.join(', ')})`;
  }

  private applied(callee: Node, args: readonly Node[]): string {
    const list = this.all(args);
    if (callee.type !== 'MemberExpression') return `${this.print(callee)}.apply(undefined, ${list})`;
    // Evaluated twice: only names and chains of them, which is all there is.
    if (!/^[\w.$]+$/.test(this.text(callee.object)))
      throw new Error(`cannot lower a spread into a call of ${this.text(callee)}`);
    return `${this.print(callee)}.apply(${this.print(callee.object)}, ${list})`;
  }

  private temporary(): string {
    return `__t${this.temporaries++}`;
  }
}

function isPattern(node: Node): boolean {
  return node.type === 'ObjectPattern' || node.type === 'ArrayPattern';
}

/** In the order of the text; one that is written once but stands for two things (`{ a }`) once. */
function childrenOf(node: Node): Node[] {
  const children: Node[] = [];
  for (const [key, value] of Object.entries(node)) {
    if (key === 'loc' || key === 'extra' || key.endsWith('Comments')) continue;
    for (const each of Array.isArray(value) ? value : [value])
      if (each && typeof each === 'object' && typeof (each as Node).start === 'number') children.push(each);
  }
  children.sort((a, b) => (a.start as number) - (b.start as number));
  return children.filter((each, i) => i === 0 || (each.start as number) >= (children[i - 1].end as number));
}

function visit(node: Node, hear: (node: Node, parent: Node | undefined) => void, parent?: Node): void {
  hear(node, parent);
  for (const child of childrenOf(node)) visit(child, hear, node);
}
