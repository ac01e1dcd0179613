import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { download, downloads, neighbourLike } from '../../host-sim/scenario/kibbutz/downloads.js';
import { radioModels } from '../../host-sim/sim/radio.js';

const radio = radioModels['3g-seed'];
const { rows, figures } = downloads(1);

function ours(id: string): number {
  const found = rows.filter(row => row.id === id);
  assert.is(found.length, 1, `${id}: expected one row, found ${found.length}`);
  return found[0].ours;
}

const percents = [0, 1, 2, 5, 10, 15, 20, 25, 30];

test('under 0 to 30 % loss the watchdog holds the download within 15 % of the direct path’s time', () => {
  for (const percent of percents) {
    for (const policy of ['watchdog', 'rate-only']) {
      const over = ours(`download/loss/${percent}/${policy}/over-direct`);
      assert.ok(over <= 1.15, `${percent} % ${policy}: ${over}`);
    }
  }
});

test('plain preference does not: from 1 % on it takes half as long again, and at 10 % eight times', () => {
  for (const percent of percents.slice(1))
    assert.ok(ours(`download/loss/${percent}/preference/over-direct`) > 1.5, `${percent} %`);
  assert.ok(ours('download/loss/10/preference/over-direct') > 5);
});

test('the higher the loss, the more goes by the direct path; without loss all goes by the neighbour and the own radio sleeps', () => {
  let before = -1;
  for (const percent of percents) {
    const share = ours(`download/loss/${percent}/watchdog/direct-share`);
    assert.ok(share > before, `${percent} %: ${share}`);
    before = share;
  }
  assert.is(ours('download/loss/0/watchdog/direct-share'), 0);
  assert.ok(ours('download/loss/30/watchdog/direct-share') > 90);
  const neighbour = neighbourLike(radio, 0);
  for (const policy of ['watchdog', 'rate-only'] as const) {
    const result = download({ seed: 1, bytes: 20_000_000, policy, neighbour, radio });
    assert.is(result.promotions, 0, policy);
    assert.is(result.radioMillijoules, 0, policy);
  }
});

test('no healthy path trips the watchdog, whatever its rate, round trip and queue', () => {
  for (const roundTripMs of [50, 100, 200, 400]) {
    for (const megabits of [1, 2, 5, 10]) {
      const rate = megabits * 1e6;
      const queueBytes = Math.max(14_000, ((rate / 8) * roundTripMs) / 1000);
      const result = download({
        seed: 1,
        bytes: rate,
        policy: 'watchdog',
        neighbour: { bitsPerSecond: rate, roundTripMs, queueBytes, loss: 0 },
        radio: { ...radio, downBitsPerSecond: rate },
      });
      assert.equal(result.watchdog.snapshot(), {}, `${roundTripMs} ms, ${megabits} Mbit/s`);
    }
  }
});

test('the blackout at 14 s is over within a timeout and a promotion, at any other instant within a round trip more', () => {
  for (const id of ['download/blackout', 'download/blackout-simulated']) {
    const limit = ours(`${id}/timeout`) + ours(`${id}/promotion`);
    assert.ok(ours(`${id}/recovery`) <= limit, `${id}: ${ours(`${id}/recovery`)} s of ${limit} s`);
    assert.ok(ours(`${id}/recovery-beyond`) <= 0.2, `${id}: ${ours(`${id}/recovery-beyond`)}`);
    assert.ok(ours(`${id}/preference`) > 3 * ours(`${id}/recovery`), id);
  }
});

test('6 MB take 31 s alone; two links alike, or one half as fast, shorten that as the paper’s second operator did', () => {
  assert.ok(Math.abs(ours('download/app/alone') - 31) < 0.1);
  assert.ok(ours('download/app/two-links') < ours('download/app/two-links-slower'));
  assert.ok(Math.abs(ours('download/app/two-links-slower') - 21) < 5);
});

test('rows have ids of their own and finite figures; the same seed gives the same, another one another', () => {
  assert.is(new Set(rows.map(row => row.id)).size, rows.length);
  for (const { id, ours } of rows) assert.ok(Number.isFinite(ours), id);
  assert.equal(downloads(1), { rows, figures });
  assert.not.equal(downloads(2).rows, rows);
});

test('the plots show what Fig. 2.20 b and c do', () => {
  const [blackout, loss, share] = figures;
  assert.equal(
    figures.map(({ x, y }) => [x.title, y.title]),
    [
      ['time (s)', 'sequence number (MB)'],
      ['packets dropped by the neighbour (%)', 'time (s)'],
      ['packets dropped by the neighbour (%)', 'bytes by the direct path (%)'],
    ],
  );
  // Flat from the blackout to the recovery, rising before and after.
  const at = (seconds: number) => blackout.series[0].points.filter(([time]) => time <= seconds).at(-1)![1];
  assert.is(at(14), at(16.5));
  assert.ok(at(13) < at(14) && at(16.5) < at(19));
  for (const { points } of [...loss.series, ...share.series])
    assert.equal(
      points.map(([percent]) => percent),
      percents,
    );
});

test.run();
