/**
 * The compiled rules: the first one, in their order, that a frame matches, without walking the list.
 *
 * The boxes of all rules are sorted into a tree. A node splits its boxes by one field: each set is cut into aligned blocks
 * of a power of two (a value is a block of one, a prefix is one block), and one table for the whole tree finds by (node,
 * size, number) what is below a block. A frame looks once for each size of block that the node has. Boxes that do not ask
 * for the field stand in a node of their own, which every frame visits. A leaf is a short list in the rules' order. Every
 * node knows its first rule, so what cannot come before the match already found is not visited. Tuple space search
 * (Srinivasan et al., SIGCOMM 1999, §3) for one field at a time; as in HiCuts (Gupta and McKeown, 1999), the boxes of a
 * node choose its field.
 *
 * Up to `leafBoxes` boxes the tree is a plain list. Boxes that nothing but patterns and wildcards of names tell apart stay
 * a list, however many they are. Matching allocates nothing. A rule added or taken away since is kept beside the tree;
 * beyond `looseRules` of those the next frame compiles anew. Bounds: `sparePerBox` more places in the tree than boxes, a box;
 * then lists grow longer instead.
 */

import type { Headers } from '../wire/headers.js';
import { Fields, field, fieldCount } from './fields.js';
import { type Box, type CompiledRule, compareRules, matches, matchesInside, spansIn } from './rule.js';
import { has, type Spans } from './spans.js';

/** A list of so many is walked about as fast as it is split (test/bench/matcher.bench.ts). */
const leafBoxes = 8;
/** Before a list of more than this it pays to look at a field only to leave the list alone. */
const longList = 32;
/** A set of more blocks than this is tested, but not split by. A range of ports has 30 at most. */
const blocksPerSet = 32;
/** Places in the tree a box may have beside its first, on average: two ranges of ports have some 15 each. */
const sparePerBox = 16;
/** How many boxes of a node, and values of theirs, are looked at to choose its field. */
const sampledBoxes = 32;
const sampledValues = 8;
/** A list of so many costs a frame less than a microsecond, and compiling 10,000 rules every 32nd time some ms a rule. */
const looseRules = 32;
/** The numbers of fields have up to 49 bits (fields.ts). */
const maxSize = 49;

/** How many keys of the table a node has, one for each size of block. */
const sizeSteps = 64;
/** Instead of a place in `nodes`. */
const nowhere = 0x7fffffff;

/** What is matched: a rule, and whatever the caller keeps with it. */
export interface Ruled {
  readonly rule: CompiledRule;
}

/** A node while the tree is made. */
interface Draft {
  /** By which it is split; −1: a leaf. */
  readonly field: number;
  /** Of the blocks there are, as exponents of two. */
  readonly sizes: readonly number[];
  /** For the boxes that do not ask for the field: the number of a node, or −1. */
  readonly rest: number;
  /** All boxes here and below, in order. */
  readonly boxes: readonly number[];
}

export class Matcher<T extends Ruled> {
  private readonly items: T[];
  private tree: Tree<T>;
  /** Those that are not in the tree, in order. */
  private readonly loose: T[] = [];
  private readonly fields = new Fields();
  private questionCount = 0;

  /** `items` in any order. */
  constructor(items: readonly T[]) {
    this.items = [...items].sort(compare);
    this.tree = new Tree(this.items);
    for (const { rule } of items) if (rule.question) this.questionCount++;
  }

  /** The rules in the order they are tried. */
  get order(): readonly T[] {
    return this.items;
  }

  add(item: T): void {
    this.items.splice(placeIn(this.items, item), 0, item);
    this.loose.splice(placeIn(this.loose, item), 0, item);
    if (item.rule.question) this.questionCount++;
  }

  /** Takes away what was added or given at the start. */
  remove(item: T): void {
    this.items.splice(this.items.indexOf(item), 1);
    if (item.rule.question) this.questionCount--;
    const at = this.loose.indexOf(item);
    if (at >= 0) this.loose.splice(at, 1);
    else this.tree.forget(item);
  }

