import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Agent } from '../../agent/agent.js';
import { digest, encodeUtf8 } from '../../agent/core/bytes.js';
import { type CborValue, encodeCbor } from '../../agent/message/cbor.js';
import type { Effect } from '../../agent/port/effect.js';
import { powerProxy } from '../../agent/power-proxy/job.js';
import { silenceMs } from '../../agent/power-proxy/presence.js';
import { parseIpv4Address, parseMac } from '../../agent/wire/address.js';
import { arpLength, arpReply, arpRequest, emitArp, parseArp } from '../../agent/wire/arp.js';
import {
  emitEthernet,
  ethernetLength,
  etherTypeArp,
  etherTypeIpv4,
  parseEthernet,
} from '../../agent/wire/ethernet.js';
import { emitIpv4, ipv4MinLength } from '../../agent/wire/ipv4.js';
import { emitTcp, parseTcpFlags, tcpMinLength } from '../../agent/wire/tcp.js';
import type { VlanTag } from '../../agent/wire/vlan.js';
import { parseWakeOnLan, wakeOnLanEtherType } from '../../agent/wire/wol.js';
import { Bench, events, frames, gateway, status } from '../power-proxy/bench.js';

const laptop = parseMac('02:00:00:00:00:02')!;
const desktop = parseMac('3c:22:fb:01:02:03')!;
const everyone = parseMac('ff:ff:ff:ff:ff:ff')!;
const laptopAddress = parseIpv4Address('192.168.1.20')!;
const desktopAddress = parseIpv4Address('192.168.1.10')!;

const sshRule = {
  host: '3c:22:fb:01:02:03',
  trigger: { tcp: { dstPort: 22, flags: 'syn' } },
  action: 'wake',
  timeout: '30s',
};
const arpRule = {
  host: '3c:22:fb:01:02:03',
  trigger: { arp: { operation: 'request', targetAddress: '192.168.1.10' } },
  action: 'respond',
};

function arp(
  operation: number,
  from: Uint8Array,
  sender: Uint8Array,
  target: Uint8Array,
  tags: VlanTag[] = [],
): Uint8Array {
  const header = { dstMac: everyone, srcMac: from, tags, etherType: etherTypeArp };
  const frame = new Uint8Array(Math.max(60, ethernetLength(header) + arpLength));
  emitArp(
    {
      operation,
      senderMac: from,
      senderAddress: sender,
      targetMac: new Uint8Array(6),
      targetAddress: target,
    },
    frame,
    emitEthernet(header, arpLength, frame, 0),
  );
  return frame;
}

function tcp(dstPort: number, flags: string): Uint8Array {
  const frame = new Uint8Array(14 + ipv4MinLength + tcpMinLength);
  const segment = {
    srcPort: 50_000,
    dstPort,
    sequenceNumber: 1,
    acknowledgmentNumber: 0,
    flags: parseTcpFlags(flags)!,
    window: 65_535,
    urgentPointer: 0,
    reserved: 0,
    options: [],
  };
  const packet = {
    dscp: 0,
    ecn: 0,
    identification: 1,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 64,
    protocol: 6,
    srcAddress: laptopAddress,
    dstAddress: desktopAddress,
    options: new Uint8Array(0),
  };
  emitEthernet(
    { dstMac: desktop, srcMac: laptop, tags: [], etherType: etherTypeIpv4 },
    frame.length - 14,
    frame,
    0,
  );
  emitIpv4(packet, tcpMinLength, frame, 14);
  emitTcp(segment, 0, { srcAddress: laptopAddress, dstAddress: desktopAddress }, frame, 14 + ipv4MinLength);
  return frame;
}

