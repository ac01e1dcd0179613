import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8, formatHex } from '../../agent/core/bytes.js';
import { ruleDescriptor } from '../../agent/message/received.js';
import type { Effect } from '../../agent/port/effect.js';
import { datagramParts } from '../../agent/power-proxy/datagram-parts.js';
import { everyPart } from '../../agent/power-proxy/job.js';
import { probeCount, probeMs, silenceMs } from '../../agent/power-proxy/presence.js';
import { udpFrame } from '../../agent/power-proxy/respond/frame.js';
import { mdnsAnnouncements } from '../../agent/power-proxy/respond/mdns.js';
import { formatMac } from '../../agent/wire/address.js';
import { parseArp } from '../../agent/wire/arp.js';
import { parseEthernet } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { parseWakeOnLan, wakeOnLanEtherType } from '../../agent/wire/wol.js';
import { Bench, events, eventsNamed, frames, gateway, report } from './bench.js';
import {
  askerAddress,
  hostAddress,
  hostGlobal,
  hostLinkLocal,
  hostMac,
  ip,
  layersOf,
  mac,
  plainHost,
} from './respond-asking.js';
import {
  arpQuestion,
  asks,
  dnsQuery,
  echoQuestion,
  hostName,
  igmpFrame,
  igmpQuery,
  mdnsFrame,
  records,
  satisfies,
  segment,
  solicitation,
  subjects,
  toAll,
  toHost,
} from './respond-subjects.js';
import { officeMac, registration, servingLink } from './sleep-registration.js';

const host = formatMac(hostMac);
const asleep = { mac: host, ipv4: ['192.0.2.10'], names: ['desktop'], state: 'asleep' };
const syn = segment({ dstPort: 22, flags: 2 });
const hostSpeaks = arpQuestion(
  { senderMac: hostMac, senderAddress: hostAddress, targetAddress: askerAddress },
  { ...toAll, link: { name: 'lan', mac: hostMac } },
);

/** A bench with the host declared asleep, from `1000 * probeCount` on. */
function withSleeper(bench = new Bench(), declaration: object = {}): Bench {
  bench.publish(0, 'host/desktop', { ...asleep, ...declaration });
  bench.run(0, 5000);
  return bench;
}

function magicOf(frame: Uint8Array) {
  const ethernet = parseEthernet(frame, 0, frame.length);
  assert.ok(ethernet.ok);
  assert.is(ethernet.value.etherType, wakeOnLanEtherType);
  const { payload, dstMac, tags } = ethernet.value;
  const wake = parseWakeOnLan(payload, 0, payload.length);
  assert.ok(wake.ok);
  return {
    to: formatMac(dstMac),
    tags,
    target: formatMac(wake.value.targetMac),
    password: formatHex(wake.value.password),
  };
}

test('a declared host is probed, then taken for asleep, and its status says what it is and since when', () => {
  const bench = new Bench();
  const first = report(
    bench.publish(10, 'host/desktop', { ...asleep, state: undefined }),
    'host',
    'desktop',
  )!;
  assert.equal([first['status'], first['state'], first['since']], ['accepted', 'falling-asleep', 10]);
  const effects = bench.run(11, 10 + probeCount * probeMs);
  const probes = frames(effects);
  // The first went out at once, with the status.
  assert.is(probes.length, probeCount - 1);
  const probe = parseArp(probes[0], 14, probes[0].length);
  assert.ok(probe.ok);
  assert.equal([...probe.value.senderAddress], [0, 0, 0, 0], 'a probe claims nothing (RFC 5227 §1.1)');
  assert.equal([...probe.value.targetAddress], [...hostAddress]);
  assert.is(formatMac(probes[0].subarray(0, 6)), host, 'it asks the host alone');
  const last = report(effects, 'host', 'desktop')!;
  assert.equal([last['state'], last['since']], ['asleep', 10 + probeCount * probeMs]);
  assert.equal(events(effects), ['asleep']);
});

test('a host that answers a probe, or speaks at any time, is awake, and silence makes it be asked again', () => {
  const bench = new Bench();
  bench.publish(0, 'host/desktop', { ...asleep, state: undefined });
  const awake = report(bench.hear(500, hostSpeaks), 'host', 'desktop')!;
  assert.is(awake['state'], 'awake');
  bench.hear(20_000, hostSpeaks);
  const quiet = bench.run(20_001, 20_000 + silenceMs);
  assert.is(report(quiet, 'host', 'desktop')?.['state'], 'falling-asleep');
  assert.is(frames(quiet).length, 1, 'asked at once');
  const gone = bench.run(20_001 + silenceMs, 20_000 + silenceMs + probeCount * probeMs);
  assert.is(report(gone, 'host', 'desktop')?.['state'], 'asleep');
  const back = bench.hear(100_000, hostSpeaks);
  assert.equal(events(back), ['awake']);
  assert.is(report(back, 'host', 'desktop')?.['state'], 'awake');
});

