/**
 * The topic tree, contract version 1: the only place that builds or reads a topic.
 *
 *     kith/1/<site>/<node>/state | info | ledger
 *                         /rule/<id> [/status]   /host/<id> [/status]   /acl/<id> [/status]
 *                         /telemetry/<job>   /event/<name>   /request/<verb>   /response/<verb>
 *     kith/json/<site>/<node>/…    the coordinator's JSON mirror of the same leaves
 *     kith/json/coordinator        the coordinator's own counters
 *     kith/json/coordinator/request/<verb>, …/response/<verb>    what it is asked, and its answers, in JSON
 *
 * Ids are `[a-z0-9-]{1,32}` (docs/mqtt.md), so no id can hold a wildcard or a separator.
 */

import { fail, ok, type Result } from '../core/result.js';

export interface NodeId {
  readonly site: string;
  readonly node: string;
}

/** What the levels behind the node say. `name` is the rule id, job, event name or verb. */
export type Leaf =
  | { readonly kind: 'state' | 'info' | 'ledger' }
  | {
      readonly kind: Judged | `${Judged}-status` | 'telemetry' | 'event' | 'request' | 'response';
      readonly name: string;
    };

/** What people and coordinators publish, retained, and the agent answers on `…/status`. */
type Judged = 'rule' | 'host' | 'acl';

export type Topic = NodeId & { readonly leaf: Leaf };

export type TopicReason =
  /** Not below kith/1/. */
  | 'foreign-topic'
  /** A level that must be an id is not `[a-z0-9-]{1,32}`. */
  | 'bad-id'
  /** The levels behind the node are none of the contract's. */
  | 'unknown-leaf';

const root = 'kith/1';
const mirrorRoot = 'kith/json';

/** Whether `text` can be a site, node, rule, host, job, event or verb. */
export function isId(text: string): boolean {
  return text.length <= 32 && /^[a-z0-9-]+$/.test(text);
}

export function parseTopic(text: string): Result<Topic, TopicReason> {
  const levels = text.split('/', 8);
  if (levels[0] !== 'kith' || levels[1] !== '1') return fail('foreign-topic');
  if (levels.length < 5) return fail('unknown-leaf');
  const site = levels[2];
  const node = levels[3];
  if (!isId(site) || !isId(node)) return fail('bad-id');
  const leaf = parseLeaf(levels);
  return leaf.ok ? ok({ site, node, leaf: leaf.value }) : leaf;
}

/** The topic of a leaf. Throws on an id that is none: ids are checked where they enter. */
export function formatTopic(id: NodeId, leaf: Leaf): string {
  return `${root}/${levelsOf(id, leaf)}`;
}

/** Where the coordinator mirrors a leaf as JSON. */
export function formatMirrorTopic(id: NodeId, leaf: Leaf): string {
  return `${mirrorRoot}/${levelsOf(id, leaf)}`;
}

/** Where the coordinator publishes its own counters as JSON. */
export const coordinatorTopic = `${mirrorRoot}/coordinator`;

/** Where the coordinator is asked and where it answers. */
export function coordinatorTopicOf(kind: 'request' | 'response', verb: string): string {
  return `${coordinatorTopic}/${kind}/${checkedId('verb', verb)}`;
}

/** The filters an agent subscribes to: what is published for it, and its requests. */
export function agentFilters(id: NodeId): string[] {
  const base = `${root}/${checkedId('site', id.site)}/${checkedId('node', id.node)}`;
  return [`${base}/rule/+`, `${base}/host/+`, `${base}/acl/+`, `${base}/request/+`];
}

/** The filter for `levels` (`#`, `state`, `rule/#` …) of a node, of every node of a site, or of all. */
export function filterOf(where: { readonly site?: string; readonly node?: string }, levels: string): string {
  const site = where.site === undefined ? '+' : checkedId('site', where.site);
  const node = where.node === undefined ? '+' : checkedId('node', where.node);
  return `${root}/${site}/${node}/${levels}`;
}

function parseLeaf(levels: readonly string[]): Result<Leaf, TopicReason> {
  const kind = levels[4];
  if (levels.length === 5) {
    if (kind === 'state' || kind === 'info' || kind === 'ledger') return ok({ kind });
    return fail('unknown-leaf');
  }
  const name = levels[5];
  const isStatus = levels.length === 7 && levels[6] === 'status';
  if (levels.length !== 6 && !isStatus) return fail('unknown-leaf');
  switch (kind) {
    case 'rule':
    case 'host':
    case 'acl':
      return isId(name) ? ok({ kind: isStatus ? `${kind}-status` : kind, name }) : fail('bad-id');
    case 'telemetry':
    case 'event':
    case 'request':
    case 'response':
      if (isStatus) return fail('unknown-leaf');
      return isId(name) ? ok({ kind, name }) : fail('bad-id');
    default:
      return fail('unknown-leaf');
  }
}

/** Whether it is a job's telemetry, each message of which says all that the one before said. */
export function isTelemetry(topic: string): boolean {
  const parsed = parseTopic(topic);
  return parsed.ok && parsed.value.leaf.kind === 'telemetry';
}

function levelsOf(id: NodeId, leaf: Leaf): string {
  const base = `${checkedId('site', id.site)}/${checkedId('node', id.node)}`;
  switch (leaf.kind) {
    case 'state':
    case 'info':
    case 'ledger':
      return `${base}/${leaf.kind}`;
    case 'rule-status':
    case 'host-status':
    case 'acl-status':
      return `${base}/${leaf.kind.slice(0, -7)}/${checkedId('id', leaf.name)}/status`;
    default:
      return `${base}/${leaf.kind}/${checkedId(leaf.kind, leaf.name)}`;
  }
}

function checkedId(what: string, text: string): string {
  if (!isId(text))
    throw new Error(`${what}: expected 1 to 32 characters of a-z, 0-9 and -, got ${text.slice(0, 40)}`);
  return text;
}
