/**
 * The scripts: what arrives and when, for the agent alone and for the power proxy. Addresses are those of frames.ts.
 */

import { formatHex } from '../../agent/core/bytes.js';
import { encodeCbor } from '../../agent/message/cbor.js';
import { powerProxyWith } from '../../agent/power-proxy/job.js';
import { frames } from './frames.js';
import type { Scenario, Step } from './scenario.js';
import { updateScenario } from './update-scenario.js';

const host = '3c:22:fb:01:02:03';
const asleep = `{"mac":"${host}","ipv4":["192.0.2.10"],"ipv6":["fe80::3e22:fbff:fe01:203","2001:db8::10"],"names":["desktop"],"groups":["239.1.2.3","ff02::1:2345"],"services":[{"name":"Desktop","type":"_ssh._tcp","port":22,"txt":["path=/"]}],"state":"asleep"}`;
const everything = [powerProxyWith({ seed: 1 })];
const up: Step = { at: 0, bus: 'up' };
const sleeper: Step = { at: 0, leaf: 'host/desktop', text: asleep };

function rule(at: number, id: string, text: string): Step {
  return { at, leaf: `rule/${id}`, text };
}

/** Every question of frames.ts, a minute apart, so that no answer of one is put off by another. */
function questions(from: number): Step[] {
  const steps: Step[] = [];
  let at = from;
  for (const name of Object.keys(frames)) {
    const last = name.charCodeAt(name.length - 1);
    if (last < 48 || last > 57) continue;
    steps.push({ at, frame: frames[name as keyof typeof frames] });
    at += 60_000;
  }
  steps.push({ at, nothing: true });
  return steps;
}

const badRules: readonly string[] = [
  '',
  '{',
  '[]',
  '{"trigger":{"any":true}}',
  '{"trigger":{},"action":"drop"}',
  '{"trigger":{"any":true},"action":"dorp"}',
  '{"trigger":{"tcp":{"dstPort":70000}},"action":"drop"}',
  '{"trigger":{"tcp":{"dstPort":"9-1"}},"action":"drop"}',
  '{"trigger":{"tcp":{"prot":1}},"action":"drop"}',
  '{"trigger":{"ipv4":{"srcAddress":"192.0.2.300"}},"action":"drop"}',
  '{"trigger":{"any":true},"action":"drop","timeout":"1 h"}',
  '{"trigger":{"any":true},"action":"respond","responder":"finger"}',
  '{"trigger":{"timer":{"every":"1ms"}},"action":"wake"}',
  '{"host":"3c:22:fb:01:02","trigger":{"any":true},"action":"wake"}',
  '{"trigger":{"payload":{"bytes":"0g"}},"action":"drop"}',
  '{"trigger":{"any":true},"action":"drop","priority":1.5}',
  '{"trigger":{"any":true},"action":"drop","name":"\\u00e4"}',
];

const goodRules: readonly string[] = [
  '{"trigger":{"any":true},"action":"drop","priority":0}',
  `{"host":"${host}","trigger":{"tcp":{"dstPort":[22,"8000-8010"],"flags":"syn"}},"action":"wake","timeout":"1h"}`,
  '{"trigger":{"ipv4":{"srcAddress":"192.0.2.0/24","dscp":"8-14"},"udp":{"dstPort":5683}},"action":"drop"}',
  '{"trigger":{"ipv6":{"dstAddress":["fe80::/10","2001:db8::10"],"hopLimit":255},"icmpv6":{"type":135}},"action":"drop"}',
  '{"trigger":{"mdns":{"name":"*.local","type":["a","aaaa"]}},"action":"respond","responder":"mdns"}',
  '{"trigger":{"nbns":{"name":"DESKTOP"}},"action":"respond"}',
  '{"trigger":{"class":"dont-wake"},"action":"drop"}',
  '{"trigger":{"payload":{"from":"network","offset":9,"bytes":"06","mask":"ff"}},"action":"drop"}',
  '{"trigger":{"ethernet":{"cast":"multicast","vlanId":"100-199","srcMac":"3c:22:fb:00:00:00/24"}},"action":"drop"}',
  '{"trigger":{"tcp":{},"udp":{}},"action":"drop"}',
  '{"trigger":{"arp":{"operation":"request","targetAddress":"192.0.2.10"}},"action":"respond","responder":"arp","priority":200}',
];

const asCbor = formatHex(
  encodeCbor({ trigger: { udp: { dstPort: [137, '138-139'] } }, action: 'drop', priority: 65535 }),
);

