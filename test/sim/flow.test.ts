import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Priority } from '../../agent/kibbutz/path-selection.js';
import {
  Flow,
  type FlowOptions,
  FlowPath,
  type PathConditions,
  segmentBytes,
} from '../../host-sim/sim/flow.js';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { Radio, radioModels } from '../../host-sim/sim/radio.js';

const cell: PathConditions = { bitsPerSecond: 2e6, roundTripMs: 200, queueBytes: 65_536, loss: 0 };

interface Setup extends Partial<Omit<FlowOptions, 'kernel' | 'paths'>> {
  readonly seed?: number;
  readonly paths: readonly (Partial<PathConditions> & {
    readonly priority?: Priority;
    readonly radio?: Radio;
  })[];
}

function connect({ seed = 1, paths, bytes = Infinity, ...options }: Setup) {
  const kernel = new Kernel();
  const links = paths.map(({ priority: _, radio, ...conditions }, i) => {
    const all = { ...cell, ...conditions };
    return new FlowPath({ kernel, seed, name: `${i}`, conditions: all, ...(radio && { radio }) });
  });
  const flow = new Flow({
    ...options,
    kernel,
    bytes,
    paths: links.map((path, i) => ({ path, priority: paths[i].priority ?? 'normal' })),
  });
  return { kernel, links, flow };
}

/** Payload bits per second of a path over a while. */
function rateOf(conditions: Partial<PathConditions>, seed = 1, ms = 600_000): number {
  const { kernel, flow } = connect({ seed, paths: [conditions] });
  flow.pump();
  kernel.run(ms);
  return (flow.bytesByPath[0] * 8000) / ms;
}

/** Padhye et al., SIGCOMM 1998, formula 30, an acknowledgement a packet (b = 1); bits/s. */
function padhye(loss: number, roundTripMs: number, timeoutMs: number): number {
  const fast = roundTripMs * Math.sqrt((2 * loss) / 3);
  const slow = timeoutMs * Math.min(1, 3 * Math.sqrt((3 * loss) / 8)) * loss * (1 + 32 * loss * loss);
  return (segmentBytes * 8000) / (fast + slow);
}

test('the throughput at 0.1 to 5 % loss is that of Padhye’s formula within 10 %, and of Mathis’ where it holds', () => {
  // Where timeouts are five round trips long instead of two, it shows that Padhye has a loss take the rest of its
  // round along, and so more timeouts than independent losses cause: a third.
  for (const [roundTripMs, tolerance] of [
    [50, 0.35],
    [200, 0.1],
  ]) {
    for (const loss of [0.001, 0.002, 0.005, 0.01, 0.02, 0.05]) {
      for (let seed = 1; seed <= 3; seed++) {
        const rate = rateOf({ loss, roundTripMs, bitsPerSecond: 1e9 }, seed, 3_000_000);
        const off = rate / padhye(loss, roundTripMs, roundTripMs + 200) - 1;
        assert.ok(Math.abs(off) < tolerance, `${roundTripMs} ms, loss ${loss}, seed ${seed}: off by ${off}`);
        // Mathis et al., CCR 1997: no timeouts, so for small loss only.
        const mathis = ((segmentBytes * 8000) / roundTripMs) * Math.sqrt(1.5 / loss);
        if (loss <= 0.01) assert.ok(Math.abs(rate / mathis - 1) < 0.15, `Mathis: ${rate / mathis}`);
      }
    }
  }
});

test('without loss a link whose queue holds a round trip is full, and none carries more than its rate', () => {
  for (const bitsPerSecond of [0.5e6, 1.55e6, 2e6, 5e6]) {
    for (const roundTripMs of [50, 200, 400]) {
      const queueBytes = Math.max(20 * segmentBytes, (1.2 * bitsPerSecond * roundTripMs) / 8000);
      const used = rateOf({ bitsPerSecond, roundTripMs, queueBytes }) / bitsPerSecond;
      assert.ok(used > 0.98 && used <= 1.0001, `${bitsPerSecond} bit/s, ${roundTripMs} ms: ${used}`);
    }
  }
});

test('a small queue costs TCP some of the link, as its sawtooth says: between three quarters and all', () => {
  const used = rateOf({ bitsPerSecond: 20e6, queueBytes: 10 * segmentBytes }, 1, 3_000_000) / 20e6;
  assert.ok(used > 0.72 && used < 0.8, `${used}`);
});

