/** `rclaude ssh-config`: what OpenSSH needs to know of tasks, printed or put where it is found. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { SshUser } from '../../protocol/ssh.ts'
import type { Gateway } from '../api.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { gatewayFlags } from '../gateway-flags.ts'
import { confirm } from '../prompt.ts'
import { isIncluded, ownConfigFile, removeConfig, userConfigFile, writeConfig } from '../ssh/config-file.ts'
import { hostOf, PATTERN } from '../ssh/host.ts'
import { sshOptions } from '../ssh/options.ts'
import { canAsk, type World } from '../world.ts'

interface SshConfigOptions {
  write?: boolean
  remove?: boolean
  yes?: boolean
}

/** Tasks that get a block of their own. */
const MAX_TASKS = 100

export function define(world: World): Command {
  return newCommand('ssh-config', 'let ssh, scp, sftp, rsync and editors reach tasks', [
    'rclaude ssh-config             print it',
    'rclaude ssh-config --write     put it into a file of its own, which ~/.ssh/config then includes',
    'ssh task_abc.rclaude           afterwards; so do scp, sftp, rsync, VS Code Remote-SSH, JetBrains Gateway',
    'rclaude ssh-config --remove',
  ])
    .option('--write', 'write it, and include it in ~/.ssh/config')
    .option('--remove', 'take it out again')
    .option('-y, --yes', 'change ~/.ssh/config without asking')
    .action(act(world, sshConfig))
}

async function sshConfig(invocation: Invocation, options: SshConfigOptions): Promise<undefined> {
  const { world, out } = invocation
  if (options.write === true && options.remove === true)
    throw new RclaudeError('invalid', '--write and --remove contradict each other')
  if (options.remove === true) {
    out.note((await removeConfig(world)) ? `taken out of ${userConfigFile(world)}` : 'there was nothing to take out')
    return
  }
  const text = await configText(invocation)
  if (options.write !== true) return void (await out.line(text.trimEnd()))
  if (!(await isIncluded(world)) && options.yes !== true) await askFirst(world)
  const changed = await writeConfig(world, text)
  out.note(`wrote ${ownConfigFile(world)}${changed ? `, which ${userConfigFile(world)} now includes` : ''}`)
  out.note('say it again when new tasks run as other users, or for editors that list hosts')
}

async function askFirst(world: World): Promise<void> {
  const file = userConfigFile(world)
  if (!canAsk(world))
    throw new RclaudeError('invalid', `this adds an Include line to ${file}: say --yes if that is meant`)
  if (!(await confirm(world, `Add an Include line to ${file}?`)))
    throw new RclaudeError('invalid', 'nothing was written')
}

async function configText({ world, globals, connect }: Invocation): Promise<string> {
  const gateway = await connect()
  const flags = await gatewayFlags(world, globals)
  const blocks = [
    ...(await users(gateway)).map(({ host, user }) => block(host, [['User', user]])),
    block(PATTERN, sshOptions(world, { gateway: flags })),
  ]
  return `# Written by rclaude ssh-config: tasks of ${gateway.url}\n\n${blocks.join('\n')}`
}

const block = (host: string, options: readonly (readonly [string, string])[]): string =>
  `Host ${host}\n${options.map(([name, value]) => `  ${name} ${value}\n`).join('')}`

/** A task that is not reached just now is left out: its user is not known. */
async function users({ client }: Gateway): Promise<{ host: string; user: string }[]> {
  const { tasks } = await client.call(routes.listTasks, { query: { state: 'running', limit: MAX_TASKS } })
  const asked = tasks.map(async ({ id }) => {
    const response = await client.raw(routes.sshUser, { params: { taskId: id } })
    return { host: hostOf(id), ...SshUser.parse(await response.json()) }
  })
  return (await Promise.allSettled(asked)).flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
}
