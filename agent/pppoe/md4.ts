/**
 * MD4 (RFC 1320), which MS-CHAPv2 makes a password's hash with (RFC 2759 §8.3) and which platforms no longer supply.
 * Broken as a hash; for nothing else. The message is copied once; a password is short.
 */

const blockBytes = 64;

/** Shifts of the three rounds, and the order they take the words in (RFC 1320 §3.4). */
const rounds = [
  { add: 0, shifts: [3, 7, 11, 19], words: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] },
  { add: 0x5a827999, shifts: [3, 5, 9, 13], words: [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15] },
  { add: 0x6ed9eba1, shifts: [3, 9, 11, 15], words: [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15] },
];

/** 16 bytes. `data` below 2^29 bytes. */
export function md4(data: Uint8Array): Uint8Array {
  // 1 bit, zeros, and the length in bits in eight bytes, least significant first (RFC 1320 §3.1, §3.2).
  const padded = new Uint8Array(Math.ceil((data.length + 9) / blockBytes) * blockBytes);
  padded.set(data);
  padded[data.length] = 0x80;
  writeUint32LittleEndian(padded, padded.length - 8, data.length << 3);
  writeUint32LittleEndian(padded, padded.length - 4, data.length >>> 29);

  let a = 0x67452301;
  let b = 0xefcdab89 | 0;
  let c = 0x98badcfe | 0;
  let d = 0x10325476;
  for (let at = 0; at < padded.length; at += blockBytes) {
    const [a0, b0, c0, d0] = [a, b, c, d];
    for (let round = 0; round < 3; round++) {
      const { add, shifts, words } = rounds[round];
      for (let step = 0; step < 16; step++) {
        const sum =
          (a + mix(round, b, c, d) + readUint32LittleEndian(padded, at + 4 * words[step]) + add) | 0;
        const shift = shifts[step % 4];
        a = d;
        d = c;
        c = b;
        b = (sum << shift) | (sum >>> (32 - shift));
      }
    }
    a = (a + a0) | 0;
    b = (b + b0) | 0;
    c = (c + c0) | 0;
    d = (d + d0) | 0;
  }

  const hash = new Uint8Array(16);
  writeUint32LittleEndian(hash, 0, a);
  writeUint32LittleEndian(hash, 4, b);
  writeUint32LittleEndian(hash, 8, c);
  writeUint32LittleEndian(hash, 12, d);
  return hash;
}

/** F, G and H of RFC 1320 §3.4. */
function mix(round: number, x: number, y: number, z: number): number {
  if (round === 0) return (x & y) | (~x & z);
  if (round === 1) return (x & y) | (x & z) | (y & z);
  return x ^ y ^ z;
}

function readUint32LittleEndian(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

function writeUint32LittleEndian(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}
