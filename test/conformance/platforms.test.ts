import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '../support/needs.js';
import { describeFast, isWithinAim, measuredHeading, memoryOnXs, path } from './platforms.js';

/** Sizes may differ by so much from what is written: not every change of the agent is a change of the document. */
const sizeTolerance = 0.05;

/** Lines without sizes, and the sizes. */
function split(text: string): { readonly lines: string[]; readonly kilobytes: number[] } {
  const size = /(\d+) KB/g;
  return {
    lines: text.replace(size, 'KB').split('\n'),
    kilobytes: [...text.matchAll(size)].map(([, digits]) => Number(digits)),
  };
}

function checkCurrent(document: string, fresh: string): void {
  const written = split(document.slice(0, document.indexOf(measuredHeading)).trimEnd());
  const now = split(fresh.trimEnd());
  assert.equal(written.lines, now.lines);
  for (const [i, size] of now.kilobytes.entries()) {
    const before = written.kilobytes[i] ?? 0;
    assert.ok(
      Math.abs(size - before) <= Math.max(1, size * sizeTolerance),
      `${before} KB written, ${size} KB now: node --import tsx test/conformance/platforms.ts --fast`,
    );
  }
}

test('docs/platforms.md says of jobs, features and sizes what holds today', async () => {
  const fresh = await describeFast();
  checkCurrent(readFileSync(path, 'utf8'), fresh);
  for (const stale of [fresh.replace('| yes |', '| no |'), fresh.replace(/\d+ KB/, '1 KB')]) {
    let isFound = false;
    try {
      checkCurrent(`${stale}${measuredHeading}`, fresh);
    } catch {
      isFound = true;
    }
    assert.ok(isFound, 'this test can fail');
  }
});

(process.platform === 'linux' && needs('gcc', 'gcc') && needs('make', 'make') ? test : test.skip)(
  'on XS of 32 bits the agent at rest keeps to 1,024 slots and 16 KB beyond its code, with the power proxy too',
  async () => {
    const loaded = await memoryOnXs('loaded');
    if (!loaded) return;
    for (const mode of ['bare', 'idle', 'board'] as const) {
      const memory = await memoryOnXs(mode, loaded);
      assert.ok(memory && memory.slots > 0 && isWithinAim(memory), `${mode}: ${JSON.stringify(memory)}`);
    }
  },
);

test.run();
