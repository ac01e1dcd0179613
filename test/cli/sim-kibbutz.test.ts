/** `kith sim kibbutz` and `kith sim merge`: parts that make up one run, what is refused, and what a person sees. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type KibbutzWords, printKibbutzim, printMerged } from '../../host-sim/cli/sim-kibbutz.js';
import { eventually, Process } from '../support/process.js';

const small = { devices: 60, duration: 300_000, workers: 1 };
const never = new Promise(() => {});
let directory = '';
test.before(() => {
  directory = mkdtempSync(join(tmpdir(), 'kith-sim-'));
});
test.after.each(() => Process.killAll());
test.after(() => rmSync(directory, { recursive: true }));

/** What the command prints on standard output. */
async function run(words: Partial<KibbutzWords>, file?: string): Promise<string> {
  const lines: string[] = [];
  const print = (line: string) => void lines.push(`${line}\n`);
  await printKibbutzim(file, { ...small, json: true, ...words }, print, never);
  return lines.join('');
}

async function merged(files: readonly string[], json = true): Promise<string> {
  const lines: string[] = [];
  await printMerged(files, { json }, line => void lines.push(`${line}\n`));
  return lines.join('');
}

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

async function parts(of: number, words: Partial<KibbutzWords> = {}): Promise<string[]> {
  const files: string[] = [];
  for (let part = 1; part <= of; part++)
    files.push(write(`${part}-of-${of}.json`, await run({ ...words, shard: `${part}/${of}` })));
  return files;
}

async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'accepted',
    (error: Error) => error.message.replaceAll(`${directory}/`, ''),
  );
}

test('one, two and three threads and one, three and seven merged parts print the same bytes', async () => {
  const whole = await run({ workers: 1 });
  assert.is(whole.trimEnd().split('\n').length, 1, 'one line');
  const { scenario, kibbutzim, apps } = JSON.parse(whole);
  assert.equal([scenario.kibbutzim, kibbutzim], [12, 12]);
  assert.equal(
    apps.map(({ app, devices }: { app: string; devices: number }) => [app, devices]),
    [
      ['streaming', 24],
      ['web', 24],
      ['background', 12],
    ],
  );
  assert.is(await run({ workers: 2 }), whole);
  assert.is(await run({ workers: 3 }), whole);
  for (const of of [1, 3, 7]) {
    const files = await parts(of);
    assert.is(await merged(files), whole);
    assert.is(await merged(files.reverse()), whole, 'in any order');
  }
  assert.is.not(await run({ seed: 2 }), whole);
});

test('with a scenario file of everything, traces and downloads included, merged parts are the run too', async () => {
  write('train.csv', 'timeMs,bytes,direction\n0,500,up\n9000,6000,down\n');
  const file = write(
    'everything.json',
    JSON.stringify({
      duration: '4m',
      seed: 9007199254740991,
      kibbutzim: 5,
      radio: 'lte-huang',
      local: 'wifi-ap',
      devices: [
        { app: 'streaming', blackouts: [{ from: '1m', to: '2m' }], loss: 0.1 },
        { app: { trace: 'train.csv' }, joinAt: '30s' },
        { app: { download: 3_000_000 }, leech: true },
        { app: 'streaming', leaveAt: '3m' },
      ],
    }),
  );
  const asIs = { devices: undefined, duration: undefined } as unknown as Partial<KibbutzWords>;
  const whole = await run(asIs, file);
  const files = [];
  for (const shard of ['1/2', '2/2'])
    files.push(write(`${shard[0]}.json`, await run({ ...asIs, shard }, file)));
  assert.is(await merged(files), whole);
  const { scenario, apps, entries } = JSON.parse(whole);
  assert.equal([scenario.seed, scenario.durationMs], [9007199254740991, 240_000]);
  assert.match(JSON.stringify(scenario.devices[1].app), /^\{"trace":"train\.csv","sha256":"[0-9a-f]{64}"\}$/);
  assert.equal(
    apps.map(({ app, devices }: { app: string; devices: number }) => [app, devices]),
    [
      ['streaming', 10],
      ['trace', 5],
      ['download', 5],
    ],
  );
  assert.equal(
    entries.map(({ app, presentMs }: { app: string; presentMs: number }) => [app, presentMs / 5]),
    [
      ['streaming', 240_000],
      ['trace', 210_000],
      ['download', 240_000],
      ['streaming', 180_000],
    ],
  );
  // Options count instead of what the file says.
  const { scenario: other } = JSON.parse(await run({ seed: 3, policy: 'kith', devices: 8 }, file));
  assert.equal(
    [other.seed, other.policy, other.kibbutzim, other.durationMs, other.devices[0].leaveAt],
    [3, 'kith', 2, 300_000, 300_000],
  );
  assert.is(other.devices[3].leaveAt, 180_000);
});

