/**
 * The kibbutz provider with its records on disk (LevelDB, database.ts), its members' addresses and their groups. JSON:
 *
 *     provider, member/<id>, pair/<carrier>/<sender>    as provider.ts has them
 *     group/<id>                                        the group a member is of
 *     settings                                          networks and policy it ran with last, for who reads the accounts offline
 *     master                                            the secret, hex
 *
 * What is handed over in one turn of the event loop is one batch, with fdatasync: not even a power cut has a nonce used twice.
 * While a batch with nonces or keys is on its way (`isHolding`) nothing may leave that was sealed since; whoever tells an
 * account, or a drop report, waits for `saved`. A batch that cannot be written is tried again; newer values replace those in it.
 * What else came since the last batch a crash takes from the forwarders: `flushMs`.
 *
 * Everybody in a group is introduced to everybody else in it. Bounds: `ProviderLimits`, the networks, `groupLimit`.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync } from 'node:fs';
import { parseHex } from '../../agent/core/bytes.js';
import type { Counts } from '../../agent/core/counters.js';
import { dropReasons } from '../../agent/kibbutz/drop-report.js';
import type { Aead } from '../../agent/port/aead.js';
import { type Database, type Operation, openDatabase } from './database.js';
import { MemberNetwork } from './member-network.js';
import {
  defaultProviderLimits,
  type PairStatement,
  type Policy,
  Provider,
  type ProviderLimits,
  type ProviderRecord,
  type ProviderState,
  type Statement,
} from './provider.js';

export interface Settings {
  /** Members' inner networks (member-network.ts); left out: none of that family. */
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly policy: Policy;
}

export interface KeptProviderOptions {
  readonly aeads: readonly Aead[];
  /** Left out: those it ran with last. */
  readonly settings?: Settings;
  readonly limits?: Partial<ProviderLimits>;
  readonly log: (text: string) => void;
}

/** What a member's device is given: JSON for `registrationFile` (docs/gateway.md). */
export interface RegistrationFile {
  readonly member: number;
  readonly aead: number;
  readonly generation: number;
  /** Hex. */
  readonly key: string;
  /** For its TUN device; none if it is not known yet from which networks. */
  readonly addresses: readonly string[];
}

export interface MemberAccount extends Statement {
  readonly group: string;
  readonly addresses: readonly string[];
}

export interface Accounts {
  readonly members: readonly MemberAccount[];
  readonly pairs: readonly PairStatement[];
}

/** How long what members gave may be known to memory alone. */
export const flushMs = 1_000;
/** Members of one group. A device knows 4 neighbours (limits.neighbours) unless it was told otherwise, at most 255. */
const groupLimit = 32;
const longestName = 64;
const retryMs = 1_000;
const masterBytes = 16;

export class KeptProvider {
  readonly provider: Provider;
  /** In the order IPv4, IPv6. */
  readonly networks: readonly MemberNetwork[];
  readonly settings: Settings;
  private readonly database: Database;
  private readonly log: (text: string) => void;
  private readonly groups = new Map<number, string>();
  private readonly membersOf = new Map<string, Set<number>>();
  private unsaved = new Map<string, Operation>();
  private saving: Promise<void> | undefined;
  private holding = false;
  private closing = false;
  private fault: string | undefined;
  private released: () => void = () => {};

