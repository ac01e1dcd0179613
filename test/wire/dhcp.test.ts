import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, encodeUtf8, writeBytes } from '../../agent/core/bytes.js';
import {
  bootReply,
  bootRequest,
  type Dhcp,
  type DhcpOption,
  dhcpClientPort,
  dhcpLength,
  dhcpMessageType,
  dhcpServerPort,
  emitDhcp,
  parseDhcp,
} from '../../agent/wire/dhcp.js';
import { checkMirror, checkMutations, emitted, sizedCodec } from './mutations.js';
import { bytesOf, checkCodec, patched, refusal } from './vectors.js';

const codec = sizedCodec<Dhcp>(parseDhcp, dhcpLength, emitDhcp);
const noName = new Uint8Array(0);
const unspecified = new Uint8Array(4);

/** The server name and the boot file, empty, and the magic cookie. */
const emptyNames = `${'00'.repeat(64 + 128)} 63825363`;

/** dhcp.pcap, frame 1: 265 bytes, fewer than RFC 1542 §2.1 asks for. */
const discover = bytesOf(`
  01 01 06 00 000007c0 0000 0000                # request, Ethernet, transaction, no seconds, no flags
  00000000 00000000 00000000 00000000           # client, your, server, relay address
  90b11c994929 00000000000000000000 ${emptyNames}
  35 01 01                                      # message type: discover
  32 04 c0a8d3c2                                # requested address 192.168.211.194
  0c 0d 62746573742e69732e636f6f6c              # host name
  ff`);

/** dhcp.pcap, frame 6: 367 bytes. */
const ack = bytesOf(`
  02 01 06 00 000007c0 0000 0000
  00000000 800206bd ac13e607 00000000
  90b11c994929 00000000000000000000 ${emptyNames}
  35 01 05                                      # message type: ack
  36 04 80020698                                # server identifier
  33 04 00000384                                # lease time 900 s
  01 04 ffffff00  03 04 80020601                # subnet mask, router
  06 08 8002010b 8002010a                       # domain name servers
  04 08 80020114 80020115                       # time servers, raw
  43 0d 6e6574776f726b2d636f6e6667              # boot file name, raw
  1c 04 800206ff                                # broadcast address
  2a 0c 80020114 80020115 80020116              # NTP servers
  2b 0b 3137322e31382e362e3337                  # vendor-specific, raw
  3c 07 41727562614150                          # vendor class identifier: ArubaAP
  2c 08 8002681d 8002681e  2e 01 02             # NetBIOS name servers and node type, raw
  0f 07 636d752e656475                          # domain name
  ff`);

/** dhcp.pcap, frame 4: padded to 300 bytes. */
const nak = bytesOf(`
  02 01 06 00 000007c0 0000 8000                # broadcast flag
  00000000 00000000 80020698 00000000
  90b11c994929 00000000000000000000 ${emptyNames}
  35 01 06  36 04 80020698                      # nak, server identifier
  38 1f 7265717565737465642061646472657373206e6f7420617661696c61626c65
  ff 0000000000000000000000000000000000`);

const request: Dhcp = {
  operation: bootRequest,
  hops: 0,
  transactionId: 0x7c0,
  secondsElapsed: 0,
  broadcast: false,
  clientAddress: unspecified,
  yourAddress: unspecified,
  serverAddress: unspecified,
  relayAddress: unspecified,
  clientMac: bytesOf('90b11c994929'),
  serverName: noName,
  bootFile: noName,
  options: [
    { kind: 'message-type', messageType: dhcpMessageType.discover },
    { kind: 'requested-address', address: bytesOf('c0a8d3c2') },
    { kind: 'host-name', text: 'btest.is.cool' },
  ],
};

/** A request of exactly these option bytes, and what it holds in the two name fields. */
function withOptions(options: string, serverName = '', bootFile = ''): Uint8Array {
  const bytes = concatBytes([discover.subarray(0, 240), bytesOf(options)]);
  bytes.set(bytesOf(serverName), 44);
  bytes.set(bytesOf(bootFile), 108);
  return bytes;
}

function parsed(bytes: Uint8Array): Dhcp {
  const result = parseDhcp(bytes, 0, bytes.length);
  if (!result.ok) throw new Error(`expected to parse, got ${result.reason}`);
  return result.value;
}

test('a discover is read as it came, and is emitted padded to 300 bytes (dhcp.pcap, frame 1)', () => {
  assert.equal(parsed(discover), request);
  const padded = concatBytes([discover, new Uint8Array(300 - discover.length)]);
  assert.equal(checkCodec(codec, padded, discover.length), request);
  for (let length = 0; length < discover.length; length++)
    assert.is(refusal(codec, discover.subarray(0, length)), 'truncated', `${length}`);
});

