import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { Link, type LinkConditions } from '../../host-sim/sim/link.js';
import { join, Segment } from '../../host-sim/sim/segment.js';
import { PcapTap } from '../../host-sim/sim/tap.js';
import { needs } from '../support/needs.js';

/** A frame that carries a number. */
function numbered(number: number, length = 64): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
  new DataView(frame.buffer).setUint32(14, number);
  return frame;
}

function numberOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(14);
}

/** Sends `count` frames, one each ms, over a link; gives the link and what arrived when. */
function overLink(conditions: Partial<LinkConditions>, count: number, seed = 1) {
  const kernel = new Kernel();
  const link = new Link({ kernel, seed, name: 'test', conditions });
  const arrived: { readonly at: number; readonly number: number }[] = [];
  link.ends[1].attach({ receive: (at, frame) => arrived.push({ at, number: numberOf(frame) }) });
  const port = link.ends[0].attach({ receive: () => {} });
  const sender = { fire: (_now: number, number: number) => port.send(numbered(number)) };
  for (let i = 0; i < count; i++) kernel.schedule(i, sender, i);
  return { kernel, link, arrived };
}

test('every other port of a segment hears a frame once, and none can spoil another one’s copy', () => {
  const kernel = new Kernel();
  const segment = new Segment(kernel);
  const heard: number[] = [];
  const spoiler = {
    receive: (_now: number, frame: Uint8Array) => {
      heard.push(numberOf(frame));
      frame.fill(0xff);
    },
  };
  const port = segment.attach({ receive: () => assert.unreachable('heard its own frame') });
  for (let i = 0; i < 3; i++) segment.attach(spoiler);
  const frame = numbered(7);
  port.send(frame);
  frame.fill(0);
  kernel.run(1);
  assert.equal(heard, [7, 7, 7]);
});

test('a segment counts what it drops: too short, too long, detached, down', () => {
  const kernel = new Kernel();
  const segment = new Segment(kernel);
  let heard = 0;
  const listener = segment.attach({ receive: () => heard++ });
  const port = segment.attach({ receive: () => {} });
  port.send(new Uint8Array(13));
  port.send(new Uint8Array(1523));
  segment.up = false;
  port.send(numbered(1));
  segment.up = true;
  port.send(numbered(2));
  kernel.run(1);
  assert.is(heard, 1);
  listener.detach();
  port.send(numbered(3));
  port.detach();
  port.send(numbered(4));
  kernel.run(2);
  assert.is(heard, 1);
  assert.equal(segment.counters.snapshot(), {
    sent: 2,
    'too-short': 1,
    'too-long': 1,
    detached: 1,
    down: 1,
  });
});

test('a plain link delivers everything in order after its delay', () => {
  const { kernel, link, arrived } = overLink({ delayMs: 12.5 }, 100);
  kernel.run(1000);
  assert.equal(
    arrived,
    [...Array(100).keys()].map(number => ({ at: number + 12.5, number })),
  );
  assert.equal(link.counters.snapshot(), { sent: 100, delivered: 100 });
});

test('jitter spreads the delay evenly over its range but keeps the order', () => {
  const { kernel, arrived } = overLink({ delayMs: 2, jitterMs: 0.9 }, 10_000);
  kernel.run(20_000);
  assert.is(arrived.length, 10_000);
  const delays = arrived.map(({ at, number }) => at - number);
  const mean = delays.reduce((sum, delay) => sum + delay, 0) / delays.length;
  assert.ok(Math.abs(mean - 2.45) < 0.02, `mean ${mean}`);
  assert.ok(Math.min(...delays) >= 2 && Math.max(...delays) <= 2.9 + 1e-9);
  const wild = overLink({ jitterMs: 50 }, 2000);
  wild.kernel.run(20_000);
  assert.equal(
    wild.arrived.map(({ number }) => number),
    [...Array(2000).keys()],
  );
});

test('loss and duplication come at their rates, and every frame is accounted for', () => {
  const { kernel, link, arrived } = overLink({ loss: 0.1, duplication: 0.05 }, 20_000);
  kernel.run(30_000);
  const { sent, delivered, lost, duplicated } = link.counters.snapshot();
  assert.is(sent + duplicated, delivered + lost);
  assert.is(arrived.length, delivered);
  // Four standard deviations of the binomial distribution.
  assert.ok(Math.abs(lost - 2000) < 170, `lost ${lost}`);
  assert.ok(Math.abs(duplicated - 900) < 120, `duplicated ${duplicated}`);
});

test('reordered frames arrive late by the hold-back, and only they are out of order', () => {
  const { kernel, link, arrived } = overLink({ delayMs: 1, reordering: 0.02, reorderMs: 7.5 }, 10_000);
  kernel.run(20_000);
  const late = arrived.filter(({ at, number }) => at - number > 1);
  assert.is(late.length, link.counters.get('reordered'));
  assert.ok(Math.abs(late.length - 200) < 60, `${late.length}`);
  assert.ok(late.every(({ at, number }) => at - number === 8.5));
  assert.is.not(
    arrived.findIndex(({ number }, i) => i > 0 && number < arrived[i - 1].number),
    -1,
  );
});

