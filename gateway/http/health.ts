/** How a task's machine is doing: what its agent says, beside what the gateway knows. An agent that does not answer is an answer. */
import { statfs } from 'node:fs/promises'
import { AgentHealth, type TaskHealth } from '../../protocol/health.ts'
import type { Task } from '../../protocol/task.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { type Deps, type Handlers, taskOf } from './context.ts'
import { withTunnel } from './present.ts'

/** Someone is looking: an agent that takes longer is one that does not answer. */
const ANSWER_MS = 5_000

type AgentPart = Pick<TaskHealth, 'agent' | 'agentError' | 'eventsBehind'>

export const healthHandlers: Pick<Handlers, 'taskHealth'> = {
  async taskHealth(call) {
    const { c, deps } = call
    const task = withTunnel(deps, taskOf(call))
    const [agent, disk] = await Promise.all([askAgent(deps, task), statfs(deps.workspaces.directory)])
    const health: TaskHealth = {
      taskId: task.id,
      at: new Date().toISOString(),
      state: task.state,
      ...(task.state === 'running' && { connection: task.connection }),
      ...agent,
      gateway: { version: deps.version, freeBytes: disk.bavail * disk.bsize },
    }
    return c.json(health)
  },
}

async function askAgent(deps: Deps, task: Task): Promise<AgentPart> {
  if (task.state !== 'running') return {}
  const link = deps.links.ofLaunch(task.placement.launchId)
  if (link?.isAttached !== true) return { agentError: 'its agent is not connected' }
  try {
    return await lookAt(deps, task, link)
  } catch (error) {
    return { agentError: error instanceof Error ? error.message : String(error) }
  }
}

async function lookAt({ store }: Deps, { isolation }: Task, link: AgentLink): Promise<AgentPart> {
  const scope = isolation === 'container' ? 'container' : 'task'
  const answer = await link.call('GET', `/health?scope=${scope}`, undefined, ANSWER_MS)
  const parsed = AgentHealth.safeParse(answer)
  if (!parsed.success) return { agentError: `its agent (${link.peer.version}) answered what is not understood here` }
  return { agent: parsed.data, eventsBehind: Math.max(0, parsed.data.events - store.lastAgentSeq(link.launchId)) }
}
