/**
 * The manifest of a folder. A second one costs a look at each file and no reading, since what a file held is remembered as
 * long as it looks the same; and one that the client knows costs one line.
 */
import { realpathSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Context } from 'hono'
import type { z } from 'zod'
import {
  byBytes,
  isInRepository,
  isLeftOut,
  listTree,
  look as lookAt,
  type RunGit,
  TooManyPaths,
} from '../../host/tree/list.ts'
import { type BytePath, fromWire, toWire } from '../../host/tree/names.ts'
import { deniedAt, digestOf, type Entry, type Scan, type Skipped, scan } from '../../host/tree/scan.ts'
import type { Tree } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { SyncEntry, SyncManifestHead, SyncManifestRequest } from '../../protocol/sync.ts'
import { git } from '../workspace/git.ts'
import { type AgentEnv, stream } from './send.ts'
import type { SyncFolder } from './sync-folder.ts'

/** Then the folder is walked without git. */
const GIT_TIMEOUT_MS = 30_000
const LINES_A_WRITE = 500
/** While a client waits for a change; a folder that takes long to look at is looked at less often. */
const LOOK_AGAIN_MS = 500
const PAUSES_PER_LOOK = 10
/** Named of what cannot travel; none of it is ever touched, named or not. */
const MAX_SKIPPED = 1_000

type Request = z.output<typeof SyncManifestRequest>

export async function sendManifest(c: Context<AgentEnv>, folder: SyncFolder, request: Request): Promise<Response> {
  const { head, entries } = await whenChanged(folder, request, goneSignal(c))
  return await stream(c, { 'content-type': 'application/x-ndjson' }, async (answer) => {
    await answer.write(`${JSON.stringify(head)}\n`)
    for (let at = 0; at < entries.length && !head.unchanged && !answer.signal.aborted; at += LINES_A_WRITE)
      await answer.write(
        entries
          .slice(at, at + LINES_A_WRITE)
          .map(lineOf)
          .join(''),
      )
    return undefined
  })
}

const lineOf = ({ path, id, mode, size }: Entry): string =>
  `${JSON.stringify({ path: toWire(path), id: id ?? '', mode, size } satisfies SyncEntry)}\n`

interface Manifest {
  head: SyncManifestHead
  entries: Entry[]
}

/** Looks again and again until the client's manifest is not true any more, or its time is up, or it is gone. */
async function whenChanged(folder: SyncFolder, request: Request, gone: AbortSignal): Promise<Manifest> {
  const endMs = Date.now() + request.waitSeconds * 1_000
  for (;;) {
    const beganMs = Date.now()
    const manifest = await manifestOf(folder, request, gone)
    const pauseMs = Math.max(LOOK_AGAIN_MS, (Date.now() - beganMs) * PAUSES_PER_LOOK)
    if (!manifest.head.unchanged || Date.now() + pauseMs > endMs) return manifest
    await pause(pauseMs, undefined, { signal: gone }).catch(() => gone.throwIfAborted())
  }
}

async function manifestOf(folder: SyncFolder, request: Request, signal: AbortSignal): Promise<Manifest> {
  const tree = folder.open(false)
  try {
    const { entries, skipped } = tree === undefined ? NOTHING : await look(tree, folder, request, signal)
    const digest = digestOf(entries)
    const head: SyncManifestHead = {
      digest,
      entries: entries.length,
      unchanged: digest === request.known,
      exists: tree !== undefined,
      skipped: skipped.slice(0, MAX_SKIPPED).map(({ path, why }) => ({ path: toWire(path), why })),
    }
    return { head, entries }
  } catch (error) {
    if (!(error instanceof TooManyPaths)) throw error
    throw new RclaudeError(
      'too_large',
      `the folder holds ${error.message}: take one inside it, or leave some out with --exclude`,
    )
  } finally {
    tree?.close()
  }
}

function goneSignal(c: Context<AgentEnv>): AbortSignal {
  const gone = new AbortController()
  c.env.outgoing.once('close', () => gone.abort(new RclaudeError('invalid', 'the client is gone')))
  return gone.signal
}

const NOTHING: Scan = { entries: [], skipped: [] }

async function look(tree: Tree, { root, known }: SyncFolder, request: Request, signal: AbortSignal): Promise<Scan> {
  const denied: Skipped[] = []
  const onDenied = (path: BytePath) => void denied.push(deniedAt(path))
  const listed =
    request.paths === undefined
      ? await listTree(tree, request, gitIn(root), onDenied)
      : lookAt(tree, only(request.paths.map(fromWire), request.exclude), onDenied)
  const { entries, skipped } = await scan(tree, listed, { known, signal })
  return { entries, skipped: [...denied, ...skipped] }
}

function only(paths: readonly BytePath[], exclude: readonly string[]): BytePath[] {
  const isOut = isLeftOut(exclude)
  return [...new Set(paths)].filter((path) => !isOut(path)).sort(byBytes)
}

/** With nothing of the workspace's configuration able to run code. It looks for no repository above the workspace. */
function gitIn(root: string): RunGit {
  return async (cwd, args) => {
    if (!isInRepository(realpathSync(cwd).toString(), realpathSync(root))) return undefined
    try {
      const { stdout } = await git(args, {
        cwd: cwd.toString(),
        globalConfig: '/dev/null',
        config: [['safe.directory', '*']],
        env: { GIT_CEILING_DIRECTORIES: dirname(root) },
        signal: AbortSignal.timeout(GIT_TIMEOUT_MS),
      })
      return stdout
    } catch {
      return undefined // it is no repository, or git is not here, or a trap was laid for it
    }
  }
}
