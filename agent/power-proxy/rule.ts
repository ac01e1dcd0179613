/**
 * A rule: `<trigger, action, timeout>` (Nedevschi et al., NSDI 2009, the power-proxy table), compiled from the message of
 * that name into sets of numbers that the fields of a frame are held against (fields.ts).
 *
 * What a rule asks of a frame is a choice of boxes, each a set of numbers for some fields; a bytes pattern and a question
 * may come on top. Most rules are one box; IPv6 addresses and classes of traffic make several, at most `maxBoxes`.
 */

import { parseHex } from '../core/bytes.js';
import { ok } from '../core/result.js';
import { parseDuration } from '../core/time.js';
import { type Judged, refuse } from '../message/judge.js';
import type { Action, Responder as ResponderName, Rule, Trigger } from '../message/messages.js';
import type { Problem } from '../message/schema.js';
import { formatMac, parseIpv4Address, parseIpv6Address, parseMac } from '../wire/address.js';
import { dnsType } from '../wire/dns.js';
import { etherTypeArp, etherTypeIpv4, etherTypeIpv6, etherTypePppoeSession } from '../wire/ethernet.js';
import { networkArp, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from '../wire/ipv4.js';
import { nbnsType } from '../wire/nbns.js';
import { parseTcpFlags } from '../wire/tcp.js';
import { type Answer, compileAnswer } from './answer.js';
import { askedPorts, typeSolicitation } from './asked.js';
import {
  destinationOf,
  type Fields,
  field,
  fieldCount,
  tcpFlagsKey,
  toBroadcast,
  toMulticast,
} from './fields.js';
import {
  type NameTest,
  parseNameTest,
  parseNetbiosTest,
  type QuestionTest,
  questionPorts,
} from './question.js';
import { countOf, has, intersect, type Spans, spansOf } from './spans.js';
import { trafficRows } from './traffic-class.js';

/** One field of a frame is in the set. */
export interface FieldTest {
  readonly field: number;
  readonly spans: Spans;
  /** It follows from the others: it tells boxes apart, and need not be tested. */
  readonly isImplied: boolean;
}

/** What must all hold. */
export interface Box {
  /** A bit for each field tested. */
  readonly mask: number;
  /** In the order of their fields, at most one a field. */
  readonly tests: readonly FieldTest[];
}

type Anchor = 'frame' | 'network' | 'transport' | 'data';

/** Bytes at a fixed place. */
export interface PayloadTest {
  readonly from: Anchor;
  readonly offset: number;
  /** The bits to be compared; the others are 0. */
  readonly bytes: Uint8Array;
  readonly mask: Uint8Array;
}

export interface Timer {
  readonly kind: 'every' | 'after';
  readonly ms: number;
}

export type { ResponderName };

/** Where a frame goes instead. */
export type Redirection =
  | { readonly kind: 'host'; readonly mac: Uint8Array }
  | { readonly kind: 'stub'; readonly name: string }
  | { readonly kind: 'coordinator' };

/** Of the responders those that send by themselves, when a timer is due. */
const keepers: readonly ResponderName[] = ['dhcp', 'dhcpv6', 'nat-keepalive'];

export interface CompiledRule {
  readonly id: string;
  /** The MAC of the sleeping host it stands for; `undefined`: every host the proxy stands in for. */
  readonly host: Uint8Array | undefined;
  /** The MAC as text, in lower case. */
  readonly hostName: string;
  readonly priority: number;
  readonly action: Action;
  /** Of the action `respond`: what answers; `undefined`: whatever knows the question, or `answer`. */
  readonly responder: ResponderName | undefined;
  readonly answer: Answer | undefined;
  /** The IPv4 addresses that the rule says its host has: those whose ARP requests it answers. */
  readonly addresses: readonly Uint8Array[];
  readonly redirect: Redirection | undefined;
  /** It is only for frames to a port where the host offers a service. */
  readonly registered: boolean;
  /** It is only for frames that ask for the host (asked.ts). */
  readonly asked: boolean;
  /** ms the rule stays in force; `undefined`: until removed. */
  readonly timeoutMs: number | undefined;
  /** Set: the rule waits for a time, not for a frame, and has no boxes. */
  readonly timer: Timer | undefined;
  /** A frame must be in one of them; that it is for the host is part of each. None: no frame ever matches. */
  readonly boxes: readonly Box[];
  readonly payload: PayloadTest | undefined;
  readonly question: QuestionTest | undefined;
}

export const defaultPriority = 100;

/** Lists of IPv6 addresses multiply with each other and with classes; 16 sources by 4 destinations are more than a home needs. */
export const maxBoxes = 64;

/** A timer that fires more often would only wake a host that has just gone to sleep. */
const shortestTimerMs = 1_000;

/** The flags that tell the segments of a connection's life apart; the others only count when named. */
const lifeFlags = 'fin,syn,rst,ack';

const toGroups: Spans = [toMulticast, toBroadcast];
const casts = {
  unicast: [0, toMulticast - 1],
  multicast: [toMulticast, toMulticast],
  broadcast: [toBroadcast, toBroadcast],
} as const;
const operations = { request: 1, reply: 2 } as const;

/** Compiles a rule of the right shape; the problem names the field whose value makes no sense. */
export function compileRule(id: string, rule: Rule): Judged<CompiledRule> {
  const { trigger, action } = rule;
  if (Object.keys(trigger).length === 0)
    return refuse({ field: 'trigger', expected: 'at least one protocol such as tcp', got: 'an empty map' });
  const compiler = new TriggerCompiler();
  const timer = compileTimer(rule);
  if (timer && 'field' in timer) return refuse(timer);
  compiler.trigger('trigger', trigger);
  const problem = compiler.problem ?? checkAction(rule);
  if (problem) return refuse(problem);
  const answer = rule.answer ? compileAnswer(rule.answer) : undefined;
  if (answer && 'field' in answer) return refuse(answer);
  const redirect = rule.redirect ? compileRedirect(rule.redirect) : undefined;
  if (redirect && 'field' in redirect) return refuse(redirect);
  const host = rule.host === undefined ? undefined : parseMac(rule.host);
  if (host && (host[0] & 1) === 1)
    return refuse({
      field: 'host',
      expected: 'the MAC address of one host',
      got: `the group address ${rule.host}`,
    });
  if (host) {
    const mac = numberAt(host, 0, 48);
    compiler.restrict(field.destination, [mac, mac, ...toGroups]);
  }
  let timeoutMs: number | undefined;
  if (rule.timeout !== undefined) {
    timeoutMs = parseDuration(rule.timeout);
    if (timeoutMs === undefined || timeoutMs === 0)
      return refuse({
        field: 'timeout',
        expected: 'a duration of 1ms to 3650d such as 30s',
        got: quote(rule.timeout),
      });
  }
  return ok({
    id,
    host,
    hostName: host ? formatMac(host) : '',
    priority: rule.priority ?? defaultPriority,
    action,
    responder: rule.responder,
    answer,
    addresses: host && action === 'respond' ? addressesOf(rule) : [],
    redirect,
    registered: trigger.registered === true,
    asked: trigger.asked === true,
    timeoutMs,
    timer,
    boxes: timer ? [] : compiler.boxes(),
    payload: compiler.payload,
    question: compiler.question,
  });
}

/** Whether the frame whose fields were read is as the rule wants it. */
export function matches(rule: CompiledRule, fields: Fields): boolean {
  for (const box of rule.boxes) {
    let isIn = true;
    for (const { field: tested, spans, isImplied } of box.tests)
      if (!isImplied && !has(spans, fields.values[tested])) isIn = false;
    if (isIn) return matchesInside(rule, fields);
  }
  return false;
}

/** What cannot be said by numbers: the pattern and the question. */
export function matchesInside(rule: CompiledRule, fields: Fields): boolean {
  const { payload, question } = rule;
  return (
    (payload === undefined || matchesPayload(payload, fields)) &&
    (question === undefined || fields.questions.match(fields.frame, question))
  );
}

/** Highest priority first, then by id: the order in which rules are tried. */
export function compareRules(a: CompiledRule, b: CompiledRule): number {
  return b.priority - a.priority || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/** The boxes of a trigger that is right. */
export function boxesOf(trigger: Trigger): Box[] {
  const compiler = new TriggerCompiler();
  compiler.trigger('trigger', trigger);
  return compiler.boxes();
}

export function spansIn(box: Box, wanted: number): Spans | undefined {
  for (const test of box.tests) if (test.field === wanted) return test.spans;
  return undefined;
}

/** The box of what is in both; `undefined` if nothing is. */
export function boxIn(a: Box, b: Box): Box | undefined {
  const draft: (Spans | undefined)[] = [];
  for (const { field: tested, spans } of a.tests) draft[tested] = spans;
  for (const { field: tested, spans } of b.tests) draft[tested] = intersect(draft[tested] ?? spans, spans);
  return boxFrom(draft);
}

function matchesPayload(test: PayloadTest, { frame, headers }: Fields): boolean {
  if (!headers) return false;
  let at = 0;
  let end = frame.length;
  if (test.from === 'network') at = headers.l3Offset;
  if (test.from === 'transport' || test.from === 'data') at = headers.l4Offset;
  if (test.from !== 'frame' && headers.l4End >= 0) end = headers.l4End;
  if (at < 0) return false;
  if (test.from === 'data') {
    if (headers.srcPort < 0) return false;
    at += headers.protocol === protocolTcp ? (frame[at + 12] >>> 4) * 4 : 8;
  }
  at += test.offset;
  const { bytes, mask } = test;
  if (at + bytes.length > end) return false;
  for (let i = 0; i < bytes.length; i++) if ((frame[at + i] & mask[i]) !== bytes[i]) return false;
  return true;
}

function compileTimer({ trigger, action, responder }: Rule): Timer | Problem | undefined {
  const { timer } = trigger;
  if (!timer) return undefined;
  for (const key of Object.keys(trigger))
    if (key !== 'timer' && trigger[key as keyof Trigger] !== undefined)
      return { field: `trigger.${key}`, expected: 'nothing beside a timer', got: 'a match' };
  if (action !== 'wake' && action !== 'respond')
    return { field: 'action', expected: '"wake" or "respond" for a timer', got: quote(action) };
  if (action === 'respond' && (responder === undefined || keepers.indexOf(responder) < 0))
    return {
      field: 'responder',
      expected: `what is sent when a timer is due: ${keepers.join(', ')}`,
      got: responder === undefined ? 'nothing' : quote(responder),
    };
  const { every, after } = timer;
  const text = every ?? after;
  if (text === undefined || (every !== undefined && after !== undefined))
    return {
      field: 'trigger.timer',
      expected: 'either every or after',
      got: text === undefined ? 'neither' : 'both',
    };
  const kind = every === undefined ? 'after' : 'every';
  const ms = parseDuration(text);
  if (ms === undefined || ms < shortestTimerMs)
    return {
      field: `trigger.timer.${kind}`,
      expected: 'a duration of 1s to 3650d such as 1h',
      got: quote(text),
    };
  return { kind, ms };
}

/** Which keys go with which action, and with each other. */
function checkAction({ action, responder, answer, redirect, trigger }: Rule): Problem | undefined {
  if (responder !== undefined && action !== 'respond') return misplaced('responder', 'respond', action);
  if (answer !== undefined && action !== 'respond') return misplaced('answer', 'respond', action);
  if (redirect !== undefined && action !== 'redirect') return misplaced('redirect', 'redirect', action);
  if (action === 'redirect' && redirect === undefined)
    return { field: 'redirect', expected: 'to whom: host, stub or coordinator', got: 'nothing' };
  if (answer !== undefined && responder !== undefined)
    return { field: 'responder', expected: 'nothing beside answer', got: quote(responder) };
  if (answer !== undefined && trigger.udp?.dstPort === undefined)
    return {
      field: 'trigger.udp.dstPort',
      expected: 'the port whose questions are answered',
      got: 'nothing',
    };
  if (responder !== undefined && !trigger.timer && keepers.indexOf(responder) >= 0)
    return { field: 'trigger.timer', expected: `how often ${responder} is looked after`, got: 'nothing' };
  return undefined;
}

function misplaced(field: string, wanted: string, action: Action): Problem {
  return { field, expected: `nothing unless action is "${wanted}"`, got: `action ${quote(action)}` };
}

/** The single addresses whose ARP requests the rule is about. */
function addressesOf({ trigger }: Rule): Uint8Array[] {
  const addresses: Uint8Array[] = [];
  for (const text of listOf(trigger.arp?.targetAddress ?? [])) {
    const address = parseIpv4Address(text);
    if (address) addresses.push(address);
  }
  return addresses;
}

function compileRedirect({ host, stub, coordinator }: NonNullable<Rule['redirect']>): Redirection | Problem {
  const count =
    (host === undefined ? 0 : 1) + (stub === undefined ? 0 : 1) + (coordinator === undefined ? 0 : 1);
  if (count !== 1)
    return { field: 'redirect', expected: 'one of host, stub and coordinator', got: `${count} of them` };
  if (stub !== undefined) return { kind: 'stub', name: stub };
  if (host === undefined) return { kind: 'coordinator' };
  const mac = parseMac(host) as Uint8Array;
  if ((mac[0] & 1) === 1)
    return {
      field: 'redirect.host',
      expected: 'the MAC address of one host',
      got: `the group address ${host}`,
    };
  return { kind: 'host', mac };
}

type Item = number | string;

/** One value or a list of them, as messages have it. */
function listOf<T extends Item>(value: T | readonly T[]): readonly T[] {
  return typeof value === 'object' ? value : [value];
}

/** Field by field, `undefined`: not tested. */
type Draft = readonly (Spans | undefined)[];

/**
 * Reads triggers. Each call narrows what was there; after the first problem the result is of no use.
 */
class TriggerCompiler {
  problem: Problem | undefined;
  payload: PayloadTest | undefined;
  question: QuestionTest | undefined;
  private drafts: readonly Draft[] = [[]];

  boxes(): Box[] {
    const boxes: Box[] = [];
    for (const draft of this.drafts) {
      const box = boxFrom(draft);
      if (box) boxes.push(box);
    }
    return boxes;
  }

  /** The field must be in the set. */
  restrict(tested: number, spans: Spans): void {
    this.choose([[[tested, spans]]]);
  }

  /** One of `choices` must hold: for each of some fields, it is in the set. */
  private choose(choices: readonly (readonly (readonly [number, Spans])[])[]): void {
    const drafts: Draft[] = [];
    for (const draft of this.drafts) {
      for (const choice of choices) {
        const narrowed = [...draft];
        let isPossible = true;
        for (const [tested, spans] of choice) {
          const before = narrowed[tested];
          const both = before ? intersect(before, spans) : spans;
          if (both.length === 0) isPossible = false;
          narrowed[tested] = both;
        }
        if (isPossible) drafts.push(narrowed);
      }
    }
    this.drafts = drafts;
    if (drafts.length > maxBoxes)
      this.refuse(
        'trigger',
        `at most ${maxBoxes} combinations of IPv6 addresses and classes`,
        `${drafts.length}`,
      );
  }

  trigger(at: string, trigger: Trigger): void {
    const { ethernet, arp, ipv4, ipv6, icmp, icmpv6, tcp, udp, payload } = trigger;
    if (trigger.registered) this.choose(toServices());
    if (trigger.asked) this.choose(questionsToAll());
    if (trigger.class !== undefined) this.classes(listOf(trigger.class));
    if (ethernet) {
      this.addresses(`${at}.ethernet.srcMac`, field.srcMac, ethernet.srcMac, macKind);
      this.addresses(`${at}.ethernet.dstMac`, field.dstMac, ethernet.dstMac, macKind);
      this.numbers(`${at}.ethernet.etherType`, field.etherType, ethernet.etherType, 65_535);
      this.numbers(`${at}.ethernet.vlanId`, field.vlanId, ethernet.vlanId, 4094);
      if (ethernet.cast !== undefined) {
        const pairs: number[] = [];
        for (const cast of listOf(ethernet.cast)) pairs.push(...casts[cast]);
        this.restrict(field.destination, spansOf(pairs));
      }
    }
    if (arp) {
      this.restrict(field.network, [networkArp, networkArp]);
      this.numbers(`${at}.arp.operation`, field.arpOperation, arp.operation, 65_535, operations);
      this.addresses(`${at}.arp.senderAddress`, field.arpSender, arp.senderAddress, ipv4Kind);
      this.addresses(`${at}.arp.targetAddress`, field.arpTarget, arp.targetAddress, ipv4Kind);
    }
    if (ipv4) {
      this.restrict(field.network, [networkIpv4, networkIpv4]);
      this.addresses(`${at}.ipv4.srcAddress`, field.ipv4Src, ipv4.srcAddress, ipv4Kind);
      this.addresses(`${at}.ipv4.dstAddress`, field.ipv4Dst, ipv4.dstAddress, ipv4Kind);
      this.numbers(`${at}.ipv4.protocol`, field.protocol, ipv4.protocol, 255);
      this.numbers(`${at}.ipv4.dscp`, field.dscp, ipv4.dscp, 63);
      this.numbers(`${at}.ipv4.timeToLive`, field.timeToLive, ipv4.timeToLive, 255);
    }
    if (ipv6) {
      this.restrict(field.network, [networkIpv6, networkIpv6]);
      this.ipv6Addresses(`${at}.ipv6.srcAddress`, field.ipv6Src, ipv6.srcAddress);
      this.ipv6Addresses(`${at}.ipv6.dstAddress`, field.ipv6Dst, ipv6.dstAddress);
      this.numbers(`${at}.ipv6.protocol`, field.protocol, ipv6.protocol, 255);
      this.numbers(`${at}.ipv6.dscp`, field.dscp, ipv6.dscp, 63);
      this.numbers(`${at}.ipv6.hopLimit`, field.timeToLive, ipv6.hopLimit, 255);
    }
    for (const [match, protocol, name] of [
      [icmp, protocolIcmp, 'icmp'],
      [icmpv6, protocolIcmpv6, 'icmpv6'],
    ] as const) {
      if (!match) continue;
      this.restrict(field.transport, [protocol, protocol]);
      this.numbers(`${at}.${name}.type`, field.icmpType, match.type, 255);
      this.numbers(`${at}.${name}.code`, field.icmpCode, match.code, 255);
    }
    for (const [match, protocol, name] of [
      [tcp, protocolTcp, 'tcp'],
      [udp, protocolUdp, 'udp'],
    ] as const) {
      if (!match) continue;
      this.restrict(field.transport, [protocol, protocol]);
      this.numbers(`${at}.${name}.srcPort`, field.srcPort, match.srcPort, 65_535);
      this.numbers(`${at}.${name}.dstPort`, field.dstPort, match.dstPort, 65_535);
    }
    if (tcp?.flags !== undefined) this.tcpFlags(`${at}.tcp.flags`, listOf(tcp.flags));
    this.questions(at, trigger);
    if (payload) this.pattern(`${at}.payload`, payload);
  }

  private classes(names: readonly string[]): void {
    const choices: [number, Spans][][] = [];
    for (const row of trafficRows) {
      if (names.indexOf(row.class) < 0) continue;
      for (const box of boxesOf(row.trigger))
        choices.push(
          box.tests.filter(test => !test.isImplied).map(({ field: tested, spans }) => [tested, spans]),
        );
    }
    this.choose(choices);
  }

  private numbers(
    at: string,
    tested: number,
    value: Item | readonly Item[] | undefined,
    most: number,
    names: { readonly [name: string]: number } = {},
  ): void {
    if (value !== undefined) this.restrict(tested, this.readNumbers(at, value, most, names));
  }

  private readNumbers(
    at: string,
    value: Item | readonly Item[],
    most: number,
    names: { readonly [name: string]: number },
  ): Spans {
    const pairs: number[] = [];
    for (const item of listOf(value)) {
      const dash = typeof item === 'string' ? item.indexOf('-') : -1;
      const low = typeof item === 'number' ? item : dash > 0 ? Number(item.slice(0, dash)) : names[item];
      const high = typeof item === 'string' && dash > 0 ? Number(item.slice(dash + 1)) : low;
      if (low > high || high > most)
        this.refuse(at, `a range from low to high within 0..${most}`, quote(`${item}`));
      pairs.push(low, high);
    }
    return spansOf(pairs);
  }

  private addresses(
    at: string,
    tested: number,
    value: string | readonly string[] | undefined,
    kind: AddressKind,
  ): void {
    if (value === undefined) return;
    const pairs: number[] = [];
    for (const item of listOf(value)) {
      const prefix = this.readPrefix(at, item, kind);
      if (!prefix) return;
      const { bytes, length } = prefix;
      const low = numberAt(bytes, 0, 8 * bytes.length);
      pairs.push(low, low + twoTo(8 * bytes.length - length) - 1);
    }
    this.restrict(tested, spansOf(pairs));
  }

  private ipv6Addresses(at: string, first: number, value: string | readonly string[] | undefined): void {
    if (value === undefined) return;
    const choices: [number, Spans][][] = [];
    for (const item of listOf(value)) {
      const prefix = this.readPrefix(at, item, ipv6Kind);
      if (!prefix) return;
      const { bytes, length } = prefix;
      const choice: [number, Spans][] = [];
      for (const [index, from, size] of ipv6Parts) {
        const known = Math.max(0, Math.min(size, length - from));
        if (known === 0) continue;
        const low = numberAt(bytes, from, size);
        choice.push([first + index, [low, low + twoTo(size - known) - 1]]);
      }
      choices.push(choice);
    }
    this.choose(choices);
  }

  /** An address with the number of bits that count: all of them, or as many as stand behind a slash. */
  private readPrefix(
    at: string,
    text: string,
    kind: AddressKind,
  ): { readonly bytes: Uint8Array; readonly length: number } | undefined {
    const slash = text.indexOf('/');
    const bytes = kind.parse(slash < 0 ? text : text.slice(0, slash));
    if (!bytes) return this.refuse(at, kind.name, quote(text));
    const bits = 8 * bytes.length;
    const length = slash < 0 ? bits : Number(text.slice(slash + 1));
    if (length > bits) return this.refuse(at, `a prefix of 0 to ${bits} bits`, quote(text));
    for (let bit = length; bit < bits; bit++)
      if ((bytes[bit >>> 3] & (0x80 >>> (bit & 7))) !== 0)
        return this.refuse(at, `no bits set behind the first ${length}`, quote(text));
    return { bytes, length };
  }

  private tcpFlags(at: string, texts: readonly string[]): void {
    const pairs: number[] = [];
    for (const text of texts) {
      const wanted = parseTcpFlags(text);
      if (wanted === undefined) {
        this.refuse(at, 'each flag once', quote(text));
        return;
      }
      const mask = (parseTcpFlags(lifeFlags) as number) | wanted;
      for (let flags = 0; flags < 256; flags++)
        if ((flags & mask) === wanted) pairs.push(tcpFlagsKey(flags), tcpFlagsKey(flags));
    }
    this.restrict(field.tcpFlags, spansOf(pairs));
  }

  private questions(at: string, trigger: Trigger): void {
    for (const service of ['dns', 'mdns', 'llmnr', 'nbns'] as const) {
      const match = trigger[service];
      if (!match) continue;
      this.restrict(field.transport, [protocolUdp, protocolUdp]);
      this.restrict(field.dstPort, [questionPorts[service], questionPorts[service]]);
      if (match.name === undefined && match.type === undefined) continue;
      const names: NameTest[] = [];
      for (const text of match.name === undefined ? [] : listOf(match.name)) {
        const name = service === 'nbns' ? parseNetbiosTest(text) : parseNameTest(text);
        if (name) names.push(name);
        else
          this.refuse(
            `${at}.${service}.name`,
            service === 'nbns'
              ? 'a NetBIOS name of ASCII'
              : 'a name of labels up to 63 bytes, with dots between',
            quote(text),
          );
      }
      const types =
        match.type === undefined
          ? []
          : this.readNumbers(`${at}.${service}.type`, match.type, 65_535, { ...dnsType, ...nbnsType });
      this.question = { names, types };
    }
  }

  private pattern(at: string, payload: NonNullable<Trigger['payload']>): void {
    const bytes = parseHex(payload.bytes) as Uint8Array;
    const mask =
      payload.mask === undefined
        ? new Uint8Array(bytes.length).fill(0xff)
        : (parseHex(payload.mask) as Uint8Array);
    if (mask.length !== bytes.length) {
      this.refuse(`${at}.mask`, `${bytes.length} bytes, as many as bytes has`, `${mask.length}`);
      return;
    }
    for (let i = 0; i < bytes.length; i++) bytes[i] &= mask[i];
    this.payload = { from: payload.from ?? 'data', offset: payload.offset ?? 0, bytes, mask };
  }

  /** The first problem is the one told. */
  private refuse(at: string, expected: string, got: string): undefined {
    this.problem = this.problem ?? { field: at, expected, got };
  }
}

/** A SYN without ACK, or a datagram. */
function toServices(): (readonly [number, Spans])[][] {
  const pairs: number[] = [];
  const syn = parseTcpFlags('syn') as number;
  const mask = parseTcpFlags(lifeFlags) as number;
  for (let flags = 0; flags < 256; flags++)
    if ((flags & mask) === syn) pairs.push(tcpFlagsKey(flags), tcpFlagsKey(flags));
  return [
    [
      [field.transport, [protocolTcp, protocolTcp]],
      [field.tcpFlags, spansOf(pairs)],
    ],
    [[field.transport, [protocolUdp, protocolUdp]]],
  ];
}

/** What asks everybody for one host's address, name or service. */
function questionsToAll(): (readonly [number, Spans])[][] {
  return [
    [
      [field.network, [networkArp, networkArp]],
      [field.arpOperation, [operations.request, operations.request]],
    ],
    [
      [field.transport, [protocolIcmpv6, protocolIcmpv6]],
      [field.icmpType, [typeSolicitation, typeSolicitation]],
    ],
    [
      [field.transport, [protocolUdp, protocolUdp]],
      [field.dstPort, askedPorts],
    ],
  ];
}

interface AddressKind {
  readonly name: string;
  parse(text: string): Uint8Array | undefined;
}

const macKind: AddressKind = { name: 'a MAC address', parse: parseMac };
const ipv4Kind: AddressKind = { name: 'an IPv4 address', parse: parseIpv4Address };
const ipv6Kind: AddressKind = { name: 'an IPv6 address', parse: parseIpv6Address };

/** Index, first bit and bits of the numbers of an IPv6 address (fields.ts). */
const ipv6Parts = [
  [0, 0, 48],
  [1, 48, 48],
  [2, 96, 32],
] as const;

/** The box of these sets and all that follows from them; `undefined` if nothing is in it. */
function boxFrom(draft: Draft): Box | undefined {
  const all = [...draft];
  imply(all);
  const tests: FieldTest[] = [];
  let mask = 0;
  for (let tested = 0; tested < fieldCount; tested++) {
    const spans = all[tested];
    if (!spans) continue;
    if (spans.length === 0) return undefined;
    tests.push({ field: tested, spans, isImplied: !draft[tested] });
    mask |= 1 << tested;
  }
  return { mask, tests };
}

/** Narrows fields by others: what a header is found behind (headers.ts), and whom a MAC is. */
function imply(draft: (Spans | undefined)[]): void {
  const narrow = (tested: number, spans: Spans) => {
    draft[tested] = intersect(draft[tested] ?? spans, spans);
  };
  const transport = draft[field.transport];
  if (transport) {
    narrow(field.protocol, transport);
    narrow(field.network, [networkIpv4, networkIpv4, networkIpv6, networkIpv6]);
    if (!has(transport, protocolTcp) && !has(transport, protocolUdp)) {
      if (!has(transport, protocolIcmp)) narrow(field.network, [networkIpv6, networkIpv6]);
      if (!has(transport, protocolIcmpv6)) narrow(field.network, [networkIpv4, networkIpv4]);
    }
  }
  const network = draft[field.network];
  if (network) {
    const pairs: number[] = [];
    for (const [value, etherType] of etherTypes) if (has(network, value)) pairs.push(etherType, etherType);
    narrow(field.etherType, spansOf(pairs));
  }
  const dstMac = draft[field.dstMac];
  if (dstMac && countOf(dstMac) <= fewMacs) {
    const pairs: number[] = [];
    for (let i = 0; i < dstMac.length; i += 2)
      for (let mac = dstMac[i]; mac <= dstMac[i + 1]; mac++)
        pairs.push(destinationOf(mac), destinationOf(mac));
    narrow(field.destination, spansOf(pairs));
  }
}

/** The types of frames that a network layer is found in: its own, and (but ARP) PPPoE sessions. */
const etherTypes = [
  [networkArp, etherTypeArp],
  [networkIpv4, etherTypeIpv4],
  [networkIpv4, etherTypePppoeSession],
  [networkIpv6, etherTypeIpv6],
  [networkIpv6, etherTypePppoeSession],
] as const;
/** Of a set of more MACs it is not looked at one by one whether they are hosts or groups. */
const fewMacs = 64;

/** The `size` bits of an address from bit `from` on, both multiples of 8, as a number. */
function numberAt(bytes: Uint8Array, from: number, size: number): number {
  let value = 0;
  for (let i = from / 8; i < (from + size) / 8; i++) value = value * 256 + bytes[i];
  return value;
}

/** 2^exponent, exactly (Espruino's Math.pow is not exact); 0 … 52. */
function twoTo(exponent: number): number {
  let value = 1;
  for (let i = 0; i < exponent; i++) value *= 2;
  return value;
}

function quote(text: string): string {
  return `"${text.slice(0, 50)}"`;
}