test('a host that said it goes to sleep may still have frames under way: they only put the probes off', () => {
  const bench = new Bench();
  bench.publish(0, 'host/desktop', asleep);
  assert.equal(events(bench.hear(800, hostSpeaks)), []);
  const still = bench.run(801, 800 + probeCount * probeMs);
  assert.is(report(still, 'host', 'desktop'), undefined);
  assert.is(
    report(bench.run(4000, 800 + (probeCount + 1) * probeMs), 'host', 'desktop')?.['state'],
    'asleep',
  );
});

test('a bad declaration is rejected with the field, and what was declared before stays', () => {
  const bench = withSleeper();
  for (const [bad, field] of [
    [{ ...asleep, mac: '01:00:5e:00:00:01' }, 'mac'],
    [{ ...asleep, ipv4: ['192.0.2.10', '224.0.0.1'] }, 'ipv4[1]'],
    [{ ...asleep, ipv4: ['192.0.2.300'] }, 'ipv4[0]'],
    [{ ...asleep, ipv6: ['::1'] }, 'ipv6[0]'],
    [{ ...asleep, groups: ['10.0.0.1'] }, 'groups[0]'],
    [{ mac: host, services: [{ type: '_ssh._tcp', port: 22 }] }, 'names'],
    [{ ...asleep, services: [{ type: 'ssh', port: 22 }] }, 'services[0].type'],
    [{ ...asleep, password: '010203' }, 'password'],
    [{ ...asleep, colour: 'red' }, 'colour'],
    ['{', ''],
  ] as const) {
    const told = report(bench.publish(6000, 'host/desktop', bad), 'host', 'desktop')!;
    assert.equal([told['status'], told['field']], ['rejected', field], JSON.stringify(bad));
  }
  bench.put(7000, 'arp', { trigger: { arp: {} }, action: 'respond' });
  assert.is(frames(bench.hear(7001, arpQuestion({}))).length, 1, 'it is still answered for');
  const twin = report(bench.publish(7002, 'host/other', asleep), 'host', 'other')!;
  assert.equal([twin['status'], twin['field']], ['rejected', 'mac']);
  assert.match(String(twin['got']), /host\/desktop/);
  bench.publish(8000, 'host/desktop', '');
  assert.equal(frames(bench.hear(8001, arpQuestion({}))), [], 'withdrawn');
  assert.not(Object.keys(bench.saved).some(key => key.startsWith('host/')));
});

test('a rule without a host answers for every host the proxy knows, each for its own address', () => {
  const bench = withSleeper();
  const other = '02:00:00:00:00:77';
  bench.publish(5000, 'host/other', { mac: other, ipv4: ['192.0.2.77'], state: 'asleep' });
  bench.run(5000, 10_000);
  bench.put(10_000, 'all', { trigger: { any: true }, action: 'respond' });
  for (const [address, owner] of [
    [hostAddress, host],
    [ip('192.0.2.77'), other],
  ] as const) {
    const answers = frames(bench.hear(10_001, arpQuestion({ targetAddress: address })));
    assert.is(answers.length, 1);
    assert.is(formatMac(answers[0].subarray(22, 28)), owner);
  }
  assert.equal(
    frames(bench.hear(10_002, arpQuestion({ targetAddress: ip('192.0.2.99') }))),
    [],
    'nobody has it',
  );
  assert.is(bench.proxy.verdict.kind, 'unanswerable');
  assert.is(bench.proxy.verdict.reason, 'not-ours');
});

test('respond without a responder answers each protocol that there is one for, as the host itself would', () => {
  for (const name of ['arp', 'nd', 'echo', 'echoV6', 'mdns', 'llmnr', 'nbns', 'igmp', 'mld', 'ssdp', 'tcp']) {
    const subject = subjects[name];
    let answered = 0;
    for (const question of subject.questions) {
      const bench = withSleeper(new Bench({}, { seed: 1 }));
      bench.put(5000, 'all', { trigger: { any: true }, action: 'respond' });
      const known = bench.proxy.hosts.find(hostMac, 0)!;
      const { connections = [], ...rest } = subject.host;
      Object.assign(known.profile, rest);
      Object.defineProperty(known.profile, 'connections', { get: () => connections });
      const all = frames([...bench.hear(6000, question), ...bench.run(6000, 60_000)]);
      if (all.length > 0) answered++;
      for (const answer of all) subject.satisfies(layersOf(question), layersOf(answer), subject.host);
    }
    assert.ok(answered > 0, `${name}: at least one of its questions is answered`);
  }
});

