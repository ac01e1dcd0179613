/**
 * The coordinator: what the nodes are, what rules people desire of them and what became of these, and what the nodes
 * reported. It hears every publication below kith/1/ through `ingest`, whose promise is the permission to acknowledge:
 * it resolves when all that the publication says is on disk.
 *
 * Nothing that is published can do more than add to a counter: a publication that is not as docs/mqtt.md says is
 * counted by reason, the last of them shown on kith/json/coordinator, and changes nothing.
 * Bounds: `mostNodes`, `mostRulesPerNode`, `mostBytes` of a payload and `mostHeldBytes` in all; a publication beyond
 * them is counted and left aside.
 */

import { Buffer } from 'node:buffer';
import { digest } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { describeProblem } from '../../agent/message/judge.js';
import {
  type AclStatus,
  type Descriptor,
  descriptors,
  type Event,
  type HostStatus,
  type Info,
  type Ledger,
  type RuleStatus,
} from '../../agent/message/messages.js';
import {
  coordinatorTopic,
  coordinatorTopicOf,
  formatMirrorTopic,
  isId,
  type Leaf,
  type NodeId,
  parseTopic,
} from '../../agent/message/topic.js';
import { decodeMessage, decodePeoplesPayload } from './payload.js';
import type { Store } from './store.js';

export const nodeStates = ['init', 'ready', 'sleeping', 'disconnected', 'lost'] as const;
export type NodeState = (typeof nodeStates)[number];

/** What is known of a node. Instants are wall-clock ms since 1970. */
export interface NodeRecord extends NodeId {
  state?: NodeState;
  stateAt?: number;
  info?: Info;
  ledger?: Ledger;
  lastEvent?: Event & { readonly name: string };
  /** Events heard, the last `keptEvents` of which are documents of their own (`eventKind`). */
  events?: number;
  /** By id, as the node reports them. */
  hosts?: { readonly [id: string]: HostStatus };
  acls?: { readonly [id: string]: AclStatus };
  heardAt: number;
}

/** Events kept of a node: a few nights of a home's. */
const keptEvents = 256;

function eventKind({ site, node }: NodeId): string {
  return `event/${site}/${node}`;
}

/** A rule as people desire it and as the node reports it. `at` is when the coordinator heard it, ms since 1970. */
export interface RuleRecord extends NodeId {
  readonly rule: string;
  /** The payload as published, base64; absent: nobody desires it (any more). */
  desired?: { readonly payload: string; readonly digest: string; readonly at?: number };
  reported?: RuleStatus & { readonly at?: number };
}

/** How a desired rule stands: `pending` until the node has judged this very payload. */
export function ruleStanding(rule: RuleRecord): 'pending' | 'accepted' | 'rejected' | 'expired' | 'orphan' {
  if (!rule.desired) return 'orphan';
  return rule.reported?.digest === rule.desired.digest ? rule.reported.status : 'pending';
}

export interface Publication {
  readonly topic: string;
  readonly payload: Uint8Array;
}

export interface CoordinatorOptions {
  readonly store: Store;
  /** Publishes the JSON mirror; called after what it mirrors is on disk. */
  readonly publish: (topic: string, payload: string, options: { readonly retain: boolean }) => void;
  /** Wall clock, ms since 1970. */
  readonly clock: () => number;
  /** Hears every event once it is on disk. */
  readonly event?: (id: NodeId, event: Event & { readonly name: string }) => void;
}

/** About 20 MB of registry; a street is 20, a town 20,000. */
const mostNodes = 20_000;
/** Twice what an agent on a gateway holds. */
const mostRulesPerNode = 512;
/** Of one payload. Agents on microcontrollers send and take at most 4 KB; a ledger grows with the neighbours. */
const mostBytes = {
  info: 4096,
  'rule-status': 4096,
  telemetry: 4096,
  event: 4096,
  rule: 8192,
  ledger: 16_384,
};
/** What the registry holds in memory, counted as payload bytes and a fixed part a record. */
const mostHeldBytes = 64 << 20;
const recordBytes = 256;
/** Telemetry messages in one answer: about 1 MB. */
const mostHistory = 1000;
/** The mirror of a node's telemetry is for displays: one a second is enough, and a flood must not double itself. */
const mirrorTelemetryMs = 1_000;

