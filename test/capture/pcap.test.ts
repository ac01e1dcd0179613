import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { concatBytes, formatHex, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import { type CapturedFrame, CaptureReader, pcapHeader, pcapRecord } from '../../host-sim/capture/pcap.js';
import { decode } from '../../host-sim/cli/decode.js';
import { capturePath, capturePaths } from '../support/captures.js';

const hex = (text: string) => parseHex(text.replace(/\s/g, ''))!;
const frame = hex('ffffffffffff 3c22fb010203 0842');

/** What of a capture can be read, and the error at its end if there is one. */
function read(chunks: readonly Uint8Array[]): { frames: CapturedFrame[]; error: string | undefined } {
  const reader = new CaptureReader('x');
  const frames: CapturedFrame[] = [];
  try {
    for (const chunk of chunks) {
      reader.push(chunk);
      for (let next = reader.next(); next; next = reader.next()) frames.push(next);
    }
    reader.end();
  } catch (error) {
    return { frames, error: (error as Error).message };
  }
  return { frames, error: undefined };
}

/** One frame's essence as text. */
const brief = ({ number, time, linkType, bytes, originalLength }: CapturedFrame) =>
  `${number} ${time ? `${time.seconds}.${time.nanoseconds}` : '-'} ${linkType} ${formatHex(bytes)}/${originalLength}`;

/** A number in the byte order of the file. */
function numberOf(value: number, length: 2 | 4, littleEndian: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(length));
  if (length === 2) view.setUint16(0, value, littleEndian);
  else view.setUint32(0, value, littleEndian);
  return new Uint8Array(view.buffer);
}

function classic(magic: number, littleEndian: boolean): Uint8Array {
  const u16 = (value: number) => numberOf(value, 2, littleEndian);
  const u32 = (value: number) => numberOf(value, 4, littleEndian);
  return concatBytes([
    ...[u32(magic), u16(2), u16(4), u32(0), u32(0), u32(65_535), u32(1)],
    ...[u32(1_700_000_000), u32(123_456), u32(frame.length), u32(1514), frame],
  ]);
}

test('classic pcap is read in both byte orders and both resolutions', () => {
  for (const littleEndian of [false, true])
    for (const [magic, nanoseconds] of [
      [0xa1b2c3d4, 123_456_000],
      [0xa1b23c4d, 123_456],
    ]) {
      const { frames, error } = read([classic(magic, littleEndian)]);
      assert.is(error, undefined);
      assert.equal(frames.map(brief), [`1 1700000000.${nanoseconds} 1 ${formatHex(frame)}/1514`]);
    }
});

test('what the writer writes is read back to the microsecond', () => {
  const file = [pcapHeader(101), pcapRecord(0, frame), pcapRecord(1_700_000_000_123.457, frame)];
  assert.equal(read(file).frames.map(brief), [
    `1 0.0 101 ${formatHex(frame)}/14`,
    `2 1700000000.123457000 101 ${formatHex(frame)}/14`,
  ]);
});

/** A pcapng block in the given byte order. */
function block(type: number, body: Uint8Array, littleEndian: boolean): Uint8Array {
  const padding = new Uint8Array(-body.length & 3);
  const length = numberOf(12 + body.length + padding.length, 4, littleEndian);
  return concatBytes([numberOf(type, 4, littleEndian), length, body, padding, length]);
}

function pcapngSection(littleEndian: boolean): Uint8Array {
  const u16 = (value: number) => numberOf(value, 2, littleEndian);
  const u32 = (value: number) => numberOf(value, 4, littleEndian);
  const make = (type: number, ...body: Uint8Array[]) => block(type, concatBytes(body), littleEndian);
  const ticks = (value: bigint) => concatBytes([u32(Number(value >> 32n)), u32(Number(value & 0xffffffffn))]);
  const captured = concatBytes([u32(frame.length), u32(99), frame, new Uint8Array(-frame.length & 3)]);
  return concatBytes([
    make(0x0a0d0d0a, u32(0x1a2b3c4d), u16(1), u16(0), hex('ffffffffffffffff')),
    // A comment before the resolution: its three bytes are padded to four.
    make(
      1,
      u16(1),
      u16(0),
      u32(10),
      u16(1),
      u16(3),
      hex('61626300'),
      u16(9),
      u16(1),
      hex('09000000'),
      u32(0),
    ),
    make(
      1,
      u16(101),
      u16(0),
      u32(0),
      u16(9),
      u16(1),
      hex('8a000000'),
      u16(14),
      u16(8),
      littleEndian ? hex('0a00000000000000') : hex('000000000000000a'),
    ),
    make(0x0bad, hex('00112233')),
    make(6, u32(0), ticks(1_700_000_000_123_456_789n), captured),
    make(6, u32(1), ticks(1024n * 5n + 512n), captured),
    make(2, u16(1), u16(7), ticks(0n), captured),
    make(3, u32(14), frame.subarray(0, 10)),
  ]);
}

