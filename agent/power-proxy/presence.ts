/**
 * Whether a host is awake, as far as the agent can tell:
 *
 *     awake           heard within `silenceMs`
 *     falling-asleep  silent for longer, or it said that it goes: it is probed, 3 times
 *     asleep          no answer: the proxy speaks for it from now on
 *     waking          magic packets are on their way (waker.ts)
 *     gone            not woken `maxFailures` times in a row: the proxy says no more that it is there
 *
 * The moment the host speaks it is awake, whatever it was, and the proxy lets go of it. A host that goes to sleep has
 * frames under way for some seconds: those only put the probes off.
 *
 * Addresses: where frames for others do not reach the agent it announces that they are here, and corrects it once the host
 * is back. Whoever else claims one is told once that it is taken (RFC 5227 §2.4 b); if he insists, it is his.
 */

import { sameBytes } from '../core/bytes.js';
import { never } from '../core/time.js';
import type { JobContext } from '../job.js';
import type { HostState } from '../message/messages.js';
import type { Link } from '../port/platform.js';
import type { Host, HostTable } from './host-table.js';
import type { AddressVoice } from './parts.js';
import type { Waker } from './waker.js';

/** A host unheard for this long is probed: longer than the gaps in the chatter of an idle, awake host. */
export const silenceMs = 30_000;
/** As many probes, as far apart, as RFC 5227 §1.1 (PROBE_NUM, PROBE_MAX) sends before it takes an address for free. */
export const probeCount = 3;
export const probeMs = 1_000;
/** How long a host that said it goes to sleep may still be heard: a Mac is given as much to finish (IOKit's 30 s at most). */
const leavingMs = 30_000;
/** RFC 5227 §1.1, ANNOUNCE_NUM and ANNOUNCE_INTERVAL; RFC 4861 §10, MAX_NEIGHBOR_ADVERTISEMENT. */
const arpAnnouncements = 2;
const announcements = 3;
const announceMs = 2_000;
/** RFC 5227 §1.1, DEFEND_INTERVAL. */
const defendMs = 10_000;
/** Three times 45 s without a sign of life. */
const maxFailures = 3;
/** Effects that must fit before a host is looked at: a packet on each of a few links (limits.outboxEffects is 8 at least). */
const roomForOne = 4;

export type PresenceCounter =
  | 'hosts.asleep'
  | 'hosts.gone'
  | 'probes.sent'
  | 'conflicts.defended'
  | 'conflicts.lost';

export const presenceCounters: readonly PresenceCounter[] = [
  'hosts.asleep',
  'hosts.gone',
  'probes.sent',
  'conflicts.defended',
  'conflicts.lost',
];

/** What others do when a host's state changes. */
export interface PresenceCalls {
  count(name: PresenceCounter | 'wakes.heard' | 'wakes.given-up'): void;
  /** The proxy speaks for it from now on. */
  asleep(now: number, host: Host): void;
  /** The proxy does no more: answers that wait are to be forgotten. */
  letGo(now: number, host: Host): void;
}

export class Presence {
  private readonly context: JobContext;
  private readonly table: HostTable;
  private readonly waker: Waker;
  private readonly calls: PresenceCalls;
  private readonly voice: AddressVoice | undefined;
  private earliest = never;

  /** Without a `voice` nothing is sent about addresses: a host that is not heard counts as asleep after the same time. */
  constructor(
    context: JobContext,
    table: HostTable,
    waker: Waker,
    voice: AddressVoice | undefined,
    calls: PresenceCalls,
  ) {
    this.context = context;
    this.voice = voice;
    this.table = table;
    this.waker = waker;
    this.calls = calls;
  }

  /** The host sent a frame. */
  heard(now: number, host: Host): void {
    host.heardAt = now;
    if (host.state === 'awake') return;
    if (host.state === 'falling-asleep' && host.isLeaving && now - host.since < leavingMs) {
      host.probes = 0;
      this.lookAt(host, now + probeMs);
      return;
    }
    const { state } = host;
    this.enter(now, host, 'awake');
    this.lookAt(host, now + silenceMs);
    host.failures = 0;
    host.isLeaving = false;
    if (state === 'waking') this.calls.count('wakes.heard');
    if (state !== 'falling-asleep') this.context.event(now, 'awake', { host: host.name });
    this.giveBack(host);
    this.calls.letGo(now, host);
    this.waker.release(host, true);
  }

  /** It said, or somebody did for it, that it goes to sleep. */
  leaving(now: number, host: Host): void {
    if (host.state === 'asleep' || host.state === 'waking') return;
    host.isLeaving = true;
    host.failures = 0;
    host.probes = 0;
    this.enter(now, host, 'falling-asleep');
    this.lookAt(host, now + probeMs);
  }

  /** Its addresses have just become known: whether it is awake is found out. A wake under way tells as well. */
  ask(now: number, host: Host): void {
    if (host.state !== 'waking') this.fallAsleep(now, host);
  }

  /** It is known to be asleep without having been probed, or with further addresses: frames for them are to come here. */
  standIn(now: number, host: Host): void {
    for (const link of this.linksOf(host)) {
      if (link.hearsOthers !== false) continue;
      host.profile.linkAddress = link.mac;
      host.announcements = 0;
      if (host.state === 'asleep') this.lookAt(host, now);
    }
  }

