/** `kith provider` with real daemons: a kibbutz of three behind its uplinks and an Internet host, each in its own network namespace. */

import { createSocket, type Socket } from 'node:dgram';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseHex } from '../../agent/core/bytes.js';
import { type Arrival, envelopeOverhead, MemberTunnel, noCarrier } from '../../agent/kibbutz/envelope.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import { parseAddress } from '../../agent/wire/address.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { aes128Gcm } from '../../edge/linux/aead.js';
import { openRawLink, type RawLink } from '../../edge/linux/raw-link.js';
import { ask } from '../../host-sim/cli/control.js';
import type { MemberAccount, RegistrationFile } from '../../host-sim/coordinator/kept-provider.js';
import type { PairStatement } from '../../host-sim/coordinator/provider.js';
import { Namespace } from '../support/namespaces.js';
import { eventually, Process } from '../support/process.js';
import { brokerPrograms, Gateway } from './gateway.js';

const available = Namespace.available({ ...brokerPrograms, ping: 'iputils-ping' });
const maybe = available ? test : test.skip;
const providerAddress = '198.51.100.1';
const providerAddress6 = '2001:db8:1::1';
const internetHost = '203.0.113.2';
const internetHost6 = '2001:db8:2::2';
const port = 49_498;
/** Version and kind on the wire (envelope.ts). */
const own = 0x11;
const carried = 0x12;
const down = 0x13;
const returned = 0x14;
const tailMs = 1_000;
/** Ethernet, IPv4 without options or IPv6, UDP. */
const headersBytes = { 4: 14 + 20 + 8, 6: 14 + 40 + 8 };

const directories: string[] = [];
const links: RawLink[] = [];
const sockets: Socket[] = [];

