import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { type Host, maxSessions, SessionTable } from '../../agent/pppoe/session-table.js';

function host(index: number): Host {
  return { macHigh: 0x0210, macLow: index, link: index % 3, outerTag: 0, innerTag: 0 };
}

test('ids go from 1 to 65534 and never 0 or 0xffff; one closed comes again only after all others', () => {
  const table = new SessionTable({ sessions: 10 }, maxSessions - 2);
  const ids: number[] = [];
  for (let i = 0; i < maxSessions; i++) {
    const id = table.open(0, host(i));
    ids.push(id);
    table.close(id);
  }
  assert.equal(ids.slice(0, 4), [maxSessions - 2, maxSessions - 1, maxSessions, 1]);
  assert.is(new Set(ids).size, maxSessions);
  assert.is(table.open(0, host(0)), ids[0]);
  assert.is(table.rowEnd, 2, 'rows, though, are used again at once');
});

test('a full table gives no id, at its limit and at the 65,534 of the protocol', () => {
  for (const sessions of [1, 100, maxSessions]) {
    const table = new SessionTable({ sessions });
    for (let i = 0; i < sessions; i++) assert.is.not(table.open(0, host(i)), 0);
    assert.is(table.open(0, host(sessions)), 0);
    assert.is(table.count, sessions);
    assert.ok(table.close(1));
    assert.not.ok(table.close(1));
    assert.is(table.open(0, host(sessions)), sessions === maxSessions ? 1 : sessions + 1);
  }
  assert.throws(() => new SessionTable({ sessions: 65_535 }), /sessions: expected 1..65534, got 65535/);
});

test('a session moved here keeps its id, unless that is taken', () => {
  const table = new SessionTable({ sessions: 2 });
  assert.ok(table.openAs(0, 4_242, host(1)));
  assert.not.ok(table.openAs(0, 4_242, host(2)));
  assert.is(table.id[table.rowOf[4_242]], 4_242);
  assert.throws(() => table.openAs(0, 65_535, host(1)), /id: expected 1..65534, got 65535/);
});

test('a row used again holds nothing of the session before it', () => {
  const table = new SessionTable({ sessions: 5 });
  const fresh = rowText(table, table.rowOf[table.open(7, host(1))]);
  const row = table.rowOf[1];
  table.settle(1);
  table.setIpv4(row, 0x0a000001);
  table.setIpv6Prefix(row, 0x20010db8, 1);
  table.setLineIds(row, new Uint8Array([65]), new Uint8Array([66]));
  for (const column of [
    table.packetsIn,
    table.bytesIn,
    table.packetsOut,
    table.bytesOut,
    table.rateClass,
    table.heardSeconds,
    table.localMagic,
    table.peerMagic,
    table.lastIdentifier,
    table.echoMisses,
    table.cookieSerial,
    table.service,
    table.mru,
    table.localInterfaceHigh,
    table.localInterfaceLow,
    table.peerInterfaceHigh,
    table.peerInterfaceLow,
  ])
    column[row] = 99;
  table.close(1);
  const id = table.open(7, host(1));
  assert.is(table.rowOf[id], row);
  table.id[row] = 1;
  assert.is(rowText(table, row), fresh);
});

/** Every column of the row, public or not, as text. */
function rowText(table: SessionTable, row: number): string {
  const text: string[] = [];
  for (const [name, column] of Object.entries(table))
    if (ArrayBuffer.isView(column) && name !== 'rowOf' && name !== 'hostHeads' && !name.endsWith('Ids'))
      text.push(`${name}=${(column as Uint32Array)[row]}`);
  return `${text.join()} ${table.circuitId(row)} ${table.remoteId(row)}`;
}

test('half-open sessions are listed oldest first, and leave the list settled or closed, wherever they stand', () => {
  const table = new SessionTable({ sessions: 10 });
  const ids = [0, 1, 2, 3, 4].map(i => table.open(i, host(i)));
  table.settle(ids[2]);
  table.settle(ids[2]);
  table.close(ids[4]);
  table.close(ids[0]);
  const order: number[] = [];
  while (table.oldestHalfOpenId !== 0) {
    order.push(table.oldestHalfOpenId);
    table.settle(table.oldestHalfOpenId);
  }
  assert.equal(order, [ids[1], ids[3]]);
  assert.is(table.halfOpenCount, 0);
  assert.is(table.count, 3);
});

