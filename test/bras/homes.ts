/**
 * A BRAS and homes that dial in to it, in memory: frames in a queue, time by hand. For the tests of host-sim/bras and its
 * benchmark. Bounded by the test.
 */

import { readUint16, writeUint16, writeUint32 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { defaultDiscoveryLimits } from '../../agent/pppoe/discovery-server.js';
import { encapsulationHeadroom } from '../../agent/pppoe/encapsulation.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { digest } from '../../edge/linux/digest.js';
import type { Aaa, AccountingRecord } from '../../host-sim/bras/aaa.js';
import { FileAaa, parseUsers } from '../../host-sim/bras/aaa-file.js';
import { Ipv4Pool, parseIpv4 } from '../../host-sim/bras/address-pool.js';
import { Bras, type BrasConfig } from '../../host-sim/bras/bras.js';
import { Home, type HomeOptions } from '../../host-sim/bras/home.js';

export const acMac = new Uint8Array([2, 0xac, 0, 0, 0, 1]);
export const address = (text: string): number => parseIpv4(text, 'address');
const free = { bytesPerSecond: Infinity, burstBytes: 1, queueBytes: 0 };
export const users = parseUsers(
  ['ada * secret-a', 'bob * secret-b 10.9.0.5 rate=slow', 'eve * secret-e * timeout=90s'].join('\n'),
  'ac',
);

export function brasConfig(more: Partial<BrasConfig> = {}): BrasConfig {
  const rates = [
    { name: 'line', ...free },
    { name: 'slow', bytesPerSecond: 10_000, burstBytes: 2_000, queueBytes: 20_000 },
  ];
  return {
    mac: acMac,
    acName: 'ac',
    services: ['internet'],
    maxPayload: 1492,
    authentication: ['chap-md5', 'pap', 'ms-chap-v2'],
    sessions: 65_534,
    local: address('10.0.0.1'),
    dns: [address('192.0.2.53')],
    nbns: [],
    pool: new Ipv4Pool({ ranges: ['10.1.0.1-10.2.255.254'] }),
    echoIntervalMs: 20_000,
    echoFailures: 3,
    sameUser: 'replace',
    interimS: 0,
    rateClasses: { up: rates, down: rates },
    shaperMemoryBytes: 1e6,
    limits: {
      ...defaultDiscoveryLimits,
      lineBurst: 1e5,
      linePerSecond: 25_000,
      setupsPerSecond: 1e5,
      offersPerSecond: 1e5,
      halfOpen: 65_534,
    },
    instance: 'test',
    ...more,
  };
}

export interface BrasRig {
  readonly bras: Bras;
  readonly records: AccountingRecord[];
  readonly lines: string[];
  /** IP packets that left on the IP side. */
  readonly packets: Uint8Array[];
}

/** One access link, number 0, on which several BRASes and homes may stand. */
export class Access {
  now = 0;
  readonly homes = new Map<number, Home>();
  readonly brases: Bras[] = [];
  /** Frames that went by and are for nobody here: plain ones, for instance. */
  readonly seen: Uint8Array[] = [];
  /** Control frames to lose. */
  lose: (frame: Uint8Array) => boolean = () => false;
  /** What becomes of a BRAS's frames, and whether IP packets are kept: a benchmark looks on without a copy. */
  fromBras = (bytes: Uint8Array, start: number, end: number): void =>
    this.send(bytes.slice(start, end), false);
  keepsPackets = true;
  private readonly queue: { readonly toBras: boolean; readonly frame: Uint8Array }[] = [];
  private head = 0;

  addBras(more: Partial<BrasConfig> = {}, makeAaa?: (records: AccountingRecord[]) => Aaa): BrasRig {
    const records: AccountingRecord[] = [];
    const lines: string[] = [];
    const packets: Uint8Array[] = [];
    const entropy = new Random(1 + this.brases.length, 'entropy');
    const aaa = makeAaa?.(records) ?? new FileAaa(users, digest, (_now, record) => records.push(record));
    const bras = new Bras(this.now, brasConfig(more), {
      digest,
      entropy,
      newKey: () => {
        const key = new Uint8Array(16);
        for (let at = 0; at < 16; at += 4) writeUint32(key, at, entropy.uint32());
        return key;
      },
      random: new Random(2, 'delays'),
      aaa,
      sendAccess: (_link, bytes, start, end) => this.fromBras(bytes, start, end),
      sendIp: (_now, bytes, start, end) => {
        if (this.keepsPackets) packets.push(bytes.slice(start, end));
      },
      log: (_now, line) => lines.push(line),
    });
    this.brases.push(bras);
    return { bras, records, lines, packets };
  }

  send(frame: Uint8Array, toBras: boolean): void {
    if (!this.lose(frame)) this.queue.push({ toBras, frame });
  }

  /** Until nothing is on its way. */
  settle(): void {
    for (; this.head < this.queue.length; this.head++) {
      const { toBras, frame } = this.queue[this.head];
      if (toBras) for (const bras of this.brases) bras.receiveAccess(this.now, 0, frame.slice());
      else {
        const home = this.homes.get(frame[5] + 256 * frame[4] + 65_536 * frame[3]);
        if (home && readUint16(frame, 12) !== 0x0800) home.receive(this.now, frame);
        else this.seen.push(frame);
      }
    }
    this.queue.length = 0;
    this.head = 0;
  }

  /** Lets `ms` pass. */
  pass(ms: number): void {
    const untilAt = this.now + ms;
    for (;;) {
      let at = untilAt;
      for (const bras of this.brases) at = Math.min(at, bras.pollAt());
      for (const home of this.homes.values()) at = Math.min(at, home.pollAt());
      this.now = Math.max(this.now, at);
      for (const bras of this.brases) if (bras.pollAt() <= this.now) bras.poll(this.now);
      for (const home of this.homes.values()) if (home.pollAt() <= this.now) home.poll(this.now);
      this.settle();
      if (this.now >= untilAt) return;
    }
  }

  dial(number: number, user: string, secret: string, more: Partial<HomeOptions> = {}): Home {
    const send = (frame: Uint8Array) => this.send(frame, true);
    const home = new Home({ number, user, secret, digest, send, ...more });
    this.homes.set(number, home);
    home.start(this.now);
    this.settle();
    return home;
  }
}

/** An IPv4 packet of `length` bytes with UDP's number and a right checksum. */
export function ipv4Packet(from: number, to: number, length = 64, protocol = 17, hops = 64): Uint8Array {
  const packet = new Uint8Array(length);
  packet[0] = 0x45;
  writeUint16(packet, 2, length);
  packet[8] = hops;
  packet[9] = protocol;
  writeUint32(packet, 12, from);
  writeUint32(packet, 16, to);
  writeUint16(packet, 10, internetChecksum(packet, 0, 20));
  return packet;
}

/** As the IP side hands it in. */
export function fromCore(bras: Bras, now: number, packet: Uint8Array): void {
  const bytes = new Uint8Array(encapsulationHeadroom + packet.length);
  bytes.set(packet, encapsulationHeadroom);
  bras.receiveIp(now, bytes, encapsulationHeadroom, bytes.length);
}