test('pcapng is read: both byte orders, sections, interfaces with their own resolution and offset, all packet blocks', () => {
  const expected = (first: number) => [
    `${first} 1700000000.123456789 1 ${formatHex(frame)}/99`,
    // 2^-10 s a tick, 10 s later.
    `${first + 1} 15.500000000 101 ${formatHex(frame)}/99`,
    `${first + 2} 10.0 101 ${formatHex(frame)}/99`,
    `${first + 3} - 1 ${formatHex(frame.subarray(0, 10))}/14`,
  ];
  const { frames, error } = read([pcapngSection(false), pcapngSection(true)]);
  assert.is(error, undefined);
  assert.equal(frames.map(brief), [...expected(1), ...expected(5)]);
});

test('how a file is cut into chunks changes nothing', () => {
  const seed = 7;
  const random = new Random(seed, 'chunks');
  for (const file of [pcapngSection(true), new Uint8Array(readFileSync(capturePath('pppoe.pcap')))]) {
    const expected = read([file]).frames.map(brief);
    for (let round = 0; round < 20; round++) {
      const chunks: Uint8Array[] = [];
      const longest = round === 0 ? 1 : 1 + random.below(100);
      for (let at = 0; at < file.length; ) {
        const end = Math.min(file.length, at + 1 + random.below(longest));
        chunks.push(file.subarray(at, end));
        at = end;
      }
      assert.equal(read(chunks).frames.map(brief), expected, `seed ${seed}, round ${round}`);
    }
  }
});

test('a capture cut off anywhere gives its whole frames and then says where and what is missing', () => {
  for (const file of [
    concatBytes([pcapHeader(1), pcapRecord(0, frame), pcapRecord(1, frame)]),
    pcapngSection(false),
  ]) {
    const whole = read([file]).frames.map(brief);
    const cleanEnds: number[] = [];
    for (let length = 1; length < file.length; length++) {
      const { frames, error } = read([file.subarray(0, length)]);
      assert.equal(frames.map(brief), whole.slice(0, frames.length));
      if (error === undefined) cleanEnds.push(length);
      else if (length >= 4)
        assert.match(
          error,
          new RegExp(
            `^x: frame ${frames.length + 1} at offset \\d+: truncated: expected \\d+ bytes, got \\d+$`,
          ),
        );
    }
    // Between records and between blocks a capture may end.
    assert.is(cleanEnds.length, file[0] === 0x0a ? 7 : 2);
  }
});

test('what is no capture is refused with what was expected', () => {
  const expectations: [Uint8Array, RegExp][] = [
    [new Uint8Array(0), /^x: empty file: expected a pcap or pcapng capture$/],
    [hex('1f8b0800'), /not a capture: expected .* got 1f8b0800 \(gzip: decompress it first\)$/],
    [hex('68656c6c6f'), /not a capture: expected .* got 68656c6c$/],
    [hex('ff'), /not a capture: expected .* got ff$/],
    [
      concatBytes([hex('a1b2c3d4 00020003'), new Uint8Array(16)]),
      /frame 1 at offset 0: pcap version: expected 2\.4, got 2\.3$/,
    ],
    [
      concatBytes([pcapHeader(1), hex('00000000 00000000 ffffff7f ffffff7f')]),
      /frame 1 at offset 24: frame length: expected at most 262144, got 2147483647$/,
    ],
    [hex('0a0d0d0a 0000001c 00000000'), /byte-order magic: expected 1a2b3c4d or 4d3c2b1a, got 00000000$/],
    [hex('0a0d0d0a 0000000d 1a2b3c4d'), /block length: expected a multiple of 4 in 12\.\.16777216, got 13/],
    [hex('0a0d0d0a 0000000c 0000000c'), /byte-order magic/],
  ];
  for (const [bytes, expected] of expectations) assert.match(read([bytes]).error ?? '', expected);
  const section = hex('0a0d0d0a 0000001c 1a2b3c4d 00010000 ffffffff ffffffff 0000001c');
  const after: [string, RegExp][] = [
    [
      '00000006 00000020 00000003 00000000 00000000 00000000 00000000 00000020',
      /interface: expected one of the 0 described, got number 3$/,
    ],
    ['00000003 00000010 00000000 00000010', /simple packet block: expected an interface description/],
    [
      '00000001 00000010 00010000 00000010',
      /block type 00000001: expected a body of at least 8 bytes, got 4$/,
    ],
    ['00000bad 0000000c 0000000d', /block length repeated at the end: expected 12, got 13$/],
    ['00000001 00000018 00010000 00000000 00090009 00000018', /interface option 9: expected 9 bytes, got 0$/],
    [
      '00000001 00000014 00010000 00000000 00000014 00000006 00000020 00000000 00000000 00000000 00000001 00000000 00000020',
      /frame length: expected at most 0, got 1$/,
    ],
  ];
  for (const [bytes, expected] of after) assert.match(read([section, hex(bytes)]).error ?? '', expected);
  assert.match(
    read([hex('0a0d0d0a 0000001c 1a2b3c4d 00020000 ffffffff ffffffff 0000001c')]).error ?? '',
    /pcapng version: expected 1, got 2$/,
  );
});