const counterNames = [
  'publications',
  'foreign-topic',
  'bad-id',
  'unknown-leaf',
  'bad-state',
  'bad-info',
  'bad-rule',
  'bad-request',
  'bad-rule-status',
  'bad-host-status',
  'bad-acl-status',
  'bad-telemetry',
  'bad-event',
  'bad-ledger',
  'too-many-nodes',
  'too-many-rules',
  'too-many-jobs',
  'registry-full',
  /** A fault of ours: the publication is acknowledged and left aside, for it would only fail again. */
  'faults',
  'telemetry.stored',
  'telemetry.duplicate',
] as const;
type CounterName = (typeof counterNames)[number];

export class Coordinator {
  readonly counters = new Counters<CounterName>(counterNames);
  /** The last publication that was refused, in words. */
  lastProblem: { readonly topic: string; readonly problem: string; readonly at: number } | undefined;
  private readonly options: CoordinatorOptions;
  private readonly nodes = new Map<string, NodeRecord>();
  private readonly rules = new Map<string, Map<string, RuleRecord>>();
  private readonly mirroredAt = new Map<string, number>();
  private readonly held = new Map<string, number>();
  private heldBytes = 0;

  private constructor(options: CoordinatorOptions) {
    this.options = options;
  }

  /** A coordinator that knows what its store kept. */
  static async open(options: CoordinatorOptions): Promise<Coordinator> {
    const coordinator = new Coordinator(options);
    for (const { key, value } of await options.store.all<NodeRecord>('node')) {
      coordinator.nodes.set(key, value);
      for (const what of ['info', 'ledger', 'lastEvent'] as const)
        if (value[what]) coordinator.hold(`${key}/${what}`, JSON.stringify(value[what]).length);
      for (const [name, status] of Object.entries(value.hosts ?? {}))
        coordinator.hold(`${key}/host-status/${name}`, JSON.stringify(status).length);
      for (const [name, status] of Object.entries(value.acls ?? {}))
        coordinator.hold(`${key}/acl-status/${name}`, JSON.stringify(status).length);
    }
    for (const { value } of await options.store.all<RuleRecord>('rule')) {
      coordinator.rulesOf(value).set(value.rule, value);
      coordinator.hold(`${keyOf(value)}/rule/${value.rule}`, JSON.stringify(value).length);
    }
    return coordinator;
  }

  nodeList(): NodeRecord[] {
    return [...this.nodes.values()];
  }

  ruleList(): RuleRecord[] {
    return [...this.rules.values()].flatMap(rules => [...rules.values()]);
  }

  /** Takes one publication in. Resolves when it is on disk (or counted as refused), rejects when the store cannot. */
  async ingest(publication: Publication): Promise<void> {
    this.counters.add('publications');
    try {
      await this.sort(publication);
    } catch (error) {
      if (error instanceof NotStored) throw error;
      this.refuse(publication, 'faults', String(error));
    }
  }

