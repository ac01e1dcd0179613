/**
 * Writes docs/platforms.md: `node --import tsx test/conformance/platforms.ts`, a minute; with `--fast` what was measured stays.
 *
 * No figure and no yes or no in it is typed: which job a platform has is read from what its entry really bundles, which rule
 * it takes is asked of its agent with a sample of each trigger and action of messages.cddl, sizes are esbuild's, memory and
 * rates those of measure.ts on each engine. conformance/platforms.test.ts holds all but the measured part against the file.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { Agent } from '../../agent/agent.js';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { type JobFactory, type JobName, jobNames } from '../../agent/job.js';
import { type CborMap, type CborValue, decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { descriptors } from '../../agent/message/messages.js';
import type { Link } from '../../agent/port/platform.js';
import { datagramParts } from '../../agent/power-proxy/datagram-parts.js';
import { powerProxyWith } from '../../agent/power-proxy/job.js';
import { powerProxyOf } from '../../agent/power-proxy/power-proxy.js';
import { buildFirmware } from '../../edge/espruino/build.js';
import { missing, SmallAgent } from '../../edge/espruino/small-agent.js';
import { proxyCounters, SmallProxy } from '../../edge/espruino/small-proxy.js';
import { bundle, type Dialect } from './bundle.js';
import { espruino, node, type Run, xs, xsMemory } from './engines.js';
import type { Mode } from './measure.js';
import { bytesOf } from './scenario.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const path = `${root}docs/platforms.md`;
export const measuredHeading = '## Measured';

/** A platform: what is bundled, and the words of it. */
interface Platform {
  readonly name: string;
  readonly entries: readonly string[];
  /** Why a job may be missing. */
  readonly why: { readonly [job in JobName]?: string };
  /** Of a job that is there, what is not. */
  readonly inPart?: { readonly [job in JobName]?: string };
}

const platforms: readonly Platform[] = [
  { name: 'Linux gateway', entries: ['edge/linux/main.ts'], why: reasonsIn('edge/linux/platform.ts') },
  {
    name: 'Simulator',
    entries: ['host-sim/cli/sim.ts', 'host-sim/cli/sim-kibbutz.ts', 'host-sim/cli/proxy.ts'],
    why: {
      pppoe: 'no scenario has it; `kith bras` and `kith pppoe` run it on real interfaces',
      update: 'it has no firmware',
    },
  },
  {
    name: 'Moddable, ESP32',
    entries: ['edge/moddable/main.ts'],
    why: reasonsIn('edge/moddable/platform.ts'),
  },
  {
    name: 'Espruino',
    entries: ['edge/espruino/main.ts'],
    why: missing,
    inPart: {
      kibbutz: `${missing['kibbutz/own-packets']}, in a firmware without the power proxy: \`--jobs kibbutz\``,
    },
  },
];

/** The reasons that a platform's source gives its agent for its birth message. */
function reasonsIn(file: string): { readonly [job in JobName]?: string } {
  if (!existsSync(root + file)) return {};
  const given = /missing(?:: Missing =|:) \{([^}]*)\}/.exec(readFileSync(root + file, 'utf8'))?.[1] ?? '';
  const reasons: { [job in JobName]?: string } = {};
  for (const job of jobNames) {
    const reason = new RegExp(`'?${job}'?: '([^']+)'`).exec(given)?.[1];
    if (reason !== undefined) reasons[job] = reason;
  }
  return reasons;
}

/** The file without which a job is not there. */
const jobFiles: { readonly [job in JobName]: readonly string[] } = {
  kibbutz: ['agent/kibbutz/job.ts', 'agent/kibbutz/kibbutz.ts', 'edge/espruino/small-kibbutz.ts'],
  'power-proxy': ['agent/power-proxy/power-proxy.ts', 'edge/espruino/small-proxy.ts'],
  pppoe: ['agent/pppoe/job.ts'],
  update: ['agent/update/job.ts'],
};

/** What an entry comes to, minified, without the packages it needs. */
interface Bundled {
  readonly files: ReadonlySet<string>;
  readonly agentBytes: number;
  readonly otherBytes: number;
}

/** What edge/moddable's manifest puts in the place of sdk.d.ts and slots.d.ts. */
const sdkOfBoards: Plugin = {
  name: 'sdk',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/(sdk|slots)\.js$/ }, ({ path: file, resolveDir }) => ({
      path: `${resolveDir}/${file.replace('.js', '-esp32.js')}`,
    }));
  },
};

