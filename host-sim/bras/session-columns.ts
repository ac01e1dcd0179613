/**
 * What the BRAS keeps of an open session beside the row of the session table: the rest of `FrozenPpp`, and when its next turn
 * of each kind is. Flat columns by row, 41 bytes a session, so that an open session costs no object but its user's name.
 *
 * Bounded by the table's rows; they grow with it. Times are whole seconds since the clock's zero; 0: never.
 */

import { writeUint32 } from '../../agent/core/bytes.js';
import type { FrozenPpp } from '../../agent/pppoe/ppp-session.js';
import type { SessionTable } from '../../agent/pppoe/session-table.js';

/** What all sessions of a BRAS are given alike. */
export interface CommonGrant {
  /** Ours on every session; 32-bit numbers. */
  readonly local: number;
  readonly dns: readonly number[];
  readonly nbns: readonly number[];
}

const firstRows = 64;
/** One byte each of `FrozenPpp`. */
const byteFields = [
  'lcpIdentifier',
  'ipcpIdentifier',
  'ipv6cpIdentifier',
  'echoIdentifier',
  'method',
  'ipcpState',
  'ipv6cpState',
] as const;
const byteCount = byteFields.length;
export const echoIdentifierByte = byteFields.indexOf('echoIdentifier');

export class SessionColumns {
  /** 1: the session is in `bytes`, and there is no object of it. */
  frozen = new Uint8Array(firstRows);
  bytes = new Uint8Array(firstRows * byteCount);
  /** What IPCP is to give, or has given; taken from the pool. 0 for none. */
  grantedIpv4 = new Uint32Array(firstRows);
  /** 1: AAA gave it. */
  isOwnIpv4 = new Uint8Array(firstRows);
  mru = new Uint16Array(firstRows);
  peerMru = new Uint16Array(firstRows);
  echoAtS = new Uint32Array(firstRows);
  endAtS = new Uint32Array(firstRows);
  interimAtS = new Uint32Array(firstRows);
  interimS = new Uint16Array(firstRows);
  advertiseAtS = new Uint32Array(firstRows);
  /** When a packet of his went either way. */
  activeS = new Uint32Array(firstRows);

  /** Room for all rows of the table. */
  fit(table: SessionTable): void {
    const rows = table.id.length;
    if (rows <= this.frozen.length) return;
    this.frozen = grow(this.frozen, new Uint8Array(rows));
    this.bytes = grow(this.bytes, new Uint8Array(rows * byteCount));
    this.grantedIpv4 = grow(this.grantedIpv4, new Uint32Array(rows));
    this.isOwnIpv4 = grow(this.isOwnIpv4, new Uint8Array(rows));
    this.mru = grow(this.mru, new Uint16Array(rows));
    this.peerMru = grow(this.peerMru, new Uint16Array(rows));
    this.echoAtS = grow(this.echoAtS, new Uint32Array(rows));
    this.endAtS = grow(this.endAtS, new Uint32Array(rows));
    this.interimAtS = grow(this.interimAtS, new Uint32Array(rows));
    this.interimS = grow(this.interimS, new Uint16Array(rows));
    this.advertiseAtS = grow(this.advertiseAtS, new Uint32Array(rows));
    this.activeS = grow(this.activeS, new Uint32Array(rows));
  }

  clear(row: number): void {
    this.frozen[row] = 0;
    this.grantedIpv4[row] = 0;
    this.isOwnIpv4[row] = 0;
    this.echoAtS[row] = 0;
    this.endAtS[row] = 0;
    this.interimAtS[row] = 0;
    this.interimS[row] = 0;
    this.advertiseAtS[row] = 0;
    this.activeS[row] = 0;
  }

  freeze(table: SessionTable, row: number, ppp: FrozenPpp): void {
    this.frozen[row] = 1;
    for (let i = 0; i < byteCount; i++) this.bytes[row * byteCount + i] = ppp[byteFields[i]];
    this.mru[row] = ppp.mru;
    this.peerMru[row] = ppp.peerMru;
    table.localMagic[row] = ppp.magicNumber;
    table.peerMagic[row] = ppp.peerMagicNumber;
    table.echoMisses[row] = ppp.echoMisses;
    table.localInterfaceHigh[row] = ppp.localIdHigh;
    table.localInterfaceLow[row] = ppp.localIdLow;
    table.peerInterfaceHigh[row] = ppp.peerIdHigh;
    table.peerInterfaceLow[row] = ppp.peerIdLow;
  }

  thaw(table: SessionTable, row: number, { local, dns, nbns }: CommonGrant): FrozenPpp {
    this.frozen[row] = 0;
    const byte = (name: (typeof byteFields)[number]) =>
      this.bytes[row * byteCount + byteFields.indexOf(name)];
    return {
      magicNumber: table.localMagic[row],
      peerMagicNumber: table.peerMagic[row],
      mru: this.mru[row],
      peerMru: this.peerMru[row],
      lcpIdentifier: byte('lcpIdentifier'),
      ipcpIdentifier: byte('ipcpIdentifier'),
      ipv6cpIdentifier: byte('ipv6cpIdentifier'),
      echoIdentifier: byte('echoIdentifier'),
      echoMisses: table.echoMisses[row],
      method: byte('method'),
      ipcpState: byte('ipcpState'),
      ipv6cpState: byte('ipv6cpState'),
      localIpv4: local,
      peerIpv4: this.grantedIpv4[row],
      primaryDns: dns[0] ?? 0,
      secondaryDns: dns[1] ?? 0,
      primaryNbns: nbns[0] ?? 0,
      secondaryNbns: nbns[1] ?? 0,
      localIdHigh: table.localInterfaceHigh[row],
      localIdLow: table.localInterfaceLow[row],
      peerIdHigh: table.peerInterfaceHigh[row],
      peerIdLow: table.peerInterfaceLow[row],
    };
  }

  /** The next identifier of our Echo-Requests. */
  nextEcho(row: number): number {
    const at = row * byteCount + echoIdentifierByte;
    this.bytes[at]++;
    return this.bytes[at];
  }

  get memoryBytes(): number {
    let bytes = 0;
    for (const value of Object.values(this)) if (ArrayBuffer.isView(value)) bytes += value.byteLength;
    return bytes;
  }
}

export function macOf(table: SessionTable, row: number): Uint8Array {
  const mac = new Uint8Array(6);
  mac[0] = table.macHigh[row] >>> 8;
  mac[1] = table.macHigh[row];
  writeUint32(mac, 2, table.macLow[row]);
  return mac;
}

function grow<T extends Uint8Array | Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
