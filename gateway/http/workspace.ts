/** The snapshot for those who have no git at hand: a tar, or a bundle. */
import type { Readable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { mustAwaitWorkspace, workspaceArrived } from '../tasks/requests.ts'
import { type Handlers, taskOf } from './context.ts'

export const workspaceHandlers: Pick<Handlers, 'putWorkspace'> = {
  async putWorkspace(call) {
    const { c, deps } = call
    const task = taskOf(call)
    mustAwaitWorkspace(task)
    const type = (c.req.header('content-type') ?? '').split(';', 1)[0]?.trim()
    const body = c.env.incoming as Readable
    if (type === 'application/x-tar' || type === 'application/gzip') await deps.workspaces.acceptTar(task.id, body)
    else if (type === 'application/x-git-bundle') await deps.workspaces.acceptBundle(task.id, body)
    else
      throw new RclaudeError(
        'unsupported',
        'a workspace is sent as application/x-tar, application/gzip or application/x-git-bundle',
      )
    return c.json({ snapshot: await workspaceArrived(deps, task.id) }, 201)
  },
}