test('for each host its own first rule decides about a frame to all', () => {
  const bench = withSleeper();
  const other = '02:00:00:00:00:77';
  bench.publish(5000, 'host/other', { mac: other, ipv4: ['192.0.2.77'], state: 'asleep' });
  bench.run(5000, 10_000);
  bench.put(10_000, 'desktop', { host, trigger: { arp: {} }, action: 'drop', priority: 200 });
  bench.put(10_000, 'others', { trigger: { arp: {} }, action: 'wake' });
  const effects = bench.hear(10_001, arpQuestion({}));
  assert.equal(
    eventsNamed(effects, 'wake').map(event => [event['host'], event['packet']]),
    [[other, 'arp 192.0.2.20 > 192.0.2.10']],
  );
});

test('a wake goes to the host first and then to all, in its VLAN, with its password, every 3 s', () => {
  const bench = withSleeper(new Bench(), { vlanId: 7, password: '01020304', ipv4: [] });
  bench.put(5000, 'ssh', { trigger: { tcp: { dstPort: 22, flags: 'syn' } }, action: 'wake' });
  const [first] = frames(bench.hear(6000, syn)).map(magicOf);
  assert.equal(first, {
    to: host,
    tags: [{ tpid: 0x8100, priority: 0, dropEligible: false, vlanId: 7 }],
    target: host,
    password: '01020304',
  });
  const more = frames(bench.run(6001, 50_999)).map(magicOf);
  assert.is(more.length, 14, 'one each 3 s for 45 s');
  assert.ok(more.every(({ to }) => to === 'ff:ff:ff:ff:ff:ff'));
});

test('frames for a host that is being woken are held and handed over once it is up, within the limit', () => {
  const bench = withSleeper();
  bench.put(5000, 'ssh', { trigger: { tcp: { dstPort: 22 } }, action: 'wake' });
  bench.hear(6000, syn);
  for (let i = 0; i < 20; i++) bench.hear(6001 + i, syn);
  const effects = bench.hear(9000, hostSpeaks);
  const handed = frames(effects);
  assert.is(handed.length, bench.proxy.counters.get('held.frames'));
  assert.is(handed.length, 8, 'limits.heldFrames');
  assert.is(bench.proxy.counters.get('held.dropped'), 13);
  for (const frame of handed) assert.equal([...frame], [...syn]);
  assert.equal(frames(bench.hear(9001, hostSpeaks)), [], 'once');
});

test('a host that is never heard is given up, and after the third time in a row the proxy says no more it is there', () => {
  const bench = withSleeper();
  bench.put(5000, 'ssh', { trigger: { tcp: { dstPort: 22 } }, action: 'wake' });
  bench.put(5000, 'arp', { trigger: { arp: {} }, action: 'respond' });
  const told: string[] = [];
  for (let i = 0; i < 3; i++) {
    assert.is(frames(bench.hear(6000 + i * 50_000, arpQuestion({}))).length, 1);
    told.push(...events(bench.hear(6000 + i * 50_000, syn)));
    told.push(...events(bench.run(6001 + i * 50_000, 55_000 + i * 50_000)));
  }
  assert.equal(told, ['wake', 'wake-failed', 'wake', 'wake-failed', 'wake', 'wake-failed', 'gone']);
  assert.equal(frames(bench.hear(200_000, arpQuestion({}))), []);
  assert.is(bench.proxy.counters.get('held.dropped'), 3);
  bench.hear(300_000, hostSpeaks);
  assert.is(bench.proxy.hosts.find(hostMac, 0)?.state, 'awake');
});

test('a host is woken 6 times at once and then every 10 minutes, whoever asks', () => {
  const bench = withSleeper();
  bench.put(5000, 'ssh', { trigger: { tcp: { dstPort: 22 } }, action: 'wake' });
  const wakeAt: number[] = [];
  // It falls asleep again at once each time.
  for (let now = 10_000; now < 3_600_000; now += 10_000) {
    if (events(bench.hear(now, syn)).includes('wake')) wakeAt.push(now);
    bench.hear(now + 1, hostSpeaks);
    bench.publish(now + 2, 'host/desktop', { ...asleep, names: [`n${now}`] });
    bench.run(now + 3, now + 9999);
  }
  assert.equal(wakeAt.slice(0, 6), [10_000, 20_000, 30_000, 40_000, 50_000, 60_000]);
  assert.is(wakeAt.length, 6 + 5, 'and one for each 10 minutes of the hour');
  assert.ok(bench.proxy.counters.get('wakes.limited') > 300);
  assert.is(bench.proxy.verdict.kind, 'host-speaks');
});

