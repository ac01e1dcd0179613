/**
 * A TUN or TAP device (kernel document networking/tuntap): the IP packets, or Ethernet frames, that the host's own stack
 * sends over it come in here, and what is sent here the host receives. Nothing stands before them (IFF_NO_PI); the kernel
 * has finished checksums and segments.
 *
 * Addresses, MTU and state are set by ioctl (netdevice(7)): no other program is needed. The device goes with `close`, or with
 * the process. Bounds: the kernel's queue of 500 packets towards us (txqueuelen, ip-link(8)); what the host cannot take is
 * dropped and counted. Needs CAP_NET_ADMIN.
 */

import { constants, openSync } from 'node:fs';
import { Counters } from '../../agent/core/counters.js';
import { ipv4Length, parseAddress } from '../../agent/wire/address.js';
import * as libc from './libc.js';

export interface TunOptions {
  /** At most 15 bytes; `%d` in it becomes a free number. */
  readonly name: string;
  /** Default `tun`: IP packets. `tap`: Ethernet frames. */
  readonly kind?: 'tun' | 'tap';
  /** 68 (RFC 791 §3.2), with an IPv6 address 1280 (RFC 8200 §5), to 65535; default 1500. */
  readonly mtuBytes?: number;
  /** Such as `10.0.0.2/32` and `fd00::2/64`; at most one IPv4 address. */
  readonly addresses?: readonly string[];
}

/** `bytes[start, end)` is the packet, to be used, or changed, until the call returns; `tunHeadroomBytes` before it are free. */
export type PacketReceiver = (bytes: Uint8Array, start: number, end: number) => void;

/** What may be written before a received packet: Ethernet, two VLAN tags and PPPoE fit. */
export const tunHeadroomBytes = 32;

const counterNames = ['received', 'sent', 'sent.refused', 'sent.no-room', 'sent.down'] as const;
export type TunCounter = (typeof counterNames)[number];

// linux/if_tun.h, linux/sockios.h, linux/socket.h
const setInterface = 0x400454ca;
const iffTun = 0x0001;
const iffTap = 0x0002;
const iffNoPacketInformation = 0x1000;
const getFlags = 0x8913;
const setFlags = 0x8914;
const setAddress = 0x8916;
const setNetmask = 0x891c;
const setMtu = 0x8922;
const upAndRunning = 0x41;
const afInet = 2;
const afInet6 = 10;
const datagramCloseOnExec = 2 | 0o2000000;
/** Where the union of `struct ifreq` starts. */
const requestAt = 16;
/** Packets heard before the event loop has its turn again: 256 take about 1 ms. */
const packetsPerTurn = 256;
const longestBytes = 65_535 + 18;

/** Opens a device, up, in the network namespace of the caller. Throws, naming the field, or what is missing. */
export function openTun(options: TunOptions, onPacket: PacketReceiver, onError: (error: Error) => void): Tun {
  return new Tun(options, onPacket, onError);
}

export class Tun {
  /** As the kernel made it of `options.name`. */
  readonly name: string;
  readonly counters = new Counters<TunCounter>(counterNames);
  private readonly onPacket: PacketReceiver;
  private readonly onError: (error: Error) => void;
  private readonly file: number;
  private readonly watcher: { close(): void };
  private readonly bytes = new Uint8Array(new ArrayBuffer(tunHeadroomBytes + longestBytes));
  private readonly readAddress = libc.addressOf(this.bytes.buffer as ArrayBuffer) + tunHeadroomBytes;
  private closed = false;

  constructor(options: TunOptions, onPacket: PacketReceiver, onError: (error: Error) => void) {
    const { kind = 'tun', mtuBytes = 1500, addresses = [] } = options;
    const parsed = addresses.map(parsePrefix);
    const leastBytes = parsed.some(({ address }) => address.length !== ipv4Length) ? 1280 : 68;
    if (!(mtuBytes >= leastBytes && mtuBytes <= 65_535 && mtuBytes % 1 === 0))
      throw new Error(`mtuBytes: expected ${leastBytes}..65535, got ${mtuBytes}`);
    if (parsed.filter(({ address }) => address.length === ipv4Length).length > 1)
      throw new Error(`addresses: expected at most one of IPv4, got ${addresses.join(', ')}`);
    const request = libc.interfaceRequest(options.name);
    this.onPacket = onPacket;
    this.onError = onError;
    const what = `${kind} device ${options.name}`;
    try {
      this.file = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
    } catch (error) {
      throw new Error(`${what}: ${(error as Error).message}: is the kernel module tun there?`);
    }
    try {
      const flags = (kind === 'tun' ? iffTun : iffTap) | iffNoPacketInformation;
      new DataView(request.buffer).setUint16(requestAt, flags, true);
      libc.check(libc.ioctl(this.file, setInterface, request), what, {
        EPERM: 'not permitted: it needs CAP_NET_ADMIN',
        EBUSY: 'the name is taken',
        EINVAL: 'an interface of that name is there already',
      });
      this.name = Buffer.from(request.subarray(0, request.indexOf(0))).toString();
      configure(this.name, mtuBytes, parsed);
      this.watcher = libc.watch(this.file, () => this.hear());
    } catch (error) {
      libc.close(this.file);
      throw error;
    }
  }

