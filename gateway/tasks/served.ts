/** When whose task was launched last, as a number that grows. Users that are not in it were never served. */
export class Served {
  readonly #at = new Map<string, number>()
  #count = 0

  note(owner: string): void {
    this.#at.set(owner, ++this.#count)
  }

  at(owner: string): number {
    return this.#at.get(owner) ?? 0
  }
}
