/**
 * Sets of numbers as spans: low and high, both included, ascending, disjoint and not adjacent. Every set a rule names is
 * kept so, whether it was a value, a list, a range or a prefix: `[22, 22, 8000, 8080]`.
 */

export type Spans = readonly number[];

/** The set of `pairs` (low, high, low, high …), in whatever order and overlap. */
export function spansOf(pairs: readonly number[]): Spans {
  const order: number[] = [];
  for (let i = 0; i < pairs.length; i += 2) order.push(i);
  order.sort((a, b) => pairs[a] - pairs[b]);
  const spans: number[] = [];
  for (const i of order) {
    const last = spans.length - 1;
    if (last >= 0 && pairs[i] <= spans[last] + 1) spans[last] = Math.max(spans[last], pairs[i + 1]);
    else spans.push(pairs[i], pairs[i + 1]);
  }
  return spans;
}

export function intersect(a: Spans, b: Spans): Spans {
  const spans: number[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const low = Math.max(a[i], b[j]);
    const high = Math.min(a[i + 1], b[j + 1]);
    if (low <= high) spans.push(low, high);
    if (a[i + 1] < b[j + 1]) i += 2;
    else j += 2;
  }
  return spans;
}

/** Whether every number of `inner` is in `outer`. */
export function covers(outer: Spans, inner: Spans): boolean {
  let i = 0;
  for (let j = 0; j < inner.length; j += 2) {
    while (i < outer.length && outer[i + 1] < inner[j]) i += 2;
    if (i === outer.length || outer[i] > inner[j] || outer[i + 1] < inner[j + 1]) return false;
  }
  return true;
}

export function overlap(a: Spans, b: Spans): boolean {
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i + 1] < b[j]) i += 2;
    else if (b[j + 1] < a[i]) j += 2;
    else return true;
  }
  return false;
}

export function has(spans: Spans, value: number): boolean {
  for (let i = 0; i < spans.length; i += 2) if (value <= spans[i + 1]) return value >= spans[i];
  return false;
}

/** How many numbers there are. */
export function countOf(spans: Spans): number {
  let count = 0;
  for (let i = 0; i < spans.length; i += 2) count += spans[i + 1] - spans[i] + 1;
  return count;
}
