/**
 * A home: a gateway with an agent (its switch is the segment), a desktop that sleeps, a laptop on Wi-Fi that tries ssh
 * on the desktop every quarter of a minute, a TV and a printer that chatter, and captured traffic of real homes.
 *
 * The agent begins with one rule, `arp-desktop`: it answers ARP for the sleeping desktop, so that the laptop's SYN gets
 * as far as the segment. Nobody answers that until a rule wakes the desktop.
 */

import { readFileSync } from 'node:fs';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { formatTopic, type NodeId } from '../../agent/message/topic.js';
import { formatAddress, formatMac } from '../../agent/wire/address.js';
import { Host, type HostOptions } from '../sim/host.js';
import { type Recording, Replay, readRecording } from '../sim/replay.js';
import { join, type Segment } from '../sim/segment.js';
import { Chatter, Prober } from '../sim/traffic.js';
import type { World } from './world.js';

export const site = 'home';
export const sshPort = 22;

const desktopAddress = [192, 168, 1, 10];
const laptopAddress = [192, 168, 1, 20];
const tvAddress = [192, 168, 1, 30];
const printerAddress = [192, 168, 1, 40];

/** A resume from suspend to RAM, as a desktop takes. */
const desktopBootMs = 3_500;
const desktopIdleMs = 40_000;
const sshRetryMs = 15_000;
/** After an answer the laptop's owner is content for a while. */
const sshContentMs = 300_000;
/** Indoors, with a wall or two: retransmissions of the radio show as jitter. */
const wifi = { delayMs: 1.5, jitterMs: 4, loss: 0.005 };

/** UPnP Device Architecture 2.0 §1: SSDP's group and port. */
const ssdp = { group: new Uint8Array([239, 255, 255, 250]), port: 1900 };

const captureNames = ['home-multicast-short', 'mdns', 'arp-who-has', 'dhcp', 'igmp'];
/** Mean pause before a capture begins again. */
const captureGapMs = 90_000;

/** Reads the captures that homes replay, once for all homes. */
export function readHomeCaptures(): Recording[] {
  return captureNames.map(name => {
    const file = `${name}.pcap`;
    return readRecording(file, readFileSync(new URL(`captures/${file}`, import.meta.url)));
  });
}

/** The node of home `number` (from 1). */
export function homeNode(number: number): NodeId {
  return { site, node: `gw-${number}` };
}

/** Adds home `number` (1 … 65,536) to the world. */
export function addHome(world: World, number: number, captures: readonly Recording[]): void {
  const { kernel, seed } = world;
  const id = homeNode(number);
  const lan = world.addSegment();
  world.addNode({ ...id, links: [{ name: 'lan', mac: macOf(1, number), network: lan }] });

  const air = world.addLink(`${id.node} wifi`, wifi);
  join(lan, air.ends[0]);
  const addHost = (
    name: string,
    options: Pick<HostOptions, 'mac' | 'address' | 'network'> & Partial<HostOptions>,
  ) => {
    const host = new Host({ kernel, seed, name: `${id.node}/${name}`, ...options });
    world.hosts.push(host);
    return host;
  };
  const desktop = addHost('desktop', {
    network: lan,
    mac: desktopMac(number),
    address: new Uint8Array(desktopAddress),
    openPorts: [sshPort],
    sleep: { idleMs: desktopIdleMs, bootMs: desktopBootMs, asleep: true },
  });
  const laptop = addHost('laptop', {
    network: air.ends[1],
    mac: macOf(2, number),
    address: new Uint8Array(laptopAddress),
  });
  const tv = addHost('tv', { network: lan, mac: macOf(3, number), address: new Uint8Array(tvAddress) });
  const printer = addHost('printer', {
    network: lan,
    mac: macOf(4, number),
    address: new Uint8Array(printerAddress),
    openPorts: [631],
  });

  const random = new Random(seed, `home ${number}`);
  new Prober({
    kernel,
    seed,
    host: laptop,
    address: desktop.address,
    port: sshPort,
    startAt: kernel.now + sshRetryMs * random.unit(),
    retryMs: sshRetryMs,
    contentMs: sshContentMs,
  });
  const chat = (host: Host, payload: Uint8Array, everyMs: number) =>
    new Chatter({ kernel, seed, host, ...ssdp, payload, everyMs });
  // A desktop in use is heard well within the time after which the agent takes it for asleep.
  chat(desktop, searchFor('urn:schemas-upnp-org:device:InternetGatewayDevice:1'), 12_000);
  chat(tv, announcementOf(tv, 'urn:schemas-upnp-org:device:MediaRenderer:1'), 30_000);
  chat(printer, announcementOf(printer, 'urn:schemas-upnp-org:device:Printer:1'), 60_000);
  replayCaptures(world, lan, captures, random);

  world.publishAt(kernel.now, formatTopic(id, { kind: 'rule', name: 'arp-desktop' }), {
    host: formatMac(desktop.mac),
    trigger: { arp: { operation: 'request', targetAddress: formatAddress(desktop.address) } },
    action: 'respond',
  });
}

/** The MAC of the desktop in home `number`: 3c:22:fb:01:02:03 in the first. */
export function desktopMac(number: number): Uint8Array {
  const suffix = 0x010203 + (number - 1) * 256;
  return new Uint8Array([0x3c, 0x22, 0xfb, suffix >>> 16, suffix >>> 8, suffix]);
}

function replayCaptures(world: World, lan: Segment, captures: readonly Recording[], random: Random): void {
  const { kernel } = world;
  const port = lan.attach({ receive: () => {} });
  for (const recording of captures) {
    const gapMs = captureGapMs * (0.5 + random.unit());
    new Replay({ kernel, port, recording, gapMs }).start(kernel.now + gapMs * random.unit());
  }
}

/** A locally administered address (IEEE 802 §8.4): 02:4b, the kind of device, the home. */
function macOf(kind: number, number: number): Uint8Array {
  return new Uint8Array([0x02, 0x4b, 0, kind, number >>> 8, number]);
}

/** UPnP Device Architecture 2.0 §1.3.2. */
function searchFor(target: string): Uint8Array {
  return http('M-SEARCH * HTTP/1.1', [hostHeader(), 'MAN: "ssdp:discover"', 'MX: 3', `ST: ${target}`]);
}

/** UPnP Device Architecture 2.0 §1.2.2. */
function announcementOf(host: Host, type: string): Uint8Array {
  return http('NOTIFY * HTTP/1.1', [
    hostHeader(),
    'CACHE-CONTROL: max-age=1800',
    `LOCATION: http://${formatAddress(host.address)}/description.xml`,
    `NT: ${type}`,
    'NTS: ssdp:alive',
    `USN: uuid:${host.name.replace('/', '-')}::${type}`,
  ]);
}

function hostHeader(): string {
  return `HOST: ${formatAddress(ssdp.group)}:${ssdp.port}`;
}

function http(first: string, headers: readonly string[]): Uint8Array {
  return encodeUtf8(`${[first, ...headers].join('\r\n')}\r\n\r\n`);
}
