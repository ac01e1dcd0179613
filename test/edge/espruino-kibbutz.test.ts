import { createSocket, type Socket } from 'node:dgram';
import { type AddressInfo, connect as connectTcp, createServer, type Server } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Agent } from '../../agent/agent.js';
import { decodeUtf8, encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { envelopeOverhead, parseEnvelope, SendingLane } from '../../agent/kibbutz/envelope.js';
import { pairKey } from '../../agent/kibbutz/introduction.js';
import { kibbutzJob } from '../../agent/kibbutz/job.js';
import { kibbutzGroup4 } from '../../agent/kibbutz/member-settings.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import { newRegistration, registrationKey } from '../../agent/kibbutz/saved-state.js';
import { parseSignal, signalKinds } from '../../agent/kibbutz/signal.js';
import { defaultLimits } from '../../agent/limits.js';
import { decodeCbor } from '../../agent/message/cbor.js';
import { descriptors, type Ledger } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { buildFirmware } from '../../edge/espruino/build.js';
import { SmallAgent } from '../../edge/espruino/small-agent.js';
import { kibbutzCounters, type SmallKibbutz, smallKibbutz } from '../../edge/espruino/small-kibbutz.js';
import { aeads, aes128Ccm } from '../../edge/linux/aead.js';
import { innerMtuBytes } from '../../edge/linux/kibbutz-sockets.js';
import { Provider, type Registration } from '../../host-sim/coordinator/provider.js';

import { Namespace } from '../support/namespaces.js';
import { eventually } from '../support/process.js';
import { faultsOf, onBoard, report } from './espruino-board.js';

const topicOf = (leaf: string) => `kith/1/home/esp-1/${leaf}`;
const phoneAddress = '10.7.0.2';
const boardAddress = '10.7.0.1';
const master = new Uint8Array(16).fill(0x42);
const localMs = 2;
const uplinkMs = 50;
const tailMs = 10_000;
const localPort = 49_497;
const providerPort = 4_000;

function must<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string },
): T {
  if (!result.ok) throw new Error(`expected a value, got ${result.reason}`);
  return result.value;
}

/** What is around a phone. */
interface Around {
  readonly now: number;
  readonly provider: Provider;
  toBoard(from: Phone, payload: Uint8Array): void;
  up(payload: Uint8Array): void;
}

/** A board and phones around one local link, the provider behind, and a server that answers every packet backwards. */
class World implements Around {
  now = 0;
  readonly provider = new Provider({ master, aeads, save: () => undefined });
  readonly board: Board;
  readonly phones: Phone[] = [];
  readonly arrived: string[] = [];
  private flights: { readonly at: number; readonly land: () => void }[] = [];

  constructor(
    phones: number,
    changed: Partial<{ readonly credit: number; readonly policy: 'paper' | 'kith' }> = {},
  ) {
    this.board = new Board(this, changed.credit ?? 5);
    for (let i = 0; i < phones; i++) this.phones.push(new Phone(this, i, changed.policy ?? 'paper'));
    for (const phone of this.phones) this.introduce(phone);
    this.run(200);
  }

  introduce(phone: Phone): void {
    for (const { member, bytes } of must(this.provider.introduce(this.board.member, phone.member)))
      this.down(member, bytes);
  }

  schedule(delayMs: number, land: () => void): void {
    const at = this.now + delayMs;
    let i = this.flights.length;
    while (i > 0 && this.flights[i - 1]!.at > at) i--;
    this.flights.splice(i, 0, { at, land });
  }

  run(spanMs: number): void {
    const until = this.now + spanMs;
    for (;;) {
      const parts = [this.board, ...this.phones];
      this.now = Math.max(
        this.now,
        Math.min(
          until,
          this.flights[0]?.at ?? Infinity,
          this.provider.pollAt(),
          ...parts.map(part => part.pollAt()),
        ),
      );
      if (this.flights[0] && this.flights[0].at <= this.now) this.flights.shift()!.land();
      for (const { member, bytes } of this.provider.poll(this.now)) this.down(member, bytes);
      for (const part of parts) part.poll();
      if (this.now >= until && !(this.flights[0] && this.flights[0].at <= until)) return;
    }
  }

