/**
 * `kith session`: live sessions moved from one running `kith bras` to another (host-sim/bras/migration.ts), over the Unix socket
 * at which a BRAS takes such requests (`--control`, control.ts):
 *
 *     {"request":"export"}                   {"ok":true,"snapshot":{…},"leftBehind":0}
 *     {"request":"import","snapshot":{…}}    {"ok":true,"count":12}
 */

import type { SessionSnapshot } from '../bras/migration.js';
import { ask, type Control, listen, longestLineBytes, type Request } from './control.js';

/** What a BRAS does when it is asked; both throw, in words for people. */
export interface SessionMover {
  /** The same again once it was exported: the first answer may have been lost. */
  exportSessions(): Promise<Exported>;
  /** All of them, and how many, or none. */
  importSessions(snapshot: SessionSnapshot): number;
}

export interface Exported {
  readonly snapshot: SessionSnapshot;
  /** Sessions that were not at rest and have to dial in again. */
  readonly leftBehind: number;
}

type Answer = Partial<Exported> & { readonly count?: number };

/** Listens at `path`. Rejects if that cannot be, or somebody listens there already; a socket whose owner has died is replaced. */
export function openControl(path: string, mover: SessionMover): Promise<Control> {
  return listen(path, { what: `--control ${path}`, daemon: 'kith bras' }, asked => obey(asked, mover));
}

/** `kith session export`: the snapshot on standard output. */
export async function exportSessions(
  path: string,
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const { snapshot, leftBehind } = await askBras(path, { request: 'export' });
  if (!snapshot) throw new Error(`${path}: expected a snapshot, got none`);
  await print(JSON.stringify(snapshot));
  if (leftBehind)
    console.error(
      `${leftBehind} ${leftBehind === 1 ? 'session was' : 'sessions were'} not at rest: they dial in again`,
    );
}

/** `kith session import`: the snapshot from `input`. */
export async function importSessions(
  path: string,
  input: AsyncIterable<Uint8Array>,
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const parts: Uint8Array[] = [];
  let lengthBytes = 0;
  for await (const part of input) {
    parts.push(part);
    lengthBytes += part.length;
    if (lengthBytes > longestLineBytes)
      throw new Error(`standard input: expected a snapshot of at most ${longestLineBytes} bytes`);
  }
  const text = Buffer.concat(parts).toString('utf8');
  let snapshot: unknown;
  try {
    snapshot = JSON.parse(text);
  } catch (error) {
    const what = text.trim() === '' ? 'nothing' : (error as Error).message;
    throw new Error(`standard input: expected what kith session export wrote, got ${what}`);
  }
  const { count } = await askBras(path, { request: 'import', snapshot });
  await print(`${count} ${count === 1 ? 'session' : 'sessions'} moved in`);
}

async function obey(asked: Request, mover: SessionMover): Promise<Answer> {
  switch (asked?.['request']) {
    case 'export':
      return mover.exportSessions();
    case 'import':
      return { count: mover.importSessions(asked['snapshot'] as SessionSnapshot) };
    default:
      throw new Error(`request: expected export or import, got ${JSON.stringify(asked?.['request'])}`);
  }
}

async function askBras(path: string, request: object): Promise<Answer> {
  const answer = await ask(path, request);
  if (!answer) throw new Error(`${path}: no BRAS listens there: is one running with --control ${path}?`);
  return answer;
}
