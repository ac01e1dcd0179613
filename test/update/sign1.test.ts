import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, formatHex, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { emitSign1, longestSign1, parseSign1, signedBytes } from '../../agent/update/sign1.js';
import { verifyEs256 } from '../../host-sim/cli/firmware.js';

/** RFC 9052 Appendix C.2.1: a single ECDSA signature, by the key `11` of Appendix C.7.1. */
const published =
  'd28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4' +
  'd25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36';
const publishedKey =
  '04bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff' +
  '20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e';
const order = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551';

const hex = (text: string) => parseHex(text)!;

test('the example of RFC 9052 is read, and its signature is of what is signed here', () => {
  const read = parseSign1(hex(published));
  assert.ok(read.ok);
  const { payload, signature } = read.value;
  assert.is(Buffer.from(payload).toString(), 'This is the content.');
  assert.ok(verifyEs256(hex(publishedKey), signedBytes(payload), signature));
  for (const at of [0, 31, 32, 63]) {
    const other = signature.slice();
    other[at] ^= 1;
    assert.not(verifyEs256(hex(publishedKey), signedBytes(payload), other), `bit of byte ${at}`);
  }
  assert.not(verifyEs256(hex(publishedKey), signedBytes(payload.subarray(1)), signature));
});

test('what is emitted is the same message without tag and key name', () => {
  const read = parseSign1(hex(published));
  assert.ok(read.ok);
  const emitted = emitSign1(read.value.payload, read.value.signature);
  assert.is(formatHex(emitted), published.replace(/^d2/, '').replace('a104423131', 'a0'));
  assert.equal(parseSign1(emitted), read);
  assert.throws(() => emitSign1(emitted, new Uint8Array(63)), /signature: expected 64 bytes, got 63/);
});

test('what is no such message is refused with its reason', () => {
  const signature = `5840${'01'.repeat(64)}`;
  const message = (rest: string) => `8443a10126${rest}`;
  const cases: readonly (readonly [string, string])[] = [
    ['', 'not-sign1'],
    ['d1', 'not-sign1'],
    ['8343a10126', 'not-sign1'],
    ['8443a10127', 'not-es256'],
    ['8440', 'not-es256'],
    ['8444a1013901', 'not-es256'],
    [message('a10107'), 'unprotected-header'],
    [message('a1045840'), 'unprotected-header'],
    [message('a20440'), 'unprotected-header'],
    [message(`a0f6${signature}`), 'no-byte-string'],
    [message(`a0580100${signature}`), 'no-byte-string'],
    [message(`a059000100${signature}`), 'no-byte-string'],
    [message(`a05f4100ff${signature}`), 'no-byte-string'],
    [message('a04100583f'), 'no-byte-string'],
    [message(`a04100583f${'01'.repeat(63)}`), 'signature-length'],
    [message(`a04100${signature}00`), 'trailing-bytes'],
    [message(`a0410058${40}${'00'.repeat(32)}${'01'.repeat(32)}`), 'signature-range'],
    [message(`a0410058${40}${'01'.repeat(32)}${'00'.repeat(32)}`), 'signature-range'],
    [message(`a0410058${40}${order}${'01'.repeat(32)}`), 'signature-range'],
    [message(`a0410058${40}${'01'.repeat(32)}${'ff'.repeat(32)}`), 'signature-range'],
    ['00'.repeat(longestSign1 + 1), 'too-long'],
  ];
  for (const [text, reason] of cases) assert.equal(parseSign1(hex(text)), { ok: false, reason }, text);
  const almost = order.replace(/51$/, '50');
  assert.ok(parseSign1(hex(message(`a0410058${40}${almost}${almost}`))).ok, 'n − 1 is still in range');
});

test('no message cut short is read, and none that is damaged throws or yields what was not in it', () => {
  const whole = hex(published);
  for (let length = 0; length < whole.length; length++)
    assert.not(parseSign1(whole.subarray(0, length)).ok, `cut at ${length}`);
  const seed = 20_261;
  const random = new Random(seed, 'sign1');
  let readable = 0;
  for (let i = 0; i < 20_000; i++) {
    let bytes: Uint8Array = whole.slice();
    for (let damage = random.below(4); damage >= 0; damage--)
      bytes[random.below(bytes.length)] = random.below(256);
    if (random.chance(0.2)) bytes = concatBytes([bytes, bytes]).subarray(0, random.below(600));
    const read = parseSign1(bytes);
    if (!read.ok) continue;
    readable++;
    assert.ok(formatHex(bytes).includes(formatHex(read.value.payload)), `seed ${seed}, round ${i}`);
    assert.is(read.value.signature.length, 64);
  }
  assert.ok(readable > 1000, `${readable} of 20,000 were still messages`);
});

test.run();