test('the rule of the design is accepted within the same instant, and a SYN for the sleeping host wakes it', () => {
  const bench = new Bench();
  const accepted = bench.put(1000, 'ssh-desktop', sshRule)!;
  assert.equal([accepted['status'], accepted['revision'], accepted['hits']], ['accepted', 1, 0]);
  assert.is(accepted['digest'], digest(encodeUtf8(JSON.stringify(sshRule))));
  assert.equal(frames(bench.hear(1500, tcp(80, 'syn'))), []);
  assert.equal(frames(bench.hear(1500, tcp(22, 'syn,ack'))), [], 'only the flag named');
  const effects = bench.hear(2000, tcp(22, 'syn'));
  const [magic] = frames(effects);
  const outer = parseEthernet(magic, 0, magic.length);
  assert.ok(outer.ok);
  assert.is(outer.value.etherType, wakeOnLanEtherType);
  const inner = parseWakeOnLan(outer.value.payload, 0, outer.value.payload.length);
  assert.ok(inner.ok);
  assert.equal([...inner.value.targetMac], [...desktop]);
  assert.equal(events(effects), ['wake']);
  assert.is(status(effects, 'ssh-desktop')?.['hits'], 1);
});

test('the magic packet is repeated every 3 s until the host is heard, and then the proxy lets go', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', { ...sshRule, timeout: undefined });
  bench.hear(1000, tcp(22, 'syn'));
  assert.is(bench.agent.pollAt(), 4000);
  assert.is(frames(bench.settle(4000)).length, 1);
  assert.is(frames(bench.hear(5000, tcp(22, 'syn'))).length, 0, 'a wake is under way');
  assert.equal(events(bench.hear(6000, arp(arpRequest, desktop, desktopAddress, laptopAddress))), ['awake']);
  assert.equal(frames(bench.settle(6000 + silenceMs - 2)), []);
  assert.equal(
    frames(bench.hear(6000 + silenceMs - 1, tcp(22, 'syn'))),
    [],
    'awake hosts answer for themselves',
  );
  bench.settle(6000 + silenceMs);
  assert.equal(frames(bench.hear(6001 + silenceMs, tcp(22, 'syn'))), [], 'it is asked whether it is there');
  let last: Effect[] = [];
  for (let now = 7000 + silenceMs; now <= 6000 + silenceMs + 3000; now += 1000) last = bench.settle(now);
  assert.equal(events(last), ['asleep']);
  assert.is(frames(bench.hear(6000 + silenceMs + 3001, tcp(22, 'syn'))).length, 1, 'silent again');
});

test('a host that is never heard is given up after 45 s with an event, and the next SYN starts over', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', { ...sshRule, timeout: undefined });
  bench.hear(0, tcp(22, 'syn'));
  let sent = 1;
  let told: string[] = [];
  for (let now = 1000; now <= 46_000; now += 1000) {
    const effects = bench.settle(now);
    sent += frames(effects).length;
    told = [...told, ...events(effects)];
  }
  assert.equal([sent, told], [15, ['wake-failed']]);
  assert.is(frames(bench.hear(47_000, tcp(22, 'syn'))).length, 1);
});

test('ARP for a sleeping host is answered with its MAC, on the VLAN of the question, and an answer never', () => {
  const bench = new Bench();
  assert.is(bench.put(0, 'arp', arpRule)?.['status'], 'accepted');
  const tags = [{ tpid: 0x8100, priority: 3, dropEligible: false, vlanId: 7 }];
  const [frame] = frames(bench.hear(1000, arp(arpRequest, laptop, laptopAddress, desktopAddress, tags)));
  const outer = parseEthernet(frame, 0, frame.length);
  assert.ok(outer.ok);
  assert.equal([[...outer.value.dstMac], [...outer.value.srcMac]], [[...laptop], [...gateway]]);
  assert.equal(outer.value.tags, tags);
  const answer = parseArp(outer.value.payload, 0, outer.value.payload.length);
  assert.ok(answer.ok);
  assert.equal(
    [
      answer.value.operation,
      [...answer.value.senderMac],
      [...answer.value.senderAddress],
      [...answer.value.targetMac],
    ],
    [arpReply, [...desktop], [...desktopAddress], [...laptop]],
  );
  assert.equal(frames(bench.hear(1001, arp(arpReply, laptop, laptopAddress, desktopAddress))), []);
  assert.equal(
    frames(bench.hear(1002, arp(arpRequest, laptop, laptopAddress, laptopAddress))),
    [],
    'another address',
  );
  bench.hear(1003, arp(arpRequest, desktop, desktopAddress, desktopAddress));
  assert.equal(
    frames(bench.hear(1004, arp(arpRequest, laptop, laptopAddress, desktopAddress))),
    [],
    'the host is up',
  );
});

