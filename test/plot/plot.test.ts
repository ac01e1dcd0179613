import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { type Figure, type Point, renderSvg, type Series, writeFigures } from '../../host-sim/plot/plot.js';

const directories: string[] = [];
test.after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true });
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'kith-plot-'));
  directories.push(directory);
  return directory;
}

const web: Series = {
  label: 'web',
  points: [
    [1, 72],
    [2, 49.5],
    [3, 35.25],
  ],
};

function figure(changes: Partial<Figure> = {}): Figure {
  return {
    file: 'fig-1',
    title: 'Energy',
    x: { title: 'devices' },
    y: { title: 'time up (%)', least: 0, most: 100 },
    series: [web],
    ...changes,
  };
}

test('a line goes through every point, where the axes put it', () => {
  const plot = read(figure());
  assert.equal(plot.series.length, 1);
  assert.equal(plot.series[0]!.label, 'web');
  near(plot, plot.series[0]!.line, web.points);
  near(plot, plot.series[0]!.markers, web.points);
});

test('every point of random lines and points is where the axes put it, and on the page', () => {
  const seed = 20140;
  console.log(`  seed ${seed}`);
  const random = new Random(seed, 'plots');
  for (let round = 0; round < 60; round++) {
    const log = random.chance(0.3);
    const size = 10 ** (random.below(9) - 3);
    const series = Array.from({ length: 1 + random.below(7) }, (_, i): Series => {
      let x = random.chance(0.5) ? 0.1 : 500;
      const points = Array.from({ length: 2 + random.below(70) }, (): Point => {
        x += random.unit() + 0.01;
        return [x, log ? size * 10 ** (6 * random.unit()) : size * (random.unit() - 0.3)];
      });
      const common = { label: `number ${i} ${'long '.repeat(random.below(30))}`, points };
      if (random.chance(0.3)) return { ...common, kind: 'points' };
      return { ...common, dashed: random.chance(0.3) };
    });
    const drawn = figure({ x: { title: 'x', log: random.chance(0.3) }, y: { title: 'y', log }, series });
    const plot = read(drawn, `round ${round}`);
    for (const one of series) {
      const found = plot.series.find(other => other.label === one.label)!;
      near(
        plot,
        one.kind === 'points' ? found.markers : found.line,
        one.points,
        `round ${round}, ${one.label}`,
      );
    }
  }
});

test('a step keeps its value until the next point', () => {
  const plot = read(figure({ series: [{ ...web, kind: 'step' }] }));
  near(plot, plot.series[0]!.line, [
    [1, 72],
    [2, 72],
    [2, 49.5],
    [3, 49.5],
    [3, 35.25],
  ]);
});

test('whiskers reach from low to high and are on the axis, beyond what was asked of it too', () => {
  const spread = [
    [1, 60, 130],
    [3, 30, 40],
  ] as const;
  const plot = read(figure({ series: [{ ...web, spread }] }));
  near(
    plot,
    plot.series[0]!.whiskers,
    spread.flatMap(([x, low, high]): Point[] => [
      [x, low],
      [x, high],
    ]),
  );
});

test('bars of several series stand side by side on 0, with their whiskers on them', () => {
  const series: Series[] = [
    {
      label: 'paper',
      kind: 'bars',
      points: [
        [0, 30],
        [1, 50],
      ],
    },
    {
      label: 'kith',
      kind: 'bars',
      points: [
        [0, 20],
        [1, -10],
      ],
      spread: [[0, 15, 25]],
    },
  ];
  const plot = read(figure({ x: { title: 'mix', categories: ['a', 'b and c'] }, series }));
  assert.equal(plot.xLabels, ['a', 'b and c']);
  const bars = plot.series.flatMap(one => one.bars);
  const middles: Point[] = [
    [-0.2, 30],
    [0.8, 50],
    [0.2, 20],
    [1.2, -10],
  ];
  for (const [i, { from, to, top, bottom }] of bars.entries()) {
    const [x, y] = middles[i]!;
    const ends: Point[] = [
      [x, Math.max(0, y)],
      [x, Math.min(0, y)],
    ];
    near(
      plot,
      [
        [(from + to) / 2, top],
        [(from + to) / 2, bottom],
      ],
      ends,
      `bar ${i}`,
    );
  }
  assert.ok(Math.abs(bars[0]!.to - bars[2]!.from) < 0.1, 'side by side');
  near(plot, plot.series[1]!.whiskers, [
    [0.2, 15],
    [0.2, 25],
  ]);
});

