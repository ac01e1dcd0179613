import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import {
  aeadNonce,
  type Freshness,
  NonceCounter,
  NonceReserve,
  ReplayWindow,
  readNonce,
  writeNonce,
} from '../../agent/kibbutz/nonce.js';

const largest = Number.MAX_SAFE_INTEGER;

test('a nonce is 8 bytes in network order, and 2^53 or more is none', () => {
  for (const [nonce, expected] of [
    [1, '0000000000000001'],
    [0xffffffff, '00000000ffffffff'],
    [0x100000000, '0000000100000000'],
    [largest, '001fffffffffffff'],
  ] as const) {
    const bytes = new Uint8Array(10).fill(0xa5);
    assert.is(writeNonce(bytes, 1, nonce), 9);
    assert.is(formatHex(bytes), `a5${expected}a5`);
    assert.is(readNonce(bytes, 1), nonce);
  }
  assert.is(readNonce(new Uint8Array([0, 0x20, 0, 0, 0, 0, 0, 0]), 0), 0);
  assert.is(readNonce(new Uint8Array(8).fill(0xff), 0), 0);
  assert.is(formatHex(aeadNonce(0x01020304, 0x50000000000)), '010203040000050000000000');
});

test('no nonce comes twice over a hundred restarts at random moments, whatever keys share the reserve', () => {
  const seed = 7;
  const random = new Random(seed, 'restarts');
  let saved = 0;
  const seen = [new Set<number>(), new Set<number>(), new Set<number>()];
  const last = [0, 0, 0];
  for (let boot = 0; boot < 100; boot++) {
    const reserve = new NonceReserve({
      savedThrough: saved,
      block: 16,
      save: through => {
        assert.ok(through > saved, `seed ${seed}`);
        saved = through;
        return true;
      },
    });
    const counters = seen.map(() => new NonceCounter(reserve));
    for (let left = random.below(60); left > 0; left--) {
      const key = random.below(3);
      const nonce = counters[key].next()!;
      assert.ok(nonce > last[key] && !seen[key].has(nonce), `seed ${seed}: ${nonce} again`);
      assert.ok(nonce <= saved, 'saved before it is handed out');
      last[key] = nonce;
      seen[key].add(nonce);
    }
  }
});

test('a store that refuses stops the counter, and lets it go on where it was', () => {
  let works = false;
  const reserve = new NonceReserve({ savedThrough: 5, block: 2, save: () => works });
  const counter = new NonceCounter(reserve);
  assert.is(counter.next(), undefined);
  works = true;
  assert.is(counter.next(), 6);
  assert.is(counter.next(), 7);
  works = false;
  assert.is(counter.next(), undefined);
  works = true;
  assert.is(counter.next(), 8);
});

test('the counter ends below 2^53 instead of losing count', () => {
  const reserve = new NonceReserve({ savedThrough: largest - 2, block: 1, save: () => true });
  const counter = new NonceCounter(reserve);
  assert.is(counter.next(), largest - 1);
  assert.is(counter.next(), largest);
  assert.is(counter.next(), undefined);
  assert.throws(() => new NonceReserve({ savedThrough: -1, save: () => true }), /savedThrough: expected/);
  assert.throws(() => new NonceReserve({ savedThrough: 0, block: 0, save: () => true }), /block: expected/);
});

test('the window agrees with a list of everything seen, around small and large numbers', () => {
  for (const size of [32, 64, 1024]) {
    for (const base of [0, 2 ** 31 - 40, 2 ** 32 - 40, 2 ** 52]) {
      const seed = size + base;
      const random = new Random(seed, 'window');
      const window = new ReplayWindow(size, base);
      const seen = new Set<number>();
      let highest = base;
      const naive = (nonce: number): Freshness =>
        nonce > highest
          ? 'fresh'
          : nonce <= highest - size
            ? 'too-old'
            : seen.has(nonce) || nonce <= base
              ? 'replayed'
              : 'fresh';
      for (let i = 0; i < 4000; i++) {
        const jump = random.chance(0.01) ? random.below(3 * size) : random.below(8);
        const nonce = random.chance(0.5) ? highest + jump : Math.max(1, highest - random.below(size + 10));
        assert.is(window.judge(nonce), naive(nonce), `seed ${seed}, step ${i}`);
        if (naive(nonce) !== 'fresh' || random.chance(0.1)) continue;
        window.mark(nonce);
        seen.add(nonce);
        highest = Math.max(highest, nonce);
        assert.is(window.seenThrough, highest);
      }
    }
  }
  assert.throws(() => new ReplayWindow(48), /size: expected a power of two/);
});

test('a window made anew from the highest number refuses all that the old one accepted', () => {
  const window = new ReplayWindow(64);
  for (const nonce of [1, 5, 3, 9]) window.mark(nonce);
  const restored = new ReplayWindow(64, window.seenThrough);
  for (let nonce = 1; nonce <= 9; nonce++) assert.is(restored.judge(nonce), 'replayed');
  assert.is(restored.judge(10), 'fresh');
});

test.run();