async function bundled({ entries }: Platform): Promise<Bundled | undefined> {
  if (!entries.every(entry => existsSync(root + entry))) return undefined;
  const { metafile } = await build({
    absWorkingDir: root,
    stdin: {
      contents: entries.map((entry, i) => `export * as e${i} from './${entry}';`).join('\n'),
      resolveDir: root,
    },
    bundle: true,
    write: false,
    metafile: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    plugins: [sdkOfBoards],
    tsconfig: `${root}tsconfig.base.json`,
    logLevel: 'error',
  });
  const files = new Set<string>();
  let agentBytes = 0;
  let otherBytes = 0;
  for (const { inputs } of Object.values(metafile.outputs))
    for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
      if (bytesInOutput === 0) continue;
      files.add(file);
      if (file.startsWith('agent/')) agentBytes += bytesInOutput;
      else otherBytes += bytesInOutput;
    }
  return { files, agentBytes, otherBytes };
}

/** Publishes a payload on a leaf of a node, and gives what it said on another. */
type Ask = (leaf: string, payload: Uint8Array, answerLeaf: string) => CborMap | undefined;

const topicOf = (leaf: string) => `kith/1/home/gw-1/${leaf}`;

/** What is published last on a leaf while an agent's outbox is emptied. */
function lastOf(
  outbox: { shift(): { readonly kind: string } | undefined },
  leaf: string,
): CborMap | undefined {
  let last: CborMap | undefined;
  for (let effect = outbox.shift(); effect; effect = outbox.shift()) {
    if (effect.kind !== 'publish') continue;
    const { topic, payload } = effect as { kind: string; topic: string; payload: Uint8Array };
    const decoded = topic === topicOf(leaf) ? decodeCbor(payload, { depth: 8 }) : undefined;
    if (decoded?.ok) last = decoded.value as CborMap;
  }
  return last;
}

/** The power proxy of agent/ on a link where it hears frames, and as boards have it. */
const onFrames = askOf({ name: 'lan', mac: bytesOf('02005e100001') }, powerProxyWith({ seed: 1 }));
const onDatagrams = askOf(
  { name: 'udp', mac: bytesOf('02005e100001'), hearsOthers: false, hears: 'datagrams' },
  powerProxyOf(datagramParts),
);

function askOf(link: Link, job: JobFactory): Ask {
  return (leaf, payload, answerLeaf) => ask(link, job, [leaf, payload, answerLeaf]);
}

function ask(link: Link, job: JobFactory, [leaf, payload, answerLeaf]: Parameters<Ask>): CborMap | undefined {
  const agent = new Agent(0, {
    site: 'home',
    node: 'gw-1',
    firmware: 'probe',
    platform: 'any',
    boot: '00000001',
    links: [link],
    jobs: [job],
    saved: {},
  });
  agent.receive(0, { kind: 'bus-up', sessionPresent: false });
  let last = lastOf(agent.outbox, answerLeaf);
  for (const [to, text] of [
    [topicOf('host/desktop'), json({ mac: host, state: 'asleep' })],
    [topicOf(leaf), payload],
  ] as const)
    agent.receive(0, { kind: 'message', topic: to, payload: text, retained: false });
  for (let now = 0; now <= 5000; now = Math.max(now + 1, agent.pollAt())) {
    last = lastOf(agent.outbox, answerLeaf) ?? last;
    agent.poll(now);
  }
  return lastOf(agent.outbox, answerLeaf) ?? last;
}

const onEspruino: Ask = (leaf, payload, answerLeaf) => {
  const agent = new SmallAgent(0, {
    site: 'home',
    node: 'gw-1',
    firmware: 'probe',
    boot: '00000001',
    jobCounters: proxyCounters,
    makeJob: (now, voice) => new SmallProxy(now, voice, {}),
  });
  agent.receive(0, { kind: 'bus-up' });
  let last = lastOf(agent.outbox, answerLeaf);
  agent.receive(0, { kind: 'message', topic: topicOf(leaf), payload, retained: false });
  for (let i = 0; i < 9; i++) {
    last = lastOf(agent.outbox, answerLeaf) ?? last;
    agent.poll(0);
  }
  return last;
};

