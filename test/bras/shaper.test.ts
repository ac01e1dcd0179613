import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { type RateClassOptions, Shaper, type ShaperOptions } from '../../host-sim/bras/shaper.js';

const home: RateClassOptions = {
  name: 'home',
  bytesPerSecond: 100_000,
  burstBytes: 3_000,
  queueBytes: 50_000,
};

function shape(options: Partial<ShaperOptions>) {
  const sent: { now: number; row: number; length: number; first: number }[] = [];
  const note = (now: number, row: number, packet: Uint8Array, start = 0) =>
    void sent.push({ now, row, length: packet.length - start, first: packet[start] });
  const shaper = new Shaper({ classes: [home], memoryBytes: 1e6, headroomBytes: 30, ...options }, note);
  const offer = (now: number, row: number, length: number, rateClass = 0, first = 0) => {
    const packet = new Uint8Array(length).fill(first);
    if (shaper.offer(now, row, rateClass, packet, 0, length)) note(now, row, packet);
    // What waits must be a copy.
    packet.fill(0xa5);
  };
  const run = (untilAt: number) => {
    for (let at = shaper.pollAt(); at <= untilAt; at = shaper.pollAt()) shaper.poll(at);
  };
  const bytesOf = (row: number) =>
    sent.filter(one => one.row === row).reduce((sum, one) => sum + one.length, 0);
  return { shaper, sent, offer, run, bytesOf };
}

test('over any time a subscriber gets his rate and one burst, give or take a packet, in order', () => {
  const seed = 7;
  const random = new Random(seed, 'shaper');
  const { shaper, sent, offer, run } = shape({ classes: [{ ...home, queueBytes: 1e6 }] });
  let now = 0;
  for (let i = 0; i < 600; i++) {
    now += random.below(12);
    run(now);
    offer(now, 1, 40 + random.below(1400), 0, i % 251);
  }
  run(now + 1e6);
  assert.is(sent.length, 600);
  for (const [i, one] of sent.entries()) assert.is(one.first, i % 251, `seed ${seed}: order`);
  for (let from = 0; from < sent.length; from++) {
    let bytes = 0;
    for (let to = from; to < sent.length; to++) {
      bytes += sent[to].length;
      const most = 3_000 + (sent[to].now - sent[from].now) * 100 + 1_500;
      assert.ok(bytes <= most, `seed ${seed}: ${bytes} bytes in ${sent[to].now - sent[from].now} ms`);
    }
  }
  assert.is(shaper.waitingBytes, 0);
  assert.is(shaper.pollAt(), never);
});

test('a subscriber who always has something to send is sent for at his rate', () => {
  const { bytesOf, offer, run } = shape({});
  for (let now = 0; now <= 10_000; now += 5) {
    run(now);
    offer(now, 3, 1_000);
  }
  const rate = (bytesOf(3) - 3_000) / 10;
  assert.ok(Math.abs(rate - 100_000) < 1_000, `${rate} bytes/s`);
});

test('a queue is bounded by bytes, all queues by memory, and each drop is counted', () => {
  const { shaper, offer } = shape({ classes: [{ ...home, queueBytes: 2_500 }], memoryBytes: 6_000 });
  for (let i = 0; i < 10; i++) offer(0, 1, 1_000);
  // Three in the burst, two wait.
  assert.equal(shaper.counters.snapshot(), { passed: 3, delayed: 2, 'queue-full': 5 });
  for (const row of [2, 3, 4]) for (let i = 0; i < 5; i++) offer(0, row, 1_000);
  assert.is(shaper.counters.get('memory-full'), 2);
  assert.is(shaper.waitingBytes, 6_000);
  shaper.forget(2);
  shaper.forget(1);
  assert.is(shaper.waitingBytes, 2_000);
  assert.is(shaper.counters.get('forgotten'), 4);
});

test('where the class is the bottleneck its subscribers share it evenly in bytes, whatever the size of their packets', () => {
  const classes = [{ ...home, bytesPerSecond: 1e6, aggregateBytesPerSecond: 300_000 }];
  const { bytesOf, offer, run } = shape({ classes });
  for (let now = 0; now < 10_000; now += 2) {
    run(now);
    offer(now, 1, 1_400);
    offer(now, 2, 700);
    for (let i = 0; i < 4; i++) offer(now, 3, 200);
  }
  for (const row of [1, 2, 3]) {
    const share = bytesOf(row) / 1e6;
    assert.ok(Math.abs(share - 1) < 0.06, `subscriber ${row}: ${share} MB of 3 MB`);
  }
});

test('the port limits all classes together, and an idle class takes nothing from the others', () => {
  const classes = [home, { ...home, name: 'fast', bytesPerSecond: 1e6 }];
  const { sent, offer, run } = shape({ classes, portBytesPerSecond: 500_000 });
  for (let now = 0; now < 5_000; now++) {
    run(now);
    offer(now, 1, 1_000, 1);
  }
  const bytes = sent.filter(one => one.now < 5_000).reduce((sum, one) => sum + one.length, 0);
  assert.ok(Math.abs(bytes / 5 - 500_000) < 5_000, `${bytes / 5} bytes/s`);
});

test('who is within his rate is not held up by others beyond theirs', () => {
  const { sent, offer, run } = shape({});
  for (let now = 0; now < 2_000; now += 10) {
    run(now);
    offer(now, 1, 1_400);
    offer(now, 1, 1_400);
    offer(now, 2, 200, 0, now & 0xff);
  }
  assert.is(sent.filter(one => one.row === 2).length, 200);
  assert.ok(sent.filter(one => one.row === 2).every(one => (one.now & 0xff) === one.first));
});

test('without a limit nothing waits; a new session does not inherit the bucket of the row’s last one', () => {
  const free = shape({ classes: [{ ...home, bytesPerSecond: Infinity }] });
  for (let i = 0; i < 1_000; i++) free.offer(0, 1, 1_500);
  assert.is(free.sent.length, 1_000);
  const { shaper, sent, offer } = shape({});
  for (let i = 0; i < 5; i++) offer(0, 1, 1_000);
  shaper.forget(1);
  offer(0, 1, 1_000);
  assert.is(sent.length, 4);
});

test('an impossible class is named', () => {
  assert.throws(
    () => shape({ classes: [{ ...home, bytesPerSecond: 0 }] }),
    /class home: expected a rate above 0/,
  );
  assert.throws(() => shape({ classes: [] }), /classes: expected 1\.\.65536, got 0/);
  assert.throws(() => shape({ portBytesPerSecond: -1 }), /portBytesPerSecond: expected more than 0, got -1/);
});

test.run();