  private async sort(publication: Publication): Promise<void> {
    if (publication.topic === coordinatorTopicOf('request', 'node')) return this.answerNode(publication);
    const topic = parseTopic(publication.topic);
    if (!topic.ok) {
      // Other people's topics are their own affair; ours that are none are shown.
      if (topic.reason === 'foreign-topic') this.counters.add('foreign-topic');
      else this.refuse(publication, topic.reason, topicExpectation[topic.reason]);
      return;
    }
    const { leaf } = topic.value;
    const id: NodeId = { site: topic.value.site, node: topic.value.node };
    switch (leaf.kind) {
      case 'state':
        return this.ingestState(id, publication);
      case 'info':
        return this.ingestDocument(id, leaf, publication, 'bad-info', descriptors.info, (node, body) => {
          node.info = body;
        });
      case 'ledger':
        return this.ingestDocument(id, leaf, publication, 'bad-ledger', descriptors.ledger, (node, body) => {
          node.ledger = body;
        });
      case 'event':
        return this.ingestEvent(id, leaf, publication);
      case 'telemetry':
        return this.ingestTelemetry(id, leaf, publication);
      case 'rule':
        return this.ingestRule(id, leaf, publication);
      case 'rule-status':
        return this.ingestRuleStatus(id, leaf, publication);
      case 'host-status':
        if (publication.payload.length === 0) return this.forgetStatus(id, leaf, 'hosts');
        return this.ingestDocument(
          id,
          leaf,
          publication,
          'bad-host-status',
          descriptors[leaf.kind],
          (node, body) => {
            node.hosts = { ...node.hosts, [leaf.name]: body };
          },
        );
      case 'acl-status':
        if (publication.payload.length === 0) return this.forgetStatus(id, leaf, 'acls');
        return this.ingestDocument(
          id,
          leaf,
          publication,
          'bad-acl-status',
          descriptors[leaf.kind],
          (node, body) => {
            node.acls = { ...node.acls, [leaf.name]: body };
          },
        );
      case 'host':
      case 'acl':
      case 'request':
      case 'response':
        return; // between people and the node
      default:
        unreachable(leaf);
    }
  }

  /**
   * Called once at the start with the topics of every retained rule the broker holds: a desired rule the broker has
   * no trace of was removed while this process was not running.
   */
  async forgetRulesExcept(
    retainedTopics: ReadonlySet<string>,
    format: (rule: RuleRecord) => string,
  ): Promise<void> {
    for (const rule of this.ruleList()) {
      if (rule.desired && !retainedTopics.has(format(rule)))
        await this.putRule(rule, { ...rule, desired: undefined });
    }
  }

  /** The coordinator's own counters, as published on kith/json/coordinator. */
  status(extra: Record<string, unknown>): string {
    return JSON.stringify({
      nodes: this.nodes.size,
      rules: this.ruleList().length,
      counters: this.counters.snapshot(),
      ...(this.lastProblem ? { lastProblem: this.lastProblem } : {}),
      ...extra,
    });
  }

  publishStatus(extra: Record<string, unknown>): void {
    this.options.publish(coordinatorTopic, this.status(extra), { retain: true });
  }

  /** `request/node`: all that is known of one node, with its totals and latest telemetry. */
  private async answerNode(publication: Publication): Promise<void> {
    const decoded = decodePeoplesPayload(publication.payload);
    const asked = (decoded.ok ? decoded.value : {}) as { [key: string]: unknown };
    const { transaction, site, node, limit = 10 } = asked;
    if (typeof transaction !== 'string' || transaction.length > 64) {
      this.refuse(publication, 'bad-request', 'transaction: expected text of at most 64 characters');
      return;
    }
    const answer = (body: object) =>
      this.options.publish(coordinatorTopicOf('response', 'node'), toJson({ transaction, ...body }), {
        retain: false,
      });
    const wrong =
      typeof site !== 'string' || typeof node !== 'string' || !isId(site) || !isId(node)
        ? 'site, node: expected ids of 1 to 32 characters of a-z, 0-9 and -'
        : typeof limit !== 'number' || !(limit >= 0 && limit <= mostHistory)
          ? `limit: expected 0 to ${mostHistory}`
          : undefined;
    if (wrong !== undefined) {
      this.refuse(publication, 'bad-request', wrong);
      answer({ ok: false, error: wrong });
      return;
    }
    const id = { site, node } as NodeId;
    const { store } = this.options;
    const [totals, telemetry] = await this.durably(
      Promise.all([
        store.totals(id.site, id.node),
        store.history(id.site, id.node, { limit: limit as number }),
      ]),
    );
    const record = this.nodes.get(keyOf(id)) ?? null;
    const events =
      limit === 0 ? [] : await this.durably(store.all<{ readonly number: number }>(eventKind(id)));
    events.sort((a, b) => a.value.number - b.value.number);
    answer({
      ok: true,
      node: record,
      totals,
      telemetry,
      events: events.slice(-(limit as number)).map(({ value }) => value),
    });
  }

