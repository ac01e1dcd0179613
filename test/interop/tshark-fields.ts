/**
 * Which field of tshark says what field of ours: a table a protocol. A field of tshark that is in no table and on no
 * list of what is left out fails the comparison (tshark.test.ts), so nothing is passed over in silence.
 */

import { dnsType } from '../../agent/wire/dns.js';
import type { JsonValue } from '../../host-sim/capture/present.js';

/** A layer as `kith decode --json` writes it. */
// biome-ignore lint/suspicious/noExplicitAny: the fields of thirty protocols, read by name
export type JsonLayer = { readonly [field: string]: any };

/** What tshark shows in one field of a protocol in one frame, in order. */
export interface Context {
  readonly shows: readonly string[];
  /** Our layers of the frame, and which of them is compared. */
  readonly layers: readonly JsonLayer[];
  readonly index: number;
}

/** A path into our layer, or the values tshark should show; `undefined`: not to be compared in this frame. */
export type Rule = string | ((layer: JsonLayer, context: Context) => readonly JsonValue[] | undefined);

export interface Table {
  /** The name of our layer. */
  readonly layer: string;
  readonly rules: { readonly [tsharkField: string]: Rule };
  /** Fields left out, and why. */
  readonly ignored: readonly (readonly [fields: RegExp, reason: string])[];
}

/**
 * The values at a path: `options[mtu].mtu` are the `mtu` of each entry of `options` whose kind is `mtu`; several kinds
 * have a bar between them; `[query].version` looks at the layer's own kind.
 */
export function valuesAt(layer: JsonLayer, path: string): JsonValue[] {
  let values: JsonLayer[] = [layer];
  for (const step of path.split('.')) {
    const [, key, kinds] = /^(\w*)(?:\[([\w|-]+)\])?$/.exec(step)!;
    if (key) values = values.flatMap(value => value[key] ?? []);
    if (kinds) values = values.filter(value => kinds.split('|').includes(value['kind']));
  }
  return values as unknown as JsonValue[];
}

const bytesBound = 'says where the payload ends, which the layers after it show';
const checksum = 'a wrong checksum is an error of ours, compared as such';
const joined = 'a joined or derived form of other fields';
const reserved = 'reserved';
const conversation = "tshark's own analysis of the conversation";
const opaque = 'opaque bytes for us';

/** By kind, as numbers on the wire. */
const numbered =
  (path: string, numbers: { readonly [kind: string]: number }, key = 'type'): Rule =>
  layer =>
    valuesAt(layer, path).map(item => numbers[(item as JsonLayer)['kind']] ?? (item as JsonLayer)[key]);

/** UTF-8 of our hex. */
const textAt =
  (path: string): Rule =>
  layer =>
    valuesAt(layer, path).map(hex => Buffer.from(String(hex), 'hex').toString());

/** Compared where tshark shows it. */
const ifShown =
  (rule: Rule): Rule =>
  (layer, context) =>
    context.shows.length === 0 ? undefined : resolve(rule, layer, context);

export function resolve(rule: Rule, layer: JsonLayer, context: Context): readonly JsonValue[] | undefined {
  return typeof rule === 'string' ? valuesAt(layer, rule) : rule(layer, context);
}

/** The floating-point numbers of IGMPv3 and MLDv2 (RFC 3376 §4.1.1, RFC 3810 §5.1.3). */
function decodeFloat(code: number, bits: number): number {
  const mantissaBits = bits - 4;
  if (code < 2 ** (bits - 1)) return code;
  const exponent = (code >> mantissaBits) & 7;
  return ((code & (2 ** mantissaBits - 1)) | (2 ** mantissaBits)) << (exponent + 3);
}

/** Our decoded value, if it is what tshark's undecoded one means. */
const floating =
  (path: string, bits: number): Rule =>
  (layer, { shows }) =>
    valuesAt(layer, path).map((value, i) =>
      decodeFloat(Number(shows[i]), bits) === value ? Number(shows[i]) : value,
    );

const dataBytes: Rule = (_layer, { layers, index }) => {
  const next = layers[index + 1];
  return next?.['name'] === 'data' ? [next['bytes']] : undefined;
};

const nextEtherType: Rule = (_layer, { layers, index }) => {
  const next = layers[index + 1];
  return [next?.['name'] === 'vlan' ? next['tpid'] : layers[0]['etherType']];
};

const controlCodes = {
  'configure-request': 1,
  'configure-ack': 2,
  'configure-nak': 3,
  'configure-reject': 4,
  'terminate-request': 5,
  'terminate-ack': 6,
  'code-reject': 7,
  'protocol-reject': 8,
  'echo-request': 9,
  'echo-reply': 10,
  'discard-request': 11,
  identification: 12,
};

/** RFC 1661 §5: the fields LCP and the network control protocols share. */
const control: Table['rules'] = {
  'ppp.code': ({ kind, code }) => [controlCodes[kind as keyof typeof controlCodes] ?? code],
  'ppp.identifier': 'identifier',
  'ppp.data': l => [l['kind'] === 'code-reject' ? l['rejectedPacket'] : l['data']],
};

const controlIgnored: Table['ignored'] = [[/^ppp\.length$/, bytesBound]];

const questions = (l: JsonLayer): JsonLayer[] => l['questions'] ?? l['zones'] ?? [l['question']];
const records = (l: JsonLayer): JsonLayer[] => [
  ...(l['answers'] ?? l['prerequisites']),
  ...(l['authorities'] ?? l['updates']),
  ...l['additionals'],
];
const dnsName = (name: string) => (name === '.' ? '<Root>' : name);
/** The class as tshark shows it: only of multicast DNS without the top bit. */
const classOf = (l: JsonLayer, entry: JsonLayer, topBit: string): number =>
  entry['class'] + (entry[topBit] && l['name'] !== 'mdns' ? 0x8000 : 0);
const recordsOf =
  (kind: string, key: string, part?: RegExp): Rule =>
  l =>
    records(l)
      .filter(record => record['kind'] === kind)
      .flatMap(record => (part ? (part.exec(record[key])?.[0] ?? []) : record[key]));
const typeOf = (record: JsonLayer): number =>
  dnsType[record['kind'] as keyof typeof dnsType] ?? record['type'];
const hexNumber = (value: number, bytes: number) => value.toString(16).padStart(2 * bytes, '0');
const plainMac = (mac: string) => mac.replaceAll(':', '');

function ednsData(option: JsonLayer): string {
  if (option['kind'] === 'raw') return option['data'];
  if (option['kind'] === 'update-lease')
    return [option['leaseSeconds'], option['keyLeaseSeconds']]
      .filter(seconds => seconds !== undefined)
      .map(seconds => hexNumber(seconds, 4))
      .join('');
  const wakeup = option['wakeupMac'] === option['primaryMac'] ? '' : plainMac(option['wakeupMac']);
  return `00${hexNumber(option['sequence'], 1)}${plainMac(option['primaryMac'])}${wakeup}${option['password']}`;
}