  /** Begins to wake it; false if it was woken too often of late. */
  wake(now: number, host: Host): boolean {
    if (!this.waker.wake(now, host)) return false;
    const { nextAt } = host;
    this.enter(now, host, 'waking');
    this.lookAt(host, nextAt);
    return true;
  }

  /** Somebody else says that he has the silent host's IPv4 address. */
  conflict(now: number, host: Host, link: Link, address: Uint8Array): void {
    if (host.defendedAt < 0 || now - host.defendedAt >= defendMs) {
      host.defendedAt = now;
      this.calls.count('conflicts.defended');
      const mac = host.profile.linkAddress ?? host.mac;
      if (this.voice) this.context.transmit(link.name, this.voice.announceIpv4(link, host, mac, address));
      return;
    }
    this.calls.count('conflicts.lost');
    this.context.event(now, 'address-conflict', { host: host.name });
    host.profile.removeAddress(address);
  }

  poll(now: number): void {
    if (now < this.earliest) return;
    this.earliest = never;
    for (const host of this.table.hosts) {
      // Without room the rest waits for the next call: else the same hosts would come too short each time.
      if (host.nextAt <= now && this.context.room() >= roomForOne) this.look(now, host);
      this.earliest = Math.min(this.earliest, host.nextAt);
    }
  }

  pollAt(): number {
    return this.earliest;
  }

  private look(now: number, host: Host): void {
    host.nextAt = never;
    switch (host.state) {
      case 'awake':
        if (now - host.heardAt < silenceMs) this.lookAt(host, host.heardAt + silenceMs);
        else this.fallAsleep(now, host);
        break;
      case 'falling-asleep':
        if (host.probes >= probeCount) {
          this.sleep(now, host);
          break;
        }
        this.probe(host);
        host.probes++;
        this.lookAt(host, now + probeMs);
        break;
      case 'asleep':
        this.announce(host);
        if (host.announcements < announcements) this.lookAt(host, now + announceMs);
        break;
      case 'waking':
        if (now < host.giveUpAt) this.waker.repeat(now, host);
        else this.giveUp(now, host);
        break;
      case 'gone':
        break;
    }
  }

  private fallAsleep(now: number, host: Host): void {
    const { ipv4, ipv6 } = host.profile;
    if (ipv4.length + ipv6.length === 0) {
      this.sleep(now, host);
      return;
    }
    host.probes = 0;
    this.enter(now, host, 'falling-asleep');
    this.lookAt(host, now);
  }

  private sleep(now: number, host: Host): void {
    this.enter(now, host, 'asleep');
    host.isLeaving = false;
    this.calls.count('hosts.asleep');
    this.context.event(now, 'asleep', { host: host.name });
    this.standIn(now, host);
    this.calls.asleep(now, host);
  }

  private giveUp(now: number, host: Host): void {
    this.calls.count('wakes.given-up');
    this.waker.release(host, false);
    // Whom the agent could not hear either way has not failed to answer.
    const isHearable = this.linksOf(host).some(({ hears }) => hears !== 'datagrams');
    if (isHearable) host.failures++;
    this.context.event(now, 'wake-failed', {
      host: host.name,
      text: `heard nothing of it, ${host.failures} in a row`,
    });
    if (host.failures < maxFailures) {
      this.enter(now, host, 'asleep');
      // On somebody's request it may have been woken before it was found asleep.
      if (!host.profile.linkAddress) this.standIn(now, host);
      return;
    }
    this.calls.count('hosts.gone');
    this.enter(now, host, 'gone');
    this.context.event(now, 'gone', { host: host.name });
    this.calls.letGo(now, host);
  }

  private enter(now: number, host: Host, state: HostState): void {
    host.state = state;
    host.since = now;
    host.isChanged = true;
    host.nextAt = never;
  }

  private lookAt(host: Host, at: number): void {
    host.nextAt = at;
    this.earliest = Math.min(this.earliest, at);
  }

  private probe(host: Host): void {
    for (const link of this.linksOf(host)) {
      const frame = this.voice?.probe(link, host);
      if (!frame) continue;
      this.calls.count('probes.sent');
      this.context.transmit(link.name, frame);
    }
  }

  /** Its addresses are at the agent's MAC. */
  private announce(host: Host): void {
    const { linkAddress } = host.profile;
    host.announcements++;
    if (!linkAddress) return;
    for (const link of this.linksOf(host))
      if (sameBytes(link.mac, linkAddress))
        this.say(link, host, linkAddress, host.announcements <= arpAnnouncements);
  }

  /** Its addresses are at its own MAC again, for not every host says so when it wakes. */
  private giveBack(host: Host): void {
    if (!host.profile.linkAddress) return;
    delete host.profile.linkAddress;
    for (const link of this.linksOf(host)) this.say(link, host, host.mac, true);
  }

  private say(link: Link, host: Host, mac: Uint8Array, withIpv4: boolean): void {
    const { voice } = this;
    if (!voice) return;
    const { ipv4, ipv6 } = host.profile;
    if (withIpv4)
      for (const address of ipv4)
        this.context.transmit(link.name, voice.announceIpv4(link, host, mac, address));
    for (const address of ipv6)
      this.context.transmit(link.name, voice.announceIpv6(link, host, mac, address));
  }

  /** The link it was heard by, or all of them. */
  private linksOf(host: Host): readonly Link[] {
    const { links } = this.context;
    return host.link === '' ? links : links.filter(({ name }) => name === host.link);
  }
}
