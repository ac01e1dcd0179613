/**
 * What people, or a host's own agent, publish of a host on `host/<id>`: judged as a whole, reported on `host/<id>/status`, and
 * kept over a restart (key `host/<id>`). A bad payload leaves what was declared before in force.
 *
 * Its services become multicast DNS records as the host would announce them (RFC 6763 §4, §9; RFC 6762 §10 for the times to
 * live). Bounds: limits.hosts declarations.
 */

import { digest, encodeUtf8, parseHex, sameBytes } from '../core/bytes.js';
import { ok } from '../core/result.js';
import type { JobContext } from '../job.js';
import { type Judged, judge, refuse } from '../message/judge.js';
import type { HostStatus, Host as Message } from '../message/messages.js';
import { hostDescriptor } from '../message/received.js';
import type { Problem } from '../message/schema.js';
import { parseAddress, parseIpv4Address, parseIpv6Address, parseMac } from '../wire/address.js';
import { type DnsDataRecord, dnsClass, dnsLabelText } from '../wire/dns.js';
import { protocolTcp, protocolUdp } from '../wire/ipv4.js';
import type { Host, Port } from './host-table.js';
import { serviceTypesName } from './respond/records.js';

/** RFC 6762 §10: records with a host's name in them, and all others. */
const hostTimeToLive = 120;
const otherTimeToLive = 4500;

const keyPrefix = 'host/';

export interface Declaration {
  readonly mac: Uint8Array;
  readonly ipv4: readonly Uint8Array[];
  readonly ipv6: readonly Uint8Array[];
  readonly names: readonly string[];
  readonly groups: readonly Uint8Array[];
  readonly records: readonly DnsDataRecord[];
  readonly ports: readonly Port[];
  readonly password: Uint8Array;
  /** −1: not said. */
  readonly vlanId: number;
  readonly state: 'awake' | 'asleep' | undefined;
}

interface Entry {
  readonly id: string;
  digest: string;
  problem: Problem | undefined;
  /** In force. */
  declaration: Declaration | undefined;
  host: Host | undefined;
  isDue: boolean;
  /** The payload in force, while the outbox has no room to keep it. */
  unsaved: Uint8Array | undefined;
}

export type DeclarationCounter = 'hosts.declared' | 'hosts.rejected' | 'hosts.withdrawn' | 'hosts.unreadable';

export const declarationCounters: readonly DeclarationCounter[] = [
  'hosts.declared',
  'hosts.rejected',
  'hosts.withdrawn',
  'hosts.unreadable',
];

export interface DeclarationCalls {
  count(name: DeclarationCounter): void;
  /** Takes it in force; `undefined` if there is no room for the host. `isNew`: not a copy of what is in force already. */
  declare(now: number, id: string, declaration: Declaration, isNew: boolean): Host | undefined;
  withdraw(now: number, host: Host, declaration: Declaration): void;
}

export class Declarations {
  private readonly context: JobContext;
  private readonly calls: DeclarationCalls;
  private readonly entries: Entry[] = [];

  constructor(context: JobContext, calls: DeclarationCalls) {
    this.context = context;
    this.calls = calls;
  }

  /** Takes up what was saved. */
  restore(now: number): void {
    for (const key of Object.keys(this.context.saved).sort()) {
      if (key.slice(0, keyPrefix.length) !== keyPrefix) continue;
      const id = key.slice(keyPrefix.length);
      const payload = this.context.saved[key];
      const compiled = this.compile(payload);
      if (compiled.ok) this.take(now, id, payload, compiled.value, true);
      else {
        this.calls.count('hosts.unreadable');
        this.context.log('warn', `saved host ${id} is left aside: ${compiled.reason}`);
      }
    }
  }

  /** `retained`: a copy that the broker kept says nothing new; the same published again does, such as its state. */
  put(now: number, id: string, payload: Uint8Array, retained: boolean): void {
    if (payload.length === 0) {
      this.remove(now, id);
      return;
    }
    const compiled = this.compile(payload);
    if (!compiled.ok) this.reject(id, payload, compiled.problem);
    else if (this.take(now, id, payload, compiled.value, retained)) {
      this.calls.count('hosts.declared');
      const entry = this.find(id);
      if (entry) entry.unsaved = new Uint8Array(payload);
      this.save();
    }
  }

  /** What is declared of the host. */
  inForce(host: Host): Declaration | undefined {
    return this.entries.find(entry => entry.host === host)?.declaration;
  }

  /** All are to be reported. */
  reportAll(): void {
    for (const entry of this.entries) entry.isDue = true;
  }

  isDue(): boolean {
    if (this.context.room() > 0 && this.entries.some(entry => entry.unsaved)) return true;
    return this.context.canPublish() && this.entries.some(entry => entry.isDue || entry.host?.isChanged);
  }

