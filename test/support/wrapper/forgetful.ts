import { test } from 'uvu';

test('never runs, for the last line is missing', () => {});
