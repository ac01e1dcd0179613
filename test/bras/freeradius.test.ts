/** The BRAS on a RADIUS server no one here wrote: Debian's freeradius, on loopback, with its own radclient for Disconnect and CoA. */

import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuthenticationMethod } from '../../agent/pppoe/credentials.js';
import { pppProtocol } from '../../agent/wire/ppp.js';
import { RadiusAaa } from '../../host-sim/bras/aaa-radius.js';
import { formatIpv4 } from '../../host-sim/bras/address-pool.js';
import { needs } from '../support/needs.js';
import { eventually, Process } from '../support/process.js';
import { Access, address, ipv4Packet } from './homes.js';

const here = needs('freeradius', 'freeradius') && needs('radclient', 'freeradius-utils');
const check = here ? test : test.skip;
const secret = 'testing-the-bras';

let directory = '';
let daemon: Process | undefined;
let sockets: Socket[] = [];
test.before.each(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kith-radius-'));
});
test.after.each(async () => {
  await Process.killAll();
  for (const socket of sockets) socket.close();
  sockets = [];
  await rm(directory, { recursive: true });
});

async function udp(
  receive: (bytes: Buffer, port: number) => void,
): Promise<{ socket: Socket; port: number }> {
  const socket = createSocket('udp4');
  sockets.push(socket);
  socket.on('message', (bytes, from) => receive(bytes, from.port));
  await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve));
  return { socket, port: socket.address().port };
}

/** Two free UDP ports, taken and given back. */
async function freePorts(): Promise<number[]> {
  const taken = [await udp(() => {}), await udp(() => {})];
  const ports = taken.map(one => one.port);
  await Promise.all(taken.map(one => new Promise<void>(resolve => one.socket.close(resolve))));
  sockets = sockets.filter(socket => !taken.some(one => one.socket === socket));
  return ports;
}

/** Debian 12's 3.2.1 signs its answers with a Message-Authenticator only if told so (post-auth); later ones always do. */
async function start(): Promise<number[]> {
  const [authenticationPort, accountingPort] = await freePorts();
  const users = [
    'ada Cleartext-Password := "secret-a"',
    '    Framed-IP-Address = 10.9.0.77, Filter-Id = "slow", Session-Timeout = 3600, Class = 0x6b697468, Reply-Message = "welcome"',
    'bob Cleartext-Password := "secret-b"',
    '',
  ].join('\n');
  const config = `
name = freeradius
logdir = ${directory}
run_dir = ${directory}
raddbdir = ${directory}
libdir = /usr/lib/freeradius
pidfile = ${directory}/pid
max_request_time = 30
security {
 allow_vulnerable_openssl = yes
}
client here {
 ipaddr = 127.0.0.1
 secret = ${secret}
 require_message_authenticator = yes
}
modules {
 pap {
 }
 chap {
 }
 mschap {
 }
 files {
  filename = ${directory}/users
 }
 detail {
  filename = ${directory}/detail
 }
}
server default {
 listen {
  type = auth
  ipaddr = 127.0.0.1
  port = ${authenticationPort}
 }
 listen {
  type = acct
  ipaddr = 127.0.0.1
  port = ${accountingPort}
 }
 authorize {
  chap
  mschap
  files
  pap
 }
 authenticate {
  Auth-Type PAP {
   pap
  }
  Auth-Type CHAP {
   chap
  }
  Auth-Type MS-CHAP {
   mschap
  }
 }
 accounting {
  detail
 }
 post-auth {
  update reply {
   Message-Authenticator := 0x00
  }
  Post-Auth-Type REJECT {
   update reply {
    Message-Authenticator := 0x00
   }
  }
 }
}
`;
  await writeFile(join(directory, 'users'), users);
  await writeFile(join(directory, 'radiusd.conf'), config);
  daemon = await Process.start('freeradius', ['-X', '-d', directory], /Ready to process requests/);
  return [authenticationPort, accountingPort];
}

/** A BRAS whose RADIUS client has sockets; its clock stands still, so that nothing times out. */
async function connect([authenticationPort, accountingPort]: number[], sharedSecret = secret) {
  const access = new Access();
  const lines: string[] = [];
  let radius: RadiusAaa | undefined;
  const receive = (kind: 'authentication' | 'accounting') => (bytes: Buffer) => {
    radius?.receive(access.now, 0, kind, bytes);
    access.settle();
  };
  const authentication = await udp(receive('authentication'));
  const accounting = await udp(receive('accounting'));
  const server = { host: '127.0.0.1', authenticationPort, accountingPort, secret: sharedSecret };
  const { bras } = access.addBras({}, () => {
    radius = new RadiusAaa(
      { servers: [server], nasIdentifier: 'ac', nasAddress: address('127.0.0.1') },
      {
        random: () => randomBytes(16),
        clockSeconds: () => Math.floor(Date.now() / 1000),
        send: (_now, _server, kind, packet) =>
          kind === 'authentication'
            ? authentication.socket.send(packet, authenticationPort, '127.0.0.1')
            : accounting.socket.send(packet, accountingPort, '127.0.0.1'),
        log: (_now, line) => lines.push(line),
      },
    );
    return radius;
  });
  if (!radius) throw new Error('no RADIUS client');
  return { access, bras, radius, lines };
}