  /**
   * The first item, in order, whose rule the frame matches and which `applies`. `headers` are the frame's, scanned without
   * a fault.
   */
  match(frame: Uint8Array, headers: Headers, applies: (item: T) => boolean): T | undefined {
    const { loose, fields } = this;
    if (loose.length + this.tree.goneCount > looseRules) {
      this.tree = new Tree(this.items);
      loose.length = 0;
    }
    fields.read(frame, headers, this.questionCount > 0);
    const found = this.tree.match(fields, applies);
    for (let i = 0; i < loose.length; i++) {
      const item = loose[i];
      if (found && compare(item, found) > 0) break;
      if (matches(item.rule, fields) && applies(item)) return item;
    }
    return found;
  }
}

/** The rules as they were when it was made. */
class Tree<T extends Ruled> {
  goneCount = 0;
  /** In order; taken away since: `undefined`. */
  private readonly items: (T | undefined)[];
  /** While matching: the place of the first rule known to match. */
  private found = 0;

  // All boxes in order: the place of the rule of each, its tests, and the spans of each test.
  private readonly places: Int32Array;
  private readonly testsAt: Int32Array;
  private readonly testFields: Uint8Array;
  private readonly spansAt: Int32Array;
  private readonly lows: Float64Array;
  private readonly highs: Float64Array;

  /**
   * The nodes, one behind the other, and the root the first. The place of its first rule, and: of a leaf −1, the number of
   * its boxes, its boxes in order; of another its field, its number, the rest, the number of sizes of its blocks, the sizes.
   */
  private readonly nodes: Int32Array;
  /** Where the first of them begins; as in the table. */
  private readonly root: number;
  // The table of blocks, open addressing: two numbers an entry, a key of node and size (−1: none) and where the node below
  // begins in `nodes`, or if that has one box only, −1 − box; and the number of the block.
  private entries = new Int32Array(2).fill(-1);
  private blocks = new Float64Array(1);
  private entryCount = 0;
  /** 1 / 2^size; none if no node is split. */
  private readonly scales: Float64Array;

  constructor(items: readonly T[]) {
    this.items = [...items];
    const boxes: Box[] = [];
    const places: number[] = [];
    let testCount = 0;
    let spanCount = 0;
    for (let place = 0; place < items.length; place++) {
      for (const box of items[place].rule.boxes) {
        boxes.push(box);
        places.push(place);
        for (const { spans, isImplied } of box.tests) {
          if (isImplied) continue;
          testCount++;
          spanCount += spans.length / 2;
        }
      }
    }
    this.places = new Int32Array(places);
    this.testsAt = new Int32Array(boxes.length + 1);
    this.testFields = new Uint8Array(testCount);
    this.spansAt = new Int32Array(testCount + 1);
    this.lows = new Float64Array(spanCount);
    this.highs = new Float64Array(spanCount);
    let test = 0;
    let span = 0;
    for (let i = 0; i < boxes.length; i++) {
      for (const { field: tested, spans, isImplied } of boxes[i].tests) {
        if (isImplied) continue;
        for (let j = 0; j < spans.length; j += 2) {
          this.lows[span] = spans[j];
          this.highs[span++] = spans[j + 1];
        }
        this.testFields[test++] = tested;
        this.spansAt[test] = span;
      }
      this.testsAt[i + 1] = test;
    }
    const all: number[] = [];
    for (let i = 0; i < boxes.length; i++) all.push(i);
    const drafts = [leafOf(all)];
    this.build(0, drafts, 0, new Planner(items, boxes, places));
    const starts = this.placesOf(drafts);
    this.nodes = this.pack(drafts, starts);
    this.root = starts[0];
    this.scales = new Float64Array(drafts.length > 1 ? maxSize + 1 : 0);
    for (let size = 0, scale = 1; size < this.scales.length; size++, scale /= 2) this.scales[size] = scale;
  }

  forget(item: T): void {
    this.items[this.items.indexOf(item)] = undefined;
    this.goneCount++;
  }

  match(fields: Fields, applies: (item: T) => boolean): T | undefined {
    this.found = this.items.length;
    this.visit(this.root, fields, applies);
    return this.found < this.items.length ? this.items[this.found] : undefined;
  }

