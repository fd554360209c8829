/** `rclaude ps`: tasks, newest first. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { MAX_PAGE, routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import { act, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { paintOutcome, verdictOf } from '../summary.ts'
import { ageText, durationText } from '../times.ts'
import type { World } from '../world.ts'

interface PsOptions {
  all?: boolean
  quiet?: boolean
  label?: string
  limit?: number
}

const DEFAULT_LIMIT = 50

export function define(world: World): Command {
  return newCommand('ps', 'list tasks', [
    'rclaude ps                  those that have not ended',
    'rclaude ps -a --limit 20    the newest 20, ended ones too',
    'rclaude stop $(rclaude ps -q --label nightly)',
  ])
    .option('-a, --all', 'those that have ended too')
    .option('-q, --quiet', 'print ids only')
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
    out.note(options.all === true ? 'no tasks yet' : 'no task is running (rclaude ps -a lists those that have ended)')
    return
  }
  const { style } = out
  await out.table(
    [
      { title: 'TASK', paint: style.bold },
      { title: 'STATE' },
      { title: 'OUTCOME', paint: (cell) => paintOutcome(style, cell)(cell) },
      { title: 'AGE' },
      { title: 'DURATION' },
      { title: 'AGENT' },
      { title: 'TITLE' },
    ],
    tasks.map((task) => row(task, Date.now())),
  )
  if (cursor !== undefined) out.note(`there are more; --limit ${limit * 2} shows them`)
}

const row = (task: Task, nowMs: number): string[] => [
  task.id,
  stateText(task),
  verdictOf(task)?.outcome ?? '',
  ageText(task, nowMs),
  durationText(task, nowMs),
  task.spec.agent,
  task.turns.at(-1)?.prompt.slice(0, 500) ?? '',
]

function stateText(task: Task): string {
  if (task.state === 'running' && task.keptUntil !== undefined) return 'kept'
  if (task.state === 'running' && !task.connection.online) return 'running (offline)'
  if (task.state !== 'ended' && task.stopRequested !== undefined) return 'stopping'
  return task.state
}
