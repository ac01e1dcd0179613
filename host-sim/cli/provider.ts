/**
 * `kith provider`: the kibbutz provider (host-sim/coordinator/provider.ts) on a UDP port; members' packets reach the Internet
 * over a TUN device, whose host routes and masquerades.
 *
 *     member's uplink   UDP   envelopes → provider.ts → the packet, if its source is the member's address → TUN device
 *     TUN device              packet for a member's address → sealed → the way the member was heard last
 *
 * A member is where its last authentic and new envelope came from, so it may roam. It is answered through the neighbour that
 * its last packet came through while provider.ts lets us, otherwise over its own uplink. Whoever is heard is introduced
 * to its group, again after `introduceFirstMs` and then ever more rarely, for introductions may be lost and are not
 * acknowledged; only when it is heard, so that no radio comes up for them.
 *
 * `register` and `accounts` ask the running daemon over the socket in its store (control.ts), or open the store where none runs:
 *
 *     {"request":"register","name":"kitchen","aeads":[1],"group":"home"}    {"ok":true,"registration":{…}}
 *     {"request":"accounts"}                                                {"ok":true,"members":[…],"pairs":[…],"counters":{…}}
 *
 * Bounds: those of kept-provider.ts, `heldDatagrams`, and the kernel's buffers; what they do not take is dropped and counted.
 */

import { createSocket, type Socket } from 'node:dgram';
import { join } from 'node:path';
import { readUint32 } from '../../agent/core/bytes.js';
import { Counters, type Counts } from '../../agent/core/counters.js';
import { never } from '../../agent/core/time.js';
import { dropReasons } from '../../agent/kibbutz/drop-report.js';
import { noCarrier } from '../../agent/kibbutz/envelope.js';
import { parseAddress } from '../../agent/wire/address.js';
import { aeads } from '../../edge/linux/aead.js';
import { innerMtuBytes } from '../../edge/linux/kibbutz-sockets.js';
import { openTun, type Tun } from '../../edge/linux/tun.js';
import { type Accounts, flushMs, KeptProvider, type RegistrationFile } from '../coordinator/kept-provider.js';
import type { Datagram, Delivery } from '../coordinator/provider.js';
import { ask, type Control, listen, type Request } from './control.js';

/** What the `kith provider` command takes. */
export interface ProviderWords {
  readonly store: string;
  /** Left out: every address of either family. */
  readonly listen?: readonly string[];
  readonly port: number;
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly tun: string;
  /** As in `Policy`. */
  readonly allowance?: number;
  readonly charge?: number;
  readonly pay?: number;
  /** As in `ProviderLimits`. */
  readonly members: number;
  readonly pairs: number;
}

export interface RegisterWords {
  readonly store: string;
  readonly group: string;
  /** Numbers of IANA's registry, best first. */
  readonly aead: readonly number[];
}

type Print = (line: string) => Promise<void> | void;

/** Sealed while nonces are being written: of a fast disk's fdatasync at 100,000 packets a second some hundred. */
const heldDatagrams = 4096;
/** Asked of the kernel, which gives root no more than net.core.rmem_max: 33 ms of 1 Gbit/s. */
const receiveBufferBytes = 4 << 20;
const introduceFirstMs = 1_000;
/** Until then a neighbour that was forgotten in a full table stays unknown. */
const introduceLastMs = 600_000;
const counterNames = [
  'datagrams.in',
  'datagrams.out',
  'datagrams.unsent',
  /** The member has not been heard over its own uplink since the start. */
  'datagrams.no-endpoint',
  /** Too many waited for the store. */
  'datagrams.held-full',
  'packets.in',
  'packets.out',
  /** A member's packet with another source address than the member's. */
  'packets.not-its-address',
  'packets.no-member',
  /** For a member that was not heard since the start. */
  'packets.not-heard',
  'introductions',
  'introductions.not-possible',
] as const;