test('a long line keeps all its points but carries few markers', () => {
  const points = Array.from({ length: 700 }, (_, i): Point => [i / 50, Math.min(i, 400)]);
  const plot = read(figure({ series: [{ label: 'sequence', points }] }));
  const { line, markers } = plot.series[0]!;
  near(plot, line, points);
  assert.ok(markers.length > 5 && markers.length < 40, `${markers.length} markers`);
});

test('whole numbers get ticks that are whole', () => {
  const points = Array.from({ length: 8 }, (_, i): Point => [i + 1, i]);
  for (const kind of ['line', 'bars'] as const) {
    const labels = read(
      figure({ x: { title: 'devices', least: 1 }, series: [{ label: 'a', points, kind }] }),
    ).xLabels;
    assert.ok(labels.length > 3 && labels.every(label => /^\d+$/.test(label)), labels.join(' '));
  }
});

test('one point, or values that are all alike, still make a figure', () => {
  for (const y of [0, 7, -7]) {
    const drawn = figure({ y: { title: 'y' }, series: [{ label: 'a', points: [[y, y]] }] });
    const plot = read(drawn);
    near(plot, plot.series[0]!.markers, [[y, y]]);
  }
});

test('series differ in colour and in marker; what is drawn like another shares both, dashed and hollow', () => {
  const labels = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const series: Series[] = labels.map(label => ({ ...web, label }));
  const plot = read(figure({ series: [...series, { ...web, label: 'paper', dashed: true, like: 'c' }] }));
  const own = plot.series.filter(one => one.label !== 'paper');
  assert.equal(
    own.map(one => one.label),
    labels,
  );
  assert.is(new Set(own.map(one => one.colour)).size, 7);
  assert.is(new Set(own.map(one => one.markerShape)).size, 7);
  const [c, paper] = ['c', 'paper'].map(label => plot.series.find(one => one.label === label)!);
  assert.is(paper!.colour, c!.colour);
  assert.is(c!.dash, undefined);
  assert.ok(paper!.dash);
  assert.is(c!.fill, c!.colour);
  assert.is(paper!.fill, '#ffffff');
  assert.is(plot.series[0]!.label, 'paper', 'beneath the others');
});

test('title, axes, legend, note and tick labels are there, whatever characters they hold', () => {
  const odd = 'a < b & "c" > d';
  const plot = read(
    figure({
      title: `${odd} \u0000\u001b[31m\ud800`,
      x: { title: `x ${odd}` },
      y: { title: `y ${odd}` },
      series: [{ ...web, label: `series ${odd}` }],
      note: `note ${odd}`,
    }),
  );
  assert.is(plot.title, `${odd} \ufffd\ufffd[31m\ufffd`);
  for (const start of ['x', 'y', 'series', 'note'])
    assert.ok(
      plot.spots.some(spot => spot.text === `${start} ${odd}`),
      start,
    );
  assert.is(plot.series[0]!.label, `series ${odd}`);
});

test('the legend lies below the data, and no two of its labels on one another', () => {
  const series = Array.from(
    { length: 7 },
    (_, i): Series => ({ ...web, label: `a rather long label, number ${i}` }),
  );
  const plot = read(figure({ series }));
  const spots = series.map(({ label }) => plot.spots.find(spot => spot.text === label)!);
  for (const [i, spot] of spots.entries()) {
    assert.ok(spot.y > plot.bottom, `${spot.text} at ${spot.y}, the data to ${plot.bottom}`);
    for (const other of spots.slice(0, i))
      assert.ok(Math.abs(spot.y - other.y) >= 12 || Math.abs(spot.x - other.x) > 200, spot.text);
  }
});

test('the same figure gives the same bytes, in any order and in any process', () => {
  const bars: Series = { ...web, label: 'bars', kind: 'bars' };
  const figures = [
    figure({ file: 'a', series: [web, bars, { ...bars, label: 'more', dashed: true }] }),
    figure({ file: 'b', x: { title: 'x', log: true }, note: 'with a note' }),
  ];
  const first = figures.map(renderSvg);
  const second = [...figures].reverse().map(renderSvg).reverse();
  assert.equal(second, first);
  const program = `
    import { renderSvg } from ${JSON.stringify(new URL('../../host-sim/plot/plot.ts', import.meta.url).href)};
    process.stdout.write(renderSvg(${JSON.stringify(figures[1])}) + renderSvg(${JSON.stringify(figures[0])}));`;
  const elsewhere = execFileSync(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '--eval', program],
    { encoding: 'utf8', env: { ...process.env, TZ: 'Asia/Tokyo', LANG: 'de_DE.UTF-8' } },
  );
  assert.is(elsewhere, first[1]! + first[0]!);
});

