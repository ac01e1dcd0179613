/**
 * For the tests of agent/power-proxy/respond: a host that sleeps, who asks for it, and the checks every responder passes.
 * The addresses are those of documentation (RFC 5737, RFC 3849).
 */

import * as assert from 'uvu/assert';
import { copyBytes, formatHex, readUint16, sameBytes, writeUint16 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import type { Link } from '../../agent/port/platform.js';
import { respondArp } from '../../agent/power-proxy/respond/arp.js';
import type { Deferring } from '../../agent/power-proxy/respond/due.js';
import { respondEcho, respondEchoV6 } from '../../agent/power-proxy/respond/echo.js';
import { igmpMembership } from '../../agent/power-proxy/respond/igmp.js';
import { respondLlmnr } from '../../agent/power-proxy/respond/llmnr.js';
import { Mdns } from '../../agent/power-proxy/respond/mdns.js';
import { Membership } from '../../agent/power-proxy/respond/membership.js';
import { mldMembership } from '../../agent/power-proxy/respond/mld.js';
import { respondNbns } from '../../agent/power-proxy/respond/nbns.js';
import { respondNd } from '../../agent/power-proxy/respond/nd.js';
import { SsdpSearch } from '../../agent/power-proxy/respond/ssdp.js';
import { respondTcpKeepalive } from '../../agent/power-proxy/respond/tcp-keepalive.js';
import type { Question, Served } from '../../agent/power-proxy/responder.js';
import { parseAddress, parseMac } from '../../agent/wire/address.js';
import { internetChecksum, transportChecksum } from '../../agent/wire/checksum.js';
import { Headers, networkIpv4, networkIpv6 } from '../../agent/wire/headers.js';
import { dissect, type Layer, linkType } from '../../host-sim/capture/dissect.js';

export const mac = (text: string) => parseMac(text)!;
export const ip = (text: string) => parseAddress(text)!;

export const hostMac = mac('3c:22:fb:01:02:03');
export const askerMac = mac('02:00:00:00:00:20');
export const proxyLink: Link = { name: 'lan', mac: mac('02:00:5e:10:00:01') };
export const askerLink: Link = { name: 'lan', mac: askerMac };
export const hostAddress = ip('192.0.2.10');
export const askerAddress = ip('192.0.2.20');
export const hostLinkLocal = ip('fe80::3e22:fbff:fe01:203');
export const hostGlobal = ip('2001:db8::10');
export const askerLinkLocal = ip('fe80::20');
export const askerGlobal = ip('2001:db8::20');

export const plainHost: Served = {
  mac: hostMac,
  ipv4: [hostAddress],
  ipv6: [hostLinkLocal, hostGlobal],
  names: ['desktop'],
};

export interface Asked {
  readonly verdict: string;
  readonly answers: Uint8Array[];
}

/** One that may answer, now or later; a new one knows nothing. */
export interface Answerer {
  respond(question: Question, send: (frame: Uint8Array) => void): string;
  readonly later?: Deferring;
}

const seed = 20_261_121;

function deferring<T extends Deferring & Answerer>(make: (random: Random) => T): () => Answerer {
  return () => {
    const later = make(new Random(seed, 'respond'));
    return { respond: (question, send) => later.respond(question, send), later };
  };
}

export const responders: { readonly [name: string]: () => Answerer } = {
  arp: () => ({ respond: respondArp }),
  nd: () => ({ respond: respondNd }),
  echo: () => ({ respond: respondEcho }),
  echoV6: () => ({ respond: respondEchoV6 }),
  igmp: deferring(random => new Membership(igmpMembership, random, 64)),
  mld: deferring(random => new Membership(mldMembership, random, 64)),
  mdns: deferring(random => new Mdns(random, 64)),
  llmnr: () => ({ respond: respondLlmnr }),
  nbns: () => ({ respond: respondNbns }),
  ssdp: deferring(random => new SsdpSearch(random, 64)),
  tcp: () => ({ respond: respondTcpKeepalive }),
};

/** Asks with one frame at `now`; the verdict, and what is sent at once. A damaged header gets the verdict `unscanned`. */
export function askNow(
  answerer: Answerer,
  frame: Uint8Array,
  host: Served,
  { now = 0, link = proxyLink }: { now?: number; link?: Link } = {},
): Asked {
  const headers = new Headers();
  if (headers.scan(frame, 0, frame.length) !== 'ok') return { verdict: 'unscanned', answers: [] };
  const answers: Uint8Array[] = [];
  const verdict = answerer.respond({ now, link, frame, headers, host }, answer => answers.push(answer));
  return { verdict, answers };
}

/** The same, with all that comes later. */
export function ask(
  answerer: Answerer,
  frame: Uint8Array,
  host: Served,
  options: { now?: number; link?: Link } = {},
): Asked {
  // The frame's memory is the platform's again after the call.
  const lent = copyBytes(frame, 0, frame.length);
  const asked = askNow(answerer, lent, host, options);
  lent.fill(0xa5);
  for (let at = answerer.later?.pollAt() ?? never; at < never; at = answerer.later!.pollAt())
    answerer.later!.poll(at, (_, answer) => asked.answers.push(answer));
  return asked;
}

/** The layers of a frame by name; fails the test if one is refused. */
export function layersOf(frame: Uint8Array): { readonly [name: string]: Layer } {
  const { layers, error } = dissect(frame, linkType.ethernet);
  assert.is(error, undefined, `${formatHex(frame)}: ${error?.layer}: ${error?.reason}`);
  return Object.fromEntries(layers.map(layer => [layer.name, layer]));
}

/** Bytes as hex, so that a difference can be read. */
export const hex = (bytes: unknown) => formatHex(bytes as Uint8Array);

/** Whether an answer is one to the question, for this host; both are well formed. */
export type Satisfies = (
  question: { readonly [name: string]: Layer },
  answer: { readonly [name: string]: Layer },
  host: Served,
) => boolean;

export interface Subject {
  readonly responder: string;
  readonly host: Served;
  /** Each gets an answer. */
  readonly questions: readonly Uint8Array[];
  readonly satisfies: Satisfies;
}

/**
 * Damages the questions of a subject in many ways, and lets two proxies talk: nothing throws, every answer answers what was
 * asked, and no answer gets one. Expects some damaged questions to be answered and some not.
 */
export function checkDamaged({ responder, host, questions, satisfies }: Subject, cases: number): void {
  const random = new Random(seed, responder);
  let answered = 0;
  let unanswered = 0;
  const check = (frame: Uint8Array, what: string) => {
    const where = `seed ${seed}, ${responder}, ${what}: ${formatHex(frame)}`;
    let asked: Asked;
    try {
      asked = ask(responders[responder](), frame, host);
    } catch (error) {
      throw new Error(`${where}: ${(error as Error).stack}`);
    }
    if (asked.answers.length > 0) answered++;
    else unanswered++;
    for (const answer of asked.answers) {
      const question = dissect(frame, linkType.ethernet);
      assert.is(question.error, undefined, `${where}: a damaged question was answered`);
      assert.ok(satisfies(layersOf(frame), layersOf(answer), host), `${where}: ${formatHex(answer)}`);
      checkSilence(answer, host, where);
    }
  };
  for (const [i, question] of questions.entries()) {
    assert.ok(
      ask(responders[responder](), question, host).answers.length > 0,
      `${responder}: question ${i} gets no answer: ${formatHex(question)}`,
    );
    check(question, `question ${i}`);
    for (let length = 0; length < question.length; length++) {
      check(question.subarray(0, length), `the first ${length} bytes`);
      check(shortened(question, length), `shortened to ${length} bytes`);
    }
  }
  for (let i = 0; i < cases; i++) {
    check(damaged(questions[random.below(questions.length)], random), `case ${i}`);
  }
  assert.ok(answered > 20 && unanswered > 20, `${responder}: ${answered} answered, ${unanswered} not`);
}

/** No responder, for this host or for the asker, on this proxy or another, says anything to an answer. */
function checkSilence(answer: Uint8Array, host: Served, where: string): void {
  const otherProxy: Link = { name: 'lan', mac: mac('02:00:5e:10:00:02') };
  const asker: Served = {
    ...host,
    mac: askerMac,
    ipv4: [askerAddress],
    ipv6: [askerLinkLocal, askerGlobal],
  };
  for (const name of Object.keys(responders))
    for (const link of [proxyLink, otherProxy])
      for (const served of [host, asker]) {
        const { answers } = ask(responders[name](), answer, served, { link });
        assert.is(answers.length, 0, `${where}: ${name} answers the answer ${formatHex(answer)}`);
      }
}

const strikingBytes = [0x00, 0x01, 0x0c, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff];

/** One to three bytes changed, and then mostly the lengths and checksums made right, for the damage to get far. */
function damaged(frame: Uint8Array, random: Random): Uint8Array {
  const copy = copyBytes(frame, 0, frame.length);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(copy.length);
    copy[at] = random.chance(0.5)
      ? copy[at] ^ (1 << random.below(8))
      : strikingBytes[random.below(strikingBytes.length)];
  }
  return random.chance(0.9) ? repaired(copy) : copy;
}