const dnsRules: Table['rules'] = {
  'dns.id': 'identification',
  'dns.flags.response': 'isResponse',
  'dns.flags.opcode': l => [l['kind'] === 'update' ? 5 : (l['operation'] ?? 0)],
  'dns.flags.authoritative': ifShown('authoritative'),
  'dns.flags.truncated': 'truncated',
  'dns.flags.recdesired': ifShown('recursionDesired'),
  'dns.flags.recavail': ifShown('recursionAvailable'),
  'dns.flags.authenticated': ifShown('authenticData'),
  'dns.flags.checkdisable': ifShown('checkingDisabled'),
  'dns.flags.conflict': 'conflict',
  'dns.flags.tentative': 'tentative',
  'dns.flags.rcode': ifShown('responseCode'),
  'dns.count.queries': ifShown(l => [questions(l).length]),
  'dns.count.answers': ifShown(l => [l['answers'].length]),
  'dns.count.auth_rr': ifShown(l => [l['authorities'].length]),
  'dns.count.zones': ifShown(l => [l['zones'].length]),
  'dns.count.prerequisites': ifShown(l => [l['prerequisites'].length]),
  'dns.count.updates': ifShown(l => [l['updates'].length]),
  'dns.count.add_rr': l => [l['additionals'].length],
  'dns.qry.name': l => questions(l).map(question => dnsName(question['name'])),
  'dns.qry.type': l => questions(l).map(question => question['type']),
  'dns.qry.class': l => questions(l).map(question => classOf(l, question, 'unicastResponse')),
  'dns.qry.qu': ifShown(l => questions(l).map(question => question['unicastResponse'])),
  // Of a service tshark shows the parts of the name instead.
  'dns.resp.name': l =>
    records(l)
      .filter(({ kind }) => kind !== 'srv')
      .map(record => dnsName(record['name'] ?? '.')),
  'dns.srv.service': recordsOf('srv', 'name', /^[^.]+/),
  'dns.srv.proto': recordsOf('srv', 'name', /(?<=^[^.]+\.)[^.]+/),
  'dns.srv.name': recordsOf('srv', 'name', /(?<=^[^.]+\.[^.]+\.).+/),
  // tshark shows the types in an NSEC record's bitmap under this name too.
  'dns.resp.type': l =>
    records(l).flatMap(record => [typeOf(record), ...(record['kind'] === 'nsec' ? record['types'] : [])]),
  'dns.resp.class': l =>
    records(l)
      .filter(({ kind }) => kind !== 'opt')
      .map(record => classOf(l, record, 'cacheFlush')),
  'dns.resp.ttl': l => records(l).flatMap(record => record['timeToLive'] ?? []),
  'dns.resp.cache_flush': ifShown(l => records(l).map(record => record['cacheFlush'] ?? false)),
  // Names are compressed, so only of data without names does the length say more than that they were read.
  'dns.resp.len': (l, { shows }) =>
    records(l).map(({ kind, data }, i) => (kind === 'raw' ? data.length / 2 : Number(shows[i]))),
  'dns.a': recordsOf('a', 'address'),
  'dns.aaaa': recordsOf('aaaa', 'address'),
  'dns.ns': recordsOf('ns', 'target'),
  'dns.cname': recordsOf('cname', 'target'),
  'dns.ptr.domain_name': recordsOf('ptr', 'target'),
  'dns.mx.preference': recordsOf('mx', 'preference'),
  'dns.mx.mail_exchange': recordsOf('mx', 'exchange'),
  'dns.soa.mname': recordsOf('soa', 'primaryServer'),
  'dns.soa.rname': recordsOf('soa', 'responsibleMailbox'),
  'dns.soa.serial_number': recordsOf('soa', 'serial'),
  'dns.soa.refresh_interval': recordsOf('soa', 'refreshSeconds'),
  'dns.soa.retry_interval': recordsOf('soa', 'retrySeconds'),
  'dns.soa.expire_limit': recordsOf('soa', 'expireSeconds'),
  'dns.soa.minimum_ttl': recordsOf('soa', 'minimumSeconds'),
  'dns.hinfo.cpu': l =>
    records(l).flatMap(({ kind, cpu }) => (kind === 'hinfo' ? Buffer.from(cpu, 'hex').toString() : [])),
  'dns.hinfo.os': l =>
    records(l).flatMap(record =>
      record['kind'] === 'hinfo' ? Buffer.from(record['operatingSystem'], 'hex').toString() : [],
    ),
  'dns.txt': l =>
    records(l)
      .filter(({ kind }) => kind === 'txt')
      .flatMap(({ strings }) => strings.map((hex: string) => Buffer.from(hex, 'hex').toString())),
  'dns.srv.priority': recordsOf('srv', 'priority'),
  'dns.srv.weight': recordsOf('srv', 'weight'),
  'dns.srv.port': recordsOf('srv', 'port'),
  'dns.srv.target': recordsOf('srv', 'target'),
  'dns.nsec.next_domain_name': recordsOf('nsec', 'nextName'),
  'dns.data': ifShown(recordsOf('raw', 'data')),
  'dns.rr.udp_payload_size': recordsOf('opt', 'udpPayloadSizeBytes'),
  'dns.resp.ext_rcode': recordsOf('opt', 'extendedResponseCode'),
  'dns.resp.edns0_version': recordsOf('opt', 'version'),
  'dns.resp.z.do': recordsOf('opt', 'dnssecOk'),
  'dns.opt.code': l =>
    records(l).flatMap(({ kind, options }) =>
      kind === 'opt'
        ? options.map(
            (option: JsonLayer) =>
              ({ 'update-lease': 2, owner: 4 })[option['kind'] as 'owner'] ?? option['code'],
          )
        : [],
    ),
  'dns.opt.data': l =>
    records(l).flatMap(({ kind, options }) => (kind === 'opt' ? options.map(ednsData) : [])),
};

const dnsIgnored: Table['ignored'] = [
  [/^dns\.(flags|opt|resp\.z)$/, joined],
  [/^dns\.(flags\.z|resp\.z\.reserved)$/, reserved],
  [/^dns\.(qry\.name\.len|count\.labels)$/, joined],
  [/^dns\.(txt\.length|hinfo\.(cpu|os)_length|opt\.len)$/, bytesBound],
  [/^dns\.(time|response_(to|in)|unsolicited|retransm\w+)$/, conversation],
  [/^dns\.(tsig\.\w+|opt\.cookie\.\w+|undecoded\.type)$/, opaque],
];

const dns = (layer: string): Table => ({ layer, rules: dnsRules, ignored: dnsIgnored });

const vlanRules = (prefix: string, etherTypeField: string): Table['rules'] => ({
  [`${prefix}.priority`]: 'priority',
  [`${prefix}.dei`]: 'dropEligible',
  [`${prefix}.id`]: 'vlanId',
  [etherTypeField]: nextEtherType,
});

