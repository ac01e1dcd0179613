/**
 * The sleep proxy service, as Macs look for it (`_sleep-proxy._udp.local`; draft-cheshire-edns0-owner-option-01, and where
 * no paper says it, mDNSResponder: mDNSCore/mDNS.c, mDNSCoreReceiveUpdate). It advertises itself by multicast DNS and takes
 * the registrations of hosts that are about to sleep (registration.ts); who stands in for them is the `Registrar`.
 *
 * A registration counts if its frame comes from a MAC that its owner option names, its packet from an address it registers,
 * no address is another host's, and its sequence number is not an old one. Its lease is at most `longestLeaseS`; it ends
 * with the lease, with an update whose lease is 0, and when the host is heard: a message of multicast DNS with its owner
 * option is noticed here, everything else by whoever calls `forget`.
 *
 * Bounded by the limit given: further hosts are refused, for those registered sleep and rely on it. An update's answer is
 * at most `answerLength` bytes of DNS and never longer than what it answers: an update that earns the option has the
 * same two options; a refusal is a bare header, and the shortest thing answered is one too.
 */

import { encodeUtf8, readUint16, sameBytes, utf8Length } from '../core/bytes.js';
import { Counters } from '../core/counters.js';
import type { Random } from '../core/random.js';
import type { Link } from '../port/platform.js';
import { ipv4Length } from '../wire/address.js';
import {
  type Dns,
  type DnsDataRecord,
  type DnsUpdate,
  dnsClass,
  dnsLabelText,
  dnsLength,
  dnsOperation,
  emitDns,
  mdnsPort,
  operationOf,
  parseDns,
  responseFlag,
} from '../wire/dns.js';
import type { Headers } from '../wire/headers.js';
import { longestLeaseS } from './host-table.js';
import { Claim, type Place } from './mdns-claim.js';
import {
  contradicts,
  mergeRegistration,
  ownerOf,
  type Registration,
  type RegistrationFault,
  type RegistrationRequest,
  readRegistration,
} from './registration.js';
import type { SendDue } from './respond/due.js';
import {
  type Datagram,
  includes,
  isGroupMac,
  ownAddresses,
  readDatagram,
  udpFrame,
  wayBack,
} from './respond/frame.js';
import { Mdns, type MdnsRefusal } from './respond/mdns.js';
import { serviceTypesName } from './respond/records.js';
import type { Question } from './responder.js';

export type { Registration } from './registration.js';

/** Who stands in for the registered. */
export interface Registrar {
  /** Takes a registration, or its renewal, in force; false if there is no room. */
  register(now: number, registration: Registration): boolean;
  /** The registration that came from this MAC is no more. */
  withdraw(now: number, mac: Uint8Array, why: 'expired' | 'withdrawn'): void;
  /** The MAC of the host that has the address now: declared, learnt or registered. */
  owner(address: Uint8Array): Uint8Array | undefined;
}

export type UpdateRefusal =
  | RegistrationFault
  | 'malformed'
  /** The rest of it is missing (RFC 1035 §4.1.1, TC). */
  | 'truncated'
  /** From a MAC that its owner option does not name. */
  | 'spoofed'
  /** From an address that is not among those it registers. */
  | 'wrong-source'
  /** An address that another host has, or the agent. */
  | 'address-taken'
  /** A name that another host has registered as its own, or that is the proxy's. */
  | 'name-taken'
  /** From before the registration in force. */
  | 'old-sequence'
  | 'no-room';

export type SleepProxyOutcome =
  | 'registered'
  | 'renewed'
  /** On the host's wish, or because it speaks for itself. */
  | 'withdrawn'
  /** A question of multicast DNS was. */
  | 'answered'
  /** Another host has, or asks for, a name of the proxy's. */
  | 'conflict'
  | UpdateRefusal
  | MdnsRefusal;

