/**
 * Masks text that comes in pieces, as if it came at once: an end that could be the beginning of a secret waits for what
 * follows. At most one character less than the longest secret is held.
 */
import { maskRanges } from './masking.ts'
import type { Range, SecretFinder } from './secret-finder.ts'

export class MaskedText {
  readonly #finder: SecretFinder
  /** Not said yet. */
  #held = ''
  /** So much of the beginning of `#held` belongs to a secret that began before it. */
  #covered = 0
  /** The last that was said was a mask: what goes on with a secret needs no second one. */
  #endsMasked = false

  constructor(finder: SecretFinder) {
    this.#finder = finder
  }

  /** @returns what may be said now, masked */
  push(piece: string): string {
    const text = this.#held + piece
    return this.#release(text, this.#finder.openFrom(text))
  }

  /** Nothing follows. @returns what was held, masked */
  flush(): string {
    return this.#release(this.#held, this.#held.length)
  }

  #release(text: string, end: number): string {
    const ranges = this.#rangesOf(text)
    const across = ranges.find(({ from, to }) => from <= end && end < to)
    const said = ranges.filter(({ from }) => from < end).map(({ from, to }) => ({ from, to: Math.min(to, end) }))
    const masked = maskRanges(text.slice(0, end), said, this.#endsMasked)
    this.#held = text.slice(end)
    this.#covered = across === undefined ? 0 : across.to - end
    if (end > 0) this.#endsMasked = said.at(-1)?.to === end
    return masked
  }

  /** With what is known of the beginning, from when the text before it was still here. */
  #rangesOf(text: string): Range[] {
    const found = this.#finder.find(text)
    if (this.#covered === 0) return found
    const touching = found.filter(({ from }) => from <= this.#covered)
    const to = Math.max(this.#covered, ...touching.map((range) => range.to))
    return [{ from: 0, to }, ...found.slice(touching.length)]
  }
}
