/**
 * For tests of the power proxy behind the agent's boundary: an agent on a bus that is up, and what it has saved.
 */

import * as assert from 'uvu/assert';
import { Agent } from '../../agent/agent.js';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { type CborValue, decodeCbor } from '../../agent/message/cbor.js';
import { descriptors } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import type { Effect } from '../../agent/port/effect.js';
import type { Link, Saved } from '../../agent/port/platform.js';
import { everyPart } from '../../agent/power-proxy/job.js';
import type { Parts } from '../../agent/power-proxy/parts.js';
import { PowerProxy, type PowerProxyOptions } from '../../agent/power-proxy/power-proxy.js';
import { parseMac } from '../../agent/wire/address.js';

export const gateway = parseMac('02:00:00:00:00:01')!;

export class Bench {
  saved: { [key: string]: Uint8Array } = {};
  agent: Agent;
  /** The job itself, to be looked into. */
  proxy!: PowerProxy;
  constructor(
    saved: Saved = {},
    {
      links,
      parts = everyPart,
      ...options
    }: PowerProxyOptions & { links?: readonly Link[]; parts?: Parts } = {},
  ) {
    this.saved = { ...saved };
    this.agent = new Agent(0, {
      site: 'home',
      node: 'gw-1',
      firmware: 'test 1',
      platform: 'test',
      boot: '00000001',
      links: links ?? [{ name: 'lan', mac: gateway }],
      jobs: [
        (now, context) => {
          this.proxy = new PowerProxy(now, context, parts, options);
          return this.proxy;
        },
      ],
      saved,
      telemetryMs: 1e9,
    });
    this.agent.receive(0, { kind: 'bus-up', sessionPresent: false });
    this.settle(0);
  }
  settle(now: number): Effect[] {
    const effects: Effect[] = [];
    for (let calls = 0; calls < 1000; calls++) {
      for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift()) {
        effects.push(effect);
        if (effect.kind === 'save' && effect.value) this.saved[effect.key] = effect.value;
        if (effect.kind === 'save' && !effect.value) delete this.saved[effect.key];
      }
      if (this.agent.pollAt() > now) return effects;
      this.agent.poll(now);
    }
    throw new Error('the agent never comes to rest');
  }
  /** Lets time pass from deadline to deadline. */
  run(from: number, to: number): Effect[] {
    const effects = this.settle(from);
    for (let at = this.agent.pollAt(); at <= to; at = this.agent.pollAt()) effects.push(...this.settle(at));
    return effects;
  }
  /** Publishes a rule; returns its status, if one was reported. */
  put(now: number, id: string, rule: unknown, retained = false): Record<string, CborValue> | undefined {
    return status(this.publish(now, `rule/${id}`, rule, retained), id);
  }
  publish(now: number, leaf: string, body: unknown, retained = false): Effect[] {
    const payload =
      body instanceof Uint8Array ? body : encodeUtf8(typeof body === 'string' ? body : JSON.stringify(body));
    this.agent.receive(now, { kind: 'message', topic: `kith/1/home/gw-1/${leaf}`, payload, retained });
    return this.settle(now);
  }
  hear(now: number, frame: Uint8Array): Effect[] {
    this.agent.receive(now, { kind: 'frame', link: 'lan', frame });
    return this.settle(now);
  }
}

export function status(effects: Effect[], id: string): Record<string, CborValue> | undefined {
  return report(effects, 'rule', id);
}

/** The last status of a rule, a host or an access list, as the schema has it. */
export function report(
  effects: Effect[],
  kind: 'rule' | 'host' | 'acl',
  id: string,
): Record<string, CborValue> | undefined {
  const last = effects.filter(e => e.kind === 'publish' && e.topic.endsWith(`/${kind}/${id}/status`)).at(-1);
  if (last?.kind !== 'publish' || last.payload.length === 0) return undefined;
  const decoded = decodeCbor(last.payload, { depth: 8 });
  assert.ok(decoded.ok);
  assert.is(validate(descriptors[`${kind}-status`], decoded.value), undefined);
  return decoded.value as Record<string, CborValue>;
}

export const frames = (effects: Effect[]) =>
  effects.flatMap(effect => (effect.kind === 'transmit' ? [effect.frame] : []));
export const events = (effects: Effect[]) =>
  effects.flatMap(effect =>
    effect.kind === 'publish' && effect.topic.includes('/event/') ? [effect.topic.split('/').at(-1)!] : [],
  );

/** The bodies of the events of a name, as the schema has them. */
export function eventsNamed(effects: Effect[], name: string): Record<string, CborValue>[] {
  return effects.flatMap(effect => {
    if (effect.kind !== 'publish' || !effect.topic.endsWith(`/event/${name}`)) return [];
    const decoded = decodeCbor(effect.payload, { depth: 8 });
    assert.ok(decoded.ok);
    assert.is(validate(descriptors.event, decoded.value), undefined);
    return [decoded.value as Record<string, CborValue>];
  });
}
