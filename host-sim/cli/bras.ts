/**
 * `kith bras`: the software BRAS (host-sim/bras) on an Ethernet interface; what subscribers send and receive goes over a TUN
 * device, whose host routes. Users come from a file or from RADIUS servers.
 *
 * With a broker it installs access lists on gateways whose agents can do without the tunnel (bras-bus.ts).
 *
 * The first address of the pool is the BRAS's own. A line is printed for each session that comes or goes and each refusal.
 * Ctrl-C closes all sessions, and waits for accounting at most `farewellMs`.
 */

import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { formatHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import type { AuthenticationMethod } from '../../agent/pppoe/credentials.js';
import { stateOpen } from '../../agent/pppoe/session-table.js';
import { formatMac, parseAddress } from '../../agent/wire/address.js';
import { digest } from '../../edge/linux/digest.js';
import { quietInterface } from '../../edge/linux/quiet-interface.js';
import { openRawLink, type RawLink } from '../../edge/linux/raw-link.js';
import { openTun, type Tun } from '../../edge/linux/tun.js';
import type { Aaa, AccountingRecord } from '../bras/aaa.js';
import { FileAaa, parseUsers } from '../bras/aaa-file.js';
import { RadiusAaa } from '../bras/aaa-radius.js';
import { formatIpv4, Ipv4Pool, Ipv6PrefixPool, parseIpv4 } from '../bras/address-pool.js';
import { Bras, instanceName } from '../bras/bras.js';
import { MqttSession } from '../mqtt/session.js';
import { BrasBus } from './bras-bus.js';
import { CaptureFile } from './capture-file.js';
import { readSecret } from './pppoe.js';

/** What the `kith bras` command takes. */
export interface BrasWords {
  readonly interface: string;
  readonly users?: string;
  readonly radius?: readonly string[];
  readonly radiusSecretFile?: string;
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
}

type Print = (line: string) => Promise<void> | void;

/** As accel-ppp's example and pppd's options file go. */
const echoFailures = 3;
const farewellMs = 3_000;
/** RFC 2865 §3 and RFC 2866 §3. */
const authenticationPort = 1812;
const accountingPort = 1813;
/** Of packets that wait in the shapers; none is limited here, so that none waits. */
const shaperMemoryBytes = 1e6;
const pppoeHeaderBytes = 8;

/** Runs until `until` resolves; rejects if the interface or the device goes. */
export async function runBras(words: BrasWords, until: Promise<void>, print: Print): Promise<void> {
  const running = new RunningBras(words, print);
  try {
    await Promise.race([until, running.broken]);
    await running.farewell();
  } finally {
    running.close();
  }
}

class RunningBras {
  /** Rejects when the interface, or the device, is removed. */
  readonly broken: Promise<never>;
  private readonly print: Print;
  private readonly bras: Bras;
  private readonly link: RawLink;
  private readonly tun: Tun;
  private readonly capture: CaptureFile | undefined;
  private readonly radius: RadiusClient | undefined;
  private readonly bus: BrasBus | undefined;
  private readonly session: MqttSession | undefined;
  /** Gives the access interface back to the kernel. */
  private readonly unquiet: (() => void) | undefined;
  private timer: NodeJS.Timeout | undefined;
  private breakDown: (error: Error) => void = () => {};

  constructor(words: BrasWords, print: Print) {
    this.print = print;
    this.broken = new Promise((_, reject) => {
      this.breakDown = reject;
    });
    const failed = (error: Error) => this.breakDown(error);
    const pool = parsePool(words.pool);
    const prefixes = words.prefixes === undefined ? undefined : new Ipv6PrefixPool(words.prefixes);
    const dns = (words.dns ?? []).map(text => parseIpv4(text, '--dns'));
    const { file, radius } = this.makeAaa(words, pool.local);
    this.radius = radius;
    try {
      this.capture = words.capture === undefined ? undefined : new CaptureFile(words.capture);
      this.link = openRawLink(
        { interface: words.interface },
        (bytes, start, end) => this.hearAccess(bytes.subarray(start, end)),
        failed,
      );
      this.tun = openTun(
        { name: words.tun, addresses: [`${formatIpv4(pool.local)}/${pool.bits}`] },
        (bytes, start, end) => {
          this.bras.receiveIp(now(), bytes, start, end);
          this.arm();
        },
        failed,
      );
      this.bras = this.makeBras(words, { ...pool, prefixes, dns, aaa: radius?.aaa ?? file! });
      const { broker, aclExpiry, site, acName } = words;
      if (broker !== undefined) {
        this.unquiet = quietInterface(words.interface);
        this.bus = new BrasBus(
          site,
          this.bras,
          { expiryMs: aclExpiry },
          one => void this.session?.publish(one),
        );
        this.session = new MqttSession({
          url: broker,
          // The same at each start, for the broker keeps a session for it.
          clientId: `kith-bras-${site}-${formatHex(this.link.mac)}`,
          filters: this.bus.filters,
          message: (topic, payload) => this.hearBus(topic, payload),
          log: text => void print(`${acName}: ${text}`),
        });
        this.session.openEventually();
      }
    } catch (error) {
      this.close();
      throw error;
    }
    print(
      `${words.acName} at ${formatMac(this.link.mac)} on ${words.interface}, ${pool.pool.free} addresses behind ${this.tun.name}; Ctrl-C stops`,
    );
    this.arm();
  }

  /** Ends all sessions, with their accounting. */
  async farewell(): Promise<void> {
    const { table } = this.bras;
    for (let row = 1; row < table.rowEnd; row++)
      if (table.state[row] === stateOpen)
        this.bras.close(now(), table.id[row], 'going out of service', 'admin-reboot');
    const endAt = now() + farewellMs;
    while (this.radius?.isBusy && now() < endAt) await new Promise(resolve => setTimeout(resolve, 20));
    await this.session?.close();
  }

  close(): void {
    clearTimeout(this.timer);
    this.session?.abort();
    this.radius?.close();
    this.link?.close();
    this.tun?.close();
    this.unquiet?.();
    this.capture?.close();
  }

  private makeBras(words: BrasWords, parts: BrasParts): Bras {
    const { link, tun, print } = this;
    const { pool, local, prefixes, dns, aaa } = parts;
    const rates = [{ name: 'line', bytesPerSecond: Infinity, burstBytes: 1, queueBytes: 0 }];
    return new Bras(
      now(),
      {
        mac: link.mac,
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
        rateClasses: { up: rates, down: rates },
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
        sendIp: (_now, bytes, start, end) => tun.send(bytes, start, end),
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
    this.capture?.add(frame);
    this.bras.receiveAccess(now(), 0, frame);
    this.arm();
  }

  private async hearBus(topic: string, payload: Uint8Array): Promise<void> {
    this.bus?.receive(now(), topic, payload);
    this.arm();
  }

  /** Sees to it that the BRAS is polled in time. */
  private arm(): void {
    clearTimeout(this.timer);
    const at = Math.min(this.bras.pollAt(), this.bus?.acl.pollAt() ?? Infinity);
    if (at === Infinity) return;
    this.timer = setTimeout(
      () => {
        this.bras.poll(now());
        this.bus?.acl.poll(now());
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
  readonly aaa: Aaa;
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
  private readonly sockets: Socket[] = [];
  private waiting = 0;

  constructor(
    { servers, secret, acName, local }: RadiusClientOptions,
    calls: {
      account(record: AccountingRecord): void;
      log(line: string): void;
      changed(): void;
    },
  ) {
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

  /** Somebody has not yet heard of a record. */
  get isBusy(): boolean {
    return this.waiting > 0;
  }

  close(): void {
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

function now(): number {
  return Math.floor(performance.now());
}
