/**
 * Our decoder against tshark, field by field: over all captures and over frames our emitters made. tshark-fields.ts
 * says which field is which; the exceptions below are the only places where the two may disagree.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dissect } from '../../host-sim/capture/dissect.js';
import { pcapHeader, pcapRecord } from '../../host-sim/capture/pcap.js';
import { type JsonValue, presentLayer } from '../../host-sim/capture/present.js';
import { decode } from '../../host-sim/cli/decode.js';
import { capturePath, capturePaths, sharedCapturePaths } from '../support/captures.js';
import { needs } from '../support/needs.js';
import { craftedFrames } from './crafted-frames.js';
import { type JsonLayer, resolve, tables } from './tshark-fields.js';

/** One protocol as tshark found it: its fields in order, those of nested ones included. */
interface Protocol {
  readonly name: string;
  readonly fields: { readonly name: string; readonly show: string }[];
}

interface TsharkFrame {
  readonly protocols: Protocol[];
  /** tshark could not read on, or says a length contradicts another. */
  malformed: boolean;
}

interface Outcome {
  frames: number;
  fields: number;
  readonly problems: string[];
}

/** Protocols of tshark that have no layer here, or whose content is a layer `data`. */
const withoutLayer = /^(geninfo|frame|raw|data|fake-field-wrapper|tls|ssh|llc|stp|_ws\.\w+)$/;
/** What tshark nests in ICMP is the packet quoted there, which is data here. */
const quoted = /^proto (ip|ipv6|udp|ccp)$/;
const quoting = /^(icmp|icmpv6|lcp)$/;

/** Where we refuse what tshark shows: the capture, the layer, the reason we give, and why that is right. */
const refusals: readonly (readonly [file: string, layer: string, reason: string, why: string])[] = [
  ['arp-malformed.pcap', 'arp', 'bad-length', 'Ethernet and IPv4 addresses have 6 and 4 bytes, not 255'],
  ['icmp6-mldv2.pcap', 'mld', 'bad-value', 'RFC 3810 §5: a message whose hop limit is not 1 is ignored'],
  ['nbns.pcap', 'nbns', 'truncated', 'the capture cut the message'],
];

/** Where tshark refuses what we show: the file, the frames, and why we are right. */
const tolerated: readonly (readonly [
  file: string,
  frame: (layers: readonly JsonLayer[]) => boolean,
  why: string,
  /** The layer that tshark does not read to its end, if there is one. */
  incomplete?: string,
])[] = [
  [
    'pppoe-over-qinq.pcap',
    layers => layers.some(({ name }) => name === 'pppoe'),
    'it takes the padding of the Ethernet frame for a part of PPPoE',
  ],
  [
    'crafted-1.pcap',
    layers => layers.at(-1)?.['options']?.[0]?.kind === 'quality-protocol',
    '4.0 fails on the data of a Quality-Protocol option, whatever they are',
    'lcp',
  ],
];

/** Lines of the tables, and exceptions, that some frame needed. */
const seen = new Set<unknown>();
/** Each frame compared, ours as JSON and tshark's, by file. */
const compared = new Map<string, { readonly line: string; readonly theirs: TsharkFrame }[]>();

function tshark(path: string): TsharkFrame[] {
  const preferences = [
    'tcp.check_checksum:TRUE',
    'udp.check_checksum:TRUE',
    'ip.check_checksum:TRUE',
    'tcp.desegment_tcp_streams:FALSE',
    'tcp.analyze_sequence_numbers:FALSE',
    'tls.desegment_ssl_records:FALSE',
  ];
  const options = preferences.flatMap(preference => ['-o', preference]);
  const pdml = execFileSync('tshark', ['-n', '-r', path, '-T', 'pdml', ...options], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const frames: TsharkFrame[] = [];
  // PDML is flat enough for this: elements with attributes in double quotes, and no text between them.
  const open: string[] = [];
  for (const [, close, tag, attributes, single] of pdml.matchAll(
    /<(\/?)(packet|proto|field)\b([^>]*?)(\/?)>/g,
  )) {
    if (tag === 'packet') {
      if (!close) frames.push({ protocols: [], malformed: false });
      continue;
    }
    if (close) {
      open.pop();
      continue;
    }
    const name = /\bname="([^"]*)"/.exec(attributes)?.[1] ?? '';
    const frame = frames.at(-1)!;
    if (name === '_ws.malformed') frame.malformed = true;
    if (open.length === 0) frame.protocols.push({ name, fields: [] });
    const protocol = frame.protocols.at(-1)!;
    if (tag === 'field' && !isQuoted(open, protocol.name)) {
      // Of Wake-on-LAN's password 4.0 shows the first bytes of the text it writes, but its value is right.
      const shown = name === 'wol.passwd' ? /\bvalue="([^"]*)"/ : /\bshow="([^"]*)"/;
      const show = shown.exec(attributes)?.[1] ?? '';
      protocol.fields.push({ name, show: plainText(show) });
    }
    if (!single) open.push(`${tag} ${name}`);
  }
  return frames;
}

