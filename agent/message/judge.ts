/**
 * Judges a payload from outside: within the size limit, JSON or CBOR, and of the shape the descriptor asks.
 */

import { type Failure, type Ok, ok } from '../core/result.js';
import type { Limits } from '../limits.js';
import { decodePayload } from './json.js';
import type { Descriptor } from './messages.js';
import { type Problem, validate } from './schema.js';

export type Judged<T> = Ok<T> | Refused;
export type Refused = Failure & { readonly problem: Problem };

export function judge<T>(descriptor: Descriptor<T>, payload: Uint8Array, limits: Limits): Judged<T> {
  if (payload.length > limits.payloadBytes)
    return refuse({
      field: '',
      expected: `at most ${limits.payloadBytes} bytes`,
      got: `${payload.length} bytes`,
    });
  const decoded = decodePayload(payload, { depth: limits.payloadDepth });
  if (!decoded.ok) return refuse({ field: '', expected: 'a map in JSON or CBOR', got: decoded.reason });
  const problem = validate(descriptor, decoded.value);
  return problem ? refuse(problem) : ok(decoded.value as T);
}

export function refuse(problem: Problem): Refused {
  return { ok: false, reason: describeProblem(problem), problem };
}

/** `trigger.tcp.dstPort: expected 0..65535, got "ssh"` */
export function describeProblem(problem: Problem): string {
  return `${problem.field === '' ? 'payload' : problem.field}: expected ${problem.expected}, got ${problem.got}`;
}
