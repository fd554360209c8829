/**
 * Finds known values in text, however many and however long they are.
 *
 * A regular expression of them all has a limit on its size and tries every value at every place. Here one pass looks at
 * two characters of each place, in a table of those that begin a value; only what passes is compared. A secret of
 * thousands of lines costs the pass no more than a password does.
 */

/** Shorter values would mask ordinary words. */
export const MIN_SECRET_LENGTH = 6

/** From the first character to the one behind the last. */
export interface Range {
  from: number
  to: number
}

/** Slots of the table of beginnings: a byte each, and few enough of them taken by some thousand values. */
const TABLE_SIZE = 1 << 16

export class SecretFinder {
  /** By their first characters, the longest first. */
  readonly #byBeginning = new Map<string, string[]>()
  readonly #table = new Uint8Array(TABLE_SIZE)
  readonly #values: readonly string[]
  readonly #longest: number

  /** Values shorter than MIN_SECRET_LENGTH are not looked for. */
  constructor(values: Iterable<string>) {
    const long = [...new Set(values)].filter((value) => value.length >= MIN_SECRET_LENGTH)
    this.#values = long.sort((a, b) => b.length - a.length)
    this.#longest = this.#values[0]?.length ?? 0
    for (const value of this.#values) {
      const beginning = value.slice(0, MIN_SECRET_LENGTH)
      const others = this.#byBeginning.get(beginning)
      if (others === undefined) this.#byBeginning.set(beginning, [value])
      else others.push(value)
      this.#table[slot(value, 0)] = 1
    }
  }

  get isEmpty(): boolean {
    return this.#values.length === 0
  }

  /** Where values stand, in order; values that touch or overlap are one range. */
  find(text: string): Range[] {
    const ranges: Range[] = []
    // A value that overlaps itself is found once: `xxxx...` would otherwise be compared at each of its characters.
    const nextOf = new Map<string, number>()
    for (let at = 0; at + MIN_SECRET_LENGTH <= text.length; at++) {
      if (this.#table[slot(text, at)] === 0) continue
      const candidates = this.#byBeginning.get(text.slice(at, at + MIN_SECRET_LENGTH)) ?? []
      const value = candidates.find((one) => (nextOf.get(one) ?? 0) <= at && standsAt(one, text, at))
      if (value === undefined) continue
      nextOf.set(value, at + value.length)
      const last = ranges.at(-1)
      if (last !== undefined && at <= last.to) last.to = Math.max(last.to, at + value.length)
      else ranges.push({ from: at, to: at + value.length })
    }
    return ranges
  }

  /** Where the longest end of `text` begins that more text could make a value; `text.length` when there is none. */
  openFrom(text: string): number {
    for (let at = Math.max(0, text.length - this.#longest + 1); at < text.length; at++) {
      if (this.#canBecomeValue(text, at)) return at
    }
    return text.length
  }

  #canBecomeValue(text: string, at: number): boolean {
    const length = text.length - at
    if (length > 1 && this.#table[slot(text, at)] === 0) return false
    const candidates =
      length < MIN_SECRET_LENGTH ? this.#values : this.#byBeginning.get(text.slice(at, at + MIN_SECRET_LENGTH))
    const last = text.charCodeAt(text.length - 1)
    return (
      candidates?.some(
        (value) => value.length > length && value.charCodeAt(length - 1) === last && value.startsWith(text.slice(at)),
      ) ?? false
    )
  }
}

const slot = (text: string, at: number): number =>
  (text.charCodeAt(at) * 257 + text.charCodeAt(at + 1)) & (TABLE_SIZE - 1)

/** The last character first: it tells most near misses of a long value apart at once. */
const standsAt = (value: string, text: string, at: number): boolean =>
  text.charCodeAt(at + value.length - 1) === value.charCodeAt(value.length - 1) && text.startsWith(value, at)
