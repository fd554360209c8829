/** Sends a snapshot to the task's repository on the gateway, with git's own protocol. */
import { gitProxyError } from '../../host/proxy.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { REFS } from '../../protocol/run.ts'
import { complaint, git } from './git.ts'
import { amountOf, type GitProgress, progressParser } from './progress.ts'
import { type GatewayRemote, NO_EXEMPTIONS, remoteConfig, remoteUrl } from './remote.ts'
import type { Snapshot } from './snapshot.ts'

export interface PushOptions {
  onProgress?: (progress: GitProgress) => void
  signal?: AbortSignal | undefined
}

/**
 * The base goes first and by itself, then the parts: git 2.39's receive-pack forgets all refs but one of a push that brings a new shallow
 * boundary. The snapshot, whose arrival lets the task start, then finds everything but the user's changes there.
 * @returns how many bytes were sent, about
 * @throws {RclaudeError} with the gateway's reason when it refuses
 */
export async function pushSnapshot(
  snapshot: Snapshot,
  remote: GatewayRemote,
  options: PushOptions = {},
): Promise<number> {
  const send = (commit: string | undefined, ref: string) =>
    commit === undefined ? 0 : push(`${commit}:${ref}`, snapshot, remote, options)
  const base = await send(snapshot.base, REFS.base)
  const parts = await send(snapshot.parts, REFS.parts)
  return base + parts + (await send(snapshot.commit, REFS.snapshot))
}

async function push(refspec: string, snapshot: Snapshot, remote: GatewayRemote, options: PushOptions): Promise<number> {
  let bytes = 0
  const pushed = await git(['push', '--porcelain', '--progress', '--no-verify', remoteUrl(remote), `+${refspec}`], {
    mode: 'own',
    cwd: snapshot.scratch.directory,
    env: { GIT_DIR: snapshot.scratch.gitDir, ...NO_EXEMPTIONS },
    // The parts hold the same trees at other paths; git's quicker search compares path by path and would send them twice.
    config: [...(await remoteConfig(remote, snapshot.scratch.directory)), ['pack.useSparse', 'false']],
    answers: [1, 128],
    onStderr: progressParser((progress) => {
      if (progress.phase === 'Writing objects') bytes = Math.max(bytes, amountOf(progress))
      options.onProgress?.(progress)
    }),
    signal: options.signal,
  })
  if (pushed.code !== 0) throw refusal(remote, pushed.stdout, pushed.stderr)
  return bytes
}

function refusal(remote: GatewayRemote, stdout: string, stderr: string): RclaudeError {
  const rejected = /^!\t\S+\t(.*)$/m.exec(stdout)?.[1]
  const what = `the workspace of ${remote.taskId} could not be sent to ${remote.gateway}`
  return networkError(remote, what, `${rejected ?? ''}${rejected === undefined ? '' : '; '}${complaint(stderr)}`)
}

/** Says in our words what git says in HTTP's. */
export function networkError(remote: GatewayRemote, what: string, why: string): RclaudeError {
  const byProxy = gitProxyError(remote.gateway, remote.env ?? {}, why)
  if (byProxy !== undefined) return new RclaudeError('unavailable', `${what}: ${byProxy.message}`)
  if (/Authentication failed|could not read Username|error: 401/.test(why))
    return new RclaudeError('unauthenticated', `${what}: the gateway does not accept the token; run rclaude login`)
  if (/error: 403/.test(why)) return new RclaudeError('forbidden', `${what}: the gateway does not allow it`)
  if (/error: 404|not found/.test(why)) return new RclaudeError('not_found', `${what}: the gateway knows no such task`)
  if (/Failed to connect|Could not resolve|Connection refused/.test(why))
    return new RclaudeError('unavailable', `${what}: no answer; is the gateway running? (${why})`)
  if (/No space left|error: 507|maximum allowed size/.test(why))
    return /maximum/.test(why)
      ? new RclaudeError('too_large', `${what}: it is larger than the gateway takes (limits.workspace): ${why}`)
      : new RclaudeError('disk_full', `${what}: ${why}`)
  return new RclaudeError('unavailable', `${what}: ${why}`)
}
