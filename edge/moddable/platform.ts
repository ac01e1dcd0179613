/**
 * The agent on a Moddable board (or the SDK's Linux build): its links, which are UDP sockets (udp-link.ts, kibbutz-sockets.ts),
 * the SDK's TCP or TLS under the MQTT connection, the store, and the clock.
 *
 * The MQTT client is Kith's own (edge/espruino/mqtt.ts) on the SDK's socket: the SDK's (8.2) does not tell a retained message
 * from a new one, on which a rule's timeout hangs, and stops reading at a message without a payload, which is how a rule is removed.
 *
 * It comes back by itself: the network and the broker are tried again after a random time between half and all of 1, 2, 4 … 64 s.
 * The board's task watchdog is fed by the SDK's loop. Bounds: of what waits to be said, the latest of each retained leaf and of
 * each job's telemetry, and `mostWaiting` events and responses; limits.ts.
 */

import { Agent } from '../../agent/agent.js';
import { decodeUtf8, digest, encodeUtf8 } from '../../agent/core/bytes.js';
import { Counters, type Counts } from '../../agent/core/counters.js';
import { kibbutzJob } from '../../agent/kibbutz/job.js';
import { registrationKey, takeOver } from '../../agent/kibbutz/saved-state.js';
import { isTelemetry } from '../../agent/message/topic.js';
import type { Effect, Input } from '../../agent/port/effect.js';
import { datagramParts } from '../../agent/power-proxy/datagram-parts.js';
import { powerProxyOf } from '../../agent/power-proxy/power-proxy.js';
import { updateWith } from '../../agent/update/job.js';
import { updateKey } from '../../agent/update/kept.js';
import { parseMac } from '../../agent/wire/address.js';
import { mdnsPort } from '../../agent/wire/dns.js';
import { Mqtt } from '../espruino/mqtt.js';
import { aes128Gcm } from './aead.js';
import { KibbutzSockets } from './kibbutz-sockets.js';
import { limits } from './limits.js';
import {
  connect,
  crypt,
  elapsedMs,
  joinNetwork,
  macAddress,
  openUdp,
  platformName,
  print,
  random,
  repeat,
  resolve,
  type Stream,
  setDate,
  store,
  ticks,
  tlsFault,
  type UdpSocket,
} from './sdk.js';
import { type KibbutzSettings, kibbutzOf, type Settings } from './settings.js';
import { frameOf, mdnsGroup, outgoingOf } from './udp-link.js';
import { Updater, updateOptions } from './update.js';

const firmware = 'kith 0.1.0';
const linkName = 'udp';
const domain = 'kith';
const tickMs = 200;
/** With a kibbutz: neighbours' packets wait their turn no longer, and a full one takes 6 ms of 2 Mbit/s. */
const forwardingTickMs = 20;
const keepAliveS = 60;
const longestPauseMs = 64_000;
/** A name, a handshake and CONNACK within so long, or it is tried again. */
const connectMs = 40_000;
const mostWaiting = 8;
/** MQTT packets, most of them acknowledgements, that the socket does not take yet; a connection with more is ended. */
const mostUnsent = 64;
/** What the SDK's sockets take at once anyway. */
const chunkBytes = 1024;
/** IPv4 (RFC 791) and TCP (RFC 9293) before what is written at once: the operator counts them too. */
const segmentHeaderBytes = 40;

const notKept = 'the store does not keep the registration';

type Publish = Effect & { readonly kind: 'publish' };

const counterNames = [
  'udp.heard',
  'udp.sent',
  'udp.failed',
  'udp.not-udp',
  'bus.connections',
  'bus.lost',
  'bus.dropped',
  'store.failed',
  'effects.ignored',
] as const;

