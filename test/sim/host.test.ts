import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { arpFrame, icmpFrame } from '../../host-sim/sim/frames.js';
import { type ConnectOutcome, Host, type HostOptions } from '../../host-sim/sim/host.js';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { type Port, Segment } from '../../host-sim/sim/segment.js';
import { PcapTap } from '../../host-sim/sim/tap.js';
import { Chatter, Prober } from '../../host-sim/sim/traffic.js';
import { needs } from '../support/needs.js';

const sleepy = { idleMs: 40_000, bootMs: 3_000, asleep: true };

class Lan {
  readonly kernel = new Kernel();
  readonly segment = new Segment(this.kernel);
  readonly tap = new PcapTap();
  readonly outsider: Port;
  private hosts = 0;

  constructor() {
    this.segment.addTap(this.tap);
    this.outsider = this.segment.attach({ receive: () => {} });
  }

  host(name: string, options: Partial<HostOptions> = {}): Host {
    const number = ++this.hosts;
    return new Host({
      kernel: this.kernel,
      network: this.segment,
      seed: 1,
      name,
      mac: new Uint8Array([2, 0, 0, 0, 0, number]),
      address: new Uint8Array([192, 168, 1, number]),
      ...options,
    });
  }

  pass(ms: number): void {
    this.kernel.run(this.kernel.now + ms);
  }

  /** What came of trying `port` of `to`, as the port's number; advances time until it is known. */
  outcome(from: Host, to: Host, port: number): ConnectOutcome | undefined {
    let outcome: ConnectOutcome | undefined;
    assert.ok(from.connect(to.address, port, value => (outcome = value)));
    this.pass(20_000);
    return outcome;
  }

  /** A magic packet for a host, `prefix` bytes into the frame's payload. */
  wake(mac: Uint8Array, prefix = 0, repetitions = 16): void {
    const frame = new Uint8Array(14 + prefix + 6 + repetitions * 6 + 4);
    frame.fill(0xff, 0, 6);
    frame.set([2, 0, 0, 0, 9, 9, 0x08, 0x42], 6);
    frame.fill(0xff, 14 + prefix, 20 + prefix);
    for (let i = 0; i < repetitions; i++) frame.set(mac, 20 + prefix + 6 * i);
    this.outsider.send(frame);
    this.pass(1);
  }

