/** `rclaude ssh TASK`: the system's own ssh, led to a running task. */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { gatewayFlags } from '../gateway-flags.ts'
import { hostOf } from '../ssh/host.ts'
import { openSsh } from '../ssh/open.ts'
import { sshOptions } from '../ssh/options.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('ssh', 'log in to a running task with ssh', [
    'rclaude ssh @last',
    'rclaude ssh k3m -- npm test              a command; its exit code is ours',
    'rclaude ssh k3m -L 8080:localhost:3000   options are those of ssh',
    'rclaude ssh-config --write               then ssh, scp, sftp, rsync and editors know task_ID.rclaude',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('[arguments...]', 'of ssh: options, then a command')
    .passThroughOptions()
    .action(act(world, ssh))
}

async function ssh(invocation: Invocation, name: string, words: string[]): Promise<number> {
  const { world, globals } = invocation
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  const host = hostOf(taskId)
  const { user, processId } = await openSsh(world, gateway, taskId, host)
  const options = sshOptions(world, { gateway: await gatewayFlags(world, globals), processId })
  return run(world, [...options.flatMap(([key, value]) => ['-o', `${key}=${value}`]), '-l', user, host, ...words])
}

/** The terminal is ssh's from here on, with all its keys: a Ctrl-C is for the other side. */
function run(world: World, args: string[]): Promise<number> {
  const child = spawn('ssh', args, { stdio: 'inherit', env: world.env, cwd: world.cwd })
  const leaveToIt = () => {}
  const passOn = (signal: NodeJS.Signals) => void child.kill(signal)
  process.on('SIGINT', leaveToIt).on('SIGTERM', passOn).on('SIGHUP', passOn)
  return new Promise<number>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'ENOENT'
          ? new RclaudeError('invalid', 'ssh is not here: install an OpenSSH client')
          : new RclaudeError('internal', `ssh does not start: ${error.message}`, { cause: error }),
      ),
    )
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']))
  }).finally(() => {
    process.off('SIGINT', leaveToIt).off('SIGTERM', passOn).off('SIGHUP', passOn)
  })
}
