/**
 * How fast messages are encoded and decoded: our codec and cbor-x side by side, and what the coordinator pays for a message
 * in all (the walk, cbor-x, the schema).
 */

import { Encoder } from 'cbor-x';
import { type CborValue, decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { type Descriptor, descriptors, type Rule, type Telemetry } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { decodeMessage } from '../../host-sim/coordinator/payload.js';
import { measure, type Row } from './row.js';

export const name = 'cbor';

const batch = 500;
/** What 10,000 nodes reporting each second would need. */
const decodeGoal = 10_000;

const rule: Rule = {
  host: '3c:22:fb:01:02:03',
  trigger: { tcp: { dstPort: 22, flags: 'syn' } },
  action: 'wake',
  timeout: '30s',
};

export async function run(): Promise<Row[]> {
  return [
    ...rowsOf('telemetry', descriptors.telemetry, telemetry()),
    ...rowsOf('rule', descriptors.rule, rule),
  ];
}

function rowsOf<T extends CborValue>(what: string, descriptor: Descriptor<T>, message: T): Row[] {
  const cborX = new Encoder({ useRecords: false });
  const bytes = encodeCbor(message);
  const row = (title: string, work: () => unknown, goal?: number) =>
    measure(
      `${what}, ${bytes.length} bytes: ${title}`,
      'messages/s',
      goal === undefined ? {} : { goal },
      () => {
        for (let i = 0; i < batch; i++)
          if (work() === undefined) throw new Error(`${title}: expected a result`);
        return batch;
      },
    );
  return [
    row('encode, ours', () => encodeCbor(message)),
    row('encode, cbor-x', () => cborX.encode(message)),
    row('decode, ours', () => checked(decodeCbor(bytes, { depth: 8 }))),
    row('decode, cbor-x unguarded', () => cborX.decode(bytes)),
    row('validate', () => validate(descriptor, message) === undefined),
    row('decode and validate, ours', () => {
      const { value } = checked(decodeCbor(bytes, { depth: 8 }));
      return validate(descriptor, value) === undefined;
    }),
    row(
      'decode and validate, coordinator (cbor-x)',
      () => checked(decodeMessage(descriptor, bytes)),
      decodeGoal,
    ),
  ];
}

function checked<T>(result: { readonly ok: true; readonly value: T } | { readonly ok: false }): {
  readonly value: T;
} {
  if (!result.ok) throw new Error('message: expected to be accepted, got a refusal');
  return result;
}

function telemetry(): Telemetry {
  const counters: { [name: string]: number } = {};
  for (const job of ['power-proxy', 'kibbutz'])
    for (const what of [
      'frames',
      'bytes',
      'dropped',
      'forwarded',
      'answered',
      'too-long',
      'bad-checksum',
      'truncated',
    ])
      counters[`${job}.${what}`] = 37 ** (what.length % 7);
  return { boot: '0123abcd', seq: 4711, uptime: 86_400_123, counters, gauges: { neighbours: 3, load: 0.25 } };
}
