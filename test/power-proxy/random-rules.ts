/**
 * Random rules and frames for the power proxy's tests and benchmark, drawn from few values so that they meet: prefixes
 * within prefixes, ranges over each other, the same priorities. A frame comes with what it says in words, and `isMeant`
 * holds the words against a rule as docs/mqtt.md defines it: an interpreter that shares nothing with the compiled one.
 */

import { encodeUtf8 } from '../../agent/core/bytes.js';
import type { Random } from '../../agent/core/random.js';
import type { Rule, Trigger } from '../../agent/message/messages.js';
import { parseAddress, parseMac } from '../../agent/wire/address.js';
import { internetChecksum } from '../../agent/wire/checksum.js';

/** What a frame says. Absent: the frame has no such thing. */
export interface Words {
  readonly dstMac: string;
  readonly srcMac: string;
  readonly vlanId?: number | undefined;
  readonly etherType: number;
  readonly arp?: { readonly operation: number; readonly sender: string; readonly target: string };
  readonly ip?: {
    readonly version: 4 | 6;
    readonly src: string;
    readonly dst: string;
    readonly protocol: number;
    readonly dscp: number;
    readonly timeToLive: number;
  };
  readonly icmp?: { readonly type: number; readonly code: number };
  readonly ports?: { readonly src: number; readonly dst: number };
  readonly flags?: readonly string[];
  /** Of a query over UDP. */
  readonly questions?: readonly { readonly name: string; readonly type: number }[];
}

export interface RandomFrame {
  readonly words: Words;
  readonly bytes: Uint8Array;
}

export const hosts = ['3c:22:fb:01:02:03', '3c:22:fb:01:02:04', '3c:22:fc:00:00:01', '02:00:00:00:00:09'];
const macs = [...hosts, 'ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:fb', '33:33:00:00:00:fb'];
const macPrefixes = [
  '3c:22:fb:00:00:00/24',
  '3c:22:fb:01:02:00/40',
  '01:00:5e:00:00:00/25',
  '00:00:00:00:00:00/0',
];
const ipv4 = [
  '192.168.1.10',
  '192.168.1.11',
  '192.168.1.200',
  '192.168.2.1',
  '10.0.0.1',
  '224.0.0.251',
  '255.255.255.255',
];
const ipv4Prefixes = [
  '192.168.1.0/24',
  '192.168.0.0/16',
  '192.168.1.8/29',
  '224.0.0.0/4',
  '0.0.0.0/0',
  '10.0.0.1/32',
];
const ipv6 = [
  'fe80::1',
  'fe80::3e22:fbff:fe01:203',
  '2001:db8::10',
  '2001:db8:0:1::10',
  'ff02::fb',
  'ff02::1:ff01:203',
];
const ipv6Prefixes = [
  'fe80::/10',
  '2001:db8::/32',
  '2001:db8::/64',
  'ff02::/16',
  'ff02::1:ff00:0/104',
  '::/0',
];
const ports = [22, 53, 80, 137, 443, 445, 1024, 5353, 5355, 8080, 50_000, 65_535];
const portRanges = [
  '0-1023',
  '1024-65535',
  '22-80',
  '80-443',
  '5000-6000',
  '137-139',
  '0-65535',
  '5353-5355',
];
const names = ['desktop.local', 'laptop.local', 'local', 'a.b.desktop.local', '_ssh._tcp.local', 'x.example'];
const nameTests = [...names, 'DESKTOP.local', '*.local', '*.desktop.local', '*.example'];
const netbiosNames = ['DESKTOP', 'LAPTOP', '*'];
const types: { readonly [name: string]: number } = {
  a: 1,
  aaaa: 28,
  ptr: 12,
  srv: 33,
  txt: 16,
  any: 255,
  nb: 32,
  nbstat: 33,
};
const flagBits = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'];
const serviceOf: { readonly [port: number]: 'dns' | 'mdns' | 'llmnr' | 'nbns' } = {
  53: 'dns',
  137: 'nbns',
  5353: 'mdns',
  5355: 'llmnr',
};

export function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)];
}

// ---- Frames ----

