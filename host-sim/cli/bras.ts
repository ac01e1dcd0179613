/**
 * `kith bras`: the software BRAS (host-sim/bras) on an Ethernet interface; what subscribers send and receive goes over a TUN
 * device, whose host routes. Users come from a file or from RADIUS servers.
 *
 * With a broker it installs access lists on gateways whose agents can do without the tunnel (bras-bus.ts).
 *
 * The first address of the pool is the BRAS's own. A line is printed for each session that comes or goes and each refusal.
 * Ctrl-C closes all sessions, and waits for accounting at most `farewellMs`.
 *
 * Sessions move by `kith session` (session.ts):
 *
 *     standing by  --standby: hears and says nothing, and has no TUN device, until sessions are imported
 *     → active     takes sessions, and imports those of another
 *     → exported   its sessions are another's: link and device are given back, what accounting is under way goes on
 */

import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { AuthenticationMethod } from '../../agent/pppoe/credentials.js';
import { stateOpen } from '../../agent/pppoe/session-table.js';
import { formatMac, parseAddress, parseMac } from '../../agent/wire/address.js';
import { digest } from '../../edge/linux/digest.js';
import { quietInterface } from '../../edge/linux/quiet-interface.js';
import { openRawLink, type RawLink } from '../../edge/linux/raw-link.js';
import { openTun, type Tun } from '../../edge/linux/tun.js';
import type { Aaa, AccountingRecord, SessionControl } from '../bras/aaa.js';
import { FileAaa, parseUsers } from '../bras/aaa-file.js';
import { RadiusAaa } from '../bras/aaa-radius.js';
import { formatIpv4, Ipv4Pool, Ipv6PrefixPool, parseIpv4 } from '../bras/address-pool.js';
import { Bras, type BrasConfig, instanceName } from '../bras/bras.js';
import { exportSessions, importSessions, type SessionSnapshot } from '../bras/migration.js';
import type { RateClassOptions } from '../bras/shaper.js';
import { MqttSession } from '../mqtt/session.js';
import { BrasBus } from './bras-bus.js';
import { CaptureFile } from './capture-file.js';
import type { Control } from './control.js';
import { readSecret } from './pppoe.js';
import { type Exported, openControl, type SessionMover } from './session.js';

/** What the `kith bras` command takes. */
export interface BrasWords {
  readonly interface: string;
  /** Left out: the interface's. */
  readonly mac?: string;
  readonly users?: string;
  readonly radius?: readonly string[];
  readonly radiusSecretFile?: string;
  /** Left out: RADIUS servers cannot end sessions or change their rates. */
  readonly coaPort?: number;
  /** A file (`parseRates`); left out: no limits. */
  readonly rates?: string;
  readonly pool: string;
  readonly prefixes?: string;
  readonly dns?: readonly string[];
  readonly tun: string;
  readonly acName: string;
  readonly service?: readonly string[];
  readonly auth: readonly AuthenticationMethod[];
  readonly sessions: number;
  readonly echo: number;
  /** Left out: the tunnel alone. */
  readonly broker?: string;
  readonly site: string;
  /** Of an access list; milliseconds. */
  readonly aclExpiry: number;
  readonly capture?: string;
  /** Path of the socket for `kith session`; left out: none. */
  readonly control?: string;
  readonly standby?: boolean;
}

type Print = (line: string) => Promise<void> | void;

/** As accel-ppp's example and pppd's options file go. */
const echoFailures = 3;
const farewellMs = 3_000;
/** RFC 2865 §3 and RFC 2866 §3. */
const authenticationPort = 1812;
const accountingPort = 1813;
/** Of packets that wait in the shapers, each way: a whole queue of 4,000 subscribers at 1 Mbit/s. */
const shaperMemoryBytes = 64e6;
/** The class of whom AAA names none for. */
const defaultClass = 'line';
/** What a class without a limit has. */
const unlimited = { bytesPerSecond: Infinity, burstBytes: 1, queueBytes: 0 };
/** As much waits as goes in a round trip of the Internet (Villamizar and Song, 1994), and at least TCP's first window (RFC 6928). */
const queueMs = 100;
const leastQueueBytes = 10 * 1_514;
/** Of Filter-Id (RFC 2865 §5). */
const longestClassName = 253;
/** Of a rate, bits a second: less than a byte is none, and no Ethernet is as fast as the most. */
const rateRange = [8, 1e13] as const;
const burstRange = [1, 2 ** 31] as const;
const pppoeHeaderBytes = 8;
/** For sessions in the middle of something to come to rest before they move: a packet lost, and sent again, costs PPP's restart timer (RFC 1661 §4.6). */
const settleMs = 4_000;
/** Between looks at what is waited for. */
const pauseMs = 20;
/** IEEE 802.3, without the check sequence. */
const shortestFrame = 60;

