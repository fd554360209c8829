/** The watcher alone, on a real file system. */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { TreeWatcher, type TreeWatcherOptions } from '../../../agent/watch/tree-watcher.ts'
import type { FileChange, WatchOverflow } from '../../../protocol/watch.ts'
import { eventually } from '../../helpers/eventually.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'
import { Mirror, sorted, treeOf } from './mirror.ts'

interface Watched {
  root: string
  mirror: Mirror
  changes: FileChange[]
  overflows: WatchOverflow[]
  ends: string[]
  watcher: TreeWatcher
  at(path: string): string
  /** Resolves when the mirror has what is there. */
  agrees(): Promise<unknown>
}

async function watched(prepare: (root: string) => void, options: Partial<TreeWatcherOptions> = {}): Promise<Watched> {
  const root = temporaryDirectory()
  prepare(root)
  const mirror = new Mirror()
  const changes: FileChange[] = []
  const overflows: WatchOverflow[] = []
  const ends: string[] = []
  const watcher = new TreeWatcher({
    root,
    at: [],
    ignores: () => false,
    onChanges: (some) => {
      changes.push(...some)
      mirror.apply(some)
    },
    onOverflow: (overflow) => {
      overflows.push(overflow)
      mirror.relist(root)
    },
    onEnd: (message) => ends.push(message),
    ...options,
  })
  onTestFinished(() => watcher.close())
  await watcher.start()
  mirror.relist(root)
  const agrees = () =>
    eventually('the mirror agrees', () => sorted(mirror.paths).join('\n') === sorted(treeOf(root)).join('\n'))
  return { root, mirror, changes, overflows, ends, watcher, at: (path) => join(root, path), agrees }
}

const told = (changes: readonly FileChange[]) =>
  changes.map(({ kind, from, path }) => [kind, ...(from === undefined ? [] : [from]), path].join(' '))
const settled = (seen: Watched, amount: number) =>
  eventually(`${amount} changes`, () => seen.changes.length >= amount).then(() => told(seen.changes))

test('files that are made, written, made executable and deleted are told, each once', async () => {
  const seen = await watched((root) => writeFileSync(join(root, 'old'), '1'))
  writeFileSync(seen.at('new'), '1')
  appendFileSync(seen.at('new'), '2')
  expect(await settled(seen, 1)).toEqual(['created new'])
  appendFileSync(seen.at('old'), '2')
  expect(await settled(seen, 2)).toContain('modified old')
  chmodSync(seen.at('old'), 0o755)
  expect((await settled(seen, 3)).filter((one) => one === 'modified old')).toHaveLength(2)
  rmSync(seen.at('old'))
  expect((await settled(seen, 4)).at(-1)).toBe('deleted old')
})

test('a rename is one change, of a directory with all in it too, and what is in it is watched on', async () => {
  const seen = await watched((root) => {
    mkdirSync(join(root, 'a/deep'), { recursive: true })
    writeFileSync(join(root, 'a/deep/f'), '1')
  })
  renameSync(seen.at('a'), seen.at('b'))
  expect(await settled(seen, 1)).toEqual(['renamed a b'])
  appendFileSync(seen.at('b/deep/f'), '2')
  expect((await settled(seen, 2)).at(-1)).toBe('modified b/deep/f')
  renameSync(seen.at('b/deep/f'), seen.at('g'))
  expect((await settled(seen, 3)).at(-1)).toBe('renamed b/deep/f g')
  await seen.agrees()
})

test('a file that is saved by a new one that takes its name is modified', async () => {
  const seen = await watched((root) => writeFileSync(join(root, 'f'), '1'))
  writeFileSync(seen.at('.f.tmp'), '2')
  renameSync(seen.at('.f.tmp'), seen.at('f'))
  expect(await settled(seen, 1)).toEqual(['modified f'])
  writeFileSync(seen.at('.known'), '3')
  await settled(seen, 2)
  renameSync(seen.at('.known'), seen.at('f'))
  expect((await settled(seen, 3)).slice(1)).toEqual(['created .known', 'renamed .known f'])
  await seen.agrees()
})

test('an inode that is used again is no rename', async () => {
  const seen = await watched((root) => writeFileSync(join(root, 'gone'), 'old'))
  const before = statSync(seen.at('gone')).ino
  let reused = false
  for (let i = 0; i < 20 && !reused; i++) {
    rmSync(seen.at(i === 0 ? 'gone' : `new${i - 1}`))
    writeFileSync(seen.at(`new${i}`), 'new')
    reused = statSync(seen.at(`new${i}`)).ino === before
  }
  await seen.agrees()
  expect(seen.changes.filter(({ kind }) => kind === 'renamed')).toEqual([])
})

test('a tree that comes at once is told whole, and watched', async () => {
  const seen = await watched(() => {})
  for (let i = 0; i < 40; i++) {
    mkdirSync(seen.at(`d${i % 4}/e${i % 7}`), { recursive: true })
    writeFileSync(seen.at(`d${i % 4}/e${i % 7}/f${i}`), '')
  }
  await seen.agrees()
  writeFileSync(seen.at('d3/e3/late'), '')
  await seen.agrees()
  rmSync(seen.at('d3'), { recursive: true })
  await seen.agrees()
  expect(seen.watcher.entries).toBe(seen.mirror.paths.size)
})