export function randomFrame(random: Random): RandomFrame {
  const dstMac = pick(random, macs);
  const srcMac = pick(random, hosts);
  const vlanId = random.chance(0.3) ? pick(random, [0, 1, 7, 100, 4094]) : undefined;
  const kind = random.below(10);
  const link = { dstMac, srcMac, vlanId };
  if (kind === 0) {
    const etherType = pick(random, [0x88cc, 0x8137, 0x888e, 38]);
    return { words: { ...link, etherType }, bytes: linkBytes(link, etherType, new Uint8Array(46)) };
  }
  if (kind <= 3) {
    const arp = {
      operation: pick(random, [1, 1, 2, 3]),
      sender: pick(random, ipv4),
      target: pick(random, ipv4),
    };
    const body = new Uint8Array(46);
    body.set([0, 1, 8, 0, 6, 4, 0, arp.operation]);
    body.set(parseMac(srcMac)!, 8);
    body.set(parseAddress(arp.sender)!, 14);
    body.set(parseAddress(arp.target)!, 24);
    return { words: { ...link, etherType: 0x0806, arp }, bytes: linkBytes(link, 0x0806, body) };
  }
  return randomIp(random, link);
}

type LinkWords = Pick<Words, 'dstMac' | 'srcMac' | 'vlanId'>;

function randomIp(random: Random, link: LinkWords): RandomFrame {
  const version = random.chance(0.7) ? 4 : 6;
  const addresses = version === 4 ? ipv4 : ipv6;
  const icmpProtocol = version === 4 ? 1 : 58;
  const protocol = pick(random, [6, 6, 17, 17, icmpProtocol, 2, 103]);
  const ip = {
    version,
    src: pick(random, addresses),
    dst: pick(random, addresses),
    protocol,
    dscp: pick(random, [0, 0, 8, 46]),
    timeToLive: pick(random, [1, 64, 255]),
  } as const;
  const words: { -readonly [K in keyof Words]: Words[K] } = {
    ...link,
    etherType: version === 4 ? 0x0800 : 0x86dd,
    ip,
  };
  let body: Uint8Array = new Uint8Array(8 + random.below(20)).map(() => random.below(4));
  if (protocol === icmpProtocol) {
    words.icmp = {
      type: pick(random, version === 4 ? [0, 8, 3] : [128, 134, 135, 143]),
      code: random.below(2),
    };
    body[0] = words.icmp.type;
    body[1] = words.icmp.code;
  } else if (protocol === 6) {
    words.ports = { src: pick(random, ports), dst: pick(random, ports) };
    const flags = pick(random, [2, 2, 0x12, 0x10, 0x18, 4, 0x11, 0xc2]);
    words.flags = flagBits.filter((_, bit) => (flags & (1 << bit)) !== 0);
    const segment = new Uint8Array(20 + body.length);
    setPorts(segment, words.ports);
    segment[12] = 0x50;
    segment[13] = flags;
    segment.set(body, 20);
    body = segment;
  } else if (protocol === 17) {
    words.ports = { src: pick(random, ports), dst: pick(random, ports) };
    const service = serviceOf[words.ports.dst];
    if (service && random.chance(0.8)) {
      const questions = Array.from({ length: 1 + random.below(3) }, () => ({
        name: pick(random, service === 'nbns' ? netbiosNames : names),
        type: pick(random, Object.values(types)),
      }));
      const isResponse = random.chance(0.2);
      if (!isResponse) words.questions = questions;
      body = message(random, service === 'nbns', isResponse, questions);
    }
    const datagram = new Uint8Array(8 + body.length);
    setPorts(datagram, words.ports);
    datagram.set([datagram.length >>> 8, datagram.length], 4);
    datagram.set(body, 8);
    body = datagram;
  }
  return { words, bytes: linkBytes(link, words.etherType, ipBytes(ip, body)) };
}

export function setPorts(segment: Uint8Array, { src, dst }: { src: number; dst: number }): void {
  segment.set([src >>> 8, src & 255, dst >>> 8, dst & 255]);
}

