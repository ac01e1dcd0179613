/**
 * The leases of a host, from what DHCP (RFC 2131 §4.4) and DHCPv6 (RFC 8415 §18.2.10) servers answer it: only from an answer
 * to a request that it was seen to send, or that was sent in its place (respond/dhcp-renewal.ts).
 *
 * One lease of each kind, and of each transaction only the last: bounded.
 */

import { copyBytes, sameBytes } from '../core/bytes.js';
import { never } from '../core/time.js';
import { ipv4Length, ipv6Length, macLength } from '../wire/address.js';
import {
  bootReply,
  bootRequest,
  type Dhcp,
  type DhcpOption,
  dhcpMessageType,
  parseDhcp,
} from '../wire/dhcp.js';
import { type Dhcpv6Option, dhcpv6MessageType, parseDhcpv6 } from '../wire/dhcpv6.js';
import { isIpv6LinkLocal } from '../wire/ipv6.js';
import { plainLabel } from './learn-mdns.js';
import type { Profile } from './profile.js';
import { transactionOf } from './respond/dhcp-renewal.js';
import type { Datagram } from './respond/frame.js';

/** RFC 2131 §3.3, RFC 8415 §7.7. */
const forEverS = 0xffffffff;
/** RFC 2131 §4.4.5. */
const renewalPart = 0.5;
const rebindingPart = 0.875;
/** RFC 8415 §21.4, of the preferred lifetime. */
const rebindingPart6 = 0.8;
/** Ours: an interface is given one address, and rarely one more for a while. */
const leasedLimit = 4;

/** The member of a union whose kind, or one of whose kinds, is `K`. */
type OfKind<T, K> = T extends { readonly kind: infer Kinds } ? (K extends Kinds ? T : never) : never;

/** What the host asks of a DHCP server, or tells it. */
export function learnRequest(_now: number, { payload }: Datagram, profile: Profile): void {
  const parsed = parseDhcp(payload, 0, payload.length);
  if (!parsed.ok) return;
  const message = parsed.value;
  if (message.operation !== bootRequest || !sameBytes(message.clientMac, profile.mac)) return;
  const { discover, request, inform, decline, release } = dhcpMessageType;
  switch (option(message, 'message-type')?.messageType) {
    case request: {
      profile.transactionId = message.transactionId;
      const id = option(message, 'client-identifier')?.data;
      if (id) profile.clientId = copyBytes(id, 0, id.length);
      else delete profile.clientId;
      learnHostName(message, profile);
      break;
    }
    case discover:
    case inform:
      learnHostName(message, profile);
      break;
    case decline:
      // §4.4.4: somebody else has it.
      dropLease(profile, option(message, 'requested-address')?.address);
      break;
    case release:
      dropLease(profile, message.clientAddress);
  }
}

/** RFC 2132 §3.14; it may come with a domain. */
function learnHostName(message: Dhcp, profile: Profile): void {
  const text = option(message, 'host-name')?.text ?? '';
  const dotAt = text.indexOf('.');
  const name = plainLabel(dotAt < 0 ? text : text.slice(0, dotAt));
  if (name !== undefined) profile.addName(name);
}

/** What a DHCP server answers the host. */
export function learnLease(
  now: number,
  { srcAddress, payload }: Datagram,
  profile: Profile,
  frame: Uint8Array,
): void {
  const parsed = parseDhcp(payload, 0, payload.length);
  if (!parsed.ok) return;
  const message = parsed.value;
  if (message.operation !== bootReply || !sameBytes(message.clientMac, profile.mac)) return;
  const { mac, transactionId, lease } = profile;
  const isAsked =
    message.transactionId === transactionId ||
    (lease !== undefined &&
      (message.transactionId === transactionOf({ mac, stage: 'renew', expiresAt: lease.expiresAt }) ||
        message.transactionId === transactionOf({ mac, stage: 'rebind', expiresAt: lease.expiresAt })));
  if (!isAsked) return;
  const type = option(message, 'message-type')?.messageType;
  if (type === dhcpMessageType.nak) dropLease(profile, lease?.address);
  // An acknowledgement without a lease answers DHCPINFORM (§4.3.5).
  const seconds = option(message, 'lease-time')?.seconds;
  const { yourAddress } = message;
  if (type !== dhcpMessageType.ack || seconds === undefined || yourAddress[0] === 0) return;
  const server = option(message, 'server-identifier')?.address ?? srcAddress;
  const t1 = option(message, 'renewal-time')?.seconds ?? seconds * renewalPart;
  const t2 = option(message, 'rebinding-time')?.seconds ?? seconds * rebindingPart;
  const address = copyBytes(yourAddress, 0, ipv4Length);
  if (lease && !sameBytes(lease.address, address)) dropLease(profile, lease.address);
  profile.transactionId = -1;
  profile.addAddress(address, 0, ipv4Length);
  profile.lease = {
    address,
    server: copyBytes(server, 0, ipv4Length),
    serverMac: copyBytes(frame, macLength, 2 * macLength),
    ...(profile.clientId ? { clientId: profile.clientId } : {}),
    ...timesOf(now, { t1, t2, seconds }, [renewalPart, rebindingPart]),
  };
}

