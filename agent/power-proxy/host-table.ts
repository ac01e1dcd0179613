/**
 * The hosts the power proxy stands in for, and what it knows of each: those that rules name, that people or their own agents
 * declare (`host/<id>`), and that registered with the sleep proxy.
 *
 * Found by MAC through open addressing; `find` allocates nothing. Bounds: limits.hosts; a further host that a rule names
 * pushes out the one such host heard longest ago, any other is refused.
 */

import { never } from '../core/time.js';
import type { HostState } from '../message/messages.js';
import { formatMac } from '../wire/address.js';
import { tpidCustomer, type VlanTag } from '../wire/vlan.js';
import { Profile } from './profile.js';
import type { NameTest } from './question.js';

/**
 * Of a registration: what Macs ask for (DEFAULT_UPDATE_LEASE in uDNS.h). Apple's proxy grants up to a day; a host that left is
 * missed sooner so.
 */
export const longestLeaseS = 7200;

/** A service of the host, TCP (6) or UDP (17). */
export interface Port {
  readonly protocol: number;
  readonly port: number;
}

export interface Host {
  readonly mac: Uint8Array;
  /** The MAC as text. */
  readonly name: string;
  /** presence.ts says how it comes to each. */
  state: HostState;
  since: number;
  /** When it last sent a frame; −1: never. */
  heardAt: number;
  /** The link and the VLAN it was last heard by, or is declared to be in; an empty name, −1: not known. */
  link: string;
  vlanId: number;
  readonly profile: Profile;
  /** Whom a magic packet names, and SecureOn's password: 0, 4 or 6 bytes. */
  wakeMac: Uint8Array;
  password: Uint8Array;
  ports: readonly Port[];
  /** Its names as asked.ts looks for them; `undefined` when they may have changed. */
  nameTests: readonly NameTest[] | undefined;
  /** A rule names it. */
  isNamed: boolean;
  /** The id it is declared under; an empty one: it is not. */
  declaredAs: string;
  /** The end of its registration; −1: there is none. */
  registeredUntil: number;
  /** What is known of it is saved (saved-sleeper.ts). */
  isSaved: boolean;
  /** The proxy has answered multicast DNS for it since it fell asleep. */
  isAnnounced: boolean;

  /** When presence or waker next look at it. */
  nextAt: number;
  /** Of `falling-asleep`: probes sent, and whether it said itself that it goes. */
  probes: number;
  isLeaving: boolean;
  /** Of `asleep`: announcements that its addresses are here. */
  announcements: number;
  /** Of `waking`: magic packets sent and the end of it. */
  magicPackets: number;
  giveUpAt: number;
  /** Wakes since boot, failures since it was last heard, and what is left of the wakes it is allowed, as of `allowedAt`. */
  wakes: number;
  failures: number;
  allowance: number;
  allowedAt: number;
  /** Of the frame being decided: a rule has decided for this host. */
  isDecided: boolean;
  /** When its address was last defended (RFC 5227 §2.4); −1: never. */
  defendedAt: number;
  /** Its state is to be reported. */
  isChanged: boolean;
}

export class HostTable {
  readonly hosts: Host[] = [];
  private readonly capacity: number;
  /** Places in `hosts` + 1, 0: free. At most half is taken. */
  private readonly slots: Int32Array;
  /** Told of each host that is known no more: whatever else is kept for it must go. */
  private readonly forgotten: (host: Host) => void;

  constructor(capacity: number, forgotten: (host: Host) => void) {
    this.capacity = capacity;
    this.forgotten = forgotten;
    let size = 4;
    while (size < 2 * capacity) size *= 2;
    this.slots = new Int32Array(size);
  }

  /** The host with this MAC at `bytes[at]`, if it is known. */
  find(bytes: Uint8Array, at: number): Host | undefined {
    const { slots, hosts } = this;
    for (let slot = hashAt(bytes, at) & (slots.length - 1); ; slot = (slot + 1) & (slots.length - 1)) {
      const place = slots[slot];
      if (place === 0) return undefined;
      const host = hosts[place - 1];
      let i = 0;
      while (i < 6 && host.mac[i] === bytes[at + i]) i++;
      if (i === 6) return host;
    }
  }

