/**
 * What runs on an Espruino board with a network: the small agent with its MQTT connection, UDP ports, Storage, a light for
 * errors and a watchdog. Flashed by `kith flash espruino`, which writes the settings into the board's Storage first.
 *
 * Storage (names of at most 28 characters):
 *     kith.json     the settings, below, put there when the board is flashed
 *     k<digest>     key, value and end mark, one for each key that is saved;
 *     l<digest>     the next one of the same key, which is whole before the first is erased: a power cut leaves one or both
 *
 * It comes back by itself: Wi-Fi and broker are tried again after a random time between half and all of 1, 2, 4 … 64 s; the
 * watchdog is fed at the end of each tick, on which everything hangs, so exceptions that do not stop start the board again.
 * Without settings it says so, blinks, and feeds nothing.
 *
 * A publication is kept until it is acknowledged, also over a lost connection. Bounds: the outbox, and one more.
 */

import { digest, encodeUtf8 } from '../../agent/core/bytes.js';
import type { Saved } from '../../agent/port/platform.js';
import { aes128Ccm, type NativeAes } from './aead.js';
import { Mqtt } from './mqtt.js';
import { noJob, SmallAgent, type SmallEffect, type SmallVoice } from './small-agent.js';
import { bytesOfText } from './small-cbor.js';
import { type KibbutzSettings, kibbutzCounters, type SmallKibbutz, smallKibbutz } from './small-kibbutz.js';
import { proxyCounters, SmallProxy } from './small-proxy.js';

/** `kith.json`. */
interface Settings {
  readonly site: string;
  readonly node: string;
  readonly broker: {
    readonly host: string;
    readonly port?: number;
    readonly user?: string;
    readonly password?: string;
  };
  readonly wifi?: { readonly ssid: string; readonly password?: string };
  readonly kibbutz?: KibbutzSettings;
}

type Publication = SmallEffect & { readonly kind: 'publish' };

interface Socket {
  on(event: 'data', hear: (data: string) => void): void;
  on(event: 'close' | 'error', hear: () => void): void;
  write(data: string): void;
  end(): void;
}

interface DatagramSocket {
  bind(port: number, hear: (socket: DatagramSocket) => void): void;
  on(event: 'message', hear: (message: string, from: { address: string; port: number }) => void): void;
  on(event: 'close', hear: () => void): void;
  /** Before `bind`, which joins. */
  addMembership(group: string, ip: string): void;
  send(data: string, offset: number, length: number, port: number, address: string): void;
  close(): void;
}

interface StorageModule {
  read(name: string): string | undefined;
  readJSON(name: string, quiet: boolean): unknown;
  /** Throws if there is no room. */
  write(name: string, data: string): boolean;
  erase(name: string): void;
  list(filter: RegExp): string[];
}

/** Put in by build.ts. */
declare const firmware: string;
declare const withRules: boolean;
declare const withKibbutz: boolean;

/** The board's `require`, which build.ts puts in: bundlers have one of their own. */
declare function boardModule(name: 'Storage'): StorageModule;
declare function boardModule(name: 'net'): {
  connect(options: { host: string; port: number }, hear: () => void): Socket;
};
declare function boardModule(name: 'dgram'): {
  createSocket(type: 'udp4' | { type: 'udp4'; recvBufferSize: number }): DatagramSocket;
};
declare function boardModule(name: 'crypto'): { readonly AES: NativeAes };
declare function boardModule(name: 'Wifi'): {
  connect(ssid: string, options: { password: string }, hear: (error: unknown) => void): void;
};
declare function getTime(): number;
declare function setInterval(call: () => void, ms: number): unknown;
declare const process: { memory(): { readonly usage: number; readonly free: number } };
declare function print(text: string): void;
declare const E: {
  toString(bytes: Uint8Array): string;
  hwRand(): number;
  enableWatchdog(seconds: number, automatic: boolean): void;
  kickWatchdog(): void;
  /** Those since it was asked last: LOW_MEMORY, FIFO_FULL … */
  getErrorFlags(): string[];
};
declare const LED1: { write(on: boolean): void } | undefined;

const settingsName = 'kith.json';
const tickMs = 500;
const watchdogS = 30;
const keepAliveS = 60;
/** IPv4 over Ethernet (RFC 894) without its header and UDP's, and the firmware's own 8 bytes; it takes 528 unless told. */
const longestDatagram = 1480;
const longestPauseMs = 64_000;
/** Erased flash is 0xff, so a record that was not written to its end has another one. */
const endMark = '\n';

