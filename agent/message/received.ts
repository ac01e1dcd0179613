/**
 * What schema.ts validates those messages by that an agent receives; messages.ts has all of them.
 *
 * Generated from messages.cddl by generate.ts (`npm run generate`): edit the former.
 */

import type { Acl, Host, Manifest, Request, Rule } from './messages.js';
import type { Descriptor, Shape } from './schema.js';

export const mac: Shape = [
  'say',
  'a MAC address such as 3c:22:fb:01:02:03',
  ['regexp', '[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}'],
];
const trafficClass: Shape = ['is', 'dont-wake', 'dont-ignore', 'policy-dependent'];
const duration: Shape = [
  'say',
  'a whole number and a unit (ms, s, m, h, d) such as 30s',
  ['regexp', '[0-9]{1,12}(ms|s|m|h|d)'],
];
const timer: Shape = ['closed', ['every?', duration], ['after?', duration]];
const macPrefix: Shape = [
  'say',
  'a MAC address or prefix such as 3c:22:fb:01:02:03 or 3c:22:fb:00:00:00/24',
  ['regexp', '[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}(/[0-9]{1,2}){0,1}'],
];
const macSet: Shape = [
  'say',
  'a MAC address or prefix such as 3c:22:fb:01:02:03 or 3c:22:fb:00:00:00/24, or a list of up to 64 of them',
  ['one', macPrefix, ['list', macPrefix, 1, 64]],
];
const range: Shape = ['say', 'a range such as "1024-65535"', ['regexp', '[0-9]{1,5}-[0-9]{1,5}']];
const uint16Item: Shape = [
  'say',
  'an integer 0..65535 or a range such as "1024-65535"',
  ['one', ['range', 0, 65535], range],
];
const uint16Set: Shape = [
  'say',
  'an integer 0..65535, a range such as "1024-65535", or a list of up to 64 of them',
  ['one', uint16Item, ['list', uint16Item, 1, 64]],
];
const vlanItem: Shape = [
  'say',
  'an integer 0..4094 or a range such as "100-199"',
  ['one', ['range', 0, 4094], range],
];
const vlanSet: Shape = [
  'say',
  'an integer 0..4094, a range such as "100-199", or a list of up to 64 of them',
  ['one', vlanItem, ['list', vlanItem, 1, 64]],
];
const cast: Shape = ['is', 'unicast', 'multicast', 'broadcast'];
const ethernetMatch: Shape = [
  'closed',
  ['srcMac?', macSet],
  ['dstMac?', macSet],
  ['etherType?', uint16Set],
  ['vlanId?', vlanSet],
  ['cast?', ['one', cast, ['list', cast, 1, 3]]],
];
const arpOperation: Shape = [
  'say',
  '"request", "reply", a number 1..65535 or a range of such',
  ['one', ['is', 'request'], ['is', 'reply'], ['range', 1, 65535], range],
];
const ipv4Prefix: Shape = [
  'say',
  'an IPv4 address or prefix such as 192.168.1.10 or 192.168.1.0/24',
  ['regexp', '[0-9]{1,3}([.][0-9]{1,3}){3}(/[0-9]{1,2}){0,1}'],
];
const ipv4Set: Shape = [
  'say',
  'an IPv4 address or prefix such as 192.168.1.10 or 192.168.1.0/24, or a list of up to 64 of them',
  ['one', ipv4Prefix, ['list', ipv4Prefix, 1, 64]],
];
const arpMatch: Shape = [
  'closed',
  ['operation?', ['one', arpOperation, ['list', arpOperation, 1, 8]]],
  ['senderAddress?', ipv4Set],
  ['targetAddress?', ipv4Set],
];
const uint8Item: Shape = [
  'say',
  'an integer 0..255 or a range such as "133-137"',
  ['one', ['range', 0, 255], range],
];
const uint8Set: Shape = [
  'say',
  'an integer 0..255, a range such as "133-137", or a list of up to 64 of them',
  ['one', uint8Item, ['list', uint8Item, 1, 64]],
];
const dscpItem: Shape = [
  'say',
  'an integer 0..63 or a range such as "8-14"',
  ['one', ['range', 0, 63], range],
];
const dscpSet: Shape = [
  'say',
  'an integer 0..63, a range such as "8-14", or a list of up to 64 of them',
  ['one', dscpItem, ['list', dscpItem, 1, 64]],
];
const ipv4Match: Shape = [
  'closed',
  ['srcAddress?', ipv4Set],
  ['dstAddress?', ipv4Set],
  ['protocol?', uint8Set],
  ['dscp?', dscpSet],
  ['timeToLive?', uint8Set],
];
const ipv6Prefix: Shape = [
  'say',
  'an IPv6 address or prefix such as fe80::1 or fe80::/10',
  ['regexp', '[0-9a-fA-F:.]{2,45}(/[0-9]{1,3}){0,1}'],
];
const ipv6Set: Shape = [
  'say',
  'an IPv6 address or prefix such as fe80::1 or fe80::/10, or a list of up to 16 of them',
  ['one', ipv6Prefix, ['list', ipv6Prefix, 1, 16]],
];
const ipv6Match: Shape = [
  'closed',
  ['srcAddress?', ipv6Set],
  ['dstAddress?', ipv6Set],
  ['protocol?', uint8Set],
  ['dscp?', dscpSet],
  ['hopLimit?', uint8Set],
];
const icmpMatch: Shape = ['closed', ['type?', uint8Set], ['code?', uint8Set]];
const tcpFlags: Shape = [
  'say',
  'TCP flags such as syn or syn,ack',
  ['regexp', '(fin|syn|rst|psh|ack|urg|ece|cwr)(,(fin|syn|rst|psh|ack|urg|ece|cwr)){0,7}'],
];
const tcpMatch: Shape = [
  'closed',
  ['srcPort?', uint16Set],
  ['dstPort?', uint16Set],
  ['flags?', ['one', tcpFlags, ['list', tcpFlags, 1, 8]]],
];
const udpMatch: Shape = ['closed', ['srcPort?', uint16Set], ['dstPort?', uint16Set]];
const dnsName: Shape = [
  'say',
  'a name such as desktop.local, or *.local for all names below',
  ['size', 'tstr', 1, 255],
];
const dnsType: Shape = [
  'say',
  "a question's type: a, aaaa, ptr, srv, txt, any, a number 0..65535 or a range",
  [
    'one',
    ['is', 'a'],
    ['is', 'aaaa'],
    ['is', 'ptr'],
    ['is', 'srv'],
    ['is', 'txt'],
    ['is', 'any'],
    ['range', 0, 65535],
    range,
  ],
];
const dnsMatch: Shape = [
  'closed',
  ['name?', ['one', dnsName, ['list', dnsName, 1, 64]]],
  ['type?', ['one', dnsType, ['list', dnsType, 1, 16]]],
];
const nbnsName: Shape = [
  'say',
  'a NetBIOS name of 1 to 15 characters such as DESKTOP',
  ['size', 'tstr', 1, 15],
];
const nbnsType: Shape = [
  'say',
  "a question's type: nb, nbstat, a number 0..65535 or a range",
  ['one', ['is', 'nb'], ['is', 'nbstat'], ['range', 0, 65535], range],
];
const nbnsMatch: Shape = [
  'closed',
  ['name?', ['one', nbnsName, ['list', nbnsName, 1, 64]]],
  ['type?', ['one', nbnsType, ['list', nbnsType, 1, 16]]],
];
const hex: Shape = ['say', '1 to 32 bytes in hex digits such as 0a1b', ['regexp', '([0-9a-fA-F]{2}){1,32}']];
const payloadMatch: Shape = [
  'closed',
  ['from?', ['is', 'frame', 'network', 'transport', 'data']],
  ['offset?', ['range', 0, 65535]],
  ['bytes', hex],
  ['mask?', hex],
];
const trigger: Shape = [
  'closed',
  ['any?', ['is', true]],
  ['asked?', ['is', true]],
  ['registered?', ['is', true]],
  ['class?', ['one', trafficClass, ['list', trafficClass, 1, 3]]],
  ['timer?', timer],
  ['ethernet?', ethernetMatch],
  ['arp?', arpMatch],
  ['ipv4?', ipv4Match],
  ['ipv6?', ipv6Match],
  ['icmp?', icmpMatch],
  ['icmpv6?', icmpMatch],
  ['tcp?', tcpMatch],
  ['udp?', udpMatch],
  ['dns?', dnsMatch],
  ['mdns?', dnsMatch],
  ['llmnr?', dnsMatch],
  ['nbns?', nbnsMatch],
  ['payload?', payloadMatch],
];
const action: Shape = [
  'say',
  '"drop", "wake", "respond" or "redirect"',
  ['is', 'drop', 'wake', 'respond', 'redirect'],
];
const responder: Shape = [
  'is',
  'arp',
  'nd',
  'echo',
  'igmp',
  'mld',
  'mdns',
  'llmnr',
  'nbns',
  'ssdp',
  'snmp',
  'tcp-keepalive',
  'dhcp',
  'dhcpv6',
  'nat-keepalive',
];
const template: Shape = [
  'say',
  'hex digits and fields in braces, such as 3002{data:2:4}{count:2}',
  ['size', 'tstr', 1, 512],
];
const answer: Shape = ['closed', ['template', template], ['stateTimeout?', duration]];
export const id: Shape = ['say', '1 to 32 characters of a-z, 0-9 and -', ['regexp', '[a-z0-9-]{1,32}']];
const redirect: Shape = ['closed', ['host?', mac], ['stub?', id], ['coordinator?', ['is', true]]];
const ipv4: Shape = [
  'say',
  'an IPv4 address such as 192.168.1.10',
  ['regexp', '[0-9]{1,3}([.][0-9]{1,3}){3}'],
];
const ipv6: Shape = ['say', 'an IPv6 address such as fe80::1', ['regexp', '[0-9a-fA-F:.]{2,45}']];
const hostName: Shape = [
  'say',
  'a host name of 1 to 63 letters, digits and - such as desktop',
  ['regexp', '[0-9a-zA-Z-]{1,63}'],
];
const ip: Shape = ['say', 'an IPv4 or IPv6 address', ['regexp', '[0-9a-fA-F:.]{2,45}']];
const text63: Shape = ['size', 'tstr', 1, 63];
const serviceType: Shape = [
  'say',
  'a service type such as _ssh._tcp',
  ['regexp', '_[0-9a-zA-Z-]{1,15}[.]_(tcp|udp)'],
];
export const text200: Shape = ['size', 'tstr', 0, 200];
const service: Shape = [
  'closed',
  ['name?', text63],
  ['type', serviceType],
  ['port', ['range', 1, 65535]],
  ['txt?', ['list', text200, 0, 8]],
];
const hex4: Shape = ['say', '4 bytes in hex digits', ['regexp', '([0-9a-fA-F]{2}){4}']];
const hex6: Shape = ['say', '6 bytes in hex digits', ['regexp', '([0-9a-fA-F]{2}){6}']];
const ipv6Network: Shape = [
  'say',
  'an IPv6 prefix such as 2001:db8:1::/56',
  ['regexp', '[0-9a-fA-F:.]{2,45}/[0-9]{1,3}'],
];
export const text64: Shape = ['size', 'tstr', 0, 64];
const manifestHex: Shape = [
  'say',
  'a signed manifest of up to 512 bytes, in hex digits',
  ['size', 'tstr', 2, 1024],
];
const text32: Shape = ['size', 'tstr', 1, 32];
const bytes32: Shape = ['say', '32 bytes', ['size', 'bstr', 32, 32]];

