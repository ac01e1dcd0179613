/**
 * `kith sim`: runs a scenario without a network, as fast as it goes, and says what happened. The same scenario, seed
 * and duration give the same result to the last byte.
 */

import { type FileHandle, open } from 'node:fs/promises';
import { decodeUtf8 } from '../../agent/core/bytes.js';
import type { Counts } from '../../agent/core/counters.js';
import { formatDuration } from '../../agent/core/time.js';
import { defaultLimits } from '../../agent/limits.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import type { RuleStatus, Telemetry } from '../../agent/message/messages.js';
import { type NodeId, parseTopic } from '../../agent/message/topic.js';
import { formatAddress, formatMac } from '../../agent/wire/address.js';
import { buildWorld, checkInteger, type ScenarioOptions } from '../scenario/scenario.js';
import type { World } from '../scenario/world.js';
import { MemoryBus, type Publication } from '../sim/bus.js';
import type { Host } from '../sim/host.js';
import { Kernel } from '../sim/kernel.js';
import { PcapTap, RunDigest } from '../sim/tap.js';
import { Progress } from './progress.js';

export interface SimulateOptions extends ScenarioOptions {
  /** Virtual milliseconds to run, 1 … a year. */
  readonly durationMs: number;
  /** Where the frames of the first home's segment go as a pcap file. */
  readonly pcap?: string;
}

export interface SimulationResult {
  readonly scenario: string;
  readonly seed: number;
  readonly virtualMs: number;
  /** Events the kernel fired. */
  readonly events: number;
  /** Frames sent on all segments. */
  readonly frames: number;
  /** Frames lost on segments and links, publications not delivered and frames beyond the capture's limit, by reason. */
  readonly drops: Counts;
  readonly publications: number;
  readonly nodes: readonly NodeResult[];
  readonly hosts: readonly HostResult[];
  /** SHA-256 over every frame and publication with its time, in order. */
  readonly digest: string;
}

export interface NodeResult extends NodeId {
  readonly state: string;
  readonly boots: number;
  /** Rule id → its retained status. */
  readonly rules: { readonly [id: string]: RuleStatus };
  /** Job → counters of its latest telemetry. */
  readonly telemetry: { readonly [job: string]: Counts };
}

export interface HostResult {
  readonly name: string;
  readonly mac: string;
  readonly address: string;
  readonly awakeMs: number;
  readonly asleepMs: number;
  readonly counters: Counts;
}

const longestRunMs = 365 * 86_400_000;
/** Events between two looks at what else the process has to do, such as an interrupt or to show progress. */
const eventsAtOnce = 50_000;

/** Throws an Error that names the option at fault, or lists the scenarios there are. */
export async function simulate(name: string, options: SimulateOptions): Promise<SimulationResult> {
  const { seed, durationMs, pcap } = options;
  checkInteger('durationMs', durationMs, 1, longestRunMs);
  const kernel = new Kernel();
  const bus = new MemoryBus(kernel);
  const world = buildWorld(name, options, { kernel, bus });

  const digest = new RunDigest();
  world.addTap(digest);
  // Telemetry is not retained: its latest is kept here.
  const latest = new Map<string, Publication>();
  bus.listen((now, publication) => {
    digest.publication(now, publication.topic, publication.payload);
    if (publication.topic.includes('/telemetry/')) latest.set(publication.topic, publication);
  });
  const tap = pcap === undefined ? undefined : new PcapTap();
  if (tap) world.segments[0].addTap(tap);
  // Opened before the run: a path that cannot be written should not cost one.
  const file = pcap === undefined ? undefined : await openForWriting(pcap);
  const progress = new Progress(`simulating ${name}`);
  try {
    do {
      kernel.run(durationMs, eventsAtOnce);
      progress.update(kernel.now / durationMs);
      await new Promise(resolve => setImmediate(resolve));
    } while (kernel.now < durationMs);
    if (tap) await file?.writeFile(tap.bytes()).catch(error => Promise.reject(unwritable(pcap, error)));
  } finally {
    progress.done();
    await file?.close();
  }

  const reports = gather([...bus.retained.values(), ...latest.values()]);
  return {
    scenario: name,
    seed,
    virtualMs: kernel.now,
    events: kernel.fired,
    frames: digest.frames,
    drops: dropsOf(world, bus, tap),
    publications: bus.counters.get('published'),
    nodes: world.nodes.map(node => ({
      ...node.id,
      boots: node.boots,
      ...(reports.get(keyOf(node.id)) ?? nothingReported()),
    })),
    hosts: world.hosts.map(resultOf),
    digest: digest.hex(),
  };
}

