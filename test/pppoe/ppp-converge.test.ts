/** Two of our endpoints on a bad line: whatever it does to their packets, they end open and agreed, or cleanly closed. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { AuthenticationMethod } from '../../agent/pppoe/credentials.js';
import type { PppConfig, PppEvent } from '../../agent/pppoe/ppp-session.js';
import { clientConfig, End, judgeBy, type Packet, serverConfig } from './ppp-ends.js';

const seeds = 4_000;
/** The line is bad until then, and good afterwards. */
const badUntilMs = 40_000;
const endMs = 600_000;

interface Line {
  readonly loss: number;
  readonly duplication: number;
  readonly longestDelayMs: number;
}

interface Flight {
  readonly at: number;
  readonly to: End;
  readonly packet: Packet;
}

const methods: readonly AuthenticationMethod[] = ['pap', 'chap-md5', 'ms-chap-v2', 'none'];

/** Some of the methods, at least one, in any order. */
function someMethods(random: Random): AuthenticationMethod[] {
  const left = [...methods];
  const chosen: AuthenticationMethod[] = [];
  do chosen.push(...left.splice(random.below(left.length), 1));
  while (left.length > 0 && random.chance(0.5));
  return chosen;
}

function someConfig(random: Random, base: PppConfig): PppConfig {
  return {
    ...base,
    mru: [68, 576, 1280, 1492, 1500][random.below(5)],
    authentication: random.chance(0.3) ? base.authentication : someMethods(random),
    ipv4: random.chance(0.85),
    ipv6: random.chance(0.7),
    askDns: random.chance(0.7),
    askNbns: random.chance(0.3),
    echoIntervalMs: 10_000,
    echoFailures: 1 + random.below(4),
  };
}

/** What a network protocol came to at one end. */
function network(end: End, protocol: 'ipv4' | 'ipv6'): PppEvent | undefined {
  const own = end.events.filter(event => event.kind.startsWith(protocol));
  const last = own[own.length - 1];
  return last?.kind === `${protocol}-up` ? last : undefined;
}

function converge(seed: number): string {
  const random = new Random(seed, 'line');
  const wrongSecret = random.chance(0.15);
  const server = new End(someConfig(random, serverConfig), new Random(seed, 'server'));
  const client = new End(someConfig(random, clientConfig), new Random(seed, 'client'));
  if (wrongSecret) server.judge = judgeBy(encodeUtf8('another'));
  const line: Line = {
    loss: random.unit() * 0.5,
    duplication: random.unit() * 0.4,
    longestDelayMs: random.below(7_000),
  };
  const flights: Flight[] = [];
  let packets = 0;
  const launch = (now: number, from: End, to: End) => {
    for (const packet of from.sent.splice(0)) {
      packets++;
      const bad = now < badUntilMs;
      if (bad && random.chance(line.loss)) continue;
      const copies = bad && random.chance(line.duplication) ? 2 : 1;
      for (let i = 0; i < copies; i++) {
        const delay = bad ? random.below(line.longestDelayMs + 1) : 5;
        flights.push({ at: now + delay, to, packet });
      }
    }
  };
  server.session.open(0);
  // A client that comes first, or whose first requests meet nobody.
  client.session.open(0);
  const closeAt = random.chance(0.1) ? random.below(60_000) : never;
  let closed = false;
  let now = 0;
  for (;;) {
    launch(now, server, client);
    launch(now, client, server);
    flights.sort((a, b) => a.at - b.at);
    const timers = Math.min(server.session.pollAt(), client.session.pollAt(), closed ? never : closeAt);
    const next = Math.min(timers, flights.length > 0 ? flights[0].at : never);
    if (next > endMs) break;
    now = next;
    while (flights.length > 0 && flights[0].at <= now) {
      const { to, packet } = flights.shift()!;
      to.receive(now, packet);
    }
    if (!closed && now >= closeAt) {
      closed = true;
      (random.chance(0.5) ? server : client).session.close(now);
    }
    server.session.poll(now);
    client.session.poll(now);
    assert.ok(packets < 2_000, `seed ${seed}: ${packets} packets after ${now} ms`);
  }

  const outcome = `seed ${seed}: server ${server.reason ?? 'open'}, client ${client.reason ?? 'open'}`;
  if (server.reason !== undefined || client.reason !== undefined) {
    assert.ok(server.reason !== undefined && client.reason !== undefined, outcome);
    assert.is(server.session.pollAt(), never, outcome);
    assert.is(client.session.pollAt(), never, outcome);
    assert.not.ok(server.up || client.up, outcome);
    return 'closed';
  }
  assert.not.ok(
    wrongSecret &&
      server.events.some(event => event.kind === 'credentials' && event.credentials.method !== 'none') &&
      !closed,
    outcome,
  );
  const [v4, peerV4] = [network(server, 'ipv4'), network(client, 'ipv4')];
  const [v6, peerV6] = [network(server, 'ipv6'), network(client, 'ipv6')];
  assert.is(v4 === undefined, peerV4 === undefined, `${outcome}: IPv4`);
  assert.is(v6 === undefined, peerV6 === undefined, `${outcome}: IPv6`);
  assert.ok(v4 || v6, outcome);
  if (v4?.kind === 'ipv4-up' && peerV4?.kind === 'ipv4-up') assert.is(v4.peer, peerV4.local, outcome);
  if (v6?.kind === 'ipv6-up' && peerV6?.kind === 'ipv6-up') {
    assert.is(formatHex(v6.localInterfaceId), formatHex(peerV6.peerInterfaceId), outcome);
    assert.is(formatHex(v6.peerInterfaceId), formatHex(peerV6.localInterfaceId), outcome);
  }
  for (const end of [server, client]) assert.ok(end.session.freeze(), `${outcome}: can be put away`);
  return 'open';
}

test('whatever a line loses, doubles, delays and reorders, both ends are open and agreed or closed in the end', () => {
  console.log(`converge: seeds 1..${seeds}`);
  const outcomes: { [outcome: string]: number } = {};
  for (let seed = 1; seed <= seeds; seed++) {
    const outcome = converge(seed);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  console.log(`converge: ${JSON.stringify(outcomes)}`);
  // Neither is a rarity, or the test tests nothing.
  assert.ok(outcomes.open > seeds / 5 && outcomes.closed > seeds / 5);
});

test.run();
