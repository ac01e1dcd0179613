/**
 * A rule: `<trigger, action, timeout>` (Nedevschi et al., NSDI 2009, the power-proxy table), compiled from the message
 * of that name into what a frame is held against.
 */

import { readUint16 } from '../core/bytes.js';
import { ok } from '../core/result.js';
import { parseDuration } from '../core/time.js';
import { type Judged, refuse } from '../message/judge.js';
import type { Action, Rule, Trigger } from '../message/messages.js';
import type { Problem } from '../message/schema.js';
import { parseIpv4Address, parseIpv6Address, parseMac } from '../wire/address.js';
import { type Headers, networkArp, networkIpv4, networkIpv6 } from '../wire/headers.js';
import { parseTcpFlags } from '../wire/tcp.js';

/** True if this one field of the frame is as the rule wants it. The protocol is already known to be there. */
type FieldTest = (frame: Uint8Array, headers: Headers) => boolean;

export interface CompiledRule {
  readonly id: string;
  /** The MAC of the sleeping host it stands for; `undefined`: every frame, whoever sleeps. */
  readonly host: Uint8Array | undefined;
  readonly priority: number;
  readonly action: Action;
  /** ms the rule stays in force; `undefined`: until removed. */
  readonly timeoutMs: number | undefined;
  readonly tests: readonly FieldTest[];
}

export const defaultPriority = 100;

/** The flags that tell the segments of a connection's life apart; the others only count when named. */
const lifeFlags = 'fin,syn,rst,ack';

/** Compiles a rule of the right shape; the problem names the field whose value makes no sense. */
export function compileRule(id: string, rule: Rule): Judged<CompiledRule> {
  const tests: FieldTest[] = [];
  const problem = compileTrigger(rule.trigger, tests) ?? checkAction(rule);
  if (problem) return refuse(problem);
  const host = rule.host === undefined ? undefined : parseMac(rule.host);
  if (host && (host[0] & 1) === 1)
    return refuse({
      field: 'host',
      expected: 'the MAC address of one host',
      got: `the group address ${rule.host}`,
    });
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
    priority: rule.priority ?? defaultPriority,
    action: rule.action,
    timeoutMs,
    tests,
  });
}

export function matches(rule: CompiledRule, frame: Uint8Array, headers: Headers): boolean {
  for (const test of rule.tests) if (!test(frame, headers)) return false;
  return true;
}

/** Highest priority first, then by id: the order in which rules are tried. */
export function compareRules(a: CompiledRule, b: CompiledRule): number {
  return b.priority - a.priority || (a.id < b.id ? -1 : 1);
}

function checkAction(rule: Rule): Problem | undefined {
  if (rule.action === 'drop') return undefined;
  if (rule.host === undefined)
    return { field: 'host', expected: `the MAC address of the host to ${rule.action} for`, got: 'nothing' };
  if (rule.action === 'respond' && rule.trigger.arp?.operation !== 'request')
    return {
      field: 'trigger.arp.operation',
      expected: '"request" (respond answers ARP only)',
      got: 'nothing or "reply"',
    };
  if (rule.action === 'respond' && rule.trigger.arp?.targetAddress === undefined)
    return { field: 'trigger.arp.targetAddress', expected: 'the IPv4 address to answer for', got: 'nothing' };
  return undefined;
}

