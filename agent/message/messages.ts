/**
 * Messages: their types, and what schema.ts validates them by. Agents import types alone from here.
 *
 * Generated from messages.cddl by generate.ts (`npm run generate`): edit the former.
 */

import {
  aclDescriptor,
  hostDescriptor,
  id,
  mac,
  manifestDescriptor,
  requestDescriptor,
  ruleDescriptor,
  text64,
  text200,
} from './received.js';
import type { Descriptor, Shape } from './schema.js';

export type { Descriptor };

/** The birth message: what this agent is and can do. */
export type Info = {
  /** Of this contract. */
  readonly version: 1;
  /** Name and version. */
  readonly firmware: Text64;
  /** Such as linux, xs, espruino, sim. */
  readonly platform: Text64;
  readonly boot: Boot;
  /** The jobs this agent does. */
  readonly jobs: readonly Job[];
  /** Each job it does not do, and why. */
  readonly missing: {
    readonly [key: string]: string;
  };
  /** Its limits.ts as it runs. */
  readonly limits: {
    readonly [key: string]: number;
  };
  /** Accepted rules, and a digest over their ids and digests. */
  readonly rules: {
    readonly count: number;
    readonly digest: Digest;
  };
};

export type Job = 'kibbutz' | 'power-proxy' | 'pppoe' | 'update';

/** A rule as people publish it: when a frame for the host matches the trigger while the host sleeps, or when the timer says so, act. */
export type Rule = {
  /** The sleeping host; left out: every host. */
  readonly host?: Mac;
  /** The highest matching rule wins, then the first by id; 100 if left out. */
  readonly priority?: number;
  readonly trigger: Trigger;
  readonly action: Action;
  /** Of respond: who answers; left out: whoever knows the question. */
  readonly responder?: Responder;
  /** Of respond: a UDP answer of the rule's own instead of a responder's. */
  readonly answer?: Answer;
  /** Of redirect: to whom. */
  readonly redirect?: Redirect;
  /** How long the rule stays in force; left out: until removed. */
  readonly timeout?: Duration;
};

/** "drop", "wake", "respond" or "redirect". */
export type Action = 'drop' | 'wake' | 'respond' | 'redirect';

export type Responder =
  | 'arp'
  | 'nd'
  | 'echo'
  | 'igmp'
  | 'mld'
  | 'mdns'
  | 'llmnr'
  | 'nbns'
  | 'ssdp'
  | 'snmp'
  | 'tcp-keepalive'
  | 'dhcp'
  | 'dhcpv6'
  | 'nat-keepalive';

/** The payload of a UDP datagram back to whoever asked. */
export type Answer = {
  readonly template: Template;
  /** A counter in the template begins anew after so long without a question; left out: never. */
  readonly stateTimeout?: Duration;
};

/** Exactly one of the three. */
export type Redirect = {
  /** The frame goes to this host instead. */
  readonly host?: Mac;
  /** A program beside the agent, by the name the platform knows it by. */
  readonly stub?: Id;
  /** The frame goes over MQTT, as the event `redirect`. */
  readonly coordinator?: true;
};

/** Every protocol named must be in the frame and every field named must match. */
export type Trigger = {
  /** Every frame. */
  readonly any?: true;
  /** It asks for an address or a name of the host (ARP, neighbour discovery, mDNS, LLMNR, NetBIOS). */
  readonly asked?: true;
  /** A TCP SYN or a UDP datagram to a port where the host offers a service (host, or sleep proxy registration). */
  readonly registered?: true;
  /** Agent/power-proxy/traffic-class.ts says what stands where. */
  readonly class?: TrafficClass | readonly TrafficClass[];
  /** Instead of a frame, and so alone. */
  readonly timer?: Timer;
  readonly ethernet?: EthernetMatch;
  readonly arp?: ArpMatch;
  readonly ipv4?: Ipv4Match;
  readonly ipv6?: Ipv6Match;
  readonly icmp?: IcmpMatch;
  readonly icmpv6?: IcmpMatch;
  readonly tcp?: TcpMatch;
  readonly udp?: UdpMatch;
  /** Over UDP, to port 53. */
  readonly dns?: DnsMatch;
  /** To port 5353. */
  readonly mdns?: DnsMatch;
  /** To port 5355. */
  readonly llmnr?: DnsMatch;
  /** To port 137. */
  readonly nbns?: NbnsMatch;
  readonly payload?: PayloadMatch;
};

/** Traffic that a sleeping host may miss, must not miss, or may as its owner likes (Nedevschi et al., NSDI 2009). */
export type TrafficClass = 'dont-wake' | 'dont-ignore' | 'policy-dependent';

