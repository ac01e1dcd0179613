import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHex, parseHex } from '../../agent/core/bytes.js';
import { Random } from '../../agent/core/random.js';
import {
  emitPppoe,
  emitPppoeTags,
  type PppoeTag,
  parsePppoe,
  parsePppoeTags,
  pppoeCode,
  pppoeCodeOffset,
  pppoeHeaderLength,
  pppoeLengthOffset,
  pppoeProtocolOffset,
  pppoeSessionHeaderLength,
  pppoeSessionIdOffset,
  pppoeTagLimit,
  pppoeTagsLength,
  pppoeVersionType,
  pppoeVersionTypeOffset,
} from '../../agent/wire/pppoe.js';

/** Bytes of annotated hex: blanks, and everything from `;` to the end of a line, do not count. */
function hex(text: string): Uint8Array {
  return parseHex(text.replace(/;.*$/gm, '').replace(/\s/g, ''))!;
}

interface Vector {
  readonly source: string;
  readonly bytes: Uint8Array;
  readonly code: number;
  readonly sessionId: number;
  readonly tags: readonly PppoeTag[];
}

const hostUniq: PppoeTag = { kind: 'host-uniq', data: hex('64138518') };
const acCookie: PppoeTag = { kind: 'ac-cookie', data: hex('3d0f0587062484f2df32b9ddfd77bd5b') };

const vectors: readonly Vector[] = [
  {
    source: 'pppoe.pcap frame 1 (zeek), PADI',
    bytes: hex(`
      11 09 0000 000c            ; version 1 type 1, PADI, no session, 12 bytes
      0101 0000                  ; Service-Name, any
      0103 0004 64138518         ; Host-Uniq`),
    code: pppoeCode.padi,
    sessionId: 0,
    tags: [{ kind: 'service-name', text: '' }, hostUniq],
  },
  {
    source: 'pppoe.pcap frame 2 (zeek), PADO',
    bytes: hex(`
      11 07 0000 0028
      0101 0000
      0103 0004 64138518
      0102 0004 42524153         ; AC-Name BRAS
      0104 0010 3d0f0587062484f2df32b9ddfd77bd5b ; AC-Cookie`),
    code: pppoeCode.pado,
    sessionId: 0,
    tags: [{ kind: 'service-name', text: '' }, hostUniq, { kind: 'ac-name', text: 'BRAS' }, acCookie],
  },
  {
    source: 'pppoe.pcap frame 4 (zeek), PADS',
    bytes: hex(`
      11 65 0011 0028            ; session 17
      0101 0000 0103 0004 64138518 0102 0004 42524153 0104 0010 3d0f0587062484f2df32b9ddfd77bd5b`),
    code: pppoeCode.pads,
    sessionId: 0x11,
    tags: [{ kind: 'service-name', text: '' }, hostUniq, { kind: 'ac-name', text: 'BRAS' }, acCookie],
  },
  {
    source:
      'composed from RFC 4638, RFC 4679 §3.3 and RFC 5578; read back by tshark 4.0.17: PADR through an access node',
    bytes: hex(`
      11 19 0000 006e
      0120 0002 05dc             ; PPP-Max-Payload 1500
      0101 0008 696e7465726e6574 ; Service-Name internet
      0110 0004 01020304         ; Relay-Session-Id
      0105 003f 00000de9         ; Vendor-Specific, DSL Forum
        01 0f 64736c616d312061746d20312f3120 ; Agent-Circuit-Id
        02 05 c3a9636f6c         ; Agent-Remote-Id, two bytes of UTF-8 first
        81 04 00000400           ; Actual-Data-Rate-Upstream 1024
        82 04 ffffffff           ; Actual-Data-Rate-Downstream
        89 04 00000080           ; Minimum-Data-Rate-Upstream-Low-Power
        8e 04 00000008           ; Actual-Interleaving-Delay-Downstream
        02 02 ff41               ; Agent-Remote-Id that is not UTF-8
        90 03 010200             ; Access-Loop-Encapsulation
        fe 00                    ; IWF-Session
      0105 0005 00000009 07      ; Vendor-Specific, Cisco
      0106 0004 00050006         ; Credits (RFC 5578)`),
    code: pppoeCode.padr,
    sessionId: 0,
    tags: [
      { kind: 'ppp-max-payload', value: 1500 },
      { kind: 'service-name', text: 'internet' },
      { kind: 'relay-session-id', data: hex('01020304') },
      {
        kind: 'dsl-forum',
        subOptions: [
          { kind: 'agent-circuit-id', text: 'dslam1 atm 1/1 ' },
          { kind: 'agent-remote-id', text: 'écol' },
          { kind: 'actual-data-rate-upstream', value: 1024 },
          { kind: 'actual-data-rate-downstream', value: 0xffffffff },
          { kind: 'minimum-data-rate-upstream-low-power', value: 128 },
          { kind: 'actual-interleaving-delay-downstream', value: 8 },
          { kind: 'raw', type: 2, data: hex('ff41') },
          { kind: 'raw', type: 0x90, data: hex('010200') },
          { kind: 'raw', type: 0xfe, data: hex('') },
        ],
      },
      { kind: 'vendor-specific', vendorId: 9, data: hex('07') },
      { kind: 'raw', type: 0x0106, data: hex('00050006') },
    ],
  },
  {
    source: 'composed from RFC 2516 appendix A; read back by tshark 4.0.17: PADT with every error tag',
    bytes: hex(`
      11 a7 ffff 0018
      0201 0002 6e6f             ; Service-Name-Error no
      0202 0000                  ; AC-System-Error
      0203 0001 21               ; Generic-Error !
      0101 0001 e9               ; Service-Name in Latin-1, not UTF-8
      0000 0000                  ; End-Of-List`),
    code: pppoeCode.padt,
    sessionId: 0xffff,
    tags: [
      { kind: 'service-name-error', text: 'no' },
      { kind: 'ac-system-error', text: '' },
      { kind: 'generic-error', text: '!' },
      { kind: 'raw', type: 0x0101, data: hex('e9') },
      { kind: 'end-of-list' },
    ],
  },
];

