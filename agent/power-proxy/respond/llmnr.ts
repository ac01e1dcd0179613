/**
 * LLMNR in a sleeping host's place (RFC 4795, and [MS-LLMNRP] §3.2.5 for the types worth answering): A, AAAA and ANY of one
 * of the host's names, PTR of one of its addresses.
 *
 * Only queries by UDP to the group are answered, to the sender alone (§2.3, §2.4). The host made sure of its names before
 * it slept, so the answer has T clear; a query with C set tells of a conflict and is the host's to settle (§2.1.1), so it
 * gets none. A name the host has, of a type it has not, gets an answer without records. An answer is at most
 * `maxMessageLength` long, with as many records as fit: 12 + 6 + n × 16 bytes or 28 for a question of 12 + 6.
 */

import { sameBytes } from '../../core/bytes.js';
import { ipv4Length, parseAddress } from '../../wire/address.js';
import { type DnsDataRecord, dnsClass, dnsType } from '../../wire/dns.js';
import { emitLlmnr, type Llmnr, llmnrGroups, llmnrLength, llmnrPort, parseLlmnr } from '../../wire/llmnr.js';
import type { Question, Served } from '../responder.js';
import { ownAddressFor, type Refusal, readDatagram, type Send, udpFrame, wayBack } from './frame.js';
import { isLabel, reverseName, sameName } from './names.js';

export type LlmnrRefusal =
  | Refusal
  /** Another host answers to the name too, says the sender. */
  | 'conflict';

/** RFC 4795 §2.8. */
const timeToLiveS = 30;
/** RFC 4795 §2.5. */
const responseTimeToLive = 255;
/** RFC 4795 §2.1: what every receiver takes. */
const maxMessageLength = 512;

export function respondLlmnr(question: Question, send: Send): 'answered' | LlmnrRefusal {
  const datagram = readDatagram(question, llmnrPort);
  if (!datagram.ok) return datagram.reason;
  const { srcAddress, srcPort, dstAddress, payload } = datagram.value;
  const { host } = question;
  const group = parseAddress(llmnrGroups[dstAddress.length === ipv4Length ? 0 : 1]) as Uint8Array;
  if (!sameBytes(dstAddress, group)) return 'not-ours';
  const query = parseLlmnr(payload, 0, payload.length);
  if (!query.ok) return 'malformed';
  if (query.value.isResponse) return 'not-a-question';
  const own = ownAddressFor(host, srcAddress);
  const answers = answersTo(query.value, host);
  if (!answers || !own) return 'not-ours';
  if (query.value.conflict) return 'conflict';
  const response: Llmnr = {
    identification: query.value.identification,
    isResponse: true,
    conflict: false,
    truncated: false,
    tentative: false,
    responseCode: 0,
    question: query.value.question,
    answers,
    authorities: [],
    additionals: [],
  };
  while (answers.length > 0 && llmnrLength(response) > maxMessageLength) answers.pop();
  const message = new Uint8Array(llmnrLength(response));
  emitLlmnr(response, message, 0);
  const parts = { srcAddress: own, dstAddress: srcAddress, srcPort: llmnrPort, dstPort: srcPort };
  send(udpFrame(wayBack(question), { ...parts, timeToLive: responseTimeToLive }, message));
  return 'answered';
}

/** What the host has to say to the question, perhaps nothing; `undefined` if it is not the one to be asked. */
function answersTo({ question }: Llmnr, host: Served): DnsDataRecord[] | undefined {
  const { name, type } = question;
  if (question.class !== dnsClass.internet && question.class !== dnsClass.any) return undefined;
  const head = { name, class: dnsClass.internet, cacheFlush: false, timeToLive: timeToLiveS };
  const answers: DnsDataRecord[] = [];
  const isAny = type === dnsType.any;
  if (host.names.some(own => isLabel(name, own))) {
    if (isAny || type === dnsType.a)
      for (const address of host.ipv4) answers.push({ ...head, kind: 'a', address });
    if (isAny || type === dnsType.aaaa)
      for (const address of host.ipv6) answers.push({ ...head, kind: 'aaaa', address });
    return answers;
  }
  const reversed = [...host.ipv4, ...host.ipv6].some(address => sameName(name, reverseName(address)));
  // A name that is not one label as it stands has no place in a domain name.
  const target = host.names.find(own => isLabel(own, own));
  if (!reversed || target === undefined) return undefined;
  if (isAny || type === dnsType.ptr) answers.push({ ...head, kind: 'ptr', target });
  return answers;
}