  up(payload: Uint8Array): void {
    this.schedule(uplinkMs, () => {
      const result = this.provider.receive(this.now, payload);
      if (!result.ok) {
        this.arrived.push(result.reason);
        return;
      }
      const { member, carrier, packet } = result.value;
      this.arrived.push(`${member}/${carrier} ${decodeUtf8(packet)!.trim()}`);
      if (packet.length === 0) return;
      const answer = this.provider.send(this.now, { to: member, carrier, packet: packet.slice().reverse() });
      if (answer.ok) this.down(answer.value.member, answer.value.bytes);
    });
  }

  toBoard(from: Phone, payload: Uint8Array): void {
    this.schedule(localMs, () => this.board.hear(payload, localPort, from.address));
  }

  down(member: number, payload: Uint8Array): void {
    this.schedule(uplinkMs, () => {
      if (member === this.board.member) this.board.hear(payload, providerPort, 'provider');
      else this.phones.find(phone => phone.member === member)!.give('uplink', payload);
    });
  }

  news(): string[] {
    return this.arrived.splice(0);
  }
}

class Board {
  registration: Registration;
  /** Everything that came to it. */
  readonly heard: Uint8Array[] = [];
  saved: { [key: string]: Uint8Array } = {};
  saves = 0;
  /** The record's key and what it may use: none twice. */
  readonly numbers = new Set<string>();
  readonly signals: string[] = [];
  isStorageFull = false;
  agent!: SmallAgent;
  private job!: SmallKibbutz;
  private readonly world: World;
  private readonly credit: number;
  boot = 0xfffff000;
  private bornAt = 0;
  ledger: Ledger['neighbours'] | undefined;
  ledgers = 0;
  jobs: unknown;

  constructor(world: World, credit: number) {
    this.world = world;
    this.credit = credit;
    this.registration = must(world.provider.register('board', [3]));
    this.start();
  }

  get member(): number {
    return this.registration.member;
  }

  /** Also after the power failed: what it did not keep is gone. */
  start(): void {
    this.bornAt = this.world.now;
    this.agent = new SmallAgent(0, {
      site: 'home',
      node: 'esp-1',
      firmware: 'test 1',
      boot: '00000001',
      jobCounters: kibbutzCounters,
      makeJob: (_, voice) => {
        const { member, generation, key } = this.registration;
        const settings = {
          member,
          generation,
          key: [...key],
          provider: { host: 'provider', port: providerPort },
          group: 'group',
          port: localPort,
          tail: tailMs,
          credit: this.credit,
        };
        this.job = smallKibbutz(voice, settings, ++this.boot, { ...this.saved }, aes128Ccm, {
          keep: (key, record) => {
            if (this.isStorageFull) return false;
            this.saves++;
            const [before, after] = [this.saved[key], record].map(one =>
              one ? (JSON.parse(decodeUtf8(one)!) as number[]) : [0, 0, 0],
            ) as [number[], number[]];
            assert.ok(after[1]! >= before[1]! && after[2]! >= before[2]!, 'no reservation is taken back');
            this.saved[key] = record;
            return true;
          },
          send: (datagram, port, address) => this.send(datagram, port, address),
        });
        return this.job;
      },
    });
    this.agent.receive(0, { kind: 'bus-up' });
    this.drain();
  }

  get clock(): number {
    return this.world.now - this.bornAt;
  }

  /** It says something over MQTT. */
  wake(): void {
    this.job.sentOwn(this.clock);
    this.drain();
  }

  hear(payload: Uint8Array, port: number, address: string): void {
    this.heard.push(payload);
    this.job.hear(this.clock, payload.slice(), port, address);
    this.drain();
  }

  pollAt(): number {
    return this.bornAt + this.agent.pollAt();
  }

  poll(): void {
    if (this.pollAt() > this.world.now) return;
    this.agent.poll(this.clock);
    this.drain();
  }

