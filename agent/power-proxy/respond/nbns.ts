/**
 * The NetBIOS name service in a sleeping host's place (RFC 1001 §15.3, RFC 1002 §4.2.12, §4.2.13, §4.2.17, §4.2.18): name
 * queries and node status requests for names the host registered.
 *
 * A name query is answered if it was broadcast on the link or sent to the host; a node status request only if sent to the
 * host, for everybody would answer to the name `*`. Never in the negative: that is a name server's to say. The answer goes
 * to the sender alone; of a status the message has 103 + 18 n bytes for a request of 50, and n is at most `nodeNameLimit`.
 * Registrations and conflicts are left to the host.
 */

import { sameBytes } from '../../core/bytes.js';
import {
  emitNbns,
  type Nbns,
  type NbnsRecord,
  nbnsLength,
  nbnsOperation,
  nbnsPort,
  nbnsType,
  parseNbns,
} from '../../wire/nbns.js';
import type { Question, Served } from '../responder.js';
import {
  defaultTimeToLive,
  includes,
  type Refusal,
  readDatagram,
  type Send,
  udpFrame,
  wayBack,
} from './frame.js';
import { sameName } from './names.js';

/** Windows registers a host, its workgroup and a few services: up to about eight names. */
const nodeNameLimit = 16;
/** RFC 1002 §4.2.18: what follows the unit's MAC. */
const statisticsLength = 40;
/** 0 stands for no end (RFC 1002 §4.2.1.3); the host holds the name for as long as it is answered for. */
const timeToLiveS = 0;
/** A node that broadcasts (RFC 1002 §4.2.1.3). */
const broadcastNode = 0;
/** RFC 1002 §4.2.18: characters of a name. */
const nameLength = 15;

type OwnName = NonNullable<Served['netbiosNames']>[number];

export function respondNbns(question: Question, send: Send): 'answered' | Refusal {
  const datagram = readDatagram(question, nbnsPort);
  if (!datagram.ok) return datagram.reason;
  const { srcAddress, srcPort, dstAddress, payload } = datagram.value;
  const { host } = question;
  if (srcAddress.length !== 4) return 'not-a-question';
  const toHost = includes(host.ipv4, dstAddress);
  if (!toHost && !isBroadcast(question)) return 'not-ours';
  const message = parseNbns(payload, 0, payload.length);
  if (!message.ok) return 'malformed';
  const query = message.value;
  if (query.isResponse || query.operation !== nbnsOperation.query || query.questions.length === 0)
    return 'not-a-question';
  // RFC 1002 §4.2.12, §4.2.17: exactly one.
  if (query.questions.length > 1) return 'malformed';
  const record = answerTo(query, host, toHost);
  if (!record) return 'not-ours';
  const response: Nbns = {
    identification: query.identification,
    isResponse: true,
    operation: nbnsOperation.query,
    authoritative: true,
    truncated: false,
    recursionDesired: record.kind === 'nb' && query.recursionDesired,
    recursionAvailable: false,
    broadcast: false,
    responseCode: 0,
    questions: [],
    answers: [record],
    authorities: [],
    additionals: [],
  };
  const bytes = new Uint8Array(nbnsLength(response));
  emitNbns(response, bytes, 0);
  const parts = { srcAddress: toHost ? dstAddress : host.ipv4[0], dstAddress: srcAddress };
  const ports = { srcPort: nbnsPort, dstPort: srcPort, timeToLive: defaultTimeToLive };
  send(udpFrame(wayBack(question), { ...parts, ...ports }, bytes));
  return 'answered';
}

function answerTo(query: Nbns, host: Served, toHost: boolean): NbnsRecord | undefined {
  const { name, type } = query.questions[0];
  const names = ownNames(host);
  // The host's names are in no scope (RFC 1001 §9).
  if (host.ipv4.length === 0 || name.scope !== '') return undefined;
  const own = names.find(each => each.suffix === name.suffix && sameName(each.name, name.name));
  if (type === nbnsType.nb) {
    if (!own) return undefined;
    const entries = host.ipv4.map(address => ({ group: own.group, nodeType: broadcastNode, address }));
    return { kind: 'nb', name, timeToLive: timeToLiveS, entries };
  }
  if (type !== nbnsType.nbstat || !toHost || (!own && name.name !== '*')) return undefined;
  return {
    kind: 'nbstat',
    name,
    timeToLive: timeToLiveS,
    names: names.slice(0, nodeNameLimit).map(each => ({
      ...each,
      nodeType: broadcastNode,
      deregistering: false,
      conflict: false,
      active: true,
      permanent: false,
    })),
    unitMac: host.mac,
    statistics: new Uint8Array(statisticsLength),
  };
}

/** Those that fit the form: NetBIOS knows upper case and one byte a character. */
function ownNames(host: Served): readonly OwnName[] {
  if (host.netbiosNames) return host.netbiosNames;
  const names: OwnName[] = [];
  for (const name of host.names)
    if (isPlain(name)) names.push({ name: name.toUpperCase(), suffix: 0, group: false });
  return names;
}

function isPlain(name: string): boolean {
  for (let i = 0; i < name.length; i++)
    if (name.charCodeAt(i) <= 32 || name.charCodeAt(i) >= 127) return false;
  return name.length > 0 && name.length <= nameLength;
}

/** The subnet's broadcast address shows only in the frame's. */
function isBroadcast({ frame }: Question): boolean {
  return sameBytes(frame.subarray(0, 6), new Uint8Array(6).fill(0xff));
}