export interface SleepProxyOptions {
  /** For people to read, 1 … 40 bytes: what they call the device the agent runs on. */
  readonly name: string;
  readonly random: Random;
  /** Hosts registered at a time. */
  readonly limit: number;
  /** Where it serves: on those that have addresses. VLAN-tagged frames are another link's. */
  readonly links: readonly Link[];
}

/**
 * Intent, portability, marginal and total power, and features, as mDNSEmbeddedAPI.h defines them, less being better: network
 * infrastructure (30); 0.5 kg (100 − 10 log₁₀ mg); power in decibels above 1 µW: no more than without it (10, the least),
 * 8 W in all, as home gateways take. The last says that TCP connections are not kept alive from registered records.
 */
const gatewayMetrics = '30-43-10-69.0';
const longestNameBytes = 40;

/**
 * For so long after an update an older sequence number is that of a late packet; then it is the host's, which counts from 0
 * after it boots. mDNSResponder's span for the like (ClearProxyRecords).
 */
const lateMs = 60_000;
/** The answers of the proxy for itself that may wait, and records lately sent. */
const ownAnswerLimit = 32;
/** A DNS header (RFC 1035 §4.1.1). */
const headerLength = 12;
/** The header, an OPT record and its update lease option. */
export const answerLength = headerLength + 11 + 8;
/** That of mDNSResponder's OPT records (NormalMaxDNSMessageData): what fits a packet with room to spare. */
const udpPayloadSizeBytes = 1440;
/** RFC 6762 §10: of records with host names, and of others. */
const hostTimeToLiveS = 120;
const otherTimeToLiveS = 4500;
const timeToLive = 255;

const serviceType = '_sleep-proxy._udp.local';

/** Response codes (RFC 1035 §4.1.1, RFC 2136 §2.2, RFC 6891 §9). */
const responseCodes: { readonly [reason in UpdateRefusal]: number } = {
  malformed: 1,
  truncated: 1,
  unsupported: 4,
  'wrong-zone': 9,
  'edns-version': 16,
  'no-lease': 1,
  'no-owner': 1,
  'owner-version': 1,
  'bad-owner': 1,
  'no-records': 1,
  'too-many-records': 5,
  'bad-record': 10,
  'bad-address': 5,
  spoofed: 5,
  'wrong-source': 5,
  'address-taken': 5,
  'name-taken': 7,
  'old-sequence': 5,
  'no-room': 5,
};

/** All there are. */
export const sleepProxyOutcomes: readonly SleepProxyOutcome[] = [
  'registered',
  'renewed',
  'withdrawn',
  'answered',
  'conflict',
  'scheduled',
  'known',
  'too-many',
  'too-long',
  'not-a-question',
  'not-ours',
  'fragment',
  'bad-source',
  'own-frame',
  ...(Object.keys(responseCodes) as UpdateRefusal[]),
];

interface Lease {
  readonly registration: Registration;
  /** The last update. */
  readonly heardAt: number;
}

export class SleepProxy {
  readonly counters = new Counters<SleepProxyOutcome | 'expired'>([...sleepProxyOutcomes, 'expired']);
  private readonly limit: number;
  private readonly registrar: Registrar;
  private readonly mdns: Mdns;
  private readonly claim: Claim;
  private leases: readonly Lease[] = [];

  constructor(options: SleepProxyOptions, registrar: Registrar) {
    const { name, random, limit, links } = options;
    const length = utf8Length(name);
    if (!(length >= 1 && length <= longestNameBytes))
      throw new Error(`name: expected 1..${longestNameBytes} bytes, got ${length}`);
    this.limit = limit;
    this.registrar = registrar;
    this.mdns = new Mdns(random, ownAnswerLimit);
    this.claim = new Claim(random, attempt => placesFor(links, name, attempt));
  }

  /** Hosts registered. */
  get count(): number {
    return this.leases.length;
  }

  /** Makes the service known, from the next `poll` on. */
  start(now: number): void {
    this.claim.start(now);
  }