  report(now: number): void {
    this.save();
    for (const entry of this.entries) {
      if (!(entry.isDue || entry.host?.isChanged) || !this.context.canPublish()) continue;
      entry.isDue = false;
      if (entry.host) entry.host.isChanged = false;
      this.context.publish({ kind: 'host-status', name: entry.id }, this.status(now, entry), true);
    }
  }

  /** Keeps what is not kept yet, as far as the outbox has room. */
  private save(): void {
    for (const entry of this.entries)
      if (entry.unsaved && this.context.save(keyPrefix + entry.id, entry.unsaved)) entry.unsaved = undefined;
  }

  private compile(payload: Uint8Array): Judged<Declaration> {
    const judged = judge(hostDescriptor, payload, this.context.limits);
    const compiled = judged.ok ? compileDeclaration(judged.value) : judged;
    if (compiled.ok && this.context.links.some(({ mac }) => sameBytes(mac, compiled.value.mac)))
      return refuse({ field: 'mac', expected: 'the MAC address of a host', got: 'that of this node' });
    return compiled;
  }

  private take(
    now: number,
    id: string,
    payload: Uint8Array,
    declaration: Declaration,
    retained: boolean,
  ): boolean {
    const payloadDigest = digest(payload);
    const before = this.find(id);
    const twin = this.entries.find(
      other => other.id !== id && other.host && other.host === this.hostOf(declaration.mac),
    );
    if (twin) {
      this.reject(id, payload, {
        field: 'mac',
        expected: 'a host that is not declared yet',
        got: `that of host/${twin.id}`,
      });
      return false;
    }
    const isNew = !retained || before?.digest !== payloadDigest;
    const host = this.calls.declare(now, id, declaration, isNew);
    if (!host) {
      const most = this.context.limits.hosts;
      this.reject(id, payload, { field: '', expected: `at most ${most} hosts`, got: `${most + 1}` });
      return false;
    }
    if (before?.host && before.declaration && before.host !== host)
      this.calls.withdraw(now, before.host, before.declaration);
    const entry = before ?? this.enter(id);
    entry.digest = payloadDigest;
    entry.problem = undefined;
    entry.declaration = declaration;
    entry.host = host;
    entry.isDue = true;
    return true;
  }

  private hostOf(mac: Uint8Array): Host | undefined {
    for (const { host } of this.entries) {
      if (!host) continue;
      let i = 0;
      while (i < 6 && host.mac[i] === mac[i]) i++;
      if (i === 6) return host;
    }
    return undefined;
  }

  private reject(id: string, payload: Uint8Array, problem: Problem): void {
    this.calls.count('hosts.rejected');
    const entry = this.find(id) ?? this.enter(id);
    entry.digest = digest(payload);
    entry.problem = problem;
    entry.isDue = true;
  }

  private remove(now: number, id: string): void {
    const entry = this.find(id);
    if (entry) {
      this.entries.splice(this.entries.indexOf(entry), 1);
    }
    // Also what was saved by another firmware, and could not be read: it must not come back.
    if (entry?.host || this.context.saved[keyPrefix + id]) this.context.save(keyPrefix + id, undefined);
    if (entry?.host && entry.declaration) {
      this.calls.count('hosts.withdrawn');
      this.calls.withdraw(now, entry.host, entry.declaration);
    }
    if (this.context.canPublish()) this.context.publish({ kind: 'host-status', name: id }, undefined, true);
  }

  private find(id: string): Entry | undefined {
    return this.entries.find(entry => entry.id === id);
  }

  /** An entry without a host only tells why it was rejected: the oldest such makes room. */
  private enter(id: string): Entry {
    const entry = {
      id,
      digest: '',
      problem: undefined,
      declaration: undefined,
      host: undefined,
      isDue: false,
      unsaved: undefined,
    };
    if (this.entries.length > this.context.limits.hosts) {
      const idle = this.entries.findIndex(({ host }) => !host);
      this.entries.splice(idle < 0 ? 0 : idle, 1);
    }
    this.entries.push(entry);
    return entry;
  }

  private status(now: number, { problem, host, digest: judged }: Entry): HostStatus {
    const status: { -readonly [K in keyof HostStatus]: HostStatus[K] } = {
      status: problem ? 'rejected' : 'accepted',
      digest: judged,
      boot: this.context.boot,
      uptime: this.context.uptime(now),
    };
    if (problem) {
      const { field, expected, got } = problem;
      status.reason = `${field === '' ? 'payload' : field}: expected ${expected}, got ${got}`.slice(0, 200);
      status.field = field.slice(0, 64);
      status.expected = expected.slice(0, 200);
      status.got = got.slice(0, 64);
    }
    if (host) {
      status.state = host.state;
      status.since = Math.max(0, this.context.uptime(host.since));
      status.wakes = host.wakes;
    }
    return status;
  }
}

