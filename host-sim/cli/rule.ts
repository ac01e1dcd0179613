/**
 * `kith rule ls|get|put|load|rm`: rules by their topics. The broker's retained messages are the truth, so these commands
 * work with any broker and without a coordinator; but for `put --dry-run` without a capture, which asks the coordinator what
 * it has recorded.
 */

import { readFile } from 'node:fs/promises';
import { digest } from '../../agent/core/bytes.js';
import { formatDuration } from '../../agent/core/time.js';
import { describeProblem } from '../../agent/message/judge.js';
import { descriptors, type Host, type RuleStatus } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { filterOf, formatTopic, isId, type NodeId, parseTopic } from '../../agent/message/topic.js';
import { type RuleRecord, ruleStanding, toJson } from '../coordinator/coordinator.js';
import { decodeMessage, decodePeoplesPayload } from '../coordinator/payload.js';
import type {
  CapturePreview,
  Match,
  RecordedEvent,
  RecordedTelemetry,
  RecordPreview,
} from '../coordinator/preview.js';
import type { DeclaredHost } from '../scenario/proxy/hosts-file.js';
import { parseRules } from '../scenario/proxy/rules-file.js';
import { collectRetained, type Hear, visit } from './client.js';

/** Recorded packets that a dry run lists. */
const mostPackets = 10;
/** How long a node may take to answer a rule; a connected one needs milliseconds. */
const answerMs = 5_000;

/** A node as the commands take it: `gw-1` (in `site`), or `home/gw-1`. */
export function parseNode(text: string, site: string): NodeId {
  const parts = text.includes('/') ? text.split('/') : [site, text];
  if (parts.length !== 2 || !isId(parts[0]) || !isId(parts[1]))
    throw new Error(
      `node: expected <node> or <site>/<node>, 1 to 32 characters of a-z, 0-9 and - each, got ${text}`,
    );
  return { site: parts[0], node: parts[1] };
}

export async function listRules(url: string, node: NodeId | undefined): Promise<RuleRecord[]> {
  const rules = new Map<string, RuleRecord>();
  for (const [text, payload] of await collectRetained(url, filterOf(node ?? {}, 'rule/#'))) {
    const topic = parseTopic(text);
    if (!topic.ok || (topic.value.leaf.kind !== 'rule' && topic.value.leaf.kind !== 'rule-status')) continue;
    const { site, node: nodeName, leaf } = topic.value;
    const key = `${site}/${nodeName}/${leaf.name}`;
    const rule = rules.get(key) ?? { site, node: nodeName, rule: leaf.name };
    if (leaf.kind === 'rule') {
      rule.desired = { payload: Buffer.from(payload).toString('base64'), digest: digest(payload) };
    } else {
      const status = decodeMessage(descriptors['rule-status'], payload);
      if (status.ok) rule.reported = status.value;
    }
    rules.set(key, rule);
  }
  return [...rules.values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

/** The desired rule as JSON, whichever way it was published. */
export function describeDesired(rule: RuleRecord): string {
  if (!rule.desired) return '(removed)';
  const decoded = decodePeoplesPayload(Buffer.from(rule.desired.payload, 'base64'));
  return decoded.ok ? toJson(decoded.value) : `(${decoded.reason})`;
}

/** One line: where it is, how it stands, what it did, what is wrong with it. */
export function describeRule(rule: RuleRecord): string {
  const { reported } = rule;
  const hits = reported?.hits === undefined ? '' : ` hits=${reported.hits}`;
  const kept = reported?.inForce === undefined ? '' : ' (the one before stays in force)';
  const why = reported?.status === 'rejected' ? `${kept} ${reported.reason ?? ''}` : '';
  return `${keyOf(rule)} ${ruleStanding(rule)}${hits}${why} ${describeDesired(rule)}`;
}

/** The rule's text: given outright, from a file with @path, or from standard input with -. */
export async function readRule(argument: string): Promise<Uint8Array> {
  if (argument === '-') {
    const parts: Buffer[] = [];
    for await (const part of process.stdin) parts.push(part as Buffer);
    return Buffer.concat(parts);
  }
  if (!argument.startsWith('@')) return Buffer.from(argument);
  const path = argument.slice(1);
  return readFile(path).catch(error => {
    throw new Error(`rule file ${path}: ${(error as Error).message}`);
  });
}

/** Publishes each rule of a file, in its order, and prints the node's word on it; throws if one was not accepted. */
export async function loadRules(
  url: string,
  node: NodeId,
  file: string,
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const text = await readFile(file, 'utf8').catch(error => {
    throw new Error(`rule file ${file}: ${(error as Error).message}`);
  });
  const refused: string[] = [];
  for (const { id, payload } of parseRules(file, text)) {
    const status = await putRule(url, node, id, payload);
    if (status.status !== 'accepted') refused.push(id);
    await print(`${id} ${status.status}${status.reason === undefined ? '' : `: ${status.reason}`}`);
  }
  if (refused.length > 0) throw new Error(`not accepted: ${refused.join(', ')}`);
}

/** Publishes the rule and waits for the node's word on it. */
export async function putRule(
  url: string,
  node: NodeId,
  id: string,
  payload: Uint8Array,
): Promise<RuleStatus> {
  checkRuleId(id);
  if (payload.length === 0)
    throw new Error('rule: expected a map in JSON or CBOR, got nothing (kith rule rm removes)');
  const statusTopic = formatTopic(node, { kind: 'rule-status', name: id });
  const wanted = digest(payload);
  let answer: (status: RuleStatus) => void = () => {};
  let published = false;
  const answered = new Promise<RuleStatus>(resolve => {
    answer = resolve;
  });
  const hear: Hear = (topic, bytes, retained) => {
    if (topic !== statusTopic || bytes.length === 0) return;
    const status = decodeMessage(descriptors['rule-status'], bytes);
    // An equal rule published before has the same digest: its old status does not count.
    if (status.ok && published && !retained && status.value.digest === wanted) answer(status.value);
  };
  return visit(url, hear, async ({ subscribe, publish }) => {
    await subscribe(statusTopic);
    published = true;
    await publish(formatTopic(node, { kind: 'rule', name: id }), payload, true);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const where = `${node.site}/${node.node}`;
        reject(
          new Error(
            `published, but ${where} did not answer within ${answerMs / 1000} s: is it up (kith node ls)? It will get the rule when it connects`,
          ),
        );
      }, answerMs);
    });
    return Promise.race([answered, late]).finally(() => clearTimeout(timer));
  });
}

