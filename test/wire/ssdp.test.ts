import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { parseAddress } from '../../agent/wire/address.js';
import {
  emitSsdp,
  parseSsdp,
  type Ssdp,
  ssdpGroups,
  ssdpHeaderLimit,
  ssdpLength,
  ssdpPort,
} from '../../agent/wire/ssdp.js';
import { checkMirror, checkMutations, sizedCodec } from './mutations.js';
import { bytesOf, checkCodec, refusal } from './vectors.js';

const codec = sizedCodec<Ssdp>(parseSsdp, ssdpLength, emitSsdp);

/** home-multicast-short.pcap, frame 5: a phone looks for televisions. */
const search = bytesOf(`
  4d2d534541524348202a20485454502f312e31 0d0a                                # M-SEARCH * HTTP/1.1
  484f53543a20 3233392e3235352e3235352e3235303a31393030 0d0a                 # HOST: 239.255.255.250:1900
  4d414e3a20 22737364703a646973636f76657222 0d0a                             # MAN: "ssdp:discover"
  4d583a20 31 0d0a                                                           # MX: 1
  53543a20 75726e3a6469616c2d6d756c746973637265656e2d6f72673a736572766963653a6469616c3a31 0d0a   # ST: urn:dial-…
  0d0a`);

/** After UPnP Device Architecture 2.0 §1.2.2 and §1.3.3. */
const notify = encodeUtf8(
  'NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nCACHE-CONTROL: max-age=1800\r\nNT: upnp:rootdevice\r\n' +
    'NTS: ssdp:alive\r\nUSN: uuid:2fac1234-31f8-11b4-a222-08002b34c003::upnp:rootdevice\r\n\r\n',
);
const response = encodeUtf8(
  'HTTP/1.1 200 OK\r\nEXT:\r\nLOCATION: http://192.168.0.1:5000/rootDesc.xml\r\nSERVER: Küche/1 UPnP/2.0\r\n\r\n',
);

test('a search, a notification and a response go both ways', () => {
  assert.equal(checkCodec(codec, search), {
    kind: 'search',
    headers: [
      { name: 'HOST', value: '239.255.255.250:1900' },
      { name: 'MAN', value: '"ssdp:discover"' },
      { name: 'MX', value: '1' },
      { name: 'ST', value: 'urn:dial-multiscreen-org:service:dial:1' },
    ],
  });
  assert.is(checkCodec(codec, notify).kind, 'notify');
  assert.equal(checkCodec(codec, response).headers[0], { name: 'EXT', value: '' });
  assert.is(ssdpPort, 1900);
  for (const group of ssdpGroups) assert.ok(parseAddress(group), group);
});

/** What becomes of a message of this text. */
function verdict(text: string): string {
  return refusal(codec, encodeUtf8(text));
}

test('white space around a value is dropped, and what follows the empty line is ignored', () => {
  const bytes = encodeUtf8('NOTIFY * HTTP/1.1\r\nNT:\t a b \t\r\nNTS:x\r\n\r\nbody');
  assert.equal(parseSsdp(bytes, 0, bytes.length), {
    ok: true,
    value: {
      kind: 'notify',
      headers: [
        { name: 'NT', value: 'a b' },
        { name: 'NTS', value: 'x' },
      ],
    },
  });
});

test('another start line, a malformed header, bytes that are no text, and too many headers are refused', () => {
  for (const line of [
    '',
    'GET / HTTP/1.1',
    'M-SEARCH * HTTP/1.0',
    'm-search * HTTP/1.1',
    'HTTP/1.1 404 Not Found',
    ' NOTIFY * HTTP/1.1',
  ])
    assert.is(verdict(`${line}\r\nA: b\r\n\r\n`), 'bad-type', line);
  for (const line of ['A', ': b', 'A : b', ' folded: b', 'Ä: b', 'A(: b'])
    assert.is(verdict(`NOTIFY * HTTP/1.1\r\n${line}\r\n\r\n`), 'bad-option', line);
  for (const line of ['A: \0', 'A: b\nC: d', 'A: \x7f'])
    assert.is(verdict(`NOTIFY * HTTP/1.1\r\n${line}\r\n\r\n`), 'bad-value', line);
  assert.is(refusal(codec, bytesOf('4e4f54494659202a20485454502f312e310d0a 413a ff 0d0a 0d0a')), 'bad-value');
  assert.is(verdict('NOTIFY * HTTP/1.1\nA: b\n\n'), 'truncated');
  const line = 'A: b\r\n';
  assert.is(verdict(`NOTIFY * HTTP/1.1\r\n${line.repeat(ssdpHeaderLimit)}\r\n`), 'ok');
  assert.is(verdict(`NOTIFY * HTTP/1.1\r\n${line.repeat(ssdpHeaderLimit + 1)}\r\n`), 'too-many');
});

test('emit refuses a header that would be read as something else', () => {
  for (const [name, value] of [
    ['A b', 'c'],
    ['', 'c'],
    ['A', 'b\r\nC: d'],
    ['A', ' b'],
  ])
    assert.throws(() => ssdpLength({ kind: 'search', headers: [{ name, value }] }), /expected/);
});

test('no mutation throws, and whatever parses mirrors', () => {
  checkMirror(codec, { kind: 'response', headers: [] });
  checkMutations(codec, [search, notify, response], 2);
});

test.run();
