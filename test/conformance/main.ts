/** What runs on an engine: the suite, with what bundle.ts put in and the engine's own `print`. */

import { type Given, runSuite } from './suite.js';

declare const given: Given;
declare function print(line: string): void;

runSuite(given, line => print(line));
