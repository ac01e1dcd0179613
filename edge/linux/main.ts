#!/usr/bin/env node
/**
 * `kith agent`: the gateway daemon. Runs what a configuration says (config.ts) until SIGTERM or SIGINT; SIGHUP reads it again.
 *
 *     kith agent --config FILE         until it is told to stop
 *     kith agent check --config FILE   says what is wrong with it, or `ok`; opens and changes nothing
 *
 * Lines of the log begin with their level as systemd reads it (sd-daemon(3)): `<3>` error, `<4>` warning, `<6>` information.
 */

import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import type { LogLevel } from '../../agent/port/effect.js';
import { type Config, readConfig } from './config.js';
import { checkJobs, Platform } from './platform.js';
import { serviceManager } from './service-manager.js';

export const defaultConfigPath = '/etc/kith/agent.json';

/** Throws, naming the file and the field, if the gateway would not run as it says. */
export function checkAgent(path: string): Config {
  const read = readConfig(path);
  if (!read.ok) throw new Error(read.reason);
  try {
    checkJobs(read.value);
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`);
  }
  return read.value;
}

/** Runs until a signal says stop. Rejects if it cannot start. */
export async function runAgent(path: string): Promise<void> {
  let config = checkAgent(path);
  let platform = await Platform.start(config, log);
  log('info', `${config.site}/${config.node} runs: ${path}`);
  const manager = serviceManager(process.env);
  manager.ready();
  await new Promise<void>(resolve => {
    let reloading = Promise.resolve();
    process.on('SIGHUP', () => {
      reloading = reloading.then(async () => {
        manager.reloading();
        ({ config, platform } = await reload(path, config, platform));
        manager.ready();
      });
    });
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => {
        manager.stopping();
        log('info', `${signal}: stopping; counted ${JSON.stringify(platform.counts())}`);
        reloading.then(() => platform.stop()).then(resolve);
      });
  });
}

interface Running {
  readonly config: Config;
  readonly platform: Platform;
}

/** What the file says now runs, or what ran before. */
async function reload(path: string, config: Config, platform: Platform): Promise<Running> {
  let next: Config;
  try {
    next = checkAgent(path);
  } catch (error) {
    log('error', `the configuration stays as it was: ${(error as Error).message}`);
    return { config, platform };
  }
  if (isDeepStrictEqual(next, config)) {
    log('info', 'the configuration has not changed');
    return { config, platform };
  }
  await platform.stop();
  try {
    const started = await Platform.start(next, log);
    log('info', `${next.site}/${next.node} runs anew: ${path}`);
    return { config: next, platform: started };
  } catch (error) {
    log('error', `the configuration stays as it was: ${(error as Error).message}`);
    return { config, platform: await Platform.start(config, log) };
  }
}

const levels: { readonly [level in LogLevel]: number } = { error: 3, warn: 4, info: 6 };

function log(level: LogLevel, text: string): void {
  // What strangers publish must not steer a terminal or forge a line: control characters are shown as escapes.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const harmless = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, one => JSON.stringify(one).slice(1, -1));
  process.stderr.write(`<${levels[level]}>${harmless}\n`);
}

async function main(words: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...words],
    options: { config: { type: 'string', default: defaultConfigPath } },
    allowPositionals: true,
  });
  const path = values.config;
  const [verb, ...others] = positionals;
  if (others.length > 0 || (verb !== undefined && verb !== 'check'))
    throw new Error(`expected nothing or check, got ${positionals.join(' ')}`);
  if (verb === 'check') {
    checkAgent(path);
    process.stdout.write(`${path}: ok\n`);
  } else {
    await runAgent(path);
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  main(process.argv.slice(2)).catch(error => {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  });