/** The tags, or the reason there are none, of a whole discovery packet that begins at `start`. */
function parse(bytes: Uint8Array, start = 0) {
  const header = parsePppoe(bytes, start, bytes.length);
  if (!header.ok) return header;
  const tags = parsePppoeTags(header.value.payload, 0, header.value.payload.length);
  return tags.ok ? { ok: true as const, header: header.value, tags: tags.value } : tags;
}

/** The packet, after checking that emit wrote its bytes, all of them and no others. */
function emit(header: { code: number; sessionId: number }, tags: readonly PppoeTag[]): Uint8Array {
  const length = pppoeTagsLength(tags);
  const end = 3 + pppoeHeaderLength + length;
  const out = new Uint8Array(end + 3).fill(0xa5);
  assert.is(emitPppoeTags(tags, out, emitPppoe(header, length, out, 3)), end);
  assert.is(formatHex(out.subarray(0, 3)) + formatHex(out.subarray(end)), 'a5a5a5a5a5a5');
  return out.subarray(3, end);
}

test('discovery packets parse to the values in them, padding left out, and emit to the same bytes', () => {
  for (const { source, bytes, code, sessionId, tags } of vectors) {
    const padded = new Uint8Array(bytes.length + 22).fill(0xa5);
    padded.set(bytes, 2);
    const packet = parse(padded, 2);
    assert.ok(packet.ok, source);
    assert.equal(
      packet.header,
      { code, sessionId, payload: bytes.subarray(pppoeHeaderLength) },
      `${source}: header`,
    );
    assert.equal(packet.tags, tags, source);
    assert.is(formatHex(emit({ code, sessionId }, tags)), formatHex(bytes), source);
  }
});

