/**
 * What is odd about an accepted rule among the others in force, told in its status (docs/mqtt.md): a rule that never
 * decides, one that changes nothing, two that only their ids put in order, one that a broadcast storm would trigger, one
 * that no frame can match or nobody asks for. After the firewall anomalies of Al-Shaer and Hamed, INFOCOM 2004, §III.
 *
 * Rules are held against each other in pairs, as boxes: what is said of a pair is so, but what only several rules do
 * together (shadow another, make it redundant) is not found. Bounds: a rule is looked for in all others that might cover
 * it, but against no more than `nearbyRules` on either side for conflicts and for what stands between it and its double;
 * at most `maxConflicts` are told.
 */

import { sameBytes } from '../core/bytes.js';
import type { Warning } from '../message/messages.js';
import { formatAddress } from '../wire/address.js';
import { protocolTcp, protocolUdp } from '../wire/ipv4.js';
import { field, toBroadcast, toMulticast } from './fields.js';
import type { Ruled } from './matcher.js';
import type { NameTest, QuestionTest } from './question.js';
import { type Box, boxesOf, boxIn, type CompiledRule, spansIn } from './rule.js';
import { countOf, covers, overlap, type Spans } from './spans.js';
import { type TrafficRow, trafficRows } from './traffic-class.js';

/** Rules of one priority by the hundred are a generated set, whose maker knows their order. */
const nearbyRules = 1_000;
/** Who has mended these is told the next. */
const maxConflicts = 3;
/** Up to so many addresses a rule is about certain hosts, not about everybody's chatter. */
const fewAddresses = 16;

/** Of each kind of traffic that goes to groups. */
export interface Chatter {
  readonly name: string;
  readonly boxes: readonly Box[];
}

/** Ready to be handed to `analyse`: made once, for making it costs more than using it. */
export function chatterOf(rows: readonly TrafficRow[] = trafficRows): Chatter[] {
  const toGroups: Box = {
    mask: 1 << field.destination,
    tests: [{ field: field.destination, spans: [toMulticast, toBroadcast], isImplied: false }],
  };
  const chatter: Chatter[] = [];
  for (const row of rows) {
    if (row.class === 'policy-dependent') continue;
    const boxes: Box[] = [];
    for (const box of boxesOf(row.trigger)) {
      const part = boxIn(box, toGroups);
      if (part) boxes.push(part);
    }
    chatter.push({ name: row.name, boxes });
  }
  return chatter;
}

/** What the node can do, as far as rules depend on it. */
export interface Means {
  /** Whether there is a link to hear and send frames on. */
  readonly hasLinks: boolean;
  /** Whether one of them hears all frames, not datagrams alone. */
  readonly hearsFrames: boolean;
}

/** What is odd about the rule at `place` of `order`, the rules in force in the order they are tried. */
export function analyse(
  order: readonly Ruled[],
  place: number,
  chatter: readonly Chatter[],
  means: Means = { hasLinks: true, hearsFrames: true },
): Warning[] {
  const { rule } = order[place];
  if (!means.hasLinks)
    return [
      {
        kind: 'unanswerable',
        text: `this node has no link: it hears no frames, and cannot ${rule.action} for anybody`,
      },
    ];
  if (rule.timer) return [];
  if (!means.hearsFrames && !isOfDatagrams(rule))
    return [
      {
        kind: 'unanswerable',
        text: 'this node hears datagrams to itself and to groups only, and no other frames',
      },
    ];
  if (rule.boxes.length === 0)
    return [{ kind: 'never', text: 'no frame can match it: its fields exclude each other' }];
  const warnings: Warning[] = [...unanswerable(rule), ...storm(rule, chatter)];
  const cover = firstCover(order, place);
  if (cover) {
    const until = cover.timeoutMs === undefined ? '' : ' while it is in force';
    warnings.push({
      kind: 'shadowed',
      rule: cover.id,
      text: `it never decides${until}: ${cover.id} comes before it and takes all of its frames`,
    });
    return warnings;
  }
  const double = firstDouble(order, place);
  if (double)
    warnings.push({
      kind: 'redundant',
      rule: double.id,
      text: `it changes nothing: ${double.id} does the same with all of its frames`,
    });
  return [...warnings, ...conflicts(order, place, chatter)];
}

/** Whether every frame that `inner` takes, now or with any host asleep, `outer` takes too. */
export function coversRule(outer: CompiledRule, inner: CompiledRule): boolean {
  if (outer.timer || inner.timer) return false;
  for (const box of inner.boxes) {
    let isCovered = false;
    for (const around of outer.boxes) if (coversBox(around, box)) isCovered = true;
    if (!isCovered) return false;
  }
  return (
    isForSame(outer, inner) && coversPayload(outer, inner) && coversQuestion(outer.question, inner.question)
  );
}

