/** What tshark says of frames that were made here. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { concatBytes, formatHex } from '../../agent/core/bytes.js';
import { linkType } from '../../host-sim/capture/dissect.js';
import { pcapHeader, pcapRecord } from '../../host-sim/capture/pcap.js';

/** `fields` of each frame, an object each, after making sure that it finds nothing malformed and every checksum right. */
export function readByTshark(
  frames: readonly Uint8Array[],
  fields: readonly string[],
): { readonly [field: string]: string }[] {
  const folder = mkdtempSync(join(tmpdir(), 'kith-tshark-'));
  try {
    const path = join(folder, 'frames.pcap');
    const parts = [pcapHeader(linkType.ethernet), ...frames.map((frame, i) => pcapRecord(10 * i, frame))];
    writeFileSync(path, concatBytes(parts));
    const checks = ['tcp', 'udp', 'ip'].flatMap(name => ['-o', `${name}.check_checksum:TRUE`]);
    const wanted = ['_ws.malformed', '_ws.expert.message', 'udp.checksum.status', ...fields];
    const options = ['-n', '-r', path, ...checks, '-T', 'fields', '-E', 'separator=|'];
    const text = execFileSync('tshark', [...options, ...wanted.flatMap(field => ['-e', field])], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const lines = text.split('\n').slice(0, frames.length);
    const read = lines.map(line => Object.fromEntries(line.split('|').map((value, i) => [wanted[i], value])));
    for (const [i, frame] of frames.entries()) {
      const where = `frame ${i}: ${formatHex(frame)}`;
      assert.is(read[i]['_ws.malformed'], '', where);
      assert.is(read[i]['_ws.expert.message'], '', where);
      assert.is(read[i]['udp.checksum.status'], '1', where);
    }
    return read;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