  /** Whose address this is, 4 or 16 bytes at `bytes[at]`. */
  owner(bytes: Uint8Array, at: number, length: number): Host | undefined {
    for (const host of this.hosts) {
      const { ipv4, ipv6 } = host.profile;
      for (const address of length === 4 ? ipv4 : ipv6) {
        let i = 0;
        while (i < length && address[i] === bytes[at + i]) i++;
        if (i === length) return host;
      }
    }
    return undefined;
  }

  /** The host with this MAC, made known in the state given; `undefined` if there is no room. */
  know(now: number, mac: Uint8Array, state: 'asleep' | 'gone'): Host | undefined {
    const known = this.find(mac, 0);
    if (known) return known;
    if (this.hosts.length >= this.capacity && !this.pushOut()) return undefined;
    const own = new Uint8Array(mac);
    const host: Host = {
      mac: own,
      name: formatMac(own),
      state,
      since: now,
      heardAt: -1,
      link: '',
      vlanId: -1,
      profile: new Profile(own),
      wakeMac: own,
      password: new Uint8Array(0),
      ports: [],
      nameTests: undefined,
      isNamed: false,
      declaredAs: '',
      registeredUntil: -1,
      isSaved: false,
      isAnnounced: false,
      nextAt: never,
      probes: 0,
      isLeaving: false,
      announcements: 0,
      magicPackets: 0,
      giveUpAt: never,
      wakes: 0,
      failures: 0,
      allowance: -1,
      allowedAt: now,
      isDecided: false,
      defendedAt: -1,
      isChanged: false,
    };
    this.hosts.push(host);
    this.enter(this.hosts.length);
    return host;
  }

  /** Forgets the hosts that nobody names, declares or registers any more. */
  sweep(): void {
    const before = this.hosts.length;
    for (let i = before - 1; i >= 0; i--) if (!isWanted(this.hosts[i])) this.take(i);
    if (this.hosts.length !== before) this.enterAll();
  }

  private pushOut(): boolean {
    let oldest = -1;
    for (let i = 0; i < this.hosts.length; i++) {
      const host = this.hosts[i];
      if (host.declaredAs !== '' || host.registeredUntil >= 0) continue;
      if (oldest < 0 || host.heardAt < this.hosts[oldest].heardAt) oldest = i;
    }
    if (oldest < 0) return false;
    this.take(oldest);
    this.enterAll();
    return true;
  }

  private take(index: number): void {
    const [host] = this.hosts.splice(index, 1);
    this.forgotten(host);
  }

  private enterAll(): void {
    this.slots.fill(0);
    for (let place = 1; place <= this.hosts.length; place++) this.enter(place);
  }

  private enter(place: number): void {
    const { slots } = this;
    let slot = hashAt(this.hosts[place - 1].mac, 0) & (slots.length - 1);
    while (slots[slot] !== 0) slot = (slot + 1) & (slots.length - 1);
    slots[slot] = place;
  }
}

/** Of frames sent to it or for it: the tag of the VLAN it is in. */
export function tagsOf({ vlanId }: Host): VlanTag[] {
  return vlanId > 0 ? [{ tpid: tpidCustomer, priority: 0, dropEligible: false, vlanId }] : [];
}

/** Whether the proxy speaks for the host now. */
export function isSilent({ state }: Host): boolean {
  return state === 'asleep' || state === 'waking';
}

function isWanted({ isNamed, declaredAs, registeredUntil }: Host): boolean {
  return isNamed || declaredAs !== '' || registeredUntil >= 0;
}

/** The last bytes of a MAC tell hosts of one maker apart. */
function hashAt(bytes: Uint8Array, at: number): number {
  const low = (bytes[at + 2] << 24) ^ (bytes[at + 3] << 16) ^ (bytes[at + 4] << 8) ^ bytes[at + 5];
  const high = (bytes[at] << 8) ^ bytes[at + 1];
  const mixed = low ^ (low >>> 15) ^ (high << 3);
  return mixed ^ (mixed >>> 7);
}