/** What the `kith` command takes. */
export interface SimulationWords extends ScenarioOptions {
  /** Virtual milliseconds. */
  readonly duration: number;
  readonly pcap?: string;
  readonly json?: boolean;
}

/** Simulates, and prints the result: one JSON object on one line, or lines for people. */
export async function printSimulation(
  name: string,
  { duration, json, ...options }: SimulationWords,
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const result = await simulate(name, { ...options, durationMs: duration });
  const lines = json ? [JSON.stringify(result)] : describeSimulation(result);
  for (const line of lines) await print(line);
}

function describeSimulation(result: SimulationResult): string[] {
  const { scenario, seed, virtualMs, events, frames, publications, drops, nodes, hosts, digest } = result;
  return [
    `${scenario}, seed ${seed}: ${formatDuration(virtualMs)}, ${events} events, ${frames} frames, ${publications} publications`,
    `dropped: ${describeCounts(drops)}`,
    ...nodes.flatMap(({ site, node, state, boots, rules, telemetry }) => [
      `node ${site}/${node}: ${state}, ${boots} boot${boots === 1 ? '' : 's'}`,
      ...Object.entries(rules).map(
        ([id, { status, hits }]) =>
          `  rule ${id}: ${status}${hits === undefined ? '' : `, ${hits} hit${hits === 1 ? '' : 's'}`}`,
      ),
      ...Object.entries(telemetry).map(([job, counters]) => `  ${job}: ${describeCounts(counters)}`),
    ]),
    ...hosts.map(
      ({ name, mac, address, awakeMs, asleepMs, counters }) =>
        `host ${name} ${mac} ${address}: awake ${seconds(awakeMs)}, asleep ${seconds(asleepMs)}; ${describeCounts(counters)}`,
    ),
    `digest ${digest}`,
  ];
}

function describeCounts(counts: Counts): string {
  return (
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ') || 'nothing'
  );
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function resultOf(host: Host): HostResult {
  const { name, mac, address, counters } = host;
  return {
    name,
    mac: formatMac(mac),
    address: formatAddress(address),
    ...host.times(),
    counters: counters.snapshot(),
  };
}

async function openForWriting(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'w');
  } catch (error) {
    throw unwritable(path, error);
  }
}

function unwritable(path: string | undefined, error: unknown): Error {
  return new Error(`pcap: expected a file that can be written, got ${path}: ${(error as Error).message}`);
}

interface Report {
  state: string;
  readonly rules: { [id: string]: RuleStatus };
  readonly telemetry: { [job: string]: Counts };
}

function nothingReported(): Report {
  return { state: 'unknown', rules: {}, telemetry: {} };
}

function keyOf({ site, node }: NodeId): string {
  return `${site}/${node}`;
}

/** What each node last said. */
function gather(publications: readonly Publication[]): Map<string, Report> {
  const reports = new Map<string, Report>();
  for (const { topic, payload } of publications) {
    const parsed = parseTopic(topic);
    if (!parsed.ok) continue;
    const key = keyOf(parsed.value);
    const report = reports.get(key) ?? nothingReported();
    reports.set(key, report);
    const { leaf } = parsed.value;
    if (leaf.kind === 'state') report.state = decodeUtf8(payload) ?? 'unknown';
    if (leaf.kind === 'rule-status') report.rules[leaf.name] = decode<RuleStatus>(payload);
    if (leaf.kind === 'telemetry') report.telemetry[leaf.name] = decode<Telemetry>(payload).counters;
  }
  return reports;
}

/** What an agent published; agents encode their own messages, so the shape is not checked again. */
function decode<Message>(payload: Uint8Array): Message {
  const decoded = decodeCbor(payload, { depth: defaultLimits.payloadDepth });
  if (!decoded.ok) throw new Error(`an agent's message: expected CBOR, got ${decoded.reason}`);
  return decoded.value as Message;
}

function dropsOf(world: World, bus: MemoryBus, tap: PcapTap | undefined): Counts {
  const drops: { [reason: string]: number } = {};
  const add = (where: string, counts: Counts, reasons: readonly string[]) => {
    for (const reason of reasons) {
      const name = `${where}.${reason}`;
      if (counts[reason]) drops[name] = (drops[name] ?? 0) + counts[reason];
    }
  };
  for (const { counters } of world.segments)
    add('segment', counters.values, ['too-short', 'too-long', 'detached', 'down']);
  for (const { counters } of world.links)
    add('link', counters.values, ['lost', 'down', 'queue-full', 'detached']);
  add('bus', bus.counters.values, ['offline', 'queue-full']);
  if (tap) add('pcap', { full: tap.dropped }, ['full']);
  return drops;
}
