import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeUtf8, digest, encodeUtf8, formatHex, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';

test('UTF-8 agrees with the platform for every code point and refuses what RFC 3629 forbids', () => {
  const platform = new TextEncoder();
  for (let code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 257) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const text = String.fromCodePoint(code);
    assert.equal([...encodeUtf8(text)], [...platform.encode(text)]);
    assert.is(decodeUtf8(encodeUtf8(text)), text);
  }
  assert.equal([...encodeUtf8('\ud800x')], [...platform.encode('\ud800x')]);
  const random = new Random(1, 'utf8');
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  for (let i = 0; i < 20_000; i++) {
    const bytes = new Uint8Array(random.below(6)).map(() =>
      random.chance(0.7) ? 0x80 + random.below(128) : random.below(256),
    );
    let expected: string | undefined;
    try {
      expected = strict.decode(bytes);
    } catch {
      expected = undefined;
    }
    assert.is(decodeUtf8(bytes), expected, formatHex(bytes));
  }
});

test('hex goes both ways and refuses odd lengths and other characters', () => {
  assert.is(formatHex(parseHex('00ff7aBC')!), '00ff7abc');
  for (const text of ['0', '0g', ' 0', '-1']) assert.is(parseHex(text), undefined, text);
});

test('digest is FNV-1a 32 (published vectors)', () => {
  assert.is(digest(encodeUtf8('')), '811c9dc5');
  assert.is(digest(encodeUtf8('a')), 'e40c292c');
  assert.is(digest(encodeUtf8('foobar')), 'bf9cf968');
});

test.run();
