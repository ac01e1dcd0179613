import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { parseScenario, readScenario } from '../../host-sim/scenario/kibbutz/scenario-file.js';

const minute = 60_000;
const hour = 60 * minute;
const trace = 'timeMs,bytes,direction\n0,500,up\n';

function noTrace(file: string): string {
  throw new Error(`${file}: not asked for`);
}

function parse(scenario: unknown, readTrace = noTrace) {
  return parseScenario('home.json', JSON.stringify(scenario), readTrace);
}

function refusal(scenario: unknown, readTrace = noTrace): string {
  try {
    parse(scenario, readTrace);
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
}

test('what is left out is the seed’s simulation', () => {
  assert.equal(parse({ devices: [{ app: 'web' }] }), {
    seed: 1,
    durationMs: 2 * hour,
    policy: 'paper',
    radio: 'paper',
    local: 'perfect',
    initialCredit: 5,
    tailMs: 10_000,
    kibbutzim: 1,
    devices: [
      {
        app: { kind: 'app', name: 'web' },
        count: 1,
        joinAt: 0,
        leaveAt: 2 * hour,
        blackouts: [],
        loss: 0,
        leech: false,
      },
    ],
  });
});

test('everything that can be said is understood', () => {
  const asked: string[] = [];
  const scenario = parse(
    {
      seed: 9007199254740991,
      duration: '1h',
      policy: 'kith',
      radio: 'lte-huang',
      local: 'bluetooth',
      initialCredit: 3,
      tail: '12s',
      kibbutzim: 2000,
      devices: [
        { app: 'streaming', count: 2, leech: true },
        { app: { trace: 'train.csv' }, joinAt: '5m', leaveAt: '40m', loss: 0.05 },
        {
          app: { download: 6_000_000 },
          blackouts: [
            { from: '10m', to: '11m' },
            { from: '11m', to: '1h' },
          ],
        },
        { app: { trace: 'train.csv' }, count: 1 },
      ],
    },
    file => {
      asked.push(file);
      return trace;
    },
  );
  const { devices, ...rest } = scenario;
  assert.equal(rest, {
    seed: 9007199254740991,
    durationMs: hour,
    policy: 'kith',
    radio: 'lte-huang',
    local: 'bluetooth',
    initialCredit: 3,
    tailMs: 12_000,
    kibbutzim: 2000,
  });
  const present = { count: 1, joinAt: 0, leaveAt: hour, blackouts: [], loss: 0, leech: false };
  const entries = [{ atMs: 0, bytes: 500, direction: 'up' }];
  assert.equal(devices, [
    { ...present, app: { kind: 'app', name: 'streaming' }, count: 2, leech: true },
    {
      ...present,
      app: { kind: 'trace', file: 'train.csv', entries },
      joinAt: 5 * minute,
      leaveAt: 40 * minute,
      loss: 0.05,
    },
    {
      ...present,
      app: { kind: 'download', bytes: 6_000_000 },
      blackouts: [
        { fromAt: 10 * minute, toAt: 11 * minute },
        { fromAt: 11 * minute, toAt: hour },
      ],
    },
    { ...present, app: { kind: 'trace', file: 'train.csv', entries } },
  ]);
  assert.equal(asked, ['train.csv'], 'a file that several devices replay is read once');
});

test('the tail is the radio’s own unless the file says another', () => {
  const tailMs = (scenario: object) => parse({ ...scenario, devices: [{ app: 'web' }] }).tailMs;
  assert.is(tailMs({ radio: '3g' }), 12_500);
  assert.is(tailMs({ radio: '3g', tail: '5s' }), 5_000);
});

test('each fault is told by the path of its field, what was expected and what came', () => {
  const device = (more: object) => refusal({ devices: [{ app: 'web' }, { app: 'web', ...more }] });
  const whole = (more: object) => refusal({ devices: [{ app: 'web' }], ...more });
  const blackouts = (...list: [string, string][]) =>
    device({ joinAt: '5m', leaveAt: '1h', blackouts: list.map(([from, to]) => ({ from, to })) });
  const apps = '"background", "web", "streaming", {"trace": file} or {"download": bytes}';
  const wrong: [string, string][] = [
    [
      refusal([]),
      'expected a map of seed, duration, policy, radio, local, initialCredit, tail, kibbutzim, devices, got an array of 0',
    ],
    [refusal({}), 'devices: expected an array of 1 to 64, got nothing'],
    [refusal({ devices: [] }), 'devices: expected an array of 1 to 64, got an array of 0'],
    [
      whole({ sed: 1 }),
      'sed: expected one of the fields seed, duration, policy, radio, local, initialCredit, tail, kibbutzim, devices, got an unknown field',
    ],
    [whole({ seed: -1 }), 'seed: expected an integer 0..9007199254740991, got -1'],
    [whole({ seed: 1.5 }), 'seed: expected an integer 0..9007199254740991, got 1.5'],
    [whole({ duration: '2 h' }), 'duration: expected a duration such as "90s" or "2h", got "2 h"'],
    [whole({ duration: 7200 }), 'duration: expected a duration such as "90s" or "2h", got 7200'],
    [whole({ duration: '0s' }), 'duration: expected 1ms..30d, got 0s'],
    [whole({ duration: '31d' }), 'duration: expected 1ms..30d, got 31d'],
    [whole({ duration: '9999d' }), 'duration: expected 1ms..30d, got 9999d'],
    [whole({ policy: 'pape' }), 'policy: expected "paper", "kith", got "pape"'],
    [
      whole({ local: 'infrared' }),
      'local: expected "perfect", "bluetooth", "wifi-ap", "wifi-ad-hoc", got "infrared"',
    ],
    [whole({ initialCredit: 0 }), 'initialCredit: expected an integer 1..1000, got 0'],
    [whole({ tail: '61s' }), 'tail: expected 1ms..1m, got 61s'],
    [whole({ tail: '0s' }), 'tail: expected 1ms..1m, got 0s'],
    [whole({ kibbutzim: 1_000_001 }), 'kibbutzim: expected an integer 1..1000000, got 1000001'],
    [
      refusal({ kibbutzim: 500_000, devices: [{ app: 'web', count: 3 }] }),
      'kibbutzim: expected at most 1000000 devices in all, got 500000 × 3',
    ],
    [
      refusal({
        devices: [
          { app: 'web', count: 33 },
          { app: 'web', count: 32 },
        ],
      }),
      'devices: expected at most 64 devices in a kibbutz, got 65',
    ],
    [
      refusal({ devices: [{ app: 'web' }, 'web'] }),
      'devices[1]: expected a map of app, count, joinAt, leaveAt, blackouts, loss, leech, got "web"',
    ],
    [
      device({ leeveAt: '1h' }),
      'devices[1].leeveAt: expected one of the fields app, count, joinAt, leaveAt, blackouts, loss, leech, got an unknown field',
    ],
    [device({ app: undefined }), `devices[1].app: expected ${apps}, got nothing`],
    [device({ app: 'strem' }), `devices[1].app: expected ${apps}, got "strem"`],
    [device({ app: { trace: 5 } }), 'devices[1].app.trace: expected text of 1 to 4096 bytes, got 5'],
    [
      device({ app: { download: 0 } }),
      'devices[1].app.download: expected an integer 1..1000000000000, got 0',
    ],
    [
      device({ app: { downlod: 5 } }),
      'devices[1].app.downlod: expected one of the fields trace, download, got an unknown field',
    ],
    [device({ app: {} }), 'devices[1].app: expected either trace or download, got neither'],
    [
      device({ app: { trace: 'x', download: 1 } }),
      'devices[1].app: expected either trace or download, got both',
    ],
    [device({ app: { trace: 'x.csv' } }), 'devices[1].app.trace: x.csv: not asked for'],
    [device({ count: 0 }), 'devices[1].count: expected an integer 1..64, got 0'],
    [device({ loss: 1.01 }), 'devices[1].loss: expected a probability 0..1, got 1.01'],
    [device({ loss: '5%' }), 'devices[1].loss: expected a number, got "5%"'],
    [device({ leech: 'yes' }), 'devices[1].leech: expected true or false, got "yes"'],
    [device({ joinAt: '2h' }), 'devices[1].joinAt: expected before the end, 2h, got 2h'],
    [device({ joinAt: '3h' }), 'devices[1].joinAt: expected 0ms..2h, got 3h'],
    [device({ leaveAt: '121m' }), 'devices[1].leaveAt: expected 0ms..2h, got 121m'],
    [device({ joinAt: '10m', leaveAt: '5m' }), 'devices[1].leaveAt: expected after joinAt, 10m, got 5m'],
    [blackouts(['6m', '7m'], ['6m', '8m']), 'devices[1].blackouts[1].from: expected 7m..1h, got 6m'],
    [blackouts(['4m', '7m']), 'devices[1].blackouts[0].from: expected 5m..1h, got 4m'],
    [blackouts(['7m', '6m']), 'devices[1].blackouts[0].to: expected 7m..1h, got 6m'],
    [blackouts(['7m', '7m']), 'devices[1].blackouts[0].to: expected after from, 7m, got 7m'],
    [blackouts(['7m', '61m']), 'devices[1].blackouts[0].to: expected 7m..1h, got 61m'],
    [
      device({ blackouts: [{ from: '1m' }] }),
      'devices[1].blackouts[0].to: expected a duration such as "90s" or "2h", got nothing',
    ],
    [
      device({ blackouts: [{ from: '1m', till: '2m' }] }),
      'devices[1].blackouts[0].till: expected one of the fields from, to, got an unknown field',
    ],
  ];
  for (const [got, expected] of wrong) assert.is(got, `home.json: ${expected}`);
});

test('a radio is one of the models, and its tail holds all its states', () => {
  assert.match(
    refusal({ radio: 'telepathy', devices: [{ app: 'web' }] }),
    /^home\.json: radio: expected "paper", .*, got "telepathy"$/,
  );
  assert.match(refusal({ radio: 'toString', devices: [{ app: 'web' }] }), /^home\.json: radio: expected /);
  // RRC_INACTIVE begins 10.2 s after the last packet.
  assert.is(
    refusal({ radio: '5g-sa-low', tail: '10s', devices: [{ app: 'web' }] }),
    'home.json: tail: expected 10200ms..1m, got 10s',
  );
  assert.is(
    refusal({ radio: 'wifi', devices: [{ app: 'web' }] }),
    'home.json: tail: expected 1ms..1m, got 0ms',
  );
});

test('a trace at fault is told behind the path that names it', () => {
  assert.is(
    refusal({ devices: [{ app: { trace: 'train.csv' } }] }, () => `${trace}1,x,up`),
    'home.json: devices[0].app.trace: train.csv line 3: bytes: expected an integer 0..1000000000, got x',
  );
});

test('what is no JSON is refused with what the parser says about it', () => {
  const text = '{\n  "devices": [\n    { "app": "web" },\n  ]\n}';
  assert.throws(() => parseScenario('home.json', text, noTrace), /^home\.json: expected JSON: .*\]/);
  assert.throws(() => parseScenario('home.json', '', noTrace), /^home\.json: expected JSON: .*end/);
});

