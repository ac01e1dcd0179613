/**
 * What IPCP's options are here (RFC 1332 §3, RFC 1877 §1): the server gives the client its address and name servers in
 * Configure-Naks, the client asks for them with 0.0.0.0. Van Jacobson compression and the deprecated pair of addresses
 * are Configure-Rejected. Addresses are unsigned 32-bit numbers, 0 for none.
 */

import { numberBytes, readUint32 } from '../core/bytes.js';
import { emitIpcp, encodeIpcpOption, type IpcpOption, ipcpLength } from '../wire/ipcp.js';
import { pppProtocol } from '../wire/ppp.js';
import type { ControlCodec, Judgement, Negotiation } from './control-protocol.js';

export const ipcpCodec: ControlCodec<IpcpOption> = {
  protocol: pppProtocol.ipcp,
  length: ipcpLength,
  emit: emitIpcp,
  encode: encodeIpcpOption,
};

/**
 * What a client gives a server that asks for an address itself (slirp does): 192.0.0.8, the dummy address that is no
 * host's and is reached by nobody (RFC 7600 §4.8).
 */
const dummyAddress = 0xc0000008;

type ServerKind =
  | 'primary-dns-server'
  | 'secondary-dns-server'
  | 'primary-nbns-server'
  | 'secondary-nbns-server';
/** In the order of `servers`. */
const serverKinds: readonly ServerKind[] = [
  'primary-dns-server',
  'secondary-dns-server',
  'primary-nbns-server',
  'secondary-nbns-server',
];

export class IpcpNegotiation implements Negotiation<IpcpOption> {
  /** Ours. */
  local: number;
  /** Of a server what the peer is to have; of a client what the server says of itself, 0 if nothing. */
  peer: number;
  /** Primary and secondary DNS, primary and secondary NBNS: of a server what it offers, of a client what it was told. */
  readonly servers: number[];
  private readonly role: 'server' | 'client';
  /** Which of `servers` the client asks for. */
  private readonly asks: readonly boolean[];
  private readonly dropped = [false, false, false, false];
  private namesAddress = true;
  private peerNamed = false;

  constructor(
    role: 'server' | 'client',
    addresses: { readonly local: number; readonly peer: number; readonly servers: readonly number[] },
    asks: readonly boolean[],
  ) {
    this.role = role;
    this.local = addresses.local;
    this.peer = addresses.peer;
    this.servers = [0, 1, 2, 3].map(i => addresses.servers[i] ?? 0);
    this.asks = asks;
  }

  request(): readonly IpcpOption[] {
    const options: IpcpOption[] = [];
    if (this.namesAddress) options.push(addressOption('ip-address', this.local));
    if (this.role === 'server') return options;
    for (let i = 0; i < serverKinds.length; i++)
      if (this.asks[i] && !this.dropped[i]) options.push(addressOption(serverKinds[i], this.servers[i]));
    return options;
  }

  begin(): void {
    this.peerNamed = false;
    if (this.role === 'client') this.peer = 0;
  }

  judge(option: IpcpOption): Judgement<IpcpOption> {
    if (!('ipAddress' in option)) return 'reject';
    const asked = readUint32(option.ipAddress, 0);
    if (option.kind === 'ip-address') return this.judgeAddress(asked);
    if (this.role === 'client') return 'reject';
    const offered = this.servers[serverKinds.indexOf(option.kind)];
    if (offered === 0) return 'reject';
    return asked === offered ? 'accept' : addressOption(option.kind, offered);
  }

  missing(): readonly IpcpOption[] {
    // A client that does not say what address it believes to have is told (RFC 1332 §3.3).
    return this.role === 'server' && !this.peerNamed ? [addressOption('ip-address', this.peer)] : [];
  }

  nak(option: IpcpOption): void {
    if (this.role === 'server' || !('ipAddress' in option)) return;
    const suggested = readUint32(option.ipAddress, 0);
    if (option.kind === 'ip-address') {
      if (isHostAddress(suggested)) this.local = suggested;
      return;
    }
    const i = serverKinds.indexOf(option.kind);
    if (!this.asks[i]) return;
    this.servers[i] = suggested;
    // Told 0.0.0.0 again, there is none to be had.
    if (suggested === 0) this.dropped[i] = true;
  }

  reject(option: IpcpOption): void {
    if (option.kind === 'ip-address') this.namesAddress = false;
    else if ('ipAddress' in option) {
      const i = serverKinds.indexOf(option.kind);
      this.dropped[i] = true;
      this.servers[i] = this.role === 'client' ? 0 : this.servers[i];
    }
  }

  private judgeAddress(asked: number): Judgement<IpcpOption> {
    this.peerNamed = true;
    if (this.role === 'server')
      return asked === this.peer ? 'accept' : addressOption('ip-address', this.peer);
    if (!isHostAddress(asked)) return addressOption('ip-address', dummyAddress);
    this.peer = asked;
    return 'accept';
  }
}

/** Neither of network 0 or 127, nor multicast, reserved or broadcast (RFC 1122 §3.2.1.3). */
export function isHostAddress(address: number): boolean {
  const first = address >>> 24;
  return first > 0 && first < 224 && first !== 127;
}

function addressOption(kind: 'ip-address' | ServerKind, address: number): IpcpOption {
  return { kind, ipAddress: numberBytes(address, 4) };
}