test('what cannot be drawn is refused, naming figure, series and point', () => {
  const points = (...list: Point[]): Partial<Figure> => ({ series: [{ label: 'web', points: list }] });
  const bars = (...list: Point[]): Series[] => [{ label: 'web', kind: 'bars', points: list }];
  const cases: readonly (readonly [Partial<Figure>, string])[] = [
    [points([1, 2], [2, NaN]), 'fig-1, series "web", point 2, y: expected a number ±1000000000000, got NaN'],
    [
      points([-Infinity, 2]),
      'fig-1, series "web", point 1, x: expected a number ±1000000000000, got -Infinity',
    ],
    [
      points([1, 2e12]),
      'fig-1, series "web", point 1, y: expected a number ±1000000000000, got 2000000000000',
    ],
    [points(), 'fig-1, series "web": expected points, got none'],
    [points([1, 2], [3, 4], [2, 4]), 'fig-1, series "web", point 3: expected x in order, got 2 after 3'],
    [{ series: bars([1, 2], [1, 3]) }, 'fig-1, series "web", point 2: expected x in order, got 1 after 1'],
    [{ series: [] }, 'fig-1: expected at least one series, got none'],
    [
      { series: [web, web] },
      'fig-1, series "web": expected a label of its own, got one that another series has',
    ],
    [
      { series: [{ ...web, spread: [[1, 3, 2]] }] },
      'fig-1, series "web", spread 1: expected low ≤ high, got 3, 2',
    ],
    [
      { series: [{ ...web, spread: [[1, 3, NaN]] }] },
      'fig-1, series "web", spread 1, y: expected a number ±1000000000000, got NaN',
    ],
    [
      { ...points([1, 0]), y: { title: 'y', log: true } },
      'fig-1, series "web", point 1, y: expected a number 1e-12..1000000000000, for the axis is logarithmic, got 0',
    ],
    [
      { series: bars([1, 2]), y: { title: 'y', log: true } },
      'fig-1, series "web": expected axes that are not logarithmic, for bars stand on 0',
    ],
    [
      { ...points([2, 1]), x: { title: 'x', categories: ['a', 'b'] } },
      'fig-1, series "web", point 1, x: expected the number of a category 0..1, got 2',
    ],
    [{ y: { title: 'y', least: 3, most: 3 } }, 'fig-1, y axis: expected least < most, got 3, 3'],
    [{ x: { title: 'x', most: NaN } }, 'fig-1, x axis: expected a number ±1000000000000, got NaN'],
    [
      { series: [web, { ...web, label: 'paper', like: 'wbe' }] },
      'fig-1, series "paper": expected like to name a series with a look of its own, got "wbe"',
    ],
    [
      { series: Array.from({ length: 8 }, (_, i) => ({ ...web, label: `${i}` })) },
      'fig-1: expected at most 7 series with a look of their own, got 8',
    ],
    [{ file: '../fig' }, 'file: expected a name of a-z, 0-9, dots and hyphens, got "../fig"'],
  ];
  for (const [changes, message] of cases) {
    assert.throws(
      () => renderSvg(figure(changes)),
      (error: Error) => {
        assert.is(error.message, message);
        return true;
      },
    );
  }
});

test('figures are written into a directory that is made for them, over those of the last run', async () => {
  const directory = join(newDirectory(), 'deep', 'er');
  const figures = [figure(), figure({ file: 'fig-2.14a', title: 'Another' })];
  for (let run = 0; run < 2; run++) {
    const paths = await writeFigures(directory, figures);
    assert.equal(paths, [join(directory, 'fig-1.svg'), join(directory, 'fig-2.14a.svg')]);
    assert.equal(readdirSync(directory).sort(), ['fig-1.svg', 'fig-2.14a.svg']);
    assert.equal(
      paths.map(path => readFileSync(path, 'utf8')),
      figures.map(renderSvg),
    );
  }
});

test('a figure that cannot be drawn, or two of one name, keep all from being written', async () => {
  const directory = join(newDirectory(), 'out');
  const empty = figure({ file: 'fig-2', series: [] });
  assert.match(
    await failure(writeFigures(directory, [figure(), empty])),
    /^fig-2: expected at least one series/,
  );
  assert.match(await failure(writeFigures(directory, [figure(), figure()])), /^fig-1: expected one figure/);
  assert.not(existsSync(directory));
});