const storage = boardModule('Storage');
const settings = storage.readJSON(settingsName, true) as Settings | undefined;

/** A light where the board has one, and a line on the console: all there is when nobody can be told over MQTT. */
function complain(text: string): void {
  light(true);
  print(`kith: ${text}`);
}

function light(on: boolean): void {
  if (typeof LED1 !== 'undefined') LED1.write(on);
}

/** Two files for each key by turns, `k` or `l` before this, as Storage's names are short. */
function fileOf(key: string): string {
  return digest(encodeUtf8(key));
}

/** What was saved. A function of its own, so that nothing holds it when the job has taken what it needs. */
function load(voice: SmallVoice): Saved {
  const saved: { [key: string]: Uint8Array } = {};
  for (const name of storage.list(/^[kl][0-9a-f]+$/)) {
    const record = storage.read(name) || '';
    const keyEnd = record.indexOf(endMark);
    const key = record.slice(0, keyEnd);
    const isWhole = record.slice(-1) === endMark && name.slice(1) === fileOf(key);
    if (!isWhole) voice.tally('records.unreadable');
    // Of two that are whole either will do, but only one may stay: what is written next takes the place of the other.
    if (isWhole && !saved[key]) saved[key] = bytesOfText(record.slice(keyEnd + 1, -1));
    else storage.erase(name);
  }
  return saved;
}

/** One socket for the local link and the uplink: what comes is told apart by its key. */
function join(
  settings: KibbutzSettings,
  voice: SmallVoice,
  boot: number,
  now: () => number,
  keep: (key: string, value: Uint8Array) => boolean,
): SmallKibbutz {
  let both: DatagramSocket | undefined;
  const member = smallKibbutz(voice, settings, boot, load(voice), aes128Ccm(boardModule('crypto').AES), {
    keep,
    send: (datagram, port, address) => {
      // Not before the first: it leaves when the board has said something, so there is a network.
      if (!both) {
        both = boardModule('dgram').createSocket({ type: 'udp4', recvBufferSize: longestDatagram });
        both.on('close', () => {
          both = undefined;
        });
        both.addMembership(settings.group, '0.0.0.0');
        both.bind(settings.port, bound =>
          bound.on('message', (data, from) => member.hear(now(), bytesOfText(data), from.port, from.address)),
        );
      }
      const data = E.toString(datagram);
      both.send(data, 0, data.length, port, address);
    },
  });
  return member;
}

