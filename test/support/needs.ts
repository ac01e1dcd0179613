/**
 * Whether a program an interoperability test needs is here. Continuous integration sets KITH_REQUIRE_INTEROP, and a
 * missing program is a failure there; elsewhere it is one line that says how to get it.
 */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** True if `program` is on PATH. Otherwise throws where interoperability is required, or prints one line. */
export function needs(program: string, debianPackage: string): boolean {
  const path = process.env['PATH'] ?? '';
  if (path.split(delimiter).some(folder => isExecutable(join(folder, program)))) return true;
  if (process.env['KITH_REQUIRE_INTEROP'])
    throw new Error(`${program} is required (KITH_REQUIRE_INTEROP is set): apt-get install ${debianPackage}`);
  console.log(`SKIP: ${program} not found: apt-get install ${debianPackage}`);
  return false;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
