/** What a task is given that nobody may read: sealed until its agent has it, and asked for again when it is needed again. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Task } from '../../protocol/task.ts'
import type { Hidden } from '../auth/vault.ts'
import type { TaskContext } from './context.ts'

/** Undefined when there is nothing to hide. */
export function sealed(context: TaskContext, taskId: TaskId, hidden: Hidden): Buffer | undefined {
  const isEmpty = Object.keys(hidden.secrets).length === 0 && hidden.repoToken === undefined
  return isEmpty ? undefined : context.vault.seal(taskId, hidden)
}

/**
 * A clone that succeeded lies on the gateway, and needs no token again. One that did not is made anew, and the token it
 * was to be made with was deleted when the agent got it.
 * @throws {RclaudeError} `invalid` when the token has to be given again, or is given to a clone that has no user for it
 */
export async function tokenForAnotherClone(
  context: TaskContext,
  task: Task,
  repoToken: string | undefined,
): Promise<string | undefined> {
  const source = task.spec.workspace
  if (source.kind !== 'repo') return undefined
  // A task that still runs has not written down what its repository holds.
  if (task.pruned === undefined && (await context.workspaces.refs(task.id)).snapshot !== undefined) return undefined
  const { user, url } = source
  if (user !== undefined && repoToken === undefined)
    throw new RclaudeError(
      'invalid',
      `task ${task.id} never got its clone of ${url}, and the token for it was deleted when it was delivered: give it again (--repo-token NAME, or repoToken)`,
    )
  if (user === undefined && repoToken !== undefined)
    throw new RclaudeError(
      'invalid',
      `task ${task.id} clones ${url} without a user: start a new one with rclaude run --repo ${url} --repo-token NAME`,
    )
  return repoToken
}
