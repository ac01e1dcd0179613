/**
 * The network that a kibbutz provider's members have their inner addresses of: one by member id, so that nothing need be
 * kept, and what comes for one is told from its destination, what comes from one held against its source (RFC 2827).
 *
 * The first address is the provider's own, member n has the (n + 1)th. Member ids are not given out twice
 * (provider.ts), so an address never changes its owner.
 */

import { readUint32, writeUint32 } from '../../agent/core/bytes.js';
import { formatAddress, ipv4Length, parseAddress } from '../../agent/wire/address.js';

/** IPv6 ids stand in the last 32 bits. */
const longestHostBits = 32;

export class MemberNetwork {
  /** `10.107.0.0/16`. */
  readonly text: string;
  /** Members that have an address; further ones cannot be told apart. */
  readonly members: number;
  /** Of an address: 4 or 16. */
  readonly lengthBytes: 4 | 16;
  private readonly base: Uint8Array;
  private readonly bits: string;
  /** Where the last 32 bits of an address begin, and what they are of the network's. */
  private readonly lastAt: number;
  private readonly first: number;

  /** `lengthBytes`: 4 for IPv4, 16 for IPv6. Throws, naming `field`, on what is no network of that family, or too small or large. */
  constructor(field: string, text: string, lengthBytes: 4 | 16) {
    const isIpv4 = lengthBytes === ipv4Length;
    const [least, most] = isIpv4 ? [8, 30] : [64, 126];
    const fault = (got: string) => {
      const example = isIpv4 ? '10.107.0.0/16' : 'fd6b:6974:68::/64';
      return new Error(
        `${field}: expected a network with ${least} to ${most} bits such as ${example}, got ${got}`,
      );
    };
    const [before, bits = ''] = text.split('/');
    const base = parseAddress(before);
    if (base?.length !== lengthBytes || !/^\d{1,3}$/.test(bits) || +bits < least || +bits > most)
      throw fault(text);
    const hostBits = Math.min(longestHostBits, lengthBytes * 8 - Number(bits));
    const size = 2 ** hostBits;
    this.lastAt = lengthBytes - 4;
    this.first = readUint32(base, this.lastAt);
    const isZeroed = base.every((byte, i) => i >= this.lastAt || i * 8 < Number(bits) || byte === 0);
    if (!isZeroed || this.first % size !== 0) throw fault(`${text}, which has bits behind its prefix`);
    this.text = text;
    this.lengthBytes = lengthBytes;
    this.base = base;
    this.bits = bits;
    // Without the network's address, the provider's, and IPv4's broadcast.
    this.members = size - 3;
  }

  /** `10.107.0.1/16`, for the provider's device. */
  get own(): string {
    return this.prefixOf(0);
  }

  /** `10.107.0.2/16` of member 1, for its device. Throws if the network has none for it. */
  prefixOf(member: number): string {
    if (!(member >= 0 && member <= this.members))
      throw new Error(`${this.text}: expected at most ${this.members} members, got member ${member}`);
    const address = this.base.slice();
    writeUint32(address, this.lastAt, this.first + 1 + member);
    return `${formatAddress(address)}/${this.bits}`;
  }

  /** Whose address stands at `bytes[at]`; `undefined`: no member's. */
  memberAt(bytes: Uint8Array, at: number): number | undefined {
    for (let i = 0; i < this.lastAt; i++) if (bytes[at + i] !== this.base[i]) return undefined;
    const member = readUint32(bytes, at + this.lastAt) - this.first - 1;
    return member >= 1 && member <= this.members ? member : undefined;
  }
}
