/** `rclaude preview TASK PORT`: a port of a task in the browser, on an origin of its own. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { PortNumber } from '../../protocol/port.ts'
import { routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { neutralise } from '../neutralise.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface PreviewOptions {
  path: string
}

export function define(world: World): Command {
  return newCommand('preview', 'see a port of a task in the browser', [
    'rclaude preview @last 3000              prints a link; it lets one browser in, once',
    'rclaude preview @last 5173 --path /login',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('<port>', 'port that listens in the task')
    .option('--path <path>', 'where to begin', '/')
    .action(act(world, preview))
}

async function preview(
  invocation: Invocation,
  name: string,
  text: string,
  options: PreviewOptions,
): Promise<undefined> {
  const { out } = invocation
  const port = PortNumber.safeParse(text)
  if (!port.success) throw new RclaudeError('invalid', `"${text}" is no port; ports go from 1 to 65535`)
  const { client } = await invocation.connect()
  const taskId = await findTask(client, name)
  const entry = await client.call(routes.openPreview, {
    params: { taskId, port: String(port.data) },
    body: { path: options.path },
  })
  if (out.json) await out.data({ ...entry, taskId })
  else await out.line(neutralise(entry.url))
  return undefined
}
