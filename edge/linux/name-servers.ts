/**
 * The name servers of the line (RFC 1877), for who resolves names on this machine: a file as resolv.conf(5) has it, such as
 * dnsmasq's `resolv-file`. It takes the former one's place whole, and is empty while there is no line.
 */

import { renameSync, writeFileSync } from 'node:fs';
import { formatAddress } from '../../agent/wire/address.js';

/** Throws what the disk says. */
export function writeNameServers(path: string, addresses: readonly Uint8Array[]): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, addresses.map(address => `nameserver ${formatAddress(address)}\n`).join(''));
  renameSync(temporary, path);
}