test('the highest priority decides, then the id: a drop before the wake keeps the host asleep', () => {
  const bench = new Bench();
  bench.put(0, 'wake', { ...sshRule, timeout: undefined });
  bench.put(0, 'drop', { trigger: { ipv4: { srcAddress: '192.168.1.20' } }, action: 'drop', priority: 101 });
  assert.equal(frames(bench.hear(10, tcp(22, 'syn'))), []);
  assert.is(status(bench.settle(1000), 'drop')?.['hits'], 1, 'a second after the status before');
  bench.put(1020, 'drop', {
    trigger: { ipv4: { srcAddress: '192.168.1.20' } },
    action: 'drop',
    priority: 100,
  });
  assert.is(status(bench.hear(2020, tcp(22, 'syn')), 'drop')?.['hits'], 1, 'drop < wake by id');
  bench.put(3000, 'drop', {
    trigger: { ipv4: { srcAddress: '192.168.1.20' } },
    action: 'drop',
    priority: 99,
  });
  assert.is(frames(bench.hear(3001, tcp(22, 'syn'))).length, 1);
});

test('a bad rule is rejected with the field at fault, and the last good one stays in force', () => {
  const bench = new Bench();
  const good = bench.put(0, 'ssh', { ...sshRule, timeout: undefined })!;
  const bad: [unknown, string, RegExp][] = [
    [{ ...sshRule, trigger: { tcp: { dstPort: 70_000 } } }, 'trigger.tcp.dstPort', /65535/],
    [{ ...sshRule, trigger: { tcp: { dstPort: '22' } } }, 'trigger.tcp.dstPort', /65535/],
    [{ ...sshRule, trigger: { tcp: { dstprt: 22 } } }, 'trigger.tcp.dstprt', /dstPort/],
    [{ ...sshRule, trigger: {} }, 'trigger', /protocol/],
    [{ ...sshRule, action: 'explode' }, 'action', /"wake"/],
    [{ ...sshRule, host: '3c:22:fb' }, 'host', /MAC/],
    [{ ...sshRule, host: '01:00:5e:00:00:fb' }, 'host', /one host/],
    [{ ...sshRule, timeout: '30' }, 'timeout', /unit/],
    [{ ...sshRule, timeout: '0s' }, 'timeout', /duration/],
    [{ ...sshRule, timeout: '999999999999d' }, 'timeout', /duration/],
    [{ ...sshRule, trigger: { tcp: { flags: 'syn,syn' } } }, 'trigger.tcp.flags', /once/],
    [{ ...sshRule, trigger: { ipv4: { srcAddress: '1.2.3.400' } } }, 'trigger.ipv4.srcAddress', /IPv4/],
    [{ ...sshRule, trigger: { ipv6: { dstAddress: '::1::' } } }, 'trigger.ipv6.dstAddress', /IPv6/],
    [{ ...arpRule, responder: 'dhcp' }, 'trigger.timer', /how often/],
    [{ ...sshRule, action: 'redirect' }, 'redirect', /to whom/],
    ['{"host":', '', /JSON or CBOR/],
    ['\u0001', '', /./],
    [`{"x":"${'y'.repeat(5000)}"}`, '', /at most 4096 bytes/],
  ];
  for (const [rule, field, expected] of bad) {
    const rejected = bench.put(1000, 'ssh', rule)!;
    assert.equal(
      [rejected['status'], rejected['field']],
      ['rejected', field],
      JSON.stringify(rule).slice(0, 80),
    );
    assert.match(String(rejected['expected']), expected);
    assert.equal([rejected['inForce'], rejected['revision']], [good['digest'], 1]);
  }
  assert.is(frames(bench.hear(2000, tcp(22, 'syn'))).length, 1, 'the good rule still wakes');
  assert.is(bench.put(3000, 'ssh', sshRule)?.['revision'], 2);
});