test('a packet cut at any length is truncated, and a list cut inside a tag has a bad length', () => {
  for (const { source, bytes } of vectors) {
    const ends = new Set<number>();
    for (let at = pppoeHeaderLength; at <= bytes.length; at += 4 + bytes[at + 2] * 256 + bytes[at + 3])
      ends.add(at);
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.equal(parsePppoe(bytes, 0, cut), { ok: false, reason: 'truncated' }, `${source}, ${cut} bytes`);
      if (cut < pppoeHeaderLength) continue;
      const tags = parsePppoeTags(bytes, pppoeHeaderLength, cut);
      assert.is(tags.ok ? 'ok' : tags.reason, ends.has(cut) ? 'ok' : 'bad-length', `${source}, ${cut} bytes`);
    }
  }
});

test('what contradicts the standard is refused with the reason', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['bad-version', '12 09 0000 0000'],
    ['bad-version', '21 09 0000 0000'],
    ['bad-length', '11 09 0000 0003 010100'],
    ['bad-length', '11 09 0000 0005 0101 0002 41'],
    ['bad-option', '11 09 0000 0005 0000 0001 00'],
    ['bad-option', '11 09 0000 0005 0120 0001 05'],
    ['bad-option', '11 09 0000 0007 0120 0003 0005dc'],
  ];
  for (const [reason, bytes] of cases) {
    const packet = parse(hex(bytes));
    assert.is(packet.ok ? 'ok' : packet.reason, reason, bytes);
  }
});

test('tags and sub-options are counted: the limit parses, one more is too many', () => {
  const tags: PppoeTag[] = [];
  for (let i = 0; i < pppoeTagLimit; i++) tags.push({ kind: 'service-name', text: '' });
  const header = { code: pppoeCode.pado, sessionId: 0 };
  assert.ok(parse(emit(header, tags)).ok);
  assert.equal(parse(emit(header, [...tags, { kind: 'end-of-list' }])), { ok: false, reason: 'too-many' });
  const subOptions = tags.map(() => ({ kind: 'agent-remote-id' as const, text: '' }));
  assert.ok(parse(emit(header, [{ kind: 'dsl-forum', subOptions }])).ok);
  subOptions.push(subOptions[0]);
  const packet = parse(emit(header, [{ kind: 'dsl-forum', subOptions }]));
  assert.ok(packet.ok && packet.tags[0].kind === 'dsl-forum');
  assert.is(packet.tags[0].subOptions.length, pppoeTagLimit);
  assert.equal(packet.tags[0].rest, hex('0200'));
});

test('what is wrong inside the access node tag refuses neither the packet nor the sub-options before it, and is kept', () => {
  const circuit = { kind: 'agent-circuit-id' as const, text: 'A' };
  const cases: readonly (readonly [string, PppoeTag])[] = [
    ['0105 0003 000009', { kind: 'raw', type: 0x0105, data: hex('000009') }],
    ['0105 0005 00000de9 01', { kind: 'dsl-forum', subOptions: [], rest: hex('01') }],
    ['0105 0007 00000de9 010241', { kind: 'dsl-forum', subOptions: [], rest: hex('010241') }],
    ['0105 000a 00000de9 010141 02ff42', { kind: 'dsl-forum', subOptions: [circuit], rest: hex('02ff42') }],
    [
      '0105 000c 00000de9 8103000000 010141',
      { kind: 'dsl-forum', subOptions: [{ kind: 'raw', type: 0x81, data: hex('000000') }, circuit] },
    ],
  ];
  for (const [text, tag] of cases) {
    const bytes = hex(text);
    const tags = parsePppoeTags(bytes, 0, bytes.length);
    assert.equal(tags, { ok: true, value: [tag] }, text);
    assert.equal(
      emit({ code: pppoeCode.padi, sessionId: 0 }, [tag]).subarray(pppoeHeaderLength),
      bytes,
      text,
    );
  }
});

test('End-Of-List ends the list: what follows is neither looked at nor kept', () => {
  const packet = parse(hex('11 09 0000 000b 0101 0000 0000 0000 0101ff'));
  assert.ok(packet.ok);
  assert.equal(packet.tags, [{ kind: 'service-name', text: '' }, { kind: 'end-of-list' }]);
});