export class Platform {
  private readonly settings: Settings;
  private readonly counters = new Counters<(typeof counterNames)[number]>(counterNames);
  private readonly aeads = [aes128Gcm(crypt)];
  private readonly agent: Agent;
  private readonly updater: Updater;
  private kibbutz: KibbutzSockets | undefined;
  /** Written to the broker since the kibbutz was told. */
  private sentBytes = 0;
  private readonly sockets: { readonly port: number; readonly socket: UdpSocket }[] = [];
  private sender: UdpSocket | undefined;
  private clockMs = 0;
  private ticksBefore = ticks();
  private isNetworkUp = false;
  private mqtt: Mqtt | undefined;
  private stream: Stream | undefined;
  /** Written when the socket takes it. */
  private unsent: Uint8Array[] = [];
  private writableBytes = 0;
  /** Not acknowledged yet, the oldest first, which may be under way. */
  private waiting: Publish[] = [];
  private isUnderWay = false;
  private isDraining = false;
  private connectAt = 0;
  private giveUpAt = 0;
  private pauseMs = 1000;
  /** Of the connection that is tried or stands; what comes of an earlier one is left aside. */
  private attempt = 0;
  private lastComplaint = '';

  constructor(settings: Settings) {
    this.settings = settings;
    let boot = '';
    for (let i = 0; i < 8; i++) boot += Math.floor(random() * 16).toString(16);
    const mac = parseMac((macAddress().match(/[0-9a-fA-F]{2}/g) ?? []).join(':'));
    const saved = this.load();
    const member = this.memberOf(settings, saved);
    const update = updateOptions(platformName);
    this.updater = new Updater(
      { connect, resolve, setDate, tlsFault },
      {
        give: input => this.give(input),
        stop: () => this.give({ kind: 'shutdown' }),
        later: (call, afterMs) => repeat(call, afterMs),
      },
    );
    this.agent = new Agent(0, {
      site: settings.site,
      node: settings.node,
      firmware,
      platform: `xs ${platformName}: hears UDP only, no frames`,
      boot,
      links: [{ name: linkName, mac: mac ?? new Uint8Array(6), hearsOthers: false, hears: 'datagrams' }],
      jobs: [
        ...(settings.powerProxy === false ? [] : [powerProxyOf(datagramParts)]),
        ...(member ? [kibbutzJob({ ...member, aeads: this.aeads })] : []),
        ...(typeof update === 'string' ? [] : [updateWith(update)]),
      ],
      missing: {
        pppoe: 'needs raw Ethernet, which the SDK has not',
        ...(settings.powerProxy === false ? { 'power-proxy': 'not configured' } : {}),
        ...(member ? {} : { kibbutz: settings.kibbutz ? notKept : 'not configured' }),
        ...(typeof update === 'string' ? { update } : {}),
      },
      saved,
      limits,
      platformCounts: () => this.counts(),
    });
    if (member)
      this.kibbutz = new KibbutzSockets(
        member,
        { openUdp, resolve, setDate },
        { hear: input => this.give(input), complain: text => this.complain(text) },
      );
    this.drain();
  }

  start(): void {
    const { wifi, knock, powerProxy } = this.settings;
    joinNetwork(wifi, isUp => {
      this.isNetworkUp = isUp;
      if (!isUp) {
        this.complain('no network');
        return;
      }
      if (powerProxy === false) return;
      if (this.sockets.length === 0) for (const port of [mdnsPort, ...(knock ?? [])]) this.listen(port);
    });
    repeat(() => this.tick(), this.kibbutz ? forwardingTickMs : tickMs);
  }

  private tick(): void {
    const now = this.now();
    if (!this.stream && this.isNetworkUp && now >= this.connectAt) this.connect(now);
    if (this.mqtt) this.mqtt.poll(now);
    if (this.isNetworkUp) this.kibbutz?.poll(now);
    if (this.sentBytes > 0) this.kibbutz?.sent(now, this.sentBytes);
    this.sentBytes = 0;
    if (this.attempt > 0 && this.giveUpAt > 0 && now >= this.giveUpAt)
      this.lost('the broker does not answer');
    if (this.agent.pollAt() <= now) this.agent.poll(now);
    this.drain();
  }

