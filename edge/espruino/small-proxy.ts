/**
 * The power proxy cut down to a board that hears no frames: rules that wake a host by a timer or when a UDP datagram comes to
 * the board itself, and the request `wake`. Other triggers and actions are rejected, with the field and what is expected.
 *
 * Bounds: `mostRules`; a wake is repeated as agent/power-proxy/waker.ts does, and given up so.
 */

import { decodeUtf8, digest, encodeUtf8 } from '../../agent/core/bytes.js';
import { never, parseDuration } from '../../agent/core/time.js';
import type { CborMap, CborValue } from '../../agent/message/cbor.js';
import type { Saved } from '../../agent/port/platform.js';
import { formatMac, parseMac } from '../../agent/wire/address.js';
import { emitWakeOnLan, wakeOnLanLength, wakeOnLanPort } from '../../agent/wire/wol.js';
import { isMap, mostRules, type Problem, parsed, type SmallJob, type SmallVoice } from './small-agent.js';

/** Of waker.ts: a host hears the packet again every 3 s; 45 s are enough for any to come up. Nobody here hears it do so. */
const wakeRepeatMs = 3_000;
const wakeGiveUpMs = 45_000;
const savePrefix = 'rule/';
/** How often what is left of a timeout or of a timer is saved, as agent/power-proxy/rule-table.ts does. */
const saveMs = 60_000;

interface Rule {
  readonly id: string;
  readonly text: string;
  readonly digest: string;
  readonly host: Uint8Array;
  /** 0: a timer. */
  readonly port: number;
  readonly everyMs: number;
  readonly revision: number;
  dueAt: number;
  expiresAt: number;
  hits: number;
  lastHitAt: number;
}

interface Judged {
  readonly host: Uint8Array;
  readonly port: number;
  readonly everyMs: number;
  readonly afterMs: number;
  readonly timeoutMs: number;
}

interface Wake {
  readonly host: Uint8Array;
  readonly until: number;
  nextAt: number;
}

const macWanted = 'a MAC address such as 3c:22:fb:01:02:03';

export const proxyCounters = [
  'rules.accepted',
  'rules.redelivered',
  'rules.expired',
  'timers.fired',
  'knocks',
  'wakes',
] as const;
export type ProxyCounter = (typeof proxyCounters)[number];

export class SmallProxy implements SmallJob {
  readonly jobNames: readonly string[] = ['power-proxy'];
  private readonly voice: SmallVoice;
  /** Digests of rules that ended with their timeout, by id, to be known if they are delivered again. At most `mostRules`. */
  private readonly ended: { [id: string]: string } = {};
  private table: Rule[] = [];
  private waking: Wake[] = [];
  private listenDue = true;
  private saveAt = never;

  constructor(now: number, voice: SmallVoice, kept: Saved) {
    this.voice = voice;
    for (const key of Object.keys(kept)) {
      if (key.slice(0, savePrefix.length) !== savePrefix) continue;
      if (!this.restore(now, key.slice(savePrefix.length), kept[key])) voice.tally('records.unreadable');
    }
  }

  putRule(now: number, id: string, payload: Uint8Array, retained: boolean): Problem | undefined {
    const before = this.table.filter(rule => rule.id === id)[0];
    const payloadDigest = digest(payload);
    if (retained && before && before.digest === payloadDigest) {
      this.voice.tally('rules.redelivered');
      this.say(now, 'accepted', before);
      return undefined;
    }
    if (retained && this.ended[id] === payloadDigest) {
      this.voice.tellRule(now, id, { status: 'expired', digest: payloadDigest });
      return undefined;
    }
    const judged: Judged | Problem =
      !before && this.table.length >= mostRules
        ? { field: '', expected: `at most ${mostRules} rules`, got: `${mostRules + 1}` }
        : judge(payload);
    if ('field' in judged) {
      judged.inForce = before?.digest;
      return judged;
    }
    this.voice.tally('rules.accepted');
    this.drop(id);
    delete this.ended[id];
    const rule = this.enter(now, id, payload, judged, (before ? before.revision : 0) + 1, judged.timeoutMs);
    if (judged.everyMs === 0) rule.dueAt = now + judged.afterMs;
    this.save(now, rule);
    this.say(now, 'accepted', rule);
    return undefined;
  }

  removeRule(id: string): void {
    this.drop(id);
    this.forget(id);
  }

  wakeFor(now: number, host: CborValue | undefined): string | undefined {
    const mac = typeof host === 'string' ? wakeable(host) : undefined;
    if (!mac) return `host: expected ${macWanted}, got ${shown(host)}`;
    this.wake(now, mac);
    return undefined;
  }

  knocked(now: number, port: number): void {
    this.voice.tally('knocks');
    for (const rule of this.table) if (rule.port === port) this.hit(now, rule);
  }