test('a short download takes slow start’s round trips: 10 packets one half, 30 one and a half', () => {
  for (const [packets, roundTrips] of [
    [10, 0.5],
    [30, 1.5],
    [70, 2.5],
  ]) {
    const { kernel, flow } = connect({ paths: [{ bitsPerSecond: 1e9 }], bytes: packets * segmentBytes });
    flow.pump();
    kernel.run(10_000);
    const off = flow.finishedAt! - roundTrips * 200;
    assert.ok(off >= 0 && off < 2, `${packets}: ${flow.finishedAt}`);
  }
});

test('an idle radio is promoted first, once, and that is neither a timeout nor a round trip', () => {
  const radio = new Radio(radioModels['3g-seed'], 0);
  const bytes = 500_000;
  const up = connect({ paths: [{}], bytes });
  const promoted = connect({ paths: [{ radio }], bytes });
  for (const { kernel, flow } of [up, promoted]) {
    flow.pump();
    kernel.run(60_000);
  }
  assert.is(radio.promotions, 1);
  const { promotionMs } = radioModels['3g-seed'];
  assert.ok(Math.abs(promoted.flow.finishedAt! - up.flow.finishedAt! - promotionMs) < 0.001);
  const [ours, theirs] = [promoted.flow.state(0), up.flow.state(0)];
  assert.is(ours.timeouts, 0);
  assert.ok(
    Math.abs(ours.rtoMs - theirs.rtoMs) < 0.001 && Math.abs(ours.roundTripMs - theirs.roundTripMs) < 0.001,
  );
});

test('every byte arrives once, in order, by one path or the other, over lossy paths: 40 seeds', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const bytes = 100_000 + 1_013 * seed;
    const progress: [number, number][] = [];
    const { kernel, flow } = connect({
      seed,
      bytes,
      windowBytes: seed % 2 ? 20_000 : 1_000_000,
      paths: [{ loss: 0.1 }, { loss: 0.3, roundTripMs: 80 }],
      onProgress: (at, sofar) => progress.push([at, sofar]),
    });
    flow.pump();
    kernel.run(3_600_000);
    assert.is(flow.bytesByPath[0] + flow.bytesByPath[1], bytes, `seed ${seed}`);
    assert.is(progress.at(-1)![1], bytes, `seed ${seed}`);
    assert.is(progress.at(-1)![0], flow.finishedAt, `seed ${seed}`);
    for (let i = 1; i < progress.length; i++)
      assert.ok(progress[i][0] >= progress[i - 1][0] && progress[i][1] > progress[i - 1][1], `seed ${seed}`);
    assert.is(kernel.pending, 0, `seed ${seed}: events left over`);
  }
});

test('the same seed gives the same download, another one another', () => {
  const time = (seed: number) => {
    const { kernel, flow } = connect({ seed, bytes: 500_000, paths: [{ loss: 0.05 }, { loss: 0.02 }] });
    flow.pump();
    kernel.run(3_600_000);
    return flow.finishedAt;
  };
  assert.is(time(1), time(1));
  assert.is.not(time(1), time(2));
});

test('two paths alike add up; two flows on one path share it', () => {
  const both = connect({ paths: [{}, { bitsPerSecond: 1e6 }] });
  both.flow.pump();
  both.kernel.run(100_000);
  const [first, second] = both.flow.bytesByPath.map(bytes => (bytes * 8) / 100 / 1e6);
  assert.ok(first > 1.9 && first <= 2.0001 && second > 0.95 && second <= 1.0001, `${first} + ${second}`);

  const kernel = new Kernel();
  const path = new FlowPath({ kernel, seed: 1, name: 'shared', conditions: cell });
  const flows = [0, 1].map(
    () => new Flow({ kernel, bytes: Infinity, paths: [{ path, priority: 'normal' }] }),
  );
  for (const flow of flows) flow.pump();
  kernel.run(600_000);
  const shares = flows.map(flow => (flow.bytesByPath[0] * 8) / 600 / 2e6);
  assert.ok(shares[0] + shares[1] > 0.95 && shares[0] + shares[1] <= 1.0001, `${shares}`);
  assert.ok(Math.min(...shares) > 0.35, `${shares}`);
});

