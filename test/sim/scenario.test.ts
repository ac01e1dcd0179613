import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { printSimulation, type SimulateOptions, simulate } from '../../host-sim/cli/sim.js';
import { buildWorld, scenarios } from '../../host-sim/scenario/scenario.js';
import { MemoryBus } from '../../host-sim/sim/bus.js';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { needs } from '../support/needs.js';

const minute = 60_000;

async function failure(name: string, options: SimulateOptions): Promise<string> {
  try {
    await simulate(name, options);
  } catch (error) {
    return (error as Error).message;
  }
  return 'no error';
}

test('the same seed gives the same bytes, another seed others', async () => {
  const run = (seed: number) => simulate('street', { seed, durationMs: 5 * minute, homes: 3 });
  const [first, again, other] = [await run(1), await run(1), await run(2)];
  assert.equal(first, again);
  assert.is.not(first.digest, other.digest);
  assert.ok(first.frames > 500 && first.publications > 50);
});

test('in the home nobody wakes the desktop, and the laptop gets no answer', async () => {
  const { nodes, hosts } = await simulate('home', { seed: 3, durationMs: 10 * minute });
  const [desktop, laptop] = hosts;
  assert.is(desktop.mac, '3c:22:fb:01:02:03');
  assert.is(desktop.asleepMs, 10 * minute);
  assert.ok(laptop.counters['connections.unanswered'] > 30);
  assert.is(laptop.counters['connections.answered'], undefined);
  assert.is(nodes[0].state, 'ready');
  assert.is(nodes[0].rules['arp-desktop'].status, 'accepted');
  assert.ok(nodes[0].telemetry['power-proxy']['frames.answered'] > 0);
});

test('in wake the rule is obeyed whatever the seed: the desktop comes up once, answers, and sleeps again', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { hosts, nodes } = await simulate('wake', { seed, durationMs: 4 * minute });
    const [desktop, laptop] = hosts;
    assert.is(desktop.counters['wakes'], 1, `seed ${seed}`);
    assert.is(laptop.counters['connections.answered'], 1, `seed ${seed}`);
    assert.ok(desktop.awakeMs >= 40_000 && desktop.awakeMs < 52_000, `seed ${seed}: ${desktop.awakeMs}`);
    assert.is(nodes[0].rules['ssh-desktop'].status, 'expired', `seed ${seed}`);
  }
});

test('twenty homes for ten minutes: every node is ready, every home lives its own life', async () => {
  const { nodes, hosts, drops } = await simulate('street', { seed: 1, durationMs: 10 * minute });
  assert.is(nodes.length, 20);
  assert.ok(nodes.every(({ state, boots }) => state === 'ready' && boots === 1));
  assert.equal([nodes[0].node, nodes[19].node], ['gw-1', 'gw-20']);
  assert.is(new Set(hosts.map(({ mac }) => mac)).size, hosts.length);
  const laptops = hosts.filter(({ name }) => name.endsWith('laptop'));
  assert.ok(new Set(laptops.map(({ counters }) => counters['frames.heard'])).size > 5);
  assert.ok(drops['link.lost'] > 0);
});

test('options at fault are named, with what was expected', async () => {
  const good = { seed: 1, durationMs: 1000 };
  assert.is(await failure('hom', good), 'scenario: expected one of home, street, wake, got hom');
  assert.is(await failure('toString', good), 'scenario: expected one of home, street, wake, got toString');
  assert.is(await failure('home', { ...good, homes: 2 }), 'homes: expected 1, got 2');
  assert.is(await failure('street', { ...good, homes: 0 }), 'homes: expected an integer 1..10000, got 0');
  assert.is(
    await failure('home', { ...good, seed: 1.5 }),
    'seed: expected an integer 0..9007199254740991, got 1.5',
  );
  assert.is(
    await failure('home', { ...good, durationMs: 0 }),
    'durationMs: expected an integer 1..31536000000, got 0',
  );
  assert.match(
    await failure('home', { ...good, pcap: '/nowhere/x.pcap' }),
    /^pcap: expected a file that can be written/,
  );
});

test('the pcap of a run has every frame of the first home and nothing malformed for tshark', async () => {
  if (!needs('tshark', 'tshark')) return;
  const folder = mkdtempSync(join(tmpdir(), 'kith-sim-'));
  try {
    const pcap = join(folder, 'wake.pcap');
    const { frames } = await simulate('wake', { seed: 1, durationMs: 3 * minute, pcap });
    const tshark = (...args: string[]) =>
      execFileSync('tshark', ['-r', pcap, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
        .split('\n')
        .slice(0, -1);
    assert.is(tshark().length, frames);
    assert.equal(tshark('-Y', '_ws.malformed'), []);
    assert.is(tshark('-Y', 'wol').length >= 1, true);
    // The magic packet follows the SYN that caused it, at once.
    const [wokenAt] = tshark('-Y', 'wol', '-T', 'fields', '-e', 'frame.time_relative').map(Number);
    const syns = tshark('-Y', 'tcp.flags == 0x0002', '-T', 'fields', '-e', 'frame.time_relative').map(Number);
    assert.ok(syns.some(at => at < wokenAt && wokenAt - at < 0.001));
    assert.ok(readFileSync(pcap).length > 1000);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('printed for programs it is one JSON object, for people it names every node and host', async () => {
  const printed = async (json: boolean) => {
    const lines: string[] = [];
    await printSimulation('home', { seed: 1, duration: minute, json }, line => void lines.push(line));
    return lines;
  };
  const [line, ...more] = await printed(true);
  assert.is(more.length, 0);
  assert.equal(JSON.parse(line), await simulate('home', { seed: 1, durationMs: minute }));
  const text = (await printed(false)).join('\n');
  for (const name of [
    'home/gw-1: ready',
    'rule arp-desktop: accepted',
    'gw-1/desktop',
    'gw-1/laptop',
    'digest',
  ])
    assert.ok(text.includes(name), name);
});

test('building a world does nothing until the kernel runs, and a stopped world says goodbye', () => {
  for (const name of Object.keys(scenarios)) {
    const kernel = new Kernel();
    const bus = new MemoryBus(kernel);
    const world = buildWorld(name, { seed: 1 }, { kernel, bus });
    assert.is(kernel.fired, 0);
    assert.is(world.nodes.filter(({ running }) => running).length, 0);
    kernel.run(5_000);
    assert.ok(world.nodes.every(({ running }) => running));
    world.stop();
    kernel.run(10_000);
    for (const { id } of world.nodes) {
      const state = bus.retained.get(`kith/1/${id.site}/${id.node}/state`)!;
      assert.is(new TextDecoder().decode(state.payload), 'disconnected');
    }
    assert.is(bus.counters.get('wills'), 0);
  }
});

test.run();
