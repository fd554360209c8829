/** What ECS says of a task, in our words. States and codes that nobody knew when this was written do no harm. */
import type { Failure, Task } from '@aws-sdk/client-ecs'
import type { PlacementStatus } from '../launcher.ts'
import { CONTAINER } from './request.ts'
import { ENGINE_CONTAINER } from './task-engine.ts'

const PENDING: Readonly<Record<string, string>> = {
  PROVISIONING: 'ECS looks for a machine',
  PENDING: 'the machine is there and pulls the image',
  ACTIVATING: 'the machine is made ready',
}

export function statusOfTask(task: Task): PlacementStatus {
  const { lastStatus = '', startedAt, pullStartedAt, stoppedAt } = task
  const detail = PENDING[lastStatus]
  const paid = pullStartedAt && { paidFrom: pullStartedAt.toISOString() }
  if (detail !== undefined) return { status: 'pending', detail, ...paid }
  if (lastStatus !== 'STOPPED' && lastStatus !== 'DELETED')
    return { status: 'running', ...(startedAt && { since: startedAt.toISOString() }), ...paid, ...endOfEngine(task) }
  const container = task.containers?.find(({ name }) => name === CONTAINER)
  const why = [task.stoppedReason, container?.reason].filter(Boolean).join('; ')
  return {
    status: 'stopped',
    detail: why || `ECS says ${task.stopCode ?? 'nothing of why'}`,
    ...(container?.exitCode !== undefined && { exitCode: container.exitCode }),
    // aws.amazon.com/fargate/pricing: from the pull of the image to the end; nothing when there never was a machine.
    ...(stoppedAt && { paidSeconds: pullStartedAt ? (stoppedAt.getTime() - pullStartedAt.getTime()) / 1_000 : 0 }),
    reason: isTakenAway(task) ? 'infrastructure' : 'placement_gone',
  }
}

/** The task's Docker engine, if it has one, is not essential: without it the task goes on. */
function endOfEngine({ containers }: Task): { engineEnded?: string } {
  const engine = containers?.find(({ name }) => name === ENGINE_CONTAINER)
  if (engine?.lastStatus !== 'STOPPED') return {}
  return { engineEnded: `the task's Docker engine has ended: ${engine.reason ?? `exit code ${engine.exitCode}`}` }
}

/** An interruption of Spot has been seen under two codes, so the text counts as well. */
const isTakenAway = ({ stopCode, stoppedReason = '' }: Task): boolean =>
  /^(SpotInterruption|TerminationNotice|InfrastructureHealth)$/.test(stopCode ?? '') ||
  /spot .*interrupt/i.test(stoppedReason)

/** Of `failures[]` of RunTask, which come with HTTP 200. */
export interface Refusal {
  /** Another subnet, or another kind of machine, may have one. */
  mayHelp: boolean
  /** For people. */
  text: string
}

export function refusalOf({ reason = '', detail = '' }: Failure): Refusal {
  const more = detail === '' ? '' : ` (${detail})`
  if (/capacity is unavailable/i.test(reason))
    return { mayHelp: true, text: `AWS has no capacity at the moment${more}` }
  const resource = /^RESOURCE:(\w+)/.exec(reason)?.[1]
  if (resource !== undefined)
    return { mayHelp: true, text: `no machine of the cluster has enough ${WANTED[resource] ?? resource} left${more}` }
  if (reason === 'AGENT')
    return { mayHelp: true, text: `the ECS agent of the cluster's machines is not connected${more}` }
  if (reason === 'ATTRIBUTE')
    return {
      mayHelp: false,
      text: `no machine of the cluster is of the kind that the task needs: architecture, network or log driver${more}`,
    }
  if (reason === 'LOCATION')
    return { mayHelp: false, text: `no machine of the cluster is in an availability zone of the subnet${more}` }
  return { mayHelp: false, text: `ECS refuses: ${reason || 'without a reason'}${more}` }
}

const WANTED: Readonly<Record<string, string>> = {
  MEMORY: 'memory',
  CPU: 'CPU',
  ENI: 'network interfaces',
  GPU: 'GPUs',
  PORTS: 'ports',
}