  /** Says goodbye. Nothing is heard any more; the registrations are the caller's to keep or to end. */
  stop(send: SendDue): void {
    this.claim.stop(send);
  }

  /** A frame from a link. Of no concern, and not counted, is all but UDP to port 5353; `frame` and `headers` are not kept. */
  receive(now: number, link: string, frame: Uint8Array, headers: Headers, send: SendDue): SleepProxyOutcome {
    if (headers.dstPort !== mdnsPort || headers.vlanId > 0 || this.claim.isIdle) return 'not-ours';
    const outcome = this.hear(now, link, frame, headers, send);
    this.counters.add(outcome);
    return outcome;
  }

  /** The host speaks for itself, or is gone: it is registered no more. The registrar is not told. */
  forget(mac: Uint8Array): void {
    this.leases = this.leases.filter(({ registration }) => !sameBytes(registration.mac, mac));
  }

  poll(now: number, send: SendDue): void {
    this.claim.poll(now, send);
    this.mdns.poll(now, send);
    for (const { registration } of this.leases) {
      if (registration.untilAt > now) continue;
      this.forget(registration.mac);
      this.counters.add('expired');
      this.registrar.withdraw(now, registration.mac, 'expired');
    }
  }

  pollAt(): number {
    let at = Math.min(this.claim.pollAt(), this.mdns.pollAt());
    for (const { registration } of this.leases) at = Math.min(at, registration.untilAt);
    return at;
  }

  private hear(
    now: number,
    link: string,
    frame: Uint8Array,
    headers: Headers,
    send: SendDue,
  ): SleepProxyOutcome {
    const { places } = this.claim;
    const place = places.find(each => each.link.name === link);
    if (!place) return 'not-ours';
    const srcMac = frame.subarray(6, 12);
    // Two of the links may be one segment.
    if (places.some(each => sameBytes(each.link.mac, srcMac))) return 'own-frame';
    const question: Question = { now, link: place.link, frame, headers, host: place.served };
    const datagram = readDatagram(question, mdnsPort);
    if (!datagram.ok) return datagram.reason;
    const { payload, dstAddress, srcPort } = datagram.value;
    if (payload.length < headerLength) return 'malformed';
    const flags = readUint16(payload, 2);
    const isToUs = includes(ownAddresses(place.served, dstAddress), dstAddress) && !isGroupMac(frame, 0);
    if (operationOf(flags) === dnsOperation.update) {
      if ((flags & responseFlag) !== 0) return 'not-a-question';
      return isToUs ? this.update(question, place, datagram.value, send) : 'not-ours';
    }
    const dns = parseDns(payload, 0, payload.length);
    if (!dns.ok) return 'malformed';
    const isResponse = (flags & responseFlag) !== 0;
    // RFC 6762 §6: a response from another port is to be ignored; §11: so is one from another link.
    if (isResponse && (srcPort !== mdnsPort || datagram.value.timeToLive !== timeToLive)) return 'bad-source';
    if (operationOf(flags) !== dnsOperation.query) return 'not-a-question';
    const isBack = this.hearOwner(now, srcMac, dns.value);
    const outcome = this.claim.hear(now, place, dns.value)
      ? 'conflict'
      : this.claim.isHeld
        ? this.mdns.respond(question, answer => send(link, answer))
        : 'not-a-question';
    return isBack ? 'withdrawn' : outcome;
  }

  /** The host is back if it says so with another sequence number, or long after its update (ClearProxyRecords in mDNS.c). */
  private hearOwner(now: number, srcMac: Uint8Array, dns: Dns): boolean {
    const lease = this.find(srcMac);
    const owner = lease && ownerOf(dns.additionals);
    if (!lease || !owner || !sameBytes(owner.primaryMac, lease.registration.primaryMac)) return false;
    if (owner.sequence === lease.registration.sequence && now - lease.heardAt <= lateMs) return false;
    this.forget(srcMac);
    this.registrar.withdraw(now, lease.registration.mac, 'withdrawn');
    return true;
  }

