/** `rclaude pull TASK`: the result as a branch of the repository one stands in. */
import type { Command } from 'commander'
import { act, type Invocation, newCommand } from '../command.ts'
import { oneLine } from '../neutralise.ts'
import { findTask } from '../task-name.ts'
import { noteWithheld } from '../withheld.ts'
import { pullTask } from '../workspace/pull.ts'
import type { World } from '../world.ts'

interface PullOptions {
  branch?: string
  force?: boolean
  checkpoint?: boolean
}

export function define(world: World): Command {
  return newCommand('pull', 'get the result as a branch', [
    'rclaude pull @last',
    'rclaude pull k3m --branch fix-tests',
    'git merge rclaude/task_k3m9x2p7q4rt',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .option('-b, --branch <name>', 'instead of rclaude/TASK')
    .option('-f, --force', 'move the branch even when it holds commits that are not of this task')
    .option('--checkpoint', 'the newest checkpoint instead of the result')
    .action(act(world, pull))
}

async function pull(invocation: Invocation, name: string, options: PullOptions): Promise<undefined> {
  const { world, out } = invocation
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  const pulled = await pullTask(
    world.cwd,
    { gateway: gateway.url, token: gateway.token, taskId, env: world.env },
    {
      want: options.checkpoint === true ? 'checkpoint' : 'newest',
      force: options.force === true,
      ...(options.branch !== undefined && { branch: options.branch }),
    },
  )
  const withheld = await noteWithheld(gateway, taskId, out)
  if (out.json) return void (await out.data({ taskId, ...pulled, withheld }))
  const what = pulled.from === 'checkpoint' ? 'the newest checkpoint' : 'the result'
  const verb = { created: 'is now', updated: 'was moved to', unchanged: 'is already at' }[pulled.status]
  await out.line(
    `${out.style.green('✓')} branch ${out.style.bold(pulled.branch)} ${verb} ${what} (${pulled.commit.slice(0, 7)})`,
  )
  for (const { path, commit, status } of pulled.submodules ?? [])
    await out.line(
      `  in ${oneLine(path)}: ${status === 'unchanged' ? 'already there' : status} (${commit.slice(0, 7)})`,
    )
  await out.line(`  ${out.style.dim(`git switch ${pulled.branch}    git merge ${pulled.branch}`)}`)
}
