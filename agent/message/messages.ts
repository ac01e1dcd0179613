/**
 * Messages: their types, and what schema.ts validates them by.
 *
 * Generated from messages.cddl by generate.ts (`npm run generate`): edit the former.
 */

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

export type Job = 'kibbutz' | 'power-proxy' | 'pppoe';

/** A rule as people publish it: when a frame for the host matches the trigger while the host sleeps, act. */
export type Rule = {
  /** The sleeping host; left out: every host. */
  readonly host?: Mac;
  /** The highest matching rule wins, then the first by id; 100 if left out. */
  readonly priority?: number;
  readonly trigger: Trigger;
  readonly action: Action;
  /** How long the rule stays in force; left out: until removed. */
  readonly timeout?: Duration;
};

export type Action = 'drop' | 'wake' | 'respond';

/** Every protocol named must be in the frame and every field named must match. */
export type Trigger = {
  readonly ethernet?: EthernetMatch;
  readonly arp?: ArpMatch;
  readonly ipv4?: Ipv4Match;
  readonly ipv6?: Ipv6Match;
  readonly icmp?: IcmpMatch;
  readonly icmpv6?: IcmpMatch;
  readonly tcp?: TcpMatch;
  readonly udp?: UdpMatch;
};

export type EthernetMatch = {
  readonly srcMac?: Mac;
  readonly dstMac?: Mac;
  readonly etherType?: number;
};

export type ArpMatch = {
  readonly operation?: 'request' | 'reply';
  readonly senderAddress?: Ipv4Address;
  readonly targetAddress?: Ipv4Address;
};

export type Ipv4Match = {
  readonly srcAddress?: Ipv4Address;
  readonly dstAddress?: Ipv4Address;
  readonly protocol?: number;
};

export type Ipv6Match = {
  readonly srcAddress?: Ipv6Address;
  readonly dstAddress?: Ipv6Address;
  /** The upper-layer protocol, behind the extension headers. */
  readonly protocol?: number;
};

export type IcmpMatch = {
  readonly type?: number;
  readonly code?: number;
};

export type TcpMatch = {
  readonly srcPort?: number;
  readonly dstPort?: number;
  /** Of syn, ack, fin and rst those named are set and the others clear. */
  readonly flags?: TcpFlags;
};

export type UdpMatch = {
  readonly srcPort?: number;
  readonly dstPort?: number;
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
};

export type Response = {
  readonly transaction: Text64;
  readonly ok: boolean;
  readonly error?: Text200;
};

/** 1 to 32 characters of a-z, 0-9 and -. */
export type Id = string;

/** A MAC address such as 3c:22:fb:01:02:03. */
export type Mac = string;

/** An IPv4 address such as 192.168.1.10. */
export type Ipv4Address = string;

/** An IPv6 address such as fe80::1. */
export type Ipv6Address = string;

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

const text64: Shape = ['size', 'tstr', 0, 64];
const boot: Shape = ['say', '8 hex digits, chosen at random at each boot', ['regexp', '[0-9a-f]{8}']];
const job: Shape = ['is', 'kibbutz', 'power-proxy', 'pppoe'];
const digest: Shape = ['say', '8 hex digits (FNV-1a of the payload)', ['regexp', '[0-9a-f]{8}']];
const mac: Shape = [
  'say',
  'a MAC address such as 3c:22:fb:01:02:03',
  ['regexp', '[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}'],
];
const ethernetMatch: Shape = [
  'closed',
  ['srcMac?', mac],
  ['dstMac?', mac],
  ['etherType?', ['range', 0, 65535]],
];
const ipv4Address: Shape = [
  'say',
  'an IPv4 address such as 192.168.1.10',
  ['regexp', '[0-9]{1,3}([.][0-9]{1,3}){3}'],
];
const arpMatch: Shape = [
  'closed',
  ['operation?', ['is', 'request', 'reply']],
  ['senderAddress?', ipv4Address],
  ['targetAddress?', ipv4Address],
];
const ipv4Match: Shape = [
  'closed',
  ['srcAddress?', ipv4Address],
  ['dstAddress?', ipv4Address],
  ['protocol?', ['range', 0, 255]],
];
const ipv6Address: Shape = ['say', 'an IPv6 address such as fe80::1', ['regexp', '[0-9a-fA-F:.]{2,45}']];
const ipv6Match: Shape = [
  'closed',
  ['srcAddress?', ipv6Address],
  ['dstAddress?', ipv6Address],
  ['protocol?', ['range', 0, 255]],
];
const icmpMatch: Shape = ['closed', ['type?', ['range', 0, 255]], ['code?', ['range', 0, 255]]];
const tcpFlags: Shape = [
  'say',
  'TCP flags such as syn or syn,ack',
  ['regexp', '(fin|syn|rst|psh|ack|urg|ece|cwr)(,(fin|syn|rst|psh|ack|urg|ece|cwr)){0,7}'],
];
const tcpMatch: Shape = [
  'closed',
  ['srcPort?', ['range', 0, 65535]],
  ['dstPort?', ['range', 0, 65535]],
  ['flags?', tcpFlags],
];
const udpMatch: Shape = ['closed', ['srcPort?', ['range', 0, 65535]], ['dstPort?', ['range', 0, 65535]]];
const trigger: Shape = [
  'closed',
  ['ethernet?', ethernetMatch],
  ['arp?', arpMatch],
  ['ipv4?', ipv4Match],
  ['ipv6?', ipv6Match],
  ['icmp?', icmpMatch],
  ['icmpv6?', icmpMatch],
  ['tcp?', tcpMatch],
  ['udp?', udpMatch],
];
const action: Shape = ['is', 'drop', 'wake', 'respond'];
const duration: Shape = [
  'say',
  'a whole number and a unit (ms, s, m, h, d) such as 30s',
  ['regexp', '[0-9]{1,12}(ms|s|m|h|d)'],
];
const text200: Shape = ['size', 'tstr', 0, 200];
const id: Shape = ['say', '1 to 32 characters of a-z, 0-9 and -', ['regexp', '[a-z0-9-]{1,32}']];
const account: Shape = ['open', ['given', 'uint'], ['taken', 'uint'], ['credit', 'int']];

/** One for each message, by its name in messages.cddl. */
export const descriptors: {
  readonly info: Descriptor<Info>;
  readonly rule: Descriptor<Rule>;
  readonly 'rule-status': Descriptor<RuleStatus>;
  readonly telemetry: Descriptor<Telemetry>;
  readonly event: Descriptor<Event>;
  readonly ledger: Descriptor<Ledger>;
  readonly request: Descriptor<Request>;
  readonly response: Descriptor<Response>;
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
  rule: [
    'closed',
    ['host?', mac],
    ['priority?', ['range', 0, 65535]],
    ['trigger', trigger],
    ['action', action],
    ['timeout?', duration],
  ],
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
    ['neighbour?', ['range', 1, 4294967295]],
    ['text?', text200],
  ],
  ledger: ['open', ['boot', boot], ['uptime', 'uint'], ['neighbours', ['open', ['*', account]]]],
  request: ['open', ['transaction', text64]],
  response: ['open', ['transaction', text64], ['ok', 'bool'], ['error?', text200]],
};
