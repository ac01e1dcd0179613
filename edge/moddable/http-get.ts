/**
 * One GET of HTTP/1.1 (RFC 9110, RFC 9112) for a board: the request, and the answer as it comes, of a resource whose length is known.
 * From an offset by a range (RFC 9110 §14.2); a server that knows none sends all, and what comes before the offset is passed over.
 *
 * Not followed: redirections, transfer codings (RFC 9112 §6.1): whoever signs a manifest names the place itself.
 * Bounds: `mostHeadBytes` before the body; the body is handed on as it comes.
 */

import { concatBytes, encodeUtf8 } from '../../agent/core/bytes.js';

export const mostHeadBytes = 2048;

export interface Place {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  /** Path and query. */
  readonly target: string;
}

/** Why it ended. Final: the same request will not fare better. */
export interface HttpFault {
  readonly reason: string;
  readonly isFinal: boolean;
}

/** Of an http or https URI in ASCII (RFC 9110 §4.2); `undefined` for another, with user or with an IPv6 address. */
export function parsePlace(uri: string): Place | undefined {
  const parts = /^(https?):\/\/([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?([/?][^#]*)?(?:#.*)?$/.exec(uri);
  if (!parts) return undefined;
  const [, scheme, host, digits, rest = '/'] = parts;
  const tls = scheme === 'https';
  const port = digits === undefined ? (tls ? 443 : 80) : Number(digits);
  if (port < 1 || port > 65_535) return undefined;
  return { tls, host: host!, port, target: rest.charAt(0) === '/' ? rest : `/${rest}` };
}

export function requestBytes({ tls, host, port, target }: Place, from: number): Uint8Array {
  const authority = port === (tls ? 443 : 80) ? host : `${host}:${port}`;
  const range = from > 0 ? `Range: bytes=${from}-\r\n` : '';
  return encodeUtf8(
    `GET ${target} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: kith\r\nAccept-Encoding: identity\r\n${range}Connection: close\r\n\r\n`,
  );
}

/** The answer to a GET of bytes `from` … `size` − 1. */
export class HttpAnswer {
  private readonly from: number;
  private readonly size: number;
  private head: Uint8Array | undefined = new Uint8Array(0);
  /** Bytes of the body that we have already. */
  private skipBytes = 0;

  constructor(from: number, size: number) {
    this.from = from;
    this.size = size;
  }

  /** What of `bytes` is wanted, perhaps nothing: a view into them, or memory of its own. Never more than was asked for. */
  receive(bytes: Uint8Array): Uint8Array | HttpFault {
    let body = bytes;
    while (this.head) {
      const head = concatBytes([this.head, body]);
      const end = headLength(head);
      if (end < 0 ? head.length > mostHeadBytes : end > mostHeadBytes)
        return final('no HTTP: a head without end');
      this.head = head;
      if (end < 0) return new Uint8Array(0);
      body = head.subarray(end);
      const text = String.fromCharCode(...head.subarray(0, end));
      // What comes before the answer (RFC 9110 §15.2), such as hints for browsers.
      this.head = /^HTTP\/1\.[0-9] 1[0-9][0-9]/.test(text) ? new Uint8Array(0) : undefined;
      const fault = this.head ? undefined : this.judge(text);
      if (fault) return fault;
    }
    const passed = Math.min(this.skipBytes, body.length);
    this.skipBytes -= passed;
    return body.subarray(passed);
  }

  private judge(head: string): HttpFault | undefined {
    const lines = head.split('\r\n');
    const status = /^HTTP\/1\.[0-9] ([0-9]{3})/.exec(lines[0]!)?.[1];
    if (status === undefined) return final('expected HTTP/1.1');
    // Too early, too many, and the server's own trouble (RFC 9110 §15.6) pass.
    if (/^(408|425|429|5..)$/.test(status)) return { reason: `HTTP ${status}`, isFinal: false };
    if (status !== '200' && status !== '206') return final(`HTTP ${status}`);
    const field = (name: string) => {
      for (const line of lines)
        if (line.toLowerCase().startsWith(`${name}:`)) return line.slice(name.length + 1).trim();
      return undefined;
    };
    if (field('transfer-encoding') !== undefined || field('content-length') === undefined)
      return final('expected a Content-Length, without transfer coding');
    const length = Number(field('content-length'));
    const { from, size } = this;
    if (status === '200') {
      this.skipBytes = from;
      return length === size ? undefined : final(`size: expected ${size}, got ${length}`);
    }
    const range = field('content-range');
    const wanted = `bytes ${from}-${size - 1}/${size}`;
    return range === wanted && length === size - from
      ? undefined
      : final(`range: expected ${wanted}, got ${plain(range ?? 'none')}`);
  }
}

export function isFault(received: Uint8Array | HttpFault): received is HttpFault {
  return !(received instanceof Uint8Array);
}

/** So much of it as an event has room for, a byte a character. */
function plain(text: string): string {
  return text.slice(0, 40).replace(/[^ -~]/g, '?');
}

function final(reason: string): HttpFault {
  return { reason, isFinal: true };
}

/** Bytes up to and with the empty line; −1: it has not come. */
function headLength(bytes: Uint8Array): number {
  for (let i = 3; i < bytes.length; i++)
    if (bytes[i] === 10 && bytes[i - 1] === 13 && bytes[i - 2] === 10 && bytes[i - 3] === 13) return i + 1;
  return -1;
}
