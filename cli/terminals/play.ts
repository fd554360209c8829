/** Plays a recording: waits as long as was waited then, faster or slower, with the user's hand on the pause. */
import type { TerminalSize } from '../../protocol/process.ts'
import type { CastEntry } from './cast.ts'

export interface PlayOptions {
  speed: number
  /** Longest wait between two entries. */
  idleLimitSeconds: number | undefined
  write(text: string): Promise<void>
  signal: AbortSignal
  pause: Pause
}

/** Toggled by a key. */
export class Pause {
  #isPaused = false
  #wake: (() => void)[] = []

  toggle(): void {
    this.#isPaused = !this.#isPaused
    this.release()
  }

  /** Wakes whoever waits, to look again. */
  release(): void {
    const wake = this.#wake
    this.#wake = []
    for (const one of wake) one()
  }

  async over(signal: AbortSignal): Promise<void> {
    while (this.#isPaused && !signal.aborted) await this.changed()
  }

  changed(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve))
  }
}

/** Only what was shown is written; input, sizes and markers are not. */
export async function play(entries: AsyncIterable<TerminalSize | CastEntry>, options: PlayOptions): Promise<void> {
  const { signal, pause, speed, idleLimitSeconds = Number.POSITIVE_INFINITY } = options
  for await (const entry of entries) {
    if (!('kind' in entry)) continue
    await wait((Math.min(entry.waitSeconds, idleLimitSeconds) / speed) * 1_000, pause, signal)
    await pause.over(signal)
    if (signal.aborted) return
    if (entry.kind === 'o') await options.write(entry.data)
  }
}

async function wait(ms: number, pause: Pause, signal: AbortSignal): Promise<void> {
  let left = ms
  while (left > 0 && !signal.aborted) {
    await pause.over(signal)
    const from = Date.now()
    await Promise.race([sleep(left, signal), pause.changed()])
    left -= Date.now() - from
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, Math.min(ms, 2 ** 31 - 1))
    signal.addEventListener('abort', done, { once: true })
  })
}
