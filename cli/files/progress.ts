/** One line on the terminal that tells how far a copy is; nothing where nobody looks. */
import { formatBytes } from '../../protocol/units.ts'
import { oneLine, truncate } from '../neutralise.ts'

const DRAW_MS = 100

export class Progress {
  readonly #stream: NodeJS.WriteStream
  readonly #isShown: boolean
  readonly #began = Date.now()
  #total = 0
  #done = 0
  #resumed = 0
  #name = ''
  #drawnAt = 0

  constructor(stream: NodeJS.WriteStream, quiet: boolean) {
    this.#stream = stream
    this.#isShown = stream.isTTY === true && !quiet
  }

  /** A file more, of so many bytes. */
  expect(bytes: number): void {
    this.#total += bytes
  }

  /** These were there already. */
  resume(bytes: number): void {
    this.#done += bytes
    this.#resumed += bytes
  }

  add(name: string, bytes: number): void {
    this.#name = name
    this.#done += bytes
    if (!this.#isShown || Date.now() - this.#drawnAt < DRAW_MS || this.#stream.writableNeedDrain) return
    this.#drawnAt = Date.now()
    this.#draw()
  }

  clear(): void {
    if (this.#drawnAt > 0) this.#stream.write('\r\u001b[K')
    this.#drawnAt = 0
  }

  #draw(): void {
    const seconds = Math.max(0.1, (Date.now() - this.#began) / 1_000)
    const rate = (this.#done - this.#resumed) / seconds
    const percent = this.#total === 0 ? 100 : Math.min(100, Math.floor((100 * this.#done) / this.#total))
    const left = rate === 0 ? '' : ` ${Math.ceil(Math.max(0, this.#total - this.#done) / rate)} s`
    const bar = '#'.repeat(Math.floor(percent / 5)).padEnd(20, '.')
    const text = `${String(percent).padStart(3)}% ${bar} ${formatBytes(this.#done)} ${formatBytes(rate)}/s${left} ${oneLine(this.#name)}`
    this.#stream.write(`\r\u001b[K${truncate(text, Math.max(20, this.#stream.columns ?? 80) - 1)}`)
  }
}
