import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { LocalLink, type LocalLinkModel, localLinkModels } from '../../host-sim/sim/local-link.js';

function link(model: LocalLinkModel, members = 3, random = new Random(1, 'local link')): LocalLink {
  return new LocalLink({ model, members, random, now: 0 });
}

function near(actual: number, expected: number, tolerance: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) <= tolerance,
    `${what}: expected ${expected}±${tolerance}, got ${actual}`,
  );
}

/** 1 Mbit/s, 5 ms, between peers, powers that are easy to add. */
const plain: LocalLinkModel = {
  name: 'plain',
  delayMs: 5,
  bitsPerSecond: 1_000_000,
  queueBytes: 3_000,
  loss: 0,
  star: false,
  standbyMilliwatts: 10,
  activeMilliwatts: 100,
  activeMs: 50,
  sendMillijoulesPerMegabit: 1_000,
  receiveMillijoulesPerMegabit: 500,
  hostMilliwatts: 0,
};

test('perfect: a frame of any size arrives at once, costs nothing and draws no random number', () => {
  const random = new Random(7, 'perfect');
  const untouched = new Random(7, 'perfect');
  const perfect = link(localLinkModels.perfect, 5, random);
  for (let i = 0; i < 100; i++) assert.is(perfect.transmit(i, i % 5, (i + 1) % 5, 1e6), i);
  assert.is(perfect.energyMillijoules(1e6, 0), 0);
  assert.is(random.uint32(), untouched.uint32());
  assert.equal(perfect.counters.snapshot(), { sent: 100, arriving: 100 });
});

test('the medium is shared: a frame waits for those of other members, and the queue drops its tail', () => {
  const medium = link(plain);
  assert.is(medium.transmit(0, 0, 1, 1_000), 8 + 5);
  assert.is(medium.transmit(0, 2, 1, 1_000), 16 + 5);
  assert.is(medium.transmit(4, 1, 0, 1_000), 24 + 5);
  // 20 ms = 2,500 bytes wait at 4 ms: 500 more fit, 501 do not.
  assert.is(medium.transmit(4, 1, 0, 501), Infinity);
  assert.is(medium.transmit(4, 1, 0, 500), 28 + 5);
  assert.is(medium.transmit(4, 1, 0, 1), Infinity);
  assert.is(medium.transmit(100, 1, 0, 5_000), 140 + 5, 'an empty queue takes any frame');
  assert.equal(medium.counters.snapshot(), { sent: 7, arriving: 5, 'queue-full': 2 });
});

test('in a star, frames between two clients pass the hub: twice the air, twice the delay, and its energy', () => {
  const star = link({ ...plain, star: true, hostMilliwatts: 40 });
  assert.is(star.transmit(0, 1, 2, 1_000), 16 + 10);
  assert.is(star.transmit(100, 0, 2, 1_000), 108 + 5);
  // 8 kbit: 8 mJ sent, 4 mJ received. Active while the medium is taken and 50 ms after: 66 and 58 ms.
  near(star.energyMillijoules(1_000, 0), 50 + 6.6 + 5.8 + (8 + 4) + 8, 1e-9, 'hub');
  near(star.energyMillijoules(1_000, 1), 10 + 6.6 + 8, 1e-9, 'sender');
  near(star.energyMillijoules(1_000, 2), 10 + 6.6 + 5.8 + 4 + 4, 1e-9, 'receiver');
  star.setMemberUp(1_000, 0, false);
  assert.not(star.isUp(1, 2));
  assert.is(star.transmit(1_000, 1, 2, 1), Infinity);
  const peers = link({ ...plain, hostMilliwatts: 40 });
  for (const member of [0, 1, 2]) assert.is(peers.energyMillijoules(1_000, member), 50);
});

test('down: nothing passes, every drop is counted, and a member that is down draws nothing', () => {
  const medium = link(plain);
  medium.setMemberUp(0, 1, false);
  assert.is(medium.transmit(10, 0, 1, 100), Infinity);
  assert.is(medium.transmit(10, 1, 2, 100), Infinity);
  assert.is(medium.transmit(10, 0, 2, 125), 11 + 5);
  medium.setMemberUp(400, 1, true);
  assert.is(medium.transmit(500, 0, 1, 125), 501 + 5);
  medium.setUp(false);
  assert.is(medium.transmit(600, 0, 1, 125), Infinity);
  medium.setUp(true);
  assert.ok(medium.isUp(0, 1));
  assert.equal(medium.counters.snapshot(), { sent: 5, arriving: 2, down: 3 });
  near(medium.energyMillijoules(1_000, 1), 6 + 5.1 + 0.5, 1e-9, 'up for 600 ms');
});