  count(name: (typeof kibbutzCounters)[number]): number {
    return this.agent.counters.get(name);
  }

  private drain(): void {
    for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift()) {
      if (effect.kind !== 'publish') continue;
      const leaf = effect.topic.split('/')[4] as 'ledger';
      if (!(leaf in descriptors)) continue;
      const value = must(decodeCbor(effect.payload, { depth: 8 }));
      assert.is(validate(descriptors[leaf], value), undefined, effect.topic);
      if (leaf === ('info' as string)) this.jobs = (value as { jobs: unknown }).jobs;
      if (leaf !== 'ledger') continue;
      assert.ok(effect.retain);
      this.ledger = (value as unknown as Ledger).neighbours;
      this.ledgers++;
    }
  }

  private send(datagram: Uint8Array, port: number, address: string): void {
    const [record] = Object.values(this.saved);
    const [, nonceThrough, sequenceThrough] = JSON.parse(decodeUtf8(record!)!);
    const signal = parseSignal(datagram);
    let number: string;
    if (signal.ok) {
      assert.ok(signal.value.sequence <= sequenceThrough, 'a sequence that is not reserved');
      number = `signal ${signal.value.sequence}`;
      this.signals.push(signal.value.kind);
    } else {
      const { nonce, kind } = must(parseEnvelope(datagram));
      assert.ok(nonce <= nonceThrough, 'a nonce that is not reserved');
      number = `${kind === 'hop' ? 'hop' : 'up'} ${nonce}`;
    }
    assert.not(this.numbers.has(number), `${number} again`);
    this.numbers.add(number);
    if (port === providerPort) this.world.up(datagram);
    else
      for (const phone of this.world.phones)
        if (address === 'group' || address === phone.address)
          this.world.schedule(localMs, () => phone.give('local', datagram));
  }
}

class Phone {
  readonly address: string;
  readonly registration: Registration;
  readonly delivered: string[] = [];
  advertisements = 0;
  ledger: Ledger['neighbours'] = {};
  readonly agent: Agent;
  private readonly around: Around;

  constructor(around: Around, place: number, policy: 'paper' | 'kith') {
    this.around = around;
    this.address = `phone-${place}`;
    this.registration = must(around.provider.register(this.address, [1, 3]));
    this.agent = new Agent(0, {
      site: 'home',
      node: this.address,
      firmware: 'test 1',
      platform: 'test',
      boot: `0000100${place}`,
      links: [],
      jobs: [
        kibbutzJob({
          aeads,
          policy,
          tailMs,
          promotionMs: 2_000,
          exchangeMs: 200,
          deferMs: 30_000,
          uplinkBitsPerSecond: Infinity,
          owner: { minimumPacketsPerMinute: 0 },
        }),
      ],
      saved: { [registrationKey]: newRegistration(this.registration) },
      limits: defaultLimits,
    });
    this.agent.receive(0, { kind: 'bus-up', sessionPresent: false });
    this.drain();
  }

  get member(): number {
    return this.registration.member;
  }

  send(text: string): void {
    this.agent.receive(this.around.now, {
      kind: 'packet',
      packet: encodeUtf8(text.padEnd(40)),
      mayWait: false,
    });
    this.drain();
  }

  give(link: 'local' | 'uplink', payload: Uint8Array): void {
    if (payload[0] === signalKinds.advertisement && link === 'local') this.advertisements++;
    const { now } = this.around;
    this.agent.receive(
      now,
      link === 'local'
        ? { kind: 'datagram', link, peer: 'board', payload }
        : { kind: 'datagram', link, payload },
    );
    this.drain();
  }

  pollAt(): number {
    return this.agent.pollAt();
  }

  poll(): void {
    if (this.pollAt() > this.around.now) return;
    this.agent.poll(this.around.now);
    this.drain();
  }