  /** Finds a match in what begins at `at` in `nodes`, or in one box. */
  private visit(at: number, fields: Fields, applies: (item: T) => boolean): void {
    if (at < 0) {
      this.tryBox(-1 - at, fields, applies);
      return;
    }
    const { nodes } = this;
    if (nodes[at] >= this.found) return;
    const by = nodes[at + 1];
    if (by < 0) {
      const end = at + 3 + nodes[at + 2];
      for (let i = at + 3; i < end; i++) if (!this.tryBox(nodes[i], fields, applies)) return;
      return;
    }
    const key = nodes[at + 2] * sizeSteps;
    if (by === field.question) {
      const { count, hashes } = fields.questions;
      for (let i = 0; i < count; i++) {
        const below = this.below(key, hashes[i]);
        if (below !== nowhere) this.visit(below, fields, applies);
      }
    } else {
      const value = fields.values[by];
      const end = at + 5 + nodes[at + 4];
      for (let i = at + 5; value >= 0 && i < end; i++) {
        const size = nodes[i];
        const below = this.below(key + size, size === 0 ? value : Math.floor(value * this.scales[size]));
        if (below !== nowhere) this.visit(below, fields, applies);
      }
    }
    const rest = nodes[at + 3];
    if (rest !== nowhere) this.visit(rest, fields, applies);
  }

  /** False if neither this box nor one behind it can make a difference. */
  private tryBox(box: number, fields: Fields, applies: (item: T) => boolean): boolean {
    const place = this.places[box];
    if (place >= this.found) return false;
    if (!this.isIn(box, fields.values)) return true;
    const item = this.items[place];
    if (!item || !matchesInside(item.rule, fields) || !applies(item)) return true;
    this.found = place;
    return false;
  }

  private isIn(box: number, values: Float64Array): boolean {
    const end = this.testsAt[box + 1];
    for (let test = this.testsAt[box]; test < end; test++) {
      const value = values[this.testFields[test]];
      const spansEnd = this.spansAt[test + 1];
      let span = this.spansAt[test];
      while (span < spansEnd && value > this.highs[span]) span++;
      if (span === spansEnd || value < this.lows[span]) return false;
    }
    return true;
  }

  /** Splits the leaf `id`, if that is of use, and those it is split into. `done`: a bit for each field already split by. */
  private build(id: number, drafts: Draft[], done: number, planner: Planner): void {
    const { boxes } = drafts[id];
    const by = boxes.length > leafBoxes ? planner.chooseField(boxes, done) : -1;
    if (by < 0) return;
    const from = drafts.length;
    const below: number[][] = [];
    const sizes: number[] = [];
    const others: number[] = [];
    for (const box of boxes) {
      const spans = planner.spansOf(box, by);
      if (!spans) others.push(box);
      for (let i = 0; spans && i < spans.length; i += 2) {
        for (let low = spans[i]; low <= spans[i + 1]; ) {
          const width = widthOf(low, spans[i + 1]);
          const size = sizeOf(width);
          if (sizes.indexOf(size) < 0) sizes.push(size);
          const child = this.enter(id * sizeSteps + size, low / width, from + below.length) - from;
          if (child === below.length) below.push([]);
          below[child].push(box);
          low += width;
        }
      }
    }
    for (const list of below) drafts.push(leafOf(list));
    const rest = others.length > 0 ? drafts.length : -1;
    if (rest >= 0) drafts.push(leafOf(others));
    drafts[id] = { field: by, sizes, rest, boxes };
    const end = drafts.length;
    for (let child = from; child < end; child++) this.build(child, drafts, done | (1 << by), planner);
  }

  /** Where each node is to begin in `nodes`; of a leaf with one box: −1 − box. */
  private placesOf(drafts: readonly Draft[]): number[] {
    const starts: number[] = [];
    let length = 0;
    for (const { field: by, sizes, boxes } of drafts) {
      if (by < 0 && boxes.length === 1) starts.push(-1 - boxes[0]);
      else {
        starts.push(length);
        length += by < 0 ? 3 + boxes.length : 5 + sizes.length;
      }
    }
    return starts;
  }

