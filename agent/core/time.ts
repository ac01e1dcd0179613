/**
 * Time: integer milliseconds on a monotonic clock, always handed in as `now`.
 *
 * A deadline is named `…At`, a span `…Ms`. `never` is the deadline that does not come.
 */

/** The deadline that does not come; compares greater than every instant. */
export const never = Infinity;

const unitMs: { readonly [unit: string]: number } = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** The longest duration a message may carry: 10 years, far below 2^53 ms. */
export const longestDurationMs = 3650 * 86_400_000;

/**
 * Milliseconds of a duration as people write it: a whole number and a unit `ms`, `s`, `m`, `h` or `d`, such as `30s`.
 * `undefined` if the text is not one, or is longer than ten years.
 */
export function parseDuration(text: string): number | undefined {
  let digits = 0;
  while (
    digits < text.length &&
    digits < 12 &&
    text.charCodeAt(digits) >= 48 &&
    text.charCodeAt(digits) <= 57
  )
    digits++;
  if (digits === 0) return undefined;
  const unit = text.slice(digits);
  if (unit !== 'ms' && unit !== 's' && unit !== 'm' && unit !== 'h' && unit !== 'd') return undefined;
  const ms = Number(text.slice(0, digits)) * unitMs[unit];
  return ms <= longestDurationMs ? ms : undefined;
}

/** The shortest text `parseDuration` reads back as `ms` (a non-negative integer). */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    if (ms > 0 && ms % unitMs[unit] === 0) return `${ms / unitMs[unit]}${unit}`;
  }
  return `${ms}ms`;
}