  private async ingestState(id: NodeId, publication: Publication): Promise<void> {
    const text = Buffer.from(publication.payload).toString('latin1');
    if (text === '') return this.forgetNode(id);
    const state = nodeStates.find(known => known === text);
    if (!state) {
      this.refuse(
        publication,
        'bad-state',
        `expected ${nodeStates.join(', ')}, got ${JSON.stringify(text.slice(0, 40))}`,
      );
      return;
    }
    const node = this.nodeOf(id);
    if (!node) return;
    node.state = state;
    node.stateAt = node.heardAt;
    await this.durably(this.options.store.put('node', keyOf(id), node));
    this.mirror(id, { kind: 'state' }, { state, at: iso(node.heardAt) }, true);
  }

  private async ingestDocument<T extends object>(
    id: NodeId,
    leaf: Leaf,
    publication: Publication,
    reason: CounterName,
    descriptor: Descriptor<T>,
    apply: (node: NodeRecord, body: T) => void,
  ): Promise<void> {
    if (publication.payload.length === 0) return;
    if (this.isTooLong(publication, leaf, reason)) return;
    const decoded = decodeMessage(descriptor, publication.payload);
    if (!decoded.ok) {
      this.refuse(publication, reason, describeProblem(decoded.problem));
      return;
    }
    const node = this.nodeOf(id);
    if (
      !node ||
      !this.hold(
        `${keyOf(id)}/${leaf.kind === 'event' ? 'lastEvent' : 'name' in leaf ? `${leaf.kind}/${leaf.name}` : leaf.kind}`,
        publication.payload.length,
      )
    )
      return;
    apply(node, decoded.value);
    await this.durably(this.options.store.put('node', keyOf(id), node));
    this.mirror(id, leaf, { ...decoded.value, at: iso(node.heardAt) }, leaf.kind !== 'event');
    if (leaf.kind === 'event' && node.lastEvent) this.options.event?.(id, node.lastEvent);
  }

  /** The latest events of a node are kept one by one, for a preview of rules (preview.ts). One that comes twice counts once. */
  private async ingestEvent(
    id: NodeId,
    leaf: Leaf & { readonly name: string },
    publication: Publication,
  ): Promise<void> {
    const before = this.nodes.get(keyOf(id))?.lastEvent;
    let kept: Promise<void> | undefined;
    await this.ingestDocument(id, leaf, publication, 'bad-event', descriptors.event, (node, body) => {
      node.lastEvent = { ...body, name: leaf.name };
      if (before && before.boot === body.boot && before.seq === body.seq) return;
      const number = node.events ?? 0;
      const place = number % keptEvents;
      node.events = number + 1;
      const event = { ...node.lastEvent, at: this.options.clock(), number };
      kept = this.options.store.put(eventKind(id), String(place), JSON.parse(toJson(event)));
    });
    if (kept) await this.durably(kept);
  }

  /** The node cleared its report of a host or an access list. */
  private async forgetStatus(
    id: NodeId,
    leaf: Leaf & { readonly name: string },
    key: 'hosts' | 'acls',
  ): Promise<void> {
    this.mirror(id, leaf, undefined, true);
    const node = this.nodes.get(keyOf(id));
    if (!node?.[key]?.[leaf.name]) return;
    const { [leaf.name]: _, ...left } = node[key];
    node[key] = left as Record<string, never>;
    this.release(`${keyOf(id)}/${leaf.kind}/${leaf.name}`);
    await this.durably(this.options.store.put('node', keyOf(id), node));
  }