  /** Hands `bytes[start, end)` to the host; what it does not take is dropped and counted. */
  send(bytes: Uint8Array, start = 0, end = bytes.length): void {
    if (this.closed) {
      this.counters.add('sent.down');
      return;
    }
    const packet = start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end);
    if (libc.write(this.file, packet, packet.length) >= 0) {
      this.counters.add('sent');
      return;
    }
    switch (libc.lastErrno()) {
      case libc.errno.again:
      case libc.errno.noBuffers:
        this.counters.add('sent.no-room');
        break;
      case libc.errno.ioError:
        // Somebody took the device down.
        this.counters.add('sent.down');
        break;
      default:
        this.counters.add('sent.refused');
    }
  }

  /** Changes the MTU; routes and addresses stay. Throws what the kernel says. */
  setMtu(mtuBytes: number): void {
    configure(this.name, mtuBytes, []);
  }

  /** Removes the device. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.watcher.close();
    libc.close(this.file);
  }

  private hear(): void {
    for (let i = 0; i < packetsPerTurn && !this.closed; i++) {
      const lengthBytes = libc.read(this.file, this.readAddress, longestBytes);
      if (lengthBytes < 0) {
        const reason = libc.lastErrno();
        if (reason === libc.errno.again || reason === libc.errno.interrupted) return;
        this.close();
        this.onError(new Error(`device ${this.name}: the interface was removed`));
        return;
      }
      this.counters.add('received');
      this.onPacket(this.bytes, tunHeadroomBytes, tunHeadroomBytes + lengthBytes);
    }
  }
}

interface Prefix {
  readonly address: Uint8Array;
  readonly prefixBits: number;
}

function parsePrefix(text: string): Prefix {
  const [before, after] = text.split('/');
  const address = parseAddress(before);
  const prefixBits = Number(after);
  if (!address || !/^\d{1,3}$/.test(after ?? '') || prefixBits > address.length * 8)
    throw new Error(`addresses: expected ADDRESS/BITS such as 10.0.0.2/32 or fd00::2/64, got ${text}`);
  return { address, prefixBits };
}

function configure(name: string, mtuBytes: number, prefixes: readonly Prefix[]): void {
  const fds: number[] = [];
  const call = (family: number, number: number, argument: Uint8Array, what: string) => {
    const fd = libc.check(libc.socket(family, datagramCloseOnExec, 0), `${name}: ${what}`, {
      EAFNOSUPPORT: family === afInet6 ? 'the kernel has no IPv6' : 'the kernel has no IPv4',
    });
    fds.push(fd);
    libc.check(libc.ioctl(fd, number, argument), `${name}: ${what}`);
  };
  try {
    const mtu = libc.interfaceRequest(name);
    new DataView(mtu.buffer).setInt32(requestAt, mtuBytes, true);
    call(afInet, setMtu, mtu, `MTU ${mtuBytes}`);
    const flags = libc.interfaceRequest(name);
    call(afInet, getFlags, flags, 'state');
    new DataView(flags.buffer).setUint16(
      requestAt,
      flags[requestAt] | (flags[requestAt + 1] << 8) | upAndRunning,
      true,
    );
    for (const { address, prefixBits } of prefixes) {
      const what = `address ${address.join('.')}/${prefixBits}`;
      if (address.length === ipv4Length) {
        call(afInet, setAddress, socketAddress(name, address), what);
        const mask = new Uint8Array(ipv4Length).map(
          (_, i) => 0xff00 >> Math.min(8, Math.max(0, prefixBits - 8 * i)),
        );
        call(afInet, setNetmask, socketAddress(name, mask), what);
      } else {
        // struct in6_ifreq: address, prefix length, index
        const fd = libc.check(libc.socket(afInet6, datagramCloseOnExec, 0), what);
        fds.push(fd);
        const found = libc.describeInterface(fd, name);
        const request = new Uint8Array(24);
        request.set(address);
        const view = new DataView(request.buffer);
        view.setUint32(16, prefixBits, true);
        view.setInt32(20, found?.index ?? 0, true);
        call(afInet6, setAddress, request, what);
      }
    }
    call(afInet, setFlags, flags, 'state');
  } finally {
    for (const fd of fds) libc.close(fd);
  }
}

/** A `struct ifreq` with a `struct sockaddr_in`. */
function socketAddress(name: string, address: Uint8Array): Uint8Array {
  const request = libc.interfaceRequest(name);
  new DataView(request.buffer).setUint16(requestAt, afInet, true);
  request.set(address, requestAt + 4);
  return request;
}
