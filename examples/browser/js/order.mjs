// The order of the examples in each epoch: that of numpy.random.default_rng(seed).permutation(n), so that a page and a
// device with the same seed train on the same batches. numpy's generator is PCG64 (O'Neill 2014), seeded by a hash.
import { Refused } from "./errors.mjs";

const MASK_64 = (1n << 64n) - 1n;
const MASK_128 = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

export class Order {
  constructor(seed) {
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) throw new Refused(`The seed must be from 0 to ${2 ** 32 - 1}`);
    const words = seedWords(seed);
    const pair = (k) => BigInt(words[k]) | (BigInt(words[k + 1]) << 32n);
    const [stateHigh, stateLow, increaseHigh, increaseLow] = [0, 2, 4, 6].map(pair);
    this.increase = ((((increaseHigh << 64n) | increaseLow) << 1n) | 1n) & MASK_128;
    this.state = 0n;
    this.advance();
    this.state = (this.state + ((stateHigh << 64n) | stateLow)) & MASK_128;
    this.advance();
    this.spare = null; // the upper half of the last number, where only the lower was used
  }

  // The numbers 0 to n - 1 in a new order.
  permutation(n) {
    const order = Array.from({ length: n }, (_, k) => k);
    for (let k = n - 1; k > 0; k--) {
      const other = this.below(k + 1);
      [order[k], order[other]] = [order[other], order[k]];
    }
    return order;
  }

  // A whole number from 0 to n - 1, each equally likely: so many bits as n - 1 has, until they are below n.
  below(n) {
    const mask = 2 ** (32 - Math.clz32(n - 1)) - 1;
    for (;;) {
      const drawn = (this.next32() & mask) >>> 0;
      if (drawn < n) return drawn;
    }
  }

  next32() {
    if (this.spare !== null) {
      const upper = this.spare;
      this.spare = null;
      return upper;
    }
    this.advance();
    const mixed = ((this.state >> 64n) ^ this.state) & MASK_64;
    const turn = this.state >> 122n;
    const number = ((mixed >> turn) | (mixed << (64n - turn))) & MASK_64;
    this.spare = Number(number >> 32n);
    return Number(number & 0xffffffffn);
  }

  advance() {
    this.state = (this.state * MULTIPLIER + this.increase) & MASK_128;
  }
}

// Eight words of 32 bits from a seed below 2^32: numpy's SeedSequence.
function seedWords(seed) {
  let constant = 0x43b0d7e5;
  const hashed = (value) => {
    value ^= constant;
    constant = Math.imul(constant, 0x931e8875);
    value = Math.imul(value, constant);
    return value ^ (value >>> 16);
  };
  const pool = [hashed(seed), hashed(0), hashed(0), hashed(0)];
  for (let from = 0; from < 4; from++)
    for (let to = 0; to < 4; to++) {
      if (from === to) continue;
      const mixed = Math.imul(0xca01f9dd, pool[to]) - Math.imul(0x4973f715, hashed(pool[from]));
      pool[to] = mixed ^ (mixed >>> 16);
    }
  constant = 0x8b51f9dd;
  return Array.from({ length: 8 }, (_, k) => {
    let value = pool[k % 4] ^ constant;
    constant = Math.imul(constant, 0x58f38ded);
    value = Math.imul(value, constant);
    return (value ^ (value >>> 16)) >>> 0;
  });
}
