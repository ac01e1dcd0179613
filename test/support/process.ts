/** Child processes for tests: started, waited for until they say they are ready, and ended by their id. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

const kith = fileURLToPath(new URL('../../host-sim/cli/kith.ts', import.meta.url));

export class Process {
  /** All it printed, standard output and error. */
  output = '';
  readonly ended: Promise<number | null>;
  private readonly child: ChildProcess;
  private static readonly running = new Set<ChildProcess>();

  private constructor(program: string, args: readonly string[], input?: string | Uint8Array) {
    this.child = spawn(program, args, { stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
    this.child.stdin?.end(input);
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', chunk => {
        this.output += chunk;
      });
    Process.running.add(this.child);
    this.ended = new Promise((resolve, reject) => {
      this.child.on('close', code => {
        Process.running.delete(this.child);
        resolve(code);
      });
      this.child.on('error', reject);
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** For `test.after.each`: ends what a failed test left running, so that the failure is told instead of a hang. */
  static async killAll(): Promise<void> {
    for (const child of Process.running) child.kill('SIGKILL');
  }

  /** Starts a program; resolves once its output matches `ready`, rejects with the output if it ends before. */
  static async start(program: string, args: readonly string[], ready: RegExp): Promise<Process> {
    const process = new Process(program, args);
    await process.says(ready);
    return process;
  }

  /** For Node: what runs a `kith` command from the source tree. */
  static kithArguments(args: readonly string[]): string[] {
    return ['--import', 'tsx', kith, ...args];
  }

  static kith(args: readonly string[], ready = /Ctrl-C stops/): Promise<Process> {
    return Process.start(process.execPath, Process.kithArguments(args), ready);
  }

  /** Runs a `kith` command to its end. */
  static async runKith(
    args: readonly string[],
    input?: string,
  ): Promise<{ code: number | null; output: string }> {
    const run = new Process(process.execPath, Process.kithArguments(args), input);
    return { code: await run.ended, output: run.output };
  }

  static async run(
    program: string,
    args: readonly string[],
  ): Promise<{ code: number | null; output: string }> {
    const run = new Process(program, args);
    return { code: await run.ended, output: run.output };
  }

  /** As `runKith`, with a terminal (script of util-linux) as standard output and error. */
  static runKithOnTerminal(args: readonly string[]): Promise<{ code: number | null; output: string }> {
    const command = [process.execPath, ...Process.kithArguments(args)].map(word => `'${word}'`).join(' ');
    return Process.run('script', ['-qec', command, '/dev/null']);
  }

  /** Resolves when the output matches; rejects, with the output, if the process ends first or says nothing of it. */
  says(pattern: RegExp, limitMs = 30_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (how: string) =>
        reject(new Error(`${how} before saying ${pattern}: ${this.output.slice(-4000)}`));
      const timer = setTimeout(() => fail(`waited ${limitMs / 1000} s`), limitMs);
      const look = () => {
        if (!pattern.test(this.output)) return;
        clearTimeout(timer);
        resolve();
      };
      this.child.stdout?.on('data', look);
      this.child.stderr?.on('data', look);
      this.ended.then(code => {
        clearTimeout(timer);
        fail(`ended with ${code}`);
      }, reject);
      look();
    });
  }

  /** Ends it; resolves to its exit code, `null` if the signal ended it. */
  kill(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.ended;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise(resolve => server.close(resolve));
  return port;
}

/** Resolves when `condition` holds; rejects, saying what was awaited, after `limitMs`. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  const endAt = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > endAt) throw new Error(`expected ${what} within ${limitMs / 1000} s`);
    await new Promise(resolve => setTimeout(resolve, 25));
  }
}