  private update(question: Question, place: Place, datagram: Datagram, send: SendDue): SleepProxyOutcome {
    const { payload } = datagram;
    const identification = readUint16(payload, 0);
    const reply = (responseCode: number, leaseSeconds?: number) => {
      const message = replyTo(identification, responseCode, leaseSeconds);
      const parts = {
        srcAddress: datagram.dstAddress,
        dstAddress: datagram.srcAddress,
        srcPort: mdnsPort,
        dstPort: datagram.srcPort,
        timeToLive,
      };
      send(place.link.name, udpFrame(wayBack(question), parts, message));
    };
    const request = readUpdate(payload);
    const outcome =
      typeof request === 'string' ? request : this.take(question, place, datagram.srcAddress, request);
    if (outcome === 'registered' || outcome === 'renewed' || outcome === 'withdrawn')
      reply(0, grantedSeconds(request as RegistrationRequest));
    else reply(responseCodes[outcome]);
    return outcome;
  }

  private take(
    { now, frame, headers }: Question,
    place: Place,
    srcAddress: Uint8Array,
    request: RegistrationRequest,
  ): 'registered' | 'renewed' | 'withdrawn' | UpdateRefusal {
    const mac = frame.subarray(6, 12);
    const { owner } = request;
    if (!sameBytes(mac, owner.primaryMac) && !sameBytes(mac, owner.wakeupMac)) return 'spoofed';
    const lease = this.find(mac);
    const ahead = lease ? (owner.sequence - lease.registration.sequence) & 255 : 0;
    if (lease && ahead >= 128 && now - lease.heardAt < lateMs) return 'old-sequence';
    if (request.leaseSeconds === 0) {
      if (lease) {
        this.forget(mac);
        this.registrar.withdraw(now, lease.registration.mac, 'withdrawn');
      }
      return 'withdrawn';
    }
    const where = {
      mac,
      link: place.link.name,
      vlanId: headers.vlanId,
      untilAt: now + 1000 * grantedSeconds(request),
    };
    const earlier = lease && ahead === 0 && lease.registration.link === where.link ? lease : undefined;
    const merged = mergeRegistration(request, where, earlier?.registration);
    if (!merged.ok) return merged.reason;
    const registration = merged.value;
    const refusal = this.refusalOf(registration, place, srcAddress);
    if (refusal) return refusal;
    if (!lease && this.leases.length >= this.limit) return 'no-room';
    if (!this.registrar.register(now, registration)) return 'no-room';
    const others = this.leases.filter(each => each !== lease);
    this.leases = [...others, { registration, heardAt: now }];
    return lease ? 'renewed' : 'registered';
  }

  /** Why a registration may not be: what it takes is somebody else's. */
  private refusalOf(
    registration: Registration,
    { served }: Place,
    srcAddress: Uint8Array,
  ): 'wrong-source' | 'address-taken' | 'name-taken' | undefined {
    const { mac, primaryMac, ipv4, ipv6, records } = registration;
    const addresses = [...ipv4, ...ipv6];
    if (addresses.length > 0 && !includes(addresses, srcAddress)) return 'wrong-source';
    const others = this.leases.map(lease => lease.registration).filter(other => !sameBytes(other.mac, mac));
    for (const address of addresses) {
      const owner = this.registrar.owner(address);
      const isOthers = others.some(other => includes(ownAddresses(other, address), address));
      if (isOthers || includes(ownAddresses(served, address), address)) return 'address-taken';
      if (owner && !sameBytes(owner, mac)) return 'address-taken';
    }
    // A host with two interfaces here registers its names on both.
    const namesakes = others.filter(other => !sameBytes(other.primaryMac, primaryMac));
    const taken = [served, ...namesakes];
    for (const other of taken)
      for (const theirs of other.records ?? [])
        if (records.some(record => contradicts(record, theirs))) return 'name-taken';
    return undefined;
  }

