import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runFile } from './run.js';

const sample = (name: string) => fileURLToPath(new URL(`./support/wrapper/${name}.ts`, import.meta.url));

test('the wrapper counts passes and skips', async () => {
  const outcome = await runFile(sample('good'));
  assert.equal([outcome.passed, outcome.failed, outcome.skipped, outcome.fault], [1, 0, 1, undefined]);
});

test('the wrapper counts a failing test', async () => {
  const outcome = await runFile(sample('failing'));
  assert.equal([outcome.passed, outcome.failed, outcome.fault], [1, 1, undefined]);
});

test('the wrapper fails a file that forgets test.run()', async () => {
  assert.match((await runFile(sample('forgetful'))).fault ?? '', 'test.run()');
});

test('the wrapper fails a file that leaves a handle open, and names the handle', async () => {
  const outcome = await runFile(sample('open'));
  assert.match(outcome.fault ?? '', 'handle open');
  assert.match(outcome.output, 'TCPServerWrap');
});

test.run();