test.after.each(async () => {
  for (const one of [...links.splice(0), ...sockets.splice(0)]) one.close();
  await Process.killAll();
  Namespace.removeAll();
  Gateway.removeAll();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function newStore(): string {
  const directory = mkdtempSync(join(tmpdir(), 'kith-provider-'));
  directories.push(directory);
  return join(directory, 'store');
}

/** The provider's namespace, with its service address, and the Internet host behind it. */
function internet(): { readonly net: Namespace; readonly host: Namespace } {
  const [net, host] = [Namespace.make(), Namespace.make()];
  withLinkLocal(net);
  net.connect('inet', host, 'eth');
  net.run('ip', 'address', 'add', `${providerAddress}/32`, 'dev', 'lo');
  net.run('ip', 'address', 'add', '203.0.113.1/24', 'dev', 'inet');
  net.run('ip', 'address', 'add', `${providerAddress6}/128`, 'dev', 'lo');
  net.run('ip', 'address', 'add', '2001:db8:2::1/64', 'dev', 'inet', 'nodad');
  for (const path of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'])
    net.run('sh', '-c', `echo 1 >/proc/sys/net/${path}`);
  host.run('ip', 'address', 'add', `${internetHost}/24`, 'dev', 'eth');
  host.run('ip', 'address', 'add', `${internetHost6}/64`, 'dev', 'eth', 'nodad');
  host.run('ip', 'route', 'add', 'default', 'via', '203.0.113.1');
  host.run('ip', 'route', 'add', 'default', 'via', '2001:db8:2::1');
  return { net, host };
}

/** Interfaces made from now on have link-local addresses at once: who forwards IPv6 asks for neighbours from them. */
function withLinkLocal(inside: Namespace): void {
  for (const name of ['accept_dad', 'addr_gen_mode'])
    inside.run('sh', '-c', `echo 0 >/proc/sys/net/ipv6/conf/default/${name}`);
}

function startProvider(net: Namespace, store: string, ...more: readonly string[]): Promise<Process> {
  const command = net.command(process.execPath, ...providerWords(store), ...more);
  return Process.start(...splitFirst(command), /Ctrl-C stops/);
}

function providerWords(store: string): string[] {
  const networks = ['--ipv4', '10.107.0.0/16', '--ipv6', 'fd6b:6974:68::/64'];
  const addresses = ['--listen', providerAddress, providerAddress6];
  return Process.kithArguments(['provider', '--store', store, ...addresses, ...networks]);
}

function splitFirst([program, ...args]: readonly [string, ...string[]]): [string, string[]] {
  return [program, args];
}

/** As the command asks the daemon; a process for each would be most of what this file takes. */
async function registered(store: string, name: string): Promise<RegistrationFile> {
  const request = { request: 'register', name, aeads: [1], group: 'home' };
  return ((await ask(join(store, 'control'), request)) as { registration: RegistrationFile }).registration;
}

async function kith(...words: readonly string[]): Promise<string> {
  const { code, output } = await Process.runKith(['provider', ...words]);
  if (code !== 0) throw new Error(output);
  return output;
}

interface Books {
  readonly members: Record<string, MemberAccount>;
  readonly pairs: readonly PairStatement[];
  readonly counters: Record<string, number>;
}

/** As the daemon has them. */
async function booksOf(store: string): Promise<Books> {
  const { members, ...more } = (await ask(join(store, 'control'), { request: 'accounts' })) as Omit<
    Books,
    'members'
  > & { readonly members: readonly MemberAccount[] };
  return { members: Object.fromEntries(members.map(one => [one.name, one])), ...more };
}

/** The payloads of UDP over IPv4 that come in at an interface. */
function overhear(inside: Namespace, name: string, payloads: Buffer[] = []): Buffer[] {
  const link = inside.enter(() =>
    openRawLink(
      { interface: name, promiscuous: true },
      (bytes, start, end) => {
        const frame = bytes.subarray(start, end);
        const version = frame[12] === 8 ? 4 : frame[12] === 0x86 ? 6 : undefined;
        if (version !== undefined && frame[version === 4 ? 23 : 20] === 17)
          payloads.push(Buffer.from(frame.subarray(headersBytes[version])));
      },
      error => assert.unreachable(error.message),
    ),
  );
  links.push(link);
  return payloads;
}

/** What an uplink has carried for others. */
function carriedBytes(payloads: readonly Buffer[]): number {
  let sum = 0;
  for (const payload of payloads)
    if (payload[0] === carried || payload[0] === returned) sum += payload.length;
  return sum;
}

const names = ['a', 'b', 'c'] as const;
type Name = (typeof names)[number];

interface World {
  readonly store: string;
  readonly gateways: Record<Name, Gateway>;
  /** What has passed each uplink, up and down. */
  readonly wires: Record<Name, Buffer[]>;
}

/** Three members on one local link, each with an uplink of its own; introduced to each other by what they say first. */
async function kibbutz(policy: 'paper' | 'kith'): Promise<World> {
  const { net } = internet();
  const store = newStore();
  await startProvider(net, store);
  const air = Namespace.make();
  air.run('ip', 'link', 'add', 'air', 'type', 'bridge', 'mcast_snooping', '0');
  air.run('ip', 'link', 'set', 'air', 'up');
  const [gateways, wires] = [{} as World['gateways'], {} as World['wires']];
  for (const [i, name] of names.entries()) {
    const inside = Namespace.make();
    withLinkLocal(inside);
    inside.connect('wlan', air, `air-${name}`);
    air.run('ip', 'link', 'set', `air-${name}`, 'master', 'air');
    inside.connect('wwan', net, `wwan-${name}`);
    net.run('ip', 'address', 'add', `10.0.${i}.1/30`, 'dev', `wwan-${name}`);
    inside.run('ip', 'address', 'add', `10.0.${i}.2/30`, 'dev', 'wwan');
    inside.run('ip', 'route', 'add', providerAddress, 'via', `10.0.${i}.1`);
    net.run('ip', 'address', 'add', `fd00:${i}::1/64`, 'dev', `wwan-${name}`, 'nodad');
    inside.run('ip', 'address', 'add', `fd00:${i}::2/64`, 'dev', 'wwan', 'nodad');
    inside.run('ip', 'route', 'add', providerAddress6, 'via', `fd00:${i}::1`);
    // Each end hears what comes in.
    wires[name] = overhear(inside, 'wwan', overhear(net, `wwan-${name}`));
    const gateway = new Gateway(inside);
    gateways[name] = gateway;
    gateway.write('registration.json', JSON.stringify(await registered(store, name)));
    gateway.configure({
      links: [{ name: 'local', interface: 'wlan' }],
      jobs: {
        kibbutz: {
          registrationFile: 'registration.json',
          local: { interface: 'wlan' },
          provider: { host: name === 'c' ? providerAddress6 : providerAddress, port },
          policy,
          owner: { minimumPacketsPerMinute: 0 },
          tail: `${tailMs}ms`,
          promotion: '100ms',
          exchange: '200ms',
          uplinkBitsPerSecond: 2_000_000,
        },
      },
    });
    await gateway.startBroker();
    await gateway.listen();
    await run(gateway);
  }
  for (const gateway of Object.values(gateways))
    await eventually('the neighbours', () => {
      ping(gateway);
      return gateway.heard('event/neighbour').length === 2;
    });
  return { store, gateways, wires };
}

/** Starts the daemon, and routes the Internet into its device. */
async function run(gateway: Gateway): Promise<void> {
  await gateway.start();
  await gateway.ready();
  await route(gateway);
}

async function route(gateway: Gateway): Promise<void> {
  await eventually('the route', () => {
    try {
      for (const to of [internetHost, internetHost6])
        gateway.namespace.run('ip', 'route', 'replace', to, 'dev', 'kith');
      return true;
    } catch {
      return false;
    }
  });
}

/** How many of `count` echoes the Internet host answered. */
function ping(gateway: Gateway, count = 1, to = internetHost): number {
  try {
    const said = gateway.namespace.run('ping', '-n', '-c', `${count}`, '-i', '0.2', '-W', '2', to);
    return Number(/(\d+) received/.exec(said)?.[1]);
  } catch {
    return 0;
  }
}

function ledgerOf(gateway: Gateway, member: number): Record<string, number> {
  const neighbours = gateway.last('ledger')?.['neighbours'] as
    | Record<number, Record<string, number>>
    | undefined;
  return neighbours?.[member] ?? {};
}

/** Until no offer stands, and nobody goes on through the link it used last (docs/kibbutz.md, policy `paper`). */
function quiet(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 2.5 * tailMs));
}

/** `b` wakes its radio, and `a` sends `count` echoes meanwhile: whether all came back without a's own radio. */
async function goesThrough({ gateways, wires }: World, count: number): Promise<boolean> {
  await quiet();
  ping(gateways.b);
  const before = wires.a.length;
  const isAnswered = ping(gateways.a, count) === count;
  await new Promise(setImmediate);
  return isAnswered && wires.a.length === before;
}

/** The accounts, once they say of each member what its uplink carried for others; as much was taken as given. */
async function agreedBooks({ store, wires }: World): Promise<Books> {
  let books = await booksOf(store);
  await eventually('the books to agree with the wire', async () => {
    books = await booksOf(store);
    return names.every(name => books.members[name]?.givenBytes === carriedBytes(wires[name]));
  });
  const sums = [0, 0];
  for (const { givenBytes, takenBytes } of Object.values(books.members)) {
    sums[0] += givenBytes;
    sums[1] += takenBytes;
  }
  assert.is(sums[0], sums[1]);
  return books;
}

/** What b carried for a. */
function pairOf({ members, pairs }: Books): PairStatement | undefined {
  return pairs.find(one => one.carrier === members['b']?.member && one.sender === members['a']?.member);
}

maybe(
  'a goes by its own uplink, and through b; provider and ledgers agree with the wire to the byte, and b stops when a has taken enough',
  async () => {
    const world = await kibbutz('paper');
    const { store, gateways, wires } = world;
    const { a, b, c } = gateways;
    await quiet();
    const before = wires.a.length;
    assert.is(ping(a), 1);
    await eventually('its own way', () =>
      [own, down].every(kind => wires.a.slice(before).some(one => one[0] === kind)),
    );
    await eventually('the way through b', () => goesThrough(world, 3), 60_000);
    assert.ok(c.counter('kibbutz', 'advertisements.received') > 0);
    // By an IPv6 uplink, and an IPv6 packet.
    assert.equal([ping(c), ping(a, 1, internetHost6), ping(c, 1, internetHost6)], [1, 1, 1]);

    const books = await agreedBooks(world);
    const pair = pairOf(books)!;
    assert.ok(pair.accepted >= 3 && pair.downBytes >= pair.upBytes);

    // An orderly end saves all exactly, and a start reports it.
    for (const gateway of [a, b]) {
      assert.is(await gateway.daemon?.kill('SIGTERM'), 0);
      await run(gateway);
    }
    const bytes = pair.upBytes + pair.downBytes;
    await eventually(
      'the ledgers to agree',
      () => ledgerOf(a, 2)['taken'] === bytes && ledgerOf(b, 1)['given'] === bytes,
    );
    const { credit, given } = ledgerOf(b, 1);
    assert.ok(credit < 5);

    await eventually('the way through b again', () => goesThrough(world, 1), 60_000);
    await b.daemon?.kill('SIGKILL');
    await run(b);
    await eventually('the ledger of before the crash', () => {
      const after = ledgerOf(b, 1);
      return after['credit'] < credit && after['given'] >= given;
    });

    // New keys: the old ones stop working, the new ones are taken over with the file, and the neighbours hear of it.
    const anew = JSON.parse(await kith('register', 'c', '--store', store));
    assert.equal([anew.member, anew.generation], [3, 2]);
    assert.is(ping(c), 0);
    c.write('registration.json', JSON.stringify(anew));
    process.kill(c.daemon?.pid as number, 'SIGHUP');
    await c.daemon?.says(/runs anew/);
    await route(c);
    await eventually('the neighbours again', () => {
      ping(c);
      return c.heard('event/neighbour').length === 4;
    });

    await quiet();
    ping(b);
    const answered = ping(a, 40);
    await eventually('b to refuse', () => b.counter('kibbutz', 'refused.credit') > 0);
    assert.ok(answered >= 36, `${answered} of 40 answered`);
    await eventually('no credit left', () => {
      ping(a);
      return b.counter('kibbutz', 'refused.credit') > 0;
    });
  },
);

maybe(
  'policy kith: three who talk at once share their uplinks, nothing is lost, and all agrees to the byte',
  async () => {
    const world = await kibbutz('kith');
    const { gateways } = world;
    const pings = names.map(name => {
      const words = ['ping', '-n', '-c', '20', '-i', '0.3', '-W', '2', internetHost] as const;
      return Process.run(...splitFirst(gateways[name].namespace.command(...words)));
    });
    for (const { output } of await Promise.all(pings)) assert.match(output, / 20 received/);
    const { pairs } = await agreedBooks(world);
    assert.ok(pairs.reduce((sum, { accepted }) => sum + accepted, 0) >= 20, JSON.stringify(pairs));
    for (const name of names) {
      assert.is(await gateways[name].daemon?.kill('SIGTERM'), 0);
      await run(gateways[name]);
    }
    for (const { carrier, sender, upBytes, downBytes } of pairs)
      await eventually('the ledgers to agree', () => {
        const [giver, taker] = [gateways[names[carrier - 1]], gateways[names[sender - 1]]];
        const bytes = upBytes + downBytes;
        return ledgerOf(giver, sender)['given'] === bytes && ledgerOf(taker, carrier)['taken'] === bytes;
      });
  },
);

/** A member of this process's own, at a socket of `inside`, with what comes to it. */
function member(inside: Namespace, registration: RegistrationFile) {
  const tunnel = new MemberTunnel({
    member: registration.member,
    aead: aes128Gcm,
    deviceKey: parseHex(registration.key) as Uint8Array,
    reserve: new NonceReserve({ savedThrough: 0, save: () => true }),
    controlSeenThrough: 0,
  });
  const arrivals: Arrival[] = [];
  const socket = inside.enter(() => {
    // Opened within the call: nothing is looked up later.
    const opened = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
    opened.bind(0, internetHost);
    return opened;
  });
  sockets.push(socket);
  socket.on('message', payload => arrivals.push(must(tunnel.receive(payload))));
  const send = (payload: Uint8Array) =>
    new Promise(resolve => socket.send(payload, port, providerAddress, resolve));
  return { tunnel, arrivals, send };
}

function must<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string },
): T {
  if (!result.ok) throw new Error(`expected a value, got ${result.reason}`);
  return result.value;
}

