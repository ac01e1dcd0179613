import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatMac } from '../../agent/wire/address.js';
import { etherTypeArp, etherTypePppoeSession, parseEthernet } from '../../agent/wire/ethernet.js';
import { maxVlanTags, tpidCustomer, tpidService } from '../../agent/wire/vlan.js';
import { ethernetCodec } from './codecs.js';
import { bytesOf, checkCodec, frames, patched, refusal } from './vectors.js';

const macs = '020000000002 020000000001';

test('an untagged frame keeps its MACs, type and whole payload (arp-who-has.pcap, frame 2)', () => {
  const ethernet = checkCodec(ethernetCodec, frames.arpReply, 14);
  assert.is(formatMac(ethernet.dstMac), '78:31:c1:c6:3f:c2');
  assert.is(formatMac(ethernet.srcMac), 'f8:ed:a5:c0:a4:f1');
  assert.is(ethernet.etherType, etherTypeArp);
  assert.equal(ethernet.tags, []);
  assert.is(ethernet.payload.length, 46);
});

test('stacked tags are listed from the outside in (pppoe-over-qinq.pcap, frame 1)', () => {
  const ethernet = checkCodec(ethernetCodec, frames.qinqSyn, 22);
  assert.equal(ethernet.tags, [
    { tpid: tpidCustomer, priority: 0, dropEligible: false, vlanId: 3704 },
    { tpid: tpidCustomer, priority: 0, dropEligible: false, vlanId: 2474 },
  ]);
  assert.is(ethernet.etherType, etherTypePppoeSession);
});

test('priority, drop eligibility and the service tag of 802.1ad are kept', () => {
  const vector = bytesOf(`${macs} 88a8 b064 8100 e000 0806 00`);
  assert.equal(checkCodec(ethernetCodec, vector, 22).tags, [
    { tpid: tpidService, priority: 5, dropEligible: true, vlanId: 100 },
    { tpid: tpidCustomer, priority: 7, dropEligible: false, vlanId: 0 },
  ]);
});

test('the length form cuts the padding off and refuses a payload that is too short', () => {
  // A configuration BPDU, IEEE 802.1D-2004 §9.3.1; made for this test, read back with tshark.
  const bpdu = bytesOf(`
    0180c2000000 020000000001 0026
    42 42 03                                  # LLC: spanning tree
    0000 00 00 00 8000020000000001 00000000 8000020000000001 8001 0000 1400 0200 0f00`);
  assert.is(checkCodec(ethernetCodec, bpdu).etherType, 38);
  const padded = parseEthernet(bytesOf(`${macs} 0003 424203 00000000`), 0, 21);
  assert.ok(padded.ok && padded.value.payload.length === 3);
  assert.is(refusal(ethernetCodec, bytesOf(`${macs} 05dc 424203`)), 'truncated');
});

test('numbers between length and type, reserved identifiers and a pile of tags are refused', () => {
  assert.is(refusal(ethernetCodec, bytesOf(`${macs} 05dd 00`)), 'bad-type');
  assert.is(refusal(ethernetCodec, bytesOf(`${macs} 05ff 00`)), 'bad-type');
  assert.is(refusal(ethernetCodec, bytesOf(`${macs} 0600`)), 'ok');
  assert.is(refusal(ethernetCodec, patched(frames.qinqSyn, 18, 0x0f, 0xff)), 'bad-value');
  assert.is(refusal(ethernetCodec, bytesOf(`${macs} ${'8100 0001 '.repeat(maxVlanTags)} 0806`)), 'ok');
  assert.is(
    refusal(ethernetCodec, bytesOf(`${macs} ${'8100 0001 '.repeat(maxVlanTags + 1)} 0806`)),
    'too-many',
  );
});

test.run();