test('CBOR is taken as well as JSON', () => {
  const bench = new Bench();
  const payload = encodeCbor(sshRule as unknown as CborValue);
  bench.agent.receive(0, { kind: 'message', topic: 'kith/1/home/gw-1/rule/ssh', payload, retained: true });
  assert.is(status(bench.settle(0), 'ssh')?.['status'], 'accepted');
});

test('a timeout ends the rule, a retained copy does not revive it, and publishing again does', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', sshRule);
  assert.is(bench.agent.pollAt(), 30_000);
  assert.is(status(bench.settle(30_000), 'ssh')?.['status'], 'expired');
  assert.equal(frames(bench.hear(30_001, tcp(22, 'syn'))), []);
  assert.is(bench.put(31_000, 'ssh', sshRule, true)?.['status'], 'expired');
  const again = bench.put(32_000, 'ssh', sshRule)!;
  assert.is(again['status'], 'accepted');
  assert.is(frames(bench.hear(32_001, tcp(22, 'syn'))).length, 1);
});

test('a retained copy of the rule in force changes nothing, not even its timeout or hits', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', sshRule);
  bench.hear(1, tcp(22, 'syn'));
  const copy = bench.put(20_000, 'ssh', sshRule, true)!;
  assert.equal([copy['hits'], copy['revision']], [1, 1]);
  const expired = status(bench.settle(30_000), 'ssh')!;
  assert.equal([expired['status'], expired['hits'], expired['inForce']], ['expired', 1, undefined]);
});

test('removing a rule clears its status and what was saved', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', { ...sshRule, timeout: undefined });
  assert.equal(Object.keys(bench.saved), ['rule/ssh']);
  bench.agent.receive(1, {
    kind: 'message',
    topic: 'kith/1/home/gw-1/rule/ssh',
    payload: new Uint8Array(0),
    retained: false,
  });
  const cleared = bench.settle(1).find(e => e.kind === 'publish' && e.topic.endsWith('/status'));
  assert.ok(cleared?.kind === 'publish' && cleared.payload.length === 0 && cleared.retain);
  assert.equal(bench.saved, {});
  assert.equal(frames(bench.hear(2, tcp(22, 'syn'))), []);
});

test('rules survive a restart with what was left of their timeout at the last save', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', { ...sshRule, timeout: '10m' });
  bench.put(0, 'arp', arpRule);
  for (let now = 0; now <= 120_000; now += 60_000) bench.settle(now);
  const reborn = new Bench(bench.saved);
  assert.is(frames(reborn.hear(10, tcp(22, 'syn'))).length, 1);
  assert.is(frames(reborn.hear(10, arp(arpRequest, laptop, laptopAddress, desktopAddress))).length, 1);
  assert.is(reborn.put(20, 'ssh', { ...sshRule, timeout: '10m' }, true)?.['revision'], 1, 'a known copy');
  assert.is(status(reborn.settle(480_000), 'ssh')?.['status'], 'expired', '600 s less the 120 s saved');
});

test('what an earlier firmware saved and this one cannot read is left aside, counted and logged', () => {
  const saved = {
    'rule/a': new Uint8Array([0xff]),
    'rule/b': encodeCbor({ payload: encodeUtf8('{}'), revision: 1, leftMs: -1 }),
  };
  const agent = new Agent(0, {
    site: 'home',
    node: 'gw-1',
    firmware: 'test 1',
    platform: 'test',
    boot: '00000001',
    links: [],
    jobs: [powerProxy],
    saved,
  });
  const logs: string[] = [];
  for (let effect = agent.outbox.shift(); effect; effect = agent.outbox.shift())
    if (effect.kind === 'log') logs.push(effect.text);
  assert.is(logs.length, 2);
  assert.match(logs[1], 'rule b');
});

