import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { dissect, type Layer, linkType } from '../../host-sim/capture/dissect.js';
import type { CapturedFrame } from '../../host-sim/capture/pcap.js';
import { frameJson, frameLine, frameLines, presentLayer } from '../../host-sim/capture/present.js';
import { decode } from '../../host-sim/cli/decode.js';
import { craftedFrames } from '../interop/crafted-frames.js';
import { capturePath } from '../support/captures.js';

const hex = (text: string) => parseHex(text.replace(/\s/g, ''))!;
const names = (layers: readonly Layer[]) => layers.map(layer => layer.name).join(' ');
const crafted = (title: string) => craftedFrames.find(frame => frame.title === title)!;

/** A copy with one byte changed, counted from the end if negative. */
function changed(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at < 0 ? copy.length + at : at] ^= 1;
  return copy;
}

function captured(bytes: Uint8Array, link: number): CapturedFrame {
  return {
    number: 1,
    time: { seconds: 0, nanoseconds: 0 },
    linkType: link,
    bytes,
    originalLength: bytes.length,
  };
}

async function decodedLines(capture: string, options: { verbose?: boolean } = {}): Promise<string[]> {
  const lines: string[] = [];
  const out = (line: string) => void lines.push(line);
  await decode(capturePath(capture), { json: false, verbose: false, checksums: true, ...options }, out);
  return lines;
}

test('layers are named from the outside in', () => {
  const expected: [string, string][] = [
    ['ARP probe behind two VLAN tags', 'ethernet vlan vlan arp'],
    ['802.3 frame with LLC (spanning tree)', 'ethernet data'],
    ['TCP SYN with every option that is known', 'ethernet ipv4 tcp'],
    ['ICMP port unreachable', 'ethernet ipv4 icmp data'],
    ['router solicitation', 'ethernet ipv6 icmpv6 ndp'],
    ['MLDv2 report', 'ethernet ipv6 icmpv6 mld'],
    ['first fragment of an IPv4 datagram', 'ethernet ipv4 data'],
    ['last fragment of an IPv4 datagram', 'ethernet ipv4 data'],
    ['first fragment of an IPv6 packet', 'ethernet ipv6 data'],
    ['DHCPv6 relay', 'ethernet ipv6 udp dhcpv6 dhcpv6'],
    ['multicast DNS for a sleep proxy', 'ethernet ipv4 udp mdns'],
    ['PADO', 'ethernet pppoe'],
    ['PPPoE session with IPv6', 'ethernet pppoe ppp ipv6 udp data'],
    ['CHAP response', 'ethernet pppoe ppp chap'],
    ['Linux cooked capture', 'sll ipv4 udp data'],
    ['OpenBSD loopback, IPv6', 'loopback ipv6 udp data'],
    ['PPP in HDLC framing', 'ppp lcp'],
    ['PPPoE session without Ethernet', 'pppoe ppp ipv4 udp data'],
  ];
  for (const [title, layers] of expected) {
    const { bytes, link } = crafted(title);
    assert.is(names(dissect(bytes, link).layers), layers, title);
  }
});

test('every protocol has a crafted frame, and every link type', () => {
  const seen = new Set(
    craftedFrames.flatMap(({ bytes, link }) => dissect(bytes, link).layers.map(({ name }) => name)),
  );
  const expected =
    'ethernet vlan arp ipv4 ipv6 icmp icmpv6 ndp mld igmp tcp udp dhcp dhcpv6 dns mdns llmnr nbns ssdp wol pppoe ppp lcp ' +
    'ipcp ipv6cp pap chap ccp sll loopback data';
  assert.equal([...seen].sort(), expected.split(' ').sort());
  const links = new Set(craftedFrames.map(({ link }) => link));
  // 228 and 229 are 101 with the version known.
  for (const link of Object.values(linkType))
    assert.ok(links.has(link) || link === 228 || link === 229, String(link));
});

test('raw IP of a given version refuses the other version', () => {
  const { bytes } = crafted('raw IPv4');
  assert.is(names(dissect(bytes, linkType.ipv4).layers), 'ipv4 udp data');
  assert.equal(dissect(bytes, linkType.ipv6).error, { layer: 'ipv6', reason: 'truncated' });
});

test('an unknown link type is named', () => {
  assert.equal(dissect(new Uint8Array(60), 147), {
    layers: [],
    error: { layer: 'data', reason: 'unsupported link type 147' },
  });
});

test('a wrong checksum stops at its layer; those of TCP and UDP only if they are to be verified', () => {
  for (const [title, layer] of [
    ['TCP with SACK blocks, ECN and urgent data', 'tcp'],
    ['UDP over IPv4 to a port nobody knows', 'udp'],
    ['UDP over IPv6 to a port nobody knows', 'udp'],
    ['ICMP echo', 'icmp'],
    ['ICMPv6 echo request', 'icmpv6'],
    ['IGMPv2 report', 'igmp'],
    ['MLDv1 report', 'icmpv6'],
  ]) {
    const bytes = changed(crafted(title).bytes, -1);
    assert.equal(dissect(bytes, linkType.ethernet).error, { layer, reason: 'bad-checksum' }, title);
    const { error } = dissect(bytes, linkType.ethernet, { verifyChecksums: false });
    const isOffloaded = layer === 'tcp' || layer === 'udp';
    assert.equal(error, isOffloaded ? undefined : { layer, reason: 'bad-checksum' }, title);
  }
  const header = changed(crafted('UDP over IPv4 to a port nobody knows').bytes, 14 + 8);
  assert.equal(dissect(header, linkType.ethernet, { verifyChecksums: false }).error, {
    layer: 'ipv4',
    reason: 'bad-checksum',
  });
});