test('loss takes its share of frames, from its own stream, and is reproducible', () => {
  const seed = 42;
  console.log(`seed ${seed}`);
  const arrivals = () => {
    const lossy = link({ ...plain, loss: 0.3 }, 2, new Random(seed, 'lossy'));
    const all: number[] = [];
    for (let i = 0; i < 10_000; i++) all.push(lossy.transmit(i * 10, 0, 1, 100));
    return { all, lost: lossy.counters.get('lost'), arriving: lossy.counters.get('arriving') };
  };
  const first = arrivals();
  assert.equal(first, arrivals());
  assert.is(first.lost + first.arriving, 10_000);
  // Four standard deviations of a binomial: 4 × √(10,000 × 0.3 × 0.7) = 183.
  near(first.lost, 3_000, 183, 'lost');
});

test('random traffic keeps the medium’s order and rate, and every frame is accounted for', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed, 'medium traffic');
    const medium = link({ ...plain, loss: 0.1 }, 4, new Random(seed, 'medium loss'));
    let now = 0;
    let lastArrival = 0;
    let arrivedBytes = 0;
    for (let i = 0; i < 500; i++) {
      now += random.exponential(6);
      const lengthBytes = 1 + random.below(1_500);
      const from = random.below(4);
      const at = medium.transmit(now, from, (from + 1 + random.below(3)) % 4, lengthBytes);
      if (at === Infinity) continue;
      assert.ok(at >= lastArrival && at >= now + plain.delayMs, `order, seed ${seed}`);
      assert.ok(
        at - now <= (plain.queueBytes * 8_000) / plain.bitsPerSecond + 5 + 12 + 1e-9,
        `bound, seed ${seed}`,
      );
      lastArrival = at;
      arrivedBytes += lengthBytes;
    }
    assert.ok((arrivedBytes * 8_000) / plain.bitsPerSecond <= lastArrival, `rate, seed ${seed}`);
    const { sent, arriving, lost, 'queue-full': full } = medium.counters.values;
    assert.is(sent, arriving + lost + full, `seed ${seed}`);
    assert.ok(lost > 0 && full > 0, `seed ${seed} exercised no drop`);
  }
});

test('the seed’s figures: 16 + 22 mW of Bluetooth, 200 mW of access point, 150 kbit/s, and Wi-Fi better beyond 750 kbit/s', () => {
  const { bluetooth, 'wifi-ap': ap } = localLinkModels;
  assert.is(link(bluetooth, 2).energyMillijoules(1_000, 1), 28 - 12 + (50 - 28));
  const hotspot = link(ap, 2);
  near(hotspot.energyMillijoules(1_000, 0) - hotspot.energyMillijoules(1_000, 1), 200, 1e-9, 'host');
  // Fig. 2.12 d: at 150 kbit/s 3G needs 4 times what Bluetooth needs, whole phones.
  const stack = (1_300 - 12 - 650) / (48 / 31);
  const ofBluetooth = (mbps: number, perMegabit: number) => 12 + 38 + 17 + mbps * (stack + perMegabit);
  const ratio = (12 + 650 + 0.15 * stack) / ofBluetooth(0.15, bluetooth.sendMillijoulesPerMegabit);
  console.log(`3G to Bluetooth at 150 kbit/s: theirs 4, ours ${ratio.toFixed(2)}`);
  near(ratio, 4, 0.02, 'ratio');
  // §2.1.3.2.1: "Beyond 750Kbps WiFi is more efficient than Bluetooth", which the derived slope was not fitted to. A
  // client's Wi-Fi meets it at another rate for sending than for receiving; 750 lies between.
  const crossover = (perMegabit: number) =>
    (ap.standbyMilliwatts + ap.activeMilliwatts - 38 - 17) /
    (bluetooth.sendMillijoulesPerMegabit - perMegabit);
  const receiving = crossover(ap.receiveMillijoulesPerMegabit);
  const sending = crossover(ap.sendMillijoulesPerMegabit);
  console.log(
    `Wi-Fi beats Bluetooth beyond: theirs 0.75 Mbit/s, ours ${receiving.toFixed(2)} receiving, ${sending.toFixed(2)} sending`,
  );
  assert.ok(receiving < 0.75 && sending > 0.75);
});

test('a value out of range and going back in time are programmer errors that say what was expected', () => {
  const of = (part: Partial<LocalLinkModel>) => () => link({ ...plain, ...part });
  assert.throws(of({ loss: 1.5 }), 'loss: expected a probability 0..1, got 1.5');
  assert.throws(of({ bitsPerSecond: 0 }), 'bitsPerSecond: expected more than 0, got 0');
  assert.throws(() => link(plain, 1), 'members: expected at least 2, got 1');
  const medium = link(plain);
  medium.transmit(100, 0, 1, 1);
  assert.throws(() => medium.transmit(99, 0, 1, 1), 'now: expected a time from 100 on, got 99');
});

test.run();