/** One of the two. */
export type Timer = {
  /** From when the rule was accepted or the agent booted, again and again; 1 s or more. */
  readonly every?: Duration;
  /** Once; 1 s or more. */
  readonly after?: Duration;
};

export type EthernetMatch = {
  readonly srcMac?: MacSet;
  readonly dstMac?: MacSet;
  /** Up to 1500: 802.3 with LLC. */
  readonly etherType?: Uint16Set;
  /** Of the outermost tag. */
  readonly vlanId?: VlanSet;
  readonly cast?: Cast | readonly Cast[];
};

export type Cast = 'unicast' | 'multicast' | 'broadcast';

export type ArpMatch = {
  readonly operation?: ArpOperation | readonly ArpOperation[];
  readonly senderAddress?: Ipv4Set;
  readonly targetAddress?: Ipv4Set;
};

/** "request", "reply", a number 1..65535 or a range of such. */
export type ArpOperation = 'request' | 'reply' | number | Range;

export type Ipv4Match = {
  readonly srcAddress?: Ipv4Set;
  readonly dstAddress?: Ipv4Set;
  readonly protocol?: Uint8Set;
  readonly dscp?: DscpSet;
  readonly timeToLive?: Uint8Set;
};

export type Ipv6Match = {
  readonly srcAddress?: Ipv6Set;
  readonly dstAddress?: Ipv6Set;
  /** The upper-layer protocol, behind the extension headers. */
  readonly protocol?: Uint8Set;
  readonly dscp?: DscpSet;
  readonly hopLimit?: Uint8Set;
};

export type IcmpMatch = {
  readonly type?: Uint8Set;
  readonly code?: Uint8Set;
};

export type TcpMatch = {
  readonly srcPort?: Uint16Set;
  readonly dstPort?: Uint16Set;
  /** Of syn, ack, fin and rst those named are set and the others clear. */
  readonly flags?: TcpFlags | readonly TcpFlags[];
};

export type UdpMatch = {
  readonly srcPort?: Uint16Set;
  readonly dstPort?: Uint16Set;
};

/** A field named asks for a query (not a response) with such a question. */
export type DnsMatch = {
  readonly name?: DnsName | readonly DnsName[];
  readonly type?: DnsType | readonly DnsType[];
};

export type NbnsMatch = {
  /** Of any suffix and scope. */
  readonly name?: NbnsName | readonly NbnsName[];
  readonly type?: NbnsType | readonly NbnsType[];
};

/** Bytes at a fixed place. */
export type PayloadMatch = {
  /** What `offset` counts from: the frame's first byte, the IP or ARP header, the header behind IP, or (left out) what TCP or UDP carry. */
  readonly from?: 'frame' | 'network' | 'transport' | 'data';
  /** 0 if left out. */
  readonly offset?: number;
  readonly bytes: Hex;
  /** As long as `bytes`; only its set bits are compared. */
  readonly mask?: Hex;
};

/** What became of a rule. `digest` is of the payload judged; a rejected one leaves the rule `inForce` as it was. */
export type RuleStatus = {
  readonly status: 'accepted' | 'rejected' | 'expired';
  readonly digest: Digest;
  readonly boot: Boot;
  /** ms since boot when this was written. */
  readonly uptime: number;
  /** Why it was rejected. */
  readonly reason?: Text200;
  /** The field at fault, such as trigger.tcp.dstPort. */
  readonly field?: Text64;
  readonly expected?: Text200;
  readonly got?: Text64;
  /** Of the rule in force; absent: none is. */
  readonly inForce?: Digest;
  /** Counts the accepted changes of this rule. */
  readonly revision?: number;
  /** Of the rule in force, or the one that expired, since accepted or booted. */
  readonly hits?: number;
  readonly bytes?: number;
  /** ms since boot. */
  readonly lastHit?: number;
  /** What is odd about the rule in force, though it was accepted. */
  readonly warnings?: readonly Warning[];
};

export type Warning = {
  readonly kind: 'shadowed' | 'redundant' | 'conflict' | 'storm' | 'never' | 'unanswerable';
  /** The other rule it is about. */
  readonly rule?: Id;
  readonly text: Text200;
};

/** A host the power proxy stands in for, as people publish it, or the host's own agent. Rules without a host are for all such hosts. What is left out is learnt from what the host sends while it is awake. */
export type Host = {
  readonly mac: Mac;
  readonly ipv4?: readonly Ipv4[];
  readonly ipv6?: readonly Ipv6[];
  /** Without a domain. */
  readonly names?: readonly HostName[];
  /** Multicast groups it joined. */
  readonly groups?: readonly Ip[];
  readonly services?: readonly Service[];
  /** Of SecureOn, at the end of the magic packet. */
  readonly password?: Hex4 | Hex6;
  /** Where it is, if frames there are tagged. */
  readonly vlanId?: number;
  /** As the host's own agent knows it. */
  readonly state?: 'awake' | 'asleep';
};

