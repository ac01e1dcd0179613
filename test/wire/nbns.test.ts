import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  emitNbns,
  type Nbns,
  type NbnsName,
  nbnsLength,
  nbnsOperation,
  nbnsPort,
  nbnsType,
  parseNbns,
} from '../../agent/wire/nbns.js';
import { checkMirror, checkMutations, sizedCodec } from './mutations.js';
import { bytesOf, checkCodec, patched, refusal } from './vectors.js';

const codec = sizedCodec<Nbns>(parseNbns, nbnsLength, emitNbns);
const mac = bytesOf('3c22fb010203');

/** Hex of the ASCII text. */
function ascii(text: string): string {
  return Buffer.from(text, 'ascii').toString('hex');
}

/** "FILES" with suffix 20, the file server, as one label and the root. */
const files = `20 ${ascii('EGEJEMEFFDCACACACACACACACACACACA')} 00`;
const filesName: NbnsName = { name: 'FILES', suffix: 0x20, scope: '' };
/** The wildcard: an asterisk and fifteen zeros. */
const anyone = `20 ${ascii(`CK${'A'.repeat(30)}`)} 00`;

const query: Nbns = {
  identification: 0x1234,
  isResponse: false,
  operation: nbnsOperation.query,
  authoritative: false,
  truncated: false,
  recursionDesired: true,
  recursionAvailable: false,
  broadcast: true,
  responseCode: 0,
  questions: [{ name: filesName, type: nbnsType.nb }],
  answers: [],
  authorities: [],
  additionals: [],
};

/** RFC 1002 §4.2.12 */
const nameQuery = bytesOf(`1234 0110 0001 0000 0000 0000 ${files} 0020 0001`);
/** RFC 1002 §4.2.13: positive, two addresses, one of them a group's. */
const nameResponse = bytesOf(`
  1234 8500 0000 0001 0000 0000 ${files} 0020 0001 000493e0
  000c 6000 c0a80002 8000 c0a80003`);
/** RFC 1002 §4.2.2; the record's name points to the question's. */
const registration = bytesOf(`
  1234 2910 0001 0000 0000 0001 ${files} 0020 0001
  c00c 0020 0001 00000000 0006 0000 c0a80002`);
/** RFC 1002 §4.2.16: in the place of an address the flags of the request that is being worked on. */
const waitForAcknowledgement = bytesOf(`
  1234 bc00 0000 0001 0000 0000 ${files} 0020 0001 0000003c 0002 2900`);
/** RFC 1002 §4.2.17 */
const statusQuery = bytesOf(`1234 0000 0001 0000 0000 0000 ${anyone} 0021 0001`);
/** RFC 1002 §4.2.18 */
const statusResponse = bytesOf(`
  1234 8400 0000 0001 0000 0000 ${anyone} 0021 0001 00000000 0065 03
  ${ascii('FILES          ')} 00 0400
  ${ascii('WORKGROUP      ')} 1e 8400
  ${ascii('FILES          ')} 20 7e00
  3c22fb010203 ${'00'.repeat(40)}`);

test('a name query goes both ways (RFC 1002 §4.2.12)', () => {
  assert.equal(checkCodec(codec, nameQuery), query);
  assert.is(nbnsPort, 137);
});

test('the query that was cut off when captured is refused as such (nbns.pcap)', () => {
  assert.is(refusal(codec, bytesOf('8d40010000010000000000002045474643454e45424640464444')), 'truncated');
});

test('names are decoded and encoded with their scope, after the example of RFC 1001 §14.1', () => {
  const name = { name: 'The NetBIOS nam', suffix: 0x65, scope: 'SCOPE.ID.COM' };
  const vector = bytesOf(`1234 0110 0001 0000 0000 0000
    20 ${ascii('FEGIGFCAEOGFHEECEJEPFDCAGOGBGNGF')} 05 ${ascii('SCOPE')} 02 ${ascii('ID')} 03 ${ascii('COM')} 00 0020 0001`);
  assert.equal(checkCodec(codec, vector), { ...query, questions: [{ name, type: nbnsType.nb }] });
});

test('a positive response lists addresses and how they hold the name (RFC 1002 §4.2.13)', () => {
  assert.equal(checkCodec(codec, nameResponse), {
    ...query,
    isResponse: true,
    authoritative: true,
    broadcast: false,
    questions: [],
    answers: [
      {
        name: filesName,
        timeToLive: 300_000,
        kind: 'nb',
        entries: [
          { group: false, nodeType: 3, address: bytesOf('c0a80002') },
          { group: true, nodeType: 0, address: bytesOf('c0a80003') },
        ],
      },
    ],
  });
});

