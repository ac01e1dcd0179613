/**
 * The replay of a capture against the power proxy: what it sends answers what was asked, tshark reads all of it, and the
 * machines it models sleep, wake and draw power as their header says.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, formatHex, sameBytes } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { Host, Rule } from '../../agent/message/messages.js';
import { etherFrame } from '../../agent/power-proxy/respond/frame.js';
import type { Served } from '../../agent/power-proxy/responder.js';
import { formatAddress, formatMac } from '../../agent/wire/address.js';
import { dnsType } from '../../agent/wire/dns.js';
import { emitWakeOnLan, wakeOnLanLength } from '../../agent/wire/wol.js';
import { dissect, type Layer, linkType } from '../../host-sim/capture/dissect.js';
import { type CapturedFrame, CaptureReader, pcapHeader, pcapRecord } from '../../host-sim/capture/pcap.js';
import { addUsage, desktopPower, PoweredHost } from '../../host-sim/scenario/proxy/energy.js';
import { parseHosts } from '../../host-sim/scenario/proxy/hosts-file.js';
import { type FrameVerdict, ProxyReplay } from '../../host-sim/scenario/proxy/replay.js';
import { parseRules } from '../../host-sim/scenario/proxy/rules-file.js';
import { hostMac, ip, layersOf, mac } from '../power-proxy/respond-asking.js';
import { arpQuestion, echoQuestion, satisfies, segment, toAll } from '../power-proxy/respond-subjects.js';
import { capturePaths, sharedCapturePaths } from '../support/captures.js';
import { needs } from '../support/needs.js';

const hostsOf = (hosts: readonly Host[]) => parseHosts('hosts.json', JSON.stringify(hosts));
const rulesOf = (rules: { readonly [id: string]: Rule }) => parseRules('rules.json', JSON.stringify(rules));

/** Whoever knows the question answers it. */
const answerAll = { all: { trigger: { any: true }, action: 'respond' } } as const;
const sleeperMac = mac('02:00:00:00:00:99');

// biome-ignore lint/suspicious/noExplicitAny: layers are records of anything
type Any = any;

/** Hosts that sleep and have what the frames ask for: one for what goes to groups, and whoever is asked by his MAC. */
function sleepersFor(frames: readonly CapturedFrame[]): Host[] {
  const hosts = new Map<
    string,
    { [key in 'ipv4' | 'ipv6' | 'names' | 'groups']: Set<string> } & { types: Set<string> }
  >();
  for (const { bytes, linkType: link, originalLength } of frames) {
    const { layers, error } = dissect(bytes, link, { originalLength });
    if (error) continue;
    const found: Any = Object.fromEntries(layers.map(layer => [layer.name, layer]));
    const { ethernet, arp, icmp, icmpv6, ndp, mld, igmp, mdns, llmnr, ipv4, ipv6, ppp } = found;
    if (ppp) continue;
    const toGroup = (ethernet.dstMac[0] & 1) === 1;
    const name = formatMac(toGroup ? sleeperMac : ethernet.dstMac);
    const host = hosts.get(name) ?? {
      ipv4: new Set(toGroup ? ['192.0.2.10'] : []),
      ipv6: new Set(toGroup ? ['fe80::99'] : []),
      names: new Set(),
      groups: new Set(),
      types: new Set(),
    };
    if (arp?.operation === 1 && arp.targetAddress[0] > 0) host.ipv4.add(formatAddress(arp.targetAddress));
    if (ndp?.kind === 'neighbor-solicitation') host.ipv6.add(formatAddress(ndp.targetAddress));
    if (icmp?.type === 8) host.ipv4.add(formatAddress(ipv4.dstAddress));
    if (icmpv6?.type === 128) host.ipv6.add(formatAddress(ipv6.dstAddress));
    if (igmp?.kind === 'query') host.groups.add('224.0.0.251');
    if (mld?.kind === 'query') host.groups.add('ff02::fb');
    if (llmnr && !llmnr.isResponse) host.names.add(llmnr.question.name);
    if (mdns && !mdns.isResponse)
      for (const { name: asked, type } of mdns.questions)
        if (type === dnsType.ptr && /^_[^.]+\._(tcp|udp)\.local$/.test(asked)) {
          host.types.add(asked.replace(/\.local$/, ''));
          host.names.add('sleeper');
        }
    // Who is not asked anything is nobody's to stand in for: what he says is the others' questions.
    const isAsked = [
      arp?.operation === 1,
      ndp?.kind === 'neighbor-solicitation',
      icmp?.type === 8,
      icmpv6?.type === 128,
    ];
    if (toGroup || isAsked.includes(true)) hosts.set(name, host);
  }
  return [...hosts].map(([name, { ipv4, ipv6, names, groups, types }]) => ({
    mac: name,
    ipv4: [...ipv4].slice(0, 4),
    ipv6: [...ipv6].slice(0, 8),
    names: [...names].slice(0, 4),
    groups: [...groups],
    services: [...types].slice(0, 16).map(type => ({ type, port: 1234 })),
    state: 'asleep',
  }));
}