test('a directory that cannot be written is told as the fault of --out, and nothing is left behind', async () => {
  const directory = newDirectory();
  const file = join(directory, 'file');
  writeFileSync(file, 'in the way');
  assert.match(
    await failure(writeFigures(file, [figure()])),
    `--out: expected a directory that can be written, got ${file}: `,
  );

  const taken = newDirectory();
  await writeFigures(join(taken, 'fig-1.svg'), [figure()]); // A directory in the place of the file.
  assert.match(
    await failure(writeFigures(taken, [figure()])),
    /^--out: expected a directory that can be written/,
  );
  assert.equal(readdirSync(taken), ['fig-1.svg']);
});

test.run();

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('expected it to fail');
}

interface DrawnSeries {
  readonly label: string;
  /** Corners of the line, the centres of the markers and both ends of the whiskers, in units of the page. */
  readonly line: readonly Point[];
  readonly markers: readonly Point[];
  readonly whiskers: readonly Point[];
  readonly bars: readonly Box[];
  readonly colour: string;
  readonly fill: string | undefined;
  readonly dash: string | undefined;
  readonly markerShape: string | undefined;
}

interface Box {
  readonly from: number;
  readonly to: number;
  readonly top: number;
  readonly bottom: number;
}

interface Spot {
  readonly text: string;
  readonly x: number;
  readonly y: number;
}

interface Plot {
  readonly title: string;
  /** In the order in which they are drawn. */
  readonly series: readonly DrawnSeries[];
  readonly xLabels: readonly string[];
  /** All that is written, and where; of several lines, the first line's place. */
  readonly spots: readonly Spot[];
  /** Where the plot ends and the page goes on. */
  readonly bottom: number;
  /** From a value to the page, as the tick labels have it. */
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
}

/** Draws the figure and reads it back as its reader would: the values off the tick labels, not from the drawing's code. */
function read(figure: Figure, where = figure.file): Plot {
  const root = parseXml(renderSvg(figure));
  assert.is(root.name, 'svg');
  const texts = all(root, 'text');
  const grid = root.children.find(node => node.attributes['stroke'] === '#d9d9d9')!.attributes['d']!;
  const heights = [...grid.matchAll(/M\S+ (\S+?)H/g)].map(match => Number(match[1]));
  const places = [...grid.matchAll(/M(\S+) \S+?V/g)].map(match => Number(match[1]));
  const firstTick = texts.findIndex(node => node.attributes['text-anchor'] === 'end');
  const labels = texts.slice(firstTick, firstTick + heights.length + places.length).map(contentOf);
  const xLabels = labels.slice(heights.length);
  const { categories, log } = figure.x;
  const xValues = xLabels.map(label => (categories ? categories.indexOf(label) : numberOf(label)));
  const [, bottom] = /V(\S+?)(M|$)/.exec(grid)!;
  const [, , width, height] = root.attributes['viewBox']!.split(' ').map(Number);
  for (const node of all(root, 'tspan')) checkOnPage(node, texts, width!, height!, where);
  return {
    title: contentOf(all(root, 'title')[0]!),
    series: root.children
      .filter(node => node.name === 'g' && node.children[0]?.name === 'title')
      .map(readSeries),
    xLabels,
    spots: texts.map(node => {
      const { x, y } = node.children[0]!.attributes;
      return { text: contentOf(node), x: Number(x), y: Number(y) };
    }),
    bottom: Number(bottom),
    x: throughTicks(xValues, places, log, `${where}, x axis`),
    y: throughTicks(labels.slice(0, heights.length).map(numberOf), heights, figure.y.log, `${where}, y axis`),
  };
}

/** Upright texts end on the page even in a wide font, unless they hold a word that no page could. */
function checkOnPage(line: Xml, texts: readonly Xml[], width: number, height: number, where: string): void {
  const { 'text-anchor': anchor, 'font-size': size } = texts.find(node =>
    node.children.includes(line),
  )!.attributes;
  const [x, y] = [Number(line.attributes['x']), Number(line.attributes['y'])];
  if (x === 0) return; // The title of the y axis, turned.
  const length = line.text.length * Number(size) * 0.6;
  const start = anchor === 'start' ? x : anchor === 'end' ? x - length : x - length / 2;
  assert.ok(start >= 0 && start + length <= width && y <= height, `${where}: ${line.text} at ${x}, ${y}`);
}

