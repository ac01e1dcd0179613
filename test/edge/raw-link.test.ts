/** The raw link over veth pairs between network namespaces: what is heard, in what form, and what is counted. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { transportChecksum } from '../../agent/wire/checksum.js';
import { Headers } from '../../agent/wire/headers.js';
import { openRawLink, type RawLink, type RawLinkOptions } from '../../edge/linux/raw-link.js';
import { Namespace } from '../support/namespaces.js';
import { eventually, Process } from '../support/process.js';

const available = Namespace.available({ bash: 'bash' });
const maybe = available ? test : test.skip;
const links: RawLink[] = [];

interface Heard {
  readonly link: RawLink;
  readonly frames: Uint8Array[];
  readonly errors: string[];
}

test.after.each(async () => {
  for (const link of links.splice(0)) link.close();
  await Process.killAll();
  Namespace.removeAll();
});

/** Two namespaces, va in the first and vb in the second. */
function cable(): [Namespace, Namespace] {
  const ends: [Namespace, Namespace] = [Namespace.make(), Namespace.make()];
  ends[0].connect('va', ends[1], 'vb');
  return ends;
}

function listen(
  namespace: Namespace,
  options: RawLinkOptions,
  hear: (bytes: Uint8Array, start: number, end: number) => void = () => {},
): Heard {
  const frames: Uint8Array[] = [];
  const errors: string[] = [];
  const link = namespace.enter(() =>
    openRawLink(
      options,
      (bytes, start, end) => {
        frames.push(bytes.slice(start, end));
        hear(bytes, start, end);
      },
      error => errors.push(error.message),
    ),
  );
  links.push(link);
  return { link, frames, errors };
}

const broadcast = [255, 255, 255, 255, 255, 255];
const stranger = [2, 0, 0, 0, 0, 9];
const experimental = [0x88, 0xb5]; // IEEE 802: local experimental EtherType 1

