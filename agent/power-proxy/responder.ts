/**
 * What answers in a sleeping host's place (Nedevschi et al., NSDI 2009, §5: "mechanical responses"): one function a
 * protocol, from the frame that asks to the frames that answer.
 *
 * A responder answers questions, never answers, so two proxies cannot keep each other busy. It answers only for what
 * the host was seen or registered to have, and to whoever asked, in the VLAN the question came in.
 */

import type { Link } from '../port/platform.js';
import type { DnsDataRecord } from '../wire/dns.js';
import type { Headers } from '../wire/headers.js';
import type { NbnsNodeName } from '../wire/nbns.js';
import type { Ssdp } from '../wire/ssdp.js';

/**
 * What a responder may say of the host it answers for. All of it is declared, registered, or learnt from what the host said
 * before it slept (learn.ts); what is absent is not answered for. It stays as it is while the host sleeps.
 */
export interface Served {
  /** 6 bytes. */
  readonly mac: Uint8Array;
  /** 4 bytes each. */
  readonly ipv4: readonly Uint8Array[];
  /** 16 bytes each. */
  readonly ipv6: readonly Uint8Array[];
  /** Set: its addresses are said to be at this MAC, the agent's, for else its frames would not come here. */
  readonly linkAddress?: Uint8Array;
  /** Host names without a domain, as the host announced them. */
  readonly names: readonly string[];
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
  /** Its DHCP lease (RFC 2131), as last acknowledged. */
  readonly lease?: Lease;
  /** Its DHCPv6 lease (RFC 8415), as last acknowledged. */
  readonly lease6?: Lease6;
  /** Where it keeps a NAT mapping open with one byte of ff (RFC 3948 §4). */
  readonly natMappings?: readonly NatMapping[];
  /** What its SNMP agent said: the community that it answered and sysUpTime.0 in hundredths of a second at an instant. */
  readonly snmp?: { readonly community: Uint8Array; readonly ticks: number; readonly at: number };
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

/** Instants are of the agent's clock. */
export interface Lease {
  readonly address: Uint8Array;
  /** The server identifier, and the MAC its frames came from. */
  readonly server: Uint8Array;
  readonly serverMac: Uint8Array;
  /** The client identifier option's bytes, if the host sent one. */
  readonly clientId?: Uint8Array;
  /** RFC 2131 §4.4.5: T1, T2 and the end. */
  readonly renewAt: number;
  readonly rebindAt: number;
  readonly expiresAt: number;
}

export interface Lease6 {
  /** The link-local address it asks from. */
  readonly from: Uint8Array;
  /** DUIDs (RFC 8415 §11). */
  readonly clientId: Uint8Array;
  readonly serverId: Uint8Array;
  readonly serverMac: Uint8Array;
  readonly iaid: number;
  readonly addresses: readonly Uint8Array[];
  /** Of the IA_NA: T1, T2; the earliest end of a valid lifetime. */
  readonly renewAt: number;
  readonly rebindAt: number;
  readonly expiresAt: number;
}

export interface NatMapping {
  /** The host's. */
  readonly address: Uint8Array;
  readonly port: number;
  readonly peerAddress: Uint8Array;
  readonly peerPort: number;
  /** The MAC of the router its packets went to. */
  readonly routerMac: Uint8Array;
}

export interface Question {
  readonly now: number;
  /** The link it came in by, and the answer goes out by. */
  readonly link: Link;
  /** Only valid during the call. */
  readonly frame: Uint8Array;
  readonly headers: Headers;
  readonly host: Served;
}

/** `answered`, or why not: a lower-case reason that becomes a counter, such as `not-a-question` or `not-ours`. */
export type Responder<Reason extends string = string> = (
  question: Question,
  send: (frame: Uint8Array) => void,
) => 'answered' | Reason;

/**
 * What has to be done for a sleeping host without being asked, when a rule's timer is due: `sent`, or why nothing was. Frames
 * leave by `link`, in the host's VLAN (`vlanId`, −1: untagged).
 */
export type Keeper<Reason extends string = string> = (
  now: number,
  where: { readonly link: Link; readonly vlanId: number },
  host: Served,
  send: (frame: Uint8Array) => void,
) => 'sent' | Reason;
