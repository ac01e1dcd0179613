import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { paperRadio, Radio, type RadioModel, radioModels } from '../../host-sim/sim/radio.js';

type ModelName = keyof typeof radioModels;
const names = Object.keys(radioModels) as ModelName[];

function near(actual: number, expected: number, tolerance: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) <= tolerance,
    `${what}: expected ${expected}±${tolerance}, got ${actual}`,
  );
}

/** Prints a figure of a paper beside ours and holds them together. */
function beside(what: string, theirs: number, ours: number, tolerance: number): void {
  console.log(`${what}: theirs ${theirs}, ours ${ours.toFixed(3)}`);
  near(ours, theirs, tolerance, what);
}

/** The radio of `name` after one exchange of empty packets at 1,000 ms and all that follows from it. */
function oneExchange(name: ModelName): { readonly radio: Radio; readonly finishedAt: number } {
  const radio = new Radio(radioModels[name], 1_000);
  const finishedAt = radio.send(1_000, 0, 0);
  radio.settle(radio.upUntil);
  return { radio, finishedAt };
}

test('paper: 2 s if promoted, else 0.2 s, up for one tail after the last request, promotion included', () => {
  const radio = new Radio(radioModels.paper, 0);
  assert.is(radio.state(500), 'idle');
  assert.is(radio.send(500, 0, 0), 2_500);
  assert.is(radio.state(501), 'promoting');
  assert.is(radio.state(2_300), 'high');
  assert.is(radio.upUntil, 10_500);
  // During somebody else's promotion and after it: the seed charges 2 s only to the packet that causes a transition.
  assert.is(radio.send(1_000, 0, 0), 1_200);
  assert.is(radio.send(9_000, 0, 0), 9_200);
  assert.is(radio.upUntil, 19_000);
  assert.is(radio.state(19_000), 'idle');
  radio.settle(30_000);
  assert.is(radio.promotions, 1);
  assert.is(radio.upMs, 18_500);
  assert.is(radio.highMs, 18_500 - 1_800);
  assert.is(radio.energyMillijoules, 18.5 * 650);
  // 250 kB at 2 Mbit/s take 1 s, which the tail follows.
  assert.is(radio.send(40_000, 0, 250_000), 43_000);
  assert.is(radio.upUntil, 51_000);
});

test('paper: a tail shorter than the promotion ends all the same, and the next packet is promoted again', () => {
  const radio = new Radio(paperRadio(1_000), 0);
  radio.send(0, 0, 0);
  assert.is(radio.state(1_200), 'idle');
  assert.is(radio.send(1_200, 0, 0), 3_200);
  radio.settle(5_000);
  assert.is(radio.promotions, 2);
  assert.is(radio.upMs, 2_000);
});

test('3g-seed: 2.3 s up, 7.3 s and 3 J down, and a shorter promotion from FACH', () => {
  const { radio, finishedAt } = oneExchange('3g-seed');
  assert.is(finishedAt, 1_000 + 2_300 + 200);
  assert.is(radio.upUntil, finishedAt + 7_300);
  near(radio.energyMillijoules, 2.5 * 650 + 3_000, 0.001, 'energy');
  const again = new Radio(radioModels['3g-seed'], 0);
  again.send(0, 0, 0);
  // DCH lasts (3 J − 7.3 s × 373.75 mW) / (650 − 373.75 mW) = 983 ms.
  assert.is(again.state(2_500 + 982), 'dch');
  assert.is(again.state(2_500 + 984), 'fach');
  assert.is(again.send(6_000, 0, 0), 6_000 + 1_725 + 200);
  assert.is(again.promotions, 1);
  assert.is(again.tailPromotions, 1);
});

