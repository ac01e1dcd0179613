/**
 * Plays a script to an agent and prints all that it does, a line an effect, in order. Runs on every engine: it keeps to the
 * language of agent/ (CONTRIBUTING.md), and what it prints must be the same bytes everywhere.
 *
 *     <at> publish <topic> <qos> <retain> <payload in hex>     <at> transmit <link> <frame in hex>
 *     <at> save <key> <value in hex, or ->                     and so on, one word for each kind of effect
 */

import { Agent } from '../../agent/agent.js';
import { encodeUtf8, formatHex, parseHex } from '../../agent/core/bytes.js';
import type { JobFactory } from '../../agent/job.js';
import type { Effect, Input } from '../../agent/port/effect.js';
import type { Link, Saved } from '../../agent/port/platform.js';

export type Print = (line: string) => void;

/** What happens, and when: ms since the scenario began, never before the step above. Deadlines up to it are met first. */
export type Step = { readonly at: number } & (
  | { readonly bus: 'up' | 'down' }
  | { readonly stop: true }
  /** The power fails, and comes back: a new agent with what the last one saved. */
  | { readonly reboot: true }
  /** A publication on a leaf of this node: text (JSON), or bytes in hex. */
  | { readonly leaf: string; readonly text: string; readonly retained?: boolean }
  | { readonly leaf: string; readonly hex: string }
  /** A publication on any topic, empty. */
  | { readonly topic: string }
  /** A frame in hex, heard on the link `lan` if not said otherwise. */
  | { readonly frame: string; readonly link?: string }
  | { readonly input: Input }
  /** Only time passes. */
  | { readonly nothing: true }
);

export interface Scenario {
  readonly name: string;
  readonly jobs: readonly JobFactory[];
  readonly saved?: () => Saved;
  readonly steps: readonly Step[];
  /** What its transcript must say, in this order; read by the runner on Node (conformance.test.ts). */
  readonly expect: readonly string[];
}

const lan: Link = {
  name: 'lan',
  // 02:00:5e:10:00:01, the proxy the frames of frames.ts are for; 192.0.2.1 and fe80::5eff:fe10:1
  mac: bytesOf('02005e100001'),
  addresses: [bytesOf('c0000201'), bytesOf('fe8000000000000000005efffe100001')],
};

/** Scenarios last hours; with the default of 10 s they would say little else. */
const telemetryMs = 600_000;
/** Steps after one input until the agent is at rest; more is a fault of the agent. */
const mostPolls = 1000;

export function play(scenario: Scenario, print: Print): void {
  const saved: { [key: string]: Uint8Array } = {};
  const given = scenario.saved ? scenario.saved() : {};
  for (const key of Object.keys(given)) saved[key] = given[key];
  let boots = 0;
  let agent = boot(0);

  function boot(now: number): Agent {
    boots++;
    const copy: { [key: string]: Uint8Array } = {};
    for (const key of Object.keys(saved)) copy[key] = saved[key];
    return new Agent(now, {
      site: 'home',
      node: 'gw-1',
      firmware: 'conformance 1',
      platform: 'any',
      boot: `0000000${boots}`,
      links: [lan],
      jobs: scenario.jobs,
      missing: { pppoe: 'no line here' },
      saved: copy,
      telemetryMs,
    });
  }

  function drain(now: number): void {
    for (let effect = agent.outbox.shift(); effect; effect = agent.outbox.shift()) {
      print(`${now} ${describe(effect)}`);
      if (effect.kind !== 'save') continue;
      if (effect.value) saved[effect.key] = effect.value;
      else delete saved[effect.key];
    }
  }

  function pass(until: number): void {
    let polls = 0;
    for (let at = agent.pollAt(); at <= until; at = agent.pollAt()) {
      const now = Math.max(at, clock);
      if (now > clock) polls = 0;
      clock = now;
      if (++polls > mostPolls) throw new Error(`${scenario.name}: the agent never comes to rest at ${now}`);
      agent.poll(now);
      drain(now);
    }
    clock = until;
  }

  let clock = 0;
  print(`# ${scenario.name}`);
  for (const step of scenario.steps) {
    pass(step.at);
    if ('reboot' in step) agent = boot(step.at);
    const input = inputOf(step);
    if (input) agent.receive(step.at, input);
    drain(step.at);
    pass(step.at);
  }
}

function inputOf(step: Step): Input | undefined {
  if ('bus' in step)
    return step.bus === 'up' ? { kind: 'bus-up', sessionPresent: false } : { kind: 'bus-down' };
  if ('stop' in step) return { kind: 'shutdown' };
  if ('topic' in step)
    return { kind: 'message', topic: step.topic, payload: new Uint8Array(0), retained: false };
  if ('text' in step) {
    const { leaf, text, retained = false } = step;
    return { kind: 'message', topic: `kith/1/home/gw-1/${leaf}`, payload: encodeUtf8(text), retained };
  }
  if ('hex' in step)
    return {
      kind: 'message',
      topic: `kith/1/home/gw-1/${step.leaf}`,
      payload: bytesOf(step.hex),
      retained: false,
    };
  if ('frame' in step) return { kind: 'frame', link: step.link ?? 'lan', frame: bytesOf(step.frame) };
  return 'input' in step ? step.input : undefined;
}

export function describe(effect: Effect): string {
  switch (effect.kind) {
    case 'publish':
      return `publish ${effect.topic} ${effect.qos} ${effect.retain} ${formatHex(effect.payload)}`;
    case 'subscribe':
      return `subscribe ${effect.filter} ${effect.qos}`;
    case 'transmit':
      return `transmit ${effect.link} ${formatHex(effect.frame)}`;
    case 'save':
      return `save ${effect.key} ${effect.value ? formatHex(effect.value) : '-'}`;
    case 'log':
      return `log ${effect.level} ${effect.text}`;
    case 'redirect':
      return `redirect ${effect.stub} ${effect.link} ${formatHex(effect.frame)}`;
    case 'datagram':
      return effect.link === 'local'
        ? `datagram ${effect.peer ?? 'all'} ${formatHex(effect.payload)}`
        : `datagram uplink ${formatHex(effect.payload)}`;
    case 'deliver':
    case 'line-deliver':
      return `${effect.kind} ${formatHex(effect.packet)}`;
    case 'radio':
      return `radio ${effect.state}`;
    case 'path-priority':
      return `path-priority ${effect.path} ${effect.priority}`;
    case 'image-fetch':
      return `image-fetch ${effect.uri} ${effect.from} ${effect.size}`;
    case 'image-stop':
      return 'image-stop';
    case 'slot':
      return `slot ${effect.action}`;
    case 'line':
      return effect.state === 'up' ? `line up ${formatHex(effect.address)}` : 'line down';
    default:
      return unreachable(effect);
  }
}

/** Bytes of hex digits. Throws on anything else. */
export function bytesOf(hex: string): Uint8Array {
  const bytes = parseHex(hex);
  if (!bytes) throw new Error(`hex: expected pairs of hex digits, got ${hex}`);
  return bytes;
}

function unreachable(value: never): string {
  throw new Error(`unreachable: ${String(value)}`);
}
