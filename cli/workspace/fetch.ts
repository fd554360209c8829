/**
 * Brings a task's work home from the gateway.
 *
 * `fetchTask` fetches into a scratch repository, checked by git object for object. `pull` then puts what is new into the
 * user's repository and points the branch `rclaude/<task>` at it. The user's configuration has no say in the transfer, and
 * the user's repository is touched only when everything is there.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { REFS } from '../../protocol/run.ts'
import { complaint, git, splitNul, textOf } from './git.ts'
import { locate, type Place, type UserRepository } from './place.ts'
import { type GitProgress, progressParser } from './progress.ts'
import { networkError } from './push.ts'
import { type GatewayRemote, NO_EXEMPTIONS, remoteConfig, remoteUrl } from './remote.ts'
import { openScratch, type Scratch } from './scratch.ts'

export interface FetchOptions {
  /** `newest`: the result, or the newest checkpoint while there is none. */
  want?: 'result' | 'checkpoint' | 'newest'
  onProgress?: (progress: GitProgress) => void
  signal?: AbortSignal | undefined
}

/** Commits, all present in the scratch repository. */
export interface FetchedTask {
  commit: string
  from: 'result' | 'checkpoint'
  snapshot: string
  base: string | undefined
}

export async function fetchTask(
  scratch: Scratch,
  remote: GatewayRemote,
  options: FetchOptions = {},
): Promise<FetchedTask> {
  const config = await remoteConfig(remote, scratch.directory)
  const what = `the work of ${remote.taskId} could not be fetched from ${remote.gateway}`
  const run = async (args: string[], onStderr?: (text: string) => void) => {
    const output = await git(args, {
      mode: 'own',
      cwd: scratch.directory,
      env: { GIT_DIR: scratch.gitDir, ...NO_EXEMPTIONS },
      config,
      answers: [1, 128],
      signal: options.signal,
      ...(onStderr !== undefined && { onStderr }),
    })
    if (output.code !== 0) throw networkError(remote, what, complaint(output.stderr))
    return output.stdout
  }
  const refs = parseRefs(await run(['ls-remote', remoteUrl(remote)]))
  const from = choose(refs, options.want ?? 'newest')
  const snapshot = refs.get(REFS.snapshot)
  if (from === undefined || snapshot === undefined)
    throw new RclaudeError(
      'not_found',
      `${remote.taskId} has no ${options.want === 'checkpoint' ? 'checkpoint' : 'result'} on the gateway yet; see rclaude show ${remote.taskId}`,
    )
  const wanted = [from === 'result' ? REFS.result : REFS.checkpoint, REFS.snapshot, REFS.base].filter((ref) =>
    refs.has(ref),
  )
  await run(
    ['fetch', '--progress', '--no-tags', '--no-write-fetch-head', '--update-shallow', '--no-recurse-submodules']
      .concat('--no-auto-maintenance', remoteUrl(remote))
      .concat(wanted.map((ref) => `+${ref}:refs/rclaude/${ref.slice('refs/'.length)}`)),
    progressParser((progress) => options.onProgress?.(progress)),
  )
  const fetched = parseRefs(
    await run(['for-each-ref', '--format=%(objectname)%09%(refname)', 'refs/rclaude/']),
    'refs/rclaude/',
  )
  return {
    from,
    commit: fetched.get(from === 'result' ? REFS.result : REFS.checkpoint) ?? '',
    snapshot: fetched.get(REFS.snapshot) ?? snapshot,
    base: fetched.get(REFS.base),
  }
}

function parseRefs(output: string, prefix = 'refs/'): Map<string, string> {
  const refs = new Map<string, string>()
  for (const line of output.split('\n')) {
    const [id, name] = line.split('\t')
    if (id !== undefined && name?.startsWith(prefix)) refs.set(`refs/${name.slice(prefix.length)}`, id)
  }
  return refs
}

function choose(refs: ReadonlyMap<string, string>, want: 'result' | 'checkpoint' | 'newest') {
  if (want !== 'checkpoint' && refs.has(REFS.result)) return 'result'
  return want !== 'result' && refs.has(REFS.checkpoint) ? 'checkpoint' : undefined
}

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
}

/** @throws {RclaudeError} `conflict` when the branch is checked out or holds the user's own commits */
export async function pullTask(folder: string, remote: GatewayRemote, options: PullOptions = {}): Promise<Pulled> {
  const place = await locate(folder, options.signal)
  const { repository } = place
  if (repository === undefined)
    throw new RclaudeError(
      'invalid',
      `${place.root} is no git repository, so there is no branch to pull to; use rclaude apply`,
    )
  const branch = options.branch ?? `rclaude/${remote.taskId}`
  const ref = `refs/heads/${branch}`
  const ours = userGit(place, repository, options.signal)
  if ((await ours(['check-ref-format', ref], undefined, [1])).code !== 0)
    throw new RclaudeError('invalid', `${branch} is no name for a branch; choose another`)
  await refuseCheckedOut(ours, ref, branch)

  await using scratch = await openScratch(place, options.signal)
  const task = await fetchTask(scratch, remote, options)
  const before = (await ours(['rev-parse', '-q', '--verify', ref], undefined, [1])).stdout.trim()
  const report = { branch, commit: task.commit, from: task.from }
  if (before === task.commit) return { ...report, status: 'unchanged' }
  if (before !== '' && options.force !== true) await refuseForeign(ours, before, remote.taskId, branch)
  await bringObjects(place, scratch, task, ours, options.signal)
  await ours(['update-ref', '--create-reflog', '-m', `rclaude: pull ${task.from}`, ref, task.commit, before])
  return { ...report, status: before === '' ? 'created' : 'updated' }
}

type Ours = (args: string[], input?: Uint8Array, answers?: number[]) => ReturnType<typeof git>

const userGit =
  (place: Place, repository: UserRepository, signal?: AbortSignal): Ours =>
  (args, input, answers) =>
    git(args, {
      mode: 'user',
      cwd: place.root,
      env: { GIT_DIR: repository.gitDir },
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
async function bringObjects(
  place: Place,
  scratch: Scratch,
  task: FetchedTask,
  ours: Ours,
  signal?: AbortSignal,
): Promise<void> {
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
