/** Ranges of simulated kibbutzim, their totals, the threads they run on, and downloads among them. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { download, neighbourLike } from '../../host-sim/scenario/kibbutz/downloads.js';
import {
  addTotals,
  type DeviceTotals,
  emptyTotals,
  jainIndexOf,
  runKibbutzim,
  type Totals,
} from '../../host-sim/scenario/kibbutz/run.js';
import { type KibbutzScenario, parseScenario } from '../../host-sim/scenario/kibbutz/scenario-file.js';
import { runOnWorkers } from '../../host-sim/scenario/kibbutz/workers.js';
import { radioModels } from '../../host-sim/sim/radio.js';

const minute = 60_000;
const trace = 'timeMs,bytes,direction\n0,500,up\n2500,6000,down\n30000,100,up\n';

function scenario(text: object): KibbutzScenario {
  return parseScenario('test.json', JSON.stringify(text), () => trace);
}

/** Every kind of application, and most of what can happen to a device. */
const everything = scenario({
  duration: '5m',
  kibbutzim: 30,
  radio: '3g-seed',
  local: 'bluetooth',
  devices: [
    { app: 'streaming', blackouts: [{ from: '1m', to: '2m' }] },
    { app: 'web', loss: 0.05 },
    { app: 'background', leaveAt: '4m' },
    { app: { trace: 'train.csv' }, joinAt: '30s' },
    { app: { download: 1_000_000 }, joinAt: '1m' },
  ],
});

function sum(totals: Totals, field: keyof DeviceTotals): number {
  return totals.devices.reduce((total, devices) => total + devices[field], 0);
}

test('however a range is split, and in whatever order its pieces are added, the totals are the same to the byte', () => {
  const whole = JSON.stringify(runKibbutzim(everything, 0, 6));
  const piece = (from: number, to: number) => runKibbutzim(everything, from, to);
  const pieces = [piece(4, 6), piece(0, 1), piece(1, 4)].reduce(addTotals, emptyTotals(5));
  assert.is(JSON.stringify(pieces), whole);
  const others = addTotals(piece(0, 5), piece(5, 6));
  assert.is(JSON.stringify(others), whole);
});

test('the digest tells a kibbutz that is missing, counted twice, or counted under another’s number', () => {
  const parts = [0, 1, 2].map(number => runKibbutzim(everything, number, number + 1));
  const [a, b, c] = parts;
  const right = runKibbutzim(everything, 0, 3).digest;
  const digest = (...some: Totals[]) => some.reduce(addTotals, emptyTotals(5)).digest;
  assert.is(digest(c, a, b), right);
  for (const wrong of [digest(a, b), digest(a, b, b), digest(a, a, c), digest(a, b, c, c), digest(b, b, b)])
    assert.is.not(wrong, right);
  assert.is.not(digest(a, a), digest(b, b), 'nor do pairs cancel each other');
});

test('another seed, policy or number gives other results; the same gives the same', () => {
  const digests = [
    runKibbutzim(everything, 0, 1),
    runKibbutzim(everything, 1, 2),
    runKibbutzim({ ...everything, seed: 2 }, 0, 1),
    // Differs from seed 1 above the lower 32 bits only.
    runKibbutzim({ ...everything, seed: 2 ** 32 + 1 }, 0, 1),
    runKibbutzim({ ...everything, policy: 'kith' }, 0, 1),
  ].map(({ digest }) => digest);
  assert.is(new Set(digests).size, digests.length);
  assert.is(runKibbutzim(everything, 0, 1).digest, digests[0]);
});

test('on the perfect link every byte taken was given by somebody, and every request has an end', () => {
  for (const policy of ['paper', 'kith'] as const) {
    const totals = runKibbutzim(
      scenario({
        duration: '20m',
        policy,
        devices: [{ app: 'streaming' }, { app: 'web', count: 2 }, { app: { download: 5_000_000 } }],
      }),
      0,
      5,
    );
    assert.ok(sum(totals, 'takenBytes') > 0);
    assert.is(sum(totals, 'takenBytes'), sum(totals, 'givenBytes'), policy);
    assert.is(sum(totals, 'requests'), sum(totals, 'answered') + sum(totals, 'unsent'), policy);
    assert.equal([sum(totals, 'devices'), sum(totals, 'presentMs')], [20, 20 * 20 * minute]);
  }
});

test('a trace is replayed from when its device joins, as far as the time goes', () => {
  const requests = (more: object) =>
    runKibbutzim(scenario({ duration: '1m', devices: [{ app: { trace: 't.csv' }, ...more }] }), 0, 1)
      .devices[0].requests;
  assert.is(requests({}), 3);
  assert.is(requests({ joinAt: '45s' }), 2);
});

