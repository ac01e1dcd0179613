/**
 * The registration a Mac sends to a sleep proxy before it sleeps, byte for byte as mDNSResponder makes it (mDNSCore/mDNS.c,
 * SendSPSRegistrationForOwner; DNSCommon.c, PutResourceRecord): an update without a zone, the cache flush bit on the records
 * that are the Mac's alone, names compressed against all that stands before them except in SRV data, and an OPT record with
 * the two options whose time to live is, oddly, that of a record. Written without the codec under test.
 */

import {
  concatBytes,
  encodeUtf8,
  numberBytes,
  readUint16,
  sameBytes,
  writeUint16,
} from '../../agent/core/bytes.js';
import type { Link } from '../../agent/port/platform.js';
import { udpFrame } from '../../agent/power-proxy/respond/frame.js';
import { reverseName } from '../../agent/power-proxy/respond/names.js';
import type { VlanTag } from '../../agent/wire/vlan.js';
import { hostAddress, hostLinkLocal, hostMac, ip, proxyLink } from './respond-asking.js';

/** Where the proxy is found. */
export const proxyAddress = ip('192.0.2.1');
export const proxyLinkLocal = ip('fe80::5eff:fe10:1');
export const servingLink: Link = { ...proxyLink, addresses: [proxyAddress, proxyLinkLocal] };

export interface MacService {
  /** Plain text. */
  readonly instance: string;
  /** `_ssh._tcp` */
  readonly type: string;
  readonly port: number;
  /** Strings of its TXT record. */
  readonly txt?: readonly string[];
}

/** A Mac on one interface. */
export interface Mac {
  readonly mac: Uint8Array;
  /** The interface's, if it is another. */
  readonly wakeMac?: Uint8Array;
  readonly password?: Uint8Array;
  readonly sequence: number;
  /** Without `.local`. */
  readonly hostName: string;
  readonly addresses: readonly Uint8Array[];
  readonly services: readonly MacService[];
}

export const officeMac: Mac = {
  mac: hostMac,
  sequence: 7,
  hostName: 'Office-Mac',
  addresses: [hostAddress, hostLinkLocal],
  services: [
    { instance: 'Office Mac', type: '_ssh._tcp', port: 22 },
    { instance: 'Office Mac', type: '_smb._tcp', port: 445 },
  ],
};

/** What else can be in an update. */
export interface UpdateParts {
  readonly identification?: number;
  readonly flags?: number;
  /** Encoded: a name, type 2, class 2 each. */
  readonly zones?: readonly Uint8Array[];
  readonly prerequisites?: readonly Uint8Array[];
  /** More records after those of the Mac, encoded. */
  readonly more?: readonly Uint8Array[];
  /** Leaves the Mac's own out. */
  readonly bare?: boolean;
  readonly leaseSeconds?: number;
  /** Instead of the two options, encoded. */
  readonly options?: readonly Uint8Array[];
  /** Version and flags of the OPT record; instead of a time to live. */
  readonly optTimeToLive?: number;
}

/** kStandardTTL in mDNSEmbeddedAPI.h, of all records and of OPT. */
const standardTimeToLive = 4500;
const cacheFlush = 0x8000;
const type = { a: 1, soa: 6, ptr: 12, txt: 16, aaaa: 28, srv: 33, opt: 41 };

/** The labels of a name without the root. */
type Labels = readonly string[];

const local = (...labels: string[]): Labels => [...labels, 'local'];

class Writer {
  bytes: Uint8Array = new Uint8Array(0);

  put(...parts: readonly Uint8Array[]): void {
    this.bytes = concatBytes([this.bytes, ...parts]);
  }

  name(labels: Labels, compress = true): void {
    for (let i = 0; i < labels.length; i++) {
      const at = compress ? this.find(labels.slice(i)) : -1;
      if (at >= 0) {
        this.put(numberBytes(0xc000 | at, 2));
        return;
      }
      const label = encodeUtf8(labels[i]);
      this.put(numberBytes(label.length, 1), label);
    }
    this.put(new Uint8Array(1));
  }

  record(name: Labels, type: number, topAndClass: number, data: () => void): void {
    this.name(name);
    this.put(numberBytes(type, 2), numberBytes(topAndClass, 2), numberBytes(standardTimeToLive, 4));
    this.put(new Uint8Array(2));
    const from = this.bytes.length;
    data();
    writeUint16(this.bytes, from - 2, this.bytes.length - from);
  }

  /** Where this name stands already, the last place that begins with its first label; −1 if nowhere. */
  private find(labels: Labels): number {
    for (let at = this.bytes.length - 1; at >= 12; at--)
      if (this.bytes[at] < 0xc0 && this.holds(at, labels)) return at;
    return -1;
  }

  private holds(at: number, labels: Labels): boolean {
    for (const text of labels) {
      if (this.bytes[at] >= 0xc0) at = readUint16(this.bytes, at) & 0x3fff;
      const label = encodeUtf8(text);
      const end = at + 1 + label.length;
      if (this.bytes[at] !== label.length || !sameBytes(this.bytes.subarray(at + 1, end), label))
        return false;
      at = end;
    }
    return this.bytes[at] === 0;
  }
}