/** False: there is no frame that both take. */
export function mayMeet(a: CompiledRule, b: CompiledRule): boolean {
  for (const first of a.boxes) for (const second of b.boxes) if (meet(first, second)) return true;
  return false;
}

/** The first rule before this one that covers it. */
function firstCover(order: readonly Ruled[], place: number): CompiledRule | undefined {
  const { rule } = order[place];
  for (let i = 0; i < place; i++) if (coversRule(order[i].rule, rule)) return order[i].rule;
  return undefined;
}

/** The first rule behind this one that would do the same with all of its frames, with none between that might not. */
function firstDouble(order: readonly Ruled[], place: number): CompiledRule | undefined {
  const { rule } = order[place];
  const end = Math.min(order.length, place + 1 + nearbyRules);
  for (let i = place + 1; i < end; i++) {
    const other = order[i].rule;
    const isSame = doesSame(rule, other);
    // One with a timeout would not do the same for good.
    if (isSame && other.timeoutMs === undefined && coversRule(other, rule)) return other;
    if (!isSame && mayMeet(other, rule)) return undefined;
  }
  return undefined;
}

function conflicts(order: readonly Ruled[], place: number, chatter: readonly Chatter[]): Warning[] {
  const { rule } = order[place];
  const warnings: Warning[] = [];
  for (const step of [-1, 1]) {
    for (
      let i = place + step, looked = 0;
      i >= 0 && i < order.length && looked < nearbyRules;
      i += step, looked++
    ) {
      const other = order[i].rule;
      if (other.priority !== rule.priority || warnings.length === maxConflicts) break;
      if (doesSame(rule, other) || !conflict(rule, other, chatter)) continue;
      // The other one is told that it never decides.
      if (step > 0 && coversRule(rule, other)) continue;
      warnings.push({
        kind: 'conflict',
        rule: other.id,
        text: `${other.id} takes some of the same frames at the same priority, ${rule.priority}: their ids decide`,
      });
    }
  }
  return warnings;
}

/**
 * Whether both take a frame that asks no more than one question. Rules for two hosts meet in frames to groups; of those
 * only chatter counts, for nobody sends TCP or a ping to a group.
 */
function conflict(a: CompiledRule, b: CompiledRule, chatter: readonly Chatter[]): boolean {
  if (a.timer || b.timer || areApart(a.question, b.question)) return false;
  const areForTwo = a.host !== undefined && b.host !== undefined && !sameBytes(a.host, b.host);
  for (const first of a.boxes) {
    for (const second of b.boxes) {
      const both = meet(first, second) ? boxIn(first, second) : undefined;
      if (both && (!areForTwo || chatterIn(both, chatter, true).length > 0)) return true;
    }
  }
  return false;
}

function storm(rule: CompiledRule, chatter: readonly Chatter[]): Warning[] {
  if (rule.action !== 'wake' || rule.payload || rule.asked || (rule.question && isNarrow(rule.question)))
    return [];
  const names: string[] = [];
  for (const box of rule.boxes)
    for (const name of chatterIn(box, chatter, false)) if (names.indexOf(name) < 0) names.push(name);
  if (names.length === 0) return [];
  const more = names.length > 4 ? ` and ${names.length - 4} more` : '';
  return [
    {
      kind: 'storm',
      text: `${names.slice(0, 4).join(', ')}${more} from anybody to everybody would wake the host`,
    },
  ];
}

/** The chatter that is in the box; if not `evenOfFew`, only where the box leaves it from many and to many. */
function chatterIn(box: Box, chatter: readonly Chatter[], evenOfFew: boolean): string[] {
  const names: string[] = [];
  const transport = spansIn(box, field.transport);
  // Segments to groups are dropped by whoever gets them (RFC 9293 §3.9.2.3).
  if (transport && covers([protocolTcp, protocolTcp], transport)) return names;
  for (const { name, boxes } of chatter) {
    for (const part of boxes) {
      const both = meet(part, box) ? boxIn(part, box) : undefined;
      if (both && (evenOfFew || !isAboutFew(both)) && names.indexOf(name) < 0) names.push(name);
    }
  }
  return names;
}

function isAboutFew(box: Box): boolean {
  for (const one of [field.srcMac, field.arpSender, field.arpTarget, field.ipv4Src, field.ipv6Src + 2]) {
    const spans = spansIn(box, one);
    if (spans && countOf(spans) <= fewAddresses) return true;
  }
  // Solicited-node addresses (RFC 4291 §2.7.1) are about one host each, and so is what goes to no group at all.
  const low = spansIn(box, field.ipv6Dst + 2);
  if (low && countOf(low) <= fewAddresses && low[0] >= 0xff000000) return true;
  const ipv6 = spansIn(box, field.ipv6Dst);
  if (ipv6 && !overlap(ipv6, [0xff00_0000_0000, 0xffff_ffff_ffff])) return true;
  const ipv4 = spansIn(box, field.ipv4Dst);
  return ipv4 !== undefined && countOf(ipv4) <= fewAddresses && !hasGroup(ipv4);
}

