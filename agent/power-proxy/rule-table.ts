/**
 * The rule table: every rule of this node by id, the rules in force in the order they are tried, and what is to be
 * reported about each on `rule/<id>/status`.
 *
 * A payload is judged as a whole: a bad one is reported and leaves the rule in force as it was. Rules survive a
 * restart (key `rule/<id>`). A timeout runs from the moment people publish the rule: a retained copy that the broker
 * delivers again neither restarts it nor revives a rule that has expired. Over a restart it goes on from what was
 * left of it at the last save, at most a minute too long.
 * Bounds: limits.rules entries; a further rule is rejected.
 */

import { digest, encodeUtf8 } from '../core/bytes.js';
import type { Counters } from '../core/counters.js';
import { never } from '../core/time.js';
import type { JobContext } from '../job.js';
import { decodeCbor, encodeCbor } from '../message/cbor.js';
import { judge } from '../message/judge.js';
import { type Action, descriptors, type RuleStatus } from '../message/messages.js';
import type { Problem } from '../message/schema.js';
import { type CompiledRule, compareRules, compileRule } from './rule.js';

export type RuleCounter =
  | 'rules.accepted'
  | 'rules.rejected'
  | 'rules.removed'
  | 'rules.expired'
  | 'rules.redelivered'
  | 'rules.unreadable';

/** A rule in force, with what happened to it. */
export interface ActiveRule {
  readonly id: string;
  readonly action: Action;
  readonly rule: CompiledRule;
  readonly payload: Uint8Array;
  readonly digest: string;
  readonly expiresAt: number;
  hits: number;
  bytes: number;
  lastHitAt: number | undefined;
}

/** What the last payload under an id came to. */
type Verdict =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'rejected'; readonly digest: string; readonly problem: Problem }
  | { readonly kind: 'expired'; readonly digest: string };

interface Entry {
  readonly id: string;
  verdict: Verdict;
  active: ActiveRule | undefined;
  /** The rule that expired last, for what it did. */
  past: ActiveRule | undefined;
  revision: number;
  /** When the status is to be published; `never` when nothing is new. */
  reportAt: number;
  reportedAt: number;
}

/** Hits are reported at once, but no more often than this per rule. */
const reportSpacingMs = 1_000;
/** How often what is left of a timeout is saved. A shorter span wears flash, a longer one forgets more. */
const saveTimeoutMs = 60_000;
const keyPrefix = 'rule/';

export class RuleTable {
  /** The rules in force in the order they are tried. */
  order: readonly ActiveRule[] = [];
  /** By `slotOf(id)`. */
  private readonly entries: { [slot: string]: Entry } = {};
  private readonly context: JobContext;
  private readonly counters: Counters<RuleCounter>;
  private setDigest = digest(encodeUtf8(''));
  private expiresAt = never;
  private reportAt = never;
  private saveAt = never;

  constructor(now: number, context: JobContext, counters: Counters<RuleCounter>) {
    this.context = context;
    this.counters = counters;
    for (const key of Object.keys(context.saved).sort()) {
      if (key.slice(0, keyPrefix.length) === keyPrefix) this.restore(now, key, context.saved[key]);
    }
    this.reorder();
  }

  get digest(): string {
    return this.setDigest;
  }

  put(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    if (payload.length === 0) {
      this.remove(id);
      return;
    }
    const payloadDigest = digest(payload);
    const entry = this.entries[slotOf(id)];
    if (retained && entry && this.isKnown(entry, payloadDigest)) {
      this.counters.add('rules.redelivered');
      this.reportSoon(now, entry);
      return;
    }
    const judged = judge(descriptors.rule, payload, this.context.limits);
    const compiled = judged.ok ? compileRule(id, judged.value) : judged;
    if (!compiled.ok) {
      this.reject(now, id, payloadDigest, compiled.problem);
      return;
    }
    if (!entry && Object.keys(this.entries).length >= this.context.limits.rules) {
      const most = this.context.limits.rules;
      this.reject(now, id, payloadDigest, {
        field: '',
        expected: `at most ${most} rules`,
        got: `${most + 1}`,
      });
      return;
    }
    this.counters.add('rules.accepted');
    const before = entry?.active;
    const same = before !== undefined && before.digest === payloadDigest;
    const { timeoutMs, action } = compiled.value;
    const active: ActiveRule = {
      id,
      action,
      rule: compiled.value,
      payload: new Uint8Array(payload),
      digest: payloadDigest,
      expiresAt: timeoutMs === undefined ? never : now + timeoutMs,
      hits: same ? before.hits : 0,
      bytes: same ? before.bytes : 0,
      lastHitAt: same ? before.lastHitAt : undefined,
    };
    const revision = (entry?.revision ?? 0) + (same ? 0 : 1);
    this.entries[slotOf(id)] = {
      id,
      verdict: { kind: 'accepted' },
      active,
      past: undefined,
      revision,
      reportAt: now,
      reportedAt: now,
    };
    this.save(now, this.entries[slotOf(id)]);
    this.reorder();
  }

