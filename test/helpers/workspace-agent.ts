/** An agent's workspace for a task whose snapshot is on the gateway. */
import { join } from 'node:path'
import { Workspace } from '../../agent/workspace/workspace.ts'
import type { TaskId } from '../../protocol/ids.ts'
import { type GitGateway, gitIn, temporary } from '../gateway/workspaces/git-gateway.ts'

export async function prepareAgent(gateway: GitGateway, taskId: TaskId, checkout?: string) {
  const directory = temporary('placement')
  const work = join(directory, 'work')
  const author = { name: 'Agent', email: 'agent@example.com' }
  const forward = gateway.forward(taskId)
  const workspace = new Workspace({ taskId, work, state: join(directory, 'state'), author, forward })
  const { snapshot = '', parts } = await gateway.workspaces.refs(taskId)
  await workspace.prepare({
    kind: 'git',
    objectFormat: snapshot.length === 64 ? 'sha256' : 'sha1',
    snapshot,
    checkout: checkout ?? snapshot,
    session: false,
    ...(parts !== undefined && { parts }),
  })
  const save = async () => (await workspace.result({ message: 'Fix it' }))?.commit ?? ''
  return { workspace, work, save, git: gitIn(work) }
}
