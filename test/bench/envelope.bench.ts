/**
 * What the envelope costs beside the AEAD calls it makes: a packet sealed by its sender, wrapped by its forwarder and
 * opened twice by the provider, which accounts for it; four AEAD calls in all.
 */

import { MemberTunnel } from '../../agent/kibbutz/envelope.js';
import { NonceReserve, ReplayWindow } from '../../agent/kibbutz/nonce.js';
import { aes128Gcm } from '../../edge/linux/aead.js';
import { Provider } from '../../host-sim/coordinator/provider.js';
import { measure, type Row } from './row.js';

export const name = 'envelope';

const batch = 200;

export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const length of [100, 1400]) {
    const packet = new Uint8Array(length).fill(0x5a);
    const plain = measure(`${length} B: four AES-128-GCM calls`, 'packets/s', {}, () => aeadCalls(packet));
    const whole = measure(
      `${length} B: seal, wrap, open twice, account`,
      'packets/s',
      {},
      throughNeighbour(packet),
    );
    const share = {
      median: whole.median / plain.median,
      min: whole.min / plain.max,
      max: whole.max / plain.min,
    };
    rows.push(plain, whole, {
      name: `${length} B: the latter by the former`,
      unit: '',
      ...share,
      runs: whole.runs,
    });
  }
  const window = new ReplayWindow();
  let nonce = 0;
  rows.push(
    measure('window: judge and mark, in order', 'nonces/s', {}, () => {
      for (let i = 0; i < 10_000; i++) {
        nonce++;
        if (window.judge(nonce) === 'fresh') window.mark(nonce);
      }
      return 10_000;
    }),
  );
  return rows;
}

function aeadCalls(packet: Uint8Array): number {
  const key = new Uint8Array(16);
  const nonce = new Uint8Array(12);
  const associated = new Uint8Array(18);
  for (let i = 0; i < batch; i++) {
    const inner = aes128Gcm.seal(key, nonce, associated, packet);
    const outer = aes128Gcm.seal(key, nonce, associated, inner);
    const opened = aes128Gcm.open(key, nonce, associated, outer)!;
    if (!aes128Gcm.open(key, nonce, associated, opened)) throw new Error('open: expected the packet');
  }
  return batch;
}

function throughNeighbour(packet: Uint8Array): () => number {
  const provider = new Provider({ master: new Uint8Array(16), aeads: [aes128Gcm], save: () => {} });
  const [a, b] = ['a', 'b'].map(name => {
    const registered = provider.register(name, [1]);
    if (!registered.ok) throw new Error(`register: ${registered.reason}`);
    const { member, key: deviceKey } = registered.value;
    const reserve = new NonceReserve({ savedThrough: 0, save: () => true });
    return new MemberTunnel({ member, aead: aes128Gcm, deviceKey, reserve, controlSeenThrough: 0 });
  });
  return () => {
    for (let i = 0; i < batch; i++) {
      const inner = a.seal(packet, b.member);
      const outer = inner.ok ? b.carry(inner.value, a.member) : inner;
      const delivery = outer.ok ? provider.receive(0, outer.value) : outer;
      if (!delivery.ok) throw new Error(`packet: expected to arrive, got ${delivery.reason}`);
    }
    return batch;
  };
}
