/**
 * What a rule would have done, told before it is sent (`kith rule put --dry-run`): from a capture, by a replay with it and
 * one without; or from what the coordinator has recorded of the node, which is less.
 *
 * The record holds counters (telemetry, rule statuses) and the latest events, but of the frames only those that woke a host or
 * went to the coordinator. So it tells where the rule would stand among the others, which of them it would take frames from
 * and how many they had, which of the packets in events it would have taken, and how many frames there were at most; it does
 * not tell how many the rule would have had.
 */

import { encodeUtf8, parseHex } from '../../agent/core/bytes.js';
import { defaultLimits, type Limits } from '../../agent/limits.js';
import { describeProblem, type Judged, judge } from '../../agent/message/judge.js';
import { descriptors, type Warning } from '../../agent/message/messages.js';
import { analyse, chatterOf, coversRule, mayMeet } from '../../agent/power-proxy/analysis.js';
import { Fields, field, tcpFlagsKey, toBroadcast, toMulticast } from '../../agent/power-proxy/fields.js';
import { Matcher, type Ruled } from '../../agent/power-proxy/matcher.js';
import { type CompiledRule, compileRule, matches } from '../../agent/power-proxy/rule.js';
import { covers, overlap, type Spans } from '../../agent/power-proxy/spans.js';
import { parseAddress, parseMac } from '../../agent/wire/address.js';
import { Headers, networkIpv4, networkIpv6 } from '../../agent/wire/headers.js';
import { protocolTcp, protocolUdp } from '../../agent/wire/ipv4.js';
import { parseTcpFlags } from '../../agent/wire/tcp.js';
import type { CapturedFrame } from '../capture/pcap.js';
import type { DeclaredHost } from '../scenario/proxy/hosts-file.js';
import { ProxyReplay, type ReplaySummary } from '../scenario/proxy/replay.js';
import type { DeclaredRule } from '../scenario/proxy/rules-file.js';
import { type RuleRecord, ruleStanding } from './coordinator.js';

export interface CapturePreview {
  readonly without: ReplaySummary;
  readonly with: ReplaySummary;
  /** Of the frames that the rule decided, how many came to what. */
  readonly outcomes: { readonly [verdict: string]: number };
  /** Who decided them without it; '' is nobody. */
  readonly takenFrom: { readonly [rule: string]: number };
  /** Other rules about which there is something odd that was not without it. */
  readonly others: readonly { readonly rule: string; readonly warning: Warning }[];
}

export interface CaptureQuestion {
  readonly rule: DeclaredRule;
  /** Those in force; one of the same id is replaced. */
  readonly rules: readonly DeclaredRule[];
  readonly hosts: readonly DeclaredHost[];
}

/** Throws as ProxyReplay and the frames do. */
export async function previewFromCapture(
  frames: AsyncIterable<CapturedFrame>,
  { rule, rules, hosts }: CaptureQuestion,
): Promise<CapturePreview> {
  const others = rules.filter(({ id }) => id !== rule.id);
  const after = new ProxyReplay({ hosts, rules: [...others, rule] });
  const before = new ProxyReplay({ hosts, rules });
  const outcomes = new Map<string, number>();
  const takenFrom = new Map<string, number>();
  for await (const captured of frames) {
    const old = before.frame(captured);
    const { rule: decider, verdict } = after.frame(captured);
    if (decider !== rule.id) continue;
    count(outcomes, verdict);
    count(takenFrom, old.rule);
  }
  const summary = after.finish();
  const without = before.finish();
  const news = others.flatMap(({ id }) =>
    newWarnings(without.rules[id].warnings, summary.rules[id].warnings, id),
  );
  return {
    without,
    with: summary,
    outcomes: Object.fromEntries(outcomes),
    takenFrom: Object.fromEntries(takenFrom),
    others: news,
  };
}

/** One telemetry message as the coordinator gives it out. */
export interface RecordedTelemetry {
  readonly boot: string;
  readonly job: string;
  readonly uptime: number;
  readonly counters: { readonly [name: string]: number };
}

/** An event of the node, as the coordinator gives it out: bytes are hex. */
export interface RecordedEvent {
  /** When the coordinator heard it, ms since 1970. */
  readonly at: number;
  readonly name: string;
  readonly rule?: string;
  readonly host?: string;
  readonly packet?: string;
  readonly frame?: unknown;
}

export interface RecordQuestion {
  readonly id: string;
  readonly payload: Uint8Array;
  /** All of the node. */
  readonly rules: readonly RuleRecord[];
  readonly telemetry: readonly RecordedTelemetry[];
  readonly events: readonly RecordedEvent[];
}

export type Match = 'yes' | 'no' | 'cannot tell';

