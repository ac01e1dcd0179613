/** The firmware built for the SDK's Linux platform, for tests: once a process. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { environmentForModdable } from '../../host-sim/cli/flash.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

let folder: string | undefined;

/** Its path; undefined: there is no SDK, which is said. */
export function moddableProgram(): string | undefined {
  if (!process.env['MODDABLE']) {
    const why = 'MODDABLE is not set: the folder of the Moddable SDK, its tools built (docs/moddable.md)';
    if (process.env['KITH_REQUIRE_MODDABLE']) throw new Error(why);
    console.log(`SKIP: ${why}`);
    return undefined;
  }
  if (folder === undefined) {
    const out = mkdtempSync(join(tmpdir(), 'kith-moddable-build-'));
    const built = spawnSync('mcconfig', ['-m', '-p', 'x-cli-lin', '-o', out, join(root, 'manifest.json')], {
      env: environmentForModdable(process.env),
      encoding: 'utf8',
      timeout: 400_000,
    });
    assert.is(built.status, 0, `${built.stdout}${built.stderr}`.slice(-2000));
    folder = out;
  }
  return join(folder, 'bin/lin/release', basename(root));
}

/** For `test.after`. */
export function removeModdableProgram(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  folder = undefined;
}
