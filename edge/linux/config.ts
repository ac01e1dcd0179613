/**
 * The configuration of a gateway: one JSON file, held against a descriptor (agent/message/schema.ts), so that every fault is told
 * with the path of its field, what was expected there and what was found. docs/gateway.md describes each field.
 *
 * Files it names (certificates, passwords, secrets) are read with it, relative names from its directory: what runs later
 * needs no file again, and a reload sees a renewed certificate. Bound: `maxFileBytes` each.
 */

import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { parseDuration } from '../../agent/core/time.js';
import {
  isGroup,
  kibbutzGroup6,
  kibbutzPort,
  type MemberOptions,
  memberFields,
  memberOptions,
  registrationOf,
  registrationShape,
  type WrittenMember,
  type WrittenRegistration,
} from '../../agent/kibbutz/member-settings.js';
import type { Registration } from '../../agent/kibbutz/saved-state.js';
import { checkLimits, defaultLimits, type Limits } from '../../agent/limits.js';
import { type Shape, validate } from '../../agent/message/schema.js';
import type { Link } from '../../agent/port/platform.js';
import type { PowerProxyOptions } from '../../agent/power-proxy/power-proxy.js';
import type { GatewayOptions } from '../../agent/pppoe/job.js';
import { parseAddress } from '../../agent/wire/address.js';
import { tpidCustomer, tpidService } from '../../agent/wire/vlan.js';
import { longestStubsBytes } from './stubs.js';

export interface Config {
  readonly site: string;
  readonly node: string;
  /** Where rules, ledger and unsent events are kept. */
  readonly store: string;
  readonly broker: BrokerConfig;
  /** At least one. */
  readonly links: readonly LinkConfig[];
  readonly powerProxy: PowerProxyConfig | undefined;
  readonly pppoe: PppoeConfig | undefined;
  readonly kibbutz: KibbutzConfig | undefined;
  readonly limits: Limits;
  readonly telemetryMs: number;
}

