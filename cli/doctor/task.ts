/**
 * Why a task does not do what one expects, found in what the gateway and the task's agent say of it: one finding a cause, each
 * with what mends it. `doctor TASK` prints them.
 */
import { bad, type Finding, ok } from '../../protocol/finding.ts'
import type { TaskHealth } from '../../protocol/health.ts'
import { REASONS } from '../../protocol/outcome.ts'
import type { GatewayInfo } from '../../protocol/routes.ts'
import { costOfLastTurn, type Task } from '../../protocol/task.ts'
import { formatBytes, formatSeconds } from '../../protocol/units.ts'
import { ordinal } from '../queue.ts'
import { verdictOf } from '../summary.ts'
import { rttText, tunnelOf } from '../tunnel-health.ts'
import { LOW_DISK_BYTES, machineFindings } from './machine.ts'

export interface TaskFacts {
  task: Task
  health: TaskHealth
  info: GatewayInfo
  nowMs: number
}

/** A launch or a start that takes longer is worth a word. */
const SLOW_START_SECONDS = 30
const SLOW_RTT_MS = 500
const MUCH_IN_FLIGHT_BYTES = 1024 ** 2
const MANY_RESUMES = 10
const MAX_CLOCK_SKEW_MS = 30_000
/** Of a limit on time or money: what is near its end is said before it is reached. */
const NEAR_SHARE = 0.9

export function taskFindings(facts: TaskFacts): Finding[] {
  const { task, health } = facts
  const found = [stateFinding(facts), ...stopFinding(facts)]
  if (task.state === 'running') {
    found.push(agentFinding(facts), ...tunnelFindings(task), ...limitFindings(facts))
    if (health.agent !== undefined) found.push(...machineFindings(health.agent, health.eventsBehind ?? 0))
  }
  return [...found, gatewayDiskFinding(facts)]
}

function stateFinding({ task, info, nowMs }: TaskFacts): Finding {
  const name = 'state'
  const age = (since: string) => formatSeconds(Math.max(0, nowMs - Date.parse(since)) / 1000)
  switch (task.state) {
    case 'queued':
      return queuedFinding(task, age(task.since), info)
    case 'launching':
    case 'starting': {
      const what = task.state === 'launching' ? 'its launcher makes a machine' : 'its agent has not dialled in yet'
      const detail = `${task.state} for ${age(task.since)}: ${what}`
      if (nowMs - Date.parse(task.since) < SLOW_START_SECONDS * 1000) return ok(name, detail)
      if (task.state === 'launching')
        return bad(name, detail, "look at the gateway's log, which names the launcher's answer")
      return bad(
        name,
        detail,
        'can the machine reach the gateway at agentUrl? The log of the container, and of the gateway, say more',
      )
    }
    case 'running': {
      const isKept = task.keptUntil !== undefined
      return ok(name, isKept ? `its work is done; kept until ${task.keptUntil}` : `running for ${age(task.since)}`)
    }
    case 'finishing':
      return ok(name, `finishing for ${age(task.since)}: results are saved, then its machine is removed`)
    case 'ended':
      return endedFinding(task)
    default:
      task satisfies never
      return ok(name, 'unknown to this release of rclaude')
  }
}

function queuedFinding(task: Task & { state: 'queued' }, age: string, info: GatewayInfo): Finding {
  const name = 'state'
  if (info.held !== undefined)
    return bad(
      name,
      `queued for ${age}: the gateway was restored or copied and launches nothing`,
      'rclaude gateway confirm-restore',
    )
  if (task.waitingFor === 'workspace')
    return bad(
      name,
      `queued for ${age}: its files have not arrived`,
      `the upload was cut off, or still goes on: start it again with rclaude retry ${task.id}`,
    )
  if (task.limit !== undefined)
    return bad(
      name,
      `queued for ${age} as the ${ordinal(task.position ?? 1)} that waits for ${task.limit}`,
      'it starts by itself when others end; rclaude ps shows them, docs/limits.md the limit',
    )
  if (task.launchFailures !== undefined)
    return bad(
      name,
      `queued for ${age}: no machine could be had, ${task.launchFailures} times${task.notBefore ? `; tried again at ${task.notBefore}` : ''}`,
      `it is tried again by itself; rclaude logs ${task.id} has the launcher's words`,
    )
  return ok(name, `queued for ${age}`)
}

function endedFinding(task: Task & { state: 'ended' }): Finding {
  const verdict = verdictOf(task)
  const detail = `ended: ${task.outcome} (${task.message})`
  if (task.outcome === 'succeeded' || task.outcome === 'no_changes')
    return task.incomplete
      ? bad('state', `${detail}; something could not be saved`, `rclaude logs ${task.id}`)
      : ok('state', detail)
  const why = REASONS[task.reason]
  return bad(
    'state',
    `${detail}: ${why}`,
    ADVICE[verdict?.reason ?? ''] ?? `rclaude logs ${task.id}; the same work again: rclaude retry ${task.id}`,
  )
}