  private drain(): void {
    for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift()) {
      if (effect.kind === 'deliver') this.delivered.push(decodeUtf8(effect.packet.slice().reverse())!.trim());
      if (effect.kind === 'publish' && effect.topic.endsWith('/ledger'))
        this.ledger = (must(decodeCbor(effect.payload, { depth: 4 })) as unknown as Ledger).neighbours;
      if (effect.kind !== 'datagram') continue;
      const payload = effect.payload.slice();
      if (effect.link === 'uplink') this.around.up(payload);
      else this.around.toBoard(this, payload);
    }
  }
}

const bytesEach = 40 + 2 * envelopeOverhead;

test('a phone sends through a board whose radio is up, the answer comes back, and all three count the same bytes', () => {
  const world = new World(2);
  const { board, phones, provider } = world;
  const [phone] = phones as [Phone, Phone];
  assert.equal(board.jobs, ['kibbutz']);
  phone.send('alone');
  world.run(20_000);
  assert.equal(world.news(), ['2/0 alone']);
  board.wake();
  world.run(300);
  assert.equal(world.news(), ['1/0 '], 'it tells the provider where it is');
  phone.send('through the board');
  world.run(300);
  assert.equal(world.news(), ['2/1 through the board']);
  assert.equal(phone.delivered, ['alone', 'through the board']);
  world.run(61_000);
  const [ofBoard, ofPhone] = [provider.statement(1)!, provider.statement(2)!];
  assert.equal([ofBoard.givenBytes, ofPhone.takenBytes], [2 * bytesEach, 2 * bytesEach]);
  assert.equal(board.ledger, {
    2: { given: 2 * bytesEach, taken: 0, credit: 4 },
    3: { given: 0, taken: 0, credit: 5 },
  });
  assert.equal(phone.ledger, { 1: { given: 0, taken: 2 * bytesEach, credit: 6 } });
});

test('each neighbour is carried in as many of our tails as it has credit, then refused, and goes on by its own link', () => {
  const world = new World(2, { credit: 3 });
  const { board, phones } = world;
  const [phone] = phones as [Phone, Phone];
  const ways: string[] = [];
  for (let i = 0; i < 5; i++) {
    world.run(40_000);
    board.wake();
    world.run(300);
    world.news();
    phone.send(`a${i}`);
    phone.send(`b${i}`);
    world.run(2_000);
    ways.push(...world.news());
  }
  assert.equal(ways.slice(0, 6), ['2/1 a0', '2/1 b0', '2/1 a1', '2/1 b1', '2/1 a2', '2/1 b2']);
  assert.equal(ways.slice(6).sort(), ['2/0 a3', '2/0 a4', '2/0 b3', '2/0 b4']);
  assert.is(phone.delivered.length, 10);
  world.run(61_000);
  assert.is(board.ledger![2]!.credit, 0);
  assert.is(board.ledger![3]!.credit, 3);
  assert.is(board.signals.filter(kind => kind === 'advertisement').length, 5, 'the other is still told');
});

test('a packet past the end of the advertisement renews it while the radio is up; with the radio idle it is refused', () => {
  const world = new World(1);
  const { board } = world;
  const [phone] = world.phones as [Phone];
  board.wake();
  world.run(9_000);
  phone.send('within');
  world.run(2_000);
  // The advertisement is over, the radio up since `within` passed.
  phone.send('renews');
  world.run(1_000);
  assert.equal(board.signals, ['advertisement', 'advertisement']);
  world.run(15_000);
  phone.send('too late');
  world.run(1_000);
  assert.is(board.count('refused.idle'), 1);
  assert.equal(world.news().slice(1), ['2/1 within', '2/1 renews', '2/0 too late']);
  assert.equal(phone.delivered, ['within', 'renews', 'too late']);
  assert.is(world.provider.statement(1)!.givenBytes, 4 * bytesEach);
});