/** An ICMP echo request (RFC 792) to the Internet host. */
function echo(from: string): Uint8Array {
  const packet = new Uint8Array(28);
  packet.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1]);
  packet.set(parseAddress(from) as Uint8Array, 12);
  packet.set(parseAddress(internetHost) as Uint8Array, 16);
  packet[20] = 8;
  for (const [at, start, end] of [
    [10, 0, 20],
    [22, 20, 28],
  ]) {
    const sum = internetChecksum(packet, start, end);
    packet.set([sum >>> 8, sum & 255], at);
  }
  return packet;
}

maybe(
  'what is no good is counted by reason and told its forwarder; killed and started anew, the provider counts each packet once',
  async () => {
    const { net, host } = internet();
    const store = newStore();
    const first = await startProvider(net, store);
    const [forA, forB] = [await registered(store, 'a'), await registered(store, 'b')];
    const [a, b] = [member(host, forA), member(host, forB)];
    const carry = (packet: Uint8Array) => must(b.tunnel.carry(must(a.tunnel.seal(packet, 2)), 1));
    const good = echo('10.107.0.2');

    const sealed = must(a.tunnel.seal(good, noCarrier));
    const broken = must(a.tunnel.seal(good, noCarrier)).map((byte, i) => (i === 20 ? byte ^ 1 : byte));
    const stranger = Uint8Array.from(sealed).fill(9, 2, 6);
    const bad: readonly (readonly [string, Uint8Array])[] = [
      ['truncated', sealed.subarray(0, 29)],
      ['bad-version', Uint8Array.from(sealed).fill(0x21, 0, 1)],
      ['bad-kind', Uint8Array.from(sealed).fill(0x1f, 0, 1)],
      ['bad-member', Uint8Array.from(sealed).fill(0, 2, 6)],
      ['bad-nonce', Uint8Array.from(sealed).fill(0, 6, 14)],
      ['bad-aead', Uint8Array.from(sealed).fill(9, 1, 2)],
      ['unknown-member', stranger],
      ['bad-tag', broken],
      ['replayed', sealed],
      ['packets.not-its-address', must(a.tunnel.seal(echo('10.107.0.3'), noCarrier))],
      ['packets.not-its-address', must(a.tunnel.seal(new Uint8Array(3), noCarrier))],
    ];
    await a.send(sealed);
    // None of it but A's own shows the provider where A is.
    for (const [reason, payload] of bad) await (reason.startsWith('packets.') ? a : b).send(payload);
    await eventually('the answer', () => a.arrivals.some(({ kind }) => kind === 'packet'));
    await eventually('everything counted', async () => {
      const { counters } = await booksOf(store);
      return bad.every(([reason]) => counters[reason] === bad.filter(one => one[0] === reason).length);
    });

    const [heardBefore, elsewhere] = [a.arrivals.length, b.arrivals.length];
    assert.throws(() => host.run('ping', '-n', '-c', '1', '-W', '1', '10.107.0.2'));
    await eventually('what the Internet sent', () => a.arrivals.length > heardBefore);
    assert.is(b.arrivals.length, elsewhere);

    // B, who means no harm, carries what A cannot have meant to send.
    for (let i = 0; i < 4; i++)
      await b.send(
        must(
          b.tunnel.carry(
            must(a.tunnel.seal(good, 2)).map((byte, at) => (at === 20 ? byte ^ 1 : byte)),
            1,
          ),
        ),
      );
    await eventually('a drop report', () => b.arrivals.some(({ kind }) => kind === 'drop-report'));
    const report = b.arrivals.find(({ kind }) => kind === 'drop-report') as Arrival & { kind: 'drop-report' };
    assert.equal(
      [report.report[0].sender, report.report[0].accepted, report.report[0].dropped[2]],
      [1, 0, 4],
    );
    assert.is((await booksOf(store)).counters['inner-bad-tag'], 4);

    // Some of these are on disk when it is killed, the last ones hardly.
    const carriedOnes = Array.from({ length: 40 }, () => carry(good));
    for (const one of carriedOnes.slice(0, 20)) await b.send(one);
    await eventually('half of them', async () => (await booksOf(store)).pairs[0].accepted === 20);
    for (const one of carriedOnes.slice(20)) await b.send(one);
    await first.kill('SIGKILL');
    // Nobody listens at the socket it left: the command opens the store itself.
    const lines = (await kith('accounts', '--json', '--store', store)).trim().split('\n');
    const { pair: onDisk } = JSON.parse(lines.at(-1) as string);
    assert.ok(onDisk.accepted >= 20 && onDisk.accepted <= 40, lines.join());
    const second = await startProvider(net, store);
    for (const one of [...carriedOnes, ...carriedOnes, sealed]) await b.send(one);
    await eventually('each once', async () => (await booksOf(store)).pairs[0].accepted === 40);
    const { members, pairs, counters } = await booksOf(store);
    const upBytes = 40 * (good.length + 2 * envelopeOverhead);
    assert.is(pairs[0].upBytes, upBytes);
    assert.equal(
      [members['b'].givenBytes, members['a'].takenBytes],
      [pairs[0].upBytes + pairs[0].downBytes, pairs[0].upBytes + pairs[0].downBytes],
    );
    assert.is((counters['replayed'] ?? 0) + (counters['too-old'] ?? 0), 81 - (40 - onDisk.accepted));
    // And it goes on, its own numbers too.
    const before = a.arrivals.length;
    await a.send(must(a.tunnel.seal(good, noCarrier)));
    await eventually('an answer', () => a.arrivals.length > before);
    assert.is(a.arrivals.at(-1)?.kind, 'packet');

    const twice = await Process.run(...splitFirst(net.command(process.execPath, ...providerWords(store))));
    assert.is(twice.code, 1);
    assert.match(twice.output, /is in use by another process: stop it, or name another directory/);
    assert.is(await second.kill('SIGTERM'), 0);
    assert.match(second.output, /stopping; counted \{/);

    // The request is the last that A may have carried; its answer comes over A's own uplink.
    const said = await kith('accounts', '--store', store);
    const takenBytes = Number(/^a: member 1 of home, .*taken (\d+) B$/m.exec(said)?.[1]);
    await startProvider(net, store, '--allowance', `${takenBytes}`);
    for (const send of [() => a.send(must(a.tunnel.seal(good, noCarrier))), () => b.send(carry(good))]) {
      const heard = a.arrivals.filter(({ kind }) => kind === 'packet').length;
      await send();
      await eventually('an answer', () => a.arrivals.filter(({ kind }) => kind === 'packet').length > heard);
    }
    await b.send(carry(good));
    await eventually('a refusal', async () => (await booksOf(store)).counters['inner-over-allowance'] === 1);
    const last = await booksOf(store);
    assert.equal(
      [last.members['a'].refused, last.members['a'].takenBytes],
      [true, takenBytes + good.length + 2 * envelopeOverhead],
    );
    assert.is(last.counters['sent-over-allowance'], 1);
  },
);

test('what is wrong with the words is named, and what is no store of a provider is left alone', async () => {
  const store = newStore();
  const open = mkdtempSync(join(tmpdir(), 'kith-provider-'));
  directories.push(open);
  chmodSync(open, 0o755);
  const good = ['--ipv4', '10.107.0.0/16'];
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /--ipv4, --ipv6: expected at least one of them/],
    [['--ipv4', '10.107.0.1/16'], /--ipv4: expected a network .*, got 10\.107\.0\.1\/16, which has bits/],
    [['--ipv4', '10.107.0.0'], /--ipv4: expected a network with 8 to 30 bits/],
    [['--ipv6', '10.107.0.0/16'], /--ipv6: expected a network with 64 to 126 bits/],
    [[...good, '--listen', 'example'], /--listen: expected an IPv4 or IPv6 address, got example/],
    [[...good, '--listen', '192.0.2.1'], /--listen 192\.0\.2\.1 --port 49498: .*EADDRNOTAVAIL/],
    [[...good, '--port', '65536'], /--port.*expected a whole number from 0 to 65535/],
    [
      [...good, '--store', open],
      /--store .*: expected a directory that only its owner can read \(chmod 700\)/,
    ],
    [[...good, '--members', '0'], /--members.*expected a whole number from 1/],
    [['register', 'x', '--aead', 'des'], /--aead.*expected some of aes-128-gcm/],
    [['register', 'x\ty'], /name: expected 1\.\.64 printable characters/],
  ];
  for (const [words, expected] of cases) {
    const where = words.includes('--store') ? [] : ['--store', store];
    const at = words[0] === 'register' ? 2 : 0;
    const { code, output } = await Process.runKith([
      'provider',
      ...words.slice(0, at),
      ...where,
      ...words.slice(at),
    ]);
    assert.is(code, 1, output);
    assert.match(output, expected);
  }
});

test.run();
