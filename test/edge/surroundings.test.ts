/** What a gateway tells its kibbutz of date and charge: leaps of the clock, batteries, and none. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OwnerLimits } from '../../agent/kibbutz/owner-limits.js';
import type { KibbutzInput } from '../../agent/port/effect.js';
import { readCharge } from '../../edge/linux/battery.js';
import { Surroundings } from '../../edge/linux/surroundings.js';

const minuteMs = 60_000;
const dayMs = 86_400_000;
const noon = Date.UTC(2026, 10, 21, 12);
let directory = '';
const zone = process.env['TZ'];

test.before.each(() => {
  process.env['TZ'] = 'UTC';
  directory = mkdtempSync(join(tmpdir(), 'kith-supplies-'));
});
test.after.each(() => {
  if (zone === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zone;
  rmSync(directory, { recursive: true });
});

interface Machine {
  ms: number;
  wallMs: number;
  percent: number;
  readonly told: KibbutzInput[];
  readonly surroundings: Surroundings;
  pass(ms: number): void;
  dates(): string[];
}

/** A machine whose clocks stand where the test puts them. */
function machine(wallMs = noon): Machine {
  const told: KibbutzInput[] = [];
  const made: Machine = {
    ms: 0,
    wallMs,
    percent: 100,
    told,
    surroundings: new Surroundings({
      hear: input => told.push(input),
      now: () => made.ms,
      wall: () => new Date(made.wallMs),
      charge: () => ({ percent: made.percent, charging: made.percent === 100 }),
    }),
    /** Both clocks run; it looks every minute. */
    pass(ms: number) {
      for (const endMs = made.ms + ms; made.ms < endMs; ) {
        made.ms += minuteMs;
        made.wallMs += minuteMs;
        made.surroundings.look();
      }
    },
    dates: () =>
      told.flatMap(input => (input.kind === 'date' ? [`${input.year}-${input.month}-${input.day}`] : [])),
  };
  made.surroundings.look();
  return made;
}

test('the date is told at the start and after each midnight', () => {
  const one = machine();
  one.pass(2 * dayMs);
  assert.equal(one.dates(), ['2026-11-21', '2026-11-22', '2026-11-23']);
});

for (const [what, leapMs, date] of [
  ['a day ahead', dayMs, '2026-11-22'],
  ['a day back', -dayMs, '2026-11-20'],
  ['ten years ahead', Date.UTC(2036, 10, 21, 12) - noon, '2036-11-21'],
  ['ten years back', Date.UTC(2016, 10, 21, 12) - noon, '2016-11-21'],
] as const) {
  test(`a clock that leaps ${what} is believed after ten minutes, though the day of the month be the same`, () => {
    const one = machine();
    one.pass(5 * minuteMs);
    one.wallMs += leapMs;
    one.pass(10 * minuteMs);
    assert.equal(one.dates(), ['2026-11-21']);
    one.pass(minuteMs);
    assert.equal(one.dates(), ['2026-11-21', date]);
  });

  test(`a clock that leaps ${what} and is put right within ten minutes costs the quota nothing`, () => {
    const one = machine();
    one.pass(5 * minuteMs);
    one.wallMs += leapMs;
    one.pass(8 * minuteMs);
    one.wallMs -= leapMs;
    one.pass(20 * minuteMs);
    assert.equal(one.dates(), ['2026-11-21']);
    // And the next month renews it.
    const limits = new OwnerLimits({ quotaBytes: 1_000_000, neighbourShare: 0.5 });
    one.wallMs = Date.UTC(2026, 11, 1, 12);
    one.pass(11 * minuteMs);
    for (const input of one.told) if (input.kind === 'date') limits.setDate(input);
    assert.is(limits.accounting.get('periods'), 1);
  });
}

test('a date before 1970, as a clock that was never set has it west of Greenwich, is not told', () => {
  process.env['TZ'] = 'America/New_York';
  const one = machine(1000);
  assert.is(new Date(one.wallMs).getFullYear(), 1969);
  one.pass(30 * minuteMs);
  assert.equal(one.dates(), []);
  one.wallMs = noon;
  one.pass(30 * minuteMs);
  assert.equal(one.dates(), ['2026-11-21']);
});

test('the charge is told when it changes', () => {
  const one = machine();
  one.pass(5 * minuteMs);
  one.percent = 40;
  one.pass(5 * minuteMs);
  const charges = one.told.filter(({ kind }) => kind === 'battery');
  assert.equal(charges, [
    { kind: 'battery', percent: 100, charging: true },
    { kind: 'battery', percent: 40, charging: false },
  ]);
});

function supply(name: string, properties: { readonly [property: string]: string }): void {
  mkdirSync(join(directory, name));
  for (const property of Object.keys(properties))
    writeFileSync(join(directory, name, property), `${properties[property]}\n`);
}

test('a machine without a battery is on mains; a mouse has none of ours', () => {
  const mains = { percent: 100, charging: true };
  assert.equal(readCharge(join(directory, 'none')), mains);
  supply('AC', { type: 'Mains', online: '1' });
  supply('hid-mouse', { type: 'Battery', scope: 'Device', capacity: '5', status: 'Discharging' });
  assert.equal(readCharge(directory), mains);
});

test('batteries count by their mean, and one that drains is enough not to be charging', () => {
  supply('BAT0', { type: 'Battery', capacity: '90', status: 'Full' });
  assert.equal(readCharge(directory), { percent: 90, charging: true });
  supply('BAT1', { type: 'Battery', capacity: '31', status: 'Discharging' });
  assert.equal(readCharge(directory), { percent: 61, charging: false });
});

test('a battery that cannot be read counts as empty', () => {
  supply('BAT0', { type: 'Battery' });
  assert.equal(readCharge(directory), { percent: 0, charging: false });
});

test.run();