/** A query, its later names now and then by a pointer to the first, in letters of either case. */
export function message(
  random: Random,
  isNetbios: boolean,
  isResponse: boolean,
  questions: readonly { readonly name: string; readonly type: number }[],
): Uint8Array {
  const bytes = [0, 7, isResponse ? 0x84 : 0, 0, 0, questions.length, 0, 0, 0, 0, 0, 0];
  questions.forEach(({ name, type }, index) => {
    if (index > 0 && name === questions[0].name && random.chance(0.5)) bytes.push(0xc0, 12);
    else {
      const labels = isNetbios ? [netbiosLabel(name, random.below(2) * 0x20)] : name.split('.');
      for (const label of labels) {
        const text = isNetbios || random.chance(0.7) ? label : label.toUpperCase();
        bytes.push(text.length, ...encodeUtf8(text));
      }
      bytes.push(0);
    }
    bytes.push(type >>> 8, type & 255, 0, 1);
  });
  return new Uint8Array(bytes);
}

function netbiosLabel(name: string, suffix: number): string {
  const bytes = [...name.padEnd(15, name === '*' ? '\0' : ' ')].map(letter => letter.charCodeAt(0));
  return [...bytes, suffix].map(byte => String.fromCharCode(65 + (byte >>> 4), 65 + (byte & 15))).join('');
}

export function ipBytes(ip: NonNullable<Words['ip']>, body: Uint8Array): Uint8Array {
  const src = parseAddress(ip.src)!;
  const dst = parseAddress(ip.dst)!;
  if (ip.version === 6) {
    const packet = new Uint8Array(40 + body.length);
    const traffic = (6 << 12) | (ip.dscp << 6);
    packet.set([
      traffic >>> 8,
      traffic & 255,
      0,
      0,
      body.length >>> 8,
      body.length & 255,
      ip.protocol,
      ip.timeToLive,
    ]);
    packet.set(src, 8);
    packet.set(dst, 24);
    packet.set(body, 40);
    return packet;
  }
  const packet = new Uint8Array(20 + body.length);
  packet.set([
    0x45,
    ip.dscp << 2,
    packet.length >>> 8,
    packet.length & 255,
    0,
    1,
    0x40,
    0,
    ip.timeToLive,
    ip.protocol,
  ]);
  packet.set(src, 12);
  packet.set(dst, 16);
  const checksum = internetChecksum(packet, 0, 20);
  packet.set([checksum >>> 8, checksum & 255], 10);
  packet.set(body, 20);
  return packet;
}

export function linkBytes(
  { dstMac, srcMac, vlanId }: LinkWords,
  etherType: number,
  body: Uint8Array,
): Uint8Array {
  const tag = vlanId === undefined ? [] : [0x81, 0, 0x20 | (vlanId >>> 8), vlanId & 255];
  const header = [...parseMac(dstMac)!, ...parseMac(srcMac)!, ...tag, etherType >>> 8, etherType & 255];
  const frame = new Uint8Array(Math.max(60, header.length + body.length));
  frame.set(header);
  frame.set(body, header.length);
  return frame;
}

// ---- Rules ----

