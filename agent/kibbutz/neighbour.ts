/**
 * What a member of a kibbutz keeps about one neighbour: key, credit, offers in both directions, and what tells a
 * fresh signal from a replayed or delayed one.
 */

import { never } from '../core/time.js';
import type { Aead } from '../port/aead.js';

/** What outlives a restart. */
export interface Account {
  /** Slots the neighbour may still use of our link before it gives any. */
  readonly credit: number;
  /** Slots the neighbour spared us in all. */
  readonly taken: number;
  /** Bytes of theirs through our link, and of ours through theirs. */
  readonly givenBytes: number;
  readonly takenBytes: number;
}

export class Neighbour {
  readonly member: number;
  /** Of the pair. */
  key: Uint8Array;
  aead: Aead;
  /** As in `Account`. */
  credit: number;
  taken: number;
  givenBytes: number;
  takenBytes: number;
  /** Its path delivers too little (watchdog.ts). */
  poor = false;
  /** The neighbour offers us its link until then. */
  offerUntil = -1;
  /** Policy paper: we used that offer, or a packet that renews it was counted. */
  offerUsed = false;
  /** Policy paper: when we last counted a packet that renews an ended offer. */
  renewedAt = -never;
  /** Our last packet went to it then and was counted as so many slots and bytes, if it has not been answered. */
  sentAt = -never;
  sentSlots = 0;
  sentBytes = 0;
  /** Slots counted since an answer last came through it. */
  unproven = 0;
  /** Our radio would have been up until then for what the neighbour carried for us. */
  takenUntil = -1;
  /** Our valid advertisement names the neighbour. */
  offered = false;
  /** The neighbour used our link in this advertisement period. */
  used = false;
  /** The neighbour's radio would have been up until then for what we carried for it. */
  givenUntil = -1;
  /** Packets it refused or let us wait for in vain since it last brought us an answer. */
  failures = 0;
  /** Until then our radio is not given up for its sake. */
  distrustedUntil = -1;
  /** We brought our radio up because it asked, and it has carried nothing of ours since. */
  obliged = false;
  /** It advertised then while we shared our link, and we went on. */
  keptAt = -never;
  /** Not to be asked to take over before then. */
  declinedUntil = -1;
  heardAt = -1;
  /** Of the last signal accepted; older ones are replays. */
  sequence = -1;
  boot = -1;
  /** The least difference seen between our clock and the neighbour's uptime, and when that was. */
  offset = 0;
  offsetAt = 0;
  /** Since then all its signals were late, by about so much; −Infinity: the last one was not. */
  lateSince = -1;
  lateMs = -never;

  constructor(member: number, key: Uint8Array, aead: Aead, account: Account) {
    this.member = member;
    this.key = key;
    this.aead = aead;
    this.credit = account.credit;
    this.taken = account.taken;
    this.givenBytes = account.givenBytes;
    this.takenBytes = account.takenBytes;
  }
}
