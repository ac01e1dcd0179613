/** What tests of a gateway in trouble share: a home with a neighbour, what can be sent there, and ways to make things fail. */

import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { parseIpv4Address, parseMac } from '../../agent/wire/address.js';
import { openRawLink } from '../../edge/linux/raw-link.js';
import { Namespace } from '../support/namespaces.js';
import { Process } from '../support/process.js';
import { decoded, Gateway } from './gateway.js';

export const hostMac = '3c:22:fb:01:02:03';
/** A rule whose answer the neighbour can see (`isAnswered`). */
export const answer = {
  host: hostMac,
  trigger: { arp: { operation: 'request', targetAddress: '192.168.7.9' } },
  action: 'respond',
};

export function home(more: object = {}): { gateway: Gateway; neighbour: Namespace } {
  const [inside, neighbour] = [Namespace.make(), Namespace.make()];
  inside.connect('lan', neighbour, 'eth');
  neighbour.run('ip', 'address', 'add', '192.168.7.2/24', 'dev', 'eth');
  const gateway = new Gateway(inside);
  gateway.configure({ links: [{ name: 'lan', interface: 'lan', promiscuous: true }], ...more });
  return { gateway, neighbour };
}

export function isAnswered(neighbour: Namespace, address = '192.168.7.9'): boolean {
  try {
    neighbour.run('arping', '-c', '1', '-C', '1', '-w', '1', '-i', 'eth', address);
    return true;
  } catch {
    return false;
  }
}

/** Event `fault`s that were heard, oldest first. */
export function faults(gateway: Gateway): string[] {
  return gateway.heard('event/fault').map(said => String(decoded(said)?.['text']));
}

export function hangUp(daemon: Process): void {
  process.kill(daemon.pid as number, 'SIGHUP');
}

/** From now on the daemon is one compiled file, as if it were installed: its start and its memory are its own. */
export async function bundle(gateway: Gateway): Promise<void> {
  symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), gateway.path('node_modules'));
  const outfile = gateway.path('agent.mjs');
  await build({
    entryPoints: [fileURLToPath(new URL('../../edge/linux/main.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    outfile,
    logLevel: 'error',
  });
  gateway.program = [outfile];
}

/** An ARP request (RFC 826) of the neighbour's for `target`. */
export function question(target: string, sender = '02:00:00:00:00:02'): Uint8Array {
  const frame = new Uint8Array(60);
  const mac = parseMac(sender) as Uint8Array;
  frame.fill(0xff, 0, 6);
  frame.set(mac, 6);
  frame.set([8, 6, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  frame.set(mac, 22);
  frame.set([192, 168, 7, 2], 28);
  frame.set(parseIpv4Address(target) as Uint8Array, 38);
  return frame;
}

/** Sends frames on the neighbour's side, as fast as they are taken. */
export function send(neighbour: Namespace, frames: readonly Uint8Array[]): void {
  const link = neighbour.enter(() =>
    openRawLink(
      { interface: 'eth' },
      () => {},
      () => {},
    ),
  );
  for (const frame of frames) link.send(frame);
  link.close();
}

export function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** A member of a kibbutz whose host never stops pinging somebody through it, and a provider that prints each datagram, in hex. */
export async function member(): Promise<{
  gateway: Gateway;
  provider: Process;
  shell(text: string, ready: RegExp): Promise<Process>;
}> {
  const { gateway } = home({
    jobs: {
      powerProxy: { stubs: '.' },
      kibbutz: {
        registrationFile: 'registration.json',
        local: { interface: 'lan' },
        provider: { host: '127.0.0.1', port: 4999 },
        tun: { addresses: ['10.1.0.1/24'] },
        owner: { quotaBytes: 1_000_000_000, neighbourShare: 0.5, minimumPacketsPerMinute: 0 },
        tail: '10s',
        promotion: '1s',
        exchange: '200ms',
        uplinkBitsPerSecond: 2_000_000,
      },
    },
  });
  const registration = { member: 7, aead: 1, generation: 1, key: '07'.repeat(16) };
  gateway.write('registration.json', JSON.stringify(registration));
  const shell = (text: string, ready: RegExp) => {
    const [program, ...words] = gateway.namespace.command('sh', '-c', text);
    return Process.start(program, words, ready);
  };
  const script = `const s = require('dgram').createSocket('udp4');
    s.on('message', m => console.log(m.toString('hex')));
    s.bind(4999, '127.0.0.1', () => console.log('open'));`;
  const [program, ...words] = gateway.namespace.command(process.execPath, '-e', script);
  const provider = await Process.start(program, words, /open/);
  await shell('while :; do ping -n -c 20 -i 0.01 -W 1 10.1.0.2 2>&1; sleep 0.05; echo; done', /\n/);
  return { gateway, provider, shell };
}

/** Loaded into the daemon by `wrapper`, it makes happen what `say` says (trouble-shim.c). */
export function shimOf(gateway: Gateway): { readonly wrapper: readonly string[]; say(what: string): void } {
  const source = fileURLToPath(new URL('trouble-shim.c', import.meta.url));
  const library = gateway.path('trouble.so');
  execFileSync('gcc', ['-shared', '-fPIC', '-O2', '-o', library, source]);
  const file = gateway.write('trouble', '');
  return {
    wrapper: ['env', `LD_PRELOAD=${library}`, `KITH_TROUBLE=${file}`],
    say: what => gateway.write('trouble', what),
  };
}
