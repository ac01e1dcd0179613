/**
 * `kith watch`: what travels below kith/1/, decoded, one line a message; and `kith node ls`, who is there.
 */

import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { descriptors, type Info } from '../../agent/message/messages.js';
import {
  coordinatorTopicOf,
  filterOf,
  type NodeId,
  parseTopic,
  type Topic,
} from '../../agent/message/topic.js';
import { toJson } from '../coordinator/coordinator.js';
import { decodeMessage, decodePeoplesPayload } from '../coordinator/payload.js';
import { collectRetained, visit } from './client.js';

export interface Seen {
  readonly topic: string;
  readonly retained: boolean;
  /** The decoded body; text for `state`; `null` for an empty payload. */
  readonly body?: unknown;
  /** Why there is no body. */
  readonly error?: string;
}

/** A message, decoded as its topic says. */
export function see(topic: string, payload: Uint8Array, retained: boolean): Seen {
  if (payload.length === 0) return { topic, retained, body: null };
  const parsed = parseTopic(topic);
  if (!parsed.ok) return { topic, retained, error: parsed.reason };
  if (parsed.value.leaf.kind === 'state') return { topic, retained, body: Buffer.from(payload).toString() };
  const decoded = decodePeoplesPayload(payload);
  return decoded.ok ? { topic, retained, body: decoded.value } : { topic, retained, error: decoded.reason };
}

export function describeSeen(seen: Seen, at: Date): string {
  const where = seen.topic.replace(/^kith\/1\//, '');
  const what = seen.error ? `(${seen.error})` : typeof seen.body === 'string' ? seen.body : toJson(seen.body);
  return `${at.toISOString().slice(11, 23)} ${where} ${what}${seen.retained ? ' (retained)' : ''}`;
}

/** Until `stop` resolves. */
export async function watch(
  url: string,
  where: { readonly site?: string; readonly node?: string },
  hear: (seen: Seen) => void,
  stop: Promise<void>,
): Promise<void> {
  await visit(
    url,
    (topic, payload, retained) => hear(see(topic, payload, retained)),
    async ({ subscribe }) => {
      await subscribe(filterOf(where, '#'));
      await stop;
    },
  );
}

export interface NodeRow extends NodeId {
  state: string;
  info?: Info;
}

export async function listNodes(url: string): Promise<NodeRow[]> {
  const nodes = new Map<string, NodeRow>();
  const rowOf = ({ site, node }: Topic): NodeRow => {
    const row = nodes.get(`${site}/${node}`) ?? { site, node, state: 'unknown' };
    nodes.set(`${site}/${node}`, row);
    return row;
  };
  for (const kind of ['state', 'info'] as const) {
    for (const [text, payload] of await collectRetained(url, filterOf({}, kind))) {
      const topic = parseTopic(text);
      if (!topic.ok) continue;
      if (kind === 'state') {
        rowOf(topic.value).state = Buffer.from(payload).toString();
        continue;
      }
      const info = decodeMessage(descriptors.info, payload);
      if (info.ok) rowOf(topic.value).info = info.value;
    }
  }
  const byName = new Intl.Collator('en', { numeric: true });
  return [...nodes.values()].sort((a, b) => byName.compare(`${a.site}/${a.node}`, `${b.site}/${b.node}`));
}

export function describeNode(row: NodeRow): string {
  const { info } = row;
  const jobs = info ? info.jobs.join(',') || '-' : '?';
  const missing = info ? Object.keys(info.missing).sort().join(',') || '-' : '?';
  const rest = info ? `rules=${info.rules.count} ${info.platform} ${info.firmware}` : '(no birth message)';
  return `${row.site}/${row.node} ${row.state} jobs=${jobs} missing=${missing} ${rest}`;
}

/** How long the coordinator may take to answer. */
const answerMs = 5_000;

/** All the coordinator knows of a node: its record, totals over all its boots, and its latest telemetry. */
export async function askNode(url: string, id: NodeId, limit: number): Promise<{ [key: string]: unknown }> {
  const transaction = randomUUID();
  let answer: (body: { [key: string]: unknown }) => void = () => {};
  const answered = new Promise<{ [key: string]: unknown }>(resolve => {
    answer = resolve;
  });
  const hear = (_topic: string, payload: Uint8Array) => {
    const body = JSON.parse(Buffer.from(payload).toString());
    if (body.transaction === transaction) answer(body);
  };
  return visit(url, hear, async ({ subscribe, publish }) => {
    await subscribe(coordinatorTopicOf('response', 'node'));
    await publish(
      coordinatorTopicOf('request', 'node'),
      JSON.stringify({ transaction, ...id, limit }),
      false,
    );
    const late = new Error(
      `the coordinator did not answer within ${answerMs / 1000} s: is one connected to this broker?`,
    );
    const waiting = new AbortController();
    const body = await Promise.race([
      answered,
      // The wait goes on in nobody's way, but would keep the process.
      pause(answerMs, undefined, { signal: waiting.signal }).then(() => Promise.reject(late)),
    ]);
    waiting.abort();
    if (!body['ok']) throw new Error(String(body['error']));
    if (body['node'] === null)
      throw new Error(`there is no node ${id.site}/${id.node}: kith node ls lists them`);
    return body;
  });
}
