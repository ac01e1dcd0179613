/**
 * `kith session`: live sessions moved from one running `kith bras` to another (host-sim/bras/migration.ts), and the Unix socket
 * at which a BRAS takes such requests (`--control`).
 *
 * A request a connection, a line of JSON, and a line back:
 *
 *     {"request":"export"}                   {"ok":true,"snapshot":{…},"leftBehind":0}
 *     {"request":"import","snapshot":{…}}    {"ok":true,"count":12}
 *                                            {"ok":false,"error":"…"}
 *
 * Who may open the socket rules the BRAS: its mode is 0600. Bounds: `connectionLimit` connections, a line of
 * `longestLineBytes`, `silenceMs` without a byte.
 */

import { lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { SessionSnapshot } from '../bras/migration.js';

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

type Answer =
  | ({ readonly ok: true } & Partial<Exported> & { readonly count?: number })
  | { readonly ok: false; readonly error: string };

const connectionLimit = 4;
/** 65,534 sessions of 4 KB; one without television takes 1 KB. */
const longestLineBytes = 256 << 20;
const silenceMs = 10_000;
/** As long as a BRAS may take to have its sessions at rest, and to write or judge 65,534 of them. */
const answerMs = 60_000;
/** `sun_path` of unix(7), with the zero behind it. */
const longestPathBytes = 107;
const newline = 0x0a;

/** Listens at `path`. Rejects if that cannot be, or somebody listens there already; a socket whose owner has died is replaced. */
export async function openControl(path: string, mover: SessionMover): Promise<Control> {
  const what = `--control ${path}`;
  if (Buffer.byteLength(path) > longestPathBytes)
    throw new Error(`${what}: expected at most ${longestPathBytes} bytes`);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found && !found.isSocket()) throw new Error(`${what}: a file of that name is there already`);
  if (found) {
    if (await answers(path)) throw new Error(`${what}: another kith bras listens there`);
    unlinkSync(path);
  }
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket, mover);
  });
  server.maxConnections = connectionLimit;
  await new Promise<void>((resolve, reject) => {
    server.on('error', error => reject(new Error(`${what}: ${error.message}`)));
    server.on('listening', resolve);
    // The socket is made before `listen` returns: it never has another mode.
    const mask = process.umask(0o177);
    try {
      server.listen(path);
    } finally {
      process.umask(mask);
    }
  });
  return new Control(server, sockets);
}

export class Control {
  private readonly server: Server;
  private readonly sockets: ReadonlySet<Socket>;

  constructor(server: Server, sockets: ReadonlySet<Socket>) {
    this.server = server;
    this.sockets = sockets;
  }

  /** Removes the socket, and breaks off what is under way. */
  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

/** `kith session export`: the snapshot on standard output. */
export async function exportSessions(
  path: string,
  print: (line: string) => Promise<void> | void,
): Promise<void> {
  const { snapshot, leftBehind } = await ask(path, { request: 'export' });
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
  const { count } = await ask(path, { request: 'import', snapshot });
  await print(`${count} ${count === 1 ? 'session' : 'sessions'} moved in`);
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    return await new Promise(resolve => {
      socket.on('connect', () => resolve(true));
      socket.on('error', () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}

function serve(socket: Socket, mover: SessionMover): void {
  // Who asked has gone.
  socket.on('error', () => socket.destroy());
  const say = (answer: Answer) => {
    socket.setTimeout(silenceMs, () => socket.destroy());
    socket.end(`${JSON.stringify(answer)}\n`, () => socket.destroy());
  };
  const fail = (error: unknown) => say({ ok: false, error: (error as Error).message });
  readLine(socket, silenceMs)
    .then(line => obey(line, mover))
    .then(say, fail);
}

async function obey(line: string, mover: SessionMover): Promise<Answer> {
  let asked: { readonly request?: unknown; readonly snapshot?: unknown } | null;
  try {
    asked = JSON.parse(line);
  } catch (error) {
    throw new Error(`expected a line of JSON: ${(error as Error).message}`);
  }
  switch (asked?.request) {
    case 'export':
      return { ok: true, ...(await mover.exportSessions()) };
    case 'import':
      return { ok: true, count: mover.importSessions(asked.snapshot as SessionSnapshot) };
    default:
      throw new Error(`request: expected export or import, got ${JSON.stringify(asked?.request)}`);
  }
}

async function ask(path: string, request: object): Promise<Answer & { ok: true }> {
  const socket = connect(path);
  let line: string;
  try {
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    line = await readLine(socket, answerMs);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isNobody = code === 'ENOENT' || code === 'ECONNREFUSED';
    throw new Error(
      `${path}: ${isNobody ? `no BRAS listens there: is one running with --control ${path}?` : message}`,
    );
  } finally {
    socket.destroy();
  }
  const answer: Answer = JSON.parse(line);
  if (!answer.ok) throw new Error(`${path}: ${answer.error}`);
  return answer;
}

/** The first line that comes; rejects if there is none in time, or it is too long. */
function readLine(socket: Socket, limitMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let lengthBytes = 0;
    socket.setTimeout(limitMs, () => reject(new Error(`not a word in ${limitMs / 1000} s`)));
    socket.on('error', reject);
    socket.on('end', () => reject(new Error('the connection ended before the end of the line')));
    socket.on('data', (part: Buffer) => {
      const end = part.indexOf(newline);
      parts.push(end < 0 ? part : part.subarray(0, end));
      lengthBytes += part.length;
      if (lengthBytes > longestLineBytes) {
        socket.pause();
        reject(new Error(`expected a line of at most ${longestLineBytes} bytes`));
      } else if (end >= 0) {
        socket.pause();
        socket.setTimeout(0);
        resolve(Buffer.concat(parts).toString('utf8'));
      }
    });
  });
}