function frame(
  destination: readonly number[],
  type: readonly number[],
  payload: readonly number[],
): Uint8Array {
  return new Uint8Array([...destination, ...stranger, ...type, ...payload]);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const only = (frames: readonly Uint8Array[], type: string) =>
  frames.map(hex).filter(text => text.slice(24, 28) === type);

for (const ring of [false, true]) {
  const how = ring ? 'the ring' : 'recvmmsg';

  maybe(
    `${how}: every frame comes once, whole and in order; the sender hears nothing of its own`,
    async () => {
      const [a, b] = cable();
      const sender = listen(a, { interface: 'va', ring, promiscuous: true });
      const receiver = listen(b, { interface: 'vb', ring, promiscuous: true });
      const sent: string[] = [];
      for (let i = 0; i < 1000; i++) {
        const one = frame(
          broadcast,
          experimental,
          Array.from({ length: i }, (_, at) => (at * 7 + i) & 255),
        );
        sent.push(hex(one));
        sender.link.send(one);
      }
      await eventually('1000 frames', () => receiver.frames.length >= 1000);
      assert.equal(only(receiver.frames, '88b5'), sent);
      assert.equal(only(sender.frames, '88b5'), []);
      assert.is(sender.link.counts()['sent'], 1000);
      assert.is(receiver.link.counts()['received.no-room'], undefined);
    },
  );

  maybe(`${how}: VLAN tags are as they were sent, one and two of them`, async () => {
    const [a, b] = cable();
    const sender = listen(a, { interface: 'va' });
    const receiver = listen(b, { interface: 'vb', ring, promiscuous: true });
    const single = frame(broadcast, [0x81, 0x00, 0xa0, 0x05, ...experimental], [1, 2, 3, 4]);
    const double = frame(
      broadcast,
      [0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x0f, 0xfe, ...experimental],
      new Array(1492).fill(9),
    );
    sender.link.send(single);
    sender.link.send(double);
    await eventually('both frames', () => receiver.frames.length >= 2);
    assert.equal(receiver.frames.map(hex), [hex(single), hex(double)]);
    assert.is(receiver.link.counts()['received.vlan-restored'], 2);
  });

  maybe(
    `${how}: the checksum that a local sender left to its card is finished, UDP over IPv4 and IPv6`,
    async () => {
      const [a, b] = cable();
      const receiver = listen(b, { interface: 'vb', ring, promiscuous: true });
      const own = listen(a, { interface: 'va', ring, promiscuous: true });
      for (const [own, peer] of [
        ['10.9.0.1/24', '10.9.0.2'],
        ['fd09::1/64', 'fd09::2'],
      ]) {
        a.run('ip', 'address', 'add', own, 'dev', 'va', ...(own.includes(':') ? ['nodad'] : []));
        a.run('ip', 'neighbour', 'add', peer, 'lladdr', '02:00:00:00:00:02', 'dev', 'va');
        a.run('bash', '-c', `echo hello >/dev/udp/${peer}/9`);
      }
      const udp = () =>
        receiver.frames.filter(bytes => bytes.includes(0x68) && hex(bytes).includes('68656c6c6f'));
      await eventually('two datagrams', () => udp().length >= 2);
      const headers = new Headers();
      for (const bytes of udp()) {
        assert.is(headers.scan(bytes, 0, bytes.length), 'ok');
        const addressBytes = headers.network === 4 ? 4 : 16;
        const srcAt = headers.network === 4 ? 26 : 22;
        const pseudoHeader = {
          srcAddress: bytes.slice(srcAt, srcAt + addressBytes),
          dstAddress: bytes.slice(srcAt + addressBytes, srcAt + 2 * addressBytes),
        };
        assert.is(transportChecksum(pseudoHeader, 17, bytes, headers.l4Offset, headers.l4End), 0);
      }
      // What the host itself sends is not heard on its own interface.
      assert.equal(
        own.frames.filter(bytes => hex(bytes).includes('68656c6c6f')),
        [],
      );
      // Without work left undone this test would prove nothing.
      assert.is(receiver.link.counts()['received.checksum-finished'], 2);
    },
  );

  maybe(`${how}: what GSO merged beyond the MTU is counted and not handed over`, async () => {
    const [a, b] = cable();
    a.run('ip', 'address', 'add', '10.9.0.1/24', 'dev', 'va');
    b.run('ip', 'address', 'add', '10.9.0.2/24', 'dev', 'vb');
    const receiver = listen(b, { interface: 'vb', ring });
    const serve = `require('net').createServer(s => s.resume().on('end', () => process.exit())).listen(80, () => console.log('ready'))`;
    const [ip, ...rest] = b.command(process.execPath, '-e', serve);
    const server = await Process.start(ip, rest, /ready/);
    a.run(process.execPath, '-e', `require('net').connect(80, '10.9.0.2').end(Buffer.alloc(1e6))`);
    await server.ended;
    await eventually('merged frames', () => (receiver.link.counts()['received.too-long'] ?? 0) > 0);
    assert.ok(receiver.frames.every(bytes => bytes.length <= 1522));
  });

  maybe(
    `${how}: an interface that goes down and comes up is heard again; one removed is told once`,
    async () => {
      const [a, b] = cable();
      const sender = listen(a, { interface: 'va' });
      const receiver = listen(b, { interface: 'vb', ring });
      b.run('ip', 'link', 'set', 'vb', 'down');
      sender.link.send(frame(broadcast, experimental, [1]));
      b.run('ip', 'link', 'set', 'vb', 'up');
      await eventually('a frame', () => {
        sender.link.send(frame(broadcast, experimental, [2]));
        return only(receiver.frames, '88b5').length > 0;
      });
      assert.equal(receiver.errors, []);
      b.run('ip', 'link', 'del', 'vb');
      await eventually('both links to tell', () => receiver.errors.length > 0 && sender.errors.length > 0);
      assert.equal(receiver.errors, ['raw link on vb: the interface was removed']);
      receiver.link.send(frame(broadcast, experimental, [3]));
      assert.is(receiver.link.counts()['sent.down'], 1);
    },
  );

  maybe(
    `${how}: a link closed by what it hears hears no more, and memory kept beyond the call is harmless`,
    async () => {
      const [a, b] = cable();
      const sender = listen(a, { interface: 'va' });
      let kept: Uint8Array | undefined;
      const receiver = listen(b, { interface: 'vb', ring, protocol: 0x88b5 }, (bytes, start, end) => {
        kept = bytes.subarray(start, end);
        receiver.link.close();
      });
      for (let i = 0; i < 10; i++) sender.link.send(frame(broadcast, experimental, [i]));
      await eventually('a frame', () => receiver.frames.length > 0);
      assert.is(receiver.frames.length, 1);
      assert.is(kept?.length, 15);
      if (ring) assert.equal([...kept!], new Array(15).fill(0));
    },
  );

  maybe(`${how}: headroom before a frame may be written to without harm to the next`, async () => {
    const [a, b] = cable();
    const sender = listen(a, { interface: 'va' });
    const receiver = listen(b, { interface: 'vb', ring, protocol: 0x88b5 }, (bytes, start, end) =>
      bytes.fill(0xa5, start - 32, end),
    );
    const sent = Array.from({ length: 300 }, (_, i) =>
      frame(broadcast, experimental, new Array(i % 50).fill(i & 255)),
    );
    for (const one of sent) sender.link.send(one);
    await eventually('all frames', () => receiver.frames.length === sent.length);
    assert.equal(receiver.frames.map(hex), sent.map(hex));
  });
}

maybe('frames for others are heard only when promiscuous, and with a protocol only its own', async () => {
  const [a, b] = cable();
  const sender = listen(a, { interface: 'va' });
  const all = listen(b, { interface: 'vb', promiscuous: true });
  const session = listen(b, { interface: 'vb', protocol: 0x8864 });
  // After the promiscuous one: membership is the interface's, and its frames for others are marked so.
  sender.link.send(frame(stranger, experimental, [1]));
  sender.link.send(frame([...session.link.mac], [0x88, 0x64], [2]));
  sender.link.send(frame(broadcast, experimental, [3]));
  await eventually('three frames', () => all.frames.length >= 3);
  assert.is(all.frames.length, 3);
  assert.equal(
    session.frames.map(bytes => bytes[14]),
    [2],
  );
  all.link.close();
  const own = listen(b, { interface: 'vb' });
  sender.link.send(frame(stranger, experimental, [4]));
  sender.link.send(frame(broadcast, experimental, [5]));
  await eventually('a frame', () => own.frames.length > 0);
  assert.equal(
    own.frames.map(bytes => bytes[14]),
    [5],
  );
});

maybe('what cannot be sent is counted by reason', async () => {
  const [a] = cable();
  const { link } = listen(a, { interface: 'va' });
  link.send(new Uint8Array(13));
  link.send(new Uint8Array(14 + 1500 + 9));
  // Fits the buffer, but two tags' worth beyond the MTU without a tag: the kernel refuses it.
  link.send(new Uint8Array(14 + 1500 + 8));
  await eventually('the kernel to refuse', () => link.counts()['sent.refused'] === 1);
  link.close();
  link.send(new Uint8Array(60));
  assert.equal(link.counts(), { 'sent.too-short': 1, 'sent.too-long': 1, 'sent.refused': 1, 'sent.down': 1 });
});

maybe('a link that cannot be opened says what is missing', () => {
  const [a] = cable();
  const open = (options: RawLinkOptions) => () =>
    a.enter(() =>
      openRawLink(
        options,
        () => {},
        () => {},
      ),
    );
  assert.throws(open({ interface: 'eth77' }), /^raw link on eth77: there is no interface of that name$/);
  assert.throws(open({ interface: 'a-name-too-long-to-be' }), /expected a name of 1..15 bytes/);
  assert.throws(open({ interface: 'va', protocol: 65_536 }), /protocol: expected an EtherType/);
  a.run('ip', 'tuntap', 'add', 'tun7', 'mode', 'tun');
  assert.throws(
    open({ interface: 'tun7' }),
    /tun7: expected an Ethernet interface, its hardware type is 65534/,
  );
  a.enter(() => {
    process.seteuid!(65_534);
    try {
      assert.throws(
        () =>
          openRawLink(
            { interface: 'va' },
            () => {},
            () => {},
          ),
        /^raw link on va: not permitted: it needs CAP_NET_RAW$/,
      );
    } finally {
      process.seteuid!(0);
    }
  });
});

maybe('an exception of the receiver ends up where uncaught exceptions do', async () => {
  const [a, b] = cable();
  const sender = listen(a, { interface: 'va' });
  const caught: string[] = [];
  const catchIt = (error: Error) => caught.push(error.message);
  process.on('uncaughtException', catchIt);
  try {
    listen(b, { interface: 'vb', protocol: 0x88b5 }, () => {
      throw new Error('of the receiver');
    });
    sender.link.send(frame(broadcast, experimental, [1]));
    await eventually('the exception', () => caught.length > 0);
  } finally {
    process.off('uncaughtException', catchIt);
  }
  assert.equal(caught, ['of the receiver']);
});

test.run();