test('a rule beyond the limit is rejected, and one is let in when another goes', () => {
  const bench = new Bench();
  for (let i = 0; i < 64; i++) assert.is(bench.put(i, `r${i}`, arpRule)?.['status'], 'accepted');
  const refused = bench.put(100, 'r64', arpRule)!;
  assert.equal([refused['status'], refused['expected']], ['rejected', 'at most 64 rules']);
  bench.put(101, 'r0', '');
  assert.is(bench.put(102, 'r64', arpRule)?.['status'], 'accepted');
});

test('a rule may have any id, also one that every object has a property of', () => {
  const bench = new Bench();
  assert.is(bench.put(0, 'constructor', '{}')?.['status'], 'rejected');
  assert.is(bench.put(1, 'constructor', { ...sshRule, timeout: undefined }, true)?.['status'], 'accepted');
  assert.is(bench.put(2, 'constructor', { ...sshRule, timeout: undefined }, true)?.['revision'], 1);
  assert.is(frames(bench.hear(3, tcp(22, 'syn'))).length, 1);
  assert.is(frames(new Bench(bench.saved).hear(3, tcp(22, 'syn'))).length, 1);
});

test('a rule accepted by an earlier firmware means what it meant: each field with one value', () => {
  const bench = new Bench();
  bench.put(0, 'known', { host: sshRule.host, trigger: { tcp: { dstPort: 1 } }, action: 'drop' });
  for (const trigger of [
    { ethernet: { srcMac: '02:00:00:00:00:02', dstMac: '3C:22:FB:01:02:03', etherType: 0x0800 } },
    { ipv4: { srcAddress: '192.168.1.20', dstAddress: '192.168.1.10', protocol: 6 } },
    { tcp: { srcPort: 50_000, dstPort: 22, flags: 'syn' } },
  ]) {
    assert.is(bench.put(0, 'old', { trigger, action: 'drop' })?.['status'], 'accepted');
    assert.is(status(hearTwice(bench, 2000), 'old')?.['hits'], 2, JSON.stringify(trigger));
  }
});

/** Hears a SYN for the desktop now, and once more after a second, so that the hits are reported. */
function hearTwice(bench: Bench, now: number): Effect[] {
  return [
    ...bench.hear(now, tcp(22, 'syn')),
    ...bench.hear(now, tcp(22, 'syn')),
    ...bench.settle(now + 1000),
  ];
}

test('a default is a rule like any other, and what is narrower goes before it', () => {
  const bench = new Bench();
  bench.put(0, 'rest', { trigger: { any: true }, action: 'drop', priority: 0 });
  bench.put(0, 'remote', {
    ...sshRule,
    trigger: { tcp: { dstPort: [22, '5900-5999'], flags: 'syn' }, ipv4: { srcAddress: '192.168.0.0/16' } },
    timeout: undefined,
  });
  assert.is(frames(bench.hear(10, tcp(80, 'syn'))).length, 0);
  assert.is(frames(bench.hear(20, tcp(5901, 'syn'))).length, 1);
  assert.is(status(bench.settle(1010), 'rest')?.['hits'], 1);
});

test('what is odd about a rule is told in its status, and no more when the other rule has gone', () => {
  const bench = new Bench();
  const ssh = { ...sshRule, timeout: undefined };
  assert.is(bench.put(0, 'ssh', ssh)?.['warnings'], undefined);
  const shadowed = () => [{ kind: 'shadowed', rule: 'all', text: shadow }];
  const shadow = 'it never decides: all comes before it and takes all of its frames';
  const effects = put(bench, 1000, 'all', { trigger: { tcp: {} }, action: 'drop', priority: 200 });
  assert.is(status(effects, 'all')?.['warnings'], undefined);
  assert.equal(
    status(effects, 'ssh')?.['warnings'],
    shadowed(),
    'the status of the other rule is published anew',
  );
  assert.equal(
    bench.put(2000, 'ssh', { ...ssh, action: 'explode' })?.['warnings'],
    shadowed(),
    'of the one in force',
  );
  assert.is(status(put(bench, 3000, 'all', ''), 'ssh')?.['warnings'], undefined);
  const timed = put(bench, 4000, 'all', {
    trigger: { tcp: {} },
    action: 'drop',
    priority: 200,
    timeout: '10s',
  });
  assert.match(JSON.stringify(status(timed, 'ssh')?.['warnings']), /never decides while it is in force/);
  assert.is(status(bench.settle(14_000), 'ssh')?.['warnings'], undefined, 'it has expired');
  const storm = bench.put(15_000, 'any', { ...ssh, trigger: { any: true }, priority: 1 })?.['warnings'];
  assert.match(JSON.stringify(storm), /"storm"/);
});