  pollJob(now: number): void {
    const expired: Rule[] = [];
    for (const rule of this.table) {
      if (rule.expiresAt <= now) expired.push(rule);
      else if (rule.dueAt <= now) {
        this.voice.tally('timers.fired');
        rule.dueAt = rule.everyMs > 0 ? now + rule.everyMs : never;
        this.save(now, rule);
        this.hit(now, rule);
      }
    }
    for (const rule of expired) {
      this.voice.tally('rules.expired');
      this.drop(rule.id);
      this.save(now, rule);
      this.end(rule.id, rule.digest);
      this.say(now, 'expired', rule);
    }
    for (const wake of this.waking) {
      if (wake.nextAt > now) continue;
      wake.nextAt = now + wakeRepeatMs;
      this.magic(wake.host);
    }
    this.waking = this.waking.filter(wake => wake.nextAt <= wake.until);
    if (this.saveAt <= now) {
      this.saveAt = never;
      for (const rule of this.table) if (rule.expiresAt < never || rule.dueAt < never) this.save(now, rule);
    }
  }

  flushJob(): void {
    const { outbox } = this.voice;
    if (this.listenDue && outbox.room > 0) {
      const ports: number[] = [];
      for (const { port } of this.table) if (port > 0 && ports.indexOf(port) < 0) ports.push(port);
      this.voice.askFor({ kind: 'listen', ports });
      this.listenDue = false;
    }
  }

  jobPollAt(): number {
    let at = this.saveAt;
    for (const rule of this.table) at = Math.min(at, rule.expiresAt, rule.dueAt);
    for (const wake of this.waking) at = Math.min(at, wake.nextAt);
    return at;
  }

  reportAll(now: number): void {
    this.listenDue = true;
    for (const rule of this.table) this.say(now, 'accepted', rule);
  }

  inForceTexts(): string[] {
    return this.table.map(rule => `${rule.id}=${rule.digest};`);
  }

  private enter(
    now: number,
    id: string,
    payload: Uint8Array,
    judged: Judged,
    revision: number,
    leftMs: number,
  ): Rule {
    const rule: Rule = {
      id,
      text: decodeUtf8(payload) as string,
      digest: digest(payload),
      host: judged.host,
      port: judged.port,
      everyMs: judged.everyMs,
      revision,
      dueAt: judged.everyMs > 0 ? now + judged.everyMs : never,
      expiresAt: now + leftMs,
      hits: 0,
      lastHitAt: -1,
    };
    this.table.push(rule);
    return rule;
  }

  private drop(id: string): void {
    this.table = this.table.filter(rule => rule.id !== id);
    this.listenDue = true;
    this.voice.rulesChanged();
  }

  /** What is left of its time is kept, not when it ends: no clock outlives a power cut. */
  private save(now: number, rule: Rule): void {
    const { expiresAt, dueAt } = rule;
    const record = `${rule.revision},${left(expiresAt, now)},${left(dueAt, now)},${rule.text}`;
    this.voice.unsaved[savePrefix + rule.id] = encodeUtf8(record);
    if (expiresAt < never ? expiresAt > now : dueAt < never)
      this.saveAt = Math.min(this.saveAt, now + saveMs);
  }

  private restore(now: number, id: string, bytes: Uint8Array): boolean {
    const kept = readKept(bytes);
    if (!kept) return false;
    const payload = encodeUtf8(kept.text);
    if (kept.leftMs === 0) {
      this.end(id, digest(payload));
      return true;
    }
    const judged = judge(payload);
    if ('field' in judged) return false;
    const rule = this.enter(now, id, payload, judged, kept.revision, kept.leftMs < 0 ? never : kept.leftMs);
    if (kept.dueMs >= 0) rule.dueAt = now + kept.dueMs;
    if (kept.leftMs > 0 || kept.dueMs >= 0) this.saveAt = now + saveMs;
    return true;
  }

  /** Delivered again, it stays ended; the oldest is forgotten where there are too many. */
  private end(id: string, ruleDigest: string): void {
    this.ended[id] = ruleDigest;
    const ids = Object.keys(this.ended);
    if (ids.length > mostRules) this.forget(ids[0]);
  }

  private forget(id: string): void {
    delete this.ended[id];
    this.voice.unsaved[savePrefix + id] = new Uint8Array(0);
  }

  private hit(now: number, rule: Rule): void {
    rule.hits++;
    rule.lastHitAt = now;
    this.say(now, 'accepted', rule);
    if (this.wake(now, rule.host))
      this.voice.tellEvent(now, 'wake', { host: formatMac(rule.host), rule: rule.id });
  }

  /** False if it is being woken already. */
  private wake(now: number, host: Uint8Array): boolean {
    const name = formatMac(host);
    for (const wake of this.waking) if (formatMac(wake.host) === name) return false;
    if (this.waking.length >= mostRules) return false;
    this.voice.tally('wakes');
    this.waking.push({ host, until: now + wakeGiveUpMs, nextAt: now + wakeRepeatMs });
    this.magic(host);
    return true;
  }