  /** Counts a hit of a rule in force. */
  hit(now: number, active: ActiveRule, lengthBytes: number): void {
    active.hits++;
    active.bytes += lengthBytes;
    active.lastHitAt = now;
    const entry = this.entries[slotOf(active.id)];
    if (entry.reportAt === never) {
      entry.reportAt = Math.max(now, entry.reportedAt + reportSpacingMs);
      this.reportAt = Math.min(this.reportAt, entry.reportAt);
    }
  }

  /** The bus came up: every status is reported anew, for the last ones may have been lost with the connection. */
  reportAll(now: number): void {
    for (const slot of Object.keys(this.entries)) this.reportSoon(now, this.entries[slot]);
  }

  poll(now: number): void {
    if (now >= this.expiresAt) this.expire(now);
    if (now >= this.saveAt) {
      this.saveAt = never;
      for (const slot of Object.keys(this.entries))
        if (this.isTimed(this.entries[slot])) this.save(now, this.entries[slot]);
    }
    if (now >= this.reportAt) this.report(now);
  }

  pollAt(): number {
    const at = Math.min(this.expiresAt, this.saveAt);
    return this.context.canPublish() ? Math.min(at, this.reportAt) : at;
  }

  private reject(now: number, id: string, payloadDigest: string, problem: Problem): void {
    this.counters.add('rules.rejected');
    const verdict: Verdict = { kind: 'rejected', digest: payloadDigest, problem };
    const entry = this.entries[slotOf(id)];
    if (entry) {
      entry.verdict = verdict;
      this.reportSoon(now, entry);
      return;
    }
    const fresh: Entry = {
      id,
      verdict,
      active: undefined,
      past: undefined,
      revision: 0,
      reportAt: now,
      reportedAt: now,
    };
    // An id that never held a good rule is only kept while there is room; its status is said once in any case.
    if (Object.keys(this.entries).length < this.context.limits.rules) {
      this.entries[slotOf(id)] = fresh;
      this.reportSoon(now, fresh);
    } else if (this.context.canPublish()) {
      this.context.publish({ kind: 'rule-status', name: id }, this.status(now, fresh), true);
    }
  }

  private remove(id: string): void {
    if (this.entries[slotOf(id)]) {
      this.counters.add('rules.removed');
      this.context.save(keyPrefix + id, undefined);
      delete this.entries[slotOf(id)];
      this.reorder();
    }
    // Also for an id unknown here: a status left over from an earlier life must not outlast the rule.
    if (this.context.canPublish()) this.context.publish({ kind: 'rule-status', name: id }, undefined, true);
  }

  private expire(now: number): void {
    for (const slot of Object.keys(this.entries)) {
      const entry = this.entries[slot];
      if (!entry.active || entry.active.expiresAt > now) continue;
      this.counters.add('rules.expired');
      if (entry.verdict.kind === 'accepted') entry.verdict = { kind: 'expired', digest: entry.active.digest };
      this.save(now, entry);
      entry.past = entry.active;
      entry.active = undefined;
      this.reportSoon(now, entry);
    }
    this.reorder();
  }

  private report(now: number): void {
    this.reportAt = never;
    for (const slot of Object.keys(this.entries)) {
      const entry = this.entries[slot];
      if (entry.reportAt <= now && this.context.canPublish()) {
        this.context.publish({ kind: 'rule-status', name: entry.id }, this.status(now, entry), true);
        entry.reportAt = never;
        entry.reportedAt = now;
      }
      this.reportAt = Math.min(this.reportAt, entry.reportAt);
    }
  }