/** A DNS-SD service (RFC 6763) it offers. */
export type Service = {
  /** The instance; left out: the host's first name. */
  readonly name?: Text63;
  readonly type: ServiceType;
  readonly port: number;
  /** Such as "path=/". */
  readonly txt?: readonly Text200[];
};

export type HostStatus = {
  readonly status: 'accepted' | 'rejected';
  /** Of the payload judged. */
  readonly digest: Digest;
  readonly boot: Boot;
  /** ms since boot when this was written. */
  readonly uptime: number;
  readonly reason?: Text200;
  readonly field?: Text64;
  readonly expected?: Text200;
  readonly got?: Text64;
  readonly state?: HostState;
  /** ms since boot. */
  readonly since?: number;
  /** Times it was woken since boot. */
  readonly wakes?: number;
};

export type HostState = 'awake' | 'falling-asleep' | 'asleep' | 'waking' | 'gone';

/** What a subscriber may send without a tunnel: the software BRAS publishes it to the gateway once his session is authenticated, and again before it expires; an empty payload revokes it. */
export type Acl = {
  /** The PPPoE session it stands for. */
  readonly session: number;
  /** Where packets go, and come from. */
  readonly bras: Mac;
  /** The subscriber's. */
  readonly ipv4: Ipv4;
  readonly ipv6?: Ipv6Network;
  /** Left out: as fast as the line. */
  readonly upBitsPerSecond?: number;
  /** Told for information: the BRAS itself keeps it. */
  readonly downBitsPerSecond?: number;
  /** From when it arrives; then the gateway goes back to the tunnel. */
  readonly expires: Duration;
};

export type AclStatus = {
  readonly status: 'installed' | 'rejected' | 'expired' | 'revoked';
  /** Of the payload judged. */
  readonly digest: Digest;
  readonly boot: Boot;
  /** ms since boot when this was written. */
  readonly uptime: number;
  readonly reason?: Text200;
  readonly field?: Text64;
  readonly expected?: Text200;
  readonly got?: Text64;
  /** Sent plain since installed. */
  readonly packets?: number;
  /** Packets of the gateway's network that the list did not allow. */
  readonly refused?: number;
};

/** Counters since boot. A replay carries the same boot and seq and so changes nothing. */
export type Telemetry = {
  readonly boot: Boot;
  /** Counts this node's telemetry messages since boot, over all jobs. */
  readonly seq: number;
  /** ms since boot. */
  readonly uptime: number;
  readonly counters: {
    readonly [key: string]: number;
  };
  readonly gauges?: {
    readonly [key: string]: number;
  };
};

export type Event = {
  readonly boot: Boot;
  /** Counts this node's events since boot. */
  readonly seq: number;
  /** ms since boot. */
  readonly uptime: number;
  readonly rule?: Id;
  readonly host?: Mac;
  /** The packet that caused it, in words. */
  readonly packet?: Text200;
  /** The packet itself, where it is redirected. */
  readonly frame?: Bytes1514;
  /** PPPoE session. */
  readonly session?: number;
  /** Member id, where the kibbutz speaks of one neighbour. */
  readonly neighbour?: number;
  readonly text?: Text200;
};

/** What a node has given its neighbours in the kibbutz and taken from them, in bytes of envelopes as the provider counts. */
export type Ledger = {
  readonly boot: Boot;
  /** ms since boot. */
  readonly uptime: number;
  /** By member id, in decimal. */
  readonly neighbours: {
    readonly [key: string]: Account;
  };
};

export type Account = {
  /** Bytes of theirs through our link. */
  readonly given: number;
  /** Bytes of ours through theirs. */
  readonly taken: number;
  /** Whole slots (tail times) they may still use our link; at 0 they are not offered it. */
  readonly credit: number;
};

export type Request = {
  /** Echoed in the response. */
  readonly transaction: Text64;
  /** Of wake: whom. */
  readonly host?: Mac;
  /** Of update: what is signed, see `manifest`. */
  readonly manifest?: ManifestHex;
};

export type Response = {
  readonly transaction: Text64;
  readonly ok: boolean;
  readonly error?: Text200;
};

