/**
 * The workspace as a tree, whatever the coding agent did to its own repository: it may have committed, switched branches,
 * corrupted its index or deleted `.git`. Our index is private and starts from the checkout, so tracked files stay tracked.
 *
 * add all that is not ignored -> add what the agent's own repository tracks although it is ignored -> put the files of
 * nested repositories in as plain files, where git alone would keep only a reference to a commit that nobody has. A submodule
 * of the user's is a nested repository with an index that lasts, found at its path whatever became of its `.git`.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isTemporary } from '../../host/tree/names.ts'
import { directlyIn, pathWithin } from '../../protocol/parts.ts'
import { pathsAmong } from './among.ts'
import { splitNul } from './git.ts'
import type { Repositories } from './repositories.ts'
import { insideOf, isFolderBelow } from './submodules.ts'

/** A nested repository beyond this number, or this deep, is left out with a warning. */
const MAX_NESTED = 50
const MAX_DEPTH = 5
/** Files that the agent's own repository tracks and we do not: forced in, so rarely more than a few. */
const MAX_FORCED = 10_000

/** Temporary files of sync and of uploads, under way or left by a program that was killed (`isTemporary`). */
const HEX16 = '[0-9a-f]'.repeat(16)
const NO_TEMPORARIES = [`sync-${HEX16}-[0-9]*`, `upload-${HEX16}`].map((name) => `:(exclude,glob)**/.rclaude-${name}`)

export interface Capture {
  tree: string
  warnings: string[]
}

export async function captureWork(
  repositories: Repositories,
  submodules: readonly KnownSubmodule[] = [],
  signal?: AbortSignal,
): Promise<Capture> {
  const found: Counter = { nested: 0, warnings: [], submodules }
  const tree = await captureBelow(repositories, repositories.work, { index: 'index', path: '' }, 0, found, signal)
  return { tree, warnings: found.warnings }
}

/** Where a submodule is in the workspace, and its index in the private folder. */
export interface KnownSubmodule {
  path: string
  index: string
}

interface Counter {
  submodules: readonly KnownSubmodule[]
  nested: number
  warnings: string[]
}

async function captureBelow(
  repositories: Repositories,
  top: string,
  { index, path: known }: Partial<KnownSubmodule> & { index: string },
  depth: number,
  found: Counter,
  signal: AbortSignal | undefined,
): Promise<string> {
  const run = (args: string[], input?: string, useIndex = index) =>
    repositories.reading(top, useIndex, args, {
      signal,
      ...(input !== undefined && { input: Buffer.from(input, 'latin1') }),
    })
  await repositories.forget(`${index}.lock`) // of a git that was killed
  const inside = known === undefined ? new Map<string, string>() : await submodulesIn(repositories, known, found)
  const others = [
    ...splitNul((await run(['ls-files', '-o', '-z', '--exclude-standard'])).stdout).filter((path) =>
      path.endsWith('/'),
    ),
    ...(await replacedByRepositories(repositories, top, run)),
  ]
  const nested = [...new Set([...inside.keys(), ...others])]
  await addAll(repositories, top, index, nested, found, signal)
  if (known !== undefined) await addForced(repositories, top, run, signal)
  if (nested.length === 0) return (await run(['write-tree'])).stdout.trim()

  // On a copy, so that the next capture finds our index as git knows it.
  const whole = `${index}-whole`
  await run(['read-tree', (await run(['write-tree'])).stdout.trim()], undefined, whole)
  for (const path of nested) {
    const ofSubmodule = inside.get(path)
    if (ofSubmodule === undefined && (found.nested >= MAX_NESTED || depth >= MAX_DEPTH)) {
      found.warnings.push(`${shown(path)} is a nested git repository beyond the ${MAX_NESTED} that are saved`)
      continue
    }
    const inner = ofSubmodule ?? `nested-${++found.nested}`
    if (ofSubmodule === undefined) await repositories.forget(inner)
    const below = Buffer.concat([Buffer.from(`${top}/`), Buffer.from(path, 'latin1')]).toString()
    try {
      const submodule = found.submodules.find((other) => other.index === ofSubmodule)
      const tree = await captureBelow(repositories, below, submodule ?? { index: inner }, depth + 1, found, signal)
      await run(
        ['rm', '-r', '-f', '-q', '--cached', '--ignore-unmatch', '--', `:(literal)${path.slice(0, -1)}`],
        undefined,
        whole,
      )
      await run(['read-tree', `--prefix=${Buffer.from(path, 'latin1').toString()}`, tree], undefined, whole)
    } catch (error) {
      signal?.throwIfAborted()
      found.warnings.push(`${shown(path)} is a nested git repository and could not be saved: ${String(error)}`)
    }
  }
  return (await run(['write-tree'], undefined, whole)).stdout.trim()
}

