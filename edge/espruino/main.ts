/**
 * What runs on an Espruino board with a network: the small agent with its MQTT connection, UDP ports, Storage, a light for
 * errors and a watchdog. Flashed by `kith flash espruino`, which writes the settings into the board's Storage first.
 *
 * Storage (names of at most 28 characters):
 *     kith.json   the settings, below, put there when the board is flashed
 *     k<digest>   {"key":…,"value":…} in JSON, one for each key the agent saves; one that a power cut tore is left aside
 *
 * It comes back by itself: Wi-Fi and broker are tried again after a random time between half and all of 1, 2, 4 … 64 s; an
 * exception is logged and restarts the board by the watchdog, which is fed from the one timer everything hangs on. Without
 * settings it says so, blinks, and feeds nothing.
 */

import { digest, encodeUtf8 } from '../../agent/core/bytes.js';
import { Mqtt } from './mqtt.js';
import { noJob, SmallAgent, type SmallEffect } from './small-agent.js';
import { SmallProxy } from './small-proxy.js';

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
}

interface Socket {
  on(event: 'data', hear: (data: string) => void): void;
  on(event: 'close' | 'error', hear: () => void): void;
  write(data: string): void;
  end(): void;
}

interface DatagramSocket {
  bind(port: number, hear: (socket: DatagramSocket) => void): void;
  on(event: 'message', hear: (message: string) => void): void;
  send(data: string, offset: number, length: number, port: number, address: string): void;
  close(): void;
}

interface StorageModule {
  read(name: string): string | undefined;
  readJSON(name: string, quiet: boolean): unknown;
  write(name: string, data: string): boolean;
  erase(name: string): void;
  list(filter: RegExp): string[];
}

/** Put in by build.ts. */
declare const firmware: string;
declare const withRules: boolean;

/** The board's `require`, which build.ts puts in: bundlers have one of their own. */
declare function boardModule(name: 'Storage'): StorageModule;
declare function boardModule(name: 'net'): {
  connect(options: { host: string; port: number }, hear: () => void): Socket;
};
declare function boardModule(name: 'dgram'): { createSocket(type: 'udp4'): DatagramSocket };
declare function boardModule(name: 'Wifi'): {
  connect(ssid: string, options: { password: string }, hear: (error: unknown) => void): void;
};
declare function getTime(): number;
declare function setInterval(call: () => void, ms: number): unknown;
declare function print(text: string): void;
declare const E: {
  toString(bytes: Uint8Array): string;
  hwRand(): number;
  enableWatchdog(seconds: number, automatic: boolean): void;
  kickWatchdog(): void;
};
declare const LED1: { write(on: boolean): void } | undefined;

const settingsName = 'kith.json';
const tickMs = 500;
const watchdogS = 30;
const keepAliveS = 60;
const longestPauseMs = 64_000;

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

/** A file for each key, as Storage's names are short. */
function fileOf(key: string): string {
  return `k${digest(encodeUtf8(key))}`;
}

function start({ site, node, broker, wifi }: Settings): void {
  const saved: { [key: string]: Uint8Array } = {};
  for (const name of storage.list(/^k[0-9a-f]+$/)) {
    const record = storage.readJSON(name, true) as { key: string; value: string } | undefined;
    if (record && typeof record.key === 'string' && typeof record.value === 'string')
      saved[record.key] = encodeUtf8(record.value);
  }
  const bornAt = getTime();
  const now = () => Math.floor((getTime() - bornAt) * 1000);
  const random = () => (E.hwRand() >>> 0) / 4294967296;
  const boot = `0000000${(E.hwRand() >>> 0).toString(16)}`.slice(-8);
  const agent = new SmallAgent(0, {
    site,
    node,
    firmware,
    boot,
    makeJob: withRules ? (at, voice) => new SmallProxy(at, voice, saved) : () => noJob,
  });
  const sockets: { [port: number]: DatagramSocket } = {};
  let sender: DatagramSocket | undefined;
  let mqtt: Mqtt | undefined;
  let socket: Socket | undefined;
  let waiting: SmallEffect | undefined;
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
            send: bytes => stream.write(E.toString(bytes)),
            up: () => {
              light(false);
              pauseMs = 1000;
              agent.receive(now(), { kind: 'bus-up' });
            },
            down: lost,
            message: (topic, payload, retained) =>
              agent.receive(now(), { kind: 'message', topic, payload, retained }),
          },
        );
        stream.on('data', data => {
          const bytes = new Uint8Array(data.length);
          for (let i = 0; i < data.length; i++) bytes[i] = data.charCodeAt(i);
          if (mqtt && socket === stream) mqtt.receive(bytes);
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
    // What was under way is said again by the birth and the statuses of the next connection.
    mqtt = undefined;
    socket = undefined;
    waiting = undefined;
    connectAt = now() + pauseMs * (0.5 + random() / 2);
    pauseMs = Math.min(longestPauseMs, pauseMs * 2);
  }

  function perform(effect: SmallEffect): void {
    switch (effect.kind) {
      case 'save':
        if (!effect.value) storage.erase(fileOf(effect.key));
        else if (
          !storage.write(
            fileOf(effect.key),
            JSON.stringify({ key: effect.key, value: E.toString(effect.value) }),
          )
        )
          complain('Storage is full');
        break;
      case 'broadcast': {
        if (!sender) sender = boardModule('dgram').createSocket('udp4');
        const data = E.toString(effect.payload);
        sender.send(data, 0, data.length, effect.port, '255.255.255.255');
        break;
      }
      case 'listen':
        for (const port of Object.keys(sockets)) {
          if (effect.ports.indexOf(Number(port)) >= 0) continue;
          sockets[Number(port)].close();
          delete sockets[Number(port)];
        }
        for (const port of effect.ports) if (!sockets[port]) sockets[port] = listen(port);
        break;
      case 'subscribe':
        if (mqtt) mqtt.subscribe(now(), effect.filter);
        break;
      default:
        if (mqtt) mqtt.publish(now(), effect.topic, effect.payload, effect.retain);
    }
  }

  function listen(port: number): DatagramSocket {
    const server = boardModule('dgram').createSocket('udp4');
    server.bind(port, bound => bound.on('message', () => agent.receive(now(), { kind: 'knock', port })));
    return server;
  }

  function tick(): void {
    E.kickWatchdog();
    if (!mqtt && now() >= connectAt) connect();
    if (mqtt) mqtt.poll(now());
    if (agent.pollAt() <= now()) agent.poll(now());
    for (;;) {
      if (!waiting) waiting = agent.outbox.shift();
      // A publication waits until the one before is acknowledged.
      if (!waiting || (waiting.kind === 'publish' && mqtt && !mqtt.isReady)) return;
      const effect = waiting;
      waiting = undefined;
      perform(effect);
    }
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