export interface RecordPreview {
  /** Tried first is 1. */
  readonly place: number;
  readonly of: number;
  /** Whether it takes the place of a rule in force of its id. */
  readonly replaces: boolean;
  readonly warnings: readonly Warning[];
  readonly others: readonly { readonly rule: string; readonly warning: Warning }[];
  /** Rules tried behind it that it takes frames from, and what they had since they were accepted or the node booted. */
  readonly takesFrom: readonly {
    readonly rule: string;
    readonly part: 'all' | 'some';
    readonly hits: number | undefined;
    /** At most so long ago, ms. */
    readonly withinMs: number | undefined;
  }[];
  /** Rules tried before it that leave it less. */
  readonly leavesTo: readonly { readonly rule: string; readonly part: 'all' | 'some' }[];
  /** A timer fires so often. */
  readonly timesPerDay: number | undefined;
  /** The span the telemetry at hand covers, ms; 0: there is too little. */
  readonly spanMs: number;
  /** In that span: what the node heard at all, and what no rule took. */
  readonly frames: number | undefined;
  readonly unmatched: number | undefined;
  /** Events with a packet or a frame, oldest first. */
  readonly packets: readonly (RecordedEvent & { readonly match: Match })[];
}

/** The agent's own judgement of a rule: limits of size, shape, and what only shows when it is compiled. */
export function judgeRule(
  id: string,
  payload: Uint8Array,
  limits: Limits = defaultLimits,
): Judged<CompiledRule> {
  const judged = judge(descriptors.rule, payload, limits);
  return judged.ok ? compileRule(id, judged.value) : judged;
}

/** Throws an Error that names the field at fault if the node would refuse the rule. */
export function previewFromRecord(question: RecordQuestion): RecordPreview {
  const { id, payload, telemetry, events } = question;
  const judged = judgeRule(id, payload);
  if (!judged.ok) throw new Error(describeProblem(judged.problem));
  const rule = judged.value;
  const inForce = question.rules.filter(isInForce).flatMap(record => {
    const known = judgeRule(record.rule, payloadOf(record));
    return known.ok ? [{ rule: known.value, record }] : [];
  });
  const others = inForce.filter(known => known.rule.id !== id);
  const before = new Matcher<Ruled>(inForce).order;
  const after = new Matcher<Ruled & { readonly record?: RuleRecord }>([...others, { rule }]).order;
  const place = after.findIndex(known => known.rule === rule);
  const chatter = chatterOf();
  const warningsIn = (order: readonly Ruled[], about: CompiledRule) =>
    analyse(
      order,
      order.findIndex(known => known.rule === about),
      chatter,
    );
  const meeting = (from: number, to: number) =>
    after.slice(from, to).filter(known => !known.rule.timer && mayMeet(known.rule, rule));
  const { spanMs, frames, unmatched } = countFrames(telemetry);
  return {
    place: place + 1,
    of: after.length,
    replaces: others.length < inForce.length,
    warnings: warningsIn(after, rule),
    others: others.flatMap(known =>
      newWarnings(warningsIn(before, known.rule), warningsIn(after, known.rule), known.rule.id),
    ),
    takesFrom: meeting(place + 1, after.length).map(({ rule: other, record }) => ({
      rule: other.id,
      part: coversRule(rule, other) ? 'all' : 'some',
      hits: record?.reported?.hits,
      withinMs: record?.reported?.uptime,
    })),
    leavesTo: meeting(0, place).map(({ rule: other }) => ({
      rule: other.id,
      part: coversRule(other, rule) ? 'all' : 'some',
    })),
    timesPerDay: rule.timer?.kind === 'every' ? 86_400_000 / rule.timer.ms : undefined,
    spanMs,
    frames,
    unmatched,
    packets: events
      .filter(({ packet, frame }) => packet !== undefined || frame !== undefined)
      .map(event => ({ ...event, match: matchEvent(rule, event) })),
  };
}

/** A pending rule counts: it will be in force. */
export function isInForce(record: RuleRecord): boolean {
  return ['accepted', 'pending'].includes(ruleStanding(record));
}

export function payloadOf({ desired }: RuleRecord): Uint8Array {
  return Buffer.from(desired?.payload ?? '', 'base64');
}

/** For `previewFromCapture`: the rules in force of a node. */
export function declaredRules(records: readonly RuleRecord[]): DeclaredRule[] {
  return records.filter(isInForce).flatMap(record => {
    const payload = payloadOf(record);
    // One the agent would refuse is not in force, whatever the broker keeps.
    return judgeRule(record.rule, payload).ok
      ? [{ id: record.rule, entry: `rule ${record.rule}`, payload }]
      : [];
  });
}

/** Those declared, and those that only rules name: of these nothing but the MAC is known. */
export function withHostsOfRules(
  hosts: readonly DeclaredHost[],
  rules: readonly DeclaredRule[],
): DeclaredHost[] {
  const all = [...hosts];
  for (const { id, entry, payload } of rules) {
    const judged = judgeRule(id, payload);
    const mac = judged.ok && judged.value.host ? judged.value.hostName : undefined;
    if (mac === undefined || all.some(({ host }) => host.mac.toLowerCase() === mac)) continue;
    const host = { mac };
    all.push({
      id: `rule-host-${all.length + 1}`,
      entry: `${entry}.host`,
      host,
      payload: encodeUtf8(JSON.stringify(host)),
    });
  }
  return all;
}

