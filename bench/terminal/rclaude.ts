/** A gateway with a running task, and `rclaude shell` into it through the line. */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createClient } from '../../protocol/client.ts'
import { routes } from '../../protocol/routes.ts'
import type { Relay } from './relay.ts'
import type { Side } from './side.ts'

export async function startRclaude(through: (port: number) => Promise<Relay>): Promise<Side> {
  const data = mkdtempSync(join(tmpdir(), 'rclaude-bench-'))
  const base = { PATH: process.env.PATH ?? '', HOME: data, LANG: 'C.UTF-8' }
  const gateway = spawn(process.execPath, [resolve('dist/gateway.js'), '--local', '--data', data], {
    stdio: 'ignore',
    env: base,
  })
  await until(() => existsSync(join(data, 'gateway.json')))
  const { url } = JSON.parse(readFileSync(join(data, 'gateway.json'), 'utf8')) as { url: string }
  const token = readFileSync(join(data, 'admin-token'), 'utf8').trim()
  const api = createClient({ baseUrl: url, token, version: 'bench' })
  const { id } = await api.call(routes.createTask, {
    body: { agent: 'command', command: ['sleep', '100000'], workspace: { kind: 'none' } },
  })
  const state = async () => (await api.call(routes.getTask, { params: { taskId: id } })).state
  await until(async () => (await state()) === 'running')
  const relay = await through(Number(new URL(url).port))
  return {
    argv: [process.execPath, resolve('dist/rclaude.js'), 'shell', id, '--', 'bash', '--norc'],
    env: { ...base, TERM: 'xterm', RCLAUDE_GATEWAY: `http://127.0.0.1:${relay.port}`, RCLAUDE_TOKEN: token },
    close: async () => {
      relay.close()
      await api.call(routes.stopTask, { params: { taskId: id }, body: {} })
      await until(async () => (await state()) === 'ended')
      const gone = new Promise((done) => gateway.once('exit', done))
      gateway.kill('SIGTERM')
      await gone
      rmSync(data, { recursive: true, force: true })
    },
  }
}

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await look()) return
    await new Promise((done) => setTimeout(done, 50))
  }
  throw new Error('the gateway or its task did not come up within 30 s')
}