function readSeries(node: Xml): DrawnSeries {
  const paths = node.children.filter(child => child.name === 'path').map(child => child.attributes);
  const markers = paths.filter(path => path['transform']);
  const line = paths.find(path => path['stroke-linejoin']);
  const whiskers = paths.find(path => !path['transform'] && !path['stroke-linejoin']);
  const rects = node.children.filter(child => child.name === 'rect').map(child => child.attributes);
  const look = markers[0] ?? rects[0]!;
  return {
    label: contentOf(node.children[0]!),
    line: (line?.['d']?.split(/[MLZ]/) ?? []).filter(Boolean).map(pointOf),
    markers: markers.map(path => pointOf(/^translate\((.+)\)$/.exec(path['transform']!)![1]!)),
    whiskers: [...(whiskers?.['d'] ?? '').matchAll(/M(\S+) (\S+?)h(\d+)m-\d+ 0V(.+?)m/g)].flatMap(
      ([, left, low, cap, high]): Point[] => {
        const x = Number(left) + Number(cap) / 2;
        return [
          [x, Number(low)],
          [x, Number(high)],
        ];
      },
    ),
    bars: rects.map(rect => {
      const [x, y, width, height] = ['x', 'y', 'width', 'height'].map(name => Number(rect[name]));
      return { from: x!, to: x! + width!, top: y!, bottom: y! + height! };
    }),
    colour: look['stroke']!,
    fill: look['fill'],
    dash: (line ?? look)['stroke-dasharray'],
    markerShape: markers[0]?.['d'],
  };
}

function pointOf(text: string): Point {
  const [x, y] = text.split(/[ ,]/).map(Number);
  return [x!, y!];
}

/** Digits are grouped, and the minus sign is the typographer's. */
function numberOf(label: string): number {
  return Number(label.replace(/,/g, '').replace('\u2212', '-'));
}

function throughTicks(
  values: readonly number[],
  places: readonly number[],
  log = false,
  where = '',
): (value: number) => number {
  assert.ok(values.length >= 2 && values.every(Number.isFinite), `${where}: expected ticks, got ${values}`);
  const along = (value: number) => (log ? Math.log10(value) : value);
  const [first, last] = [along(values[0]!), along(values.at(-1)!)];
  const unit = (places.at(-1)! - places[0]!) / (last - first);
  return value => places[0]! + (along(value) - first) * unit;
}

/** Points of the page against points of the axes, to a fifth of a unit (0.05 mm): ticks have two decimals. */
function near(plot: Plot, found: readonly Point[], expected: readonly Point[], where = ''): void {
  assert.is(found.length, expected.length, `${where}: ${found.length} points, expected ${expected.length}`);
  for (const [i, point] of expected.entries()) {
    const [x, y] = [plot.x(point[0]), plot.y(point[1])];
    const [foundX, foundY] = found[i]!;
    const off = Math.hypot(foundX - x, foundY - y);
    assert.ok(off < 0.2, `${where}, point ${i + 1} (${point}): at ${foundX}, ${foundY}, expected ${x}, ${y}`);
  }
}

interface Xml {
  readonly name: string;
  readonly attributes: { readonly [name: string]: string };
  readonly children: readonly Xml[];
  /** Its own, decoded. */
  readonly text: string;
}

/** The part of XML 1.0 that the figures use, and strictly: throws on whatever is not well-formed or not in that part. */
function parseXml(source: string): Xml {
  const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';
  assert.ok(source.startsWith(declaration), 'XML declaration');
  assert.not.match(source, /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u);
  let at = declaration.length;
  const take = (pattern: RegExp, what: string): RegExpExecArray => {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (!match) throw new Error(`expected ${what}, got ${JSON.stringify(source.slice(at, at + 40))}`);
    at = pattern.lastIndex;
    return match;
  };
  const node = (): Xml => {
    const [, name, pairs, empty] = take(/<([a-z]+)((?: [a-zA-Z-]+="[^"<]*")*)(\/?)>/gy, 'an element');
    const attributes: { [name: string]: string } = {};
    for (const [, key, value] of pairs!.matchAll(/ ([a-z-]+)="([^"]*)"/gi)) {
      assert.is(attributes[key!], undefined, `${key} twice`);
      attributes[key!] = decode(value!);
    }
    const children: Xml[] = [];
    let text = '';
    while (!empty) {
      text += decode(take(/[^<]*/gy, 'text')[0]);
      if (source.startsWith('</', at)) {
        take(new RegExp(`</${name}>`, 'gy'), `the end of ${name}`);
        break;
      }
      children.push(node());
    }
    return { name: name!, attributes, children, text };
  };
  const root = node();
  assert.is(source.slice(at), '\n', 'one root');
  return root;
}

function decode(text: string): string {
  assert.not.match(text, /&(?!#\d+;)|>/);
  return text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));
}

function contentOf(node: Xml): string {
  return node.text + node.children.map(contentOf).join(' ');
}

function all(node: Xml, name: string): Xml[] {
  return node.children.flatMap(child => [...(child.name === name ? [child] : []), ...all(child, name)]);
}
