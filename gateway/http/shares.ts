/** With whom a task is shared. What a share allows is decided in `authorize()`. */
import { RclaudeError } from '../../protocol/errors.ts'
import { UserName } from '../../protocol/routes.ts'
import { isoNow } from '../tasks/context.ts'
import { type Handlers, principalOf, taskOf } from './context.ts'

export const shareHandlers: Pick<Handlers, 'listShares' | 'share' | 'unshare'> = {
  listShares: (call) => call.c.json({ shares: call.deps.store.listShares(taskOf(call).id) }),
  share(call) {
    const { c, deps, body } = call
    const task = taskOf(call)
    const user = userOf(c.req.param('user'))
    if (user === task.owner) throw new RclaudeError('invalid', `task ${task.id} is ${user}'s own`)
    const before = deps.store.getShare(task.id, user)
    const share = { user, access: body.access, by: principalOf(call).user, at: isoNow() }
    deps.store.putShare(task.id, share)
    if (before === 'write' && body.access === 'read') deps.connections.closeTask(task.id, user)
    return c.json(share)
  },
  unshare(call) {
    const { c, deps } = call
    const user = userOf(c.req.param('user'))
    deps.store.dropShare(taskOf(call).id, user)
    deps.connections.closeTask(taskOf(call).id, user)
    return c.body(null, 204)
  },
}

function userOf(text: string | undefined): string {
  const user = UserName.safeParse(text)
  if (user.success) return user.data
  throw new RclaudeError('invalid', `"${String(text).slice(0, 60)}" is no name of a user`)
}
