/**
 * What IPV6CP's one option is here (RFC 5072 §4.1): each side names its interface identifier, 64 bits, the two unlike and
 * neither zero. Compression (RFC 5172) is Configure-Rejected.
 */

import { copyBytes, sameBytes, writeUint32 } from '../core/bytes.js';
import { emitIpv6cp, encodeIpv6cpOption, type Ipv6cpOption, ipv6cpLength } from '../wire/ipv6cp.js';
import { pppProtocol } from '../wire/ppp.js';
import type { Entropy } from './authentication.js';
import type { ControlCodec, Judgement, Negotiation } from './control-protocol.js';

export const ipv6cpCodec: ControlCodec<Ipv6cpOption> = {
  protocol: pppProtocol.ipv6cp,
  length: ipv6cpLength,
  emit: emitIpv6cp,
  encode: encodeIpv6cpOption,
};

const identifierBytes = 8;
/** The universal/local bit: 0 in an identifier made up at random (RFC 5072 §4.1). */
const universalBit = 0x02;

export class Ipv6cpNegotiation implements Negotiation<Ipv6cpOption> {
  /** 8 bytes, not all zero. */
  local: Uint8Array;
  /** 8 bytes; all zero if the peer has named none. */
  peer: Uint8Array;
  private readonly random: Entropy;
  private names = true;
  private peerNamed = false;

  /** `local` undefined: one is made up. */
  constructor(random: Entropy, local?: Uint8Array) {
    this.random = random;
    this.peer = new Uint8Array(identifierBytes);
    this.local = local ?? this.invent();
  }

  request(): readonly Ipv6cpOption[] {
    return this.names ? [identifierOption(this.local)] : [];
  }

  begin(): void {
    this.peerNamed = false;
  }

  judge(option: Ipv6cpOption): Judgement<Ipv6cpOption> {
    if (option.kind === 'raw') return 'reject';
    this.peerNamed = true;
    const asked = option.interfaceIdentifier;
    if (isZero(asked) || sameBytes(asked, this.local)) return identifierOption(this.invent());
    this.peer = copyBytes(asked, 0, identifierBytes);
    return 'accept';
  }

  missing(): readonly Ipv6cpOption[] {
    return this.peerNamed ? [] : [identifierOption(this.invent())];
  }

  nak(option: Ipv6cpOption): void {
    if (option.kind === 'raw') return;
    const suggested = option.interfaceIdentifier;
    // The peer's own, or none at all, is no suggestion (RFC 5072 §4.1).
    this.local =
      isZero(suggested) || sameBytes(suggested, this.peer)
        ? this.invent()
        : copyBytes(suggested, 0, identifierBytes);
  }

  reject(option: Ipv6cpOption): void {
    if (option.kind !== 'raw') this.names = false;
  }

  /** A random identifier that neither side has. */
  private invent(): Uint8Array {
    const identifier = new Uint8Array(identifierBytes);
    do {
      writeUint32(identifier, 0, this.random.uint32());
      writeUint32(identifier, 4, this.random.uint32());
      identifier[0] &= ~universalBit;
    } while (isZero(identifier) || sameBytes(identifier, this.peer));
    return identifier;
  }
}

function identifierOption(interfaceIdentifier: Uint8Array): Ipv6cpOption {
  return { kind: 'interface-identifier', interfaceIdentifier };
}

function isZero(identifier: Uint8Array): boolean {
  for (let i = 0; i < identifier.length; i++) if (identifier[i] !== 0) return false;
  return true;
}
