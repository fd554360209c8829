/**
 * Brings a task's work home from the gateway.
 *
 * `fetchTask` fetches into a scratch repository, checked by git object for object. The user's configuration has no say in the
 * transfer, and the user's repository is not touched.
 */
import { RclaudeError } from '../../protocol/errors.ts'
import { PARTS_FILE, type Parts, readParts } from '../../protocol/parts.ts'
import { REFS } from '../../protocol/run.ts'
import { complaint, git, textOf } from './git.ts'
import { type GitProgress, progressParser } from './progress.ts'
import { networkError } from './push.ts'
import { type GatewayRemote, NO_EXEMPTIONS, remoteConfig, remoteUrl } from './remote.ts'
import type { Scratch } from './scratch.ts'

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
  /** What the snapshot's tree could not say. */
  parts: Parts | undefined
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
    if (/mismatched algorithms/.test(output.stderr)) throw otherProject(remote)
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
  const wanted = [from === 'result' ? REFS.result : REFS.checkpoint, REFS.snapshot, REFS.base, REFS.parts].filter(
    (ref) => refs.has(ref),
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
    parts: fetched.has(REFS.parts) ? await partsIn(fetched.get(REFS.parts) ?? '', run, what) : undefined,
  }
}

/** Git tells this case by the object formats alone; two of the same format are told by their history. */
const otherProject = ({ taskId }: GatewayRemote) =>
  new RclaudeError(
    'conflict',
    `${taskId} was started from another project: its repository has another object format (sha1, sha256) than the one here; go to its folder, then try again`,
  )

async function partsIn(commit: string, run: (args: string[]) => Promise<string>, what: string): Promise<Parts> {
  try {
    return readParts(textOf(await run(['cat-file', 'blob', `${commit}:${PARTS_FILE}`])))
  } catch (error) {
    throw new RclaudeError('internal', `${what}: ${REFS.parts} describes no snapshot`, { cause: error })
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
