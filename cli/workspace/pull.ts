/**
 * Puts a task's work into the user's repository as a branch, `rclaude/<task>`, and into each submodule that it changed. What is
 * new is brought when everything is there; files, index and other branches are left alone.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { type FetchOptions, fetchTask } from './fetch.ts'
import { complaint, git, splitNul, textOf } from './git.ts'
import { type HomeCommits, homeCommits } from './home.ts'
import { locate, type Place } from './place.ts'
import type { GatewayRemote } from './remote.ts'
import { openScratch, type Scratch } from './scratch.ts'
import { findRepositories } from './submodules.ts'

export interface PullOptions extends FetchOptions {
  /** Default `rclaude/<task id>`. */
  branch?: string
  /** Move the branch even when its newest commit is not of this task. */
  force?: boolean
}

export interface Pulled {
  branch: string
  commit: string
  from: 'result' | 'checkpoint'
  /** `unchanged`: the branch was there already. */
  status: 'created' | 'updated' | 'unchanged'
  /** The same branch in each submodule that the task changed. */
  submodules?: PulledRepository[]
}

export interface PulledRepository {
  /** From the superproject's folder. */
  path: string
  commit: string
  status: Pulled['status']
}

/** @throws {RclaudeError} `conflict` when the branch is checked out or holds the user's own commits */
export async function pullTask(folder: string, remote: GatewayRemote, options: PullOptions = {}): Promise<Pulled> {
  const { signal } = options
  const place = await locate(folder, signal)
  if (place.repository === undefined)
    throw new RclaudeError(
      'invalid',
      `${place.root} is no git repository, so there is no branch to pull to; use rclaude apply`,
    )
  const branch = options.branch ?? `rclaude/${remote.taskId}`
  const ref = `refs/heads/${branch}`
  const ours = userGit(place, signal)
  if ((await ours(['check-ref-format', ref], undefined, [1])).code !== 0)
    throw new RclaudeError('invalid', `${branch} is no name for a branch; choose another`)
  await refuseCheckedOut(ours, ref, branch)

  await using scratch = await openScratch(place, signal)
  const repositories = await findRepositories(place, scratch, { signal })
  const task = await fetchTask(scratch, remote, options)
  const homes = await homeCommits(task, repositories, scratch, signal)
  const isForced = options.force === true
  const before = new Map<HomeCommits, string>()
  for (const home of homes)
    before.set(home, await tipOf(home, { ref, branch, taskId: remote.taskId, isForced }, signal))
  const pulled: PulledRepository[] = []
  for (const home of homes) {
    const { repository, commit } = home
    const tip = before.get(home) ?? ''
    const own = userGit(repository.place, signal)
    if (tip !== commit) {
      await bringObjects(home, scratch, signal)
      await own(['update-ref', '--create-reflog', '-m', `rclaude: pull ${task.from}`, ref, commit, tip])
    }
    pulled.push({
      path: repository.path,
      commit,
      status: tip === commit ? 'unchanged' : tip === '' ? 'created' : 'updated',
    })
  }
  const { commit = task.commit, status = 'unchanged' } = pulled.find(({ path }) => path === '') ?? {}
  const submodules = pulled.filter(({ path }) => path !== '')
  return { branch, commit, from: task.from, status, ...(submodules.length > 0 && { submodules }) }
}

/** Where the branch is now, `''` for nowhere; refused when it is not for us to move. */
async function tipOf(
  { repository, commit }: HomeCommits,
  { ref, branch, taskId, isForced }: { ref: string; branch: string; taskId: string; isForced: boolean },
  signal?: AbortSignal,
): Promise<string> {
  const own = userGit(repository.place, signal)
  if (repository.path !== '') await refuseCheckedOut(own, ref, branch)
  const tip = (await own(['rev-parse', '-q', '--verify', ref], undefined, [1])).stdout.trim()
  if (tip !== '' && tip !== commit && !isForced) await refuseForeign(own, tip, taskId, branch)
  return tip
}

type Ours = (args: string[], input?: Uint8Array, answers?: number[]) => ReturnType<typeof git>

const userGit =
  (place: Place, signal?: AbortSignal): Ours =>
  (args, input, answers) =>
    git(args, {
      mode: 'user',
      cwd: place.root,
      env: { GIT_DIR: place.repository?.gitDir ?? '' },
      signal,
      ...(input !== undefined && { input }),
      ...(answers !== undefined && { answers }),
    })

async function refuseCheckedOut(ours: Ours, ref: string, branch: string): Promise<void> {
  const attributes = splitNul((await ours(['worktree', 'list', '--porcelain', '-z'])).stdout)
  const at = attributes.indexOf(`branch ${Buffer.from(ref).toString('latin1')}`)
  if (at < 0) return
  const where = attributes.slice(0, at).findLast((line) => line.startsWith('worktree ')) ?? 'worktree ?'
  throw new RclaudeError(
    'conflict',
    `branch ${branch} is checked out in ${textOf(where.slice('worktree '.length))}; switch to another branch there, or pull with another branch name`,
  )
}

/** Each of our commits names its task; a branch whose tip does not was moved by the user. */
async function refuseForeign(ours: Ours, tip: string, taskId: string, branch: string): Promise<void> {
  const message = (await ours(['log', '-1', '--format=%B', tip])).stdout
  if (message.split('\n').includes(`Task: ${taskId}`)) return
  throw new RclaudeError(
    'conflict',
    `branch ${branch} holds commits that are not of ${taskId}; rename it (git branch -m), or pull with another branch name`,
  )
}

/** Packs what the user's repository lacks and has the user's git check and keep it. */
async function bringObjects(task: HomeCommits, scratch: Scratch, signal?: AbortSignal): Promise<void> {
  const { place } = task.repository
  const ours = userGit(place, signal)
  const known: string[] = []
  for (const commit of [task.base, task.snapshot]) {
    if (commit === undefined) continue
    if ((await ours(['cat-file', '-e', `${commit}^{commit}`], undefined, [1, 128])).code === 0) known.push(commit)
  }
  const cut = await readFile(join(scratch.gitDir, 'shallow'), 'latin1').catch(() => '')
  if (known.length === 0 && cut !== '' && place.repository?.head !== undefined)
    throw new RclaudeError(
      'conflict',
      `${place.root} does not hold the commit ${task.base ?? task.snapshot} that the task started from; pull in the clone where it was started, or git fetch that commit first`,
    )
  const revisions = [task.commit, ...known.map((commit) => `^${commit}`)].map((line) => `${line}\n`).join('')
  const pack = await git(['pack-objects', '--revs', '--stdout', '-q'], {
    mode: 'own',
    cwd: scratch.directory,
    env: { GIT_DIR: scratch.gitDir },
    input: Buffer.from(revisions),
    signal,
  })
  await ours(['index-pack', '--stdin', '--fix-thin'], Buffer.from(pack.stdout, 'latin1'))
  const connected = await ours(['rev-list', '--objects', '--quiet', task.commit, '--not', '--all'], undefined, [1, 128])
  if (connected.code !== 0)
    throw new RclaudeError('conflict', `what was fetched does not fit ${place.root}: ${complaint(connected.stderr)}`)
}
