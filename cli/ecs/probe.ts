/** A real, small task on ECS that only dials back: what nothing but a launch can tell of subnets, image and way to the gateway. */
import type { Client } from '../../protocol/client.ts'
import type { TaskEvent } from '../../protocol/event.ts'
import { bad, type Finding, ok } from '../../protocol/finding.ts'
import { routes } from '../../protocol/routes.ts'
import { formatSeconds } from '../../protocol/units.ts'
import { followEvents } from '../follow.ts'
import { watchQueue } from '../queue.ts'
import { LAUNCHER } from './placements.ts'

/** Node runs later ones at once. */
const MAX_TIMER_MS = 2 ** 31 - 1
/** How far it came, in order. */
const STAGES = ['machine', 'dial', 'command'] as const
type Stage = (typeof STAGES)[number]

const FIXES: Record<Stage, string> = {
  machine: 'launchers.ecs: subnets, securityGroups, image, executionRoleArn, capacity',
  dial: 'the image and who may pull it, or else the way from the subnet to agentUrl: public IP or NAT, security group, DNS, certificate',
  command: 'what the task says',
}

/** @param tell what is under way, for who waits @param timeoutSeconds the task is stopped then; without, the gateway's own deadlines do it */
export async function probe(client: Client, tell: (text: string) => void, timeoutSeconds?: number): Promise<Finding[]> {
  const begun = Date.now()
  const task = await client.call(routes.createTask, {
    body: { agent: 'command', command: ['true'], workspace: { kind: 'none' }, launcher: LAUNCHER },
  })
  const params = { taskId: task.id }
  const stop = (reason: string) => void client.call(routes.stopTask, { params, body: { reason } }).catch(() => {})
  const interrupted = () => stop('rclaude ecs doctor was ended')
  process.once('SIGINT', interrupted)
  const tooLong = (seconds: number) => stop(`it took longer than --timeout ${formatSeconds(seconds)}`)
  const timer =
    timeoutSeconds === undefined
      ? undefined
      : setTimeout(tooLong, Math.min(timeoutSeconds * 1_000, MAX_TIMER_MS), timeoutSeconds)
  tell(`probe: ${task.id} is to be launched`)
  const reached = new Map<Stage, number>()
  let lastPlace: string | undefined
  const queue = watchQueue(
    () => client.call(routes.getTask, { params }),
    async (place) => {
      if (place !== undefined && place !== lastPlace) tell(`probe: it waits in the queue, ${place}`)
      lastPlace = place
    },
  )
  try {
    for await (const event of followEvents(client, task.id, {})) {
      if (event.type === 'state') {
        queue.sees(event.state === 'queued')
        if (event.state === 'queued' && event.message !== undefined) tell(`probe: ${event.message}`)
      }
      const stage = stageOf(event)
      if (stage !== undefined && !reached.has(stage)) reached.set(stage, Date.now() - begun)
      if (event.type === 'step' && event.step === 'launch' && event.message !== undefined)
        tell(`probe: ${event.message}`)
      if (event.type === 'warning') tell(`probe: ${event.message}`)
    }
  } finally {
    queue.stop()
    process.off('SIGINT', interrupted)
    clearTimeout(timer)
  }
  const ended = await client.call(routes.getTask, { params })
  const findings: Finding[] = STAGES.filter((stage) => reached.has(stage)).map((stage) =>
    ok(NAMES[stage], `after ${formatSeconds((reached.get(stage) ?? 0) / 1000)}`),
  )
  const failed = STAGES.find((stage) => !reached.has(stage))
  if (failed === undefined)
    await client.call(routes.deleteTask, { params }) // it has nothing more to tell
  else {
    const why = ended.state === 'ended' ? ended.message : `the task is ${ended.state}`
    findings.push(bad(NAMES[failed], why, `look at ${FIXES[failed]}; rclaude logs ${task.id}`))
  }
  return findings
}

const NAMES: Record<Stage, string> = {
  machine: 'probe: ECS takes a task',
  dial: 'probe: it dials agentUrl',
  command: 'probe: it runs a command',
}

function stageOf(event: TaskEvent): Stage | undefined {
  if (event.type === 'state' && event.state === 'starting') return 'machine'
  if (event.type === 'state' && event.state === 'running') return 'dial'
  if (event.type === 'turn_ended') return event.result.exitCode === 0 ? 'command' : undefined
  return undefined
}
