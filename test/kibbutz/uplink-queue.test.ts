import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { owner, type UplinkOptions, UplinkQueue } from '../../agent/kibbutz/uplink-queue.js';

interface Packet {
  readonly length: number;
  readonly from: number;
  readonly id: number;
}

/** 250 bytes a millisecond, so that packets of multiples of 250 bytes take whole milliseconds. */
const uplink: UplinkOptions = {
  bitsPerSecond: 2_000_000,
  longestPacketBytes: 1500,
  ownPackets: 128,
  ownBytes: 64_000,
  neighbours: 4,
  packetsPerNeighbour: 64,
  bytesPerNeighbour: 32_000,
  forwardedShare: 0,
};

function makeQueue(options: Partial<UplinkOptions> = {}): UplinkQueue<Packet> {
  return new UplinkQueue<Packet>({ ...uplink, ...options });
}

function packet(from: number, length = 1000, id = 0): Packet {
  return { from, length, id };
}

/** Everything that waits, in the order it leaves, as fast as the link takes it. */
function drain(queue: UplinkQueue<Packet>, now = 0): Packet[] {
  const left: Packet[] = [];
  let at = now;
  while (queue.readyAt() !== never) {
    at = Math.max(at, queue.readyAt());
    left.push(queue.dequeue(at) as Packet);
  }
  return left;
}

test('a wrong option throws, naming the field, what was expected and what came', () => {
  const wrong: [Partial<UplinkOptions>, string][] = [
    [{ bitsPerSecond: 0 }, 'bitsPerSecond: expected more than 0, got 0'],
    [{ longestPacketBytes: 0 }, 'longestPacketBytes: expected an integer 1..9007199254740991, got 0'],
    [{ ownPackets: 0 }, 'ownPackets: expected an integer 1..9007199254740991, got 0'],
    [{ ownBytes: 1499 }, 'ownBytes: expected an integer 1500..9007199254740991, got 1499'],
    [{ neighbours: 256 }, 'neighbours: expected an integer 1..255, got 256'],
    [{ packetsPerNeighbour: 1 }, 'packetsPerNeighbour: expected an integer 2..9007199254740991, got 1'],
    [{ bytesPerNeighbour: 1.5 }, 'bytesPerNeighbour: expected an integer 1500..9007199254740991, got 1.5'],
    [{ forwardedShare: 0.6 }, 'forwardedShare: expected 0..0.5, got 0.6'],
  ];
  for (const [options, message] of wrong)
    assert.throws(
      () => makeQueue(options),
      (error: Error) => error.message === message,
      message,
    );
});

test('own packets leave first and in order, then the neighbours’ by turns', () => {
  const queue = makeQueue();
  for (const [from, id] of [
    [7, 1],
    [7, 2],
    [8, 3],
    [owner, 4],
    [9, 5],
    [8, 6],
    [owner, 7],
  ])
    assert.is(queue.enqueue(0, packet(from, 1500, id), from), 'ok');
  assert.is(queue.packets, 7);
  assert.is(queue.ownPackets, 2);
  assert.is(queue.bytes, 7 * 1500);
  assert.equal(
    drain(queue).map(({ id }) => id),
    [4, 7, 1, 3, 5, 2, 6],
  );
  assert.is(queue.packets, 0);
  assert.is(queue.bytes, 0);
  assert.equal(queue.counters.snapshot(), { 'own.sent': 2, 'forwarded.sent': 5 });
});

test('the next packet leaves when the one before it is through, and an idle link owes nothing', () => {
  const queue = makeQueue();
  assert.is(queue.readyAt(), never);
  assert.is(queue.dequeue(0), undefined);
  queue.enqueue(100, packet(owner, 1000), owner);
  queue.enqueue(100, packet(owner, 500), owner);
  queue.enqueue(100, packet(owner, 250), owner);
  assert.is(queue.readyAt(), 100);
  assert.ok(queue.dequeue(100));
  assert.is(queue.dequeue(103), undefined);
  assert.is(queue.readyAt(), 104);
  assert.ok(queue.dequeue(104));
  assert.ok(queue.dequeue(106));
  queue.enqueue(200, packet(owner, 1000), owner);
  queue.enqueue(200, packet(owner, 1000), owner);
  assert.is(queue.readyAt(), 200);
  assert.ok(queue.dequeue(200));
  assert.is(queue.readyAt(), 204);
});