  private pack(drafts: readonly Draft[], starts: readonly number[]): Int32Array {
    const packed: number[] = [];
    for (let id = 0; id < drafts.length; id++) {
      const { field: by, sizes, rest, boxes } = drafts[id];
      if (starts[id] < 0) continue;
      packed.push(boxes.length > 0 ? this.places[boxes[0]] : 0, by);
      if (by < 0) packed.push(boxes.length);
      else packed.push(id, rest < 0 ? nowhere : starts[rest], sizes.length);
      for (const item of by < 0 ? boxes : sizes) packed.push(item);
    }
    const { entries } = this;
    for (let i = 0; i < entries.length; i += 2) if (entries[i] >= 0) entries[i + 1] = starts[entries[i + 1]];
    return new Int32Array(packed);
  }

  /** Where what is below a block begins. */
  private below(key: number, block: number): number {
    const { entries, blocks } = this;
    const mask = blocks.length - 1;
    let entry = hashOf(key, block) & mask;
    for (;;) {
      const found = entries[2 * entry];
      if (found === key && blocks[entry] === block) return entries[2 * entry + 1];
      if (found < 0) return nowhere;
      entry = (entry + 1) & mask;
    }
  }

  /** Where in the table the entry of a block is, or (its key is −1) would be. */
  private find(key: number, block: number): number {
    const { entries, blocks } = this;
    const mask = blocks.length - 1;
    let entry = hashOf(key, block) & mask;
    while (entries[2 * entry] >= 0 && (entries[2 * entry] !== key || blocks[entry] !== block))
      entry = (entry + 1) & mask;
    return entry;
  }

  /** What the table has for a block; if nothing, `fresh`, which it has from now on. */
  private enter(key: number, block: number, fresh: number): number {
    if (3 * this.entryCount >= 2 * (this.blocks.length - 1)) this.grow();
    const entry = this.find(key, block);
    if (this.entries[2 * entry] < 0) {
      this.put(entry, key, block, fresh);
      this.entryCount++;
    }
    return this.entries[2 * entry + 1];
  }

  private put(entry: number, key: number, block: number, below: number): void {
    this.entries[2 * entry] = key;
    this.entries[2 * entry + 1] = below;
    this.blocks[entry] = block;
  }

  /** Keeps a third of the table free. */
  private grow(): void {
    const { entries, blocks } = this;
    const length = Math.max(64, 2 * blocks.length);
    this.entries = new Int32Array(2 * length).fill(-1);
    this.blocks = new Float64Array(length);
    for (let i = 0; i < blocks.length; i++) {
      const key = entries[2 * i];
      if (key >= 0) this.put(this.find(key, blocks[i]), key, blocks[i], entries[2 * i + 1]);
    }
  }
}

/** Says by which field boxes are split best. Only needed while a tree is made. */
class Planner {
  private readonly boxes: readonly Box[];
  /** Of each box: the names its rule asks for as hashes, if they say it all. */
  private readonly names: readonly (Spans | undefined)[];
  /** Of each box and field: how many blocks the set has; 0: it cannot be split by that. */
  private readonly blocks: Uint8Array;
  /** How many places more than boxes the tree may still get. */
  private spare: number;

  constructor(items: readonly Ruled[], boxes: readonly Box[], places: readonly number[]) {
    this.boxes = boxes;
    this.names = places.map(place => nameHashes(items[place].rule));
    this.blocks = new Uint8Array(boxes.length * fieldCount);
    this.spare = sparePerBox * boxes.length;
    for (let box = 0; box < boxes.length; box++) {
      for (const test of boxes[box].tests)
        if (!test.isImplied) this.blocks[box * fieldCount + test.field] = countBlocks(test.spans);
      const names = this.names[box];
      if (names) this.blocks[box * fieldCount + field.question] = countBlocks(names);
    }
  }

  /** What the box asks of the field, if it can be split by it. */
  spansOf(box: number, by: number): Spans | undefined {
    if (this.blocks[box * fieldCount + by] === 0) return undefined;
    return by === field.question ? this.names[box] : spansIn(this.boxes[box], by);
  }

