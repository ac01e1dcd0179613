/**
 * The calls of the C library that Node does not have, through koffi: packet sockets, ioctl, mmap, and any file
 * descriptor on the event loop. Layouts and numbers are those of Linux on little-endian machines (linux/if_packet.h,
 * linux/if.h, asm-generic/socket.h, asm-generic/fcntl.h), words of 4 or 8 bytes.
 *
 * No call here waits: sockets are opened non-blocking, and what would block says EAGAIN. Addresses are passed as
 * numbers; whoever takes `addressOf` a buffer keeps the buffer referenced for as long as the kernel may use it.
 */

import { endianness } from 'node:os';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

/** Bytes of a pointer, a size_t and a long. */
export const wordBytes = koffi.sizeof('void *');

export const errno = {
  again: 11,
  netDown: 100,
  noBuffers: 105,
  interrupted: 4,
  noDevice: 6,
  ioError: 5,
} as const;

const library = koffi.load(null);

function declare<T>(definition: string): T {
  return library.func(definition) as T;
}

type Pointer = Uint8Array | Int32Array | null;

/** As in their manual pages (section 2); −1 says that `lastErrno()` has the reason. */
export const socket = declare<(domain: number, type: number, protocol: number) => number>(
  'int socket(int domain, int type, int protocol)',
);
export const bind = declare<(fd: number, address: Uint8Array, lengthBytes: number) => number>(
  'int bind(int fd, void *address, uint32_t length)',
);
export const setsockopt = declare<
  (fd: number, level: number, option: number, value: Pointer, lengthBytes: number) => number
>('int setsockopt(int fd, int level, int option, void *value, uint32_t length)');
export const getsockopt = declare<
  (fd: number, level: number, option: number, value: Pointer, lengthBytes: Int32Array) => number
>('int getsockopt(int fd, int level, int option, void *value, void *length)');
export const ioctl = declare<(fd: number, request: number, argument: Pointer) => number>(
  'int ioctl(int fd, unsigned long request, void *argument)',
);
export const recvmmsg = declare<
  (fd: number, headers: number, count: number, flags: number, timeout: null) => number
>('int recvmmsg(int fd, uintptr_t headers, unsigned int count, int flags, void *timeout)');
export const sendmmsg = declare<(fd: number, headers: number, count: number, flags: number) => number>(
  'int sendmmsg(int fd, uintptr_t headers, unsigned int count, int flags)',
);
export const read = declare<(fd: number, address: number, lengthBytes: number) => number>(
  'intptr_t read(int fd, uintptr_t address, size_t length)',
);
export const write = declare<(fd: number, bytes: Uint8Array, lengthBytes: number) => number>(
  'intptr_t write(int fd, void *bytes, size_t length)',
);
export const close = declare<(fd: number) => number>('int close(int fd)');
export const flock = declare<(fd: number, operation: number) => number>('int flock(int fd, int operation)');