/** A rule that is accepted: any number of fields, values that frames have, and sometimes what no frame can be. */
export function randomRule(random: Random): Rule {
  const trigger: { [protocol: string]: unknown } = {};
  const some = <T>(value: () => T) => (random.chance(0.35) ? value() : undefined);
  const set = <T>(one: () => T) => (random.chance(0.7) ? one() : [one(), one(), one()]);
  const mac = () => pick(random, random.chance(0.7) ? macs : macPrefixes);
  const address4 = () => pick(random, random.chance(0.6) ? ipv4 : ipv4Prefixes);
  const address6 = () => pick(random, random.chance(0.6) ? ipv6 : ipv6Prefixes);
  const port = () => (random.chance(0.6) ? pick(random, ports) : pick(random, portRanges));
  const ethernet = () => ({
    srcMac: some(() => set(mac)),
    dstMac: some(() => set(mac)),
    etherType: some(() => set(() => pick(random, [0x0800, 0x0806, 0x86dd, 0x88cc, '0-1500', '2048-2054']))),
    vlanId: some(() => set(() => pick(random, [0, 1, 7, '1-100', '100-4094']))),
    cast: some(() => set(() => pick(random, ['unicast', 'multicast', 'broadcast']))),
  });
  const kind = random.below(12);
  if (kind === 0) trigger['any'] = true;
  if (kind === 1)
    trigger['class'] = set(() => pick(random, ['dont-wake', 'dont-ignore', 'policy-dependent']));
  if (kind === 2 || random.chance(0.2)) trigger['ethernet'] = ethernet();
  if (kind === 3 || kind === 4)
    trigger['arp'] = {
      operation: some(() => set(() => pick(random, ['request', 'reply', 3, '1-2']))),
      senderAddress: some(() => set(address4)),
      targetAddress: some(() => set(address4)),
    };
  if (kind === 5 || (kind > 6 && random.chance(0.3)))
    trigger['ipv4'] = {
      srcAddress: some(() => set(address4)),
      dstAddress: some(() => set(address4)),
      protocol: some(() => set(() => pick(random, [6, 17, 1, 2, '0-16', '100-255']))),
      dscp: some(() => set(() => pick(random, [0, 46, '8-46']))),
      timeToLive: some(() => set(() => pick(random, [1, 64, '2-255']))),
    };
  if (kind === 6 || (kind > 6 && random.chance(0.1)))
    trigger['ipv6'] = {
      srcAddress: some(() => set(address6)),
      dstAddress: some(() => set(address6)),
      protocol: some(() => set(() => pick(random, [6, 17, 58, '0-16']))),
      dscp: some(() => pick(random, [0, 46, '8-46'])),
      hopLimit: some(() => set(() => pick(random, [1, 64, '2-255']))),
    };
  if (kind === 7)
    trigger[pick(random, ['icmp', 'icmpv6'])] = {
      type: some(() => set(() => pick(random, [8, 0, 128, 135, '130-143']))),
      code: some(() => pick(random, [0, 1, '0-1'])),
    };
  if (kind === 8 || kind === 9)
    trigger['tcp'] = {
      srcPort: some(() => set(port)),
      dstPort: some(() => set(port)),
      flags: some(() =>
        set(() => pick(random, ['syn', 'syn,ack', 'ack', 'rst', 'fin,ack', 'ack,psh', 'ece,syn'])),
      ),
    };
  if (kind === 10) trigger['udp'] = { srcPort: some(() => set(port)), dstPort: some(() => set(port)) };
  if (kind === 11) {
    const service = pick(random, ['dns', 'mdns', 'llmnr', 'nbns'] as const);
    trigger[service] = {
      name: some(() => set(() => pick(random, service === 'nbns' ? netbiosNames : nameTests))),
      type: some(() =>
        set(() =>
          pick(random, service === 'nbns' ? ['nb', 'nbstat'] : ['a', 'aaaa', 'ptr', 'any', 33, '12-40']),
        ),
      ),
    };
  }
  if (random.chance(0.05))
    trigger['payload'] = {
      from: some(() => pick(random, ['frame', 'network', 'transport', 'data'])),
      offset: random.below(3),
      bytes: pick(random, ['01', '02', '00', '0800']),
      mask: undefined,
    };
  if (Object.keys(trigger).length === 0) trigger['any'] = true;
  const rule = {
    host: random.chance(0.5) ? pick(random, hosts) : undefined,
    priority: 98 + random.below(5),
    trigger,
    action: random.chance(0.5) ? 'drop' : 'wake',
  };
  if (rule.host === undefined) rule.action = 'drop';
  return JSON.parse(JSON.stringify(rule));
}

// ---- What rules mean ----

type Item = number | string;