test('lte-huang: continuous reception, short and long DRX, each for its time at its mean power', () => {
  const { radio, finishedAt } = oneExchange('lte-huang');
  near(finishedAt, 1_000 + 260.1 + 70, 1e-9, 'finished');
  const again = new Radio(radioModels['lte-huang'], 0);
  again.send(0, 0, 0);
  const at = (afterMs: number) => again.state(330.1 + afterMs);
  assert.equal(
    [at(-71), at(-1), at(0.1), at(101), at(121), at(11_575), at(11_577)],
    ['promoting', 'active', 'continuous-reception', 'short-drx', 'long-drx', 'long-drx', 'idle'],
  );
  const byHand =
    0.2601 * 1210.7 +
    0.07 * 1288.04 +
    0.1 * 1288.04 +
    0.02 * ((1 * 1680.2 + 19 * 1060) / 20) +
    (11.576 - 0.12) * ((1.1 * 1680.1 + 39 * 1060) / 40.1);
  near(radio.energyMillijoules, byHand, 0.001, 'energy');
  // 1 Mbit each way at 6 and 13 Mbit/s: α_u + α_d on top of β.
  const bulk = new Radio(radioModels['lte-huang'], 0);
  const readyAt = bulk.promote(0);
  const before = bulk.energyMillijoules;
  const doneAt = bulk.send(readyAt, 125_000, 125_000);
  near(doneAt - readyAt, 1_000 / 6 + 1_000 / 13 + 70, 1e-6, 'transfer');
  bulk.settle(doneAt);
  near(
    bulk.energyMillijoules - before,
    260.1 * 1.2107 + 438.39 + 51.97 + (doneAt - readyAt) * 1.28804,
    0.001,
    'transfer energy',
  );
});

test('3g-huang: DCH for 8.1 s and FACH for 0.8 s', () => {
  const { radio } = oneExchange('3g-huang');
  near(
    radio.energyMillijoules,
    0.5821 * 659.4 + 0.2 * 817.88 + 8.0882 * 803.9 + 0.8242 * 601.3,
    0.001,
    'energy',
  );
  near(radio.upMs, 582.1 + 200 + 8_088.2 + 824.2, 1e-6, 'up');
});

test('5g: NSA goes by LTE before it has switched, SA is inactive before it is idle', () => {
  const low = oneExchange('5g-nsa-low');
  near(low.finishedAt, 1_000 + 210 + 80, 1e-9, 'low band finished');
  near(low.radio.energyMillijoules, 0.21 * 1210.7 + 439 * 1.23 + 0.08 * 545 + 10.2 * 260, 0.001, 'low band');
  const mmwave = oneExchange('5g-nsa-mmwave');
  near(
    mmwave.radio.energyMillijoules,
    0.323 * 1210.7 + 402 * 1.7 + 0.058 * 2_883 + 10.617 * 1_092,
    0.001,
    'mmWave',
  );
  const alone = new Radio(radioModels['5g-sa-low'], 0);
  assert.is(alone.send(0, 0, 0), 421);
  assert.is(alone.state(421 + 10_199), 'connected');
  assert.is(alone.state(421 + 10_201), 'inactive');
  assert.is(alone.send(421 + 12_000, 0, 0), 421 + 12_000 + 60 + 80);
  assert.is(alone.promotions, 1);
  assert.is(alone.tailPromotions, 1);
});

test('Balasubramanian’s totals for 50 KB every 20 s, and how much of them is tail', () => {
  const fifty = (name: ModelName) => {
    const radio = new Radio(radioModels[name], 0);
    radio.send(0, 0, 50 * 1_024);
    radio.settle(20_000);
    const shares = radio.shares();
    const of = (state: string) => shares.find(share => share.state === state)!.millijoules / 1_000;
    return { transfer: of('promoting') + of('active'), tail: of('tail'), idle: of('idle') };
  };
  // Theirs: the table's "energy per 50 KB transfer with a 20-second interval" and the shares of §3.2, from memory.
  const umts = fifty('3g');
  beside('3G, J', 12.5, umts.transfer + umts.tail, 0.05);
  beside('3G tail, %', 60, (100 * umts.tail) / (umts.transfer + umts.tail), 3); // "nearly 60 %"
  const gsm = fifty('gsm');
  beside('GSM, J', 5, gsm.transfer + gsm.tail, 0.05);
  beside('GSM tail, %', 30, (100 * gsm.tail) / (gsm.transfer + gsm.tail), 1);
  // Wi-Fi's total holds its maintenance, which it pays all the time: 6.25 + 20 s × 0.05, the rest their rounding.
  const wifi = fifty('wifi');
  beside('Wi-Fi, J', 7.6, wifi.transfer + wifi.idle, 0.45);
});

