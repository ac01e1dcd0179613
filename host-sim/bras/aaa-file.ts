/**
 * Users from a file, a line each as pppd's chap-secrets has them, with options behind:
 *
 *     # client   server   secret        address        options
 *     ada        *        "top secret"  10.1.0.9       rate=fast timeout=1h
 *     bob        *        s3cret        *
 *
 * Words are separated by blanks; one with blanks, quotes or # stands in double quotes, with \ before " and \. `server` is the
 * AC's name or * for any; `address` is the user's own, * one of the pool. The secret serves PAP, CHAP-MD5 and MS-CHAPv2.
 *
 * Bounded by `userLimit`. An error names line and field and never quotes a secret. Records of accounting go to `account`, if
 * given, and nowhere else.
 */

import { encodeUtf8 } from '../../agent/core/bytes.js';
import { never, parseDuration } from '../../agent/core/time.js';
import type { Digest } from '../../agent/port/digest.js';
import { type Credentials, verifyCredentials } from '../../agent/pppoe/credentials.js';
import type { Aaa, AaaVerdict, AccountingRecord, Subscriber } from './aaa.js';
import { parseIpv4 } from './address-pool.js';

export const userLimit = 1_000_000;

export interface User {
  readonly secret: Uint8Array;
  readonly ipv4?: number;
  readonly rateClass?: string;
  readonly sessionTimeoutS?: number;
}

/** Users by name. Throws `line 3, secret: expected …` at the first fault. */
export function parseUsers(text: string, acName: string): ReadonlyMap<string, User> {
  const users = new Map<string, User>();
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const fault = (field: string, expected: string): never => {
      throw new Error(`line ${i + 1}, ${field}: expected ${expected}`);
    };
    const words = splitWords(line);
    if (!words) fault('words', 'a closing quote');
    if (!words || words.length === 0) continue;
    const [client, server, secret, address, ...options] = words;
    if (server === undefined) fault('server', 'the AC’s name or *');
    if (secret === undefined || secret === '') fault('secret', 'at least one character');
    if (server !== '*' && server !== acName) continue;
    if (users.has(client)) fault('client', 'a name that has not been before');
    if (users.size === userLimit) fault('client', `at most ${userLimit} users`);
    let user: User = { secret: encodeUtf8(secret) };
    if (address !== undefined && address !== '*') {
      try {
        user = { ...user, ipv4: parseIpv4(address, 'address') };
      } catch {
        fault('address', 'an IPv4 address or *');
      }
    }
    for (const option of options) {
      const [name, value = ''] = option.split('=', 2);
      const timeoutMs = parseDuration(value);
      if (name === 'rate' && value !== '') user = { ...user, rateClass: value };
      else if (name === 'timeout' && timeoutMs !== undefined && timeoutMs >= 1000)
        user = { ...user, sessionTimeoutS: Math.floor(timeoutMs / 1000) };
      else fault('options', 'rate=NAME or timeout=DURATION such as timeout=1h');
    }
    users.set(client, user);
  }
  return users;
}

export class FileAaa implements Aaa {
  private readonly users: ReadonlyMap<string, User>;
  private readonly digest: Digest;
  private readonly record: (now: number, record: AccountingRecord) => void;

  constructor(
    users: ReadonlyMap<string, User>,
    digest: Digest,
    account: (now: number, record: AccountingRecord) => void = () => {},
  ) {
    this.users = users;
    this.digest = digest;
    this.record = account;
  }

  authenticate(
    now: number,
    credentials: Credentials,
    _subscriber: Subscriber,
    answer: (now: number, verdict: AaaVerdict) => void,
  ): void {
    answer(now, this.judge(credentials));
  }

  account(now: number, record: AccountingRecord): void {
    this.record(now, record);
  }

  poll(): void {}

  pollAt(): number {
    return never;
  }

  private judge(credentials: Credentials): AaaVerdict {
    if (credentials.method === 'none') return { ok: true };
    const user = this.users.get(Buffer.from(credentials.user).toString('utf8'));
    // Who is not there is judged too, so that the time it takes does not tell names.
    const verdict = verifyCredentials(credentials, user?.secret ?? nobodysSecret, this.digest);
    if (!user || !verdict.ok) return { ok: false, reason: 'wrong-credentials' };
    const { ipv4, rateClass, sessionTimeoutS } = user;
    const { authenticatorResponse } = verdict;
    return {
      ok: true,
      ...(ipv4 !== undefined && { ipv4 }),
      ...(rateClass !== undefined && { rateClass }),
      ...(sessionTimeoutS !== undefined && { sessionTimeoutS }),
      ...(authenticatorResponse !== undefined && { authenticatorResponse }),
    };
  }
}

const nobodysSecret = encodeUtf8('nobody');

/** The words of a line without its comment; `undefined` if a quote is not closed. */
function splitWords(line: string): string[] | undefined {
  const words: string[] = [];
  let at = 0;
  for (;;) {
    while (line[at] === ' ' || line[at] === '\t') at++;
    if (at >= line.length || line[at] === '#') return words;
    let word = '';
    if (line[at] === '"') {
      for (at++; line[at] !== '"'; at++) {
        if (line[at] === '\\') at++;
        if (at >= line.length) return undefined;
        word += line[at];
      }
      at++;
    } else {
      while (at < line.length && line[at] !== ' ' && line[at] !== '\t' && line[at] !== '#')
        word += line[at++];
    }
    words.push(word);
  }
}