test('the power may fail whenever it likes: no number is used twice, and what is accounted for stays so', () => {
  const seed = 37;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'power');
  const world = new World(3, { credit: 1_000 });
  const { board, phones, provider } = world;
  for (let i = 0; i < 400; i++) {
    if (random.chance(0.4)) board.wake();
    if (random.chance(0.7)) phones[random.below(3)]!.send(`${i}`);
    world.run(random.below(random.chance(0.5) ? 100 : 15_000));
    if (random.chance(0.2)) board.start();
    if (random.chance(0.1)) board.isStorageFull = !board.isStorageFull;
  }
  board.isStorageFull = false;
  board.wake();
  world.run(120_000);
  assert.equal(
    world.news().filter(text => !text.includes('/')),
    [],
    'the provider refuses nothing',
  );
  const given = Object.values(board.ledger!).reduce((sum, account) => sum + account.given, 0);
  assert.ok(given <= provider.statement(1)!.givenBytes && given > 0);
  assert.ok(board.count('hops.unknown-sender') === 0);
});

test('where nothing can be kept nothing leaves, and accounts are written once a minute beside credit and numbers', () => {
  const world = new World(1);
  const { board } = world;
  const [phone] = world.phones as [Phone];
  board.start();
  board.isStorageFull = true;
  board.wake();
  world.run(100);
  assert.equal(world.news(), []);
  assert.is(board.count('unsealed'), 2, 'neither an envelope nor an advertisement');
  board.isStorageFull = false;
  world.run(10_000);
  board.wake();
  world.run(100);
  const before = board.saves;
  for (let i = 0; i < 50; i++) {
    phone.send(`${i}`);
    world.run(100);
  }
  assert.is(board.saves, before + 1, 'one for the credit');
  world.run(60_000);
  assert.is(board.saves, before + 2);
  board.start();
  world.run(1_000);
  assert.equal(board.ledger, { 2: { given: 100 * bytesEach, taken: 0, credit: 4 } });
});

test('what is malformed, forged or repeated is counted and has no effect', () => {
  const seed = 41;
  console.log(`seed ${seed}`);
  const random = new Random(seed, 'bytes');
  const world = new World(1);
  const { board } = world;
  const [phone] = world.phones as [Phone];
  board.wake();
  world.run(300);
  phone.send('once');
  world.run(300);
  assert.is(world.provider.statement(1)!.givenBytes, 2 * bytesEach);
  const heard = board.heard.slice();
  const numbers = board.numbers.size;
  const record = decodeUtf8(Object.values(board.saved)[0]!);
  for (const payload of heard) {
    board.hear(payload, 9, 'elsewhere');
    for (let i = 0; i < 200; i++) {
      const torn = payload.slice(0, random.chance(0.3) ? random.below(payload.length) : payload.length);
      if (torn.length > 0) torn[random.below(torn.length)]! ^= 1 << random.below(8);
      board.hear(torn, 9, 'elsewhere');
      board.hear(
        new Uint8Array(random.below(80)).map(() => random.below(256)),
        9,
        'elsewhere',
      );
    }
  }
  assert.is(board.numbers.size, numbers, 'it has sent nothing');
  assert.is(decodeUtf8(Object.values(board.saved)[0]!), record);
  for (const name of ['datagrams.malformed', 'datagrams.replayed', 'datagrams.forged'] as const)
    assert.ok(board.count(name) >= 3, `${name} ${board.count(name)}`);
  world.run(300);
  phone.send('twice');
  world.run(300);
  assert.is(phone.delivered.at(-1), 'twice', 'and the phone is still where it was');
});

test('hops may overtake each other, an introduction may come again, and signals are numbered by one a millisecond at least', () => {
  const world = new World(1);
  const { board } = world;
  const [phone] = world.phones as [Phone];
  board.wake();
  world.run(300);
  const held: (() => void)[] = [];
  const { toBoard } = world;
  world.toBoard = (from, payload) => held.push(() => board.hear(payload, localPort, from.address));
  for (let i = 0; i < 40; i++) phone.send(`${i}`);
  world.toBoard = toBoard;
  // The first is 39 behind, the others less than 32; and each comes twice.
  const [first, ...others] = held;
  for (const land of [...others.slice(10).reverse(), ...others.slice(9), first!]) land();
  world.run(300);
  assert.is(board.count('forwarded'), 30);
  assert.is(board.count('datagrams.replayed'), 30);
  const { saves } = board;
  world.introduce(phone);
  world.run(300);
  assert.is(board.saves, saves, 'nothing new');
  world.run(30_000);
  board.wake();
  assert.ok(Number([...board.numbers].at(-1)!.split(' ')[1]) >= 30_000);
});

