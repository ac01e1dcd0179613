/**
 * The software BRAS: full sessions a second, from PADI to IPCP open with CHAP-MD5, both ends in this process and every frame
 * built and parsed; and the memory of open sessions: what the BRAS's columns hold, and what its heap grew by (with --expose-gc). What
 * each thousand costs as more are open must stay flat. The homes are dropped once they are up.
 */

import { encapsulationHeadroom } from '../../agent/pppoe/encapsulation.js';
import { BrasAcl } from '../../host-sim/bras/bras-acl.js';
import { measureBras } from '../../host-sim/bras/measure.js';
import { Access, address, ipv4Packet } from '../bras/homes.js';
import { measure, type Row } from './row.js';

export const name = 'bras';

export async function run(): Promise<Row[]> {
  const points = measureBras([1_000, 10_000, 20_000, 30_000, 40_000, 50_000, 65_534]);
  const rates = points.map(point => point.sessionsPerSecond).sort((a, b) => a - b);
  const last = points[points.length - 1];
  const memory = points.map(point => point.columnBytes + point.heapBytes);
  // How it rises from point to point: what is there before the first session is no session's.
  const rises = points
    .slice(1)
    .map((point, i) => (memory[i + 1] - memory[i]) / (point.sessions - points[i].sessions) / 1e3)
    .sort((a, b) => a - b);
  const rise = (memory[memory.length - 1] - memory[0]) / (last.sessions - points[0].sessions) / 1e3;
  const one = (title: string, unit: string, value: number, goal?: number): Row => ({
    name: title,
    unit,
    median: value,
    min: value,
    max: value,
    runs: 1,
    ...(goal !== undefined && { goal }),
  });
  return [
    {
      name: 'set up, PADI to IPCP open, CHAP-MD5',
      unit: 'sessions/s',
      median: rates[rates.length >> 1],
      min: rates[0],
      max: rates[rates.length - 1],
      runs: rates.length,
      goal: 5_000,
    },
    ...points.map(point => one(`… up to ${point.sessions} open`, 'sessions/s', point.sessionsPerSecond)),
    {
      name: 'memory per 1,000 sessions, over all (columns double: steps)',
      unit: 'MB',
      median: rise,
      min: rises[0],
      max: rises[rises.length - 1],
      runs: rises.length,
      goal: 0.5,
    },
    one('memory at 65,534 sessions', 'MB', (last.columnBytes + last.heapBytes) / 1e6, 40),
    ...forwarding(),
    ...points.map(point => one(`… at ${point.sessions}`, 'MB', (point.columnBytes + point.heapBytes) / 1e6)),
  ];
}

/** Packets of 64 B through the whole BRAS, source check, shaper and counters included, in the tunnel and without it. */
function forwarding(): Row[] {
  const rows: Row[] = [];
  for (const mode of ['tunnel', 'plain'] as const) {
    const access = new Access();
    const { bras } = access.addBras();
    const acl = new BrasAcl(
      bras,
      { expiryMs: 60_000 },
      { gatewayOf: () => (mode === 'plain' ? 'gw' : undefined), publish: () => '00000000' },
    );
    bras.bypass = acl;
    const home = access.dial(1, 'ada', 'secret-a');
    const id = `s${home.sessionId}`;
    acl.status(0, 'gw', id, { status: 'installed', digest: '00000000', boot: '0' as never, uptime: 0 });
    // The header as it is on the wire; what the BRAS sends goes no further.
    let header = new Uint8Array(0);
    let count = 0;
    access.keepsPackets = false;
    access.fromBras = (sent, start, end) => {
      if (header.length === 0) header = sent.slice(start, end - packet.length);
      count += end > start ? 1 : 0;
    };
    const core = address('198.51.100.7');
    const packet = ipv4Packet(core, home.address);
    const bytes = new Uint8Array(encapsulationHeadroom + packet.length);
    bytes.set(packet, encapsulationHeadroom);
    rows.push(
      measure(`from the core, ${mode}, 64 B`, 'packets/s', {}, () => {
        for (let i = 0; i < 1_000; i++) {
          restoreHops(bytes, encapsulationHeadroom, packet);
          bras.receiveIp(0, bytes, encapsulationHeadroom, bytes.length);
        }
        return 1_000;
      }),
    );
    if (count === 0) throw new Error(`expected packets to pass to the ${mode}, got none`);
    const headerBytes = header.length;
    const frame = new Uint8Array(headerBytes + packet.length);
    frame.set(header);
    frame.set(home.mac, 6);
    frame.set(bras.config.mac, 0);
    const up = ipv4Packet(home.address, core);
    frame.set(up, headerBytes);
    const before = bras.counters.get('bras.up');
    bras.receiveAccess(0, 0, frame);
    if (bras.counters.get('bras.up') !== before + 1)
      throw new Error(`expected packets to pass from the ${mode}, got none`);
    rows.push(
      measure(`to the core, ${mode}, 64 B`, 'packets/s', {}, () => {
        for (let i = 0; i < 1_000; i++) {
          restoreHops(frame, headerBytes, up);
          bras.receiveAccess(0, 0, frame);
        }
        return 1_000;
      }),
      {
        name: `headers, ${mode}`,
        unit: 'bytes',
        median: headerBytes,
        min: headerBytes,
        max: headerBytes,
        runs: 1,
      },
    );
  }
  return rows;
}

/** The BRAS takes a hop each time; here the same packet comes again and again. */
function restoreHops(bytes: Uint8Array, at: number, packet: Uint8Array): void {
  bytes[at + 8] = packet[8];
  bytes[at + 10] = packet[10];
  bytes[at + 11] = packet[11];
}
