/**
 * `kith provider` as it runs: one member's echo requests, carried by another, come over loopback to its UDP port and go through its
 * TUN device to the kernel, which answers; the answers come back sealed. Two packets a round trip, each through two envelopes.
 * This process, on the other core, has sealed them before and keeps `outstanding` under way, so nothing is lost.
 *
 * Needs root (network namespaces).
 */

import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseHex } from '../../agent/core/bytes.js';
import { MemberTunnel } from '../../agent/kibbutz/envelope.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import { internetChecksum } from '../../agent/wire/checksum.js';
import { aes128Gcm } from '../../edge/linux/aead.js';
import type { RegistrationFile } from '../../host-sim/coordinator/kept-provider.js';
import { Namespace } from '../support/namespaces.js';
import { Process } from '../support/process.js';
import type { Row } from './row.js';

export const name = 'provider';

const roundTrips = 20_000;
const rounds = 5;
/** Fits the kernel's buffers of 208 KiB. */
const outstanding = 64;
/** The longest leaves unfragmented (edge/linux/kibbutz-sockets.ts). */
const packetBytes = [64, 1387];
const tickMs = 10;

export async function run(): Promise<Row[]> {
  if (!Namespace.available()) return [];
  const directory = mkdtempSync(join(tmpdir(), 'kith-bench-'));
  const store = ['--store', join(directory, 'store')];
  try {
    const inside = Namespace.make();
    const [program, ...args] = inside.command(
      process.execPath,
      ...Process.kithArguments(['provider', ...store, '--listen', '127.0.0.1', '--ipv4', '10.107.0.0/16']),
    );
    const provider = await Process.start(program, args, /Ctrl-C stops/);
    const [a, b] = [await member('a', store), await member('b', store)];
    const rows: Row[] = [];
    for (const lengthBytes of packetBytes)
      rows.push(...(await measure(inside, provider.pid as number, a, b, echo(lengthBytes))));
    await provider.kill('SIGTERM');
    return rows;
  } finally {
    await Process.killAll();
    Namespace.removeAll();
    rmSync(directory, { recursive: true });
  }
}

async function measure(
  inside: Namespace,
  pid: number,
  a: MemberTunnel,
  b: MemberTunnel,
  packet: Uint8Array,
): Promise<Row[]> {
  const socket = inside.enter(() => {
    const opened = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
    opened.bind(0, '127.0.0.1');
    return opened;
  });
  const rates: number[] = [];
  const costs: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const requests = Array.from({ length: roundTrips }, () => {
      const own = a.seal(packet, b.member);
      const carried = own.ok ? b.carry(own.value, a.member) : own;
      if (!carried.ok) throw new Error(carried.reason);
      return carried.value;
    });
    const [startedAt, before] = [performance.now(), processorMs(pid)];
    await new Promise<void>(resolve => {
      let sent = 0;
      let answered = 0;
      const send = () => socket.send(requests[sent++], 49_498, '127.0.0.1');
      socket.removeAllListeners('message');
      socket.on('message', payload => {
        // Introductions are no answers.
        if ((payload[0] & 15) !== 4) return;
        if (++answered === roundTrips) resolve();
        else if (sent < roundTrips) send();
      });
      for (let i = 0; i < outstanding; i++) send();
    });
    // The first warms the compiler up.
    if (round === 0) continue;
    rates.push((2 * roundTrips * 1000) / (performance.now() - startedAt));
    costs.push(((processorMs(pid) - before) * 1000) / (2 * roundTrips));
  }
  socket.close();
  const title = `${packet.length} B, through a neighbour, both ways`;
  return [row(title, 'packets/s', rates), row(`${title}: the provider's processor time`, 'µs/packet', costs)];
}

async function member(name: string, store: readonly string[]): Promise<MemberTunnel> {
  const { output } = await Process.runKith(['provider', 'register', name, ...store]);
  const { member: id, key }: RegistrationFile = JSON.parse(output);
  return new MemberTunnel({
    member: id,
    aead: aes128Gcm,
    deviceKey: parseHex(key) as Uint8Array,
    reserve: new NonceReserve({ savedThrough: 0, save: () => true }),
    controlSeenThrough: 0,
  });
}

/** proc(5): utime and stime, in ticks of 10 ms. */
function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * tickMs;
}

/** An ICMP echo request (RFC 792) of the first member to the provider. */
function echo(lengthBytes: number): Uint8Array {
  const packet = new Uint8Array(lengthBytes);
  packet.set([
    0x45,
    0,
    lengthBytes >>> 8,
    lengthBytes & 255,
    0,
    0,
    0,
    0,
    64,
    1,
    0,
    0,
    10,
    107,
    0,
    2,
    10,
    107,
    0,
    1,
    8,
  ]);
  for (const [at, start, end] of [
    [10, 0, 20],
    [22, 20, lengthBytes],
  ]) {
    const sum = internetChecksum(packet, start, end);
    packet.set([sum >>> 8, sum & 255], at);
  }
  return packet;
}

function row(title: string, unit: string, values: number[]): Row {
  const sorted = values.sort((x, y) => x - y);
  return {
    name: title,
    unit,
    median: sorted[sorted.length >> 1],
    min: sorted[0],
    max: sorted[sorted.length - 1],
    runs: sorted.length,
  };
}
