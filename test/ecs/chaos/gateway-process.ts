/** The built gateway as a process that is killed now and then, on one data folder: whoever asks it something starts it again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Client, createClient } from '../../../protocol/client.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { eventually } from '../../helpers/eventually.ts'

/** For the start of a gateway, on a machine that does other things as well. */
const START_WITHIN_MS = 30_000

export class GatewayProcess {
  readonly #directory = mkdtempSync(join(tmpdir(), 'rclaude-chaos-'))
  readonly data = join(this.#directory, 'data')
  readonly #settings: Record<string, string>
  #process: ChildProcess | undefined
  kills = 0

  constructor(settings: Record<string, string>) {
    mkdirSync(this.data)
    this.#settings = settings
  }

  get isUp(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null
  }

  get log(): string {
    return readFileSync(join(this.#directory, 'log'), 'utf8')
  }

  /** SIGKILL, when it runs. Resolves when it is gone. */
  async kill(): Promise<void> {
    if (!this.isUp) return
    this.kills += 1
    await this.#end('SIGKILL')
  }

  /** Asks its API; again when the gateway was killed meanwhile, so that must be harmless. */
  async ask<T>(question: (api: Client) => Promise<T>): Promise<T> {
    for (const until = Date.now() + START_WITHIN_MS; ; await pause(20)) {
      try {
        await this.start()
        return await question(this.#api())
      } catch (error) {
        const isCutOff = error instanceof RclaudeError && error.code === 'unavailable' // before its end is known here
        if ((this.isUp && !isCutOff) || Date.now() > until) throw error
      }
    }
  }

  /** When it does not run. */
  async start(): Promise<void> {
    if (this.isUp) return
    const file = join(this.data, 'gateway.json')
    rmSync(file, { force: true })
    const log = openSync(join(this.#directory, 'log'), 'a')
    this.#process = spawn(process.execPath, [resolve('dist/gateway.js'), '--local', '--data', this.data], {
      stdio: ['ignore', log, log],
      env: { PATH: process.env.PATH, HOME: this.#directory, ...this.#settings },
    })
    await eventually('the gateway listens, or is gone', () => existsSync(file) || !this.isUp, START_WITHIN_MS)
    if (!this.isUp) throw new Error(`the gateway has ended while it started:\n${this.log.slice(-2_000)}`)
  }

  /** In peace. */
  async stop(): Promise<void> {
    if (this.isUp) await this.#end('SIGTERM')
  }

  async remove(): Promise<void> {
    if (this.isUp) await this.#end('SIGKILL')
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 5 })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process as ChildProcess
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }

  #api(): Client {
    const { url } = JSON.parse(readFileSync(join(this.data, 'gateway.json'), 'utf8')) as { url: string }
    const token = readFileSync(join(this.data, 'admin-token'), 'utf8').trim()
    return createClient({ baseUrl: url, token, version: 'test' })
  }
}
