/** Asking for a preview, and who is in one, over the API. */
import { RclaudeError } from '../../../protocol/errors.ts'
import { PortNumber } from '../../../protocol/port.ts'
import type { PreviewSession } from '../../../protocol/routes.ts'
import type { StoredPreview } from '../../store/store.ts'
import { type Handlers, principalOf, taskOf } from '../context.ts'

export const previewHandlers: Pick<Handlers, 'openPreview' | 'listPreviews' | 'endPreviews'> = {
  openPreview: (call) => {
    const { c, deps, body } = call
    const task = taskOf(call)
    const port = PortNumber.safeParse(c.req.param('port'))
    if (!port.success)
      throw new RclaudeError('invalid', `"${c.req.param('port')?.slice(0, 20)}" is no port, 1 to 65535`)
    if (task.state === 'ended')
      throw new RclaudeError('gone', `task ${task.id} has ended (${task.outcome}): it has no ports any more`)
    const entry = deps.previews.ticket({ taskId: task.id, port: port.data }, principalOf(call), body.path)
    return c.json(
      {
        url: entry.url,
        origin: entry.origin,
        port: port.data,
        ticketExpiresAt: new Date(entry.ticketExpiresAtMs).toISOString(),
        sessionExpiresAt: new Date(entry.sessionExpiresAtMs).toISOString(),
      },
      200,
      { 'cache-control': 'no-store' },
    )
  },
  listPreviews: (call) => call.c.json({ previews: call.deps.previews.list(taskOf(call).id).map(told) }),
  endPreviews(call) {
    const { c, deps, query } = call
    const ended = deps.previews.end(taskOf(call).id, query)
    for (const { id } of ended) deps.connections.closePreview(id)
    return c.json({ ended: ended.map(told) })
  },
}

const told = ({ id, port, user, address, enteredAt, expiresAt }: StoredPreview): PreviewSession => ({
  id,
  port,
  user,
  address,
  enteredAt,
  expiresAt,
})
