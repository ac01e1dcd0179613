/**
 * Figures for the printed page, as SVG: lines, steps, points and bars over two axes, with whiskers, and the legend
 * below the data so that it hides none of it.
 *
 * Legible in black and white: every series has a marker (a bar its hatch) of its own, and the colours are those of
 * Okabe and Ito ("Color universal design", 2008), which colour-blind readers tell apart. Solid lines and filled
 * markers are for what was measured; dashes and hollow markers for what it is compared with.
 *
 * The same figure gives the same bytes, whatever was drawn before: nothing here reads a clock, a font or a counter.
 * Bounds: `looks.length` series in a figure, not counting those drawn `like` another; numbers up to `largest`; points as
 * many as given, each a vertex in the file.
 */

import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ScaleContinuousNumeric, scaleLinear, scaleLog } from 'd3-scale';
import {
  curveLinear,
  curveStepAfter,
  line,
  type SymbolType,
  symbol,
  symbolCircle,
  symbolCross,
  symbolDiamond,
  symbolSquare,
  symbolStar,
  symbolTriangle,
  symbolWye,
} from 'd3-shape';

export interface Figure {
  /** Name of the file without `.svg`, such as `fig-2.14a`: a-z, 0-9, dots and hyphens. */
  readonly file: string;
  readonly title: string;
  readonly x: XAxis;
  readonly y: Axis;
  /** Listed and drawn in this order, but the dashed ones lie beneath the others. */
  readonly series: readonly Series[];
  /** Printed below the legend: what the whiskers are, where the paper's values come from. */
  readonly note?: string;
}

export interface Axis {
  /** With the unit, such as `time up (%)`. */
  readonly title: string;
  /** The axis shows at least `least` … `most`; data beyond widens it. Without them it fits the data. */
  readonly least?: number;
  readonly most?: number;
  /** Base 10; then every value must be above 0, and there can be no bars. */
  readonly log?: boolean;
}

export interface XAxis extends Axis {
  /** Names in place of numbers: x = 0 is the first, 1 the second. */
  readonly categories?: readonly string[];
}

export type Point = readonly [x: number, y: number];

export interface Series {
  /** Unique in the figure. */
  readonly label: string;
  /** Lines and steps: x never falls; bars: x rises. */
  readonly points: readonly Point[];
  /** `line` unless given. A step keeps its value until the next point. */
  readonly kind?: 'line' | 'points' | 'bars' | 'step';
  /** Whiskers, such as the least and the most of several runs. */
  readonly spread?: readonly (readonly [x: number, low: number, high: number])[];
  /** Dashed and hollow: what the others are compared with, such as the values a paper prints. */
  readonly dashed?: boolean;
  /** Label of the series whose colour and marker this one shares. */
  readonly like?: string;
}

interface Look {
  readonly colour: string;
  readonly marker: SymbolType;
}

/** Without the yellow of the eight, which is lost on white paper. */
const looks: readonly Look[] = [
  { colour: '#0072b2', marker: symbolCircle },
  { colour: '#d55e00', marker: symbolSquare },
  { colour: '#009e73', marker: symbolTriangle },
  { colour: '#000000', marker: symbolDiamond },
  { colour: '#cc79a7', marker: symbolCross },
  { colour: '#56b4e9', marker: symbolStar },
  { colour: '#e69f00', marker: symbolWye },
];
const dashes = ['6 3', '2 2.5', '9 3 2 3'] as const;

/** Beyond this the labels of an axis would crowd out the plot; nothing measured comes near. */
const largest = 1e12;

/** One unit prints as 0.25 mm: the figure fills the width of an A4 page's text, and 13 units are type of 9 points. */
const unitMillimetres = 0.25;
const width = 600;
const plotHeight = 290;
/** About as many; the library picks round numbers. */
const verticalTicks = 6;
const margin = 14;
/** Right of the plot: half of the longest number that ends an axis. */
const rightMargin = 30;
const titleSize = 15;
const axisTitleSize = 13;
const labelSize = 12;
const lineSpacing = 1.3;
/**
 * Width of an average character by the type's size. Nothing measures fonts here, so this is DejaVu Sans, the widest of
 * the fonts named below that a reader is likely to have: in any other, texts come out shorter than the room kept for them.
 */
const characterEm = 0.62;
const boldEm = 0.7;
const fonts = 'Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif';

