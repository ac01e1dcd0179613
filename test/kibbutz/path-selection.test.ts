import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import {
  choose,
  type NeighbourPath,
  type OwnLink,
  own,
  type PathPlan,
  PathSelection,
  type Priority,
  type Profile,
  planChanges,
} from '../../agent/kibbutz/path-selection.js';

const idle: OwnLink = { high: false, metered: false };
const high: OwnLink = { high: true, metered: false };
const profiles: readonly Profile[] = ['save-energy', 'max-bandwidth', 'min-rtt'];

function offer(member: number, offerUntil: number, poor = false): NeighbourPath {
  return { member, offerUntil, poor };
}

/** `own:backup 3:normal via 3` */
function text({ paths, carrier }: PathPlan): string {
  const name = (member: number) => (member === own ? 'own' : member);
  return `${paths.map(({ member, priority }) => `${name(member)}:${priority}`).join(' ')} via ${name(carrier)}`;
}

test('each profile marks the paths as the paper says, and names the one that carries alone', () => {
  const both = [offer(1, 500), offer(2, 900)];
  const metered = { high: true, metered: true };
  const cases: readonly [Profile, OwnLink, readonly NeighbourPath[], string][] = [
    ['save-energy', idle, [], 'own:backup via own'],
    ['save-energy', idle, both, 'own:backup 1:backup 2:normal via 2'],
    ['save-energy', high, both, 'own:backup 1:backup 2:normal via 2'],
    ['max-bandwidth', idle, both, 'own:backup 1:backup 2:backup via own'],
    ['min-rtt', idle, both, 'own:backup 1:backup 2:backup via 2'],
    ['min-rtt', high, both, 'own:backup 1:backup 2:backup via own'],
    ['min-rtt', metered, both, 'own:backup 1:normal 2:normal via 2'],
    ['min-rtt', metered, [], 'own:backup via own'],
    ['max-bandwidth', metered, both, 'own:backup 1:backup 2:backup via own'],
  ];
  for (const [profile, link, neighbours, expected] of cases) {
    const plan = new PathSelection().update(100, profile, link, neighbours);
    assert.is(text(plan), expected, `${profile} ${JSON.stringify(link)}`);
  }
});

test('an advertisement counts until the instant it expires, and the plan says when that is', () => {
  const selection = new PathSelection();
  const neighbours = [offer(1, 500), offer(2, 900)];
  assert.is(
    text(selection.update(499, 'save-energy', idle, neighbours)),
    'own:backup 1:backup 2:normal via 2',
  );
  assert.is(selection.pollAt(), 500);
  assert.is(text(selection.update(500, 'save-energy', idle, neighbours)), 'own:backup 2:normal via 2');
  assert.is(selection.pollAt(), 900);
  assert.is(text(selection.update(900, 'save-energy', idle, neighbours)), 'own:backup via own');
  assert.is(selection.pollAt(), never);
});

test('a poor path is left for a good one, and the own link joins in only where there is none', () => {
  const selection = new PathSelection();
  const update = (...neighbours: NeighbourPath[]) =>
    text(selection.update(0, 'save-energy', idle, neighbours));
  assert.is(update(offer(1, 500), offer(2, 900, true)), 'own:backup 1:normal 2:backup via 1');
  assert.is(update(offer(1, 500, true), offer(2, 900, true)), 'own:normal 1:backup 2:normal via own');
  assert.is(update(offer(2, 900, true)), 'own:normal 2:normal via own');
  assert.is(update(offer(2, 900)), 'own:backup 2:normal via 2');
});

test('of two advertisements that expire together the first is taken, each time', () => {
  const neighbours = [offer(7, 500), offer(3, 500)];
  for (let i = 0; i < 3; i++) assert.is(choose(i, 'save-energy', idle, neighbours), 0);
});

/** A device's neighbours and radio at random instants: shared by the properties below. */
function* life(seed: number) {
  const random = new Random(seed, 'path selection');
  const neighbours = [1, 2, 3, 4].map(member => ({ member, offerUntil: -1, poor: false }));
  for (let now = 0; now < 60_000; now += 1 + random.below(400)) {
    const changed = neighbours[random.below(4)];
    if (random.chance(0.2)) changed.offerUntil = now + 10_000;
    if (random.chance(0.1)) changed.poor = !changed.poor;
    const link = { high: random.chance(0.5), metered: random.chance(0.5) };
    yield { now, profile: profiles[random.below(3)], link, neighbours };
  }
}

test('a path manager that is driven by the changes alone always stands where the plan does', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const selection = new PathSelection();
    const manager = new Map<number, Priority>([[own, 'backup']]);
    let steps = 0;
    for (const { now, profile, link, neighbours } of life(seed)) {
      const before = selection.plan;
      const after = selection.update(now, profile, link, neighbours);
      const changes = planChanges(before, after);
      for (const { member, priority } of changes) {
        assert.is.not(manager.get(member), priority, `seed ${seed}: a change that changes nothing`);
        if (priority === undefined) manager.delete(member);
        else manager.set(member, priority);
      }
      steps += changes.length;
      const paths = after.paths.map(({ member, priority }) => [member, priority] as const);
      assert.equal([...manager].sort(), [...paths].sort(), `seed ${seed} at ${now}`);
      assert.is(selection.update(now, profile, link, neighbours), after, `seed ${seed}: not the same object`);
    }
    assert.ok(steps > 10, `seed ${seed}: nothing happened`);
  }
});

test('what is chosen for a packet is the plan’s carrier, and never a metered own link while a good path is offered for the RTT', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const selection = new PathSelection();
    for (const { now, profile, link, neighbours } of life(seed)) {
      const place = choose(now, profile, link, neighbours);
      const { carrier, paths } = selection.update(now, profile, link, neighbours);
      assert.is(carrier, place === own ? own : neighbours[place].member, `seed ${seed} at ${now}`);
      if (place !== own) assert.ok(neighbours[place].offerUntil > now, `seed ${seed} at ${now}: expired`);
      if (profile !== 'min-rtt' || !link.metered) continue;
      if (!neighbours.some(({ offerUntil, poor }) => offerUntil > now && !poor)) continue;
      assert.is.not(place, own, `seed ${seed} at ${now}`);
      assert.is(paths[0].priority, 'backup', `seed ${seed} at ${now}`);
      assert.ok(paths.some(path => path.priority === 'normal'));
    }
  }
});

test.run();
