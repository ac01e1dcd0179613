/**
 * AAA as the BRAS asks for it: whether somebody may come in and with what, and who is told how long he stayed and how much
 * he used. aaa-file.ts knows users from a file, aaa-radius.ts asks RADIUS servers.
 *
 * Answers come by callback with the time they came at, not by promise, so that a simulation and a test run the same steps
 * at the same times again. Every question is answered exactly once, within the time the implementation names.
 */

import type { Credentials } from '../../agent/pppoe/credentials.js';

/** Who asks: what is known of a session before and beside its credentials. */
export interface Subscriber {
  readonly sessionId: number;
  /** Unique over restarts and BRASes, printable; the same in all that concerns the session (RFC 2866 §5.5). */
  readonly accountingId: string;
  /** `3c:22:fb:01:02:03`. */
  readonly mac: string;
  /** How the line is named, by its access node (TR-101) or by port and VLANs. */
  readonly line: string;
  readonly circuitId: string;
  readonly remoteId: string;
  readonly service: string;
}

export type AaaVerdict = Grant | Refusal;

export interface Grant {
  readonly ok: true;
  /** 32-bit number; left out: one of the pool. */
  readonly ipv4?: number;
  /** Name of a rate class of the BRAS; left out, or unknown there: the default one. */
  readonly rateClass?: string;
  readonly sessionTimeoutS?: number;
  /** How often to account in between; left out: as the BRAS is set. */
  readonly interimS?: number;
  /** Given back with all accounting (RFC 2865 §5.25). */
  readonly classes?: readonly Uint8Array[];
  /** For the subscriber to read. */
  readonly message?: string;
  /** Of MS-CHAPv2: `S=` and 40 hex digits (RFC 2759 §5). */
  readonly authenticatorResponse?: string;
}

/** Only 'wrong-credentials' counts as a guess. */
export type RefusalReason = 'wrong-credentials' | 'unsupported-method' | 'no-answer' | 'busy' | 'bad-answer';

export interface Refusal {
  readonly ok: false;
  readonly reason: RefusalReason;
  readonly message?: string;
}

export interface AccountingRecord {
  readonly kind: 'start' | 'interim' | 'stop';
  readonly subscriber: Subscriber;
  readonly user: string;
  readonly classes: readonly Uint8Array[];
  /** 0: none. */
  readonly ipv4: number;
  readonly sessionTimeS: number;
  /** From the subscriber: `input`, as RFC 2866 §5.3 has it. */
  readonly inputBytes: number;
  readonly outputBytes: number;
  readonly inputPackets: number;
  readonly outputPackets: number;
  /** Of a stop: a name of RFC 2866 §5.10. */
  readonly terminateCause?: TerminateCause;
}

export type TerminateCause =
  | 'user-request'
  | 'lost-carrier'
  | 'session-timeout'
  | 'admin-reset'
  | 'admin-reboot'
  | 'port-error'
  | 'nas-request'
  | 'service-unavailable';

export interface Aaa {
  /** `answer` is called once, perhaps before this returns. The credentials' bytes are only lent until this returns. */
  authenticate(
    now: number,
    credentials: Credentials,
    subscriber: Subscriber,
    answer: (now: number, verdict: AaaVerdict) => void,
  ): void;
  account(now: number, record: AccountingRecord): void;
  poll(now: number): void;
  pollAt(): number;
}

/** What an AAA server may ask of a running session (RFC 5176): named by all that is given. */
export interface SessionName {
  readonly accountingId?: string;
  readonly user?: string;
  readonly ipv4?: number;
  readonly mac?: string;
}

/** What the BRAS does when it is asked. */
export interface SessionControl {
  /** How many sessions went down. */
  disconnect(now: number, name: SessionName): number;
  /** How many sessions have it now; `undefined`: there is no such rate class. */
  changeRateClass(now: number, name: SessionName, rateClass: string): number | undefined;
}
