/**
 * The named scenarios: each is a plain function from checked options to a world.
 */

import { formatTopic } from '../../agent/message/topic.js';
import { formatMac } from '../../agent/wire/address.js';
import type { Bus } from '../sim/bus.js';
import type { Kernel } from '../sim/kernel.js';
import { addHome, desktopMac, homeNode, readHomeCaptures, sshPort } from './home.js';
import { World } from './world.js';

export interface ScenarioOptions {
  /** An integer from 0 to 2^53 − 1; the same seed gives the same world. */
  readonly seed: number;
  /** Of the nodes' boot ids; `seed` if left out. */
  readonly bootSeed?: number;
  /** How many homes; left out: as many as the scenario is meant for. */
  readonly homes?: number;
}

export interface Scenario {
  /** One line for people. */
  readonly summary: string;
  readonly homes: { readonly least: number; readonly most: number; readonly usual: number };
  /** What happens besides everyday life in the homes. */
  readonly plot?: (world: World) => void;
}

/** When somebody publishes the rule that wakes the desktop, in `wake`. */
const ruleAt = 60_000;

export const scenarios: { readonly [name: string]: Scenario } = {
  home: {
    summary: 'one gateway, a sleeping desktop, a laptop that tries ssh on it, devices that chatter',
    homes: { least: 1, most: 1, usual: 1 },
  },
  street: {
    summary: 'many such homes, each with its own gateway',
    homes: { least: 1, most: 10_000, usual: 20 },
  },
  wake: {
    summary: 'home, and after a minute the rule that wakes the desktop for ssh',
    homes: { least: 1, most: 1, usual: 1 },
    plot: world => world.publishAt(ruleAt, sshRuleTopic(1), sshRule(1)),
  },
};

/** Where people publish the rule that wakes the desktop of home `number` for ssh. */
export function sshRuleTopic(number: number): string {
  return formatTopic(homeNode(number), { kind: 'rule', name: 'ssh-desktop' });
}

export function sshRule(number: number): object {
  return {
    host: formatMac(desktopMac(number)),
    trigger: { tcp: { dstPort: sshPort, flags: 'syn' } },
    action: 'wake',
    timeout: '30s',
  };
}

/**
 * Builds the world of a scenario on a kernel at time 0. Throws an Error that lists the names if there is no such
 * scenario, or names the option at fault and what was expected.
 */
export function buildWorld(
  name: string,
  options: ScenarioOptions,
  around: { readonly kernel: Kernel; readonly bus: Bus },
): World {
  const scenario = Object.hasOwn(scenarios, name) ? scenarios[name] : undefined;
  if (!scenario)
    throw new Error(`scenario: expected one of ${Object.keys(scenarios).join(', ')}, got ${name}`);
  const { least, most, usual } = scenario.homes;
  const homes = options.homes ?? usual;
  checkInteger('seed', options.seed, 0, Number.MAX_SAFE_INTEGER);
  checkInteger('homes', homes, least, most);
  const world = new World({ ...around, ...options });
  const captures = readHomeCaptures();
  for (let number = 1; number <= homes; number++) addHome(world, number, captures);
  scenario.plot?.(world);
  return world;
}

/** Throws, naming `field` and the range, unless `value` is an integer in it. */
export function checkInteger(field: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new Error(
      `${field}: expected ${least === most ? least : `an integer ${least}..${most}`}, got ${value}`,
    );
}
