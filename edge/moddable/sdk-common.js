/**
 * What the SDK's modules are alike in on every platform, for sdk.d.ts.
 */

import Time from 'time';
import Timer from 'timer';

export function repeat(call, everyMs) {
  Timer.repeat(call, everyMs);
}

export function ticks() {
  return Time.ticks;
}

export function elapsedMs(from, to) {
  return Time.delta(from, to);
}

export function random() {
  return Math.random();
}

export function print(text) {
  trace(text, '\n');
}
