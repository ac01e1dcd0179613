/** A disk of a few KiB for tests of what happens when it is full or read-only: a tmpfs, mounted where the test says. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class SmallDisk {
  readonly path: string;
  private static readonly made = new Set<string>();

  private constructor(path: string) {
    this.path = path;
  }

  /** True if one can be mounted here. Otherwise prints one line, or throws where interoperability tests are required (needs.ts). */
  static available(): boolean {
    try {
      SmallDisk.make(64);
      return true;
    } catch (error) {
      if (process.env['KITH_REQUIRE_INTEROP']) throw error;
      console.log(`SKIP: ${(error as Error).message}`);
      return false;
    } finally {
      SmallDisk.removeAll();
    }
  }

  static make(kibibytes: number): SmallDisk {
    const path = mkdtempSync(join(tmpdir(), 'kith-disk-'));
    SmallDisk.made.add(path);
    mount('-t', 'tmpfs', '-o', `size=${kibibytes}k`, 'tmpfs', path);
    return new SmallDisk(path);
  }

  /** For `test.after.each`. */
  static removeAll(): void {
    for (const path of SmallDisk.made) {
      spawnSync('umount', ['-l', path]);
      rmdirSync(path);
    }
    SmallDisk.made.clear();
  }

  remount(how: 'ro' | 'rw'): void {
    mount('-o', `remount,${how}`, this.path);
  }

  /** Takes all the room there is; returns what gives it back. */
  fill(): () => void {
    const filler = join(this.path, 'filler');
    // Down to single bytes: a page that is begun takes more.
    for (const chunk of [4096, 64, 1])
      try {
        for (;;) writeFileSync(filler, Buffer.alloc(chunk), { flag: 'a' });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    return () => rmSync(filler);
  }
}

function mount(...words: readonly string[]): void {
  const { status, stderr, error } = spawnSync('mount', words, { encoding: 'utf8' });
  if (status !== 0)
    throw new Error(`a small disk cannot be mounted: ${error?.message ?? stderr.trim()} (root is needed)`);
}
