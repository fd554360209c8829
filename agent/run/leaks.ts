/**
 * Finds secrets in files, whatever their size and encoding, byte by byte: what is about to leave the machine as a file
 * cannot be masked, only held back. A hit costs the user a file, so pieces that ordinary files hold do not count: short
 * values, and lines of a longer secret that could stand elsewhere.
 */
import type { Secrets } from '../../protocol/task.ts'
import { encodingsOf } from './encodings.ts'
import { SecretFinder } from './secret-finder.ts'

/** A shorter value is a word that files may hold. */
export const MIN_LEAK_LENGTH = 8
/** A line of a secret that counts by itself: of a key, say; not `-----BEGIN`, not a line of a JSON document. */
const TELLING_LINE = /^[^\s-]\S{23,}$/

export interface Leak {
  /** Name of the secret. */
  secret: string
  line: number
}

export class Leaks {
  readonly #finder: SecretFinder
  readonly #byName: ReadonlyArray<readonly [name: string, finder: SecretFinder]>

  constructor(secrets: Secrets) {
    this.#finder = finderOf(Object.values(secrets))
    this.#byName = Object.entries(secrets).map(([name, value]) => [name, finderOf([value])])
  }

  get isEmpty(): boolean {
    return this.#finder.isEmpty
  }

  /** Takes one file in pieces. */
  scan(): LeakScan {
    return new LeakScan(this.#finder, (text) => this.#nameOf(text))
  }

  /** In a name, say. */
  in(text: string): Leak | undefined {
    const scan = this.scan()
    scan.push(Buffer.from(text, 'utf8'))
    return scan.end()[0]
  }

  #nameOf(text: string): string {
    return this.#byName.find(([, finder]) => finder.find(text).length > 0)?.[0] ?? 'of this task'
  }
}

export class LeakScan {
  readonly #finder: SecretFinder
  readonly #nameOf: (text: string) => string
  /** One character a byte; the end of it could begin a secret. */
  #held = ''
  #line = 1
  /** The first of each secret. */
  readonly #found = new Map<string, Leak>()

  constructor(finder: SecretFinder, nameOf: (text: string) => string) {
    this.#finder = finder
    this.#nameOf = nameOf
  }

  push(piece: Buffer): void {
    const text = this.#held + piece.toString('latin1')
    this.#take(text, this.#finder.openFrom(text))
  }

  /** Each secret that is in there, where it stands first. */
  end(): Leak[] {
    this.#take(this.#held, this.#held.length)
    return [...this.#found.values()]
  }

  #take(text: string, end: number): void {
    let at = 0
    let line = this.#line
    for (const { from, to } of this.#finder.find(text)) {
      line += newlines(text, at, from)
      at = from
      const secret = this.#nameOf(text.slice(from, to))
      if (!this.#found.has(secret)) this.#found.set(secret, { secret, line })
    }
    this.#line += newlines(text, 0, end)
    this.#held = text.slice(end)
  }
}

function newlines(text: string, from: number, to: number): number {
  let count = 0
  for (let at = text.indexOf('\n', from); at >= 0 && at < to; at = text.indexOf('\n', at + 1)) count++
  return count
}

const finderOf = (values: readonly string[]): SecretFinder =>
  new SecretFinder(
    values
      .map((value) => value.trim())
      .flatMap((value) => [
        value,
        ...encodingsOf(value),
        ...value.split('\n').filter((line) => TELLING_LINE.test(line.trim())),
      ])
      .map((value) => Buffer.from(value.trim(), 'utf8').toString('latin1'))
      .filter((value) => value.length >= MIN_LEAK_LENGTH),
  )