function compileTrigger(trigger: Trigger, tests: FieldTest[]): Problem | undefined {
  if (Object.keys(trigger).length === 0)
    return { field: 'trigger', expected: 'at least one protocol such as tcp', got: 'an empty map' };
  const { ethernet, arp, ipv4, ipv6, icmp, icmpv6, tcp, udp } = trigger;
  if (ethernet) {
    if (ethernet.srcMac !== undefined) tests.push(bytesAt(() => 6, parseMac(ethernet.srcMac) as Uint8Array));
    if (ethernet.dstMac !== undefined) tests.push(bytesAt(() => 0, parseMac(ethernet.dstMac) as Uint8Array));
    if (ethernet.etherType !== undefined)
      tests.push((_, headers) => headers.etherType === ethernet.etherType);
  }
  if (arp) {
    tests.push((_, headers) => headers.network === networkArp);
    if (arp.operation !== undefined) {
      const operation = arp.operation === 'request' ? 1 : 2;
      tests.push((frame, headers) => readUint16(frame, headers.l3Offset + 6) === operation);
    }
    const problem =
      addressTest(tests, 'trigger.arp.senderAddress', arp.senderAddress, parseIpv4Address, 14) ??
      addressTest(tests, 'trigger.arp.targetAddress', arp.targetAddress, parseIpv4Address, 24);
    if (problem) return problem;
  }
  if (ipv4) {
    tests.push((_, headers) => headers.network === networkIpv4);
    const problem =
      addressTest(tests, 'trigger.ipv4.srcAddress', ipv4.srcAddress, parseIpv4Address, 12) ??
      addressTest(tests, 'trigger.ipv4.dstAddress', ipv4.dstAddress, parseIpv4Address, 16);
    if (problem) return problem;
    if (ipv4.protocol !== undefined) tests.push((_, headers) => headers.protocol === ipv4.protocol);
  }
  if (ipv6) {
    tests.push((_, headers) => headers.network === networkIpv6);
    const problem =
      addressTest(tests, 'trigger.ipv6.srcAddress', ipv6.srcAddress, parseIpv6Address, 8) ??
      addressTest(tests, 'trigger.ipv6.dstAddress', ipv6.dstAddress, parseIpv6Address, 24);
    if (problem) return problem;
    if (ipv6.protocol !== undefined) tests.push((_, headers) => headers.protocol === ipv6.protocol);
  }
  for (const [match, protocol] of [
    [icmp, 1],
    [icmpv6, 58],
  ] as const) {
    if (!match) continue;
    tests.push((_, headers) => headers.protocol === protocol && headers.icmpType >= 0);
    if (match.type !== undefined) tests.push((_, headers) => headers.icmpType === match.type);
    if (match.code !== undefined) tests.push((_, headers) => headers.icmpCode === match.code);
  }
  for (const [match, protocol] of [
    [tcp, 6],
    [udp, 17],
  ] as const) {
    if (!match) continue;
    tests.push((_, headers) => headers.protocol === protocol && headers.srcPort >= 0);
    if (match.srcPort !== undefined) tests.push((_, headers) => headers.srcPort === match.srcPort);
    if (match.dstPort !== undefined) tests.push((_, headers) => headers.dstPort === match.dstPort);
  }
  if (tcp && tcp.flags !== undefined) {
    const wanted = parseTcpFlags(tcp.flags);
    if (wanted === undefined)
      return { field: 'trigger.tcp.flags', expected: 'each flag once', got: quote(tcp.flags) };
    const mask = (parseTcpFlags(lifeFlags) as number) | wanted;
    tests.push((_, headers) => (headers.tcpFlags & mask) === wanted);
  }
  return undefined;
}

/** Adds the test that the address at `offset` of the network header is `text`. */
function addressTest(
  tests: FieldTest[],
  field: string,
  text: string | undefined,
  parse: (text: string) => Uint8Array | undefined,
  offset: number,
): Problem | undefined {
  if (text === undefined) return undefined;
  const address = parse(text);
  if (!address)
    return {
      field,
      expected: parse === parseIpv4Address ? 'an IPv4 address' : 'an IPv6 address',
      got: quote(text),
    };
  tests.push(bytesAt(headers => headers.l3Offset + offset, address));
  return undefined;
}

function bytesAt(offset: (headers: Headers) => number, wanted: Uint8Array): FieldTest {
  return (frame, headers) => {
    const at = offset(headers);
    for (let i = 0; i < wanted.length; i++) if (frame[at + i] !== wanted[i]) return false;
    return true;
  };
}

function quote(text: string): string {
  return `"${text.slice(0, 50)}"`;
}