  private magic(targetMac: Uint8Array): void {
    const packet = { targetMac, password: new Uint8Array(0) };
    const payload = new Uint8Array(wakeOnLanLength(packet));
    emitWakeOnLan(packet, payload, 0);
    this.voice.askFor({ kind: 'broadcast', port: wakeOnLanPort, payload });
  }

  private say(now: number, status: string, rule: Rule): void {
    this.voice.tellRule(now, rule.id, {
      status,
      digest: rule.digest,
      inForce: status === 'accepted' ? rule.digest : undefined,
      revision: rule.revision,
      hits: rule.hits,
      lastHit: rule.lastHitAt < 0 ? undefined : rule.lastHitAt,
    });
  }
}

/** −1: never. */
function left(at: number, now: number): number {
  return at === never ? -1 : Math.max(0, at - now);
}

/** What is saved of a rule, `revision,left,due,payload`; spans in ms, -1: never. */
interface Kept {
  readonly text: string;
  readonly revision: number;
  readonly leftMs: number;
  readonly dueMs: number;
}

function readKept(bytes: Uint8Array): Kept | undefined {
  const record = decodeUtf8(bytes) || '';
  const head = /^(\d+),(-*\d+),(-*\d+),/.exec(record);
  if (!head) return undefined;
  return {
    text: record.slice(head[0].length),
    revision: Number(head[1]),
    leftMs: Number(head[2]),
    dueMs: Number(head[3]),
  };
}

function judge(payload: Uint8Array): Judged | Problem {
  const rule = parsed(payload);
  // RFC 8949 §3: major type 5 is a map.
  if (!isMap(rule))
    return { field: '', expected: 'a map in JSON', got: payload[0] >> 5 === 5 ? 'CBOR' : 'none' };
  const strange = unknownKey(rule, '', ['host', 'trigger', 'action', 'timeout', 'priority']);
  if (strange) return strange;
  const host = typeof rule['host'] === 'string' ? wakeable(rule['host']) : undefined;
  if (!host) return problem('host', macWanted, rule['host']);
  if (rule['action'] !== 'wake') return problem('action', '"wake" on this board', rule['action']);
  const timeoutMs = rule['timeout'] === undefined ? never : durationOf(rule['timeout']);
  if (timeoutMs < 0) return problem('timeout', 'a duration such as 30s', rule['timeout']);
  const { trigger } = rule;
  if (!isMap(trigger)) return problem('trigger', 'a map', trigger);
  const { timer, udp } = trigger;
  const other = unknownKey(trigger, 'trigger.', ['timer', 'udp']);
  if (other) return other;
  if (isMap(timer) && udp === undefined) {
    const more = unknownKey(timer, 'trigger.timer.', ['every', 'after']);
    if (more) return more;
    const every = timer['every'] !== undefined;
    const ms = durationOf(every ? timer['every'] : timer['after']);
    if (ms < 1000 || (every && timer['after'] !== undefined))
      return problem('trigger.timer', 'every or after, and a duration from 1s', undefined);
    return { host, port: 0, everyMs: every ? ms : 0, afterMs: every ? never : ms, timeoutMs };
  }
  if (isMap(udp) && timer === undefined) {
    const more = unknownKey(udp, 'trigger.udp.', ['dstPort']);
    if (more) return more;
    const port = udp['dstPort'];
    if (typeof port !== 'number' || !(port >= 1 && port <= 65535 && port % 1 === 0))
      return problem('trigger.udp.dstPort', 'an integer 1..65535', port);
    return { host, port, everyMs: 0, afterMs: never, timeoutMs };
  }
  return problem('trigger', 'timer or udp, one of the two', undefined);
}

/** As elsewhere an unknown key is an error in a rule: a misspelt one must not pass for a working rule. */
function unknownKey(map: CborMap, prefix: string, known: readonly string[]): Problem | undefined {
  for (const key of Object.keys(map))
    if (known.indexOf(key) < 0)
      return {
        field: prefix + key.slice(0, 32),
        expected: `one of ${known.join(', ')} on this board`,
        got: 'another field',
      };
  return undefined;
}

function problem(field: string, expected: string, got: CborValue | undefined): Problem {
  return { field, expected, got: shown(got) };
}

function shown(value: CborValue | undefined): string {
  return typeof value === 'string' || typeof value === 'number' ? `${value}`.slice(0, 20) : typeof value;
}

/** −1: none. */
function durationOf(value: CborValue | undefined): number {
  const ms = typeof value === 'string' ? parseDuration(value) : undefined;
  return ms === undefined ? -1 : ms;
}

/** A MAC that a magic packet can be for: not everybody's. */
function wakeable(text: string): Uint8Array | undefined {
  const mac = parseMac(text);
  return mac && formatMac(mac) !== 'ff:ff:ff:ff:ff:ff' ? mac : undefined;
}