for (const method of ['pap', 'chap-md5', 'ms-chap-v2'] as const satisfies readonly AuthenticationMethod[])
  check(
    `${method}: freeradius accepts the right password with what it grants, and rejects a wrong one`,
    async () => {
      const { access, bras, radius } = await connect(await start());
      const ada = access.dial(1, 'ada', 'secret-a', { methods: [method] });
      await eventually('ada to be up', () => ada.isUp, 5_000);
      assert.is(formatIpv4(ada.address), '10.9.0.77');
      const row = bras.table.findIpv4(ada.address);
      assert.is(bras.shapers.up.className(bras.table.rateClass[row]), 'slow');
      assert.equal(bras.classes.get(row), [Buffer.from('kith')]);
      assert.is(bras.columns.endAtS[row], 3600);
      const bob = access.dial(2, 'bob', 'secret-a', { methods: [method] });
      await eventually('bob to be refused', () => radius.counters.get('radius.access-reject') === 1);
      assert.not(bob.isUp);
    },
  );

check(
  'freeradius writes down start, interim and stop, with the class it gave and what was used',
  async () => {
    const { access, bras, radius } = await connect(await start());
    const ada = access.dial(1, 'ada', 'secret-a', { methods: ['pap'] });
    await eventually('ada to be up', () => ada.isUp, 5_000);
    const row = bras.table.findIpv4(ada.address);
    bras.columns.interimS[row] = 60;
    bras.columns.interimAtS[row] = 60;
    await eventually('the start', () => radius.counters.get('radius.accounting-response') === 1);
    ada.sendPpp(pppProtocol.ipv4, ipv4Packet(ada.address, address('198.51.100.7'), 500));
    // The home’s own echoes keep the line alive; RADIUS has nothing under way meanwhile.
    access.pass(61_000);
    await eventually('the interim', () => radius.counters.get('radius.accounting-response') === 2);
    bras.disconnect(access.now, { user: 'ada' });
    await eventually('the stop', () => radius.counters.get('radius.accounting-response') === 3);
    const detail = await readFile(join(directory, 'detail'), 'utf8');
    const values = (name: string) =>
      [...detail.matchAll(new RegExp(`\\t${name} = (.*)`, 'g'))].map(match => match[1]);
    assert.equal(values('Acct-Status-Type'), ['Start', 'Interim-Update', 'Stop']);
    assert.equal(values('Class'), Array(3).fill('0x6b697468'));
    assert.equal(new Set(values('Acct-Session-Id')).size, 1);
    assert.equal(values('Acct-Input-Octets'), ['500', '500']);
    assert.equal(values('Acct-Terminate-Cause'), ['Admin-Reset']);
    assert.equal(values('Framed-IP-Address'), Array(3).fill('10.9.0.77'));
    assert.equal(values('NAS-Port-Type').length, 3);
  },
);

check(
  'radclient disconnects a session and changes its rate, with and without Message-Authenticator',
  async () => {
    const { access, bras, radius } = await connect(await start());
    const control = await udp((bytes, port) => {
      const answer = radius.control(access.now, 0, bytes, bras);
      access.settle();
      if (answer) control.socket.send(answer, port, '127.0.0.1');
    });
    const radclient = async (kind: 'coa' | 'disconnect', attributes: string, key = secret) => {
      const file = join(directory, 'request');
      await writeFile(file, `${attributes}\n`);
      return Process.run('radclient', [
        '-x',
        '-r',
        '1',
        '-t',
        '2',
        '-f',
        file,
        `127.0.0.1:${control.port}`,
        kind,
        key,
      ]);
    };
    const ada = access.dial(1, 'ada', 'secret-a', { methods: ['chap-md5'] });
    await eventually('ada to be up', () => ada.isUp, 5_000);
    const coa = await radclient('coa', 'User-Name = "ada", Filter-Id = "line", Message-Authenticator = 0x00');
    assert.match(coa.output, /Received CoA-ACK/);
    assert.is(bras.table.rateClass[bras.table.findIpv4(ada.address)], 0);
    assert.match(
      (await radclient('coa', 'User-Name = "ada", Filter-Id = "gold"')).output,
      /CoA-NAK[\s\S]*Invalid-Attribute-Value/i,
    );
    assert.match(
      (await radclient('disconnect', 'User-Name = "zoe"')).output,
      /Disconnect-NAK[\s\S]*Session-Context-Not-Found/,
    );
    assert.match((await radclient('disconnect', 'User-Name = "ada"', 'guess')).output, /No reply/);
    assert.is(bras.openCount, 1);
    const bye = await radclient('disconnect', 'User-Name = "ada", Message-Authenticator = 0x00');
    assert.match(bye.output, /Received Disconnect-ACK/);
    assert.equal([bras.openCount, ada.closed], [0, 'padt']);
  },
);

check('with another secret than freeradius has, nobody gets in, and the reason is told', async () => {
  const { access, bras, radius } = await connect(await start(), 'another');
  const ada = access.dial(1, 'ada', 'secret-a', { methods: ['chap-md5'] });
  await eventually(
    'freeradius to refuse the signature',
    () =>
      /Message-Authenticator/.test(daemon?.output ?? '') && /Dropping|invalid/i.test(daemon?.output ?? ''),
  );
  access.pass(9_100);
  assert.not(ada.isUp);
  assert.equal([bras.openCount, radius.counters.get('radius.no-answer')], [0, 1]);
});

test.run();
