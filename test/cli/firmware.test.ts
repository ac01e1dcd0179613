import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex, parseHex } from '../../agent/core/bytes.js';
import { encodeCbor } from '../../agent/message/cbor.js';
import { readManifest } from '../../agent/update/manifest.js';
import { makeKey, printManifest, updateNode, verifyEs256 } from '../../host-sim/cli/firmware.js';
import { openBroker } from '../../host-sim/coordinator/broker.js';
import { decodePeoplesPayload } from '../../host-sim/coordinator/payload.js';

const folder = mkdtempSync(join(tmpdir(), 'kith-firmware-'));
const key = join(folder, 'key.pem');
const image = join(folder, 'image.bin');
const words = { key, platform: 'esp32', imageVersion: '1.1', sequence: 2, url: 'http://192.0.2.5/x.bin' };

test.after(() => rmSync(folder, { recursive: true, force: true }));

/** What a command says. */
async function lines(work: (say: (line: string) => void) => Promise<unknown>): Promise<string[]> {
  const said: string[] = [];
  await work(line => said.push(line));
  return said;
}

async function fault(work: () => Promise<unknown>): Promise<string> {
  return work().then(
    () => 'no error',
    (error: Error) => error.message,
  );
}

test('a key is made once, for its owner alone, and what it signs is taken by firmware with its point', async () => {
  writeFileSync(image, Buffer.alloc(5000, 7));
  const said = await lines(say => makeKey(key, say));
  const point = parseHex(/^updateKey=([0-9a-f]{130})$/.exec(said[1]!)![1]!)!;
  assert.is(statSync(key).mode & 0o777, 0o600);
  const before = readFileSync(key, 'utf8');
  assert.match(await fault(() => makeKey(key, () => {})), /key\.pem: cannot be written: EEXIST/);
  assert.is(readFileSync(key, 'utf8'), before);

  const [hex] = await lines(say => printManifest(image, words, say));
  const read = readManifest(parseHex(hex!)!, { crypto: { verifyEs256 }, publicKey: point });
  assert.ok(read.ok);
  assert.equal(
    { ...read.value, digest: formatHex(read.value.digest) },
    {
      format: 1,
      platform: 'esp32',
      version: '1.1',
      sequence: 2,
      size: 5000,
      digest: createHash('sha256').update(Buffer.alloc(5000, 7)).digest('hex'),
      uri: 'http://192.0.2.5/x.bin',
    },
  );
  const out = join(folder, 'update.hex');
  assert.match(
    (await lines(say => printManifest(image, { ...words, out }, say)))[0]!,
    /1\.1 \(sequence 2\) for esp32, 5000 bytes$/,
  );
  assert.match(readFileSync(out, 'utf8'), /^8443a10126[0-9a-f]+\n$/);
});

test('what no node would take is not signed, and the field or the file at fault is named', async () => {
  const sign = (changes: Partial<typeof words>, file = image) =>
    fault(() => printManifest(file, { ...words, ...changes }, () => {}));
  assert.match(await sign({ url: 'ftp://x' }), /^manifest.uri: expected http/);
  assert.match(await sign({ imageVersion: '' }), /^manifest.version: expected text of 1 to 32 bytes/);
  assert.match(await sign({ platform: 'p'.repeat(65) }), /^manifest.platform: expected/);
  assert.match(await sign({}, join(folder, 'none')), /none: cannot be read: ENOENT/);
  assert.match(await sign({ key: join(folder, 'none') }), /none: cannot be read: ENOENT/);
  assert.match(await sign({ key: image }), /image\.bin: expected a private key on P-256/);
  const other = join(folder, 'other.pem');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  writeFileSync(other, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  assert.match(await sign({ key: other }), /other\.pem: expected a private key on P-256/);
  const empty = join(folder, 'empty');
  writeFileSync(empty, '');
  assert.match(await sign({}, empty), /^manifest.size: expected an integer 1\.\./);
});

test('an update is followed to its outcome, whatever came before it, and a refusal is an error', async () => {
  const broker = await openBroker({ port: 0 });
  const node = await connectAsync(broker.url, { reconnectPeriod: 0 });
  const manifest = join(folder, 'update.hex');
  const topic = (leaf: string) => `kith/1/home/esp-1/${leaf}`;
  let plan: readonly (string | Error)[] = [];
  const event = (text: string) =>
    node.publish(topic('event/update'), encodeCbor({ boot: '00000000', seq: 0, uptime: 0, text }) as Buffer);
  node.on('message', (_, payload) => {
    const request = decodePeoplesPayload(payload);
    const { transaction } = (request.ok ? request.value : {}) as { transaction: string };
    const respond = (body: object) =>
      node.publish(topic('response/update'), encodeCbor({ transaction, ...body }) as Buffer);
    event('failed: 1.0 (sequence 1): of an earlier one');
    node.publish(
      topic('response/update'),
      encodeCbor({ transaction: 'another', ok: false, error: 'x' }) as Buffer,
    );
    for (const step of plan)
      if (step instanceof Error) respond({ ok: false, error: step.message });
      else if (step === 'ok') respond({ ok: true });
      else event(step);
  });
  await node.subscribeAsync(topic('request/update'));
  const where = { site: 'home', node: 'esp-1' };
  const said: string[] = [];
  const update = (waitMs = 20_000) =>
    updateNode(broker.url, where, manifest, waitMs, line => void said.push(line));
  try {
    plan = ['ok', 'begun: 1.1', 'running: 1.1 (sequence 2): proved itself'];
    assert.is(await update(), true);
    assert.equal(said, plan.slice(1));
    // The request reached it twice, and it told once more what became of another.
    plan = [
      'ok',
      new Error('update: expected none under way'),
      'running: 1.0 (sequence 1): x',
      'failed: 1.1 (sequence 2): y',
    ];
    assert.is(await update(), false);
    plan = ['ok', 'rolled-back: 1.1 (sequence 2): z'];
    assert.is(await update(), false);
    plan = [new Error('manifest.sequence: expected at least 3, got 2')];
    assert.is(await fault(update), 'manifest.sequence: expected at least 3, got 2');
    plan = ['ok', 'begun: 1.1'];
    assert.match(await fault(() => update(10)), /^home\/esp-1: no outcome within 10ms; kith watch/);
    writeFileSync(manifest, 'none');
    assert.match(
      await fault(update),
      /expected a signed manifest in hex digits, as kith firmware sign writes them/,
    );
  } finally {
    await node.endAsync(true);
    await broker.close();
  }
});

test.run();
