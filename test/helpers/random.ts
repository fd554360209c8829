/** mulberry32: the same whole numbers, 0 to 2^32 - 1, for the same seed, on every machine. */
export function wholeNumbersFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
}

/** The same as numbers from 0 to 1, the 1 excluded. */
export function randomFrom(seed: number): () => number {
  const next = wholeNumbersFrom(seed)
  return () => next() / 2 ** 32
}

/** A whole number, `from` to `to`, both included. */
export const between = (random: () => number, from: number, to: number): number =>
  from + Math.floor(random() * (to - from + 1))

export function bytesFrom(random: () => number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let at = 0; at < length; at++) bytes[at] = random() * 256
  return bytes
}