test('registration, refresh and release have their question again as an additional (RFC 1002 §4.2.2, §4.2.4, §4.2.9)', () => {
  const value = checkCodec(codec, registration);
  assert.equal(value, {
    ...query,
    operation: nbnsOperation.registration,
    additionals: [
      {
        name: filesName,
        timeToLive: 0,
        kind: 'nb',
        entries: [{ group: false, nodeType: 0, address: bytesOf('c0a80002') }],
      },
    ],
  });
  for (const operation of Object.values(nbnsOperation)) checkMirror(codec, { ...value, operation });
  const answer = checkCodec(codec, waitForAcknowledgement).answers[0];
  assert.equal(answer, {
    name: filesName,
    timeToLive: 60,
    kind: 'raw',
    type: nbnsType.nb,
    data: bytesOf('2900'),
  });
});

test('a node status names what a host serves and its MAC (RFC 1002 §4.2.17, §4.2.18)', () => {
  const everyone = { name: '*', suffix: 0, scope: '' };
  assert.equal(checkCodec(codec, statusQuery).questions, [{ name: everyone, type: nbnsType.nbstat }]);
  const quiet = {
    nodeType: 0,
    group: false,
    deregistering: false,
    conflict: false,
    active: true,
    permanent: false,
  };
  assert.equal(checkCodec(codec, statusResponse).answers, [
    {
      name: everyone,
      timeToLive: 0,
      kind: 'nbstat',
      names: [
        { ...quiet, name: 'FILES', suffix: 0 },
        { ...quiet, name: 'WORKGROUP', suffix: 0x1e, group: true },
        {
          name: 'FILES',
          suffix: 0x20,
          group: false,
          nodeType: 3,
          deregistering: true,
          conflict: true,
          active: true,
          permanent: true,
        },
      ],
      unitMac: mac,
      statistics: new Uint8Array(40),
    },
  ]);
});

test('the wildcard is filled up with zeros, other names with blanks, and bytes beyond ASCII are kept', () => {
  for (const name of ['', ' A', '*', '*A', '*\0', 'B\xdcRO', 'A\0\0', '\xff'.repeat(15)])
    checkMirror(codec, {
      ...query,
      questions: [{ name: { name, suffix: 255, scope: 'a\\.b.ü' }, type: nbnsType.nb }],
    });
  for (const name of ['sixteen letters.', 'Ł'])
    assert.throws(
      () => nbnsLength({ ...query, questions: [{ name: { ...filesName, name }, type: 32 }] }),
      /name: expected/,
    );
});

test('names of another form, classes but IN, data of a wrong size and redirections are refused', () => {
  const ask = (name: string) => bytesOf(`1234 0110 0001 0000 0000 0000 ${name} 0020 0001`);
  const letters = 'EGEJEMEFFDCACACACACACACACACACACA';
  assert.is(refusal(codec, ask('00')), 'bad-name');
  assert.is(refusal(codec, ask(`1f ${ascii(letters.slice(1))} 00`)), 'bad-name');
  assert.is(refusal(codec, ask(`21 ${ascii(`${letters}A`)} 00`)), 'bad-name');
  assert.is(refusal(codec, ask(`20 ${ascii(letters.replace('E', 'Q'))} 00`)), 'bad-name');
  assert.is(refusal(codec, ask(`20 ${ascii(letters.toLowerCase())} 00`)), 'bad-name');
  assert.is(refusal(codec, patched(nameQuery, nameQuery.length - 1, 2)), 'bad-value');
  assert.is(refusal(codec, patched(nameQuery, nameQuery.length - 2, 0x80)), 'bad-value');
  const recordOf = (type: string, classOf: string, data: string) => {
    const length = (bytesOf(data).length + 0x10000).toString(16).slice(1);
    return bytesOf(`1234 8500 0000 0001 0000 0000 ${files} ${type} ${classOf} 00000000 ${length} ${data}`);
  };
  assert.is(refusal(codec, recordOf('0020', '0002', '6000c0a80002')), 'bad-value');
  assert.is(refusal(codec, recordOf('0002', '0001', 'c00c')), 'bad-type');
  assert.is(refusal(codec, recordOf('0021', '0001', `00 ${'00'.repeat(5)}`)), 'bad-length');
  assert.is(refusal(codec, recordOf('0021', '0001', `01 ${'00'.repeat(23)}`)), 'bad-length');
  assert.is(refusal(codec, recordOf('0021', '0001', '00 3c22fb010203')), 'ok');
  assert.is(refusal(codec, recordOf('000a', '0001', '')), 'ok');
});

test('no mutation throws, and whatever parses mirrors', () => {
  checkMutations(
    codec,
    [nameQuery, nameResponse, registration, waitForAcknowledgement, statusQuery, statusResponse],
    8,
  );
});

test.run();