const host = '3c:22:fb:01:02:03';
const samples: { readonly [trigger: string]: CborValue } = {
  any: true,
  asked: true,
  registered: true,
  class: 'dont-wake',
  timer: { every: '1h' },
  ethernet: { cast: 'broadcast' },
  arp: { operation: 'request' },
  ipv4: { srcAddress: '192.0.2.0/24' },
  ipv6: { dstAddress: 'fe80::/10' },
  icmp: { type: 8 },
  icmpv6: { type: 135 },
  tcp: { dstPort: 22 },
  udp: { dstPort: 5683 },
  dns: { name: '*.example' },
  mdns: { name: 'printer.local' },
  llmnr: { name: 'printer' },
  nbns: { name: 'PRINTER' },
  payload: { from: 'network', offset: 9, bytes: '06' },
};
const actions: { readonly [action: string]: CborMap } = {
  wake: { action: 'wake' },
  drop: { action: 'drop' },
  respond: { action: 'respond' },
  redirect: { action: 'redirect', redirect: { stub: 'ids' } },
};

/** What each responder is asked by, or that it is time. */
const asking: { readonly [responder: string]: CborMap } = {
  arp: { arp: {} },
  nd: { icmpv6: { type: 135 } },
  echo: { icmp: { type: 8 } },
  igmp: { ipv4: { protocol: 2 } },
  mld: { icmpv6: { type: 130 } },
  mdns: { mdns: {} },
  llmnr: { llmnr: {} },
  nbns: { nbns: {} },
  ssdp: { udp: { dstPort: 1900 } },
  snmp: { udp: { dstPort: 161 } },
  'tcp-keepalive': { tcp: {} },
  dhcp: { timer: { every: '1m' } },
  dhcpv6: { timer: { every: '1m' } },
  'nat-keepalive': { timer: { every: '1m' } },
};

/** What the contract lets stand in a field of a rule; one without a sample is a fault here. */
function namesOf(field: 'trigger' | 'responder?', sampled: { readonly [name: string]: unknown }): string[] {
  const shape = (descriptors.rule as unknown as [string, string | unknown]).find(
    part => Array.isArray(part) && part[0] === field,
  ) as unknown as [string, readonly (string | readonly [string])[]] | undefined;
  const names = (shape?.[1] ?? [])
    .slice(1)
    .map(part => (typeof part === 'string' ? part : part[0].replace('?', '')));
  const without = names.filter(name => sampled[name] === undefined);
  if (names.length === 0 || without.length > 0)
    throw new Error(`${field}: expected a sample of each, got none of ${without.join(', ') || 'any'}`);
  return names;
}

const json = (value: CborValue) => encodeUtf8(JSON.stringify(value));

/** A row: what is asked for, and how. */
interface Feature {
  readonly what: string;
  ask(ask: Ask): 'yes' | 'accepted' | { readonly no: string };
}

function rule(what: string, payload: Uint8Array): Feature {
  return {
    what,
    ask: ask => {
      const status = ask('rule/probe', payload, 'rule/probe/status');
      if (status?.['status'] !== 'accepted') return { no: String(status?.['reason'] ?? 'no answer') };
      const warnings = (status['warnings'] ?? []) as readonly CborMap[];
      return warnings.some(({ kind }) => kind === 'unanswerable') ? 'accepted' : 'yes';
    },
  };
}

function features(): Feature[] {
  const rows: Feature[] = [];
  for (const name of namesOf('trigger', samples))
    rows.push(
      rule(
        `trigger \`${name}\``,
        json({ host, trigger: { [name]: samples[name] as CborValue }, action: 'wake' }),
      ),
    );
  for (const [name, action] of Object.entries(actions)) {
    const trigger = { udp: { dstPort: 5683 } };
    rows.push(rule(`action \`${name}\``, json({ host, trigger, ...action })));
  }
  for (const responder of namesOf('responder?', asking))
    rows.push(
      rule(
        `responder \`${responder}\``,
        json({ host, trigger: asking[responder] as CborMap, action: 'respond', responder }),
      ),
    );
  rows.push(
    rule(
      'a rule in CBOR instead of JSON',
      encodeCbor({ host, trigger: { udp: { dstPort: 5683 } }, action: 'wake' }),
    ),
  );
  for (const verb of ['report', 'wake'])
    rows.push({
      what: `request \`${verb}\``,
      ask: ask => {
        const answer = ask(
          `request/${verb}`,
          json(verb === 'wake' ? { transaction: 't', host } : { transaction: 't' }),
          `response/${verb}`,
        );
        return answer?.['ok'] === true ? 'yes' : { no: String(answer?.['error'] ?? 'no answer') };
      },
    });
  return rows;
}

const notBuilt = 'not built';

