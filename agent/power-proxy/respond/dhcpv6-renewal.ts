/**
 * DHCPv6 renewal in a sleeping host's place: from T1 on Renew to the server that gave the addresses (RFC 8415 §18.2.4), from
 * T2 on Rebind to all (§18.2.5), both to the group of all servers, until a Reply comes or the addresses end. The Reply goes
 * to the host; learn-lease.ts takes note of it there.
 *
 * Paced as §15 has it, 10 s after the first message and then twice as long each time, up to 600 s, but without its random
 * part: the rule's timer, which says when to look, is coarser. Bounded as dhcp-renewal.ts is.
 */

import { parseAddress } from '../../wire/address.js';
import {
  type Dhcpv6,
  type Dhcpv6Option,
  dhcpv6ClientPort,
  dhcpv6Group,
  dhcpv6Length,
  dhcpv6MessageType,
  dhcpv6ServerPort,
  emitDhcpv6,
} from '../../wire/dhcpv6.js';
import type { Keeper, Lease6 } from '../responder.js';
import { type Attempt, Attempts, type RenewalRefusal, transactionOf, wayOf } from './dhcp-renewal.js';
import { groupMac, udpFrame } from './frame.js';

/** RFC 8415 §7.6: REN_TIMEOUT and REB_TIMEOUT, REN_MAX_RT and REB_MAX_RT. */
const firstPauseMs = 10_000;
const longestPauseMs = 600_000;
/** The group is of the link; nothing of it is to leave. */
const hopLimit = 1;
/** SOL_MAX_RT, which a client must always ask for (RFC 8415 §18.2.4, §21.24). */
const optionSolMaxRt = 82;

/** `limit`: hosts whose attempts are remembered. */
export function keepDhcpv6(limit: number): Keeper<RenewalRefusal> {
  const attempts = new Attempts(limit, count => {
    let pauseMs = firstPauseMs;
    for (let i = 1; i < count && pauseMs < longestPauseMs; i++) pauseMs *= 2;
    return Math.min(pauseMs, longestPauseMs);
  });
  return (now, where, { mac, lease6 }, send) => {
    if (!lease6) return 'no-lease';
    const attempt = attempts.take(now, mac, lease6);
    if (attempt === 'not-due' || attempt === 'expired') return attempt;
    const request = requestFor(attempt, lease6);
    const message = new Uint8Array(dhcpv6Length(request));
    emitDhcpv6(request, message, 0);
    const dstAddress = parseAddress(dhcpv6Group) as Uint8Array;
    const parts = {
      srcAddress: lease6.from,
      dstAddress,
      srcPort: dhcpv6ClientPort,
      dstPort: dhcpv6ServerPort,
      timeToLive: hopLimit,
    };
    send(udpFrame(wayOf(where, groupMac(dstAddress)), parts, message));
    return 'sent';
  };
}

function requestFor(attempt: Attempt, { clientId, serverId, iaid, addresses }: Lease6): Dhcpv6 {
  const elapsedHundredths = Math.min(0xffff, Math.floor((attempt.at - attempt.startedAt) / 10));
  const options: Dhcpv6Option[] = [{ kind: 'client-identifier', duid: clientId }];
  if (attempt.stage === 'renew') options.push({ kind: 'server-identifier', duid: serverId });
  options.push(
    { kind: 'elapsed-time', elapsedHundredths },
    {
      kind: 'ia-na',
      iaid,
      // §21.4, §21.6: a client names no times.
      t1Seconds: 0,
      t2Seconds: 0,
      options: addresses.map(address => ({
        kind: 'ia-address',
        address,
        preferredLifetimeSeconds: 0,
        validLifetimeSeconds: 0,
        options: [],
      })),
    },
    { kind: 'option-request', codes: [optionSolMaxRt] },
  );
  return {
    kind: 'message',
    messageType: dhcpv6MessageType[attempt.stage],
    transactionId: transactionOf(attempt) & 0xffffff,
    options,
  };
}
