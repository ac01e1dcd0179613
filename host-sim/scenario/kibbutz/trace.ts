/**
 * A trace of one device's traffic, as a text file (RFC 4180 without quotes):
 *
 *     # the radio on a train, 2026-05-10
 *     timeMs,bytes,direction
 *     0,500,up
 *     230.5,6000,down
 *
 * The first line names the fields; `timeSeconds` may stand for `timeMs`. Times count from when the device begins, may have
 * a fraction and never fall; they are rounded to milliseconds. Empty lines and lines that begin with `#` are skipped.
 *
 * Bounds: `mostTraceEntries`, `mostTraceMs`; whoever reads the file bounds its bytes. A trace with anything wrong is refused whole.
 */

import type { TraceEntry } from '../../sim/app.js';

/** An exchange a second for eleven days. */
export const mostTraceEntries = 1_000_000;
/** 30 days, the longest scenario. Seconds since 1970 are beyond it, so nobody's clock is taken for a span. */
export const mostTraceMs = 30 * 86_400_000;
/** Of one exchange: a gigabyte. */
const mostEntryBytes = 1_000_000_000;

const unitsMs: { readonly [field: string]: number } = { timeMs: 1, timeSeconds: 1000 };

/**
 * The entries of a trace, in the order of the file. Throws an Error that names the file (`name`), the line, the field at
 * fault, what was expected there and what came: `train.csv line 17: bytes: expected an integer 0..1000000000, got x`.
 */
export function parseTrace(name: string, text: string): TraceEntry[] {
  const entries: TraceEntry[] = [];
  let unitMs: number | undefined;
  let line = 0;
  const wrong = (field: string, expected: string, got: string) =>
    new Error(`${name} line ${Math.max(1, line)}: ${field}: expected ${expected}, got ${got.slice(0, 40)}`);
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    const content = text.slice(start, end).trim();
    start = end + 1;
    line++;
    if (content === '' || content.startsWith('#')) continue;
    const fields = content.split(',', 4).map(field => field.trim());
    if (unitMs === undefined) {
      unitMs = Object.hasOwn(unitsMs, fields[0]) ? unitsMs[fields[0]] : undefined;
      if (unitMs === undefined || fields[1] !== 'bytes' || fields[2] !== 'direction' || fields.length !== 3)
        throw wrong('header', 'timeMs,bytes,direction or timeSeconds,bytes,direction', content);
      continue;
    }
    if (fields.length !== 3) throw wrong('line', 'time,bytes,direction', content);
    if (entries.length === mostTraceEntries)
      throw wrong('line', `at most ${mostTraceEntries} entries`, 'more');
    const [time, size, direction] = fields;
    const atMs = /^\d{1,10}(\.\d{1,9})?$/.test(time) ? Math.round(Number(time) * unitMs) : Number.NaN;
    if (!(atMs <= mostTraceMs)) throw wrong('time', `0..${mostTraceMs / unitMs} since the start`, time);
    const before = entries.length > 0 ? entries[entries.length - 1].atMs : 0;
    if (atMs < before) throw wrong('time', `at least ${before / unitMs}, the line before`, time);
    const bytes = /^\d{1,10}$/.test(size) ? Number(size) : Number.NaN;
    if (!(bytes <= mostEntryBytes)) throw wrong('bytes', `an integer 0..${mostEntryBytes}`, size);
    if (direction !== 'up' && direction !== 'down') throw wrong('direction', 'up or down', direction);
    entries.push({ atMs, bytes, direction });
  }
  if (entries.length === 0) throw wrong('line', 'at least one entry', 'the end of the file');
  return entries;
}