test('an address or prefix belongs to one session, and is free when that closes', () => {
  const table = new SessionTable({ sessions: 10, ipv6PrefixLength: 56 });
  const [first, second] = [1, 2].map(i => table.rowOf[table.open(0, host(i))]);
  assert.ok(table.setIpv4(first, 0x0a000001));
  assert.ok(table.setIpv4(first, 0x0a000001), 'again changes nothing');
  assert.not.ok(table.setIpv4(second, 0x0a000001));
  assert.is(table.ipv4[second], 0);
  assert.ok(table.setIpv6Prefix(first, 0x20010db8, 0x00010000));
  assert.not.ok(table.setIpv6Prefix(second, 0x20010db8, 0x000100ff));
  assert.is(table.findIpv6(0x20010db8, 0x00010033), first, 'any /64 of the /56');
  assert.is(table.findIpv6(0x20010db8, 0x00010100), 0);
  table.close(table.id[first]);
  assert.is(table.findIpv4(0x0a000001), 0);
  assert.ok(table.setIpv4(second, 0x0a000001));
  assert.ok(table.setIpv6Prefix(second, 0x20010db8, 0x000100ff));
});

test('against a plain model: random opening, closing and addressing, through growth, finds what is there and nothing else', () => {
  for (let seed = 1; seed <= 10; seed++) {
    const random = new Random(seed, 'table');
    const table = new SessionTable({ sessions: 600 }, 1 + random.below(maxSessions));
    const model = new Map<number, { host: Host; ipv4: number; low: number }>();
    const say = (what: string) => `seed ${seed}: ${what}`;
    for (let step = 0; step < 3_000; step++) {
      const ids = [...model.keys()];
      const id = ids[random.below(Math.max(1, ids.length))];
      const kind = random.below(10);
      if (kind < 5) {
        // Few hosts, so that chains are long.
        const who = { ...host(random.below(40)), outerTag: random.below(2) * 0x81000064 };
        const opened = table.open(step, who);
        assert.is(opened === 0, model.size === 600, say('full'));
        if (opened !== 0) model.set(opened, { host: who, ipv4: 0, low: 0 });
      } else if (kind < 8 && id !== undefined) {
        const mine = model.get(id)!;
        // Two pools whose addresses end alike.
        const ipv4 = 0x0a000000 + random.below(2) * 0x10000 + random.below(500);
        const isTaken = [...model.values()].some(other => other !== mine && other.ipv4 === ipv4);
        assert.is(table.setIpv4(table.rowOf[id], ipv4), !isTaken, say('address'));
        if (!isTaken) mine.ipv4 = ipv4;
        const low = 1 + random.below(1_000);
        const isUsed = [...model.values()].some(other => other !== mine && other.low === low);
        assert.is(table.setIpv6Prefix(table.rowOf[id], 0x20010db8, low), !isUsed, say('prefix'));
        if (!isUsed) mine.low = low;
      } else if (id !== undefined) {
        assert.ok(table.close(id), say('close'));
        model.delete(id);
      }
    }
    assert.is(table.count, model.size);
    const byAddress = new Map([...model].map(([id, session]) => [session.ipv4, id]));
    for (let i = 0; i < 1_000; i++) {
      const address = 0x0a000000 + (i & 1) * 0x10000 + (i >> 1);
      assert.is(table.id[table.findIpv4(address)], byAddress.get(address) ?? 0, say(`address ${i}`));
    }
    for (const [id, session] of model) {
      assert.ok(table.isOf(table.rowOf[id], session.host));
      if (session.low !== 0) assert.is(table.id[table.findIpv6(0x20010db8, session.low)], id, say('prefix'));
      const chain: number[] = [];
      for (let row = table.firstRowOf(session.host); row !== 0; row = table.nextRowOf(row, session.host))
        chain.push(table.id[row]);
      const same = [...model].filter(([, other]) => table.isOf(table.rowOf[id], other.host));
      assert.equal(chain.sort(), same.map(([other]) => other).sort(), say('chain'));
    }
  }
});

test('a session costs less than 300 bytes when the table is full, and never 500 from 1,000 sessions on', () => {
  for (const sessions of [1_000, 1_600, 8_200, 40_000, 55_000, maxSessions]) {
    const table = new SessionTable({ sessions: maxSessions });
    for (let i = 0; i < sessions; i++) table.open(0, host(i));
    const bytes = table.memoryBytes / sessions;
    assert.ok(bytes < (sessions === maxSessions ? 300 : 500), `${sessions}: ${bytes}`);
  }
});

test.run();
