/** The workspace as a turn sees it: made ready once, saved as often as asked, the conversation's files with it. */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Withheld } from '../../protocol/event.ts'
import type { RunSpec } from '../../protocol/run.ts'
import type { Adapter } from '../adapters/adapter.ts'
import type { WorkFiles } from '../files/work-files.ts'
import type { Leaks } from '../run/leaks.ts'
import type { Mask } from '../run/masking.ts'
import type { SessionFiles, Workspace } from './workspace.ts'

/** A longer one could not be held in memory to be masked. */
const MAX_SESSION_FILE_BYTES = 256 * 1024 ** 2

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
  /** Reads what the coding agent wrote down. */
  files: WorkFiles
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
  const { adapter, home, cwd, mask, sessionDirectory, files } = options
  const paths: string[] = []
  // The work without its conversation is better than neither.
  for (const path of await files.sessionFiles(adapter, { home, cwd, sessionId }).catch(() => [])) {
    const content = await textOf(files, join(home, path)).catch(() => undefined)
    if (content === undefined) continue
    const copy = join(sessionDirectory, path)
    await mkdir(dirname(copy), { recursive: true })
    await writeFile(copy, mask(content))
    paths.push(path)
  }
  return paths.length === 0 ? undefined : { directory: sessionDirectory, paths }
}

async function textOf(files: WorkFiles, path: string): Promise<string> {
  const { size, content } = await files.open(path)
  if (size <= MAX_SESSION_FILE_BYTES) return await text(content)
  content.destroy()
  throw new RangeError(`${path} is too large`)
}
