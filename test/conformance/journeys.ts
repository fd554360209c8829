/** The same launcher below a real gateway: whole tasks, and a gateway that is restarted under them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect } from 'vitest'
import { createLogger } from '../../gateway/log.ts'
import { type Gateway, startGateway } from '../../gateway/server.ts'
import { type Client, createClient } from '../../protocol/client.ts'
import { GatewayConfig } from '../../protocol/config.ts'
import { newGatewayId } from '../../protocol/ids.ts'
import type { Machine } from '../../protocol/machine.ts'
import { routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { freePort } from '../helpers/free-port.ts'
import type { Site } from './site.ts'

/** Of the gateway's log, in the report of a failure. */
const LOG_TAIL = 5_000

export interface JourneyOptions {
  name: string
  promise(what: string, work: () => Promise<void>): void
  site(): Site
  patienceMs: number
  /** What every task asks for. */
  machine?: Machine
}

export function journeys({ name, promise, site, patienceMs, machine }: JourneyOptions): void {
  promise('a task runs to its end, and its machine is gone before it has ended', async () => {
    await withGateway(name, site(), async (gateway) => {
      const { id } = await gateway.create(['sh', '-c', 'echo made it'], machine)
      const task = await gateway.until(id, 'ended', patienceMs)
      expect(task).toMatchObject({ outcome: 'succeeded', spec: { launcher: name } })
      expect(await gateway.left()).toEqual([])
    })
  })

  promise('a task goes on under a gateway that is restarted, and is stopped by the next one', async () => {
    await withGateway(name, site(), async (gateway) => {
      const { id } = await gateway.create(['sleep', '600'], machine)
      const { placement } = await gateway.until(id, 'running', patienceMs)
      await gateway.restart()
      await eventually('its agent is back', async () => isOnline(await gateway.task(id)), patienceMs)
      expect(await gateway.task(id)).toMatchObject({ state: 'running', placement })
      await gateway.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
      expect(await gateway.until(id, 'ended', patienceMs)).toMatchObject({ outcome: 'cancelled' })
      expect(await gateway.left()).toEqual([])
    })
  })

  promise('a task whose machine dies has ended soon, and says what is known of it', async () => {
    await withGateway(name, site(), async (gateway) => {
      const { id } = await gateway.create(['sleep', '600'], machine)
      const { placement } = await gateway.until(id, 'running', patienceMs)
      await site().kill({ ...placement, taskId: id })
      const ended = await gateway.until(id, 'ended', patienceMs)
      expect(['lost', 'interrupted']).toContain(ended.outcome)
      expect(await gateway.left()).toEqual([])
    })
  })
}

const isOnline = (task: Task): boolean => task.state === 'running' && task.connection.online

async function withGateway(name: string, site: Site, work: (gateway: Journey) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-journey-'))
  const gateway = new Journey(name, site, directory, await freePort())
  try {
    await gateway.start()
    await work(gateway)
  } catch (error) {
    throw new Error(`the log of the gateway:\n${gateway.log.slice(-LOG_TAIL)}`, { cause: error })
  } finally {
    await gateway.end()
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

class Journey {
  readonly #name: string
  readonly #site: Site
  readonly #directory: string
  readonly #port: number
  readonly #gatewayId = newGatewayId()
  #gateway: Gateway | undefined

  constructor(name: string, site: Site, directory: string, port: number) {
    this.#name = name
    this.#site = site
    this.#directory = directory
    this.#port = port
  }

  async start(): Promise<void> {
    const { listen, reach } = this.#site
    this.#gateway = await startGateway({
      config: GatewayConfig.parse({
        listen: { host: listen, port: this.#port, hosts: [reach] },
        agentUrl: `http://${reach}:${this.#port}`,
        launchers: { default: this.#name, process: { enabled: false } },
        intervals: { reconcile: '200ms' },
      }),
      dataDirectory: join(this.#directory, 'data'),
      version: 'test',
      log: createLogger('debug', join(this.#directory, 'log')),
      agentArgv: [process.execPath, resolve('dist/agent.js')],
      env: process.env,
      launchers: [await this.#site.launcher(this.#gatewayId)],
    })
  }

  async restart(): Promise<void> {
    await this.#gateway?.stop()
    await this.start()
  }

  async end(): Promise<void> {
    await this.#gateway?.stop()
    const launcher = await this.#site.launcher(this.#gatewayId)
    for (const placement of await launcher.list()) await launcher.stop(placement, 'the test has ended')
  }

  api(): Client {
    const token = readFileSync(join(this.#directory, 'data/admin-token'), 'utf8').trim()
    const { listen } = this.#site
    const host = listen === '0.0.0.0' ? '127.0.0.1' : listen
    return createClient({ baseUrl: `http://${host}:${this.#port}`, token, version: 'test' })
  }

  create(command: string[], machine: Machine | undefined): Promise<Task> {
    const workspace = { kind: 'none' } as const
    return this.api().call(routes.createTask, {
      body: { agent: 'command', command, workspace, ...(machine && { machine }) },
    })
  }

  task(taskId: string): Promise<Task> {
    return this.api().call(routes.getTask, { params: { taskId } })
  }

  until<Name extends Task['state']>(taskId: string, state: Name, patienceMs: number): Promise<Task & { state: Name }> {
    return eventually(
      `${taskId} is ${state}`,
      async () => {
        const task = await this.task(taskId)
        if (task.state === state) return task as Task & { state: Name }
        if (task.state === 'ended') throw new Error(`${taskId} ended: ${task.outcome}: ${task.message}`)
        return undefined
      },
      patienceMs,
    )
  }

  get log(): string {
    return readFileSync(join(this.#directory, 'log'), 'utf8')
  }

  /** What the launcher still has of it. */
  async left(): Promise<unknown[]> {
    return (await this.#site.launcher(this.#gatewayId)).list()
  }
}