/** Whether the rule would have taken the packet of an event, while its host slept as it did then. */
export function matchEvent(rule: CompiledRule, { packet, frame, host }: RecordedEvent): Match {
  if (rule.timer) return 'no';
  const bytes = typeof frame === 'string' ? parseHex(frame) : undefined;
  if (bytes) return matchFrame(rule, bytes);
  if (rule.host && host !== undefined && rule.hostName !== host.toLowerCase()) return 'no';
  const known = fieldsOf(packet ?? '', host);
  if (!known) return 'cannot tell';
  let found: Match = 'no';
  for (const box of rule.boxes) {
    let inBox: Match = 'yes';
    for (const { field: tested, spans, isImplied } of box.tests) {
      if (isImplied) continue;
      const possible = known.get(tested);
      if (possible && !overlap(possible, spans)) inBox = 'no';
      else if (inBox === 'yes' && !(possible && covers(spans, possible))) inBox = 'cannot tell';
    }
    if (inBox === 'yes' || found === 'no') found = inBox;
    if (found === 'yes') break;
  }
  return found === 'yes' && (rule.payload || rule.question || rule.registered || rule.asked)
    ? 'cannot tell'
    : found;
}

function matchFrame(rule: CompiledRule, bytes: Uint8Array): Match {
  const headers = new Headers();
  if (headers.scan(bytes, 0, bytes.length) !== 'ok') return 'no';
  const fields = new Fields();
  fields.read(bytes, headers, true);
  if (!matches(rule, fields)) return 'no';
  return rule.registered || rule.asked ? 'cannot tell' : 'yes';
}

/** What the words of an event (`tcp 192.0.2.20:50000 > 192.0.2.10:22 syn`) say of the frame's fields. */
function fieldsOf(packet: string, host: string | undefined): Map<number, Spans> | undefined {
  const words = /^(tcp|udp) (\S+):(\d+) > (\S+):(\d+)(?: (\S+))?$/.exec(packet);
  const src = words && parseAddress(words[2]);
  const dst = words && parseAddress(words[4]);
  if (!words || !src || !dst || src.length !== dst.length) return undefined;
  const one = (value: number): Spans => [value, value];
  const known = new Map<number, Spans>();
  const protocol = words[1] === 'tcp' ? protocolTcp : protocolUdp;
  known.set(field.network, one(src.length === 4 ? networkIpv4 : networkIpv6));
  known.set(field.protocol, one(protocol));
  known.set(field.transport, one(protocol));
  known.set(field.srcPort, one(Number(words[3])));
  known.set(field.dstPort, one(Number(words[5])));
  const flags = protocol === protocolTcp ? parseTcpFlags(words[6] ?? '') : undefined;
  if (flags !== undefined) known.set(field.tcpFlags, one(tcpFlagsKey(flags)));
  const mac = host === undefined ? undefined : parseMac(host);
  if (mac) known.set(field.destination, [numberOf(mac, 0, 6), numberOf(mac, 0, 6), toMulticast, toBroadcast]);
  for (const [address, ipv4, ipv6] of [
    [src, field.ipv4Src, field.ipv6Src],
    [dst, field.ipv4Dst, field.ipv6Dst],
  ] as const) {
    if (address.length === 4) known.set(ipv4, one(numberOf(address, 0, 4)));
    // Three numbers (fields.ts).
    else
      for (const [i, [from, to]] of [[0, 6] as const, [6, 12] as const, [12, 16] as const].entries())
        known.set(ipv6 + i, one(numberOf(address, from, to)));
  }
  return known;
}

function numberOf(bytes: Uint8Array, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) value = value * 256 + bytes[i];
  return value;
}

/** What the counters grew by from each boot's first message at hand to its last. */
function countFrames(telemetry: readonly RecordedTelemetry[]): {
  readonly spanMs: number;
  readonly frames: number | undefined;
  readonly unmatched: number | undefined;
} {
  const boots = new Map<string, { first: RecordedTelemetry; last: RecordedTelemetry }>();
  for (const message of telemetry) {
    if (message.job !== 'power-proxy') continue;
    const boot = boots.get(message.boot) ?? { first: message, last: message };
    if (message.uptime < boot.first.uptime) boot.first = message;
    if (message.uptime > boot.last.uptime) boot.last = message;
    boots.set(message.boot, boot);
  }
  let [spanMs, frames, unmatched] = [0, 0, 0];
  let isFirstJob = false;
  for (const { first, last } of boots.values()) {
    const grown = (name: string) => (last.counters[name] ?? 0) - (first.counters[name] ?? 0);
    spanMs += last.uptime - first.uptime;
    frames += grown('agent.frames');
    unmatched += grown('frames.unmatched');
    // Only the first job's telemetry has the agent's own counters.
    isFirstJob ||= last.counters['agent.frames'] !== undefined;
  }
  if (spanMs === 0) return { spanMs, frames: undefined, unmatched: undefined };
  return { spanMs, frames: isFirstJob ? frames : undefined, unmatched };
}

function newWarnings(before: readonly Warning[], after: readonly Warning[], rule: string) {
  const known = new Set(before.map(warning => JSON.stringify(warning)));
  return after.filter(warning => !known.has(JSON.stringify(warning))).map(warning => ({ rule, warning }));
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
