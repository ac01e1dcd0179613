/**
 * Sessions moved from one BRAS to another (the seed, §3.2.6: "mechanisms to easily migrate session state between BRAS
 * instances"): `exportSessions` takes one consistent picture and falls silent, `importSessions` goes on where it stopped. The
 * importing BRAS must have the same MAC on the access side, so that the homes see no difference.
 *
 *     {"version":1,"ac":"02:ac:00:00:00:01","local":"10.0.0.1","sessions":[{"id":…}, …]}    JSON, for people to read too
 *
 * What is lost: packets that wait in a shaper, and frames between the two calls; a session still negotiating or
 * renegotiating is left behind and counted, and its home dials in again. Accounting goes on under the same id, without a stop.
 * Either all sessions are imported, or none and an error names the first that cannot be. Bounded by the session table.
 */

import type { FrozenPpp } from '../../agent/pppoe/ppp-session.js';
import { type Host, stateOpen } from '../../agent/pppoe/session-table.js';
import { formatMac } from '../../agent/wire/address.js';
import { formatIpv4 } from './address-pool.js';
import type { Bras } from './bras.js';
import type { Membership } from './igmp-proxy.js';

export const snapshotVersion = 1;

export interface SessionSnapshot {
  readonly version: number;
  /** `02:ac:00:00:00:01` */
  readonly ac: string;
  readonly local: string;
  readonly sessions: readonly MovedSession[];
}

export interface MovedSession extends Host {
  readonly id: number;
  readonly service: number;
  readonly circuitId: string;
  readonly remoteId: string;
  readonly user: string;
  readonly accountingId: string;
  /** Of the AAA server's, hex. */
  readonly classes: readonly string[];
  readonly rateClass: string;
  readonly ipv4: number;
  readonly ipv6High: number;
  readonly ipv6Low: number;
  /** What we may send at most. */
  readonly mtu: number;
  readonly ageS: number;
  /** Seconds left; 0: for ever. */
  readonly endInS: number;
  readonly interimS: number;
  readonly packetsIn: number;
  readonly bytesIn: number;
  readonly packetsOut: number;
  readonly bytesOut: number;
  readonly cookieSerial: number;
  readonly ppp: FrozenPpp;
  readonly groups: readonly Membership[];
}

/** All open sessions, and how many could not be taken. `bras` neither hears nor says anything afterwards. */
export function exportSessions(
  now: number,
  bras: Bras,
): { readonly snapshot: SessionSnapshot; readonly leftBehind: number } {
  const { table, columns, config } = bras;
  const sessions: MovedSession[] = [];
  const nowS = Math.floor(now / 1000);
  for (let row = 1; row < table.rowEnd; row++) {
    if (table.state[row] !== stateOpen || !bras.isFrozen(row)) continue;
    const { accountingId, circuitId, remoteId } = bras.subscriber(row);
    sessions.push({
      id: table.id[row],
      macHigh: table.macHigh[row],
      macLow: table.macLow[row],
      link: table.link[row],
      outerTag: table.outerTag[row],
      innerTag: table.innerTag[row],
      service: table.service[row],
      circuitId,
      remoteId,
      user: bras.users[row],
      accountingId,
      classes: (bras.classes.get(row) ?? []).map(one => Buffer.from(one).toString('hex')),
      rateClass: bras.shapers.up.className(table.rateClass[row]),
      ipv4: table.ipv4[row],
      ipv6High: table.ipv6High[row],
      ipv6Low: table.ipv6Low[row],
      mtu: table.mru[row],
      ageS: nowS - Math.floor(table.openedAt[row] / 1000),
      endInS: columns.endAtS[row] === 0 ? 0 : Math.max(1, columns.endAtS[row] - nowS),
      interimS: columns.interimS[row],
      packetsIn: table.packetsIn[row],
      bytesIn: table.bytesIn[row],
      packetsOut: table.packetsOut[row],
      bytesOut: table.bytesOut[row],
      cookieSerial: table.cookieSerial[row],
      ppp: columns.thaw(table, row, config),
      groups: bras.igmp.membershipsOf(row),
    });
  }
  const snapshot = {
    version: snapshotVersion,
    ac: formatMac(config.mac),
    local: formatIpv4(config.local),
    sessions,
  };
  bras.silence();
  return { snapshot, leftBehind: table.count - sessions.length };
}