  /** Opens or makes it. Rejects, saying what to do, if another process has it, it is damaged, or others may read it. */
  static async open(directory: string, options: KeptProviderOptions): Promise<KeptProvider> {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new Error(`--store ${directory}: ${(error as Error).message}`);
    }
    const mode = statSync(directory).mode & 0o777;
    if ((mode & 0o077) !== 0)
      throw new Error(
        `--store ${directory}: expected a directory that only its owner can read (chmod 700), for the key of all keys is in it`,
      );
    const database = await openDatabase(directory, { sync: true });
    try {
      const entries = await database.entries({ gte: '', lt: '\uffff' });
      const saved = new Map(entries.map(([key, text]) => [key, parseJson(text)]));
      const kept = new KeptProvider(database, saved, options);
      await kept.saved();
      return kept;
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  private constructor(database: Database, saved: ReadonlyMap<string, unknown>, options: KeptProviderOptions) {
    const { aeads, limits, log } = options;
    this.database = database;
    this.log = log;
    const before = (saved.get('settings') ?? { policy: {} }) as Settings;
    this.settings = options.settings ?? before;
    const { ipv4, ipv6, policy } = this.settings;
    this.networks = [
      ...(ipv4 === undefined ? [] : [new MemberNetwork('--ipv4', ipv4, 4)]),
      ...(ipv6 === undefined ? [] : [new MemberNetwork('--ipv6', ipv6, 16)]),
    ];
    let master = saved.get('master') as string | undefined;
    if (master === undefined) {
      if (saved.size > 0)
        throw new Error(
          `${database.directory}: expected its record "master": this is no store of a provider`,
        );
      master = randomBytes(masterBytes).toString('hex');
      this.put('master', master);
    }
    const records: ProviderRecord[] = [];
    let members = 0;
    for (const [key, value] of saved) {
      if (!isRecord(key, value))
        throw new Error(
          `${database.directory}: expected what this version of kith writes, got record "${key}": ${(JSON.stringify(value) ?? 'no JSON').slice(0, 100)}; was a newer version here?`,
        );
      const [kind, id] = key.split('/');
      if (kind === 'group') this.join(Number(id), value as string);
      if (kind === 'provider' || kind === 'member' || kind === 'pair')
        records.push({ key, value: value as ProviderRecord['value'] });
      if (kind === 'member') members = Math.max(members, Number(id));
    }
    // Without it numbers would be used twice, of nonces and of members.
    if (members > ((saved.get('provider') ?? { lastMember: 0 }) as ProviderState).lastMember)
      throw new Error(`${database.directory}: expected a record "provider" that knows member ${members}`);
    for (const network of this.networks) network.prefixOf(members);
    if (JSON.stringify(before) !== JSON.stringify(this.settings)) this.put('settings', this.settings);
    const most = Math.min(...this.networks.map(network => network.members), 0xffffffff);
    this.provider = new Provider({
      master: parseHex(master) as Uint8Array,
      aeads,
      policy,
      limits: { ...limits, members: Math.min(limits?.members ?? defaultProviderLimits.members, most) },
      save: batch => {
        for (const { key, value } of batch) this.put(key, value);
      },
      saved: records,
    });
  }

  /** What was sealed since the last batch may not leave; `whenReleased` is called as soon as it may. */
  get isHolding(): boolean {
    return this.holding;
  }

  set whenReleased(released: () => void) {
    this.released = released;
  }

  /** Resolves when all that was handed over until now is on disk. */
  async saved(): Promise<void> {
    await this.saving;
  }

  /** Takes a member in, or anew (provider.ts). Rejects in words for people; resolves when it is on disk. */
  async register(name: unknown, aeads: unknown, group: unknown): Promise<RegistrationFile> {
    checkName('name', name);
    checkName('group', group);
    if (!(Array.isArray(aeads) && aeads.every(id => Number.isInteger(id))))
      throw new Error(`aeads: expected a list of numbers, got ${JSON.stringify(aeads)}`);
    const others = [...(this.membersOf.get(group) ?? [])].filter(
      id => this.provider.statement(id)?.name !== name,
    );
    if (others.length >= groupLimit)
      throw new Error(`group ${group}: expected at most ${groupLimit} members`);
    const registered = this.provider.register(name, aeads);
    if (!registered.ok)
      throw new Error(
        registered.reason === 'table-full'
          ? `${name}: the provider has as many members as it may (--members), or as its networks have addresses`
          : `--aead: the provider has none of ${aeads.join(', ')}`,
      );
    const { member, aead, generation, key } = registered.value;
    if (this.groups.get(member) !== group) {
      this.join(member, group);
      this.put(`group/${member}`, group);
    }
    await this.saved();
    return {
      member,
      aead,
      generation,
      key: Buffer.from(key).toString('hex'),
      addresses: this.addressesOf(member),
    };
  }

  /** Everybody else in a member's group. */
  peersOf(member: number): number[] {
    const group = this.membersOf.get(this.groups.get(member) ?? '') ?? [];
    return [...group].filter(other => other !== member);
  }

  /** What is told here is on disk when it resolves. */
  async accounts(): Promise<Accounts> {
    const members = [...this.provider.statements()].map(statement => ({
      ...statement,
      group: this.groups.get(statement.member) ?? '',
      addresses: this.addressesOf(statement.member),
    }));
    const pairs = [...this.provider.ledger()];
    await this.saved();
    return { members, pairs };
  }

  counts(): Counts {
    return { ...this.provider.counters.snapshot(), ...prefixed('store.', this.database.counters.snapshot()) };
  }

  /** Keeps all and lets go of it. Rejects if the store cannot be written. */
  async close(): Promise<void> {
    this.closing = true;
    this.provider.flush();
    await this.saved();
    await this.database.close();
    if (this.unsaved.size > 0) throw new Error(`what came last is lost: ${this.fault}`);
  }

  private join(member: number, group: string): void {
    this.membersOf.get(this.groups.get(member) ?? '')?.delete(member);
    this.groups.set(member, group);
    const members = this.membersOf.get(group);
    if (members) members.add(member);
    else this.membersOf.set(group, new Set([member]));
  }

  private addressesOf(member: number): string[] {
    return this.networks.map(network => network.prefixOf(member));
  }

  private put(key: string, value: unknown): void {
    this.unsaved.set(
      key,
      value === undefined ? { type: 'del', key } : { type: 'put', key, value: JSON.stringify(value) },
    );
    // With it go nonces and keys.
    if (key === 'provider') this.holding = true;
    this.saving ??= this.write();
  }

  private async write(): Promise<void> {
    // Whatever else is handed over in this turn joins the batch.
    await Promise.resolve();
    while (this.unsaved.size > 0) {
      const batch = this.unsaved;
      this.unsaved = new Map();
      try {
        await this.database.write([...batch.values()]);
        if (this.fault !== undefined) this.log('the store can be written again');
        this.fault = undefined;
      } catch (error) {
        // The same directory and reason are told once.
        const { message } = error as Error;
        if (this.fault !== message) this.log(message);
        this.fault = message;
        this.unsaved = new Map([...batch, ...this.unsaved]);
        if (this.closing) return;
        await new Promise(resolve => setTimeout(resolve, retryMs));
      }
    }
    this.saving = undefined;
    this.holding = false;
    this.released();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const numbersIn: { readonly [kind: string]: readonly string[] } = {
  provider: ['reservedThrough', 'lastMember'],
  member: ['aead', 'generation', 'givenBytes', 'takenBytes', 'ownThrough', 'carriedThrough'],
  pair: ['upBytes', 'downBytes', 'accepted'],
};

/** Whether a record has the shape that this file gives it. */
function isRecord(key: string, value: unknown): boolean {
  const [kind = '', ...ids] = key.split('/');
  const count = { member: 1, group: 1, pair: 2 }[kind] ?? 0;
  if (ids.length !== count || !ids.every(id => /^[0-9]{1,10}$/.test(id))) return false;
  if (kind === 'master') return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);
  if (kind === 'group') return typeof value === 'string';
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as { readonly [field: string]: unknown };
  if (kind === 'settings') return typeof fields['policy'] === 'object';
  if (kind === 'member' && !(typeof fields['name'] === 'string' && isCounts(fields['aeads']))) return false;
  const { dropped } = fields;
  if (kind === 'pair' && !(isCounts(dropped) && dropped.length === dropReasons.length)) return false;
  return numbersIn[kind]?.every(field => isCounts([fields[field]])) ?? false;
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(count => Number.isSafeInteger(count) && count >= 0);
}

function checkName(field: string, value: unknown): asserts value is string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const isName = typeof value === 'string' && /^[^\u0000-\u001f\u007f-\u009f]+$/.test(value);
  if (!isName || value.length > longestName)
    throw new Error(
      `${field}: expected 1..${longestName} printable characters, got ${JSON.stringify(value)}`,
    );
}

function prefixed(prefix: string, counts: Counts): Counts {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [`${prefix}${name}`, count]));
}