/** Where `put --dry-run` looks. */
export interface DryRunWords {
  /** A capture; left out: what the coordinator has recorded. */
  readonly capture?: string;
  /** A hosts file; left out: the hosts declared at the node, and those its rules name. */
  readonly hosts?: string;
}

/**
 * What the rule would have done, in lines for people; nothing is published. Throws an Error that names the field at fault if
 * the node would refuse the rule.
 */
export async function dryRunRule(
  url: string,
  node: NodeId,
  id: string,
  payload: Uint8Array,
  { capture, hosts }: DryRunWords,
): Promise<string[]> {
  checkRuleId(id);
  if (hosts !== undefined && capture === undefined)
    throw new Error('--hosts: expected with --capture: the record has no frames to hold hosts against');
  const preview = await import('../coordinator/preview.js');
  const judged = preview.judgeRule(id, payload);
  if (!judged.ok) throw new Error(`rejected: ${describeProblem(judged.problem)}`);
  const records = await listRules(url, node);
  const where = `${node.site}/${node.node}`;
  if (capture === undefined) {
    const { askNode } = await import('./watch.js');
    const known = await askNode(url, node, 1000);
    const telemetry = known['telemetry'] as readonly RecordedTelemetry[];
    const events = known['events'] as readonly RecordedEvent[];
    const answer = preview.previewFromRecord({ id, payload, rules: records, telemetry, events });
    return describeRecordPreview(`${id} at ${where}`, answer);
  }
  const { framesOf, readHosts, describeEnergy } = await import('./proxy.js');
  const rule = { id, entry: `rule ${id}`, payload };
  const rules = preview.declaredRules(records);
  const declared = hosts === undefined ? await listHosts(url, node) : await readHosts(hosts);
  const all = preview.withHostsOfRules(declared, [...rules, rule]);
  const answer = await preview.previewFromCapture(framesOf(capture), { rule, rules, hosts: all });
  return [...describeCapturePreview(`${id} at ${where}`, answer), '', ...describeEnergy(answer.with)];
}

/** The hosts declared at a node that are as `host` says. */
async function listHosts(url: string, node: NodeId): Promise<DeclaredHost[]> {
  const hosts: DeclaredHost[] = [];
  for (const [text, payload] of await collectRetained(url, filterOf(node, 'host/+'))) {
    const topic = parseTopic(text);
    const decoded = decodePeoplesPayload(payload);
    if (!topic.ok || topic.value.leaf.kind !== 'host' || !decoded.ok) continue;
    const { name } = topic.value.leaf;
    if (validate(descriptors.host, decoded.value) !== undefined) continue;
    hosts.push({ id: name, entry: `host ${name}`, host: decoded.value as Host, payload });
  }
  return hosts;
}

