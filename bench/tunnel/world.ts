/**
 * The real gateway for the rows: dist/gateway.js as a process of its own on a data folder of its own, with agents that it
 * starts from dist/agent.js, or with launches that were written into its store before it started, for agents of the bench.
 */
import type { ChildProcess } from 'node:child_process'
import { execFileSync } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { createClient } from '../../protocol/client.ts'
import { routes } from '../../protocol/routes.ts'
import { type Children, end, scriptOf, type Worker, workerOf } from './children.ts'
import type { ProbeCalls } from './workers/probe.ts'
import type { TerminatorCalls } from './workers/terminator.ts'

const START_TIMEOUT_MS = 30_000
const POLL_MS = 20
/** Seeded launches may be dialled long after the gateway's start. */
const PATIENCE = { RCLAUDE_DEADLINES__START: '2h' }

export interface GatewayOptions {
  name: string
  env?: Record<string, string>
  cpuProf: string | undefined
}

export class Gateway {
  readonly directory: string
  readonly data: string
  readonly #children: Children
  readonly #options: GatewayOptions
  #process: ChildProcess | undefined
  #probe: Worker<ProbeCalls> | undefined

  constructor(children: Children, options: GatewayOptions) {
    this.#children = children
    this.#options = options
    this.directory = join(children.directory, options.name)
    this.data = join(this.directory, 'data')
    mkdirSync(this.data, { recursive: true })
    if (options.cpuProf !== undefined) children.beforeEnd(() => this.stop())
  }

  get url(): string {
    return (JSON.parse(readFileSync(this.#readyFile, 'utf8')) as { url: string }).url
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  get token(): string {
    return readFileSync(join(this.data, 'admin-token'), 'utf8').trim()
  }

  get probe(): Worker<ProbeCalls> {
    if (this.#probe === undefined) throw new Error('the gateway was not started')
    return this.#probe
  }

  /** Resolves when it listens. After `kill` it takes its port again. */
  async start(): Promise<void> {
    rmSync(this.#readyFile, { force: true })
    const logFile = join(this.directory, 'gateway.log')
    const log = openSync(logFile, 'a')
    const { cpuProf, env } = this.#options
    const profile = cpuProf === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${resolve(cpuProf)}`]
    const probe = pathToFileURL(scriptOf('probe')).href
    const argv = [
      ...profile,
      '--expose-gc',
      '--import',
      probe,
      resolve('dist/gateway.js'),
      '--local',
      '--data',
      this.data,
    ]
    this.#process = this.#children.spawn(process.execPath, argv, {
      stdio: ['ignore', log, log, 'ipc'],
      serialization: 'advanced',
      env: { PATH: process.env.PATH, HOME: this.directory, RCLAUDE_LOG__LEVEL: 'error', ...PATIENCE, ...env },
    })
    this.#probe = workerOf<ProbeCalls>('gateway', this.#process)
    const deadline = Date.now() + START_TIMEOUT_MS
    while (!existsSync(this.#readyFile)) {
      if (this.#process.exitCode !== null || Date.now() > deadline)
        throw new Error(`the gateway did not start: ${readFileSync(logFile, 'utf8')}`)
      await sleep(POLL_MS)
    }
  }

  kill(): Promise<void> {
    return this.#process === undefined ? Promise.resolve() : end(this.#process, 'SIGKILL')
  }

  /** In order, so that it writes its CPU profile. */
  stop(): Promise<void> {
    return this.#process === undefined ? Promise.resolve() : end(this.#process, 'SIGTERM')
  }

  /** A task whose real agent does nothing but wait, with `file` in its workspace as `big`. @returns its id */
  async startTask(file: string): Promise<string> {
    const client = createClient({ baseUrl: this.url, token: this.token, version: 'bench' })
    const { id: taskId } = await client.call(routes.createTask, {
      body: { agent: 'command', command: ['sleep', '86400'], workspace: { kind: 'none' } },
    })
    const deadline = Date.now() + START_TIMEOUT_MS
    for (;;) {
      const task = await client.call(routes.getTask, { params: { taskId } })
      if (task.state === 'running' && task.turns[0]?.startedAt !== undefined) break
      if (task.state === 'ended' || Date.now() > deadline)
        throw new Error(`the bench's task is ${task.state}: ${JSON.stringify(task)}`)
      await sleep(POLL_MS)
    }
    const workspace = join(this.data, 'run', taskId, 'work')
    if (!existsSync(join(workspace, 'big'))) linkSync(file, join(workspace, 'big'))
    return taskId
  }

  /** A GET as a client's bytes on the wire. */
  requestFor(path: string, headers: Record<string, string> = {}): string {
    const all = { host: '127.0.0.1', authorization: `Bearer ${this.token}`, connection: 'close', ...headers }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
  }

  get #readyFile(): string {
    return join(this.data, 'gateway.json')
  }
}

export interface Tls {
  keyFile: string
  certFile: string
}

/** A certificate for 127.0.0.1 of the bench's own; undefined when there is no openssl to make it. */
export function makeTls(directory: string): Tls | undefined {
  const tls = { keyFile: join(directory, 'tls.key'), certFile: join(directory, 'tls.crt') }
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const name = ['-subj', '/CN=rclaude bench', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
  try {
    execFileSync('openssl', ['req', '-x509', ...curve, ...name, '-keyout', tls.keyFile, '-out', tls.certFile], {
      stdio: 'ignore',
    })
    return tls
  } catch {
    return undefined
  }
}

export interface Terminator {
  worker: Worker<TerminatorCalls>
  port: number
}

export async function startTerminator(children: Children, tls: Tls): Promise<Terminator> {
  const worker = children.fork<TerminatorCalls>('terminator', {}, ['--expose-gc'])
  const [key, cert] = [readFileSync(tls.keyFile, 'utf8'), readFileSync(tls.certFile, 'utf8')]
  return { worker, port: await worker.call('listen', { key, cert }) }
}
