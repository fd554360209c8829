/** Tasks: create, list, look at, stop, delete, repeat, continue. */
import { RclaudeError } from '../../protocol/errors.ts'
import { continueTask } from '../tasks/continue.ts'
import { createTask, retryTask } from '../tasks/create.ts'
import { prune } from '../tasks/prune.ts'
import { deleteTask, requestStop } from '../tasks/requests.ts'
import { type Handlers, principalOf, taskOf } from './context.ts'
import { atPresent } from './present.ts'

type Names =
  | 'createTask'
  | 'listTasks'
  | 'getTask'
  | 'stopTask'
  | 'deleteTask'
  | 'pruneTasks'
  | 'retryTask'
  | 'continueTask'
  | 'renewLease'
  | 'releaseLease'

/** Whose task it will be. */
const askerOf = (call: Parameters<typeof principalOf>[0]) => {
  const { user, tokenId } = principalOf(call)
  return { owner: user, tokenId }
}

export const taskHandlers: Pick<Handlers, Names> = {
  async createTask(call) {
    const { c, deps, body } = call
    const idempotencyKey = c.req.header('idempotency-key')
    if (idempotencyKey !== undefined && !/^[\x21-\x7e]{1,200}$/.test(idempotencyKey))
      throw new RclaudeError('invalid', 'Idempotency-Key takes 1 to 200 printable characters')
    const { task, created } = await createTask(deps, body, { ...askerOf(call), idempotencyKey })
    if (call.auditId !== undefined) deps.store.setAuditTask(call.auditId, task.id)
    return c.json(task, created ? 201 : 200, { location: `/v1/tasks/${task.id}` })
  },
  listTasks(call) {
    const { c, deps, query } = call
    const principal = principalOf(call)
    const [name = '', ...value] = (query.label ?? '').split('=')
    const result = deps.store.listTasks({
      // Others' tasks are an administrator's to see, and only when asked for or unfiltered.
      owner: query.shared || principal.role === 'admin' ? query.owner : principal.user,
      sharedWith: query.shared ? principal.user : undefined,
      state: query.state,
      label: name === '' ? undefined : { name, value: value.length > 0 ? value.join('=') : undefined },
      limit: query.limit,
      cursor: query.cursor,
    })
    return c.json({ ...result, tasks: atPresent(deps, result.tasks) })
  },
  getTask: (call) => call.c.json(atPresent(call.deps, [taskOf(call)])[0]),
  stopTask: (call) => call.c.json(requestStop(call.deps, taskOf(call), principalOf(call).user, call.body.reason), 202),
  async deleteTask(call) {
    await deleteTask(call.deps, taskOf(call))
    call.deps.reserve.restore()
    return call.c.body(null, 204)
  },
  async pruneTasks(call) {
    const { c, deps, body } = call
    const { user, role } = principalOf(call)
    if (body.allUsers && role !== 'admin')
      throw new RclaudeError(
        'forbidden',
        `all users' tasks are an administrator's to prune; leave out --all-users for yours`,
      )
    const { allUsers, endedBefore, ...rest } = body
    const { pruned, nextCursor } = await prune(deps, {
      ...rest,
      before: endedBefore,
      owner: allUsers ? undefined : user,
      by: `rclaude prune by ${user}`,
    })
    if (!body.dryRun) deps.reserve.restore()
    const tasks = pruned.map(({ task: { id, owner, endedAt, outcome }, bytes }) => ({
      id,
      owner,
      endedAt,
      outcome,
      bytes,
    }))
    return c.json({ tasks, bytes: tasks.reduce((sum, { bytes }) => sum + bytes, 0), ...(nextCursor && { nextCursor }) })
  },
  async retryTask(call) {
    const task = await retryTask(call.deps, taskOf(call), call.body, askerOf(call))
    return call.c.json(task, 201, { location: `/v1/tasks/${task.id}` })
  },
  async continueTask(call) {
    const { prompt, ...hidden } = call.body
    const task = await continueTask(call.deps, taskOf(call), prompt, hidden, principalOf(call).tokenId)
    return call.c.json(task, 202)
  },
  renewLease(call) {
    const task = taskOf(call)
    // Whoever sends signs of life learns that they are no longer wanted.
    if (task.state === 'ended') throw new RclaudeError('gone', `task ${task.id} has ended`)
    call.deps.leases().renew(task.id)
    return call.c.body(null, 204)
  },
  releaseLease(call) {
    call.deps.leases().release(taskOf(call).id)
    return call.c.body(null, 204)
  },
}
