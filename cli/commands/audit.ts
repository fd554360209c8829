/** `rclaude audit`: who did what, newest first. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { type AuditRow, MAX_PAGE, routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface AuditOptions {
  task?: string
  limit?: number
}

const DEFAULT_LIMIT = 50

export function define(world: World): Command {
  return newCommand('audit', 'who did what', ['rclaude audit --task @last', 'rclaude audit --limit 1000 --json'])
    .option('--task <task>', 'only of this task')
    .option('-n, --limit <n>', `at most so many (${DEFAULT_LIMIT})`, wholeNumber)
    .action(act(world, audit))
}

async function audit(invocation: Invocation, options: AuditOptions): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const limit = options.limit ?? DEFAULT_LIMIT
  if (limit < 1) throw new RclaudeError('invalid', '--limit must be at least 1')
  const taskId = options.task === undefined ? undefined : await findTask(client, options.task)
  const rows: AuditRow[] = []
  let cursor: string | undefined
  do {
    const query = { limit: Math.min(MAX_PAGE, limit - rows.length), cursor, taskId }
    const page = await client.call(routes.listAudit, { query })
    rows.push(...page.rows)
    cursor = page.nextCursor
  } while (cursor !== undefined && rows.length < limit)
  if (out.json) return void (await out.data({ rows, ...(cursor !== undefined && { nextCursor: cursor }) }))
  const columns = ['TIME', 'USER', 'ADDRESS', 'ACTION', 'TASK', 'REQUEST', 'DETAIL'].map((title) => ({ title }))
  await out.table(
    columns,
    rows.map((row) => [row.at, row.user, row.address, row.action, row.taskId ?? '', row.requestId, row.detail ?? '']),
  )
}
