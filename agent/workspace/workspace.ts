/**
 * The workspace of one placement.
 *
 * prepare: fetch from the gateway (or clone) -> check out an ordinary repository, branch `work`, for the coding agent.
 * checkpoint, result: the workspace as a tree -> a commit on top of the snapshot -> push to the gateway. The commit's only
 * parent is the snapshot, whatever the agent did with branches: the result is a difference of trees.
 *
 * Operations run one after the other; each opens the bridge through which git reaches the gateway.
 */

import { rm } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import type { Withheld } from '../../protocol/event.ts'
import { REFS, type RunWorkspace } from '../../protocol/run.ts'
import { emptyOf } from '../processes/belongings.ts'
import type { WorkUser } from '../processes/child.ts'
import type { Leaks } from '../run/leaks.ts'
import { captureWork } from './capture.ts'
import { checkOut } from './check-out.ts'
import { cloneInto } from './clone.ts'
import { type CommitTree, committer } from './commit.ts'
import { type GitBridge, openGitBridge } from './git-bridge.ts'
import { leftOut } from './left-out.ts'
import { type Prepared, readPrepared, writePrepared } from './prepared.ts'
import { idOf, LOCAL } from './refs.ts'
import { FETCH, Repositories } from './repositories.ts'
import { captureSession, type SessionFiles, writeSession } from './session.ts'
import { type SeenBlobs, withhold } from './withhold.ts'

export type { SessionFiles } from './session.ts'

const MAX_SUBJECT = 200
export interface WorkspaceOptions {
  taskId: string
  /** Where the coding agent works. */
  work: string
  /** A directory of the daemon's, outside `work`, that the work user can enter and not write. */
  state: string
  /** A folder of the work user's, outside both. Default: made in `state`, which only a daemon that is the same user can do. */
  private?: string
  user?: WorkUser | undefined
  author: { name: string; email: string }
  /** The agent's own: which proxy and which authorities a repository elsewhere is cloned with. */
  env?: NodeJS.ProcessEnv
  /** Sends a request for `/git/...` to the gateway and its answer back. */
  forward: RequestListener
  now?: () => Date
}

export interface SaveOptions {
  /** First line of the commit; the prompt will do. */
  message: string
  /** The coding agent's session files, kept as a commit of their own. */
  session?: SessionFiles | undefined
  /** What no file may hold that is saved. */
  leaks?: Leaks | undefined
  signal?: AbortSignal | undefined
}

export interface Saved {
  commit: string
  filesChanged: number
  insertions: number
  deletions: number
  /** What could not be saved, as sentences for people. */
  warnings: string[]
  /** Changed files that are not in it. */
  withheld: Withheld[]
}

export class Workspace {
  readonly #options: WorkspaceOptions
  readonly #repositories: Repositories
  readonly #commitTree: CommitTree
  #prepared: Prepared | undefined
  /** What was pushed last, to push nothing twice. */
  #last: { tree: string; commit: string; sessionTree: string | undefined } | undefined
  /** What was looked through for these secrets needs no second look. */
  readonly #seen = new WeakMap<Leaks, SeenBlobs>()
  #queue: Promise<unknown> = Promise.resolve()

  constructor(options: WorkspaceOptions) {
    this.#options = options
    this.#repositories = new Repositories(options)
    this.#commitTree = committer(this.#repositories, options)
  }

