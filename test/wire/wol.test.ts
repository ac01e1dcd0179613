import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes } from '../../agent/core/bytes.js';
import {
  emitWakeOnLan,
  parseWakeOnLan,
  type WakeOnLan,
  wakeOnLanEtherType,
  wakeOnLanLength,
  wakeOnLanPort,
} from '../../agent/wire/wol.js';
import { checkMirror, checkMutations, sizedCodec } from './mutations.js';
import { bytesOf, checkCodec, refusal } from './vectors.js';

const codec = sizedCodec<WakeOnLan>(parseWakeOnLan, wakeOnLanLength, emitWakeOnLan);
const none = new Uint8Array(0);
/** The example of AMD's paper, though a station's address would be even. */
const targetMac = bytesOf('112233445566');
const magic = bytesOf(`ffffffffffff ${'112233445566'.repeat(16)}`);

test('a magic packet without and with SecureOn passwords goes both ways (AMD 20213)', () => {
  assert.equal(checkCodec(codec, magic), { targetMac, password: none });
  for (const password of [bytesOf('c0a80001'), bytesOf('0a0b0c0d0e0f')]) {
    // Cut by some bytes it is still a magic packet, with another password or none.
    assert.equal(checkCodec(codec, concatBytes([magic, password]), magic.length), { targetMac, password });
  }
  assert.equal([wakeOnLanEtherType, wakeOnLanPort], [0x0842, 9]);
});

test('the pattern is found anywhere in the payload, also behind a longer run of ff', () => {
  for (const before of ['', '00', 'ff', 'ffffffffff', 'ffffffffffff112233445566', '00'.repeat(500)]) {
    for (const after of ['', '00', '000000', '0000000000', '00'.repeat(7)]) {
      const bytes = concatBytes([bytesOf(before), magic, bytesOf(after)]);
      assert.equal(parseWakeOnLan(bytes, 0, bytes.length), {
        ok: true,
        value: { targetMac, password: none },
      });
    }
  }
});

test('what is short, interrupted, or nothing but ff is refused', () => {
  assert.is(refusal(codec, magic.subarray(1)), 'truncated');
  assert.is(refusal(codec, concatBytes([magic.subarray(1), none, bytesOf('00')])), 'bad-magic');
  for (let at = 0; at < magic.length; at++) {
    const broken = new Uint8Array(magic);
    broken[at] ^= 4;
    assert.is(refusal(codec, broken), 'bad-magic', `byte ${at}`);
  }
  assert.is(refusal(codec, bytesOf('ff'.repeat(1400))), 'bad-magic');
});

test('emit refuses broadcast and MACs or passwords of other sizes', () => {
  const out = new Uint8Array(120);
  assert.throws(
    () => emitWakeOnLan({ targetMac: bytesOf('ffffffffffff'), password: none }, out, 0),
    /targetMac: expected/,
  );
  assert.throws(
    () => emitWakeOnLan({ targetMac: bytesOf('1122334455'), password: none }, out, 0),
    /targetMac: expected/,
  );
  assert.throws(
    () => emitWakeOnLan({ targetMac, password: bytesOf('0102') }, out, 0),
    /password: expected 0, 4 or 6 bytes, got 2/,
  );
});

test('no mutation throws, and whatever parses mirrors', () => {
  checkMirror(codec, { targetMac, password: none });
  checkMutations(codec, [magic, concatBytes([bytesOf('ffff'), magic, bytesOf('01020304')])], 1, 2000);
});

test.run();
