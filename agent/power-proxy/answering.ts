/**
 * The responders of this node (parts.ts): who is asked, and those whose answers wait, each made when it is first asked.
 */

import type { Random } from '../core/random.js';
import { never } from '../core/time.js';
import type { Headers } from '../wire/headers.js';
import type { DeferringResponder, Parts, Responding } from './parts.js';
import type { SendDue } from './respond/due.js';
import type { Send } from './respond/frame.js';
import type { Question } from './responder.js';
import type { ResponderName } from './rule.js';

type Responders = Parts['responders'];

interface Made {
  readonly part: DeferringResponder;
  readonly responding: Responding;
}

export class Answering {
  private readonly responders: Responders;
  private readonly random: Random;
  private readonly limit: number;
  private readonly made: Made[] = [];

  /** `limit`: answers that wait, of each protocol. */
  constructor(responders: Responders, random: Random, limit: number) {
    this.responders = responders;
    this.random = random;
    this.limit = limit;
  }

  /** `answered`, `scheduled`, or why not. `name`: who is asked; without one, whoever knows the question. */
  respond(name: ResponderName | undefined, question: Question, send: Send): string {
    const known = name ?? this.whoKnows(question.headers, question.frame);
    const part = known === undefined ? undefined : this.responders[known];
    if (!part) return 'not-a-question';
    return ('make' in part ? this.madeOf(part) : part).respond(question, send);
  }

  /** Who knows the question; `undefined`: nobody here, or it asks nothing. Allocates nothing that stays. */
  whoKnows(headers: Headers, frame: Uint8Array): ResponderName | undefined {
    const { responders } = this;
    for (const name in responders)
      if (responders[name as ResponderName]?.isAsked(headers, frame)) return name as ResponderName;
    return undefined;
  }

  /** Whether it is another's answer, and any of ours waits. Allocates nothing. */
  mayOverhear(headers: Headers, frame: Uint8Array): boolean {
    for (const { part, responding } of this.made)
      if (part.isAnswer?.(headers, frame)) return responding.pollAt() !== never;
    return false;
  }

  /** It may make one that waits for this host needless. */
  overhear(question: Question): void {
    for (const { part, responding } of this.made)
      if (part.isAnswer?.(question.headers, question.frame)) responding.respond(question, sendNothing);
  }

  poll(now: number, send: SendDue): void {
    for (const { responding } of this.made) if (responding.pollAt() <= now) responding.poll(now, send);
  }

  pollAt(): number {
    let at = never;
    for (const { responding } of this.made) at = Math.min(at, responding.pollAt());
    return at;
  }

  /** The host speaks for itself. */
  forget(mac: Uint8Array): void {
    for (const { responding } of this.made) responding.forget(mac);
  }

  private madeOf(part: DeferringResponder): Responding {
    for (const made of this.made) if (made.part === part) return made.responding;
    const responding = part.make(this.random, this.limit);
    this.made.push({ part, responding });
    return responding;
  }
}

function sendNothing(): void {}
