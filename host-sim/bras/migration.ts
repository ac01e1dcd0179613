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

import { automatonState } from '../../agent/pppoe/automaton.js';
import { smallestMru } from '../../agent/pppoe/lcp-options.js';
import type { FrozenPpp } from '../../agent/pppoe/ppp-session.js';
import { type Host, maxLineIdLength, maxSessions, stateOpen } from '../../agent/pppoe/session-table.js';
import { formatMac } from '../../agent/wire/address.js';
import { isVlanTpid } from '../../agent/wire/vlan.js';
import { ipv6LowMask } from './acl.js';
import { formatIpv4 } from './address-pool.js';
import type { Bras } from './bras.js';
import { groupLimit, type Membership, sourceLimit } from './igmp-proxy.js';

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
  /** 1: AAA gave it, and it stays the user's while IPCP is down. */
  readonly isOwnIpv4: number;
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
      isOwnIpv4: columns.isOwnIpv4[row],
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

/** How many sessions came in. Throws, naming the session and the field, before anything is changed: it may be a file edited by hand. */
export function importSessions(now: number, bras: Bras, snapshot: SessionSnapshot): number {
  if (!isObject(snapshot)) throw new Error(`snapshot: expected an object, got ${snapshot}`);
  check(bras, snapshot);
  for (const session of snapshot.sessions) restore(now, bras, session);
  return snapshot.sessions.length;
}

/** Whole numbers of a session, and the least and the most they may be. */
const ranges: { readonly [Field in keyof MovedSession]?: readonly [number, number] } = {
  id: [1, maxSessions],
  macHigh: [0, 0xffff],
  macLow: [0, 0xffffffff],
  link: [0, 0xffff],
  outerTag: [0, 0xffffffff],
  innerTag: [0, 0xffffffff],
  service: [0, 0xff],
  ipv4: [0, 0xffffffff],
  isOwnIpv4: [0, 1],
  ipv6High: [0, 0xffffffff],
  ipv6Low: [0, 0xffffffff],
  mtu: [smallestMru, 0xffff],
  // Ten years: times are kept as 32 bits of seconds.
  ageS: [0, 315_360_000],
  endInS: [0, 315_360_000],
  interimS: [0, 0xffff],
  packetsIn: [0, Number.MAX_SAFE_INTEGER],
  bytesIn: [0, Number.MAX_SAFE_INTEGER],
  packetsOut: [0, Number.MAX_SAFE_INTEGER],
  bytesOut: [0, Number.MAX_SAFE_INTEGER],
  cookieSerial: [0, 0xffffffff],
};
const texts = ['circuitId', 'remoteId', 'user', 'accountingId', 'rateClass'] as const;
/** Of an accounting id: an attribute of RADIUS (RFC 2865 §5); of a PAP or CHAP name it is as much. */
const longestText = 253;

const byte = [0, 0xff] as const;
const word = [0, 0xffffffff] as const;
/** The automaton's states in which no timer runs, as a session that rests has them. */
const { initial, closed, stopped, opened } = automatonState;
const resting: readonly number[] = [initial, closed, stopped, opened];
const pppRanges: { readonly [Field in keyof FrozenPpp]: readonly [number, number] } = {
  magicNumber: word,
  peerMagicNumber: word,
  mru: [smallestMru, 0xffff],
  peerMru: [smallestMru, 0xffff],
  lcpIdentifier: byte,
  ipcpIdentifier: byte,
  ipv6cpIdentifier: byte,
  echoIdentifier: byte,
  echoMisses: byte,
  method: [0, 3],
  ipcpState: [automatonState.initial, automatonState.opened],
  ipv6cpState: [automatonState.initial, automatonState.opened],
  localIpv4: word,
  peerIpv4: word,
  primaryDns: word,
  secondaryDns: word,
  primaryNbns: word,
  secondaryNbns: word,
  localIdHigh: word,
  localIdLow: word,
  peerIdHigh: word,
  peerIdLow: word,
};

type Fields = { readonly [field: string]: unknown };

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
  const taken = { id: new Set<unknown>(), ipv4: new Set<unknown>(), ipv6: new Set<unknown>() };
  for (const [i, session] of sessions.entries()) checkSession(bras, session, `sessions[${i}]`, taken);
}