/** As Bench.put, with all effects. */
function put(bench: Bench, now: number, id: string, rule: unknown): Effect[] {
  const payload = typeof rule === 'string' ? encodeUtf8(rule) : encodeUtf8(JSON.stringify(rule));
  bench.agent.receive(now, {
    kind: 'message',
    topic: `kith/1/home/gw-1/rule/${id}`,
    payload,
    retained: false,
  });
  return bench.settle(now);
}

test('a restarted agent tells of its rules what it told before', () => {
  const bench = new Bench();
  bench.put(0, 'ssh', { ...sshRule, timeout: undefined });
  bench.put(0, 'all', { trigger: { tcp: {} }, action: 'drop', priority: 200 });
  const reborn = new Bench(bench.saved);
  reborn.agent.receive(10, { kind: 'bus-up', sessionPresent: false });
  assert.match(JSON.stringify(status(reborn.settle(10), 'ssh')?.['warnings']), /"shadowed"/);
});

test('a timer wakes the host at each period if it is asleep, on every link, and is counted as a hit', () => {
  const bench = new Bench();
  const backup = { host: sshRule.host, trigger: { timer: { every: '1h' } }, action: 'wake' };
  assert.is(bench.put(1000, 'backup', backup)?.['status'], 'accepted');
  assert.equal(frames(bench.settle(3_600_999)), []);
  assert.is(bench.agent.pollAt(), 3_601_000);
  const effects = bench.settle(3_601_000);
  assert.is(frames(effects).length, 1);
  assert.equal(events(effects), ['wake']);
  assert.is(status(effects, 'backup')?.['hits'], 1);
  bench.hear(3_602_000, arp(arpRequest, desktop, desktopAddress, laptopAddress));
  // It has spoken within 30 s of the second period, so it is awake.
  bench.hear(7_190_000, arp(arpRequest, desktop, desktopAddress, laptopAddress));
  assert.equal(frames(bench.settle(7_201_000)), []);
  for (let now = 7_220_000; now < 7_230_000; now += 1000) bench.settle(now);
  // Nobody polled for three periods: one wake makes up for all, and the periods go on as they were.
  assert.is(frames(bench.settle(18_500_000)).length, 1);
  bench.settle(18_600_000);
  assert.is(bench.agent.pollAt(), 21_601_000);
});

test('a timer that fires once does so once, also over a restart, and publishing it again starts it anew', () => {
  const once = { host: sshRule.host, trigger: { timer: { after: '10m' } }, action: 'wake' };
  const bench = new Bench();
  bench.put(0, 'once', once);
  for (let now = 0; now <= 240_000; now += 60_000) bench.settle(now);
  const reborn = new Bench(bench.saved);
  assert.equal(frames(reborn.settle(359_999)), []);
  assert.is(frames(reborn.settle(360_000)).length, 1, '600 s less the 240 s saved');
  assert.equal(frames(reborn.settle(10_000_000)).length, 0);
  const third = new Bench(reborn.saved);
  assert.equal(frames(third.settle(10_000_000)), [], 'it has fired');
  assert.is(third.put(10_000_000, 'once', once, true)?.['status'], 'accepted', 'a known copy');
  assert.equal(frames(third.settle(11_000_000)), []);
  third.put(11_000_000, 'once', once);
  assert.is(frames(third.settle(11_600_000)).length, 1);
});

test.run();