/** A firmware image, behind its signature: the payload of a COSE_Sign1 with ES256 (agent/update/). Only in CBOR. */
export type Manifest = {
  readonly format: 1;
  /** What it is for, as the firmware there was built: esp32, esp32/m5atom. */
  readonly platform: Text64;
  /** For people. */
  readonly version: Text32;
  /** Higher than that of the firmware it takes the place of. */
  readonly sequence: number;
  /** Of the image, in bytes. */
  readonly size: number;
  /** Its SHA-256. */
  readonly digest: Bytes32;
  /** Where it is, http:// or https://. */
  readonly uri: Text200;
};

/** 1 to 32 characters of a-z, 0-9 and -. */
export type Id = string;

/** A MAC address such as 3c:22:fb:01:02:03. */
export type Mac = string;

/** A range such as "1024-65535". */
export type Range = string;

/** An integer 0..63 or a range such as "8-14". */
export type DscpItem = number | Range;

/** An integer 0..63, a range such as "8-14", or a list of up to 64 of them. */
export type DscpSet = DscpItem | readonly DscpItem[];

/** An integer 0..255 or a range such as "133-137". */
export type Uint8Item = number | Range;

/** An integer 0..255, a range such as "133-137", or a list of up to 64 of them. */
export type Uint8Set = Uint8Item | readonly Uint8Item[];

/** An integer 0..4094 or a range such as "100-199". */
export type VlanItem = number | Range;

/** An integer 0..4094, a range such as "100-199", or a list of up to 64 of them. */
export type VlanSet = VlanItem | readonly VlanItem[];

/** An integer 0..65535 or a range such as "1024-65535". */
export type Uint16Item = number | Range;

/** An integer 0..65535, a range such as "1024-65535", or a list of up to 64 of them. */
export type Uint16Set = Uint16Item | readonly Uint16Item[];

/** A MAC address or prefix such as 3c:22:fb:01:02:03 or 3c:22:fb:00:00:00/24. */
export type MacPrefix = string;

/** A MAC address or prefix such as 3c:22:fb:01:02:03 or 3c:22:fb:00:00:00/24, or a list of up to 64 of them. */
export type MacSet = MacPrefix | readonly MacPrefix[];

/** An IPv4 address or prefix such as 192.168.1.10 or 192.168.1.0/24. */
export type Ipv4Prefix = string;

/** An IPv4 address or prefix such as 192.168.1.10 or 192.168.1.0/24, or a list of up to 64 of them. */
export type Ipv4Set = Ipv4Prefix | readonly Ipv4Prefix[];

/** An IPv6 address or prefix such as fe80::1 or fe80::/10. */
export type Ipv6Prefix = string;

/** An IPv6 address or prefix such as fe80::1 or fe80::/10, or a list of up to 16 of them. */
export type Ipv6Set = Ipv6Prefix | readonly Ipv6Prefix[];

/** An IPv4 address such as 192.168.1.10. */
export type Ipv4 = string;

/** An IPv6 address such as fe80::1. */
export type Ipv6 = string;

/** An IPv6 prefix such as 2001:db8:1::/56. */
export type Ipv6Network = string;

/** An IPv4 or IPv6 address. */
export type Ip = string;

/** A host name of 1 to 63 letters, digits and - such as desktop. */
export type HostName = string;

/** A service type such as _ssh._tcp. */
export type ServiceType = string;

/** 4 bytes in hex digits. */
export type Hex4 = string;

/** 6 bytes in hex digits. */
export type Hex6 = string;

/** Hex digits and fields in braces, such as 3002{data:2:4}{count:2}. */
export type Template = string;

/** Up to 1514 bytes. */
export type Bytes1514 = Uint8Array;

/** 32 bytes. */
export type Bytes32 = Uint8Array;

/** A signed manifest of up to 512 bytes, in hex digits. */
export type ManifestHex = string;

export type Text32 = string;

export type Text63 = string;

/** A name such as desktop.local, or *.local for all names below. */
export type DnsName = string;

/** A question's type: a, aaaa, ptr, srv, txt, any, a number 0..65535 or a range. */
export type DnsType = 'a' | 'aaaa' | 'ptr' | 'srv' | 'txt' | 'any' | number | Range;

/** A NetBIOS name of 1 to 15 characters such as DESKTOP. */
export type NbnsName = string;

/** A question's type: nb, nbstat, a number 0..65535 or a range. */
export type NbnsType = 'nb' | 'nbstat' | number | Range;

/** 1 to 32 bytes in hex digits such as 0a1b. */
export type Hex = string;

/** A whole number and a unit (ms, s, m, h, d) such as 30s. */
export type Duration = string;

/** TCP flags such as syn or syn,ack. */
export type TcpFlags = string;