  /**
   * Repeating it in the same placement changes nothing: the work goes on with the files as they are.
   *
   * @returns what is not there, as sentences for people
   */
  async prepare(spec: RunWorkspace, signal?: AbortSignal): Promise<string[]> {
    return await this.#inTurn(async () => {
      if (spec.kind === 'none') {
        await this.#repositories.giveDirectory(this.#options.work)
        return []
      }
      this.#prepared ??= await readPrepared(this.#options.state)
      if (this.#prepared !== undefined) return []
      await this.#clear()
      const objectFormat = spec.kind === 'git' ? spec.objectFormat : 'sha1'
      await this.#repositories.init(objectFormat)
      if (spec.kind === 'git') await this.#fetch(spec, signal)
      else await this.#clone(spec, signal)
      const submodules = await checkOut(this.#repositories, {
        objectFormat,
        spec,
        author: this.#options.author,
        commitTree: this.#commitTree,
        signal,
      })
      const missing = spec.kind === 'repo' ? await leftOut(this.#repositories, LOCAL.snapshot, signal) : []
      const [snapshot, snapshotTree] = await Promise.all([
        idOf(this.#repositories, LOCAL.snapshot),
        idOf(this.#repositories, `${LOCAL.snapshot}^{tree}`),
      ])
      this.#prepared = { snapshot, snapshotTree, session: spec.kind === 'git' && spec.session, submodules }
      await writePrepared(this.#options.state, this.#prepared)
      return missing
    })
  }

  /** The commit that the result is compared with; undefined without a workspace. */
  get snapshot(): string | undefined {
    return this.#prepared?.snapshot
  }

  /** Undefined when nothing changed since the last one, or there is no workspace. */
  async checkpoint(options: SaveOptions): Promise<Saved | undefined> {
    return await this.#inTurn(async () => {
      const prepared = this.#prepared
      if (prepared === undefined) return undefined
      const { tree, warnings, withheld } = await this.#capture(prepared, options)
      const sessionTree = await captureSession(this.#repositories, options.session, options.signal)
      const sameWork = tree === (this.#last?.tree ?? prepared.snapshotTree)
      if (sameWork && sessionTree === this.#last?.sessionTree) return undefined
      const commit = await this.#commit(tree, prepared, options)
      await this.#push([`+${commit}:${REFS.checkpoint}`, ...(await this.#sessionRefs(sessionTree))], options.signal)
      this.#last = { tree, commit, sessionTree }
      return { commit, ...(await this.#stat(prepared.snapshot, commit, options.signal)), warnings, withheld }
    })
  }

  /** Always leaves a result on the gateway: the snapshot itself when no file changed. Undefined without a workspace. */
  async result(options: SaveOptions): Promise<Saved | undefined> {
    return await this.#inTurn(async () => {
      const prepared = this.#prepared
      if (prepared === undefined) return undefined
      const { tree, warnings, withheld } = await this.#capture(prepared, options)
      const sessionTree = await captureSession(this.#repositories, options.session, options.signal)
      const commit = await this.#commit(tree, prepared, options)
      const session = sessionTree === this.#last?.sessionTree ? [] : await this.#sessionRefs(sessionTree)
      await this.#push([`+${commit}:${REFS.result}`, ...session], options.signal)
      this.#last = { tree, commit, sessionTree }
      return { commit, ...(await this.#stat(prepared.snapshot, commit, options.signal)), warnings, withheld }
    })
  }

  /** Writes the saved session files below `directory`; false when there are none. */
  async restoreSession(directory: string, signal?: AbortSignal): Promise<boolean> {
    return await this.#inTurn(async () => {
      if (this.#prepared?.session !== true) return false
      await writeSession(
        this.#repositories,
        await idOf(this.#repositories, `${LOCAL.session}^{tree}`),
        directory,
        signal,
      )
      return true
    })
  }

  async #fetch(spec: Extract<RunWorkspace, { kind: 'git' }>, signal?: AbortSignal): Promise<void> {
    const specs = [`+${spec.snapshot}:${LOCAL.snapshot}`, `+${spec.checkout}:${LOCAL.checkout}`]
    if (spec.session) specs.push(`+${REFS.session}:${LOCAL.session}`)
    if (spec.parts !== undefined) specs.push(`+${spec.parts}:${LOCAL.parts}`)
    await this.#overBridge(async ({ url, config }) => {
      await this.#repositories.daemon([...FETCH, '--update-shallow', url, ...specs], {
        config,
        transports: ['http'],
        signal,
      })
    })
  }

  async #clone(spec: Extract<RunWorkspace, { kind: 'repo' }>, signal?: AbortSignal): Promise<void> {
    await cloneInto(this.#repositories, LOCAL.snapshot, spec, { own: this.#options.env ?? {}, signal })
    // An annotated tag is peeled: from here on it is a commit.
    await this.#repositories.daemon([
      'update-ref',
      LOCAL.snapshot,
      await idOf(this.#repositories, `${LOCAL.snapshot}^{commit}`),
    ])
    await this.#repositories.daemon(['update-ref', LOCAL.checkout, await idOf(this.#repositories, LOCAL.snapshot)])
    await this.#push([`+${LOCAL.snapshot}:${REFS.snapshot}`], signal)
  }

  async #capture(prepared: Prepared, { leaks, signal }: SaveOptions) {
    const { tree: work, warnings } = await captureWork(this.#repositories, prepared.submodules, signal)
    if (leaks === undefined) return { tree: work, warnings, withheld: [] }
    const seen = this.#seen.get(leaks) ?? new Map()
    this.#seen.set(leaks, seen)
    return {
      warnings,
      ...(await withhold(this.#repositories, { snapshot: prepared.snapshotTree, work }, leaks, seen, signal)),
    }
  }

  async #commit(tree: string, prepared: Prepared, options: SaveOptions): Promise<string> {
    if (tree === this.#last?.tree) return this.#last.commit
    if (tree === prepared.snapshotTree) return prepared.snapshot
    const subject = (options.message.trim().split('\n')[0] ?? '').slice(0, MAX_SUBJECT) || 'Work of the coding agent'
    return await this.#commitTree(tree, `${subject}\n\nTask: ${this.#options.taskId}\n`, prepared.snapshot)
  }

  async #sessionRefs(tree: string | undefined): Promise<string[]> {
    if (tree === undefined) return []
    return [`+${await this.#commitTree(tree, `Session files\n\nTask: ${this.#options.taskId}\n`)}:${REFS.session}`]
  }

  async #push(refspecs: readonly string[], signal?: AbortSignal): Promise<void> {
    await this.#overBridge(async ({ url, config }) => {
      await this.#repositories.daemon(['push', '-q', '--atomic', '--no-verify', url, ...refspecs], {
        config,
        transports: ['http'],
        signal,
      })
    })
  }

  async #stat(from: string, to: string, signal?: AbortSignal) {
    const args = ['diff-tree', '-r', '-M', '--shortstat', '--no-ext-diff', '--no-textconv', from, to]
    const { stdout } = await this.#repositories.daemon(args, { signal })
    const count = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? 0)
    return {
      filesChanged: count(/(\d+) files? changed/),
      insertions: count(/(\d+) insertions?\(\+\)/),
      deletions: count(/(\d+) deletions?\(-\)/),
    }
  }

  async #overBridge(work: (bridge: GitBridge) => Promise<void>): Promise<void> {
    await using bridge = await openGitBridge(this.#options.forward)
    await work(bridge)
  }

  /** What a preparation that was cut off left behind. */
  async #clear(): Promise<void> {
    await rm(this.#repositories.daemonGit, { recursive: true, force: true })
    for (const folder of [this.#repositories.private, this.#options.work]) await emptyOf(this.#options.user, folder)
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#queue.catch(() => {}).then(work)
    this.#queue = mine
    return await mine
  }
}
