/**
 * Schema: holds a decoded value against the descriptor of its message (generated into messages.ts from messages.cddl,
 * RFC 8610) and says what is wrong where, in words for the person who published it.
 *
 * Work is bounded by the value and the descriptor: descriptors cannot recurse, and text is matched without backtracking.
 */

import { utf8Length } from '../core/bytes.js';

/** The one fault reported: what `field` should have been, and what it was. */
export interface Problem {
  /** The path of the field at fault, such as `trigger.tcp.dstPort` or `jobs[2]`; empty: the whole message. */
  readonly field: string;
  readonly expected: string;
  /** A short rendering, at most 60 bytes of UTF-8. */
  readonly got: string;
}

/** How much of a key nobody described is repeated in a problem. */
const maxKeyBytes = 32;

export type Literal = string | number | boolean | null;

/** One type of CDDL as plain data, since it is carried by microcontrollers. */
export type Shape =
  /** `float` and `number` are any finite number: JavaScript cannot tell 1 from 1.0. */
  | 'any'
  | 'bool'
  | 'bstr'
  | 'int'
  | 'null'
  | 'number'
  | 'tstr'
  | 'uint'
  /** One of these values. */
  | readonly ['is', ...Literal[]]
  /** An integer from … to …, both included. */
  | readonly ['range', number, number]
  /** Text or bytes of from … to … bytes. */
  | readonly ['size', 'tstr' | 'bstr', number, number]
  /** Text that matches all of the pattern. */
  | readonly ['regexp', string]
  /** The shape, but the text says what was expected. */
  | readonly ['say', string, Shape]
  | readonly ['one', ...Shape[]]
  /** An array of from … to … of the shape; no upper bound: −1. */
  | readonly ['list', Shape, number, number]
  /** A map that may have other keys, or (closed) may not. */
  | readonly ['open' | 'closed', ...Member[]];

/** `name`, `name?` if it may be missing, or `*` for every other key. */
export type Member = readonly [string, Shape];

/** The shape of a message whose TypeScript type is T. */
export type Descriptor<T = unknown> = Shape & { readonly message?: T };

/** The first fault of `value`, or `undefined` if it is as described. Never throws, whatever the value. */
export function validate(descriptor: Shape, value: unknown): Problem | undefined {
  if (typeof descriptor === 'string')
    return isBasic(descriptor, value) ? undefined : mismatch(descriptor, value);
  switch (descriptor[0]) {
    case 'is':
      return descriptor.indexOf(value as Literal, 1) > 0 ? undefined : mismatch(descriptor, value);
    case 'range':
      return isBasic('int', value) && (value as number) >= descriptor[1] && (value as number) <= descriptor[2]
        ? undefined
        : mismatch(descriptor, value);
    case 'size': {
      if (!isBasic(descriptor[1], value)) return mismatch(descriptor, value);
      const length = typeof value === 'string' ? utf8Length(value) : (value as Uint8Array).length;
      return length >= descriptor[2] && length <= descriptor[3] ? undefined : mismatch(descriptor, value);
    }
    case 'regexp':
      return typeof value === 'string' && matchesAll(descriptor[1], value)
        ? undefined
        : mismatch(descriptor, value);
    case 'say': {
      const problem = validate(descriptor[2], value);
      return problem && problem.field === '' ? mismatch(descriptor, value) : problem;
    }
    case 'one':
      return validateChoice(descriptor, value);
    case 'list':
      return validateList(descriptor, value);
    default:
      return validateMap(descriptor, value);
  }
}

type MapShape = readonly ['open' | 'closed', ...Member[]];
type ListShape = readonly ['list', Shape, number, number];
type ChoiceShape = readonly ['one', ...Shape[]];

function validateList(shape: ListShape, value: unknown): Problem | undefined {
  if (!Array.isArray(value)) return mismatch(shape, value);
  if (value.length < shape[2] || (shape[3] >= 0 && value.length > shape[3])) return mismatch(shape, value);
  for (let i = 0; i < value.length; i++) {
    const problem = validate(shape[1], value[i]);
    if (problem) return below(`[${i}]`, problem);
  }
  return undefined;
}

function validateMap(shape: MapShape, value: unknown): Problem | undefined {
  if (!isMap(value)) return mismatch(shape, value);
  // Unknown keys first: a misspelt name explains itself better than the missing one.
  for (const key of Object.keys(value)) {
    if (value[key] === undefined || findMember(shape, key)) continue;
    const others = findMember(shape, '*');
    if (others) {
      const problem = validate(others[1], value[key]);
      if (problem) return below(shorten(key, maxKeyBytes), problem);
    } else if (shape[0] === 'closed') {
      return {
        field: shorten(key, maxKeyBytes),
        expected: `one of the fields ${fieldNames(shape)}`,
        got: 'an unknown field',
      };
    }
  }
  for (let i = 1; i < shape.length; i++) {
    const [name, type] = shape[i] as Member;
    if (name === '*') continue;
    const problem = validateMember(name, type, value);
    if (problem) return problem;
  }
  return undefined;
}

