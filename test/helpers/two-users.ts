/**
 * A real gateway in this process, whose agents are root with a few capabilities and run the work as another user: as in a
 * container, without one. Needs root, `setpriv` and the built agent.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createLogger } from '../../gateway/log.ts'
import { startGateway } from '../../gateway/server.ts'
import { type Client, createClient } from '../../protocol/client.ts'
import { GatewayConfig, type GatewayConfigInput } from '../../protocol/config.ts'
import { routes } from '../../protocol/routes.ts'
import { AGENT_ENV } from '../../protocol/run.ts'
import type { CreateTaskInput } from '../../protocol/task.ts'
import { eventually } from './eventually.ts'

/** Of the work; no user of this machine. */
export const WORK_ID = 4321

export interface TwoUsers {
  url: string
  api: Client
  headers: Record<string, string>
  /** For the CLI, with an empty home. */
  env: Record<string, string>
  /** A task that runs, of which the agent's folder is there to be looked at. */
  start(spec?: Partial<CreateTaskInput>): Promise<RunningTask>
  close(): Promise<void>
}

export interface RunningTask {
  id: string
  /** Root of the agent's folders. */
  directory: string
  agent: number
  /** The second process; the newest, when it was replaced. */
  hands(): number | undefined
  /** A request of the task's, below /v1/tasks/ID. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  /** Runs it to its end. */
  exec(argv: string[], more?: Record<string, unknown>): Promise<{ output: string; code: number | null }>
  log(): string
}

export function whyNoTwoUsers(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'only root on Linux can become another user'
  if (!existsSync('/usr/bin/setpriv')) return 'there is no setpriv'
  return undefined
}

/**
 * @param capabilities of the agent, as setpriv names them
 * @param workUser as RCLAUDE_WORK_USER has it
 */
export async function startTwoUsers(
  capabilities: string[],
  config: GatewayConfigInput = {},
  workUser = `${WORK_ID}:${WORK_ID}`,
): Promise<TwoUsers> {
  const root = mkdtempSync(join(tmpdir(), 'rclaude-two-users-'))
  chmodSync(root, 0o755)
  const [data, home] = [join(root, 'data'), join(root, 'client')]
  mkdirSync(home)
  const bounding = ['-all', ...capabilities.map((name) => `+${name}`)].join(',')
  const script = [
    `export ${AGENT_ENV.workUser}=${workUser} ${AGENT_ENV.directory}=${root}/$${AGENT_ENV.taskId}`,
    `[ ! -e $${AGENT_ENV.directory} ] || mv $${AGENT_ENV.directory} $${AGENT_ENV.directory}.before`, // each placement is new
    `mkdir -m 755 $${AGENT_ENV.directory}`,
    `exec setpriv --bounding-set=${bounding} --inh-caps=-all --no-new-privs "$0" "$1" 2> $${AGENT_ENV.directory}/log`,
  ].join('\n')
  const gateway = await startGateway({
    config: GatewayConfig.parse({ ...config, listen: { port: 0 }, intervals: { reconcile: '200ms' } }),
    dataDirectory: data,
    version: 'test',
    log: createLogger('error', join(root, 'gateway.log')),
    agentArgv: ['/bin/sh', '-c', script, process.execPath, resolve('dist/agent.js')],
    env: { ...process.env, RCLAUDE_CLAUDE: resolve('node_modules/.bin/claude') },
  })
  const token = readFileSync(join(data, 'admin-token'), 'utf8').trim()
  const headers = { authorization: `Bearer ${token}` }
  const api = createClient({ baseUrl: gateway.url, token, version: 'test' })

  async function start(spec: Partial<CreateTaskInput> = {}): Promise<RunningTask> {
    const task = await api.call(routes.createTask, {
      body: { agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' }, ...spec },
    })
    const directory = join(root, task.id)
    const log = () => readFileSync(join(directory, 'log'), 'utf8')
    await eventually(
      `${task.id} runs`,
      async () => {
        const now = await api.call(routes.getTask, { params: { taskId: task.id } })
        if (now.state === 'ended') throw new Error(`it ended: ${now.message} ${log()}`)
        return now.state === 'running'
      },
      20_000,
    )
    const programs = () => pidsOf((command) => command.includes('dist/agent.js'))
    const inTask = (pid: number) => readQuietly(`/proc/${pid}/environ`).includes(task.id)
    const agent = programs().find(inTask) ?? 0
    const fetchOf = (path: string, init: RequestInit = {}) =>
      fetch(`${gateway.url}/v1/tasks/${task.id}${path}`, { ...init, headers: { ...headers, ...init.headers } })
    return {
      id: task.id,
      directory,
      agent,
      log,
      hands: () => programs().filter((pid) => pid !== agent && parentOf(pid) === agent)[0],
      fetch: fetchOf,
      async exec(argv, more = {}) {
        const body = JSON.stringify({ argv, ...more })
        const answer = await fetchOf('/exec', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        })
        const text = await answer.text()
        if (!answer.ok) throw new Error(`exec: ${answer.status} ${text}`)
        const lines = text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line))
        const output = lines.map((line) => line.data ?? line.text ?? '').join('')
        return { output, code: lines.at(-1)?.exit?.code ?? null }
      },
    }
  }

  return {
    url: gateway.url,
    api,
    headers,
    env: { PATH: process.env.PATH ?? '', HOME: home, RCLAUDE_GATEWAY: gateway.url, RCLAUDE_TOKEN: token },
    start,
    async close() {
      const { tasks } = await api.call(routes.listTasks, { query: { state: 'active' } })
      for (const { id } of tasks) await api.call(routes.stopTask, { params: { taskId: id }, body: {} })
      for (const { id } of tasks)
        await eventually(
          `${id} has ended`,
          async () => (await api.call(routes.getTask, { params: { taskId: id } })).state === 'ended',
          25_000,
        )
      await gateway.stop()
      rmSync(root, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

export function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').trim().split('\n')
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2) as [string, string]))
}

/** What `capsh` calls the bits of /proc/PID/status. */
export function capabilitiesIn(hex: string): string[] {
  const names =
    execFileSync('capsh', [`--decode=${hex}`], { encoding: 'utf8' })
      .trim()
      .split('=')[1] ?? ''
  return names === '' ? [] : names.split(',').map((name) => name.replace('cap_', ''))
}

export function pidsOf(is: (command: string) => boolean): number[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))
  return pids.filter((pid) => is(readQuietly(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))).map(Number)
}

const parentOf = (pid: number): number => Number(/^PPid:\s*(\d+)$/m.exec(readQuietly(`/proc/${pid}/status`))?.[1] ?? 0)

function readQuietly(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