/** The problem names the field whose value makes no sense. */
export function compileDeclaration(message: Message): Judged<Declaration> {
  const mac = parseMac(message.mac) as Uint8Array;
  if ((mac[0] & 1) === 1)
    return refuse({
      field: 'mac',
      expected: 'the MAC address of one host',
      got: `the group address ${message.mac}`,
    });
  const problems: Problem[] = [];
  const addresses = (
    field: string,
    texts: readonly string[] | undefined,
    parse: (text: string) => Uint8Array | undefined,
    expected: string,
    fits: (address: Uint8Array) => boolean,
  ): Uint8Array[] => {
    const list: Uint8Array[] = [];
    for (let i = 0; texts && i < texts.length; i++) {
      const address = parse(texts[i]);
      if (address && fits(address)) list.push(address);
      else problems.push({ field: `${field}[${i}]`, expected, got: `"${texts[i]}"` });
    }
    return list;
  };
  const isHosts = (address: Uint8Array) =>
    address.length === 4
      ? address[0] !== 0 && address[0] !== 127 && address[0] < 224
      : address[0] !== 0xff && !(address[0] === 0 && address[1] === 0);
  const ipv4 = addresses('ipv4', message.ipv4, parseIpv4Address, 'the IPv4 address of a host', isHosts);
  const ipv6 = addresses('ipv6', message.ipv6, parseIpv6Address, 'the IPv6 address of a host', isHosts);
  const groups = addresses('groups', message.groups, parseAddress, 'a multicast address', address =>
    address.length === 4 ? address[0] >= 224 && address[0] < 240 : address[0] === 0xff,
  );
  const services = message.services ?? [];
  const names = message.names ?? [];
  if (services.length > 0 && names.length === 0)
    problems.push({ field: 'names', expected: 'the name of the host its services are at', got: 'none' });
  if (problems.length > 0) return refuse(problems[0]);
  const ports: Port[] = services.map(({ type, port }) => ({
    protocol: type.slice(-4) === '_tcp' ? protocolTcp : protocolUdp,
    port,
  }));
  return ok({
    mac,
    ipv4,
    ipv6,
    names,
    groups,
    records: recordsOf(message, ipv4, ipv6),
    ports,
    password: message.password === undefined ? new Uint8Array(0) : (parseHex(message.password) as Uint8Array),
    vlanId: message.vlanId ?? -1,
    state: message.state,
  });
}

/** Takes away what the declaration told of the host; it may be learnt again. */
export function undeclare(host: Host, { ipv4, ipv6, names, groups, records }: Declaration): void {
  const { profile } = host;
  for (const address of [...ipv4, ...ipv6]) profile.removeAddress(address);
  for (const group of groups) profile.removeGroup(group);
  profile.names = profile.names.filter(name => names.indexOf(name) < 0);
  profile.removeRecords(record => records.indexOf(record) >= 0);
  profile.changed();
  host.nameTests = undefined;
  host.ports = [];
  host.password = new Uint8Array(0);
}

function recordsOf(
  { names, services }: Message,
  ipv4: readonly Uint8Array[],
  ipv6: readonly Uint8Array[],
): DnsDataRecord[] {
  const records: DnsDataRecord[] = [];
  const common = { class: dnsClass.internet };
  for (const name of names ?? []) {
    const own = { ...common, name: `${name}.local`, cacheFlush: true, timeToLive: hostTimeToLive };
    for (const address of ipv4) records.push({ ...own, kind: 'a', address });
    for (const address of ipv6) records.push({ ...own, kind: 'aaaa', address });
  }
  const types: string[] = [];
  for (const { name, type, port, txt } of services ?? []) {
    const host = (names ?? [])[0];
    const domain = `${type}.local`;
    const instance = `${dnsLabelText(encodeUtf8(name ?? host))}.${domain}`;
    const shared = { ...common, cacheFlush: false, timeToLive: otherTimeToLive };
    const unique = { ...common, name: instance, cacheFlush: true };
    records.push({ ...shared, name: domain, kind: 'ptr', target: instance });
    records.push({
      ...unique,
      timeToLive: hostTimeToLive,
      kind: 'srv',
      priority: 0,
      weight: 0,
      port,
      target: `${host}.local`,
    });
    // RFC 6763 §6.1: without any text there is one empty string.
    const strings = txt && txt.length > 0 ? txt.map(encodeUtf8) : [new Uint8Array(0)];
    records.push({ ...unique, timeToLive: otherTimeToLive, kind: 'txt', strings });
    if (types.indexOf(domain) >= 0) continue;
    types.push(domain);
    records.push({ ...shared, name: serviceTypesName, kind: 'ptr', target: domain });
  }
  return records;
}
