// What an execution reached, as a set of small numbers: outcomes, states, counters by their size, and which of them
// followed which. An input that reaches a number that none reached before is kept.

export const FEATURE_COUNT = 1 << 16

export class Features {
  readonly hit: number[] = []
  readonly #seen = new Uint8Array(FEATURE_COUNT)
  #previous = 0

  /** `kind` is what was seen, `detail` a small number beside it. */
  add(kind: number, detail = 0): void {
    this.#note(mix(Math.imul(kind, 0x9e37) + detail))
  }

  /** Like add, and also which one it came after. */
  addNext(kind: number, detail = 0): void {
    const feature = mix(Math.imul(kind, 0x9e37) + detail)
    this.#note(feature)
    this.#note(mix(Math.imul(this.#previous, 31) + feature + 1))
    this.#previous = feature
  }

  /** A number that may be anything counts by its order of magnitude. */
  addSize(kind: number, size: number): void {
    this.#note(mix(Math.imul(kind, 0x9e37) + 64 - Math.clz32(size)))
  }

  clear(): void {
    for (const feature of this.hit) this.#seen[feature] = 0
    this.hit.length = 0
    this.#previous = 0
  }

  #note(feature: number): void {
    if (this.#seen[feature] === 1) return
    this.#seen[feature] = 1
    this.hit.push(feature)
  }
}

function mix(value: number): number {
  const mixed = Math.imul(value ^ (value >>> 13), 0x5bd1e995)
  return (mixed ^ (mixed >>> 15)) & (FEATURE_COUNT - 1)
}

/** A number for a text, for messages as features. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash >>> 0
}
