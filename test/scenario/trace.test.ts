import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { mostTraceEntries, parseTrace } from '../../host-sim/scenario/kibbutz/trace.js';
import { TraceTraffic } from '../../host-sim/sim/app.js';

const header = 'timeMs,bytes,direction';

function refusal(text: string): string {
  try {
    parseTrace('t.csv', text);
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
}

test('a trace with comments, spaces, empty lines and the line ends of any system is read', () => {
  const text = `# recorded by hand\r\n\r\n ${header}\r\n0,500,up\r\n  230.5 , 6000 , down\r\n# a pause\n9000,0,up`;
  assert.equal(parseTrace('t.csv', text), [
    { atMs: 0, bytes: 500, direction: 'up' },
    { atMs: 231, bytes: 6000, direction: 'down' },
    { atMs: 9000, bytes: 0, direction: 'up' },
  ]);
});

test('seconds are seconds, to the millisecond', () => {
  const entries = parseTrace('t.csv', 'timeSeconds,bytes,direction\n0.0004,1,up\n1.9996,2,up\n3600,3,down');
  assert.equal(
    entries.map(({ atMs }) => atMs),
    [0, 2000, 3_600_000],
  );
});

test('what is wrong is named by file, line and field, with what was expected and what came', () => {
  const at = (lines: string) => refusal(`# one\n${header}\n${lines}`);
  const wrong: [string, string][] = [
    [refusal(''), 't.csv line 1: line: expected at least one entry, got the end of the file'],
    [at(''), 't.csv line 2: line: expected at least one entry, got the end of the file'],
    [
      refusal('time,bytes,direction\n0,1,up'),
      't.csv line 1: header: expected timeMs,bytes,direction or timeSeconds,bytes,direction, got time,bytes,direction',
    ],
    [
      refusal('toString,bytes,direction\n0,1,up'),
      't.csv line 1: header: expected timeMs,bytes,direction or timeSeconds,bytes,direction, got toString,bytes,direction',
    ],
    [
      refusal('0,1,up'),
      't.csv line 1: header: expected timeMs,bytes,direction or timeSeconds,bytes,direction, got 0,1,up',
    ],
    [at('0,1'), 't.csv line 3: line: expected time,bytes,direction, got 0,1'],
    [at('0,1,up,2'), 't.csv line 3: line: expected time,bytes,direction, got 0,1,up,2'],
    [at('0,1,up\n0,x,up'), 't.csv line 4: bytes: expected an integer 0..1000000000, got x'],
    [at('0,,up'), 't.csv line 3: bytes: expected an integer 0..1000000000, got '],
    [at('0,1.5,up'), 't.csv line 3: bytes: expected an integer 0..1000000000, got 1.5'],
    [at('0,-1,up'), 't.csv line 3: bytes: expected an integer 0..1000000000, got -1'],
    [at('0,1000000001,up'), 't.csv line 3: bytes: expected an integer 0..1000000000, got 1000000001'],
    [at('-1,1,up'), 't.csv line 3: time: expected 0..2592000000 since the start, got -1'],
    [at('1e3,1,up'), 't.csv line 3: time: expected 0..2592000000 since the start, got 1e3'],
    [at('2592000001,1,up'), 't.csv line 3: time: expected 0..2592000000 since the start, got 2592000001'],
    [
      refusal('timeSeconds,bytes,direction\n1778400000,1,up'),
      't.csv line 2: time: expected 0..2592000 since the start, got 1778400000',
    ],
    [at('5,1,up\n\n4.4,1,up'), 't.csv line 5: time: expected at least 5, the line before, got 4.4'],
    [at('0,1,UP'), 't.csv line 3: direction: expected up or down, got UP'],
    [at(`0,1,${'x'.repeat(10_000)}`), `t.csv line 3: direction: expected up or down, got ${'x'.repeat(40)}`],
  ];
  for (const [got, expected] of wrong) assert.is(got, expected);
});

test('as many entries as allowed are read, and one more is refused', () => {
  const most = `${header}\n${'7,1,up\n'.repeat(mostTraceEntries)}`;
  assert.is(parseTrace('t.csv', most).length, mostTraceEntries);
  assert.is(
    refusal(`${most}7,1,up`),
    `t.csv line ${mostTraceEntries + 2}: line: expected at most 1000000 entries, got more`,
  );
});

test('whatever the bytes, a trace is read or refused by an error that names it', () => {
  const seed = 11;
  const random = new Random(seed, 'trace fuzz');
  const good = `${header}\n0,500,up\n10,6000,down\n20.5,1,up\n`;
  let read = 0;
  for (let i = 0; i < 20_000; i++) {
    const chars = [...good];
    for (let k = random.below(4); k >= 0; k--)
      chars[random.below(chars.length)] = String.fromCharCode(random.below(0x80));
    const said = refusal(chars.join(''));
    if (said === 'accepted') read++;
    else assert.match(said, /^t\.csv line \d+: \w+: expected .+, got /, `seed ${seed} round ${i}`);
  }
  assert.ok(read > 50 && read < 19_000, `${read} read`);
});

test('replayed, every entry comes at its time, once', () => {
  const entries = parseTrace('t.csv', `${header}\n5,500,up\n5,6000,down\n900,20,up`);
  const traffic = new TraceTraffic(entries);
  const replayed: string[] = [];
  for (let at = traffic.first(); at < Infinity; at += traffic.next())
    replayed.push(`${at} ${traffic.upBytes} ${traffic.downBytes}`);
  assert.equal(replayed, ['5 500 0', '5 0 6000', '900 20 0']);
});

test.run();