const markerArea = 44;
/** Larger, so that it shows around a filled marker on the same spot. */
const hollowMarkerArea = 90;
/** A line of more points than this carries a marker only each `markerSpacing` units of its way. */
const mostMarked = 40;
const markerSpacing = 60;
const sampleWidth = 34;
const whiskerHalf = 4;
/** Neighbours' hatches cross, and no two of all are parallel. */
const hatchTurnDegrees = (3 * 180) / looks.length;

/** The figure as an XML document. Throws, naming figure, series and point, on one that cannot be drawn. */
export function renderSvg(figure: Figure): string {
  check(figure);
  const { title, x, y, series, note } = figure;
  const bars = barSlots(figure);
  const titleLines = wrap(title, width - 2 * margin, titleSize, boldEm);
  const yTitleLines = wrap(y.title, plotHeight, axisTitleSize);
  const top = margin + heightOf(titleLines, titleSize) + 8;
  const bottom = top + plotHeight;

  const heights = series.flatMap(one => [
    ...one.points.map(point => point[1]),
    ...(one.spread ?? []).flatMap(highLow),
  ]);
  const up = verticalRuler(y, [...heights, ...(bars.count > 0 ? [0] : [])], [bottom, top]);
  const longest = Math.max(...up.ticks.map(tick => widthOf(tick.label, labelSize)));
  const left = margin + heightOf(yTitleLines, axisTitleSize) + longest + 16;
  const right = width - rightMargin;
  const places = series.flatMap(one => {
    const half = one.kind === 'bars' ? bars.step / 2 : 0;
    return [...one.points, ...(one.spread ?? [])].flatMap(point => [point[0] - half, point[0] + half]);
  });
  const whole = series.every(one => one.points.every(point => Number.isInteger(point[0])));
  const across = x.categories
    ? categoryRuler(x.categories, [left, right])
    : horizontalRuler(x, places, whole, [left, right]);

  const xLabels = across.ticks.map(tick => wrap(tick.label, across.labelRoom, labelSize));
  const xTitleLines = wrap(x.title, right - left, axisTitleSize);
  const xTitleAt = bottom + 10 + Math.max(...xLabels.map(lines => heightOf(lines, labelSize)));
  const styles = styled(figure);
  const legend = drawLegend(styles, xTitleAt + heightOf(xTitleLines, axisTitleSize) + 10);
  const noteLines = note ? wrap(note, width - 2 * margin, labelSize) : [];
  const height = legend.bottom + heightOf(noteLines, labelSize) + margin;

  const tickMarks = [
    ...up.ticks.map(({ at }) => `M${rounded(left)} ${rounded(at)}H${right}`),
    ...across.ticks.map(({ at }) => `M${rounded(at)} ${rounded(top)}V${rounded(bottom)}`),
  ];
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    openTag('svg', {
      xmlns: 'http://www.w3.org/2000/svg',
      width: `${width * unitMillimetres}mm`,
      height: `${rounded(height * unitMillimetres)}mm`,
      viewBox: `0 0 ${width} ${rounded(height)}`,
      role: 'img',
      'font-family': fonts,
    }),
    element('title', {}, escaped(title)),
    element('desc', {}, escaped([`${y.title} against ${x.title}.`, note].join(' ').trim())),
    ...hatches(styles),
    element('rect', { width, height, fill: '#ffffff' }),
    text(titleLines, { x: width / 2, y: margin, size: titleSize, anchor: 'middle', bold: true }),
    element('path', { d: tickMarks.join(''), stroke: '#d9d9d9', fill: 'none' }),
    ...up.ticks.map(({ at, label }) =>
      text([label], { x: left - 9, y: at - labelSize * 0.62, size: labelSize, anchor: 'end' }),
    ),
    ...across.ticks.map(({ at }, i) =>
      text(xLabels[i]!, { x: at, y: bottom + 6, size: labelSize, anchor: 'middle' }),
    ),
    text(xTitleLines, { x: (left + right) / 2, y: xTitleAt, size: axisTitleSize, anchor: 'middle' }),
    element(
      'g',
      { transform: `translate(${margin} ${rounded((top + bottom) / 2)}) rotate(-90)` },
      text(yTitleLines, { x: 0, y: 0, size: axisTitleSize, anchor: 'middle' }),
    ),
    element('rect', {
      x: left,
      y: top,
      width: right - left,
      height: plotHeight,
      stroke: '#444444',
      fill: 'none',
    }),
    ...[...styles.filter(isDashed), ...styles.filter(style => !isDashed(style))].map(style =>
      drawSeries(style, across.place, up.place, bars),
    ),
    ...legend.parts,
    ...(note ? [text(noteLines, { x: margin, y: legend.bottom, size: labelSize, anchor: 'start' })] : []),
    '</svg>\n',
  ].join('\n');
}

