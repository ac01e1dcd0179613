import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { type EventHandle, Kernel } from '../../host-sim/sim/kernel.js';

test('events fire by time and then in the order they were scheduled', () => {
  const kernel = new Kernel();
  const fired: string[] = [];
  const actor = { fire: (now: number, tag: string) => fired.push(`${now} ${tag}`) };
  kernel.schedule(5, actor, 'a');
  kernel.schedule(1, actor, 'b');
  kernel.schedule(5, actor, 'c');
  kernel.schedule(0.25, actor, 'd');
  assert.is(kernel.nextAt(), 0.25);
  assert.is(kernel.run(5), 4);
  assert.equal(fired, ['0.25 d', '1 b', '5 a', '5 c']);
  assert.is(kernel.now, 5);
  assert.is(kernel.nextAt(), Infinity);
});

test('an event scheduled for the present instant fires in the same run, after what was there', () => {
  const kernel = new Kernel();
  const fired: string[] = [];
  const last = { fire: () => fired.push('last') };
  const first = { fire: (now: number) => kernel.schedule(now, last, undefined) };
  kernel.schedule(3, first, undefined);
  kernel.schedule(3, { fire: () => fired.push('second') }, undefined);
  kernel.run(3);
  assert.equal(fired, ['second', 'last']);
});

test('run stops at maxEvents with the clock at the last event, and goes on from there', () => {
  const kernel = new Kernel();
  const fired: number[] = [];
  const actor = { fire: (now: number) => fired.push(now) };
  for (let at = 1; at <= 5; at++) kernel.schedule(at, actor, undefined);
  assert.is(kernel.run(10, 2), 2);
  assert.is(kernel.now, 2);
  assert.is(kernel.run(10, 100), 3);
  assert.is(kernel.now, 10);
  assert.equal(fired, [1, 2, 3, 4, 5]);
});

test('scheduling in the past, at no time and running backwards are programmer errors that say what was expected', () => {
  const kernel = new Kernel();
  const actor = { fire: () => {} };
  kernel.run(10);
  assert.throws(() => kernel.schedule(9, actor, undefined), 'at: expected a time from 10 on, got 9');
  assert.throws(() => kernel.schedule(Number.NaN, actor, undefined), 'got NaN');
  assert.throws(() => kernel.schedule(Infinity, actor, undefined), 'got Infinity');
  assert.throws(() => kernel.run(9), 'until: expected a time from 10 on, got 9');
});

test('a handle names its own event only: not after it fired, and not the next event in its place', () => {
  const kernel = new Kernel();
  const fired: string[] = [];
  const actor = { fire: (_now: number, tag: string) => fired.push(tag) };
  const past = kernel.schedule(1, actor, 'past');
  kernel.run(1);
  kernel.schedule(2, actor, 'heir');
  assert.not(kernel.cancel(past));
  assert.not(kernel.cancel(0));
  const taken = kernel.schedule(3, actor, 'taken back');
  assert.ok(kernel.cancel(taken));
  assert.not(kernel.cancel(taken));
  assert.is(kernel.pending, 1);
  kernel.run(9);
  assert.equal(fired, ['past', 'heir']);
});

test('cancelled events do not pile up: a timer moved a million times leaves the heap small', () => {
  const kernel = new Kernel();
  const actor = { fire: () => {} };
  let handle = 0;
  for (let i = 0; i < 1_000_000; i++) {
    kernel.cancel(handle);
    handle = kernel.schedule(1e9 + i, actor, undefined);
  }
  assert.is(kernel.pending, 1);
  assert.ok(kernel.footprint < 5000, `${kernel.footprint} slots`);
});

test('after most of many events were cancelled at once the rest still fire in order', () => {
  const random = new Random(5, 'mass cancel');
  for (let round = 0; round < 50; round++) {
    const kernel = new Kernel();
    const fired: number[] = [];
    const actor = { fire: (_now: number, at: number) => fired.push(at) };
    const expected: number[] = [];
    const handles: EventHandle[] = [];
    for (let i = 0; i < 300; i++) {
      const at = random.below(1000);
      const handle = kernel.schedule(at, actor, at);
      if (random.chance(0.7)) handles.push(handle);
      else expected.push(at);
    }
    for (const handle of handles) assert.ok(kernel.cancel(handle));
    assert.is(kernel.pending, expected.length);
    kernel.run(1000);
    assert.equal(
      fired,
      expected.sort((a, b) => a - b),
      `round ${round} of seed 5`,
    );
  }
});

test('random schedules, cancels and runs agree with a plain sorted list', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Random(seed, 'kernel model');
    const kernel = new Kernel();
    const fired: number[] = [];
    const expected: number[] = [];
    let model: { at: number; id: number; handle: EventHandle }[] = [];
    let nextId = 0;
    // Some events schedule others while they fire, so the model is told there.
    const actor = {
      fire(now: number, id: number) {
        fired.push(id);
        const due = [...model].sort((a, b) => a.at - b.at || a.id - b.id)[0];
        expected.push(due.id);
        assert.is(due.at, now, `seed ${seed}`);
        model = model.filter(event => event !== due);
        if (random.chance(0.3)) schedule();
        if (random.chance(0.2)) cancel();
      },
    };
    const schedule = () => {
      // Few different times, so that ties are common.
      const at = kernel.now + random.below(8) / 2;
      const id = nextId++;
      model.push({ at, id, handle: kernel.schedule(at, actor, id) });
    };
    const cancel = () => {
      if (model.length === 0) return;
      const victim = model[random.below(model.length)];
      assert.ok(kernel.cancel(victim.handle), `seed ${seed}`);
      model = model.filter(event => event !== victim);
    };
    for (let step = 0; step < 300; step++) {
      const choice = random.below(10);
      if (choice < 6) schedule();
      else if (choice < 9) cancel();
      else kernel.run(kernel.now + random.below(4), random.chance(0.5) ? 3 : Infinity);
      assert.is(kernel.pending, model.length, `seed ${seed}`);
      assert.is(kernel.nextAt(), Math.min(Infinity, ...model.map(event => event.at)), `seed ${seed}`);
    }
    kernel.run(kernel.now + 100);
    assert.equal(fired, expected, `seed ${seed}`);
    assert.is(model.length, 0, `seed ${seed}`);
  }
});

test.run();