/** What helps against the reasons that one can do something about. */
const ADVICE: Record<string, string> = {
  model_auth: 'rclaude model check, or a fresh key; then rclaude continue TASK "go on"',
  model_limit: 'wait for the limit, or choose another profile (--model-profile); then rclaude continue TASK "go on"',
  model_unavailable:
    'can the machine reach the model? See docs/network.md about proxies; then rclaude continue TASK "go on"',
  agent_missing: 'the coding agent must be installed where the task runs',
  permission_denied: 'allow more with --permission-mode',
  max_budget: 'a higher --budget; what was done is there: rclaude continue TASK "go on"',
  max_duration: 'a longer --timeout; what was done is there: rclaude continue TASK "go on"',
  max_turns: 'a higher --max-turns; what was done is there: rclaude continue TASK "go on"',
  idle: 'a longer --idle, if it was only slow',
  setup: 'the setup command fails there: its output is in rclaude logs TASK',
  start_timeout: 'can the machine reach the gateway at agentUrl?',
}

function stopFinding({ task, nowMs }: TaskFacts): Finding[] {
  if (task.stopRequested === undefined || task.state === 'ended') return []
  const { by, at, reason } = task.stopRequested
  const age = formatSeconds(Math.max(0, nowMs - Date.parse(at)) / 1000)
  return [ok('stop', `asked for by ${by} ${age} ago (${reason}); what it has is saved first`)]
}

function agentFinding({ task, health, info, nowMs }: TaskFacts): Finding {
  const name = 'agent'
  if (task.state !== 'running') return ok(name, 'none')
  const { online, since, version } = task.connection
  if (!online) {
    const age = formatSeconds(Math.max(0, nowMs - Date.parse(since)) / 1000)
    return bad(
      name,
      `not connected for ${age}; its work goes on without the gateway`,
      'it dials again by itself: can its machine reach the gateway, and does it still run? The task is given up after deadlines.offline',
    )
  }
  if (health.agent === undefined)
    return bad(
      name,
      `connected, and does not answer: ${health.agentError ?? 'no reason is known'}`,
      'its machine is overloaded or stuck: rclaude exec TASK -- true, and at last rclaude stop TASK',
    )
  const skewMs = Math.abs(Date.parse(health.agent.at) - Date.parse(health.at))
  if (skewMs > MAX_CLOCK_SKEW_MS)
    return bad(
      name,
      `its clock is ${Math.round(skewMs / 1000)} s off the gateway's`,
      'set the clocks of both machines by NTP: certificates and times of files are wrong otherwise',
    )
  return ok(name, version === info.version ? `${version}, answers` : `${version} (gateway ${info.version}), answers`)
}

function tunnelFindings(task: Task): Finding[] {
  const tunnel = tunnelOf(task)
  if (tunnel === undefined) return []
  const name = 'tunnel'
  const rtt = rttText(tunnel)
  const detail = [
    rtt === '' ? 'connected' : `round trip ${rtt}`,
    `${formatBytes(tunnel.bytesInFlight)} in flight`,
  ].join(', ')
  if (!tunnel.isAttached)
    return [
      bad(name, 'its connection is lost at the moment', 'it is taken up again by itself within deadlines.tunnelResume'),
    ]
  if ((tunnel.rttMs ?? 0) > SLOW_RTT_MS)
    return [bad(name, `slow: ${detail}`, 'the way between machine and gateway is long or full')]
  if (tunnel.resumes >= MANY_RESUMES)
    return [
      bad(
        name,
        `${detail}; its connection was lost ${tunnel.resumes} times`,
        'something on the way cuts connections: an idle limit of a proxy or load balancer? See docs/network.md',
      ),
    ]
  if (tunnel.bytesInFlight > MUCH_IN_FLIGHT_BYTES)
    return [
      bad(name, `${detail}: more is written than the way takes`, 'a large transfer is under way, or the way is slow'),
    ]
  return [ok(name, detail)]
}

function limitFindings({ task, info, nowMs }: TaskFacts): Finding[] {
  const found: Finding[] = []
  const turn = task.turns.at(-1)
  if (turn === undefined || turn.endedAt !== undefined) return found
  const budget = turn.budgetUsd
  const cost = costOfLastTurn(task.turns, task.usage.costUsd)
  if (budget !== undefined && cost > budget * NEAR_SHARE)
    found.push(
      bad(
        'budget',
        `$${cost.toFixed(2)} of $${budget.toFixed(2)} is spent`,
        'it ends at the limit and keeps what it has: rclaude continue TASK afterwards, with a new budget',
      ),
    )
  const limit = Math.min(
    task.spec.limits.timeoutSeconds ?? Number.POSITIVE_INFINITY,
    info.limits.taskTimeout ?? Number.POSITIVE_INFINITY,
  )
  const seconds = turn.startedAt === undefined ? 0 : (nowMs - Date.parse(turn.startedAt)) / 1000
  if (seconds > limit * NEAR_SHARE)
    found.push(
      bad(
        'time',
        `${formatSeconds(seconds)} of ${formatSeconds(limit)} are over`,
        'it ends at the limit and keeps what it has: rclaude continue TASK afterwards',
      ),
    )
  return found
}

function gatewayDiskFinding({ health }: TaskFacts): Finding {
  const detail = `${formatBytes(health.gateway.freeBytes)} free on the gateway`
  return health.gateway.freeBytes < LOW_DISK_BYTES
    ? bad('gateway', detail, 'make room: rclaude prune; a full disk refuses new tasks')
    : ok('gateway', detail)
}
