// The short form of `npm run fuzz:tunnel`: everything that earlier runs kept, and a few thousand seeded executions.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadCorpus, saveCrash, shrink } from './fuzz/corpus.ts'
import { Crash, execute, Fuzzer, trapUncaught } from './fuzz/engine.ts'
import { Features } from './fuzz/features.ts'
import { Random } from './fuzz/random.ts'
import { Finding, type Target } from './fuzz/target.ts'
import { TARGETS } from './fuzz/targets.ts'

const directory = fileURLToPath(new URL('./fuzz', import.meta.url))
const SEED = 3
const EXECUTIONS: Record<string, number> = { decoder: 30_000, session: 800, pair: 800, resume: 3_000 }

/** Like trapUncaught, and what fails is written down with the command that repeats it. */
async function withReport<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await trapUncaught(work)
  } catch (error) {
    if (!(error instanceof Crash)) throw error
    const file = saveCrash(join(directory, 'crashes'), error.target, error.input)
    throw new Error(`${error.message}; repeat it with: npm run fuzz:tunnel -- --replay ${file}`, { cause: error })
  }
}

describe.each(TARGETS)('the $name', (target) => {
  it('stands what earlier fuzzing kept', async () => {
    const inputs = loadCorpus(join(directory, 'corpus'), target)
    expect(inputs.length).toBeGreaterThan(10)
    await withReport(async () => {
      for (const input of inputs) await execute(target, input, new Features())
    })
  })

  it(`stands ${EXECUTIONS[target.name]} new inputs`, async () => {
    const fuzzer = new Fuzzer(target, new Random(SEED))
    await withReport(() => fuzzer.fuzz(EXECUTIONS[target.name] ?? 0))
    expect(fuzzer.featureCount).toBeGreaterThan(100)
  })
})

describe('the fuzzer', () => {
  /** Fails when a 7 comes somewhere before a 9, the second in a callback. */
  const faulty = (how: 'at once' | 'in a callback'): Target => ({
    name: 'faulty',
    headerBytes: 1,
    unitBytes: 1,
    maxBytes: 64,
    generate: (random) => random.bytes(3),
    piece: (random) => random.bytes(2),
    async execute(input, features) {
      const seven = input.indexOf(7, 1)
      const nine = input.indexOf(9, seven + 1)
      features.add(1, seven > 0 ? 1 : 0)
      if (seven > 0 && nine > 0) {
        if (how === 'at once') throw new Finding('a 7 before a 9')
        void Promise.reject(new Finding('a 7 before a 9'))
      }
      await new Promise((resolve) => setImmediate(resolve))
      return 'fine'
    },
  })

  it.each(['at once', 'in a callback'] as const)(
    'finds what goes wrong %s, and the least that shows it',
    async (how) => {
      const target = faulty(how)
      // Vitest takes every rejection that nobody handled for a failure of its own.
      const others = process.listeners('unhandledRejection')
      process.removeAllListeners('unhandledRejection')
      try {
        await trapUncaught(async () => {
          const fails = async (input: Buffer) =>
            execute(target, input, new Features()).then(
              () => false,
              () => true,
            )
          const crash = await new Fuzzer(target, new Random(SEED)).fuzz(200_000).catch((error: unknown) => error)
          expect(crash).toBeInstanceOf(Crash)
          if (!(crash instanceof Crash)) return
          expect(crash.message).toBe('a 7 before a 9')
          const small = await shrink(target, crash.input, fails)
          expect([...small.subarray(1)]).toEqual([7, 9])
        })
      } finally {
        for (const listener of others) process.on('unhandledRejection', listener)
      }
    },
  )
})
