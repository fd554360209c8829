/**
 * The Docker engine of a task that asked for one, in a container beside this one. The two share the engine's socket and the
 * folders of the work, on volumes that begin as root's: they are given to the work here. The work waits for the engine,
 * which takes a moment to start.
 */
import { chmod, lchown } from 'node:fs/promises'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { ENGINE_FOLDERS } from '../../protocol/run.ts'
import { hasCode } from '../files/tree.ts'
import type { WorkUser } from '../processes/child.ts'

/** For dockerd to start, which takes some seconds on a slow disk. Its machine and image are there. */
const PATIENCE_MS = 60_000
const POLL_MS = 100
/** For all containers to be told to end. */
const END_MS = 5_000
const MAX_ENDED = 1_000
/** Of one answer. */
const ANSWER_MS = 5_000
const MAX_ANSWER = 4 * 1024 ** 2

/** @param root of the placement's folders: the agent's own, so that no folder in it is another's link */
export async function giveSharedFolders(root: string, socket: string, { uid, gid }: WorkUser): Promise<void> {
  for (const name of ENGINE_FOLDERS) {
    await chmod(join(root, name), 0o755)
    await lchown(join(root, name), uid, gid)
  }
  await lchown(dirname(socket), uid, gid) // for an engine that runs as a user with the same number
}

/**
 * Resolves when the engine answers, and the work may use its socket.
 * @throws Error with what it did instead, for people; the reason of `signal` when that fires
 */
export async function engineAnswers(
  socket: string,
  user: WorkUser | undefined,
  signal: AbortSignal,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = Date.now() + patienceMs
  for (;;) {
    try {
      // Its group is the agent's, which asks it as well. The work can put a link there, to nothing of others.
      if (user !== undefined) await lchown(socket, user.uid, 0)
      await call(socket, 'GET', '/_ping', signal)
      return
    } catch (error) {
      signal.throwIfAborted()
      if (Date.now() < deadline) await setTimeout(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted())
      else throw new Error(`the task's Docker engine does not answer after ${patienceMs / 1000} s: ${wordsOf(error)}`)
    }
  }
}

/**
 * What the work runs there ends with it: the engine itself is ended by the gateway, which may be gone for good.
 * @throws Error when the engine does not answer
 */
export async function endContainers(socket: string): Promise<void> {
  const signal = AbortSignal.timeout(END_MS)
  const running = JSON.parse(await call(socket, 'GET', '/containers/json', signal)) as Array<{ Id: string }>
  await Promise.allSettled(
    running.slice(0, MAX_ENDED).map(({ Id }) => call(socket, 'POST', `/containers/${Id}/kill`, signal)),
  )
}

/**
 * The work may answer in its place, with whatever it likes.
 * @returns the body of an answer that says yes
 */
function call(socketPath: string, method: string, path: string, until: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.any([until, AbortSignal.timeout(ANSWER_MS)])
    const asked = request({ socketPath, method, path, signal }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (piece: string) => {
        body += piece
        if (body.length > MAX_ANSWER) asked.destroy(new Error('it says too much'))
      })
      response.on('error', reject)
      response.on('end', () => {
        if ((response.statusCode ?? 500) < 300) resolve(body)
        else reject(new Error(`it says ${response.statusCode}`))
      })
    })
    asked.on('error', (error) => reject(hasCode(error, 'ABORT_ERR') ? new Error('it is silent') : error))
    asked.end()
  })
}

function wordsOf(error: unknown): string {
  if (hasCode(error, 'ENOENT')) return 'it has not begun to listen'
  if (hasCode(error, 'ECONNREFUSED')) return 'it has ended'
  return (error as Error).message
}