test('a hop that holds the envelope of another is not carried', () => {
  const world = new World(2);
  const { board } = world;
  const [phone, other] = world.phones as [Phone, Phone];
  board.wake();
  world.run(300);
  const pair = pairKey(aeads[0]!, master, {
    members: [board.member, phone.member],
    generation: 2,
    keyBytes: 16,
  });
  const reserve = new NonceReserve({ savedThrough: 0, save: () => true });
  const hops = new SendingLane({ kind: 'hop', member: phone.member, aead: aes128Ccm, key: pair }, reserve);
  for (const [kind, { member, registration }] of [
    ['own', other],
    ['carried', phone],
  ] as const) {
    const lane = new SendingLane(
      { kind, member, aead: aes128Ccm, key: registration.key.slice(0, 16) },
      reserve,
    );
    const inner = must(lane.seal(new Uint8Array(40), board.member));
    const content = new Uint8Array(5 + inner.length);
    content.set(inner, 5);
    board.hear(must(hops.seal(content, board.boot)), localPort, phone.address);
  }
  board.hear(must(hops.seal(new Uint8Array(3), board.boot)), localPort, phone.address);
  assert.is(board.count('hops.not-its-own'), 3);
  assert.is(board.count('forwarded'), 0);
});

test('a neighbour whose packets the provider throws away is refused for five minutes after twelve', () => {
  const world = new World(1);
  const { board, provider } = world;
  const [phone] = world.phones as [Phone];
  board.wake();
  world.run(300);
  // A member that seals what nobody can open, in hops that are right.
  const lane = { member: phone.member, aead: aes128Ccm };
  const reserve = new NonceReserve({ savedThrough: 1_000_000, save: () => true });
  const members = [board.member, phone.member] as const;
  const pair = pairKey(aeads[0]!, master, { members, generation: 2, keyBytes: 16 });
  const hops = new SendingLane({ ...lane, kind: 'hop', key: pair }, reserve);
  const rubbish = new SendingLane({ ...lane, kind: 'own', key: new Uint8Array(16) }, reserve);
  const send = () => {
    const inner = must(rubbish.seal(new Uint8Array(40), board.member));
    const content = new Uint8Array(5 + inner.length);
    content.set(inner, 5);
    board.hear(must(hops.seal(content, board.boot)), localPort, phone.address);
    world.run(200);
  };
  for (let i = 0; i < 40; i++) send();
  assert.is(provider.counters.get('inner-bad-tag'), 12);
  assert.is(board.count('refused.patience'), 28);
  world.run(300_000);
  board.wake();
  send();
  assert.is(provider.counters.get('inner-bad-tag'), 13, 'and may try again');
});

test('registered anew, it goes on counting, hears introductions under the new key, and keeps the accounts', () => {
  const world = new World(1);
  const { board, provider } = world;
  const [phone] = world.phones as [Phone];
  board.wake();
  world.run(300);
  phone.send('one');
  world.run(90_000);
  board.registration = must(provider.register('board', [3]));
  board.start();
  world.introduce(phone);
  world.run(300);
  board.wake();
  world.run(300);
  world.news();
  phone.send('two');
  world.run(300);
  assert.equal(world.news(), ['2/1 two']);
  assert.is(board.count('datagrams.replayed'), 0);
  world.run(61_000);
  assert.equal(board.ledger, { 2: { given: 4 * bytesEach, taken: 0, credit: 3 } });
  board.saved = { 'kibbutz/1': encodeUtf8('[1,2') };
  assert.throws(() => board.start());
});

test('neighbours of the policy kith are carried too, and a ninth neighbour is not taken in', () => {
  const world = new World(9, { policy: 'kith' });
  const { board, phones } = world;
  assert.is(board.count('introductions.unusable'), 1);
  board.wake();
  world.run(300);
  for (const phone of phones.slice(0, 8)) phone.send('via the board');
  world.run(300);
  assert.equal(
    world.news().filter(text => text.includes('/1 ')),
    phones.slice(0, 8).map(({ member }) => `${member}/1 via the board`),
  );
});