const dhcpCodes = {
  'subnet-mask': 1,
  router: 3,
  'domain-name-server': 6,
  'host-name': 12,
  'domain-name': 15,
  'broadcast-address': 28,
  'ntp-server': 42,
  'requested-address': 50,
  'lease-time': 51,
  'message-type': 53,
  'server-identifier': 54,
  'parameter-request-list': 55,
  message: 56,
  'maximum-message-size': 57,
  'renewal-time': 58,
  'rebinding-time': 59,
  'vendor-class-identifier': 60,
  'client-identifier': 61,
  'relay-agent-information': 82,
};

const dhcpv6Codes = {
  'client-identifier': 1,
  'server-identifier': 2,
  'ia-na': 3,
  'ia-ta': 4,
  'ia-address': 5,
  'option-request': 6,
  preference: 7,
  'elapsed-time': 8,
  'relay-message': 9,
  'status-code': 13,
  'rapid-commit': 14,
  'dns-servers': 23,
  'domain-list': 24,
  'ia-pd': 25,
  'ia-prefix': 26,
};

/** All options of all messages of a frame, each followed by those it contains: tshark's order. */
function dhcpv6Options(layer: JsonLayer): JsonLayer[] {
  const flat = (options: JsonLayer[]): JsonLayer[] =>
    options.flatMap(option => [option, ...flat(option['options'] ?? [])]);
  return layer['messages'].flatMap((message: JsonLayer) => flat(message['options']));
}

const dhcpv6At =
  (path: string): Rule =>
  l =>
    valuesAt({ options: dhcpv6Options(l) }, `options${path}`);

const lcpTypes = {
  'maximum-receive-unit': 1,
  'async-control-character-map': 2,
  'authentication-protocol': 3,
  'quality-protocol': 4,
  'magic-number': 5,
  'protocol-field-compression': 7,
  'address-and-control-field-compression': 8,
  callback: 13,
  'maximum-receive-reconstructed-unit': 17,
};

const ipcpTypes = {
  'ip-addresses': 1,
  'ip-compression-protocol': 2,
  'ip-address': 3,
  'primary-dns-server': 129,
  'primary-nbns-server': 130,
  'secondary-dns-server': 131,
  'secondary-nbns-server': 132,
};

const tcpTypes = {
  'no-operation': 1,
  'maximum-segment-size': 2,
  'window-scale': 3,
  'sack-permitted': 4,
  sack: 5,
  timestamps: 8,
};

const ndpTypes = {
  'source-link-layer-address': 1,
  'target-link-layer-address': 2,
  'prefix-information': 3,
  'redirected-header': 4,
  mtu: 5,
  nonce: 14,
  'route-information': 24,
  'recursive-dns-server': 25,
  'dns-search-list': 31,
};

const tcpFlag =
  (name: string): Rule =>
  l => [l['flags'].includes(name)];

/** The next header that stands in each extension header of the given protocol. */
const nextHeader =
  (protocol: number): Rule =>
  ({ extensions, protocol: last }) =>
    extensions.flatMap((extension: JsonLayer, i: number) =>
      extension['protocol'] === protocol ? (extensions[i + 1]?.protocol ?? last) : [],
    );

/** From the hex of an extension header's data. */
const extensionData =
  (protocol: number, read: (hex: string) => JsonValue): Rule =>
  ({ extensions }) =>
    extensions
      .filter((extension: JsonLayer) => extension['protocol'] === protocol)
      .map(({ data }: JsonLayer) => read(data));

const fragments = ({ extensions }: JsonLayer): JsonLayer[] =>
  extensions.filter((extension: JsonLayer) => extension['protocol'] === 44);

const preferenceBits = (preference: number) => preference & 3;

const igmpTypes = { query: 0x11, 'report-v1': 0x12, 'report-v2': 0x16, leave: 0x17, 'report-v3': 0x22 };

const nbnsNames = (l: JsonLayer): JsonLayer[] =>
  [...l['questions'], ...records(l)].map(entry => entry['name']);
const nbnsText = ({ name, suffix }: JsonLayer) => `${name}<${hexNumber(suffix, 1)}>`;
const nodeNames = (l: JsonLayer): JsonLayer[] => records(l).flatMap(record => record['names'] ?? []);
const nbEntries = (l: JsonLayer): JsonLayer[] => records(l).flatMap(record => record['entries'] ?? []);

/** `NAME: value` without the line's end, as tshark joins each header. */
const headerLines = (l: JsonLayer) =>
  l['headers'].map(({ name, value }: JsonLayer) => `${name}:${value === '' ? '' : ' '}${value}\r\n`);

const headerAt =
  (pattern: RegExp): Rule =>
  l =>
    l['headers'].filter(({ name }: JsonLayer) => pattern.test(name)).map(({ value }: JsonLayer) => value);

/** An option with its type and length. */
const wholeOption = ({ type, data }: JsonLayer): string =>
  hexNumber(type, 1) + hexNumber(2 + data.length / 2, 1) + data;

const ccpOption =
  (number: number): Rule =>
  l =>
    l['options'].filter(({ type }: JsonLayer) => type === number).map(wholeOption);

