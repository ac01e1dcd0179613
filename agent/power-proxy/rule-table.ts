/**
 * The rule table: every rule of this node by id, the rules in force compiled, when those with a timer are due, and what is
 * to be reported about each on `rule/<id>/status`.
 *
 * A payload is judged as a whole: a bad one is reported and leaves the rule in force as it was. Rules survive a
 * restart (key `rule/<id>`). A timeout runs from the moment people publish the rule: a retained copy that the broker
 * delivers again neither restarts it nor revives a rule that has expired. Over a restart it goes on from what was
 * left of it at the last save, at most a minute too long.
 * What is odd about a rule (analysis.ts) is found anew after each change for all rules, but beyond `analysedRules` of them
 * only when a rule's status is written anyway: after it was put or hit, or when the bus came up.
 * Bounds: limits.rules entries; a further rule is rejected.
 */

import { digest, encodeUtf8 } from '../core/bytes.js';
import type { Counters } from '../core/counters.js';
import { never } from '../core/time.js';
import type { JobContext } from '../job.js';
import { decodeCbor, encodeCbor } from '../message/cbor.js';
import { type Judged, judge, refuse } from '../message/judge.js';
import type { RuleStatus, Warning } from '../message/messages.js';
import { ruleDescriptor } from '../message/received.js';
import type { Problem } from '../message/schema.js';
import { analyse, chatterOf, type Means } from './analysis.js';
import type { AnswerState } from './answer.js';
import { Matcher } from './matcher.js';
import type { Parts } from './parts.js';
import { type CompiledRule, compileRule, type ResponderName } from './rule.js';

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
  readonly rule: CompiledRule;
  readonly payload: Uint8Array;
  readonly digest: string;
  readonly expiresAt: number;
  /** Of a timer: when it is due; `never` after the only time. */
  fireAt: number;
  hits: number;
  bytes: number;
  lastHitAt: number | undefined;
  /** What the rule's own answer keeps, once it was given. */
  answerState?: AnswerState;
  /** What the table keeps under its id. */
  readonly entry: Entry;
}

/** What the last payload under an id came to. */
type Verdict =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'rejected'; readonly digest: string; readonly problem: Problem }
  | { readonly kind: 'expired'; readonly digest: string };

export interface Entry {
  readonly id: string;
  verdict: Verdict;
  active: ActiveRule | undefined;
  /** The rule that expired last, for what it did. */
  past: ActiveRule | undefined;
  revision: number;
  /** When the status is to be published; `never` when nothing is new. */
  reportAt: number;
  reportedAt: number;
  /** What is odd about the rule in force, as of the change `analysedChange`. */
  warnings: readonly Warning[];
  analysedChange: number;
  /** The outbox had no room for what is to be kept of it. */
  isUnsaved: boolean;
}

/** Hits are reported at once, but no more often than this per rule. */
const reportSpacingMs = 1_000;
/** Holding so many rules against each other takes some milliseconds. */
const analysedRules = 256;
/** What a status has room for (messages.cddl). */
const maxWarnings = 8;
/** How often what is left of a timeout is saved. A shorter span wears flash, a longer one forgets more. */
const saveTimeoutMs = 60_000;
const keyPrefix = 'rule/';
/** The same for every node, so a constant: boards have those in flash. */
const chatter = chatterOf();

export class RuleTable {
  /** The rules in force. */
  readonly matcher: Matcher<ActiveRule>;
  /** By `slotOf(id)`. */
  private readonly entries: { [slot: string]: Entry } = {};
  private readonly context: JobContext;
  private readonly counters: Counters<RuleCounter>;
  private readonly means: Means;
  private readonly parts: Parts;
  private entryCount = 0;
  /** Counts what changed the rules in force. */
  private change = 0;
  private digestText = '';
  private digestedChange = -1;
  private expiresAt = never;
  private fireAt = never;
  private reportAt = never;
  private saveAt = never;
  private analyseAt = never;