/** Whether a field stands in a packet that the protocol quotes; `open` are the elements around it, from the outside in. */
function isQuoted(open: readonly string[], protocol: string): boolean {
  return quoting.test(protocol) && open.slice(1).some(around => quoted.test(around));
}

function plainText(text: string): string {
  return text
    .replace(/\\r/g, '\r')
    .replace(/\\n/g, '\n')
    .replace(/&#x([0-9a-f]+);/gi, (_, code) => String.fromCodePoint(Number.parseInt(code, 16)))
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"')
    .replace(/&amp;/g, '&');
}

/** Whether tshark's text says what our value says. */
function same(ours: JsonValue | undefined, show: string | undefined): boolean {
  if (ours === undefined || show === undefined) return false;
  if (typeof ours === 'boolean') return ours === (show === '1' || show === 'True');
  if (typeof ours === 'number') return show !== '' && Number(show) === ours;
  return show === ours || show.replaceAll(':', '') === ours;
}

function compareProtocol(
  protocol: Protocol,
  layer: JsonLayer,
  layers: readonly JsonLayer[],
  index: number,
  where: string,
  outcome: Outcome,
): void {
  const { rules, ignored } = tables[protocol.name];
  const shows = new Map<string, string[]>();
  for (const { name, show } of protocol.fields) shows.set(name, [...(shows.get(name) ?? []), show]);
  for (const name of shows.keys()) {
    // Without a name it is a heading, and an expert's remark is about other fields.
    if (name === '' || name.startsWith('_ws.') || rules[name]) continue;
    const left = ignored.find(([fields]) => fields.test(name));
    if (left) seen.add(left);
    else outcome.problems.push(`${where}: ${name} = ${shows.get(name)} is in no table`);
  }
  for (const [name, rule] of Object.entries(rules)) {
    const theirs = shows.get(name) ?? [];
    const ours = resolve(rule, layer, { shows: theirs, layers, index });
    if (ours === undefined) continue;
    if (theirs.length > 0) seen.add(name);
    outcome.fields += theirs.length;
    if (ours.length !== theirs.length || !ours.every((value, i) => same(value, theirs[i])))
      outcome.problems.push(
        `${where}: ${name}: tshark ${JSON.stringify(theirs)}, ours ${JSON.stringify(ours)}`,
      );
  }
}

function isData({ name }: Protocol): boolean {
  return name === 'data' || name === 'fake-field-wrapper';
}

/** Our layers as tshark counts them: what it shows as one protocol is one. */
function mergeLayers(layers: readonly JsonLayer[]): JsonLayer[] {
  const merged: JsonLayer[] = [];
  for (const layer of layers) {
    const last = merged.at(-1);
    if (layer['name'] === 'ndp' || layer['name'] === 'mld') merged[merged.length - 1] = { ...layer, ...last };
    else if (layer['name'] !== 'dhcpv6') merged.push(layer);
    else if (last?.['name'] === 'dhcpv6') last['messages'].push(layer);
    else merged.push({ name: 'dhcpv6', messages: [layer] });
  }
  return merged;
}

function compareFrame(
  ours: {
    readonly layers: JsonLayer[];
    readonly error?: { readonly layer: string; readonly reason: string };
  },
  theirs: TsharkFrame,
  file: string,
  where: string,
  outcome: Outcome,
): void {
  const layers = mergeLayers(ours.layers);
  const expected = layers
    .map((layer, index) => ({ layer, index }))
    .filter(({ layer }) => layer['name'] !== 'data');
  const found: Protocol[] = [];
  for (const protocol of theirs.protocols) {
    if (tables[protocol.name]) found.push(protocol);
    else if (!withoutLayer.test(protocol.name))
      outcome.problems.push(`${where}: no table for ${protocol.name}`);
  }
  // After a packet quoted in ICMP this is the payload of the quoted packet.
  const data = found.some(({ name }) => quoting.test(name)) ? [] : theirs.protocols.filter(isData);
  for (const { name, show } of data.flatMap(({ fields }) => fields)) {
    if (name !== 'data.data') continue;
    outcome.fields++;
    const bytes = layers.find(layer => layer['name'] === 'data')?.['bytes'];
    if (!same(bytes, show)) outcome.problems.push(`${where}: data: tshark ${show}, ours ${bytes}`);
  }
  const leniency = tolerated.find(([name, frame]) => name === file && theirs.malformed && frame(ours.layers));
  if (leniency) seen.add(leniency);
  for (const [i, { layer, index }] of expected.entries()) {
    const protocol = found[i];
    if (!protocol || tables[protocol.name].layer !== layer['name']) {
      outcome.problems.push(`${where}: tshark ${protocol?.name}, ours ${layer['name']}`);
      return;
    }
    // A message that one of the two refused has nothing to compare.
    const isRefused =
      ours.error?.layer === 'mld' || ours.error?.layer === 'ndp' || leniency?.[3] === layer['name'];
    if (isRefused && i === expected.length - 1) continue;
    compareProtocol(protocol, layer, layers, index, where, outcome);
  }
  const bad = found.find(({ fields }) =>
    fields.some(({ name, show }) => /\.checksum\.status$/.test(name) && show === '0'),
  );
  const { error } = ours;
  if (!error) {
    if (found.length > expected.length)
      outcome.problems.push(`${where}: we have no layer for tshark's ${found[expected.length].name}`);
    if (theirs.malformed && !leniency) outcome.problems.push(`${where}: tshark says malformed, we do not`);
    if (bad) outcome.problems.push(`${where}: tshark says a checksum of ${bad.name} is bad, we do not`);
    return;
  }
  const refusal = refusals.find(
    ([name, layer, reason]) => name === file && layer === error.layer && reason === error.reason,
  );
  if (refusal) seen.add(refusal);
  const agrees =
    error.reason === 'bad-checksum'
      ? bad !== undefined && tables[bad.name].layer === error.layer
      : theirs.malformed;
  if (!refusal && !agrees)
    outcome.problems.push(`${where}: we say ${error.layer}: ${error.reason}, tshark does not`);
}

async function jsonLines(path: string): Promise<string[]> {
  const lines: string[] = [];
  await decode(path, { json: true, verbose: false, checksums: true }, line => void lines.push(line));
  return lines;
}

async function compareFile(path: string): Promise<Outcome> {
  const outcome: Outcome = { frames: 0, fields: 0, problems: [] };
  const file = basename(path);
  const theirs = tshark(path);
  const lines = await jsonLines(path);
  assert.is(lines.length, theirs.length, `${file}: frames`);
  compared.set(
    file,
    lines.map((line, i) => ({ line, theirs: theirs[i] })),
  );
  for (const [i, line] of lines.entries()) {
    outcome.frames++;
    compareFrame(JSON.parse(line), theirs[i], file, `${file} frame ${i + 1}`, outcome);
  }
  return outcome;
}

async function comparePaths(paths: readonly string[], what: string): Promise<void> {
  const total: Outcome = { frames: 0, fields: 0, problems: [] };
  for (const path of paths) {
    const { frames, fields, problems } = await compareFile(path);
    total.frames += frames;
    total.fields += fields;
    total.problems.push(...problems);
  }
  console.log(
    `tshark: ${what}: ${paths.length} files, ${total.frames} frames, ${total.fields} fields compared`,
  );
  assert.is(total.problems.length, 0, `\n${total.problems.join('\n')}`);
  assert.ok(total.frames > 0 && total.fields > 10 * total.frames, 'too little was compared');
}

test('every emitted frame is read back by our own decoder as what was emitted', () => {
  for (const { title, link, bytes, value } of craftedFrames) {
    const { layers, error } = dissect(bytes, link);
    assert.is(error, undefined, title);
    const last = layers[layers.length - 1];
    assert.equal(presentLayer(last), presentLayer({ name: last.name, ...value }), title);
  }
});

const compare = needs('tshark', 'tshark') ? test : test.skip;

compare('tshark reads every field of every capture as we do', async () => {
  await comparePaths(capturePaths(), 'captures');
});

compare("tshark reads every field of the customer's originals as we do", async () => {
  const paths = sharedCapturePaths();
  if (paths.length > 0) await comparePaths(paths, 'originals');
  else console.log('tshark: the originals are not beside this checkout');
});

compare('tshark reads every field our emitters write as we do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kith-tshark-'));
  try {
    const paths: string[] = [];
    for (const link of new Set(craftedFrames.map(frame => frame.link))) {
      const frames = craftedFrames.filter(frame => frame.link === link);
      const path = join(folder, `crafted-${link}.pcap`);
      writeFileSync(
        path,
        [pcapHeader(link), ...frames.map(({ bytes }, i) => pcapRecord(i, bytes))].reduce(
          (a, b) => Buffer.concat([a, b]),
          Buffer.alloc(0),
        ),
      );
      paths.push(path);
    }
    await comparePaths(paths, 'crafted frames');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Fields of ours that the comparison cannot tell from a wrong value, and why. */
const unnoticed: readonly (readonly [field: RegExp, why: string])[] = [
  [/^ppp\.protocolCompressed$/, 'tshark shows the protocol alike in both forms'],
  [
    /^(dns|mdns|dns\.prerequisites)\.kind$|^\w+\.options\.kind$/,
    'the raw forms of two kinds are told apart by their type',
  ],
  [/^dns\.additionals\[raw\]\.data$/, 'a TSIG record, raw here and taken apart there'],
  [/^ndp\.options\[redirected-header\]\.packet$/, 'a packet quoted'],
  [/^dhcpv6\.options\[relay-message\]\.message$/, 'a layer of its own is compared'],
  [
    /^nbns\..*\.scope$|^nbns\..*\[nbstat\]\.(names\.suffix|statistics)$/,
    'tshark shows the one in words and the others not',
  ],
  [
    /^lcp\.options\[quality-protocol\]|^lcp\.options\[callback\]\.message$/,
    'tshark fails on the one and does not show the other',
  ],
  [/^lcp\.rejectedInformation$|^ipcp\.data$/, 'tshark dissects the one and does not show the other'],
];

/** The leaves of a layer's JSON: what holds each, under which key, and its path with the kinds on the way. */
function* leavesOf(holder: JsonLayer, path: string): Generator<[JsonLayer, string, string]> {
  for (const [key, value] of Object.entries(holder)) {
    const kind = path.includes('.') && holder['kind'] && key !== 'kind' ? `[${holder['kind']}]` : '';
    const here = Array.isArray(holder) ? path : `${path}${kind}.${key}`;
    if (typeof value === 'object') yield* leavesOf(value, here);
    else yield [holder, key, here];
  }
}

function wrong(value: JsonValue): JsonValue {
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'boolean') return !value;
  return value === '' ? '00' : `${String(value).startsWith('0') ? '1' : '0'}${String(value).slice(1)}`;
}

