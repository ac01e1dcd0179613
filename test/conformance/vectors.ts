/**
 * Vectors of the codecs and of what everything else stands on. Each prints what came of it: the bytes emitted again from the
 * value parsed, layer by layer, or the reason for which they are refused, and the reasons for all of its truncations.
 */

import { decodeUtf8, digest, encodeUtf8, formatHex, writeBytes } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { Result } from '../../agent/core/result.js';
import { formatDuration, parseDuration } from '../../agent/core/time.js';
import { decodeCbor, encodeCbor } from '../../agent/message/cbor.js';
import { decodePayload } from '../../agent/message/json.js';
import { parseTopic } from '../../agent/message/topic.js';
import { formatAddress, parseAddress } from '../../agent/wire/address.js';
import { emitArp, parseArp } from '../../agent/wire/arp.js';
import { chapLength, emitChap, parseChap } from '../../agent/wire/chap.js';
import { dhcpLength, emitDhcp, parseDhcp } from '../../agent/wire/dhcp.js';
import { dhcpv6Length, emitDhcpv6, parseDhcpv6 } from '../../agent/wire/dhcpv6.js';
import { dnsLength, emitDns, parseDns } from '../../agent/wire/dns.js';
import { emitEthernet, ethernetLength, parseEthernet } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { emitIcmp, icmpLength, parseIcmp } from '../../agent/wire/icmp.js';
import { emitIgmp, igmpLength, parseIgmp } from '../../agent/wire/igmp.js';
import { emitIpcp, ipcpLength, parseIpcp } from '../../agent/wire/ipcp.js';
import { emitIpv4, type Ipv4, ipv4HeaderLength, parseIpv4 } from '../../agent/wire/ipv4.js';
import { emitIpv6, type Ipv6, ipv6HeaderLength, parseIpv6 } from '../../agent/wire/ipv6.js';
import { emitIpv6cp, ipv6cpLength, parseIpv6cp } from '../../agent/wire/ipv6cp.js';
import { emitLcp, lcpLength, parseLcp } from '../../agent/wire/lcp.js';
import { emitLlmnr, llmnrLength, parseLlmnr } from '../../agent/wire/llmnr.js';
import { emitMld, mldLength, parseMld } from '../../agent/wire/mld.js';
import { emitNbns, nbnsLength, parseNbns } from '../../agent/wire/nbns.js';
import { emitNdp, ndpLength, parseNdp } from '../../agent/wire/ndp.js';
import { emitPap, papLength, parsePap } from '../../agent/wire/pap.js';
import { emitPpp, parsePpp, pppLength, pppProtocol } from '../../agent/wire/ppp.js';
import {
  emitPppoe,
  emitPppoeTags,
  parsePppoe,
  parsePppoeTags,
  pppoeHeaderLength,
  pppoeTagsLength,
} from '../../agent/wire/pppoe.js';
import { emitSsdp, parseSsdp, ssdpLength } from '../../agent/wire/ssdp.js';
import { emitTcp, parseTcp, tcpLength } from '../../agent/wire/tcp.js';
import { emitUdp, parseUdp, udpLength } from '../../agent/wire/udp.js';
import { frames } from './frames.js';
import { bytesOf, type Print } from './scenario.js';
import type { Given } from './suite.js';

const texts: readonly string[] = [
  '',
  'plain',
  '\u00e9',
  '3c:22:fb:01:02:03',
  '192.0.2.300',
  '192.0.2.10',
  'fe80::1',
  '2001:db8:0:0:1:0:0:1',
  '::ffff:192.0.2.1',
  '1::2::3',
  '30s',
  '3650d',
  '1h30m',
  '0123456789ms',
  'kith/1/home/gw-1/rule/ssh/status',
  'kith/1/home/gw-1/state',
  'kith/1/home//state',
  'kith/1/home/gw-1/rule/SSH',
  '{"a":[1,2.5,-1000000007,true,null,"\\u00e9\\n"],"b":{}}',
  ' {"deep":[[[[[[[[[1]]]]]]]]]}',
];

/**
 * JSON that is none (RFC 8259 §6, §7), a key twice, a fraction that is no sum of powers of two. Espruino takes the first two,
 * keeps the first of the key, and errs in the fraction's last bit.
 */
const strictTexts: readonly string[] = ['{"a":1,"a":2}', '{"a":01}', '{"a":"\u0001"}', '{"a":-1e-7}'];

/** Beyond Latin-1, as UTF-8: two, three and four bytes a character, a lone surrogate, an overlong slash, one cut short. */
const wideTexts: readonly string[] = ['c4a7', 'e282ac', 'f09f9880', 'eda080', 'c0af', 'e282'];

/** Only where a string holds UTF-16 and JSON is strict: Espruino's `String.fromCharCode` makes bytes. */
export function checkWideTexts(given: Given, print: Print): void {
  for (const text of strictTexts) print(`${formatHex(encodeUtf8(text))} ${allOf(text)}`);
  checkCbor(given.wideCbor, print);
  for (const hex of wideTexts) {
    const text = decodeUtf8(bytesOf(hex));
    print(`${hex} ${text === undefined ? '-' : `${text.length} ${formatHex(encodeUtf8(text))}`}`);
  }
}

