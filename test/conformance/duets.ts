/**
 * Pairs: two members of a kibbutz that know each other, and a PPPoE subscriber with his access concentrator, over a line of
 * their own. The algorithms of authentication are toys made here, for every engine has others: what is compared is the
 * agent. Test vectors of the real ones are in test/kibbutz/aead.test.ts and edge/.
 */

import { Agent } from '../../agent/agent.js';
import { copyBytes, encodeUtf8, formatHex, sameBytes, writeUint32 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { Random } from '../../agent/core/random.js';
import { kibbutzJob } from '../../agent/kibbutz/job.js';
import {
  emitNeighbour,
  neighbourPrefix,
  newRegistration,
  registrationKey,
} from '../../agent/kibbutz/saved-state.js';
import type { Aead } from '../../agent/port/aead.js';
import type { Digest } from '../../agent/port/digest.js';
import type { Saved } from '../../agent/port/platform.js';
import { verifyCredentials } from '../../agent/pppoe/credentials.js';
import { pppCounters } from '../../agent/pppoe/ppp-counters.js';
import { type PppConfig, type PppEvent, PppSession } from '../../agent/pppoe/ppp-session.js';
import { describe, type Print } from './scenario.js';

export function duets(print: Print): void {
  kibbutzPair(print);
  pppPair(print);
}

/** 32 bits over all the parts, as a seed (FNV-1a's idea, without its constants). */
function mix(parts: readonly Uint8Array[]): number {
  let sum = 1;
  for (const part of parts) {
    sum = (sum * 31 + part.length) % 4294967296;
    for (let i = 0; i < part.length; i++) sum = (sum * 31 + part[i]) % 4294967296;
  }
  return sum;
}

function stream(name: string, parts: readonly Uint8Array[], length: number): Uint8Array {
  const random = new Random(mix(parts), name);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = random.below(256);
  return bytes;
}

const toyAead: Aead = {
  id: 1,
  keyBytes: 16,
  tagBytes: 16,
  nonceBytes: 12,
  seal(key, nonce, associated, plaintext) {
    const sealed = new Uint8Array(plaintext.length + 16);
    const pad = stream('pad', [key, nonce], plaintext.length);
    for (let i = 0; i < pad.length; i++) sealed[i] = plaintext[i] ^ pad[i];
    sealed.set(stream('tag', [key, nonce, associated, plaintext], 16), pad.length);
    return sealed;
  },
  open(key, nonce, associated, sealed) {
    const length = sealed.length - 16;
    if (length < 0) return undefined;
    const plaintext = stream('pad', [key, nonce], length);
    for (let i = 0; i < length; i++) plaintext[i] ^= sealed[i];
    const tag = stream('tag', [key, nonce, associated, plaintext], 16);
    return sameBytes(tag, sealed.subarray(length)) ? plaintext : undefined;
  },
};

interface Flight {
  readonly at: number;
  readonly to: number;
  readonly from: number;
  readonly payload: Uint8Array;
}

/** Two phones on a local link of 2 ms. Nobody is at the other end of the uplink. */
function kibbutzPair(print: Print): void {
  print('# kibbutz: two neighbours advertise, forward, refuse, give back, over a restart of one');
  const saved: { [key: string]: Uint8Array }[] = [registered(1, 2), registered(2, 1)];
  const agents = [born(0, 1, saved[0]), born(0, 2, saved[1])];
  const flights: Flight[] = [];
  let clock = 0;

  function born(now: number, member: number, keep: Saved): Agent {
    const copy: { [key: string]: Uint8Array } = {};
    for (const key of Object.keys(keep)) copy[key] = keep[key];
    return new Agent(now, {
      site: 'home',
      node: `phone-${member}`,
      firmware: 'conformance 1',
      platform: 'any',
      boot: `000000${member}${now === 0 ? 0 : 1}`,
      links: [],
      jobs: [
        kibbutzJob({
          aeads: [toyAead],
          policy: 'kith',
          tailMs: 10_000,
          promotionMs: 2_000,
          exchangeMs: 200,
          deferMs: 30_000,
          uplinkBitsPerSecond: 2_000_000,
          owner: { minimumPacketsPerMinute: 0 },
        }),
      ],
      saved: copy,
    });
  }

  function drain(who: number): void {
    const { outbox } = agents[who];
    for (let effect = outbox.shift(); effect; effect = outbox.shift()) {
      print(`${clock} ${who + 1} ${describe(effect)}`);
      if (effect.kind === 'save') {
        if (effect.value) saved[who][effect.key] = effect.value;
        else delete saved[who][effect.key];
      }
      if (effect.kind === 'datagram' && effect.link === 'local')
        flights.push({
          at: clock + 2,
          to: 1 - who,
          from: who,
          payload: copyBytes(effect.payload, 0, effect.payload.length),
        });
    }
  }

  function pass(until: number): void {
    for (;;) {
      let at = until + 1;
      for (const agent of agents) at = Math.min(at, agent.pollAt());
      if (flights.length > 0) at = Math.min(at, flights[0].at);
      if (at > until) break;
      clock = Math.max(clock, at);
      const flight = flights.length > 0 && flights[0].at <= clock ? flights.shift() : undefined;
      if (flight) {
        agents[flight.to].receive(clock, {
          kind: 'datagram',
          link: 'local',
          peer: `p${flight.from + 1}`,
          payload: flight.payload,
        });
        drain(flight.to);
      }
      for (let who = 0; who < 2; who++) {
        if (agents[who].pollAt() > clock) continue;
        agents[who].poll(clock);
        drain(who);
      }
    }
    clock = until;
  }

  function send(who: number, mayWait: boolean): void {
    const packet = new Uint8Array(60);
    for (let i = 0; i < packet.length; i++) packet[i] = (who + 1) * i;
    agents[who].receive(clock, { kind: 'packet', packet, mayWait });
    drain(who);
  }

  for (let who = 0; who < 2; who++) {
    agents[who].receive(0, { kind: 'bus-up', sessionPresent: false });
    drain(who);
    agents[who].receive(0, { kind: 'date', year: 2026, month: 11, day: 21 });
    drain(who);
  }
  pass(1000);
  send(1, false);
  pass(1500);
  for (let i = 0; i < 20; i++) {
    send(0, i % 3 === 2);
    pass(clock + 700);
  }
  agents[0].receive(clock, { kind: 'battery', percent: 5, charging: false });
  drain(0);
  send(1, true);
  pass(60_000);
  agents[1].receive(clock, { kind: 'shutdown' });
  drain(1);
  agents[1] = born(clock, 2, saved[1]);
  agents[1].receive(clock, { kind: 'bus-up', sessionPresent: false });
  drain(1);
  pass(61_000);
  send(1, false);
  pass(200_000);
}

function registered(member: number, other: number): { [key: string]: Uint8Array } {
  const saved: { [key: string]: Uint8Array } = {};
  saved[registrationKey] = newRegistration({
    member,
    aead: 1,
    generation: 1,
    key: stream('key', [new Uint8Array(member)], 16),
  });
  saved[`${neighbourPrefix}${other}`] = emitNeighbour({
    member: other,
    aead: toyAead,
    key: stream('pair', [], 16),
    generation: 1,
    registration: 1,
    sequence: -1,
    credit: 2,
    taken: 0,
    givenBytes: 0,
    takenBytes: 0,
  });
  return saved;
}

const toyDigest: Digest = {
  md5: data => stream('md5', [data], 16),
  sha1: data => stream('sha1', [data], 20),
  des: (key, block) => stream('des', [key, block], 8),
};

/** A subscriber and a server, each method of authentication in turn, and one that is refused. */
function pppPair(print: Print): void {
  const quiet = { mru: 1492, echoIntervalMs: 20_000, echoFailures: 3 };
  for (const method of ['pap', 'chap-md5', 'ms-chap-v2', 'none'] as const)
    for (const secret of ['right', 'wrong']) {
      print(`# PPP: ${method}, the secret is ${secret}`);
      const random = new Random(7, method);
      const sent: { readonly to: number; readonly protocol: number; readonly bytes: Uint8Array }[] = [];
      const server: PppConfig = {
        role: 'server',
        authentication: [method],
        name: encodeUtf8('bras'),
        ...quiet,
      };
      const client: PppConfig = {
        role: 'client',
        authentication: ['pap', 'chap-md5', 'ms-chap-v2', 'none'],
        user: encodeUtf8('user'),
        secret: encodeUtf8(secret),
        ...quiet,
      };
      const sessions: PppSession[] = [];
      const start = (config: PppConfig, who: number) =>
        new PppSession(0, config, {
          random,
          digest: toyDigest,
          counters: new Counters(pppCounters),
          send: (protocol, bytes) => {
            print(`${clock} ${who} sends ${protocol} ${formatHex(bytes)}`);
            sent.push({ to: 1 - who, protocol, bytes: copyBytes(bytes, 0, bytes.length) });
          },
          event: (now, event) => hear(now, who, event),
        });
      let clock = 0;
      const hear = (now: number, who: number, event: PppEvent) => {
        print(`${now} ${who} ${event.kind}${event.kind === 'down' ? ` ${event.reason}` : ''}`);
        if (event.kind !== 'credentials') return;
        const verdict = verifyCredentials(event.credentials, encodeUtf8('right'), toyDigest);
        sessions[who].authorise(
          now,
          verdict.ok
            ? { ...verdict, ipv4: { local: 0x0a000001, peer: 0x0a000210, dns: [0xc0000235], nbns: [] } }
            : verdict,
        );
      };
      sessions.push(start(server, 0), start(client, 1));
      const settle = () => {
        for (let packet = sent.shift(); packet; packet = sent.shift())
          sessions[packet.to].receive(clock, packet.protocol, packet.bytes, 0, packet.bytes.length);
      };
      for (const session of sessions) session.open(0);
      settle();
      for (;;) {
        const at = Math.min(sessions[0].pollAt(), sessions[1].pollAt());
        if (at > 50_000) break;
        clock = at;
        for (const session of sessions) session.poll(at);
        settle();
      }
      clock = 50_000;
      const strange = new Uint8Array(4);
      writeUint32(strange, 0, 0x01020304);
      sessions[1].receive(clock, 0x80fd, strange, 0, 4);
      sessions[0].close(clock);
      settle();
    }
}