function framesIn(path: string): CapturedFrame[] {
  const reader = new CaptureReader(path);
  reader.push(readFileSync(path));
  const frames: CapturedFrame[] = [];
  for (let frame = reader.next(); frame; frame = reader.next()) frames.push(frame);
  return frames;
}

interface Sent {
  readonly timeMs: number;
  readonly frame: Uint8Array;
}

interface Replayed {
  readonly path: string;
  readonly sent: Sent[];
  readonly verdicts: FrameVerdict[];
  /** Which responder each answer is of. */
  readonly answers: string[];
}

/** By the layer an answer has, `satisfies` of respond-subjects.ts. */
function responderOf(layers: { readonly [name: string]: Layer }): string {
  for (const name of ['arp', 'igmp', 'mld', 'mdns', 'llmnr', 'nbns', 'ssdp', 'tcp'])
    if (layers[name]) return name;
  return layers['ndp'] ? 'nd' : layers['icmp'] ? 'echo' : 'echoV6';
}

/**
 * What the proxy asks or says by itself: probes of whether a host sleeps, and the ARP announcement with which it keeps an
 * address that another frame claims (RFC 5227 §2.4 b).
 */
function isUnasked({ arp, ndp, ipv6 }: Any): boolean {
  if (arp?.operation === 1) {
    const isProbe = formatAddress(arp.senderAddress) === '0.0.0.0';
    return isProbe || sameBytes(arp.senderAddress, arp.targetAddress);
  }
  return ndp?.kind === 'neighbor-solicitation' && formatAddress(ipv6.srcAddress) === '::';
}

/** Replays a capture to sleeping hosts that answer everything, and checks that each answer satisfies a question before it. */
function replayAll(path: string): Replayed {
  const frames = framesIn(path);
  const sent: Sent[] = [];
  const hosts = sleepersFor(frames);
  const replay = new ProxyReplay({
    hosts: hostsOf(hosts),
    rules: rulesOf(answerAll),
    sent: (timeMs, frame) => sent.push({ timeMs, frame }),
  });
  const questions: {
    layers: { [name: string]: Layer };
    verdict: FrameVerdict;
    atMs: number;
    count: number;
  }[] = [];
  const verdicts: FrameVerdict[] = [];
  for (const captured of frames) {
    const verdict = replay.frame(captured);
    verdicts.push(verdict);
    if (verdict.verdict !== 'answered' && verdict.verdict !== 'scheduled') continue;
    const layers = { ...layersOf(captured.bytes) };
    const { seconds, nanoseconds } = captured.time!;
    questions.push({ layers, verdict, atMs: seconds * 1000 + nanoseconds / 1e6, count: 0 });
  }
  replay.finish();
  const served: Served[] = hosts.map(host => replay.proxy.hosts.find(mac(host.mac), 0)!.profile);
  const answers: string[] = [];
  for (const { timeMs, frame } of sent) {
    const layers = layersOf(frame);
    if (isUnasked(layers)) continue;
    const name = responderOf(layers);
    const asked = questions.filter(
      question =>
        question.atMs <= timeMs + 0.001 &&
        responderOf(question.layers) === name &&
        served.some(host => satisfies[name](question.layers, layers, host)),
    );
    assert.ok(asked.length > 0, `${basename(path)}: nobody asked for ${formatHex(frame)}`);
    for (const question of asked) question.count++;
    answers.push(name);
  }
  for (const { verdict, count } of questions)
    assert.ok(
      count > 0,
      `${basename(path)} ${verdict.frame}: ${verdict.verdict}, and no answer to it was sent`,
    );
  return { path, sent, verdicts, answers };
}

