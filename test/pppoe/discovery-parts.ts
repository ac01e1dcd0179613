/** A concentrator, hosts and what is between them, for the tests of discovery: frames in arrays, keys from a seed. */

import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import type { Digest } from '../../agent/port/digest.js';
import {
  type ClientSession,
  DiscoveryClient,
  type DiscoveryClientCalls,
  type DiscoveryClientConfig,
} from '../../agent/pppoe/discovery-client.js';
import {
  DiscoveryServer,
  type DiscoveryServerConfig,
  defaultDiscoveryLimits,
  type SessionRequest,
} from '../../agent/pppoe/discovery-server.js';
import { SessionTable } from '../../agent/pppoe/session-table.js';
import { parseMac } from '../../agent/wire/address.js';
import { emitEthernet, ethernetLength, parseEthernet } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import {
  emitPppoe,
  emitPppoeTags,
  type PppoeTag,
  parsePppoe,
  parsePppoeTags,
  pppoeHeaderLength,
  pppoeTagsLength,
} from '../../agent/wire/pppoe.js';
import type { VlanTag } from '../../agent/wire/vlan.js';

export const acMac = parseMac('02:ac:00:00:00:01')!;
export const hostMac = parseMac('02:10:00:00:00:01')!;
export const broadcast = parseMac('ff:ff:ff:ff:ff:ff')!;

export const digest: Digest = {
  md5: data => new Uint8Array(createHash('md5').update(data).digest()),
};

export const serverConfig: DiscoveryServerConfig = {
  mac: acMac,
  acName: 'ac1',
  services: ['internet', 'iptv'],
  maxPayload: 1492,
  openTimeoutMs: 60_000,
  padoDelays: [],
  limits: defaultDiscoveryLimits,
};

export const clientConfig: DiscoveryClientConfig = {
  mac: hostMac,
  vlanTags: [],
  service: '',
  acName: '',
  gatherMs: 0,
  maxPayload: 1492,
};

export interface ServerParts {
  readonly server: DiscoveryServer;
  readonly table: SessionTable;
  readonly sent: { readonly link: number; readonly frame: Uint8Array }[];
  readonly opened: { readonly id: number; readonly request: SessionRequest }[];
  readonly closed: { readonly id: number; readonly reason: string }[];
  /** Hands a frame in and takes out what was sent because of it. */
  receive(now: number, frame: Uint8Array, link?: number): Uint8Array[];
}

export function serverParts(
  options: Partial<DiscoveryServerConfig> = {},
  table = new SessionTable({ sessions: 1_000 }),
): ServerParts {
  const random = new Random(1, 'keys');
  const sent: ServerParts['sent'] = [];
  const opened: ServerParts['opened'] = [];
  const closed: ServerParts['closed'] = [];
  const headers = new Headers();
  const server = new DiscoveryServer(
    0,
    { ...serverConfig, ...options },
    {
      digest,
      newKey: () => Uint8Array.from({ length: 16 }, () => random.below(256)),
      send: (link, frame) => sent.push({ link, frame }),
      opened: (_, id, request) => opened.push({ id, request }),
      closed: (_, id, reason) => {
        assert.is.not(table.rowOf[id], 0, 'the row stands while closed is told');
        closed.push({ id, reason });
      },
    },
    table,
  );
  const receive = (now: number, frame: Uint8Array, link = 0) => {
    assert.is(headers.scan(frame, 0, frame.length), 'ok');
    server.receive(now, link, frame, headers);
    return sent.splice(0).map(each => each.frame);
  };
  return { server, table, sent, opened, closed, receive };
}

export interface ClientParts {
  readonly client: DiscoveryClient;
  readonly sent: Uint8Array[];
  readonly opened: ClientSession[];
  readonly closed: string[];
  readonly refused: string[];
  receive(now: number, frame: Uint8Array): Uint8Array[];
}

export function clientParts(
  options: Partial<DiscoveryClientConfig> = {},
  calls: Partial<DiscoveryClientCalls> = {},
): ClientParts {
  const sent: Uint8Array[] = [];
  const opened: ClientSession[] = [];
  const closed: string[] = [];
  const refused: string[] = [];
  const headers = new Headers();
  const client = new DiscoveryClient(
    { ...clientConfig, ...options },
    {
      random: new Random(2, 'client'),
      send: frame => sent.push(frame),
      opened: (_, session) => opened.push(session),
      closed: (_, reason) => closed.push(reason),
      refused: (_, acName, text) => refused.push(`${acName}: ${text}`),
      ...calls,
    },
  );
  const receive = (now: number, frame: Uint8Array) => {
    assert.is(headers.scan(frame, 0, frame.length), 'ok');
    client.receive(now, frame, headers);
    return sent.splice(0);
  };
  return { client, sent, opened, closed, refused, receive };
}

export interface Packet {
  readonly src: Uint8Array;
  readonly dst: Uint8Array;
  readonly vlanTags: readonly VlanTag[];
  readonly code: number;
  readonly sessionId: number;
  readonly tags: readonly PppoeTag[];
}

/** A discovery frame of the tests' own making, by the codecs alone. */
export function frameOf(packet: Partial<Packet> & { readonly code: number }): Uint8Array {
  const { src = hostMac, dst = acMac, vlanTags = [], code, sessionId = 0, tags = [] } = packet;
  const header = { dstMac: dst, srcMac: src, tags: vlanTags, etherType: 0x8863 };
  const length = pppoeTagsLength(tags);
  const frame = new Uint8Array(ethernetLength(header) + pppoeHeaderLength + length).fill(0xa5);
  const at = emitEthernet(header, 0, frame, 0);
  emitPppoeTags(tags, frame, emitPppoe({ code, sessionId }, length, frame, at));
  return frame;
}

export function packetOf(frame: Uint8Array): Packet {
  const link = parseEthernet(frame, 0, frame.length);
  assert.ok(link.ok && link.value.etherType === 0x8863);
  const packet = parsePppoe(link.value.payload, 0, link.value.payload.length);
  assert.ok(packet.ok);
  const tags = parsePppoeTags(packet.value.payload, 0, packet.value.payload.length);
  assert.ok(tags.ok);
  return {
    src: link.value.srcMac,
    dst: link.value.dstMac,
    vlanTags: link.value.tags,
    code: packet.value.code,
    sessionId: packet.value.sessionId,
    tags: tags.value,
  };
}

export function tagOf<Kind extends PppoeTag['kind']>(frame: Uint8Array, kind: Kind): PppoeTag | undefined {
  const found = packetOf(frame).tags.filter(tag => tag.kind === kind);
  assert.ok(found.length <= 1 || kind === 'service-name', `${kind}: expected once`);
  return found[0];
}
