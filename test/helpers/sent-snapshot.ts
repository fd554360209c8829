/** A user's folder as a snapshot in a fresh task of a fresh gateway, which has it whole. */
import { pushSnapshot } from '../../cli/workspace/push.ts'
import { takeSnapshot } from '../../cli/workspace/snapshot.ts'
import { startGitGateway } from '../gateway/workspaces/git-gateway.ts'

export async function sendSnapshot(folder: string, depth = 50) {
  const gateway = await startGitGateway()
  await using snapshot = await takeSnapshot(folder, { depth })
  const task = await gateway.newTask({ objectFormat: snapshot.objectFormat })
  await pushSnapshot(snapshot, task)
  await gateway.workspaces.seal(task.id)
  const { commit, dirty, warnings } = snapshot
  return { gateway, task, commit, dirty, warnings }
}