/** How many sessions came in. Throws, naming the session and the field, before anything is changed. */
export function importSessions(now: number, bras: Bras, snapshot: SessionSnapshot): number {
  check(bras, snapshot);
  for (const session of snapshot.sessions) restore(now, bras, session);
  return snapshot.sessions.length;
}

function check(bras: Bras, { version, ac, local, sessions }: SessionSnapshot): void {
  const { config, table } = bras;
  const expect = (field: string, expected: unknown, got: unknown) => {
    if (expected !== got) throw new Error(`${field}: expected ${expected}, got ${got}`);
  };
  expect('version', snapshotVersion, version);
  expect('ac', formatMac(config.mac), ac);
  expect('local', formatIpv4(config.local), local);
  if (!Array.isArray(sessions)) throw new Error('sessions: expected a list');
  if (table.count + sessions.length > table.limit)
    throw new Error(`sessions: expected at most ${table.limit - table.count}, got ${sessions.length}`);
  const ids = new Set<number>();
  const addresses = new Set<number>();
  for (const [i, session] of sessions.entries()) {
    const fault = (field: string, expected: string): never => {
      throw new Error(
        `sessions[${i}].${field}: expected ${expected}, got ${session[field as keyof MovedSession]}`,
      );
    };
    const { id, ipv4, service, rateClass } = session;
    if (!(Number.isInteger(id) && id >= 1 && id <= 65_534)) fault('id', '1..65534');
    if (ids.has(id) || table.rowOf[id] !== 0) fault('id', 'one that is not taken');
    if (!(Number.isInteger(ipv4) && ipv4 >= 0 && ipv4 < 2 ** 32)) fault('ipv4', '0..2^32-1');
    if (ipv4 !== 0 && (addresses.has(ipv4) || table.findIpv4(ipv4) !== 0))
      fault('ipv4', 'one that is not taken');
    if (config.services[service] === undefined) fault('service', `0..${config.services.length - 1}`);
    if (bras.shapers.up.classOf(rateClass) === undefined) fault('rateClass', 'one that is configured here');
    for (const [field, value] of Object.entries<number>({ ...session.ppp }))
      if (!(Number.isInteger(value) && value >= 0 && value < 2 ** 32)) fault(`ppp.${field}`, '0..2^32-1');
    ids.add(id);
    addresses.add(ipv4);
  }
}

function restore(now: number, bras: Bras, session: MovedSession): void {
  const { table, columns, config } = bras;
  const { id, ppp, user, classes } = session;
  table.openAs(now, id, session);
  const row = table.rowOf[id];
  columns.fit(table);
  columns.clear(row);
  table.settle(id);
  table.openedAt[row] = now - session.ageS * 1000;
  table.service[row] = session.service;
  table.cookieSerial[row] = session.cookieSerial;
  table.setLineIds(row, Buffer.from(session.circuitId), Buffer.from(session.remoteId));
  table.mru[row] = session.mtu;
  table.setIpv4(row, session.ipv4);
  table.setIpv6Prefix(row, session.ipv6High, session.ipv6Low);
  config.pool.take(session.ipv4);
  config.prefixes?.take({ high: session.ipv6High, low: session.ipv6Low });
  table.rateClass[row] = bras.shapers.up.classOf(session.rateClass)!;
  table.packetsIn[row] = session.packetsIn;
  table.bytesIn[row] = session.bytesIn;
  table.packetsOut[row] = session.packetsOut;
  table.bytesOut[row] = session.bytesOut;
  columns.freeze(table, row, ppp);
  const nowS = Math.floor(now / 1000);
  columns.activeS[row] = nowS;
  if (session.endInS > 0) columns.endAtS[row] = nowS + session.endInS;
  columns.interimS[row] = session.interimS;
  if (session.interimS > 0) columns.interimAtS[row] = nowS + session.interimS;
  // At once, for its lifetimes run from what the other BRAS last said.
  if ((session.ipv6High | session.ipv6Low) !== 0) columns.advertiseAtS[row] = nowS;
  bras.movedIds.set(row, session.accountingId);
  if (classes.length > 0)
    bras.classes.set(
      row,
      classes.map(one => Buffer.from(one, 'hex')),
    );
  for (const membership of session.groups) bras.igmp.restore(now, row, membership);
  bras.adopt(now, row, user);
}