test('keys that mean something to JavaScript are keys like others', () => {
  for (const key of ['__proto__', 'constructor', 'hasOwnProperty']) {
    const text = `{ "devices": [{ "app": "web", "${key}": { "count": 2 } }] }`;
    assert.throws(
      () => parseScenario('home.json', text, noTrace),
      `devices[0].${key}: expected one of the fields`,
    );
  }
});

test('whatever the text, a scenario is complete and within its ranges, or refused by an error that names it', () => {
  const seed = 21;
  const random = new Random(seed, 'scenario fuzz');
  const good = JSON.stringify({
    seed: 3,
    duration: '2h',
    kibbutzim: 20,
    devices: [
      { app: 'streaming', count: 2, joinAt: '10m', leaveAt: '50m', blackouts: [{ from: '20m', to: '30m' }] },
      { app: { download: 900 }, loss: 0.25, leech: true },
    ],
  });
  let accepted = 0;
  for (let i = 0; i < 30_000; i++) {
    const chars = [...good];
    for (let k = random.below(3); k >= 0; k--)
      chars[random.below(chars.length)] = random.chance(0.5)
        ? `${random.below(10)}`
        : String.fromCharCode(32 + random.below(96));
    const place = `seed ${seed} round ${i}: ${chars.join('')}`;
    try {
      const scenario = parseScenario('f.json', chars.join(''), () => trace);
      accepted++;
      assert.ok(scenario.durationMs >= 1, place);
      for (const { count, joinAt, leaveAt, blackouts, loss } of scenario.devices) {
        assert.ok(count >= 1 && joinAt >= 0 && joinAt < leaveAt && leaveAt <= scenario.durationMs, place);
        assert.ok(loss >= 0 && loss <= 1, place);
        for (const { fromAt, toAt } of blackouts)
          assert.ok(joinAt <= fromAt && fromAt < toAt && toAt <= leaveAt, place);
      }
    } catch (error) {
      if (error instanceof assert.Assertion) throw error;
      assert.match((error as Error).message, /^f\.json: .*expected /s, place);
    }
  }
  assert.ok(accepted > 200 && accepted < 20_000, `${accepted} accepted`);
});