test('a checksum is not verified where a routing header holds the final destination', () => {
  // The routing header follows hop-by-hop and destination options; its fourth byte says how many addresses are left.
  const { bytes } = crafted('IPv6 with hop-by-hop, destination options, routing and authentication headers');
  const segmentsLeftAt = 14 + 40 + 8 + 8 + 3;
  const routed = changed(changed(bytes, segmentsLeftAt), -1);
  assert.is(dissect(changed(bytes, -1), linkType.ethernet).error?.layer, 'udp');
  assert.is(dissect(routed, linkType.ethernet).error, undefined);
});

test('the ports of Wake-on-LAN carry other things too, which are data', () => {
  const bytes = changed(crafted('Wake-on-LAN in UDP, password of 0 bytes').bytes, -1);
  assert.is(
    names(dissect(bytes, linkType.ethernet, { verifyChecksums: false }).layers),
    'ethernet ipv4 udp data',
  );
  const inEthernet = changed(crafted('Wake-on-LAN in Ethernet, password of 0 bytes').bytes, -1);
  assert.equal(dissect(inEthernet, linkType.ethernet).error, { layer: 'wol', reason: 'bad-magic' });
});

test('of a frame cut at any length the headers captured are shown, and the first message that is not whole is refused', () => {
  for (const { title, link, bytes } of craftedFrames) {
    const whole = dissect(bytes, link).layers.map(presentLayer);
    for (let length = 0; length < bytes.length; length++) {
      const { layers, error } = dissect(bytes.subarray(0, length), link, { originalLength: bytes.length });
      const where = `${title}, ${length} of ${bytes.length} bytes`;
      if (error) assert.is(error.reason, 'truncated', where);
      for (const [i, layer] of layers.map(presentLayer).entries()) {
        // Without all of the magic packet nobody can tell what port 9 carries.
        if (layer['name'] === 'data' && whole[i]['name'] === 'wol') continue;
        if (layer['name'] !== 'data') assert.equal(layer, whole[i], where);
        else assert.ok(String(whole[i]['bytes']).startsWith(String(layer['bytes'])), where);
      }
      if (!error) assert.is(layers.length, whole.length, where);
    }
  }
});

