/** The workspace as a turn sees it: made ready once, saved as often as asked, the conversation's files with it. */
import { constants } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import type { Withheld } from '../../protocol/event.ts'
import type { RunSpec } from '../../protocol/run.ts'
import type { Adapter } from '../adapters/adapter.ts'
import type { Leaks } from '../run/leaks.ts'
import type { Mask } from '../run/masking.ts'
import type { SessionFiles, Workspace } from './workspace.ts'

export interface SavedTurn {
  /** Undefined without a workspace. */
  commit?: string
  filesChanged: number
  insertions: number
  deletions: number
  /** What could not be saved, as sentences for people. */
  warnings: string[]
  /** Changed files that were not saved because they hold a secret. */
  withheld: Withheld[]
}

export interface TurnWorkspace {
  /** Returns what is not there, as sentences for people. */
  prepare(signal: AbortSignal): Promise<string[]>
  /** Undefined when nothing changed since the last one. */
  checkpoint(sessionId: string | undefined): Promise<SavedTurn | undefined>
  saveResult(sessionId: string | undefined): Promise<SavedTurn>
}

export interface TurnWorkspaceOptions {
  workspace: Workspace
  spec: RunSpec
  adapter: Adapter
  mask: Mask
  leaks: Leaks
  cwd: string
  home: string
  /** A folder of the agent's own, for the masked copies of session files. */
  sessionDirectory: string
  /** Does what needs the gateway again when the way there broke; the signal ends the wait for a new one. */
  insist<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T>
}

export function createTurnWorkspace(options: TurnWorkspaceOptions): TurnWorkspace {
  const { workspace, spec, leaks } = options
  const message = options.mask(spec.prompt ?? (spec.command ?? []).join(' '))
  return {
    async prepare(signal) {
      const missing = await options.insist(() => workspace.prepare(spec.workspace, signal), signal)
      await workspace.restoreSession(options.home, signal)
      return missing
    },
    async checkpoint(sessionId) {
      return workspace.checkpoint({ message, leaks, session: await copySession(options, sessionId) })
    },
    async saveResult(sessionId) {
      const session = await copySession(options, sessionId)
      const saved = await options.insist(() => workspace.result({ message, leaks, session }))
      return saved ?? { filesChanged: 0, insertions: 0, deletions: 0, warnings: [], withheld: [] }
    },
  }
}

/** What the coding agent wrote down of the conversation, with secrets masked, at the same places below another folder. */
async function copySession(
  options: TurnWorkspaceOptions,
  sessionId: string | undefined,
): Promise<SessionFiles | undefined> {
  if (sessionId === undefined) return undefined
  const { adapter, home, cwd, mask, sessionDirectory } = options
  const paths: string[] = []
  for (const file of await adapter.sessionFiles({ home, cwd, sessionId })) {
    const path = relative(home, file)
    // The work wrote it: a link in its place could lead to what is not the work's to read.
    const text = await readFile(file, { encoding: 'utf8', flag: constants.O_RDONLY | constants.O_NOFOLLOW }).catch(
      () => undefined,
    )
    if (text === undefined) continue
    const copy = join(sessionDirectory, path)
    await mkdir(dirname(copy), { recursive: true })
    await writeFile(copy, mask(text))
    paths.push(path)
  }
  return paths.length === 0 ? undefined : { directory: sessionDirectory, paths }
}