/** Runs until `until` resolves; rejects if it cannot start, or its device goes. */
export async function runProvider(words: ProviderWords, until: Promise<void>, print: Print): Promise<void> {
  const { store, ipv4, ipv6, allowance, charge, pay } = words;
  if (ipv4 === undefined && ipv6 === undefined)
    throw new Error('--ipv4, --ipv6: expected at least one of them, for the addresses of members');
  const kept = await KeptProvider.open(store, {
    aeads,
    settings: {
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(ipv6 === undefined ? {} : { ipv6 }),
      policy: {
        ...(allowance === undefined ? {} : { allowanceBytes: allowance }),
        ...(charge === undefined ? {} : { chargePerMegabyte: charge }),
        ...(pay === undefined ? {} : { payPerMegabyte: pay }),
      },
    },
    limits: { members: words.members, pairs: words.pairs },
    log: text => void print(text),
  });
  const running = new RunningProvider(words, kept, print);
  let control: Control | undefined;
  try {
    const names = { what: `--store ${store}`, daemon: 'kith provider' };
    control = await listen(controlPath(store), names, asked => obey(asked, kept, running));
    await running.start();
    await Promise.race([until, running.broken]);
    print(`stopping; counted ${JSON.stringify(running.counts())}`);
  } finally {
    control?.close();
    running.close();
    await kept.close();
  }
}

/** `kith provider register`: what the member's device needs, as JSON on standard output. */
export async function register(name: string, words: RegisterWords, print: Print): Promise<void> {
  const { store, group, aead } = words;
  const request = { request: 'register', name, aeads: aead, group };
  const { registration } = (await askOrOpen(store, request)) as { registration: RegistrationFile };
  if (registration.addresses.length === 0)
    console.error(
      'it has no addresses: kith provider has not run on this store yet, or without --ipv4 and --ipv6; later, kith provider accounts tells them',
    );
  await print(JSON.stringify(registration));
}

/** `kith provider accounts`. */
export async function printAccounts(
  { store, json }: { readonly store: string; readonly json?: boolean },
  print: Print,
): Promise<void> {
  const answer = (await askOrOpen(store, { request: 'accounts' })) as Accounts & { counters?: Counts };
  const { members, pairs, counters } = answer;
  if (json) {
    for (const member of members) await print(JSON.stringify({ member }));
    for (const pair of pairs) await print(JSON.stringify({ pair }));
    if (counters) await print(JSON.stringify({ counters }));
    return;
  }
  if (members.length === 0) await print('no members: kith provider register takes them in');
  const names = new Map(members.map(({ member, name }) => [member, name]));
  for (const { member, name, group, addresses, givenBytes, takenBytes, ...more } of members) {
    const { owes, earns, refused, rekeyDue } = more;
    await print(
      [
        `${name}: member ${member} of ${group}`,
        ...addresses,
        `given ${givenBytes} B`,
        `taken ${takenBytes} B`,
        ...(owes > 0 ? [`owes ${owes / 1e6}`] : []),
        ...(earns > 0 ? [`earns ${earns / 1e6}`] : []),
        ...(refused ? ['refused: has taken too much'] : []),
        ...(rekeyDue ? ['register it anew: its key is used up'] : []),
      ].join(', '),
    );
  }
  for (const { carrier, sender, upBytes, downBytes, accepted, dropped } of pairs) {
    const drops = dropReasons.flatMap((reason, i) => (dropped[i] > 0 ? [`${dropped[i]} ${reason}`] : []));
    await print(
      `${names.get(carrier)} for ${names.get(sender) ?? 'nobody known'}: ${accepted} packets, ${upBytes} B up, ${downBytes} B down${
        drops.length > 0 ? `; dropped ${drops.join(', ')}` : ''
      }`,
    );
  }
  if (counters) await print(`counted ${JSON.stringify(counters)}`);
}

/** Where a member is, and how it is answered. */
interface Reach {
  /** Of its own uplink; `undefined`: not heard there since the start. */
  endpoint: Endpoint | undefined;
  /** Its last packet came through this neighbour, or `noCarrier`. */
  carrier: number;
  introduceAt: number;
  introduceMs: number;
}

interface Endpoint {
  socket: Socket;
  address: string;
  port: number;
}

class RunningProvider {
  /** Rejects when the device is removed. */
  readonly broken: Promise<never>;
  private readonly words: ProviderWords;
  private readonly kept: KeptProvider;
  private readonly print: Print;
  private readonly counters = new Counters(counterNames);
  private readonly sockets: Socket[] = [];
  private tun: Tun | undefined;
  private readonly reaches = new Map<number, Reach>();
  private held: Datagram[] = [];
  private pollTimer: NodeJS.Timeout | undefined;
  private pollAt = never;
  private flushTimer: NodeJS.Timeout | undefined;
  private breakDown: (error: Error) => void = () => {};

  constructor(words: ProviderWords, kept: KeptProvider, print: Print) {
    this.words = words;
    this.kept = kept;
    this.print = print;
    this.broken = new Promise((_, reject) => {
      this.breakDown = reject;
    });
    // It is told when somebody waits for it, not before.
    this.broken.catch(() => {});
    kept.whenReleased = () => this.release();
  }