test('no bytes make it throw: random ones, and crafted frames with bytes changed or cut off, on every link type', () => {
  const seed = 5;
  const random = new Random(seed, 'dissect');
  const links = [...Object.values(linkType), 147];
  for (let round = 0; round < 6000; round++) {
    const frame = craftedFrames[random.below(craftedFrames.length)];
    const link = random.chance(0.8) ? frame.link : links[random.below(links.length)];
    const bytes = random.chance(0.8)
      ? Uint8Array.from(
          frame.bytes.subarray(0, random.chance(0.7) ? undefined : random.below(frame.bytes.length + 1)),
        )
      : new Uint8Array(random.below(80)).map(() => random.below(256));
    for (let i = random.below(4); i > 0 && bytes.length > 0; i--)
      bytes[random.below(bytes.length)] = random.below(256);
    try {
      const dissection = dissect(bytes, link, { verifyChecksums: random.chance(0.5) });
      JSON.parse(frameJson(captured(bytes, link), dissection));
      frameLine(captured(bytes, link), dissection, undefined);
      frameLines(captured(bytes, link), dissection);
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}: ${(error as Error).stack}`);
    }
  }
});

test('a line of text says who, to whom and what', async () => {
  assert.equal(await decodedLines('arp-who-has.pcap'), [
    '1 0.000000 78:31:c1:c6:3f:c2 > ff:ff:ff:ff:ff:ff arp request 10.0.0.2 → 10.0.0.1',
    '2 0.005453 f8:ed:a5:c0:a4:f1 > 78:31:c1:c6:3f:c2 arp reply 10.0.0.1 → 10.0.0.2',
  ]);
  const pppoe = await decodedLines('pppoe.pcap');
  assert.is(
    pppoe[0],
    '1 0.000000 cc:05:0e:88:00:00 > ff:ff:ff:ff:ff:ff pppoe padi tags=service-name,host-uniq',
  );
  assert.is(
    pppoe[4],
    '5 2.425000 cc:05:0e:88:00:00 > ca:01:0e:88:00:06 pppoe 17 ppp lcp configure-request identifier=1 options=magic-number',
  );
  assert.is(
    (await decodedLines('nbns.pcap'))[0],
    '1 0.000000 00:0c:85:0e:a5:ff > 00:00:0c:07:ac:f0 10.49.248.228 → 10.48.161.241 udp 137 → 137 [68 of 92 bytes captured] [nbns: truncated]',
  );
  assert.is(
    (await decodedLines('pppoe-over-qinq.pcap'))[0],
    '1 0.000000 00:00:00:00:00:00 > 00:00:00:00:00:01 vlan 3704 vlan 2474 pppoe 3847 ppp 1.1.1.1 → 2.2.2.2 tcp 20394 → 443 syn',
  );
});

test('verbose text has every field of every layer, indented by its depth', async () => {
  const lines = await decodedLines('igmp.pcap', { verbose: true });
  assert.equal(lines.slice(0, lines.indexOf('frame 2, time 1648653411.621122, 54 bytes')), [
    'frame 1, time 1648653411.621106, 54 bytes',
    '  ethernet',
    '    dstMac: 01:00:5e:00:00:16',
    '    srcMac: 50:dc:e7:a2:d8:95',
    '    etherType: 2048',
    '  ipv4',
    '    dscp: 48',
    '    ecn: 0',
    '    identification: 0',
    '    dontFragment: true',
    '    moreFragments: false',
    '    fragmentOffset: 0',
    '    timeToLive: 1',
    '    protocol: 2',
    '    srcAddress: 192.168.1.150',
    '    dstAddress: 224.0.0.22',
    '    options: 94040000',
    '  igmp',
    '    kind: report-v3',
    '    records[0]',
    '      type: 4',
    '      groupAddress: 239.255.255.250',
    '      sourceAddresses: ',
  ]);
});

test('text of a capture cannot steer the terminal', () => {
  const evil = crafted('PADO');
  const at = evil.bytes.length - 60;
  const bytes = Uint8Array.from(evil.bytes);
  const name = [...Buffer.from('bras')];
  const nameAt = Buffer.from(bytes).indexOf(Buffer.from(name), Math.max(at, 0));
  bytes[nameAt] = 0x1b;
  const dissection = dissect(bytes, linkType.ethernet);
  const text = [
    ...frameLines(captured(bytes, 1), dissection),
    frameLine(captured(bytes, 1), dissection, undefined),
  ];
  assert.match(text.join('\n'), /\\u\{1b\}ras/);
  for (const line of text) assert.not.match(line, /\p{Cc}/u);
});

test('names decide how bytes are shown, and TCP flags have names', () => {
  assert.equal(
    presentLayer({
      name: 'tcp',
      flags: 0x12,
      unitMac: hex('3c22fb010203'),
      srcAddress: hex('c0000207'),
      sourceAddresses: [hex('c0000207'), hex(`fe80${'0'.repeat(26)}01`)],
      address: hex('c0000208'),
      // Not what their names say, by their length.
      wakeMac: hex('0102'),
      peerAddress: hex('010203'),
      list: [{ data: hex('00ff') }],
      flag: true,
    }),
    {
      name: 'tcp',
      flags: ['syn', 'ack'],
      unitMac: '3c:22:fb:01:02:03',
      srcAddress: '192.0.2.7',
      sourceAddresses: ['192.0.2.7', 'fe80::1'],
      address: '192.0.2.8',
      wakeMac: '0102',
      peerAddress: '010203',
      list: [{ data: '00ff' }],
      flag: true,
    },
  );
});

test('the JSON of a frame has exact nanoseconds, its lengths, and the error where it stops', () => {
  const bytes = concatBytes([hex('ffffffffffff 3c22fb010203 0806'), new Uint8Array(4)]);
  const frame = {
    number: 3,
    time: { seconds: 1_700_000_000, nanoseconds: 7 },
    linkType: 1,
    bytes,
    originalLength: 42,
  };
  const ethernet =
    '{"name":"ethernet","dstMac":"ff:ff:ff:ff:ff:ff","srcMac":"3c:22:fb:01:02:03","etherType":2054}';
  assert.is(
    frameJson(frame, dissect(bytes, 1, { originalLength: 42 })),
    `{"number":3,"time":1700000000.000000007,"length":42,"capturedLength":18,"layers":[${ethernet}],"error":{"layer":"arp","reason":"truncated"}}`,
  );
  const { time: _, ...timeless } = frame;
  assert.match(frameJson(timeless, dissect(bytes, 1)), /^\{"number":3,"time":null,/);
});

test('a line of text says what a network engineer looks for', async () => {
  const firstLines: [string, RegExp][] = [
    ['dhcp.pcap', / dhcp discover 90:b1:1c:99:49:29 requested 192\.168\.211\.194 name btest\.is\.cool$/],
    ['mdns.pcap', / mdns query _ipp\._tcp\.local ptr, _ipps\._tcp\.local ptr$/],
    ['icmp6-ping.pcap', / icmpv6 echo-request data 32$/],
    ['icmp6-neighbor-solicit.pcap', / icmpv6 ndp neighbor-solicitation /],
    ['llmnr-udp.pcap', / llmnr query 0xc341 hs2011 a$/],
    ['arp-who-has.pcap', / arp request [0-9.]+ → [0-9.]+$/],
  ];
  for (const [capture, expected] of firstLines) assert.match((await decodedLines(capture))[0], expected);
});

test.run();