test('an acknowledgement keeps options of unknown meaning raw and in their place (dhcp.pcap, frame 6)', () => {
  assert.equal(checkCodec(codec, ack), {
    ...request,
    operation: bootReply,
    yourAddress: bytesOf('800206bd'),
    serverAddress: bytesOf('ac13e607'),
    options: [
      { kind: 'message-type', messageType: dhcpMessageType.ack },
      { kind: 'server-identifier', address: bytesOf('80020698') },
      { kind: 'lease-time', seconds: 900 },
      { kind: 'subnet-mask', address: bytesOf('ffffff00') },
      { kind: 'router', addresses: [bytesOf('80020601')] },
      { kind: 'domain-name-server', addresses: [bytesOf('8002010b'), bytesOf('8002010a')] },
      { kind: 'raw', code: 4, data: bytesOf('8002011480020115') },
      { kind: 'raw', code: 67, data: encodeUtf8('network-confg') },
      { kind: 'broadcast-address', address: bytesOf('800206ff') },
      { kind: 'ntp-server', addresses: [bytesOf('80020114'), bytesOf('80020115'), bytesOf('80020116')] },
      { kind: 'raw', code: 43, data: encodeUtf8('172.18.6.37') },
      { kind: 'vendor-class-identifier', data: encodeUtf8('ArubaAP') },
      { kind: 'raw', code: 44, data: bytesOf('8002681d8002681e') },
      { kind: 'raw', code: 46, data: bytesOf('02') },
      { kind: 'domain-name', text: 'cmu.edu' },
    ],
  });
});

test('a refusal says why and has the broadcast flag (dhcp.pcap, frame 4)', () => {
  const value = checkCodec(codec, nak, nak.length - 17);
  assert.ok(value.broadcast);
  assert.equal(value.options[2], { kind: 'message', text: 'requested address not available' });
});

test('every typed option mirrors, as does BOOTP, which has no message type', () => {
  const options: DhcpOption[] = [
    { kind: 'message-type', messageType: dhcpMessageType.request },
    { kind: 'client-identifier', data: bytesOf('01 90b11c994929') },
    { kind: 'parameter-request-list', codes: [1, 3, 6, 15, 255] },
    { kind: 'maximum-message-size', sizeBytes: 1500 },
    { kind: 'renewal-time', seconds: 450 },
    { kind: 'rebinding-time', seconds: 0xffffffff },
    {
      kind: 'relay-agent-information',
      suboptions: [
        { code: 1, data: bytesOf('00040001') },
        { code: 2, data: noName },
      ],
    },
  ];
  const bytes = emitted(codec, { ...request, hops: 2, secondsElapsed: 0xfffe, options });
  assert.equal(
    bytes.subarray(240, 240 + 46),
    bytesOf(`35 01 03  3d 07 0190b11c994929  37 05 0103060fff  39 02 05dc  3a 04 000001c2  3b 04 ffffffff
      52 08 01 04 00040001 02 00  ff`),
  );
  assert.equal(parsed(bytes).options, options);
  checkMirror(codec, {
    ...request,
    serverName: encodeUtf8('s'.repeat(64)),
    bootFile: encodeUtf8('b'.repeat(128)),
    options: [],
  });
  assert.equal([dhcpServerPort, dhcpClientPort], [67, 68]);
});

test('option 52 lets options run on in the boot file, then in the server name (RFC 2132 §9.3)', () => {
  const file = '0c 03 616263 00 3604 0a000001 ff';
  const name = '0f 03 642e65 ff';
  const inBoth = parsed(withOptions('35 01 02 34 01 03 ff', name, file));
  assert.equal(inBoth.options, [
    { kind: 'message-type', messageType: 2 },
    { kind: 'host-name', text: 'abc' },
    { kind: 'server-identifier', address: bytesOf('0a000001') },
    { kind: 'domain-name', text: 'd.e' },
  ]);
  assert.equal([inBoth.serverName, inBoth.bootFile], [noName, noName]);
  checkMirror(codec, inBoth);
  const inFile = parsed(withOptions('34 01 01 35 01 02 ff', '736e', file));
  assert.equal(inFile.serverName, bytesOf('736e'));
  assert.is(inFile.options.length, 3);
  const inName = parsed(withOptions('34 01 02 35 01 02 ff', name, '6266'));
  assert.equal(inName.bootFile, bytesOf('6266'));
  assert.is(inName.options.length, 2);
  for (const overload of ['00', '04', '0101'])
    assert.is(
      refusal(codec, withOptions(`34 0${overload.length / 2} ${overload} ff`)),
      'bad-option',
      overload,
    );
  // Not twice, not in a field it opens, and each such field has an end.
  assert.is(refusal(codec, withOptions('34 01 01 34 01 01 ff', '', file)), 'bad-option');
  assert.is(refusal(codec, withOptions('34 01 01 ff', '', '34 01 01 ff')), 'bad-option');
  assert.is(refusal(codec, withOptions('34 01 01 ff', '', '0c 03 616263')), 'bad-option');
});

