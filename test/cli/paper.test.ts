import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { printKibbutzPaper } from '../../host-sim/cli/paper.js';

/** Few runs: what is printed is tested here, not how near it comes to the paper. */
const words = { policy: 'paper', runs: 1, seed: 1, wait: 30_000 } as const;

async function printed(more: Partial<Parameters<typeof printKibbutzPaper>[0]>): Promise<string[]> {
  const lines: string[] = [];
  await printKibbutzPaper({ ...words, ...more }, line => {
    lines.push(line);
  });
  return lines;
}

interface JsonRow {
  readonly id: string;
  readonly paper: number | null;
  readonly ours: number;
  readonly unit: string;
}

test('--json prints one object whose rows have id, paper, ours and unit, the same ids for both policies', async () => {
  const [paper] = await printed({ json: true });
  const [kith] = await printed({ json: true, policy: 'kith' });
  const rowsOf = (line: string): JsonRow[] => JSON.parse(line).rows;
  for (const { id, paper: theirs, ours, unit } of rowsOf(kith)) {
    assert.type(ours, 'number', id);
    assert.ok(theirs === null || typeof theirs === 'number', id);
    assert.ok(unit.length > 0, id);
  }
  const cell = rowsOf(paper).find(({ id }) => id === 'table2.2/web/streaming');
  assert.is(cell?.paper, 48);
  assert.is(cell?.unit, '% up');
  const ids = new Set(rowsOf(kith).map(({ id }) => id));
  for (const { id } of rowsOf(paper)) assert.ok(ids.has(id), id);
  for (const id of ['alike/streaming/3/up', 'alike/web/3/rtt', 'alike/web/3/transitions', 'table2.2/web/all'])
    assert.ok(ids.has(id), id);
});

test('without --json it prints a line for each figure with the difference, the comparison, and where the paper disagrees', async () => {
  const lines = await printed({ policy: 'kith' });
  const cell = lines.find(line => line.startsWith('table2.2/web/streaming '));
  assert.match(cell as string, /^table2\.2\/web\/streaming +48 +\d+\.?\d* +[+-]\d+\.?\d* +% up$/);
  assert.ok(lines.some(line => line.startsWith('web/streaming ')));
  assert.ok(lines.some(line => line.startsWith('Where the paper disagrees')));
});

test('--out writes a plot for each figure, and says which; a path that cannot be written is named', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kith-paper-'));
  try {
    const lines = await printed({ out: join(directory, 'plots') });
    const files = readdirSync(join(directory, 'plots')).sort();
    assert.ok(
      files.includes('fig-2.14a.svg') && files.includes('fig-2.16.svg') && files.includes('fig-2.20c.svg'),
    );
    for (const file of files) {
      assert.ok(lines.includes(`wrote ${join(directory, 'plots', file)}`), file);
      assert.match(readFileSync(join(directory, 'plots', file), 'utf8'), /^(<\?xml[^>]*>\s*)?<svg /);
    }
    writeFileSync(join(directory, 'file'), '');
    let message = '';
    await printed({ out: join(directory, 'file') }).catch(error => {
      message = (error as Error).message;
    });
    assert.match(message, /--out: expected a directory/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test.run();