test('from disk: traces lie beside the scenario file, and what cannot be read is named', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kith-scenario-'));
  const path = join(folder, 'home.json');
  const write = (scenario: unknown) => writeFileSync(path, JSON.stringify(scenario));
  try {
    mkdirSync(join(folder, 'traces'));
    writeFileSync(join(folder, 'traces', 'a.csv'), `\ufeff${trace}`);
    write({ devices: [{ app: { trace: 'traces/a.csv' } }] });
    const [{ app }] = readScenario(path).devices;
    assert.is(app.kind === 'trace' && app.entries.length, 1);
    write({ devices: [{ app: { trace: 'traces/b.csv' } }] });
    assert.throws(() => readScenario(path), /home\.json: devices\[0\]\.app\.trace: .*b\.csv: ENOENT/);
    write({ devices: [{ app: { trace: 'traces' } }] });
    assert.throws(() => readScenario(path), /devices\[0\]\.app\.trace: .*traces: expected a file/);
    writeFileSync(path, new Uint8Array([0x7b, 0xff, 0x7d]));
    assert.throws(() => readScenario(path), /home\.json: expected UTF-8/);
    writeFileSync(path, ' '.repeat(1024 * 1024 + 1));
    assert.throws(() => readScenario(path), /home\.json: expected at most 1048576 bytes, got 1048577/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