test('what Huang’s paper concludes holds for the models: LTE’s tail outweighs the rest, and one packet costs more than in 3G', () => {
  const { radio } = oneExchange('lte-huang');
  const tail = radio
    .shares()
    .slice(3)
    .reduce((sum, share) => sum + share.millijoules, 0);
  const share = tail / radio.energyMillijoules;
  console.log(
    `LTE, one packet: ${(radio.energyMillijoules / 1_000).toFixed(2)} J, ${(100 * share).toFixed(1)} % of it tail`,
  );
  assert.ok(share > 0.9);
  // Abstract: "even less power efficient than 3G, based on the user traces and the long high power tail".
  assert.ok(radio.energyMillijoules > oneExchange('3g-huang').radio.energyMillijoules);
});

test('a power log published with the 5G paper: 4G after 0.3 s, 5G after 1.7 s more, tail of 10.6 s', () => {
  // The artifact's RRC-Power/README.md: end of idle, start of 4G, start of 5G, end of the tail, s; mmWave.
  const log = [
    [25.33, 25.69, 27.22, 37.9],
    [41.98, 42.3, 44.14, 54.68],
    [89.36, 89.65, 91.38, 102.01],
  ];
  const mean = (from: number, to: number) =>
    log.reduce((sum, times) => sum + times[to] - times[from], 0) / log.length;
  const model = radioModels['5g-nsa-mmwave'];
  beside('promotion to 4G, s', mean(0, 1), model.promotionMs / 1_000, 0.001);
  beside('tail, s', mean(2, 3), model.tailMs / 1_000, 0.001);
  // The log's tail begins when 5G does, 1.7 s after the packet went by 4G, so it ends later than ours by up to that.
  const { radio } = oneExchange('5g-nsa-mmwave');
  beside('up for one packet, s', mean(0, 3), radio.upMs / 1_000, 1.75);
});

test('fast dormancy drops to idle at once, costs its release once, and the next packet is promoted again', () => {
  const radio = new Radio(radioModels['3g-seed'], 0);
  assert.not(radio.dormant(0));
  radio.send(0, 0, 0);
  assert.ok(radio.dormant(2_500));
  assert.is(radio.state(2_500), 'idle');
  assert.not(radio.dormant(2_600));
  radio.settle(10_000);
  assert.is(radio.upMs, 2_500);
  assert.is(radio.releases, 1);
  assert.is(radio.energyMillijoules, 2.5 * 650 + 975);
  assert.is(radio.send(10_000, 0, 0), 12_500);
  assert.is(radio.promotions, 2);
  // In the middle of a promotion, and of a transfer, whose rest the channel forgets.
  assert.ok(radio.dormant(11_000));
  assert.is(radio.state(11_000), 'idle');
  radio.send(20_000, 1_000_000, 0);
  assert.ok(radio.dormant(23_000));
  assert.is(radio.send(30_000, 0, 0), 32_500);
});

test('promote makes a radio ready without a packet, and leaves a ready one as it is', () => {
  const radio = new Radio(radioModels['3g-seed'], 0);
  assert.is(radio.promote(0), 2_300);
  assert.is(radio.promote(1_000), 2_300);
  assert.is(radio.promotions, 1);
  assert.is(radio.upUntil, 2_300 + 7_300);
  assert.is(radio.send(1_000, 0, 0), 2_500);
  assert.is(radio.promote(3_000), 3_000);
  assert.is(radio.upUntil, 2_500 + 7_300);
  const simple = new Radio(radioModels.paper, 0);
  assert.is(simple.promote(0), 1_800);
  assert.is(simple.send(1_800, 0, 0), 2_000);
  assert.is(simple.promotions, 1);
});

test('what is sent while the channel is busy waits for it', () => {
  const radio = new Radio(radioModels['lte-huang'], 0);
  const first = radio.send(0, 0, 1_625_000); // 1 s at 13 Mbit/s
  near(first, 260.1 + 1_000 + 70, 1e-6, 'first');
  near(radio.send(500, 0, 1_625_000), first + 1_000, 1e-6, 'second');
});

