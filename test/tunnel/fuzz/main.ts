import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadCorpus, saveCorpus, saveCrash, shrink, targetOf } from './corpus.ts'
import { Coverage } from './coverage.ts'
import { Crash, execute, Fuzzer, trapUncaught } from './engine.ts'
import { Features } from './features.ts'
import { Random } from './random.ts'
import type { Target } from './target.ts'
import { TARGETS, turnOf } from './targets.ts'

const HELP = `npm run fuzz:tunnel -- [--minutes N] [--executions N] [--seed S] [--target decoder|session|pair|resume] [--keep]
npm run fuzz:tunnel -- --replay FILE

Fuzzes until the time or the executions are used up, whichever is first (one minute unless told); the targets take turns.
A crash is written to crashes/ in as few pieces as show it, and ends the run with exit code 1.

  --keep         what was reached goes into corpus/, which CI runs
  --replay FILE  one input again, with its stack trace
`

const REPORT_EVERY_MS = 30_000
/** The clock itself: while a target runs, the global one is a virtual one. */
const clock = performance.now.bind(performance)

export interface Places {
  /** test/tunnel/fuzz */
  readonly directory: string
  /** The file that this program was bundled into. */
  readonly bundle: string
}

/** Returns the exit code. */
export async function main(argv: string[], places: Places): Promise<number> {
  if (argv.includes('--help')) {
    process.stdout.write(HELP)
    return 0
  }
  const options = parse(argv)
  return trapUncaught(async () => {
    try {
      // Stack traces of the protocol errors that are provoked all the time would cost half of the speed.
      if (options.replay === undefined) Error.stackTraceLimit = 0
      if (options.replay !== undefined) await replay(options.replay)
      else await fuzz(options, places)
      return 0
    } catch (error) {
      if (!(error instanceof Crash)) throw error
      await report(error, places)
      return 1
    }
  })
}

interface Options {
  readonly minutes: number
  readonly executions: number
  readonly seed: number
  readonly targets: readonly Target[]
  readonly keep: boolean
  readonly replay: string | undefined
}

function parse(argv: string[]): Options {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: argv,
    options: { minutes: text, executions: text, seed: text, target: text, replay: text, keep: { type: 'boolean' } },
  })
  const number = (name: 'minutes' | 'executions' | 'seed', value: string | undefined, otherwise: number) => {
    const parsed = value === undefined ? otherwise : Number(value)
    if (Number.isFinite(parsed) || value === undefined) return parsed
    throw new Error(`--${name} must be a number, not ${value}`)
  }
  const targets = TARGETS.filter(({ name }) => values.target === undefined || values.target === name)
  if (targets.length === 0) throw new Error(`--target must be one of ${TARGETS.map(({ name }) => name).join(', ')}`)
  const isBounded = values.minutes !== undefined || values.executions !== undefined
  return {
    minutes: number('minutes', values.minutes, isBounded ? Number.POSITIVE_INFINITY : 1),
    executions: number('executions', values.executions, Number.POSITIVE_INFINITY),
    seed: number('seed', values.seed, Date.now() % 2 ** 31),
    targets,
    keep: values.keep ?? false,
    replay: values.replay,
  }
}

async function fuzz(options: Options, places: Places): Promise<void> {
  const { targets, seed } = options
  const corpus = join(places.directory, 'corpus')
  const coverage = new Coverage(places.bundle)
  const fuzzers = targets.map((target, n) => new Fuzzer(target, new Random(seed + n)))
  const begun = clock()
  console.log(`fuzz:tunnel --seed ${seed}: ${targets.map(({ name }) => name).join(', ')}`)
  for (const fuzzer of fuzzers) {
    await fuzzer.seed(loadCorpus(corpus, fuzzer.target))
    await fuzzer.fuzz(Math.min(turnOf(fuzzer.target), options.executions))
  }
  coverage.forgetNew()
  let reportAt = begun + REPORT_EVERY_MS
  const total = () => fuzzers.reduce((sum, { executions }) => sum + executions, 0)
  const until = begun + options.minutes * 60_000
  while (clock() < until && total() < options.executions) {
    for (const fuzzer of fuzzers)
      await fuzzer.fuzz(Math.min(turnOf(fuzzer.target), Math.max(0, options.executions - total())), coverage)
    if (clock() < reportAt) continue
    reportAt += REPORT_EVERY_MS
    console.log(summary(fuzzers, clock() - begun))
  }
  console.log(coverage.report())
  coverage.stop()
  if (options.keep) for (const { target, kept } of fuzzers) await keep(corpus, target, kept)
  console.log(`done: ${summary(fuzzers, clock() - begun)}, no crash (--seed ${seed})`)
}

async function keep(corpus: string, target: Target, inputs: readonly Buffer[]): Promise<void> {
  console.log(`${target.name}: ${await saveCorpus(corpus, target, inputs)} inputs are in ${corpus}`)
}

function summary(fuzzers: readonly Fuzzer[], elapsedMs: number): string {
  const all = fuzzers.reduce((sum, { executions }) => sum + executions, 0)
  const each = fuzzers.map(
    ({ target, executions, kept, featureCount }) =>
      `${target.name} ${executions} (${kept.length} kept, ${featureCount} features)`,
  )
  const perSecond = Math.round((all * 1000) / Math.max(1, elapsedMs))
  return `${all} executions in ${Math.round(elapsedMs / 1000)} s (${perSecond}/s): ${each.join(', ')}`
}

async function replay(file: string): Promise<void> {
  const target = targetOf(file, TARGETS)
  console.log(`${file}: ${await execute(target, readFileSync(file), new Features())}`)
}

async function report(crash: Crash, { directory }: Places): Promise<void> {
  Error.stackTraceLimit = 20
  const target = targetOf(`${crash.target}-`, TARGETS)
  let last = crash
  const small = await shrink(target, crash.input, async (less) => {
    const again = await failureOf(target, less)
    const isAlike = again !== undefined && inWords(again) === inWords(crash)
    if (isAlike) last = again
    return isAlike
  })
  const file = saveCrash(join(directory, 'crashes'), crash.target, small)
  console.error(last.cause)
  console.error(`CRASH: ${last.message}\n${small.toString('hex')}`)
  console.error(`replay it with: npm run fuzz:tunnel -- --replay ${file}`)
}

async function failureOf(target: Target, input: Buffer): Promise<Crash | undefined> {
  try {
    await execute(target, input, new Features())
    return undefined
  } catch (error) {
    return error instanceof Crash ? error : undefined
  }
}

/** The failure, whatever the numbers in it. */
const inWords = ({ message }: Crash): string => message.replace(/\d+/g, 'n')