test('a request to wake is obeyed, and refused with what was expected', () => {
  const bench = withSleeper();
  const ask = (body: object) => bench.publish(6000, 'request/wake', { transaction: 't', ...body });
  const said = (effects: ReturnType<typeof ask>) =>
    effects.find(effect => effect.kind === 'publish' && effect.topic.endsWith('/response/wake')) !==
    undefined;
  const woken = ask({ host });
  assert.equal([frames(woken).length, events(woken), said(woken)], [1, ['wake'], true]);
  for (const body of [{}, { host: '02:00:00:00:00:99' }]) {
    const refused = ask(body);
    assert.equal([frames(refused).length, said(refused)], [0, true]);
  }
});

test('only a SYN or a datagram to a port where a service is declared is "registered"', () => {
  const bench = withSleeper(new Bench(), { services: [{ type: '_ssh._tcp', port: 22 }] });
  bench.put(5000, 'services', { trigger: { registered: true }, action: 'wake' });
  for (const other of [
    segment({ dstPort: 80, flags: 2 }),
    segment({ dstPort: 22, flags: 16 }),
    echoQuestion(),
  ]) {
    assert.equal(events(bench.hear(6000, other)), []);
    assert.is(bench.proxy.verdict.kind, 'unmatched');
  }
  assert.equal(events(bench.hear(6001, syn)), ['wake']);
});

test('what a declaration says of services is answered over multicast DNS', () => {
  const bench = withSleeper(new Bench(), {
    services: [{ name: 'Desk. top', type: '_ssh._tcp', port: 22, txt: ['a=b'] }],
  });
  bench.put(5000, 'mdns', { trigger: { mdns: {} }, action: 'respond' });
  const browse = mdnsFrame(dnsQuery([asks('_ssh._tcp.local', 12)]));
  const answers = frames([...bench.hear(6000, browse), ...bench.run(6000, 8000)]);
  assert.is(answers.length, 1);
  const text = JSON.stringify(layersOf(answers[0]));
  assert.match(text, /Desk\\\\.\\\\032top/);
  assert.match(text, /desktop\.local/);
  assert.is(frames(bench.hear(9000, mdnsFrame(dnsQuery([asks(hostName, 1)])))).length, 1);
});

test('a frame is sent on to another host, to a program beside the agent, or to the coordinator', () => {
  const bench = withSleeper();
  const standby = '02:00:00:00:00:55';
  const to = (redirect: object) =>
    bench.put(6000, 'r', { trigger: { tcp: { dstPort: 22 } }, action: 'redirect', redirect });
  assert.is(to({ host: standby })?.['status'], 'accepted');
  const [sent] = frames(bench.hear(6001, syn));
  assert.equal(
    [formatMac(sent.subarray(0, 6)), formatMac(sent.subarray(6, 12))],
    [standby, formatMac(gateway)],
  );
  const sentOn = layersOf(sent);
  const before = layersOf(syn);
  assert.is(sentOn['ipv4']['timeToLive'], Number(before['ipv4']['timeToLive']) - 1, 'as a router does');
  assert.equal(sentOn['tcp'], before['tcp']);
  to({ stub: 'honeypot' });
  const stubbed = bench.hear(6002, syn).find(effect => effect.kind === 'redirect');
  assert.ok(stubbed?.kind === 'redirect');
  assert.equal([stubbed.stub, stubbed.link, [...stubbed.frame]], ['honeypot', 'lan', [...syn]]);
  to({ coordinator: true });
  const [event] = eventsNamed(bench.hear(6003, syn), 'redirect');
  assert.equal([event['rule'], event['host'], [...(event['frame'] as Uint8Array)]], ['r', host, [...syn]]);
  let told = 0;
  for (let i = 0; i < 1000; i++) told += eventsNamed(bench.hear(7000 + i, syn), 'redirect').length;
  assert.ok(told <= 8 + 4 + 1 && told >= 4, `a flood does not fill the bus: ${told} events in a second`);
  assert.ok(bench.proxy.counters.get('redirects.limited') > 900);
});

