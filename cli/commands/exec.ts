/** `rclaude exec TASK -- argv`: a process inside a running task, as if it ran here. */
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { ProcessInfo, type ProcessSpecInput } from '../../protocol/process.ts'
import { routes } from '../../protocol/routes.ts'
import type { Gateway } from '../api.ts'
import { act, collect, duration, type Invocation, newCommand } from '../command.ts'
import { processSession } from '../process-session.ts'
import { findTask } from '../task-name.ts'
import { escapeKey, needTerminal, TERMINAL_OPTIONS } from '../terminals/options.ts'
import { terminalSession, terminalSpec } from '../terminals/session.ts'
import { refuseMangled } from '../utf8.ts'
import { parseEnv, readEnvFiles } from '../variables.ts'
import type { World } from '../world.ts'

interface ExecOptions {
  interactive?: boolean
  tty?: boolean
  escapeChar?: string
  workdir?: string
  env?: string[]
  /** Not `envFile`, as docker has it: Node 20 takes --env-file for itself wherever it stands, NODE_OPTIONS in the file too. */
  envFrom?: string[]
  user?: string
  detach?: boolean
  timeout?: number
}

/** What goes into the URL of the first connection; more than this, or any variable, goes into a request body. */
const MAX_URL_SPEC = 4_096

export function define(world: World): Command {
  return newCommand('exec', 'run a process inside a running task', [
    'rclaude exec @last -- npm test',
    'tar c src | rclaude exec -i k3m -- tar x',
    'rclaude exec -it k3m -- vim notes.txt     on a terminal, as docker exec -it',
    'rclaude exec --detach k3m -- npm start      see rclaude processes, attach, kill',
    'rclaude exec --timeout 5m k3m -- npm test   exit code 124 when the time is over',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('[command...]', 'what to run; after -- so that its options are its own')
    .usage('[options] <task> -- command...')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give it a terminal; with -i what you type goes there')
    .addOption(TERMINAL_OPTIONS.escapeChar())
    .option('-w, --workdir <dir>', 'relative to the workspace')
    .option('-e, --env <name[=value]>', 'set a variable, or pass yours on', collect)
    .option('--env-from <file>', 'set the variables of a file, NAME=VALUE a line', collect)
    .option('-u, --user <name>', 'run as another user, where the gateway allows it')
    .option('-d, --detach', 'print the id of the process and leave')
    .option('--timeout <duration>', 'end it after so long', duration)
    .action(act(world, exec))
}

async function exec(invocation: Invocation, name: string, words: string[], options: ExecOptions): Promise<number> {
  const { world, out } = invocation
  const argv = [...words, ...(world.afterDashes ?? [])]
  const env = { ...(await readEnvFiles(options.envFrom ?? [], world.env)), ...parseEnv(options.env ?? [], world.env) }
  if (argv.length === 0) throw new RclaudeError('invalid', `what is to run? rclaude exec ${name} -- ls -la`)
  if (options.detach === true && options.interactive === true)
    throw new RclaudeError('invalid', '--detach and --interactive contradict each other')
  if (options.tty === true && options.interactive === true) needTerminal(world)
  await refuseMangled([...argv, ...Object.values(env)])
  const spec: ProcessSpecInput = {
    argv,
    env,
    stdin: options.interactive === true,
    detached: options.detach === true,
    ...(options.tty === true && { tty: terminalSpec(world) }),
    ...(options.workdir !== undefined && { cwd: options.workdir }),
    ...(options.user !== undefined && { user: options.user }),
    ...(options.timeout !== undefined && { timeoutSeconds: options.timeout }),
  }
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  if (options.detach === true) {
    const started = await start(gateway, taskId, spec)
    await (out.json ? out.data({ taskId, ...started }) : out.line(started.id))
    return 0
  }
  const stdin = options.interactive === true
  const fits = Object.keys(spec.env ?? {}).length === 0 && JSON.stringify(spec).length <= MAX_URL_SPEC
  const what = { taskId, spec, ...(!fits && { processId: (await start(gateway, taskId, spec)).id }) }
  if (options.tty !== true) return processSession(world, gateway, out, { ...what, stdin })
  const key = escapeKey(options.escapeChar)
  return terminalSession(world, gateway, out, { ...what, mode: 'write', interactive: stdin, escapeKey: key })
}

export async function start({ client }: Gateway, taskId: string, spec: ProcessSpecInput): Promise<ProcessInfo> {
  const response = await client.raw(routes.startProcess, {
    params: { taskId },
    rawBody: JSON.stringify(spec),
    headers: { 'content-type': 'application/json' },
  })
  return ProcessInfo.parse(await response.json())
}
