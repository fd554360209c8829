// What a fuzzer draws from a seed's random numbers.

import { wholeNumbersFrom } from '../../helpers/random.ts'

export class Random {
  /** A uint32. */
  readonly next: () => number

  constructor(seed: number) {
    this.next = wholeNumbersFrom(seed)
  }

  /** 0 <= n < `limit`. */
  below(limit: number): number {
    return limit <= 1 ? 0 : this.next() % limit
  }

  oneIn(n: number): boolean {
    return this.below(n) === 0
  }

  pick<T>(list: readonly [T, ...T[]]): T {
    return list[this.below(list.length)] ?? list[0]
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at += 1) bytes[at] = this.next() >>> 24
    return bytes
  }
}