test('a rule answers by its own pattern, with fields of the question and what it keeps', () => {
  const bench = withSleeper();
  const rule = {
    trigger: { udp: { dstPort: 4444 } },
    action: 'respond',
    answer: { template: 'aa{data:1:2}{count:2}{asleep:1}{mac}{ipv4}', stateTimeout: '1m' },
  };
  assert.is(bench.put(5000, 'own', rule)?.['status'], 'accepted');
  const parts = {
    srcAddress: askerAddress,
    dstAddress: hostAddress,
    srcPort: 5555,
    dstPort: 4444,
    timeToLive: 64,
  };
  const ask = (now: number, data: number[], change: object = {}) =>
    frames(bench.hear(now, udpFrame(toHost, { ...parts, ...change }, new Uint8Array(data))));
  const since = bench.proxy.hosts.find(hostMac, 0)!.since;
  const expected = (count: string, now: number) =>
    `aa0203${count}${formatHex(new Uint8Array([Math.floor((now - since) / 1000)]))}3c22fb010203c000020a`;
  const payload = ([answer]: Uint8Array[]) => formatHex(answer.subarray(42));
  assert.is(payload(ask(6000, [1, 2, 3])), expected('0000', 6000));
  assert.is(payload(ask(7000, [9, 2, 3, 4])), expected('0001', 7000));
  assert.equal(ask(7001, [1, 2]), [], 'too short for the fields');
  assert.is(bench.proxy.verdict.reason, 'too-short');
  assert.equal(ask(7002, [1, 2, 3], { srcPort: 4444 }), [], 'two services would go on for ever');
  assert.is(payload(ask(7003, [9, 2, 3, 4])), expected('0002', 7003));
  assert.is(payload(ask(67_003, [9, 2, 3, 4])), expected('0000', 67_003), 'the state has timed out');
  const layers = layersOf(ask(68_000, [1, 2, 3])[0]);
  assert.equal(
    [layers['udp']['srcPort'], layers['udp']['dstPort'], [...(layers['ipv4']['srcAddress'] as Uint8Array)]],
    [4444, 5555, [...hostAddress]],
  );
});

test('one source gets 64 answers at once and 16 a second, many sources together 256 and 64', () => {
  const bench = withSleeper();
  bench.put(5000, 'arp', { trigger: { arp: {} }, action: 'respond' });
  let answered = 0;
  for (let i = 0; i < 2000; i++) answered += frames(bench.hear(6000 + i, arpQuestion({}))).length;
  assert.ok(answered >= 64 + 31 && answered <= 64 + 33, `${answered} of 2000 in 2 s`);
  assert.is(bench.proxy.verdict.kind, 'limited');
  answered = 0;
  for (let i = 0; i < 2000; i++) {
    const from = mac(
      `02:11:00:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}:33`,
    );
    const question = arpQuestion({ senderMac: from }, { ...toAll, link: { name: 'lan', mac: from } });
    answered += frames(bench.hear(100_000 + i, question)).length;
  }
  assert.ok(answered <= 256 + 129, `${answered} of 2000 in 2 s, from as many sources`);
});

test('where frames for others do not come here, the sleeper’s addresses are said to be here until it is back', () => {
  const link = { name: 'lan', mac: gateway, hearsOthers: false };
  const bench = new Bench({}, { links: [link] });
  bench.publish(0, 'host/desktop', { ...asleep, ipv6: ['2001:db8::10'] });
  const announced = frames(bench.run(0, 20_000)).filter(frame => formatMac(frame.subarray(0, 6)) !== host);
  const arps = announced.filter(frame => frame[12] === 8 && frame[13] === 6);
  assert.is(arps.length, 2, 'RFC 5227 §2.3');
  for (const frame of arps) {
    const arp = parseArp(frame, 14, frame.length);
    assert.ok(arp.ok);
    assert.equal(
      [formatMac(arp.value.senderMac), [...arp.value.senderAddress]],
      [formatMac(gateway), [...hostAddress]],
    );
  }
  assert.is(announced.length - arps.length, 3, 'RFC 4861 §10, of the IPv6 address');
  bench.put(20_000, 'ping', { trigger: { any: true }, action: 'respond' });
  const [answer] = frames(bench.hear(20_001, arpQuestion({})));
  assert.is(formatMac(answer.subarray(22, 28)), formatMac(gateway));
  const here = { ...toHost, dstMac: gateway };
  assert.is(
    frames(bench.hear(20_002, echoQuestion({ way: here }))).length,
    1,
    'a frame to the agent’s MAC is his',
  );
  bench.put(20_003, 'ping', { trigger: { any: true }, action: 'wake' });
  bench.hear(20_004, echoQuestion({ way: here }));
  const back = frames(bench.hear(21_000, hostSpeaks));
  const [held] = back.filter(frame => frame[12] === 8 && frame[13] === 0);
  assert.is(formatMac(held.subarray(0, 6)), host, 'what is held goes to its own MAC');
  const corrected = back.filter(frame => frame[12] === 8 && frame[13] === 6);
  assert.is(formatMac(corrected[0].subarray(22, 28)), host, 'and its neighbours hear where it is');
  assert.equal(
    frames(bench.hear(21_001, echoQuestion({ way: here }))),
    [],
    'from now on it is the host’s own affair',
  );
});

