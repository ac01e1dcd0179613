/** The provider's store and its members' addresses. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseHex } from '../../agent/core/bytes.js';
import { MemberTunnel, parseEnvelope } from '../../agent/kibbutz/envelope.js';
import { NonceReserve } from '../../agent/kibbutz/nonce.js';
import { parseAddress } from '../../agent/wire/address.js';
import { aeads, aes128Gcm } from '../../edge/linux/aead.js';
import { openDatabase } from '../../host-sim/coordinator/database.js';
import {
  KeptProvider,
  type KeptProviderOptions,
  type RegistrationFile,
} from '../../host-sim/coordinator/kept-provider.js';
import { MemberNetwork } from '../../host-sim/coordinator/member-network.js';

let directory: string;
let opened: KeptProvider[] = [];

test.before.each(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'kith-kept-')), 'store');
});
test.after.each(async () => {
  for (const one of opened) await one.close();
  opened = [];
  rmSync(join(directory, '..'), { recursive: true });
});

async function open(more: Partial<KeptProviderOptions> = {}): Promise<KeptProvider> {
  const kept = await KeptProvider.open(directory, {
    aeads,
    log: text => assert.unreachable(text),
    ...more,
  });
  opened.push(kept);
  return kept;
}

async function close(kept: KeptProvider): Promise<void> {
  opened = opened.filter(one => one !== kept);
  await kept.close();
}

function fails(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing',
    error => error.message,
  );
}

function tunnelOf({ member, key }: RegistrationFile): MemberTunnel {
  return new MemberTunnel({
    member,
    aead: aes128Gcm,
    deviceKey: parseHex(key) as Uint8Array,
    reserve: new NonceReserve({ savedThrough: 0, save: () => true }),
    controlSeenThrough: 0,
  });
}

test('nothing sealed under numbers that are not on disk yet may leave, and none is used again after a restart', async () => {
  const kept = await open();
  for (const name of ['a', 'b']) await kept.register(name, [1], 'home');
  assert.not(kept.isHolding);
  let released = 0;
  kept.whenReleased = () => {
    assert.not(kept.isHolding);
    released++;
  };
  const nonceOf = (from: KeptProvider) => {
    const told = from.provider.introduce(1, 2);
    const parsed = parseEnvelope(told.ok ? told.value[0].bytes : new Uint8Array(0));
    return parsed.ok ? parsed.value.nonce : 0;
  };
  const first = nonceOf(kept);
  assert.ok(kept.isHolding, 'the reservation is on its way');
  await kept.saved();
  assert.equal([kept.isHolding, released], [false, 1]);
  const second = nonceOf(kept);
  assert.is(second, first + 1);
  assert.not(kept.isHolding, 'the block was reserved');
  await close(kept);
  assert.ok(nonceOf(await open()) > second);
});

test('who is registered again keeps id, account and group, and has another key of a higher generation; all outlives a restart', async () => {
  const settings = { ipv4: '10.107.0.0/16', ipv6: 'fd6b:6974:68::/64', policy: { chargePerMegabyte: 7 } };
  const kept = await open({ settings });
  const forA = await kept.register('a', [1, 29], 'home');
  const forB = await kept.register('b', [1], 'home');
  await kept.register('c', [1], 'train');
  assert.equal(
    [forA.member, forA.aead, forA.generation, forA.addresses],
    [1, 1, 1, ['10.107.0.2/16', 'fd6b:6974:68::2/64']],
  );
  const inner = tunnelOf(forA).seal(new Uint8Array(40), 2);
  const outer = inner.ok ? tunnelOf(forB).carry(inner.value, 1) : inner;
  assert.ok(outer.ok && kept.provider.receive(0, outer.value).ok);
  const again = await kept.register('a', [1], 'home');
  assert.equal([again.member, again.generation], [1, 2]);
  assert.is.not(again.key, forA.key);
  assert.equal([kept.peersOf(1), kept.peersOf(2), kept.peersOf(3)], [[2], [1], []]);
  const accounts = await kept.accounts();
  assert.equal(
    accounts.members.map(({ name, group, givenBytes, takenBytes }) => [name, group, givenBytes, takenBytes]),
    [
      ['a', 'home', 0, 100],
      ['b', 'home', 100, 0],
      ['c', 'train', 0, 0],
    ],
  );
  await close(kept);
  // As `accounts` opens it where no daemon runs: with the settings of the last one.
  const later = await open();
  assert.equal(await later.accounts(), accounts);
  assert.equal([later.settings, later.peersOf(1)], [settings, [2]]);
  assert.equal((await later.register('b', [1], 'train')).member, 2);
  assert.equal([later.peersOf(1), later.peersOf(3)], [[], [2]]);
});

test('a full table, a full group, a wrong name and ciphers nobody has are refused in words', async () => {
  const kept = await open({ settings: { ipv4: '10.107.0.0/28', policy: {} } });
  assert.match(await fails(kept.register('', [1], 'home')), /^name: expected 1\.\.64 printable characters/);
  assert.match(await fails(kept.register('a', [1], 'x'.repeat(65))), /^group: expected 1\.\.64/);
  assert.match(
    await fails(kept.register('a', 'gcm', 'home')),
    /^aeads: expected a list of numbers, got "gcm"/,
  );
  assert.match(await fails(kept.register('a', [2], 'home')), /--aead: the provider has none of 2/);
  for (let i = 0; i < 13; i++) await kept.register(`m${i}`, [1], 'home');
  assert.match(await fails(kept.register('a', [1], 'home')), /as its networks have addresses/);
  assert.is((await kept.register('m3', [1], 'home')).member, 4);
  await close(kept);
  const wide = await open({ settings: { ipv4: '10.107.0.0/16', policy: {} } });
  for (let i = 13; i < 32; i++) await wide.register(`m${i}`, [1], 'home');
  assert.match(await fails(wide.register('a', [1], 'home')), /^group home: expected at most 32 members/);
  assert.is((await wide.register('m3', [1], 'home')).member, 4);
});

test('a store that is another program’s is left as it was', async () => {
  await close(await open());
  const database = await openDatabase(directory);
  await database.write([
    { type: 'del', key: 'master' },
    { type: 'put', key: 'd!x!y', value: '{}' },
  ]);
  await database.close();
  assert.match(await fails(open()), /expected its record "master": this is no store of a provider/);
  const after = await openDatabase(directory);
  assert.equal(await after.keys({ gte: 'm', lt: 'n' }), []);
  await after.close();
});

test('a store that a newer version wrote, or that lacks its number of nonces, is not opened and left as it was', async () => {
  const kept = await open({ settings: { ipv4: '10.107.0.0/16', policy: {} } });
  for (const name of ['a', 'b']) await kept.register(name, [1], 'home');
  await close(kept);
  const entries = async () => {
    const database = await openDatabase(directory);
    const all = await database.entries({ gte: '', lt: '\uffff' });
    await database.close();
    return all;
  };
  const before = await entries();
  const member = JSON.parse(new Map(before).get('member/2')!);
  const changes: readonly (readonly [string, string | undefined, RegExp])[] = [
    ['provider', undefined, /expected a record "provider" that knows member 2$/],
    ['provider', '{"reservedThrough":65536,"lastMember":1}', /that knows member 2$/],
    ['provider', '{"lastMember":2}', /got record "provider": {"lastMember":2}; was a newer version here\?$/],
    ['provider', '{"reservedThrough":-1,"lastMember":2}', /got record "provider"/],
    ['member/2', JSON.stringify({ ...member, ownThrough: undefined }), /got record "member\/2"/],
    ['member/2', JSON.stringify({ ...member, aeads: 1 }), /got record "member\/2"/],
    ['member/2', '{', /got record "member\/2": no JSON; was/],
    ['member/2', 'null', /got record "member\/2"/],
    ['member/x', JSON.stringify(member), /got record "member\/x"/],
    ['pair/1/2', '{"upBytes":0,"downBytes":0,"accepted":0,"dropped":[0]}', /got record "pair\/1\/2"/],
    ['master', '"00"', /got record "master": "00"/],
    ['group/1', '1', /got record "group\/1"/],
    ['settings', '{}', /got record "settings"/],
    ['alias/1', '{}', /got record "alias\/1"/],
  ];
  for (const [key, value, expected] of changes) {
    const database = await openDatabase(directory);
    await database.write([value === undefined ? { type: 'del', key } : { type: 'put', key, value }]);
    await database.close();
    const changed = await entries();
    assert.match(await fails(open()), expected);
    assert.equal(await entries(), changed, key);
    const mended = await openDatabase(directory);
    const old = new Map(before).get(key);
    await mended.write([old === undefined ? { type: 'del', key } : { type: 'put', key, value: old }]);
    await mended.close();
  }
  // Nor one whose members a smaller network has no addresses for, and it keeps the settings that it had.
  assert.match(
    await fails(open({ settings: { ipv4: '10.107.0.0/30', policy: {} } })),
    /^10\.107\.0\.0\/30: expected at most 1 members, got member 2$/,
  );
  assert.equal(await entries(), before);
  await close(await open());
});

test('a batch of any length is written: after a disk was full for long, all that changed is one', async () => {
  const database = await openDatabase(directory, { sync: true });
  const puts = Array.from({ length: 100_001 }, (_, i) => ({ type: 'put' as const, key: `${i}`, value: 'x' }));
  await database.write(puts);
  assert.is((await database.keys({ gte: '', lt: '\uffff' })).length, puts.length);
  await database.close();
});

test('members have the addresses behind the provider’s, told back only for those who can be members', () => {
  for (const [lengthBytes, text, own, first, last, outside] of [
    [
      4,
      '10.107.0.0/29',
      '10.107.0.1/29',
      '10.107.0.2/29',
      '10.107.0.6/29',
      ['10.107.0.0', '10.107.0.1', '10.107.0.7', '10.106.0.2'],
    ],
    [
      16,
      'fd00::/126',
      'fd00::1/126',
      'fd00::2/126',
      'fd00::2/126',
      ['fd00::', 'fd00::1', 'fd00::3', 'fd01::2'],
    ],
  ] as const) {
    const network = new MemberNetwork('--net', text, lengthBytes);
    assert.equal([network.own, network.prefixOf(1), network.prefixOf(network.members)], [own, first, last]);
    assert.throws(() => network.prefixOf(network.members + 1), /expected at most \d members/);
    const memberAt = (address: string) =>
      network.memberAt(parseAddress(address.split('/')[0]) as Uint8Array, 0);
    assert.equal([memberAt(first), memberAt(last)], [1, network.members]);
    for (const address of outside) assert.is(memberAt(address), undefined, address);
  }
  assert.is(new MemberNetwork('--net', 'fd00::/64', 16).prefixOf(0xfffffffd), 'fd00::ffff:fffe/64');
  assert.is(new MemberNetwork('--net', '10.0.0.0/8', 4).members, 2 ** 24 - 3);
  for (const text of ['10.0.0.0', '10.0.0.0/7', '10.0.0.0/31', '10.0.0.1/30', 'fd00::/64', '10.0.0.0/x', ''])
    assert.throws(() => new MemberNetwork('--net', text, 4), /^--net: expected a network with 8 to 30 bits/);
  for (const text of ['fd00::', 'fd00::/63', 'fd00::/127', 'fd00:0:0:0:1::/64', 'fd00::4/125', '10.0.0.0/8'])
    assert.throws(
      () => new MemberNetwork('--net', text, 16),
      /^--net: expected a network with 64 to 126 bits/,
    );
});

test.run();