  private async ingestTelemetry(
    id: NodeId,
    leaf: Leaf & { readonly name: string },
    publication: Publication,
  ): Promise<void> {
    if (this.isTooLong(publication, leaf, 'bad-telemetry')) return;
    const decoded = decodeMessage(descriptors.telemetry, publication.payload);
    if (!decoded.ok) {
      this.refuse(publication, 'bad-telemetry', describeProblem(decoded.problem));
      return;
    }
    const node = this.nodeOf(id);
    if (!node) return;
    const { boot, seq, uptime, counters } = decoded.value;
    const record = { ...id, boot, seq, job: leaf.name, receivedAtMs: node.heardAt, uptime, counters };
    const outcome = await this.durably(this.options.store.telemetry(record));
    if (outcome === 'too-many-jobs') {
      this.refuse(publication, outcome, 'expected a few jobs a node, got another');
      return;
    }
    this.counters.add(outcome === 'stored' ? 'telemetry.stored' : 'telemetry.duplicate');
    const key = `${keyOf(id)}/${leaf.name}`;
    // A wall clock may step back; then the mirror goes on, too.
    if (Math.abs(node.heardAt - (this.mirroredAt.get(key) ?? 0)) < mirrorTelemetryMs) return;
    if (this.mirroredAt.size > mostNodes) this.mirroredAt.clear();
    this.mirroredAt.set(key, node.heardAt);
    this.mirror(id, leaf, { ...decoded.value, at: iso(node.heardAt) }, true);
  }

  private async ingestRule(
    id: NodeId,
    leaf: Leaf & { readonly name: string },
    publication: Publication,
  ): Promise<void> {
    const { payload } = publication;
    const known = this.rules.get(keyOf(id))?.get(leaf.name);
    if (payload.length === 0) {
      if (known) await this.putRule(known, { ...known, desired: undefined });
      this.mirror(id, leaf, undefined, true);
      return;
    }
    if (this.isTooLong(publication, leaf, 'bad-rule')) return;
    const at = this.options.clock();
    const rule = known ?? this.newRule(id, leaf.name);
    if (!rule || !this.hold(`${keyOf(id)}/rule/${leaf.name}`, payload.length)) return;
    const desired = { payload: Buffer.from(payload).toString('base64'), digest: digest(payload), at };
    await this.putRule(rule, { ...rule, desired });
    const decoded = decodePeoplesPayload(payload);
    this.mirror(id, leaf, decoded.ok ? (decoded.value as object) : { unreadable: decoded.reason }, true);
  }

  private async ingestRuleStatus(
    id: NodeId,
    leaf: Leaf & { readonly name: string },
    publication: Publication,
  ): Promise<void> {
    const { payload } = publication;
    const known = this.rules.get(keyOf(id))?.get(leaf.name);
    if (payload.length === 0) {
      if (known) await this.putRule(known, { ...known, reported: undefined });
      this.mirror(id, leaf, undefined, true);
      return;
    }
    if (this.isTooLong(publication, leaf, 'bad-rule-status')) return;
    const decoded = decodeMessage(descriptors['rule-status'], payload);
    if (!decoded.ok) {
      this.refuse(publication, 'bad-rule-status', describeProblem(decoded.problem));
      return;
    }
    const at = this.options.clock();
    const rule = known ?? this.newRule(id, leaf.name);
    if (!rule || !this.hold(`${keyOf(id)}/rule/${leaf.name}/status`, payload.length)) return;
    const reported = decoded.value;
    await this.putRule(rule, { ...rule, reported: { ...reported, at } });
    const { lastHit = Infinity, uptime } = reported;
    // An uptime of more than the time since 1970 is a lie, and no date.
    const lastHitAt = lastHit <= uptime && uptime < at ? { lastHitAt: iso(at - (uptime - lastHit)) } : {};
    this.mirror(id, leaf, { ...reported, ...lastHitAt, at: iso(at) }, true);
  }

  private async putRule(
    rule: RuleRecord,
    next: { [K in keyof RuleRecord]: RuleRecord[K] | undefined },
  ): Promise<void> {
    const rules = this.rulesOf(rule);
    const key = `${keyOf(rule)}/${rule.rule}`;
    if (next.desired === undefined && next.reported === undefined) {
      rules.delete(rule.rule);
      this.release(`${keyOf(rule)}/rule/${rule.rule}`);
      this.release(`${keyOf(rule)}/rule/${rule.rule}/status`);
      await this.durably(this.options.store.remove('rule', key));
      return;
    }
    const record = JSON.parse(JSON.stringify(next)) as RuleRecord; // drops what is undefined
    rules.set(rule.rule, record);
    await this.durably(this.options.store.put('rule', key, record));
  }