export function checkVectors(given: Given, print: Print): void {
  print('# random numbers, digests, texts');
  const random = new Random(20_261_121, 'conformance');
  for (let i = 0; i < 8; i++) print(`${random.uint32()} ${random.below(1000)}`);
  for (const text of texts) print(`${formatHex(encodeUtf8(text))} ${allOf(text)}`);
  print('# CBOR');
  checkCbor(given.cbor, print);
  print('# frames');
  for (const name of Object.keys(frames))
    checkFrame(name, bytesOf(frames[name as keyof typeof frames]), print);
  for (let i = 0; i < given.captured.length; i++)
    checkFrame(`captured ${i}`, bytesOf(given.captured[i]), print);
}

function checkCbor(vectors: readonly string[], print: Print): void {
  for (const hex of vectors) {
    const decoded = decodeCbor(bytesOf(hex), { depth: 8 });
    print(
      `${hex} ${decoded.ok ? formatHex(encodeCbor(decoded.value)) : `${decoded.reason} at ${decoded.at}`}`,
    );
  }
}

/** Everything a text might be. */
function allOf(text: string): string {
  const bytes = encodeUtf8(text);
  const address = parseAddress(text);
  const durationMs = parseDuration(text);
  const topic = parseTopic(text);
  const payload = decodePayload(bytes, { depth: 8 });
  return [
    digest(bytes),
    address ? formatAddress(address) : '-',
    durationMs === undefined ? '-' : formatDuration(durationMs),
    topic.ok ? `${topic.value.node} ${topic.value.leaf.kind}` : topic.reason,
    payload.ok ? formatHex(encodeCbor(payload.value)) : payload.reason,
  ].join(' ');
}

function checkFrame(name: string, frame: Uint8Array, print: Print): void {
  const headers = new Headers();
  const reasons: string[] = [];
  for (let length = 0; length <= frame.length; length++) {
    const reason = headers.scan(frame, 0, length);
    if (reasons.length === 0 || !reasons[reasons.length - 1].startsWith(`${reason} `))
      reasons.push(`${reason} from ${length}`);
  }
  print(
    `${name}: ${reasons.join(', ')}; ${headers.network} ${headers.l3Offset} ${headers.protocol} ${headers.l4Offset} ${headers.srcPort} ${headers.dstPort} ${headers.tcpFlags} ${headers.icmpType}`,
  );
  const layers: string[] = [];
  const ethernet = parseEthernet(frame, 0, frame.length);
  if (!ethernet.ok) {
    print(ethernet.reason);
    return;
  }
  const { payload } = ethernet.value;
  layers.push(
    `ethernet ${formatHex(within(ethernetLength(ethernet.value), payload, (out, length) => emitEthernet(ethernet.value, length, out, 0)))}`,
  );
  peel(ethernet.value.etherType, payload, layers);
  for (const layer of layers) print(layer);
}

function peel(etherType: number, bytes: Uint8Array, layers: string[]): void {
  const end = bytes.length;
  switch (etherType) {
    case 0x0806:
      again('arp', parseArp(bytes, 0, end), () => 28, emitArp, layers);
      return;
    case 0x0800: {
      const ip = parseIpv4(bytes, 0, end);
      if (!ip.ok) layers.push(`ipv4 ${ip.reason}`);
      else {
        layers.push(
          `ipv4 ${formatHex(within(ipv4HeaderLength(ip.value), ip.value.payload, (out, length) => emitIpv4(ip.value, length, out, 0)))}`,
        );
        peelTransport(ip.value, layers);
      }
      return;
    }
    case 0x86dd: {
      const ip = parseIpv6(bytes, 0, end);
      if (!ip.ok) layers.push(`ipv6 ${ip.reason}`);
      else {
        layers.push(
          `ipv6 ${formatHex(within(ipv6HeaderLength(ip.value), ip.value.payload, (out, length) => emitIpv6(ip.value, length, out, 0)))}`,
        );
        peelTransport(ip.value, layers);
      }
      return;
    }
    case 0x8863:
    case 0x8864: {
      const pppoe = parsePppoe(bytes, 0, end);
      if (!pppoe.ok) {
        layers.push(`pppoe ${pppoe.reason}`);
        return;
      }
      const { payload } = pppoe.value;
      layers.push(
        `pppoe ${formatHex(within(pppoeHeaderLength, payload, (out, length) => emitPppoe(pppoe.value, length, out, 0)))}`,
      );
      if (etherType === 0x8864) peelPpp(payload, layers);
      else again('tags', parsePppoeTags(payload, 0, payload.length), pppoeTagsLength, emitPppoeTags, layers);
      return;
    }
    default:
  }
}

