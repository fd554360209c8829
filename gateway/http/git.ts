/** A task's repository as a git remote for its owner: fetch results, push the snapshot. */
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { AnyRoute } from '../../protocol/route.ts'
import { REFS } from '../../protocol/run.ts'
import type { Task } from '../../protocol/task.ts'
import type { Principal } from '../auth/tokens.ts'
import { mustHaveFiles } from '../tasks/pruned.ts'
import { mustAwaitWorkspace, workspaceArrived } from '../tasks/requests.ts'
import { type GitPath, serveGit } from '../workspaces/git-http.ts'
import { type Call, type Handlers, principalOf, taskOf } from './context.ts'

export const gitHandlers: Pick<Handlers, 'gitRefs' | 'gitUploadPack' | 'gitReceivePack'> = {
  gitRefs: (call) => serve(call, 'info/refs', call.query.service),
  gitUploadPack: (call) => serve(call, 'git-upload-pack'),
  gitReceivePack: (call) => serve(call, 'git-receive-pack'),
}

async function serve(call: Call<AnyRoute>, path: GitPath, service?: string): Promise<Response> {
  const { c, deps } = call
  const task = taskOf(call)
  mustHaveFiles(task)
  const isPush = path === 'git-receive-pack' || service === 'git-receive-pack'
  if (isPush) mustAwaitWorkspace(task)
  await serveGit({
    ...(await deps.workspaces.access(task.id, callerOf(principalOf(call), task, isPush))),
    request: c.env.incoming,
    response: c.env.outgoing,
    path,
    service,
    deadlineSeconds: deps.config.deadlines.transfer,
    onComplaint: (why) => deps.log.info({ taskId: task.id, path }, why),
    async beforeEnd(updated) {
      if (updated.some(({ ref }) => ref === REFS.snapshot)) await workspaceArrived(deps, task.id)
    },
  })
  return RESPONSE_ALREADY_SENT
}

/** Only the owner pushes. A guest sees nothing that was only borrowed for that, such as the owner's other tasks. */
function callerOf({ role, user }: Principal, task: Task, isPush: boolean): 'owner' | 'reader' | 'guest' {
  if (role !== 'admin' && user !== task.owner) return 'guest'
  return isPush && role !== 'viewer' ? 'owner' : 'reader'
}
