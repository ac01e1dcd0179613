/** What rules mean: the compiled ones against an interpreter of docs/mqtt.md that shares nothing with them. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { descriptors, type Rule, type TrafficClass } from '../../agent/message/messages.js';
import { validate } from '../../agent/message/schema.js';
import { Fields, field, toBroadcast, toMulticast } from '../../agent/power-proxy/fields.js';
import { type CompiledRule, compileRule, matches, maxBoxes } from '../../agent/power-proxy/rule.js';
import { trafficRows } from '../../agent/power-proxy/traffic-class.js';
import { Headers } from '../../agent/wire/headers.js';
import { hosts, isMeant, randomFrame, randomRule } from './random-rules.js';

const headers = new Headers();
const fields = new Fields();

function compile(rule: unknown): CompiledRule {
  const problem = validate(descriptors.rule, rule);
  assert.is(problem, undefined, JSON.stringify({ problem, rule }));
  const compiled = compileRule('r', rule as Rule);
  assert.ok(compiled.ok, JSON.stringify(compiled));
  return compiled.value;
}

const drop = (trigger: unknown) => compile({ trigger, action: 'drop' });

function read(bytes: Uint8Array): Fields {
  assert.is(headers.scan(bytes, 0, bytes.length), 'ok');
  fields.read(bytes, headers, true);
  return fields;
}

test('a random rule takes exactly the random frames that its words mean', () => {
  const seed = 11;
  const random = new Random(seed, 'rule');
  let hits = 0;
  for (let i = 0; i < 1500; i++) {
    let rule = randomRule(random);
    while (rule.trigger.class || rule.trigger.payload) rule = randomRule(random);
    const compiled = compile(rule);
    for (let j = 0; j < 150; j++) {
      const { words, bytes } = randomFrame(random);
      const is = matches(compiled, read(bytes));
      if (is) hits++;
      if (is !== isMeant(rule, words))
        assert.unreachable(`seed ${seed}: ${is} for ${JSON.stringify({ rule, words })}`);
    }
  }
  assert.ok(hits > 10_000 && hits < 100_000, `${hits} hits say little`);
});

test('a class takes what one of its rows takes, and each row stands in one class', () => {
  const random = new Random(12, 'class');
  const classes: TrafficClass[] = ['dont-wake', 'dont-ignore', 'policy-dependent'];
  const compiled = classes.map(name => drop({ class: name }));
  const both = drop({ class: ['dont-wake', 'dont-ignore'] });
  const narrowed = drop({ class: 'dont-ignore', ethernet: { cast: 'broadcast' } });
  const counts = [0, 0, 0];
  for (let i = 0; i < 20_000; i++) {
    const { words, bytes } = randomFrame(random);
    read(bytes);
    const rows = trafficRows.filter(row => isMeant({ trigger: row.trigger, action: 'drop' }, words));
    const is = compiled.map(rule => matches(rule, fields));
    assert.equal(
      is,
      classes.map(name => rows.some(row => row.class === name)),
      JSON.stringify(words),
    );
    is.forEach((value, index) => {
      if (value) counts[index]++;
    });
    assert.is(matches(both, fields), is[0] || is[1]);
    assert.is(matches(narrowed, fields), is[1] && words.dstMac === 'ff:ff:ff:ff:ff:ff');
    // A ping or a segment of TCP goes to a port or a type that no other row has.
    assert.ok(new Set(rows.map(row => row.class)).size <= 1, JSON.stringify({ words, rows }));
  }
  assert.ok(counts[0] > 1000 && counts[1] > 1000 && counts[2] > 1000, `${counts}`);
});

/** A frame from hex; the IPv4 header's checksum is right. */
const syn = parseHex(
  '02000000000202000000000108004500002c000140004006b75cc0a80114c0a8010ac3500016000000010000000060022000000000000204ffff',
)!;