export const ruleDescriptor: Descriptor<Rule> = [
  'closed',
  ['host?', mac],
  ['priority?', ['range', 0, 65535]],
  ['trigger', trigger],
  ['action', action],
  ['responder?', responder],
  ['answer?', answer],
  ['redirect?', redirect],
  ['timeout?', duration],
];
export const hostDescriptor: Descriptor<Host> = [
  'closed',
  ['mac', mac],
  ['ipv4?', ['list', ipv4, 0, 4]],
  ['ipv6?', ['list', ipv6, 0, 8]],
  ['names?', ['list', hostName, 0, 4]],
  ['groups?', ['list', ip, 0, 16]],
  ['services?', ['list', service, 0, 16]],
  ['password?', ['one', hex4, hex6]],
  ['vlanId?', ['range', 1, 4094]],
  ['state?', ['is', 'awake', 'asleep']],
];
export const aclDescriptor: Descriptor<Acl> = [
  'closed',
  ['session', ['range', 1, 65534]],
  ['bras', mac],
  ['ipv4', ipv4],
  ['ipv6?', ipv6Network],
  ['upBitsPerSecond?', 'uint'],
  ['downBitsPerSecond?', 'uint'],
  ['expires', duration],
];
export const requestDescriptor: Descriptor<Request> = [
  'open',
  ['transaction', text64],
  ['host?', mac],
  ['manifest?', manifestHex],
];
export const manifestDescriptor: Descriptor<Manifest> = [
  'closed',
  ['format', ['is', 1]],
  ['platform', text64],
  ['version', text32],
  ['sequence', ['range', 1, 9007199254740991]],
  ['size', ['range', 1, 16777216]],
  ['digest', bytes32],
  ['uri', text200],
];
