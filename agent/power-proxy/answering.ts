/**
 * Which responder answers what, and the ones that keep something between frames: answers that wait for their random delay,
 * and what was sent lately.
 */

import type { Random } from '../core/random.js';
import { never } from '../core/time.js';
import { mdnsPort } from '../wire/dns.js';
import { etherTypeArp } from '../wire/ethernet.js';
import { type Headers, networkIpv4 } from '../wire/headers.js';
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from '../wire/ipv4.js';
import { llmnrPort } from '../wire/llmnr.js';
import { nbnsPort } from '../wire/nbns.js';
import { ssdpPort } from '../wire/ssdp.js';
import { respondArp } from './respond/arp.js';
import type { Deferring, SendDue } from './respond/due.js';
import { respondEcho, respondEchoV6 } from './respond/echo.js';
import type { Send } from './respond/frame.js';
import { igmpMembership } from './respond/igmp.js';
import { respondLlmnr } from './respond/llmnr.js';
import { Mdns } from './respond/mdns.js';
import { Membership } from './respond/membership.js';
import { mldMembership } from './respond/mld.js';
import { respondNbns } from './respond/nbns.js';
import { respondNd } from './respond/nd.js';
import { respondSnmp, snmpPort } from './respond/snmp.js';
import { SsdpSearch } from './respond/ssdp.js';
import { respondTcpKeepalive } from './respond/tcp-keepalive.js';
import type { Question } from './responder.js';
import type { ResponderName } from './rule.js';

const protocolIgmp = 2;
const icmpv6Echo = 128;
const icmpv6Solicitation = 135;
const icmpv6Query = 130;
/** MLDv1 reports (RFC 2710 §3); IGMPv1 and v2 reports are 0x12 and 0x16 (RFC 2236 §2.1). */
const icmpv6Report = 131;

export class Answering {
  private readonly igmp: Membership;
  private readonly mld: Membership;
  private readonly mdns: Mdns;
  private readonly ssdp: SsdpSearch;
  private readonly deferring: readonly Deferring[];

  /** `limit`: answers that wait, of each protocol. */
  constructor(random: Random, limit: number) {
    this.igmp = new Membership(igmpMembership, random, limit);
    this.mld = new Membership(mldMembership, random, limit);
    this.mdns = new Mdns(random, limit);
    this.ssdp = new SsdpSearch(random, limit);
    this.deferring = [this.igmp, this.mld, this.mdns, this.ssdp];
  }

  /** `answered`, `scheduled`, or why not. `name`: who is asked; without one, whoever knows the question. */
  respond(name: ResponderName | undefined, question: Question, send: Send): string {
    switch (name ?? responderOf(question)) {
      case 'arp':
        return respondArp(question, send);
      case 'nd':
        return respondNd(question, send);
      case 'echo':
        return question.headers.network === networkIpv4
          ? respondEcho(question, send)
          : respondEchoV6(question, send);
      case 'igmp':
        return this.igmp.respond(question);
      case 'mld':
        return this.mld.respond(question);
      case 'mdns':
        return this.mdns.respond(question, send);
      case 'llmnr':
        return respondLlmnr(question, send);
      case 'nbns':
        return respondNbns(question, send);
      case 'ssdp':
        return this.ssdp.respond(question);
      case 'snmp':
        return respondSnmp(question, send);
      case 'tcp-keepalive':
        return respondTcpKeepalive(question, send);
      default:
        return 'not-a-question';
    }
  }

  /** Whether it is another member's report, and any of ours waits. */
  mayOverhear({ protocol, icmpType, l4Offset }: Headers, frame: Uint8Array): boolean {
    if (protocol === protocolIgmp)
      return (frame[l4Offset] === 0x12 || frame[l4Offset] === 0x16) && this.igmp.pollAt() !== never;
    return protocol === protocolIcmpv6 && icmpType === icmpv6Report && this.mld.pollAt() !== never;
  }

  /** It may make one that waits for this host needless. */
  overhear(question: Question): void {
    if (question.headers.protocol === protocolIgmp) this.igmp.respond(question);
    else this.mld.respond(question);
  }

  poll(now: number, send: SendDue): void {
    for (const each of this.deferring) if (each.pollAt() <= now) each.poll(now, send);
  }

  pollAt(): number {
    let at = never;
    for (const each of this.deferring) at = Math.min(at, each.pollAt());
    return at;
  }

  /** The host speaks for itself. */
  forget(mac: Uint8Array): void {
    for (const each of this.deferring) each.forget(mac);
  }
}

/** Who knows the question; `undefined`: nobody, or it asks nothing. Allocates nothing. */
export function responderOf({
  headers,
  frame,
}: {
  headers: Headers;
  frame: Uint8Array;
}): ResponderName | undefined {
  const { protocol, etherType, icmpType, dstPort } = headers;
  if (etherType === etherTypeArp) return 'arp';
  switch (protocol) {
    case protocolIcmp:
      return 'echo';
    case protocolIgmp:
      return frame[headers.l4Offset] === 0x11 ? 'igmp' : undefined;
    case protocolIcmpv6:
      if (icmpType === icmpv6Solicitation) return 'nd';
      if (icmpType === icmpv6Echo) return 'echo';
      return icmpType === icmpv6Query ? 'mld' : undefined;
    case protocolTcp:
      return 'tcp-keepalive';
    case protocolUdp:
      if (dstPort === mdnsPort) return 'mdns';
      if (dstPort === llmnrPort) return 'llmnr';
      if (dstPort === nbnsPort) return 'nbns';
      if (dstPort === ssdpPort) return 'ssdp';
      return dstPort === snmpPort ? 'snmp' : undefined;
  }
  return undefined;
}
