/**
 * What responders for more than addresses must know of the host they answer for. All of it is learnt from what the host
 * said before it slept, or registered; what is absent is not answered for.
 */

import type { DnsDataRecord } from '../../wire/dns.js';
import type { NbnsNodeName } from '../../wire/nbns.js';
import type { Ssdp } from '../../wire/ssdp.js';
import type { Served } from '../responder.js';

export interface ServedMore extends Served {
  /** Multicast groups it joined, 4 or 16 bytes, for any source. */
  readonly groups?: readonly Uint8Array[];
  /**
   * Multicast DNS records as it announced them: `cacheFlush` tells those that are its own (RFC 6762 §10.2) from those it
   * shares, `timeToLive` is the full one.
   */
  readonly records?: readonly DnsDataRecord[];
  /** NetBIOS names it registered. Absent: each of `names`, as a workstation. */
  readonly netbiosNames?: readonly Pick<NbnsNodeName, 'name' | 'suffix' | 'group'>[];
  /** Its last `NOTIFY` with `ssdp:alive` of each search target (UPnP Device Architecture 2.0 §1.2.2). */
  readonly notifications?: readonly Ssdp[];
  /** TCP connections that were idle when it fell asleep. */
  readonly connections?: readonly IdleConnection[];
}

/** RFC 9293 §3.3.1. Idle: all that either side sent is acknowledged. */
export interface IdleConnection {
  /** The host's. */
  readonly address: Uint8Array;
  readonly port: number;
  readonly peerAddress: Uint8Array;
  readonly peerPort: number;
  /** SND.NXT of the host: the sequence number it would send next. */
  readonly sendNext: number;
  /** RCV.NXT of the host: the sequence number it expects next. */
  readonly receiveNext: number;
  /** As in its last segment, not scaled. */
  readonly window: number;
  /** The value of its last timestamps option (RFC 7323 §3.2); absent where the connection has none. */
  readonly timestamp?: number;
}
