/**
 * What happened to PPP packets, one counter a reason. A server keeps one set for all its sessions, so that a session
 * costs none.
 */

import type { Counters } from '../core/counters.js';
import type { Reason } from '../wire/reason.js';

export const pppCounters = [
  'malformed.truncated',
  'malformed.bad-length',
  'malformed.bad-type',
  'malformed.bad-value',
  'malformed.too-many',
  /** An answer to a Configure-Request that is not, or no longer, under way. */
  'dropped.stale-answer',
  /** A Configure-Ack that is not the request, byte for byte. */
  'dropped.altered-ack',
  /** A Configure-Reject of what the request did not hold. */
  'dropped.altered-reject',
  /** A packet for a protocol whose lower layer is not up. */
  'dropped.layer-down',
  /** Not of LCP before the link is authenticated (RFC 1661 §3.4, §3.5), or authentication nobody agreed on. */
  'dropped.phase',
  /** A packet for a session that is over. */
  'dropped.dead',
  /** IPv4 or IPv6 itself, which is not for the session to carry. */
  'dropped.data',
  /** A CHAP Response or Success whose identifier is not that of the last challenge; a value of the wrong size. */
  'dropped.authentication',
  /** Credentials sent again while they are being judged. */
  'dropped.judging',
  /** A verdict on credentials nobody waits for any more. */
  'dropped.verdict',
  /** A Protocol-Reject not sent because of its rate bound. */
  'dropped.reject-limit',
  'option.repeated',
  /** A magic number that is our own: the link may be looped back. */
  'option.own-magic',
  'looped-echo',
  'sent.nak',
  'sent.reject',
  'sent.protocol-reject',
  'received.nak',
  'received.reject',
  'unknown-code',
  'code-rejected',
  'protocol-rejected',
  'identification',
  'discard-request',
  'echo-request',
  'echo-missed',
  'authentication.passed',
  'authentication.failed',
  'authentication.resent',
  /** IPCP came to an agreement without an address for us. */
  'no-address',
  'not-converging',
] as const;

export type PppCounter = (typeof pppCounters)[number];

/** Counts a packet that a parser of PPP's control or authentication packets refused. */
export function countMalformed(counters: Counters<PppCounter>, reason: Reason): void {
  // Those parsers have no other reasons than the five counted.
  counters.add(`malformed.${reason}` as PppCounter);
}
