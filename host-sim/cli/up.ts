/**
 * `kith up` and `kith coordinator`: the main job. Broker, coordinator, and (up) a street of live simulated homes, until
 * Ctrl-C.
 */

import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { startCoordinator } from '../coordinator/start.js';
import { buildWorld } from '../scenario/scenario.js';
import { Kernel } from '../sim/kernel.js';
import { LiveClock, MqttBus } from '../sim/live.js';

export interface UpOptions {
  readonly data: string;
  readonly broker?: string;
  readonly mqtt: string;
  readonly keep: number;
  readonly host: string;
  readonly port: number;
  readonly wsPort: number;
  /** 0: no street. */
  readonly homes: number;
  readonly seed?: number;
  readonly speed?: number;
}

/** Runs until `stop` resolves; `say` is told where everything is and what happens. */
export async function up(
  options: UpOptions,
  stop: Promise<void>,
  say: (line: string) => void,
): Promise<void> {
  let isUp = false;
  // A broker or disk that does not answer must not hold whoever asks us to stop.
  stop.then(() => isUp || process.exit(130));
  const running = await startCoordinator({
    directory: options.data,
    keepMs: options.keep,
    ...(options.broker === undefined
      ? { host: options.host, port: options.port, wsPort: options.wsPort }
      : { broker: options.broker, mqttVersion: options.mqtt === '5' ? 5 : 4 }),
    log: say,
    event: ({ site, node }, { name, rule, host, packet, text }) => {
      const why = [rule && `rule ${rule}`, host, packet, text].filter(Boolean).join(', ');
      say(`${new Date().toISOString().slice(11, 19)} ${site}/${node} ${name}${why && `: ${why}`}`);
    },
  });
  const street = options.homes > 0 ? startStreet(options, options.broker ?? running.url, say) : undefined;
  for (const line of describe(options, running, street?.seed)) say(line);
  isUp = true;
  await stop;
  say('stopping');
  await street?.stop();
  await running.close();
}

interface Street {
  readonly seed: number;
  stop(): Promise<void>;
}

function startStreet(options: UpOptions, url: string, say: (line: string) => void): Street {
  const seed = options.seed ?? randomBytes(4).readUInt32BE();
  const kernel = new Kernel();
  const clock = new LiveClock(kernel, options.speed ?? 1);
  const bus = new MqttBus(url, clock, say);
  // Two runs with one seed are the same street but other lives of its nodes.
  const bootSeed = randomBytes(6).readUIntBE(0, 6);
  const world = buildWorld('street', { seed, bootSeed, homes: options.homes }, { kernel, bus });
  clock.start();
  return {
    seed,
    async stop() {
      clock.enter(() => world.stop());
      clock.stop();
      await bus.close();
    },
  };
}

function describe(
  options: UpOptions,
  running: { readonly url: string; readonly wsUrl?: string },
  seed: number | undefined,
): string[] {
  const { homes, data } = options;
  const kind = options.broker === undefined ? ' (embedded)' : '';
  // Commands find the default broker by themselves.
  const flag = running.url === 'mqtt://127.0.0.1:1883' ? '' : ` --broker ${running.url}`;
  // From a checkout the command is npm's; installed, it is on the path.
  const kith = import.meta.url.endsWith('.ts') ? 'npm run -s kith --' : 'kith';
  const lines = [
    `broker     ${running.url}${running.wsUrl ? `   ${running.wsUrl}` : ''}${kind}`,
    `data       ${resolve(data)}`,
  ];
  if (seed !== undefined) {
    const names = homes === 1 ? 'home/gw-1' : `home/gw-1 … home/gw-${homes}`;
    lines.push(
      `street     ${homes} simulated ${homes === 1 ? 'home' : 'homes'}, ${names}, seed ${seed}`,
      '',
      'In another terminal:',
      `  ${kith} node ls${flag}`,
      `  ${kith} watch gw-1${flag}`,
      `  ${kith} rule put gw-1 ssh-desktop '{"host":"3c:22:fb:01:02:03","trigger":{"tcp":{"dstPort":22,"flags":"syn"}},"action":"wake","timeout":"5m"}'${flag}`,
      `  ${kith} rule ls gw-1${flag}`,
    );
  }
  lines.push('', 'Ctrl-C stops everything.');
  return lines;
}
