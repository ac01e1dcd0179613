import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatAddress, formatMac } from '../../agent/wire/address.js';
import { arpLength, arpReply, arpRequest, parseArp } from '../../agent/wire/arp.js';
import { arpCodec } from './codecs.js';
import { bytesOf, checkCodec, frames, patched, refusal } from './vectors.js';

const request = frames.arpRequest.subarray(14);
const reply = frames.arpReply.subarray(14, 14 + arpLength);

test('a request and its reply of arp-who-has.pcap parse, mirror and are refused when cut', () => {
  const asked = checkCodec(arpCodec, request);
  assert.is(asked.operation, arpRequest);
  assert.is(formatMac(asked.senderMac), '78:31:c1:c6:3f:c2');
  assert.is(formatAddress(asked.targetAddress), '10.0.0.1');
  const answered = checkCodec(arpCodec, reply);
  assert.is(answered.operation, arpReply);
  assert.is(formatMac(answered.senderMac), 'f8:ed:a5:c0:a4:f1');
  assert.equal(answered.targetMac, asked.senderMac);
});

test('a reply without a target MAC parses (arp-decode-1.pcap, frame 1)', () => {
  const vector = bytesOf('0001 0800 06 04 0001 989096a044ea c0a8a904 000000000000 00000000');
  assert.is(formatAddress(checkCodec(arpCodec, vector).senderAddress), '192.168.169.4');
});

test('Ethernet padding behind the target address is ignored', () => {
  assert.is(parseArp(frames.arpReply, 14, frames.arpReply.length).ok, true);
});

test('other hardware, protocol, lengths and operation 0 are refused, each with its reason', () => {
  assert.is(refusal(arpCodec, patched(request, 1, 6)), 'bad-type');
  assert.is(refusal(arpCodec, patched(request, 2, 0x86, 0xdd)), 'bad-type');
  // arp-malformed.pcap, frames 1, 3 and 5: a length of 255 for hardware, for protocol, for both.
  assert.is(refusal(arpCodec, patched(request, 4, 255, 4)), 'bad-length');
  assert.is(refusal(arpCodec, patched(request, 4, 6, 255)), 'bad-length');
  assert.is(refusal(arpCodec, patched(request, 4, 255, 255)), 'bad-length');
  assert.is(refusal(arpCodec, patched(request, 6, 0, 0)), 'bad-value');
});

test.run();