/** Whether a frame is for the rule's host and as its trigger says, but for classes and payloads. */
export function isMeant(rule: Rule, words: Words): boolean {
  const { trigger, host } = rule;
  const cast = castOf(words.dstMac);
  if (host !== undefined && cast === 'unicast' && words.dstMac !== host) return false;
  const { ethernet, arp, ipv4, ipv6, icmp, icmpv6, tcp, udp } = trigger;
  if (ethernet) {
    if (!macIn(ethernet.srcMac, words.srcMac) || !macIn(ethernet.dstMac, words.dstMac)) return false;
    if (!numberIn(ethernet.etherType, words.etherType) || !numberIn(ethernet.vlanId, words.vlanId))
      return false;
    if (ethernet.cast !== undefined && ![ethernet.cast].flat().includes(cast)) return false;
  }
  if (arp) {
    if (!words.arp || !numberIn(arp.operation, words.arp.operation, { request: 1, reply: 2 })) return false;
    if (!addressIn(arp.senderAddress, words.arp.sender) || !addressIn(arp.targetAddress, words.arp.target))
      return false;
  }
  for (const [match, version] of [
    [ipv4, 4],
    [ipv6, 6],
  ] as const) {
    if (!match) continue;
    const { ip } = words;
    if (ip?.version !== version) return false;
    if (!addressIn(match.srcAddress, ip.src) || !addressIn(match.dstAddress, ip.dst)) return false;
    if (!numberIn(match.protocol, ip.protocol) || !numberIn(match.dscp, ip.dscp)) return false;
    const timeToLive =
      'hopLimit' in match ? match.hopLimit : 'timeToLive' in match ? match.timeToLive : undefined;
    if (!numberIn(timeToLive, ip.timeToLive)) return false;
  }
  for (const [match, version] of [
    [icmp, 4],
    [icmpv6, 6],
  ] as const) {
    if (!match) continue;
    if (!words.icmp || words.ip?.version !== version) return false;
    if (!numberIn(match.type, words.icmp.type) || !numberIn(match.code, words.icmp.code)) return false;
  }
  if (tcp && !(words.flags && portsIn(tcp, words) && flagsIn(tcp.flags, words.flags))) return false;
  if (udp && !(words.ip?.protocol === 17 && portsIn(udp, words))) return false;
  for (const service of ['dns', 'mdns', 'llmnr', 'nbns'] as const)
    if (trigger[service] && !asksFor(trigger[service], service, words)) return false;
  return true;
}

function castOf(mac: string): 'unicast' | 'multicast' | 'broadcast' {
  if (mac === 'ff:ff:ff:ff:ff:ff') return 'broadcast';
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1 ? 'multicast' : 'unicast';
}

function numberIn(
  set: Item | readonly Item[] | undefined,
  value: number | undefined,
  names: { readonly [name: string]: number } = {},
): boolean {
  if (set === undefined) return true;
  return [set].flat().some(item => {
    if (typeof item === 'number') return item === value;
    const [low, high] = item.includes('-') ? item.split('-').map(Number) : [names[item], names[item]];
    return value !== undefined && value >= low && value <= high;
  });
}

function bitsIn(
  set: string | readonly string[] | undefined,
  bytes: Uint8Array,
  parse: (text: string) => Uint8Array,
): boolean {
  if (set === undefined) return true;
  const bits = (list: Uint8Array) => [...list].map(byte => byte.toString(2).padStart(8, '0')).join('');
  return [set].flat().some(item => {
    const [text, length] = item.split('/');
    return bits(bytes).startsWith(
      bits(parse(text)).slice(0, length === undefined ? undefined : Number(length)),
    );
  });
}

function macIn(set: string | readonly string[] | undefined, mac: string): boolean {
  return bitsIn(set, parseMac(mac)!, text => parseMac(text)!);
}

function addressIn(set: string | readonly string[] | undefined, address: string): boolean {
  return bitsIn(set, parseAddress(address)!, text => parseAddress(text)!);
}

function portsIn(match: NonNullable<Trigger['udp']>, { ports }: Words): boolean {
  return ports !== undefined && numberIn(match.srcPort, ports.src) && numberIn(match.dstPort, ports.dst);
}

function flagsIn(set: string | readonly string[] | undefined, flags: readonly string[]): boolean {
  if (set === undefined) return true;
  return [set].flat().some(text => {
    const named = text.split(',');
    return flagBits.every(flag => {
      const isLife = ['fin', 'syn', 'rst', 'ack'].includes(flag);
      return named.includes(flag) ? flags.includes(flag) : !isLife || !flags.includes(flag);
    });
  });
}

function asksFor(
  match: { readonly name?: string | readonly string[]; readonly type?: Item | readonly Item[] },
  service: string,
  { ip, ports, questions }: Words,
): boolean {
  if (ip?.protocol !== 17 || !ports || serviceOf[ports.dst] !== service) return false;
  if (match.name === undefined && match.type === undefined) return true;
  return (questions ?? []).some(question => {
    const isNamed =
      match.name === undefined ||
      [match.name].flat().some(text => {
        const wanted = text.toLowerCase();
        const name = question.name.toLowerCase();
        if (service === 'nbns' || !wanted.startsWith('*.')) return name === wanted;
        return name.endsWith(wanted.slice(1));
      });
    return isNamed && numberIn(match.type, question.type, types);
  });
}