  /** The field that leaves a frame the fewest boxes to look at; −1: none would spare it a quarter. */
  chooseField(boxes: readonly number[], done: number): number {
    const step = Math.ceil(boxes.length / sampledBoxes);
    const sample: number[] = [];
    for (let i = 0; i < boxes.length; i += step) sample.push(boxes[i]);
    let fewest = 0.75 * sample.length;
    let best = -1;
    for (let by = 0; by < fieldCount; by++) {
      if ((done & (1 << by)) !== 0) continue;
      const left = this.boxesLeft(sample, by, boxes.length > longList);
      if (left >= fewest || this.sparesFor(boxes, by) > this.spare) continue;
      fewest = left;
      best = by;
    }
    if (best >= 0) this.spare -= this.sparesFor(boxes, best);
    return best;
  }

  /**
   * How many of these boxes a frame is to be held against behind a split: those that do not ask for the field, and those
   * that take its value. Frames are taken to have the values that boxes ask for, and before a long list, half of them others.
   */
  private boxesLeft(sample: readonly number[], by: number, isLong: boolean): number {
    const sets: Spans[] = [];
    for (const box of sample) {
      const spans = this.spansOf(box, by);
      if (spans) sets.push(spans);
    }
    if (sets.length === 0) return sample.length;
    const step = Math.ceil(sets.length / sampledValues);
    let taking = 0;
    let values = 0;
    for (let i = 0; i < sets.length; i += step) {
      values += isLong ? 2 : 1;
      for (const spans of sets) if (has(spans, sets[i][0])) taking++;
    }
    return sample.length - sets.length + taking / values;
  }

  private sparesFor(boxes: readonly number[], by: number): number {
    let count = 0;
    for (const box of boxes) count += Math.max(0, this.blocks[box * fieldCount + by] - 1);
    return count;
  }
}

/** The hashes of the names a rule asks for; `undefined` if it takes any name, or some by wildcard. */
function nameHashes({ question }: CompiledRule): Spans | undefined {
  if (!question || question.names.length === 0) return undefined;
  const hashes: number[] = [];
  for (const { kind, hash } of question.names) {
    if (kind !== 'exact') return undefined;
    if (hashes.indexOf(hash) < 0) hashes.push(hash, hash);
  }
  return hashes;
}

/** The largest aligned block that begins at `low` and does not pass `high`. */
function widthOf(low: number, high: number): number {
  let width = 1;
  while (low + 2 * width - 1 <= high && low % (2 * width) === 0) width *= 2;
  return width;
}

/** The exponent of a power of two. */
function sizeOf(width: number): number {
  let size = 0;
  for (; width > 1; width /= 2) size++;
  return size;
}

/** How many blocks make up a set; 0 if more than `blocksPerSet`. */
function countBlocks(spans: Spans): number {
  let count = 0;
  for (let i = 0; i < spans.length; i += 2) {
    for (let low = spans[i]; low <= spans[i + 1]; low += widthOf(low, spans[i + 1]))
      if (++count > blocksPerSet) return 0;
  }
  return count;
}

function leafOf(boxes: readonly number[]): Draft {
  return { field: -1, sizes: [], rest: -1, boxes };
}

/** Spreads keys and numbers of up to 49 bits over 32, with shifts and sums only. */
function hashOf(key: number, number: number): number {
  let hash = (number | 0) ^ ((number / 0x1_0000_0000) | 0);
  hash = (hash ^ (hash >>> 15) ^ (key << 9) ^ (key << 21)) + key;
  hash = (hash + (hash << 3)) | 0;
  hash ^= hash >>> 11;
  hash = (hash + (hash << 15)) | 0;
  return hash ^ (hash >>> 13);
}

function compare(a: Ruled, b: Ruled): number {
  return compareRules(a.rule, b.rule);
}

/** Where `item` belongs in a list in order. */
function placeIn(list: readonly Ruled[], item: Ruled): number {
  let from = 0;
  let to = list.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (compare(list[middle], item) < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}
