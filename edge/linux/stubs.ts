/**
 * Programs beside the agent that rules redirect frames to (`redirect.stub`): each listens on a Unix datagram socket (unix(7)),
 * `<directory>/<name>.sock`, and gets one frame, with its Ethernet header, in each datagram.
 *
 * Node has no such sockets, so they are called through koffi. One socket sends to all; nothing waits: who is not there,
 * or does not read, misses the frame, and that is counted. Bound: what the receiver's own queue holds.
 */

import { join } from 'node:path';
import koffi from 'koffi';
import { Counters } from '../../agent/core/counters.js';
import { check, close, socket } from './libc.js';

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
/** `struct sockaddr_un`: the family, and a path with its NUL. */
const pathBytes = 108;
const noSignal = 0x4000;

/** The longest directory that a stub's name of 32 characters fits behind. */
export const longestStubsBytes = pathBytes - 1 - '/'.length - 32 - '.sock'.length;

export class Stubs {
  readonly counters = new Counters(['sent', 'missed']);
  private readonly directory: string;
  private readonly socket: number;

  constructor(directory: string) {
    this.directory = directory;
    this.socket = check(socket(afUnix, datagramNonBlockingCloseOnExec, 0), 'stubs');
  }

  /** `stub`: `[a-z0-9-]{1,32}`, as rules name it. */
  send(stub: string, frame: Uint8Array): void {
    const path = Buffer.from(join(this.directory, `${stub}.sock`));
    const address = new Uint8Array(2 + path.length + 1);
    address[0] = afUnix;
    address.set(path, 2);
    const sent = sendto(this.socket, frame, frame.length, noSignal, address, address.length);
    this.counters.add(sent < 0 ? 'missed' : 'sent');
  }

  close(): void {
    close(this.socket);
  }
}
