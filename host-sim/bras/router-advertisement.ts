/**
 * IPv6 on a session: a router advertisement with the session's own prefix (RFC 4861 §4.2, §6.2; RFC 4862), after IPV6CP has
 * agreed on interface identifiers (RFC 5072 §5), when it is asked for and again before lifetimes end. Also name servers
 * (RFC 8106 §5.1).
 *
 * One of two ways to give a home IPv6: DHCPv6 prefix delegation (RFC 8415 §18.2.10, asked for by home gateways that route) is
 * not done; a gateway must extend the session's prefix to its LAN (RFC 7278) or bridge.
 */

import { writeUint32 } from '../../agent/core/bytes.js';
import { icmpLength } from '../../agent/wire/icmp.js';
import { protocolIcmpv6 } from '../../agent/wire/ipv4.js';
import { emitIpv6, ipv6MinLength } from '../../agent/wire/ipv6.js';
import { emitNdp, type Ndp, type NdpOption, ndpHopLimit, ndpLength, parseNdp } from '../../agent/wire/ndp.js';
import type { PrefixBits } from './address-pool.js';

/** RFC 4861 §6.2.1: AdvValidLifetime 30 days, AdvPreferredLifetime 7 days, AdvDefaultLifetime 3 × MaxRtrAdvInterval. */
const validLifetimeS = 2_592_000;
const preferredLifetimeS = 604_800;
/** RFC 4861 §6.2.1 allows at most 1800 s. Each session's turn comes so often. */
export const advertiseIntervalMs = 1_800_000;
const routerLifetimeS = 5_400;
const hopLimit = 64;

export interface Advertised {
  /** 8 bytes in two words: ours on the session. */
  readonly interfaceHigh: number;
  readonly interfaceLow: number;
  readonly prefix: PrefixBits;
  readonly prefixLength: number;
  readonly mtu: number;
  /** 16 bytes each. */
  readonly dns: readonly Uint8Array[];
}

/** The whole IPv6 packet, to all nodes of the session. */
export function advertise({
  interfaceHigh,
  interfaceLow,
  prefix,
  prefixLength,
  mtu,
  dns,
}: Advertised): Uint8Array {
  const prefixAddress = new Uint8Array(16);
  writeUint32(prefixAddress, 0, prefix.high);
  writeUint32(prefixAddress, 4, prefix.low);
  const options: NdpOption[] = [
    {
      kind: 'prefix-information',
      prefixLength,
      // Nobody else is on the link, so there is nothing to resolve on it.
      onLink: false,
      // RFC 4862 §5.5.3 d: only 64 bits and an interface identifier make an address.
      autonomous: prefixLength === 64,
      validLifetimeS,
      preferredLifetimeS,
      prefixAddress,
    },
    { kind: 'mtu', mtu },
  ];
  if (dns.length > 0)
    options.push({ kind: 'recursive-dns-server', lifetimeS: routerLifetimeS, serverAddresses: dns });
  const message: Ndp = {
    kind: 'router-advertisement',
    currentHopLimit: hopLimit,
    managed: false,
    otherConfiguration: false,
    preference: 0,
    routerLifetimeS,
    reachableTimeMs: 0,
    retransmitTimerMs: 0,
    options,
  };
  const srcAddress = new Uint8Array(16);
  srcAddress.set([0xfe, 0x80]);
  writeUint32(srcAddress, 8, interfaceHigh);
  writeUint32(srcAddress, 12, interfaceLow);
  const dstAddress = new Uint8Array(16);
  dstAddress.set([0xff, 0x02]);
  dstAddress[15] = 1;
  const length = ndpLength(message);
  const packet = new Uint8Array(ipv6MinLength + length);
  const header = {
    dscp: 48,
    ecn: 0,
    flowLabel: 0,
    hopLimit: ndpHopLimit,
    srcAddress,
    dstAddress,
    extensions: [],
    protocol: protocolIcmpv6,
  };
  const at = emitIpv6(header, length, packet, 0);
  emitNdp(message, header, packet, at);
  return packet;
}

/** Whether the IPv6 packet `bytes[start, end)` is a valid router solicitation. */
export function isSolicitation(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start < ipv6MinLength + icmpLength || bytes[start + 6] !== protocolIcmpv6) return false;
  const at = start + ipv6MinLength;
  if (bytes[at] !== 133) return false;
  const carrier = {
    srcAddress: bytes.subarray(start + 8, start + 24),
    dstAddress: bytes.subarray(start + 24, start + 40),
    hopLimit: bytes[start + 7],
  };
  const message = parseNdp(bytes, at, end, carrier);
  return message.ok && message.value.kind === 'router-solicitation';
}
