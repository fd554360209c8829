/** `rclaude preview TASK PORT`: a port of a task in the browser, on an origin of its own. */
import type { Command } from 'commander'
import type { Client } from '../../protocol/client.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { PreviewId } from '../../protocol/ids.ts'
import { PortNumber } from '../../protocol/port.ts'
import { routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { neutralise } from '../neutralise.ts'
import type { Output } from '../output.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface PreviewOptions {
  path: string
  list?: boolean
  end?: true | string
}

export function define(world: World): Command {
  return newCommand('preview', 'see a port of a task in the browser', [
    'rclaude preview @last 3000              prints a link; it lets one browser in, once',
    'rclaude preview @last 5173 --path /login',
    'rclaude preview @last --list            who was let in, from where and until when',
    'rclaude preview @last 5173 --end        nobody is in any more, and unused links are void',
    'rclaude preview @last --end view_k3m9x2p7q4rt',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('[port]', 'port that listens in the task')
    .option('--path <path>', 'where to begin', '/')
    .option('--list', 'name the browsers that were let in')
    .option(
      '--end [preview]',
      'end previews at once: the one that --list names so, those of the port, or all of the task',
    )
    .action(act(world, preview))
}

async function preview(
  invocation: Invocation,
  name: string,
  text: string | undefined,
  options: PreviewOptions,
): Promise<undefined> {
  const { out } = invocation
  const port = text === undefined ? undefined : portOf(text)
  const id = typeof options.end === 'string' ? idOf(options.end) : undefined
  if (options.list && options.end) throw new RclaudeError('invalid', '--list and --end are two calls')
  if (port === undefined && !options.list && !options.end)
    throw new RclaudeError('invalid', `which port? rclaude preview ${name} PORT`)
  const { client } = await invocation.connect()
  const taskId = await findTask(client, name)
  if (options.list) return list(out, client, taskId, port)
  if (options.end) return end(out, client, taskId, port, id)
  const entry = await client.call(routes.openPreview, {
    params: { taskId, port: String(port) },
    body: { path: options.path },
  })
  if (out.json) await out.data({ ...entry, taskId })
  else await out.line(neutralise(entry.url))
  return undefined
}

async function list(out: Output, client: Client, taskId: string, only: number | undefined): Promise<undefined> {
  const all = (await client.call(routes.listPreviews, { params: { taskId } })).previews
  const previews = all.filter(({ port }) => (only ?? port) === port)
  if (out.json) await out.data({ taskId, previews })
  else if (previews.length === 0) out.note(`nobody is in a preview of ${taskId}`)
  else
    await out.table(
      ['PREVIEW', 'PORT', 'USER', 'ADDRESS', 'SINCE', 'UNTIL'].map((title) => ({ title })),
      previews.map((one) => [one.id, String(one.port), one.user, one.address, one.enteredAt, one.expiresAt]),
    )
  return undefined
}

async function end(
  out: Output,
  client: Client,
  taskId: string,
  port: number | undefined,
  id: PreviewId | undefined,
): Promise<undefined> {
  const query = { ...(port !== undefined && { port: String(port) }), ...(id !== undefined && { id }) }
  const { ended } = await client.call(routes.endPreviews, { params: { taskId }, query })
  if (id !== undefined && ended.length === 0)
    throw new RclaudeError('not_found', `nobody is in as ${id}; see rclaude preview ${taskId} --list`)
  if (out.json) await out.data({ taskId, ended })
  else await out.line(ended.length === 0 ? 'nobody was in' : `ended: ${ended.map((one) => one.id).join(' ')}`)
  return undefined
}

function portOf(text: string): number {
  const port = PortNumber.safeParse(text)
  if (port.success) return port.data
  throw new RclaudeError('invalid', `"${text}" is no port; ports go from 1 to 65535`)
}

function idOf(text: string): PreviewId {
  const id = PreviewId.safeParse(text)
  if (id.success) return id.data
  throw new RclaudeError(
    'invalid',
    `"${text}" is no preview, like view_k3m9x2p7q4rt; a port stands in front: rclaude preview TASK PORT --end`,
  )
}