  private now(): number {
    const reading = ticks();
    this.clockMs += Math.max(0, elapsedMs(this.ticksBefore, reading));
    this.ticksBefore = reading;
    return this.clockMs;
  }

  private connect(now: number): void {
    const { host, port, tls, ca } = this.settings.broker;
    const attempt = ++this.attempt;
    this.giveUpAt = now + connectMs;
    this.connectAt = this.giveUpAt + longestPauseMs;
    const isCurrent = () => this.attempt === attempt;
    const open = () =>
      resolve(host, address => {
        if (!isCurrent()) return;
        if (address === undefined) {
          this.lost(`${host} has no address`);
          return;
        }
        try {
          this.stream = connect({
            host,
            address,
            port: port ?? (tls ? 8883 : 1883),
            ...(tls ? { tls: ca === undefined ? {} : { ca: derOf(ca) } } : {}),
            onReadable: () => {
              if (isCurrent()) this.read();
            },
            onWritable: count => {
              if (isCurrent()) this.writable(count);
            },
            onError: () => {
              if (isCurrent()) this.lost('the connection to the broker broke');
            },
          });
        } catch (error) {
          this.lost(String(error));
        }
      });
    if (tls && tlsFault !== undefined) this.lost(tlsFault);
    else if (tls) setDate(() => isCurrent() && open());
    else open();
  }

  /** MQTT begins when the socket first takes bytes. */
  private writable(count: number): void {
    this.writableBytes = count;
    if (!this.mqtt) {
      const { attempt } = this;
      const mqtt = this.session();
      // What it sent first may have ended the connection.
      if (this.attempt === attempt) this.mqtt = mqtt;
    }
    this.flush();
    this.drain();
  }

  private session(): Mqtt {
    const { site, node, broker } = this.settings;
    const { attempt } = this;
    // A connection that broke in the middle of a call has nothing to say on the next one.
    const isCurrent = () => this.attempt === attempt;
    return new Mqtt(
      this.now(),
      {
        clientId: `kith-${site}-${node}`,
        user: broker.user ?? '',
        password: broker.password ?? '',
        will: this.agent.will(),
        keepAliveS,
      },
      {
        send: bytes => {
          if (!isCurrent()) return;
          this.unsent.push(bytes);
          this.flush();
          if (this.unsent.length > mostUnsent) this.lost('the broker takes nothing');
        },
        up: () => {
          this.giveUpAt = 0;
          this.pauseMs = 1000;
          this.lastComplaint = '';
          this.counters.add('bus.connections');
          print('kith: the broker took us');
          this.give({ kind: 'bus-up', sessionPresent: false });
        },
        down: reason => {
          if (isCurrent()) this.lost(reason);
        },
        message: (topic, payload, retained) => {
          if (isCurrent()) this.give({ kind: 'message', topic, payload, retained });
        },
      },
    );
  }

  private read(): void {
    const data = this.stream?.read();
    if (!data || !this.mqtt) return;
    this.mqtt.receive(new Uint8Array(data));
    this.drain();
  }

  private flush(): void {
    try {
      while (this.stream && this.unsent.length > 0 && this.writableBytes > 0) {
        const first = this.unsent[0];
        const length = Math.min(first.length, this.writableBytes, chunkBytes);
        this.writableBytes = this.stream.write(first.slice(0, length));
        this.sentBytes += length + segmentHeaderBytes;
        if (length === first.length) this.unsent.shift();
        else this.unsent[0] = first.subarray(length);
      }
    } catch (error) {
      this.lost(String(error));
    }
  }

