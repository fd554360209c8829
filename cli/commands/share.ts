/** `rclaude share TASK USER...`: others may see a task, or work with it. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes, type Share } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface ShareOptions {
  read?: boolean
  write?: boolean
}

export function define(world: World): Command {
  return newCommand('share', 'let others see a task, or work with it', [
    'rclaude share @last bob            bob may watch it, and read its log, patch and artifacts',
    'rclaude share k3m bob --write      bob may also step in, stop, continue and repeat it',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('<user...>', 'names of users')
    .option('--read', 'to look (unless said)')
    .option('--write', 'to work with it: all but delete and share it')
    .action(act(world, share))
}

async function share(invocation: Invocation, name: string, users: string[], options: ShareOptions): Promise<undefined> {
  const { out } = invocation
  if (options.read && options.write) throw new RclaudeError('invalid', '--write includes --read: give one of them')
  const access = options.write === true ? 'write' : 'read'
  const { client } = await invocation.connect()
  const taskId = await findTask(client, name)
  const shares: Share[] = []
  for (const user of users) shares.push(await client.call(routes.share, { params: { taskId, user }, body: { access } }))
  if (out.json) return void (await out.data({ taskId, shares }))
  for (const { user } of shares) await out.line(`${user} may ${access === 'write' ? 'work with' : 'see'} ${taskId}`)
}
