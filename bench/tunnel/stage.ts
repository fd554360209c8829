/** What several rows stand on, made when the first of them asks: the big file, the gateways with their tasks, the reader. */
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Children, Worker } from './children.ts'
import type { Options } from './options.ts'
import { type Ssh, startSsh } from './peers/ssh.ts'
import { seedLaunches } from './seed.ts'
import type { AgentsCalls } from './workers/agents.ts'
import type { ReaderCalls } from './workers/reader.ts'
import type { SenderCalls } from './workers/sender.ts'
import { Gateway, makeTls, startTerminator, type Terminator, type Tls } from './world.ts'

const DIAL_TIMEOUT_MS = 10_000
const BLOCK_BYTES = 1024 * 1024

export interface Ready {
  gateway: Gateway
  /** A task with a real agent, which has the big file. */
  taskId: string
}

export class Stage {
  readonly children: Children
  readonly options: Options
  readonly signal: AbortSignal
  readonly log: (line: string) => void

  constructor(children: Children, options: Options, signal: AbortSignal, log: (line: string) => void) {
    this.children = children
    this.options = options
    this.signal = signal
    this.log = log
  }

  /** Noise, so that nothing on the way can compress it. */
  readonly file = once(() => writeNoise(join(this.children.directory, 'big'), this.options.size))

  readonly tls = once((): Tls | undefined => makeTls(this.children.directory))

  readonly ssh = once((): Promise<Ssh | undefined> => startSsh(this.children))

  readonly reader = once((): Worker<ReaderCalls> => this.children.fork<ReaderCalls>('reader'))

  /** For the compared rows: the same process for all, as the agent is one. */
  readonly sender = once((): Worker<SenderCalls> => this.children.fork<SenderCalls>('sender', this.trust()))

  /** The gateway whose agent dials it directly. */
  readonly plain = once(async (): Promise<Ready> => {
    const gateway = this.gateway('plain')
    const [launch] = seedLaunches(gateway.data, 1)
    await gateway.start()
    if (launch !== undefined) this.#apiLaunch = launch
    return { gateway, taskId: await gateway.startTask(this.file()) }
  })

  /** The gateway whose agent dials it through TLS; undefined where there is no openssl. */
  readonly secure = once(async (): Promise<Ready | undefined> => {
    const terminator = await this.terminator()
    if (terminator === undefined) return undefined
    const gateway = this.gateway('secure', {
      RCLAUDE_AGENT_URL: `https://127.0.0.1:${terminator.port}`,
      ...this.trust(),
    })
    await gateway.start()
    await terminator.worker.call('forwardTo', { port: gateway.port })
    return { gateway, taskId: await gateway.startTask(this.file()) }
  })

  /** The agent's API in a process of the bench's, on a TCP port and, as a task of the plain gateway, through its tunnel. */
  readonly api = once(async () => {
    const { gateway } = await this.plain()
    const launch = this.#apiLaunch
    if (launch === undefined) throw new Error('no launch was seeded')
    const agents = await this.agents('api')
    await agents.worker.call('dial', {
      launches: [launch],
      gatewayUrls: [gateway.url],
      atOnce: 1,
      timeoutMs: DIAL_TIMEOUT_MS,
    })
    return { gateway, taskId: launch.taskId, port: agents.port }
  })

  #apiLaunch: { taskId: string; launchId: string; joinCode: string } | undefined

  gateway(name: string, env: Record<string, string> = {}): Gateway {
    return new Gateway(this.children, { name, env, cpuProf: this.options.cpuProf })
  }

  /** A TLS terminator of its own, not connected to anything yet. */
  async terminator(): Promise<Terminator | undefined> {
    const tls = this.tls()
    return tls && startTerminator(this.children, tls)
  }

  async agents(name: string): Promise<{ worker: Worker<AgentsCalls>; port: number }> {
    const directory = join(this.children.directory, `agents-${name}`)
    const [workspace, state] = [join(directory, 'work'), join(directory, 'state')]
    for (const path of [workspace, state]) mkdirSync(path, { recursive: true })
    writeFileSync(join(workspace, 'small'), 'x'.repeat(100))
    const worker = this.children.fork<AgentsCalls>('agents', this.trust())
    return { worker, port: await worker.call('start', { workspace, state }) }
  }

  /** Environment of a Node process that believes our certificate. */
  trust(): Record<string, string> {
    const tls = this.tls()
    return tls === undefined ? {} : { NODE_EXTRA_CA_CERTS: tls.certFile }
  }
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

function writeNoise(path: string, size: number): string {
  const block = randomBytes(BLOCK_BYTES)
  const file = openSync(path, 'w')
  for (let left = size; left > 0; left -= BLOCK_BYTES) writeSync(file, block, 0, Math.min(left, BLOCK_BYTES))
  closeSync(file)
  return path
}