test('symlinks are told and not followed, out of the tree or in circles', async () => {
  const outside = temporaryDirectory()
  const seen = await watched((root) => symlinkSync(outside, join(root, 'out')))
  symlinkSync('.', seen.at('loop'))
  await seen.agrees()
  writeFileSync(join(outside, 'secret'), '')
  writeFileSync(seen.at('after'), '')
  await seen.agrees()
  expect(told(seen.changes)).toEqual(['created loop', 'created after'])
})

test('names that are not UTF-8 and names with line breaks are told as bytes', async () => {
  const seen = await watched(() => {})
  const odd = Buffer.concat([Buffer.from(`${seen.root}/x`), Buffer.from([0xff, 0x0a])])
  writeFileSync(odd, '')
  await settled(seen, 1)
  expect(seen.changes[0]?.pathBase64).toBe(Buffer.from([0x78, 0xff, 0x0a]).toString('base64'))
})

test('more at once than the kernel keeps is said, and told rightly from then on', async () => {
  const seen = await watched((root) => {
    for (let i = 0; i < 20; i++) mkdirSync(join(root, `d${i}`))
  })
  // Nothing is read meanwhile, so the kernel's queue really overflows (16,384 unless set otherwise).
  for (let i = 0; i < 12_000; i++) writeFileSync(seen.at(`d${i % 20}/f${i}`), '')
  await eventually('the overflow is said', () => seen.overflows.length > 0)
  expect(seen.overflows[0]?.reason).toBe('queue')
  await eventually('all is known', () => seen.watcher.entries === 12_020)
  seen.mirror.relist(seen.root)
  rmSync(seen.at('d7/f7'))
  await seen.agrees()
}, 30_000)

test('without a watch left the tree is looked at now and then, which is said', async () => {
  let left = 1
  const scarce = ((...args: Parameters<typeof watch>) => {
    if (left-- <= 0) throw Object.assign(new Error('ENOSPC: System limit reached'), { code: 'ENOSPC' })
    return watch(...args)
  }) as typeof watch
  const seen = await watched((root) => mkdirSync(join(root, 'd/e'), { recursive: true }), { watch: scarce, pollMs: 50 })
  expect(seen.overflows).toMatchObject([{ reason: 'watches', message: expect.stringContaining('max_user_watches') }])
  writeFileSync(seen.at('d/e/f'), '')
  mkdirSync(seen.at('new'))
  writeFileSync(seen.at('new/f'), '')
  await seen.agrees()
  expect(seen.overflows).toHaveLength(1)
})

test('a tree with too many files is refused, and one that becomes so is given up with a word', async () => {
  const many = (root: string) => {
    for (let i = 0; i < 10; i++) writeFileSync(join(root, `${i}`), '')
  }
  await expect(watched(many, { maxEntries: 9 })).rejects.toMatchObject({ code: 'limit' })
  const seen = await watched(many, { maxEntries: 11 })
  for (let i = 0; i < 5; i++) writeFileSync(seen.at(`more${i}`), '')
  await eventually('the end', () => seen.ends.length > 0)
  expect(seen.ends[0]).toContain('ignore=PATTERN')
})

test('the end of the watched directory is the end of the watch', async () => {
  const seen = await watched((root) => mkdirSync(join(root, 'd')), { at: [Buffer.from('d')] })
  rmSync(seen.at('d'), { recursive: true })
  writeFileSync(join(seen.root, 'x'), '')
  await eventually('the end', () => seen.ends.length > 0)
  expect(seen.ends).toEqual(['the watched directory is gone'])
})

/** Reproducible: the seed is in the test's name. */
function randomSteps(seed: number): (limit: number) => number {
  let state = seed * 2_654_435_761
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 0x9e3779b9) | 0
    return (state >>> 8) % limit
  }
}

function disturb(root: string, random: (limit: number) => number): void {
  const paths = treeOf(root).map(([path]) => path)
  const some = () => paths[random(paths.length)] ?? 'first'
  const directories = ['', ...treeOf(root).flatMap(([path, type]) => (type === 'directory' ? [path] : []))]
  const target = join(root, directories[random(directories.length)] ?? '', `n${random(6)}`)
  try {
    const step = random(7)
    if (step === 0) mkdirSync(target)
    else if (step <= 2) writeFileSync(target, String(random(1_000)))
    else if (step === 3) rmSync(join(root, some()), { recursive: true })
    else if (step <= 5) renameSync(join(root, some()), target)
    else if (!existsSync(target)) symlinkSync('nowhere', target)
  } catch {
    // A directory into itself, a file over a directory: not every step is possible.
  }
}

test.each([1, 2, 3, 4, 5, 6])(
  'whatever happens to a tree, a reader that follows the changes has it (seed %i)',
  async (seed) => {
    const random = randomSteps(seed)
    const seen = await watched((root) => mkdirSync(join(root, 'd/e'), { recursive: true }), { settleMs: 5 })
    for (let round = 0; round < 40; round++) {
      for (let i = random(12); i >= 0; i--) disturb(seen.root, random)
      await new Promise((resolve) => setTimeout(resolve, random(15)))
    }
    expect(seen.ends).toEqual([])
    await seen.agrees()
    expect(seen.overflows).toEqual([])
    const entries = readdirSync(seen.root, { recursive: true }).length
    await eventually('the watcher has no more and no less', () => seen.watcher.entries === entries)
  },
)