test('a download without neighbours takes as long as the paper’s experiment over the direct path', () => {
  const bytes = 2_000_000;
  const totals = runKibbutzim(scenario({ radio: '3g-seed', devices: [{ app: { download: bytes } }] }), 0, 1);
  const radio = radioModels['3g-seed'];
  const alone = download({ seed: 1, bytes, policy: 'direct', neighbour: neighbourLike(radio, 0), radio });
  const [{ requests, answered, rttMs, promotions, downloadedBytes }] = totals.devices;
  assert.equal([requests, answered, promotions, downloadedBytes], [1, 1, 1, bytes]);
  assert.is(rttMs, Math.round(alone.finishedAt!));
});

test('a download uses the link a neighbour shares, and its own is shared with neighbours', () => {
  for (const local of ['perfect', 'wifi-ap', 'bluetooth']) {
    const totals = runKibbutzim(
      scenario({
        duration: '20m',
        radio: '3g-seed',
        local,
        devices: [{ app: 'streaming' }, { app: { download: 60_000_000 } }],
      }),
      0,
      4,
    );
    const [streaming, downloading] = totals.devices;
    // More than the streaming neighbour's own traffic is, so it must be the download's.
    assert.ok(streaming.givenBytes > 4 * 20_000_000, local);
    assert.ok(downloading.takenBytes >= 0.9 * streaming.givenBytes, local);
    assert.ok(downloading.givenBytes > 0, local);
    assert.ok(downloading.upMs < 0.9 * downloading.presentMs, `${local}: the own radio rests meanwhile`);
  }
});

test('a download waits out a blackout, and who has left brings no radio up', () => {
  const one = (more: object) =>
    runKibbutzim(
      scenario({ duration: '10m', radio: '3g-seed', devices: [{ app: { download: 2_000_000 }, ...more }] }),
      0,
      1,
    ).devices[0];
  const undisturbed = one({});
  const delayed = one({ blackouts: [{ from: '5s', to: '65s' }] });
  assert.is(delayed.answered, 1);
  assert.ok(delayed.rttMs > undisturbed.rttMs + 50_000, 'a minute of nothing');
  // RFC 6298: back-off doubles the timeout at most until it is 60 s.
  assert.ok(delayed.rttMs < undisturbed.rttMs + 130_000, 'and it goes on after');
  const left = one({ leaveAt: '8s' });
  assert.equal([left.answered, left.presentMs], [0, 8_000]);
  assert.ok(left.upMs <= 8_000, `${left.upMs} ms up of 8 s`);
  assert.ok(left.downloadedBytes > 0 && left.downloadedBytes < 2_000_000);
});

test('on one, two and three threads the totals are the same to the byte', async () => {
  const expected = JSON.stringify(runKibbutzim(everything, 1, 30));
  for (const workers of [1, 2, 3]) {
    const fractions: number[] = [];
    const onProgress = (fraction: number) => fractions.push(fraction);
    const totals = await runOnWorkers(everything, { from: 1, to: 30, workers, onProgress });
    assert.is(JSON.stringify(totals), expected);
    assert.equal([fractions.length, fractions.at(-1)], [4, 1]);
  }
});

test('a thread that fails ends the run, which says where and why; so does being stopped', async () => {
  const impossible = { ...everything, radio: 'smoke' } as unknown as KibbutzScenario;
  const messageOf = (run: Promise<unknown>) =>
    run.then(
      () => 'no error',
      (error: Error) => error.message,
    );
  assert.match(
    await messageOf(runOnWorkers(impossible, { from: 8, to: 11, workers: 2 })),
    /^the simulation of kibbutzim 8 to 10 failed: .*/,
  );
  const stop = new Promise<void>(resolve => setImmediate(resolve));
  const long = { ...everything, kibbutzim: 1_000_000 };
  assert.is(
    await messageOf(runOnWorkers(long, { from: 0, to: 1_000_000, workers: 2, stop })),
    'stopped before the end: there is no result',
  );
});

test('a sum that is no exact number any more is refused by the name of its field', () => {
  const one = runKibbutzim(everything, 0, 1);
  const huge = { ...one, devices: one.devices.map(totals => ({ ...totals, rttMs: 2 ** 53 - 1 })) };
  assert.throws(() => addTotals(one, huge), /^rttMs: expected a sum below 2\^53/);
});

test('Jain’s index is that of the devices’ times up', () => {
  const [nobody] = emptyTotals(1).devices;
  const of = (...points: number[]) =>
    jainIndexOf({
      ...nobody,
      devices: points.length,
      upBasisPoints: points.reduce((a, b) => a + b),
      upBasisPointsSquared: points.reduce((a, b) => a + b * b, 0),
    });
  assert.is(of(3000, 3000, 3000), 1);
  assert.is(of(6000, 0, 0, 0), 0.25);
  assert.is(of(0, 0), 1);
});

test.run();
