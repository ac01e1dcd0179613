/**
 * What a power proxy is put together from beside rules, hosts and wakes. Whoever cannot use a part leaves it out, and its
 * firmware does not carry it: job.ts has all of them, datagram-parts.ts those of a board that hears no frames.
 *
 * What keeps something is made when it is first asked, so that it costs no memory before.
 */

import type { Random } from '../core/random.js';
import type { Link } from '../port/platform.js';
import type { Headers } from '../wire/headers.js';
import type { Host } from './host-table.js';
import type { Profile } from './profile.js';
import type { Deferring } from './respond/due.js';
import type { Send } from './respond/frame.js';
import type { Keeper, Question } from './responder.js';
import type { ResponderName } from './rule.js';
import type { Registrar, SleepProxy, SleepProxyOptions } from './sleep-proxy.js';

interface Knowing {
  /** Whether the frame is of those it answers, as far as its headers say. Allocates nothing. */
  isAsked(headers: Headers, frame: Uint8Array): boolean;
}

/** A responder that keeps nothing. */
export interface PlainResponder extends Knowing {
  /** `answered`, or why not. */
  respond(question: Question, send: Send): string;
}

/** One whose answers may wait. */
export interface DeferringResponder extends Knowing {
  /** Whether the frame is another's answer, which may make one that waits needless: then it is asked too. */
  isAnswer?(headers: Headers, frame: Uint8Array): boolean;
  /** `limit`: answers that wait. */
  make(random: Random, limit: number): Responding;
}

export interface Responding extends Deferring {
  /** As a plain responder; `scheduled`: in `poll`. */
  respond(question: Question, send: Send): string;
}

/** Puts down what frames tell of a host (learn.ts). */
export interface Learning {
  /** From a frame that it sent. */
  from(now: number, frame: Uint8Array, headers: Headers, profile: Profile): void;
  /** From one sent to it, or to everybody. */
  to(now: number, frame: Uint8Array, headers: Headers, profile: Profile): void;
}

/** What is said of a host's addresses on a link that carries frames (address-voice.ts). */
export interface AddressVoice {
  /** Asks the host itself, and nobody else, for an address it has; `undefined`: it has none. */
  probe(link: Link, host: Host): Uint8Array | undefined;
  /** Says that its IPv4 address is at `mac`. */
  announceIpv4(link: Link, host: Host, mac: Uint8Array, address: Uint8Array): Uint8Array;
  announceIpv6(link: Link, host: Host, mac: Uint8Array, address: Uint8Array): Uint8Array;
}

export interface SleepProxyPart {
  /** All that can come of a frame to it. */
  readonly outcomes: readonly string[];
  make(options: SleepProxyOptions, registrar: Registrar): SleepProxy;
}

export interface Parts {
  /** No frame is of two of them. */
  readonly responders: { readonly [name in ResponderName]?: PlainResponder | DeferringResponder };
  /** By the name a rule asks for; `limit`: hosts that something is kept of. */
  readonly keepers: { readonly [name in ResponderName]?: (limit: number) => Keeper };
  readonly learning?: Learning;
  readonly voice?: AddressVoice;
  readonly sleepProxy?: SleepProxyPart;
}