export interface BrokerConfig {
  /** Without user and password. */
  readonly url: string;
  /** 4 is MQTT 3.1.1. */
  readonly mqttVersion: 4 | 5;
  readonly user?: string;
  readonly password?: Buffer;
  /** PEM: authorities trusted instead of the system's; a client certificate, and its key. */
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** A link's MAC address comes from its interface. */
export interface LinkConfig extends Omit<Link, 'mac'> {
  readonly interface: string;
  readonly promiscuous: boolean;
  /** Received through the ring (raw-link.ts). */
  readonly bulk: boolean;
}

export interface PowerProxyConfig extends Pick<PowerProxyOptions, 'sleepProxy'> {
  /** Directory of the sockets of programs that rules redirect to. */
  readonly stubs: string;
}

export interface PppoeConfig extends Omit<GatewayOptions, 'entropy' | 'digest'> {
  /** The TUN device that is there while the line is. */
  readonly interface: string;
}

/** The provider's `host`: a name, or an address of either family; `group` too. */
export interface KibbutzConfig extends MemberOptions {
  readonly registration: Registration;
  readonly local: { readonly interface: string; readonly group: string; readonly port: number };
  /** The TUN device whose packets go through the kibbutz. */
  readonly tun: { readonly interface: string; readonly addresses: readonly string[] };
}

export type ConfigResult =
  | { readonly ok: true; readonly value: Config }
  /** For a person: the path of the field, what was expected, what was found. */
  | { readonly ok: false; readonly reason: string };

/** Certificates, keys and secrets are a few kilobytes. */
const maxFileBytes = 1 << 20;

/**
 * A gateway has memory that a microcontroller has not: these take about a megabyte. As many hosts as a /24 has; as many rules as
 * are looked at again after each change (power-proxy/analysis.ts); effects for one call that reports on all of them.
 */
const gatewayLimits: Limits = {
  ...defaultLimits,
  outboxEffects: 1024,
  waitingEvents: 256,
  rules: 256,
  hosts: 256,
  heldFrames: 64,
  heldBytes: 64_000,
  waitingAnswers: 256,
};
const defaultTelemetryMs = 10_000;

const id: Shape = ['say', '1 to 32 characters of a-z, 0-9 and -', ['regexp', '[a-z0-9-]{1,32}']];
const text: Shape = ['size', 'tstr', 1, 4096];
const interfaceName: Shape = ['say', 'a name of 1 to 15 characters', ['regexp', '[^/ ]{1,15}']];
const duration: Shape = ['say', 'a duration such as 30s or 5m', ['regexp', '[0-9]{1,11}(ms|s|m|h|d)']];
const port: Shape = ['range', 1, 65_535];
const address: Shape = ['size', 'tstr', 2, 45];

const descriptor: Shape = [
  'closed',
  ['site', id],
  ['node', id],
  ['store', text],
  [
    'broker',
    [
      'closed',
      ['url', ['say', 'mqtt://host[:port], mqtts://, ws:// or wss://', ['regexp', '(mqtts?|wss?)://.+']]],
      ['mqtt?', ['is', '3.1.1', '5']],
      ['user?', text],
      ['password?', text],
      ['passwordFile?', text],
      ['caFile?', text],
      ['certFile?', text],
      ['keyFile?', text],
    ],
  ],
  [
    'links',
    [
      'list',
      [
        'closed',
        ['name', id],
        ['interface', interfaceName],
        ['promiscuous?', 'bool'],
        ['hearsOthers?', 'bool'],
        ['addresses?', ['list', address, 0, 16]],
        ['bulk?', 'bool'],
      ],
      1,
      16,
    ],
  ],
  [
    'jobs',
    [
      'closed',
      [
        'powerProxy?',
        ['closed', ['sleepProxy?', ['closed', ['name', ['size', 'tstr', 1, 40]]]], ['stubs?', text]],
      ],
      [
        'pppoe?',
        [
          'closed',
          ['link', id],
          ['user', ['size', 'tstr', 0, 255]],
          ['secretFile', text],
          ['interface?', interfaceName],
          ['vlanIds?', ['list', ['range', 0, 4094], 0, 2]],
          ['service?', ['size', 'tstr', 0, 255]],
          ['acName?', ['size', 'tstr', 0, 255]],
          ['authentication?', ['list', ['is', 'pap', 'chap-md5', 'ms-chap-v2', 'none'], 1, 4]],
          ['ipv6?', 'bool'],
          ['mtuBytes?', ['range', 576, 9000]],
          ['plain?', 'bool'],
        ],
      ],
      [
        'kibbutz?',
        [
          'closed',
          ['registrationFile', text],
          ['local', ['closed', ['interface', interfaceName], ['group?', address], ['port?', port]]],
          [
            'tun?',
            [
              'closed',
              ['interface?', interfaceName],
              ['addresses?', ['list', ['size', 'tstr', 4, 49], 0, 8]],
            ],
          ],
          ...memberFields,
        ],
      ],
    ],
  ],
  ['limits?', ['closed', ...Object.keys(defaultLimits).map(name => [`${name}?`, 'uint'] as const)]],
  ['telemetry?', duration],
];

/** What the descriptor has found to be there. */
interface Written {
  readonly site: string;
  readonly node: string;
  readonly store: string;
  readonly broker: {
    readonly url: string;
    readonly mqtt?: '3.1.1' | '5';
    readonly user?: string;
    readonly password?: string;
    readonly passwordFile?: string;
    readonly caFile?: string;
    readonly certFile?: string;
    readonly keyFile?: string;
  };
  readonly links: readonly (Omit<Link, 'mac' | 'addresses'> & {
    readonly interface: string;
    readonly promiscuous?: boolean;
    readonly addresses?: readonly string[];
    readonly bulk?: boolean;
  })[];
  readonly jobs: {
    readonly powerProxy?: { readonly sleepProxy?: { readonly name: string }; readonly stubs?: string };
    readonly pppoe?: Omit<PppoeConfig, 'user' | 'secret' | 'vlanTags' | 'interface'> & {
      readonly user: string;
      readonly secretFile: string;
      readonly interface?: string;
      readonly vlanIds?: readonly number[];
    };
    readonly kibbutz?: WrittenKibbutz;
  };
  readonly limits?: Partial<Limits>;
  readonly telemetry?: string;
}

interface WrittenKibbutz extends WrittenMember {
  readonly registrationFile: string;
  readonly local: { readonly interface: string; readonly group?: string; readonly port?: number };
  readonly tun?: { readonly interface?: string; readonly addresses?: readonly string[] };
}

/** Reads the file and those it names. */
export function readConfig(path: string): ConfigResult {
  try {
    const written = parseJson(readBounded(resolve(path)).toString('utf8'));
    const problem = validate(descriptor, written);
    if (problem) throw new Fault(problem.field, problem.expected, problem.got);
    return { ok: true, value: configOf(written as Written, dirname(resolve(path))) };
  } catch (error) {
    return { ok: false, reason: `${path}: ${(error as Error).message}` };
  }
}

class Fault extends Error {
  constructor(field: string, expected: string, got: string) {
    super(field === '' ? `expected ${expected}, got ${got}` : `${field}: expected ${expected}, got ${got}`);
  }
}

function configOf(written: Written, directory: string): Config {
  const { site, node, jobs } = written;
  const file = (field: string, name: string) => {
    try {
      return readBounded(resolve(directory, name));
    } catch (error) {
      throw new Fault(field, 'a file that can be read', (error as Error).message);
    }
  };
  const config: Config = {
    site,
    node,
    store: resolve(directory, written.store),
    broker: brokerOf(written.broker, file),
    links: linksOf(written.links),
    powerProxy: jobs.powerProxy && powerProxyOf(jobs.powerProxy, directory),
    pppoe: jobs.pppoe && pppoeOf(jobs.pppoe, written.links, file),
    kibbutz: jobs.kibbutz && kibbutzOf(jobs.kibbutz, file),
    limits: { ...gatewayLimits, ...written.limits },
    telemetryMs: spanOf('telemetry', written.telemetry) ?? defaultTelemetryMs,
  };
  checkLimits(config.limits);
  if (config.telemetryMs < 1000) throw new Fault('telemetry', 'at least 1s', written.telemetry ?? '');
  if (!config.powerProxy && !config.pppoe && !config.kibbutz)
    throw new Fault('jobs', 'at least one of powerProxy, pppoe and kibbutz', 'none');
  return config;
}

type ReadFile = (field: string, name: string) => Buffer;

function brokerOf(written: Written['broker'], file: ReadFile): BrokerConfig {
  const { url, mqtt, user, password, passwordFile, caFile, certFile, keyFile } = written;
  if (!URL.canParse(url)) throw new Fault('broker.url', 'a URL such as mqtts://broker.example:8883', url);
  const { username, password: inUrl, protocol } = new URL(url);
  if (username !== '' || inUrl !== '')
    throw new Fault(
      'broker.url',
      'no user and password (they go to broker.user and broker.passwordFile)',
      'some',
    );
  if (password !== undefined && passwordFile !== undefined)
    throw new Fault('broker.passwordFile', 'no broker.password beside it', 'both');
  if ((password ?? passwordFile) !== undefined && user === undefined)
    throw new Fault('broker.user', 'a user beside the password', 'nothing');
  if ((certFile === undefined) !== (keyFile === undefined))
    throw new Fault(
      certFile === undefined ? 'broker.certFile' : 'broker.keyFile',
      'certFile and keyFile together',
      'one of them',
    );
  const isTls = protocol === 'mqtts:' || protocol === 'wss:';
  if (!isTls && (caFile ?? certFile) !== undefined)
    throw new Fault('broker.url', 'mqtts:// or wss:// beside caFile and certFile', url);
  const ca = caFile === undefined ? undefined : file('broker.caFile', caFile);
  if (ca) checkPem('broker.caFile', 'PEM certificates', { ca });
  const cert = certFile === undefined ? undefined : file('broker.certFile', certFile);
  if (cert) checkPem('broker.certFile', 'a PEM certificate', { cert });
  const key = keyFile === undefined ? undefined : file('broker.keyFile', keyFile);
  if (cert && key)
    checkPem('broker.keyFile', "the certificate's PEM key, without a passphrase", { cert, key });
  const secret =
    passwordFile === undefined ? password : firstLine(file('broker.passwordFile', passwordFile)).toString();
  return {
    url,
    mqttVersion: mqtt === '5' ? 5 : 4,
    ...(user === undefined ? {} : { user }),
    ...(secret === undefined ? {} : { password: Buffer.from(secret) }),
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
  };
}

function checkPem(field: string, expected: string, options: Parameters<typeof createSecureContext>[0]): void {
  try {
    // What holds no certificate at all is taken without a word.
    if (options?.ca && !options.ca.toString().includes('-----BEGIN CERTIFICATE-----'))
      throw new Error('none');
    createSecureContext(options);
  } catch (error) {
    throw new Fault(field, expected, (error as Error).message);
  }
}

function linksOf(written: Written['links']): LinkConfig[] {
  return written.map(({ addresses, promiscuous = false, bulk = false, ...link }, i) => {
    if (written.findIndex(({ name }) => name === link.name) < i)
      throw new Fault(`links[${i}].name`, 'a name of its own', link.name);
    const parsed = addresses?.map((one, at) => {
      const bytes = parseAddress(one);
      if (!bytes) throw new Fault(`links[${i}].addresses[${at}]`, 'an IPv4 or IPv6 address', one);
      return bytes;
    });
    return { ...link, promiscuous, bulk, ...(parsed && { addresses: parsed }) };
  });
}

function powerProxyOf(
  { stubs = '/run/kith/stubs', ...rest }: NonNullable<Written['jobs']['powerProxy']>,
  directory: string,
): PowerProxyConfig {
  const path = resolve(directory, stubs);
  const lengthBytes = Buffer.byteLength(path);
  if (lengthBytes > longestStubsBytes)
    throw new Fault('jobs.powerProxy.stubs', `at most ${longestStubsBytes} bytes`, `${lengthBytes}`);
  return { ...rest, stubs: path };
}

function pppoeOf(
  written: NonNullable<Written['jobs']['pppoe']>,
  links: Written['links'],
  file: ReadFile,
): PppoeConfig {
  const { user, secretFile, vlanIds = [], interface: device = 'kith-wan', ...rest } = written;
  if (!links.some(({ name }) => name === rest.link))
    throw new Fault('jobs.pppoe.link', `one of ${links.map(({ name }) => name).join(', ')}`, rest.link);
  const vlanTags = vlanIds.map((vlanId, i) => ({
    // IEEE 802.1ad: the outer of two is the provider's.
    tpid: vlanIds.length === 2 && i === 0 ? tpidService : tpidCustomer,
    priority: 0,
    dropEligible: false,
    vlanId,
  }));
  const secret = firstLine(file('jobs.pppoe.secretFile', secretFile));
  return { ...rest, interface: device, vlanTags, user: Buffer.from(user), secret };
}

function kibbutzOf(written: WrittenKibbutz, file: ReadFile): KibbutzConfig {
  const { registrationFile, local, tun, ...rest } = written;
  const at = 'jobs.kibbutz';
  const group = local.group ?? kibbutzGroup6;
  if (!isGroup(group)) throw new Fault(`${at}.local.group`, 'a multicast address', group);
  const member = memberOptions(rest);
  if (!member.ok) throw new Error(`${at}.${member.reason}`);
  const registration = registrationIn(
    `${at}.registrationFile`,
    file(`${at}.registrationFile`, registrationFile),
  );
  return {
    ...member.value,
    registration: registrationOf(registration),
    local: { interface: local.interface, group, port: local.port ?? kibbutzPort },
    tun: { interface: tun?.interface ?? 'kith', addresses: tun?.addresses ?? registration.addresses ?? [] },
  };
}

function registrationIn(field: string, bytes: Buffer): WrittenRegistration {
  let written: unknown;
  try {
    written = parseJson(bytes.toString('utf8'));
  } catch (error) {
    throw new Error(`${field}: ${(error as Error).message}`);
  }
  const problem = validate(registrationShape, written);
  if (problem) throw new Fault(`${field}: ${problem.field}`, problem.expected, problem.got);
  return written as WrittenRegistration;
}

function spanOf(field: string, written: string | undefined): number | undefined {
  if (written === undefined) return undefined;
  const ms = parseDuration(written);
  if (ms === undefined) throw new Fault(field, 'a duration up to ten years', written);
  return ms;
}

function parseJson(written: string): unknown {
  try {
    return JSON.parse(written);
  } catch (error) {
    throw new Error(`expected JSON: ${(error as Error).message}`);
  }
}

function readBounded(path: string): Buffer {
  const { size } = statSync(path);
  if (size > maxFileBytes) throw new Error(`${path}: expected at most ${maxFileBytes} bytes, got ${size}`);
  return readFileSync(path);
}

/** Without the line end that editors leave. */
function firstLine(bytes: Buffer): Buffer {
  const end = bytes.indexOf(10);
  return bytes.subarray(0, end < 0 ? bytes.length : bytes[end - 1] === 13 ? end - 1 : end);
}
