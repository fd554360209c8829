/**
 * Random edits on both sides, random cuts of the connection: nothing that was ever written is lost. A version is current on a
 * side, or was superseded by a later edit of whoever had it before him, or lies in a conflict's copy.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { didNothing } from '../../../cli/sync/tally.ts'
import { BlockWriter } from '../../../host/tree/frames.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { contents, type Folders, makeFolders } from './folders.ts'

const SEED = Number(process.env.SYNC_SEED ?? Date.now() % 1_000_000)
const PATHS = ['a', 'b', 'd/x', 'd/y', 'e/f/g']

type Side = 'near' | 'far'
type Step =
  | { do: 'write'; side: Side; path: string; size: 'small' | 'large' }
  | { do: 'remove'; side: Side; path: string }
  | {
      do: 'sync'
      direction: 'to' | 'from' | 'both'
      prefer: 'local' | 'remote' | undefined
      cutAfter: number | undefined
      /** Written when both sides were looked at, and before anything is carried. */
      meanwhile: { side: Side; path: string }[]
    }

const side = fc.constantFrom<Side>('near', 'far')
const path = fc.constantFrom(...PATHS)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      side,
      path,
      size: fc.constantFrom('small' as const, 'small' as const, 'large' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), side, path }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('sync' as const),
      direction: fc.constantFrom('to' as const, 'from' as const, 'both' as const, 'both' as const),
      prefer: fc.constantFrom(undefined, undefined, 'local' as const, 'remote' as const),
      cutAfter: fc.option(fc.nat(2_000), { nil: undefined, freq: 1 }),
      meanwhile: fc.array(fc.record({ side, path }), { maxLength: 3 }),
    }),
  },
)

/** Versions are numbers; a text says which version it is, and which were seen by whoever wrote it. */
class Model {
  #last = 0
  /** Versions that an edit replaced with open eyes. */
  readonly superseded = new Set<number>()
  readonly written = new Set<number>()

  next(): number {
    this.written.add(++this.#last)
    return this.#last
  }
}

const versionOf = (text: string): number => Number(/^v(\d+)/.exec(text)?.[1] ?? -1)

async function edit(folders: Folders, model: Model, one: Extract<Step, { do: 'write' | 'remove' }>): Promise<void> {
  const root = folders[one.side]
  const before = contents(root)[one.path]
  if (before !== undefined) model.superseded.add(versionOf(before))
  if (one.do === 'remove') return rmSync(join(root, one.path), { force: true })
  mkdirSync(dirname(join(root, one.path)), { recursive: true })
  writeFileSync(join(root, one.path), `v${model.next()} ${'x'.repeat(one.size === 'small' ? 10 : 600_000)}`)
}

/** Breaks a request or its answer after so many bytes, and lets `meanwhile` happen before the first that carries something. */
function cutting({ between }: Folders, cutAfter: number | undefined, meanwhile: () => Promise<void>): () => void {
  const { ask } = between
  let left = cutAfter ?? Number.POSITIVE_INFINITY
  const lost = () => new RclaudeError('unavailable', 'cut by the test')
  async function* cut(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of bytes) {
      if (chunk.length > left) {
        if (left > 0) yield chunk.subarray(0, left)
        left = 0
        throw lost()
      }
      left -= chunk.length
      yield chunk
    }
  }
  const cutUpload = (content: (out: BlockWriter) => Promise<void>) => (out: BlockWriter) => {
    const cutting = new BlockWriter(async (block) => {
      const sent = block.subarray(0, left)
      left -= sent.length
      out.write(sent)
      await out.end()
      if (sent.length < block.length) throw lost()
    })
    return content(cutting).then(() => cutting.end())
  }
  let isDone = false
  between.ask = async (route, body, signal) => {
    if (route.name !== 'syncManifest' && !isDone) {
      isDone = true
      await meanwhile()
    }
    const content = typeof body.content === 'string' ? body.content : cutUpload(body.content)
    return cut(await ask(route, { ...body, content }, signal))
  }
  return () => {
    between.ask = ask
  }
}

const alive = (folders: Folders): Set<number> =>
  new Set([...Object.values(contents(folders.near)), ...Object.values(contents(folders.far))].map(versionOf))

it(`loses nothing, whatever is written and cut (SYNC_SEED=${SEED})`, async () => {
  console.log(`SYNC_SEED=${SEED}`)
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), async (steps) => {
      const folders = await makeFolders()
      const model = new Model()
      for (const one of steps) {
        if (one.do !== 'sync') {
          await edit(folders, model, one)
          continue
        }
        const restore = cutting(folders, one.cutAfter, async () => {
          for (const { side, path } of one.meanwhile)
            await edit(folders, model, { do: 'write', side, path, size: 'small' })
        })
        await folders.sync({ direction: one.direction, prefer: one.prefer }).catch((error: unknown) => {
          if (one.cutAfter === undefined) throw error
        })
        restore()
        const living = alive(folders)
        expect([...model.written].filter((version) => !living.has(version) && !model.superseded.has(version))).toEqual(
          [],
        )
      }
      await folders.sync({ prefer: 'local' })
      expect(didNothing(await folders.sync())).toBe(true)
      const here = Object.fromEntries(
        Object.entries(contents(folders.near)).filter(([name]) => !name.includes('.conflict-')),
      )
      const deletedSomewhere = (await folders.sync()).left.length
      if (deletedSomewhere === 0) expect(here).toEqual(contents(folders.far))
    }),
    { numRuns: 60, seed: SEED, endOnFailure: true },
  )
}, 60_000)