test('a pattern of bytes is compared under its mask, from where it says, and never beyond the packet', () => {
  for (const [payload, expected] of [
    [{ from: 'frame', bytes: '020000000002' }, true],
    [{ from: 'frame', offset: 12, bytes: '0800' }, true],
    [{ from: 'frame', offset: 12, bytes: '0801' }, false],
    [{ from: 'frame', offset: 12, bytes: '0801', mask: 'fffe' }, true],
    [{ from: 'frame', offset: 12, bytes: 'ffff', mask: '0000' }, true],
    [{ from: 'network', bytes: '45' }, true],
    [{ from: 'network', offset: 12, bytes: 'c0a80114c0a8010a' }, true],
    [{ from: 'transport', bytes: 'c3500016' }, true],
    [{ from: 'transport', offset: 2, bytes: '0016', mask: '00ff' }, true],
    [{ from: 'transport', offset: 20, bytes: '0204ffff' }, true],
    [{ from: 'transport', offset: 21, bytes: '04ffff00' }, false],
    // The header of 24 bytes takes the option in: TCP carries nothing.
    [{ bytes: '02' }, false],
    [{ from: 'data', offset: 60_000, bytes: '02' }, false],
  ] as const)
    assert.is(matches(drop({ payload }), read(syn)), expected, JSON.stringify(payload));
  const padded = new Uint8Array(64);
  padded.set(syn);
  assert.is(
    matches(drop({ payload: { from: 'network', offset: 44, bytes: '00' } }), read(padded)),
    false,
    'padding',
  );
  assert.is(matches(drop({ payload: { from: 'frame', offset: 63, bytes: '00' } }), read(padded)), true);
  for (let i = 0; i < 50; i++) {
    const { words, bytes } = randomFrame(new Random(i, 'pattern'));
    if (words.ip) continue;
    assert.is(matches(drop({ payload: { from: 'transport', bytes: '00', mask: '00' } }), read(bytes)), false);
    assert.is(matches(drop({ payload: { from: 'network', bytes: '00', mask: '00' } }), read(bytes)), true);
  }
});

/** A UDP datagram to a port, with so many questions announced and these bytes behind the header of the message. */
function query(port: number, flags: number, count: number, hex: string): Uint8Array {
  const body = parseHex(hex)!;
  const frame = new Uint8Array(14 + 40 + 8 + 12 + body.length);
  const length = 8 + 12 + body.length;
  frame.set(parseHex('3333000000fb02000000000186dd60000000')!);
  frame.set([length >>> 8, length & 255, 17, 255], 18);
  frame.set(
    [
      0x14,
      0xe9,
      port >>> 8,
      port & 255,
      length >>> 8,
      length & 255,
      0,
      0,
      0,
      1,
      flags >>> 8,
      flags & 255,
      0,
      count,
    ],
    54,
  );
  frame.set(body, 74);
  return frame;
}