const mmapCall = declare<
  (
    address: number,
    lengthBytes: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => number
>('intptr_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, intptr_t offset)');
const munmap = declare<(address: number, lengthBytes: number) => number>(
  'int munmap(uintptr_t address, size_t length)',
);

const protReadWrite = 3;
const mapShared = 0x01;
const mapPrivateFixedAnonymous = 0x02 | 0x10 | 0x20;

/** Why the last call failed; to be read before any other call. */
export function lastErrno(): number {
  return koffi.errno();
}

/** `result`, or throws `<what>: <name of the error>`, with what `hints` say of it, if it is negative. */
export function check(result: number, what: string, hints: { readonly [name: string]: string } = {}): number {
  if (result >= 0) return result;
  const name = getSystemErrorName(-lastErrno());
  throw new Error(`${what}: ${hints[name] ?? name}`);
}

/** Where the memory behind `buffer` is. It does not move, and stays only while somebody references `buffer`. */
export function addressOf(buffer: ArrayBuffer): number {
  return Number(koffi.address(buffer));
}

/** Writes a pointer or size_t. */
export function writeWord(view: DataView, at: number, value: number): void {
  if (wordBytes === 8) view.setBigUint64(at, BigInt(value), true);
  else view.setUint32(at, value, true);
}

export interface Mapping {
  readonly bytes: Uint8Array;
  /** Gives the memory back. Whoever kept a part of `bytes` reads zeros from then on, never another's memory. */
  close(): void;
}

/** `lengthBytes` of what `fd` offers (mmap, shared, to read and write). Throws, naming `what`. */
export function map(fd: number, lengthBytes: number, what: string): Mapping {
  const address = check(mmapCall(0, lengthBytes, protReadWrite, mapShared, fd, 0), what);
  const buffer = koffi.view(address, lengthBytes);
  unmapper.register(buffer, { address, lengthBytes });
  return {
    bytes: new Uint8Array(buffer),
    close() {
      // V8 cannot take an ArrayBuffer back, so a private mapping of zeros, which costs no memory, takes the place until
      // nobody has the ArrayBuffer any more.
      check(mmapCall(address, lengthBytes, protReadWrite, mapPrivateFixedAnonymous, -1, 0), what);
    },
  };
}

const unmapper = new FinalizationRegistry<{ address: number; lengthBytes: number }>(
  ({ address, lengthBytes }) => {
    munmap(address, lengthBytes);
  },
);

/**
 * Calls `onReadable` whenever `fd` can be read or has an error to tell; reading takes the error away. The event loop
 * stays alive until `close`, which must come before the descriptor's own.
 */
export function watch(fd: number, onReadable: () => void): { close(): void } {
  const handle = koffi.node.poll(fd, { readable: true }, hear);
  let closed = false;
  // koffi passes libuv's status first, other than its declaration says; negative on POLLERR, after which libuv has
  // stopped watching.
  function hear(...[status]: readonly unknown[]): void {
    try {
      onReadable();
    } catch (error) {
      // Thrown here, koffi would swallow it.
      setImmediate(() => {
        throw error;
      });
    }
    if ((status as number) < 0 && !closed) handle.start({ readable: true }, hear);
  }
  return {
    close() {
      if (closed) return;
      closed = true;
      handle.close();
    },
  };
}

// ---- interfaces (netdevice(7)) ----

const nameBytes = 16;
/** `struct ifreq` is 32 or 40 bytes. */
const requestBytes = 40;
const getFlags = 0x8913;
const getMtu = 0x8921;
const getHardwareAddress = 0x8927;
const getIndex = 0x8933;
const isUpFlag = 1;

export interface Interface {
  readonly index: number;
  readonly mtuBytes: number;
  /** ARPHRD_ of linux/if_arp.h: 1 is Ethernet. */
  readonly hardwareType: number;
  readonly mac: Uint8Array;
  readonly isUp: boolean;
}

/** A `struct ifreq` for `name`, to be filled from byte 16 on. Throws on a name that is none. */
export function interfaceRequest(name: string): Uint8Array {
  const bytes = Buffer.from(name);
  if (bytes.length < 1 || bytes.length >= nameBytes)
    throw new Error(`interface: expected a name of 1..${nameBytes - 1} bytes, got '${name}'`);
  const request = new Uint8Array(requestBytes);
  request.set(bytes);
  return request;
}

/** What the kernel knows of interface `name`, asked through any socket `fd` of its namespace; `undefined`: there is none. */
export function describeInterface(fd: number, name: string): Interface | undefined {
  const request = interfaceRequest(name);
  const view = new DataView(request.buffer);
  if (ioctl(fd, getIndex, request) < 0) return undefined;
  const index = view.getInt32(nameBytes, true);
  if (ioctl(fd, getMtu, request) < 0) return undefined;
  const mtuBytes = view.getInt32(nameBytes, true);
  if (ioctl(fd, getFlags, request) < 0) return undefined;
  const isUp = (view.getUint16(nameBytes, true) & isUpFlag) !== 0;
  if (ioctl(fd, getHardwareAddress, request) < 0) return undefined;
  const hardwareType = view.getUint16(nameBytes, true);
  return { index, mtuBytes, hardwareType, mac: request.slice(nameBytes + 2, nameBytes + 8), isUp };
}

if (endianness() !== 'LE') throw new Error('edge/linux: expected a little-endian machine');
