/**
 * What answers in a sleeping host's place (Nedevschi et al., NSDI 2009, §5: "mechanical responses"): one function a
 * protocol, from the frame that asks to the frames that answer.
 *
 * A responder answers questions, never answers, so two proxies cannot keep each other busy. It answers only for what
 * the host was seen or registered to have, and to whoever asked, in the VLAN the question came in.
 */

import type { Link } from '../port/platform.js';
import type { Headers } from '../wire/headers.js';

/** What a responder may say of the host it answers for. */
export interface Served {
  /** 6 bytes. */
  readonly mac: Uint8Array;
  /** 4 bytes each. */
  readonly ipv4: readonly Uint8Array[];
  /** 16 bytes each. */
  readonly ipv6: readonly Uint8Array[];
  /** Host names without a domain, as the host announced them. */
  readonly names: readonly string[];
}

export interface Question {
  readonly now: number;
  /** The link it came in by, and the answer goes out by. */
  readonly link: Link;
  /** Only valid during the call. */
  readonly frame: Uint8Array;
  readonly headers: Headers;
  readonly host: Served;
}

/** `answered`, or why not: a lower-case reason that becomes a counter, such as `not-a-question` or `not-ours`. */
export type Responder<Reason extends string = string> = (
  question: Question,
  send: (frame: Uint8Array) => void,
) => 'answered' | Reason;
