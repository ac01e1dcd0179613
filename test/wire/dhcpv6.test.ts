import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes } from '../../agent/core/bytes.js';
import { parseAddress } from '../../agent/wire/address.js';
import {
  type Dhcpv6,
  type Dhcpv6Option,
  dhcpv6ClientPort,
  dhcpv6Group,
  dhcpv6Length,
  dhcpv6MessageType,
  dhcpv6OptionLimit,
  dhcpv6ServerPort,
  emitDhcpv6,
  parseDhcpv6,
} from '../../agent/wire/dhcpv6.js';
import { checkMirror, checkMutations, emitted, sizedCodec } from './mutations.js';
import { bytesOf, checkCodec, refusal } from './vectors.js';

const codec = sizedCodec<Dhcpv6>(parseDhcpv6, dhcpv6Length, emitDhcpv6);
const clientDuid = bytesOf('00030001cc050e880000');
const serverDuid = bytesOf('00030001ca010e880008');

/** pppoe.pcap, frame 36 */
const solicit = bytesOf(`
  01 fc24ab
  0008 0002 05e9                                    # elapsed 15.13 s
  0001 000a 00030001cc050e880000                    # client identifier
  0006 0006 0019 0017 0018                          # wants prefixes, DNS servers, domain list
  0019 000c 00090001 00000000 00000000              # IA_PD without wishes`);

/** pppoe.pcap, frame 39 */
const reply = bytesOf(`
  07 fcf776
  0002 000a 00030001ca010e880008                    # server identifier
  0001 000a 00030001cc050e880000
  0018 000f 04 69707636 04 74657374 03 636f6d 00    # domain list: ipv6.test.com
  0019 0029 00090001 0000003e 0000007a              # IA_PD, T1 62 s, T2 122 s
    001a 0019 0000007d 0000007d 38 fc000000000201000000000000000000   # fc00:0:2:100::/56 for 125 s`);

test('a request for a prefix and the reply to it go both ways (pppoe.pcap, frames 36 and 39)', () => {
  const solicitation: Dhcpv6 = {
    kind: 'message',
    messageType: dhcpv6MessageType.solicit,
    transactionId: 0xfc24ab,
    options: [
      { kind: 'elapsed-time', elapsedHundredths: 1513 },
      { kind: 'client-identifier', duid: clientDuid },
      { kind: 'option-request', codes: [25, 23, 24] },
      { kind: 'ia-pd', iaid: 0x90001, t1Seconds: 0, t2Seconds: 0, options: [] },
    ],
  };
  assert.equal(checkOptions(solicit, [4, 10, 24, 34]), solicitation);
  assert.equal(checkOptions(reply, [4, 18, 32, 51]), {
    kind: 'message',
    messageType: dhcpv6MessageType.reply,
    transactionId: 0xfcf776,
    options: [
      { kind: 'server-identifier', duid: serverDuid },
      { kind: 'client-identifier', duid: clientDuid },
      { kind: 'domain-list', names: ['ipv6.test.com'] },
      {
        kind: 'ia-pd',
        iaid: 0x90001,
        t1Seconds: 62,
        t2Seconds: 122,
        options: [
          {
            kind: 'ia-prefix',
            preferredLifetimeSeconds: 125,
            validLifetimeSeconds: 125,
            prefixLength: 56,
            prefixAddress: bytesOf('fc000000000201000000000000000000'),
            options: [],
          },
        ],
      },
    ],
  });
});

/** Checks the codec; cut between two options, where `ends` are, a message is a shorter one, and anywhere else refused. */
function checkOptions(vector: Uint8Array, ends: readonly number[]): Dhcpv6 {
  for (let length = 0; length < vector.length; length++)
    assert.is(
      refusal(codec, vector.subarray(0, length)),
      ends.includes(length) ? 'ok' : 'truncated',
      `${length}`,
    );
  return checkCodec(codec, vector, ends[0]);
}

/** A reply of these options. */
function replyOf(options: string): Uint8Array {
  return concatBytes([bytesOf('07 000001'), bytesOf(options)]);
}

