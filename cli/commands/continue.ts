/** `rclaude continue TASK "..."`: another prompt; the task goes on from its files and its conversation. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { type AgainOptions, finish, prepare, withAgainOptions } from '../again.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { readAll } from '../prompt.ts'
import { findTask } from '../task-name.ts'
import { readWork } from '../task-request.ts'
import type { World } from '../world.ts'

interface ContinueOptions extends AgainOptions {
  file?: string
}

export function define(world: World): Command {
  const command = newCommand('continue', 'give a task another prompt', [
    'rclaude continue @last "now add a test for the empty list"',
    'rclaude continue k3m -f review.md',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('[prompt]', 'what to do; - reads it from standard input')
    .option('-f, --file <file>', 'read the prompt from a file')
  return withAgainOptions(command).action(act(world, proceed))
}

async function proceed(
  invocation: Invocation,
  name: string,
  prompt: string | undefined,
  options: ContinueOptions,
): Promise<number> {
  const readStdin = () => readAll(invocation.world.stdin)
  const work = await readWork(prompt, options, undefined, readStdin)
  if (work.prompt === undefined) throw new RclaudeError('invalid', 'the prompt is missing')
  const gateway = await invocation.connect()
  const { client } = gateway
  const taskId = await findTask(client, name)
  const before = await client.call(routes.getTask, { params: { taskId } })
  const hidden = await prepare(invocation, gateway, before, options, readStdin)
  const task = await client.call(routes.continueTask, { params: { taskId }, body: { prompt: work.prompt, ...hidden } })
  return finish(invocation, gateway, task, before.lastSeq, options)
}
