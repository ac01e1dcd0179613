/**
 * A member of a mobile kibbutz that only carries (docs/kibbutz.md): while the board's own traffic keeps its uplink's radio up it
 * advertises that, takes its neighbours' packets to the provider and brings back the answers, and keeps the account. It has no
 * packets of its own, so it never uses a neighbour. Policy `paper`, AES-128-CCM.
 *
 * The same datagrams as agent/kibbutz/{signal,envelope,introduction,job}.ts, where each byte is explained, written a second time
 * because those with the rest of the firmware are 63 KB (docs/espruino.md). What is not needed to carry is not here: it hears no signals (who is
 * carried says in every hop who and where it is), asks no owner for limits beside the credit, and has one socket for the local link
 * and the uplink.
 *
 * One record is kept, in JSON: numbers are reserved in it before they are used (agent/kibbutz/nonce.ts), and so is credit before
 * the packet that takes it leaves; the bytes carried are in it a minute later at most.
 * Bounds: `mostNeighbours`, those introduced first; `window` packets of each key.
 */

import {
  concatBytes,
  copyBytes,
  decodeUtf8,
  encodeUtf8,
  readUint32,
  writeUint16,
  writeUint32,
} from '../../agent/core/bytes.js';
import { never } from '../../agent/core/time.js';
import { aeadNonce, readNonce, writeNonce } from '../../agent/kibbutz/nonce.js';
import type { CborMap } from '../../agent/message/cbor.js';
import type { Aead } from '../../agent/port/aead.js';
import type { Saved } from '../../agent/port/platform.js';
import { noJob, type SmallJob, type SmallVoice } from './small-agent.js';

/** Of `kith.json`. */
export interface KibbutzSettings {
  readonly member: number;
  readonly generation: number;
  /** 16 bytes. */
  readonly key: readonly number[];
  readonly provider: { readonly host: string; readonly port: number };
  readonly group: string;
  readonly port: number;
  /** How long the uplink's radio stays up after a packet, ms: 1 … 60,000. (build.ts shortens names that end in Ms.) */
  readonly tail: number;
  /** Advertisement periods that each neighbour gets: from 1. */
  readonly credit: number;
}

export interface KibbutzCalls {
  /** Keeps the record over restarts; false: it could not. */
  keep(key: string, record: Uint8Array): boolean;
  send(datagram: Uint8Array, port: number, address: string): void;
}

export interface SmallKibbutz extends SmallJob {
  /** A datagram came to the board's port of the kibbutz. */
  hear(now: number, datagram: Uint8Array, port: number, address: string): void;
  /** The board sent something over its uplink. */
  sentOwn(now: number): void;
}

/** The last nonce of a key, and which of the `window` up to it were seen: bit 0 is the last. */
interface Window {
  highest: number;
  seen: number;
}

interface Neighbour extends Window {
  readonly member: number;
  generation: number;
  key: Uint8Array;
  credit: number;
  given: number;
  /** As its last hop said; −1: none came since the start. */
  boot: number;
  port: number;
  address: string;
  offered: boolean;
  used: boolean;
  /** As the provider reported last; −1: it has not yet. */
  accepted: number;
  dropped: number;
  /** In sixteenths of a packet. */
  trouble: number;
  refusedUntil: number;
}

type Kept = readonly [
  generation: number,
  nonceThrough: number,
  sequenceThrough: number,
  controlSeen: number,
  neighbours: readonly (readonly [number, number, readonly number[], number, number])[],
];

/** Beside them the board has room for what it does otherwise. */
const mostNeighbours = 8;
/** Bits of a number: half of what RFC 4303 §3.4.3 prefers, what it asks for at least. */
const window = 32;
/** As agent/kibbutz: blocks that are reserved at a time, and how often accounts are saved and said. */
const nonceBlock = 65_536;
const sequenceBlock = 4_194_304;
const saveMs = 60_000;
/** As drop-report.ts: 8 packets carried for nothing, each made up for by 16 others. */
const toleratedTrouble = 8 * 16;
const refusalMs = 300_000;
const ccm = 3;
const own = 1;
const carried = 2;
const down = 3;
const returned = 4;
const control = 5;
const hop = 6;
const advertisement = 0x11;
const refusal = 0x13;

