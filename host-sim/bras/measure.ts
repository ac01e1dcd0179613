/**
 * How fast a BRAS sets up sessions, and what they cost it in memory: homes dial in from discovery to IPCP open with
 * CHAP-MD5, some at a time, all in this process with every frame built and parsed; then the homes are dropped.
 *
 * The rate counts both ends' work. Memory is what the BRAS holds: the bytes of its columns, and what the rest of the heap
 * grew by.
 */

import { createHash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { Digest } from '../../agent/port/digest.js';
import { FileAaa, type User } from './aaa-file.js';
import { Ipv4Pool, parseIpv4 } from './address-pool.js';
import { Bras } from './bras.js';
import { Home } from './home.js';

export interface BrasPoint {
  /** Open when it was measured. */
  readonly sessions: number;
  /** Since the point before. */
  readonly sessionsPerSecond: number;
  readonly columnBytes: number;
  readonly heapBytes: number;
  /** The process, the homes' garbage included. */
  readonly residentBytes: number;
}

/** Homes that dial at the same time: the answers of the one are under way while the other asks. */
const atOnce = 50;
/** Ten of the seconds in which a host may ask again. */
const patienceMs = 10_000;
const digest: Digest = { md5: data => createHash('md5').update(data).digest() };

/** One point a step; `steps` rise, up to 65,534. */
export function measureBras(steps: readonly number[]): BrasPoint[] {
  const sessions = steps[steps.length - 1];
  const secret = encodeUtf8('a secret of some length');
  const users = new Map<string, User>();
  for (let i = 1; i <= sessions; i++) users.set(`user-${i}`, { secret });
  const random = new Random(1, 'measure');
  const toBras: Uint8Array[] = [];
  const toHomes: Uint8Array[] = [];
  const local = parseIpv4('10.0.0.1', 'local');
  const rates = [{ name: 'line', bytesPerSecond: Infinity, burstBytes: 1, queueBytes: 0 }];
  const pool = new Ipv4Pool({ ranges: ['10.1.0.1-10.2.255.254'] });
  const aaa = new FileAaa(users, digest);
  const heapBefore = heapInUse();
  const bras = new Bras(
    0,
    {
      mac: new Uint8Array([2, 0xac, 0, 0, 0, 1]),
      acName: 'ac',
      services: [''],
      maxPayload: 1492,
      authentication: ['chap-md5'],
      sessions: 65_534,
      pool,
      local,
      dns: [local],
      nbns: [],
      echoIntervalMs: 30_000,
      echoFailures: 3,
      sameUser: 'replace',
      interimS: 0,
      rateClasses: { up: rates, down: rates },
      shaperMemoryBytes: 1e6,
      instance: 'measure',
    },
    {
      digest,
      entropy: random,
      newKey: () => new Uint8Array(16).map(() => random.below(256)),
      random,
      aaa,
      sendAccess: (_link, bytes, start, end) => toHomes.push(bytes.slice(start, end)),
      sendIp: () => {},
      log: () => {},
    },
  );
  const points: BrasPoint[] = [];
  const beganAt = performance.now();
  let now = 0;
  let openedAt = 0;
  let last = 0;
  /** Not let in at the first try: some of so many share a slot of the limits. */
  let again: number[] = [];
  for (const step of steps) {
    const from = bras.openCount;
    const startedAt = performance.now();
    while (bras.openCount < step) {
      // The clock runs on, so that the default limits hold as they would in service.
      now = Math.max(now + 1, Math.floor(performance.now() - beganAt));
      const homes = new Map<number, Home>();
      const numbers = again.splice(0, atOnce);
      while (numbers.length < atOnce && last < step) numbers.push(++last);
      for (const number of numbers) {
        const send = (frame: Uint8Array) => void toBras.push(frame);
        const home = new Home({
          number,
          user: `user-${number}`,
          secret: 'a secret of some length',
          methods: ['chap-md5'],
          digest,
          send,
        });
        homes.set(number, home);
        home.start(now);
      }
      const before = bras.openCount;
      while (toBras.length + toHomes.length > 0) {
        for (const frame of toBras.splice(0)) bras.receiveAccess(now, 0, frame);
        for (const frame of toHomes.splice(0)) {
          const number = frame[5] + 256 * frame[4] + 65_536 * frame[3];
          homes.get(number)?.receive(now, frame);
        }
      }
      again = again.concat(numbers.filter(number => !homes.get(number)!.isUp));
      if (bras.openCount > before) openedAt = now;
      else if (now > openedAt + patienceMs)
        throw new Error(`expected ${step} sessions to open, got ${bras.openCount}`);
    }
    const elapsedMs = performance.now() - startedAt;
    const columnBytes =
      bras.table.memoryBytes +
      bras.columns.memoryBytes +
      bras.shapers.up.columnBytes +
      bras.shapers.down.columnBytes +
      pool.memoryBytes;
    points.push({
      sessions: bras.openCount,
      sessionsPerSecond: ((bras.openCount - from) * 1000) / elapsedMs,
      columnBytes,
      heapBytes: Math.max(0, heapInUse() - heapBefore),
      residentBytes: process.memoryUsage().rss,
    });
  }
  return points;
}

/** Bytes of objects, without typed arrays' contents, after the garbage is collected. */
function heapInUse(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed;
}