test('going back in time and a tail out of order are programmer errors that say what was expected', () => {
  const radio = new Radio(radioModels.paper, 100);
  assert.throws(() => radio.settle(99), 'now: expected a time from 100 on, got 99');
  assert.throws(() => radio.send(Number.NaN, 0, 0), 'got NaN');
  const state = { state: 'x', afterMs: 0, powerMilliwatts: 1, promotionMs: 0 };
  const withTail = (tail: RadioModel['tail'], tailMs = 10) =>
    new Radio({ ...radioModels.paper, tail, tailMs }, 0);
  assert.throws(() => withTail([{ ...state, afterMs: 1 }]), 'tail[0].afterMs: expected 0, got 1');
  assert.throws(() => withTail([state, state]), 'tail[1].afterMs: expected more than 0, got 0');
  assert.throws(() => withTail([{ ...state, promotionMs: 5 }]), 'tail[0].promotionMs: expected 0, got 5');
  assert.throws(() => withTail([]), 'tailMs: expected');
  assert.throws(() => withTail([state, { ...state, afterMs: 11 }]), 'tailMs: expected a tail that lasts 11');
});

/**
 * The slow and plain way: the radio's future as a list of spans, cut at each call and planned anew, and the past added
 * up in the end.
 */
class Reference {
  private readonly model: RadioModel;
  private spans: { from: number; to: number; state: string }[] = [];
  private freeAt = -Infinity;
  private promotedAt = -Infinity;
  promotions = 0;
  releases = 0;
  bitsMillijoules = 0;

  constructor(model: RadioModel) {
    this.model = model;
  }

  at(now: number): string {
    return this.spans.find(span => span.from <= now && now < span.to)?.state ?? 'idle';
  }

  send(now: number, upBytes: number, downBytes: number): number {
    const { model } = this;
    const readyAt = this.ready(now);
    const transferMs =
      (upBytes * 8_000) / model.upBitsPerSecond + (downBytes * 8_000) / model.downBitsPerSecond;
    this.bitsMillijoules += (upBytes * 8 * model.upMillijoulesPerMegabit) / 1e6;
    this.bitsMillijoules += (downBytes * 8 * model.downMillijoulesPerMegabit) / 1e6;
    const startAt = Math.max(this.freeAt, model.simplified ? now : readyAt);
    this.freeAt = startAt + transferMs;
    const finishedAt = this.freeAt + model.roundTripMs;
    this.plan(now, model.simplified ? this.freeAt : finishedAt);
    return model.simplified ? finishedAt + (readyAt - now) : finishedAt;
  }

  promote(now: number): number {
    const stateBefore = this.at(now);
    const readyAt = this.ready(now);
    if (this.at(now) === 'promoting' && stateBefore !== 'promoting')
      this.plan(now, this.model.simplified ? now : readyAt);
    return readyAt;
  }

  dormant(now: number): void {
    if (this.at(now) === 'idle') return;
    this.releases++;
    this.freeAt = now;
    this.cut(now);
  }

  shares(until: number): Map<string, number> {
    const ms = new Map<string, number>([['idle', until]]);
    for (const span of this.spans) {
      const length = Math.min(span.to, until) - Math.min(span.from, until);
      ms.set(span.state, (ms.get(span.state) ?? 0) + length);
      ms.set('idle', ms.get('idle')! - length);
    }
    return ms;
  }

  private ready(now: number): number {
    const state = this.at(now);
    if (state === 'promoting') return this.model.simplified ? now : this.promotedAt;
    const wait =
      state === 'idle'
        ? this.model.promotionMs
        : (this.model.tail.find(tail => tail.state === state)?.promotionMs ?? 0);
    if (wait === 0) return now;
    if (state === 'idle') this.promotions++;
    this.cut(now);
    this.promotedAt = now + wait;
    this.spans.push({ from: now, to: this.promotedAt, state: 'promoting' });
    return this.promotedAt;
  }