test('an address that somebody else claims is defended once, and left to him if he insists (RFC 5227 §2.4)', () => {
  const bench = withSleeper();
  bench.put(5000, 'arp', { trigger: { arp: {} }, action: 'respond' });
  const claim = arpQuestion({ senderAddress: hostAddress, targetAddress: hostAddress });
  const defence = frames(bench.hear(6000, claim));
  assert.is(defence.length, 1);
  const arp = parseArp(defence[0], 14, defence[0].length);
  assert.ok(arp.ok);
  assert.equal([formatMac(arp.value.senderMac), [...arp.value.senderAddress]], [host, [...hostAddress]]);
  const lost = bench.hear(7000, claim);
  assert.equal([frames(lost).length, events(lost)], [0, ['address-conflict']]);
  assert.equal(frames(bench.hear(8000, arpQuestion({}))), [], 'it is no longer answered for');
});

test('what a host said while it was awake is what it is answered with, also after a restart of the agent', () => {
  const bench = new Bench();
  bench.put(0, 'named', { host, trigger: { any: true }, action: 'respond' });
  bench.hear(1000, hostSpeaks);
  for (const frame of mdnsAnnouncements(
    { link: { name: 'lan', mac: hostMac }, tags: [] },
    { ...plainHost, records },
  ))
    bench.hear(1001, frame);
  bench.run(1002, 60_000);
  assert.is(bench.proxy.hosts.find(hostMac, 0)?.state, 'asleep');
  for (const each of [bench, new Bench(bench.saved)]) {
    const question = mdnsFrame(dnsQuery([asks(hostName, 1)]));
    const answers = frames(each.hear(70_000, question));
    assert.is(answers.length, 1);
    satisfies['mdns'](layersOf(question), layersOf(answers[0]), { ...plainHost, records });
    assert.is(frames(each.hear(70_001, arpQuestion({}))).length, 1);
  }
});

test('a Mac that registers is answered for and woken for its services by no rule at all, over a restart, until its lease ends', () => {
  const options = { sleepProxy: { name: 'Gateway' }, links: [servingLink] };
  const bench = new Bench({}, options);
  bench.run(0, 5000);
  const effects = bench.hear(6000, registration(officeMac));
  assert.is(eventsNamed(effects, 'registered').length, 1, JSON.stringify(bench.proxy.verdict));
  const kinds = effects.map(effect => effect.kind);
  assert.ok(kinds.indexOf('save') < kinds.indexOf('transmit'), 'what is acknowledged is saved before');
  bench.run(6001, 20_000);
  const question = arpQuestion({ targetAddress: officeMac.addresses[0] });
  const [own] = bench.proxy.hosts.hosts;
  const service = own.ports.find(({ protocol }) => protocol === 6)!;
  for (const each of [bench, new Bench(bench.saved, options)]) {
    each.run(0, 20_000);
    assert.is(each.proxy.hosts.hosts[0].state, 'asleep');
    assert.is(frames(each.hear(20_001, question)).length, 1);
    const knock = segment({ dstPort: service.port, flags: 2 });
    knock.set(own.mac);
    const woken = each.hear(20_002, knock);
    assert.equal(events(woken), ['wake']);
    assert.is(magicOf(frames(woken)[0]).target, formatMac(own.wakeMac));
    const over = each.run(20_003, 6000 + 7_200_000 + 60_000);
    assert.ok(events(over).includes('registration-ended'));
    assert.is(each.proxy.hosts.hosts.length, 0);
    assert.not(Object.keys(each.saved).some(key => key.startsWith('sleeper/')));
  }
});

test('a registration is over when the Mac is back, and one for an address somebody else has is refused', () => {
  const options = { sleepProxy: { name: 'Gateway' }, links: [servingLink] };
  const bench = new Bench({}, options);
  bench.run(0, 5000);
  bench.publish(5000, 'host/other', { mac: '02:00:00:00:00:77', ipv4: ['192.0.2.77'], state: 'asleep' });
  bench.run(5000, 9000);
  const thief = { ...officeMac, addresses: [ip('192.0.2.77')] };
  assert.is(eventsNamed(bench.hear(9001, registration(thief)), 'registered').length, 0);
  assert.is(bench.proxy.hosts.hosts.length, 1);
  bench.hear(10_000, registration(officeMac));
  bench.run(10_001, 60_000);
  const registered = bench.proxy.hosts.hosts.find(each => each.registeredUntil >= 0)!;
  const back = arpQuestion(
    { senderMac: registered.mac, senderAddress: officeMac.addresses[0], targetAddress: askerAddress },
    { ...toAll, link: { name: 'lan', mac: registered.mac } },
  );
  assert.ok(events(bench.hear(60_001, back)).includes('awake'));
  assert.is(registered.registeredUntil, -1);
  assert.equal(frames(bench.hear(60_002, arpQuestion({ targetAddress: officeMac.addresses[0] }))), []);
});