  private status(now: number, entry: Entry): RuleStatus {
    const { verdict, active } = entry;
    const { boot } = this.context;
    const status: { -readonly [K in keyof RuleStatus]: RuleStatus[K] } = {
      status: verdict.kind,
      digest: verdict.kind === 'accepted' ? (active as ActiveRule).digest : verdict.digest,
      boot,
      uptime: this.context.uptime(now),
      revision: entry.revision,
    };
    if (verdict.kind === 'rejected') {
      const { field, expected, got } = verdict.problem;
      status.reason = `${field === '' ? 'payload' : field}: expected ${expected}, got ${got}`.slice(0, 200);
      status.field = field.slice(0, 64);
      status.expected = expected.slice(0, 200);
      status.got = got.slice(0, 64);
    }
    if (active) status.inForce = active.digest;
    const told = active ?? entry.past;
    if (told) {
      status.hits = told.hits;
      status.bytes = told.bytes;
      if (told.lastHitAt !== undefined) status.lastHit = this.context.uptime(told.lastHitAt);
    }
    return status;
  }

  private reportSoon(now: number, entry: Entry): void {
    entry.reportAt = now;
    this.reportAt = Math.min(this.reportAt, now);
  }

  private isKnown(entry: Entry, payloadDigest: string): boolean {
    return entry.verdict.kind === 'accepted'
      ? entry.active?.digest === payloadDigest
      : entry.verdict.digest === payloadDigest;
  }

  private isTimed(entry: Entry): boolean {
    return entry.active !== undefined && entry.active.expiresAt !== never;
  }

  /** Rebuilds what is derived from the entries. */
  private reorder(): void {
    const order: ActiveRule[] = [];
    let text = '';
    this.expiresAt = never;
    this.reportAt = never;
    for (const slot of Object.keys(this.entries).sort()) {
      const { id, active, reportAt } = this.entries[slot];
      this.reportAt = Math.min(this.reportAt, reportAt);
      if (!active) continue;
      order.push(active);
      text += `${id}=${active.digest};`;
      this.expiresAt = Math.min(this.expiresAt, active.expiresAt);
    }
    order.sort((a, b) => compareRules(a.rule, b.rule));
    this.order = order;
    this.setDigest = digest(encodeUtf8(text));
  }

  private save(now: number, entry: Entry): void {
    const { active, revision } = entry;
    if (!active) return;
    const leftMs = active.expiresAt === never ? -1 : Math.max(0, active.expiresAt - now);
    this.context.save(keyPrefix + entry.id, encodeCbor({ payload: active.payload, revision, leftMs }));
    if (leftMs > 0) this.saveAt = Math.min(this.saveAt, now + saveTimeoutMs);
  }

  private restore(now: number, key: string, bytes: Uint8Array): void {
    const id = key.slice(keyPrefix.length);
    const decoded = decodeCbor(bytes, { depth: 2 });
    const saved = decoded.ok
      ? (decoded.value as { payload?: unknown; revision?: unknown; leftMs?: unknown })
      : {};
    const { payload, revision, leftMs } = saved;
    if (!(payload instanceof Uint8Array) || typeof revision !== 'number' || typeof leftMs !== 'number') {
      this.unreadable(id, 'not as this firmware saves rules');
      return;
    }
    const judged = judge(descriptors.rule, payload, this.context.limits);
    const compiled = judged.ok ? compileRule(id, judged.value) : judged;
    if (!compiled.ok) {
      this.unreadable(id, compiled.reason);
      return;
    }
    const payloadDigest = digest(payload);
    const active: ActiveRule = {
      id,
      action: compiled.value.action,
      rule: compiled.value,
      payload,
      digest: payloadDigest,
      expiresAt: leftMs < 0 ? never : now + leftMs,
      hits: 0,
      bytes: 0,
      lastHitAt: undefined,
    };
    const expired = leftMs === 0;
    this.entries[slotOf(id)] = {
      id,
      verdict: expired ? { kind: 'expired', digest: payloadDigest } : { kind: 'accepted' },
      active: expired ? undefined : active,
      past: undefined,
      revision,
      reportAt: now,
      reportedAt: now,
    };
    if (leftMs > 0) this.saveAt = Math.min(this.saveAt, now + saveTimeoutMs);
  }

  private unreadable(id: string, why: string): void {
    this.counters.add('rules.unreadable');
    this.context.log('warn', `saved rule ${id} is left aside: ${why}`);
  }
}

/** The key of a rule's entry: an id alone could be `constructor`, which every object has. */
function slotOf(id: string): string {
  return `/${id}`;
}
