// Which parts of tunnel/ ran, from V8's own precise block coverage. Asking is slow, so it is asked once per batch; only
// when a batch reached something new is the input looked for, by halving.
//
// The fuzzer is one bundle (run-bundled.mjs); the bundler's comments say where each file of tunnel/ begins and ends in it.

import { readFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import type { CoverageGuide } from './engine.ts'

interface Part {
  readonly file: string
  readonly from: number
  readonly to: number
}

/** Files whose coverage says something here: the others need sockets. */
const FILES =
  /^tunnel\/(byte-queue|decoder|frame|idle-timer|keepalive|pings|receive-window|send|sender|session|stream|tunnel|window)/

export class Coverage implements CoverageGuide {
  readonly #session = new Session()
  readonly #bundle: string
  readonly #parts: Part[]
  readonly #text: string
  /** Per character of the bundle: 1 once it ran. */
  readonly #covered: Uint8Array

  constructor(bundle: string) {
    this.#bundle = bundle
    this.#text = readFileSync(bundle, 'utf8')
    this.#parts = partsOf(this.#text)
    this.#covered = new Uint8Array(this.#text.length)
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  stop(): void {
    this.#session.post('Profiler.stopPreciseCoverage')
    this.#session.disconnect()
  }

  /** What ran until now is nothing new: what everything reaches need not be looked for. */
  forgetNew(): void {
    for (const at of this.#take()) this.#covered[at] = 1
  }

  async newIn(inputs: readonly Buffer[], run: (input: Buffer) => Promise<unknown>): Promise<Buffer[]> {
    const found = this.#take().filter((at) => this.#covered[at] === 0)
    for (const at of found) this.#covered[at] = 1
    return this.#whoReaches(found, inputs, run)
  }

  /** How many lines ran, and which never did. */
  report(): string {
    this.forgetNew()
    const missed: string[] = []
    let all = 0
    for (const { file, from, to } of this.#parts) {
      for (let at = from; at < to; ) {
        const end = this.#text.indexOf('\n', at) + 1 || to
        const line = this.#text.slice(at, end)
        const begin = at + (line.length - line.trimStart().length)
        // Top-level declarations are one range with the rest of the bundle.
        if (/^\s.*\w/.test(line) && !/^\s*(\/\/|\/?\*)/.test(line)) {
          all += 1
          if (this.#covered[begin] === 0) missed.push(`  not reached: ${file}: ${line.trim().slice(0, 120)}`)
        }
        at = end
      }
    }
    return [`coverage of the session's files: ${all - missed.length} of ${all} lines`, ...missed].join('\n')
  }

  /** One input for each character of `wanted`, or fewer where one serves several. */
  async #whoReaches(
    wanted: readonly number[],
    inputs: readonly Buffer[],
    run: (input: Buffer) => Promise<unknown>,
  ): Promise<Buffer[]> {
    if (wanted.length === 0 || inputs.length <= 1) return wanted.length === 0 ? [] : [...inputs]
    const half = inputs.slice(0, inputs.length >> 1)
    this.#take()
    for (const input of half) await run(input)
    const ran = new Set(this.#take())
    const here = wanted.filter((at) => ran.has(at))
    const rest = wanted.filter((at) => !ran.has(at))
    return [
      ...(await this.#whoReaches(here, half, run)),
      ...(await this.#whoReaches(rest, inputs.slice(inputs.length >> 1), run)),
    ]
  }

  /** The characters that ran since the last time. */
  #take(): number[] {
    const now = new Uint8Array(this.#text.length)
    this.#session.post('Profiler.takePreciseCoverage', (_error, answer) => {
      const script = answer?.result.find(({ url }) => url.endsWith(this.#bundle))
      // Outer ranges come before those inside them.
      for (const { ranges } of script?.functions ?? [])
        for (const { startOffset, endOffset, count } of ranges) now.fill(count > 0 ? 1 : 0, startOffset, endOffset)
    })
    const ran: number[] = []
    for (const { from, to } of this.#parts) for (let at = from; at < to; at += 1) if (now[at] === 1) ran.push(at)
    return ran
  }
}

function partsOf(text: string): Part[] {
  const headings = [...text.matchAll(/^\/\/ ([\w./-]+\.[cm]?[jt]s)$/gm)]
  return headings
    .map((heading, n) => ({
      file: heading[1] ?? '',
      from: heading.index,
      to: headings[n + 1]?.index ?? text.length,
    }))
    .filter(({ file }) => FILES.test(file))
}
