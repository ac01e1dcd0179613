/**
 * pcapng (draft-ietf-opsawg-pcapng): section header, interface description, enhanced, simple and the obsolete packet
 * block; other blocks are skipped. Either byte order, several interfaces and sections.
 *
 * Bounds: one block of at most `longestBlockBytes`, `mostInterfaces` a section.
 */

import { type CaptureTime, longestFrameBytes, type Step } from './pcap.js';

/** What Wireshark writes and reads at most. */
export const longestBlockBytes = 16 * 1024 * 1024;
const mostInterfaces = 65_536;

const sectionHeaderBlock = 0x0a0d0d0a;
const interfaceDescriptionBlock = 1;
const packetBlock = 2;
const simplePacketBlock = 3;
const enhancedPacketBlock = 6;

const optionEnd = 0;
const optionTimestampResolution = 9;
const optionTimestampOffset = 14;

interface Interface {
  readonly linkType: number;
  /** Frames are cut at this many bytes; 0: they are not. */
  readonly snapshotLength: number;
  readonly ticksPerSecond: bigint;
  readonly offsetSeconds: bigint;
}

export class PcapngFormat {
  private littleEndian = false;
  private interfaces: Interface[] = [];

  step(bytes: Uint8Array): Step {
    if (bytes.length < 12) return { kind: 'need', bytes: 12 };
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (header.getUint32(0) === sectionHeaderBlock) {
      const mark = header.getUint32(8);
      if (mark !== 0x1a2b3c4d && mark !== 0x4d3c2b1a)
        return error(`byte-order magic: expected 1a2b3c4d or 4d3c2b1a, got ${hex(mark)}`);
      this.littleEndian = mark === 0x4d3c2b1a;
    }
    const little = this.littleEndian;
    const length = header.getUint32(4, little);
    if (length < 12 || length > longestBlockBytes || length % 4 !== 0)
      return error(
        `block length: expected a multiple of 4 in 12..${longestBlockBytes}, got ${length} (block type ${hex(header.getUint32(0, little))})`,
      );
    if (bytes.length < length) return { kind: 'need', bytes: length };
    const trailing = header.getUint32(length - 4, little);
    if (trailing !== length)
      return error(`block length repeated at the end: expected ${length}, got ${trailing}`);
    const frame = this.block(header.getUint32(0, little), bytes.subarray(8, length - 4));
    if (frame?.kind === 'error') return frame;
    return frame ? { kind: 'used', bytes: length, frame: frame.frame } : { kind: 'used', bytes: length };
  }

  private block(type: number, body: Uint8Array): Frame | ReturnType<typeof error> | undefined {
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const little = this.littleEndian;
    const minimum = minimumBodyLength(type);
    if (body.length < minimum)
      return error(
        `block type ${hex(type)}: expected a body of at least ${minimum} bytes, got ${body.length}`,
      );
    switch (type) {
      case sectionHeaderBlock: {
        const major = view.getUint16(4, little);
        if (major !== 1) return error(`pcapng version: expected 1, got ${major}`);
        this.interfaces = [];
        return undefined;
      }
      case interfaceDescriptionBlock:
        return this.interfaceDescription(view);
      case enhancedPacketBlock:
        return this.packet(view.getUint32(0, little), body, view);
      case packetBlock:
        return this.packet(view.getUint16(0, little), body, view);
      case simplePacketBlock: {
        // It belongs to the section's first interface, has no time, and is as long as the snapshot allows.
        const link = this.interfaces[0];
        if (!link) return error('simple packet block: expected an interface description before it');
        const originalLength = view.getUint32(0, little);
        const snapshot = link.snapshotLength || originalLength;
        const end = 4 + Math.min(originalLength, snapshot);
        if (end > body.length) return error(`simple packet block: expected ${end} bytes, got ${body.length}`);
        return {
          kind: 'frame',
          frame: { linkType: link.linkType, bytes: body.subarray(4, end), originalLength },
        };
      }
      default:
        return undefined;
    }
  }

  private packet(id: number, body: Uint8Array, view: DataView): Frame | ReturnType<typeof error> {
    const link = this.interfaces[id];
    if (!link)
      return error(`interface: expected one of the ${this.interfaces.length} described, got number ${id}`);
    const ticks =
      (BigInt(view.getUint32(4, this.littleEndian)) << 32n) | BigInt(view.getUint32(8, this.littleEndian));
    const length = view.getUint32(12, this.littleEndian);
    if (length > Math.min(body.length - 20, longestFrameBytes))
      return error(
        `frame length: expected at most ${Math.min(body.length - 20, longestFrameBytes)}, got ${length}`,
      );
    return {
      kind: 'frame',
      frame: {
        time: timeOf(ticks, link),
        linkType: link.linkType,
        bytes: body.subarray(20, 20 + length),
        originalLength: view.getUint32(16, this.littleEndian),
      },
    };
  }

  private interfaceDescription(view: DataView): ReturnType<typeof error> | undefined {
    const little = this.littleEndian;
    if (this.interfaces.length === mostInterfaces)
      return error(`interfaces: expected at most ${mostInterfaces}`);
    let ticksPerSecond = 1_000_000n;
    let offsetSeconds = 0n;
    for (let at = 8; at + 4 <= view.byteLength; ) {
      const code = view.getUint16(at, little);
      const length = view.getUint16(at + 2, little);
      if (code === optionEnd) break;
      if (at + 4 + length > view.byteLength)
        return error(`interface option ${code}: expected ${length} bytes, got ${view.byteLength - at - 4}`);
      if (code === optionTimestampResolution && length === 1) {
        const resolution = view.getUint8(at + 4);
        ticksPerSecond = (resolution & 0x80 ? 2n : 10n) ** BigInt(resolution & 0x7f);
      }
      if (code === optionTimestampOffset && length === 8) offsetSeconds = view.getBigInt64(at + 4, little);
      at += 4 + Math.ceil(length / 4) * 4;
    }
    this.interfaces.push({
      linkType: view.getUint16(0, little),
      snapshotLength: view.getUint32(4, little),
      ticksPerSecond,
      offsetSeconds,
    });
    return undefined;
  }
}

type Frame = { readonly kind: 'frame'; readonly frame: NonNullable<(Step & { kind: 'used' })['frame']> };

function error(text: string) {
  return { kind: 'error', text } as const;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}

function minimumBodyLength(type: number): number {
  switch (type) {
    case sectionHeaderBlock:
      return 16;
    case interfaceDescriptionBlock:
      return 8;
    case simplePacketBlock:
      return 4;
    case packetBlock:
    case enhancedPacketBlock:
      return 20;
    default:
      return 0;
  }
}

function timeOf(ticks: bigint, link: Interface): CaptureTime {
  const seconds = ticks / link.ticksPerSecond + link.offsetSeconds;
  const nanoseconds = ((ticks % link.ticksPerSecond) * 1_000_000_000n) / link.ticksPerSecond;
  return { seconds: Number(seconds), nanoseconds: Number(nanoseconds) };
}