  private find(mac: Uint8Array): Lease | undefined {
    return this.leases.find(({ registration }) => sameBytes(registration.mac, mac));
  }
}

/** The request in an update's message, or why there is none. */
function readUpdate(payload: Uint8Array): RegistrationRequest | UpdateRefusal {
  const dns = parseDns(payload, 0, payload.length);
  if (!dns.ok) return dns.reason === 'too-many' ? 'too-many-records' : 'malformed';
  if (dns.value.kind !== 'update') return 'malformed';
  if (dns.value.truncated) return 'truncated';
  const request = readRegistration(dns.value);
  return request.ok ? request.value : request.reason;
}

function grantedSeconds({ leaseSeconds }: RegistrationRequest): number {
  return Math.min(leaseSeconds, longestLeaseS);
}

/** The answer to an update (RFC 2136 §3.8), with the lease that is granted (RFC 9664 §4). */
function replyTo(identification: number, responseCode: number, leaseSeconds?: number): Uint8Array {
  const hasOptions = leaseSeconds !== undefined || responseCode > 15;
  const update: DnsUpdate = {
    kind: 'update',
    identification,
    isResponse: true,
    authoritative: false,
    truncated: false,
    recursionDesired: false,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    responseCode: responseCode & 15,
    zones: [],
    prerequisites: [],
    updates: [],
    additionals: hasOptions
      ? [
          {
            kind: 'opt',
            udpPayloadSizeBytes,
            extendedResponseCode: responseCode >>> 4,
            version: 0,
            dnssecOk: false,
            options: leaseSeconds === undefined ? [] : [{ kind: 'update-lease', leaseSeconds }],
          },
        ]
      : [],
  };
  const message = new Uint8Array(dnsLength(update));
  emitDns(update, message, 0);
  return message;
}

/** What is announced where, with the names of an attempt. */
function placesFor(links: readonly Link[], name: string, attempt: number): Place[] {
  const places: Place[] = [];
  const suffix = attempt === 1 ? '' : ` (${attempt})`;
  const instance = `${dnsLabelText(encodeUtf8(`${gatewayMetrics} ${name}${suffix}`))}.${serviceType}`;
  // Not the device's own host name: that is for its own responder to announce, with all it has.
  const label = `${name.replace(/[^A-Za-z0-9-]/g, '-')}-sleep-proxy${attempt === 1 ? '' : `-${attempt}`}`;
  const host = `${label}.local`;
  const shared = { class: dnsClass.internet, cacheFlush: false, timeToLive: otherTimeToLiveS };
  const unique = { class: dnsClass.internet, cacheFlush: true, timeToLive: hostTimeToLiveS };
  for (const link of links) {
    const addresses = link.addresses ?? [];
    if (addresses.length === 0) continue;
    const records: DnsDataRecord[] = [
      { ...shared, name: serviceTypesName, kind: 'ptr', target: serviceType },
      { ...shared, name: serviceType, kind: 'ptr', target: instance },
      { ...unique, name: instance, kind: 'srv', priority: 0, weight: 0, port: mdnsPort, target: host },
      // RFC 6763 §6.1: nothing to say is one empty string.
      { ...unique, name: instance, timeToLive: otherTimeToLiveS, kind: 'txt', strings: [new Uint8Array(0)] },
    ];
    const ipv4 = addresses.filter(address => address.length === ipv4Length);
    const ipv6 = addresses.filter(address => address.length !== ipv4Length);
    for (const address of ipv4) records.push({ ...unique, name: host, kind: 'a', address });
    for (const address of ipv6) records.push({ ...unique, name: host, kind: 'aaaa', address });
    places.push({ link, served: { mac: link.mac, ipv4, ipv6, names: [label], records } });
  }
  return places;
}
