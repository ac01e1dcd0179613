/**
 * The responders against traffic recorded by others: each question in the captures gets one correct answer, nothing else
 * gets any, and tshark reads the answers and knows what they answer.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, formatHex } from '../../agent/core/bytes.js';
import type { Served } from '../../agent/power-proxy/responder.js';
import { type DnsDataRecord, type DnsQuestion, dnsType } from '../../agent/wire/dns.js';
import { dissect, type Layer, linkType } from '../../host-sim/capture/dissect.js';
import { CaptureReader, pcapHeader, pcapRecord } from '../../host-sim/capture/pcap.js';
import { capturePaths, sharedCapturePaths } from '../support/captures.js';
import { needs } from '../support/needs.js';
import { ask, ip, layersOf, mac, responders } from './respond-asking.js';
import { notifications, satisfies, segment, subjects } from './respond-subjects.js';

const sleeperMac = mac('02:00:00:00:00:99');

/** A host that has whatever the frame asks for, and the responder that should answer; `undefined` if nothing is asked. */
function sleeperFor(layers: readonly Layer[]): { name: string; host: Served } | undefined {
  // biome-ignore lint/suspicious/noExplicitAny: layers are records of anything
  const found: { [name: string]: any } = Object.fromEntries(layers.map(layer => [layer.name, layer]));
  const { ethernet, arp, icmp, icmpv6, ndp, mld, igmp, mdns, llmnr, nbns, ssdp, ipv4, ipv6, ppp } = found;
  if (ppp) return undefined;
  const host = {
    mac: ethernet.dstMac[0] & 1 ? sleeperMac : ethernet.dstMac,
    ipv4: [ip('192.0.2.10')],
    ipv6: [ip('fe80::99')],
    names: [],
  };
  if (arp?.operation === 1) {
    // Nobody has 0.0.0.0.
    const ipv4s = arp.targetAddress[0] > 0 ? [arp.targetAddress] : host.ipv4;
    return { name: 'arp', host: { ...host, ipv4: ipv4s } };
  }
  if (ndp?.kind === 'neighbor-solicitation')
    return { name: 'nd', host: { ...host, ipv6: [ndp.targetAddress] } };
  if (icmp?.type === 8) return { name: 'echo', host: { ...host, ipv4: [ipv4.dstAddress] } };
  if (icmpv6?.type === 128) return { name: 'echoV6', host: { ...host, ipv6: [ipv6.dstAddress] } };
  const groups = [ip('224.0.0.251'), ip('ff02::fb')];
  if (igmp?.kind === 'query') return { name: 'igmp', host: { ...host, groups } };
  if (mld?.kind === 'query') return { name: 'mld', host: { ...host, groups } };
  if (mdns && !mdns.isResponse && mdns.questions.length > 0)
    return { name: 'mdns', host: { ...host, records: mdns.questions.map(recordFor) } };
  if (llmnr && !llmnr.isResponse) return { name: 'llmnr', host: { ...host, names: [llmnr.question.name] } };
  if (nbns && !nbns.isResponse && nbns.operation === 0)
    return {
      name: 'nbns',
      host: { ...host, ipv4: [ipv4.dstAddress], netbiosNames: [{ ...nbns.questions[0].name, group: false }] },
    };
  if (ssdp?.kind === 'search') {
    const st = ssdp.headers.find(({ name }: { name: string }) => name.toUpperCase() === 'ST')?.value;
    const notify = notifications[0];
    const headers = notify.headers.map(each => (each.name === 'NT' ? { ...each, value: st } : each));
    return { name: 'ssdp', host: { ...host, notifications: [{ ...notify, headers }] } };
  }
  return undefined;
}

function recordFor({ name, type }: DnsQuestion): DnsDataRecord {
  const head = { name, class: 1, cacheFlush: type !== dnsType.ptr, timeToLive: 120 };
  return type === dnsType.ptr
    ? { ...head, kind: 'ptr', target: `Sleeper.${name}` }
    : { ...head, kind: 'a', address: ip('192.0.2.10') };
}

interface Exchange {
  readonly where: string;
  readonly responder: string;
  readonly question: Uint8Array;
  readonly answers: readonly Uint8Array[];
}

/** Those of the questions that are not to be answered, and why. */
const unanswerable: { readonly [where: string]: string } = {
  'icmp6-neighbor-solicit.pcap 1': 'bad-source: its MAC is all zeros',
  'arp-decode-1.pcap 1': 'not-ours: who has 0.0.0.0?',
};