test('only a well-formed query asks for a name, with labels compared and pointers followed as in dns.ts', () => {
  const desktop = '076465736b746f70056c6f63616c00';
  const asked = `${desktop}00010001`;
  const is = (rule: unknown, frame: Uint8Array) => matches(drop(rule), read(frame));
  const named = { mdns: { name: 'Desktop.LOCAL', type: 'a' } };
  assert.ok(is(named, query(5353, 0, 1, asked)));
  assert.ok(is(named, query(5353, 0, 1, asked.toUpperCase())));
  assert.ok(
    is(named, query(5353, 0, 1, `074465536b746f70054c6f63616c0000018001`)),
    'the QU bit is the class’s',
  );
  assert.not(is(named, query(5353, 0x8400, 1, asked)), 'a response');
  assert.not(is(named, query(5353, 0x2800, 1, asked)), 'an update');
  assert.not(is(named, query(5355, 0, 1, asked)), 'another service');
  assert.ok(is({ llmnr: { name: 'desktop.local' } }, query(5355, 0, 1, asked)));
  assert.not(is({ mdns: { name: 'desktop.local', type: ['aaaa', 28] } }, query(5353, 0, 1, asked)));
  assert.ok(is({ mdns: {} }, query(5353, 0x8400, 1, 'ff')), 'without a name any packet will do');
  // 0xc00c: the first name; 0xc014: its second label.
  const second = `0161056c6f63616c0000010001${desktop}00010001`;
  assert.ok(is(named, query(5353, 0, 2, second)));
  assert.ok(is({ mdns: { name: '*.local' } }, query(5353, 0, 1, asked)));
  assert.not(is({ mdns: { name: '*.desktop.local' } }, query(5353, 0, 1, asked)));
  assert.ok(is({ mdns: { name: 'a.local' } }, query(5353, 0, 2, `${asked}0161c01400010001`)));
  assert.ok(
    is({ mdns: { name: '*.local' } }, query(5353, 0, 2, `0000010001${desktop}00010001`)),
    'the root is below none',
  );
  for (const [what, count, hex] of [
    ['fewer questions than announced', 2, asked],
    ['more questions than anybody asks', 33, asked.repeat(33)],
    ['no type', 1, desktop],
    ['no end', 1, desktop.slice(0, -2)],
    ['a pointer to itself', 1, 'c00c00010001'],
    ['a pointer forward', 1, 'c010000100010000'],
    ['a pointer into the header', 1, '0161c00400010001'],
    ['a pointer cut off', 1, '0161c0'],
    ['a label of 64 bytes', 1, `40${'61'.repeat(64)}0000010001`],
    ['a name of 256 bytes', 1, `${`3f${'61'.repeat(63)}`.repeat(4)}0000010001`],
  ] as const) {
    assert.not(is({ mdns: { type: '0-65535' } }, query(5353, 0, count, hex)), what);
    assert.ok(is({ mdns: {} }, query(5353, 0, count, hex)), what);
  }
  const netbios = (text: string) => `20${Buffer.from(text).toString('hex')}0000200001`;
  // "DESKTOP" and blanks, with suffix 0x20, and "*" and zeros with suffix 0.
  const workstation = netbios('EEEFFDELFEEPFACACACACACACACACACA');
  assert.ok(is({ nbns: { name: 'desktop', type: 'nb' } }, query(137, 0x0110, 1, workstation)));
  assert.not(is({ nbns: { name: 'DESK' } }, query(137, 0x0110, 1, workstation)));
  assert.ok(is({ nbns: { name: '*' } }, query(137, 0, 1, netbios(`CK${'A'.repeat(30)}`))));
  assert.not(is({ nbns: { name: 'desktop' } }, query(137, 0x2910, 1, workstation)), 'a registration');
});