function start({ site, node, broker, wifi, kibbutz }: Settings): void {
  const bornAt = getTime();
  const now = () => Math.floor((getTime() - bornAt) * 1000);
  const random = () => (E.hwRand() >>> 0) / 4294967296;
  const boot = `0000000${(E.hwRand() >>> 0).toString(16)}`.slice(-8);
  let member: SmallKibbutz | undefined;
  const agent = new SmallAgent(0, {
    site,
    node,
    firmware,
    boot,
    gauges: () => {
      const { usage, free } = process.memory();
      return { 'variables.used': usage, 'variables.free': free };
    },
    jobCounters: withRules ? proxyCounters : withKibbutz ? kibbutzCounters : [],
    makeJob: withRules
      ? (at, voice) => new SmallProxy(at, voice, load(voice))
      : withKibbutz
        ? (_, voice) => {
            try {
              member = kibbutz && join(kibbutz, voice, parseInt(boot, 16), now, keep);
            } catch (_) {
              complain('the kibbutz record is not whole: erase Storage, flash a new registration');
            }
            return member || noJob;
          }
        : () => noJob,
  });
  const sockets: { [port: number]: DatagramSocket } = {};
  let sender: DatagramSocket | undefined;
  let mqtt: Mqtt | undefined;
  let socket: Socket | undefined;
  /** Not acknowledged yet, the oldest first, which may be under way. */
  const unsaid: Publication[] = [];
  let isUnderWay = false;
  let isUp = false;
  let connectAt = 0;
  let pauseMs = 1000;

  function connect(): void {
    const open = () => {
      const stream = boardModule('net').connect({ host: broker.host, port: broker.port || 1883 }, () => {
        socket = stream;
        const lost = (reason: string) => {
          if (socket !== stream) return;
          complain(reason);
          again();
          stream.end();
        };
        mqtt = new Mqtt(
          now(),
          {
            clientId: `kith-${site}-${node}`,
            user: broker.user || '',
            password: broker.password || '',
            will: agent.will(),
            keepAliveS,
          },
          {
            send: bytes => {
              stream.write(E.toString(bytes));
              if (withKibbutz && member) member.sentOwn(now());
            },
            up: () => {
              light(false);
              pauseMs = 1000;
              isUp = true;
              agent.receive(now(), { kind: 'bus-up' });
            },
            down: lost,
            // It is acknowledged when this has returned.
            message: (topic, payload, retained) => {
              agent.receive(now(), { kind: 'message', topic, payload, retained });
              save();
            },
          },
        );
        stream.on('data', data => {
          if (!mqtt || socket !== stream) return;
          mqtt.receive(bytesOfText(data));
          drain();
        });
        stream.on('close', () => lost('the broker closed the connection'));
      });
      stream.on('error', () => {
        if (socket === undefined || socket === stream) again();
      });
    };
    connectAt = now() + longestPauseMs;
    if (!wifi) open();
    else
      boardModule('Wifi').connect(wifi.ssid, { password: wifi.password || '' }, error => {
        if (error) {
          complain(`Wi-Fi: ${error}`);
          again();
        } else open();
      });
  }

  function again(): void {
    if (mqtt) agent.receive(now(), { kind: 'bus-down' });
    mqtt = undefined;
    socket = undefined;
    isUnderWay = false;
    isUp = false;
    connectAt = now() + pauseMs * (0.5 + random() / 2);
    pauseMs = Math.min(longestPauseMs, pauseMs * 2);
  }

  /** False: Storage did not take it. */
  function keep(key: string, value: Uint8Array): boolean {
    const file = fileOf(key);
    const isFirst = storage.read(`k${file}`) === undefined;
    try {
      if (value.length > 0)
        storage.write((isFirst ? 'k' : 'l') + file, key + endMark + E.toString(value) + endMark);
      else storage.erase((isFirst ? 'k' : 'l') + file);
      storage.erase((isFirst ? 'l' : 'k') + file);
      return true;
    } catch (_) {
      agent.tally('store.failed');
      complain('Storage is full');
      return false;
    }
  }

  function save(): void {
    for (const key of Object.keys(agent.unsaved)) {
      const value = agent.unsaved[key];
      delete agent.unsaved[key];
      keep(key, value);
    }
  }

  function perform(effect: Exclude<SmallEffect, Publication>): void {
    switch (effect.kind) {
      case 'broadcast': {
        if (!withRules) break;
        if (!sender) sender = boardModule('dgram').createSocket('udp4');
        const data = E.toString(effect.payload);
        sender.send(data, 0, data.length, effect.port, '255.255.255.255');
        break;
      }
      case 'listen':
        if (!withRules) break;
        for (const port of Object.keys(sockets)) {
          if (effect.ports.indexOf(Number(port)) >= 0) continue;
          sockets[Number(port)].close();
          delete sockets[Number(port)];
        }
        for (const port of effect.ports) {
          if (sockets[port]) continue;
          sockets[port] = boardModule('dgram').createSocket('udp4');
          sockets[port].bind(port, bound =>
            bound.on('message', () => agent.receive(now(), { kind: 'knock', port })),
          );
        }
        break;
      default:
        if (mqtt) mqtt.subscribe(now(), effect.filter);
    }
  }

  /** Performs what there is, and says the next thing if the one before is acknowledged. */
  function drain(): void {
    save();
    if (isUnderWay && mqtt?.isReady) {
      isUnderWay = false;
      unsaid.shift();
    }
    // Without a connection nothing else may wait for what cannot be said.
    while (!isUp || unsaid.length === 0) {
      const effect = agent.outbox.shift();
      if (!effect) break;
      if (effect.kind === 'publish') unsaid.push(effect);
      else perform(effect);
    }
    if (mqtt?.isReady && unsaid.length > 0) {
      const { topic, payload, retain } = unsaid[0];
      isUnderWay = true;
      mqtt.publish(now(), topic, payload, retain);
    }
  }

  function tick(): void {
    if (!mqtt && now() >= connectAt) connect();
    if (mqtt) mqtt.poll(now());
    if (agent.pollAt() <= now()) agent.poll(now());
    // LOW_MEMORY only says that the garbage had to be collected; MEMORY, that there was none left.
    const flags = E.getErrorFlags().filter(flag => flag !== 'LOW_MEMORY');
    if (flags.length > 0) {
      agent.tally('board.faults');
      complain(flags.join());
    }
    drain();
    E.kickWatchdog();
  }

  E.enableWatchdog(watchdogS, false);
  setInterval(tick, tickMs);
}

if (!settings?.broker) {
  complain(`no ${settingsName} in Storage: kith flash espruino writes it`);
  let on = true;
  setInterval(() => {
    on = !on;
    light(on);
  }, 250);
} else start(settings);