function validateMember(
  name: string,
  type: Shape,
  map: { readonly [key: string]: unknown },
): Problem | undefined {
  const plain = plainName(name);
  const value = map[plain];
  if (value === undefined && name !== plain) return undefined;
  const problem = validate(type, value);
  return problem && below(plain, problem);
}

/** The problem of the alternative that the value comes closest to, or what the alternatives are. */
function validateChoice(shape: ChoiceShape, value: unknown): Problem | undefined {
  let closest: Problem | undefined;
  let closestFit = 0;
  for (let i = 1; i < shape.length; i++) {
    const alternative = shape[i] as Shape;
    const problem = validate(alternative, value);
    if (!problem) return undefined;
    const fit = problem.field === '' ? 0 : 1 + countFits(alternative, value);
    if (fit > closestFit) {
      closest = problem;
      closestFit = fit;
    }
  }
  return closest ?? mismatch(shape, value);
}

/** How many members of a map shape the value has as they should be: a literal that tells alternatives apart counts too. */
function countFits(shape: Shape, value: unknown): number {
  if (shape[0] === 'say') return countFits(shape[2] as Shape, value);
  if ((shape[0] !== 'open' && shape[0] !== 'closed') || !isMap(value)) return 0;
  let fits = 0;
  for (let i = 1; i < shape.length; i++) {
    const [name, type] = shape[i] as Member;
    if (value[plainName(name)] !== undefined && !validateMember(name, type, value)) fits++;
  }
  return fits;
}

function isBasic(type: string, value: unknown): boolean {
  switch (type) {
    case 'any':
      return value !== undefined;
    case 'bool':
      return typeof value === 'boolean';
    case 'bstr':
      return value instanceof Uint8Array;
    case 'null':
      return value === null;
    case 'tstr':
      return typeof value === 'string';
    case 'number':
      return typeof value === 'number' && value - value === 0;
    default:
      return (
        typeof value === 'number' &&
        value % 1 === 0 &&
        value <= 9007199254740991 &&
        value >= (type === 'uint' ? 0 : -9007199254740991)
      );
  }
}