/** Runs until `until` resolves; rejects if the interface or the device goes. */
export async function runBras(words: BrasWords, until: Promise<void>, print: Print): Promise<void> {
  const running = new RunningBras(words, print);
  let control: Control | undefined;
  try {
    if (words.control !== undefined) control = await openControl(words.control, running);
    running.start();
    await Promise.race([until, running.broken]);
    await running.farewell();
  } finally {
    control?.close();
    running.close();
  }
}

/**
 * Rate classes, a JSON object of them by name: `{"slow":{"up":1000000,"down":8000000,"burst":16000}}`. `up` and `down` in bits a
 * second, left out for no limit; `burst` in bytes. The class `line` is for whom AAA names none for, without limits if it is not
 * there. Throws, naming class and field.
 */
export function parseRates(text: string): BrasConfig['rateClasses'] {
  const up = new Map<string, RateClassOptions>([[defaultClass, { name: defaultClass, ...unlimited }]]);
  const down = new Map(up);
  const parsed: unknown = JSON.parse(text);
  if (!isObject(parsed)) throw new Error('expected an object of classes by name');
  for (const [name, one] of Object.entries(parsed)) {
    if (name === '' || Buffer.byteLength(name) > longestClassName)
      throw new Error(`${JSON.stringify(name)}: expected a name of 1..${longestClassName} bytes`);
    if (!isObject(one)) throw new Error(`${name}: expected an object`);
    const { up: upRate, down: downRate, burst, ...more } = one;
    for (const field of Object.keys(more)) throw new Error(`${name}.${field}: expected up, down or burst`);
    const read = (field: string, value: unknown, [least, most]: readonly [number, number]) => {
      if (!(typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most))
        throw new Error(`${name}.${field}: expected ${least}..${most}, got ${JSON.stringify(value)}`);
      return value;
    };
    const classOf = (field: string, rate: unknown): RateClassOptions => {
      if (rate === undefined) return { name, ...unlimited };
      const bytesPerSecond = read(field, rate, rateRange) / 8;
      const queueBytes = Math.max(leastQueueBytes, Math.ceil((bytesPerSecond * queueMs) / 1000));
      return { name, bytesPerSecond, burstBytes: read('burst', burst, burstRange), queueBytes };
    };
    up.set(name, classOf('up', upRate));
    down.set(name, classOf('down', downRate));
  }
  return { up: [...up.values()], down: [...down.values()] };
}

class RunningBras implements SessionMover {
  /** Rejects when the interface, or the device, is removed. */
  readonly broken: Promise<never>;
  private readonly words: BrasWords;
  private readonly print: Print;
  private readonly mac: Uint8Array;
  private readonly tunAddress: string;
  private readonly bras: Bras;
  private readonly link: RawLink;
  private readonly capture: CaptureFile | undefined;
  private readonly radius: RadiusClient | undefined;
  private readonly bus: BrasBus | undefined;
  private tun: Tun | undefined;
  private session: MqttSession | undefined;
  /** Gives the access interface back to the kernel. */
  private unquiet: (() => void) | undefined;
  private state: 'standing by' | 'active' | 'exported' = 'standing by';
  private exporting: Promise<Exported> | undefined;
  private isLeaving = false;
  private timer: NodeJS.Timeout | undefined;
  private breakDown: (error: Error) => void = () => {};

