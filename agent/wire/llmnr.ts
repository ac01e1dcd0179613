/**
 * LLMNR, Link-Local Multicast Name Resolution (RFC 4795 §2.1): a DNS message with flags of its own.
 *
 *     0  identification      2  flags: QR 1 · opcode 4 = 0 · conflict, truncated, tentative 1 each · 4 reserved · response code 4
 *     4  as in dns.ts, with exactly one question; a query has no answers and no authorities
 *
 * Bounded as DNS is.
 */

import { writeBytes } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import {
  type DnsMessage,
  type DnsQuestion,
  encodeDnsMessage,
  operationOf,
  parseDnsMessage,
  responseFlag,
  truncatedFlag,
} from './dns.js';
import type { Reason } from './reason.js';

export { llmnrPort } from './udp-ports.js';

/** RFC 4795 §2. */
export const llmnrGroups: readonly string[] = ['224.0.0.252', 'ff02::1:3'];

export interface Llmnr
  extends Pick<DnsMessage, 'identification' | 'answers' | 'authorities' | 'additionals'> {
  readonly isResponse: boolean;
  /** In a query: its sender had more than one answer. In a response: the name need not be unique. */
  readonly conflict: boolean;
  readonly truncated: boolean;
  /** The responder has not yet made sure that the name is its own. */
  readonly tentative: boolean;
  readonly responseCode: number;
  readonly question: DnsQuestion;
}

const conflictFlag = 0x0400;
const tentativeFlag = 0x0100;

/** Reads a message from `bytes[start, end)`, all of it. Arrays are views into `bytes`. */
export function parseLlmnr(bytes: Uint8Array, start: number, end: number): Result<Llmnr, Reason> {
  const result = parseDnsMessage(bytes, start, end);
  if (!result.ok) return result;
  const { identification, flags, questions, answers, authorities, additionals } = result.value;
  const isResponse = (flags & responseFlag) !== 0;
  const responseCode = flags & 15;
  if (operationOf(flags) !== 0) return fail('bad-type');
  // RFC 4795 §2.1.1: such a message is discarded.
  if (questions.length !== 1) return fail('bad-value');
  if (!isResponse && (responseCode !== 0 || answers.length + authorities.length > 0))
    return fail('bad-value');
  return ok({
    identification,
    isResponse,
    conflict: (flags & conflictFlag) !== 0,
    truncated: (flags & truncatedFlag) !== 0,
    tentative: (flags & tentativeFlag) !== 0,
    responseCode,
    question: questions[0],
    answers,
    authorities,
    additionals,
  });
}

/** Bytes `emitLlmnr` writes. */
export function llmnrLength(message: Llmnr): number {
  return encodeDnsMessage(messageOf(message)).length;
}

/** Writes a message at `at`, compressed; returns the offset after it. */
export function emitLlmnr(message: Llmnr, out: Uint8Array, at: number): number {
  return writeBytes(out, at, encodeDnsMessage(messageOf(message)));
}

function messageOf(message: Llmnr): DnsMessage {
  const flags =
    (message.isResponse ? responseFlag : 0) |
    (message.conflict ? conflictFlag : 0) |
    (message.truncated ? truncatedFlag : 0) |
    (message.tentative ? tentativeFlag : 0) |
    message.responseCode;
  return { ...message, flags, questions: [message.question] };
}
