/** `rclaude show TASK`: everything the gateway knows of a task. */
import type { Command } from 'commander'
import { machineText } from '../../protocol/machine.ts'
import { REASONS } from '../../protocol/outcome.ts'
import { routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import { formatSeconds } from '../../protocol/units.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { oneLine } from '../neutralise.ts'
import type { Paint, Style } from '../output.ts'
import { placeText } from '../queue.ts'
import { changedText, checkText, machineCostText, paintOutcome, tokensText, verdictOf } from '../summary.ts'
import { findTask } from '../task-name.ts'
import { durationText } from '../times.ts'
import { tunnelOf, tunnelText } from '../tunnel-health.ts'
import type { World } from '../world.ts'

type Fact = readonly [name: string, value: string | undefined, paint?: Paint]

export function define(world: World): Command {
  return newCommand('show', 'show everything about a task', ['rclaude show @last', 'rclaude show k3m --json'])
    .argument('<task>', 'id, beginning of an id, or @last')
    .action(act(world, show))
}

async function show(invocation: Invocation, name: string): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const params = { taskId: await findTask(client, name) }
  const task = await client.call(routes.getTask, { params })
  const { shares } = await client.call(routes.listShares, { params })
  if (out.json) return void (await out.data({ ...task, shares }))
  await out.facts([
    ...stateFacts(task, out.style),
    ['shared with', shares.map(({ user, access }) => `${user} (${access})`).join(', ') || undefined],
    ...workFacts(task),
    ...placeFacts(task, out.style),
    ...resultFacts(task),
  ])
  for (const turn of task.turns) {
    await out.line()
    await out.line(`${out.style.bold(`turn ${turn.turn}`)}  ${oneLine(turn.prompt, 300)}`)
    const { result } = turn
    if (result === undefined) {
      await out.line(`  ${out.style.dim(turn.startedAt === undefined ? 'not started' : 'under way')}`)
      continue
    }
    await out.line(`  ${paintOutcome(out.style, result.outcome)(result.outcome)} ${oneLine(result.message)}`)
    if (task.spec.workspace.kind !== 'none') await out.line(`  changed ${changedText(result, out.style)}`)
    const check = checkText(task, result, out.style)
    if (check !== undefined) await out.line(`  check ${check}`)
  }
}

function stateFacts(task: Task, style: Style): Fact[] {
  const verdict = verdictOf(task)
  const again = task.state === 'queued' && task.notBefore ? `, not before ${task.notBefore}` : ''
  const place = placeText(task)
  const isHeld = place === undefined ? '' : `, ${place}`
  const isWaiting = task.state === 'queued' ? ` (waiting for ${task.waitingFor}${again}${isHeld})` : ''
  const isOffline = task.state === 'running' && !task.connection.online ? ' (its machine is not connected)' : ''
  return [
    ['task', task.id, style.bold],
    ['owner', task.owner],
    ['state', `${task.state}${isWaiting}${isOffline}`],
    ['outcome', verdict?.outcome, paintOutcome(style, verdict?.outcome ?? '')],
    [
      'reason',
      verdict === undefined ? undefined : `${verdict.reason}: ${REASONS[verdict.reason as keyof typeof REASONS] ?? ''}`,
    ],
    ['message', verdict?.message],
    [
      'stop',
      task.stopRequested === undefined
        ? undefined
        : `asked for by ${task.stopRequested.by}: ${task.stopRequested.reason}`,
    ],
    [
      'incomplete',
      task.state === 'ended' && task.incomplete ? 'something could not be saved' : undefined,
      style.yellow,
    ],
    ['kept', task.state === 'running' && task.keptUntil !== undefined ? `until ${task.keptUntil}` : undefined],
    ['created', task.createdAt],
    ['ended', task.state === 'ended' ? task.endedAt : undefined],
    ['duration', durationText(task, Date.now()) || undefined],
    ['retry of', task.retryOf],
    [
      'files',
      task.pruned === undefined
        ? undefined
        : `workspace and artifacts were deleted at ${task.pruned.at} (${task.pruned.by})`,
      style.yellow,
    ],
  ]
}

function workFacts({ spec, turns }: Task): Fact[] {
  const { limits } = spec
  const budget = turns.at(-1)?.budgetUsd
  const bounds = [
    limits.timeoutSeconds === undefined ? '' : `${formatSeconds(limits.timeoutSeconds)} of time`,
    limits.idleSeconds === undefined ? '' : `${formatSeconds(limits.idleSeconds)} idle`,
    limits.budgetUsd === undefined ? '' : `$${limits.budgetUsd}`,
    limits.maxTurns === undefined ? '' : `${limits.maxTurns} turns`,
  ].filter((text) => text !== '')
  const labels = Object.entries(spec.labels).map(([name, value]) => (value === '' ? name : `${name}=${value}`))
  return [
    ['agent', spec.model === undefined ? spec.agent : `${spec.agent} (${spec.model})`],
    ['permissions', spec.agent === 'command' ? undefined : spec.permissionMode],
    ['command', spec.command?.join(' ')],
    ['setup', spec.setup],
    ['check', spec.check],
    ['budget', budget === undefined ? undefined : `$${budget.toFixed(2)} for this turn`],
    ['limits', bounds.length === 0 ? undefined : bounds.join(', ')],
    ['on disconnect', spec.onDisconnect && `stop after ${formatSeconds(spec.onDisconnect.stopAfterSeconds)}`],
    ['labels', labels.length === 0 ? undefined : labels.join(', ')],
    ['variables', Object.keys(spec.env).join(', ') || undefined],
  ]
}

function placeFacts(task: Task, style: Style): Fact[] {
  const placement = 'placement' in task ? task.placement : undefined
  const isolation: Fact =
    task.isolation === 'none'
      ? ['isolation', "OFF: the task runs as a process of the gateway's machine, nothing keeps it apart", style.yellow]
      : ['isolation', task.isolation]
  return [
    ['launcher', task.spec.launcher],
    ['machine', task.spec.machine && machineText(task.spec.machine)],
    ['placement', placement === undefined ? undefined : `${placement.handle} since ${placement.startedAt}`],
    ['tunnel', tunnelText(tunnelOf(task))],
    ['agent version', task.state === 'running' ? oneLine(task.connection.version) : undefined],
    isolation,
  ]
}

function resultFacts(task: Task): Fact[] {
  const { workspace, spec } = task
  const source =
    spec.workspace.kind === 'repo' ? `${spec.workspace.url} ${spec.workspace.ref ?? ''}` : spec.workspace.kind
  return [
    ['workspace', source],
    ['snapshot', workspace.snapshot],
    ['checkpoint', workspace.checkpoint],
    ['result', workspace.result],
    ['tokens', tokensText(task)],
    ['cost', task.usage.costUsd > 0 ? `$${task.usage.costUsd.toFixed(4)}` : undefined],
    ['machine cost', machineCostText(task)],
    ['events', String(task.lastSeq)],
  ]
}