/** Whether one of few IPv4 addresses is a group's, or looks like a subnet's broadcast address. */
function hasGroup(spans: Spans): boolean {
  for (let i = 0; i < spans.length; i += 2)
    for (let address = spans[i]; address <= spans[i + 1]; address++)
      if (address >= 0xe0000000 || (address & 255) === 255) return true;
  return false;
}

function isNarrow({ names }: QuestionTest): boolean {
  for (const { kind } of names) if (kind === 'below') return false;
  return names.length > 0;
}

/** Whether the rule asks for UDP in every case. */
function isOfDatagrams({ boxes }: CompiledRule): boolean {
  for (const box of boxes) {
    const transport = spansIn(box, field.transport);
    if (!transport || !covers([protocolUdp, protocolUdp], transport)) return false;
  }
  return true;
}

/** Addresses that no host has (RFC 1122 §3.2.1.3), and so nobody asks for. */
function unanswerable(rule: CompiledRule): Warning[] {
  const warnings: Warning[] = [];
  for (const address of rule.addresses)
    if ((address[0] === 0 || address[0] === 127 || address[0] >= 224) && warnings.length === 0)
      warnings.push({ kind: 'unanswerable', text: `no host has the address ${formatAddress(address)}` });
  return warnings;
}

/** The same action, and where it concerns a host, for the same one. */
function doesSame(a: CompiledRule, b: CompiledRule): boolean {
  if (a.action !== b.action || a.responder !== b.responder) return false;
  // What is counted, sent on or kept as state is each rule's own.
  if (a.answer || b.answer || a.redirect || b.redirect) return false;
  if (a.action === 'drop' || (!a.host && !b.host)) return true;
  return a.host !== undefined && b.host !== undefined && sameBytes(a.host, b.host);
}

/** Whether the outer rule applies whenever the inner does: to every host, or while the same host sleeps. */
function isForSame(outer: CompiledRule, inner: CompiledRule): boolean {
  if ((outer.registered && !inner.registered) || (outer.asked && !inner.asked)) return false;
  if (outer.host === undefined) return true;
  return inner.host !== undefined && sameBytes(outer.host, inner.host);
}

function coversBox(outer: Box, inner: Box): boolean {
  if ((outer.mask & ~inner.mask) !== 0) return false;
  for (const { field: tested, spans } of outer.tests)
    if (!covers(spans, spansIn(inner, tested) as Spans)) return false;
  return true;
}

function meet(a: Box, b: Box): boolean {
  if ((a.mask & b.mask) === 0) return true;
  for (const { field: tested, spans } of a.tests) {
    const others = (b.mask & (1 << tested)) === 0 ? undefined : spansIn(b, tested);
    if (others && !overlap(spans, others)) return false;
  }
  return true;
}

function coversPayload({ payload: outer }: CompiledRule, { payload: inner }: CompiledRule): boolean {
  if (!outer) return true;
  return (
    inner !== undefined &&
    inner.from === outer.from &&
    inner.offset === outer.offset &&
    sameBytes(inner.bytes, outer.bytes) &&
    sameBytes(inner.mask, outer.mask)
  );
}

function coversQuestion(outer: QuestionTest | undefined, inner: QuestionTest | undefined): boolean {
  if (!outer) return true;
  if (!inner) return false;
  if (outer.types.length > 0 && (inner.types.length === 0 || !covers(outer.types, inner.types))) return false;
  if (outer.names.length === 0) return true;
  for (const name of inner.names) {
    let isCovered = false;
    for (const around of outer.names) if (coversName(around, name)) isCovered = true;
    if (!isCovered) return false;
  }
  return inner.names.length > 0;
}

/** Whether no one question is as both want it. */
function areApart(a: QuestionTest | undefined, b: QuestionTest | undefined): boolean {
  if (!a || !b) return false;
  if (a.types.length > 0 && b.types.length > 0 && !overlap(a.types, b.types)) return true;
  if (a.names.length === 0 || b.names.length === 0) return false;
  for (const first of a.names)
    for (const second of b.names) if (coversName(first, second) || coversName(second, first)) return false;
  return true;
}

function coversName(outer: NameTest, inner: NameTest): boolean {
  if (outer.kind !== 'below') return outer.kind === inner.kind && sameBytes(outer.bytes, inner.bytes);
  let more = inner.labels - outer.labels;
  if (more < 0 || (more === 0 && inner.kind !== 'below')) return false;
  let at = 0;
  for (; more > 0; more--) at += 1 + inner.bytes[at];
  return sameBytes(inner.bytes.subarray(at), outer.bytes);
}
