/**
 * Seeded random numbers: sfc32 (Chris Doty-Humphrey's Small Fast Counting generator, 32-bit, PractRand), which
 * needs only additions, shifts and xor and so gives the same numbers on Node, XS and Espruino (no Math.imul there).
 *
 * One stream a user: a stream is made from a seed and a name, so adding a user of randomness changes nobody else's.
 * Not for keys or nonces: those come from the platform.
 */

export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter: number;

  /** A stream of its own for `name`. Any number is a seed; its lower 53 bits count. */
  constructor(seed: number, name: string) {
    const high = Math.floor(seed / 4294967296);
    this.a = seed | 0;
    this.b = high | 0;
    this.c = hashText(name);
    this.counter = 1;
    for (let i = 0; i < 15; i++) this.uint32();
  }

  /** An integer in 0 … 2^32 − 1. */
  uint32(): number {
    const t = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (this.c << 21) | (this.c >>> 11) | 0;
    this.c = (this.c + t) | 0;
    return t >>> 0;
  }

  /** A number in [0, 1) with 32 random bits. */
  unit(): number {
    return this.uint32() / 4294967296;
  }

  /** An integer in 0 … below − 1. `below` is 1 … 2^32. */
  below(below: number): number {
    if (!(below >= 1 && below <= 4294967296)) throw new Error(`below: expected 1..2^32, got ${below}`);
    return Math.floor(this.unit() * below);
  }

  /** True with the given probability (0 … 1). */
  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  /** A number from the exponential distribution with the given mean, in the mean's unit. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.unit());
  }

  /** A number from the normal distribution (Box–Muller, one of the pair), in the mean's unit. */
  normal(mean: number, standardDeviation: number): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.unit()));
    return mean + standardDeviation * radius * Math.cos(2 * Math.PI * this.unit());
  }
}

/** FNV-1a over the text's UTF-16 units, 32 bits, signed; spreads names over seeds. */
function hashText(text: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < text.length; i++) hash = timesFnvPrime(hash ^ text.charCodeAt(i));
  return hash;
}

/** hash × 16777619 mod 2^32, by shifts: 16777619 = 2^24 + 2^8 + 2^7 + 2^4 + 2^1 + 1. */
export function timesFnvPrime(hash: number): number {
  return (hash + (hash << 1) + (hash << 4) + (hash << 7) + (hash << 8) + (hash << 24)) | 0;
}
