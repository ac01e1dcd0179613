/**
 * The Unix socket at which a running daemon takes requests of its commands (`kith session`, `kith provider accounts`).
 *
 * A request a connection, a line of JSON, and a line back:
 *
 *     {"request":"export"}    {"ok":true,…}
 *                             {"ok":false,"error":"…"}
 *
 * Who may open the socket rules the daemon: its mode is 0600. Bounds: `connectionLimit` connections, a line of
 * `longestLineBytes`, `silenceMs` without a byte.
 */

import { lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** The parsed line; `null` if it says so. */
export type Request = { readonly [field: string]: unknown } | null;

/** What the answer holds beside `ok`; rejects in words for people. */
export type Obey = (asked: Request) => Promise<object>;

export interface ControlNames {
  /** What errors begin with: `--control /run/bras`. */
  readonly what: string;
  /** The daemon's name: `kith bras`. */
  readonly daemon: string;
}

type Answer = { readonly ok: true } | { readonly ok: false; readonly error: string };

const connectionLimit = 4;
/** 65,534 sessions of 4 KB (session.ts); one without television takes 1 KB. */
export const longestLineBytes = 256 << 20;
const silenceMs = 10_000;
/** As long as a BRAS may take to have its sessions at rest, and to write or judge 65,534 of them. */
const answerMs = 60_000;
/** `sun_path` of unix(7), with the zero behind it. */
const longestPathBytes = 107;
const newline = 0x0a;

/** Listens at `path`. Rejects if that cannot be, or somebody listens there already; a socket whose owner has died is replaced. */
export async function listen(path: string, { what, daemon }: ControlNames, obey: Obey): Promise<Control> {
  if (Buffer.byteLength(path) > longestPathBytes)
    throw new Error(`${what}: expected at most ${longestPathBytes} bytes`);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found && !found.isSocket()) throw new Error(`${what}: a file of that name is there already`);
  if (found) {
    if (await answers(path)) throw new Error(`${what}: another ${daemon} listens there`);
    unlinkSync(path);
  }
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket, obey);
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

/** The answer's fields; `undefined`: nobody listens there. Rejects with what the daemon says against it. */
export async function ask(path: string, request: object): Promise<object | undefined> {
  const socket = connect(path);
  let line: string;
  try {
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    line = await readLine(socket, answerMs);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    throw new Error(`${path}: ${message}`);
  } finally {
    socket.destroy();
  }
  const answer: Answer = JSON.parse(line);
  if (!answer.ok) throw new Error(`${path}: ${answer.error}`);
  return answer;
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

function serve(socket: Socket, obey: Obey): void {
  // Who asked has gone.
  socket.on('error', () => socket.destroy());
  const say = (answer: Answer) => {
    socket.setTimeout(silenceMs, () => socket.destroy());
    socket.end(`${JSON.stringify(answer)}\n`, () => socket.destroy());
  };
  const fail = (error: unknown) => say({ ok: false, error: (error as Error).message });
  readLine(socket, silenceMs)
    .then(line => obey(parseLine(line)))
    .then(answer => say({ ok: true, ...answer }))
    .catch(fail);
}

function parseLine(line: string): Request {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new Error(`expected a line of JSON: ${(error as Error).message}`);
  }
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