function checkSession(
  bras: Bras,
  session: MovedSession,
  place: string,
  taken: { readonly [key in 'id' | 'ipv4' | 'ipv6']: Set<unknown> },
): void {
  const { config, table } = bras;
  if (!isObject(session)) throw new Error(`${place}: expected a session, got ${session}`);
  const fault = (field: string, expected: string, got: unknown): never => {
    throw new Error(`${place}.${field}: expected ${expected}, got ${JSON.stringify(got)}`);
  };
  const checkRanges = (
    fields: Fields,
    all: { readonly [field: string]: readonly [number, number] },
    at = '',
  ) => {
    for (const [field, [least, most]] of Object.entries(all)) {
      const value = fields[field];
      if (!(typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most))
        fault(at + field, `${least}..${most}`, value);
    }
  };
  const once = (field: string, set: Set<unknown>, value: unknown, isFree: boolean) => {
    if (set.has(value) || !isFree) fault(field, 'one that is not taken', value);
    set.add(value);
  };
  checkRanges(
    session as unknown as Fields,
    ranges as { readonly [field: string]: readonly [number, number] },
  );
  const { id, ipv4, ipv6High, ipv6Low, service, rateClass, ppp, classes, groups } = session;
  for (const field of texts) {
    const value: unknown = session[field];
    if (typeof value !== 'string' || Buffer.byteLength(value) > longestText)
      fault(field, `a text of at most ${longestText} bytes`, value);
  }
  for (const field of ['circuitId', 'remoteId'] as const)
    if (Buffer.byteLength(session[field]) > maxLineIdLength)
      fault(field, `at most ${maxLineIdLength} bytes`, session[field]);
  if (!isObject(ppp)) fault('ppp', 'what PPP has come to', ppp);
  checkRanges(ppp as unknown as Fields, pppRanges, 'ppp.');
  for (const field of ['ipcpState', 'ipv6cpState'] as const)
    if (!resting.includes(ppp[field])) fault(`ppp.${field}`, 'a state at rest: 0, 2, 3 or 9', ppp[field]);
  for (const field of ['outerTag', 'innerTag'] as const) {
    const tag = session[field];
    if (tag !== 0 && !(isVlanTpid(tag >>> 16) && (tag & 0xf000) === 0))
      fault(field, '0, or a tag protocol identifier and a VLAN identifier', tag);
  }
  if (session.outerTag === 0 && session.innerTag !== 0)
    fault('innerTag', '0 without an outer one', session.innerTag);
  once('id', taken.id, id, table.rowOf[id] === 0);
  if (ipv4 !== 0) once('ipv4', taken.ipv4, ipv4, table.findIpv4(ipv4) === 0 && config.pool.canTake(ipv4));
  if ((ipv4 !== 0) !== (ppp.ipcpState === automatonState.opened))
    fault('ipv4', 'an address if ppp.ipcpState is 9, and 0 if not', ipv4);
  if ((ipv6High | ipv6Low) !== 0) {
    const { prefixes } = config;
    if (!prefixes) fault('ipv6High', '0: there is no IPv6 here', ipv6High);
    if ((ipv6Low & ~ipv6LowMask(prefixes!.length)) !== 0)
      fault('ipv6Low', `zeros behind bit ${prefixes!.length}`, ipv6Low);
    const isFree =
      table.findIpv6(ipv6High, ipv6Low) === 0 && prefixes!.canTake({ high: ipv6High, low: ipv6Low });
    once('ipv6Low', taken.ipv6, `${ipv6High} ${ipv6Low}`, isFree);
  }
  if (service >= config.services.length) fault('service', `0..${config.services.length - 1}`, service);
  if (bras.shapers.up.classOf(rateClass) === undefined)
    fault('rateClass', 'one that is configured here', rateClass);
  const isClass = (one: unknown) => typeof one === 'string' && /^([0-9a-f]{2}){1,253}$/.test(one);
  if (!Array.isArray(classes) || !classes.every(isClass)) fault('classes', 'a list of hex texts', classes);
  if (!Array.isArray(groups) || groups.length > groupLimit || !groups.every(isMembership))
    fault('groups', `at most ${groupLimit} memberships`, groups);
}

function isMembership(one: unknown): boolean {
  if (!isObject(one)) return false;
  const { group, mode, sources } = one as unknown as Fields;
  const isAddress = (value: unknown) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;
  return (
    isAddress(group) &&
    (group as number) >>> 28 === 0xe &&
    (mode === 'include' || mode === 'exclude') &&
    Array.isArray(sources) &&
    sources.length <= sourceLimit &&
    sources.every(isAddress)
  );
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
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
  columns.grantedIpv4[row] = session.ipv4;
  columns.isOwnIpv4[row] = session.isOwnIpv4;
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