/** Everything above `measuredHeading`. */
export async function describeFast(): Promise<string> {
  const builds = await Promise.all(platforms.map(bundled));
  const notes: string[] = [];
  const noted = (reason: string, said = 'no'): string => {
    // The same for all of them.
    const why = reason.replace(/^trigger\.\w+:/, 'trigger:').replace(/^(responder: .*), got [\w-]+$/, '$1');
    if (!notes.includes(why)) notes.push(why);
    return `${said} (${notes.indexOf(why) + 1})`;
  };
  const hasJob = (at: number, job: JobName) => jobFiles[job].some(file => builds[at]?.files.has(file));
  const rows: string[][] = [];
  for (const job of jobNames)
    rows.push([
      `**${job}**`,
      ...platforms.map(({ why, inPart }, at) => {
        if (!builds[at]) return notBuilt;
        if (!hasJob(at, job)) return noted(why[job] ?? 'not in its build');
        const part = inPart?.[job];
        return part === undefined ? 'yes' : noted(part, 'in part');
      }),
    ]);
  const asks: readonly (Ask | undefined)[] = [onFrames, onFrames, onDatagrams, onEspruino];
  for (const feature of features())
    rows.push([
      feature.what,
      ...platforms.map((_, at) => {
        const ask = asks[at];
        if (!builds[at]) return notBuilt;
        if (!ask || !hasJob(at, 'power-proxy')) return noted('no power proxy in its build');
        const said = feature.ask(ask);
        return typeof said === 'string' ? said : noted(said.no);
      }),
    ]);
  const sizes: string[][] = [];
  for (const [at, { name }] of platforms.entries()) {
    const one = builds[at];
    if (name === 'Espruino') {
      for (const jobs of ['power-proxy', 'kibbutz', 'none'] as const)
        sizes.push([`Espruino, \`--jobs ${jobs}\``, '', kilobytes((await buildFirmware({ jobs })).length)]);
    } else if (!one) sizes.push([name, notBuilt, notBuilt]);
    else sizes.push([name, kilobytes(one.agentBytes), kilobytes(one.agentBytes + one.otherBytes)]);
  }
  return `# Platforms

Written by \`node --import tsx test/conformance/platforms.ts\`; not to be edited. How each platform is used: [gateway.md](gateway.md),
[moddable.md](moddable.md), [espruino.md](espruino.md).

The same agent, and the same conformance suite (test/conformance/: vectors, scenarios with frames, times and rules), runs on Node, XS and
Espruino, and prints the same bytes on each; Espruino leaves out text beyond Latin-1. That a platform's *firmware* does less than its
engine could is what the first table is about: a job is there if what the firmware is built from holds it; a rule or a request, if its
agent accepted one when this was written. *Accepted* says no more than that: the status has the warning \`unanswerable\`, for a Moddable
board hears UDP to the board, to all, and mDNS alone (edge/moddable/udp-link.ts), and no other frame ever matches there.

## Jobs and features

${table(['', ...platforms.map(({ name }) => name)], rows)}

${notes.map((why, i) => `${i + 1}. ${why}`).join('\n')}

## Code size

Kilobytes (1,000 bytes), minified by esbuild, without the packages and the SDK that a platform needs besides.

${table(['', 'of agent/', 'in all'], sizes)}
`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function kilobytes(bytes: number): string {
  return `${Math.round(bytes / 1000)} KB`;
}

const grouped = (value: number) => value.toLocaleString('en-US');

/** Three runs each, the middle one; long enough for a just-in-time compiler to settle. */
const runsEach = 3;
const engines: readonly {
  readonly name: string;
  readonly dialect: Dialect;
  readonly frameCount: number;
  readonly run: () => Run | undefined;
}[] = [
  {
    name: `Node ${process.version.slice(1)}`,
    dialect: 'modern',
    frameCount: 1_000_000,
    run: () => node,
  },
  { name: 'XS 13.3 (xsnap 0.15.0)', dialect: 'modern', frameCount: 50_000, run: xs },
  { name: 'Espruino for Linux', dialect: 'espruino', frameCount: 1_000, run: espruino },
];

const measure = (mode: Mode, dialect: Dialect, frameCount = 0) =>
  bundle('measure.ts', dialect, { minify: true, define: { modes: [mode], frameCount } });

/** What an agent at rest should keep to on a board (issue 6). */
const aim = { slots: 1024, chunkBytes: 16_384 };
export function isWithinAim({ slots, chunkBytes }: { readonly slots: number; readonly chunkBytes: number }) {
  return slots <= aim.slots && chunkBytes <= aim.chunkBytes;
}

interface Memory {
  readonly slots: number;
  readonly chunkBytes: number;
}

/** What XS holds in a mode; beyond `loaded`, which is its code. `undefined` where there is no XS of 32 bits. */
export async function memoryOnXs(mode: Mode, loaded?: Memory): Promise<Memory | undefined> {
  const made = xsMemory(await measure(mode, 'modern'));
  if (!made || !loaded) return made;
  return { slots: made.slots - loaded.slots, chunkBytes: made.chunkBytes - loaded.chunkBytes };
}

async function describeMeasured(): Promise<string> {
  const rates: string[][] = [];
  const memory: string[][] = [];
  for (const { name, dialect, frameCount, run: given } of engines) {
    const run = given();
    const script = await measure('speed', dialect, frameCount);
    const size = kilobytes(script.length);
    if (!run) {
      rates.push([name, size, 'not measured', 'not measured']);
      continue;
    }
    const lines: string[] = [];
    for (let i = 0; i < runsEach; i++) lines.push(...run(script));
    const median = (label: string) => {
      const values = lines
        .filter(line => line.startsWith(`${label} `))
        .map(line => Number(line.slice(label.length + 1)))
        .sort((a, b) => a - b);
      if (values.length !== runsEach || values.some(value => !(value > 0)))
        throw new Error(`${name}: expected ${runsEach} lines of ${label}, got ${lines.join(' / ')}`);
      return grouped(values[(runsEach - 1) / 2] as number);
    };
    rates.push([name, size, median('frames/s'), median('messages/s')]);
  }
  const loaded = await memoryOnXs('loaded');
  for (const [mode, words] of [
    ['bare', 'agent without a job'],
    ['idle', 'with the power proxy, no rule'],
    ['ruled', 'with the power proxy, 8 rules and a host asleep'],
    ['board', 'as on a Moddable board, no rule'],
    ['board-ruled', 'as on a Moddable board, 8 rules and a host asleep'],
  ] as const) {
    const onXs = loaded && (await memoryOnXs(mode, loaded));
    const run = espruino();
    const words3 = run?.(await measure(mode, 'espruino')).find(line => line.startsWith('variables '));
    const [, before, after] = words3?.split(' ') ?? [];
    memory.push([
      words,
      onXs ? `${grouped(onXs.slots)} slots, ${grouped(onXs.chunkBytes)} bytes of chunks` : 'not measured',
      onXs ? (isWithinAim(onXs) ? 'yes' : 'no') : 'not measured',
      before === undefined ? 'not measured' : `${grouped(Number(after) - Number(before))} variables`,
    ]);
  }
  const [cpu] = cpus();
  return `${measuredHeading}

On ${new Date().toISOString().slice(0, 10)}, ${cpu?.model ?? 'unknown processor'}, with other work beside it: not asserted by any test. One thread of a
PC, not a board: what compares is the engines.

The agent of agent/ with the power proxy, one sleeping host and eight rules (test/conformance/measure.ts). Frames: a mix of eight that a
LAN's neighbours send, each taken from the wire's bytes to the verdict. Messages: \`request/report\` in, and birth, statuses and answer
out, both counted. The middle of ${runsEach} runs of ${engines.map(({ frameCount }) => grouped(frameCount)).join(', ')} frames.

${table(['engine', 'this program, minified', 'frames/s', 'messages/s'], rates)}

RAM of the agent beyond its code: the difference between a machine with the code alone and one with the agent, all garbage collected. On XS
from its snapshot, built with \`gcc -m32\`: slots of 16 bytes and pointers of 4, as on a board; its code and constant tables a board has in
flash. On Espruino \`process.memory().usage\` (27-byte variables; a board's have 12 to 16). *As on a Moddable board*: with its limits
(edge/moddable/limits.ts) and the parts of the power proxy that it can use (agent/power-proxy/datagram-parts.ts), without its sockets and
its kibbutz. Node's heap says little of an agent; the daemon's resident memory is in [gateway.md](gateway.md), the variables of Espruino's
own firmware in [espruino.md](espruino.md), what a Moddable machine needs in all in [moddable.md](moddable.md).

${table(['', 'XS', `within ${grouped(aim.slots)} slots and ${grouped(aim.chunkBytes)} bytes`, 'Espruino'], memory)}
`;
}

export function measuredOf(document: string): string {
  const at = document.indexOf(measuredHeading);
  if (at < 0) throw new Error(`docs/platforms.md: expected ${measuredHeading}`);
  return document.slice(at);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const measured = process.argv.includes('--fast')
    ? measuredOf(readFileSync(path, 'utf8'))
    : await describeMeasured();
  writeFileSync(path, `${await describeFast()}\n${measured}`);
}
