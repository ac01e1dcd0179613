/**
 * JSON (RFC 8259) as strict as elsewhere. Espruino's own JSON.parse (2v29) takes a comma behind the last element, single
 * quotes, comments, 0x10, 01, `-` for null, anything at all behind the value, and lets `__proto__` give a map what it does not
 * say; so a rule that is rejected everywhere else would be in force on such a board.
 *
 * Bounds: `mostDepth` levels, of which a rule has three; a key `__proto__` is refused.
 */

import type { CborValue } from '../../agent/message/cbor.js';

const mostDepth = 8;

/** `undefined` if it is none. */
export function parseJson(text: string): CborValue | undefined {
  let at = 0;
  const fail = (): never => {
    throw new Error('none');
  };
  /** What comes next beside white space; '' at the end. */
  const next = (): string => {
    while (at < text.length && ' \t\n\r'.indexOf(text.charAt(at)) >= 0) at++;
    return text.charAt(at);
  };
  const string = (): string => {
    const start = at;
    if (next() !== '"') fail();
    for (;;) {
      const char = text.charAt(++at);
      if (char < ' ' || (char === '\\' && '"\\/bfnrtu'.indexOf(text.charAt(++at)) < 0)) fail();
      if (char === '"') break;
    }
    // The escapes are right but for the digits of \u, which it looks at.
    return JSON.parse(text.slice(start, ++at));
  };
  const value = (depth: number): CborValue => {
    const first = next();
    if (first === '"') return string();
    if (first !== '{' && first !== '[') {
      const start = at;
      while (/[-+.\w]/.test(text.charAt(at))) at++;
      const word = text.slice(start, at);
      if (word === 'null') return null;
      if (word === 'true' || word === 'false') return word === 'true';
      // In steps, for Espruino's regular expressions know no `?`.
      const digits = word
        .replace(/[eE][-+]*\d+$/, '')
        .replace(/\.\d+$/, '')
        .replace(/^-/, '');
      const isNumber = /^\d+$/.test(digits) && !/^0\d/.test(digits) && !/[-+][-+]/.test(word);
      return isNumber ? Number(word) : fail();
    }
    const end = first === '{' ? '}' : ']';
    const list: CborValue[] = [];
    const map: { [key: string]: CborValue } = {};
    at++;
    if (next() === end) at++;
    else
      for (let mark = depth > mostDepth ? fail() : ','; mark !== end; mark = next(), at++) {
        if (mark !== ',') fail();
        if (first === '[') list.push(value(depth + 1));
        else {
          next();
          const key = string();
          if (next() !== ':' || key === '__proto__') fail();
          at++;
          map[key] = value(depth + 1);
        }
      }
    return first === '[' ? list : map;
  };
  try {
    const whole = value(1);
    return next() === '' && at === text.length ? whole : undefined;
  } catch (_) {
    return undefined;
  }
}
