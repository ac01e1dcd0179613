/**
 * DHCP renewal in a sleeping host's place (RFC 2131 §4.4.5): from T1 on a request to the server that gave the lease, from T2
 * on one to all, until the lease is acknowledged or ends. The acknowledgement goes to the host; learn-lease.ts takes note
 * of it there.
 *
 * A rule's timer says when to look. What is sent is paced by `Attempts`: after each request half of the time left, and 60 s
 * at the least (§4.4.5). Bounded by the limit given: of so many hosts the attempts are remembered, and beyond it those made
 * longest ago are forgotten, which costs a request too early.
 */

import { concatBytes, numberBytes, sameBytes } from '../../core/bytes.js';
import { timesFnvPrime } from '../../core/random.js';
import {
  bootRequest,
  type Dhcp,
  type DhcpOption,
  dhcpClientPort,
  dhcpLength,
  dhcpMessageType,
  dhcpServerPort,
  emitDhcp,
} from '../../wire/dhcp.js';
import { tpidCustomer } from '../../wire/vlan.js';
import type { Keeper, Lease } from '../responder.js';
import { defaultTimeToLive, udpFrame, type Way } from './frame.js';

export type RenewalRefusal =
  /** None is known of the host. */
  | 'no-lease'
  /** T1 is still to come, or the next attempt. */
  | 'not-due'
  | 'expired';

/** From T1 to T2, and from there to the end. */
export type Stage = 'renew' | 'rebind';

/** RFC 2131 §4.4.5. */
const leastPauseMs = 60_000;

type Times = Pick<Lease, 'renewAt' | 'rebindAt' | 'expiresAt'>;

/** What was sent for a host in one stage of one lease. */
export interface Attempt {
  readonly stage: Stage;
  /** Of the first one, and of the last. */
  readonly startedAt: number;
  readonly at: number;
  readonly count: number;
  readonly mac: Uint8Array;
  readonly expiresAt: number;
}

/** Paces the attempts at renewing leases. */
export class Attempts {
  private made: Attempt[] = [];
  private readonly limit: number;
  private readonly pauseMs: (count: number, leftMs: number) => number;

  /** `pauseMs`: after that many attempts, the last of them `leftMs` before the end of the stage. */
  constructor(limit: number, pauseMs: (count: number, leftMs: number) => number) {
    this.limit = limit;
    this.pauseMs = pauseMs;
  }

  /** The attempt to be made now; it counts as made. */
  take(now: number, mac: Uint8Array, times: Times): Attempt | 'not-due' | 'expired' {
    const { renewAt, rebindAt, expiresAt } = times;
    if (now >= expiresAt) return 'expired';
    if (now < renewAt) return 'not-due';
    const stage = now < rebindAt ? 'renew' : 'rebind';
    const before = this.made.find(
      made => made.stage === stage && made.expiresAt === expiresAt && sameBytes(made.mac, mac),
    );
    if (before) {
      const leftMs = (stage === 'renew' ? rebindAt : expiresAt) - before.at;
      if (now < before.at + this.pauseMs(before.count, leftMs)) return 'not-due';
    }
    const { startedAt = now, count = 0 } = before ?? {};
    const attempt = { stage, startedAt, at: now, count: count + 1, mac, expiresAt } as const;
    this.made = this.made.filter(made => !sameBytes(made.mac, mac));
    if (this.made.length >= this.limit) this.made.shift();
    this.made.push(attempt);
    return attempt;
  }
}

/** `limit`: hosts whose attempts are remembered. */
export function keepDhcp(limit: number): Keeper<RenewalRefusal> {
  const attempts = new Attempts(limit, (_count, leftMs) => Math.max(leastPauseMs, Math.floor(leftMs / 2)));
  return (now, where, { mac, lease }, send) => {
    if (!lease) return 'no-lease';
    const attempt = attempts.take(now, mac, lease);
    if (attempt === 'not-due' || attempt === 'expired') return attempt;
    const isUnicast = attempt.stage === 'renew';
    const request = requestFor(attempt, lease);
    const message = new Uint8Array(dhcpLength(request));
    emitDhcp(request, message, 0);
    const parts = {
      srcAddress: lease.address,
      dstAddress: isUnicast ? lease.server : new Uint8Array(4).fill(0xff),
      srcPort: dhcpClientPort,
      dstPort: dhcpServerPort,
      timeToLive: defaultTimeToLive,
    };
    send(udpFrame(wayOf(where, isUnicast ? lease.serverMac : new Uint8Array(6).fill(0xff)), parts, message));
    return 'sent';
  };
}

/** RFC 2131 §4.3.2, table 5: the address stands in ciaddr, and neither server identifier nor requested address is named. */
function requestFor(attempt: Attempt, { address, clientId }: Lease): Dhcp {
  const options: DhcpOption[] = [{ kind: 'message-type', messageType: dhcpMessageType.request }];
  // §4.2: the same as when the lease was got, or it is another client's.
  if (clientId) options.push({ kind: 'client-identifier', data: clientId });
  const nobody = new Uint8Array(4);
  return {
    operation: bootRequest,
    hops: 0,
    transactionId: transactionOf(attempt),
    secondsElapsed: Math.min(0xffff, Math.floor((attempt.at - attempt.startedAt) / 1000)),
    broadcast: false,
    clientAddress: address,
    yourAddress: nobody,
    serverAddress: nobody,
    relayAddress: nobody,
    clientMac: attempt.mac,
    serverName: new Uint8Array(0),
    bootFile: new Uint8Array(0),
    options,
  };
}

/**
 * The transaction id of a stage of a lease, 32 bits. It is made of what is known of the lease (FNV-1a), so that the
 * acknowledgement can be told from others without anything having been kept.
 */
export function transactionOf({
  mac,
  stage,
  expiresAt,
}: Pick<Attempt, 'mac' | 'stage' | 'expiresAt'>): number {
  const bytes = concatBytes([
    mac,
    numberBytes(expiresAt % 4294967296, 4),
    numberBytes(stage === 'renew' ? 1 : 2, 1),
  ]);
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < bytes.length; i++) hash = timesFnvPrime(hash ^ bytes[i]);
  return hash >>> 0;
}

/** In the host's VLAN. */
export function wayOf({ link, vlanId }: Parameters<Keeper>[1], dstMac: Uint8Array): Way {
  const tag = { tpid: tpidCustomer, priority: 0, dropEligible: false, vlanId };
  return { link, tags: vlanId > 0 ? [tag] : [], dstMac };
}