  /** Rejects, saying what is missing. */
  async start(): Promise<void> {
    const { words, kept } = this;
    if (words.listen) for (const address of words.listen) await this.listen(address);
    else {
      await this.listen('0.0.0.0');
      await this.listen('::').catch(error => this.print(`IPv4 alone: ${error.message}`));
    }
    this.tun = openTun(
      {
        name: words.tun,
        mtuBytes: innerMtuBytes,
        addresses: kept.networks.map(network => network.own),
      },
      (bytes, start, end) => this.hearInternet(bytes.subarray(start, end)),
      this.breakDown,
    );
    const where = this.sockets
      .map(socket => socket.address())
      .map(({ address, port }) => `${address} ${port}`);
    const count = [...kept.provider.statements()].length;
    const networks = kept.networks.map(network => network.text).join(' and ');
    await this.print(
      `${count} members, at ${where.join(' and ')}; ${networks} behind ${this.tun.name}; Ctrl-C stops`,
    );
  }

  counts(): Counts {
    const { tun, kept, counters } = this;
    const ofTun = Object.entries(tun?.counters.snapshot() ?? {}).map(([name, count]) => [
      `tun.${name}`,
      count,
    ]);
    return { ...kept.counts(), ...counters.snapshot(), ...Object.fromEntries(ofTun) };
  }

  close(): void {
    clearTimeout(this.pollTimer);
    clearTimeout(this.flushTimer);
    this.tun?.close();
    // What is still held for the store has no way out.
    this.held = [];
    for (const socket of this.sockets) socket.close();
    this.sockets.length = 0;
  }

  /** Somebody was registered: his neighbours, and he, are told as soon as they are heard. */
  introduceAnew(member: number): void {
    for (const one of [member, ...this.kept.peersOf(member)]) {
      const reach = this.reaches.get(one);
      if (!reach) continue;
      reach.introduceAt = 0;
      reach.introduceMs = introduceFirstMs;
    }
  }

  private listen(address: string): Promise<void> {
    const { port } = this.words;
    const what = `--listen ${address} --port ${port}`;
    const bytes = parseAddress(address);
    if (!bytes)
      return Promise.reject(new Error(`--listen: expected an IPv4 or IPv6 address, got ${address}`));
    const family = bytes.length === 4 ? 4 : 6;
    const socket = createSocket({
      type: `udp${family}`,
      ipv6Only: family === 6,
      recvBufferSize: receiveBufferBytes,
      // Addresses are all we send to: nothing to look up, a turn of the event loop spared.
      lookup: (host, _options, done) => done(null, host, family),
    });
    return new Promise((resolve, reject) => {
      socket.once('error', error => reject(new Error(`${what}: ${error.message}`)));
      socket.bind(port, address, () => {
        socket.removeAllListeners('error');
        socket.on('error', error => void this.print(`${what}: ${error.message}`));
        socket.on('message', (payload, from) => this.hearMember(socket, payload, from.address, from.port));
        this.sockets.push(socket);
        resolve();
      });
    });
  }

  private hearMember(socket: Socket, payload: Uint8Array, address: string, port: number): void {
    const at = now();
    this.counters.add('datagrams.in');
    const result = this.kept.provider.receive(at, payload);
    // What an envelope held was found wanting only if the envelope was authentic and new.
    if (result.ok || result.reason.startsWith('inner-'))
      this.noteEndpoint(at, readUint32(payload, 2), socket, address, port);
    if (result.ok) this.deliver(result.value);
    this.settle(at);
  }

  private noteEndpoint(at: number, member: number, socket: Socket, address: string, port: number): void {
    const reach = this.reachOf(member);
    const { endpoint } = reach;
    if (endpoint?.port !== port || endpoint.address !== address || endpoint.socket !== socket)
      reach.endpoint = { socket, address, port };
    if (at < reach.introduceAt) return;
    for (const peer of this.kept.peersOf(member)) {
      const told = this.kept.provider.introduce(member, peer);
      if (told.ok) this.send(told.value[0]);
      this.counters.add(told.ok ? 'introductions' : 'introductions.not-possible');
    }
    reach.introduceAt = at + reach.introduceMs;
    reach.introduceMs = Math.min(2 * reach.introduceMs, introduceLastMs);
  }

  private reachOf(member: number): Reach {
    let reach = this.reaches.get(member);
    if (!reach) {
      reach = { endpoint: undefined, carrier: noCarrier, introduceAt: 0, introduceMs: introduceFirstMs };
      this.reaches.set(member, reach);
    }
    return reach;
  }