test('a rule of the right shape with a value that makes no sense is refused, and the field at fault named', () => {
  const rule = (trigger: unknown) => ({ trigger, action: 'drop' });
  const host = hosts[0];
  const many = Array.from({ length: 16 }, (_, i) => `fe80::${i}`);
  for (const [bad, field, expected, got] of [
    [rule({}), 'trigger', /protocol/, 'an empty map'],
    [rule({ tcp: { dstPort: '80-22' } }), 'trigger.tcp.dstPort', /low to high within 0..65535/, '"80-22"'],
    [rule({ tcp: { dstPort: [1, '1-70000'] } }), 'trigger.tcp.dstPort', /0..65535/, '"1-70000"'],
    [rule({ ipv4: { dscp: '60-64' } }), 'trigger.ipv4.dscp', /0..63/, '"60-64"'],
    [rule({ ethernet: { vlanId: '1-4095' } }), 'trigger.ethernet.vlanId', /0..4094/, '"1-4095"'],
    [
      rule({ ipv4: { srcAddress: '192.168.1.0/33' } }),
      'trigger.ipv4.srcAddress',
      /0 to 32 bits/,
      '"192.168.1.0/33"',
    ],
    [
      rule({ ipv4: { srcAddress: '192.168.1.1/24' } }),
      'trigger.ipv4.srcAddress',
      /no bits set behind the first 24/,
      '"192.168.1.1/24"',
    ],
    [
      rule({ ipv4: { srcAddress: ['10.0.0.1', '10.0.0.256'] } }),
      'trigger.ipv4.srcAddress',
      /IPv4/,
      '"10.0.0.256"',
    ],
    [
      rule({ ipv6: { dstAddress: ['::1', 'fe80::/129'] } }),
      'trigger.ipv6.dstAddress',
      /0 to 128 bits/,
      '"fe80::/129"',
    ],
    [rule({ ipv6: { dstAddress: 'fe80:' } }), 'trigger.ipv6.dstAddress', /IPv6/, '"fe80:"'],
    [
      rule({ ethernet: { srcMac: '3c:22:fb:01:02:03/49' } }),
      'trigger.ethernet.srcMac',
      /0 to 48 bits/,
      '"3c:22:fb:01:02:03/49"',
    ],
    [
      rule({ ethernet: { dstMac: '3c:22:fb:01:02:03/24' } }),
      'trigger.ethernet.dstMac',
      /behind the first 24/,
      '"3c:22:fb:01:02:03/24"',
    ],
    [rule({ ipv6: { srcAddress: many, dstAddress: many } }), 'trigger', /at most 64 combinations/, '256'],
    [rule({ tcp: { flags: ['syn', 'ack,ack'] } }), 'trigger.tcp.flags', /once/, '"ack,ack"'],
    [rule({ mdns: { name: 'a..b' } }), 'trigger.mdns.name', /labels/, '"a..b"'],
    [rule({ mdns: { name: 'desktop.local.' } }), 'trigger.mdns.name', /labels/, '"desktop.local."'],
    [rule({ dns: { name: ['a', `${'x'.repeat(64)}.b`] } }), 'trigger.dns.name', /63/, `"${'x'.repeat(50)}"`],
    [rule({ nbns: { name: 'é' } }), 'trigger.nbns.name', /ASCII/, '"é"'],
    [rule({ payload: { bytes: '0102', mask: 'ff' } }), 'trigger.payload.mask', /2 bytes/, '1'],
    [rule({ timer: { every: '1h' } }), 'action', /wake/, '"drop"'],
    [{ host, trigger: { timer: { every: '1h' } }, action: 'respond' }, 'responder', /dhcp/, 'nothing'],
    [
      { trigger: { timer: { every: '1h' } }, action: 'respond', responder: 'arp' },
      'responder',
      /nat-keepalive/,
      '"arp"',
    ],
    [{ trigger: { udp: {} }, action: 'respond', responder: 'dhcp' }, 'trigger.timer', /how often/, 'nothing'],
    [{ trigger: { any: true }, action: 'wake', responder: 'arp' }, 'responder', /respond/, 'action "wake"'],
    [
      { trigger: { any: true }, action: 'drop', answer: { template: '00' } },
      'answer',
      /respond/,
      'action "drop"',
    ],
    [
      { trigger: { any: true }, action: 'wake', redirect: { coordinator: true } },
      'redirect',
      /"redirect"/,
      'action "wake"',
    ],
    [{ trigger: { any: true }, action: 'redirect' }, 'redirect', /to whom/, 'nothing'],
    [{ trigger: { any: true }, action: 'redirect', redirect: {} }, 'redirect', /one of/, '0 of them'],
    [
      { trigger: { any: true }, action: 'redirect', redirect: { host: '02:00:00:00:00:01', stub: 'x' } },
      'redirect',
      /one of/,
      '2 of them',
    ],
    [
      { trigger: { any: true }, action: 'redirect', redirect: { host: 'ff:ff:ff:ff:ff:ff' } },
      'redirect.host',
      /one host/,
      'the group address ff:ff:ff:ff:ff:ff',
    ],
    [
      { trigger: { any: true }, action: 'respond', answer: { template: '00' } },
      'trigger.udp.dstPort',
      /port/,
      'nothing',
    ],
    [
      { trigger: { udp: { dstPort: 9 } }, action: 'respond', responder: 'snmp', answer: { template: '00' } },
      'responder',
      /beside/,
      '"snmp"',
    ],
    ...[
      '0',
      '0g',
      '{data:0}',
      '{data:0:0}',
      '{count:5}',
      '{count}',
      '{ipv6}',
      '00{count:1',
      '{data:0:12345}',
    ].map(
      template =>
        [
          { trigger: { udp: { dstPort: 9 } }, action: 'respond', answer: { template } },
          'answer.template',
          /hex digits and the fields/,
          /"/,
        ] as const,
    ),
    [
      { trigger: { udp: { dstPort: 9 } }, action: 'respond', answer: { template: '{data:0:513}' } },
      'answer.template',
      /512 bytes/,
      '513',
    ],
    [
      {
        trigger: { udp: { dstPort: 9 } },
        action: 'respond',
        answer: { template: '00', stateTimeout: '0s' },
      },
      'answer.stateTimeout',
      /duration/,
      '"0s"',
    ],
    [{ host, trigger: { timer: {} }, action: 'wake' }, 'trigger.timer', /either/, 'neither'],
    [
      { host, trigger: { timer: { every: '1h', after: '1h' } }, action: 'wake' },
      'trigger.timer',
      /either/,
      'both',
    ],
    [
      { host, trigger: { timer: { every: '999ms' } }, action: 'wake' },
      'trigger.timer.every',
      /1s/,
      '"999ms"',
    ],
    [
      { host, trigger: { timer: { after: '4000d' } }, action: 'wake' },
      'trigger.timer.after',
      /3650d/,
      '"4000d"',
    ],
    [
      { host, trigger: { timer: { after: '1h' }, tcp: {} }, action: 'wake' },
      'trigger.tcp',
      /beside a timer/,
      'a match',
    ],
  ] as const) {
    const text = JSON.stringify(bad);
    assert.is(validate(descriptors.rule, bad), undefined, text);
    const compiled = compileRule('r', bad as unknown as Rule);
    if (compiled.ok) assert.unreachable(`accepted: ${text}`);
    else {
      assert.is(compiled.problem.field, field, text);
      assert.match(compiled.problem.expected, expected, text);
      if (typeof got === 'string') assert.is(compiled.problem.got, got, text);
      else assert.match(compiled.problem.got, got, text);
    }
  }
});