/** 8 hex digits, chosen at random at each boot. */
export type Boot = string;

/** 8 hex digits (FNV-1a of the payload). */
export type Digest = string;

export type Text64 = string;

export type Text200 = string;

const boot: Shape = ['say', '8 hex digits, chosen at random at each boot', ['regexp', '[0-9a-f]{8}']];
const job: Shape = ['is', 'kibbutz', 'power-proxy', 'pppoe', 'update'];
const digest: Shape = ['say', '8 hex digits (FNV-1a of the payload)', ['regexp', '[0-9a-f]{8}']];
const warning: Shape = [
  'open',
  ['kind', ['is', 'shadowed', 'redundant', 'conflict', 'storm', 'never', 'unanswerable']],
  ['rule?', id],
  ['text', text200],
];
const hostState: Shape = ['is', 'awake', 'falling-asleep', 'asleep', 'waking', 'gone'];
const bytes1514: Shape = ['say', 'up to 1514 bytes', ['size', 'bstr', 0, 1514]];
const account: Shape = ['open', ['given', 'uint'], ['taken', 'uint'], ['credit', 'int']];

/** One for each message, by its name in messages.cddl. */
export const descriptors: {
  readonly info: Descriptor<Info>;
  readonly rule: Descriptor<Rule>;
  readonly 'rule-status': Descriptor<RuleStatus>;
  readonly host: Descriptor<Host>;
  readonly 'host-status': Descriptor<HostStatus>;
  readonly acl: Descriptor<Acl>;
  readonly 'acl-status': Descriptor<AclStatus>;
  readonly telemetry: Descriptor<Telemetry>;
  readonly event: Descriptor<Event>;
  readonly ledger: Descriptor<Ledger>;
  readonly request: Descriptor<Request>;
  readonly response: Descriptor<Response>;
  readonly manifest: Descriptor<Manifest>;
} = {
  info: [
    'open',
    ['version', ['is', 1]],
    ['firmware', text64],
    ['platform', text64],
    ['boot', boot],
    ['jobs', ['list', job, 0, -1]],
    ['missing', ['open', ['*', 'tstr']]],
    ['limits', ['open', ['*', 'uint']]],
    ['rules', ['open', ['count', 'uint'], ['digest', digest]]],
  ],
  rule: ruleDescriptor,
  'rule-status': [
    'open',
    ['status', ['is', 'accepted', 'rejected', 'expired']],
    ['digest', digest],
    ['boot', boot],
    ['uptime', 'uint'],
    ['reason?', text200],
    ['field?', text64],
    ['expected?', text200],
    ['got?', text64],
    ['inForce?', digest],
    ['revision?', 'uint'],
    ['hits?', 'uint'],
    ['bytes?', 'uint'],
    ['lastHit?', 'uint'],
    ['warnings?', ['list', warning, 0, 8]],
  ],
  host: hostDescriptor,
  'host-status': [
    'open',
    ['status', ['is', 'accepted', 'rejected']],
    ['digest', digest],
    ['boot', boot],
    ['uptime', 'uint'],
    ['reason?', text200],
    ['field?', text64],
    ['expected?', text200],
    ['got?', text64],
    ['state?', hostState],
    ['since?', 'uint'],
    ['wakes?', 'uint'],
  ],
  acl: aclDescriptor,
  'acl-status': [
    'open',
    ['status', ['is', 'installed', 'rejected', 'expired', 'revoked']],
    ['digest', digest],
    ['boot', boot],
    ['uptime', 'uint'],
    ['reason?', text200],
    ['field?', text64],
    ['expected?', text200],
    ['got?', text64],
    ['packets?', 'uint'],
    ['refused?', 'uint'],
  ],
  telemetry: [
    'open',
    ['boot', boot],
    ['seq', 'uint'],
    ['uptime', 'uint'],
    ['counters', ['open', ['*', 'uint']]],
    ['gauges?', ['open', ['*', 'number']]],
  ],
  event: [
    'open',
    ['boot', boot],
    ['seq', 'uint'],
    ['uptime', 'uint'],
    ['rule?', id],
    ['host?', mac],
    ['packet?', text200],
    ['frame?', bytes1514],
    ['session?', ['range', 1, 65534]],
    ['neighbour?', ['range', 1, 4294967295]],
    ['text?', text200],
  ],
  ledger: ['open', ['boot', boot], ['uptime', 'uint'], ['neighbours', ['open', ['*', account]]]],
  request: requestDescriptor,
  response: ['open', ['transaction', text64], ['ok', 'bool'], ['error?', text200]],
  manifest: manifestDescriptor,
};
