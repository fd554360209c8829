/** `rclaude ps`: tasks, newest first. */
import { type Command, Option } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { MAX_PAGE, routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import { act, type Invocation, newCommand, wholeNumber } from '../command.ts'
import type { Style } from '../output.ts'
import { placeText } from '../queue.ts'
import { paintOutcome, verdictOf } from '../summary.ts'
import { ageText, durationText } from '../times.ts'
import { rttText, tunnelOf } from '../tunnel-health.ts'
import type { World } from '../world.ts'

interface PsOptions {
  all?: boolean
  quiet?: boolean
  label?: string
  limit?: number
  shared?: boolean
  output?: 'wide'
}

const DEFAULT_LIMIT = 50

export function define(world: World): Command {
  return newCommand('ps', 'list tasks', [
    'rclaude ps                  those that have not ended',
    'rclaude ps -a --limit 20    the newest 20, ended ones too',
    'rclaude ps -o wide          with owner, launcher, costs, and how the tunnel is doing',
    'rclaude ps --shared         those that others have shared with you',
    'rclaude stop $(rclaude ps -q --label nightly)',
  ])
    .option('-a, --all', 'those that have ended too')
    .option('--shared', 'those that others have shared with you, instead of yours')
    .option('-q, --quiet', 'print ids only')
    .addOption(new Option('-o, --output <format>', 'more columns').choices(['wide']))
    .option('-l, --label <name[=value]>', 'only tasks with this label')
    .option('-n, --limit <n>', `at most so many (${DEFAULT_LIMIT})`, wholeNumber)
    .action(act(world, ps))
}

async function ps(invocation: Invocation, options: PsOptions): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const limit = options.limit ?? DEFAULT_LIMIT
  if (limit < 1) throw new RclaudeError('invalid', '--limit must be at least 1')
  const tasks: Task[] = []
  let cursor: string | undefined
  do {
    const page = await client.call(routes.listTasks, {
      query: {
        limit: Math.min(MAX_PAGE, limit - tasks.length),
        cursor,
        label: options.label,
        ...(options.shared === true && { shared: '1' }),
        ...(options.all !== true && { state: 'active' }),
      },
    })
    tasks.push(...page.tasks)
    cursor = page.nextCursor
  } while (cursor !== undefined && tasks.length < limit)

  if (out.json) return void (await out.data({ tasks, ...(cursor !== undefined && { nextCursor: cursor }) }))
  if (options.quiet === true) {
    for (const task of tasks) await out.line(task.id)
    return
  }
  if (tasks.length === 0) {
    if (options.shared === true)
      out.note('no task is shared with you, or none of them is running (-a lists the others)')
    else
      out.note(options.all === true ? 'no tasks yet' : 'no task is running (rclaude ps -a lists those that have ended)')
    return
  }
  const { style } = out
  const isWide = options.output === 'wide'
  const columns = [...narrow(style), ...(options.shared && !isWide ? [OWNER] : []), ...(isWide ? WIDE : []), TITLE]
  const now = Date.now()
  await out.table(
    columns,
    tasks.map((task) => columns.map(({ cell }) => cell(task, now))),
  )
  const sum = costText(tasks)
  if (sum !== undefined) out.note(sum)
  if (cursor !== undefined) out.note(`there are more; --limit ${limit * 2} shows them`)
}

interface Column {
  title: string
  paint?: (cell: string) => string
  cell: (task: Task, nowMs: number) => string
}

const narrow = (style: Style): Column[] => [
  { title: 'TASK', paint: style.bold, cell: (task) => task.id },
  { title: 'STATE', cell: stateText },
  {
    title: 'OUTCOME',
    paint: (cell) => paintOutcome(style, cell)(cell),
    cell: (task) => verdictOf(task)?.outcome ?? '',
  },
  { title: 'AGE', cell: ageText },
  { title: 'DURATION', cell: durationText },
  { title: 'AGENT', cell: (task) => task.spec.agent },
]

const OWNER: Column = { title: 'OWNER', cell: (task) => task.owner }

/** What operators look at. */
const WIDE: readonly Column[] = [
  OWNER,
  { title: 'LAUNCHER', cell: (task) => ('placement' in task ? (task.placement?.launcher ?? '') : '') },
  { title: 'COST', cell: ({ usage }) => (usage.costUsd > 0 ? usd(usage.costUsd) : '') },
  { title: 'MACHINE', cell: ({ machineCost }) => mapped(machineCost, (cost) => usd(cost.usd)) },
  { title: 'RTT', cell: (task) => rttText(tunnelOf(task)) },
  { title: 'IN FLIGHT', cell: (task) => mapped(tunnelOf(task), ({ bytesInFlight }) => formatBytes(bytesInFlight)) },
  { title: 'STREAMS', cell: (task) => mapped(tunnelOf(task), ({ streams }) => String(streams)) },
  { title: 'RESUMES', cell: (task) => mapped(tunnelOf(task), ({ resumes }) => String(resumes)) },
  { title: 'RESETS', cell: (task) => mapped(tunnelOf(task), ({ resets }) => String(resets)) },
]

const usd = (amount: number): string => `$${amount.toFixed(2)}`

/** Of the tasks that are listed. */
function costText(tasks: readonly Task[]): string | undefined {
  const models = tasks.reduce((sum, { usage }) => sum + usage.costUsd, 0)
  const machines = tasks.reduce((sum, { machineCost }) => sum + (machineCost?.usd ?? 0), 0)
  if (models === 0 && machines === 0) return undefined
  return `cost of these tasks: ${usd(models)} for models, ${usd(machines)} for machines`
}

/** Last, as the longest. */
const TITLE: Column = { title: 'TITLE', cell: (task) => task.turns.at(-1)?.prompt.slice(0, 500) ?? '' }

const mapped = <T>(value: T | undefined, text: (value: T) => string): string => (value === undefined ? '' : text(value))

function stateText(task: Task): string {
  const place = placeText(task)
  if (place !== undefined && task.stopRequested === undefined) return `queued (${place})`
  if (task.state === 'running' && task.keptUntil !== undefined) return 'kept'
  if (task.state === 'running' && !task.connection.online) return 'running (offline)'
  if (task.state !== 'ended' && task.stopRequested !== undefined) return 'stopping'
  return task.state
}