/** Submodules directly below, as `ls-files` would name the folder, with their index; those that are no folder any more are gone. */
async function submodulesIn(repositories: Repositories, parent: string, found: Counter): Promise<Map<string, string>> {
  const inside = new Map<string, string>()
  for (const { path, index } of directlyIn(parent, found.submodules))
    if (await isFolderBelow(repositories, path))
      inside.set(`${Buffer.from(pathWithin(parent, path)).toString('latin1')}/`, index)
  return inside
}

/** Tracked files in whose place a repository stands now: these are not "others" to git. */
async function replacedByRepositories({ user }: Repositories, top: string, run: Run): Promise<string[]> {
  const gone = splitNul(
    (await run(['diff-files', '-z', '--name-only', '--diff-filter=DT', '--ignore-submodules'])).stdout,
  )
  const repositories = await pathsAmong(
    user,
    'any',
    top,
    gone.map((path) => `${path}/.git`),
  )
  return repositories.map((path) => path.slice(0, -'.git'.length))
}

async function addAll(
  repositories: Repositories,
  top: string,
  index: string,
  nested: readonly string[],
  found: Counter,
  signal: AbortSignal | undefined,
): Promise<void> {
  const pathspecs = ['.', ...NO_TEMPORARIES, ...nested.map((path) => `:(top,exclude,literal)${path.slice(0, -1)}`)]
  const add = () =>
    repositories.reading(
      top,
      index,
      ['add', '-A', '--ignore-errors', '--pathspec-from-file=-', '--pathspec-file-nul'],
      {
        input: Buffer.from(pathspecs.join('\0'), 'latin1'),
        answers: [1, 128],
        signal,
      },
    )
  let added = await add()
  const empty = /pathspec '\.' did not match/
  if (added.code !== 0 && !empty.test(added.stderr)) {
    // An attribute may ask for a conversion that fails (an unknown encoding): then the bytes are taken as they are.
    const attributes = join(repositories.daemonGit, 'info', 'attributes')
    await mkdir(join(repositories.daemonGit, 'info'), { recursive: true })
    await writeFile(attributes, '* -text -ident !eol !working-tree-encoding !filter\n', { mode: 0o644 })
    try {
      added = await add()
    } finally {
      await rm(attributes, { force: true })
    }
  }
  if (added.code !== 0 && !empty.test(added.stderr))
    found.warnings.push(`some files could not be read: ${added.stderr.trim().split('\n').slice(0, 3).join('; ')}`)
}

type Run = (args: string[], input?: string) => Promise<{ stdout: string }>

/** `git add -f` in the workspace says that an ignored file is meant. */
async function addForced(repositories: Repositories, top: string, run: Run, signal?: AbortSignal): Promise<void> {
  const options = { answers: [1, 128], signal, env: insideOf(top.replace(/\/$/, '')) }
  const theirs = await repositories.inWork(['ls-files', '-z'], options).catch(() => undefined)
  signal?.throwIfAborted()
  if (theirs === undefined || theirs.code !== 0) return // no repository any more, or a broken index
  const ours = new Set(splitNul((await run(['ls-files', '-z'])).stdout))
  const more = splitNul(theirs.stdout).filter((path) => !ours.has(path) && !isTemporary(path) && !isInGit(path))
  const forced = (await pathsAmong(repositories.user, 'file', top, more)).slice(0, MAX_FORCED)
  if (forced.length > 0)
    await run(['update-index', '--add', '-z', '--stdin'], forced.map((path) => `${path}\0`).join(''))
}

const isInGit = (path: string): boolean => path.split('/').some((part) => /^\.git$/i.test(part))

const shown = (path: string): string => Buffer.from(path, 'latin1').toString()