/** By the name of tshark's protocol. */
export const tables: { readonly [tsharkProtocol: string]: Table } = {
  eth: {
    layer: 'ethernet',
    rules: {
      'eth.dst': 'dstMac',
      'eth.src': 'srcMac',
      'eth.type': ifShown(nextEtherType),
      'eth.len': ifShown('etherType'),
    },
    ignored: [
      [/^eth\.((dst|src|addr)(\.oui|_resolved|\.oui_resolved|\.lg|\.ig)|addr|lg|ig)$/, joined],
      [/^eth\.(padding|trailer|padding_bad|fcs)/, 'what follows the packet is cut off'],
    ],
  },
  vlan: { layer: 'vlan', rules: vlanRules('vlan', 'vlan.etype'), ignored: [] },
  ieee8021ad: { layer: 'vlan', rules: vlanRules('ieee8021ad', 'ieee8021ah.etype'), ignored: [] },
  sll: {
    layer: 'sll',
    rules: {
      'sll.pkttype': 'packetType',
      'sll.hatype': 'hardwareType',
      'sll.src.eth': 'srcMac',
      'sll.etype': 'protocol',
      'sll.ifindex': 'interfaceIndex',
      'sll.halen': () => [6],
    },
    ignored: [[/^sll\.unused$/, reserved]],
  },
  null: { layer: 'loopback', rules: { 'null.family': 'family' }, ignored: [] },
  arp: {
    layer: 'arp',
    rules: {
      'arp.hw.type': () => [1],
      'arp.proto.type': () => [0x0800],
      'arp.hw.size': () => [6],
      'arp.proto.size': () => [4],
      'arp.opcode': 'operation',
      'arp.src.hw_mac': 'senderMac',
      'arp.src.proto_ipv4': 'senderAddress',
      'arp.dst.hw_mac': 'targetMac',
      'arp.dst.proto_ipv4': 'targetAddress',
    },
    ignored: [[/^arp\.is(probe|gratuitous|announcement)$/, joined]],
  },
  ip: {
    layer: 'ipv4',
    rules: {
      'ip.version': () => [4],
      'ip.hdr_len': l => [20 + l['options'].length / 2],
      'ip.dsfield.dscp': 'dscp',
      'ip.dsfield.ecn': 'ecn',
      'ip.id': 'identification',
      'ip.flags.df': 'dontFragment',
      'ip.flags.mf': 'moreFragments',
      'ip.frag_offset': l => [l['fragmentOffset'] / 8],
      'ip.ttl': 'timeToLive',
      'ip.proto': 'protocol',
      'ip.src': 'srcAddress',
      'ip.dst': 'dstAddress',
      'ip.options.routeralert': ifShown('options'),
    },
    ignored: [
      [/^ip\.len$/, bytesBound],
      [/^ip\.checksum/, checksum],
      [/^ip\.(addr|host|src_host|dst_host|dsfield|flags)$/, joined],
      [/^ip\.flags\.rb$/, reserved],
      [/^ip\.opt\./, 'a part of the option compared as a whole'],
    ],
  },
  ipv6: {
    layer: 'ipv6',
    rules: {
      'ip.version': () => [6],
      'ipv6.version': () => [6],
      'ipv6.tclass.dscp': 'dscp',
      'ipv6.tclass.ecn': 'ecn',
      'ipv6.flow': 'flowLabel',
      'ipv6.nxt': l => [l['extensions'][0]?.protocol ?? l['protocol']],
      'ipv6.hlim': 'hopLimit',
      'ipv6.src': 'srcAddress',
      'ipv6.dst': 'dstAddress',
      'ipv6.hopopts.nxt': nextHeader(0),
      'ipv6.hopopts.len_oct': extensionData(0, hex => 2 + hex.length / 2),
      'ipv6.dstopts.nxt': nextHeader(60),
      'ipv6.dstopts.len_oct': extensionData(60, hex => 2 + hex.length / 2),
      'ipv6.routing.nxt': nextHeader(43),
      'ipv6.routing.len_oct': extensionData(43, hex => 2 + hex.length / 2),
      'ipv6.routing.type': extensionData(43, hex => Number(`0x${hex.slice(0, 2)}`)),
      'ipv6.routing.segleft': extensionData(43, hex => Number(`0x${hex.slice(2, 4)}`)),
      'ipv6.routing.unknown_data': extensionData(43, hex => hex.slice(4)),
      'ipv6.fraghdr.nxt': nextHeader(44),
      'ipv6.fraghdr.offset': l => fragments(l).map(fragment => fragment['fragmentOffset'] / 8),
      'ipv6.fraghdr.more': l => fragments(l).map(fragment => fragment['moreFragments']),
      'ipv6.fraghdr.ident': l => fragments(l).map(fragment => fragment['identification']),
      'ah.next_header': nextHeader(51),
      'ah.length': extensionData(51, hex => hex.length / 8 - 1.5),
      'ah.spi': extensionData(51, hex => Number(`0x${hex.slice(4, 12)}`)),
      'ah.sequence': extensionData(51, hex => Number(`0x${hex.slice(12, 20)}`)),
      'ah.icv': extensionData(51, hex => hex.slice(20)),
    },
    ignored: [
      [/^ipv6\.plen$/, bytesBound],
      [/^ipv6\.(addr|host|src_host|dst_host|tclass)$|^ipv6\.\w*slaac_mac$/, joined],
      [/^ipv6\.(hopopts|dstopts|routing)\.len$/, joined],
      [/^ipv6\.fraghdr\.reserved|^ah\.reserved$/, reserved],
      [/^ipv6\.(opt($|\.)|routing\.undecoded$)/, opaque],
    ],
  },
  icmp: {
    layer: 'icmp',
    rules: {
      'icmp.type': 'type',
      'icmp.code': 'code',
      'icmp.ident': 'identifier',
      'icmp.seq': 'sequenceNumber',
      'icmp.mtu': 'mtu',
      'icmp.redir_gw': 'gatewayAddress',
      'icmp.pointer': 'pointer',
      'data.data': ifShown(dataBytes),
    },
    ignored: [
      [/^icmp\.checksum/, checksum],
      [/^icmp\.(ident|seq)_le$/, joined],
      [/^icmp\.(resp_to|resp_in|resptime|no_resp)$/, conversation],
      [/^icmp\.unused$/, reserved],
      [/^icmp\.(originate|receive|transmit)_timestamp$|^data(\.len)?$/, opaque],
    ],
  },
  icmpv6: {
    layer: 'icmpv6',
    rules: {
      'icmpv6.type': 'type',
      'icmpv6.code': 'code',
      'icmpv6.echo.identifier': 'identifier',
      'icmpv6.echo.sequence_number': 'sequenceNumber',
      'icmpv6.mtu': 'mtu',
      'icmpv6.pointer': 'pointer',
      'data.data': ifShown(dataBytes),
      'icmpv6.nd.ra.cur_hop_limit': 'currentHopLimit',
      'icmpv6.nd.ra.flag.m': 'managed',
      'icmpv6.nd.ra.flag.o': 'otherConfiguration',
      'icmpv6.nd.ra.flag.prf': ({ preference }) =>
        preference === undefined ? [] : [preferenceBits(preference)],
      'icmpv6.nd.ra.router_lifetime': 'routerLifetimeS',
      'icmpv6.nd.ra.reachable_time': 'reachableTimeMs',
      'icmpv6.nd.ra.retrans_timer': 'retransmitTimerMs',
      'icmpv6.nd.ns.target_address': '[neighbor-solicitation].targetAddress',
      'icmpv6.nd.na.target_address': '[neighbor-advertisement].targetAddress',
      'icmpv6.nd.na.flag.r': 'router',
      'icmpv6.nd.na.flag.s': 'solicited',
      'icmpv6.nd.na.flag.o': 'override',
      'icmpv6.nd.rd.target_address': '[redirect].targetAddress',
      'icmpv6.rd.na.destination_address': '[redirect].destinationAddress',
      'icmpv6.opt.type': numbered('options', ndpTypes),
      'icmpv6.opt.linkaddr': 'options[source-link-layer-address|target-link-layer-address].linkLayerMac',
      'icmpv6.opt.src_linkaddr': 'options[source-link-layer-address].linkLayerMac',
      'icmpv6.opt.target_linkaddr': 'options[target-link-layer-address].linkLayerMac',
      'icmpv6.opt.mtu': 'options[mtu].mtu',
      'icmpv6.opt.prefix': 'options[prefix-information|route-information].prefixAddress',
      'icmpv6.opt.prefix.length': 'options[prefix-information|route-information].prefixLength',
      'icmpv6.opt.prefix.flag.l': 'options[prefix-information].onLink',
      'icmpv6.opt.prefix.flag.a': 'options[prefix-information].autonomous',
      'icmpv6.opt.prefix.valid_lifetime': 'options[prefix-information].validLifetimeS',
      'icmpv6.opt.prefix.preferred_lifetime': 'options[prefix-information].preferredLifetimeS',
      'icmpv6.opt.route_info.flag.route_preference': l =>
        valuesAt(l, 'options[route-information].preference').map(value => preferenceBits(Number(value))),
      'icmpv6.opt.route_lifetime': 'options[route-information].routeLifetimeS',
      'icmpv6.opt.rdnss': 'options[recursive-dns-server].serverAddresses',
      'icmpv6.opt.rdnss.lifetime': 'options[recursive-dns-server].lifetimeS',
      'icmpv6.opt.dnssl': 'options[dns-search-list].domains',
      'icmpv6.opt.dnssl.lifetime': 'options[dns-search-list].lifetimeS',
      'icmpv6.opt.nonce': 'options[nonce].nonce',
      // tshark shows the field in reports too, where it is always 0.
      'icmpv6.mld.maximum_response_delay': ({ kind, version, maxResponseTimeMs }) =>
        kind === 'query' && version === 1
          ? [maxResponseTimeMs]
          : kind === 'report' || kind === 'done'
            ? [0]
            : [],
      'icmpv6.mld.maximum_response_code': ifShown(floating('maxResponseTimeMs', 16)),
      'icmpv6.mld.multicast_address': '[query|report|done].groupAddress',
      'icmpv6.mld.flag.s': ifShown('suppressRouterProcessing'),
      'icmpv6.mld.flag.qrv': ifShown('robustness'),
      'icmpv6.mld.qqi': ifShown(floating('queryIntervalS', 8)),
      'icmpv6.mld.nb_sources': ifShown(l => [l['sourceAddresses'].length]),
      'icmpv6.mld.source_address': 'sourceAddresses',
      'icmpv6.mldr.nb_mcast_records': l => (l['records'] ? [l['records'].length] : []),
      'icmpv6.mldr.mar.record_type': 'records.type',
      'icmpv6.mldr.mar.multicast_address': 'records.groupAddress',
      'icmpv6.mldr.mar.nb_sources': l =>
        (l['records'] ?? []).map((r: JsonLayer) => r['sourceAddresses'].length),
      'icmpv6.mldr.mar.source_address': 'records.sourceAddresses',
    },
    ignored: [
      [/^icmpv6\.checksum/, checksum],
      [/^icmpv6\.(resp_to|resp_in|resptime|no_resp)$/, conversation],
      [/reserved$|\.rsv$|\.padding$/, reserved],
      [
        /^icmpv6\.nd\.ra\.flag\.[hp]$|^icmpv6\.opt\.prefix\.flag\.r$/,
        'Mobile IPv6 and proxies: reserved for us',
      ],
      [/^icmpv6\.(nd\.[rn]a\.flag|opt|opt\.prefix\.flag|opt\.route_info\.flag|mld\.flag|mldr\.mar)$/, joined],
      [/^icmpv6\.(opt\.length|mldr\.mar\.aux_data_len)$/, bytesBound],
      [/^icmpv6\.(mldr\.mar\.auxiliary_data|opt\.redirected_packet)$|^data(\.len)?$/, opaque],
    ],
  },
  igmp: {
    layer: 'igmp',
    rules: {
      'igmp.type': l => [igmpTypes[l['kind'] as keyof typeof igmpTypes]],
      'igmp.version': l => [l['version'] ?? (l['kind'] === 'leave' ? 2 : Number(l['kind'].slice(-1)))],
      // Version 1 has no such field, and reports do not use it.
      'igmp.max_resp': ifShown(l => [l['version'] >= 2 ? l['maxResponseTimeMs'] / 100 : 0]),
      'igmp.maddr': l => [l['groupAddress'], ...valuesAt(l, 'records.groupAddress')].filter(Boolean),
      'igmp.s': ifShown('suppressRouterProcessing'),
      'igmp.qrv': ifShown('robustness'),
      'igmp.qqic': ifShown(floating('queryIntervalS', 8)),
      'igmp.num_src': ifShown(l =>
        (l['records'] ?? [l]).map((record: JsonLayer) => record['sourceAddresses'].length),
      ),
      'igmp.saddr': l => [...valuesAt(l, 'sourceAddresses'), ...valuesAt(l, 'records.sourceAddresses')],
      'igmp.num_grp_recs': l => (l['records'] ? [l['records'].length] : []),
      'igmp.record_type': 'records.type',
    },
    ignored: [
      [/^igmp\.checksum/, checksum],
      [/^igmp\.reserved$/, reserved],
      [/^igmp\.aux_data_len$/, bytesBound],
      [/^igmp\.max_resp\.(exp|mant)$/, joined],
    ],
  },
  tcp: {
    layer: 'tcp',
    rules: {
      'tcp.srcport': 'srcPort',
      'tcp.dstport': 'dstPort',
      'tcp.seq_raw': 'sequenceNumber',
      'tcp.ack_raw': 'acknowledgmentNumber',
      'tcp.flags.cwr': tcpFlag('cwr'),
      'tcp.flags.ece': tcpFlag('ece'),
      'tcp.flags.urg': tcpFlag('urg'),
      'tcp.flags.ack': tcpFlag('ack'),
      'tcp.flags.push': tcpFlag('psh'),
      'tcp.flags.reset': tcpFlag('rst'),
      'tcp.flags.syn': tcpFlag('syn'),
      'tcp.flags.fin': tcpFlag('fin'),
      'tcp.window_size_value': 'window',
      'tcp.urgent_pointer': 'urgentPointer',
      'tcp.len': (_l, { layers, index }) => [layers[index + 1]?.['length'] ?? 0],
      'tcp.payload': ifShown(dataBytes),
      // End of Option List ends the list for us.
      'tcp.option_kind': (l, { shows }) => [
        ...valuesAt(l, 'options').map(option => {
          const { kind, type } = option as JsonLayer;
          return tcpTypes[kind as keyof typeof tcpTypes] ?? type;
        }),
        ...shows.filter(show => show === '0').map(() => 0),
      ],
      'tcp.options.mss_val': 'options[maximum-segment-size].maximumSegmentSize',
      'tcp.options.wscale.shift': 'options[window-scale].shift',
      'tcp.options.sack_le': 'options[sack].blocks.leftEdge',
      'tcp.options.sack_re': 'options[sack].blocks.rightEdge',
      'tcp.options.timestamp.tsval': 'options[timestamps].value',
      'tcp.options.timestamp.tsecr': 'options[timestamps].echoReply',
      'tcp.options.experimental': l =>
        valuesAt(l, 'options[raw]').map(option => wholeOption(option as JsonLayer)),
    },
    ignored: [
      [/^tcp\.checksum/, checksum],
      [/^tcp\.(stream|completeness|time_\w+|analysis.*|nxtseq|connection\..*|segment_data)$/, conversation],
      [/^tcp\.(port|seq|ack|flags|flags\.str|window_size|window_size_scalefactor)$/, joined],
      [/^tcp\.flags\.(res|ae)$/, reserved],
      [/^tcp\.(hdr_len|option_len)$/, bytesBound],
      [
        /^tcp\.options(\.(eol|nop|mss|wscale|wscale\.multiplier|sack_perm|sack|sack\.\w+|timestamp))?$/,
        joined,
      ],
      [/^tcp\.options\.(experimental\.exid|tfo\.cookie)$/, 'a part of the option compared as a whole'],
    ],
  },
  udp: {
    layer: 'udp',
    rules: {
      'udp.srcport': 'srcPort',
      'udp.dstport': 'dstPort',
      'udp.payload': ifShown(dataBytes),
    },
    ignored: [
      [/^udp\.length$/, bytesBound],
      [/^udp\.checksum/, checksum],
      [/^udp\.(stream|time_\w+)$/, conversation],
      [/^udp\.port$/, joined],
    ],
  },
  dhcp: {
    layer: 'dhcp',
    rules: {
      'dhcp.type': 'operation',
      'dhcp.hw.type': (_l, { shows }) => shows.map(() => 1),
      'dhcp.hw.len': () => [6],
      'dhcp.hops': 'hops',
      'dhcp.id': 'transactionId',
      'dhcp.secs': 'secondsElapsed',
      'dhcp.flags.bc': 'broadcast',
      'dhcp.ip.client': 'clientAddress',
      'dhcp.ip.your': 'yourAddress',
      'dhcp.ip.server': 'serverAddress',
      'dhcp.ip.relay': 'relayAddress',
      // Shown once more in a client identifier that is a MAC.
      'dhcp.hw.mac_addr': l => [
        l['clientMac'],
        ...valuesAt(l, 'options[client-identifier].data').map(hex =>
          String(hex)
            .slice(2)
            .replace(/..(?=.)/g, '$&:'),
        ),
      ],
      'dhcp.server': textAt('serverName'),
      'dhcp.file': textAt('bootFile'),
      'dhcp.cookie': () => ['99.130.83.99'],
      'dhcp.option.type': (l, { shows }) => [
        ...valuesAt(l, 'options').map(option => {
          const { kind, code } = option as JsonLayer;
          return dhcpCodes[kind as keyof typeof dhcpCodes] ?? code;
        }),
        ...shows.filter(show => show === '255' || show === '0').map(Number),
      ],
      'dhcp.option.value': (l, { shows }) => shows.map((show, i) => l['options'][i]?.data ?? show),
      'dhcp.option.dhcp': 'options[message-type].messageType',
      'dhcp.option.subnet_mask': 'options[subnet-mask].address',
      'dhcp.option.broadcast_address': 'options[broadcast-address].address',
      'dhcp.option.requested_ip_address': 'options[requested-address].address',
      'dhcp.option.dhcp_server_id': 'options[server-identifier].address',
      'dhcp.option.router': 'options[router].addresses',
      'dhcp.option.domain_name_server': 'options[domain-name-server].addresses',
      'dhcp.option.ntp_server': 'options[ntp-server].addresses',
      'dhcp.option.ip_address_lease_time': 'options[lease-time].seconds',
      'dhcp.option.renewal_time_value': 'options[renewal-time].seconds',
      'dhcp.option.rebinding_time_value': 'options[rebinding-time].seconds',
      'dhcp.option.hostname': 'options[host-name].text',
      'dhcp.option.domain_name': 'options[domain-name].text',
      'dhcp.option.message': 'options[message].text',
      'dhcp.option.vendor_class_id': textAt('options[vendor-class-identifier].data'),
      'dhcp.option.dhcp_max_message_size': 'options[maximum-message-size].sizeBytes',
      'dhcp.option.request_list_item': 'options[parameter-request-list].codes',
      'dhcp.option.agent_information_option.suboption': 'options[relay-agent-information].suboptions.code',
      'dhcp.option.agent_information_option.value': 'options[relay-agent-information].suboptions.data',
    },
    ignored: [
      [/^dhcp\.flags$/, joined],
      [/^dhcp\.flags\.reserved$|^dhcp\.option\.padding$|^dhcp\.hw\.addr_padding$/, reserved],
      [/^dhcp\.option\.(length|suboption_length|end)$/, bytesBound],
      [
        /^dhcp\.option\.(time_server|bootfile_name|netbios\w+|vendor\.\w+\.\w+)$/,
        'a raw option for us: its value is compared',
      ],
      [/^dhcp\.option\.agent_information_option\.agent_(circuit|remote)_id$/, joined],
    ],
  },
  dhcpv6: {
    layer: 'dhcpv6',
    rules: {
      'dhcpv6.msgtype': l =>
        l['messages'].map(
          ({ kind, messageType }: JsonLayer) =>
            ({ 'relay-forward': 12, 'relay-reply': 13 })[kind as 'relay-reply'] ?? messageType,
        ),
      'dhcpv6.xid': l => valuesAt(l, 'messages[message].transactionId'),
      'dhcpv6.hopcount': 'messages.hopCount',
      'dhcpv6.linkaddr': 'messages.linkAddress',
      'dhcpv6.peeraddr': 'messages.peerAddress',
      'dhcpv6.option.type': l =>
        dhcpv6Options(l).map(({ kind, code }) => dhcpv6Codes[kind as keyof typeof dhcpv6Codes] ?? code),
      'dhcpv6.duid.bytes': dhcpv6At('.duid'),
      'dhcpv6.iaid': l =>
        valuesAt({ options: dhcpv6Options(l) }, 'options[ia-na|ia-pd].iaid').map(id =>
          hexNumber(Number(id), 4),
        ),
      'dhcpv6.iata': l =>
        valuesAt({ options: dhcpv6Options(l) }, 'options[ia-ta].iaid').map(id => hexNumber(Number(id), 4)),
      'dhcpv6.iaid.t1': dhcpv6At('.t1Seconds'),
      'dhcpv6.iaid.t2': dhcpv6At('.t2Seconds'),
      'dhcpv6.iaaddr.ip': dhcpv6At('[ia-address].address'),
      'dhcpv6.iaaddr.pref_lifetime': dhcpv6At('[ia-address].preferredLifetimeSeconds'),
      'dhcpv6.iaaddr.valid_lifetime': dhcpv6At('[ia-address].validLifetimeSeconds'),
      'dhcpv6.iaprefix.pref_addr': dhcpv6At('[ia-prefix].prefixAddress'),
      'dhcpv6.iaprefix.pref_len': dhcpv6At('[ia-prefix].prefixLength'),
      'dhcpv6.iaprefix.pref_lifetime': dhcpv6At('[ia-prefix].preferredLifetimeSeconds'),
      'dhcpv6.iaprefix.valid_lifetime': dhcpv6At('[ia-prefix].validLifetimeSeconds'),
      'dhcpv6.requested_option_code': dhcpv6At('[option-request].codes'),
      'dhcpv6.option_preference': dhcpv6At('[preference].preference'),
      // In milliseconds.
      'dhcpv6.elapsed_time': l =>
        valuesAt({ options: dhcpv6Options(l) }, 'options.elapsedHundredths').map(value => Number(value) * 10),
      'dhcpv6.status_code': dhcpv6At('[status-code].statusCode'),
      'dhcpv6.status_msg': l =>
        valuesAt({ options: dhcpv6Options(l) }, 'options[status-code].text').filter(text => text !== ''),
      'dhcpv6.dns_server': dhcpv6At('[dns-servers].addresses'),
      'dhcpv6.search_list_entry': (l, { shows }) =>
        valuesAt({ options: dhcpv6Options(l) }, 'options[domain-list].names').map((name, i) =>
          shows[i] === `${name}.` ? shows[i] : name,
        ),
    },
    ignored: [
      [/^dhcpv6\.option\.length$/, bytesBound],
      [/^dhcpv6\.option\.type_str$/, joined],
      [/^dhcpv6\.duid(\.type|ll\.\w+|llt\.\w+)$/, 'a part of the DUID compared as a whole'],
    ],
  },
  dns: dns('dns'),
  mdns: dns('mdns'),
  llmnr: dns('llmnr'),
  nbns: {
    layer: 'nbns',
    rules: {
      'nbns.id': 'identification',
      'nbns.flags.response': 'isResponse',
      'nbns.flags.opcode': 'operation',
      'nbns.flags.authoritative': ifShown('authoritative'),
      'nbns.flags.truncated': 'truncated',
      'nbns.flags.recdesired': 'recursionDesired',
      'nbns.flags.recavail': ifShown('recursionAvailable'),
      'nbns.flags.broadcast': 'broadcast',
      'nbns.flags.rcode': ifShown('responseCode'),
      'nbns.count.queries': l => [l['questions'].length],
      'nbns.count.answers': l => [l['answers'].length],
      'nbns.count.auth_rr': l => [l['authorities'].length],
      'nbns.count.add_rr': l => [l['additionals'].length],
      // `NAME<20> (Server service)`; the zeros after `*` are shown too.
      'nbns.name': (l, { shows }) =>
        nbnsNames(l).map((name, i) =>
          shows[i]?.replace(/ \(.*$/, '').replace(/(<00>)+$/, '<00>') === nbnsText(name)
            ? shows[i]
            : nbnsText(name),
        ),
      'nbns.type': l =>
        [...l['questions'], ...records(l)].map(
          ({ kind, type }) => ({ nb: 32, nbstat: 33 })[kind as 'nb'] ?? type,
        ),
      'nbns.class': (_l, { shows }) => shows.map(() => 1),
      'nbns.ttl': l => records(l).map(record => record['timeToLive']),
      'nbns.nb_flags.group': l => nbEntries(l).map(entry => entry['group']),
      'nbns.nb_flags.ont': l => nbEntries(l).map(entry => entry['nodeType']),
      'nbns.addr': l => nbEntries(l).map(entry => entry['address']),
      'nbns.netbios_name': l => nodeNames(l).map(({ name }) => name),
      'nbns.number_of_names': l => records(l).flatMap(record => record['names']?.length ?? []),
      'nbns.name_flags.group': l => nodeNames(l).map(({ group }) => group),
      'nbns.name_flags.ont': l => nodeNames(l).map(({ nodeType }) => nodeType),
      'nbns.name_flags.drg': l => nodeNames(l).map(({ deregistering }) => deregistering),
      'nbns.name_flags.cnf': l => nodeNames(l).map(({ conflict }) => conflict),
      'nbns.name_flags.act': l => nodeNames(l).map(({ active }) => active),
      'nbns.name_flags.prm': l => nodeNames(l).map(({ permanent }) => permanent),
      'nbns.unit_id': l => records(l).flatMap(record => record['unitMac'] ?? []),
    },
    ignored: [
      [/^nbns\.(flags|nb_flags|name_flags)$/, joined],
      [/^nbns\.data_length$/, bytesBound],
      [
        /^nbns\.(jumpers|test_result|version_number|period_of_statistics|num\w+|max_\w+|session_data_packet_size)$/,
        `statistics of a node: ${opaque}`,
      ],
    ],
  },
  ssdp: {
    layer: 'ssdp',
    rules: {
      'http.request.method': l => ({ search: ['M-SEARCH'], notify: ['NOTIFY'] })[l['kind'] as 'notify'] ?? [],
      'http.response.code': l => (l['kind'] === 'response' ? [200] : []),
      // tshark does not know NOTIFY: it has no lines of it, but each header by itself.
      'http.request.line': l => (l['kind'] === 'search' ? headerLines(l) : []),
      'http.response.line': l => (l['kind'] === 'response' ? headerLines(l) : []),
      'http.host': headerAt(/^host$/i),
      'http.cache_control': headerAt(/^cache-control$/i),
      'http.location': headerAt(/^location$/i),
      'http.server': headerAt(/^server$/i),
      'http.unknown_header': ifShown(l =>
        headerLines(l).filter((line: string) => !/^(host|cache-control|location|server):/i.test(line)),
      ),
    },
    ignored: [
      [
        /^http\.(chat|request|request\.(uri|full_uri|version)|response|response\.(version|phrase|code\.desc)|notification)$/,
        joined,
      ],
      [/^http\.(request|response)_number$/, conversation],
    ],
  },
  wol: {
    layer: 'wol',
    rules: {
      'wol.sync': () => ['ffffffffffff'],
      'wol.mac': l => Array.from({ length: 16 }, () => l['targetMac']),
      'wol.passwd': l => (l['password'] === '' ? [] : [l['password']]),
    },
    ignored: [],
  },
  pppoed: {
    layer: 'pppoe',
    rules: {
      'pppoe.version': () => [1],
      'pppoe.type': () => [1],
      'pppoe.code': 'code',
      'pppoe.session_id': 'sessionId',
      // An empty name is not shown.
      'pppoed.tags.service_name': l => valuesAt(l, 'tags[service-name].text').filter(text => text !== ''),
      'pppoed.tags.ac_name': 'tags[ac-name].text',
      'pppoed.tags.host_uniq': 'tags[host-uniq].data',
      'pppoed.tags.ac_cookie': 'tags[ac-cookie].data',
      'pppoed.tags.relay_session_id': 'tags[relay-session-id].data',
      'pppoed.tags.max_payload': l =>
        valuesAt(l, 'tags[ppp-max-payload].value').map(value => hexNumber(Number(value), 2)),
      'pppoed.tags.service_name_error': 'tags[service-name-error].text',
      'pppoed.tags.ac_system_error': 'tags[ac-system-error].text',
      'pppoed.tags.generic_error': 'tags[generic-error].text',
      'pppoed.tags.vendor_id': l =>
        valuesAt(l, 'tags[vendor-specific|dsl-forum]').map(tag => (tag as JsonLayer)['vendorId'] ?? 3561),
      'pppoed.tags.vendor_unspecified': 'tags[vendor-specific].data',
      'pppoed.tags.circuit_id': 'tags[dsl-forum].subOptions[agent-circuit-id].text',
      'pppoed.tags.remote_id': 'tags[dsl-forum].subOptions[agent-remote-id].text',
      'pppoed.tags.act_data_rate_up': 'tags[dsl-forum].subOptions[actual-data-rate-upstream].value',
      'pppoed.tags.act_data_rate_down': 'tags[dsl-forum].subOptions[actual-data-rate-downstream].value',
    },
    ignored: [
      [/^pppoe\.payload_length$/, bytesBound],
      [/^pppoed\.tags(\.vendorspecific\.tags)?$/, joined],
    ],
  },
  pppoes: {
    layer: 'pppoe',
    rules: {
      'pppoe.version': () => [1],
      'pppoe.type': () => [1],
      'pppoe.code': 'code',
      'pppoe.session_id': 'sessionId',
    },
    ignored: [[/^pppoe\.payload_length/, bytesBound]],
  },
  ppp: {
    layer: 'ppp',
    rules: {
      'ppp.protocol': 'protocol',
      'ppp.address': l => (l['addressAndControl'] ? [0xff] : []),
      'ppp.control': l => (l['addressAndControl'] ? [3] : []),
    },
    ignored: [],
  },
  lcp: {
    layer: 'lcp',
    rules: {
      ...control,
      'ppp.data': ifShown(control['ppp.data']),
      'lcp.magic_number': 'magicNumber',
      'lcp.data': ifShown('data'),
      'lcp.message': textAt('[identification].data'),
      'lcp.rej_proto': 'rejectedProtocol',
      'lcp.opt.type': numbered('options', lcpTypes),
      'lcp.opt.mru': 'options[maximum-receive-unit].value',
      'lcp.opt.asyncmap': 'options[async-control-character-map].value',
      'lcp.opt.auth_protocol': 'options[authentication-protocol].protocol',
      'lcp.opt.algorithm': l =>
        valuesAt(l, 'options[authentication-protocol].data')
          .filter(data => data !== '')
          .map(data => Number(`0x${data}`)),
      'lcp.opt.magic_number': 'options[magic-number].value',
      'lcp.opt.operation': 'options[callback].operation',
      'lcp.opt.mrru': 'options[maximum-receive-reconstructed-unit].value',
      'lcp.opt.ep_disc_class': l =>
        valuesAt(l, 'options[raw].data').map(data => Number(`0x${String(data).slice(0, 2)}`)),
      'lcp.opt.data': l => valuesAt(l, 'options[raw].data').map(data => String(data).slice(2)),
    },
    ignored: [
      ...controlIgnored,
      [/^lcp\.opt\.length$/, bytesBound],
      [
        /^lcp\.opt\.\w+_bytes$|^lcp\.opt\.asyncmap\.\w+$|^lcp\.opt\.((addr_)?field_compress|callback|multilink_\w+)$/,
        joined,
      ],
    ],
  },
  ipcp: {
    layer: 'ipcp',
    rules: {
      ...control,
      'ppp.data': ifShown(control['ppp.data']),
      'ipcp.opt.type': numbered('options', ipcpTypes),
      'ipcp.opt.ip_address': 'options[ip-address].ipAddress',
      'ipcp.opt.pri_dns_address': 'options[primary-dns-server].ipAddress',
      'ipcp.opt.pri_nbns_address': 'options[primary-nbns-server].ipAddress',
      'ipcp.opt.sec_dns_address': 'options[secondary-dns-server].ipAddress',
      'ipcp.opt.sec_nbns_address': 'options[secondary-nbns-server].ipAddress',
      'ipcp.opt.src_address': 'options[ip-addresses].sourceAddress',
      'ipcp.opt.dst_address': 'options[ip-addresses].destinationAddress',
      'ipcp.opt.compress_proto': 'options[ip-compression-protocol].protocol',
      'ipcp.opt.max_slot_id': l =>
        valuesAt(l, 'options[ip-compression-protocol].data').map(data =>
          Number(`0x${String(data).slice(0, 2)}`),
        ),
      'ipcp.opt.comp_slot_id': l =>
        valuesAt(l, 'options[ip-compression-protocol].data').map(data =>
          Number(`0x${String(data).slice(2, 4)}`),
        ),
    },
    ignored: [
      ...controlIgnored,
      [/^ipcp\.opt\.length$/, bytesBound],
      [/^ipcp\.opt\.(addr|addrs|compress|(pri|sec)_(dns|nbns))$/, joined],
    ],
  },
  ipv6cp: {
    layer: 'ipv6cp',
    rules: {
      ...control,
      'ppp.data': ifShown(control['ppp.data']),
      'ipv6cp.opt.type': numbered('options', { 'interface-identifier': 1 }),
      'ipv6cp.interface_identifier': 'options[interface-identifier].interfaceIdentifier',
    },
    ignored: [
      ...controlIgnored,
      [/^ipv6cp\.opt\.length$/, bytesBound],
      [/^ipv6cp\.opt\.interface_identifier$/, joined],
    ],
  },
  ccp: {
    layer: 'ccp',
    rules: {
      ...control,
      'ppp.data': ifShown(control['ppp.data']),
      'ccp.opt.type': 'options.type',
      'ccp.opt.mppe': ccpOption(18),
      'ccp.opt.bsdcomp': ccpOption(21),
      'ccp.opt.deflate': ccpOption(26),
    },
    ignored: [...controlIgnored, [/^ccp\.opt\.length$/, bytesBound], [/^ccp\.opt\./, opaque]],
  },
  pap: {
    layer: 'pap',
    rules: {
      'pap.code': ({ kind }) => [
        1 + ['authenticate-request', 'authenticate-ack', 'authenticate-nak'].indexOf(kind),
      ],
      'pap.identifier': 'identifier',
      'pap.peer_id': textAt('peerId'),
      'pap.password': textAt('password'),
      'pap.message': textAt('message'),
    },
    ignored: [
      [/^pap\.((\w+\.)?length)$/, bytesBound],
      [/^pap\.data$/, joined],
    ],
  },
  chap: {
    layer: 'chap',
    rules: {
      'chap.code': ({ kind }) => [1 + ['challenge', 'response', 'success', 'failure'].indexOf(kind)],
      'chap.identifier': 'identifier',
      'chap.value': 'value',
      'chap.name': textAt('peerName'),
      // An empty message is not shown.
      'chap.message': ifShown(textAt('message')),
    },
    ignored: [
      [/^chap\.(length|value_size)$/, bytesBound],
      [/^chap\.data$/, joined],
    ],
  },
};