function isMap(value: unknown): value is { readonly [key: string]: unknown } {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

function findMember(shape: MapShape, key: string): Member | undefined {
  for (let i = 1; i < shape.length; i++)
    if (plainName((shape[i] as Member)[0]) === key) return shape[i] as Member;
  return undefined;
}

function plainName(name: string): string {
  return name.charAt(name.length - 1) === '?' ? name.slice(0, -1) : name;
}

function fieldNames(shape: MapShape): string {
  const names: string[] = [];
  for (let i = 1; i < shape.length; i++) names.push(plainName((shape[i] as Member)[0]));
  return names.join(', ');
}

/** The problem seen from the value around it. */
function below(step: string, problem: Problem): Problem {
  const rest = problem.field === '' || problem.field.charAt(0) === '[' ? problem.field : `.${problem.field}`;
  return { field: step + rest, expected: problem.expected, got: problem.got };
}

function mismatch(shape: Shape, value: unknown): Problem {
  return { field: '', expected: describe(shape), got: render(value) };
}

/** What a shape asks for, in words. */
function describe(shape: Shape): string {
  if (typeof shape === 'string') return basicWords[shape];
  switch (shape[0]) {
    case 'is':
      return joinWords(shape, literal => JSON.stringify(literal), ', ');
    case 'range':
      return `an integer ${shape[1]}..${shape[2]}`;
    case 'size':
      return `${basicWords[shape[1]]} of ${span(shape[2], shape[3])} bytes`;
    case 'regexp':
      return `text that matches ${shape[1]}`;
    case 'say':
      return shape[1];
    case 'one':
      return joinWords(shape, alternative => describe(alternative as Shape), ' or ');
    case 'list':
      if (shape[3] < 0) return shape[2] > 0 ? `an array of at least ${shape[2]}` : 'an array';
      return `an array of ${span(shape[2], shape[3])}`;
    default:
      return shape[0] === 'closed' ? `a map of ${fieldNames(shape)}` : 'a map';
  }
}

function span(from: number, to: number): string {
  return from === to ? `${from}` : `${from} to ${to}`;
}

const basicWords: { readonly [type: string]: string } = {
  any: 'a value',
  bool: 'true or false',
  bstr: 'a byte string',
  int: 'an integer',
  null: 'null',
  number: 'a number',
  tstr: 'text',
  uint: 'an integer from 0',
};

function joinWords(parts: readonly unknown[], word: (part: unknown) => string, separator: string): string {
  let text = '';
  for (let i = 1; i < parts.length; i++) text += (i > 1 ? separator : '') + word(parts[i]);
  return text;
}

/** A value for a person to recognise. */
function render(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return shorten(JSON.stringify(value.slice(0, 60)), 60);
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return `${value}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (!isMap(value)) return typeof value;
  const keys = Object.keys(value);
  if (keys.length === 0) return 'an empty map';
  return shorten(`a map of ${keys.slice(0, 8).join(', ')}`, 60);
}

/** At most `maxBytes` of UTF-8, so that a stranger's text cannot make the report of it too long. */
function shorten(text: string, maxBytes: number): string {
  if (text.length <= maxBytes && utf8Length(text) <= maxBytes) return text;
  let end = maxBytes - 3;
  while (utf8Length(text.slice(0, end)) > maxBytes - 3) end--;
  return `${text.slice(0, end)}...`;
}

// ---- Patterns ----

/** Text longer than this matches no pattern: the longest thing described by one is an IPv6 address. */
const maxPatternTextLength = 256;

interface Matcher {
  readonly pattern: string;
  readonly text: string;
  /** Where in the pattern. */
  at: number;
}

/**
 * Whether all of `text` matches: characters, `.`, `[a-z]`, `[^a-z]`, `(…|…)`, `?`, `*`, `+`, `{n}`, `{n,m}` and `\` before
 * punctuation, as XSD regular expressions and JavaScript agree on them. Not a RegExp, because Espruino's has no `{n}`, no
 * `?`, no repeated group and no `|` inside one. Follows all positions at once, so no text makes it backtrack.
 */
export function matchesAll(pattern: string, text: string): boolean {
  if (text.length > maxPatternTextLength) return false;
  return matchAlternatives({ pattern, text, at: 0 }, [0]).indexOf(text.length) >= 0;
}

/** Each function takes the positions in the text to go on from, moves behind its part of the pattern, and returns those reached. */
function matchAlternatives(matcher: Matcher, from: readonly number[]): number[] {
  const reached: number[] = [];
  for (;;) {
    let here = from;
    while (matcher.at < matcher.pattern.length && '|)'.indexOf(matcher.pattern.charAt(matcher.at)) < 0)
      here = matchRepeated(matcher, here);
    addAll(reached, here);
    if (matcher.pattern.charAt(matcher.at) !== '|') return reached;
    matcher.at++;
  }
}

function matchRepeated(matcher: Matcher, from: readonly number[]): number[] {
  const start = matcher.at;
  let here = matchAtom(matcher, from);
  let min = 1;
  let max = 1;
  const mark = matcher.pattern.charAt(matcher.at);
  if (mark === '?' || mark === '*' || mark === '+') {
    matcher.at++;
    min = mark === '+' ? 1 : 0;
    max = mark === '?' ? 1 : maxPatternTextLength;
  } else if (mark === '{') {
    const end = matcher.pattern.indexOf('}', matcher.at);
    const bounds = matcher.pattern.slice(matcher.at + 1, end).split(',');
    matcher.at = end + 1;
    min = Number(bounds[0]);
    max = Number(bounds[bounds.length - 1]);
  }
  const end = matcher.at;
  const reached: number[] = [];
  if (min === 0) addAll(reached, from);
  for (let count = 1; count <= max && here.length > 0; count++) {
    if (count >= min && !addAll(reached, here)) break;
    matcher.at = start;
    here = matchAtom(matcher, here);
  }
  matcher.at = end;
  return reached;
}

function matchAtom(matcher: Matcher, from: readonly number[]): number[] {
  const { pattern, text } = matcher;
  const first = pattern.charAt(matcher.at++);
  if (first === '(') {
    const reached = matchAlternatives(matcher, from);
    matcher.at++;
    return reached;
  }
  let start = matcher.at - 1;
  let end = matcher.at;
  if (first === '[') {
    start = end;
    end = pattern.indexOf(']', start);
    matcher.at = end + 1;
  } else if (first === '\\') {
    start = end;
    end = ++matcher.at;
  }
  const reached: number[] = [];
  for (const position of from) {
    if (position >= text.length) continue;
    const code = text.charCodeAt(position);
    const fits =
      first === '['
        ? isInClass(pattern, start, end, code)
        : first === '.' || pattern.charCodeAt(start) === code;
    if (fits) reached.push(position + 1);
  }
  return reached;
}

/** Whether `pattern[start, end)`, the inside of `[…]`, has the character. */
function isInClass(pattern: string, start: number, end: number, code: number): boolean {
  const isNegated = pattern.charAt(start) === '^';
  for (let i = isNegated ? start + 1 : start; i < end; i++) {
    const low = pattern.charCodeAt(i);
    let high = low;
    if (i + 2 < end && pattern.charAt(i + 1) === '-') {
      i += 2;
      high = pattern.charCodeAt(i);
    }
    if (code >= low && code <= high) return !isNegated;
  }
  return isNegated;
}

/** Adds to a list without repeating; false if nothing was new. */
function addAll(list: number[], more: readonly number[]): boolean {
  const before = list.length;
  for (const item of more) if (list.indexOf(item) < 0) list.push(item);
  return list.length > before;
}