  private newRule(id: NodeId, rule: string): RuleRecord | undefined {
    if (this.rulesOf(id).size >= mostRulesPerNode) {
      this.counters.add('too-many-rules');
      return undefined;
    }
    return { ...id, rule };
  }

  private rulesOf(id: NodeId): Map<string, RuleRecord> {
    const key = keyOf(id);
    let rules = this.rules.get(key);
    if (!rules) {
      rules = new Map();
      this.rules.set(key, rules);
    }
    return rules;
  }

  /** The node's record, made if there is room; `heardAt` is now. */
  private nodeOf(id: NodeId): NodeRecord | undefined {
    const heardAt = this.options.clock();
    const known = this.nodes.get(keyOf(id));
    if (known) {
      known.heardAt = heardAt;
      return known;
    }
    if (this.nodes.size >= mostNodes) {
      this.counters.add('too-many-nodes');
      return undefined;
    }
    const node: NodeRecord = { ...id, heardAt };
    this.nodes.set(keyOf(id), node);
    return node;
  }

  /** An empty retained `state` takes a node out of the registry; its telemetry stays until retention ends. */
  private async forgetNode(id: NodeId): Promise<void> {
    const node = this.nodes.get(keyOf(id));
    if (!node) return;
    this.nodes.delete(keyOf(id));
    for (const what of ['info', 'ledger', 'lastEvent']) this.release(`${keyOf(id)}/${what}`);
    for (const what of Object.keys(node.hosts ?? {})) this.release(`${keyOf(id)}/host-status/${what}`);
    for (const what of Object.keys(node.acls ?? {})) this.release(`${keyOf(id)}/acl-status/${what}`);
    const { store } = this.options;
    await this.durably(store.remove('node', keyOf(id)));
    for (const { key } of await this.durably(store.all(eventKind(id))))
      await this.durably(store.remove(eventKind(id), key));
    for (const kind of ['state', 'info', 'ledger'] as const) this.mirror(id, { kind }, undefined, true);
  }

  private mirror(id: NodeId, leaf: Leaf, body: object | undefined, retain: boolean): void {
    this.options.publish(formatMirrorTopic(id, leaf), body === undefined ? '' : toJson(body), { retain });
  }

  /** Makes the room a record takes in memory; false, and counted, if there is none. */
  private hold(key: string, bytes: number): boolean {
    const more = bytes + recordBytes - (this.held.get(key) ?? 0);
    if (more > 0 && this.heldBytes + more > mostHeldBytes) {
      this.counters.add('registry-full');
      return false;
    }
    this.heldBytes += more;
    this.held.set(key, bytes + recordBytes);
    return true;
  }

  private release(key: string): void {
    this.heldBytes -= this.held.get(key) ?? 0;
    this.held.delete(key);
  }

  private isTooLong(publication: Publication, leaf: Leaf, reason: CounterName): boolean {
    const most = mostBytes[leaf.kind as keyof typeof mostBytes];
    const { length } = publication.payload;
    if (length > most) this.refuse(publication, reason, `expected at most ${most} bytes, got ${length}`);
    return length > most;
  }

  /** Marks what the store refuses, so that it is not taken for a fault in here. */
  private durably<T>(stored: Promise<T>): Promise<T> {
    return stored.catch(error => {
      throw new NotStored((error as Error).message);
    });
  }

  private refuse(publication: Publication, reason: CounterName, problem: string): void {
    this.counters.add(reason);
    this.lastProblem = { topic: publication.topic.slice(0, 200), problem, at: this.options.clock() };
  }
}

/** The store could not take it: whoever published must not be told that it is safe. */
export class NotStored extends Error {}

const topicExpectation = {
  'foreign-topic': '',
  'bad-id': 'expected ids of 1 to 32 characters of a-z, 0-9 and -',
  'unknown-leaf':
    'expected state, info, ledger, rule/<id>, rule/<id>/status, telemetry/<job>, event/<name>, request/<verb> or response/<verb>',
} as const;

export function toJson(body: unknown): string {
  return JSON.stringify(body, (_, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
  );
}

function keyOf(id: NodeId): string {
  return `${id.site}/${id.node}`;
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString();
}

function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
