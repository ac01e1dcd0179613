/**
 * What this program calls itself in `info.firmware`: `kith` and the version of the package.json it was installed with, which is
 * two directories up from here, three from where the compiler puts it.
 */

import { readFileSync } from 'node:fs';

export const firmware = `kith ${packageVersion()}`;

function packageVersion(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8'));
      if (name === 'kith-agents' && typeof version === 'string') return version;
    } catch {
      // Not that one.
    }
  }
  return 'of an unknown version';
}