export const kibbutzCounters = [
  'datagrams.malformed',
  'datagrams.replayed',
  'datagrams.forged',
  'signals',
  'hops.unknown-sender',
  'hops.not-its-own',
  'forwarded',
  'refused.idle',
  'refused.not-offered',
  'refused.credit',
  'refused.patience',
  'returned',
  'returned.no-path',
  'introductions.unusable',
  'unsealed',
] as const;
export type KibbutzCounter = (typeof kibbutzCounters)[number];

/** Throws if the record is none: without its numbers the key must not be used. `boot`: 0 … 2^32 − 1, new at each start. */
export function smallKibbutz(
  voice: SmallVoice,
  settings: KibbutzSettings,
  boot: number,
  saved: Saved,
  aead: Aead,
  calls: KibbutzCalls,
): SmallKibbutz {
  const { member, generation, provider, tail: tailMs } = settings;
  const recordKey = `kibbutz/${member}`;
  const deviceKey = new Uint8Array(settings.key);
  const record = saved[recordKey];
  const kept: Kept = record ? JSON.parse(decodeUtf8(record) as string) : [generation, 0, 0, 0, []];
  let nonce = kept[1];
  let sequence = kept[2];
  let nonceThrough = nonce;
  let sequenceThrough = sequence;
  const fromSequence = sequence;
  // The provider counts anew under a new key.
  const controls: Window = { highest: kept[0] === generation ? kept[3] : 0, seen: -1 };
  const returns: Window = { highest: 0, seen: -1 };
  const neighbours: Neighbour[] = [];
  for (const [peer, ofPair, key, credit, given] of kept[4]) meet(peer, ofPair, key, credit, given);
  let upUntil = -1;
  let sharedUntil = -1;
  let saveAt = never;
  let ledgerAt = 0;
  let ledgerSaidAt = -saveMs;

  function meet(
    peer: number,
    ofPair: number,
    key: readonly number[] | Uint8Array,
    credit: number,
    given: number,
  ): void {
    neighbours.push({
      member: peer,
      generation: ofPair,
      key: new Uint8Array(key),
      credit,
      given,
      boot: -1,
      port: 0,
      address: '',
      offered: false,
      used: false,
      accepted: 0,
      dropped: -1,
      trouble: 0,
      refusedUntil: 0,
      highest: 0,
      seen: -1,
    });
  }

  function keep(): boolean {
    saveAt = never;
    const accounts = neighbours.map(each => [
      each.member,
      each.generation,
      [].slice.call(each.key),
      each.credit,
      each.given,
    ]);
    const all = [generation, nonceThrough, sequenceThrough, controls.highest, accounts];
    return calls.keep(recordKey, encodeUtf8(JSON.stringify(all)));
  }

  function find(peer: number): Neighbour | undefined {
    return neighbours.filter(each => each.member === peer)[0];
  }

  function purposeKey(key: Uint8Array, kind: number): Uint8Array {
    return aead.seal(key, aeadNonce(0, kind), new Uint8Array(0), new Uint8Array(16)).subarray(0, 16);
  }

  function seal(kind: number, key: Uint8Array, carrier: number, content: Uint8Array): Uint8Array | undefined {
    if (nonce >= nonceThrough) {
      nonceThrough += nonceBlock;
      if (!keep()) {
        nonceThrough = nonce;
        voice.tally('unsealed');
        return undefined;
      }
    }
    nonce++;
    const head = new Uint8Array(18);
    head[0] = 16 + kind;
    head[1] = ccm;
    writeUint32(head, writeNonce(head, writeUint32(head, 2, member), nonce), carrier);
    return concatBytes([
      head.subarray(0, 14),
      aead.seal(purposeKey(key, kind), copyBytes(head, 2, 14), head, content),
    ]);
  }

  function open(
    bytes: Uint8Array,
    sender: number,
    key: Uint8Array,
    carrier: number,
    seen: Window,
  ): Uint8Array | undefined {
    const number = readNonce(bytes, 6);
    const ahead = number - seen.highest;
    if (ahead <= 0 && (ahead <= -window || ((seen.seen >>> -ahead) & 1) === 1)) {
      voice.tally('datagrams.replayed');
      return undefined;
    }
    const head = new Uint8Array(18);
    head.set(bytes.subarray(0, 14), 0);
    writeUint32(head, 14, carrier);
    const content = aead.open(
      purposeKey(key, bytes[0] - 16),
      aeadNonce(sender, number),
      head,
      bytes.subarray(14),
    );
    if (!content) voice.tally('datagrams.forged');
    else if (ahead > 0) {
      seen.seen = ahead < window ? (seen.seen << ahead) | 1 : 1;
      seen.highest = number;
    } else seen.seen |= 1 << -ahead;
    return content;
  }

  function signal(
    now: number,
    kind: number,
    to: readonly Neighbour[],
    lifetimeMs: number,
  ): Uint8Array | undefined {
    const next = Math.max(sequence, fromSequence + now) + 1;
    const before = sequenceThrough;
    if (next > before) {
      sequenceThrough = next + sequenceBlock;
      if (!keep()) {
        sequenceThrough = before;
        voice.tally('unsealed');
        return undefined;
      }
    }
    sequence = next;
    const bytes = new Uint8Array(27 + 20 * to.length);
    bytes[0] = kind;
    bytes[1] = 1;
    writeUint32(bytes, 2, member);
    writeUint32(bytes, 6, boot);
    writeNonce(bytes, 10, sequence);
    writeUint32(bytes, 18, now % 4294967296);
    writeUint16(bytes, 22, lifetimeMs);
    bytes[26] = to.length;
    let at = 27;
    for (const each of to) {
      at = writeUint32(bytes, at, each.member);
      bytes.set(
        aead.seal(each.key, aeadNonce(member, sequence), copyBytes(bytes, 0, 26), new Uint8Array(0)),
        at,
      );
      at += 16;
    }
    return bytes;
  }

  function advertise(now: number): void {
    sharedUntil = now + tailMs;
    for (const each of neighbours) {
      each.used = false;
      each.offered = each.credit > 0;
    }
    const to = neighbours.filter(each => each.offered);
    const bytes = to.length > 0 ? signal(now, advertisement, to, tailMs) : undefined;
    if (bytes) calls.send(bytes, settings.port, settings.group);
  }

  function count(now: number, each: Neighbour, bytes: number): void {
    upUntil = now + tailMs;
    each.given += bytes;
    saveAt = Math.min(saveAt, now + saveMs);
    ledgerAt = Math.min(ledgerAt, Math.max(now, ledgerSaidAt + saveMs));
  }

  function carry(now: number, each: Neighbour, envelope: Uint8Array): void {
    if (now < each.refusedUntil) {
      voice.tally('refused.patience');
      return;
    }
    const isOver = sharedUntil <= now;
    const isSpent = each.credit <= 0 && (isOver || !each.used);
    if (now >= upUntil || (!isOver && !each.offered) || isSpent) {
      voice.tally(now >= upUntil ? 'refused.idle' : isSpent ? 'refused.credit' : 'refused.not-offered');
      const bytes = signal(now, refusal, [each], 0);
      if (bytes) calls.send(bytes, each.port, each.address);
      return;
    }
    if (isOver) advertise(now);
    const bytes = seal(carried, deviceKey, 0, envelope);
    if (!bytes) return;
    voice.tally('forwarded');
    count(now, each, bytes.length);
    if (!each.used) {
      each.used = true;
      each.credit--;
      keep();
    }
    calls.send(bytes, provider.port, provider.host);
  }

  function hearHop(now: number, bytes: Uint8Array, port: number, address: string): void {
    const from = readUint32(bytes, 2);
    const each = find(from);
    if (!each) {
      voice.tally('hops.unknown-sender');
      return;
    }
    const content = open(bytes, from, each.key, boot, each);
    if (!content) return;
    each.port = port;
    each.address = address;
    each.boot = readUint32(content, 1);
    if (content.length < 35 || content[5] !== 16 + own || readUint32(content, 7) !== from)
      voice.tally('hops.not-its-own');
    else carry(now, each, content.subarray(5));
  }

  function hearProvider(now: number, bytes: Uint8Array): void {
    const isControl = bytes[0] === 16 + control;
    const content = open(bytes, 0, deviceKey, 0, isControl ? controls : returns);
    if (!content) return;
    const each = find(readUint32(content, 2));
    if (isControl) {
      if (content[0] === 1) introduced(each, content);
      else heed(now, content);
    } else if (!each || each.boot < 0 || content[0] !== 16 + down) voice.tally('returned.no-path');
    else {
      const inner = new Uint8Array(5 + content.length);
      writeUint32(inner, 1, boot);
      inner.set(content, 5);
      const sealed = seal(hop, each.key, each.boot, inner);
      if (sealed) calls.send(sealed, each.port, each.address);
      voice.tally('returned');
      count(now, each, bytes.length);
    }
  }

  /** A drop report, as agent/kibbutz/drop-report.ts judges it; of its 48-bit counts the lower 32. */
  function heed(now: number, report: Uint8Array): void {
    for (let at = 2; at + 46 <= report.length; at += 46) {
      const each = find(readUint32(report, at));
      if (!each) continue;
      const accepted = readUint32(report, at + 6);
      let dropped = 0;
      for (let i = at + 12; i < at + 46; i += 6) dropped += readUint32(report, i);
      if (each.dropped >= 0 && dropped >= each.dropped && accepted >= each.accepted)
        each.trouble = Math.max(0, each.trouble + 16 * (dropped - each.dropped) + each.accepted - accepted);
      each.accepted = accepted;
      each.dropped = dropped;
      if (each.trouble < toleratedTrouble) continue;
      each.trouble = toleratedTrouble / 2;
      each.refusedUntil = now + refusalMs;
    }
  }

  function introduced(each: Neighbour | undefined, content: Uint8Array): void {
    const ofPair = readUint32(content, 6);
    if (each && each.generation >= ofPair) return;
    const peer = readUint32(content, 2);
    const isFull = !each && neighbours.length >= mostNeighbours;
    if (isFull || content[1] !== ccm || content.length !== 26 || peer === member) {
      voice.tally('introductions.unusable');
      return;
    }
    // Under a new key its numbers begin anew; its account does not.
    if (each) neighbours.splice(neighbours.indexOf(each), 1);
    meet(peer, ofPair, content.subarray(10), each ? each.credit : settings.credit, each ? each.given : 0);
    ledgerAt = 0;
    keep();
  }

  return {
    ...noJob,
    jobNames: ['kibbutz'],
    sentOwn(now) {
      upUntil = now + tailMs;
      if (sharedUntil > now) return;
      // So that it knows where we are, and introduces us to others.
      const bytes = seal(own, deviceKey, 0, new Uint8Array(0));
      if (bytes) calls.send(bytes, provider.port, provider.host);
      advertise(now);
    },
    hear(now, datagram, port, address) {
      const kind = datagram[0] - 16;
      if (datagram.length < 30 || datagram[1] !== ccm) {
        voice.tally(kind > 0 && kind < returned ? 'signals' : 'datagrams.malformed');
      } else if (kind === hop) hearHop(now, datagram, port, address);
      else if (kind === returned || kind === control) hearProvider(now, datagram);
      else voice.tally('datagrams.malformed');
    },
    pollJob(now) {
      if (saveAt <= now) keep();
    },
    flushJob(now, isOnline) {
      if (!isOnline || ledgerAt > now || voice.outbox.room < 1) return;
      ledgerAt = never;
      ledgerSaidAt = now;
      const accounts: { [peer: string]: CborMap } = {};
      for (const { member: peer, given, credit } of neighbours) accounts[peer] = { given, taken: 0, credit };
      voice.publish({ kind: 'ledger' }, voice.body(now, { neighbours: accounts }), true);
    },
    jobPollAt: isOnline => Math.min(saveAt, isOnline ? ledgerAt : never),
    reportAll() {
      ledgerAt = 0;
    },
  };
}
