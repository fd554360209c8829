/** `rclaude prune`: deletes ended tasks to make room, as `docker system prune` does: says what would go, asks, does it. */
import { type Command, Option } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { OUTCOMES, type Outcome } from '../../protocol/outcome.ts'
import type { BodyInput, ResponseOf } from '../../protocol/route.ts'
import { routes } from '../../protocol/routes.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { Gateway } from '../api.ts'
import { act, duration, type Invocation, newCommand } from '../command.ts'
import { count } from '../output.ts'
import { confirm } from '../prompt.ts'
import { roughly } from '../times.ts'
import { canAsk, type World } from '../world.ts'

interface PruneOptions {
  olderThan?: number
  outcome?: Outcome
  state?: 'ended'
  workspacesOnly?: boolean
  allUsers?: boolean
  dryRun?: boolean
  yes?: boolean
}

type Found = ResponseOf<typeof routes.pruneTasks>['tasks']

export function define(world: World): Command {
  return newCommand('prune', 'delete ended tasks to make room', [
    'rclaude prune --dry-run                   say what would go',
    'rclaude prune --older-than 7d',
    'rclaude prune --workspaces-only --yes     keep what was said and done',
    'rclaude prune --outcome failed --all-users',
  ])
    .option('--older-than <duration>', 'only those that ended so long ago', duration)
    .addOption(new Option('--outcome <outcome>', 'only those that ended so').choices(OUTCOMES))
    .addOption(new Option('--state <state>', 'only those in this state; no other is ever deleted').choices(['ended']))
    .option('--workspaces-only', 'delete workspaces and artifacts, keep logs and transcripts')
    .option('--all-users', "others' tasks too, for administrators")
    .option('--dry-run', 'say what would go, and delete nothing')
    .option('-y, --yes', 'do not ask')
    .action(act(world, prune))
}

async function prune(invocation: Invocation, options: PruneOptions): Promise<undefined> {
  const { world, out } = invocation
  const mustAsk = options.dryRun !== true && options.yes !== true
  if (mustAsk && (out.json || !canAsk(world)))
    throw new RclaudeError('invalid', 'nobody can be asked here: say --yes, or --dry-run to see what would go')
  const gateway = await invocation.connect()
  // What ends while the question stands on the screen is not in the answer.
  const endedBefore = new Date(Date.now() - (options.olderThan ?? 0) * 1000).toISOString()
  const body = {
    endedBefore,
    workspacesOnly: options.workspacesOnly === true,
    allUsers: options.allUsers === true,
    ...(options.outcome !== undefined && { outcome: options.outcome }),
  }
  if (options.dryRun === true || mustAsk) {
    const would = await ask(gateway, { ...body, dryRun: true })
    if (out.json) return void (await out.data(summary(would, { dryRun: true })))
    await show(invocation, would, options)
    if (options.dryRun === true || would.length === 0) return
    if (!(await confirm(world, `Delete ${what(would.length, options)}? This cannot be undone.`))) {
      out.note('nothing was deleted')
      return
    }
  }
  const done = await ask(gateway, body)
  if (out.json) return void (await out.data(summary(done, { dryRun: false })))
  await out.line(`deleted ${what(done.length, options)}, freed ${formatBytes(bytesOf(done))}`)
}

/** Page by page: a gateway with many tasks takes its time, and a lost answer loses nothing. */
async function ask({ client }: Gateway, body: BodyInput<typeof routes.pruneTasks>): Promise<Found> {
  const all: Found = []
  let cursor: string | undefined
  do {
    const page = await client.call(routes.pruneTasks, { body: { ...body, cursor } })
    all.push(...page.tasks)
    cursor = page.nextCursor
  } while (cursor !== undefined)
  return all
}

async function show({ out }: Invocation, tasks: Found, options: PruneOptions): Promise<void> {
  if (tasks.length === 0) return out.note('there is nothing to prune')
  const nowMs = Date.now()
  const columns = ['TASK', 'OWNER', 'OUTCOME', 'ENDED', 'SIZE'].map((title) => ({ title }))
  await out.table(
    columns,
    tasks.map(({ id, owner, outcome, endedAt, bytes }) => [
      id,
      owner,
      outcome,
      `${roughly((nowMs - Date.parse(endedAt)) / 1000)} ago`,
      formatBytes(bytes),
    ]),
  )
  await out.line(`${what(tasks.length, options)}: ${formatBytes(bytesOf(tasks))}`)
}

const what = (amount: number, { workspacesOnly }: PruneOptions): string =>
  workspacesOnly === true ? `workspace and artifacts of ${count(amount, 'task')}` : count(amount, 'task')

const bytesOf = (tasks: Found): number => tasks.reduce((sum, { bytes }) => sum + bytes, 0)

const summary = (tasks: Found, { dryRun }: { dryRun: boolean }) => ({ dryRun, bytes: bytesOf(tasks), tasks })
