/** Two PPP endpoints and the line between them, for the tests of this folder; time advances by hand. */

import { encodeUtf8, readUint32 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { Entropy } from '../../agent/pppoe/authentication.js';
import { type Credentials, type Verdict, verifyCredentials } from '../../agent/pppoe/credentials.js';
import { pppCounters } from '../../agent/pppoe/ppp-counters.js';
import { type PppCalls, type PppConfig, type PppEvent, PppSession } from '../../agent/pppoe/ppp-session.js';
import { parseAddress } from '../../agent/wire/address.js';
import { digest } from '../../edge/linux/digest.js';

export const address = (text: string) => readUint32(parseAddress(text)!, 0);

export const grant = {
  local: address('10.0.0.1'),
  peer: address('10.0.2.16'),
  dns: [address('192.0.2.53'), address('192.0.2.54')],
  nbns: [address('192.0.2.137')],
};

const quiet = { echoIntervalMs: 0, echoFailures: 3 };
export const serverConfig: PppConfig = {
  role: 'server',
  mru: 1492,
  authentication: ['chap-md5'],
  name: encodeUtf8('BRAS'),
  ...quiet,
};
export const clientConfig: PppConfig = {
  role: 'client',
  mru: 1492,
  authentication: ['pap', 'chap-md5', 'ms-chap-v2', 'none'],
  user: encodeUtf8('subscriber'),
  secret: encodeUtf8('s3cr3t-pa55phrase'),
  ...quiet,
};

export interface Packet {
  readonly protocol: number;
  readonly bytes: Uint8Array;
}

/** One endpoint: what it sends waits in `sent`, what happens is noted. */
export class End {
  readonly sent: Packet[] = [];
  readonly events: PppEvent[] = [];
  readonly counters = new Counters(pppCounters);
  readonly calls: PppCalls;
  session: PppSession;
  readonly config: PppConfig;
  /** How a server judges; `undefined` answers nothing. */
  judge: ((credentials: Credentials) => Verdict | undefined) | undefined = judgeBy(clientConfig.secret!);

  constructor(config: PppConfig, random: Entropy, now = 0) {
    this.config = config;
    this.calls = {
      random,
      digest,
      counters: this.counters,
      send: (protocol, packet) => void this.sent.push({ protocol, bytes: packet }),
      event: (at, event) => this.hear(at, event),
    };
    this.session = new PppSession(now, config, this.calls);
  }

  get kinds(): string[] {
    return this.events.map(event => event.kind);
  }

  /** Why it went down; `undefined` if it has not. */
  get reason(): string | undefined {
    const last = this.events[this.events.length - 1];
    return last?.kind === 'down' ? last.reason : undefined;
  }

  get up(): boolean {
    return isUp(this.kinds, 'ipv4') || isUp(this.kinds, 'ipv6');
  }

  receive(now: number, { protocol, bytes }: Packet): void {
    this.session.receive(now, protocol, bytes, 0, bytes.length);
  }

  private hear(now: number, event: PppEvent): void {
    this.events.push(event);
    if (event.kind !== 'credentials') return;
    const verdict = this.judge?.(event.credentials);
    if (verdict) this.session.authorise(now, verdict);
  }
}

function isUp(kinds: readonly string[], protocol: string): boolean {
  return kinds.lastIndexOf(`${protocol}-up`) > kinds.lastIndexOf(`${protocol}-down`);
}

/** Judges by a secret, and grants `grant`. */
export function judgeBy(secret: Uint8Array): (credentials: Credentials) => Verdict {
  return credentials => {
    const verdict = verifyCredentials(credentials, secret, digest);
    return verdict.ok ? { ...verdict, ipv4: grant } : verdict;
  };
}

/** A server and a client, both opened at 0, nothing delivered yet. */
export function ends(
  server: Partial<PppConfig> = {},
  client: Partial<PppConfig> = {},
  seed = 1,
): { server: End; client: End } {
  const both = {
    server: new End({ ...serverConfig, ...server }, new Random(seed, 'server')),
    client: new End({ ...clientConfig, ...client }, new Random(seed, 'client')),
  };
  both.server.session.open(0);
  both.client.session.open(0);
  return both;
}

/** Brings every packet across at once, in order, until both are silent. */
export function settle(now: number, a: End, b: End): void {
  for (;;) {
    const toB = a.sent.shift();
    if (toB) b.receive(now, toB);
    const toA = b.sent.shift();
    if (toA) a.receive(now, toA);
    if (!toA && !toB) return;
  }
}

/** Lets the timers of both run, delivering at once, until `untilMs` or until no timer is left. */
export function run(from: number, untilMs: number, a: End, b: End): void {
  settle(from, a, b);
  for (;;) {
    const at = Math.min(a.session.pollAt(), b.session.pollAt());
    if (at === never || at > untilMs) return;
    a.session.poll(at);
    b.session.poll(at);
    settle(at, a, b);
  }
}