/** Answers to all questions of a capture, and the check that there are none to all else. */
function answerCapture(path: string): Exchange[] {
  const exchanges: Exchange[] = [];
  const reader = new CaptureReader(path);
  reader.push(readFileSync(path));
  for (let frame = reader.next(); frame; frame = reader.next()) {
    const where = `${basename(path)} ${frame.number}`;
    const { bytes, linkType: link, originalLength } = frame;
    const { layers, error } = dissect(bytes, link, { originalLength });
    const sleeper = link === linkType.ethernet && !error ? sleeperFor(layers) : undefined;
    for (const name of Object.keys(responders)) {
      const host = sleeper?.host ?? { ...subjects[name].host, mac: sleeperMac };
      const { verdict, answers } = ask(responders[name](), bytes, host);
      if (name !== sleeper?.name) {
        assert.is(answers.length, 0, `${where}: ${name} answers what is no question to it`);
        continue;
      }
      if (unanswerable[where]) {
        assert.is(verdict, unanswerable[where].split(':')[0], where);
        continue;
      }
      assert.is(answers.length, 1, `${where}: ${name} says ${verdict}`);
      for (const answer of answers)
        assert.ok(satisfies[name](layersOf(bytes), layersOf(answer), host), `${where}: ${formatHex(answer)}`);
      exchanges.push({ where, responder: name, question: bytes, answers });
    }
  }
  return exchanges;
}

test('every question in the captures gets one correct answer, and every other frame none', () => {
  for (const [what, paths] of [
    ['captures', capturePaths()],
    ['originals', sharedCapturePaths()],
  ] as const) {
    const exchanges = paths.flatMap(answerCapture);
    const counts: { [name: string]: number } = {};
    for (const { responder } of exchanges) counts[responder] = (counts[responder] ?? 0) + 1;
    console.log(`respond: ${what}: ${JSON.stringify(counts)}`);
    if (paths.length > 0)
      assert.equal(Object.keys(counts).sort(), ['arp', 'echoV6', 'igmp', 'llmnr', 'mdns', 'nd', 'ssdp']);
  }
});

/** tshark's fields of each frame, an array each. */
function tshark(frames: readonly Uint8Array[], fields: readonly string[]): { [field: string]: string }[] {
  const folder = mkdtempSync(join(tmpdir(), 'kith-respond-'));
  try {
    const path = join(folder, 'answers.pcap');
    const parts = [pcapHeader(linkType.ethernet), ...frames.map((frame, i) => pcapRecord(10 * i, frame))];
    writeFileSync(path, concatBytes(parts));
    const checks = ['tcp', 'udp', 'ip'].flatMap(name => ['-o', `${name}.check_checksum:TRUE`]);
    const options = ['-n', '-r', path, ...checks, '-T', 'fields', '-E', 'separator=|'];
    const text = execFileSync('tshark', [...options, ...fields.flatMap(field => ['-e', field])], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const lines = text.split('\n').slice(0, frames.length);
    return lines.map(line => Object.fromEntries(line.split('|').map((value, i) => [fields[i], value])));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const compare = needs('tshark', 'tshark') ? test : test.skip;

const statusFields = ['ip', 'udp', 'tcp', 'icmp', 'icmpv6', 'igmp'].map(name => `${name}.checksum.status`);
/** Where tshark says which frame an answer answers; of the other protocols it does not keep track. */
const linkFields: { readonly [responder: string]: string } = {
  echo: 'icmp.resp_to',
  echoV6: 'icmpv6.resp_to',
};

compare('tshark finds nothing malformed in any answer, and links echo replies to their requests', () => {
  const exchanges: Exchange[] = capturePaths().flatMap(answerCapture);
  for (const [responder, { host, questions }] of Object.entries(subjects))
    for (const question of questions) {
      const { answers } = ask(responders[responder](), question, host);
      exchanges.push({ where: `question of ${responder}`, responder, question, answers });
    }
  const frames = exchanges.flatMap(({ question, answers }) => [question, ...answers]);
  const read = tshark(frames, ['_ws.malformed', ...statusFields, ...Object.values(linkFields)]);
  assert.is(read.length, frames.length);
  let verified = 0;
  let linked = 0;
  let at = 0;
  for (const { where, responder, answers } of exchanges) {
    const questionNumber = at + 1;
    at += 1 + answers.length;
    for (let i = questionNumber; i < at; i++) {
      assert.is(read[i]['_ws.malformed'], '', `${where}: ${formatHex(frames[i])}`);
      for (const field of statusFields) {
        // 1 is right, 0 is wrong, 2 and 3 are neither.
        assert.not.match(read[i][field], /0/, `${where}: ${field} is bad: ${formatHex(frames[i])}`);
        if (read[i][field] === '1') verified++;
      }
      const field = linkFields[responder];
      if (!field) continue;
      assert.is(read[i][field], String(questionNumber), `${where}: ${field}`);
      linked++;
    }
  }
  console.log(
    `respond: tshark: ${exchanges.length} questions, ${frames.length - exchanges.length} answers, ` +
      `${verified} checksums right, ${linked} echo replies linked`,
  );
  assert.ok(verified > exchanges.length && linked > 5);
});

compare('tshark takes the answer to a keep-alive for its acknowledgement', () => {
  const last = segment({}, new Uint8Array(1));
  const probe = segment();
  const [ack] = ask(responders['tcp'](), probe, subjects['tcp'].host).answers;
  const read = tshark([last, ack, probe, ack], ['tcp.analysis.keep_alive', 'tcp.analysis.keep_alive_ack']);
  assert.is.not(read[2]['tcp.analysis.keep_alive'], '');
  assert.equal(
    read.map(fields => fields['tcp.analysis.keep_alive_ack'] !== ''),
    [false, false, false, true],
  );
});

test.run();
