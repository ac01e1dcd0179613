/**
 * Keeps the kernel's own IP off an interface whose packets a program of ours handles (raw-link.ts): without a tunnel around
 * them the kernel would take, answer or forward those that name one of the host's addresses, past every check of ours.
 *
 * IPv4 by strict reverse-path filtering (RFC 3704 §2.2): no route leads over an interface that has no address, so every
 * source is a wrong one. IPv6 is turned off there. Bounds: the interface must have no IPv4 address and no route; needs CAP_NET_ADMIN.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Returns what puts everything back. Throws, saying what is missing, if it cannot be done. */
export function quietInterface(name: string): () => void {
  const before: (readonly [path: string, value: string])[] = [];
  const restore = () => {
    for (const [path, value] of before.splice(0)) if (existsSync(path)) writeFileSync(path, value);
  };
  try {
    for (const path of [
      `/proc/sys/net/ipv4/conf/${name}/rp_filter`,
      `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`,
    ]) {
      // A kernel without IPv6 has none to turn off.
      if (path.includes('ipv6') && !existsSync('/proc/sys/net/ipv6')) continue;
      const value = readFileSync(path, 'utf8').trim();
      writeFileSync(path, '1');
      before.push([path, value]);
    }
  } catch (error) {
    restore();
    throw new Error(`${name}: the kernel cannot be kept off it: ${(error as Error).message}`);
  }
  return restore;
}