export function ownerOption(
  { mac, wakeMac = mac, password = new Uint8Array(0), sequence }: Mac,
  version = 0,
): Uint8Array {
  const isShort = sameBytes(mac, wakeMac) && password.length === 0;
  const data = concatBytes([
    numberBytes(version, 1),
    numberBytes(sequence, 1),
    mac,
    ...(isShort ? [] : [wakeMac, password]),
  ]);
  return concatBytes([numberBytes(4, 2), numberBytes(data.length, 2), data]);
}

export function leaseOption(seconds: number): Uint8Array {
  return concatBytes([numberBytes(2, 2), numberBytes(4, 2), numberBytes(seconds, 4)]);
}

/** A zone of the message: its name, SOA (RFC 2136 §2.3), IN. */
export function zone(labels: Labels, zoneType = type.soa): Uint8Array {
  const writer = new Writer();
  writer.name(labels, false);
  writer.put(numberBytes(zoneType, 2), numberBytes(1, 2));
  return writer.bytes;
}

/** One record on its own, uncompressed. */
export function record(
  name: Labels,
  type: number,
  data: Uint8Array,
  change: { topAndClass?: number; timeToLive?: number } = {},
): Uint8Array {
  const { topAndClass = 1, timeToLive = standardTimeToLive } = change;
  const writer = new Writer();
  writer.name(name, false);
  writer.put(numberBytes(type, 2), numberBytes(topAndClass, 2), numberBytes(timeToLive, 4));
  writer.put(numberBytes(data.length, 2), data);
  return writer.bytes;
}

/** The DNS message. */
export function registrationMessage(mac: Mac, parts: UpdateParts = {}): Uint8Array {
  const { identification = 0x4d41, flags = 0x2800, zones = [], prerequisites = [], more = [] } = parts;
  const { leaseSeconds = 7200, optTimeToLive = standardTimeToLive } = parts;
  const { options = [leaseOption(leaseSeconds), ownerOption(mac)] } = parts;
  const writer = new Writer();
  writer.put(new Uint8Array(12), ...zones, ...prerequisites);
  const count = parts.bare ? 0 : putRecords(writer, mac);
  writer.put(...more);
  writer.put(
    numberBytes(0, 1),
    numberBytes(type.opt, 2),
    numberBytes(1440, 2),
    numberBytes(optTimeToLive, 4),
  );
  const data = concatBytes(options);
  writer.put(numberBytes(data.length, 2), data);
  const header = [identification, flags, zones.length, prerequisites.length, count + more.length, 1];
  for (let i = 0; i < header.length; i++) writeUint16(writer.bytes, 2 * i, header[i]);
  return writer.bytes;
}

/** Addresses and their reverse names, then the services, in the order mDNSResponder keeps them; how many. */
function putRecords(writer: Writer, { hostName, addresses, services }: Mac): number {
  const host = local(hostName);
  const unique = 1 | cacheFlush;
  let count = 0;
  for (const address of addresses) {
    writer.record(host, address.length === 4 ? type.a : type.aaaa, unique, () => writer.put(address));
    writer.record(reverseName(address).split('.'), type.ptr, unique, () => writer.name(host));
    count += 2;
  }
  for (const { instance, type: service, port, txt = [''] } of services) {
    const serviceType = local(...service.split('.'));
    const name = [instance, ...serviceType];
    const strings = txt.map(encodeUtf8).map(text => concatBytes([numberBytes(text.length, 1), text]));
    writer.record(name, type.srv, unique, () => {
      writer.put(numberBytes(0, 4), numberBytes(port, 2));
      writer.name(host, false);
    });
    writer.record(name, type.txt, unique, () => writer.put(...strings));
    writer.record(serviceType, type.ptr, 1, () => writer.name(name));
    writer.record(local('_services', '_dns-sd', '_udp'), type.ptr, 1, () => writer.name(serviceType));
    count += 4;
  }
  return count;
}

/** How the message travels. */
export interface Travel {
  readonly srcMac?: Uint8Array;
  readonly dstMac?: Uint8Array;
  /** The Mac's first by default. */
  readonly srcAddress?: Uint8Array;
  readonly dstAddress?: Uint8Array;
  readonly srcPort?: number;
  readonly tags?: readonly VlanTag[];
  readonly link?: Link;
}

/** The frame that brings a message of the Mac's to the proxy. */
export function frameFrom(mac: Mac, message: Uint8Array, travel: Travel = {}): Uint8Array {
  const { link = servingLink, tags = [], srcPort = 54_321 } = travel;
  const { srcMac = mac.wakeMac ?? mac.mac, dstMac = link.mac, srcAddress = mac.addresses[0] } = travel;
  const toProxy = srcAddress.length === 4 ? proxyAddress : proxyLinkLocal;
  const { dstAddress = toProxy } = travel;
  const addresses = { srcAddress, dstAddress };
  return udpFrame(
    { link: { name: link.name, mac: srcMac }, tags, dstMac },
    { ...addresses, srcPort, dstPort: 5353, timeToLive: 255 },
    message,
  );
}

/** The whole registration in its frame. */
export function registration(mac: Mac, parts: UpdateParts = {}, travel: Travel = {}): Uint8Array {
  return frameFrom(mac, registrationMessage(mac, parts), travel);
}
