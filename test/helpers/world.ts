/**
 * A whole Remote Claude for a test: the built gateway as a real process on a data folder of its own, agents that it
 * starts, a scripted model for the real Claude Code, and the built CLI. `close` proves that nothing is left running.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { onTestFinished } from 'vitest'
import { type ModelServer, type Script, startModelServer } from '../../demo/model-server.ts'
import { type Client, createClient } from '../../protocol/client.ts'
import type { TaskEvent } from '../../protocol/event.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { eventually } from './eventually.ts'

const DIST = resolve('dist')
export const MODEL_KEY = 'sk-ant-test-0123456789abcdef'

export interface CliResult {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface CliOptions {
  cwd?: string
  env?: Record<string, string>
  stdin?: string | Buffer
}

export class World {
  readonly directory = mkdtempSync(join(tmpdir(), 'rclaude-world-'))
  readonly data = join(this.directory, 'data')
  readonly home = join(this.directory, 'home')
  /** Over the defaults of a test gateway. */
  readonly settings: Record<string, string>
  dist = DIST
  /** Program and arguments of the gateway, when it is not the built one. */
  gatewayArgv: readonly string[] | undefined
  #gateway: ChildProcess | undefined
  #model: ModelServer | undefined

  constructor(settings: Record<string, string> = {}) {
    this.settings = settings
    for (const path of [this.data, this.home]) mkdirSync(path, { recursive: true })
  }

  get url(): string {
    return (JSON.parse(readFileSync(join(this.data, 'gateway.json'), 'utf8')) as { url: string }).url
  }

  get adminToken(): string {
    return readFileSync(join(this.data, 'admin-token'), 'utf8').trim()
  }

  get gatewayLog(): string {
    return readFileSync(join(this.directory, 'gateway.log'), 'utf8')
  }

  get gatewayPid(): number {
    return this.#gateway?.pid ?? 0
  }

  get model(): ModelServer {
    if (this.#model === undefined) throw new Error('no model was started')
    return this.#model
  }

  api(token = this.adminToken): Client {
    return createClient({ baseUrl: this.url, token, version: 'test' })
  }

  /** Environment of a user at a shell. */
  userEnvironment(): Record<string, string> {
    return {
      PATH: process.env.PATH ?? '',
      HOME: this.home,
      LANG: 'C.UTF-8',
      RCLAUDE_CLAUDE: resolve('node_modules/.bin/claude'),
      ...(this.#model && { ANTHROPIC_BASE_URL: this.#model.url, ANTHROPIC_API_KEY: MODEL_KEY }),
    }
  }

  async startModel(script: Script): Promise<ModelServer> {
    await this.#model?.close()
    this.#model = await startModelServer({ script })
    return this.#model
  }

  async startGateway(): Promise<void> {
    const log = openSync(join(this.directory, 'gateway.log'), 'a')
    rmSync(join(this.data, 'gateway.json'), { force: true })
    this.#gateway = spawn(process.execPath, this.#gatewayArgs, { stdio: ['ignore', log, log], env: this.#gatewayEnv })
    const exited = new Promise<never>((_, reject) =>
      this.#gateway?.once('exit', (code) => reject(new Error(`the gateway exited with ${code}: ${this.gatewayLog}`))),
    )
    exited.catch(() => {})
    await Promise.race([exited, eventually('the gateway listens', () => existsSync(join(this.data, 'gateway.json')))])
  }

  get #gatewayArgs(): string[] {
    return [...(this.gatewayArgv ?? [join(this.dist, 'gateway.js'), '--local', '--data', this.data])]
  }

  get #gatewayEnv(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      HOME: this.home,
      RCLAUDE_CLAUDE: resolve('node_modules/.bin/claude'),
      RCLAUDE_INTERVALS__RECONCILE: '500ms',
      ...this.settings,
    }
  }

  /** Another gateway on the same data, run to its end. */
  runGateway(): Promise<CliResult> {
    return collect(spawn(process.execPath, this.#gatewayArgs, { env: this.#gatewayEnv }))
  }

  /** Resolves when it has ended by itself. */
  async gatewayGone(): Promise<void> {
    await eventually(
      'the gateway has ended',
      () => this.#gateway?.exitCode !== null || this.#gateway.signalCode !== null,
    )
  }

  /** Resolves when it is gone. */
  async killGateway(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const gateway = this.#gateway
    if (gateway === undefined || gateway.exitCode !== null || gateway.signalCode !== null) return
    const gone = new Promise((done) => gateway.once('exit', done))
    gateway.kill(signal)
    await gone
  }

  async createTask(spec: CreateTaskInput, token?: string): Promise<Task> {
    const { env = {}, secrets = {} } = spec
    const isClaude = spec.agent !== 'command' && this.#model !== undefined
    return this.api(token).call(routes.createTask, {
      body: {
        ...spec,
        env: { ...(isClaude && { ANTHROPIC_BASE_URL: this.model.url }), ...env },
        secrets: { ...(isClaude && { ANTHROPIC_API_KEY: MODEL_KEY }), ...secrets },
      },
    })
  }

  getTask(taskId: string): Promise<Task> {
    return this.api().call(routes.getTask, { params: { taskId } })
  }

  async events(taskId: string): Promise<TaskEvent[]> {
    const all: TaskEvent[] = []
    for await (const event of this.api().events(taskId)) all.push(event)
    return all
  }

  state(taskId: string, state: Task['state'], timeoutMs = 30_000): Promise<Task> {
    return eventually(
      `${taskId} is ${state}`,
      async () => {
        const task = await this.getTask(taskId)
        if (task.state === state) return task
        if (task.state === 'ended')
          throw new Error(`${taskId} ended: ${task.outcome} (${task.reason}): ${task.message}`)
        return undefined
      },
      timeoutMs,
    )
  }

  ended(taskId: string, timeoutMs = 60_000): Promise<Task & { state: 'ended' }> {
    return eventually(
      `${taskId} has ended`,
      async () => {
        const task = await this.getTask(taskId)
        return task.state === 'ended' ? task : undefined
      },
      timeoutMs,
    )
  }

  /** Runs the CLI to its end. */
  async cli(args: string[], options: CliOptions = {}): Promise<CliResult> {
    const child = this.startCli(args, options)
    return child.result
  }

  startCli(args: string[], options: CliOptions = {}): { process: ChildProcess; result: Promise<CliResult> } {
    const child = spawn(join(DIST, 'rclaude.js'), args, {
      cwd: options.cwd ?? this.directory,
      env: { ...this.userEnvironment(), ...options.env },
    })
    const result = collect(child)
    child.stdin.on('error', () => {})
    child.stdin.end(options.stdin)
    return { process: child, result }
  }

  /**
   * The same on a terminal of its own (a pseudo-terminal that Python makes); `script` says what is typed once the screen
   * shows something.
   */
  startOnTerminal(
    args: string[],
    options: CliOptions & { script: Array<{ when: string; type: string }> },
  ): Promise<CliResult> {
    const child = spawn(
      'python3',
      [resolve('test/helpers/terminal.py'), process.execPath, join(DIST, 'rclaude.js'), ...args],
      {
        cwd: options.cwd ?? this.directory,
        env: {
          ...this.userEnvironment(),
          TERM: 'xterm-256color',
          ...options.env,
          TERMINAL_SCRIPT: JSON.stringify(options.script),
        },
      },
    )
    child.stdin.end()
    return collect(child)
  }

  /** The gateway of this world for CLI calls. */
  get asAdmin(): Record<string, string> {
    return { RCLAUDE_GATEWAY: this.url, RCLAUDE_TOKEN: this.adminToken }
  }

  /** Pids of everything that has this world's folder in its environment or command line, the test itself excluded. */
  processes(): number[] {
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
      .filter((pid) =>
        ['environ', 'cmdline'].some((name) => readQuietly(`/proc/${pid}/${name}`).includes(this.directory)),
      )
      .map(Number)
  }

  /** Command lines of the same. */
  commands(): string[] {
    return this.processes().map(commandOf)
  }

  async close(): Promise<void> {
    await this.killGateway('SIGTERM')
    await this.#model?.close()
    const left = await eventually('nothing is left running', () => this.processes().length === 0, 10_000).then(
      () => [],
      () => this.processes(),
    )
    const commands = left.map((pid) => `${pid} ${commandOf(pid)}`)
    for (const pid of left) process.kill(pid, 'SIGKILL')
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 })
    if (commands.length > 0) throw new Error(`left running: ${commands.join('; ')}`)
  }
}

export interface WorldOptions {
  settings?: Record<string, string>
  script?: Script
  /** Programs other than the built ones. */
  dist?: string
  /** One that was prepared, instead of a new one. */
  world?: World
}

export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const world = options.world ?? new World(options.settings)
  if (options.dist !== undefined) world.dist = options.dist
  onTestFinished(() => world.close())
  if (options.script) await world.startModel(options.script)
  await world.startGateway()
  return world
}

function collect(child: ChildProcessWithoutNullStreams): Promise<CliResult> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
  return new Promise((done) =>
    child.once('close', (code, signal) =>
      done({ code, signal, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    ),
  )
}

const commandOf = (pid: number): string => readQuietly(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')

const readQuietly = (file: string): string => {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}

/** A git command in a folder; its standard output. */
export function git(cwd: string, ...args: string[]): Promise<string> {
  return new Promise((done, reject) =>
    execFile('git', args, { cwd, env: { PATH: process.env.PATH, HOME: cwd } }, (error, stdout, stderr) =>
      error ? reject(new Error(`git ${args.join(' ')}: ${stderr}`)) : done(stdout),
    ),
  )
}