// Without an engine `onBoard` says so.
const maybe = !process.env['KITH_ESPRUINO'] || Namespace.available() ? test : test.skip;

/** What the firmware may hold on a board of 4,095 variables; its own modules and the work under way come on top. */
const budget = 2_500;

/** A board in one namespace, and a phone, the provider and the way to the broker in another, with a cable in between. */
class Bench implements Around {
  readonly boardSide = Namespace.make();
  readonly provider = new Provider({ master, aeads, save: () => undefined });
  readonly arrived: string[] = [];
  /** Of every datagram of the board; none twice. */
  readonly numbers = new Set<string>();
  readonly board: Registration;
  readonly phone: Phone;
  private readonly bornAt = Date.now();
  private readonly side = Namespace.make();
  private readonly local: Socket;
  private readonly uplink: Socket;
  private readonly relay: Server;
  private readonly ticking: NodeJS.Timeout;
  private boardPort = 0;

  constructor(brokerPort: number) {
    const { side, boardSide } = this;
    side.connect('cable', boardSide, 'cable');
    side.run('ip', 'address', 'add', `${phoneAddress}/24`, 'dev', 'cable');
    boardSide.run('ip', 'address', 'add', `${boardAddress}/24`, 'dev', 'cable');
    boardSide.run('ip', 'route', 'add', 'default', 'dev', 'cable');
    // Or it would be looked up, outside.
    const lookup = (host: string, _: unknown, done: (error: null, host: string, family: number) => void) =>
      done(null, host, 4);
    [this.local, this.uplink, this.relay] = side.enter(() => {
      const sockets = [localPort, providerPort].map(port =>
        createSocket({ type: 'udp4', lookup: lookup as never }).bind(port, '0.0.0.0'),
      ) as [Socket, Socket];
      sockets[0].addMembership(kibbutzGroup4, phoneAddress);
      const relay = createServer(near => {
        const far = connectTcp(brokerPort, '127.0.0.1');
        near.pipe(far).pipe(near);
        for (const socket of [near, far]) socket.on('error', () => near.destroy());
      });
      return [...sockets, relay.listen(0)];
    });
    this.local.on('message', payload => {
      this.note(payload);
      this.phone.give('local', payload);
    });
    this.uplink.on('message', (payload, { port }) => {
      this.note(payload);
      this.boardPort = port;
      this.up(payload);
    });
    this.board = must(this.provider.register('board', [3]));
    this.phone = new Phone(this, 0, 'paper');
    this.ticking = setInterval(() => this.phone.poll(), 20);
  }

  get now(): number {
    return Date.now() - this.bornAt;
  }

  get relayPort(): number {
    return (this.relay.address() as AddressInfo).port;
  }

  toBoard(_: Phone, payload: Uint8Array): void {
    this.local.send(payload, localPort, boardAddress);
  }

  up(payload: Uint8Array): void {
    const { member, carrier, packet } = must(this.provider.receive(this.now, payload));
    this.arrived.push(`${member}/${carrier} ${decodeUtf8(packet)!.trim()}`);
    if (packet.length === 0) return;
    const answer = this.provider.send(this.now, { to: member, carrier, packet: packet.slice().reverse() });
    if (answer.ok) this.down(answer.value.member, answer.value.bytes);
  }

  introduce(other: number): void {
    for (const { member, bytes } of must(this.provider.introduce(this.board.member, other)))
      this.down(member, bytes);
  }

  close(): void {
    clearInterval(this.ticking);
    this.local.close();
    this.uplink.close();
    this.relay.close();
  }

  private down(member: number, bytes: Uint8Array): void {
    if (member === this.board.member) this.uplink.send(bytes, this.boardPort, boardAddress);
    else if (member === this.phone.member) this.phone.give('uplink', bytes);
  }