export const scenarios: readonly Scenario[] = [
  {
    name: 'birth: what it says on the bus, what it answers, what it says when it stops',
    jobs: [],
    steps: [
      up,
      { at: 500, leaf: 'request/report', text: '{"transaction":"one"}' },
      { at: 600, leaf: 'request/dance', text: '{"transaction":"two \\u00e9"}' },
      { at: 700, leaf: 'request/report', text: '{"no":"transaction"}' },
      { at: 800, leaf: 'rule/any', text: '{"trigger":{"any":true},"action":"drop"}' },
      { at: 900, leaf: 'host/one', text: '{}' },
      { at: 1000, topic: 'kith/1/home/gw-2/rule/any' },
      { at: 1001, topic: 'kith/2/home' },
      { at: 1002, topic: 'kith/1/home/gw-1/rule/BAD' },
      { at: 2000, bus: 'down' },
      { at: 40_000, bus: 'up' },
      { at: 55_000, frame: frames.arp1 },
      { at: 55_001, frame: '0102' },
      { at: 55_002, frame: frames.arp1, link: 'wlan' },
      { at: 60_000, leaf: 'request/report', text: '{"transaction":"three"}' },
      { at: 70_000, stop: true },
      { at: 80_000, bus: 'up' },
    ],
    expect: [
      'subscribe kith/1/home/gw-1/rule/+',
      '"ready"',
      '"transaction":"one"',
      'response/dance',
      '"status":"rejected"',
      '"agent.messages.topic":2',
      '"transaction":"three"',
      '"agent.frames.malformed":1',
      'state 1 true "disconnected"',
    ],
  },
  {
    name: 'rules: judged, ordered, warned about, replaced, expired, removed',
    jobs: everything,
    steps: [
      up,
      sleeper,
      ...badRules.map((text, i) => rule(5000 + i, `bad-${i}`, text)),
      ...goodRules.map((text, i) => rule(6000 + i, `good-${i}`, text)),
      { at: 6500, leaf: 'rule/cbor', hex: asCbor },
      { at: 6501, leaf: 'rule/cbor', hex: asCbor.slice(0, -2) },
      rule(7000, 'good-3', badRules[5]),
      rule(7001, 'good-0', ''),
      { at: 7002, leaf: 'request/report', text: '{"transaction":"all"}' },
      { at: 8000, frame: frames.syn },
      { at: 60_000, reboot: true },
      { at: 60_000, bus: 'up' },
      { at: 60_001, leaf: 'rule/good-1', text: goodRules[1], retained: true },
      { at: 70_000, frame: frames.arp1 },
      { at: 3_700_000, nothing: true },
    ],
    expect: ['"field":"action"', '"status":"accepted"', '"kind":"never"', '"status":"expired"'],
  },
  {
    name: 'wake: a SYN wakes the host with its frame held, retries, the host speaks; a timer; a request; nobody there',
    jobs: everything,
    steps: [
      up,
      sleeper,
      rule(5000, 'ssh', '{"trigger":{"tcp":{"dstPort":22,"flags":"syn"}},"action":"wake"}'),
      rule(5000, 'timer', `{"host":"${host}","trigger":{"timer":{"every":"10m"}},"action":"wake"}`),
      { at: 6000, frame: frames.syn },
      { at: 6100, frame: frames.syn },
      { at: 13_500, frame: frames.hostSpeaks },
      { at: 300_000, leaf: 'request/wake', text: `{"transaction":"w","host":"${host}"}` },
      { at: 310_000, frame: frames.hostSpeaks },
      { at: 900_000, bus: 'down' },
      { at: 1_300_000, frame: frames.syn },
      { at: 1_400_000, bus: 'up' },
      { at: 1_500_000, nothing: true },
    ],
    expect: ['event/wake', '0842', 'event/awake', '"transaction":"w"', 'event/wake'],
  },
  {
    name: 'stand-in: every question that somebody asks a sleeping host is answered as the host would',
    jobs: everything,
    steps: [
      up,
      sleeper,
      rule(5000, 'all', '{"trigger":{"any":true},"action":"respond"}'),
      ...questions(6000),
    ],
    expect: [
      // To the asker, from the proxy: ARP, neighbour discovery, two echoes; to groups: IGMP and multicast DNS; to the asker: NetBIOS.
      '02000000002002005e100001080600010800060400023c22fb010203c000020a',
      '02000000002002005e10000186dd60000000002',
      '02000000002002005e10000108004520002c',
      '02000000002002005e10000186dd6000000000183a40',
      '01005e00001602005e100001',
      '01005e0000fb02005e100001',
      '"frames.unanswerable"',
    ],
  },
  {
    name: 'own words: a template with a counter, a stub, the coordinator, another host',
    jobs: everything,
    steps: [
      up,
      sleeper,
      rule(
        5000,
        'coap',
        '{"trigger":{"udp":{"dstPort":5683}},"action":"respond","answer":{"template":"6045{data:2:2}{count:2}","stateTimeout":"1m"}}',
      ),
      rule(5000, 'stub', '{"trigger":{"icmp":{}},"action":"redirect","redirect":{"stub":"ping"}}'),
      rule(5000, 'up', '{"trigger":{"nbns":{}},"action":"redirect","redirect":{"coordinator":true}}'),
      rule(5000, 'on', '{"trigger":{"tcp":{}},"action":"redirect","redirect":{"host":"02:00:00:00:00:77"}}'),
      { at: 6000, frame: frames.datagram },
      { at: 6001, frame: frames.datagram },
      { at: 70_000, frame: frames.datagram },
      { at: 70_001, frame: frames.echo1 },
      { at: 70_002, frame: frames.nbns1 },
      { at: 70_003, frame: frames.syn },
      { at: 90_000, nothing: true },
    ],
    expect: [
      '6045abcd0000',
      '6045abcd0001',
      '6045abcd0000',
      'redirect ping lan',
      'event/redirect',
      '020000000077',
    ],
  },
  {
    name: 'sleep proxy: a Mac registers, is answered and woken for, over a power cut, until its lease ends',
    jobs: [powerProxyWith({ seed: 1, sleepProxy: { name: 'Gateway' } })],
    steps: [
      up,
      { at: 6000, frame: frames.registration },
      { at: 20_001, frame: frames.arp1 },
      { at: 21_000, reboot: true },
      { at: 21_000, bus: 'up' },
      { at: 40_000, frame: frames.arp1 },
      { at: 41_000, frame: frames.knock },
      { at: 43_000, frame: frames.hostSpeaks },
      { at: 100_000, frame: frames.registration },
      { at: 8_000_000, nothing: true },
    ],
    expect: ['save sleeper/', 'event/registered', 'event/wake', 'event/awake'],
  },
  updateScenario(),
];