test('the timer of a keeper renews nothing while the host is awake or has nothing to renew', () => {
  const bench = withSleeper();
  bench.put(5000, 'lease', { trigger: { timer: { every: '1m' } }, action: 'respond', responder: 'dhcp' });
  assert.equal(frames(bench.run(5001, 200_000)), []);
  assert.is(bench.proxy.counters.get('keepers.idle'), 3);
  assert.is(bench.proxy.counters.get('timers.fired'), 3);
});

test('another member’s report of a group hushes the sleeper’s own (RFC 2236 §3)', () => {
  const group = ip('239.1.2.3');
  const bench = withSleeper(new Bench({}, { seed: 2 }), { groups: ['239.1.2.3'] });
  bench.put(5000, 'igmp', { trigger: { any: true }, action: 'respond' });
  const query = igmpFrame(igmpQuery({ version: 2, groupAddress: group }), group);
  bench.hear(6000, query);
  assert.is(bench.proxy.verdict.kind, 'scheduled');
  assert.is(frames(bench.run(6001, 20_000)).length, 1);
  bench.hear(30_000, query);
  bench.hear(
    30_000,
    igmpFrame({ kind: 'report-v2', maxResponseTimeMs: 0, groupAddress: group } as never, group),
  );
  assert.equal(frames(bench.run(30_001, 50_000)), []);
});

test('every kind of frame that a default drops has its verdict, and is counted', () => {
  const bench = withSleeper();
  bench.put(5000, 'rest', { trigger: { any: true }, action: 'drop' });
  for (const frame of [syn, arpQuestion({}), solicitation(hostGlobal), solicitation(hostLinkLocal)]) {
    bench.hear(6000, frame);
    assert.equal({ ...bench.proxy.verdict }, { kind: 'dropped', rule: 'rest', reason: '' });
  }
  assert.is(bench.proxy.counters.get('frames.dropped'), 4);
});

test('a node without a link says of its rules that they cannot work there', () => {
  const bench = new Bench({}, { links: [] });
  const told = bench.put(0, 'arp', { trigger: { arp: {} }, action: 'respond' })!;
  assert.is(told['status'], 'accepted');
  assert.match(JSON.stringify(told['warnings']), /unanswerable.*this node has no link.*cannot respond/);
});

test('who heard a host’s records from the proxy hears a goodbye when the host is gone, and none when it is back', () => {
  for (const isBack of [false, true]) {
    const bench = withSleeper(new Bench(), { services: [{ type: '_ssh._tcp', port: 22 }] });
    bench.put(5000, 'mdns', { trigger: { mdns: {} }, action: 'respond' });
    bench.put(5000, 'ssh', { trigger: { tcp: { dstPort: 22 } }, action: 'wake' });
    assert.is(frames(bench.hear(6000, mdnsFrame(dnsQuery([asks(hostName, 1)])))).length, 1);
    let last: Effect[] = [];
    for (let i = 0; i < 3; i++) {
      bench.hear(10_000 + i * 50_000, syn);
      last =
        isBack && i === 2
          ? bench.hear(110_001, hostSpeaks)
          : bench.run(10_001 + i * 50_000, 59_000 + i * 50_000);
    }
    const goodbyes = frames(last).filter(frame => layersOf(frame)['mdns'] !== undefined);
    assert.is(goodbyes.length, isBack ? 0 : 1);
    for (const goodbye of goodbyes) {
      const text = JSON.stringify(layersOf(goodbye)['mdns']);
      assert.match(text, /"timeToLive":0/);
      assert.not.match(text, /"timeToLive":[1-9]/);
      assert.not.match(text, /_services/, 'others may offer services of the type');
    }
  }
});

test('a rule or a host that the outbox had no room to keep is kept as soon as it has', () => {
  const bench = new Bench();
  const rule = encodeUtf8(JSON.stringify({ trigger: { any: true }, action: 'drop' }));
  const declaration = encodeUtf8(JSON.stringify(asleep));
  const room = bench.agent.outbox.room;
  for (let i = 0; i < room; i++) bench.agent.outbox.push({ kind: 'log', level: 'info', text: `${i}` });
  for (const [topic, payload] of [
    ['rule/rest', rule],
    ['host/desktop', declaration],
  ] as const)
    bench.agent.receive(0, { kind: 'message', topic: `kith/1/home/gw-1/${topic}`, payload, retained: true });
  bench.settle(0);
  assert.ok(bench.saved['rule/rest']);
  assert.equal([...bench.saved['host/desktop']], [...declaration]);
});

