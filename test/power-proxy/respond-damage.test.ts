import { test } from 'uvu';
import { checkDamaged } from './respond-asking.js';
import { subjects } from './respond-subjects.js';

for (const name of Object.keys(subjects))
  test(`${name}: cut and damaged questions never throw nor get a wrong answer, and answers get none`, () => {
    checkDamaged(subjects[name], 6000);
  });

test.run();
