/** A gateway with a running task, and `rclaude shell` into it through the line. */
import { resolve } from 'node:path'
import { routes } from '../../protocol/routes.ts'
import { startBenchGateway, until } from '../gateway.ts'
import type { Relay } from './relay.ts'
import type { Side } from './side.ts'

export async function startRclaude(through: (port: number) => Promise<Relay>): Promise<Side> {
  const { url, token, api, close } = await startBenchGateway()
  const { id } = await api.call(routes.createTask, {
    body: { agent: 'command', command: ['sleep', '100000'], workspace: { kind: 'none' } },
  })
  const state = async () => (await api.call(routes.getTask, { params: { taskId: id } })).state
  await until(async () => (await state()) === 'running')
  const relay = await through(Number(new URL(url).port))
  const base = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/', LANG: 'C.UTF-8' }
  return {
    argv: [process.execPath, resolve('dist/rclaude.js'), 'shell', id, '--', 'bash', '--norc'],
    env: { ...base, TERM: 'xterm', RCLAUDE_GATEWAY: `http://127.0.0.1:${relay.port}`, RCLAUDE_TOKEN: token },
    close: async () => {
      relay.close()
      await api.call(routes.stopTask, { params: { taskId: id }, body: {} })
      await until(async () => (await state()) === 'ended')
      await close()
    },
  }
}
