/**
 * SSDP searches in a sleeping host's place (UPnP Device Architecture 2.0 §1.3.2, §1.3.3), from the notifications it last
 * sent: each is turned into the response to a search for its target.
 *
 * Only searches by multicast are answered: one to the host's address cannot be told from one with a forged source, and
 * SSDP's answers are many times longer. Responses go to the searcher, each after a random part of the time it allows, at
 * most `responseLimit` of them and together at most `answerFactor` times as long as the search; what waits is bounded by
 * the limit given, beyond which the search is left to its repetition. Without a civil clock there is no DATE, which is
 * only recommended.
 */

import { sameBytes } from '../../core/bytes.js';
import type { Random } from '../../core/random.js';
import { ipv4Length, parseAddress } from '../../wire/address.js';
import { ipv6MinLength } from '../../wire/ipv6.js';
import {
  emitSsdp,
  parseSsdp,
  type Ssdp,
  type SsdpHeader,
  ssdpGroups,
  ssdpLength,
  ssdpPort,
} from '../../wire/ssdp.js';
import { udpLength } from '../../wire/udp.js';
import type { Question, Served } from '../responder.js';
import { type Deferring, Due, type SendDue, type Waiting } from './due.js';
import {
  defaultTimeToLive,
  maxPacketLength,
  ownAddressFor,
  type Refusal,
  readDatagram,
  udpFrame,
  wayBack,
} from './frame.js';

export type SsdpRefusal =
  | Refusal
  /** The answers go out in `poll`. */
  | 'scheduled'
  /** No room for another answer that waits. */
  | 'too-many';

/** A root device with two devices and four services has 3 + 2 × 2 + 4 targets (§1.2.2). */
const responseLimit = 16;
/** A search of some 100 bytes gets eight responses of 400. */
const answerFactor = 32;
/** §1.3.2: a larger MX counts as 5. */
const maxWaitS = 5;
/** What a response has of a notification besides its target (§1.2.2, §1.3.3). */
const keptHeaders = [
  'CACHE-CONTROL',
  'LOCATION',
  'SERVER',
  'USN',
  'BOOTID.UPNP.ORG',
  'CONFIGID.UPNP.ORG',
  'SEARCHPORT.UPNP.ORG',
  'SECURELOCATION.UPNP.ORG',
];

interface Pending extends Waiting {
  readonly link: string;
  readonly frame: Uint8Array;
}

export class SsdpSearch implements Deferring {
  private readonly random: Random;
  private readonly due: Due<Pending>;

  constructor(random: Random, limit: number) {
    this.random = random;
    this.due = new Due(limit);
  }

  /** As a `Responder`, but the answers go out in `poll`. */
  respond(question: Question): SsdpRefusal {
    const datagram = readDatagram(question, ssdpPort);
    if (!datagram.ok) return datagram.reason;
    const { srcAddress, srcPort, dstAddress, payload } = datagram.value;
    const host: Served = question.host;
    const group = parseAddress(ssdpGroups[dstAddress.length === ipv4Length ? 0 : 1]) as Uint8Array;
    if (!sameBytes(dstAddress, group)) return 'not-ours';
    const message = parseSsdp(payload, 0, payload.length);
    if (!message.ok) return 'malformed';
    if (message.value.kind !== 'search') return 'not-a-question';
    const target = headerOf(message.value, 'ST');
    const waitS = wholeNumber(headerOf(message.value, 'MX'));
    // §1.3.2: without these it is to be ignored.
    if (headerOf(message.value, 'MAN') !== '"ssdp:discover"' || !target || waitS === undefined || waitS < 1)
      return 'malformed';
    const own = ownAddressFor(host, srcAddress);
    if (!own) return 'not-ours';
    const parts = { srcAddress: own, dstAddress: srcAddress, srcPort: ssdpPort, dstPort: srcPort };
    let left = answerFactor * payload.length;
    let scheduled = 0;
    let matched = 0;
    for (const notification of host.notifications ?? []) {
      const response = responseTo(notification, target);
      if (!response || matched === responseLimit) continue;
      matched++;
      const bytes = new Uint8Array(ssdpLength(response));
      left -= bytes.length;
      if (left < 0) break;
      emitSsdp(response, bytes, 0);
      const dueAt = question.now + this.random.below(1000 * Math.min(waitS, maxWaitS) + 1);
      const frame = udpFrame(wayBack(question), { ...parts, timeToLive: defaultTimeToLive }, bytes);
      if (this.due.add({ dueAt, host, link: question.link.name, frame })) scheduled++;
    }
    return scheduled > 0 ? 'scheduled' : matched > 0 ? 'too-many' : 'not-ours';
  }

  poll(now: number, send: SendDue): void {
    for (const { link, frame } of this.due.take(now)) send(link, frame);
  }

  pollAt(): number {
    return this.due.pollAt();
  }

  forget(mac: Uint8Array): void {
    this.due.forget(mac);
  }
}

/** The response to a search for `target` that the notification gives; `undefined` if it is another target's. */
function responseTo(notification: Ssdp, target: string): Ssdp | undefined {
  const type = headerOf(notification, 'NT');
  if (notification.kind !== 'notify' || headerOf(notification, 'NTS') !== 'ssdp:alive' || !type)
    return undefined;
  const isAll = target === 'ssdp:all';
  if (!isAll && !isTarget(type, target)) return undefined;
  // §1.3.3: of a versioned type the response names the version that was asked for.
  const named = isAll ? type : target;
  const headers: SsdpHeader[] = [
    { name: 'ST', value: named },
    { name: 'EXT', value: '' },
  ];
  for (const name of keptHeaders) {
    const value = headerOf(notification, name);
    if (value) headers.push({ name, value: name === 'USN' ? replaceEnd(value, type, named) : value });
  }
  const response: Ssdp = { kind: 'response', headers };
  return ssdpLength(response) <= maxPacketLength - ipv6MinLength - udpLength ? response : undefined;
}

/** Whether a target is the one searched for: the same, or of the same type in that version or a later one (§1.3.2). */
function isTarget(type: string, target: string): boolean {
  if (type === target) return true;
  const versionAt = type.lastIndexOf(':') + 1;
  if (type.slice(0, 4) !== 'urn:' || type.slice(0, versionAt) !== target.slice(0, versionAt)) return false;
  const version = wholeNumber(type.slice(versionAt));
  const wanted = wholeNumber(target.slice(versionAt));
  return version !== undefined && wanted !== undefined && wanted <= version;
}

function replaceEnd(text: string, end: string, by: string): string {
  const at = text.length - end.length;
  return at >= 0 && text.slice(at) === end ? text.slice(0, at) + by : text;
}

function headerOf({ headers }: Ssdp, name: string): string | undefined {
  for (const header of headers) if (header.name.toUpperCase() === name) return header.value;
  return undefined;
}

/** Of decimal digits, at most nine. */
function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && text.length < 10 && /^[0-9]+$/.test(text) ? Number(text) : undefined;
}
