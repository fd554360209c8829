// What a schedule draws from a seed's random numbers.

import { between, randomFrom } from '../../helpers/random.ts'

export interface Random {
  /** 0 <= n < 1 */
  next(): number
  /** min <= n <= max */
  integer(min: number, max: number): number
  chance(probability: number): boolean
  pick<T>(items: readonly [T, ...T[]]): T
}

export function randomOf(seed: number): Random {
  const next = randomFrom(seed)
  const integer = (min: number, max: number) => between(next, min, max)
  return {
    next,
    integer,
    chance: (probability) => next() < probability,
    pick: (items) => items[integer(0, items.length - 1)] ?? items[0],
  }
}
