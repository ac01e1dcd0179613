/**
 * Network namespaces for tests: made, joined by veth pairs, entered, and removed again, whatever a test did.
 *
 * A test opens its sockets inside `enter`: a socket, or TUN device, stays in the namespace it was opened in, so the test
 * itself need not run there. Programs run inside by `run` and `command`. Names hold the process id: files may run at once.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { needs } from './needs.js';

const cloneNewNet = 0x40000000;
/** A program that runs inside may take this long. */
const programLimitMs = 20_000;

const setns = koffi.load(null).func('int setns(int fd, int type)') as (fd: number, type: number) => number;

export class Namespace {
  readonly name: string;
  private static readonly made = new Set<string>();
  private static serial = 0;

  private constructor(name: string) {
    this.name = name;
  }

  /**
   * True if namespaces can be made here, and `programs` (each with its Debian package) are here. Otherwise prints one line
   * that says why not, or throws where interoperability tests are required (needs.ts).
   */
  static available(programs: { readonly [program: string]: string } = {}): boolean {
    for (const [program, debianPackage] of Object.entries({ ip: 'iproute2', ...programs }))
      if (!needs(program, debianPackage)) return false;
    const name = `kith-${process.pid}-try`;
    const tried = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
    if (tried.status === 0) {
      execFileSync('ip', ['netns', 'del', name]);
      return true;
    }
    const why = `network namespaces cannot be made: ${tried.stderr.trim().split('\n')[0]} (root is needed)`;
    if (process.env['KITH_REQUIRE_INTEROP']) throw new Error(why);
    console.log(`SKIP: ${why}`);
    return false;
  }

  /** A new namespace, its loopback up, without link-local IPv6 addresses, which would speak unasked (`ip link set IF
   * addrgenmode eui64`, before it is up, gives an interface one). */
  static make(): Namespace {
    const name = `kith-${process.pid}-${Namespace.serial++}`;
    execFileSync('ip', ['netns', 'add', name]);
    Namespace.made.add(name);
    const namespace = new Namespace(name);
    const mode = '/proc/sys/net/ipv6/conf/default/addr_gen_mode';
    namespace.run('sh', '-c', `[ ! -e ${mode} ] || echo 1 >${mode}`);
    namespace.run('ip', 'link', 'set', 'lo', 'up');
    return namespace;
  }

  /** Removes all that were made, and what is in them. For `test.after.each` or `test.after`. */
  static removeAll(): void {
    for (const name of Namespace.made) spawnSync('ip', ['netns', 'del', name]);
    Namespace.made.clear();
  }

  /** A cable between two namespaces: interface `name` here and `otherName` there, both ready to send. */
  connect(name: string, other: Namespace, otherName: string): void {
    const ends = ['link', 'add', name, 'type', 'veth', 'peer', 'name', otherName, 'netns', other.name];
    this.run('ip', ...ends);
    this.run('ip', 'link', 'set', name, 'up');
    other.run('ip', 'link', 'set', otherName, 'up');
    // Until the kernel has noticed the carrier it drops what is sent, without a word.
    this.run('sh', '-c', `until ip link show ${name} | grep -q 'state UP'; do sleep 0.01; done`);
    other.run('sh', '-c', `until ip link show ${otherName} | grep -q 'state UP'; do sleep 0.01; done`);
  }

  /** What a program prints that runs inside; throws with what it says if it fails. */
  run(program: string, ...args: readonly string[]): string {
    const [first, ...rest] = this.command(program, ...args);
    const { status, stdout, stderr, error } = spawnSync(first, rest, {
      encoding: 'utf8',
      timeout: programLimitMs,
    });
    if (status !== 0)
      throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? `${stdout}${stderr}`.trim()}`);
    return stdout;
  }

  /** The command line that runs a program inside. */
  command(program: string, ...args: readonly string[]): readonly [string, ...string[]] {
    return ['ip', 'netns', 'exec', this.name, program, ...args];
  }

  /** Calls `open`, which must not wait, with this thread in the namespace. */
  enter<T>(open: () => T): T {
    const home = openSync('/proc/thread-self/ns/net', 'r');
    const inside = openSync(`/run/netns/${this.name}`, 'r');
    try {
      if (setns(inside, cloneNewNet) !== 0) throw new Error(`setns ${this.name}: errno ${koffi.errno()}`);
      try {
        return open();
      } finally {
        // Where it fails every later test would run in the wrong place.
        if (setns(home, cloneNewNet) !== 0) process.abort();
      }
    } finally {
      closeSync(inside);
      closeSync(home);
    }
  }
}
