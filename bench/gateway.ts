/** A gateway of its own for a bench: the built one, on loopback, with its data in a folder that goes with it. */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Client, createClient } from '../protocol/client.ts'

export interface BenchGateway {
  url: string
  token: string
  pid: number
  api: Client
  /** Tasks must have ended before. */
  close(): Promise<void>
}

/**
 * @param config without it the local gateway with the process launcher
 * @param settings more of the configuration, as variables of its environment
 */
export async function startBenchGateway(config?: string, settings: Record<string, string> = {}): Promise<BenchGateway> {
  const data = mkdtempSync(join(tmpdir(), 'rclaude-bench-'))
  const mode = config === undefined ? ['--local'] : ['--config', config]
  const gateway = spawn(process.execPath, [resolve('dist/gateway.js'), ...mode, '--data', data], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      PATH: process.env.PATH ?? '',
      HOME: data,
      LANG: 'C.UTF-8',
      RCLAUDE_CLAUDE: resolve('node_modules/.bin/claude'),
      RCLAUDE_LOG__LEVEL: 'error',
      ...(process.env.DOCKER_HOST && { DOCKER_HOST: process.env.DOCKER_HOST }),
      ...settings,
    },
  })
  await until(() => existsSync(join(data, 'gateway.json')))
  const { url } = JSON.parse(readFileSync(join(data, 'gateway.json'), 'utf8')) as { url: string }
  const token = readFileSync(join(data, 'admin-token'), 'utf8').trim()
  const close = async () => {
    const gone = new Promise((done) => gateway.once('exit', done))
    gateway.kill('SIGTERM')
    await gone
    rmSync(data, { recursive: true, force: true })
  }
  return { url, token, pid: gateway.pid ?? 0, api: createClient({ baseUrl: url, token, version: 'bench' }), close }
}

export async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await look()) return
    await new Promise((done) => setTimeout(done, 50))
  }
  throw new Error('the gateway or its task did not come up within 30 s')
}
