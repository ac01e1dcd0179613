/**
 * The conformance suite: the same scripts, vectors and pairs on every engine, printed as lines that must be the same bytes.
 * `sentinel` is the last one, for an engine that stops early exits as if nothing were wrong (XS, Espruino).
 */

import { decodeUtf8 } from '../../agent/core/bytes.js';
import { duets } from './duets.js';
import { bytesOf, type Print, play } from './scenario.js';
import { scenarios } from './scenarios.js';
import { checkVectors, checkWideTexts } from './vectors.js';

export const sentinel = '# end of the suite';
/** The only section that an engine may leave out. */
export const wideSection = '# texts beyond Latin-1, and JSON that is none';

export interface Given {
  /** CBOR to be decoded, in hex; `wideCbor` holds text beyond Latin-1. */
  readonly cbor: readonly string[];
  readonly wideCbor: readonly string[];
  /** Ethernet frames nobody here wrote, in hex. */
  readonly captured: readonly string[];
}

export function runSuite(given: Given, print: Print): void {
  checkVectors(given, print);
  for (const scenario of scenarios) play(scenario, print);
  duets(print);
  // Asked of the agent's own decoder: a minifier knows what String.fromCharCode of a constant is elsewhere.
  if (decodeUtf8(bytesOf('e282ac'))?.charCodeAt(0) === 0x20ac) {
    print(wideSection);
    checkWideTexts(given, print);
  }
  print(sentinel);
}
