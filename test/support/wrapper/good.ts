import { test } from 'uvu';

test('passes', () => {});
test.skip('is skipped', () => {});
test.run();