test('parts that do not make up one run are refused by the file and the field', async () => {
  const [one, two, three] = await parts(3);
  const text = readFileSync(two, 'utf8');
  const changed = (before: string | RegExp, after: string) => {
    assert.match(text, before);
    return refusal(merged([one, write('changed.json', text.replace(before, after)), three]));
  };
  const other = async (words: Partial<KibbutzWords>) =>
    refusal(merged([one, write('other.json', await run({ shard: '2/3', ...words })), three]));

  assert.is(await refusal(merged([one, three])), 'shard.part: expected all of 1..3, got no file with part 2');
  assert.is(
    await refusal(merged([one, two, one, three])),
    '1-of-3.json: shard.part: expected each part once, got 1 as in 1-of-3.json',
  );
  assert.is(
    await other({ seed: 2 }),
    'other.json: scenario.seed: expected 1, got 2: of another run than 1-of-3.json',
  );
  assert.match(
    await other({ policy: 'kith' }),
    /^other\.json: scenario\.policy: expected "paper", got "kith"/,
  );
  assert.match(await other({ devices: 65 }), /^other\.json: scenario\.kibbutzim: expected 12, got 13/);
  assert.match(await other({ shard: '2/4' }), /^other\.json: shard\.of: expected 3, got 4/);

  const checksum = /^changed\.json: checksum: expected [0-9a-f]{64} of what the file holds, got /;
  assert.match(await changed(/"upMs":\d/, '"upMs":9'), checksum);
  assert.match(await changed('"seed":1', '"seed":2'), checksum);
  assert.match(await changed('"part":2', '"part":1'), checksum);
  assert.match(await changed(/"checksum":"./, '"checksum":"g'), /^changed\.json: checksum: expected 64 hex/);
  assert.is(
    await changed('"totals":{"kibbutzim":4', '"totals":{"kibbutzim":5'),
    'changed.json: totals.kibbutzim: expected 4, got 5',
  );
  assert.is(
    await changed('"devices":[{"devices":8', '"devices":[{"devices":7'),
    'changed.json: totals.devices[0].devices: expected 8, got 7',
  );
  assert.match(
    await changed(/"promotions":\d+/, '"promotions":-1'),
    /^changed\.json: totals\.devices\[0\]\.promotions: expected /,
  );
  assert.match(
    await changed(/"rttMs":\d+/, '"rttMs":1.5'),
    /^changed\.json: totals\.devices\[0\]\.rttMs: expected /,
  );
  assert.match(await changed('"of":3', '"of":1'), /^changed\.json: shard\.of: expected 2\.\.12, got 1/);
  assert.match(
    await changed('"shard":', '"chard":'),
    /^changed\.json: chard: expected one of the fields format, scenario, shard, totals, checksum/,
  );
  assert.match(await changed(/ part 1"/, ' part 2"'), /^changed\.json: format: expected /);
  assert.match(await changed(/\}\s*$/, ''), /^changed\.json: .*JSON/);
  assert.match(await refusal(merged([write('result.json', await run({}))])), /^result\.json: .*expected/);
  assert.match(await refusal(merged([join(directory, 'nowhere.json')])), /^nowhere\.json: ENOENT/);
  assert.match(await refusal(merged([directory])), /EISDIR/);
  assert.match(await refusal(run({}, join(directory, 'nowhere.json'))), /^nowhere\.json: ENOENT/);
});

test('options out of range are refused by name', async () => {
  assert.is(
    await refusal(run({ devices: 61 })),
    '--devices: expected a multiple of 5, the devices of a kibbutz, got 61',
  );
  assert.match(await refusal(run({ duration: 31 * 86_400_000 })), /^--duration: expected at most 30d/);
  for (const shard of ['0/3', '4/3', '1/13', '1', '1/3/5', '-1/3', 'a/b', ''])
    assert.is(
      await refusal(run({ shard })),
      `--shard: expected i/n with 1 <= i <= n <= 12 kibbutzim, such as 1/2, got ${shard}`,
    );
});

test('the command as people run it: results on standard output, mistakes told by their field with exit code 1', async () => {
  const options = ['--devices', '60', '--duration', '5m'];
  const json = await Process.runKith(['sim', 'kibbutz', ...options, '--json', '--workers', '1']);
  assert.equal([json.code, json.output], [0, await run({})]);
  const told = await Process.runKith(['sim', 'kibbutz', ...options, '--seed', '4', '--policy', 'kith']);
  assert.is(told.code, 0);
  assert.match(told.output, /^12 kibbutzim, 60 devices, 5m, policy kith, .*, seed 4: \d+ events$/m);
  assert.match(told.output, /^streaming, 24 devices: up \d+\.\d % .*Jain [01]\.\d{3}/m);
  assert.match(told.output, /^digest [0-9a-f]{64}$/m);
  assert.match(told.output, /^[\d.]+ s on \d+ worker threads?: [\d,]+ events\/s, [\d,]+ device-hours\/s$/m);
  const files = await parts(2, { seed: 4, policy: 'kith' });
  const merge = await Process.runKith(['sim', 'merge', ...files]);
  assert.is(merge.code, 0);
  assert.is(merge.output, told.output.replace(/^.* worker thread.*\n/m, ''));

  const wrong = write('wrong.json', '{"devices":[{"app":"web"},{"app":"web","leaveAt":"3h"}]}');
  const cases: [string[], RegExp][] = [
    [['kibbutz', wrong], /^kith: .*wrong\.json: devices\[1\]\.leaveAt: expected 0ms\.\.2h, got 3h$/m],
    [['kibbutz', '--policy', 'mine'], /Allowed choices are paper, kith/],
    [['kibbutz', '--workers', '0'], /whole number from 1 to 256/],
    [['merge', wrong], /^kith: .*wrong\.json: devices: expected one of the fields format,/m],
  ];
  for (const [words, expected] of cases) {
    const { code, output } = await Process.runKith(['sim', ...words]);
    assert.is(code, 1, words.join(' '));
    assert.match(output, expected);
    assert.not.match(output, /\n\s+at /, 'no stack');
  }
});

test('help tells of the command and all its options, and of merge; the other scenarios are still there', async () => {
  const sim = await Process.runKith(['sim', '--help']);
  for (const expected of ['home (one), street', 'kibbutz [options] [file]', 'merge [options] <part...>'])
    assert.ok(sim.output.includes(expected), expected);
  const { output } = await Process.runKith(['sim', 'kibbutz', '--help']);
  for (const option of ['devices', 'duration', 'seed', 'policy', 'workers', 'shard', 'json'])
    assert.match(output, `--${option}`);
});

test('Ctrl-C ends a long run at once, with an exit code of its own and without a result', async () => {
  const args = Process.kithArguments(['sim', 'kibbutz', '--devices', '1000000', '--json']);
  // Its threads have begun when it uses more processor time than starting takes.
  const kith = await Process.start(process.execPath, args, /^/);
  await eventually('the threads to work', () => cpuSeconds(kith.pid!) > 1.5);
  assert.is(await kith.kill('SIGINT'), 1);
  assert.match(kith.output, /^kith: stopped before the end: there is no result$/m);
  assert.not.match(kith.output, /digest/);
});

function cpuSeconds(pid: number): number {
  // proc(5): utime and stime are fields 14 and 15, in ticks of 10 ms; the name in parentheses may hold spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test.run();