/**
 * Writes each figure as `<file>.svg` into `directory`, which is created if need be, and returns the paths. A file is there
 * whole or not at all, and a figure that cannot be drawn keeps every file from being written. Rejects, naming `--out`, if
 * the directory cannot be written.
 */
export async function writeFigures(directory: string, figures: readonly Figure[]): Promise<string[]> {
  for (const [i, { file }] of figures.entries()) {
    if (figures.findIndex(other => other.file === file) < i)
      throw new Error(`${file}: expected one figure of this name, got two`);
  }
  const drawn = figures.map(figure => ({
    path: join(directory, `${figure.file}.svg`),
    svg: renderSvg(figure),
  }));
  try {
    await mkdir(directory, { recursive: true });
    for (const { path, svg } of drawn) await replaceFile(path, svg);
  } catch (error) {
    throw new Error(
      `--out: expected a directory that can be written, got ${directory}: ${(error as Error).message}`,
    );
  }
  return drawn.map(({ path }) => path);
}

async function replaceFile(path: string, content: string): Promise<void> {
  const unfinished = `${path}.${process.pid}.part`;
  try {
    await writeFile(unfinished, content);
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
}

function check(figure: Figure): void {
  const { file, x, y, series } = figure;
  if (!/^[a-z0-9][a-z0-9.-]*$/.test(file))
    throw new Error(`file: expected a name of a-z, 0-9, dots and hyphens, got ${JSON.stringify(file)}`);
  if (series.length === 0) throw new Error(`${file}: expected at least one series, got none`);
  checkAxis(x, `${file}, x axis`);
  checkAxis(y, `${file}, y axis`);
  for (const [i, one] of series.entries()) {
    const where = `${file}, series ${JSON.stringify(one.label)}`;
    if (series.findIndex(other => other.label === one.label) < i)
      throw new Error(`${where}: expected a label of its own, got one that another series has`);
    if (one.kind === 'bars' && (x.log || y.log))
      throw new Error(`${where}: expected axes that are not logarithmic, for bars stand on 0`);
    checkPoints(one, figure, where);
    for (const [number, [at, low, high]] of (one.spread ?? []).entries()) {
      checkValue([at, low], figure, `${where}, spread ${number + 1}`);
      checkValue([at, high], figure, `${where}, spread ${number + 1}`);
      if (low > high)
        throw new Error(`${where}, spread ${number + 1}: expected low ≤ high, got ${low}, ${high}`);
    }
  }
}

function checkAxis({ least, most, log }: Axis, where: string): void {
  for (const end of [least, most]) {
    if (end !== undefined && !drawable(end, log))
      throw new Error(`${where}: expected ${drawableRange(log)}, got ${end}`);
  }
  if (least !== undefined && most !== undefined && !(least < most))
    throw new Error(`${where}: expected least < most, got ${least}, ${most}`);
}

function checkPoints({ points, kind }: Series, figure: Figure, where: string): void {
  if (points.length === 0) throw new Error(`${where}: expected points, got none`);
  for (const [i, point] of points.entries()) {
    checkValue(point, figure, `${where}, point ${i + 1}`);
    const before = points[i - 1];
    if (!before || kind === 'points') continue;
    if (point[0] < before[0] || (kind === 'bars' && point[0] === before[0]))
      throw new Error(`${where}, point ${i + 1}: expected x in order, got ${point[0]} after ${before[0]}`);
  }
}

function checkValue([x, y]: Point, figure: Figure, where: string): void {
  if (!drawable(x, figure.x.log))
    throw new Error(`${where}, x: expected ${drawableRange(figure.x.log)}, got ${x}`);
  if (!drawable(y, figure.y.log))
    throw new Error(`${where}, y: expected ${drawableRange(figure.y.log)}, got ${y}`);
  const { categories } = figure.x;
  if (categories && categories[x] === undefined)
    throw new Error(`${where}, x: expected the number of a category 0..${categories.length - 1}, got ${x}`);
}

function drawable(value: number, log = false): boolean {
  return log ? value >= 1 / largest && value <= largest : Math.abs(value) <= largest;
}

function drawableRange(log = false): string {
  return log ? `a number ${1 / largest}..${largest}, for the axis is logarithmic` : `a number ±${largest}`;
}

interface Tick {
  readonly at: number;
  readonly label: string;
}

/** An axis laid along the page. */
interface Ruler {
  readonly place: (value: number) => number;
  readonly ticks: readonly Tick[];
  /** Width that a tick's label may take. */
  readonly labelRoom: number;
}

type Scale = ScaleContinuousNumeric<number, number>;

/** Where an axis begins and ends on the page. */
type Span = readonly [from: number, to: number];

/** Its ends are round numbers. */
function verticalRuler(axis: Axis, values: readonly number[], span: Span): Ruler {
  return rulerOf(scaleOf(axis, values, span).nice(verticalTicks), axis, verticalTicks);
}

/** Its ends are those of the data, and it has as many ticks as there is room for. */
function horizontalRuler(axis: Axis, values: readonly number[], whole: boolean, span: Span): Ruler {
  const scale = scaleOf(axis, values, span);
  for (let tickCount = 10; ; tickCount--) {
    const one = rulerOf(scale, axis, tickCount);
    let end = -Infinity;
    const fits = one.ticks.every(({ at, label }) => {
      const half = widthOf(label, labelSize) / 2;
      const free = at - half > end;
      end = at + half + labelSize;
      return free;
    });
    // A fraction of a device means nothing to a reader.
    const sensible = !whole || scale.ticks(tickCount).every(Number.isInteger);
    if ((fits && sensible) || tickCount === 1) return one;
  }
}

function scaleOf(axis: Axis, values: readonly number[], span: Span): Scale {
  let least = axis.least ?? Infinity;
  let most = axis.most ?? -Infinity;
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  if (least === most) {
    // One value makes no axis: reach to 0, or over one decade.
    if (axis.log) most *= 10;
    else if (least > 0) least = 0;
    else most = least === 0 ? 1 : 0;
  }
  return axis.log ? scaleLog([least, most], span) : scaleLinear([least, most], span);
}

/** A logarithmic scale leaves ticks between the powers of ten without a label; they are left out. */
function rulerOf(scale: Scale, { log }: Axis, tickCount: number): Ruler {
  const format = scale.tickFormat(tickCount, log ? ',' : undefined);
  const ticks = scale.ticks(tickCount).map(value => ({ at: scale(value), label: format(value) }));
  return {
    place: value => scale(value),
    ticks: ticks.filter(({ label }) => label !== ''),
    labelRoom: Infinity,
  };
}

function categoryRuler(categories: readonly string[], [from, to]: Span): Ruler {
  const band = (to - from) / categories.length;
  const place = (value: number) => from + (value + 0.5) * band;
  return {
    place,
    ticks: categories.map((label, i) => ({ at: place(i), label })),
    labelRoom: band - labelSize / 2,
  };
}

interface BarSlots {
  /** Series of bars, side by side at each x. */
  readonly count: number;
  /** From one x to the next, in units of x. */
  readonly step: number;
}

function barSlots({ x, series }: Figure): BarSlots {
  const bars = series.filter(one => one.kind === 'bars');
  if (x.categories) return { count: bars.length, step: 1 };
  const places = bars.flatMap(one => one.points.map(point => point[0])).sort((a, b) => a - b);
  const gaps = places.map((place, i) => place - (places[i - 1] ?? -Infinity)).filter(gap => gap > 0);
  const step = Math.min(...gaps);
  return { count: bars.length, step: step === Infinity ? 1 : step };
}

interface Style extends Look {
  readonly series: Series;
  /** Which of `looks`. */
  readonly look: number;
  /** Of a dashed series; else empty. */
  readonly dash: string;
  /** Which of the series of bars. */
  readonly slot: number;
}

function styled({ file, series }: Figure): Style[] {
  const own = series.filter(one => one.like === undefined);
  if (own.length > looks.length)
    throw new Error(
      `${file}: expected at most ${looks.length} series with a look of their own, got ${own.length}`,
    );
  let dashed = 0;
  let slot = 0;
  return series.map(one => {
    const look = own.findIndex(other => other.label === (one.like ?? one.label));
    if (look < 0)
      throw new Error(
        `${file}, series ${JSON.stringify(one.label)}: expected like to name a series with a look of its own, got ${JSON.stringify(one.like)}`,
      );
    return {
      ...looks[look]!,
      series: one,
      look,
      dash: one.dashed ? dashes[dashed++ % dashes.length]! : '',
      slot: one.kind === 'bars' ? slot++ : 0,
    };
  });
}

type Place = Ruler['place'];

function isDashed({ dash }: Style): boolean {
  return dash !== '';
}

function drawSeries(style: Style, across: Place, up: Place, bars: BarSlots): string {
  const { series, slot } = style;
  const { points, spread = [], kind } = series;
  const barWidth = (0.8 * bars.step) / bars.count;
  /** A bar and its whiskers stand in the series' slot; everything else on x itself. */
  const shift = kind === 'bars' ? (slot - (bars.count - 1) / 2) * barWidth : 0;
  const placed = points.map(([x, y]): Point => [across(x + shift), up(y)]);
  const whiskers = spread.map(([x, low, high]) => whisker(across(x + shift), [up(low), up(high)]));
  const stems = whiskers.length > 0 ? [drawWhiskers(style, whiskers)] : [];
  const title = element('title', {}, escaped(series.label));
  if (kind === 'bars') {
    const barUnits = across(barWidth) - across(0);
    const boxes = placed.map(([x, y]) =>
      bar(style, { x: x - barUnits / 2, width: barUnits, y, base: up(0) }),
    );
    return group([title, ...boxes, ...stems]);
  }
  if (kind === 'points') return group([title, ...stems, ...placed.map(point => marker(style, point))]);
  const path = line<Point>().curve(kind === 'step' ? curveStepAfter : curveLinear);
  const marked = placed.length <= mostMarked ? placed : everySoOften(placed, style.look);
  return group([
    title,
    stroke(style, path(placed) ?? ''),
    ...stems,
    ...marked.map(point => marker(style, point)),
  ]);
}

function group(parts: readonly string[]): string {
  return element('g', {}, '\n', parts.join('\n'), '\n');
}

function whisker(x: number, [low, high]: Span): string {
  const cap = `h${2 * whiskerHalf}m${-whiskerHalf} 0`;
  return `M${rounded(x - whiskerHalf)} ${rounded(low)}${cap}V${rounded(high)}m${-whiskerHalf} 0${cap}`;
}

function drawWhiskers({ series, colour }: Style, whiskers: readonly string[]): string {
  const stroke = series.kind === 'bars' ? '#000000' : colour;
  return element('path', { d: whiskers.join(''), stroke, fill: 'none' });
}

/** Points at least `markerSpacing` apart along the line; `phase` keeps the markers of close lines off each other. */
function everySoOften(points: readonly Point[], phase: number): Point[] {
  let way = (markerSpacing * phase) / looks.length;
  return points.filter(([x, y], i) => {
    const [beforeX, beforeY] = points[i - 1] ?? [x, y];
    way += Math.hypot(x - beforeX, y - beforeY);
    if (way < markerSpacing) return false;
    way %= markerSpacing;
    return true;
  });
}

function stroke({ colour, dash }: Style, d: string): string {
  const dashing = dash ? { 'stroke-dasharray': dash } : {};
  return element('path', {
    d,
    fill: 'none',
    stroke: colour,
    'stroke-width': 1.8,
    'stroke-linejoin': 'round',
    ...dashing,
  });
}

function marker({ colour, marker, dash }: Style, [x, y]: Point): string {
  return element('path', {
    d: symbol(marker, dash ? hollowMarkerArea : markerArea)() ?? '',
    transform: `translate(${rounded(x)} ${rounded(y)})`,
    fill: dash ? '#ffffff' : colour,
    stroke: colour,
    'stroke-width': 1.4,
  });
}

interface Bar {
  /** Left edge. */
  readonly x: number;
  readonly width: number;
  readonly y: number;
  /** Where it stands. */
  readonly base: number;
}

function bar({ colour, dash, look }: Style, { x, width, y, base }: Bar): string {
  const fill = dash ? '#ffffff' : look === 0 ? colour : `url(#hatch-${look})`;
  const dashing = dash ? { 'stroke-dasharray': dash } : {};
  return element('rect', {
    x,
    y: Math.min(y, base),
    width,
    height: Math.abs(base - y),
    fill,
    stroke: colour,
    'stroke-width': 1.4,
    ...dashing,
  });
}

/** What bars are filled with, one a look. The ids name the look, so that several figures on one web page agree on them. */
function hatches(styles: readonly Style[]): string[] {
  const used = styles.filter(style => style.series.kind === 'bars' && !style.dash && style.look > 0);
  if (used.length === 0) return [];
  const size = 6;
  const patterns = used.map(({ look, colour }) =>
    element(
      'pattern',
      {
        id: `hatch-${look}`,
        width: size,
        height: size,
        patternUnits: 'userSpaceOnUse',
        patternTransform: `rotate(${look * hatchTurnDegrees})`,
      },
      element('rect', { width: size, height: size, fill: '#ffffff' }),
      element('rect', { width: size, height: size / 2, fill: colour }),
    ),
  );
  return [element('defs', {}, ...patterns)];
}

/** In as many columns as the longest label allows; labels too long for the page are wrapped. */
function drawLegend(styles: readonly Style[], top: number): { parts: string[]; bottom: number } {
  const room = width - 2 * margin;
  const gap = 8;
  const labelGap = 1.5 * labelSize;
  const labels = styles.map(style => wrap(style.series.label, room - sampleWidth - gap, labelSize));
  const longest = Math.max(...labels.flat().map(label => widthOf(label, labelSize)));
  const itemWidth = Math.min(room + labelGap, sampleWidth + gap + longest + labelGap);
  const rows = Math.ceil(styles.length / Math.floor((room + labelGap) / itemWidth));
  const columns = Math.ceil(styles.length / rows);
  const start = (width - columns * itemWidth + labelGap) / 2;
  const rowHeight = Math.max(...labels.map(lines => heightOf(lines, labelSize))) + 3;
  const parts = styles.map((style, i) => {
    const x = start + (i % columns) * itemWidth;
    const y = top + Math.floor(i / columns) * rowHeight;
    return [
      ...sample(style, [x, y + labelSize * 0.62]),
      text(labels[i]!, { x: x + sampleWidth + gap, y, size: labelSize, anchor: 'start' }),
    ].join('\n');
  });
  return { parts, bottom: top + rows * rowHeight + 6 };
}

function sample(style: Style, [x, y]: Point): string[] {
  const { kind } = style.series;
  if (kind === 'bars') return [bar(style, { x, width: sampleWidth, y: y - 5, base: y + 5 })];
  const middle = marker(style, [x + sampleWidth / 2, y]);
  return kind === 'points'
    ? [middle]
    : [stroke(style, `M${rounded(x)} ${rounded(y)}h${sampleWidth}`), middle];
}

interface TextOptions {
  readonly x: number;
  /** Top of the first line. */
  readonly y: number;
  readonly size: number;
  readonly anchor: 'start' | 'middle' | 'end';
  readonly bold?: boolean;
}

function text(lines: readonly string[], { x, y, size, anchor, bold }: TextOptions): string {
  const spans = lines.map((line, i) =>
    element('tspan', { x, y: y + size * (1 + i * lineSpacing) }, escaped(line)),
  );
  const weight = bold ? { 'font-weight': 'bold' } : {};
  return element('text', { 'font-size': size, 'text-anchor': anchor, fill: '#000000', ...weight }, ...spans);
}

function widthOf(text: string, size: number, em = characterEm): number {
  return [...text].length * size * em;
}

function heightOf(lines: readonly string[], size: number): number {
  return lines.length * size * lineSpacing;
}

/** Broken at spaces; a word that is longer than the room keeps its line to itself. */
function wrap(text: string, room: number, size: number, em = characterEm): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(`${last} ${word}`, size, em) <= room)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function highLow([, low, high]: readonly [number, number, number]): number[] {
  return [low, high];
}

type Attributes = { readonly [name: string]: string | number };

function openTag(name: string, attributes: Attributes): string {
  const pairs = Object.entries(attributes).map(([key, value]) => {
    return ` ${key}="${typeof value === 'number' ? rounded(value) : escaped(value)}"`;
  });
  return `<${name}${pairs.join('')}>`;
}

/** `children` are XML already. */
function element(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const tag = openTag(name, attributes);
  return children.length > 0 ? `${tag}${children.join('')}</${name}>` : `${tag.slice(0, -1)}/>`;
}

/** Text as XML content or attribute. What XML 1.0 §2.2 allows in no document becomes U+FFFD. */
function escaped(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"]/g, character => `&#${character.charCodeAt(0)};`);
}

/** Hundredths of a unit, 2.5 µm on paper. */
function rounded(value: number): number {
  return Math.round(value * 100) / 100 + 0;
}