  private deliver({ member, carrier, packet }: Delivery): void {
    this.reachOf(member).carrier = carrier;
    if (this.memberIn(packet, 'source') !== member) {
      this.counters.add('packets.not-its-address');
      return;
    }
    this.counters.add('packets.out');
    this.tun?.send(packet);
  }

  private hearInternet(packet: Uint8Array): void {
    const to = this.memberIn(packet, 'destination');
    if (to === undefined) {
      this.counters.add('packets.no-member');
      return;
    }
    const reach = this.reaches.get(to);
    if (!reach) {
      this.counters.add('packets.not-heard');
      return;
    }
    this.counters.add('packets.in');
    const at = now();
    const { provider } = this.kept;
    let sent = provider.send(at, { to, carrier: reach.carrier, packet });
    if (!sent.ok && reach.carrier !== noCarrier) {
      // The neighbour has not brought anything of it lately, or it may not take any more.
      reach.carrier = noCarrier;
      sent = provider.send(at, { to, carrier: noCarrier, packet });
    }
    if (sent.ok) this.send(sent.value);
    this.settle(at);
  }

  /** Whose address a packet has (RFC 791 §3.1, RFC 8200 §3). */
  private memberIn(packet: Uint8Array, field: 'source' | 'destination'): number | undefined {
    const isIpv4 = packet[0] >>> 4 === 4;
    const [at, lengthBytes] = isIpv4 ? [12, 4] : [8, 16];
    if (packet.length < at + 2 * lengthBytes || (!isIpv4 && packet[0] >>> 4 !== 6)) return undefined;
    for (const network of this.kept.networks)
      if (network.lengthBytes === lengthBytes)
        return network.memberAt(packet, field === 'source' ? at : at + lengthBytes);
    return undefined;
  }

  private send(datagram: Datagram): void {
    if (this.kept.isHolding) {
      if (this.held.length < heldDatagrams) this.held.push(datagram);
      else this.counters.add('datagrams.held-full');
      return;
    }
    const endpoint = this.reaches.get(datagram.member)?.endpoint;
    if (!endpoint) {
      this.counters.add('datagrams.no-endpoint');
      return;
    }
    const { socket, address, port } = endpoint;
    socket.send(datagram.bytes, port, address, error =>
      this.counters.add(error ? 'datagrams.unsent' : 'datagrams.out'),
    );
  }

  private release(): void {
    const { held } = this;
    this.held = [];
    for (const datagram of held) this.send(datagram);
  }

  /** After each packet: what is due is sent, what changed is kept in time. */
  private settle(at: number): void {
    const { provider } = this.kept;
    if (provider.pollAt() <= at) this.report(at);
    const pollAt = provider.pollAt();
    if (pollAt !== this.pollAt) {
      clearTimeout(this.pollTimer);
      this.pollAt = pollAt;
      if (pollAt !== never)
        this.pollTimer = setTimeout(() => {
          // Timers may come a millisecond early; then there is another.
          this.pollAt = never;
          this.settle(now());
        }, pollAt - at);
    }
    this.flushTimer ??= setTimeout(() => {
      this.flushTimer = undefined;
      provider.flush();
    }, flushMs);
  }

  private report(at: number): void {
    const reports = this.kept.provider.poll(at);
    void this.kept.saved().then(() => {
      if (this.sockets.length > 0) for (const report of reports) this.send(report);
    });
  }
}

async function obey(asked: Request, kept: KeptProvider, running?: RunningProvider): Promise<object> {
  switch (asked?.['request']) {
    case 'register': {
      const registration = await kept.register(asked['name'], asked['aeads'], asked['group']);
      running?.introduceAnew(registration.member);
      return { registration };
    }
    case 'accounts': {
      const accounts = await kept.accounts();
      return running ? { ...accounts, counters: running.counts() } : accounts;
    }
    default:
      throw new Error(`request: expected register or accounts, got ${JSON.stringify(asked?.['request'])}`);
  }
}

/** The answer of the daemon that has the store, or of the store itself. */
async function askOrOpen(store: string, request: { readonly [field: string]: unknown }): Promise<object> {
  const answer = await ask(controlPath(store), request);
  if (answer) return answer;
  const kept = await KeptProvider.open(store, { aeads, log: text => console.error(text) });
  try {
    return await obey(request, kept);
  } finally {
    await kept.close();
  }
}

function controlPath(store: string): string {
  return join(store, 'control');
}

function now(): number {
  return Math.floor(performance.now());
}