  constructor(now: number, context: JobContext, parts: Parts, counters: Counters<RuleCounter>) {
    this.context = context;
    this.parts = parts;
    this.counters = counters;
    this.means = {
      hasLinks: context.links.length > 0,
      hearsFrames: context.links.some(({ hears }) => hears !== 'datagrams'),
    };
    const restored: ActiveRule[] = [];
    for (const key of Object.keys(context.saved).sort()) {
      if (key.slice(0, keyPrefix.length) !== keyPrefix) continue;
      const active = this.restore(now, key, context.saved[key]);
      if (active) restored.push(active);
    }
    this.matcher = new Matcher(restored);
    this.changed(now);
  }

  /** Over ids and digests of the rules in force. */
  get digest(): string {
    if (this.digestedChange !== this.change) {
      let text = '';
      for (const slot of Object.keys(this.entries).sort()) {
        const { id, active } = this.entries[slot];
        if (active) text += `${id}=${active.digest};`;
      }
      this.digestText = digest(encodeUtf8(text));
      this.digestedChange = this.change;
    }
    return this.digestText;
  }

  put(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    if (payload.length === 0) {
      this.remove(now, id);
      return;
    }
    const payloadDigest = digest(payload);
    const entry = this.entries[slotOf(id)];
    if (retained && entry && this.isKnown(entry, payloadDigest)) {
      this.counters.add('rules.redelivered');
      this.reportSoon(now, entry);
      return;
    }
    const compiled = this.compile(id, payload);
    if (!compiled.ok) {
      this.reject(now, id, payloadDigest, compiled.problem);
      return;
    }
    if (!entry && this.entryCount >= this.context.limits.rules) {
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
    const { timeoutMs, timer } = compiled.value;
    const fresh = this.enter(now, id, { kind: 'accepted' }, entry);
    const active: ActiveRule = {
      id,
      rule: compiled.value,
      payload: new Uint8Array(payload),
      digest: payloadDigest,
      expiresAt: timeoutMs === undefined ? never : now + timeoutMs,
      fireAt: timer ? now + timer.ms : never,
      hits: same ? before.hits : 0,
      bytes: same ? before.bytes : 0,
      lastHitAt: same ? before.lastHitAt : undefined,
      entry: fresh,
    };
    fresh.revision = (entry?.revision ?? 0) + (same ? 0 : 1);
    fresh.active = active;
    if (before) this.matcher.remove(before);
    this.matcher.add(active);
    this.save(now, fresh);
    this.changed(now);
  }

  /** Counts a hit of a rule in force. */
  hit(now: number, active: ActiveRule, lengthBytes: number): void {
    active.hits++;
    active.bytes += lengthBytes;
    active.lastHitAt = now;
    const { entry } = active;
    if (entry.reportAt === never) {
      entry.reportAt = Math.max(now, entry.reportedAt + reportSpacingMs);
      this.reportAt = Math.min(this.reportAt, entry.reportAt);
    }
  }

  /** The timers that are due, each once however late it is; their next time is set. */
  takeDue(now: number): readonly ActiveRule[] {
    if (now < this.fireAt) return [];
    const due: ActiveRule[] = [];
    for (const active of this.matcher.order) {
      const { timer } = active.rule;
      if (!timer || active.fireAt > now) continue;
      due.push(active);
      const times = Math.floor((now - active.fireAt) / timer.ms) + 1;
      active.fireAt = timer.kind === 'every' ? active.fireAt + times * timer.ms : never;
      if (timer.kind === 'after') this.save(now, active.entry);
    }
    this.findDeadlines();
    return due;
  }

  /** The bus came up: every status is reported anew, for the last ones may have been lost with the connection. */
  reportAll(now: number): void {
    for (const slot of Object.keys(this.entries)) this.reportSoon(now, this.entries[slot]);
  }

  poll(now: number): void {
    if (now >= this.expiresAt) this.expire(now);
    if (now >= this.saveAt && this.context.room() > 0) {
      this.saveAt = never;
      for (const slot of Object.keys(this.entries))
        if (this.entries[slot].isUnsaved || this.isTimed(this.entries[slot]))
          this.save(now, this.entries[slot]);
    }
    if (now >= this.analyseAt && this.context.canPublish()) this.analyseAll(now);
    if (now >= this.reportAt) this.report(now);
  }

  pollAt(): number {
    const saveAt = this.context.room() > 0 ? this.saveAt : never;
    const at = Math.min(this.expiresAt, this.fireAt, saveAt);
    return this.context.canPublish() ? Math.min(at, this.reportAt, this.analyseAt) : at;
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
    // An id that never held a good rule is only kept while there is room; its status is said once in any case.
    if (this.entryCount < this.context.limits.rules)
      this.reportSoon(now, this.enter(now, id, verdict, undefined));
    else if (this.context.canPublish())
      this.context.publish(
        { kind: 'rule-status', name: id },
        this.status(now, entryOf(now, id, verdict)),
        true,
      );
  }

  /** A new entry in the place of the one before. */
  private enter(now: number, id: string, verdict: Verdict, before: Entry | undefined): Entry {
    if (!before) this.entryCount++;
    const entry = entryOf(now, id, verdict);
    this.entries[slotOf(id)] = entry;
    return entry;
  }

  private remove(now: number, id: string): void {
    const entry = this.entries[slotOf(id)];
    // Also what was saved by another firmware, and could not be read: it must not come back.
    if (entry || this.context.saved[keyPrefix + id]) this.context.save(keyPrefix + id, undefined);
    if (entry) {
      this.counters.add('rules.removed');
      delete this.entries[slotOf(id)];
      this.entryCount--;
      if (entry.active) this.matcher.remove(entry.active);
      this.changed(now);
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
      this.matcher.remove(entry.active);
      entry.past = entry.active;
      entry.active = undefined;
      this.reportSoon(now, entry);
    }
    this.changed(now);
  }

  /** What is odd about a rule may be so because of another one: after a change all are looked at again. */
  private analyseAll(now: number): void {
    this.analyseAt = never;
    if (this.matcher.order.length > analysedRules) return;
    for (const active of this.matcher.order) {
      const { entry } = active;
      const before = JSON.stringify(entry.warnings);
      this.findWarnings(entry);
      if (JSON.stringify(entry.warnings) !== before) this.reportSoon(now, entry);
    }
  }

  private findWarnings(entry: Entry): void {
    if (entry.analysedChange === this.change) return;
    entry.analysedChange = this.change;
    const { order } = this.matcher;
    const place = entry.active ? order.indexOf(entry.active) : -1;
    entry.warnings = place < 0 ? [] : analyse(order, place, chatter, this.means).slice(0, maxWarnings);
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
    this.findWarnings(entry);
    if (entry.warnings.length > 0) status.warnings = entry.warnings;
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

  /** Whether what is left of a time must survive a restart. A period begins anew: saving it would wear flash for good. */
  private isTimed({ active }: Entry): boolean {
    if (!active) return false;
    return active.expiresAt !== never || (active.rule.timer?.kind === 'after' && active.fireAt !== never);
  }

  /** Whatever follows from the rules in force is to be found anew. */
  private changed(now: number): void {
    this.change++;
    this.analyseAt = now;
    this.findDeadlines();
  }

  private findDeadlines(): void {
    this.expiresAt = never;
    this.fireAt = never;
    this.reportAt = never;
    for (const slot of Object.keys(this.entries)) {
      const { active, reportAt } = this.entries[slot];
      this.reportAt = Math.min(this.reportAt, reportAt);
      if (!active) continue;
      this.expiresAt = Math.min(this.expiresAt, active.expiresAt);
      this.fireAt = Math.min(this.fireAt, active.fireAt);
    }
  }

  private save(now: number, entry: Entry): void {
    const { active, revision } = entry;
    if (!active) return;
    const leftMs = active.expiresAt === never ? -1 : Math.max(0, active.expiresAt - now);
    const { payload, fireAt } = active;
    const fireLeftMs = fireAt === never ? -1 : Math.max(0, fireAt - now);
    entry.isUnsaved = !this.context.save(
      keyPrefix + entry.id,
      encodeCbor({ payload, revision, leftMs, fireLeftMs }),
    );
    // What people are told to be accepted must outlast a restart: again as soon as the outbox has room.
    if (entry.isUnsaved) this.saveAt = now;
    if (this.isTimed(entry)) this.saveAt = Math.min(this.saveAt, now + saveTimeoutMs);
  }

  /** The rule, if it is one, and this node has the responder that it names. */
  private compile(id: string, payload: Uint8Array): Judged<CompiledRule> {
    const judged = judge(ruleDescriptor, payload, this.context.limits);
    const compiled = judged.ok ? compileRule(id, judged.value) : judged;
    if (!compiled.ok) return compiled;
    const { responders, keepers } = this.parts;
    const { responder } = compiled.value;
    if (responder === undefined || responders[responder] || keepers[responder]) return compiled;
    const names = [...Object.keys(responders), ...Object.keys(keepers)] as ResponderName[];
    return refuse({
      field: 'responder',
      expected: `one of ${names.join(', ')} on this node`,
      got: responder,
    });
  }

  /** The rule if it is still in force. */
  private restore(now: number, key: string, bytes: Uint8Array): ActiveRule | undefined {
    const id = key.slice(keyPrefix.length);
    const decoded = decodeCbor(bytes, { depth: 2 });
    const saved = decoded.ok
      ? (decoded.value as { payload?: unknown; revision?: unknown; leftMs?: unknown; fireLeftMs?: unknown })
      : {};
    const { payload, revision, leftMs, fireLeftMs } = saved;
    if (!(payload instanceof Uint8Array) || typeof revision !== 'number' || typeof leftMs !== 'number') {
      this.unreadable(id, 'not as this firmware saves rules');
      return undefined;
    }
    const compiled = this.compile(id, payload);
    if (!compiled.ok) {
      this.unreadable(id, compiled.reason);
      return undefined;
    }
    const payloadDigest = digest(payload);
    const { timer } = compiled.value;
    const isOnce = timer?.kind === 'after' && typeof fireLeftMs === 'number';
    const entry = this.enter(
      now,
      id,
      leftMs === 0 ? { kind: 'expired', digest: payloadDigest } : { kind: 'accepted' },
      undefined,
    );
    entry.revision = revision;
    if (leftMs === 0) return undefined;
    entry.active = {
      id,
      rule: compiled.value,
      payload,
      digest: payloadDigest,
      expiresAt: leftMs < 0 ? never : now + leftMs,
      fireAt: !timer || (isOnce && fireLeftMs < 0) ? never : now + (isOnce ? fireLeftMs : timer.ms),
      hits: 0,
      bytes: 0,
      lastHitAt: undefined,
      entry,
    };
    if (this.isTimed(entry)) this.saveAt = Math.min(this.saveAt, now + saveTimeoutMs);
    return entry.active;
  }

  private unreadable(id: string, why: string): void {
    this.counters.add('rules.unreadable');
    this.context.log('warn', `saved rule ${id} is left aside: ${why}`);
  }
}

function entryOf(now: number, id: string, verdict: Verdict): Entry {
  return {
    id,
    verdict,
    active: undefined,
    past: undefined,
    revision: 0,
    reportAt: now,
    reportedAt: now,
    warnings: [],
    analysedChange: -1,
    isUnsaved: false,
  };
}

/** The key of a rule's entry: an id alone could be `constructor`, which every object has. */
function slotOf(id: string): string {
  return `/${id}`;
}