/** Forgets the address, and the lease if it is of that. */
function dropLease(profile: Profile, address: Uint8Array | undefined): void {
  if (!address) return;
  profile.removeAddress(address);
  if (profile.lease && sameBytes(profile.lease.address, address)) delete profile.lease;
}

/** What the host asks of DHCPv6 servers. */
export function learnRequest6(_now: number, { srcAddress, payload }: Datagram, profile: Profile): void {
  const parsed = parseDhcpv6(payload, 0, payload.length);
  if (!parsed.ok || parsed.value.kind !== 'message' || !isIpv6LinkLocal(srcAddress)) return;
  const { messageType, transactionId } = parsed.value;
  const { solicit, request, renew, rebind, release, decline } = dhcpv6MessageType;
  if ([solicit, request, renew, rebind].some(type => type === messageType))
    profile.transactionId6 = transactionId;
  else if ((messageType === release || messageType === decline) && profile.lease6) {
    for (const address of profile.lease6.addresses) profile.removeAddress(address);
    delete profile.lease6;
  }
}

/** What a DHCPv6 server answers the host. */
export function learnLease6(
  now: number,
  { dstAddress, payload }: Datagram,
  profile: Profile,
  frame: Uint8Array,
): void {
  const parsed = parseDhcpv6(payload, 0, payload.length);
  if (!parsed.ok || parsed.value.kind !== 'message' || !isIpv6LinkLocal(dstAddress)) return;
  const { messageType, transactionId, options } = parsed.value;
  const { mac, lease6 } = profile;
  const isAsked =
    transactionId === profile.transactionId6 ||
    (lease6 !== undefined &&
      (['renew', 'rebind'] as const).some(
        stage => transactionId === (transactionOf({ mac, stage, expiresAt: lease6.expiresAt }) & 0xffffff),
      ));
  if (messageType !== dhcpv6MessageType.reply || !isAsked || isRefused(options)) return;
  const clientId = option6(options, 'client-identifier')?.duid;
  const serverId = option6(options, 'server-identifier')?.duid;
  const association = option6(options, 'ia-na');
  if (!clientId || !serverId || !association || isRefused(association.options)) return;
  const addresses: Uint8Array[] = [];
  let preferred = forEverS;
  let valid = forEverS;
  for (const each of association.options) {
    // §18.2.10.1: a valid lifetime of 0 takes the address away.
    if (each.kind !== 'ia-address' || each.validLifetimeSeconds === 0 || isRefused(each.options)) continue;
    if (addresses.length < leasedLimit) addresses.push(copyBytes(each.address, 0, ipv6Length));
    preferred = Math.min(preferred, each.preferredLifetimeSeconds);
    valid = Math.min(valid, each.validLifetimeSeconds);
  }
  profile.transactionId6 = -1;
  for (const address of lease6?.addresses ?? [])
    if (!addresses.some(each => sameBytes(each, address))) profile.removeAddress(address);
  delete profile.lease6;
  if (addresses.length === 0) return;
  for (const address of addresses) profile.addAddress(address, 0, ipv6Length);
  // §21.4: 0 leaves it to the client.
  const t1 = association.t1Seconds || preferred * renewalPart;
  const t2 = association.t2Seconds || preferred * rebindingPart6;
  profile.lease6 = {
    from: copyBytes(dstAddress, 0, ipv6Length),
    clientId: copyBytes(clientId, 0, clientId.length),
    serverId: copyBytes(serverId, 0, serverId.length),
    serverMac: copyBytes(frame, macLength, 2 * macLength),
    iaid: association.iaid,
    addresses,
    ...timesOf(now, { t1, t2, seconds: valid }, [renewalPart, rebindingPart6]),
  };
}

/** As instants; T1 and T2 that are not in order before the end are replaced by those parts of it. */
function timesOf(
  now: number,
  { t1, t2, seconds }: { t1: number; t2: number; seconds: number },
  parts: readonly [number, number],
): { renewAt: number; rebindAt: number; expiresAt: number } {
  if (seconds === forEverS) return { renewAt: never, rebindAt: never, expiresAt: never };
  const inOrder = t1 <= t2 && t2 <= seconds;
  const [renewal, rebinding] = inOrder ? [t1, t2] : [seconds * parts[0], seconds * parts[1]];
  return {
    renewAt: now + Math.floor(1000 * renewal),
    rebindAt: now + Math.floor(1000 * rebinding),
    expiresAt: now + 1000 * seconds,
  };
}

function option<K extends DhcpOption['kind']>({ options }: Dhcp, kind: K): OfKind<DhcpOption, K> | undefined {
  return options.find(each => each.kind === kind) as OfKind<DhcpOption, K> | undefined;
}

function option6<K extends Dhcpv6Option['kind']>(
  options: readonly Dhcpv6Option[],
  kind: K,
): OfKind<Dhcpv6Option, K> | undefined {
  return options.find(each => each.kind === kind) as OfKind<Dhcpv6Option, K> | undefined;
}

/** A status other than success (RFC 8415 §21.13). */
function isRefused(options: readonly Dhcpv6Option[]): boolean {
  const status = option6(options, 'status-code');
  return status !== undefined && status.statusCode !== 0;
}