test('when the platform comes late, what the link could have sent meanwhile is lost and not caught up in a burst', () => {
  const queue = makeQueue();
  for (let i = 0; i < 4; i++) queue.enqueue(0, packet(owner, 1000), owner);
  assert.ok(queue.dequeue(0));
  assert.ok(queue.dequeue(100));
  assert.is(queue.dequeue(100), undefined);
  assert.is(queue.readyAt(), 103);
});

test('with whole milliseconds the link is still used at its rate, to a packet', () => {
  for (const bitsPerSecond of [48_000, 1_306_900, 2_000_000, 7_200_000]) {
    const queue = makeQueue({ bitsPerSecond });
    const seconds = 20;
    let bytes = 0;
    for (let now = 0; now < seconds * 1000; now++) {
      while (queue.enqueue(now, packet(owner, 333), owner) === 'ok');
      for (let left = queue.dequeue(now); left; left = queue.dequeue(now)) bytes += left.length;
    }
    const carried = (bitsPerSecond / 8) * seconds;
    assert.ok(bytes <= carried + 2 * 333 + bitsPerSecond / 8000, `${bitsPerSecond}: ${bytes} of ${carried}`);
    assert.ok(bytes >= carried - bitsPerSecond / 8000 - 333, `${bitsPerSecond}: ${bytes} of ${carried}`);
  }
});

test('without a rate everything leaves at once', () => {
  const queue = makeQueue({ bitsPerSecond: Infinity });
  for (let i = 0; i < 10; i++) queue.enqueue(5, packet(owner), owner);
  for (let i = 0; i < 10; i++) assert.ok(queue.dequeue(5));
});

/** When each own packet began to leave, among forwarded load that floods with the given probability each ms. */
function ownDepartures(seed: number, load: number, options: Partial<UplinkOptions> = {}): number[] {
  const arrivals = new Random(seed, 'own');
  const flood = new Random(seed, 'flood');
  const queue = makeQueue(options);
  const departures: number[] = [];
  for (let now = 0; now < 20_000; now++) {
    if (arrivals.chance(0.15)) queue.enqueue(now, packet(owner, 250 * (1 + arrivals.below(6))), owner);
    for (let from = 1; from <= 6; from++)
      if (flood.chance(load)) queue.enqueue(now, packet(from, 250 * (1 + flood.below(6))), from);
    const left = queue.dequeue(now);
    if (left?.from === owner) departures.push(now);
  }
  return departures;
}

test('an own packet leaves at most one packet in service later than without any forwarded load, however much there is', () => {
  const longestMs = (uplink.longestPacketBytes * 8000) / uplink.bitsPerSecond;
  for (let seed = 1; seed <= 5; seed++) {
    const alone = ownDepartures(seed, 0);
    assert.ok(alone.length > 2500);
    for (const load of [0.02, 0.2, 1]) {
      const loaded = ownDepartures(seed, load);
      let latest = 0;
      for (const [i, at] of loaded.entries()) latest = Math.max(latest, at - alone[i]);
      assert.ok(latest <= longestMs, `seed ${seed} load ${load}: ${latest} ms`);
      assert.ok(alone.length - loaded.length <= 2);
      assert.ok(load < 1 || latest > 0, 'the load is felt at all');
    }
  }
});

