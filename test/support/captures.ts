/** The captures of test/captures: where each is. Their sources are in the README.md beside them. */

import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = new URL('../captures/', import.meta.url);
/** The customer's originals, where the checkout sits beside them. */
const sharedFolder = new URL('../../../shared/captures/', import.meta.url);

/** The path of one capture, such as `pppoe.pcap`. */
export function capturePath(name: string): string {
  return fileURLToPath(new URL(name, folder));
}

/** The paths of all captures kept here. */
export function capturePaths(): string[] {
  return pathsIn(folder);
}

/** The paths of the originals beside the checkout; none where that folder is not there. */
export function sharedCapturePaths(): string[] {
  return existsSync(sharedFolder) ? pathsIn(sharedFolder) : [];
}

function pathsIn(where: URL): string[] {
  return readdirSync(where)
    .filter(name => /\.pcap(ng)?$/.test(name))
    .sort()
    .map(name => fileURLToPath(new URL(name, where)));
}