  /** One line of tshark's for each frame: the columns given. */
  tshark(...fields: string[]): string[] {
    const folder = mkdtempSync(join(tmpdir(), 'kith-host-'));
    try {
      const file = join(folder, 'lan.pcap');
      writeFileSync(file, this.tap.bytes());
      const args = ['-r', file, '-o', 'ip.check_checksum:TRUE', '-o', 'tcp.check_checksum:TRUE'];
      args.push('-o', 'udp.check_checksum:TRUE', '-T', 'fields', '-E', 'separator= ');
      const text = execFileSync('tshark', [...args, ...fields.flatMap(field => ['-e', field])], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      return text.split('\n').slice(0, -1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}

test('a connection to an open port is answered, to a closed one refused, to nobody unanswered', () => {
  const lan = new Lan();
  const laptop = lan.host('laptop');
  const desktop = lan.host('desktop', { openPorts: [22] });
  assert.is(lan.outcome(laptop, desktop, 22), 'answered');
  assert.is(lan.outcome(laptop, desktop, 23), 'refused');
  const ghost = lan.host('ghost', { sleep: sleepy });
  assert.is(lan.outcome(laptop, ghost, 22), 'unanswered');
  const { counters } = laptop;
  assert.is(counters.get('connections.tried'), 3);
  assert.equal(
    (['answered', 'refused', 'unanswered'] as const).map(outcome => counters.get(`connections.${outcome}`)),
    [1, 1, 1],
  );
  // Once for the desktop, three times for the ghost.
  assert.is(counters.get('arp.asked'), 4);
  assert.equal(desktop.counters.snapshot(), {
    'frames.sent': 3,
    // Four ARP requests, two SYNs, ACK and RST.
    'frames.heard': 8,
    'arp.answered': 1,
    'tcp.asked': 2,
    'tcp.answered': 1,
    'tcp.refused': 1,
  });
});

test('a resolved address is asked for again after a minute, and not before', () => {
  const lan = new Lan();
  const laptop = lan.host('laptop');
  const desktop = lan.host('desktop', { openPorts: [22] });
  for (let i = 0; i < 5; i++) assert.is(lan.outcome(laptop, desktop, 22), 'answered');
  // At 0, 20, 40 s from the cache; at 60 s the entry made just after 0 is still good; at 80 s it is not.
  assert.is(laptop.counters.get('arp.asked'), 2);
});

test('two attempts at once share one question, and both are answered', () => {
  const lan = new Lan();
  const laptop = lan.host('laptop');
  const desktop = lan.host('desktop', { openPorts: [22] });
  const outcomes: ConnectOutcome[] = [];
  for (let i = 0; i < 2; i++) laptop.connect(desktop.address, 22, outcome => outcomes.push(outcome));
  lan.pass(1000);
  assert.equal(outcomes, ['answered', 'answered']);
  assert.is(laptop.counters.get('arp.asked'), 1);
});

test('SYNs go out at 0, 1, 3 and 7 s, and the attempt is given up at 10 s', () => {
  const lan = new Lan();
  const laptop = lan.host('laptop');
  const ghost = lan.host('ghost', { sleep: sleepy });
  // Somebody answers ARP for the sleeping host, as a power proxy does.
  const times: number[] = [];
  const proxy = lan.segment.attach({
    receive: (now, frame) => {
      if (frame[12] === 0x08 && frame[13] === 0x00) times.push(Math.round(now));
      if (frame[13] !== 0x06) return;
      proxy.send(
        arpFrame(laptop.mac, {
          operation: 2,
          senderMac: ghost.mac,
          senderAddress: ghost.address,
          targetMac: laptop.mac,
          targetAddress: laptop.address,
        }),
      );
    },
  });
  let givenUpAt = 0;
  laptop.connect(ghost.address, 22, () => (givenUpAt = lan.kernel.now));
  lan.pass(20_000);
  assert.equal(times, [0, 1000, 3000, 7000]);
  assert.is(Math.round(givenUpAt), 10_000);
});

test('an echo request to the host comes back with its data, others are left alone', () => {
  const lan = new Lan();
  const desktop = lan.host('desktop');
  const heard: Uint8Array[] = [];
  const asker = lan.segment.attach({ receive: (_now, frame) => heard.push(frame) });
  const route = {
    srcMac: new Uint8Array([2, 0, 0, 0, 0, 99]),
    dstMac: desktop.mac,
    srcAddress: new Uint8Array([192, 168, 1, 99]),
  };
  const data = encodeUtf8('are you there?');
  const echo = { type: 8, code: 0, rest: 0x12340001 };
  asker.send(icmpFrame({ ...route, dstAddress: desktop.address }, echo, data));
  asker.send(icmpFrame({ ...route, dstAddress: new Uint8Array([192, 168, 1, 77]) }, echo, data));
  lan.pass(10);
  assert.is(heard.length, 1);
  assert.equal([...heard[0].subarray(0, 6)], [...route.srcMac]);
  assert.equal(
    [...heard[0].subarray(34)],
    [...icmpFrame({ ...route, dstAddress: desktop.address }, { ...echo, type: 0 }, data).subarray(34)],
  );
});

test('a sleeping host hears nothing but a magic packet for its own MAC, whatever precedes it', () => {
  const lan = new Lan();
  const laptop = lan.host('laptop');
  const desktop = lan.host('desktop', { openPorts: [22], sleep: sleepy });
  assert.is(lan.outcome(laptop, desktop, 22), 'unanswered');
  lan.wake(laptop.mac);
  lan.wake(desktop.mac, 0, 15);
  lan.pass(10_000);
  assert.not(desktop.awake);
  assert.is(desktop.counters.get('wakes'), 0);
  // As UDP carries it: 28 bytes of IPv4 and UDP come first.
  lan.wake(desktop.mac, 28);
  lan.pass(2_990);
  assert.not(desktop.awake, 'boots for three seconds');
  lan.pass(20);
  assert.ok(desktop.awake);
  assert.is(lan.outcome(laptop, desktop, 22), 'answered');
});

test('a host sleeps again after its idle time, use puts that off, and its times add up', () => {
  const lan = new Lan();
  const laptop = lan.host('laptop');
  const desktop = lan.host('desktop', { openPorts: [22], sleep: { ...sleepy, asleep: false } });
  lan.pass(30_000);
  assert.is(lan.outcome(laptop, desktop, 22), 'answered');
  lan.pass(19_990);
  assert.ok(desktop.awake, '69.99 s: used at 30 s');
  lan.pass(20);
  assert.not(desktop.awake, '70.01 s');
  lan.wake(desktop.mac);
  lan.pass(100_000);
  const { awakeMs, asleepMs } = desktop.times();
  // 70 s at first, then 40 s after waking.
  assert.ok(Math.abs(awakeMs - 110_000) < 1, `${awakeMs}`);
  assert.is(awakeMs + asleepMs, lan.kernel.now);
});

test('a prober is quiet for a while after an answer and impatient without one', () => {
  const lan = new Lan();
  const laptop = lan.host('laptop');
  const desktop = lan.host('desktop', { openPorts: [22], sleep: sleepy });
  const { kernel } = lan;
  const every = { startAt: 0, retryMs: 15_000, contentMs: 120_000 };
  new Prober({ kernel, seed: 1, host: laptop, address: desktop.address, port: 22, ...every });
  lan.pass(150_000);
  const before = laptop.counters.get('connections.tried');
  assert.ok(before >= 9 && before <= 11, `${before}`);
  lan.wake(desktop.mac);
  lan.pass(100_000);
  assert.is(laptop.counters.get('connections.answered'), 1);
  assert.is(laptop.counters.get('connections.tried'), before + 1);
});

test('what hosts send is well formed for tshark: ARP, TCP, ICMP and SSDP, checksums included', () => {
  if (!needs('tshark', 'tshark')) return;
  const lan = new Lan();
  const { kernel } = lan;
  const laptop = lan.host('laptop');
  const desktop = lan.host('desktop', { openPorts: [22], sleep: sleepy });
  const payload = encodeUtf8('M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n');
  const ssdp = { group: new Uint8Array([239, 255, 255, 250]), port: 1900, payload, everyMs: 5_000 };
  new Chatter({ kernel, seed: 1, host: laptop, ...ssdp });
  lan.wake(desktop.mac);
  lan.pass(5_000);
  lan.outcome(laptop, desktop, 22);
  lan.outcome(laptop, desktop, 23);
  assert.equal(
    lan.tshark('_ws.malformed', '_ws.expert.message').filter(line => /malformed|bad|incorrect/i.test(line)),
    [],
  );
  const protocols = lan.tshark('frame.protocols');
  for (const protocol of [
    'eth:ethertype:arp',
    'eth:ethertype:ip:tcp',
    'eth:ethertype:ip:udp:ssdp',
    'eth:ethertype:wol',
  ])
    assert.ok(protocols.includes(protocol), `${protocol} in ${[...new Set(protocols)].join()}`);
  for (const field of ['ip.checksum.status', 'tcp.checksum.status', 'udp.checksum.status'])
    assert.equal(
      [...new Set(lan.tshark(field).filter(status => status !== ''))],
      ['1'],
      `${field}: all good`,
    );
  assert.equal(
    lan.tshark('tcp.flags').filter(flags => flags !== ''),
    ['0x0002', '0x0012', '0x0010', '0x0014', '0x0002', '0x0014'],
  );
  assert.ok(lan.tshark('arp.isannouncement').filter(value => value !== '').length >= 2);
});

test.run();