test('neighbours with packets waiting get the same bytes, to a packet a round, whatever the sizes', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed, 'sizes');
    const queue = makeQueue();
    const sizes = [0, 40 + random.below(200), 1500, 1 + random.below(1500), 700];
    const sent = [0, 0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) {
      // Everyone floods: each has always something waiting.
      for (let from = 1; from <= 4; from++)
        while (queue.enqueue(i, packet(from, sizes[from]), from) === 'ok');
      const left = queue.dequeue(queue.readyAt()) as Packet;
      sent[left.from] += left.length;
      const shares = sent.slice(1);
      const ahead = Math.max(...shares) - Math.min(...shares);
      assert.ok(ahead <= 2 * uplink.longestPacketBytes, `seed ${seed} packet ${i}: ${ahead} bytes ahead`);
    }
  }
});

test('a neighbour that comes and goes gets no more than one that stays', () => {
  const queue = makeQueue();
  const sent = [0, 0, 0];
  for (let i = 0; i < 5000; i++) {
    while (queue.enqueue(i, packet(1, 1500), 1) === 'ok');
    // Two packets of just over half a quantum, and always anew when the last of them is gone.
    if (sent[2] % 1502 === 0) for (let k = 0; k < 2; k++) queue.enqueue(i, packet(2, 751), 2);
    const left = queue.dequeue(queue.readyAt()) as Packet;
    sent[left.from] += left.length;
  }
  assert.ok(sent[2] <= sent[1] + 2 * 1500, `${sent[2]} against ${sent[1]}`);
});

test('turns not used are not saved up: who sent little for long gets no burst', () => {
  const queue = makeQueue();
  const fill = (from: number, length: number) => {
    while (queue.enqueue(0, packet(from, length), from) === 'ok');
  };
  for (let i = 0; i < 200; i++) {
    fill(1, 1500);
    queue.enqueue(0, packet(2, 40), 2);
    queue.dequeue(queue.readyAt());
    queue.dequeue(queue.readyAt());
  }
  const sent = [0, 0, 0];
  for (let i = 0; i < 10; i++) {
    fill(1, 1500);
    fill(2, 1500);
    sent[(queue.dequeue(queue.readyAt()) as Packet).from]++;
  }
  assert.equal(sent, [0, 5, 5]);
});

test('one neighbour’s flood takes nobody’s room: the others’ packets are taken all the same', () => {
  const queue = makeQueue();
  for (let i = 0; i < 1000; i++) queue.enqueue(0, packet(666, 40), 666);
  assert.is(queue.packets, uplink.packetsPerNeighbour);
  for (let i = 0; i < 1000; i++) queue.enqueue(0, packet(667, 1500), 667);
  assert.is(queue.packets, uplink.packetsPerNeighbour + Math.floor(uplink.bytesPerNeighbour / 1500));
  assert.is(queue.enqueue(0, packet(7), 7), 'ok');
  assert.is(queue.enqueue(0, packet(owner), owner), 'ok');
  assert.is(queue.counters.get('neighbour-full'), 2000 - queue.packets + 2);
});

test('more neighbours than places: the further one is refused until a place is empty', () => {
  const queue = makeQueue({ neighbours: 2 });
  assert.is(queue.enqueue(0, packet(1), 1), 'ok');
  assert.is(queue.enqueue(0, packet(2), 2), 'ok');
  assert.is(queue.enqueue(0, packet(3), 3), 'no-place');
  assert.is(queue.enqueue(0, packet(2), 2), 'ok');
  assert.is(queue.dequeue(0)?.from, 1);
  assert.is(queue.enqueue(0, packet(3), 3), 'ok');
  assert.equal(
    drain(queue).map(({ from }) => from),
    [2, 3, 2],
  );
});

test('a packet that is too long is refused by name, for the owner too', () => {
  const queue = makeQueue();
  assert.is(queue.enqueue(0, packet(owner, 1501), owner), 'too-long');
  assert.is(queue.enqueue(0, packet(7, 1501), 7), 'too-long');
  assert.is(queue.packets, 0);
  assert.is(queue.readyAt(), never);
});

