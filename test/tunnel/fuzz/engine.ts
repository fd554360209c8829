// The fuzzing loop of one target: take an input that was worth keeping, change it, run it, keep it if it reached something
// new. Whatever goes wrong in between, also in a callback, belongs to the input that ran.

import { FEATURE_COUNT, Features } from './features.ts'
import { mutate } from './mutate.ts'
import type { Random } from './random.ts'
import type { Target } from './target.ts'

/** Inputs kept in memory; the oldest of the rest make room. */
const MAX_KEPT = 4_000
/** Half of the time one of the latest is changed: they reached the newest ground. */
const LATEST = 64

export class Crash extends Error {
  readonly target: string
  readonly input: Buffer

  constructor(target: string, input: Buffer, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.name = 'Crash'
    this.target = target
    this.input = input
  }
}

/** Says which of the inputs reached code that none reached before. */
export interface CoverageGuide {
  newIn(inputs: readonly Buffer[], run: (input: Buffer) => Promise<unknown>): Promise<Buffer[]>
}

export class Fuzzer {
  readonly target: Target
  readonly kept: Buffer[] = []
  executions = 0
  featureCount = 0
  readonly #random: Random
  readonly #features = new Features()
  readonly #known = new Uint8Array(FEATURE_COUNT)

  constructor(target: Target, random: Random) {
    this.target = target
    this.#random = random
  }

  /** Runs what earlier runs kept. */
  async seed(inputs: readonly Buffer[]): Promise<void> {
    for (const input of inputs) await this.run(input)
  }

  /** `count` new executions. */
  async fuzz(count: number, guide?: CoverageGuide): Promise<void> {
    const tried: Buffer[] = []
    for (let left = count; left > 0; left -= 1) {
      const input = this.#next()
      if (guide !== undefined) tried.push(input)
      await this.run(input)
    }
    if (guide === undefined) return
    for (const input of await guide.newIn(tried, (again) => this.run(again))) this.#keep(input)
  }

  /** One execution; throws a Crash. Returns what it came to. */
  async run(input: Buffer): Promise<string> {
    this.#features.clear()
    this.executions += 1
    const outcome = await execute(this.target, input, this.#features)
    if (this.#isNew()) this.#keep(input)
    return outcome
  }

  #next(): Buffer {
    const random = this.#random
    if (this.kept.length === 0 || random.oneIn(20)) return this.target.generate(random)
    const from = random.oneIn(2) ? Math.max(0, this.kept.length - LATEST) : 0
    const input = this.kept[from + random.below(this.kept.length - from)]
    const other = this.kept[random.below(this.kept.length)]
    if (input === undefined || other === undefined) return this.target.generate(random)
    return mutate(this.target, input, other, random)
  }

  #isNew(): boolean {
    const before = this.featureCount
    for (const feature of this.#features.hit) {
      if (this.#known[feature] === 1) continue
      this.#known[feature] = 1
      this.featureCount += 1
    }
    return this.featureCount > before
  }

  #keep(input: Buffer): void {
    if (this.kept.length >= MAX_KEPT) this.kept.splice(this.#random.below(MAX_KEPT / 2), 1)
    this.kept.push(Buffer.from(input))
  }
}

/** Runs one input; throws a Crash for whatever went wrong, at once or in a callback. */
export async function execute(target: Target, input: Buffer, features: Features): Promise<string> {
  try {
    const running = target.execute(input, features)
    const outcome = typeof running === 'string' ? running : await running
    if (uncaught.length > 0) throw uncaught[0]
    return outcome
  } catch (error) {
    const cause = uncaught[0] ?? error
    uncaught.length = 0
    throw new Crash(target.name, input, cause)
  }
}

const uncaught: unknown[] = []
const onUncaught = (error: unknown) => void uncaught.push(error)

/** While `work` runs, exceptions that nobody caught and rejections that nobody handled are findings. */
export async function trapUncaught<T>(work: () => Promise<T>): Promise<T> {
  process.on('uncaughtException', onUncaught)
  process.on('unhandledRejection', onUncaught)
  try {
    return await work()
  } finally {
    process.off('uncaughtException', onUncaught)
    process.off('unhandledRejection', onUncaught)
  }
}