test('addresses, statuses and the options of a server go both ways (RFC 8415 §21, RFC 3646)', () => {
  const address = bytesOf('20010db8000000000000000000000005');
  const options: Dhcpv6Option[] = [
    { kind: 'preference', preference: 255 },
    { kind: 'rapid-commit' },
    { kind: 'dns-servers', addresses: [address, bytesOf('fe800000000000000000000000000001')] },
    { kind: 'domain-list', names: ['lan', 'home.arpa', '.'] },
    {
      kind: 'ia-na',
      iaid: 1,
      t1Seconds: 0xffffffff,
      t2Seconds: 0xffffffff,
      options: [
        {
          kind: 'ia-address',
          address,
          preferredLifetimeSeconds: 3600,
          validLifetimeSeconds: 7200,
          options: [{ kind: 'status-code', statusCode: 2, text: 'weg für immer' }],
        },
      ],
    },
    { kind: 'ia-ta', iaid: 2, options: [{ kind: 'status-code', statusCode: 0, text: '' }] },
    { kind: 'raw', code: 82, data: bytesOf('00000e10') },
  ];
  const value: Dhcpv6 = { kind: 'message', messageType: dhcpv6MessageType.reply, transactionId: 1, options };
  const bytes = emitted(codec, value);
  assert.equal(
    bytes,
    replyOf(`
      0007 0001 ff  000e 0000
      0017 0020 20010db8000000000000000000000005 fe800000000000000000000000000001
      0018 0011 036c616e00 04686f6d650461727061 00 00
      0003 003c 00000001 ffffffff ffffffff
        0005 002c 20010db8000000000000000000000005 00000e10 00001c20
          000d 0010 0002 7765672066c3bc7220696d6d6572
      0004 000a 00000002 000d 0002 0000
      0052 0004 00000e10`),
  );
  assert.equal(checkCodec(codec, bytes, 4), value);
});

test('relay messages carry a message as bytes, with both addresses before it (RFC 8415 §9)', () => {
  const vector = concatBytes([
    bytesOf(`
      0c 01 20010db8000000000000000000000001 fe800000000000000000000000000002
      0012 0004 65746830                              # interface identifier, raw
      0009 0032`),
    solicit,
  ]);
  const value = checkCodec(codec, vector, 34);
  assert.is(value.kind, 'relay-forward');
  assert.equal(value.options[1], { kind: 'relay-message', message: solicit });
  const answer = new Uint8Array(vector);
  answer[0] = dhcpv6MessageType.relayReply;
  assert.is(checkCodec(codec, answer, 34).kind, 'relay-reply');
  assert.ok(parseAddress(dhcpv6Group));
  assert.equal([dhcpv6ClientPort, dhcpv6ServerPort], [546, 547]);
});

test('options of a wrong size or content are refused', () => {
  const malformed = [
    '0001 0002 0003',
    `0001 0083 ${'00'.repeat(131)}`,
    '0003 000b 0000000000000000000000',
    '0004 0003 000000',
    `0005 0017 ${'00'.repeat(23)}`,
    `001a 0019 0000000000000000 81 ${'00'.repeat(16)}`,
    '0006 0003 000100',
    '0007 0000',
    '0008 0001 00',
    '000d 0001 00',
    '000d 0003 0000ff',
    '000e 0001 00',
    '0017 0000',
    '0017 0004 01020304',
    '0018 0004 036c616e',
    '0018 0007 036c616e 00 c000',
  ];
  for (const option of malformed) assert.is(refusal(codec, replyOf(option)), 'bad-option', option);
  assert.is(refusal(codec, bytesOf('00 000001')), 'bad-type');
  assert.is(refusal(codec, replyOf('0004 0008 00000001 000d 0002')), 'bad-length');
  assert.is(refusal(codec, replyOf('0004 0007 00000001 000d00')), 'bad-length');
});

test('nesting deeper than an address in an association, and more options than the limit, are refused', () => {
  const nested = (depth: number): string => {
    let option = '';
    for (let i = 0; i < depth; i++) {
      const length = option.length / 2 + 4;
      option = `0004${`000${length.toString(16)}`.slice(-4)}00000000${option}`;
    }
    return option;
  };
  assert.is(refusal(codec, replyOf(nested(2))), 'ok');
  assert.is(refusal(codec, replyOf(nested(3))), 'too-many');
  assert.is(refusal(codec, replyOf(nested(1000))), 'too-many');
  assert.is(refusal(codec, replyOf('000e0000'.repeat(dhcpv6OptionLimit))), 'ok');
  assert.is(refusal(codec, replyOf('000e0000'.repeat(dhcpv6OptionLimit + 1))), 'too-many');
  // The limit is for all levels together.
  const association = `0004 ${(4 + 4 * 31).toString(16).padStart(4, '0')} 00000000 ${'000e0000'.repeat(31)}`;
  assert.is(refusal(codec, replyOf(association.repeat(2))), 'ok');
  assert.is(refusal(codec, replyOf(`${association.repeat(2)} 000e0000`)), 'too-many');
});

test('a name that is none is a mistake of the caller', () => {
  const options: Dhcpv6Option[] = [{ kind: 'domain-list', names: ['a..b'] }];
  assert.throws(
    () => dhcpv6Length({ kind: 'message', messageType: 7, transactionId: 0, options }),
    /name: expected/,
  );
});

test('no mutation throws, and whatever parses mirrors', () => {
  checkMirror(codec, { kind: 'message', messageType: 11, transactionId: 0xffffff, options: [] });
  checkMutations(
    codec,
    [solicit, reply, replyOf('0004 000a 00000002 000d 0002 0000 0017 0010 20010db8000000000000000000000005')],
    5,
  );
});

test.run();
