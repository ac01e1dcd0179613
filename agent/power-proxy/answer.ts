/**
 * An answer that a rule itself describes, for UDP protocols no responder knows (Nedevschi et al., NSDI 2009, §5: what is
 * mechanical can be answered by pattern): hex digits, and fields in braces.
 *
 *     {data:OFFSET:LENGTH}   bytes of the question's UDP payload
 *     {count:LENGTH}         how many answers the rule has given, from 0, modulo what fits 1 to 4 bytes
 *     {asleep:LENGTH}        whole seconds the host has been asleep, 1 to 4 bytes
 *     {mac}  {ipv4}          the host's; without an IPv4 address there is no answer
 *
 * The count is the rule's state: it begins anew after `stateTimeout` without a question. It is not kept over a restart.
 * Bounds: `maxParts` parts, `maxAnswerBytes` bytes.
 */

import { parseHex } from '../core/bytes.js';
import { parseDuration } from '../core/time.js';
import type { Answer as AnswerMessage } from '../message/messages.js';
import type { Problem } from '../message/schema.js';
import type { Served } from './responder.js';

/** Fixed bytes or a field, `length` bytes of the answer. */
type Part =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'data'; readonly offset: number; readonly length: number }
  | { readonly kind: 'count' | 'asleep'; readonly length: number }
  | { readonly kind: 'mac' | 'ipv4' };

export interface Answer {
  readonly parts: readonly Part[];
  readonly lengthBytes: number;
  /** ms; `undefined`: the state stays. */
  readonly stateTimeoutMs: number | undefined;
}

/** What a rule's answer keeps. */
export interface AnswerState {
  count: number;
  usedAt: number;
}

const maxParts = 32;
/** As long as a DNS message over UDP may always be (RFC 1035 §2.3.4): answers a device can make by pattern are shorter. */
const maxAnswerBytes = 512;

const fieldWords =
  'hex digits and the fields {data:OFFSET:LENGTH}, {count:LENGTH}, {asleep:LENGTH}, {mac} and {ipv4}';

/** Compiles what a rule says; the problem names the field at fault. */
export function compileAnswer({ template, stateTimeout }: AnswerMessage): Answer | Problem {
  const parts: Part[] = [];
  let lengthBytes = 0;
  let at = 0;
  while (at < template.length) {
    const open = template.indexOf('{', at);
    const end = open === at ? template.indexOf('}', at) + 1 : open < 0 ? template.length : open;
    const text = template.slice(at, end);
    const part = end > at ? (open === at ? fieldOf(text) : bytesOf(text)) : undefined;
    if (!part)
      return { field: 'answer.template', expected: fieldWords, got: `"${template.slice(at, at + 20)}"` };
    parts.push(part);
    lengthBytes += lengthOf(part);
    at = end;
  }
  if (parts.length > maxParts)
    return { field: 'answer.template', expected: `at most ${maxParts} parts`, got: `${parts.length}` };
  if (lengthBytes > maxAnswerBytes)
    return { field: 'answer.template', expected: `at most ${maxAnswerBytes} bytes`, got: `${lengthBytes}` };
  const stateTimeoutMs = stateTimeout === undefined ? undefined : parseDuration(stateTimeout);
  if (stateTimeout !== undefined && (stateTimeoutMs === undefined || stateTimeoutMs === 0))
    return {
      field: 'answer.stateTimeout',
      expected: 'a duration of 1ms to 3650d such as 30s',
      got: `"${stateTimeout}"`,
    };
  return { parts, lengthBytes, stateTimeoutMs };
}

/**
 * The answer's payload to the question `data`, for a host that has been asleep for `asleepMs`; the state counts it.
 * `undefined`: the question is too short, or the host has no address.
 */
export function answerOf(
  now: number,
  answer: Answer,
  state: AnswerState,
  data: Uint8Array,
  host: Served,
  asleepMs: number,
): Uint8Array | undefined {
  const { parts, lengthBytes, stateTimeoutMs } = answer;
  if (stateTimeoutMs !== undefined && now - state.usedAt >= stateTimeoutMs) state.count = 0;
  const out = new Uint8Array(lengthBytes);
  let at = 0;
  for (const part of parts) {
    switch (part.kind) {
      case 'bytes':
        out.set(part.bytes, at);
        break;
      case 'data':
        if (part.offset + part.length > data.length) return undefined;
        out.set(data.subarray(part.offset, part.offset + part.length), at);
        break;
      case 'mac':
        out.set(host.mac, at);
        break;
      case 'ipv4':
        if (host.ipv4.length === 0) return undefined;
        out.set(host.ipv4[0], at);
        break;
      default: {
        let value = part.kind === 'count' ? state.count : Math.floor(asleepMs / 1000);
        for (let i = part.length - 1; i >= 0; i--) {
          out[at + i] = value % 256;
          value = Math.floor(value / 256);
        }
      }
    }
    at += lengthOf(part);
  }
  state.count++;
  state.usedAt = now;
  return out;
}

function bytesOf(text: string): Part | undefined {
  const bytes = parseHex(text);
  return bytes && { kind: 'bytes', bytes };
}

function fieldOf(text: string): Part | undefined {
  const words = text.slice(1, -1).split(':');
  const [kind] = words;
  if ((kind === 'mac' || kind === 'ipv4') && words.length === 1) return { kind };
  if ((kind === 'count' || kind === 'asleep') && words.length === 2) {
    const length = numberOf(words[1]);
    return length >= 1 && length <= 4 ? { kind, length } : undefined;
  }
  if (kind !== 'data' || words.length !== 3) return undefined;
  const offset = numberOf(words[1]);
  const length = numberOf(words[2]);
  return offset >= 0 && length >= 1 ? { kind, offset, length } : undefined;
}

/** 0 … 9999; −1 if it is none. */
function numberOf(text: string): number {
  return text.length <= 4 && /^[0-9]+$/.test(text) ? Number(text) : -1;
}

function lengthOf(part: Part): number {
  switch (part.kind) {
    case 'bytes':
      return part.bytes.length;
    case 'mac':
      return 6;
    case 'ipv4':
      return 4;
    default:
      return part.length;
  }
}