  constructor(words: BrasWords, print: Print) {
    this.words = words;
    this.print = print;
    this.broken = new Promise((_, reject) => {
      this.breakDown = reject;
    });
    // It is told when somebody waits for it, not before.
    this.broken.catch(() => {});
    const pool = parsePool(words.pool);
    const prefixes = words.prefixes === undefined ? undefined : new Ipv6PrefixPool(words.prefixes);
    const dns = (words.dns ?? []).map(text => parseIpv4(text, '--dns'));
    const mac = words.mac === undefined ? undefined : parseMac(words.mac);
    if (words.mac !== undefined && (!mac || (mac[0] & 1) !== 0))
      throw new Error(`--mac: expected an address such as 02:00:00:00:00:01, got ${words.mac}`);
    if (words.standby && words.control === undefined)
      throw new Error('--standby: expected with --control, by which sessions come');
    if (words.coaPort !== undefined && words.radius === undefined)
      throw new Error('--coa-port: expected with --radius, for its servers');
    const rates = readRates(words.rates);
    this.tunAddress = `${formatIpv4(pool.local)}/${pool.bits}`;
    const { file, radius } = this.makeAaa(words, pool.local);
    this.radius = radius;
    try {
      this.capture = words.capture === undefined ? undefined : new CaptureFile(words.capture);
      this.link = openRawLink(
        { interface: words.interface, promiscuous: mac !== undefined },
        (bytes, start, end) => this.hearAccess(bytes.subarray(start, end)),
        this.breakDown,
      );
      this.mac = mac ?? this.link.mac;
      this.bras = this.makeBras(words, { ...pool, prefixes, dns, rates, aaa: radius?.aaa ?? file! });
      if (words.broker !== undefined)
        this.bus = new BrasBus(
          words.site,
          this.bras,
          { expiryMs: words.aclExpiry },
          one => void this.session?.publish(one),
        );
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Begins to serve, unless it stands by. Throws, saying what is missing. */
  start(): void {
    const { words, print, mac } = this;
    if (!words.standby) {
      this.takePlace();
      this.serve();
    }
    const where = `${words.acName} at ${formatMac(mac)} on ${words.interface}`;
    print(
      this.tun
        ? `${where}, ${this.bras.config.pool.free} addresses behind ${this.tun.name}; Ctrl-C stops`
        : `${where}, standing by: it waits for kith session import --control ${words.control}; Ctrl-C stops`,
    );
  }

  exportSessions(): Promise<Exported> {
    this.exporting ??= this.moveOut().catch(error => {
      this.exporting = undefined;
      this.bras.discovery.isDraining = false;
      throw error;
    });
    return this.exporting;
  }

  importSessions(snapshot: SessionSnapshot): number {
    if (this.exporting) throw new Error('its own sessions were exported: start another kith bras for them');
    if (this.isLeaving) throw new Error('it is going out of service');
    const standsBy = this.state === 'standing by';
    let count: number;
    try {
      if (standsBy) this.takePlace();
      count = importSessions(now(), this.bras, snapshot);
    } catch (error) {
      if (standsBy) this.leavePlace();
      throw error;
    }
    if (standsBy) this.serve();
    this.announce(snapshot);
    this.arm();
    this.print(`${count} sessions moved in; they are behind ${this.tun?.name}`);
    return count;
  }

  /** Ends all sessions, with their accounting. */
  async farewell(): Promise<void> {
    this.isLeaving = true;
    const { table } = this.bras;
    if (this.state === 'active')
      for (let row = 1; row < table.rowEnd; row++)
        if (table.state[row] === stateOpen)
          this.bras.close(now(), table.id[row], 'going out of service', 'admin-reboot');
    const endAt = now() + farewellMs;
    while (this.radius?.isBusy && now() < endAt) await pause();
    await this.session?.close();
  }

  close(): void {
    this.isLeaving = true;
    clearTimeout(this.timer);
    this.session?.abort();
    this.radius?.close();
    this.link?.close();
    this.leavePlace();
    this.capture?.close();
  }

  /** What only one BRAS on a host may have. Throws if it cannot be had; `leavePlace` gives back what was. */
  private takePlace(): void {
    const { tun, interface: name, broker } = this.words;
    this.tun = openTun(
      { name: tun, addresses: [this.tunAddress] },
      (bytes, start, end) => {
        this.bras.receiveIp(now(), bytes, start, end);
        this.arm();
      },
      this.breakDown,
    );
    if (broker !== undefined) this.unquiet = quietInterface(name);
  }

  private leavePlace(): void {
    this.tun?.close();
    this.tun = undefined;
    this.unquiet?.();
    this.unquiet = undefined;
  }

  private serve(): void {
    const { broker, site, acName, coaPort } = this.words;
    if (broker !== undefined && this.bus) {
      this.session = new MqttSession({
        url: broker,
        // The same at each start, for the broker keeps a session for it.
        clientId: `kith-bras-${site}-${formatHex(this.mac)}`,
        filters: this.bus.filters,
        message: (topic, payload) => this.hearBus(topic, payload),
        log: text => void this.print(`${acName}: ${text}`),
      });
      this.session.openEventually();
    }
    if (coaPort !== undefined) this.radius?.listen(coaPort, this.bras, this.breakDown);
    this.state = 'active';
    this.arm();
  }

  private async moveOut(): Promise<Exported> {
    const { bras, bus } = this;
    const { table } = bras;
    if (this.state !== 'active') throw new Error('it stands by: it has no sessions');
    // The other BRAS has not installed these lists: its gateways go back to the tunnel.
    if (bus) for (let row = 1; row < table.rowEnd; row++) bus.acl.closed(now(), row);
    bras.discovery.isDraining = true;
    const restless = () => {
      const ids: number[] = [];
      for (let row = 1; row < table.rowEnd; row++)
        if (table.id[row] !== 0 && !(table.state[row] === stateOpen && bras.isFrozen(row)))
          ids.push(table.id[row]);
      return ids;
    };
    const endAt = now() + settleMs;
    while (restless().length > 0 && now() < endAt) await pause();
    if (this.isLeaving) throw new Error('it is going out of service');
    const left = restless();
    for (const id of left) bras.close(now(), id, 'moved: dial in again', 'admin-reboot');
    const { snapshot } = exportSessions(now(), bras);
    this.state = 'exported';
    this.link.close();
    this.leavePlace();
    this.radius?.stopListening();
    void this.session?.close();
    this.arm();
    this.print(
      `${snapshot.sessions.length} sessions moved out, ${left.length} left behind; silent from now on, Ctrl-C stops`,
    );
    return { snapshot, leftBehind: left.length };
  }

  /** A frame on each VLAN, so that bridges learn at once where our MAC is now, as a virtual machine that moved says it. */
  private announce({ sessions }: SessionSnapshot): void {
    const links = new Map(sessions.map(one => [`${one.outerTag} ${one.innerTag}`, one]));
    for (const { outerTag, innerTag } of links.values()) {
      const frame = announcement(this.mac, [outerTag, innerTag]);
      this.capture?.add(frame);
      this.link.send(frame);
    }
  }

  private makeBras(words: BrasWords, parts: BrasParts): Bras {
    const { link, mac, print } = this;
    const { pool, local, prefixes, dns, rates, aaa } = parts;
    return new Bras(
      now(),
      {
        mac,
        acName: words.acName,
        services: words.service ?? [''],
        maxPayload: link.mtuBytes - pppoeHeaderBytes,
        authentication: words.auth,
        sessions: words.sessions,
        pool,
        ...(prefixes && { prefixes }),
        local,
        dns,
        nbns: [],
        echoIntervalMs: words.echo,
        echoFailures,
        sameUser: 'replace',
        interimS: 0,
        rateClasses: rates,
        shaperMemoryBytes,
        instance: instanceName(randomBytes(8)),
      },
      {
        digest,
        entropy: { uint32: () => randomBytes(4).readUInt32BE() },
        newKey: () => randomBytes(16),
        random: new Random(randomBytes(6).readUIntBE(0, 6), 'bras'),
        aaa,
        sendAccess: (_link, bytes, start, end) => {
          this.capture?.add(bytes.subarray(start, end));
          link.send(bytes, start, end);
        },
        sendIp: (_now, bytes, start, end) => this.tun?.send(bytes, start, end),
        log: (_now, line) => void print(line),
      },
    );
  }

  private makeAaa(words: BrasWords, local: number): { file?: Aaa; radius?: RadiusClient } {
    const { users, radius, radiusSecretFile, acName } = words;
    const account = (record: AccountingRecord) => this.account(record);
    if (users !== undefined && radius === undefined) {
      let parsed: ReturnType<typeof parseUsers>;
      try {
        parsed = parseUsers(readFileSync(users, 'utf8'), acName);
      } catch (error) {
        throw new Error(`${users}: ${(error as Error).message}`);
      }
      return { file: new FileAaa(parsed, digest, (_now, record) => account(record)) };
    }
    if (radius === undefined || radiusSecretFile === undefined || users !== undefined)
      throw new Error('expected --users, or --radius with --radius-secret-file');
    const secret = Buffer.from(readSecret(radiusSecretFile)).toString('utf8');
    return {
      radius: new RadiusClient(
        { servers: radius, secret, acName, local },
        { account, log: line => void this.print(line), changed: () => this.arm() },
      ),
    };
  }

  private account({ kind, subscriber, user, ipv4, sessionTimeS, ...use }: AccountingRecord): void {
    const who = `session ${subscriber.sessionId}: ${JSON.stringify(user)} at ${subscriber.mac}`;
    if (kind === 'start') this.print(`${who} up with ${formatIpv4(ipv4)}`);
    if (kind === 'stop')
      this.print(
        `${who} down (${use.terminateCause}) after ${sessionTimeS} s, ${use.inputBytes} B up, ${use.outputBytes} B down`,
      );
  }

  private hearAccess(frame: Uint8Array): void {
    if (this.state !== 'active') return;
    // With --mac the link hears all that passes.
    if ((frame[0] & 1) === 0 && this.mac.some((byte, i) => byte !== frame[i])) return;
    this.capture?.add(frame);
    this.bras.receiveAccess(now(), 0, frame);
    this.arm();
  }

  private async hearBus(topic: string, payload: Uint8Array): Promise<void> {
    if (this.state !== 'active') return;
    this.bus?.receive(now(), topic, payload);
    this.arm();
  }

  /** Sees to it that the BRAS is polled in time. */
  private arm(): void {
    clearTimeout(this.timer);
    // What is exported polls nothing: accounting under way is left.
    const isExported = this.state === 'exported';
    const at = isExported
      ? (this.radius?.aaa.pollAt() ?? Infinity)
      : Math.min(this.bras.pollAt(), this.bus?.acl.pollAt() ?? Infinity);
    if (at === Infinity) return;
    this.timer = setTimeout(
      () => {
        if (isExported) this.radius?.aaa.poll(now());
        else {
          this.bras.poll(now());
          this.bus?.acl.poll(now());
        }
        this.arm();
      },
      Math.max(0, at - now()),
    );
  }
}

interface BrasParts {
  readonly pool: Ipv4Pool;
  readonly local: number;
  readonly prefixes: Ipv6PrefixPool | undefined;
  readonly dns: readonly number[];
  readonly rates: BrasConfig['rateClasses'];
  readonly aaa: Aaa;
}

interface RadiusClientCalls {
  account(record: AccountingRecord): void;
  log(line: string): void;
  /** Something came, and the BRAS may have another time to be polled at. */
  changed(): void;
}

interface RadiusClientOptions {
  /** `ADDRESS` or `ADDRESS:PORT`; accounting is one port above. */
  readonly servers: readonly string[];
  readonly secret: string;
  readonly acName: string;
  readonly local: number;
}

/** RADIUS over UDP: a socket for each kind of request; answers are told apart by where they come from. */
class RadiusClient {
  readonly aaa: Aaa;
  private readonly radius: RadiusAaa;
  private readonly hosts: readonly string[];
  private readonly calls: RadiusClientCalls;
  private readonly sockets: Socket[] = [];
  private control: Socket | undefined;
  private waiting = 0;

  constructor({ servers, secret, acName, local }: RadiusClientOptions, calls: RadiusClientCalls) {
    this.calls = calls;
    const parsed = servers.map((text, i) => {
      const [host, port = `${authenticationPort}`, ...more] = text.split(':');
      const number = Number(port);
      if (parseAddress(host)?.length !== 4 || more.length > 0 || !(number >= 1 && number < 65_535))
        throw new Error(`--radius: expected ADDRESS or ADDRESS:PORT, got ${servers[i]}`);
      const isUsual = number === authenticationPort;
      return {
        host,
        authenticationPort: number,
        accountingPort: isUsual ? accountingPort : number + 1,
        secret,
      };
    });
    this.hosts = parsed.map(one => one.host);
    const open = (kind: 'authentication' | 'accounting') => {
      const socket = createSocket('udp4');
      this.sockets.push(socket);
      socket.on('error', error => calls.log(`RADIUS: ${error.message}`));
      socket.on('message', (bytes, from) => {
        const server = parsed.findIndex(
          one =>
            one.host === from.address &&
            (kind === 'authentication' ? one.authenticationPort : one.accountingPort) === from.port,
        );
        if (server < 0) return;
        if (kind === 'accounting') this.waiting = Math.max(0, this.waiting - 1);
        this.radius.receive(now(), server, kind, bytes);
        calls.changed();
      });
      return socket;
    };
    const [authentication, accounting] = [open('authentication'), open('accounting')];
    this.radius = new RadiusAaa(
      { servers: parsed, nasIdentifier: acName, nasAddress: local },
      {
        random: () => randomBytes(16),
        clockSeconds: () => Math.floor(Date.now() / 1000),
        send: (_now, server, kind, packet) => {
          const { host, authenticationPort: first, accountingPort: second } = parsed[server];
          if (kind === 'authentication') authentication.send(packet, first, host);
          else accounting.send(packet, second, host);
        },
        log: (_now, line) => calls.log(line),
      },
    );
    this.aaa = {
      authenticate: (...question) => this.radius.authenticate(...question),
      account: (at, record) => {
        calls.account(record);
        this.waiting++;
        this.radius.account(at, record);
      },
      poll: at => this.radius.poll(at),
      pollAt: () => this.radius.pollAt(),
    };
  }

  /**
   * Takes Disconnect-Request and CoA-Request (RFC 5176) at a UDP port, from the servers' addresses alone. `failed`: the port is
   * not to be had.
   */
  listen(port: number, sessions: SessionControl, failed: (error: Error) => void): void {
    const socket = createSocket('udp4');
    this.control = socket;
    socket.once('error', error => failed(new Error(`--coa-port ${port}: ${error.message}`)));
    socket.on('message', (bytes, from) => {
      const server = this.hosts.indexOf(from.address);
      if (server < 0) {
        this.radius.counters.add('radius.drop.unexpected');
        return;
      }
      const answer = this.radius.control(now(), server, bytes, sessions);
      if (answer)
        socket.send(answer, from.port, from.address, error => {
          if (error) this.calls.log(`RADIUS: ${error.message}`);
        });
      this.calls.changed();
    });
    socket.bind(port);
  }

  stopListening(): void {
    this.control?.close();
    this.control = undefined;
  }

  /** Somebody has not yet heard of a record. */
  get isBusy(): boolean {
    return this.waiting > 0;
  }

  close(): void {
    this.stopListening();
    for (const socket of this.sockets) socket.close();
  }
}

/** The pool, and the first of its addresses for ourselves. */
function parsePool(cidr: string): { readonly pool: Ipv4Pool; readonly local: number; readonly bits: number } {
  const [base, bits = ''] = cidr.split('/');
  if (!/^\d{1,2}$/.test(bits) || Number(bits) < 12 || Number(bits) > 30)
    throw new Error(`--pool: expected a network with 12 to 30 bits such as 10.64.0.0/16, got ${cidr}`);
  const local = parseIpv4(base, '--pool') + 1;
  const pool = new Ipv4Pool({ ranges: [cidr], reserved: [formatIpv4(local)], sticky: true });
  return { pool, local, bits: Number(bits) };
}

function readRates(path: string | undefined): BrasConfig['rateClasses'] {
  if (path === undefined) return parseRates('{}');
  try {
    return parseRates(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`--rates ${path}: ${(error as Error).message}`);
  }
}

/** A RARP request (RFC 903) for our own address, which nobody answers: of the shortest length, broadcast, behind the tags that are not 0. */
function announcement(mac: Uint8Array, tags: readonly number[]): Uint8Array {
  const stacked = tags.filter(tag => tag !== 0).flatMap(tag => [tag >>> 24, tag >>> 16, tag >>> 8, tag]);
  const request = [0, 1, 8, 0, 6, 4, 0, 3, ...mac, 0, 0, 0, 0, ...mac, 0, 0, 0, 0];
  const header = [255, 255, 255, 255, 255, 255, ...mac, ...stacked, 0x80, 0x35];
  const frame = new Uint8Array(shortestFrame + stacked.length);
  frame.set([...header, ...request]);
  return frame;
}

function isObject(value: unknown): value is { readonly [field: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function pause(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, pauseMs));
}

function now(): number {
  return Math.floor(performance.now());
}