function peelPpp(bytes: Uint8Array, layers: string[]): void {
  const ppp = parsePpp(bytes, 0, bytes.length);
  if (!ppp.ok) {
    layers.push(`ppp ${ppp.reason}`);
    return;
  }
  const { protocol, payload } = ppp.value;
  const end = payload.length;
  layers.push(`ppp ${formatHex(within(pppLength(ppp.value), payload, out => emitPpp(ppp.value, out, 0)))}`);
  switch (protocol) {
    case pppProtocol.ipv4:
      peel(0x0800, payload, layers);
      break;
    case pppProtocol.ipv6:
      peel(0x86dd, payload, layers);
      break;
    case pppProtocol.lcp:
      again('lcp', parseLcp(payload, 0, end), lcpLength, emitLcp, layers);
      break;
    case pppProtocol.ipcp:
      again('ipcp', parseIpcp(payload, 0, end), ipcpLength, emitIpcp, layers);
      break;
    case pppProtocol.ipv6cp:
      again('ipv6cp', parseIpv6cp(payload, 0, end), ipv6cpLength, emitIpv6cp, layers);
      break;
    case pppProtocol.pap:
      again('pap', parsePap(payload, 0, end), papLength, emitPap, layers);
      break;
    case pppProtocol.chap:
      again('chap', parseChap(payload, 0, end), chapLength, emitChap, layers);
      break;
    default:
  }
}

function peelTransport(ip: Ipv4 | Ipv6, layers: string[]): void {
  const { protocol, payload } = ip;
  const end = payload.length;
  if (protocol === 6) {
    const tcp = parseTcp(payload, 0, end, ip);
    layers.push(
      tcp.ok
        ? `tcp ${formatHex(within(tcpLength(tcp.value), tcp.value.payload, (out, length) => emitTcp(tcp.value, length, ip, out, 0)))}`
        : `tcp ${tcp.reason}`,
    );
  } else if (protocol === 17) {
    const udp = parseUdp(payload, 0, end, ip);
    if (!udp.ok) {
      layers.push(`udp ${udp.reason}`);
      return;
    }
    layers.push(
      `udp ${formatHex(within(udpLength, udp.value.payload, (out, length) => emitUdp(udp.value, length, ip, out, 0)))}`,
    );
    peelPort(udp.value.srcPort, udp.value.dstPort, udp.value.payload, layers);
  } else if (protocol === 1) {
    const icmp = parseIcmp(payload, 0, end);
    layers.push(
      icmp.ok
        ? `icmp ${formatHex(within(icmpLength, icmp.value.payload, (out, length) => emitIcmp(icmp.value, length, out, 0)))}`
        : `icmp ${icmp.reason}`,
    );
  } else if (protocol === 2) {
    again('igmp', parseIgmp(payload, 0, end), igmpLength, emitIgmp, layers);
  } else if (protocol === 58 && 'hopLimit' in ip) {
    again(
      'ndp',
      parseNdp(payload, 0, end, ip),
      ndpLength,
      (ndp, out, at) => emitNdp(ndp, ip, out, at),
      layers,
    );
    again(
      'mld',
      parseMld(payload, 0, end, ip),
      mldLength,
      (mld, out, at) => emitMld(mld, ip, out, at),
      layers,
    );
  }
}

function peelPort(srcPort: number, dstPort: number, payload: Uint8Array, layers: string[]): void {
  const end = payload.length;
  const isPort = (port: number) => srcPort === port || dstPort === port;
  if (isPort(53) || isPort(5353)) again('dns', parseDns(payload, 0, end), dnsLength, emitDns, layers);
  else if (isPort(5355)) again('llmnr', parseLlmnr(payload, 0, end), llmnrLength, emitLlmnr, layers);
  else if (isPort(137)) again('nbns', parseNbns(payload, 0, end), nbnsLength, emitNbns, layers);
  else if (isPort(1900)) again('ssdp', parseSsdp(payload, 0, end), ssdpLength, emitSsdp, layers);
  else if (isPort(67)) again('dhcp', parseDhcp(payload, 0, end), dhcpLength, emitDhcp, layers);
  else if (isPort(547)) again('dhcpv6', parseDhcpv6(payload, 0, end), dhcpv6Length, emitDhcpv6, layers);
}

function again<T>(
  name: string,
  parsed: Result<T>,
  lengthOf: (value: T) => number,
  emit: (value: T, out: Uint8Array, at: number) => number,
  layers: string[],
): void {
  if (!parsed.ok) {
    layers.push(`${name} ${parsed.reason}`);
    return;
  }
  const out = new Uint8Array(lengthOf(parsed.value));
  emit(parsed.value, out, 0);
  layers.push(`${name} ${formatHex(out)}`);
}

/** A header written before a payload that already stands behind it. */
function within(
  headerLength: number,
  payload: Uint8Array,
  emitHeader: (out: Uint8Array, payloadLength: number) => number,
): Uint8Array {
  const out = new Uint8Array(headerLength + payload.length);
  writeBytes(out, headerLength, payload);
  emitHeader(out, payload.length);
  return out;
}