  private note(payload: Uint8Array): void {
    const signal = parseSignal(payload);
    const number = signal.ok
      ? `signal ${signal.value.sequence}`
      : `envelope ${must(parseEnvelope(payload)).nonce}`;
    assert.not(this.numbers.has(number), `${number} again`);
    this.numbers.add(number);
  }
}

test.after(() => Namespace.removeAll());

maybe(
  'on Espruino for Linux: carries for a phone, and after kill -9 has its ledger, its keys and fresh numbers',
  async () => {
    await onBoard(async ({ broker, client, heard, board, write }) => {
      const bench = new Bench(Number(new URL(broker.url).port));
      const { phone, provider } = bench;
      try {
        const { member, generation, key } = bench.board;
        const script = await buildFirmware({ jobs: 'kibbutz' });
        const settings = {
          broker: { host: phoneAddress, port: bench.relayPort },
          kibbutz: {
            member,
            generation,
            key: [...key],
            provider: { host: phoneAddress, port: providerPort },
            group: kibbutzGroup4,
            port: localPort,
            tail: 2_000,
            credit: 5,
          },
        };
        await write(script, 0, '', settings);
        /** Which makes the board say something, so that its radio is up. */
        const ledger = async () => {
          heard.clear();
          await client.publishAsync(topicOf('request/report'), '{"transaction":"t"}', { qos: 1 });
          return heard.until((topic, payload) =>
            topic === topicOf('ledger')
              ? (must(decodeCbor(payload, { depth: 4 })) as unknown as Ledger).neighbours[phone.member]
              : undefined,
          );
        };
        /** Where the machine is so busy that a packet or a refusal comes too late, it is sent again. */
        const carry = (text: string) =>
          eventually(
            `an answer to ${text.slice(0, 20)}`,
            async () => {
              const before = phone.advertisements;
              await ledger();
              if (phone.advertisements === before) return false;
              phone.send(text);
              const isAnswered = () => phone.delivered.at(-1) === text;
              await eventually('an answer', isAnswered, 3_000).catch(() => undefined);
              return isAnswered() && bench.arrived.includes(`2/1 ${text}`);
            },
            60_000,
          );
        board.powerOn(bench.boardSide);
        await heard.until((topic, payload) => (topic === topicOf('info') ? payload : undefined));
        await eventually('the board to tell the provider where it is', () => bench.arrived.length > 0);
        bench.introduce(phone.member);
        // Seven that are never heard, so that the table is full.
        for (let i = 0; i < 7; i++) bench.introduce(must(provider.register(`${i}`, [3])).member);
        await carry('first');
        const long = 'long '.repeat(277).trim();
        assert.ok(long.length > innerMtuBytes - 5 && long.length <= innerMtuBytes);
        await carry(long);
        const given = () => provider.statement(1)!.givenBytes;
        await eventually('the account that the provider has', async () => (await ledger()).given === given());
        const { credit } = await ledger();
        assert.ok(credit < 5, `credit ${credit}`);
        const { gauges, counters } = await report(client, heard, 'esp-1', 'kibbutz');
        const used = (gauges as { [name: string]: number })['variables.used']!;
        console.log(`${used} variables with 8 neighbours, of ${budget} on a board of 4095`);
        assert.ok(used > 0 && used <= budget, `${used} variables`);
        assert.is(faultsOf(counters), '', 'neither memory nor a buffer nor Storage was too small');
        const before = given();
        await board.powerOff();
        heard.clear();
        // As on a board whose firmware has AES alone.
        await write(script.replaceAll('ccmEncrypt', 'ccmMissing'), 0, '', settings);
        board.powerOn(bench.boardSide);
        const kept = await ledger();
        // What is not in the record is younger than a minute, and credit never is.
        assert.is(kept.credit, credit);
        assert.ok(kept.given >= 200 && kept.given <= before, `${kept.given} of ${before} bytes`);
        await carry(long.replace('long', 'last'));
        assert.ok((await ledger()).credit < credit);
      } finally {
        bench.close();
      }
    });
  },
);

test.run();
