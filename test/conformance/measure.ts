/**
 * What runs on an engine to be measured: the agent with the power proxy, one sleeping host and eight rules. `modes` holds
 * one, put in by bundle.ts:
 *
 *     loaded      the code is there, no agent      the difference in memory is what the agent takes at rest
 *     bare        an agent without a job
 *     idle        the agent with the power proxy, without a rule or a host
 *     ruled       the same with the host and the rules
 *     board       as idle, with the limits and the parts of the power proxy that a Moddable board has
 *     board-ruled
 *     speed       prints frames and messages per second
 */

import { Agent } from '../../agent/agent.js';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { defaultLimits } from '../../agent/limits.js';
import { datagramParts } from '../../agent/power-proxy/datagram-parts.js';
import { powerProxy } from '../../agent/power-proxy/job.js';
import { powerProxyOf } from '../../agent/power-proxy/power-proxy.js';
import { limits as limitsOfBoards } from '../../edge/moddable/limits.js';
import { frames } from './frames.js';
import { bytesOf } from './scenario.js';

export type Mode = 'loaded' | 'bare' | 'idle' | 'ruled' | 'board' | 'board-ruled' | 'speed';

/** In an array, or the bundler would leave out what it knows not to run. */
declare const modes: readonly Mode[];
declare const frameCount: number;
declare function print(line: string): void;
declare const performance: { now(): number } | undefined;
declare const getTime: (() => number) | undefined;
declare const process: { memory(): { usage: number } } | undefined;

/** On Espruino there is no `performance`. */
const nowMs = () =>
  typeof performance === 'undefined' ? (getTime as () => number)() * 1000 : performance.now();
const variables = () =>
  typeof process === 'undefined' || !('memory' in process) ? -1 : process.memory().usage;

const host = '3c:22:fb:01:02:03';
/** Nothing of the mix but ARP matches before the last; nothing is answered. */
const rules: readonly string[] = [
  `{"host":"${host}","trigger":{"tcp":{"dstPort":22,"flags":"syn"}},"action":"wake"}`,
  '{"trigger":{"tcp":{"dstPort":"8000-8010"}},"action":"wake"}',
  '{"trigger":{"udp":{"dstPort":5683}},"action":"wake"}',
  '{"trigger":{"mdns":{"name":"printer.local"}},"action":"wake"}',
  '{"trigger":{"nbns":{"name":"PRINTER"}},"action":"wake"}',
  '{"trigger":{"ipv4":{"srcAddress":"198.51.100.0/24"}},"action":"wake"}',
  '{"trigger":{"arp":{"operation":"request"}},"action":"drop"}',
  '{"trigger":{"any":true},"action":"drop","priority":0}',
];

function made(mode: Mode): Agent {
  const isBoard = mode === 'board' || mode === 'board-ruled';
  const agent = new Agent(0, {
    site: 'home',
    node: 'gw-1',
    firmware: 'measure 1',
    platform: 'any',
    boot: '00000001',
    links: [
      isBoard
        ? { name: 'udp', mac: bytesOf('02005e100001'), hearsOthers: false, hears: 'datagrams' }
        : { name: 'lan', mac: bytesOf('02005e100001') },
    ],
    jobs: mode === 'bare' ? [] : [isBoard ? powerProxyOf(datagramParts) : powerProxy],
    limits: isBoard ? limitsOfBoards : defaultLimits,
    saved: {},
    telemetryMs: 1e9,
  });
  agent.receive(0, { kind: 'bus-up', sessionPresent: false });
  if (mode === 'ruled' || mode === 'board-ruled' || mode === 'speed') {
    publish(
      agent,
      'host/desktop',
      `{"mac":"${host}","ipv4":["192.0.2.10"],"names":["desktop"],"state":"asleep"}`,
    );
    for (let i = 0; i < rules.length; i++) publish(agent, `rule/r-${i}`, rules[i]);
    for (let now = 0; now < 5000; now += 500) settle(agent, now);
  }
  settle(agent, 5000);
  return agent;
}

function publish(agent: Agent, leaf: string, text: string): void {
  const topic = `kith/1/home/gw-1/${leaf}`;
  agent.receive(0, { kind: 'message', topic, payload: encodeUtf8(text), retained: false });
  settle(agent, 0);
}

/** How many publications left. */
function settle(agent: Agent, now: number): number {
  let publications = 0;
  for (;;) {
    for (let effect = agent.outbox.shift(); effect; effect = agent.outbox.shift())
      if (effect.kind === 'publish') publications++;
    if (agent.pollAt() > now) return publications;
    agent.poll(now);
  }
}

function speed(): void {
  const agent = made('speed');
  const mix = [
    frames.arp1,
    frames.mdns1,
    frames.nbns1,
    frames.knock,
    frames.echo1,
    frames.nd1,
    frames.ssdp1,
    frames.llmnr1,
  ];
  const bytes: Uint8Array[] = [];
  for (const frame of mix) bytes.push(bytesOf(frame));
  let at = nowMs();
  for (let i = 0; i < frameCount; i++)
    agent.receive(5000, { kind: 'frame', link: 'lan', frame: bytes[i % bytes.length] });
  print(`frames/s ${Math.round((frameCount * 1000) / (nowMs() - at))}`);
  const payload = encodeUtf8('{"transaction":"measure"}');
  const asked = Math.ceil(frameCount / 100);
  let messages = 0;
  at = nowMs();
  for (let i = 0; i < asked; i++) {
    agent.receive(6000, {
      kind: 'message',
      topic: 'kith/1/home/gw-1/request/report',
      payload,
      retained: false,
    });
    messages += 1 + settle(agent, 6000);
  }
  print(`messages/s ${Math.round((messages * 1000) / (nowMs() - at))}`);
}

/** Held, so that no collector takes the agent or its code before the memory is looked at. */
const kept: Agent[] = [];
const mode = modes[0];
if (mode === 'speed') speed();
else {
  const before = variables();
  if (mode !== 'loaded') kept.push(made(mode));
  print(`variables ${before} ${variables()} ${kept.length}`);
}
(globalThis as { kept?: unknown }).kept = [kept, made, speed];
