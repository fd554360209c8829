/**
 * What must come, compared with what comes, byte by byte and as it comes: a byte too few, too many, or at the wrong place
 * is a fault that says where. Holds only what is due and has not come.
 */

/** The product did something wrong. */
export class Fault extends Error {
  override readonly name = 'Fault'
}

interface Due {
  bytes: Buffer
  onWhole: (() => void) | undefined
}

/** Bytes that a fault shows around the difference. */
const SHOWN_BYTES = 48

export class Expected {
  readonly #what: string
  #due: Due[] = []
  /** Of the first due piece, what has come. */
  #come = 0
  #received = 0

  constructor(what: string) {
    this.#what = what
  }

  /** Bytes that came, all of them right. */
  get received(): number {
    return this.#received
  }

  get outstanding(): number {
    return this.#due.reduce((sum, { bytes }) => sum + bytes.length, 0) - this.#come
  }

  /** @param onWhole called when the last of these bytes has come */
  expect(bytes: Buffer, onWhole?: () => void): void {
    this.#due.push({ bytes, onWhole })
  }

  /** @throws Fault */
  accept(chunk: Buffer): void {
    for (let rest = chunk; rest.length > 0; ) {
      const first = this.#due[0]
      if (first === undefined)
        throw new Fault(`${this.#what}: byte ${this.#received} came although no more was due: ${shown(rest)}`)
      const wanted = first.bytes.subarray(this.#come, this.#come + rest.length)
      const part = rest.subarray(0, wanted.length)
      if (!part.equals(wanted)) throw this.#difference(part, wanted)
      this.#received += part.length
      this.#come += part.length
      rest = rest.subarray(part.length)
      if (this.#come < first.bytes.length) continue
      this.#come = 0
      this.#due.shift()
      first.onWhole?.()
    }
  }

  /** @throws Fault when something is still due */
  end(): void {
    const [first] = this.#due
    if (first !== undefined)
      throw new Fault(
        `${this.#what}: ended after ${this.#received} bytes, ${this.outstanding} are missing, first ${shown(first.bytes.subarray(this.#come))}`,
      )
  }

  #difference(got: Buffer, wanted: Buffer): Fault {
    const at = got.findIndex((byte, index) => byte !== wanted[index])
    return new Fault(
      `${this.#what}: byte ${this.#received + at} is wrong: got ${shown(got.subarray(at))}, not ${shown(wanted.subarray(at))}`,
    )
  }
}

const shown = (bytes: Buffer): string => JSON.stringify(bytes.subarray(0, SHOWN_BYTES).toString('latin1'))
