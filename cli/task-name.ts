/** How users name a task: its id, the beginning of its id with or without `task_`, or `@last` for their newest. */
import type { Client } from '../protocol/client.ts'
import { RclaudeError } from '../protocol/errors.ts'
import { TaskId } from '../protocol/ids.ts'
import { MAX_PAGE, routes } from '../protocol/routes.ts'

/** Older tasks than this many pages hold must be named in full. */
const MAX_PAGES = 20
const SHOWN_CANDIDATES = 5

export async function findTask(client: Pick<Client, 'call'>, name: string): Promise<TaskId> {
  const whole = TaskId.safeParse(name)
  if (whole.success) return whole.data
  if (name === '@last') return newest(client)
  const prefix = name.startsWith('task_') ? name : `task_${name}`
  if (!/^task_[a-z0-9]{1,12}$/.test(prefix))
    throw new RclaudeError(
      'invalid',
      `"${name}" names no task: give an id, the beginning of one, or @last; see rclaude ps -a`,
    )
  const own = await matches(client, prefix)
  return onlyOne(name, own.length > 0 ? own : await matches(client, prefix, '1'))
}

async function newest(client: Pick<Client, 'call'>): Promise<TaskId> {
  const { user } = await client.call(routes.me)
  const { tasks } = await client.call(routes.listTasks, { query: { limit: 1, owner: user } })
  const task = tasks[0]
  if (task === undefined) throw new RclaudeError('invalid', `@last: ${user} has no task on this gateway yet`)
  return task.id
}

/** @param shared `1` for those that others have shared */
async function matches(client: Pick<Client, 'call'>, prefix: string, shared: '0' | '1' = '0'): Promise<TaskId[]> {
  const found: TaskId[] = []
  let cursor: string | undefined
  for (let page = 0; page < MAX_PAGES; page++) {
    const answer = await client.call(routes.listTasks, { query: { limit: MAX_PAGE, cursor, shared } })
    found.push(...answer.tasks.map((task) => task.id).filter((id) => id.startsWith(prefix)))
    cursor = answer.nextCursor
    if (cursor === undefined) break
  }
  return found
}

/** @throws {RclaudeError} `invalid`, naming the candidates when there are several */
export function onlyOne(name: string, ids: readonly TaskId[]): TaskId {
  const [first, second] = ids
  if (first === undefined) throw new RclaudeError('invalid', `no task begins with "${name}"; see rclaude ps -a`)
  if (second === undefined) return first
  const some = ids.slice(0, SHOWN_CANDIDATES).join(', ')
  const more = ids.length > SHOWN_CANDIDATES ? ` and ${ids.length - SHOWN_CANDIDATES} more` : ''
  throw new RclaudeError('invalid', `"${name}" may be ${some}${more}: give more letters`)
}