  /** Ends what there is of a connection; the next is tried after a pause. */
  private lost(reason: string): void {
    this.complain(reason);
    this.counters.add('bus.lost');
    this.attempt++;
    this.giveUpAt = 0;
    const { stream, mqtt } = this;
    this.stream = undefined;
    this.mqtt = undefined;
    this.unsent = [];
    this.writableBytes = 0;
    // What waits is said on the next connection.
    this.isUnderWay = false;
    this.connectAt = this.now() + this.pauseMs * (0.5 + random() / 2);
    this.pauseMs = Math.min(longestPauseMs, this.pauseMs * 2);
    try {
      if (stream) stream.close();
    } catch {
      // It was closed already.
    }
    if (mqtt) this.give({ kind: 'bus-down' });
  }

  private give(input: Input): void {
    this.agent.receive(this.now(), input);
    this.drain();
  }

  /**
   * Performs all that the outbox holds: nothing waits for the broker there, for it is told that a message was taken as soon as
   * this returns, and what the message changed must be saved by then.
   */
  private drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    try {
      do {
        for (let effect = this.agent.outbox.shift(); effect; effect = this.agent.outbox.shift())
          this.perform(effect);
      } while (this.publishNext());
    } finally {
      this.isDraining = false;
    }
  }

  /** What is retained, and telemetry, takes the place of the one before; of the others the oldest makes room. */
  private say(effect: Publish): void {
    const { waiting } = this;
    const isLatest = isWhole(effect);
    let outdated = -1;
    let others = 0;
    // The one under way is not touched.
    for (let i = waiting.length - 1; i >= (this.isUnderWay ? 1 : 0); i--) {
      if (isLatest ? waiting[i].topic === effect.topic : !isWhole(waiting[i])) outdated = i;
      if (!isWhole(waiting[i])) others++;
    }
    if (outdated >= 0 && (isLatest || others >= mostWaiting)) {
      waiting.splice(outdated, 1);
      if (!isLatest) this.counters.add('bus.dropped');
    }
    waiting.push(effect);
  }

  /** One publication at a time; false: the one before is not acknowledged, or there is none. */
  private publishNext(): boolean {
    if (!this.mqtt?.isReady) return false;
    if (this.isUnderWay) this.waiting.shift();
    this.isUnderWay = this.waiting.length > 0;
    if (!this.isUnderWay) return false;
    const { topic, payload, retain } = this.waiting[0];
    this.mqtt.publish(this.now(), topic, payload, retain);
    return true;
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case 'publish':
        this.say(effect);
        break;
      case 'subscribe':
        this.mqtt?.subscribe(this.now(), effect.filter);
        break;
      case 'save':
        // What would be sent under numbers that a restart forgets must not be sent (agent/kibbutz/nonce.ts).
        if (!this.save(effect.key, effect.value)) {
          if (effect.key === registrationKey) this.kibbutz = undefined;
          if (effect.key === updateKey) this.updater.isOnRecord = false;
        } else if (effect.key === updateKey) this.updater.isOnRecord = true;
        break;
      case 'transmit':
        this.transmit(effect.frame);
        break;
      case 'log':
        print(`kith: ${effect.level}: ${effect.text}`);
        break;
      case 'datagram':
      case 'deliver':
      case 'radio':
      case 'path-priority':
        if (this.kibbutz) this.kibbutz.perform(effect);
        else this.counters.add('effects.ignored');
        break;
      case 'image-fetch':
      case 'image-stop':
      case 'slot':
        this.updater.perform(effect);
        break;
      default:
        // Of jobs that are not here, and redirection to a program, of which a board has none.
        this.counters.add('effects.ignored');
    }
  }

  private transmit(frame: Uint8Array): void {
    const outgoing = outgoingOf(frame);
    if (!outgoing) {
      this.counters.add('udp.not-udp');
      return;
    }
    const { wake } = this.settings;
    const address = outgoing.address ?? wake?.address ?? '255.255.255.255';
    const port = outgoing.address === undefined && wake ? wake.port : outgoing.port;
    try {
      const bound = this.sockets.filter(({ port: own }) => own === outgoing.srcPort)[0];
      if (!bound && outgoing.srcPort !== 0) throw new Error('no such port of ours');
      if (!bound && !this.sender) this.sender = openUdp(0, undefined, hearNothing);
      (bound ? bound.socket : (this.sender as UdpSocket)).write(outgoing.payload.slice(), address, port);
      this.counters.add('udp.sent');
    } catch (error) {
      this.counters.add('udp.failed');
      this.complain(`UDP to ${address}:${port}: ${String(error)}`);
    }
  }

  private listen(port: number): void {
    const platform = this;
    try {
      const socket = openUdp(port, port === mdnsPort ? { group: mdnsGroup } : undefined, function (count) {
        for (; count > 0; count--) {
          const datagram = this.read();
          if (datagram) platform.hear(port, datagram);
        }
      });
      this.sockets.push({ port, socket });
    } catch (error) {
      this.complain(`UDP port ${port}: ${String(error)}`);
    }
  }

  private hear(
    dstPort: number,
    datagram: ArrayBuffer & { readonly address: string; readonly port: number },
  ): void {
    const { address, port } = datagram;
    const frame = frameOf({ address, port, dstPort, payload: new Uint8Array(datagram) });
    if (!frame) return;
    this.counters.add('udp.heard');
    this.give({ kind: 'frame', link: linkName, frame });
  }

  /** The member that the settings describe, its registration in `saved`; undefined: none, or the store does not keep it. */
  private memberOf(settings: Settings, saved: { [key: string]: Uint8Array }): KibbutzSettings | undefined {
    if (!settings.kibbutz) return undefined;
    const member = kibbutzOf(settings.kibbutz);
    if (!member.ok) return undefined;
    const record = takeOver(saved[registrationKey], member.value.registration, this.aeads);
    if (!record) return member.value;
    saved[registrationKey] = record;
    return this.save(registrationKey, record) ? member.value : undefined;
  }

  private counts(): Counts {
    const counts: { [name: string]: number } = { ...this.counters.snapshot() };
    const kibbutz = this.kibbutz?.counters.snapshot() ?? {};
    for (const name of Object.keys(kibbutz)) counts[`kibbutz.${name}`] = kibbutz[name];
    return counts;
  }

  /** A record for each key, for the names of the store are short (15 characters on an ESP32): the key, a zero, the value. */
  private save(key: string, value: Uint8Array | undefined): boolean {
    const name = `k${digest(encodeUtf8(key))}`;
    try {
      if (!value) {
        store.delete(domain, name);
        return true;
      }
      const head = encodeUtf8(key);
      const record = new Uint8Array(head.length + 1 + value.length);
      record.set(head);
      record.set(value, head.length + 1);
      store.set(domain, name, record.buffer);
      return true;
    } catch (error) {
      this.counters.add('store.failed');
      this.complain(`store: ${key} is not kept: ${String(error)}`);
      return false;
    }
  }

  private load(): { [key: string]: Uint8Array } {
    const saved: { [key: string]: Uint8Array } = {};
    for (const name of store.keys(domain)) {
      const record = store.get(domain, name);
      if (name.charAt(0) !== 'k' || !(record instanceof ArrayBuffer)) continue;
      const bytes = new Uint8Array(record);
      const end = bytes.indexOf(0);
      const key = end < 0 ? undefined : decodeUtf8(bytes.slice(0, end));
      if (key !== undefined) saved[key] = bytes.slice(end + 1);
    }
    return saved;
  }

  /** Once, not at every try. */
  private complain(text: string): void {
    if (text === this.lastComplaint) return;
    this.lastComplaint = text;
    print(`kith: ${text}`);
  }
}

/** It says all that an earlier one of its topic said. */
function isWhole({ topic, retain }: Publish): boolean {
  return retain || isTelemetry(topic);
}

function hearNothing(): void {}

function derOf(hex: string): ArrayBuffer {
  const bytes = new Uint8Array(hex.length >> 1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
  return bytes.buffer;
}
