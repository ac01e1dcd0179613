import { test } from 'uvu';

test('passes', () => {});
test('fails', () => {
  throw new Error('on purpose');
});
test.run();