function describeRecordPreview(what: string, preview: RecordPreview): string[] {
  const { place, of, replaces, timesPerDay, spanMs, frames, unmatched, packets } = preview;
  const lines = [
    `dry run of ${what}, from what the coordinator has recorded; nothing was published`,
    `it would be tried ${place}. of ${of}${replaces ? ', in place of the one of its id' : ''}`,
    ...describeWarnings(preview),
  ];
  if (timesPerDay !== undefined) lines.push(`its timer would fire ${timesPerDay} times a day`);
  for (const { rule, part } of preview.leavesTo)
    lines.push(`${rule} comes before it and takes ${part} of its frames`);
  for (const { rule, part, hits, withinMs } of preview.takesFrom) {
    const had =
      hits === undefined || withinMs === undefined
        ? 'it has not reported hits'
        : `it had ${hits} in at most ${formatDuration(withinMs)}`;
    lines.push(`it takes ${part} of the frames of ${rule}: ${had}`);
  }
  if (packets.length > 0) {
    const of = (match: Match) => packets.filter(each => each.match === match);
    lines.push(
      `of ${packets.length} recorded packets since ${new Date(packets[0].at).toISOString()}, each of which woke a host or was redirected, ` +
        `it matches ${of('yes').length}; ${of('no').length} not; of ${of('cannot tell').length} it cannot be told`,
    );
    const byWords = new Map<string, number>();
    for (const { name, rule, packet = 'a frame' } of of('yes')) {
      const words = `${packet} (${name}${rule === undefined ? '' : ` by ${rule}`})`;
      byWords.set(words, (byWords.get(words) ?? 0) + 1);
    }
    for (const [words, times] of [...byWords].slice(-mostPackets)) lines.push(`  ${times} × ${words}`);
  }
  if (spanMs > 0) {
    const all = frames === undefined ? '' : `the node heard ${frames} frames, `;
    lines.push(`in ${formatDuration(spanMs)} of telemetry ${all}${unmatched} that no rule took`);
  }
  lines.push('not known: how many frames it would have had, for none are recorded (--capture FILE tells)');
  return lines;
}

function describeCapturePreview(what: string, preview: CapturePreview): string[] {
  const { without, outcomes, takenFrom } = preview;
  const after = preview.with;
  const { hits, wakes, warnings } = Object.values(after.rules).at(-1)!;
  const list = (counts: { readonly [name: string]: number }) =>
    Object.entries(counts)
      .map(([name, times]) => `${times} ${name === '' ? 'nobody' : name}`)
      .join(', ');
  const lines = [
    `dry run of ${what}, from a capture of ${after.frames} frames in ${after.durationMs / 1000} s; nothing was published`,
    ...describeWarnings({ warnings, others: preview.others }),
    `it decides ${hits} frames${hits === 0 ? '' : `: ${list(outcomes)}`}, and wakes ${wakes} times`,
  ];
  if (hits > 0) lines.push(`without it these are decided by: ${list(takenFrom)}`);
  const change = (name: string, old: number, now: number) => `${name} ${old} → ${now}`;
  lines.push(
    [
      change('wakes', without.wakes.started, after.wakes.started),
      change('responses', without.responses, after.responses),
      change('drops', without.drops, after.drops),
    ].join(', '),
  );
  return lines;
}

function describeWarnings({ warnings, others }: Pick<RecordPreview, 'warnings' | 'others'>): string[] {
  return [
    ...warnings.map(({ kind, text }) => `warning: ${kind}: ${text}`),
    ...others.map(({ rule, warning: { kind, text } }) => `warning of ${rule}: ${kind}: ${text}`),
  ];
}

/** Clears the desired rule; resolves when the broker has acknowledged. */
export async function removeRule(url: string, node: NodeId, id: string): Promise<void> {
  checkRuleId(id);
  const known = (await listRules(url, node)).some(({ rule }) => rule === id);
  if (!known) throw new Error(`there is no rule ${id} at ${node.site}/${node.node}: kith rule ls lists them`);
  await visit(
    url,
    () => {},
    ({ publish }) => publish(formatTopic(node, { kind: 'rule', name: id }), '', true),
  );
}

/** A rule for programs: `desired` as JSON, `reported` as the node put it. */
export function ruleToJson(rule: RuleRecord): object {
  const { site, node, rule: id, desired, reported } = rule;
  const decoded = desired && decodePeoplesPayload(Buffer.from(desired.payload, 'base64'));
  const readable = decoded?.ok ? decoded.value : undefined;
  return { site, node, rule: id, standing: ruleStanding(rule), desired: readable, reported };
}

function keyOf(rule: RuleRecord): string {
  return `${rule.site}/${rule.node}/${rule.rule}`;
}

function checkRuleId(id: string): void {
  if (!isId(id)) throw new Error(`rule: expected an id of 1 to 32 characters of a-z, 0-9 and -, got ${id}`);
}