test('every pair of the sets that a rule has is kept apart: IPv6 addresses make boxes, everything else one', () => {
  assert.is(
    drop({ ipv6: { srcAddress: ['fe80::/10', '2001:db8::/64'], dstAddress: ['::1', '::2', '::3'] } }).boxes
      .length,
    6,
  );
  assert.is(
    drop({
      tcp: { dstPort: [80, '22-25', 443, 24], flags: ['syn', 'rst'] },
      ipv4: { srcAddress: ['10.0.0.0/8', '0.0.0.0/0'] },
    }).boxes.length,
    1,
  );
  const [box] = drop({ tcp: { dstPort: [80, '22-25', 443, 24, 26] } }).boxes;
  assert.equal(box.tests.find(test => test.field === field.dstPort)?.spans, [22, 26, 80, 80, 443, 443]);
  const many = Array.from({ length: 8 }, (_, i) => `fe80::${i}`);
  assert.is(drop({ ipv6: { srcAddress: many, dstAddress: many } }).boxes.length, maxBoxes);
  const [any] = drop({ any: true }).boxes;
  assert.equal([any.mask, any.tests], [0, []]);
  const [forHost] = compile({ host: hosts[3], trigger: { any: true }, action: 'wake' }).boxes;
  assert.equal(forHost.tests[0].spans, [0x020000000009, 0x020000000009, toMulticast, toBroadcast]);
  assert.equal(drop({ tcp: {}, udp: {} }).boxes, [], 'no frame has both');
  for (const inside of [{ ipv4: {} }, { ipv6: {} }, { tcp: {} }])
    assert.is(drop({ ethernet: { etherType: 0x8864 }, ...inside }).boxes.length, 1, 'in a PPPoE session');
  assert.equal(
    drop({ ethernet: { cast: 'unicast', dstMac: 'ff:ff:ff:ff:ff:ff' } }).boxes,
    [],
    'it is a group',
  );
});

test('the flags that SYN alone means are one span, and every combination of named flags is what it was', () => {
  const spans = drop({ tcp: { flags: 'syn' } }).boxes[0].tests.find(
    test => test.field === field.tcpFlags,
  )?.spans;
  assert.is(spans?.length, 2);
  const frame = new Uint8Array(syn);
  for (const [named, bits] of [
    ['syn', 0x02],
    ['syn,ack', 0x12],
    ['psh,ack', 0x18],
    ['fin', 0x01],
    ['urg', 0x20],
    ['cwr,ece,syn', 0xc2],
  ] as const) {
    const rule = drop({ tcp: { flags: named } });
    for (let flags = 0; flags < 256; flags++) {
      frame[47] = flags;
      assert.is(matches(rule, read(frame)), (flags & (0x17 | bits)) === bits, `${named} ${flags}`);
    }
  }
});

test.run();
