import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { formatIpv4, Ipv4Pool, Ipv6PrefixPool, parseIpv4 } from '../../host-sim/bras/address-pool.js';
import { AttemptLimit, longestBlockMs } from '../../host-sim/bras/attempt-limit.js';

test('a pool gives each address of its ranges once, without the reserved and a network’s first and last', () => {
  const pool = new Ipv4Pool({ ranges: ['10.0.0.0/29', '192.0.2.7-192.0.2.8'], reserved: ['10.0.0.3'] });
  const given: string[] = [];
  for (let a = pool.allocate(); a !== undefined; a = pool.allocate()) given.push(formatIpv4(a));
  assert.equal(given, ['10.0.0.1', '10.0.0.2', '10.0.0.4', '10.0.0.5', '10.0.0.6', '192.0.2.7', '192.0.2.8']);
  assert.is(pool.free, 0);
  pool.release(parseIpv4('10.0.0.5', ''));
  pool.release(parseIpv4('10.0.0.5', ''));
  pool.release(parseIpv4('198.51.100.1', ''));
  assert.is(pool.free, 1);
  assert.is(formatIpv4(pool.allocate()!), '10.0.0.5');
});

test('random taking, asking for and giving back agrees with a set of free addresses', () => {
  const seed = 5;
  const random = new Random(seed, 'pool');
  const pool = new Ipv4Pool({ ranges: ['10.0.0.1-10.0.0.40'] });
  const first = parseIpv4('10.0.0.1', '');
  const free = new Set(Array.from({ length: 40 }, (_, i) => first + i));
  for (let i = 0; i < 20_000; i++) {
    const address = first + random.below(40);
    switch (random.below(3)) {
      case 0: {
        const got = pool.allocate();
        assert.is(got !== undefined, free.size > 0, `seed ${seed}, step ${i}`);
        if (got !== undefined)
          assert.ok(free.delete(got), `seed ${seed}, step ${i}: ${formatIpv4(got)} twice`);
        break;
      }
      case 1:
        assert.is(pool.take(address), free.delete(address), `seed ${seed}, step ${i}`);
        break;
      default:
        pool.release(address);
        free.add(address);
    }
    assert.is(pool.free, free.size);
  }
});

test('an address given back comes again as late as can be; a sticky pool gives a user his own', () => {
  const pool = new Ipv4Pool({ ranges: ['10.0.0.1-10.0.0.3'], sticky: true });
  const ada = pool.allocate('ada')!;
  pool.release(ada);
  assert.is.not(pool.allocate('bob'), ada);
  assert.is(pool.allocate('ada'), ada);
  pool.release(ada);
  pool.allocate('eve');
  // Only ada's own is left, and zoe takes it: it is ada's no more.
  assert.is(pool.allocate('zoe'), ada);
  pool.release(ada);
  assert.is(pool.allocate('ada'), ada);
  assert.is(pool.allocate('ada'), undefined);
});

test('prefixes are as long as asked, each once, and found again', () => {
  const pool = new Ipv6PrefixPool('2001:db8:0:fffe::/63');
  assert.equal(pool.allocate(), { high: 0x20010db8, low: 0xfffe });
  assert.equal(pool.allocate(), { high: 0x20010db8, low: 0xffff });
  assert.is(pool.allocate(), undefined);
  pool.release({ high: 0x20010db8, low: 0xffff });
  assert.is(pool.take({ high: 0x20010db8, low: 0xffff }), true);
  assert.is(pool.take({ high: 0x20010db8, low: 0xffff }), false);
  const wide = new Ipv6PrefixPool('2001:db0::/28', 48);
  for (let i = 0; i < 65536; i++) wide.allocate();
  assert.equal(wide.allocate(), { high: 0x20010db1, low: 0 });
});

test('a bad range is named with the form expected', () => {
  const rows: [ranges: string[], message: RegExp][] = [
    [['10.0.0.1'], /ranges\[0\]: expected such as 10\.1\.0\.0\/16 or .*got 10\.0\.0\.1$/],
    [['10.0.0.0/24', '10.0.0.1/24'], /ranges\[1\]: expected zeros behind bit 24/],
    [['10.0.0.0/24', '10.0.0.9-10.0.0.10'], /expected no overlap, got 10\.0\.0\.9/],
    [['10.0.0.9-10.0.0.1'], /last address behind the first/],
    [['10.0.0.0/4'], /prefix length 8\.\.32/],
    [['10.0.0.0/8'], /at most 1048576/],
    [['10.0.0.256-10.0.1.0'], /expected an IPv4 address/],
    [[], /expected 1\.\.64, got 0/],
  ];
  for (const [ranges, message] of rows) assert.throws(() => new Ipv4Pool({ ranges }), message);
  for (const prefix of [
    '2001:db8::',
    '2001:db8::1/64',
    '2001:db8:1::/33',
    '2001:db8::/40/1',
    '2001:db8::/65',
  ])
    assert.throws(() => new Ipv6PrefixPool(prefix), /prefix: expected/, prefix);
});

test('a guesser waits twice as long after each wrong password, up to a limit; a right one wipes the slate', () => {
  const limit = new AttemptLimit(2);
  let now = 0;
  for (let i = 0; i < 4; i++) limit.failed(now, 'ada');
  assert.is(limit.isBlocked(now, 'ada'), false);
  for (let wait = 1000; wait <= 2 * longestBlockMs; wait *= 2) {
    limit.failed(now, 'ada');
    const untilAt = now + Math.min(wait, longestBlockMs);
    assert.is(limit.isBlocked(untilAt - 1, 'ada'), true);
    assert.is(limit.isBlocked(untilAt, 'ada'), false);
    now = untilAt;
  }
  assert.is(limit.isBlocked(now - 1, 'bob'), false);
  limit.succeeded('ada');
  limit.failed(now, 'ada');
  assert.is(limit.isBlocked(now, 'ada'), false);
  // Bounded: the oldest is forgotten.
  limit.failed(now, 'bob');
  limit.failed(now, 'eve');
  assert.is(limit.size, 2);
});

test.run();