test('a rate limit paces the frames, and a full queue drops and counts', () => {
  // 64 bytes each ms are 512 kbit/s; the link carries half of it.
  const { kernel, link, arrived } = overLink({ delayMs: 0, bitsPerSecond: 256_000, queueBytes: 640 }, 1000);
  kernel.run(5000);
  const { sent, delivered, 'queue-full': full } = link.counters.snapshot();
  assert.is(sent, delivered + full);
  assert.ok(Math.abs(delivered - 505) < 5, `delivered ${delivered}`);
  for (let i = 1; i < arrived.length; i++) assert.ok(arrived[i].at - arrived[i - 1].at >= 2 - 1e-9);
  // Ten frames wait at most: 20 ms, and 2 ms for its own.
  assert.ok(arrived.every(({ at, number }) => at - number <= 22 + 1e-9));
});

test('a partition loses exactly what is sent or under way while it lasts', () => {
  const { kernel, link, arrived } = overLink({ delayMs: 2.5 }, 1000);
  link.partition(99.75, 199.75);
  kernel.run(2000);
  const missing = [...Array(1000).keys()].filter(n => !arrived.some(({ number }) => number === n));
  // 98 and 99 are under way at 99.75; 100 to 199 are sent while it is down.
  assert.equal([missing[0], missing.at(-1), missing.length], [98, 199, 102]);
  assert.is(link.counters.get('down'), 102);
});

test('the same seed gives the same losses, another seed others', () => {
  const run = (seed: number) => {
    const { kernel, arrived } = overLink({ loss: 0.5 }, 200, seed);
    kernel.run(1000);
    return arrived.map(({ number }) => number).join();
  };
  assert.is(run(1), run(1));
  assert.is.not(run(1), run(2));
});

test('conditions out of range are refused by name', () => {
  const link = (conditions: Partial<LinkConditions>) => () =>
    new Link({ kernel: new Kernel(), seed: 1, name: 'x', conditions });
  assert.throws(link({ loss: 1.5 }), 'loss: expected a probability 0..1, got 1.5');
  assert.throws(link({ delayMs: -1 }), 'delayMs: expected a number from 0, got -1');
  assert.throws(link({ bitsPerSecond: 0 }), 'bitsPerSecond: expected more than 0, got 0');
});

test('two segments joined by a link hear each other’s frames once', () => {
  const kernel = new Kernel();
  const [house, shed] = [new Segment(kernel), new Segment(kernel)];
  const link = new Link({ kernel, seed: 1, name: 'cable' });
  join(house, link.ends[0]);
  join(shed, link.ends[1]);
  const heard: string[] = [];
  house.attach({ receive: (_now, frame) => heard.push(`house ${numberOf(frame)}`) });
  shed.attach({ receive: (_now, frame) => heard.push(`shed ${numberOf(frame)}`) });
  house.attach({ receive: () => {} }).send(numbered(1));
  shed.attach({ receive: () => {} }).send(numbered(2));
  kernel.run(100);
  assert.equal(heard.sort(), ['house 1', 'house 2', 'shed 1', 'shed 2']);
});

test('a tap of a segment and a link is a capture that tshark reads, with the times of the simulation', () => {
  if (!needs('tshark', 'tshark')) return;
  const kernel = new Kernel();
  const segment = new Segment(kernel);
  const link = new Link({ kernel, seed: 1, name: 'tapped', conditions: { delayMs: 1.25 } });
  join(segment, link.ends[0]);
  link.ends[1].attach({ receive: () => {} });
  const [atSegment, atLink] = [new PcapTap(), new PcapTap()];
  segment.addTap(atSegment);
  link.addTap(atLink);
  const port = segment.attach({ receive: () => {} });
  for (const at of [0, 0.5, 61_234.567])
    kernel.schedule(at, { fire: () => port.send(numbered(1)) }, undefined);
  kernel.run(100_000);
  assert.equal(times(atSegment), ['0.000000000', '0.000500000', '61.234567000']);
  // 12 µs through the switch, 1.25 ms over the link.
  assert.equal(times(atLink), ['0.001262000', '0.001762000', '61.235829000']);
});

test('a full tap keeps what it has and counts the rest', () => {
  const tap = new PcapTap(24 + 16 + 64 + 10);
  tap.capture(0, numbered(1));
  tap.capture(1, numbered(2));
  assert.is(tap.dropped, 1);
  assert.is(tap.bytes().length, 24 + 16 + 64);
});

function times(tap: PcapTap): string[] {
  const folder = mkdtempSync(joinPath(tmpdir(), 'kith-tap-'));
  try {
    const file = joinPath(folder, 'tap.pcap');
    writeFileSync(file, tap.bytes());
    const args = ['-r', file, '-T', 'fields', '-e', 'frame.time_epoch'];
    return execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .trim()
      .split('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test.run();