/** The frame cut to `length` bytes as its sender might have: all lengths and checksums say so. */
function shortened(frame: Uint8Array, length: number): Uint8Array {
  const copy = copyBytes(frame, 0, length);
  const headers = new Headers();
  headers.scan(frame, 0, frame.length);
  const { l3Offset, l4Offset, network, protocol } = headers;
  if (length < l4Offset) return copy;
  if (network === networkIpv4) writeUint16(copy, l3Offset + 2, length - l3Offset);
  if (network === networkIpv6) writeUint16(copy, l3Offset + 4, length - l3Offset - 40);
  if (protocol === 17 && length >= l4Offset + 8) writeUint16(copy, l4Offset + 4, length - l4Offset);
  return repaired(copy);
}

/** Where the checksum stands in each transport. */
const checksumAt: { readonly [protocol: number]: number } = { 1: 2, 2: 2, 6: 16, 17: 6, 58: 2 };

/** Makes the checksums right, as far as the headers can be read. */
export function repaired(frame: Uint8Array): Uint8Array {
  const headers = new Headers();
  headers.scan(frame, 0, frame.length);
  const ipAt = headers.l3Offset;
  if (headers.etherType === 0x0800 && frame.length >= ipAt + 20) {
    const headerEnd = Math.min(frame.length, ipAt + (frame[ipAt] & 15) * 4);
    writeUint16(frame, ipAt + 10, 0);
    writeUint16(frame, ipAt + 10, internetChecksum(frame, ipAt, headerEnd));
  }
  headers.scan(frame, 0, frame.length);
  const { network, protocol, l4Offset } = headers;
  const at = l4Offset + (checksumAt[protocol] ?? Number.NaN);
  if (headers.fragmentOffset > 0 || !(at + 2 <= headers.l4End)) return frame;
  const end =
    protocol === 17 ? Math.min(headers.l4End, l4Offset + readUint16(frame, l4Offset + 4)) : headers.l4End;
  writeUint16(frame, at, 0);
  const srcAt = ipAt + (network === networkIpv4 ? 12 : 8);
  const size = network === networkIpv4 ? 4 : 16;
  const pseudoHeader = {
    srcAddress: frame.subarray(srcAt, srcAt + size),
    dstAddress: frame.subarray(srcAt + size, srcAt + 2 * size),
  };
  const checksum =
    protocol === 1 || protocol === 2
      ? internetChecksum(frame, l4Offset, end)
      : transportChecksum(pseudoHeader, protocol, frame, l4Offset, end);
  writeUint16(frame, at, protocol === 17 && checksum === 0 ? 0xffff : checksum);
  return frame;
}

/** Whether one of the list has the same bytes. */
export function has(list: readonly Uint8Array[] | undefined, bytes: unknown): boolean {
  return (list ?? []).some(each => sameBytes(each, bytes as Uint8Array));
}
