import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeUint16 } from '../../agent/core/bytes.js';
import { type Arp, arpLength, arpReply, arpRequest, emitArp, parseArp } from '../../agent/wire/arp.js';
import { ipv4Bytes } from '../../host-sim/bras/address-pool.js';
import { ArpProxy } from '../../host-sim/bras/arp-proxy.js';
import { address, ipv4Packet } from './homes.js';

const mac = new Uint8Array([2, 0xac, 0, 0, 0, 2]);
const router = new Uint8Array([2, 0, 0, 0, 0xff, 1]);
const [own, gateway, subscriber] = ['203.0.113.2', '203.0.113.1', '10.1.0.9'].map(address);

function side() {
  const sent: { to: Uint8Array; arp: Arp }[] = [];
  const proxy = new ArpProxy({
    mac,
    address: own,
    gateway,
    isSubscriber: one => one === subscriber,
    send: frame => {
      const arp = parseArp(frame, 14, frame.length);
      if (!arp.ok) throw new Error(arp.reason);
      sent.push({ to: frame.slice(0, 6), arp: arp.value });
    },
  });
  const hear = (now: number, operation: number, sender: number, target: number, from = router) => {
    const frame = new Uint8Array(14 + arpLength).fill(0xff, 0, 6);
    frame.set(from, 6);
    writeUint16(frame, 12, 0x0806);
    const senderAddress = ipv4Bytes(sender);
    const arp = {
      operation,
      senderMac: from,
      senderAddress,
      targetMac: mac,
      targetAddress: ipv4Bytes(target),
    };
    emitArp(arp, frame, 14);
    return proxy.receive(now, frame, 0, frame.length);
  };
  const packet = () => {
    const bytes = new Uint8Array(14 + 64);
    bytes.set(ipv4Packet(subscriber, gateway), 14);
    return bytes;
  };
  return { proxy, sent, hear, packet };
}

test('requests for a subscriber’s address, probes too, and for our own are answered with our MAC; others are not', () => {
  const { proxy, sent, hear } = side();
  for (const target of [subscriber, own]) {
    hear(0, arpRequest, gateway, target);
    const { to, arp } = sent.at(-1)!;
    assert.equal([to, arp.operation, arp.senderMac, arp.targetMac], [router, arpReply, mac, router]);
    assert.equal([arp.senderAddress, arp.targetAddress], [ipv4Bytes(target), ipv4Bytes(gateway)]);
  }
  hear(0, arpRequest, 0, subscriber);
  assert.is(sent.length, 3);
  hear(0, arpRequest, gateway, subscriber + 1);
  hear(0, arpRequest, gateway, gateway);
  hear(0, arpRequest, subscriber, subscriber);
  assert.is(sent.length, 3);
  assert.equal(proxy.counters.snapshot(), { answered: 3, 'not-ours': 1, conflict: 1 });
});

test('the gateway is asked for each second until it answers, believed for a minute, and asked again before that is over', () => {
  const { proxy, sent, hear, packet } = side();
  for (let now = 0; now < 3_000; now += 500) proxy.poll(now);
  assert.is(sent.length, 3);
  assert.is(proxy.address(3_000, packet(), 14), -1);
  hear(3_000, arpReply, gateway, own);
  const bytes = packet();
  assert.is(proxy.address(3_001, bytes, 14), 0);
  assert.equal([bytes.slice(0, 6), bytes.slice(6, 14)], [router, new Uint8Array([...mac, 8, 0])]);
  assert.is(proxy.pollAt(), 53_000);
  for (let now = 53_000; now <= 64_000; now += 1_000) proxy.poll(now);
  assert.is(proxy.address(64_000, packet(), 14), -1);
  assert.is(proxy.counters.get('gateway-lost'), 1);
});

test('IP for us or for a group is the caller’s; frames for others, cut short or of other protocols are not', () => {
  const { proxy, packet } = side();
  const frame = packet();
  frame.set(mac, 0);
  writeUint16(frame, 12, 0x0800);
  assert.is(proxy.receive(0, frame, 0, frame.length), 14);
  frame.set([1, 0, 0x5e, 1, 1, 1], 0);
  assert.is(proxy.receive(0, frame, 0, frame.length), 14);
  frame.set(router, 0);
  assert.is(proxy.receive(0, frame, 0, frame.length), 0);
  for (let end = 0; end <= 14; end++) assert.is(proxy.receive(0, frame, 0, end), 0);
});

test.run();