test('the line sub-options 0x81 to 0x8e have the names FreeRADIUS gives them (dictionary.rfc4679)', () => {
  const kinds: string[] = [];
  for (let type = 0x81; type <= 0x8e; type++) {
    const tags = parsePppoeTags(new Uint8Array([1, 5, 0, 10, 0, 0, 0x0d, 0xe9, type, 4, 0, 0, 0, 1]), 0, 14);
    assert.ok(tags.ok && tags.value[0].kind === 'dsl-forum');
    kinds.push(tags.value[0].subOptions[0].kind);
  }
  assert.equal(kinds, [
    'actual-data-rate-upstream', // 129
    'actual-data-rate-downstream',
    'minimum-data-rate-upstream',
    'minimum-data-rate-downstream',
    'attainable-data-rate-upstream', // 133
    'attainable-data-rate-downstream',
    'maximum-data-rate-upstream',
    'maximum-data-rate-downstream',
    'minimum-data-rate-upstream-low-power', // 137
    'minimum-data-rate-downstream-low-power',
    'maximum-interleaving-delay-upstream',
    'actual-interleaving-delay-upstream',
    'maximum-interleaving-delay-downstream', // 141
    'actual-interleaving-delay-downstream',
  ]);
});

test('a sub-option too long for its length byte is a programmer error, not a wrong packet', () => {
  const tag: PppoeTag = {
    kind: 'dsl-forum',
    subOptions: [{ kind: 'agent-circuit-id', text: 'x'.repeat(256) }],
  };
  assert.throws(() => pppoeTagsLength([tag]), /sub-option bytes: expected at most 255, got 256/);
});

test('the in-place offsets find the fields of a session packet (pppoe-over-qinq.pcap frame 3, zeek)', () => {
  // Code 0, session 3847, 42 bytes: IPv4 of 40 bytes after the PPP protocol number.
  const bytes = hex(`11 00 0f07 002a 0021
    45000028000040003f0635cb01010101020202024faa01bbd7a84156fc90a2ff501010008fda0000`);
  assert.is(bytes[pppoeVersionTypeOffset], pppoeVersionType);
  assert.is(bytes[pppoeCodeOffset], pppoeCode.session);
  const view = new DataView(bytes.buffer);
  assert.is(view.getUint16(pppoeSessionIdOffset), 0x0f07);
  assert.is(view.getUint16(pppoeLengthOffset), bytes.length - pppoeHeaderLength);
  assert.is(view.getUint16(pppoeProtocolOffset), 0x0021);
  assert.is(bytes[pppoeSessionHeaderLength], 0x45);
  assert.equal(parsePppoe(bytes, 0, bytes.length), {
    ok: true,
    value: { code: pppoeCode.session, sessionId: 0x0f07, payload: bytes.subarray(pppoeHeaderLength) },
  });
});

test('no mutation of a discovery packet throws, and whatever parses emits to the bytes it came from', () => {
  const seed = 20_240;
  const random = new Random(seed, 'pppoe mutations');
  let parsed = 0;
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = Uint8Array.from(vectors[random.below(vectors.length)].bytes);
    for (let i = random.below(4); i >= 0; i--)
      bytes[random.below(bytes.length)] = random.chance(0.5) ? random.below(256) : random.below(6);
    const end = random.chance(0.2) ? random.below(bytes.length + 1) : bytes.length;
    const packet = parse(bytes.subarray(0, end));
    if (!packet.ok) {
      refused++;
      continue;
    }
    parsed++;
    const again = emit(packet.header, packet.tags);
    const label = `seed ${seed} round ${round}: ${formatHex(bytes)}`;
    // The length field apart, which shrinks if something stood behind End-Of-List.
    assert.is(formatHex(again.subarray(0, 4)), formatHex(bytes.subarray(0, 4)), label);
    assert.is(formatHex(again.subarray(6)), formatHex(bytes.subarray(6, again.length)), label);
    const last = packet.tags[packet.tags.length - 1];
    if (last?.kind !== 'end-of-list')
      assert.is(again.length, pppoeHeaderLength + packet.header.payload.length, label);
  }
  assert.ok(parsed > 1000 && refused > 1000, `seed ${seed}: ${parsed} parsed, ${refused} refused`);
});

test.run();