test('a node that hears datagrams alone says which rules never match there, and gives up no host it could not have heard', () => {
  const bench = withSleeper(new Bench({}, { links: [{ name: 'lan', mac: gateway, hears: 'datagrams' }] }));
  const warnings = (trigger: object) =>
    JSON.stringify(bench.put(5000, 'r', { trigger, action: 'wake' })?.['warnings'] ?? []);
  assert.match(warnings({ tcp: { dstPort: 22 } }), /unanswerable.*datagrams/);
  assert.not.match(warnings({ udp: { dstPort: 4000 } }), /unanswerable/);
  for (let i = 0; i < 5; i++) {
    bench.publish(10_000 + i * 700_000, 'request/wake', { transaction: 't', host });
    bench.run(10_001 + i * 700_000, 60_000 + i * 700_000);
    assert.is(bench.proxy.hosts.find(hostMac, 0)?.state, 'asleep');
  }
});

test('without a part, a rule that asks for it is refused with what there is, now and after a restart, and nothing else is missed', () => {
  const whole = withSleeper();
  const arp = { trigger: { arp: {} }, action: 'respond', responder: 'arp' };
  assert.is(whole.put(5000, 'arp', arp)?.['status'], 'accepted');
  assert.is(whole.put(5000, 'names', { trigger: { mdns: {} }, action: 'respond' })?.['status'], 'accepted');
  const bench = new Bench(whole.saved, { parts: datagramParts });
  assert.is(bench.proxy.rules().count, 1);
  assert.is(bench.proxy.counters.get('rules.unreadable'), 1);
  const status = bench.put(0, 'arp', arp);
  assert.is(status?.['reason'], 'responder: expected one of mdns, nbns on this node, got arp');
  assert.is(status?.['field'], 'responder');
  const timer = { trigger: { timer: { every: '1m' } }, action: 'respond', responder: 'dhcp' };
  assert.match(String(bench.put(0, 'renew', timer)?.['reason']), /got dhcp$/);
  // Nothing is said of addresses, and the host still counts as asleep.
  bench.run(0, 5000);
  bench.hear(6000, hostSpeaks);
  assert.is(bench.proxy.hosts.find(hostMac, 0)?.state, 'awake');
  assert.equal(frames(bench.run(6000, 2 * silenceMs)), []);
  assert.is(bench.proxy.hosts.find(hostMac, 0)?.state, 'asleep');
  bench.publish(70_000, 'host/desktop', { ...asleep, services: [{ type: '_ssh._tcp', port: 22 }] });
  const browse = mdnsFrame(dnsQuery([asks('_ssh._tcp.local', 12)]));
  assert.is(frames([...bench.hear(70_000, browse), ...bench.run(70_000, 80_000)]).length, 1);
  bench.put(90_000, 'all', { trigger: { any: true }, action: 'respond', priority: 0 });
  assert.equal(frames(bench.hear(90_000, arpQuestion({}))), []);
  assert.is(bench.proxy.verdict.reason, 'not-a-question');
});

test('a sleep proxy that is not among the parts is a fault of the program', () => {
  const make = () => new Bench({}, { parts: datagramParts, sleepProxy: { name: 'Gateway' } });
  assert.throws(make, 'sleepProxy: expected to be among the parts');
});

test('each question is known to its responder and to no other, and all that the contract names are among the parts', () => {
  const { responders, keepers } = everyPart;
  const contract = (ruleDescriptor as unknown as readonly (readonly [string, readonly string[]])[]).find(
    ([name]) => name === 'responder?',
  );
  const names = [...Object.keys(responders), ...Object.keys(keepers)];
  assert.equal(names.sort(), contract?.[1].slice(1).sort());
  const headers = new Headers();
  for (const [name, { questions }] of Object.entries(subjects)) {
    const responder = name === 'echoV6' ? 'echo' : name === 'tcp' ? 'tcp-keepalive' : name;
    for (const question of questions) {
      assert.is(headers.scan(question, 0, question.length), 'ok');
      const knowing = Object.entries(responders).filter(([, part]) => part.isAsked(headers, question));
      assert.equal(
        knowing.map(([knows]) => knows),
        [responder],
        name,
      );
    }
  }
});

test.run();