  /** From `now`: the promotion under way, if any, then active until `activeUntil`, then the tail. */
  private plan(now: number, activeUntil: number): void {
    const { tail, tailMs } = this.model;
    const promotedAt = this.at(now) === 'promoting' ? this.promotedAt : now;
    this.cut(now);
    let at = now;
    const until = (to: number, state: string) => {
      const end = Math.min(to, activeUntil + tailMs);
      if (end > at) this.spans.push({ from: at, to: end, state });
      at = Math.max(at, end);
    };
    until(promotedAt, 'promoting');
    until(activeUntil, 'active');
    for (const [i, { state }] of tail.entries()) until(activeUntil + (tail[i + 1]?.afterMs ?? tailMs), state);
  }

  private cut(now: number): void {
    this.spans = this.spans
      .filter(span => span.from < now)
      .map(span => ({ ...span, to: Math.min(span.to, now) }));
  }
}

test('random traffic on every model agrees with a slow reference, and the states add up to the total', () => {
  const custom: RadioModel = {
    ...radioModels['lte-huang'],
    name: 'custom',
    releaseMillijoules: 77,
    tail: [
      { state: 'a', afterMs: 0, powerMilliwatts: 3, promotionMs: 0 },
      { state: 'b', afterMs: 500, powerMilliwatts: 2, promotionMs: 40 },
      { state: 'c', afterMs: 3_000, powerMilliwatts: 1, promotionMs: 90 },
    ],
  };
  const models: RadioModel[] = [...names.map(name => radioModels[name]), paperRadio(1_000), custom];
  for (const model of models) {
    for (let seed = 1; seed <= 12; seed++) {
      const random = new Random(seed, `radio ${model.name}`);
      const what = `${model.name} with a tail of ${model.tailMs} ms, seed ${seed}`;
      const radio = new Radio(model, 0);
      const reference = new Reference(model);
      let now = 0;
      for (let i = 0; i < 150; i++) {
        now += random.chance(0.1) ? 0 : random.exponential(random.chance(0.5) ? 300 : 8_000);
        assert.is(radio.state(now), reference.at(now), `${what}, step ${i}`);
        const pick = random.below(10);
        if (pick < 7) {
          const up = random.below(2_000);
          const down = random.chance(0.3) ? random.below(200_000) : 0;
          near(radio.send(now, up, down), reference.send(now, up, down), 1e-3, `${what}, send ${i}`);
        } else if (pick < 8) {
          near(radio.promote(now), reference.promote(now), 1e-3, `${what}, promote ${i}`);
        } else if (pick < 9) {
          radio.dormant(now);
          reference.dormant(now);
        } else {
          radio.settle(now);
        }
      }
      now += 5_000;
      radio.settle(now);
      const ms = reference.shares(now);
      const shares = radio.shares();
      let millijoules =
        reference.bitsMillijoules +
        reference.promotions * model.promotionMillijoules +
        reference.releases * model.releaseMillijoules;
      const powers = new Map([
        ['idle', model.idleMilliwatts],
        ['promoting', model.promotionMilliwatts],
        ['active', model.activeMilliwatts],
      ]);
      for (const tail of model.tail) powers.set(tail.state, tail.powerMilliwatts);
      for (const share of shares) {
        near(share.ms, ms.get(share.state) ?? 0, 0.01, `${what}, ${share.state}`);
        millijoules += ((ms.get(share.state) ?? 0) * powers.get(share.state)!) / 1_000;
      }
      assert.is(radio.promotions, reference.promotions, what);
      assert.is(radio.releases, reference.releases, what);
      near(radio.energyMillijoules, millijoules, 0.1, `${what}, energy`);
      near(
        shares.reduce((sum, share) => sum + share.millijoules, 0),
        radio.energyMillijoules,
        1e-9,
        `${what}, sum`,
      );
      near(
        shares.reduce((sum, share) => sum + share.ms, 0),
        now,
        0.01,
        `${what}, time`,
      );
      near(radio.upMs, now - shares[0].ms, 0.01, `${what}, up`);
      near(radio.highMs, radio.upMs - shares[1].ms, 0.01, `${what}, high`);
    }
  }
});

test.run();
