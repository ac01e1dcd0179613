/**
 * `kith proxy replay`: what the power proxy would have made of a capture, frame by frame and in sum, as text or as JSON, and
 * what it would have sent as a pcap file. The work is in scenario/proxy/replay.ts.
 */

import { closeSync, createReadStream, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { formatDuration } from '../../agent/core/time.js';
import { dissect, linkType } from '../capture/dissect.js';
import {
  type CapturedFrame,
  CaptureReader,
  type CaptureTime,
  pcapHeader,
  pcapRecord,
} from '../capture/pcap.js';
import { frameLine } from '../capture/present.js';
import { desktopPower, type Policy, policies } from '../scenario/proxy/energy.js';
import { type DeclaredHost, parseHosts } from '../scenario/proxy/hosts-file.js';
import { type FrameVerdict, ProxyReplay, type ReplaySummary } from '../scenario/proxy/replay.js';
import { parseRules } from '../scenario/proxy/rules-file.js';

export interface ReplayWords {
  readonly hosts: string;
  readonly rules: string;
  readonly json?: boolean;
  /** Where what the proxy sends goes, as pcap. */
  readonly write?: string;
  /** ms. */
  readonly idle: number;
  readonly seed: number;
}

type Print = (line: string) => Promise<void> | void;

/**
 * Throws an Error that says what was expected: of the capture by frame, of hosts and rules by file, entry and field. What was
 * printed and written before stays.
 */
export async function printReplay(path: string, words: ReplayWords, print: Print): Promise<void> {
  const { json = false, write, idle: idleMs, seed } = words;
  const hosts = await readHosts(words.hosts);
  const rules = parseRules(words.rules, await readText(words.rules));
  const out = write === undefined ? undefined : new PcapFile(write);
  try {
    const replay = new ProxyReplay({
      hosts,
      rules,
      idleMs,
      seed,
      sent: (timeMs, frame) => out?.add(timeMs, frame),
    });
    let start: CaptureTime | undefined;
    for await (const captured of framesOf(path)) {
      const verdict = replay.frame(captured);
      start ??= captured.time;
      await print(json ? JSON.stringify(verdict) : describeVerdict(verdict, captured, start));
    }
    const summary = replay.finish();
    if (json) {
      await print(JSON.stringify({ summary }));
      return;
    }
    await print('');
    for (const line of describeSummary(summary)) await print(line);
    if (out) await print(`wrote ${summary.sent.frames} frames to ${write}`);
  } finally {
    out?.close();
  }
}

/** The hosts of a file; throws an Error that names it and what is wrong with it. */
export async function readHosts(path: string): Promise<DeclaredHost[]> {
  return parseHosts(path, await readText(path));
}

/** The frames of a capture as they are read; `-`: standard input. Throws an Error that names the file. */
export async function* framesOf(path: string): AsyncGenerator<CapturedFrame> {
  const name = path === '-' ? 'standard input' : path;
  const reader = new CaptureReader(name);
  const stream = path === '-' ? process.stdin : createReadStream(path);
  try {
    for await (const chunk of stream) {
      reader.push(chunk as Buffer);
      for (let frame = reader.next(); frame; frame = reader.next()) yield frame;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === undefined ? error : new Error(`${name}: cannot be read: ${message}`, { cause: error });
  }
  reader.end();
}

/** The summary of a replay for people. */
export function describeSummary(summary: ReplaySummary): string[] {
  const { frames, durationMs, verdicts, wakes, responses, drops, sent, rules, hosts } = summary;
  const kinds = Object.entries(verdicts).sort(([, a], [, b]) => b - a);
  const lines = [
    `${frames} frames in ${seconds(durationMs)}: ${kinds.map(([kind, times]) => `${times} ${kind}`).join(', ')}`,
    `responses ${responses}, drops ${drops}, wakes ${wakes.started} (${wakes.heard} came up, ${wakes.failed} did not)`,
    `sent ${sent.frames} frames, ${sent.magicPackets} of them magic packets`,
  ];
  const ruleRows = Object.entries(rules).map(([id, { hits, wakes: woken, warnings }]) => [
    id,
    String(hits),
    String(woken),
    warnings.map(({ kind, text }) => `${kind}: ${text}`).join('; '),
  ]);
  if (ruleRows.length > 0) lines.push('', ...table([['rule', 'hits', 'wakes', ''], ...ruleRows], 'lrrl'));
  return hosts.length === 0 ? lines : [...lines, '', ...describeEnergy(summary)];
}

/** How long the hosts slept, and what they drew, under each policy. */
export function describeEnergy({ hosts, energy }: ReplaySummary): string[] {
  const hostRows = hosts.map(({ id, mac, asleepShare, wakes: woken }) => [
    `${id} ${mac}`,
    ...policies.map(policy => `${percent(asleepShare[policy])} (${woken[policy]})`),
  ]);
  const row = (what: string, value: (policy: Policy) => string) => [what, ...policies.map(value)];
  const energyRows = [
    row('energy, Wh', policy => figure(energy[policy].joules / 3600)),
    row('on average, W', policy => figure(energy[policy].averageWatts)),
    row('of always-on', policy => percent(energy[policy].ofAlwaysOn)),
  ];
  const { awakeWatts, asleepWatts, resumeMs, suspendMs } = desktopPower;
  return [
    ...table([['asleep (wakes)', ...policies], ...hostRows], 'lrrrr'),
    '',
    ...table([['all hosts', ...policies], ...energyRows], 'lrrrr'),
    `(a model: ${awakeWatts} W awake, ${asleepWatts} W asleep, ${formatDuration(resumeMs)} to resume, ${formatDuration(suspendMs)} to suspend)`,
  ];
}

function describeVerdict(
  { verdict, rule, reason }: FrameVerdict,
  captured: CapturedFrame,
  start: CaptureTime | undefined,
): string {
  const { bytes, linkType: link, originalLength } = captured;
  const frame = frameLine(captured, dissect(bytes, link, { originalLength }), start);
  const why = [rule, reason === '' ? '' : `(${reason})`].filter(text => text !== '').join(' ');
  return `${verdict.padEnd(12)} ${why.padEnd(24)} ${frame}`;
}

/** Opened at once, so that a path that cannot be written is told before the work. */
class PcapFile {
  private readonly path: string;
  private readonly file: number;

  constructor(path: string) {
    this.path = path;
    this.file = this.attempt(() => openSync(path, 'w'));
    this.attempt(() => writeSync(this.file, pcapHeader(linkType.ethernet)));
  }

  add(timeMs: number, frame: Uint8Array): void {
    this.attempt(() => writeSync(this.file, pcapRecord(timeMs, frame)));
  }

  close(): void {
    closeSync(this.file);
  }

  private attempt<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw new Error(`--write ${this.path}: ${(error as Error).message}`, { cause: error });
    }
  }
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(error => {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  });
}

/** Columns as wide as their widest cell; `sides` says for each whether it stands left or right. */
function table(rows: readonly (readonly string[])[], sides: string): string[] {
  const widths = [...sides].map((_, i) => Math.max(...rows.map(cells => cells[i].length)));
  return rows.map(cells =>
    cells
      .map((cell, i) => (sides[i] === 'r' ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}

function figure(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function seconds(ms: number): string {
  return `${figure(ms / 1000)} s`;
}
