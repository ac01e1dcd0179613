/**
 * The package as `npm install` would lay it out: built and packed from a copy of the checkout in a temporary folder,
 * unpacked beside links to its declared dependencies only, and run with plain node. Nothing is written elsewhere.
 */

import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Process } from '../support/process.js';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const capture = 'dist/host-sim/scenario/captures/arp-who-has.pcap';

let directory = '';
let unpacked = '';
let packed: string[] = [];

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kith-package-'));
  const source = join(directory, 'source');
  // No dist: what an earlier build left behind must not be what is tested.
  const left = ['node_modules', 'dist', 'test'];
  cpSync(checkout, source, {
    recursive: true,
    filter: path => path === checkout || !(basename(path).startsWith('.') || left.includes(basename(path))),
  });
  symlinkSync(join(checkout, 'node_modules'), join(source, 'node_modules'));

  // `npm pack` runs the build by itself (prepack). Its cache and logs stay in the folder too.
  const options = ['--silent', '--ignore-scripts=false', '--cache', join(directory, 'cache')];
  await succeeds('npm', ['pack', source, '--pack-destination', directory, ...options]);
  const archive = readdirSync(directory).find(name => name.endsWith('.tgz'));
  assert.ok(archive, 'npm pack left an archive');
  packed = (await succeeds('tar', ['tzf', join(directory, archive)])).trim().split('\n');
  await succeeds('tar', ['xzf', join(directory, archive), '-C', directory]);
  unpacked = join(directory, 'package');

  // A link per declared dependency: an import of a development dependency fails here as it would where installed.
  for (const name of Object.keys(manifest().dependencies)) {
    const link = join(unpacked, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(checkout, 'node_modules', name), link);
  }
});
test.after.each(() => Process.killAll());
test.after(() => rm(directory, { recursive: true, force: true }));

test('the package holds the built program, its captures and the documents, and nothing of the workshop', () => {
  const odd = packed
    .map(name => name.replace(/^package\//, ''))
    .filter(
      name => !/^(dist\/.*\.(js|d\.ts|pcap)|docs\/[\w-]+\.md|package\.json|LICENSE|\w+\.md)$/.test(name),
    )
    .filter(name => name !== 'dist/host-sim/scenario/captures/README.md')
    .filter(name => !/^dist\/host-sim\/scenario\/proxy\/rules\/[\w-]+\.json$/.test(name))
    .filter(
      name => !/^edge\/(README\.md|linux\/(agent\.example\.json|(openwrt|systemd)\/[\w.-]+))$/.test(name),
    );
  assert.equal(odd, []);
  assert.equal(
    packed.filter(name => /\.test\.|\/test\/|\/generate\./.test(name)),
    [],
  );
  assert.ok(packed.includes(`package/${capture}`));
});

test('the packed command tells its version', async () => {
  assert.is(await kith('--version'), `${manifest().version}\n`);
});

test('the packed command simulates to the same bytes as the source', async () => {
  const words = ['sim', 'wake', '--seed', '1', '--json'];
  const fromSource = await Process.runKith(words);
  assert.is(fromSource.code, 0, fromSource.output);
  assert.match(fromSource.output, /"digest":"[0-9a-f]{64}"/);
  assert.is(await kith(...words), fromSource.output);
});

test('the packed command decodes a capture that came with it', async () => {
  assert.match(
    await kith('decode', join(unpacked, capture)),
    /^1 .* arp request 10\.0\.0\.2 → 10\.0\.0\.1$/m,
  );
});

test('the packed gateway reads the configuration that came with it', async () => {
  const example = join(unpacked, 'edge/linux/agent.example.json');
  writeFileSync(join(dirname(example), 'password'), 'secret');
  writeFileSync(join(dirname(example), 'ca.pem'), rootCertificates[0] ?? '');
  assert.is(await kith('agent', 'check', '--config', example), `${example}: ok\n`);
});

test('the packed command says what it cannot do without a checkout', async () => {
  const board = ['--port', 'tcp://127.0.0.1:1', '--node', 'esp-1', '--to', 'mqtt://127.0.0.1'];
  for (const words of [['moddable'], ['espruino', ...board]]) {
    const program = join(unpacked, manifest().bin.kith);
    const { code, output } = await Process.run(process.execPath, [program, 'flash', ...words]);
    assert.is(code, 1);
    assert.match(output, /missing: the sources of the firmware/);
  }
});

test.run();

function manifest(): { version: string; dependencies: object; bin: { kith: string } } {
  return JSON.parse(readFileSync(join(unpacked, 'package.json'), 'utf8'));
}

/** Runs the unpacked command with plain node, as its `bin` names it. */
function kith(...args: string[]): Promise<string> {
  return succeeds(process.execPath, [join(unpacked, manifest().bin.kith), ...args]);
}

async function succeeds(program: string, args: readonly string[]): Promise<string> {
  const { code, output } = await Process.run(program, args);
  assert.is(code, 0, `${program} ${args.join(' ')}: ${output}`);
  return output;
}