test('under a random flood all bounds hold, what was taken leaves once and in its sender’s order, and every packet is counted', () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = new Random(seed, 'flood');
    const options = {
      ownPackets: 1 + random.below(20),
      ownBytes: 1500 + random.below(20_000),
      neighbours: 1 + random.below(5),
      packetsPerNeighbour: 2 + random.below(20),
      bytesPerNeighbour: 1500 + random.below(20_000),
      forwardedShare: random.chance(0.5) ? 0 : random.unit() / 2,
    };
    const queue = makeQueue(options);
    const waiting = new Map<number, Packet[]>();
    let taken = 0;
    let left = 0;
    for (let i = 0; i < 2000; i++) {
      const place = `seed ${seed} step ${i}`;
      const from = random.below(9);
      const arriving = packet(from, random.below(1600), i);
      if (queue.enqueue(i, arriving, from) === 'ok') {
        taken++;
        waiting.set(from, [...(waiting.get(from) ?? []), arriving]);
      }
      const leaving = queue.dequeue(i);
      if (leaving) {
        left++;
        const first = waiting.get(leaving.from)?.shift();
        assert.is(first, leaving, place);
        if (waiting.get(leaving.from)?.length === 0) waiting.delete(leaving.from);
      }
      const sum = (packets: readonly Packet[]) => packets.reduce((bytes, { length }) => bytes + length, 0);
      let [packets, bytes] = [0, 0];
      for (const [sender, theirs] of waiting) {
        const own = sender === owner;
        assert.ok(theirs.length <= (own ? options.ownPackets : options.packetsPerNeighbour), place);
        assert.ok(sum(theirs) <= (own ? options.ownBytes : options.bytesPerNeighbour), place);
        packets += theirs.length;
        bytes += sum(theirs);
      }
      assert.ok(waiting.size - (waiting.has(owner) ? 1 : 0) <= options.neighbours, place);
      assert.is(queue.packets, packets, place);
      assert.is(queue.bytes, bytes, place);
    }
    const { counters } = queue;
    assert.is(counters.get('own.sent') + counters.get('forwarded.sent'), left);
    const refused = (['too-long', 'own-full', 'neighbour-full', 'no-place'] as const).map(reason =>
      counters.get(reason),
    );
    assert.is(
      refused.reduce((sum, count) => sum + count, 0),
      2000 - taken,
    );
  }
});

/** The forwarded part of the bytes while own and forwarded packets flood. */
function forwardedPart(forwardedShare: number): number {
  const queue = makeQueue({ forwardedShare });
  let [forwarded, all] = [0, 0];
  for (let i = 0; i < 5000; i++) {
    while (queue.enqueue(i, packet(owner, 1000), owner) === 'ok');
    while (queue.enqueue(i, packet(7, 1500), 7) === 'ok');
    const left = queue.dequeue(queue.readyAt()) as Packet;
    all += left.length;
    if (left.from !== owner) forwarded += left.length;
  }
  return forwarded / all;
}

test('own traffic may starve the neighbours, unless the owner leaves them a share, and then they get just that', () => {
  assert.is(forwardedPart(0), 0);
  for (const share of [0.05, 0.2, 0.5]) {
    const part = forwardedPart(share);
    assert.ok(Math.abs(part - share) < 0.002, `${part} of ${share}`);
  }
});

test('with a share an own packet still waits for one forwarded packet at a time, and an idle past saves nothing up', () => {
  const queue = makeQueue({ forwardedShare: 0.5 });
  for (let i = 0; i < 20; i++) queue.enqueue(0, packet(7, 1500), 7);
  for (let i = 0; i < 10; i++) queue.dequeue(queue.readyAt());
  for (let i = 0; i < 5; i++) queue.enqueue(60, packet(owner, 1500), owner);
  const order = drain(queue, 60).map(({ from }) => from);
  assert.equal(order.slice(0, 10), [owner, 7, owner, 7, owner, 7, owner, 7, owner, 7]);
});

test.run();