test('pieces of a long option are joined, over field borders too, and cut again when emitted (RFC 3396)', () => {
  const split = parsed(withOptions('34 01 01 0c 02 6162 35 01 01 0c 00 ff', '', '0c 02 6364 ff'));
  assert.equal(split.options, [
    { kind: 'host-name', text: 'abcd' },
    { kind: 'message-type', messageType: 1 },
  ]);
  for (const length of [0, 1, 255, 256, 510, 511]) {
    const data = new Uint8Array(length).fill(7);
    const pieces = Math.max(1, Math.ceil(length / 255));
    const value: Dhcp = { ...request, options: [{ kind: 'raw', code: 43, data }] };
    assert.is(dhcpLength(value), Math.max(300, 241 + length + 2 * pieces));
    checkMirror(codec, value);
  }
});

test('text loses trailing zeros (RFC 2132 §2), and is raw where it is none', () => {
  assert.equal(parsed(withOptions('0c 03 616200 ff')).options, [{ kind: 'host-name', text: 'ab' }]);
  for (const data of ['', '00', 'ff', '4bfc']) {
    const option = `0c 0${data.length / 2} ${data} ff`;
    assert.equal(parsed(withOptions(option)).options, [{ kind: 'raw', code: 12, data: bytesOf(data) }]);
  }
});

test('a wrong cookie, another hardware, malformed and unended options are refused with their reasons', () => {
  assert.is(refusal(codec, patched(discover, 236, 0)), 'bad-magic');
  assert.is(refusal(codec, patched(discover, 0, 3)), 'bad-type');
  assert.is(refusal(codec, patched(discover, 1, 6)), 'bad-type');
  assert.is(refusal(codec, patched(discover, 2, 16)), 'bad-length');
  for (const option of [
    '35 00',
    '35 02 0101',
    '35 01 01 35 01 01',
    '33 03 000001',
    '39 01 05',
    '32 05 0102030405',
    '03 00',
    '03 06 010203040506',
    '37 00',
    '3c 00',
    '3d 01 01',
    '52 00',
    '52 01 01',
    '52 03 010200',
  ])
    assert.is(refusal(codec, withOptions(`${option} ff`)), 'bad-option', option);
  for (const options of ['', '00', '35 01 01', '35 01', '35', '0c 05 61626364'])
    assert.is(refusal(codec, withOptions(options)), 'truncated', options);
});

test('emit refuses what has no place in a message', () => {
  for (const code of [0, 52, 255]) {
    const value: Dhcp = { ...request, options: [{ kind: 'raw', code, data: noName }] };
    assert.throws(() => emitted(codec, value), /code: expected 1\.\.254/);
  }
  assert.throws(
    () => emitted(codec, { ...request, serverName: new Uint8Array(65) }),
    /serverName: expected at most 64/,
  );
  const suboptions = [{ code: 1, data: new Uint8Array(256) }];
  assert.throws(
    () => dhcpLength({ ...request, options: [{ kind: 'relay-agent-information', suboptions }] }),
    /expected at most 255/,
  );
});

test('no mutation throws, and whatever parses mirrors', () => {
  // The fixed part is long and says little, so half of the cases leave it alone.
  const head = discover.subarray(0, 240);
  const tails = sizedCodec<Dhcp>(
    (bytes, start, end) => parseDhcp(concatBytes([head, bytes.subarray(start, end)]), 0, 240 + end - start),
    value => dhcpLength(value) - 240,
    (value, out, at) => writeBytes(out, at, emitted(codec, value).subarray(240)),
  );
  checkMutations(
    tails,
    [discover, ack].map(bytes => bytes.subarray(240)),
    3,
    2000,
  );
  checkMutations(
    codec,
    [discover, ack, nak, withOptions('34 01 03 35 01 01 ff', '0c 01 61 ff', '0f 01 62 ff')],
    4,
    2000,
  );
});

test.run();