compare('the comparison notices a wrong value in every field of ours', () => {
  const noticed = new Map<string, boolean>();
  for (const [file, frames] of compared)
    for (const { line, theirs } of frames) {
      const frame = JSON.parse(line);
      for (const layer of frame.layers)
        for (const [holder, key, path] of leavesOf(layer, layer.name)) {
          const holds = holder as { [key: string]: JsonValue };
          if (holder === layer && key === 'name') continue;
          const value = holds[key];
          holds[key] = wrong(value);
          const outcome: Outcome = { frames: 0, fields: 0, problems: [] };
          try {
            compareFrame(structuredClone(frame), theirs, file, '', outcome);
          } catch (error) {
            // With a wrong kind the fields a rule looks for are not there.
            if (key !== 'kind') throw error;
            outcome.problems.push(String(error));
          }
          holds[key] = value;
          noticed.set(path, (noticed.get(path) ?? false) || outcome.problems.length > 0);
        }
    }
  assert.ok(noticed.size > 300, `${noticed.size} fields`);
  const missed = [...noticed.keys()].filter(path => !noticed.get(path));
  for (const entry of unnoticed)
    assert.ok(
      missed.some(path => entry[0].test(path)),
      `${entry[0]} is noticed after all`,
    );
  assert.equal(
    missed.filter(path => !unnoticed.some(([field]) => field.test(path))),
    [],
  );
});

const convert = needs('editcap', 'wireshark-common') ? test : test.skip;

convert(
  "editcap's pcapng and nanosecond pcap hold the same frames for us as the capture they are made of",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kith-editcap-'));
    try {
      for (const path of [capturePath('pppoe.pcap'), capturePath('nbns.pcap')]) {
        const expected = await jsonLines(path);
        for (const format of ['pcapng', 'nsecpcap', 'pcap']) {
          const converted = join(folder, `${basename(path)}.${format}`);
          execFileSync('editcap', ['-F', format, path, converted], { stdio: 'ignore' });
          assert.equal(await jsonLines(converted), expected, format);
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

compare('every line of the tables and every exception is needed by some frame', () => {
  const unused: string[] = [];
  for (const [name, { rules, ignored }] of Object.entries(tables)) {
    for (const field of Object.keys(rules)) if (!seen.has(field)) unused.push(`${name}: ${field}`);
    for (const entry of ignored) if (!seen.has(entry)) unused.push(`${name}: ignored ${entry[0]}`);
  }
  for (const exception of [...refusals, ...tolerated])
    if (!seen.has(exception)) unused.push(String(exception));
  assert.equal(unused, []);
});

test.run();
