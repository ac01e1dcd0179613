/**
 * Whether a frame asks for a host: for its address (ARP, neighbour solicitations) or for one of its names or services (multicast
 * DNS, LLMNR, NetBIOS). Who asks that of everybody means one, so it need not concern the others.
 */

import { mdnsPort } from '../wire/dns.js';
import type { Headers } from '../wire/headers.js';
import { networkArp } from '../wire/headers.js';
import { nbnsPort } from '../wire/nbns.js';
import { llmnrPort } from '../wire/udp-ports.js';
import type { Host } from './host-table.js';
import { type NameTest, parseNameTest, parseNetbiosTest, Questions } from './question.js';
import { has, spansOf } from './spans.js';

const arpTargetOffset = 24;
/** Behind the ICMPv6 header of a solicitation (RFC 4861 §4.3). */
const ndTargetOffset = 8;
export const typeSolicitation = 135;

/** The ports of questions that go to everybody. */
export const askedPorts = spansOf([nbnsPort, nbnsPort, mdnsPort, mdnsPort, llmnrPort, llmnrPort]);

export class Asked {
  /** From the first question on. */
  private questions: Questions | undefined;
  private isRead = false;

  /** Another frame is to be asked about: its questions are read once, for however many hosts. */
  begin(): void {
    this.isRead = false;
  }

  /** Allocates only the first time after the host's names have changed (`host.nameTests`). */
  asksFor(frame: Uint8Array, headers: Headers, host: Host): boolean {
    const { network, l3Offset, l4Offset, l4End, icmpType, dstPort } = headers;
    if (network === networkArp) return host.profile.hasAddress(frame, l3Offset + arpTargetOffset, 4);
    if (icmpType === typeSolicitation)
      return (
        l4End - l4Offset >= ndTargetOffset + 16 &&
        host.profile.hasAddress(frame, l4Offset + ndTargetOffset, 16)
      );
    if (dstPort < 0 || !has(askedPorts, dstPort)) return false;
    host.nameTests = host.nameTests ?? nameTestsOf(host);
    if (host.nameTests.length === 0) return false;
    this.questions = this.questions ?? new Questions();
    if (!this.isRead) this.questions.read(frame, headers);
    this.isRead = true;
    return this.questions.match(frame, { names: host.nameTests, types: [] });
  }
}

function nameTestsOf({ profile }: Host): NameTest[] {
  const tests: NameTest[] = [];
  const add = (test: NameTest | undefined) => {
    if (test) tests.push(test);
  };
  for (const name of profile.names) {
    add(parseNameTest(name));
    add(parseNameTest(`${name}.local`));
    add(parseNetbiosTest(name));
  }
  for (const { name } of profile.netbiosNames ?? []) add(parseNetbiosTest(name));
  for (const { name } of profile.records) add(parseNameTest(name));
  return tests;
}
