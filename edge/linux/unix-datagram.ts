/**
 * Sending on Unix datagram sockets (unix(7)), which Node does not have, through koffi. Nothing waits: who is not there, or does
 * not read, misses it.
 */

import koffi from 'koffi';
import { check, socket } from './libc.js';

const sendto = koffi
  .load(null)
  .func(
    'intptr_t sendto(int fd, void *bytes, size_t length, int flags, void *address, uint32_t addressLength)',
  ) as (
  fd: number,
  bytes: Uint8Array,
  lengthBytes: number,
  flags: number,
  address: Uint8Array,
  addressBytes: number,
) => number;

// linux/socket.h, linux/un.h
const afUnix = 1;
const datagramNonBlockingCloseOnExec = 2 | 0o4000 | 0o2000000;
/** Of a `struct sockaddr_un`, with the NUL behind it. */
export const longestPathBytes = 108;
const noSignal = 0x4000;

/** A descriptor to send on. Throws, naming `what`. */
export function openDatagramSocket(what: string): number {
  return check(socket(afUnix, datagramNonBlockingCloseOnExec, 0), what);
}

/** False: it did not get through. A `path` that begins with NUL is an abstract name. */
export function sendDatagram(fd: number, path: string, bytes: Uint8Array): boolean {
  const name = Buffer.from(path);
  // All bytes of an abstract name count, so it has no NUL behind it.
  const address = new Uint8Array(2 + name.length + (name[0] === 0 ? 0 : 1));
  address[0] = afUnix;
  address.set(name, 2);
  return sendto(fd, bytes, bytes.length, noSignal, address, address.length) >= 0;
}