test('of every capture, all that the proxy sends answers a question that came before it', () => {
  for (const [what, paths] of [
    ['captures', capturePaths()],
    ['originals', sharedCapturePaths()],
  ] as const) {
    const counts: { [name: string]: number } = {};
    const kinds: { [kind: string]: number } = {};
    for (const { answers, verdicts } of paths.map(replayAll)) {
      for (const name of answers) counts[name] = (counts[name] ?? 0) + 1;
      for (const { verdict } of verdicts) kinds[verdict] = (kinds[verdict] ?? 0) + 1;
    }
    console.log(`replay: ${what}: ${JSON.stringify(counts)}, ${JSON.stringify(kinds)}`);
    if (paths.length > 0)
      assert.equal(Object.keys(counts).sort(), ['arp', 'echoV6', 'igmp', 'llmnr', 'mdns', 'nd']);
  }
});

const withTshark = needs('tshark', 'tshark') ? test : test.skip;

withTshark('tshark finds nothing malformed and no wrong checksum in what the proxy sends', () => {
  const sent = capturePaths().flatMap(path => replayAll(path).sent);
  const folder = mkdtempSync(join(tmpdir(), 'kith-replay-'));
  try {
    const path = join(folder, 'out.pcap');
    writeFileSync(
      path,
      concatBytes([pcapHeader(linkType.ethernet), ...sent.map(each => pcapRecord(each.timeMs, each.frame))]),
    );
    const statuses = ['ip', 'udp', 'tcp', 'icmp', 'icmpv6', 'igmp'].map(name => `${name}.checksum.status`);
    const checks = ['tcp', 'udp', 'ip'].flatMap(name => ['-o', `${name}.check_checksum:TRUE`]);
    const fields = ['_ws.malformed', ...statuses];
    const text = execFileSync(
      'tshark',
      [
        '-n',
        '-r',
        path,
        ...checks,
        '-T',
        'fields',
        '-E',
        'separator=|',
        ...fields.flatMap(field => ['-e', field]),
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const lines = text.split('\n').slice(0, -1);
    assert.is(lines.length, sent.length);
    let verified = 0;
    for (const [i, line] of lines.entries()) {
      const [malformed, ...checksums] = line.split('|');
      assert.is(malformed, '', formatHex(sent[i].frame));
      for (const status of checksums) {
        // 1 is right, 0 is wrong, 2 and 3 are neither.
        assert.not.match(status, /0/, formatHex(sent[i].frame));
        if (status === '1') verified++;
      }
    }
    console.log(`replay: tshark: ${sent.length} frames, ${verified} checksums right`);
    assert.ok(sent.length > 15 && verified > 15);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Captured frames at the milliseconds given. */
function captured(frames: readonly (readonly [number, Uint8Array])[]): CapturedFrame[] {
  return frames.map(([ms, bytes], i) => ({
    number: i + 1,
    time: { seconds: 1_700_000_000 + Math.floor(ms / 1000), nanoseconds: (ms % 1000) * 1e6 },
    linkType: linkType.ethernet,
    bytes,
    originalLength: bytes.length,
  }));
}

const syn = segment({ flags: 2, acknowledgmentNumber: 0, options: [] });
const desktop: Host = { mac: formatMac(hostMac), ipv4: ['192.0.2.10'], state: 'asleep' };
const sshRules = rulesOf({
  ssh: { trigger: { tcp: { dstPort: 22, flags: 'syn' } }, action: 'wake' },
  rest: { trigger: { any: true }, action: 'drop', priority: 0 },
});

test('a sleeping host comes up some seconds after its magic packet, says so, and falls asleep again when idle', () => {
  const sent: Sent[] = [];
  const replay = new ProxyReplay({
    hosts: hostsOf([desktop]),
    rules: sshRules,
    idleMs: 60_000,
    sent: (timeMs, frame) => sent.push({ timeMs: timeMs - 1_700_000_000_000, frame }),
  });
  const ends = [0, 10_000, 20_000, 200_000, 300_000];
  const verdicts = captured([
    [ends[0], arpQuestion({})],
    [ends[1], syn],
    [ends[2], echoQuestion()],
    [ends[3], syn],
    [ends[4], arpQuestion({})],
  ]).map(frame => replay.frame(frame));
  assert.equal(
    verdicts.map(({ verdict, rule }) => `${verdict} ${rule}`.trim()),
    // Up at 15 s and awake at 20 s: then the proxy has no say.
    ['dropped rest', 'waking ssh', 'unmatched', 'waking ssh', 'dropped rest'],
  );
  const summary = replay.finish();
  assert.equal(summary.wakes, { started: 2, heard: 2, failed: 0 });
  assert.equal(summary.rules['ssh'].wakes, 2);
  const heard = summary.events.filter(({ name }) => name === 'awake').map(({ atMs }) => atMs);
  assert.equal(heard, [15_000, 205_000]);
  // The packets that woke it are delivered when it is up; neither the ping at 20 s nor the proxy's probes keep it awake:
  // awake 15 … 75 s, suspending … 85 s; then 205 … 265 s, … 275 s. What wakes it takes 5 s each time.
  const [host] = summary.hosts;
  assert.is(host.asleepShare.proxy.toFixed(6), ((10 + 115 + 25) / 300).toFixed(6));
  assert.is(
    summary.energy.proxy.joules.toFixed(3),
    (102 * (5 + 60 + 10 + 5 + 60 + 10) + 1.2 * 150).toFixed(3),
  );
  assert.is(summary.energy['always-on'].joules, 102 * 300);
  assert.is(summary.energy['wol-only'].asleepShare, 1, 'nobody sent a magic packet');
  // The first frame wakes it, what comes until 20 s finds it awake; the two others wake it again.
  assert.is(host.wakes['wake-on-packet'], 3);
  const magic = sent.filter(({ frame }) => frame[12] === 0x08 && frame[13] === 0x42);
  assert.is(magic[0].timeMs, 10_000);
  assert.is(magic.length, summary.sent.magicPackets);
  assert.ok(
    sent.some(({ timeMs, frame }) => timeMs === 15_000 && sameBytes(frame, syn)),
    'the packet that woke it is delivered',
  );
});

const fromHost = arpQuestion(
  { targetAddress: ip('192.0.2.20') },
  { ...toAll, link: { name: 'lan', mac: hostMac } },
);

test('what a sleeping host said in the capture is left out, and of an awake one it is heard', () => {
  const frames = captured([
    [0, fromHost],
    [1_000, arpQuestion({})],
  ]);
  const verdictsOf = (state: 'asleep' | undefined) => {
    const host = { mac: formatMac(hostMac), ipv4: ['192.0.2.10'], ...(state && { state }) };
    const replay = new ProxyReplay({ hosts: hostsOf([host]), rules: rulesOf(answerAll) });
    const verdicts = frames.map(frame => replay.frame(frame).verdict);
    return [...verdicts, replay.finish().hosts[0].wakes['wol-only']];
  };
  assert.equal(verdictsOf('asleep'), ['left-out', 'answered', 0]);
  assert.equal(verdictsOf(undefined), ['host-speaks', 'unmatched', 1]);
});

test('a host of no declared state sleeps until it speaks in the capture, and again when it is idle', () => {
  const { state: _, ...unsaid } = desktop;
  const replay = new ProxyReplay({ hosts: hostsOf([unsaid]), rules: rulesOf(answerAll), idleMs: 120_000 });
  const question = arpQuestion({});
  const verdicts = captured([
    [0, question],
    [10_000, fromHost],
    [60_000, question],
    [129_000, question],
    [200_000, question],
  ]).map(frame => replay.frame(frame).verdict);
  // The proxy probes it after 30 s of silence, and it answers until 140 s.
  assert.equal(verdicts, ['answered', 'host-speaks', 'unmatched', 'unmatched', 'answered']);
  const { hosts } = replay.finish();
  assert.is(hosts[0].asleepShare.proxy, (10 + 200 - 140) / 200);
  const awake = new ProxyReplay({
    hosts: hostsOf([{ ...unsaid, state: 'awake' }]),
    rules: rulesOf(answerAll),
  });
  assert.is(awake.frame(captured([[0, question]])[0]).verdict, 'unmatched');
});

function magicFrame(target: Uint8Array, password: Uint8Array): Uint8Array {
  const wake = { targetMac: target, password };
  return etherFrame(toAll, 0x0842 as Any, wakeOnLanLength(wake), (out, at) => emitWakeOnLan(wake, out, at));
}

test('without a proxy a magic packet for the host wakes it, with the password that SecureOn wants', () => {
  const password = new Uint8Array([1, 2, 3, 4, 5, 6]);
  const host: Host = { ...desktop, password: formatHex(password) };
  const wakes = (frame: Uint8Array) => {
    const replay = new ProxyReplay({ hosts: hostsOf([host]), rules: sshRules });
    for (const one of captured([
      [0, frame],
      [10_000, arpQuestion({})],
    ]))
      replay.frame(one);
    return replay.finish().hosts[0].wakes['wol-only'];
  };
  assert.is(wakes(magicFrame(hostMac, password)), 1);
  assert.is(wakes(magicFrame(hostMac, new Uint8Array(6))), 0);
  assert.is(wakes(magicFrame(sleeperMac, password)), 0);
});

test('frames that are cut short, damaged or of another link are said to be so', () => {
  const [whole] = captured([[0, arpQuestion({})]]);
  const replay = new ProxyReplay({ hosts: hostsOf([desktop]), rules: rulesOf(answerAll) });
  assert.is(replay.frame({ ...whole, originalLength: 1000 }).verdict, 'cut-short');
  assert.is(
    replay.frame({ ...whole, bytes: whole.bytes.subarray(0, 9), originalLength: 9 }).verdict,
    'malformed',
  );
  assert.is(replay.frame({ ...whole, linkType: 113 }).verdict, 'not-ethernet');
});

test('the same seed gives the same frames at the same times', () => {
  const path = capturePaths().find(each => /home-multicast/.test(each))!;
  const run = () => replayAll(path).sent.map(({ timeMs, frame }) => `${timeMs} ${formatHex(frame)}`);
  assert.equal(run(), run());
});

test('a machine spends all its time in some state, and draws at most what it does awake', () => {
  const seed = 20_261_121;
  console.log(`replay: seed ${seed}`);
  const random = new Random(seed, 'energy');
  for (let round = 0; round < 200; round++) {
    const startsAsleep = random.chance(0.5);
    const machine = new PoweredHost(0, startsAsleep, desktopPower, 1 + random.below(200_000));
    let now = 0;
    for (let step = 0; step < 50; step++) {
      now += random.below(60_000);
      const { changesAt } = machine;
      [() => machine.wake(now), () => machine.use(now), () => machine.speak(now), () => machine.advance(now)][
        random.below(4)
      ]();
      assert.ok(machine.changesAt > now, `round ${round}: ${machine.state} since ${changesAt}`);
    }
    const { asleepMs, totalMs, joules } = addUsage([machine.usage()]);
    assert.is(totalMs, now);
    const { awakeWatts, asleepWatts } = desktopPower;
    const expected = (asleepWatts * asleepMs + awakeWatts * (totalMs - asleepMs)) / 1000;
    assert.ok(Math.abs(joules - expected) < 1e-6 * expected, `seed ${seed}, round ${round}`);
  }
});

test('what is wrong in a hosts or rules file is told by file, entry and field', () => {
  const good = { mac: '3c:22:fb:01:02:03' };
  for (const [hosts, error] of [
    ['{}', /^h\.json: expected a list of at most 1000 hosts/],
    ['[', /^h\.json: expected JSON/],
    [[good, { mac: 'x' }], /^h\.json: \[1\]\.mac: expected a MAC address such as .*, got "x"/],
    [[{ ...good, ipv4: ['desk'] }], /^h\.json: \[0\]\.ipv4\[0\]: expected an IPv4 address/],
    [[{ ...good, adress: 1 }], /^h\.json: \[0\]\.adress: /],
    [[good, { mac: '3C:22:FB:01:02:03' }], /^h\.json: \[1\]\.mac: expected another than that of \[0\]/],
  ] as const) {
    const text = typeof hosts === 'string' ? hosts : JSON.stringify(hosts);
    assert.throws(
      () => parseHosts('h.json', text),
      (thrown: Error) => error.test(thrown.message) || assert.unreachable(thrown.message),
    );
  }
  for (const [rules, error] of [
    ['[]', /^r\.json: expected an object of rules by their ids, got a list/],
    ['null', /^r\.json: expected an object of rules by their ids, got null/],
    [{ 'No!': {} }, /^r\.json: expected rule ids of 1 to 32 characters/],
    [
      { ssh: { trigger: { tcp: { dstPort: 'ssh' } }, action: 'wake' } },
      /^r\.json: ssh\.trigger\.tcp\.dstPort: expected .*, got "ssh"/,
    ],
    [{ ssh: 5 }, /^r\.json: ssh: expected /],
  ] as const) {
    const text = typeof rules === 'string' ? rules : JSON.stringify(rules);
    assert.throws(
      () => parseRules('r.json', text),
      (thrown: Error) => error.test(thrown.message) || assert.unreachable(thrown.message),
    );
  }
});

test('what only the agent finds wrong with a host or a rule is told in the same words', () => {
  const bad = rulesOf({ two: { trigger: { timer: { every: '1h' }, tcp: {} }, action: 'wake' } as Rule });
  assert.throws(() => new ProxyReplay({ hosts: [], rules: bad }), /^rules\.json: two\.trigger.*: expected /);
  const group = hostsOf([{ mac: 'ff:ff:ff:ff:ff:ff' }]);
  assert.throws(() => new ProxyReplay({ hosts: group, rules: [] }), /^hosts\.json: \[0\]\.mac: expected /);
});

test.run();