test('a backup path carries nothing until the normal one has timed out four times in a row, then all that is missing', () => {
  const { kernel, flow, links } = connect({ paths: [{}, { priority: 'backup' }] });
  flow.pump();
  kernel.run(10_000);
  links[0].setUp(false);
  const { rtoMs } = flow.state(0);
  const before = flow.bytesByPath[0];
  // Timeouts after 1, 2, 4 and 8 times the first one: 15 times in all.
  kernel.run(10_000 + 14.5 * rtoMs);
  assert.is(flow.state(0).timeouts, 3);
  assert.is(flow.bytesByPath[1], 0);
  kernel.run(10_000 + 15 * rtoMs + 1_000);
  assert.is(flow.state(0).timeouts, 4);
  assert.ok(flow.bytesByPath[1] > 0);
  assert.ok(flow.bytesByPath[0] - before < cell.queueBytes, 'what was under way');
  links[0].setUp(true);
  // The fifth timer is 16 times as long; then the path answers and has the data to itself again.
  kernel.run(10_000 + 32 * rtoMs + 1_000);
  const backup = flow.bytesByPath[1];
  kernel.run(60_000);
  assert.ok(flow.bytesByPath[1] - backup < 65_536, 'the backup path goes on');
});

test('what was under way on a path that falls silent is reinjected on the other after one timeout', () => {
  const { kernel, flow, links } = connect({ bytes: 2_000_000, paths: [{}, {}] });
  flow.pump();
  kernel.run(2_000);
  const { rtoMs } = flow.state(0);
  const before = flow.bytesByPath[0];
  links[0].setUp(false);
  kernel.run(60_000);
  const byOtherMs = ((2_000_000 - before) * 8) / 2_000;
  assert.ok(flow.finishedAt! < byOtherMs + rtoMs + 500, `${flow.finishedAt}`);
});

test('a backup path made normal is used at once, and made backup again it stops', () => {
  const { kernel, flow } = connect({ paths: [{}, { priority: 'backup' }] });
  flow.pump();
  kernel.run(5_000);
  assert.is(flow.bytesByPath[1], 0);
  flow.setPriority(1, 'normal');
  kernel.run(5_300);
  assert.ok(flow.bytesByPath[1] > 0);
  flow.setPriority(1, 'backup');
  kernel.run(6_000);
  const carried = flow.bytesByPath[1];
  kernel.run(20_000);
  assert.is(flow.bytesByPath[1], carried);
});

test('the timer backs off twofold to a ceiling, and one acknowledgement restores it (RFC 6298 §5)', () => {
  const { kernel, flow, links } = connect({ paths: [{}] });
  flow.pump();
  kernel.run(5_000);
  const { rtoMs } = flow.state(0);
  links[0].setUp(false);
  kernel.run(1_000_000);
  assert.is(flow.state(0).rtoMs, 60_000);
  assert.ok(flow.state(0).timeouts > 15 && flow.state(0).timeouts < 30);
  assert.is(flow.state(0).ssthreshBytes >= 2 * segmentBytes, true);
  links[0].setUp(true);
  kernel.run(1_070_000);
  assert.ok(flow.state(0).rtoMs < 2 * rtoMs, `${flow.state(0).rtoMs}`);
});

test('what a subflow tells of deliveries grows smoothly: within a round, not by rounds', () => {
  const { kernel, flow } = connect({ paths: [{}] });
  flow.pump();
  kernel.run(10_000);
  let before = flow.state(0).deliveredBytes;
  for (let now = 10_050; now <= 20_000; now += 50) {
    kernel.run(now);
    const { deliveredBytes } = flow.state(0);
    const share = (deliveredBytes - before) / (50 * 250);
    assert.ok(share > 0.85 && share < 1.15, `${now}: ${share}`);
    before = deliveredBytes;
  }
});

test('a value out of range is a programmer’s error that names the field', () => {
  assert.throws(() => connect({ paths: [{ loss: 1.1 }] }), 'loss: expected a probability 0..1, got 1.1');
  assert.throws(() => connect({ paths: [{ roundTripMs: 0 }] }), 'roundTripMs: expected more than 0, got 0');
  assert.throws(() => connect({ paths: [{ bitsPerSecond: 0 }] }), 'bitsPerSecond');
  assert.throws(() => connect({ paths: [{ queueBytes: -1 }] }), 'queueBytes');
  assert.throws(() => connect({ paths: [{}], bytes: 0 }), 'bytes');
  assert.throws(() => connect({ paths: [{}], windowBytes: 1 }), 'windowBytes');
  assert.throws(() => connect({ paths: [{}], failedAfterTimeouts: 0 }), 'failedAfterTimeouts');
});

test.run();