test('damaged captures never hang the reader or make it throw anything but its own errors', () => {
  const seed = 11;
  const random = new Random(seed, 'damage');
  for (const original of [pcapngSection(false), new Uint8Array(readFileSync(capturePath('dhcp.pcap')))])
    for (let round = 0; round < 300; round++) {
      const file = Uint8Array.from(original);
      for (let i = 0; i <= random.below(6); i++) file[random.below(file.length)] = random.below(256);
      const { error } = read([file]);
      if (error !== undefined) assert.match(error, /^x: /, `seed ${seed}, round ${round}`);
    }
});

/** What `kith decode` prints, and the error it ends with. */
async function decoded(path: string, options: { json?: boolean; verbose?: boolean } = {}) {
  const lines: string[] = [];
  try {
    await decode(
      path,
      { json: false, verbose: false, checksums: true, ...options },
      line => void lines.push(line),
    );
  } catch (error) {
    return { lines, error: (error as Error).message };
  }
  return { lines, error: undefined };
}

test('decode says in one line why a file cannot be read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kith-decode-'));
  try {
    const absent = join(folder, 'absent.pcap');
    assert.is((await decoded(absent)).error, `${absent}: no such file: expected a pcap or pcapng capture`);
    assert.is((await decoded(folder)).error, `${folder}: is a directory: expected a pcap or pcapng capture`);
    const empty = join(folder, 'empty.pcap');
    writeFileSync(empty, '');
    assert.is((await decoded(empty)).error, `${empty}: empty file: expected a pcap or pcapng capture`);
    const cut = join(folder, 'cut.pcap');
    writeFileSync(cut, readFileSync(capturePath('arp-who-has.pcap')).subarray(0, 140));
    const { lines, error } = await decoded(cut);
    assert.is(lines.length, 1);
    assert.is(error, `${cut}: frame 2 at offset 82: truncated: expected 76 bytes, got 58`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('decode reads every capture kept here, as text, with all fields, and as JSON with exact times', async () => {
  for (const path of capturePaths()) {
    const text = await decoded(path);
    const json = await decoded(path, { json: true });
    const verbose = await decoded(path, { verbose: true });
    assert.equal([text.error, json.error, verbose.error], [undefined, undefined, undefined], path);
    assert.is(text.lines.length, json.lines.length);
    for (const [i, line] of json.lines.entries()) assert.is(JSON.parse(line).number, i + 1);
    assert.is(verbose.lines.filter(line => line.startsWith('frame ')).length, json.lines.length);
  }
  const { lines } = await decoded(capturePath('arp-who-has.pcap'), { json: true });
  assert.match(lines[0], /^\{"number":1,"time":\d{10}\.\d{6},"length":42,"layers":\[\{"name":"ethernet",/);
});

test('reading a stream holds no more than a frame: a large capture passes in constant memory', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kith-large-'));
  try {
    const path = join(folder, 'large.pcap');
    const record = pcapRecord(0, new Uint8Array(1514));
    writeFileSync(path, concatBytes([pcapHeader(1), ...Array.from({ length: 20_000 }, () => record)]));
    const reader = new CaptureReader(path);
    let frames = 0;
    let held = 0;
    for await (const chunk of createReadStream(path)) {
      reader.push(chunk);
      for (let next = reader.next(); next; next = reader.next()) {
        frames++;
        held = Math.max(held, next.bytes.buffer.byteLength);
      }
    }
    reader.end();
    assert.is(frames, 20_000);
    // A frame is a view into the chunk it came in, or into that and what was left of the one before.
    assert.ok(held <= 2 * 65_536, `a frame holds ${held} bytes`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
